"""Grids of options: files in params/grids/ with option names, each with a list of its values; no torch.

Every combination is a run of `cldf sweep`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import cldf_core
from cldf_core.data.runtime import project_root
from cldf_core.options import Options, UserError, checked


@dataclass(frozen=True)
class Grid:
    """The values that options take in turn.

    Attributes:
        name: of the file, without its suffix.
        path: of the file.
        values: for each option a list; unchecked.
    """

    name: str
    path: Path
    values: Mapping[str, list[Any]]

    @property
    def settings(self) -> list[str]:
        """The options that are varied besides the agent and the seed: columns of the tables."""
        return [name for name in self.values if name not in ("agent", "seed")]

    def combinations(self, base: Mapping[str, Any]) -> list[Options]:
        """The checked options of every combination, the last name changing fastest; all others are `base`'s.

        Raises:
            OptionError: the file has a name or a value that is not allowed.
        """
        return [
            checked({**base, **dict(zip(self.values, chosen, strict=True))}, where=f"params/grids/{self.path.name}")
            for chosen in itertools.product(*self.values.values())
        ]

    def cells(self, options: Options) -> dict[str, Any]:
        """The grid's options that a run depends on, each as a number or a text."""
        own = options.model_dump()
        return {name: as_cell(own[name]) for name in self.values if name in own}

    def told(self, options: Options) -> str:
        """A run in a few words: "er, memory 50, seed 2"."""
        cells = {name: cell for name, cell in self.cells(options).items() if name != "agent"}
        return ", ".join([options.agent, *(f"{name} {cell}" for name, cell in cells.items())])


def read_grid(name: str) -> Grid:
    """A grid of the project.

    Raises:
        UserError: there is no such grid, or it is not names with lists of values.
    """
    # CLDF_ROOT may be a folder of results alone: then these are the grids beside the package.
    roots = (Path(cldf_core.__file__).parents[1], project_root())
    there = {path.stem: path for root in roots for path in sorted(root.glob("params/grids/*.yaml"))}
    if name not in there or not there[name].is_file():
        raise UserError(f"there is no grid {name!r} in params/grids; allowed: {', '.join(sorted(there)) or 'none'}")
    path = there[name]
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not values:
        raise UserError(f"{path} holds no names with values; needed: lines such as seed: [0, 1, 2]")
    for option, choices in values.items():
        if not isinstance(choices, list) or not choices:
            raise UserError(f"{path}: {option} is {choices!r}; needed: a list of values, such as [0, 1, 2]")
    return Grid(name, path, values)


def distinct(combinations: Sequence[Options]) -> list[Options]:
    """Without those that differ from an earlier one only in options that their agent does not read."""
    found: dict[str, Options] = {}
    for options in combinations:
        found.setdefault(options.model_dump_json(), options)
    return list(found.values())


def as_cell(value: Any) -> Any:
    """An option's value in a table: a number, or a text."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    is_kept = isinstance(value, (int, float, str)) and not isinstance(value, bool)
    return value if is_kept else json.dumps(value)  # true, null: as in the grid
