"""Spectra of a domain as one memory-mapped array, computed once and kept under a hash of all that they depend on.

Beside an array lies a record (`files.write_record`) with its checksum and the table of its images. Both are checked
when a process opens the array for the first time, which takes about a quarter of a second for each gigabyte in memory.
What is cut, changed or missing is computed again, and a note says so.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock

from cldf_core.data import files
from cldf_core.data.console import note
from cldf_core.data.corruptions import corrupt, corrupt_together, neighbours
from cldf_core.data.domains import DataError, Domain
from cldf_core.data.images import ImageProblem, open_crop
from cldf_core.data.runtime import in_processes
from cldf_core.data.source_trees import tree_hash
from cldf_core.options import Options, UserError
from cldf_core.randomness import seed_sequence
from cldf_core.reading import number
from cldf_core.spectrum import InputSpec

BLOCK = 64  # images decoded and transformed at once
PARALLEL_FROM = 1024  # images; fewer are done before other processes have started
CACHE_GB = "CLDF_CACHE_GB"  # environment variable: gigabytes that all arrays together may take
# Row of the array, path from the domain's root, split, and the images of a chunk that count for it, if they do.
_Image = tuple[int, str, str, tuple[str, ...]]


@dataclass(frozen=True)
class Spectra:
    """What the network reads of a domain, whose name, root, notes and fingerprint it has."""

    name: str
    array: np.ndarray  # memory-mapped, float16 or float32, shape (N, 3, H, W/2 + 1) or (N, 3, H, W)
    table: pd.DataFrame  # the usable images; columns as in `Domain`, and row, each image's place in the array
    rejected: pd.DataFrame  # images that cannot be used: image, reason
    fingerprint: str
    root: Path
    notes: tuple[str, ...] = ()


def spectra(domain: Domain, options: Options, folder: Path) -> Spectra:
    """The spectra of all images of a domain, read from the cache in `folder` or computed and stored there.

    With precision "float32" they are computed in float64 and stored in float32, within 1e-6 of the formula; with
    "float16" they are computed in float32. test_resize and test_jpeg count for all but the training images.

    Raises:
        DataError: no image can be used (the message quotes the first reason), or the array does not fit on the disk
            or into the cache.
    """
    images = list(domain.table["image"])
    hashes = _hashes(domain, images, folder)
    fingerprint = domain.fingerprint(hashes)
    path = _place(folder, domain.name, [fingerprint], options)
    with _locked(path):
        if not (record := _record(path)):
            if _hashes(domain, images, folder, again=True) != hashes:  # though sizes and times were the same
                return spectra(domain, options, folder)
            rows: list[_Image] = [
                (k, *image, ()) for k, image in enumerate(zip(images, domain.table["split"], strict=True))
            ]
            checksum, kept, rejected = _write(path, domain, len(images), rows, options, 0.0)
            table = domain.table.iloc[kept].assign(row=kept).to_dict("list")
            record = {"checksum": checksum, "images": table, "rejected": rejected}
            files.write_record(path.with_suffix(".json"), record)
        array = np.load(path, mmap_mode="r")  # before another process may remove it
    usable, refused = pd.DataFrame(record["images"]), pd.DataFrame(record["rejected"], columns=["image", "reason"])
    return Spectra(domain.name, array, usable, refused, fingerprint, domain.root, domain.notes)


def corrupted(
    domain: Spectra, options: Options, severity: float, folder: Path, chunk: np.ndarray | None = None
) -> np.ndarray:
    """The memory-mapped array of a domain whose training images are corrupted as the options say.

    The crop is corrupted, which is what the network sees. An image's noise, or the place of its occlusion, depends on
    the seed and its path alone. Shape and row numbers are those of the domain's array, which severity 0 returns; all
    rows but the training images' are 0. With the rows of a `chunk`, in its order, the array holds these images alone,
    in this order, and they are corrupted together (see `corruptions.corrupt_together`).
    """
    if options.corruption == "none" or severity == 0:
        return domain.array
    recipe = [domain.fingerprint, options.corruption, severity, options.seed]
    path = _place(folder, domain.name, recipe if chunk is None else [*recipe, chunk.tolist()], options)
    with _locked(path):
        if not _record(path):
            training = domain.table[domain.table["split"] == "train"].set_index("row")["image"]
            rows, count = list(training.index), len(domain.array)
            if chunk is not None:
                training, rows, count = training[chunk], list(range(len(chunk))), len(chunk)
            images = list(training)
            if _hashes(domain, images, folder) != _hashes(domain, images, folder, again=True):
                raise DataError(
                    f"domain {domain.name!r}: images have changed since they were read; start the command again"
                )
            around = [()] * len(images) if chunk is None else neighbours(images, options.corruption, severity)
            tasks: list[_Image] = list(zip(rows, images, ["train"] * len(images), around, strict=True))
            checksum, *_ = _write(path, domain, count, tasks, options, severity)
            files.write_record(path.with_suffix(".json"), {"checksum": checksum})
        return np.load(path, mmap_mode="r")


def _place(folder: Path, name: str, recipe: list[Any], options: Options) -> Path:
    """The file of an array: its name holds a hash of all that the array depends on."""
    files.forget_leftovers(folder)
    how = {**asdict(InputSpec.from_options(options)), "jpeg": options.test_jpeg, "resize": options.test_resize}
    code = tree_hash(["data.cache"], without=["options", "reading", "data.console", "data.files"])
    parts = [*recipe, how, [code, *map(version, ("numpy", "scipy", "pillow"))]]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return folder / f"{name}-{key}.npy"


def _hashes(domain: Domain | Spectra, images: list[str], folder: Path, *, again: bool = False) -> list[str]:
    """Hashes of the contents of a domain's images; `again` reads them whatever their size and time are."""
    return files.content_hashes(domain.root, images, files.contents_index(folder, domain.root), again=again)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process at a time in; the time of the lock file tells when the array was last used."""
    lock = path.with_suffix(".lock")
    with files.locked(lock):
        with contextlib.suppress(OSError):  # on a disk that is read-only
            os.utime(lock)
        yield


def _record(path: Path) -> dict[str, Any] | None:
    """What is kept about an array, if both are as they were written."""
    place = path.with_suffix(".json")
    if not path.exists() and not place.exists():
        return None
    try:
        record, stat = files.read_record(place), path.stat()
        if record["checksum"] == _checksum(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)):
            return record
    except (KeyError, OSError, ValueError):
        pass
    note(f"{path.name} is damaged and is computed again")
    return None


@functools.cache
def _checksum(path: Path, state: tuple[int, ...]) -> int:
    """The checksum of a file, computed once in a process as long as the file's state is the same."""
    return files.file_checksum(path)


