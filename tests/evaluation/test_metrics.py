"""Metrics against scikit-learn, repeated rows, known cases, and formulas written out."""

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
thresholds = st.sampled_from([0.5, 0.25, 0.9])
WHOLE = np.array([[0.9, 0.5, 0.6], [0.7, 0.8, 0.4], [0.8, 0.6, 1.0]])


def apart(pairs: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])


@settings(deadline=None, max_examples=100)
@given(data=st.data(), pairs=labelled, threshold=thresholds)
def test_detection_equals_scikit_learn(data, pairs, threshold):
    labels, scores = apart(pairs)
    once = st.just([1] * len(pairs))
    weights = np.array(data.draw(once | st.lists(st.integers(0, 4), min_size=len(pairs), max_size=len(pairs))))
    assume(weights[labels == 0].sum() and weights[labels == 1].sum())
    got = {n: float(v[0]) for n, v in Scored(labels, scores, threshold=threshold).metrics(weights[None]).items()}
    verdicts, how = (scores >= threshold).astype(int), {"sample_weight": weights}
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False, **how)
    # The EER: where FPR - FNR crosses 0 along the ROC curve.
    gap = fpr - (1 - tpr)
    k = int(np.argmax(gap >= -1e-12))
    want = {
        "accuracy": sk.accuracy_score(labels, verdicts, **how),
        "balanced accuracy": sk.balanced_accuracy_score(labels, verdicts, **how),
        "accuracy on real": sk.recall_score(labels, verdicts, pos_label=0, **how),
        "accuracy on fake": sk.recall_score(labels, verdicts, pos_label=1, **how),
        "AUC": sk.roc_auc_score(labels, scores, **how),
        "AP": sk.average_precision_score(labels, scores, **how),
        "TPR at 5 % FPR": tpr[fpr <= 0.05].max(),
        "EER": fpr[k] if abs(gap[k]) < 1e-12 else np.interp(0, gap[k - 1 : k + 1], fpr[k - 1 : k + 1]),
    }
    assert set(want) == {*DETECTION} - {"ECE"}
    for name, value in want.items():
        assert got[name] == pytest.approx(value, abs=1e-9), name
    if (weights == 1).all():
        assert detection(labels, scores, threshold=threshold) == got


@settings(deadline=None, max_examples=60)
@given(data=st.data(), pairs=labelled, threshold=thresholds)
def test_weighted_metrics_are_those_of_repeated_images(data, pairs, threshold):
    labels, scores = apart(pairs)
    groups = np.array(data.draw(st.lists(st.integers(0, 5), min_size=len(pairs), max_size=len(pairs))))
    images = Scored(labels, scores, groups, threshold=threshold)
    resample = st.lists(st.integers(0, 3), min_size=images.groups, max_size=images.groups)
    weights = np.array(data.draw(st.lists(resample, min_size=1, max_size=4)))
    got = images.metrics(weights)
    for draw, of_group in enumerate(weights):
        rows = np.repeat(np.arange(len(labels)), of_group[groups])
        want = detection(labels[rows], scores[rows], threshold=threshold)
        for name in DETECTION:
            assert got[name][draw] == pytest.approx(want[name], abs=1e-9, nan_ok=True), name


def test_eer_and_tpr_of_known_cases():
    assert detection([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])["EER"] == 0
    assert detection([0, 0, 1, 1], [0.8, 0.9, 0.1, 0.2])["EER"] == 1
    assert detection([0, 1], [0.5, 0.5])["EER"] == 0.5
    # Between the points (0.2, 0.6) and (0.4, 1) of the ROC: gap -0.2 and 0.4, so a third of the way.
    labels, scores = [0] * 5 + [1] * 5, [0.9, 0.5, 0.1, 0.1, 0.1, 0.95, 0.95, 0.95, 0.5, 0.5]
    assert detection(labels, scores)["EER"] == pytest.approx(0.2 + 0.2 / 3)
    # Five percent are reached where one in twenty reals is called fake.
    scores = np.concatenate([np.arange(20) / 100, [0.5, 0.185, 0.175, 0.01]])
    assert detection([0] * 20 + [1] * 4, scores)["TPR at 5 % FPR"] == 0.5


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


def test_a_resample_without_a_class_has_nan_where_it_is_needed():
    got = Scored(np.array([0, 1]), np.array([0.2, 0.9])).metrics(np.array([[2, 0], [0, 2], [0, 0], [1, 1]]))
    np.testing.assert_array_equal(got["accuracy"], [1, 1, np.nan, 1])
    np.testing.assert_array_equal(got["accuracy on real"], [1, np.nan, np.nan, 1])
    np.testing.assert_array_equal(got["accuracy on fake"], [np.nan, 1, np.nan, 1])
    for name, perfect in (("balanced accuracy", 1), ("AUC", 1), ("AP", 1), ("EER", 0), ("TPR at 5 % FPR", 1)):
        np.testing.assert_array_equal(got[name], [np.nan, np.nan, np.nan, perfect], err_msg=name)
    np.testing.assert_allclose(got["ECE"], [0.2, 0.1, np.nan, 0.15])


@pytest.mark.parametrize(("labels", "scores"), [([], []), ([0, 1, 1], [0.1, np.nan, 0.8])])
def test_without_images_or_with_a_score_that_is_nan_nothing_is_defined(labels, scores):
    assert all(np.isnan(value) for value in detection(np.array(labels, int), np.array(scores)).values())


