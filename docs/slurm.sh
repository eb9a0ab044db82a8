#!/bin/bash
# A Dask scheduler, workers, and a command of cldf that uses them, as one job of Slurm:
#
#     sbatch docs/slurm.sh cldf sweep seeds
#     sbatch --ntasks=64 --partition=long docs/slurm.sh cldf reproduce --all
#
# Submit it from the project's folder, on a disk that every node sees. docs/from-laptop-to-cluster.md tells the rest.
#SBATCH --job-name=cldf
# One worker a task: so many runs at the same time.
#SBATCH --ntasks=16
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=2G
#SBATCH --time=04:00:00
# Two minutes before the end of its time the job stops what it does, and queues up again; also after a node has failed.
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=cldf-%j.log

export PATH="$PWD/.venv/bin:$PATH" OMP_NUM_THREADS=1 DASK_LOGGING__DISTRIBUTED=warning
folder="$PWD/.cldf-$SLURM_JOB_ID"
export DASK_CONFIG="$folder/tls"
rm -rf "$folder"  # of the turn before
trap 'rm -rf "$folder"' EXIT
sh docs/tls.sh "$DASK_CONFIG" || exit

dask scheduler --port 0 --dashboard-address 127.0.0.1:0 --scheduler-file "$folder/scheduler.json" &
scheduler=$!
until [ -s "$folder/scheduler.json" ]; do
    kill -0 $scheduler || exit
    sleep 0.2
done
srun dask worker --scheduler-file "$folder/scheduler.json" --nthreads 1 --memory-limit 0 --death-timeout 60 \
    --dashboard-address 127.0.0.1:0 --local-directory "${TMPDIR:-/tmp}" ${SLURM_GPUS_PER_TASK:+--resources GPU=1} &
workers=$!

trap 'again=yes; kill $command' USR1
"$@" --scheduler "$folder/scheduler.json" --tls &
command=$!
wait $command
status=$?
if [ "${again-}" ]; then  # the signal ended the wait, not the command
    wait $command
    status=$?
fi
kill $workers
wait $workers
kill $scheduler
wait $scheduler
[ "${again-}" ] && [ $status -ne 0 ] && scontrol requeue "$SLURM_JOB_ID"
exit $status
