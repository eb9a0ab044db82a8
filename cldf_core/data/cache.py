"""Spectra of a domain as one memory-mapped array, computed once and kept under the hash of its content.

Beside an array lies a small file with its size, its time and the checksums of its blocks. An array whose size
or time is another than written there is checked block by block, and computed again where it is damaged.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock, Timeout

from cldf_core.data.domains import DataError, Domain
from cldf_core.data.files import content_hashes, whole_file
from cldf_core.data.images import ImageProblem, crop, open_image, perturb, reencode
from cldf_core.data.runtime import in_processes
from cldf_core.data.source_trees import tree_hash
from cldf_core.options import Options, UserError
from cldf_core.spectrum import InputSpec

BLOCK = 64  # images decoded and transformed at once
PARALLEL_FROM = 1024  # images; fewer are done before other processes have started
CACHE_GB = "CLDF_CACHE_GB"  # environment variable: gigabytes that all arrays together may take
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


def spectra(
    domain: Domain, options: Options, folder: Path, *, workers: int | None = None, anew: bool = False
) -> Spectra:
    """The spectra of all images of a domain, from the cache or computed and put there.

    With precision "float32" they are computed in float64 and stored in float32, within 1e-6 of the formula;
    with "float16" they are computed in float32.

    Args:
        domain: whose images.
        options: size, crop, feature, plane, band and precision; test_resize and test_jpeg of the images that
            are not training images.
        folder: of the cache.
        workers: processes that decode and transform; None takes one for each processor where there are many images.
        anew: reads every image and every array again, to see whether they are what they were.

    Raises:
        DataError: not one image of the domain can be used; the message tells the first reason. Or there is no
            room for the array.
    """
    index = folder / f"contents-{hashlib.sha256(str(domain.root).encode()).hexdigest()[:12]}.parquet"
    fingerprint = domain.fingerprint(content_hashes(domain.root, list(domain.table["image"]), index, anew=anew))
    path = _place(folder, domain.name, [fingerprint], options)
    table_path, aside_path = path.with_suffix(".csv"), folder / f"{path.stem}-set-aside.csv"
    with _locked(path):
        if not _is_whole(path, anew):
            images = list(zip(range(len(domain.table)), domain.table["image"], domain.table["split"], strict=True))
            rows = domain.name, domain.root, len(images), images
            with _written(path, rows, options, 0.0, workers) as (kept, aside):
                if not kept:
                    raise DataError(
                        f"domain {domain.name!r}: none of its {len(images)} images can be used; the first, "
                        f"{aside[0][0]}, is {aside[0][1]}"
                    )
                with whole_file(table_path) as partial:
                    domain.table.iloc[kept].assign(row=kept).to_csv(partial, index=False)
                with whole_file(aside_path) as partial:
                    pd.DataFrame(aside, columns=["image", "reason"]).to_csv(partial, index=False)
    text = {"image": str, "group": str, "split": str, "video": str}
    table = pd.read_csv(table_path, dtype=text, keep_default_na=False)
    aside_table = pd.read_csv(aside_path, dtype=str, keep_default_na=False)
    array = np.load(path, mmap_mode="r")
    return Spectra(domain.name, array, table, aside_table, fingerprint, domain.root, domain.notes)


def shifted(domain: Spectra, options: Options, factor: float, folder: Path) -> np.ndarray:
    """A domain's array once more, its training images changed as `corruption` and the factor say.

    The crop is changed, which is what the network sees. An image's noise, or the place of its occlusion,
    depends on the seed and its path alone.

    Args:
        domain: as `spectra` gives it.
        options: as of `spectra`, and corruption and seed.
        factor: how much; 0 gives the domain's own array.
        folder: of the cache.

    Returns:
        Memory-mapped, the domain's shape and row numbers; all rows but the training images' are 0.
    """
    if options.corruption == "none" or factor == 0:
        return domain.array
    path = _place(folder, domain.name, [domain.fingerprint, options.corruption, factor, options.seed], options)
    with _locked(path):
        if not _is_whole(path, False):
            training = domain.table[domain.table["split"] == "train"]
            images = list(zip(training["row"], training["image"], training["split"], strict=True))
            with _written(path, (domain.name, domain.root, len(domain.array), images), options, factor, None):
                pass
    return np.load(path, mmap_mode="r")


def _place(folder: Path, name: str, recipe: list[Any], options: Options) -> Path:
    """The file of an array: its name holds a hash of all that the array depends on."""
    folder.mkdir(parents=True, exist_ok=True)
    how = {k: getattr(options, k) for k in _HOW}
    code = [tree_hash(["data.cache"], without=["options", "data.files"]), *map(version, ("numpy", "scipy", "pillow"))]
    key = hashlib.sha256(json.dumps([*recipe, how, code]).encode()).hexdigest()[:16]
    return folder / f"{name}-{key}.npy"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock's time tells when the array was last used."""
    lock = path.with_suffix(".lock")
    with FileLock(lock):
        os.utime(lock)
        yield


