"""Metrics against scikit-learn, brute force, hand-written loops of methods.md section 5, and repeated rows."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from cldf_core.metrics import (
    CONTINUAL,
    DETECTION,
    bootstrap,
    continual,
    detection,
    equal_error_rate,
    expected_calibration_error,
    interval,
    matrix,
    over_seeds,
    paired_difference,
    summary,
)

labelled = st.lists(
    st.tuples(st.integers(0, 1), st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1, width=32))),
    min_size=1,
    max_size=40,
)


def apart(pairs: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])


# --- detection ---


@settings(deadline=None, max_examples=80)
@given(pairs=labelled, threshold=st.sampled_from([0.5, 0.25, 0.9]))
def test_detection_equals_scikit_learn(pairs, threshold):
    labels, scores = apart(pairs)
    assume(len(set(labels)) == 2)
    got = detection(labels, scores, threshold=threshold)
    verdicts = (scores >= threshold).astype(int)
    want = {
        "accuracy": sk.accuracy_score(labels, verdicts),
        "balanced accuracy": sk.balanced_accuracy_score(labels, verdicts),
        "accuracy on real": sk.recall_score(labels, verdicts, pos_label=0),
        "accuracy on fake": sk.recall_score(labels, verdicts, pos_label=1),
        "AUC": sk.roc_auc_score(labels, scores),
        "AP": sk.average_precision_score(labels, scores),
    }
    for name, value in want.items():
        assert got[name] == pytest.approx(value, abs=1e-9), name
    assert tuple(got) == DETECTION


@settings(deadline=None, max_examples=60)
@given(pairs=labelled)
def test_auc_and_tpr_by_brute_force(pairs):
    labels, scores = apart(pairs)
    real, fake = scores[labels == 0], scores[labels == 1]
    assume(len(real) and len(fake))
    got = detection(labels, scores)
    wins = sum((f > r) + 0.5 * (f == r) for f in fake for r in real)
    assert got["AUC"] == pytest.approx(wins / (len(real) * len(fake)), abs=1e-9)
    thresholds = [np.inf, *scores]
    best = max((fake >= t).mean() for t in thresholds if (real >= t).mean() <= 0.05)
    assert got["TPR at 5 % FPR"] == pytest.approx(best, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(pairs=labelled)
def test_eer_is_where_the_roc_meets_the_falling_diagonal(pairs):
    labels, scores = apart(pairs)
    real, fake = scores[labels == 0], scores[labels == 1]
    assume(len(real) and len(fake))
    points = sorted({((real >= t).mean(), (fake >= t).mean()) for t in [np.inf, *scores]})
    # Brute force: every segment of the ROC is walked in small steps.
    meeting = []
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        for share in np.linspace(0, 1, 401):
            x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
            meeting.append((abs(x - (1 - y)), x))
    assert detection(labels, scores)["EER"] == pytest.approx(min(meeting)[1], abs=5e-3)


def test_eer_of_known_cases():
    assert detection([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])["EER"] == 0
    assert detection([0, 0, 1, 1], [0.8, 0.9, 0.1, 0.2])["EER"] == 1
    assert detection([0, 1], [0.5, 0.5])["EER"] == 0.5
    assert equal_error_rate(np.array([0, 0.2, 1]), np.array([0, 0.8, 1])) == pytest.approx(0.2)


@pytest.mark.parametrize("label", [0, 1])
def test_a_missing_class_gives_nan_where_it_is_needed(label):
    got = detection([label] * 3, [0.2, 0.6, 0.7])
    assert got["accuracy"] == pytest.approx(1 / 3 if label == 0 else 2 / 3)
    assert got["accuracy on fake" if label else "accuracy on real"] == got["accuracy"]
    for name in ("balanced accuracy", "AUC", "AP", "EER", "TPR at 5 % FPR"):
        assert np.isnan(got[name]), name
    assert np.isnan(got["accuracy on real" if label else "accuracy on fake"])


def test_no_image_gives_nan_and_wrong_shapes_are_refused():
    assert all(np.isnan(v) for v in detection(np.array([], int), np.array([])).values())
    with pytest.raises(ValueError, match=r"labels have shape \(2,\) and scores \(3,\)"):
        detection([0, 1], [0.1, 0.2, 0.3])


@settings(deadline=None, max_examples=60)
@given(pairs=st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=50))
def test_ece_by_hand(pairs):
    labels, scores = apart(pairs)
    assume((np.abs(scores * 15 - np.round(scores * 15)) > 1e-9).all() or set(scores) <= {0.0, 1.0})
    total = 0.0
    for k in range(15):
        inside = (scores >= k / 15) & ((scores < (k + 1) / 15) | (k == 14))
        if inside.any():
            total += inside.mean() * abs(scores[inside].mean() - labels[inside].mean())
    assert expected_calibration_error(labels, scores) == pytest.approx(total, abs=1e-9)


# --- continual ---


def by_hand(R: np.ndarray) -> dict[str, float]:
    """methods.md section 5, with its indices from 1."""
    T = len(R)
    r = {(t, i): R[t - 1, i - 1] for t in range(1, T + 1) for i in range(1, T + 1)}
    nan = float("nan")

    def mean(values) -> float:
        values = list(values)
        return sum(values) / len(values) if values else nan

    return {
        "average": mean(r[T, i] for i in range(1, T + 1)),
        "learning": mean(r[i, i] for i in range(1, T + 1)),
        "forgetting (max-last)": mean(max(r[t, i] for t in range(i, T + 1)) - r[T, i] for i in range(1, T)),
        "backward transfer": mean(r[T, i] - r[i, i] for i in range(1, T)),
        "forward transfer": mean(r[i - 1, i] - 0.5 for i in range(2, T + 1)),
        "anytime average": mean(mean(r[t, i] for i in range(1, t + 1)) for t in range(1, T + 1)),
        "worst case": min(r[t, i] for t in range(1, T + 1) for i in range(1, t + 1)),
        "seen": mean(mean(r[t, i] for i in range(1, t + 1)) for t in range(1, T + 1)),
        "future": mean(mean(r[t, i] for i in range(t + 1, T + 1)) for t in range(1, T)),
    }


@settings(deadline=None, max_examples=60)
@given(T=st.integers(1, 6), seed=st.integers(0, 9999))
def test_continual_metrics_by_hand(T, seed):
    R = np.random.default_rng(seed).random((3, T, T))
    got = continual(R)
    assert tuple(got) == CONTINUAL
    for k in range(3):
        for name, value in by_hand(R[k]).items():
            assert got[name][k] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_a_worked_example():
    R = np.array([[0.9, 0.5, 0.6], [0.7, 0.8, 0.4], [0.8, 0.6, 1.0]])
    got = {name: float(v) for name, v in continual(R).items()}
    assert got == pytest.approx(
        {
            "average": 0.8,
            "learning": 0.9,
            "forgetting (max-last)": (0.1 + 0.2) / 2,
            "backward transfer": (-0.1 - 0.2) / 2,
            "forward transfer": (0.0 - 0.1) / 2,
            "anytime average": (0.9 + 0.75 + 0.8) / 3,
            "worst case": 0.6,
            "seen": (0.9 + 0.75 + 0.8) / 3,
            "future": (0.55 + 0.4) / 2,
        }
    )


def test_a_single_domain_leaves_the_transfers_undefined():
    got = continual(np.array([[0.7]]))
    assert got["average"] == got["learning"] == got["worst case"] == 0.7
    for name in ("forgetting (max-last)", "backward transfer", "forward transfer", "future"):
        assert np.isnan(got[name])


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3)])
def test_a_matrix_that_is_not_square_is_refused(shape):
    with pytest.raises(ValueError, match="needed:"):
        continual(np.zeros(shape))


# --- the table of scores ---


def table(
    seed: int = 0, steps: int = 3, images: int = 24, domains: tuple[str, ...] = ("b", "a", "c", "new")
) -> pd.DataFrame:
    """Random scores; a real image and its fake share a group, and the groups appear in every domain."""
    rng = np.random.default_rng(seed)
    rows = [
        (step, domain, split, f"{domain}/{k}", f"group{k // 3:02d}", k % 2, round(rng.random(), 2))
        for step in range(1, steps + 1)
        for domain in domains
        for split in ("validation", "test")
        for k in range(images)
    ]
    frame = pd.DataFrame(rows, columns=["step", "domain", "split", "image", "group", "label", "score"])
    return frame.assign(logit=0.0)


def test_matrix_is_a_metric_per_step_and_domain_in_tested_order():
    scores = table()
    for metric in DETECTION:
        R = matrix(scores, metric)
        assert list(R.index) == [1, 2, 3]
        assert list(R.columns) == ["b", "a", "c", "new"]
        for step in R.index:
            for domain in R.columns:
                cell = scores.query("step == @step and domain == @domain and split == 'test'")
                want = detection(cell["label"].to_numpy(), cell["score"].to_numpy())[metric]
                assert R.loc[step, domain] == want
    assert not matrix(scores).equals(matrix(scores, split="validation"))
    with pytest.raises(ValueError, match="no scores of split 'train'; there are: validation, test"):
        matrix(scores, split="train")
    with pytest.raises(ValueError, match="metric is 'acuracy'; allowed: accuracy, balanced accuracy"):
        matrix(scores, "acuracy")


@pytest.mark.parametrize("metric", ["accuracy", "AUC"])
def test_bootstrap_equals_physically_repeated_rows(metric):
    scores = table(images=18, steps=2)
    got = bootstrap(scores, lambda R, steps, domains: R, metric, resamples=12, seed=4)
    assert got.shape == (12, 2, 4)
    test = scores[scores["split"] == "test"]
    groups = sorted(set(test["group"]))
    weights = np.random.default_rng(4).multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=12)
    for draw in range(12):
        # A group that is drawn twice brings all its images of every step and domain twice.
        repeated = pd.concat(
            [test[test["group"] == g] for g, n in zip(groups, weights[draw], strict=True) for _ in range(n)]
        )
        for t, step in enumerate((1, 2)):
            for i, domain in enumerate(("b", "a", "c", "new")):
                cell = repeated[(repeated["step"] == step) & (repeated["domain"] == domain)]
                want = detection(cell["label"].to_numpy(), cell["score"].to_numpy())[metric]
                assert got[draw, t, i] == pytest.approx(want, abs=1e-12)


def test_groups_are_drawn_in_all_domains_at_once():
    # Two domains with the same images and scores: their resampled values agree draw by draw.
    one = table(domains=("a",), steps=1)
    both = pd.concat([one, one.assign(domain="b")], ignore_index=True)
    R = bootstrap(both, lambda R, steps, domains: R, resamples=50)
    np.testing.assert_array_equal(R[:, 0, 0], R[:, 0, 1])
    assert len(np.unique(R)) > 3
    # One group of all images: nothing varies.
    R = bootstrap(one.assign(group="all"), lambda R, steps, domains: R, resamples=50)
    assert len(np.unique(R)) == 1


def test_bootstrap_of_groups_is_wider_than_of_images():
    # Within a group all images are right or all wrong: the group is the unit that counts.
    rng = np.random.default_rng(0)
    right = rng.integers(0, 2, 40).repeat(10)
    label = np.tile([0, 1], 200)
    frame = pd.DataFrame(
        {
            "step": 1,
            "domain": "a",
            "split": "test",
            "image": [str(k) for k in range(400)],
            "group": [f"{k // 10}" for k in range(400)],
            "label": label,
            "score": np.where(right == 1, 0.1 + 0.8 * label, 0.9 - 0.8 * label),
        }
    )
    by_group = bootstrap(frame, lambda R, steps, domains: R[:, 0, 0], resamples=400).std()
    share = right.mean()
    assert by_group == pytest.approx((share * (1 - share) / 40) ** 0.5, rel=0.15)


def test_a_resample_without_one_class_has_no_auc_and_breaks_nothing():
    frame = table(images=6, steps=1, domains=("a",))
    frame["group"] = frame["label"].map({0: "reals", 1: "fakes"})
    R = bootstrap(frame, lambda R, steps, domains: R[:, 0, 0], "AUC", resamples=60)
    assert np.isnan(R).any()
    assert not np.isnan(R).all()
    low, high = interval(R)
    assert low == high  # the draws that have both classes all hold each image equally often


def test_only_metrics_with_weights_are_bootstrapped():
    with pytest.raises(ValueError, match="metric is 'EER'; allowed for the bootstrap: accuracy, AUC"):
        bootstrap(table(steps=1), lambda R, steps, domains: R, "EER", resamples=2)


@pytest.mark.parametrize("metric", ["accuracy", "AUC"])
def test_summary_is_the_continual_metrics_with_percentile_intervals(metric):
    scores = table()
    stream = ["a", "b", "c"]  # another order than in the table
    got = summary(scores, stream, metric, resamples=200, seed=1).set_index("metric")
    assert list(got.index) == [*CONTINUAL, "unseen: new"]
    R = matrix(scores, metric)
    want = by_hand(R[stream].to_numpy())
    for name in CONTINUAL:
        assert got.loc[name, "value"] == pytest.approx(want[name], abs=1e-12)
    assert got.loc["unseen: new", "value"] == R.loc[3, "new"]
    draws = bootstrap(scores, lambda values, steps, domains: values, metric, resamples=200, seed=1)
    trained = draws[:, :, [1, 0, 2]]
    for name in ("average", "forgetting (max-last)", "future"):
        low, high = np.quantile([by_hand(r)[name] for r in trained], [0.025, 0.975])
        assert got.loc[name, ["low", "high"]].tolist() == pytest.approx([low, high])
    assert got.loc["unseen: new", "low"] == pytest.approx(np.quantile(draws[:, -1, 3], 0.025))


def test_the_same_seed_gives_the_same_intervals():
    first, second = (summary(table(), ["b", "a", "c"], resamples=50, seed=s) for s in (3, 3))
    pd.testing.assert_frame_equal(first, second)
    assert not first.equals(summary(table(), ["b", "a", "c"], resamples=50, seed=4))


def test_a_run_differs_from_itself_by_exactly_nothing():
    for metric in ("accuracy", "AUC"):
        difference = paired_difference(table(), table(), ["b", "a", "c"], metric, resamples=50)
        assert (difference[["value", "low", "high"]].to_numpy() == 0).all()


def test_paired_difference_takes_the_same_resamples_of_both():
    first, second = table(1), table(2)
    got = paired_difference(first, second, ["b", "a", "c"], resamples=100, seed=5).set_index("metric")
    draws = [
        bootstrap(s, lambda R, steps, domains: R[:, -1, :3].mean(1), resamples=100, seed=5) for s in (first, second)
    ]
    assert got.loc["average", ["low", "high"]].tolist() == pytest.approx(
        np.quantile(draws[0] - draws[1], [0.025, 0.975]).tolist()
    )
    ends = [by_hand(matrix(s)[["b", "a", "c"]].to_numpy())["average"] for s in (first, second)]
    assert got.loc["average", "value"] == pytest.approx(ends[0] - ends[1])


def test_runs_on_different_images_are_not_paired():
    other = table()
    other["image"] = other["image"].str.replace("a/0", "a/zero")
    with pytest.raises(ValueError, match="different images"):
        paired_difference(table(), other, ["b", "a", "c"], resamples=5)


@settings(deadline=None, max_examples=30)
@given(values=st.lists(st.floats(-5, 5), min_size=2, max_size=9))
def test_over_seeds_is_scipys_t_interval(values):
    mean, low, high = over_seeds(np.array(values))
    assert mean == pytest.approx(np.mean(values))
    spread = stats.sem(values)
    if spread > 1e-9:
        assert (low, high) == pytest.approx(stats.t.interval(0.95, len(values) - 1, np.mean(values), spread))
    else:
        assert high - low < 1e-6


def test_one_seed_has_no_interval():
    mean, low, high = over_seeds(np.array([0.7]))
    assert mean == 0.7
    assert np.isnan([low, high]).all()


def test_interval_is_central_and_ignores_undefined_draws():
    values = np.append(np.arange(1001.0), np.nan)
    assert interval(values) == pytest.approx((25, 975))
    assert interval(values, level=0.5) == pytest.approx((250, 750))
    assert np.isnan(interval(np.array([np.nan]))).all()
