"""Reads tables that list images: CSV or parquet, with the columns path (or image or file) and label.

The columns split, domain, video and group are optional. Paths start from the table's folder. A parquet file may have
structs with a path in place of paths, and numbered labels whose names its metadata hold, as the Hugging Face hub's do.
"""

import contextlib
import csv
import json
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.data.columns import repeated, table_of
from cldf_core.data.console import counted
from cldf_core.data.domains import CLASSES, SPLIT_NAMES, DataError
from cldf_core.data.listing import ListedFiles

SUFFIXES = (".csv", ".parquet")
MOST_COLUMNS = 10_000  # pandas takes a second for so many
PATHS = ("path", "image", "file")
_OPTIONAL = ("split", "domain", "video", "group")
MAKER = "generator"  # a column that names the domain where there is no such column: who made a fake
POOL = "real"  # the domain of real images that no generator made
ORIGIN = "unpacked from"  # a column that says where else an image comes from, which is what sentences name then
_LABELS = {"real": 0, "false": 0, "fake": 1, "true": 1}
LABELS_IN_WORDS = "0 or real, 1 or fake"
# What folders and columns call the classes.
_WORDS = dict.fromkeys(("real", "reals", "nature", "original", "authentic", "genuine", "pristine", "bonafide"), 0)
_WORDS |= dict.fromkeys(("fake", "fakes", "ai", "generated", "synthetic", "deepfake", "deepfakes", "manipulated"), 1)
_WORDS |= dict.fromkeys(("forged", "spoof"), 1)
_NOT = {"not", "no", "non", "un", "never"}
_NO_GENERATOR = {"", "none", "null", "nan", "n/a", "na", "-"}  # what columns say of real images, besides words for real
_MOST_NAMES = 1000  # of classes


def label_of(text: str) -> int | None:
    """The label that a cell stands for, 0 (real) or 1 (fake), as programs write it: 1, 1.0, fake, TRUE; or None."""
    text = text.strip().lower()
    with contextlib.suppress(ValueError):
        number = float(text)
        return int(number) if number in (0, 1) else None
    return _LABELS.get(text)


def read_text(path: Path, labels: str = "") -> pd.DataFrame:
    """Reads a table with all values as text; the index is the row's number, in a CSV file as a spreadsheet shows it.

    Numbers of classes that a parquet file names become the names, see `class_names`, whose `labels` these are.

    Raises:
        DataError: the file cannot be read, or a row has too few or too many values.
    """
    try:
        names, rows = _read_parquet(path, labels) if path.suffix.lower() == ".parquet" else _read_csv(path)
        columns, numbers = _column_names(path, names), array("q")
        table = table_of(_complete(path, len(columns), rows, numbers), dict.fromkeys(columns, str))
    except DataError:
        raise
    except Exception as error:  # damaged bytes make pyarrow raise errors of many kinds
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read ({reason}); needed: CSV in UTF-8, or parquet") from None
    return table.set_axis(pd.Index(numbers))


def _column_names(path: Path, names: Sequence[str]) -> list[str]:
    columns = [name.strip().lower() for name in names]
    if any("\0" in name for name in columns):
        raise DataError(f"{path} has a NUL in its first line; needed: CSV in UTF-8, or parquet")
    if not columns:
        raise DataError(f"{path} is empty; needed: a first line with the columns' names")
    if len(columns) == 1 and (sign := next((s for s in ";\t|" if s in columns[0]), None)):
        raise DataError(f"{path} separates its columns by {sign!r}; needed: commas, and points in decimal numbers")
    if len(columns) > MOST_COLUMNS:
        raise DataError(f"{path} has {len(columns):,} columns; allowed: {MOST_COLUMNS:,}")
    if repeated := [name for name, count in Counter(columns).items() if count > 1]:
        raise DataError(f"{path} has the column {repeated[0][:80]!r} twice; needed: each once")
    return columns


