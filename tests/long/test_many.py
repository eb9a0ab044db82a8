"""Many tasks: 10,000 runs are planned in seconds, and 1,000 notebooks leave nothing behind."""

import os
import shutil
import subprocess
import sys

import pytest

from cldf_core.options import AGENTS
from samples import PROJECT, processes_of, write_notebook

LISTS = {"agent": list(AGENTS)[:5], "seed": [*range(20)], "lr": [k / 10_000 for k in range(1, 101)]}
CODE = """
import time
from cldf_core.cli import main
from cldf_core.runs.provenance import peak_memory
main(["sweep", "big", "--profile", "smoke", "--dry-run"])
print(time.process_time(), peak_memory() / 1e6)
"""
NOTEBOOKS = """
from cldf_core.workflow.cluster import Place
from cldf_core.workflow.engine import Task, carried_out
from cldf_core.workflow.job import notebook_job
from cldf_core.workflow.notebooks import inputs_hash, notebook_parameters

if __name__ == "__main__":
    parameters = [notebook_parameters("06_lwf", "smoke", {"seed": seed}) for seed in range(1000)]
    jobs = [notebook_job(p, inputs_hash(p), force=False, wait=True) for p in parameters]
    outcomes = list(carried_out([Task(str(k), job) for k, job in enumerate(jobs)], Place(jobs=2)))
    assert {outcome.error for outcome in outcomes} == {""}, outcomes
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell the most memory that was held")
def test_ten_thousand_runs_are_planned_in_seconds(tmp_path):
    """Its processor time and memory, from the start of Python; some of the runs could be there."""
    grid = tmp_path / "params" / "grids" / "big.yaml"
    grid.parent.mkdir(parents=True)
    grid.write_text("\n".join(f"{name}: {values}" for name, values in LISTS.items()))
    for agent in LISTS["agent"]:
        (tmp_path / "runs" / f"{agent}-0123456789ab").mkdir(parents=True)
    environment = {**os.environ, "CLDF_ROOT": str(tmp_path)}
    for built in (False, True):
        if built:
            build = "from cldf_core.data.layouts.read import data_folder; data_folder('mini-smoke')"
            subprocess.run([sys.executable, "-c", build], env=environment, check=True)
        done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
        *lines, measured = done.stdout.splitlines()
        assert len(lines) == 10_000
        assert all(line.endswith(": to be run") for line in lines)
        seconds, megabytes = map(float, measured.split())
        print(f"data built: {built}; {seconds:.1f} s, {megabytes:.0f} MB")
        assert seconds < 10
        assert megabytes < 500


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /dev/shm")
def test_a_thousand_notebooks_leave_nothing_behind(mini_smoke, tmp_path):
    """Neither processes nor what these listened at, nor files of theirs, of kernels, or in memory that is shared."""
    root, left = tmp_path / "root", [tmp_path / "temporary", tmp_path / "jupyter"]
    shutil.copytree(mini_smoke, root / "data" / mini_smoke.name)
    write_notebook(root, "06_lwf")
    for folder in left:
        folder.mkdir()
    own = {"CLDF_ROOT": str(root), "PYTHONPATH": str(PROJECT), "CLDF_PROGRESS": "0"}
    own |= {"TMPDIR": str(left[0]), "JUPYTER_RUNTIME_DIR": str(left[1])}
    shared = set(os.listdir("/dev/shm"))
    subprocess.run([sys.executable, "-c", NOTEBOOKS], env=os.environ | own, check=True)
    assert len(list(root.glob("runs/06_lwf-*/notebook.ipynb"))) == 1000
    assert not [path for folder in left for path in folder.rglob("*")]
    assert set(os.listdir("/dev/shm")) <= shared
    assert not processes_of(root)
    assert not [path for path in (root / "runs").rglob(".*") if path.name != ".lock"]
