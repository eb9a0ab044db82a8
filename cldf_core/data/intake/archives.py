"""Archives of data sets, unpacked safely: all members are checked before a file is written."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from cldf_core.data.domains import DataError
from cldf_core.data.images import SUFFIXES

MARKER = ".archive.json"  # inside the folder: which archive it came from
USEFUL = {*SUFFIXES, ".webp", ".bmp", ".tif", ".tiff", ".gif", ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}
USEFUL |= {".csv", ".parquet", ".json", ".yaml", ".yml", ".txt"}
MOST_RATIO, RATIO_FROM = 200, 100 << 20  # pictures hardly shrink, and 100 MiB of anything do no harm
SPARE = 1 << 30  # bytes of the disk that stay free
PIECE = 1 << 20  # bytes in memory at once
_EARLIEST = 315532800  # 1980-01-01, where a zip's clock begins
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, struct.error, NotImplementedError)
_STREAMS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


@dataclass(frozen=True)
class Extracted:
    """What came out of an archive: the folder, files written, members left out and the first three of them."""

    folder: Path
    files: int
    left_out: int
    first_left_out: tuple[str, ...]


class _Refusal(Exception):
    """What is wrong with an archive, to be said after its name."""


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    size: int
    mtime: int
    crc: int | None  # a tar has none
    data: Iterator[bytes]  # to be read before the next member is asked for, or never


def extract(
    archive: Path, folder: Path, *, sha256: str | None = None, most_bytes: int = 2 << 40, most_files: int = 2_000_000
) -> Extracted:
    """Unpacks the images, videos, tables and texts of an archive into a new folder.

    They are collected in `.<its name>.part` beside it, which becomes the folder in the end. A call that was killed
    or met a full disk leaves that, and the next one goes on; of a refused archive nothing stays. Where the folder
    came from the same archive, nothing is done again.

    Args:
        archive: zip, or tar: plain, gz, bz2 or xz. The content tells which, not the name.
        folder: to make.
        sha256: what the archive's must be, in hexadecimal.
        most_bytes: of all files; 200 times the archive's size, or 100 MiB, and the disk but 1 GiB are limits, too.
        most_files: members that the archive may have, with folders and with what is left out.

    Raises:
        DataError: the archive is refused, the folder is there already, or the disk is too small.
    """
    archive, folder = Path(archive), Path(folder).resolve()
    if not archive.is_file():
        raise DataError(f"there is no file {archive}; needed: a zip or tar archive")
    with archive.open("rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(PIECE):
            digest.update(piece)
        source = {"name": archive.name, "size": file.tell(), "sha256": digest.hexdigest()}
        if sha256 is not None and source["sha256"] != sha256.strip().lower():
            raise DataError(f"{archive} has the sha256 {source['sha256']}; needed: {sha256}")
        if folder.exists():
            return _there_already(folder, source)
        try:
            files, size, left_out = 0, 0, list[str]()
            for path, member in _checked(file, most_bytes, most_files):
                files, size = files + bool(path), size + (member.size if path else 0)
                left_out += [] if path else [member.name]
            if not files:
                raise _Refusal(f"holds nothing of use; looked for: {', '.join(sorted(USEFUL))}")
            marker = {**source, "files": files, "bytes": size}
            marker |= {"left_out": len(left_out), "first_left_out": left_out[:3]}
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_name(f".{folder.name}.lock")):  # left there: someone may wait for it
                if not folder.exists():
                    _unpack(file, folder, marker, most_bytes, most_files)
        except _Refusal as refusal:
            raise DataError(f"{archive} {refusal}") from None
        except (*_DAMAGE, OSError) as problem:
            if (code := getattr(problem, "errno", None)) in (errno.ENOSPC, errno.EDQUOT):
                raise DataError(f"{folder} cannot be made: {problem}; needed: room, and a second call") from None
            if code not in (None, errno.EINVAL):  # a disk that fails, and not a bad stream or a bad place in it
                raise
            raise DataError(f"{archive} is damaged or cut short ({problem}); needed: a whole archive") from None
    return _there_already(folder, source)


def _there_already(folder: Path, source: dict[str, Any]) -> Extracted:
    marker = _marker(folder)
    if not source.items() <= marker.items():
        raise DataError(f"{folder} is there already, and not from this archive; needed: a new folder")
    return Extracted(folder, marker["files"], marker["left_out"], tuple(marker["first_left_out"]))


def _marker(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / MARKER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none, or half of one
        return {}


def _unpack(file: BinaryIO, folder: Path, marker: dict[str, Any], most_bytes: int, most_files: int) -> None:
    part = folder.with_name(f".{folder.name}.part")
    if part.exists() and _marker(part) != marker:  # it came from another archive
        shutil.rmtree(part)
    needed = marker["bytes"] - sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
    free = shutil.disk_usage(part.parent).free - SPARE
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes do not fit into {max(0, free):,}, with 1 GiB to spare")
    part.mkdir(exist_ok=True)
    (part / MARKER).write_text(json.dumps(marker), encoding="utf-8")
    try:
        for path, member in _checked(file, most_bytes, most_files):  # once more: the archive may have changed
            if path and not _is_whole(part / path, member):
                _write(part / path, member)
    except (_Refusal, *_DAMAGE):
        shutil.rmtree(part)
        raise
    for made in (part, *part.rglob("*")):
        made.chmod(0o755 if made.is_dir() else 0o644)
    part.rename(folder)


def _is_whole(path: Path, member: _Member) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != member.size:
        return False
    if member.crc is None:
        return int(path.stat().st_mtime) == member.mtime  # which is set after the last byte
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            crc = zlib.crc32(piece, crc)
    return crc == member.crc


def _write(path: Path, member: _Member) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    size = 0
    with path.open("xb") as out:
        for piece in member.data:  # which checks a zip's checksums
            size += len(piece)
            if size > member.size:
                break
            out.write(piece)
    if size != member.size:
        raise _refused(member.name, f"has not the size declared, {member.size:,} bytes", "a whole archive")
    os.utime(path, (member.mtime, member.mtime))


def _checked(file: BinaryIO, most_bytes: int, most_files: int) -> Iterator[tuple[str, _Member]]:
    """The archive's files, each with its path, or "" where it is left out; every member is checked."""
    packed = file.seek(0, os.SEEK_END)
    most = max(RATIO_FROM, MOST_RATIO * packed)
    files, folders = set[str](), dict[str, str]()  # names as a file system has them that ignores case
    unpacked = kept = 0
    for count, member in enumerate(_members(file, most), 1):
        if count > most_files:
            raise _Refusal(f"has more members than allowed; allowed: {most_files:,}")
        parts = _parts(member.name)
        for depth in range(len(parts) - (not member.is_folder), 0, -1):
            above = "/".join(parts[:depth])
            if folders.get(_folded(above)) == above:
                break
            if _folded(above) in files or folders.setdefault(_folded(above), above) != above:
                raise _refused(member.name, "has a folder that comes twice, as a file or in other case", "one name")
        unpacked += member.size
        if unpacked > most:
            raise _refused(member.name, f"brings {packed:,} bytes to {unpacked:,}", f"{MOST_RATIO} times as many")
        if member.is_folder:
            continue
        path = "/".join(parts)
        if not parts or (key := _folded(path)) in files or key in folders:
            raise _refused(member.name, "comes twice, perhaps as a folder or in other case", "each name once")
        files.add(key)
        useful = Path(path).suffix.lower() in USEFUL and not any(p.startswith((".", "__MACOSX")) for p in parts)
        kept += member.size if useful else 0
        if kept > most_bytes:
            raise _refused(member.name, f"brings it to {kept:,} bytes", f"{most_bytes:,}")
        yield path if useful else "", member


