"""Two agents side by side: over the seeds that both were trained with, or on the images that both were tested on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.comparison import paired_t_tests
from cldf_core.metrics import DETECTION, THRESHOLD
from cldf_core.options import UserError
from cldf_core.runs.card import COST, MEASURES, agent_names, declared_threshold, metrics_of, thresholds
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.score_tables import Scores, read_scores
from cldf_core.spread import continual_and_unseen, continual_names, matrices

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
    own = own[own["step"].isna() | (own["step"] == own["step"].max())]
    tables = []
    for (metric, step, domain), part in own.groupby(["metric", "step", "domain"], sort=False, dropna=False):
        tests = paired_t_tests(part[["agent", "seed", "value"]])
        tables.append(tests.assign(metric=metric, step=step, domain=domain))
    table = pd.concat(tables, ignore_index=True).assign(spread="seeds")
    return _typed(table)


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
        COMPARISON, spread "groups": of each detection metric after the last step, in every domain in which both were
        tested on the same images, and of each continual metric where both have the same stream, the difference of
        first minus second with a 95 % interval, from the same resamples of the groups for both. There is no p.
        n images, or groups for the continual metrics. Runs of one agent have their seed in the name.

    Raises:
        UserError: as `read_scores`; there is one run only; or two have no domain with the same images.

    Source: Efron & Tibshirani 1993, chapter 8.
    """
    scores = read_scores(runs, stream)
    if len(scores) < 2:
        raise UserError(f"--compare needs two runs or files; there: {scores[0].run}")
    names = agent_names(scores)
    names = [f"{n}, seed {one.seed}" if names.count(n) > 1 else n for n, one in zip(names, scores, strict=True)]
    declared, wanted = declared_threshold(threshold), metrics_of(metrics)
    at = [thresholds(one, one.table, split, declared) for one in scores]
    how = {"split": split, "resamples": resamples, "seed": seed}
    rows = [
        {"first": names[i], "second": names[k], **row}
        for i, k in itertools.combinations(range(len(scores)), 2)
        for row in _differences((scores[i], scores[k]), (at[i], at[k]), wanted, how)
    ]
    return _typed(pd.DataFrame(rows).assign(spread="groups"))


def _differences(
    two: tuple[Scores, Scores],
    at: tuple[dict[int, float], dict[int, float]],
    wanted: Sequence[str],
    how: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """The rows for two runs."""
    tables, whole = _same_images(two, how["split"])
    detection = [name for name in DETECTION if name in wanted]
    last = [table[table["step"] == max(own)] for table, own in zip(tables, at, strict=True)]
    first, second = (matrices(table, detection, threshold=own, **how) for table, own in zip(last, at, strict=True))
    for name in detection:
        difference = first.of[name] - second.of[name]
        low, high = difference.interval()
        for i, domain in enumerate(first.domains):
            row = {"metric": name, "step": first.steps[0], "domain": domain, "n": first.images[0, i]}
            yield row | {"difference": difference.value[0, i], "low": low[0, i], "high": high[0, i]}
    stream = two[0].stream
    if stream is None or two[1].stream != stream or not whole:
        return
    for measure in (m for m in MEASURES if any(name.startswith(f"{m}: ") for name in wanted)):
        first, second = (
            matrices(table, [measure], threshold=own, **how) for table, own in zip(tables, at, strict=True)
        )
        statistic = continual_and_unseen(stream)
        difference = first.statistic(measure, statistic) - second.statistic(measure, statistic)
        low, high = difference.interval()
        for i, name in enumerate(continual_names(tables[0], stream, how["split"])):
            kind, _, domain = name.partition(": ")
            if f"{measure}: {kind}" in wanted:
                row = {"metric": f"{measure}: {kind}", "domain": domain, "n": first.groups}
                row |= {"step": len(stream) if domain else None, "difference": difference.value[i]}
                yield row | {"low": low[i], "high": high[i]}


def _same_images(two: tuple[Scores, Scores], split: str) -> tuple[list[pd.DataFrame], bool]:
    """The scores of the domains with the same images, sorted and grouped alike; and whether those are all there are."""
    tables = [one.table[one.table["split"] == split] for one in two]
    tested = [
        {domain: frozenset(zip(part["image"], part["label"], strict=True)) for domain, part in table.groupby("domain")}
        for table in tables
    ]
    both = [domain for domain, images in tested[0].items() if tested[1].get(domain) == images]
    if not both:
        raise UserError(f"--compare: there is no domain in which {two[0].run} and {two[1].run} have the same images")
    tables = [t[t["domain"].isin(both)].sort_values(["step", "domain", "image"], ignore_index=True) for t in tables]
    # A file of another program may not know what belongs together: then the other's groups count for both.
    known = min(tables, key=lambda table: table["group"].nunique())
    group = known.drop_duplicates(["domain", "image"]).set_index(["domain", "image"])["group"]
    return (
        [
            table.assign(group=group.loc[list(zip(table["domain"], table["image"], strict=True))].array)
            for table in tables
        ],
        all(len(images) == len(both) for images in tested),
    )


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """COMPARISON, with whole numbers that may be missing."""
    return table.reindex(columns=list(COMPARISON)).astype({"step": "Int64", "n": "Int64", "p": float, "p_holm": float})
