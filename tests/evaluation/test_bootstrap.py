"""The bootstrap against physically repeated rows, its intervals against simulated truth, paired differences."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cldf_core.evaluation import bootstrap
from cldf_core.evaluation.bootstrap import Estimate, matrices, paired_difference, summary
from cldf_core.evaluation.cells import cell_changes
from cldf_core.evaluation.metrics import CONTINUAL, DETECTION, WITH_THRESHOLD, detection, matrix
from cldf_core.options import UserError
from evaluation.test_metrics import by_hand
from samples import random_scores

STREAM = ["a", "b", "c"]  # another order than in the table
OF_FOUR = "forgetting (max-last) from 3"  # this stream has three domains, of which the last cannot be forgotten


def one_cell(labels, scores, groups) -> pd.DataFrame:
    columns = {"step": 1, "domain": "a", "split": "test", "image": np.arange(len(labels)).astype(str)}
    return pd.DataFrame({**columns, "group": groups, "label": labels, "score": scores})


def estimate(scores: pd.DataFrame, metric: str = "accuracy", **how) -> Estimate:
    return matrices(scores, [metric], **how).metrics[metric]


def values_of(scores: pd.DataFrame, stream: list[str], *metric: str) -> pd.Series:
    return summary(scores, stream, *metric, resamples=30).set_index("metric")["value"]


def weights_of(groups: int, resamples: int, seed: int) -> np.ndarray:
    """How often each group is drawn, as `matrices` draws them: the resamples come last."""
    return np.concatenate(list(bootstrap._weights(groups, 1, resamples, seed, rows=10**6)))[2:]


def test_metrics_of_resamples_equal_those_of_physically_repeated_rows():
    scores, threshold = random_scores(images=18, steps=2), {1: 0.5, 2: 0.3}
    R = matrices(scores, DETECTION, resamples=8, seed=4, threshold=threshold)
    assert (R.steps, R.domains, R.groups) == ([1, 2], ["b", "a", "c", "new"], 6)
    assert (R.images == 18).all()
    test = scores[scores["split"] == "test"]
    groups, weights = sorted(set(test["group"])), weights_of(6, 8, 4)
    for draw, part in [(k, None) for k in range(8)] + [(None, k) for k in range(6)]:
        # A group that is drawn twice brings all its images of every step and domain twice.
        times = weights[draw] if part is None else [int(k != part) for k in range(6)]
        repeated = pd.concat([test[test["group"] == g] for g, n in zip(groups, times, strict=True) for _ in range(n)])
        for (step, domain), cell in repeated.groupby(["step", "domain"]):
            want = detection(cell["label"].to_numpy(), cell["score"].to_numpy(), threshold=threshold[step])
            place = R.steps.index(step), R.domains.index(domain)
            for name in DETECTION:
                got = R.metrics[name].draws[draw] if part is None else R.metrics[name].left_out[part]
                assert got[place] == pytest.approx(want[name], abs=1e-9, nan_ok=True), name
    for name in DETECTION:
        value = estimate(scores, name, resamples=1, threshold=0.3).value
        np.testing.assert_allclose(value, matrix(scores, name, threshold=0.3), atol=1e-12)


def test_resamples_draw_as_many_groups_as_there_are_each_equally_often():
    weights = weights_of(50, 4000, 0)
    assert weights.shape == (4000, 50)
    assert (weights.sum(1) == 50).all()
    assert weights.mean(0) == pytest.approx(np.ones(50), abs=0.08)
    shares = np.bincount(weights.ravel(), minlength=4)[:4] / weights.size
    assert shares == pytest.approx(stats.binom.pmf(range(4), 50, 1 / 50), abs=0.005)


def test_neither_blocks_nor_the_order_of_rows_change_anything(monkeypatch):
    scores = random_scores(images=18, steps=2)
    whole = matrices(scores, DETECTION, resamples=50, seed=1)
    monkeypatch.setattr(bootstrap, "BLOCK", 50)
    mixed = matrices(scores.sample(frac=1, random_state=0), DETECTION, resamples=50, seed=1)
    columns = [mixed.domains.index(name) for name in whole.domains]
    for name in DETECTION:
        for part in ("draws", "left_out"):
            first, second = (getattr(R.metrics[name], part) for R in (whole, mixed))
            np.testing.assert_allclose(first, second[:, :, columns], atol=1e-12)


def test_no_more_than_a_block_is_in_memory(monkeypatch):
    sizes, weights, n = [], bootstrap._weights, 3000
    monkeypatch.setattr(bootstrap, "_weights", lambda *a, **k: (sizes.append(w.size) or w for w in weights(*a, **k)))
    monkeypatch.setattr(bootstrap, "BLOCK", 10 * n)
    scores = one_cell(np.arange(n) % 2, np.arange(n) / n, np.arange(n))
    assert estimate(scores, resamples=100).draws.shape == (100, 1, 1)
    assert max(sizes) == 10 * n
    assert sum(sizes) == n * (1 + bootstrap.PARTS + 100)


def test_groups_are_drawn_in_all_domains_at_once():
    scores = random_scores(domains=("a",), steps=1)
    draws = estimate(pd.concat([scores, scores.assign(domain="b")]), resamples=50).draws
    np.testing.assert_array_equal(draws[:, 0, 0], draws[:, 0, 1])  # the same images and scores
    assert len(np.unique(draws)) > 3


@pytest.mark.parametrize("compute", [matrix, lambda scores, metric, **how: matrices(scores, [metric], **how)])
def test_wrong_splits_and_metrics_are_refused(compute):
    with pytest.raises(ValueError, match="no scores of split 'train'; there are: validation, test"):
        compute(random_scores(steps=1), "AUC", split="train")
    with pytest.raises(ValueError, match="metric is 'acuracy'; allowed: accuracy, balanced accuracy"):
        compute(random_scores(steps=1), "acuracy")


def simulated(
    rng: np.random.Generator, groups: int = 30, images: int = 12, *, strength: float = 1
) -> tuple[np.ndarray, ...]:
    """Labels, scores and groups; half of the scores' variance is how hard a group is, for reals and fakes alike."""
    group = np.arange(groups).repeat(images)
    labels = np.tile(np.arange(images) % 2, groups)
    single, common = rng.normal(size=len(group)), rng.normal(size=groups)[group]
    signs = 2 * labels - 1
    return labels, stats.norm.cdf(strength * signs + (single + signs * common) / 2**0.5), group


