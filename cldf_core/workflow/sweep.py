"""`cldf sweep`: makes the runs of a grid of options, many at the same time, and writes tables of all of them.

A run that was not made is missing from the tables; it is not zero.
"""

import hashlib
import itertools
import json
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.data.console import note, printable
from cldf_core.data.files import file_hash, save_figure, save_table
from cldf_core.data.runtime import project_root
from cldf_core.data.source_trees import tree_hash
from cldf_core.evaluation.cells import with_interval
from cldf_core.evaluation.seeds import means_over_seeds
from cldf_core.options import Options, UserError
from cldf_core.results.compare import COMPARISON, compare_over_seeds
from cldf_core.results.grid import Grid, distinct, read_grid, read_sweep, with_whole_numbers
from cldf_core.results.metric_table import COST, metric_table
from cldf_core.runs.folder import MANIFEST, RunFolder, damage
from cldf_core.runs.holder import holding, used
from cldf_core.runs.plan import made_before
from cldf_core.workflow.chain import publish
from cldf_core.workflow.cluster import HERE, Place
from cldf_core.workflow.engine import made
from cldf_core.workflow.notebooks import LAST, check_domains, notebook_parameters
from cldf_core.workflow.parameters import Parameters

FORGETTING = "forgetting (max-last)"
LIBRARIES = ("numpy", "pandas", "scipy", "matplotlib", "seaborn")  # of tables and figure
PRINTED = ("accuracy: average", "accuracy: learning", f"accuracy: {FORGETTING}", "accuracy: unseen", "AUC: average")


def command(name: str, profile: str, *, dry: bool, wait: bool = True, place: Place = HERE) -> int:
    """Makes the runs of a grid that are not done, writes its tables and its figure, and prints a table.

    All other options are those of notebook 08 in the profile. Tables and figure are written to
    runs/sweep_<grid>-<key>/figures/; those of a quick sweep in which no run failed are copied to figures/. A dry sweep
    lists the runs and makes none. A run that another process makes is waited for, or fails where `wait` is False. The
    `place` says where the runs are made, and how many at once. Returns 1 if a run failed, which does not stop the
    others; else 0.

    Raises:
        UserError: before the first run: the grid or the profile is faulty, or data are missing.
    """
    base = notebook_parameters(LAST, profile)
    grid = read_grid(name)
    combinations = grid.combinations(base.values)
    points = distinct(combinations)
    for options in {(o.data, frozenset(o.stream + o.unseen)): o for o in points}.values():
        try:
            check_domains(options)
        except UserError as error:
            raise UserError(f"{grid.path}, profile {profile}: {error}") from None
    _split(points)
    done = made_before(points)
    if dry:
        for number, (options, run) in enumerate(zip(points, done, strict=True), start=1):
            print(f"{number} of {len(points)}: {grid.label(options)}: {'done before' if run else 'to be run'}")
        return 0
    finished, failed = _make(grid, points, done, place, wait=wait)
    if finished:
        folder = sweep_folder(name, base)
        print(_tables(grid, finished, combinations, folder))
        if profile == "quick" and not failed:
            publish(folder)
        print(f"\ntables and figure: {folder.figures.relative_to(project_root()).as_posix()}")
    repeat = f"; to repeat the others: cldf sweep {name} --profile {profile}{place.flags}" if failed else ""
    print(f"{len(finished)} of {len(points)} runs are in the tables{repeat}")
    for sentence in failed:
        print(f"failed: {printable(sentence)}", file=sys.stderr)
    return int(bool(failed))


def sweep_folder(name: str, parameters: Parameters) -> RunFolder:
    """Where the sweep of a grid keeps its tables, beside the folder of notebook 08 with the same parameters."""
    path = parameters.folder.path
    return RunFolder(path.with_name(path.name.replace(LAST, f"sweep_{name}")))


def results(name: str, parameters: Parameters) -> pd.DataFrame:
    """Reads what the runs of a grid have given with these parameters of notebook 08 (see `read_sweep`); runs nothing.

    The table is that in runs/ or, if there is none and the parameters are the quick profile's, the committed one.
    """
    grid, folder = read_grid(name), sweep_folder(name, parameters)
    if (damaged := folder.damaged()) and damaged.exists():
        raise damage(damaged)
    table = read_sweep(grid, folder.figures)
    committed = read_sweep(grid, project_root() / "figures")
    of_quick = table.empty and len(committed) and parameters == notebook_parameters(LAST, "quick")
    return committed if of_quick else table


def _make(
    grid: Grid, points: Sequence[Options], done: Sequence[RunFolder | None], place: Place, *, wait: bool
) -> tuple[list[tuple[Options, RunFolder]], list[str]]:
    """The finished runs, and a sentence for each that failed; what was done before is not made again."""
    labels = [f"{number} of {len(points)}: {grid.label(options)}" for number, options in enumerate(points, start=1)]
    folders = dict(zip(labels, done, strict=True))
    for label, folder in folders.items():
        if folder:
            folder.forget_state()
            used(folder.path)
            print(f"{label}: done before", file=sys.stderr)
    missing = {label: options for label, options in zip(labels, points, strict=True) if folders[label] is None}
    failed = []
    for outcome in made(missing, place, wait=wait):
        if outcome.folder:
            folders[outcome.task.name] = RunFolder(project_root() / "runs" / outcome.folder)
        else:
            failed.append(f"{outcome.task.name.partition(': ')[2]}: {outcome.error}")
    finished = [(o, folder) for o, folder in zip(points, folders.values(), strict=True) if folder]
    return finished, failed


