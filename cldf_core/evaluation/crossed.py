"""Intervals over what varies: seeds and groups (photographs), crossed.

Another study would train with other seeds *and* test on other photographs, and every seed is tested on every
photograph. An interval over seeds alone ("over seeds, these photographs") or over groups alone holds one of the two
still, and is too narrow for what a reader takes it for. In radiology the same design has readers and cases in place of
seeds and photographs (Gallas, Academic Radiology 2006).

Everything here is conditional on the training photographs: they are the same in every run, so how much results would
change with others no interval of this package tells.

The estimate is the mean over seeds, with weights 1/S, of a metric of weighted groups. Under the pigeonhole bootstrap
(Owen, Annals of Applied Statistics 2007), which draws seeds and groups independently with replacement, its variance has

- a part of the seeds, as the groups are: the variance of the S values over S; times S/(S - 1);
- a part of the groups, as the seeds are: the variance of the mean over seeds in resamples of groups, which all seeds
  share; times G/(G - 1);
- the rest, of both at once, which is left out: each of the two parts above already holds the variance of what seeds and
  groups do together, so that of a mean their sum has it once too often, on the safe side, and with the rest twice.

s² is the sum of the first two, and the interval is estimate ± t_ν s with Satterthwaite's degrees of freedom (Biometrics
Bulletin 1946), ν = s⁴ / (a²/(S - 1) + b²/(G - 1)) for the parts a and b. Numbers in [0, 1], such as accuracy and AUC,
have it on the scale of the logit, with s / (p (1 - p)) by the delta method: near 1, p ± t s covers too rarely. How
often they hold the truth, tests/evaluation/crossed_coverage.py simulates; its results are figures/tables/coverage.csv.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit, stdtr, stdtrit

from cldf_core.evaluation.bootstrap import (
    ENDS,
    Estimate,
    Matrices,
    Span,
    check_paired,
    continual_table,
    paired_matrices,
)
from cldf_core.evaluation.proportions import clopper_pearson
from cldf_core.evaluation.seeds import ROUNDING, SEEDS, holm
from cldf_core.options import UserError

CROSSED = "seeds × groups"  # the spread of intervals over both
LEVEL = 0.975  # both ends of a 95 % interval leave out as much


@dataclass(frozen=True)
class Crossed:
    """Means over seeds, and by how much they would vary with other seeds and with other groups.

    Attributes:
        value: the means, any shape.
        seed_part: the variance of value that seeds account for, with factor S/(S - 1); value's shape.
        group_part: the same of groups, with G/(G - 1); NaN where the bootstrap over groups knows nothing.
        seeds, groups: S and G; G is one number, or an array of value's shape.
        span: the lowest and the highest number that there can be; two numbers, or two arrays of value's shape.
        images: of a proportion, as how many independent images those of one run count (the least over seeds).
    """

    value: np.ndarray
    seed_part: np.ndarray
    group_part: np.ndarray
    seeds: int
    groups: int | np.ndarray
    span: Span = (0.0, 1.0)
    images: np.ndarray | None = None

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation s of value; where the part of the groups is not known, that of the seeds alone."""
        return np.sqrt(self.seed_part + np.nan_to_num(self.group_part))

    @property
    def degrees(self) -> np.ndarray:
        """Satterthwaite's degrees of freedom of s; NaN where nothing varies."""
        group_part, others = np.nan_to_num(self.group_part), np.maximum(np.asarray(self.groups) - 1, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.deviation**4 / (self.seed_part**2 / (self.seeds - 1) + group_part**2 / others)

    @property
    def spread(self) -> np.ndarray:
        """What intervals are over: CROSSED, or SEEDS where the bootstrap over groups knows nothing."""
        return np.where(np.isnan(self.group_part), SEEDS, CROSSED)

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Computes the ends of 95 % intervals, in value's shape, as the module's docstring has it, clipped to the span.

        Where neither seeds nor groups vary there is none (NaN): that does not tell how far others would lie.
        Proportions have Clopper and Pearson's there, as one run has, so that an accuracy of 1 is no certainty. Where
        the part of the groups is not known, it is the t interval over seeds.
        """
        low, high = self.span
        is_crossed, s = ~np.isnan(self.group_part), self.deviation
        on_logit = is_crossed & (low == 0) & (high == 1) & (self.value > 0) & (self.value < 1)
        p = np.where(on_logit, self.value, 0.5)
        reach = stdtrit(self.degrees, LEVEL) * s
        with np.errstate(invalid="ignore"):
            bent, straight = (
                (expit(logit(p) + sign * reach / (p * (1 - p))), np.clip(self.value + sign * reach, low, high))
                for sign in (-1, 1)
            )
        ends = [np.where(on_logit, *pair) for pair in (bent, straight)]
        instead = [np.full(self.value.shape, np.nan)] * 2
        if self.images is not None:
            instead = [np.where(is_crossed, end, np.nan) for end in clopper_pearson(self.value, self.images)]
        below, above = (np.where(s > ROUNDING, *pair) for pair in zip(ends, instead, strict=True))
        return below, above

    def p(self) -> np.ndarray:
        """Computes two-sided p values, from the same t, of the hypothesis that a difference is 0; NaN without one."""
        return _p(self.value, self.deviation, self.degrees)

    def columns(self) -> dict[str, np.ndarray]:
        """Gives what a table has of each number: value, low, high, spread; and of a difference p and p_seeds.

        p_seeds is that of the paired t test over seeds.
        """
        numbers = dict(zip(ENDS, (self.value, *self.interval()), strict=True))
        tests = {"p": self.p(), "p_seeds": _p(self.value, np.sqrt(self.seed_part), self.seeds - 1)}
        return {**numbers, **tests, "spread": self.spread}


def crossed(estimates: Sequence[Estimate]) -> Estimate | Crossed:
    """Crosses the seeds, one estimate each, with the groups; the estimate of a single seed is returned as it is.

    All are computed from the same resamples of groups: of the same images, with the same bootstrap seed. Of fewer than
    two resamples, of too few groups, and of the ECE, whose resamples are biased, only the part of the seeds is known.
    An estimate can be any statistic of the matrices, such as `Matrices.statistic` gives for each seed.

    Raises:
        UserError: the seeds were tested on other images, or with other groups.
    """
    first, *others = estimates
    if not others:
        return first
    for other in others:
        check_paired(first, other)
    values, count = np.stack([e.value for e in estimates]), len(estimates)
    groups = np.max([np.broadcast_to(e.groups, first.value.shape) for e in estimates], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        group_part = _variance(np.mean([e.draws for e in estimates], axis=0)) * groups / (groups - 1)
    group_part = np.where((groups > 1) & ~np.asarray(first.reflected), group_part, np.nan)
    images = [e.images for e in estimates if e.images is not None]
    fewest = np.min(images, axis=0) if images else None
    return Crossed(values.mean(0), values.var(0, ddof=1) / count, group_part, count, groups, first.span, fewest)


def crossed_difference(estimates: Sequence[Estimate], share: float = 1) -> Estimate | Crossed:
    """Crosses seeds with groups for a difference, paired by both: half of the estimates minus a share of the others.

    The halves are those of two agents, with the same seeds in the same order.
    """
    half = len(estimates) // 2
    others = [_times(second, share) for second in estimates[half:]]
    return crossed([first - second for first, second in zip(estimates[:half], others, strict=True)])


def summary_over_seeds(
    scores: pd.DataFrame,
    stream: Sequence[str],
    measures: Sequence[str] = ("accuracy", "AUC"),
    *,
    by: Sequence[str] = ("agent",),
    **settings: Any,
) -> pd.DataFrame:
    """Computes continual metrics of several agents, means over their seeds, with 95 % intervals over seeds and groups.

    Args:
        scores: per-image scores; the columns that `bootstrap.matrices` needs, seed, and those in `by`.
        stream: the trained domains in their order; all others count as unseen.
        by: what makes an agent, or a setting of it.
        settings: split, threshold, resamples and seed of `bootstrap.matrices`.

    Returns:
        Columns of `by`, metric ("accuracy: average", "AUC: unseen: NeuralTextures"), value, low, high, n (seeds) and
        spread: "seeds × groups"; "groups" for a single seed; "seeds" where groups tell nothing.

    Raises:
        UserError: the seeds of an agent were tested on other images, or with other groups.
    """
    tables = []
    for key, table in scores.groupby(list(by), sort=False, dropna=False):
        parts = paired_matrices((part for _, part in table.groupby("seed")), measures, **settings)
        rows = _continual(parts, measures, stream, crossed).assign(n=len(parts))
        rows[list(by)] = key
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)[[*by, "metric", *ENDS, "n", "spread"]]


def cells_over_seeds(scores: pd.DataFrame, metric: str = "accuracy", **settings: Any) -> pd.DataFrame:
    """Computes R[t, i] of each agent, means over its seeds, with 95 % intervals over seeds and groups.

    Scores and settings are as for `summary_over_seeds`. The columns are agent, step, domain, value, low, high, n and
    spread.
    """
    tables = []
    for agent, table in scores.groupby("agent", sort=False):
        parts = paired_matrices((part for _, part in table.groupby("seed")), [metric], **settings)
        places = pd.MultiIndex.from_product([parts[0].steps, parts[0].domains], names=["step", "domain"])
        columns = crossed([R.metrics[metric] for R in parts]).columns()
        cells = pd.DataFrame({name: column.ravel() for name, column in columns.items()}, places).reset_index()
        tables.append(cells.assign(agent=agent, n=len(parts)))
    return pd.concat(tables, ignore_index=True)[["agent", "step", "domain", *ENDS, "n", "spread"]]


def differences_over_seeds(
    scores: pd.DataFrame,
    stream: Sequence[str],
    measures: Sequence[str] = ("accuracy", "AUC"),
    *,
    against: str | None = None,
    share: float = 1,
    **settings: Any,
) -> pd.DataFrame:
    """Compares agents by their continual metrics, paired by seed and group, over the seeds that both have.

    Args:
        scores, stream, measures, settings: as for `summary_over_seeds`; the agents are in the column agent.
        against: an agent with which every other one is compared; by default every two are compared.
        share: how much of the second is subtracted, such as 0.9 of what it gains.

    Returns:
        Columns metric, first, second, difference (first minus that share of the second), low, high, p (from the same t
        as the 95 % interval), p_holm (corrected for all rows of a metric; a difference is significant where it is below
        0.05), p_seeds (of the paired t test over seeds, which decides nothing), n (common seeds) and spread, as in
        `summary_over_seeds`. What is not significant is not shown, which does not mean that the two are the same.

    Raises:
        UserError: agents or seeds were tested on other images, or with other groups; there is no agent `against`; or no
            two agents have a seed in common.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    runs = {(str(agent), seed): run for (agent, seed), run in scores.groupby(["agent", "seed"], sort=False)}
    agents = list(dict.fromkeys(agent for agent, _ in runs))
    if against is not None and against not in agents:
        raise UserError(f"against is {against!r}; allowed: {', '.join(agents)}")
    pairs = itertools.combinations(agents, 2) if against is None else ((a, against) for a in agents if a != against)
    parts = dict(zip(runs, paired_matrices(runs.values(), measures, **settings), strict=True))
    tables = []
    for first, second in pairs:
        if seeds := [seed for agent, seed in runs if agent == first and (second, seed) in runs]:
            both = [parts[agent, seed] for agent in (first, second) for seed in seeds]
            rows = _continual(both, measures, stream, partial(crossed_difference, share=share))
            tables.append(rows.assign(first=first, second=second, n=len(seeds)))
    if not tables:
        raise UserError(f"the agents are {', '.join(agents)}; needed: two that have a seed in common")
    table = pd.concat(tables, ignore_index=True).rename(columns={"value": "difference"})
    columns = ["metric", "first", "second", "difference", "low", "high", "p", "p_holm", "p_seeds", "n", "spread"]
    table = table.reindex(columns=columns).astype({"p": float, "p_seeds": float})
    return table.assign(p_holm=table.groupby("metric")["p"].transform(lambda p: holm(p.to_numpy())))


def against_itself(
    scores: pd.DataFrame, setting: str, reference: Any, stream: Sequence[str], *, share: float = 1, **settings: Any
) -> pd.DataFrame:
    """Every agent with other values of a setting minus itself with one of them, the reference, by accuracy.

    Args:
        scores: of runs; columns agent, seed, the setting, and those that `bootstrap.matrices` needs.
        stream, share, settings: as for `differences_over_seeds`: how much of the reference's number is subtracted.

    Returns:
        Columns agent, the setting, metric, value, low, high, p (to be corrected where several are looked at), n and
        spread; no row for an agent, or a value, without a seed in common with the reference.
    """
    tables = [pd.DataFrame(columns=["agent", setting, "metric", *ENDS, "p", "n", "spread"])]
    for agent, own in scores.groupby("agent", sort=False):
        seeds = set(own.loc[own[setting] == reference, "seed"])
        values = {str(value): value for value, part in own.groupby(setting) if seeds & {*part["seed"]}}
        if len(values) > 1:
            named = own.assign(agent=own[setting].astype(str))
            pairs = differences_over_seeds(
                named[named["agent"].isin(values)],
                stream,
                ["accuracy"],
                against=str(reference),
                share=share,
                **settings,
            )
            pairs = pairs.rename(columns={"difference": "value"})
            tables.append(pairs.assign(agent=agent, **{setting: pairs["first"].map(values)})[[*tables[0]]])
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _continual(parts: Sequence[Matrices], measures: Sequence[str], stream: Sequence[str], combine: Any) -> pd.DataFrame:
    """The `continual_table` of each measure, whose name stands before the metric's."""
    tables = [(measure, continual_table(parts, measure, stream, combine)) for measure in measures]
    return pd.concat([table.assign(metric=f"{name}: " + table["metric"]) for name, table in tables], ignore_index=True)


def _times(estimate: Estimate, share: float) -> Estimate:
    """A share of each number, which is no proportion any more; the whole is the estimate itself."""
    if share == 1:
        return estimate
    value, draws, left_out = (getattr(estimate, part) * share for part in ("value", "draws", "left_out"))
    span = estimate.span[0] * share, estimate.span[1] * share
    return replace(estimate, value=value, draws=draws, left_out=left_out, images=None, span=span)


def _variance(draws: np.ndarray) -> np.ndarray:
    """The variance of resamples, shape (B, …), of which those that are NaN do not count; NaN of fewer than two."""
    known = ~np.isnan(draws)
    count = known.sum(0)
    centred = np.where(known, draws - np.where(known, draws, 0).sum(0) / np.maximum(count, 1), 0)
    return np.where(count > 1, (centred**2).sum(0) / np.maximum(count - 1, 1), np.nan)


def _p(value: np.ndarray, deviation: np.ndarray, degrees: np.ndarray | int) -> np.ndarray:
    """Two-sided p values of a t test; NaN where nothing varies."""
    varies = deviation > ROUNDING
    return np.where(varies, 2 * stdtr(degrees, -np.abs(value) / np.where(varies, deviation, 1)), np.nan)
