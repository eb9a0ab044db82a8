"""People's own data: layouts recognised and said aloud, splits by groups, data sets registered, frames of videos."""

from __future__ import annotations

import builtins
import hashlib
import importlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cldf_core.data.cache import spectra
from cldf_core.data.domains import SPLITS, DataError
from cldf_core.data.intake.add import register
from cldf_core.data.intake.splits import with_splits
from cldf_core.data.intake.videos import frames
from cldf_core.data.layouts.read import data_folder, domain_names, read_domains, registered
from cldf_core.data.layouts.recognise import Found, detect
from cldf_core.runs.run import load_spectra
from samples import make_data, tiny_options


def picture(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (shade % 256, 40, 90)).save(path)


def pictures(folder: Path, places: Iterable[str], count: int = 5, suffix: str = ".png") -> Path:
    """`count` images in each of the places; a name is in all of them."""
    for place in places:
        for k in range(count):
            picture(folder / place / f"{k:03d}{suffix}", k)
    return folder


def facts(found: Found) -> dict[tuple[str, str, int], int]:
    """Images by domain, split and label."""
    return found.table.groupby(["domain", "split", "label"]).size().to_dict()


def state(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        p.relative_to(folder).as_posix(): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file()
    }


def told(call: Callable[[], object], *words: str) -> str:
    """The one sentence of a refusal, which holds the words."""
    with pytest.raises(DataError) as caught:
        call()
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence, sentence
    return sentence


# --- layouts ---


def test_the_seeds_layout(tmp_path):
    folder = make_data(tmp_path / "set", ("first", "nature"), train=6, test=4)
    (folder / "real" / "nature").rename(folder / "real" / "ai")  # any name will do for a domain
    found = detect(folder)
    assert found.layout == "seed"
    assert found.root == folder
    assert facts(found) == {
        ("first", "train", 0): 6,
        ("first", "train", 1): 6,
        ("first", "test", 0): 4,
        ("first", "test", 1): 4,
        ("ai", "train", 0): 6,
        ("ai", "test", 0): 4,
        ("nature", "train", 1): 6,
        ("nature", "test", 1): 4,
    }
    assert "40 images, 20 real and 20 fake, in 3 domains: ai, first, nature." in found.sentence
    assert "One class alone in ai (only real), nature (only fake)." in found.sentence
    want = read_domains(folder, ["first"])[0].table
    got = found.table[found.table["domain"] == "first"][list(want.columns)]
    pd.testing.assert_frame_equal(got.reset_index(drop=True), want)
    table = found.table.rename(columns={"image": "file"})[["file", "group"]].assign(split="test")
    table.to_csv(folder / "splits.csv", index=False)
    assert set(detect(folder).table["split"]) == {"test"}


def test_0_real_and_1_fake(tmp_path):
    folder = tmp_path / "ForenSynths"
    pictures(folder, ["biggan/0_real", "biggan/1_fake", "train/car/0_real", "train/car/1_fake", "val/car/0_real"])
    pictures(folder, ["val/car/1_fake", "test/progan/horse/0_real", "test/progan/horse/1_fake"])
    (folder / "val" / "car" / "1_fake" / "000.png").rename(folder / "val" / "car" / "1_fake" / "IMG.JPG")
    found = detect(folder)
    assert found.layout == "0_real-1_fake"
    assert facts(found) == {(d, s, y): 5 for d, s in SOME_SPLITS for y in (0, 1)}
    assert "40 images, 20 real and 20 fake, in 3 domains: biggan, car, progan." in found.sentence
    assert "There is no split in biggan." in found.sentence
    assert "No test images in car: the validation images are taken as test images." in found.sentence
    for row in found.table.itertuples():
        assert ("0_real", "1_fake")[row.label] in row.image.split("/")
        assert (found.root / row.image).is_file()
    assert found.table["image"].is_unique
    pair = found.table[found.table["image"].str.fullmatch("biggan/.*/003.png")]
    assert len(pair) == 2
    assert pair["group"].nunique() == 1
    assert len(found.table["group"].unique()) == 4 * 5 + 1  # the renamed image has lost its partner


SOME_SPLITS = (("biggan", ""), ("car", "train"), ("car", "test"), ("progan", "test"))


def test_without_a_folder_of_its_own_a_domain_has_the_roots_name(tmp_path):
    folder = pictures(tmp_path / "faces", ["0_real", "1_fake"], 20)
    assert facts(detect(folder)) == {("faces", "", 0): 20, ("faces", "", 1): 20}


