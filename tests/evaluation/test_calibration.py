"""Temperatures against a grid search and known truths, reliability against loops and SciPy."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binomtest
from sklearn import metrics as sk

from cldf_core.evaluation import calibration
from cldf_core.evaluation.calibration import POINTS, SEEN, calibrated, errors, fit_temperature, reliability
from cldf_core.evaluation.metrics import Scored, detection, matrix
from cldf_core.options import UserError

STREAM = ["a", "b"]
IMAGES = 300  # of each step, domain and split
# Logits that are far enough from 0, and from each other, that no rounding of the sigmoid joins them.
predicted = st.lists(st.tuples(st.integers(0, 1), st.integers(-200, 200)), min_size=1, max_size=60)


def apart(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]) / 20


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Scores of two agents: logits that are too large by a scale, more so in the second step; "new" is guessed at."""
    rng = np.random.default_rng(0)
    parts, cells = [], itertools.product(("er", "separate"), (1, 2), ("a", "b", "new"), ("validation", "test"))
    for agent, step, domain, split in cells:
        true, k = rng.normal(0, 2, IMAGES), np.arange(IMAGES)
        labels = (rng.random(IMAGES) < (0.5 if domain == "new" else expit(true))).astype(int)
        part = pd.DataFrame({"agent": agent, "step": step, "domain": domain, "split": split, "image": k})
        logit = true * 4 * step * (1 + (domain == "b"))
        parts.append(part.assign(group=[f"{split}{n // 10}" for n in k], label=labels, logit=logit))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(score=expit(table["logit"]))


@pytest.mark.parametrize("scale", [0.3, 1, 20])
def test_the_temperature_is_that_of_a_grid_search(scale):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 400)
    logits = (labels * 2 - 1 + rng.normal(0, 1.5, 400)) * scale
    grid = scale * np.exp(np.linspace(np.log(0.2), np.log(5), 2001))
    want = max(grid, key=lambda t: np.log(np.where(labels == 1, expit(logits / t), expit(-logits / t))).sum())
    assert fit_temperature(logits, labels) == pytest.approx(want, rel=0.002)


def test_logits_of_a_true_model_have_temperature_one():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 200_000)
    labels = (rng.random(200_000) < 1 / (1 + np.exp(-logits))).astype(int)
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        *[(logits, [0, 0, 1, 1]) for logits in ([-1.0, -2, 3, 1], [0.0, -2, 3, 1], [1.0, 2, -3, 1], [2.0, -2, 1, -1])],
        *[([3.0, -1.0, 2.0][: len(labels)], labels) for labels in ([], [1], [0, 0, 0], [1, 1, 1])],
    ],
)
def test_scores_without_a_best_temperature_get_none(logits, labels):
    assert fit_temperature(np.array(logits), np.array(labels, int)) is None


def test_a_temperature_beyond_the_bounds_is_the_bound():
    labels = np.array([1] * 99 + [0])
    assert fit_temperature(np.full(100, 1e-6), labels) == pytest.approx(0.01, rel=1e-3)  # sure too little
    assert fit_temperature(np.full(100, 1e6), labels) == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(bad):
    with pytest.raises(UserError, match="^1 of 3 logits are not finite, so no temperature can be fitted to them$"):
        fit_temperature(np.array([1.0, bad, 2.0]), np.array([0, 1, 1]))


