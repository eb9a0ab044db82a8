"""The bench: variants are trained or read, kept, and laid over the default, on validation images."""

import os

import numpy as np
import pytest

from cldf_core.evaluation.cells import cell_values
from cldf_core.interact.bench import ALL, DEFAULT, Bench
from cldf_core.options import UserError
from cldf_core.workflow.parameters import Parameters
from moving import check_bundle
from samples import SHORT, make_data, tiny_options


@pytest.fixture
def bench(trained) -> Bench:
    _, data, _ = trained
    options = tiny_options("er", data, **SHORT)
    values = {name: getattr(options, name) for name in options.model_fields_set - {"agent"}}
    return Bench(Parameters("07_er_and_mir", values), "er")


def test_a_variant_is_trained_kept_and_laid_over_the_default(bench):
    check_bundle(bench)
    before = bench.picture.value
    assert "each domain&#x27;s validation images" in before
    bench.option.value, bench.text.value = "replay", "1"
    assert "allowed: a whole number from 1 to 100000" in bench.message.value
    bench.train()
    assert bench.message.value == "kept: replay = 1"
    assert bench.controls["variant"].options == (DEFAULT, "replay = 1")
    assert bench.picture.value != before
    check_bundle(bench)
    drawn = np.asarray(bench.draw("replay = 1").axes[0].images[0].get_array())
    after, default = (cell_values(bench.kept[name], split="validation") for name in ("replay = 1", DEFAULT))
    assert np.allclose(drawn.ravel(), 100 * (after["value"] - default["value"]))
    bench.controls["variant"].value = DEFAULT
    assert bench.picture.value == before
    bench.option.value, bench.text.value = "lr", "0.05"
    bench.train()
    assert list(bench.kept) == [DEFAULT, "replay = 1", "lr = 0.05"]
    assert bench.controls["variant"].options == (DEFAULT, "replay = 1", "lr = 0.05", ALL)
    assert [axis.get_title().split("\n")[1] for axis in bench.draw(ALL).axes[:2]] == ["replay = 1", "lr = 0.05"]
    bench.controls["variant"].value = ALL
    assert "Accuracy with replay = 1 or lr = 0.05 minus that as in this notebook" in bench.picture.value
    if folder := os.environ.get("CLDF_SCREENSHOTS"):  # for those who want to see it
        bench.draw(ALL).savefig(f"{folder}/bench.png", dpi=110)


def test_no_test_image_is_looked_at(bench):
    assert {split for scores in bench.kept.values() for split in scores["split"]} == {"validation"}


@pytest.mark.parametrize(("name", "text"), [("replay", "many"), ("lr", "-1"), ("memory", "<b>")])
def test_a_value_that_is_not_allowed_is_told_and_trains_nothing(bench, name, text):
    bench.option.value, bench.text.value = name, text
    bench.train()
    assert f"{name} is " in bench.message.value
    assert "allowed: " in bench.message.value
    assert "<b>" not in bench.message.value
    assert list(bench.kept) == [DEFAULT]


def test_without_validation_images_it_says_that_it_looks_at_the_test(trained):
    _, data, _ = trained
    options = tiny_options("er", data, **{**SHORT, "splits": ["test"]})
    values = {name: getattr(options, name) for name in options.model_fields_set - {"agent"}}
    bench = Bench(Parameters("07_er_and_mir", values), "er")
    assert bench.message.value.startswith("On TEST images, as not every domain has validation scores: choose nothing. ")
    assert "each domain&#x27;s test images" in bench.picture.value


def test_a_domain_without_validation_images_is_told_and_not_lost(tmp_path, monkeypatch):
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "root"))
    data = make_data(tmp_path / "data", ("first", "second", "unseen"), validation=4)
    for path in data.glob("*/second/valA/*"):
        path.unlink()
    options = tiny_options("er", data, **SHORT)
    values = {name: getattr(options, name) for name in options.model_fields_set - {"agent"}}
    bench = Bench(Parameters("07_er_and_mir", values), "er")
    assert bench.message.value.startswith("On TEST images, as not every domain has validation scores: choose nothing.")
    assert "each domain&#x27;s test images" in bench.picture.value
    for path in data.glob("*/first/testA/*"):
        path.unlink()
    with pytest.raises(UserError, match="no split of validation, test has images of every domain of the stream"):
        Bench(Parameters("07_er_and_mir", values), "er")


def test_what_stops_the_training_is_told(bench, monkeypatch):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "_scores", stopped)
    bench.option.value, bench.text.value = "replay", "1"
    with pytest.raises(KeyboardInterrupt):
        bench.train()
    assert bench.message.value == "that was stopped, or ended with an error"
