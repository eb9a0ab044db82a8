"""The audit for shortcuts: what the files alone tell of the class, what leaks between splits, and a data card.

Every function takes the rows of a survey (`cldf_core.data.intake.scan`) joined with label, domain, split and group.
Source of the idea: Torralba & Efros, CVPR 2011; for fakes Grommelt, Weiss, Pfreundt & Keuper 2024.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.data.intake.duplicates import Duplicates, duplicates
from cldf_core.data.intake.scan import with_classes
from cldf_core.data.layouts.tables import in_few_words
from cldf_core.evaluation.baselines import boosted_trees

SHARE = 0.1  # a gap g between the classes lets a detector reach 0.5 + g/2 by that fact alone: 0.55
NOISE = 1.95  # times sqrt(1/n + 1/m): a gap that n and m groups show by chance once in 1000 (Kolmogorov-Smirnov)
QUALITY_GAP = 10  # from quality 80 to 90 the quantisation steps halve
IMBALANCE = 4  # beyond it, always saying the larger class is right more than 8 times in 10
NAMED = ("format", "mode", "colours")
FACTS = [*NAMED, "width", "height", "quality", "bytes per pixel"]


def tables(joined: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Counts images by domain and class, in tidy tables that are called counts, format, size, quality, mode and date.

    All have the columns domain, class and images. counts also has split, used and groups; the others count used images
    by format, width and height, JPEG quality, mode and colours, or month and its source (EXIF, or the file's UTC time).
    """
    every, images = with_classes(joined), _used(joined, "exif_date", "mtime_ns")
    classes = every.groupby(["domain", "split", "class"], sort=False)
    counts = classes.agg(images=("image", "size"), used=("used", "sum"), groups=("group", "nunique")).reset_index()
    taken = images["exif_date"] != ""
    month = images["exif_date"].str[:7].where(taken, pd.to_datetime(images["mtime_ns"]).dt.strftime("%Y-%m"))
    dated = images.assign(month=month, source=np.where(taken, "EXIF", "file"))
    return {
        "counts": counts,
        "format": _counted(images, "format"),
        "size": _counted(images, "width", "height"),
        "quality": _counted(images.dropna(subset="quality"), "quality"),
        "mode": _counted(images, "mode", "colours"),
        "date": _counted(dated, "month", "source"),
    }


