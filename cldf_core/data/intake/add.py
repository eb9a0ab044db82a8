"""Adds data sets to the project: a folder, a table or an archive is recognised once, and its splits are drawn once.

<project>/data/<name>/dataset.yaml      what was recognised, and where the images are
<project>/data/<name>/images.csv        image, label, domain, split, group, video
<project>/data/<name>/frames/…          frames, if the data set consists of videos
<project>/data/<name>/files/…           files, if it was added as an archive

The folder of images itself is only read.
"""

import os
import shutil
from datetime import date
from pathlib import Path, PurePosixPath

import pandas as pd
from filelock import FileLock

from cldf_core.data.console import progress_bar
from cldf_core.data.domains import SPLITS, DataError
from cldf_core.data.intake.archives import Extracted, extract
from cldf_core.data.intake.splits import with_splits
from cldf_core.data.intake.videos import MOST, frames
from cldf_core.data.layouts import description
from cldf_core.data.layouts.description import IMAGES, Description
from cldf_core.data.layouts.read import registered
from cldf_core.data.layouts.recognition import VIDEOS, DetectedLayout, detect
from cldf_core.data.mini.build import EMBEDDED
from cldf_core.data.runtime import project_root

FRAMES, FILES = "frames", "files"  # the folders of the frames of videos, and of an archive's content
_TAKEN = (*EMBEDDED, "spectra")  # folders of data/ that belong to the project itself


def add(
    source: Path,
    name: str | None,
    *,
    sha256: str | None = None,
    replace: bool = False,
    seed: int = 0,
    every_seconds: float = 1.0,
) -> tuple[Path, Extracted | None]:
    """Registers a folder, a table, or an archive, which is unpacked into the project.

    An archive must have the hash `sha256`; the other arguments are those of `register`. A DataError that refuses the
    source leaves nothing behind. Returns the data set's folder, and the result of `extract` if it was an archive.
    """
    if not source.exists():
        raise DataError(f"there is no {source}; needed: a folder of images, an archive, or a CSV or parquet table")
    if source.is_dir() or source.suffix.lower() in (".csv", ".parquet"):
        if sha256:
            raise DataError(f"{source} is not an archive, but --sha256 is given; allowed: --sha256 of an archive")
        return register(source, name, replace=replace, seed=seed, every_seconds=every_seconds), None
    name = name or source.name.split(".")[0]
    folder = project_root() / "data" / name
    # An interrupted call leaves the folder with what is unpacked so far.
    if folder.exists() and not any((folder / files).exists() for files in (FILES, f".{FILES}.part")):
        raise DataError(f"there is a data set or a folder {folder}; needed: another name (--name)")
    try:
        extracted = extract(source, folder / FILES, sha256=sha256)
        register(extracted.folder, name, replace=replace, seed=seed, every_seconds=every_seconds)
    except DataError:
        if not (folder / IMAGES).exists() and not (folder / f".{FILES}.part").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder, extracted


def register(
    source: Path, name: str | None = None, *, replace: bool = False, seed: int = 0, every_seconds: float = 1.0
) -> Path:
    """Writes the description of a data set, so that options can name it, and returns its folder, <project>/data/<name>.

    The source is a folder in any layout that `detect` knows, or a table; a name of None takes the folder's. Splits of
    domains that have none are drawn by `seed`, and frames of a video are `every_seconds` apart.

    Raises:
        DataError: the name is not allowed or in use, or `detect`, `with_splits` or `frames` refuses the images.
    """
    source = Path(os.path.abspath(os.path.expanduser(source)))
    name = name if name is not None else (source.parent if source.is_file() else source).name
    folder = project_root() / "data" / name
    _check_names(source, name, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{name}.lock")):
        _check_free(folder, replace)
        found = detect(source)
        root, table, sentences = str(found.root), found.table, [found.sentence]
        if found.root.resolve().is_relative_to(folder.resolve()):  # relative, so that the folder can be moved
            root = found.root.resolve().relative_to(folder.resolve()).as_posix()
        if found.layout == VIDEOS:
            root, table = FRAMES, _with_frames(found, folder / FRAMES, every_seconds)
            count = table["image"].nunique()
            sentences.append(f"{count} frames are taken, one each {every_seconds:g} s, at most {MOST} a video.")
        drawn = bool((table["split"] == "").any())
        table = with_splits(table, seed)
        if drawn:
            sentences.append(f"Splits are drawn by whole groups, seed {seed}.")
        counts = pd.crosstab(table["domain"], table["split"]).reindex(columns=list(SPLITS), fill_value=0)
        for split in (SPLITS[0], SPLITS[2]):
            if without := counts.index[counts[split] == 0].tolist():
                sentences.append(f"No {split} images in {', '.join(without)}.")
        about = Description(name, root, found.layout, " ".join(sentences), date.today(), seed if drawn else None)
        description.write_description(folder, about, table)
    return folder


def data_sets() -> pd.DataFrame:
    """Lists the registered data sets: name, layout, images, domains and root."""
    rows = []
    for name in registered():
        folder = project_root() / "data" / name
        about, table = description.read_description(folder), description.read_images(folder)
        domains = ", ".join(sorted(set(table["domain"])))
        rows.append((name, about.layout, table["image"].nunique(), domains, about.root))
    return pd.DataFrame(rows, columns=["name", "layout", "images", "domains", "root"])


def _check_names(source: Path, name: str, folder: Path) -> None:
    signs = set(name) & set('/\\:*?"<>|')
    if not name.strip() or name != name.strip() or name.startswith(".") or signs or not name.isprintable():
        raise DataError(f"the name {name!r} is not allowed; needed: a folder's name, without / and \\ and no dot first")
    if name.lower() in _TAKEN:
        raise DataError(f"the name {name!r} is in use; allowed: any but {', '.join(_TAKEN)}")
    if description.is_described(source):
        raise DataError(f"{source} is registered already; needed: the folder of the images")
    images, target = source.resolve(), folder.resolve()
    overlap = images.is_relative_to(target) or (source.is_dir() and target.is_relative_to(images))
    if overlap and images != target / FILES:
        raise DataError(f"{folder} would be written into {source}; needed: another name, or a folder elsewhere")


def _check_free(folder: Path, replace: bool) -> None:
    if description.is_described(folder):
        if not replace:
            raise DataError(f"there is a data set {folder.name!r} in {folder}; needed: another name, or to replace it")
    elif folder.exists():
        for name in (path.name for path in folder.iterdir()):
            # An interrupted registration leaves these; everything else belongs to the user.
            if name not in (FRAMES, FILES, IMAGES) and not name.startswith("."):
                raise DataError(
                    f"{folder} exists and holds {name}, but no {description.DESCRIPTION}; needed: another name"
                )


def _with_frames(found: DetectedLayout, folder: Path, every_seconds: float) -> pd.DataFrame:
    """Writes frames of all videos below the folder and returns the table with a row for each frame."""
    written: dict[str, list[str]] = {}
    videos = sorted(set(found.table["image"]))
    with progress_bar(len(videos), "frames", unit="video") as bar:
        for video in videos:
            paths = frames(found.root / video, folder / PurePosixPath(video).with_suffix(""), every_seconds)
            written[video] = [path.relative_to(folder).as_posix() for path in paths]
            bar.update()
    return found.table.assign(image=found.table["image"].map(written)).explode("image", ignore_index=True)
