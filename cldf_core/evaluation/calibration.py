"""Calibration: are eight in ten images fakes, of those to which a detector gives P(fake) = 0.8?

The score in a table of scores (see metrics.py) is the sigmoid of the logit for every agent, including iCaRL.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit

from cldf_core.evaluation.bootstrap import matrices, side_by_side
from cldf_core.evaluation.metrics import detection, of_split
from cldf_core.evaluation.proportions import Proportion, intervals
from cldf_core.options import UserError

COLDEST, HOTTEST = 0.01, 100.0  # bounds of the temperature
METRICS = ("ECE", "NLL", "accuracy")
POINTS = 5  # of a reliability diagram
SEEN = "mean of seen"  # stands in the column domain for the mean over the domains trained on


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """Finds the temperature τ, from 0.01 to 100, for which sigmoid(logit / τ) makes the labels most likely.

    Logits of fake and labels (0 or 1) have shape (N,). A τ beyond the bounds is the nearest one. It is None where no τ
    is best: there is only one class, all logits have the right sign (τ goes to 0), or the wrong ones outweigh the
    others (τ goes to infinity).

    Raises:
        UserError: a logit is not finite.

    Source: Guo, Pleiss, Sun & Weinberger, ICML 2017, section 4.2.
    """
    logits, labels = np.asarray(logits, float), np.asarray(labels)
    if wrong := int((~np.isfinite(logits)).sum()):
        raise UserError(f"{wrong} of {logits.size} logits are not finite, so no temperature can be fitted to them")
    right = np.where(labels == 1, logits, -logits)
    if len(np.unique(labels)) < 2 or (right >= 0).all() or right.sum() <= 0:
        return None
    edges = np.log([COLDEST, HOTTEST])
    best = minimize_scalar(lambda log_t: np.logaddexp(0, -right / np.exp(log_t)).sum(), bounds=edges, method="bounded")
    return float(np.exp(best.x))


def trained_on(agent: str, stream: Sequence[str], step: int) -> Sequence[str]:
    """Returns the domains that the network of a step, from 1, was trained on; a separate model knows one domain."""
    return stream[step - 1 : step] if agent == "separate" else stream[:step]


def calibrated(scores: pd.DataFrame, stream: Sequence[str]) -> pd.DataFrame:
    """Applies to each step the temperature fitted on its validation scores of the domains trained on so far.

    It keeps the order of the images and the verdicts at 0.5. All splits and domains of a step get the same one. The
    table of scores, of one or several runs, has a column agent.

    Returns:
        The same rows with logit / τ as logit, its sigmoid as score, and a column temperature. Where `fit_temperature`
        finds none, the temperature is NaN and the scores stay as they are.
    """
    validation = of_split(scores, "validation")
    temperature = np.full(len(scores), np.nan)
    for (agent, step), part in scores.reset_index(drop=True).groupby(["agent", "step"]):
        seen = validation[(validation["agent"] == agent) & (validation["step"] == step)]
        seen = seen[seen["domain"].isin(trained_on(agent, stream, step))]
        temperature[part.index] = fit_temperature(seen["logit"].to_numpy(), seen["label"].to_numpy()) or np.nan
    logit = scores["logit"] / np.where(np.isnan(temperature), 1, temperature)
    return scores.assign(logit=logit, score=expit(logit), temperature=temperature)


def reliability(labels: np.ndarray, probability: np.ndarray, groups: np.ndarray | None = None) -> pd.DataFrame:
    """Computes the points of a reliability diagram: how often images with a similar P(fake) are fakes.

    The POINTS bins hold about as many images each, so that no point hangs on a few; images with the same P(fake) are in
    one bin. Labels (0 or 1), P(fake) and each image's group have shape (N,). Without groups each image is its own.

    Returns:
        A row for each bin with images: probability (their mean), share of fakes, low and high (see `proportions`), n.

    Source: Guo et al., ICML 2017, section 2; Nixon et al., CVPR workshops 2019 (bins of equal mass).
    """
    labels, probability = np.asarray(labels), np.asarray(probability, float)
    if labels.shape != probability.shape or labels.ndim != 1:
        raise ValueError(f"labels have shape {labels.shape} and probability {probability.shape}; needed: (N,) both")
    if wrong := int((~((probability >= 0) & (probability <= 1))).sum()):
        raise ValueError(f"{wrong} of {len(labels)} values of probability are not between 0 and 1")
    number = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    edges = np.quantile(probability, np.arange(1, POINTS) / POINTS) if len(probability) else probability
    bins = np.searchsorted(edges, probability)
    parts = [bins == k for k in np.unique(bins)]
    fakes = [Proportion.from_images(labels[at] == 1, number[at], np.full(at.sum(), 1 / at.sum())) for at in parts]
    ends = zip(*intervals(fakes), strict=True)
    rows = [(probability[at].mean(), labels[at].mean(), *both, at.sum()) for at, both in zip(parts, ends, strict=True)]
    return pd.DataFrame(rows, columns=["probability", "share", "low", "high", "n"])


def reliability_table(scores: pd.DataFrame, stream: Sequence[str]) -> pd.DataFrame:
    """Computes the `reliability` of every cell of the split "test", before and after the temperature.

    The arguments are those of `calibrated`. The columns are agent, step, domain, seen, when (see `errors`), those of
    `reliability`, and the cell's ECE.
    """
    both = pd.concat([scores.assign(when="before"), calibrated(scores, stream).assign(when="after")])
    cells = both[both["split"] == "test"].groupby(["agent", "step", "domain", "when"], sort=False)
    tables = {}
    for (agent, step, domain, when), cell in cells:
        points = reliability(*(cell[name].to_numpy() for name in ("label", "score", "group")))
        ece = detection(cell["label"].to_numpy(), cell["score"].to_numpy(), names=["ECE"])["ECE"]
        tables[agent, step, domain, domain in trained_on(agent, stream, step), when] = points.assign(ECE=ece)
    keys = ["agent", "step", "domain", "seen", "when"]
    return pd.concat(tables, names=keys).reset_index(keys).reset_index(drop=True)


def errors(scores: pd.DataFrame, stream: Sequence[str]) -> pd.DataFrame:
    """Measures how well P(fake) of the split "test" is calibrated, before and after the temperature.

    The temperature is fitted on "validation" and minimises the NLL (nats per image), whose change comes from the same
    resamples. The ECE of few images is too high (see `Estimate.interval`), by different amounts before and after. The
    accuracy at 0.5 stays. The table of scores is as in `calibrated`.

    Returns:
        Columns agent, step, domain, seen (whether the step's network was trained on it), when ("before", "after" or
        "change"), metric, value, low, high (95 %). The mean over the domains seen has the domain SEEN.
    """
    rows = []
    for agent, table in scores.groupby("agent", sort=False):
        R = {"before": matrices(table, METRICS), "after": matrices(calibrated(table, stream), METRICS)}
        steps, domains = R["before"].steps, R["before"].domains
        seen = np.array([[name in trained_on(str(agent), stream, step) for name in domains] for step in steps])

        def mean(values: np.ndarray, *_: list, seen: np.ndarray = seen) -> np.ndarray:
            return np.where(seen, values, 0).sum(-1) / seen.sum(-1)

        for metric in METRICS:
            estimates = {when: (of.metrics[metric], of.statistic(metric, mean)) for when, of in R.items()}
            if metric == "NLL":
                cells, means = zip(*estimates.values(), strict=True)
                estimates["change"] = cells[1] - cells[0], means[1] - means[0]
            for when, both in estimates.items():
                numbers = side_by_side(*both)
                for (t, step), (i, name) in itertools.product(enumerate(steps), enumerate([*domains, SEEN])):
                    rows.append((agent, step, name, name == SEEN or seen[t, i], when, metric, *numbers[:, t, i]))
    return pd.DataFrame(rows, columns=["agent", "step", "domain", "seen", "when", "metric", "value", "low", "high"])
