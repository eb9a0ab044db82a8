"""No word of the field is used before it was explained, in notebooks 00 to 08 read in order.

What counts as an explanation: the first mention of a term stands

- in bold or italics, in a sentence or a row of a table that is long enough to say what it is (six words besides the
  term, or more; "This is a **shortcut**." speaks of the sentence before), or
- in the first column of a table that has a second one to say it, or
- in a link to the glossary, such as those of "What you need" at the top of a notebook.

A mention is the term, or a form of it, in a paragraph, an item or a row. Headings, code, formulas and the places that
links lead to are no mentions.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import jupytext
import pytest

from samples import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("0[0-8]_*.py"))
GLOSSARY = (PROJECT / "docs" / "glossary.md").read_text(encoding="utf-8")
# Words of everyday language, which are terms where they are in italics or are linked to, and only there.
EVERYDAY = {"run", "learning", "average", "gain", "training", "test", "balanced", "not shown", "paper", "original"}
EVERYDAY |= {"variant", "statistics"}
# Forms that no ending makes.
FORMS = {
    "calibration": r"calibrat(?:ion|ed)",
    "distillation": r"distil(?:lation|s|led)",
    "stability and plasticity": r"(?:stability|plasticity)",
    "er": r"(?-i:ER)",
    "mir": r"(?-i:MIR)",
    "grid": r"grids?(?! of options)",
}
LONG = 6


class Mention(NamedTuple):
    """Where a term stands first, with the part of the text around it and whether it is explained there."""

    notebook: str
    text: str
    explained: bool


def terms() -> dict[str, str]:
    """Every term of the glossary, headings and what is in italics below them, with its heading's anchor."""
    found = {}
    for heading, text in re.findall(r"^### (.*)\n((?:(?!#).*\n)*)", GLOSSARY, re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for term in (heading, *re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text)):
            found.setdefault(" ".join(term.lower().split()), anchor)
    return found


def pattern(term: str) -> str:
    """A regular expression of a term and its forms."""
    form = FORMS.get(term) or re.sub(r"\\? ", r"[\\s-]", re.escape(term)) + r"(?:s|es|ed|d)?"
    return rf"(?<![\w-]){form}(?![\w+])"


def parts(markdown: str) -> Iterator[str]:
    """The sentences and rows of a text, in their order, without headings, code and formulas."""
    text = re.sub(r"^```.*?^```|^#.*?$|<!--.*?-->|\$\$.*?\$\$", " ", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]*`|\$[^$]*\$|<[^>]*>", " x ", text)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[*-]|\d+\.) )", text):
        if block.lstrip().startswith("|"):
            yield from block.splitlines()
        else:
            text = re.sub(r"^(?:[*-]|\d+\.) ", "", " ".join(block.split()))
            yield from re.split(r"(?<=[.?!])\**\s+(?=[\"“(*\[]*[A-Z])(?!\S*(?:This|That) is )", text)


def emphasised(part: str) -> list[str]:
    """What is in bold or in italics."""
    return [bold or italic for bold, italic in re.findall(r"\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*", part)]


def explained(term: str, part: str, anchor: str) -> bool:
    """Whether a part of a text that mentions a term also explains it."""
    word = pattern(term)
    if re.search(rf"\[[^\]]*{word}[^\]]*\]\(\.\./docs/glossary\.md#{anchor}\)", part, re.IGNORECASE):
        return True
    if re.match(rf"\|[^|]*{word}[^|]*\|.*\w", part.strip(), re.IGNORECASE):
        return True
    marked = [text for text in emphasised(part) if re.search(word, text, re.IGNORECASE)]
    return bool(marked) and len(re.findall(r"\w+", part)) - len(re.findall(r"\w+", marked[0])) >= LONG


def first_mention(term: str, anchor: str, texts: list[tuple[str, str]]) -> Mention | None:
    for name, markdown in texts:
        for part in parts(markdown):
            said = re.sub(r"\]\([^)]*\)", "]", part)  # where a link leads to is no mention
            if re.search(pattern(term), said, re.IGNORECASE):
                marked = [*emphasised(part), *re.findall(r"\[([^\]]+)\]\(\.\./docs/glossary", part)]
                if term in EVERYDAY and not re.search(pattern(term), " | ".join(marked), re.IGNORECASE):
                    continue
                return Mention(name, said, explained(term, part, anchor))
    return None


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    return [
        (path.stem, cell.source)
        for path in NOTEBOOKS
        for cell in jupytext.read(path).cells
        if cell.cell_type == "markdown"
    ]


@pytest.mark.parametrize("term", terms())
def test_a_term_is_explained_where_it_is_first_mentioned(term, texts):
    found = first_mention(term, terms()[term], texts)
    assert found is None or found.explained, found


def test_most_terms_are_looked_for(texts):
    assert len(terms()) > 90
    assert sum(first_mention(term, anchor, texts) is not None for term, anchor in terms().items()) > 80


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("The loss falls.", False),
        ("The *loss* falls.", False),  # in italics, and still nobody knows what it is
        ("How wrong the answers of the network are, its *loss* says.", True),
        ("Words: [loss](../docs/glossary.md#loss).", True),
        ("[Glossary](../docs/glossary.md#loss) of the loss.", False),
        ("| *agent* | the loss |", False),
        ("| loss | how wrong answers are |", True),
        (
            "# The loss\n\nThe lossless `loss` of $loss$.\n\nThe **loss** is how wrong the answers of the network are.",
            True,
        ),
        ("*Here* and there the loss of *each* image comes from what the network has said of it.", False),
    ],
)
def test_what_an_explanation_is(text, right):
    found = first_mention("loss", "loss", [("made", text)])
    assert found
    assert found.explained == right
