"""Grids of options: those of the project, the runs that they ask for, and the tables that their sweeps have left."""

import itertools
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cldf_core
from cldf_core.data.mini.build import EMBEDDED
from cldf_core.data.mini.crops import DOMAINS
from cldf_core.options import AGENTS, FIELDS, UserError
from cldf_core.results.grid import Grid, as_cell, distinct_runs, read_grid, read_sweep
from cldf_core.workflow.parameters import FIRST, chosen_values

RUNS = {"seeds": 140, "unseen": 105, "limited": 330, "parts": 42, "memory": 36, "orders": 45, "passes": 12}
RUNS |= {"ladder": 50, "updates": 30}


@pytest.mark.parametrize("name", RUNS)
def test_the_projects_grids(name):
    grid = read_grid(name)
    assert grid.path == Path(cldf_core.__file__).parents[1] / "params" / "grids" / f"{name}.yaml"
    assert grid.path.read_text().startswith("# ")
    assert len(distinct_runs(grid.points({}))) == RUNS[name]


def test_every_domain_is_unseen_once_and_was_never_looked_at_when_values_were_chosen():
    options = list({tuple(point.options.stream): point.options for point in read_grid("unseen").points({})}.values())
    assert [o.unseen for o in options] == [[name] for name in reversed(DOMAINS)]
    for o in options:
        assert {*o.stream, *o.unseen} == {*DOMAINS}
        (place,) = [k for k, name in enumerate(o.stream) if name == "mini-NeuralTextures"] or [None]
        assert place is None or o.unseen == [DOMAINS[place]]  # it takes the place of the one that is left out
    assert len({tuple(o.stream[:FIRST]) for o in options}) == 3
    assert options[0].stream == FIELDS["stream"].default


