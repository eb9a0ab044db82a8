"""Grids of options: files in params/grids/, the runs that they ask for, and what their sweeps have left.

A grid lists values of options; every combination is a run. Options that move together stand in rows:

    agent: [sequential, er]
    together:
      - {row: without B, stream: [A, C], unseen: [B]}
      - {row: without C, stream: [A, B], unseen: [C]}
    seed: [0, 1, 2]

Tables name it by its `row:`, or else by its agent or its values. Rows that set the agent are learners of their own,
which are compared with the others. `chosen:`, of the grid or of a row, says which values of `cldf choose` are taken:
`none`, where the defaults shall hold, or those of `hindsight`.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from cldf_core.data.runtime import project_files
from cldf_core.data.settings import read_settings
from cldf_core.evaluation.bootstrap import ENDS
from cldf_core.options import FIELDS, RENAMED, Options, UserError, check_values, options_of, shown
from cldf_core.original_options import ORIGINAL
from cldf_core.reading import from_written
from cldf_core.results.compare import COMPARISON

MOST = 100_000  # combinations of a grid
Kind = Literal["means", "runs", "tests"]  # of a sweep's tables
ENDINGS: Mapping[Kind, str] = {"means": "", "runs": "_runs", "tests": "_tests"}  # of their names
NUMBERS = ("value", "low", "high", "difference", "p", "p_holm", "p_seeds")
TEXTS = ("run", "agent", "row", "metric", "domain", "first", "second", "spread")  # columns in which "" is no gap

TOGETHER, ROW, CHOSEN = "together", "row", "chosen"
CHOICES = ("", "none", "hindsight")  # of values that `cldf choose` has chosen; "" are those of the stream's beginning
Values = Mapping[str, Any]


class Point(NamedTuple):
    """A combination of a grid: the options of its run, and what tables say of it: agent, row, what the grid lists."""

    options: Options
    cells: Values

    @property
    def label(self) -> str:
        """Describes it in a few words: "er, memory 50, seed 2"."""
        plain, named = ("agent", ROW), {**self.cells}
        if named.get(ROW, "").partition(",")[0] == named["agent"]:  # a learner's row
            del named["agent"]
        return ", ".join(str(cell) if name in plain else f"{name} {cell}" for name, cell in named.items())


@dataclass(frozen=True)
class Grid:
    """The lists of unchecked values that options take in turn, and rows of options that move together."""

    name: str
    path: Path
    values: Mapping[str, list[Any]]
    chosen: str = ""

    @property
    def learner(self) -> str:
        """The column that names what is compared: agent, or row where rows set the agent."""
        return ROW if ROW in self.keys and "agent" in self.values[TOGETHER][0] else "agent"

    @property
    def keys(self) -> list[str]:
        """The columns of tables that tell points apart, but for their seed; a list of one value is none."""
        names = [ROW if name == TOGETHER else name for name, choices in self.values.items() if len(choices) > 1]
        return ["agent", *(name for name in names if name not in ("agent", "seed"))]

    @property
    def settings(self) -> list[str]:
        """Those of them that vary besides the learner: learners are compared in each setting."""
        return [name for name in self.keys if name not in ("agent", self.learner)]

    def columns(self, kind: Kind) -> list[str]:
        """The columns of one of a sweep's tables, as `read_sweep` gives it."""
        return {
            "means": ["agent", *self.settings, *("step", "domain", "metric"), *ENDS, *("n", "spread", "code")],
            "runs": ["run", *self.keys, "seed", "metric", "domain", "value", "code"],
            "tests": [*self.settings, *COMPARISON, "code"],
        }[kind]

    def points(self, base: Values, chosen: Callable[[Values, str], Values] | None = None) -> list[Point]:
        """Returns every combination once, with checked options; the last name changes fastest.

        The base holds the checked values of options that the grid does not name. `chosen` gives the values that were
        chosen for a run with such values, by one of CHOICES, which stand behind those of grid and base. Combinations
        that differ only in options that their agent does not read are one; agents that the variant lacks are left out.
        An OptionError tells what is not allowed.
        """
        for number, row in enumerate(self.values.get(TOGETHER, []), start=1):
            check_values(_options_in(row), where=f"{self.path}, row {number} of together")
        for name, choices in self.values.items():
            for choice in choices if name != TOGETHER else ():
                check_values({name: choice}, where=str(self.path))
        if (count := math.prod(map(len, self.values.values()))) > MOST:
            raise UserError(f"{self.path} has {count:,} combinations of values; allowed: at most {MOST:,}")
        points: dict[tuple[str, str], Point] = {}
        for combination in itertools.product(*self.values.values()):
            own = dict(zip(self.values, combination, strict=True))
            row = own.pop(TOGETHER, {})
            values = {**base, **own, **_options_in(row)}
            if values.get("variant") == "original" and values.get("agent", "sequential") not in ORIGINAL:
                continue  # there is none
            tuned = chosen(values, row.get(CHOSEN, self.chosen)) if chosen else {}
            options = options_of({**tuned, **values}, where=str(self.path))
            if "agent" in row and (foreign := [name for name in _options_in(row) if not hasattr(options, name)]):
                raise UserError(f"{self.path}: {options.agent} has no option {foreign[0]!r}, which a row of it sets")
            point = Point(options, self._cells(options, row))
            points[options.model_dump_json(), str(point.cells.get(ROW))] = point
        if not points:
            raise UserError(f"{self.path}: the original has none of these agents; allowed: {', '.join(ORIGINAL)}")
        return list(points.values())

    def agents(self, base: Values) -> set[str]:
        """The agents that the grid names, or that of the base."""
        rows = [row["agent"] for row in self.values.get(TOGETHER, []) if "agent" in row]
        return {*(rows or self.values.get("agent", [base.get("agent", FIELDS["agent"].default)]))}

    def _cells(self, options: Options, row: Values) -> dict[str, Any]:
        others = (f"{key} {as_cell(value)}" for key, value in _options_in(row).items())
        cells = {"agent": options.agent, ROW: row.get(ROW) or row.get("agent") or ", ".join(others)}
        cells |= {name: as_cell(value) for name, value in options.model_dump().items() if name in self.values}
        return {name: cells[name] for name in (*self.keys, "seed") if name in cells}


