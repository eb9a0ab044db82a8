"""Spectra of a domain as one memory-mapped array, computed once and kept under a hash of all that they depend on.

Beside an array lies the table of its images, with their rows and why some have none, and the array's checksum. Both are
checked when a process opens the array for the first time, which takes about a quarter of a second for each gigabyte in
memory. What is cut, changed or missing is computed again, and a note says so. An array that does not fit under the
cache's limit is not written: what is read of it is computed each time (`on_demand`), and its table lies there alone.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock

from cldf_core.data import files
from cldf_core.data.console import lasting, note
from cldf_core.data.corruptions import neighbours
from cldf_core.data.domains import DataError, Domain
from cldf_core.data.on_demand import OnDemand, Source, crops, network_inputs, processes
from cldf_core.data.runtime import in_processes
from cldf_core.data.source_trees import tree_hash
from cldf_core.options import Options, UserError
from cldf_core.reading import number
from cldf_core.spectrum import InputSpec

BLOCK = 64  # images decoded and transformed at once
PARALLEL_FROM = 1024  # images; fewer are done before other processes have started
CACHE_GB = "CLDF_CACHE_GB"  # environment variable: gigabytes that all arrays together may take
TOLD_FROM = 10_000  # images whose spectra a note announces


@dataclass(frozen=True)
class Spectra:
    """What the network reads of a domain, whose name, root, notes and fingerprint it has."""

    name: str
    array: np.ndarray | OnDemand  # memory-mapped, float16 or float32, shape (N, 3, H, W/2 + 1) or (N, 3, H, W)
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
    images, splits = list(domain.table["image"]), list(domain.table["split"])
    hashes = _hashes(domain, images, folder)
    fingerprint = domain.fingerprint(hashes)
    path = _place(folder, domain.name, [fingerprint], options)
    with _locked(path):
        table = _table(path)
        if table is not None and table.attrs["checksum"] is None and _fits(path, len(images), options, domain.name):
            table = None
        if table is None:
            if _hashes(domain, images, folder, again=True) != hashes:  # though sizes and times were the same
                return spectra(domain, options, folder)
            sources = list(map(Source, range(len(images)), images, splits))
            checksum, reasons = _write(path, domain, len(images), sources, options, 0.0)
            table = domain.table.assign(row=range(len(images)), reason=[reasons.get(image, "") for image in images])
            files.keep_table(table, _beside(path), checksum=checksum)
            table.attrs = {"checksum": checksum}
        array: np.ndarray | OnDemand = OnDemand(domain.root, options, images, splits)
        if table.attrs["checksum"] is not None:
            array = np.load(path, mmap_mode="r")  # before another process may remove it
    usable = table["reason"] == ""
    kept = table[usable].drop(columns="reason").reset_index(drop=True)
    rejected = table.loc[~usable, ["image", "reason"]].reset_index(drop=True)
    return Spectra(domain.name, array, kept, rejected, fingerprint, domain.root, domain.notes)


def corrupted(
    domain: Spectra, options: Options, severity: float, folder: Path, chunk: np.ndarray | None = None
) -> np.ndarray | OnDemand:
    """The rows of a domain whose training images are corrupted as the options say, memory-mapped or on demand.

    The crop is corrupted, which is what the network sees. An image's noise, or the place of its occlusion, depends on
    the seed and its path alone. Shape and row numbers are those of the domain's array, which severity 0 returns; rows
    but the training images' are not to be read. With the rows of a `chunk`, in its order, these images alone are held,
    in this order, and they are corrupted together (see `corruptions.corrupt_together`).
    """
    if options.corruption == "none" or severity == 0:
        return domain.array
    recipe = [domain.fingerprint, options.corruption, severity, options.seed]
    path = _place(folder, domain.name, recipe if chunk is None else [*recipe, chunk.tolist()], options)
    training = domain.table[domain.table["split"] == "train"].set_index("row")["image"]
    rows, count = list(training.index), len(domain.array)
    if chunk is not None:
        training, rows, count = training[chunk], list(range(len(chunk))), len(chunk)
    images = list(training)
    around = [()] * len(images) if chunk is None else neighbours(images, options.corruption, severity)
    with _locked(path):
        if _table(path) is None:
            if _hashes(domain, images, folder) != _hashes(domain, images, folder, again=True):
                raise DataError(
                    f"domain {domain.name!r}: images have changed since they were read; start the command again"
                )
            if not _fits(path, count, options, domain.name):
                by_row = dict(zip(rows, zip(images, around, strict=True), strict=True))
                of_rows = [by_row.get(row, ("", ())) for row in range(count)]
                names, together = zip(*of_rows, strict=True)
                return OnDemand(domain.root, options, names, ["train"] * count, severity, together)
            sources = [Source(row, image, "train", near) for row, image, near in zip(rows, images, around, strict=True)]
            checksum, _ = _write(path, domain, count, sources, options, severity)
            files.keep_table(pd.DataFrame({"image": images}), _beside(path), checksum=checksum)
        return np.load(path, mmap_mode="r")


def _place(folder: Path, name: str, recipe: list[Any], options: Options) -> Path:
    """The file of an array: its name holds a hash of all that the array depends on."""
    files.forget_leftovers(folder)
    how = {**asdict(InputSpec.from_options(options)), "jpeg": options.test_jpeg, "resize": options.test_resize}
    code = tree_hash(["data.cache"], without=["options", "reading", "data.console", "data.files"])
    parts = [*recipe, how, [code, *map(version, ("numpy", "scipy", "pillow"))]]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    safe = re.sub(r"[^\w+-]", "_", name)  # Windows allows no colon, which domains of another set have
    return folder / f"{safe}-{key}.npy"


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


def _beside(path: Path) -> Path:
    """The file of the table that belongs to an array."""
    return path.with_suffix(".parquet")


def _table(path: Path) -> pd.DataFrame | None:
    """The table of an array, which is there without one where it did not fit, if both are as they were written."""
    table = files.kept_table(_beside(path))
    if table is None or (table.attrs["checksum"] is None and not path.exists()):
        return table
    with contextlib.suppress(OSError):
        stat = path.stat()
        if table.attrs["checksum"] == _checksum(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)):
            return table
    note(f"{path} is damaged and is made again")
    return None


@functools.cache
def _checksum(path: Path, state: tuple[int, ...]) -> int:
    """The checksum of a file, computed once in a process as long as the file's state is the same."""
    return files.file_checksum(path)


