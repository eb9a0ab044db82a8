"""A folder is listed whatever lies in it: images once each, the rest by name, and nothing is opened."""

import os
import socket
import sys
from pathlib import Path, PurePosixPath

import pytest

from cldf_core.data.images import SUFFIXES, ImageProblem, open_image
from cldf_core.data.intake.scan import survey
from cldf_core.data.layouts.read import read_domains
from cldf_core.data.layouts.recognition import detect
from cldf_core.data.listing import list_images
from samples import make_data, pictures

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="makes FIFOs and links, which need Linux or macOS")
ODD = {
    "dangling.png": "a link to nothing",
    "device.png": "a device",
    "looping.png": "a link that leads in a circle",
    "out.png": "a link that leads out of the folder",
    "outside": "a link that leads out of the folder",
    "pipe.png": "a FIFO",
    "pipe too.png": "a FIFO",
    "same.png": "a link to real/000.png, which is listed itself",
    "socket.png": "a socket",
    "up": "a link to a folder that holds it",
    "upper": "a link to a folder that holds it",
}


@pytest.fixture
def odd(tmp_path, monkeypatch) -> Path:
    """A folder of five real and five fake images, with all that is odd beside the real ones."""
    folder = pictures(tmp_path / "mine", ["real", "fake", "../other"])
    monkeypatch.chdir(folder / "real")
    os.mkfifo("pipe.png")
    links = {"dangling": "nowhere.png", "device": "/dev/zero", "looping": "looping.png", "out": "../../other/000.png"}
    links |= {"pipe too": "pipe.png", "same": "000.png"}
    for name, target in links.items():
        Path(f"{name}.png").symlink_to(target)
    for name, target in {"outside": "../../other", "up": "..", "upper": "../.."}.items():
        Path(name).symlink_to(target)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    return folder


def test_all_that_is_no_image_is_named_and_the_images_are_there(odd):
    for name in (odd, odd / ".." / "mine"):
        found = list_images(name)
        assert [str(path) for path in found.images] == [f"{c}/00{k}.png" for c in ("fake", "real") for k in range(5)]
        assert found.left_alone == sorted((PurePosixPath("real", name), what) for name, what in ODD.items())
    assert "Left alone: real/dangling.png (a link to nothing), " in detect(odd).sentence
    assert detect(odd).sentence.endswith("and 8 more.")
    assert len(detect(odd).table) == 10


def test_what_became_odd_later_is_never_opened(odd):
    table = survey(odd / "real", [*ODD, "000.png"], workers=1)
    assert table["used"].sum() == 3  # with the links to images
    assert table.set_index("image").loc["pipe.png", "reason"] == "a FIFO"
    survey(odd / "real", ["pipe.png"], table, workers=1, contents=True)
    with pytest.raises(ImageProblem, match="a device"):
        open_image(odd / "real" / "device.png")


def test_a_link_is_followed_to_what_is_not_listed_by_itself(tmp_path):
    folder = pictures(tmp_path / "mine", [".store/a", ".store/b", "real"], 2)
    (folder / ".store" / "b" / "up").symlink_to(folder / ".store")
    (folder / "x.png").symlink_to(".store/a/000.png")
    (folder / "fake").symlink_to(".store/b")
    (folder / "once more").symlink_to(".store/b")
    found = list_images(folder)
    assert [*map(str, found.images)] == ["fake/000.png", "fake/001.png", "real/000.png", "real/001.png", "x.png"]
    assert [str(path) for path, _ in found.left_alone] == ["fake/up", "once more"]


def test_every_kind_of_image_counts_and_the_rest_is_counted(tmp_path):
    folder = pictures(tmp_path / "mine", ["real"], 0)
    (folder / "real" / "folder.png").mkdir(parents=True)
    for name in (*(f"A{suffix.upper()}" for suffix in SUFFIXES), "a.txt", "b.gif", "film.MP4", ".b.png", "Thumbs.db"):
        (folder / "real" / name).touch()
    found = list_images(folder)
    assert {path.suffix.lower() for path in found.images} == set(SUFFIXES)
    assert {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"} <= set(SUFFIXES)
    assert found.sentences() == [
        "1 video was ignored, the first is real/film.MP4.",
        "2 other files were ignored, the first is real/a.txt.",
    ]


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(odd):
    (odd / "fake").chmod(0)
    found = list_images(odd)
    (odd / "fake").chmod(0o755)
    assert len(found.images) == 5
    assert found.left_alone[0] == (PurePosixPath("fake"), "a folder that cannot be read: Permission denied")


def test_a_domain_says_what_was_left_alone(tmp_path):
    data = make_data(tmp_path / "set", ("first", "second"), train=2, test=2)
    os.mkfifo(data / "real" / "first" / "trainA" / "pipe.png")
    first, second = read_domains(data, ["first", "second"])
    assert first.notes == ("first: Left alone: real/first/trainA/pipe.png (a FIFO).",)
    assert (len(first.table), second.notes) == (8, ())
