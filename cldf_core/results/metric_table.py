"""The metric card: every metric of methods.md section 5, of any runs and score files, as one tidy table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.evaluation.bootstrap import continual_and_unseen, continual_names, matrices
from cldf_core.evaluation.calibration import trained_on
from cldf_core.evaluation.metrics import CONTINUAL, DETECTION, THRESHOLD, best_threshold, video_scores
from cldf_core.evaluation.seeds import t_interval
from cldf_core.options import UserError
from cldf_core.results.score_tables import Scores, read_scores
from cldf_core.runs.folder import RunFolder

COLUMNS = (
    *("run", "agent", "seed", "step", "domain", "metric", "value", "low", "high", "n"),
    *("threshold", "threshold_from", "split"),
)
_WORDS = ("run", "agent", "domain", "metric", "threshold_from", "split")
MEASURES = ("accuracy", "AUC")  # of the continual metrics
COST = ("seconds", "peak memory (bytes)", "memory buffer (bytes)", "images trained on")
NAMES = (*DETECTION, *(f"{measure}: {name}" for measure in MEASURES for name in (*CONTINUAL, "unseen")), *COST)
OF_VIDEOS = " of videos"
_THRESHOLDED = ("accuracy", "balanced accuracy", "accuracy on real", "accuracy on fake")


def metric_card(
    runs: Sequence[str | Path | RunFolder],
    *,
    split: str = "test",
    threshold: float | str = THRESHOLD,
    metrics: Sequence[str] = (),
    stream: Sequence[str] | None = None,
    video_from: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """What is known of runs and score files.

    Args:
        runs: runs, their folders or their names in runs/, and files of scores (see `score_tables`).
        split: whose scores are measured, "test" or "validation".
        threshold: the verdict is "fake" from here up; or "validation", for each run and step the one with the best
            balanced accuracy on its validation scores, of the domains trained on so far where these are known. It
            is not fitted again in the resamples.
        metrics: which of NAMES, or what follows their colon; none means all.
        stream: the trained domains of the files, in their order.
        video_from: the column that names videos, such as group; None takes the column video where there is one.
        resamples: of the bootstrap over groups.
        seed: of the resamples.

    Returns:
        COLUMNS, a row for each number. What is not known has no row; what is not defined is NaN. step is missing
        where a metric belongs to the whole stream, domain is "" where it belongs to no domain. low and high are the
        ends of a 95 % interval.

        - Detection metrics: per run, step and domain; n images. "AUC of videos" and so on: of the mean scores of
          videos; n videos.
        - Continual metrics, such as "AUC: forgetting (max-last)", per run; "AUC: unseen" is the last AUC on a domain
          never trained on; n groups.
        - Cost, from the manifest, per run; no interval and no n.
        - Means over the seeds of each agent, run "" and seed missing, with a t interval; n seeds. Agents whose runs
          have other options, too, have these in their name.

        threshold and threshold_from ("declared" or "validation") belong to the metrics that need a threshold;
        threshold is missing where steps or seeds have their own. attrs["notes"] holds sentences on what else to know.

    Raises:
        UserError: as `read_scores`; an unknown metric or split; no validation scores to fit a threshold on; two runs
            of one agent with the same seed and the same options.
    """
    wanted = metrics_of(metrics)
    declared = declared_threshold(threshold)
    if split not in ("test", "validation"):
        raise UserError(f"--split is {split!r}; allowed: test, validation")
    if declared is None and split == "validation":
        raise UserError("--threshold is 'validation' and so is --split: what a threshold is fitted on cannot judge it")
    scores = read_scores(runs, stream)
    rows: list[dict[str, Any]] = []
    for one, agent in zip(scores, agent_names(scores), strict=True):
        if split not in set(one.table["split"]):
            raise UserError(f"{one.run} has no {split} scores; there are: {', '.join(one.table['split'].unique())}")
        own: list[dict[str, Any]] = []
        for level, table in _levels(one, split, video_from):
            at = thresholds(one, table, split, declared)
            for row in _measured(one, table, wanted, split=split, threshold=at, resamples=resamples, seed=seed):
                measure, colon, name = row["metric"].partition(":")
                source = {"threshold_from": "validation" if declared is None else "declared"}
                own.append({**row, "metric": measure + level + colon + name, **(source if "threshold" in row else {})})
        own += [{"metric": name, "value": value} for name, value in _cost(one.manifest).items() if name in wanted]
        rows += [{"run": one.run, "agent": agent, "seed": one.seed, **row} for row in own]
    card = pd.DataFrame(rows, columns=list(COLUMNS)).assign(split=split)
    card = _typed(pd.DataFrame([*card.to_dict("records"), *_over_seeds(card)], columns=list(COLUMNS)))
    card.attrs["notes"] = _notes(scores, split)
    return card


def metrics_of(metrics: Sequence[str]) -> list[str]:
    """The names in NAMES that are meant."""
    wanted = [] if metrics else list(NAMES)
    for given in metrics:
        meant = [n for n in NAMES if given.casefold() in (n.casefold(), n.casefold().partition(": ")[2])]
        if not meant:
            of_stream = ", ".join((*CONTINUAL, "unseen"))
            raise UserError(
                f"--metric is {given!r}; allowed: {', '.join(DETECTION)}; {of_stream}, which are those of accuracy and "
                f"AUC, or of one of them, such as 'AUC: average'; {', '.join(COST)}"
            )
        wanted += meant
    return wanted


def agent_names(scores: Sequence[Scores]) -> list[str]:
    """Names of the agents; those with several settings get the options in brackets that are not the same in all."""
    names = []
    for one in scores:
        others = [other.settings for other in scores if other.agent == one.agent]
        changed = [k for k, value in one.settings.items() if any(o.get(k, value) != value for o in others)]
        text = ", ".join(f"{name}={one.settings[name]}" for name in changed)
        names.append(f"{one.agent} ({text})" if text else one.agent)
    seen: dict[tuple[str, int | None], str] = {}
    for one, name in zip(scores, names, strict=True):
        if one.seed is not None and (name, one.seed) in seen:
            raise UserError(
                f"{seen[name, one.seed]} and {one.run} are both of agent {name!r} with seed {one.seed} and the same "
                "options; allowed: one of them"
            )
        seen[name, one.seed] = one.run
    return names


def declared_threshold(threshold: float | str) -> float | None:
    """The threshold as a number; None for "validation"."""
    if threshold == "validation":
        return None
    with contextlib.suppress(ValueError):
        if np.isfinite(float(threshold)):
            return float(threshold)
    raise UserError(f"--threshold is {threshold!r}; allowed: a number, or validation")


def _levels(one: Scores, split: str, video_from: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    """The scores of images, and those of videos where they are known; each with what is added to a metric's name."""
    yield "", one.table
    if video_from is not None and video_from not in one.table:
        raise UserError(f"--video-from is {video_from!r}; allowed for {one.run}: {', '.join(one.table.columns)}")
    if video_from is not None or "video" in one.table:
        videos = video_scores(one.table, video_from or "video")
        if split in set(videos["split"]):
            yield OF_VIDEOS, videos