def test_each_step_has_the_temperature_of_the_domains_trained_on(scores):
    scores = scores.sample(frac=1, random_state=0)  # the index is no longer in order
    got = calibrated(scores, STREAM)
    known = {("er", 1): ["a"], ("er", 2): ["a", "b"], ("separate", 1): ["a"], ("separate", 2): ["b"]}
    for (agent, step), domains in known.items():
        assert list(calibration.trained_on(agent, STREAM, step)) == domains
        fitted = scores.query("agent == @agent and step == @step and split == 'validation' and domain in @domains")
        want = fit_temperature(fitted["logit"].to_numpy(), fitted["label"].to_numpy())
        rows = got.query("agent == @agent and step == @step")
        assert len(rows) == 6 * IMAGES  # both splits of all domains, "new" too
        assert (rows["temperature"] == want).all()
    assert got["temperature"].nunique() == 4
    np.testing.assert_allclose(got["logit"], scores["logit"] / got["temperature"])
    np.testing.assert_allclose(got["score"], 1 / (1 + np.exp(-got["logit"])))
    others = [name for name in scores if name not in ("logit", "score")]
    pd.testing.assert_frame_equal(got[others], scores[others])
    again = calibrated(got.drop(columns="temperature"), STREAM)
    assert again["temperature"].to_numpy() == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match="^no scores of split 'validation'; there are: test$"):
        calibrated(scores[scores["split"] == "test"], STREAM)


def test_without_a_best_temperature_the_scores_stay(scores):
    right = scores["logit"].abs() * (2 * scores["label"] - 1)
    scores = scores.assign(logit=right.where(scores["step"] == 1, scores["logit"]))
    scores = scores.assign(score=expit(scores["logit"]))
    first, second = (calibrated(scores, STREAM).query("step == @step") for step in (1, 2))
    assert first["temperature"].isna().all()
    assert second["temperature"].notna().all()
    pd.testing.assert_frame_equal(first[scores.columns], scores[scores["step"] == 1])


