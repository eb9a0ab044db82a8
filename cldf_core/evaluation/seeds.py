"""Agents trained with several seeds: means, t intervals, paired tests, noise of a seed.

These hold the test photographs still: their intervals are "over seeds, these photographs", and too narrow for what
others would give. Those of `crossed` are over both.
"""

import itertools
from collections.abc import Sequence

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


def difference_of_groups(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Returns the mean of first minus second over groups, and the ends of its 95 % t interval.

    Both have a value for each group, in the same order, NaN where a group has none. Where each group of the first has
    one of the second, the difference is taken in the groups; else it is that of the two means, with Welch's interval,
    as if no group were common.

    Source: Welch, Biometrika 1947.
    """
    paired = first - second
    if not np.isnan(paired[~np.isnan(first)]).any():
        paired = paired[~np.isnan(paired)]
        return t_interval(paired) if len(paired) else (float("nan"),) * 3
    a, b = (values[~np.isnan(values)] for values in (first, second))
    if not len(a) or not len(b):
        return (float("nan"),) * 3
    mean = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2 or (part := a.var(ddof=1) / len(a)) + (rest := b.var(ddof=1) / len(b)) <= ROUNDING**2:
        return mean, float("nan"), float("nan")
    degrees = (part + rest) ** 2 / (part**2 / (len(a) - 1) + rest**2 / (len(b) - 1))
    reach = float(stdtrit(degrees, 0.975) * (part + rest) ** 0.5)
    return mean, mean - reach, mean + reach


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


def differ_from_zero(means: pd.DataFrame, level: float = 0.05) -> pd.Series:
    """Which means of `means_over_seeds` differ from 0, by p of Student's t, Holm-corrected for all rows together."""
    degrees = means["n"].to_numpy(float) - 1
    reach = (means["high"] - means["low"]).to_numpy(float) / 2
    p = 2 * stdtr(degrees, -np.abs(means["value"].to_numpy(float)) / reach * stdtrit(degrees, 0.975))
    return pd.Series(holm(p) < level, means.index)


def paired_t_tests(values: pd.DataFrame) -> pd.DataFrame:
    """Compares every two agents over the seeds that both were trained with.

    Values has the columns agent, seed and value, with each agent and seed once.

    Returns:
        A row for each pair of agents: first, second, difference (mean of first minus second), low, high (95 %), p
        (two-sided), p_holm (corrected for all rows together), n (seeds). The difference is NaN without a common seed,
        and where one of the values is NaN, as of a run that diverged; the interval and p are with a single seed, too,
        and where the differences do not vary.

    Source: Student, Biometrika 1908; Holm, Scandinavian Journal of Statistics 1979.
    """
    of_agent = {
        agent: part.set_index("seed")["value"].astype(float) for agent, part in values.groupby("agent", sort=False)
    }
    rows = []
    for first, second in itertools.combinations(of_agent, 2):
        differences = _of_common_seeds(of_agent[first], of_agent[second])
        n, p = len(differences), float("nan")
        mean, low, high = t_interval(differences) if n else (p, p, p)
        if n > 1 and (deviation := differences.std(ddof=1)) > ROUNDING:
            p = float(2 * stdtr(n - 1, -abs(mean) / deviation * n**0.5))
        rows.append((first, second, mean, low, high, p, n))
    table = pd.DataFrame(rows, columns=["first", "second", "difference", "low", "high", "p", "n"])
    table.insert(6, "p_holm", holm(table["p"].to_numpy(float)))
    return table


def _of_common_seeds(first: pd.Series, second: pd.Series) -> np.ndarray:
    """First minus second, for the seeds that both have; a value that is not defined stays NaN."""
    common = first.index.intersection(second.index)
    return (first[common] - second[common]).to_numpy()


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
