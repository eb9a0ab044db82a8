"""What is sent to workers that do not see the project's folder, and what comes home from them, as zip files."""

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import NamedTuple

import yaml

import cldf_core
from cldf_core.data.files import file_hash, whole_file
from cldf_core.data.layouts.description import DESCRIPTION, images_root, read_description
from cldf_core.data.layouts.read import SENT, data_folder, other_sets, registered
from cldf_core.data.mini.build import EMBEDDED
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError
from cldf_core.results.score_tables import finished_runs
from cldf_core.runs.folder import MANIFEST, RunFolder
from cldf_core.runs.holder import holding
from cldf_core.workflow.job import Job
from cldf_core.workflow.notebooks import data_files, sweep_tables
from cldf_core.workflow.parameters import Parameters

MOST = 64_000_000  # bytes that are sent; what is larger goes through a store
Files = dict[str, Path | bytes]  # by their names in a zip file


class Parcel(NamedTuple):
    """A zip file, the hash that it is known by, and the folder below a worker's own that it is unpacked into."""

    path: Path
    digest: str
    into: str


def packed(files: Mapping[str, Path | bytes], into: str, folder: Path) -> Parcel:
    """Packs files, into a folder of temporary ones; equal files give an equal parcel."""
    with (
        tempfile.NamedTemporaryFile(dir=folder, suffix=".zip", delete=False) as out,
        zipfile.ZipFile(out, "w") as zipped,
    ):
        for name, content in sorted(files.items()):
            with zipped.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                member.write(content if isinstance(content, bytes) else content.read_bytes())
    return Parcel(Path(out.name), file_hash(Path(out.name)), into)


def below(folder: Path, prefix: str) -> Files:
    """All files in a folder, under the name that the folder is to have."""
    return {f"{prefix}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*") if path.is_file()}


def sources() -> Files:
    """The package, notebooks and their parameters; those of the root stand for the project's."""
    package = Path(cldf_core.__file__).parent
    files = below(package, package.name)
    for name in ("notebooks", "params"):
        files |= below(package.parent / name, name) | below(project_root() / name, name)
    return {name: path for name, path in files.items() if "__pycache__" not in name}


def data_of(job: Job) -> list[str]:
    """The data sets that a job reads, without those that can be made everywhere."""
    values = job.get("options") or job["values"]
    for name in ("weights", "start"):
        if (path := values.get(name)) and path != "imagenet":
            raise UserError(f"{name} is {path!r}, which workers without the project's folder lack; allowed: none")
    names = [*values.get("stream", ()), *values.get("unseen", ())]
    return [data for data in (str(values.get("data", "mini")), *other_sets(names)) if data not in EMBEDDED]


def data_set(data: str) -> Files:
    """The files of a data set, as a worker's root is to hold them."""
    folder = data_folder(data)
    if data in registered():
        description = read_description(folder)
        root, prefix = images_root(folder, description), f"data/{data}"
        text = (folder / DESCRIPTION).read_text(encoding="utf-8")
        text = yaml.safe_dump({**yaml.safe_load(text), "root": "images"}, sort_keys=False, allow_unicode=True)
        files: Files = {f"{prefix}/{DESCRIPTION}": text.encode()}
        for path in map(Path, data_files(folder)):
            inside = path.is_relative_to(root) and path.parent != folder
            name = f"images/{path.relative_to(root).as_posix()}" if inside else path.name
            files.setdefault(f"{prefix}/{name}", path)
        return files
    path = Path(data)
    if ".." in path.parts or data.startswith("~"):
        raise UserError(f"data is {data!r}; allowed for workers elsewhere: a registered data set, or a path without ..")
    prefix = f"{SENT}/{path.relative_to(path.anchor).as_posix()}" if path.is_absolute() else path.as_posix()
    return {f"{prefix}/{file.relative_to(folder).as_posix()}": file for file in map(Path, data_files(folder))}


def inputs_of(job: Job) -> Files:
    """The finished runs that a notebook may read, which are those that it is about, and what it reads of sweeps."""
    if "notebook" not in job:
        return {}
    parameters = Parameters(job["notebook"], job["values"])
    wanted = [options.model_dump() for options in parameters.runs.values()]
    files: Files = {}
    for run, options in finished_runs():
        if options in wanted and not run.damaged():
            names = (MANIFEST, *run.files)
            files |= {f"runs/{run.path.name}/{name}": run.path / name for name in names}
    return files | {path.relative_to(project_root()).as_posix(): path for path in sweep_tables(parameters)}


def unpacked(content: bytes, *, replace: str) -> None:
    """Brings runs home: a file appears whole, manifests last; finished runs stay as they are, except that to `replace`.

    Raises:
        ValueError: what was to be replaced has not come whole.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        paths = ((name, PurePath(name)) for name in file.namelist())
        # None leads elsewhere, nor to the locks of a run.
        names = [n for n, p in paths if len(p.parts) > 1 and not p.is_absolute() and "/." not in f"/{n}"]
        for run in sorted({PurePath(name).parts[0] for name in names}):
            own = [name for name in names if PurePath(name).parts[0] == run]
            contents: Files = {PurePath(*PurePath(name).parts[1:]).as_posix(): file.read(name) for name in own}
            bring(RunFolder(project_root() / "runs" / run), contents, replace=run == replace)
    folder = RunFolder(project_root() / "runs" / replace)
    if folder.damaged() or not folder.manifest:
        raise ValueError(f"{replace} has not come home whole")


def bring(folder: RunFolder, files: Files, *, replace: bool = False) -> None:
    """Writes the files of a run, by their paths from its folder, each whole, and its manifest last.

    A finished run stays as it is, unless it is to be replaced.
    """
    with holding(folder.path) as hold:
        if folder.finished and not folder.damaged() and not replace:
            return
        hold.check()
        for name, content in sorted(files.items(), key=lambda item: item[0] == MANIFEST):
            with whole_file(folder.path / name) as path:
                path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        _forget_others(folder, {*files})


def _forget_others(folder: RunFolder, names: set[str]) -> None:
    """Removes what a finished run has no more: its state, and figures that it no longer draws."""
    if folder.finished:
        folder.forget_state()
        for path in folder.figures.rglob("*"):
            if path.is_file() and path.relative_to(folder.path).as_posix() not in names:
                path.unlink()
