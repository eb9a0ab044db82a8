"""Fused optimisers, and virtual steps, against the formulas of Adam and SGD, weight for weight, at every update."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, optim

from cldf_core.agents import build_agent
from cldf_core.agents.optimisers import virtual_weights
from cldf_core.stream import make_steps
from samples import begun, random_samples, same, state_of, tiny_options, train


def slow_adam(weight: Tensor, gradient: Tensor, seen: dict[str, Any], o: dict[str, Any]) -> Tensor:
    """Kingma & Ba, "Adam", ICLR 2015, algorithm 1."""
    seen["t"] = seen.get("t", 0) + 1
    for name, beta, new in (("m", o["betas"][0], gradient), ("v", o["betas"][1], gradient**2)):
        seen[name] = beta * seen.get(name, torch.zeros_like(gradient)) + (1 - beta) * new
    mean, square = (seen[name] / (1 - beta ** seen["t"]) for name, beta in zip("mv", o["betas"], strict=True))
    return weight - o["lr"] * mean / (square.sqrt() + o["eps"])


def slow_sgd(weight: Tensor, gradient: Tensor, seen: dict[str, Any], o: dict[str, Any]) -> Tensor:
    """torch's momentum, which begins with the first gradient, undampened."""
    first = "velocity" not in seen
    seen["velocity"] = gradient if first else o["momentum"] * seen["velocity"] + (1 - o["dampening"]) * gradient
    return weight - o["lr"] * seen["velocity"]


@pytest.mark.parametrize(
    ("agent", "changes"),
    [
        ("sequential", {"optimiser": "adam", "schedule": "constant", "weight_decay": 0.1}),
        ("sequential", {"optimiser": "adam", "lr": 0.1, "weight_decay": 0.0}),
        ("sequential", {"optimiser": "sgd", "schedule": "constant", "momentum": 0.9, "dampening": 0.5}),
        ("sequential", {"optimiser": "sgd", "momentum": 0.0, "weight_decay": 0.1}),
        ("gdumb", {"memory_optimiser": "sgd", "memory_momentum": 0.9, "memory_weight_decay": 0.1}),
        ("gdumb", {"memory_optimiser": "adam", "memory_schedule": "constant"}),
    ],
    ids=str,
)
def test_an_update_is_that_of_the_formula_and_fused(agent, changes, monkeypatch):
    opts = tiny_options(agent, "unused", **{"lr": 0.01, "weight_decay": 0.01, "memory_weight_decay": 0.01, **changes})
    kind, slow = (optim.Adam, slow_adam) if "adam" in changes.values() else (optim.SGD, slow_sgd)
    fast, seen, updates = kind.step, {}, []

    def step(optimiser):
        (o,) = optimiser.param_groups
        want = []
        for at, p in enumerate(o["params"]):
            gradient = p.grad.double() + o["weight_decay"] * p.detach().double()
            want.append(slow(p.detach().double(), gradient, seen.setdefault((optimiser, at), {}), o))
        fast(optimiser)
        for p, weight in zip(o["params"], want, strict=True):
            torch.testing.assert_close(p.detach().double(), weight, rtol=1e-5, atol=1e-6)
        updates.append(o["fused"])

    monkeypatch.setattr(kind, "step", step)
    train(build_agent(opts), make_steps([(f"d{d}", random_samples(8, d, first_number=8 * d)) for d in range(2)], opts))
    assert len(updates) > 4
    assert all(updates), "torch's loop over the weights is up to a third of a step"


def slow_preconditioned(weight: Tensor, gradient: Tensor, seen: dict[str, Any], o: dict[str, Any]) -> Tensor:
    """Adam's next step, but of this gradient alone: it stands where the first moment would."""
    beta = o["betas"][1]
    square = beta * seen.get("v", torch.zeros_like(gradient)) + (1 - beta) * gradient**2
    return weight - o["lr"] * gradient / ((square / (1 - beta ** (seen.get("t", 0) + 1))).sqrt() + o["eps"])


@pytest.mark.parametrize(
    ("virtual", "changes"),
    [
        *(("sgd", {"optimiser": name}) for name in ("adam", "sgd")),
        *(("preconditioned", {"optimiser": "adam", "schedule": name}) for name in ("constant", "one-cycle")),
        ("optimiser", {"optimiser": "adam", "schedule": "constant"}),
        ("optimiser", {"optimiser": "adam"}),
        ("optimiser", {"optimiser": "sgd", "momentum": 0.9, "dampening": 0.5}),
        ("optimiser", {"optimiser": "sgd", "momentum": 0.0, "schedule": "constant"}),
    ],
    ids=str,
)
def test_a_virtual_step_is_that_of_the_formula_and_changes_nothing(virtual, changes):
    """Before every update, the first one of an optimiser included; the updates themselves have other gradients."""
    opts = tiny_options("sequential", "unused", lr=0.01, weight_decay=0.05, **changes)
    learner, rng = build_agent(opts), torch.Generator().manual_seed(0)
    moved: list[float] = []
    past_of: dict[Any, dict[str, dict[str, Any]]] = {}
    slow = slow_adam if opts.optimiser == "adam" else slow_sgd
    for step in make_steps([(f"d{d}", random_samples(12, d, first_number=12 * d)) for d in range(2)], opts):
        network = learner.network
        begun(learner, step)
        for batch in step.batches(0):
            (o,), named = learner.optimiser.param_groups, dict(network.named_parameters())
            seen = past_of.setdefault(learner.optimiser, {})  # with another schedule than constant, one for each step
            gradients = [1e-2 * torch.randn(p.shape, generator=rng) for p in named.values()]
            untouched = copy.deepcopy([state_of(network), learner.optimiser.state_dict(), gradients])
            got = virtual_weights(network, learner.optimiser, gradients, virtual, 0.03)
            assert same(untouched, [state_of(network), learner.optimiser.state_dict(), gradients])
            assert list(got) == list(named)
            weights = {name: p.detach().double() for name, p in named.items()}
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                g, past = gradient.double(), copy.deepcopy(seen.setdefault(name, {}))
                want = weight - 0.03 * g
                if virtual == "preconditioned":
                    want = slow_preconditioned(weight, g, past, {**o, "lr": 0.03})
                elif virtual == "optimiser":
                    want = slow(weight, g + 0.05 * weight, past, o)
                torch.testing.assert_close(got[name].detach().double(), want, rtol=1e-5, atol=1e-6)
                moved.append(float((want - weight).abs().mean()))
            learner.observe(batch)
            for name, p in named.items():  # the gradients of the update are still there
                slow(weights[name], p.grad.double() + 0.05 * weights[name], seen[name], o)
    assert max(moved) > 1e-4
