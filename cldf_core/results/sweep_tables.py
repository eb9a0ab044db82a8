"""The tables of a sweep: means over seeds, single runs, and tests between learners; and the code that they are of.

A run that was not made is missing from the tables; it is not zero.
"""

import hashlib
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.data.console import note
from cldf_core.data.files import save_figure, save_table
from cldf_core.data.source_trees import tree_hash
from cldf_core.evaluation.bootstrap import ENDS
from cldf_core.evaluation.cells import with_interval
from cldf_core.evaluation.metrics import DETECTION
from cldf_core.options import UserError
from cldf_core.results.compare import COMPARISON, compare_over_seeds
from cldf_core.results.grid import Grid, Point, with_whole_numbers
from cldf_core.results.kept_runs import facts_of
from cldf_core.results.metric_table import COST, NAMES, metric_table
from cldf_core.results.score_tables import Scores
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.holder import holding
from cldf_core.runs.provenance import code_hash

FORGETTING = "forgetting (max-last)"
OF_STREAM = [name for name in NAMES if ": " in name]  # continual metrics, also on unseen domains
LIBRARIES = ("numpy", "pandas", "scipy", "matplotlib", "seaborn")  # of tables and figure
PRINTED = ("accuracy: average", "accuracy: learning", f"accuracy: {FORGETTING}", "accuracy: unseen", "AUC: average")
Finished = Sequence[tuple[Point, Scores]]  # several points may share a run


def made_tables(grid: Grid, points: Sequence[Point], finished: Finished, folder: RunFolder) -> str:
    """The table to be read; all tables and the figure are written, unless they are there and of the same runs.

    The folder's figures/tables/ get sweep_<grid>.csv with means over n seeds, sweep_<grid>_runs.csv with single runs,
    and sweep_<grid>_tests.csv with differences of learners over n seeds, where there are some. Intervals of scores are
    over seeds and photographs, crossed; `spread` says where not. Each has a column code, the hash of the method of its
    runs. `finished` are those of the grid's points that have a run.
    """
    runs = [(point.cells, scores.run, facts_of(scores.manifest)) for point, scores in finished]
    rest = [point.cells for point in points]
    parts = [runs, rest, tree_hash(["results.sweep_tables"]), [version(name) for name in LIBRARIES]]
    inputs = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    with holding(folder.path) as hold:
        if folder.damaged() or (manifest := folder.manifest).get("inputs") != inputs:
            hold.check()
            text, notes = _write(grid, points, finished, folder.figures)
            written = (path for path in folder.figures.rglob("*") if path.is_file())
            names = list(dict.fromkeys(scores.run for _, scores in finished))
            manifest = {"status": "finished", "options": {}, "inputs": inputs, "runs": names}
            manifest |= {"table": text, "notes": notes, "files": folder.hashes(*written)}
            folder.write_manifest(manifest)
    for sentence in manifest["notes"]:
        note(sentence)
    return str(manifest["table"])


def code_in_words(table: pd.DataFrame) -> str:
    """Says that a sweep's table is of other code than today's, with both hashes of the method; "" where it is not.

    All agents of the package share the hash. Tables of earlier versions do not name it.
    """
    today, untold = code_hash("sequential"), "that it does not name"
    codes = table["code"].fillna(untold) if "code" in table else [untold] * len(table)
    return f"made with code {', '.join(made)}; today's is {today}" if (made := sorted({*codes} - {today})) else ""


def common_split(points: Sequence[Point]) -> str:
    """The split whose metrics are tabulated: test, or validation where test is not scored."""
    for split in ("test", "validation"):
        if all(split in point.options.splits for point in points):
            return split
    raise UserError("the runs of this grid have no scored split in common; needed: test, or validation, in all splits")


