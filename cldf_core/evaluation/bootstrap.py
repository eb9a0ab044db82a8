"""Confidence intervals of one run's metrics: a bootstrap over groups of its test images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import sub
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri, stdtrit

from cldf_core.evaluation.metrics import CONTINUAL, RANGES, THRESHOLD, WITH_THRESHOLD, Scored, continual, of_split
from cldf_core.evaluation.proportions import Proportion, class_weights, clopper_pearson, effective_images
from cldf_core.options import UserError
from cldf_core.randomness import generator

BLOCK = 1 << 20  # the largest number of weights in memory at once
PARTS = 200  # the largest number of parts that are left out in turn, to measure the influence of groups
FEWEST = 5  # groups of a class; of four there are 35 different resamples, fewer than the 40 of which one is 2.5 %
ROUNDING = 1e-12
ENDS = ["value", "low", "high"]
GROUPS = "groups"  # the spread of one run: other photographs might have been tested
ONE_CLASS = (*WITH_THRESHOLD, "ECE", "NLL")  # metrics that a single class has, too

Statistic = Callable[[np.ndarray, list[int], list[str]], np.ndarray]
Span = tuple[float | np.ndarray, float | np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """Numbers computed from scored images, and computed again from every resample of the images' groups.

    Attributes:
        value: from all images, any shape.
        draws: from each resample, shape (resamples, *value.shape); NaN where there are fewer than FEWEST groups.
        left_out: without each of at most PARTS parts of the groups, shape (parts, *value.shape).
        groups: the number of groups; one number, or an array of value's shape.
        reflected: whether the interval is reflected at the value, see `interval`; one answer, or one for each number.
        images: of a proportion, as how many independent images its images count; its interval comes from them.
        tested: what was resampled, columns place, domain, image, label and group; None if that is not known.
        span: the lowest and the highest number that there can be; two numbers, or two arrays of value's shape.
    """

    value: np.ndarray
    draws: np.ndarray
    left_out: np.ndarray
    groups: int | np.ndarray
    reflected: bool | np.ndarray = False
    images: np.ndarray | None = None
    tested: pd.DataFrame | None = None
    span: Span = (0.0, 1.0)

    def __sub__(self, other: Estimate) -> Estimate:
        """Takes the difference resample by resample, with the same seed; other images or groups are a UserError."""
        check_paired(self, other)
        value, draws, left_out = (getattr(self, part) - getattr(other, part) for part in ("value", "draws", "left_out"))
        span = self.span[0] - other.span[1], self.span[1] - other.span[0]
        groups = np.maximum(self.groups, other.groups)
        return Estimate(value, draws, left_out, groups, tested=self.tested, span=span)

    def columns(self) -> dict[str, np.ndarray]:
        """Gives what a table has of each number: value, low, high, and as spread GROUPS; arrays of value's shape."""
        numbers = dict(zip(ENDS, (self.value, *self.interval()), strict=True))
        return {**numbers, "spread": np.full(self.value.shape, GROUPS)}

    def interval(self, tail: float = 0.025) -> tuple[np.ndarray, np.ndarray]:
        """Computes 95 % intervals: percentiles of the resamples, corrected for bias, skewness (BCa) and few groups.

        Proportions such as the accuracy of a cell have Clopper and Pearson's instead (see `proportions`), in which all
        cells of a table have a part, and which has a width where every verdict is right.

        Plain percentiles are too narrow for few groups: of a mean they are those of a normal distribution with the
        divisor n, where a t distribution with n - 1 belongs. The level is raised until the two agree. In simulations of
        30 groups of 12 alike images, with detectors from weak to good (tests/long/test_coverage.py), these hold the
        truth in 89 to 96 of 100 cases, but those of an AUC or AP of more than 0.99 in 84 only. The interval of the
        lowest R holds it in 58 where all cells are equally bad.

        The ECE of few images is too high, and that of their resamples even more. Its interval is therefore reflected:
        it reaches as far below the value as the percentiles reach above it, and vice versa, but never beside the value.
        It holds the truth in 79 to 93 of 100 cases; percentiles often hold it in none.

        The lower and the upper ends have value's shape. They are NaN where the value is NaN, and where the bootstrap
        knows nothing: there are too few groups, or no resample differs from the value, such as the AUC of classes that
        are separated. Resamples without a value do not count. With another `tail` the truth is to lie so seldom below
        the lower end, and so seldom above the upper one.

        Source: Efron, JASA 1987 (BCa); Hesterberg, The American Statistician 2015 (the raised level); Davison & Hinkley
        1997, sections 3.8 (groups) and 5.2 (the reflected interval).
        """
        if self.images is not None:
            return clopper_pearson(self.value, self.images, tail)
        groups = np.broadcast_to(self.groups, self.value.shape)
        count = (~np.isnan(self.draws)).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            reach = stdtrit(groups - 1, 1 - tail) * np.sqrt(groups / (groups - 1))
            ends = np.stack([-reach, reach])
            # A draw that equals the value counts as half below it.
            below = (self.draws < self.value - ROUNDING).sum(0) + (self.draws <= self.value + ROUNDING).sum(0)
            bias = ndtri(np.clip(below / 2, 0.5, count - 0.5) / count)
            slope = 1 - self._acceleration() * (bias + ends)
            # Beyond the pole of this formula lie the outermost draws.
            corrected = np.where(slope > 0, bias + (bias + ends) / slope, np.inf * np.sign(ends))
            low, high = _quantiles(self.draws, count, ndtr(np.where(self.reflected, ends, corrected)))
        mirrored = np.maximum(2 * self.value - np.stack([high, low]), 0)
        low, high = np.where(self.reflected, mirrored, [low, high])
        known = (count > 0) & (groups > 1) & (high - low > ROUNDING) & ~np.isnan(self.value)
        low, high = np.minimum(low, self.value), np.maximum(high, self.value)  # each holds its value
        return np.where(known, low, np.nan), np.where(known, high, np.nan)

    def _acceleration(self) -> np.ndarray:
        """Computes how the spread changes with the value: a sixth of the skewness of the groups' influences."""
        mean = np.nansum(self.left_out, axis=0) / np.maximum((~np.isnan(self.left_out)).sum(0), 1)
        influence = np.nan_to_num(mean - self.left_out)
        squares = (influence**2).sum(0)
        return np.where(squares > ROUNDING**2, (influence**3).sum(0) / (6 * squares**1.5), 0.0)


