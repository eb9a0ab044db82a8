"""Curves of metrics and of traces against the severity of a corruption, and what they show."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cldf_core.evaluation.bootstrap import matrices, paired_matrices, side_by_side
from cldf_core.evaluation.seeds import difference_of_groups, t_interval

METRICS = ("accuracy", "balanced accuracy", "AUC")
COLUMNS = ("agent", "domain", "corruption", "severity", "metric", "value", "low", "high", "n")
AVERAGE = "average"  # stands in the column domain for the mean over the trained domains
GUESSING = 0.5
STORED, NONE = "stored", "none"  # versions of an image without a corruption
DIFFERENCE = "fake − real"
Severities = Mapping[str, Sequence[float]]  # of each corruption, the mildest first


def curves(scores: pd.DataFrame, stream: Sequence[str], *, resamples: int = 1000) -> pd.DataFrame:
    """Computes each agent's metrics on each domain, and their mean over the trained ones, for every version of images.

    The table of scores of all versions has the columns agent, corruption and severity besides. The stream holds the
    trained domains. Groups are resampled in all domains and versions at once. Of the COLUMNS low and high are the ends
    of a 95 % interval, and n counts images.
    """
    parts = []
    for agent, table in scores.groupby("agent", sort=False):
        versions = table[["corruption", "severity"]].drop_duplicates(ignore_index=True)
        number = table.groupby(["corruption", "severity"], sort=False).ngroup()  # versions stand in place of steps
        R = matrices(table.assign(step=number, split="test"), METRICS, resamples=resamples)
        trained = np.isin(R.domains, stream)
        n = np.column_stack([R.images, R.images[:, trained].sum(1)])
        for metric in METRICS:
            average = R.statistic(metric, lambda values, *_, trained=trained: values[..., trained].mean(-1))
            value, low, high = side_by_side(R.metrics[metric], average)
            for k, name in enumerate([*R.domains, AVERAGE]):
                numbers = {"value": value[:, k], "low": low[:, k], "high": high[:, k], "n": n[:, k]}
                parts.append(versions.assign(agent=agent, domain=name, metric=metric, **numbers))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def common_step_changes(
    scores: pd.DataFrame, stream: Sequence[str], metric: str = "balanced accuracy", *, resamples: int = 1000
) -> pd.DataFrame:
    """Computes by how much the common step alone changes a metric: of images saved once minus of the same as stored.

    Of the table of scores as for `curves` only these two versions count. Returned are agent, domain (AVERAGE: the mean
    over the trained domains of the stream), and value, low and high, from the same resamples of the groups for both.
    """
    parts = []
    for agent, table in scores.groupby("agent", sort=False):
        after, before = (table[table["corruption"] == name].assign(step=1, split="test") for name in (NONE, STORED))
        once, stored = paired_matrices([after, before], [metric], resamples=resamples)
        trained = np.isin(once.domains, stream)
        means = [
            R.statistic(metric, lambda values, *_, used=trained: values[..., used].mean(-1)) for R in (once, stored)
        ]
        numbers = side_by_side(once.metrics[metric] - stored.metrics[metric], means[0] - means[1])[:, 0]
        columns = dict(zip(("value", "low", "high"), numbers, strict=True))
        parts.append(pd.DataFrame({"agent": agent, "domain": [*once.domains, AVERAGE], **columns}))
    return pd.concat(parts, ignore_index=True)


def trace_curves(traces: pd.DataFrame) -> pd.DataFrame:
    """Computes the mean of each trace in real and in fake images and their difference, for every version of images.

    It is the mean over the groups' means, with a 95 % t interval, as in notebook 02. The difference is that of
    `seeds.difference_of_groups`. The columns of traces are trace, domain, corruption, severity, label, group and value.

    Returns:
        Columns trace, domain, corruption, severity, class ("real", "fake" or DIFFERENCE), value, low, high, n (groups).
    """
    by = ["trace", "domain", "corruption", "severity"]
    means = traces.groupby([*by, "label", "group"], sort=False)["value"].mean().unstack("label").reindex(columns=[0, 1])
    rows = []
    for _, part in means.groupby(level=by, sort=False):
        key, real, fake = part.index[0][:-1], part[0], part[1]
        for kind, values in (("real", real.dropna()), ("fake", fake.dropna())):
            rows += [(*key, kind, *t_interval(values.to_numpy()), len(values))] if len(values) else []
        if (groups := fake.count()) and real.count():
            rows.append((*key, DIFFERENCE, *difference_of_groups(fake.to_numpy(), real.to_numpy()), groups))
    return pd.DataFrame(rows, columns=[*by, "class", "value", "low", "high", "n"])


def halved(table: pd.DataFrame, severities: Severities, metric: str = "balanced accuracy") -> pd.DataFrame:
    """Finds the mildest severity that leaves at most half of an agent's lead over guessing, on average over domains.

    The table is from `curves`, and guessing gives 0.5 of the metric. Severities are looked at in their order.

    Returns:
        A row for each agent and corruption: agent, corruption; lead, without a corruption; known, whether the interval
        there is above guessing (else nothing can be halved); severity, NaN where none halves the lead; tried, its place
        among the severities, counted from 1; left, the smallest share of the lead that any severity leaves.
    """
    chosen = table[(table["metric"] == metric) & (table["domain"] == AVERAGE)]
    rows = []
    for agent, part in chosen.groupby("agent", sort=False):
        (start,) = part[part["corruption"] == NONE].itertuples()
        lead, known = start.value - GUESSING, bool(start.low > GUESSING)
        for corruption, tested in severities.items():
            values = part[part["corruption"] == corruption].set_index("severity")["value"]
            share = (values[list(tested)].to_numpy() - GUESSING) / lead if known else np.full(len(tested), np.nan)
            lost = np.flatnonzero(share <= 0.5)
            at = (tested[lost[0]], lost[0] + 1) if len(lost) else (np.nan, np.nan)
            rows.append((agent, corruption, lead, known, *at, share.min()))
    return pd.DataFrame(rows, columns=["agent", "corruption", "lead", "known", "severity", "tried", "left"])


def survival(table: pd.DataFrame, severities: Severities) -> pd.DataFrame:
    """Finds the mildest of the severities at which a trace, in a table of `trace_curves`, is no longer significant.

    A trace is significant where the interval of fake minus real leaves 0 out, after a corruption on the same side of 0
    as in the stored images.

    Returns:
        Columns domain, trace, value (in the stored images), corruption, severity, for each trace that is significant
        there. Its first row is the common step (NONE): severity is 0 where that removes the trace, and then no other
        row follows. The others are the corruptions; severity is NaN where the trace outlives all of them.
    """
    rows = []
    for (domain, trace), part in table[table["class"] == DIFFERENCE].groupby(["domain", "trace"], sort=False):
        (start,) = part[part["corruption"] == STORED].itertuples()
        if not start.low * start.high > 0:
            continue
        side = np.sign(start.value)
        for corruption, tested in {NONE: (0.0,), **severities}.items():
            ends = part[part["corruption"] == corruption].set_index("severity").loc[list(tested), ["low", "high"]]
            gone = np.flatnonzero(~((side * ends) > 0).all(axis=1))
            rows.append((domain, trace, start.value, corruption, tested[gone[0]] if len(gone) else np.nan))
            if corruption == NONE and len(gone):
                break
    return pd.DataFrame(rows, columns=["domain", "trace", "value", "corruption", "severity"])
