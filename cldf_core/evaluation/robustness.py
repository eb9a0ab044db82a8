"""Curves against the severity of a corruption, from the tables of `robustness`: tidy, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cldf_core.evaluation.bootstrap import matrices, side_by_side
from cldf_core.evaluation.seeds import t_interval

METRICS = ("accuracy", "balanced accuracy", "AUC")
COLUMNS = ("agent", "domain", "corruption", "severity", "metric", "value", "low", "high", "n")
AVERAGE = "average"  # of the trained domains
GUESSING = 0.5
STORED, NONE = "stored", "none"  # versions of an image without a corruption
DIFFERENCE = "fake − real"


def curves(scores: pd.DataFrame, stream: Sequence[str], *, resamples: int = 1000) -> pd.DataFrame:
    """Each agent's metrics on each domain, and on average over the trained ones, for every version of the images.

    Args:
        scores: as `robustness.Measured.scores`.
        stream: the trained domains.
        resamples: of the groups, which are drawn in all domains and versions at once (`spread.matrices`).

    Returns:
        COLUMNS: low and high are the ends of a 95 % interval, n counts images.
    """

    def over_trained(values: np.ndarray, steps: list[int], domains: list[str]) -> np.ndarray:
        return values[..., [name in stream for name in domains]].mean(-1)

    parts = []
    for agent, own in scores.groupby("agent", sort=False):
        versions = own[["corruption", "severity"]].drop_duplicates(ignore_index=True)
        step = own.groupby(["corruption", "severity"], sort=False).ngroup()  # what a run calls a step is a version here
        R = matrices(own.assign(step=step, split="test"), METRICS, resamples=resamples)
        n = np.column_stack([R.images, R.images[:, [name in stream for name in R.domains]].sum(1)])
        for metric in METRICS:
            value, low, high = side_by_side(R.metrics[metric], R.statistic(metric, over_trained))
            for k, name in enumerate([*R.domains, AVERAGE]):
                measured = {"value": value[:, k], "low": low[:, k], "high": high[:, k], "n": n[:, k]}
                parts.append(versions.assign(agent=agent, domain=name, metric=metric, **measured))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def trace_curves(traces: pd.DataFrame) -> pd.DataFrame:
    """Mean of each trace in real and fake images and their difference, for every version of the images.

    First the mean of each group, then over groups, with a 95 % t interval, as in notebook 02. The difference is that
    of each group; a group without a real image is compared with the mean of all reals.

    Args:
        traces: as `robustness.Measured.traces`.

    Returns:
        Columns trace, domain, corruption, severity, class ("real", "fake" or "fake − real"), value, low, high, n, which
        counts groups.
    """
    by = ["trace", "domain", "corruption", "severity"]
    means = traces.groupby([*by, "label", "group"], sort=False)["value"].mean().unstack("label").reindex(columns=[0, 1])
    rows = []
    for _, part in means.groupby(level=by, sort=False):
        key, real, fake = part.index[0][:-1], part[0], part[1]
        for kind, values in (("real", real), ("fake", fake), (DIFFERENCE, fake - real.fillna(real.mean()))):
            known = values.dropna().to_numpy()
            if len(known):
                rows.append((*key, kind, *t_interval(known), len(known)))
    return pd.DataFrame(rows, columns=[*by, "class", "value", "low", "high", "n"])


def halved(
    table: pd.DataFrame,
    severities: Mapping[str, Sequence[float]],
    metric: str = "balanced accuracy",
    domain: str = AVERAGE,
) -> pd.DataFrame:
    """The mildest tested severity that leaves at most half of what an agent gains over guessing.

    Args:
        table: from `curves`.
        severities: of each corruption, the mildest first.
        metric: whose gain over 0.5, which is guessing.
        domain: one of the table's.

    Returns:
        A row per agent and corruption: agent, corruption; gain, on images without a corruption; known,
        whether the interval there is above guessing (else nothing can be halved); severity, NaN where none of those
        tested halves it; tried, its place among them, 1 being the mildest; left, the smallest share of the gain that
        any severity leaves.
    """
    chosen = table[(table["metric"] == metric) & (table["domain"] == domain)]
    rows = []
    for agent, own in chosen.groupby("agent", sort=False):
        (start,) = own[own["corruption"] == NONE].itertuples()
        gain, known = start.value - GUESSING, bool(start.low > GUESSING)
        for corruption, tested in severities.items():
            values = own[own["corruption"] == corruption].set_index("severity")["value"]
            share = (values[list(tested)].to_numpy() - GUESSING) / gain if known else np.full(len(tested), np.nan)
            lost = np.flatnonzero(share <= 0.5)
            at = (tested[lost[0]], lost[0] + 1) if len(lost) else (np.nan, np.nan)
            rows.append((agent, corruption, gain, known, *at, share.min()))
    return pd.DataFrame(rows, columns=["agent", "corruption", "gain", "known", "severity", "tried", "left"])


def survival(table: pd.DataFrame, severities: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """The mildest tested severity at which a trace is no longer shown.

    A trace is shown where the interval of fake minus real leaves 0 out; after a corruption, on the same side of 0 as
    in the images as they are stored.

    Args:
        table: from `trace_curves`.
        severities: of each corruption, the mildest first.

    Returns:
        For each trace that is shown in the images as they are stored: domain, trace, value (there), corruption,
        severity. The first row is the common step ("none"): severity is 0 where it takes the trace away, and then
        there is no other row. One for each corruption follows; severity is NaN where all those tested leave the trace.
    """
    rows = []
    for (domain, trace), own in table[table["class"] == DIFFERENCE].groupby(["domain", "trace"], sort=False):
        (start,) = own[own["corruption"] == STORED].itertuples()
        if not start.low * start.high > 0:
            continue
        side = np.sign(start.value)
        for corruption, tested in {NONE: (0.0,), **severities}.items():
            here = own[own["corruption"] == corruption].set_index("severity").loc[list(tested), ["low", "high"]]
            gone = np.flatnonzero(~((side * here) > 0).all(axis=1))
            rows.append((domain, trace, start.value, corruption, tested[gone[0]] if len(gone) else np.nan))
            if corruption == NONE and len(gone):
                break
    return pd.DataFrame(rows, columns=["domain", "trace", "value", "corruption", "severity"])