def thresholds(one: Scores, table: pd.DataFrame, split: str, declared: float | None) -> dict[int, float]:
    """The threshold of every step: what is declared, or None to fit each on validation scores."""
    steps = sorted(int(step) for step in table.loc[table["split"] == split, "step"].unique())
    return {step: _fitted(one, table, step) if declared is None else declared for step in steps}


def _fitted(one: Scores, table: pd.DataFrame, step: int) -> float:
    """The threshold that is best for the validation scores of a step."""
    own = table[(table["split"] == "validation") & (table["step"] == step)]
    if one.stream is not None:
        own = own[own["domain"].isin(trained_on(one.agent, one.stream, step))]
    if own["label"].nunique() < 2:
        raise UserError(
            f"--threshold is 'validation', but {one.run} has no validation scores of both classes in step {step}"
            f"{'' if one.stream is None else ', of the domains trained on so far'}; allowed: a number"
        )
    return best_threshold(own["score"].to_numpy(), own["label"].to_numpy())[0]


def _measured(
    one: Scores, table: pd.DataFrame, wanted: Sequence[str], *, split: str, threshold: Mapping[int, float], **how: int
) -> Iterator[dict[str, Any]]:
    """The detection metrics of one run, and the continual ones where its stream is known."""
    detection = [name for name in DETECTION if name in wanted]
    stream = one.stream or ()
    continual = [m for m in MEASURES if stream and any(name.startswith(f"{m}: ") for name in wanted)]
    if not detection and not continual:
        return
    R = matrices(table, list({*detection, *continual}), split=split, threshold=threshold, **how)
    ends = {name: R.metrics[name].interval() for name in detection}
    for t, i in np.argwhere(R.images > 0):
        place = {"step": R.steps[t], "domain": R.domains[i], "n": R.images[t, i]}
        for name, (low, high) in ends.items():
            row = {**place, "metric": name, "value": R.metrics[name].value[t, i], "low": low[t, i], "high": high[t, i]}
            yield row | ({"threshold": threshold[R.steps[t]]} if name in _THRESHOLDED else {})
    common = set(threshold.values())
    for measure in continual:
        estimate = R.statistic(measure, continual_and_unseen(stream))
        low, high = estimate.interval()
        for k, name in enumerate(continual_names(table, stream, split)):
            kind, _, domain = name.partition(": ")
            if f"{measure}: {kind}" in wanted:
                row = {"metric": f"{measure}: {kind}", "value": estimate.value[k], "low": low[k], "high": high[k]}
                row |= {"domain": domain, "step": len(stream) if domain else None, "n": R.groups}
                # Each step may have a threshold of its own.
                declared = {"threshold": common.copy().pop() if len(common) == 1 else None}
                yield row | (declared if measure in _THRESHOLDED else {})


