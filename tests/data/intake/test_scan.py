"""Surveys: each odd file has its rule or its reason, and nothing is opened twice."""

import hashlib
import io
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cldf_core.data.images import ImageProblem, crop, open_image
from cldf_core.data.intake import scan
from cldf_core.data.intake.scan import Row, jpeg_quality, too_small
from samples import texture


def photo(seed: int = 0, side: int = 48) -> Image.Image:
    return Image.fromarray(texture(np.random.default_rng(seed), 0, side))


def encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)  # type: ignore[arg-type]
    return file.getvalue()


def turned(orientation: int, kind: str = "JPEG", date: str | None = None) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    if date:
        exif.get_ifd(0x8769)[0x9003] = date
    return encoded(photo().crop((0, 0, 48, 40)), kind, exif=exif)


def frames(kind: str) -> bytes:
    return encoded(photo(), kind, save_all=True, append_images=[photo(1), photo(2)])


def png(width: int, height: int, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    """A PNG file written by hand; the header may claim anything."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def wide(colour: int = 2) -> tuple[np.ndarray, bytes]:
    """16-bit values, shape (H, W, C), and a PNG file that holds them."""
    values = np.random.default_rng(3).integers(0, 1 << 16, (40, 48, 3 if colour == 2 else 1)).astype(">u2")
    return values, png(48, 40, 16, colour, b"".join(b"\0" + row.tobytes() for row in values))


def transparent(mode: str) -> Image.Image:
    image = photo().convert(mode)
    image.putalpha(Image.fromarray(np.tile(np.array([0, 255], np.uint8), (48, 24))))
    return image


CLEAR_PALETTE = encoded(photo().quantize(64), "PNG", transparency=bytes([0] * 10 + [255] * 54))
GREY, CLEAR = "grey, three equal channels", "transparency dropped"
# name: content, rule ("" and used), or what the reason begins with
USED: dict[str, tuple[bytes, str]] = {
    "plain.jpg": (encoded(photo(), "JPEG", quality=83), ""),
    "plain.PNG": (encoded(photo(), "PNG"), ""),
    "png named.jpg": (encoded(photo(), "PNG"), ""),
    "jpeg named.png": (encoded(photo(), "JPEG"), ""),
    "webp.webp": (encoded(photo(), "WEBP"), ""),
    "cmyk.jpg": (encoded(photo().convert("CMYK"), "JPEG"), "converted from CMYK"),
    "sixteen grey.png": (wide(0)[1], f"16 bits a channel, the upper 8 kept; {GREY}"),
    "sixteen rgb.png": (wide(2)[1], "16 bits a channel, the upper 8 kept"),
    "palette.png": (encoded(photo().quantize(64), "PNG"), "palette converted"),
    "palette clear.png": (CLEAR_PALETTE, f"palette converted; {CLEAR}"),
    "rgba.png": (encoded(transparent("RGB"), "PNG"), CLEAR),
    "la.png": (encoded(transparent("L"), "PNG"), f"{GREY}; {CLEAR}"),
    "grey.jpg": (encoded(photo().convert("L"), "JPEG"), GREY),
    "one bit.png": (encoded(photo().convert("1"), "PNG"), GREY),
    "grey as rgb.png": (encoded(photo().convert("L").convert("RGB"), "PNG"), ""),
    "one pixel.png": (encoded(Image.new("RGB", (1, 1)), "PNG"), ""),
    "flat.png": (encoded(Image.new("RGB", (32, 32)), "PNG"), ""),
    "turned.png": (turned(6, "PNG"), "turned upright (EXIF orientation 6)"),
    **{f"turned {k}.jpg": (turned(k), f"turned upright (EXIF orientation {k})" if k > 1 else "") for k in range(1, 9)},
}
REJECTED: dict[str, tuple[bytes, str]] = {
    "truncated.jpg": (encoded(photo(), "JPEG")[:-300], "truncated (OSError: image file is truncated"),
    "truncated.png": (encoded(photo(), "PNG")[:-2000], "truncated (OSError: image file is truncated"),
    "header only.jpg": (encoded(photo(), "JPEG")[:30], "truncated (OSError: Truncated File Read"),
    "broken.png": (encoded(photo(), "PNG")[:80] + bytes(4000), "unreadable ("),
    "empty.png": (b"", "empty (0 bytes)"),
    "text, truncated.jpg": (b"<html>404 not found</html>", "unreadable (UnidentifiedImageError"),
    "animated.gif": (frames("GIF"), "animated (3 frames)"),
    "animated.png": (frames("PNG"), "animated (3 frames)"),
    "animated.webp": (frames("WEBP"), "animated (3 frames)"),
    "bomb.png": (png(40_000, 40_000), "too large (DecompressionBombError"),
    "small bomb.png": (png(10_000, 10_000), "too large (DecompressionBombWarning"),
}
ODD = {**USED, **REJECTED}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("odd")
    for name, (content, _) in ODD.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    return folder, scan.survey(folder, [*ODD, "missing.png", "folder.png"], workers=1).set_index("image")


def test_nothing_is_lost_and_no_file_is_changed(odd):
    folder, table = odd
    assert list(table.index) == [*ODD, "missing.png", "folder.png"]
    for name, (content, _) in ODD.items():
        assert (folder / name).read_bytes() == content
        assert table.loc[name, "sha256"] == hashlib.sha256(content).hexdigest()
        assert table.loc[name, "bytes"] == len(content)
        assert table.loc[name, "mtime_ns"] == (folder / name).stat().st_mtime_ns
    assert (table["used"] == (table["reason"] == "")).all()
    assert table.loc["missing.png", "reason"] == "unreadable (FileNotFoundError)"
    assert table.loc["folder.png", "reason"].startswith("unreadable (")


@pytest.mark.parametrize("name", USED)
def test_what_is_used_has_its_rule(odd, name):
    folder, table = odd
    row = table.loc[name]
    assert (row["used"], row["reason"], row["rule"]) == (True, "", USED[name][1])
    assert (row["height"], row["width"]) == open_image(folder / name).shape[1:]
    assert len(row["phash"]) == 16


@pytest.mark.parametrize("name", REJECTED)
def test_what_is_rejected_has_its_reason_and_training_rejects_it_too(odd, name):
    folder, table = odd
    row = table.loc[name]
    assert (row["used"], row["rule"], row["phash"], row["colours"]) == (False, "", "", "")
    assert row["reason"].startswith(REJECTED[name][1])
    assert str(folder) not in row["reason"]
    with pytest.raises(ImageProblem):
        open_image(folder / name)


def test_facts_of_the_files(odd):
    _, table = odd
    misnamed = {"png named.jpg", "jpeg named.png", "empty.png", "text, truncated.jpg"}
    assert {name for name in ODD if not table.loc[name, "suffix_fits"]} == misnamed
    formats = {"plain.jpg": "JPEG", "png named.jpg": "PNG", "webp.webp": "WEBP", "animated.gif": "GIF"}
    formats |= {"header only.jpg": "JPEG", "bomb.png": "PNG", "empty.png": ""}
    assert table.loc[list(formats), "format"].to_dict() == formats
    modes = {"plain.jpg": "RGB", "cmyk.jpg": "CMYK", "palette.png": "P", "la.png": "LA", "one bit.png": "1"}
    modes |= {"rgba.png": "RGBA", "grey.jpg": "L", "sixteen grey.png": "I;16"}
    assert table.loc[list(modes), "mode"].to_dict() == modes
    grey = {"sixteen grey.png", "la.png", "grey.jpg", "one bit.png", "grey as rgb.png", "one pixel.png", "flat.png"}
    assert {name for name in USED if table.loc[name, "colours"] == "grey"} == grey
    assert table.loc["small bomb.png", ["width", "height"]].tolist() == [10_000, 10_000]
    assert table.loc["plain.jpg", "quality"] == 83
    assert table["quality"].notna().sum() == sum(content[:2] == b"\xff\xd8" for content, _ in ODD.values()) - 1
    for k in range(1, 9):
        row = table.loc[f"turned {k}.jpg"]
        assert (row["orientation"], row["width"], row["height"]) == (k, *((48, 40) if k < 5 else (40, 48)))


@pytest.mark.parametrize("colour", [0, 2])
def test_sixteen_bits_keep_their_upper_eight_as_the_rule_says(tmp_path, colour):
    values, content = wide(colour)
    (tmp_path / "x.png").write_bytes(content)
    got = open_image(tmp_path / "x.png")
    np.testing.assert_array_equal(got, np.broadcast_to((values >> 8).transpose(2, 0, 1), (3, 40, 48)))


@pytest.mark.parametrize("grey", [False, True])
def test_the_quality_of_files_that_pillow_wrote_is_exact(grey):
    for quality in range(1, 101):
        image = photo(side=16).convert("L" if grey else "RGB")
        with Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality))) as opened:
            assert jpeg_quality(opened.quantization) == quality  # type: ignore[attr-defined]


def test_other_tables_get_the_nearest_quality():
    # The first values of K.1 are 16 11 10 16 24 40; at quality 80 they are scaled by 0.4.
    with Image.open(io.BytesIO(encoded(photo(), "JPEG", quality=80))) as opened:
        tables = {k: list(v) for k, v in opened.quantization.items()}  # type: ignore[attr-defined]
    assert tables[0][:6] == [6, 4, 4, 6, 10, 16]
    tables[0][3] += 1
    tables[1][60] -= 1
    assert jpeg_quality(tables) == 80


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_date_is_that_of_the_shot(tmp_path, kind):
    (tmp_path / "a").write_bytes(turned(1, kind, "2021:05:09 10:11:12"))
    (tmp_path / "b").write_bytes(turned(1, kind, "    :  :     :  :  "))
    table = scan.survey(tmp_path, ["a", "b"], workers=1)
    assert table["exif_date"].tolist() == ["2021-05-09 10:11:12", ""]


def test_the_perceptual_hash_is_that_of_the_upright_image(tmp_path):
    Image.open(io.BytesIO(turned(1))).save(tmp_path / "upright.png")
    (tmp_path / "turned.jpg").write_bytes(turned(1))
    # Orientation 6 asks for a clockwise turn, so what is stored is turned the other way.
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(turned(1))).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "side.png", exif=exif)
    hashes = scan.survey(tmp_path, ["upright.png", "turned.jpg", "side.png"], workers=1)["phash"]
    assert hashes.nunique() == 1


def test_random_damage_gives_a_row_and_never_an_error(tmp_path):
    rng = np.random.default_rng(0)
    whole = [turned(6, "JPEG", "2021:05:09 10:11:12"), turned(6, "PNG"), USED["webp.webp"][0], CLEAR_PALETTE]
    for k in range(200):
        content = bytearray(whole[k % 4])
        for place in rng.integers(0, min(len(content), 400), 5):
            content[place] = rng.integers(256)
        (tmp_path / f"{k}.jpg").write_bytes(bytes(content[: rng.integers(1, len(content))] if k % 3 else content))
    table = scan.survey(tmp_path, [f"{k}.jpg" for k in range(200)], workers=1)
    for row in table.itertuples():
        try:
            shape = open_image(tmp_path / row.image).shape
        except ImageProblem:
            assert not row.used
        else:
            assert row.used
            assert shape == (3, row.height, row.width)
    assert 0 < table["used"].sum() < 200


def test_workers_change_nothing_and_do_without_torch(odd, monkeypatch):
    folder, table = odd
    monkeypatch.setattr(scan, "CHUNK", 20)  # so that both workers have something to do
    again = scan.survey(folder, list(table.index), workers=2)
    pd.testing.assert_frame_equal(again.set_index("image"), table)
    check = "import sys, cldf_core.data.intake.scan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_what_is_known_is_not_opened_again(tmp_path, monkeypatch):
    names = [f"{k}.png" for k in range(6)]
    for k, name in enumerate(names):
        photo(k).save(tmp_path / name)
    first = scan.survey(tmp_path, names[:5], workers=1)
    first.to_parquet(tmp_path / "survey.parquet")
    known = pd.read_parquet(tmp_path / "survey.parquet")
    pd.testing.assert_frame_equal(known, first)

    read: list[str] = []
    monkeypatch.setattr(scan, "open_image", lambda path: read.append(path.name) or open_image(path))
    photo(9).save(tmp_path / "1.png")  # changed
    os.utime(tmp_path / "2.png", ns=(1, 1))  # touched
    (tmp_path / "3.png").unlink()  # gone
    second = scan.survey(tmp_path, names[::-1], known, workers=1)
    assert sorted(read) == ["1.png", "2.png", "5.png"]
    assert second["image"].tolist() == names[::-1]
    read.clear()
    pd.testing.assert_frame_equal(scan.survey(tmp_path, names[::-1], workers=1), second)

    # By content the touched file is the same, and one that was changed behind the clock's back is not.
    stat = (tmp_path / "4.png").stat()
    content = (tmp_path / "4.png").read_bytes()
    (tmp_path / "4.png").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(tmp_path / "4.png", ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    os.utime(tmp_path / "0.png", ns=(5, 5))
    read.clear()
    scan.survey(tmp_path, ["4.png"], second, workers=1)
    assert read == []
    third = scan.survey(tmp_path, names, second, workers=1, contents=True)
    assert read == ["4.png"]
    assert third.loc[0, "mtime_ns"] == 5
    read.clear()
    scan.survey(tmp_path, names, third.assign(code="older code"), workers=1)
    assert read == ["0.png", "1.png", "2.png", "4.png", "5.png"]


def test_a_second_start_is_fast(tmp_path):
    names = [f"{k}.png" for k in range(500)]
    for name in names:
        (tmp_path / name).write_bytes(encoded(Image.new("RGB", (1, 1)), "PNG"))
    known = scan.survey(tmp_path, names, workers=1)
    start = time.perf_counter()
    pd.testing.assert_frame_equal(scan.survey(tmp_path, names, known), known)
    assert time.perf_counter() - start < 1  # 20,000 within a second or so; the limit is for slow machines


def test_no_images_and_images_named_twice(tmp_path):
    empty = scan.survey(tmp_path, [])
    assert list(empty.columns) == list(Row._fields)
    assert empty.empty
    photo().save(tmp_path / "a.png")
    assert len(scan.survey(tmp_path, ["a.png", "a.png"], empty, workers=1)) == 1


def test_too_small_says_what_the_crop_says(odd):
    folder, table = odd
    small = too_small(table.reset_index(), 45)
    expected = {}
    for name in USED:
        try:
            crop(open_image(folder / name), 45)
        except ImageProblem as problem:
            expected[name] = str(problem)
    assert dict(zip(small["image"], small["reason"], strict=True)) == expected
    assert "one pixel.png" in expected
    assert too_small(table.reset_index(), 1).empty
