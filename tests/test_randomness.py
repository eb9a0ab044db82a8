"""Random streams: each its own, alike in every process, and none that another one repeats."""

import ast
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import cldf_core
from cldf_core.agents import build_agent
from cldf_core.randomness import PURPOSES, Generators, generator, torch_generator
from cldf_core.stream import make_steps
from samples import random_samples, same, tiny_options, train

# Also those that a list of numbers cannot tell apart: (3,), (3, 0), (3, 0, 0).
WHICH = [(), *((k,) for k in range(30)), *itertools.product(range(12), repeat=2), (3, 0, 0), ("a",), ("a", 0), ("b",)]
FEW = [(), (0,), (0, 0), (1,), (0, 1), (1, 0), ("a",)]


def test_no_two_streams_begin_alike_and_none_is_correlated_with_another():
    streams = {(seed, p, w): generator(seed, p, *w).random(4) for seed in (0, 1) for p in PURPOSES for w in WHICH}
    assert len({tuple(draws) for draws in streams.values()}) == len(streams)
    assert len({draws[0] for draws in streams.values()}) == len(streams)
    long = [generator(seed, p, *w).standard_normal(2000) for seed in (0, 1) for p in PURPOSES for w in FEW]
    long += [torch.randn(2000, generator=torch_generator(0, p, *w)).numpy() for p in PURPOSES for w in FEW]
    correlation = np.corrcoef(np.concatenate([long, np.roll(long, 1, axis=1)]))  # one draw later, too
    np.fill_diagonal(correlation, 0)
    assert np.abs(correlation).max() < 6 / 2000**0.5  # of 150,000 pairs, by chance about 5 / 2000**0.5


def test_torchs_streams_are_told_apart_by_their_32_bits():
    seeds = {torch_generator(seed, p, *w).initial_seed() for seed in range(20) for p in PURPOSES for w in FEW}
    assert len(seeds) == 20 * len(PURPOSES) * len(FEW)


@pytest.mark.parametrize("count", [17, 60])
def test_the_first_epochs_order_is_not_the_chunks_permutation_applied_twice(count):
    opts = tiny_options("sequential", "unused", batch=1, epochs=2)
    (step,) = make_steps([("one", random_samples(count))], opts)
    seen = np.array([int(batch.numbers[0]) for batch in step.batches(opts.seed)]).reshape(2, count)
    chunk = step.samples.numbers
    for order in seen:
        assert not np.array_equal(order, chunk[chunk])
        assert np.mean(order == chunk[chunk]) < 0.3
    assert not np.array_equal(*seen)


@pytest.mark.parametrize("agent", ["icarl", "gdumb", "er", "mir", "derpp", "ewc", "separate", "joint"])
def test_a_longer_stream_begins_as_the_short_one(agent):
    domains = [(f"d{k}", random_samples(10 + k, k, first_number=20 * k)) for k in range(3)]
    learners = []
    for length in (2, 3):
        opts = tiny_options(agent, "unused", stream=[name for name, _ in domains[:length]], memory=12)
        learner = build_agent(opts)
        train(learner, make_steps(domains[:length], opts)[:2])
        learners.append(learner.state_dict())
    assert same(*learners)


def test_an_agents_generators_draw_for_themselves_and_go_on_where_they_were():
    draws = Generators(3)
    alone = torch.rand(4, generator=torch_generator(3, "memory"))
    torch.rand(9, generator=draws("replay"))
    assert torch.equal(torch.rand(2, generator=draws("memory")), alone[:2])
    state = draws.state_dict()
    again = Generators(3)
    torch.rand(5, generator=again("memory"))
    again.load_state_dict(state)
    assert torch.equal(torch.rand(2, generator=again("memory")), alone[2:])
    assert torch.equal(torch.rand(2, generator=again("replay")), torch.rand(2, generator=draws("replay")))


def test_every_purpose_in_the_code_is_known_and_used_and_nothing_is_seeded_elsewhere():
    root = Path(cldf_core.__file__).parents[1]
    used, elsewhere = set(), set()
    for path in [*root.glob("cldf_core/**/*.py"), *root.glob("notebooks/*.py")]:
        for call in (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in {"generator", "torch_generator", "seed_sequence", "batches"}:
                used |= {a.value for a in call.args if isinstance(a, ast.Constant) and a.value in PURPOSES}
                assert all(a.value in PURPOSES for a in call.args[:2] if isinstance(a, ast.Constant) and a.value != 0)
            elif name in {"default_rng", "manual_seed", "RandomState"}:
                elsewhere.add(path.relative_to(root).as_posix())
    assert used | {"order", "refit"} == set(PURPOSES)  # which are the purpose of a Step
    data = {path for path in elsewhere if path.startswith("cldf_core/data/mini/")} | {"cldf_core/data/intake/splits.py"}
    given_a_seed = {"cldf_core/data/corruptions.py", "cldf_core/resnet.py", "cldf_core/interact/toy.py"}
    assert elsewhere == {*data, *given_a_seed, "cldf_core/randomness.py"}