def read_grid(name: str) -> Grid:
    """Reads a grid of the project; a UserError says that there is none, or what it should hold."""
    paths = {path.stem: path for path in project_files("params/grids", ".yaml")}
    if name not in paths:
        raise UserError(f"there is no grid {name!r} in params/grids; allowed: {', '.join(sorted(paths)) or 'none'}")
    path, values = paths[name], dict[str, list[Any]]()
    content = read_settings(path)
    chosen = _checked_choice(content.pop(CHOSEN, ""), str(path))
    for option, choices in content.items():
        if option == TOGETHER:
            values[option] = _rows(path, choices, set(content))
            continue
        values[option] = [from_written(option, choice) for choice in choices] if isinstance(choices, list) else []
        nested = option in FIELDS and isinstance(FIELDS[option].default, list)
        if not values[option] or not all(isinstance(choice, list) for choice in values[option] if nested):
            form = "a list of lists, such as [[a, b], [b, a]]" if nested else "a list of values, such as [0, 1, 2]"
            raise UserError(f"{path}: {option} is {shown(choices)}; needed: {form}")
        if twice := [choice for k, choice in enumerate(values[option]) if choice in values[option][:k]]:
            raise UserError(f"{path}: {option} names {shown(twice[0])} twice; allowed: each value once")
    if not values:
        raise UserError(f"{path} holds no names with values; needed: lines such as seed: [0, 1, 2]")
    return Grid(name, path, values, chosen)


