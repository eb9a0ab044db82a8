"""Words and letters: what a notebook needs stands at its top, and every letter of a formula in the table of symbols."""

import re

import jupytext
import pytest

from cldf_core.workflow.parameters import NOTEBOOKS
from samples import PROJECT

SYMBOLS = (PROJECT / "docs" / "symbols.md").read_text(encoding="utf-8")
GLOSSARY = (PROJECT / "docs" / "glossary.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^### (.*)$", GLOSSARY, re.MULTILINE)
# What is no letter with a meaning of its own: names of functions, operations, accents and layout.
PLAIN = {"max", "min", "sum", "frac", "tfrac", "log", "ln", "cos", "pi", "sqrt", "partial", "top", "dots", "cdot", "in"}
PLAIN |= {"le", "ge", "ne", "leftarrow", "underset", "operatorname", "text", "mathrm", "qquad", "quad", "big", "Big"}
PLAIN |= {"lVert", "rVert", "lvert", "rvert", "mid", "sim", "cup"}
ACCENTS = {"hat", "bar", "tilde"}


def markdown(name: str) -> list[str]:
    cells = jupytext.read(PROJECT / "notebooks" / f"{name}.py").cells
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def slug(heading: str) -> str:
    """The anchor that GitHub and the site give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def letters(formula: str) -> set[str]:
    """The letters of a formula and the commands that stand for letters: "x", "\\tau"."""
    formula = re.sub(r"\\(text|mathrm|operatorname)\s*\{[^}]*\}", " ", formula)
    commands = set(re.findall(r"\\([a-zA-Z]+)", formula)) - PLAIN - ACCENTS
    return {f"\\{name}" for name in commands} | set(re.findall(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", " ", formula)))


def formulas(text: str) -> list[str]:
    text = re.sub(r"`[^`]*`|^```.*?^```", " ", text, flags=re.DOTALL | re.MULTILINE)
    pairs = re.findall(r"\$\$(.+?)\$\$|\$([^$]+)\$", text, re.DOTALL)
    return [block or inline for block, inline in pairs]


def known() -> set[str]:
    """The letters in the first column of the table of symbols."""
    cells = re.findall(r"^\| (.*?) \| ", SYMBOLS.replace(r"\|", ""), re.MULTILINE)
    return {letter for cell in cells for formula in formulas(cell) for letter in letters(formula)}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_letter_of_a_formula_is_in_the_table_of_symbols(name):
    used = {letter for text in markdown(name) for formula in formulas(text) for letter in letters(formula)}
    assert used - known() == set()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_who_meets_a_letter_was_told_where_its_meaning_is(name):
    first, *_ = cells = markdown(name)
    if any(letters(formula) for text in cells for formula in formulas(text)):
        assert "../docs/symbols.md" in first


@pytest.mark.parametrize("path", sorted((PROJECT / "docs" / "slides").glob("*.md")), ids=lambda path: path.stem)
def test_every_letter_of_a_formula_on_slides_is_in_the_table_of_symbols(path):
    used = {letter for formula in formulas(path.read_text(encoding="utf-8")) for letter in letters(formula)}
    assert used - known() == set()


def test_a_letter_without_a_meaning_is_found():
    assert letters(r"\hat Q_{t} \;=\; \operatorname{mean} \xi(x) \text{ of all}") - known() == {"Q", r"\xi"}


def test_no_letter_has_two_rows():
    rows = re.findall(r"^\| (.*?) \| ", SYMBOLS.replace(r"\|", ""), re.MULTILINE)
    first = [formulas(row)[0] for row in rows if formulas(row)]
    assert len(first) > 30
    assert len(first) == len(set(first))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_says_at_its_top_what_it_needs(name):
    (needed,) = re.findall(r"\*\*What you need\.\*\*(.*?)(?:\n\n|\Z)", markdown(name)[0], re.DOTALL)
    assert "../docs/glossary.md" in needed
    anchors = re.findall(r"\(\.\./docs/glossary\.md#([^)]*)\)", needed)
    assert set(anchors) <= set(map(slug, TERMS))
    assert anchors or name == "00_start_here"
    earlier = re.findall(r"\((\w+)\.ipynb\)", needed)
    assert earlier or name == "00_start_here"
    assert set(earlier) <= set(NOTEBOOKS)


def test_every_word_of_the_glossary_is_explained_once_and_names_its_notebook():
    assert len(TERMS) == len(set(map(slug, TERMS)))
    for term, text in re.findall(r"^### (.*)\n((?:(?!#).*\n)*)", GLOSSARY, re.MULTILINE):
        places = re.findall(r"\(\.\./notebooks/(\w+)\.ipynb\)", text.partition("→")[2])
        assert places, term
        assert set(places) <= set(NOTEBOOKS), term


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_that_explains_a_word_uses_it(name):
    text = " ".join(markdown(name)).lower()
    for term, entry in re.findall(r"^### (.*)\n((?:(?!#).*\n)*)", GLOSSARY, re.MULTILINE):
        if f"/{name}.ipynb" in entry.partition("→")[2]:
            word = max(re.split(r"\W+", term.lower()), key=len)
            assert word[:5] in text, term
