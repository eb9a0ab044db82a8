"""Calibration: of the images to which a detector gives P(fake) = 0.8, are eight in ten fakes?

Everything is computed from tables of scores, see metrics.py; score is the sigmoid of logit for every agent, iCaRL
included.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, ndtri

from cldf_core.evaluation.bootstrap import matrices
from cldf_core.evaluation.metrics import bins_of
from cldf_core.options import UserError

COLDEST, HOTTEST = 0.01, 100.0  # temperatures
METRICS = ("ECE", "NLL", "accuracy")
SEEN = "mean of seen"  # in place of a domain


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """The temperature T, from 0.01 to 100, for which sigmoid(logit / T) makes the labels most likely.

    Args:
        logits: of fake, shape (N,).
        labels: 0 or 1, shape (N,).

    Returns:
        None where no T is best: there is one class only, all signs are right (T goes to 0), or most of the logits'
        sum is wrong (to infinity). Where the best T lies outside of its bounds, the bound.

    Raises:
        UserError: logits that are not finite.

    Source: Guo, Pleiss, Sun & Weinberger, ICML 2017, section 4.2.
    """
    logits, labels = np.asarray(logits, float), np.asarray(labels)
    if wrong := int((~np.isfinite(logits)).sum()):
        raise UserError(f"{wrong} of {logits.size} logits are not finite, so no temperature can be fitted to them")
    right = np.where(labels == 1, logits, -logits)
    if len(np.unique(labels)) < 2 or (right >= 0).all() or right.sum() <= 0:
        return None
    edges = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(lambda log_t: np.logaddexp(0, -right / np.exp(log_t)).sum(), bounds=edges, method="bounded")
    return float(np.exp(found.x))


def trained_on(agent: str, stream: Sequence[str], step: int) -> Sequence[str]:
    """The domains that the network of a step, from 1, was trained on: so far, or of separate models its own."""
    return stream[step - 1 : step] if agent == "separate" else stream[:step]


def calibrated(scores: pd.DataFrame, stream: Sequence[str]) -> pd.DataFrame:
    """The scores with the temperature of each step, fitted on the validation scores of the domains trained on so far.

    A positive temperature keeps the order of the images and the verdicts at 0.5. All splits and domains of a step
    get the same one, those that it was not fitted on too.

    Args:
        scores: the table of scores of one or several runs, with a column agent.
        stream: the trained domains, in their order.

    Returns:
        The same rows, with logit / T for logit, its sigmoid for score, and a column temperature; it is NaN, and the
        scores stay as they are, where `fit_temperature` finds none.

    Raises:
        ValueError: no validation scores.
    """
    if "validation" not in set(scores["split"]):
        raise ValueError(f"no scores of split 'validation'; there are: {', '.join(scores['split'].unique())}")
    temperature = np.full(len(scores), np.nan)
    for (agent, step), own in scores.reset_index(drop=True).groupby(["agent", "step"]):
        seen = own[(own["split"] == "validation") & own["domain"].isin(trained_on(agent, stream, step))]
        found = fit_temperature(seen["logit"].to_numpy(), seen["label"].to_numpy())
        temperature[own.index] = np.nan if found is None else found
    logit = scores["logit"] / np.where(np.isnan(temperature), 1, temperature)
    return scores.assign(logit=logit, score=expit(logit), temperature=temperature)


def reliability(labels: np.ndarray, probability: np.ndarray, groups: np.ndarray | None = None) -> pd.DataFrame:
    """The points of a reliability diagram: how often images with a similar P(fake) are fakes.

    The bins are those of the ECE, which is the mean of |probability - share|, weighted by n.

    Args:
        labels: 0 or 1, shape (N,).
        probability: P(fake), shape (N,).
        groups: name or number of each image's group, shape (N,); None has a group for each image.

    Returns:
        A row for each bin with images: probability (their mean), share of fakes, low, high (`share_interval`), n.

    Raises:
        ValueError: shapes that do not fit, or a probability that is none.

    Source: Guo et al., ICML 2017, section 2.
    """
    labels, probability = np.asarray(labels), np.asarray(probability, float)
    if labels.shape != probability.shape or labels.ndim != 1:
        raise ValueError(f"labels have shape {labels.shape} and probability {probability.shape}; needed: (N,) both")
    if wrong := int((~((probability >= 0) & (probability <= 1))).sum()):
        raise ValueError(f"{wrong} of {len(labels)} values of probability are not between 0 and 1")
    number = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    bins, rows = bins_of(probability), []
    for at in (bins == k for k in np.unique(bins)):
        images = np.bincount(number[at])
        fakes = np.bincount(number[at], labels[at])[images > 0]
        low, high = share_interval(fakes, images[images > 0])
        rows.append((probability[at].mean(), labels[at].mean(), low, high, at.sum()))
    return pd.DataFrame(rows, columns=["probability", "share", "low", "high", "n"])


def share_interval(fakes: np.ndarray, images: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the share of fakes: Wilson's, for as many images as the spread over groups amounts to.

    These are at most all images (independent ones), at least as many as if those of a group were all alike, which is
    also taken where the spread does not tell: with one group or one class. In simulations of 1 to 26 groups of 1 to 14
    images it holds the truth in 85 to 100 of 100 cases, a bootstrap of few groups often in fewer than 50.

    Args:
        fakes: of each group, shape (groups,).
        images: likewise, fakes among them; none is 0.

    Source: Wilson, JASA 1927; Kish 1965 (images all alike); Dean & Pagano, Journal of Survey Statistics and Methodology
    2015 (groups).
    """
    n, count = images.sum(), len(images)
    share = fakes.sum() / n
    effective = n**2 / (images**2).sum()
    if count > 1 and 0 < share < 1:
        variance = count / (count - 1) * ((fakes - share * images) ** 2).sum() / n**2
        effective = np.clip(share * (1 - share) / max(variance, 1e-12), effective, n)
    z2 = ndtri(0.975) ** 2
    middle = (share + z2 / (2 * effective)) / (1 + z2 / effective)
    half = np.sqrt(z2 * (share * (1 - share) / effective + z2 / (4 * effective**2))) / (1 + z2 / effective)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def reliabilities(scores: pd.DataFrame, stream: Sequence[str], *, split: str = "test") -> pd.DataFrame:
    """`reliability` of every cell, before and after the temperature: first the columns agent, step, domain, seen, when.

    Arguments and columns: `errors`.
    """
    both = pd.concat([scores.assign(when="before"), calibrated(scores, stream).assign(when="after")])
    cells = both[both["split"] == split].groupby(["agent", "step", "domain", "when"], sort=False)
    tables = []
    for (agent, step, domain, when), own in cells:
        points = reliability(*(own[name].to_numpy() for name in ("label", "score", "group")))
        known = domain in trained_on(agent, stream, step)
        tables.append(points.assign(agent=agent, step=step, domain=domain, seen=known, when=when))
    table = pd.concat(tables, ignore_index=True)
    return table[[*table.columns[5:], *table.columns[:5]]]


