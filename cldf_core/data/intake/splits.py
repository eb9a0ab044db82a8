"""Splits for domains that have none: whole groups at a time, seeded, in about the wanted shares."""

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cldf_core.data.domains import SPLITS, DataError, tied_together

SHARES = (0.7, 0.1, 0.2)


def with_splits(table: pd.DataFrame, seed: int = 0, shares: Sequence[float] = SHARES) -> pd.DataFrame:
    """The same table with a split for the images of each domain that has none.

    A group goes to one split as a whole, in all domains that it is in: domains that share groups are drawn
    together. Groups with the same domains and labels are shared out evenly. Of two groups and more, one at
    least is for training and one for the test, where their shares are not 0.

    Args:
        table: as of `DetectedLayout`.
        seed: of the draw, which also depends on the domains' names.
        shares: of the groups, for training, validation and test.

    Raises:
        DataError: the shares are not three numbers that sum to 1, the seed is below 0, or a group lies in
            two splits already.
    """
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise DataError(f"shares are {tuple(shares)}; needed: three numbers from 0 up that sum to 1")
    if seed < 0:
        raise DataError(f"seed is {seed}; allowed: a whole number from 0 up")
    open_rows = table["split"] == ""
    fixed = _fixed(table)
    split_of = dict(fixed)
    for names in _tied(table[open_rows]):
        rows = table[open_rows & table["domain"].isin(names)]
        split_of |= _draw(rows[~rows["group"].isin(fixed)], names, seed, shares)
        _repair(rows, split_of, fixed, shares)
    return table.assign(split=table["split"].mask(open_rows, table["group"].map(split_of)))


def _fixed(table: pd.DataFrame) -> dict[str, str]:
    """The split of each group that is given in one domain and open in another."""
    open_groups = set(table.loc[table["split"] == "", "group"])
    given = table[(table["split"] != "") & table["group"].isin(open_groups)]
    several = given.groupby("group")["split"].nunique()
    if (several > 1).any():
        group = several.index[several > 1][0]
        splits = sorted(set(given.loc[given["group"] == group, "split"]))
        raise DataError(f"group {group!r} is in the splits {' and '.join(splits)}; needed: one, as it stays whole")
    return dict(zip(given["group"], given["split"], strict=True))


def _tied(table: pd.DataFrame) -> list[list[str]]:
    """The domains, those that share groups together, in order."""
    pairs = table[["group", "domain"]].drop_duplicates()
    firsts = pairs.groupby("group")["domain"].transform("first")
    first_of = tied_together(zip(firsts, pairs["domain"], strict=True))
    return [[name for name in first_of if first_of[name] == first] for first in dict.fromkeys(first_of.values())]


def _draw(rows: pd.DataFrame, names: list[str], seed: int, shares: Sequence[float]) -> dict[str, str]:
    rng = np.random.default_rng([seed, zlib.crc32("\n".join(names).encode())])
    held: dict[str, set[tuple[str, int]]] = {}
    for group, domain, label in zip(rows["group"], rows["domain"], rows["label"], strict=True):
        held.setdefault(group, set()).add((domain, label))
    kinds: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for group in sorted(held):
        kinds.setdefault(tuple(sorted(held[group])), []).append(group)
    order: list[tuple[float, str]] = []
    for kind in sorted(kinds):
        # Evenly spaced from a random start: each part of the whole order holds its share of this kind.
        places = (rng.permutation(len(kinds[kind])) + rng.random()) / len(kinds[kind])
        order += zip(places.tolist(), kinds[kind], strict=True)
    counts = _counts(len(order), shares)
    splits = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    return {group: split for (_, group), split in zip(sorted(order), splits, strict=True)}


def _counts(groups: int, shares: Sequence[float]) -> tuple[int, int, int]:
    """How many groups are for training, validation and test."""
    if groups < 2:
        test = groups * int(shares[2] > max(shares[:2]))
        return groups - test, 0, test
    test = max(round(shares[2] * groups), int(shares[2] > 0))
    test = min(test, groups - int(shares[0] > 0))
    training = max(round(shares[0] * groups), int(shares[0] > 0)) if shares[1] else groups - test
    training = min(training, groups - test)
    return training, groups - training - test, test


def _repair(rows: pd.DataFrame, split_of: dict[str, str], fixed: dict[str, str], shares: Sequence[float]) -> None:
    """Moves a group where a domain of a joint draw got no training or no test images, if no other loses its last."""
    groups_of = {name: sorted(set(domain["group"])) for name, domain in rows.groupby("domain")}
    for groups in groups_of.values():
        for needed, share in ((SPLITS[0], shares[0]), (SPLITS[2], shares[2])):
            if len(groups) < 2 or not share or any(split_of[g] == needed for g in groups):
                continue
            for group in groups:
                same = [[g for g in other if split_of[g] == split_of[group]] for other in groups_of.values()]
                last = split_of[group] != SPLITS[1] and [group] in same
                if group not in fixed and not last:
                    split_of[group] = needed
                    break
