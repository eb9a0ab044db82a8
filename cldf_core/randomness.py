"""Random streams: each purpose has its own, spawned from the seed of a run, so that no draw repeats or moves another.

A stream is told by its seed, its purpose and whatever numbers or names say which one of its kind it is, such as the
domain's place. How long the stream of domains is, or what was drawn for anything else before, changes nothing in it.

Splits of data sets and the embedded benchmark are data: they have seeds of their own, which stay as they are.

Source: numpy's SeedSequence and its spawn keys, "Parallel random number generation" in numpy's manual. A plain list of
numbers will not do: `default_rng([3, 1])` and `default_rng([3, 1, 0])` are the same stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# What is random, and which one of its kind: an agent of one's own may have further purposes.
PURPOSES = {
    "validation": "training groups that become validation images; by domain",
    "limit": "training images of each class that a limit keeps; by place of the domain",
    "corruption": "noise and occlusion of training images; by image",
    "robustness": "noise of test images; by image",
    "shuffle": "the order of a domain before it is cut into chunks; by place of the domain",
    "order": "the order of a step's images; by place of the domain and chunk",
    "weights": "first weights of networks, and of outputs that are added",
    "memory": "which images a memory keeps",
    "replay": "which remembered images are retrieved",
    "refit": "the order in which GDumb trains on its memory; by place of the domain and chunk",
    "fisher": "labels that EWC draws from its network's outputs",
    "folds": "groups of a baseline's cross-validation",
    "bootstrap": "resamples of groups",
    "trials": "values of options that are tried before one is chosen; by agent",
    "illustration": "what a notebook draws to show something; by notebook",
}


def seed_sequence(seed: int, purpose: str, *which: int | str) -> np.random.SeedSequence:
    """What the stream of a purpose springs from; `which` are numbers from 0, or names, which count by a hash."""
    return np.random.SeedSequence(seed, spawn_key=[_number(part) for part in (purpose, *which)])


def generator(seed: int, purpose: str, *which: int | str) -> np.random.Generator:
    """The stream of a purpose, at its beginning; arguments as for `seed_sequence`."""
    return np.random.default_rng(seed_sequence(seed, purpose, *which))


def torch_generator(seed: int, purpose: str, *which: int | str) -> torch.Generator:
    """As `generator`, for torch, whose streams on a CPU are told apart by 32 bits."""
    import torch

    return torch.Generator().manual_seed(int(seed_sequence(seed, purpose, *which).generate_state(1)[0]))


class Generators:
    """A torch generator for each purpose, which begins when it is first asked for and then goes on."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.by_purpose: dict[str, torch.Generator] = {}

    def __call__(self, purpose: str) -> torch.Generator:
        """The generator of a purpose."""
        if purpose not in self.by_purpose:
            self.by_purpose[purpose] = torch_generator(self.seed, purpose)
        return self.by_purpose[purpose]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """How far each of them is."""
        return {purpose: generator.get_state() for purpose, generator in self.by_purpose.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Goes on from what `state_dict` returned."""
        for purpose, reached in state.items():
            self(purpose).set_state(reached)


def _number(part: int | str) -> int:
    return int.from_bytes(hashlib.sha256(part.encode()).digest()[:16], "big") if isinstance(part, str) else part
