"""Intervals over seeds and groups against a slow, literal reading of their formula, tests of SciPy, and simulations."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cldf_core.evaluation.bootstrap import matrices, paired_difference, paired_matrices, summary
from cldf_core.evaluation.crossed import (
    Crossed,
    against_itself,
    cells_over_seeds,
    crossed,
    crossed_difference,
    differences_over_seeds,
    summary_over_seeds,
)
from cldf_core.evaluation.metrics import CONTINUAL, matrix
from cldf_core.evaluation.seeds import holm, t_interval
from cldf_core.options import UserError
from evaluation import crossed_coverage
from evaluation.test_bootstrap import STREAM, weights_of
from evaluation.test_metrics import by_hand
from samples import random_scores

RESAMPLES = 7
ENDS = ["value", "low", "high"]


def runs_of(agents: str = "A", seeds: int = 3, *, lift: float = 0.0) -> pd.DataFrame:
    """Scores of agents with several seeds; those of the first agent are better by `lift`."""
    tables = []
    for place, agent in enumerate(agents):
        for seed in range(seeds):
            table = random_scores(10 * place + seed)
            better = table["score"] + (lift if place == 0 else 0) * (table["label"] - 0.5)
            tables.append(table.assign(agent=agent, seed=seed, score=better.clip(0, 1)))
    return pd.concat(tables, ignore_index=True)


def literally(tables: list[pd.DataFrame], statistic) -> tuple[float, float, float]:
    """The mean over seeds, s and ν, with every resample's rows physically repeated."""
    groups = sorted(tables[0]["group"].unique())
    S, G = len(tables), len(groups)
    of_seeds = [statistic(table) for table in tables]
    means = []
    for times in weights_of(G, RESAMPLES, 0):
        drawn = [name for name, n in zip(groups, times, strict=True) for _ in range(n)]
        repeated = [pd.concat([table[table["group"] == name] for name in drawn]) for table in tables]
        means.append(np.mean([statistic(table) for table in repeated]))
    a = np.mean((np.array(of_seeds) - np.mean(of_seeds)) ** 2) / S * S / (S - 1)
    b = np.sum((np.array(means) - np.mean(means)) ** 2) / (RESAMPLES - 1) * G / (G - 1)
    return float(np.mean(of_seeds)), (a + b) ** 0.5, (a + b) ** 2 / (a**2 / (S - 1) + b**2 / (G - 1))


def continual_metric(metric: str, name: str):
    return lambda table: by_hand(matrix(table, metric)[STREAM].to_numpy())[name]


@pytest.mark.parametrize(
    ("metric", "name"), [("accuracy", "average"), ("AUC", "learning"), ("accuracy", "forgetting (max-last)")]
)
def test_the_interval_is_the_formula_read_literally(metric, name):
    scores = runs_of()
    tables = [table for _, table in scores[scores["split"] == "test"].groupby("seed")]
    value, s, degrees = literally(tables, continual_metric(metric, name))
    reach = stats.t.ppf(0.975, degrees) * s
    if name.startswith("forgetting"):
        want = value, value - reach, value + reach
    else:  # t_ν s on the scale of the logit, whose slope is 1 / (p (1 - p))
        odds = [value / (1 - value) * np.exp(sign * reach / (value * (1 - value))) for sign in (-1, 1)]
        want = value, *(o / (1 + o) for o in odds)
    table = summary_over_seeds(scores, STREAM, [metric], resamples=RESAMPLES).set_index("metric")
    row = table.loc[f"{metric}: {name}"]
    assert row[ENDS].tolist() == pytest.approx(want, abs=1e-9)
    assert row[["agent", "n", "spread"]].tolist() == ["A", 3, "seeds × groups"]


