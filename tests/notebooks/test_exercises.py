"""Exercises: sources and notebooks agree, students' copies hold no solution, and nbgrader gives the right points."""

import copy
import importlib.util
import re
import shutil
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import pytest
from jupytext.cli import jupytext as convert

from exercises import EXERCISES, IN_MAKE_TEST, NAMES, check_grades, grade_id, load, make_course
from samples import PROJECT

EACH = pytest.mark.parametrize("name", NAMES)


def cells_of(notebook) -> list[tuple]:
    return [(cell.cell_type, cell.source, cell.metadata.get("nbgrader")) for cell in notebook.cells]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_course", PROJECT / "docs" / "make_course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@EACH
def test_nbgraders_metadata_survive_both_ways(name, tmp_path):
    source, notebook = (EXERCISES / f"{name}.{suffix}" for suffix in ("py", "ipynb"))
    assert cells_of(jupytext.read(source)) == cells_of(jupytext.read(notebook)), "run: make sync"
    assert sum(bool(metadata) for *_, metadata in cells_of(jupytext.read(source))) >= 5
    for path in (source, notebook):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "jupytext.toml").write_bytes((EXERCISES / "jupytext.toml").read_bytes())
    (tmp_path / source.name).unlink()
    convert(["--quiet", "--to", "py:percent", str(tmp_path / notebook.name)])
    assert (tmp_path / source.name).read_text(encoding="utf-8") == source.read_text(encoding="utf-8")
    (tmp_path / notebook.name).unlink()
    convert(["--quiet", "--to", "ipynb", str(tmp_path / source.name)])
    assert cells_of(jupytext.read(tmp_path / notebook.name)) == cells_of(jupytext.read(notebook))


@EACH
def test_the_section_that_one_has_to_have_read_is_in_its_notebook(name):
    first = next(cell.source for cell in jupytext.read(EXERCISES / f"{name}.py").cells if "**You need**" in cell.source)
    for number, section in re.findall(r'notebook (\d\d) up to "([^"]+)"', " ".join(first.split())):
        (notebook,) = (PROJECT / "notebooks").glob(f"{number}_*.py")
        assert f"# ## {section}\n" in notebook.read_text(encoding="utf-8")


@EACH
def test_a_students_copy_holds_neither_solutions_nor_hidden_tests(name, course):
    release, solution = load(name, "release", course=course), load(name, course=course)
    text = "\n".join(cell.source for cell in release.cells)
    assert "### BEGIN" not in text
    assert "jupytext" not in release.metadata
    hidden = [
        part.split("\n", 1)[1].split("### END")[0].strip()
        for cell in solution.cells
        for part in cell.source.split("### BEGIN ")[1:]
    ]
    assert len(hidden) >= 6
    assert not [part for part in hidden if part in text]


def test_what_a_solution_asks_of_an_agent_is_told(course):
    solution = load("find_the_mistake", course=course)
    told = "\n".join(cell.source for cell in solution.cells if cell.cell_type == "markdown")
    parts = [part for cell in solution.cells for part in cell.source.split("### BEGIN SOLUTION")[1:]]
    used = {name for part in parts for name in re.findall(r"agent\.(\w+)", part.split("### END")[0])}
    assert len(used) >= 5
    assert [name for name in sorted(used) if f"agent.{name}" not in told] == []


@EACH
def test_an_exercise_has_a_goal_tests_and_three_hints_a_task(name):
    notebook = nbformat.read(EXERCISES / f"{name}.ipynb", as_version=4)
    text = notebook.cells[0].source
    assert "**Goal.**" in text
    assert "**You need**" in text
    points = sum(cell.metadata.get("nbgrader", {}).get("points", 0) for cell in notebook.cells)
    assert f"{points:g} points" in text
    hints = [cell.source.count("<details><summary>Hint") for cell in notebook.cells]
    assert set(hints) == {0, 3}
    assert sum(map(bool, hints)) >= 2
    ids = [grade_id(cell) for cell in notebook.cells if grade_id(cell)]
    assert len(ids) == len(set(ids))
    assert any("### BEGIN HIDDEN TESTS" in cell.source for cell in notebook.cells)


@EACH
def test_lines_can_be_read(name):
    lines = (EXERCISES / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith("# %% ")]  # nbgrader's metadata


def test_students_see_short_cells(course):
    for name in NAMES:
        code = [cell for cell in load(name, "release", course=course).cells if cell.cell_type == "code"]
        assert max(len(cell.source.splitlines()) for cell in code) <= 25, name


