"""Tidy tables for figures and for reading: cells of matrices, losses, ranks, and estimates as text."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.evaluation.bootstrap import Estimate, Matrices, matrices, paired_matrices, side_by_side
from cldf_core.evaluation.metrics import DETECTION, THRESHOLD, of_split

# An agent's name in figures and tables. A notebook may add its own agent.
AGENT_NAMES = {"separate": "separate models", "sequential": "sequential fine-tuning", "joint": "joint training"}
AGENT_NAMES |= {"icarl": "iCaRL", "gdumb": "GDumb", "lwf": "LwF", "er": "ER (random)", "mir": "MIR"}
AGENT_NAMES |= {"derpp": "DER++", "ewc": "EWC"}

_CHANGES = ("forgetting", "backward transfer", "forward transfer", "gain")  # metrics that are of a measure
_FROM_3 = " from 3"


def agent_name(agent: str) -> str:
    """Returns an agent's name in figures and tables; an agent of another origin keeps its name.

    That of an agent in a row of its own, such as "lwf, told", begins with the agent's.
    """
    name, comma, words = agent.partition(",")
    return AGENT_NAMES.get(name, name) + comma + words


def seeds_in_words(n: int) -> str:
    """Returns how many seeds a number is of, in words: "one seed", or such as "5 seeds"."""
    return "one seed" if n == 1 else f"{n} seeds"


def metric_name(metric: str) -> str:
    """Returns a continual metric's name in figures: that of "accuracy: average" is "average accuracy".

    What has no measure before it, such as "average" or a cost, keeps its name.
    """
    measure, colon, name = metric.partition(": ")
    if measure not in DETECTION or not colon:
        return metric
    what, _, domain = name.partition(": ")
    if what == "unseen":
        return f"{measure} on {domain}, unseen" if domain else f"{measure} on unseen domains"
    what, bracket, kind = what.removesuffix(_FROM_3).partition(" (")
    words = f"{what} of {measure}" if what in _CHANGES else f"{what.removesuffix(' R')} {measure}"
    return words + bracket + kind + (", domains\xa03\xa0on" if name.endswith(_FROM_3) else "")


ONE_SIDED = 0.98  # share of a cell's images from which on one verdict counts as that of all


def cell_values(scores: pd.DataFrame, metric: str = "accuracy", *, split: str = "test") -> pd.DataFrame:
    """Computes R[t, i] of each agent, with 95 % intervals: columns agent, step, domain, value, low, high, verdicts.

    The table of scores has a column agent and may hold several runs. Verdicts are "all real" or "all fake" where at
    least ONE_SIDED of a cell's images get this verdict, else "mixed".
    """
    tables = []
    for agent, table in scores.groupby("agent", sort=False):
        R = matrices(table, [metric], split=split)
        fakes = (of_split(table, split)["score"] >= THRESHOLD).groupby([table["step"], table["domain"]]).mean()
        cells = _tidy(R, R.metrics[metric])
        share = pd.MultiIndex.from_frame(cells[["step", "domain"]]).map(fakes.to_dict()).to_numpy(float)
        verdicts = np.select([share >= ONE_SIDED, share <= 1 - ONE_SIDED], ["all fake", "all real"], "mixed")
        tables.append(cells.assign(agent=agent, verdicts=verdicts))
    return pd.concat(tables, ignore_index=True)[["agent", "step", "domain", "value", "low", "high", "verdicts"]]


def cell_changes(
    first: pd.DataFrame, second: pd.DataFrame, metric: str = "accuracy", *, split: str = "test"
) -> pd.DataFrame:
    """Computes R[t, i] of the first run minus that of the second, on the same images, with paired 95 % intervals.

    The columns are step, domain, value, low and high. Other images or groups are a UserError.
    """
    R, other = paired_matrices([first, second], [metric], split=split)
    return _tidy(R, R.metrics[metric] - other.metrics[metric])


def _tidy(R: Matrices, estimate: Estimate) -> pd.DataFrame:
    numbers, cells = side_by_side(estimate), itertools.product(enumerate(R.steps), enumerate(R.domains))
    rows = [(step, domain, *numbers[:, t, i]) for (t, step), (i, domain) in cells]
    return pd.DataFrame(rows, columns=["step", "domain", "value", "low", "high"])


def loss_table(agent: str, steps: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Lists the training losses in a manifest's steps: columns agent, step, domain, loss, epoch."""
    rows = [(agent, s["step"], s["domain"], loss) for s in steps for loss in s["losses"] if loss is not None]
    table = pd.DataFrame(rows, columns=["agent", "step", "domain", "loss"])
    return table.assign(epoch=table.groupby("step").cumcount() + 1)  # the epochs of all chunks are counted on


def rank_table(table: pd.DataFrame, metrics: Sequence[str], *, small: Collection[str] = ()) -> pd.DataFrame:
    """Ranks agents within each seed that all of them have; 1 is the best.

    Equal values share the mean of their ranks. An agent without any value of a metric is not ranked by it. The table
    has the columns agent, seed, metric and value, with each agent, seed and metric once. Of the metrics in `small` the
    small values are good.

    Returns:
        Columns metric, agent, seed, rank (NaN where an agent is not ranked), mean (the agent's mean rank by this
        metric). Agents are ordered by their mean rank by the first metric.
    """
    ranks = {}
    for metric in metrics:
        wide = table[table["metric"] == metric].pivot(index="seed", columns="agent", values="value")
        wide = wide.dropna(axis=1, how="all").dropna().round(9)  # equal means may differ in their last bits
        ranks[metric] = wide.rank(axis=1, ascending=metric in small)
    first = ranks[metrics[0]].mean()
    agents = sorted(dict.fromkeys(table["agent"]), key=lambda agent: first.get(agent, np.inf))
    ranked = pd.concat({metric: wide.reindex(columns=agents) for metric, wide in ranks.items()}, names=["metric"])
    ranked = ranked.reset_index().melt(["metric", "seed"], var_name="agent", value_name="rank")
    mean = ranked.groupby(["metric", "agent"])["rank"].transform("mean")
    return ranked.assign(mean=mean)[["metric", "agent", "seed", "rank", "mean"]]


def with_interval(row: Any, number: str = ".2f") -> str:
    """Writes value, low and high of a row as "value [low, high]" or "value (no interval)", in the format `number`."""
    if np.isnan(row.value):
        return "–"
    value, low, high = (_written(end, number) for end in (row.value, row.low, row.high))
    return f"{value} [{low}, {high}]" if row.low <= row.high else f"{value} (no interval)"


def _written(value: float, number: str) -> str:
    text = f"{value:{number}}"
    return text if float(text) else f"{0:{number}}"  # not -0.00


def as_text(table: pd.DataFrame, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """Writes estimates `with_interval`: a row for each agent, a column for each metric, all by default.

    The table has the columns agent, metric, value, low and high; each agent and metric once.
    """
    text = [with_interval(row) for row in table.itertuples()]
    columns = list(metrics) or list(dict.fromkeys(table["metric"]))
    wide = table.assign(text=text).pivot(index="agent", columns="metric", values="text")
    wide = wide.loc[list(dict.fromkeys(table["agent"])), columns]
    return wide.rename(index=agent_name).rename_axis(index=None, columns=None)
