"""Agents compared over seeds and groups, over seeds by SciPy's t tests, and on the same images by the bootstrap."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from cldf_core.evaluation.bootstrap import matrices, paired_difference, paired_matrices
from cldf_core.evaluation.crossed import crossed_difference, differences_over_seeds
from cldf_core.evaluation.metrics import CONTINUAL, DETECTION
from cldf_core.evaluation.pool import with_pool
from cldf_core.options import UserError
from cldf_core.results.compare import COMPARISON, compare, compare_on_images, compare_over_seeds
from cldf_core.results.metric_table import metric_table

STREAM = ["first", "second"]
FEW = {"resamples": 40}


def made(path, cells, seed=0):
    """A file with scores of random images: for each (step, domain) so many."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"{domain}{i}.png", domain, i % 2, step, round(float(rng.uniform(0, 0.7) + 0.3 * (i % 2)), 3))
        for (step, domain), count in cells.items()
        for i in range(count)
    ]
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows, columns=["image", "domain", "label", "step", "score"]).to_csv(path, index=False)
    return path


def test_agents_are_compared_over_their_seeds(trained):
    runs = list(trained.values())
    table = metric_table(runs, **FEW)
    tests = compare_over_seeds(table)
    assert tuple(tests) == COMPARISON
    continual = {f"{m}: {name}" for m in ("accuracy", "AUC") for name in (*CONTINUAL, "unseen")}
    assert set(tests["metric"]) == {*continual, *DETECTION}
    assert set(tests.loc[tests["metric"].isin(DETECTION), "step"]) == {2}
    assert set(tests.loc[tests["metric"] == "EER", "domain"]) == {*STREAM, "unseen"}
    assert set(zip(tests["first"], tests["second"], tests["spread"], strict=True)) == {("er", "sequential", "seeds")}
    learning = table[(table["metric"] == "AUC: learning") & (table["run"] != "")]
    values = learning.pivot(index="seed", columns="agent", values="value")
    row = tests[tests["metric"] == "AUC: learning"].iloc[0]
    assert row["difference"] == pytest.approx((values["er"] - values["sequential"]).mean())
    assert row["p"] == pytest.approx(stats.ttest_rel(values["er"], values["sequential"]).pvalue)
    assert (row["p_holm"], row["p_seeds"], row["n"]) == (row["p"], row["p"], 2)  # a single pair
    with pytest.raises(UserError, match="--compare needs two agents with a seed; there: 'er'"):
        compare_over_seeds(table[table["agent"] == "er"])


def test_agents_are_compared_over_seeds_and_groups_where_their_scores_are_there(trained, copied):
    runs, metrics = list(trained.values()), ["accuracy", "ECE", "AUC: average", "accuracy: unseen"]
    table = metric_table(runs, metrics=metrics, **FEW)
    tests, alone = compare(table, runs, metrics=metrics, **FEW), compare_over_seeds(table)
    same = ["metric", "step", "domain", "first", "second", "difference", "p_seeds", "n"]
    pd.testing.assert_frame_equal(tests[same], alone[same])
    assert set(tests["spread"]) == {"seeds × groups"}
    parts = [folder.scores().assign(agent=agent, seed=seed) for (agent, seed), folder in trained.items()]
    R = paired_matrices(parts, ["accuracy", "ECE"], **FEW)
    for metric in ("accuracy", "ECE"):
        want = crossed_difference([part.metrics[metric] for part in R])
        low, high = want.interval()
        for row in tests[tests["metric"] == metric].itertuples():
            place = R[0].steps.index(2), R[0].domains.index(row.domain)
            ends = [want.value[place], low[place], high[place], want.p()[place]]
            assert [row.difference, row.low, row.high, row.p] == pytest.approx(ends, nan_ok=True)
    summed = differences_over_seeds(pd.concat(parts), STREAM, **FEW).set_index("metric")
    for metric, name in (("AUC: average", "AUC: average"), ("accuracy: unseen", "accuracy: unseen: unseen")):
        columns = ["difference", "low", "high", "p", "p_holm", "p_seeds"]
        got = tests.loc[tests["metric"] == metric, columns].to_numpy(float)[0]
        assert got == pytest.approx(summed.loc[name, columns].to_numpy(float), nan_ok=True)
    # Seeds of other images leave what can be said of these photographs.
    fewer = copied(lambda s: s[s["image"] != s["image"].iloc[-1]], options=trained["er", 1].manifest["options"])
    runs = [trained["er", 0], fewer, trained["sequential", 0], trained["sequential", 1]]
    table = metric_table(runs, metrics=metrics, **FEW)
    tests = compare(table, runs, metrics=metrics, **FEW)
    assert set(tests["spread"]) == {"seeds"}
    pd.testing.assert_frame_equal(tests, compare_over_seeds(table))
    (note,) = tests.attrs["notes"]
    assert note == "er and sequential: tested on other images or groups, so intervals are over seeds alone"


