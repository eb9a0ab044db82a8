"""Figures of corruptions: what is drawn is what the tables hold, in the order of the severities."""

import itertools

import numpy as np
import pandas as pd
import pytest

from cldf_core import figures
from cldf_core.data.corruptions import SEVERITIES, VERSIONS
from cldf_core.figures.robustness import GREY

STREAM = ["first", "second"]
RNG = np.random.default_rng(0)
PLANES = RNG.normal(size=(2, 32, 17))


def table_of(**columns) -> pd.DataFrame:
    """A row for each version and combination of the columns, with an interval."""
    rows = [(*version, *cell) for version in VERSIONS for cell in itertools.product(*columns.values())]
    table = pd.DataFrame(rows, columns=["corruption", "severity", *columns])
    value = RNG.random(len(table))
    return table.assign(value=value, low=value - 0.1, high=value + 0.1)


DOMAINS = ["first", "second", "unseen"]
TABLE = table_of(agent=["sequential", "er"], domain=[*DOMAINS, "average"], metric=["accuracy", "AUC"])
TRACES = table_of(domain=DOMAINS, trace=["grid 2", "low", "mid", "high"], **{"class": ["real", "fake", "fake − real"]})


def test_curves_run_from_the_stored_image_to_the_most_severe_corruption():
    axes = figures.against_severity(TABLE, highlight=["er"]).axes
    ticks = [[t.get_text() for t in ax.get_xticklabels()] for ax in axes[4:8]]
    assert ticks[0] == ["stored", "once", "95", "90", "80", "70", "50", "30"]
    assert ticks[1:] == [
        ["0.5", "0.75", "1", "1.25", "1.5"],
        ["0", "0.5", "0.75", "1", "1.5", "2"],
        ["0", ".05", ".1", ".2", ".5", "1"],
    ]
    # The line of ER in the panel of JPEG and accuracy, point by point.
    of_er = TABLE.query("agent == 'er' and domain == 'average' and metric == 'accuracy'")
    values = of_er.set_index(["corruption", "severity"])["value"]
    want = [values["stored", 0.0], values["none", 0.0], *(values["JPEG", q] for q in (95, 90, 80, 70, 50, 30))]
    (line,) = [line for line in axes[0].lines if line.get_label() == "ER (random)"]
    np.testing.assert_array_equal(line.get_ydata(), want)
    # Only what is highlighted has its colour and a band, and is named where its line ends.
    (other,) = [line for line in axes[0].lines if line.get_label() == "other agents"]
    assert (line.get_color(), other.get_color()) == (figures.style.agent_colour("er"), GREY)
    assert len(axes[0].collections) == 1
    (last,) = [line for line in axes[3].lines if line.get_label() == "ER (random)"]
    named = {text.get_text(): text.xy[1] for text in axes[3].texts}
    assert set(named) == {"ER (random)", "other agents"}
    assert named["ER (random)"] == last.get_ydata()[-1]
    assert not axes[0].texts


@pytest.mark.parametrize("heights", [[0.5] * 4, [0.99, 1.0, 0.98, 0.4], [0.0, 0.01], [0.2, np.nan, 0.8]])
def test_names_beside_lines_keep_apart_and_on_the_axis(heights):
    _, ((ax,),) = figures.style.panels(1, 1, 2.0)
    ax.set_ylim(0, 1)
    figures.style.label_ends(ax, {f"line {k}": (height, "black") for k, height in enumerate(heights)}, gap=0.1)
    known = sorted(height for height in heights if not np.isnan(height))
    assert [text.xy[1] for text in ax.texts] == known  # the leader begins where the line ends
    places = np.array([text.xyann[1] for text in ax.texts])
    assert (np.diff(places) > 0.1 - 1e-9).all()
    assert -1e-9 <= places.min() <= places.max() <= 1 + 1e-9
    if min(np.diff(known)) > 0.1:
        np.testing.assert_allclose(places, known)


@pytest.mark.parametrize("corruption", SEVERITIES)
def test_verdicts_and_traces_have_a_column_for_each_domain(corruption):
    figure = figures.verdicts_and_traces(TABLE, TRACES, corruption, STREAM, highlight=["er"])
    assert [ax.get_title() for ax in figure.axes[:3]] == ["first", "second", "unseen\n(never trained on)"]
    assert {text.get_text() for text in figure.axes[2].texts} == {"other agents", "ER (random)"}
    middle, below = figure.axes[3], figure.axes[6]
    assert [line.get_label() for line in middle.lines[:2] + below.lines[:3]] == ["real", "fake", "low", "mid", "high"]
    real = TRACES.query("domain == 'first' and trace == 'grid 2' and `class` == 'real' and corruption == 'none'")
    assert np.exp(real["value"].item()) in middle.lines[0].get_ydata()  # as a ratio


def test_the_common_step_is_drawn_before_and_after():
    axes = figures.common_step(TABLE[TABLE["domain"] != "average"], STREAM).axes
    want = TABLE.query("domain == 'second' and metric == 'accuracy' and corruption in ('stored', 'none')")
    dots = {line.get_xdata()[0]: line for line in axes[1].lines if line.get_marker() == "s"}
    assert set(dots) == set(want["value"])
    stored = set(want.loc[want["corruption"] == "stored", "value"])
    assert {value for value, line in dots.items() if line.get_markerfacecolor() == "white"} == stored


def test_differences_and_examples_share_their_ranges():
    figure = figures.differences_left({"first": PLANES, "unseen": 2 * PLANES}, ["none", "JPEG 30"], STREAM)
    assert [ax.get_ylabel() for ax in figure.axes[:4:2]] == ["first", "unseen\n(never\ntrained on)"]
    np.testing.assert_array_equal(np.fft.ifftshift(figure.axes[0].images[0].get_array())[:, :17], PLANES[0])
    assert len({ax.images[0].get_clim() for ax in figure.axes[:4]}) == 1
    crops = RNG.integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    titles = ["none", "blur 2"]
    figure = figures.corrupted_examples(dict(zip(titles, crops, strict=True)), dict(zip(titles, PLANES, strict=True)))
    assert [ax.get_title() for ax in figure.axes[:2]] == titles
    assert figure.axes[2].images[0].get_clim() == figure.axes[3].images[0].get_clim()
