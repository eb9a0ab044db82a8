"""Lists the images below a folder, and finds those that a table names.

What is no regular file is named and never opened, and links never go round.
"""

import difflib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cldf_core.data.console import counted
from cldf_core.data.domains import DataError
from cldf_core.data.files import folded, irregular
from cldf_core.data.images import SUFFIXES

VIDEO_SUFFIXES = (".mp4", ".avi")
UNREADABLE = "a folder that cannot be read"
MOST_TIMES = 100  # that links in folders behind links lead to a folder: among n folders there are more than n! ways


class Listing(NamedTuple):
    """What lies below a folder, as paths from there, sorted, without hidden files and folders."""

    images: list[PurePosixPath]  # files with one of SUFFIXES
    videos: list[PurePosixPath]
    others: list[PurePosixPath]  # files with another suffix
    folders: list[PurePosixPath]
    left_alone: list[tuple[PurePosixPath, str]]  # what was neither opened nor entered, and what it is

    def sentences(self) -> list[str]:
        """Says what is there besides the images, and how much of it."""
        return [*ignored(self.videos, "video"), *ignored(self.others, "other file"), *self.sentences_on_left_alone()]

    def sentences_on_left_alone(self) -> list[str]:
        """Says what is no file or was not followed; an empty list if nothing is."""
        named = [f"{path} ({what})" for path, what in self.left_alone[:3]]
        more = f" and {len(self.left_alone) - 3} more" if len(self.left_alone) > 3 else ""
        return [f"Left alone: {', '.join(named)}{more}."] if named else []


def ignored(paths: Sequence[PurePosixPath], what: str) -> list[str]:
    """A sentence on files that are left out, or none if there are none."""
    were = "was" if len(paths) == 1 else "were"
    return [f"{counted(len(paths), what)} {were} ignored, the first is {paths[0]}."] if paths else []


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

    A link to a file is that file, wherever it leads. A link to a folder is followed unless that holds what is being
    listed or is listed itself. What is no file and no folder is left alone, as is a folder that cannot be read, which
    may be the folder itself, listed as ".".
    """
    found, entered = Listing([], [], [], [], []), Counter[str]()
    # Each with the real folders that links have led through to it, from the listed one on.
    waiting: list[tuple[PurePosixPath, tuple[str, ...]]] = [(PurePosixPath(), (os.path.realpath(folder),))]
    while waiting:
        place, roots = waiting.pop()
        try:
            with os.scandir(folder / place) as entries:
                visible = [entry for entry in entries if not is_hidden(entry.name)]
        except OSError as error:
            found.left_alone.append((place, f"{UNREADABLE}: {error.strerror}"))
            continue
        for entry in visible:
            path, inner = place / entry.name, roots
            is_link = entry.is_symlink() or getattr(entry, "is_junction", bool)()  # junctions from Python 3.12 on
            what = irregular(folder / path) if is_link or not (entry.is_file() or entry.is_dir()) else ""
            if is_link and not what and entry.is_dir():
                inner = (*roots, os.path.realpath(folder / path))
                entered[inner[-1]] += len(roots) > 1
                what = _useless(Path(inner[-1]), roots, entered[inner[-1]])
            if what:
                found.left_alone.append((path, what))
            elif entry.is_dir():
                found.folders.append(path)
                waiting.append((path, inner))
            else:
                suffix = path.suffix.lower()
                kinds = (found.images, SUFFIXES), (found.videos, VIDEO_SUFFIXES)
                next((paths for paths, suffixes in kinds if suffix in suffixes), found.others).append(path)
    for part in found:
        part.sort()
    return found


def is_hidden(name: str) -> bool:
    """Whether the name of a file or folder is one that systems make for themselves."""
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db")


def _useless(target: Path, roots: Sequence[str], times: int) -> str:
    """Says why a link to a folder below these roots is not followed, or "" if it is."""
    for root in roots:
        if Path(root).is_relative_to(target):
            return "a link to a folder that holds it"
        if target.is_relative_to(root) and not any(map(is_hidden, target.relative_to(root).parts)):
            return f"a link to {target.relative_to(root).as_posix()}, which is listed itself"
    return "a link among too many to one folder" if times > MOST_TIMES else ""


class ListedFiles:
    """The image files of a table's folder, found by the names that the table has for them."""

    def __init__(self, root: Path) -> None:
        self.root, self._real, self._spelled_otherwise, self._outside = root, root.resolve(), 0, 0
        self._files: dict[str, list[str]] | None = None
        self._parents = dict[Path, bool]()  # whether a folder lies inside the root, links followed

    def find(self, where: str, text: str) -> str:
        """The posix path of an image, from the table's folder.

        A DataError says that there is no such image, or that it lies elsewhere.
        """
        if min(text, default=" ") < " ":
            raise DataError(f"{where} has {text[:200]!r}; needed: a path without line ends and control characters")
        path = Path(os.path.normpath(self.root / text))
        if "\\" in text and not os.path.isfile(path):  # written on Windows
            path = Path(os.path.normpath(self.root / text.replace("\\", "/")))
        if not (bases := [folder for folder in (self.root, self._real) if path.is_relative_to(folder)]):
            raise DataError(f"{where} has {text[:200]!r}, outside {self.root}; allowed: files in the table's folder")
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{where} has {text[:200]!r}, which is no image; allowed: {', '.join(SUFFIXES)}")
        if what := irregular(path):
            if os.path.lexists(path):
                raise DataError(f"{where} has {text[:200]!r}, which is {what}; needed: an image file")
            return self._otherwise(where, text, path.relative_to(bases[0]).as_posix())
        self._outside += not self._is_inside(path)
        return path.relative_to(bases[0]).as_posix()

    def notes(self) -> list[str]:
        """Sentences on files whose names are spelled otherwise in the table, or that links lead to."""
        kinds = (
            (self._spelled_otherwise, "that differ from the files' names in case or Unicode form alone"),
            (self._outside, "that lead through links out of the table's folder"),
        )
        return [f"Paths {what}: {count}." for count, what in kinds if count]

    def _is_inside(self, path: Path) -> bool:
        if path.parent not in self._parents:
            self._parents[path.parent] = path.parent.resolve().is_relative_to(self._real)
        return path.resolve().is_relative_to(self._real) if path.is_symlink() else self._parents[path.parent]

    def _otherwise(self, where: str, text: str, path: str) -> str:
        """The one file whose name differs in case or in the form of its letters; a DataError if there is none."""
        if self._files is None:
            self._files = {}
            for image in map(str, list_images(self.root).images):
                self._files.setdefault(folded(image), []).append(image)
        if len(same := self._files.get(folded(path), [])) == 1:
            self._spelled_otherwise += 1
            return same[0]
        place = folded(path).rpartition("/")[0]
        beside = [name for name in self._files if name.rpartition("/")[0] == place]
        near = same or [self._files[name][0] for name in difflib.get_close_matches(folded(path), beside[:5000], n=1)]
        nearly = f"; there is {' and '.join(map(repr, near[:3]))}" if near else ""
        raise DataError(f"{where} has {text[:200]!r}, but there is no such file in {self.root}{nearly}")