@pytest.mark.parametrize("metric", ["accuracy", "AUC"])
def test_cells_and_differences_are_the_formula_read_literally(metric):
    scores = runs_of("AB")
    tables = {
        agent: [table for _, table in part[part["split"] == "test"].groupby("seed")]
        for agent, part in scores.groupby("agent")
    }
    value, s, degrees = literally(tables["B"], lambda table: matrix(table, metric).loc[2, "c"])
    cells = cells_over_seeds(scores, metric, resamples=RESAMPLES)
    row = cells[(cells["agent"] == "B") & (cells["step"] == 2) & (cells["domain"] == "c")].iloc[0]
    low, high = (
        stats.logistic.cdf(np.log(value / (1 - value)) + t * s / value / (1 - value))
        for t in stats.t.ppf([0.025, 0.975], degrees)
    )
    assert row[ENDS].tolist() == pytest.approx([value, low, high], abs=1e-9)
    assert len(cells) == 2 * 3 * 4
    both = [first.assign(other=second["score"].to_numpy()) for first, second in zip(*tables.values(), strict=True)]
    statistic = continual_metric(metric, "average")
    value, s, degrees = literally(both, lambda t: statistic(t) - statistic(t.assign(score=t["other"])))
    row = differences_over_seeds(scores, STREAM, [metric], resamples=RESAMPLES).set_index("metric").iloc[0]
    ends = value + s * stats.t.ppf([0.025, 0.975], degrees)
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([value, *ends], abs=1e-9)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(value) / s, degrees))
    averages = [[statistic(table) for table in part] for part in tables.values()]
    assert row["p_seeds"] == pytest.approx(stats.ttest_rel(*averages).pvalue)
    assert row[["first", "second", "n", "spread"]].tolist() == ["A", "B", 3, "seeds × groups"]


def test_the_parts_of_a_mean_are_those_of_the_analysis_of_variance():
    scores = runs_of(seeds=5)
    scores = scores[(scores["split"] == "test") & (scores["step"] == 1) & (scores["domain"] == "a")]
    right = ((scores["score"] >= 0.5) == scores["label"]).astype(float)
    X = right.groupby([scores["seed"], scores["group"]]).mean().unstack().to_numpy()
    S, G = X.shape
    parts = paired_matrices((table for _, table in scores.groupby("seed")), ["accuracy"], resamples=20_000)
    both = crossed([R.metrics["accuracy"] for R in parts])
    of_seeds, of_groups = (G * X.mean(1).var(ddof=1), S * X.mean(0).var(ddof=1))  # mean squares
    assert both.value.item() == pytest.approx(X.mean())
    assert both.seed_part.item() == pytest.approx(of_seeds / (S * G))
    assert both.group_part.item() == pytest.approx(of_groups / (S * G), rel=0.03)


def test_holms_family_is_the_metric_and_one_agent_can_be_the_reference():
    scores = runs_of("ABCD", lift=0.3)
    table = differences_over_seeds(scores, STREAM, resamples=50)
    assert len(table) == 6 * 2 * (len(CONTINUAL) + 1)
    for metric, rows in table.groupby("metric"):
        np.testing.assert_allclose(rows["p_holm"], holm(rows["p"].to_numpy()))
        of_four = metric.endswith("forgetting (max-last) from 3")  # this stream has three domains
        assert rows["p"].isna().all() if of_four else rows["p"].notna().all()
    against = differences_over_seeds(scores, STREAM, against="A", resamples=50)
    assert set(zip(against["first"], against["second"], strict=True)) == {("B", "A"), ("C", "A"), ("D", "A")}
    average, same = (
        t[(t["metric"] == "AUC: average") & (t[side] == "B")].iloc[0]
        for t, side in ((against, "first"), (table[table["first"] == "A"], "second"))
    )
    assert average[["difference", "low", "high"]].tolist() == pytest.approx(
        [-same[k] for k in ("difference", "high", "low")]
    )
    assert average["p"] == same["p"] < average["p_holm"] <= 3 * average["p"]
    with pytest.raises(UserError, match="against is 'E'; allowed: A, B, C, D"):
        differences_over_seeds(scores, STREAM, against="E")


def test_only_common_seeds_are_paired():
    scores = runs_of("AB", seeds=4)
    scores = scores[(scores["agent"] == "A") | (scores["seed"] > 1)]
    table = differences_over_seeds(scores, STREAM, ["AUC"], resamples=20)
    assert set(table["n"]) == {2}
    pd.testing.assert_frame_equal(
        table, differences_over_seeds(scores[scores["seed"] > 1], STREAM, ["AUC"], resamples=20)
    )
    one = differences_over_seeds(scores[scores["seed"] == 2], STREAM, ["AUC"], resamples=20)
    assert set(one["spread"]) == {"groups"}
    assert one[["p", "p_holm", "p_seeds"]].isna().all(axis=None)
    first, second = (table for _, table in scores[scores["seed"] == 2].groupby("agent"))
    want = paired_difference(first, second, STREAM, "AUC", resamples=20)
    np.testing.assert_allclose(one[["difference", "low", "high"]], want[ENDS])
    apart = scores[(scores["agent"] == "A") == (scores["seed"] < 2)]
    with pytest.raises(UserError, match="the agents are A, B; needed: two that have a seed in common"):
        differences_over_seeds(apart, STREAM)


