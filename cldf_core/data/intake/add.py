"""`cldf data`: a person's own images are added, checked, audited, described, and given one common history."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from cldf_core.data.domains import DataError
from cldf_core.data.files import save_table, whole_file
from cldf_core.data.images import ImageProblem, crop, open_image, reencode
from cldf_core.data.intake import audit, scan
from cldf_core.data.intake.archives import extract
from cldf_core.data.intake.duplicates import duplicates
from cldf_core.data.intake.register import FILES, register
from cldf_core.data.layouts.description import (
    AUDIT,
    IMAGES,
    Description,
    read_description,
    read_images,
    write_description,
)
from cldf_core.data.layouts.read import registered
from cldf_core.data.runtime import project_root
from cldf_core.evaluation.metrics import detection
from cldf_core.runs.folder import MANIFEST, RunFolder

SURVEY, CHECK, CARD, SAMPLES = "survey.parquet", "check.csv", "CARD.md", "samples.png"
TABLES = (".csv", ".parquet")
SHOWN = 20  # rows of a table that are printed; all of them are in a file
SAMPLE = 96  # pixels a side of a picture on the card


def add(
    source: Path,
    name: str | None,
    *,
    sha256: str | None = None,
    replace: bool = False,
    seed: int = 0,
    every_seconds: float = 1.0,
    workers: int | None = None,
) -> int:
    """Registers a folder, a table or an archive, and checks and audits its images.

    Raises:
        DataError: it is refused; nothing is left of it.
    """
    if not source.exists():
        raise DataError(f"there is no {source}; needed: a folder of images, an archive, or a CSV or parquet table")
    if source.is_file() and source.suffix.lower() not in TABLES:
        name = name or source.name.split(".")[0]
        folder = project_root() / "data" / name
        if folder.exists() and not (folder / FILES).exists():
            raise DataError(f"there is a data set or a folder {folder}; needed: another name (--name)")
        try:
            out = extract(source, folder / FILES, sha256=sha256)
            print(f"{out.files} files of {source.name} are in {out.folder}.")
            if out.left_out:
                print(f"{out.left_out} others are left out, such as {', '.join(out.first_left_out)}.")
            folder = register(out.folder, name, replace=replace, seed=seed, every_seconds=every_seconds)
        except DataError:
            if not (folder / IMAGES).exists() and not (folder / f".{FILES}.part").exists():
                shutil.rmtree(folder, ignore_errors=True)
            raise
    else:
        if sha256:
            raise DataError(f"--sha256 is of an archive, which {source} is not")
        folder = register(source, name, replace=replace, seed=seed, every_seconds=every_seconds)
    print(read_description(folder).found)
    check(folder.name, workers=workers)
    return audited(folder.name, workers=workers)


def listed() -> int:
    """Prints the registered data sets."""
    rows = []
    for name in registered():
        folder = project_root() / "data" / name
        about, table = read_description(folder), read_images(folder)
        domains = ", ".join(sorted(set(table["domain"])))
        rows.append((name, about.layout, table["image"].nunique(), domains, about.root))
    if rows:
        print(pd.DataFrame(rows, columns=["name", "layout", "images", "domains", "root"]).to_string(index=False))
    else:
        print("no data set is registered yet: cldf data add FOLDER or ARCHIVE; the embedded one is called mini")
    return 0


def check(name: str, *, size: int | None = None, contents: bool = False, workers: int | None = None) -> int:
    """Opens every image once and lists what is changed when it is read, and what is set aside.

    Args:
        name: of the data set.
        size: images smaller than this are listed, too.
        contents: reads every file again, whatever its size and time say.
        workers: processes; None takes one for each processor.

    Returns:
        1 if no image at all can be used, else 0.
    """
    folder, joined = _surveyed(name, workers=workers, contents=contents)
    images = joined.drop_duplicates("image")
    small = scan.too_small(images, size)["reason"] if size else pd.Series(dtype=str)
    reason = images["reason"].where(images["used"], images["reason"])
    reason.update(small)
    rows = images.assign(
        what=np.where(reason != "", "set aside", "changed"), why=reason.where(reason != "", images["rule"])
    )
    rows = rows.loc[rows["why"] != "", ["image", "what", "why"]]
    with whole_file(folder / CHECK) as path:
        rows.to_csv(path, index=False)
    aside = rows[rows["what"] == "set aside"]
    print(f"{len(images)} images: {len(images) - len(aside)} can be used, {len(aside)} are set aside.")
    if len(rows):
        print(rows.sort_values("what", ascending=False).head(SHOWN).to_string(index=False))
        print(f"All {len(rows)} are in {folder / CHECK}.")
    return int(len(aside) == len(images))


def audited(name: str, *, workers: int | None = None) -> int:
    """Prints what the files alone tell of the class, and writes it down for every later run on these data.

    Returns:
        0: a warning is a warning.
    """
    folder, joined = _surveyed(name, workers=workers)
    pairs, baseline = duplicates(joined), audit.format_baseline(joined)
    found = audit.warnings(joined, pairs=pairs, baseline=baseline)
    for what, table in audit.tables(joined).items():
        save_table(table, folder / "audit", what)
    save_table(pairs.pairs, folder / "audit", "duplicates")
    beside = _beside_detectors(name, baseline)
    save_table(beside, folder / "audit", "format_only")
    _write_audit(folder, found)
    print(audit.tables(joined)["counts"].to_string(index=False))
    print("\nBalanced accuracy of a classifier that sees only facts of the files (chance is 0.5):")
    print(beside.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep=""))
    print()
    for text in found:
        print(f"warning: {text}")
    count = "1 warning" if len(found) == 1 else f"{len(found)} warnings"
    print(f"{count}; every run on {name!r} repeats what is doubtful." if found else "No warning.")
    return 0


def card(name: str, *, workers: int | None = None) -> int:
    """Writes the data card and a picture of samples."""
    folder, joined = _surveyed(name, workers=workers)
    about = read_description(folder)
    text = audit.card(joined, f"Data set `{name}`, layout {about.layout}. {about.found}\n\n![samples]({SAMPLES})")
    with whole_file(folder / SAMPLES) as path:
        _samples(joined, _root(folder, about)).save(path)
    with whole_file(folder / CARD) as path:
        path.write_text(text, encoding="utf-8")
    print(f"{folder / CARD} and {folder / SAMPLES}")
    return 0


def reencoded(name: str, *, size: int | None = None, quality: int = 90, workers: int | None = None) -> int:
    """Makes a data set whose images all have one history: cropped alike, one JPEG compression, one format.

    They are stored as PNG files without compression, so that not even the size of a file tells anything. What
    an earlier JPEG compression did to the pixels stays; format, size, quality and colour mode do not.

    Args:
        name: of the data set; the new one is called like it, with -re-encoded.
        size: pixels a side of the centre crop; None takes the largest that nine of ten images of every class of
            every domain have room for. Smaller images are left out, and listed.
        quality: of the JPEG compression.
        workers: processes; None takes one for each processor.

    Raises:
        DataError: there is such a data set already.
    """
    source, joined = _surveyed(name, workers=workers)
    target = project_root() / "data" / f"{name}-re-encoded"
    if target.exists():
        raise DataError(f"there is {target} already; needed: that it is moved away first")
    used = joined[joined["used"]].drop_duplicates("image")
    if used.empty:
        raise DataError(f"no image of the data set {name!r} can be used, so none can be re-encoded")
    sides = joined[joined["used"]].assign(side=used[["width", "height"]].min(axis=1))
    size = size or int(sides.groupby(["domain", "label"])["side"].quantile(0.1).min()) // 2 * 2
    partial = target.with_name(f".{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    root, lost = _root(source, read_description(source)), []
    places = {}
    for number, image in enumerate(used["image"]):
        place = f"{FILES}/{number // 1000:04}/{number:07}.png"
        try:
            pixels = reencode(crop(open_image(root / image), size), jpeg=quality)
        except ImageProblem as problem:
            lost.append((image, str(problem)))
            continue
        (partial / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(partial / place, compress_level=0)
        places[image] = place
    table = read_images(source)
    table = table[table["image"].isin(places)]
    table = table.assign(image=table["image"].map(places))
    said = f"Re-encoded from {name!r}: centre crop of {size} pixels, JPEG quality {quality}, stored as PNG."
    about = read_description(source)
    write_description(partial, Description(target.name, ".", about.layout, said, about.made, about.seed), table)
    with whole_file(partial / CHECK) as path:
        pd.DataFrame(lost, columns=["image", "why"]).to_csv(path, index=False)
    partial.rename(target)
    print(f"{said} {len(places)} images; {len(lost)} are left out, listed in {target / CHECK}.")
    return audited(target.name, workers=workers)


def _folder(name: str) -> Path:
    if name not in registered():
        there = ", ".join(registered()) or "none yet"
        raise DataError(f"there is no registered data set {name!r}; allowed: {there}; cldf data add makes one")
    return project_root() / "data" / name


def _root(folder: Path, about: Description) -> Path:
    return folder / Path(about.root).expanduser()


def _surveyed(name: str, *, workers: int | None, contents: bool = False) -> tuple[Path, pd.DataFrame]:
    """The data set's folder, and its table joined with the survey, which is brought up to date."""
    folder = _folder(name)
    table, root = read_images(folder), _root(folder, read_description(folder))
    if not root.is_dir():
        raise DataError(f"the images of {name!r} are not there: no folder {root}")
    known = scan.read_survey(folder / SURVEY) if (folder / SURVEY).is_file() else None
    images = list(dict.fromkeys(table["image"]))
    seen = scan.survey(root, images, known, workers=workers, contents=contents)
    scan.write_survey(seen, folder / SURVEY)
    return folder, table.merge(seen, on="image", how="left")