def test_nature_and_ai(tmp_path):
    folder = tmp_path / "GenImage"
    for generator in ("Midjourney", "sd14"):
        pictures(folder / generator, ["train/ai", "train/nature", "val/ai", "val/nature"])
    found = detect(folder)
    assert found.layout == "nature-ai"
    assert facts(found) == {(d, s, y): 5 for d in ("Midjourney", "sd14") for s in ("train", "test") for y in (0, 1)}
    assert "No test images in Midjourney, sd14: the validation" in found.sentence
    groups = found.table.groupby("split")["group"].agg(set)
    assert not groups["train"] & groups["test"]  # though the names of the files are the same


@pytest.mark.parametrize(
    ("places", "domain", "splits"),
    [
        (["real", "fake"], "mine", [""]),
        (["train/REAL", "train/FAKE", "test/REAL", "test/FAKE"], "mine", ["train", "test"]),
        (["Reals/train", "Fakes/train", "Reals/valid", "Fakes/valid"], "mine", ["train", "test"]),
        (
            ["deep/gan/val/real", "deep/gan/val/fake", "deep/gan/test/real", "deep/gan/test/fake"],
            "deep",
            ["validation", "test"],
        ),
        (["real/nature", "fake/ai"], "mine", [""]),
        (["real/train", "fake/train", "real/test", "fake/test"], "mine", ["train", "test"]),
    ],
    ids=["plain", "upper", "below", "deep", "nested", "not the seed's"],
)
def test_real_and_fake(tmp_path, places, domain, splits):
    count = 40 // len(places)
    found = detect(pictures(tmp_path / "mine", places, count))
    assert found.layout == "imagefolder"
    assert facts(found) == {(domain, split, label): count for split in splits for label in (0, 1)}
    assert "40 images, 20 real and 20 fake" in found.sentence


def test_many_folders_in_a_class_folder_are_groups(tmp_path):
    folder = pictures(tmp_path / "mine", [f"real/video{k}" for k in range(10)] + ["fake/a", "fake/b"], 2)
    found = detect(folder)
    table = found.table
    assert table[table["label"] == 0]["group"].value_counts().tolist() == [2] * 10
    assert table[table["label"] == 1]["group"].is_unique
    assert "Images of one folder below a class folder stay together" in found.sentence
    assert "fewer than 10 folders" in found.sentence


def faceforensics(folder: Path, make: Callable[[Path], None], methods: Iterable[str], sources: Iterable[str]) -> Path:
    """Six originals and six fakes of each; 4 and 5 are not tied to 0 .. 3."""
    for source in sources:
        for k in range(6):
            make(folder / "original_sequences" / source / f"00{k}")
    for method in methods:
        for target, other in ((0, 1), (1, 0), (2, 1), (3, 2), (4, 5), (5, 4)):
            make(folder / "manipulated_sequences" / method / f"00{target}_00{other}")
    return folder


def two_frames(folder: Path) -> None:
    pictures(folder.parent, [folder.name], 2)


def test_faceforensics(tmp_path):
    folder = faceforensics(
        tmp_path / "ff", two_frames, ["Deepfakes/c23/images", "FaceSwap/c23/images"], ["youtube/c23/images"]
    )
    pictures(folder, ["manipulated_sequences/Deepfakes/masks/images/000_001"], 2)
    found = detect(folder)
    assert found.layout == "faceforensics"
    assert facts(found) == {(d, "", y): 12 for d in ("Deepfakes", "FaceSwap") for y in (0, 1)}
    assert "36 images, 12 real and 24 fake, in 2 domains: Deepfakes, FaceSwap." in found.sentence
    assert "2 images were left alone, the first is manipulated_sequences/Deepfakes/masks/" in found.sentence
    assert set(found.table["video"]) == {f"00{k}" for k in range(6)} | {
        "000_001", "001_000", "002_001", "003_002", "004_005", "005_004"
    }  # fmt: skip
    for row in found.table.itertuples():
        assert row.video == row.image.split("/")[-2]
        assert row.group == ("000" if row.video[2] in "0123" else "004")


def lists(folder: Path, **pairs: object) -> None:
    (folder / "splits").mkdir(exist_ok=True)
    for name, content in pairs.items():
        (folder / "splits" / f"{name}.json").write_text(json.dumps(content))