def test_without_groups_that_tell_anything_the_spread_is_that_of_seeds():
    scores = runs_of()
    few = scores.assign(group=scores["group"].map(lambda name: f"{int(name[5:]) % 4}"))  # four groups
    for table, how in ((scores, {"resamples": 1}), (few, {"resamples": 50})):
        got = summary_over_seeds(table, STREAM, ["AUC"], **how).set_index("metric")
        assert set(got["spread"]) == {"seeds"}
        averages = [by_hand(matrix(t, "AUC")[STREAM].to_numpy())["average"] for _, t in table.groupby("seed")]
        assert got.loc["AUC: average", ENDS].tolist() == pytest.approx(t_interval(np.array(averages)))
    # The resamples of an ECE are biased.
    assert set(cells_over_seeds(scores, "ECE", resamples=50)["spread"]) == {"seeds"}
    # A single seed has the interval of its groups.
    one = scores[scores["seed"] == 1]
    got = summary_over_seeds(one, STREAM, ["AUC"], resamples=50)
    np.testing.assert_allclose(got[ENDS], summary(one, STREAM, "AUC", resamples=50)[ENDS])
    assert (set(got["spread"]), set(got["n"])) == ({"groups"}, {1})


def test_where_nothing_varies_only_proportions_have_an_interval():
    scores = runs_of("AB").assign(score=lambda table: 0.2 + 0.6 * table["label"])
    cells = cells_over_seeds(scores, resamples=50)
    alone = matrices(scores[(scores["seed"] == 0) & (scores["agent"] == "A")], ["accuracy"], resamples=2)
    low, high = alone.metrics["accuracy"].interval()
    np.testing.assert_allclose(cells[ENDS], np.stack([np.ones(24), *(np.tile(e.ravel(), 2) for e in (low, high))], 1))
    assert cells_over_seeds(scores, "AUC", resamples=50)[["low", "high"]].isna().all(axis=None)
    assert differences_over_seeds(scores, STREAM, resamples=50)[["low", "high", "p", "p_holm"]].isna().all(axis=None)


def test_ends_stay_within_the_range_and_hold_the_value():
    def ends(value: float, s: float, **more) -> tuple[float, float]:
        parts = np.array([s**2 / 2])
        return tuple(end.item() for end in Crossed(np.array([value]), parts, parts, 5, 26, **more).interval())

    for value in (0.001, 0.4, 0.95, 0.9999):
        low, high = ends(value, 0.2)
        assert 0 <= low < value < high <= 1
        assert ends(1 - value, 0.2) == pytest.approx((1 - high, 1 - low))
    assert ends(0.4, 1e-4) == pytest.approx(ends(0.4, 1e-4, span=(-1.0, 1.0)), abs=1e-6)  # the scale does not matter
    assert ends(-0.6, 0.4, span=(-1.0, 1.0))[0] == -1
    assert ends(0.45, 0.2, span=(-0.5, 0.5))[1] == 0.5


def test_the_order_of_rows_changes_nothing_and_other_images_or_groups_are_refused():
    scores = runs_of("AB")
    mixed = scores.sample(frac=1, random_state=0).sort_values("agent", kind="stable")
    for compute in (summary_over_seeds, differences_over_seeds):
        table = compute(scores, STREAM, resamples=30)
        again = compute(mixed, STREAM, resamples=30)
        order = [name for name in ("metric", "agent", "first") if name in table]
        pd.testing.assert_frame_equal(*(t.sort_values(order, ignore_index=True) for t in (table, again)))
        for column, words in (("image", "tested on different images"), ("group", "tested with different groups")):
            other = scores.assign(**{column: scores[column].where(scores["seed"] != 2, "x" + scores[column])})
            if compute is differences_over_seeds:
                other = scores.assign(**{column: scores[column].where(scores["agent"] != "B", "x" + scores[column])})
            with pytest.raises(UserError, match=words):
                compute(other, STREAM, resamples=5)


def less_a_share(pair: pd.DataFrame, *, share: float, value) -> float:
    first, second = (value(pair[pair["agent"] == agent]) for agent in "AB")
    return first - share * second


