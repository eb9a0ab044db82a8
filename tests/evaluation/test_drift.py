"""Drift of scores: the nearest mixture against slow formulas, false alarms, and what is seen."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, ks_2samp

from cldf_core.evaluation.drift import _draw, drift, nearest_mixture, share_noticed
from cldf_core.options import UserError


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def domain(rng, groups: int, images: int, *, fakes_at: float = 3.0, first: int = 0) -> pd.DataFrame:
    """Scores of so many real and fake images of each group, which have a part in common."""
    of_group = np.repeat(rng.normal(0, 0.5, groups), 2 * images)
    label = np.tile(np.repeat([0, 1], images), groups)
    value = rng.normal(np.where(label, fakes_at, -3.0) + of_group, 1)
    return pd.DataFrame({"value": value, "label": label, "group": np.repeat(np.arange(groups) + first, 2 * images)})


def test_the_nearest_mixture_is_that_of_a_slow_search(rng):
    new, real, fake = np.sort(rng.random((3, 20, 30)), axis=2)
    distance, share = nearest_mixture(new, real, fake)
    shares = np.linspace(0, 1, 2001)
    for k in range(20):
        slow = [np.abs(new[k] - (1 - s) * real[k] - s * fake[k]).max() for s in shares]
        assert distance[k] == pytest.approx(min(slow), abs=1e-3)
        assert slow[int(np.argmin(np.abs(shares - share[k])))] == pytest.approx(min(slow), abs=1e-3)


@pytest.mark.parametrize("labels", [[-1], [0]])
def test_without_two_classes_the_distance_is_that_of_kolmogorov_and_smirnov(rng, labels):
    known, new = domain(rng, 10, 3), domain(rng, 6, 2, fakes_at=1)
    known["label"] = labels[0]
    found = drift(known, new, resamples=99)
    assert found.distance == pytest.approx(ks_2samp(known["value"], new["value"]).statistic)
    assert np.isnan(found.share)
    assert (found.images, found.groups) == (24, 6)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_another_share_of_fakes_is_no_drift(rng, share):
    known, pool = domain(rng, 60, 3), domain(rng, 200, 1, first=100)
    new = pd.concat([pool[pool["label"] == 0][round(200 * share) :], pool[pool["label"] == 1][: round(200 * share)]])
    found = drift(known, new, resamples=199)
    assert found.share == pytest.approx(share, abs=0.1)
    assert found.p > 0.05


def test_splits_of_one_domain_are_seldom_called_a_drift(rng):
    ps = []
    for split in range(200):
        scores = domain(rng, 24, 4)
        first = scores["group"].isin(rng.permutation(24)[:12])
        ps.append(drift(scores[first], scores[~first], resamples=99, seed=split).p)
    assert np.mean(np.array(ps) <= 0.01) <= 0.05  # which is what `cldf watch` calls a drift
    assert np.sum(np.array(ps) <= 0.05) <= 18  # of 200 at 5 %, more are there in 1 of 100 cases


def test_fakes_between_the_classes_are_noticed_and_those_among_real_ones_are_not(rng):
    known = domain(rng, 40, 3)
    assert drift(known, domain(rng, 20, 3, fakes_at=0, first=50)).p < 0.01
    hidden = drift(known, domain(rng, 20, 3, fakes_at=-3, first=50))
    assert hidden.p > 0.05
    assert hidden.share < 0.1


def test_the_same_seed_gives_the_same_p_in_whatever_order_images_come(rng):
    known, new = domain(rng, 10, 3), domain(rng, 10, 2, fakes_at=1)
    assert drift(known, new, resamples=99) == drift(known, new, resamples=99)
    one, other = (drift(table, new, resamples=999).p for table in (known, known.sample(frac=1, random_state=1)))
    assert one == pytest.approx(other, abs=0.06)


def test_known_images_stand_for_new_ones_group_by_group(rng):
    groups, weights = np.array([0, 0, 1, 2, 2, 2]), np.array([0.1, 0.3, 0.2, 0.0, 0.4, 0.0])
    sizes = np.array([1, 3, 2])
    drawn = _draw(rng, weights, groups, sizes, 4000)
    assert drawn.shape == (4000, 6)
    for begin, size in zip((0, 1, 4), sizes, strict=True):
        of = groups[drawn[:, begin : begin + size]]
        assert (of == of[:, :1]).all()
    shares = np.bincount(drawn.ravel(), minlength=6) / drawn.size
    np.testing.assert_allclose(shares, weights, atol=0.02)
    alike = groups[drawn[:, 0]] == groups[drawn[:, 1]]
    assert alike.mean() == pytest.approx(0.4**2 + 0.2**2 + 0.4**2, abs=0.04)  # another group, drawn by itself


def test_too_little_is_refused(rng):
    known = domain(rng, 8, 1)
    with pytest.raises(UserError, match="no new scores"):
        drift(known, known[:0])
    with pytest.raises(UserError, match="of a class have 4 groups; needed: 5"):
        drift(known[(known["label"] == 0) | (known["group"] < 4)], known)
    with pytest.raises(UserError, match="of a class have 0 groups"):
        drift(known[:0], known)


def test_how_often_so_many_images_are_noticed_is_counted(rng):
    known = domain(rng, 40, 3)
    domains = {"same": domain(rng, 10, 3, first=50), "between": domain(rng, 30, 3, fakes_at=0, first=50)}
    found = share_noticed(known, domains, [20, 100], draws=12).set_index(["domain", "images"])
    assert list(found.index) == [("same", 20), ("between", 20), ("between", 100)], "the other one has fewer images"
    assert found.loc[("between", 100), "value"] >= 0.9
    assert found.loc[("same", 20), "value"] <= 0.1
    everything = share_noticed(known, {"same": domains["same"]}, [20], draws=12, alpha=1.0)
    assert everything["value"].tolist() == [1.0], "a p of alpha is one that is seen as seldom as alpha says"
    row = found.loc[("between", 20)]
    exact = binomtest(round(row["value"] * 12), 12).proportion_ci(0.95, method="exact")
    assert (row["low"], row["high"], row["n"]) == (pytest.approx(exact.low), pytest.approx(exact.high), 12)
