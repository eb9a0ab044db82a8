"""A stream in the plane, small enough to be watched: points instead of spectra, and the package's own agents.

In each domain real points lie on one side of a line and fake ones on the other; the next domain is beside it, and there
the sides are the other way round. One network of two layers can learn them all, if it sees them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from cldf_core.agents import AGENTS
from cldf_core.agents.base import Agent
from cldf_core.buffers import Memory
from cldf_core.options import checked
from cldf_core.protocol import Place, train_and_test
from cldf_core.randomness import generator
from cldf_core.resnet import Network
from cldf_core.stream import Samples, make_steps

DOMAINS = ("left", "middle", "right")
WATCHED = ("sequential", "joint", "er", "lwf")
REACH = 3.2  # the square that is looked at goes from -REACH to REACH
GRID = 40  # places in each direction at which P(fake) is computed
MOMENTS = 30  # of each step that are kept
_HIDDEN = 64  # units of the first layer
_OPTIONS: dict[str, Any] = {"stream": list(DOMAINS), "unseen": [], "epochs": 4, "batch": 10, "lr": 0.03}
_OPTIONS |= {"schedule": "constant", "weight_decay": 0.0, "memory": 30, "replay": 20}


class PointNetwork(Network):
    """Two layers for points (N, 2, 1, 1): a hidden one, whose outputs are the features, and the head."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(2, _HIDDEN), nn.ReLU()), _HIDDEN, outputs)

    def features(self, spectra: Tensor) -> Tensor:
        """Shape (N, 2, 1, 1) to (N, 64)."""
        return self.body(spectra)


class _OnPoints(Agent):
    """What any agent has instead of a residual network."""

    def fresh_network(self, *, outputs: int = 2) -> Network:
        """Two layers with new weights, drawn for the purpose "weights"."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_drawn(self.generator("weights")))
            return PointNetwork(outputs)


@dataclass(frozen=True)
class History:
    """An agent on its way through the stream, at M moments, MOMENTS of each step.

    Attributes:
        fake: P(fake) on a grid, shape (M, GRID, GRID), rows from the lowest y up.
        accuracy: on test points of each domain, shape (M, domains).
        memory: what it keeps at each moment: x, y, label and domain of each point, shape (points, 4).
    """

    fake: np.ndarray
    accuracy: np.ndarray
    memory: list[np.ndarray]


def draw_points(seed: int, purpose: str, domain: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a domain, float32 (count, 2, 1, 1), and their labels, half of them fake (1)."""
    rng, labels = generator(seed, "illustration", "03 points", purpose, domain), np.arange(count) % 2
    side = np.where(labels == 1, 1, -1) * (-1) ** domain
    middles = np.stack([np.full(count, 2.0 * (domain - 1)), 1.1 * side], axis=1)
    return (middles + rng.normal(0, 0.38, (count, 2))).astype(np.float32)[:, :, None, None], labels


def learn(agent: str, seed: int = 0, *, points: int = 120, **changes: Any) -> History:
    """Lets an agent of the package learn the stream of points, and looks at it after its batches.

    Of each step MOMENTS moments are kept, evenly, the last batch included. So agents whose steps have different numbers
    of batches (joint training's grow) can be laid side by side.

    Args:
        points: training points of each domain.
        changes: options of the agent, where they are not those of this module.
    """
    options = checked({**_OPTIONS, "agent": agent, "seed": seed, **changes}, where="points")
    learner = type(agent, (_OnPoints, AGENTS[agent]), {})(options)
    domains = [(name, _samples(seed, "train", place, points)) for place, name in enumerate(DOMAINS)]
    tests = [draw_points(seed, "test", place, points) for place in range(len(DOMAINS))]
    asked = torch.from_numpy(np.concatenate([_grid(), *(where for where, _ in tests)]))
    truth = np.stack([labels for _, labels in tests])
    place, seen = Place(), [list[tuple[np.ndarray, np.ndarray, np.ndarray]]() for _ in DOMAINS]

    def look() -> None:
        logits = learner.score(asked)
        fake = torch.from_numpy(logits[: GRID**2]).sigmoid().numpy().reshape(GRID, GRID)
        right = (logits[GRID**2 :].reshape(truth.shape) >= 0) == truth
        seen[place.steps].append((fake, right.mean(1), _content(learner.memory)))

    for _ in train_and_test(learner, make_steps(domains, options), {}, seed=seed, place=place, after_batch=look):
        pass
    kept = [own[k] for own in seen for k in evenly(len(own), MOMENTS)]
    return History(np.stack([k[0] for k in kept]), np.stack([k[1] for k in kept]), [k[2] for k in kept])


def learn_all(agents: Sequence[str] = WATCHED, seed: int = 0) -> dict[str, History]:
    """The histories of some agents, by their names."""
    return {agent: learn(agent, seed) for agent in agents}


def evenly(count: int, wanted: int) -> np.ndarray:
    """Places of so many of `count` things, evenly, the last included; some come twice where there are too few."""
    return np.ceil(np.arange(1, wanted + 1) * count / wanted).astype(int) - 1


def _samples(seed: int, purpose: str, domain: int, count: int) -> Samples:
    points, labels = draw_points(seed, purpose, domain, count)
    return Samples.from_array(points, labels, domain, first_number=domain * count)


def _grid() -> np.ndarray:
    y, x = np.meshgrid(*[np.linspace(-REACH, REACH, GRID, dtype=np.float32)] * 2, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)[:, :, None, None]


def _content(memory: Memory | None) -> np.ndarray:
    if memory is None or not len(memory):
        return np.empty((0, 4))
    held = memory.samples()
    return np.column_stack([held.read().flatten(1).numpy(), held.labels, held.domains])


def _drawn(own: Generator) -> int:
    return int(torch.randint(2**31, (), generator=own))
