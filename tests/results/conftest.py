"""Tiny runs that the tests of results read."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cldf_core.runs.folder import RunFolder
from cldf_core.runs.run import make_run
from samples import SHORT, make_data, replace_scores, tiny_options


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], RunFolder]:
    """Runs of ER and of sequential training, each with two seeds; key: agent and seed."""
    root = tmp_path_factory.mktemp("runs")
    data = make_data(root / "set", (*SHORT["stream"], "unseen"), train=8, validation=6, test=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLDF_ROOT", str(root))
        patch.setenv("CLDF_PROGRESS", "0")
        return {(a, s): make_run(tiny_options(a, data, **SHORT, seed=s)) for a in ("er", "sequential") for s in (0, 1)}


@pytest.fixture
def copied(trained, tmp_path: Path) -> Callable[..., RunFolder]:
    """Copies a run with another table of scores, or another manifest."""

    def copy(change=lambda scores: scores, name: str = "copy", **manifest) -> RunFolder:
        folder = RunFolder(shutil.copytree(trained["er", 0].path, tmp_path / name))
        replace_scores(folder, change(folder.scores()))
        folder.write_manifest({**folder.manifest, **manifest})
        return folder

    return copy


@pytest.fixture
def as_file(tmp_path: Path) -> Callable[[pd.DataFrame, str], Path]:
    """Writes scores as another program might write them."""

    def write(scores: pd.DataFrame, name: str) -> Path:
        scores.to_csv(
            tmp_path / name, index=False, columns=["image", "domain", "label", "score", "step", "split", "group"]
        )
        return tmp_path / name

    return write