def _tables(
    grid: Grid, finished: Sequence[tuple[Options, RunFolder]], combinations: Sequence[Options], folder: RunFolder
) -> str:
    """The table to be read; all tables and the figure are written, unless they are there and of the same runs."""
    runs = [(run.path.name, file_hash(run.path / MANIFEST)) for _, run in finished]
    parts = [dict(grid.values), runs, tree_hash(["workflow.sweep"]), [version(name) for name in LIBRARIES]]
    inputs = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    with holding(folder.path) as hold:
        if folder.damaged() or (manifest := folder.manifest).get("inputs") != inputs:
            hold.check()
            text, notes = _write(grid, finished, combinations, folder.figures)
            written = (path for path in folder.figures.rglob("*") if path.is_file())
            manifest = {"status": "finished", "options": {}, "inputs": inputs, "runs": [name for name, _ in runs]}
            manifest |= {"table": text, "notes": notes, "files": folder.hashes(*written)}
            folder.write_manifest(manifest)
    for sentence in manifest["notes"]:
        note(sentence)
    return str(manifest["table"])


def _write(
    grid: Grid, finished: Sequence[tuple[Options, RunFolder]], combinations: Sequence[Options], out: Path
) -> tuple[str, list[str]]:
    """Writes the tables and the figure of the ranks; returns the table to be read, and sentences on what else to know.

    All that they depend on is in the hash that `_tables` makes.
    """
    table, notes = _measured(grid, finished)
    means = means_over_seeds(table, ["agent", *grid.settings, "step", "domain", "metric"])
    runs = table[table["metric"].str.contains(": ") | table["metric"].isin(COST)][grid.run_columns]
    cells = [grid.cells(options) for options in combinations]
    values = [dict.fromkeys(cell[name] for cell in cells if name in cell) or [None] for name in grid.settings]
    settings = list(itertools.product(*values))
    tests = _tests(grid, table, settings)
    shutil.rmtree(out, ignore_errors=True)  # an earlier sweep may have left files that this one does not write
    save_table(means, out, f"sweep_{grid.name}")
    save_table(runs, out, f"sweep_{grid.name}_runs")
    if len(tests):
        save_table(tests, out, f"sweep_{grid.name}_tests")
    common_seeds = set.intersection(*(set(seeds) for _, seeds in runs.groupby("agent")["seed"]))
    if len(settings) == 1 and runs["agent"].nunique() > 1 and common_seeds:
        _draw_ranks(runs, out, f"sweep_{grid.name}_ranks")
    return _table(grid, means), notes


def _measured(grid: Grid, finished: Sequence[tuple[Options, RunFolder]]) -> tuple[pd.DataFrame, list[str]]:
    """The metric table's rows of the last step and of the whole stream, with the grid's settings as columns; notes."""
    options_of = {folder.path.name: options for options, folder in finished}
    # One resample, since the spread here is that over seeds.
    table = metric_table([folder for _, folder in finished], split=_split(list(options_of.values())), resamples=1)
    notes = table.attrs["notes"]
    table = table[table["run"] != ""]
    last = table["step"].isna() | (table["step"] == table.groupby("run")["step"].transform("max"))
    table = table[last]
    cells = {run: grid.cells(options) for run, options in options_of.items()}
    columns = {"agent": table["run"].map({run: options.agent for run, options in options_of.items()})}
    for name in grid.settings:
        columns[name] = table["run"].map({run: values[name] for run, values in cells.items() if name in values})
    return with_whole_numbers(table.assign(**columns)), notes


def _tests(grid: Grid, table: pd.DataFrame, settings: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Comparisons of agents by continual metrics in each setting; an agent that does not read its option takes part."""
    columns = [*grid.settings, *COMPARISON]
    tables = []
    for setting in settings:
        rows = table[table["metric"].str.contains(": ")]
        values = dict(zip(grid.settings, setting, strict=True))
        for name, value in values.items():
            rows = rows[rows[name].isna() | (rows[name] == value)]
        if rows["agent"].nunique() > 1 and len(comparisons := compare_over_seeds(rows).query("n > 1")):
            tables.append(comparisons.assign(**values)[columns])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _draw_ranks(runs: pd.DataFrame, out: Path, name: str) -> None:
    import matplotlib

    matplotlib.use("agg")  # a command opens no window
    from cldf_core import figures
    from cldf_core.evaluation.cells import rank_table

    accuracy = runs[runs["metric"].str.startswith("accuracy: ")]
    metric = accuracy["metric"].str.removeprefix("accuracy: ")
    table = accuracy.assign(metric=metric.where(accuracy["domain"] == "", metric + ": " + accuracy["domain"]))
    unseen = [m for m in dict.fromkeys(table["metric"]) if m.startswith("unseen")]
    figures.theme()
    ranked = rank_table(table, ["average", *unseen[:2], FORGETTING], small=[FORGETTING])
    save_figure(figures.ranks(ranked, label="rank by accuracy"), out, name)


def _table(grid: Grid, means: pd.DataFrame) -> str:
    """The printed table, a row for each agent and setting."""
    rows, keys = [], ["agent", *grid.settings]
    for _, part in means[means["metric"].isin(PRINTED)].groupby(keys, sort=False, dropna=False):
        row = {**{name: part[name].iloc[0] for name in keys}, "seeds": part["n"].max()}
        for r in part.itertuples():
            value = with_interval(r, ".3f") if r.n > 1 else f"{r.value:.3f}"
            row[r.metric + (f" {r.domain}" if r.domain else "")] = value
        rows.append(row)
    return pd.DataFrame(rows).astype(object).fillna("").to_string(index=False)


def _split(points: Sequence[Options]) -> str:
    """The split whose metrics are tabulated: test, or validation where test is not scored."""
    for split in ("test", "validation"):
        if all(split in options.splits for options in points):
            return split
    raise UserError("the runs of this grid have no scored split in common; needed: test, or validation, in all splits")
