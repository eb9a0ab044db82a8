"""Shortcut audit: what the files alone tell of the class, what leaks between the splits, and a data card.

All functions take one table: a survey's rows (`cldf_core.data.intake.scan`) joined with image, label, domain, split
and group. Source of the idea: Torralba & Efros, CVPR 2011; for fakes Grommelt, Weiss, Pfreundt & Keuper 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cldf_core.data.domains import DataError
from cldf_core.data.intake.scan import Row, close_hashes, differing_bits
from cldf_core.evaluation.baselines import boosted_trees

CLASSES = ("real", "fake")
SHARE = 0.1  # a gap g between the classes lets a detector reach 0.5 + g/2 by that fact alone: 0.55
NOISE = 1.95  # times sqrt(1/n + 1/m): a gap that n and m groups show by chance once in 1000 (Kolmogorov-Smirnov)
QUALITY_GAP = 10  # from quality 80 to 90 the quantisation steps halve
IMBALANCE = 4  # beyond it, always saying the larger class is right more than 8 times in 10
DISTANCE = 4  # of 64 bits: what a new JPEG compression or a small resize changes
FARTHEST = 15  # beyond it, the bands in which two hashes must agree have under 4 bits
CROWD = 64  # images that share one hash and are paired with each other; flat images all share one
MOST = 1_000_000  # pairs that are listed
NAMED = ("format", "mode", "colours")
FACTS = [*NAMED, "width", "height", "quality", "bytes per pixel"]


class Duplicates(NamedTuple):
    """Pairs of equal and of similar images.

    Attributes:
        pairs: kind ("exact": the same content, "near": similar), distance (bits in which the perceptual hashes
            differ), within_group, and image_1, image_2, likewise domain, split, label and group.
        notes: what is not listed, a sentence each.
    """

    pairs: pd.DataFrame
    notes: tuple[str, ...] = ()


def tables(joined: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Counts by domain and class: a tidy table each for counts, format, size, quality, mode and date.

    Returns:
        All have domain, class and images. counts also has split, used and groups; the others count used images
        by one fact: format, width and height, quality (JPEG), mode and colours, or month and its source (EXIF,
        or the time of the file in UTC).
    """
    every = _checked(joined)
    of = every.groupby(["domain", "split", "class"], sort=False)
    counts = of.agg(images=("image", "size"), used=("used", "sum"), groups=("group", "nunique")).reset_index()
    images = every[every["used"]]
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


def duplicates(joined: pd.DataFrame, distance: int = DISTANCE) -> Duplicates:
    """Pairs of used images with the same content, or with perceptual hashes at most `distance` bits apart.

    A fake made from a real photograph is often similar to it by nature; such pairs have `within_group`. Of more
    than CROWD images with one hash (flat images all have the same) only CROWD are paired, from every domain,
    split and class where there are so few of those; and at most about MOST pairs are listed. The notes say so.

    Args:
        joined: survey and labels; one row is paired with every other.
        distance: from 0 to FARTHEST bits.

    Raises:
        ValueError: a distance out of range.
    """
    if not 0 <= distance <= FARTHEST:
        raise ValueError(f"distance is {distance}; allowed: 0 to {FARTHEST}")
    images = _checked(joined).query("used").reset_index(drop=True)
    content = pd.factorize(images["sha256"])[0]
    looks = np.array([int(digits, 16) for digits in images["phash"]], np.uint64)
    hashes, look = np.unique(looks, return_inverse=True)
    notes: list[str] = []

    copied = np.flatnonzero(np.bincount(content) > 1) if len(content) else content
    first, second, all_exact = _expand(copied, copied, *_members(images, content, content, "content", notes))
    exact = _pairs(images, first, second, "exact", looks)

    left, right, all_close = close_hashes(hashes, distance, MOST)
    shared = np.flatnonzero(np.bincount(look, minlength=len(hashes)) > 1)
    members = _members(images, look, content, "perceptual hash", notes)
    first, second, all_near = _expand(np.append(shared, left), np.append(shared, right), *members)
    other = content[first] != content[second]
    near = _pairs(images, first[other], second[other], "near", looks)
    if not (all_exact and all_close and all_near):
        notes.append(f"there are more than {MOST} pairs of equal or similar images; not all of them are listed")
    return Duplicates(pd.concat([exact, near], ignore_index=True), tuple(notes))