def test_intervals_of_groups_hold_the_truth_and_those_of_images_do_not():
    # Before they are brought to [0, 1], the scores of reals are normal(-1, 1) and those of fakes normal(1, 1).
    truth = {"accuracy": stats.norm.cdf(1), "AUC": stats.norm.cdf(2 / 2**0.5), "EER": stats.norm.cdf(-1)}
    rng, cases = np.random.default_rng(2024), 500
    of_groups, of_images = np.zeros((cases, 3), bool), np.zeros((60, 3), bool)
    for case in range(cases):
        labels, scores, groups = simulated(rng)
        for held, grouped in ((of_groups, groups), (of_images, np.arange(len(labels)))):
            if case < len(held):
                R = matrices(one_cell(labels, scores, grouped), list(truth), resamples=200, seed=case)
                ends = {name: R.metrics[name].interval() for name in truth}
                held[case] = [low.item() <= truth[name] <= high.item() for name, (low, high) in ends.items()]
    for name, share, without in zip(truth, of_groups.mean(0), of_images.mean(0), strict=True):
        assert 0.92 <= share <= 0.98, (name, share)
        assert without < 0.85, (name, without)


def of_draws(draws, value, left_out=((0.0,), (0.0,)), groups=10**6, **more) -> tuple[float, float]:
    draws, left_out = np.asarray(draws, float)[:, None], np.asarray(left_out, float)
    low, high = Estimate(np.array([value]), draws, left_out, groups, **more).interval()
    return low.item(), high.item()


def test_without_bias_and_skewness_and_with_many_groups_the_interval_is_the_percentiles():
    draws = np.random.default_rng(0).permutation(1001.0 + np.arange(1001))
    assert of_draws(draws, 1501) == pytest.approx((1026, 1976), abs=0.01)
    assert of_draws(np.append(draws, [np.nan] * 400), 1501) == pytest.approx((1026, 1976), abs=0.01)


