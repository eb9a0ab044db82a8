"""Tests that take minutes: they are collected only where the command line names them, as make test-long does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from samples import PROJECT, hashes


class Sweep(NamedTuple):
    """A sweep of eight small runs, as a command, and what it comes to without a cluster."""

    data: Path
    results: dict[str, str]
    words: tuple[str, ...] = (sys.executable, "-m", "cldf_core.cli", "sweep", "few", "--profile", "smoke")

    def make_root(self, root: Path) -> Path:
        """A root with the smoke profile, its data, and the grid."""
        shutil.copytree(PROJECT / "params" / "smoke", root / "params" / "smoke")
        shutil.copytree(self.data, root / "data" / self.data.name)
        grids = root / "params" / "grids"
        grids.mkdir()
        (grids / "few.yaml").write_text("agent: [sequential, lwf, gdumb, er]\nseed: [0, 1]\n")
        return root

    def env(self, root: Path) -> dict[str, str]:
        """What the commands need to work there."""
        return {"CLDF_ROOT": str(root), "PYTHONPATH": str(PROJECT), "CLDF_PROGRESS": "0"}

    def results_in(self, root: Path) -> dict[str, str]:
        """Hashes of all scores, networks, figures and tables, but for a sweep's, which tell seconds."""
        endings = (".parquet", ".safetensors", ".csv", ".png", ".pdf")
        runs = hashes(root / "runs").items()
        return {name: digest for name, digest in runs if name.endswith(endings) and not name.startswith("sweep_")}


@pytest.fixture(scope="session")
def sweep(mini_smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep, after it was made without a cluster."""
    sweep = Sweep(mini_smoke, {})
    root = sweep.make_root(tmp_path_factory.mktemp("plain"))
    subprocess.run(sweep.words, env=os.environ | sweep.env(root), check=True)
    assert len(list(root.glob("runs/*/scores.parquet"))) == 8
    return sweep._replace(results=sweep.results_in(root))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    named = (Path(argument.split("::")[0]).resolve() for argument in config.args)
    return None if any(path.is_relative_to(Path(__file__).parent) for path in named) else True
