"""A folder is listed whatever lies in it: links are followed, what is no file is named, and nothing is opened."""

import os
import socket
import sys
from pathlib import Path, PurePosixPath

import pytest

from cldf_core.data.images import SUFFIXES, ImageProblem, open_image
from cldf_core.data.intake.add import register
from cldf_core.data.intake.scan import survey
from cldf_core.data.layouts.read import read_domains
from cldf_core.data.layouts.recognition import detect
from cldf_core.data.listing import list_images
from cldf_core.detection.score import files_of
from samples import make_data, pictures

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="makes FIFOs and links, which need Linux or macOS")
ODD = {
    "dangling.png": "a link to nothing",
    "device.png": "a device",
    "looping.png": "a link that leads in a circle",
    "pipe.png": "a FIFO",
    "pipe too.png": "a FIFO",
    "beside": "a link to fake, which is listed itself",
    "socket.png": "a socket",
    "up": "a link to a folder that holds it",
    "upper": "a link to a folder that holds it",
}


@pytest.fixture
def odd(tmp_path, monkeypatch) -> Path:
    """A folder of five real and five fake images, with all that is odd beside the real ones."""
    folder = pictures(tmp_path / "mine", ["real", "fake"])
    monkeypatch.chdir(folder / "real")
    os.mkfifo("pipe.png")
    links = {"dangling": "nowhere.png", "device": "/dev/zero", "looping": "looping.png", "pipe too": "pipe.png"}
    for name, target in links.items():
        Path(f"{name}.png").symlink_to(target)
    for name, target in {"beside": "../fake", "up": "..", "upper": "../.."}.items():
        Path(name).symlink_to(target)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    return folder


def test_all_that_is_no_image_is_named_and_the_images_are_there(odd):
    for name in (odd, odd / ".." / "mine"):
        found = list_images(name)
        assert [str(path) for path in found.images] == [f"{c}/00{k}.png" for c in ("fake", "real") for k in range(5)]
        assert found.left_alone == sorted((PurePosixPath("real", name), what) for name, what in ODD.items())
    assert (
        "Left alone: real/beside (a link to fake, which is listed itself), real/dangling.png (a link to nothing), "
        in detect(odd).sentence
    )
    assert detect(odd).sentence.endswith("and 6 more.")
    assert len(detect(odd).table) == 10


def test_what_became_odd_later_is_never_opened(odd):
    table = survey(odd / "real", [*ODD, "000.png"], workers=1)
    assert table["used"].sum() == 1
    assert table.set_index("image").loc["pipe.png", "reason"] == "a FIFO"
    survey(odd / "real", ["pipe.png"], table, workers=1, contents=True)
    with pytest.raises(ImageProblem, match="a device"):
        open_image(odd / "real" / "device.png")


def test_links_are_followed_and_never_round(tmp_path):
    folder = pictures(tmp_path / "mine", [".store", "real", "../out/deep", "../out/more"], 2)
    for name, target in {
        "x.png": ".store/000.png",
        "y.png": "../out/deep/000.png",
        "real/z.png": "000.png",
        "fake": ".store",
        "once more": ".store",
        "deep": "../out/deep",
    }.items():
        (folder / name).symlink_to(target)
    for name, target in {"mine": "../../mine", "up": "..", "more": "../more", "same": "../more"}.items():
        (tmp_path / "out" / "deep" / name).symlink_to(target)
    (tmp_path / "out" / "more" / "back").symlink_to("../deep")
    folders = ["deep", "deep/more", "deep/same", "fake", "once more", "real"]
    files = [*(f"{place}/00{k}.png" for place in folders for k in range(2)), "real/z.png", "x.png", "y.png"]
    for name in (folder, tmp_path / "link"):
        found = list_images(name)
        assert [*map(str, found.images)] == files
        assert [str(path) for path, _ in found.left_alone] == [
            f"deep/{end}" for end in ("mine", "more/back", "same/back", "up")
        ]
        (tmp_path / "link").symlink_to("mine") if name == folder else None


def test_links_among_many_folders_end(tmp_path):
    folder = pictures(tmp_path / "mine", ["real"], 1)
    names = [f"{k:02}" for k in range(12)]
    for name in names:
        (tmp_path / "store" / name).mkdir(parents=True)
        for other in names:
            (tmp_path / "store" / name / other).symlink_to(f"../{other}")
    (folder / "fake").symlink_to("../store/00")
    assert any("too many" in what for _, what in list_images(folder).left_alone)


@pytest.mark.parametrize(
    "layout", ["real/{}/trainA real/{}/testA", "0_real", "nature", "train/real test/real", "reals"]
)
def test_a_data_set_of_links_is_a_data_set(tmp_path, monkeypatch, layout):
    """As Hugging Face's cache, DVC and git-annex keep files, and as domains share real images."""
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "root"))
    pictures(tmp_path / "store", ["a", "b"], 12)
    for k, place in enumerate(layout.split()):
        for name in ("first", "second"):
            target = tmp_path / "mine" / place.format(name)
            target.mkdir(parents=True, exist_ok=True)
            for image in sorted((tmp_path / "store" / "ab"[k]).iterdir()):
                (target / f"{name}-{image.name}").symlink_to(image)
            fake = Path(str(target).replace("real", "fake").replace("0_", "1_").replace("nature", "ai"))
            fake.parent.mkdir(parents=True, exist_ok=True)
            if not fake.exists():
                fake.symlink_to(tmp_path / "store" / "b")
    found = detect(tmp_path / "mine")
    places = len(layout.split())
    domains = 2 if "{}" in layout else 1
    assert len(found.table) == places * (24 + 12 * domains)
    assert set(found.table["domain"]) == ({"first", "second"} if domains == 2 else {"mine"})
    assert "Left alone" not in found.sentence
    register(tmp_path / "mine", "links")
    assert len(files_of(["links"])) == len(found.table)
    assert len(files_of([str(tmp_path / "mine")])) == 24


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
