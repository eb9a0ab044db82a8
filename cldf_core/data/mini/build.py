"""Build cldf-mini: cut the squares, forge each one, write the folders and the table of files."""

from __future__ import annotations

import csv
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tqdm import tqdm

from cldf_core.data.mini.crops import (
    DOMAINS,
    HERE,
    PHOTOGRAPHS,
    SPLITS,
    Split,
    Square,
    cut,
    half_size,
    read_splits,
    squares_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

# Real squares of each domain and split; the fakes are as many. None takes every square there is.
EMBEDDED: dict[str, dict[str, int | None]] = {
    "mini": {"train": 250, "validation": 100, "test": 250},
    "mini-smoke": {"train": 24, "validation": 12, "test": 24},
}
JPEG_DOMAINS = ("mini-DeepFake", "mini-NeuralTextures")
JPEG_QUALITIES = range(90, 99)
COLUMNS = ("file", "split", "group", "domain", "label", "forger")
# The last file to be written, so its presence in a finished folder stands for all the others.
TABLE = "splits.csv"
THREADS = 2


def jpeg_quality(square: Square) -> int:
    """The quality at which a real square and its fake are written, drawn from the square's name."""
    return JPEG_QUALITIES[zlib.crc32(f"quality {square.name}".encode()) % len(JPEG_QUALITIES)]


def is_built(folder: Path) -> bool:
    """Whether folder holds a data set that `build` finished."""
    return (Path(folder) / TABLE).is_file()


def build(
    folder: Path,
    *,
    forgers: Path | None = None,
    train: int | None = EMBEDDED["mini"]["train"],
    validation: int | None = EMBEDDED["mini"]["validation"],
    test: int | None = EMBEDDED["mini"]["test"],
    progress: bool | None = None,
) -> Path:
    """Write the data set: `real/<domain>/trainA|testA`, `fake/…` and splits.csv.

    Validation images lie in trainA too; splits.csv tells them apart. The folder appears whole or not
    at all, and a finished one is left as it is.

    Args:
        folder: the data set's folder; the work is done in `<folder>.partial` beside it.
        forgers: folder with the forgers' weights; None takes the shipped ones.
        train: real squares a domain; None takes all there are.
        validation: the same for validation.
        test: the same for test.
        progress: whether to show a bar on stderr; None shows it on a terminal.

    Returns:
        The folder.

    Raises:
        ValueError: a number out of range, weights that are missing, or a folder that exists and
            holds something else.
    """
    folder = Path(folder)
    if is_built(folder):
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not a finished cldf-mini; name a new or empty folder")
    jobs = _jobs({"train": train, "validation": validation, "test": test})
    # Imported here: asking whether a data set is built should not wait for torch.
    from cldf_core.data.mini.generators import load_forgers

    networks = load_forgers(forgers)
    partial = folder.with_name(folder.name + ".partial")
    # What an interrupted call left is of unknown age and options: begin again.
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    shown = sys.stderr.isatty() if progress is None else progress
    rows: list[tuple[str | int, ...]] = []
    total = sum(len(squares) for _, _, _, squares in jobs)
    with _threads(THREADS), tqdm(total=total, desc=folder.name, disable=not shown) as bar:
        for domain, split, variant, squares in jobs:
            rows += _write_batch(partial, domain, split, variant, squares, networks)
            bar.update(len(squares))
    half_size.cache_clear()
    shutil.copyfile(HERE / "CARD.md", partial / "README.md")
    shutil.copyfile(PHOTOGRAPHS / "photographs.csv", partial / "photographs.csv")
    with (partial / TABLE).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(sorted(rows))
    if folder.exists():
        folder.rmdir()
    os.replace(partial, folder)
    return folder


def _jobs(counts: dict[Split, int | None]) -> list[tuple[str, Split, int, list[Square]]]:
    """Batches of squares that one forger handles at once: domain, split, variant, squares."""
    from cldf_core.data.mini.generators import BATCH

    variants = {row.name: row.variant for row in read_splits()}
    jobs = []
    for domain in DOMAINS:
        for split in SPLITS:
            squares, count = squares_of(split, domain), counts[split]
            if count is not None and not 1 <= count <= len(squares):
                raise ValueError(f"{split} is {count}; allowed for {domain}: 1 to {len(squares)}, or None for all")
            by_variant: dict[int, list[Square]] = {}
            for square in squares[:count]:
                variant = variants[square.photograph] if domain == "mini-ForenSynths" else 0
                by_variant.setdefault(variant, []).append(square)
            for variant, chosen in sorted(by_variant.items()):
                for start in range(0, len(chosen), BATCH):
                    jobs.append((domain, split, variant, chosen[start : start + BATCH]))
    return jobs


def _write_batch(
    root: Path, domain: str, split: Split, variant: int, squares: list[Square], networks: dict[str, nn.Module]
) -> list[tuple[str | int, ...]]:
    """Forge squares and write both classes; returns their rows of splits.csv."""
    from cldf_core.data.mini.generators import forge, forger_name

    reals = np.stack([cut(square) for square in squares])
    fakes = forge(domain, networks, reals, squares, variant)
    rows: list[tuple[str | int, ...]] = []
    classes = (("real", 0, reals, ""), ("fake", 1, fakes, forger_name(domain, variant)))
    for kind, label, images, forger in classes:
        target = root / kind / domain / ("testA" if split == "test" else "trainA")
        target.mkdir(parents=True, exist_ok=True)
        for square, pixels in zip(squares, images, strict=True):
            path = write_image(target, square, domain, pixels)
            file = path.relative_to(root).as_posix()
            rows.append((file, split, square.photograph, domain, label, forger))
    return rows


def write_image(target: Path, square: Square, domain: str, pixels: NDArray[np.uint8]) -> Path:
    """Write one square as its domain writes both classes: PNG, or JPEG at the square's quality.

    Args:
        target: an existing folder.
        square: gives the file's name and its JPEG quality.
        domain: one of `DOMAINS`.
        pixels: uint8, shape (128, 128, 3).

    Returns:
        The file written.
    """
    image = Image.fromarray(pixels)
    if domain in JPEG_DOMAINS:
        path = target / f"{square.name}.jpg"
        image.save(path, "JPEG", quality=jpeg_quality(square), subsampling="4:2:0")
    else:
        path = target / f"{square.name}.png"
        image.save(path, "PNG", compress_level=4)
    return path


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run with a fixed number of torch threads: sums, and so pixels, can depend on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
