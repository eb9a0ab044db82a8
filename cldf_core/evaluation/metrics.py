"""Detection and continual metrics, computed from stored per-image scores; their spread is in spread.py.

The table of scores has one row per step, split and image: step, domain, split, image, group, label,
logit, score. R[t, i] is a metric after step t on domain i. Formulas: methods.md section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

THRESHOLD = 0.5
BINS = 15  # of the expected calibration error
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
MEASURED = (*DETECTION, "NLL")  # which only calibration looks at
SMALLEST = np.finfo(float).eps  # probability of what happened, in the NLL
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


class Scored:
    """Scored images, sorted once, so that thousands of resamples of them can be measured together.

    A resample is a vector of whole numbers that says how often each group, and so each image of it, counts. The
    metrics are those of the images repeated that often.

    Args:
        labels: 0 (real) or 1 (fake), shape (N,).
        scores: P(fake), shape (N,).
        groups: the number of each image's group, from 0, shape (N,); None has a group for each image.
        threshold: the verdict is "fake" from here up.

    Raises:
        ValueError: shapes that do not fit, or a label that is neither 0 nor 1.
    """

    def __init__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        groups: np.ndarray | None = None,
        *,
        threshold: float = THRESHOLD,
    ) -> None:
        labels, scores = np.asarray(labels), np.asarray(scores, float)
        if labels.shape != scores.shape or labels.ndim != 1:
            raise ValueError(f"labels have shape {labels.shape} and scores {scores.shape}; needed: (N,) both")
        if wrong := set(np.unique(labels)) - {0, 1}:
            raise ValueError(f"labels hold {wrong.pop()}; allowed: 0 (real) and 1 (fake)")
        # Of a network that has diverged nothing is known: a verdict on some of the images would be a wrong number.
        self._known = not np.isnan(scores).any()
        scores = np.nan_to_num(scores)
        groups = np.arange(len(scores)) if groups is None else np.asarray(groups)
        self.groups = int(groups.max(initial=-1)) + 1
        gaps = np.bincount(groups * BINS + bins_of(scores), scores - labels, self.groups * BINS)
        self._gaps = gaps.reshape(self.groups, BINS)  # P(fake) minus fakes, summed per group and bin
        happened = np.maximum(np.where(labels == 1, scores, 1 - scores), SMALLEST)
        self._surprise = np.bincount(groups, -np.log(happened), self.groups)  # nats, summed per group
        order = np.argsort(scores, kind="stable")
        labels, scores, groups = labels[order], scores[order], groups[order]
        self._real_groups, self._fake_groups = groups[labels == 0], groups[labels == 1]
        real, fake = scores[labels == 0], scores[labels == 1]
        # How many reals, and how many fakes, lie below the threshold; and below each point of the ROC.
        self._below = np.searchsorted(real, threshold), np.searchsorted(fake, threshold)
        points = np.unique(scores)
        self._roc = tuple(np.append(np.searchsorted(of, points), len(of)) for of in (real, fake))
        # For each fake: the reals below it, those not above it, and the fakes below it.
        self._ranks = np.searchsorted(real, fake), np.searchsorted(real, fake, "right"), np.searchsorted(fake, fake)

    def measured(self, weights: np.ndarray, names: Sequence[str] = DETECTION) -> dict[str, np.ndarray]:
        """Metrics of resamples.

        Args:
            weights: whole numbers from 0, shape (B, groups).
            names: which of MEASURED.

        Returns:
            For each name shape (B,); NaN where a resample lacks a class that the metric needs, and everywhere if a
            score is NaN.

        Raises:
            ValueError: an unknown name.

        Source: Fawcett, Pattern Recognition Letters 2006 (ROC, AUC); Naeini, Cooper & Hauskrecht, AAAI 2015 (ECE).
        """
        if unknown := set(names) - set(MEASURED):
            raise ValueError(f"metric is {unknown.pop()!r}; allowed: {', '.join(MEASURED)}")
        if not self._known:
            return {name: np.full(len(weights), np.nan) for name in names}
        of_fake = weights[:, self._fake_groups]
        reals, fakes = _cumulated(weights[:, self._real_groups]), _cumulated(of_fake)
        n_real, n_fake = reals[:, -1].astype(float), fakes[:, -1].astype(float)
        real_right, fake_right = reals[:, self._below[0]], n_fake - fakes[:, self._below[1]]
        values: dict[str, np.ndarray] = {}
        with np.errstate(invalid="ignore", divide="ignore"):  # without one class there is no value: NaN
            values["accuracy"] = (real_right + fake_right) / (n_real + n_fake)
            values["accuracy on real"], values["accuracy on fake"] = real_right / n_real, fake_right / n_fake
            values["balanced accuracy"] = (values["accuracy on real"] + values["accuracy on fake"]) / 2
            if "ECE" in names:
                values["ECE"] = np.abs(weights @ self._gaps).sum(1) / (n_real + n_fake)
            values["NLL"] = weights @ self._surprise / (n_real + n_fake)
            if {"AUC", "AP"} & set(names):
                low, high, first = self._ranks
                lower = reals[:, low].astype(float)
                if "AUC" in names:  # a real with the same score is half below
                    wins = lower if np.array_equal(low, high) else (lower + reals[:, high]) / 2
                    values["AUC"] = np.einsum("bn,bn->b", of_fake, wins) / (n_real * n_fake)
                if "AP" in names:
                    found = n_fake[:, None] - fakes[:, first]
                    called = np.maximum(found + n_real[:, None] - lower, 1)  # 0 only where the fake does not count
                    values["AP"] = np.einsum("bn,bn->b", of_fake, found / called) / n_fake
                    values["AP"][n_real == 0] = np.nan
            if {"EER", "TPR at 5 % FPR"} & set(names):
                values |= self._of_roc(reals, fakes, n_real, n_fake)
        return {name: values[name] for name in names}

    def _of_roc(
        self, reals: np.ndarray, fakes: np.ndarray, n_real: np.ndarray, n_fake: np.ndarray
    ) -> dict[str, np.ndarray]:
        """EER and TPR at 5 % FPR; their points on the ROC are found by bisection."""
        rows = np.arange(len(reals))

        def point(k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # false and true positives from the k-th score up
            return n_real - reals[rows, self._roc[0][k]], n_fake - fakes[rows, self._roc[1][k]]

        def last(holds: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
            low, high = np.zeros(len(reals), int), np.full(len(reals), len(self._roc[0]) - 1)
            while (high - low > 1).any():
                middle = (low + high) // 2
                there = holds(*point(middle))
                low, high = np.where(there, middle, low), np.where(there, high, middle)
            return low

        if len(self._roc[0]) < 2:
            return dict.fromkeys(("EER", "TPR at 5 % FPR"), np.full(len(reals), np.nan))
        # FPR - FNR falls from 1 to -1 as the threshold rises; the EER is where the line between two points is 0.
        at = last(lambda false, true: false * n_fake + true * n_real >= n_real * n_fake)
        (false, true), (next_false, next_true) = point(at), point(at + 1)
        gap, next_gap = false / n_real - 1 + true / n_fake, next_false / n_real - 1 + next_true / n_fake
        eer = (next_false - next_gap / (gap - next_gap) * (false - next_false)) / n_real
        at = last(lambda false, true: false / n_real > 0.05) + 1
        return {"EER": eer, "TPR at 5 % FPR": np.where(n_real > 0, point(at)[1] / n_fake, np.nan)}


def bins_of(scores: np.ndarray) -> np.ndarray:
    """The bin of each P(fake), from 0 to BINS - 1, all of the same width, shape as given."""
    return np.clip((scores * BINS).astype(int), 0, BINS - 1)


def detection(
    labels: np.ndarray, scores: np.ndarray, *, threshold: float = THRESHOLD, names: Sequence[str] = DETECTION
) -> dict[str, float]:
    """Detection metrics; fake (label 1) is the positive class.

    Args:
        labels: 0 or 1, shape (N,).
        scores: P(fake), shape (N,).
        threshold: the verdict is "fake" from here up.
        names: which of MEASURED.

    Returns:
        A value for each name; NaN where a class that it needs is missing, or a score is NaN.

    Raises:
        ValueError: shapes that do not fit, or an unknown name.
    """
    images = Scored(labels, scores, threshold=threshold)
    return {name: float(v[0]) for name, v in images.measured(np.ones((1, images.groups), int), names).items()}


def best_threshold(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The threshold with the best balanced accuracy, of several the nearest to 0.5; and that accuracy.

    Tried are 0.5 and the middles between neighbouring scores, 0 and 1 being their last neighbours.

    Args:
        scores: P(fake), shape (N,).
        labels: 0 or 1, shape (N,), both classes.

    Raises:
        ValueError: there is one class only, or a score that is NaN.
    """
    if len(np.unique(labels)) < 2 or np.isnan(scores).any():
        raise ValueError(f"labels hold {np.unique(labels).tolist()}; needed: both classes, and no score that is NaN")
    edges = np.unique([0.0, *scores, 1.0])
    tried = np.append((edges[1:] + edges[:-1]) / 2, 0.5)
    tried = tried[(tried > 0) & (tried < 1)]
    real, fake = (np.sort(scores[labels == label]) for label in (0, 1))
    accuracy = (np.searchsorted(real, tried) / len(real) + 1 - np.searchsorted(fake, tried) / len(fake)) / 2
    best = np.flatnonzero(accuracy > accuracy.max() - 1e-9)
    at = best[np.abs(tried[best] - 0.5).argmin()]
    return float(tried[at]), float(accuracy[at])


