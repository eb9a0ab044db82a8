"""`cldf score`: every format holds every row, the heading says what the detector is, mistakes come before the work."""

import datetime
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
import yaml
from PIL import Image

from cldf_core.cli import main
from cldf_core.cli.output import ENDINGS
from cldf_core.cli.score import FORMATS, default_run
from cldf_core.data.layouts.description import Description, write_description
from cldf_core.data.layouts.recognition import detect
from cldf_core.detection import score as scoring
from cldf_core.detection.detector import load_detector
from cldf_core.detection.score import files_of, score
from cldf_core.options import UserError
from cldf_core.runs.run import make_run
from cldf_core.workflow.notebooks import notebook_parameters
from samples import SHORT, damaged_runs, noisy, picture, tiny_options

STREAM = SHORT["stream"]


def called(*words: object) -> int:
    return main(["score", *map(str, words)])


@pytest.mark.parametrize("to_file", [False, True])
@pytest.mark.parametrize("how", FORMATS)
def test_formats_hold_every_row_and_can_be_read_back(how, to_file, bad_images, copied, capsys, tmp_path):
    folder, reasons = bad_images
    path = copied(noisy())
    out = tmp_path / f"deep/result{ENDINGS[how]}"
    assert called(str(folder), "--model", str(path), *(["--out", str(out)] if to_file else ["--format", how])) == 3
    printed = capsys.readouterr()
    told = printed.out if how == "table" else printed.err
    detector = load_detector(str(path))
    want = score(files_of([str(folder)]), detector)
    heading = ["trained on  first, second"]
    heading += [f"P(fake)     calibrated on validation images (temperature {detector.temperature:.3g})"]
    heading += ["threshold   0.5 (declared)", "cannot say  P(fake) between 0.4 and 0.6"]
    heading += ["note        its verdict about fakes of other kinds than"]
    assert "\n".join(heading) in told
    assert told.startswith(f"model       er, {path}")
    assert re.search("^8 images: .*, 5 not scored$", told, re.MULTILINE)
    for name, reason in reasons.items():
        assert f"not scored: {folder / name}: {reason}" in told
    if to_file:
        assert printed.out == (told if how == "table" else "")
    text = out.read_text(encoding="utf-8") if to_file else printed.out
    columns = ["image", "domain", "label", "split", "group", "score", "logit", "verdict", "reason", "file"]
    renamed = want.rename(columns={"file": "image", "probability": "score"})
    if how == "csv":
        read = pd.read_csv(io.StringIO(text), keep_default_na=False, na_values={"logit": "", "score": ""})
        assert list(read.columns) == [*columns, "threshold", "calibrated", "detector"]
        pd.testing.assert_frame_equal(read[list(renamed)], renamed)
        assert set(read["domain"]) == {folder.name}
        assert (read["label"] == "").all()
        assert (read["threshold"] == 0.5).all()
        assert read["calibrated"].all()
        assert set(read["detector"]) == {detector.name}
    elif how == "json":
        read = json.loads(text)
        assert list(read) == ["detector", "images"]
        rows = pd.DataFrame(read["images"]).astype({"logit": float, "score": float})
        assert list(rows) == columns
        pd.testing.assert_frame_equal(rows[list(renamed)], renamed)
        assert read["images"][1]["logit"] is None
        facts = read["detector"]
        expected = {"trained_on": STREAM, "threshold": 0.5, "threshold_from": "declared", "band": [0.4, 0.6]}
        expected |= {"calibrated": True, "temperature": detector.temperature, "notes": list(detector.notes)}
        assert facts == expected | {"name": str(path / "model-step2.safetensors"), "agent": "er"}
    else:
        assert text.startswith("model")
        rows = want[want["reason"] == ""].itertuples()
        lines = [f" {row.probability:.4f}  {row.verdict:<10}  {row.file}\n" for row in rows]
        assert "\nP(fake)  verdict     file\n" + "".join(lines) in text
    assert not list(out.parent.glob(".*"))


