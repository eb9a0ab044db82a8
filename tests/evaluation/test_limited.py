"""How many new images are enough."""

import pandas as pd

from cldf_core.evaluation.limited import images_needed

SIZES = (5, 10, 50)


def left(agent: str, values: list[float], reach: float, n: int = 3) -> pd.DataFrame:
    """How far an agent's gain with each size is above the share of that with all."""
    rows = [(agent, size, value, value - reach, n) for size, value in zip(SIZES, values, strict=True)]
    return pd.DataFrame(rows, columns=["agent", "images", "value", "low", "n"])


def test_without_runs_nothing_is_needed():
    needed = images_needed(left("a", [0.1, 0.1, 0.1], 0.1)[:0])
    assert (len(needed), list(needed)) == (0, ["agent", "reached", "shown", "n", "tried"])


def test_the_fewest_images_are_those_from_which_on_it_holds():
    by_accident = left("b", [0.09, -0.4, -0.3], 0.01, n=1)  # 5 were enough, but 10 and 50 are not
    needed = images_needed(pd.concat([left("a", [-0.8, 0.0, 0.02], 0.03), by_accident])).set_index("agent")
    assert needed.loc["a", "reached"] == 10
    assert pd.isna(needed.loc["a", "shown"])  # with 50 images, the interval leaves room for less than the share
    assert needed.loc["b", ["reached", "shown"]].isna().all()
    assert needed["n"].tolist() == [3, 1]
    assert set(needed["tried"]) == {"5, 10, 50"}
    assert images_needed(left("a", [-0.8, 0.05, 0.07], 0.06))["shown"].tolist() == [50]
