"""Has what a detector sees changed? Scores of new images against those of images whose classes are known.

More fakes than before are no change of this kind, and nobody knows how many there are: so the distribution of the new
scores is compared with a mixture of those of the known real and fake images, in the shares that fit best. What no
mixture fits, the detector was not made for: other fakes, or other photographs. Fakes that it takes for real ones
altogether look like these here, too, and are not seen.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from cldf_core.evaluation.bootstrap import FEWEST, ROUNDING
from cldf_core.evaluation.proportions import with_exact_ends
from cldf_core.options import UserError
from cldf_core.randomness import generator

STEPS = 25  # of a ternary search, each of which leaves two thirds of where the share may lie
CELLS = 1 << 23  # numbers in memory at once


@dataclass(frozen=True)
class Drift:
    """How far new scores are from known ones.

    Attributes:
        distance: the largest difference between the cumulative distributions of the new scores and of the nearest
            mixture, from 0 to 1 (the statistic of Kolmogorov and Smirnov).
        share: that of fakes in this mixture; NaN where known images are not of both classes.
        p: how often new images that are like the known ones would be at least as far.
        images: of the new scores.
        groups: of these images.
    """

    distance: float
    share: float
    p: float
    images: int
    groups: int


def drift(known: pd.DataFrame, new: pd.DataFrame, *, resamples: int = 999, seed: int = 0) -> Drift:
    """Compares new scores with known ones.

    The p is from a bootstrap: known groups are drawn with replacement; and as new images, as many groups of known ones,
    with as many images of each, fakes in the share of the nearest mixture. New images without known groups are each a
    group of its own.

    Args:
        known: columns value (a score), group and label: 0 (real) or 1 (fake), all -1 where they are not known.
        new: columns value and group.

    Raises:
        UserError: there are no new images, or a class of the known ones has fewer than 5 groups.

    Source: the two-sample test of Kolmogorov and Smirnov, its p from a bootstrap, as in Efron & Tibshirani, "An
    introduction to the bootstrap", 1993, section 16.2.
    """
    known = known.sort_values("group", kind="stable")
    kinds = known.groupby("label")["group"].nunique()
    if not len(new):
        raise UserError("there are no new scores; needed: at least one")
    if len(kinds) == 0 or kinds.min() < FEWEST:
        raise UserError(f"known images of a class have {kinds.min() if len(kinds) else 0} groups; needed: {FEWEST}")
    points, place = np.unique(np.concatenate([known["value"], new["value"]]).astype(float), return_inverse=True)
    labels, groups = known["label"].to_numpy(), pd.factorize(known["group"])[0]
    classes = [labels == label for label in kinds.index] * (3 - len(kinds))  # a single one is both
    spots = csr_array((np.ones(len(known)), (np.arange(len(known)), place[: len(known)])), (len(known), len(points)))
    sizes = new["group"].value_counts(sort=False).to_numpy()

    def of_known(weights: np.ndarray) -> list[np.ndarray]:
        return [_cumulative(np.asarray((weights * kind) @ spots)) for kind in classes]

    everything = _cumulative(np.bincount(place[len(known) :], minlength=len(points))[None])
    distance, share = nearest_mixture(everything, *of_known(np.ones((1, len(known)))))
    rng, far, done = generator(seed, "bootstrap", "drift"), 0, 0
    weights = sum(part * kind / kind.sum() for part, kind in zip((1 - share[0], share[0]), classes, strict=True))
    while done < resamples:
        count = min(resamples - done, max(1, CELLS // max(len(points), len(known), len(new))))
        times = rng.multinomial(groups.max() + 1, np.full(groups.max() + 1, 1 / (groups.max() + 1)), count)[:, groups]
        for kind in classes:
            times[times[:, kind].sum(1) == 0] = 1  # a class that was not drawn is taken as it is
        rows = np.arange(count)[:, None] * len(points)
        drawn = rows + place[_draw(rng, weights, groups, sizes, count)]
        other = np.bincount(drawn.ravel(), minlength=count * len(points)).reshape(count, -1)
        far += int((nearest_mixture(_cumulative(other), *of_known(times))[0] >= distance - ROUNDING).sum())
        done += count
    of_fakes = float(share[0]) if len(kinds) == 2 else float("nan")
    return Drift(float(distance[0]), of_fakes, (1 + far) / (1 + resamples), len(new), len(sizes))


def share_noticed(
    known: pd.DataFrame,
    domains: Mapping[str, pd.DataFrame],
    counts: Sequence[int],
    *,
    draws: int = 50,
    alpha: float = 0.01,
    seed: int = 0,
) -> pd.DataFrame:
    """Computes how often so many images of a domain, drawn at random, are noticed: their p is alpha or less.

    Args:
        known: as for `drift`.
        domains: for each domain its scores, as the new ones of `drift`.
        counts: numbers of images; a domain that has no more is left out, since all its draws would be one.

    Returns:
        Columns domain, images, value, n (draws), low and high (95 %, of the share of draws).
    """
    rows = []
    for (name, scores), count in itertools.product(domains.items(), counts):
        if len(scores) <= count:
            continue
        rng, seen = generator(seed, "bootstrap", "noticed", name, count), 0
        for draw in range(draws):
            part = scores.iloc[rng.permutation(len(scores))[:count]]
            seen += drift(known, part, resamples=round(2 / alpha) - 1, seed=draw).p <= alpha
        rows.append((name, count, seen / draws, draws))
    return with_exact_ends(pd.DataFrame(rows, columns=["domain", "images", "value", "n"]))


def nearest_mixture(new: np.ndarray, real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of fakes with which a mixture is nearest to new scores, and its distance; both of shape (N,).

    The arguments are cumulative distributions at common points, shape (N, points). The distance is the largest absolute
    difference, a convex function of the share.
    """
    from_real, from_fake = new - real, fake - real

    def distance(share: np.ndarray) -> np.ndarray:
        return np.abs(from_real - share[:, None] * from_fake).max(1)

    low, high = np.zeros(len(new)), np.ones(len(new))
    for _ in range(STEPS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        nearer = distance(left) <= distance(right)
        low, high = np.where(nearer, low, left), np.where(nearer, right, high)
    return distance((low + high) / 2), (low + high) / 2


def _cumulative(counts: np.ndarray) -> np.ndarray:
    total = counts.cumsum(1)
    return total / total[:, -1:]


def _draw(
    rng: np.random.Generator, weights: np.ndarray, groups: np.ndarray, sizes: np.ndarray, count: int
) -> np.ndarray:
    """Places of images that stand for new ones, shape (count, images): as many of one group as `sizes` says.

    Images have weights, with the sum 1, and are sorted by their groups.
    """
    edges = weights.cumsum()
    begins = np.concatenate([[0], edges])[np.searchsorted(groups, np.arange(groups.max() + 1))]
    widths = np.bincount(groups, weights)
    drawn = groups[_place(edges, rng.random((count, len(sizes))))]
    begins, widths = (np.repeat(values[drawn], sizes, axis=1) for values in (begins, widths))
    return _place(edges, begins + widths * rng.random(begins.shape))


def _place(edges: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.minimum(np.searchsorted(edges, where, side="right"), len(edges) - 1)
