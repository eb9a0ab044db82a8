"""The bootstrap against physically repeated rows, its intervals against simulated truth, paired differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cldf_core.evaluation import bootstrap as bootstrap_module
from cldf_core.evaluation.bootstrap import Estimate, matrices, paired_difference, summary
from cldf_core.evaluation.metrics import CONTINUAL, DETECTION, detection, matrix
from evaluation.test_metrics import by_hand
from samples import random_scores

STREAM = ["a", "b", "c"]  # another order than in the table


def one_cell(labels, scores, groups) -> pd.DataFrame:
    columns = {"step": 1, "domain": "a", "split": "test", "image": np.arange(len(labels)).astype(str)}
    return pd.DataFrame({**columns, "group": groups, "label": labels, "score": scores})


def estimate(scores: pd.DataFrame, metric: str = "accuracy", **how) -> Estimate:
    return matrices(scores, [metric], **how).metrics[metric]


def weights_of(groups: int, resamples: int, seed: int) -> np.ndarray:
    """How often each group is drawn, as `matrices` draws them: the resamples come last."""
    return np.concatenate(list(bootstrap_module._weights(groups, 1, resamples, seed, rows=10**6)))[2:]


# --- resamples ---


def test_metrics_of_resamples_equal_those_of_physically_repeated_rows():
    scores = random_scores(images=18, steps=2)
    R = matrices(scores, DETECTION, resamples=8, seed=4, threshold={1: 0.5, 2: 0.3})
    assert (R.steps, R.domains, R.groups) == ([1, 2], ["b", "a", "c", "new"], 6)
    assert (R.images == 18).all()
    test = scores[scores["split"] == "test"]
    groups = sorted(set(test["group"]))
    weights = weights_of(6, 8, 4)
    for draw, part in [(k, None) for k in range(8)] + [(None, k) for k in range(6)]:
        # A group that is drawn twice brings all its images of every step and domain twice.
        times = weights[draw] if part is None else [int(k != part) for k in range(6)]
        repeated = pd.concat([test[test["group"] == g] for g, n in zip(groups, times, strict=True) for _ in range(n)])
        for (step, domain), cell in repeated.groupby(["step", "domain"]):
            want = detection(cell["label"].to_numpy(), cell["score"].to_numpy(), threshold={1: 0.5, 2: 0.3}[step])
            place = R.steps.index(step), R.domains.index(domain)
            for name in DETECTION:
                got = R.metrics[name].draws[draw] if part is None else R.metrics[name].left_out[part]
                assert got[place] == pytest.approx(want[name], abs=1e-9, nan_ok=True), name
    for name in DETECTION:
        two = matrices(scores, [name], resamples=1, threshold=0.3)
        np.testing.assert_allclose(two.metrics[name].value, matrix(scores, name, threshold=0.3), atol=1e-12)


def test_resamples_draw_as_many_groups_as_there_are_each_equally_often():
    weights = weights_of(50, 4000, 0)
    assert weights.shape == (4000, 50)
    assert (weights.sum(1) == 50).all()
    assert weights.mean(0) == pytest.approx(np.ones(50), abs=0.08)
    shares = np.bincount(weights.ravel(), minlength=4)[:4] / weights.size
    assert shares == pytest.approx(stats.binom.pmf(range(4), 50, 1 / 50), abs=0.005)


def test_the_size_of_blocks_changes_nothing(monkeypatch):
    scores = random_scores(images=18, steps=2)
    whole = matrices(scores, DETECTION, resamples=50, seed=1)
    monkeypatch.setattr(bootstrap_module, "BLOCK", 50)
    parts = matrices(scores, DETECTION, resamples=50, seed=1)
    for name in DETECTION:
        np.testing.assert_allclose(whole.metrics[name].draws, parts.metrics[name].draws, atol=1e-12)
        np.testing.assert_allclose(whole.metrics[name].left_out, parts.metrics[name].left_out, atol=1e-12)


def test_no_more_than_a_block_is_in_memory(monkeypatch):
    seen = []
    weights = bootstrap_module._weights
    monkeypatch.setattr(
        bootstrap_module, "_weights", lambda *a, **k: (seen.append(w.size) or w for w in weights(*a, **k))
    )
    n = 3000
    scores = one_cell(np.arange(n) % 2, np.arange(n) / n, np.arange(n))
    monkeypatch.setattr(bootstrap_module, "BLOCK", 10 * n)
    assert estimate(scores, resamples=100).draws.shape == (100, 1, 1)
    assert max(seen) == 10 * n
    assert sum(seen) == n * (1 + bootstrap_module.PARTS + 100)


def test_groups_are_drawn_in_all_domains_at_once():
    # Two domains with the same images and scores: their resampled values agree draw by draw.
    one = random_scores(domains=("a",), steps=1)
    both = pd.concat([one, one.assign(domain="b")], ignore_index=True)
    R = estimate(both, resamples=50).draws
    np.testing.assert_array_equal(R[:, 0, 0], R[:, 0, 1])
    assert len(np.unique(R)) > 3


def test_the_same_seed_gives_the_same_intervals():
    first, second = (summary(random_scores(), ["b", "a", "c"], resamples=50, seed=s) for s in (3, 3))
    pd.testing.assert_frame_equal(first, second)
    assert not first.equals(summary(random_scores(), ["b", "a", "c"], resamples=50, seed=4))


def test_the_order_of_the_rows_changes_nothing():
    scores = random_scores(steps=1)
    mixed = scores.sample(frac=1, random_state=0)
    one, other = (matrices(table, ["AUC"], resamples=20) for table in (scores, mixed))
    columns = [other.domains.index(name) for name in one.domains]
    np.testing.assert_allclose(one.metrics["AUC"].draws, other.metrics["AUC"].draws[:, :, columns], atol=1e-12)


def test_wrong_splits_and_metrics_are_refused():
    with pytest.raises(ValueError, match="no scores of split 'train'; there are: validation, test"):
        matrices(random_scores(steps=1), ["AUC"], split="train")
    with pytest.raises(ValueError, match="metric is 'acuracy'; allowed: accuracy, balanced accuracy"):
        estimate(random_scores(steps=1), metric="acuracy", resamples=2)


# --- intervals ---


def simulated(rng: np.random.Generator, groups: int = 30, images: int = 12) -> tuple[np.ndarray, ...]:
    """Labels, scores and groups; half of the scores' variance is how hard a group is, for reals and fakes alike."""
    group = np.arange(groups).repeat(images)
    labels = np.tile(np.arange(images) % 2, groups)
    own, common = rng.normal(size=len(group)), rng.normal(size=groups)[group]
    signs = 2 * labels - 1
    return labels, stats.norm.cdf(signs + (own + signs * common) / 2**0.5), group


