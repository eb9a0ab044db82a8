"""Where an archive was used, notebooks open in seconds: what "Run all" takes, and how much memory a kernel needs.

    python -m pytest -s tests/long/test_opening.py                      # an archive of the profile smoke, made here
    CLDF_ARCHIVE=quick.zip python -m pytest -s tests/long/test_opening.py

The bounds of time are those of the profile quick, on a machine that does nothing else.
"""

import contextlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

from cldf_core.workflow.parameters import NOTEBOOKS
from samples import call, copy_project

LAST = "10_bands_and_explanations"  # of the notebooks that are timed together
TOGETHER, EACH, MEMORY = 240, 30, 1.5e9  # seconds, seconds, bytes: Binder gives little more


@pytest.fixture(scope="module")
def archive(request, tmp_path_factory) -> Path:
    """An archive that somebody names, or one of all notebooks in the profile smoke."""
    if named := os.environ.get("CLDF_ARCHIVE"):
        return Path(named).resolve()
    path = tmp_path_factory.mktemp("archive") / "smoke.zip"
    done = call(request.getfixturevalue("reproduced")[0], "archive", str(path), "--profile", "smoke")
    assert done.returncode == 0, done.stderr
    assert "not executed" not in done.stderr
    return path


def peak(process: subprocess.Popen) -> int:
    """The most memory that a kernel of a process has held until now, in bytes; 0 where there is none."""
    most = 0
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        for child in psutil.Process(process.pid).children(recursive=True):
            if "ipykernel_launcher" in " ".join(child.cmdline()):
                status = Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8")
                (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
                most = max(most, int(line.split()[1]) * 1024)
    return most


def runs(root: Path) -> set[str]:
    return {path.parent.name for path in (root / "runs").glob("*/scores.parquet")}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_with_an_archive_notebooks_open_in_seconds_and_train_no_run(archive, tmp_path):
    with zipfile.ZipFile(archive) as file:
        profile = json.loads(file.read("index.json"))["profile"]
    root = copy_project(tmp_path / "root")
    done = call(root, "archive", "--use", str(archive))
    assert done.returncode == 0, done.stderr
    before, seconds, memory = runs(root), dict[str, float](), dict[str, int]()
    env = {k: v for k, v in os.environ.items() if not k.startswith("CLDF_")} | {"OMP_NUM_THREADS": "1"}
    for name in NOTEBOOKS:
        words = [sys.executable, "-m", "cldf_core.cli", "run", name, "--profile", profile, "--force"]
        with subprocess.Popen(words, cwd=root, env=env) as process:
            memory[name] = 0
            while process.poll() is None:
                memory[name] = max(memory[name], peak(process))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
        assert process.returncode == 0, name
        (folder,) = (root / "runs").glob(f"{name}-*")
        seconds[name] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["seconds"]
        print(f"{name:35} {seconds[name]:6.1f} s {memory[name] / 1e6:8.0f} MB", flush=True)
    together = sum(seconds[name] for name in NOTEBOOKS if name <= LAST)
    print(f"00 to 10, profile {profile}: {together:.0f} s; {archive.stat().st_size / 1e6:.0f} MB")
    assert runs(root) == before, "these runs were not found, and trained"
    assert max(memory.values()) <= MEMORY
    assert together <= TOGETHER
    assert all(seconds[name] <= EACH for name in NOTEBOOKS if name <= LAST)
