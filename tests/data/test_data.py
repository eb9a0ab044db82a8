"""Data sets on disk: the seed's layout, images opened, changed or set aside with a reason, spectra in a cache."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cldf_core.data import cache
from cldf_core.data.cache import shifted, spectra
from cldf_core.data.domains import DataError, Domain, with_validation
from cldf_core.data.files import file_hash
from cldf_core.data.images import ImageProblem, crop, open_image, perturb, reencode
from cldf_core.data.layouts.read import data_folder, domain_names, read_domains
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError
from cldf_core.spectrum import InputSpec, log_spectrum
from samples import input_spec, make_data, texture, tiny_options
from test_spectrum import formula


def photo(seed: int = 0, side: int = 32) -> np.ndarray:
    return texture(np.random.default_rng(seed), 0, side)


def hashes(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def one(folder: Path, name: str = "first") -> Domain:
    return read_domains(folder, [name])[0]


# --- images ---


def test_pixels_are_rgb_channels_first(tmp_path):
    Image.fromarray(photo()).save(tmp_path / "x.png")
    pixels = open_image(tmp_path / "x.png")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, photo().transpose(2, 0, 1))


def test_exif_rotation_is_undone(tmp_path):
    image = Image.fromarray(photo()[:20])
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn clockwise
    image.save(tmp_path / "x.png", exif=exif)
    pixels = open_image(tmp_path / "x.png")
    np.testing.assert_array_equal(pixels, np.rot90(photo()[:20], -1).transpose(2, 0, 1))


def test_grey_palette_and_transparent_images_are_converted(tmp_path):
    grey = photo()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(open_image(tmp_path / "grey.png"), np.stack([grey] * 3))
    palette = Image.fromarray(photo()).quantize(256)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        open_image(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    )
    alpha = np.dstack([photo(), np.tile([0, 255], (32, 16)).astype(np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(open_image(tmp_path / "alpha.png"), photo().transpose(2, 0, 1))


def test_cmyk_is_converted_to_rgb(tmp_path):
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    red, green, blue = open_image(tmp_path / "x.jpg")
    assert red.min() > 230
    assert max(green.max(), blue.max()) < 25


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    wide = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(wide).save(tmp_path / "x.png")
    np.testing.assert_array_equal(open_image(tmp_path / "x.png"), np.stack([wide // 256] * 3))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: p.write_bytes(b""), "unreadable"),
        (lambda p: p.write_bytes(b"GIF89a not at all"), "unreadable"),
        (lambda p: truncate(p), "unreadable"),
        (lambda p: animate(p), r"animated \(3 frames\)"),
    ],
    ids=["empty", "garbage", "truncated", "animated"],
)
def test_what_cannot_be_used_says_why(tmp_path, make, reason):
    path = tmp_path / "x.png"
    make(path)
    with pytest.raises(ImageProblem, match=reason) as caught:
        open_image(path)
    assert str(tmp_path) not in str(caught.value)  # the same reason on every machine


def truncate(path: Path) -> None:
    Image.fromarray(photo(side=64)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])


def animate(path: Path) -> None:
    frames = [Image.fromarray(photo(k)) for k in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    Image.fromarray(photo()).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageProblem, match="unreadable"):
        open_image(tmp_path / "x.png")


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 40), (45, 32), (100, 51)])
def test_the_crop_is_central(height, width):
    pixels = np.arange(3 * height * width).reshape(3, height, width)
    got = crop(pixels, 32)
    top, left = (height - 32) // 2, (width - 32) // 2
    np.testing.assert_array_equal(got, pixels[:, top : top + 32, left : left + 32])
    assert abs((height - 32 - top) - top) <= 1


@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 300), (401, 257), (1024, 512)])
def test_the_seeds_crop_is_cut_out_of_the_top_left_256(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    want = image[:256, :256][16:240, 16:240].transpose(2, 0, 1)
    np.testing.assert_array_equal(crop(image.transpose(2, 0, 1), 224, "top-left"), want)


@pytest.mark.parametrize(
    ("height", "width", "size", "top", "left"),
    [(128, 128, 128, 0, 0), (224, 500, 224, 0, 16), (230, 224, 224, 6, 0), (239, 241, 224, 15, 16)],
)
def test_where_16_pixels_are_not_there_the_top_left_crop_takes_fewer(height, width, size, top, left):
    pixels = np.arange(3 * height * width).reshape(3, height, width)
    got = crop(pixels, size, "top-left")
    np.testing.assert_array_equal(got, pixels[:, top : top + size, left : left + size])


@pytest.mark.parametrize("place", ["centre", "top-left"])
def test_small_images_are_not_enlarged(place):
    with pytest.raises(ImageProblem, match=r"too small \(40 x 31, needed 32 x 32\)"):
        crop(np.zeros((3, 31, 40), np.uint8), 32, place)


def through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def channels_first(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)


def test_reencoding_resizes_there_and_back_and_then_goes_through_jpeg():
    pixels = photo(side=64)[:40].transpose(2, 0, 1)  # 40 high, 64 wide
    image = Image.fromarray(photo(side=64)[:40])
    assert reencode(pixels) is pixels
    # 64 * 30 / 40 = 48
    resized = image.resize((48, 30), Image.Resampling.BICUBIC).resize((64, 40), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(reencode(pixels, resize=30), channels_first(resized))
    np.testing.assert_array_equal(reencode(pixels, jpeg=40), channels_first(through_jpeg(image, 40)))
    both = reencode(pixels, resize=30, jpeg=40)
    np.testing.assert_array_equal(both, channels_first(through_jpeg(resized, 40)))
    assert both.dtype == np.uint8
    assert reencode(pixels, jpeg=100).shape == pixels.shape


def test_a_strip_that_cannot_be_reencoded_is_a_problem_of_the_image(capfd):
    with pytest.raises(ImageProblem, match=r"too large when resized \(163840000 x 8192\)"):
        reencode(np.zeros((3, 1, 20_000), np.uint8), resize=8192)
    with pytest.raises(ImageProblem, match="no JPEG can be made of it"):
        reencode(np.zeros((3, 1, 66_000), np.uint8), jpeg=90)


def test_noise_is_added_to_pixels_between_0_and_1():
    pixels = photo().transpose(2, 0, 1)
    got = perturb(pixels, "noise", 0.6, np.random.default_rng(5))
    normal = np.random.default_rng(5).normal(0, 0.1, pixels.shape)
    want = np.empty(pixels.shape, np.uint8)
    for at in np.ndindex(*pixels.shape):
        want[at] = min(255, max(0, round(255 * (pixels[at] / 255 + 0.6 * normal[at]))))
    np.testing.assert_array_equal(got, want)
    grey = perturb(np.full((3, 200, 200), 127, np.uint8), "noise", 1.0, np.random.default_rng(0))
    assert grey.std() == pytest.approx(25.5, rel=0.02)  # not 0.1 of 255 grey levels, nor all of them 0 and 1


def test_blur_is_the_sum_over_a_gaussian_window():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 9, 7), np.uint8)
    sigma, radius = 0.8, 3  # scipy's window ends at 4 sigma
    got = perturb(pixels, "blur", sigma, np.random.default_rng(0))
    for c, y, x in np.ndindex(*pixels.shape):
        total = weights = 0.0
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                weight = np.exp(-(dy**2 + dx**2) / (2 * sigma**2))
                weights += weight
                total += weight * pixels[c, min(max(y + dy, 0), 8), min(max(x + dx, 0), 6)]
        assert abs(int(got[c, y, x]) - total / weights) <= 0.5 + 1e-6


@settings(deadline=None, max_examples=40)
@given(height=st.integers(8, 40), width=st.integers(8, 40), factor=st.floats(0, 1.5), seed=st.integers(0, 2**31 - 1))
def test_occlusion_is_one_white_square_inside(height, width, factor, seed):
    pixels = np.zeros((3, height, width), np.uint8)
    got = perturb(pixels, "occlusion", factor, np.random.default_rng(seed))
    side = min(int(factor * min(height, width)), min(height, width))
    assert set(np.unique(got)) <= {0, 255}
    white = got[0] == 255
    assert white.sum() == side**2
    assert all(np.array_equal(got[0], channel) for channel in got)
    assert white.any(1).sum() == white.any(0).sum() == side
    assert not pixels.any()  # the image that came in is left as it was


def test_the_square_may_lie_anywhere():
    places = {
        np.argwhere(perturb(np.zeros((3, 8, 8), np.uint8), "occlusion", 0.75, np.random.default_rng(seed))[0])[
            0
        ].tobytes()
        for seed in range(200)
    }
    assert len(places) == 9  # 8 - 6 + 1 in each direction


@pytest.mark.parametrize("shift", ["noise", "blur", "occlusion"])
def test_factor_0_changes_nothing(shift):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 20), np.uint8)
    np.testing.assert_array_equal(perturb(pixels, shift, 0.0, np.random.default_rng(0)), pixels)


# --- layouts ---


def test_the_seeds_layout_is_read(small_data):
    assert domain_names(small_data) == ["first", "second", "third", "unseen"]
    domain = one(small_data, "second")
    assert domain.counts().to_dict() == {
        "real": {"train": 8, "validation": 0, "test": 6},
        "fake": {"train": 8, "validation": 0, "test": 6},
    }
    for row in domain.table.itertuples():
        kind, name, part, _ = row.image.split("/")
        assert (kind, name) == (("real", "fake")[row.label], "second")
        assert part.startswith(row.split)


def test_train_b_and_other_spellings_count(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2)
    base = data / "real" / "first"
    image = Image.fromarray(photo())
    for place in ("trainB/a.JPG", "trainB/b.jpeg", "testB/c.PNG", "val/d.Jpg", "trainA/deeper/e.png"):
        (base / place).parent.mkdir(parents=True, exist_ok=True)
        image.save(base / place)
    (base / "trainA" / "notes.txt").write_text("not an image")
    (data / "fake" / "first" / "ValidationA").mkdir()
    image.save(data / "fake" / "first" / "ValidationA" / "v.png")
    domain = one(data)
    split_of = dict(zip(domain.table["image"], domain.table["split"], strict=True))
    assert split_of["real/first/trainB/a.JPG"] == "train"
    assert split_of["real/first/trainB/b.jpeg"] == "train"
    assert split_of["real/first/testB/c.PNG"] == "test"
    assert split_of["real/first/val/d.Jpg"] == "validation"
    assert split_of["real/first/trainA/deeper/e.png"] == "train"
    assert split_of["fake/first/ValidationA/v.png"] == "validation"
    assert len(split_of) == len(domain.table) == 8 + 6
    assert domain.table["image"].is_unique


def test_the_order_is_that_of_the_names_not_of_the_disk(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=3, test=1)
    first = one(data).table
    for path in sorted((data / "real").rglob("*.png"), reverse=True):  # written anew in another order
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    pd.testing.assert_frame_equal(first, one(data).table)
    images = first[first["label"] == 0]["image"].tolist()
    assert images == sorted(images)


def write_splits(data: Path, change=lambda table: table) -> None:
    files = sorted(p.relative_to(data).as_posix() for p in data.rglob("*.png"))
    table = pd.DataFrame({"file": files, "split": "test", "group": [f"photo {k}" for k in range(len(files))]})
    table.loc[::2, "split"] = "validation"
    change(table).to_csv(data / "splits.csv", index=False)


def test_splits_csv_says_it_file_by_file(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2)
    write_splits(data)
    written = pd.read_csv(data / "splits.csv").set_index("file")
    table = one(data).table
    for row in table.itertuples():
        assert row.split == written.loc[row.image, "split"]
        assert row.group == written.loc[row.image, "group"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="group"), ["splits.csv", "lacks the column 'group'", "file, split, group"]),
        (lambda t: t.iloc[1:-1], ["splits.csv", "does not mention", "1 more"]),
        (lambda t: t.assign(split="holdout"), ["split 'holdout'", "train, validation, test"]),
        (lambda t: pd.concat([t, t.iloc[:1]]), ["splits.csv", "twice", "fake/first/testA/image00.png"]),
    ],
    ids=["column", "file", "split", "twice"],
)
def test_a_faulty_splits_csv_is_told(tmp_path, change, words):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2)
    write_splits(data, change)
    with pytest.raises(DataError) as caught:
        one(data)
    for word in words:
        assert word in str(caught.value)


def test_missing_things_are_told_with_folder_and_what_is_allowed(tmp_path, root, small_data):
    with pytest.raises(DataError, match=r"data is 'nowhere': there is no such folder; allowed: mini, mini-smoke, or a"):
        data_folder("nowhere")
    with pytest.raises(DataError, match=r"there is no domain 'forth' in .*; allowed: first, second, third, unseen"):
        read_domains(small_data, ["forth"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"empty holds no domain; needed: folders real/<domain>/ and fake/<domain>/"):
        read_domains(empty, ["first"])
    (empty / "real" / "first" / "trainA").mkdir(parents=True)
    with pytest.raises(DataError, match=r"'first' in .* holds no images; looked for: \.jpg, \.jpeg, \.png"):
        read_domains(empty, ["first"])
    Image.fromarray(photo()).save(empty / "real" / "first" / "loose.png")
    with pytest.raises(DataError, match=r"loose\.png is in none of the folders train\*, val\* or test\*"):
        read_domains(empty, ["first"])


def test_a_folder_is_found_absolutely_and_from_the_root(root, small_data, monkeypatch, tmp_path_factory):
    assert data_folder(str(small_data)) == small_data.resolve()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (root / "data" / "mine").mkdir(parents=True)
    assert data_folder("data/mine") == (root / "data" / "mine").resolve()


def test_the_root_is_the_nearest_project(monkeypatch, tmp_path):
    monkeypatch.delenv("CLDF_ROOT", raising=False)
    deep = tmp_path / "project" / "notebooks" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").write_text('[project]\nname = "cldf-core"\n')
    (deep.parent / "pyproject.toml").write_text('[project]\nname = "another"\n')
    monkeypatch.chdir(deep)
    assert project_root() == (tmp_path / "project").resolve()
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    assert project_root() == tmp_path.resolve()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="split"), "lacks split; needed: image, label, split, group"),
        (lambda t: t.assign(label=2), "has label .*2.*; allowed: 0 real, 1 fake"),
        (lambda t: t.assign(split="dev"), "has split 'dev'; allowed: train, validation, test"),
    ],
)
def test_a_domain_checks_its_table(tmp_path, change, words):
    table = pd.DataFrame({"image": ["a.png"], "label": [0], "split": ["train"], "group": ["a"]})
    Domain("x", tmp_path, table)
    with pytest.raises(DataError, match=f"domain 'x'.* {words}"):
        Domain("x", tmp_path, change(table))


def fingerprint(domain: Domain) -> str:
    return domain.fingerprint(file_hash(domain.root / image) for image in domain.table["image"])


def test_the_fingerprint_is_that_of_names_labels_splits_and_contents(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2)
    base = fingerprint(one(data))
    assert shutil.copytree(data, tmp_path / "copy")
    assert fingerprint(one(tmp_path / "copy")) == base  # wherever it lies
    image = data / "real" / "first" / "trainA" / "image00.png"
    content = image.read_bytes()
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert fingerprint(one(data)) != base
    image.write_bytes(content)
    assert fingerprint(one(data)) == base
    image.rename(image.with_name("other.png"))
    assert fingerprint(one(data)) != base
    image.with_name("other.png").rename(image)
    write_splits(data)
    assert fingerprint(one(data)) != base


groups_of_rows = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), min_size=1, max_size=40)


def domain_of(rows: list[tuple[int, int]], name: str = "x", others: int = 3) -> Domain:
    """Training images of the given groups and labels, and some test images of groups of their own."""
    table = pd.DataFrame(rows, columns=["group", "label"]).assign(split="train")
    table = pd.concat([table, pd.DataFrame({"group": range(90, 90 + others), "label": 0, "split": "test"})])
    return Domain(
        name, Path(), table.assign(image=[f"{k}.png" for k in range(len(table))], group=table["group"].map(str))
    )


@settings(deadline=None, max_examples=60)
@given(rows=groups_of_rows, percent=st.integers(1, 99), seed=st.integers(0, 2**31 - 1))
def test_validation_images_are_whole_groups_of_the_training_images(rows, percent, seed):
    domain = domain_of(rows)
    got = with_validation(domain, percent / 100, seed)
    before, after = domain.table, got.table
    pd.testing.assert_frame_equal(after.drop(columns="split"), before.drop(columns="split"))
    groups = {split: set(after.loc[after["split"] == split, "group"]) for split in ("train", "validation", "test")}
    assert not groups["train"] & groups["validation"]
    assert len(groups["validation"]) == percent * len({g for g, _ in rows}) // 100
    assert groups["train"]
    assert (after.loc[before["split"] == "test", "split"] == "test").all()
    assert (got.notes == ()) == bool(groups["validation"])


def test_the_draw_of_validation_groups_hangs_on_seed_and_name_alone():
    rows = [(k, k % 2) for k in range(20)]

    def drawn(name: str, seed: int, order: list[tuple[int, int]]) -> set[str]:
        table = with_validation(domain_of(order, name), 0.25, seed).table
        return set(table.loc[table["split"] == "validation", "group"])

    first = drawn("x", 0, rows)
    assert len(first) == 5
    assert drawn("x", 0, rows[::-1]) == first
    assert drawn("x", 1, rows) != first
    assert drawn("y", 0, rows) != first


def test_a_share_that_comes_to_no_group_is_noted():
    got = with_validation(domain_of([(0, 0), (0, 1), (1, 0)]), 0.4, 0)
    assert set(got.table["split"]) == {"train", "test"}
    assert got.notes == ("x: validation_share 0.4 of its 2 training groups comes to none",)
    domain = domain_of([(0, 0)])
    assert with_validation(domain, 0, 0) is domain
    assert with_validation(domain_of([]), 0.5, 0).notes == ()  # nothing to draw from


# --- the cache of spectra ---


def expected(domain: Domain, images: list[str], size: int = 32, **how) -> np.ndarray:
    crops = [crop(open_image(domain.root / image), size) for image in images]
    return input_spec(**how).network_input(np.stack(crops))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"plane": "full"},
        {"band": "high"},
        {"precision": "float32"},
        {"feature": "image"},
        {"size": 16},
        {"feature": "image", "plane": "full", "precision": "float32"},
    ],
    ids=str,
)
def test_the_cache_holds_what_the_formula_gives(small_data, tmp_path, how):
    opts = tiny_options("sequential", small_data, **how)
    domain = one(small_data)
    got = spectra(domain, opts, tmp_path)
    assert isinstance(got.array, np.memmap)
    assert got.array.dtype == np.dtype(opts.precision)
    want = expected(
        domain,
        got.table["image"].tolist(),
        opts.size,
        feature=opts.feature,
        plane=opts.plane,
        band=opts.band,
        precision=opts.precision,
    )
    np.testing.assert_array_equal(got.array[got.table["row"]], want.astype(opts.precision))
    assert got.table["image"].tolist() == domain.table["image"].tolist()
    pd.testing.assert_frame_equal(
        got.table[["image", "label", "split", "group"]], domain.table[["image", "label", "split", "group"]]
    )
    assert got.set_aside.empty
    assert got.fingerprint == fingerprint(domain)


@pytest.mark.parametrize("plane", ["full", "half"])
def test_float32_is_within_a_millionth_of_the_formula(tmp_path, plane):
    data = make_data(tmp_path / "set", ("first",), train=2, test=1)
    flat = data / "real" / "first" / "trainA" / "image00.png"
    # A sum of slow waves: magnitudes from 1e-3 to 1e3, where single precision is furthest off.
    y, x = np.mgrid[:32, :32] / 32
    waves = 127.5 + 60 * np.sin(2 * np.pi * (x + y)) + 60 * np.cos(2 * np.pi * x)
    Image.fromarray(np.stack([waves] * 3, -1).astype(np.uint8)).save(flat)
    got = spectra(one(data), tiny_options("sequential", data, plane=plane, precision="float32"), tmp_path / "cache")
    assert got.array.dtype == np.float32
    for row, image in zip(got.table["row"], got.table["image"], strict=True):
        want = formula(open_image(data / image))
        np.testing.assert_allclose(got.array[row], want if plane == "full" else want[..., :17], rtol=0, atol=1e-6)


def test_the_crop_is_the_one_that_is_asked_for(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=1, test=1)
    for k, path in enumerate(sorted(data.rglob("*.png"))):
        Image.fromarray(photo(k, side=64)).save(path)
    for place, size, at in (("centre", 32, 16), ("centre", 16, 24), ("top-left", 32, 16), ("top-left", 56, 8)):
        got = spectra(one(data), tiny_options("sequential", data, size=size, crop=place), tmp_path / "cache")
        image = open_image(data / got.table["image"].iloc[0])[:, at : at + size, at : at + size]
        np.testing.assert_array_equal(got.array[0], input_spec().network_input(image[None])[0])


@pytest.mark.parametrize("how", [{"test_jpeg": 30}, {"test_resize": 20}, {"test_jpeg": 30, "test_resize": 20}], ids=str)
def test_only_scored_images_are_reencoded_and_both_classes_alike(tmp_path, how):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2, validation=1)
    for k, path in enumerate(sorted(data.rglob("*.png"))):
        Image.fromarray(photo(k, side=40)).save(path)  # so that cropping first would be something else
    before = hashes(data)
    plain = spectra(one(data), tiny_options("sequential", data), tmp_path / "cache")
    got = spectra(one(data), tiny_options("sequential", data, **how), tmp_path / "cache")
    pd.testing.assert_frame_equal(got.table, plain.table)
    assert set(got.table["split"]) == {"train", "validation", "test"}
    for row in got.table.itertuples():
        pixels = open_image(data / row.image)
        if row.split != "train":
            pixels = reencode(pixels, resize=how.get("test_resize"), jpeg=how.get("test_jpeg"))
        want = input_spec().network_input(crop(pixels, 32)[None])[0]
        np.testing.assert_array_equal(got.array[row.row], want)
        assert np.array_equal(plain.array[row.row], want) == (row.split == "train")
    assert hashes(data) == before


def test_arrays_that_differ_have_files_of_their_own(small_data, tmp_path):
    def files(**changes) -> int:
        spectra(one(small_data), tiny_options("sequential", small_data, **changes), tmp_path)
        return len(list(tmp_path.glob("*.npy")))

    changes = [
        {},
        {"crop": "top-left"},
        {"test_jpeg": 50},
        {"test_jpeg": 51},
        {"test_resize": 20},
        {"precision": "float32"},
    ]
    for count, change in enumerate(changes, start=1):
        assert files(**change) == files(**change) == count, change
    count = len(changes)
    for same in ({"corruption": "noise", "severities": [1.0]}, {"seed": 3}, {"drop_last": True}, {"channels": "BGR"}):
        assert files(**same) == count, same
    domain = spectra(one(small_data), tiny_options("sequential", small_data), tmp_path)
    for more, (factor, change) in enumerate(
        [(0.5, {}), (0.25, {}), (0.5, {"corruption": "blur"}), (0.5, {"seed": 1}), (0.5, {"plane": "full"})], start=1
    ):
        opts = tiny_options("sequential", small_data, **{"corruption": "noise", **change})
        shifted(domain, opts, factor, tmp_path)
        shifted(domain, opts, factor, tmp_path)
        assert len(list(tmp_path.glob("*.npy"))) == count + more, change


@pytest.mark.parametrize("shift", ["noise", "blur", "occlusion"])
def test_a_shift_changes_the_crops_of_training_images_and_computes_no_others(tmp_path, shift):
    data = make_data(tmp_path / "set", ("first",), train=3, test=2, validation=1)
    (data / "real" / "first" / "trainA" / "image01.png").write_bytes(b"")  # set aside: its row stays empty
    for k, path in enumerate(sorted((data / "fake").rglob("*.png"))):
        Image.fromarray(photo(k, side=40)).save(path)
    opts = tiny_options("sequential", data, corruption=shift, seed=7, test_jpeg=20)
    domain = spectra(one(data), opts, tmp_path / "cache")
    array = shifted(domain, opts, 0.5, tmp_path / "cache")
    training = domain.table[domain.table["split"] == "train"]
    assert isinstance(array, np.memmap)
    assert (array.shape, array.dtype) == (domain.array.shape, domain.array.dtype)
    for row in training.itertuples():
        pixels = crop(open_image(data / row.image), 32)
        changed = perturb(pixels, shift, 0.5, np.random.default_rng([7, zlib.crc32(row.image.encode())]))
        assert not np.array_equal(changed, pixels)
        np.testing.assert_array_equal(array[row.row], input_spec().network_input(changed[None])[0])
    assert not np.delete(array, training["row"], axis=0).any()
    assert shifted(domain, opts, 0.0, tmp_path / "cache") is domain.array


def test_the_noise_of_an_image_hangs_on_the_seed_and_its_path_alone(tmp_path):
    def draw(image: str, **changes) -> list[float]:
        return cache._rng(tiny_options("sequential", tmp_path, **changes), image).random(3).tolist()

    first = draw("real/first/trainA/a.png")
    assert draw("real/first/trainA/a.png", lr=0.1, corruption="blur", batch=3) == first
    # On every machine and in every process: CRC-32 of "123456789" is 0xCBF43926 by its definition.
    assert draw("123456789", seed=5) == np.random.default_rng([5, 0xCBF43926]).random(3).tolist()
    assert draw("real/first/trainA/b.png") != first
    assert draw("real/first/trainA/a.png", seed=1) != first


def test_bad_images_are_set_aside_and_the_others_keep_their_labels(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=3, test=3)
    base = data / "fake" / "first" / "trainA"
    (base / "image00.png").write_bytes(b"")
    truncate(base / "image01.png")
    Image.fromarray(photo(side=24)[:, :]).save(data / "real" / "first" / "testA" / "image02.png")
    animate(data / "real" / "first" / "testA" / "image01.png")
    Image.fromarray(np.full((32, 32, 3), 7, np.uint8)).save(base / "image02.png")  # flat, and fine
    before = hashes(data)
    domain = one(data)
    got = spectra(domain, tiny_options("sequential", data), tmp_path / "cache")
    reasons = dict(zip(got.set_aside["image"], got.set_aside["reason"], strict=True))
    assert {k.split("/", 1)[1] for k in reasons} == {
        "first/trainA/image00.png",
        "first/trainA/image01.png",
        "first/testA/image01.png",
        "first/testA/image02.png",
    }
    assert reasons["real/first/testA/image02.png"] == "too small (24 x 24, needed 32 x 32)"
    assert reasons["real/first/testA/image01.png"] == "animated (3 frames)"
    assert len(got.table) == 8
    np.testing.assert_array_equal(
        got.array[got.table["row"]], expected(domain, got.table["image"].tolist()).astype(np.float16)
    )
    (flat,) = got.table.query("image == 'fake/first/trainA/image02.png'")["row"]
    assert (got.array[flat] == 0).all()
    assert hashes(data) == before  # the data set is left as it was


def test_a_domain_of_bad_images_only_is_refused_and_leaves_nothing(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=1, test=1)
    opts = tiny_options("sequential", data, size=64)
    with pytest.raises(DataError, match=r"'first': none of its 4 images can be used; the first, .*, is too small"):
        spectra(one(data), opts, tmp_path / "cache")
    assert [p for p in (tmp_path / "cache").iterdir() if p.suffix not in (".lock", ".parquet")] == []


def test_spectra_are_computed_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2)
    opts = tiny_options("sequential", data)
    folder = tmp_path / "cache"
    computed = []
    written = cache._written
    monkeypatch.setattr(cache, "_written", lambda *a: computed.append(a[1][0]) or written(*a))
    first = spectra(one(data), opts, folder)
    again = spectra(one(data), opts, folder)
    assert len(computed) == 1
    np.testing.assert_array_equal(first.array, again.array)
    pd.testing.assert_frame_equal(first.table, again.table)
    spectra(one(data), tiny_options("sequential", data, lr=0.1, width=16), folder)
    assert len(computed) == 1  # not what a spectrum depends on
    spectra(one(data), tiny_options("sequential", data, band="low"), folder)
    assert len(computed) == 2
    image = data / "real" / "first" / "testA" / "image01.png"
    Image.fromarray(photo(99)).save(image)
    changed = spectra(one(data), opts, folder)
    assert len(computed) == 3
    (row,) = changed.table.query("image == 'real/first/testA/image01.png'")["row"]
    want = log_spectrum(photo(99).transpose(2, 0, 1)[None]).astype(np.float16)[0]
    np.testing.assert_array_equal(changed.array[row], want)
    assert not np.array_equal(first.array[row], want)  # the old file is still whole


def test_a_computation_that_breaks_leaves_no_cache(small_data, tmp_path, monkeypatch):
    opts = tiny_options("sequential", small_data)
    with monkeypatch.context() as patch:
        patch.setattr(InputSpec, "network_input", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            spectra(one(small_data), opts, tmp_path)
    assert list(tmp_path.glob("*.npy")) == []
    assert np.isfinite(spectra(one(small_data), opts, tmp_path).array).all()


def test_more_images_than_a_block(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=40, test=1)
    (data / "real" / "first" / "trainA" / "image07.png").write_bytes(b"")
    domain = one(data)
    got = spectra(domain, tiny_options("sequential", data), tmp_path / "cache")
    assert len(got.table) == 81
    np.testing.assert_array_equal(
        got.array[got.table["row"]], expected(domain, got.table["image"].tolist()).astype(np.float16)
    )


def test_several_processes_compute_what_one_does(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=50, test=20)
    (data / "real" / "first" / "trainA" / "image07.png").write_bytes(b"")
    opts = tiny_options("sequential", data)
    one_process = spectra(one(data), opts, tmp_path / "one", workers=1)
    two = spectra(one(data), opts, tmp_path / "two", workers=2)
    np.testing.assert_array_equal(two.array, one_process.array)
    pd.testing.assert_frame_equal(two.table, one_process.table)
    pd.testing.assert_frame_equal(two.set_aside, one_process.set_aside)


def test_a_second_start_reads_no_image_and_no_array(tmp_path, monkeypatch):
    data = make_data(tmp_path / "set", ("first",), train=3, test=2)
    opts = tiny_options("sequential", data)
    first = spectra(one(data), opts, tmp_path / "cache")
    for name in ("cldf_core.data.files.file_hash", "cldf_core.data.cache._checksum", "cldf_core.data.cache.open_image"):
        monkeypatch.setattr(name, lambda *a: pytest.fail("read again"))
    again = spectra(one(data), opts, tmp_path / "cache")
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.array, first.array)


def test_a_file_that_changed_behind_its_time_is_found_when_asked(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=3, test=2)
    opts = tiny_options("sequential", data)
    first = spectra(one(data), opts, tmp_path / "cache")
    image = data / "real" / "first" / "trainA" / "image00.png"
    stat, content = image.stat(), image.read_bytes()
    image.write_bytes(content[:-1] + b"?")
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert spectra(one(data), opts, tmp_path / "cache").fingerprint == first.fingerprint
    assert spectra(one(data), opts, tmp_path / "cache", anew=True).fingerprint != first.fingerprint


def test_a_damaged_array_is_computed_again_and_a_touched_one_is_not(tmp_path, capsys, monkeypatch):
    data = make_data(tmp_path / "set", ("first",), train=40, test=2)
    opts = tiny_options("sequential", data)
    want = spectra(one(data), opts, tmp_path / "cache").array.copy()
    (path,) = (tmp_path / "cache").glob("*.npy")
    os.utime(path, ns=(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(cache, "open_image", lambda *a: pytest.fail("read again"))
        np.testing.assert_array_equal(spectra(one(data), opts, tmp_path / "cache").array, want)
    assert capsys.readouterr().err == ""
    for damage in (lambda content: content[:-1] + bytes([content[-1] ^ 1]), lambda content: content[:-10]):
        path.write_bytes(damage(path.read_bytes()))
        np.testing.assert_array_equal(spectra(one(data), opts, tmp_path / "cache").array, want)
        assert "is damaged and is computed again" in capsys.readouterr().err


def test_the_cache_keeps_within_its_limit(tmp_path, monkeypatch):
    data = make_data(tmp_path / "set", ("first", "second"), train=3, test=2)
    first, second = read_domains(data, ["first", "second"])
    opts, folder = tiny_options("sequential", data), tmp_path / "cache"
    spectra(first, opts, folder)
    (old,) = folder.glob("*.npy")
    monkeypatch.setenv("CLDF_CACHE_GB", str(1.5 * old.stat().st_size / 1e9))
    # This process uses the first one still.
    with pytest.raises(DataError, match=r"spectra of 'second' need .* GB, and CLDF_CACHE_GB \(--cache-gb\) allows"):
        spectra(second, opts, folder)
    assert old.exists()
    os.utime(old.with_suffix(".lock"), (1, 1))
    spectra(second, opts, folder)
    assert not old.exists()
    np.testing.assert_array_equal(spectra(second, opts, folder).array.shape[0], 10)
    monkeypatch.setenv("CLDF_CACHE_GB", "much")
    with pytest.raises(UserError, match="is 'much'; allowed: gigabytes"):
        spectra(second, tiny_options("sequential", data, band="low"), folder)
    monkeypatch.delenv("CLDF_CACHE_GB")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1))
    with pytest.raises(DataError, match="GB free"):
        spectra(second, tiny_options("sequential", data, band="mid"), folder)


def test_names_that_look_like_numbers_or_nothing_stay_names(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=1, test=1)
    for kind in ("real", "fake"):
        folder = data / kind / "first" / "trainA"
        (folder / "image00.png").rename(folder / "007.png")
        shutil.copyfile(folder / "007.png", folder / "NA.png")
    table = spectra(one(data), tiny_options("sequential", data), tmp_path / "cache").table
    assert {"007", "NA"} <= set(table["group"])
