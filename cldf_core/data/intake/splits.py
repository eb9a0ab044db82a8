"""Splits for domains that have none: whole groups are drawn, by a seed, in about the shares that are asked for."""

import itertools
import operator
import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cldf_core.data.domains import SPLITS, DataError, tied_together


def with_splits(table: pd.DataFrame, seed: int = 0, shares: Sequence[float] = (0.7, 0.1, 0.2)) -> pd.DataFrame:
    """Draws a split for the images of each domain that has none.

    A group goes to one split as a whole, in all domains that contain it: domains that share groups are drawn together.
    Groups with the same domains and labels are shared out evenly. Of two or more groups at least one is for training
    and one for the test, unless the share is 0. The draw depends on the seed and on the domains' names.

    Args:
        table: the images, in the columns of a `DetectedLayout`'s table; a split of "" is open.
        shares: the shares of the groups that are for training, validation and test.

    Raises:
        DataError: shares are not three numbers that sum to 1, the seed is below 0, or a group is in two splits already.
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
    """Maps each group that has a split in one domain and none in another to its split."""
    open_groups = set(table.loc[table["split"] == "", "group"])
    rows = table.loc[(table["split"] != "") & table["group"].isin(open_groups), ["group", "split"]].drop_duplicates()
    if (torn := rows["group"].duplicated()).any():
        group = rows.loc[torn, "group"].min()
        splits = " and ".join(sorted(rows.loc[rows["group"] == group, "split"]))
        raise DataError(f"group {group!r} is in the splits {splits}; needed: one, as it stays whole")
    return dict(zip(rows["group"], rows["split"], strict=True))


def _tied(table: pd.DataFrame) -> list[list[str]]:
    """Lists the domains, in order, those together that share groups, directly or through others."""
    pairs = table[["group", "domain"]].drop_duplicates()
    firsts = pairs.groupby("group")["domain"].transform("first")
    first_of = tied_together(zip(firsts, pairs["domain"], strict=True))
    return [[name for name in first_of if first_of[name] == first] for first in dict.fromkeys(first_of.values())]


def _draw(rows: pd.DataFrame, names: list[str], seed: int, shares: Sequence[float]) -> dict[str, str]:
    rng = np.random.default_rng([seed, zlib.crc32("\n".join(names).encode())])
    kinds: dict[tuple[tuple[str, int], ...], list[str]] = {}  # the groups of each set of domains and labels
    columns = ["group", "domain", "label"]
    facts = rows[columns].drop_duplicates().sort_values(columns).itertuples(index=False, name=None)
    for group, held in itertools.groupby(facts, key=operator.itemgetter(0)):
        kinds.setdefault(tuple(fact[1:] for fact in held), []).append(group)
    order: list[tuple[float, str]] = []
    for _, groups in sorted(kinds.items()):
        # Evenly spaced from a random start: each part of the whole order holds its share of this kind.
        places = (rng.permutation(len(groups)) + rng.random()) / len(groups)
        order += zip(places.tolist(), groups, strict=True)
    splits = np.repeat(SPLITS, _counts(len(order), shares)).tolist()
    return {group: split for (_, group), split in zip(sorted(order), splits, strict=True)}


def _counts(groups: int, shares: Sequence[float]) -> tuple[int, int, int]:
    """The number of groups for training, validation and test."""
    if groups < 2:
        return (0, 0, groups) if shares[2] > max(shares[:2]) else (groups, 0, 0)
    test = max(round(shares[2] * groups), int(shares[2] > 0))
    test = min(test, groups - int(shares[0] > 0))
    training = max(round(shares[0] * groups), int(shares[0] > 0)) if shares[1] else groups - test
    training = min(training, groups - test)
    return training, groups - training - test, test


def _repair(rows: pd.DataFrame, split_of: dict[str, str], fixed: dict[str, str], shares: Sequence[float]) -> None:
    """Moves a group if a domain of a joint draw has no training or no test images and no other loses its last."""
    groups_of = {name: sorted(set(domain["group"])) for name, domain in rows.groupby("domain")}
    for groups in groups_of.values():
        for needed, share in ((SPLITS[0], shares[0]), (SPLITS[2], shares[2])):
            if len(groups) < 2 or not share or any(split_of[g] == needed for g in groups):
                continue
            for group in groups:
                same = [[g for g in other if split_of[g] == split_of[group]] for other in groups_of.values()]
                if group not in fixed and (split_of[group] == SPLITS[1] or [group] not in same):
                    split_of[group] = needed
                    break
