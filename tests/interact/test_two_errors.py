"""The threshold on a ROC curve: scikit-learn's curve, and costs counted image by image."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from cldf_core.interact.two_errors import THRESHOLDS, error_rates, mean_cost, two_errors
from moving import check_live

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 60)
SCORES = np.round(np.clip(RNG.normal(0.35 + 0.3 * LABELS, 0.2), 0, 1), 2)  # with ties


def test_rates_are_those_of_scikit_learn():
    false_alarms, found, thresholds = roc_curve(LABELS, SCORES, drop_intermediate=False)
    alarms, missed = error_rates(LABELS, SCORES, thresholds)
    assert np.allclose(alarms, false_alarms)
    assert np.allclose(1 - missed, found)


def test_a_cost_is_a_mean_over_images():
    for threshold in (0.2, 0.5, 0.9):
        alarm, missed = error_rates(LABELS, SCORES, [threshold])
        share, each = LABELS.mean(), []
        for label, score in zip(LABELS, SCORES, strict=True):
            says_fake = score >= threshold
            each.append(1.0 if says_fake and not label else 5.0 if label and not says_fake else 0.0)
        assert mean_cost(alarm, missed, share, 5.0)[0] == pytest.approx(np.mean(each))


def test_every_control_moves_the_picture_and_the_cheapest_is_told():
    live = two_errors(LABELS, SCORES, 0.503)
    assert live.controls["threshold"].value == 0.5
    check_live(two_errors(LABELS, SCORES, 0.3))
    live.controls["ratio"].value, live.controls["share"].value = 5.0, 0.1
    costs = [mean_cost(*error_rates(LABELS, SCORES, [t]), 0.1, 5.0)[0] for t in THRESHOLDS]
    best = THRESHOLDS[int(np.argmin(costs))]
    now = costs[THRESHOLDS.index(0.5)]
    assert f"a cost of {now:.3f} per image; the cheapest threshold is {best:.2f}." in live.picture.value


def test_where_all_errors_cost_the_same_the_line_of_equal_cost_is_that_of_accuracy():
    figure = two_errors(LABELS, SCORES).draw(0.5, 0.5, 1.0)
    line = figure.axes[0].lines[2]
    assert np.diff(line.get_ydata()) == pytest.approx(1)
