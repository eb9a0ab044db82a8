"""Trials of agents' options: what is tried, and what it is judged by.

Every agent has the same number of trials. The first is its defaults; the others are drawn, once and for all, from the
combinations of the values in its space, in params/choose/spaces.yaml: each value as often as the others of its option,
give or take one, and of many such draws the one in which options are the least correlated (a Latin hypercube, McKay,
Beckman & Conover, Technometrics 1979). All are made with a few seeds, and the best of them with more.
`evaluation.choice` chooses.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.data.runtime import project_file
from cldf_core.data.settings import read_settings
from cldf_core.evaluation.metrics import continual, matrix
from cldf_core.options import UserError, check_values, options_of, shown
from cldf_core.randomness import generator
from cldf_core.reading import check_tried, from_written
from cldf_core.results.score_tables import Scores

TRIALS = 10
DRAWS = 1000  # of which the best is taken
SEEDS, MORE = (100, 101), (102, 103, 104)  # of all trials, and besides of the best: none that anything is judged by
NUMBERS = {"trial": int, "seeds": int, "average": float, "spread": float, "images": float, "chosen": bool, "tied": bool}
Values = Mapping[str, Any]


def read_spaces() -> dict[str, dict[str, list[Any]]]:
    """The space of each agent: options, and the values that are tried; a UserError says what is wrong with the file."""
    path = project_file("params/choose/spaces.yaml")
    spaces: dict[str, dict[str, list[Any]]] = {}
    for agent, written in read_settings(path).items():
        check_values({"agent": agent}, where=str(path))
        if not isinstance(written, dict) or not all(isinstance(values, list) and values for values in written.values()):
            raise UserError(f"{path}: {agent} is {shown(written)}; needed: options with lists, such as lr: [0.1, 0.2]")
        check_tried(agent, written, where=str(path))
        spaces[agent] = {name: [from_written(name, v) for v in values] for name, values in written.items()}
        for name, values in spaces[agent].items():
            if twice := [value for k, value in enumerate(values) if value in values[:k]]:
                raise UserError(f"{path}: {name} of {agent} names {shown(twice[0])} twice; allowed: each value once")
            for value in values:
                check_values({name: value}, where=str(path))
    return spaces


def read_trials(path: Path) -> pd.DataFrame:
    """The table of trials that `cldf choose` has written; no rows where there is none. A UserError: it is damaged."""
    columns = ["domains", "agent", "values", "code", *NUMBERS]
    if not path.exists():
        return pd.DataFrame(columns=columns)
    try:
        table = pd.read_csv(path, dtype={"code": "str"})
        if table[columns].isna().any(axis=None):
            raise ValueError
        return table.astype(NUMBERS)
    except (KeyError, ValueError, OSError):
        needed = "the columns domains, agent and values, and numbers; without the file cldf choose begins a new one"
        raise UserError(f"{path} is no table of trials, or a damaged one; needed: {needed}") from None


def trials_of(agent: str, space: Mapping[str, Sequence[Any]], base: Values) -> list[dict[str, Any]]:
    """The values of an agent's trials, the defaults first; the base holds the values of other options.

    A UserError says that the agent has no such option, or that the space has too few combinations.
    """
    defaults = options_of({**base, "agent": agent}, where=f"the defaults of {agent}")
    if foreign := [name for name in space if not hasattr(defaults, name)]:
        raise UserError(f"params/choose/spaces.yaml: {agent} has no option {foreign[0]!r}; allowed: those of its runs")
    first = {name: getattr(defaults, name) for name in space}
    drawn = _balanced([len(values) for values in space.values()], _places(space, first), generator(0, "trials", agent))
    if not drawn:
        others = len({*itertools.product(*space.values())} - {tuple(first.values())})
        found = f"combinations of {agent} besides the defaults: {others}"
        needed = f"at least {TRIALS - 1}, in which each value comes as often as others"
        raise UserError(f"params/choose/spaces.yaml, {found}; needed: {needed}")
    return [first, *({name: space[name][k] for name, k in zip(space, row, strict=True)} for row in sorted(drawn))]


def _places(space: Mapping[str, Sequence[Any]], values: Values) -> list[int | None]:
    """Where the values stand in the space; None for one that is not there, such as a profile's own."""
    return [list(space[name]).index(value) if value in space[name] else None for name, value in values.items()]


def _balanced(counts: Sequence[int], first: Sequence[int | None], rng: np.random.Generator) -> list[tuple[int, ...]]:
    """The places in the space of all trials but the first: distinct, balanced, and as good as uncorrelated."""
    best, drawn = np.inf, list[tuple[int, ...]]()
    for _ in range(DRAWS):
        columns = [_levels(count, place, rng) for count, place in zip(counts, first, strict=True)]
        rows = list(zip(*columns, strict=True))
        if len({*rows, tuple(first)}) < TRIALS:
            continue
        whole = np.array([row for row in (tuple(first), *rows) if None not in row], float)
        with np.errstate(invalid="ignore", divide="ignore"):  # an option of one value has no correlation
            worst = np.abs(np.nan_to_num(np.atleast_2d(np.corrcoef(whole.T)) - np.eye(len(counts)))).max()
        if worst < best - 1e-9:
            best, drawn = worst, rows
    return drawn


def _levels(count: int, first: int | None, rng: np.random.Generator) -> list[int]:
    """A shuffled column of places from 0 to count - 1; with the first trial's, each is there as often as the others."""
    full, rest = divmod(TRIALS, count)
    more = rng.permutation([place for place in range(count) if place != first])[:rest]
    times = [max(0, full + (place in more) - (place == first)) for place in range(count)]
    return [int(place) for place in rng.permutation(np.repeat(np.arange(count), times))][: TRIALS - 1]


def summary_of(trial: int, values: Values, runs: Sequence[Scores]) -> dict[str, Any]:
    """A row of the table of trials, of its runs with several seeds.

    Average is the mean of what a run is judged by, its average accuracy on the validation images of its stream; spread
    is the standard deviation; images is the mean number of image passes.
    """
    matrices = [matrix(run.table, split="validation")[list(run.stream or ())].to_numpy() for run in runs]
    averages = [float(continual(R)["average"]) for R in matrices]
    numbers = {"average": np.mean(averages), "spread": np.std(averages, ddof=1)}
    numbers |= {"images": np.mean([run.manifest["images"] for run in runs])}
    words = ", ".join(f"{name} {'null' if value is None else value}" for name, value in values.items())
    code = ", ".join(dict.fromkeys(run.manifest["code"] for run in runs))
    return {"trial": trial, "values": words, "seeds": len(runs), **numbers, "code": code}
