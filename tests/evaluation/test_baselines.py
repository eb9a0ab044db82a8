"""Classifiers of facts: at chance where facts tell nothing; their intervals are nearly those of drawing groups."""

import numpy as np
import pytest
from scipy.optimize import minimize

from cldf_core.evaluation.baselines import (
    balanced_accuracy,
    boosted_trees,
    file_trees,
    learned_scores,
    logistic_regression,
    random_forest,
)


def data(count: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Facts that tell nothing (a category and three numbers), labels, splits and groups of two images."""
    rng = np.random.default_rng(seed)
    facts = np.column_stack([rng.integers(0, 3, count), rng.normal(size=(count, 3))])
    groups = np.arange(count) // 2
    return facts, np.arange(count) % 2, np.where(groups % 3 == 0, "test", "train"), groups


CATEGORICAL = (True, False, False, False)


def test_facts_that_tell_nothing_leave_trees_at_chance():
    results = [boosted_trees(*data(seed=seed), categorical=CATEGORICAL) for seed in range(8)]
    assert sum(result["low"] <= 0.5 <= result["high"] for result in results) >= 7  # of 95 % intervals
    for result in results:
        assert 0.05 < result["high"] - result["low"] < 0.4
        assert (result["images"], result["how"]) == (80, "learned on train, judged on test")
    assert boosted_trees(*data(), categorical=CATEGORICAL) == results[0]


@pytest.mark.parametrize("column", [0, 2])
def test_a_fact_that_tells_the_class_is_found(column):
    facts, labels, splits, groups = data()
    facts[:, column] = labels
    result = boosted_trees(facts, labels, splits, groups, categorical=CATEGORICAL)
    low = 0.025 ** (1 / 40)  # of the 40 groups of the test images
    assert [result[key] for key in ("balanced accuracy", "low", "high")] == pytest.approx([1, low, 1])
    assert random_forest(facts, labels, splits == "train", splits == "test", groups) == pytest.approx((1, low, 1))


def test_without_test_images_trees_are_cross_validated_over_groups():
    facts, _, splits, groups = data()
    labels = groups % 2
    # Each group has a number of its own: learned by heart, it would tell the label.
    facts[:, 1] = groups * 7919 % 1009
    result = boosted_trees(facts, labels, np.full_like(splits, "train"), groups, categorical=CATEGORICAL)
    assert result["balanced accuracy"] < 0.65
    assert (result["images"], result["how"]) == (240, "cross-validation over groups")


def test_one_class_and_few_groups_have_no_value():
    facts, labels, splits, groups = data(20)
    for chosen in (labels == 1, groups == 0):
        arrays = (array[chosen] for array in (facts, labels, splits, groups))
        result = boosted_trees(*arrays, categorical=CATEGORICAL)
        assert np.isnan([result["balanced accuracy"], result["low"], result["high"]]).all()


def test_intervals_are_those_of_drawing_groups():
    labels, groups, rng = np.arange(300) % 2, np.arange(300) // 10, np.random.default_rng(0)
    guess = np.where(rng.random(300) < 0.2, 1 - labels, labels)
    right, rng = guess == labels, np.random.default_rng(1)
    images = np.arange(300).reshape(30, 10)  # of each group
    draws = [images[rng.choice(30, 30)].ravel() for _ in range(2000)]

    values = [(right[d][labels[d] == 0].mean() + right[d][labels[d] == 1].mean()) / 2 for d in draws]
    got = balanced_accuracy(guess, labels, groups)
    np.testing.assert_allclose([got["low"], got["high"]], np.quantile(values, [0.025, 0.975]), atol=0.015)
    assert got["balanced accuracy"] == pytest.approx((right[labels == 0].mean() + right[labels == 1].mean()) / 2)

    known = np.repeat([0, 1], 20)  # the forest learns to repeat the guess
    facts, labels = np.concatenate([known, guess])[:, None], np.concatenate([known, labels])
    groups = np.concatenate([np.full(40, -1), groups])
    value, low, high = random_forest(facts, labels, groups < 0, groups >= 0, groups)
    assert value == pytest.approx(right.mean())
    np.testing.assert_allclose([low, high], np.quantile([right[d].mean() for d in draws], [0.025, 0.975]), atol=0.015)


def test_the_logistic_regression_minimises_the_penalised_loss():
    rng = np.random.default_rng(0)
    facts, labels = rng.normal([3, -1], [2, 5], (60, 2)), (rng.random(60) < 0.3).astype(int)
    facts[labels == 1, 0] += 2
    train = np.arange(60) < 40
    mean, spread = facts[train].mean(0), facts[train].std(0)
    scaled, signs = (facts - mean) / spread, 2 * labels - 1
    weights = 40 / (2 * np.bincount(labels[train]))[labels]  # the classes weigh alike

    def loss(w: np.ndarray) -> float:
        margins = signs * (w[0] + scaled @ w[1:])
        return float((weights * np.log1p(np.exp(-margins)))[train].sum() + (w[1:] ** 2).sum() / 2)

    w = minimize(loss, np.zeros(3), options={"gtol": 1e-8}).x
    got = learned_scores(logistic_regression(), facts, labels, train)
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-w[0] - scaled @ w[1:])), atol=1e-3)
    with pytest.raises(ValueError, match=r"have the labels \[1\]; needed: 0 and 1"):
        learned_scores(logistic_regression(), facts, np.ones(60, int), train)


def test_the_trees_of_the_ladder_are_those_of_the_audit():
    facts, labels, splits, groups = data()
    facts[:, 1] += labels
    scores = learned_scores(file_trees(CATEGORICAL), facts, labels, splits == "train")
    test = splits == "test"
    result = balanced_accuracy((scores > 0.5)[test].astype(int), labels[test], groups[test])
    audited = boosted_trees(facts, labels, splits, groups, categorical=CATEGORICAL)
    assert result["balanced accuracy"] == audited["balanced accuracy"] > 0.55