def test_faceforensics_own_lists_are_its_splits(tmp_path):
    folder = faceforensics(tmp_path / "ff", two_frames, ["Deepfakes/c23/images"], ["youtube/c23/images"])
    place = folder / "manipulated_sequences/Deepfakes/c23/images"
    for video in ("002_001", "003_002"):  # the official videos tie pairs only
        shutil.rmtree(place / video)
    pictures(place, ["002_003"], 2)
    lists(folder, train=[["000", "001"]], val=[["002", "003"]], test=[["005", "004"]])
    found = detect(folder)
    assert facts(found) == {("Deepfakes", split, 0): 4 for split in SPLITS} | {
        ("Deepfakes", split, 1): 4 if split != "validation" else 2 for split in SPLITS
    }
    for row in found.table.itertuples():
        assert row.split == SPLITS[int(row.video[2]) // 2]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ({"train": [["000", "001"]]}, ["holds train.json but not all of train, val, test.json"]),
        (
            {"train": [["000", "001"]], "val": [["002", "003"]], "test": [["004", "005"]]},
            ["002_001", "is in no list, or in several"],
        ),
        ({"train": ["000"], "val": [], "test": []}, ["train.json is no list of pairs"]),
        ({"train": {"a": 1}, "val": [], "test": []}, ["train.json is no list of pairs"]),
        ({"train": [["000", "001"]], "val": [["001", "002"]], "test": []}, ["val.json lists '001', which another"]),
    ],
)
def test_broken_lists_of_faceforensics_are_told(tmp_path, pairs, words):
    folder = faceforensics(tmp_path / "ff", two_frames, ["Deepfakes/c23/images"], ["youtube/c23/images"])
    lists(folder, **pairs)
    told(lambda: detect(folder), str(folder), *words)


def test_faceforensics_of_several_compressions(tmp_path):
    folder = tmp_path / "ff"
    faceforensics(folder, two_frames, ["Deepfakes/c23/faces", "Deepfakes/c40/faces"], ["youtube/c23/faces"])
    told(lambda: detect(folder), str(folder), "no originals for Deepfakes at c40", "original_sequences/youtube/c40")
    faceforensics(folder, two_frames, [], ["youtube/c40/faces", "youtube/raw/faces"])
    found = detect(folder)
    assert facts(found) == {(d, "", y): 12 for d in ("Deepfakes-c23", "Deepfakes-c40") for y in (0, 1)}
    for row in found.table.itertuples():
        assert f"/{row.domain.split('-')[1]}/" in row.image
    assert "12 images were left alone, the first is original_sequences/youtube/raw/" in found.sentence


def test_the_actors_are_originals_of_their_own_method(tmp_path):
    folder = faceforensics(tmp_path / "ff", two_frames, ["Deepfakes/c23/images"], ["youtube/c23/images"])
    for place in ("original_sequences/actors/c23/images", "manipulated_sequences/DeepFakeDetection/c23/images"):
        names = ["01__walk", "02__walk", "03__walk"] if "actors" in place else ["01_02__walk__ABC123"]
        pictures(folder / place, names, 2)
    found = detect(folder)
    assert facts(found)["DeepFakeDetection", "", 0] == 6
    assert facts(found)["DeepFakeDetection", "", 1] == 2
    assert facts(found)["Deepfakes", "", 0] == 12
    assert found.table.groupby("video")["group"].first()[["02__walk", "01_02__walk__ABC123", "03__walk"]].tolist() == [
        "01__walk",
        "01__walk",
        "03__walk",
    ]


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
        assert facts(found) == {("mine", "", 0): 20, ("mine", "", 1): 20}
        assert found.table.set_index("image")["label"]["b/c/003.png"] == 1
        assert "Columns left alone: camera." in found.sentence
    table = table.rename(columns={"Path": "image"}).drop(columns="camera")
    table["label"] = [0, 1] * 20
    table["split"] = ["train"] * 20 + ["Valid"] * 10 + ["test"] * 10
    table["domain"] = ["one"] * 20 + ["two"] * 20
    table["video"] = [f"{k // 4}" for k in range(40)]
    write(table, folder / f"labels{suffix}")
    found = detect(folder)
    assert facts(found) == {
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


def test_hidden_things_are_no_images_and_other_files_are_counted(tmp_path):
    folder = pictures(tmp_path / "mine", ["real", "fake"], 3)
    pictures(folder, [".thumbnails/real", "__MACOSX/real", "real/.cache"], 2)
    for name in (".DS_Store", "real/._000.png", "fake/Thumbs.db", "README.md", "real/notes.txt", "fake/000.gif"):
        (folder / name).write_bytes(b"x")
    found = detect(folder)
    assert len(found.table) == 6
    assert re.search(r"3 other files were left alone, the first is [\w./]+\.$", found.sentence)
    picture(folder / "example.png")
    assert "1 image was left alone, the first is example.png." in detect(folder).sentence


def test_a_link_to_a_folder_above_ends(tmp_path):
    folder = pictures(tmp_path / "mine", ["real", "fake"], 3)
    try:
        (folder / "real" / "up").symlink_to(folder, target_is_directory=True)
        (folder / "real" / "lost.png").symlink_to(folder / "nowhere.png")
    except OSError:
        pytest.skip("this system makes no links without special rights")
    found = detect(folder)
    assert len(found.table) == 6
    assert "1 other file was left alone, the first is " in found.sentence


# --- broken trees ---


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([], ["in no layout that is recognised", "0_real and 1_fake, nature and ai, or real and fake"]),
        (["cats", "dogs"], ["in no layout that is recognised"]),
        (["a/0_real", "b/0_real"], ["0_real has no counterpart", "a folder 1_fake somewhere in"]),
        (["a/ai"], ["ai has no counterpart", "nature"]),
        (["fake/gan/trainA"], ["fake has no counterpart", "a folder real "]),
        (["a/0_real", "a/1_fake", "real", "fake"], ["several layouts at once, 0_real-1_fake and imagefolder"]),
        (["a/0_real", "a/1_fake", "b/real"], ["b/real/000.png is not in the layout 0_real-1_fake"]),
        (["ai/0_real", "ai/1_fake", "nature/0_real"], ["several layouts at once, 0_real-1_fake and nature-ai"]),
        (["real/x/trainA", "fake/x/trainA", "more/0_real"], ["more/0_real/000.png is not in the layout seed"]),
        (["real/x/trainA", "fake/x/trainA", "real/x/other"], ["other", "is in none of the folders train*"]),
        (["real/fake", "fake"], ["is in a folder of real and in one of fake images"]),
        (["train/test/real", "fake"], ["000.png is in folders of several splits"]),
        (["train/real", "train/fake", "fake"], ["fake/000.png has no split, others of domain"]),
        (["real", "fake", "original_sequences"], ["several layouts at once, imagefolder and faceforensics"]),
    ],
)
def test_a_broken_tree_is_told(tmp_path, places, words):
    folder = tmp_path / "mine"
    folder.mkdir()
    pictures(folder, places)
    told(lambda: detect(folder), str(folder), *[w.replace("/", os.sep) if ".png" in w else w for w in words])


