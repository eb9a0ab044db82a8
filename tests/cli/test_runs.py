"""`cldf runs`: what it prints and deletes, and what it refuses."""

import io
import json
import shutil
import sys

import pandas as pd
import pytest

from cldf_core.cli import main
from cldf_core.results.inventory import keep_runs
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.holder import holding
from samples import replace_scores


@pytest.fixture
def runs(trained, root):
    """Two runs that differ in their seed and scores, and a table that was made from the second."""
    first = RunFolder(shutil.copytree(trained[0].path, root / "runs" / "er-1"))
    second = RunFolder(shutil.copytree(trained[0].path, root / "runs" / "er-2"))
    manifest = second.manifest
    manifest["options"]["seed"] = 7
    second.write_manifest(manifest)
    replace_scores(second, second.scores().assign(logit=lambda table: -table["logit"]))
    keep_runs("a table", ["er-2"])
    return first.path.parent


def cldf(capsys, *words: str) -> tuple[int, str, str]:
    status = main(["runs", *words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return status, said.out, said.err


def test_list_is_a_table_or_data(runs, capsys, tmp_path):
    status, table, _ = cldf(capsys, "list")
    assert status == 0
    assert [line.split()[:2] for line in table.splitlines()] == [
        ["name", "status"], ["a", "table"], ["er-1", "finished"], ["er-2", "finished"]
    ]  # fmt: skip
    data = json.loads(cldf(capsys, "list", "er-*", "--format", "json")[1])
    assert [(row["name"], row["what"], row["seed"]) for row in data] == [("er-1", "er", 0), ("er-2", "er", 7)]
    assert cldf(capsys, "list", "--out", str(tmp_path / "list.csv"))[0] == 0
    assert list(pd.read_csv(tmp_path / "list.csv")["bytes"])[1:] == [row["bytes"] for row in data]
    shutil.rmtree(runs)
    assert cldf(capsys, "list")[:2] == (0, "no run is there yet\n")


def test_show_tells_what_is_in_a_run(runs, capsys):
    shown = cldf(capsys, "show", "er-2")[1]
    for text in ("er-2: finished\n", "  7\n", "first", "torch", "used by:\n  a table\n", "scores.parquet", "test:"):
        assert text in shown
    (runs / "er-2" / "scores.parquet").write_bytes(b"")
    assert cldf(capsys, "show", "er-2")[1].startswith("er-2: damaged (scores.parquet)\n")
    (runs / "er-2" / "manifest.json").write_bytes(b"{")
    assert cldf(capsys, "show", "er-2")[1].startswith("er-2: damaged (manifest.json)\n")
    assert "made from:\n  er-2\n" in cldf(capsys, "show", "a table")[1]


def test_compare_tells_why_keys_differ_and_what_differs_in_results(runs, capsys):
    status, said, notes = cldf(capsys, "compare", "er-1", "er-2")
    assert (status, notes) == (0, "")
    why, results = said.split("\n\n")
    assert [line.split() for line in why.splitlines()] == [["er-1", "er-2"], ["option", "seed", "0", "7"]]
    row = next(line for line in results.splitlines() if line.strip().startswith("AUC: average"))
    first, second, difference = map(float, row.split()[2:5])
    assert first - second == pytest.approx(difference, abs=0.002)
    assert cldf(capsys, "compare", "er-1", "er-1")[0] == cldf(capsys, "compare", "er-1", "a table")[0] == 2


def test_rm_asks_and_tells_who_was_made_from_it(runs, capsys, monkeypatch):
    status, said, notes = cldf(capsys, "rm", "er-*")
    assert status == 2
    assert notes.splitlines() == [
        "note: a table was made from er-2",
        "cldf: nobody can be asked here, so nothing is deleted; needed: --yes",
    ]
    for answer, left in (("\n", True), ("no\n", True), ("", True), ("y\n", False)):
        stdin = io.StringIO(answer)
        stdin.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", stdin)
        status, said, _ = cldf(capsys, "rm", "er-1")
        assert (status, (runs / "er-1").exists()) == (int(left), left)
    assert said.endswith("deleted: 1 folder, " + said.rpartition(", ")[2])
    (runs / "notes").mkdir()
    with holding(runs / "er-2"):
        assert "is being made by process" in cldf(capsys, "rm", "a table", "er-2", "--yes")[2]
    for names in (["notes"], ["nothing"], ["../data"], ["."], ["*"]):
        assert cldf(capsys, "rm", *names, "--yes")[0] == 2
    assert {path.name for path in runs.iterdir()} == {"a table", "er-2", "notes"}
    assert cldf(capsys, "rm", "er-2", "--yes")[0] == 0
    assert {path.name for path in runs.iterdir()} == {"a table", "notes"}


def test_gc_shows_before_it_deletes(runs, capsys):
    status, said, _ = cldf(capsys, "gc")
    assert status == 0
    assert said.splitlines()[1].split()[0] == "er-1"
    assert "1 folder" in said.splitlines()[-1]
    assert (runs / "er-1").exists()
    assert cldf(capsys, "gc", "--delete")[0] == 0
    assert {path.name for path in runs.iterdir()} == {"a table", "er-2"}
    assert cldf(capsys, "gc")[1] == "published tables need all that is there\n"
