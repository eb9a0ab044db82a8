"""Spectra of a domain as one memory-mapped array, computed once and kept under the hash of its content."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

import cldf_core
from cldf_core.data.domains import DataError, Domain
from cldf_core.data.images import ImageProblem, centre_crop, open_image
from cldf_core.options import Options
from cldf_core.spectrum import network_input

BLOCK = 64  # images decoded and transformed at once


@dataclass(frozen=True)
class Spectra:
    """What the network reads of a domain.

    Attributes:
        name: of the domain.
        array: memory-mapped, float16 or float32, shape (N, 3, H, W/2 + 1) or (N, 3, H, W).
        table: the usable images; columns as in `Domain`, and row, each image's place in the array.
        set_aside: images that could not be used: image, reason.
        fingerprint: of the domain.
    """

    name: str
    array: np.ndarray
    table: pd.DataFrame
    set_aside: pd.DataFrame
    fingerprint: str


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

    Args:
        domain: whose images.
        options: size, feature, plane, band and precision.
        folder: of the cache.

    Raises:
        DataError: not one image of the domain can be used; the message tells the first reason.
    """
    how = {k: getattr(options, k) for k in ("size", "feature", "plane", "band", "precision")}
    recipe = [domain.fingerprint, how, source_hash("spectrum.py", "data/images.py")]
    key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
    array_path = folder / f"{domain.name}-{key}.npy"
    table_path, aside_path = array_path.with_suffix(".csv"), folder / f"{domain.name}-{key}-set-aside.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{domain.name}-{key}.lock"):
        if not array_path.exists():  # written last, so it stands for all three
            _compute(domain, options, array_path, table_path, aside_path)
    table = pd.read_csv(table_path, dtype={"image": str, "group": str, "split": str}, keep_default_na=False)
    aside = pd.read_csv(aside_path, dtype=str, keep_default_na=False)
    return Spectra(domain.name, np.load(array_path, mmap_mode="r"), table, aside, domain.fingerprint)


def _compute(domain: Domain, options: Options, array_path: Path, table_path: Path, aside_path: Path) -> None:
    """Block by block: decoded, transformed, written. An image that is set aside leaves its row empty."""
    size, dtype = options.size, np.dtype(options.precision)
    columns = size // 2 + 1 if options.feature == "spectrum" and options.plane == "half" else size
    images = domain.table["image"].to_list()
    kept: list[int] = []
    aside: list[tuple[str, str]] = []
    with whole_file(array_path) as partial:
        out = np.lib.format.open_memmap(partial, "w+", dtype, (len(images), 3, size, columns))
        for start in range(0, len(images), BLOCK):
            block = {}
            for row in range(start, min(start + BLOCK, len(images))):
                try:
                    block[row] = centre_crop(open_image(domain.root / images[row]), size)
                except ImageProblem as problem:
                    aside.append((images[row], str(problem)))
            if block:
                out[list(block)] = network_input(
                    np.stack(list(block.values())), feature=options.feature, plane=options.plane, band=options.band
                )
                kept += block
        if not kept:
            raise DataError(
                f"domain {domain.name!r}: none of its {len(images)} images can be used; the first, "
                f"{aside[0][0]}, is {aside[0][1]}"
            )
        out.flush()
        del out
        with whole_file(table_path) as path:
            domain.table.iloc[kept].assign(row=kept).to_csv(path, index=False)
        with whole_file(aside_path) as path:
            pd.DataFrame(aside, columns=["image", "reason"]).to_csv(path, index=False)
