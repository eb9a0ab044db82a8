"""Each notebook has an idea on its first screen, a folded question, something to touch, and an exercise."""

import ast
import re

import jupytext
import pytest

from exercises import NAMES
from samples import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.py"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
INTERACT = "cldf_core.interact"


def sources(path, kind: str) -> list[str]:
    return [cell.source for cell in jupytext.read(path).cells if cell.cell_type == kind]


def touched(code: str) -> set[str]:
    """The names that come from cldf_core/interact, or are it, and are called, or whose functions are."""
    tree = ast.parse(code)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {a.asname or a.name for node in imports if (node.module or "").startswith(INTERACT) for a in node.names}
    called = {ast.unparse(node.func).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return names & called


def exercises_in(text: str) -> tuple[list[str], list[str]]:
    """The paragraphs and sections of a text that are an exercise, and the names of the exercises that they link to."""
    found = re.findall(
        r"^(?:\*\*Exercises?\.\*\*|## Exercise$).*?(?=\n\n\*\*|\n\n## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    return found, re.findall(r"\]\(exercises/(\w+)\.ipynb\)", "\n\n".join(found))


@EACH
def test_the_first_screen_has_an_idea(path):
    title, idea, *_ = sources(path, "markdown")[0].split("\n\n")
    assert title.startswith("# ")
    assert idea.startswith("**The idea.** ")
    assert 30 <= len(idea.split()) <= 95, "an idea fits on a screen, with the title above and what is needed below"


@EACH
def test_there_is_a_question_whose_answer_is_folded(path):
    asked = [text for text in sources(path, "markdown") if "<details><summary>" in text]
    assert asked
    assert all("?" in text for text in asked)


@EACH
def test_there_is_something_to_touch(path):
    assert touched("\n".join(sources(path, "code")))


@EACH
def test_there_is_an_exercise_whose_answer_can_be_checked(path):
    found, linked = exercises_in("\n\n".join(sources(path, "markdown")))
    assert found
    assert set(linked) <= set(NAMES)
    # What has no tests of its own says in code what the answer is checked by.
    assert linked or any(re.search(r"`[^`]*[.(\[][^`]*`|```python", text) for text in found)


def test_every_exercise_is_named_in_a_notebook():
    assert {name for path in NOTEBOOKS for name in exercises_in("\n\n".join(sources(path, "markdown")))[1]} == set(
        NAMES
    )


def test_what_is_missing_is_found():
    assert not touched("from cldf_core.interact.bench import Bench\nfrom cldf_core import figures\nfigures.theme()")
    assert touched("from cldf_core.interact import waves\nwaves.plane_wave()") == {"waves"}
    assert exercises_in("**Things to try.** Set `memory = 40`.") == ([], [])
    found, linked = exercises_in("**Exercise.** In [`a`](exercises/a.ipynb).\n\nMore of it.\n\n**Next:** b.")
    assert (found, linked) == (["**Exercise.** In [`a`](exercises/a.ipynb).\n\nMore of it."], ["a"])
