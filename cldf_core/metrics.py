"""Detection and continual metrics, computed from stored per-image scores, with their spread.

The table of scores has one row per step, split and image: step, domain, split, image, group, label,
logit, score. R[t, i] is a metric after step t on domain i. Formulas: methods.md section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

THRESHOLD = 0.5
DETECTION = (
    "accuracy",
    "balanced accuracy",
    "accuracy on real",
    "accuracy on fake",
    "AUC",
    "AP",
    "EER",
    "TPR at 5 % FPR",
    "ECE",
)
CONTINUAL = (
    "average",
    "learning",
    "forgetting (max-last)",
    "backward transfer",
    "forward transfer",
    "anytime average",
    "worst case",
    "seen",
    "future",
)


def detection(
    labels: np.ndarray, scores: np.ndarray, *, threshold: float = THRESHOLD, names: Sequence[str] = DETECTION
) -> dict[str, float]:
    """Detection metrics; fake (label 1) is the positive class.

    Args:
        labels: 0 or 1, shape (N,).
        scores: P(fake), shape (N,).
        threshold: the verdict is "fake" from here up.
        names: which of DETECTION.

    Returns:
        A value for each name; NaN where a class that it needs is missing.

    Raises:
        ValueError: shapes that do not fit, or an unknown name.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, float)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"labels have shape {labels.shape} and scores {scores.shape}; needed: (N,) both")
    if unknown := set(names) - set(DETECTION):
        raise ValueError(f"metric is {unknown.pop()!r}; allowed: {', '.join(DETECTION)}")
    nan = float("nan")
    right = (scores >= threshold) == (labels == 1)
    real, fake = right[labels == 0], right[labels == 1]
    on_real = float(real.mean()) if len(real) else nan
    on_fake = float(fake.mean()) if len(fake) else nan
    values = {
        "accuracy": float(right.mean()) if len(right) else nan,
        "balanced accuracy": (on_real + on_fake) / 2,
        "accuracy on real": on_real,
        "accuracy on fake": on_fake,
        "ECE": expected_calibration_error(labels, scores),
    }
    if len(real) and len(fake) and not set(names) <= set(values):  # those of the ROC take a hundred times longer
        from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

        fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
        values["AUC"] = float(roc_auc_score(labels, scores))
        values["AP"] = float(average_precision_score(labels, scores))
        values["EER"] = equal_error_rate(fpr, tpr)
        values["TPR at 5 % FPR"] = float(tpr[fpr <= 0.05].max())
    return {name: values.get(name, nan) for name in names}


