"""Adds data sets to the project: a folder, a table, an archive, shards, or what lies at an address, is recognised once,
and its splits are drawn once.

<project>/data/<name>/dataset.yaml      what was recognised, and where the images are
<project>/data/<name>/images.csv        image, label, domain, split, group, video
<project>/data/<name>/frames/…          frames, if the data set consists of videos
<project>/data/<name>/files/…           files, if it was added as an archive or as shards

The folder of images itself is only read.
"""

import contextlib
import os
import shutil
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from cldf_core.data.console import progress_bar
from cldf_core.data.domains import DataError
from cldf_core.data.files import irregular, locked
from cldf_core.data.intake import containers, download
from cldf_core.data.intake.archives import Extracted, MadeOtherwise, checked_hash, extract, is_archive, is_unpacked
from cldf_core.data.intake.members import ENDING
from cldf_core.data.intake.splits import with_splits, without_images
from cldf_core.data.intake.videos import MOST, frames
from cldf_core.data.layouts import description, reals, tables
from cldf_core.data.layouts.description import IMAGES, Description
from cldf_core.data.layouts.read import registered
from cldf_core.data.layouts.recognition import VIDEOS, DetectedLayout, detect
from cldf_core.data.mini.build import EMBEDDED
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError

FRAMES, FILES = "frames", "files"  # the folders of the frames of videos, and of an archive's content
UNPACKED = (FILES, f"{FILES}-2")  # that of one which replaces another's lies beside it, until it is in use
_ADDED = (
    "what can be added: a folder of images, an archive (zip, tar), a CSV or parquet table with path and label, parquet "
    "files or tar shards that hold images and labels, or the address of an archive or of such files"
)
_REMEDY = "A network needs both to learn from a domain: put both into one (in folders, or a table's column domain)."
_TAKEN = (*EMBEDDED, "spectra")  # folders of data/ that belong to the project itself


