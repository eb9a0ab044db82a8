"""Frames of videos come at the stated rate, are written once, and a broken video is refused."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cldf_core.data.intake.videos import frames
from samples import film, sentence_of, state


def brightness(paths: Iterable[Path]) -> list[int]:
    return [round(float(np.asarray(Image.open(p)).mean()) / 10) for p in paths]


@pytest.mark.parametrize(
    ("every", "most", "numbers"),
    [(1.0, 32, [0, 5, 10]), (0.5, 32, [0, 3, 5, 8, 10, 13]), (0.01, 4, [0, 1, 2, 3]), (9.0, 32, [0])],
)
def test_frames_come_at_the_stated_rate(tmp_path, every, most, numbers, monkeypatch):
    monkeypatch.setattr("cldf_core.data.intake.videos.MOST", most)
    video = film(tmp_path / "003")
    paths = frames(video, tmp_path / "out", every)
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


def test_a_video_that_cannot_be_used_is_reported(tmp_path, monkeypatch):
    (tmp_path / "bad.mp4").write_bytes(b"no video at all")
    out = tmp_path / "out"
    sentence_of(lambda: frames(tmp_path / "bad.mp4", out), "bad.mp4 cannot be decoded", "a whole video file")
    sentence_of(lambda: frames(tmp_path / "none.mp4", out), "none.mp4 cannot be read")
    video = film(tmp_path / "a")
    for every in (0, -1, float("nan"), float("inf")):
        sentence_of(lambda: frames(video, out, every), "allowed: above 0")  # noqa: B023
    video.write_bytes(video.read_bytes()[:300])
    sentence_of(lambda: frames(video, out), "a.mp4 cannot be decoded")
    assert not out.exists() or not list(out.iterdir())
    monkeypatch.setitem(sys.modules, "av", None)
    sentence_of(lambda: frames(video, out), "pip install cldf-core[video]")
