"""Readers of files that hold many images: parquet files, and tar files in which names tell what belongs together.

What is said of the images is read first, without them, and then the images, in the same order.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cldf_core.data.console import printable
from cldf_core.data.domains import DataError
from cldf_core.data.files import PIECE
from cldf_core.data.images import SUFFIXES
from cldf_core.data.intake.archives import is_archive, refusals_told
from cldf_core.data.intake.members import DAMAGE, MOST_RATIO, RATIO_FROM, Member, Refusal, checked_members, refused
from cldf_core.data.layouts import tables
from cldf_core.data.layouts.faceforensics import TOPS
from cldf_core.data.layouts.recognition import CLASS_OF

Facts = dict[str, str]  # what is said of an image: label, split, video, group, domain or generator, tables.ORIGIN
LABELS = ("label", "labels", "class", "cls")  # columns and fields, the first that there is
LONGEST = 1000  # characters of a text
LARGEST = 1 << 28  # bytes of an image
_WHERE = ("number", "order", "place", "size")  # of an image in a tar; the place is -1 where it is compressed
_AT_ONCE = 1024  # rows of which it is read at once what is said of them
_SIDECAR = 1 << 20  # bytes of a member that is no image
_PEEK = 200  # members that tell what a tar is
_UNFIT = re.compile("[\0-\x1f\x7f\ud800-\udfff]")


class Shard(Protocol):
    """A file that holds images."""

    KIND: str  # what sentences call it
    path: Path
    name: str  # its path from the folder of all shards, or its file's name
    columns: list[str]  # that it has, in lower case; those of a tar once `records` came to an end
    without: list[str]  # what it says something of, but has no image of, also then

    def size(self) -> int:
        """About how many bytes the images have, by what the file says of itself."""

    def records(self, most: int, labels: str, domain_from: str) -> Iterator[tuple[int, Facts]]:
        """The number of each image and what is said of it; the arguments are those of `containers.unpack`."""

    def images(self) -> Iterator[tuple[int, bytes]]:
        """The numbers of `records`, each with the bytes of the image, or with none; called after these."""


class ParquetShard:
    """A parquet file with a column of images: bytes, or structs with bytes and a path, as the Hugging Face hub has."""

    KIND = "parquet file"

    def __init__(self, path: Path, name: str) -> None:
        """Reads what the file says of itself; a DataError tells what is wrong with that."""
        self.path, self.name, self.without = path, name, list[str]()
        try:
            with _readable(), pq.ParquetFile(path) as file:
                about, self._schema = file.metadata, file.schema_arrow
                # What single columns say of themselves is not asked: where that is damaged, pyarrow ends the process.
                self._size = sum(about.row_group(k).total_byte_size for k in range(about.num_row_groups))
                self._rows, self._metadata, names = about.num_rows, self._schema.metadata, self._schema.names
        except ValueError as problem:
            raise DataError(f"{path} cannot be read ({problem}); needed: a whole parquet file") from None
        self.columns = [name.strip().lower() for name in names]
        if len(self.columns) > tables.MOST_COLUMNS:
            raise DataError(f"{path} has {len(self.columns):,} columns; allowed: {tables.MOST_COLUMNS:,}")
        if twice := [name for name, count in Counter(self.columns).items() if count > 1]:
            raise DataError(f"{path} has the column {twice[0][:80]!r} twice; needed: each once")
        self._most = max(RATIO_FROM, MOST_RATIO * os.path.getsize(path))
        if not 0 <= self._size <= self._most:
            raise DataError(f"{path} unpacks to {self._size:,} bytes; allowed: {MOST_RATIO} times its size")
        self._bytes, self._path = self._image_column()

    @staticmethod
    def may_be(path: Path) -> bool:
        """Whether a file begins as parquet files do."""
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"

    def _image_column(self) -> tuple[str, str]:
        """Where the schema has the images' bytes, and where their paths; "" where it has none."""
        found = dict[str, tuple[str, str]]()
        for field in self._schema:
            inner = {part.name: part.type for part in field.type} if pa.types.is_struct(field.type) else {}
            if _holds_bytes(field.type):
                found[field.name] = field.name, ""
            elif _holds_bytes(inner.get("bytes")):
                found[field.name] = f"{field.name}.bytes", f"{field.name}.path" * _is_text(inner.get("path"))
        if called := [places for name, places in found.items() if name.strip().lower() == "image"]:
            return called[0]
        if not found or set(self.columns) & set(tables.PATHS):  # other bytes beside the paths of images
            return "", ""
        if len(found) > 1:
            several = f"{self.path} has several columns of bytes, {tables.in_few_words(found)}"
            raise DataError(f"{several}; needed: one, or one that is called image")
        return next(iter(found.values()))

    def holds_images(self) -> bool:
        """Whether there is a column of images, and not of paths alone."""
        with refusals_told(self.path, self.path):
            return bool(self._bytes) and (any(self._cells(self._bytes)) or not any(self._cells(self._path)))

    def size(self) -> int:
        """The bytes of all columns, most of which are of images."""
        return self._size

    def records(self, most: int, labels: str, domain_from: str) -> Iterator[tuple[int, Facts]]:
        """What the columns say of each row."""
        if self._rows > most:
            raise Refusal(f"has {self._rows:,} rows; allowed: {most:,}, or as many as --most-members says")
        wanted = (*LABELS, "split", "video", "group", "domain", "generator", domain_from.strip().lower())
        names = {n: c for n, c in zip(self._schema.names, self.columns, strict=True) if c in wanted}
        kinds = {name: self._schema.field(name).type for name in names}
        names = {name: column for name, column in names.items() if not _is_bulky(kinds[name])}
        classes = tables.class_names(self._metadata, labels)
        paths, number = self._cells(self._path), 0
        # A text may be stored once and stand in all rows: it is read once, too.
        for batch in self._batches(_AT_ONCE, [*names], [name for name in names if _is_text(kinds[name])]):
            columns = {name: batch.column(name) for name in names}
            for k in range(batch.num_rows):
                with _readable():
                    cells = {name: column[k].as_py() for name, column in columns.items()}
                path = str(memoryview(next(paths, b""))[:200], errors="replace")
                origin = f"{self.name}, row {number + 1}" + (f" ({path})" if path else "")
                fields = {names[name]: tables.text_of(cell, classes.get(name)) for name, cell in cells.items()}
                yield number, _facts(fields, origin, labels, domain_from)
                number += 1

    def images(self) -> Iterator[tuple[int, bytes]]:
        """The bytes of each row's image, one row at a time, as one may be as large as all others."""
        unpacked = 0
        for number, content in enumerate(self._cells(self._bytes)):
            unpacked += (size := len(content))
            if size > LARGEST or unpacked > self._most:
                what = f"has an image of {size:,} bytes in row {number + 1}, {unpacked:,} with those before"
                raise Refusal(f"{what}; allowed: {LARGEST:,}, and {MOST_RATIO} times the file's size")
            yield number, bytes(content)

    def _cells(self, leaf: str) -> Iterator[Any]:
        """A buffer for each row of a column, or of a part of its structs, b"" where there is nothing."""
        for batch in self._batches(1, [leaf]) if leaf else ():
            column = batch.column(0)
            yield (column.flatten()[0] if pa.types.is_struct(column.type) else column)[0].as_buffer() or b""

    def _batches(self, rows: int, columns: list[str], once: list[str] | None = None) -> Iterator[Any]:
        """Batches of so many rows, in which equal cells of columns of `once` are one."""
        settings = {"buffer_size": PIECE, "pre_buffer": False, "read_dictionary": once}
        with _readable(), pq.ParquetFile(self.path, **settings) as file:
            yield from file.iter_batches(rows, columns=columns, use_threads=False)


