"""A domain is the images of one family of fakes, with labels, splits and groups, all accounted for."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cldf_core.options import UserError
from cldf_core.randomness import generator

COLUMNS = ("image", "label", "split", "group")
CLASSES = ("real", "fake")  # a label is a place in it
SPLITS = ("train", "validation", "test")
# Names of folders that mean a split, in every layout; in the original's more may follow them, as in trainA.
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_ROWS = 1 << 16  # rows that are text at once


class DataError(UserError):
    """A data set that cannot be used as it is."""


@dataclass(frozen=True)
class Domain:
    """One family of real and fake images.

    The table has one row per image: image (relative posix path), label (0 real, 1 fake), split (train, validation,
    test), group (what must not be torn apart, such as the photograph).
    """

    name: str  # as the stream calls it
    root: Path  # the folder that image paths start from
    table: pd.DataFrame
    notes: tuple[str, ...] = ()  # sentences that whoever reads a result should know

    def __post_init__(self) -> None:
        table = self.table
        missing = [c for c in COLUMNS if c not in table]
        if missing:
            raise DataError(f"domain {self.name!r}: its table lacks {', '.join(missing)}; needed: {', '.join(COLUMNS)}")
        for column, values, words in (("label", (0, 1), "0 real, 1 fake"), ("split", SPLITS, ", ".join(SPLITS))):
            if not (bad := table[~table[column].isin(values)]).empty:
                row = bad.iloc[0]
                raise DataError(f"domain {self.name!r}: {row['image']} has {column} {row[column]!r}; allowed: {words}")

    def fingerprint(self, hashes: Iterable[str]) -> str:
        """Hash of every row and of every file's content; the contents' hashes come in the rows' order."""
        digest, table = hashlib.sha256(), self.table[list(COLUMNS)]
        for start in range(0, max(1, len(table)), _ROWS):
            digest.update(table[start : start + _ROWS].to_csv(index=False, header=start == 0).encode())
        for content in hashes:
            digest.update(content.encode())
        return digest.hexdigest()


def with_validation(domain: Domain, share: float, seed: int) -> Domain:
    """The same domain with a share of its training groups, rounded down, as validation images.

    The draw depends on the seed and on the domain's name. A note says it where the share comes to no group.
    """
    training = domain.table["split"] == "train"
    groups = sorted(domain.table.loc[training, "group"].unique())
    if not share or not groups:
        return domain
    count = int(Fraction(str(share)) * len(groups))  # as it was written: 0.29 of 100 is 29, not 28.999...
    if not count:
        note = f"{domain.name}: validation_share {share} of its {len(groups)} training groups comes to none"
        return replace(domain, notes=(*domain.notes, note))
    rng = generator(seed, "validation", domain.name)
    drawn = [groups[k] for k in rng.permutation(len(groups))[:count]]
    split = domain.table["split"].mask(training & domain.table["group"].isin(drawn), "validation")
    return replace(domain, table=domain.table.assign(split=split))


def tied_together(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Maps each name, in order, to the first of the names that pairs tie to it, directly or by others."""
    pairs = list(pairs)
    names = sorted({name for pair in pairs for name in pair})
    place = {name: k for k, name in enumerate(names)}
    ends = np.array([(place[one], place[other]) for one, other in pairs], int).reshape(-1, 2).T
    graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), (len(names), len(names)))
    component = connected_components(graph, directed=False)[1]
    firsts = np.unique(component, return_index=True)[1]
    return {name: names[first] for name, first in zip(names, firsts[component], strict=True)}
