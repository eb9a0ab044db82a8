"""Fakes measured against real images that all domains share: the rule, scikit-learn, and physically repeated rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cldf_core.evaluation.bootstrap import matrices
from cldf_core.evaluation.metrics import DETECTION, detection
from cldf_core.evaluation.pool import of_domains, with_pool
from evaluation.test_bootstrap import weights_of

REALS, FAKES, BOTH = ("photos", "paintings"), ("gan", "diffusion", "two"), ("faces",)


def scored(seed: int = 0, steps: int = 2) -> pd.DataFrame:
    """Scores of two domains of reals, three of fakes and one of both; fakes of "gan" are made from the photographs."""
    rng = np.random.default_rng(seed)
    kinds = [(name, 0, 12) for name in REALS] + [("gan", 1, 12), ("diffusion", 1, 9), ("two", 1, 2)]
    kinds += [("faces", 0, 6), ("faces", 1, 6)]
    rows = [
        (step, split, name, f"{name}/{label}-{k}", ("photos" if name == "gan" else name) + f" {k // 2}", label)
        for step in range(1, steps + 1)
        for split in ("validation", "test")
        for name, label, count in kinds
        for k in range(count)
    ]
    table = pd.DataFrame(rows, columns=["step", "split", "domain", "image", "group", "label"])
    return table.assign(score=(0.3 * table["label"] + 0.7 * rng.random(len(table))).round(2))  # with ties


def against_pool(table: pd.DataFrame, step: int, domain: str) -> pd.DataFrame:
    """The test images of a domain of fakes, and the real images of REALS."""
    there = table["domain"].eq(domain) | table["domain"].isin(REALS)
    return table[there & (table["step"] == step) & (table["split"] == "test")]


def test_domains_of_reals_only_are_the_pool_and_without_these_the_reals_of_all_others():
    table = scored().sample(frac=1, random_state=0)
    pooled = with_pool(table)
    assert pooled["pool"].tolist() == table["domain"].isin(REALS).tolist()
    pd.testing.assert_frame_equal(pooled.drop(columns="pool"), table)
    mixed = table[~table["domain"].isin(REALS)]
    assert with_pool(mixed)["pool"].tolist() == (mixed["label"] == 0).tolist()
    # A split and a step have a pool of their own.
    lacking = table[~table["domain"].isin(REALS) | (table["split"] == "test") & (table["step"] == 2)]
    faces = lacking["domain"].eq("faces") & lacking["label"].eq(0)
    want = np.where((lacking["split"] == "test") & (lacking["step"] == 2), lacking["domain"].isin(REALS), faces)
    assert with_pool(lacking)["pool"].tolist() == want.tolist()
    # Fakes in a domain that is called like the pool make it one of both classes.
    named = pd.concat([table, table[table["domain"] == "gan"].assign(domain="photos")])
    assert set(with_pool(named).query("pool")["domain"]) == {"paintings"}
    assert not with_pool(table[table["label"] == 1])["pool"].any()


def test_the_auc_of_each_domain_is_scikit_learns_and_all_metrics_are_those_of_its_fakes_and_the_pool():
    table = scored()
    R, own = (matrices(t, DETECTION, resamples=1) for t in (with_pool(table), table))
    for step, domain in ((step, domain) for step in (1, 2) for domain in FAKES):
        part, place = against_pool(table, step, domain), (step - 1, R.domains.index(domain))
        labels, scores = part["label"].to_numpy(), part["score"].to_numpy()
        assert R.metrics["AUC"].value[place] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
        for name, want in detection(labels, scores).items():
            assert R.metrics[name].value[place] == pytest.approx(want, abs=1e-12), name
        assert (R.images[place], R.pooled[place]) == (len(part), 24)
        assert np.isnan(own.metrics["AUC"].value[place])
    others = [R.domains.index(name) for name in (*REALS, *BOTH)]
    assert not R.pooled[:, others].any()
    # Those of both classes, and the pool itself, are measured as without it. (How alike images of a group are, balanced
    # accuracies of the fakes tell, too.)
    for name in (name for name in DETECTION if name != "balanced accuracy"):
        for one, other in zip(R.metrics[name].columns().values(), own.metrics[name].columns().values(), strict=True):
            np.testing.assert_array_equal(one[:, others], other[:, others])
    assert not own.pooled.any()


def test_resamples_equal_physically_repeated_rows_with_the_pool_drawn_once_for_all():
    table = scored(seed=3)
    R = matrices(with_pool(table), DETECTION, resamples=8, seed=4)
    test = table[table["split"] == "test"]
    groups = sorted(set(test["group"]))
    weights = weights_of(len(groups), 8, 4)
    for draw in range(8):
        times = zip(groups, weights[draw], strict=True)
        repeated = pd.concat([test[test["group"] == group] for group, n in times for _ in range(n)])
        for domain in ("gan", "diffusion"):
            part, place = against_pool(repeated, 2, domain), (draw, 1, R.domains.index(domain))
            for name, want in detection(part["label"].to_numpy(), part["score"].to_numpy()).items():
                assert R.metrics[name].draws[place] == pytest.approx(want, abs=1e-9, nan_ok=True), name
    # The same draw of the pool counts in each domain; only two fakes tell no interval.
    reals = R.metrics["accuracy on real"].draws[:, 0]
    gan, diffusion, two = (R.domains.index(name) for name in FAKES)
    np.testing.assert_array_equal(reals[:, gan], reals[:, diffusion])
    assert len(np.unique(reals[:, gan])) > 3
    assert np.isnan(R.metrics["AUC"].draws[..., two]).all()


def test_an_interval_of_the_pooled_auc_holds_the_truth_as_often_as_that_of_own_reals():
    hits, cases = np.zeros(2), 150
    for case in range(cases):
        rng = np.random.default_rng(case)
        score = np.r_[rng.normal(size=60), rng.normal(1, 1, 90)]
        columns = {"step": 1, "split": "test", "image": np.arange(150).astype(str), "label": [0] * 60 + [1] * 90}
        table = pd.DataFrame({**columns, "domain": ["photos"] * 60 + ["gan"] * 45 + ["diffusion"] * 45})
        table = table.assign(group=table["image"], score=1 / (1 + np.exp(-score)))
        low, high = matrices(with_pool(table), ["AUC"], resamples=300, seed=case).metrics["AUC"].interval()
        truth = 0.7602499389065233  # of normal scores one apart: the normal distribution at 1 / sqrt(2)
        hits += (low[0, 1:] <= truth) & (truth <= high[0, 1:])
    assert (hits / cases > 0.89).all()


def test_a_domain_of_fakes_comes_with_the_pool_and_others_without_it():
    table = scored(steps=1).query("split == 'test'")
    pooled = with_pool(table)
    assert set(of_domains(pooled, ["gan"])["domain"]) == {"gan", *REALS}
    assert set(of_domains(pooled, ["faces", "photos"])["domain"]) == {"faces", "photos"}
    assert set(of_domains(table, ["gan"])["domain"]) == {"gan"}
    assert of_domains(pooled, ["nothing"]).empty
