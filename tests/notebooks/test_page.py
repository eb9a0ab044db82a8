"""Notebook 13 as a page answers for the detector that is in use, whatever agent and data set it is of."""

import nbformat
import papermill

from cldf_core.detection.in_use import use
from cldf_core.runs.run import make_run
from samples import PROJECT, SHORT, make_data, tiny_options


def test_the_page_takes_the_detector_that_is_in_use(tmp_path, monkeypatch):
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "root"))
    data = make_data(tmp_path / "faces", ("first", "second", "unseen"), validation=4)
    run = make_run(tiny_options("icarl", data, **SHORT))
    use(run, "for this test")
    monkeypatch.setenv("VOILA_REQUEST_URL", "http://localhost")  # as the server sets it for the page's kernel
    source, target = PROJECT / "notebooks" / "13_detector.ipynb", tmp_path / "page.ipynb"
    papermill.execute_notebook(source, target, {"data": "nowhere"}, progress_bar=False)
    text = nbformat.writes(nbformat.read(target, as_version=4))
    assert "Trained on: first, second." in text
    assert text.count("image/png") >= 2  # the real image and the fake
    assert not [*(tmp_path / "root" / "runs").glob("mir-*")], "nothing was trained for the parameters"