def test_a_file_is_compared_with_runs(trained, tmp_path):
    rng = np.random.default_rng(0)
    parts = [trained["er", seed].scores().query("split == 'test'").assign(seed=seed) for seed in (0, 1)]
    theirs = pd.concat(parts).assign(agent="theirs", score=lambda t: (t["label"] + rng.random(len(t))) / 2)
    theirs.to_csv(tmp_path / "theirs.csv", index=False)
    made(tmp_path / "unseeded.csv", {(1, "first"): 20})
    runs = [*trained.values(), tmp_path / "theirs.csv", tmp_path / "unseeded.csv"]
    table = metric_table(runs, metrics=["AUC"], **FEW)
    tests = compare_over_seeds(table)
    assert tests.attrs["notes"] == ["unseeded has no seed, so it is not compared with the others"]
    assert len(tests) == 3 * 3  # pairs and domains
    for _, part in tests.groupby("domain"):
        # Two agents whose seeds happen to differ by the same have no p, and do not count.
        assert part["p_holm"].min() == pytest.approx(min(part["p"].notna().sum() * part["p"].min(), 1))
    means = table[(table["run"] == "") & (table["agent"] == "theirs")]
    assert (means["value"] == 1).all()


def test_two_runs_are_compared_on_the_same_images(trained):
    runs, metrics = [trained["sequential", 0], trained["er", 0]], ["accuracy", "accuracy: average", "AUC: unseen"]
    table = metric_table(runs, metrics=metrics, **FEW)
    found = compare(table, runs, metrics=metrics, **FEW)
    assert tuple(found) == COMPARISON
    assert set(zip(found["first"], found["second"], found["spread"], strict=True)) == {("sequential", "er", "groups")}
    assert list(dict.fromkeys(found["metric"])) == metrics
    for row in found.itertuples():
        same = (table["metric"] == row.metric) & (table["domain"] == row.domain)
        same &= table["step"].isna() if row.step is pd.NA else (table["step"] == row.step)
        values = table[same].set_index("agent")["value"]
        assert row.difference == pytest.approx(values["sequential"] - values["er"], abs=1e-12)
        assert not row.low > row.high
    ends = found.set_index("metric").loc["accuracy: average", ["low", "high"]]
    want = paired_difference(*(r.scores() for r in runs), STREAM, **FEW).set_index("metric")
    assert ends.tolist() == pytest.approx(want.loc["average", ["low", "high"]].tolist(), abs=1e-9, nan_ok=True)


def test_a_file_without_groups_is_compared_with_those_of_the_run(trained, as_file):
    scores = trained["er", 0].scores().query("split == 'test'")
    shuffled = scores.assign(group="").sample(frac=1, random_state=0)
    path = as_file(shuffled, "theirs.csv")
    found = compare_on_images([trained["er", 0], path], metrics=["accuracy", "AP"], **FEW)
    assert (found["difference"] == 0).all()
    assert found[["low", "high"]].isna().all(axis=None)
    assert len(found) == 2 * 3
    ours, theirs = (
        compare_on_images([trained["sequential", 0], run], metrics=["AUC"], **FEW) for run in (trained["er", 0], path)
    )
    pd.testing.assert_frame_equal(ours.drop(columns="second"), theirs.drop(columns="second"))
    worse = as_file(shuffled.assign(score=1 - shuffled["score"]), "worse.csv")
    better = compare_on_images([trained["er", 0], worse], metrics=["AUC"], **FEW)
    auc = metric_table([trained["er", 0]], metrics=["AUC"], **FEW).query("step == 2").set_index("domain")["value"]
    assert better["difference"].tolist() == pytest.approx([2 * auc[domain] - 1 for domain in better["domain"]])


