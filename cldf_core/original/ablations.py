"""Which changes of a result are more than noise: that of the test photographs, and that of the random seed."""

from collections import Counter
from collections.abc import Iterable
from statistics import NormalDist

import pandas as pd

from cldf_core.evaluation.seeds import seed_noise_margin
from cldf_core.options import Options

RANKED_BY, ALSO = "average", "forgetting (max-last)"
ROUNDING = 1e-9  # an end of an interval this near to 0 is 0


def ranked(changes: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Ranks the differences by how much they change the average accuracy, the largest change first.

    A row per difference has its change of average accuracy and of forgetting with their intervals; whether the interval
    of the former excludes 0, and whether the change exceeds the noise of the seed, each also for all differences at
    once (Bonferroni; intervals are widened as for a normal distribution); and the verdict.

    Args:
        changes: columns agent, switch, metric, value, low, high, and what else there is to be kept (paper, original,
            source); a row per difference and metric.
        values: of runs that differ by their random seed only, see `seed_noise_margin`.
    """
    table = changes[changes["metric"] == RANKED_BY].drop(columns="metric")
    also = changes.loc[changes["metric"] == ALSO, ["agent", "switch", "value", "low", "high"]]
    table = table.merge(also, on=["agent", "switch"], how="left", suffixes=("", " of forgetting"))
    size, normal, count = table["value"].abs(), NormalDist(), len(table)
    # From the value to the end of its interval that is nearer to 0.
    towards_0 = (table["value"] - table["low"]).where(table["value"] > 0, table["high"] - table["value"])
    factor = normal.inv_cdf(1 - 0.025 / count) / normal.inv_cdf(0.975)
    single, joint = (seed_noise_margin(values, comparisons=n).loc[RANKED_BY] for n in (1, count))
    table["excludes 0"] = size > towards_0 + ROUNDING
    table["excludes 0 (all)"] = size > factor * towards_0 + ROUNDING
    table["exceeds seed noise"] = size > table["agent"].map(single)
    table["exceeds seed noise (all)"] = size > table["agent"].map(joint)
    table["verdict"] = "not shown"
    table.loc[table["excludes 0"] & table["exceeds seed noise"], "verdict"] = "may matter"
    table.loc[table["excludes 0 (all)"] & table["exceeds seed noise (all)"], "verdict"] = "matters"
    return table.loc[size.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def significant(changes: pd.DataFrame, margins: pd.DataFrame) -> pd.DataFrame:
    """Returns the changes whose interval excludes 0 and that exceed the noise of the seed, each taken by itself.

    Changes have the columns agent, metric, value, low, high; margins come from `seed_noise_margin`.
    """
    excludes_0 = (changes["low"] > ROUNDING) | (changes["high"] < -ROUNDING)
    margin = [margins.loc[metric, agent] for agent, metric in changes[["agent", "metric"]].to_numpy()]
    return changes[excludes_0 & (changes["value"].abs() > margin)]


def noise_of_gap(whole: tuple[Options, Options], parts: Iterable[tuple[Options, Options]]) -> float:
    """Computes how much more seed noise a gap has than one change: that of all switches minus the sum of single ones.

    A change is of a pair of runs, the second minus the first. All runs vary alike and by themselves, so that a run
    counts with the square of its coefficient, which adds up over the pairs it stands in; a single change has 1 + 1.
    """
    coefficients: Counter[str] = Counter()
    for sign, (before, after) in ((1, whole), *((-1, pair) for pair in parts)):
        coefficients[after.model_dump_json()] += sign
        coefficients[before.model_dump_json()] -= sign
    return (sum(count**2 for count in coefficients.values()) / 2) ** 0.5