def _write(
    path: Path, domain: Domain | Spectra, rows: int, sources: list[Source], options: Options, severity: float
) -> tuple[int | None, dict[str, str]]:
    """Writes an array of so many rows; returns its checksum, and rejected images with reasons.

    Where it does not fit, the images are opened only, and there is no checksum.
    """
    fits = _fits(path, rows, options, domain.name)
    _announce(fits, domain, rows, sources, options, severity)
    shape, dtype = (rows, *InputSpec.from_options(options).shape), np.dtype(options.precision)
    tasks = [list(block) for _, block in itertools.groupby(sources, lambda source: source.row // BLOCK)]
    rejected, checksum = dict[str, str](), None
    with files.whole_file(path, size := _size(rows, options)) if fits else contextlib.nullcontext() as partial:
        if partial:
            with partial.open("wb") as file:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                files.append_zeros(file, size)
        fill = functools.partial(_fill, partial, domain.root, options, severity)
        for problems in in_processes(fill, tasks, parallel_from=PARALLEL_FROM, size=len, label=domain.name):
            rejected |= problems
        if len(rejected) == len({source.image for source in sources}):
            first, reason = next(iter(rejected.items()))
            unusable = f"domain {domain.name!r}: none of its images ({len(sources)}) can be used"
            raise DataError(f"{unusable}; the first, {first}, is {reason}")
        if partial:
            checksum = files.file_checksum(partial)
    return checksum, rejected


def _fill(
    path: Path | None, root: Path, options: Options, severity: float, sources: list[Source]
) -> list[tuple[str, str]]:
    """Writes a block of images to their rows, if there is an array; returns rejected images, with reasons."""
    if path is None:
        return crops(root, options, severity, sources)[1]
    rows, inputs, rejected = network_inputs(root, options, severity, sources)
    if rows:
        np.load(path, mmap_mode="r+")[rows] = inputs
    return rejected


def _announce(
    fits: bool, domain: Domain | Spectra, rows: int, sources: Sequence[Source], options: Options, severity: float
) -> None:
    """Says what the spectra of many images, or of any that do not fit, will take; a few are computed to know it."""
    if fits and len(sources) < TOLD_FROM:
        return
    started, first = time.perf_counter(), sources[:BLOCK]
    network_inputs(domain.root, options, severity, first)
    each = (time.perf_counter() - started) / len(first)
    gigabytes = f"the spectra of {domain.name!r} need {_size(rows, options) / 1e9:.3g} GB"
    if fits:
        note(f"{gigabytes}, and about {lasting(each * len(sources) / (processes() + 1))}, once")
        return
    pace = f"about {lasting(each * len(sources) / max(1, processes()))} for each time that all are read"
    note(f"{gigabytes}, more than {CACHE_GB} (--cache-gb) leaves; they are computed when they are read, {pace}")


def _size(rows: int, options: Options) -> int:
    """The bytes of an array of so many rows."""
    return rows * int(np.prod(InputSpec.from_options(options).shape)) * np.dtype(options.precision).itemsize


def _fits(path: Path, rows: int, options: Options, name: str) -> bool:
    """Whether an array fits under the cache's limit, once those that were used least recently are removed.

    Raises:
        DataError, UserError: it does not fit on the disk; the limit is no number above 0.
    """
    folder, needed, limit = path.parent, _size(rows, options), _limit()
    sizes = dict[Path, int]()
    for other in folder.glob("[!.]*.npy"):
        with contextlib.suppress(OSError):  # another process removes it
            sizes[other] = other.stat().st_size
    total, started = sum(sizes.values()), psutil.Process().create_time()
    for other in sorted(sizes, key=_last_used):
        if needed > limit or total + needed <= limit or _last_used(other) >= started:  # this process uses it
            break
        # Another process holds it or, on Windows, has mapped it.
        with contextlib.suppress(OSError), FileLock(other.with_suffix(".lock"), timeout=0):
            other.unlink(missing_ok=True)
            for beside in (_beside(other), other.with_suffix(".json")):
                beside.unlink(missing_ok=True)
            total -= sizes[other]
    if (fits := total + needed <= limit) and needed > (free := shutil.disk_usage(folder).free):
        gigabytes = f"the spectra of {name!r} need {needed / 1e9:.3g} GB, and {folder} has {free / 1e9:.3g} GB free"
        less = f"--cache-gb, or {CACHE_GB} in the environment, with less than they need"
        raise DataError(f"{gigabytes}; allowed: {less}, and they are computed when they are read")
    return fits


def _limit() -> float:
    """The bytes that all arrays may take, infinite where nobody has said."""
    if not (text := os.environ.get(CACHE_GB)):
        return float("inf")
    limit = 0.0
    with contextlib.suppress(ValueError):
        limit = number(text) * 1e9
    if not 0 < limit < float("inf"):
        raise UserError(f"{CACHE_GB} (--cache-gb) is {text!r}; allowed: gigabytes above 0, such as 20")
    return limit


def _last_used(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.with_suffix(".lock").stat().st_mtime
    return 0.0
