"""Surveys and audits: each odd file has its rule or reason, and each planted shortcut or leak is found."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cldf_core.data.domains import DataError
from cldf_core.data.images import ImageProblem, crop, open_image
from cldf_core.data.intake import audit, scan
from cldf_core.data.intake.scan import Row, jpeg_quality, read_survey, too_small, write_survey
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


def with_clear_palette() -> bytes:
    return encoded(photo().quantize(64), "PNG", transparency=bytes([0] * 10 + [255] * 54))


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
    "palette clear.png": (with_clear_palette(), f"palette converted; {CLEAR}"),
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
ASIDE: dict[str, tuple[bytes, str]] = {
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
ODD = {**USED, **ASIDE}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("odd")
    for name, (content, _) in ODD.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    return folder, scan.survey(folder, [*ODD, "missing.png", "folder.png"], workers=1).set_index("image")


def opened(path: Path) -> np.ndarray:
    """As training opens it; Pillow warns of some odd files that it reads all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return open_image(path)


# --- survey ---


def test_nothing_is_lost_and_no_file_is_changed(odd):
    folder, table = odd
    assert list(table.index) == [*ODD, "missing.png", "folder.png"]
    for name, (content, _) in ODD.items():
        assert (folder / name).read_bytes() == content
        assert table.loc[name, "sha256"] == hashlib.sha256(content).hexdigest()
        assert table.loc[name, "bytes"] == len(content)
        assert table.loc[name, "mtime_ns"] == (folder / name).stat().st_mtime_ns
    assert (table["used"] == (table["reason"] == "")).all()


@pytest.mark.parametrize("name", USED)
def test_what_is_used_has_its_rule(odd, name):
    folder, table = odd
    row = table.loc[name]
    assert (row["used"], row["reason"], row["rule"]) == (True, "", USED[name][1])
    assert (row["height"], row["width"]) == opened(folder / name).shape[1:]
    assert len(row["phash"]) == 16


@pytest.mark.parametrize("name", ASIDE)
def test_what_is_set_aside_has_its_reason_and_training_sets_it_aside_too(odd, name):
    folder, table = odd
    row = table.loc[name]
    assert (row["used"], row["rule"], row["phash"], row["colours"]) == (False, "", "", "")
    assert row["reason"].startswith(ASIDE[name][1])
    assert str(folder) not in row["reason"]
    with pytest.raises(ImageProblem):
        open_image(folder / name)


def test_a_file_that_is_not_there_is_a_row_too(odd):
    _, table = odd
    assert table.loc["missing.png", "reason"] == "unreadable (FileNotFoundError)"
    assert table.loc["folder.png", "reason"].startswith("unreadable (")
    assert not table.loc[["missing.png", "folder.png"], "used"].any()


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
    whole = [turned(6, "JPEG", "2021:05:09 10:11:12"), turned(6, "PNG"), USED["webp.webp"][0], with_clear_palette()]
    for k in range(200):
        content = bytearray(whole[k % 4])
        at = rng.integers(0, min(len(content), 400), 5)
        for place in at:
            content[place] = rng.integers(256)
        (tmp_path / f"{k}.jpg").write_bytes(bytes(content[: rng.integers(1, len(content))] if k % 3 else content))
    table = scan.survey(tmp_path, [f"{k}.jpg" for k in range(200)], workers=1)
    for row in table.itertuples():
        try:
            shape = opened(tmp_path / row.image).shape
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
    write_survey(first, tmp_path / "store" / "survey.parquet")
    known = read_survey(tmp_path / "store" / "survey.parquet")
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
    names = [f"{k}.png" for k in range(2000)]
    content = encoded(Image.new("RGB", (1, 1)), "PNG")
    for name in names:
        (tmp_path / name).write_bytes(content)
    known = scan.survey(tmp_path, names, workers=1)
    start = time.perf_counter()
    pd.testing.assert_frame_equal(scan.survey(tmp_path, names, known), known)
    assert time.perf_counter() - start < 2  # 20,000 within a second or so; the limit is for slow machines


