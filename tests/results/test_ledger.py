"""Agents side by side: what is told of every agent, costs in units, differences from one agent, and who helps."""

import numpy as np
import pandas as pd
import pytest
import torch

from cldf_core.buffers import Packed
from cldf_core.options import AGENTS, options_of
from cldf_core.results import ledger
from cldf_core.workflow.parameters import agents_of, checked_parameters


def test_every_agent_that_notebooks_compare_has_its_facts():
    runs = checked_parameters("08_cross_data_set_evaluation", {}).runs
    assert {*AGENTS, *agents_of("08_cross_data_set_evaluation"), *runs} == set(ledger.FACTS)
    table = ledger.facts(["er", "own"])
    assert list(table.columns) == list(ledger.COLUMNS)
    assert table.loc["er", "keeps"] == "a random sample of images"
    assert table.loc["own"].isna().all()


@pytest.mark.parametrize("feature", ["spectrum", "image"])
def test_joint_training_keeps_all_images_as_a_memory_packs_them(feature):
    options = options_of({"agent": "joint", "stream": ["a", "b"], "feature": feature, "size": 16, "epochs": 3})
    steps = [{"step": 1, "images": 3 * 10}, {"step": 2, "images": 3 * 18}, {"step": 2, "images": 3 * 7}]  # two chunks
    planes = torch.zeros(25, 3, 16, 16 if feature == "image" else 9)
    want = Packed.pack(planes, "image" if feature == "image" else "half").nbytes
    assert ledger.bytes_of_all({"options": options.model_dump(), "steps": steps}) == want


def test_costs_have_units_and_joint_training_its_images():
    rows = [
        (a, m, k, np.nan, np.nan) for a in ("er", "joint, same passes") for k, m in enumerate([*ledger.UNITS, "AUC"])
    ]
    table = ledger.costs(pd.DataFrame(rows, columns=["agent", "metric", "value", "low", "high"]), 3e6)
    wide = table.pivot(index="agent", columns="cost", values="value")
    assert wide.loc["er"].to_dict() == {
        "images passed (thousand)": 0,
        "processor seconds": 1,
        "kept (MB)": pytest.approx(2e-6),
    }
    assert wide.loc["joint, same passes", "kept (MB)"] == 3


def test_a_difference_is_taken_from_pairs_in_either_order():
    pairs = pd.DataFrame(
        [("er", "base", 0.2, 0.1, 0.4, 0.01), ("base", "mir", 0.1, -0.1, 0.3, 0.2), ("er", "mir", 0.0, 0.0, 0.0, 1.0)],
        columns=["first", "second", "difference", "low", "high", "p_holm"],
    )
    table = ledger.minus(pairs, "base").set_index("agent")
    assert table.loc["er", ["value", "low", "high", "significant"]].tolist() == [0.2, 0.1, 0.4, True]
    assert table.loc["mir", ["value", "low", "high", "significant"]].tolist() == [-0.1, -0.3, 0.1, False]
    assert set(table["reference"]) == {"base"}
    empty = ledger.minus(pairs.iloc[:0], "base")
    assert (list(empty.columns), len(empty)) == (
        ["value", "low", "high", "p_holm", "agent", "reference", "significant"],
        0,
    )


def test_who_helps_loses_less_than_half_and_ends_well_above():
    forgets = pd.DataFrame({"agent": ["sequential", "a", "b", "c", "joint"], "value": [0.3, 0.1, 0.2, 0.1, 0.0]})
    gains = pd.DataFrame({"agent": ["a", "b", "c", "d", "joint"], "value": [0.1, 0.1, 0.1, 0.02, 0.2]})
    table = ledger.helping(forgets, gains.assign(shown=[True, True, False, True, True])).set_index("agent")
    assert table["first"].to_dict() == {"a": True, "b": False, "c": True, "d": False}
    assert table["second"].to_dict() == {"a": True, "b": True, "c": False, "d": False}
    assert table["both"].to_dict() == {"a": True, "b": False, "c": False, "d": False}
    unknown = ledger.helping(forgets[forgets["agent"] != "sequential"], gains.assign(shown=True))
    assert not unknown["first"].any()
    assert not ledger.helping(forgets.assign(value=-forgets["value"]), gains.assign(shown=True))["first"].any()
