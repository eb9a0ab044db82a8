"""Archives: what is fine comes out whole, what is not is refused before anything is written."""

import bz2
import gzip
import hashlib
import io
import itertools
import json
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import time
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cldf_core.data.domains import DataError
from cldf_core.data.intake import archives, members
from cldf_core.data.intake.archives import MARKER, Extracted, extract
from cldf_core.data.layouts.read import domain_names
from samples import sentence_of, texture

TIME = 1_600_000_000  # even: a zip counts in steps of two seconds
Files = dict[Any, bytes]  # by name, or by a member's info


def images(count: int = 40) -> Files:
    """PNG files in the original's layout."""
    rng, files = np.random.default_rng(0), {}
    for k in range(count):
        file = io.BytesIO()
        Image.fromarray(texture(rng, k % 2 * 3)).save(file, "PNG")
        files[f"{('real', 'fake')[k % 2]}/faces/{('trainA', 'testA')[k % 4 // 2]}/{k:02d}.png"] = file.getvalue()
    return files


def changed(info: Any, **changes: object) -> Any:
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def zip_info(name: str, **changes: object) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x", time.gmtime(TIME)[:6])
    changed(info, filename=name, compress_type=zipfile.ZIP_DEFLATED, external_attr=0o100755 << 16)
    return changed(info, **changes)


def tar_info(name: str, size: int = 0, **changes: object) -> tarfile.TarInfo:
    return changed(tarfile.TarInfo(name), **{"size": size, "mtime": TIME, "mode": 0o755, **changes})


def write_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, content in files.items():
            out.writestr(zip_info(name) if isinstance(name, str) else name, content)
    return path


def write_tar(path: Path, files: Files, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, mode, format=form) as out:
        for name, content in files.items():
            # As a pax record a name may hold what a header's 100 bytes cannot, such as a NUL.
            records = {"path": name} if form == tarfile.PAX_FORMAT else {}
            info = tar_info(name, pax_headers=records) if isinstance(name, str) else name
            out.addfile(changed(info, size=len(content)), io.BytesIO(content))
    return path


WRITERS: dict[str, Callable[[Path, Files], Path]] = {
    "zip": write_zip,
    "tar": write_tar,
    "tar-gnu": partial(write_tar, form=tarfile.GNU_FORMAT),
    "tar-ustar": partial(write_tar, form=tarfile.USTAR_FORMAT),
    **{f"tar.{kind}": partial(write_tar, mode=f"w:{kind}") for kind in ("gz", "bz2", "xz")},
}
both = pytest.mark.parametrize("write", [write_zip, write_tar], ids=["zip", "tar"])


def tree(folder: Path) -> Files:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MARKER)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def listing(folder: Path) -> list[str]:
    """All that is there but lock files, which stay because another process may wait for one."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix != ".lock")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with something in it, which no refusal may touch."""
    folder = tmp_path / "data"
    (folder / "other").mkdir(parents=True)
    (folder / "other" / "x.png").write_bytes(b"other")
    return folder


def refused(archive: Path | bytes, data: Path, match: str, *, sha256: str | None = None) -> str:
    """The one sentence of a refusal that leaves the data folder as it was; bytes are written as an archive first."""
    if isinstance(archive, bytes):
        (data.parent / "from-bytes").write_bytes(archive)
        archive = data.parent / "from-bytes"
    before = listing(data.parent)
    sentence = sentence_of(lambda: extract(archive, data / "set", sha256=sha256), archive.name)
    assert re.search(match, sentence), sentence
    assert listing(data.parent) == before
    return sentence


# --- what is fine ---


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_tree_with_modes_and_times(data, tmp_path, kind):
    files = images()
    archive = WRITERS[kind](tmp_path / "named.as-it-likes", files)
    assert extract(archive, data / "set") == Extracted(data / "set", 40, 0, ())
    assert tree(data / "set") == files
    assert domain_names(data / "set") == ["faces"]
    assert listing(data)[:2] == ["other", "other/x.png"]
    assert not (data / ".set.part").exists()
    for path in (data / "set", *(data / "set").rglob("*")):
        if os.name == "posix":
            assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)
        if path.suffix == ".png":
            assert path.stat().st_mtime == TIME


