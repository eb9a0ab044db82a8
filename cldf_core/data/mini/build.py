"""Builds cldf-mini: cuts the crops, makes a fake of each, writes the folders and the table of files."""

import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from cldf_core.data.console import progress_bar
from cldf_core.data.domains import CLASSES, SPLITS
from cldf_core.data.files import told_if_full
from cldf_core.data.mini.crops import DOMAINS, HERE, PHOTOGRAPHS, Crop, crops_of, cut, half_size, read_splits
from cldf_core.data.runtime import thread_count

# Real crops of each domain and split; the fakes are as many. None takes all crops that there are.
EMBEDDED: dict[str, dict[str, Any]] = {
    "mini": {"train": 250, "validation": 100, "test": 250},
    "mini-smoke": {"train": 24, "validation": 12, "test": 24},
}
JPEG_DOMAINS = ("mini-DeepFake", "mini-NeuralTextures")
JPEG_QUALITIES = range(90, 99)
COLUMNS = ("file", "split", "group", "domain", "label", "generator")
TABLE = "splits.csv"  # the last file to be written, so its presence in a finished folder stands for all the others


def jpeg_quality(crop: Crop) -> int:
    """The quality at which a real crop and its fake are written, drawn from the crop's name."""
    return JPEG_QUALITIES[zlib.crc32(f"quality {crop.name}".encode()) % len(JPEG_QUALITIES)]


def is_built(folder: Path) -> bool:
    """Whether a folder holds a data set that `build` finished."""
    return (folder / TABLE).is_file()


def build(
    folder: Path,
    *,
    generators: Path | None = None,
    train: int | None = EMBEDDED["mini"]["train"],
    validation: int | None = EMBEDDED["mini"]["validation"],
    test: int | None = EMBEDDED["mini"]["test"],
) -> Path:
    """Writes the data set: `real/<domain>/trainA|testA`, `fake/…` and splits.csv; returns its folder.

    Validation images lie in trainA too; splits.csv tells them apart. The folder appears whole or not at all, and a
    finished one is left as it is.

    The work is done in `<folder>.partial` beside it. `generators` is the folder of the generators' weights, None takes
    the shipped ones; `train`, `validation` and `test` are real crops a domain, None takes all that there are.

    Raises:
        ValueError: a number is out of range, weights are missing, or the folder holds something else.
    """
    if is_built(folder):
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not a finished cldf-mini; name a new or empty folder")
    # Imported here: asking whether a data set is built should not wait for torch.
    from cldf_core.data.mini.generators import generator_name, load_generators, make_fakes

    jobs = _jobs({"train": train, "validation": validation, "test": test})
    networks = load_generators(generators)
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():  # what an interrupted call left, of unknown age and options
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    rows: list[tuple[str | int, ...]] = []
    total = sum(len(crops) for *_, crops in jobs)
    # Sums, and so pixels, can depend on the number of threads.
    with told_if_full(partial), thread_count(2), progress_bar(total, f"building {folder.name}") as bar:
        for domain, split, variant, crops in jobs:
            reals = np.stack([cut(crop) for crop in crops])
            fakes = make_fakes(domain, networks, reals, crops, variant)
            rows += _write_class(partial, 0, domain, split, crops, reals, "")
            rows += _write_class(partial, 1, domain, split, crops, fakes, generator_name(domain, variant))
            bar.update(len(crops))
    half_size.cache_clear()
    shutil.copyfile(HERE / "CARD.md", partial / "README.md")
    shutil.copyfile(PHOTOGRAPHS / "photographs.csv", partial / "photographs.csv")
    pd.DataFrame(sorted(rows), columns=list(COLUMNS)).to_csv(partial / TABLE, index=False, lineterminator="\n")
    if folder.exists():
        folder.rmdir()
    os.replace(partial, folder)
    return folder


def _jobs(counts: dict[str, int | None]) -> list[tuple[str, str, int, list[Crop]]]:
    """Batches of crops that one generator takes at once: domain, split, variant, crops."""
    from cldf_core.data.mini.generators import BATCH

    variant_of = read_splits()["variant"]
    jobs = []
    for domain in DOMAINS:
        for split in SPLITS:
            crops, count = crops_of(split, domain), counts[split]
            if count is not None and not 1 <= count <= len(crops):
                raise ValueError(f"{split} is {count}; allowed for {domain}: 1 to {len(crops)}, or None for all")
            by_variant: dict[int, list[Crop]] = {}
            for crop in crops[:count]:
                variant = variant_of[crop.photograph] if domain == "mini-ForenSynths" else 0
                by_variant.setdefault(variant, []).append(crop)
            for variant, chosen in sorted(by_variant.items()):
                for start in range(0, len(chosen), BATCH):
                    jobs.append((domain, split, variant, chosen[start : start + BATCH]))
    return jobs


def _write_class(
    root: Path, label: int, domain: str, split: str, crops: list[Crop], images: NDArray[np.uint8], generator: str
) -> list[tuple[str | int, ...]]:
    """Writes the real or the fake images of crops; returns their rows of splits.csv."""
    folder = root / CLASSES[label] / domain / ("testA" if split == "test" else "trainA")
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str | int, ...]] = []
    for crop, pixels in zip(crops, images, strict=True):
        path = write_image(folder, crop, domain, pixels).relative_to(root)
        rows.append((path.as_posix(), split, crop.photograph, domain, label, generator))
    return rows


def write_image(folder: Path, crop: Crop, domain: str, pixels: NDArray[np.uint8]) -> Path:
    """Writes pixels, shape (128, 128, 3), as their domain has both classes: PNG, or JPEG at the crop's quality."""
    as_jpeg = {"quality": jpeg_quality(crop), "subsampling": "4:2:0"}
    suffix, settings = (".jpg", as_jpeg) if domain in JPEG_DOMAINS else (".png", {"compress_level": 4})
    path = folder / f"{crop.name}{suffix}"
    Image.fromarray(pixels).save(path, **settings)
    return path
