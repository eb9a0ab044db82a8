"""The metric table: every metric of `evaluation.metrics`, of any runs and score files, in one tidy table."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import sub
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.data.console import note
from cldf_core.evaluation.bootstrap import Matrices, continual_table, matrices, side_by_side
from cldf_core.evaluation.calibration import trained_on
from cldf_core.evaluation.metrics import (
    CONTINUAL,
    DETECTION,
    THRESHOLD,
    WITH_THRESHOLD,
    best_threshold,
    declared_threshold,
    detection,
    video_scores,
)
from cldf_core.evaluation.seeds import t_interval
from cldf_core.options import UserError
from cldf_core.results.score_tables import Scores, agent_names, finished_runs, read_scores
from cldf_core.runs.folder import RunFolder

COLUMNS = (
    *("run", "agent", "seed", "step", "domain", "metric", "value", "low", "high", "n"),
    *("threshold", "threshold_from", "split"),
)
SUSPECT, ENOUGH = 0.4, 20  # an AUC below this, of so many images of each class, makes a note on scores of files
MEASURES = ("accuracy", "AUC")  # the continual metrics are computed of these
COST = ("processor seconds", "memory above the start (bytes)", "memory buffer (bytes)", "images trained on")
NAMES = (*DETECTION, *(f"{measure}: {name}" for measure in MEASURES for name in (*CONTINUAL, "unseen")), *COST)


def metric_table(
    runs: Sequence[str | Path | RunFolder],
    *,
    split: str = "test",
    threshold: float | str = THRESHOLD,
    metrics: Sequence[str] = (),
    stream: Sequence[str] | None = None,
    video_from: str | None = None,
    resamples: int = 1000,
) -> pd.DataFrame:
    """Computes the metrics of runs, their folders or names in runs/, and of files of scores (see `score_tables`).

    The scores of a split, "test" or "validation", are measured. A score from the threshold up is the verdict "fake".
    With "validation" each run and step gets the threshold with the best balanced accuracy on its validation scores, of
    the domains trained on so far where these are known; it is not fitted again in the resamples. Metrics are names in
    NAMES, or what follows their colon, or by default all. The stream is that of the files, its trained domains in their
    order. The column video_from, such as group, names videos; by default it is video where there is one.

    Returns:
        COLUMNS, a row for each number; an unknown number has no row, and an undefined one is NaN. The step is missing
        where a metric belongs to the whole stream, and the domain is "" where it belongs to none. low and high are the
        ends of a 95 % interval, which counts groups (`bootstrap.Estimate.interval`); NaN where there is none.

        - Detection metrics, for each run, step and domain; n counts images. "AUC of videos" and the like are computed
          of the mean scores of videos; n counts videos.
        - Continual metrics, such as "AUC: forgetting (max-last)", for each run; "AUC: unseen" is the last AUC on a
          domain never trained on; n counts groups.
        - Cost, for each run, from the manifest; without interval and n.
        - Means over the seeds of each agent, with run "", without seed, and with a t interval; n counts seeds. The
          names of agents whose runs differ in other options, too, include these options.

        threshold and threshold_from ("declared" or "validation") belong to the metrics that need a threshold; threshold
        is missing where steps or seeds have different ones. attrs["notes"] holds sentences on what else to know.

    Raises:
        UserError: as `read_scores`; a metric or split is unknown; there are no validation scores to fit a threshold
            on; or two runs of an agent have the same seed and the same options.
    """
    wanted = metric_names(metrics)
    if split not in ("test", "validation"):
        raise UserError(f"--split is {split!r}; allowed: test, validation")
    if declared_threshold(threshold) is None and split == "validation":
        raise UserError("--threshold is 'validation' and so is --split: what a threshold is fitted on cannot judge it")
    sources = read_scores(runs, stream)
    origin = {"threshold_from": "validation" if threshold == "validation" else "declared"}
    rows: list[dict[str, Any]] = []
    for source, agent in zip(sources, agent_names(sources), strict=True):
        if split not in (splits := source.table["split"].unique()):
            raise UserError(f"{source.run} has no {split} scores; there are: {', '.join(splits)}")
        run = {"run": source.run, "agent": agent, "seed": source.seed, "domain": "", "threshold_from": ""}
        for suffix, table in _images_and_videos(source, split, video_from):
            at = thresholds(source, table, split, threshold)
            for row in _measure(source, table, wanted, split=split, threshold=at, resamples=resamples):
                measure, colon, name = row["metric"].partition(":")
                row["metric"] = measure + suffix + colon + name
                rows.append({**run, **row, **(origin if "threshold" in row else {})})
        rows += [{**run, "metric": name, "value": value} for name, value in _cost(source.manifest) if name in wanted]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).assign(split=split)
    table = pd.DataFrame([*table.to_dict("records"), *_over_seeds(table)], columns=list(COLUMNS))
    whole, real = ("seed", "step", "n"), ("value", "low", "high", "threshold")
    types = dict.fromkeys(COLUMNS, "str") | dict.fromkeys(whole, "Int64") | dict.fromkeys(real, "float64")
    table = table.astype(types)
    table.attrs["notes"] = _notes(sources, split)
    return table


def balanced_accuracies(data: str) -> pd.DataFrame:
    """Returns balanced accuracies on test images after the last step: domains by finished runs on a data set."""
    columns = {}
    for run, options in finished_runs():
        if options["data"] == data:
            try:
                scores = run.scores()
            except UserError as error:
                note(f"left out: {error}")
                continue
            last = scores[(scores["step"] == scores["step"].max()) & (scores["split"] == "test")]
            columns[run.path.name] = pd.Series(dtype=float)  # a run without test scores has no values
            if len(last):
                R = matrices(last, ["balanced accuracy"], resamples=0)
                columns[run.path.name] = pd.Series(R.metrics["balanced accuracy"].value[0], R.domains)
    return pd.DataFrame(columns).rename_axis("domain")


def metric_names(metrics: Sequence[str]) -> list[str]:
    """Returns the names in NAMES that a user means; all if there is no wish."""
    wanted = [] if metrics else list(NAMES)
    for wish in metrics:
        matches = [n for n in NAMES if wish.casefold() in (n.casefold(), n.casefold().partition(": ")[2])]
        if not matches:
            of_stream = ", ".join((*CONTINUAL, "unseen"))
            raise UserError(
                f"--metric is {wish!r}; allowed: {', '.join(DETECTION)}; {of_stream}, which are those of accuracy and "
                f"AUC, or of one of them, such as 'AUC: average'; {', '.join(COST)}"
            )
        wanted += matches
    return wanted


def thresholds(source: Scores, table: pd.DataFrame, split: str, threshold: float | str) -> dict[int, float]:
    """Returns the threshold of every step: the declared one or, for "validation", each step's best one."""
    steps = sorted(int(step) for step in table.loc[table["split"] == split, "step"].unique())
    declared = declared_threshold(threshold)
    return {step: _fitted_threshold(source, table, step) if declared is None else declared for step in steps}


