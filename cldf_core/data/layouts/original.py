"""Reads data sets in the original's layout.

    <folder>/real/<domain>/trainA/…  testA/…      real images (also trainB, testB)
    <folder>/fake/<domain>/trainA/…  testA/…      fake ones
    <folder>/splits.csv                           optional: file, split, group

Folders whose names begin with train, val or test hold the training, validation and test images, unless splits.csv
gives the split file by file.
"""

from pathlib import Path

import pandas as pd

from cldf_core.data.domains import COLUMNS, DataError, Domain
from cldf_core.data.images import SUFFIXES

CLASSES = ("real", "fake")
SPLITS_FILE = "splits.csv"
# Names of folders that mean a split, in every layout; in the original's more may follow them, as in trainA.
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_SPLIT_OF = {"train": "train", "val": "validation", "test": "test"}


def is_original_layout(folder: Path) -> bool:
    """Whether a folder real/<domain>/ or fake/<domain>/ holds a folder train*, val* or test*."""
    return any(
        part.name.lower().startswith(tuple(_SPLIT_OF)) and part.parent.name.lower() not in SPLIT_NAMES and part.is_dir()
        for kind in CLASSES
        for part in (folder / kind).glob("*/*")
    )


def original_domains(folder: Path) -> list[str]:
    """The domains of a data set in the original's layout, sorted."""
    return sorted({d.name for c in CLASSES for d in (folder / c).glob("*") if d.is_dir()})


def read_original_domain(folder: Path, name: str, domains: list[str], splits: pd.DataFrame | None) -> Domain:
    """Reads one of the domains of a folder in the original's layout; splits are those of `read_splits`.

    Raises:
        DataError: the domain or its images are missing, or an image has no split.
    """
    if name not in domains:
        raise DataError(f"there is no domain {name!r} in {folder}; allowed: {', '.join(domains)}")
    rows = []
    for label, kind in enumerate(CLASSES):
        base = folder / kind / name
        # A set, as rglob may list one file under two spellings on file systems that ignore case.
        for path in sorted({p for p in base.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES}):
            part = path.relative_to(base).parts[0].lower()
            split = next((s for start, s in _SPLIT_OF.items() if part.startswith(start)), None)
            if split is None:
                raise DataError(f"{path} is in none of the folders train*, val* or test* of {base}")
            rows.append((path.relative_to(folder).as_posix(), label, split, path.stem))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    if table.empty:
        raise DataError(f"domain {name!r} in {folder} holds no images; looked for: {', '.join(SUFFIXES)}")
    if splits is not None:
        if missing := [image for image in table["image"] if image not in splits.index]:
            raise DataError(f"{folder / SPLITS_FILE} does not mention {missing[0]} (and {len(missing) - 1} more)")
        table[["split", "group"]] = splits.loc[table["image"], ["split", "group"]].to_numpy()
    return Domain(name, folder, table)


def read_splits(folder: Path) -> pd.DataFrame | None:
    """Reads split and group of each file from splits.csv; None if there is no such table.

    Raises:
        DataError: a column is missing, or a file is mentioned twice.
    """
    path = folder / SPLITS_FILE
    if not path.is_file():
        return None
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if lacking := [c for c in ("file", "split", "group") if c not in table]:
        raise DataError(f"{path} lacks the column {lacking[0]!r}; needed: file, split, group")
    if repeated := table.loc[table["file"].duplicated(), "file"].tolist():
        raise DataError(f"{path} mentions {repeated[0]} twice; needed: each file once")
    return table.set_index("file")
