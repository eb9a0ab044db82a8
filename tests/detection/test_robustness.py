"""Robustness: versions of images, scores against a slow way, tables that are kept, curves against numbers by hand."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from scipy import stats

from cldf_core import figures
from cldf_core.data.corruptions import SEVERITIES, VERSIONS, versions
from cldf_core.data.images import ImageProblem, open_image
from cldf_core.detection import robustness
from cldf_core.evaluation.metrics import detection
from cldf_core.evaluation.robustness import curves, halved, survival, trace_curves
from cldf_core.options import UserError
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.run import find_run, load_spectra, make_run
from cldf_core.spectrum import log_magnitude, log_spectrum
from samples import make_data, photo, tiny_options

AT = {name: place for place, name in enumerate(VERSIONS)}


def test_a_sample_takes_pairs_from_all_groups_alike():
    rows = [(f"{kind}/{g}-{k}.{end}", label, g) for label, kind, end in ((0, "real", "jpg"), (1, "fake", "png"))
            for g, n in (("a", 9), ("b", 2), ("c", 5)) for k in range(n)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["image", "label", "group"])
    chosen = robustness.sample(table, 8)
    counts = chosen.groupby(["label", "group"]).size().unstack()
    assert counts.loc[0].equals(counts.loc[1])
    assert counts.loc[0].tolist() == [3, 2, 3]
    stems = [{Path(i).stem for i in chosen.loc[chosen["label"] == label, "image"]} for label in (0, 1)]
    assert stems[0] == stems[1]
    assert chosen.index.is_monotonic_increasing
    shuffled = table.sample(frac=1, random_state=0)
    assert set(robustness.sample(shuffled, 8)["image"]) == set(chosen["image"])
    pd.testing.assert_frame_equal(robustness.sample(table, None), table)
    assert set(robustness.sample(table, 3)["group"]) == {"a", "b", "c"}


# --- scores ---

AGENTS = ("separate", "icarl", "er")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with three runs, and what was measured with them."""
    patch = pytest.MonkeyPatch()
    root = tmp_path_factory.mktemp("robustness")
    patch.setenv("CLDF_ROOT", str(root))
    patch.setenv("CLDF_PROGRESS", "0")
    data = make_data(root / "data" / "own", test=5)
    runs = {agent: make_run(tiny_options(agent, data, epochs=1)) for agent in AGENTS}
    domains = load_spectra(tiny_options("er", data))
    yield root, runs, domains, robustness.measure(runs, domains, root / "kept", images=3)
    patch.undo()


def test_scores_are_those_of_the_slow_way(made):
    _, runs, domains, measured = made
    rows = measured.scores.sample(60, random_state=0)
    assert set(rows["agent"]) == set(AGENTS)
    for row in rows.itertuples():
        stream = runs[row.agent].manifest["options"]["stream"]
        step = stream.index(row.domain) + 1 if row.agent == "separate" else len(stream)
        network, options = load_network(runs[row.agent].path / f"model-step{step}.safetensors")
        pixels = open_image(domains[row.domain].root / row.image)
        version = versions(pixels, 32, seed=[options.seed, zlib.crc32(row.image.encode())])
        spectrum = log_spectrum(version[AT[row.corruption, row.severity]][None]).astype(np.float16)
        with torch.no_grad():
            logit = float(network.fake_logits(torch.from_numpy(spectrum).float())[0])
        assert row.logit == pytest.approx(logit, abs=1e-4)
        assert row.score == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)


def test_images_as_stored_have_the_scores_of_the_run(made):
    _, runs, _, measured = made
    for agent, run in runs.items():
        own = measured.scores.query("agent == @agent and corruption == 'stored'")
        said = run.scores().query("split == 'test'")
        last = {"first": 1, "second": 2, "third": 3} if agent == "separate" else dict.fromkeys(own["domain"], 3)
        said = said[said["step"] == said["domain"].map(last)]
        both = own.merge(said, on=["domain", "image", "label", "group"], suffixes=("", "_run"))
        assert len(both) == len(own)
        np.testing.assert_allclose(both["logit"], both["logit_run"], atol=1e-4)


