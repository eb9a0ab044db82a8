"""`cldf metrics`: what it prints and writes, and a sentence for each mistake."""

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cldf_core.cli import main
from cldf_core.results.metric_table import COLUMNS, metric_table
from samples import damaged_runs, random_scores

FEW = ["--resamples", "20"]
HEAD = "image,domain,label,score\n"


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A file with the scores of two agents, each with two seeds."""
    keys = [(agent, seed) for agent in ("er", "mir") for seed in (0, 1)]
    parts = [random_scores(k, steps=2).assign(agent=agent, seed=seed) for k, (agent, seed) in enumerate(keys)]
    path = tmp_path_factory.mktemp("files") / "seeded.csv"
    pd.concat(parts).to_csv(path, index=False)
    return str(path)


def test_a_table_is_printed_and_a_second_one_with_the_comparison(seeded, capsys):
    assert main(["metrics", seeded, "--stream", "b,a", "--metric", "average", "AP", "--compare", *FEW]) == 0
    first, second = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    assert first[0].split()[:7] == ["run", "agent", "seed", "step", "domain", "metric", "value"]
    assert len(first) == 1 + (4 + 2) * (2 * 4 + 2)
    assert any(line.startswith(seeded) and "AUC: average" in line and "[" in line for line in first)
    assert second[0].split()[:5] == ["metric", "step", "domain", "first", "second"]
    assert second[0].split()[-6:] == ["interval]", "p", "p_holm", "p_seeds", "n", "spread"]
    assert all(line.endswith("seeds × groups") for line in second[1:])
    assert [sum(word in line for line in first) for word in ("seeds × groups", "  groups")] == [2 * 10, 4 * 10]
    assert len(second) == 1 + 4 + 2
    assert "nan" not in "".join(first + second).lower()


def test_csv_json_and_parquet_hold_the_same(seeded, tmp_path, capsys):
    words = ["metrics", seeded, "--stream", "b,a", "--metric", "AUC", "average", "--compare", *FEW]
    table = metric_table([seeded], stream=["b", "a"], metrics=["AUC", "average"], resamples=20)
    for name in ("o.csv", "o.parquet", "o.json"):
        assert main([*words, "--out", str(tmp_path / name)]) == 0
    assert capsys.readouterr().out == ""
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "o.parquet"), table)
    read = pd.read_csv(tmp_path / "o.csv", keep_default_na=False)
    assert list(read) == list(COLUMNS)
    np.testing.assert_array_equal(pd.to_numeric(read["value"]), table["value"])
    assert len(pd.read_csv(tmp_path / "o-compare.csv")) == len(pd.read_parquet(tmp_path / "o-compare.parquet")) == 6
    whole = json.loads((tmp_path / "o.json").read_text())
    assert {name: len(part) for name, part in whole.items()} == {"metrics": len(table), "comparisons": 6, "notes": 0}
    average = next(row for row in whole["metrics"] if row["metric"] == "AUC: average")
    assert average["step"] is average["threshold"] is None
    assert main([*words, "--format", "csv"]) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert (len(pd.read_csv(io.StringIO(first))), len(pd.read_csv(io.StringIO(second)))) == (len(table), 6)


def test_what_a_file_lacks_is_told_and_what_is_undefined_is_written(tmp_path, capsys):
    path = tmp_path / "theirs.csv"
    path.write_text(HEAD + "1.png,a,0,0.1\n2.png,a,1,0.9\n3.png,a,0,0.3\n4.png,a,1,0.2\n")
    words = ["metrics", str(path), "--metric", "AUC", *FEW]
    assert main([*words, "--format", "csv"]) == 0
    output = capsys.readouterr()
    row = pd.read_csv(io.StringIO(output.out)).iloc[0]
    assert (row["value"], row["n"], row["agent"], row["step"]) == (0.75, 4, "theirs", 1)
    note = f"note: {path}: its stream is not known, so there are no continual metrics; --stream tells it\n"
    assert output.err == note
    path.write_text(HEAD + "1.png,a,0,0.1\n")
    assert main(words) == 0
    output = capsys.readouterr()
    assert f"note: {path}: a has real images only, so AUC, AP, EER and others are NaN\n" in output.err
    assert "NaN" in output.out.splitlines()[1].split()
    assert main([*words, "--format", "csv"]) == 0
    assert ",AUC,NaN," in capsys.readouterr().out


def test_a_perfect_score_is_no_certainty(tmp_path, capsys):
    path = tmp_path / "four.csv"
    path.write_text(HEAD + "1.png,a,0,0.1\n2.png,a,1,0.9\n3.png,a,0,0.3\n4.png,a,1,0.8\n")
    assert main(["metrics", str(path), "--metric", "accuracy", "AUC", *FEW]) == 0
    accuracy, auc = capsys.readouterr().out.splitlines()[1:]
    assert "1.0000 [0.3976, 1.0000]" in accuracy  # Clopper and Pearson's of 4 of 4
    assert "1.0000 (no interval)" in auc


def test_two_files_are_compared_on_their_images(tmp_path, capsys):
    rows = [(f"{i}.png", i % 2, 0.3 + 0.4 * (i % 2), 0.5 - 0.1 * (i % 3)) for i in range(12)]
    for name, column in (("a", 2), ("b", 3)):
        (tmp_path / f"{name}.csv").write_text(HEAD + "".join(f"{r[0]},x,{r[1]},{r[column]}\n" for r in rows))
    assert main(["metrics", str(tmp_path / "[ab].csv"), "--compare", "--metric", "accuracy", *FEW]) == 0
    lines = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert " ".join(lines[0].split()) == "metric step domain first second difference [95 % interval] n spread"
    assert lines[1].split()[:6] == ["accuracy", "1", "x", "a", "b", f"{1 - 6 / 12:.4f}"]


def test_generators_are_measured_against_shared_reals_in_every_format(tmp_path, capsys):
    rows = ["x.png,photos,REAL,,cannot be opened", *(f"{i}.png,photos,REAL,0.{i}," for i in range(9))]
    rows += [f"{name}{i}.png,{name},Fake,0.{i + 1}," for name in ("a", "b" * 500) for i in range(6)]
    path = tmp_path / "s.csv"
    path.write_text("image,domain,label,score,reason\n" + "\n".join(rows))
    words = ["metrics", str(path), "--metric", "AUC", "--reals", "shared", *FEW]
    for name, read in (("o.csv", pd.read_csv), ("o.parquet", pd.read_parquet)):
        assert main([*words, "--out", str(tmp_path / name)]) == 0
        assert read(tmp_path / name)["reals"].tolist() == ["own", "shared", "shared"]
    told = [line for line in capsys.readouterr().err.splitlines() if "stream is not known" not in line]
    assert len(told) == 2 * 2
    assert "rows without a score but with a reason are left out: 1 of 22" in told[0]
    assert "2 domains of fakes only, measured against 9 pooled real images in 9 groups, those of photos" in told[1]
    assert main([*words, "--format", "json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert [row["reals"] for row in whole["metrics"]] == ["own", "shared", "shared"]
    assert whole["metrics"][1]["value"] == pytest.approx(
        sum(1 for i in range(6) for k in range(9) if i + 1 > k) / 54 + 6 / 108
    )
    assert any("pooled" in note for note in whole["notes"])
    assert main([*words, "--format", "table"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[-1] == "shared"


def test_what_is_damaged_is_told_and_left_out_however_the_runs_are_named(
    trained, root, capsys, monkeypatch, tmp_path_factory
):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    runs = root / "runs"
    shutil.copytree(trained[0].path, runs / "er-good")
    bad = damaged_runs(trained[0], runs, "er-bad")
    bad["er-table.csv"] = "er-table.csv, row 2 has label"
    (runs / "er-table.csv").write_text(HEAD + "1.png,a,7,0.1\n")
    (runs / "er-loop").symlink_to("er-loop")
    expanded = [str(path) for path in sorted(runs.glob("er-*"))]  # by a shell
    named = [["er-good", "er-loop", *bad], ["runs/er-good", "er-loop", *bad]]
    for words in ([str(runs / "er-*")], expanded, ["runs/er-*"], ["er-*"], *named):
        assert main(["metrics", *words, "--metric", "AUC", "--format", "csv", *FEW]) == 3
        output = capsys.readouterr()
        assert set(pd.read_csv(io.StringIO(output.out))["run"]) == {"er-good"}
        assert len([line for line in output.err.splitlines() if line.startswith("note: left out: ")]) == len(bad) + 1
    assert main(["metrics", "er-good", "er-typo", *FEW]) == 2
    assert capsys.readouterr().err.startswith("cldf: 'er-typo' is no run and no table of scores")
    for name, file in bad.items():
        assert main(["metrics", name, *FEW]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"cldf: {runs / name}")
        assert file in error
        assert error.count("\n") == 1
        assert main(["metrics", str(runs / "er-bad[0-9]*"), *FEW]) == 2  # there is nothing else
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing"], "'nothing' is no run and no table of scores; allowed: a finished run's folder"),
        (["x" * 300 + ".csv"], "'xxxxxxxxxx"),
        (["~nobody-here/a.csv"], "'~nobody-here/a.csv' is no run and no table of scores"),
        (["semicolons.csv"], "semicolons.csv separates its columns by ';'; needed: commas"),
        (["bad.csv"], "bad.csv, row 3 has label 'x'; allowed: 0 or real, 1 or fake"),
        (["good.csv", "--metric", "AUK"], "--metric is 'AUK'; allowed: accuracy"),
        (["good.csv", "--threshold", "low"], "--threshold is 'low'; allowed: a number from 0 to 1, or validation"),
        (["good.csv", "--stream", "a,b"], "--stream has 'b', of which good.csv has no scores; there: a"),
        (["good.csv", "--resamples", "0"], "--resamples is '0'; allowed: a whole number from 1"),
        (["good.csv", "--split", "validation"], "good.csv has no validation scores; there are: test"),
        (["good.csv", "--reals", "all"], "--reals is 'all'; allowed: 'own', 'shared'"),
        (
            ["fakes.csv", "--reals", "shared"],
            "--reals is 'shared', but fakes.csv has no real image in step 1 of test, wh",
        ),
        (["good.csv", "--compare"], "--compare needs two runs or files; there: good.csv"),
        (["good.csv", "--format", "parquet"], "--format is 'parquet'; needed besides: --out with a file"),
        (
            ["good.csv", "--out", "x.xlsx"],
            "--out is x.xlsx; allowed: a name that ends with .txt or .csv or .json or .par",
        ),
        (["good.csv", "--out", "good.csv"], "--out good.csv is also what is read; allowed: another file"),
        (["*.csv", "--out", "bad.csv"], "--out bad.csv is also what is read; allowed: another file"),
        (
            ["good.csv", "good-compare.csv", "--compare", "--out", "good.csv"],
            "--out good.csv is also what is read; allowed: another file",
        ),
        (
            ["good-compare.csv", "odd1.csv", "--compare", "--out", "good.csv"],
            "--out good-compare.csv is also what is read; allowed: another file",
        ),
        (["odd[1].csv"], "odd[1].csv has no row"),
        (["good.csv", "--out", "."], "--out . is a folder; needed: a file"),
        (["good.csv", "--out", "good.csv/o.csv"], "--out good.csv/o.csv cannot be written"),
    ],
)
def test_mistakes_are_told_in_a_sentence(root, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(root)
    (root / "odd[1].csv").write_text(HEAD)
    (root / "odd1.csv").write_text(HEAD + "1.png,a,0,0.1\n")
    for name in ("good.csv", "good-compare.csv"):
        (root / name).write_text(HEAD + "1.png,a,0,0.1\n2.png,a,1,0.1\n")
    (root / "fakes.csv").write_text(HEAD + "1.png,a,1,0.1\n")
    (root / "semicolons.csv").write_text("image;domain;label;score\n1.png;a;0;0,1\n")
    (root / "bad.csv").write_text(HEAD + "1.png,a,0,0.1\n2.png,a,x,0.1\n")
    assert main(["metrics", *words]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"cldf: {sentence}")
    assert (output.err.count("\n"), output.out) == (1, "")


def test_neither_help_nor_measuring_waits_for_the_heavy_libraries(seeded):
    code = (
        "import sys; from cldf_core.cli import main\n"
        "try: main(['metrics', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'numpy', 'scipy', 'matplotlib', 'papermill'} & set(sys.modules)\n"
        f"main(['metrics', {seeded!r}, '--metric', 'AUC', '--resamples', '5'])\n"
        "print(heavy, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--resamples" in done.stdout
    assert done.stdout.splitlines()[-1] == "set() False"
