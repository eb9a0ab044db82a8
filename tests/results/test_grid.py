"""Grids of options: those of the project, the runs that they ask for, and the tables that their sweeps have left."""

import itertools
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cldf_core
from cldf_core.options import AGENTS
from cldf_core.results.grid import Grid, as_cell, distinct, read_grid, read_sweep


@pytest.mark.parametrize(("name", "count"), [("seeds", 40), ("memory", 36), ("orders", 45), ("ladder", 50)])
def test_the_projects_grids(name, count):
    grid = read_grid(name)
    assert grid.path == Path(cldf_core.__file__).parents[1] / "params" / "grids" / f"{name}.yaml"
    assert grid.path.read_text().startswith("# ")
    assert len(distinct(grid.combinations({}))) == count


@settings(deadline=None, max_examples=40)
@given(
    agents=st.lists(st.sampled_from(list(AGENTS)), min_size=1, max_size=4, unique=True),
    memory=st.lists(st.integers(8, 900), min_size=1, max_size=3, unique=True),
    temperature=st.lists(st.floats(0.5, 9), min_size=1, max_size=3, unique=True),
    seed=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
)
def test_what_an_agent_does_not_read_makes_no_second_run(agents, memory, temperature, seed):
    values = {"agent": agents, "memory": memory, "temperature": temperature, "seed": seed}
    combinations = Grid("g", Path("g.yaml"), values).combinations({"epochs": 3})
    assert len(combinations) == len(agents) * len(memory) * len(temperature) * len(seed)
    points = distinct(combinations)
    keys = [
        (a, *(v if name in AGENTS[a].model_fields else None for name, v in (("memory", m), ("temperature", t))), s)
        for a, m, t, s in itertools.product(agents, memory, temperature, seed)
    ]
    assert len(points) == len(set(keys))
    found = [o.model_dump() for o in points]
    assert [(o["agent"], o.get("memory"), o.get("temperature"), o["seed"]) for o in found] == list(dict.fromkeys(keys))
    assert {o["epochs"] for o in found} == {3}


def test_a_sweeps_table_is_read_with_whole_numbers_and_missing_options(tmp_path):
    grid = Grid("tiny", tmp_path, {"agent": ["er", "lwf"], "memory": [8], "limit": [None, 4], "seed": [0]})
    assert list(read_sweep(grid, tmp_path)) == grid.run_columns
    (tmp_path / "tables").mkdir()
    lines = (",".join(grid.run_columns), "er-1,er,8,null,0,AUC: average,,0.5", "lwf-1,lwf,,4,0,seconds,,")
    (tmp_path / "tables" / "sweep_tiny_runs.csv").write_text("\n".join(lines))
    got = read_sweep(grid, tmp_path)
    assert list(got) == grid.run_columns
    assert got["memory"].tolist() == [8, pd.NA]
    assert (got["memory"].dtype, got["seed"].dtype) == ("Int64", "int64")
    assert got["limit"].tolist() == [as_cell(None), "4"]
    assert got["domain"].tolist() == ["", ""]
    assert got["value"].isna().tolist() == [False, True]
