"""Where data sets lie on disk: the project's root, the embedded benchmark, and the seed's folder layout.

    <folder>/real/<domain>/trainA/…  testA/…      real images (also trainB, testB)
    <folder>/fake/<domain>/trainA/…  testA/…      fake ones
    <folder>/splits.csv                           optional: file, split, group

Folders whose names begin with train or val hold training and validation images, with test the test
images; splits.csv, where there is one, says it file by file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from filelock import FileLock

import cldf_core
from cldf_core.data.domains import COLUMNS, DataError, Domain
from cldf_core.data.images import SUFFIXES

CLASSES = ("real", "fake")
SPLITS_FILE = "splits.csv"
_SPLIT_OF = {"train": "train", "val": "validation", "test": "test"}


def project_root() -> Path:
    """The folder that holds runs/, data/ and figures/.

    The environment variable CLDF_ROOT if it is set; else the nearest folder above the working folder, or
    above the package, whose pyproject.toml is this project's; else the working folder.
    """
    if os.environ.get("CLDF_ROOT"):
        return Path(os.environ["CLDF_ROOT"]).resolve()
    here, package = Path.cwd(), Path(cldf_core.__file__).parent
    for folder in (here, *here.parents, package.parent):
        project = folder / "pyproject.toml"
        if project.is_file() and 'name = "cldf-core"' in project.read_text(encoding="utf-8"):
            return folder
    return here


def data_folder(data: str) -> Path:
    """The folder of a data set: an embedded one, built here if it is missing, or a path.

    Raises:
        DataError: there is no such folder.
    """
    from cldf_core.data.mini.build import EMBEDDED, build, is_built

    if data in EMBEDDED:
        folder = project_root() / "data" / data
        if not is_built(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_name(f".{data}.lock")):  # two notebooks may ask at once
                squares = EMBEDDED[data]
                build(folder, train=squares["train"], validation=squares["validation"], test=squares["test"])
        return folder
    given = Path(data).expanduser()
    for folder in (given, project_root() / given):
        if folder.is_dir():
            return folder.resolve()
    raise DataError(
        f"data is {data!r}: there is no such folder; allowed: {', '.join(EMBEDDED)}, or a folder with "
        "real/<domain>/ and fake/<domain>/ in it"
    )


def domain_names(folder: Path) -> list[str]:
    """The domains of a data set in the seed's layout, sorted."""
    return sorted({d.name for c in CLASSES for d in (folder / c).glob("*") if d.is_dir()})


def read_domains(folder: Path, names: Sequence[str]) -> list[Domain]:
    """The named domains of a data set in the seed's layout.

    Raises:
        DataError: a domain, its training or its test images are missing; the message names the folder.
    """
    there = domain_names(folder)
    if not there:
        raise DataError(
            f"{folder} holds no domain; needed: folders real/<domain>/ and fake/<domain>/, each with "
            "trainA/ and testA/ inside"
        )
    written = _read_splits(folder)
    return [_read_domain(folder, name, there, written) for name in names]


def _read_domain(folder: Path, name: str, there: list[str], written: pd.DataFrame | None) -> Domain:
    if name not in there:
        raise DataError(f"there is no domain {name!r} in {folder}; allowed: {', '.join(there)}")
    rows = []
    for label, kind in enumerate(CLASSES):
        base = folder / kind / name
        # rglob on a name may meet one file under two spellings where case is ignored: a set counts it once.
        files = {p for p in base.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES}
        for path in sorted(files):
            part = path.relative_to(base).parts[0].lower()
            split = next((s for start, s in _SPLIT_OF.items() if part.startswith(start)), None)
            if split is None:
                raise DataError(f"{path} is in none of the folders train*, val* or test* of {base}")
            rows.append((path.relative_to(folder).as_posix(), label, split, path.stem))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    if table.empty:
        raise DataError(f"domain {name!r} in {folder} holds no images; looked for: {', '.join(SUFFIXES)}")
    if written is not None:
        at = written.index.get_indexer(table["image"])
        missing = table.loc[at < 0, "image"]
        if len(missing):
            raise DataError(f"{folder / SPLITS_FILE} does not mention {missing.iloc[0]} (and {len(missing) - 1} more)")
        table[["split", "group"]] = written[["split", "group"]].to_numpy()[at]
    return Domain(name, folder, table)


def _read_splits(folder: Path) -> pd.DataFrame | None:
    path = folder / SPLITS_FILE
    if not path.is_file():
        return None
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    lacking = [c for c in ("file", "split", "group") if c not in table]
    if lacking:
        raise DataError(f"{path} lacks the column {lacking[0]!r}; needed: file, split, group")
    again = table.loc[table["file"].duplicated(), "file"]
    if len(again):
        raise DataError(f"{path} mentions {again.iloc[0]} twice; needed: each file once")
    return table.set_index("file")