def _complete(
    path: Path, count: int, rows: Iterable[tuple[int, Sequence[str]]], numbers: "array[int]"
) -> Iterator[Sequence[str]]:
    """Rows that have as many values as there are columns; their numbers are appended to a list."""
    for number, row in rows:
        if len(row) != count:
            raise DataError(f"{path}, row {number} has {counted(len(row), 'value')}; needed: {count}, one a column")
        if any("\0" in value for value in row):
            raise DataError(f"{path}, row {number} has a NUL in it; needed: text")
        numbers.append(number)
        yield row


def _read_csv(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    def lines() -> Iterator[list[str]]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.reader(file, strict=True)

    rows = lines()
    return next(rows, []), ((number, line) for number, line in enumerate(rows, 2) if line)


def _read_parquet(path: Path, labels: str) -> tuple[list[str], Iterator[tuple[int, tuple[str, ...]]]]:
    import pyarrow.parquet as pq

    table, named = pd.read_parquet(path), class_names(pq.read_schema(path).metadata, labels)
    table = table if table.index.names == [None] else table.reset_index()
    columns = [[text_of(value, named.get(str(name))) for value in column] for name, column in table.items()]
    return [str(name) for name in table.columns], enumerate(zip(*columns, strict=True), 1)


def text_of(value: Any, names: list[str] | None = None) -> str:
    """A cell as text: nothing for what is missing, the name of a numbered class, the path of a struct that has one."""
    if isinstance(value, dict):
        value = value.get("path")
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return names[value] if names and isinstance(value, int | np.integer) and 0 <= value < len(names) else str(value)


def class_names(metadata: Mapping[bytes, bytes] | None, labels: str = "") -> dict[str, list[str]]:
    """The names of numbered classes by column, from a parquet file's metadata as the Hugging Face hub writes them.

    There are none where `labels`, those of `read`, tell what numbers mean.
    """
    keys = [part.rpartition("=")[0].strip() for part in labels.split(",") if part]
    if keys and all(key.isdecimal() for key in keys):
        return {}
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"].items()
        named = {str(column): feature["names"] for column, feature in features if "names" in feature}
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):  # no such metadata, or broken ones
        return {}
    return {column: [*map(str, names)] for column, names in named.items() if isinstance(names, list)}