def _write_audit(folder: Path, found: list[str]) -> None:
    digest = hashlib.sha256((folder / IMAGES).read_bytes()).hexdigest()
    with whole_file(folder / AUDIT) as path:
        path.write_text(json.dumps({"images": digest, "warnings": found}, indent=2) + "\n", encoding="utf-8")


def _beside_detectors(name: str, baseline: dict[str, Any]) -> pd.DataFrame:
    """The format-only classifier, and beside it the detectors that were trained on these data."""
    rows = [
        {
            "domain": domain,
            "facts of files only": result["all facts"]["balanced accuracy"],
            "low": result["all facts"]["low"],
            "high": result["all facts"]["high"],
            "without file size": result["without file size"]["balanced accuracy"],
        }
        for domain, result in {**baseline["domains"], "all": baseline["overall"]}.items()
    ]
    table = pd.DataFrame(rows)
    for path in sorted((project_root() / "runs").glob(f"*/{MANIFEST}")):
        run = RunFolder(path.parent)
        if not run.finished or run.manifest.get("options", {}).get("data") != name:
            continue
        scores = run.scores()
        last = scores[(scores["step"] == scores["step"].max()) & (scores["split"] == "test")]
        values = {
            domain: detection(part["label"].to_numpy(), part["score"].to_numpy())["balanced accuracy"]
            for domain, part in last.groupby("domain")
        }
        table[path.parent.name] = table["domain"].map(values)
    return table


def _samples(joined: pd.DataFrame, root: Path, count: int = 8) -> Image.Image:
    """A row of pictures for each class of each domain, evenly taken from its images."""
    rows = [part for _, part in joined[joined["used"]].groupby(["domain", "label"])]
    sheet = Image.new("RGB", (count * SAMPLE, max(len(rows), 1) * SAMPLE), "white")
    for y, part in enumerate(rows):
        for x, place in enumerate(np.unique(np.linspace(0, len(part) - 1, count).astype(int))):
            pixels = open_image(root / part["image"].iloc[place]).transpose(1, 2, 0)
            picture = Image.fromarray(np.ascontiguousarray(pixels))
            picture.thumbnail((SAMPLE - 4, SAMPLE - 4))
            sheet.paste(picture, (x * SAMPLE, y * SAMPLE))
    return sheet
