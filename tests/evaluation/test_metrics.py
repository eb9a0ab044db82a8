"""Metrics against scikit-learn, brute force, hand-written loops of methods.md section 5, and repeated rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from cldf_core.evaluation.metrics import CONTINUAL, DETECTION, Scored, best_threshold, continual, detection, matrix
from samples import random_scores

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


@settings(deadline=None, max_examples=40)
@given(pairs=labelled)
def test_the_points_of_the_roc_are_scikit_learns(pairs):
    labels, scores = apart(pairs)
    assume(len(set(labels)) == 2)
    for fpr, tpr, threshold in zip(*sk.roc_curve(labels, scores, drop_intermediate=False), strict=True):
        got = detection(labels, scores, threshold=threshold, names=["accuracy on real", "accuracy on fake"])
        assert (1 - got["accuracy on real"], got["accuracy on fake"]) == pytest.approx((fpr, tpr), abs=1e-9)


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
    # Between the points (0.2, 0.6) and (0.4, 1) of the ROC: gap -0.2 and 0.4, so a third of the way.
    labels, scores = [0] * 5 + [1] * 5, [0.9, 0.5, 0.1, 0.1, 0.1, 0.95, 0.95, 0.95, 0.5, 0.5]
    assert detection(labels, scores)["EER"] == pytest.approx(0.2 + 0.2 / 3)


@pytest.mark.parametrize("label", [0, 1])
def test_a_missing_class_gives_nan_where_it_is_needed(label):
    got = detection([label] * 3, [0.2, 0.6, 0.7])
    assert got["accuracy"] == pytest.approx(1 / 3 if label == 0 else 2 / 3)
    assert got["accuracy on fake" if label else "accuracy on real"] == got["accuracy"]
    for name in ("balanced accuracy", "AUC", "AP", "EER", "TPR at 5 % FPR"):
        assert np.isnan(got[name]), name
    assert np.isnan(got["accuracy on real" if label else "accuracy on fake"])


def test_a_score_that_is_nan_leaves_nothing_defined():
    found = detection(np.array([0, 1, 1]), np.array([0.1, np.nan, 0.8]))
    assert all(np.isnan(value) for value in found.values())


def test_labels_other_than_0_and_1_are_refused():
    with pytest.raises(ValueError, match="labels hold 2; allowed: 0"):
        detection(np.array([0, 1, 2]), np.array([0.1, 0.2, 0.8]))


def test_no_threshold_is_best_for_one_class_or_for_nan():
    for labels, scores in (([1, 1], [0.1, 0.2]), ([], []), ([0, 1], [0.1, np.nan])):
        with pytest.raises(ValueError, match="needed: both classes, and no score that is NaN"):
            best_threshold(np.array(scores), np.array(labels))


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
    assert detection(labels, scores, names=["ECE"])["ECE"] == pytest.approx(total, abs=1e-9)


# --- images that count several times ---


@settings(deadline=None, max_examples=150)
@given(data=st.data(), pairs=labelled, threshold=st.sampled_from([0.5, 0.25, 0.9]))
def test_weighted_metrics_are_those_of_repeated_images(data, pairs, threshold):
    labels, scores = apart(pairs)
    groups = np.array(data.draw(st.lists(st.integers(0, 5), min_size=len(pairs), max_size=len(pairs))))
    images = Scored(labels, scores, groups, threshold=threshold)
    weights = np.array(
        data.draw(
            st.lists(
                st.lists(st.integers(0, 3), min_size=images.groups, max_size=images.groups), min_size=1, max_size=4
            )
        )
    )
    got = images.metrics(weights)
    for draw, of_group in enumerate(weights):
        rows = np.repeat(np.arange(len(labels)), of_group[groups])
        want = detection(labels[rows], scores[rows], threshold=threshold)
        for name in DETECTION:
            assert got[name][draw] == pytest.approx(want[name], abs=1e-9, nan_ok=True), name


@settings(deadline=None, max_examples=80)
@given(data=st.data(), pairs=labelled)
def test_weighted_metrics_equal_scikit_learn_with_sample_weights(data, pairs):
    labels, scores = apart(pairs)
    weights = np.array(data.draw(st.lists(st.integers(0, 4), min_size=len(pairs), max_size=len(pairs))))
    assume(weights[labels == 0].sum() and weights[labels == 1].sum())
    got = {name: float(v[0]) for name, v in Scored(labels, scores).metrics(weights[None]).items()}
    verdicts, how = (scores >= 0.5).astype(int), {"sample_weight": weights}
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(labels, verdicts, **how), abs=1e-9)
    assert got["balanced accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, verdicts, **how), abs=1e-9)
    assert got["AUC"] == pytest.approx(sk.roc_auc_score(labels, scores, **how), abs=1e-9)
    assert got["AP"] == pytest.approx(sk.average_precision_score(labels, scores, **how), abs=1e-9)
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False, **how)
    assert got["TPR at 5 % FPR"] == pytest.approx(tpr[fpr <= 0.05].max(), abs=1e-9)
    # The EER: where FPR - FNR crosses 0 along scikit-learn's ROC.
    gap = fpr - (1 - tpr)
    k = int(np.argmax(gap >= -1e-12))
    want = fpr[k] if abs(gap[k]) < 1e-12 else np.interp(0, gap[k - 1 : k + 1], fpr[k - 1 : k + 1])
    assert got["EER"] == pytest.approx(want, abs=1e-9)


def test_a_resample_without_a_class_has_nan_where_it_is_needed():
    images = Scored(np.array([0, 1]), np.array([0.2, 0.9]))
    got = images.metrics(np.array([[2, 0], [0, 2], [0, 0], [1, 1]]))
    np.testing.assert_array_equal(got["accuracy"], [1, 1, np.nan, 1])
    np.testing.assert_array_equal(got["accuracy on real"], [1, np.nan, np.nan, 1])
    np.testing.assert_array_equal(got["accuracy on fake"], [np.nan, 1, np.nan, 1])
    for name, perfect in (("balanced accuracy", 1), ("AUC", 1), ("AP", 1), ("EER", 0), ("TPR at 5 % FPR", 1)):
        np.testing.assert_array_equal(got[name], [np.nan, np.nan, np.nan, perfect], err_msg=name)
    np.testing.assert_allclose(got["ECE"], [0.2, 0.1, np.nan, 0.15])


def test_five_percent_is_reached_where_one_in_twenty_reals_is_called_fake():
    labels = np.array([0] * 20 + [1] * 4)
    scores = np.concatenate([np.arange(20) / 100, [0.5, 0.185, 0.175, 0.01]])
    assert detection(labels, scores)["TPR at 5 % FPR"] == 0.5


# --- the threshold ---


def test_the_threshold_is_the_middle_of_the_best_gap_that_is_nearest_to_a_half():
    assert best_threshold(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1])) == (0.5, 1)
    at, accuracy = best_threshold(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 1]))
    assert (at, accuracy) == (pytest.approx(0.25), 1)
    at, accuracy = best_threshold(np.array([0.6, 0.9, 0.7, 0.8]), np.array([0, 0, 1, 1]))
    assert (at, accuracy) == (pytest.approx(0.65), 0.75)


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
        "forgetting (max-last)": mean(max(r[t, i] for t in range(i, T)) - r[T, i] for i in range(1, T)),
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
            "forgetting (max-last)": ((0.9 - 0.8) + (0.8 - 0.6)) / 2,
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


def test_forgetting_compares_with_the_best_before_the_last_step():
    # The first domain gains in the last step: it has lost -0.1, not 0.
    got = continual(np.array([[0.6, 0.5], [0.7, 0.9]]))
    assert got["forgetting (max-last)"] == pytest.approx(-0.1)
    assert got["backward transfer"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("at", "undefined"),
    [
        ((0, 0), {"learning", "forgetting (max-last)", "backward transfer", "anytime average", "worst case", "seen"}),
        ((0, 2), {"future"}),
        ((1, 2), {"forward transfer", "future"}),
        ((2, 0), {"average", "forgetting (max-last)", "backward transfer", "anytime average", "worst case", "seen"}),
        ((2, 2), {"average", "learning", "anytime average", "worst case", "seen"}),
    ],
)
def test_a_missing_value_makes_undefined_what_needs_it_and_nothing_else(at, undefined):
    whole = np.array([[0.9, 0.5, 0.6], [0.7, 0.8, 0.4], [0.8, 0.6, 1.0]])
    R = whole.copy()
    R[at] = np.nan
    got, want = continual(R), continual(whole)
    assert {name for name, value in got.items() if np.isnan(value)} == undefined
    for name in set(CONTINUAL) - undefined:
        assert got[name] == want[name]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 2, 3), (0, 0)])
def test_a_matrix_that_is_not_square_is_refused(shape):
    with pytest.raises(ValueError, match="needed:"):
        continual(np.zeros(shape))


# --- the table of scores ---


def test_matrix_is_a_metric_per_step_and_domain_in_tested_order():
    scores = random_scores()
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
