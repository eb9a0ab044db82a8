"""Notebooks through papermill: profiles, checks before a kernel starts, execution, the whole chain."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cldf_core.data.files import file_hash, source_hash, whole_file
from cldf_core.data.layouts.description import described_files, is_described
from cldf_core.data.layouts.original import CLASSES, SPLITS_FILE
from cldf_core.data.layouts.read import data_folder
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError
from cldf_core.runs.folder import RunFolder
from cldf_core.workflow.parameters import NOTEBOOKS, Parameters, given_parameters

PROFILES = ("quick", "smoke", "original")
LAST = "08_cross_data_set_evaluation"  # of those that are run when nothing else is said
# These read the runs that others write.
_TRAINED = ("03_without_continual_learning", "04_icarl", "05_gdumb", "06_lwf", "07_er_and_mir")
NEEDS = {
    LAST: _TRAINED,
    "09_robustness": _TRAINED,
    "10_bands_and_explanations": ("03_without_continual_learning", "07_er_and_mir"),
}


@dataclass(frozen=True)
class Outcome:
    """How one notebook went: status is "done", "already done", "failed" or "not run"."""

    notebook: str
    status: str
    seconds: float
    folder: Path | None
    why: str = ""


def notebook_name(text: str) -> str:
    """The notebook that a name, a number or a path means: 04_icarl, 04, notebooks/04_icarl.ipynb.

    Raises:
        UserError: no notebook or several; the message lists them.
    """
    wanted = Path(text).stem
    found = [n for n in NOTEBOOKS if n == wanted] or [n for n in NOTEBOOKS if n.split("_")[0] == wanted]
    if len(found) != 1:
        raise UserError(f"there is no notebook {text!r}; allowed: {', '.join(NOTEBOOKS)}")
    return found[0]


def profile_values(notebook: str, profile: str) -> dict[str, Any]:
    """The values that a profile sets for a notebook, unchecked.

    Raises:
        UserError: an unknown profile, or a file that holds something else than names and values.
    """
    if profile == "seed":
        raise UserError("the profile 'seed' is called 'original' now")
    if profile not in PROFILES:
        raise UserError(f"there is no profile {profile!r}; allowed: {', '.join(PROFILES)}")
    path = project_root() / "params" / profile / f"{notebook}.yaml"
    if not path.is_file():
        raise UserError(f"{path} is missing; run this in the project's folder")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds a {type(values).__name__}; needed: lines of the form name: value")
    return values


def notebook_parameters(notebook: str, profile: str, changes: Mapping[str, Any] | None = None) -> Parameters:
    """The checked parameters of a notebook in a profile, with some changed."""
    where = project_root() / "params" / profile / f"{notebook}.yaml"
    values = profile_values(notebook, profile)
    parameters = given_parameters(notebook, values, where=str(where.relative_to(project_root())))
    return given_parameters(notebook, {**values, **changes}) if changes else parameters


def execute(parameters: Parameters, *, again: bool = False) -> Outcome:
    """Runs one notebook through papermill, unless that was done with the same inputs.

    The executed copy is notebook.ipynb in the notebook's folder, beside the figures that it drew.
    """
    notebook, folder = parameters.notebook, parameters.folder
    source = project_root() / "notebooks" / f"{notebook}.ipynb"
    if not source.is_file():
        raise UserError(f"{source} is missing; run this in the project's folder")
    inputs = _inputs(source, parameters)
    manifest = folder.manifest
    if not again and folder.finished and manifest.get("inputs") == inputs:
        return Outcome(notebook, "already done", 0.0, folder.path)
    started, since = time.perf_counter(), time.time()
    try:
        why = _papermill(source, folder.path / "notebook.ipynb", parameters.for_papermill())
    except Exception as error:  # it could not even be started, for example for want of its kernel
        why = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    status = "failed" if why else "finished"
    if not why:  # a figure that this version no longer draws goes, but never in exchange for an error
        for old in folder.figures.rglob("*"):
            if old.is_file() and old.stat().st_mtime < since - 2:  # some file systems count in steps of 2 s
                old.unlink()
    folder.write_manifest(
        {
            "notebook": notebook,
            "status": status,
            "options": dict(parameters.values),
            "inputs": inputs,
            "seconds": round(seconds, 1),
            "error": why,
        }
    )
    return Outcome(notebook, "failed" if why else "done", seconds, folder.path, why)


def reproduce(
    profile: str, only: Sequence[str] = (), *, again: bool = False, everything: bool = False
) -> list[Outcome]:
    """Runs the notebooks of a profile in their order; one that fails does not stop the others.

    In the quick profile the figures and tables of what was run are copied to figures/.

    Args:
        profile: one of PROFILES.
        only: the notebooks that are run; without any, those up to 08.
        again: also what is already done.
        everything: without `only`, all notebooks.
    """
    wanted = {notebook_name(o) for o in only} or {n for n in NOTEBOOKS if everything or n <= LAST}
    chosen = [n for n in NOTEBOOKS if n in wanted]
    # All parameters are checked before the first kernel starts.
    parameters = {notebook: notebook_parameters(notebook, profile) for notebook in chosen}
    for data in sorted({own.options().data for own in parameters.values()}):
        data_folder(data)
    outcomes: list[Outcome] = []
    for notebook in chosen:
        failed = [
            o.notebook for o in outcomes if o.status in ("failed", "not run") and o.notebook in NEEDS.get(notebook, ())
        ]
        if failed:
            outcomes.append(Outcome(notebook, "not run", 0.0, None, f"needs {', '.join(failed)}"))
            continue
        print(f"{notebook} …", end=" ", flush=True, file=sys.stderr)
        try:
            outcome = execute(parameters[notebook], again=again)
        except UserError as error:  # its file is missing or unreadable
            outcome = Outcome(notebook, "failed", 0.0, None, str(error))
        print(f"{outcome.status} ({outcome.seconds:.0f} s)", file=sys.stderr)
        outcomes.append(outcome)
        if profile == "quick" and outcome.folder is not None and outcome.status != "failed":
            publish(RunFolder(outcome.folder))
    return outcomes


def publish(folder: RunFolder) -> None:
    """Copies a notebook's figures and tables to figures/, file by file and only what differs."""
    for source in sorted(folder.figures.rglob("*")):
        target = project_root() / "figures" / source.relative_to(folder.figures)
        if source.is_file() and not (target.is_file() and target.read_bytes() == source.read_bytes()):
            with whole_file(target) as partial:
                shutil.copyfile(source, partial)


