"""Gives all images of a data set one history, so that the files alone tell nothing of the class."""

import functools
import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cldf_core.data.domains import DataError
from cldf_core.data.files import told_if_full, whole_file
from cldf_core.data.images import ImageProblem, as_image, crop, open_image, reencode
from cldf_core.data.intake.add import FILES
from cldf_core.data.intake.reports import CHECK, surveyed
from cldf_core.data.intake.scan import CHUNK
from cldf_core.data.layouts.description import images_root, read_description, read_images, write_description
from cldf_core.data.layouts.reals import OWN
from cldf_core.data.runtime import in_processes, project_root


def reencode_images(
    name: str, *, size: int | None = None, quality: int = 90, workers: int | None = None
) -> tuple[Path, int, pd.DataFrame]:
    """Makes a data set <name>-re-encoded of the same images, all cropped alike and compressed once as JPEG.

    They are stored as PNG files without compression, so that not even the size of a file tells anything. What an
    earlier JPEG compression did to the pixels stays; format, size, quality and colour mode do not.

    The centre crop has `size` pixels a side; None takes the largest that nine of ten images of every class of every
    domain can hold. Smaller images are rejected. The JPEG quality is 1 to 100. Returns the new data set's folder, the
    number of its images, and a table of the rejected ones (image, why).

    Raises:
        DataError: the new data set exists already, or no image can be used.
    """
    source, joined = surveyed(name, workers=workers)
    target = project_root() / "data" / f"{name}-re-encoded"
    if target.exists():
        raise DataError(f"there is {target} already; needed: that it is moved away first")
    used = joined[joined["used"]]
    if used.empty:
        raise DataError(f"no image of the data set {name!r} can be used, so none can be re-encoded")
    sides = used.assign(side=used[["width", "height"]].min(axis=1)).groupby(["domain", "label"])["side"]
    size = size or int(sides.quantile(0.1).min()) // 2 * 2
    partial = target.with_name(f".{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    description, table = read_description(source), read_images(source)
    images = used["image"].unique()
    places = {image: f"{FILES}/{k // 1000:04}/{k:07}.png" for k, image in enumerate(images)}
    chunks = [list(places.items())[k : k + CHUNK] for k in range(0, len(places), CHUNK)]
    work = functools.partial(_write, images_root(source, description), partial, size, quality)
    sentence = f"Re-encoded from {name!r}: centre crop of {size} pixels, JPEG quality {quality}, stored as PNG."
    description = replace(description, name=target.name, root=".", found=sentence, reals=OWN, pools={})
    try:
        spread = in_processes(work, chunks, workers=workers, parallel_from=4 * CHUNK, size=len, label="re-encoding")
        why = pd.DataFrame(itertools.chain.from_iterable(spread), columns=["image", "why"])
        table = table[table["image"].isin(places) & ~table["image"].isin(why["image"])]
        write_description(partial, description, table.assign(image=table["image"].map(places)))
        with whole_file(partial / CHECK) as path:
            why.to_csv(path, index=False)
        partial.rename(target)
    except BaseException:  # of half a data set nothing is of use
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target, len(places) - len(why), why


def _write(root: Path, target: Path, size: int, quality: int, images: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Writes re-encoded images to their places below a folder; returns those that cannot be, and why."""
    rejected = []
    for image, place in images:
        try:
            pixels = reencode(crop(open_image(root / image), size), jpeg=quality)
        except ImageProblem as problem:
            rejected.append((image, str(problem)))
            continue
        with told_if_full(target / place):
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            as_image(pixels).save(target / place, compress_level=0)
    return rejected
