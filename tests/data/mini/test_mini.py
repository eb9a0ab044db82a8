"""cldf-mini: the splits, the crops, the generators and the build."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel

from cldf_core.data.mini import build as building
from cldf_core.data.mini import train
from cldf_core.data.mini.build import COLUMNS, JPEG_DOMAINS, JPEG_QUALITIES, build, is_built
from cldf_core.data.mini.crops import (
    DOMAINS,
    PHOTOGRAPHS,
    SIDE,
    SPLITS,
    Crop,
    crops_of,
    cut,
    half_size,
    photographs_of,
    read_splits,
)
from cldf_core.data.mini.generators import (
    WEIGHTS,
    blend,
    generator_name,
    load_generators,
    make_fakes,
    masks,
    new_generators,
    region_of,
    turn_of,
    turned,
)
from cldf_core.data.mini.train import train_generators
from cldf_core.data.runtime import thread_count
from samples import hashes

pytestmark = pytest.mark.filterwarnings("error")
SMALL = {"train": 5, "validation": 3, "test": 4}
FEWER = {"train": 2, "validation": 1, "test": 1}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return build(tmp_path_factory.mktemp("mini") / "small", **SMALL)


@pytest.fixture(scope="module")
def table(small):
    return pd.read_csv(small / "splits.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def generators():
    return load_generators()


# Photographs and splits


def test_photographs_are_those_of_the_table():
    listed = pd.read_csv(PHOTOGRAPHS / "photographs.csv", keep_default_na=False)
    assert set(listed["file"]) == {path.name for path in PHOTOGRAPHS.glob("*.webp")}
    assert listed["sha256"].tolist() == [
        hashlib.sha256((PHOTOGRAPHS / file).read_bytes()).hexdigest() for file in listed["file"]
    ]
    assert (listed[["licence", "author", "source"]] != "").all(axis=None)


def test_the_table_of_splits_is_derived_again():
    names = sorted(path.stem for path in PHOTOGRAPHS.glob("*.webp"))
    rows, first, second = {}, round(0.65 * len(names)), round(0.65 * len(names)) + round(0.12 * len(names))
    for rank, index in enumerate(np.random.RandomState(2022).permutation(len(names))):
        split = "train" if rank < first else "validation" if rank < second else "test"
        rows[names[index]] = {"split": split, "variant": rank % 3}
    table = read_splits()
    pd.testing.assert_frame_equal(pd.DataFrame.from_dict(rows, "index").sort_index(), table, check_names=False)
    assert len(table) == 113
    assert table.groupby("split")["variant"].agg(set).to_dict() == {split: {0, 1, 2} for split in SPLITS}


def test_crops_respect_photographs_and_domains():
    used = {(split, domain): crops_of(split, domain) for split in SPLITS for domain in DOMAINS}
    split_of = read_splits()["split"]
    for (split, _), crops in used.items():
        assert {split_of[crop.photograph] for crop in crops} == {split}
        assert len(set(crops)) == len(crops)
    training = Counter(crop for domain in DOMAINS for crop in used["train", domain])
    assert set(training.values()) == {1}
    whole_grid = set()  # of stride 64
    for name in photographs_of("train"):
        height, width, _ = half_size(name).shape
        whole_grid |= {
            Crop(name, left, top) for top in range(0, height - 127, 64) for left in range(0, width - 127, 64)
        }
    assert training.keys() == whole_grid
    for split in ("validation", "test"):
        assert len({tuple(used[split, domain]) for domain in DOMAINS}) == 1
        for crop in used[split, DOMAINS[0]]:  # none overlaps with another
            assert crop.left % SIDE == crop.top % SIDE == 0
            assert cut(crop).shape == (SIDE, SIDE, 3)
    assert len({crop.photograph for crop in used["train", "mini-GAN-S"][:73]}) == 73  # small sizes spread over all


def test_photographs_are_halved_with_lanczos():
    name = read_splits().index[0]
    with Image.open(PHOTOGRAPHS / f"{name}.webp") as image:
        rgb = image.convert("RGB")
    halved = rgb.resize((rgb.width // 2, rgb.height // 2), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(half_size(name), np.asarray(halved))


@pytest.mark.parametrize(("split", "domain"), [("dev", "mini-VFHQ"), ("train", "VFHQ")])
def test_crops_of_unknown_names(split, domain):
    with pytest.raises(ValueError, match="allowed: "):
        crops_of(split, domain)


# Generators


def test_shipped_weights_are_small_float16_and_serve_every_domain():
    paths = list(WEIGHTS.glob("*.safetensors"))
    assert {path.stem for path in paths} == set(new_generators())
    assert {generator_name(domain, variant) for domain in DOMAINS for variant in range(3)} == set(new_generators())
    for path in paths:
        assert path.stat().st_size < 1_000_000
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_fake_does_not_depend_on_its_company(domain, generators):
    crops = crops_of("validation", domain)[:3]
    images = np.stack([cut(crop) for crop in crops])
    together = make_fakes(domain, generators, images, crops)
    assert together.shape == images.shape
    assert together.dtype == np.uint8
    np.testing.assert_array_equal(together[1], make_fakes(domain, generators, images[1:2], crops[1:2])[0])
    assert 0.5 < np.abs(together.astype(int) - images).mean() < 15  # a fake resembles its photograph, and is not it


FAKES = """
import hashlib, numpy as np
from cldf_core.data.mini.crops import DOMAINS, crops_of, cut
from cldf_core.data.mini.generators import load_generators, make_fakes
digest, generators = hashlib.sha256(), load_generators()
for domain in DOMAINS:
    crops = crops_of("validation", domain)[:2]
    digest.update(make_fakes(domain, generators, np.stack([cut(crop) for crop in crops]), crops).tobytes())
