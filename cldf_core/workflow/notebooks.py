"""Notebooks through papermill: profiles, checks before a kernel starts, execution."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from cldf_core.data.console import note
from cldf_core.data.domains import CLASSES, DataError, Domain
from cldf_core.data.files import file_hash
from cldf_core.data.layouts.description import described_files, is_described
from cldf_core.data.layouts.original import SPLITS_FILE
from cldf_core.data.layouts.read import data_folder, named_domains, of_other_set, other_sets
from cldf_core.data.mini.build import EMBEDDED
from cldf_core.data.mini.crops import DOMAINS
from cldf_core.data.runtime import project_file, project_root
from cldf_core.data.source_trees import imported_modules, tree_hash
from cldf_core.options import Options, UserError
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.holder import Hold, holding, uses
from cldf_core.runs.provenance import weights_content
from cldf_core.runs.shown import key_versions
from cldf_core.workflow.machine import check_machine
from cldf_core.workflow.parameters import (
    EXPLORING,
    NOTEBOOKS,
    PROFILES,
    READING,
    Parameters,
    allowed_names,
    checked_parameters,
    profile_values,
)

LAST = "08_cross_data_set_evaluation"  # of the notebooks that are run by default
# Notebooks that read the runs of others.
_TRAINED = ("03_without_continual_learning", "04_icarl", "05_gdumb", "06_lwf", "07_er_and_mir")
NEEDS = {
    LAST: _TRAINED,
    "09_robustness": _TRAINED,
    "10_bands_and_explanations": ("03_without_continual_learning", "07_er_and_mir"),
}
# Notebooks that would train what others train, and so come after them.
SHARES = {
    "11_original_versus_papers": _TRAINED,
    "12_your_own_data_your_own_agent": ("03_without_continual_learning", "07_er_and_mir"),
    "13_detector": ("07_er_and_mir",),
    "14_limited_new_data": ("03_without_continual_learning", "07_er_and_mir"),
}


class NotebookResult(NamedTuple):
    """What became of one notebook."""

    notebook: str
    status: str  # "done", "already done", "failed" or "not run"
    seconds: float = 0.0
    folder: Path | None = None  # with the executed copy and the figures; None where nothing was executed
    error: str = ""  # of the cell that failed, or the reason why nothing was executed


def notebook_name(text: str) -> str:
    """The notebook that a name, a number or a path means: 04_icarl, 04, notebooks/04_icarl.ipynb."""
    wanted = Path(text).stem
    names = [name for name in NOTEBOOKS if wanted in (name, name.split("_")[0])]
    if len(names) != 1:
        raise UserError(f"there is no notebook {text!r}; allowed: {', '.join(NOTEBOOKS)}")
    return names[0]


def notebook_parameters(notebook: str, profile: str, changes: Mapping[str, Any] | None = None) -> Parameters:
    """The checked parameters of a notebook in a profile, with some changed; UserError where they cannot be had."""
    values = profile_values(notebook, profile)
    parameters = checked_parameters(notebook, values, where=f"params/{profile}/{notebook}.yaml")
    return checked_parameters(notebook, {**values, **changes}) if changes else parameters


def execute(parameters: Parameters, *, force: bool = False, wait: bool = True) -> NotebookResult:
    """Runs one notebook through papermill, unless this was done with the same inputs before.

    With `force` it runs in any case. The executed copy is notebook.ipynb in the notebook's folder, beside its figures.
    Where another process runs it with the same parameters, that is waited for.

    Raises:
        UserError: the notebook's file is missing or unreadable, or data, weights or a GPU are not there; or as
            `holding`, with `wait` as there.
    """
    check(parameters)
    return carry_out(parameters, inputs_hash(parameters), force=force, wait=wait)


def carry_out(parameters: Parameters, inputs: str, *, force: bool, wait: bool) -> NotebookResult:
    """Runs a notebook, whose inputs have this hash, as `execute` does."""
    notebook, folder = parameters.notebook, parameters.folder
    with holding(folder.path, wait=wait) as hold:
        if damaged := folder.damaged():
            note(f"{damaged} is damaged, changed or missing; the notebook is run again")
        elif not force and _is_of(folder, inputs):
            return NotebookResult(notebook, "already done", folder=folder.path)
        hold.check()
        return _executed(parameters, inputs, hold)


def _executed(parameters: Parameters, inputs: str, hold: Hold) -> NotebookResult:
    notebook, folder = parameters.notebook, parameters.folder
    source = project_file(f"notebooks/{notebook}.ipynb")
    started, figures = time.perf_counter(), _states(folder.figures)
    with uses(folder.path.parent) as runs:  # also those of other processes: more is kept than it needs
        try:
            error = _papermill(source, folder.path / "notebook.ipynb", parameters.for_papermill())
        except Exception as problem:  # it could not even be started, for example for want of its kernel
            error = f"{type(problem).__name__}: {problem}"
    seconds = time.perf_counter() - started
    hold.check()
    if not error:  # figures that this version no longer draws go, but never in exchange for an error
        for path, _ in figures.items() & _states(folder.figures).items():
            path.unlink()
    manifest: dict[str, Any] = {"notebook": notebook, "status": "failed" if error else "finished"}
    manifest |= {"options": dict(parameters.values), "inputs": inputs, "seconds": round(seconds, 1), "error": error}
    made = (folder.path / "notebook.ipynb", *folder.figures.rglob("*"))
    files = folder.hashes(*(path for path in made if path.is_file()))
    folder.write_manifest({**manifest, "runs": runs, "files": files})
    return NotebookResult(notebook, "failed" if error else "done", seconds, folder.path, error)


def _states(folder: Path) -> dict[Path, tuple[int, int]]:
    """What tells a file that was written again from the one before, whatever the clock says: its number and time."""
    stats = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}


def is_done(parameters: Parameters, inputs: str) -> bool:
    """Whether a notebook was executed with these inputs, and nothing is damaged since then."""
    return _is_of(parameters.folder, inputs) and parameters.folder.damaged() is None


def _is_of(folder: RunFolder, inputs: str) -> bool:
    return folder.finished and folder.manifest.get("inputs") == inputs


def check_domains(options: Options) -> list[Domain]:
    """Refuses domains that the data set lacks, with a DataError; an embedded data set is not built for that.

    Returns the domains, without those of an embedded data set.
    """
    names = [*options.stream, *options.unseen]
    if options.data not in EMBEDDED:
        folder, found = data_folder(options.data), list[Domain]()
        for name, domains in (("stream", options.stream), ("unseen", options.unseen)):
            try:
                found += named_domains(folder, domains)
            except DataError as error:
                besides = "; unseen=[] leaves all out" * (name == "unseen")
                raise DataError(f"{name} is {domains!r}: {error}{besides}") from None
        return found
    if missing := [part for name in names if ":" not in name for part in name.split("+") if part not in DOMAINS]:
        raise DataError(f"there is no domain {missing[0]!r} in {options.data}; allowed: {', '.join(DOMAINS)}")
    return [of_other_set(name) for name in names if ":" in name]


def check(parameters: Parameters, *, here: bool = True) -> None:
    """Refuses what a notebook would stumble over, if it is missing: data, weights, and `here` Jupyter or a GPU."""
    if here and (missing := [name for name in ("papermill", "ipykernel") if not find_spec(name)]):
        raise UserError(f"{missing[0]} is missing, so no notebook can be executed; pip install cldf-core[jupyter]")
    options = parameters.options()
    shown = "test" if "test" in options.splits else "validation"
    for domain in check_domains(options):
        if parameters.notebook not in EXPLORING and not (domain.table["split"] == shown).any():
            can_choose = shown == "test" and "splits" in allowed_names(parameters.notebook)
            others = "other domains" + ", or splits=[validation]" * can_choose
            raise DataError(f"{domain.name} has no {shown} images, on which results are shown; allowed: {others}")
    if parameters.notebook not in READING:
        check_machine(options if here else options.model_copy(update={"device": "cpu"}))


def _papermill(source: Path, target: Path, parameters: dict[str, Any]) -> str:
    from cldf_core.workflow.execution import execute_notebook  # loads papermill, for which nobody else has to wait

    return execute_notebook(source, target, parameters)


def inputs_hash(parameters: Parameters) -> str:
    """Hash of everything that a notebook's results depend on.

    These are its cells, its parameters, and what was chosen besides, its data, the versions of libraries, the syntax
    trees of all modules that it imports, directly or not (with them, those that its runs depend on), and what sweeps
    have left where it reads that.
    """
    source = project_file(f"notebooks/{parameters.notebook}.ipynb")
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
        cells = [[cell["cell_type"], "".join(cell["source"])] for cell in content["cells"]]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{source} is not a readable notebook; make it again from its .py with: make sync") from None
    modules: set[str] = set()
    for text in [text for kind, text in cells if kind == "code"]:
        with contextlib.suppress(SyntaxError):  # which the execution will tell
            modules.update(imported_modules("\n".join(x for x in text.splitlines() if not x.startswith(("%", "!")))))
    options = parameters.options()
    parts: list[Any] = [cells, dict(parameters.values), tree_hash(modules), [*key_versions().values()]]
    parts += [parameters.choices_in_words(), _data_identity(options), weights_content(options.weights)]
    parts += _contents(sweep_tables(parameters))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def data_files(folder: Path) -> list[str]:
    """The paths of the files of a data set, whose folder may hold other things, such as caches."""
    if is_described(folder):
        return list(map(str, described_files(folder)))
    places = [(str(folder), [SPLITS_FILE])]
    places += [(place, names) for kind in CLASSES for place, _, names in os.walk(folder / kind)]
    paths = (os.path.join(place, name) for place, names in places for name in names)
    return [path for path in paths if os.path.isfile(path)]  # no link to nothing


def sweep_parameters(parameters: Parameters) -> Parameters:
    """The parameters of the sweeps that a notebook reads: notebook 08's of the profile that it has, else its own."""
    own = parameters.notebook
    profile = next((name for name in PROFILES if notebook_parameters(own, name) == parameters), None)
    return notebook_parameters(LAST, profile) if profile else parameters


