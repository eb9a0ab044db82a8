"""Agents side by side: what each keeps, is told and costs, by how much it differs from one of them, and if it helps."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

SIGNIFICANT = 0.05  # a difference whose corrected p is below this is significant
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


def bytes_of_all(manifest: Mapping[str, Any]) -> float:
    """The bytes of all images of a joint run's stream, packed as a memory keeps them; from the run's manifest."""
    o, last = manifest["options"], len(manifest["options"]["stream"])
    images = sum(step["images"] for step in manifest["steps"] if step["step"] == last) / o["epochs"]
    image = o["size"] * (o["size"] if o["feature"] == "image" else o["size"] + 2)  # 8 bits, or 16 of a half plane
    return float(images * 3 * image)


def costs(table: pd.DataFrame, all_images: float) -> pd.DataFrame:
    """The costs in a table, with units that can be read.

    Args:
        table: columns agent, metric, value, low, high; the rows of UNITS are taken.
        all_images: the bytes that joint training keeps; it has no memory of its own, since it reads all images again.

    Returns:
        Columns agent, cost, value, low, high.
    """
    parts = []
    for metric, (unit, words) in UNITS.items():
        part = table.loc[table["metric"] == metric, ["agent", "value", "low", "high"]].assign(cost=words)
        if metric.startswith("memory"):
            joint = part["agent"].str.partition(",")[0] == "joint"
            part.loc[joint, "value"] = all_images
        numbers = ["value", "low", "high"]
        part[numbers] = part[numbers].astype(float) / unit
        parts.append(part)
    return pd.concat(parts, ignore_index=True)[["agent", "cost", "value", "low", "high"]]


def minus(pairs: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Every other agent minus a reference, from pairs in either order.

    The pairs have the columns first, second, difference (first minus second), low, high and p_holm. The result has
    agent (the other one), reference, value, low, high, and significant, in place of first, second and difference.
    """
    ahead, behind = (pairs[pairs[name] == reference] for name in ("second", "first"))
    turned = {"difference": -behind["difference"], "low": -behind["high"], "high": -behind["low"]}
    both = pd.concat([ahead.assign(agent=ahead["first"]), behind.assign(agent=behind["second"], **turned)])
    both = both.assign(reference=reference, significant=both["p_holm"] < SIGNIFICANT)
    return both.drop(columns=["first", "second"]).rename(columns={"difference": "value"})


def helping(forgets: pd.DataFrame, gains: pd.DataFrame) -> pd.DataFrame:
    """Which agents help: they lose less than half of what sequential fine-tuning forgets, and end well above it.

    Args:
        forgets: the forgetting of each agent; columns agent and value.
        gains: of each agent's average over that of sequential fine-tuning; columns agent, value and shown (bool).

    Returns:
        Columns agent, forgets, gain, and first, second and both (bool): whether a condition is met. Rows of sequential
        and of joint training are left out.
    """
    lost, gain = (table.set_index("agent") for table in (forgets, gains))
    agents = [name for name in gain.index if name.partition(",")[0] not in ("sequential", "joint", "separate")]
    table = pd.DataFrame({"agent": agents, "forgets": lost["value"].reindex(agents).to_numpy()})
    table["gain"] = gain.loc[agents, "value"].to_numpy()
    forgotten = lost["value"].get("sequential", float("nan"))
    table["first"] = (table["forgets"] < LESS * forgotten) & (forgotten > 0)  # where nothing is forgotten, nobody helps
    table["second"] = (table["gain"] >= GAIN) & gain.loc[agents, "shown"].to_numpy(bool)
    return table.assign(both=table["first"] & table["second"])