def _is_whole(path: Path, anew: bool) -> bool:
    """Whether the array is as it was written: by its size and time, or by its checksums."""
    facts = path.with_suffix(".json")
    if not path.exists() or not facts.exists():  # facts are written last, so they stand for all files
        return False
    written, stat = json.loads(facts.read_text(encoding="utf-8")), path.stat()
    if not anew and written["file"] == [stat.st_size, stat.st_mtime_ns]:
        return True
    if written["file"][0] == stat.st_size:
        array = np.load(path, mmap_mode="r")
        if all(_checksum(array, int(block)) == crc for block, crc in written["blocks"].items()):
            _write_facts(path, written["blocks"])
            return True
    print(f"note: {path.name} is damaged and is computed again", file=sys.stderr)
    return False


def _write_facts(path: Path, blocks: dict[str, int]) -> None:
    stat = path.stat()
    with whole_file(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps({"file": [stat.st_size, stat.st_mtime_ns], "blocks": blocks}), encoding="utf-8")


def _checksum(array: np.ndarray, block: int) -> int:
    return zlib.crc32(np.ascontiguousarray(array[block * BLOCK : (block + 1) * BLOCK]).data)


@contextlib.contextmanager
def _written(
    path: Path,
    what: tuple[str, Path, int, list[tuple[int, str, str]]],
    options: Options,
    factor: float,
    workers: int | None,
) -> Iterator[tuple[list[int], list[tuple[str, str]]]]:
    """Writes an array, and gives the rows that are filled and the images that were set aside, with reasons.

    Args:
        path: of the array.
        what: name of the domain, folder of its images, number of rows, and row, image and split of each image.
        options, factor, workers: as of `spectra` and `shifted`.
    """
    name, root, rows, images = what
    shape, dtype = (rows, *InputSpec.from_options(options).shape), np.dtype(options.precision)
    _make_room(path.parent, int(np.prod(shape)) * dtype.itemsize, name)
    blocks: dict[int, list[tuple[int, str, str]]] = {}
    for row, image, split in images:
        blocks.setdefault(int(row) // BLOCK, []).append((int(row), image, split))
    kept, aside, checksums = [], [], {}
    with whole_file(path) as partial:
        np.lib.format.open_memmap(partial, "w+", dtype, shape)  # zeros, which take no room yet
        fill = functools.partial(_fill, partial, root, options, factor)
        done = in_processes(
            fill, list(blocks.values()), workers=workers, parallel_from=PARALLEL_FROM, size=len, label=name
        )
        for block, (filled, bad, checksum) in zip(blocks, done, strict=True):
            kept += filled
            aside += bad
            checksums[str(block)] = checksum
        yield kept, aside
    _write_facts(path, checksums)


def _fill(
    path: Path, root: Path, options: Options, factor: float, images: list[tuple[int, str, str]]
) -> tuple[list[int], list[tuple[str, str]], int]:
    """Writes what the network reads of a block's images to their rows: rows, what is set aside, checksum."""
    pixels: dict[int, np.ndarray] = {}
    aside: list[tuple[str, str]] = []
    for row, image, split in images:
        try:
            pixels[row] = _pixels(root / image, split, options)
        except ImageProblem as problem:
            aside.append((image, str(problem)))
            continue
        if factor:
            rng = _rng(options, image)
            pixels[row] = perturb(pixels[row], options.corruption, factor, rng)  # type: ignore[arg-type]
    out = np.load(path, mmap_mode="r+")
    if pixels:
        out[list(pixels)] = InputSpec.from_options(options).network_input(np.stack(list(pixels.values())))
    return list(pixels), aside, _checksum(out, images[0][0] // BLOCK)


def _rng(options: Options, image: str) -> np.random.Generator:
    return np.random.default_rng([options.seed, zlib.crc32(image.encode())])


def _pixels(path: Path, split: str, options: Options) -> np.ndarray:
    pixels = open_image(path)
    if split != "train":
        pixels = reencode(pixels, resize=options.test_resize, jpeg=options.test_jpeg)
    return np.ascontiguousarray(crop(pixels, options.size, options.crop))  # a view would keep the whole image


def _make_room(folder: Path, needed: int, name: str) -> None:
    """Removes the arrays that were not used for longest, until another fits under the cache's limit.

    Raises:
        DataError: it does not fit; UserError: the limit is no number.
    """
    gigabytes = f"the spectra of {name!r} need {needed / 1e9:.3g} GB"
    if needed > (free := shutil.disk_usage(folder).free):
        raise DataError(f"{gigabytes}, and {folder} has {free / 1e9:.3g} GB free")
    if not (text := os.environ.get(CACHE_GB)):
        return
    try:
        limit = float(text) * 1e9
    except ValueError:
        raise UserError(f"{CACHE_GB} (--cache-gb) is {text!r}; allowed: gigabytes, such as 20") from None
    arrays = sorted((p for p in folder.glob("*.npy") if not p.name.startswith(".")), key=_last_used)
    total = sum(p.stat().st_size for p in arrays)
    started = psutil.Process().create_time()
    for path in arrays:
        if total + needed <= limit or _last_used(path) >= started:  # what this process uses stays
            break
        with contextlib.suppress(Timeout, PermissionError), FileLock(path.with_suffix(".lock"), timeout=0):
            size = path.stat().st_size
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink()
            total -= size
    if total + needed > limit:
        raise DataError(f"{gigabytes}, and {CACHE_GB} (--cache-gb) allows {text}, {total / 1e9:.3g} of them in use")


def _last_used(path: Path) -> float:
    lock = path.with_suffix(".lock")
    return lock.stat().st_mtime if lock.exists() else 0.0