def test_an_empty_class_folder_is_told(tmp_path):
    folder = pictures(tmp_path / "mine", ["a/0_real", "a/1_fake"])
    (folder / "b" / "0_real" / "deeper").mkdir(parents=True)
    told(lambda: detect(folder), str(folder / "b" / "0_real"), "holds no image; looked for: .jpg, .jpeg, .png")
    told(lambda: detect(tmp_path / "nowhere"), "there is no folder", str(tmp_path / "nowhere"))
    (tmp_path / "a.zip").write_bytes(b"x")
    told(lambda: detect(tmp_path / "a.zip"), "a.zip is no table; allowed: .csv or .parquet, or a folder")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_a_name_that_no_table_can_hold_is_told(tmp_path):
    folder = pictures(tmp_path / "mine", ["real", "fake"])
    (folder / "real" / "two\nlines.png").write_bytes(b"x")
    told(lambda: detect(folder), "two\\nlines.png", "needed: a name in UTF-8 on one line")


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (["manipulated_sequences/Deepfakes/c23/images/000_001"], ["has no frames in original_sequences"]),
        (["original_sequences/youtube/c23/images/000"], ["has no frames in manipulated_sequences"]),
        (["original_sequences/youtube/images/000"], ["is not below original_sequences/<name>/<compression>", "c23"]),
        (["original_sequences/youtube/c23/images"], ["belongs to no video: 'images' is not a name like 000"]),
        (["manipulated_sequences/Deepfakes/c23/images/000"], ["'000' is not a name like 000_003"]),
        (["a/b/original_sequences/youtube/c23/images/000"], ["lies too deep"]),
        (
            ["original_sequences/youtube/c23/faces/000", "manipulated_sequences/Deepfakes/c23/images/000_001"],
            ["several kinds, faces, images", "cut alike"],
        ),
    ],
)
def test_a_broken_faceforensics_is_told(tmp_path, places, words):
    told(lambda: detect(pictures(tmp_path / "ff", places)), str(tmp_path / "ff"), *words)


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
        picture(path)
    (folder / "labels.csv").write_text(content)
    told(lambda: detect(folder), str(folder), *words)


def test_other_broken_tables(tmp_path):
    picture(tmp_path / "mine" / "a.png")
    (tmp_path / "mine" / "latin.csv").write_bytes("path,label\né.png,0\n".encode("latin-1"))
    told(lambda: detect(tmp_path / "mine"), "latin.csv cannot be read")
    (tmp_path / "mine" / "second.csv").write_text("path,label\n")
    told(lambda: detect(tmp_path / "mine"), "in no layout that is recognised")
    pd.DataFrame({"path": ["a.png"], "Path": ["a.png"], "label": [0]}).to_parquet(tmp_path / "mine" / "y.parquet")
    told(lambda: detect(tmp_path / "mine" / "y.parquet"), "y.parquet has the column 'path' twice; needed: each once")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    told(lambda: detect(tmp_path / "x.parquet"), "x.parquet cannot be read")


