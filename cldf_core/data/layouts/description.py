"""What a registered data set is described by: dataset.yaml and, beside it, the table of its images.

Both are plain text that a person may edit, so they are read strictly: what is not allowed is told with its row.
"""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath

import pandas as pd
import yaml

from cldf_core.data.domains import SPLITS, DataError, Domain
from cldf_core.data.files import file_hash, whole_file
from cldf_core.data.layouts.original import CLASSES
from cldf_core.data.layouts.tables import read_text

DESCRIPTION, IMAGES, AUDIT = "dataset.yaml", "images.csv", "audit.json"
COLUMNS = ("image", "label", "domain", "split", "group")
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "made": ((datetime.date,), "a date such as 2024-05-31"),
    "seed": ((int, type(None)), "a whole number or null"),
}


@dataclass(frozen=True)
class Description:
    """The content of dataset.yaml.

    Attributes:
        name: of the data set.
        root: the folder that image paths start from, absolute or from the folder of dataset.yaml.
        layout: that was recognised.
        found: what was recognised, in words.
        made: ISO date.
        seed: of the splits, or None where the layout had them all.
        images: the table's file, beside dataset.yaml.
    """

    name: str
    root: str
    layout: str
    found: str
    made: datetime.date
    seed: int | None
    images: str = IMAGES


def is_described(folder: Path) -> bool:
    """Whether the folder is a registered data set's."""
    return (folder / DESCRIPTION).is_file()


def write_description(folder: Path, description: Description, table: pd.DataFrame) -> None:
    """Writes both files, dataset.yaml last, so that it stands for both."""
    (folder / DESCRIPTION).unlink(missing_ok=True)
    with whole_file(folder / IMAGES) as path:
        table[[*COLUMNS, "video"]].to_csv(path, index=False)
    with whole_file(folder / DESCRIPTION) as path:
        path.write_text(yaml.safe_dump(asdict(description), sort_keys=False, allow_unicode=True), encoding="utf-8")


def read_description(folder: Path) -> Description:
    """dataset.yaml of a folder.

    Raises:
        DataError: it is no YAML, or a key is unknown, missing or of another kind than allowed.
    """
    path = folder / DESCRIPTION
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from None
    allowed = [f.name for f in fields(Description)]
    if not isinstance(values, dict):
        raise DataError(f"{path} holds a {type(values).__name__}; needed: lines of the form name: value")
    odd = [key for key in values if key not in allowed] or [key for key in allowed if key not in values]
    if odd:
        what = "unknown" if odd[0] in values else "missing"
        raise DataError(f"{path}: the key {odd[0]!r} is {what}; needed: {', '.join(allowed)}")
    if isinstance(values["made"], str):
        with contextlib.suppress(ValueError):  # told below
            values["made"] = datetime.date.fromisoformat(values["made"])
    for key, value in values.items():
        kinds, words = _KINDS.get(key, ((str,), "text"))
        if not isinstance(value, kinds) or isinstance(value, bool) or value == "":
            raise DataError(f"{path}: {key} is {value!r}; needed: {words}")
    return Description(**values)


def described_domain_names(folder: Path) -> list[str]:
    """The domains of a registered data set, sorted."""
    return sorted(set(read_images(folder)["domain"]))


def read_described(folder: Path, names: Sequence[str]) -> list[Domain]:
    """The named domains of a registered data set; their tables have a column video where there are videos.

    Raises:
        DataError: one of the two files is faulty, or a domain, the folder of images or an image is missing.
    """
    description = read_description(folder)
    path, root = folder / description.images, folder / Path(description.root).expanduser()
    table = read_images(folder)
    there = sorted(set(table["domain"]))
    for name in names:
        if name not in there:
            raise DataError(f"there is no domain {name!r} in {folder}; allowed: {', '.join(there)}")
    if not root.is_dir():
        raise DataError(f"{folder / DESCRIPTION}: root is {description.root!r}; needed: the folder of the images")
    warned = _audit_notes(folder, path)
    return [_domain(name, path, root, table[table["domain"] == name], warned) for name in names]


def described_files(folder: Path) -> list[Path]:
    """All files that a result on a registered data set depends on, images included."""
    root = folder / Path(read_description(folder).root).expanduser()
    own = [path for path in (folder / DESCRIPTION, folder / IMAGES, folder / AUDIT) if path.is_file()]
    return own + [root / image for image in read_images(folder)["image"].unique()]


def _audit_notes(folder: Path, table: Path) -> list[str]:
    """What the audit warned of, or that it is missing or was made of another table."""
    again = f"{folder.name}: not audited as it is now; cldf data audit {folder.name} looks for shortcuts"
    try:
        audit = json.loads((folder / AUDIT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [again]
    made_of_this = audit.get("images") == file_hash(table)
    return [str(text) for text in audit.get("warnings", [])] + [again] * (not made_of_this)


def _domain(name: str, path: Path, root: Path, table: pd.DataFrame, warned: Sequence[str]) -> Domain:
    for row, image in zip(table.index, table["image"], strict=True):
        if not (root / image).is_file():
            raise DataError(f"{path}, row {row} has the image {image!r}, but there is no such file in {root}")
    labels = set(table["label"])
    notes = [f"{name} has only {CLASSES[label]} images" for label in labels if len(labels) == 1]
    # A sentence of the audit begins with its domains; one that begins with the data set's name is of all.
    notes += [text for text in warned if {name, path.parent.name} & set(text.split(":")[0].split(" and "))]
    columns = ["image", "label", "split", "group"] + ["video"] * bool((table["video"] != "").any())
    return Domain(name, root, table[columns].reset_index(drop=True), tuple(notes))


def read_images(folder: Path) -> pd.DataFrame:
    """The table of images: image, label (0 real, 1 fake), domain, split, group, video; indexed by the file's row.

    Raises:
        DataError: the table is missing, or a column or a row is not as it must be.
    """
    path = folder / read_description(folder).images
    if not path.is_file():
        raise DataError(f"there is no {path}; needed: the table that {DESCRIPTION} beside it names")
    table = read_text(path)
    lacking = [c for c in COLUMNS if c not in table] or [c for c in table.columns if c not in (*COLUMNS, "video")]
    if lacking:
        what = "has an unknown" if lacking[0] in table else "lacks the"
        raise DataError(f"{path} {what} column {lacking[0]!r}; needed: {', '.join(COLUMNS)}; allowed besides: video")
    if table.empty:
        raise DataError(f"{path} has no rows; needed: one for each image")
    for column, allowed in (("label", ("0", "1")), ("split", SPLITS)):
        _refuse(path, table, column, ~table[column].isin(allowed), f"allowed: {', '.join(allowed)}")
    for column in ("image", "domain", "group"):
        _refuse(path, table, column, table[column].str.strip() == "", "needed: some text")
    outside = [PurePosixPath(image).is_absolute() or ".." in image.split("/") for image in table["image"]]
    _refuse(path, table, "image", pd.Series(outside, table.index), "needed: a path from the root, without ..")
    _refuse(path, table, "domain", table["domain"].str.contains(r"[/\\]"), "needed: a name without / and \\")
    again = table.duplicated(["domain", "image"])
    _refuse(path, table, "image", again, "needed: each image once in a domain")
    if "video" not in table:
        table["video"] = ""
    return table.assign(label=table["label"].astype(int))


def _refuse(path: Path, table: pd.DataFrame, column: str, bad: pd.Series, allowed: str) -> None:
    if bad.any():
        row = bad.index[bad][0]
        raise DataError(f"{path}, row {row} has {column} {table.loc[row, column]!r}; {allowed}")
