"""How often 95 % intervals hold the truth, in many simulations: the numbers that README states."""

import numpy as np
import pandas as pd
import pytest

from cldf_core.evaluation.bootstrap import matrices, summary
from cldf_core.evaluation.metrics import DETECTION, WITH_THRESHOLD, detection
from evaluation.test_bootstrap import one_cell, simulated
from evaluation.test_proportions import coverage

TRUTHS = (0.8, 0.9, 0.95, 0.99, 1.0)
OTHERS = [name for name in DETECTION if name not in WITH_THRESHOLD]


@pytest.mark.parametrize("metric", ["accuracy", "balanced accuracy", "accuracy on fake"])
@pytest.mark.parametrize("groups", [5, 10, 30])
@pytest.mark.parametrize("alike", [0, 0.2, 0.5, 0.8, 1, "hard groups"])
def test_intervals_of_proportions_hold_the_truth(metric, groups, alike):
    held = {truth: coverage(truth, groups, alike, metric, count=1000) for truth in TRUTHS}
    print(f"{metric}, {groups} groups, alike {alike}: {min(held.values()):.3f} to {max(held.values()):.3f}")
    assert min(held.values()) >= 0.92, held


@pytest.mark.parametrize("strength", [0.3, 0.6, 1, 1.5, 2])  # AUC from 0.66 to 0.998
def test_intervals_of_other_metrics_hold_the_truth(strength):
    """30 groups of 12 images; the truth is the value of 240,000 images. Cases without an interval do not count."""
    truth = detection(*simulated(np.random.default_rng(0), 20_000, strength=strength)[:2], names=OTHERS)
    rng, held, known = np.random.default_rng(1), [], []
    for case in range(1000):
        cell = one_cell(*simulated(rng, strength=strength))
        ends = {name: e.interval() for name, e in matrices(cell, OTHERS, resamples=400, seed=case).metrics.items()}
        held.append([low.item() <= truth[name] <= high.item() for name, (low, high) in ends.items()])
        known.append([not np.isnan(low.item()) for low, _ in ends.values()])
    shares = dict(zip(ends, np.sum(held, 0) / np.sum(known, 0), strict=True))
    print(f"strength {strength}:", *(f"{name} {share:.3f} (truth {truth[name]:.3f})" for name, share in shares.items()))
    assert all(share >= (0.75 if name == "ECE" else 0.8) for name, share in shares.items()), shares


def test_intervals_of_the_worst_case_hold_it_less_often():
    """The lowest of six cells, all of which have the same truth: what is lowest by accident is lower than that."""
    rng, held = np.random.default_rng(2), []
    truth = detection(*simulated(np.random.default_rng(0), 20_000)[:2])["accuracy"]
    for case in range(1000):
        cells = [one_cell(*simulated(rng)).assign(step=t, domain=d) for t in (1, 2, 3) for d in "abc"]
        table = summary(pd.concat(cells), list("abc"), resamples=400, seed=case).set_index("metric")
        low, high = table.loc["lowest R", ["low", "high"]]
        held.append(low <= truth <= high)
    print(f"lowest R: {np.mean(held):.3f}")
    assert np.mean(held) >= 0.5
