"""The agent that notebook 12 writes, A-GEM: against a slow reference from the paper's formula, and after a restart."""

import copy
import types
from collections.abc import Iterator
from typing import Any

import jupytext
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from cldf_core import agents
from cldf_core import options as known
from cldf_core.agents import build_agent, register
from cldf_core.agents.base import Agent
from cldf_core.buffers import Reservoir, packing_of, retrieve_random
from cldf_core.options import EROptions
from cldf_core.stream import make_steps
from samples import PROJECT, check_resuming, random_samples, same, state_of, tiny_options, train

NOTEBOOK = PROJECT / "notebooks" / "12_your_own_data_your_own_agent.py"


def written() -> type[Agent]:
    """The class as the notebook's cell defines it, with what the notebook has imported for it."""
    (cell,) = [c.source for c in jupytext.read(NOTEBOOK).cells if "agent" in c.metadata.get("tags", [])]
    space: dict[str, Any] = {"__name__": "notebook", "torch": torch, "Agent": Agent, "Reservoir": Reservoir}
    space |= {"packing_of": packing_of, "retrieve_random": retrieve_random}
    types.FunctionType(compile(cell, str(NOTEBOOK), "exec"), space)()
    return space["AGEM"]


AGEM = written()


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    register("agem", AGEM, EROptions)
    yield
    del agents.AGENTS["agem"], known.AGENTS["agem"]


def steps_of(opts, *counts: int):
    firsts, shape = np.cumsum([0, *counts]), (3, opts.size, opts.size // 2 + 1)
    samples = [random_samples(n, d, shape=shape, first_number=int(firsts[d])) for d, n in enumerate(counts)]
    return make_steps([(f"d{d}", part) for d, part in enumerate(samples)], opts)


numbers = st.lists(st.floats(-5, 5, width=32), min_size=6, max_size=6)


@given(numbers, numbers)
def test_a_gradient_against_the_memory_is_projected(first, second):
    g, r = np.array(first), np.array(second)
    parts = [[torch.tensor(v[:2]).reshape(1, 2), torch.tensor(v[2:])] for v in (g, r)]
    got = torch.cat([part.ravel() for part in AGEM.projected(*parts)]).double().numpy()
    want = g if g @ r >= 0 else g - (g @ r) / (r @ r) * r
    np.testing.assert_allclose(got, want, atol=1e-4)
    if g @ r < -1e-3 and r @ r > 1e-2:
        assert abs(got @ r) < 1e-3 * max(r @ r, 1)  # the old loss stays, to first order
        assert got @ got <= g @ g + 1e-4
    else:
        assert got @ r >= -1e-3 * max(r @ r, 1)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_it_trains_as_the_paper_says(optimiser, monkeypatch):
    how = {"schedule": "constant", "optimiser": optimiser, "lr": 0.005, "weight_decay": 0.01, "memory": 9}
    opts = tiny_options("agem", "unused", **how, replay=4, epochs=3)
    learner, drawn = build_agent(opts), []

    def noted(*args: Any, **kwargs: Any) -> torch.Tensor:
        drawn.append(retrieve_random(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setitem(AGEM.observe.__globals__, "retrieve_random", noted)
    twin = copy.deepcopy(learner.network).train()
    kind = torch.optim.SGD if optimiser == "sgd" else torch.optim.Adam
    more = {"momentum": opts.momentum} if optimiser == "sgd" else {}
    descent = kind(twin.parameters(), lr=0.005, weight_decay=0.01, **more)

    def flat(batch) -> torch.Tensor:
        descent.zero_grad()
        F.cross_entropy(twin(batch.spectra), batch.labels).backward()
        return torch.cat([p.grad.ravel() for p in twin.parameters()])

    against = []
    for step in steps_of(opts, 10, 12, 9):
        learner.begin_step(step)
        for batch in step.batches(opts.seed):
            remembered = copy.deepcopy(learner.memory)
            learner.observe(batch)
            g, slots = flat(batch), drawn.pop()
            assert len(slots) == min(4, int((remembered.domains[: len(remembered)] < step.index).sum()))
            if len(slots):
                old = remembered.take(slots)
                assert (old.domains < step.index).all()
                reference = flat(old)
                against.append(bool(g @ reference < 0))
                if against[-1]:
                    g = g - (g @ reference) / (reference @ reference) * reference
            sizes = [p.numel() for p in twin.parameters()]
            for p, part in zip(twin.parameters(), g.split(sizes), strict=True):
                p.grad = part.reshape(p.shape)
            descent.step()
            assert len(learner.memory) == min(9, learner.memory.n_seen)
        learner.end_step(step)
    assert {True, False} == set(against)  # both cases of the rule
    assert learner.memory.n_seen == 31  # each image once
    got, want = state_of(learner.network), state_of(twin)
    for name in got:
        torch.testing.assert_close(got[name], want[name], atol=2e-4, rtol=2e-3)


def test_without_an_earlier_domain_it_is_plain_training():
    opts = {"schedule": "constant", "optimiser": "sgd", "lr": 0.01}
    learners = [build_agent(tiny_options(agent, "unused", **opts)) for agent in ("agem", "sequential")]
    for learner in learners:
        train(learner, steps_of(learner.options, 14))
    assert same(*(state_of(learner.network) for learner in learners))


@pytest.mark.parametrize("changes", [{}, {"schedule": "constant", "optimiser": "sgd", "chunks": 2}], ids=str)
def test_it_goes_on_bit_for_bit(changes):
    opts = tiny_options("agem", "unused", **{"epochs": 1, **changes})
    check_resuming(opts, steps_of(opts, 9, 8, 7), random_samples(6, 1, seed=3).read())