def detection_rows(parts: Sequence[Matrices], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields a row for each cell and detection metric: of one part, or of the first minus the second of two."""
    R = parts[0]
    numbers = {name: side_by_side(reduce(sub, [part.metrics[name] for part in parts])) for name in names}
    for t, i in np.argwhere(R.images > 0):
        for name, (value, low, high) in numbers.items():
            cell = {"step": R.steps[t], "domain": R.domains[i], "n": R.images[t, i], "metric": name}
            yield cell | {"value": value[t, i], "low": low[t, i], "high": high[t, i]}


def continual_rows(
    parts: Sequence[Matrices], stream: Sequence[str], wanted: Sequence[str], measure: str
) -> Iterator[dict[str, Any]]:
    """Yields a row for each wanted continual metric of a measure: of one part, or of the difference of two."""
    for row in continual_table(parts, measure, stream).to_dict("records"):
        kind, _, domain = row["metric"].partition(": ")
        if f"{measure}: {kind}" in wanted:
            place = {"metric": f"{measure}: {kind}", "domain": domain, "step": len(stream) if domain else None}
            yield place | {"n": parts[0].groups, "value": row["value"], "low": row["low"], "high": row["high"]}


def measures_of(wanted: Sequence[str]) -> list[str]:
    """Returns the MEASURES of which a continual metric is wanted."""
    return [measure for measure in MEASURES if any(name.startswith(f"{measure}: ") for name in wanted)]


def _images_and_videos(source: Scores, split: str, video_from: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields the scores of images, and those of videos where they are known, each with a suffix for metrics."""
    yield "", source.table
    if video_from is not None and video_from not in source.table:
        raise UserError(f"--video-from is {video_from!r}; allowed for {source.run}: {', '.join(source.table.columns)}")
    if video_from is not None or "video" in source.table:
        videos = video_scores(source.table, video_from or "video")
        if split in set(videos["split"]):
            yield " of videos", videos


def _fitted_threshold(source: Scores, table: pd.DataFrame, step: int) -> float:
    """Returns the best threshold for the validation scores of a step."""
    scores = table[(table["split"] == "validation") & (table["step"] == step)]
    if source.stream is not None:
        scores = scores[scores["domain"].isin(trained_on(source.agent, source.stream, step))]
    if scores["label"].nunique() < 2:
        raise UserError(
            f"--threshold is 'validation', but {source.run} has no validation scores of both classes in step {step}"
            f"{'' if source.stream is None else ', of the domains trained on so far'}; allowed: a number"
        )
    return best_threshold(scores["score"].to_numpy(), scores["label"].to_numpy())[0]


def _measure(
    source: Scores, table: pd.DataFrame, wanted: Sequence[str], *, threshold: Mapping[int, float], **how: Any
) -> Iterator[dict[str, Any]]:
    """Yields the detection metrics of a run, and the continual ones where its stream is known."""
    detection, stream = [name for name in DETECTION if name in wanted], source.stream or ()
    measures = measures_of(wanted) if stream else []
    if not detection and not measures:
        return
    R = matrices(table, list({*detection, *measures}), threshold=threshold, **how)
    for row in detection_rows([R], detection):
        yield row | ({"threshold": threshold[row["step"]]} if row["metric"] in WITH_THRESHOLD else {})
    common, *others = set(threshold.values())
    for measure in measures:
        for row in continual_rows([R], stream, wanted, measure):
            yield row | ({"threshold": None if others else common} if measure in WITH_THRESHOLD else {})


def _cost(manifest: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Returns the costs that a run's manifest knows."""
    buffer = max((step["memory_bytes"] for step in manifest.get("steps", ()) if "memory_bytes" in step), default=None)
    values = manifest.get("seconds"), manifest.get("memory_rise_bytes"), buffer, manifest.get("images")
    return [(name, float(value)) for name, value in zip(COST, values, strict=True) if value is not None]


def _over_seeds(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yields the means over the seeds of each agent that has several."""
    keys = ["agent", "step", "domain", "metric"]
    for key, part in table[table["seed"].notna()].groupby(keys, sort=False, dropna=False):
        if len(part) > 1:
            mean = dict(zip(("value", "low", "high"), t_interval(part["value"].to_numpy(float)), strict=True))
            shared = [n for n in ("threshold", "threshold_from", "split") if part[n].nunique(dropna=False) == 1]
            common = {name: part[name].iloc[0] for name in shared}
            yield {"run": "", **dict(zip(keys, key, strict=True)), **mean, "n": len(part), **common}


def _notes(sources: Sequence[Scores], split: str) -> list[str]:
    """Writes sentences on what the table itself does not show."""
    notes = list(dict.fromkeys(text for source in sources for text in source.notes))
    unknown = {source.run: "stream" in source.settings for source in sources if source.stream is None}
    notes += [
        f"{run}: a domain comes twice in its stream, so there are no continual metrics"
        if twice
        else f"{run}: its stream is not known, so there are no continual metrics; --stream tells it"
        for run, twice in unknown.items()
    ]
    first, runs = sources[0], [source.run for source in sources]
    if others := [s.run for s in sources if None not in (first.stream, s.stream) and s.stream != first.stream]:
        notes.append(f"{first.run} and {others[0]} were trained on other streams: their averages tell other things")
    names = [s.run if runs.count(s.run) == 1 else f"{s.agent} of {s.run}" for s in sources]
    tested = [source.table[source.table["split"] == split] for source in sources]
    for source, name, table in zip(sources, names, tested, strict=True):
        if not source.manifest and (sentence := _reversed(table)):
            notes.append(f"{name}: {sentence}")
        classes = table.groupby("domain")["label"].agg(["nunique", "first"])
        notes += [
            f"{name}: {domain} has {('real', 'fake')[label]} images only, so AUC, AP, EER and others are NaN"
            for domain, label in classes.loc[classes["nunique"] == 1, "first"].items()
        ]
    images = [{domain: frozenset(part) for domain, part in table.groupby("domain")["image"]} for table in tested]
    for name, of_domain in zip(names[1:], images[1:], strict=True):
        if odd := ", ".join(d for d in of_domain if d in images[0] and of_domain[d] != images[0][d]):
            notes.append(f"{names[0]} and {name} were tested on other images of {odd}: differences may be theirs")
            break
    return notes


def _reversed(table: pd.DataFrame) -> str:
    """A sentence where the scores after the last step seem to be P(real), in all or in some domains; else ""."""
    last, low = table[table["step"] == table["step"].max()], dict[str, str]()
    for domain, part in (("", last), *last.groupby("domain")):
        if part["label"].value_counts().reindex([0, 1], fill_value=0).min() >= ENOUGH:
            auc = detection(part["label"].to_numpy(), part["score"].to_numpy(), names=["AUC"])["AUC"]
            low |= {domain: f"{auc:.2f} on {domain}" if domain else f"{auc:.2f}"} if auc < SUSPECT else {}
    where = low.get("") or ", ".join(low.values())
    return f"AUC is {where}: P(real) may have been given, where P(fake) is needed" if low else ""
