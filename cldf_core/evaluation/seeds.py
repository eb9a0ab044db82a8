"""Agents trained with several seeds: means, t intervals, paired tests, noise of a seed.

These hold the test photographs still: their intervals are "over seeds, these photographs", and too narrow for what
others would give. Those of `crossed` are over both.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

SEEDS = "seeds"  # the spread of intervals over seeds, these photographs
ROUNDING = 1e-12  # differences whose spread is smaller do not vary


def t_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Returns the mean of independent values, such as one for each seed, and the ends of its 95 % t interval.

    With a single value the ends are NaN, and so they are where the values do not vary: these cannot tell by how much
    others would.
    """
    values = np.asarray(values, float)
    mean, n = float(values.mean()), len(values)
    if n < 2 or (error := values.std(ddof=1) / n**0.5) <= ROUNDING:
        return mean, float("nan"), float("nan")
    reach = stdtrit(n - 1, 0.975) * error
    return mean, float(mean - reach), float(mean + reach)


def means_over_seeds(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Computes means over seeds, with their 95 % t intervals, of the values that have the columns `by` in common.

    The table has the columns seed and value besides. The result has `by`, value, low, high (NaN with a single seed) and
    n, the number of seeds.
    """
    rows = []
    for key, part in table.groupby(list(by), sort=False, dropna=False):
        if part["seed"].duplicated().any():
            raise ValueError(f"by is {list(by)}, but {key} has several values for one seed; needed: one for each seed")
        rows.append((*key, *t_interval(part["value"].to_numpy(float)), len(part)))
    return pd.DataFrame(rows, columns=[*by, "value", "low", "high", "n"]).astype(table.dtypes[list(by)])


def minus_others(table: pd.DataFrame, first: Any, *, by: Sequence[str], column: str = "agent") -> pd.DataFrame:
    """Computes by how much one agent is above each other one, seed by seed: means with 95 % t intervals.

    The table has the columns `by`, `column`, seed and value, with each combination once. `column` may be another one
    than the agent's, such as a size of the memory. The result has `by`, `column` (the other one), value (mean of first
    minus the other), low, high (NaN where there are none) and n, the number of seeds that both have.
    """
    rows = []
    for key, part in table.groupby(list(by), sort=False):
        wide = part.pivot(index="seed", columns=column, values="value")
        for other in part[column].unique() if first in wide else ():
            if other != first and (n := len(apart := (wide[first] - wide[other]).dropna())):
                rows.append((*key, other, *t_interval(apart.to_numpy(float)), n))
    return pd.DataFrame(rows, columns=[*by, column, "value", "low", "high", "n"])


def paired_t_tests(values: pd.DataFrame) -> pd.DataFrame:
    """Compares every two agents over the seeds that both were trained with.

    Values has the columns agent, seed and value, with each agent and seed once.

    Returns:
        A row for each pair of agents: first, second, difference (mean of first minus second), low, high (95 %), p
        (two-sided), p_holm (corrected for all rows together), n (seeds). The difference is NaN without a common seed;
        the interval and p are with a single one, and where the differences do not vary.

    Source: Student, Biometrika 1908; Holm, Scandinavian Journal of Statistics 1979.
    """
    wide = values.pivot(index="seed", columns="agent", values="value")[list(dict.fromkeys(values["agent"]))]
    rows = []
    for first, second in itertools.combinations(wide.columns, 2):
        differences = (wide[first] - wide[second]).dropna().to_numpy()
        n, p = len(differences), float("nan")
        mean, low, high = t_interval(differences) if n else (p, p, p)
        if n > 1 and (deviation := differences.std(ddof=1)) > ROUNDING:
            p = float(2 * stdtr(n - 1, -abs(mean) / deviation * n**0.5))
        rows.append((first, second, mean, low, high, p, n))
    table = pd.DataFrame(rows, columns=["first", "second", "difference", "low", "high", "p", "n"])
    table.insert(6, "p_holm", holm(table["p"].to_numpy(float)))
    return table


def holm(p: np.ndarray) -> np.ndarray:
    """Applies Holm's correction for several tests to p values, shape (N,); NaN stays NaN and does not count."""
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return corrected


def seed_noise_margin(values: pd.DataFrame, *, comparisons: int = 1) -> pd.DataFrame:
    """Computes how far apart two runs lie that differ by their random seed alone, in 95 of 100 cases.

    It is t * sqrt(2) * s, with the spread s over seeds within agents: a row for each metric, a column for each agent.
    Sequential fine-tuning, which nothing protects from drifting, has its own spread; that of all others is pooled. The
    values, of several seeds for each agent, have the columns agent, seed, metric and value. With several comparisons
    all of them shall lie within the margin (Bonferroni).
    """
    columns: dict[str, pd.Series] = {}
    for _, part in values.groupby(values["agent"] == "sequential"):
        degrees = int((part.groupby("agent")["seed"].nunique() - 1).sum())
        centred = part["value"] - part.groupby(["metric", "agent"])["value"].transform("mean")
        variance = centred.pow(2).groupby(part["metric"]).sum() / degrees
        t = float(stdtrit(degrees, 1 - 0.025 / comparisons))
        columns |= dict.fromkeys(part["agent"], t * (2 * variance) ** 0.5)  # a difference varies twice as much
    return pd.DataFrame(columns)
