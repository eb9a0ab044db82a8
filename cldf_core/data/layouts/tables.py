"""Reads tables that list images: CSV or parquet, with the columns path (or image or file) and label.

The columns split, domain, video and group are optional. Paths start from the table's folder.
"""

import contextlib
import csv
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.data.domains import DataError
from cldf_core.data.images import SUFFIXES as IMAGE_SUFFIXES
from cldf_core.data.layouts.original import SPLIT_NAMES

SUFFIXES = (".csv", ".parquet")
_PATHS = ("path", "image", "file")
_OPTIONAL = ("split", "domain", "video", "group")
_LABELS = {"real": 0, "false": 0, "fake": 1, "true": 1}
LABELS_IN_WORDS = "0 or real, 1 or fake"


def label_of(text: str) -> int | None:
    """The label that a cell stands for, 0 (real) or 1 (fake), as programs write it: 1, 1.0, fake, TRUE; or None."""
    text = text.strip().lower()
    with contextlib.suppress(ValueError):
        number = float(text)
        return int(number) if number in (0, 1) else None
    return _LABELS.get(text)


def read_text(path: Path) -> pd.DataFrame:
    """Reads a table with all values as text; the index is the row's number, in a CSV file as a spreadsheet shows it.

    Raises:
        DataError: the file cannot be read, or a row has too few or too many values.
    """
    try:
        names, rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    except Exception as error:  # damaged bytes make pyarrow raise errors of many kinds
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read ({reason}); needed: CSV in UTF-8, or parquet") from None
    columns = [name.strip().lower() for name in names]
    if any("\0" in name for name in columns):
        raise DataError(f"{path} has a NUL in its first line; needed: CSV in UTF-8, or parquet")
    if not columns:
        raise DataError(f"{path} is empty; needed: a first line with the columns' names")
    if len(columns) == 1 and (sign := next((s for s in ";\t|" if s in columns[0]), None)):
        raise DataError(f"{path} separates its columns by {sign!r}; needed: commas, and points in decimal numbers")
    if repeated := [name for name, count in Counter(columns).items() if count > 1]:
        raise DataError(f"{path} has the column {repeated[0]!r} twice; needed: each once")
    for number, row in rows.items():
        if len(row) != len(columns):
            raise DataError(f"{path}, row {number} has {len(row)} values; needed: {len(columns)}, one a column")
        if any("\0" in value for value in row):
            raise DataError(f"{path}, row {number} has a NUL in it; needed: text")
    return pd.DataFrame(list(rows.values()), list(rows), columns, dtype=str)


def _read_csv(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file, strict=True))
    return (lines or [[]])[0], {number: line for number, line in enumerate(lines[1:], 2) if line}


def _read_parquet(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    table = pd.read_parquet(path)
    table = table if table.index.names == [None] else table.reset_index()
    columns = [[_text(value) for value in table.iloc[:, k]] for k in range(table.shape[1])]
    return [str(name) for name in table.columns], dict(enumerate(map(list, zip(*columns, strict=True)), 1))


def _text(value: Any) -> str:
    return (
        ""
        if pd.api.types.is_scalar(value) and pd.isna(value)
        else str(int(value) if isinstance(value, float) and value.is_integer() else value)
    )


def read(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Reads a table of images: one row per image and domain, and sentences on what was ignored.

    Raises:
        DataError: a column is missing or a value is not allowed; the message names the row.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path} is no table; allowed: {' or '.join(SUFFIXES)}, or a folder")
    listed = read_text(path)
    names = [name for name in _PATHS if name in listed]
    if len(names) != 1 or "label" not in listed:
        needed = f"needed: one of {', '.join(_PATHS)}, and label; allowed besides: {', '.join(_OPTIONAL)}"
        raise DataError(f"{path} has the columns {', '.join(listed.columns)}; {needed}")
    root, rows = path.parent, []
    known, seen = dict[str, int](), set[tuple[str, str]]()
    for number, row in zip(listed.index, listed.to_dict("records"), strict=True):
        where = f"{path}, row {number}"
        image = _image(where, root, row[names[0]])
        label = label_of(row["label"])
        if label is None:
            raise DataError(f"{where} has label {row['label']!r}; allowed: {LABELS_IN_WORDS}")
        domain = row.get("domain", root.name or "data").strip()
        if not domain or set(domain) & set('/\\:*?"<>|') or domain.startswith("."):
            raise DataError(f"{where} has domain {domain!r}; needed: a name without / and \\ and other signs of paths")
        split = row.get("split", "").strip().lower()
        if split and split not in SPLIT_NAMES:
            raise DataError(f"{where} has split {row['split']!r}; allowed: {', '.join(SPLIT_NAMES)}, or nothing")
        if (image, domain) in seen:
            raise DataError(f"{where} has {image} of domain {domain!r} once more; needed: each image once")
        if known.setdefault(image, label) != label:
            raise DataError(f"{where} has {image} with another label than before; needed: one label for an image")
        seen.add((image, domain))
        video = row.get("video", "").strip()
        group = row.get("group", "").strip() or video or image.rpartition(".")[0]
        rows.append((image, label, domain, SPLIT_NAMES.get(split, ""), group, video))
    ignored = [name for name in listed.columns if name not in (names[0], "label", *_OPTIONAL)]
    notes = [f"Columns ignored: {', '.join(ignored)}."] if ignored else []
    return pd.DataFrame(rows, columns=["image", "label", "domain", "split", "group", "video"]), notes


def _image(where: str, root: Path, text: str) -> str:
    """The posix path of an image, from the table's folder."""
    if min(text, default=" ") < " ":
        raise DataError(f"{where} has {text!r}; needed: a path without line ends and other control characters")
    path = Path(os.path.normpath(root / text))
    if "\\" in text and not path.is_file():  # written on Windows
        path = Path(os.path.normpath(root / text.replace("\\", "/")))
    if not (bases := [folder for folder in (root, root.resolve()) if path.is_relative_to(folder)]):
        raise DataError(f"{where} has {text!r}, outside {root}; allowed: files in the table's folder")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataError(f"{where} has {text!r}, which is no image; allowed: {', '.join(IMAGE_SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{where} has {text!r}, but there is no such file in {root}")
    return path.relative_to(bases[0]).as_posix()