def test_the_page_lists_every_exercise():
    rows = []
    for name in NAMES:
        notebook = nbformat.read(EXERCISES / f"{name}.ipynb", as_version=4)
        title = notebook.cells[0].source.splitlines()[0].removeprefix("# Exercise: ")
        points = sum(cell.metadata.get("nbgrader", {}).get("points", 0) for cell in notebook.cells)
        rows.append(f"| `{name}` | {title} | {points:g} |")
    page = (PROJECT / "docs" / "course.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


@pytest.mark.parametrize("name", IN_MAKE_TEST)
def test_solutions_and_attempts_get_the_points_that_they_should(name, course, tmp_path):
    check_grades(name, course, tmp_path, most=1)  # tests/long grades all of them


@pytest.fixture
def handed_in(tmp_path):
    """A folder of submissions with every kind of mistake that whoever hands in can make."""
    good = EXERCISES / "reservoir.ipynb"
    for place in ("anna/reservoir.ipynb", "ben/log_spectrum/reservoir.ipynb", "cleo smith/reservoir.ipynb"):
        (tmp_path / place).parent.mkdir(parents=True)
        shutil.copyfile(good, tmp_path / place)
    (tmp_path / "dan").mkdir()
    shutil.copyfile(good, tmp_path / "dan" / "homework.ipynb")
    (tmp_path / "eve").mkdir()
    (tmp_path / "eve" / "reservoir.ipynb").write_text("{}")
    (tmp_path / "anna" / "notes.txt").write_text("read by nobody")
    return tmp_path


def test_what_is_no_submission_is_said_and_the_others_are_found(handed_in, script):
    found = list(script.handed_in(handed_in, NAMES))
    assert [part for part in found if not isinstance(part, str)] == [
        ("anna", "reservoir", handed_in / "anna" / "reservoir.ipynb")
    ]
    problems = "\n".join(part for part in found if isinstance(part, str))
    for words in (
        f"{Path('ben/log_spectrum/reservoir.ipynb')} is not graded; allowed: <student>/reservoir.ipynb or",
        "student 'cleo smith'; allowed: letters",
        "'homework' is no exercise; allowed: ",
        "it is no readable notebook",
    ):
        assert words in problems


def cell_of(notebook, name: str):
    return next(cell for cell in notebook.cells if grade_id(cell) == name)


def copied(cell):
    return nbformat.from_dict({**copy.deepcopy(cell), "id": "copied"})


DAMAGES = {
    "nothing": lambda nb, _: None,
    "an answer is copied": lambda nb, c: nb.cells.insert(0, copied(c("reservoir"))),
    "a test is copied": lambda nb, c: nb.cells.append(copied(c("test-reservoir"))),
    "a test is deleted": lambda nb, c: nb.cells.remove(c("test-reservoir")),
    "an answer has lost its mark": lambda nb, c: c("reservoir").metadata.pop("nbgrader"),
    "a mark is of another exercise": lambda nb, c: c("setup").metadata.nbgrader.update(grade_id="elsewhere"),
    "a mark has lost its name": lambda nb, c: c("test-reservoir").metadata.nbgrader.pop("grade_id"),
    "a mark's name is no text": lambda nb, c: c("test-reservoir").metadata.nbgrader.update(grade_id=["reservoir"]),
    "the first test is deleted": lambda nb, c: nb.cells.remove(c("setup")),
    "a mark is no mark": lambda nb, c: c("test-reservoir").metadata.update(nbgrader="yes"),
    "a test counts for nothing": lambda nb, c: c("test-reservoir").metadata.nbgrader.update(points=0, grade=False),
    "an older program": lambda nb, _: (nb.update(nbformat_minor=4), [cell.pop("id", None) for cell in nb.cells]),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_nbgrader_finds_its_way_in_what_a_student_has_done_to_a_notebook(course, script, what):
    released, solution = load("reservoir", "release", course=course), load("reservoir", course=course)
    DAMAGES[what](solution, lambda name: cell_of(solution, name))
    answers = [cell.source for cell in solution.cells if "class Reservoir" in cell.source]
    found = script.mended(solution, released)
    nbformat.validate(found)
    wanted = [cell.metadata.nbgrader for cell in released.cells if cell.metadata.get("nbgrader")]
    ids = [mark.grade_id for mark in wanted if mark.locked or what != "an answer has lost its mark"]
    assert sorted(id_ for id_ in map(grade_id, found.cells) if id_ in ids) == sorted(ids)
    assert all(cell.metadata.nbgrader in wanted for cell in found.cells if "nbgrader" in cell.metadata)
    assert [cell.source for cell in found.cells if "class Reservoir" in cell.source] == answers


def test_what_cannot_be_graded_is_told_with_the_reason_and_the_others_are_graded(course, tmp_path):
    notebooks = {student: load("reservoir", course=course) for student in ("copied", "killed", "without-marks")}
    DAMAGES["an answer is copied"](notebooks["copied"], lambda name: cell_of(notebooks["copied"], name))
    cell_of(notebooks["killed"], "reservoir").source = "import os\nos._exit(1)"
    for cell in notebooks["without-marks"].cells:
        cell.metadata.pop("nbgrader", None)
    for student, notebook in notebooks.items():
        (tmp_path / student).mkdir()
        nbformat.write(notebook, tmp_path / student / "reservoir.ipynb")
    done = make_course("reservoir", "--out", course, "--submissions", tmp_path)
    assert done.returncode == 3
    table = pd.read_csv(course / "tables" / "points.csv").set_index("student")
    assert list(table.index) == ["copied"]
    assert table.loc["copied", "points"] == table.loc["copied", "of"]
    killed, lost = done.stderr.splitlines()
    assert "Kernel died" in killed
    assert "without-marks" in lost
    assert "no cell has the mark" in lost


def test_mistakes_of_a_lecturer_are_told_in_a_sentence(tmp_path):
    for words, sentence in (
        (["--submissions", tmp_path / "none"], "needed: a folder of <student>/<exercise>.ipynb"),
        (["--submissions", tmp_path], "holds no notebook; needed: <student>/<exercise>.ipynb"),
        (["resevoir"], "'resevoir' is no exercise; allowed: "),
    ):
        done = make_course("--out", tmp_path / "course", *words)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "course").exists()