def _write(grid: Grid, points: Sequence[Point], finished: Finished, out: Path) -> tuple[str, list[str]]:
    """Writes the tables and the figure of the ranks; returns the table to be read, and sentences on what else to know.

    All that they depend on is in the hash that `made_tables` makes.
    """
    split = common_split([point for point, _ in finished])
    means, runs, notes = _measured(grid, finished, split)
    values = [dict.fromkeys(p.cells[name] for p in points if name in p.cells) or [None] for name in grid.settings]
    settings = list(itertools.product(*values))
    tests, more = _tests(grid, runs, finished, settings, split)
    runs = runs[runs["metric"].isin([*OF_STREAM, *COST])][grid.columns("runs")]
    shutil.rmtree(out, ignore_errors=True)  # an earlier sweep may have left files that this one does not write
    code = ", ".join(dict.fromkeys(runs["code"]))
    save_table(means.assign(code=code), out, f"sweep_{grid.name}")
    save_table(runs, out, f"sweep_{grid.name}_runs")
    if len(tests):
        save_table(tests.assign(code=code), out, f"sweep_{grid.name}_tests")
    ranked = runs[runs["agent"] != "separate"]  # of whose networks the last one alone would be ranked
    seeds = [set(seeds) for _, seeds in ranked.groupby(grid.learner)["seed"]]
    if len(settings) == 1 and len(seeds) > 1 and set.intersection(*seeds):
        _draw_ranks(ranked.assign(agent=ranked[grid.learner]), out, f"sweep_{grid.name}_ranks")
    return _table(grid, means), list(dict.fromkeys(notes + more))


def _measured(grid: Grid, finished: Finished, split: str) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Means over seeds, and the values of single runs: after the last step and of the whole stream; and notes.

    The spread of a mean is as in `metric_table`; a single seed has the interval of its run.
    """
    named = [replace(scores, run=point.label, agent=_without_seed(point).label) for point, scores in finished]
    last = [replace(s, table=s.table[s.table["step"] == s.table["step"].max()]) for s in named]
    parts = [(last, DETECTION), (named, [*OF_STREAM, *COST])]
    tables = [metric_table(runs, metrics=metrics, split=split) for runs, metrics in parts]
    table = pd.concat(tables).rename(columns={"run": "point", "agent": "setting"}).drop(columns="seed")
    single, several = table[table["point"] != ""], table[table["point"] == ""]
    alone = single[~single["setting"].isin(several["setting"])].assign(n=1)
    cells = pd.DataFrame(
        {"point": s.run, "setting": s.agent, **point.cells, "run": scores.run, "code": scores.manifest["code"]}
        | {"seed": point.options.seed}
        for s, (point, scores) in zip(named, finished, strict=True)
    ).reindex(columns=["point", "setting", "run", *grid.keys, "seed", "code"])
    places = cells[["setting", *grid.keys]].drop_duplicates("setting")
    means = places.merge(pd.concat([several, alone]), on="setting")
    columns = [*grid.keys, *("step", "domain", "metric"), *ENDS, *("n", "spread")]
    notes = [sentence for part in tables for sentence in part.attrs["notes"]]
    return with_whole_numbers(means[columns]), with_whole_numbers(cells.merge(single, on=["point", "setting"])), notes


def _without_seed(point: Point) -> Point:
    return point._replace(cells={name: cell for name, cell in point.cells.items() if name != "seed"})


def _tests(
    grid: Grid, runs: pd.DataFrame, finished: Finished, settings: Sequence[tuple[Any, ...]], split: str
) -> tuple[pd.DataFrame, list[str]]:
    """Comparisons of learners by continual metrics in each setting, as `compare_over_seeds` has them; and notes.

    A learner that does not read a setting's option takes part in each. Separate models do not take part: the last of
    their networks alone would be compared, and would count in the correction for several tests.
    """
    columns, tables, notes = [*grid.settings, *COMPARISON], list[pd.DataFrame](), list[str]()
    continual = runs[runs["metric"].isin(OF_STREAM) & (runs["agent"] != "separate")]
    continual = continual.assign(run=continual["point"], agent=continual[grid.learner])
    for setting in settings:
        rows, values = continual, dict(zip(grid.settings, setting, strict=True))
        for name, value in values.items():
            rows = rows[rows[name].isna() | (rows[name] == value)]
        learners = dict(zip(rows["point"], rows["agent"], strict=True))
        named = [replace(s, run=p.label, agent=learners[p.label]) for p, s in finished if p.label in learners]
        if rows["agent"].nunique() > 1:
            comparisons = compare_over_seeds(rows, named, metrics=OF_STREAM, split=split)
            notes += comparisons.attrs["notes"]
            tables.append(comparisons.query("n > 1").assign(**values)[columns])
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns), notes


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
    """The printed table, a row for each learner and setting."""
    rows, keys = [], grid.keys
    for _, part in means[means["metric"].isin(PRINTED)].groupby(keys, sort=False, dropna=False):
        row = {**{name: part[name].iloc[0] for name in keys}, "seeds": part["n"].max()}
        for r in part.itertuples():
            row[r.metric + (f" {r.domain}" if r.domain else "")] = with_interval(r, ".3f")
        rows.append(row)
    return pd.DataFrame(rows).astype(object).fillna("").to_string(index=False)
