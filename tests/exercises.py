"""Submissions of exercises, and what nbgrader makes of them."""

import copy
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import nbformat
import pandas as pd

from samples import PROJECT

EXERCISES = PROJECT / "notebooks" / "exercises"
NAMES = sorted(path.stem for path in EXERCISES.glob("*.py"))
SCRIPT = PROJECT / "docs" / "make_course.py"
IN_MAKE_TEST = ("log_spectrum", "reservoir")  # the others take minutes, with those in tests/long


def load(name: str, folder: str = "solutions", *, course: Path) -> nbformat.NotebookNode:
    """The notebook of an exercise in the folder of a course: its solution, or the students' copy."""
    return nbformat.read(course / folder / name / f"{name}.ipynb", as_version=4)


def grade_id(cell: nbformat.NotebookNode) -> str:
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def make_course(*words: object) -> subprocess.CompletedProcess[str]:
    """What the script does, in a Python of its own, whose bin need not be on PATH."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "PATH": os.defpath}
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def answered(notebook: nbformat.NotebookNode, cells: Mapping[str, str]) -> nbformat.NotebookNode:
    """A copy of a notebook in which cells, named by their grade_id, hold something else."""
    notebook = copy.deepcopy(notebook)
    left = dict(cells)
    for cell in notebook.cells:
        cell.source = left.pop(grade_id(cell), cell.source)
    assert not left, f"no such cells: {sorted(left)}"
    return notebook


def attempts_of(name: str) -> tuple[dict[str, tuple[dict[str, str], dict[str, float]]], dict[str, dict[str, str]]]:
    """The wrong solutions of an exercise with the points that they lose, and the unusual right ones."""
    module = import_module(f"attempts.{name}")
    return module.WRONG, module.RIGHT


def hand_in(course: Path, folder: Path, name: str, most: int | None) -> dict[str, str]:
    """Writes students' notebooks: their copy as it is, its solution, and `most` attempts a kind; student → what it is.

    Each is the students' copy, with the solution's cells but for what the attempt replaces.
    """
    empty, solution = load(name, "release", course=course), load(name, course=course)
    solved = {
        grade_id(cell): cell.source for cell in solution.cells if cell.metadata.get("nbgrader", {}).get("solution")
    }
    wrong, right = attempts_of(name)
    cells = {"empty": {}, "solution": solved}
    cells |= {f"wrong: {what}": solved | changed for what, (changed, _) in [*wrong.items()][:most]}
    cells |= {f"right: {what}": solved | changed for what, changed in [*right.items()][:most]}
    students = {}
    for number, (what, changed) in enumerate(cells.items()):
        students[f"student-{number}"] = what
        path = folder / f"student-{number}" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(answered(empty, changed), path)
    return students


def lost(tasks: pd.DataFrame) -> dict[str, float]:
    """The points that one submission lacks, cell by cell, without those that are given by hand."""
    tasks = tasks[~tasks["by_hand"]]
    missing = dict(zip(tasks["task"], tasks["of"] - tasks["points"], strict=True))
    return {task: points for task, points in missing.items() if points}


def check_grades(name: str, course: Path, submissions: Path, most: int | None = None) -> None:
    """The solution gets all points, the students' copy none, wrong attempts lose what they should, right ones nothing.

    With `most`, only so many attempts a kind are graded. Points that are given by hand are left out. Everything goes
    through nbgrader, in a course that was built.
    """
    students = hand_in(course, submissions, name, most)
    done = make_course(name, "--out", course, "--submissions", submissions)
    assert done.returncode == 0, done.stderr
    tasks = pd.read_csv(course / "tables" / "tasks.csv")
    wrong, right = attempts_of(name)
    assert len(wrong) >= 3
    assert len(right) >= 3
    found = {students[student]: lost(part) for student, part in tasks.groupby("student")}
    points = tasks[(tasks["student"] == "student-0") & ~tasks["by_hand"]].set_index("task")["of"].to_dict()
    wanted = {"solution": {}, "empty": points, **{f"right: {what}": {} for what in right}}
    wanted |= {f"wrong: {what}": losses for what, (_, losses) in wrong.items()}
    assert found == {what: wanted[what] for what in students.values()}
    assert all((course / page).is_file() for page in pd.read_csv(course / "tables" / "points.csv")["feedback"])