def errors(scores: pd.DataFrame, stream: Sequence[str], *, split: str = "test") -> pd.DataFrame:
    """How well P(fake) is calibrated, before and after the temperature.

    The NLL, in nats per image, is what the temperature minimises; of it there is also the change, after minus before,
    from the same resamples. The ECE of few images is too high, see `spread.Estimate.interval`, and before and after it
    is so by different amounts. The accuracy at 0.5 is there to show that it stays.

    Args:
        scores: the table of scores of one or several runs, with a column agent.
        stream: the trained domains, in their order.
        split: whose scores are measured; those of "validation" are what the temperature was fitted to.

    Returns:
        Columns agent, step, domain, seen (whether that network was trained on it), when, metric, value, low, high
        (95 %). Of the domains seen there is the mean, too.
    """
    rows = []
    for agent, own in scores.groupby("agent", sort=False):
        R = {"before": matrices(own, METRICS, split=split)}
        R["after"] = matrices(calibrated(own, stream), METRICS, split=split)
        steps, domains = R["before"].steps, R["before"].domains
        seen = np.array([[name in trained_on(str(agent), stream, step) for name in domains] for step in steps])

        def mean(values: np.ndarray, *_: list, seen: np.ndarray = seen) -> np.ndarray:
            return np.where(seen, values, 0).sum(-1) / seen.sum(-1)

        for metric in METRICS:
            found = {when: (of.of[metric], of.statistic(metric, mean)) for when, of in R.items()}
            if metric == "NLL":
                cells, means = zip(*found.values(), strict=True)
                found["change"] = cells[1] - cells[0], means[1] - means[0]
            for when, both in found.items():
                values = np.column_stack([estimate.value for estimate in both])
                low, high = (np.column_stack(ends) for ends in zip(*(e.interval() for e in both), strict=True))
                for (t, step), (i, name) in itertools.product(enumerate(steps), enumerate([*domains, SEEN])):
                    known = i == len(domains) or seen[t, i]
                    rows.append((agent, step, name, known, when, metric, values[t, i], low[t, i], high[t, i]))
    return pd.DataFrame(rows, columns=["agent", "step", "domain", "seen", "when", "metric", "value", "low", "high"])
