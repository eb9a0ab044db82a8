"""What there is to be measured: the scores of a run, or of a file that any program may have written.

Such a file is CSV or parquet, a row per image and step, with the columns image, domain, label (0 or real, 1 or fake)
and score (P(fake)); optional are step (else 1), split (else test), group (else the video, else the image), agent
(else the file's name), seed, video and logit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.data.layouts import tables
from cldf_core.data.layouts.original import SPLIT_NAMES
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError
from cldf_core.runs.folder import RunFolder

NEEDED = ("image", "domain", "label", "score")
OPTIONAL = ("step", "split", "group", "agent", "seed", "video", "logit")
_LABELS = {"0": 0, "real": 0, "1": 1, "fake": 1}


@dataclass(frozen=True)
class Scores:
    """The scores of one agent, trained once.

    Attributes:
        run: the name of the run's folder, or the file.
        agent: who was trained.
        seed: of the training; None where that is not known.
        table: step, domain, split, image, group, label, score; video where that is known.
        stream: the trained domains, in their order; None where that is not known.
        settings: the run's options but for agent and seed; none of a file's.
        manifest: of the run; empty of a file.
    """

    run: str
    agent: str
    seed: int | None
    table: pd.DataFrame
    stream: tuple[str, ...] | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)


def read_scores(what: Sequence[str | Path | RunFolder], stream: Sequence[str] | None = None) -> list[Scores]:
    """The scores that runs and files hold; a file may hold those of several agents and seeds.

    Args:
        what: runs, their folders or their names in runs/, and files; each counts once.
        stream: the trained domains of the files, in their order. A run knows its own.

    Raises:
        UserError: there is no such run or file, a run is not finished, or a file is not as it should be; the
            sentence names file, row and column.
    """
    if not what:
        raise UserError("no run and no file is named; needed: at least one")
    found: dict[Path, list[Scores]] = {}
    for given in what:
        path = given.path if isinstance(given, RunFolder) else Path(given)
        if not os.path.exists(path):  # unlike Path's, it says no to a name that is too long
            path = project_root() / "runs" / path
        if path.absolute() in found:
            continue
        if os.path.isdir(path):
            found[path.absolute()] = [_of_run(RunFolder(path))]
        elif os.path.isfile(path) and path.suffix.lower() in tables.SUFFIXES:
            found[path.absolute()] = _of_file(path, str(given), stream)
        else:
            raise UserError(
                f"{str(given)!r} is no run and no table of scores; allowed: a finished run's folder, its name in "
                f"{project_root() / 'runs'}, or a file that ends with {' or '.join(tables.SUFFIXES)}"
            )
    scores = [one for several in found.values() for one in several]
    if stream is not None and all(one.manifest for one in scores):
        raise UserError("--stream is given, but there are only runs, which know theirs; allowed with a file of scores")
    return scores


def _of_run(folder: RunFolder) -> Scores:
    manifest = folder.manifest
    if not folder.finished or "agent" not in manifest.get("options", {}):
        raise UserError(f"{folder.path} is no folder of a finished run; allowed: one that cldf reproduce or train made")
    options = manifest["options"]
    settings = {name: value for name, value in options.items() if name not in ("agent", "seed")}
    stream = tuple(options["stream"])
    return Scores(folder.path.name, options["agent"], options["seed"], folder.scores(), stream, settings, manifest)


def _of_file(path: Path, name: str, stream: Sequence[str] | None) -> list[Scores]:
    table = _checked(path, tables.read_text(path))
    if stream is not None:
        domains = table["domain"].unique()
        for domain in stream:
            if domain not in domains:
                raise UserError(f"--stream has {domain!r}, of which {path} has no scores; there: {', '.join(domains)}")
        if len(set(stream)) < len(stream):
            raise UserError(f"--stream is {','.join(stream)}; allowed: each domain once")
        if (last := int(table["step"].max())) > len(stream):
            raise UserError(
                f"{path} has a step {last}; allowed with a --stream of {len(stream)} domains: 1 to {len(stream)}"
            )
    known = None if stream is None else tuple(stream)
    found = []
    for agent, of_agent in table.groupby("agent", sort=False):
        for _, own in of_agent.groupby("seed", sort=False):
            number = int(own["seed"].iloc[0])
            own = own.drop(columns=["agent", "seed"])
            found.append(Scores(name, str(agent), None if number < 0 else number, own, known))
    return found


def _checked(path: Path, given: pd.DataFrame) -> pd.DataFrame:
    """The table with numbers for labels, scores, steps and seeds (-1: not known), and nothing missing."""
    if absent := [name for name in NEEDED if name not in given]:
        raise UserError(
            f"{path} has no column {absent[0]!r}, only {', '.join(given.columns)}; needed: {', '.join(NEEDED)}; "
            f"allowed besides: {', '.join(OPTIONAL)}"
        )
    if given.empty:
        raise UserError(f"{path} has no row; needed: one for each image that was scored")
    text = given.reindex(columns=[*NEEDED, *OPTIONAL], fill_value="").apply(lambda column: column.str.strip())

    def check(column: str, good: Iterable[bool], allowed: str) -> None:
        bad = text.index[~pd.Series(good, text.index)]
        if len(bad):
            raise UserError(f"{path}, row {bad[0]} has {column} {given.loc[bad[0], column]!r}; allowed: {allowed}")

    def number(column: str, low: float, high: float, allowed: str, empty: float | None = None) -> pd.Series:
        values = pd.to_numeric(text[column], errors="coerce")
        if empty is not None:
            values = values.mask(text[column] == "", empty)
        whole = column in ("score", "logit") or values % 1 == 0
        check(column, values.between(low, high) & whole | (text[column] == "") & (empty is not None), allowed)
        return values

    for column in ("image", "domain"):
        check(column, text[column] != "", "a name")
    labels = text["label"].str.lower()
    check("label", labels.isin(_LABELS), "0 or real, 1 or fake")
    splits = text["split"].str.lower().replace("", "test")
    check("split", splits.isin(SPLIT_NAMES), f"{', '.join(SPLIT_NAMES)}, or nothing, which means test")
    number("logit", -float("inf"), float("inf"), "a number, or nothing", 0)
    table = pd.DataFrame(
        {
            "step": number("step", 1, 10**6, "a whole number from 1, or nothing, which means 1", 1).astype(int),
            "domain": text["domain"],
            "split": splits.map(SPLIT_NAMES),
            "image": text["image"],
            "group": text["group"].where(text["group"] != "", text["video"].where(text["video"] != "", text["image"])),
            "label": labels.map(_LABELS).astype(int),
            "score": number("score", 0, 1, "a number from 0 to 1").astype(float),
            "video": text["video"],
            "agent": text["agent"].replace("", path.stem),
            "seed": number("seed", 0, 2**31 - 1, "a whole number from 0, or nothing", -1).astype(int),
        }
    )
    _check_together(path, table)
    return (table.drop(columns="video") if (table["video"] == "").all() else table).reset_index(drop=True)


def _check_together(path: Path, table: pd.DataFrame) -> None:
    """Rules that concern several rows."""

    def check(bad: pd.Series, what: str, needed: str) -> None:
        if bad.any():
            row = table[bad].iloc[0]
            raise UserError(f"{path}, row {bad.idxmax()} has {what.format(**row)}; needed: {needed}")

    keys = ["agent", "seed", "step", "domain", "split", "image"]
    check(
        table.duplicated(keys),
        "image {image!r} of domain {domain!r} once more",
        "each once for each agent, seed, step and split",
    )

    def differs(column: str, by: list[str]) -> pd.Series:
        return table[column] != table.groupby(by, sort=False)[column].transform("first")

    check(
        differs("label", ["domain", "image"]),
        "image {image!r} of domain {domain!r} with another label than before",
        "one label for an image",
    )
    check(
        (table["video"] != "") & differs("group", ["domain", "video", "label"]),
        "video {video!r} of domain {domain!r} in another group than before",
        "one group for a video",
    )