@settings(deadline=None, max_examples=60)
@given(pairs=predicted, temperature=st.floats(0.4, 100))
def test_a_temperature_keeps_ranks_auc_and_verdicts(pairs, temperature):
    labels, logits = apart(pairs)
    before, after = expit(logits), expit(logits / temperature)
    assert (np.unique(before, return_inverse=True)[1] == np.unique(after, return_inverse=True)[1]).all()
    names = ("accuracy", "balanced accuracy", "AUC", "AP", "EER")
    first, second = (detection(labels, values, names=names) for values in (before, after))
    assert first == pytest.approx(second, abs=1e-12, nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(pairs=predicted)
def test_points_are_those_of_a_loop_over_bins_of_equal_mass(pairs):
    labels, logits = apart(pairs)
    p = expit(logits)
    got = reliability(labels, p)
    ordered, want, start = sorted(p), [], -1.0
    for k in range(1, POINTS + 1):
        place = k / POINTS * (len(p) - 1)  # where the bin ends, between two images
        low, high = ordered[int(place)], ordered[min(int(place) + 1, len(p) - 1)]
        end = low + (high - low) * (place - int(place))
        at = [i for i in range(len(p)) if start < p[i] <= end or (k == POINTS and p[i] > start)]
        if at:
            fakes = int(labels[at].sum())
            want.append((p[at].mean(), fakes / len(at), *binomtest(fakes, len(at)).proportion_ci(), len(at)))
        start = end
    assert list(got) == ["probability", "share", "low", "high", "n"]
    np.testing.assert_allclose(got, want, atol=1e-9)
    assert got[["low", "high"]].stack().between(0, 1).all()


def test_bins_hold_as_many_images_each_and_equal_ones_stay_together():
    p = np.linspace(0.01, 0.99, 100)
    assert reliability(np.arange(100) % 2, p)["n"].tolist() == [20] * POINTS
    tied = reliability(np.arange(100) % 2, np.where(p < 0.5, 0.0, p))
    assert tied["n"].tolist() == [50, 10, 20, 20]


def test_groups_reach_the_interval():
    labels, groups = np.array([1, 1, 1, 0]), np.array(["x", "x", "y", "y"])
    one, apart = reliability(labels, np.full(4, 0.7), groups), reliability(labels, np.full(4, 0.7))
    assert one["low"][0] < apart["low"][0] < apart["high"][0] < one["high"][0]
    assert reliability(np.array([], int), np.array([])).empty


def test_what_is_no_probability_is_refused():
    with pytest.raises(ValueError, match=r"^labels have shape \(2,\) and probability \(1,\); needed: \(N,\) both$"):
        reliability(np.array([0, 1]), np.array([0.5]))
    with pytest.raises(ValueError, match="^2 of 3 values of probability are not between 0 and 1$"):
        reliability(np.array([0, 1, 1]), np.array([0.5, np.nan, 1.5]))


@settings(deadline=None, max_examples=40)
@given(pairs=predicted, data=st.data())
def test_the_nll_is_scikit_learns(pairs, data):
    labels, logits = apart(pairs)
    weights = np.array(data.draw(st.lists(st.integers(1, 3), min_size=len(pairs), max_size=len(pairs))))
    got = float(Scored(labels, expit(logits)).metrics(weights[None], ["NLL"])["NLL"][0])
    want = sk.log_loss(labels, expit(logits), sample_weight=weights, labels=[0, 1])
    assert got == pytest.approx(want, rel=1e-6, abs=1e-9)
    # A certain mistake has a large NLL, and none is infinite.
    assert detection(np.array([0]), np.array([1.0]), names=["NLL"])["NLL"] == pytest.approx(36.04, abs=0.01)


@pytest.fixture(scope="module")
def measured(scores) -> pd.DataFrame:
    return errors(scores, STREAM)


def test_errors_are_those_of_the_calibrated_scores(scores, measured):
    assert list(measured) == ["agent", "step", "domain", "seen", "when", "metric", "value", "low", "high"]
    assert len(measured) == 2 * 2 * (3 + 1) * (2 * 3 + 1)
    tables = {"before": scores, "after": calibrated(scores, STREAM)}
    for (agent, when, metric), part in measured[measured["when"] != "change"].groupby(["agent", "when", "metric"]):
        want = matrix(tables[when].query("agent == @agent"), metric)
        values = part.pivot(index="step", columns="domain", values="value")
        np.testing.assert_allclose(values[want.columns], want, atol=1e-12)
        for step in (1, 2):
            known = list(calibration.trained_on(agent, STREAM, step))
            assert values.loc[step, SEEN] == pytest.approx(want.loc[step, known].mean())
            assert set(part.query("step == @step and seen")["domain"]) == {*known, SEEN}
    wide = measured.pivot(index=["agent", "step", "domain", "metric"], columns="when", values="value")
    accuracy, nll, ece = (wide.xs(metric, level="metric") for metric in ("accuracy", "NLL", "ECE"))
    pd.testing.assert_series_equal(accuracy["before"], accuracy["after"], check_names=False)
    # These logits are too large everywhere, but differently so: what helps one domain may harm another.
    for domain in (SEEN, "new"):
        assert (nll["after"] < nll["before"]).xs(domain, level="domain").all()
    assert (ece["after"] < ece["before"]).xs(SEEN, level="domain").all()
    np.testing.assert_allclose(nll["change"], nll["after"] - nll["before"])
    assert (measured["low"] <= measured["high"]).all()
    points = measured[measured["metric"] != "ECE"]
    assert points["value"].between(points["low"], points["high"]).all()


def test_the_points_of_every_cell_hold_its_images_and_have_its_ece(scores, measured):
    points, keys = calibration.reliability_table(scores, STREAM), ["agent", "step", "domain", "seen", "when"]
    assert list(points) == [*keys, "probability", "share", "low", "high", "n", "ECE"]
    cells = points.groupby(keys).agg({"n": "sum", "ECE": "first"})
    assert (cells["n"] == IMAGES).all()
    ece = measured[(measured["metric"] == "ECE") & (measured["domain"] != SEEN)].set_index(keys)["value"]
    assert len(cells) == len(ece) == 24
    assert cells["ECE"].to_numpy() == pytest.approx(ece[cells.index].to_numpy())
