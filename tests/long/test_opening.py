"""Where an archive was used, notebooks open in seconds: what "Run all" takes, and how much memory a kernel needs.

    python -m pytest -s tests/long/test_opening.py                      # an archive of the profile smoke, made here
    CLDF_ARCHIVE=quick.zip python -m pytest -s tests/long/test_opening.py

Bounds are of a processor's seconds, since those of the clock tell what else the machine does.
"""

import contextlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

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


class Kernel(NamedTuple):
    """What the kernels of a process have taken until now."""

    bytes: int  # at most, at any time
    seconds: float  # of a processor


def kernel(process: subprocess.Popen, before: Kernel) -> Kernel:
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        for child in psutil.Process(process.pid).children(recursive=True):
            if "ipykernel_launcher" in " ".join(child.cmdline()):
                status = Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8")
                (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
                times = child.cpu_times()
                return Kernel(max(before.bytes, int(line.split()[1]) * 1024), times.user + times.system)
    return before


def runs(root: Path) -> set[str]:
    return {path.parent.name for path in (root / "runs").glob("*/scores.parquet")}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_with_an_archive_notebooks_open_in_seconds_and_train_no_run(archive, tmp_path):
    with zipfile.ZipFile(archive) as file:
        profile = json.loads(file.read("index.json"))["profile"]
    root = copy_project(tmp_path / "root")
    done = call(root, "archive", "--use", str(archive))
    assert done.returncode == 0, done.stderr
    before, took = runs(root), dict[str, Kernel]()
    env = {k: v for k, v in os.environ.items() if not k.startswith("CLDF_")} | {"OMP_NUM_THREADS": "1"}
    for name in NOTEBOOKS:
        words = [sys.executable, "-m", "cldf_core.cli", "run", name, "--profile", profile, "--force"]
        with subprocess.Popen(words, cwd=root, env=env) as process:
            took[name] = Kernel(0, 0)
            while process.poll() is None:
                took[name] = kernel(process, took[name])
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
        assert process.returncode == 0, name
        (folder,) = (root / "runs").glob(f"{name}-*")
        wall = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["seconds"]
        print(f"{name:35} {took[name].seconds:5.0f} s ({wall:.0f} s by the clock), {took[name].bytes / 1e6:.0f} MB")
    together = sum(took[name].seconds for name in NOTEBOOKS if name <= LAST)
    print(f"00 to 10, profile {profile}: {together:.0f} s; the archive has {archive.stat().st_size / 1e6:.0f} MB")
    assert runs(root) == before, "these runs were not found, and trained"
    assert max(own.bytes for own in took.values()) <= MEMORY
    assert together <= TOGETHER
    assert {name: own for name, own in took.items() if name <= LAST and own.seconds > EACH} == {}