@dataclass(frozen=True)
class Matrices:
    """R[t, i] of several metrics.

    Attributes:
        metrics: for each metric its estimates, shape (steps, domains); NaN where there was no test.
        steps, domains: what was tested; the steps are sorted, the domains in the order of their tests.
        images: the number of tested images, shape (steps, domains).
        groups: the number of groups in all domains together.
        pooled: how many of the images are real ones of the pool, shape (steps, domains).
    """

    metrics: dict[str, Estimate]
    steps: list[int]
    domains: list[str]
    images: np.ndarray
    groups: int
    pooled: np.ndarray

    def statistic(self, metric: str, statistic: Statistic, span: Span = (0.0, 1.0)) -> Estimate:
        """Applies a function to R of a metric, (B, steps, domains), its steps and domains; it returns (B, …).

        Its numbers are in the span, which is two numbers or two arrays of shape (…). Those that may be negative are
        changes, in which what makes an ECE too high cancels: their intervals are not reflected.
        """
        R = self.metrics[metric]
        reflected = np.logical_and(R.reflected, np.asarray(span[0]) >= 0)
        value, draws, left_out = (statistic(r, self.steps, self.domains) for r in (R.value[None], R.draws, R.left_out))
        return Estimate(value[0], draws, left_out, self.groups, reflected, tested=R.tested, span=span)