@pytest.mark.parametrize(("row", "agent", "draws"), [("same passes", "er", 1), ("passes of DER++", "derpp", 2)])
def test_rows_of_the_same_work_pass_at_least_as_many_images_and_hardly_more(row, agent, draws):
    """An agent that replays passes `draws` times `replay` images with each batch, also with an incomplete one."""
    rows = {point.cells["row"]: point.options for point in read_grid("seeds").points({}, chosen_values)}
    images = 2 * EMBEDDED["mini"]["train"]
    batches = -(-images // rows[agent].batch)
    passes = rows[agent].epochs * (1 + draws * rows[agent].replay * batches / images)
    found = [options.epochs for name, options in rows.items() if name.endswith(f", {row}")]
    assert found
    assert all(passes <= epochs < passes + 1 for epochs in found)


def test_a_random_choice_of_mir_has_no_more_candidates_than_it_replays():
    rows = {point.cells["row"]: point.options for point in read_grid("parts").points({}, chosen_values)}
    assert rows["mir, random choice"].candidates == rows["mir, random choice"].replay == rows["mir"].replay


def test_all_images_of_a_class_are_the_largest_limit():
    *numbers, most = read_grid("limited").values["limit_new"]
    assert most is None
    assert max(numbers) < EMBEDDED["mini"]["train"] == 250


@settings(deadline=None, max_examples=40)
@given(
    agents=st.lists(st.sampled_from(list(AGENTS)), min_size=1, max_size=4, unique=True),
    memory=st.lists(st.integers(8, 900), min_size=1, max_size=3, unique=True),
    temperature=st.lists(st.floats(0.5, 9), min_size=1, max_size=3, unique=True),
    seed=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
)
def test_what_an_agent_does_not_read_makes_no_second_run(agents, memory, temperature, seed):
    values = {"agent": agents, "memory": memory, "temperature": temperature, "seed": seed}
    points = Grid("g", Path("g.yaml"), values).points({"epochs": 3})
    keys = [
        (a, *(v if name in AGENTS[a].model_fields else None for name, v in (("memory", m), ("temperature", t))), s)
        for a, m, t, s in itertools.product(agents, memory, temperature, seed)
    ]
    found = [point.options.model_dump() for point in points]
    assert [(o["agent"], o.get("memory"), o.get("temperature"), o["seed"]) for o in found] == list(dict.fromkeys(keys))
    assert {o["epochs"] for o in found} == {3}
    assert list(distinct_runs(points).values()) == [point.options for point in points]


# --- options that move together ---

STREAMS = [{"row": "one", "stream": ["a", "b"], "unseen": ["c"]}, {"stream": ["b", "c"], "unseen": ["a"]}]
LEARNERS = [{"agent": "er"}, {"row": "er, small", "agent": "er", "memory": 8}, {"agent": "lwf", "chosen": "hindsight"}]


def test_rows_are_taken_as_a_whole_and_named_in_a_column():
    grid = Grid(
        "g", Path("g.yaml"), {"together": STREAMS, "agent": ["er", "lwf"], "memory": [8, 9], "splits": [["test"]]}
    )
    assert (grid.keys, grid.settings, grid.learner) == (["agent", "row", "memory"], ["row", "memory"], "agent")
    points = grid.points({"seed": 3})
    second = "stream b, c, unseen a"
    want = [(r, a, m) for r, (a, m) in itertools.product(("one", second), (("er", 8), ("er", 9), ("lwf", None)))]
    assert [(p.cells["row"], p.cells["agent"], p.cells.get("memory")) for p in points] == want
    assert [(p.options.stream, p.options.unseen) for p in points] == [(["a", "b"], ["c"])] * 3 + [
        (["b", "c"], ["a"])
    ] * 3
    assert {p.options.seed for p in points} == {3}
    assert [*distinct_runs(points)][:2] == ["1 of 6: er, one, memory 8", "2 of 6: er, one, memory 9"]


def test_rows_with_agents_are_learners_that_may_share_a_run():
    grid = Grid("g", Path("g.yaml"), {"together": LEARNERS, "seed": [0, 1]}, chosen="none")
    assert (grid.keys, grid.settings, grid.learner) == (["agent", "row"], [], "row")
    points = grid.points({"memory": 8})
    assert [p.cells["row"] for p in points] == ["er"] * 2 + ["er, small"] * 2 + ["lwf"] * 2
    assert points[0].options == points[2].options
    assert [*distinct_runs(points)] == [
        f"{k + 1} of 4: {a}, seed {k % 2}" for k, a in enumerate(("er", "er", "lwf", "lwf"))
    ]
    assert grid.points({})[2].label == "er, small, seed 0"


def test_chosen_values_stand_behind_those_of_the_grid_and_each_row_says_which_choice_it_takes():
    asked = []

    def chosen(values, which):
        asked.append((values["agent"], which))
        return {"lr": 0.5, "memory": 99, "epochs": 7} if which != "none" else {}

    grid = Grid("g", Path("g.yaml"), {"together": LEARNERS}, chosen="none")
    plain, small, lwf = (point.options for point in grid.points({"epochs": 2}, chosen))
    assert asked == [("er", "none"), ("er", "none"), ("lwf", "hindsight")]
    assert (plain.lr, small.lr, lwf.lr, lwf.epochs) == (0.001, 0.001, 0.5, 2)
    tuned = Grid("g", Path("g.yaml"), {"together": LEARNERS}).points({"epochs": 2}, chosen)
    assert [(p.options.lr, p.options.epochs, getattr(p.options, "memory", 0)) for p in tuned] == [
        *[(0.5, 2, 99), (0.5, 2, 8), (0.5, 2, 0)]
    ]


def test_a_sweeps_table_is_read_with_whole_numbers_and_missing_options(tmp_path):
    grid = Grid("tiny", tmp_path, {"agent": ["er", "lwf"], "memory": [8, 9], "limit": [None, 4], "seed": [0]})
    assert list(read_sweep(grid, tmp_path)) == grid.columns("runs")
    (tmp_path / "tables").mkdir()
    lines = (",".join(grid.columns("runs")), "er-1,er,8,null,0,AUC: average,,0.5,ab1", "lwf-1,lwf,,4,0,seconds,,,ab1")
    (tmp_path / "tables" / "sweep_tiny_runs.csv").write_text("\n".join(lines))
    got = read_sweep(grid, tmp_path)
    assert list(got) == grid.columns("runs")
    assert got["memory"].tolist() == [8, pd.NA]
    assert (got["memory"].dtype, got["seed"].dtype) == ("Int64", "int64")
    assert got["limit"].tolist() == [as_cell(None), "4"]
    assert got["domain"].tolist() == ["", ""]
    assert got["value"].isna().tolist() == [False, True]
    assert got["code"].tolist() == ["ab1", "ab1"]


@pytest.mark.parametrize("damage", ["abc", "cut", "folder", "binary"])
def test_a_damaged_table_of_a_sweep_is_told(tmp_path, damage):
    grid, path = Grid("tiny", tmp_path, {"agent": ["er"], "seed": [0, 1]}), tmp_path / "tables" / "sweep_tiny_runs.csv"
    path.parent.mkdir()
    lines = (",".join(grid.columns("runs")), "er-1,er,0,AUC: average,,0.5,ab1", "er-2,er,1,AUC: average,,0.75,ab1")
    path.write_text(text := "\n".join(lines))
    assert read_sweep(grid, tmp_path)["value"].tolist() == [0.5, 0.75]
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {"abc": text.replace("0.75", "abc"), "cut": text[:-5], "binary": "\x00\xff"}[damage].encode("latin1")
        )
    with pytest.raises(
        UserError, match=f"^{path} is no table of this sweep, or a damaged one; cldf sweep tiny makes it"
    ):
        read_sweep(grid, tmp_path)