@pytest.mark.parametrize("groups", [3, 10, 30])
def test_for_few_groups_the_interval_of_a_mean_is_students(groups):
    values = stats.norm.ppf((np.arange(groups) + 0.5) / groups)  # symmetric
    spread_of_means = values.std() / groups**0.5
    draws = values.mean() + spread_of_means * stats.norm.ppf((np.arange(50_000) + 0.5) / 50_000)
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
    shift = 2 * stats.norm.ppf(0.7)  # 70 of 100 draws are below the value: it tends to be too low
    assert of_draws(draws, 0.7) == pytest.approx(tuple(stats.norm.cdf(shift + np.array([-1.96, 1.96]))), abs=2e-3)


def test_the_interval_of_the_ece_is_reflected():
    draws = np.linspace(0.05, 0.15, 1001)
    assert of_draws(draws, 0.08, reflected=True) == pytest.approx((0.16 - 0.1475, 0.16 - 0.0525), abs=1e-4)
    assert of_draws(draws, 0.06, reflected=True)[0] == 0  # never below
    assert of_draws(draws, 0.04, reflected=True) == pytest.approx((0, 0.04))  # and never beside the value
    R = matrices(random_scores(steps=1), DETECTION, resamples=5).metrics
    assert [name for name in DETECTION if R[name].reflected] == ["ECE"]


def test_an_interval_holds_its_value_and_around_no_value_there_is_none():
    assert np.isnan(of_draws([0.5] * 10, 0.5)).all()  # no draw differs
    assert of_draws(np.linspace(0, 1, 20), 0.5, [[0.0], [1.0], [0.3]], groups=2) == (0, 1)
    assert np.isnan(of_draws([np.nan] * 5, 0.5)).all()
    assert np.isnan(of_draws([0.1, 0.2, 0.3], np.nan)).all()
    assert np.isnan(of_draws([0.1, 0.2, 0.3], 0.2, groups=1)).all()
    for value in (-1, 2):  # all draws on one side
        low, high = of_draws(np.linspace(0, 1, 101), value, [[0.0], [0.2], [1.0]], groups=5)
        assert min(value, 0) <= low <= value <= high <= max(value, 1)


def test_a_resample_without_one_class_has_no_auc_and_breaks_nothing():
    scores = random_scores(images=10, steps=1, domains=("a",))
    auc = estimate(scores.assign(group=scores["image"]), "AUC", resamples=3000)
    assert 0 < np.isnan(auc.draws).sum() < 20  # about 3000 / 2^9
    low, high = auc.interval()
    assert low < auc.value < high


PERFECT = random_scores(steps=1).assign(score=lambda table: 0.2 + 0.6 * table["label"])


@pytest.mark.parametrize(
    "scores",
    [
        PERFECT,  # every verdict is right, and the classes are apart
        PERFECT.assign(score=1 - PERFECT["score"]),
        random_scores(steps=1).assign(group="one photograph"),
        random_scores(steps=1, images=12),  # four groups
        random_scores(steps=1).assign(group=lambda t: t["group"].where(t["label"] == 1, "one photograph")),
    ],
)
def test_where_the_bootstrap_knows_nothing_only_proportions_have_an_interval(scores):
    R = matrices(scores, DETECTION, resamples=100)
    for name in WITH_THRESHOLD:
        low, high = R.metrics[name].interval()
        assert (high - low > 0.2).all(), name  # of two or four dozen images
    for name in ("AUC", "AP", "EER", "TPR at 5 % FPR"):
        assert np.isnan(R.metrics[name].interval()).all(), name
    average = summary(PERFECT, ["b"], resamples=20).set_index("metric").loc["average"]
    assert average.isna().tolist() == [False, True, True]


@pytest.mark.parametrize("metric", ["accuracy", "AUC"])
def test_summary_is_the_continual_metrics_with_intervals(metric):
    scores, how = random_scores(), {"resamples": 100, "seed": 1}
    got = summary(scores, STREAM, metric, **how).set_index("metric")
    assert not got.equals(summary(scores, STREAM, metric, resamples=100, seed=2).set_index("metric"))
    assert list(got.index) == [*CONTINUAL, "unseen: new"]
    table, R = matrix(scores, metric), estimate(scores, metric, **how)
    assert got.loc["unseen: new", "value"] == pytest.approx(table.loc[3, "new"])
    value = by_hand(table[STREAM].to_numpy())
    draws, left_out = ([by_hand(r) for r in part[:, :, [1, 0, 2]]] for part in (R.draws, R.left_out))
    for name in CONTINUAL:
        ends = of_draws([d[name] for d in draws], value[name], [[d[name]] for d in left_out], groups=8)
        assert got.loc[name].tolist() == pytest.approx([value[name], *ends], nan_ok=name == OF_FOUR)


