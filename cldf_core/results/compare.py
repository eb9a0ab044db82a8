"""Agents compared in pairs: over the seeds that both were trained with, or on the images that both were tested on."""

import itertools
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.data.layouts.tables import in_few_words
from cldf_core.evaluation.bootstrap import Matrices, matrices
from cldf_core.evaluation.crossed import crossed_difference
from cldf_core.evaluation.metrics import DETECTION, THRESHOLD
from cldf_core.evaluation.pool import of_domains
from cldf_core.evaluation.seeds import SEEDS, holm, paired_t_tests
from cldf_core.options import UserError
from cldf_core.results.caveats import few
from cldf_core.results.metric_table import (
    COST,
    REALS,
    continual_rows,
    detection_rows,
    measures_of,
    metric_names,
    metric_table,
    thresholds,
)
from cldf_core.results.score_tables import Scores, Source, agent_names, names_with_options, read_scores, share_reals

COMPARISON = (
    *("metric", "step", "domain", "first", "second", "difference", "low", "high"),
    *("p", "p_holm", "p_seeds", "n", "spread"),
)
KEPT = 32  # of so many sources the numbers stay in memory while pairs are compared


def compare(table: pd.DataFrame, runs: Sequence[Source], **settings: Any) -> pd.DataFrame:
    """Compares over seeds where two agents of a metric table share two of them, else on the images of the runs."""
    seeds = table[(table["run"] != "") & table["seed"].notna()].groupby("agent")["seed"].agg(set)
    if any(len(a & b) > 1 for a, b in itertools.combinations(seeds, 2)):
        return compare_over_seeds(table, runs, **settings)
    return compare_on_images(runs, **settings)


def compare_over_seeds(table: pd.DataFrame, runs: Sequence[Source] = (), **settings: Any) -> pd.DataFrame:
    """Compares every two agents of a metric table, paired over the seeds that both were trained with.

    The runs are those of the table, with the same settings (as `compare_on_images`). Where an agent's seeds and those
    of the other have scores of the same images, the difference is paired by seed and group, and the interval is over
    both. Elsewhere, and without runs, it is over seeds, these photographs.

    Returns:
        COMPARISON, for each continual metric and for each detection metric after the last step: the mean difference of
        first minus second with its 95 % interval; spread, "seeds × groups" or "seeds", says what this is over; p is
        from the same t, and p_holm corrected for all pairs of agents within a metric and domain: a difference is
        significant where it is below 0.05; p_seeds, of the paired t test over seeds, decides nothing; n counts seeds.
        attrs["notes"] holds sentences on what could not be compared. One agent is a UserError.
    """
    keys = ["metric", "step", "domain"]
    single = table[table["run"] != ""]
    seeded = single[~single["metric"].isin(COST) & single["seed"].notna()]
    if seeded["agent"].nunique() < 2:
        agents = ", ".join(map(repr, seeded["agent"].unique()))
        raise UserError(f"--compare needs two agents with a seed; there: {agents or 'none'}")
    last = seeded["step"].isna() | (seeded["step"] == seeded.groupby("run")["step"].transform("max"))
    tests = [
        paired_t_tests(part[["agent", "seed", "value"]]).assign(**dict(zip(keys, key, strict=True)), **_reals(part))
        for key, part in seeded[last].groupby(keys, sort=False, dropna=False)
    ]
    if not any(map(len, tests)):
        agents = " and ".join(map(repr, seeded["agent"].unique()))
        raise UserError(f"--compare: {agents} were tested on no common domain after their last steps; needed: one")
    every = pd.concat(tests, ignore_index=True).assign(spread=SEEDS, p_seeds=lambda tests: tests["p"])
    comparison = _typed(every, [REALS] if REALS in table else [])
    rows, notes = _crossed_differences(runs, **settings) if runs else ([], [])
    pairs = [*keys, "first", "second"]
    crossed = comparison[pairs].merge(_typed(pd.DataFrame(rows)), how="left", on=pairs)
    for name in ("low", "high", "p", "spread"):
        comparison[name] = crossed[name].where(crossed["spread"].notna(), comparison[name])
    comparison["p_holm"] = comparison.groupby(keys, dropna=False)["p"].transform(lambda p: holm(p.to_numpy()))
    without = single.loc[single["seed"].isna(), "agent"].unique()
    notes += [f"{agent} has no seed, so it is not compared with the others" for agent in without]
    comparison.attrs["notes"] = notes
    return comparison


