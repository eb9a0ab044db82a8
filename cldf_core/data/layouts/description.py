"""Reads and writes what describes a registered data set: dataset.yaml and, beside it, the table of its images.

Both are plain text that a person may edit, so they are read strictly, and a mistake is reported with its row.
"""

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cldf_core.data.columns import repeated
from cldf_core.data.domains import CLASSES, SPLITS, DataError, Domain
from cldf_core.data.files import file_hash, read_record, whole_file
from cldf_core.data.layouts import reals
from cldf_core.data.layouts.tables import read_text
from cldf_core.reading import read_yaml, whole_number

DESCRIPTION, IMAGES, AUDIT = "dataset.yaml", "images.csv", "audit.json"
COLUMNS = ("image", "label", "domain", "split", "group")
MOST_BYTES = 1 << 20  # of dataset.yaml


@dataclass(frozen=True)
class Description:
    """The content of dataset.yaml."""

    name: str
    root: str  # the folder that image paths start from, absolute or from the folder of dataset.yaml
    layout: str  # that was recognised
    found: str  # sentences on it
    made: datetime.date
    seed: int | None  # with which the splits were drawn, or None if the layout had all of them
    images: str = IMAGES  # file name of the table, which lies beside dataset.yaml
    reals: str = reals.OWN  # where domains of fakes only take real images from, see `reals.with_reals`
    pools: Mapping[str, str] = field(default_factory=dict)  # its pools; empty takes those of `reals.pools_of`


def is_described(folder: Path) -> bool:
    """Whether the folder is that of a registered data set."""
    return (folder / DESCRIPTION).is_file()


def write_description(folder: Path, description: Description, table: pd.DataFrame) -> None:
    """Writes both files or none; dataset.yaml appears last: where it exists, so does the table."""
    with whole_file(folder / DESCRIPTION) as path:
        values = {k: v for k, v in asdict(description).items() if k not in _OPTIONAL or v not in (reals.OWN, {})}
        path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
        with whole_file(folder / IMAGES) as table_path:  # which cannot be replaced where another program has it open
            table[[*COLUMNS, "video"]].to_csv(table_path, index=False)
        (folder / DESCRIPTION).unlink(missing_ok=True)


def read_description(folder: Path) -> Description:
    """Reads dataset.yaml; a DataError says which key is unknown, missing or has a value that is not allowed."""
    path = folder / DESCRIPTION
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ValueError(f"has {size:,} bytes; allowed: {MOST_BYTES:,}")
        values = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable YAML: {error}") from None
    except ValueError as error:
        raise DataError(f"{path} {_shown(error)}") from None
    allowed = [f.name for f in fields(Description)]
    if not isinstance(values, dict):
        raise DataError(f"{path} holds a {type(values).__name__}; needed: lines of the form name: value")
    lacking = [key for key in allowed if key not in (*values, *_OPTIONAL)]
    if odd := [key for key in values if key not in allowed] or lacking:
        what = "unknown" if odd[0] in values else "missing"
        raise DataError(f"{path}: the key {_shown(odd[0])!r} is {what}; needed: {', '.join(allowed)}")
    pools = values.pop("pools", {})
    if not isinstance(pools, dict) or not all(isinstance(name, str) for name in pools.values()):
        needed = "lines of the form domain of fakes: domain of real images"
        raise DataError(f"{path}: pools is {_shown(repr(pools))}; needed: {needed}")
    for key, text in values.items():
        read, words = _READERS.get(key, (str, "text"))
        try:
            if not isinstance(text, str) or not text or "\0" in text:
                raise ValueError
            values[key] = read(text)
        except ValueError:
            raise DataError(f"{path}: {key} is {_shown(repr(text))}; needed: {words}") from None
    if values["layout"] == "seed":  # its name in earlier versions
        values["layout"] = "original"
    if pools and values.get("reals", reals.OWN) == reals.OWN:
        raise DataError(f"{path} has pools without a rule; needed: reals: {reals.DEALT} or {reals.SHARED}")
    return Description(**values, pools=pools)


def read_described(folder: Path, names: Sequence[str]) -> list[Domain]:
    """Reads domains of a registered data set; a table has the column video if there are videos.

    Raises:
        DataError: a file is faulty, or a domain, the folder of images or an image is missing.
    """
    description, table = read_description(folder), read_images(folder)
    path, root = folder / description.images, images_root(folder, description)
    tables = {str(name): part for name, part in table.groupby("domain")}
    if missing := [name for name in names if name not in tables]:
        raise DataError(f"there is no domain {missing[0]!r} in {folder}; allowed: {', '.join(tables)}")
    if not root.is_dir():
        raise DataError(f"{folder / DESCRIPTION}: root is {description.root!r}; needed: the folder of the images")
    warnings = _audit_notes(folder)
    return [_domain(name, path, root, tables[name], warnings) for name in names]