def test_a_table_of_an_earlier_version_tells_neither_code_nor_row(tmp_path):
    grid = Grid("old", tmp_path, {"together": LEARNERS, "seed": [0]})
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "sweep_old_runs.csv").write_text(
        "run,agent,seed,metric,domain,value\ner-1,er,0,AUC: average,,0.5"
    )
    got = read_sweep(grid, tmp_path)
    assert list(got) == grid.columns("runs")
    assert (got["row"].item(), got["code"].isna().item()) == ("er", True)
    (tmp_path / "tables" / "sweep_old.csv").write_text(
        "agent,step,domain,metric,value,low,high,n\ner,,,AUC: average,0.5,0.4,0.6,5"
    )
    got = read_sweep(grid, tmp_path, "means")
    assert list(got) == grid.columns("means")
    assert (got["agent"].item(), got["spread"].item(), got["code"].isna().item()) == ("er", "", True)
    assert list(read_sweep(grid, tmp_path, "tests")) == grid.columns("tests")
    grid = Grid("passes", tmp_path, {"agent": ["er"], "replay_passes": ["joined", "averaged"], "seed": [0]})
    (tmp_path / "tables" / "sweep_passes_runs.csv").write_text(
        "run,agent,passes,seed,metric,domain,value\ner-1,er,joined,0,AUC: average,,0.5"
    )
    assert read_sweep(grid, tmp_path)["replay_passes"].tolist() == ["joined"]


def test_the_means_of_rows_with_agents_have_the_rows_names_as_agents(tmp_path):
    grid = Grid("rows", tmp_path, {"together": LEARNERS, "limit_new": [5, 10], "seed": [0, 1]})
    (tmp_path / "tables").mkdir()
    head = "agent,row,limit_new,step,domain,metric,value,low,high,n,spread,code\n"
    rows = (
        'er,"er, small",5,,,AUC: average,0.5,,,2,seeds,007',
        "lwf,lwf,10,3,new,AUC: unseen,0.5,0.4,0.6,2,groups,007",
    )
    (tmp_path / "tables" / "sweep_rows.csv").write_text(head + "\n".join(rows))
    got = read_sweep(grid, tmp_path, "means")
    assert list(got) == ["agent", "limit_new", *head.strip().split(",")[3:]]
    assert got["agent"].tolist() == ["er, small", "lwf"]
    assert (got["step"].tolist(), got["domain"].tolist()) == ([pd.NA, 3], ["", "new"])
    assert (got["low"].isna().tolist(), got["code"].tolist()) == ([True, False], ["007"] * 2)