def read(path: Path, *, name: str = "", labels: str = "", domain_from: str = "") -> tuple[pd.DataFrame, list[str]]:
    """Reads a table of images: one row per image and domain, and sentences on what is unusual.

    The name is that of the domain, if no column tells it; "" takes the name of the table's folder. `labels` says which
    label means what, such as "0=real,1=fake"; "" takes 0 for real and 1 for fake. `domain_from` is the column that
    names the domain, such as the fakes' generator; "" takes the column domain, or else MAKER.

    Raises:
        DataError: a column is missing, or a value is not allowed, the message names the row; or labels are not said
            and contradict the names of folders or another column.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path} is no table; allowed: {' or '.join(SUFFIXES)}, or a folder")
    listed, files = read_text(path, labels), ListedFiles(path.parent)
    if column := domain_from.strip().lower():
        if column not in listed or column in (*PATHS, "label"):
            needed = f"needed: one of {in_few_words(c for c in listed.columns if c not in (*PATHS, 'label'))}"
            raise DataError(f"--domain-from is {domain_from[:80]!r}, but {path} has no such column; {needed}")
        listed = listed.drop(columns=[c for c in ("domain", MAKER) if c != column and c in listed])
        listed = listed.rename(columns={column: MAKER})
    table, notes = checked(path, listed, files.find, name=name, labels=labels)
    return table, [*notes, *files.notes()]


def checked(
    path: Path, listed: pd.DataFrame, find: Callable[[str, str], str], *, name: str = "", labels: str = ""
) -> tuple[pd.DataFrame, list[str]]:
    """The table and the sentences of `read`, from what the file `path` lists as text.

    `find` turns what a cell says into the path of an image, as `ListedFiles.find` does. Where there is a column ORIGIN,
    sentences name that and not the table's row. Signs that no domain's name may have become hyphens in those that come
    from the column MAKER; real images of which it names no generator are of the domain POOL.
    """
    names = [column for column in PATHS if column in listed]
    if len(names) != 1 or "label" not in listed:
        needed = f"needed: one of {', '.join(PATHS)}, and label; allowed besides: {', '.join(_OPTIONAL)}"
        raise DataError(f"{path} has the columns {in_few_words(listed.columns)}; {needed}")
    said = "" if labels else _said_by_words(listed["label"])
    by_maker = MAKER in listed and "domain" not in listed
    meaning = _meaning(labels or said)

    def rows() -> Iterator[tuple[str, int, str, str, str, str]]:
        for number, cells in zip(listed.index, zip(*(listed[column] for column in listed), strict=True), strict=True):
            row = dict(zip(listed.columns, cells, strict=True))
            where = row.get(ORIGIN) or f"{path}, row {number}"
            image = find(where, row[names[0]])
            is_word = row["label"].strip().lower() in CLASSES
            label = label_of(row["label"]) if is_word else meaning.get(_key(row["label"]))
            if label is None:
                allowed = in_few_words(["real", "fake", *map(str, meaning)]) if labels else LABELS_IN_WORDS
                allowed += "" if labels else "; --labels tells what others mean"
                raise DataError(f"{where} has label {row['label'][:80]!r}; allowed: {allowed}")
            domain = row.get("domain", name or path.parent.name or "data").strip()
            domain = _made_by(row[MAKER], label) if by_maker else domain
            if not domain or set(domain) & set('/\\:*?"<>|') or domain.startswith("."):
                raise DataError(
                    f"{where} has domain {domain!r}; needed: a name without / and \\ and other signs of paths"
                )
            split = row.get("split", "").strip().lower()
            if split and split not in SPLIT_NAMES:
                raise DataError(f"{where} has split {row['split']!r}; allowed: {', '.join(SPLIT_NAMES)}, or nothing")
            video = row.get("video", "").strip()
            group = row.get("group", "").strip() or video or image.rpartition(".")[0]
            yield image, label, domain, SPLIT_NAMES.get(split, ""), group, video

    dtypes = {**dict.fromkeys(("image", "label", "domain", "split", "group", "video"), str), "label": int}
    table = table_of(rows(), dtypes).set_axis(listed.index)
    if (again := repeated(table["domain"] + "/" + table["image"])).any():
        image, domain = table.loc[again, ["image", "domain"]].iloc[0]
        where = _place(path, listed, table.index[again][0])
        raise DataError(f"{where} has {image} of domain {domain!r} once more; needed: each image once")
    if (other := table["label"] != table.groupby("image")["label"].transform("first")).any():
        where, image = _place(path, listed, other.idxmax()), table.loc[other, "image"].iloc[0]
        raise DataError(f"{where} has {image} with another label than before; needed: one label for an image")
    used = (names[0], "label", ORIGIN, *_OPTIONAL, *[MAKER] * by_maker)
    ignored = [column for column in listed.columns if column not in used]
    notes = [f"Columns ignored: {in_few_words(ignored)}."] if ignored else []
    if labels:
        if {0, 1, *map(_key, listed["label"])}.isdisjoint(_key(part.rpartition("=")[0]) for part in labels.split(",")):
            raise DataError(f"--labels is {labels[:80]!r}, but no row of {path} has such a label")
    else:
        _refuse_contradicted(path, table, listed, ignored)
    notes += [f"Labels are read as {labels or said}."] if labels or said else []
    return table.reset_index(drop=True), notes


def _place(path: Path, listed: pd.DataFrame, number: Any) -> str:
    """What sentences call a row."""
    return str((ORIGIN in listed and listed.at[number, ORIGIN]) or f"{path}, row {number}")


def _made_by(maker: str, label: int) -> str:
    """The domain that a generator's name makes."""
    maker = maker.strip()
    if label == 0 and (maker.lower() in _NO_GENERATOR or class_in(maker) == 0):
        return POOL
    return re.sub(r'[/\\:*?"<>|]+', "-", maker).lstrip(".")