def _rows(path: Path, written: Any, listed: set[str]) -> list[dict[str, Any]]:
    """The rows of options that move together, as they stand in a grid, whose other names are listed."""
    if not isinstance(written, list) or not written or not all(row and isinstance(row, dict) for row in written):
        form = "a list of rows, such as [{row: a name, agent: er, epochs: 20}]"
        raise UserError(f"{path}: {TOGETHER} is {shown(written)}; needed: {form}")
    rows = [{name: from_written(name, value) for name, value in row.items()} for row in written]
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number} of {TOGETHER}"
        if both := listed & set(row):
            raise UserError(f"{where} sets {sorted(both)[0]!r}, which has a list of its own; allowed: one of the two")
        if not isinstance(row.get(ROW, ""), str):
            raise UserError(f"{where}: {ROW} is {shown(row[ROW])}; needed: a name")
        if not _options_in(row):
            raise UserError(f"{where} sets no option; needed: one or more, such as epochs: 20")
        if ("agent" in row) != ("agent" in rows[0]):
            raise UserError(f"{where} differs from row 1 in whether it sets the agent; needed: all rows do, or none")
        _checked_choice(row.get(CHOSEN, ""), where)
    names = [row.get(ROW) or row.get("agent") or row for row in rows]
    if twice := [name for k, name in enumerate(names) if name in names[:k]]:
        raise UserError(f"{path}: {TOGETHER} has {shown(twice[0])} twice; needed: a name for each row (row: a name)")
    return rows


def _checked_choice(written: Any, where: str) -> str:
    if written not in CHOICES:
        raise UserError(f"{where}: {CHOSEN} is {shown(written)}; allowed: {', '.join(filter(None, CHOICES))}")
    return str(written)


def _options_in(row: Values) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in (ROW, CHOSEN)}


def distinct_runs(points: Sequence[Point]) -> dict[str, Options]:
    """The options of each run that points ask for, by its number and the label of the first point that does."""
    labels: dict[str, tuple[str, Options]] = {}
    for point in points:  # several may share a run
        labels.setdefault(point.options.model_dump_json(), (point.label, point.options))
    return {f"{k} of {len(labels)}: {label}": options for k, (label, options) in enumerate(labels.values(), start=1)}


def as_cell(value: Any) -> Any:
    """Returns an option's value as a cell of a table: a number or a text."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    is_kept = isinstance(value, (int, float, str)) and not isinstance(value, bool)
    return value if is_kept else json.dumps(value)  # true and null, as in the grid


def read_sweep(grid: Grid, folder: Path, kind: Kind = "runs") -> pd.DataFrame:
    """Reads a table that a grid's sweep has left in a folder with figures and tables.

    It has `Grid.columns`. The runs have continual metrics, those on unseen domains, and cost; the means, over n seeds,
    also detection metrics after the last step, and as agent the row's name where rows are what is compared; tests are
    between every two of these agents, by continual metrics (see `compare_over_seeds`). Missing are options that an
    agent does not read, and the code in a table that does not tell it. Without a table there are no rows.
    """
    path, columns = folder / "tables" / f"sweep_{grid.name}{ENDINGS[kind]}.csv", grid.columns(kind)
    if not path.exists():
        return pd.DataFrame(columns=columns)
    missing = {name: [""] for name in columns if name not in TEXTS}
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=missing, dtype={"code": "str"}).rename(
            columns=RENAMED
        )
        for name, value in (("code", float("nan")), ("spread", ""), ("p_seeds", float("nan"))):
            table[name] = table.get(name, value)  # tables of earlier versions lack them
        if table["code"].isna().any() and table["code"].notna().any():
            raise ValueError("a row was cut")
        table = table.astype({name: float for name in NUMBERS if name in table})
        if kind != "tests":  # and they have no rows
            table["agent" if kind == "means" else grid.learner] = table.get(grid.learner, table["agent"])
        return with_whole_numbers(table[columns])
    except (KeyError, ValueError, OSError):
        raise UserError(
            f"{path} is no table of this sweep, or a damaged one; cldf sweep {grid.name} makes it"
        ) from None


def with_whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Gives integer options, steps and numbers of seeds the type of whole numbers, also where some are missing."""
    whole = [name for name in table if name in FIELDS and FIELDS[name].annotation is int]
    whole += [name for name in ("step", "n") if name in table]
    return table.astype({name: "Int64" if table[name].isna().any() else "int64" for name in whole})
