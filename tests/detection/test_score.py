"""Scores of images from outside: the same numbers as a run's own, every file accounted for, every verdict explained."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cldf_core.data.images import open_crop
from cldf_core.data.runtime import thread_count
from cldf_core.detection import detector as detectors
from cldf_core.detection import score as scoring
from cldf_core.detection.detector import Detector, load_detector, share_of_fakes
from cldf_core.detection.pth import ASSUMED
from cldf_core.detection.score import NO_SPECTRUM, files_of, score
from cldf_core.evaluation.calibration import fit_temperature
from cldf_core.evaluation.metrics import best_threshold, detection
from cldf_core.options import Options, UserError
from cldf_core.original.pth import write_checkpoint
from cldf_core.resnet import build_network
from cldf_core.runs.checkpoints import load_network, save_network
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.run import load_spectra, make_run
from cldf_core.spectrum import InputSpec
from cldf_core.stream import Samples
from samples import DAMAGES, SHORT, noisy, picture, texture, tiny_options

STREAM = SHORT["stream"]


# --- the numbers ---


def enlarged(data: Path, folder: Path, side: int) -> Path:
    """A data set's images with sides that long."""
    for path in data.rglob("*.png"):
        (folder / path.relative_to(data)).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.resize((side, side)).save(folder / path.relative_to(data))
    return folder


@pytest.mark.parametrize(
    ("agent", "changes"),
    [
        ("er", {}),
        ("gdumb", {"plane": "full", "precision": "float32", "crop": "top-left", "size": 16}),
        ("icarl", {}),
        ("icarl", {"verdict": "linear"}),
        ("separate", {"channels": "BGR", "band": "high"}),
        ("joint", {"feature": "image"}),
        ("sequential", {"mixed_precision": True, "size": 80}),
    ],
)
@pytest.mark.parametrize("step", [1, 2])
def test_scores_are_those_of_the_run(agent, changes, step, trained, tmp_path):
    _, data, _ = trained
    if changes.get("size") == 80:
        data = enlarged(data, tmp_path / "large", 80)
    folder = make_run(tiny_options(agent, data, **SHORT, **changes))
    want = folder.scores().query("step == @step and split == 'test'")
    detector = load_detector(str(folder.path), step=step, band=0)
    got = score([data / image for image in want["image"]], detector)
    assert list(got.columns) == ["file", "logit", "probability", "verdict", "reason"]
    # In bfloat16 a sum's rounding depends on the batch that it is computed in.
    rough = "mixed_precision" in changes
    np.testing.assert_allclose(got["logit"], want["logit"], atol=0.05 if rough else 1e-5)
    if detector.temperature is None:
        np.testing.assert_allclose(got["probability"], want["score"], atol=0.02 if rough else 1e-5)
    if not rough:
        assert (got["verdict"] == np.where(want["logit"] >= 0, "fake", "real")).all()
    assert (got["reason"] == "").all()
    assert list(detector.trained_on) == ([STREAM[step - 1]] if agent == "separate" else STREAM[:step])


@pytest.mark.parametrize(
    ("agent", "changes"),
    [("er", {}), ("icarl", {"precision": "float32"}), ("sequential", {"mixed_precision": True, "size": 80})],
)
def test_logits_of_stored_spectra_are_those_of_the_run(agent, changes, trained, tmp_path):
    data = enlarged(trained[1], tmp_path / "large", 80)
    options = tiny_options(agent, data, **SHORT, **changes)
    folder, spectra = make_run(options), load_spectra(options)
    network, own = load_network(folder.path / "model-step2.safetensors")
    network.train()  # to see that it is left as it was, and looked at in evaluation mode
    scores = folder.scores().query("step == 2 and split == 'test'")
    for name, stored in spectra.items():
        rows = stored.table.query("split == 'test'")["row"].to_numpy()
        want = scores[scores["domain"] == name]["logit"].to_numpy()
        with thread_count(own.threads):  # and in the run's batches, even bfloat16 rounds alike
            got = detectors.logits_of(network, own, stored.array[rows])
        np.testing.assert_allclose(got, want, atol=1e-6)
    assert network.training
    assert detectors.logits_of(network, own, stored.array[:0]).shape == (0,)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_logits_are_the_networks_however_they_are_cut(count, monkeypatch):
    torch.manual_seed(0)
    network = build_network("slim", width=8).eval()
    monkeypatch.setattr(Samples.parts, "__defaults__", (3,))
    spectra = np.random.default_rng(0).normal(size=(count, 3, 32, 17))
    got = detectors.logits_of(network, Options(precision="float16"), spectra)
    with torch.no_grad():
        outputs = network(torch.from_numpy(spectra).float())
    np.testing.assert_allclose(got, (outputs[:, 1] - outputs[:, 0]).numpy(), atol=1e-5)


