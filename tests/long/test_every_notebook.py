"""Every notebook in JupyterLab, from .py and .ipynb: run to its end, its figures there, each control moved once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser.lab import BROWSER, errors, laid_out, opened, pictures, run_all, serving, touch_all
from cldf_core.workflow.notebooks import NEEDS
from cldf_core.workflow.parameters import NOTEBOOKS
from samples import call

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs a browser: apt-get install chromium")
SECONDS = 1800  # for a notebook that trains, beside other programs


@pytest.fixture(scope="module")
def project(tmp_path_factory, mini_smoke) -> Path:
    """What JupyterLab shows, with the data; all notebooks share the runs in it."""
    return laid_out(tmp_path_factory.mktemp("project"), mini_smoke)


@pytest.fixture(scope="module")
def lab(project) -> Iterator[str]:
    with serving(project, CLDF_PROFILE="smoke") as address:
        yield address


def make_runs_for(name: str, root: Path) -> None:
    """The notebooks whose runs this one reads are run before it, where they have not been opened."""
    for needed in NEEDS.get(name, ()):
        if not list(root.glob(f"runs/{needed}-*")):
            done = call(root, "run", needed, "--profile", "smoke")
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("suffix", ["ipynb", "py"])
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_to_its_end_and_can_be_touched(name, suffix, project, lab, browser):
    make_runs_for(name, project)
    with opened(browser, lab, f"{name}.{suffix}") as page:
        notebook = run_all(page, SECONDS)  # fails where a code cell has not run
        assert errors(notebook) == []
        touched = touch_all(page, notebook, 120)
    drawn = list(project.glob(f"runs/{name}-*/figures/*.png"))
    assert pictures(notebook) >= len(drawn) > 0
    assert touched, "nothing to touch"
    assert [control for control, changed in touched.items() if not changed] == []
    assert "CLDF_PROFILE is smoke" in str([cell.get("outputs") for cell in notebook.cells])
