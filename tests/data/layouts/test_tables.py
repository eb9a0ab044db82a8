"""Tables of images are read strictly, and a mistake is reported with its row."""

import os
import sys
import time
from collections.abc import Iterable
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
        ("path,label\na.png\n", ["row 2 has 1 value; needed: 2"]),
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


def table_in(folder: Path, content: str, images: Iterable[str] = ("a.png", "b.png")) -> Path:
    for image in images:
        plain_picture(folder / image)
    (folder / "labels.csv").write_text(content, encoding="utf-8")
    return folder / "labels.csv"


IMAGES = [f"{kind}/{k}.png" for kind in ("fake", "real") for k in range(3)]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(i, int("real" in i), "x") for i in IMAGES], ["row 2 has label '0', so real", "'fake' says fake"]),
        ([(i, int("real" in i or "2" in i), "x") for i in IMAGES], ["row 2 ", "5 of the 6 rows"]),
        ([(i, int("fake/0" not in i), "x") for i in IMAGES], ["row 2 ", "4 of the 6 rows"]),
        ([(i.replace("/", "-"), int("real" in i), i[:4].upper()) for i in IMAGES], ["its 'type' 'FAKE' says fake"]),
        ([(i, i < "g", "x") for i in IMAGES[:1]] + [(i, "TRUE", "x") for i in IMAGES[3:]], ["--labels TRUE=real if"]),
        ([(i, "FALSE", "x") for i in IMAGES[:3]], ["so real", "--labels FALSE=fake if", "3 of the 3"]),
    ],
)
def test_labels_that_contradict_folders_or_words_are_refused_until_it_is_said_what_they_mean(tmp_path, rows, words):
    content = "\n".join(["path,label,type", *(",".join(map(str, row)) for row in rows)])
    path = table_in(tmp_path / "mine", content, [row[0] for row in rows])
    sentence_of(lambda: detect(path), str(path), "--labels 0=real,1=fake if they are right", *words)
    ones = sum(str(row[1]) in ("1", "TRUE", "True") for row in rows)
    for labels in ("0=real,1=fake", "true=fake", "1 = REAL", "0=fake"):
        found = detect(path, labels=labels)
        assert found.table["label"].sum() == (ones if labels in ("0=real,1=fake", "true=fake") else len(rows) - ones)
        assert f"Labels are read as {labels}." in found.sentence


@pytest.mark.parametrize("places", [["fake faces/{}.png"], ["fake or real/{}.png"], ["a/{}.png", "b/{}.png"]])
def test_folders_that_tell_nothing_contradict_nothing(tmp_path, places):
    images = [place.format(k) for place in places for k in range(4)]
    rows = [f"{image},{k % 2}" for k, image in enumerate(images)]
    assert len(detect(table_in(tmp_path / "mine", "path,label\n" + "\n".join(rows), images)).table) == len(images)


def test_labels_of_many_kinds(tmp_path):
    for zero, one in (("0.0", "1.0"), ("FALSE", "TRUE"), ("real", "Fake"), ("0", "1")):
        path = table_in(tmp_path / "mine", f"path,label\na.png,{zero}\nb.png,{one}\n")
        assert detect(path).table["label"].tolist() == [0, 1]
        sentence_of(lambda: detect(path, labels="x=fake"), "--labels is 'x=fake', but no row of")  # noqa: B023
    path = table_in(tmp_path / "mine", "path,label\na.png,human\nb.png,machine\n")
    assert detect(path, labels="human=real,machine=fake").table["label"].tolist() == [0, 1]
    sentence_of(lambda: detect(path), "label 'human'; allowed: 0 or real, 1 or fake; --labels tells")
    sentence_of(lambda: detect(path, labels="human=real"), "label 'machine'; allowed: real, fake, 0, 1, human")
    for labels in ("=real", "1", "1=true", "real=fake", "1=real,", "1=real;0=fake"):
        sentence_of(lambda: detect(path, labels=labels), f"--labels is {labels!r}; needed: such as")  # noqa: B023
    for labels in ("1=real,1=fake", "1=real,1.0=real", "human=real, Human =fake"):
        sentence_of(lambda: detect(path, labels=labels), "twice; needed: each value once")  # noqa: B023
    folder = pictures(tmp_path / "folders", ["real", "fake"])
    sentence_of(lambda: detect(folder, labels="1=real"), "--labels is '1=real', but", "no table")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take such names for one")
def test_a_path_that_is_spelled_otherwise_is_found_where_there_is_one(tmp_path):
    composed, apart = "caf\u00e9.png", "cafe\u0301.png"
    path = table_in(tmp_path / "mine", f"path,label\nin\\{composed},0\nin/IMG.PNG,1\n", [f"In/{apart}", "In/img.png"])
    found = detect(path)
    assert set(found.table["image"]) == {f"In/{apart}", "In/img.png"}
    assert "Paths that differ from the files' names in case or Unicode form alone: 2." in found.sentence
    plain_picture(path.parent / "in" / composed)
    plain_picture(path.parent / "IN" / "Img.png")
    sentence_of(lambda: detect(path), "row 3 has 'in/IMG.PNG', but", "there is 'IN/Img.png' and 'In/img.png'")
    path.write_text("path,label\nIn/imgg.png,0\n")
    sentence_of(lambda: detect(path), "no such file", "there is 'I")
    path.write_text("path,label\nelsewhere/x.png,0\n")
    assert sentence_of(lambda: detect(path), "no such file").endswith(str(path.parent))


@pytest.mark.skipif(sys.platform == "win32", reason="makes FIFOs and links, which need Linux or macOS")
def test_a_table_may_name_links_and_they_are_told(tmp_path):
    path = table_in(tmp_path / "mine", "path,label\ninside.png,0\n", ["../out/a.png", "a.png"])
    links = {"link.png": "../out/a.png", "folder": "../out", "inside.png": "a.png"}
    for name, target in links.items():
        (tmp_path / "mine" / name).symlink_to(target)
    assert "through links" not in detect(path).sentence
    path.write_text("path,label\nlink.png,0\nfolder/a.png,1\ninside.png,1\na.png,1\n")
    found = detect(path)
    assert list(found.table["image"]) == ["link.png", "a.png", "folder/a.png", "inside.png"]
    assert "Paths that lead through links out of the table's folder: 2." in found.sentence
    os.mkfifo(tmp_path / "mine" / "pipe.png")
    for wrong, words in {
        "../out/a.png": "outside",
        tmp_path / "out" / "a.png": "outside",
        "pipe.png": "a FIFO",
    }.items():
        path.write_text(f"path,label\n{wrong},0\n")
        sentence_of(lambda: detect(path), f"row 2 has '{wrong}', ", words)


def test_a_header_of_many_columns_is_read_at_once(tmp_path):
    path = table_in(tmp_path / "mine", ",".join(f"c{k}" for k in range(100_000)) + "\n")
    start = time.process_time()
    sentence_of(lambda: detect(path), "has 100,000 columns; allowed: 10,000")
    assert time.process_time() - start < 5
    path.write_text(",".join(f"c{k}" for k in range(100)))
    sentence_of(lambda: detect(path), "has the columns c0, c1, ", " and 92 more; needed: one of path")


def test_a_nul_is_told(tmp_path):
    for content in ("path,label,x\na.png,0,\0\n", "path,label,x\0\na.png,0,x\n", "path,label\na\0.png,0\n"):
        sentence_of(lambda: detect(table_in(tmp_path / "mine", content)), "labels.csv")  # noqa: B023
