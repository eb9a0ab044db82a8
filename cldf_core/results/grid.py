"""Grids of options: files in params/grids/ with a list of values for each name, and what their sweeps have left."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.data.runtime import project_files
from cldf_core.options import FIELDS, Options, UserError, check_values, options_of, shown
from cldf_core.reading import from_written, read_yaml


@dataclass(frozen=True)
class Grid:
    """The lists of unchecked values that options take in turn; every combination is a run of `cldf sweep`."""

    name: str
    path: Path
    values: Mapping[str, list[Any]]

    @property
    def settings(self) -> list[str]:
        """The options that vary besides agent and seed: they become columns of tables."""
        return [name for name in self.values if name not in ("agent", "seed")]

    @property
    def run_columns(self) -> list[str]:
        """The columns of the table of single runs."""
        return ["run", "agent", *self.settings, "seed", "metric", "domain", "value"]

    def combinations(self, base: Mapping[str, Any]) -> list[Options]:
        """Returns the checked options of every combination, in which the last name changes fastest.

        The base holds the checked values of options that the grid does not name. An OptionError tells what is not
        allowed.
        """
        for name, choices in self.values.items():
            for choice in choices:
                check_values({name: choice}, where=str(self.path))
        return [
            options_of({**base, **dict(zip(self.values, chosen, strict=True))}, where=str(self.path))
            for chosen in itertools.product(*self.values.values())
        ]

    def cells(self, options: Options) -> dict[str, Any]:
        """Returns the grid's options that a run depends on, as cells of a table."""
        return {name: as_cell(getattr(options, name)) for name in self.values if name in type(options).model_fields}

    def label(self, options: Options) -> str:
        """Describes a run in a few words: "er, memory 50, seed 2"."""
        others = (f"{name} {cell}" for name, cell in self.cells(options).items() if name != "agent")
        return ", ".join([options.agent, *others])


def read_grid(name: str) -> Grid:
    """Reads a grid of the project; a UserError says that there is none, or that it does not hold names with lists."""
    paths = {path.stem: path for path in project_files("params/grids", ".yaml")}
    if name not in paths:
        raise UserError(f"there is no grid {name!r} in params/grids; allowed: {', '.join(sorted(paths)) or 'none'}")
    path = paths[name]
    values = {}
    for option, choices in read_settings(path).items():
        values[option] = [from_written(option, choice) for choice in choices] if isinstance(choices, list) else []
        nested = option in FIELDS and isinstance(FIELDS[option].default, list)
        if not values[option] or not all(isinstance(choice, list) for choice in values[option] if nested):
            form = "a list of lists, such as [[a, b], [b, a]]" if nested else "a list of values, such as [0, 1, 2]"
            raise UserError(f"{path}: {option} is {shown(choices)}; needed: {form}")
        if twice := [choice for k, choice in enumerate(values[option]) if choice in values[option][:k]]:
            raise UserError(f"{path}: {option} names {shown(twice[0])} twice; allowed: each value once")
    if not values:
        raise UserError(f"{path} holds no names with values; needed: lines such as seed: [0, 1, 2]")
    return Grid(name, path, values)


def read_settings(path: Path) -> dict[str, Any]:
    """The names in a file of params/ and what is written there, unchecked; a UserError says why it cannot be read."""
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"{path} is not readable YAML: its bytes are not UTF-8") from None
    except ValueError as problem:
        raise UserError(f"{path} {problem}") from None
    if not isinstance(values or {}, dict):
        kind = "list" if isinstance(values, list) else "text"
        raise UserError(f"{path} holds a {kind}; needed: lines of the form name: value")
    return values or {}


def distinct(combinations: Sequence[Options]) -> list[Options]:
    """Leaves out combinations that differ from an earlier one only in options that their agent does not read."""
    return list({options.model_dump_json(): options for options in combinations}.values())


def as_cell(value: Any) -> Any:
    """Returns an option's value as a cell of a table: a number or a text."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    is_kept = isinstance(value, (int, float, str)) and not isinstance(value, bool)
    return value if is_kept else json.dumps(value)  # true and null, as in the grid


def read_sweep(grid: Grid, folder: Path) -> pd.DataFrame:
    """Reads the values that the runs of a grid's sweep have left in a folder with figures and tables.

    The table has `Grid.run_columns`: continual metrics, those on unseen domains, and cost. An option that an agent does
    not read is missing. Without a table in the folder there are no rows.
    """
    path = folder / "tables" / f"sweep_{grid.name}_runs.csv"
    if not path.is_file():
        return pd.DataFrame(columns=grid.run_columns)
    missing = {name: [""] for name in ("value", *grid.settings)}
    try:
        return with_whole_numbers(pd.read_csv(path, keep_default_na=False, na_values=missing)[grid.run_columns])
    except (KeyError, ValueError):
        raise UserError(
            f"{path} is no table of this sweep, or a damaged one; cldf sweep {grid.name} makes it"
        ) from None


def with_whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Gives the columns of integer options the type of whole numbers, also where some are missing."""
    whole = [name for name in table if name in FIELDS and FIELDS[name].annotation is int]
    return table.astype({name: "Int64" if table[name].isna().any() else "int64" for name in whole})