def test_the_table_is_complete_and_both_classes_are_alike(made):
    _, _, _, measured = made
    scores = measured.scores
    assert list(scores.columns) == [
        "agent", "domain", "corruption", "severity", "image", "group", "label", "logit", "score"
    ]  # fmt: skip
    sizes = scores.groupby(["agent", "domain", "corruption", "severity", "label"]).size()
    assert set(sizes) == {3}
    assert len(sizes) == len(VERSIONS) * 2 * (3 + 4 + 4)  # separate models do not score the unseen domain
    assert not scores.duplicated(["agent", "domain", "corruption", "severity", "image"]).any()
    assert set(scores.loc[scores["agent"] == "separate", "domain"]) == {"first", "second", "third"}
    images = scores.groupby(["corruption", "severity"])["image"].agg(lambda names: tuple(sorted(set(names))))
    assert images.nunique() == 1


def test_traces_are_those_of_single_images(made):
    _, _, domains, measured = made
    for row in measured.traces.sample(30, random_state=1).itertuples():
        seed = [0, zlib.crc32(row.image.encode())]
        version = versions(open_image(domains[row.domain].root / row.image), 32, seed=seed)
        plane = log_magnitude(version[AT[row.corruption, row.severity]][None])[0].mean(0)
        if row.trace.startswith("grid"):
            line = 32 // int(row.trace.split()[1])
            beside = [line - 1, line - 2] if line == 16 else [line - 2, line - 1, line + 1, line + 2]
            across, down = plane[:, 4:12].mean(1), plane[4:12].mean(0)
            want = (across[line] + down[line]) / 2 - np.mean([(across[k] + down[k]) / 2 for k in beside])
        else:
            fy, fx = np.abs(np.fft.fftfreq(32))[:, None] * 2, np.fft.rfftfreq(32)[None] * 2
            low, high = {"low": (0, 0.53), "mid": (0.53, 0.81), "high": (0.81, 2)}[row.trace]
            r = np.maximum(fy, fx)
            want = plane[(r >= low) & (r < high)].mean()
        assert row.value == pytest.approx(want, abs=1e-4)


def test_other_processes_and_other_blocks_give_the_same(made, monkeypatch):
    root, runs, domains, measured = made
    monkeypatch.setattr(robustness, "BLOCK", 4)
    two = {name: domains[name] for name in ("second", "unseen")}
    again = robustness.measure(runs, two, root / "in-processes", images=3, workers=2)
    for table, want in ((again.scores, measured.scores), (again.traces, measured.traces)):
        want = want[want["domain"].isin(list(two))].reset_index(drop=True)
        pd.testing.assert_frame_equal(table, want, rtol=0, atol=1e-5)


def test_a_second_call_reads_and_another_question_measures(made, monkeypatch):
    root, runs, domains, measured = made
    before = {p: p.stat().st_mtime_ns for p in (root / "kept").glob("*.parquet")}
    monkeypatch.setattr(robustness, "versions", None)  # nothing can be measured
    monkeypatch.setattr(robustness, "load_network", None)
    again = robustness.measure(runs, domains, root / "kept", images=3)
    pd.testing.assert_frame_equal(again.scores, measured.scores)
    assert {p: p.stat().st_mtime_ns for p in (root / "kept").glob("*.parquet")} == before
    for changes in ({"images": 2}, {"runs": {"er": runs["er"]}}):
        with pytest.raises(TypeError):
            robustness.measure(**{"runs": runs, "domains": domains, "folder": root / "kept", "images": 3, **changes})


