"""The table of differences: complete, each alone, each with its line; and the ranking, against numbers by hand."""

from __future__ import annotations

import subprocess
import sys
from statistics import NormalDist

import pandas as pd
import pytest

from cldf_core.evaluation.seeds import seed_noise_margin
from cldf_core.options import AGENTS, ORIGINAL, Options
from cldf_core.original import ablations, differences
from cldf_core.original.differences import TRAPS, Trap
from cldf_core.workflow.parameters import checked_parameters

GIVEN = checked_parameters("11_original_versus_papers", {"chunks": 3, "seed": 4, "epochs": 2})
# Sizes, and how the network is trained: the table leaves these as they are.
SETTINGS = {"size", "network", "splits", "batch", "optimiser", "lr", "schedule", "memory", "replay", "candidates"}
SETTINGS |= {"memory_epochs", "memory_batch"}
each = pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: f"{trap.agent}-{trap.name}")


def changed(a: Options, b: Options) -> set[str]:
    """The names of the options that differ."""
    other = b.model_dump()
    return {name for name, value in a.model_dump().items() if value != other[name]}


def in_original(agent: str) -> set[str]:
    """The options that the original sets otherwise than the paper, those of SETTINGS left out."""
    fields = AGENTS[agent].model_fields
    return {name for name, value in ORIGINAL[agent].items() if value != fields[name].default} - SETTINGS


# --- the table ---


@pytest.mark.parametrize("agent", ORIGINAL)
def test_the_table_holds_every_difference_of_an_agent_once(agent):
    keys = [(trap.agent, trap.name) for trap in TRAPS]
    assert len(set(keys)) == len(keys)
    shown = {"sequential", agent} | ({"er"} if agent == "mir" else set())  # what MIR shares with ER is shown there
    assert in_original(agent) <= {name for trap in TRAPS if trap.agent in shown for name in trap.switches}


@each
def test_a_difference_changes_only_what_it_names(trap):
    base, with_it = trap.pair(GIVEN)
    assert changed(base, with_it) == set(trap.switches)
    kept = trap.switches if trap.switches == ("chunks",) else trap.base
    assert changed(GIVEN.options(trap.agent), base) == set(kept)
    for name in trap.base:
        assert getattr(base, name) == getattr(with_it, name) == ORIGINAL[trap.agent][name]
    for name in set(trap.switches) - {"chunks"}:
        assert getattr(base, name) == AGENTS[trap.agent].model_fields[name].default
        assert getattr(with_it, name) == differences.original_value(trap.agent, name)


def test_chunks_are_those_of_the_notebook_not_the_originals_ten():
    (trap,) = [t for t in TRAPS if t.switches == ("chunks",)]
    assert [o.chunks for o in trap.pair(GIVEN)] == [1, 3]
    assert (trap.paper, trap.original, trap.beside) == ("1", "10", "chunks = 1")
    assert trap.turned(GIVEN) == "10 (here 3)"
    assert trap.turned(GIVEN.changed(chunks=10)) == "10"


@pytest.mark.parametrize(
    ("agent", "name", "paper", "original", "beside"),
    [
        ("icarl", "icarl_heads [distil]", "grown", "shared", "distil = False"),
        ("mir", "virtual_lr", "the optimiser's", "0.1", "the paper's"),
        ("gdumb", "memory_schedule, memory_lr", "warm-restarts, 0.05", "constant, 0.1", "the paper's"),
        ("lwf", "teacher_mode", "eval", "train", "the paper's"),
    ],
)
def test_a_difference_is_told_with_both_values_and_its_base(agent, name, paper, original, beside):
    row = differences.as_table(agent).loc[name.split(" [")[0]]
    assert row[["paper", "original", "compared with"]].tolist() == [paper, original, beside]
    assert name in [trap.name for trap in TRAPS if trap.agent == agent]


@pytest.mark.parametrize("agent", ["icarl", "gdumb", "lwf", "er", "mir"])
def test_all_at_once_has_the_originals_values_of_an_agents_options_and_nothing_else(agent):
    options = differences.all_at_once(GIVEN, agent)
    differing = in_original(agent) - set(Options.model_fields)
    assert changed(GIVEN.options(agent), options) == differing
    assert {name: getattr(options, name) for name in differing} == {name: ORIGINAL[agent][name] for name in differing}


