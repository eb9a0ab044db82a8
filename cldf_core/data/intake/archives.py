"""Unpacks archives of data sets safely: all members are checked before a file is written."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cldf_core.data.domains import DataError
from cldf_core.data.files import file_checksum, file_hash, locked
from cldf_core.data.intake.members import (
    DAMAGE,
    ENDING,
    SIGNATURES,
    USEFUL,
    Member,
    Refusal,
    checked_members,
    is_useful,
    refused,
)

MARKER = ".archive.json"  # a file in the folder that tells which archive it was unpacked from
SPARE = 1 << 30  # bytes of the disk that stay free
Members = Callable[[BinaryIO], Iterator[tuple[str, Member]]]  # the checked members of an archive


class Extracted(NamedTuple):
    """The folder of an unpacked archive, the number of files in it, and the members that were left out."""

    folder: Path
    files: int
    left_out: int
    first_left_out: tuple[str, ...]  # three names at most
    notes: tuple[str, ...] = ()  # sentences that belong into the description of the data set


def is_archive(path: Path, *, by_name: bool = True) -> bool:
    """Whether a file has the first bytes of an archive, or, by its name, one that ends like that of one."""
    with path.open("rb") as file:
        head = file.read(262)
    return head.startswith(SIGNATURES) or head[257:] == b"ustar" or (by_name and bool(ENDING.search(path.name)))


def extract(
    archive: Path,
    folder: Path,
    *,
    sha256: str | None = None,
    most_members: int | None = None,
    useful: Callable[[str], bool] = is_useful,
) -> Extracted:
    """Unpacks the images, videos, tables and texts of an archive, or what else is useful, into a new folder.

    All members are checked before the first is written. The files are collected in `.<name>.part` beside the folder,
    which is renamed at the end; if the call is killed or the disk is full, the next call continues it. A refused
    archive leaves nothing. At least 1 GiB of the disk stays free.

    Args:
        archive: zip, or tar: plain, gz, bz2 or xz. The content decides which it is, not the name.
        folder: the folder to make; if it was made from the same archive, it stays as it is.
        sha256: that the archive must have, in hexadecimal.
        most_members: files and folders that it may have; None takes MOST_FILES.
        useful: says of a path in the archive whether that file is unpacked.

    Raises:
        DataError: the archive is refused, the folder exists already, or the disk is too small.
    """
    archive, folder = Path(archive), Path(folder).resolve()
    if not archive.is_file():
        raise DataError(f"there is no file {archive}; needed: a zip or tar archive")
    with archive.open("rb") as file:
        source = {"name": archive.name, "size": archive.stat().st_size, "sha256": checked_hash(archive, sha256)}
        with refusals_told(archive, folder):
            if not folder.exists():
                members = partial(checked_members, most_members=most_members, useful=useful)
                _check_and_unpack(file, folder, source, members)
    marker = made_from(folder, source)
    return Extracted(folder, marker["files"], marker["left_out"], tuple(marker["first_left_out"]))


def checked_hash(file: Path, sha256: str | None) -> str:
    """The SHA-256 of a file; a DataError says that it is not the one that it must be."""
    digest = file_hash(file)
    if sha256 is not None and digest != sha256.strip().lower():
        raise DataError(f"{file} has the sha256 {digest}; needed: {sha256}")
    return digest


@contextmanager
def refusals_told(source: Path, folder: Path) -> Iterator[None]:
    """Turns what is raised while a source is unpacked into a folder into DataErrors, but for failures of the disk."""
    try:
        yield
    except DataError:
        raise
    except Refusal as refusal:
        raise DataError(f"{source} {refusal}") from None
    except (*DAMAGE, OSError) as problem:
        if (code := getattr(problem, "errno", None)) in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"{folder} cannot be made: {problem}; needed: room, and a second call") from None
        if code not in (None, errno.EINVAL):  # the disk failed; bad bytes give no code or EINVAL
            raise
        raise DataError(f"{source} is damaged or cut short ({problem}); needed: a whole file") from None


class MadeOtherwise(DataError):
    """A folder is there that was not unpacked from the source."""


def made_from(folder: Path, source: dict[str, Any]) -> dict[str, Any]:
    """The marker of a folder that was unpacked from a source; a DataError says that it was not."""
    marker = _marker(folder)
    if not source.items() <= marker.items():
        raise MadeOtherwise(
            f"{folder} exists already, and was not made from this archive; needed: another name (--name)"
        )
    return marker


def is_unpacked(folder: Path) -> bool:
    """Whether a folder was unpacked from an archive or shards, here or in another call."""
    return (folder / MARKER).is_file()


def _check_and_unpack(file: BinaryIO, folder: Path, source: dict[str, Any], members: Members) -> None:
    files, size, left_out = 0, 0, list[str]()
    for path, member in members(file):
        files, size = files + bool(path), size + (member.size if path else 0)
        left_out += [] if path else [member.name]
    if not files:
        raise Refusal(f"holds no useful file; looked for: {', '.join(sorted(USEFUL))}")
    marker = {**source, "files": files, "bytes": size, "left_out": len(left_out), "first_left_out": left_out[:3]}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        if not folder.exists():
            _unpack(file, folder, marker, members)


def _marker(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / MARKER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # no file, or half of one
        return {}


def _unpack(file: BinaryIO, folder: Path, marker: dict[str, Any], members: Members) -> None:
    with filled(folder, marker) as part:
        for path, member in members(file):  # again: the file may have changed
            if path and not _is_whole(part / path, member):
                _write(part / path, member)


@contextmanager
def filled(folder: Path, marker: dict[str, Any]) -> Iterator[Path]:
    """Yields `.<name>.part` beside a new folder, which it becomes at the end; what was begun of the same is in it.

    The marker names the source, and the bytes that will be written.
    """
    part = folder.with_name(f".{folder.name}.part")
    if part.exists() and _marker(part) != marker:
        shutil.rmtree(part)
    needed = marker["bytes"] - sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
    check_room(part.parent, needed)
    part.mkdir(exist_ok=True)
    (part / MARKER).write_text(json.dumps(marker), encoding="utf-8")
    try:
        yield part
    except (Refusal, *DAMAGE):
        shutil.rmtree(part)
        raise
    for made in (part, *part.rglob("*")):
        made.chmod(0o755 if made.is_dir() else 0o644)
    part.rename(folder)


def check_room(folder: Path, needed: int) -> None:
    """Raises an OSError, ENOSPC, where so many bytes do not fit on a folder's disk with 1 GiB to spare."""
    free = shutil.disk_usage(folder).free - SPARE
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes do not fit into {max(0, free):,}, with 1 GiB to spare")


def _is_whole(path: Path, member: Member) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != member.size:
        return False
    if member.crc is None:
        return int(path.stat().st_mtime) == member.mtime  # it is set after the last byte
    return file_checksum(path) == member.crc


def _write(path: Path, member: Member) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    size = 0
    with path.open("xb") as out:
        for piece in member.data:  # zipfile compares the checksum at the end
            size += len(piece)
            if size > member.size:
                break
            out.write(piece)
    if size != member.size:
        raise refused(member.name, f"does not have the declared size of {member.size:,} bytes", "a whole archive")
    os.utime(path, (member.mtime, member.mtime))