def format_baseline(joined: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Measures how well `boosted_trees` do that see FACTS of the files and nothing of the pictures.

    The size of a lossless file depends on the picture, so they are also measured without the bytes per pixel. Returns
    {"overall": result, "domains": {name: result}}; a result has "all facts" and "without file size", each of which is
    what `boosted_trees` returns.
    """
    images = _used(joined)
    domains = {str(name): _facts_only(part, seed) for name, part in images.groupby("domain", sort=False)}
    return {"overall": _facts_only(images, seed), "domains": domains}


def warnings(
    joined: pd.DataFrame, *, pairs: Duplicates | None = None, baseline: dict[str, Any] | None = None
) -> list[str]:
    """States what makes a result on these images doubtful, in sentences that begin with the domain.

    `pairs` are the result of `duplicates`, and `baseline` is that of `format_baseline`; None computes them.
    """
    images = _used(joined)
    found, classes = [], images.groupby("domain", sort=False)["class"].unique()
    if alone := [f"{name} ({kinds[0]})" for name, kinds in classes.items() if len(kinds) == 1]:
        named = in_few_words(alone)
        found.append(f"domains of one class alone, which no stream can learn from without the other class: {named}")
    for name, part in images.groupby("domain", sort=False):
        found += [f"{name}: {text}" for text in (*_imbalance(part), *_differences(part))]
    pairs = pairs or duplicates(joined)
    found += [*_leaks(pairs.pairs), *pairs.notes]
    baseline = baseline or format_baseline(joined)
    for name, result in baseline["domains"].items():
        if result["all facts"]["low"] > 0.5:
            values = [f"{r['balanced accuracy']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" for r in result.values()]
            found.append(f"{name}: a classifier that sees only facts of the files has a balanced accuracy of "
                         f"{values[0]}, and {values[1]} without the file size; chance is 0.5")  # fmt: skip
    return found


def card(joined: pd.DataFrame, description: str) -> str:
    """Writes a data card in Markdown: counts, sizes, formats, what was changed or rejected and why, and warnings.

    The description, which says what the data are and where they come from, stands first.
    """
    every, images, facts = with_classes(joined), _used(joined, "rule"), tables(joined)
    sizes = images.groupby(["domain", "class"], sort=False)[["width", "height"]].agg(["min", "median", "max"])
    sizes.columns = [" ".join(words) for words in sizes.columns]
    jpeg = images.dropna(subset="quality").groupby(["domain", "class"], sort=False)["quality"]
    rejected = every[~every["used"]].assign(reason=lambda table: table["reason"].str.split(" (", regex=False).str[0])
    sections = {
        "Images": _markdown(facts["counts"]),
        "Size in pixels": _markdown(sizes.reset_index()),
        "File format": _markdown(facts["format"]),
        "JPEG quality (estimated)": _markdown(jpeg.agg(["min", "median", "max"]).reset_index()),
        "Colour mode": _markdown(facts["mode"]),
        "Changed when opened": _markdown(_counted(images[images["rule"] != ""], "rule")),
        "Rejected": _markdown(_counted(rejected, "reason")),
        "Warnings": "\n".join(f"- {text}" for text in warnings(joined)) or "None.",
    }
    parts = ["# Data card", description, *(f"## {name}\n\n{text}" for name, text in sections.items())]
    return "\n\n".join(parts) + "\n"


def facts_of_files(images: pd.DataFrame) -> tuple[np.ndarray, list[bool]]:
    """Returns what the files of a survey's rows say, FACTS as numbers, (N, F), and which of them code categories."""
    facts = images[FACTS[:-1]].fillna({"quality": 0})
    facts = facts.assign(**{fact: pd.factorize(facts[fact])[0] for fact in NAMED})
    facts["bytes per pixel"] = images["bytes"] / (images["width"] * images["height"])
    return facts.to_numpy(float), [name in NAMED for name in FACTS]


def _used(joined: pd.DataFrame, *more: str) -> pd.DataFrame:
    """The images that can be used, groups as numbers, and only what is looked at: all may take gigabytes."""
    columns = ["domain", "split", "group", "label", "class", "bytes", *FACTS[:-1], *more]
    images = with_classes(joined).loc[lambda table: table["used"], columns]
    return images.assign(group=pd.factorize(images["group"])[0])


def _facts_only(images: pd.DataFrame, seed: int) -> dict[str, dict[str, Any]]:
    facts, categorical = facts_of_files(images)
    classes = images["label"].to_numpy(int), images["split"].to_numpy(), images["group"].to_numpy()
    return {
        key: boosted_trees(facts[:, :count], *classes, categorical=categorical[:count], seed=seed)
        for key, count in (("all facts", len(FACTS)), ("without file size", len(FACTS) - 1))
    }


def _imbalance(part: pd.DataFrame) -> Iterator[str]:
    if part["label"].nunique() == 1:  # said once for all such domains
        return
    for split, images in part.groupby("split", sort=False):
        real, fake = ((images["label"] == label).sum() for label in (0, 1))
        if max(real, fake) > IMBALANCE * min(real, fake):
            yield f"{real} real and {fake} fake images in {split} are more unequal than {IMBALANCE} to 1"


def _differences(part: pd.DataFrame) -> Iterator[str]:
    """States which facts of the files have different distributions in the classes of a domain."""
    real, fake = (part[part["label"] == label] for label in (0, 1))
    if real.empty or fake.empty:
        return
    for fact, name in (("format", "file format"), ("mode", "colour mode"), ("colours", "grey or colour")):
        if _gap(real, fake, fact) >= _limit(real, fake):
            shares = [table[fact].value_counts(normalize=True).iloc[:3].items() for table in (real, fake)]
            texts = [", ".join(f"{100 * share:.0f} % {value}" for value, share in pairs) for pairs in shares]
            yield f"{name} differs by class: real {texts[0]}; fake {texts[1]}"
    if max(_gap(real, fake, side) for side in ("width", "height")) >= _limit(real, fake):
        sizes = [" x ".join(f"{table[side].median():.0f}" for side in ("width", "height")) for table in (real, fake)]
        yield f"image size differs by class: the median is {sizes[0]} for real, {sizes[1]} for fake"
    real, fake = (table.dropna(subset="quality") for table in (real, fake))
    medians = [table["quality"].median() for table in (real, fake)]  # NaN where a class has no JPEG file
    if abs(medians[0] - medians[1]) >= QUALITY_GAP and _gap(real, fake, "quality") >= _limit(real, fake):
        yield f"JPEG quality differs by class: the median is {medians[0]:.0f} for real, {medians[1]:.0f} for fake"


def _gap(real: pd.DataFrame, fake: pd.DataFrame, fact: str) -> float:
    """Computes the largest gap between distribution functions of numbers, or the total variation distance of names."""
    shares = pd.concat([table[fact].value_counts(normalize=True) for table in (real, fake)], axis=1).fillna(0)
    gap = (shares.iloc[:, 0] - shares.iloc[:, 1]).sort_index()
    return float(gap.cumsum().abs().max() if pd.api.types.is_numeric_dtype(real[fact]) else gap.abs().sum() / 2)


def _limit(real: pd.DataFrame, fake: pd.DataFrame) -> float:
    """The smallest gap that is worth a warning: images of a group are alike, so groups count. A gap of 1 always is."""
    return min(max(SHARE, NOISE * sum(1 / table["group"].nunique() for table in (real, fake)) ** 0.5), 1 - 1e-9)


def _leaks(pairs: pd.DataFrame) -> Iterator[str]:
    where = [" and ".join(sorted({*both})) for both in pairs[["domain_1", "domain_2"]].to_numpy()]
    exact, torn = pairs["kind"] == "exact", pairs["split_1"] != pairs["split_2"]
    for what, chosen in (
        ("images with the same content are in different splits", exact & torn),
        ("near-duplicates are in different splits", ~exact & torn),
        ("images with the same content are in both classes", exact & (pairs["label_1"] != pairs["label_2"])),
    ):
        for place, part in pairs.assign(where=where)[chosen].groupby("where"):
            pair = part.iloc[0]
            both = " and ".join(f"{pair[f'image_{k}']} ({pair[f'split_{k}']})" for k in (1, 2))
            yield f"{place}: {what} (pairs: {len(part)}, such as {both})"


def _counted(images: pd.DataFrame, *facts: str) -> pd.DataFrame:
    return images.groupby(["domain", "class", *facts], sort=False).size().rename("images").reset_index()


def _markdown(table: pd.DataFrame) -> str:
    if table.empty:
        return "None."
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
