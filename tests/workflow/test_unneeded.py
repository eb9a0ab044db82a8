"""`cldf runs gc` names what no published table was made from, and keeps what it cannot know."""

import os
import time
from pathlib import Path

import pytest

from cldf_core.data.files import write_record
from cldf_core.detection.in_use import RECORD
from cldf_core.results.inventory import keep_runs
from cldf_core.runs.folder import LINEAGE, RunFolder
from cldf_core.runs.holder import holding
from cldf_core.runs.provenance import code_hash
from cldf_core.workflow.notebooks import notebook_parameters
from cldf_core.workflow.unneeded import unneeded


def write(path: Path, *, days: float = 0, **manifest) -> str:
    """Writes a manifest so many days ago."""
    folder = RunFolder(path)
    folder.write_manifest({"status": "finished", "options": {}, "files": {}, **manifest})
    at = time.time() - days * 86400
    os.utime(folder.path / "manifest.json", (at, at))
    return path.name


@pytest.fixture
def runs(root):
    """Runs of which two are used by a published notebook, one each by a sweep's table and by that of `cldf choose`."""
    options = {"agent": "er", "data": "mini"}
    for name in ("used", "used too", "in a sweep", "committed", "chosen", "spare", "own"):
        write(root / "runs" / f"er-{name}", options=options, code=code_hash("er"))
    write(root / "runs" / "er-old", options=options, code="1234")
    write(root / "runs" / "x-stranger", options={"agent": "somebody's"}, code="1234")
    for name, days in (("new", 0.5), ("abandoned", 3)):
        write(root / "runs" / f"er-{name}", options=options, status="running", days=days)
    write(notebook_parameters("04_icarl", "quick").folder.path, notebook="04_icarl", runs=["er-used", "er-used too"])
    write(root / "runs" / "04_icarl-0123456789ab", notebook="04_icarl", runs=["er-own"])
    for folder, name in ((root / "runs" / "sweep_a-1", "in a sweep"), (root, "committed")):
        table = folder / "figures" / "tables" / "sweep_a_runs.csv"
        table.parent.mkdir(parents=True)
        table.write_text(f"run,value\ner-{name},1\n")
    (root / "figures" / "tables" / "sweep_b_runs.csv").write_bytes(b"\xff,")
    write(root / "runs" / "sweep_a-1")
    keep_runs("choices", ["er-chosen"])
    (root / "runs" / "notes").mkdir()
    os.symlink("er-spare", root / "runs" / "link")
    return root / "runs"


def test_what_nothing_published_was_made_from_is_named_with_a_reason(runs):
    found, notes = unneeded()
    assert {entry.name: why for entry, why in found} == {
        "04_icarl-0123456789ab": "its parameters are those of no profile",
        "er-abandoned": "unfinished, for 3 days",
        "er-old": "made by other code, and no published table needs it",
        "er-own": "no published table needs it",
        "er-spare": "no published table needs it",
        "x-stranger": "made by other code, and no published table needs it",
    }
    assert notes == []


def test_detectors_that_were_in_use_and_what_they_went_on_from_are_needed(runs):
    before = {found.entry.name for found in unneeded()[0]}
    write_record(runs / "er-spare" / LINEAGE, {"from": "er-old", "steps": 1})
    write_record(runs.parent / RECORD, {"uses": [{"run": "er-spare", "since": "2026-01-01T00:00:00", "why": "test"}]})
    assert before - {found.entry.name for found in unneeded()[0]} == {"er-spare", "er-old"}


def test_where_a_notebook_does_not_say_what_it_used_finished_runs_are_kept(runs):
    name = write(notebook_parameters("05_gdumb", "smoke").folder.path, notebook="05_gdumb")
    found, (note,) = unneeded()
    assert {entry.name for entry, _ in found} == {"04_icarl-0123456789ab", "er-abandoned"}
    assert note == f"{name} does not say which runs it was made from, so all finished runs are kept"


def test_a_run_that_is_being_made_or_was_used_lately_is_kept(runs):
    with holding(runs / "er-spare"), holding(runs / "er-abandoned"):
        assert not {"er-spare", "er-abandoned"} & {entry.name for entry, _ in unneeded()[0]}
    assert "er-abandoned" not in {entry.name for entry, _ in unneeded()[0]}  # somebody has just gone on with it
    for path in (runs / "er-abandoned" / ".lock", runs / "er-abandoned" / "manifest.json"):
        os.utime(path, (4e9, 4e9))  # the clock was set back since
    assert "er-abandoned" not in {entry.name for entry, _ in unneeded()[0]}
