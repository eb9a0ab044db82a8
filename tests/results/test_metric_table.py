"""The metric card and `cldf metrics`: real tiny runs, files of other programs, means and tests over seeds."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from cldf_core.cli import main
from cldf_core.evaluation.bootstrap import matrices, paired_difference, summary
from cldf_core.evaluation.metrics import CONTINUAL, DETECTION, best_threshold, detection, matrix
from cldf_core.options import UserError
from cldf_core.results.compare import COMPARISON, compare_on_images, compare_over_seeds
from cldf_core.results.metric_table import COLUMNS, COST, metric_table
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.run import make_run
from samples import make_data, tiny_options

STREAM = ["first", "second"]
SHORT = {"stream": STREAM, "unseen": ["unseen"], "splits": ["validation", "test"], "epochs": 1}
FEW = {"resamples": 60}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of ER and of sequential training, each with two seeds; key: agent and seed."""
    root = tmp_path_factory.mktemp("card")
    data = make_data(root / "set", (*STREAM, "unseen"), train=8, validation=6, test=6)
    patch = pytest.MonkeyPatch()
    patch.setenv("CLDF_ROOT", str(root))
    patch.setenv("CLDF_PROGRESS", "0")
    yield {(a, s): make_run(tiny_options(a, data, **SHORT, seed=s)) for a in ("er", "sequential") for s in (0, 1)}
    patch.undo()


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of a run with another table of scores, or another manifest."""

    def copy(change=lambda scores: scores, name: str = "copy", **manifest) -> RunFolder:
        folder = RunFolder(shutil.copytree(trained["er", 0].path, tmp_path / name))
        folder.write_table("scores.parquet", change(folder.scores()))
        folder.write_manifest({**folder.manifest, **manifest})
        return folder

    return copy


def as_file(scores: pd.DataFrame, path):
    """The scores as another program might write them."""
    columns = ["image", "domain", "label", "score", "step", "split", "group"]
    scores[columns].to_csv(path, index=False)
    return path


# --- one run ---


def test_the_card_of_a_run_is_tidy_and_complete(trained):
    folder = trained["er", 0]
    card = metric_table([folder], **FEW)
    assert tuple(card.columns) == COLUMNS
    assert COLUMNS[:10] == ("run", "agent", "seed", "step", "domain", "metric", "value", "low", "high", "n")
    assert set(card["run"]) == {folder.path.name}
    assert set(card["agent"]) == {"er"}
    assert set(card["seed"]) == {0}
    assert set(card["split"]) == {"test"}
    assert not card.duplicated(["step", "domain", "metric"]).any()
    continual = [f"{m}: {name}" for m in ("accuracy", "AUC") for name in (*CONTINUAL, "unseen")]
    assert set(card["metric"]) == {*DETECTION, *continual, *COST}
    assert len(card) == 2 * 3 * len(DETECTION) + len(continual) + len(COST)
    assert card.attrs["notes"] == []
    pd.testing.assert_frame_equal(card, metric_table([str(folder.path)], **FEW))
    pd.testing.assert_frame_equal(card, metric_table([folder.path.name], **FEW))


def test_detection_rows_are_the_metrics_of_the_stored_scores(trained):
    scores = trained["er", 0].scores()
    for split in ("test", "validation"):
        card = metric_table([trained["er", 0]], split=split, **FEW)
        rows = card[card["metric"].isin(DETECTION)]
        R = matrices(scores, DETECTION, split=split, resamples=60).metrics
        for row in rows.itertuples():
            cell = scores.query("step == @row.step and domain == @row.domain and split == @split")
            want = detection(cell["label"].to_numpy(), cell["score"].to_numpy())[row.metric]
            assert row.value == pytest.approx(want, abs=1e-12)
            assert row.n == len(cell) == 12
            low, high = R[row.metric].interval()
            at = row.step - 1, ["first", "second", "unseen"].index(row.domain)
            assert (row.low, row.high) == pytest.approx((low[at], high[at]), nan_ok=True)
        cell = scores.query("step == 2 and domain == 'unseen' and split == @split")
        auc = rows.query("step == 2 and domain == 'unseen' and metric == 'AUC'")["value"].item()
        assert auc == pytest.approx(sk.roc_auc_score(cell["label"], cell["score"]), abs=1e-9)


def test_continual_rows_are_the_summary(trained):
    folder = trained["er", 0]
    card = metric_table([folder], **FEW).set_index("metric")
    for measure in ("accuracy", "AUC"):
        want = summary(folder.scores(), STREAM, measure, resamples=60).set_index("metric")
        for name in CONTINUAL:
            row = card.loc[f"{measure}: {name}"]
            assert row[["value", "low", "high"]].tolist() == want.loc[name].tolist()
            assert (row["step"], row["domain"]) == (pd.NA, "") or pd.isna(row["step"])
            assert row["n"] == folder.scores().query("split == 'test'")["group"].nunique()
        row = card.loc[f"{measure}: unseen"]
        assert row[["value", "low", "high"]].tolist() == want.loc["unseen: unseen"].tolist()
        assert (row["step"], row["domain"]) == (2, "unseen")


def test_cost_rows_are_the_manifests_and_what_is_missing_has_no_row(trained, copied):
    manifest = trained["er", 0].manifest
    card = metric_table([trained["er", 0]], metrics=COST).set_index("metric")
    assert list(card.index) == list(COST)
    memory = max(step["memory_bytes"] for step in manifest["steps"])
    want = [manifest["seconds"], manifest["peak_memory_bytes"], memory, manifest["images"]]
    assert card["value"].tolist() == want
    assert memory > 0
    assert card[["low", "high", "n", "step"]].isna().all().all()
    assert (card["domain"] == "").all()
    older = {**manifest, "steps": [{"step": 1}], "images": 5}
    del older["seconds"]
    folder = copied()
    folder.write_manifest(older)
    assert metric_table([folder], metrics=COST).set_index("metric")["value"].to_dict() == {
        "peak memory (bytes)": manifest["peak_memory_bytes"],
        "images trained on": 5,
    }


def test_metrics_can_be_chosen_by_name(trained):
    def names(*metrics: str) -> list[str]:
        return list(dict.fromkeys(metric_table([trained["er", 0]], metrics=metrics, resamples=5)["metric"]))

    assert names("AUC") == ["AUC"]
    assert names("eer", "seconds") == ["EER", "seconds"]
    assert names("average") == ["accuracy: average", "AUC: average"]
    assert names("AUC: unseen", "accuracy") == ["accuracy", "AUC: unseen"]
    with pytest.raises(UserError, match="--metric is 'auk'; allowed: accuracy, balanced accuracy, .*seconds"):
        names("auk")


# --- the threshold ---


def test_a_declared_threshold_is_told_where_it_counts(trained):
    scores = trained["er", 0].scores()
    card = metric_table([trained["er", 0]], threshold="0.3", **FEW)
    with_threshold = card["metric"].str.startswith(("accuracy", "balanced"))
    assert (card.loc[with_threshold, "threshold"] == 0.3).all()
    assert set(card.loc[with_threshold, "threshold_from"]) == {"declared"}
    assert card.loc[~with_threshold, "threshold"].isna().all()
    assert set(card.loc[~with_threshold, "threshold_from"]) == {""}
    got = card[card["metric"] == "accuracy"].pivot(index="step", columns="domain", values="value")
    np.testing.assert_allclose(got, matrix(scores, threshold=0.3)[list(got)])
    assert metric_table([trained["er", 0]], metrics=["accuracy"], **FEW)["threshold"].unique().tolist() == [0.5]


def test_a_threshold_is_fitted_on_validation_scores_of_the_same_step_and_the_domains_trained_on(copied):
    def moved(scores):
        # Validation scores from which each step and domain would get a threshold of its own.
        of = {"first": 0.2, "second": 0.3, "unseen": 0.8}
        middle = scores["domain"].map(of) + scores["step"] / 20
        validation = scores["split"] == "validation"
        return scores.assign(score=scores["score"].where(~validation, middle + (scores["label"] - 0.5) / 100))

    folder = copied(moved)
    scores = folder.scores()
    card = metric_table([folder], threshold="validation", **FEW)
    for step in (1, 2):
        seen = scores.query("split == 'validation' and step == @step and domain in @STREAM[:@step]")
        want, _ = best_threshold(seen["score"].to_numpy(), seen["label"].to_numpy())
        assert want != 0.5
        rows = card[(card["step"] == step) & (card["metric"] == "accuracy on real")]
        assert rows["threshold"].tolist() == [pytest.approx(want)] * 3
        assert set(rows["threshold_from"]) == {"validation"}
        for row in rows.itertuples():
            cell = scores.query("step == @step and domain == @row.domain and split == 'test' and label == 0")
            assert row.value == pytest.approx((cell["score"] < want).mean())
    average = card[card["metric"] == "accuracy: average"].iloc[0]
    assert np.isnan(average["threshold"])
    assert average["threshold_from"] == "validation"
    # Other test scores change no threshold.
    other = copied(lambda s: moved(s).assign(score=lambda t: t["score"].where(t["split"] != "test", 0.01)), "other")
    again = metric_table([other], threshold="validation", metrics=["accuracy"], **FEW)
    assert again["threshold"].tolist() == card.loc[card["metric"] == "accuracy", "threshold"].tolist()


def test_separate_models_get_a_threshold_from_their_own_domain(copied):
    manifest = copied(name="first").manifest
    folder = copied(name="second", options={**manifest["options"], "agent": "separate"})
    scores = folder.scores()
    card = metric_table([folder], threshold="validation", metrics=["accuracy"], **FEW)
    own = scores.query("split == 'validation' and step == 2 and domain == 'second'")
    want, _ = best_threshold(own["score"].to_numpy(), own["label"].to_numpy())
    assert set(card.loc[card["step"] == 2, "threshold"]) == {want}


def test_thresholds_that_cannot_be_had_are_told(trained, copied, tmp_path):
    with pytest.raises(UserError, match="--threshold is 'high'; allowed: a number, or validation"):
        metric_table([trained["er", 0]], threshold="high")
    with pytest.raises(UserError, match="--threshold is nan; allowed: a number, or validation"):
        metric_table([trained["er", 0]], threshold=float("nan"))
    with pytest.raises(UserError, match="what a threshold is fitted on cannot judge it"):
        metric_table([trained["er", 0]], threshold="validation", split="validation")
    without = copied(lambda scores: scores[scores["split"] == "test"])
    with pytest.raises(UserError, match="copy has no validation scores of both classes in step 1, of the domains"):
        metric_table([without], threshold="validation")
    reals = copied(lambda scores: scores[(scores["split"] == "test") | (scores["label"] == 0)], "reals")
    with pytest.raises(UserError, match="reals has no validation scores of both classes in step 1"):
        metric_table([reals], threshold="validation")
    path = as_file(trained["er", 0].scores().query("split == 'test'"), tmp_path / "s.csv")
    with pytest.raises(UserError, match=r"s.csv has no validation scores of both classes in step 1; allowed: a number"):
        metric_table([path], threshold="validation")


# --- files, videos ---


def test_a_file_with_the_scores_of_a_run_gives_the_same_numbers(trained, tmp_path):
    scores = trained["er", 0].scores()
    path = as_file(scores, tmp_path / "theirs.csv")
    theirs = metric_table([path], stream=STREAM, threshold="validation", **FEW)
    ours = metric_table([trained["er", 0]], threshold="validation", **FEW)
    ours = ours[~ours["metric"].isin(COST)]
    assert set(theirs["run"]) == {str(path)}
    assert set(theirs["agent"]) == {"theirs"}
    assert theirs["seed"].isna().all()
    columns = list(COLUMNS[3:])
    pd.testing.assert_frame_equal(theirs[columns], ours[columns], check_exact=False, rtol=1e-12)


def test_without_a_stream_there_are_no_continual_rows_and_a_note(trained, tmp_path):
    card = metric_table([as_file(trained["er", 0].scores(), tmp_path / "theirs.csv")], **FEW)
    assert set(card["metric"]) == set(DETECTION)
    assert card.attrs["notes"] == [
        f"{tmp_path / 'theirs.csv'}: its stream is not known, so there are no continual metrics; --stream tells it"
    ]
    with pytest.raises(UserError, match="--stream is given, but there are only runs, which know theirs"):
        metric_table([trained["er", 0]], stream=STREAM)


def test_a_missing_step_and_a_missing_class_give_nan_never_a_number(trained, tmp_path):
    scores = trained["er", 0].scores().query("split == 'test'")
    last = as_file(scores[scores["step"] == 2], tmp_path / "last.csv")
    card = metric_table([last], stream=STREAM, **FEW).set_index("metric")
    continual = card[card.index.str.contains(": ")]
    known = continual[continual["value"].notna()]
    assert set(known.index) == {f"{m}: {name}" for m in ("accuracy", "AUC") for name in ("average", "unseen")}
    assert continual.drop(known.index)[["low", "high"]].isna().all().all()
    assert set(card.loc[["accuracy"], "step"]) == {2}
    fakes = as_file(scores[(scores["label"] == 1) | (scores["domain"] != "second")], tmp_path / "fakes.csv")
    card = metric_table([fakes], stream=STREAM, **FEW)
    cell = card[(card["domain"] == "second") & (card["step"] == 2)].set_index("metric")
    assert set(cell.index[cell["value"].notna()]) == {"accuracy", "accuracy on fake", "ECE"}
    assert cell.loc[cell["value"].isna(), ["low", "high"]].isna().all().all()
    assert card[card["metric"] == "AUC: average"]["value"].isna().all()
    assert card[card["metric"] == "accuracy: average"]["value"].notna().all()


def test_videos_are_the_means_of_their_frames_beside_the_frames(tmp_path):
    rng = np.random.default_rng(0)
    frames = pd.DataFrame(
        [(f"{v}/{k}.png", "a", v % 2, rng.random(), f"v{v}") for v in range(8) for k in range(v + 1)],
        columns=["image", "domain", "label", "score", "video"],
    )
    alone = pd.DataFrame([("x.png", "a", 0, 0.5, "")], columns=frames.columns)  # belongs to no video
    pd.concat([frames, alone]).to_csv(tmp_path / "v.csv", index=False)
    card = metric_table([tmp_path / "v.csv"], **FEW).set_index("metric")
    assert set(card.index) == {*DETECTION, *(f"{name} of videos" for name in DETECTION)}
    means = frames.groupby("video").agg(label=("label", "first"), score=("score", "mean"))
    want = detection(means["label"].to_numpy(), means["score"].to_numpy())
    for name in DETECTION:
        assert card.loc[f"{name} of videos", "value"] == pytest.approx(want[name])
        assert card.loc[f"{name} of videos", "n"] == 8
        assert card.loc[name, "n"] == 37
    assert card.loc["accuracy of videos", "threshold"] == 0.5
    assert len(metric_table([tmp_path / "v.csv"], metrics=["AUC"], **FEW)) == 2


def test_groups_can_be_taken_for_videos(trained):
    folder = trained["er", 0]
    card = metric_table([folder], video_from="group", **FEW).set_index("metric")
    scores = folder.scores().query("split == 'test' and step == 2 and domain == 'second'")
    means = scores.groupby(["group", "label"])["score"].mean().reset_index()
    got = card.loc["AUC of videos"].query("step == 2 and domain == 'second'")
    assert got["n"].item() == len(means)
    assert got["value"].item() == pytest.approx(sk.roc_auc_score(means["label"], means["score"]))
    assert "AUC of videos: average" in card.index
    with pytest.raises(
        UserError, match="--video-from is 'video'; allowed for er-.*: step, domain, split, image, group"
    ):
        metric_table([folder], video_from="video")


def test_a_split_that_is_not_there_is_told(trained, copied):
    with pytest.raises(UserError, match="--split is 'train'; allowed: test, validation"):
        metric_table([trained["er", 0]], split="train")
    with pytest.raises(UserError, match="copy has no validation scores; there are: test"):
        metric_table([copied(lambda scores: scores[scores["split"] == "test"])], split="validation")


# --- several seeds, several agents ---


def test_means_over_seeds_have_a_t_interval(trained):
    runs = list(trained.values())
    card = metric_table(runs, **FEW)
    means = card[card["run"] == ""]
    assert means["seed"].isna().all()
    assert (means["n"] == 2).all()
    assert set(means["agent"]) == {"er", "sequential"}
    own = card[card["run"] != ""]
    assert 2 * len(means) == len(own)
    assert set(means["metric"]) == set(own["metric"])
    for row in means.itertuples():
        same = own[(own["agent"] == row.agent) & (own["metric"] == row.metric) & (own["domain"] == row.domain)]
        values = same[same["step"].isna() if pd.isna(row.step) else same["step"] == row.step]["value"].to_numpy()
        assert row.value == pytest.approx(values.mean(), nan_ok=True)
        half = stats.t.ppf(0.975, 1) * stats.sem(values)
        assert (row.low, row.high) == pytest.approx((row.value - half, row.value + half), nan_ok=True)
    accuracy = means[means["metric"] == "accuracy"]
    assert set(accuracy["threshold"]) == {0.5}
    assert set(accuracy["threshold_from"]) == {"declared"}
    assert (metric_table([trained["er", 0], trained["sequential", 1]], **FEW)["run"] != "").all()


def test_agents_with_other_options_are_not_taken_for_one(trained, copied):
    options = trained["er", 0].manifest["options"]
    other = copied(name="other", options={**options, "memory": 16, "seed": 3})
    card = metric_table([trained["er", 0], trained["er", 1], other], metrics=["AUC"], **FEW)
    assert set(card["agent"]) == {"er (memory=12)", "er (memory=16)"}
    assert set(card.loc[card["run"] == "", "agent"]) == {"er (memory=12)"}
    with pytest.raises(UserError, match=r"er-.* and copy are both of agent 'er' with seed 0 and the same options"):
        metric_table([trained["er", 0], copied()])


def test_agents_are_compared_over_their_seeds(trained):
    card = metric_table(list(trained.values()), **FEW)
    table = compare_over_seeds(card)
    assert tuple(table.columns) == COMPARISON
    continual = {f"{m}: {name}" for m in ("accuracy", "AUC") for name in (*CONTINUAL, "unseen")}
    assert set(table["metric"]) == {*continual, *DETECTION}
    assert set(table.loc[table["metric"].isin(DETECTION), "step"]) == {2}
    assert set(zip(table["first"], table["second"], strict=True)) == {("er", "sequential")}
    values = card[(card["metric"] == "AUC: learning") & (card["run"] != "")].pivot(
        index="seed", columns="agent", values="value"
    )
    row = table[table["metric"] == "AUC: learning"].iloc[0]
    assert row["difference"] == pytest.approx((values["er"] - values["sequential"]).mean())
    assert row["p"] == pytest.approx(stats.ttest_rel(values["er"], values["sequential"]).pvalue)
    assert row["p_holm"] == row["p"]  # a single pair
    assert row["n"] == 2
    table = compare_over_seeds(metric_table(list(trained.values()), metrics=["EER"], **FEW))
    assert set(zip(table["metric"], table["step"], table["domain"], strict=True)) == {
        ("EER", 2, domain) for domain in (*STREAM, "unseen")
    }
    with pytest.raises(UserError, match="--compare needs two agents with a seed; there: 'er'"):
        compare_over_seeds(metric_table([trained["er", 0], trained["er", 1]], **FEW))


def test_a_file_is_compared_with_runs(trained, tmp_path):
    rng = np.random.default_rng(0)
    parts = []
    for seed in (0, 1):
        own = trained["er", seed].scores().query("split == 'test'").assign(agent="theirs", seed=seed)
        parts.append(own.assign(score=(own["label"] + rng.random(len(own))) / 2))
    pd.concat(parts).to_csv(tmp_path / "theirs.csv", index=False)
    runs = [*trained.values(), tmp_path / "theirs.csv"]
    card = metric_table(runs, stream=STREAM, metrics=["average"], **FEW)
    assert card.attrs["notes"] == []
    table = compare_over_seeds(card)
    assert len(table) == 2 * 3
    for _, part in table.groupby("metric"):
        # Two agents whose seeds happen to differ by the same have no p, and do not count.
        assert part["p_holm"].min() == pytest.approx(min(part["p"].notna().sum() * part["p"].min(), 1))
    means = card[(card["run"] == "") & (card["agent"] == "theirs")].set_index("metric")
    assert means.loc["AUC: average", "value"] == 1


def test_two_runs_are_compared_on_the_same_images(trained):
    runs = [trained["sequential", 0], trained["er", 0]]
    table = compare_on_images(runs, metrics=["accuracy", "accuracy: average", "AUC: unseen"], **FEW)
    assert tuple(table.columns) == COMPARISON
    assert set(zip(table["first"], table["second"], table["spread"], strict=True)) == {("sequential", "er", "groups")}
    card = metric_table(runs, metrics=list(table["metric"].unique()), **FEW)
    for row in table.itertuples():
        same = (card["metric"] == row.metric) & (card["domain"] == row.domain)
        same &= (card["step"] == row.step) if row.step is not pd.NA else card["step"].isna()
        values = card[same].set_index("agent")["value"]
        assert row.difference == pytest.approx(values["sequential"] - values["er"], abs=1e-12)
        assert row.low <= row.high
    average = table.set_index("metric").loc["accuracy: average"]
    expected = paired_difference(*(r.scores() for r in runs), STREAM, **FEW).set_index("metric").loc["average"]
    assert (average["low"], average["high"]) == pytest.approx((expected["low"], expected["high"]), abs=1e-9)


def test_a_file_without_groups_is_compared_with_those_of_the_run(trained, tmp_path):
    scores = trained["er", 0].scores().query("split == 'test'")
    shuffled = scores.assign(group="").sample(frac=1, random_state=0)
    path = as_file(shuffled, tmp_path / "theirs.csv")
    table = compare_on_images([trained["er", 0], path], metrics=["accuracy", "AP"], **FEW)
    assert (table[["difference", "low", "high"]] == 0).all(axis=None)
    assert len(table) == 2 * scores["domain"].nunique()
    worse = as_file(shuffled.assign(score=1 - shuffled["score"]), tmp_path / "worse.csv")
    ours, theirs = (
        compare_on_images([trained["sequential", 0], p], metrics=["AUC"], **FEW) for p in (trained["er", 0], path)
    )
    pd.testing.assert_frame_equal(ours.drop(columns="second"), theirs.drop(columns="second"))
    better = compare_on_images([trained["er", 0], worse], metrics=["AUC"], **FEW)
    auc = metric_table([trained["er", 0]], metrics=["AUC"], **FEW)
    last = auc[auc["step"] == auc["step"].max()].set_index("domain")["value"]
    for row in better.itertuples():
        assert row.difference == pytest.approx(2 * last[row.domain] - 1)


def test_runs_of_one_agent_and_other_images(trained, tmp_path):
    table = compare_on_images([trained["er", 0], trained["er", 1]], metrics=["AUC"], **FEW)
    assert set(table["first"]) == {"er, seed 0"}
    scores = trained["er", 0].scores().query("split == 'test'")
    one = scores["domain"].iloc[0]
    path = as_file(scores[(scores["domain"] != one) | (scores["image"] != scores["image"].iloc[0])], tmp_path / "o.csv")
    assert one not in set(compare_on_images([trained["er", 0], path], metrics=["AUC"], **FEW)["domain"])
    lacking = scores[(scores["domain"] == one) & (scores["image"] != scores["image"].iloc[0])]
    path = as_file(lacking, tmp_path / "p.csv")
    with pytest.raises(UserError, match="have no domain with the same images and labels after their last steps"):
        compare_on_images([trained["er", 0], path], **FEW)
    with pytest.raises(UserError, match="--compare needs two runs or files; there: "):
        compare_on_images([path], **FEW)


def test_other_images_and_other_streams_are_told(trained, tmp_path):
    scores = trained["er", 0].scores().query("split == 'test'")
    path = as_file(scores[scores["image"] != scores["image"].iloc[0]], tmp_path / "fewer.csv")
    notes = metric_table([trained["er", 0], path], stream=STREAM[::-1], metrics=["seconds"]).attrs["notes"]
    run_name = trained["er", 0].path.name
    assert notes == [
        f"{run_name} and {path} were trained on other streams: their averages tell other things",
        f"{run_name} and {path} were tested on other images of first: differences may be theirs",
    ]


# --- the command ---


def made(path, cells, seed=0):
    """A file with scores of random images: for each (step, domain) so many."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"{domain}{i}.png", domain, i % 2, step, round(float(rng.uniform(0, 0.7) + 0.3 * (i % 2)), 3))
        for (step, domain), count in cells.items()
        for i in range(count)
    ]
    pd.DataFrame(rows, columns=["image", "domain", "label", "step", "score"]).to_csv(path, index=False)
    return path


