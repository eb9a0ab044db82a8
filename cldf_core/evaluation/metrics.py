"""Detection metrics and continual metrics, computed from the scores of single images.

A table of scores has a row for each step, split and image, and the columns step, domain, split, image, group, label,
logit and score. R[t, i] is a metric after step t on domain i. Each function names its source.
"""

import contextlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from cldf_core.options import UserError

THRESHOLD = 0.5
BINS = 15  # of the expected calibration error
WITH_THRESHOLD = ("accuracy", "balanced accuracy", "accuracy on real", "accuracy on fake")
DETECTION = (*WITH_THRESHOLD, "AUC", "AP", "EER", "TPR at 5 % FPR", "ECE")
WITH_NLL = (*DETECTION, "NLL")  # the negative log-likelihood, for calibration alone
SMALLEST = np.finfo(float).eps  # the NLL takes no probability to be less than this
CONTINUAL = (
    *("average", "learning", "forgetting (max-last)", "backward transfer", "forward transfer"),
    *("anytime average", "lowest R", "future"),
    *("gain", "average from 3", "forgetting (max-last) from 3"),
)
_CHANGES = ("forgetting (max-last)", "forgetting (max-last) from 3", "backward transfer", "gain")
RANGES = {**dict.fromkeys(_CHANGES, (-1.0, 1.0)), "forward transfer": (-0.5, 0.5)}