def test_the_exit_status_says_whether_all_some_or_none_were_scored(bad_images, trained, capsys):
    folder, reasons = bad_images
    model = ["--model", str(trained[0].path)]
    Image.new("RGB", (32, 32)).save(folder / "black.png")
    assert called(str(folder / "a.png"), str(folder / "black.png"), *model) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^2 images: .* 0 not scored\ncannot say: .*black.png: its pixels are all alike", printed, re.M)
    assert re.search(r"^      –  cannot say  .*black.png$", printed, re.M)
    assert called(str(folder / "a.png"), str(folder / "text.jpg"), *model) == 3
    assert "2 images: " in capsys.readouterr().out
    assert called(*(str(folder / name) for name in reasons), *model, "--format", "json") == 1
    assert len(json.loads(capsys.readouterr().out)["images"]) == 5


def test_the_heading_says_what_is_not_known(trained, tmp_path, capsys):
    alone = shutil.copy(trained[0].path / "model-step2.safetensors", tmp_path / "renamed.safetensors")
    assert called(str(picture(tmp_path / "x.png")), "--model", str(alone), "--band", "0", "--threshold", "0.25") == 0
    printed = capsys.readouterr().out
    lines = {"trained on  not known", "P(fake)     not calibrated", "cannot say  never", "threshold   0.25 (declared)"}
    assert lines <= set(printed.splitlines())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "{image}/y.csv"], "/y.csv cannot be written: "),
        (["--out", "{folder}"], " is a folder; needed: a file"),
        (
            ["--out", "{model}/manifest.json"],
            "/manifest.json lies in the folder of a run or of a data set; allowed: an",
        ),
        (
            ["--out", "{model}/figures/x.csv"],
            "/figures/x.csv lies in the folder of a run or of a data set; allowed: an",
        ),
        (["--out", "x.xlsx"], "--out is x.xlsx; allowed: a name that ends with .txt or .csv or .json"),
        (["--out", "scores"], "--out is scores; allowed: a name that ends with .txt or .csv or .json"),
        (["--out", "x.json", "--format", "csv"], "--out is x.json; allowed: a name that ends with .csv"),
        (["--workers", "0"], "--workers is '0'; allowed: a whole number from 1"),
        (["--format", "parquet"], "--format is 'parquet'; allowed: "),
    ],
)
def test_a_mistake_is_told_before_the_work(words, sentence, trained, tmp_path, monkeypatch, capsys):
    image = picture(tmp_path / "x.png")
    monkeypatch.setattr(scoring, "score", lambda *a, **k: pytest.fail("nothing may be scored"))
    words = [word.format(image=image, folder=tmp_path, model=trained[0].path) for word in words]
    assert called(str(image), "--model", str(trained[0].path), *words) == 2
    assert sentence in capsys.readouterr().err.replace("\\", "/")


def measured(path, *words: object) -> pd.DataFrame:
    out = path.with_name("metrics.csv")
    assert main(["metrics", str(path), "--metric", "AUC", "accuracy", "--resamples", "5", "--out", str(out)]) == 0
    return pd.read_csv(out)


@pytest.mark.parametrize("how", ["folder", "classes", "pattern"])
def test_metrics_reads_what_score_writes(how, trained, tmp_path, capsys):
    faces = tmp_path / "faces"
    for k, place in enumerate(("real", "real", "fake", "fake", "fake")):
        picture(faces / place / f"{k}.png", 32 + 8 * k)
    (faces / "real" / "9.png").write_text("no image")
    what = {"folder": [faces], "classes": [faces / "real", faces / "fake"], "pattern": [faces / "*" / "*.png"]}[how]
    out = tmp_path / "scores.csv"
    assert called(*what, "--model", trained[0].path, "--out", out) == 3
    scores = pd.read_csv(out).set_index("image")
    assert scores["label"].to_dict() == {str(p): int(p.parent.name == "fake") for p in faces.glob("*/*.png")}
    rows = measured(out)
    assert f"note: {out}: rows without a score but with a reason are left out: 1 of 6" in capsys.readouterr().err
    assert rows[["domain", "n"]].drop_duplicates().to_numpy().tolist() == [["faces", 5]]