class TarShard:
    """A tar file in which members are of one image whose names are the same up to the first dot, as in WebDataset.

    Beside the image, .cls holds its label, .json an object with label, domain, split and so on, and .txt, if it is a
    word for a class, the label too. Members that `checked_members` refuses are refused here.
    """

    KIND = "tar shard"

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name, self.columns, self.without = path, name, list[str](), list[str]()
        self._chosen, self._most = np.empty((0, len(_WHERE)), np.int64), 0

    @staticmethod
    def may_be(path: Path) -> bool:
        """Whether a file is an archive, but no zip."""
        with path.open("rb") as file:
            return file.read(2) != b"PK" and is_archive(path)

    def holds_samples(self) -> bool:
        """Whether most of the first images have a label beside them, and lie in no folder of a class."""
        images, told = set[int](), set[int]()
        try:
            for number, key, ending, member in islice(self._members(None), _PEEK):
                if any(part.casefold() in CLASS_OF or part in TOPS for part in key.split("/")[:-1]):
                    return False
                images |= {number} if _is_image(ending) else set()
                with suppress(Refusal):  # which is told when it is unpacked
                    told |= {number} if set(_fields(ending, member)) & set(LABELS) else set()
        except (Refusal, *DAMAGE):
            return False
        return 2 * len(images & told) >= max(1, len(images))

    def size(self) -> int:
        """The bytes of the images."""
        return int(self._chosen[:, _WHERE.index("size")].sum())

    def records(self, most: int, labels: str, domain_from: str) -> Iterator[tuple[int, Facts]]:
        """What the members beside each image say of it."""
        keys, fields, dots, chosen = (
            dict[int, str](),
            dict[int, Facts](),
            dict[int, int](),
            dict[int, tuple[int, ...]](),
        )
        for order, (number, key, ending, member) in enumerate(self._members(most)):
            keys[number] = key
            if not _is_image(ending):
                fields[number] = _fields(ending, member) | fields.get(number, {})
                continue
            if member.size > LARGEST:
                raise refused(member.name, f"has {member.size:,} bytes", f"{LARGEST:,} for an image")
            depth = ending.count(".")  # of a.jpg and a.mask.png, the first is the image
            if depth == dots.get(number):
                raise refused(member.name, f"is a second image of {key[:100]!r}", "one up to each first dot")
            if depth < dots.get(number, depth + 1):
                place = -1 if member.place is None else member.place
                dots[number], chosen[number] = depth, (number, order, place, member.size)
        self._chosen, self._most = np.array([*chosen.values()], np.int64).reshape(-1, len(_WHERE)), most
        self.columns = list(dict.fromkeys(name for said in fields.values() for name in said))
        alone = [number for number, said in fields.items() if said and number not in chosen]
        self.without = [f"{self.name}, {keys[number]}" for number in alone]
        for number in chosen:
            yield number, _facts(fields.get(number, {}), f"{self.name}, {keys[number]}", labels, domain_from)

    def images(self) -> Iterator[tuple[int, bytes]]:
        """The bytes of each image; they are read where they lie, if the tar is not compressed."""
        chosen = self._chosen.tolist()
        if any(place < 0 for _, _, place, _ in chosen):
            wanted = {order for _, order, _, _ in chosen}
            for order, (number, _, _, member) in enumerate(self._members(self._most)):
                if order in wanted:
                    yield number, b"".join(member.data)
            return
        with self.path.open("rb") as file:
            for number, _, place, size in chosen:
                file.seek(place)
                if len(content := file.read(size)) < size:
                    raise EOFError("its end is missing")
                yield number, content

    def _members(self, most: int | None) -> Iterator[tuple[int, str, str, Member]]:
        """The files in the tar: a number for what belongs together, its key, the rest of the name, and the member."""
        numbers = dict[str, int]()
        with self.path.open("rb") as file:
            for _, member in checked_members(file, most):
                *folders, name = member.parts or [""]
                if member.is_folder or name.startswith(".") or "__MACOSX" in folders:
                    continue
                key, _, ending = name.partition(".")
                key = "/".join([*folders, key])
                yield numbers.setdefault(key, len(numbers)), key, ending.lower(), member