# --- splits ---

rows_of_a_table = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 25), st.integers(0, 1)), min_size=1, max_size=60, unique=True
)


def table_of(rows: list[tuple[str, int, int]], shared: bool = False) -> pd.DataFrame:
    """Rows of domain, group and label; without shared groups each domain has its own."""
    table = pd.DataFrame(rows, columns=["domain", "group", "label"])
    group = table["group"].map(str) if shared else table["domain"] + table["group"].map(str)
    return table.assign(group=group, image=[f"{k}.png" for k in range(len(table))], split="", video="")


@settings(deadline=None, max_examples=40)
@given(rows=rows_of_a_table, shared=st.booleans(), seed=st.integers(0, 2**31 - 1))
def test_no_group_is_in_two_splits_and_no_image_is_lost(rows, shared, seed):
    table = table_of(rows, shared)
    got = with_splits(table, seed)
    pd.testing.assert_frame_equal(got.drop(columns="split"), table.drop(columns="split"))
    assert set(got["split"]) <= {"train", "validation", "test"}
    assert (got.groupby("group")["split"].nunique() == 1).all()
    shuffled = with_splits(table.sample(frac=1, random_state=seed % 1000), seed)
    pd.testing.assert_frame_equal(shuffled.sort_index(), got)
    if not shared:
        for name, domain in got.groupby("domain"):
            groups = domain.drop_duplicates("group")["split"].value_counts()
            count = groups.sum()
            if count > 1:
                assert groups.get("train", 0) >= 1
                assert groups.get("test", 0) >= 1
            assert abs(groups.get("train", 0) - 0.7 * count) <= 1
            assert abs(groups.get("test", 0) - 0.2 * count) <= 1
            alone = with_splits(table[table["domain"] == name], seed)
            pd.testing.assert_series_equal(alone["split"], domain["split"])  # other domains change nothing


@settings(deadline=None, max_examples=40)
@given(rows=rows_of_a_table, seed=st.integers(0, 2**31 - 1))
def test_a_chain_of_domains_that_share_groups_all_train_and_test(rows, seed):
    table = table_of([row for row in rows if row[0] != "c"] or [("a", 0, 0)], shared=True)
    got = with_splits(table, seed)
    for _, domain in got.groupby("domain"):
        if domain["group"].nunique() > 2:
            assert {"train", "test"} <= set(domain["split"])


@settings(deadline=None, max_examples=30)
@given(count=st.integers(10, 200), seed=st.integers(0, 1000))
def test_shares_are_those_of_each_class(count, seed):
    table = table_of([("a", 2 * k + label, label) for k in range(count) for label in (0, 1)])
    got = with_splits(table, seed, (0.5, 0.25, 0.25))
    counts = pd.crosstab(got["label"], got["split"])
    for split, share in (("train", 0.5), ("validation", 0.25), ("test", 0.25)):
        assert (abs(counts[split] - share * count) <= 1.5).all()


def test_the_draw_depends_on_seed_and_domain():
    rows = [(d, k, k % 2) for d in "ab" for k in range(40)]
    table = table_of(rows)
    got = with_splits(table, 0)
    assert got["split"].tolist() != with_splits(table, 1)["split"].tolist()
    assert got["split"].tolist()[:40] != got["split"].tolist()[40:]


def test_a_given_split_stays_and_is_followed():
    table = table_of([("a", k, 0) for k in range(10)] + [("b", k, 1) for k in range(5, 30)], shared=True)
    table.loc[table["domain"] == "a", "split"] = ["train"] * 7 + ["test"] * 3
    got = with_splits(table, 0)
    assert got["split"].tolist()[:10] == ["train"] * 7 + ["test"] * 3
    assert got["split"].tolist()[10:15] == ["train", "train", "test", "test", "test"]
    table.loc[0, ["group", "split"]] = ["9", "train"]
    told(lambda: with_splits(table, 0), "group '9' is in the splits test and train")
    told(lambda: with_splits(table, -1), "seed is -1; allowed: a whole number from 0 up")
    told(lambda: with_splits(table, 0, (0.5, 0.5, 0.5)), "shares are (0.5, 0.5, 0.5); needed: three numbers")


def test_one_group_and_shares_of_nothing():
    assert with_splits(table_of([("a", 0, 0)]))["split"].tolist() == ["train"]
    assert with_splits(table_of([("a", 0, 0)]), 0, (0, 0, 1))["split"].tolist() == ["test"]
    assert set(with_splits(table_of([("a", k, 0) for k in range(9)]), 0, (0.8, 0, 0.2))["split"]) == {"train", "test"}


# --- registration ---