def test_summary_of_one_domain_and_of_missing_cells():
    scores = random_scores(steps=1, domains=("a",))
    got, value = values_of(scores, ["a"]), matrix(scores).iloc[0, 0]
    for name in CONTINUAL:
        undefined = name.startswith(("forgetting", "backward", "forward", "future", "gain")) or name.endswith("from 3")
        assert got[name] == pytest.approx(np.nan if undefined else value, nan_ok=True), name
    # A domain of the stream that was never tested.
    assert summary(random_scores(), [*STREAM, "other"], resamples=30)[["value", "low", "high"]].isna().all().all()
    # A step that was not tested: only what does not need it is known.
    scores = random_scores()
    got, R = values_of(scores[scores["step"] != 2], STREAM), matrix(scores)
    assert got["average"] == pytest.approx(R.loc[3, STREAM].mean())
    assert got["unseen: new"] == pytest.approx(R.loc[3, "new"])
    assert got["average from 3"] == R.loc[3, STREAM[2]]
    assert got.drop(["average", "average from 3", "unseen: new"]).isna().all()
    # Without the last step nothing is known of the end.
    assert np.isnan(values_of(scores[scores["step"] < 3], STREAM)["unseen: new"])
    with pytest.raises(ValueError, match="there is a step 3; needed: 1 to 2, one for each of the stream"):
        summary(scores, ["a", "b"], resamples=5)
    # A domain with one class.
    reals = scores[(scores["domain"] != "b") | (scores["label"] == 0)]
    auc = values_of(reals, STREAM, "AUC")
    assert auc[list(CONTINUAL)].drop("average from 3").isna().all()
    assert not np.isnan(auc["unseen: new"])
    assert values_of(reals, STREAM).drop(OF_FOUR).notna().all()


def test_paired_difference_takes_the_same_resamples_of_both():
    for metric in ("accuracy", "AUC"):  # a run differs from itself by exactly nothing
        nothing = paired_difference(random_scores(), random_scores(), STREAM, metric, resamples=50)
        assert (nothing.loc[nothing["metric"] != OF_FOUR, "value"] == 0).all()
        assert nothing[["low", "high"]].isna().all(axis=None)  # which does not tell how different they may be
    first, second = random_scores(1), random_scores(2)
    got = paired_difference(first, second, STREAM, resamples=100, seed=5).set_index("metric").loc["average"]
    averages = [
        matrices(s, ["accuracy"], resamples=100, seed=5).statistic("accuracy", lambda R, *_: R[:, -1, :3].mean(1))
        for s in (first, second)
    ]
    parts = [getattr(averages[0], part) - getattr(averages[1], part) for part in ("value", "draws", "left_out")]
    want = [float(end) for end in Estimate(*parts, averages[0].groups).interval()]
    assert got[["low", "high"]].tolist() == pytest.approx(want)
    values = [by_hand(matrix(s)[STREAM].to_numpy())["average"] for s in (first, second)]
    assert got["value"] == pytest.approx(np.subtract(*values))
    mixed = paired_difference(first, second.sample(frac=1, random_state=0), STREAM, resamples=100, seed=5)
    assert mixed.set_index("metric").loc["average"].tolist() == pytest.approx(got.tolist())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": lambda t: t["image"].str.replace("a/0", "a/zero")}, "tested on different images"),
        ({"label": lambda t: 1 - t["label"]}, "tested on different images"),
        ({"step": lambda t: t["step"].clip(upper=2)}, "tested on different images"),
        ({"domain": lambda t: t["domain"].replace("new", "newer")}, "tested on different images"),
        ({"group": lambda t: t["image"]}, "image 'a/0' of 'a' is of 'group00' in one and of 'a/0' in the other"),
        ({"group": lambda t: t["group"].replace("group01", "group00")}, "is of 'group01' in one and of 'group00'"),
    ],
)
@pytest.mark.parametrize(
    "compute",
    [
        lambda a, b: paired_difference(a, b, STREAM, resamples=5),
        cell_changes,
        lambda a, b: estimate(a, resamples=5) - estimate(b, resamples=5),
    ],
)
def test_tables_of_other_images_or_groups_are_not_paired(compute, change, words):
    first = random_scores()
    with pytest.raises(UserError, match=words):
        compute(first, random_scores(2).assign(**change))
