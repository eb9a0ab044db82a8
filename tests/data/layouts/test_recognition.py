"""Layouts are recognised by the names of folders, and what fits none or two is refused."""

import os
import re
import sys

import pandas as pd
import pytest

from cldf_core.data.domains import CLASSES
from cldf_core.data.layouts.read import read_domains
from cldf_core.data.layouts.recognition import detect
from samples import image_counts, make_data, pictures, plain_picture, sentence_of


def test_the_originals_layout(tmp_path):
    folder = make_data(tmp_path / "set", ("first", "nature"), train=6, test=4)
    (folder / "real" / "nature").rename(folder / "real" / "ai")  # any name will do for a domain
    found = detect(folder)
    assert found.layout == "original"
    assert found.root == folder
    classes = (("first", 0), ("first", 1), ("ai", 0), ("nature", 1))
    assert image_counts(found) == {(d, s, y): n for d, y in classes for s, n in (("train", 6), ("test", 4))}
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
    assert image_counts(found) == {(d, s, y): 5 for d, s in SOME_SPLITS for y in (0, 1)}
    assert "40 images, 20 real and 20 fake, in 3 domains: biggan, car, progan." in found.sentence
    assert "There is no split in biggan." in found.sentence
    assert "No test images in car: the validation images serve as test images." in found.sentence
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
    assert image_counts(detect(folder)) == {("faces", "", 0): 20, ("faces", "", 1): 20}


def test_nature_and_ai(tmp_path):
    folder = tmp_path / "GenImage"
    for generator in ("Midjourney", "sd14"):
        pictures(folder / generator, ["train/ai", "train/nature", "val/ai", "val/nature"])
    found = detect(folder)
    assert found.layout == "nature-ai"
    places = [(d, s, y) for d in ("Midjourney", "sd14") for s in ("train", "test") for y in (0, 1)]
    assert image_counts(found) == dict.fromkeys(places, 5)
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
            [f"deep/gan/{s}/{kind}" for s in ("val", "test") for kind in ("real", "fake")],
            "deep",
            ["validation", "test"],
        ),
        (["real/nature", "fake/ai"], "mine", [""]),
        (["real/train", "fake/train", "real/test", "fake/test"], "mine", ["train", "test"]),
    ],
    ids=["plain", "upper", "below", "deep", "nested", "not the original's"],
)
def test_real_and_fake(tmp_path, places, domain, splits):
    count = 40 // len(places)
    found = detect(pictures(tmp_path / "mine", places, count))
    assert found.layout == "imagefolder"
    assert image_counts(found) == {(domain, split, label): count for split in splits for label in (0, 1)}
    assert "40 images, 20 real and 20 fake" in found.sentence


def test_many_folders_in_a_class_folder_are_groups(tmp_path):
    folder = pictures(tmp_path / "mine", [f"real/video{k}" for k in range(10)] + ["fake/a", "fake/b"], 2)
    found = detect(folder)
    table = found.table
    assert table[table["label"] == 0]["group"].value_counts().tolist() == [2] * 10
    assert table[table["label"] == 1]["group"].is_unique
    assert "Images of one folder below a class folder stay together" in found.sentence
    assert "fewer than 10 folders" in found.sentence


def test_hidden_things_are_no_images_and_other_files_are_counted(tmp_path):
    folder = pictures(tmp_path / "mine", ["real", "fake"], 3)
    pictures(folder, [".thumbnails/real", "__MACOSX/real", "real/.cache"], 2)
    for name in (".DS_Store", "real/._000.png", "fake/Thumbs.db", "README.md", "real/notes.txt", "fake/000.gif"):
        (folder / name).write_bytes(b"x")
    found = detect(folder)
    assert len(found.table) == 6
    assert re.search(r"3 other files were ignored, the first is [\w./]+\.$", found.sentence)
    plain_picture(folder / "example.png")
    assert "1 image was ignored, the first is example.png." in detect(folder).sentence


