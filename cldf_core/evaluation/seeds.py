"""Agents that were trained with several seeds: means, t intervals and paired tests. Formulas: methods.md section 5."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

ROUNDING = 1e-12  # differences that vary by less do not vary


def over_seeds(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of one value per seed, and its 95 % t interval (NaN with a single seed)."""
    from scipy import stats

    values = np.asarray(values, float)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def paired_t_tests(values: pd.DataFrame) -> pd.DataFrame:
    """Every two agents compared over the seeds that both were trained with.

    Args:
        values: columns agent, seed, value; each agent and seed once.

    Returns:
        A row for each two agents: first, second, difference (mean of first minus second), low, high (its 95 % t
        interval), p (two-sided), p_holm (corrected for all the rows together), n (seeds). Without a common seed
        there is no difference, with one no interval, and without differences that vary no p: NaN.

    Source: Student, Biometrika 1908; Holm, Scandinavian Journal of Statistics 1979.
    """
    from scipy import stats

    wide = values.pivot(index="seed", columns="agent", values="value")[list(dict.fromkeys(values["agent"]))]
    rows = []
    for first, second in itertools.combinations(wide.columns, 2):
        differences = (wide[first] - wide[second]).dropna().to_numpy()
        n, p = len(differences), float("nan")
        mean, low, high = over_seeds(differences) if n else (p, p, p)
        if n > 1 and (deviation := differences.std(ddof=1)) > ROUNDING:
            p = float(2 * stats.t.sf(abs(mean) / deviation * np.sqrt(n), n - 1))
        rows.append((first, second, mean, low, high, p, n))
    table = pd.DataFrame(rows, columns=["first", "second", "difference", "low", "high", "p", "n"])
    table.insert(6, "p_holm", holm(table["p"].to_numpy(float)))
    return table


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction of p values for being several, shape (N,); NaN stays NaN and does not count."""
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return corrected