def _refused(name: str, what: str, allowed: str) -> _Refusal:
    return _Refusal(f"is refused: its member {name[:100]!r} {what}; allowed: {allowed}")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _parts(name: str) -> list[str]:
    """The parts of a path, which must mean the same place inside the folder on every system."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        raise _refused(name, "leads out of the folder", "relative paths without ..")
    if any(c in '\\:*?"<>|' or unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise _refused(name, "has a character that some systems cannot write", 'all but \\ : * ? " < > | and control')
    if any(part.endswith((".", " ")) or _RESERVED.fullmatch(part) for part in parts):
        raise _refused(name, "has a name that Windows reserves", "all but CON, NUL and so on, or . or space at the end")
    if len(name) > 1000 or len(parts) > 50 or any(len(part.encode()) > 240 for part in parts):
        raise _refused(name, "has too long a path", "1000 characters, 50 folders, 240 bytes a name")
    return parts


def _sane(mtime: float) -> int:
    return int(mtime) if _EARLIEST <= mtime <= time.time() + 86400 else _EARLIEST


def _members(file: BinaryIO, most: int) -> Iterator[_Member]:
    file.seek(0)
    head = file.read(6)
    file.seek(0)
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return _zip_members(file)
    opener = next((opener for magic, opener in _STREAMS.items() if head.startswith(magic)), None)
    return _tar_members(_Stream(opener(file) if opener else file, most))


def _zip_members(file: BinaryIO) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as opened:
        infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
        bounds = [*(info.header_offset for info in infos), opened.start_dir][1:]
        for info, bound in zip(infos, bounds, strict=True):
            name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(name, "is a link, a device or the like", "files and folders")
            if info.flag_bits & 0x2041:
                raise _refused(name, "is encrypted", "members without a password")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _refused(name, f"is packed by method {info.compress_type}", "0 (stored) and 8 (deflate)")
            file.seek(info.header_offset + 26)
            start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
            if start + info.compress_size > bound:
                raise _refused(name, "overlaps with what comes after it", "members one after another")
            if info.file_size > max(RATIO_FROM, MOST_RATIO * info.compress_size):
                raise _refused(name, f"unpacks to {info.file_size:,} bytes", f"{MOST_RATIO} times its size")
            try:
                mtime = datetime(*info.date_time, tzinfo=timezone.utc).timestamp()
            except ValueError:
                mtime = 0
            is_folder = name.endswith("/") or kind == stat.S_IFDIR
            yield _Member(name, is_folder, info.file_size, _sane(mtime), info.CRC, _zip_data(opened, info))


def _zip_data(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with opened.open(info) as file:
        while piece := file.read(PIECE):
            yield piece


class _Stream:
    """A tar's bytes, read forwards only, so many at most."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self.place, self._file, self._most = 0, file, most

    def read(self, size: int, *, whole: bool = True) -> bytes:
        """The next bytes, all of them unless they need not be whole."""
        if not 0 <= size <= PIECE:
            raise _Refusal(f"has a header of {size:,} bytes; allowed: {PIECE:,}")
        data = self._file.read(size)
        self.place += len(data)
        if self.place > self._most:
            raise _Refusal(f"unpacks to more than {MOST_RATIO} times its size; allowed: less")
        if whole and len(data) < size:
            raise EOFError("its end is missing")
        return data

    def read_to(self, place: int) -> Iterator[bytes]:
        """The bytes before this place, piece by piece."""
        while self.place < place:
            yield self.read(min(PIECE, place - self.place))


