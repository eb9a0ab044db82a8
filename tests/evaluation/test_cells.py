"""Tidy tables against the matrices that they come from, ranks against SciPy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cldf_core.evaluation.bootstrap import matrices
from cldf_core.evaluation.cells import as_text, cell_changes, cell_values, loss_table, metric_name, rank_table
from cldf_core.evaluation.metrics import CONTINUAL, matrix
from samples import random_scores

FIRST, SECOND = random_scores(1), random_scores(2)


def test_cell_values_are_the_matrix_of_each_agent_with_its_intervals():
    cells = cell_values(pd.concat([FIRST.assign(agent="mir"), SECOND.assign(agent="er")]), "AUC")
    assert list(cells) == ["agent", "step", "domain", "value", "low", "high", "verdicts"]
    assert list(dict.fromkeys(cells["agent"])) == ["mir", "er"]
    R = matrices(SECOND, ["AUC"])
    low, high = R.metrics["AUC"].interval()
    table = matrix(SECOND, "AUC")
    for cell in cells[cells["agent"] == "er"].itertuples():
        at = R.steps.index(cell.step), R.domains.index(cell.domain)
        assert (cell.value, cell.low, cell.high) == (table.loc[cell.step, cell.domain], low[at], high[at])


@pytest.mark.parametrize(
    ("fakes", "verdicts"), [(0, "all real"), (2, "all real"), (3, "mixed"), (97, "mixed"), (98, "all fake")]
)
def test_cells_in_which_one_verdict_is_that_of_nearly_all_images_say_so(fakes, verdicts):
    images = {"step": 1, "domain": "a", "split": "test", "group": [f"group{k // 4}" for k in range(100)]}
    scores = pd.DataFrame({**images, "label": [0, 1] * 50, "score": [0.5] * fakes + [0.49] * (100 - fakes)})
    other = scores.assign(domain="b", label=1 - scores["label"], score=0.9)
    validation = scores.assign(split="validation", score=0.1)  # of another split
    cells = cell_values(pd.concat([other, scores, validation], ignore_index=True).assign(agent="er"))
    at = cells.set_index("domain")["verdicts"]
    assert (at["a"], at["b"]) == (verdicts, "all fake")


def test_cell_changes_are_differences_of_the_matrices_with_paired_intervals():
    table = matrix(FIRST) - matrix(SECOND)
    for cell in cell_changes(FIRST, SECOND).itertuples():
        assert cell.value == table.loc[cell.step, cell.domain]
        assert cell.low <= cell.value <= cell.high
    nothing = cell_changes(FIRST, FIRST)
    assert (nothing["value"] == 0).all()
    assert nothing[["low", "high"]].isna().all(axis=None)


def test_metrics_have_names_for_readers():
    names = {
        "accuracy: average": "average accuracy",
        "accuracy: learning": "learning accuracy",
        "AUC: anytime average": "anytime average AUC",
        "accuracy: forgetting (max-last)": "forgetting of accuracy (max-last)",
        "accuracy: forgetting (max-last) from 3": "forgetting of accuracy (max-last), domains\xa03\xa0on",
        "accuracy: average from 3": "average accuracy, domains\xa03\xa0on",
        "AUC: backward transfer": "backward transfer of AUC",
        "accuracy: lowest R": "lowest accuracy",
        "accuracy: unseen": "accuracy on unseen domains",
        "accuracy: unseen: mini-NeuralTextures": "accuracy on mini-NeuralTextures, unseen",
        "average": "average",
        "unseen: VFHQ": "unseen: VFHQ",
        "processor seconds": "processor seconds",
    }
    assert {metric: metric_name(metric) for metric in names} == names
    # No two metrics of the metric table share a name.
    keys = [f"{measure}: {name}" for measure in ("accuracy", "AUC") for name in (*CONTINUAL, "unseen")]
    assert len({metric_name(key) for key in keys}) == len(keys)


def test_losses_are_counted_on_through_the_chunks_of_a_step():
    steps = [{"step": 1, "domain": "a", "losses": [0.5, None, 0.25]}, {"step": 2, "domain": "b", "losses": [0.125]}]
    want = [("er", 1, "a", 0.5, 1), ("er", 1, "a", 0.25, 2), ("er", 2, "b", 0.125, 1)]
    assert list(loss_table("er", steps).itertuples(index=False, name=None)) == want


def test_ranks_are_of_the_seeds_that_all_have():
    values = {  # a tie in seed 0; seed 2 is not shared; `mine` has no forgetting
        "average": {"er": [0.9, 0.8, 0.1], "mir": [0.9, 0.7], "mine": [0.5, 0.9]},
        "forgetting": {"er": [0.1, 0.1], "mir": [0.2, 0.3], "mine": [np.nan, np.nan]},
    }
    rows = [(a, s, m, v) for m, of in values.items() for a, series in of.items() for s, v in enumerate(series)]
    table = pd.DataFrame(rows, columns=["agent", "seed", "metric", "value"])
    ranked = rank_table(table, ["average", "forgetting"], small=["forgetting"])
    assert list(ranked) == ["metric", "agent", "seed", "rank", "mean"]
    assert list(dict.fromkeys(ranked["agent"])) == ["er", "mine", "mir"]  # the best by the first metric comes first
    ranks = {key: (part["rank"].tolist(), part["mean"].iloc[0]) for key, part in ranked.groupby(["metric", "agent"])}
    assert ranks["average", "er"] == ([1.5, 2], 1.75)
    assert ranks["average", "mine"] == ([3, 1], 2)
    assert ranks["average", "mir"] == ([1.5, 3], 2.25)
    assert (ranks["forgetting", "er"], ranks["forgetting", "mir"]) == (([1, 1], 1), ([2, 2], 2))
    assert np.isnan(ranks["forgetting", "mine"][0]).all()
    assert rank_table(table, ["nothing"]).empty


@settings(deadline=None, max_examples=25)
@given(values=st.lists(st.integers(0, 4), min_size=2, max_size=7))
@pytest.mark.parametrize(("small", "sign"), [([], -1), (["average"], 1)])
def test_ranks_are_scipys(values, small, sign):
    table = pd.DataFrame({"agent": list("abcdefg")[: len(values)], "seed": 0, "metric": "average", "value": values})
    got = rank_table(table, ["average"], small=small).set_index("agent")["rank"]
    np.testing.assert_array_equal(got[table["agent"]], stats.rankdata(sign * np.array(values)))
    assert got.is_monotonic_increasing


def test_estimates_are_written_with_their_intervals():
    rows = [
        ("er", "average", 0.9, 0.85, 0.954),
        ("mine", "average", -0.1, np.nan, np.nan),
        ("er", "change", -0.001, -0.02, -0.004),
        ("mine", "change", -0.004, -0.006, 0.0),
        ("er", "AUC", 1, 0.9, 1),
        ("mine", "AUC", np.nan, np.nan, np.nan),
    ]
    table = pd.DataFrame(rows, columns=["agent", "metric", "value", "low", "high"])
    text = as_text(table)
    assert list(text) == ["average", "change", "AUC"]
    assert text["change"].to_dict() == {"ER (random)": "0.00 [-0.02, 0.00]", "mine": "0.00 [-0.01, 0.00]"}
    assert text["average"].to_dict() == {"ER (random)": "0.90 [0.85, 0.95]", "mine": "-0.10 (no interval)"}
    assert text["AUC"].to_dict() == {"ER (random)": "1.00 [0.90, 1.00]", "mine": "–"}
    assert list(as_text(table, ["AUC"])) == ["AUC"]