def test_a_data_set_is_scored_by_its_name_with_its_labels_and_splits(trained, root, monkeypatch):
    monkeypatch.chdir(root)
    found = detect(trained[1])
    described = Description("faces", str(found.root), "original", "made up", datetime.date(2026, 1, 1), None)
    write_description(root / "data" / "faces", described, found.table)
    out, model = root / "scores.csv", ["--model", trained[0].path]
    for name in ("faces", root / "data" / "faces", trained[1]):
        assert called(name, *model, "--out", out) == 0
        got = pd.read_csv(out)
        assert [Path(file) for file in got["file"]] == [found.root / image for image in got["image"]]
        want = found.table.sort_values("image", ignore_index=True)
        columns = ["image", "label", "domain", "split", "group"]
        pd.testing.assert_frame_equal(got.sort_values("image", ignore_index=True)[columns], want[columns])
    assert measured(out)["n"].sum() == 2 * (found.table["split"] == "test").sum()
    picture(root / "faces" / "x.png")  # a folder of that name comes first
    assert called("faces", *model, "--out", out) == 0
    assert pd.read_csv(out)["image"].tolist() == [os.path.join("faces", "x.png")]


def test_folders_inside_a_layout_are_known_by_their_names(trained, tmp_path, monkeypatch):
    for place in ("a/test/real", "a/train/real", "b"):
        picture(tmp_path / place / "x.png")
    monkeypatch.chdir(tmp_path)
    names = [trained[1] / kind / "first" / "testA" for kind in ("real", "fake")]
    names += ["a/test/real/x.png", "a/train/real/x.png", "a/test/real/../../../b/x.png"]
    assert called(*names, "--model", trained[0].path, "--out", "o.csv") == 0
    got = pd.read_csv("o.csv", keep_default_na=False)[["domain", "label", "split"]].drop_duplicates()
    want = [("first", "0", "test"), ("first", "1", "test"), ("a", "0", "test"), ("a", "0", "train"), ("b", "", "")]
    assert list(got.itertuples(index=False, name=None)) == want


def test_an_interrupted_call_leaves_no_file(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "score", Mock(side_effect=KeyboardInterrupt))
    image, out = picture(tmp_path / "x.png"), tmp_path / "o" / "r.csv"
    assert called(str(image), "--model", str(trained[0].path), "--out", str(out)) == 130
    assert list(out.parent.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows such names")
@pytest.mark.parametrize("how", FORMATS)
def test_names_that_are_no_text_are_shown(how, trained, tmp_path, capsys):
    picture(tmp_path / "x" / "é.png")
    os.rename(tmp_path / "x" / "é.png", os.fsencode(tmp_path / "x") + b"/\xff.png")
    assert called(str(tmp_path / "x"), "--model", str(trained[0].path), "--format", how) == 0
    assert "\\xff.png" in capsys.readouterr().out


def test_the_default_is_the_newest_run_that_reproduce_makes(trained, tmp_path, monkeypatch, capsys):
    _, data, _ = trained
    root = tmp_path / "project"
    (root / "params" / "quick").mkdir(parents=True)
    monkeypatch.setenv("CLDF_ROOT", str(root))
    with pytest.raises(UserError, match="there is no default model in .*; cldf reproduce --only 07 makes it"):
        default_run()  # with the project's own parameters
    names = ("data", "stream", "unseen", "splits", "size", "width", "epochs", "batch", "memory", "replay")
    values = {name: getattr(tiny_options("mir", data, **SHORT), name) for name in (*names, "candidates")}
    (root / "params" / "quick" / "07_er_and_mir.yaml").write_text(yaml.safe_dump(values))
    options = notebook_parameters("07_er_and_mir", "quick").options("mir")
    make_run(notebook_parameters("07_er_and_mir", "quick", {"seed": 1}).options("mir"))  # not what reproduce makes
    with pytest.raises(UserError, match="there is no default model in .*; cldf reproduce --only 07 makes it"):
        default_run()
    older = make_run(options)
    for name in damaged_runs(older, older.path.parent, "mir-bad"):
        (older.path.with_name(name) / "scores.parquet").touch()
        os.utime(older.path.with_name(name) / "scores.parquet", (5e9, 5e9))
    newer = shutil.copytree(older.path, older.path.with_name("mir-newer"))
    os.utime(newer / "scores.parquet", (4e9, 4e9))
    shutil.rmtree(root / "data")  # no spectra, and none are made
    assert default_run() == newer
    os.utime(newer / "scores.parquet", (1e9, 1e9))
    assert called(str(picture(tmp_path / "x.png")), "--step", "1") == 0
    assert f"model       mir, runs/{older.path.name}/model-step1.safetensors\n" in capsys.readouterr().out
    assert not (root / "data").exists()
