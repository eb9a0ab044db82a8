"""Tables of scores: those of a run, and those of a file that any program may have written.

Such a file is CSV or parquet and has a row for each image and step. It needs the columns image, domain, label (0 or
real, 1 or fake) and score (P(fake)). Optional are step (else 1), split (else test), group (else the video, else the
image), agent (else the file's name), seed, video and logit. A row without a score is left out where a column reason
tells why, as in what `cldf score` writes.
"""

import contextlib
import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.data.console import note
from cldf_core.data.domains import SPLIT_NAMES
from cldf_core.data.layouts import tables
from cldf_core.data.listing import split_pattern
from cldf_core.data.runtime import project_root
from cldf_core.evaluation.pool import with_pool
from cldf_core.options import UserError, shown
from cldf_core.runs.folder import MANIFEST, RunFolder, damage, named_path

NEEDED = ("image", "domain", "label", "score")
OPTIONAL = ("step", "split", "group", "agent", "seed", "video", "logit")


@dataclass(frozen=True)
class Scores:
    """The scores of one agent that was trained once, from a run, which is named like its folder, or from a file.

    The table has the columns step, domain, split, image, group, label, score, and video where videos are known. The
    seed, and the stream of trained domains in their order, are None where they are unknown; so is a stream in which a
    domain comes twice. The settings are the options of a run without agent and seed. They and the manifest are empty
    for a file. The notes are sentences on what is not in the table.
    """

    run: str
    agent: str
    seed: int | None
    table: pd.DataFrame
    stream: tuple[str, ...] | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Source = str | Path | RunFolder | Scores  # what scores can be read from, and scores that were read before


def matches(names: Sequence[str]) -> dict[str, str]:
    """The runs and tables that are named, or that patterns stand for, which not every shell expands; these sorted.

    What exists, here, in the root or as the name of a run in runs/, is no pattern. Runs and tables that are damaged or
    not finished, and what is neither, come with the reason why they are left out, unless there is nothing else; the
    reason of all others is "", as is that of a name of nothing, which is a mistake.
    """
    found = list[str]()
    for name in names:
        paths = list[str]()
        for folder in (Path(), project_root(), project_root() / "runs"):
            if not paths and not os.path.lexists(named_path(name)):
                base, pattern = split_pattern(folder / name)
                paths = glob.glob(os.path.join(glob.escape(str(base)), *pattern))
        found += sorted(map(os.path.normpath, paths)) or [name]
    if len(found := list(dict.fromkeys(found))) == 1:  # which is read, and told of, in any case
        return {found[0]: ""}
    problems = {n: problem(Path(n)) if os.path.lexists(named_path(n)) else "" for n in found}
    return problems if not all(problems.values()) else {found[0]: ""}


def problem(path: Path) -> str:
    """Why no scores can be had of a run's folder, or of what should be a table of scores; "" where they can."""
    try:
        read_scores([path])
    except (UserError, OSError) as error:
        return str(error)
    return ""


def finished_runs(pattern: str = "*", *, told: bool = False) -> list[tuple[RunFolder, dict[str, Any]]]:
    """The finished runs in runs/ whose names fit a pattern, sorted, with their options.

    What is none, or has a damaged manifest, disturbs nobody who has not asked for it, so it is left out; where `told`,
    a note says which is damaged.
    """
    runs = []
    for folder in map(RunFolder, sorted((project_root() / "runs").glob(pattern))):
        try:
            folder.manifest  # noqa: B018
        except (UserError, OSError) as error:
            if told:
                note(f"left out: {error}")
            continue
        with contextlib.suppress(UserError, OSError):
            runs.append((folder, run_options(folder)))
    return runs


def run_options(folder: RunFolder) -> dict[str, Any]:
    """The options of a finished run; a UserError where it is none, or where its manifest is damaged."""
    options = folder.manifest.get("options")
    if not folder.finished or not isinstance(options, dict) or "agent" not in options:
        found = f"{folder.path} is no folder of a finished run, of which its {MANIFEST} would tell"
        raise UserError(f"{found}; allowed: one that cldf reproduce or train made")
    kinds = {"agent": str, "seed": int, "stream": list, "data": str}
    if not all(isinstance(options.get(name), kind) for name, kind in kinds.items()):
        raise damage(folder.path / MANIFEST)
    return options


