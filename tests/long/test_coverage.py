"""How often 95 % intervals hold the truth, in many simulations: the numbers that README states."""

import pytest

from evaluation.test_proportions import coverage

TRUTHS = (0.8, 0.9, 0.95, 0.99, 1.0)


@pytest.mark.parametrize("metric", ["accuracy", "balanced accuracy", "accuracy on fake"])
@pytest.mark.parametrize("groups", [5, 10, 30])
@pytest.mark.parametrize("alike", [0, 0.2, 0.5, 0.8, 1, "hard groups"])
def test_intervals_of_proportions_hold_the_truth(metric, groups, alike):
    held = {truth: coverage(truth, groups, alike, metric, count=1000) for truth in TRUTHS}
    print(f"{metric}, {groups} groups, alike {alike}: {min(held.values()):.3f} to {max(held.values()):.3f}")
    assert min(held.values()) >= 0.92, held