def test_the_number_of_workers_and_files_changes_no_bit(trained, monkeypatch):
    folder, data, _ = trained
    detector = load_detector(str(folder.path))
    files = files_of([str(data)]) * 2
    one = score(files, detector, workers=1)
    assert len(one) == 2 * 3 * 2 * 20
    pd.testing.assert_frame_equal(one, score(files, detector, workers=5), check_exact=True)
    submitted, seen = [], []
    submit, logits = scoring.ThreadPoolExecutor.submit, scoring.logits_of
    monkeypatch.setattr(scoring, "AHEAD", 3)
    monkeypatch.setattr(scoring.ThreadPoolExecutor, "submit", lambda *a: submitted.append(a) or submit(*a))
    monkeypatch.setattr(scoring, "logits_of", lambda *a: seen.append(len(submitted)) or logits(*a))
    pd.testing.assert_frame_equal(one, score(files, detector), check_exact=True)
    assert seen == [67, 131, 195, 240]  # never more than 3 files ahead of the network


def test_a_large_image_is_cut_and_turned_as_in_training(trained, tmp_path):
    detector = load_detector(str(trained[0].path))
    large = texture(np.random.default_rng(1), 2, 64)
    Image.fromarray(large).save(tmp_path / "large.png")
    Image.fromarray(large[16:48, 16:48]).save(tmp_path / "cut.png")
    exif = Image.Exif()
    exif[0x0112] = 3  # lies upside down
    Image.fromarray(large[::-1, ::-1]).save(tmp_path / "turned.png", exif=exif)
    got = score([tmp_path / f"{name}.png" for name in ("large", "cut", "turned")], detector)
    assert np.ptp(got["logit"]) < 1e-6  # the last digits depend on the place in a batch, but what is read does not:
    spec = InputSpec.from_options(detector.options)
    whole, *others = (
        spec.network_input(open_crop(tmp_path / f"{n}.png", spec)[None]) for n in ("large", "cut", "turned")
    )
    assert all(np.array_equal(whole, other) for other in others)


# --- calibration, threshold and band ---


def balanced(labels: np.ndarray, p: np.ndarray, threshold: float) -> float:
    return detection(labels, p, threshold=threshold, names=["balanced accuracy"])["balanced accuracy"]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=2, max_size=25).filter(
        lambda rows: {label for label, _ in rows} == {0, 1}
    )
)
def test_the_threshold_is_the_best_one_and_near_a_half(rows):
    labels, p = np.array([r[0] for r in rows]), np.array([r[1] for r in rows]) / 20
    at, accuracy = best_threshold(p, labels)
    assert 0 < at < 1
    assert accuracy == pytest.approx(balanced(labels, p, at))
    grid = np.arange(1, 400) / 400
    values = np.array([balanced(labels, p, t) for t in grid])
    assert accuracy == pytest.approx(values.max())
    # Between two neighbours (1/20 apart or more) the middle is taken, so nothing is nearer by more than half of that.
    nearest = np.abs(grid[values > values.max() - 1e-9] - 0.5).min()
    if nearest < 1e-9:
        assert at == 0.5
    gaps = np.diff(np.unique([0.0, *p, 1.0]))
    assert abs(at - 0.5) <= nearest + gaps.max() / 2 + 1e-9


def test_a_run_with_validation_images_is_calibrated_on_the_domains_seen(copied, trained):
    path = copied(noisy())
    scores = RunFolder(path).scores().query("split == 'validation'")
    found = {}
    for step in (1, 2):
        detector = load_detector(str(path), step=step)
        seen = scores[(scores["step"] == step) & scores["domain"].isin(STREAM[:step])]
        found[step] = fit_temperature(seen["logit"].to_numpy(), seen["label"].to_numpy())
        assert detector.temperature == found[step]
        assert found[step] is not None
        like = f"images like the {12 * step} validation ones, of which 50% are fake"
        assert detector.notes[-1] == f"P(fake) is calibrated for {like}"
        file = load_detector(str(path / f"model-step{step}.safetensors"))
        assert (file.temperature, file.trained_on) == (detector.temperature, detector.trained_on)
    assert found[1] != found[2]
    got = score(files_of([str(trained[1] / "real")]), detector)
    np.testing.assert_allclose(got["probability"], 1 / (1 + np.exp(-got["logit"] / found[2])), atol=1e-12)


