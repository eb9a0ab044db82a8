"""Reads data sets in the original's layout.

    <folder>/real/<domain>/trainA/…  testA/…      real images (also trainB, testB)
    <folder>/fake/<domain>/trainA/…  testA/…      fake ones
    <folder>/splits.csv                           optional: file, split, group

Folders whose names begin with train, val or test hold the training, validation and test images, unless splits.csv
gives the split file by file.
"""

import operator
import re
from pathlib import Path

import pandas as pd

from cldf_core.data.domains import CLASSES, COLUMNS, SPLIT_NAMES, DataError, Domain
from cldf_core.data.images import SUFFIXES
from cldf_core.data.layouts.tables import read_text
from cldf_core.data.listing import Listing, is_hidden

SPLITS_FILE = "splits.csv"
PLACES = "real/<domain>/trainA, testA and so on, with fake/ beside real/"


def is_original_layout(folder: Path) -> bool:
    """Whether a folder real/<domain>/ or fake/<domain>/ holds a folder train*, val* or test*."""
    return any(
        split_of(part.name) and part.parent.name.lower() not in SPLIT_NAMES and part.is_dir()
        for kind in CLASSES
        for part in (folder / kind).glob("*/*")
    )


def is_part_of_original(name: str) -> bool:
    """Whether a folder's name is one that only this layout has: trainA, valB, testA and the like."""
    return re.fullmatch(r"(train|val|test)[ab]", name.casefold()) is not None


def split_of(name: str) -> str | None:
    """The split that a domain's folder holds, by its name; None for any other name."""
    return next((split for start, split in SPLIT_NAMES.items() if name.lower().startswith(start)), None)


def original_domains(folder: Path) -> list[str]:
    """The domains of a data set in the original's layout, sorted."""
    return sorted({d.name for c in CLASSES for d in (folder / c).glob("*") if d.is_dir() and not is_hidden(d.name)})


def read_original_domain(
    folder: Path, name: str, domains: list[str], splits: pd.DataFrame | None, listing: Listing
) -> Domain:
    """Reads one of the domains of a folder in the original's layout.

    Its domains, splits and files are those of `original_domains`, `read_splits` and `list_images`.

    Raises:
        DataError: the domain or its images are missing, or an image has no split.
    """
    if name not in domains:
        raise DataError(f"there is no domain {name!r} in {folder}; allowed: {', '.join(domains)}")
    rows = []
    for image in listing.images:
        if image.parts[0] in CLASSES and image.parts[1] == name:
            split = split_of(image.parts[2])
            if split is None:
                place = folder.joinpath(*image.parts[:2])
                raise DataError(f"{folder / image} is in none of the folders train*, val* or test* of {place}")
            rows.append((str(image), CLASSES.index(image.parts[0]), split, image.stem))
    table = pd.DataFrame(sorted(rows, key=operator.itemgetter(1)), columns=list(COLUMNS))  # real images first
    inside = [(path, what) for path, what in listing.left_alone if path.parts[1:2] == (name,)]
    notes = Listing([], [], [], [], inside).sentences()
    if table.empty:
        lacking = f"domain {name!r} in {folder} holds no images; looked for: {', '.join(SUFFIXES)}"
        raise DataError(" ".join([lacking + "." * bool(notes), *notes]))
    if splits is not None:
        if missing := [image for image in table["image"] if image not in splits.index]:
            raise DataError(f"{folder / SPLITS_FILE} does not mention {missing[0]} (such images: {len(missing)})")
        table[["split", "group"]] = splits.loc[table["image"], ["split", "group"]].to_numpy()
    return Domain(name, folder, table, tuple(f"{name}: {note}" for note in notes))


def read_splits(folder: Path) -> pd.DataFrame | None:
    """Reads split and group of each file from splits.csv; None if there is no such table.

    Raises:
        DataError: the table cannot be read, a column is missing, or a file is mentioned twice.
    """
    path = folder / SPLITS_FILE
    if not path.is_file():
        return None
    table = read_text(path)
    if lacking := [c for c in ("file", "split", "group") if c not in table]:
        raise DataError(f"{path} lacks the column {lacking[0]!r}; needed: file, split, group")
    if repeated := table.loc[table["file"].duplicated(), "file"].tolist():
        raise DataError(f"{path} mentions {repeated[0]} twice; needed: each file once")
    return table.set_index("file")


def is_read_by_original(image: str) -> bool:
    """Whether the original code reads an image; its path starts from the data set's folder.

    It reads real/<domain>/trainA/*.jpg, trainA/*.png and trainB/*.jpg, fake/<domain>/trainA/*.png and trainB/*.png, and
    the same of testA and testB.
    """
    part, name = r"[^/]+/(train|test)", r"[^./][^/]*\."
    read = (rf"real/{part}A/{name}(jpg|png)", rf"real/{part}B/{name}jpg", rf"fake/{part}[AB]/{name}png")
    return re.fullmatch("|".join(read), image) is not None
