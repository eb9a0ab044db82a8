"""Which differences of two runs are more than luck: that of the photographs, and that of the random seed."""

from __future__ import annotations

from statistics import NormalDist

import pandas as pd

from cldf_core.evaluation.seeds import seed_noise_margin

RANKED_BY, ALSO = "average", "forgetting (max-last)"
ROUNDING = 1e-9  # an end of an interval this near to 0 is 0


def ranked(differences: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Which traps matter: the largest change of average accuracy first.

    Args:
        differences: columns agent, switch, paper, seed, metric, value, low, high; a row per trap and metric.
        values: of runs that differ by their seed only, see `seed_noise_margin`.

    Returns:
        A row per trap: its change of average accuracy and of forgetting with their intervals; whether the former
        leaves 0 out, and whether it is beyond luck, each also for all traps at once (Bonferroni; intervals are
        widened as for a normal distribution); and the verdict.
    """
    table = differences[differences["metric"] == RANKED_BY].drop(columns="metric")
    also = differences[differences["metric"] == ALSO].drop(columns=["metric", "paper", "seed"])
    table = table.merge(also, on=["agent", "switch"], how="left", suffixes=("", " of forgetting"))
    size, normal, count = table["value"].abs(), NormalDist(), len(table)
    # From the value to the end of its interval that is nearer to 0.
    towards_0 = (table["value"] - table["low"]).where(table["value"] > 0, table["high"] - table["value"])
    factor = normal.inv_cdf(1 - 0.025 / count) / normal.inv_cdf(0.975)
    table["leaves 0 out"] = size > towards_0 + ROUNDING
    table["leaves 0 out (all)"] = size > factor * towards_0 + ROUNDING
    one, every = (seed_noise_margin(values, comparisons=n).loc[RANKED_BY] for n in (1, count))
    table["beyond luck"] = size > table["agent"].map(one)
    table["beyond luck (all)"] = size > table["agent"].map(every)
    table["verdict"] = "not shown"
    table.loc[table["leaves 0 out"] & table["beyond luck"], "verdict"] = "may matter"
    table.loc[table["leaves 0 out (all)"] & table["beyond luck (all)"], "verdict"] = "matters"
    return table.loc[size.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def shown(differences: pd.DataFrame, margins: pd.DataFrame) -> pd.DataFrame:
    """Those differences whose interval leaves 0 out and that are beyond luck, each taken by itself.

    Args:
        differences: columns agent, metric, value, low, high.
        margins: from `seed_noise_margin`.
    """
    away = (differences["low"] > ROUNDING) | (differences["high"] < -ROUNDING)
    reach = [margins.loc[metric, agent] for agent, metric in differences[["agent", "metric"]].to_numpy()]
    return differences[away & (differences["value"].abs() > reach)]
