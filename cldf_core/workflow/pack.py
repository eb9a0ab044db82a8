"""One file with what the notebooks of a profile read, so that elsewhere they open in seconds: packs it, and unpacks it.

It is a zip file, in which everything has the place that it has in a root:

    index.json                      profile, versions, code; sha256, size and time of each other file
    data/<data set>/…               the images
    data/spectra/…                  their spectra
    runs/<agent, notebook>-<key>/…  finished runs, executed notebooks, and tables of sweeps
    figures/tables/…                what notebooks read of published tables
    params/…                        for machines on which the package is installed without the project
"""

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import cldf_core
from cldf_core.data.console import counted
from cldf_core.data.domains import DataError
from cldf_core.data.files import file_hash, locked, pieces, told_if_full, whole_file
from cldf_core.data.intake import download
from cldf_core.data.intake.archives import checked_hash, extract, refusals_told
from cldf_core.data.intake.members import Refusal, checked_members, refused
from cldf_core.data.layouts.read import data_folder, other_sets
from cldf_core.data.mini.build import EMBEDDED
from cldf_core.data.runtime import project_root
from cldf_core.options import Options, UserError
from cldf_core.results.inventory import Entry, entries
from cldf_core.runs.folder import MANIFEST, SCORES, RunFolder
from cldf_core.runs.plan import names_of, planned
from cldf_core.runs.provenance import code_hash
from cldf_core.runs.shown import LIBRARIES, key_versions, show, versions_here, why_shown
from cldf_core.workflow.notebooks import notebook_parameters, sweep_tables
from cldf_core.workflow.parameters import NOTEBOOKS, Parameters
from cldf_core.workflow.parcels import Files, below, bring, data_set, sources

INDEX, FORMAT = "index.json", 1
LARGEST_INDEX = 64 << 20  # bytes
SPECTRA = "data/spectra/"
PLACES = ("data/", "runs/", "figures/tables/", "params/")  # in a root, where an archive has files
AGENT = "sequential"  # the hash of whose code stands for all
PACKED = (".png", ".jpg", ".pdf", ".parquet", ".safetensors", ".pt")  # which hardly become smaller


class Contents(NamedTuple):
    """What goes into an archive: files by their names in it, the runs among them, and what does not go in, in words."""

    files: Files
    runs: list[str]
    left_out: list[str]


def contents(profile: str) -> Contents:
    """What the notebooks of a profile read; data sets and spectra that are missing are made.

    Raises:
        UserError: a data set is missing, or is none that an archive may have.
    """
    notebooks = [notebook_parameters(name, profile) for name in NOTEBOOKS]
    files: Files = {}
    every = [own.options() for own in notebooks]
    for name in sorted({name for own in every for name in (own.data, *other_sets(names_of(own)))}):
        files |= below(data_folder(name), f"data/{name}") if name in EMBEDDED else data_set(name)
        if not all(path.startswith(PLACES) for path in files):
            raise UserError(f"data is {name!r}; allowed in an archive: an embedded or registered data set")
    finished, left_out = _folders(notebooks)
    for entry in finished:
        files |= below(entry.path, f"runs/{entry.name}")
    for options in _inputs(notebooks, finished):
        files |= _spectra(options)
    tables = {path for own in notebooks for path in sweep_tables(own)}
    files |= {path.relative_to(project_root()).as_posix(): path for path in tables}
    files |= {name: path for name, path in sources().items() if name.startswith("params/")}
    runs = [entry.name for entry in finished if entry.kind == "run"]
    return Contents({name: path for name, path in files.items() if "/." not in f"/{name}"}, runs, left_out)