def test_a_registered_data_set_is_read_by_its_name(root, tmp_path_factory):
    source = tmp_path_factory.mktemp("home") / "faces"
    pictures(source, ["gan/real", "gan/fake", "diffusion/real", "diffusion/fake"], 10)
    before = state(source)
    folder = register(source)
    assert folder == root / "data" / "faces"
    assert state(source) == before
    assert sorted(p.name for p in root.rglob("*") if not p.name.startswith(".")) == [
        "data", "dataset.yaml", "faces", "images.csv"
    ]  # fmt: skip
    written = yaml.safe_load((folder / "dataset.yaml").read_text(encoding="utf-8"))
    assert list(written) == ["name", "root", "layout", "found", "made", "seed", "images"]
    assert (written["name"], written["root"], written["layout"]) == ("faces", str(source), "imagefolder")
    assert written["seed"] == 0
    assert written["found"].startswith(detect(source).sentence)
    assert "Splits are drawn by whole groups, seed 0." in written["found"]
    assert data_folder("faces") == folder.resolve()
    assert data_folder(str(folder)) == folder.resolve()
    assert registered() == domain_names(root / "data") + ["faces"]
    assert domain_names(folder) == ["diffusion", "gan"]
    want = with_splits(detect(source).table)
    for domain in read_domains(folder, ["gan", "diffusion"]):
        assert domain.root == source
        assert [note for note in domain.notes if "not audited" not in note] == []
        rows = want[want["domain"] == domain.name].reset_index(drop=True)
        pd.testing.assert_frame_equal(domain.table, rows[["image", "label", "split", "group"]])
        assert domain.counts().to_numpy().tolist() == [[7, 7], [1, 1], [2, 2]]
    told(lambda: data_folder("nothing"), "allowed: mini, mini-smoke, faces, or a folder")


def test_the_experiment_takes_a_registered_data_set(root, tmp_path_factory):
    source = tmp_path_factory.mktemp("home") / "ff"
    faceforensics(source, two_frames, ["Deepfakes/c23/images", "FaceSwap/c23/images"], ["youtube/c23/images"])
    register(source, "videos", seed=3)
    options = tiny_options("sequential", Path("videos"), stream=["Deepfakes"], unseen=["FaceSwap"])
    got = load_spectra(options)
    for domain in got.values():
        assert domain.array.shape == (24, 3, 32, 17)
        assert set(domain.table["split"]) == {"train", "test"}  # two groups: one each
        assert (domain.table.groupby("group")["split"].nunique() == 1).all()
        assert [
            v == i.split("/")[-2] for v, i in zip(domain.table["video"].map(str), domain.table["image"], strict=True)
        ]
    shared = pd.concat([d.table for d in got.values()])
    assert (shared.groupby("group")["split"].nunique() == 1).all()
    domain = read_domains(data_folder("videos"), ["Deepfakes"])[0]
    assert list(domain.table) == ["image", "label", "split", "group", "video"]
    assert spectra(domain, options, root / "cache").table["group"].isin(["000", "004"]).all()


def test_a_name_is_refused(root, tmp_path_factory):
    source = pictures(tmp_path_factory.mktemp("home") / "faces", ["real", "fake"])
    for name in ("a/b", "..", "a\\b", "", ".hidden", "a:b", " a"):
        told(lambda: register(source, name), f"the name {name!r} is not allowed")  # noqa: B023
    for name in ("mini", "mini-smoke", "Mini", "spectra"):
        told(lambda: register(source, name), f"the name {name!r} is in use; allowed: any but mini")  # noqa: B023
    assert not list(root.rglob("dataset.yaml"))
    register(source)
    before = state(root)
    told(lambda: register(source), "there is a data set 'faces' in", "another name, or to replace it")
    assert state(root) == before
    told(lambda: register(root / "data" / "faces"), "is registered already")
    register(source, replace=True, seed=4)
    assert yaml.safe_load((root / "data" / "faces" / "dataset.yaml").read_text())["seed"] == 4


def test_the_persons_own_folder_is_not_written_into(root):
    source = pictures(root / "data" / "faces", ["real", "fake"])
    told(lambda: register(source), "would be written into")
    told(lambda: register(root, "x"), "would be written into")
    (root / "data" / "other").mkdir()
    (root / "data" / "other" / "thesis.txt").write_text("mine")
    told(lambda: register(source, "other"), "exists and holds thesis.txt, but no dataset.yaml")
    assert register(source, "second") == root / "data" / "second"
    assert read_domains(data_folder("second"), ["faces"])[0].root == source


