"""Classifiers that see facts of image files and no pixels: a detector must do better than they do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.randomness import generator

FOLDS = 5
TREES: dict[str, Any] = {"max_iter": 50, "min_samples_leaf": 5, "class_weight": "balanced", "early_stopping": False}


def boosted_trees(
    facts: np.ndarray,
    labels: np.ndarray,
    splits: np.ndarray,
    groups: np.ndarray,
    *,
    categorical: Sequence[bool],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures the balanced accuracy of boosted trees that learn the label from facts, with equal weights of classes.

    They learn from training images and predict test images. If one of these splits lacks a class, they are
    cross-validated over the groups of all images instead. The seed fixes trees, folds and resamples of the groups.

    Facts are numbers, shape (N, F), of which `categorical`, F values, are codes of categories. Labels (0 real, 1 fake),
    splits (train, validation, test) and groups have shape (N,). Added to the result of `balanced_accuracy` are
    "images", the number of predictions, and "how" they were made.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    codes, names = pd.factorize(groups)
    if all(len(np.unique(labels[splits == split])) == 2 for split in ("train", "test")):
        count, how = 1, "learnt on train, judged on test"
        folds = np.select([splits == "test", splits == "train"], [0, 1], -1)
    else:
        count, how = min(FOLDS, len(names)), "cross-validation over groups"
        folds = generator(seed, "folds").permutation(len(names))[codes] % max(count, 1)
    trees = HistGradientBoostingClassifier(**TREES, categorical_features=list(categorical), random_state=seed)
    predictions = np.full(len(labels), -1)
    for fold in range(count):
        train, test = (folds >= 0) & (folds != fold), folds == fold
        if len(np.unique(labels[train])) == 2:
            predictions[test] = trees.fit(facts[train], labels[train]).predict(facts[test])
    seen = predictions >= 0
    result = balanced_accuracy(predictions[seen], labels[seen], codes[seen], resamples=resamples, seed=seed)
    return {**result, "images": int(seen.sum()), "how": how}


def balanced_accuracy(
    predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, resamples: int, seed: int
) -> dict[str, float]:
    """Computes the mean accuracy of both classes, with a 95 % bootstrap interval over groups.

    Predictions and labels (0 or 1) and groups have shape (N,). "balanced accuracy", "low" and "high" are NaN if a class
    is missing.
    """
    groups, rng = np.unique(groups, return_inverse=True)[1], generator(seed, "bootstrap")
    count = groups.max(initial=0) + 1
    real, fake, right = labels == 0, labels == 1, predictions == labels
    kinds = [real, fake, real & right, fake & right]
    sums = np.stack([np.bincount(groups[kind], minlength=count) for kind in kinds], 1)
    draws = (np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(resamples))
    reals, fakes, right_reals, right_fakes = np.array([sums.sum(0), *(draw @ sums for draw in draws)], float).T
    with np.errstate(invalid="ignore"):  # a resample without one class has no value
        values = (right_reals / reals + right_fakes / fakes) / 2
    known = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return {"balanced accuracy": float(values[0]), "low": float(low), "high": float(high)}


def random_forest(
    facts: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, groups: np.ndarray
) -> tuple[float, float, float]:
    """Measures the accuracy of a random forest, and the ends of its 95 % bootstrap interval over groups.

    It learns from the images `train` and predicts the images `test`, both bool of shape (N,). The other arrays are as
    in `boosted_trees`.
    """
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(200, min_samples_leaf=5, random_state=0).fit(facts[train], labels[train])
    right = forest.predict(facts[test]) == labels[test]
    codes = np.unique(groups[test], return_inverse=True)[1]
    sums = np.stack([np.bincount(codes[right], minlength=codes.max() + 1), np.bincount(codes)])
    draws = generator(0, "bootstrap").multinomial(sums.shape[1], np.full(sums.shape[1], 1 / sums.shape[1]), size=1000)
    low, high = np.quantile((draws @ sums[0]) / (draws @ sums[1]), [0.025, 0.975])
    return float(right.mean()), float(low), float(high)