class Scored:
    """Images with their scores, sorted once so that the metrics of thousands of resamples can be computed together.

    Args:
        labels: 0 (real) or 1 (fake), shape (N,).
        scores: P(fake), shape (N,).
        groups: the number of each image's group, counted from 0, shape (N,). With None each image is its own group.
        threshold: a score from here up is the verdict "fake".

    Raises:
        ValueError: the shapes do not fit each other, or a label is neither 0 nor 1.
    """

    def __init__(
        self, labels: np.ndarray, scores: np.ndarray, groups: np.ndarray | None = None, *, threshold: float = THRESHOLD
    ) -> None:
        labels, scores = np.asarray(labels), np.asarray(scores, float)
        if labels.shape != scores.shape or labels.ndim != 1:
            raise ValueError(f"labels have shape {labels.shape} and scores {scores.shape}; needed: (N,) both")
        if wrong := set(np.unique(labels)) - {0, 1}:
            raise ValueError(f"labels hold {wrong.pop()}; allowed: 0 (real) and 1 (fake)")
        # After divergence all metrics are NaN: those of the images that still have a score would be wrong.
        self._known = not np.isnan(scores).any()
        scores = np.nan_to_num(scores)
        groups = np.arange(len(scores)) if groups is None else np.asarray(groups)
        self.groups = int(groups.max(initial=-1)) + 1
        gaps = np.bincount(groups * BINS + bins_of(scores), scores - labels, self.groups * BINS)
        self._gaps = gaps.reshape(self.groups, BINS)  # P(fake) minus label, summed in each group and bin
        likelihood = np.maximum(np.where(labels == 1, scores, 1 - scores), SMALLEST)
        self._surprise = np.bincount(groups, -np.log(likelihood), self.groups)  # nats, summed in each group
        order = np.argsort(scores, kind="stable")
        labels, scores, groups = labels[order], scores[order], groups[order]
        self._real_groups, self._fake_groups = groups[labels == 0], groups[labels == 1]
        real, fake = scores[labels == 0], scores[labels == 1]
        # The numbers of reals and of fakes below the threshold, and below each point of the ROC curve.
        self._below = np.searchsorted(real, threshold), np.searchsorted(fake, threshold)
        points = np.unique(scores)
        self._roc = tuple(np.append(np.searchsorted(part, points), len(part)) for part in (real, fake))
        # For each fake the numbers of reals below it, of reals not above it, and of fakes below it.
        self._ranks = np.searchsorted(real, fake), np.searchsorted(real, fake, "right"), np.searchsorted(fake, fake)

    def metrics(self, weights: np.ndarray, names: Sequence[str] = DETECTION) -> dict[str, np.ndarray]:
        """Computes metrics of resamples: those of the images repeated as often as they count.

        The weights, whole numbers from 0 of shape (B, groups), say how often each group counts. A name that is not in
        WITH_NLL raises a ValueError. Each metric has shape (B,). It is NaN where a resample lacks a class that it
        needs, and everywhere if a score is NaN.

        Source: Fawcett, Pattern Recognition Letters 2006 (ROC, AUC); Naeini, Cooper & Hauskrecht, AAAI 2015 (ECE).
        """
        if unknown := set(names) - set(WITH_NLL):
            raise ValueError(f"metric is {unknown.pop()!r}; allowed: {', '.join(WITH_NLL)}")
        if not self._known:
            return {name: np.full(len(weights), np.nan) for name in names}
        of_fake = weights[:, self._fake_groups]
        reals, fakes = _cumulated(weights[:, self._real_groups]), _cumulated(of_fake)
        n_real, n_fake = reals[:, -1].astype(float), fakes[:, -1].astype(float)
        real_right, fake_right = reals[:, self._below[0]], n_fake - fakes[:, self._below[1]]
        values: dict[str, np.ndarray] = {}
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 gives NaN where a class is missing
            values["accuracy"] = (real_right + fake_right) / (n_real + n_fake)
            values["accuracy on real"], values["accuracy on fake"] = real_right / n_real, fake_right / n_fake
            values["balanced accuracy"] = (values["accuracy on real"] + values["accuracy on fake"]) / 2
            if "ECE" in names:
                values["ECE"] = np.abs(weights @ self._gaps).sum(1) / (n_real + n_fake)
            if "NLL" in names:
                values["NLL"] = weights @ self._surprise / (n_real + n_fake)
            if {"AUC", "AP"} & set(names):
                low, high, first = self._ranks
                lower = reals[:, low].astype(float)
                if "AUC" in names:  # a real with the same score counts as half below
                    wins = lower if np.array_equal(low, high) else (lower + reals[:, high]) / 2
                    values["AUC"] = np.einsum("bn,bn->b", of_fake, wins) / (n_real * n_fake)
                if "AP" in names:
                    true = n_fake[:, None] - fakes[:, first]
                    positive = np.maximum(true + n_real[:, None] - lower, 1)  # 0 only where the fake does not count
                    values["AP"] = np.einsum("bn,bn->b", of_fake, true / positive) / n_fake
                    values["AP"][n_real == 0] = np.nan
            if {"EER", "TPR at 5 % FPR"} & set(names):
                values |= self._roc_metrics(reals, fakes, n_real, n_fake)
        return {name: values[name] for name in names}

    def _roc_metrics(
        self, reals: np.ndarray, fakes: np.ndarray, n_real: np.ndarray, n_fake: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Computes EER and TPR at 5 % FPR; bisection finds their points on the ROC curve."""
        rows = np.arange(len(reals))

        def positives(k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # false and true ones from the k-th score up
            return n_real - reals[rows, self._roc[0][k]], n_fake - fakes[rows, self._roc[1][k]]

        def last_point(condition: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
            low, high = np.zeros(len(reals), int), np.full(len(reals), len(self._roc[0]) - 1)
            while (high - low > 1).any():
                middle = (low + high) // 2
                holds = condition(*positives(middle))
                low, high = np.where(holds, middle, low), np.where(holds, high, middle)
            return low

        if len(self._roc[0]) < 2:
            return dict.fromkeys(("EER", "TPR at 5 % FPR"), np.full(len(reals), np.nan))
        # FPR - FNR falls from 1 to -1 as the threshold rises. At the EER the line between two points crosses 0.
        at = last_point(lambda false, true: false * n_fake + true * n_real >= n_real * n_fake)
        (false, true), (next_false, next_true) = positives(at), positives(at + 1)
        gap, next_gap = false / n_real - 1 + true / n_fake, next_false / n_real - 1 + next_true / n_fake
        eer = (next_false - next_gap / (gap - next_gap) * (false - next_false)) / n_real
        at = last_point(lambda false, true: false / n_real > 0.05) + 1
        return {"EER": eer, "TPR at 5 % FPR": np.where(n_real > 0, positives(at)[1] / n_fake, np.nan)}


def bins_of(scores: np.ndarray) -> np.ndarray:
    """Returns the bin of each P(fake), from 0 to BINS - 1, in the shape of scores; all bins have the same width."""
    return np.clip((scores * BINS).astype(int), 0, BINS - 1)


def detection(
    labels: np.ndarray, scores: np.ndarray, *, threshold: float = THRESHOLD, names: Sequence[str] = DETECTION
) -> dict[str, float]:
    """Computes detection metrics; fake (label 1) is the positive class.

    Arguments and errors are those of `Scored` and its `metrics`. A value is NaN where a class that the metric needs is
    missing, or a score is NaN.
    """
    images = Scored(labels, scores, threshold=threshold)
    return {name: float(v[0]) for name, v in images.metrics(np.ones((1, images.groups), int), names).items()}


def declared_threshold(threshold: float | str) -> float | None:
    """Returns the threshold that --threshold declares; None for "validation", where it is fitted to validation scores.

    Anything but "validation" and a number from 0 to 1 is a UserError.
    """
    if threshold == "validation":
        return None
    with contextlib.suppress(ValueError):
        if 0 <= (declared := float(threshold)) <= 1:
            return declared
    raise UserError(f"--threshold is {threshold!r}; allowed: a number from 0 to 1, or validation")


def best_threshold(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Finds the threshold with the best balanced accuracy, and returns both.

    Scores are P(fake) and labels 0 or 1, both of shape (N,). The candidates are 0.5 and the middles between
    neighbouring scores, with 0 and 1 as outermost neighbours. Of several best ones the nearest to 0.5 is taken. Both
    classes are needed, and no score that is NaN.
    """
    if len(np.unique(labels)) < 2 or np.isnan(scores).any():
        raise ValueError(f"labels hold {np.unique(labels).tolist()}; needed: both classes, and no score that is NaN")
    edges = np.unique([0.0, *scores, 1.0])
    candidates = np.append((edges[1:] + edges[:-1]) / 2, 0.5)
    candidates = candidates[(candidates > 0) & (candidates < 1)]
    real, fake = (np.sort(scores[labels == label]) for label in (0, 1))
    accuracy = (np.searchsorted(real, candidates) / len(real) + 1 - np.searchsorted(fake, candidates) / len(fake)) / 2
    best = np.flatnonzero(accuracy > accuracy.max() - 1e-9)
    at = best[np.abs(candidates[best] - 0.5).argmin()]
    return float(candidates[at]), float(accuracy[at])


def video_scores(scores: pd.DataFrame, video: str = "video") -> pd.DataFrame:
    """Makes the table of scores of videos: the score of a video is the mean of its frames' scores.

    The column `video` names each frame's video. Frames without a name are left out. Where reals and fakes share a name,
    which becomes the image, each label makes a separate video.
    """
    named = scores.assign(image=scores[video].fillna("").astype(str))
    named = named[named["image"] != ""]
    keys = ["step", "domain", "split", "image", "label"]
    return named.groupby(keys, sort=False, as_index=False).agg(group=("group", "first"), score=("score", "mean"))


def of_split(scores: pd.DataFrame, split: str) -> pd.DataFrame:
    """Returns the rows of a split; a ValueError names the splits where it has none."""
    chosen = scores[scores["split"] == split]
    if chosen.empty:
        raise ValueError(f"no scores of split {split!r}; there are: {', '.join(scores['split'].unique())}")
    return chosen


def matrix(
    scores: pd.DataFrame, metric: str = "accuracy", *, split: str = "test", threshold: float = THRESHOLD
) -> pd.DataFrame:
    """Computes R[t, i] of a run: a row for each step and a column for each domain, in the order of their tests.

    Arguments and errors are those of `bootstrap.matrices`, which gives intervals, too.
    """
    chosen = of_split(scores, split)
    cells = {
        key: detection(cell["label"].to_numpy(), cell["score"].to_numpy(), threshold=threshold, names=[metric])[metric]
        for key, cell in chosen.groupby(["step", "domain"], sort=False)
    }
    table = pd.Series(cells).unstack()
    return table.loc[sorted(table.index), list(dict.fromkeys(chosen["domain"]))]


def continual(values: np.ndarray) -> dict[str, np.ndarray]:
    """Computes every continual metric of matrices R[t, i], shape (..., T, T), with t and i in the order of the stream.

    An array of shape (...) belongs to each name in CONTINUAL. With a single domain the metrics of change are NaN. The
    gain is what learning a domain adds to R on it, the mean over domains 2 to T. "from 3" are the means over domains 3
    to T, since settings are chosen on the first two; they are NaN where there are none.

    Source: Lopez-Paz & Ranzato, NeurIPS 2017, equations (2) to (4) (average, backward and forward transfer; the latter
    here against chance, 0.5); Chaudhry et al., ECCV 2018, section 3 (forgetting).
    """
    R = np.asarray(values, float)
    T = R.shape[-1] if R.ndim else 0
    if R.ndim < 2 or R.shape[-2] != T or T == 0:
        raise ValueError(f"the matrix has shape {R.shape}; needed: (..., T, T), a row per step, a column per domain")
    diagonal = np.diagonal(R, axis1=-2, axis2=-1)
    last = R[..., T - 1, :]
    seen = np.tril(np.ones((T, T), bool))  # i <= t
    undefined = np.full(R.shape[:-2], np.nan)
    result = {
        "average": last.mean(-1),
        "learning": diagonal.mean(-1),
        "anytime average": np.stack([R[..., t, : t + 1].mean(-1) for t in range(T)], -1).mean(-1),
        "lowest R": np.where(seen, R, np.inf).min((-2, -1)),
    }
    if T > 1:
        best = np.where(seen, R, -np.inf)[..., : T - 1, :].max(-2)  # before the last step
        result["forgetting (max-last)"] = (best - last)[..., :-1].mean(-1)
        result["backward transfer"] = (last - diagonal)[..., :-1].mean(-1)
        result["forward transfer"] = np.diagonal(R, offset=1, axis1=-2, axis2=-1).mean(-1) - 0.5
        result["future"] = np.stack([R[..., t, t + 1 :].mean(-1) for t in range(T - 1)], -1).mean(-1)
        result["gain"] = (diagonal[..., 1:] - np.diagonal(R, offset=1, axis1=-2, axis2=-1)).mean(-1)
    if T > 2:
        result["average from 3"] = last[..., 2:].mean(-1)
    if T > 3:
        result["forgetting (max-last) from 3"] = (best - last)[..., 2:-1].mean(-1)
    return {name: result.get(name, undefined) for name in CONTINUAL}


def _cumulated(weights: np.ndarray) -> np.ndarray:
    """Returns the sums of the first 0, 1, …, N weights, shape (B, N + 1)."""
    sums = np.zeros((len(weights), weights.shape[1] + 1), weights.dtype)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums
