"""The experiment's protocol: train a step, then test on every domain, trained or not.

It writes nothing: it yields what happened, and `runs` keeps it. Started from a later place, within a step or before it,
with an agent whose state was restored, it goes on as if it had never stopped.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from cldf_core.agents import Agent
from cldf_core.stream import Samples, Step


@dataclass
class Place:
    """How far a run is: the steps that are done, and what is done of the next one.

    Attributes:
        part, batches: the part of the step (see `Agent.parts`) that is gone through, and how many of its batches are
            done; 0 of them, and the part has not begun.
        losses: of the batches of the step's first part, epoch by epoch; NaN where an agent has none.
        seconds: that the step has taken (see `StepResult`).
        images: what the agent had been trained on before the step.
    """

    steps: int = 0
    part: int = 0
    batches: int = 0
    losses: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    images: int = 0

    def finish_step(self, images: int) -> None:
        """Moves on to the beginning of the next step; so many images the agent has been trained on by now."""
        self.steps, self.part, self.batches = self.steps + 1, 0, 0
        self.losses, self.seconds, self.images = [], 0.0, images


@dataclass(frozen=True)
class StepResult:
    """What one step resulted in.

    Attributes:
        logits: for each test set, the logit of fake of each image, float64 (N,).
        losses: mean training loss of each epoch; NaN where an agent has none.
        seconds: that the processor spent on training and testing: those of one thread or, where a run has several or
            a GPU, of the whole process. Other programs make them no longer, unlike those of a clock.
        images: how many images the network was trained on, counting replayed ones and repeats.
    """

    step: Step
    logits: Mapping[str, np.ndarray]
    losses: list[float]
    seconds: float
    images: int


def score_samples(score: Callable[[Tensor], np.ndarray], samples: Samples) -> np.ndarray:
    """Logits of fake, float64 (N,), of samples of any number, read part by part; `score` is such as `Agent.score`."""
    logits, done = np.empty(len(samples)), 0
    for part in samples.parts():  # each part's own array, if kept, would keep the memory around it from use again
        logits[done : done + len(part)] = score(part)
        done += len(part)
    return logits


def train_and_test(
    agent: Agent,
    steps: Sequence[Step],
    tests: Mapping[str, Samples],
    *,
    seed: int,
    place: Place | None = None,
    advance: Callable[[str, int], None] | None = None,
    after_batch: Callable[[], None] | None = None,
    after_epoch: Callable[[float], None] | None = None,
) -> Iterator[StepResult]:
    """Trains the agent step by step; tests it on every set after the last chunk of each domain.

    It yields one `StepResult` per step; `logits` is empty after a chunk that is not its domain's last.

    Args:
        steps: from `stream.make_steps`.
        tests: name and images of each test set, all of one domain: its place in the stream (-1 for a domain that is not
            in it) is in the samples, and an agent that is to be told of it is told.
        seed: of the order of images.
        place: where the agent, whose state it belongs to, goes on; it moves on with the run. By default the beginning.
        advance: called after each batch, to move a progress bar, with the agent, domain and epoch in words, and by how
            many batches the step turns out to be longer than `Step.updates` (0 but for the first of a part).
        after_batch: called after each batch, when agent and place are what the run could go on from.
        after_epoch: called after each epoch that has batches with its mean training loss, NaN where an agent has none.
    """
    place, o = place or Place(), agent.options
    clock = time.thread_time if o.threads == 1 and o.device == "cpu" else time.process_time
    longer = 0
    for step in steps[place.steps :]:
        since, ahead = clock() - place.seconds, step.updates
        for part, training in enumerate(agent.parts(step)):
            if part < place.part:
                continue
            if not place.batches:
                agent.begin_step(training)
                place.losses = place.losses if part else [[] for _ in range(training.epochs)]
            longer, ahead = longer + training.updates - place.batches - ahead, 0
            for batch in training.batches(seed, place.batches):
                loss = agent.observe(batch)
                place.batches += 1
                place.seconds = clock() - since
                if not part:
                    place.losses[batch.epoch].append(loss)
                    if after_epoch and len(place.losses[batch.epoch]) == training.updates // training.epochs:
                        after_epoch(float(np.mean(place.losses[batch.epoch])))
                if advance:
                    advance(f"{o.agent}: {training.name}, epoch {batch.epoch + 1}", longer)
                    longer = 0
                if after_batch:
                    after_batch()
            place.part, place.batches = part + 1, 0
        agent.end_step(step)
        logits = {}
        for name, samples in tests.items() if step.last else ():
            logits[name] = score_samples(agent.scorer(int(samples.domains[0]) if len(samples) else -1), samples)
        means = [float(np.mean(epoch)) if epoch else float("nan") for epoch in place.losses]
        images, seconds = agent.images - place.images, clock() - since
        place.finish_step(agent.images)
        yield StepResult(step, logits, means, seconds, images)