def add(
    source: Path | str,
    name: str | None,
    *,
    sha256: str | None = None,
    replace: bool = False,
    most_members: int | None = None,
    domain_from: str = "",
    notes: Sequence[str] = (),
    **settings: Any,
) -> tuple[Path, Extracted | None]:
    """Registers a folder or a table, or an archive or shards, which are unpacked into the project.

    A source that is a str is an address, which is downloaded first. `sha256` and `most_members` are those of `extract`
    and `containers.unpack`, the other arguments those of `register`. A DataError that refuses the source leaves nothing
    behind but a download; what was interrupted, the same call begins or goes on with. Returns the data set's folder,
    and the result of `extract` or `unpack`, if it was called.
    """
    given = {"replace": replace, "most_members": most_members, "domain_from": domain_from, **settings}
    if isinstance(source, str):
        if not (local := download.local_path(source)):
            return _add_address(source, name, sha256, given)
        source = local
    if what := irregular(source):
        missing = what == "no such file"
        raise DataError(f"there is no {source}; {_ADDED}" if missing else f"{source} is {what}; {_ADDED}")
    holds_images = bool(containers.shards(source))
    if not holds_images and (source.is_dir() or source.suffix.lower() in tables.SUFFIXES):
        if sha256:
            raise DataError(f"{source} is not an archive, but --sha256 is given; allowed: --sha256 of an archive")
        return register(source, name, replace=replace, domain_from=domain_from, notes=notes, **settings), None
    if not holds_images and not is_archive(source):
        raise DataError(f"{source} is no archive and no table; {_ADDED}")
    source = Path(os.path.abspath(source.expanduser()))
    name = name if name is not None else source.name if source.is_dir() else _without_ending(source.name)
    folder = project_root() / "data" / name
    _check_names(source, name, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{name}.adding.lock")):  # so that nobody else's files are taken for left ones
        _check_free(folder, replace)
        ours = not folder.exists() or all(path.name.startswith(f".{FILES}") for path in folder.iterdir())
        target, used = _places(folder)
        try:
            asked: dict[str, Any] = {"sha256": sha256, "most_members": most_members}
            if holds_images:
                asked |= {"name": name, "labels": settings.get("labels", ""), "domain_from": domain_from}
            unpack = partial(containers.unpack if holds_images else extract, source, **asked)
            try:
                extracted = unpack(used or target)
            except MadeOtherwise:
                if used is None:
                    raise
                extracted = unpack(target)
            if not holds_images:  # the table of what shards hold has followed it
                settings["domain_from"] = domain_from
            register(extracted.folder, name, replace=replace, notes=[*notes, *extracted.notes], **settings)
        except (UserError, KeyboardInterrupt) as stop:
            # On a full disk the next call goes on with what is there.
            kept = isinstance(stop, UserError) and target.with_name(f".{target.name}.part").exists()
            if not kept and not isinstance(stop, MadeOtherwise) and (ours or is_unpacked(target)):
                shutil.rmtree(folder if ours else target, ignore_errors=True)
            raise
        if used not in (None, extracted.folder):
            shutil.rmtree(used, ignore_errors=True)
    return folder, extracted


def _places(folder: Path) -> tuple[Path, Path | None]:
    """Where something is unpacked, and the unpacked files that a data set has until it is replaced, if any."""
    root = ""
    if description.is_described(folder):
        with contextlib.suppress(DataError):  # a damaged description is replaced, too
            root = description.read_description(folder).root
    target = folder / next(name for name in UNPACKED if name != root)
    if description.is_described(folder) and is_unpacked(target):
        shutil.rmtree(target)  # of a call that was stopped before they were in use
    return target, folder / root if root in UNPACKED else None


def _add_address(
    address: str, name: str | None, sha256: str | None, given: dict[str, Any]
) -> tuple[Path, Extracted | None]:
    """Adds what lies at an address, once the name is known to be free."""
    name = name if name is not None else _without_ending(download.file_name(address))
    shown, folder = download.shown(address), project_root() / "data" / name
    _check_names(folder / FILES, name, folder)
    _check_free(folder, given["replace"])

    def check(path: Path) -> None:
        if sha256 and path.is_dir():
            raise DataError(f"{path} is a folder, but --sha256 is given; allowed: --sha256 of a file")
        if path.is_file():
            checked_hash(path, sha256)
        if not containers.shards(path) and not (path.is_file() and is_archive(path, by_name=False)):
            raise DataError(f"{path} is no archive, and holds no images itself; {_ADDED}")

    with download.fetched(address, check) as path:
        try:
            return add(path, name, notes=[f"Downloaded from {shown}."], **given)
        except UserError as refusal:
            kept = f"the download is kept in {path.parent}"
            raise DataError(f"{str(refusal).replace(str(path), shown)}; {kept}") from None


def register(
    source: Path,
    name: str | None = None,
    *,
    replace: bool = False,
    labels: str = "",
    domain_from: str = "",
    real_images: str = "",
    seed: int = 0,
    every_seconds: float = 1.0,
    notes: Sequence[str] = (),
) -> Path:
    """Writes the description of a data set, so that options can name it, and returns its folder, <project>/data/<name>.

    The source is a folder in any layout that `detect` knows, or a table, whose `labels` and `domain_from` it also
    takes; a name of None takes the folder's. Splits of domains that have none are drawn by `seed`, and frames of a
    video are `every_seconds` apart. `real_images` is the rule of `reals.with_reals`; "" deals the real images of
    domains of these alone out to the domains of fakes only. The notes are sentences on where the images come from.

    Raises:
        DataError: the name is not allowed or in use, or `detect`, `with_splits` or `frames` refuses the images.
    """
    source = Path(os.path.abspath(os.path.expanduser(source)))
    name = name if name is not None else _name_of(source)
    folder = project_root() / "data" / name
    _check_names(source, name, folder)
    _check_free(folder, replace)
    found = detect(source, name=name if _is_unpacked_in(source, folder) else "", labels=labels, domain_from=domain_from)
    pools = reals.pools_of(found.table)
    rule = real_images or (reals.DEALT if pools else reals.OWN)
    if rule != reals.OWN and not pools:
        needed = "needed: a domain of fakes only, and one of real images only"
        raise DataError(f"--reals is {rule!r}, but {source} has no domains that could take any; {needed}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{name}.lock")):
        _check_free(folder, replace)  # meanwhile another process may have taken the name
        root, table, sentences = str(found.root), found.table, [found.sentence, *notes]
        if rule != reals.OWN:
            sentences.append(reals.in_words(table, rule, pools))
        elif (table.groupby("domain")["label"].nunique() == 1).any():
            sentences.append(_REMEDY)
        if found.root.resolve().is_relative_to(folder.resolve()):  # relative, so that the folder can be moved
            root = found.root.resolve().relative_to(folder.resolve()).as_posix()
        if found.layout == VIDEOS:
            root, table = FRAMES, _with_frames(found, folder / FRAMES, every_seconds)
            count = table["image"].nunique()
            sentences.append(f"Frames: {count}, one each {every_seconds:g} s, at most {MOST} a video.")
        drawn = bool((table["split"] == "").any())
        table = with_splits(table, seed)
        if drawn:
            sentences.append(f"Splits are drawn by whole groups, seed {seed}.")
        taken = table if rule == reals.OWN else reals.with_reals(table, rule, pools, str(source))
        sentences += without_images(taken, drawn)
        seed_drawn, today = seed if drawn else None, date.today()
        about = Description(name, root, found.layout, " ".join(sentences), today, seed_drawn, reals=rule)
        try:
            description.write_description(folder, about, table)
        except BaseException:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()
            raise
    return folder


