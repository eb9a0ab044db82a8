"""Spectra of a domain as one memory-mapped array, computed once and kept under a hash of all that they depend on.

Beside an array lies a small file with its size, its time and the checksums of its blocks. If size or time differ
from these, the array is checked block by block, and computed again if it is damaged.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock, Timeout

from cldf_core.data.corruptions import corrupt
from cldf_core.data.domains import DataError, Domain
from cldf_core.data.files import content_hashes, whole_file
from cldf_core.data.images import ImageProblem, open_crop
from cldf_core.data.runtime import in_processes
from cldf_core.data.source_trees import tree_hash
from cldf_core.options import Options, UserError
from cldf_core.spectrum import InputSpec

BLOCK = 64  # images decoded and transformed at once
PARALLEL_FROM = 1024  # images; fewer are done before other processes have started
CACHE_GB = "CLDF_CACHE_GB"  # environment variable: gigabytes that all arrays together may take
_Image = tuple[int, str, str]  # row of the array, path from the domain's root, split


@dataclass(frozen=True)
class Spectra:
    """What the network reads of a domain, whose name, root, notes and fingerprint it has.

    Attributes:
        array: memory-mapped, float16 or float32, shape (N, 3, H, W/2 + 1) or (N, 3, H, W).
        table: the usable images; columns as in `Domain`, and row, each image's place in the array.
        rejected: images that cannot be used: image, reason.
    """

    name: str
    array: np.ndarray
    table: pd.DataFrame
    rejected: pd.DataFrame
    fingerprint: str
    root: Path
    notes: tuple[str, ...] = ()


def spectra(domain: Domain, options: Options, folder: Path, *, again: bool = False) -> Spectra:
    """The spectra of all images of a domain, read from the cache in `folder` or computed and stored there.

    With precision "float32" they are computed in float64 and stored in float32, within 1e-6 of the formula; with
    "float16" they are computed in float32. test_resize and test_jpeg count for all but the training images. With
    `again` every image and every array is read again, to see whether they have changed.

    Raises:
        DataError: no image can be used (the message quotes the first reason), or the array does not fit on the disk
            or into the cache.
    """
    index = folder / f"contents-{hashlib.sha256(str(domain.root).encode()).hexdigest()[:12]}.parquet"
    fingerprint = domain.fingerprint(content_hashes(domain.root, list(domain.table["image"]), index, again=again))
    path = _place(folder, domain.name, [fingerprint], options)
    table_path, rejected_path = path.with_suffix(".csv"), folder / f"{path.stem}-rejected.csv"
    with _locked(path):
        if not _is_whole(path, again):
            images = list(zip(range(len(domain.table)), domain.table["image"], domain.table["split"], strict=True))
            with _written(path, domain, len(images), images, options, 0.0) as (kept, rejected):
                if not kept:
                    raise DataError(
                        f"domain {domain.name!r}: none of its {len(images)} images can be used; the first, "
                        f"{rejected[0][0]}, is {rejected[0][1]}"
                    )
                with whole_file(table_path) as partial:
                    domain.table.iloc[kept].assign(row=kept).to_csv(partial, index=False)
                with whole_file(rejected_path) as partial:
                    pd.DataFrame(rejected, columns=["image", "reason"]).to_csv(partial, index=False)
    text = dict.fromkeys(["image", "group", "split", "video", "reason"], str)
    usable, refused = (pd.read_csv(p, dtype=text, keep_default_na=False) for p in (table_path, rejected_path))
    array = np.load(path, mmap_mode="r")
    return Spectra(domain.name, array, usable, refused, fingerprint, domain.root, domain.notes)


def corrupted(domain: Spectra, options: Options, severity: float, folder: Path) -> np.ndarray:
    """The memory-mapped array of a domain whose training images are corrupted as the options say.

    The crop is corrupted, which is what the network sees. An image's noise, or the place of its occlusion, depends on
    the seed and its path alone. Shape and row numbers are those of the domain's array, which severity 0 returns; all
    rows but the training images' are 0.
    """
    if options.corruption == "none" or severity == 0:
        return domain.array
    path = _place(folder, domain.name, [domain.fingerprint, options.corruption, severity, options.seed], options)
    with _locked(path):
        if not _is_whole(path, False):
            training = domain.table[domain.table["split"] == "train"]
            images = list(zip(training["row"], training["image"], training["split"], strict=True))
            with _written(path, domain, len(domain.array), images, options, severity):
                pass
    return np.load(path, mmap_mode="r")


def _place(folder: Path, name: str, recipe: list[Any], options: Options) -> Path:
    """The file of an array: its name holds a hash of all that the array depends on."""
    folder.mkdir(parents=True, exist_ok=True)
    how = {**asdict(InputSpec.from_options(options)), "jpeg": options.test_jpeg, "resize": options.test_resize}
    code = [tree_hash(["data.cache"], without=["options", "data.files"]), *map(version, ("numpy", "scipy", "pillow"))]
    key = hashlib.sha256(json.dumps([*recipe, how, code]).encode()).hexdigest()[:16]
    return folder / f"{name}-{key}.npy"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process at a time in; the time of the lock file tells when the array was last used."""
    lock = path.with_suffix(".lock")
    with FileLock(lock):
        os.utime(lock)
        yield


