"""Registers a data set: its layout is recognised once, its splits are drawn once, and both are written down.

    <project>/data/<name>/dataset.yaml      what was found, and where the images are
    <project>/data/<name>/images.csv        image, label, domain, split, group, video
    <project>/data/<name>/frames/…          of videos only
    <project>/data/<name>/files/…           of an archive only

The folder of images itself is only read.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from cldf_core.data.domains import SPLITS, DataError
from cldf_core.data.intake.splits import SHARES, with_splits
from cldf_core.data.intake.videos import frames
from cldf_core.data.layouts.description import DESCRIPTION, IMAGES, Description, is_described, write_description
from cldf_core.data.layouts.detect import VIDEOS, Found, detect
from cldf_core.data.mini.build import EMBEDDED
from cldf_core.data.runtime import project_root

FRAMES, FILES = "frames", "files"  # of videos, and of an archive
_TAKEN = (*EMBEDDED, "spectra")  # folders of data/ that are not a person's own


def register(
    source: Path,
    name: str | None = None,
    *,
    replace: bool = False,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
    every_seconds: float = 1.0,
    most: int = 32,
) -> Path:
    """Writes down a data set, so that options can name it.

    Args:
        source: a folder in any layout that `detect` knows, or a table.
        name: of the data set; None takes the folder's.
        replace: a data set of this name, if there is one.
        seed, shares: of the splits of domains that have none, as of `with_splits`.
        every_seconds, most: of the frames of videos, as of `videos.frames`.

    Returns:
        The data set's folder, <project>/data/<name>.

    Raises:
        DataError: the name is not allowed or in use, or what `detect`, `with_splits` and `frames` say.
    """
    source = Path(os.path.abspath(Path(source).expanduser()))
    if name is None:
        name = source.parent.name if source.is_file() else source.name
    folder = project_root() / "data" / name
    _check_name(name, folder)
    _check_place(source, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{name}.lock")):
        _check_free(folder, replace)
        found = detect(source)
        root, table, said = str(found.root), found.table, [found.sentence]
        if found.root.resolve().is_relative_to(folder.resolve()):  # may move as a whole
            root = found.root.resolve().relative_to(folder.resolve()).as_posix()
        if found.layout == VIDEOS:
            root, table = FRAMES, _frames(found, folder / FRAMES, every_seconds, most)
            count = table["image"].nunique()
            said.append(f"{count} frames are taken, one each {every_seconds:g} s, at most {most} a video.")
        drawn = bool((table["split"] == "").any())
        table = with_splits(table, seed, shares)
        sentence = " ".join([*said, *_said(table, drawn, seed)])
        today = datetime.date.today()
        described = Description(name, root, found.layout, sentence, today, seed if drawn else None)
        write_description(folder, described, table)
    return folder


def _check_name(name: str, folder: Path) -> None:
    signs = set(name) & set('/\\:*?"<>|')
    if not name.strip() or name != name.strip() or name.startswith(".") or signs or not name.isprintable():
        raise DataError(f"the name {name!r} is not allowed; needed: a folder's name, without / and \\ and no dot first")
    if name.lower() in _TAKEN:
        raise DataError(f"the name {name!r} is in use; allowed: any but {', '.join(_TAKEN)}")


def _check_place(source: Path, folder: Path) -> None:
    if is_described(source):
        raise DataError(f"{source} is registered already; needed: the folder of the images")
    real, target = source.resolve(), folder.resolve()
    if real == target / FILES:
        return
    if real.is_relative_to(target) or (source.is_dir() and target.is_relative_to(real)):
        raise DataError(f"{folder} would be written into {source}; needed: another name, or a folder elsewhere")


def _check_free(folder: Path, replace: bool) -> None:
    if is_described(folder):
        if not replace:
            raise DataError(f"there is a data set {folder.name!r} in {folder}; needed: another name, or to replace it")
    elif folder.exists():
        # An interrupted registration leaves these; all else is somebody's own.
        own = (FRAMES, FILES, IMAGES)
        foreign = [p.name for p in folder.iterdir() if p.name not in own and not p.name.startswith(".")]
        if foreign:
            raise DataError(f"{folder} exists and holds {foreign[0]}, but no {DESCRIPTION}; needed: another name")


def _frames(found: Found, folder: Path, every_seconds: float, most: int) -> pd.DataFrame:
    """The table of a data set of videos, a row for each frame, which is written below the folder."""
    written: dict[str, list[str]] = {}
    for video in tqdm(sorted(set(found.table["image"])), "frames", disable=None):
        place = folder / PurePosixPath(video).with_suffix("")
        paths = frames(found.root / video, place, every_seconds, most)
        written[video] = [path.relative_to(folder).as_posix() for path in paths]
    table = found.table.assign(image=found.table["image"].map(written))
    return table.explode("image", ignore_index=True)


def _said(table: pd.DataFrame, drawn: bool, seed: int) -> list[str]:
    """What the sentence says of the splits."""
    said = [f"Splits are drawn by whole groups, seed {seed}."] if drawn else []
    counts = pd.crosstab(table["domain"], table["split"]).reindex(columns=list(SPLITS), fill_value=0)
    for split in (SPLITS[0], SPLITS[2]):
        without = counts.index[counts[split] == 0].tolist()
        if without:
            said.append(f"No {split} images in {', '.join(without)}.")
    return said