@pytest.mark.parametrize("share", [1, 0.9])
def test_a_share_of_the_second_agent_is_subtracted_seed_by_seed_and_resample_by_resample(share):
    scores = runs_of("AB", lift=0.3)
    table = differences_over_seeds(scores, STREAM, ["accuracy"], share=share, resamples=RESAMPLES).set_index("metric")
    both = [pair.reset_index(drop=True) for _, pair in scores.groupby("seed")]
    for name in ("average", "learning", "gain"):
        apart = partial(less_a_share, share=share, value=continual_metric("accuracy", name))
        mean, s, degrees = literally(both, apart)
        row, reach = table.loc[f"accuracy: {name}"], stats.t.ppf(0.975, degrees) * s
        assert row[["difference", "low", "high"]].tolist() == pytest.approx([mean, mean - reach, mean + reach])
        assert row["p"] == pytest.approx(2 * stats.t.sf(abs(mean) / s, degrees))


def test_an_agent_is_compared_with_itself_under_another_setting():
    runs = {("er", 50): (0, 1, 2), ("er", 400): (0, 1, 3), ("er", 150): (3,), ("er", 8): (9,)}
    runs |= {("mir", 50): (0, 1), ("icarl", 400): (0, 1)}  # without the reference, and with nothing else
    tables = {
        (agent, memory, seed): random_scores(memory + seed).assign(agent=agent, memory=memory, seed=seed)
        for (agent, memory), seeds in runs.items()
        for seed in seeds
    }
    scores = pd.concat(tables.values(), ignore_index=True)
    got = against_itself(scores, "memory", 400, STREAM, share=0.9, resamples=20)
    assert set(got["agent"]) == {"er"}
    assert got.groupby("memory")["n"].unique().map(list).to_dict() == {50: [2], 150: [1]}
    pair = pd.concat([tables["er", m, s].assign(agent=f"{m}") for m in (50, 400) for s in (0, 1)], ignore_index=True)
    want = differences_over_seeds(pair, STREAM, ["accuracy"], against="400", share=0.9, resamples=20)
    columns = ["metric", "low", "high", "p", "n", "spread"]
    own = got[got["memory"] == 50].rename(columns={"value": "difference"}).reset_index(drop=True)
    columns.append("difference")
    pd.testing.assert_frame_equal(own[columns], want[columns])
    none = against_itself(scores[:0], "memory", 400, STREAM)
    assert (len(none), list(none)) == (0, [*got])


def test_a_difference_of_seeds_is_that_of_their_means():
    scores = runs_of("AB")
    parts = paired_matrices((t for _, t in scores.groupby(["agent", "seed"])), ["AUC"], resamples=20)
    both = crossed_difference([R.metrics["AUC"] for R in parts])
    means = [crossed([R.metrics["AUC"] for R in part]) for part in (parts[:3], parts[3:])]
    np.testing.assert_allclose(both.value, means[0].value - means[1].value)
    assert both.span == (-1, 1)
    assert (both.seeds, both.images) == (3, None)


@pytest.mark.parametrize(
    ("metric", "level"),
    [(crossed_coverage.accuracy, "0.95"), (crossed_coverage.auc, "0.95"), (crossed_coverage.forgetting, "0")],
)
def test_intervals_over_seeds_and_groups_hold_the_truth_and_those_over_one_of_them_do_not(metric, level):
    few = crossed_coverage.BLOCK * (2 if metric is crossed_coverage.auc else 8)
    for share, narrow in ((0, "seeds alone"), (0.5, None), (1, "groups alone")):
        held = crossed_coverage.coverage(metric, level, share, 5, few)
        assert held["crossed"] >= 0.95 - 3.5 * (0.05 * 0.95 / few) ** 0.5
        assert narrow is None or held[narrow] < 0.8


def test_the_table_of_coverage_is_complete_and_the_lowest_is_high_enough():
    table = pd.read_csv(Path(__file__).parents[2] / "figures" / "tables" / "coverage.csv", dtype={"level": str})
    settings = table[["metric", "level", "seeds", "share"]].to_numpy().tolist()
    assert settings == [[name, level, seeds, share] for name, _, level, seeds, share in crossed_coverage.settings()]
    assert (table["standard error"] <= 0.006).all()
    lowest = table.groupby("metric")[["crossed", "seeds alone", "groups alone"]].min()
    assert (lowest.loc[["accuracy", "difference"], "crossed"] >= 0.92).all()
    assert (lowest["crossed"] >= 0.92).all()
    assert (lowest[["seeds alone", "groups alone"]] < 0.7).all(axis=None)
