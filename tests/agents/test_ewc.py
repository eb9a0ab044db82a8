"""Online EWC against loops over single images and parameters, written from the papers."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cldf_core.agents import build_agent
from cldf_core.randomness import torch_generator
from cldf_core.resnet import Network
from cldf_core.stream import Step, make_steps
from samples import random_samples, same, state_of, tiny_options, train

SGD: dict[str, Any] = {"schedule": "constant", "optimiser": "sgd", "lr": 0.01, "momentum": 0.0, "weight_decay": 0.0}


def options(**changes: Any) -> Any:
    return tiny_options("ewc", "unused", **{"epochs": 1, "ewc_lambda": 30.0, "ewc_gamma": 0.7, **changes})


def steps_of(opts: Any, *counts: int) -> list[Step]:
    domains = [(f"d{d}", random_samples(n, d, first_number=50 * d)) for d, n in enumerate(counts)]
    return make_steps(domains, opts)


def slow_squares(network: Network, spectra: Tensor, draws: torch.Generator) -> list[Tensor]:
    """The sum over images of (d log p(y|x) / d theta)^2, y drawn from p(y|x): a tensor for each parameter, float64."""
    network = copy.deepcopy(network).double().eval()
    total = [torch.zeros_like(p) for p in network.parameters()]
    for x in spectra.double():
        network.zero_grad()
        logits = network(x[None])
        y = 1 if torch.rand((), generator=draws) < logits.softmax(1)[0, 1] else 0
        F.cross_entropy(logits, torch.tensor([y])).backward()
        for sums, p in zip(total, network.parameters(), strict=True):
            sums += p.grad**2
    return total


def by_parameter(network: Network, row: Tensor) -> list[Tensor]:
    sizes = [p.numel() for p in network.parameters()]
    return [part.view(p.shape) for part, p in zip(row.split(sizes), network.parameters(), strict=True)]


@pytest.mark.parametrize("chunks", [1, 2])
def test_updates_and_fisher_information_are_those_of_the_formulas(chunks):
    """F*_i = gamma F*_{i-1} + F_i, and plain SGD on CE + lambda / 2 sum gamma F*_{i-1} (theta - theta*_{i-1})^2."""
    opts = options(chunks=chunks, **SGD)
    learner, draws = build_agent(opts), torch_generator(opts.seed, "fisher")
    weights = list(learner.network.parameters())
    fisher, anchor = ([torch.zeros_like(p, dtype=torch.float64) for p in weights] for _ in range(2))
    sums, seen, pulls = [0.0] * len(weights), 0, []
    for step in steps_of(opts, 9, 8, 10):
        learner.begin_step(step)
        for batch in step.batches(opts.seed):
            twin = copy.deepcopy(learner.network).double().train()
            loss = F.cross_entropy(twin(batch.spectra.double()), batch.labels)
            loss.backward()
            value, want = loss.item(), []
            for p, f, a in zip(twin.parameters(), fisher, anchor, strict=True):
                value += 30 / 2 * (0.7 * f * (p.detach() - a) ** 2).sum().item()
                pull = 30 * 0.7 * f * (p.detach() - a)
                want.append(p.detach() - 0.01 * (p.grad + pull))
                pulls.append((step.index, pull.abs().max().item(), p.ndim))
            assert learner.observe(batch) == pytest.approx(value, abs=1e-4)
            for p, w in zip(weights, want, strict=True):
                torch.testing.assert_close(p.detach().double(), w, rtol=1e-4, atol=1e-5)
        before = state_of(learner.network)
        squares = slow_squares(learner.network, step.samples.read(), draws)
        sums, seen = [s + q for s, q in zip(sums, squares, strict=True)], seen + len(step.samples)
        learner.end_step(step)
        assert same(before, state_of(learner.network))
        assert learner.network.training
        if step.last:
            fisher = [0.7 * f + s / seen for f, s in zip(fisher, sums, strict=True)]
            anchor = [p.detach().double().clone() for p in weights]
            sums, seen = [0.0] * len(weights), 0
        for got, f in zip(by_parameter(learner.network, learner.fisher), fisher, strict=True):
            torch.testing.assert_close(got.double(), f, rtol=1e-3, atol=1e-3 * f.max().item())
        for got, a in zip(by_parameter(learner.network, learner.anchor), anchor, strict=True):
            assert torch.equal(got.double(), a) or step.index == 0
    assert {place for place, pull, _ in pulls if pull > 1e-3} == {1, 2}
    assert {ndim for _, pull, ndim in pulls if pull > 1e-3} == {1, 2, 4}  # BatchNorm's, the head's, the convolutions'


def test_the_heads_fisher_information_has_a_closed_form():
    """d log p_y / d W_k = (1[y = k] - p_k) features, and d log p_y / d b_k = 1[y = k] - p_k."""
    opts = options()
    learner, draws = build_agent(opts), torch_generator(opts.seed, "fisher")
    (step,) = steps_of(opts, 40)
    train(learner, [step])
    network = copy.deepcopy(learner.network).eval()
    with torch.no_grad():
        features = torch.cat([network.features(x[None]) for x in step.samples.read()]).double().numpy()
    W, b = (p.detach().double().numpy() for p in network.head.parameters())
    p = np.exp(features @ W.T + b)
    p /= p.sum(1, keepdims=True)
    y = np.array([float(torch.rand((), generator=draws)) for _ in p]) < p[:, 1]
    assert 0 < y.sum() < 40
    residual = np.eye(2)[y.astype(int)] - p
    of_weights, of_biases = by_parameter(learner.network, learner.fisher)[-2:]
    want = np.mean([np.outer(r, f) ** 2 for r, f in zip(residual, features, strict=True)], axis=0)
    np.testing.assert_allclose(of_weights.numpy(), want, rtol=1e-3, atol=1e-3 * want.max())
    np.testing.assert_allclose(of_biases.numpy(), (residual**2).mean(0), rtol=1e-3)


def test_the_labels_of_the_images_are_not_in_the_fisher_information():
    samples = random_samples(9)
    one, other = (build_agent(options()) for _ in range(2))
    flipped = replace(samples, labels=1 - samples.labels)
    assert torch.equal(one.squared_gradients(samples), other.squared_gradients(flipped))


def test_a_larger_lambda_holds_what_matters_nearer_and_none_is_plain_training():
    losses, moved = {}, {}
    for weight in (0.0, 1e5, 1e7):
        opts = options(ewc_lambda=weight, epochs=4)
        learner = build_agent(opts)
        first, second = steps_of(opts, 12, 12)
        losses[weight] = train(learner, [first])
        fisher, anchor = learner.fisher, learner.anchor
        losses[weight] += train(learner, [second])
        moved[weight] = float((fisher * (learner.anchor - anchor) ** 2).sum())
    assert moved[0.0] > 2 * moved[1e5] > 4 * moved[1e7] > 0
    plain = tiny_options("sequential", "unused", epochs=4)
    assert losses[0.0] == train(build_agent(plain), steps_of(plain, 12, 12))


def test_what_is_kept_are_two_numbers_for_each_parameter():
    learner = build_agent(options())
    count = sum(p.numel() for p in learner.network.parameters())
    train(learner, steps_of(learner.options, 5))
    assert learner.memory_bytes == 2 * 4 * count
    assert learner.memory is learner.teacher is None