def _write(
    path: Path, domain: Domain | Spectra, rows: int, images: list[_Image], options: Options, severity: float
) -> tuple[int, list[int], list[tuple[str, str]]]:
    """Writes an array of so many rows; returns its checksum, the rows that are filled, and rejected images."""
    shape, dtype = (rows, *InputSpec.from_options(options).shape), np.dtype(options.precision)
    size = int(np.prod(shape)) * dtype.itemsize
    _make_room(path.parent, size, domain.name)
    tasks = [list(block) for _, block in itertools.groupby(images, lambda image: image[0] // BLOCK)]
    kept, rejected = list[int](), list[tuple[str, str]]()
    with files.whole_file(path, size) as partial:
        with partial.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            files.append_zeros(file, size)
        fill = functools.partial(_fill, partial, domain.root, options, severity)
        results = in_processes(fill, tasks, parallel_from=PARALLEL_FROM, size=len, label=domain.name)
        for filled, problems in results:
            kept += filled
            rejected += problems
        if not kept:
            raise DataError(
                f"domain {domain.name!r}: none of its images ({len(images)}) can be used; the first, "
                f"{rejected[0][0]}, is {rejected[0][1]}"
            )
        checksum = files.file_checksum(partial)
    return checksum, kept, rejected


def _fill(
    path: Path, root: Path, options: Options, severity: float, images: list[_Image]
) -> tuple[list[int], list[tuple[str, str]]]:
    """Writes a block of images to their rows; returns the rows, and the rejected images with reasons."""
    spec, crops, rejected = InputSpec.from_options(options), dict[int, np.ndarray](), list[tuple[str, str]]()
    opened = functools.cache(lambda image: open_crop(root / image, spec))
    for row, image, split, around in images:
        reencoded = {} if split == "train" else {"resize": options.test_resize, "jpeg": options.test_jpeg}
        try:
            crops[row] = open_crop(root / image, spec, **reencoded)
        except ImageProblem as problem:
            rejected.append((image, str(problem)))
            continue
        if severity:
            seed = seed_sequence(options.seed, "corruption", (around or [image])[0])
            stack = np.stack([*map(opened, around)]) if around else crops[row]
            crops[row] = (corrupt_together if around else corrupt)(stack, options.corruption, severity, seed=seed)
    if crops:
        out = np.load(path, mmap_mode="r+")
        out[list(crops)] = spec.network_input(np.stack(list(crops.values())))
    return list(crops), rejected


def _make_room(folder: Path, needed: int, name: str) -> None:
    """Removes the arrays that were used least recently, until another one fits under the cache's limit."""
    gigabytes = f"the spectra of {name!r} need {needed / 1e9:.3g} GB"
    if needed > (free := shutil.disk_usage(folder).free):
        raise DataError(f"{gigabytes}, and {folder} has {free / 1e9:.3g} GB free")
    if not (text := os.environ.get(CACHE_GB)):
        return
    limit = 0.0
    with contextlib.suppress(ValueError):
        limit = number(text) * 1e9
    if not 0 < limit < float("inf"):
        raise UserError(f"{CACHE_GB} (--cache-gb) is {text!r}; allowed: gigabytes above 0, such as 20")
    sizes = dict[Path, int]()
    for path in folder.glob("[!.]*.npy"):
        with contextlib.suppress(OSError):  # another process removes it
            sizes[path] = path.stat().st_size
    total, started = sum(sizes.values()), psutil.Process().create_time()
    for path in sorted(sizes, key=_last_used):
        if total + needed <= limit or _last_used(path) >= started:  # this process uses it
            break
        # Another process holds it or, on Windows, has mapped it.
        with contextlib.suppress(OSError), FileLock(path.with_suffix(".lock"), timeout=0):
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)
            total -= sizes[path]
    if total + needed > limit:
        raise DataError(f"{gigabytes}, and {CACHE_GB} (--cache-gb) allows {text}, {total / 1e9:.3g} of them in use")


def _last_used(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.with_suffix(".lock").stat().st_mtime
    return 0.0
