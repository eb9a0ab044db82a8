"""`cldf score --model FILE.py`: a table that stands beside our runs', alone on the standard output."""

import datetime
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from cldf_core.cli import main
from cldf_core.data.layouts.description import Description, write_description
from cldf_core.data.layouts.recognition import detect
from samples import PROJECT, photo, picture, texture

GRID = (
    "import hashlib\ndef predict(path): return int(hashlib.sha256(open(path, 'rb').read()).hexdigest()[:2], 16) / 255"
)


def called(*words: object) -> int:
    return main(["score", *map(str, words)])


def test_a_file_that_prints_and_fails_on_three_of_fifty_images_leaves_a_clean_table(tmp_path):
    for k in range(50):
        picture(tmp_path / "images" / f"{k:02d}.png")
    lines = ["import os, subprocess, sys", "print('imported')", "def predict(path):"]
    lines += ["    print('printed')", "    os.write(1, b'from below')", "    sys.__stdout__.write('around')"]
    lines += ["    if path.endswith('0.png'):", "        subprocess.run([sys.executable, '-S', '-c', 'print(4)'])"]
    lines += ["    if path.endswith(('07.png', '08.png')):", "        raise OSError('no face')"]
    lines += ["    return float(path[-6:-4]) if path.endswith('09.png') else 0.75"]
    (tmp_path / "my_detector.py").write_text("\n".join(lines))
    words = ["score", "images", "--model", "my_detector.py", "--format", "csv"]
    python = [sys.executable, "-m", "cldf_core.cli", *words]
    done = subprocess.run(python, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    table = pd.read_csv(io.StringIO(done.stdout), keep_default_na=False)
    assert len(table) == 50
    assert set(table["agent"]) == {"my_detector"}
    bad = table[table["reason"] != ""]
    assert bad["reason"].tolist() == ["OSError: no face (my_detector.py, line 10)"] * 2 + [
        "predict gives 9.0; needed: P(fake), a number from 0 to 1"
    ]
    assert set(table.drop(bad.index)["score"].astype(float)) == {0.75}
    assert "50 images: 47 fake, 0 real, 0 cannot say, 3 not scored\n" in done.stderr
    assert done.stderr.count("\nnot scored: images") == 3
    printed = {"imported": 1, "printed": 50, "from below": 50, "around": 50, "4\n": 5}
    assert {what: len(re.findall(what, done.stderr.split("50 images:")[0])) for what in printed} == printed
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "words", "sentence"),
    [
        ("import sys\nsys.exit(4)", [], "x.py cannot be used: calls sys.exit(4) (x.py, line 2)"),
        ("", [], "x.py has no function predict or predict_batch; needed"),
        (GRID, ["--step", "1"], "--step is 1, but --model x.py is no network of cldf; allowed: no --step"),
        (GRID, ["--workers", "2"], "--workers is 2, but --model x.py is no network of cldf; allowed: no --workers"),
        (GRID, ["--threshold", "validation"], "--threshold is 'validation', but x.py comes without validation scores"),
        (GRID, ["--weights", "w.pth"], "--weights is w.pth, but --model is no timm:NAME; allowed: no --weights"),
    ],
)
def test_a_wrong_call_is_told_in_a_sentence(text, words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("x.py").write_text(text)
    assert called(picture(tmp_path / "x.png"), "--model", "x.py", "--out", "o.csv", *words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err
    assert printed.err.startswith("cldf: ")
    assert printed.err.count("\n") == 1
    assert not Path("o.csv").exists()


def test_an_interruption_leaves_no_file(tmp_path):
    (tmp_path / "x.py").write_text("def predict(path): raise KeyboardInterrupt")
    assert called(picture(tmp_path / "x.png"), "--model", tmp_path / "x.py", "--out", tmp_path / "o.csv") == 130
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["x.png", "x.py"]


def test_the_heading_and_json_say_whose_it_is(tmp_path, capsys):
    path = tmp_path / "theirs.py"
    path.write_text("def predict_batch(paths): return [0.5] * len(paths)")
    assert called(picture(tmp_path / "x.png"), "--model", path, "--format", "json", "--threshold", "0.25") == 0
    printed = capsys.readouterr()
    read = json.loads(printed.out)
    facts = {
        "agent": "theirs",
        "name": str(path),
        "threshold": 0.25,
        "threshold_from": "declared",
        "band": [0.15, 0.35],
    }
    assert read["detector"] == facts | {"calibrated": False, "temperature": None, "notes": [], "trained_on": []}
    assert [(image["score"], image["logit"], image["verdict"]) for image in read["images"]] == [(0.5, None, "fake")]
    assert f"model       theirs, {path}\ntrained on  not known\nP(fake)     as it is given; whether" in printed.err


@pytest.mark.parametrize("how", ["folder", "registered"])
def test_their_scores_are_paired_with_those_of_a_run_on_the_same_images(how, trained, root, capsys):
    run, data, _ = trained
    if how == "registered":
        found = detect(data)
        described = Description("faces", str(found.root), "original", "made up", datetime.date(2026, 1, 1), None)
        write_description(root / "data" / "faces", described, found.table)
    (root / "theirs.py").write_text(GRID)
    name = {"folder": data, "registered": "faces"}[how]
    assert called(name, "--model", root / "theirs.py", "--out", root / "scores.csv") == 0
    theirs = pd.read_csv(root / "scores.csv")
    assert {"image", "domain", "split", "label", "group", "score"} <= set(theirs)
    words = ["--metric", "AUC", "--resamples", "50", "--compare", "--out", str(root / "m.csv")]
    assert main(["metrics", str(root / "scores.csv"), str(run.path), *words]) == 0
    assert "other images" not in capsys.readouterr().err
    got = pd.read_csv(root / "m-compare.csv").set_index("domain")
    ours = run.scores().query("step == 2 and split == 'test'").drop(columns="step")
    keys = ["domain", "image", "label", "group"]
    both = ours.merge(theirs[theirs["split"] == "test"], on=keys, suffixes=["", "_of_theirs"])
    assert len(both) == len(ours) == 36
    for domain, part in both.groupby("domain"):
        auc = [roc_auc_score(part["label"], part[score]) for score in ("score_of_theirs", "score")]
        row = got.loc[domain]
        assert row["difference"] == pytest.approx(auc[0] - auc[1])
        assert (row["first"], row["second"], row["n"], row["spread"]) == ("theirs", "er", len(part), "groups")
        assert row["low"] < row["difference"] < row["high"]
    assert set(got.index) == {"first", "second", "unseen"}


def test_the_example_of_the_readme_runs(tmp_path):
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    (text,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "my_detector.py" in block]
    assert len(text.splitlines()) <= 10
    (tmp_path / "my_detector.py").write_text(text, encoding="utf-8")
    Image.fromarray(photo(side=64)).resize((256, 256)).save(tmp_path / "smooth.png")
    Image.fromarray(texture(np.random.default_rng(0), 2, 64)).save(tmp_path / "grid.png")
    out = tmp_path / "theirs.csv"
    assert called(tmp_path / "*.png", "--model", tmp_path / "my_detector.py", "--out", out) == 0
    grid, smooth = pd.read_csv(out)["score"]
    assert 0 < smooth < grid < 1