def test_what_is_missing_or_does_not_fit_is_told_in_a_sentence(made, tmp_path):
    root, runs, domains, _ = made
    with pytest.raises(UserError, match=r"there is no finished run of 'mir' with these options"):
        find_run(tiny_options("mir", root / "data" / "own", epochs=1))
    lame = RunFolder(tmp_path / runs["er"].path.name)
    shutil.copytree(runs["er"].path, lame.path)
    (lame.path / "model-step3.safetensors").unlink()
    with pytest.raises(UserError, match=r"the run of 'er' lacks .*model-step3.safetensors; delete its folder and run"):
        robustness.measure({"er": lame}, domains, tmp_path)
    with pytest.raises(UserError, match="there is no image of split 'validation' in first, second, third, unseen"):
        robustness.measure(runs, domains, tmp_path, split="validation")
    other = make_run(tiny_options("er", root / "data" / "own", epochs=1, band="low"))
    with pytest.raises(UserError, match="band is 'low' in the run of 'er' and 'full' in that of 'icarl'; needed: runs"):
        robustness.measure({"icarl": runs["icarl"], "er": other}, domains, tmp_path)
    assert not list(tmp_path.glob("*.parquet"))


def test_an_image_that_cannot_be_processed_is_left_out_of_all_versions(made, monkeypatch, capsys):
    root, runs, domains, measured = made
    (bad,) = measured.scores.query("domain == 'second' and label == 1")["image"].unique()[:1]
    original = open_image

    def open_some(path: Path) -> np.ndarray:
        if path.as_posix().endswith(bad):
            raise ImageProblem("gone")
        return original(path)

    monkeypatch.setattr(robustness, "open_image", open_some)
    left = robustness.measure(runs, domains, root / "one-less", images=3)
    assert f"note: second: 1 images left out, the first is {bad}: gone" in capsys.readouterr().err
    want = measured.scores[measured.scores["image"] != bad].reset_index(drop=True)
    pd.testing.assert_frame_equal(left.scores, want, rtol=0, atol=1e-5)


# --- curves ---


def test_curves_are_the_metrics_with_group_intervals(made):
    _, _, _, measured = made
    table = curves(measured.scores, ["first", "second", "third"], resamples=50)
    assert list(table.columns) == [
        "agent", "domain", "corruption", "severity", "metric", "value", "low", "high", "n"
    ]  # fmt: skip
    assert len(table) == 3 * len(VERSIONS) * (4 + 5 + 5)
    for row in table[table["domain"] != "average"].sample(40, random_state=0).itertuples():
        own = measured.scores.query(
            "agent == @row.agent and domain == @row.domain and corruption == @row.corruption and "
            "severity == @row.severity"
        )
        want = detection(own["label"].to_numpy(), own["score"].to_numpy())[row.metric]
        assert row.value == pytest.approx(want)
        assert row.n == len(own) == 6
    keys = ["agent", "corruption", "severity", "metric"]
    trained = table[table["domain"].isin(["first", "second", "third"])].groupby(keys)["value"].mean()
    average = table[table["domain"] == "average"].set_index(keys)["value"]
    pd.testing.assert_series_equal(average.sort_index(), trained.sort_index())
    assert (table["low"] <= table["high"]).all()


def scores_of(right: dict[tuple[str, float], list[list[int]]]) -> pd.DataFrame:
    """One agent, one domain; for each version and group, which images (real and fake in turn) are right."""
    rows = []
    for (name, severity), groups in right.items():
        for group, of_group in enumerate(groups):
            for k, good in enumerate(of_group):
                label = k % 2
                score = 0.9 if label == good else 0.1
                image = f"{group}/{k}"
                rows.append(("er", "a", name, severity, image, str(group), label, 0.0, score))
    columns = ["agent", "domain", "corruption", "severity", "image", "group", "label", "logit", "score"]
    return pd.DataFrame(rows, columns=columns)