def images_root(folder: Path, description: Description) -> Path:
    """The folder that the image paths of a data set start from."""
    return folder / os.path.expanduser(description.root)


def described_files(folder: Path) -> list[Path]:
    """All files that a result on a registered data set depends on, with its images."""
    root = images_root(folder, read_description(folder))
    files = [path for path in (folder / DESCRIPTION, folder / IMAGES, folder / AUDIT) if path.is_file()]
    return files + [root / image for image in read_images(folder)["image"].unique()]


def images_hash(folder: Path) -> str:
    """The hash of what says which images a data set has, and in which domains."""
    description = read_description(folder)
    rule = f" {description.reals} {sorted(description.pools.items())}" * (description.reals != reals.OWN)
    return file_hash(folder / description.images) + rule


def _audit_notes(folder: Path) -> list[str]:
    """The warnings of the audit, and a note if there is no audit, or if the images have changed since."""
    outdated = f"{folder.name}: not audited as it is now; cldf data audit {folder.name} looks for shortcuts"
    try:
        audit = read_record(folder / AUDIT)
    except (OSError, ValueError):
        return [outdated]
    return [*map(str, audit.get("warnings", [])), *[outdated] * (audit.get("images") != images_hash(folder))]


def _domain(name: str, path: Path, root: Path, table: pd.DataFrame, warnings: Sequence[str]) -> Domain:
    for row, image in table["image"].items():
        if not (root / image).is_file():
            raise DataError(f"{path}, row {row} has the image {image!r}, but there is no such file in {root}")
    labels = set(table["label"])
    notes = [f"{name} has only {CLASSES[label]} images" for label in labels if len(labels) == 1]
    # A sentence of the audit begins with its domains, or with the data set's name if it concerns all.
    notes += [text for text in warnings if {name, path.parent.name} & set(text.split(":")[0].split(" and "))]
    columns = ["image", "label", "split", "group"] + ["video"] * bool((table["video"] != "").any())
    return Domain(name, root, table[columns].reset_index(drop=True), tuple(notes))


def read_images(folder: Path) -> pd.DataFrame:
    """Reads the table of images: image, label (0 real, 1 fake), domain, split, group, video; the index is the row.

    Domains of fakes only have the real images that the description gives them.

    Raises:
        DataError: the table is missing, or a column or a row is not as it must be.
    """
    description = read_description(folder)
    if not (path := folder / description.images).is_file():
        raise DataError(f"there is no {path}; needed: the table that {DESCRIPTION} beside it names")
    table = read_text(path)
    if lacking := [c for c in COLUMNS if c not in table] or [c for c in table.columns if c not in (*COLUMNS, "video")]:
        what = "has an unknown" if lacking[0] in table else "lacks the"
        raise DataError(f"{path} {what} column {lacking[0]!r}; needed: {', '.join(COLUMNS)}; allowed besides: video")
    if table.empty:
        raise DataError(f"{path} has no rows; needed: one for each image")
    for column, allowed in (("label", ("0", "1")), ("split", SPLITS)):
        _refuse(path, table, column, ~table[column].isin(allowed), f"allowed: {', '.join(allowed)}")
    for column in ("image", "domain", "group"):
        _refuse(path, table, column, table[column].str.strip() == "", "needed: some text")
    outside = table["image"].str.contains(r"^/|(?:^|/)\.\.(?:/|$)")
    _refuse(path, table, "image", outside, "needed: a path from the root, without ..")
    _refuse(path, table, "domain", table["domain"].str.contains(r"[/\\]"), "needed: a name without / and \\")
    again = pd.Series(repeated(table["domain"] + "/" + table["image"]), table.index)
    _refuse(path, table, "image", again, "needed: each image once in a domain")
    table = table.assign(label=table["label"].astype(int), video=table.get("video", ""))
    if description.reals == reals.OWN:
        return table
    pools = description.pools or reals.pools_of(table)
    return reals.with_reals(table, description.reals, pools, str(folder / DESCRIPTION))


def _rule(text: str) -> str:
    if text not in reals.RULES:
        raise ValueError
    return text


def _seed(text: str) -> int | None:
    return None if text == "null" else whole_number(text)


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "made": (datetime.date.fromisoformat, "a date such as 2024-05-31"),
    "seed": (_seed, "a whole number or null"),
    "reals": (_rule, " or ".join(reals.RULES)),
}
_OPTIONAL = ("reals", "pools")  # keys that may be left out


def _shown(what: object) -> str:
    """A text that fits into a sentence."""
    text = " ".join(str(what).split())
    return text if len(text) <= 200 else text[:200] + " …"


def _refuse(path: Path, table: pd.DataFrame, column: str, bad: pd.Series, allowed: str) -> None:
    if bad.any():
        row = bad.index[bad][0]
        raise DataError(f"{path}, row {row} has {column} {table.loc[row, column]!r}; {allowed}")