def sweep_tables(parameters: Parameters) -> list[Path]:
    """What sweeps, and trials, have left for a notebook that reads them: with its parameters, and published."""
    source = project_file(f"notebooks/{parameters.notebook}.ipynb").read_text(encoding="utf-8")
    own, tables = f"runs/sweep_*-{sweep_parameters(parameters).folder.key}", "figures/tables"
    patterns = [f"{own}/{tables}/*.csv", f"{own}/*.parquet"]
    patterns += [f"{tables}/{name}" for name in ("sweep_*.csv", "choices.csv", "scores/*.parquet")]
    reads = "workflow import sweep" in source or "workflow.sweep" in source
    return [path for pattern in patterns if reads for path in project_root().glob(pattern)]


def _data_identity(options: Options) -> list[Any]:
    """Names, sizes and times of the files of the data sets that a run reads."""
    identity = list[Any]()
    for data in (options.data, *other_sets([*options.stream, *options.unseen])):
        folder = data_folder(data)
        files = data_files(folder)
        parents = {parent: os.path.relpath(parent, folder) for parent in set(map(os.path.dirname, files))}
        states = ((*os.path.split(path), os.stat(path)) for path in files)
        identity += sorted([parents[parent], name, state.st_size, state.st_mtime_ns] for parent, name, state in states)
    return identity


def _contents(files: Iterable[Path]) -> list[list[str]]:
    return sorted([path.relative_to(project_root()).as_posix(), file_hash(path)] for path in files)
