"""What lies in runs/ is known without its tables; whatever else lies there disturbs nobody and is never deleted."""

import os
import shutil
import time

import pytest

from cldf_core.options import UserError
from cldf_core.results import inventory
from cldf_core.results.inventory import changed_options, differences, entries, keep_runs, remove, users
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.holder import holding
from samples import damaged_runs


@pytest.fixture
def run(trained, root):
    """A finished run in a root of the test's own."""
    source = trained["er", 0].path
    return RunFolder(shutil.copytree(source, root / "runs" / source.name))


def statuses() -> dict[str, str]:
    return {entry.name: entry.status for entry in entries()}


def test_a_finished_run_is_told_with_its_size(run):
    (entry,) = entries()
    assert (entry.name, entry.status, entry.kind, entry.who) == (run.path.name, "finished", "run", "er")
    sizes = {name: (run.path / name).stat().st_size for name in (*run.files, "manifest.json")}
    assert entry.files == sizes
    assert entry.bytes == sum(sizes.values())
    assert time.time() - entry.written < 3600


def test_whatever_else_lies_there_is_told_apart(run, monkeypatch):
    runs = run.path.parent
    places = damaged_runs(run, runs, "copy")
    for name in ("notes", "an app", "er-000000000000", "x-00000000000g"):
        (runs / name).mkdir()
    (runs / "an app" / "manifest.json").write_text('{"name": "an app"}')
    (runs / "a\nb").mkdir()
    (runs / ".hidden").mkdir()
    (runs / "a file").write_text("")
    os.symlink("nothing", runs / "lost")
    os.symlink("round", runs / "round")
    os.symlink(run.path.name, runs / "link")
    RunFolder(runs / "er-000000000001").write_manifest({"status": "running", "options": {"agent": "er"}})
    RunFolder(runs / "04_icarl-1").write_manifest({"status": "failed", "options": {}, "notebook": "04_icarl"})
    RunFolder(shutil.copytree(run.path, runs / "odd")).write_manifest({"status": 1, "options": [1], "runs": 1})
    shutil.copytree(run.path, runs / "gap")
    (runs / "gap" / "scores.parquet").unlink()
    found = statuses()
    faults = {name for name, file in places.items() if file == "manifest.json"}  # what a table holds is not looked at
    assert {name for name, status in found.items() if status == "damaged (manifest.json)"} == faults | {"odd"}
    assert found["gap"] == "damaged (scores.parquet is missing)"
    assert found["er-000000000000"] == found["er-000000000001"] == "unfinished"
    assert found["04_icarl-1"] == "failed"
    assert {n for n, status in found.items() if status == inventory.NO_RUN} == {
        "notes",
        "an app",
        "x-00000000000g",
        "a\nb",
    }
    assert (found["lost"], found["round"]) == ("a link to nothing", "a link that leads in a circle")
    assert found["link"] == "finished"
    assert {entry.name: entry.bytes for entry in entries()}["link"] == 0
    assert not found.keys() & {".hidden", "a file"}
    monkeypatch.setattr(os, "scandir", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert set(statuses().values()) >= {"out of reach (Permission denied)"}


def test_names_and_patterns_mean_folders_in_runs(run, monkeypatch):
    runs = run.path.parent
    RunFolder(runs / "er-[1]").write_manifest({"status": "finished", "options": {"agent": "er"}})
    for words in (["er-[1]"], ["runs/er-[1]"], [str(runs / "er-[1]")], ["*1]"], ["er-[1]", "er-[1]/"]):
        assert [entry.name for entry in entries(words)] == ["er-[1]"], words
    monkeypatch.chdir(runs)
    assert len(entries(["er-*"])) == len(entries(["./er-*"])) == 2
    for word in ("..", ".", "/", "", "/etc", "../runs/../..", "nothing-*", "a\0b"):
        with pytest.raises(UserError):
            entries([word])


def test_users_and_differences(run, root):
    keep_runs("table", [run.path.name, "gone"])
    assert users([run.path.name], entries()) == {"table": [run.path.name]}
    other = run.manifest
    other["options"] |= {"seed": 5}
    other["versions"] |= {"torch": "2.4.0"}
    other["data"] |= {"first": "changed"}
    other["code"], other["git"] = "1234", None
    RunFolder(root / "runs" / "er-2").write_manifest(other)
    by_name = {entry.name: entry for entry in entries()}
    first, second = by_name["er-2"], by_name[run.path.name]
    rows = {row[0]: row[1:] for row in differences(second, first)}
    assert rows.keys() == {"option seed", "data first", "version torch", "code"}
    assert rows["option seed"] == ("0", "5")
    assert rows["code"][1] == "1234"
    assert differences(first, first) == []
    changed = changed_options(first.options)
    assert (changed["agent"], changed["seed"], changed["memory"]) == ("er", 5, 12)
    assert "lr" not in changed
    assert changed_options({"agent": "somebody's", "a": 1}) == {"agent": "somebody's", "a": 1}


def test_a_folder_goes_as_a_whole_or_stays(run, root, monkeypatch):
    runs = run.path.parent
    os.symlink(run.path.name, runs / "link")
    link, entry = sorted(entries(), key=lambda entry: entry.name != "link")
    remove(link)
    assert run.damaged() is None
    assert not (runs / "link").is_symlink()
    with holding(run.path), pytest.raises(UserError, match="is being made by process"):
        remove(entry)
    assert run.damaged() is None
    assert statuses() == {run.path.name: "finished"}
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            remove(entry)
    assert entries() == []
    assert len(list(runs.iterdir())) == 1
    inventory.forget_removed()
    assert list(runs.iterdir()) == []


def test_one_that_is_made_is_told(run):
    with holding(run.path):
        assert statuses()[run.path.name].startswith("being made by process ")
