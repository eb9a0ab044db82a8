"""Data sets are registered under a name, whole or not at all, and the images are only read."""

import shutil
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
import yaml

from cldf_core.data.cache import spectra
from cldf_core.data.domains import SPLITS
from cldf_core.data.intake import reencode
from cldf_core.data.intake.add import add, register
from cldf_core.data.intake.archives import extract
from cldf_core.data.intake.splits import with_splits
from cldf_core.data.layouts.read import data_folder, domain_names, read_domains, registered
from cldf_core.data.layouts.recognition import detect
from cldf_core.options import UserError
from cldf_core.runs.run import load_spectra
from samples import faceforensics, film, image_counts, pictures, sentence_of, state, tiny_options, two_frames


def test_a_registered_data_set_is_read_by_its_name(root, tmp_path_factory):
    source = tmp_path_factory.mktemp("home") / "faces"
    pictures(source, ["gan/real", "gan/fake", "diffusion/real", "diffusion/fake"], 10)
    before = state(source)
    folder = register(source)
    assert folder == root / "data" / "faces"
    assert state(source) == before
    names = sorted(p.name for p in root.rglob("*") if not p.name.startswith("."))
    assert names == ["data", "dataset.yaml", "faces", "images.csv"]
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
        counts = domain.table.groupby(["split", "label"]).size().to_dict()
        assert counts == {(s, label): n for s, n in zip(SPLITS, (7, 1, 2), strict=True) for label in (0, 1)}
    sentence_of(lambda: data_folder("nothing"), "allowed: mini, mini-smoke, faces, or a folder")


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
        assert (domain.table["video"] == domain.table["image"].str.split("/").str[-2]).all()
    shared = pd.concat([d.table for d in got.values()])
    assert (shared.groupby("group")["split"].nunique() == 1).all()
    domain = read_domains(data_folder("videos"), ["Deepfakes"])[0]
    assert list(domain.table) == ["image", "label", "split", "group", "video"]
    assert spectra(domain, options, root / "cache").table["group"].isin(["000", "004"]).all()


def test_a_name_is_refused(root, tmp_path_factory):
    source = pictures(tmp_path_factory.mktemp("home") / "faces", ["real", "fake"])
    for name in ("a/b", "..", "a\\b", "", ".hidden", "a:b", " a"):
        sentence_of(lambda: register(source, name), f"the name {name!r} is not allowed")  # noqa: B023
    for name in ("mini", "mini-smoke", "Mini", "spectra"):
        sentence_of(lambda: register(source, name), f"the name {name!r} is in use; allowed: any but mini")  # noqa: B023
    assert not list(root.rglob("dataset.yaml"))
    register(source)
    before = state(root)
    sentence_of(lambda: register(source), "there is a data set 'faces' in", "another name, or to replace it")
    assert state(root) == before
    sentence_of(lambda: register(root / "data" / "faces"), "is registered already")
    register(source, replace=True, seed=4)
    assert yaml.safe_load((root / "data" / "faces" / "dataset.yaml").read_text())["seed"] == 4


def test_the_folder_of_the_images_is_not_written_into(root):
    source = pictures(root / "data" / "faces", ["real", "fake"])
    sentence_of(lambda: register(source), "would be written into")
    sentence_of(lambda: register(root, "x"), "would be written into")
    (root / "data" / "other").mkdir()
    (root / "data" / "other" / "thesis.txt").write_text("mine")
    sentence_of(lambda: register(source, "other"), "exists and holds thesis.txt, but no dataset.yaml")
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
    sentence_of(lambda: data_folder(str(source)), "in the layout imagefolder", f"cldf data add {source}")
    (source / "labels.csv").write_text("path,label\n")
    sentence_of(lambda: data_folder(str(source / "labels.csv")), "a file", f"cldf data add {source / 'labels.csv'}")


def test_layouts_with_splits_of_their_own_have_no_seed(root, tmp_path_factory):
    source = pictures(tmp_path_factory.mktemp("home") / "cifake", ["train/REAL", "train/FAKE", "test/FAKE"])
    folder = register(source)
    written = yaml.safe_load((folder / "dataset.yaml").read_text())
    assert written["seed"] is None
    assert "drawn" not in written["found"]
    source = pictures(tmp_path_factory.mktemp("home") / "one", ["train/x/real", "train/y/fake"])
    folder = register(source, real_images="own")
    assert "No test images in x, y." in yaml.safe_load((folder / "dataset.yaml").read_text())["found"]
    assert read_domains(folder, ["x"])[0].notes[0] == "x has only real images"


