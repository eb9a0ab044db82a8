"""The ranking of the differences, against numbers by hand."""

from statistics import NormalDist

import pandas as pd
import pytest

from cldf_core.evaluation.seeds import seed_noise_margin
from cldf_core.options import Options, checked
from cldf_core.original import ablations


def table_of(*rows: tuple[str, float, float, float]) -> pd.DataFrame:
    parts = []
    for switch, value, low, high in rows:
        facts = {"agent": "er", "switch": switch, "paper": "a", "original": "b", "source": "a choice"}
        parts.append({**facts, "metric": "average", "value": value, "low": low, "high": high})
        parts.append({**facts, "metric": "forgetting (max-last)", "value": -value / 2, "low": 0.0, "high": 0.0})
    return pd.DataFrame(parts)


def seeds_of(**values: list[float]) -> pd.DataFrame:
    rows = [(agent, seed, "average", v) for agent, runs in values.items() for seed, v in enumerate(runs)]
    return pd.DataFrame(rows, columns=["agent", "seed", "metric", "value"])


def test_the_ranking_follows_the_size_of_the_change_and_widens_the_intervals():
    # Five comparisons: 95 % for all is 99 % each, half-widths times 2.5758 / 1.9600 = 1.3142.
    assert NormalDist().inv_cdf(1 - 0.025 / 5) == pytest.approx(2.5758, abs=1e-4)
    table = table_of(
        ("small", 0.02, 0.001, 0.04),  # excludes 0, not when widened
        ("harm", -0.20, -0.30, -0.10),  # -0.2 + 0.1 * 1.31 < 0
        ("some", 0.10, 0.02, 0.15),  # 0.1 - 0.08 * 1.31 < 0
        ("noise", 0.05, 0.03, 0.07),  # widened it holds, but another seed does as much
        ("nothing", 0.0, 0.0, 0.0),
    )
    values = seeds_of(er=[0.80, 0.82, 0.84], mir=[0.70, 0.72, 0.74])
    margins = [seed_noise_margin(values, comparisons=n).loc["average", "er"] for n in (1, 5)]
    assert 0.05 < margins[0] < 0.10 < margins[1] < 0.20
    ranked = ablations.ranked(table, values).set_index("switch")
    assert list(ranked.index) == ["harm", "some", "noise", "small", "nothing"]
    assert ranked["excludes 0"].tolist() == [True, True, True, True, False]
    assert ranked["excludes 0 (all)"].tolist() == [True, False, True, False, False]
    assert ranked["exceeds seed noise"].tolist() == [True, True, False, False, False]
    assert ranked["exceeds seed noise (all)"].tolist() == [True, False, False, False, False]
    assert ranked["verdict"].tolist() == ["matters", "may matter", *["not shown"] * 3]
    assert ranked.loc["harm", ["value", "value of forgetting"]].tolist() == [-0.20, 0.10]


def test_what_is_significant_excludes_0_and_exceeds_seed_noise():
    table = table_of(("yes", -0.2, -0.3, -0.1), ("touches 0", 0.2, 1e-17, 0.4), ("noise", 0.05, 0.03, 0.07))
    margins = pd.DataFrame({"er": {"average": 0.06, "forgetting (max-last)": 0.1}})
    assert ablations.significant(table, margins)[["switch", "metric"]].to_numpy().tolist() == [["yes", "average"]]


def options_of(seed: int) -> Options:
    return checked({"agent": "er", "seed": seed})


@pytest.mark.parametrize(
    ("pairs", "squares"),
    [
        ([(0, 1)], 1 + 1),  # the base drops out
        ([(0, k) for k in range(1, 7)], 1 + 6 + 25),  # one base: all - switched runs + 5 base
        ([(0, 1), (1, 2), (2, 3)], 1 + 1),  # each from the one before it: only the first and the last are left
    ],
)
def test_a_run_that_several_changes_share_counts_as_often(pairs, squares):
    whole = options_of(0), options_of(99)
    parts = [(options_of(before), options_of(after)) for before, after in pairs]
    assert ablations.noise_of_gap(whole, parts) == pytest.approx((squares / 2) ** 0.5)