def test_only_what_both_have_after_the_last_step_is_compare_over_seeds(tmp_path):
    every = {(step, domain): 40 for step in (1, 2) for domain in "AB"}
    whole = made(tmp_path / "whole.csv", every)
    lacks = made(tmp_path / "lacks.csv", {cell: n for cell, n in every.items() if cell != (2, "A")}, seed=1)
    table = compare_on_images([whole, lacks], metrics=["AUC"], stream=["A", "B"], **FEW)
    assert list(table["domain"]) == ["B"]
    assert table.attrs["notes"] == [
        "whole and lacks are not compared on A: there they were not tested on the same images"
    ]
    card = metric_table([whole, lacks], metrics=["AUC"], **FEW).query("step == 2 and domain == 'B'")
    values = card.set_index("agent")["value"]
    assert table["difference"].iloc[0] == pytest.approx(values["whole"] - values["lacks"], abs=1e-12)
    half = made(tmp_path / "half.csv", {**every, (2, "A"): 20, (2, "B"): 20})
    with pytest.raises(UserError, match="whole and half have no domain with the same images and labels"):
        compare_on_images([whole, half], **FEW)
    once = made(tmp_path / "once.csv", {(1, "A"): 40, (1, "B"): 40})
    table = compare_on_images([whole, once], metrics=["AUC"], **FEW)
    assert table["step"].isna().all()
    assert table.attrs["notes"] == ["whole and once are compared after steps 2 and 1, their last ones"]