def test_intervals_of_groups_hold_the_truth_and_those_of_images_do_not():
    # Before they are brought to [0, 1], the scores of reals are normal(-1, 1) and those of fakes normal(1, 1).
    truth = {"accuracy": stats.norm.cdf(1), "AUC": stats.norm.cdf(2 / 2**0.5), "EER": stats.norm.cdf(-1)}
    rng, cases = np.random.default_rng(2024), 2000
    of_groups, of_images = np.zeros((cases, 3), bool), np.zeros((cases // 5, 3), bool)
    for case in range(cases):
        labels, scores, groups = simulated(rng)
        for held, grouped in ((of_groups, groups), (of_images, np.arange(len(labels)))):
            if case < len(held):
                R = matrices(one_cell(labels, scores, grouped), list(truth), resamples=400, seed=case)
                ends = {name: R.metrics[name].interval() for name in truth}
                held[case] = [low.item() <= truth[name] <= high.item() for name, (low, high) in ends.items()]
    for name, share, without in zip(truth, of_groups.mean(0), of_images.mean(0), strict=True):
        assert 0.92 <= share <= 0.97, (name, share)
        assert without < 0.85, (name, without)


def of_draws(draws, value, left_out=((0.0,), (0.0,)), groups=10**6, **more) -> tuple[float, float]:
    draws, left_out = np.asarray(draws, float)[:, None], np.asarray(left_out, float)
    low, high = Estimate(np.array([value]), draws, left_out, groups, **more).interval()
    return low.item(), high.item()


def test_without_bias_and_skewness_and_with_many_groups_the_interval_is_the_percentiles():
    draws = np.random.default_rng(0).permutation(1001.0 + np.arange(1001))
    assert of_draws(draws, 1501) == pytest.approx((1026, 1976), abs=0.01)
    # Draws without a value are left aside.
    assert of_draws(np.append(draws, [np.nan] * 400), 1501) == pytest.approx((1026, 1976), abs=0.01)


@pytest.mark.parametrize("groups", [3, 10, 30])
def test_for_few_groups_the_interval_of_a_mean_is_students(groups):
    values = stats.norm.ppf((np.arange(groups) + 0.5) / groups)  # symmetric
    spread_of_means = values.std() / groups**0.5
    draws = values.mean() + spread_of_means * stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    got = of_draws(draws, values.mean(), [[(values.sum() - x) / (groups - 1)] for x in values], groups)
    want = stats.t.interval(0.95, groups - 1, values.mean(), stats.sem(values))
    assert got == pytest.approx(want, rel=0.02 if groups > 3 else 0.4)  # of 3 groups the outermost draws are reached


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999))
def test_bca_equals_scipys(seed):
    values = np.random.default_rng(seed).exponential(size=25)
    with np.errstate(all="ignore"):
        want = stats.bootstrap((values,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(seed))
    left_out = [[np.delete(values, k).mean()] for k in range(25)]
    got = of_draws(want.bootstrap_distribution, values.mean(), left_out)
    # SciPy counts a draw that equals the value as above it, and its quantiles are those of the nearest draws.
    width = want.confidence_interval.high - want.confidence_interval.low
    assert got == pytest.approx(tuple(want.confidence_interval), abs=0.02 * width)


def test_bias_moves_the_interval():
    draws = np.linspace(0, 1, 1001)
    low, high = of_draws(draws, 0.7)  # 70 of 100 draws are below the value: it tends to be too low
    shift = 2 * stats.norm.ppf(0.7)
    assert (low, high) == pytest.approx(tuple(stats.norm.cdf(shift + np.array([-1.96, 1.96]))), abs=2e-3)


def test_the_interval_of_the_ece_is_turned_over():
    draws = np.linspace(0.05, 0.15, 1001)
    assert of_draws(draws, 0.08, reflected=True) == pytest.approx((0.16 - 0.1475, 0.16 - 0.0525), abs=1e-4)
    assert of_draws(draws, 0.06, reflected=True)[0] == 0  # never below
    R = matrices(random_scores(steps=1), DETECTION, resamples=5).metrics
    assert [name for name in DETECTION if R[name].reflected] == ["ECE"]


def test_an_interval_stays_within_the_draws_and_around_no_value_there_is_none():
    assert of_draws([0.5] * 10, 0.5) == (0.5, 0.5)
    low, high = of_draws(np.linspace(0, 1, 20), 0.5, [[0.0], [1.0], [0.3]], groups=2)
    assert (low, high) == (0, 1)
    assert np.isnan(of_draws([np.nan] * 5, 0.5)).all()
    assert np.isnan(of_draws([0.1, 0.2, 0.3], np.nan)).all()
    assert np.isnan(of_draws([0.1, 0.2, 0.3], 0.2, groups=1)).all()
    for value in (-1, 2):  # all draws on one side
        low, high = of_draws(np.linspace(0, 1, 101), value, [[0.0], [0.2], [1.0]], groups=5)
        assert 0 <= low <= high <= 1


def test_a_single_group_has_no_interval():
    low, high = estimate(random_scores(steps=1).assign(group="all"), resamples=20).interval()
    assert np.isnan([low, high]).all()


def test_a_resample_without_one_class_has_no_auc_and_breaks_nothing():
    frame = random_scores(images=6, steps=1, domains=("a",))
    frame["group"] = frame["label"].map({0: "reals", 1: "fakes"})
    R = estimate(frame, metric="AUC", resamples=60)
    assert np.isnan(R.draws).any()
    assert not np.isnan(R.draws).all()
    low, high = R.interval()
    assert low == high  # the draws that have both classes all hold each image equally often


def test_intervals_of_groups_are_wider_than_those_of_images():
    # Within a group all images are right or all wrong: the group is the unit that counts.
    right = np.random.default_rng(0).integers(0, 2, 40).repeat(10)
    label = np.tile([0, 1], 200)
    frame = one_cell(label, np.where(right == 1, 0.1 + 0.8 * label, 0.9 - 0.8 * label), np.arange(400) // 10)
    share = right.mean()
    assert estimate(frame, resamples=400).draws.std() == pytest.approx((share * (1 - share) / 40) ** 0.5, rel=0.15)


# --- continual metrics ---


@pytest.mark.parametrize("metric", ["accuracy", "AUC"])
def test_summary_is_the_continual_metrics_with_intervals(metric):
    scores = random_scores()
    got = summary(scores, STREAM, metric, resamples=200, seed=1).set_index("metric")
    assert list(got.index) == [*CONTINUAL, "unseen: new"]
    R = matrix(scores, metric)
    want = by_hand(R[STREAM].to_numpy())
    for name in CONTINUAL:
        assert got.loc[name, "value"] == pytest.approx(want[name], abs=1e-12)
    assert got.loc["unseen: new", "value"] == pytest.approx(R.loc[3, "new"])
    R = estimate(scores, metric=metric, resamples=200, seed=1)
    of_draws, of_left_out = (
        pd.DataFrame([by_hand(r) for r in values[:, :, [1, 0, 2]]]) for values in (R.draws, R.left_out)
    )
    for name in CONTINUAL:
        draws, left_out = of_draws[[name]].to_numpy(), of_left_out[[name]].to_numpy()
        low, high = Estimate(np.array([want[name]]), draws, left_out, 8).interval()
        assert got.loc[name, ["low", "high"]].tolist() == pytest.approx([low.item(), high.item()])


def test_summary_of_one_domain_and_of_missing_cells():
    scores = random_scores(steps=1, domains=("a",))
    got = summary(scores, ["a"], resamples=30).set_index("metric")["value"]
    value = matrix(scores).iloc[0, 0]
    for name in CONTINUAL:
        undefined = name.startswith(("forgetting", "backward", "forward", "future"))
        assert got[name] == pytest.approx(np.nan if undefined else value, nan_ok=True), name
    # A domain of the stream that was never tested.
    got = summary(random_scores(), ["a", "b", "c", "other"], resamples=30).set_index("metric")
    assert got[["value", "low", "high"]].isna().all().all()
    # A step that was not tested: only what does not need it is known.
    scores = random_scores()
    got = summary(scores[scores["step"] != 2], ["a", "b", "c"], resamples=30).set_index("metric")["value"]
    R = matrix(scores)
    assert got["average"] == pytest.approx(R.loc[3, STREAM].mean())
    assert got["unseen: new"] == pytest.approx(R.loc[3, "new"])
    assert got.drop(["average", "unseen: new"]).isna().all()
    # Without the last step nothing is known of the end.
    assert np.isnan(summary(scores[scores["step"] < 3], STREAM, resamples=5).set_index("metric").value["unseen: new"])
    with pytest.raises(ValueError, match="there is a step 3; needed: 1 to 2, one for each of the stream"):
        summary(scores, ["a", "b"], resamples=5)


def test_summary_where_one_class_is_missing():
    scores = random_scores()
    reals = scores[(scores["domain"] != "b") | (scores["label"] == 0)]
    auc = summary(reals, STREAM, "AUC", resamples=30).set_index("metric")
    assert auc.loc[list(CONTINUAL), ["value", "low", "high"]].isna().all().all()
    assert auc.loc["unseen: new"].notna().all()
    accuracy = summary(reals, STREAM, resamples=30)
    assert accuracy.notna().all().all()


# --- two runs ---


def test_a_run_differs_from_itself_by_exactly_nothing():
    for metric in ("accuracy", "AUC"):
        difference = paired_difference(random_scores(), random_scores(), ["b", "a", "c"], metric, resamples=50)
        assert (difference[["value", "low", "high"]].to_numpy() == 0).all()


def test_paired_difference_takes_the_same_resamples_of_both():
    first, second = random_scores(1), random_scores(2)
    got = paired_difference(first, second, ["b", "a", "c"], resamples=100, seed=5).set_index("metric")
    one, other = (
        matrices(s, ["accuracy"], resamples=100, seed=5).statistic("accuracy", lambda R, *_: R[:, -1, :3].mean(1))
        for s in (first, second)
    )
    want = Estimate(one.value - other.value, one.draws - other.draws, one.left_out - other.left_out, one.groups)
    assert got.loc["average", ["low", "high"]].tolist() == pytest.approx([float(x) for x in want.interval()])
    ends = [by_hand(matrix(s)[["b", "a", "c"]].to_numpy())["average"] for s in (first, second)]
    assert got.loc["average", "value"] == pytest.approx(ends[0] - ends[1])


def test_runs_on_different_images_are_not_paired():
    other = random_scores()
    other["image"] = other["image"].str.replace("a/0", "a/zero")
    with pytest.raises(ValueError, match="different images"):
        paired_difference(random_scores(), other, ["b", "a", "c"], resamples=5)
