"""The table of traps: complete, each alone, each with its line; and the ranking, against numbers by hand."""

from __future__ import annotations

import subprocess
import sys
from statistics import NormalDist

import pandas as pd
import pytest

from cldf_core.evaluation.seeds import seed_noise_margin
from cldf_core.options import AGENTS, Options, checked, relevant
from cldf_core.original import ablations, differences
from cldf_core.original.differences import TRAPS, Trap
from cldf_core.variants import SEED, SWITCHES

OPTIONS = checked({"chunks": 3, "seed": 4, "epochs": 2})
LISTED = {name for trap in TRAPS for name in trap.switches}
each = pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: f"{trap.agent}-{trap.name}")


def names_that_differ(a: Options, b: Options) -> set[str]:
    return {name for name in Options.model_fields if getattr(a, name) != getattr(b, name)}


# --- the table ---


@pytest.mark.parametrize("name", sorted({name for names in SWITCHES.values() for name in names}))
def test_every_switch_that_the_seed_sets_otherwise_is_in_the_table(name):
    default = Options.model_fields[name].default
    assert any(values.get(name, default) != default for values in SEED.values()) == (name in LISTED)


@pytest.mark.parametrize("agent", ["icarl", "gdumb", "lwf", "er", "mir"])
def test_an_agent_has_all_of_its_own_switches(agent):
    shown = {name for trap in TRAPS if trap.agent == agent for name in trap.switches}
    elsewhere = set(SWITCHES["er"]) if agent == "mir" else set()  # what MIR shares with ER is shown there
    assert set(SWITCHES[agent]) - elsewhere <= shown
    allowed = {*SWITCHES[agent], *AGENTS[agent]}
    assert shown <= allowed


def test_no_trap_stands_there_twice():
    keys = [(trap.agent, trap.name) for trap in TRAPS]
    assert len(set(keys)) == len(keys)


@each
def test_a_trap_changes_only_what_it_names(trap):
    base, changed = trap.pair(OPTIONS)
    assert names_that_differ(base, changed) == set(trap.switches)
    own = trap.switches if trap.switches == ("chunks",) else trap.base
    assert names_that_differ(checked({**OPTIONS.model_dump(exclude_unset=True), "agent": trap.agent}), base) == set(own)
    for name in trap.base:
        assert getattr(base, name) == getattr(changed, name) == SEED[trap.agent][name]
    for name in set(trap.switches) - {"chunks"}:
        assert getattr(base, name) == Options.model_fields[name].default
        assert getattr(changed, name) == differences.seed_value(trap.agent, name)
    # And the run depends on it.
    assert relevant(base) != relevant(changed)


def test_chunks_are_those_of_the_notebook_not_the_seeds_ten():
    (trap,) = [t for t in TRAPS if t.switches == ("chunks",)]
    assert [o.chunks for o in trap.pair(OPTIONS)] == [1, 3]
    assert (trap.paper, trap.seed, trap.beside) == ("1", "10", "chunks = 1")
    assert trap.turned(OPTIONS) == "10 (here 3)"
    assert trap.turned(checked({"chunks": 10})) == "10"


def test_a_trap_is_told_with_both_values_and_its_base():
    by_name = {(t.agent, t.name): t for t in TRAPS}
    heads = by_name["icarl", "heads [distil]"]
    assert (heads.paper, heads.seed, heads.beside) == ("grown", "shared", "distil = False")
    virtual = by_name["mir", "virtual_lr"]
    assert (virtual.paper, virtual.seed, virtual.beside) == ("the optimiser's", "0.1", "the paper's")
    rate = by_name["gdumb", "memory_schedule, memory_lr"]
    assert (rate.paper, rate.seed) == ("warm-restarts, 0.05", "constant, 0.1")
    table = differences.as_table("lwf")
    assert list(table.index) == ["kd_weight", "teacher_after", "teacher_mode"]
    assert table.loc["teacher_mode", ["paper", "seed"]].tolist() == ["eval", "train"]


@pytest.mark.parametrize("agent", ["icarl", "gdumb", "lwf", "er", "mir"])
def test_all_at_once_has_the_seeds_switches_and_nothing_else(agent):
    options = differences.all_at_once(OPTIONS, agent)
    seed = checked({"variant": "seed", "agent": agent})
    for name in SWITCHES[agent]:
        assert getattr(options, name) == getattr(seed, name), name
    changed = names_that_differ(differences.changed(OPTIONS, agent, {}), options)
    assert changed - set(SWITCHES[agent]) == ({"memory_lr"} if agent == "gdumb" else set())


def test_the_table_needs_no_torch():
    code = "import sys; from cldf_core.original import differences; differences.as_table('er');"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- the lines ---


@each
def test_the_line_of_a_trap_is_found_and_speaks_of_it(trap):
    place, line = trap.code().split("\n")
    assert place.startswith(f"cldf_core/{trap.line[0]}:")
    assert trap.line[1] in line
    assert int(place.split(":")[1]) > 0


@pytest.mark.parametrize(("words", "count"), [("no such words", 0), ("import", None)])
def test_a_line_that_is_gone_or_not_the_only_one_is_told(words, count):
    trap = Trap("er", ("passes",), ("agents/replay.py", words), "")
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
