"""Spectra of a domain as one memory-mapped array, computed once and kept under the hash of its content."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

import cldf_core
from cldf_core.data.domains import DataError, Domain
from cldf_core.data.images import ImageProblem, crop, open_image, perturb, reencode
from cldf_core.options import Options
from cldf_core.spectrum import network_input

BLOCK = 64  # images decoded and transformed at once
_HOW = ("size", "crop", "feature", "plane", "band", "precision", "test_jpeg", "test_resize")


@dataclass(frozen=True)
class Spectra:
    """What the network reads of a domain.

    Attributes:
        name: of the domain.
        array: memory-mapped, float16 or float32, shape (N, 3, H, W/2 + 1) or (N, 3, H, W).
        table: the usable images; columns as in `Domain`, and row, each image's place in the array.
        set_aside: images that could not be used: image, reason.
        fingerprint, root, notes: of the domain.
    """

    name: str
    array: np.ndarray
    table: pd.DataFrame
    set_aside: pd.DataFrame
    fingerprint: str
    root: Path
    notes: tuple[str, ...] = ()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, that becomes `path` when all went well, and vanishes when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def source_hash(*parts: str) -> str:
    """Hash of the package's source files: all of them, or those whose path begins with one of `parts`."""
    package = Path(cldf_core.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if not parts or name.startswith(parts):
            digest.update(name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def spectra(domain: Domain, options: Options, folder: Path) -> Spectra:
    """The spectra of all images of a domain, from the cache or computed and put there.

    With precision "float32" they are computed in float64 and stored in float32, within 1e-6 of the formula;
    with "float16" they are computed in float32.

    Args:
        domain: whose images.
        options: size, crop, feature, plane, band and precision; test_resize and test_jpeg of the images that
            are not training images.
        folder: of the cache.

    Raises:
        DataError: not one image of the domain can be used; the message tells the first reason.
    """
    array_path = _place(folder, domain.name, [domain.fingerprint], options)
    table_path, aside_path = array_path.with_suffix(".csv"), folder / f"{array_path.stem}-set-aside.csv"
    with FileLock(array_path.with_suffix(".lock")):
        if not array_path.exists():  # written last, so it stands for all three
            _compute(domain, options, array_path, table_path, aside_path)
    table = pd.read_csv(table_path, dtype={"image": str, "group": str, "split": str}, keep_default_na=False)
    aside = pd.read_csv(aside_path, dtype=str, keep_default_na=False)
    array = np.load(array_path, mmap_mode="r")
    return Spectra(domain.name, array, table, aside, domain.fingerprint, domain.root, domain.notes)


def shifted(domain: Spectra, options: Options, factor: float, folder: Path) -> np.ndarray:
    """A domain's array once more, its training images changed as `shift` and the factor say.

    The crop is changed, which is what the network sees. An image's noise, or the place of its occlusion,
    depends on the seed and its path alone.

    Args:
        domain: as `spectra` gives it.
        options: as of `spectra`, and shift and seed.
        factor: how much; 0 gives the domain's own array.
        folder: of the cache.

    Returns:
        Memory-mapped, the domain's shape and row numbers; all rows but the training images' are 0.
    """
    if options.shift == "none" or factor == 0:
        return domain.array
    recipe = [domain.fingerprint, options.shift, factor, options.seed]
    path, shift = _place(folder, domain.name, recipe, options), options.shift
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            training = domain.table[domain.table["split"] == "train"]
            changed = (
                (row, perturb(_pixels(domain.root / image, "train", options), shift, factor, _rng(options, image)))
                for row, image in zip(training["row"], training["image"], strict=True)
            )
            with whole_file(path) as partial:
                _fill(partial, len(domain.array), changed, options)
    return np.load(path, mmap_mode="r")


def _place(folder: Path, name: str, recipe: list[Any], options: Options) -> Path:
    """The file of an array: its name holds a hash of all that the array depends on."""
    folder.mkdir(parents=True, exist_ok=True)
    how = {k: getattr(options, k) for k in _HOW}
    source = source_hash("spectrum.py", "data/images.py", "data/cache.py")
    key = hashlib.sha256(json.dumps([*recipe, how, source]).encode()).hexdigest()[:16]
    return folder / f"{name}-{key}.npy"


def _rng(options: Options, image: str) -> np.random.Generator:
    return np.random.default_rng([options.seed, zlib.crc32(image.encode())])


def _pixels(path: Path, split: str, options: Options) -> np.ndarray:
    pixels = open_image(path)
    if split != "train":
        pixels = reencode(pixels, resize=options.test_resize, jpeg=options.test_jpeg)
    return crop(pixels, options.size, options.crop)


def _compute(domain: Domain, options: Options, array_path: Path, table_path: Path, aside_path: Path) -> None:
    """Array, table, and list of what was set aside; such an image leaves its row empty."""
    aside: list[tuple[str, str]] = []
    images = list(zip(domain.table["image"], domain.table["split"], strict=True))

    def usable() -> Iterator[tuple[int, np.ndarray]]:
        for row, (image, split) in enumerate(images):
            try:
                yield row, _pixels(domain.root / image, split, options)
            except ImageProblem as problem:
                aside.append((image, str(problem)))

    with whole_file(array_path) as partial:
        kept = _fill(partial, len(images), usable(), options)
        if not kept:
            raise DataError(
                f"domain {domain.name!r}: none of its {len(images)} images can be used; the first, "
                f"{aside[0][0]}, is {aside[0][1]}"
            )
        with whole_file(table_path) as path:
            domain.table.iloc[kept].assign(row=kept).to_csv(path, index=False)
        with whole_file(aside_path) as path:
            pd.DataFrame(aside, columns=["image", "reason"]).to_csv(path, index=False)


def _fill(path: Path, rows: int, images: Iterator[tuple[int, np.ndarray]], options: Options) -> list[int]:
    """Writes what the network reads of the images to their rows, block by block; returns these rows."""
    columns = options.size // 2 + 1 if options.feature == "spectrum" and options.plane == "half" else options.size
    # Single-precision FFTs are 1e-4 and more off the formula, which only float16's own rounding hides.
    dtype = np.float64 if options.precision == "float32" else np.float32
    out = np.lib.format.open_memmap(path, "w+", np.dtype(options.precision), (rows, 3, options.size, columns))
    filled: list[int] = []
    while block := dict(itertools.islice(images, BLOCK)):
        out[list(block)] = network_input(
            np.stack(list(block.values())),
            feature=options.feature,
            plane=options.plane,
            band=options.band,
            dtype=dtype,
        )
        filled += block
    out.flush()
    return filled