def test_files_of_one_name_are_told_apart(tmp_path):
    files = []
    for seed, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        files.append(made(tmp_path / folder / "scores.csv", {(1, "A"): 20}, seed=seed))
    table = compare_on_images(files, metrics=["AUC"], **FEW)
    assert [*table["first"], *table["second"]] == [f"scores of {path}" for path in files]


def test_what_is_not_defined_and_what_has_no_seed_is_told(trained, tmp_path, capsys):
    path = made(tmp_path / "theirs.csv", {(1, "A"): 20})
    words = ["metrics", *(str(folder.path) for folder in trained.values()), str(path), "--compare", "--metric", "AUC"]
    assert main([*words, "--resamples", "5"]) == 0
    assert "note: theirs has no seed, so it is not compared with the others" in capsys.readouterr().err
    reals = pd.read_csv(path).query("label == 0")
    reals.to_csv(path, index=False)
    words = ["metrics", str(path), "--metric", "AUC", "--resamples", "5"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert f"note: {path}: A has real images only, so AUC, AP, EER and others are NaN\n" in told.err
    assert "NaN" in told.out.splitlines()[1].split()
    assert main([*words, "--format", "csv"]) == 0
    assert ",AUC,NaN," in capsys.readouterr().out


def test_the_command_prints_a_table(trained, capsys):
    names = [folder.path.name for folder in trained.values()]
    words = ["metrics", *names, "--metric", "average", "seconds", "--resamples", "20", "--compare"]
    assert main(words) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    lines = first.splitlines()
    assert lines[0].split()[:7] == ["run", "agent", "seed", "step", "domain", "metric", "value"]
    assert len(lines) == 1 + (4 + 2) * 3
    assert any(line.startswith(names[0]) and "AUC: average" in line and "[" in line for line in lines)
    assert second.splitlines()[0].split()[:5] == ["metric", "step", "domain", "first", "second"]
    assert len(second.splitlines()) == 3
    assert "nan" not in (first + second).lower()


def test_the_command_writes_csv_json_and_parquet(trained, tmp_path, capsys):
    names = [folder.path.name for folder in trained.values()]
    words = ["metrics", *names, "--resamples", "20", "--compare"]
    card = metric_table(names, resamples=20)
    assert main([*words, "--out", str(tmp_path / "o.csv")]) == 0
    assert main([*words, "--out", str(tmp_path / "o.parquet")]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "o.parquet"), card)
    read = pd.read_csv(tmp_path / "o.csv", keep_default_na=False)
    assert list(read.columns) == list(COLUMNS)
    np.testing.assert_array_equal(pd.to_numeric(read["value"]), card["value"])
    assert len(pd.read_csv(tmp_path / "o-compare.csv")) == len(pd.read_parquet(tmp_path / "o-compare.parquet")) == 47
    assert main([*words, "--out", str(tmp_path / "o.json")]) == 0
    assert capsys.readouterr().out == ""
    whole = json.loads((tmp_path / "o.json").read_text())
    assert set(whole) == {"metrics", "comparisons", "notes"}
    assert len(whole["metrics"]) == len(card)
    cost = next(row for row in whole["metrics"] if row["metric"] == "seconds")
    assert cost["low"] is cost["n"] is cost["step"] is None
    assert main([*words, "--format", "csv"]) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert len(pd.read_csv(io.StringIO(first))) == len(card)
    assert len(pd.read_csv(io.StringIO(second))) == 47