@pytest.mark.parametrize("mtime", [-5, 0, float("nan"), float("inf"), 1e18, 1e10, "zip without a date"])
def test_a_time_that_cannot_be_becomes_1980(data, tmp_path, mtime):
    if isinstance(mtime, str):
        archive = write_zip(tmp_path / "a", {zip_info("a.png", date_time=(1980, 0, 0, 0, 0, 0)): b"x"})
    else:
        archive = write_tar(tmp_path / "a", {tar_info("a.png", mtime=1, pax_headers={"mtime": str(mtime)}): b"x"})
    extract(archive, data / "set")
    assert time.gmtime((data / "set/a.png").stat().st_mtime)[:3] == (1980, 1, 1)


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_of_no_use_is_left_out_and_counted(data, tmp_path, kind):
    wanted = ["a.JPG", "b.jpeg", "d/c.png", "v.mp4", "t.csv", "t.parquet", "t.json", "t.yaml", "t.yml", "readme.txt"]
    unwanted = ["run.exe", "x.py", ".hidden.png", "d/.git/a.png", "__MACOSX/a.png", "none", "png", "inner.zip"]
    archive = WRITERS[kind](tmp_path / "a", dict.fromkeys([*unwanted, *wanted], b"x"))
    got = extract(archive, data / "set")
    assert got == Extracted(data / "set", len(wanted), len(unwanted), ("run.exe", "x.py", ".hidden.png"))
    assert set(tree(data / "set")) == set(wanted)


@pytest.mark.parametrize("kind", WRITERS)
def test_long_and_foreign_names(data, tmp_path, kind):
    files = {f"./{'Gesichter/' * 12}{'n' * 70}.png": b"1"}
    if kind != "tar-ustar":
        files |= {f"d/{'é' * 100}.png": b"2", "顔/偽.png": b"3"}
    extract(WRITERS[kind](tmp_path / "a", files), data / "set")
    assert tree(data / "set") == {name.removeprefix("./"): content for name, content in files.items()}


def test_folders_may_be_named_and_named_again(data, tmp_path):
    folders = [tar_info(name, type=tarfile.DIRTYPE) for name in (".", "./d", "./d/", "d")]
    write_tar(tmp_path / "a.tar", {**dict.fromkeys(folders[:3], b""), "./d/a.png": b"x", folders[3]: b""})
    write_zip(tmp_path / "a.zip", {zip_info("d/", external_attr=0o40755 << 16): b"", "d/a.png": b"x"})
    for archive in ("a.tar", "a.zip"):
        assert extract(tmp_path / archive, data / archive).files == 1
        assert tree(data / archive) == {"d/a.png": b"x"}


def test_gz_streams_one_after_another_are_one(data, tmp_path):
    content = write_tar(tmp_path / "a.tar", images(8)).read_bytes()
    third = len(content) // 3
    parts = [content[:third], b"", content[third:]]
    (tmp_path / "a.gz").write_bytes(b"".join(map(gzip.compress, parts)) + bytes(50))
    extract(tmp_path / "a.gz", data / "set")
    assert tree(data / "set") == images(8)


