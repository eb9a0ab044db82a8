"""Memories of images to replay: what to keep (reservoir, balanced, herding) and what to retrieve (random, MIR).

A memory keeps 5000 images of 224 x 224 in 0.76 GB, whatever the network reads. All randomness comes from the
generator that is passed in.
"""

import contextlib
import functools
import operator
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from cldf_core.options import Options
from cldf_core.resnet import evaluating
from cldf_core.spectrum import mirror
from cldf_core.stream import PART, Batch, Samples

Packing = Literal["half", "full", "image"]


def packing_of(options: Options) -> Packing:
    """How a memory keeps what the network reads: as half planes, full planes, or pixels."""
    return options.plane if options.feature == "spectrum" else "image"


@dataclass(frozen=True)
class Packed:
    """Remembered images, unpacked when they are read.

    Half planes are kept in float16, full planes as their halves, pixels in 8 bits. The shape is that of the array that
    they came from, (N, C, H, columns).
    """

    stored: np.ndarray
    packing: Packing

    @staticmethod
    def pack(spectra: Tensor, packing: Packing) -> Tensor:
        """Packs spectra (or pixels in [-1, 1]) of shape (..., H, columns)."""
        if packing == "image":
            return ((spectra + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return (spectra[..., : spectra.shape[-1] // 2 + 1] if packing == "full" else spectra).half()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all images, unpacked."""
        *rest, columns = self.stored.shape
        return (*rest, 2 * (columns - 1) if self.packing == "full" else columns)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Unpacks the images of some rows, float32."""
        stored = self.stored[rows].astype(np.float32)
        if self.packing == "image":
            return stored / np.float32(127.5) - 1
        return mirror(stored) if self.packing == "full" else stored


class Memory:
    """Up to `capacity` remembered images, each in a slot, and packed (see `Packed`).

    Attributes:
        spectra: as stored, float16 or uint8, shape (capacity, C, H, W); made when the first image arrives.
        labels, domains, numbers: int64, shape (capacity,).
        size: slots in use; they are the first ones.
        changes: how often spectra were written; where the number is the same, so are they.
    """

    def __init__(self, capacity: int, packing: Packing = "half") -> None:
        self.capacity = capacity
        self.packing: Packing = packing
        self.size = self.changes = 0
        self.spectra = torch.empty(0, dtype=torch.float16)
        self.labels = torch.zeros(capacity, dtype=torch.int64)
        self.domains = torch.zeros(capacity, dtype=torch.int64)
        self.numbers = torch.zeros(capacity, dtype=torch.int64)

    def __len__(self) -> int:
        return self.size

    @property
    def nbytes(self) -> int:
        """The bytes that the remembered spectra occupy."""
        return self.spectra[: self.size].nbytes

    def put(self, slot: int, batch: Batch, row: int) -> None:
        """Writes one image of a batch into a slot."""
        self._write(slice(slot, slot + 1), batch.spectra[row : row + 1])
        for name in ("labels", "domains", "numbers"):
            getattr(self, name)[slot] = getattr(batch, name)[row]
        self.size = max(self.size, slot + 1)

    def _write(self, slots: slice, spectra: Tensor) -> None:
        self.changes += 1
        packed = Packed.pack(spectra, self.packing)
        if not len(self.spectra):
            self._make_room(packed)
        self.spectra[slots] = packed

    def _make_room(self, like: Tensor) -> None:
        # numpy's zeros take no memory until they are written to.
        self.spectra = torch.from_numpy(np.zeros((self.capacity, *like.shape[1:]), like.numpy().dtype))

    def take(self, slots: Tensor, epoch: int = 0) -> Batch:
        """Reads the images in the slots, spectra as float32."""
        spectra = torch.from_numpy(Packed(self.spectra.numpy(), self.packing)[slots.numpy()])
        return Batch(spectra, self.labels[slots], self.domains[slots], self.numbers[slots], epoch)

    def samples(self) -> Samples:
        """All remembered images as samples to train on."""
        where = np.stack([np.zeros(self.size, np.int64), np.arange(self.size)], axis=1)
        what = [part[: self.size].numpy().copy() for part in (self.labels, self.domains, self.numbers)]
        return Samples((Packed(self.spectra.numpy(), self.packing),), where, *what)

    def replace(self, samples: Samples) -> None:
        """Forgets everything and keeps these samples instead, at most `capacity`."""
        self.spectra, self.size = self.spectra[:0], len(samples)  # the samples may still lie in the old array
        for start, part in zip(range(0, len(samples), PART), samples.parts(), strict=True):
            self._write(slice(start, start + len(part)), part)
        for name in ("labels", "domains", "numbers"):
            getattr(self, name)[: self.size] = torch.from_numpy(getattr(samples, name))

    def state_dict(self) -> dict[str, Any]:
        """Everything as tensors and numbers, not copied where it can be; of the spectra only the slots in use."""
        part = self.spectra[: self.size]
        return {**vars(self), "spectra": part if self.size == len(self.spectra) else part.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name in vars(self):
            setattr(self, name, state[name])
        if len(state["spectra"]):
            self._make_room(state["spectra"])
            self.spectra[: self.size] = state["spectra"]


class Exemplars(Memory):
    """iCaRL's memory: every class has an even share of the slots, filled by herding or at random."""

    def choose(
        self, new: Samples, domain: int, features: Callable[[Samples], Tensor], generator: Generator | None = None
    ) -> None:
        """Shortens the exemplars of earlier domains, and chooses this domain's from a new chunk and its old exemplars.

        With `domain`, its place in the stream, capacity / (2 (domain + 1)) exemplars are kept per class. `features`
        returns the L2-normalised features of samples, shape (N, D), for herding; a generator draws at random instead.

        Source: Rebuffi et al., CVPR 2017, algorithms 4 and 5.
        """
        quota = self.capacity // (2 * (domain + 1))
        old = self.samples() if len(self) else None
        parts = [old[at[:quota]] for at in old.by_class().values() if old.domains[at[0]] != domain] if old else []
        # This domain's exemplars stand for its earlier chunks in the new choice.
        candidates = new + old[old.domains == domain] if old else new
        for at in candidates.by_class().values():
            if generator is None:
                order = herding(features(candidates[at]), quota)
            else:
                order = torch.randperm(len(at), generator=generator)[:quota]
            parts.append(candidates[at[order.numpy()]])
        self.replace(functools.reduce(operator.add, parts))


class Reservoir(Memory):
    """Keeps each image ever offered with the same probability, capacity / n_seen.

    With `counting` "image" this is algorithm R. With "batch", as in the original, all slots of a batch are drawn with
    the n_seen from before it, so its images stay with too high a probability.

    Source: Vitter, "Random sampling with a reservoir", ACM TOMS 1985, algorithm R.
    """

    def __init__(self, capacity: int, packing: Packing = "half", counting: str = "image") -> None:
        super().__init__(capacity, packing)
        self.counting = counting
        self.n_seen = 0

    def offer(self, batch: Batch, generator: Generator) -> dict[int, int]:
        """Offers each image of the batch, and returns the slots that were written, each with its image's row.

        Call it once for each image, not once in each epoch.
        """
        written = {}
        count = len(batch.labels)
        before = max(self.n_seen, self.capacity)  # the original counts those of the batch that still fit
        drawn = (torch.rand(count, generator=generator) * before).long() if self.counting == "batch" else None
        for row in range(count):
            slot = self.n_seen
            if slot >= self.capacity:
                slot = int(torch.randint(slot + 1, (), generator=generator) if drawn is None else drawn[row])
            self.n_seen += 1
            if slot < self.capacity:
                self.put(slot, batch, row)
                written[slot] = row
        return written


class Balanced(Memory):
    """GDumb's greedy balanced sampler over the groups (domain, class).

    It takes an image while the image's group holds fewer than capacity / number of groups; when the memory is full, a
    random image of the largest group makes room. With `by` "class", as in the original, two groups of half the slots
    are soon full, and nothing comes in any more: a group that was met counts, even where none of its images is left.

    Source: Prabhu, Torr & Dokania, "GDumb", ECCV 2020, algorithm 1.
    """

    def __init__(self, capacity: int, packing: Packing = "half", by: str = "domain-and-class") -> None:
        super().__init__(capacity, packing)
        self.by = by
        self.groups: list[int] = []  # those that were met

    def offer(self, batch: Batch, generator: Generator) -> None:
        """Offers each image of the batch, in order."""
        factor = 2 if self.by == "domain-and-class" else 0
        groups = (factor * self.domains + self.labels)[: self.size].tolist()  # one for each slot in use
        counts = Counter({**dict.fromkeys(self.groups, 0), **Counter(groups)})
        for row, group in enumerate((factor * batch.domains + batch.labels).tolist()):
            quota = self.capacity / len(counts.keys() | {group})
            if group in counts and counts[group] >= (quota if factor else int(quota)):  # the original rounds down
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
        self.groups = list(counts)


def herding(features: Tensor, count: int) -> Tensor:
    """Chooses exemplars one by one, so that their mean stays as close as possible to the mean of all.

    Of L2-normalised features, shape (N, D), it gives int64 indices, shape (min(count, N),), the most important first.

    Source: Rebuffi et al., "iCaRL", CVPR 2017, algorithm 4, equation (4); Welling, ICML 2009.

    >>> herding(torch.tensor([[0.0], [1.0], [5.0]]), 2)  # the mean is 2: first 1, then 1 and 5, whose mean is 3
    tensor([1, 2])
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
    memory: Memory,
    count: int,
    generator: Generator,
    *,
    exclude_domain: int | None = None,
    exclude_slots: Collection[int] = (),
) -> Tensor:
    """Draws up to `count` different slots at random, except excluded slots and those of an excluded domain.

    The slots are int64, shape (n,), with n = 0 if none is eligible.
    """
    eligible = torch.arange(memory.size)
    if exclude_domain is not None:
        eligible = eligible[memory.domains[: memory.size] != exclude_domain]
    if exclude_slots:
        eligible = eligible[~torch.isin(eligible, torch.tensor(sorted(exclude_slots)))]
    order = torch.randperm(len(eligible), generator=generator)
    return eligible[order[:count]]


def loss_rises(
    network: nn.Module, weights: Mapping[str, Tensor], candidates: Tensor, labels: Tensor, *, moving: bool = False
) -> Tensor:
    """How much each candidate's loss would rise if the network had these weights, shape (c,).

    Candidates are scored with BatchNorm's running statistics, and the network stays as it is, unless `moving`.

    Args:
        network: in training mode.
        weights: by their names in the network, such as those after a virtual step.
        candidates: spectra, shape (c, C, H, W); their labels are int64, (c,).
        moving: scores candidates in training mode, as the original does, which moves the network's statistics.

    Source: Aljundi et al., "Online continual learning with maximally interfered retrieval", NeurIPS 2019, section 3.1.
    """
    with torch.no_grad(), contextlib.nullcontext() if moving else evaluating(network):
        parts = candidates.split(len(candidates) if moving else PART)  # training mode normalises all together
        before = torch.cat([network(part) for part in parts])
        statistics = {name: b.clone() for name, b in network.named_buffers()} if moving else {}
        after = torch.cat([functional_call(network, {**weights, **statistics}, (part,)) for part in parts])
        losses = [F.cross_entropy(logits, labels, reduction="none") for logits in (before, after)]
    return losses[1] - losses[0]