def table(outcomes: Sequence[Outcome]) -> str:
    """The summary that a reader sees at the end: notebook, status, seconds, where the results are."""
    rows = [("notebook", "status", "seconds", "results")]
    for o in outcomes:
        where = o.folder.relative_to(project_root()).as_posix() if o.folder else ""
        rows.append((o.notebook, o.status, f"{o.seconds:.0f}", where))
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"\n{o.notebook} {o.status}: {o.why}" for o in outcomes if o.why]
    return "\n".join(lines)


def _papermill(source: Path, target: Path, parameters: dict[str, Any]) -> str:
    """Executes a notebook; returns the failing cell's error in one line, or nothing."""
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    why = ""
    with whole_file(target) as partial, _surroundings():
        try:
            papermill.execute_notebook(
                str(source),
                str(partial),
                parameters,
                kernel_name="python3",
                progress_bar=False,
                log_output=False,
                cwd=str(project_root()),
                # The kernel is on this machine: that its TCP is not encrypted need not be told for every notebook.
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
            )
        except papermill.PapermillExecutionError as error:
            why = f"cell {error.exec_count}: {_message(error)}"
        except DeadKernelError:
            why = "the kernel died (killed, or out of memory)"
        nbformat.read(partial, as_version=4)  # half a notebook is none
    return why


def _message(error: Any) -> str:
    """An error's name and text, once: some errors bring their name along."""
    value = str(error.evalue).strip()
    return value if value.startswith(error.ename) else f"{error.ename}: {value}"


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """Kernels without progress bars that find this project, and papermill without its log."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    added = {"CLDF_PROGRESS": "0", "CLDF_ROOT": str(project_root())}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _inputs(source: Path, parameters: Parameters) -> str:
    """Hash of what a notebook's outcome depends on: its cells, the package, its data, the sweeps that it reads."""
    from importlib.metadata import version

    try:
        content = json.loads(source.read_text(encoding="utf-8"))
        cells = [[c["cell_type"], "".join(c["source"])] for c in content["cells"]]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{source} is not a readable notebook; make it anew from its .py with: make sync") from None
    what = [cells, dict(parameters.values), source_hash(), version("torch"), _data_identity(parameters.options().data)]
    what += _sweep_tables(parameters) if parameters.notebook == LAST else []
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _data_identity(data: str) -> list[Any]:
    """Names, sizes and times of the files of a data set (whose folder may hold other things, such as caches)."""
    folder = data_folder(data)
    if is_described(folder):
        files = described_files(folder)
    else:
        found = (p for part in (*CLASSES, SPLITS_FILE) for p in [folder / part, *folder.glob(f"{part}/**/*")])
        files = [p for p in found if p.is_file()]
    return sorted([os.path.relpath(p, folder), p.stat().st_size, p.stat().st_mtime_ns] for p in files)


def _sweep_tables(parameters: Parameters) -> list[list[str]]:
    """Names and contents of what sweeps have left: with these options of notebook 08, and what is published."""
    root, key = project_root(), parameters.folder.path.name.removeprefix(LAST)
    files = [*root.glob(f"runs/sweep_*{key}/figures/tables/*.csv"), *root.glob("figures/tables/sweep_*.csv")]
    return sorted([path.relative_to(root).as_posix(), file_hash(path)] for path in files)
