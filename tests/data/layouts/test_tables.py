"""Tables of images are read strictly, and a mistake is reported with its row."""

from pathlib import Path

import pandas as pd
import pytest

from cldf_core.data.layouts.recognition import detect
from samples import image_counts, pictures, plain_picture, sentence_of


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table(tmp_path, suffix):
    folder = pictures(tmp_path / "mine", ["a", "b/c"], 20)
    files = [f"a/{k:03d}.png" for k in range(20)] + [str(folder / "b" / "c" / f"{k:03d}.png") for k in range(20)]
    table = pd.DataFrame({"Path": files, "label": ["real", "FAKE"] * 20, "camera": "x"})
    write(table, folder / f"labels{suffix}")
    for given_path in (folder, folder / f"labels{suffix}"):
        found = detect(given_path)
        assert found.layout == "table"
        assert found.root == folder
        assert image_counts(found) == {("mine", "", 0): 20, ("mine", "", 1): 20}
        assert found.table.set_index("image")["label"]["b/c/003.png"] == 1
        assert "Columns ignored: camera." in found.sentence
    table = table.rename(columns={"Path": "image"}).drop(columns="camera").assign(label=[0, 1] * 20)
    table = table.assign(split=["train"] * 20 + ["Valid"] * 10 + ["test"] * 10, domain=["one"] * 20 + ["two"] * 20)
    write(table.assign(video=[f"{k // 4}" for k in range(40)]), folder / f"labels{suffix}")
    found = detect(folder)
    assert image_counts(found) == {
        (d, s, y): n for d, s, n in (("one", "train", 10), ("two", "validation", 5), ("two", "test", 5)) for y in (0, 1)
    }
    assert found.table["video"].tolist() == found.table["group"].tolist()
    write(table.assign(group="g"), folder / f"labels{suffix}")
    assert set(detect(folder).table["group"]) == {"g"}


def write(table: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        table.to_csv(path, index=False, encoding="utf-8-sig")  # as spreadsheets write it
    else:
        table.to_parquet(path, index=False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["is empty"]),
        ("path,label\na.png\n", ["row 2 has 1 values; needed: 2"]),
        ("path,other\na.png,0\n", ["has the columns path, other; needed: one of path, image, file, and label"]),
        ("path,file,label\na.png,a.png,0\n", ["needed: one of path, image, file"]),
        ("path,label,Label\na.png,0,0\n", ["the column 'label' twice"]),
        ("path,label\na.png,0\nb.png,2\n", ["row 3 has label '2'; allowed: 0 or real, 1 or fake"]),
        ("path,label\nc.png,0\n", ["row 2 has 'c.png', but there is no such file in"]),
        ("path,label\n../mine/../out.png,0\n", ["row 2 has '../mine/../out.png', outside"]),
        ("path,label\n/out.png,0\n", ["row 2 has '/out.png', outside"]),
        ("path,label\nx.txt,0\n", ["row 2 has 'x.txt', which is no image; allowed: .jpg"]),
        ("path,label\n,0\n", ["row 2 has '', which is no image"]),
        ("path,label,split\na.png,0,dev\n", ["row 2 has split 'dev'; allowed: train, val, valid, validation, test"]),
        ("path,label,split\na.png,0,train\nb.png,1,\n", ["b.png has no split, others of domain 'mine' have one"]),
        ("path,label,domain\na.png,0,a/b\n", ["row 2 has domain 'a/b'"]),
        ("path,label\na.png,0\n./a.png,0\n", ["row 3 has a.png of domain 'mine' once more"]),
        ("path,label,domain\na.png,0,x\na.png,1,y\n", ["row 3 has a.png with another label"]),
        ("path,label\n", ["holds no image in its layout, table"]),
        ('path,label\n"a.png,0\n', ["cannot be read", "needed: CSV in UTF-8"]),
    ],
)
def test_a_faulty_table_is_told_with_its_row(tmp_path, content, words):
    folder = tmp_path / "mine"
    for path in (folder / "a.png", folder / "b.png", tmp_path / "out.png"):
        plain_picture(path)
    (folder / "labels.csv").write_text(content)
    sentence_of(lambda: detect(folder), str(folder), *words)


def test_other_broken_tables(tmp_path):
    plain_picture(tmp_path / "mine" / "a.png")
    (tmp_path / "mine" / "latin.csv").write_bytes("path,label\né.png,0\n".encode("latin-1"))
    sentence_of(lambda: detect(tmp_path / "mine"), "latin.csv cannot be read")
    (tmp_path / "mine" / "second.csv").write_text("path,label\n")
    sentence_of(lambda: detect(tmp_path / "mine"), "in no layout that is recognised")
    pd.DataFrame({"path": ["a.png"], "Path": ["a.png"], "label": [0]}).to_parquet(tmp_path / "mine" / "y.parquet")
    twice = "y.parquet has the column 'path' twice; needed: each once"
    sentence_of(lambda: detect(tmp_path / "mine" / "y.parquet"), twice)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    sentence_of(lambda: detect(tmp_path / "x.parquet"), "x.parquet cannot be read")