def test_runs_with_other_groups_are_not_compared(trained, as_file):
    scores = trained["er", 0].scores().query("split == 'test'")
    path = as_file(scores.assign(group=scores["image"].rank(method="dense") // 4), "apart.csv")
    with pytest.raises(UserError, match="^--compare: er and apart: the two were tested with different groups"):
        compare_on_images([trained["er", 0], path], metrics=["AUC"], **FEW)


def test_runs_of_one_agent_and_other_images(trained, as_file):
    run = trained["er", 0]
    found = compare_on_images([run, trained["er", 1]], metrics=["AUC"], **FEW)
    assert {*found["first"], *found["second"]} == {"er, seed 0", "er, seed 1"}
    scores = run.scores().query("split == 'test'")
    others = scores.assign(image=scores["image"].where(scores["domain"] != "first", "other " + scores["image"]))
    found = compare_on_images([run, as_file(others, "o.csv")], metrics=["AUC"], **FEW)
    assert set(found["domain"]) == {"second", "unseen"}
    path = as_file(others[others["domain"] == "first"], "p.csv")
    with pytest.raises(UserError, match="have no domain with the same images and labels after their last steps"):
        compare_on_images([run, path], **FEW)
    with pytest.raises(UserError, match="--compare needs two runs or files; there: "):
        compare_on_images([path], **FEW)


def test_only_what_both_have_after_the_last_step_is_compared(tmp_path):
    every = {(step, domain): 40 for step in (1, 2) for domain in "AB"}
    whole = made(tmp_path / "whole.csv", every)
    lacks = made(tmp_path / "lacks.csv", {cell: n for cell, n in every.items() if cell != (2, "A")}, seed=1)
    found = compare_on_images([whole, lacks], metrics=["AUC"], stream=["A", "B"], **FEW)
    assert list(found["domain"]) == ["B"]
    (note,) = found.attrs["notes"]
    assert note == "whole and lacks are not compared on A: there they were not tested on the same images"
    few = made(tmp_path / "few.csv", {**every, (2, "A"): 1, (2, "B"): 1})
    with pytest.raises(UserError, match="whole and few have no domain with the same images and labels"):
        compare_on_images([whole, few], **FEW)  # of what both have all are real
    once = made(tmp_path / "once.csv", {(1, "A"): 40, (1, "B"): 40})
    found = compare_on_images([whole, once], metrics=["AUC"], **FEW)
    assert found["step"].isna().all()
    assert found.attrs["notes"] == ["whole and once are compared after steps 2 and 1, their last ones"]


def test_agents_with_seeds_but_no_common_domain_are_not_compared(tmp_path):
    parts = [
        pd.read_csv(made(tmp_path / "part.csv", {(1, domain): 40}, seed)).assign(agent=agent, seed=seed)
        for agent, domain in (("one", "A"), ("two", "B"))
        for seed in range(3)
    ]
    pd.concat(parts).to_csv(tmp_path / "scores.csv", index=False)
    table = metric_table([tmp_path / "scores.csv"], **FEW)
    with pytest.raises(UserError, match="'one' and 'two' were tested on no common domain after their last steps"):
        compare_over_seeds(table, [tmp_path / "scores.csv"], **FEW)


def test_files_of_one_name_are_told_apart(tmp_path):
    files = [made(tmp_path / folder / "scores.csv", {(1, "A"): 20}, seed) for seed, folder in enumerate(("one", "two"))]
    found = compare_on_images(files, metrics=["AUC"], **FEW)
    assert [*found["first"], *found["second"]] == [f"scores of {path}" for path in files]


def pooled(path, agents=("one", "two"), seeds=("",), changed=lambda table: table):
    """A file with scores of photographs and of the fakes of three generators, which are made from some of these."""
    kinds = [("photos", 0, 30), ("gan", 1, 12), ("diffusion", 1, 12), ("flow", 1, 12), ("both", 0, 8), ("both", 1, 8)]
    images = [(f"{name}/{label}-{k}", name, label, f"{k}") for name, label, count in kinds for k in range(count)]
    parts = []
    for number, (agent, seed) in enumerate(itertools.product(agents, seeds)):
        table = pd.DataFrame(images, columns=["image", "domain", "label", "group"]).assign(agent=agent, seed=seed)
        random = np.random.default_rng(number).random(len(table))
        parts.append(table.assign(score=(0.3 * table["label"] + 0.7 * random).round(3)))
    changed(pd.concat(parts)).to_csv(path, index=False)
    return path


def test_agents_are_compared_against_the_same_draws_of_the_pool(tmp_path):
    path = pooled(tmp_path / "scores.csv", ("one", "two", "three"))
    how = {"metrics": ["AUC"], "reals": "shared", **FEW}
    found = compare(metric_table([path], **how), [path], **how)
    assert tuple(found) == (*COMPARISON, "reals")
    assert list(zip(found["first"], found["second"], strict=True))[::5] == [
        ("one", "two"),
        ("one", "three"),
        ("two", "three"),
    ]
    tables = {agent: part.assign(split="test", step=1) for agent, part in pd.read_csv(path).groupby("agent")}
    for (first, second), rows in found.groupby(["first", "second"], sort=False):
        # Pooled by hand: each generator with the photographs, which are drawn with the fakes that are made from them.
        for row in rows[rows["reals"] == "shared"].itertuples():
            parts = [t[t["domain"].isin([row.domain, "photos"])] for t in (tables[first], tables[second])]
            value = [sk.roc_auc_score(part["label"], part["score"]) for part in parts]
            assert row.difference == pytest.approx(value[0] - value[1], abs=1e-9)
            assert row.low < row.difference < row.high
        assert dict(zip(rows["domain"], rows["reals"], strict=True)) == {
            **dict.fromkeys(("gan", "diffusion", "flow"), "shared"),
            **dict.fromkeys(("photos", "both"), "own"),
        }
    ends = matrices(with_pool(tables["one"]), ["AUC"], **FEW).metrics["AUC"]
    others = matrices(with_pool(tables["two"]), ["AUC"], **FEW).metrics["AUC"]
    order = list(dict.fromkeys(tables["one"]["domain"]))
    low, high = (end[0] for end in (ends - others).interval())
    for row in found[found["second"] == "two"].itertuples():
        at = order.index(row.domain)
        assert (row.low, row.high) == pytest.approx((low[at], high[at]), nan_ok=True)


def test_a_detector_that_failed_on_some_images_is_compared_on_the_others(tmp_path):
    whole = made(tmp_path / "ours.csv", {(1, "A"): 50, (1, "B"): 50, (1, "C"): 50})
    scores = pd.read_csv(made(tmp_path / "theirs.csv", {(1, "A"): 50, (1, "B"): 50, (1, "C"): 50}, seed=1))
    lost = scores["image"].isin(["A3.png", "A8.png", "A20.png", "C5.png"])
    mistaken = scores["image"] == "C6.png"
    scores["label"] = scores["label"].where(~mistaken, 1 - scores["label"])
    scores[~lost].to_csv(tmp_path / "theirs.csv", index=False)
    found = compare_on_images([whole, tmp_path / "theirs.csv"], metrics=["AUC", "accuracy"], **FEW)
    ours = pd.read_csv(whole)
    for row in found[found["metric"] == "AUC"].itertuples():
        kept = (scores["domain"] == row.domain) & ~lost & ~mistaken
        first, second = (sk.roc_auc_score(t.loc[kept, "label"], t.loc[kept, "score"]) for t in (ours, scores))
        assert row.difference == pytest.approx(first - second)
        assert row.low < row.difference < row.high
    assert found.groupby("domain")["n"].unique().map(list).to_dict() == {"A": [47], "B": [50], "C": [48]}
    (note,) = found.attrs["notes"]
    assert note == "ours and theirs are compared on A, C by the images that both have scores of, not by all"
    # Its difference on the images that it has is that of the images alone.
    ours[~lost & ~mistaken].to_csv(tmp_path / "fewer.csv", index=False)
    scores[~lost & ~mistaken].to_csv(tmp_path / "ours2.csv", index=False)
    alone = compare_on_images([tmp_path / "fewer.csv", tmp_path / "ours2.csv"], metrics=["AUC"], **FEW)
    want = alone.set_index("domain")["difference"]
    assert found[found["metric"] == "AUC"].set_index("domain")["difference"].to_dict() == pytest.approx(want.to_dict())


def test_agents_with_other_pools_are_compared_against_the_reals_that_both_have(tmp_path):
    fewer = pooled(tmp_path / "s.csv", changed=lambda t: t[t["agent"].ne("two") | t["image"].ne("photos/0-3")])
    how = {"metrics": ["AUC"], "reals": "shared", **FEW}
    found = compare_on_images([fewer], **how).set_index("domain")
    both = pooled(tmp_path / "both.csv", changed=lambda t: t[t["image"].ne("photos/0-3")])
    want = compare_on_images([both], **how).set_index("domain")
    pd.testing.assert_series_equal(found["difference"], want["difference"].reindex(found.index))
    assert found["n"].to_dict() == want["n"].to_dict()
    (note,) = compare_on_images([fewer], **how).attrs["notes"]
    assert note == (
        "one and two are compared on diffusion, flow, gan, photos by the images that both have scores of, not by all"
    )
    none = pooled(fewer, changed=lambda t: t[t["domain"].ne("both") & (t["agent"].ne("two") | t["label"].eq(1))])
    with pytest.raises(UserError, match="no domain with the same images and labels, also of the shared real images,"):
        compare_on_images([none], **how)
    # Reals of a domain of both classes serve the others also where it is not compared itself.
    mixed = pooled(
        fewer,
        changed=lambda t: t[
            t["domain"].ne("photos") & (t["agent"].ne("two") | t["domain"].ne("both") | t["label"].eq(0))
        ],
    )
    found = compare_on_images([mixed], **how)
    assert sorted(found["domain"]) == ["diffusion", "flow", "gan"]
    assert found["difference"].notna().all()
    assert set(found["reals"]) == {"shared"}


def test_agents_are_compared_over_seeds_against_the_pool(tmp_path):
    path = pooled(tmp_path / "seeds.csv", seeds=(0, 1, 2))
    how = {"metrics": ["AUC", "accuracy"], "reals": "shared", **FEW}
    table = metric_table([path], **how)
    found = compare(table, [path], **how)
    assert tuple(found) == (*COMPARISON, "reals")
    gan = found[(found["metric"] == "AUC") & (found["domain"] == "gan")].iloc[0]
    assert (gan["spread"], gan["reals"], gan["n"]) == ("seeds × groups", "shared", 3)
    values = table[(table["metric"] == "AUC") & (table["domain"] == "gan") & (table["run"] != "")]
    means = values.groupby("agent")["value"].mean()
    assert gan["difference"] == pytest.approx(means["one"] - means["two"])
    assert set(table.loc[(table["run"] == "") & (table["domain"] == "gan"), "reals"]) == {"shared"}
    assert set(found.loc[found["domain"].isin(["photos", "both"]), "reals"]) == {"own"}


def test_notes_on_many_pairs_are_one_line(tmp_path):
    path = pooled(tmp_path / "s.csv", "abcdef", changed=lambda t: t[t["agent"].ne("f") | t["image"].ne("gan/1-3")])
    notes = compare_on_images([path], metrics=["AUC"], reals="shared", **FEW).attrs["notes"]
    said = "are compared on gan by the images that both have scores of, not by all"
    assert notes == [f"a and f, b and f, c and f and 2 more {said}"]
