"""Agents side by side: what each keeps, is told and costs, by how much it differs from one of them, and if it helps."""

from collections.abc import Iterable

import pandas as pd

from cldf_core.evaluation.bootstrap import ENDS
from cldf_core.evaluation.proportions import with_exact_ends
from cldf_core.evaluation.seeds import holm

SIGNIFICANT = 0.05  # a difference whose corrected p is below this is significant
# For `sentences`: what a difference needs besides its interval.
TESTED = ("significant", "the difference is not significant after Holm's correction")
# What intervals of simulated means are over.
OVER = {"crossed": "seeds × photographs", "seeds alone": "seeds alone", "groups alone": "photographs alone"}
LESS, GAIN = 0.5, 0.03  # an agent that helps forgets less than this share, and gains at least so much
# What an agent keeps of the past; what it is told in training besides images, labels, and when a step begins; and what
# it is told in the test. This is of the papers' variants.
FACTS = {
    "separate": ("a network for each domain", "", "each image's domain"),
    "sequential": ("nothing", "", ""),
    "joint": ("all images", "", ""),
    "icarl": ("exemplars; in a step, the old network", "each image's domain; where one ends", ""),
    "gdumb": ("images, as many of each domain and class", "each image's domain", ""),
    "lwf": ("the old network", "where a domain ends", ""),
    "lwf, told": ("the old network", "where a domain ends", "each image's domain"),
    "er": ("a random sample of images", "", ""),
    "mir": ("a random sample of images", "each image's domain", ""),
    "derpp": ("a random sample of images, with logits; offered in every epoch", "", ""),
    "ewc": ("weights, and their Fisher information", "where a domain ends", ""),
}
COLUMNS = ("keeps", "is told in training", "is told in the test")
# The costs of the metric table, with the unit and the words that they have here.
UNITS = {
    "images trained on": (1e3, "images passed (thousand)"),
    "processor seconds": (1.0, "processor seconds"),
    "memory buffer (bytes)": (1e6, "kept (MB)"),
}


def with_domain(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the name of an unseen domain in that of the metric: "accuracy: unseen: NeuralTextures"."""
    return table.assign(metric=table["metric"] + (": " + table["domain"]).where(table["domain"] != "", ""))


def facts(agents: Iterable[str]) -> pd.DataFrame:
    """What agents keep and are told: columns COLUMNS, a row for each agent; missing where it is not known."""
    return pd.DataFrame.from_dict(FACTS, orient="index", columns=list(COLUMNS)).reindex(list(agents))


def costs(table: pd.DataFrame) -> pd.DataFrame:
    """The costs in a table, with units that can be read.

    The table has the columns agent, metric, value, low and high, of which the rows of UNITS are taken; the result has
    cost in place of metric.
    """
    parts = []
    for metric, (unit, words) in UNITS.items():
        part = table.loc[table["metric"] == metric, ["agent", *ENDS]].assign(cost=words)
        part[ENDS] = part[ENDS].astype(float) / unit
        parts.append(part)
    return pd.concat(parts, ignore_index=True)[["agent", "cost", *ENDS]]


def minus(pairs: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Every other agent minus a reference, from pairs in either order.

    The pairs have the columns metric, first, second, difference (first minus second), low, high and p. The result has
    agent (the other one), reference, value, low, high, p_holm and significant, in place of first, second and
    difference. Holm's correction is of these differences alone, within a metric, since no others are looked at: other
    settings of the pairs, such as the domain, count, so leave out before what is not looked at.
    """
    ahead, behind = (pairs[pairs[name] == reference] for name in ("second", "first"))
    turned = {"difference": -behind["difference"], "low": -behind["high"], "high": -behind["low"]}
    both = pd.concat([ahead.assign(agent=ahead["first"]), behind.assign(agent=behind["second"], **turned)])
    both = corrected(both.assign(reference=reference))
    return both.drop(columns=["first", "second"]).rename(columns={"difference": "value"})


def corrected(pairs: pd.DataFrame) -> pd.DataFrame:
    """Puts in p_holm, Holm's correction of p within a metric, and significant: of all rows, so of what is looked at."""
    p_holm = pairs.groupby("metric")["p"].transform(lambda p: holm(p.to_numpy(float)))
    return pairs.assign(p_holm=p_holm, significant=p_holm < SIGNIFICANT)


def changed(pairs: pd.DataFrame, whole: str) -> pd.DataFrame:
    """A method with one part changed minus the whole of it, as `minus` has them; the column part says what is changed.

    Learners "er, PART" are compared with "er", and "er, memory 50, PART" with "er, memory 50", which is then no PART of
    "er". Holm's correction is of these differences alone.
    """
    apart = minus(pairs, whole)
    part = apart["agent"].where(apart["agent"].str.startswith(f"{whole}, ")).str.slice(len(whole) + 2)
    wholes = {name.rpartition(", ")[0] for name in apart["agent"]}
    single = part.notna() & ~part.str.contains(",", na=True) & ~apart["agent"].isin(wholes)
    return corrected(apart.assign(part=part)[single])


def lowest_coverage(simulated: pd.DataFrame, seeds: int = 5) -> pd.DataFrame:
    """How often 95 % intervals of a mean over some seeds hold the truth, at least, over all simulated levels.

    Args:
        simulated: what `tests/evaluation/crossed_coverage.py` writes.
        seeds: of how many seeds the means are.

    Returns:
        Columns agent (what the intervals are over), metric, share (of the seeds in the variance), value, n
        (simulations), low and high (95 %, of the share of simulations).
    """
    table = simulated[simulated["seeds"] == seeds].rename(columns={**OVER, "simulations": "n"})
    table = table.melt(["metric", "level", "share", "n"], [*OVER.values()], "agent", "value")
    table = table.loc[table.groupby(["agent", "metric", "share"], sort=False)["value"].idxmin()]
    return with_exact_ends(table[["agent", "metric", "share", "value", "n"]].reset_index(drop=True))


def helping(forgets: pd.DataFrame, gains: pd.DataFrame) -> pd.DataFrame:
    """Which agents help: they lose less than half of what sequential fine-tuning forgets, and end well above it.

    Args:
        forgets: the forgetting of each agent; columns agent and value.
        gains: of each agent's average over that of sequential fine-tuning; columns agent, value and shown (bool).

    Returns:
        Columns agent, forgets, gain, and first, second and both (bool): whether a condition is met. Left out are
        sequential and joint training, and rows of their own, such as "lwf, told", which are no agents.
    """
    lost, gain = (table.set_index("agent") for table in (forgets, gains))
    agents = [name for name in gain.index if name not in ("sequential", "joint", "separate") and "," not in name]
    table = pd.DataFrame({"agent": agents, "forgets": lost["value"].reindex(agents).to_numpy()})
    table["gain"] = gain.loc[agents, "value"].to_numpy()
    forgotten = lost["value"].get("sequential", float("nan"))
    table["first"] = (table["forgets"] < LESS * forgotten) & (forgotten > 0)  # where nothing is forgotten, nobody helps
    table["second"] = (table["gain"] >= GAIN) & gain.loc[agents, "shown"].to_numpy(bool)
    return table.assign(both=table["first"] & table["second"])