def test_a_registration_that_breaks_leaves_no_data_set(root, tmp_path_factory, monkeypatch):
    source = pictures(tmp_path_factory.mktemp("home") / "faces", ["real", "fake"])
    with monkeypatch.context() as patch:
        patch.setattr(yaml, "safe_dump", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            register(source)
    assert registered() == []
    register(source)
    assert registered() == ["faces"]


def test_other_layouts_have_to_be_registered_first(root, tmp_path_factory):
    source = pictures(tmp_path_factory.mktemp("home") / "faces", ["real/a", "fake/a"])
    told(lambda: data_folder(str(source)), "in the layout imagefolder", f"cldf data add {source}")
    (source / "labels.csv").write_text("path,label\n")
    told(lambda: data_folder(str(source / "labels.csv")), "a file", f"cldf data add {source / 'labels.csv'}")


def test_layouts_with_splits_of_their_own_have_no_seed(root, tmp_path_factory):
    source = pictures(tmp_path_factory.mktemp("home") / "cifake", ["train/REAL", "train/FAKE", "test/FAKE"])
    folder = register(source)
    written = yaml.safe_load((folder / "dataset.yaml").read_text())
    assert written["seed"] is None
    assert "drawn" not in written["found"]
    source = pictures(tmp_path_factory.mktemp("home") / "one", ["train/x/real", "train/y/fake"])
    folder = register(source)
    assert "No test images in x, y." in yaml.safe_load((folder / "dataset.yaml").read_text())["found"]
    assert read_domains(folder, ["x"])[0].notes[0] == "x has only real images"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: "a: [", ["dataset.yaml is not readable YAML"]),
        (lambda y: "- a", ["dataset.yaml holds a list"]),
        (lambda y: y + "colour: red\n", ["the key 'colour' is unknown; needed: name, root, layout"]),
        (lambda y: y.replace("seed: 0\n", ""), ["the key 'seed' is missing"]),
        (lambda y: y.replace("seed: 0", "seed: zero"), ["seed is 'zero'; needed: a whole number or null"]),
        (lambda y: y.replace("name: faces", "name: 7"), ["name is 7; needed: text"]),
        (lambda y: y.replace("made: ", "made: some day in "), ["made is 'some day in", "a date such as"]),
        (lambda y: y.replace("images.csv", "other.csv"), ["there is no ", "other.csv"]),
        (lambda y: y.replace("root: ", "root: /nowhere"), ["root is '/nowhere", "needed: the folder of the images"]),
    ],
)
def test_a_faulty_description_is_told(root, tmp_path_factory, change, words):
    folder = register(pictures(tmp_path_factory.mktemp("home") / "faces", ["real", "fake"]))
    path = folder / "dataset.yaml"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    told(lambda: read_domains(folder, ["faces"]), str(folder), *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="group"), ["images.csv lacks the column 'group'"]),
        (lambda t: t.assign(colour="red"), ["images.csv has an unknown column 'colour'"]),
        (lambda t: t.assign(label=["0", "2"] * 5), ["row 3 has label '2'; allowed: 0, 1"]),
        (lambda t: t.assign(split="dev"), ["row 2 has split 'dev'; allowed: train, validation, test"]),
        (lambda t: t.assign(group=""), ["row 2 has group ''"]),
        (lambda t: t.assign(domain="a/b"), ["row 2 has domain 'a/b'"]),
        (lambda t: t.assign(image="../x.png"), ["row 2 has image '../x.png'", "without .."]),
        (lambda t: pd.concat([t, t[:1]]), ["row 12 has image", "once in a domain"]),
        (lambda t: t.replace("real/003.png", "real/9.png"), ["has the image 'real/9.png', but there is no such file"]),
        (lambda t: t[:0], ["has no rows"]),
    ],
)
def test_a_faulty_table_of_images_is_told(root, tmp_path_factory, change, words):
    folder = register(pictures(tmp_path_factory.mktemp("home") / "faces", ["real", "fake"]))
    path = folder / "images.csv"
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)
    told(lambda: read_domains(folder, ["faces"]), str(path), *words)


def test_an_edited_split_is_kept(root, tmp_path_factory):
    folder = register(pictures(tmp_path_factory.mktemp("home") / "faces", ["real", "fake"]))
    table = pd.read_csv(folder / "images.csv", dtype=str, keep_default_na=False)
    table.assign(split="test").drop(columns="video").to_csv(folder / "images.csv", index=False)
    (domain,) = read_domains(folder, ["faces"])
    assert set(domain.table["split"]) == {"test"}
    told(lambda: read_domains(folder, ["other"]), "there is no domain 'other'", "allowed: faces")


# --- videos ---