def pack(target: Path, profile: str) -> Contents:
    """Writes the archive of a profile, whole or not at all; equal contents give an equal file.

    Raises:
        UserError: the file exists, the disk is full, or `use` would refuse the archive; or as `contents`.
    """
    if os.path.lexists(target):
        raise UserError(f"{target} exists already; needed: a new name")
    found = contents(profile)
    about: dict[str, Any] = {"format": FORMAT, "profile": profile, "versions": key_versions(), "code": code_hash(AGENT)}
    about["files"] = {name: _facts(content) for name, content in sorted(found.files.items())}
    index = json.dumps(about).encode()
    size = sum(size for _, size, _ in about["files"].values())
    with whole_file(target, needed=size) as partial:
        with zipfile.ZipFile(partial, "w") as archive:
            _add(archive, INDEX, index)
            for name, content in sorted(found.files.items()):
                if _add(archive, name, content) != about["files"][name][0]:
                    raise UserError(f"{content!r} has changed while it was packed; start the same command again")
        _checked(partial, called=target)
    return found


def use(source: Path | str, *, sha256: str | None = None) -> list[str]:
    """Unpacks an archive into the root; a str is an address, which is downloaded first. Returns what to tell of it.

    What is there stays as it is, but for an unfinished run, which the finished one of its key replaces.

    Raises:
        DataError: the archive cannot be had, is damaged or refused, is of another version of the method, or one of its
            data sets is there with other files; or the disk is full.
        UserError: the root has runs of other versions of the libraries.
    """
    if isinstance(source, Path):
        return _unpacked(source, _checked(source, sha256))
    checked = dict[str, Any]()
    with download.fetched(source, lambda path: checked.update(_checked(path, sha256))) as path:
        return _unpacked(path, checked)


def _unpacked(archive: Path, index: Mapping[str, Any]) -> list[str]:
    root, names = project_root(), index["files"]
    stage = root / "data" / ".archive" / "files"
    stage.parent.parent.mkdir(parents=True, exist_ok=True)
    with locked(stage.parent.with_suffix(".lock")), told_if_full(stage):
        _check_root(index)
        shutil.rmtree(stage, ignore_errors=True)  # of a killed call that had begun to move its files
        extract(archive, stage, useful=names.__contains__)
        for name, (_, _, time) in names.items():
            os.utime(stage / name, ns=(time, time))
        show(index["versions"])
        stay = [unit for unit in _units(names) if not _moved(stage, unit, names)]
        shutil.rmtree(stage.parent)
    runs = {name.split("/")[1] for name in names if name.startswith("runs/")}
    told = [f"{root} has {counted(len(runs), 'folder')} in runs/ for the profile {index['profile']}, with their data."]
    if why := why_shown():
        told.append(f"They were made with {why}, so they are shown as they are, and none is trained beside them.")
    if stay:
        more = f" and {len(stay) - 3} more" if len(stay) > 3 else ""
        told.append(f"What was there stays as it was, though the archive has other files: {', '.join(stay[:3])}{more}.")
    return told


# --- what is packed ---


def _folders(notebooks: list[Parameters]) -> tuple[list[Entry], list[str]]:
    """The finished folders in runs/ that notebooks have written, read or would read, and why others are left out."""
    there = {entry.name: entry for entry in entries()}
    executed = [own.folder.path.name for own in notebooks]
    read = [run for name in executed if name in there for run in there[name].runs or ()]
    read += [run.path.name for run in planned([run for own in notebooks for run in own.runs.values()])]
    finished, left_out = list[Entry](), [f"{name} (not executed)" for name in executed if name not in there]
    for entry in (there[name] for name in sorted({*executed, *read}) if name in there):
        damaged = RunFolder(entry.path).damaged() if entry.status == "finished" else None
        if entry.status == "finished" and not damaged:
            finished.append(entry)
        else:
            left_out.append(f"{entry.name} ({f'damaged: {damaged.name}' if damaged else entry.status})")
    return finished, left_out


