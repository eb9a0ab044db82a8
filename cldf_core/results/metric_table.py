"""The metric table: every metric of `evaluation.metrics`, of any runs and score files, in one tidy table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.data.console import note
from cldf_core.data.layouts.read import other_sets
from cldf_core.evaluation.bootstrap import ENDS, Estimate, Matrices, continual_table, difference, matrices
from cldf_core.evaluation.calibration import trained_on
from cldf_core.evaluation.crossed import Crossed, crossed
from cldf_core.evaluation.metrics import (
    CONTINUAL,
    DETECTION,
    THRESHOLD,
    WITH_THRESHOLD,
    best_threshold,
    declared_threshold,
    video_scores,
)
from cldf_core.evaluation.pool import of_domains, with_pool
from cldf_core.evaluation.seeds import SEEDS, t_interval
from cldf_core.options import UserError
from cldf_core.results.caveats import caveats
from cldf_core.results.score_tables import Scores, Source, agent_names, finished_runs, read_scores, share_reals

COLUMNS = (
    *("run", "agent", "seed", "step", "domain", "metric", "value", "low", "high", "n"),
    *("spread", "threshold", "threshold_from", "split"),
)
REALS = "reals"  # the column that a table with shared real images has besides
MEASURES = ("accuracy", "AUC")  # the continual metrics are computed of these
COST = ("processor seconds", "memory above the start (bytes)", "memory buffer (bytes)", "images trained on")
Place = tuple[str, str, str, int]
Combine = Callable[[Sequence[Estimate]], Estimate | Crossed]
NAMES = (*DETECTION, *(f"{measure}: {name}" for measure in MEASURES for name in (*CONTINUAL, "unseen")), *COST)


def metric_table(
    runs: Sequence[Source],
    *,
    split: str = "test",
    threshold: float | str = THRESHOLD,
    metrics: Sequence[str] = (),
    stream: Sequence[str] | None = None,
    video_from: str | None = None,
    resamples: int = 1000,
    reals: str = "own",
) -> pd.DataFrame:
    """Computes the metrics of runs, their folders or names in runs/, and of files of scores (see `score_tables`).

    The scores of a split, "test" or "validation", are measured. A score from the threshold up is the verdict "fake".
    With "validation" each run and step gets the threshold with the best balanced accuracy on its validation scores, of
    the domains trained on so far where these are known; it is not fitted again in the resamples. Metrics are names in
    NAMES, or what follows their colon, or by default all. The stream is that of the files, its trained domains in their
    order. The column video_from, such as group, names videos; by default it is video where there is one. With reals
    "shared" each domain of fakes only is measured against the real images of the same agent, seed, step and split in
    domains that hold reals only or, where there is none of these, in all other domains (`pool.with_pool`); a domain of
    both classes keeps its own. Accuracy, AP and ECE then depend on how many are pooled.

    Returns:
        COLUMNS, a row for each number; an unknown number has no row, and an undefined one is NaN. The step is missing
        where a metric belongs to the whole stream, and the domain is "" where it belongs to none. low and high are the
        ends of a 95 % interval; NaN where there is none. spread says what it is over: "groups", of one run, whose seed
        is held still (`bootstrap.Estimate.interval`); "seeds × groups" (`crossed.Crossed.interval`); or "seeds", these
        photographs; "" where no interval can be. All are conditional on the training photographs.

        - Detection metrics, for each run, step and domain; n counts images. "AUC of videos" and the like are computed
          of the mean scores of videos; n counts videos.
        - Continual metrics, such as "AUC: forgetting (max-last)", for each run; "AUC: unseen" is the last AUC on a
          domain never trained on; n counts groups.
        - Cost, for each run, from the manifest; without interval and n.
        - Means over the seeds of each agent, with run "" and without seed; n counts seeds. They are over seeds and
          groups where all seeds have scores of the same images, and over seeds alone where not, of cost and ECE, and
          where groups tell nothing. Names of agents whose runs differ in other options, too, include these options.

        threshold and threshold_from ("declared" or "validation") belong to the metrics that need a threshold; threshold
        is missing where steps or seeds have different ones. With shared reals there is a column REALS: "shared" where
        pooled real images count, in a domain or in one of the stream's, else "own"; "" for cost; n counts them, too.
        attrs["notes"] holds sentences on what else to know.

    Raises:
        UserError: as `read_scores`; a metric or split is unknown; there are no validation scores to fit a threshold
            on; two runs of an agent have the same seed and the same options; or there are no real images to share.
    """
    wanted = metric_names(metrics)
    if split not in ("test", "validation"):
        raise UserError(f"--split is {split!r}; allowed: test, validation")
    if declared_threshold(threshold) is None and split == "validation":
        raise UserError("--threshold is 'validation' and so is --split: what a threshold is fitted on cannot judge it")
    sources = share_reals(read_scores(runs, stream), reals, split)
    origin = {"threshold_from": "validation" if threshold == "validation" else "declared"}
    names, measured = agent_names(sources), [name for name in DETECTION if name in {*wanted, *measures_of(wanted)}]
    order = list(dict.fromkeys(domain for source in sources for domain in source.table["domain"].unique()))
    rows: list[dict[str, Any]] = []
    several: dict[tuple[str, str], list[tuple[Scores, Matrices]]] = {}
    for source, agent in zip(sources, names, strict=True):
        if split not in (splits := source.table["split"].unique()):
            raise UserError(f"{source.run} has no {split} scores; there are: {', '.join(splits)}")
        run: dict[str, Any] = {"run": source.run, "agent": agent, "seed": source.seed}
        run |= dict.fromkeys(("domain", "spread", "threshold_from", REALS), "")
        for suffix, table in _images_and_videos(source, split, video_from) if measured else ():
            at = thresholds(source, table, split, threshold)
            R = matrices(table, measured, split=split, threshold=at, resamples=resamples, domains=order)
            if source.seed is not None and names.count(agent) > 1:
                several.setdefault((agent, suffix), []).append((source, R))
            for row in _measure([R], source, wanted, difference):
                measure, colon, name = row["metric"].partition(":")
                if measure in WITH_THRESHOLD:
                    common = None if len(set(at.values())) > 1 else min(at.values())
                    row |= {"threshold": common if colon else at[row["step"]], **origin}
                rows.append({**run, **row, "metric": measure + suffix + colon + name})
        rows += [{**run, "metric": name, "value": value} for name, value in _cost(source.manifest) if name in wanted]
    columns = [*COLUMNS, REALS] if reals == "shared" else list(COLUMNS)
    table = pd.DataFrame(rows, columns=columns).assign(split=split)
    means, notes = _crossed(several, wanted)
    table = pd.DataFrame([*table.to_dict("records"), *_over_seeds(table, means)], columns=columns)
    whole, real = ("seed", "step", "n"), ("value", "low", "high", "threshold")
    types = dict.fromkeys(columns, "str") | dict.fromkeys(whole, "Int64") | dict.fromkeys(real, "float64")
    table = table.astype(types)
    table.attrs["notes"] = caveats(sources, split) + notes
    return table


def balanced_accuracies(data: str) -> pd.DataFrame:
    """Returns balanced accuracies on test images after the last step: domains by finished runs on a data set.

    So are runs on others whose streams have domains of it.
    """
    columns = {}
    for run, options in finished_runs(told=True):
        named = [*options["stream"], *(options.get("unseen") or [])]
        own = {name: name for name in named if options["data"] == data and not other_sets([name])}
        others = {name: name.removeprefix(f"{data}:") for name in named if name.startswith(f"{data}:")}
        if own := own | {name: short for name, short in others.items() if short not in own}:  # each domain once
            try:
                scores = run.scores()
            except UserError as error:
                note(f"left out: {error}")
                continue
            last = scores[(scores["step"] == scores["step"].max()) & (scores["split"] == "test")]
            last = last.assign(domain=last["domain"].map(own)).dropna(subset="domain")
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


def detection_rows(
    parts: Sequence[Matrices], names: Sequence[str], combine: Combine = difference
) -> Iterator[dict[str, Any]]:
    """Yields a row for each cell and detection metric: of one part, or of what `combine` makes of several.

    Unless another one is given, it takes the first minus the second of two.
    """
    R = parts[0]
    columns = {name: combine([part.metrics[name] for part in parts]).columns() for name in names}
    for t, i in np.argwhere(R.images > 0):
        for name, numbers in columns.items():
            cell = {"step": R.steps[t], "domain": R.domains[i], "n": R.images[t, i], "metric": name}
            cell[REALS] = "shared" if R.pooled[t, i] else "own"
            yield cell | {column: values[t, i] for column, values in numbers.items()}


def continual_rows(
    parts: Sequence[Matrices], stream: Sequence[str], wanted: Sequence[str], measure: str, combine: Combine = difference
) -> Iterator[dict[str, Any]]:
    """Yields a row for each wanted continual metric of a measure, of parts as in `detection_rows`."""
    for row in continual_table(parts, measure, stream, combine).to_dict("records"):
        kind, _, domain = row["metric"].partition(": ")
        if f"{measure}: {kind}" in wanted:
            place = {"metric": f"{measure}: {kind}", "domain": domain, "step": len(stream) if domain else None}
            counted = [name in ([domain] if domain else stream) for name in parts[0].domains]
            place[REALS] = "shared" if parts[0].pooled[:, counted].any() else "own"
            yield {str(name): value for name, value in row.items()} | place | {"n": parts[0].groups}


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
        videos = with_pool(videos) if "pool" in source.table else videos
        if split in set(videos["split"]):
            yield " of videos", videos


def _fitted_threshold(source: Scores, table: pd.DataFrame, step: int) -> float:
    """Returns the best threshold for the validation scores of a step."""
    scores = table[(table["split"] == "validation") & (table["step"] == step)]
    if source.stream is not None:
        scores = of_domains(scores, trained_on(source.agent, source.stream, step))
    if scores["label"].nunique() < 2:
        raise UserError(
            f"--threshold is 'validation', but {source.run} has no validation scores of both classes in step {step}"
            f"{'' if source.stream is None else ', of the domains trained on so far'}; allowed: a number"
        )
    return best_threshold(scores["score"].to_numpy(), scores["label"].to_numpy())[0]


def _measure(
    parts: Sequence[Matrices], source: Scores, wanted: Sequence[str], combine: Combine
) -> Iterator[dict[str, Any]]:
    """Yields the wanted detection metrics of parts, and the continual ones where the stream of the source is known."""
    yield from detection_rows(parts, [name for name in DETECTION if name in wanted], combine)
    for measure in measures_of(wanted) if source.stream else ():
        yield from continual_rows(parts, source.stream or (), wanted, measure, combine)


def _cost(manifest: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Returns the costs that a run's manifest knows."""
    buffer = max((step["memory_bytes"] for step in manifest.get("steps", ()) if "memory_bytes" in step), default=None)
    values = manifest.get("seconds"), manifest.get("memory_rise_bytes"), buffer, manifest.get("images")
    return [(name, float(value)) for name, value in zip(COST, values, strict=True) if value is not None]