def _tar_members(stream: _Stream) -> Iterator[_Member]:
    more: dict[str, str] = {}  # what headers before a member's own say of it
    while any(block := stream.read(512, whole=stream.place > 0)):
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as problem:
            if stream.place > 512:
                raise EOFError(f"{problem} at byte {stream.place - 512}") from None
            raise _Refusal("is no whole archive of a known kind; allowed: zip, or tar: plain, gz, bz2 or xz") from None
        start, size = stream.place, info.size
        if info.type in (b"x", b"X"):
            more |= _pax_records(stream.read(size))
        elif info.type == b"L":
            more["path"] = stream.read(size).rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif info.type not in b"gK":  # what a header says of all, or of a link, is passed over
            name = more.get("path", info.name)
            if info.type not in b"0\x0057" or any(key.startswith("GNU.sparse") for key in more):
                raise _refused(name, "is a link, a device, a sparse file or the like", "files and folders")
            size = 0 if info.isdir() else int(more.get("size", size))
            if size < 0:
                raise ValueError(f"{name[:100]!r} has {size} bytes")
            mtime = _sane(float(more.get("mtime", info.mtime)))
            yield _Member(name, info.isdir(), size, mtime, None, stream.read_to(start + size))
            more = {}
        for _ in stream.read_to(start + -(-size // 512) * 512):  # what nobody asked for, and padding
            pass
    while rest := stream.read(PIECE, whole=False):  # to the end, where a gz has its checksum
        if rest.strip(b"\0"):
            raise _Refusal("has more after its end; allowed: one archive a file")


def _pax_records(content: bytes) -> dict[str, str]:
    records, at = {}, 0
    while at < len(content):
        length = int(content[at : content.index(b" ", at, at + 20)])
        key, equals, value = content[at : at + length].partition(b" ")[2].partition(b"=")
        if not 5 <= length <= len(content) - at or not equals or not value.endswith(b"\n"):
            raise ValueError(f"no record at byte {at} of a tar's header")
        records[key.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
        at += length
    return records
