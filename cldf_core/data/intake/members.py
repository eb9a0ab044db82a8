"""The members of zip and tar archives, each one checked before its content is read.

zipfile and tarfile read the headers. The checks refuse what those accept and a data set never needs: names that mean
another place on another system, links, sparse and encrypted files, overlaps, bombs, and damaged headers.
"""

import bz2
import gzip
import lzma
import os
import re
import stat
import tarfile
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from cldf_core.data.files import PIECE, folded, pieces
from cldf_core.data.images import SUFFIXES

USEFUL = {*SUFFIXES, ".webp", ".bmp", ".tif", ".tiff", ".gif", ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}
USEFUL |= {".csv", ".parquet", ".json", ".yaml", ".yml", ".txt"}
MOST_BYTES, MOST_FILES = 2 << 40, 200_000  # of useful files, and of all members
MOST_RATIO, RATIO_FROM = 200, 100 << 20  # images hardly shrink, and 100 MiB of anything do no harm
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError)
_EARLIEST = 315532800  # 1980-01-01, when the clock of zip files begins
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_PAX_RECORD = re.compile(rb"(\d+) (size=\d+\n|(?!size=)[^=]+=)")
_STREAMS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
SIGNATURES = (b"PK\3\4", b"PK\5\6", *_STREAMS)
ENDING = re.compile(r"\.(zip|(tar(\.(gz|bz2|xz))?)|tgz|tbz2?|txz)$", re.IGNORECASE)  # of an archive's name


class Refusal(Exception):
    """The part of a refusal's sentence that follows the archive's name."""


class Member(NamedTuple):
    """A file or folder in an archive."""

    name: str
    parts: list[str]  # of its path, checked
    is_folder: bool
    size: int
    mtime: int
    crc: int | None  # None in a tar, which has no checksums
    data: Iterator[bytes]  # can be read only before the next member is asked for
    place: int | None = None  # where the data begin in the file; None where they are compressed


def is_useful(path: str) -> bool:
    """Whether a data set may need a file: an image, a video, a table or a text, in no hidden folder."""
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.split("/"))
    return PurePosixPath(path).suffix.lower() in USEFUL and not hidden


def checked_members(
    file: BinaryIO, most_members: int | None = None, useful: Callable[[str], bool] = is_useful
) -> Iterator[tuple[str, Member]]:
    """Checks every member of an archive and yields the files, each with its path, or with "" if it is not useful.

    There may be MOST_FILES members, or as many as is said. A Refusal says that a member is not allowed, and an error of
    DAMAGE that the archive is damaged.
    """
    packed = file.seek(0, os.SEEK_END)
    most = max(RATIO_FROM, MOST_RATIO * packed)
    files, folders = set[str](), dict[str, str]()  # with names as file systems compare them that ignore case
    unpacked = kept = 0
    members = MOST_FILES if most_members is None else most_members
    if _declared_members(file) > members:
        raise _too_many(members)
    for count, member in enumerate(_members(file, most), 1):
        if count > members:  # a tar does not say how many there are, and a zip may lie
            raise _too_many(members)
        for depth in range(len(member.parts) - (not member.is_folder), 0, -1):
            above = "/".join(member.parts[:depth])
            if folders.get(folded(above)) == above:
                break
            if folded(above) in files or folders.setdefault(folded(above), above) != above:
                raise refused(member.name, "has a folder that comes twice, as a file or in another case", "one name")
        unpacked += member.size
        if unpacked > most:
            raise refused(member.name, f"would make {unpacked:,} bytes of {packed:,}", f"{MOST_RATIO} times as many")
        if member.is_folder:
            continue
        path = "/".join(member.parts)
        if not path or (key := folded(path)) in files or key in folders:
            raise refused(member.name, "comes twice, perhaps as a folder or in another case", "each name once")
        files.add(key)
        wanted = useful(path)
        kept += member.size if wanted else 0
        if kept > MOST_BYTES:
            raise refused(member.name, f"brings the files to {kept:,} bytes", f"{MOST_BYTES:,}")
        yield path if wanted else "", member


def refused(name: str, what: str, allowed: str) -> Refusal:
    """The refusal of an archive because of one member."""
    return Refusal(f"is refused: its member {name[:100]!r} {what}; allowed: {allowed}")


def _too_many(most: int) -> Refusal:
    return Refusal(f"has more members than allowed; allowed: {most:,} (cldf data add takes more with --most-members)")


