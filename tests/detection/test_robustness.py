"""Robustness: versions of images, scores against a slow way, tables that are kept, curves against numbers by hand."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cldf_core.data.corruptions import VERSIONS, versions
from cldf_core.data.images import ImageProblem, open_image
from cldf_core.detection import robustness
from cldf_core.options import UserError
from cldf_core.randomness import seed_sequence
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.run import find_run, load_spectra, make_run
from cldf_core.spectrum import log_magnitude, log_spectrum
from samples import make_data, tiny_options

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
    yield root, runs, domains, robustness.robustness_tables(runs, domains, root / "kept", images=3)
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
        version = versions(pixels, 32, seed=seed_sequence(options.seed, "robustness", row.image))
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
    keys = ["agent", "domain", "corruption", "severity"]
    assert list(scores.columns) == [*keys, "image", "group", "label", "logit", "score"]
    sizes = scores.groupby([*keys, "label"]).size()
    assert set(sizes) == {3}
    assert len(sizes) == len(VERSIONS) * 2 * (3 + 4 + 4)  # separate models do not score the unseen domain
    assert not scores.duplicated([*keys, "image"]).any()
    assert set(scores.loc[scores["agent"] == "separate", "domain"]) == {"first", "second", "third"}
    images = scores.groupby(["corruption", "severity"])["image"].agg(lambda names: tuple(sorted(set(names))))
    assert images.nunique() == 1


def test_traces_are_those_of_single_images(made):
    _, _, domains, measured = made
    for row in measured.traces.sample(30, random_state=1).itertuples():
        seed = seed_sequence(0, "robustness", row.image)
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
    again = robustness.robustness_tables(runs, two, root / "in-processes", images=3, workers=2)
    for table, want in ((again.scores, measured.scores), (again.traces, measured.traces)):
        want = want[want["domain"].isin(list(two))].reset_index(drop=True)
        pd.testing.assert_frame_equal(table, want, rtol=0, atol=1e-5)


def test_a_second_call_reads_and_another_question_measures(made, monkeypatch):
    root, runs, domains, measured = made
    before = {p: p.stat().st_mtime_ns for p in (root / "kept").glob("*.parquet")}
    monkeypatch.setattr(robustness, "versions", None)  # nothing can be measured
    monkeypatch.setattr(robustness, "load_network", None)
    again = robustness.robustness_tables(runs, domains, root / "kept", images=3)
    pd.testing.assert_frame_equal(again.scores, measured.scores)
    assert {p: p.stat().st_mtime_ns for p in (root / "kept").glob("*.parquet")} == before
    for some, images in ((runs, 2), ({"er": runs["er"]}, 3)):
        with pytest.raises(TypeError):
            robustness.robustness_tables(some, domains, root / "kept", images=images)


def test_what_is_missing_or_does_not_fit_is_told_in_a_sentence(made, tmp_path):
    root, runs, domains, _ = made
    with pytest.raises(UserError, match=r"there is no finished run of 'mir' with these options"):
        find_run(tiny_options("mir", root / "data" / "own", epochs=1))
    lame = RunFolder(tmp_path / runs["er"].path.name)
    shutil.copytree(runs["er"].path, lame.path)
    (lame.path / "model-step3.safetensors").unlink()
    with pytest.raises(UserError, match=r"the run of 'er' lacks .*model-step3.safetensors; delete its folder and run"):
        robustness.robustness_tables({"er": lame}, domains, tmp_path)
    with pytest.raises(UserError, match="there is no image of split 'validation' in first, second, third, unseen"):
        robustness.robustness_tables(runs, domains, tmp_path, split="validation")
    other = make_run(tiny_options("er", root / "data" / "own", epochs=1, band="low"))
    with pytest.raises(UserError, match="band is 'low' in the run of 'er' and 'full' in that of 'icarl'; needed: runs"):
        robustness.robustness_tables({"icarl": runs["icarl"], "er": other}, domains, tmp_path)
    assert not list(tmp_path.glob("*.parquet"))


def test_an_image_that_cannot_be_processed_is_left_out_of_all_versions(made, monkeypatch, capsys):
    root, runs, domains, measured = made
    (bad,) = measured.scores.query("domain == 'second' and label == 1")["image"].unique()[:1]

    def open_some(path: Path) -> np.ndarray:
        if path.as_posix().endswith(bad):
            raise ImageProblem("gone")
        return open_image(path)

    monkeypatch.setattr(robustness, "open_image", open_some)
    left = robustness.robustness_tables(runs, domains, root / "one-less", images=3)
    assert f"note: second: 1 image left out, the first is {bad}: gone" in capsys.readouterr().err
    want = measured.scores[measured.scores["image"] != bad].reset_index(drop=True)
    pd.testing.assert_frame_equal(left.scores, want, rtol=0, atol=1e-5)