def equal_error_rate(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """Where false positive and false negative rate are equal, interpolated linearly on the ROC."""
    gap = fpr - (1 - tpr)  # rises from -1 to 1
    at = int(np.argmax(gap >= 0))
    if at == 0 or gap[at] == 0:
        return float(fpr[at])
    share = -gap[at - 1] / (gap[at] - gap[at - 1])
    return float(fpr[at - 1] + share * (fpr[at] - fpr[at - 1]))


def expected_calibration_error(labels: np.ndarray, scores: np.ndarray, *, bins: int = 15) -> float:
    """Mean gap between P(fake) and the share of fakes over equal bins, weighted by their images.

    Source: Naeini, Cooper & Hauskrecht, AAAI 2015.
    """
    if not len(scores):
        return float("nan")
    place = np.clip((np.asarray(scores) * bins).astype(int), 0, bins - 1)
    gaps = np.bincount(place, scores, bins) - np.bincount(place, labels, bins)
    return float(np.abs(gaps).sum() / len(scores))


def matrix(
    scores: pd.DataFrame, metric: str = "accuracy", *, split: str = "test", threshold: float = THRESHOLD
) -> pd.DataFrame:
    """R[t, i] of a run: a row for each step, a column for each domain, in the order they were tested.

    Args:
        scores: the table of scores of one run.
        metric: one of DETECTION.
    """
    chosen = scores[scores["split"] == split]
    if chosen.empty:
        raise ValueError(f"no scores of split {split!r}; there are: {', '.join(scores['split'].unique())}")
    cells = {
        key: detection(cell["label"].to_numpy(), cell["score"].to_numpy(), threshold=threshold, names=[metric])[metric]
        for key, cell in chosen.groupby(["step", "domain"], sort=False)
    }
    table = pd.Series(cells).unstack()
    return table.loc[sorted(table.index), list(dict.fromkeys(chosen["domain"]))]


def continual(values: np.ndarray) -> dict[str, np.ndarray]:
    """Every continual metric of matrices over the trained domains.

    Args:
        values: R[t, i], shape (..., T, T): step t, domain i, both in the stream's order.

    Returns:
        For each name in CONTINUAL an array of shape (...); NaN where a single domain leaves it undefined.

    Source: methods.md section 5; Lopez-Paz & Ranzato, NeurIPS 2017 (average, backward and forward
    transfer); Chaudhry et al., ECCV 2018 (forgetting).
    """
    R = np.asarray(values, float)
    T = R.shape[-1]
    if R.ndim < 2 or R.shape[-2] != T:
        raise ValueError(f"the matrix has shape {R.shape}; needed: (..., T, T), a row per step, a column per domain")
    diagonal = np.diagonal(R, axis1=-2, axis2=-1)
    last = R[..., T - 1, :]
    seen = np.tril(np.ones((T, T), bool))  # i <= t
    undefined = np.full(R.shape[:-2], np.nan)
    step_seen = np.stack([R[..., t, : t + 1].mean(-1) for t in range(T)], -1)
    result = {
        "average": last.mean(-1),
        "learning": diagonal.mean(-1),
        "anytime average": step_seen.mean(-1),
        "worst case": np.where(seen, R, np.inf).min((-2, -1)),
        "seen": step_seen.mean(-1),
    }
    if T > 1:
        best = np.where(seen, R, -np.inf).max(-2)
        result["forgetting (max-last)"] = (best - last)[..., :-1].mean(-1)
        result["backward transfer"] = (last - diagonal)[..., :-1].mean(-1)
        result["forward transfer"] = np.diagonal(R, offset=1, axis1=-2, axis2=-1).mean(-1) - 0.5
        result["future"] = np.stack([R[..., t, t + 1 :].mean(-1) for t in range(T - 1)], -1).mean(-1)
    return {name: result.get(name, undefined) for name in CONTINUAL}


def bootstrap(
    scores: pd.DataFrame,
    statistic: Callable[[np.ndarray, list[int], list[str]], np.ndarray],
    metric: str = "accuracy",
    *,
    split: str = "test",
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """A statistic of the matrix R under resampling of groups (photographs, videos), not of images.

    A real image and the fakes made from it share a group, and a group may be tested in several domains:
    it is drawn, or not, in all of them at once. Two runs bootstrapped with the same seed over the same
    images are paired, so their difference can be taken resample by resample.

    Args:
        scores: the table of scores of one run.
        statistic: called with R of shape (resamples, steps, domains), the steps and the domains.
        metric: "accuracy" or "AUC".

    Returns:
        What the statistic returns, for each resample.

    Source: Efron & Tibshirani 1993, chapter 8; Davison & Hinkley 1997, section 3.8 (clusters).
    """
    chosen = scores[scores["split"] == split]
    groups = np.unique(chosen["group"].to_numpy(dtype=str))
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=resamples)
    steps, domains = sorted(chosen["step"].unique()), list(dict.fromkeys(chosen["domain"]))
    values = np.full((resamples, len(steps), len(domains)), np.nan)
    for (step, domain), cell in chosen.groupby(["step", "domain"], sort=False):
        of_image = weights[:, np.searchsorted(groups, cell["group"].to_numpy(dtype=str))]
        labels, score = cell["label"].to_numpy(), cell["score"].to_numpy()
        values[:, steps.index(step), domains.index(domain)] = _weighted(metric, labels, score, of_image)
    return statistic(values, [int(s) for s in steps], domains)


def interval(values: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """The central interval of bootstrapped values."""
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail]) if not np.isnan(values).all() else (np.nan, np.nan)
    return float(low), float(high)


