"""Domains of fakes only, whose real images come from elsewhere.

Collections often hold one pool of real images, and fakes by generator. A network needs both classes to learn from a
domain, so the pool is dealt out to such domains, each real image to one of them, or shared: each has all of them.
Images keep their splits and groups, so a real image that is for training in one domain is for the test in none.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from cldf_core.data.console import counted
from cldf_core.data.domains import CLASSES, SPLITS, DataError
from cldf_core.data.layouts.tables import in_few_words

OWN, DEALT, SHARED = RULES = ("own", "dealt", "shared")


def pools_of(table: pd.DataFrame) -> dict[str, str]:
    """Maps each domain of fakes only to the domains of real images only, joined by +; empty where one kind is missing.

    The table has the columns domain and label.
    """
    labels = table.groupby("domain", sort=True)["label"].agg(["min", "max"])
    reals, fakes = ([*map(str, labels.index[labels[end] == label])] for end, label in (("max", 0), ("min", 1)))
    return dict.fromkeys(fakes, "+".join(reals)) if reals else {}


def with_reals(table: pd.DataFrame, rule: str, pools: Mapping[str, str], where: str) -> pd.DataFrame:
    """Gives domains of fakes only their real images; the domains that these come from are no domains any more.

    Args:
        table: image, label, domain, split and group, one row for each image and domain.
        rule: "dealt" or "shared". With "dealt" the groups of a pool go to its domains in an order without meaning, in
            each split in proportion to the number of fakes; a split in which none has fakes is dealt out as all are.
        pools: for each domain of fakes only a domain of real images, or several, joined by +.
        where: what a DataError begins with: a domain is missing, or holds the other class.
    """
    ends = table.groupby("domain")["label"].agg(["min", "max"])
    takers: dict[str, list[str]] = {}
    for name, text in pools.items():
        for pool in [text] if text in ends.index else text.split("+"):
            takers.setdefault(pool, []).append(name)
    for named, label in (([*pools], 1), ([*takers], 0)):
        for name in named:
            if name not in ends.index or {*ends.loc[name]} != {label}:
                held = "has both classes or the other" if name in ends.index else "is no domain"
                needed = f"needed: a domain of {CLASSES[label]} images only"
                raise DataError(f"{where}: pools has {name!r} for {CLASSES[label]} images, but it {held}; {needed}")
    parts = [table[~table["domain"].isin(takers)]]
    for pool, names in takers.items():
        reals = table[table["domain"] == pool]
        fakes = table[table["domain"].isin(names)]
        parts += [reals.assign(domain=name) for name in names] if rule == SHARED else [_dealt(reals, fakes)]
    return pd.concat(parts).drop_duplicates(["domain", "image"])


def in_words(table: pd.DataFrame, rule: str, pools: Mapping[str, str]) -> str:
    """A sentence on where the real images of domains of fakes only come from."""
    names = sorted(set(pools.values()))
    count = table.loc[table["domain"].isin([*names, *"+".join(names).split("+")]), "image"].nunique()
    those, domains = f"{counted(count, 'real image')} of {in_few_words(names)}", counted(len(pools), "domain")
    if rule == SHARED:
        return f"Each of the {domains} of fakes only has all {those} (--reals dealt: each a part of them)."
    return (
        f"The {those} are dealt out to the {domains} of fakes only, in each split in proportion to the fakes "
        "(--reals shared: each has all of them)."
    )


def _dealt(reals: pd.DataFrame, fakes: pd.DataFrame) -> pd.DataFrame:
    """The real images, each in one of the domains of the fakes."""
    parts = []
    for split in SPLITS:
        part = reals[reals["split"] == split]
        mine = fakes[fakes["split"] == split]
        counts = (fakes if mine.empty else mine)["domain"].value_counts().sort_index()
        groups = sorted(part["group"].unique(), key=lambda group: hashlib.sha256(group.encode()).digest())
        middles = (np.arange(len(groups)) + 0.5) / max(len(groups), 1)
        places = np.searchsorted(counts.cumsum() / counts.sum(), middles)
        domain = dict(zip(groups, counts.index[places], strict=True))
        parts.append(part.assign(domain=part["group"].map(domain)))
    return pd.concat(parts)
