"""How often 95 % intervals of means over seeds hold the truth: those over seeds and groups, and those over one of them.

    python tests/evaluation/crossed_coverage.py

Writes figures/tables/coverage.csv; about three minutes. An experiment has 5 seeds (in some rows 3 or 10) and 26 groups
(photographs), as the benchmark has, with 4 images of each class in a group; every seed scores every image. A score, or
the margin of a verdict, is a sum of normal variables: of the seed, of the group, of the image (which all seeds share),
and of seed and image together. `share` is the part of the seeds in what seeds and groups add to the variance of a mean:
with 0 seeds do not matter beyond chance in single images, with 1 groups do not. The truth is what all seeds and groups
that there could be would give. An interval that does not exist holds nothing.

- accuracy, AUC: of one step and domain.
- forgetting: max-last, of three domains, the first of which is tested after all three steps. Level 0: no cell is worse
  than another, so the best of two steps is best by chance alone, the hard case. Level 0.2: it falls from 0.9 to 0.7.
- difference: of the accuracies of two agents, paired; the correlation of how hard groups and images are is 0.7.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from cldf_core.data.files import save_table
from cldf_core.evaluation.bootstrap import Estimate
from cldf_core.evaluation.crossed import Crossed, crossed, crossed_difference
from cldf_core.evaluation.metrics import Scored, continual

GROUPS, IMAGES = 26, 8
SHARES = (0, 0.2, 0.5, 0.8, 1)
TOTAL = 0.15  # the deviation that seeds and groups give to a mean margin, where that of a single image and seed is 1
IMAGE = 0.5  # the deviation of how hard single images are
RESAMPLES = 400
BLOCK = 50  # experiments with the same resamples
FORGETTING = {"0": (0.9, 0.9, 0.9, 0.9, 0.9), "0.2": (0.9, 0.85, 0.7, 0.9, 0.7)}  # R11, R21, R31, R22, R32


def deviations(seeds: int, share: float) -> tuple[float, float]:
    """Of seeds and of groups, so that a mean over both has the deviation TOTAL, and seeds that share of its square."""
    return TOTAL * np.sqrt(share * seeds), TOTAL * np.sqrt((1 - share) * GROUPS)


def normals(rng: np.random.Generator, seeds: int) -> list[np.ndarray]:
    """Of seeds, of groups, of images, and of each image and seed; the first axis is that of a BLOCK of experiments."""
    shapes = (seeds, 1, 1), (1, GROUPS, 1), (1, GROUPS, IMAGES), (seeds, GROUPS, IMAGES)
    return [rng.normal(size=(BLOCK, *shape)) for shape in shapes]


def margins(draws: list[np.ndarray], truth: float, share: float) -> np.ndarray:
    """Margins that are positive with the probability `truth`, shape (BLOCK, seeds, GROUPS, IMAGES)."""
    factors = np.array([*deviations(draws[0].shape[1], share), IMAGE, 1])
    middle = norm.ppf(truth) * np.sqrt((factors**2).sum())
    return middle + sum(factor * part for factor, part in zip(factors, draws, strict=True))


def resampled(rng: np.random.Generator) -> np.ndarray:
    """How often each group counts in each resample, shape (RESAMPLES, GROUPS)."""
    return rng.multinomial(GROUPS, np.full(GROUPS, 1 / GROUPS), RESAMPLES)


def estimates(values: np.ndarray, draws: np.ndarray, **more: object) -> list[Estimate]:
    """One for each seed, from values (seeds, BLOCK) and draws (seeds, RESAMPLES, BLOCK)."""
    return [Estimate(v, d, np.empty((0, len(v))), GROUPS, **more) for v, d in zip(values, draws, strict=True)]


def shares_right(rng: np.random.Generator, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of right verdicts and their resamples, (seeds, …, BLOCK), of (BLOCK, seeds, …, GROUPS, IMAGES)."""
    of_group = np.moveaxis(right.mean(-1), 0, -1)  # (seeds, …, GROUPS, BLOCK)
    return of_group.mean(-2), np.moveaxis((resampled(rng) / GROUPS) @ of_group, -2, 1)


def accuracy(rng: np.random.Generator, level: str, share: float, seeds: int) -> tuple[Crossed, float]:
    truth = float(level)
    values, draws = shares_right(rng, margins(normals(rng, seeds), truth, share) > 0)
    # Where every verdict is right, the images count as many as there are groups.
    return crossed(estimates(values, draws, images=np.full(BLOCK, GROUPS))), truth


def auc(rng: np.random.Generator, level: str, share: float, seeds: int) -> tuple[Crossed, float]:
    truth, (of_seed, of_group) = float(level), deviations(seeds, share)
    apart = norm.ppf(truth) * np.sqrt(4 * of_seed**2 + 2 * (of_group**2 + IMAGE**2 + 1))  # of the classes' means
    margin = margins(normals(rng, seeds), 0.5, share) + apart / 2
    labels, groups = np.tile(np.arange(IMAGES) % 2, GROUPS), np.arange(GROUPS).repeat(IMAGES)
    scores = norm.cdf((2 * labels - 1) * margin.reshape(BLOCK, seeds, -1))
    weights = np.concatenate([np.ones((1, GROUPS), int), resampled(rng)])
    numbers = [[Scored(labels, s, groups).metrics(weights, ["AUC"])["AUC"] for s in of_seeds] for of_seeds in scores]
    both = np.moveaxis(np.array(numbers), 0, -1)
    return crossed(estimates(both[:, 0], both[:, 1:])), truth


