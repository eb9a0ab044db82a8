"""Curves against severities: the metrics of every version, and what they show, against loops and by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cldf_core.data.corruptions import SEVERITIES
from cldf_core.evaluation.metrics import detection
from cldf_core.evaluation.robustness import (
    COLUMNS,
    METRICS,
    common_step_changes,
    curves,
    halved,
    survival,
    trace_curves,
)


def versions_of(right: dict[tuple[str, float], list[list[int]]]) -> pd.DataFrame:
    """One agent, one domain; for each version and group, which images (real and fake in turn) are right."""
    rows = [
        (corruption, severity, f"{group}/{k}", str(group), k % 2, 0.9 if k % 2 == good else 0.1)
        for (corruption, severity), groups in right.items()
        for group, of_group in enumerate(groups)
        for k, good in enumerate(of_group)
    ]
    table = pd.DataFrame(rows, columns=["corruption", "severity", "image", "group", "label", "score"])
    return table.assign(agent="er", domain="a")


def test_curves_are_the_metrics_of_every_version():
    rng = np.random.default_rng(0)
    versions = ("stored", 0.0), ("none", 0.0), ("JPEG", 50.0)
    right = {version: rng.integers(0, 2, (8, 6)).tolist() for version in versions}
    scores = pd.concat([versions_of(right).assign(agent=a, domain=d) for a in ("er", "mir") for d in ("a", "b", "new")])
    scores["score"] = rng.random(len(scores))
    table = curves(scores, ["a", "b"], resamples=50)
    assert tuple(table) == COLUMNS
    assert len(table) == 2 * (3 + 1) * 3 * len(METRICS)
    keys = ["agent", "domain", "corruption", "severity"]
    cells = dict(iter(scores.groupby(keys)))
    for row in table[table["domain"] != "average"].itertuples():
        cell = cells[row.agent, row.domain, row.corruption, row.severity]
        assert row.value == pytest.approx(detection(cell["label"].to_numpy(), cell["score"].to_numpy())[row.metric])
        assert row.n == len(cell) == 48
    keys = ["agent", "corruption", "severity", "metric"]
    trained = table[table["domain"].isin(["a", "b"])].groupby(keys)["value"].mean()
    average = table[table["domain"] == "average"].set_index(keys)["value"]
    pd.testing.assert_series_equal(average.sort_index(), trained.sort_index())
    assert (table["low"] <= table["high"]).all()


def test_intervals_come_from_whole_groups():
    # 30 groups, all right or all wrong: the spread is that of 30 coins, however many images a group has.
    table = curves(versions_of({("none", 0.0): [[int(g < 21)] * 8 for g in range(30)]}), ["a"])
    for row in table[table["metric"] == "balanced accuracy"].itertuples():
        half = 1.96 * np.sqrt(0.7 * 0.3 / 30)
        assert (row.value, row.n) == (pytest.approx(0.7), 240)
        assert (row.high - row.low) / 2 == pytest.approx(half, rel=0.15)


def test_domains_that_share_groups_are_drawn_together():
    # The second domain repeats the first, so their average is as uncertain as one of them; apart it would be less.
    rng = np.random.default_rng(0)
    right = [[int(rng.random() < p)] * 8 for p in np.linspace(0.3, 1, 30)]
    scores = versions_of({("none", 0.0): right, ("JPEG", 30.0): right[::-1]})
    table = curves(pd.concat([scores, scores.assign(domain="b"), scores.assign(domain="c", score=0.5)]), ["a", "b"])
    table = table[table["metric"] == "AUC"]  # the accuracy of a domain has another interval than that of the average
    keys = ["corruption", "severity", "metric"]
    of_domain, average = (table[table["domain"] == name].set_index(keys) for name in ("a", "average"))
    pd.testing.assert_frame_equal(average[["value", "low", "high"]], of_domain[["value", "low", "high"]])
    assert (average["n"] == 2 * of_domain["n"]).all()
    assert (average["high"] > average["low"]).all()


def test_the_common_step_is_compared_on_the_same_photographs():
    rng = np.random.default_rng(0)
    right = {version: rng.integers(0, 2, (8, 6)).tolist() for version in (("stored", 0.0), ("none", 0.0))}
    right["JPEG", 50.0] = [[0] * 6] * 8  # another version does not count
    scores = pd.concat([versions_of(right).assign(domain=d) for d in ("a", "b", "new")], ignore_index=True)
    scores.loc[scores["domain"] == "b", "score"] = rng.random((scores["domain"] == "b").sum())
    table = common_step_changes(scores, ["a", "b"]).set_index("domain")
    assert list(table.index) == ["a", "b", "new", "average"]
    verdicts = scores.assign(right=(scores["score"] >= 0.5) == (scores["label"] == 1))
    of_class = verdicts.groupby(["domain", "corruption", "label"])["right"].mean().unstack().mean(axis=1).unstack()
    want = of_class["none"] - of_class["stored"]
    assert table["value"].drop("average").to_dict() == pytest.approx(want.to_dict())
    assert table.loc["average", "value"] == pytest.approx(want[["a", "b"]].mean())
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    # Where nothing changes, the difference is 0 in every resample, however uncertain each of the two is.
    same = common_step_changes(
        pd.concat([versions_of({v: [[1, 0]] * 8}) for v in (("stored", 0.0), ("none", 0.0))]), ["a"]
    )
    assert (same["value"] == 0).all()
    assert same["low"].isna().all()


def test_half_of_the_gain_is_found_by_hand():
    values = {
        "JPEG": [0.9, 0.8, 0.69, 0.75, 0.6, 0.5],  # half of 0.4 is left at 0.7
        "resize": [0.71, 0.8, 0.8, 0.4],
        "blur": [0.8] * 5,
        "noise": [0.7, 0.9, 0.9, 0.9, 0.9],
    }
    rows = [(name, s, v) for name, tested in SEVERITIES.items() for s, v in zip(tested, values[name], strict=True)]
    table = pd.DataFrame([("none", 0.0, 0.9), *rows], columns=["corruption", "severity", "value"])
    table = table.assign(agent="er", domain="average", metric="balanced accuracy", low=table["value"] - 0.05)
    found = halved(table, SEVERITIES).set_index("corruption")
    assert found["severity"].fillna(-1).to_dict() == {"JPEG": 80, "resize": 0.5, "blur": -1, "noise": 0.05}
    assert found["tried"].fillna(-1).to_dict() == {"JPEG": 3, "resize": 4, "blur": -1, "noise": 1}
    assert found["left"].to_dict() == pytest.approx({"JPEG": 0, "resize": -0.25, "blur": 0.75, "noise": 0.5})
    assert found["lead"].tolist() == pytest.approx([0.4] * 4)
    # An agent that cannot be told from guessing has nothing to be halved.
    lost = halved(table.assign(value=0.52, low=0.47), SEVERITIES)
    assert not lost["known"].any()
    assert lost["severity"].isna().all()


def test_trace_curves_are_means_over_groups_with_t_intervals():
    values = {("g", 0): [1.0, 3.0], ("g", 1): [5.0], ("h", 0): [4.0], ("h", 1): [9.0, 11.0], ("k", 1): [20.0]}
    rows = [("grid 2", "a", "none", 0.0, *key, value) for key, series in values.items() for value in series]
    columns = ["trace", "domain", "corruption", "severity", "group", "label", "value"]
    table = trace_curves(pd.DataFrame(rows, columns=columns)).set_index("class")
    want = {"real": 3.0, "fake": (5 + 10 + 20) / 3, "fake − real": (5 + 10 + 20) / 3 - 3}
    assert table["value"].to_dict() == pytest.approx(want)
    assert table["n"].to_dict() == {"real": 2, "fake": 3, "fake − real": 3}
    ends = stats.ttest_ind([5, 10, 20], [2, 4], equal_var=False).confidence_interval()  # k has no real image
    assert table.loc["fake − real", ["low", "high"]].tolist() == pytest.approx(list(ends))


def test_a_trace_survives_as_long_as_its_interval_is_on_its_side():
    def rows(trace: str, stored: float, once: float, of: dict[str, list[float]]) -> list[tuple]:
        versions = [(trace, "stored", 0.0, stored), (trace, "none", 0.0, once)]
        for name, tested in SEVERITIES.items():
            versions += [(trace, name, s, v) for s, v in zip(tested, of.get(name, [once] * 9), strict=False)]
        return versions

    listed = rows("high", -1.1, -1.0, {"JPEG": [-1, -0.5, -0.05, -0.5, -0.5, -0.5], "blur": [-1, 0.5, 1, 1, 1]})
    listed += rows("grid 2", 0.05, 0.5, {})  # its interval holds 0: not significant in the stored images
    listed += rows("grid 4", 0.5, 0.05, {})  # gone when saved once, though it comes back
    listed += rows("mid", 0.5, -0.5, {})  # turned over
    table = pd.DataFrame(listed, columns=["trace", "corruption", "severity", "value"])
    table = table.assign(domain="a", low=table["value"] - 0.1, high=table["value"] + 0.1, n=5)
    table["class"] = "fake − real"
    found = survival(table, SEVERITIES).set_index(["trace", "corruption"])
    assert found["severity"].fillna(-1).to_dict() == {
        ("high", "none"): -1, ("high", "JPEG"): 80, ("high", "resize"): -1, ("high", "blur"): 0.75,
        ("high", "noise"): -1, ("grid 4", "none"): 0, ("mid", "none"): 0,
    }  # fmt: skip
    assert set(found.loc["high", "value"]) == {-1.1}
