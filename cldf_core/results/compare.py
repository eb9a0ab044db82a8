"""Two agents side by side: over the seeds that both were trained with, or on the images that both were tested on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.evaluation.bootstrap import continual_and_unseen, continual_names, matrices
from cldf_core.evaluation.metrics import DETECTION, THRESHOLD
from cldf_core.evaluation.seeds import paired_t_tests
from cldf_core.options import UserError
from cldf_core.results.metric_table import COST, MEASURES, agent_names, declared_threshold, metrics_of, thresholds
from cldf_core.results.score_tables import Scores, read_scores
from cldf_core.runs.folder import RunFolder

COMPARISON = (
    *("metric", "step", "domain", "first", "second", "difference", "low", "high", "p", "p_holm", "n", "spread"),
)


def several_seeds(card: pd.DataFrame) -> bool:
    """Whether a metric card holds two agents that share two seeds."""
    seeds = card[(card["run"] != "") & card["seed"].notna()].groupby("agent")["seed"].agg(set)
    return any(len(a & b) > 1 for a, b in itertools.combinations(seeds, 2))


def compared(card: pd.DataFrame) -> pd.DataFrame:
    """Every two agents of a metric card compared by paired t tests over the seeds that both were trained with.

    Args:
        card: from `metric_card`.

    Returns:
        COMPARISON, spread "seeds": of each continual metric, and of each detection metric after the last step, the
        mean difference of first minus second with its 95 % t interval; p, and p_holm, which is corrected for all
        pairs of agents within the same metric and domain; n seeds.

    Raises:
        UserError: there are fewer than two agents.
    """
    own = card[(card["run"] != "") & ~card["metric"].isin(COST) & card["seed"].notna()]
    if own["agent"].nunique() < 2:
        raise UserError(
            f"--compare needs two agents with a seed; there: {', '.join(map(repr, own['agent'].unique())) or 'none'}"
        )
    own = own[own["step"].isna() | (own["step"] == own.groupby("run")["step"].transform("max"))]
    tables = []
    for (metric, step, domain), part in own.groupby(["metric", "step", "domain"], sort=False, dropna=False):
        tests = paired_t_tests(part[["agent", "seed", "value"]])
        tables.append(tests.assign(metric=metric, step=step, domain=domain))
    table = _typed(pd.concat(tables, ignore_index=True).assign(spread="seeds"))
    without = card[(card["run"] != "") & card["seed"].isna()]["agent"].unique()
    table.attrs["notes"] = [f"{agent} has no seed, so it is not compared with the others" for agent in without]
    return table


def paired(
    runs: Sequence[str | Path | RunFolder],
    *,
    split: str = "test",
    threshold: float | str = THRESHOLD,
    metrics: Sequence[str] = (),
    stream: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every two runs or score files compared on the images that both were tested on.

    Args: as `metric_card`.

    Returns:
        COMPARISON, spread "groups": of each detection metric after the last step (missing where the two have not the
        same one), in every domain in which both were tested on the same images, and of each continual metric where
        both have the same stream and images, the difference of first minus second with a 95 % interval, from the same
        resamples of the groups for both. There is no p. n images, or groups for the continual metrics. Runs of one
        agent have their seed in the name. attrs["notes"] says what could not be compared.

    Raises:
        UserError: as `read_scores`; there is one run only; or two have no domain with the same images.

    Source: Efron & Tibshirani 1993, chapter 8.
    """
    scores = read_scores(runs, stream)
    if len(scores) < 2:
        raise UserError(f"--compare needs two runs or files; there: {scores[0].run}")
    names = _distinct(agent_names(scores), scores)
    declared, wanted = declared_threshold(threshold), metrics_of(metrics)
    at = [thresholds(one, one.table, split, declared) for one in scores]
    how = {"split": split, "resamples": resamples, "seed": seed}
    rows: list[dict[str, Any]] = []
    notes = []
    for i, k in itertools.combinations(range(len(scores)), 2):
        two = f"{names[i]} and {names[k]}"
        last = [_last(scores[j].table, split, max(at[j])) for j in (i, k)]
        both = _same_images(last)
        if not both:
            raise UserError(f"--compare: {two} have no domain with the same images and labels after their last steps")
        if left := sorted(set().union(*(set(table["domain"]) for table in last)) - set(both)):
            notes.append(f"{two} are not compared on {', '.join(left)}: there they were not tested on the same images")
        if max(at[i]) != max(at[k]):
            notes.append(f"{two} are compared after steps {max(at[i])} and {max(at[k])}, their last ones")
        place = {"first": names[i], "second": names[k]}
        last = _grouped_alike([table[table["domain"].isin(both)] for table in last])
        rows += [place | row for row in _detection(last, (at[i], at[k]), wanted, how)]
        whole = [one.table[one.table["split"] == split] for one in (scores[i], scores[k])]
        known = scores[i].stream
        if known is not None and scores[k].stream == known and _same_cells(whole):
            rows += [place | row for row in _continual(_grouped_alike(whole), (at[i], at[k]), known, wanted, how)]
    table = _typed(pd.DataFrame(rows).assign(spread="groups"))
    table.attrs["notes"] = notes
    return table


