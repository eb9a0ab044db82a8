"""Figures of performance: what is drawn is what the tables hold."""

import numpy as np
import pandas as pd
import pytest

from cldf_core import figures
from cldf_core.figures.style import GREY, agent_colour

PAIR = ("accuracy: learning", "accuracy: backward transfer")


def test_trade_offs_show_values_intervals_and_seeds():
    rows = [("er", PAIR[0], 0.9), ("er", PAIR[1], -0.1), ("lwf", PAIR[0], 0.8), ("lwf", PAIR[1], -0.4)]
    table = pd.DataFrame(rows, columns=["agent", "metric", "value"])
    table = table.assign(low=table["value"] - 0.1, high=table["value"] + 0.2)
    points = pd.concat([table[:2].assign(seed=seed, value=table["value"] + seed / 100) for seed in (0, 1)])
    figure = figures.trade_offs(table, [PAIR], points=points)
    lines = [[list(map(float, xy)) for xy in line.get_data()] for line in figure.axes[0].lines]
    assert [[0.9], [-0.1]] in lines
    assert [[0.8], [-0.4]] in lines
    assert [[0.9, 0.91], [-0.1, pytest.approx(-0.09)]] in lines
    across = [line for line in lines if len(set(line[1])) == 1 and len(line[0]) == 2]
    assert across == [[[0.8, 1.0], [-0.1, -0.1]], [pytest.approx([0.7, 1.0]), [-0.4, -0.4]]]  # no accuracy is above 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ER (random)", "LwF"]
    assert figure.axes[0].get_xlabel() == "learning accuracy"
    table = table[(table["agent"] == "er") | (table["metric"] == PAIR[0])]  # an agent lacks a value
    assert len(figures.trade_offs(table, [PAIR]).axes[0].lines) == 3  # two intervals and the dot of er


def test_an_interval_of_a_cost_may_reach_above_1():
    table = pd.DataFrame([("er", "seconds", 2.0, 1.5, 3.0)], columns=["agent", "metric", "value", "low", "high"])
    across = figures.trade_offs(table, [("seconds", "seconds")]).axes[0].lines[0]
    assert list(across.get_xdata()) == [1.5, 3.0]


CELLS = pd.DataFrame(
    [
        (agent, step, domain, 0.1 * step + 0.01 * place + k / 10)
        for k, agent in enumerate(("er", "mir", "joint"))
        for step in (1, 2, 3)
        for place, domain in enumerate(("a", "b", "c", "new"))
    ],
    columns=["agent", "step", "domain", "value"],
).assign(low=lambda cells: cells["value"] - 0.04, high=lambda cells: cells["value"] + 0.06)


def test_last_rows_have_the_values_after_the_last_step_and_half_of_their_intervals():
    figure = figures.last_rows(CELLS, ["a", "b", "c"])
    ax = figure.axes[0]
    last = CELLS[CELLS["step"] == 3]
    want = [f"{value:.2f}".removeprefix("0") for value in last["value"]]
    assert [text.get_text() for text in ax.texts] == [text for value in want for text in (value, "±.05")]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ER (random)", "MIR", "joint training"]
    np.testing.assert_allclose(ax.images[0].get_array(), last["value"].to_numpy().reshape(3, 4))
    gap = ax.patches[0].get_bbox()
    assert (gap.x0, gap.x1) == pytest.approx((2.5, 2.6))  # between those trained on and the other


def test_agents_to_highlight_have_colours_bands_and_names_and_the_others_are_grey():
    figure = figures.over_time(CELLS, ["a", "b", "c"], highlight=["mir"])
    first = figure.axes[0]
    lines = {line.get_label(): line for line in first.lines}
    np.testing.assert_allclose(lines["MIR"].get_ydata(), CELLS.query("agent == 'mir' and domain == 'a'")["value"])
    assert [line.get_color() for line in first.lines[:3]] == [GREY, agent_colour("mir"), GREY]
    assert len(first.collections) == 1  # a band
    named = [{text.get_text() for text in ax.texts} for ax in figure.axes]
    assert named == [set()] * 3 + [{"MIR", "other agents"}] + [set()] * 2  # in the last panel
    assert not figures.over_time(CELLS, ["a", "b", "c"]).axes[3].texts


def test_costs_have_bars_from_0_and_intervals_where_there_are_some():
    rows = [("er", "seconds", 30.0, 25.0, 35.0), ("mir", "seconds", 50.0, np.nan, np.nan)]
    (ax,) = figures.costs(pd.DataFrame(rows, columns=["agent", "cost", "value", "low", "high"])).axes
    assert [bar.get_width() for bar in ax.patches] == [30, 50]
    ends = ax.collections[0].get_segments()
    assert list(ends[0][:, 0]) == [25, 35]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ER (random)", "MIR"]


def settings_of(option: str, **values: dict) -> pd.DataFrame:
    rows = [(agent, s, "average", v, v - 0.05, v + 0.05) for agent, runs in values.items() for s, v in runs.items()]
    return pd.DataFrame(rows, columns=["agent", option, "metric", "value", "low", "high"])