def _is_whole(path: Path, again: bool) -> bool:
    """Whether the array is as it was written, by its size and time, or else by its checksums."""
    facts = path.with_suffix(".json")
    if not path.exists() or not facts.exists():  # facts are written last, so they stand for all files
        return False
    written, stat = json.loads(facts.read_text(encoding="utf-8")), path.stat()
    if not again and written["file"] == [stat.st_size, stat.st_mtime_ns]:
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
    path: Path, domain: Domain | Spectra, rows: int, images: list[_Image], options: Options, severity: float
) -> Iterator[tuple[list[int], list[tuple[str, str]]]]:
    """Writes an array of so many rows; yields the rows that are filled, and the rejected images with reasons."""
    shape, dtype = (rows, *InputSpec.from_options(options).shape), np.dtype(options.precision)
    _make_room(path.parent, int(np.prod(shape)) * dtype.itemsize, domain.name)
    tasks = [list(block) for _, block in itertools.groupby(images, lambda image: image[0] // BLOCK)]
    kept, rejected, checksums = [], [], {}
    with whole_file(path) as partial:
        np.lib.format.open_memmap(partial, "w+", dtype, shape)  # zeros, which take no room yet
        fill = functools.partial(_fill, partial, domain.root, options, severity)
        results = in_processes(fill, tasks, parallel_from=PARALLEL_FROM, size=len, label=domain.name)
        for task, (filled, problems, checksum) in zip(tasks, results, strict=True):
            kept += filled
            rejected += problems
            checksums[str(task[0][0] // BLOCK)] = checksum
        yield kept, rejected
    _write_facts(path, checksums)


def _fill(
    path: Path, root: Path, options: Options, severity: float, images: list[_Image]
) -> tuple[list[int], list[tuple[str, str]], int]:
    """Writes a block of images to their rows; returns the rows, the rejected images and the block's checksum."""
    spec, crops, rejected = InputSpec.from_options(options), dict[int, np.ndarray](), list[tuple[str, str]]()
    for row, image, split in images:
        reencoded = {} if split == "train" else {"resize": options.test_resize, "jpeg": options.test_jpeg}
        try:
            crops[row] = open_crop(root / image, spec, **reencoded)
        except ImageProblem as problem:
            rejected.append((image, str(problem)))
            continue
        if severity:
            seed = [options.seed, zlib.crc32(image.encode())]
            crops[row] = corrupt(crops[row], options.corruption, severity, seed=seed)
    out = np.load(path, mmap_mode="r+")
    if crops:
        out[list(crops)] = spec.network_input(np.stack(list(crops.values())))
    return list(crops), rejected, _checksum(out, images[0][0] // BLOCK)


def _make_room(folder: Path, needed: int, name: str) -> None:
    """Removes the arrays that were used least recently, until another one fits under the cache's limit."""
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
        if total + needed <= limit or _last_used(path) >= started:  # this process uses it
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