def test_the_threshold_can_come_from_validation_images(copied):
    path = copied(lambda row: noisy(row.Index)(row) - 5)
    detector = load_detector(str(path), threshold="validation")
    scores = RunFolder(path).scores().query("split == 'validation' and step == 2 and domain != 'unseen'")
    p, labels = detector.probability(scores["logit"].to_numpy()), scores["label"].to_numpy()
    best = max(balanced(labels, p, t) for t in np.linspace(0.001, 0.999, 999))
    assert balanced(labels, p, detector.threshold) == pytest.approx(best)
    assert detector.threshold_from == f"best on 24 validation images of these domains, balanced accuracy {best:.3f}"
    assert detector.threshold != 0.5
    assert load_detector(str(path)).threshold_from == "declared"


def test_scores_without_an_error_are_said_not_to_calibrate(copied):
    detector = load_detector(str(copied(lambda row: 2.0 * row.label - 1)), threshold="validation")
    assert detector.temperature is None
    assert detector.threshold == 0.5
    assert "P(fake) is not calibrated: no temperature is best" in detector.notes[-1]


def test_a_run_without_validation_images_has_no_threshold_from_them(trained, tmp_path):
    folder = make_run(tiny_options("er", trained[1], **{**SHORT, "splits": ["test"]}))
    detector = load_detector(folder.path.name, threshold=0.25)
    assert (detector.threshold, detector.threshold_from, detector.temperature) == (0.25, "declared", None)
    assert "P(fake) is not calibrated: the model comes without validation scores of both classes" in detector.notes
    with pytest.raises(UserError, match=r"'validation', but runs/er-.* comes without validation scores"):
        load_detector(folder.path.name, threshold="validation")
    alone = shutil.copy(trained[0].path / "model-step2.safetensors", tmp_path)  # away from its run's scores
    assert load_detector(str(alone)).temperature is None
    wrong = shutil.copy(folder.path / "model-step1.safetensors", tmp_path / "model-step1.safetensors")
    shutil.copy(trained[0].path / "manifest.json", tmp_path)  # beside another run's manifest
    with pytest.raises(UserError, match=r"model-step1.safetensors is damaged, changed or missing"):
        load_detector(str(wrong))


@pytest.mark.parametrize("damage", [*DAMAGES, Path.unlink], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["model-step2.safetensors", "scores.parquet", "manifest.json"])
def test_a_run_with_a_damaged_or_missing_file_is_never_scored_with(trained, tmp_path, damage, name):
    folder = shutil.copytree(trained[0].path, tmp_path / "copy")
    damage(folder / name)
    with pytest.raises(UserError, match="copy is no folder of" if damage is Path.unlink and "json" in name else name):
        load_detector(str(folder))


def test_verdicts_have_a_band_between_them(trained):
    path = str(trained[0].path)
    detector = load_detector(path, threshold=0.5, band=0.125)
    assert detector.band == (0.375, 0.625)
    verdicts = [detector.verdict(p) for p in (0, 0.375, 0.376, 0.5, 0.624, 0.625, 1)]
    assert verdicts == ["real", "real", "cannot say", "cannot say", "cannot say", "fake", "fake"]
    detector = load_detector(path, threshold=0.95, band=0.25)
    assert [detector.verdict(p) for p in (0.5, 0.75, 1)] == ["real", "cannot say", "cannot say"]
    detector = load_detector(path, threshold=0.75, band=0)
    assert detector.band is None
    assert [detector.verdict(p) for p in (0.5, 0.7499, 0.75)] == ["real", "real", "fake"]
    strictest = load_detector(path, threshold="1", band=0)
    assert [strictest.verdict(p) for p in (0, 0.999, 1)] == ["real", "real", "fake"]


ALLOWED = {"threshold": "a number from 0 to 1, or validation", "band": "a number from 0 and below 0.5"}
WRONG = [("threshold", value) for value in (-0.5, "1.5", "nan", "half", "0,5", float("inf"))]
WRONG += [("band", value) for value in (-0.1, 0.5, float("nan"))]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_thresholds_and_bands_that_are_none_are_refused(name, value, trained):
    with pytest.raises(UserError, match=f"--{name} is .*; allowed: {ALLOWED[name]}"):
        load_detector(str(trained[0].path), **{name: value})


