"""The gate's arithmetic, on tables made by hand, and the table of changes against slow formulas."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from cldf_core.evaluation.bootstrap import Estimate, matrices
from cldf_core.evaluation.gate import accepted, changes, gate
from cldf_core.evaluation.proportions import clopper_pearson
from cldf_core.options import UserError

OLD = ["a", "b"]


def table(right: dict[str, tuple[float, float]], *, groups: int = 20, images: int = 10, split: str = "validation"):
    """Scores of which such a share is right before and after, in each group alike; half of the images are fakes."""
    rows = []
    for domain, shares in right.items():
        for step, share in enumerate(shares, start=3):
            for group in range(groups):
                for k in range(images):
                    label, is_right = k % 2, k < round(share * images)
                    score = 0.9 if label == is_right else 0.1
                    rows.append((step, domain, split, f"{group}-{k}", f"g{group}", label, score))
    return pd.DataFrame(rows, columns=["step", "domain", "split", "image", "group", "label", "score"])


def test_a_loss_that_is_the_same_in_each_group_is_its_own_upper_end():
    found = gate(table({"a": (1.0, 0.9), "b": (0.8, 0.8), "new": (0.5, 1.0)}), OLD)
    assert found.losses == {"a": pytest.approx(0.1), "b": pytest.approx(0)}
    assert found.loss == pytest.approx(0.05)
    assert found.upper == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("right", "max_loss", "accepted"),
    [
        ({"a": (1.0, 0.9), "b": (0.8, 0.8)}, 0.06, True),
        ({"a": (1.0, 0.9), "b": (0.8, 0.8)}, 0.05, False),  # not below
        ({"a": (1.0, 0.8), "b": (0.7, 0.9)}, 0.09, False),  # no mean loss, but one domain has lost more than .18
        ({"a": (1.0, 0.8), "b": (0.7, 0.9)}, 0.1, True),  # twice the bound, and not more
        ({"a": (0.5, 0.9), "b": (0.5, 0.6)}, 0.01, True),
    ],
)
def test_the_mean_and_the_worst_domain_decide(right, max_loss, accepted):
    found = gate(table(right), OLD, max_loss=max_loss)
    assert found.accepted is accepted
    assert found.in_words().startswith("accepted: " if accepted else "refused: ")
    assert f"allowed: below {max_loss:g}" in found.in_words()


def test_the_upper_end_grows_with_the_spread_over_groups_and_holds_nine_of_ten_truths():
    rng = np.random.default_rng(0)
    held, reaches = 0, []
    for _ in range(60):
        lost = rng.beta(2, 18, 25)  # of each group the share of verdicts that become wrong; a tenth in the mean
        parts = []
        for k, share in enumerate(lost):
            part = table({"a": (1.0, 1 - share), "b": (1.0, 1 - share)}, groups=1, images=60)
            parts.append(part.assign(group=f"g{k}", image=f"{k}-" + part["image"]))
        found = gate(pd.concat(parts), OLD, resamples=300)
        assert found.upper > found.loss
        reaches.append((found.upper - found.loss) / (lost.std(ddof=1) / len(lost) ** 0.5))
        held += found.upper >= 0.1
    assert held >= 51  # of 60 at 95 %: 51 and fewer are there in 1 of 500 cases
    assert 1.7 < np.mean(reaches) < 2.2  # standard errors: 1.71 of Student, more for the skewness; two-sided 2.06


def test_few_photographs_of_each_domain_are_few_though_all_domains_have_many():
    """Four domains without a photograph in common are as uncertain as their photographs make them."""
    names = [f"d{k}" for k in range(4)]
    rng = np.random.default_rng(1)
    parts = []
    for name in names:
        for k, share in enumerate(rng.uniform(0.7, 1, 5)):
            part = table({name: (1.0, share)}, groups=1, images=60)
            parts.append(part.assign(group=f"{name} {k}", image=f"{k}-" + part["image"]))
    scores = pd.concat(parts)
    found = gate(scores, names)
    right = scores.assign(right=(scores["score"] >= 0.5) == scores["label"])
    lost = right.groupby(["domain", "group", "step"])["right"].mean().unstack()
    lost = lost[lost.columns[0]] - lost[lost.columns[1]]
    slow = (lost.groupby("domain").var(ddof=1) / 5).sum() ** 0.5 / 4  # the standard error of a mean of four means
    assert found.loss == pytest.approx(lost.mean())
    assert (found.upper - found.loss) / slow > 1.9  # 2.13 is Student's for 4 degrees of freedom, 1.73 that for 19


def test_validation_decides_and_never_the_test():
    both = [table({"a": (1.0, 1.0), "b": (1.0, 1.0)}), table({"a": (1.0, 0.0), "b": (1.0, 0.0)}, split="test")]
    assert gate(pd.concat(both), OLD).accepted
    assert changes(pd.concat(both), metrics=["accuracy"])["value"].tolist() == [-1, -1]


def test_what_cannot_be_decided_is_told():
    scores = table({"a": (1.0, 1.0), "b": (1.0, 1.0)})
    with pytest.raises(UserError, match="c has validation images of 0 groups.*needed: 5 groups, and splits with valid"):
        gate(scores, [*OLD, "c"])
    with pytest.raises(UserError, match="b has validation images of 0 groups"):
        gate(scores[(scores["domain"] == "a") | (scores["step"] == 3)], OLD)
    with pytest.raises(UserError, match="scores of 1 steps"):
        gate(scores[scores["step"] == 3], OLD)
    # Of one domain with few groups no resample has an accuracy: nothing would be left of the uncertainty of the others.
    few = table({"b": (1.0, 1.0)}, groups=4)
    with pytest.raises(UserError, match="b has validation images of 4 groups"):
        gate(pd.concat([scores[scores["domain"] == "a"], few]), OLD)
    with pytest.raises(UserError, match="no domain that could be forgotten"):
        gate(scores, [])
    with pytest.raises(UserError, match="scores of 1 steps"):
        changes(scores[scores["step"] == 3].assign(split="test"))


def test_changes_are_those_of_scikit_learn_and_their_intervals_paired():
    rng = np.random.default_rng(1)
    scores = table({"a": (0.9, 0.7), "new": (0.5, 0.8)}, split="test")
    scores["score"] = np.clip(scores["score"] + rng.normal(0, 0.3, len(scores)), 0, 1)
    found = changes(scores).set_index(["domain", "metric"])
    for (domain, step), part in scores.groupby(["domain", "step"]):
        name = "before" if step == 3 else "after"
        assert found.loc[(domain, "AUC"), name] == pytest.approx(roc_auc_score(part["label"], part["score"]))
        right = ((part["score"] >= 0.5) == part["label"]).mean()
        assert found.loc[(domain, "accuracy"), name] == pytest.approx(right)
    np.testing.assert_allclose(found["value"], found["after"] - found["before"])
    assert (found["low"] <= found["value"]).all()
    assert (found["value"] <= found["high"]).all()
    same = changes(pd.concat([scores[scores["step"] == 3], scores[scores["step"] == 3].assign(step=4)]))
    assert same[["low", "high"]].isna().all(axis=None), "no resample differs"
    assert (same["value"] == 0).all()


def test_a_change_of_the_calibration_error_has_an_interval_on_both_sides_of_nought():
    """The error is too high for few images, before as after: what is reflected for one is not for a difference."""
    scores = table({"a": (0.9, 0.9)}, split="test", groups=30)
    wrong = np.random.default_rng(3).random(len(scores)) < 0.2
    scores["score"] = np.where(scores["step"] == 3, scores["score"], np.where(wrong, 0.5, scores["score"]))
    for first, last in ((3, 4), (4, 3)):
        (found,) = changes(scores.assign(step=scores["step"].map({3: first, 4: last})), metrics=["ECE"]).itertuples()
        assert found.low < found.value < found.high
        assert abs(found.value) > 0.01
        assert found.high - found.low < 0.2


def test_an_interval_knows_the_groups_of_its_own_domain():
    rng, parts = np.random.default_rng(4), []
    for name in "abcdef":
        part = table({name: (0.9, 0.7)}, split="test", groups=6)
        parts.append(part.assign(score=part["score"] * rng.random(len(part)), group=part["group"] + name))
    scores = pd.concat(parts)
    row = changes(scores, metrics=["AUC"]).set_index("domain").loc["a"]
    R = matrices(scores, ["AUC"]).metrics["AUC"]
    value, draws, left_out = (part[..., 1, 0] - part[..., 0, 0] for part in (R.value, R.draws, R.left_out))
    assert (row["low"], row["high"]) == Estimate(value, draws, left_out, 6, span=(-1.0, 1.0)).interval()


def test_other_tails_are_those_of_the_distribution():
    rng = np.random.default_rng(2)
    draws = rng.normal(0, 1, 200_000)
    estimate = Estimate(np.array(0.0), draws, np.array([-1.0, 1.0]), 10_000, span=(-9.0, 9.0))
    for tail, at in ((0.025, 1.96), (0.05, 1.645), (0.1, 1.2816)):
        assert estimate.interval(tail) == (pytest.approx(-at, abs=0.02), pytest.approx(at, abs=0.02))
    assert clopper_pearson(np.array(0.5), np.array(10.0), 0.05) == (
        pytest.approx(0.2224, abs=1e-4),
        pytest.approx(0.7776, abs=1e-4),
    )


def test_what_is_accepted_and_what_wrongly_with_other_bounds_is_counted():
    rows = [("er", 0.01, 0.03, 0.02, 0.05), ("er", 0.02, 0.05, 0.02, 0.0), ("er", 0.0, 0.01, 0.2, 0.0)]
    decisions = pd.DataFrame([*rows, ("icarl", 0, 0, 0, 0)], columns=["agent", "loss", "upper", "worst", "lost"])
    found = accepted(decisions, [0.04, 0.06, 0.1]).set_index(["agent", "metric", "bound"])
    of_er = found.loc["er"]["value"]
    assert of_er["accepted"].to_dict() == {0.04: pytest.approx(1 / 3), 0.06: pytest.approx(2 / 3), 0.1: 1.0}
    # The first is accepted with each bound, and has lost .05; the third has lost too much on a single domain.
    assert of_er["accepted wrongly"].to_dict() == {0.04: pytest.approx(1 / 3), 0.06: 0.0, 0.1: 0.0}
    # With a bound of .1 the third may lose up to .2 on a single domain; else it is refused, and has lost nothing.
    assert of_er["refused wrongly"].to_dict() == {0.04: pytest.approx(2 / 3), 0.06: pytest.approx(1 / 3), 0.1: 0.0}
    assert of_er["lost too much"].to_dict() == {0.04: pytest.approx(1 / 3), 0.06: 0.0, 0.1: 0.0}
    row = found.loc[("er", "accepted", 0.04)]
    exact = binomtest(1, 3).proportion_ci(0.95, method="exact")
    assert (row["low"], row["high"], row["n"]) == (pytest.approx(exact.low), pytest.approx(exact.high), 3)
    assert accepted(decisions[:0], [0.05]).empty
