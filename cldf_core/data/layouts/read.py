"""Where data sets lie on disk: the project's root, the embedded benchmark, a registered data set, the seed's layout.

    <folder>/real/<domain>/trainA/…  testA/…      real images (also trainB, testB)
    <folder>/fake/<domain>/trainA/…  testA/…      fake ones
    <folder>/splits.csv                           optional: file, split, group

Folders whose names begin with train or val hold training and validation images, with test the test
images; splits.csv, where there is one, says it file by file. Images in another layout are registered
first (`cldf_core.data.intake.register`); `detect` tells which layout it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from cldf_core.data.domains import DataError, Domain
from cldf_core.data.layouts.description import described_domain_names, is_described, read_described
from cldf_core.data.layouts.original import (
    is_seed_layout,
    read_seed_domain,
    read_splits,
    seed_domains,
)
from cldf_core.data.layouts.recognise import detect
from cldf_core.data.runtime import project_root


def registered() -> list[str]:
    """The names of the registered data sets, sorted."""
    return sorted(f.name for f in (project_root() / "data").glob("*") if is_described(f))


def data_folder(data: str) -> Path:
    """The folder of a data set: an embedded one, built here if it is missing, a registered one, or a path.

    Raises:
        DataError: there is no such folder, or its layout is one that has to be registered first.
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
    if data in registered():
        return (project_root() / "data" / data).resolve()
    given = Path(data).expanduser()
    for folder in (given, project_root() / given):
        if folder.is_dir():
            _refuse_other_layouts(folder, data)
            return folder.resolve()
    if given.is_file():
        raise DataError(f"data is {data!r}, a file; register it first: cldf data add {data}")
    names = ", ".join([*EMBEDDED, *registered()])
    raise DataError(
        f"data is {data!r}: there is no such folder; allowed: {names}, or a folder with "
        "real/<domain>/ and fake/<domain>/ in it"
    )


def _refuse_other_layouts(folder: Path, data: str) -> None:
    if is_described(folder) or is_seed_layout(folder):
        return
    try:
        found = detect(folder)
    except DataError:  # in no layout at all: reading its domains tells what is needed
        return
    raise DataError(
        f"data is {data!r}, a folder in the layout {found.layout}, not the seed's; register it first: "
        f"cldf data add {data}"
    )


def domain_names(folder: Path) -> list[str]:
    """The domains of a data set that is registered or in the seed's layout, sorted."""
    return described_domain_names(folder) if is_described(folder) else seed_domains(folder)


def read_domains(folder: Path, names: Sequence[str]) -> list[Domain]:
    """The named domains of a data set that is registered or in the seed's layout.

    Raises:
        DataError: a domain, its training or its test images are missing, or a registered data set's files
            are faulty; the message names the folder.
    """
    if is_described(folder):
        return read_described(folder, names)
    there = seed_domains(folder)
    if not there:
        raise DataError(
            f"{folder} holds no domain; needed: folders real/<domain>/ and fake/<domain>/, each with "
            "trainA/ and testA/ inside"
        )
    written = read_splits(folder)
    return [read_seed_domain(folder, name, there, written) for name in names]