def _declared_members(file: BinaryIO) -> int:
    """How many members a zip file says it has, in the record at its end (APPNOTE, 4.3.14 and 4.3.16); else 0."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 100))
    tail = file.read()
    end, large = tail.rfind(b"PK\5\6"), tail.rfind(b"PK\6\6")
    count = int.from_bytes(tail[end + 10 : end + 12], "little") if end >= 0 else 0
    return int.from_bytes(tail[large + 32 : large + 40], "little") if count == 0xFFFF and large >= 0 else count


def checked_parts(name: str) -> list[str]:
    """Splits a path, and refuses one that does not lead to the same place inside the folder on every system."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        raise refused(name, "leads out of the folder", "relative paths without ..")
    if any(c in '\\:*?"<>|' or unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise refused(name, "has a character that some systems cannot write", 'all but \\ : * ? " < > | and control')
    if any(part.endswith((".", " ")) or _RESERVED.fullmatch(part) for part in parts):
        allowed = "all but CON, NUL and so on, and no dot or space at the end"
        raise refused(name, "has a name that Windows reserves", allowed)
    if len(name) > 1000 or len(parts) > 50 or any(len(part.encode()) > 240 for part in parts):
        raise refused(name, "has too long a path", "1000 characters, 50 folders, 240 bytes a name")
    return parts


def _sane(mtime: float) -> int:
    return int(mtime) if _EARLIEST <= mtime <= time.time() + 86400 else _EARLIEST


def _members(file: BinaryIO, most: int) -> Iterator[Member]:
    file.seek(0)
    head = file.read(6)
    file.seek(0)
    if head.startswith(SIGNATURES[:2]):
        return _zip_members(file)
    opened = next((opener(file) for magic, opener in _STREAMS.items() if head.startswith(magic)), file)
    return _tar_members(_TarStream(opened, most, is_plain=opened is file))


def _zip_members(file: BinaryIO) -> Iterator[Member]:
    with zipfile.ZipFile(file) as opened:
        infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
        bounds = [*(info.header_offset for info in infos), opened.start_dir][1:]
        for info, bound in zip(infos, bounds, strict=True):
            name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
            parts = checked_parts(name)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise refused(name, "is a link, a device or the like", "files and folders")
            if info.flag_bits & 0x2041:
                raise refused(name, "is encrypted", "members without a password")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise refused(name, f"is packed by method {info.compress_type}", "0 (stored) and 8 (deflate)")
            file.seek(info.header_offset + 26)  # the lengths of name and extra field, which zipfile does not check
            lengths = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
            if info.header_offset + 30 + lengths + info.compress_size > bound:
                raise refused(name, "overlaps with the next member", "members one after another")
            if info.file_size > max(RATIO_FROM, MOST_RATIO * info.compress_size):
                raise refused(name, f"unpacks to {info.file_size:,} bytes", f"{MOST_RATIO} times its size")
            try:
                mtime = datetime(*info.date_time, tzinfo=timezone.utc).timestamp()
            except ValueError:
                mtime = 0
            is_folder = name.endswith("/") or kind == stat.S_IFDIR
            yield Member(name, parts, is_folder, info.file_size, _sane(mtime), info.CRC, _zip_data(opened, info))


def _zip_data(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with opened.open(info) as file:
        yield from pieces(file)


class _TarStream:
    """The unpacked bytes of a tar, read forwards: `read` gives headers to tarfile, `pieces` the data between them."""

    def __init__(self, file: BinaryIO, most: int, *, is_plain: bool) -> None:
        self.headers: list[bytes] = []  # of one member: its blocks, and the contents of extended headers
        self._file, self._most, self._place, self.is_plain = file, most, 0, is_plain

    def tell(self) -> int:
        """Returns the number of bytes that were read."""
        return self._place

    def read(self, size: int) -> bytes:
        """Reads headers for tarfile, which reads nothing else."""
        if not 0 <= size <= PIECE - sum(map(len, self.headers)):  # tarfile would read it into memory
            raise Refusal(f"has a header of {size:,} bytes; allowed: {PIECE:,} for all headers of a member")
        self.headers.append(self.piece(size))
        if len(self.headers[-1]) < size and self._place >= 512:
            raise EOFError("its end is missing")
        return self.headers[-1]

    def piece(self, size: int = PIECE) -> bytes:
        """Reads bytes, fewer than `size` only at the end of the file."""
        data = self._file.read(size)
        self._place += len(data)
        if self._place > self._most:
            raise Refusal(f"unpacks to more than {MOST_RATIO} times its size; allowed: less")
        return data

    def pieces(self, end: int) -> Iterator[bytes]:
        """Reads the bytes up to a place, piece by piece."""
        while self._place < end:
            if not (piece := self.piece(min(PIECE, end - self._place))):
                raise EOFError("its end is missing")
            yield piece


def _tar_members(stream: _TarStream) -> Iterator[Member]:
    try:
        tar: Any = tarfile.TarFile(fileobj=cast(BinaryIO, stream), encoding="utf-8")
    except tarfile.ReadError:
        raise Refusal("is no whole archive of a known kind; allowed: zip, or tar: plain, gz, bz2 or xz") from None
    while info := tar.next():
        for block, content in zip(stream.headers[::2], stream.headers[1::2], strict=False):
            if block[156:157] in b"xXg":
                _check_pax_records(content.rstrip(b"\0"))
        parts = checked_parts(info.name)
        if info.issparse() or not (info.isfile() or info.isdir()):
            raise refused(info.name, "is a link, a device, a sparse file or the like", "files and folders")
        size = 0 if info.isdir() else info.size
        data = stream.pieces(info.offset_data + size)
        place = info.offset_data if stream.is_plain else None
        yield Member(info.name, parts, info.isdir(), size, _sane(info.mtime), None, data, place)
        for _ in stream.pieces(tar.offset):  # skips data that the caller did not read, and padding
            pass
        for memory in (stream.headers, tar.members, tar.pax_headers):
            memory.clear()
    if any(stream.headers[-1]):  # tarfile takes a damaged header for the end
        raise EOFError(f"bad header at byte {stream.tell() - 512}")
    while rest := stream.piece():  # to the end, where gz has its checksum
        if rest.strip(b"\0"):
            raise Refusal("has more after its end; allowed: one archive a file")


def _check_pax_records(content: bytes) -> None:
    """Refuses records that tarfile would ignore, and sizes that it would read as 0."""
    start = 0
    while start < len(content):
        record = _PAX_RECORD.match(content, start)
        end = start + int(record[1]) if record else -1
        if not record or end < record.end() or content[end - 1 : end] != b"\n":
            raise ValueError(f"no record at byte {start} of a tar's header")
        start = end
