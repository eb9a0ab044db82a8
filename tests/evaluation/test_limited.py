"""How many new images are enough."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cldf_core.evaluation.limited import images_needed, left_to_gain

SIZES = (5, 10, 50, 250)


def runs(gains: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Gains of each agent, a list for each size, with a value for each seed."""
    rows = [
        (agent, seed, size, value)
        for agent, of_agent in gains.items()
        for size, of_size in zip(SIZES, of_agent, strict=True)
        for seed, value in enumerate(of_size)
    ]
    return pd.DataFrame(rows, columns=["agent", "seed", "images", "value"])


@given(seed=st.integers(0, 999), share=st.sampled_from([0.5, 0.9, 1.0]))
def test_what_is_left_is_taken_seed_by_seed(seed, share):
    gains = np.random.default_rng(seed).random((2, len(SIZES), 3))
    table = left_to_gain(runs({"a": gains[0].tolist(), "b": gains[1].tolist()}), share=share)
    assert len(table) == 2 * (len(SIZES) - 1)
    for row in table.itertuples():
        own = gains["ab".index(row.agent)]
        apart = [own[SIZES.index(row.images)][k] - share * own[-1][k] for k in range(3)]
        half = stats.t.ppf(0.975, 2) * np.std(apart, ddof=1) / 3**0.5
        assert (row.value, row.low, row.high) == pytest.approx((np.mean(apart), *(np.mean(apart) + [-half, half])))
        assert row.n == 3


def test_without_runs_nothing_is_needed():
    left = left_to_gain(runs({}))
    assert (len(left), list(left)) == (0, ["agent", "images", "value", "low", "high", "n"])
    assert list(images_needed(left)) == ["agent", "reached", "shown", "n", "tried"]


def test_the_fewest_images_are_those_from_which_on_it_holds():
    table = runs({"a": [[0.1, 0.2], [0.95, 1.0], [0.92, 0.94], [1.0, 1.0]], "b": [[0.99], [0.5], [0.6], [1.0]]})
    needed = images_needed(left_to_gain(table)).set_index("agent")
    assert needed.loc["a", "reached"] == 10
    assert pd.isna(needed.loc["a", "shown"])  # with 50 images, two seeds leave room for less than the share
    assert needed["n"].tolist() == [2, 1]
    assert set(needed["tried"]) == {"5, 10, 50"}
    assert (
        needed.loc["b", ["reached", "shown"]].isna().all()
    )  # 5 images were enough by accident: with 10 and 50 the share is not reached
    close = runs({"a": [[0.1, 0.2], [0.95, 0.96], [0.97, 0.97001], [1.0, 1.0]]})
    assert images_needed(left_to_gain(close))["shown"].tolist() == [50]
