"""A dry sweep of 10,000 runs, of which some could be there: its processor time and memory, from the start of Python."""

import os
import subprocess
import sys

import pytest

from cldf_core.options import AGENTS

LISTS = {"agent": list(AGENTS)[:5], "seed": [*range(20)], "lr": [k / 10_000 for k in range(1, 101)]}
CODE = """
import time
from cldf_core.cli import main
from cldf_core.runs.provenance import peak_memory
main(["sweep", "big", "--profile", "smoke", "--dry-run"])
print(time.process_time(), peak_memory() / 1e6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell the most memory that was held")
def test_ten_thousand_runs_are_planned_in_seconds(tmp_path):
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
