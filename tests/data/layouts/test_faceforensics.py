"""FaceForensics++: domains, groups that fakes tie together, and the lists of its splits."""

import json
import shutil
from pathlib import Path

import pytest

from cldf_core.data.domains import SPLITS
from cldf_core.data.layouts.recognition import detect
from samples import faceforensics, image_counts, pictures, sentence_of, two_frames


@pytest.fixture
def folder(tmp_path):
    return faceforensics(tmp_path / "ff", two_frames, ["Deepfakes/c23/images"], ["youtube/c23/images"])


def test_faceforensics(tmp_path):
    folder = faceforensics(
        tmp_path / "ff", two_frames, ["Deepfakes/c23/images", "FaceSwap/c23/images"], ["youtube/c23/images"]
    )
    pictures(folder, ["manipulated_sequences/Deepfakes/masks/images/000_001"], 2)
    found = detect(folder)
    assert found.layout == "faceforensics"
    assert image_counts(found) == {(d, "", y): 12 for d in ("Deepfakes", "FaceSwap") for y in (0, 1)}
    assert "36 images, 12 real and 24 fake, in 2 domains: Deepfakes, FaceSwap." in found.sentence
    assert "2 images were ignored, the first is manipulated_sequences/Deepfakes/masks/" in found.sentence
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


def test_the_lists_of_faceforensics_are_its_splits(folder):
    place = folder / "manipulated_sequences/Deepfakes/c23/images"
    for video in ("002_001", "003_002"):  # the official videos tie pairs only
        shutil.rmtree(place / video)
    pictures(place, ["002_003"], 2)
    lists(folder, train=[["000", "001"]], val=[["002", "003"]], test=[["005", "004"]])
    found = detect(folder)
    assert image_counts(found) == {("Deepfakes", split, 0): 4 for split in SPLITS} | {
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
def test_broken_lists_of_faceforensics_are_told(folder, pairs, words):
    lists(folder, **pairs)
    sentence_of(lambda: detect(folder), str(folder), *words)


def test_faceforensics_of_several_compressions(tmp_path):
    folder = tmp_path / "ff"
    faceforensics(folder, two_frames, ["Deepfakes/c23/faces", "Deepfakes/c40/faces"], ["youtube/c23/faces"])
    sentence_of(
        lambda: detect(folder), str(folder), "no originals for Deepfakes at c40", "original_sequences/youtube/c40"
    )
    faceforensics(folder, two_frames, [], ["youtube/c40/faces", "youtube/raw/faces"])
    found = detect(folder)
    assert image_counts(found) == {(d, "", y): 12 for d in ("Deepfakes-c23", "Deepfakes-c40") for y in (0, 1)}
    for row in found.table.itertuples():
        assert f"/{row.domain.split('-')[1]}/" in row.image
    assert "12 images were ignored, the first is original_sequences/youtube/raw/" in found.sentence


def test_the_actors_are_originals_of_their_own_method(folder):
    pictures(folder / "original_sequences/actors/c23/images", ["01__walk", "02__walk", "03__walk"], 2)
    pictures(folder / "manipulated_sequences/DeepFakeDetection/c23/images", ["01_02__walk__ABC123"], 2)
    found = detect(folder)
    assert image_counts(found)["DeepFakeDetection", "", 0] == 6
    assert image_counts(found)["DeepFakeDetection", "", 1] == 2
    assert image_counts(found)["Deepfakes", "", 0] == 12
    group_of = dict(zip(found.table["video"], found.table["group"], strict=True))
    assert group_of["02__walk"] == group_of["01_02__walk__ABC123"] == "01__walk"
    assert group_of["03__walk"] == "03__walk"


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (["manipulated_sequences/Deepfakes/c23/images/000_001"], ["has no frames in original_sequences"]),
        (["original_sequences/youtube/c23/images/000"], ["has no frames in manipulated_sequences"]),
        (["original_sequences/youtube/images/000"], ["is not below original_sequences/<name>/<compression>", "c23"]),
        (["original_sequences/youtube/c23/images"], ["belongs to no video: 'images' is not a name like 000"]),
        (["manipulated_sequences/Deepfakes/c23/images/000"], ["'000' is not a name like 000_003"]),
        (["a/b/original_sequences/youtube/c23/images/000", "c"], ["lies too deep"]),
        (
            ["original_sequences/youtube/c23/faces/000", "manipulated_sequences/Deepfakes/c23/images/000_001"],
            ["several kinds, faces, images", "cut alike"],
        ),
    ],
)
def test_a_broken_faceforensics_is_told(tmp_path, places, words):
    sentence_of(lambda: detect(pictures(tmp_path / "ff", places)), str(tmp_path / "ff"), *words)
