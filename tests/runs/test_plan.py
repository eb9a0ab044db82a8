"""Run folders, told before there are runs: the same as those that runs are written to, and quickly for many."""

import shutil
import time

import pytest

from cldf_core.agents import AGENTS, Agent, register
from cldf_core.options import AGENTS as MODELS
from cldf_core.options import EROptions, UserError
from cldf_core.runs import run as run_module
from cldf_core.runs.plan import planned
from cldf_core.runs.run import find_run, load_spectra
from samples import picture, tiny_options


class Idle(Agent):
    """Learns nothing."""


@pytest.fixture
def mine(monkeypatch):
    """A registered agent, forgotten after the test."""
    monkeypatch.setattr("cldf_core.agents.AGENTS", AGENTS)
    for registry in (AGENTS, MODELS):
        monkeypatch.setitem(registry, "mine", None)
    register("mine", Idle, EROptions)


def test_planned_folders_are_those_that_runs_are_written_to(root, small_data, mine):
    several = [tiny_options(agent, small_data, seed=seed) for agent in (*AGENTS, "er") for seed in (0, 1)]
    several += [tiny_options(a, small_data, variant="original", files="original") for a in ("er", "gdumb", "joint")]
    several += [tiny_options("er", small_data, validation_share=share, seed=s) for share in (0.3, 0.5) for s in (1, 2)]
    several += [
        tiny_options("lwf", small_data, corruption="noise", severities=[0.1], files=f) for f in ("all", "original")
    ]
    several += [
        tiny_options("icarl", small_data, stream=["third", "first"], unseen=["second+unseen"], memory=20),
        tiny_options("icarl", small_data, stream=["first", "third"], unseen=["second+unseen"], memory=20),
    ]
    folders = planned(several)
    assert folders == [run_module._folder(options, load_spectra(options)) for options in several]
    assert len(set(folders)) == len(several) - 2  # er with two seeds is there twice
    assert planned([]) == []
    # An agent that is registered anew is another one.
    register("mine", type("Other", (Idle,), {"strength": 2.0}), EROptions)
    last = next(k for k, options in enumerate(several) if options.agent == "mine")
    assert planned(several)[last] != folders[last]


def test_a_run_is_looked_for_without_spectra_and_in_what_the_data_are_now(root, small_data):
    options = tiny_options("er", shutil.copytree(small_data, root / "set"))
    (folder,) = planned([options])
    with pytest.raises(UserError, match=f"there is no finished run of 'er' with these options .*{folder.path.name}"):
        find_run(options)
    assert not list((root / "data" / "spectra").glob("*.npy"))
    picture(next((root / "set").rglob("*.png")), 64)
    assert planned([options]) != [folder]


def test_many_runs_are_planned_in_a_moment(root, small_data):
    several = [tiny_options("er", small_data, seed=seed) for seed in range(2000)]
    start = time.process_time()
    assert len({folder.path for folder in planned(several)}) == 2000
    assert time.process_time() - start < 2  # it takes a tenth of that