def matrices(
    scores: pd.DataFrame,
    metrics: Sequence[str],
    *,
    split: str = "test",
    threshold: float | Mapping[int, float] = THRESHOLD,
    resamples: int = 1000,
    seed: int = 0,
    domains: Sequence[str] = (),
) -> Matrices:
    """Computes R[t, i] of a run's table of scores, with resamples of groups (photographs, videos) instead of images.

    A real image and the fakes made from it share a group, which a resample draws in all domains at once. Two runs with
    the same seed over the same images and groups are paired (`paired_matrices`): their difference can be taken resample
    by resample. Where there is a column pool, domains of fakes only are tested with its images, too (`pool.with_pool`).

    Args:
        metrics: names in `metrics.WITH_NLL`.
        split: the split whose scores count.
        threshold: a score from here up is the verdict "fake"; one number, or one for each step.
        domains: those that come first, in their order, if they are in the table; by default as in the table.

    Raises:
        ValueError: there are no scores of this split, or a metric is unknown.

    Source: Efron & Tibshirani 1993, chapter 8; Davison & Hinkley 1997, section 3.8 (clusters).
    """
    chosen = of_split(scores, split)
    if order := {name: place for place, name in enumerate(domains)}:
        chosen = chosen.sort_values("domain", key=lambda domain: domain.map(order), kind="stable")
    chosen = chosen.reset_index(drop=True)
    keys = [name for name in ("domain", "image", "label", "group") if name in chosen]
    tested = chosen[keys].assign(place=chosen["step"].rank(method="dense"))
    group, names = pd.factorize(chosen["group"].astype(str).to_numpy(), sort=True)
    labels, score = chosen["label"].to_numpy(), chosen["score"].to_numpy()
    steps, domains = sorted(int(step) for step in chosen["step"].unique()), list(chosen["domain"].unique())
    images, groups, of_class, apart, pooled = np.zeros((5, len(steps), len(domains)), int)
    shares = {name: np.full(images.shape, np.nan) for name in metrics if name in WITH_THRESHOLD}
    proportions: dict[str, list[Proportion]] = {name: [] for name in shares}
    cells = {}
    pools = {step: part.index for step, part in chosen[chosen["pool"]].groupby("step")} if "pool" in chosen else {}
    for (step, domain), cell in chosen.groupby(["step", "domain"], sort=False):
        at, place = cell.index, (steps.index(step), domains.index(domain))
        at = at.append(pools[step]) if step in pools and cell["label"].all() else at
        pooled[place] = len(at) - len(cell)
        used, number = np.unique(group[at], return_inverse=True)
        declared = threshold[int(step)] if isinstance(threshold, Mapping) else threshold
        cells[place] = used, Scored(labels[at], score[at], number, threshold=declared)
        images[place], groups[place] = len(at), len(used)
        real, fake = (labels[at] == label for label in (0, 1))
        of_class[place] = min(len(np.unique(number[kind])) for kind in (real, fake))
        if of_class[place]:
            ends = [(score[at][kind].min(), score[at][kind].max()) for kind in (real, fake)]
            apart[place] = ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0]
        right = (score[at] >= declared) == fake
        for name, of_cell in proportions.items():
            of_cell.append(Proportion.from_images(right, number, class_weights(name, labels[at]), len(cell)))
    parts = min(len(names), PARTS)
    values = {name: np.full((1 + parts + resamples, *images.shape), np.nan) for name in metrics}
    done = 0
    for weights in _weights(len(names), parts, resamples, seed, rows=max(1, BLOCK // max(len(names), images.max()))):
        for (t, i), (used, scored) in cells.items():
            cell_weights = weights if len(used) == len(names) else weights[:, used]
            for name, results in scored.metrics(cell_weights, metrics).items():
                values[name][done : done + len(weights), t, i] = results
        done += len(weights)
    places = tuple(np.array(list(cells)).T)
    for name, of_cell in proportions.items():
        shares[name][places] = effective_images(of_cell)
    estimates = {}
    for name, v in values.items():
        drawn = groups if name in ONE_CLASS else of_class
        v[1:, drawn < FEWEST] = np.nan
        # How far the ranks of classes that are apart may move no group tells; in a mean of domains the others do.
        known = drawn if name in ONE_CLASS else drawn * (1 - apart)
        parts_of = v[0], v[1 + parts :], v[1 : 1 + parts]
        span = (0.0, np.inf if name == "NLL" else 1.0)
        estimates[name] = Estimate(*parts_of, known, name == "ECE", shares.get(name), tested, span)
    return Matrices(estimates, steps, domains, images, len(names), pooled)


def paired_matrices(tables: Iterable[pd.DataFrame], metrics: Sequence[str], **settings: Any) -> list[Matrices]:
    """Computes the `matrices` of tables of scores of the same images, with the domains in the same order.

    They can be subtracted from each other, and those of several seeds be crossed (`crossed`).
    """
    tables = list(tables)
    order = list(dict.fromkeys(tables[0]["domain"])) if tables else []
    return [matrices(table, metrics, domains=order, **settings) for table in tables]


def side_by_side(*estimates: Estimate) -> np.ndarray:
    """Puts the columns of estimates, shape (steps, columns) or (steps,), beside each other: (3, steps, all columns).

    The first axis holds the values, the lower and the upper ends of their 95 % intervals.
    """
    parts = zip(*((e.value, *e.interval()) for e in estimates), strict=True)
    return np.stack([np.column_stack(part) for part in parts])


def summary(scores: pd.DataFrame, stream: Sequence[str], metric: str = "accuracy", **settings: Any) -> pd.DataFrame:
    """Computes every continual metric of a run, and the last value on each unseen domain, with 95 % intervals.

    All domains outside of the stream count as unseen. The metric is one in DETECTION, usually "accuracy" or "AUC".
    `settings` are split, threshold, resamples and seed of `matrices`. The columns are metric, value, low and high; they
    are NaN where a value of R that is needed is missing or undefined.
    """
    return continual_table([matrices(scores, [metric], **settings)], metric, stream)[["metric", *ENDS]]


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, stream: Sequence[str], metric: str = "accuracy", **settings: Any
) -> pd.DataFrame:
    """Computes the `summary` of first minus second, from the same resamples; other images or groups: a UserError."""
    return continual_table(paired_matrices([first, second], [metric], **settings), metric, stream)[["metric", *ENDS]]


def difference(estimates: Sequence[Estimate]) -> Estimate:
    """Returns the only estimate, or the first minus the second of two paired ones."""
    return reduce(sub, estimates)


def continual_table(
    parts: Sequence[Matrices],
    metric: str,
    stream: Sequence[str],
    combine: Callable[[Sequence[Estimate]], Any] = difference,
) -> pd.DataFrame:
    """Computes the table of `summary` from one part, or from what `combine` makes of the estimates of several parts.

    It has the columns of the combined estimates besides. A stream in which a domain comes twice is refused: what was
    forgotten of it is not defined.
    """
    if len(set(stream)) < len(stream):
        raise UserError(f"the stream is {', '.join(stream)}; needed for metrics of a stream: each domain once")

    def statistic(values: np.ndarray, steps: list[int], domains: list[str]) -> np.ndarray:
        if steps[-1] > len(stream):
            raise ValueError(f"there is a step {steps[-1]}; needed: 1 to {len(stream)}, one for each of the stream")
        R = np.full((len(values), len(stream), len(stream)), np.nan)  # cells without a test stay NaN
        for (t, step), (i, name) in itertools.product(enumerate(steps), enumerate(stream)):
            if name in domains:
                R[:, step - 1, i] = values[:, t, domains.index(name)]
        metrics = continual(R)
        return np.stack([metrics[name] for name in CONTINUAL], 1)

    low, high = np.array([RANGES.get(name, (0.0, 1.0)) for name in CONTINUAL]).T
    whole = combine([part.statistic(metric, statistic, (low, high)) for part in parts]).columns()
    cells = combine([part.metrics[metric] for part in parts]).columns()
    unseen = [name not in stream for name in parts[0].domains]
    last = pd.DataFrame({name: column[-1, unseen] for name, column in cells.items()})
    if any(part.steps[-1] != len(stream) for part in parts):
        last.loc[:, [name for name in last if name != "spread"]] = np.nan
    names = [f"unseen: {name}" for name in itertools.compress(parts[0].domains, unseen)]
    tables = [pd.DataFrame(whole).assign(metric=CONTINUAL), *([last.assign(metric=names)] if names else [])]
    return pd.concat(tables, ignore_index=True)


def check_paired(one: Estimate, other: Estimate) -> None:
    """Raises a UserError unless two estimates are of the same images, step by step, in the same groups."""
    first, second = one.tested, other.tested
    if first is None or second is None or first is second or first.equals(second):
        return
    keys = [str(name) for name in first if name != "group"]
    ours, theirs = (table.sort_values(keys, ignore_index=True) for table in (first, second))
    orders = [list(dict.fromkeys(table["domain"])) for table in (first, second)]
    if orders[0] != orders[1] or not ours[keys].equals(theirs[keys]):
        raise UserError("the two were tested on different images, so they cannot be paired; needed: the same ones")
    apart = ours["group"].astype(str) != theirs["group"].astype(str)
    if apart.any():
        row, group = ours[apart].iloc[0], theirs.loc[apart, "group"].iloc[0]
        raise UserError(
            f"the two were tested with different groups, so they cannot be paired: image {row['image']!r} of "
            f"{row['domain']!r} is of {row['group']!r} in one and of {group!r} in the other; needed: the same groups"
        )


def _weights(groups: int, parts: int, resamples: int, seed: int, *, rows: int) -> Iterator[np.ndarray]:
    """Yields how often each group counts: in all images, without each part, in each resample; in blocks of rows."""
    part = np.arange(groups) % parts
    for start in range(0, 1 + parts, rows):
        without = np.arange(start, min(start + rows, 1 + parts)) - 1
        yield (part != without[:, None]).astype(np.int32)
    rng = generator(seed, "bootstrap")
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = rng.integers(0, groups, (count, groups)) + groups * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * groups).reshape(count, groups).astype(np.int32)


def _quantiles(values: np.ndarray, count: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolates quantiles of values, (B, …), of which `count`, (…), are not NaN; their levels are (K, …)."""
    ordered = np.sort(values, axis=0)  # puts NaN last
    place = np.nan_to_num(at) * np.maximum(count - 1, 0)
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low, high = (np.take_along_axis(ordered, k, 0) for k in (below, above))
    return low + (high - low) * (place - below)