def data_sets() -> tuple[pd.DataFrame, list[str]]:
    """Lists the registered data sets: name, layout, images, domains and root; and what is wrong with the others."""
    rows, faults = [], []
    for name in registered():
        folder = project_root() / "data" / name
        try:
            about, table = description.read_description(folder), description.read_images(folder)
        except DataError as fault:
            faults.append(f"{name}: {fault}")
            continue
        domains = ", ".join(sorted(set(table["domain"])))
        rows.append((name, about.layout, table["image"].nunique(), domains, about.root))
    return pd.DataFrame(rows, columns=["name", "layout", "images", "domains", "root"]), faults


def _name_of(source: Path) -> str:
    """What a data set is called after its folder, or after the folder of its table."""
    source = Path(os.path.abspath(source.expanduser()))
    return (source.parent if source.is_file() else source).name


def _without_ending(name: str) -> str:
    """What an archive or a parquet file is called without its suffixes."""
    return ENDING.sub("", name.removesuffix(".parquet"))


def _check_names(source: Path, name: str, folder: Path) -> None:
    signs = set(name) & set('/\\:*?"<>|')
    if not name.strip() or name != name.strip() or name.startswith(".") or signs or not name.isprintable():
        needed = "needed: a folder's name (--name), without / and \\ and no dot first"
        raise DataError(f"the name {name!r} is not allowed; {needed}")
    if name.lower() in _TAKEN:
        raise DataError(f"the name {name!r} is in use; allowed: any but {', '.join(_TAKEN)} (--name)")
    if description.is_described(source):
        raise DataError(f"{source} is registered already; needed: the folder of the images")
    images, target = source.resolve(), folder.resolve()
    overlap = images.is_relative_to(target) or (source.is_dir() and target.is_relative_to(images))
    if overlap and not _is_unpacked_in(images, target):
        raise DataError(
            f"{folder} would be written into {source}; needed: another name (--name), or a folder elsewhere"
        )


def _is_unpacked_in(source: Path, folder: Path) -> bool:
    return source.parent == folder and source.name in UNPACKED


def _check_free(folder: Path, replace: bool) -> None:
    if description.is_described(folder):
        if not replace:
            needed = "needed: another name, or to replace it (--name, --replace)"
            raise DataError(f"there is a data set {folder.name!r} in {folder}; {needed}")
    elif folder.exists():
        for name in (path.name for path in folder.iterdir()):
            # An interrupted registration leaves these; everything else belongs to the user.
            if name not in (FRAMES, *UNPACKED, IMAGES) and not name.startswith("."):
                lacking = f"{folder} exists and holds {name}, but no {description.DESCRIPTION}"
                raise DataError(f"{lacking}; needed: another name (--name)")
            if name in UNPACKED and not is_unpacked(folder / name):
                raise DataError(f"{folder / name} exists, and cldf has not unpacked it; needed: another name (--name)")


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
