"""Finds and reads data sets: the embedded benchmark, registered data sets, and folders in the original's layout.

Images in another layout are registered first (`cldf_core.data.intake.add`).
"""

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cldf_core.data.console import note
from cldf_core.data.domains import DataError, Domain
from cldf_core.data.files import file_hash, locked, read_record, write_record
from cldf_core.data.layouts.description import is_described, read_described, read_images
from cldf_core.data.layouts.original import (
    is_original_layout,
    is_read_by_original,
    original_domains,
    read_original_domain,
    read_splits,
)
from cldf_core.data.layouts.recognition import ORIGINAL, detect
from cldf_core.data.listing import list_images
from cldf_core.data.runtime import project_root

SENT = "data/sent"  # in a root: folders of another machine, at the paths that they have there


def registered() -> list[str]:
    """The names of the registered data sets, sorted."""
    return sorted(f.name for f in (project_root() / "data").glob("*") if is_described(f))


def _sets() -> list[str]:
    from cldf_core.data.mini.build import EMBEDDED

    return [*EMBEDDED, *registered()]


def data_folder(data: str) -> Path:
    """The folder of a data set: an embedded one, built here if it is missing, a registered one, or a path.

    Raises:
        DataError: there is no such folder, or its images have to be registered first.
    """
    from cldf_core.data.mini.build import EMBEDDED, TABLE, build, is_built

    if data in EMBEDDED:
        folder = project_root() / "data" / data
        if not is_built(folder) or _is_damaged(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with locked(folder.with_name(f".{data}.lock")):  # two notebooks may ask at once
                if is_built(folder) and _is_damaged(folder):
                    note(f"{folder / TABLE} is damaged or changed; the benchmark is built again")
                    shutil.rmtree(folder)
                build(folder, **EMBEDDED[data])
                write_record(folder.with_name(f".{data}.json"), {TABLE: file_hash(folder / TABLE)})
        return folder
    if data in registered():
        return (project_root() / "data" / data).resolve()
    path = Path(os.path.expanduser(data))
    for folder in (path, project_root() / path, project_root() / SENT / path.relative_to(path.anchor)):
        if folder.is_dir():
            return _in_known_layout(folder, data).resolve()
    if path.is_file():
        raise DataError(f"data is {data!r}, a file; register it first: cldf data add {data}")
    allowed = f"{', '.join(_sets())}, or a folder with real/<domain>/ and fake/<domain>/ in it"
    raise DataError(f"data is {data!r}: there is no such folder; allowed: {allowed}")


def is_there(data: str) -> bool:
    """Whether a data set is one that can be read without building it first."""
    from cldf_core.data.mini.build import EMBEDDED, is_built

    return data not in EMBEDDED or is_built(project_root() / "data" / data)


def _is_damaged(folder: Path) -> bool:
    """Whether the table of an embedded benchmark is not as it was built."""
    try:
        written = read_record(folder.with_name(f".{folder.name}.json"))
    except FileNotFoundError:  # it was built before there were records
        return False
    except (OSError, ValueError):
        return True
    return any(file_hash(folder / name) != digest for name, digest in written.items())


def _in_known_layout(folder: Path, data: str) -> Path:
    """The folder, or the one that it holds, if it is registered or in the original's layout; else a DataError."""
    if is_described(folder) or is_original_layout(folder):
        return folder
    try:
        found = detect(folder)
    except DataError:  # no layout at all: the error on reading its domains says what is needed
        return folder
    if found.layout == ORIGINAL:
        return found.root
    where = f"data is {data!r}, a folder in the layout {found.layout}, not the original's"
    raise DataError(f"{where}; register it first: cldf data add {data}")


def domain_names(folder: Path) -> list[str]:
    """The domains of a data set that is registered or in the original's layout, sorted."""
    return sorted(set(read_images(folder)["domain"])) if is_described(folder) else original_domains(folder)


def read_domains(folder: Path, names: Sequence[str]) -> list[Domain]:
    """Reads domains of a data set that is registered or in the original's layout.

    Raises:
        DataError: a domain or its images are missing, or a file that describes them is faulty.
    """
    if is_described(folder):
        return read_described(folder, names)
    domains = original_domains(folder)
    if not domains:
        needed = "folders real/<domain>/ and fake/<domain>/, each with trainA/ and testA/ inside"
        raise DataError(f"{folder} holds no domain; needed: {needed}")
    splits, listing = read_splits(folder), list_images(folder)
    return [read_original_domain(folder, name, domains, splits, listing) for name in names]


def read_named(folder: Path, names: Sequence[str], files: str) -> list[Domain]:
    """The domains of these names, with the images that the option `files` leaves them."""
    domains = named_domains(folder, names)
    if files == "original":
        domains = [replace(d, table=d.table[d.table["image"].map(is_read_by_original)]) for d in domains]
        if bare := [domain.name for domain in domains if domain.table.empty]:
            raise DataError(f"files is 'original', and the original code reads no image of {bare[0]!r}; allowed: 'all'")
    return domains


def other_sets(names: Iterable[str]) -> list[str]:
    """The data sets, besides the run's own, that names of domains may be of: ffpp:Deepfakes is of ffpp."""
    sets = (name.partition(":")[0] for name in names if ":" in name)
    return [name for name in dict.fromkeys(sets) if name in _sets()]


def named_domains(folder: Path, names: Sequence[str]) -> list[Domain]:
    """The domains of these names, as the options `stream` and `unseen` have them.

    Where no domain of the folder is called so, GAN-S+VFHQ is the union of two as one domain, and ffpp:Deepfakes the
    domain Deepfakes of the registered data set ffpp. Its groups are told apart from those of the folder, where that is
    another one.

    Raises:
        DataError: as `read_domains`; or there is no data set of that name.
    """
    known = domain_names(folder) if any("+" in name or ":" in name for name in names) else []
    foreign = [name for name in names if ":" in name and name not in known]
    parts = {name: [name] if name in known else name.split("+") for name in names if name not in foreign}
    single = list(dict.fromkeys(itertools.chain(*parts.values())))
    try:
        read = {domain.name: domain for domain in (read_domains(folder, single) if single else [])}
    except DataError as error:
        missing, others = {*single} - {*domain_names(folder)}, list[str]()
        for data in registered() if missing else []:
            with contextlib.suppress(DataError):  # of that set, which is not the matter here
                others += [f"{data}:{name}" for name in domain_names(data_folder(data)) if name in missing]
        raise DataError(f"{error}; other data sets have {', '.join(others)}" if others else str(error)) from None
    read |= {name: of_other_set(name, folder) for name in foreign}
    parts |= {name: [name] for name in foreign}
    domains = []
    for name in names:
        first, *others = parts[name]
        union = read[first]
        for other in others:
            table = pd.concat([union.table, read[other].table]).drop_duplicates(["image", "label"], ignore_index=True)
            if (twice := table["image"].duplicated()).any():
                image = table.loc[twice, "image"].iloc[0]
                raise DataError(f"domain {name!r}: {image} is real in one of its domains and fake in another")
            union = replace(union, name=name, table=table, notes=union.notes + read[other].notes)
        domains.append(union)
    return domains


def of_other_set(name: str, folder: Path | None = None) -> Domain:
    """The domain of another data set than the run's, which lies in `folder`, by its name there and that of the set."""
    data, _, own = name.partition(":")
    if data not in (sets := _sets()):
        union = "; a union, as A+B, takes domains of the run's own data set" if "+" in data else ""
        allowed = f"allowed: {', '.join(sets)} (cldf data list){union}"
        raise DataError(f"domain {name!r}: there is no data set {data!r}; {allowed}")
    there = data_folder(data)
    if other_sets([own]) and own not in domain_names(there):
        raise DataError(f"domain {name!r}: {own!r} is of a data set itself; needed: SET:DOMAIN, once")
    (domain,) = named_domains(there, [own])
    groups = ("" if there == folder else data + ":") + domain.table["group"].astype(str)
    return replace(domain, name=name, table=domain.table.assign(group=groups))
