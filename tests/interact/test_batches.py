"""Batch by batch: what is tested is the course that the run itself took."""

import numpy as np
import pytest

from cldf_core.interact import batches
from cldf_core.runs.run import make_run
from samples import make_data, tiny_options

SHORT = {"stream": ["first", "second"], "unseen": [], "splits": ["validation", "test"], "epochs": 2, "batch": 4}


@pytest.mark.parametrize(
    "changes", [{}, {"stream": ["first"]}, {"stream": ["first", "second", "third"]}, {"chunks": 2}]
)
def test_after_all_batches_the_network_is_that_of_the_run(changes, tmp_path, monkeypatch):
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    data = make_data(tmp_path / "data" / "small", train=8, validation=6, test=4)
    run = make_run(tiny_options("sequential", data, **{**SHORT, **changes}))
    found = batches.after_each_batch(run, 1000)
    scores = run.scores().query("split == 'validation'").assign(right=lambda t: (t["logit"] >= 0) == t["label"])
    before = len(run.manifest["options"]["stream"]) - 1
    assert len(found["domain"].unique()) == before + 1
    of_run = scores.groupby(["step", "domain"])["right"].mean()
    first, last = (found[found["batch"] == end].set_index("domain")["value"] for end in (0, found["batch"].max()))
    for name in run.manifest["options"]["stream"]:
        assert not before or first[name] == of_run[before, name]
        if "chunks" not in changes:  # else the step has another chunk
            assert last[name] == of_run[before + 1, name]
    assert found["images"].unique().tolist() == [12]
    assert len(found) == (before + 1) * (1 + found["batch"].max())
    if "chunks" not in changes:
        assert found["batch"].max() == 2 * 16 / 4


def test_the_figure_shows_each_batch_and_says_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    data = make_data(tmp_path / "data" / "small", train=8, validation=0, test=4)
    run = make_run(tiny_options("sequential", data, **{**SHORT, "splits": ["test"]}))
    found = batches.after_each_batch(run, 3, most=4)
    assert found["images"].unique().tolist() == [4]
    figure = batches.course(found)
    drawn = [line.get_ydata() for line in figure.axes[0].lines[:2]]
    assert np.allclose(drawn, [found[found["domain"] == name]["value"] for name in ("first", "second")])
    assert figure.get_label().startswith("Accuracy after each of 3 batches of second: first from ")