def forgetting(rng: np.random.Generator, level: str, share: float, seeds: int) -> tuple[Crossed, float]:
    cells = np.stack([margins(normals(rng, seeds), truth, share) for truth in FORGETTING[level]], 2) > 0

    def of_cells(R: np.ndarray, axis: int) -> np.ndarray:
        r11, r21, r31, r22, r32 = np.moveaxis(R, axis, 0)
        nothing = np.full(r11.shape, np.nan)
        matrix = np.stack([np.stack([r11, nothing, nothing], -1), np.stack([r21, r22, nothing], -1)], -2)
        last = np.stack([r31, r32, nothing], -1)[..., None, :]
        return continual(np.concatenate([matrix, last], -2))["forgetting (max-last)"]

    values, draws = shares_right(rng, cells)
    found = crossed(estimates(of_cells(values, 1), of_cells(draws, 2), span=(-1.0, 1.0)))
    of_seed, of_group = deviations(seeds, share)
    others = np.sqrt(of_group**2 + IMAGE**2 + 1)
    grid = of_seed * norm.ppf((np.arange(2000) + 0.5) / 2000)
    first, second = (
        norm.cdf(norm.ppf(p) * np.hypot(others, of_seed) / others + grid / others) for p in FORGETTING[level][:2]
    )
    best = np.maximum(first[:, None], second).mean()
    return found, (best - FORGETTING[level][2] + FORGETTING[level][3] - FORGETTING[level][4]) / 2


def difference(rng: np.random.Generator, level: str, share: float, seeds: int) -> tuple[Crossed, float]:
    truths = [float(number) for number in level.split(" - ")]
    first, second = normals(rng, seeds), normals(rng, seeds)
    for k in (1, 2):
        second[k] = (first[k] + second[k]) / np.sqrt(2)
    right = np.stack([margins(d, truth, share) > 0 for truth, d in zip(truths, (first, second), strict=True)], 2)
    values, resamples = shares_right(rng, right)  # (seeds, 2, BLOCK) and (seeds, RESAMPLES, 2, BLOCK)
    agents = [estimates(values[:, k], resamples[:, :, k]) for k in (0, 1)]
    return crossed_difference([*agents[0], *agents[1]]), truths[0] - truths[1]


Metric = Callable[[np.random.Generator, str, float, int], tuple[Crossed, float]]
SETTINGS: dict[Metric, tuple[str, ...]] = {
    accuracy: ("0.6", "0.8", "0.9", "0.95", "0.99"),
    auc: ("0.8", "0.95"),
    forgetting: tuple(FORGETTING),
    difference: ("0.9 - 0.8",),
}
OTHER_SEEDS = (accuracy, "0.8"), (accuracy, "0.95"), (difference, "0.9 - 0.8")  # also with 3 and 10 seeds


def coverage(metric: Metric, level: str, share: float, seeds: int, count: int) -> dict[str, float]:
    """In what share of so many experiments the intervals hold the truth: those over both, over seeds, over groups."""
    rng = np.random.default_rng([seeds, int(1000 * share), *metric.__name__.encode(), *level.encode()])
    held = []
    for _ in range(count // BLOCK):
        both, truth = metric(rng, level, share, seeds)
        of_seeds = dataclasses.replace(both, group_part=np.full(BLOCK, np.nan))
        of_groups = dataclasses.replace(both, seed_part=np.zeros(BLOCK))
        ends = [kind.interval() for kind in (both, of_seeds, of_groups)]
        held.append([(low <= truth) & (truth <= high) for low, high in ends])
    return dict(zip(("crossed", "seeds alone", "groups alone"), np.mean(held, axis=(0, 2)), strict=True))


def settings() -> Iterator[tuple[str, Metric, str, int, float]]:
    """The table's rows: the metric's name and itself, level, seeds and share."""
    chosen = [(metric, level, 5) for metric, levels in SETTINGS.items() for level in levels]
    chosen += [(metric, level, seeds) for metric, level in OTHER_SEEDS for seeds in (3, 10)]
    for (metric, level, seeds), share in itertools.product(chosen, SHARES):
        yield "AUC" if metric is auc else metric.__name__, metric, level, seeds, share


def table(count: int) -> pd.DataFrame:
    """The coverage in every setting, each of so many experiments; AUCs, which take longest, of half as many."""
    rows = []
    for name, metric, level, seeds, share in settings():
        experiments = count // 2 if metric is auc else count
        held = coverage(metric, level, share, seeds, experiments)
        error = np.sqrt(held["crossed"] * (1 - held["crossed"]) / experiments)
        rows.append({"metric": name, "level": level, "seeds": seeds, "share": share, **held})
        rows[-1] |= {"simulations": experiments, "standard error": error}
        print(*rows[-1].values(), flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    found = table(4000)
    save_table(found, Path(__file__).parents[2] / "figures", "coverage")
    print(found.groupby(["metric", "seeds"], sort=False)[["crossed", "seeds alone", "groups alone"]].min())