@pytest.mark.parametrize(
    ("labels", "words"),
    [([0, 1, 2], "labels hold 2; allowed: 0"), ([0, 1], r"labels have shape \(2,\) and scores \(3,\)")],
)
def test_wrong_labels_and_shapes_are_refused(labels, words):
    with pytest.raises(ValueError, match=words):
        detection(labels, [0.1, 0.2, 0.8])


@pytest.mark.parametrize(
    ("scores", "threshold", "accuracy"),
    [([0.1, 0.2, 0.8, 0.9], 0.5, 1), ([0.1, 0.2, 0.3, 0.4], 0.25, 1), ([0.6, 0.9, 0.7, 0.8], 0.65, 0.75)],
)
def test_the_threshold_is_the_middle_of_the_best_gap_that_is_nearest_to_a_half(scores, threshold, accuracy):
    assert best_threshold(np.array(scores), np.array([0, 0, 1, 1])) == (pytest.approx(threshold), accuracy)


@pytest.mark.parametrize(("labels", "scores"), [([1, 1], [0.1, 0.2]), ([], []), ([0, 1], [0.1, np.nan])])
def test_no_threshold_is_best_for_one_class_or_for_nan(labels, scores):
    with pytest.raises(ValueError, match="needed: both classes, and no score that is NaN"):
        best_threshold(np.array(scores), np.array(labels))


OF_FOUR = "forgetting (max-last) from 3"  # the first that it can be of is the third of four


def by_hand(R: np.ndarray) -> dict[str, float]:
    """The formulas as the papers write them, with indices from 1."""
    T = len(R)
    r = {(t, i): R[t - 1, i - 1] for t in range(1, T + 1) for i in range(1, T + 1)}

    def mean(values) -> float:
        values = list(values)
        return sum(values) / len(values) if values else float("nan")

    return {
        "average": mean(r[T, i] for i in range(1, T + 1)),
        "learning": mean(r[i, i] for i in range(1, T + 1)),
        "forgetting (max-last)": mean(max(r[t, i] for t in range(i, T)) - r[T, i] for i in range(1, T)),
        "backward transfer": mean(r[T, i] - r[i, i] for i in range(1, T)),
        "forward transfer": mean(r[i - 1, i] - 0.5 for i in range(2, T + 1)),
        "anytime average": mean(mean(r[t, i] for i in range(1, t + 1)) for t in range(1, T + 1)),
        "lowest R": min(r[t, i] for t in range(1, T + 1) for i in range(1, t + 1)),
        "future": mean(mean(r[t, i] for i in range(t + 1, T + 1)) for t in range(1, T)),
        "gain": mean(r[i, i] - r[i - 1, i] for i in range(2, T + 1)),
        "average from 3": mean(r[T, i] for i in range(3, T + 1)),
        "forgetting (max-last) from 3": mean(max(r[t, i] for t in range(i, T)) - r[T, i] for i in range(3, T)),
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
    got = {name: float(v) for name, v in continual(WHOLE).items()}
    want = {"average": 0.8, "learning": 0.9, "lowest R": 0.6, "future": (0.55 + 0.4) / 2}
    want |= {"forgetting (max-last)": (0.1 + 0.2) / 2, "backward transfer": -0.15, "forward transfer": -0.05}
    want["anytime average"] = (0.9 + 0.75 + 0.8) / 3
    want |= {"gain": ((WHOLE[1, 1] - WHOLE[0, 1]) + (WHOLE[2, 2] - WHOLE[1, 2])) / 2, "average from 3": WHOLE[2, 2]}
    want[OF_FOUR] = np.nan
    assert got == pytest.approx(want, nan_ok=True)
    # A domain that gains in the last step has lost less than nothing: the best is that before the last step.
    assert continual(np.array([[0.6, 0.5], [0.7, 0.9]]))["forgetting (max-last)"] == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("at", "undefined"),
    [
        ((0, 0), {"learning", "forgetting (max-last)", "backward transfer", "anytime average", "lowest R"}),
        ((0, 2), {"future"}),
        ((1, 2), {"forward transfer", "future", "gain"}),
        ((2, 0), {"average", "forgetting (max-last)", "backward transfer", "anytime average", "lowest R"}),
        ((2, 2), {"average", "learning", "anytime average", "lowest R", "gain", "average from 3"}),
    ],
)
def test_a_missing_value_makes_undefined_what_needs_it_and_nothing_else(at, undefined):
    R = WHOLE.copy()
    R[at] = np.nan
    got, want = continual(R), continual(WHOLE)
    assert {name for name, value in got.items() if np.isnan(value)} == undefined | {OF_FOUR}
    assert all(got[name] == want[name] for name in set(CONTINUAL) - undefined - {OF_FOUR})


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 2, 3), (0, 0)])
def test_a_matrix_that_is_not_square_is_refused(shape):
    with pytest.raises(ValueError, match="needed:"):
        continual(np.zeros(shape))


def test_matrix_is_a_metric_per_step_and_domain_in_tested_order():
    scores = random_scores(steps=2)
    cells = scores[scores["split"] == "test"].groupby(["step", "domain"])
    for metric in DETECTION:
        R = matrix(scores, metric)
        assert (list(R.index), list(R.columns)) == ([1, 2], ["b", "a", "c", "new"])
        for (step, domain), cell in cells:
            want = detection(cell["label"].to_numpy(), cell["score"].to_numpy(), names=[metric])[metric]
            assert R.loc[step, domain] == want
    assert not matrix(scores).equals(matrix(scores, split="validation"))
