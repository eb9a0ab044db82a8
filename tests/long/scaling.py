"""How much faster more workers make a sweep; writes the table of docs/from-laptop-to-cluster.md.

    python tests/long/scaling.py                           # 24 runs of the smoke profile, 1 and 2 workers
    python tests/long/scaling.py --profile quick --workers 1 2 4 8 16

Each row makes the same runs in a folder that holds spectra and no runs: plain processes that were started by hand, each
with its part of the runs; `cldf sweep --jobs`; and `cldf sweep --scheduler`, with a scheduler and workers that were
started by hand. Nothing else should run on the machine meanwhile.
"""

import argparse
import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cldf_core.results.grid import distinct_runs, read_grid
from cldf_core.runs.run import make_run
from cldf_core.workflow.notebooks import LAST, notebook_parameters

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "from-laptop-to-cluster.md"
BEGIN, END = "<!-- scaling: written by tests/long/scaling.py -->\n", "<!-- scaling: end -->"
GRID = "agent: [sequential, icarl, gdumb, lwf, er, mir]\nseed: [0, 1, 2, 3]\n"
WAYS = {"processes by hand": "plain", "`cldf sweep --jobs`": "jobs", "`cldf sweep --scheduler`": "scheduler"}


def make_part(profile: str, first: int, step: int) -> None:
    """Makes every step-th run of the grid, as a process that was started by hand."""
    runs = distinct_runs(read_grid("scaling").points(notebook_parameters(LAST, profile).values))
    for options in list(runs.values())[first::step]:
        make_run(options)


def seconds(way: str, workers: int, profile: str, root: Path) -> float:
    """Makes all runs in one way, and gives the time from the first start to the last end."""
    shutil.rmtree(root / "runs", ignore_errors=True)
    env = os.environ | {"CLDF_ROOT": str(root), "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    sweep = [sys.executable, "-m", "cldf_core.cli", "sweep", "scaling", "--profile", profile]
    with contextlib.ExitStack() as stack, (root / "log").open("w") as log:

        def start(*words: object) -> subprocess.Popen[bytes]:
            process = subprocess.Popen([*map(str, words)], env=env, cwd=root, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        if way == "scheduler":
            file = root / "scheduler.json"
            file.unlink(missing_ok=True)
            dask = [sys.executable, "-m", "dask"]
            here = ("--host", "127.0.0.1", "--scheduler-file", file)
            start(*dask, "scheduler", "--port=0", "--dashboard-address=127.0.0.1:0", *here)
            words = ["--nthreads=1", "--memory-limit=0", "--no-dashboard", f"--nworkers={workers}"]
            start(*dask, "worker", *words, *here, "--local-directory", root / "dask")
            time.sleep(10 + workers)  # they are ready before the command is given
        since = time.perf_counter()
        if way == "plain":
            processes = [start(sys.executable, __file__, "--part", k, workers, profile) for k in range(workers)]
        else:
            flag = ("--jobs", workers) if way == "jobs" else ("--scheduler", root / "scheduler.json")
            processes = [start(*sweep, *flag)]
        statuses = [process.wait() for process in processes]
        taken = time.perf_counter() - since
    if any(statuses):
        raise SystemExit((root / "log").read_text())
    return taken


def main() -> None:
    """Measures, prints the table, and writes it into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.part:
        number, count, profile = parsed.part
        return make_part(profile, int(number), int(count))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(PROJECT / "params", root / "params")
        (root / "params" / "grids" / "scaling.yaml").write_text(GRID)
        seconds("plain", max(parsed.workers), parsed.profile, root)  # data and spectra are made
        rows = [
            (name, workers, seconds(way, workers, parsed.profile, root))
            for name, way in WAYS.items()
            for workers in parsed.workers
        ]
    one = next(taken for _, workers, taken in rows if workers == min(parsed.workers))
    table = f"24 runs of the {parsed.profile} profile on {os.cpu_count()} processors ({_processor()}):\n\n"
    table += "| how | workers | seconds | times as fast as the first row |\n|---|---|---|---|\n"
    table += "".join(f"| {name} | {workers} | {taken:.0f} | {one / taken:.2f} |\n" for name, workers, taken in rows)
    print(table)
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def _processor() -> str:
    with contextlib.suppress(OSError):
        if found := re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()):
            return found[1]
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