def _inputs(notebooks: list[Parameters], finished: list[Entry]) -> Iterator[Options]:
    """Options of notebooks and runs, one of each way from images to spectra."""
    from cldf_core.runs.checkpoints import stored_options  # loads torch, which nobody needs who unpacks
    from cldf_core.spectrum import InputSpec

    every = [own.options() for own in notebooks]
    # The data of a run that was unpacked here may be elsewhere, as those of notebook 12's own are.
    runs = [stored_options(entry.options) for entry in finished if entry.kind == "run"]
    every += [options for options in runs if _has_data(options)]
    how = {str((InputSpec.from_options(o), o.data, sorted(names_of(o)), o.files, o.validation_share)): o for o in every}
    yield from how.values()


def _has_data(options: Options) -> bool:
    try:
        for name in (options.data, *other_sets(names_of(options))):
            data_folder(name)
    except DataError:
        return False
    return True


def _spectra(options: Options) -> Files:
    """The arrays of spectra that options read, as far as the cache has room for them, and their tables."""
    from cldf_core.runs.run import load_spectra

    arrays = [domain.array for domain in load_spectra(options).values()]
    paths = [Path(str(array.filename)) for array in arrays if isinstance(array, np.memmap)]
    names = [path.with_suffix(suffix) for path in paths for suffix in (".npy", ".json", ".parquet")]
    return {SPECTRA + path.name: path for path in names}