def film(path: Path, seconds: float = 3.0, rate: int = 5, suffix: str = ".mp4") -> Path:
    """A video whose brightness tells the frame's number."""
    import av

    path = path.with_name(path.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for k in range(round(seconds * rate)):
            pixels = np.full((32, 32, 3), 10 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


def brightness(paths: Iterable[Path]) -> list[int]:
    return [round(float(np.asarray(Image.open(p)).mean()) / 10) for p in paths]


@pytest.mark.parametrize(
    ("every", "most", "numbers"),
    [(1.0, 32, [0, 5, 10]), (0.5, 32, [0, 3, 5, 8, 10, 13]), (0.01, 4, [0, 1, 2, 3]), (9.0, 32, [0])],
)
def test_frames_come_at_the_stated_rate(tmp_path, every, most, numbers):
    video = film(tmp_path / "003")
    paths = frames(video, tmp_path / "out", every, most)
    assert [p.name for p in paths] == [f"003-{k:03d}.png" for k in range(len(numbers))]
    assert brightness(paths) == numbers
    assert sorted((tmp_path / "out").glob("*.png")) == paths


def test_frames_are_written_once_and_again_when_something_changed(tmp_path, monkeypatch):
    video, out = film(tmp_path / "a"), tmp_path / "out"
    first = frames(video, out)
    before = state(out)
    assert frames(video, out) == first
    assert state(out) == before
    assert len(frames(video, out, 0.5)) == 6
    assert len(frames(video, out, 1.0)) == 3
    assert len(list(out.glob("*.png"))) == 3
    first[1].unlink()  # somebody tidied up
    assert brightness(frames(video, out)) == [0, 5, 10]
    film(tmp_path / "a", seconds=2)
    assert len(frames(video, out)) == len(list(out.glob("*.png"))) == 2
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            frames(video, out, 0.5)
    assert brightness(frames(video, out, 0.5)) == [0, 3, 5, 8]


def test_a_video_that_cannot_be_used_is_told(tmp_path, monkeypatch):
    (tmp_path / "bad.mp4").write_bytes(b"no video at all")
    told(lambda: frames(tmp_path / "bad.mp4", tmp_path / "out"), "bad.mp4 cannot be decoded", "a whole video file")
    told(lambda: frames(tmp_path / "none.mp4", tmp_path / "out"), "none.mp4 cannot be read")
    video = film(tmp_path / "a")
    for every, most in ((0, 1), (-1, 1), (float("nan"), 1), (1, 0)):
        told(lambda: frames(video, tmp_path / "out", every, most), "allowed: above 0")  # noqa: B023
    video.write_bytes(video.read_bytes()[:300])
    told(lambda: frames(video, tmp_path / "out"), "a.mp4 cannot be decoded")
    assert not list(tmp_path.glob("out/*"))
    load = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name: builtins.__import__("no_av") if name == "av" else load(name)
    )
    told(lambda: frames(video, tmp_path / "out"), "pip install cldf-core[video]")


def test_videos_are_registered_with_their_frames(root, tmp_path_factory):
    source = tmp_path_factory.mktemp("home") / "ff"
    faceforensics(source, lambda p: film(p) and None, ["Deepfakes/c23/videos"], ["youtube/c23/videos"])
    found = detect(source)
    assert found.layout == "faceforensics-videos"
    assert facts(found) == {("Deepfakes", "", 0): 6, ("Deepfakes", "", 1): 6}
    assert "12 videos, 6 real and 6 fake" in found.sentence
    assert found.table["image"].str.endswith(".mp4").all()
    before = state(source)
    folder = register(source, most=2)
    assert state(source) == before
    (domain,) = read_domains(data_folder("ff"), ["Deepfakes"])
    assert domain.root == (folder / "frames").resolve()
    assert len(domain.table) == 24
    for row in domain.table.itertuples():
        assert (domain.root / row.image).is_file()
        assert Path(row.image).name.rpartition("-")[0] == row.video
        assert ("original" in row.image) == (row.label == 0)
    assert (domain.table.groupby("group")["split"].nunique() == 1).all()
    assert "24 frames are taken, one each 1 s, at most 2 a video." in (folder / "dataset.yaml").read_text().replace(
        "\n ", ""
    )
    written = state(folder / "frames")
    register(source, replace=True, most=2)
    assert state(folder / "frames") == written  # nothing decoded anew


def test_a_broken_video_stops_the_registration_which_goes_on_later(root, tmp_path_factory):
    source = tmp_path_factory.mktemp("home") / "ff"
    faceforensics(source, lambda p: film(p) and None, ["Deepfakes/c23/videos"], ["youtube/c23/videos"])
    broken = source / "original_sequences" / "youtube" / "c23" / "videos" / "003.mp4"
    content = broken.read_bytes()
    broken.write_bytes(b"x")
    told(lambda: register(source), str(broken))
    assert registered() == []
    broken.write_bytes(content)
    register(source)
    assert len(read_domains(data_folder("ff"), ["Deepfakes"])[0].table) == 36
