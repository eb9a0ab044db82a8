"""Memories of replayed images: what to keep (reservoir, balanced, herding) and what to take (random, MIR).

A memory keeps spectra in float16, 5000 of 224 x 224 in 0.76 GB. All randomness comes from the
generator that is passed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from cldf_core.resnet import frozen
from cldf_core.stream import Batch, Samples


class Memory:
    """Up to `capacity` remembered images, each in a slot.

    Args:
        capacity: number of slots.

    Attributes:
        spectra: float16, shape (capacity, C, H, W); made when the first image arrives.
        labels, domains, numbers: int64, shape (capacity,).
        size: slots in use; they are the first ones.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self.spectra = torch.empty(0, dtype=torch.float16)
        self.labels = torch.zeros(capacity, dtype=torch.int64)
        self.domains = torch.zeros(capacity, dtype=torch.int64)
        self.numbers = torch.zeros(capacity, dtype=torch.int64)

    def __len__(self) -> int:
        return self.size

    @property
    def nbytes(self) -> int:
        """Bytes that the remembered spectra occupy."""
        return self.spectra.nbytes

    def put(self, slot: int, batch: Batch, row: int) -> None:
        """Writes one image of a batch into a slot."""
        if not len(self.spectra):
            self.spectra = torch.zeros((self.capacity, *batch.spectra.shape[1:]), dtype=torch.float16)
        self.spectra[slot] = batch.spectra[row]
        self.labels[slot], self.domains[slot] = batch.labels[row], batch.domains[row]
        self.numbers[slot] = batch.numbers[row]
        self.size = max(self.size, slot + 1)

    def take(self, slots: Tensor, epoch: int = 0) -> Batch:
        """The images in the slots, spectra as float32."""
        return Batch(self.spectra[slots].float(), self.labels[slots], self.domains[slots], self.numbers[slots], epoch)

    def samples(self) -> Samples:
        """All remembered images, as samples to train on."""
        rows = np.stack([np.zeros(self.size, np.int64), np.arange(self.size)], axis=1)
        used = slice(self.size)
        return Samples(
            (self.spectra.numpy(),),
            rows,
            self.labels[used].numpy().copy(),
            self.domains[used].numpy().copy(),
            self.numbers[used].numpy().copy(),
        )

    def replace(self, samples: Samples) -> None:
        """Forgets everything and keeps these samples instead, at most `capacity`."""
        spectra = samples.read().half()
        self.size = len(samples)
        self.spectra = spectra
        self.labels[: self.size] = torch.from_numpy(samples.labels)
        self.domains[: self.size] = torch.from_numpy(samples.domains)
        self.numbers[: self.size] = torch.from_numpy(samples.numbers)

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors and numbers."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        for name in vars(self):
            setattr(self, name, state[name])


class Reservoir(Memory):
    """Keeps each image ever offered with the same probability, capacity / n_seen.

    Source: Vitter, "Random sampling with a reservoir", ACM TOMS 1985, algorithm R.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.n_seen = 0

    def offer(self, batch: Batch, generator: torch.Generator) -> None:
        """Offers each image of the batch; to be called once per image, not once per epoch."""
        for row in range(len(batch.labels)):
            slot = self.n_seen
            if slot >= self.capacity:
                slot = int(torch.randint(self.n_seen + 1, (), generator=generator))
            self.n_seen += 1
            if slot < self.capacity:
                self.put(slot, batch, row)


class Balanced(Memory):
    """GDumb's greedy balanced sampler over the groups (domain, class).

    An image is taken while its group holds fewer than capacity / number of groups; when the memory is
    full, a random image of the largest group makes room.

    Source: Prabhu, Torr & Dokania, "GDumb", ECCV 2020, algorithm 1.
    """

    def offer(self, batch: Batch, generator: torch.Generator) -> None:
        """Offers each image of the batch, in order."""
        groups = (2 * self.domains + self.labels)[: self.size].tolist()  # one for each slot in use
        counts = Counter(groups)
        for row, group in enumerate((2 * batch.domains + batch.labels).tolist()):
            if counts[group] >= self.capacity / len(counts.keys() | {group}):
                continue
            slot = self.size
            if slot == self.capacity:
                largest = max(counts, key=lambda g: (counts[g], -g))
                slots = [at for at, g in enumerate(groups) if g == largest]
                slot = slots[int(torch.randint(len(slots), (), generator=generator))]
                counts[largest] -= 1
            self.put(slot, batch, row)
            groups[slot : slot + 1] = [group]
            counts[group] += 1


def herding(features: Tensor, count: int) -> Tensor:
    """The order in which exemplars are chosen so that their mean stays closest to the mean of all.

    Args:
        features: L2-normalised, shape (N, D).
        count: how many to choose, at most N are.

    Returns:
        int64 indices, shape (min(count, N),), the most important first.

    Source: Rebuffi et al., "iCaRL", CVPR 2017, algorithm 4, equation (4); Welling, ICML 2009.
    """
    features = features.double()
    mean = features.mean(0)
    total = torch.zeros_like(mean)
    left = torch.ones(len(features), dtype=torch.bool)
    chosen: list[int] = []
    for k in range(1, min(count, len(features)) + 1):
        distance = (mean - (total + features) / k).square().sum(1)
        best = int(distance.masked_fill(~left, torch.inf).argmin())
        chosen.append(best)
        left[best] = False
        total += features[best]
    return torch.tensor(chosen, dtype=torch.int64)


def retrieve_random(
    memory: Memory, count: int, generator: torch.Generator, *, exclude_domain: int | None = None
) -> Tensor:
    """Up to `count` different slots drawn at random, of images from other domains than the excluded one.

    Returns:
        int64 slots, shape (n,) with n = 0 when nothing is eligible.
    """
    eligible = torch.arange(memory.size)
    if exclude_domain is not None:
        eligible = eligible[memory.domains[: memory.size] != exclude_domain]
    order = torch.randperm(len(eligible), generator=generator)
    return eligible[order[:count]]


def mir_ranking(
    network: nn.Module, incoming: Tensor, labels: Tensor, candidates: Tensor, candidate_labels: Tensor, lr: float
) -> Tensor:
    """Candidates ordered by how much a virtual step on the incoming batch would raise their loss.

    The virtual step is plain SGD, theta' = theta - lr * gradient of the incoming mean loss. The incoming
    gradient is that of training mode; candidates are scored with BatchNorm's running statistics. Neither
    the network nor its statistics change.

    Args:
        network: in training mode.
        incoming, candidates: spectra, shapes (n, C, H, W) and (c, C, H, W).
        labels, candidate_labels: int64, shapes (n,) and (c,).
        lr: the optimiser's learning rate.

    Returns:
        int64, shape (c,), the candidate whose loss rises most first.

    Source: Aljundi et al., "Online continual learning with maximally interfered retrieval", NeurIPS 2019,
    section 3.1.
    """
    parameters = {name: p.detach().requires_grad_() for name, p in network.named_parameters()}
    # Training mode moves the statistics it is given, so it gets copies.
    statistics = {name: b.clone() for name, b in network.named_buffers()}
    loss = F.cross_entropy(functional_call(network, (parameters, statistics), (incoming,)), labels)
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    with torch.no_grad(), frozen(network):
        virtual = {name: p - lr * g for (name, p), g in zip(parameters.items(), gradients, strict=True)}
        before = F.cross_entropy(network(candidates), candidate_labels, reduction="none")
        after = F.cross_entropy(functional_call(network, virtual, (candidates,)), candidate_labels, reduction="none")
    return torch.argsort(after - before, descending=True, stable=True)