def test_a_zip64_is_read(data, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out, out.open(zip_info("a.png"), "w", force_zip64=True) as file:
        file.write(b"content")
    extract(tmp_path / "a.zip", data / "set")
    assert tree(data / "set") == {"a.png": b"content"}


def test_the_folder_above_is_made_and_the_right_hash_is_taken_in_any_case(tmp_path):
    archive = write_zip(tmp_path / "a.zip", images(2))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    extract(archive, tmp_path / "not" / "yet" / "set", sha256=digest.upper())
    assert tree(tmp_path / "not" / "yet" / "set") == images(2)


@both
def test_memory_stays_small(data, tmp_path, write):
    content = np.random.default_rng(0).bytes(24 << 20)
    archive = write(tmp_path / "a", {"v.mp4": content})
    tracemalloc.start()
    extract(archive, data / "set")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert tree(data / "set") == {"v.mp4": content}


# --- names ---

BAD_NAMES = {
    "leads out": r"../up.png|d/../../up.png|d/../a.png|d/..|/etc/a.png|//server/a.png|C:/a.png|C:\a.png|c:a.png"
    r"|\\server\share\a.png|\a.png|d\..\a.png",
    "cannot write": "d\\a.png|a\nb.png|a\x7f.png|a\x85.png|a\0.png|a.png:stream.png|what?.png",
    "Windows reserves": "CON|d/nul.png|Aux.tar.png|COM1.png|lpt³.png|con .png|d./a.png|d /a.png|a.png.|a.png ",
    "too long": "|".join(["n" * 250 + ".png", "d/" * 60 + "a.png", "long/" * 300 + "a.png"]),
}


@both
@pytest.mark.parametrize(
    ("name", "verdict"),
    [(name, verdict) for verdict, names in BAD_NAMES.items() for name in names.split("|")],
    ids=lambda text: ascii(text[:20]),
)
def test_a_name_that_means_something_else_somewhere_is_refused(data, tmp_path, write, name, verdict):
    archive = write(tmp_path / "archive", {"good.png": b"x", name: b"x"})
    assert repr(name[:100])[:20] in refused(archive, data, verdict)


@both
@pytest.mark.parametrize("name", ["../up.exe", "/x.py", "d/../.hidden"])
def test_the_names_of_what_is_left_out_are_checked_too(data, tmp_path, write, name):
    refused(write(tmp_path / "archive", {"good.png": b"x", name: b"x"}), data, "leads out")


def test_a_name_that_is_no_unicode_is_refused(data, tmp_path):
    refused(write_tar(tmp_path / "a.tar", {"a\udcff.png": b"x"}, form=tarfile.GNU_FORMAT), data, "cannot write")


SAME_NAMES = (
    "d/a.png=d/A.png d/a.png=d/a.PNG d/a.png=D/b.png caf\u00e9.png=cafe\u0301.png Stra\u00dfe.png=STRASSE.png"
    " a.png=a.png a.png=./a.png d/a.png=d//a.png d=d/a.png d/a.png=d D=d/a.png x/d/a.png=x/D"
)


@both
@pytest.mark.parametrize("names", SAME_NAMES.split())
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_some_systems_take_for_one_are_refused(data, tmp_path, write, names):
    info = zip_info if write is write_zip else tar_info
    archive = write(tmp_path / "archive", {info(name): b"x" for name in names.split("=")})
    assert repr(names.split("=")[1]) in refused(archive, data, "comes twice")


# --- kinds of members ---


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"V", b"M", b"?"]
)
@pytest.mark.parametrize("target", ["good.png", "/etc/passwd", "n" * 200])
def test_a_tar_with_anything_but_files_and_folders_is_refused(data, tmp_path, kind, target):
    files = {"good.png": b"x", tar_info("l.png", type=kind, linkname=target): b""}
    archive = write_tar(tmp_path / "a.tar", files, form=tarfile.GNU_FORMAT)
    assert "'l.png'" in refused(archive, data, "is a link, a device, a sparse file or the like")


@pytest.mark.parametrize("mode", [0o120777, 0o20644, 0o60644, 0o10644, 0o140644])
def test_a_zip_with_anything_but_files_and_folders_is_refused(data, tmp_path, mode):
    files = {"good.png": b"x", zip_info("l.png", external_attr=mode << 16): b"/etc/passwd"}
    archive = write_zip(tmp_path / "a.zip", files)
    assert "'l.png'" in refused(archive, data, "is a link, a device or the like")


def sparse(form: str) -> bytes:
    """A tar with a file of 10 GB that holds next to nothing."""
    if form == "old":
        block = bytearray(tar_info("s.png", 512, type=b"S").tobuf(tarfile.GNU_FORMAT))
        block[386:410], block[483:495] = b"%011o\0%011o\0" % (0, 512), b"%011o\0" % (8**11 - 1)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block) + b"x" * 512 + bytes(1024)
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(10**10)}
    info = tar_info("s.png", 512, pax_headers=headers)
    return info.tobuf(tarfile.PAX_FORMAT) + b"0\n".ljust(512, b"\0") + bytes(1024)


