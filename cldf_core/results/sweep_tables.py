"""The tables of a sweep: means over seeds, single runs, and tests between learners; and the code that they are of.

A run that was not made is missing from the tables; it is not zero.
"""

import hashlib
import itertools
import json
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.data.console import note
from cldf_core.data.files import save_figure, save_table
from cldf_core.data.source_trees import tree_hash
from cldf_core.evaluation.cells import with_interval
from cldf_core.evaluation.seeds import means_over_seeds
from cldf_core.options import UserError
from cldf_core.results.compare import COMPARISON, compare_over_seeds
from cldf_core.results.grid import Grid, Point, with_whole_numbers
from cldf_core.results.kept_runs import facts_of
from cldf_core.results.metric_table import COST, metric_table
from cldf_core.results.score_tables import Scores
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.holder import holding
from cldf_core.runs.provenance import code_hash

FORGETTING = "forgetting (max-last)"
LIBRARIES = ("numpy", "pandas", "scipy", "matplotlib", "seaborn")  # of tables and figure
PRINTED = ("accuracy: average", "accuracy: learning", f"accuracy: {FORGETTING}", "accuracy: unseen", "AUC: average")
Finished = Sequence[tuple[Point, Scores]]  # several points may share a run


def made_tables(grid: Grid, points: Sequence[Point], finished: Finished, folder: RunFolder) -> str:
    """The table to be read; all tables and the figure are written, unless they are there and of the same runs.

    The folder's figures/tables/ get sweep_<grid>.csv with means over n seeds and t intervals, sweep_<grid>_runs.csv
    with single runs, and sweep_<grid>_tests.csv with comparisons over n seeds, where there are some. Each has a column
    code, the hash of the method of its runs. `finished` are those of the grid's points that have a run.
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
    table, notes = _measured(grid, finished)
    means = means_over_seeds(table, [*grid.keys, "step", "domain", "metric"])
    runs = table[table["metric"].str.contains(": ") | table["metric"].isin(COST)][grid.run_columns]
    values = [dict.fromkeys(p.cells[name] for p in points if name in p.cells) or [None] for name in grid.settings]
    settings = list(itertools.product(*values))
    tests = _tests(grid, table, settings)
    shutil.rmtree(out, ignore_errors=True)  # an earlier sweep may have left files that this one does not write
    code = ", ".join(dict.fromkeys(table["code"]))
    save_table(means.assign(code=code), out, f"sweep_{grid.name}")
    save_table(runs, out, f"sweep_{grid.name}_runs")
    if len(tests):
        save_table(tests.assign(code=code), out, f"sweep_{grid.name}_tests")
    ranked = runs[runs["agent"] != "separate"]  # of whose networks the last one alone would be ranked
    seeds = [set(seeds) for _, seeds in ranked.groupby(grid.learner)["seed"]]
    if len(settings) == 1 and len(seeds) > 1 and set.intersection(*seeds):
        _draw_ranks(ranked.assign(agent=ranked[grid.learner]), out, f"sweep_{grid.name}_ranks")
    return _table(grid, means), notes


def _measured(grid: Grid, finished: Finished) -> tuple[pd.DataFrame, list[str]]:
    """The metric table's rows of the last step and of the whole stream, with the cells of each point; notes."""
    runs = {scores.run: scores for _, scores in finished}
    # One resample, since the spread here is that over seeds.
    table = metric_table(list(runs.values()), split=common_split([point for point, _ in finished]), resamples=1)
    notes = table.attrs["notes"]
    last = table["step"].isna() | (table["step"] == table.groupby("run")["step"].transform("max"))
    table = table[(table["run"] != "") & last].drop(columns=["agent", "seed"])
    cells = pd.DataFrame(
        {"run": scores.run, **point.cells, "seed": point.options.seed, "code": scores.manifest["code"]}
        for point, scores in finished
    )
    cells = cells.reindex(columns=["run", *grid.keys, "seed", "code"])
    return with_whole_numbers(cells.merge(table, on="run", how="left")), notes


def _tests(grid: Grid, table: pd.DataFrame, settings: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Comparisons of learners by continual metrics in each setting; one that does not read its option takes part."""
    columns = [*grid.settings, *COMPARISON]
    tables = []
    for setting in settings:
        rows = table[table["metric"].str.contains(": ")]
        values = dict(zip(grid.settings, setting, strict=True))
        for name, value in values.items():
            rows = rows[rows[name].isna() | (rows[name] == value)]
        rows = rows.assign(agent=rows[grid.learner])
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
    """The printed table, a row for each learner and setting."""
    rows, keys = [], grid.keys
    for _, part in means[means["metric"].isin(PRINTED)].groupby(keys, sort=False, dropna=False):
        row = {**{name: part[name].iloc[0] for name in keys}, "seeds": part["n"].max()}
        for r in part.itertuples():
            value = with_interval(r, ".3f") if r.n > 1 else f"{r.value:.3f}"
            row[r.metric + (f" {r.domain}" if r.domain else "")] = value
        rows.append(row)
    return pd.DataFrame(rows).astype(object).fillna("").to_string(index=False)