def read_scores(sources: Sequence[Source], stream: Sequence[str] | None = None) -> list[Scores]:
    """Reads the scores of runs and files; a file may hold those of several agents and seeds.

    Sources are runs, their folders or their names in runs/, files, and scores that were read before, which stay as they
    are; a repeated one counts once. The stream is that of the files, its domains in order; a run knows its own. A
    UserError says that there is no such run or file, that a run is not finished, or in which row and column a file is
    malformed.
    """
    if not sources:
        raise UserError("no run and no file is named; needed: at least one")
    scores: dict[Path, list[Scores]] = {}
    for source in sources:
        if isinstance(source, Scores):
            scores[Path(source.run)] = [source]
            continue
        path = source.path if isinstance(source, RunFolder) else named_path(source)
        if path.absolute() in scores:
            continue
        if os.path.isdir(path):
            folder = RunFolder(path)
            run_options(folder)
            scores[path.absolute()] = [scores_of(path.name, folder.manifest, folder.scores())]
        elif os.path.isfile(path) and path.suffix.lower() in tables.SUFFIXES:
            scores[path.absolute()] = _file_scores(path, str(source), stream)
        else:
            raise UserError(
                f"{shown(str(source))} is no run and no table of scores; allowed: a finished run's folder, its name in "
                f"{project_root() / 'runs'}, or a file that ends with {' or '.join(tables.SUFFIXES)}"
            )
    found = [part for parts in scores.values() for part in parts]
    if stream is not None and all(part.manifest for part in found):
        raise UserError("--stream is given, but there are only runs, which know theirs; allowed with a file of scores")
    return found


def share_reals(sources: Sequence[Scores], reals: str, split: str) -> list[Scores]:
    """Gives the tables the column pool (`pool.with_pool`) where reals are "shared", none where they are "own".

    A UserError says that in this split there are domains of fakes only, but nowhere a real image to share.
    """
    if reals not in ("own", "shared"):
        raise UserError(f"--reals is {reals!r}; allowed: own, shared")
    if reals == "own":
        return list(sources)
    pooled = [replace(source, table=with_pool(source.table)) for source in sources]
    lacking = list[str]()
    for source in pooled:
        table = source.table[source.table["split"] == split]
        alone = table[table.groupby(["step", "domain"])["label"].transform("min") == 1]
        if alone["step"].isin(table.loc[table["pool"], "step"]).any():
            return pooled
        if len(alone):
            others = source.table[source.table["label"] == 0].drop_duplicates(["split", "step"])
            there = [f"step {step} of {name}" for name, step in zip(others["split"], others["step"], strict=True)]
            step, domain = alone[["step", "domain"]].iloc[0]
            found = (
                f"{source.run} has no real image in step {step} of {split}, where {shown(domain, 80)} holds fakes only"
            )
            lacking.append(
                f"{found}; there are some in {', '.join(there[:5])}" if there else f"{found}, and none elsewhere"
            )
    if lacking:
        raise UserError(f"--reals is 'shared', but {lacking[0]}; allowed here: own")
    return pooled


def agent_names(sources: Sequence[Scores]) -> list[str]:
    """Returns the agents' names, as `names_with_options`; a UserError where two runs are of the same name and seed."""
    names = names_with_options(sources)
    first: dict[tuple[str, int | None], Scores] = {}
    for source, name in zip(sources, names, strict=True):
        other = first.setdefault((name, source.seed), source)
        if source.seed is not None and other is not source:
            raise UserError(
                f"{other.run} and {source.run} are both of agent {name!r} with seed {source.seed} and "
                "the same options; allowed: one of them"
            )
    return names


def names_with_options(sources: Sequence[Scores]) -> list[str]:
    """Returns the agents' names; where an agent has several settings, with the options that differ in brackets."""
    names = []
    for source in sources:
        others = [other.settings for other in sources if other.agent == source.agent]
        changed = [k for k, value in source.settings.items() if any(o.get(k, value) != value for o in others)]
        text = ", ".join(f"{name}={source.settings[name]}" for name in changed)
        names.append(f"{source.agent} ({text})" if text else source.agent)
    return names


def scores_of(run: str, manifest: Mapping[str, Any], table: pd.DataFrame) -> Scores:
    """The scores of a run, of which a manifest with its options tells."""
    options = manifest["options"]
    settings = {name: value for name, value in options.items() if name not in ("agent", "seed")}
    stream = tuple(options["stream"]) if len(set(options["stream"])) == len(options["stream"]) else None
    return Scores(run, options["agent"], options["seed"], table, stream, settings, manifest)