def test_a_link_to_a_folder_above_ends(tmp_path):
    folder = pictures(tmp_path / "mine", ["real", "fake"], 3)
    try:
        (folder / "real" / "up").symlink_to(folder, target_is_directory=True)
        (folder / "real" / "lost.png").symlink_to(folder / "nowhere.png")
    except OSError:
        pytest.skip("this system makes no links without special rights")
    found = detect(folder)
    assert len(found.table) == 6
    assert "real/lost.png (a link to nothing), real/up (a link to a folder that holds it)." in found.sentence


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
        (["real/x/trainA", "fake/x/trainA", "more/0_real"], ["more/0_real/000.png is not in the layout original"]),
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
    sentence_of(lambda: detect(folder), str(folder), *[w.replace("/", os.sep) if ".png" in w else w for w in words])


def test_an_empty_class_folder_is_told(tmp_path):
    folder = pictures(tmp_path / "mine", ["a/0_real", "a/1_fake"])
    (folder / "b" / "0_real" / "deeper").mkdir(parents=True)
    sentence_of(lambda: detect(folder), str(folder / "b" / "0_real"), "holds no image; looked for: .jpg, .jpeg, .png")
    sentence_of(lambda: detect(tmp_path / "nowhere"), "there is no folder", str(tmp_path / "nowhere"))
    (tmp_path / "a.zip").write_bytes(b"x")
    sentence_of(lambda: detect(tmp_path / "a.zip"), "a.zip is no table; allowed: .csv or .parquet, or a folder")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_a_name_that_no_table_can_hold_is_told(tmp_path):
    folder = pictures(tmp_path / "mine", ["real", "fake"])
    (folder / "real" / "two\nlines.png").write_bytes(b"x")
    sentence_of(lambda: detect(folder), "two\\nlines.png", "needed: UTF-8 on one line")


LAYOUTS = {
    "original": [f"{kind}/{domain}/{part}A" for kind in CLASSES for domain in "xy" for part in ("train", "test")],
    "0_real-1_fake": ["gan/0_real", "gan/1_fake", "train/car/0_real", "train/car/1_fake"],
    "splits above": ["train/gan/0_real", "train/car/1_fake", "train/car/0_real", "train/gan/1_fake"],
    "nature-ai": ["a/train/nature", "a/train/ai", "b/val/nature", "b/val/ai"],
    "imagefolder": ["real/x", "fake/x", "a/real", "a/fake"],
    "faceforensics": ["original_sequences/youtube/c23/a/000", "manipulated_sequences/Deepfakes/c23/a/000_001"],
    "table": ["images"],
}


@pytest.mark.parametrize("above", ["mine", "one/mine", "a/b/c/mine"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_in_the_way_is_stepped_into(tmp_path, layout, above):
    folder = pictures(tmp_path / "x" / above, LAYOUTS[layout], 2)
    if layout == "table":
        (folder / "labels.csv").write_text("path,label\nimages/000.png,0\nimages/001.png,1\n")
    want = detect(folder)
    for beside in ("README.md", ".DS_Store", "__MACOSX/._a.png", "docs/notes.txt"):
        (tmp_path / "x" / beside).parent.mkdir(exist_ok=True)
        (tmp_path / "x" / beside).write_text("x")
    found = detect(tmp_path / "x")
    assert (found.layout, found.root) == (want.layout, folder)
    pd.testing.assert_frame_equal(found.table, want.table)
    assert f"All is in the folder {above.split('/')[0]}. 2 other files were ignored" in found.sentence


def test_the_folder_in_the_way_of_one_domain_names_it(tmp_path):
    folder = pictures(tmp_path / "x", ["mine/real", "mine/fake"])
    found = detect(folder)
    assert (found.root, set(found.table["domain"])) == (folder, {"mine"})


@pytest.mark.parametrize(
    "places",
    [
        ["a/real/x/trainA", "a/fake/x/trainA", "b/real/x/trainA", "b/fake/x/trainA"],
        ["real/deep/x/trainA", "fake/deep/x/trainA"],
        ["REAL/x/trainA", "FAKE/x/trainA"],
        ["real/x/trainA", "fake/x/trainA", "more/trainB"],
        ["a/real/x/trainA", "a/fake/x/trainA", "loose/x"],
        ["trainA", "trainB", "testA"],
        ["real/x/0_real", "fake/x/1_fake", "fake/nature"],
    ],
)
def test_names_of_a_layout_that_stand_elsewhere_are_refused(tmp_path, places):
    sentence_of(lambda: detect(pictures(tmp_path / "mine", places)), str(tmp_path / "mine"), "; needed: ")
