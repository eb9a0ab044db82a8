"""The site, built once for all tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from samples import PROJECT


@pytest.fixture(scope="session")
def site(shared: Path, reproduced) -> Path:
    """The site, made from notebooks of the smoke profile, once for all test processes. Not to be written to."""
    target, done = shared / "site", shared / "site.done"
    with FileLock(shared / "site.lock"):
        if not done.exists():
            words = [sys.executable, str(PROJECT / "docs" / "build_site.py"), str(target)]
            env = {**os.environ, "CLDF_ROOT": str(reproduced[0]), "OMP_NUM_THREADS": "1"}
            ended = subprocess.run(words, cwd=PROJECT, env=env, capture_output=True, text=True)
            assert ended.returncode == 0, ended.stdout + ended.stderr
            done.touch()
    return target