def test_the_table_needs_no_torch():
    code = "import sys; from cldf_core.original import differences; differences.as_table('er');"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- the lines ---


@each
def test_the_line_of_a_difference_is_found_and_speaks_of_it(trap):
    place, line = trap.code().split("\n")
    assert place.startswith(f"cldf_core/{trap.line[0]}:")
    assert trap.line[1] in line
    assert int(place.split(":")[1]) > 0


@pytest.mark.parametrize(("words", "count"), [("no such words", 0), ("import", None)])
def test_a_line_that_is_gone_or_not_the_only_one_is_told(words, count):
    trap = Trap("er", ("replay_passes",), ("agents/replay.py", words), "")
    with pytest.raises(ValueError, match=rf"stands in {'[0-9]+' if count is None else count} lines of agents/replay"):
        trap.code()


# --- the ranking ---


def table_of(*rows: tuple[str, float, float, float]) -> pd.DataFrame:
    parts = []
    for switch, value, low, high in rows:
        own = {"agent": "er", "switch": switch, "paper": "a", "seed": "b"}
        parts.append({**own, "metric": "average", "value": value, "low": low, "high": high})
        parts.append({**own, "metric": "forgetting (max-last)", "value": -value / 2, "low": 0.0, "high": 0.0})
    return pd.DataFrame(parts)


def seeds_of(**values: list[float]) -> pd.DataFrame:
    rows = [(agent, seed, "average", v) for agent, own in values.items() for seed, v in enumerate(own)]
    return pd.DataFrame(rows, columns=["agent", "seed", "metric", "value"])


def test_the_ranking_follows_the_size_of_the_change_and_widens_the_intervals():
    # Five comparisons: 95 % for all is 99 % each, half-widths times 2.5758 / 1.9600 = 1.3142.
    assert NormalDist().inv_cdf(1 - 0.025 / 5) == pytest.approx(2.5758, abs=1e-4)
    table = table_of(
        ("small", 0.02, 0.001, 0.04),  # leaves 0 out, not when widened
        ("harm", -0.20, -0.30, -0.10),  # -0.2 + 0.1 * 1.31 < 0
        ("some", 0.10, 0.02, 0.15),  # 0.1 - 0.08 * 1.31 < 0
        ("lucky", 0.05, 0.03, 0.07),  # widened it holds, but another seed does as much
        ("nothing", 0.0, 0.0, 0.0),
    )
    values = seeds_of(er=[0.80, 0.82, 0.84], mir=[0.70, 0.72, 0.74])
    margins = [seed_noise_margin(values, comparisons=n).loc["average", "er"] for n in (1, 5)]
    assert 0.05 < margins[0] < 0.10 < margins[1] < 0.20
    ranked = ablations.ranked(table, values).set_index("switch")
    assert list(ranked.index) == ["harm", "some", "lucky", "small", "nothing"]
    assert ranked["leaves 0 out"].tolist() == [True, True, True, True, False]
    assert ranked["leaves 0 out (all)"].tolist() == [True, False, True, False, False]
    assert ranked["beyond luck"].tolist() == [True, True, False, False, False]
    assert ranked["beyond luck (all)"].tolist() == [True, False, False, False, False]
    assert ranked["verdict"].tolist() == ["matters", "may matter", *["not shown"] * 3]
    assert ranked.loc["harm", ["value", "value of forgetting"]].tolist() == [-0.20, 0.10]


def test_what_is_shown_leaves_0_out_and_is_beyond_luck():
    table = table_of(("yes", -0.2, -0.3, -0.1), ("touches 0", 0.2, 1e-17, 0.4), ("lucky", 0.05, 0.03, 0.07))
    margins = pd.DataFrame({"er": {"average": 0.06, "forgetting (max-last)": 0.1}})
    assert ablations.shown(table, margins)[["switch", "metric"]].to_numpy().tolist() == [["yes", "average"]]
