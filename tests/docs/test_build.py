"""What the site is made from: today's notebooks, whole pictures, links as they lie in the project."""

import base64
import importlib
import subprocess
from urllib.parse import urlsplit

import nbformat
import pytest

from cldf_core.workflow import notebooks
from cldf_core.workflow.notebooks import notebook_parameters
from cldf_core.workflow.parameters import NOTEBOOKS
from samples import PROJECT, pyproject

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\0\0\1\0" + b"\0\0\0\x80").decode()  # 256 × 128
SENTENCE = "Two panels with a line for each agent, accuracy against steps."


@pytest.fixture
def build(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "docs"))
    return importlib.import_module("build_site")


@pytest.fixture
def executed(root, monkeypatch):
    """Lays an executed copy of a notebook in a profile's folder, whose inputs have this hash; today's is "today"."""
    monkeypatch.setattr(notebooks, "inputs_hash", lambda parameters: "today")

    def lay(name: str, profile: str, inputs: str = "today"):
        folder = notebook_parameters(name, profile).folder
        folder.path.mkdir(parents=True)
        nbformat.write(nbformat.v4.new_notebook(), folder.path / "notebook.ipynb")
        files = folder.hashes(folder.path / "notebook.ipynb")
        folder.write_manifest({"status": "finished", "inputs": inputs, "files": files})
        return folder.path / "notebook.ipynb"

    return lay


def test_the_quick_profile_is_taken_where_it_is_of_todays_code(build, executed):
    name = "05_gdumb"
    assert build.executed(name) is None
    smoke = executed(name, "smoke")
    assert build.executed(name) == (smoke, "smoke")
    quick = executed(name, "quick")
    assert build.executed(name) == (quick, "quick")
    quick.write_text("damaged", encoding="utf-8")
    assert build.executed(name) == (smoke, "smoke")


def test_what_was_made_with_other_code_is_not_taken(build, executed):
    executed("05_gdumb", "quick", "yesterday")
    assert build.executed("05_gdumb") is None


def test_only_what_is_missing_is_run_and_with_tiny_data(build, executed, monkeypatch):
    missing = ["00_start_here", "13_detector"]
    made = {name: executed(name, "quick") for name in NOTEBOOKS if name not in missing}
    called = []

    def run(words, check):
        called.append(words[3:])
        made.update({name: executed(name, "smoke") for name in missing})

    monkeypatch.setattr(subprocess, "run", run)
    found = build.all_executed()
    assert called == [["reproduce", "--profile", "smoke", "--only", *missing]]
    assert found == {name: (made[name], "smoke" if name in missing else "quick") for name in NOTEBOOKS}


def notebook_with(**output) -> nbformat.NotebookNode:
    text = "# A title\n\nIt needs the [glossary](../docs/glossary.md#agent) and [00](00_start_here.ipynb)."
    shown = nbformat.v4.new_output("display_data", **output)
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("draw()", outputs=[shown])]
    return nbformat.v4.new_notebook(cells=cells)


def test_a_page_shows_the_picture_of_what_needs_a_kernel(build, tmp_path):
    data = {"image/png": PNG, "text/html": "<b>", "application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    made = build.page(
        notebook_with(data=data, metadata={"image/png": {"alt": SENTENCE}}), "05_gdumb", "A note.", tmp_path
    )
    title, note, source, code = made.cells
    assert "[glossary](../glossary.md#agent) and [00](00_start_here.ipynb)" in title.source
    assert note.source == "A note."
    assert "../sources/05_gdumb.py" in source.source
    place = urlsplit(pyproject()["project"]["urls"]["Repository"]).path
    assert f"(https://mybinder.org/v2/gh{place}/HEAD?urlpath=lab/tree/notebooks/05_gdumb.ipynb)" in source.source
    assert f"(https://colab.research.google.com/github{place}/blob/HEAD/notebooks/05_gdumb.ipynb)" in source.source
    ((kind, shown),) = code.outputs[0].data.items()
    assert kind == "text/html"
    assert f'alt="{SENTENCE}"' in shown
    assert 'width="256" height="128"' in shown
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == base64.b64decode(PNG)
    assert path.name in shown


def test_a_page_without_a_note_has_none(build, tmp_path):
    made = build.page(notebook_with(data={"text/plain": "1"}), "05_gdumb", "", tmp_path)
    assert [cell.cell_type for cell in made.cells] == ["markdown", "markdown", "code"]
    assert "sources" in made.cells[1].source


def test_a_picture_without_a_sentence_is_refused(build, tmp_path):
    for metadata in ({}, {"image/png": {"alt": "figure.png"}}):
        with pytest.raises(ValueError, match="05_gdumb-1-0: a picture has no sentence"):
            build.page(notebook_with(data={"image/png": PNG}, metadata=metadata), "05_gdumb", "", tmp_path)


def test_a_notebook_that_is_named_is_linked_to_once(build):
    text = "See notebook 03, [notebook 04](x), `notebook 05` and notebook 99. Notebook 12"
    assert build.with_links(text) == (
        "See [notebook 03](03_without_continual_learning.ipynb), [notebook 04](x), `notebook 05` and notebook 99. "
        "[Notebook 12](12_your_own_data_your_own_agent.ipynb)"
    )


def test_links_of_the_project_become_those_of_the_site(build):
    text = "[a](../docs/glossary.md#agent) [b](../notebooks/04_icarl.ipynb) [c](https://numpy.org) [d](symbols.md)"
    assert build.with_site_links(text, "../") == (
        "[a](../glossary.md#agent) [b](../notebooks/04_icarl.ipynb) [c](https://numpy.org) [d](symbols.md)"
    )
    assert build.with_site_links("[b](../notebooks/04_icarl.ipynb)", "") == "[b](notebooks/04_icarl.ipynb)"
    exercise = "[`a`](exercises/log_spectrum.ipynb)"  # a solution, which has no page
    assert build.with_site_links(exercise, "../") == "[`a`](../course.md)"
    deck = '<a href="slides/traces.html">Traces in it</a>'
    assert build.with_site_links("| [Traces in it](slides/traces.md) | [a](b.md) |", "") == f"| {deck} | [a](b.md) |"
    assert build.with_site_links("[d](../docs/slides/traces.md)", "../") == '<a href="../slides/traces.html">d</a>'
