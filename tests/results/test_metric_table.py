"""The metric table of real tiny runs and of files of other programs, with means over seeds."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from cldf_core.evaluation.bootstrap import matrices, summary
from cldf_core.evaluation.crossed import cells_over_seeds, summary_over_seeds
from cldf_core.evaluation.metrics import CONTINUAL, DETECTION, RANGES, best_threshold, detection, matrix
from cldf_core.evaluation.pool import with_pool
from cldf_core.options import UserError
from cldf_core.results.metric_table import COLUMNS, COST, MEASURES, balanced_accuracies, metric_table
from samples import damaged_runs

STREAM = ["first", "second"]
FEW = {"resamples": 40}


def test_the_table_of_a_run_is_tidy_and_complete(trained, monkeypatch):
    folder = trained["er", 0]
    monkeypatch.setenv("CLDF_ROOT", str(folder.path.parents[1]))
    table = metric_table([folder], **FEW)
    assert tuple(table) == COLUMNS
    assert COLUMNS[:10] == ("run", "agent", "seed", "step", "domain", "metric", "value", "low", "high", "n")
    assert {(r.run, r.agent, r.seed, r.split) for r in table.itertuples()} == {(folder.path.name, "er", 0, "test")}
    assert not table.duplicated(["step", "domain", "metric"]).any()
    continual = [f"{m}: {name}" for m in MEASURES for name in (*CONTINUAL, "unseen")]
    assert set(table["metric"]) == {*DETECTION, *continual, *COST}
    assert len(table) == 2 * 3 * len(DETECTION) + len(continual) + len(COST)
    assert table.attrs["notes"] == []
    for name in (str(folder.path), folder.path.name):
        pd.testing.assert_frame_equal(table, metric_table([name], **FEW))


@pytest.mark.parametrize("split", ["test", "validation"])
def test_detection_rows_are_the_metrics_of_the_stored_scores(trained, split):
    scores = trained["er", 0].scores()
    table = metric_table([trained["er", 0]], split=split, **FEW)
    R = matrices(scores, DETECTION, split=split, **FEW)
    cells = dict(iter(scores[scores["split"] == split].groupby(["step", "domain"])))
    wanted = {key: detection(cell["label"].to_numpy(), cell["score"].to_numpy()) for key, cell in cells.items()}
    for row in table[table["metric"].isin(DETECTION)].itertuples():
        at = R.steps.index(row.step), R.domains.index(row.domain)
        assert row.value == pytest.approx(wanted[row.step, row.domain][row.metric], abs=1e-12)
        assert row.n == len(cells[row.step, row.domain]) == 12
        ends = [end[at] for end in R.metrics[row.metric].interval()]
        assert [row.low, row.high] == pytest.approx(ends, nan_ok=True)


@pytest.mark.parametrize("measure", MEASURES)
def test_continual_rows_are_the_summary(trained, measure):
    scores = trained["er", 0].scores()
    table = metric_table([trained["er", 0]], **FEW).set_index("metric")
    want = summary(scores, STREAM, measure, **FEW).set_index("metric").rename({"unseen: unseen": "unseen"})
    for name in (*CONTINUAL, "unseen"):
        row = table.loc[f"{measure}: {name}"]
        assert row[["value", "low", "high"]].tolist() == pytest.approx(want.loc[name].tolist(), nan_ok=True)
        assert (row["step"], row["domain"]) == (2, "unseen") if name == "unseen" else pd.isna(row["step"])
        assert row["n"] == scores.query("split == 'test'")["group"].nunique()


def test_cost_rows_are_the_manifests_and_what_is_missing_has_no_row(trained, copied):
    manifest = trained["er", 0].manifest
    table = metric_table([trained["er", 0]], metrics=COST).set_index("metric")
    memory = max(step["memory_bytes"] for step in manifest["steps"])
    assert memory > 0
    want = [manifest["seconds"], manifest["memory_rise_bytes"], memory, manifest["images"]]
    assert dict(table["value"]) == dict(zip(COST, want, strict=True))
    assert table[["low", "high", "n", "step"]].isna().all(axis=None)
    assert (table["domain"] == "").all()
    older = metric_table([copied(steps=[{"step": 1}], seconds=None, images=5)], metrics=COST).set_index("metric")
    assert dict(older["value"]) == {COST[1]: manifest["memory_rise_bytes"], COST[3]: 5}


def test_finished_runs_on_a_data_set_stand_side_by_side(trained, monkeypatch, tmp_path, capsys):
    runs = list(trained.values())
    monkeypatch.setenv("CLDF_ROOT", str(runs[0].path.parents[1]))
    table = balanced_accuracies(runs[0].manifest["options"]["data"])
    assert set(table) == {run.path.name for run in runs}
    for run in runs:
        want = matrix(run.scores(), "balanced accuracy").loc[2]
        pd.testing.assert_series_equal(table[run.path.name], want, check_names=False)
    assert balanced_accuracies("another").empty
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    shutil.copytree(runs[0].path, tmp_path / "runs" / "er-good")
    bad = damaged_runs(runs[0], tmp_path / "runs", "er-bad")
    assert set(balanced_accuracies(runs[0].manifest["options"]["data"])) == {"er-good"}
    notes = "\n".join(capsys.readouterr().err.splitlines())
    for name, file in bad.items():
        assert re.search(f"^note: left out: .*/{name}/{file} is damaged", notes, re.MULTILINE), name


def test_metrics_can_be_chosen_by_name(trained):
    def names(*metrics: str) -> list[str]:
        return list(dict.fromkeys(metric_table([trained["er", 0]], metrics=metrics, resamples=5)["metric"]))

    assert names("AUC") == ["AUC"]
    assert names("eer", "processor seconds") == ["EER", "processor seconds"]
    assert names("average") == ["accuracy: average", "AUC: average"]
    assert names("AUC: unseen", "accuracy") == ["accuracy", "AUC: unseen"]
    with pytest.raises(UserError, match="--metric is 'auk'; allowed: accuracy, balanced accuracy, .*seconds"):
        names("auk")


def test_a_declared_threshold_is_written_where_it_counts(trained):
    table = metric_table([trained["er", 0]], threshold="0.3", **FEW)
    needed = table["metric"].str.startswith(("accuracy", "balanced"))
    assert (table.loc[needed, "threshold"] == 0.3).all()
    assert set(table.loc[needed, "threshold_from"]) == {"declared"}
    assert table.loc[~needed, "threshold"].isna().all()
    assert set(table.loc[~needed, "threshold_from"]) == {""}
    got = table[table["metric"] == "accuracy"].pivot(index="step", columns="domain", values="value")
    np.testing.assert_allclose(got, matrix(trained["er", 0].scores(), threshold=0.3)[list(got)])
    assert set(metric_table([trained["er", 0]], metrics=["accuracy"], **FEW)["threshold"]) == {0.5}


def test_a_threshold_is_fitted_on_validation_scores_of_the_same_step_and_the_domains_trained_on(copied):
    def moved(scores):
        # Validation scores from which each step and domain would get a threshold of its own.
        middle = scores["domain"].map({"first": 0.2, "second": 0.3, "unseen": 0.8}) + scores["step"] / 20
        validation = scores["split"] == "validation"
        return scores.assign(score=scores["score"].where(~validation, middle + (scores["label"] - 0.5) / 100))

    folder = copied(moved)
    scores = folder.scores()
    table = metric_table([folder], threshold="validation", **FEW)
    for step in (1, 2):
        seen = scores.query("split == 'validation' and step == @step and domain in @STREAM[:@step]")
        want, _ = best_threshold(seen["score"].to_numpy(), seen["label"].to_numpy())
        assert want != 0.5
        rows = table[(table["step"] == step) & (table["metric"] == "accuracy on real")].set_index("domain")
        assert rows["threshold"].tolist() == [pytest.approx(want)] * 3
        assert set(rows["threshold_from"]) == {"validation"}
        reals = scores.query("step == @step and split == 'test' and label == 0").groupby("domain")["score"]
        assert rows["value"].to_dict() == pytest.approx(reals.agg(lambda score, at=want: (score < at).mean()).to_dict())
    average = table[table["metric"] == "accuracy: average"].iloc[0]
    assert np.isnan(average["threshold"])
    assert average["threshold_from"] == "validation"
    # Other test scores change no threshold.
    other = copied(lambda s: moved(s).assign(score=lambda t: t["score"].where(t["split"] != "test", 0.01)), "other")
    again = metric_table([other], threshold="validation", metrics=["accuracy"], **FEW)
    assert again["threshold"].tolist() == table.loc[table["metric"] == "accuracy", "threshold"].tolist()


def test_separate_models_get_a_threshold_from_their_own_domain(trained, copied):
    folder = copied(options={**trained["er", 0].manifest["options"], "agent": "separate"})
    table = metric_table([folder], threshold="validation", metrics=["accuracy"], **FEW)
    fitted = folder.scores().query("split == 'validation' and step == 2 and domain == 'second'")
    want, _ = best_threshold(fitted["score"].to_numpy(), fitted["label"].to_numpy())
    assert set(table.loc[table["step"] == 2, "threshold"]) == {want}


def test_thresholds_and_splits_that_cannot_be_had_are_told(trained, copied, as_file):
    run, tested = trained["er", 0], trained["er", 0].scores().query("split == 'test'")
    only_tested = copied(lambda scores: scores[scores["split"] == "test"], "tested")
    reals = copied(lambda scores: scores[(scores["split"] == "test") | (scores["label"] == 0)], "reals")
    for source, how, words in (
        (run, {"threshold": "high"}, "--threshold is 'high'; allowed: a number from 0 to 1, or validation"),
        *((run, {"threshold": t}, f"--threshold is {t!r}; allowed") for t in (float("nan"), "-3", 1.5, "0,5")),
        (run, {"threshold": "validation", "split": "validation"}, "what a threshold is fitted on cannot judge it"),
        (run, {"split": "train"}, "--split is 'train'; allowed: test, validation"),
        (run, {"stream": STREAM}, "--stream is given, but there are only runs, which know theirs"),
        (run, {"video_from": "video"}, "--video-from is 'video'; allowed for er-.*: step, domain, split, image, group"),
        (only_tested, {"split": "validation"}, "tested has no validation scores; there are: test"),
        (only_tested, {"threshold": "validation"}, "tested has no validation scores of both classes in step 1, of the"),
        (reals, {"threshold": "validation"}, "reals has no validation scores of both classes in step 1"),
        (as_file(tested, "s.csv"), {"threshold": "validation"}, "s.csv has no .* in step 1; allowed: a number"),
    ):
        with pytest.raises(UserError, match=words):
            metric_table([source], **how, **FEW)


def test_a_file_with_the_scores_of_a_run_gives_the_same_numbers(trained, as_file):
    path = as_file(trained["er", 0].scores(), "theirs.csv")
    theirs = metric_table([path], stream=STREAM, threshold="validation", **FEW)
    ours = metric_table([trained["er", 0]], threshold="validation", **FEW)
    assert {(r.run, r.agent, r.seed) for r in theirs.itertuples()} == {(str(path), "theirs", pd.NA)}
    both = (theirs, ours[~ours["metric"].isin(COST)])
    pd.testing.assert_frame_equal(*(t[list(COLUMNS[3:])] for t in both), check_exact=False, rtol=1e-12)


def test_what_else_to_know_is_told(trained, as_file):
    run, scores = trained["er", 0], trained["er", 0].scores().query("split == 'test'")
    path = as_file(scores, "theirs.csv")
    table = metric_table([path], **FEW)
    assert set(table["metric"]) == set(DETECTION)
    (note,) = table.attrs["notes"]
    assert note == f"{path}: its stream is not known, so there are no continual metrics; --stream tells it"
    path = as_file(scores[scores["image"] != scores["image"].iloc[0]], "fewer.csv")
    assert metric_table([run, path], stream=STREAM[::-1], metrics=["processor seconds"]).attrs["notes"] == [
        f"{run.path.name} and {path} were trained on other streams: their averages tell other things",
        f"{run.path.name} and {path} were tested on other images of first: differences may be theirs",
    ]


def test_scores_that_seem_to_be_of_real_are_told(root):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(80)], "label": [0, 1] * 40, "domain": ["a", "b"] * 40})
    table = table.assign(domain=["a"] * 40 + ["b"] * 40, score=rng.uniform(0, 0.6, 80) + 0.4 * table["label"])
    said = "P(real) may have been given, where P(fake) is needed"

    def notes(of_real: pd.Series, images: int = 80) -> list[str]:
        table.assign(score=table["score"].mask(of_real, 1 - table["score"]))[:images].to_csv(
            root / "s.csv", index=False
        )
        return [note for note in metric_table([root / "s.csv"], **FEW).attrs["notes"] if said in note]

    assert notes(table["domain"] == "none") == notes(table["label"] < 2, 39) == []
    (note,) = notes(table["label"] < 2)
    assert re.fullmatch(rf"{re.escape(str(root / 's.csv'))}: AUC is 0\.[0-3]\d: {re.escape(said)}", note)
    (note,) = notes(table["domain"] == "b")
    assert " on b: " in note


def test_a_missing_step_and_a_missing_class_give_nan_never_a_number(trained, as_file):
    scores = trained["er", 0].scores().query("split == 'test'")
    last = as_file(scores[scores["step"] == 2], "last.csv")
    table = metric_table([last], stream=STREAM, **FEW).set_index("metric")
    continual = table[table.index.str.contains(": ")]
    known = continual[continual["value"].notna()]
    assert set(known.index) == {f"{m}: {name}" for m in MEASURES for name in ("average", "unseen")}
    assert continual.drop(known.index)[["low", "high"]].isna().all(axis=None)
    assert set(table.loc[["accuracy"], "step"]) == {2}
    fakes = as_file(scores[(scores["label"] == 1) | (scores["domain"] != "second")], "fakes.csv")
    table = metric_table([fakes], stream=STREAM, **FEW).set_index("metric")
    cell = table[(table["domain"] == "second") & (table["step"] == 2)]
    assert set(cell.index[cell["value"].notna()]) == {"accuracy", "accuracy on fake", "ECE"}
    assert cell.loc[cell["value"].isna(), ["low", "high"]].isna().all(axis=None)
    assert np.isnan(table.loc["AUC: average", "value"])
    assert not np.isnan(table.loc["accuracy: average", "value"])


def test_videos_are_the_means_of_their_frames_beside_the_frames(tmp_path):
    rng = np.random.default_rng(0)
    frames = pd.DataFrame(
        [(f"{v}/{k}.png", "a", v % 2, rng.random(), f"v{v}") for v in range(8) for k in range(v + 1)],
        columns=["image", "domain", "label", "score", "video"],
    )
    alone = pd.DataFrame([("x.png", "a", 0, 0.5, "")], columns=frames.columns)  # belongs to no video
    pd.concat([frames, alone]).to_csv(tmp_path / "v.csv", index=False)
    table = metric_table([tmp_path / "v.csv"], **FEW).set_index("metric")
    assert set(table.index) == {*DETECTION, *(f"{name} of videos" for name in DETECTION)}
    means = frames.groupby("video").agg(label=("label", "first"), score=("score", "mean"))
    want = detection(means["label"].to_numpy(), means["score"].to_numpy())
    for name in DETECTION:
        assert table.loc[f"{name} of videos", "value"] == pytest.approx(want[name])
        assert (table.loc[f"{name} of videos", "n"], table.loc[name, "n"]) == (8, 37)
    assert table.loc["accuracy of videos", "threshold"] == 0.5
    assert len(metric_table([tmp_path / "v.csv"], metrics=["AUC"], **FEW)) == 2


def test_groups_can_be_taken_for_videos(trained):
    table = metric_table([trained["er", 0]], video_from="group", **FEW).set_index("metric")
    scores = trained["er", 0].scores().query("split == 'test' and step == 2 and domain == 'second'")
    means = scores.groupby(["group", "label"])["score"].mean().reset_index()
    got = table.loc["AUC of videos"].query("step == 2 and domain == 'second'")
    assert got["n"].item() == len(means)
    assert got["value"].item() == pytest.approx(sk.roc_auc_score(means["label"], means["score"]))
    assert "AUC of videos: average" in table.index


def test_means_over_seeds_have_an_interval_over_seeds_and_groups(trained):
    table = metric_table(list(trained.values()), **FEW)
    means, single = table[table["run"] == ""], table[table["run"] != ""]
    assert set(single.loc[~single["metric"].isin(COST), "spread"]) == {"groups"}
    assert set(single.loc[single["metric"].isin(COST), "spread"]) == {""}
    alone = means["metric"].isin([*COST, "ECE"])
    assert set(means.loc[alone, "spread"]) == {"seeds"}
    known = means["value"].notna()  # in a short stream, nothing can be forgotten from the third domain on
    assert set(means.loc[~alone & known, "spread"]) == {"seeds × groups"}
    for agent in ("er", "sequential"):
        scores = pd.concat([trained[agent, seed].scores().assign(agent=agent, seed=seed) for seed in (0, 1)])
        own, cells = means[means["agent"] == agent], cells_over_seeds(scores, "AP", **FEW)
        for row in cells.itertuples():
            here = (own["metric"] == "AP") & (own["step"] == row.step) & (own["domain"] == row.domain)
            numbers = own.loc[here, ["value", "low", "high"]].to_numpy()[0]
            assert numbers == pytest.approx([row.value, row.low, row.high], nan_ok=True)
        whole = summary_over_seeds(scores, STREAM, **FEW).set_index("metric")
        for row in own[own["metric"].str.contains(": ")].itertuples():
            want = whole.loc[f"{row.metric}: {row.domain}" if row.domain else row.metric]
            assert [row.value, row.low, row.high] == pytest.approx(want[["value", "low", "high"]].tolist(), nan_ok=True)
            assert (row.spread, row.n) == (want["spread"], 2)


def test_seeds_of_other_images_have_an_interval_over_seeds_alone(trained, copied):
    fewer = copied(lambda s: s[s["image"] != s["image"].iloc[-1]], options=trained["er", 1].manifest["options"])
    table = metric_table([trained["er", 0], fewer], metrics=["AUC"], **FEW)
    assert set(table.loc[table["run"] == "", "spread"]) == {"seeds"}
    note = "the seeds of er were tested on other images or groups: intervals are over seeds alone"
    assert note in table.attrs["notes"]


def test_with_a_single_resample_means_over_seeds_have_a_t_interval(trained):
    table = metric_table(list(trained.values()), resamples=1).astype({"step": "float"}).fillna({"step": 0})
    means, single = table[table["run"] == ""], table[table["run"] != ""]
    assert means["seed"].isna().all()
    assert (means["n"] == 2).all()
    keys = ["agent", "metric", "domain", "step"]
    values = single.groupby(keys)["value"].agg(list)
    assert 2 * len(means) == len(single)
    for *key, value, low, high in means[[*keys, "value", "low", "high"]].itertuples(index=False):
        both = np.array(values[tuple(key)])
        half = stats.t.ppf(0.975, 1) * stats.sem(both)
        half = half if half > 1e-9 else np.nan  # two seeds that tie tell no interval
        ends = both.mean() + np.array([-half, half])
        if key[1] not in COST:
            kind = key[1].partition(": ")[2]
            ends = np.clip(ends, *RANGES.get(kind, (0, 1)))
        assert (value, low, high) == pytest.approx((both.mean(), *ends), nan_ok=True)
    assert set(means["spread"]) == {"seeds"}
    accuracy = means[means["metric"] == "accuracy"]
    assert set(zip(accuracy["threshold"], accuracy["threshold_from"], strict=True)) == {(0.5, "declared")}
    assert (metric_table([trained["er", 0], trained["sequential", 1]], **FEW)["run"] != "").all()


def test_agents_with_other_options_are_not_taken_for_one(trained, copied):
    other = copied(name="other", options={**trained["er", 0].manifest["options"], "memory": 16, "seed": 3})
    table = metric_table([trained["er", 0], trained["er", 1], other], metrics=["AUC"], **FEW)
    assert set(table["agent"]) == {"er (memory=12)", "er (memory=16)"}
    assert set(table.loc[table["run"] == "", "agent"]) == {"er (memory=12)"}
    with pytest.raises(UserError, match=r"er-.* and copy are both of agent 'er' with seed 0 and the same options"):
        metric_table([trained["er", 0], copied()])


def test_shared_reals_count_in_every_metric_and_are_named_in_a_column(trained, as_file):
    scores = trained["er", 0].scores()
    pooled = scores.assign(domain=scores["domain"].where(scores["label"] == 1, "photos"))
    pooled = pooled.drop_duplicates(["step", "split", "domain", "image"])
    path = as_file(pooled, "pooled.csv")
    table = metric_table([path], reals="shared", stream=STREAM, threshold="validation", **FEW)
    own = metric_table([path], stream=STREAM, **FEW)
    assert tuple(table) == (*COLUMNS, "reals")
    assert tuple(own) == COLUMNS
    R = matrices(with_pool(pooled), ["AUC"], domains=STREAM, **FEW).metrics["AUC"].value
    for name, want in (("average", R[1, :2].mean()), ("learning", (R[0, 0] + R[1, 1]) / 2)):
        row = table[table["metric"] == f"AUC: {name}"].iloc[0]
        assert (row["value"], row["reals"]) == (pytest.approx(want), "shared")
        assert np.isnan(own.loc[own["metric"] == f"AUC: {name}", "value"]).all()
    reals = table[table["metric"] == "AUC"].groupby("domain")["reals"].agg(set).to_dict()
    assert reals == {domain: {"own" if domain == "photos" else "shared"} for domain in reals}
    reals = table[table["metric"] == "AUC: unseen"].set_index("domain")["reals"].to_dict()
    assert reals == {"unseen": "shared", "photos": "own"}
    # A threshold is fitted on the fakes of the domains trained on so far, and on the pool once.
    for step in (1, 2):
        known = pooled["domain"].isin(["photos", *STREAM[:step]])
        fitted = pooled[known & (pooled["step"] == step) & (pooled["split"] == "validation")]
        want, _ = best_threshold(fitted["score"].to_numpy(), fitted["label"].to_numpy())
        assert set(table.loc[(table["metric"] == "accuracy") & (table["step"] == step), "threshold"]) == {want}


def test_where_all_domains_have_reals_sharing_changes_no_number(trained):
    runs = list(trained.values())
    shared, own = (
        metric_table(runs, reals=reals, metrics=["AUC", "accuracy", *COST], **FEW) for reals in ("shared", "own")
    )
    pd.testing.assert_frame_equal(shared[list(COLUMNS)], own)
    assert set(shared.loc[shared["metric"].isin(COST), "reals"]) == {""}
    assert set(shared.loc[~shared["metric"].isin(COST), "reals"]) == {"own"}
    assert "no domain holds fakes only, so --reals shared changes nothing" in shared.attrs["notes"][-1]


def test_videos_are_measured_against_pooled_videos(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        (f"{domain}{v}-{k}", domain, label, rng.random(), f"{domain}{v}")
        for domain, label, count in (("real", 0, 9), ("gan", 1, 7))
        for v in range(count)
        for k in range(2 + v % 3)
    ]
    frames = pd.DataFrame(rows, columns=["image", "domain", "label", "score", "video"])
    frames.to_csv(tmp_path / "v.csv", index=False)
    table = metric_table([tmp_path / "v.csv"], metrics=["AUC"], reals="shared", **FEW)
    row = table[(table["metric"] == "AUC of videos") & (table["domain"] == "gan")].iloc[0]
    means = frames.groupby("video").agg(label=("label", "first"), score=("score", "mean"))
    assert (row["value"], row["n"]) == (pytest.approx(sk.roc_auc_score(means["label"], means["score"])), 16)
