"""Agents side by side: what is told of every agent, costs in units, differences from one agent, and who helps."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from cldf_core.options import AGENTS
from cldf_core.results import ledger
from cldf_core.workflow.parameters import agents_of, checked_parameters


def test_every_agent_that_notebooks_compare_has_its_facts():
    runs = checked_parameters("08_cross_data_set_evaluation", {}).runs
    assert {*AGENTS, *agents_of("08_cross_data_set_evaluation"), *runs} == set(ledger.FACTS)
    table = ledger.facts(["er", "own"])
    assert list(table.columns) == list(ledger.COLUMNS)
    assert table.loc["er", "keeps"] == "a random sample of images"
    assert table.loc["own"].isna().all()


def test_costs_have_units():
    rows = [(a, m, k, np.nan, np.nan) for a in ("er",) for k, m in enumerate([*ledger.UNITS, "AUC"])]
    table = ledger.costs(pd.DataFrame(rows, columns=["agent", "metric", "value", "low", "high"]))
    wide = table.pivot(index="agent", columns="cost", values="value")
    assert wide.loc["er"].to_dict() == {
        "images passed (thousand)": 0,
        "processor seconds": 1,
        "kept (MB)": pytest.approx(2e-6),
    }


def test_a_difference_is_taken_from_pairs_in_either_order():
    pairs = pd.DataFrame(
        [("er", "base", 0.2, 0.1, 0.4, 0.02), ("base", "mir", 0.1, -0.1, 0.3, 0.2), ("er", "mir", 0.0, 0.0, 0.0, 1.0)],
        columns=["first", "second", "difference", "low", "high", "p"],
    ).assign(metric="AUC", p_holm=1.0)
    table = ledger.minus(pairs, "base").set_index("agent")
    assert table.loc["er", ["value", "low", "high", "significant"]].tolist() == [0.2, 0.1, 0.4, True]
    assert table.loc["mir", ["value", "low", "high", "significant"]].tolist() == [-0.1, -0.3, 0.1, False]
    assert set(table["reference"]) == {"base"}
    assert table["p_holm"].to_dict() == {"er": 0.04, "mir": 0.2}  # Holm's of two, not of three
    empty = ledger.minus(pairs.iloc[:0], "base")
    assert (list(empty.columns), len(empty)) == (
        ["value", "low", "high", "p", "metric", "p_holm", "agent", "reference", "significant"],
        0,
    )


def test_one_part_is_changed_at_a_time():
    rows = [
        ("er", "er, none", 0.2, 0.1, 0.3, 0.02),
        ("er", "er, small", 0.2, 0.1, 0.3, 0.02),
        ("er, many", "er", 0.1, 0.0, 0.2, 0.03),
        ("er", "er, small, many", 0.5, 0.4, 0.6, 0.001),  # two parts
        ("er, small", "er, small, many", 0.3, 0.2, 0.4, 0.001),
        ("er", "era, small", 0.5, 0.4, 0.6, 0.001),
    ]
    pairs = pd.DataFrame(rows, columns=["first", "second", "difference", "low", "high", "p"])
    pairs = pairs.assign(metric="AUC", p_holm=1.0)
    table = ledger.changed(pairs, "er").set_index("part")
    assert table["value"].to_dict() == {"many": 0.1, "none": -0.2}  # what has parts of its own is no part
    assert table["p_holm"].to_dict() == {"many": 0.04, "none": 0.04}  # Holm's of two, not of six
    assert table["significant"].all()
    assert ledger.changed(pairs, "er, small").set_index("part")["value"].to_dict() == {"many": -0.3}
    assert not len(ledger.changed(pairs[:0], "er"))


def test_who_helps_loses_less_than_half_and_ends_well_above():
    forgets = pd.DataFrame({"agent": ["sequential", "a", "b", "c", "joint"], "value": [0.3, 0.1, 0.2, 0.1, 0.0]})
    gains = pd.DataFrame({"agent": ["a", "b", "c", "d", "joint"], "value": [0.1, 0.1, 0.1, 0.02, 0.2]})
    table = ledger.helping(forgets, gains.assign(shown=[True, True, False, True, True])).set_index("agent")
    assert table["first"].to_dict() == {"a": True, "b": False, "c": True, "d": False}
    assert table["second"].to_dict() == {"a": True, "b": True, "c": False, "d": False}
    told = gains.assign(shown=True, agent=gains["agent"] + ", told")
    assert ledger.helping(forgets, told).empty  # rows of their own
    assert table["both"].to_dict() == {"a": True, "b": False, "c": False, "d": False}
    unknown = ledger.helping(forgets[forgets["agent"] != "sequential"], gains.assign(shown=True))
    assert not unknown["first"].any()
    assert not ledger.helping(forgets.assign(value=-forgets["value"]), gains.assign(shown=True))["first"].any()


def test_of_all_simulated_levels_the_one_that_is_held_least_often_counts():
    rows = [
        {"metric": "accuracy", "level": level, "seeds": seeds, "share": share, "simulations": 400}
        | {"crossed": 0.95 - level / 10, "seeds alone": 0.5 + share / 2 - level / 10, "groups alone": 1 - share / 2}
        for level in (0.1, 0.3)
        for seeds in (3, 5)
        for share in (0.0, 1.0)
    ]
    table = ledger.lowest_coverage(pd.DataFrame(rows)).set_index(["agent", "share"])
    assert len(table) == len(ledger.OVER) * 2
    assert table["value"].to_dict() == pytest.approx(
        {("seeds × photographs", 0.0): 0.92, ("seeds × photographs", 1.0): 0.92}
        | {("seeds alone", 0.0): 0.47, ("seeds alone", 1.0): 0.97}
        | {("photographs alone", 0.0): 1.0, ("photographs alone", 1.0): 0.5}
    )
    row = table.loc[("photographs alone", 1.0)]
    exact = binomtest(200, 400).proportion_ci(0.95, method="exact")
    assert (row["low"], row["high"]) == pytest.approx((exact.low, exact.high))
