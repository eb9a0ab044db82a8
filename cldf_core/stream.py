"""Domains → steps → chunks → batches: the order in which an agent sees the images.

Every order is seeded by numbers that are passed in, so step 3 sees the same batches whether or not steps 1 and 2 ran in
this process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from cldf_core.options import Options
from cldf_core.randomness import generator

PART = 64  # spectra scored at once: activations of more do not stay in the processor's cache
AHEAD = 4  # parts that are asked for before they are read


class Rows(Protocol):
    """Anything that gives spectra by their rows: an array, a memory-mapped file, a packed memory.

    What computes them from image files has a method `ask` besides, which takes rows that are read later.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all rows."""

    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Samples:
    """Labelled spectra that lie in one or several arrays (files, memories) and are read only when they are needed.

    Attributes:
        arrays: each of shape (n_i, C, H, W), for example memory-mapped files, or packed memories.
        where: int64 (N, 2), for each sample the array and the row in it.
        labels, domains, numbers: int64 (N,): 0 = real and 1 = fake; the domain's place in the stream, -1 outside it; a
            number that is the image's own in the stream.
    """

    arrays: tuple[Rows, ...]
    where: np.ndarray
    labels: np.ndarray
    domains: np.ndarray
    numbers: np.ndarray

    @classmethod
    def from_array(
        cls, spectra: Rows, labels: ArrayLike, domain: int = 0, first_number: int = 0, rows: ArrayLike | None = None
    ) -> Samples:
        """Samples of one domain: some rows of one array, by default all."""
        rows = np.arange(spectra.shape[0]) if rows is None else np.asarray(rows, np.int64)
        classes = np.asarray(labels, np.int64)
        if len(classes) != len(rows):
            raise ValueError(f"{len(classes)} labels for {len(rows)} spectra")
        where = np.stack([np.zeros(len(rows), np.int64), rows], axis=1)
        return cls((spectra,), where, classes, np.full(len(rows), domain), first_number + np.arange(len(rows)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: np.ndarray) -> Samples:
        """The chosen samples (indices or mask), still unread."""
        return Samples(self.arrays, self.where[chosen], self.labels[chosen], self.domains[chosen], self.numbers[chosen])

    def __add__(self, other: Samples) -> Samples:
        where = np.concatenate([self.where, other.where + [len(self.arrays), 0]])
        parts = [(getattr(self, n), getattr(other, n)) for n in ("labels", "domains", "numbers")]
        return Samples(self.arrays + other.arrays, where, *(np.concatenate(part) for part in parts))

    def batch(self, epoch: int = 0) -> Batch:
        """Reads all samples as one batch."""
        labels, domains, numbers = map(torch.from_numpy, (self.labels, self.domains, self.numbers))
        return Batch(self.read(), labels, domains, numbers, epoch)

    def by_class(self) -> dict[int, np.ndarray]:
        """Indices of each class 2 * domain + label that occurs, in the samples' order."""
        classes = 2 * self.domains + self.labels
        return {int(c): np.flatnonzero(classes == c) for c in np.unique(classes)}

    def parts(self, size: int = PART) -> Iterator[Tensor]:
        """Reads all spectra in their order, part by part."""
        parts = (self[np.arange(start, min(start + size, len(self)))] for start in range(0, len(self), size))
        return (part.read() for part in _asked_ahead(parts))

    def ask(self) -> None:
        """Begins to compute what has to be computed before it can be read."""
        for source, array in enumerate(self.arrays):
            if (ask := getattr(array, "ask", None)) and (at := self.where[:, 0] == source).any():
                ask(self.where[at, 1])

    def read(self) -> Tensor:
        """Reads all spectra as float32, shape (n, C, H, W)."""
        where = self.where
        out = torch.empty((len(where), *self.arrays[0].shape[1:]))
        for source in np.unique(where[:, 0]):
            at = where[:, 0] == source
            # torch turns float16 into float32 five times as fast as numpy.
            out[torch.from_numpy(at)] = torch.from_numpy(self.arrays[source][where[at, 1]]).float()
        return out


def _asked_ahead(parts: Iterable[Samples]) -> Iterator[Samples]:
    """The parts, each of which is asked for while those before it are worked on."""
    asked = deque[Samples]()
    for part in parts:
        part.ask()
        asked.append(part)
        if len(asked) > AHEAD:
            yield asked.popleft()
    yield from asked


@dataclass(frozen=True)
class Batch:
    """What an agent observes: spectra float32 (n, C, H, W); labels, domains, numbers int64 (n,); epoch."""

    spectra: Tensor
    labels: Tensor
    domains: Tensor
    numbers: Tensor
    epoch: int

    def __add__(self, other: Batch) -> Batch:
        """Both batches as one, in this order."""
        names = ("spectra", "labels", "domains", "numbers")
        spectra, labels, domains, numbers = (torch.cat([getattr(self, n), getattr(other, n)]) for n in names)
        return Batch(spectra, labels, domains, numbers, self.epoch)