def _crossed_differences(
    runs: Sequence[Source],
    *,
    split: str = "test",
    threshold: float | str = THRESHOLD,
    metrics: Sequence[str] = (),
    stream: Sequence[str] | None = None,
    resamples: int = 1000,
    reals: str = "own",
) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns rows of differences of agents, paired by seed and group, after the last step and of streams; and notes.

    Agents have at least two seeds in common; those that were tested on other images are in the notes.
    """
    every = share_reals(read_scores(runs, stream), reals, split)
    named = [(name, source) for name, source in zip(agent_names(every), every, strict=True) if source.seed is not None]
    wanted, rows, notes = metric_names(metrics), list[dict[str, Any]](), list[str]()
    detection, continual = [name for name in DETECTION if name in wanted], measures_of(wanted)
    tested = _grouped([source.table[source.table["split"] == split] for _, source in named])
    at = [thresholds(source, source.table, split, threshold) for _, source in named]
    last = [table[table["step"] == max(steps)] for table, steps in zip(tested, at, strict=True)]
    whole, ends = (
        [
            matrices(table, names, threshold=steps, split=split, resamples=resamples)
            for table, steps in zip(tables, at, strict=True)
        ]
        for tables, names in ((tested, continual), (last, detection))
    )
    for first, second in itertools.combinations(dict.fromkeys(name for name, _ in named), 2):
        ours, theirs = ({s.seed: k for k, (name, s) in enumerate(named) if name == agent} for agent in (first, second))
        common = [seed for seed in ours if seed in theirs]
        both = [seeds[seed] for seeds in (ours, theirs) for seed in common]
        trained = {named[k][1].stream for k in both}
        if len(common) > 1:
            found = list[dict[str, Any]]()
            try:
                found += detection_rows([ends[k] for k in both], detection, crossed_difference)
                if None not in trained and len(trained) == 1:
                    parts, stream = [whole[k] for k in both], named[both[0]][1].stream or ()
                    found += [
                        r for m in continual for r in continual_rows(parts, stream, wanted, m, crossed_difference)
                    ]
            except UserError:
                notes.append(
                    f"{first} and {second}: tested on other images or groups, so intervals are over seeds alone"
                )
            rows += [{"first": first, "second": second} | row for row in found]
    return rows, notes


def compare_on_images(
    runs: Sequence[Source],
    *,
    split: str = "test",
    threshold: float | str = THRESHOLD,
    metrics: Sequence[str] = (),
    stream: Sequence[str] | None = None,
    resamples: int = 1000,
    reals: str = "own",
) -> pd.DataFrame:
    """Compares every two runs or score files on the images that both were tested on, with arguments as `metric_table`.

    Returns:
        COMPARISON with spread "groups": the difference of first minus second with a 95 % interval, from the same
        resamples of the groups for both, without p. Detection metrics are compared after the last step (missing where
        the two have different ones), in every domain, on the images that both have scores of; n counts images.
        Continual metrics are compared where both have the same stream and images; n counts groups. Names of agents with
        several runs include the seed. With shared reals there is a column REALS, as in the metric table; the pool is
        of the real images that both have in theirs. attrs["notes"] holds sentences on what could not be compared, or
        only in part.

    Raises:
        UserError: as `read_scores` and `share_reals`; there is only one run; or two of them have no domain with common
            images of each class, or other groups of these.

    Source: Efron & Tibshirani 1993, chapter 8.
    """
    sources = share_reals(read_scores(runs, stream), reals, split)
    if len(sources) < 2:
        raise UserError(f"--compare needs two runs or files; there: {sources[0].run}")
    names, wanted = _distinct_names(sources), metric_names(metrics)
    detection, continual = [name for name in DETECTION if name in wanted], measures_of(wanted)
    at = [thresholds(source, source.table, split, threshold) for source in sources]
    tested = _grouped([source.table[source.table["split"] == split] for source in sources])
    last = [table[table["step"] == max(steps)] for table, steps in zip(tested, at, strict=True)]
    rows: list[dict[str, Any]] = []
    notes: dict[str, list[str]] = {}

    @lru_cache(KEPT)  # a source is part of many pairs, mostly with the same domains
    def measured(k: int, domains: tuple[str, ...] = ()) -> Matrices:
        return of(k, of_domains(last[k], domains), detection) if domains else of(k, tested[k], continual)

    def of(k: int, table: pd.DataFrame, chosen: Sequence[str]) -> Matrices:
        return matrices(table, chosen, threshold=at[k], split=split, resamples=resamples)

    for i, k in itertools.combinations(range(len(sources)), 2):
        two, steps = f"{names[i]} and {names[k]}", [max(at[i]), max(at[k])]
        common = _common(last[i], last[k])
        same, partly = _comparable(common, last[i], last[k])
        if not same + partly:
            alike = "the same images and labels" + ", also of the shared real images," * (reals == "shared")
            of_sets = [{name.rpartition(":")[2]: name for name in last[run]["domain"].unique()} for run in (i, k)]
            called = [(one, other) for own, one in of_sets[0].items() if (other := of_sets[1].get(own, one)) != one]
            hint = "; what one calls {} may be {} of the other: cldf score takes SET:DOMAIN, and calls it so"
            hint = hint.format(*called[0]) if called else ""
            raise UserError(f"--compare: {two} have no domain with {alike} after their last steps{hint}")
        if left := sorted({*last[i]["domain"], *last[k]["domain"]} - {*same, *partly}):
            where = f"are not compared on {in_few_words(left)}: there they were not tested on the same images"
            notes.setdefault(where, []).append(two)
        if partly:
            where = f"are compared on {in_few_words(partly)} by the images that both have scores of, not by all"
            notes.setdefault(where, []).append(two)
        if steps[0] != steps[1]:
            when = f"are compared after steps {steps[0]} and {steps[1]}, their last ones"
            notes.setdefault(when, []).append(two)
        pair = {"first": names[i], "second": names[k]}
        step = {"step": steps[0] if steps[0] == steps[1] else None}
        trained = sources[i].stream if sources[i].stream == sources[k].stream else None
        try:
            found = list[dict[str, Any]]()
            if detection and same:
                found += detection_rows([measured(one, tuple(same)) for one in (i, k)], detection)
            if detection and partly:
                tables = [of_domains(table, partly) for table in common]
                parts = [of(one, table, detection) for one, table in zip((i, k), tables, strict=True)]
                found += [row for row in detection_rows(parts, detection) if row["domain"] in partly]
            by_metric = sorted(found, key=lambda row: detection.index(row["metric"]))
            rows += [pair | row | step for row in by_metric if row["domain"] in {*same, *partly}]
            if continual and trained is not None and _images(tested[i]) == _images(tested[k]):
                parts = [measured(one) for one in (i, k)]
                rows += [pair | row for measure in continual for row in continual_rows(parts, trained, wanted, measure)]
        except UserError as error:
            raise UserError(f"--compare: {two}: {error}") from None
    table = pd.DataFrame(rows).rename(columns={"value": "difference"})
    comparison = _typed(table, [REALS] if reals == "shared" else [])
    comparison.attrs["notes"] = [f"{few(pairs)} {sentence}" for sentence, pairs in notes.items()]
    return comparison


def beside(first: Path, second: Path, metrics: Sequence[str], *, split: str) -> pd.DataFrame:
    """Metrics of two runs after their last steps and of their streams, side by side.

    Returns:
        Columns metric, domain, first, second, and the difference of first minus second with low and high, as
        `compare_on_images`; a number is missing where there is none. attrs["notes"] holds sentences on what could not
        be compared.
    """
    keys, columns = ["metric", "domain"], list[pd.Series]()
    for name, path in (("first", first), ("second", second)):
        table = metric_table([path], metrics=metrics, split=split, resamples=1)
        last = table[table["step"].isna() | (table["step"] == table["step"].max())]
        columns.append(last.set_index(keys)["value"].rename(name))
    try:
        paired = compare_on_images([first, second], metrics=metrics, split=split)
    except UserError as error:
        paired = _typed(pd.DataFrame(columns=list(COMPARISON)))
        paired.attrs["notes"] = [str(error)]
    differences = paired.set_index(keys)[["difference", "low", "high"]]
    table = pd.concat([*columns, differences], axis=1).rename_axis(keys).reset_index()
    table.attrs["notes"] = paired.attrs["notes"]
    return table


def _distinct_names(sources: Sequence[Scores]) -> list[str]:
    """Returns the agents' names; those of several runs get the seed and, if they are still equal, the run."""
    names = names_with_options(sources)
    seeds = ["" if source.seed is None else f", seed {source.seed}" for source in sources]
    for suffixes in (seeds, [f" of {source.run}" for source in sources]):
        names = [n + suffix if names.count(n) > 1 else n for n, suffix in zip(names, suffixes, strict=True)]
    return names