print(digest.hexdigest())
"""


def test_fakes_do_not_depend_on_the_instructions_of_the_processor():
    plain = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
    said = [
        subprocess.run([sys.executable, "-c", FAKES], env=os.environ | own, capture_output=True, text=True, check=True)
        for own in ({}, plain)
    ]
    assert said[0].stdout == said[1].stdout != ""


def test_blending_leaves_the_surroundings_alone(generators):
    crop = crops_of("validation", "mini-DeepFake")[0]
    image = torch.from_numpy(cut(crop).copy()).permute(2, 0, 1)[None].double() / 127.5 - 1
    region = region_of(crop)
    alpha = masks([region])
    assert alpha.shape == (1, 1, SIDE, SIDE)
    assert (alpha.min(), alpha.max()) == (0, 1)
    fake = blend(generators["deepfake"], image, [region], warp=True)
    outside = (alpha == 0).expand_as(image)
    assert torch.equal(fake[outside], image[outside])
    assert not torch.equal(fake[~outside], image[~outside])


def test_mask_is_one_inside_the_ellipse_and_zero_outside():
    region = region_of(Crop("farm-cat", 0, 0))
    alpha = masks([region])[0, 0]
    for row in range(0, SIDE, 7):
        for column in range(0, SIDE, 7):
            x, y = (2 * column + 1) / SIDE - 1, (2 * row + 1) / SIDE - 1
            distance = np.hypot((x - region.centre[0]) / region.radii[0], (y - region.centre[1]) / region.radii[1])
            if distance > 1 + 1e-6:
                assert alpha[row, column] == 0
            elif distance < 1 - region.softness - 1e-6:
                assert alpha[row, column] == 1
            else:
                assert 0 <= alpha[row, column] <= 1


@pytest.mark.parametrize("turn", range(8))
def test_turning_is_the_eight_symmetries_and_can_be_undone(turn):
    pixels = np.arange(3 * 4 * 4).reshape(3, 4, 4)
    expected = pixels[:, ::-1] if turn & 1 else pixels
    expected = expected[:, :, ::-1] if turn & 2 else expected
    expected = expected.transpose(0, 2, 1) if turn & 4 else expected
    images = torch.from_numpy(np.stack([pixels, pixels + 100]))  # in company, so that each image gets its own turn
    got = turned(images, [turn, 0])
    np.testing.assert_array_equal(got[0], expected)
    assert torch.equal(got[1], images[1])
    assert torch.equal(turned(got, [turn, 0], back=True), images)


def test_all_eight_turns_are_drawn_alike():
    counts = Counter(turn_of(crop) for crop in crops_of("train", "mini-VFHQ"))
    assert set(counts) == set(range(8))
    expected = counts.total() / 8
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 24.3  # chi-square, 7 degrees, p = 0.001


def test_a_crop_is_turned_and_its_fake_is_turned_back(generators):
    crop = next(c for c in crops_of("validation", "mini-VFHQ") if turn_of(c) == 5)
    with torch.inference_mode():
        pixels = torch.from_numpy(cut(crop)[::-1].transpose(1, 0, 2).copy()).permute(2, 0, 1)[None]
        fake = generators["vfhq"](pixels.double() / 127.5 - 1)[0].permute(2, 1, 0).numpy()[::-1]
    expected = np.clip(np.rint((fake + 1) * 127.5), 0, 255)
    got = make_fakes("mini-VFHQ", generators, cut(crop)[None], [crop])[0]
    assert np.abs(got - expected).max() <= 1
    assert (got == expected).mean() > 0.99


@pytest.mark.parametrize(
    ("domain", "shape", "dtype", "variant", "message"),
    [
        ("mini-Faces", (1, SIDE, SIDE, 3), np.uint8, 0, "allowed: mini-GAN-S"),
        ("mini-ForenSynths", (1, SIDE, SIDE, 3), np.uint8, 3, "allowed: 0 to 2"),
        ("mini-VFHQ", (1, SIDE, SIDE, 3), np.float32, 0, "images are float32"),
        ("mini-VFHQ", (1, 64, SIDE, 3), np.uint8, 0, r"\(1, 64, 128, 3\)"),
        ("mini-VFHQ", (2, SIDE, SIDE, 3), np.uint8, 0, "for 1 crops"),
    ],
    ids=["domain", "variant", "dtype", "shape", "count"],
)
def test_no_fake_is_made_of_bad_input(domain, shape, dtype, variant, message):
    with pytest.raises(ValueError, match=message):
        make_fakes(domain, {}, np.zeros(shape, dtype), [Crop("farm-cat", 0, 0)], variant)


def test_weights_that_are_missing_or_wrong(tmp_path):
    with pytest.raises(ValueError, match="no weights of generator gan-s: .* is not a file"):
        build(tmp_path / "new", generators=tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []
    for path in WEIGHTS.glob("*.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for wrong in ((WEIGHTS / "gan-s.safetensors").read_bytes(), b"not a file of weights"):
        (tmp_path / "vfhq.safetensors").write_bytes(wrong)
        with pytest.raises(ValueError, match="does not hold the weights of generator vfhq"):
            load_generators(tmp_path)


# Training the generators


def test_training_sees_training_photographs_only_and_hangs_on_its_seed(tmp_path, monkeypatch):
    seen = set()
    monkeypatch.setattr(train, "half_size", lambda name: seen.add(name) or half_size(name))
    monkeypatch.setattr(train, "STEPS", 6)
    monkeypatch.setattr(train, "ADVERSARIAL_FROM", 2)
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert train_generators(tmp_path / folder, only=("vfhq",), seed=seed).keys() == {"vfhq"}
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b") != hashes(tmp_path / "c")
    assert seen <= set(photographs_of("train"))
    assert {t.dtype for t in load_file(tmp_path / "a" / "vfhq.safetensors").values()} == {torch.float16}


def test_training_brings_a_generator_nearer_to_the_photographs(tmp_path, monkeypatch):
    crops = crops_of("validation", "mini-GAN-S")[:4]
    images = np.stack([cut(crop) for crop in crops])

    def distance(steps: int) -> float:
        monkeypatch.setattr(train, "STEPS", steps)
        train_generators(tmp_path, only=("gan-s",))
        generator = new_generators()["gan-s"].double()
        generator.load_state_dict({k: v.double() for k, v in load_file(tmp_path / "gan-s.safetensors").items()})
        fakes = make_fakes("mini-GAN-S", {"gan-s": generator}, images, crops)
        return float(np.abs(fakes.astype(int) - images).mean())

    assert distance(40) < 0.5 * distance(1)


def test_kept_weights_are_the_running_mean_of_all_steps():
    model = torch.nn.Linear(1, 1, bias=False).double()
    averaged = AveragedModel(model, avg_fn=train._running_mean)
    values = np.random.default_rng(0).normal(size=3000)
    expected = values[0]
    for count, value in enumerate(values):
        model.weight.data.fill_(value)
        averaged.update_parameters(model)
        if count:
            decay = min(train.DECAY, (count + 1) / (count + 10))
            expected = decay * expected + (1 - decay) * value
    assert averaged.module.weight.item() == pytest.approx(expected, rel=1e-9)


def test_training_an_unknown_generator(tmp_path):
    with pytest.raises(ValueError, match=r"no generator named \['stylegan'\]; allowed: gan-s"):
        train_generators(tmp_path / "new", only=("stylegan",))
    assert not (tmp_path / "new").exists()


# The data set


def test_build_writes_the_layout(small, table):
    assert tuple(table) == COLUMNS
    files = {p.relative_to(small).as_posix() for p in small.rglob("*") if p.is_file()}
    assert files == {*table["file"], "splits.csv", "README.md", "photographs.csv"}
    assert len(table) == 5 * 2 * sum(SMALL.values())
    assert table["file"].is_unique
    for row in table.itertuples():
        kind, domain, folder, _ = row.file.split("/")
        assert (kind, row.generator == "") == (("fake", False) if row.label else ("real", True))
        assert domain == row.domain
        assert folder == ("testA" if row.split == "test" else "trainA")
    assert table.groupby(["domain", "split", "label"]).size().to_dict() == {
        (domain, split, label): SMALL[split] for domain in DOMAINS for split in SPLITS for label in (0, 1)
    }
    assert (table.groupby("group")["split"].nunique() == 1).all()  # no photograph serves two splits


def test_test_crops_are_the_same_in_every_domain(small):
    stems = [{p.stem for p in (small / "real" / domain / "testA").iterdir()} for domain in DOMAINS]
    assert all(stem == stems[0] for stem in stems)
    trained = [{p.stem for p in (small / "real" / domain / "trainA").iterdir()} for domain in DOMAINS]
    validation = set.intersection(*trained)
    assert len(validation) == SMALL["validation"]
    assert sum(map(len, trained)) == 5 * len(validation) + 5 * SMALL["train"]


def test_every_real_image_has_a_fake_that_is_written_alike(small, table):
    reals, fakes = (table[table["label"] == label] for label in (0, 1))
    assert set("real" + fakes["file"].str.removeprefix("fake")) == set(reals["file"])
    for row in reals.itertuples():
        with Image.open(small / row.file) as real, Image.open(small / ("fake" + row.file.removeprefix("real"))) as fake:
            assert fake.format == real.format == ("JPEG" if row.domain in JPEG_DOMAINS else "PNG")
            assert fake.mode == real.mode == "RGB"
            assert fake.size == real.size == (SIDE, SIDE)
            assert fake.info.keys() == real.info.keys()
            if fake.format == "JPEG":
                assert fake.quantization == real.quantization
                assert fake.layer == real.layer


def test_lossless_reals_are_the_crops_themselves_and_jpeg_qualities_cover_their_range(small):
    for crop in crops_of("test", "mini-VFHQ")[: SMALL["test"]]:
        with Image.open(small / "real" / "mini-VFHQ" / "testA" / f"{crop.name}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), cut(crop))
    qualities = {building.jpeg_quality(crop) for crop in crops_of("test", "mini-DeepFake")}
    assert qualities == set(JPEG_QUALITIES) == set(range(90, 99))


def test_a_finished_folder_is_left_as_it_is(small, monkeypatch):
    monkeypatch.setattr(building, "_jobs", None)
    before = (small / "splits.csv").stat().st_mtime_ns
    assert build(small, **SMALL) == small
    assert (small / "splits.csv").stat().st_mtime_ns == before


def test_an_interrupted_build_does_not_count_and_a_second_on_one_thread_is_part_of_a_larger_one(
    small, tmp_path, monkeypatch, capsys
):
    folder, written = tmp_path / "data" / "mini", []
    write_image = building.write_image

    def interrupted(*arguments) -> Path:
        if len(written) == 7:
            raise KeyboardInterrupt
        written.append(write_image(*arguments))
        return written[-1]

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(folder, **FEWER)
    assert "\r" not in capsys.readouterr().err  # a bar is for terminals, unless it is asked for
    assert not folder.exists()
    assert not is_built(folder.with_name("mini.partial"))
    monkeypatch.setenv("CLDF_PROGRESS", "1")
    with thread_count(1):
        assert is_built(build(folder, **FEWER))
        assert torch.get_num_threads() == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "20/20" in shown.err
    files = hashes(folder)
    files.pop("splits.csv")
    assert len([name for name in files if Path(name).suffix in (".png", ".jpg")]) == 40
    assert files.items() <= hashes(small).items()
    assert [path.name for path in folder.parent.iterdir()] == ["mini"]


@pytest.mark.parametrize("counts", [{"train": 0}, {"validation": -1}, {"test": 10**6}])
def test_build_of_impossible_numbers(tmp_path, counts):
    (split,) = counts
    with pytest.raises(ValueError, match=rf"{split} is .*; allowed for mini-.*: 1 to \d+"):
        build(tmp_path / "new", **(SMALL | counts))
    assert list(tmp_path.iterdir()) == []


def test_build_into_a_folder_of_something_else(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not a finished cldf-mini"):
        build(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]
