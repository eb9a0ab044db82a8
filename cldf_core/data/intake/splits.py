"""Splits for domains that have none: whole groups are drawn by a seed, of ten about seven to train, two to test."""

import itertools
import operator
import zlib
from collections import Counter

import numpy as np
import pandas as pd

from cldf_core.data.domains import CLASSES, SPLITS, DataError, tied_together
from cldf_core.data.layouts.tables import in_few_words

TRAINING, TEST = 0.7, 0.2  # shares of the groups; the rest is for validation


def with_splits(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Draws a split for the images of each domain that has none.

    A group goes to one split as a whole, in all domains that contain it: domains that share groups are drawn together.
    Groups with the same domains and labels are shared out evenly. Of a domain's groups of a class at least one is for
    training and one for the test, and of three or more one for validation. The draw depends on the seed and on the
    domains' names. The table is that of a `DetectedLayout`, where a split of "" is open.

    Raises:
        DataError: the seed is below 0, or a group is in two splits already.
    """
    if seed < 0:
        raise DataError(f"seed is {seed}; allowed: a whole number from 0 up")
    open_rows = table["split"] == ""
    fixed = _fixed(table)
    split_of = dict(fixed)
    for names in _tied(table[open_rows]):
        rows = table[open_rows & table["domain"].isin(names)]
        split_of |= _draw(rows[~rows["group"].isin(fixed)], names, seed)
        _repair(rows, split_of, fixed)
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


def _draw(rows: pd.DataFrame, names: list[str], seed: int) -> dict[str, str]:
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
    test, training = max(round(TEST * len(order)), int(len(order) > 1)), round(TRAINING * len(order))
    splits = np.repeat(SPLITS, (training, len(order) - training - test, test)).tolist()
    return {group: split for (_, group), split in zip(sorted(order), splits, strict=True)}


def _repair(rows: pd.DataFrame, split_of: dict[str, str], fixed: dict[str, str]) -> None:
    """Moves a group where a class of a domain has none in a split that it should have, and no other loses its last."""
    classes = [sorted(set(part["group"])) for _, part in rows.groupby(["domain", "label"])]
    counts = [Counter(split_of[group] for group in groups) for groups in classes]
    places: dict[str, list[int]] = {}
    for k, groups in enumerate(classes):
        for group in groups:
            places.setdefault(group, []).append(k)
    # Of two groups, one is for training and one for the test.
    for needed, least in (("train", 2), ("test", 2), ("validation", 3)):
        for groups, count in zip(classes, counts, strict=True):
            if len(groups) < least or count[needed]:
                continue
            for group in sorted(groups, key=lambda group: -count[split_of[group]]):
                old = split_of[group]
                lost = old != SPLITS[1] or needed == SPLITS[1]
                if group in fixed or (lost and any(counts[k][old] == 1 for k in places[group])):
                    continue
                split_of[group] = needed
                for k in places[group]:
                    counts[k].update({old: -1, needed: 1})
                break


def without_images(table: pd.DataFrame, drawn: bool) -> list[str]:
    """Says which domains, or which of their classes, have no images in a split; validation counts if it is drawn."""
    counts = table.groupby(["domain", "split", "label"]).size().unstack(fill_value=0)
    counts = counts.reindex(pd.MultiIndex.from_product([sorted(set(table["domain"])), SPLITS]), fill_value=0)
    found = []
    for split in SPLITS:
        part = counts.xs(split, level=1)
        none = part.index[part.sum(axis=1) == 0]
        if len(none) and (drawn or split != SPLITS[1]):
            found.append(f"No {split} images in {in_few_words(none)}.")
        for label in part.columns:
            domains = counts[label].groupby(level=0).sum()
            lacking = [name for name in part.index.difference(none) if not part.loc[name, label] and domains[name]]
            if lacking:
                found.append(
                    f"No {CLASSES[label]} {split} images in {in_few_words(lacking)}: there are too few groups."
                )
    return found
