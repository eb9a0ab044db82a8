"""What notebooks and README say came out, said of tables that are perturbed, and read."""

import ast
import re
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jupytext
import numpy as np
import pandas as pd
import pytest

from claims import contradictions
from cldf_core.data import files
from cldf_core.figures import sentences
from cldf_core.figures.sentences import Said, Sentence
from samples import PROJECT

FOLDER = PROJECT / "notebooks"
# The numbers that a table's column "value" stands for, by the ends of their intervals.
ESTIMATES = (("value", "low", "high"), ("difference", "low", "high"))


def cells_of(path: Path) -> tuple[list[str], list[str]]:
    """The sources of a notebook's code cells, and of those with the tag `sentences`."""
    code = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    return [c.source for c in code], [c.source for c in code if "sentences" in c.metadata.get("tags", [])]


SAYING = {path.stem: cells for path in sorted(FOLDER.glob("*.py")) if (cells := cells_of(path))[1]}


def prepared(name: str, folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell of sentences may use: the notebook's imports, its parameters, and the folder of its tables."""
    code, _ = SAYING[name]
    space: dict[str, Any] = {"out": types.SimpleNamespace(figures=folder)}
    run(code[0], space)  # the parameters, and then their check
    space |= values
    run(code[1], space)
    imports = [n for cell in code for n in ast.parse(cell).body if isinstance(n, (ast.Import, ast.ImportFrom))]
    run(ast.unparse(ast.Module(imports, [])), space)
    return space


def run(source: str, space: dict[str, Any]) -> None:
    # The project's own notebooks, cell by cell, as a kernel does it.
    types.FunctionType(compile(source, "cell", "exec"), space)()


def said_by(
    name: str, folder: Path, values: Mapping[str, Any], patch: pytest.MonkeyPatch
) -> tuple[list[Sentence], dict[str, pd.DataFrame]]:
    """What the cells of a notebook say of the tables in a folder, and the tables that they have read."""
    shown: list[Any] = []
    read: dict[str, pd.DataFrame] = {}

    def reading(place: Path, table: str) -> pd.DataFrame:
        assert place == folder, "sentences are made from the notebook's own tables"
        read[table] = files.saved_table(place, table)
        made = read[table].copy()
        made.attrs = dict(read[table].attrs)
        return made

    space = prepared(name, folder, values) | {"saved_table": reading}
    patch.setattr(sentences, "display", shown.append)
    for cell in SAYING[name][1]:
        run(cell, space)
    assert all(isinstance(output, Said) for output in shown)
    return [sentence for output in shown for sentence in output.sentences], read


def tables_of(name: str) -> list[str]:
    """The tables that a notebook's sentences are made from."""
    calls = [n for cell in SAYING[name][1] for n in ast.walk(ast.parse(cell)) if isinstance(n, ast.Call)]
    return list(dict.fromkeys(ast.literal_eval(n.args[1]) for n in calls if ast.unparse(n.func) == "saved_table"))


# --- perturbations: of a table's numbers, not of its names ---


def moved(table: pd.DataFrame, sign: Callable[[np.ndarray], np.ndarray]) -> pd.DataFrame:
    """Each estimate moved by its interval, up or down, and the interval with it."""
    for value, low, high in estimates(table):
        signs = sign(np.arange(len(table)))
        numbers = table[[value, low, high]].astype(float)
        by = np.where(signs > 0, numbers[high] - numbers[value], numbers[low] - numbers[value])
        table[[value, low, high]] = numbers.add(pd.Series(np.nan_to_num(by), table.index), axis=0)
    return table


def turned(table: pd.DataFrame) -> pd.DataFrame:
    """Directions turned over: differences change their sign, and other values their order."""
    for value, low, high in estimates(table):
        numbers = table[[value, low, high]].astype(float)
        middle = 0.0 if (numbers[value] < 0).any() else numbers[value].min() + numbers[value].max()
        table[[value, low, high]] = middle - numbers[[value, high, low]].to_numpy()
    return others_turned(table)


def others_turned(table: pd.DataFrame) -> pd.DataFrame:
    """Truth values turned over, and numbers that are no estimates in reversed order."""
    used = {column for triple in estimates(table) for column in triple}
    for column in table:
        if table[column].dtype == bool:
            table[column] = ~table[column]
        elif table[column].dtype == float and column not in used:
            table[column] = table[column].to_numpy()[::-1]
    return table


def reversed_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The last row's numbers in the first row, and so on."""
    for triple in estimates(table):
        table[[*triple]] = table[[*triple]].to_numpy()[::-1]
    return table


def with_ends(table: pd.DataFrame, width: float, centre: float | None = None) -> pd.DataFrame:
    """Every interval of one width; every estimate moved to a centre, if there is one."""
    for value, low, high in estimates(table):
        at = table[value].astype(float) * 0 + centre if centre is not None else table[value].astype(float)
        table[value], table[low], table[high] = at, at - width, at + width
    return table


def without(table: pd.DataFrame, *, values: bool) -> pd.DataFrame:
    """No interval is known, or no value either."""
    for value, low, high in estimates(table):
        table[[low, high, *([value] if values else [])]] = np.nan
    return table


def estimates(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The columns of values and of the ends of their intervals."""
    return [triple for triple in ESTIMATES if {*triple} <= {*table}]


PERTURBED: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "as it is": lambda table: table,
    "each up by its interval": lambda table: moved(table, lambda k: k * 0 + 1),
    "each down by its interval": lambda table: moved(table, lambda k: k * 0 - 1),
    "up and down in turn": lambda table: moved(table, lambda k: 1 - 2 * (k % 2)),
    "directions turned over": turned,
    "rows reversed": reversed_rows,
    "at 0": lambda table: with_ends(table, 0.01, 0.0),
    "at guessing": lambda table: with_ends(table, 0.01, 0.5),
    "just above guessing": lambda table: with_ends(table, 0.002, 0.5021),
    "wide intervals": lambda table: with_ends(table, 2.0),
    "narrow intervals": lambda table: with_ends(table, 0.0001),
    "no intervals": lambda table: without(table, values=False),
    "nothing known": lambda table: without(table, values=True),
}


NUMBER = re.compile(r"\[[+−]?\d")


def check_sentences(name: str, folder: Path, patch: pytest.MonkeyPatch, **values: Any) -> None:
    """Perturbs each of the tables in a folder that a notebook's sentences are made from, and reads what is said.

    The values are those of the notebook's parameters that differ from its cell.
    """
    check_perturbed(folder, tables_of(name), lambda: said_by(name, folder, values, patch))


def check_perturbed(
    folder: Path, tables: Iterable[str], said_now: Callable[[], tuple[list[Sentence], Mapping[str, pd.DataFrame]]]
) -> None:
    """Perturbs each of these tables in a folder, and reads what is said then, of tables that come with it."""
    originals = {table: files.saved_table(folder, table) for table in tables}
    texts = {}
    for how, perturb in PERTURBED.items():
        for table, original in originals.items():
            files.save_table(perturb(original.copy()), folder, table)
        said, read = said_now()
        assert set(read) >= set(originals)
        problems = [problem for sentence in said for problem in contradictions(sentence, read)]
        assert not problems, f"{how}: {problems}"
        texts[how] = [sentence.text for sentence in said]
    for table, original in originals.items():  # as they were
        files.save_table(original, folder, table)
    numbers = {table for table, original in originals.items() if estimates(original)}
    if any(NUMBER.search(text) for text in texts["as it is"]) and numbers:
        for how in ("directions turned over", "at 0", "nothing known"):
            assert texts[how] != texts["as it is"], f"{how}: the sentences stay the same"
