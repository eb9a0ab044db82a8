"""Fused optimisers against the formulas of Adam and SGD, weight for weight, after every update."""

from typing import Any

import pytest
import torch
from torch import Tensor, optim

from cldf_core.agents import build_agent
from cldf_core.stream import make_steps
from samples import random_samples, tiny_options, train


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
