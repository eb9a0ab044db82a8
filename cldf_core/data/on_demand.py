"""What the network reads, computed from image files: for the cache, or each time it is read where the cache is full."""

import contextlib
import functools
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cldf_core.data.console import note
from cldf_core.data.corruptions import corrupt, corrupt_together
from cldf_core.data.domains import DataError
from cldf_core.data.images import ImageProblem, open_crop
from cldf_core.data.runtime import processors
from cldf_core.options import Options
from cldf_core.randomness import seed_sequence
from cldf_core.spectrum import InputSpec

IDLE = 60  # seconds after which a process that nobody needs ends


class Source(NamedTuple):
    """Where a row comes from: the image's path from the root, its split, and what is corrupted together with it."""

    row: int
    image: str
    split: str
    around: tuple[str, ...] = ()


def crops(
    root: Path, options: Options, severity: float, sources: Sequence[Source]
) -> tuple[dict[int, np.ndarray], list[tuple[str, str]]]:
    """What the network sees of images, uint8 (3, size, size) by row; and images that cannot be used, with reasons."""
    spec, found, rejected = InputSpec.from_options(options), dict[int, np.ndarray](), list[tuple[str, str]]()
    opened = functools.cache(lambda image: open_crop(root / image, spec))
    for row, image, split, around in sources:
        reencoded = {} if split == "train" else {"resize": options.test_resize, "jpeg": options.test_jpeg}
        try:
            found[row] = open_crop(root / image, spec, **reencoded)
        except ImageProblem as problem:
            rejected.append((image, str(problem)))
            continue
        if severity:
            seed = seed_sequence(options.seed, "corruption", (around or [image])[0])
            stack = np.stack([*map(opened, around)]) if around else found[row]
            found[row] = (corrupt_together if around else corrupt)(stack, options.corruption, severity, seed=seed)
    return found, rejected


def network_inputs(
    root: Path, options: Options, severity: float, sources: Sequence[Source]
) -> tuple[list[int], np.ndarray, list[tuple[str, str]]]:
    """Rows, what the network reads of them, float16 or float32 (n, *shape), and images that cannot be used."""
    spec = InputSpec.from_options(options)
    found, rejected = crops(root, options, severity, sources)
    images = np.stack([*found.values()]) if found else np.empty((0, 3, spec.size, spec.size), np.uint8)
    return list(found), spec.network_input(images), rejected


@dataclass(frozen=True)
class OnDemand:
    """Rows that are computed when they are read, to the same values as those of an array in the cache.

    What is asked for ahead is computed in other processes meanwhile: as many as there are processors besides the one
    that trains.

    Attributes:
        images, splits: of each row; `around` too, where images are corrupted together.
    """

    root: Path
    options: Options
    images: Sequence[str]
    splits: Sequence[str]
    severity: float = 0.0
    around: Sequence[tuple[str, ...]] = ()
    _asked: dict[bytes, "Future[Any]"] = field(default_factory=dict, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all rows."""
        return (len(self.images), *InputSpec.from_options(self.options).shape)

    def __len__(self) -> int:
        return len(self.images)

    def ask(self, rows: np.ndarray) -> None:
        """Begins to compute rows, as they are read later."""
        with contextlib.suppress(BrokenProcessPool):  # they are computed when they are read
            if pool := _pool():
                self._asked[rows.tobytes()] = pool.submit(network_inputs, *self._work(rows))

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The rows, (n, *shape); a DataError says that an image, which could be read before, cannot be read now."""
        asked = self._asked.pop(np.asarray(rows).tobytes(), None)
        try:
            found = asked.result() if asked else None
        except BrokenProcessPool:
            found = _tell_of_death()
        _, inputs, rejected = found or network_inputs(*self._work(rows))
        if rejected:
            image, problem = rejected[0]
            raise DataError(f"{self.root / image} is {problem}; needed: images that stay as they are while a run lasts")
        return inputs

    def _work(self, rows: np.ndarray) -> tuple[Path, Options, float, list[Source]]:
        """The arguments of `network_inputs`; an image that is asked for twice has two places."""
        images, splits, around = self.images, self.splits, self.around
        sources = [Source(k, images[row], splits[row], around[row] if around else ()) for k, row in enumerate(rows)]
        return self.root, self.options, self.severity, sources


def processes() -> int:
    """How many other processes compute what is asked for ahead."""
    return processors() - 1


@functools.cache  # once
def _tell_of_death() -> None:
    note("a process that computes spectra ahead has died, perhaps for want of memory; its rows are computed here")


def _pool() -> Executor | None:
    """These processes, which end when nobody has needed them for a while; None on a single processor."""
    from joblib.externals.loky import get_reusable_executor

    pool: Executor | None = get_reusable_executor(processes(), timeout=IDLE) if processes() else None
    return pool
