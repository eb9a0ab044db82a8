"""Reads FaceForensics++ as its download script lays it out: whole videos, or frames extracted from them.

    original_sequences/<source>/<compression>/<kind>/<video>/*.png           source: youtube or actors
    manipulated_sequences/<method>/<compression>/<kind>/<target>_<source>/*.png

A method is a domain; its real images are all originals of the same compression. The lists of the data set give the
splits if they lie beside the sequences: splits/train.json, val.json and test.json with pairs such as ["071", "054"].

Source: Rössler et al., ICCV 2019; DeepFakeDetection and its actors: Dufour & Gully, 2019.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from cldf_core.data.domains import DataError, tied_together

TOPS = ("original_sequences", "manipulated_sequences")
COMPRESSIONS = ("raw", "c0", "c23", "c40")
SOURCES = ("youtube", "actors")
LISTS, LISTED = "splits", {"train": "train", "val": "validation", "test": "test"}
_OF_ACTORS = "DeepFakeDetection"
# 000 and 000_003; for the actors 01__walking and 01_02__walking__ABC123.
_ORIGINAL = re.compile(r"\d+(__\w+)?")
_FAKE = re.compile(r"(\d+)_(\d+)(?:(__.+)__\w+)?")


class _File(NamedTuple):
    path: str
    top: str  # one of TOPS
    source: str  # or the method
    compression: str
    kind: str  # images, faces, …
    video: str


def is_inside(path: PurePosixPath) -> bool:
    """Whether a file lies in the sequences, and is no mask."""
    return not set(path.parts[:-1]).isdisjoint(TOPS) and "masks" not in path.parts[:-1]


def read(folder: Path, files: Sequence[PurePosixPath], *, videos: bool) -> tuple[pd.DataFrame, list[str]]:
    """Lists files below a folder, frames or videos: one row per file and domain, and sentences on what is unusual.

    Raises:
        DataError: a file lies in a wrong place, or a method has no originals.
    """
    parsed = [_parsed(folder, path, videos) for path in files if is_inside(path)]
    originals, fakes = ([f for f in parsed if f.top == top] for top in TOPS)
    if not originals or not fakes:
        what = "videos" if videos else "frames"
        missing = TOPS[1] if originals else TOPS[0]
        raise DataError(f"{folder} has no {what} in {missing}; needed: {' and '.join(TOPS)}")
    methods = sorted({(f.source, f.compression) for f in fakes})
    several = len({compression for _, compression in methods}) > 1
    available = {(f.source, f.compression) for f in originals}
    group_of, split_of = _groups(parsed), _listed_splits(folder)
    rows, used, notes = [], [], []
    for method, compression in methods:
        order = SOURCES[::-1] if method == _OF_ACTORS else SOURCES
        source = next((s for s in order if (s, compression) in available), None)
        if source is None:
            lacking = f"{folder} has no originals for {method} at {compression}"
            raise DataError(f"{lacking}; needed: {TOPS[0]}/{order[0]}/{compression}")
        if source != order[0]:
            notes.append(f"{method} has the originals of {source}, as there are none of {order[0]}.")
        domain = f"{method}-{compression}" if several else method
        chosen = [f for f in originals if (f.source, f.compression) == (source, compression)]
        chosen += [f for f in fakes if (f.source, f.compression) == (method, compression)]
        for f in chosen:
            # The lists do not contain the actors' videos.
            numbers = re.findall(r"\d+", f.video)[:2] if split_of and method != _OF_ACTORS else []
            splits = {split_of.get(number, "") for number in numbers} or {""}
            if len(splits) > 1 or (numbers and splits == {""}):
                raise DataError(f"{folder / f.path} is in no list, or in several, of {folder / LISTS}; needed: one")
            split = splits.pop()
            rows.append((f.path, int(f.top == TOPS[1]), domain, split, group_of[f.video], f.video))
        used += chosen
    if len(kinds := sorted({f.kind for f in used})) > 1:
        mixed = f"{folder} holds sequences of several kinds, {', '.join(k or 'no folder' for k in kinds)}"
        raise DataError(f"{mixed}; needed: one kind, so that real and fake images are cut alike")
    return pd.DataFrame(rows, columns=["image", "label", "domain", "split", "group", "video"]), notes


def _listed_splits(folder: Path) -> dict[str, str]:
    """The split of each original's number, from the lists of the data set; empty if there are no lists."""
    split_of: dict[str, str] = {}
    files = {split: folder / LISTS / f"{name}.json" for name, split in LISTED.items()}
    present = [path for path in files.values() if path.is_file()]
    if present and len(present) < len(files):
        listed = ", ".join(LISTED)
        raise DataError(f"{folder / LISTS} holds {present[0].name} but not all of {listed}.json; needed: all")
    for split, path in files.items() if present else ():
        try:
            pairs = json.loads(path.read_text(encoding="utf-8"))
            numbers = [str(number) for one, other in pairs for number in (one, other)]
        except (OSError, RecursionError, TypeError, ValueError):
            raise DataError(f'{path} is no list of pairs; needed: such as [["071", "054"]]') from None
        if twice := [number for number in numbers if split_of.setdefault(number, split) != split]:
            raise DataError(f"{path} lists {twice[0]!r}, which another list has too; needed: each video in one")
    return split_of


def _parsed(folder: Path, path: PurePosixPath, videos: bool) -> _File:
    at = next(k for k, part in enumerate(path.parts) if part in TOPS)
    top, inside = path.parts[at], path.parts[at + 1 : -1]
    if at > 1:
        raise DataError(f"{folder / path} lies too deep; needed: {' and '.join(TOPS)} in the folder that is named")
    if len(inside) < 2 or inside[1] not in COMPRESSIONS:
        wrong = f"{folder / path} is not below {top}/<name>/<compression>"
        raise DataError(f"{wrong}; allowed compressions: {', '.join(COMPRESSIONS)}")
    video, kind = (path.stem, inside[2:]) if videos else (inside[-1], inside[2:-1])
    if not (_ORIGINAL if top == TOPS[0] else _FAKE).fullmatch(video):
        needed = "000 or 01__scene" if top == TOPS[0] else "000_003 or 01_02__scene__code"
        raise DataError(f"{folder / path} belongs to no video: {video!r} is not a name like {needed}")
    return _File(str(path), top, inside[0], inside[1], "/".join((*path.parts[:at], *kind)), video)


def _groups(files: Sequence[_File]) -> dict[str, str]:
    """The group of each video: all videos that fakes tie together, named after the first original."""
    originals_of = {}
    for video in {f.video for f in files}:
        match = _FAKE.fullmatch(video)
        originals_of[video] = [f"{number}{match[3] or ''}" for number in match.groups()[:2]] if match else [video]
    group_of = tied_together((originals[0], originals[-1]) for originals in originals_of.values())
    return {video: group_of[originals[0]] for video, originals in originals_of.items()}