def _distinct(names: Sequence[str], scores: Sequence[Scores]) -> list[str]:
    """Names of agents; those of several runs get the seed, and if that does not tell them apart, the run."""
    seeds = [
        f"{n}, seed {one.seed}" if names.count(n) > 1 and one.seed is not None else n
        for n, one in zip(names, scores, strict=True)
    ]
    return [f"{n} of {one.run}" if seeds.count(n) > 1 else n for n, one in zip(seeds, scores, strict=True)]


def _last(table: pd.DataFrame, split: str, step: int) -> pd.DataFrame:
    return table[(table["split"] == split) & (table["step"] == step)]


def _detection(
    last: Sequence[pd.DataFrame], at: Sequence[dict[int, float]], wanted: Sequence[str], how: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The detection metrics of two tables with the same images, each of one step."""
    names = [name for name in DETECTION if name in wanted]
    first, second = (matrices(table, names, threshold=own, **how) for table, own in zip(last, at, strict=True))
    for name in names:
        difference = first.metrics[name] - second.metrics[name]
        low, high = difference.interval()
        for i, domain in enumerate(first.domains):
            step = first.steps[0] if first.steps == second.steps else None
            row = {"metric": name, "step": step, "domain": domain, "n": first.images[0, i]}
            yield row | {"difference": difference.value[0, i], "low": low[0, i], "high": high[0, i]}


def _continual(
    whole: Sequence[pd.DataFrame],
    at: Sequence[dict[int, float]],
    stream: Sequence[str],
    wanted: Sequence[str],
    how: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """The continual metrics of two tables with the same images after every step."""
    statistic = continual_and_unseen(stream)
    for measure in (m for m in MEASURES if any(name.startswith(f"{m}: ") for name in wanted)):
        first, second = (matrices(table, [measure], threshold=own, **how) for table, own in zip(whole, at, strict=True))
        difference = first.statistic(measure, statistic) - second.statistic(measure, statistic)
        low, high = difference.interval()
        for i, name in enumerate(continual_names(whole[0], stream, how["split"])):
            kind, _, domain = name.partition(": ")
            if f"{measure}: {kind}" in wanted:
                row = {"metric": f"{measure}: {kind}", "domain": domain, "n": first.groups}
                row |= {"step": len(stream) if domain else None, "difference": difference.value[i]}
                yield row | {"low": low[i], "high": high[i]}


def _same_images(tables: Sequence[pd.DataFrame]) -> list[str]:
    """The domains in which two tables, each of one step, have the same images with the same labels."""
    first, second = (
        {domain: frozenset(zip(own["image"], own["label"], strict=True)) for domain, own in table.groupby("domain")}
        for table in tables
    )
    return [str(domain) for domain, images in first.items() if second.get(domain) == images]


def _same_cells(tables: Sequence[pd.DataFrame]) -> bool:
    """Whether two tables have the same images with the same labels, in every step and domain."""
    columns = ["step", "domain", "image", "label"]
    first, second = (table[columns].sort_values(columns, ignore_index=True) for table in tables)
    return first.equals(second)


def _grouped_alike(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Two tables of the same images, sorted, with the groups of the one that knows more of what belongs together."""
    known = min(tables, key=lambda table: table["group"].nunique())
    group = known.drop_duplicates(["domain", "image"]).set_index(["domain", "image"])["group"]
    ordered = (table.sort_values(["step", "domain", "image"], ignore_index=True) for table in tables)
    return [t.assign(group=group.loc[list(zip(t["domain"], t["image"], strict=True))].array) for t in ordered]


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """COMPARISON, with whole numbers that may be missing."""
    return table.reindex(columns=list(COMPARISON)).astype({"step": "Int64", "n": "Int64", "p": float, "p_holm": float})