def test_the_command_takes_a_file_and_says_what_it_lacks(tmp_path, capsys):
    path = tmp_path / "theirs.csv"
    path.write_text("image,domain,label,score\n1.png,a,0,0.1\n2.png,a,1,0.9\n3.png,a,0,0.3\n4.png,a,1,0.2\n")
    assert main(["metrics", str(path), "--metric", "AUC", "--format", "csv", "--resamples", "50"]) == 0
    told = capsys.readouterr()
    row = pd.read_csv(io.StringIO(told.out)).iloc[0]
    assert (row["value"], row["n"], row["agent"], row["step"]) == (0.75, 4, "theirs", 1)
    assert told.err == f"note: {path}: its stream is not known, so there are no continual metrics; --stream tells it\n"


def test_the_command_compares_two_files(tmp_path, capsys):
    rows = [(f"{i}.png", i % 2, 0.3 + 0.4 * (i % 2), 0.5 - 0.1 * (i % 3)) for i in range(12)]
    for name, column in (("a", 2), ("b", 3)):
        text = "".join(f"{row[0]},x,{row[1]},{row[column]}\n" for row in rows)
        (tmp_path / f"{name}.csv").write_text("image,domain,label,score\n" + text)
    words = ["metrics", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--compare", "--metric", "accuracy"]
    assert main([*words, "--resamples", "50"]) == 0
    line = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert line[0].split() == [
        "metric",
        "step",
        "domain",
        "first",
        "second",
        "difference",
        *["[95", "%", "interval]"],
        "n",
    ]
    assert line[1].split()[:6] == ["accuracy", "1", "x", "a", "b", f"{1 - 6 / 12:.4f}"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing"], "'nothing' is no run and no table of scores; allowed: a finished run's folder"),
        (["x" * 300 + ".csv"], "'xxxxxxxxxx"),
        (["~nobody-here/a.csv"], "'~nobody-here/a.csv' is no run and no table of scores"),
        (["semicolons.csv"], "semicolons.csv separates its columns by ';'; needed: commas"),
        (["bad.csv"], "bad.csv, row 3 has label 'x'; allowed: 0 or real, 1 or fake"),
        (["good.csv", "--metric", "AUK"], "--metric is 'AUK'; allowed: accuracy"),
        (["good.csv", "--threshold", "low"], "--threshold is 'low'; allowed: a number, or validation"),
        (["good.csv", "--stream", "a,b"], "--stream has 'b', of which good.csv has no scores; there: a"),
        (["good.csv", "--resamples", "0"], "--resamples is 0; allowed: a whole number from 1"),
        (["good.csv", "--split", "validation"], "good.csv has no validation scores; there are: test"),
        (["good.csv", "--compare"], "--compare needs two runs or files; there: good.csv"),
        (["good.csv", "--format", "parquet"], "--format is 'parquet'; needed besides: --out with a file"),
        (["good.csv", "--out", "."], "--out . is a folder; needed: a file"),
        (["good.csv", "--out", "good.csv/o.csv"], "--out good.csv/o.csv cannot be written"),
    ],
)
def test_mistakes_are_told_in_a_sentence(root, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(root)
    head = "image,domain,label,score\n1.png,a,0,0.1\n"
    (root / "good.csv").write_text(head + "2.png,a,1,0.1\n")
    (root / "semicolons.csv").write_text("image;domain;label;score\n1.png;a;0;0,1\n")
    (root / "bad.csv").write_text(head + "2.png,a,x,0.1\n")
    assert main(["metrics", *words]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"cldf: {sentence}")
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_neither_help_waits_for_the_heavy_libraries():
    for words in (["--help"], ["metrics", "--help"]):
        code = (
            "import sys; from cldf_core.cli import main\n"
            f"try: main({words})\nexcept SystemExit: pass\n"
            "print({'torch', 'pandas', 'scipy'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "metrics" in done.stdout
        assert done.stdout.splitlines()[-1] == "set()"


def test_measuring_runs_does_not_load_torch(trained):
    code = (
        "import sys; from cldf_core.cli import main\n"
        f"main(['metrics', {str(trained['er', 0].path)!r}, '--metric', 'AUC', '--resamples', '5'])\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