def format_baseline(joined: pd.DataFrame, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """How well a classifier does that sees FACTS of the files and nothing of the pictures.

    Boosted trees, both classes weighted alike, for every domain and for all in one. They learn from training
    images and are judged on test images; where one of the splits lacks a class, by 5-fold cross-validation over
    the groups of all images. The size of a lossless file depends on the picture, so each result is also given
    without the bytes per pixel.

    Args:
        joined: survey and labels.
        resamples: of the groups judged, for the 95 % bootstrap interval.
        seed: of folds and resamples.

    Returns:
        {"overall": result, "domains": {name: result}}; a result has "all facts" and "without file size", each
        with balanced accuracy, low, high, images (judged) and how; NaN where a class is missing.
    """
    images = _checked(joined).query("used").reset_index(drop=True)
    parts = images.groupby("domain", sort=False)
    domains = {str(name): _facts_only(part.reset_index(drop=True), resamples, seed) for name, part in parts}
    return {"overall": _facts_only(images, resamples, seed), "domains": domains}


def warnings(
    joined: pd.DataFrame, *, pairs: Duplicates | None = None, baseline: dict[str, Any] | None = None
) -> list[str]:
    """What makes a result on these images doubtful: a sentence each, which begins with the domain.

    Args:
        joined: survey and labels.
        pairs: of `duplicates`; None finds them.
        baseline: of `format_baseline`; None computes it.
    """
    images = _checked(joined).query("used")
    found = []
    for name, part in images.groupby("domain", sort=False):
        found += [f"{name}: {text}" for text in (*_imbalance(part), *_differences(part))]
    pairs = pairs or duplicates(joined)
    found += [*_leaks(pairs.pairs), *pairs.notes]
    baseline = baseline or format_baseline(joined)
    for name, result in baseline["domains"].items():
        if result["all facts"]["low"] > 0.5:
            values = [f"{r['balanced accuracy']:.2f} [{r['low']:.2f}, {r['high']:.2f}]" for r in result.values()]
            found.append(f"{name}: a classifier that sees only facts of the files has a balanced accuracy of "
                         f"{values[0]}, and {values[1]} without the file size; chance is 0.5")  # fmt: skip
    return found


def card(joined: pd.DataFrame, description: str, found: Sequence[str] | None = None) -> str:
    """A data card in Markdown: counts, sizes, formats, what was changed or set aside and why, warnings.

    Args:
        joined: survey and labels.
        description: what the data are and where they come from; stands first.
        found: of `warnings`; None computes them.
    """
    every = _checked(joined)
    found = warnings(joined) if found is None else found
    facts = tables(joined)
    images = every[every["used"]]
    sizes = images.groupby(["domain", "class"], sort=False)[["width", "height"]].agg(["min", "median", "max"])
    sizes.columns = [" ".join(words) for words in sizes.columns]
    jpeg = images.dropna(subset="quality").groupby(["domain", "class"], sort=False)["quality"]
    aside = every[~every["used"]].assign(reason=lambda table: table["reason"].str.split(" (", regex=False).str[0])
    sections = {
        "Images": _markdown(facts["counts"]),
        "Size in pixels": _markdown(sizes.reset_index()),
        "File format": _markdown(facts["format"]),
        "JPEG quality (estimated)": _markdown(jpeg.agg(["min", "median", "max"]).reset_index()),
        "Colour mode": _markdown(facts["mode"]),
        "Changed when opened": _markdown(_counted(images[images["rule"] != ""], "rule")),
        "Set aside": _markdown(_counted(aside, "reason")),
        "Warnings": "\n".join(f"- {text}" for text in found) or "None.",
    }
    parts = ["# Data card", description, *(f"## {name}\n\n{text}" for name, text in sections.items())]
    return "\n\n".join(parts) + "\n"


def _checked(joined: pd.DataFrame) -> pd.DataFrame:
    """The table with its class in words, and with names as text whatever they were."""
    named = ("domain", "split", "group")
    if missing := [name for name in (*Row._fields, "label", *named) if name not in joined]:
        raise DataError(f"audit: the table lacks {', '.join(missing)}; needed: a survey joined with labels and splits")
    if not joined["label"].isin([0, 1]).all():
        bad = joined.loc[~joined["label"].isin([0, 1])].iloc[0]
        raise DataError(f"audit: {bad['image']} has label {bad['label']!r}; allowed: 0 real, 1 fake")
    if joined["used"].isna().any():
        raise DataError(f"audit: {joined.loc[joined['used'].isna(), 'image'].iloc[0]} is not in the survey")
    words = np.array(CLASSES)[joined["label"].to_numpy(int)]
    return joined.astype({**dict.fromkeys(named, str), "used": bool}).assign(**{"class": words})


def _members(
    images: pd.DataFrame, key: np.ndarray, content: np.ndarray, what: str, notes: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows sorted by key, where each key's rows begin, and how many they are: at most CROWD, of every kind."""
    crowded = images[pd.Series(key).groupby(key).transform("size").to_numpy() > CROWD]
    if names := ", ".join(crowded["domain"].unique()):
        notes.append(
            f"{names}: {len(crowded)} images share their {what} with {CROWD} others or more, {CROWD} are paired"
        )
    table = images[["domain", "split", "label"]].assign(key=key)
    kind = list(table.columns)
    table["copy"] = table.assign(content=content).groupby([*kind, "content"]).cumcount()
    table = table.sort_values("copy", kind="stable")  # copies of one content come last ...
    table["turn"] = table.groupby(kind).cumcount()
    table = table.sort_values("turn", kind="stable")  # ... and domains, splits and classes take turns
    rows = table.index.to_numpy()[table.groupby("key").cumcount().to_numpy() < CROWD]
    rows = np.sort(rows)[np.argsort(key[np.sort(rows)], kind="stable")]
    counts = np.bincount(key[rows]) if len(rows) else key
    return rows, np.cumsum(counts) - counts, counts


def _expand(
    left: np.ndarray, right: np.ndarray, rows: np.ndarray, starts: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Pairs of rows, lower first, whose keys are paired (a key with itself once each), and whether these are all."""
    totals = counts[left] * counts[right]
    fits = np.cumsum(totals) <= MOST
    left, right, totals = left[fits], right[fits], totals[fits]
    place = np.arange(totals.sum()) - np.repeat(np.cumsum(totals) - totals, totals)
    left, right = np.repeat(left, totals), np.repeat(right, totals)
    first, second = rows[starts[left] + place // counts[right]], rows[starts[right] + place % counts[right]]
    once = (left != right) | (first < second)
    return np.minimum(first, second)[once], np.maximum(first, second)[once], bool(fits.all())


def _pairs(images: pd.DataFrame, first: np.ndarray, second: np.ndarray, kind: str, looks: np.ndarray) -> pd.DataFrame:
    pairs = pd.DataFrame({"kind": kind, "distance": differing_bits(looks[first], looks[second])})
    pairs["within_group"] = images["group"].to_numpy()[first] == images["group"].to_numpy()[second]
    for column in ("image", "domain", "split", "label", "group"):
        pairs[f"{column}_1"] = images[column].to_numpy()[first]
        pairs[f"{column}_2"] = images[column].to_numpy()[second]
    return pairs.sort_values(["distance", "image_1", "image_2"], ignore_index=True, kind="stable")


def _facts_only(images: pd.DataFrame, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    facts = images[[fact for fact in FACTS if fact in images]].fillna({"quality": 0})
    facts = facts.assign(**{fact: pd.factorize(facts[fact])[0] for fact in NAMED})
    facts["bytes per pixel"] = images["bytes"] / (images["width"] * images["height"])
    labels, splits, groups = images["label"].to_numpy(int), images["split"].to_numpy(), images["group"].to_numpy()
    return {
        key: boosted_trees(
            facts[names].to_numpy(float),
            labels,
            splits,
            groups,
            categorical=[name in NAMED for name in names],
            resamples=resamples,
            seed=seed,
        )
        for key, names in (("all facts", FACTS), ("without file size", FACTS[:-1]))
    }


def _imbalance(part: pd.DataFrame) -> Iterator[str]:
    for split, images in part.groupby("split", sort=False):
        real, fake = ((images["label"] == label).sum() for label in (0, 1))
        if max(real, fake) > IMBALANCE * min(real, fake):
            yield f"{real} real and {fake} fake images in {split} are more unequal than {IMBALANCE} to 1"


def _differences(part: pd.DataFrame) -> Iterator[str]:
    """Facts of the files whose distributions differ between the classes of a domain."""
    real, fake = (part[part["label"] == label] for label in (0, 1))
    if real.empty or fake.empty:
        return
    for fact, name in (("format", "file format"), ("mode", "colour mode"), ("colours", "grey or colour")):
        if _gap(real, fake, fact) >= _limit(real, fake):
            shares = [table[fact].value_counts(normalize=True).iloc[:3].items() for table in (real, fake)]
            real_has, fake_has = (", ".join(f"{100 * share:.0f} % {value}" for value, share in s) for s in shares)
            yield f"{name} differs by class: real {real_has}; fake {fake_has}"
    if max(_gap(real, fake, side) for side in ("width", "height")) >= _limit(real, fake):
        sizes = [" x ".join(f"{table[side].median():.0f}" for side in ("width", "height")) for table in (real, fake)]
        yield f"image size differs by class: the median is {sizes[0]} for real, {sizes[1]} for fake"
    real, fake = (table.dropna(subset="quality") for table in (real, fake))
    medians = [table["quality"].median() for table in (real, fake)]  # NaN where a class has no JPEG file
    if abs(medians[0] - medians[1]) >= QUALITY_GAP and _gap(real, fake, "quality") >= _limit(real, fake):
        yield f"JPEG quality differs by class: the median is {medians[0]:.0f} for real, {medians[1]:.0f} for fake"


def _gap(real: pd.DataFrame, fake: pd.DataFrame, fact: str) -> float:
    """Largest gap between the distribution functions of numbers; total variation distance of names."""
    shares = pd.concat([table[fact].value_counts(normalize=True) for table in (real, fake)], axis=1).fillna(0)
    gap = (shares.iloc[:, 0] - shares.iloc[:, 1]).sort_index()
    return float(gap.cumsum().abs().max() if pd.api.types.is_numeric_dtype(real[fact]) else gap.abs().sum() / 2)


def _limit(real: pd.DataFrame, fake: pd.DataFrame) -> float:
    """The gap that is worth a warning; images of a group are alike, so groups are counted. A full gap always is."""
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