def _said_by_words(labels: pd.Series) -> str:
    """What labels mean, as `labels` of `read` would say it, where each is a word for a class; else ""."""
    keys = {_key(text) for text in labels.unique()}
    classes = {text: class_in(text) for text in sorted(key for key in keys if isinstance(key, str))}
    plain = not any(_NOT & {*re.split("[^a-z]+", text)} or set(text) & set(",=") for text in classes)
    if len(classes) > _MOST_NAMES or not plain or {*classes.values(), *keys & {0, 1}} != {0, 1}:
        return ""
    return ",".join(f"{text}={CLASSES[label]}" for text, label in classes.items() if label is not None)


def in_few_words(names: Iterable[str]) -> str:
    """Names, of many the first and the number of the others."""
    names = list(names)
    return ", ".join(name[:80] for name in names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _meaning(labels: str) -> dict[str | int, int]:
    """The class of each label but real and fake: of 0 and 1, or as `labels` says."""
    chosen: dict[str | int, int] = {}
    pairs = [part.strip().lower().rpartition("=")[::2] for part in labels.split(",")] if labels else []
    for label, kind in pairs:
        if not label.strip() or "=" in label or kind.strip() not in CLASSES or label.strip() in CLASSES:
            raise DataError(f"--labels is {labels[:80]!r}; needed: such as 0=real,1=fake, or 1=real")
        if (key := _key(label)) in chosen:
            raise DataError(f"--labels is {labels[:80]!r}, with {label.strip()[:80]} twice; needed: each value once")
        chosen[key] = CLASSES.index(kind.strip())
        if len(pairs) == 1 and isinstance(key, int):
            chosen[1 - key] = 1 - chosen[key]
    return {0: 0, 1: 1} | chosen


def _key(text: str) -> str | int:
    """What labels are compared by: 0 or 1 where they stand for it, else their text in lower case."""
    return text.strip().lower() if (number := label_of(text)) is None else number


def _refuse_contradicted(path: Path, table: pd.DataFrame, listed: pd.DataFrame, ignored: Sequence[str]) -> None:
    """Raises a DataError if folders, or a column of words, tell another class of an image than its label."""
    folders = table["image"].map(lambda image: image.rpartition("/")[0])
    others = [*ignored, *[ORIGIN] * (ORIGIN in listed)]
    sources = {"path": folders, **{f"{name!r}": listed[name] for name in others}}
    for source, texts in sources.items():
        said = texts.map(class_in).dropna().astype(int)
        label = table["label"][said.index]
        wrong = said.index[said != label]
        # One folder "fakes" around images of both classes says nothing of each.
        if len(wrong) and (said.nunique() == 2 or label.nunique() == 1):
            row, count = wrong[0], f"{len(wrong)} of the {counted(len(said), 'row')} where it tells one"
            written, kind = listed["label"][row], CLASSES[said[row]]
            turned = f"--labels {written}={kind} if the labels are the other way round, " * (written not in CLASSES)
            raise DataError(
                f"{_place(path, listed, row)} has label {written!r}, so {CLASSES[label[row]]}, but its {source} "
                f"{texts[row][:80]!r} says {kind}, and they differ in {count}; needed: {turned}--labels 0=real,1=fake "
                "if they are right"
            )


def class_in(text: str) -> int | None:
    """The class that the words of a path or a value name, if they name one."""
    classes = {_WORDS[word] for word in re.split("[^a-z]+", text.lower()) if word in _WORDS}
    return classes.pop() if len(classes) == 1 else None
