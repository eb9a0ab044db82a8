"""docs/slurm.sh and the page's script for dask-jobqueue, with a Slurm of this test's own."""

import contextlib
import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from samples import PROJECT

DAEMONS = ("munged", "slurmctld", "slurmd")
PACKAGES = "munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins"
SEARCHED = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"))
if missing := [name for name in (*DAEMONS, "sbatch", "setpriv") if not shutil.which(name, path=SEARCHED)]:
    pytest.skip(f"no {', '.join(missing)}; on Debian: apt-get install {PACKAGES} util-linux", allow_module_level=True)

# One machine without systemd and cgroups; no file of it lies outside the folder.
CONFIGURATION = """
ClusterName=cldf-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=64000 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES State=UP
"""


class Slurm(NamedTuple):
    """A Slurm of this test's own, and the folder in which its jobs work."""

    folder: Path
    work: Path
    env: dict[str, str]

    def __call__(self, *words: str) -> str:
        """What one of Slurm's commands answers."""
        done = subprocess.run(words, cwd=self.work, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def jobs(self) -> dict[str, str]:
        """The state of every job that is not over."""
        return dict(line.split() for line in self("squeue", "--noheader", "--format=%i %T").splitlines())

    def log(self) -> str:
        """All that jobs have printed."""
        return "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(self.work.glob("*.log")))

    def processes(self) -> list[psutil.Process]:
        """Daemons, jobs, and what they have left."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SLURM_CONF") == self.env["SLURM_CONF"]:
                    found.append(process)
        return found

    def until(self, true: Callable[[], Any], seconds: float, what: str) -> Any:
        """Waits until something is true, and says what was printed if it is not."""
        end = time.monotonic() + seconds
        while not (answer := true()):
            assert time.monotonic() < end, f"not within {seconds} s: {what}\n{self.log()}"
            time.sleep(0.1)
        return answer


def _ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    folder = tmp_path_factory.mktemp("slurm")
    names = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser()}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, ports=_ports(2), **names))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for name in ("state", "spool", "home", "tmp"):
        (folder / name).mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "DASK_"))}
    env |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": SEARCHED, "PYTHONPATH": str(PROJECT)}
    env |= {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "CLDF_PROGRESS": "0"}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munged += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "seed")]
    slurm, daemons = Slurm(folder, folder, env), []
    try:
        with (folder / "daemons.txt").open("w") as log:
            for words in (munged, ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-c", "-N", names["host"]]):
                words = ["setpriv", "--pdeathsig", "KILL", *words]  # also if this test is killed
                daemons.append(subprocess.Popen(words, env=env, stdout=log, stderr=log, start_new_session=True))
                slurm.until(lambda: (folder / "munge.socket").exists(), 30, "munged is ready")
        slurm.until(lambda: "idle" in slurm("sinfo", "--noheader", "--format=%t"), 60, "a node is ready")
        yield slurm
    finally:
        for process in slurm.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        for daemon in daemons:
            daemon.wait()
        shutil.rmtree(folder)


@pytest.fixture
def cluster(slurm: Slurm, sweep: Any, tmp_path: Path) -> Iterator[Slurm]:
    """The same Slurm with an empty root, which jobs leave with results and logs, and nothing else."""
    work = sweep.make_root(tmp_path / "work")
    shutil.copytree(PROJECT / "docs", work / "docs")
    yield slurm._replace(work=work, env=slurm.env | {"CLDF_ROOT": str(work)})
    slurm("scancel", f"--user={getpass.getuser()}")
    slurm.until(lambda: not slurm.jobs(), 60, "jobs are over")
    slurm.until(lambda: len(slurm.processes()) == len(DAEMONS), 10, "nothing is left but the daemons")
    left = {path.name for path in (*work.glob(".*"), *(slurm.folder / "tmp").iterdir())}
    assert left <= {"dask-scratch-space"}  # which Dask keeps, and clears when it starts


def _finished(cluster: Slurm) -> dict[str, int]:
    """When each of the runs that are done was."""
    return {path.parent.name: path.stat().st_mtime_ns for path in cluster.work.glob("runs/*/scores.parquet")}


def _submit(cluster: Slurm, sweep: Any) -> str:
    return cluster("sbatch", "--parsable", "--ntasks=2", "docs/slurm.sh", *sweep.words)


def test_the_script_gives_the_scores_of_a_sweep_without_slurm(cluster, sweep):
    _submit(cluster, sweep)
    cluster.until(lambda: not cluster.jobs(), 900, "the job is done")
    assert "8 of 8 runs are in the tables" in cluster.log()
    assert sweep.results_in(cluster.work) == sweep.results


@pytest.mark.parametrize("how", ["its time is up", "cancelled and submitted again", "the command is killed"])
def test_a_job_that_is_stopped_goes_on_with_what_is_not_done(cluster, sweep, how):
    job = _submit(cluster, sweep)
    cluster.until(lambda: len(_finished(cluster)) >= 2, 400, "two runs are done")
    if how == "its time is up":  # what Slurm sends then
        cluster("scancel", "--signal=USR1", "--batch", job)
        cluster.until(lambda: cluster.jobs()[job] == "PENDING", 60, "the job queues up again")
    elif how == "the command is killed":
        next(p for p in cluster.processes() if "--scheduler" in p.cmdline()).kill()
    else:
        cluster("scancel", job)
    if how != "its time is up":
        cluster.until(lambda: not cluster.jobs(), 60, "the job is over")
        _submit(cluster, sweep)
    done = _finished(cluster)
    assert 2 <= len(done) < 8
    cluster.until(lambda: not cluster.jobs(), 900, "the job is done")
    assert sweep.results_in(cluster.work) == sweep.results
    assert done.items() <= _finished(cluster).items()


def test_a_worker_of_dask_jobqueue_is_cancelled_and_the_rest_is_done(cluster, sweep):
    pytest.importorskip("dask_jobqueue", reason="needs dask-jobqueue: pip install dask-jobqueue")
    page = (PROJECT / "docs" / "from-laptop-to-cluster.md").read_text(encoding="utf-8")
    (cluster.work / "cluster.py").write_text(re.search(r"```python\n(.*?)```", page, re.S)[1])
    cluster("sh", "docs/tls.sh", "tls")
    words = [sys.executable, "cluster.py", "2", *sweep.words]
    env = cluster.env | {"DASK_CONFIG": str(cluster.work / "tls")}
    with (
        (cluster.work / "command.log").open("w") as log,
        subprocess.Popen(words, cwd=cluster.work, env=env, stdout=log, stderr=log) as command,
    ):
        try:
            cluster.until(lambda: len(_finished(cluster)) >= 2, 400, "two runs are done")
            cluster("scancel", min(cluster.jobs()))
            cluster.until(lambda: command.poll() is not None, 900, "the command is done")
        finally:
            command.kill()
    assert command.returncode == 0, cluster.log()
    assert sweep.results_in(cluster.work) == sweep.results