# --- models ---


def test_models_that_are_none_are_refused(trained, tmp_path):
    folder, _, root = trained
    for name in ("text.csv", "broken.safetensors", "broken.pth"):
        (tmp_path / name).write_bytes(b"not a network")
    killed = shutil.copytree(folder.path, tmp_path / "killed")
    RunFolder(killed).write_manifest({**folder.manifest, "status": "running"})
    for model, step, sentence in (
        ("nothing", None, "--model is 'nothing'; allowed: a run's folder or its name in .*runs"),
        (tmp_path / "text.csv", None, "--model is '.*text.csv'; allowed"),
        (folder.path, 3, "--step is 3; allowed for .*: a whole number from 1 to 2"),
        (folder.path, 0, "--step is 0"),
        (folder.path / "model-step1.safetensors", 1, "--step is 1, but .*safetensors is no run's folder"),
        (root / "set", None, "is no folder of a finished run"),
        (tmp_path / "broken.safetensors", None, "broken.safetensors holds no network that this version can read"),
        (tmp_path / "broken.pth", None, "broken.pth is no checkpoint"),
        (killed, None, "killed is no folder of a finished run"),
    ):
        with pytest.raises(UserError, match=sentence):
            load_detector(str(model), step=step)


def test_icarl_without_its_means_is_refused(trained, tmp_path):
    folder = make_run(tiny_options("icarl", trained[1], **SHORT))
    network, options = load_network(folder.path / "model-step2.safetensors")
    assert network.means.shape == (4, network.head.in_features)
    network.means = None
    save_network(network, options, tmp_path / "model-step2.safetensors")
    with pytest.raises(UserError, match=r"model-step2.* by the means of exemplars.*; allowed: a model"):
        load_detector(str(tmp_path / "model-step2.safetensors"))


def test_checkpoints_of_the_original_kind_are_read(trained, tmp_path):
    folder, data, _ = trained
    network, options = load_network(folder.path / "model-step2.safetensors")
    write_checkpoint(network, options, tmp_path / "CL_ER_second_fft_0_slim_paper_checkpoint_latest.pth")
    detector = load_detector(str(next(tmp_path.glob("*.pth"))))
    assert detector.trained_on == tuple(STREAM)
    assert detector.temperature is None
    files = files_of([str(data)])
    ours = score(files, load_detector(str(folder.path)))
    np.testing.assert_allclose(score(files, detector)["logit"], ours["logit"], atol=1e-5)
    foreign = torch.load(next(tmp_path.glob("*.pth")), weights_only=True)
    torch.save({"state_dict": foreign["state_dict"]}, tmp_path / "theirs.pth")
    detector = load_detector(str(tmp_path / "theirs.pth"))
    assert detector.trained_on == ()
    assert (detector.options.size, detector.options.plane) == (224, "full")
    assert detector.notes[0].startswith(ASSUMED)
    assert "nor does it tell how images were prepared" in detector.notes[1]


def test_a_network_says_what_it_cannot_do(trained, tmp_path):
    network, options = load_network(trained[0].path / "model-step1.safetensors")
    torch.nn.init.constant_(network.head.bias, float("nan"))
    for data, embedded in (("mini", True), (options.data, False)):
        save_network(network, options.model_copy(update={"data": data}), tmp_path / "model-step1.safetensors")
        detector = load_detector(str(tmp_path / "model-step1.safetensors"))
        words = "its verdict about any other image says nothing reliable"
        assert any(words in note for note in detector.notes) == embedded
    got = score([picture(tmp_path / "x.png")], detector)
    assert got[["verdict", "reason"]].to_numpy().tolist() == [["", "the network gives no number for it"]]


# --- files ---


