"""Simple classifiers, of facts of image files or of a few numbers: a detector must do better than they do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.evaluation.proportions import Proportion, class_weights, intervals
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
    seed: int = 0,
) -> dict[str, Any]:
    """Measures the balanced accuracy of boosted trees that learn the label from facts, with equal weights of classes.

    They learn from training images and predict test images. If one of these splits lacks a class, they are
    cross-validated over the groups of all images instead. The seed fixes trees and folds.

    Facts are numbers, a row for each of N images, of which `categorical`, one value a column, are codes of categories.
    Labels (0 real, 1 fake), splits (train, validation, test) and groups have shape (N,). Added to the result of
    `balanced_accuracy` are "images", the number of predictions, and "how" they were made.
    """
    codes, names = pd.factorize(groups)
    if all(len(np.unique(labels[splits == split])) == 2 for split in ("train", "test")):
        count, how = 1, "learned on train, judged on test"
        folds = np.select([splits == "test", splits == "train"], [0, 1], -1)
    else:
        count, how = min(FOLDS, len(names)), "cross-validation over groups"
        folds = generator(seed, "folds").permutation(len(names))[codes] % max(count, 1)
    trees = file_trees(categorical, seed)
    predictions = np.full(len(labels), -1)
    for fold in range(count):
        train, test = (folds >= 0) & (folds != fold), folds == fold
        if len(np.unique(labels[train])) == 2:
            predictions[test] = trees.fit(facts[train], labels[train]).predict(facts[test])
    seen = predictions >= 0
    result = balanced_accuracy(predictions[seen], labels[seen], codes[seen])
    return {**result, "images": int(seen.sum()), "how": how}


def file_trees(categorical: Sequence[bool], seed: int = 0) -> Any:
    """Makes the boosted trees that learn from facts, of which `categorical` says which are codes of categories."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(**TREES, categorical_features=list(categorical), random_state=seed)


def logistic_regression() -> Any:
    """Makes a logistic regression of numbers, each scaled to mean 0 and standard deviation 1 over those learned from.

    The classes have equal weights; the penalty is half of the squared weights against the summed loss.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))


def learned_scores(classifier: Any, facts: np.ndarray, labels: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Returns P(fake) of all images, (N,), by a classifier that learns from the images `train`, bool of shape (N,).

    Facts are numbers, a row for each of N images, and labels 0 (real) or 1 (fake), shape (N,). A class that is not
    learned from is a ValueError.
    """
    if len(known := np.unique(labels[train])) < 2:
        raise ValueError(f"the images to learn from have the labels {known.tolist()}; needed: 0 and 1")
    scores: np.ndarray = classifier.fit(facts[train], labels[train]).predict_proba(facts)[:, 1]
    return scores


def balanced_accuracy(predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """Computes the mean accuracy of both classes, with its 95 % interval (see `proportions`).

    Predictions and labels (0 or 1) and groups have shape (N,). "balanced accuracy", "low" and "high" are NaN if a class
    is missing.
    """
    value, low, high = _right("balanced accuracy", predictions, labels, groups)
    return {"balanced accuracy": value, "low": low, "high": high}


def _right(metric: str, predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> tuple[float, float, float]:
    """Computes a metric in WITH_THRESHOLD, and the ends of its 95 % interval."""
    numbers = np.unique(groups, return_inverse=True)[1]
    share = Proportion.from_images(predictions == labels, numbers, class_weights(metric, labels))
    low, high = intervals([share])
    return share.share, float(low[0]), float(high[0])


def random_forest(
    facts: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, groups: np.ndarray
) -> tuple[float, float, float]:
    """Measures the accuracy of a random forest, and the ends of its 95 % interval (see `proportions`).

    It learns from the images `train` and predicts the images `test`, both bool of shape (N,). The other arrays are as
    in `boosted_trees`.
    """
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(200, min_samples_leaf=5, random_state=0).fit(facts[train], labels[train])
    return _right("accuracy", forest.predict(facts[test]), labels[test], groups[test])
