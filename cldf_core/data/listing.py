"""Lists the images below a folder; what is no regular file, or is there twice, is named and never opened."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cldf_core.data.files import irregular
from cldf_core.data.images import SUFFIXES

VIDEO_SUFFIXES = (".mp4", ".avi")
UNREADABLE = "a folder that cannot be read"


class Listing(NamedTuple):
    """What lies below a folder, as paths from there, sorted, without hidden files and folders."""

    images: list[PurePosixPath]  # regular files with one of SUFFIXES, each real file once
    videos: list[PurePosixPath]
    others: list[PurePosixPath]  # regular files with another suffix
    folders: list[PurePosixPath]
    left_alone: list[tuple[PurePosixPath, str]]  # what was neither opened nor entered, and what it is

    def sentences(self) -> list[str]:
        """Says what is there besides the images, and how much of it."""
        return [*ignored(self.videos, "video"), *ignored(self.others, "other file"), *self.sentences_on_left_alone()]

    def sentences_on_left_alone(self) -> list[str]:
        """Says what is no regular file or leads elsewhere; an empty list if nothing is."""
        named = [f"{path} ({what})" for path, what in self.left_alone[:3]]
        more = f" and {len(self.left_alone) - 3} more" if len(self.left_alone) > 3 else ""
        return [f"Left alone: {', '.join(named)}{more}."] if named else []


def ignored(paths: Sequence[PurePosixPath], what: str) -> list[str]:
    """A sentence on files that are left out, or none if there are none."""
    count = f"1 {what} was" if len(paths) == 1 else f"{len(paths)} {what}s were"
    return [f"{count} ignored, the first is {paths[0]}."] if paths else []


def split_pattern(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Splits a path into its beginning that exists, which is taken as it is, and the parts of a pattern after that.

    So a file is found whose name is also a pattern, such as scores[1].csv.
    """
    for count in range(len(path.parts), 0, -1):
        if os.path.lexists(base := Path(*path.parts[:count])):
            return base, path.parts[count:]
    return Path(), path.parts


def list_images(folder: Path) -> Listing:
    """Lists the images below a folder, and all that is not one of them.

    A link is followed where it leads to something below the folder that is not listed by itself. One that leads out
    of the folder, to a folder that holds it, in a circle or to nothing is left alone, as is a folder that cannot be
    read, which may be the folder itself, listed as ".".
    """
    root, found, seen = os.path.realpath(folder), Listing([], [], [], [], []), set[str]()
    links = _walk(folder, PurePosixPath(), root, found, seen)
    while links:
        inner = []
        for link in sorted(links):
            real = os.path.realpath(folder / link)
            if what := irregular(folder / link) or _useless(folder / link, real, root, seen):
                found.left_alone.append((link, what))
            elif os.path.isdir(real):
                found.folders.append(link)
                inner += _walk(folder, link, real, found, seen)
            else:
                _add_file(link, real, found, seen)
        links = inner
    for part in found:
        part.sort()
    return found


def is_hidden(name: str) -> bool:
    """Whether the name of a file or folder is one that systems make for themselves."""
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db")


def _useless(link: Path, real: str, root: str, seen: set[str]) -> str:
    """Says why a link is not followed that leads somewhere."""
    if Path(os.path.realpath(link.parent)).is_relative_to(real):
        return "a link to a folder that holds it"
    if not Path(real).is_relative_to(root):
        return "a link that leads out of the folder"
    return f"a link to {Path(real).relative_to(root).as_posix()}, which is listed itself" if real in seen else ""


def _walk(folder: Path, start: PurePosixPath, real: str, found: Listing, seen: set[str]) -> list[PurePosixPath]:
    """Adds all below a start in the folder to the listing but links, which are returned."""
    links, waiting = [], [(start, real)]
    while waiting:
        place, real = waiting.pop()
        seen.add(real)
        try:
            with os.scandir(folder / place) as entries:
                visible = [entry for entry in entries if not is_hidden(entry.name)]
        except OSError as error:
            found.left_alone.append((place, f"{UNREADABLE}: {error.strerror}"))
            continue
        for entry in visible:
            path, inner = place / entry.name, os.path.join(real, entry.name)
            if entry.is_symlink() or getattr(entry, "is_junction", bool)():  # junctions from Python 3.12 on
                links.append(path)
            elif entry.is_file():
                _add_file(path, inner, found, seen)
            elif not entry.is_dir():
                found.left_alone.append((path, irregular(folder / path)))
            elif inner not in seen:
                found.folders.append(path)
                waiting.append((path, inner))
    return links


def _add_file(path: PurePosixPath, real: str, found: Listing, seen: set[str]) -> None:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        (found.videos if suffix in VIDEO_SUFFIXES else found.others).append(path)
    elif real not in seen:
        seen.add(real)
        found.images.append(path)
