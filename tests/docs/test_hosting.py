"""What a student takes of a machine: what is sampled is what was taken, and sizes of machines follow from it."""

import importlib
import os
import subprocess
import sys

import nbformat
import pandas as pd
import pytest

from cldf_core.workflow.parameters import NOTEBOOKS
from exercises import NAMES
from samples import PROJECT

WORK = """
import sys, time
held = bytearray(int(sys.argv[1]) * 1_000_000)
until = time.process_time() + float(sys.argv[2])
while time.process_time() < until: pass
"""
TABLE = pd.DataFrame(
    [
        ("server", "JupyterLab", 100.0, 30.0, 5.0, "two processors"),
        ("data", "mini-smoke", 900.0, 200.0, 60.0, "two processors"),
        ("notebook", "00_start_here", 500.0, 400.0, 20.0, "two processors"),
        ("notebook", "11_original_versus_papers", 1400.0, 300.0, 90.0, "two processors"),
        ("exercise", "reservoir", 200.0, 100.0, 10.0, "two processors"),
    ],
    columns=["kind", "name", "own_mb", "mapped_mb", "processor_seconds", "machine"],
)


@pytest.fixture
def hosting(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "docs"))
    return importlib.import_module("hosting")


def work(megabytes: int, seconds: float) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WORK, str(megabytes), str(seconds)])


def seconds_of_children() -> float:
    """Seconds of processors that processes have used which this one has started, and waited for."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is shared is told by Linux only")
def test_memory_of_processes_at_the_same_time_and_their_seconds_add_up(hosting):
    before = work(400, 60)  # which was there before, and does not count
    try:
        since = seconds_of_children()
        both = hosting.measured(lambda: [child.wait() for child in [work(200, 0.7), work(100, 0.7)]])
        used = seconds_of_children() - since  # by the system's account, however slow the machine is
        in_turn = hosting.measured(lambda: [work(megabytes, 0.4).wait() for megabytes in (200, 100)])
    finally:
        before.kill()
        before.wait()
    assert 300e6 < both.own < 360e6  # and two Pythons without anything
    assert used > 1.4
    assert 0.8 * used < both.seconds < used + 0.05  # what came after the last sample of a process is missing
    assert 200e6 < in_turn.own < 240e6
    assert 1e6 < both.mapped < 30e6


def test_a_notebook_runs_where_it_lies_and_its_error_is_one_here(hosting, tmp_path):
    def write(source: str):
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), tmp_path / "a.ipynb")
        return tmp_path / "a.ipynb"

    hosting.run_all(write("open('made', 'w').close()"))
    assert (tmp_path / "made").is_file()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        hosting.run_all(write("1 / 0"))


def test_every_notebook_and_exercise_is_measured_or_said_not_to_be(hosting):
    names = [name for kind, name, _ in hosting.parts() if kind in ("notebook", "exercise")]
    assert names == [*NOTEBOOKS, *NAMES]
    table = pd.read_csv(hosting.TABLE)
    assert list(table.columns) == hosting.COLUMNS
    assert set(table["name"]) <= {"JupyterLab", "mini-smoke", *names}
    assert (table[["own_mb", "mapped_mb", "processor_seconds"]] > 0).all(axis=None)
    text = hosting.measured_table(table)
    assert all(f"`{name}`" in text for name in names)
    assert ("Not measured yet: " in text) == (len(table) < len(names) + 2)


def test_what_is_measured_again_replaces_its_row_and_leaves_the_others(hosting, tmp_path, monkeypatch):
    target = tmp_path / "table.csv"
    TABLE[:3].to_csv(target, index=False)
    load = hosting.Load(250_000_000, 90_000_000, 4.0)
    monkeypatch.setattr(
        hosting, "parts", lambda: [("notebook", "00_start_here", None), ("exercise", "reservoir", None)]
    )
    monkeypatch.setattr(hosting, "measured", lambda work: load)
    monkeypatch.setattr(hosting, "machine", lambda: "another machine")
    hosting.measure(target)
    table = pd.read_csv(target)
    assert table["name"].tolist() == ["JupyterLab", "mini-smoke", "00_start_here", "reservoir"]
    assert table.iloc[:2].to_dict() == TABLE.iloc[:2].to_dict()
    assert table.iloc[2].tolist() == ["notebook", "00_start_here", 250, 90, 4, "another machine"]


def test_a_machine_has_room_for_as_many_as_it_was_made_for(hosting):
    assert hosting.machine_gb(TABLE, 30)[2] == pytest.approx(1 + 0.4 + 30 * 1.3 * (0.1 + 0.5))
    for students in (1, 10, 30):
        sizes = hosting.machine_gb(TABLE, students)
        for row, gb in sizes.items():
            assert hosting.most_students(TABLE, gb + 1e-6)[row] == students
            assert hosting.most_students(TABLE, gb - 1e-6)[row] == students - 1
    assert (hosting.most_students(TABLE, 0.5) == 0).all()


def test_as_many_processors_as_the_last_one_needs(hosting):
    assert hosting.cores(TABLE, 30).tolist()[2:] == [2, 9, 1]  # 600, 2700 and 300 seconds, in five minutes


def test_a_page_holds_the_tables_that_follow(hosting, tmp_path):
    TABLE.to_csv(tmp_path / "table.csv", index=False)
    page = (PROJECT / "docs" / "hosting.md").read_text(encoding="utf-8")
    text = hosting.filled(page, tmp_path / "table.csv")
    assert "<!-- hosting" not in text
    assert "on two processors." in text
    assert "| exercise `reservoir` | 200 | 10 | 38 |" in text  # (16 − 1 − 0.1) / (1.3 · 0.3)
    # The largest notebook up to 08 and of all, and the exercise: 1.1 + 30 · 0.39, 1.4 + 30 · 0.78, 1.3 + 30 · 1.95.
    assert "| 30 | 13 GB, 1 processor | 25 GB, 2 processors | 60 GB, 9 processors |" in text
    assert "below 2.3 GB" in text  # 1.95 and what is mapped
    assert hosting.filled("nothing here", tmp_path / "no.csv") == "nothing here"