def test_files_folders_and_patterns_are_found_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("b.JPG", "a.png", "deep/er/c.jpeg", "deep/.hidden.png", ".cache/d.png", "deep/text.txt", "odd[1].png")
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()

    def found(*what: str) -> list[str]:
        return [path.as_posix() for path in files_of(what)]

    everything = ["a.png", "b.JPG", "deep/er/c.jpeg", "odd[1].png"]
    assert found(".") == everything
    assert found(str(tmp_path)) == [str(tmp_path / name) for name in everything]
    assert found("deep") == ["deep/er/c.jpeg"]
    assert found("b.JPG", "a.png", "./b.JPG", ".", str(tmp_path / "a.png")) == ["b.JPG", "a.png", *everything[2:]]
    assert found("*.png") == ["a.png", "odd[1].png"]
    assert found("odd[1].png") == ["odd[1].png"]  # its name, not a pattern
    assert found("**") == everything
    assert found("**/*.jpeg") == ["deep/er/c.jpeg"]
    assert found("deep/text.txt", "deep/.hidden.png") == ["deep/text.txt", "deep/.hidden.png"]  # named: taken as it is
    assert found("o*[[]1].png") == ["odd[1].png"]
    Path("set[1]").mkdir()
    Path("set[1]/x.WEBP").touch()
    assert found("set[1]/*") == found("set[1]/**/*.webp".replace("webp", "WEBP")) == ["set[1]/x.WEBP"]
    Path("empty").mkdir()
    for wrong in ("none.png", "*.gif", "deep/*.txt", "empty"):
        with pytest.raises(UserError) as error:
            files_of(["a.png", wrong])
        assert str(error.value).startswith(f"{wrong!r} is, or holds, no image; looked for: .jpg, .jpeg, .png")


def test_every_kind_of_image_is_found_and_the_rest_is_told(trained, tmp_path):
    for name in ("a.webp", "b.BMP", "c.tif", "d.tiff", "e.jfif", "f.jpg", "g.png"):
        picture(tmp_path / name)
    for name in ("notes.txt", "clip.mp4", "more/list.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    told: list[str] = []
    files = files_of([str(tmp_path)], note=told.append)
    assert (score(files, load_detector(str(trained[0].path)))["reason"] == "").all()
    assert len(files) == 7
    ignored = ["1 video was ignored, the first is clip.mp4.", "2 other files were ignored, the first is more/list.csv."]
    assert told == [f"{tmp_path}: {sentence}" for sentence in ignored]
    told.clear()
    assert files_of([str(tmp_path / "*")], note=told.append) == files
    assert [sentence.removeprefix(f"{tmp_path / '*'}: ") for sentence in told] == [
        "more: 1 other file was ignored, the first is list.csv.",
        f"2 other files were ignored, the first is {(tmp_path / 'clip.mp4').as_posix()}.",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="links and FIFOs of POSIX")
def test_what_is_no_regular_file_is_named_and_never_opened(trained, tmp_path, monkeypatch):
    picture(tmp_path / "d" / "a.png")
    monkeypatch.chdir(tmp_path / "d")
    os.mkfifo("pipe.png")
    for name, target in (("up", ".."), ("again", "."), ("round.png", "round.png"), ("gone.png", "nothing")):
        os.symlink(target, name)
    alone = "Left alone: again (a link to a folder that holds it), gone.png (a link to nothing), pipe.png (a FIFO) and"
    for what in (".", "**/*.png"):
        told: list[str] = []
        assert files_of([what], note=told.append) == [Path("a.png")]
        assert told == [f"{what}: {alone} 2 more."]
    told.clear()
    assert files_of(["*.png"], note=told.append) == [Path("a.png")]
    assert "pipe.png (a FIFO)" in told[0]
    assert files_of(["*/d/a.png", "up/d/a.png", "a.png"]) == [Path("up/d/a.png")]
    picture(tmp_path / "store" / "b.png")
    for name in ("b.png", "c.png"):
        os.symlink("../store/b.png", name)
    os.symlink("../store", "store")
    for what in (".", "**/*.png"):
        told.clear()
        assert files_of([what], note=told.append)[-2:] == [Path("a.png"), Path("b.png")]
        assert told[-1].endswith(": 2 repeated images were ignored, the first is c.png.")
    assert files_of(["b.png", "c.png"]) == [Path("b.png"), Path("c.png")]
    for name in ("b.png", "c.png", "store"):
        os.unlink(name)
    named = [Path(name) for name in ("pipe.png", "round.png", "gone.png")]
    assert files_of(map(str, named)) == named
    reasons = score(named, load_detector(str(trained[0].path)))["reason"].tolist()
    assert reasons == ["a FIFO", "a link that leads in a circle", "a link to nothing"]


def test_an_image_without_a_spectrum_gets_no_verdict(trained, tmp_path):
    detector = load_detector(str(trained[0].path), threshold=0, band=0)
    for k, colour in enumerate(("black", "white", (10, 200, 30))):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{k}.png")
    speck = Image.new("RGB", (32, 32), "red")
    speck.putpixel((3, 5), (0, 0, 9))  # whose spectrum is flat
    speck.save(tmp_path / "3.png")
    for k, quality in ((4, 80), (5, 0)):  # whose pixels differ by what was lost
        Image.new("RGB", (160, 140), (200, 30, 90)).save(tmp_path / f"{k}.webp", quality=quality)
    got = score([*files_of([str(tmp_path)]), picture(tmp_path / "x.png")], detector)
    assert got["verdict"].tolist() == [*["cannot say"] * 6, "fake"]
    assert got["reason"].tolist() == [*[NO_SPECTRUM] * 6, ""]
    assert got["probability"].isna().tolist() == [*[True] * 6, False]


def test_bad_files_are_listed_with_reasons_and_stop_nothing(bad_images, trained):
    folder, reasons = bad_images
    detector = load_detector(str(trained[0].path))
    files = [*files_of([str(folder)]), folder / "gone.png", folder, folder / ("x" * 300)]
    got = score(files, detector).set_index("file")
    reasons |= {"gone.png": "no such file", "": "is a folder, not an image", "x" * 300: "out of reach"}
    assert len(got) == 11
    for name, reason in reasons.items():
        row = got.loc[str(folder / name)]
        assert row["reason"].startswith(reason)
        assert row[["logit", "probability"]].isna().all()
        assert row["verdict"] == ""
    good = got[got["reason"] == ""]
    assert {Path(name).name for name in good.index} == {"a.png", "z.jpg", "whole.png"}
    assert good["verdict"].isin(["real", "fake", "cannot say"]).all()
    # A bad neighbour changes nothing.
    alone = score([folder / "z.jpg"], detector).loc[0]
    assert alone["logit"] == pytest.approx(good.loc[str(folder / "z.jpg"), "logit"], abs=1e-5)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="here every file can be read (run as a user)")