def test_videos_are_registered_with_their_frames_and_a_broken_one_stops_it(root, tmp_path_factory):
    source = tmp_path_factory.mktemp("home") / "ff"
    faceforensics(source, lambda p: film(p) and None, ["Deepfakes/c23/videos"], ["youtube/c23/videos"])
    broken = source / "original_sequences" / "youtube" / "c23" / "videos" / "003.mp4"
    content = broken.read_bytes()
    broken.write_bytes(b"x")
    sentence_of(lambda: register(source), str(broken))
    assert registered() == []
    broken.write_bytes(content)
    found = detect(source)
    assert found.layout == "faceforensics-videos"
    assert image_counts(found) == {("Deepfakes", "", 0): 6, ("Deepfakes", "", 1): 6}
    assert "12 videos, 6 real and 6 fake" in found.sentence
    assert found.table["image"].str.endswith(".mp4").all()
    before = state(source)
    folder = register(source)
    assert state(source) == before
    (domain,) = read_domains(data_folder("ff"), ["Deepfakes"])
    assert domain.root == (folder / "frames").resolve()
    assert len(domain.table) == 36
    for row in domain.table.itertuples():
        assert (domain.root / row.image).is_file()
        assert Path(row.image).name.rpartition("-")[0] == row.video
        assert ("original" in row.image) == (row.label == 0)
    assert (domain.table.groupby("group")["split"].nunique() == 1).all()
    sentences = yaml.safe_load((folder / "dataset.yaml").read_text())["found"]
    assert "Frames: 36, one each 1 s, at most 32 a video." in sentences
    written = state(folder / "frames")
    register(source, replace=True)
    assert state(folder / "frames") == written  # nothing decoded again


def test_nobody_elses_files_go_when_an_archive_is_refused(root, tmp_path_factory):
    images = pictures(tmp_path_factory.mktemp("x"), ["real", "fake"])
    whole, cut = (Path(shutil.make_archive(str(images.with_name(n)), "zip", images)) for n in ("whole", "cut"))
    cut.write_bytes(cut.read_bytes()[:-100])
    refused = [("files/mine.png", whole, "cldf has not unpacked it"), ("notes.txt", whole, "holds notes.txt")]
    for name, archive, said in [*refused, ("frames/mine.png", cut, "damaged or cut short")]:
        path = root / "data" / "photos" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"mine")
        sentence_of(lambda archive=archive: add(archive, "photos"), said, "; needed: ")
        assert path.read_bytes() == b"mine"
        shutil.rmtree(root / "data" / "photos")
    # What another archive was unpacked to by a call that was stopped is not this call's either.
    other = Path(shutil.make_archive(str(images.with_name("other")), "zip", images / "real"))
    left = extract(other, root / "data" / "photos" / "files").folder
    sentence_of(lambda: add(whole, "photos"), "was not made from this archive; needed: another name")
    assert left.is_dir()
    shutil.rmtree(root / "data" / "photos")
    add(whole, "photos")
    assert len(domain_names(data_folder("photos"))) == 1


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=str)
def test_what_is_replaced_is_there_until_the_new_one_is(root, tmp_path_factory, monkeypatch, problem):
    home = tmp_path_factory.mktemp("home")
    register(pictures(home / "faces", ["real", "fake"]))
    before = state(root / "data" / "faces")
    for name, source in (("faces", home / "faces"), ("second", pictures(home / "second", ["real", "fake"]))):
        with monkeypatch.context() as patch, pytest.raises((UserError, KeyboardInterrupt)):
            patch.setattr(yaml, "safe_dump", Mock(side_effect=problem))
            register(source, name, replace=True, seed=5)
    assert state(root / "data" / "faces") == before
    assert registered() == ["faces"]
    assert not (root / "data" / "second").exists()


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=str)
def test_of_a_re_encoding_that_stops_nothing_is_left(root, tmp_path_factory, monkeypatch, problem):
    register(pictures(tmp_path_factory.mktemp("home") / "faces", ["real", "fake"]))
    before = state(root / "data" / "faces")
    with monkeypatch.context() as patch, pytest.raises((UserError, KeyboardInterrupt)):
        patch.setattr(reencode, "as_image", Mock(side_effect=problem))
        reencode.reencode_images("faces", size=16, workers=1)
    assert [name for name in (p.name for p in (root / "data").iterdir()) if not name.endswith(".lock")] == ["faces"]
    assert before.items() <= state(root / "data" / "faces").items()
    monkeypatch.setattr(reencode, "CHUNK", 4)
    assert reencode.reencode_images("faces", size=16, workers=2)[1] == 10