def summary(
    scores: pd.DataFrame,
    stream: Sequence[str],
    metric: str = "accuracy",
    *,
    split: str = "test",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every continual metric of a run, and the last accuracy on each unseen domain, with 95 % intervals.

    Args:
        scores: the table of scores of one run.
        stream: the trained domains, in their order; the other domains count as unseen.
        metric: "accuracy" or "AUC".

    Returns:
        Columns metric, value, low, high.
    """
    table = matrix(scores, metric, split=split)
    point = _continual_and_unseen(stream)(table.to_numpy()[None], list(table.index), list(table.columns))
    draws = bootstrap(scores, _continual_and_unseen(stream), metric, split=split, resamples=resamples, seed=seed)
    names = [*CONTINUAL, *(f"unseen: {d}" for d in table.columns if d not in stream)]
    rows = [(name, float(point[0, k]), *interval(draws[:, k])) for k, name in enumerate(names)]
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high"])


def paired_difference(
    first: pd.DataFrame,
    second: pd.DataFrame,
    stream: Sequence[str],
    metric: str = "accuracy",
    *,
    split: str = "test",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """`summary` of first minus second, from the same resamples of the groups both were tested on.

    Raises:
        ValueError: the two were not tested on the same images.
    """
    keys = ["domain", "split", "image"]
    if (
        not first[keys]
        .drop_duplicates()
        .reset_index(drop=True)
        .equals(second[keys].drop_duplicates().reset_index(drop=True))
    ):
        raise ValueError("the two runs were tested on different images, so they cannot be paired")
    of = _continual_and_unseen(stream)
    points, draws = [], []
    for scores in (first, second):
        table = matrix(scores, metric, split=split)
        points.append(of(table.to_numpy()[None], list(table.index), list(table.columns))[0])
        draws.append(bootstrap(scores, of, metric, split=split, resamples=resamples, seed=seed))
    names = [*CONTINUAL, *(f"unseen: {d}" for d in table.columns if d not in stream)]
    difference = draws[0] - draws[1]
    rows = [(name, float(points[0][k] - points[1][k]), *interval(difference[:, k])) for k, name in enumerate(names)]
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high"])


def over_seeds(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of one value per seed, and its 95 % t interval (NaN with a single seed)."""
    from scipy import stats

    values = np.asarray(values, float)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def _continual_and_unseen(stream: Sequence[str]) -> Callable[[np.ndarray, list[int], list[str]], np.ndarray]:
    def statistic(values: np.ndarray, steps: list[int], domains: list[str]) -> np.ndarray:
        trained = [domains.index(name) for name in stream]
        unseen = [k for k, name in enumerate(domains) if name not in stream]
        metrics = continual(values[:, :, trained])
        return np.concatenate([np.stack([metrics[name] for name in CONTINUAL], 1), values[:, -1, unseen]], axis=1)

    return statistic


def _weighted(metric: str, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Accuracy or AUC of images that count `weights` times, shape (B, N); returns (B,)."""
    with np.errstate(invalid="ignore"):  # a resample without one class has no value: NaN
        if metric == "accuracy":
            right = (scores >= THRESHOLD) == (labels == 1)
            return weights @ right / weights.sum(1)
        if metric == "AUC":
            order = np.argsort(scores, kind="stable")
            starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # of each run of equal scores
            weights, labels = weights[:, order], labels[order]
            fake = np.add.reduceat(weights * (labels == 1), starts, axis=1)
            real = np.add.reduceat(weights * (labels == 0), starts, axis=1)
            below = np.cumsum(real, axis=1) - real / 2
            return (fake * below).sum(1) / (fake.sum(1) * real.sum(1))
    raise ValueError(f"metric is {metric!r}; allowed for the bootstrap: accuracy, AUC")
