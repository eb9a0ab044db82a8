"""The table of differences: complete, each alone, each with its line."""

import subprocess
import sys
import typing
from pathlib import Path

import pytest

import cldf_core
from cldf_core.options import AGENTS, Options
from cldf_core.original import differences
from cldf_core.original.differences import DIFFERENCES, Difference
from cldf_core.original_options import ORIGINAL
from cldf_core.workflow.parameters import checked_parameters

GIVEN = checked_parameters("11_original_versus_papers", {"chunks": 3, "seed": 4, "epochs": 2})
# Sizes, and how the network is trained: the table leaves these as they are.
SETTINGS = {"size", "network", "splits", "batch", "optimiser", "lr", "schedule", "memory", "replay", "candidates"}
SETTINGS |= {"memory_epochs", "memory_batch"}
MIRS = ("replay_from", "virtual_step, virtual_lr", "mir_statistics")
each = pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda d: f"{d.agent}-{d.name}")


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
    keys = [(d.agent, d.name) for d in DIFFERENCES]
    assert len(set(keys)) == len(keys)
    shown = {"sequential", agent} | ({"er"} if agent == "mir" else set())  # what MIR shares with ER is shown there
    assert in_original(agent) <= {name for d in DIFFERENCES if d.agent in shown for name in d.switch.split(", ")}


@each
def test_a_difference_changes_only_what_it_names(difference):
    base, with_it = difference.pair(GIVEN)
    switches, needs = ({*names.split(", ")} - {""} for names in (difference.switch, difference.needs))
    assert changed(base, with_it) == switches
    shared = needs | ({"corruption", "severities"} if difference.corruption else set())
    assert changed(GIVEN.options(difference.agent), base) == (switches if switches == {"chunks"} else shared)
    for name in needs:
        assert getattr(base, name) == getattr(with_it, name) == ORIGINAL[difference.agent][name]
    for name in switches - {"chunks"}:
        assert getattr(base, name) == AGENTS[difference.agent].model_fields[name].default
        assert getattr(with_it, name) == (ORIGINAL["lwf"] | ORIGINAL[difference.agent])[name]


def test_chunks_are_those_of_the_notebook_not_the_originals_ten():
    (difference,) = [d for d in DIFFERENCES if d.switch == "chunks"]
    assert [o.chunks for o in difference.pair(GIVEN)] == [1, 3]
    assert (difference.paper, difference.original, difference.compared_with) == ("1", "10", "chunks = 1")
    assert difference.switched(GIVEN) == "10 (here 3)"
    assert difference.switched(GIVEN.changed(chunks=10)) == "10"


@pytest.mark.parametrize(
    ("agent", "name", "paper", "original", "compared_with"),
    [
        ("icarl", "icarl_heads [distil]", "grown", "shared", "distil = False"),
        ("mir", "virtual_step, virtual_lr", "the optimiser's, the optimiser's", "sgd, 0.1", "the paper's"),
        ("gdumb", "memory_schedule, memory_lr", "warm-restarts, 0.05", "constant, 0.1", "the paper's"),
        ("lwf", "teacher_mode", "eval", "train", "the paper's"),
    ],
)
def test_a_difference_is_told_with_both_values_and_its_base(agent, name, paper, original, compared_with):
    row = differences.as_table(agent).loc[name.split(" [")[0]]
    assert row[["paper", "original", "compared with"]].tolist() == [paper, original, compared_with]
    assert name in [d.name for d in DIFFERENCES if d.agent == agent]


@pytest.mark.parametrize("agent", ["icarl", "gdumb", "lwf", "er", "mir"])
def test_all_at_once_has_the_originals_values_of_an_agents_options_and_nothing_else(agent):
    options = differences.all_at_once(GIVEN, agent)
    differing = in_original(agent) - set(Options.model_fields)
    assert changed(GIVEN.options(agent), options) == differing
    assert {name: getattr(options, name) for name in differing} == {name: ORIGINAL[agent][name] for name in differing}


def test_figures_tell_differences_apart_by_words_not_by_keys():
    labels = [(d.agent, d.label) for d in DIFFERENCES]
    assert len(set(labels)) == len(labels)
    assert not [label for _, label in labels if "_" in label or len(label) > 40]
    assert set(differences.LABELS) == {d.switch for d in DIFFERENCES}
    (heads,) = [d for d in DIFFERENCES if d.switch == "icarl_heads"]
    assert heads.label == "two outputs in all (no distillation)"


def test_the_table_needs_no_torch():
    code = "import sys; from cldf_core.original import differences; differences.as_table('er');"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_each_difference_says_where_it_comes_from_and_mirs_authors_are_not_charged_with_it():
    source = {(d.agent, d.switch): d.source for d in DIFFERENCES}
    assert set(source.values()) == set(typing.get_args(differences.Source))
    authors_too = ["er replay_passes", "er reservoir_count", "icarl reservoir_count", "mir mir_statistics"]
    assert {source[tuple(key.split())] for key in authors_too} == {"the authors' code too"}
    only_here = ["mir replay_from", "mir virtual_step, virtual_lr", "er offers", "icarl distil", "lwf kd_weight"]
    assert {source[tuple(key.split(" ", 1))] for key in only_here} == {"only this code"}
    assert ("er", "replay_from") not in source  # ER's authors replay the whole memory
    assert differences.as_table("mir")["where it comes from"].tolist() == [source["mir", s] for s in MIRS]


# --- the lines ---


@each
def test_the_line_of_a_difference_is_found_and_speaks_of_it(difference):
    place, line = difference.code().split("\n")
    file, number = place.split(":")
    assert file == f"cldf_core/{difference.file}"
    source = Path(cldf_core.__file__).parents[1] / file
    assert difference.words in line == f"    {source.read_text().splitlines()[int(number) - 1].strip()}"


@pytest.mark.parametrize(("words", "count"), [("no such words", 0), ("import", None)])
def test_a_line_that_is_gone_or_not_the_only_one_is_told(words, count):
    difference = Difference("er", "replay_passes", "agents/replay.py", words)
    with pytest.raises(ValueError, match=rf"stands in {'[0-9]+' if count is None else count} lines of agents/replay"):
        difference.code()
