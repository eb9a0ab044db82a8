"""Scores under a threshold: shares counted image by image, and scikit-learn's balanced accuracy."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from cldf_core.interact.thresholds import shares_right, under_threshold
from moving import check_live

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 80)
TABLE = pd.DataFrame(
    {
        "domain": np.where(np.arange(80) < 50, "second", "first"),
        "label": LABELS,
        "score": np.round(np.clip(RNG.normal(0.3 + 0.4 * LABELS, 0.3), 0, 1), 1),  # some are 0, 1 or the threshold
    }
)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_shares_are_counted_and_their_mean_is_the_balanced_accuracy(threshold):
    shares = shares_right(TABLE, threshold)
    assert list(shares.index) == ["second", "first"]
    for domain, part in TABLE.groupby("domain"):
        reals = [score < threshold for label, score in zip(part["label"], part["score"], strict=True) if not label]
        assert shares.loc[domain, "real"] == pytest.approx(sum(reals) / len(reals))
        expected = balanced_accuracy_score(part["label"], part["score"] >= threshold)
        assert shares.loc[domain, "balanced"] == pytest.approx(expected)


def test_a_class_without_images_has_no_share():
    shares = shares_right(TABLE[TABLE["label"] == 1], 0.5)
    assert shares[["real", "balanced"]].isna().all(axis=None)
    assert shares["fake"].notna().all()
    said = under_threshold({"ER": TABLE[TABLE["label"] == 1]}).picture.value
    (text,) = re.findall(r'alt="([^"]*)"', said)
    assert "none and 0." in text
    assert "nan" not in text


def test_every_control_moves_the_picture_and_every_image_is_a_dot():
    live = under_threshold({"ER": TABLE, "MIR": TABLE.assign(score=1 - TABLE["score"])})
    check_live(live)
    dots = np.concatenate([part.get_offsets() for part in live.draw("ER", 0.5).axes[0].collections])
    assert len(dots) == len(TABLE)
    assert sum(x >= 0 for x, _ in dots) == sum(score >= 0.5 for score in TABLE["score"])  # 0 is the logit of 0.5
    assert np.sum(np.isclose(dots[:, 0], math.log(0.9 / 0.1))) == (TABLE["score"] == 0.9).sum()
