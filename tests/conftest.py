"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cldf_core.data.layouts.read import data_folder
from cldf_core.options import Options
from samples import make_data, tiny_options


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project root of the test's own."""
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    monkeypatch.setenv("CLDF_PROGRESS", "0")
    return tmp_path


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four domains of 16 training and 12 test images, 32 pixels a side. Not to be written to."""
    return make_data(tmp_path_factory.mktemp("small-data"))


@pytest.fixture(scope="session")
def mini_smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded benchmark of the smoke profile. Not to be written to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLDF_ROOT", str(tmp_path_factory.mktemp("mini-smoke")))
        return data_folder("mini-smoke")


@pytest.fixture
def tiny(small_data: Path) -> Callable[..., Options]:
    """Options of a run that takes about a second on `small_data`; keywords change them."""

    def options(agent: str = "sequential", **changes: Any) -> Options:
        return tiny_options(agent, small_data, **changes)

    return options
