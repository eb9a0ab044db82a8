"""Intervals of proportions: Clopper and Pearson's of SciPy where images are independent, and simulated truth."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cldf_core.evaluation.proportions import Proportion, class_weights, effective_images, intervals, share_table


def made(right: np.ndarray, groups: np.ndarray, metric: str = "accuracy") -> Proportion:
    return Proportion.from_images(right, groups, class_weights(metric, np.arange(len(right)) % 2))


def of_groups(wrong: Sequence[int], sizes: Sequence[int]) -> Proportion:
    """Groups of so many images, of which so many are wrong."""
    right = np.concatenate([np.arange(size) >= count for count, size in zip(wrong, sizes, strict=True)])
    return made(right, np.repeat(np.arange(len(sizes)), sizes))


@settings(deadline=None, max_examples=50)
@given(right=st.lists(st.booleans(), min_size=1, max_size=30))
def test_of_independent_images_it_is_scipys(right):
    low, high = intervals([made(np.array(right), np.arange(len(right)))])
    want = stats.binomtest(sum(right), len(right)).proportion_ci()
    assert (low[0], high[0]) == pytest.approx(tuple(want), abs=1e-9)


@pytest.mark.parametrize(
    ("wrong", "sizes", "images"),
    [
        ([0] * 4, [1] * 4, 4),
        ([0] * 10, [4] * 10, 10),  # nothing tells how alike they are: as many as groups,
        ([0] * 3, [1, 2, 9], 3),  # never fewer,
        ([4] * 3 + [0] * 7, [4] * 10, 10),  # nor where they are all alike;
        ([0] * 1, [9], 1),  # one photograph says little,
        ([4], [9], 1),  # whatever its verdicts are.
        ([2] * 200, [4] * 200, 800),  # Groups that are all mixed count in full.
    ],
)
def test_images_of_a_group_count_as_many_only_as_far_as_they_differ(wrong, sizes, images):
    assert effective_images([of_groups(wrong, sizes)]) == pytest.approx([images])


def test_images_of_another_proportion_count_but_do_not_tell_again_how_alike_groups_are():
    rng = np.random.default_rng(0)
    right, groups, weights = rng.random(90) < 0.8, rng.integers(0, 20, 90), np.full(90, 1 / 90)
    first, whole = Proportion.from_images(right, groups, weights, 60), Proportion.from_images(right, groups, weights)
    alone = Proportion.from_images(right[:60], groups[:60], np.full(60, 1 / 60))
    assert (first.disagreement, first.expected) == pytest.approx((alone.disagreement, alone.expected))
    assert first.disagreement < whole.disagreement
    for name in ("share", "images", "alike", "groups"):
        assert getattr(first, name) == getattr(whole, name)
    none = Proportion.from_images(right, groups, weights, 0)
    assert (none.disagreement, none.expected, none.groups) == (0, 0, whole.groups)


def test_all_right_is_not_taken_for_less_certain_than_nearly_all_right():
    for wrong in range(1, 12):  # of 30 groups of 12 images, one in each of the first
        nearly = of_groups([1] * wrong + [0] * (30 - wrong), [12] * 30)
        low, high = intervals([of_groups([0] * 30, [12] * 30), nearly])
        assert low[0] > low[1]
        assert high[0] == 1 > high[1] > 1 - wrong / 360
    alone = [intervals([of_groups([wrong] + [0] * 29, [12] * 30)])[0][0] for wrong in (0, 1)]
    assert abs(alone[1] - alone[0]) < 0.03  # nor is there a jump in tables of one


def test_a_class_that_is_missing_or_rare_is_worth_what_it_has():
    right, groups, labels = np.ones(100, bool), np.arange(100), np.arange(100) > 0  # one real image
    low, high = intervals([Proportion.from_images(right, groups, class_weights("balanced accuracy", labels))])
    assert low[0] < 0.5  # about four images
    assert high[0] == 1
    nothing = Proportion.from_images(right, groups, class_weights("accuracy on real", np.ones(100)))
    assert np.isnan(intervals([nothing])).all()


def test_a_table_has_the_share_of_each_part_in_the_order_of_its_images():
    counts = np.array([True, False, True, True, True, False, True, True])
    images = pd.DataFrame({"kind": list("bbaabaab"), "counts": counts, "group": list("stuvwxyz")})
    table = share_table(images, ["kind"])
    assert list(table.columns) == ["kind", "value", "low", "high", "n"]
    assert list(table["kind"]) == ["b", "a"]
    for row in table.itertuples():  # every image is a group of its own, so they are independent
        own = images[images["kind"] == row.kind]
        want = stats.binomtest(int(own["counts"].sum()), len(own)).proportion_ci()
        assert (row.value, row.n) == (own["counts"].mean(), len(own))
        assert (row.low, row.high) == pytest.approx(tuple(want), abs=1e-9)
    several = pd.concat([images.assign(part=part) for part in (1, 2, 3)])
    copies = share_table(several, ["kind"])  # copies of an image, in its group, tell nothing more
    np.testing.assert_allclose(copies[["low", "high"]], table[["low", "high"]], atol=1e-9)
    parts = share_table(several, ["part", "kind"])
    assert parts[["part", "kind"]].to_numpy().tolist() == [[part, kind] for part in (1, 2, 3) for kind in "ba"]
    assert share_table(images[:0], ["kind"]).empty


def cases(rng: np.random.Generator, truth: float, groups: int, alike: float | str) -> tuple[np.ndarray, np.ndarray]:
    """Images of 1 to 12, and how many of them are wrong, in each group; alike is the correlation within groups."""
    sizes = rng.integers(1, 13, groups)
    if alike == "hard groups":  # most are right in all images, and some are guessed at a fifth
        own = np.where(rng.random(groups) < (1 - truth) / 0.8, 0.2, 1.0)
    elif alike in (0, 1) or truth == 1:
        own = np.full(groups, truth) if alike == 0 else rng.binomial(1, truth, groups)
    else:
        own = rng.beta(truth * (1 / alike - 1), (1 - truth) * (1 / alike - 1), groups)
    return rng.binomial(sizes, 1 - own), sizes


def coverage(truth: float, groups: int, alike: float | str, metric: str = "accuracy", *, count: int) -> float:
    """In what share of so many simulations the interval of a metric holds the truth."""
    rng, held = np.random.default_rng([groups, int(1000 * truth)]), []
    for _ in range(count):
        wrong, sizes = cases(rng, truth, groups, alike)
        right = np.concatenate([rng.permutation(size) >= k for k, size in zip(wrong, sizes, strict=True)])
        low, high = intervals([made(right, np.repeat(np.arange(groups), sizes), metric)])
        held.append(np.isnan(low[0]) or low[0] <= truth <= high[0])
    return float(np.mean(held))


@pytest.mark.parametrize("groups", [5, 10, 30])
@pytest.mark.parametrize("truth", [0.8, 0.95])
@pytest.mark.parametrize("alike", [0, 0.4, 1, "hard groups"])
def test_intervals_hold_the_truth(truth, groups, alike):
    assert coverage(truth, groups, alike, count=150) >= 0.92