@pytest.mark.parametrize("form", ["old", "pax"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_sparse_files_are_refused(data, form, pack):
    refused(pack(sparse(form)), data, "sparse file")


def patched(archive: Path, changes: dict[int, int | bytes], *, local: bool = True) -> Path:
    """Changes the last member's central header and its local one, whose fields are 2 bytes before; ints take 4."""
    content = bytearray(archive.read_bytes())
    starts = [content.rindex(b"PK\1\2"), *([content.rindex(b"PK\3\4") - 2] if local else [])]
    for start, (place, new) in itertools.product(starts, changes.items()):
        new = struct.pack("<I", new) if isinstance(new, int) else new
        content[start + place : start + place + len(new)] = new
    archive.write_bytes(content)
    return archive


UNREADABLE = [(8, flags, "is encrypted") for flags in (0x1, 0x40, 0x2000)]
UNREADABLE += [(10, method, f"is packed by method {method}") for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 9, 99)]


@pytest.mark.parametrize(("place", "value", "sentence"), UNREADABLE)
def test_encrypted_members_and_other_methods_are_refused(data, tmp_path, place, value, sentence):
    archive = patched(write_zip(tmp_path / "a.zip", images(4)), {place: struct.pack("<H", value)})
    assert "testA/03.png" in refused(archive, data, sentence)


# --- sizes ---


@both
def test_too_many_members_or_bytes_are_refused(data, tmp_path, monkeypatch, write):
    files = images(4)
    total, first = sum(map(len, files.values())), len(next(iter(files.values())))
    archive = write(tmp_path / "a", {**files, "x.exe": bytes(1000)})  # of which nothing is written
    for name, limit, sentence in (
        ("MOST_FILES", 4, "more members than allowed; allowed: 4"),
        ("MOST_BYTES", total - 1, f"testA/03.png' brings the files to {total:,} bytes"),
        ("MOST_BYTES", first - 1, f"trainA/00.png' brings the files to {first:,} bytes"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(members, name, limit)
            refused(archive, data, sentence)
    monkeypatch.setattr(members, "MOST_FILES", 5)
    monkeypatch.setattr(members, "MOST_BYTES", total)
    assert extract(archive, data / "set").files == 4


@pytest.mark.parametrize("name", ["bomb.png", "bomb.bin"])
def test_a_zip_bomb_is_refused_without_unpacking_it(data, tmp_path, monkeypatch, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out, out.open(zip_info(name), "w", force_zip64=True) as file:
        for _ in range(200):
            file.write(bytes(1 << 20))
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    refused(tmp_path / "a.zip", data, "unpacks to 209,715,200 bytes; allowed: 200 times its size")


def test_many_members_that_are_a_bomb_together_are_refused(data, tmp_path):
    archive = write_zip(tmp_path / "a.zip", {f"{k}.png": bytes(1 << 20) for k in range(110)})
    refused(archive, data, r"would make 105,906,176 bytes of [\d,]+; allowed: 200 times as many")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of unpacked tars were read, one number a reading."""
    sizes, reading = [], members._TarStream.piece

    def counted(stream: members._TarStream, size: int = members.PIECE) -> bytes:
        sizes.append(size)
        return reading(stream, size)

    monkeypatch.setattr(members._TarStream, "piece", counted)
    return sizes


@pytest.mark.parametrize("name", ["bomb.png", "bomb.bin"])
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_ten_billion_zeros_in_a_tar_are_refused_at_their_header(data, asked, pack, name):
    head = tar_info(name, 10**10).tobuf(tarfile.GNU_FORMAT)
    content = pack(head + bytes(8 << 20))  # the rest would come if it were asked for
    refused(content, data, "would make 10,000,000,000 bytes of .*; allowed: 200 times as many")
    assert asked == [512]


def test_zeros_that_no_header_declares_are_not_unpacked_without_end(data, asked):
    content = gzip.compress(tar_info("a.png").tobuf() + bytes(200 << 20), 9)
    refused(content, data, "unpacks to more than 200 times its size")
    assert 100 << 20 < sum(asked) <= 101 << 20


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
@pytest.mark.parametrize(("size", "count"), [(8**10, 1), (600 << 10, 2), (512, 3000), (0, 3000)])
def test_headers_that_would_fill_the_memory_are_refused(data, asked, kind, size, count):
    content = b"" if size in (0, 8**10) else f"{size} a=".encode().ljust(size - 1, b"x") + b"\n"
    head = tar_info("a.png", size, type=kind).tobuf(tarfile.GNU_FORMAT) + content
    refused(gzip.compress(head * count + bytes(1 << 20)), data, "has a header of [0-9,]* bytes|recursion")
    assert sum(asked) <= 1 << 20


def test_members_that_overlap_are_refused(data, tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"a.png": b"x" * 100, "b.png": b"x" * 100})
    refused(patched(archive, {42: 0}, local=False), data, "overlaps")  # b lies where a lies
    inner = write_zip(tmp_path / "inner", {"i.png": b"y" * 500}).read_bytes()
    files = {zip_info("a.png", compress_type=zipfile.ZIP_STORED): inner, "i.png": b"y" * 500}
    place = write_zip(tmp_path / "b.zip", files).read_bytes().index(inner)
    refused(patched(tmp_path / "b.zip", {42: place}, local=False), data, "overlaps")  # i lies inside a


@pytest.mark.parametrize("by", [-1, 1, 1000])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_size_that_is_not_the_declared_one_is_refused(data, tmp_path, by, method):
    content = np.random.default_rng(0).bytes(5000)
    archive = write_zip(tmp_path / "a.zip", {"good.png": b"good", zip_info("a.png", compress_type=method): content})
    refused(patched(archive, {24: 5000 + by}), data, "damaged|does not have the declared size")


def test_the_right_checksum_of_a_part_does_not_help(data, tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"a.png": b"x" * 5000})
    patched(archive, {16: zlib.crc32(b"x" * 100), 24: 100})
    assert extract(archive, data / "set").files == 1  # what was declared came out, and not a byte more
    assert tree(data / "set") == {"a.png": b"x" * 100}


# --- damage ---


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
def test_what_is_cut_short_is_refused(data, tmp_path, kind, share):
    whole = WRITERS[kind](tmp_path / "a", images(20)).read_bytes()
    end = len(whole) if "." in kind or kind == "zip" else len(whole.rstrip(b"\0")) + 100
    refused(whole[: int(end * share)], data, "damaged or cut short|of a known kind")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("end", [1, 4, 8])
def test_the_last_bytes_count(data, tmp_path, kind, end):
    refused(WRITERS[kind](tmp_path / "a", images(4)).read_bytes()[:-end], data, "damaged or cut short")


def flipped(archive: Path, place: int, bits: int) -> Path:
    """The archive, some bits of one byte of which are the other ones."""
    content = bytearray(archive.read_bytes())
    content[place] ^= bits
    archive.write_bytes(content)
    return archive


def test_checksums_are_compared(data, tmp_path):
    refused(flipped(write_tar(tmp_path / "a.tar.gz", images(4), "w:gz"), -8, 1), data, "CRC check failed")
    refused(patched(write_zip(tmp_path / "a.zip", images(4)), {16: b"abcd"}), data, "damaged")


@pytest.mark.parametrize("where", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_flipped_bit_is_found(data, tmp_path, kind, where):
    archive = WRITERS[kind](tmp_path / "a", images(20))
    refused(flipped(archive, int(archive.stat().st_size * where), 16), data, "damaged|refused|known kind")


def test_a_tar_header_that_is_damaged_does_not_end_the_tar(data, tmp_path):
    archive = write_tar(tmp_path / "a.tar", {"a.png": b"x", "b.png": b"y"}, form=tarfile.GNU_FORMAT)
    refused(flipped(archive, archive.read_bytes().index(b"b.png"), 1), data, "at byte 1024")


def test_a_tar_without_its_end_or_with_something_after_it_is_refused(data, tmp_path):
    whole = write_tar(tmp_path / "a.tar", {"a.png": b"x"}).read_bytes()
    refused(whole[:1024], data, "its end is missing")
    refused(whole + whole, data, "has more after its end")


@pytest.mark.parametrize(
    "records",
    [b"99 path=x\n", b"path=x\n", b"9 path=xyz", b"-5 path=x\n", b"5 a=\xff", b"16 size=-999999\n", b"8 size=\n"],
)
def test_a_bad_extended_header_is_refused(data, records):
    head = tar_info("p", len(records), type=b"x").tobuf() + records.ljust(512, b"\0")
    refused(head + tar_info("a.png").tobuf() + bytes(1024), data, "damaged")


@pytest.mark.parametrize(
    "content",
    [b"", b"x", bytes(5000), b"x" * 5000, b"Rar!\x1a\7\0" + bytes(600), b"MZ" + bytes(600), b"PK\3\4", b"\x1f\x8b"],
)
def test_anything_else_is_refused(data, content):
    refused(content, data, "of a known kind|holds no useful file|damaged or cut short")
    refused(gzip.compress(content), data, "of a known kind|holds no useful file")


@both
def test_what_is_no_file_or_holds_nothing_of_use_is_refused(data, tmp_path, write):
    refused(data, data, "there is no file")
    refused(tmp_path / "none.zip", data, "there is no file")
    refused(write(tmp_path / "a", {"x.exe": b"x"}), data, "holds no useful file")
    refused(write(tmp_path / "b", {}), data, "holds no useful file")


@both
def test_another_sum_is_refused_before_anything_else(data, tmp_path, write):
    archive = write(tmp_path / "a", {"../up.png": b"x"})
    refused(archive, data, f"has the sha256 {hashlib.sha256(archive.read_bytes()).hexdigest()}", sha256="0" * 64)


def test_a_full_disk_is_seen_before_writing(data, tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "a.zip", images(4))
    needed = sum(map(len, images(4).values()))
    usage = shutil.disk_usage(data)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=(1 << 30) + needed - 1))
    sentence_of(lambda: extract(archive, data / "set"), f"{needed:,} bytes do not fit into {needed - 1:,}")
    assert listing(data) == ["other", "other/x.png"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=(1 << 30) + needed))
    assert extract(archive, data / "set").files == 4


# --- whole or not at all ---


class Killed(BaseException):
    """As if the process ended here."""


def killed_at(monkeypatch: pytest.MonkeyPatch, count: int, problem: BaseException) -> list[str]:
    """Lets `count` files be written, half of the next, and then ends; lists what was begun."""
    written, writing = [], archives._write

    def halves(member: members.Member):
        yield next(member.data)[:5]
        raise problem

    def write(path: Path, member: members.Member) -> None:
        written.append(path.name)
        if len(written) > count:
            member = member._replace(data=halves(member))
        writing(path, member)

    monkeypatch.setattr(archives, "_write", write)
    return written


def interrupt(patching: pytest.MonkeyPatch, archive: Path, data: Path, count: int, problem: Any = None) -> None:
    with patching.context() as patch, pytest.raises((Killed, DataError), match="^$|needed: room"):
        killed_at(patch, count, problem or Killed())
        extract(archive, data / "set")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("problem", [Killed(), OSError(28, "No space left on device")], ids=["killed", "full"])
def test_a_second_call_goes_on(data, tmp_path, monkeypatch, kind, problem):
    files = images(12)
    archive = WRITERS[kind](tmp_path / "a", files)
    interrupt(monkeypatch, archive, data, 5, problem)
    assert not (data / "set").exists()
    assert len(tree(data / ".set.part")) == 6
    written = killed_at(monkeypatch, 100, problem)
    assert extract(archive, data / "set").files == 12
    assert written == [Path(name).name for name in files][5:]
    assert tree(data / "set") == files
    assert not (data / ".set.part").exists()


@both
def test_what_was_changed_in_between_is_written_again(data, tmp_path, monkeypatch, write):
    files = images(8)
    archive = write(tmp_path / "a", files)
    interrupt(monkeypatch, archive, data, 6)
    names, victim = list(files), tmp_path / "victim"
    victim.write_bytes(b"v")
    paths = [data / ".set.part" / name for name in names]
    paths[0].write_bytes(files[names[0]][::-1])  # the same size
    paths[1].write_bytes(b"short")
    paths[2].unlink()
    paths[3].unlink()
    os.link(victim, paths[3])
    written = killed_at(monkeypatch, 100, Killed())
    extract(archive, data / "set")
    assert written == [Path(names[k]).name for k in (0, 1, 2, 3, 6, 7)]
    assert tree(data / "set") == files
    assert victim.read_bytes() == b"v"


@both
def test_a_part_of_another_archive_is_not_gone_on_with(data, tmp_path, monkeypatch, write):
    interrupt(monkeypatch, write(tmp_path / "a", {f"old/{name}": b"old" for name in images(8)}), data, 3)
    assert "old" in os.listdir(data / ".set.part")
    extract(write(tmp_path / "a", images(8)), data / "set")
    assert tree(data / "set") == images(8)


def test_of_a_refused_archive_the_part_goes_too(data, tmp_path, monkeypatch):
    archive = patched(write_zip(tmp_path / "a.zip", images(8)), {16: b"abcd"}, local=False)
    interrupt(monkeypatch, archive, data, 3)
    assert (data / ".set.part").exists()
    sentence_of(lambda: extract(archive, data / "set"), "damaged")
    assert listing(data) == ["other", "other/x.png"]


def test_an_archive_that_changes_after_the_check_is_checked_again(data, tmp_path, monkeypatch):
    archive = write_tar(tmp_path / "a.tar", {"a.png": b"x", "b.png": b"y"})
    evil = write_tar(tmp_path / "evil.tar", {"a.png": b"x", "../b.png": b"y"}).read_bytes()
    unpacking = archives._unpack

    def change_first(*arguments: object) -> None:
        archive.write_bytes(evil)
        unpacking(*arguments)

    monkeypatch.setattr(archives, "_unpack", change_first)
    refused(archive, data, "leads out")


@both
def test_the_same_archive_again_does_nothing(data, tmp_path, write):
    archive = write(tmp_path / "a", {**images(4), "x.exe": b""})
    first = extract(archive, data / "set")
    (data / "set" / "real" / "faces" / "mine.txt").write_text("kept")
    assert extract(archive, data / "set") == first == Extracted(data / "set", 4, 1, ("x.exe",))
    assert (data / "set" / "real" / "faces" / "mine.txt").read_text() == "kept"
    marker = json.loads((data / "set" / MARKER).read_text())
    assert marker["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert (marker["name"], marker["size"]) == ("a", archive.stat().st_size)


def test_a_folder_from_elsewhere_is_not_touched(data, tmp_path):
    archive = write_zip(tmp_path / "a.zip", images(4))
    before = tree(data)
    sentence_of(lambda: extract(archive, data / "other"), "other exists already, and was not made from this archive")
    for marker in ("{", "[]", "{}", '{"name": "a.zip"}', "\xff"):
        (data / "other" / MARKER).write_text(marker, encoding="latin-1")
        sentence_of(lambda: extract(archive, data / "other"), "exists already")
    assert tree(data) == before
    extract(archive, data / "set")
    write_zip(archive, images(8))
    sentence_of(lambda: extract(archive, data / "set"), "exists already")
    assert tree(data / "set") == images(4)


def test_a_disk_that_fails_is_not_called_a_bad_archive(data, tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "a.zip", images(4))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="Input/output"):
        killed_at(patch, 2, OSError(5, "Input/output error"))
        extract(archive, data / "set")
    assert len(tree(data / ".set.part")) == 3


def test_of_two_at_once_one_waits_for_the_other(data, tmp_path):
    archive = write_zip(tmp_path / "a.zip", images(8))
    with ThreadPoolExecutor(2) as pool:
        with FileLock(data / ".set.lock"):
            both_of_them = [pool.submit(extract, archive, data / "set") for _ in range(2)]
            done, _ = wait(both_of_them, timeout=0.5)
            assert not done
            assert not (data / ".set.part").exists()
        results = [future.result(60) for future in both_of_them]
    assert results == [Extracted(data / "set", 8, 0, ())] * 2
    assert tree(data / "set") == images(8)


# --- whatever the names ---

PIECES = ".. . / \\ a A b.png c.csv C: CON é e\u0301 ~ d/ ..// %2e"
NAMES = st.lists(
    st.one_of(
        st.lists(st.sampled_from([*PIECES.split(), " ", "\0", "\n"]), max_size=6).map("".join),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(lambda name: f"{name}.png"),
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=200)
@given(names=NAMES, kind=st.sampled_from(["zip", "tar", "tar-gnu", "tar.gz"]))
def test_whatever_the_names_nothing_appears_outside_the_folder(names, kind):
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = Path(name).resolve()
        (root / "deep" / "data").mkdir(parents=True)
        archive = WRITERS[kind](root / "archive", dict.fromkeys(["first.png", *names], b"x"))
        try:
            got = extract(archive, root / "deep" / "data" / "set")
        except DataError:
            assert listing(root) == ["archive", "deep", "deep/data"]
        else:
            assert {p.parts[0] for p in map(Path, listing(root))} == {"archive", "deep"}
            assert set(os.listdir(root / "deep" / "data")) <= {"set", ".set.lock"}
            paths = list(tree(root / "deep" / "data" / "set"))
            assert len(paths) == len({path.casefold() for path in paths}) == got.files
            assert all(Path(path).suffix.lower() in members.USEFUL for path in paths)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), kind=st.sampled_from(["zip", "tar", "tar-gnu", "tar.gz"]))
def test_whatever_the_bytes_the_answer_is_a_tree_or_a_refusal(data, kind):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        archive = WRITERS[kind](root / "archive", {f"{'d' * 120}/{k}.png": bytes([k]) * 100 for k in range(3)})
        content = bytearray(archive.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, min(len(content), 6000) - 1))] = data.draw(st.integers(0, 255))
        archive.write_bytes(content)
        try:
            extract(archive, root / "set")
        except DataError:
            assert listing(root) == ["archive"]
        else:
            assert set(os.listdir(root)) <= {"archive", "set", ".set.lock"}
