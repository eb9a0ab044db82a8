"""Means over seeds, paired t tests, Holm's correction and the noise of a seed, against formulas and simulations."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cldf_core.evaluation.seeds import (
    differ_from_zero,
    difference_of_groups,
    holm,
    means_over_seeds,
    paired_t_tests,
    seed_noise_margin,
    t_interval,
)


def tidy(**agents: dict[int, float]) -> pd.DataFrame:
    rows = [(agent, seed, "average", value) for agent, values in agents.items() for seed, value in values.items()]
    return pd.DataFrame(rows, columns=["agent", "seed", "metric", "value"])


@settings(deadline=None, max_examples=30)
@given(values=st.lists(st.floats(-5, 5), min_size=2, max_size=9).filter(lambda values: np.std(values) > 1e-9))
def test_the_t_interval_by_its_formula(values):
    mean, low, high = t_interval(np.array(values))
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    assert (mean, low, high) == pytest.approx((np.mean(values), np.mean(values) - half, np.mean(values) + half))
    assert t_interval(np.array(values[:1])) == pytest.approx((values[0], np.nan, np.nan), nan_ok=True)
    tied = t_interval(np.array([0.1 + 0.2, 0.3, 0.3]))  # but for rounding: it does not tell how far others would lie
    assert tied == pytest.approx((0.3, np.nan, np.nan), nan_ok=True)


def test_means_over_seeds_keep_what_they_have_in_common():
    rows = [("er", 50, s, v) for s, v in ((0, 1.0), (1, 2.0), (2, 3.0))] + [("er", 100, 0, 5.0), ("lwf", None, 1, 4.0)]
    table = pd.DataFrame(rows, columns=["agent", "memory", "seed", "value"]).astype({"memory": "Int64"})
    means = means_over_seeds(table, by=["agent", "memory"])
    assert means[["agent", "value", "n"]].to_numpy().tolist() == [["er", 2.0, 3], ["er", 5.0, 1], ["lwf", 4.0, 1]]
    half = stats.t.ppf(0.975, 2) / 3**0.5
    assert means.loc[0, ["low", "high"]].tolist() == pytest.approx([2 - half, 2 + half])
    assert means.loc[1:, ["low", "high"]].isna().all().all()
    with pytest.raises(ValueError, match=r"by is \['agent'\], but \('er',\) has several values for one seed"):
        means_over_seeds(table, by=["agent"])


def test_paired_t_tests_by_hand():
    # Differences of a and b: 1, 2, 3, so mean 2, deviation 1, t = 2 sqrt 3 with 2 degrees of freedom; there the
    # distribution function is 1/2 + t / (2 sqrt(2 + t^2)).
    got = paired_t_tests(tidy(a={0: 1, 1: 4, 2: 9}, b={0: 0, 1: 2, 2: 6}, c={2: 1, 0: 5, 1: 3}))
    assert list(got) == ["first", "second", "difference", "low", "high", "p", "p_holm", "n"]
    assert list(zip(got["first"], got["second"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    first, t = got.iloc[0], 2 * 3**0.5
    assert (first["difference"], first["n"]) == (2, 3)
    assert first["p"] == pytest.approx(1 - t / (2 + t**2) ** 0.5)
    assert (first["low"], first["high"]) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert got["p_holm"].tolist() == holm(got["p"].to_numpy()).tolist()


def test_only_common_seeds_are_paired_and_what_is_missing_stays_missing():
    got = paired_t_tests(tidy(a={0: 1.0, 1: 2.0, 2: 4.0}, b={1: 1.0, 2: 2.0, 3: 9.0}, c={7: 1.0}, d={2: 3.0}))
    got = got.set_index(["first", "second"])
    assert got.loc[("a", "b"), ["difference", "n"]].tolist() == [1.5, 2]
    assert got.loc[("a", "b"), "p"] == pytest.approx(stats.ttest_1samp([2 - 1, 4 - 2], 0).pvalue)
    assert got.loc[("a", "b"), "p_holm"] == got.loc[("a", "b"), "p"]  # the only one that could be tested
    for pair, known in ((("a", "c"), [np.nan, 0]), (("a", "d"), [1, 1])):
        assert got.loc[pair, ["difference", "n"]].tolist() == pytest.approx(known, nan_ok=True)
        assert np.isnan(got.loc[pair, ["low", "high", "p", "p_holm"]].to_numpy(float)).all()
    # Differences that do not vary have no p.
    got = paired_t_tests(tidy(a={0: 0.3, 1: 0.4, 2: 0.5}, b={0: 0.2, 1: 0.3, 2: 0.4})).iloc[0]
    assert got[["difference", "low", "high", "p"]].tolist() == pytest.approx([0.1, *[np.nan] * 3], nan_ok=True)


def test_holm_by_hand():
    # Sorted: 0.005 * 4 = 0.02; 0.01 * 3 = 0.03; 0.03 * 2 = 0.06; 0.04 * 1 = 0.04, but no less than before.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1, 1])
    np.testing.assert_allclose(holm(np.array([np.nan, 0.02, 0.01])), [np.nan, 0.02, 0.02])
    assert len(holm(np.array([]))) == 0


@settings(deadline=None, max_examples=60)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=8), level=st.floats(0.001, 0.3))
def test_holm_rejects_what_the_step_down_procedure_rejects(p, level):
    corrected = holm(np.array(p))
    rejected, m = set(), len(p)
    for k, at in enumerate(sorted(range(m), key=lambda i: p[i])):
        if p[at] * (m - k) > level:
            break
        rejected.add(at)
    assert {k for k in range(m) if corrected[k] <= level} == rejected


def test_the_margin_is_the_pooled_spread_of_differences_of_two_seeds():
    # Variances 0.0004 and 0.0012, pooled 0.0008.
    values = tidy(er={0: 0.80, 1: 0.82, 2: 0.84}, mir={0: 0.5, 1: 0.5, 2: 0.56})
    margin = seed_noise_margin(values).loc["average", "er"]
    assert margin == pytest.approx(2.7764 * np.sqrt(2 * 0.0008), rel=1e-4)  # t of 4
    wider = stats.t.ppf(1 - 0.05 / 2 / 7, 4) * 0.04
    assert seed_noise_margin(values, comparisons=7).loc["average", "mir"] == pytest.approx(wider)
    # Sequential fine-tuning has its own: variance 0.02, t of 1.
    margins = seed_noise_margin(pd.concat([values, tidy(sequential={0: 0.5, 1: 0.7})])).loc["average"]
    assert margins["sequential"] == pytest.approx(12.7062 * np.sqrt(2 * 0.02), rel=1e-4)
    assert margins["er"] == margin


def test_changes_of_the_seed_stay_within_the_margin_as_often_as_it_says():
    rng, cases = np.random.default_rng(0), 1000
    values = rng.normal(0, 1, (cases, 6, 3)) + rng.normal(0, 5, (cases, 6, 1))  # agents differ, not their spread
    index = pd.MultiIndex.from_product([range(cases), list("abcdef"), range(3)], names=["metric", "agent", "seed"])
    margins = seed_noise_margin(pd.Series(values.ravel(), index, name="value").reset_index())["a"]
    inside = np.abs(rng.normal(0, 1, cases) - rng.normal(0, 1, cases)) <= margins
    assert inside.mean() == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / cases))


def test_a_run_that_diverged_makes_its_differences_undefined():
    rows = [(a, s, v) for a, values in {"a": (0.9, np.nan, 0.8), "b": (0.7, 0.6, 0.5), "c": (0.1, 0.2)}.items()
            for s, v in enumerate(values)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["agent", "seed", "value"])
    tests = paired_t_tests(table).set_index(["first", "second"])
    assert tests.loc[[("a", "b"), ("a", "c")], ["difference", "low", "p", "p_holm"]].isna().all(axis=None)
    assert tests.loc[("b", "c"), "difference"] == pytest.approx(0.5)
    assert tests["n"].tolist() == [3, 2, 2]


@pytest.mark.parametrize("paired", [True, False])
def test_a_difference_of_groups_is_paired_or_welchs_and_holds_what_it_should(paired):
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        real = rng.normal(size=30)
        fake = real + rng.normal(size=30) if paired else rng.normal(scale=3, size=30)
        if not paired:
            fake[:20] = np.nan  # ten groups of fakes, and twenty of reals
            real[20:] = np.nan
        value, low, high = difference_of_groups(fake, real)
        known = [values[~np.isnan(values)] for values in (fake, real)]
        test = stats.ttest_rel(*known) if paired else stats.ttest_ind(*known, equal_var=False)
        assert (low, high) == pytest.approx(tuple(test.confidence_interval()))
        assert value == pytest.approx(known[0].mean() - known[1].mean())
        held += low <= 0 <= high
    assert held >= 365  # of 400 at 95 %


def test_means_differ_from_zero_where_students_p_is_small_after_holms_correction():
    rng = np.random.default_rng(1)
    rows = [(f"{k}", s, rng.normal(k / 2)) for k in range(5) for s in range(5)]
    table = pd.DataFrame(rows, columns=["agent", "seed", "value"])
    p = [stats.ttest_1samp(part["value"], 0).pvalue for _, part in table.groupby("agent")]
    found = differ_from_zero(means_over_seeds(table, ["agent"]))
    assert found.tolist() == (holm(np.array(p)) < 0.05).tolist()
    assert 0 < found.sum() < 5