def _grouped(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Sorts tables of the same images; one that has no groups takes those of others that have some."""
    keys = ["domain", "image"]
    ordered = [table.sort_values(["step", *keys], ignore_index=True) for table in tables]
    grouped = [bool((table["group"] != table["image"]).any()) for table in ordered]
    if any(grouped) and not all(grouped):
        known = pd.concat([table[[*keys, "group"]] for table in itertools.compress(ordered, grouped)])
        for k in itertools.compress(range(len(ordered)), np.logical_not(grouped)):
            table = ordered[k].drop(columns="group").merge(known.drop_duplicates(keys), on=keys, how="left")
            ordered[k] = table.assign(group=table["group"].fillna(table["image"]))
    return ordered


def _reals(part: pd.DataFrame) -> dict[str, str]:
    """What the column REALS says of rows of a metric table that has it: "shared" where it says so of one of them."""
    return {REALS: max(part[REALS])} if REALS in part else {}


def _common(first: pd.DataFrame, second: pd.DataFrame) -> list[pd.DataFrame]:
    """Returns of two sorted tables of one step the rows of images that both hold with the same label.

    In the pool are real images that both have there.
    """
    images = [pd.MultiIndex.from_frame(table[["domain", "image", "label"]]) for table in (first, second)]
    common = [first[images[0].isin(images[1])], second[images[1].isin(images[0])]]
    if "pool" in first:
        pool = common[0]["pool"].to_numpy() & common[1]["pool"].to_numpy()
        common = [table.assign(pool=pool) for table in common]
    return common


def _comparable(common: Sequence[pd.DataFrame], *whole: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Returns the domains of which all images, with their pool, are common to two tables, and those of which some are.

    Each of these has common images of every class that it has in the tables.
    """
    sizes = [_sizes(table) for table in (*whole, common[0])]
    same, partly = list[str](), list[str]()
    for domain, (reals, fakes, pool) in sizes[-1].items():
        both = [sizes[k][domain] for k in (0, 1)]
        if all((reals > 0, fakes > 0, pool > 0) == tuple(size > 0 for size in theirs) for theirs in both):
            (same if all(theirs == (reals, fakes, pool) for theirs in both) else partly).append(domain)
    return same, partly


def _sizes(table: pd.DataFrame) -> dict[str, tuple[int, int, int]]:
    """Returns how many reals and fakes each domain has and, where it has no reals, how many the pool has."""
    counts = table.assign(fake=table["label"], real=1 - table["label"]).groupby("domain")[["real", "fake"]].sum()
    pool = int(table["pool"].sum()) if "pool" in table else 0
    return {d: (real, fake, 0 if real else pool) for d, real, fake in counts.itertuples()}


def _images(table: pd.DataFrame) -> set[tuple[Any, ...]]:
    """Returns the images with their labels, by step and domain."""
    return {*table[["step", "domain", "image", "label"]].itertuples(index=False, name=None)}


def _typed(table: pd.DataFrame, more: Sequence[str] = ()) -> pd.DataFrame:
    """Puts the columns of COMPARISON and more in order, with their types; whole numbers may be missing."""
    types = {"step": "Int64", "n": "Int64", "p": float, "p_holm": float, "p_seeds": float}
    return table.reindex(columns=[*COMPARISON, *more]).astype(types)
