"""Tests that take minutes: they are collected only where the command line names them, as make test-long does."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    named = (Path(argument.split("::")[0]).resolve() for argument in config.args)
    return None if any(path.is_relative_to(Path(__file__).parent) for path in named) else True
