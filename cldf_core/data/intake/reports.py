"""Checks, audits and describes the images of a registered data set, and writes the results beside its description.

<project>/data/<name>/survey.parquet    what `scan.survey` found, kept for the next call
<project>/data/<name>/check.csv         images that are rejected, changed when they are opened, or of nearly one colour
<project>/data/<name>/audit.json        warnings, which every run on the data set repeats
<project>/data/<name>/audit/tables/…    what the warnings are based on
<project>/data/<name>/CARD.md           data card, with samples.png
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from cldf_core.data.columns import give_back
from cldf_core.data.domains import DataError
from cldf_core.data.files import keep_table, kept_table, save_table, whole_file, write_record
from cldf_core.data.images import as_image, open_image
from cldf_core.data.intake import audit, scan
from cldf_core.data.intake.duplicates import duplicates
from cldf_core.data.layouts.description import AUDIT, images_hash, images_root, read_description, read_images
from cldf_core.data.layouts.read import registered
from cldf_core.data.runtime import project_root

SURVEY, CHECK, CARD, SAMPLES = "survey.parquet", "check.csv", "CARD.md", "samples.png"
FACTS_ONLY = "format_only"  # the table of what a classifier reaches that sees only facts of the files
SIDE = 96  # pixels a side of a picture on the card


class Audit(NamedTuple):
    """The audit of a data set."""

    counts: pd.DataFrame  # images, used images and groups of each domain, split and class
    facts_only: pd.DataFrame  # balanced accuracy by domain of a classifier that sees only facts of the files
    warnings: list[str]  # a sentence each


def check_images(
    name: str, *, size: int | None = None, contents: bool = False, workers: int | None = None
) -> tuple[int, pd.DataFrame]:
    """Opens every image once and lists which are rejected, changed when they are opened, or nearly of one colour.

    Images smaller than `size` pixels a side are rejected, too. With `contents` every file is read again, whatever its
    size and time are. Returns the number of images, and the table of check.csv: image, what ("changed", "odd" or
    "rejected") and why.
    """
    folder, joined = surveyed(name, workers=workers, contents=contents)
    images = joined.drop_duplicates("image")
    reason = images["reason"].copy()
    reason.update(scan.too_small(images, size)["reason"] if size else pd.Series(dtype=str))
    rules = images["rule"].where(~images["faint"], images["rule"] + "; nearly one colour").str.removeprefix("; ")
    what = np.where(reason != "", "rejected", np.where(images["faint"], "odd", "changed"))
    why = reason.where(reason != "", rules)
    rows = images.assign(what=what, why=why).loc[why != "", ["image", "what", "why"]]
    with whole_file(folder / CHECK) as path:
        rows.to_csv(path, index=False)
    return len(images), rows


def audit_images(name: str, *, workers: int | None = None) -> Audit:
    """Looks for what the files alone tell of the class, and for copies and leaks; later runs repeat the warnings."""
    folder, joined = surveyed(name, workers=workers)
    pairs, baseline, tables = duplicates(joined), audit.format_baseline(joined), audit.tables(joined)
    warnings = audit.warnings(joined, pairs=pairs, baseline=baseline)
    rows = []
    for domain, result in {**baseline["domains"], "all": baseline["overall"]}.items():
        every, smaller = result["all facts"], result["without file size"]
        rows.append((domain, every["balanced accuracy"], every["low"], every["high"], smaller["balanced accuracy"]))
    facts_only = pd.DataFrame(rows, columns=["domain", "facts of files only", "low", "high", "without file size"])
    for what, table in {**tables, "duplicates": pairs.pairs, FACTS_ONLY: facts_only}.items():
        save_table(table, folder / "audit", what)
    content = {"images": images_hash(folder), "warnings": warnings}
    write_record(folder / AUDIT, content, indent=2)
    return Audit(tables["counts"], facts_only, warnings)


def write_card(name: str, *, workers: int | None = None) -> tuple[Path, Path]:
    """Writes the data card and a picture of samples, and returns their paths."""
    folder, joined = surveyed(name, workers=workers)
    about = read_description(folder)
    text = audit.card(joined, f"Data set `{name}`, layout {about.layout}. {about.found}\n\n![samples]({SAMPLES})")
    with whole_file(folder / SAMPLES) as path:
        _samples(joined, images_root(folder, about)).save(path)
    with whole_file(folder / CARD) as path:
        path.write_text(text, encoding="utf-8")
    return folder / CARD, folder / SAMPLES


def surveyed(name: str, *, workers: int | None, contents: bool = False) -> tuple[Path, pd.DataFrame]:
    """Brings the survey of a data set up to date; returns its folder, and its table of images joined with the survey.

    Raises:
        DataError: there is no such data set, or the folder of its images is gone.
    """
    if name not in (names := registered()):
        allowed = ", ".join(names) or "none yet"
        raise DataError(f"there is no registered data set {name!r}; allowed: {allowed}; cldf data add makes one")
    folder = project_root() / "data" / name
    table, root = read_images(folder), images_root(folder, read_description(folder))
    if not root.is_dir():
        raise DataError(f"the images of {name!r} are gone: there is no folder {root}")
    seen = scan.survey(root, table["image"], kept_table(folder / SURVEY), workers=workers, contents=contents)
    keep_table(seen, folder / SURVEY)
    joined = table.merge(seen, on="image", how="left")
    give_back()
    return folder, joined


def _samples(joined: pd.DataFrame, root: Path, count: int = 8) -> Image.Image:
    """Draws a row of pictures for each class of each domain, taken evenly from its images."""
    rows = [part for _, part in joined[joined["used"]].groupby(["domain", "label"])]
    sheet = Image.new("RGB", (count * SIDE, max(len(rows), 1) * SIDE), "white")
    for y, part in enumerate(rows):
        for x, place in enumerate(np.unique(np.linspace(0, len(part) - 1, count).astype(int))):
            picture = as_image(open_image(root / part["image"].iloc[place]))
            picture.thumbnail((SIDE - 4, SIDE - 4))
            sheet.paste(picture, (x * SIDE, y * SIDE))
    return sheet
