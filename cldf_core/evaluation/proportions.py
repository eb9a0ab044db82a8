"""Intervals of proportions of images, such as accuracy, whose images come in groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import betaincinv

PRIOR = 2  # images in the minority from which agreement starts, as if all others of their groups were alike


@dataclass(frozen=True)
class Proportion:
    """What is needed of images to know how uncertain a weighted share of them is.

    Attributes:
        share: the sum of the weights of the images that count, such as those with a right verdict.
        images: as many images with equal weights would vary alike, if they were independent.
        alike: the same number if the images of each group were all alike.
        groups: the number of groups with a weight.
        disagreement: within groups, by how much the images vary; in images.
        expected: the disagreement if groups did not matter.
    """

    share: float
    images: float
    alike: float
    groups: int
    disagreement: float
    expected: float

    @classmethod
    def from_images(
        cls, counts: np.ndarray, groups: np.ndarray, weights: np.ndarray, first: int | None = None
    ) -> "Proportion":
        """Takes whether each image counts (bool), its group's number from 0, and its weight (sum 1), all (N,).

        How alike the images of groups are, the first images alone tell, if the others are of other proportions, too.
        """
        own, used = np.arange(len(weights)) < (len(weights) if first is None else first), weights > 0
        own, counts, groups, weights = own[used], counts[used], groups[used], weights[used]
        if not len(weights):
            return cls(np.nan, np.nan, np.nan, 0, 0.0, 0.0)
        size, of_group = np.bincount(groups[own]), np.bincount(groups, weights)
        disagreement = expected = 0.0
        if (size > 0).sum() > 1:  # a single group does not tell within from between
            several, yes = size > 1, np.bincount(groups[own], counts[own], len(size))
            disagreement = float((yes * (size - yes) / np.maximum(size - 1, 1)).sum())
            share = counts[own].mean()
            expected = float(share * (1 - share) * size[several].sum())
        squares = (weights**2).sum(), (of_group**2).sum()
        return cls(
            float(weights @ counts), 1 / squares[0], 1 / squares[1], int((of_group > 0).sum()), disagreement, expected
        )


def class_weights(metric: str, labels: np.ndarray) -> np.ndarray:
    """Returns the weight of each image, (N,), with which the share of right verdicts is a metric in WITH_THRESHOLD.

    Without images of a class that it needs, the weights are 0.
    """
    kinds = {"accuracy": [labels >= 0], "accuracy on real": [labels == 0], "accuracy on fake": [labels == 1]}
    parts = kinds.get(metric, [labels == 0, labels == 1])
    if not all(kind.any() for kind in parts):
        return np.zeros(len(labels))
    return np.sum([kind / kind.sum() for kind in parts], axis=0) / len(parts)


def effective_images(proportions: Sequence[Proportion]) -> np.ndarray:
    """Computes for each proportion as how many independent images its images count, n* = n / deff, shape (K,).

    The design effect deff follows from the correlation of the images of a group, which all proportions of a table give
    together, so that one of 1 is not taken for less certain than its neighbour of 0.99. It starts from images that are
    all alike; as long as no group disagrees, n* is therefore the number of groups, which is conservative. It is never
    less than that, or than the number of images that weights of classes leave, and never more than the images.

    Source: Kish, Survey Sampling 1965 (deff); Korn & Graubard, Survey Methodology 1998 (n*).
    """
    expected = sum(p.expected for p in proportions) + PRIOR
    correlation = np.clip(1 - sum(p.disagreement for p in proportions) / expected, 0, 1)
    images, alike, groups = np.array([(p.images, p.alike, p.groups) for p in proportions], float).reshape(-1, 3).T
    effective = 1 / ((1 - correlation) / images + correlation / alike)
    return np.clip(effective, np.minimum(groups, images), images)


def share_table(images: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Computes which share of the images counts in each part of a table, with 95 % intervals over groups.

    The images have the columns `by`, whose values in common make a part, counts (bool) and group. The result has `by`,
    value, low, high and n, the number of images, in the order of the parts' first images.
    """
    keys, proportions, sizes = [], [], []
    for key, part in images.groupby(list(by), sort=False):
        keys.append(key)
        sizes.append(n := len(part))
        groups = pd.factorize(part["group"])[0]
        proportions.append(Proportion.from_images(part["counts"].to_numpy(bool), groups, np.full(n, 1 / n)))
    low, high = intervals(proportions)
    numbers = {"value": [p.share for p in proportions], "low": low, "high": high, "n": sizes}
    return pd.DataFrame(keys, columns=list(by)).assign(**numbers)


def clopper_pearson(share: np.ndarray, images: np.ndarray, tail: float = 0.025) -> tuple[np.ndarray, np.ndarray]:
    """Computes the ends of intervals of shares of so many images, which need not be whole; NaN stays NaN.

    By default they are of 95 %; `tail` is how often the truth lies below the lower end, or above the upper one.

    Source: Clopper & Pearson, Biometrika 1934.
    """
    share, images = np.asarray(share, float), np.asarray(images, float)
    yes = np.clip(share, 0, 1) * images
    no = images - yes
    with np.errstate(invalid="ignore"):
        low = np.where(yes > 0, betaincinv(yes, no + 1, tail), 0.0 * yes)
        high = np.where(no > 0, betaincinv(yes + 1, no, 1 - tail), 1 + 0.0 * yes)
    return low, high


def with_exact_ends(shares: pd.DataFrame) -> pd.DataFrame:
    """Adds low and high, the ends of 95 % intervals, to a table with a share as value and a count of trials as n."""
    low, high = clopper_pearson(shares["value"].to_numpy(float), shares["n"].to_numpy(float))
    return shares.assign(low=low, high=high)


def intervals(proportions: Sequence[Proportion]) -> tuple[np.ndarray, np.ndarray]:
    """Computes the lower and the upper ends, (K,), of the 95 % intervals of the proportions of one table."""
    return clopper_pearson(np.array([p.share for p in proportions]), effective_images(proportions))