def _file_scores(path: Path, name: str, stream: Sequence[str] | None) -> list[Scores]:
    raw, notes = tables.read_text(path), tuple[str, ...]()
    if {"score", "reason"} <= set(raw) and (count := int((gone := (raw["score"] == "") & (raw["reason"] != "")).sum())):
        raw = raw[~gone]
        notes = (f"{name}: rows without a score but with a reason are left out: {count} of {count + len(raw)}",)
    table = _checked(path, raw)
    if stream is not None:
        domains = table["domain"].unique()
        if lacking := [domain for domain in stream if domain not in domains]:
            raise UserError(f"--stream has {lacking[0]!r}, of which {path} has no scores; there: {', '.join(domains)}")
        if len(set(stream)) < len(stream):
            raise UserError(f"--stream is {','.join(stream)}; allowed: each domain once")
        if (last := int(table["step"].max())) > (count := len(stream)):
            raise UserError(f"{path} has a step {last}; allowed with this --stream: 1 to {count}")
    scores, known = [], None if stream is None else tuple(stream)
    for agent, of_agent in table.groupby("agent", sort=False):
        for _, part in of_agent.groupby("seed", sort=False):
            seed = int(part["seed"].iloc[0])
            part = part.drop(columns=["agent", "seed"])
            scores.append(Scores(name, str(agent), None if seed < 0 else seed, part, known, notes=notes))
    return scores


def _checked(path: Path, raw: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with numbers as labels, scores, steps and seeds (-1: unknown), and without missing values."""
    if absent := [name for name in NEEDED if name not in raw]:
        columns = ", ".join(raw.columns[:20]) + ", …" * (len(raw.columns) > 20)
        raise UserError(
            f"{path} has no column {absent[0]!r}, only {columns}; needed: {', '.join(NEEDED)}; "
            f"allowed besides: {', '.join(OPTIONAL)}"
        )
    if raw.empty:
        raise UserError(f"{path} has no row; needed: one for each image that was scored")
    text = raw.reindex(columns=[*NEEDED, *OPTIONAL], fill_value="").apply(lambda column: column.str.strip())

    def check(column: str, good: Iterable[bool], allowed: str) -> None:
        bad = text.index[~pd.Series(good, text.index)]
        if len(bad):
            raise UserError(f"{path}, row {bad[0]} has {column} {shown(raw.loc[bad[0], column])}; allowed: {allowed}")

    def number(column: str, low: float, high: float, allowed: str, empty: float | None = None) -> pd.Series:
        values = pd.to_numeric(text[column], errors="coerce")
        if empty is not None:
            values = values.mask(text[column] == "", empty)
        whole = column in ("score", "logit") or values % 1 == 0
        check(column, values.between(low, high) & whole | (text[column] == "") & (empty is not None), allowed)
        return values

    for column in ("image", "domain"):
        check(column, text[column] != "", "a name")
    labels = text["label"].map(tables.label_of)
    check("label", labels.notna(), tables.LABELS_IN_WORDS)
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
            "label": labels.astype(int),
            "score": number("score", 0, 1, "a number from 0 to 1").astype(float),
            "video": text["video"],
            "agent": text["agent"].replace("", path.stem),
            "seed": number("seed", 0, 2**31 - 1, "a whole number from 0, or nothing", -1).astype(int),
        }
    )
    _check_together(path, table)
    return (table.drop(columns="video") if (table["video"] == "").all() else table).reset_index(drop=True)


def _check_together(path: Path, table: pd.DataFrame) -> None:
    """Checks the rules that concern several rows."""

    def differs(column: str, by: list[str]) -> pd.Series:
        return table[column] != table.groupby(by, sort=False)[column].transform("first")

    image, video = "image {image} of domain {domain}", "video {video} of domain {domain}"
    twice = table.duplicated(["agent", "seed", "step", "domain", "split", "image"])
    relabelled = differs("label", ["domain", "image"])
    torn = (table["video"] != "") & differs("group", ["domain", "video", "label"])
    for bad, sentence in (
        (twice, f"{image} once more; needed: each once for each agent, seed, step and split"),
        (relabelled, f"{image} with another label than before; needed: one label for an image"),
        (torn, f"{video} in another group than before; needed: one group for a video"),
    ):
        if bad.any():
            row = {str(name): shown(value) for name, value in table[bad].iloc[0].items()}
            raise UserError(f"{path}, row {bad.idxmax()} has {sentence.format(**row)}")
