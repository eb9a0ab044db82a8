"""Cells that say what came out: none contradicts its table, however the table is perturbed."""

import ast
import re
from pathlib import Path

import pandas as pd
import pytest

from cldf_core.data.files import save_table, saved_table
from perturbed import SAYING, check_sentences, tables_of
from samples import PROJECT
from words import DIRECTIONS

COMMITTED = PROJECT / "figures"
MADE = pd.DataFrame({"agent": ["er", "mir"], "value": [0.2, -0.3], "low": [0.1, -0.4], "high": [0.3, -0.2]})
CELL = """
table = saved_table(out.figures, "made")
sentences.show({said})
"""


@pytest.mark.parametrize("name", SAYING)
def test_no_sentence_contradicts_its_table(name, root, monkeypatch):
    for table in tables_of(name):
        path = COMMITTED / "tables" / f"{table}.csv"
        assert path.is_file(), f"{path} is not there: cldf reproduce --all makes it"
        save_table(saved_table(COMMITTED, table), root, table)
    check_sentences(name, root, monkeypatch)


def said_so(sentence: str, root: Path, patch: pytest.MonkeyPatch) -> None:
    """Perturbs the table of a notebook that says this sentence."""
    code = [*SAYING["12_your_own_data_your_own_agent"][0][:2], "from cldf_core.figures import sentences"]
    patch.setitem(SAYING, "made", (code, [CELL.format(said=sentence)]))
    save_table(MADE, root, "made")
    check_sentences("made", root, patch)


@pytest.mark.parametrize(
    "sentence", ["sentences.compared(table, 'A')", "sentences.highest(table, 'A'), sentences.values(table, 'B')"]
)
def test_sentences_from_the_table_pass(sentence, root, monkeypatch):
    said_so(sentence, root, monkeypatch)


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        # Whatever the table holds: that the first is higher, that the first row's number is ...
        ("sentences.Sentence('A', (('higher', sentences.values(table, 'A').claims[:1]),))", "not 'higher'"),
        ("sentences.Sentence('A', (('', (sentences.Claim('ER (random) 0.20 [0.10, 0.30]', 'made', 0),)),))", "is not"),
        # ... a number of its own, a table that nobody saved, and rows that were counted anew.
        ("sentences.Sentence('A', (('7 times higher', sentences.values(table, 'A').claims),))", "not '7 times"),
        ("sentences.compared(table.copy().set_axis([1, 0]), 'A')", "is named"),
    ],
)
def test_sentences_that_are_not_from_the_table_are_found(sentence, words, root, monkeypatch):
    with pytest.raises(AssertionError, match=words):
        said_so(sentence, root, monkeypatch)


@pytest.mark.parametrize("name", SAYING)
def test_a_cell_of_sentences_holds_no_number_and_no_direction_of_its_own(name):
    for cell in SAYING[name][1]:
        tree = ast.parse(cell)
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
        names = {ast.unparse(n.func) for n in calls}
        assert not names & {"print", "display", "Markdown"}, "sentences.show shows what it says"
        tables = {id(n.args[1]) for n in calls if ast.unparse(n.func) == "saved_table"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in tables:
                assert not re.search(r"\d", node.value), f"{node.value!r} holds a number"
                assert not DIRECTIONS.search(node.value), f"{node.value!r} says a direction, or a result"