def _facts(content: Path | bytes) -> tuple[str, int, int]:
    """The sha256 of a file, its bytes, and its time in nanoseconds."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content), 0
    state = content.stat()
    return file_hash(content), state.st_size, state.st_mtime_ns


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> str:
    """Adds a file to a zip file; returns its sha256."""
    info, digest = zipfile.ZipInfo(name), hashlib.sha256()
    info.compress_type = zipfile.ZIP_STORED if name.endswith(PACKED) else zipfile.ZIP_DEFLATED
    with contextlib.ExitStack() as stack:
        member = stack.enter_context(archive.open(info, "w", force_zip64=True))
        parts = [content] if isinstance(content, bytes) else pieces(stack.enter_context(content.open("rb")))
        for part in parts:
            member.write(part)
            digest.update(part)
    return digest.hexdigest()


# --- what is unpacked ---


def _checked(archive: Path, sha256: str | None = None, *, called: Path | None = None) -> dict[str, Any]:
    """The index of an archive that is whole and of this version, else a DataError; nothing is written."""
    called = called or archive
    if not archive.is_file():
        raise DataError(f"there is no file {archive}; needed: one that cldf archive has made")
    checked_hash(archive, sha256)
    found, index = dict[str, tuple[str, int]](), dict[str, Any]()
    with archive.open("rb") as file, refusals_told(called, project_root()):
        for name, member in checked_members(file, useful=bool):
            digest, text = hashlib.sha256(), bytearray()
            for part in member.data:  # zipfile compares the checksum at the end
                digest.update(part)
                text += part if not found and name == INDEX and member.size <= LARGEST_INDEX else b""
            index = index if found else json.loads(text or b"{}")
            if not isinstance(index, dict) or index.get("format") != FORMAT:
                raise DataError(f"{called} is not of this version of cldf archive; needed: one that it has made")
            if index.get("code") != code_hash(AGENT):
                words = "holds runs of another version of the method, which no notebook would find"
                raise DataError(f"{called} {words}; needed: one that was made with this version of the package")
            found[name] = digest.hexdigest(), member.size
        _check_index(index, {name: facts for name, facts in found.items() if name != INDEX})
    return index


def _check_index(index: dict[str, Any], found: Mapping[str, tuple[str, int]]) -> None:
    """Refuses an index that does not tell of the files that are there, or that leads out of PLACES."""
    files, versions = index.get("files"), index.get("versions")
    if (
        not isinstance(files, dict)
        or {*files} != {*found}
        or not isinstance(versions, dict)
        or {*versions} != {*LIBRARIES}
        or not all(isinstance(word, str) for word in (*versions.values(), index.get("profile")))
    ):
        raise Refusal(f"is damaged: its {INDEX} does not tell of its files; needed: a whole file")
    for name, facts in files.items():
        if not name.startswith(PLACES) or "/." in name:
            raise refused(name, "lies where no notebook reads", ", ".join(PLACES))
        kinds = [type(fact) for fact in facts] if isinstance(facts, list) else []
        if kinds != [str, int, int] or tuple(facts[:2]) != found[name] or abs(facts[2]) >= 1 << 63:  # nanoseconds
            raise Refusal(f"is damaged: its {INDEX} does not tell of {name}; needed: a whole file")


def _check_root(index: Mapping[str, Any]) -> None:
    """Refuses an archive beside which runs of other versions lie, or that has other images of a data set."""
    root, names = project_root(), index["files"]
    folders = sorted({root / above for name in names for above in Path(name).parents})
    wrong = [folder for folder in folders if os.path.lexists(folder) and not folder.is_dir()]
    if wrong := wrong or [root / name for name in names if (root / name).is_dir()]:
        kind = "file" if wrong[0].is_dir() else "folder"
        raise DataError(f"{wrong[0]} is no {kind}, which the archive has there; needed: nothing, or a {kind}")
    if index["versions"] != key_versions():
        own = [e.name for e in entries() if e.kind == "run" and f"runs/{e.name}/{MANIFEST}" not in names]
        if own or key_versions() != versions_here():
            why = why_shown(index["versions"]) or "the versions that are installed here"
            words = f"the archive's runs were made with {why}, and those in {root / 'runs'} with others"
            raise UserError(f"{words}; needed: another root, as CLDF_ROOT names it")
    sets = [unit for unit in _units(names) if unit.startswith("data/") and unit not in names]
    of_sets = (name for unit in sets if os.path.lexists(root / unit) for name in _own(unit, names))
    if changed := next((name for name in of_sets if not _is_same(root / name, names[name])), None):
        words = f"{root / changed} is missing, or not what the archive has, so its runs would not be found"
        raise DataError(f"{words}; needed: the same data set, none, or another root, as CLDF_ROOT names it")


def _units(names: Iterable[str]) -> list[str]:
    """What is moved as a whole: the folder of a data set or of a run, or else a file."""
    folders = (name.split("/")[:2] if name.startswith(("data/", "runs/")) else [name] for name in names)
    return list(
        dict.fromkeys(name if "spectra" in at else "/".join(at) for at, name in zip(folders, names, strict=True))
    )


def _own(unit: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name == unit or name.startswith(f"{unit}/")]


def _is_same(path: Path, facts: Sequence[Any]) -> bool:
    return path.is_file() and path.stat().st_size == facts[1] and file_hash(path) == facts[0]


def _give_place(source: Path, target: Path) -> None:
    """Moves a file or a folder, also to another disk; it appears whole."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.move(source, part)
    part.rename(target)


def _moved(stage: Path, unit: str, names: Mapping[str, Sequence[Any]]) -> bool:
    """Gives a folder or a file its place, unless that is taken; returns whether what is there then is the archive's."""
    target, own = project_root() / unit, _own(unit, names)
    if unit.startswith("params/") and _is_same(Path(cldf_core.__file__).parents[1] / unit, names[unit]):
        return True
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _give_place(stage / unit, target)
        return True
    if unit.startswith("runs/"):
        folder = RunFolder(target)
        is_whole = folder.finished and folder.damaged() is None
        if not is_whole and f"{unit}/{SCORES}" in own:  # a run of the same key
            if why_shown():  # nobody may write there
                shutil.rmtree(target)
                _give_place(stage / unit, target)
            else:
                bring(folder, {name.removeprefix(f"{unit}/"): stage / name for name in own})
            return True
        return is_whole
    return unit.startswith(SPECTRA) or all(_is_same(project_root() / name, names[name]) for name in own)