def test_files_and_folders_without_permission_are_listed(trained, tmp_path):
    picture(tmp_path / "a.png").chmod(0)
    picture(tmp_path / "shut" / "b.png").parent.chmod(0)
    try:
        got = score(files_of([str(tmp_path)]), load_detector(str(trained[0].path)))
    finally:
        (tmp_path / "shut").chmod(0o755)
    assert got["reason"].tolist() == ["no permission to read it", "is a folder that cannot be read"]


def test_whatever_pillow_raises_is_a_reason(trained, tmp_path, monkeypatch):
    def broken(file):
        raise KeyError("tag 7")

    picture(tmp_path / "x.png")
    monkeypatch.setattr(Image, "open", broken)
    got = score([tmp_path / "x.png"], load_detector(str(trained[0].path)))
    assert got["reason"].tolist() == ["unreadable (KeyError: 'tag 7')"]


def test_images_of_too_many_pixels_are_refused_in_every_thread(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # twice as many are an error, up to that a warning
    files = [picture(tmp_path / f"{k:02}.png", 48 if k % 2 else 32) for k in range(40)]
    got = score(files, load_detector(str(trained[0].path)), workers=8)
    assert ["DecompressionBombWarning" in reason for reason in got["reason"]] == [bool(k % 2) for k in range(40)]


# --- how often a verdict like this was right ---


def test_the_share_of_fakes_among_similar_images_counts_their_groups():
    logits = np.concatenate([np.full(24, np.log(0.7 / 0.3)), np.full(30, -4.0), np.full(30, 4.0)])
    labels = np.array([1] * 18 + [0] * 6 + [0] * 30 + [1] * 30)
    alone = pd.DataFrame({"logit": logits, "label": labels, "group": range(84)})
    detector = Detector(None, Options(), "made up", ())
    said = share_of_fakes(detector, alone, 0.72)
    share = "Of 24 validation images with a P(fake) within 0.05 of it, 75% were fakes"
    exact = scipy.stats.binomtest(18, 24).proportion_ci(method="exact")
    assert said == f"{share} (95 % interval {exact.low:.0%} to {exact.high:.0%})."
    alike = alone.assign(group=alone.index // 6)  # 24 images of 4 photographs, which never disagree
    exact = scipy.stats.binomtest(3, 4).proportion_ci(method="exact")
    assert share_of_fakes(detector, alike, 0.72) == f"{share} (95 % interval {exact.low:.0%} to {exact.high:.0%})."
    assert share_of_fakes(detector, alone, 0.5) == ""
    warm = Detector(None, Options(), "made up", (), temperature=1e6)  # all P(fake) are 0.5
    assert share_of_fakes(warm, alone, 0.5).startswith("Of 84 validation images")