@dataclass(frozen=True)
class Step:
    """One chunk of one domain, and how it is trained on.

    Attributes:
        index, chunk: place of the domain in the stream, and of the chunk in the domain, from 0.
        name: of the domain; in joint training, of the newest one.
        last: whether it is the domain's last chunk, after which everything is tested.
        drop_last: leaves a last, incomplete batch out of every epoch.
        fixed_order: takes the samples as they lie, in every epoch.
        purpose: of the random stream that gives the order of the samples.
        omitted: images of the chunk that are left out of the samples, and that `lengthened` makes up for.
    """

    index: int
    name: str
    chunk: int
    last: bool
    samples: Samples
    epochs: int
    batch_size: int
    drop_last: bool = False
    fixed_order: bool = False
    purpose: str = "order"
    omitted: int = 0

    @property
    def updates(self) -> int:
        """The number of batches in all epochs together; a short last batch counts, unless it is dropped."""
        return self.epochs * self._batches_of(len(self.samples))

    def lengthened(self) -> Step:
        """The step with as many updates as if no image were left out, rounded up to whole epochs."""
        count, whole = (self._batches_of(len(self.samples) + more) for more in (0, self.omitted))
        return replace(self, epochs=-(-self.epochs * whole // count), omitted=0) if count else self

    def _batches_of(self, images: int) -> int:
        short = 0 if self.drop_last else self.batch_size - 1
        return (images + short) // self.batch_size

    def batches(self, seed: int, after: int = 0) -> Iterator[Batch]:
        """Yields the batches of all epochs but the first `after`, which are not even read.

        Their order depends on seed, purpose, domain and chunk alone.
        """
        count = self.updates // self.epochs
        for number, part in enumerate(_asked_ahead(self._parts(seed, after)), after):
            yield part.batch(number // count)

    def _parts(self, seed: int, after: int) -> Iterator[Samples]:
        rng, count = generator(seed, self.purpose, self.index, self.chunk), self.updates // self.epochs
        for epoch in range(self.epochs):
            order = np.arange(len(self.samples)) if self.fixed_order else rng.permutation(len(self.samples))
            for at in range(max(after - epoch * count, 0), count):
                yield self.samples[order[at * self.batch_size : (at + 1) * self.batch_size]]


def make_steps(
    domains: Sequence[tuple[str, Sequence[Samples] | Samples]], options: Options, omitted: Sequence[int] = ()
) -> list[Step]:
    """Cuts the domains of a stream, after a seeded shuffle of each, into chunks of (nearly) equal size, a step each.

    Args:
        domains: name and training images of each domain, in the stream's order; or several versions of the
            same images, of which chunk c sees version c (and the first again after the last).
        options: of the run; with agent "joint", step t holds the union of domains 1..t instead of domain t alone.
        omitted: how many images of each domain are left out; by default none.

    Raises:
        ValueError: a domain has no images, or fewer images than chunks; the message names it.
    """
    o, steps = options, []
    union: list[Samples] = []
    without = 0
    for index, (name, images) in enumerate(domains):
        versions = [images] if isinstance(images, Samples) else list(images)
        if (count := len(versions[0])) < o.chunks:
            needed = f"needed: at least {o.chunks}, one for each chunk"
            raise ValueError(f"domain {name!r} has {count} training image{'s' * (count != 1)}; {needed}")
        together = union and o.agent == "joint"
        union = [a + b for a, b in zip(union, versions, strict=True)] if together else versions
        without = (without if together else 0) + (omitted[index] if omitted else 0)
        for chunk, rows in enumerate(in_chunks(o, index, len(union[0]))):
            samples, last = union[chunk % len(union)][rows], chunk == o.chunks - 1
            step = Step(index, name, chunk, last, samples, o.epochs, o.batch, o.drop_last, o.order == "fixed")
            steps.append(replace(step, omitted=round(without / o.chunks)))
    return steps


def limit_of(options: Options, index: int) -> int | None:
    """Training images per class of the stream's domain at a place, from 0; None for all."""
    limits = (options.limit, options.limits.get(options.stream[index], options.limit_new if index else None))
    return min((limit for limit in limits if limit is not None), default=None)


def in_chunks(options: Options, index: int, count: int) -> list[np.ndarray]:
    """The places of a domain's images in the order of the stream, chunk by chunk; `index` is the domain's place."""
    order = generator(options.seed, "shuffle", index).permutation(count)
    return np.array_split(order, options.chunks)