def _facts(fields: Facts, origin: str, labels: str, domain_from: str) -> Facts:
    """What fields, by their names in lower case, say of an image; a Refusal where a text is not fit for a table."""
    names = {name: name for name in ("split", "video", "group", "domain", "generator")}
    names |= {"label": next((name for name in LABELS if fields.get(name)), "label")}
    if domain_from:
        names |= {"domain": "", "generator": domain_from.strip().lower()}
    elif "domain" in fields:
        names.pop("generator")
    facts = {what: fields[name] for what, name in names.items() if fields.get(name)}
    for what, text in facts.items():
        if len(text) > LONGEST:
            raise Refusal(f"is refused: {origin} has a {what} of {len(text):,} characters; allowed: {LONGEST:,}")
        if _UNFIT.search(text):
            raise Refusal(f"is refused: {origin} has the {what} {text[:80]!r}; needed: text on one line")
    told = {name: fields[name] for name in LABELS if fields.get(name)}
    if not labels and {0, 1} <= {_class(text) for text in told.values()}:
        said = " and ".join(f"{name} {text[:80]!r}" for name, text in told.items())
        raise Refusal(f"is refused: {origin} has the {said}; needed: one class, or --labels, such as 0=real,1=fake")
    return {**facts, tables.ORIGIN: printable(origin)}


def _fields(ending: str, member: Member) -> Facts:
    """What a member beside an image says, by names in lower case; nothing where it is of no kind that is read."""
    if ending not in ("cls", "json", "txt"):
        return {}
    if member.size > _SIDECAR:
        raise refused(member.name, f"has {member.size:,} bytes of text", f"{_SIDECAR:,}")
    try:
        text = b"".join(member.data).decode("utf-8-sig").strip()
        if ending == "json":
            said = json.loads(text, object_pairs_hook=_each_once)
            return {name: tables.text_of(value) for name, value in said.items() if not isinstance(value, (dict, list))}
    except (ValueError, AttributeError, RecursionError) as problem:
        raise refused(member.name, f"cannot be read ({problem})"[:200], "UTF-8, and one JSON object") from None
    # Other text than one word is what the image shows.
    return {"cls": text} if ending == "cls" or (len(text.split()) == 1 and _class(text) is not None) else {}


def _class(text: str) -> int | None:
    return tables.class_in(text) if (label := tables.label_of(text)) is None else label


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object by names in lower case; a ValueError says which comes twice."""
    found = dict[str, Any]()
    for name, value in pairs:
        if (key := name.strip().lower()) in found:
            raise ValueError(f"the name {key[:80]!r} comes twice")
        found[key] = value
    return found


def _is_image(ending: str) -> bool:
    return "." + ending.rpartition(".")[2] in SUFFIXES


def _is_text(kind: Any) -> bool:
    types = pa.types
    return kind is not None and (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_bulky(kind: Any) -> bool:
    """Whether cells of a type may be large, apart from texts."""
    return pa.types.is_nested(kind) or pa.types.is_fixed_size_binary(kind) or _holds_bytes(kind)


def _holds_bytes(kind: Any) -> bool:
    types = pa.types
    return kind is not None and (types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


@contextmanager
def _readable() -> Iterator[None]:
    """Turns what pyarrow raises of damaged files into a ValueError on one line."""
    try:
        yield
    except (pa.ArrowException, OSError) as problem:
        if getattr(problem, "errno", None) is not None:  # the disk's
            raise
        raise ValueError(" ".join(str(problem).split())[:300]) from None