def test_numbers_are_joined_in_their_order_text_is_not_and_what_was_not_run_is_missing():
    table = settings_of("memory", er={800: 0.9, 50: 0.6, 100: 0.7}, mir={50: 0.5, 800: 0.8})
    axis = figures.by_setting(table, "memory", ["average"]).axes[0]
    drawn = {line.get_label(): line for line in axis.lines}
    np.testing.assert_array_equal(drawn["ER (random)"].get_ydata(), [0.6, 0.7, 0.9])
    np.testing.assert_array_equal(drawn["MIR"].get_ydata(), [0.5, 0.8])
    np.testing.assert_array_equal(np.round(drawn["MIR"].get_xdata()), [0, 2])  # not joined at 100
    assert drawn["MIR"].get_linestyle() == "-"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["50", "100", "800"]
    ends = [segment for part in axis.collections for segment in part.get_segments()]
    assert sorted(np.ptp(np.asarray(ends)[:, :, 1], axis=1)) == pytest.approx([0.1] * 5)
    assert axis.get_title() == "average"
    table = settings_of("memory", er={50: 0.98}).assign(metric="accuracy: forgetting (max-last)")
    axis = figures.by_setting(table, "memory", ["accuracy: forgetting (max-last)"]).axes[0]
    assert axis.get_title() == "forgetting of accuracy\n(max-last)"
    assert axis.collections[0].get_segments()[0][:, 1] == pytest.approx([0.93, 1.0])  # no metric is above 1
    table = settings_of("order", er={"A\nB": 0.9, "B\nA": 0.6}, lwf={"B\nA": 0.5})
    axis = figures.by_setting(table, "order", ["average"]).axes[0]
    assert {line.get_linestyle() for line in axis.lines} == {"None"}
    assert [label.get_text() for label in axis.get_xticklabels()] == ["A\nB", "B\nA"]


def test_what_is_no_agent_can_be_told_apart():
    table = settings_of("share", **{"seeds alone": {0.0: 0.5}, "photographs alone": {0.0: 0.9}, "both": {0.0: 0.95}})
    lines = figures.by_setting(table, "share", ["average"]).axes[0].lines
    for look in ("color", "marker"):
        assert len({getattr(line, f"get_{look}")() for line in lines}) == len(lines)


def test_each_agents_curves_stand_beside_those_of_another_one():
    values = {"sequential": {5: 0.1, 50: 0.3, 250: 0.4}, "er": {250: 0.5, 5: 0.2}, "er, equal epochs": {5: 0.15}}
    table = settings_of("images", **values)
    table = pd.concat([table, table.assign(metric="forgetting", value=-table["value"])])
    names, beside = {"average": "gained", "forgetting": "lost"}, {"sequential": "sequential", "er": "sequential"}
    figure = figures.against_images(table, names, beside, grey="sequential", everything=250)
    own, er = figure.axes[:2]
    curves = [[line.get_xydata().tolist() for line in ax.lines if len(line.get_xdata()) == 3] for ax in (own, er)]
    up = [[5, 0.1], [50, 0.3], [250, 0.4]]
    assert curves == [[up, [[x, -y] for x, y in up]]] * 2  # coloured on the left, grey on the right
    assert [line.get_color() for line in er.lines[:4]] == ["0.65"] * 2 + [agent_colour("er")] * 2
    assert er.lines[2].get_xydata().tolist() == [[5, 0.2], [250, 0.5]]  # what was not run is missing
    assert [line.is_dashed() for line in er.lines[:4]] == [False, True] * 2
    assert (len(own.collections), len(er.collections), own.get_xscale()) == (2, 2, "log")
    assert [label.get_text() for label in er.get_xticklabels()] == ["5", "50", "all\n(250)"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["gained", "lost", "sequential"]
    figure = figures.against_images(table, names, {"er, equal epochs": "er"}, grey="er", everything=900)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["5", "50", "250"]
    assert figure.axes[0].get_title() == "ER (random), equal epochs"


def test_ranks_show_single_seeds_and_their_mean():
    rows = [
        *[("average", "er", 0, 1.5, 1.75), ("average", "er", 1, 2.0, 1.75)],
        *[("average", "mine", 0, 1.5, 1.25), ("average", "mine", 1, 1.0, 1.25)],
        *[("forgetting", "er", 0, 1.0, 1.0), ("forgetting", "mine", 0, np.nan, np.nan)],
    ]
    axes = figures.ranks(pd.DataFrame(rows, columns=["metric", "agent", "seed", "rank", "mean"])).axes
    drawn = [[(line.get_color(), list(line.get_xdata())) for line in ax.lines] for ax in axes]
    er, mine = map(agent_colour, ("er", "mine"))
    assert drawn[0] == [(er, [1.75]), (er, [1.5, 2]), (mine, [1.25]), (mine, [1.5, 1])]
    assert drawn[1] == [(er, [1]), (er, [1])]
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["ER (random)", "mine"]
    assert axes[0].yaxis_inverted()  # the best is at the top
    assert [ax.get_title() for ax in axes] == ["average", "forgetting"]
    assert axes[0].get_xlim() == axes[1].get_xlim() == (0.5, 2.5)