def test_intervals_come_from_whole_groups():
    # 30 groups, all right or all wrong: the spread is that of 30 coins, however many images a group has.
    right = [[int(g < 21)] * 8 for g in range(30)]
    table = curves(scores_of({("none", 0.0): right}), ["a"])
    for row in table[table["metric"] == "balanced accuracy"].itertuples():
        half = 1.96 * np.sqrt(0.7 * 0.3 / 30)
        assert row.value == pytest.approx(0.7)
        assert (row.high - row.low) / 2 == pytest.approx(half, rel=0.15)
        assert row.n == 240


def test_domains_that_share_groups_are_drawn_together():
    # The second domain repeats the first, so their average is as uncertain as one of them; apart it would be less.
    rng = np.random.default_rng(0)
    right = [[int(rng.random() < p)] * 8 for p in np.linspace(0.3, 1, 30)]
    one = scores_of({("none", 0.0): right, ("JPEG", 30.0): right[::-1]})
    table = curves(pd.concat([one, one.assign(domain="b"), one.assign(domain="c", score=0.5)]), ["a", "b"])
    keys = ["corruption", "severity", "metric"]
    of_domain, average = (table[table["domain"] == name].set_index(keys) for name in ("a", "average"))
    pd.testing.assert_frame_equal(average[["value", "low", "high"]], of_domain[["value", "low", "high"]])
    assert (average["n"] == 2 * of_domain["n"]).all()
    assert (average["high"] > average["low"]).all()


def curve_of(**values: list[float]) -> pd.DataFrame:
    """A table like that of `curves`, for agent er; none first, then the corruption's severities, mildest first."""
    rows = [("none", 0.0, values.pop("none")[0])]
    rows += [(name, s, v) for name, own in SEVERITIES.items() for s, v in zip(own, values[name], strict=True)]
    table = pd.DataFrame(rows, columns=["corruption", "severity", "value"])
    return table.assign(
        agent="er",
        domain="average",
        metric="balanced accuracy",
        low=table["value"] - 0.05,
        high=table["value"] + 0.05,
        n=9,
    )


def test_half_of_the_gain_is_found_by_hand():
    table = curve_of(
        none=[0.9],
        JPEG=[0.9, 0.8, 0.69, 0.75, 0.6, 0.5],  # half of 0.4 is left at 0.7
        resize=[0.71, 0.8, 0.8, 0.4],
        blur=[0.8] * 5,
        noise=[0.7, 0.9, 0.9, 0.9, 0.9],
    )
    found = halved(table, SEVERITIES).set_index("corruption")
    assert found["severity"].fillna(-1).to_dict() == {"JPEG": 80, "resize": 0.5, "blur": -1, "noise": 0.05}
    assert found["tried"].fillna(-1).to_dict() == {"JPEG": 3, "resize": 4, "blur": -1, "noise": 1}
    assert found["left"].to_dict() == pytest.approx({"JPEG": 0, "resize": -0.25, "blur": 0.75, "noise": 0.5})
    assert found["gain"].tolist() == pytest.approx([0.4] * 4)
    # An agent that cannot be told from guessing has nothing to be halved.
    lost = halved(table.assign(value=0.52, low=0.47), SEVERITIES)
    assert not lost["known"].any()
    assert lost["severity"].isna().all()


def test_trace_curves_are_means_over_groups_with_t_intervals():
    rows = []
    values = {("g", 0): [1.0, 3.0], ("g", 1): [5.0], ("h", 0): [4.0], ("h", 1): [9.0, 11.0], ("k", 1): [20.0]}
    for (group, label), own in values.items():
        rows += [("grid 2", "a", "none", 0.0, f"{group}{label}{k}", group, label, v) for k, v in enumerate(own)]
    columns = ["trace", "domain", "corruption", "severity", "image", "group", "label", "value"]
    table = trace_curves(pd.DataFrame(rows, columns=columns)).set_index("class")
    assert table["value"].to_dict() == pytest.approx(
        {"real": 3.0, "fake": (5 + 10 + 20) / 3, "fake − real": (3 + 6 + 17) / 3}
    )
    assert table["n"].to_dict() == {"real": 2, "fake": 3, "fake − real": 3}
    spread = stats.sem([3, 6, 17])
    low, high = stats.t.interval(0.95, 2, 26 / 3, spread)
    assert table.loc["fake − real", ["low", "high"]].tolist() == pytest.approx([low, high])


