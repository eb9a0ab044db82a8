"""Pairs of images that have the same content, or that look alike by their perceptual hashes."""

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd

from cldf_core.data.intake.scan import with_classes

DISTANCE = 4  # of 64 bits: what a new JPEG compression or a small resize changes
CROWD = 64  # images that share one hash and are paired with each other; flat images all share one
MOST = 1_000_000  # pairs that are listed
_COLUMNS = ["image", "domain", "split", "label", "group", "sha256", "phash"]


class Duplicates(NamedTuple):
    """Pairs of equal and of similar images.

    The columns of `pairs` are kind ("exact" for the same content, "near" for similar pictures), distance (the bits in
    which the perceptual hashes differ), within_group, and image_1, image_2, likewise domain, split, label and group.
    """

    pairs: pd.DataFrame
    notes: tuple[str, ...]  # what is not listed, a sentence each


def duplicates(joined: pd.DataFrame) -> Duplicates:
    """Finds pairs of used images with the same content, or with perceptual hashes at most DISTANCE bits apart.

    The table holds rows of a survey (`cldf_core.data.intake.scan`) joined with label, domain, split and group. A fake
    made from a real photograph is often similar to it by nature; such pairs have `within_group`. Of more than CROWD
    images with one hash (all flat images share one) only CROWD are paired, taken in turns from domains, splits and
    classes; and at most about MOST pairs are listed. The notes say so.
    """
    images = with_classes(joined).loc[lambda table: table["used"], _COLUMNS].reset_index(drop=True)
    content = pd.factorize(images["sha256"])[0]
    looks = np.array([int(digits, 16) for digits in images["phash"]], np.uint64)
    hashes, look = np.unique(looks, return_inverse=True)
    notes: list[str] = []

    copied = np.flatnonzero(np.bincount(content) > 1) if len(content) else content
    first, second, all_exact = _expand(copied, copied, _members(images, content, content, "content", notes))
    exact = _pairs(images, first, second, "exact", looks)

    left, right, all_close = close_hashes(hashes)
    shared = np.flatnonzero(np.bincount(look, minlength=len(hashes)) > 1)
    members = _members(images, look, content, "perceptual hash", notes)
    first, second, all_near = _expand(np.append(shared, left), np.append(shared, right), members)
    other = content[first] != content[second]
    near = _pairs(images, first[other], second[other], "near", looks)
    if not (all_exact and all_close and all_near):
        notes.append(f"there are more than {MOST} pairs of equal or similar images; not all of them are listed")
    return Duplicates(pd.concat([exact, near], ignore_index=True), tuple(notes))


def close_hashes(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Finds pairs of perceptual hashes that differ in at most DISTANCE bits, without comparing all with all.

    `hashes` are uint64, shape (N,), no two of them equal. The search ends when about MOST pairs are found. It returns
    the places of the first and of the second hash, lower first, each pair once, and whether these are all pairs.

    Source: hashes at most k bits apart agree in two of k + 2 bands (Manku, Jain & Das Sarma, WWW 2007). Two bands have
    so many values that few other hashes share both, also among millions.
    """
    count, pairs, is_all = len(hashes), np.empty(0, np.int64), True
    for places in itertools.combinations(range(DISTANCE + 2), 2):
        # A band is every k + 2nd bit: neighbouring bits are alike in many images.
        bits = [bit for place in places for bit in range(place, 64, DISTANCE + 2)]
        band, found = hashes & np.uint64(sum(1 << bit for bit in bits)), [pairs]
        order = np.argsort(band, kind="stable")
        band, start = band[order], np.arange(count)
        for step in range(1, count):  # equal bands stand together: compare each with the next, the next but one ...
            start = start[start < count - step]
            start = start[band[start] == band[start + step]]
            if not len(start) or sum(map(len, found)) > len(pairs) + MOST:
                break
            first, second = order[start], order[start + step]
            near = differing_bits(hashes[first], hashes[second]) <= DISTANCE
            found.append(np.minimum(first, second)[near] * count + np.maximum(first, second)[near])
        pairs = np.unique(np.concatenate(found))  # two hashes may agree in several bands
        if not (is_all := len(pairs) <= MOST):
            break
    return pairs // max(count, 1), pairs % max(count, 1), is_all


def differing_bits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Counts the bits in which two arrays of uint64, shape (N,), differ; shape (N,)."""
    return np.unpackbits((first ^ second).view(np.uint8).reshape(-1, 8), axis=1).sum(1, dtype=np.int64)


def _members(images: pd.DataFrame, key: np.ndarray, content: np.ndarray, what: str, notes: list[str]) -> pd.Series:
    """The rows of each key, by key and row: at most CROWD, of every kind."""
    crowded = images[pd.Series(key).groupby(key).transform("size").to_numpy() > CROWD]
    if len(crowded):
        domains = ", ".join(crowded["domain"].unique())
        note = f"{len(crowded)} images share their {what} with {CROWD} others or more, {CROWD} are paired"
        notes.append(f"{domains}: {note}")
    table = images[["domain", "split", "label"]].assign(key=key)
    kind = list(table.columns)
    table["copy"] = table.assign(content=content).groupby([*kind, "content"]).cumcount()
    table = table.sort_values("copy", kind="stable")  # copies of one content come last ...
    table["turn"] = table.groupby(kind).cumcount()
    table = table.sort_values("turn", kind="stable")  # ... and domains, splits and classes take turns
    rows = table.index[table.groupby("key").cumcount() < CROWD].sort_values()
    return pd.Series(rows, pd.Index(key[rows])).sort_index(kind="stable")


def _expand(left: np.ndarray, right: np.ndarray, members: pd.Series) -> tuple[np.ndarray, np.ndarray, bool]:
    """Pairs of rows, lower first, whose keys are paired (a key with itself, too), each once, and whether all fit."""
    counts = members.index.value_counts()
    fits = np.cumsum(counts.reindex(left).to_numpy() * counts.reindex(right).to_numpy()) <= MOST
    pairs = pd.DataFrame({"left": left[fits], "right": right[fits]})
    pairs = pairs.join(members.rename("first"), on="left").join(members.rename("second"), on="right")
    rows = pairs.loc[(pairs["left"] != pairs["right"]) | (pairs["first"] < pairs["second"]), ["first", "second"]]
    return rows.to_numpy().min(axis=1), rows.to_numpy().max(axis=1), bool(fits.all())


def _pairs(images: pd.DataFrame, first: np.ndarray, second: np.ndarray, kind: str, looks: np.ndarray) -> pd.DataFrame:
    pairs = pd.DataFrame({"kind": kind, "distance": differing_bits(looks[first], looks[second])})
    pairs["within_group"] = images["group"].to_numpy()[first] == images["group"].to_numpy()[second]
    for column in ("image", "domain", "split", "label", "group"):
        pairs[f"{column}_1"] = images[column].to_numpy()[first]
        pairs[f"{column}_2"] = images[column].to_numpy()[second]
    return pairs.sort_values(["distance", "image_1", "image_2"], ignore_index=True, kind="stable")
