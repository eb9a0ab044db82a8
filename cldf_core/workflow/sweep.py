"""`cldf sweep`: makes the runs of a grid of options, many at the same time, keeps them, and writes tables of them."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from cldf_core.data.console import note, printable
from cldf_core.data.runtime import project_root
from cldf_core.options import FIELDS, Options, UserError
from cldf_core.results.grid import Kind, distinct_runs, read_grid, read_sweep
from cldf_core.results.kept_runs import keep, kept_names, names_in, published, read_kept
from cldf_core.results.score_tables import Scores, read_scores
from cldf_core.results.sweep_tables import common_split, made_tables
from cldf_core.results.trials import Values, read_spaces
from cldf_core.runs.folder import RunFolder, damage
from cldf_core.runs.holder import used
from cldf_core.runs.plan import made_before
from cldf_core.workflow.chain import publish
from cldf_core.workflow.cluster import HERE, Place
from cldf_core.workflow.engine import made
from cldf_core.workflow.notebooks import LAST, check_domains, notebook_parameters, sweep_parameters
from cldf_core.workflow.parameters import FIRST, Parameters, chosen_values

MOST, SECONDS = 20, 600.0  # finished runs that wait to be kept, and for how long; they lie in runs/ all the same


def command(name: str, profile: str, *, dry: bool, wait: bool = True, place: Place = HERE) -> int:
    """Makes the runs of a grid that are not done, writes its tables and its figure, and prints a table.

    All other options are those of notebook 08 in the profile. Tables and figure are written to
    runs/sweep_<grid>-<key>/figures/; those of a quick sweep in which no run failed are copied to figures/, where its
    runs are kept (see `kept_runs`); other profiles keep theirs beside the tables. A dry sweep lists the runs and makes
    none. A run that another process makes is waited for, or fails where `wait` is False. The `place` says where the
    runs are made, and how many at once. Returns 1 if a run failed, which does not stop the others; else 0. A UserError
    tells, before the first run, that grid, profile, data or kept runs are missing or faulty.
    """
    base = notebook_parameters(LAST, profile)
    grid = read_grid(name)
    told = list[str]()
    points = grid.points(base.values, _choices(told))
    if left_out := grid.agents(base.values) - {point.options.agent for point in points}:
        note(f"{grid.path}: the original has no {', '.join(sorted(left_out))}, so that the grid is without it")
    for options in {(o.data, frozenset(o.stream + o.unseen)): o for o, _ in points}.values():
        try:
            check_domains(options)
        except UserError as error:
            raise UserError(f"{grid.path}, profile {profile}: {error}") from None
    common_split(points)
    for sentence in told if profile == "quick" else ():
        note(sentence)
    folder = sweep_folder(name, base)
    path = published(name) if profile == "quick" else folder.path / "kept.parquet"
    runs = distinct_runs(points)
    if dry:
        done = made_before(list(runs.values()), kept_names(path.parent))
        for label, run in zip(runs, done, strict=True):
            print(f"{label}: {'done before' if run else 'to be run'}")
        return 0
    scores, failed = make_and_keep(runs, path, place, wait=wait)
    by_options = {runs[label].model_dump_json(): run for label, run in scores.items()}
    found = ((point, by_options.get(point.options.model_dump_json())) for point in points)
    if finished := [(point, run) for point, run in found if run]:
        print(made_tables(grid, points, finished, folder))
        if not failed:  # the grid is whole: what else was kept for it is of other code, or of another grid
            others = {*names_in(path)} - {run.run for run in scores.values()}
            keep(path, (), forget=others)
            if others:
                note(f"{path} keeps {len(others)} runs no longer: they are of other code, or of another grid")
            if profile == "quick":
                publish(folder)
        print(f"\ntables and figure: {folder.figures.relative_to(project_root()).as_posix()}")
    repeat = f"; to repeat the others: cldf sweep {name} --profile {profile}{place.flags}" if failed else ""
    print(f"{len(scores)} of {len(runs)} runs are in the tables{repeat}")
    for sentence in failed:
        print(f"failed: {printable(sentence)}", file=sys.stderr)
    return int(bool(failed))


def _choices(told: list[str]) -> Callable[[Values, str], Values]:
    """`chosen_values`, which says where nothing is chosen for an agent that `cldf choose` knows: the defaults hold."""
    spaces = read_spaces()

    def chosen(values: Values, which: str) -> Values:
        own, agent = chosen_values(values, which), values.get("agent", FIELDS["agent"].default)
        stream = values.get("stream", FIELDS["stream"].default)
        if not own and which != "none" and agent in spaces and values.get("variant", "paper") == "paper":
            names = ", ".join(stream if which else stream[:FIRST])
            sentence = f"nothing is chosen for {agent} on {names}: its defaults are taken (cldf choose)"
            told.extend({sentence} - {*told})
        return own

    return chosen


def make_and_keep(
    runs: Mapping[str, Options], path: Path, place: Place, *, wait: bool = True
) -> tuple[dict[str, Scores], list[str]]:
    """The scores of the runs of these labels, as the file keeps them from now on, and a sentence for each that failed.

    What a file in the same folder keeps, and what is finished in runs/, is not made again. The file is written now and
    then, also where this is interrupted: what was finished by then is kept. A UserError says that one is damaged.
    """
    kept = kept_names(path.parent) | dict.fromkeys(names_in(path), path)
    done = dict(zip(runs, made_before(list(runs.values()), kept, build=True), strict=True))
    names = {label: folder.path.name for label, folder in done.items() if folder}
    for label, folder in done.items():
        if folder:
            print(f"{label}: done before", file=sys.stderr)
            if folder.path.is_dir():
                folder.forget_state()
                used(folder.path)
    missing = {label: options for label, options in runs.items() if label not in names}
    found, failed, since = list[Scores](), list[str](), time.monotonic()
    for file in {kept.get(name) for name in names.values()} - {path}:  # other files, or None: it lies in runs/ alone
        elsewhere = {name for name in names.values() if kept.get(name) == file}
        found += read_kept(file, elsewhere) if file else _finished(*elsewhere)
    try:
        for outcome in made(missing, place, wait=wait):
            if not outcome.folder:
                failed.append(f"{outcome.task.name.partition(': ')[2]}: {outcome.error}")
                continue
            names[outcome.task.name] = outcome.folder
            found += _finished(outcome.folder)
            if len(found) >= MOST or time.monotonic() - since > SECONDS:
                keep(path, found)
                found, since = [], time.monotonic()
    finally:
        keep(path, found)
    scores = {own.run: own for own in read_kept(path, {*names.values()})}
    if forgotten := {*names.values()} - {*scores}:
        why = "another sweep of the same name has put its own grid there; the same command makes them again"
        raise UserError(f"{path} no longer keeps {len(forgotten)} of the runs: {why}")
    return {label: scores[names[label]] for label in runs if label in names}, failed


def _finished(*names: str) -> list[Scores]:
    return read_scores([RunFolder(project_root() / "runs" / name) for name in names])


def sweep_folder(name: str, parameters: Parameters) -> RunFolder:
    """Where the sweep of a grid that a notebook with such parameters reads keeps its tables."""
    return RunFolder(project_root() / "runs" / f"sweep_{name}-{sweep_parameters(parameters).folder.key}")


def results(name: str, parameters: Parameters) -> pd.DataFrame:
    """Reads what the single runs of a grid have given with a notebook's parameters (see `read_sweep`); runs nothing.

    The table is that in runs/ or, if there is none and the parameters are the quick profile's, the committed one.
    """
    return _read(name, parameters, "runs")


def means(name: str, parameters: Parameters) -> pd.DataFrame:
    """Reads the means over seeds of the runs whose `results` those are, with intervals, as `results` does."""
    return _read(name, parameters, "means")


def tests(name: str, parameters: Parameters) -> pd.DataFrame:
    """Reads the differences of learners, over seeds, of the runs whose `results` those are, as `results` does."""
    return _read(name, parameters, "tests")


def kept(name: str, parameters: Parameters) -> list[Scores]:
    """The scores of the runs whose `results` those are, as far as they are kept."""
    path = published(name) if _is_quick(parameters) else sweep_folder(name, parameters).path / "kept.parquet"
    return read_kept(path, set(results(name, parameters)["run"]))


def scores(name: str, parameters: Parameters, setting: str) -> pd.DataFrame:
    """The per-image scores of the runs that are `kept`, with agent (what is compared), seed, and a setting's column.

    A run that stands for several points of the grid comes as often.
    """
    learner, table = read_grid(name).learner, results(name, parameters)
    points = table.assign(agent=table[learner])[["run", "agent", setting, "seed"]].drop_duplicates()
    tables = {run.run: run.table for run in kept(name, parameters)}
    parts = [
        tables[str(run)].assign(agent=agent, seed=seed, **{setting: value})
        for run, agent, value, seed in points.itertuples(index=False)
        if run in tables
    ]
    return pd.concat(parts, ignore_index=True) if parts else points


def _read(name: str, parameters: Parameters, kind: Kind) -> pd.DataFrame:
    grid, folder = read_grid(name), sweep_folder(name, parameters)
    if (damaged := folder.damaged()) and damaged.exists():
        raise damage(damaged)
    # All three tables are of one place, also where one of them was not written, as tests of a single seed.
    made = not read_sweep(grid, folder.figures).empty
    place = folder.figures if made or not _is_quick(parameters) else project_root() / "figures"
    return read_sweep(grid, place, kind)


def _is_quick(parameters: Parameters) -> bool:
    return parameters == notebook_parameters(parameters.notebook, "quick")