def test_a_trace_survives_as_long_as_its_interval_is_on_its_side():
    def rows(trace: str, stored: float, once: float, of: dict[str, list[float]]) -> list[tuple]:
        own = [(trace, "stored", 0.0, stored), (trace, "none", 0.0, once)]
        for name, severities in SEVERITIES.items():
            own += [(trace, name, s, v) for s, v in zip(severities, of.get(name, [once] * 9), strict=False)]
        return own

    listed = rows("high", -1.1, -1.0, {"JPEG": [-1, -0.5, -0.05, -0.5, -0.5, -0.5], "blur": [-1, 0.5, 1, 1, 1]})
    listed += rows("grid 2", 0.05, 0.5, {})  # its interval holds 0: not shown in the images as they are stored
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


# --- figures ---


def test_figures_are_drawn_from_the_tables(made):
    _, _, domains, measured = made
    stream = ["first", "second", "third"]
    table = curves(measured.scores, stream, resamples=20)
    traces = trace_curves(measured.traces)
    square = photo().transpose(2, 0, 1)
    plane = log_magnitude(square[None])[0].mean(0)
    drawn = [
        figures.corrupted_examples({"none": square, "blur 2": square}, {"none": plane, "blur 2": plane}),
        figures.differences_left(
            {"first": np.stack([plane, -plane]), "unseen": np.zeros((2, 32, 17))}, ["none", "JPEG 30"], stream
        ),
        figures.common_step(table[table["domain"] != "average"], stream),
        figures.against_severity(table),
        *(figures.verdicts_and_traces(table, traces, name, stream) for name in SEVERITIES),
    ]
    left, overview, jpeg = drawn[1], drawn[3], drawn[4]
    ticks = [[t.get_text() for t in ax.get_xticklabels()] for ax in overview.axes[4:8]]
    assert ticks[0] == ["stored", "none", "95", "90", "80", "70", "50", "30"]
    assert ticks[1:] == [
        ["0.5", "0.75", "1", "1.25", "1.5"],
        ["0", "0.5", "0.75", "1", "1.5", "2"],
        ["0", ".05", ".1", ".2", ".5", "1"],
    ]
    # The line of ER in the JPEG panel of the overview, point by point.
    own = table.query("agent == 'er' and domain == 'average' and metric == 'accuracy'")
    own = own.set_index(["corruption", "severity"])["value"]
    want = [own["stored", 0.0], own["none", 0.0], *(own["JPEG", q] for q in (95, 90, 80, 70, 50, 30))]
    (line,) = [line for line in overview.axes[0].lines if line.get_label() == "ER (random)"]
    np.testing.assert_allclose(line.get_ydata(), want)
    assert [ax.get_ylabel() for ax in left.axes[:4:2]] == ["first", "unseen\n(never\ntrained on)"]
    np.testing.assert_array_equal(np.fft.ifftshift(left.axes[0].images[0].get_array())[:, :17], plane)
    assert left.axes[0].images[0].get_clim() == left.axes[3].images[0].get_clim()
    assert [text.get_text() for text in jpeg.legends[0].texts] == [figures.agent_name(agent) for agent in AGENTS]
    titles = [ax.get_title() for ax in jpeg.axes[:4]]
    assert titles == ["first", "second", "third", "unseen\n(never trained on)"]
    for figure in drawn:
        figure.canvas.draw()
        plt.close(figure)
    assert set(domains) == {"first", "second", "third", "unseen"}