def test_no_images_and_images_named_twice(tmp_path):
    empty = scan.survey(tmp_path, [])
    assert list(empty.columns) == list(Row._fields)
    assert empty.empty
    photo().save(tmp_path / "a.png")
    assert len(scan.survey(tmp_path, ["a.png", "a.png"], empty, workers=1)) == 1
    with pytest.raises(ValueError, match="workers is 0; allowed: 1 or more"):
        scan.survey(tmp_path, [], workers=0)


def test_too_small_says_what_the_crop_says(odd):
    folder, table = odd
    small = too_small(table.reset_index(), 45)
    expected = {}
    for name in USED:
        try:
            crop(opened(folder / name), 45)
        except ImageProblem as problem:
            expected[name] = str(problem)
    assert dict(zip(small["image"], small["reason"], strict=True)) == expected
    assert "one pixel.png" in expected
    assert too_small(table.reset_index(), 1).empty


# --- audit ---


def rows(count: int, seed: int = 0, **columns: object) -> pd.DataFrame:
    """A joined table of JPEG files: pairs of real and fake with one history, two groups of three in train."""
    rng = np.random.default_rng(seed)
    place = np.arange(count)
    table = pd.DataFrame([Row(f"{k}.jpg", format="JPEG", mode="RGB", colours="RGB", used=True) for k in place])
    return table.assign(
        **{
            "sha256": [rng.bytes(32).hex() for _ in place],
            "phash": [rng.bytes(8).hex() for _ in place],
            "bytes": rng.integers(3000, 4000, count),
            "width": 128,
            "height": 128,
            "quality": 90.0,
            "label": place % 2,
            "group": place // 2,
            "domain": "one",
            "split": np.where(place // 2 % 3 == 0, "test", "train"),
            **columns,
        }
    )


def brute_force(table: pd.DataFrame, distance: int) -> set[tuple[str, int, str, str]]:
    found = set()
    for (_, a), (_, b) in itertools.combinations(table[table["used"]].iterrows(), 2):
        bits = bin(int(a["phash"], 16) ^ int(b["phash"], 16)).count("1")
        if a["sha256"] == b["sha256"]:
            found.add(("exact", bits, a["image"], b["image"]))
        elif bits <= distance:
            found.add(("near", bits, a["image"], b["image"]))
    return found


@pytest.mark.parametrize("distance", [0, 1, 4, 10, 15])
def test_duplicates_are_those_of_the_slow_search(distance):
    rng = np.random.default_rng(distance)
    centres = rng.integers(0, 1 << 63, 12, np.uint64)
    hashes = []
    for k in range(150):  # a few bits away from one of the centres
        flips = rng.choice(64, rng.integers(0, 8), replace=False)
        hashes.append(int(centres[k % 12]) ^ sum(1 << int(bit) for bit in flips))
    contents = [f"{rng.integers(100):064x}" for _ in hashes]
    of_content = dict(zip(contents, hashes, strict=True))  # one content, one hash
    table = rows(150, sha256=contents, phash=[f"{of_content[content]:016x}" for content in contents])
    table["used"] = rng.random(150) < 0.95
    pairs, notes = audit.duplicates(table, distance)
    got = set(zip(pairs["kind"], pairs["distance"], pairs["image_1"], pairs["image_2"], strict=True))
    assert got == brute_force(table, distance)
    assert len(got) == len(pairs)
    assert {"exact", "near"} == set(pairs["kind"])
    assert notes == ()
    group = table.set_index("image")["group"].astype(str)
    assert (pairs["within_group"] == (pairs["image_1"].map(group) == pairs["image_2"].map(group))).all()


def test_a_hundred_thousand_hashes_are_searched_in_seconds():
    rng = np.random.default_rng(0)
    hashes = np.unique(rng.integers(0, 1 << 63, 100_000, np.uint64))
    hashes = np.unique(np.append(hashes, hashes[:50] ^ np.uint64(0b1011 << 30)))
    first, second, complete = scan.close_hashes(hashes, 4, 10_000)
    assert complete
    assert len(first) >= 50
    assert (scan.differing_bits(hashes[first], hashes[second]) <= 4).all()
    assert (first < second).all()


def test_flat_images_do_not_blow_up():
    table = rows(3000, phash="8000000000000000")
    table.loc[2990:, ["split", "domain"]] = ["validation", "two"]
    pairs, (note,) = audit.duplicates(table)
    assert len(pairs) == audit.CROWD * (audit.CROWD - 1) / 2
    assert note.startswith("one, two: 3000 images share their perceptual hash with 64 others or more, 64 are paired")
    assert {"train", "test", "validation"} == set(pairs["split_1"]) | set(pairs["split_2"])  # every kind is seen
    copies = rows(3000, phash="8000000000000000", sha256="ab")
    pairs, notes = audit.duplicates(copies)
    assert set(pairs["kind"]) == {"exact"}
    assert len(notes) == 2


def test_too_many_pairs_are_told(monkeypatch):
    monkeypatch.setattr(audit, "MOST", 500)
    table = rows(200, phash=[f"{1 << (k % 64):016x}" for k in range(200)])  # all two bits apart
    pairs, notes = audit.duplicates(table)
    assert 0 < len(pairs) <= 500
    assert "there are more than 500 pairs" in notes[-1]


def test_arguments_and_tables_are_checked():
    with pytest.raises(ValueError, match="distance is 40; allowed: 0 to 15"):
        audit.duplicates(rows(4), 40)
    with pytest.raises(DataError, match="audit: the table lacks domain, group; needed: a survey joined"):
        audit.tables(rows(4).drop(columns=["domain", "group"]))
    with pytest.raises(DataError, match=r"audit: 2\.jpg has label .*3.*; allowed: 0 real, 1 fake"):
        audit.tables(rows(4, label=[0, 1, 3, 0]))
    with pytest.raises(DataError, match=r"audit: 1\.jpg is not in the survey"):
        audit.tables(rows(4, used=[True, None, True, True]))
    empty = rows(4, used=False)
    assert audit.duplicates(empty).pairs.empty
    assert audit.warnings(empty) == []


def test_tables_count_each_fact():
    table = rows(12, exif_date=["2020-03-04 05:06:07"] * 3 + [""] * 9, mtime_ns=int(86400e9 * 31))
    table.loc[0, ["used", "reason"]] = [False, "empty (0 bytes)"]
    table.loc[1, ["format", "quality", "mode"]] = ["PNG", np.nan, "L"]
    got = audit.tables(table)
    assert set(got) == {"counts", "format", "size", "quality", "mode", "date"}
    counts = got["counts"].set_index(["split", "class"])
    assert counts.loc[("test", "real")].tolist() == ["one", 2, 1, 2]
    assert counts["images"].sum() == 12
    for name in ("format", "size", "mode", "date"):
        assert got[name]["images"].sum() == 11
        assert {"domain", "class", "images"} <= set(got[name])
    assert got["quality"]["images"].sum() == 10
    dates = got["date"].groupby(["source", "month"])["images"].sum()
    assert dates.to_dict() == {("EXIF", "2020-03"): 2, ("file", "1970-02"): 9}


def test_a_clean_table_gives_no_warning():
    assert audit.warnings(rows(240)) == []


def planted(fault: str) -> pd.DataFrame:
    table = rows(240)
    some = (table["label"] == 1) & (table.index % 3 > 0)
    train, test = (table.index[table["split"] == part] for part in ("train", "test"))
    if fault == "format":
        table.loc[some, ["format", "quality"]] = ["PNG", np.nan]
    elif fault == "mode":
        table.loc[some, ["mode", "colours"]] = ["L", "grey"]
    elif fault == "quality":
        table.loc[table["label"] == 1, "quality"] = 75.0
    elif fault == "size":
        table.loc[some, ["width", "height"]] = 256
    elif fault == "exact":
        table.loc[test[0], ["sha256", "phash"]] = table.loc[train[0], ["sha256", "phash"]]
    elif fault == "near":
        table.loc[test[0], "phash"] = f"{int(table.loc[train[0], 'phash'], 16) ^ 0b1101:016x}"
    elif fault == "both classes":
        table.loc[train[1], ["sha256", "phash"]] = table.loc[train[0], ["sha256", "phash"]]
    else:
        table = table[(table["label"] == 1) | (table.index % 10 == 0)]
    return table


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("format", "one: file format differs by class: real 100 % JPEG; fake 67 % PNG, 33 % JPEG"),
        ("mode", "one: colour mode differs by class: real 100 % RGB; fake 67 % L, 33 % RGB"),
        ("quality", "one: JPEG quality differs by class: the median is 90 for real, 75 for fake"),
        ("size", "one: image size differs by class: the median is 128 x 128 for real, 256 x 256 for fake"),
        (
            "exact",
            "one: images with the same content are in different splits (pairs: 1, such as 0.jpg (test) and 2.jpg",
        ),
        ("near", "one: near-duplicates are in different splits (pairs: 1, such as 0.jpg (test) and 2.jpg (train))"),
        ("both classes", "one: images with the same content are in both classes (pairs: 1, such as 2.jpg"),
        ("imbalance", "one: 16 real and 80 fake images in train are more unequal than 4 to 1"),
    ],
)
def test_a_planted_fault_is_found_and_no_other(fault, sentence):
    found = audit.warnings(planted(fault))
    assert any(text.startswith(sentence) for text in found), found
    also = {"format": 1, "mode": 2, "quality": 1, "size": 1, "imbalance": 1}  # a classifier, and grey, tell them too
    assert len(found) == 1 + also.get(fault, 0), found


