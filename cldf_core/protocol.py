"""The experiment's protocol: train a step, then test on every domain, trained or not.

It writes nothing: it yields what happened, and `runs` keeps it. Started from a later step, with an agent whose state
was restored, it goes on as if it had never stopped.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cldf_core.agents import Agent
from cldf_core.stream import Samples, Step


@dataclass(frozen=True)
class StepResult:
    """What one step resulted in.

    Attributes:
        logits: for each test set, the logit of fake of each image, float64 (N,).
        losses: mean training loss of each epoch; NaN where an agent has none.
        seconds: of training and testing.
        images: how many images the network was trained on, counting replayed ones and repeats.
    """

    step: Step
    logits: Mapping[str, np.ndarray]
    losses: list[float]
    seconds: float
    images: int


def score_samples(score: Callable[[Tensor], np.ndarray], samples: Samples) -> np.ndarray:
    """Logits of fake, float64 (N,), of samples of any number, read part by part; `score` is such as `Agent.score`."""
    return np.concatenate([np.empty(0), *map(score, samples.parts())])


def train_and_test(
    agent: Agent,
    steps: Sequence[Step],
    tests: Mapping[str, Samples],
    *,
    seed: int,
    after: int = 0,
    advance: Callable[[str], None] | None = None,
    after_epoch: Callable[[float], None] | None = None,
) -> Iterator[StepResult]:
    """Trains the agent step by step; tests it on every set after the last chunk of each domain.

    It yields one `StepResult` per step; `logits` is empty after a chunk that is not its domain's last.

    Args:
        steps: from `stream.make_steps`.
        tests: name and images of each test set.
        seed: of the order of images.
        after: how many steps were done before; the agent's state is the one after them.
        advance: called after each batch with the agent, domain and epoch in words, to move a progress bar.
        after_epoch: called after each epoch that has batches with its mean training loss, NaN where an agent has none.
    """
    for step in steps[after:]:
        started, images = time.perf_counter(), agent.images
        training = agent.begin_step(step)
        losses: list[list[float]] = [[] for _ in range(training.epochs)]
        for batch in training.batches(seed):
            losses[batch.epoch].append(agent.observe(batch))
            if advance:
                advance(f"{agent.options.agent}: {step.name}, epoch {batch.epoch + 1}")
            if after_epoch and len(losses[batch.epoch]) == training.updates // training.epochs:
                after_epoch(float(np.mean(losses[batch.epoch])))
        agent.end_step(step)
        logits = {name: score_samples(agent.score, samples) for name, samples in tests.items()} if step.last else {}
        means = [float(np.mean(epoch)) if epoch else float("nan") for epoch in losses]
        yield StepResult(step, logits, means, time.perf_counter() - started, agent.images - images)