def _crossed(
    several: Mapping[tuple[str, str], Sequence[tuple[Scores, Matrices]]], wanted: Sequence[str]
) -> tuple[dict[Place, dict[str, Any]], list[str]]:
    """Returns the means over seeds that have an interval over seeds and groups, by their places; and notes."""
    means: dict[Place, dict[str, Any]] = {}
    notes = []
    for (agent, suffix), of_seeds in several.items():
        parts = [R for _, R in of_seeds]
        try:
            for row in _measure(parts, of_seeds[0][0], wanted, crossed):
                measure, colon, name = row["metric"].partition(":")
                numbers = {column: row[column] for column in (*ENDS, "spread")}
                means[_place(agent, measure + suffix + colon + name, row["domain"], row["step"])] = numbers
        except UserError:
            notes.append(f"the seeds of {agent} were tested on other images or groups: intervals are over seeds alone")
    return means, list(dict.fromkeys(notes))


def _place(agent: str, metric: str, domain: str, step: Any) -> Place:
    """Returns the place of a mean over seeds in the metric table; 0 stands for no step."""
    return agent, metric, domain, 0 if pd.isna(step) else int(step)


def _over_seeds(table: pd.DataFrame, means: Mapping[Place, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields the means over the seeds of each agent that has several; those not in `means` with a t interval."""
    keys = ["agent", "metric", "domain", "step"]
    for key, part in table[table["seed"].notna()].groupby(keys, sort=False, dropna=False):
        if len(part) > 1:
            over_seeds = dict(zip(ENDS, t_interval(part["value"].to_numpy(float)), strict=True)) | {"spread": SEEDS}
            may_be_common = [name for name in ("threshold", "threshold_from", "split", REALS) if name in part]
            common = {name: part[name].iloc[0] for name in may_be_common if part[name].nunique(dropna=False) == 1}
            mean = means.get(_place(*key), over_seeds)
            yield {"run": "", **dict(zip(keys, key, strict=True)), **mean, "n": len(part), **common}