def test_each_domain_is_judged_by_itself():
    # What gives the fakes of one domain away is turned round in the other.
    one, two = rows(240), rows(240, seed=1, domain="two")
    for table, label in ((one, 0), (two, 1)):
        table.loc[table["label"] == label, ["format", "quality"]] = ["PNG", np.nan]
    both = pd.concat([one, two], ignore_index=True)
    result = audit.format_baseline(both)
    for name in ("one", "two"):
        assert result["domains"][name]["without file size"]["balanced accuracy"] == 1
        assert sum(text.startswith(f"{name}: file format differs") for text in audit.warnings(both)) == 1
    overall = result["overall"]["without file size"]
    assert overall["low"] <= 0.5 <= overall["high"]


def written(folder: Path, fakes: str) -> pd.DataFrame:
    """Files of one domain, surveyed and joined: 60 real JPEG files and as many fakes."""
    labels = []
    for label, kind in ((0, "JPEG"), (1, fakes)):
        for k in range(60):
            name = f"{label}/{k}.{kind.lower()}"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            photo(100 * label + k, 64).save(folder / name, kind)
            labels.append((name, label, "first", "test" if k % 3 == 0 else "train", f"{label} {k}"))
    table = pd.DataFrame(labels, columns=["image", "label", "domain", "split", "group"])
    return table.merge(scan.survey(folder, table["image"], workers=1), on="image")


def test_from_files_to_warnings_and_card(tmp_path):
    clean = written(tmp_path / "clean", "JPEG")
    assert audit.warnings(clean) == []
    card = audit.card(clean, "Textures, made for a test.")
    assert card.startswith("# Data card\n\nTextures, made for a test.\n")
    assert "## Warnings\n\nNone.\n" in card

    faulty = written(tmp_path / "faulty", "PNG")
    value = audit.format_baseline(faulty)["domains"]["first"]["all facts"]
    assert value["low"] > 0.95
    broken = faulty.index[:2]
    faulty.loc[broken, ["used", "reason"]] = [[False, "empty (0 bytes)"], [False, "animated (3 frames)"]]
    faulty.loc[5, "rule"] = "a | b"
    card = audit.card(faulty, "More textures.")
    for line in (
        "| first | train | real | 40 | 39 | 40 |",
        "| first | fake | PNG | 60 |",
        "| first | real | empty | 1 |",
        "| first | real | animated | 1 |",
        "| first | real | a \\| b | 1 |",
        "- first: file format differs by class: real 100 % JPEG; fake 100 % PNG",
        "- first: a classifier that sees only facts of the files has a balanced accuracy of 1.00 [1.00, 1.00]",
    ):
        assert line in card, card
