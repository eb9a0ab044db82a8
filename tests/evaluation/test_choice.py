"""The rule by which one of several trials is chosen, and what is called a tie."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cldf_core.evaluation.choice import FINALISTS, finalists, judged, verdict

FIVE, TWO = 5, 2


def table(averages, spreads, *, seeds=None, images=None) -> pd.DataFrame:
    """Trials 1, 2, …; by default all with five seeds and as many image passes."""
    count = len(averages)
    columns = {
        "average": averages,
        "spread": spreads,
        "seeds": seeds or [FIVE] * count,
        "images": images or [10] * count,
    }
    return pd.DataFrame({"trial": range(1, count + 1), "values": [f"lr {k}" for k in range(count)], **columns})


def chosen(trials: pd.DataFrame, **how) -> int:
    return judged(trials, **how).query("chosen")["trial"].item()


def test_the_best_by_two_seeds_come_to_the_final():
    assert finalists(table([0.7, 0.9, 0.8, 0.9, 0.6], [0.0] * 5)) == [2, 4, 3]
    assert FINALISTS == 3


@pytest.mark.parametrize(
    ("averages", "spread", "images", "want"),
    [
        ([0.70, 0.80, 0.79], 0.0, None, 2),  # nothing else is within its error
        ([0.79, 0.80, 0.75], 0.05, None, 2),  # the defaults, trial 1, have no advantage
        ([0.79, 0.80, 0.75], 0.05, [5, 10, 10], 1),  # the error is 0.05 / 5**0.5 = 0.022: as good, and cheaper
        ([0.77, 0.80, 0.79], 0.05, [10, 10, 5], 3),
        ([0.77, 0.80, 0.70], 0.05, [10, 10, 5], 2),  # but not where it is worse
    ],
)
def test_the_cheapest_stands_before_what_is_hardly_better(averages, spread, images, want):
    trials = table(averages, [spread] * 3, images=images)
    assert chosen(trials) == want
    assert chosen(trials.sample(frac=1, random_state=1)) == want
    assert chosen(trials, best=True) == 2


def test_the_error_is_pooled_over_the_trials_with_the_most_seeds():
    # The best one's seeds agree by accident, and one that was left behind scatters: neither counts by itself.
    averages, spreads, seeds = [0.79, 0.80, 0.70, 0.50], [0.03, 0.0, 0.03, 0.4], [FIVE, FIVE, FIVE, TWO]
    images = [5, 10, 10, 10]
    error = np.sqrt((0.03**2 + 0 + 0.03**2) / 3) / np.sqrt(5)
    assert error == pytest.approx(0.011, abs=1e-3)
    assert chosen(table(averages, spreads, seeds=seeds, images=images)) == 1
    assert chosen(table([0.788, 0.80, 0.70, 0.50], spreads, seeds=seeds, images=images)) == 2


def test_what_was_not_in_the_final_is_not_chosen():
    assert chosen(table([0.85, 0.80, 0.70], [0.01] * 3, seeds=[TWO, FIVE, FIVE])) == 2


def test_tied_is_what_a_t_test_cannot_tell_from_the_best():
    seeds = [FIVE, FIVE, FIVE, TWO, TWO]
    spread, t = 0.02, stats.t.ppf(0.975, 12)
    five, two = t * spread * np.sqrt(1 / 5 + 1 / 5), t * spread * np.sqrt(1 / 5 + 1 / 2)
    averages = [0.9, 0.9 - five + 1e-6, 0.9 - five - 1e-6, 0.9 - two + 1e-6, 0.9 - two - 1e-6]
    got = judged(table(averages, [spread] * 3 + [0.0, 0.5], seeds=seeds)).set_index("trial")["tied"].sort_index()
    assert got.tolist() == [True, True, False, True, False]


@pytest.mark.parametrize(
    ("averages", "spread", "words"),
    [
        (
            [0.90, 0.70, 0.60],
            0.01,
            "the best average can be told from all others; taken is trial 1, the defaults (lr 0)",
        ),
        (
            [0.70, 0.90, 0.895],
            0.01,
            "a tie, the seeds cannot tell 2 of 3 apart (averages from 0.895 to 0.900); taken is trial 2 (lr 1)",
        ),
        (
            [0.70, 0.90, 0.80],
            0.0,
            "a tie, the seeds cannot tell 3 of 3 apart (averages from 0.700 to 0.900); taken is tri",
        ),
    ],
)
def test_a_tie_is_called_a_tie(averages, spread, words):
    assert verdict(judged(table(averages, [spread] * 3))).startswith(words)