def _cost(manifest: Mapping[str, Any]) -> dict[str, float]:
    """What a run has cost, as far as its manifest tells."""
    buffers = [step["memory_bytes"] for step in manifest.get("steps", ()) if "memory_bytes" in step]
    told = (
        manifest.get("seconds"),
        manifest.get("peak_memory_bytes"),
        max(buffers, default=None),
        manifest.get("images"),
    )
    return {name: float(value) for name, value in zip(COST, told, strict=True) if value is not None}


def _over_seeds(card: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Means over the seeds of each agent that has several."""
    keys = ["agent", "step", "domain", "metric"]
    for key, part in card[card["seed"].notna()].groupby(keys, sort=False, dropna=False):
        if len(part) > 1:
            ends = dict(zip(("value", "low", "high"), t_interval(part["value"].to_numpy(float)), strict=True))
            common = ("threshold", "threshold_from", "split")
            same = {name: part[name].iloc[0] for name in common if part[name].nunique(dropna=False) == 1}
            yield {"run": "", **dict(zip(keys, key, strict=True)), **ends, "n": len(part), **same}


def _typed(card: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers that may be missing, and text that is not."""
    words = {name: card[name].astype(object).where(card[name].notna(), "").astype(str) for name in _WORDS}
    numbers = dict.fromkeys(("value", "low", "high", "threshold"), "float64")
    return card.assign(**words).astype({"seed": "Int64", "step": "Int64", "n": "Int64", **numbers})


def _notes(scores: Sequence[Scores], split: str) -> list[str]:
    """What the table itself does not say."""
    notes = [
        f"{run}: its stream is not known, so there are no continual metrics; --stream tells it"
        for run in dict.fromkeys(one.run for one in scores if one.stream is None)
    ]
    first = scores[0]
    for other in scores[1:]:
        if None not in (first.stream, other.stream) and first.stream != other.stream:
            notes.append(f"{first.run} and {other.run} were trained on other streams: their averages tell other things")
            break
    names = [one.run if sum(o.run == one.run for o in scores) == 1 else f"{one.agent} of {one.run}" for one in scores]
    tested = [one.table[one.table["split"] == split] for one in scores]
    for name, table in zip(names, tested, strict=True):
        classes = table.groupby("domain")["label"].agg(["nunique", "first"])
        notes += [
            f"{name}: {domain} has {('real', 'fake')[label]} images only, so AUC, AP, EER and others are NaN"
            for domain, label in classes.loc[classes["nunique"] == 1, "first"].items()
        ]
    images = [{domain: frozenset(part) for domain, part in table.groupby("domain")["image"]} for table in tested]
    for name, own in zip(names[1:], images[1:], strict=True):
        if odd := [d for d in own if d in images[0] and own[d] != images[0][d]]:
            notes.append(
                f"{names[0]} and {name} were tested on other images of {', '.join(odd)}: differences may be theirs"
            )
            break
    return notes