def video_scores(scores: pd.DataFrame, video: str = "video") -> pd.DataFrame:
    """The table of scores with videos for images: the score of a video is the mean of its frames' scores.

    Args:
        scores: the table of scores of one run.
        video: the column that names each frame's video; frames without a name are left out. Where reals and fakes
            share a name, as in the column group, those of each label are a video of their own.

    Returns:
        The columns step, domain, split, image (the video's name), group, label, score.
    """
    named = scores.assign(image=scores[video].fillna("").astype(str))
    named = named[named["image"] != ""]
    keys = ["step", "domain", "split", "image", "label"]
    return named.groupby(keys, sort=False, as_index=False).agg(group=("group", "first"), score=("score", "mean"))


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
    T = R.shape[-1] if R.ndim else 0
    if R.ndim < 2 or R.shape[-2] != T or T == 0:
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
        best = np.where(seen, R, -np.inf)[..., : T - 1, :].max(-2)  # before the last step
        result["forgetting (max-last)"] = (best - last)[..., :-1].mean(-1)
        result["backward transfer"] = (last - diagonal)[..., :-1].mean(-1)
        result["forward transfer"] = np.diagonal(R, offset=1, axis1=-2, axis2=-1).mean(-1) - 0.5
        result["future"] = np.stack([R[..., t, t + 1 :].mean(-1) for t in range(T - 1)], -1).mean(-1)
    return {name: result.get(name, undefined) for name in CONTINUAL}


def _cumulated(weights: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, …, N weights, shape (B, N + 1)."""
    sums = np.zeros((len(weights), weights.shape[1] + 1), weights.dtype)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums
