"""Makes students' notebooks from notebooks/exercises, and grades what they hand in (make course).

It writes into course/: solutions/, release/ (what students get), and after grading tables/points.csv, tables/tasks.csv
and feedback/.
Submissions are <student>/<exercise>.ipynb or <student>/<exercise>/<exercise>.ipynb. Grading runs students' code with
the rights of whoever grades: docs/course.md says how to keep it in a container.
"""

import argparse
import os
import re
import shutil
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jupytext
import nbformat
import pandas as pd

from cldf_core.data.files import save_table
from cldf_core.options import UserError

PROJECT = Path(__file__).resolve().parents[1]
EXERCISES = PROJECT / "notebooks" / "exercises"
SETTINGS = PROJECT / "server" / "nbgrader_config.py"
STUDENT = re.compile(r"[A-Za-z0-9_@.-]*[A-Za-z0-9_@-]")


class Submission(NamedTuple):
    """One notebook that a student has handed in."""

    student: str
    exercise: str
    path: Path


class Course:
    """A folder of nbgrader, and its gradebook."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        # nbgrader starts `alembic` by its name, and torch's threads would get in each other's way.
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        try:
            from nbgrader.coursedir import CourseDirectory
        except ModuleNotFoundError:
            raise UserError('nbgrader is not installed; needed: python -m pip install -e ".[jupyter,course]"') from None
        from sqlalchemy.exc import SAWarning
        from traitlets.config import PyFileConfigLoader

        warnings.filterwarnings("ignore", category=SAWarning)  # of nbgrader's own way with its gradebook

        shutil.copyfile(SETTINGS, self.folder / SETTINGS.name)
        self.config = PyFileConfigLoader(SETTINGS.name, str(self.folder)).load_config()
        self.config.CourseDirectory.root = str(self.folder)
        self.directory = CourseDirectory(config=self.config)

    def build(self, sources: Sequence[Path]) -> None:
        """Writes solutions and students' copies of exercises, and their cells into the gradebook."""
        from nbgrader.converters import GenerateAssignment

        for source in sources:
            notebook = jupytext.read(source)
            notebook.metadata.pop("jupytext", None)  # a student's copy has no .py beside it
            solution = self.folder / "solutions" / source.stem / f"{source.stem}.ipynb"
            solution.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, solution)
            self._convert(GenerateAssignment, source.stem, create_assignment=True)

    def grade(self, submission: Submission) -> None:
        """Runs a submission, notes its points in the gradebook, and writes its feedback."""
        from nbgrader.converters import Autograde, GenerateFeedback

        handed_in = self.folder / "submitted" / submission.student / submission.exercise
        shutil.rmtree(handed_in, ignore_errors=True)  # an earlier attempt
        handed_in.mkdir(parents=True)
        name = f"{submission.exercise}.ipynb"
        released = nbformat.read(self.folder / "release" / submission.exercise / name, as_version=4)
        nbformat.write(mended(nbformat.read(submission.path, as_version=4), released), handed_in / name)
        for converter in (Autograde, GenerateFeedback):
            self._convert(converter, submission.exercise, submission.student)

    def points(self, submissions: Sequence[Submission]) -> pd.DataFrame:
        """The points of every cell of the submissions that counts; NaN where somebody has to read it first."""
        from nbgrader.api import Gradebook

        rows = []
        with Gradebook(self.directory.db_url) as gradebook:
            for student, exercise, _ in submissions:
                for grade in gradebook.find_submission_notebook(exercise, exercise, student).grades:
                    by_hand = grade.auto_score is None
                    points = float("nan") if by_hand and grade.needs_manual_grade else grade.score
                    rows.append((student, exercise, grade.name, points, grade.max_score, by_hand))
        return pd.DataFrame(rows, columns=["student", "exercise", "task", "points", "of", "by_hand"])

    def _convert(self, converter: Any, exercise: str, student: str = "*", **settings: Any) -> None:
        from nbgrader.utils import capture_log

        self.directory.assignment_id, self.directory.student_id = exercise, student
        app = converter(coursedir=self.directory, config=self.config, force=True, **settings)
        result = capture_log(app)
        if not result["success"]:
            text = f"{result.get('log', '')}\n{result['error']}"
            errors = re.findall(r"^\s*([\w.]*(?:Error|Exception|NotFound)\b.*)", text, re.MULTILINE)
            errors = [line for line in errors if "NbGraderException" not in line] or [str(result["error"]).strip()]
            why = next(iter(errors[0].splitlines()), "without a reason")
            raise UserError(f"nbgrader could not {converter.__name__.lower()} {exercise} ({student}): {why}")


def mended(notebook: Any, released: Any) -> Any:
    """A submission with each marked cell of the released notebook once, in which nbgrader finds its way.

    Of a cell that was copied, the last one counts. A test that is missing is put back behind what comes before it; an
    answer that is missing is not, for a student may have given it in a cell of another kind.

    Raises:
        UserError: no cell is marked.
    """
    marked = {cell.metadata.nbgrader.grade_id: cell for cell in released.cells if "nbgrader" in cell.metadata}
    places = dict[str, int]()
    for place, cell in enumerate(notebook.cells):
        mark = cell.metadata.pop("nbgrader", None)
        if isinstance(mark, dict) and isinstance(name := mark.get("grade_id"), str) and name in marked:
            places[name] = place
    if not places:
        words = "no cell has the mark that nbgrader knows it by"
        raise UserError(f"{words}; needed: the notebook of release/, with answers in its cells")
    behind, last = defaultdict[int, list[Any]](list), -1
    for name, cell in marked.items():
        if name in places:
            last = places[name]
            notebook.cells[last].metadata["nbgrader"] = cell.metadata.nbgrader
        elif cell.metadata.nbgrader.locked or cell.metadata.nbgrader.grade:
            behind[last].append(cell)
    notebook.cells = behind[-1] + [c for place, cell in enumerate(notebook.cells) for c in (cell, *behind[place])]
    notebook.nbformat_minor = released.nbformat_minor
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # copies have the same, and old programs none
    return notebook


def handed_in(folder: Path, exercises: Sequence[str]) -> Iterator[Submission | str]:
    """The submissions in a folder, and a sentence for each notebook that is none."""
    for path in sorted(folder.rglob("*.ipynb")):
        parts = path.relative_to(folder).parts
        student, exercise = parts[0], path.stem
        if ".ipynb_checkpoints" in parts:
            continue
        places = [(student, path.name), (student, exercise, path.name)]
        if exercise not in exercises:
            yield f"{path} is not graded: {exercise!r} is no exercise; allowed: {', '.join(exercises)}"
        elif parts not in places:
            yield f"{path} is not graded; allowed: <student>/{path.name} or <student>/{exercise}/{path.name}"
        elif not STUDENT.fullmatch(student):
            yield f"{path} is not graded: student {student!r}; allowed: letters, digits and any of _ - . @"
        elif path.resolve() != folder.resolve().joinpath(*parts):
            yield f"{path} is not graded: it is a link; needed: a file of its own"
        elif (folder / student / exercise / path.name).is_file() and len(parts) == 2:
            yield f"{path} is not graded: {student}/{exercise}/{path.name} is there too; needed: one of the two"
        elif why := _unreadable(path):
            yield f"{path} is not graded: it is no readable notebook ({why})"
        else:
            yield Submission(student, exercise, path)


def _unreadable(path: Path) -> str:
    try:
        nbformat.validate(nbformat.read(path, as_version=4))
    except Exception as error:  # nbformat raises what its readers give
        return str(error).splitlines()[0][:100] if str(error) else type(error).__name__
    return ""


def summary(tasks: pd.DataFrame) -> pd.DataFrame:
    """A row for each student and exercise: points so far, of how many, and how many are still to be given by hand."""
    tasks = tasks.assign(open=tasks["of"].where(tasks["points"].isna(), 0))
    table = tasks.groupby(["student", "exercise"], as_index=False)[["points", "of", "open"]].sum()
    feedback = [f"feedback/{row.student}/{row.exercise}/{row.exercise}.html" for row in table.itertuples()]
    return table.assign(feedback=feedback)


def main(words: Sequence[str] | None = None) -> int:
    """Builds the course, and grades submissions if a folder is named; 3 if some of them could not be graded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exercises", nargs="*", help="only these exercises, by name")
    parser.add_argument("--out", type=Path, default=PROJECT / "course", help="the course's folder (course/)")
    parser.add_argument("--submissions", type=Path, help="a folder of <student>/<exercise>.ipynb to grade")
    chosen = parser.parse_args(words)
    sources = sorted(EXERCISES.glob("*.py"))
    names = [source.stem for source in sources]
    if unknown := set(chosen.exercises) - set(names):
        raise UserError(f"{min(unknown)!r} is no exercise; allowed: {', '.join(names)}")
    sources = [source for source in sources if source.stem in (chosen.exercises or names)]
    if chosen.submissions and not chosen.submissions.is_dir():
        raise UserError(f"SUBMISSIONS is {str(chosen.submissions)!r}; needed: a folder of <student>/<exercise>.ipynb")
    found = list(handed_in(chosen.submissions, [s.stem for s in sources])) if chosen.submissions else []
    submissions = [part for part in found if isinstance(part, Submission)]
    problems = [part for part in found if isinstance(part, str)]
    if chosen.submissions and not found:
        raise UserError(f"{chosen.submissions} holds no notebook; needed: <student>/<exercise>.ipynb")
    course = Course(chosen.out)
    course.build(sources)
    print(f"{len(sources)} exercises: {course.folder / 'release'} for students, {course.folder / 'solutions'}")
    graded = []
    for submission in submissions:
        try:
            course.grade(submission)
            graded.append(submission)
        except UserError as error:
            problems.append(f"{submission.path} is not graded: {error}")
    if graded:
        tasks = course.points(graded)
        save_table(tasks, course.folder, "tasks")
        save_table(summary(tasks), course.folder, "points")
        print(summary(tasks).to_string(index=False))
        print(f"tables/points.csv, tables/tasks.csv (cell by cell) and feedback/ are in {course.folder}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 3 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
