"""Notebooks opened in JupyterLab from .ipynb and from .py, and run to their end with "Run All"."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser.lab import BROWSER, errors, laid_out, opened, pictures, run_all, serving

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs a browser: apt-get install chromium")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory, mini_smoke) -> Iterator[str]:
    root = laid_out(tmp_path_factory.mktemp("project"), mini_smoke)
    with serving(root, CLDF_PROFILE="smoke") as address:
        yield address


@pytest.mark.parametrize("name", ["02_spectral_analysis.ipynb", "01_data_exploration.py", "04_icarl.py"])
def test_run_all_ends_without_an_error_and_draws_the_figures(lab, browser, name):
    with opened(browser, lab, name) as page:
        notebook = run_all(page, 600)
    assert errors(notebook) == []
    source = (Path(__file__).parents[2] / "notebooks" / name).with_suffix(".py").read_text(encoding="utf-8")
    assert pictures(notebook) >= source.count("save_figure(")
    assert "CLDF_PROFILE is smoke" in str([cell.get("outputs") for cell in notebook.cells])
