"""cldf-mini: the splits, the squares, the forgers and the build."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cldf_core.data.mini import build as building
from cldf_core.data.mini.build import COLUMNS, JPEG_DOMAINS, JPEG_QUALITIES, build, is_built
from cldf_core.data.mini.crops import (
    DOMAINS,
    PHOTOGRAPHS,
    SIDE,
    SPLITS,
    Square,
    cut,
    half_size,
    read_splits,
    split_photographs,
    squares_of,
    write_splits,
)
from cldf_core.data.mini.generators import (
    WEIGHTS,
    blend,
    forge,
    forger_name,
    load_forgers,
    masks,
    new_forgers,
    region_of,
    turn_of,
    turned,
)
from cldf_core.data.mini.train import train_forgers

pytestmark = pytest.mark.filterwarnings("error")
SMALL = {"train": 5, "validation": 3, "test": 4}


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "splits.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("mini") / "small", **SMALL, progress=False)


# Photographs and splits


def test_photographs_are_those_of_the_table() -> None:
    with (PHOTOGRAPHS / "photographs.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["file"] for row in rows} == {path.name for path in PHOTOGRAPHS.glob("*.webp")}
    for row in rows:
        content = (PHOTOGRAPHS / row["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        assert row["licence"]
        assert row["author"]
        assert row["source"]


def test_splits_table_is_derived_again(tmp_path: Path) -> None:
    assert split_photographs(path.stem for path in PHOTOGRAPHS.glob("*.webp")) == read_splits()
    write_splits(tmp_path / "splits.csv")
    shipped = PHOTOGRAPHS.parent / "splits.csv"
    assert (tmp_path / "splits.csv").read_bytes() == shipped.read_bytes()


def test_shares_of_the_splits() -> None:
    rows = read_splits()
    shares = {split: sum(row.split == split for row in rows) / len(rows) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.65, "validation": 0.12, "test": 0.23}, abs=0.01)
    assert len({row.name for row in rows}) == len(rows) == 113
    for split in SPLITS:
        assert {row.variant for row in rows if row.split == split} == {0, 1, 2}


def test_squares_respect_photographs_and_domains() -> None:
    used = {(split, domain): squares_of(split, domain) for split in SPLITS for domain in DOMAINS}
    split_of = {row.name: row.split for row in read_splits()}
    for (split, _), squares in used.items():
        assert {split_of[square.photograph] for square in squares} == {split}
        assert len(set(squares)) == len(squares)
    training = Counter(square for domain in DOMAINS for square in used["train", domain])
    assert set(training.values()) == {1}
    for split in ("validation", "test"):
        assert len({tuple(used[split, domain]) for domain in DOMAINS}) == 1


def test_training_squares_are_the_whole_grid_of_stride_64() -> None:
    dealt = {square for domain in DOMAINS for square in squares_of("train", domain)}
    expected = set()
    for row in read_splits():
        if row.split == "train":
            height, width, _ = half_size(row.name).shape
            expected |= {
                Square(row.name, left, top) for top in range(0, height - 127, 64) for left in range(0, width - 127, 64)
            }
    assert dealt == expected


@pytest.mark.parametrize("split", ["validation", "test"])
def test_squares_of_the_grid_do_not_overlap(split: str) -> None:
    for square in squares_of(split, DOMAINS[0]):  # type: ignore[arg-type]
        assert square.left % SIDE == square.top % SIDE == 0
        assert cut(square).shape == (SIDE, SIDE, 3)


def test_small_sizes_spread_over_the_photographs() -> None:
    first = squares_of("train", "mini-GAN-S")[:73]
    assert len({square.photograph for square in first}) == 73


def test_photographs_are_halved_with_lanczos() -> None:
    name = read_splits()[0].name
    with Image.open(PHOTOGRAPHS / f"{name}.webp") as image:
        rgb = image.convert("RGB")
    halved = rgb.resize((rgb.width // 2, rgb.height // 2), Image.Resampling.LANCZOS)
    assert np.array_equal(half_size(name), np.asarray(halved))


@pytest.mark.parametrize(("split", "domain"), [("dev", "mini-VFHQ"), ("train", "VFHQ")])
def test_squares_of_unknown_names(split: str, domain: str) -> None:
    with pytest.raises(ValueError, match="allowed: "):
        squares_of(split, domain)  # type: ignore[arg-type]


# Forgers


def test_shipped_weights_are_small_float16() -> None:
    assert {path.stem for path in WEIGHTS.glob("*.safetensors")} == set(new_forgers())
    for path in WEIGHTS.glob("*.safetensors"):
        assert path.stat().st_size < 1_000_000
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


def test_every_domain_has_its_forgers() -> None:
    names = {forger_name(domain, variant) for domain in DOMAINS for variant in range(3)}
    assert names == set(new_forgers())


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_fake_does_not_depend_on_its_company(domain: str) -> None:
    squares = squares_of("validation", domain)[:3]
    images = np.stack([cut(square) for square in squares])
    forgers = load_forgers()
    together = forge(domain, forgers, images, squares)
    assert together.shape == images.shape
    assert together.dtype == np.uint8
    alone = forge(domain, forgers, images[1:2], squares[1:2])
    assert np.array_equal(together[1], alone[0])
    # A forgery resembles its photograph, and is not it.
    difference = np.abs(together.astype(int) - images).mean()
    assert 0.5 < difference < 15


def test_blending_leaves_the_surroundings_alone() -> None:
    square = squares_of("validation", "mini-DeepFake")[0]
    image = torch.from_numpy(cut(square).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    region = region_of(square)
    forger = load_forgers()["deepfake"]
    alpha = masks([region])
    assert alpha.shape == (1, 1, SIDE, SIDE)
    assert alpha.min() == 0
    assert alpha.max() == 1
    fake = blend(forger, image, [region], warp=True)
    outside = (alpha == 0).expand_as(image)
    assert torch.equal(fake[outside], image[outside])
    assert not torch.equal(fake[~outside], image[~outside])


def test_mask_is_one_inside_the_ellipse_and_zero_outside() -> None:
    region = region_of(Square("farm-cat", 0, 0))
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
def test_turning_is_the_eight_symmetries_and_can_be_undone(turn: int) -> None:
    pixels = np.arange(3 * 4 * 4).reshape(3, 4, 4)
    expected = pixels[:, ::-1] if turn & 1 else pixels
    expected = expected[:, :, ::-1] if turn & 2 else expected
    expected = expected.transpose(0, 2, 1) if turn & 4 else expected
    # In company, so that each image gets its own turn.
    images = torch.from_numpy(np.stack([pixels, pixels + 100]))
    there = turned(images, [turn, 0])
    assert np.array_equal(there[0].numpy(), expected)
    assert torch.equal(there[1], images[1])
    assert torch.equal(turned(there, [turn, 0], back=True), images)


def test_all_eight_turns_are_drawn_alike() -> None:
    counts = Counter(turn_of(square) for square in squares_of("train", "mini-VFHQ"))
    assert set(counts) == set(range(8))
    expected = counts.total() / 8
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 24.3  # chi-square, 7 degrees, p = 0.001


def test_forging_turns_a_square_and_turns_the_fake_back() -> None:
    square = next(s for s in squares_of("validation", "mini-VFHQ") if turn_of(s) == 5)
    forger = load_forgers()["vfhq"]
    with torch.inference_mode():
        pixels = torch.from_numpy(cut(square)[::-1].transpose(1, 0, 2).copy()).permute(2, 0, 1)[None]
        fake = forger(pixels.float() / 127.5 - 1)[0].permute(2, 1, 0).numpy()[::-1]
    expected = np.clip(np.rint((fake + 1) * 127.5), 0, 255)
    got = forge("mini-VFHQ", {"vfhq": forger}, cut(square)[None], [square])[0]
    assert np.abs(got - expected).max() <= 1
    assert (got == expected).mean() > 0.99


BAD_INPUT = {
    "domain": ("mini-Faces", np.zeros((1, SIDE, SIDE, 3), np.uint8), 0, "allowed: mini-GAN-S"),
    "variant": ("mini-ForenSynths", np.zeros((1, SIDE, SIDE, 3), np.uint8), 3, "allowed: 0 to 2"),
    "dtype": ("mini-VFHQ", np.zeros((1, SIDE, SIDE, 3), np.float32), 0, "images are float32"),
    "shape": ("mini-VFHQ", np.zeros((1, 64, SIDE, 3), np.uint8), 0, r"\(1, 64, 128, 3\)"),
    "count": ("mini-VFHQ", np.zeros((2, SIDE, SIDE, 3), np.uint8), 0, "for 1 squares"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_forging_bad_input(case: str) -> None:
    domain, images, variant, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message):
        forge(domain, load_forgers(), images, [Square("farm-cat", 0, 0)], variant)


def test_weights_that_are_missing_or_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no weights of forger gan-s: .* is not a file"):
        load_forgers(tmp_path)
    for path in WEIGHTS.glob("*.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "vfhq.safetensors").write_bytes((WEIGHTS / "gan-s.safetensors").read_bytes())
    with pytest.raises(ValueError, match="does not hold the weights of forger vfhq"):
        load_forgers(tmp_path)
    (tmp_path / "vfhq.safetensors").write_bytes(b"not a file of weights")
    with pytest.raises(ValueError, match="does not hold the weights of forger vfhq"):
        load_forgers(tmp_path)


# Training the forgers


def test_training_sees_training_photographs_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cldf_core.data.mini import train

    seen = set()

    def recorded(name: str) -> np.ndarray:
        seen.add(name)
        return half_size(name)

    monkeypatch.setattr(train, "half_size", recorded)
    monkeypatch.setattr(train, "STEPS", 6)
    monkeypatch.setattr(train, "ADVERSARIAL_FROM", 2)
    seconds = train_forgers(tmp_path / "a", only=("vfhq",), progress=False)
    assert set(seconds) == {"vfhq"}
    train_forgers(tmp_path / "b", only=("vfhq",), progress=False)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    train_forgers(tmp_path / "c", only=("vfhq",), seed=1, progress=False)
    assert hashes(tmp_path / "a") != hashes(tmp_path / "c")
    assert seen <= {row.name for row in read_splits() if row.split == "train"}
    assert {t.dtype for t in load_file(tmp_path / "a" / "vfhq.safetensors").values()} == {torch.float16}


def test_training_brings_a_forger_nearer_to_the_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cldf_core.data.mini import train

    squares = squares_of("validation", "mini-GAN-S")[:4]
    images = np.stack([cut(square) for square in squares])

    def distance(steps: int) -> float:
        monkeypatch.setattr(train, "STEPS", steps)
        train_forgers(tmp_path, only=("gan-s",), progress=False)
        forger = new_forgers()["gan-s"]
        forger.load_state_dict({k: v.float() for k, v in load_file(tmp_path / "gan-s.safetensors").items()})
        fakes = forge("mini-GAN-S", {"gan-s": forger}, images, squares)
        return float(np.abs(fakes.astype(int) - images).mean())

    assert distance(40) < 0.5 * distance(1)


def test_kept_weights_are_the_running_mean_of_all_steps() -> None:
    from torch.optim.swa_utils import AveragedModel

    from cldf_core.data.mini.train import DECAY, _running_mean

    model = torch.nn.Linear(1, 1, bias=False).double()
    averaged = AveragedModel(model, avg_fn=_running_mean)
    values = np.random.default_rng(0).normal(size=3000)
    expected = values[0]
    for count, value in enumerate(values):
        model.weight.data.fill_(value)
        averaged.update_parameters(model)
        if count:
            decay = min(DECAY, (count + 1) / (count + 10))
            expected = decay * expected + (1 - decay) * value
    assert averaged.module.weight.item() == pytest.approx(expected, rel=1e-9)


def test_training_an_unknown_forger(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no forger named \['stylegan'\]; allowed: gan-s"):
        train_forgers(tmp_path / "new", only=("stylegan",))
    assert not (tmp_path / "new").exists()


# The data set


def test_build_writes_the_layout(small: Path) -> None:
    rows = table(small)
    assert tuple(rows[0]) == COLUMNS
    files = {p.relative_to(small).as_posix() for p in small.rglob("*") if p.is_file()}
    assert files == {row["file"] for row in rows} | {"splits.csv", "README.md", "photographs.csv"}
    assert len(rows) == len({row["file"] for row in rows}) == 5 * 2 * sum(SMALL.values())
    for row in rows:
        kind, domain, folder, _ = row["file"].split("/")
        assert (kind, row["forger"] == "") == (("real", True) if row["label"] == "0" else ("fake", False))
        assert domain == row["domain"]
        assert folder == ("testA" if row["split"] == "test" else "trainA")
    assert Counter((r["domain"], r["split"], r["label"]) for r in rows) == {
        (domain, split, label): SMALL[split] for domain in DOMAINS for split in SPLITS for label in "01"
    }


def test_no_photograph_serves_two_splits(small: Path) -> None:
    splits: dict[str, set[str]] = {}
    for row in table(small):
        splits.setdefault(row["group"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_reals_and_fakes_pair_up(small: Path) -> None:
    rows = table(small)
    reals = {row["file"] for row in rows if row["label"] == "0"}
    fakes = {row["file"] for row in rows if row["label"] == "1"}
    assert {"real" + file.removeprefix("fake") for file in fakes} == reals


def test_test_squares_are_the_same_in_every_domain(small: Path) -> None:
    stems = [{p.stem for p in (small / "real" / domain / "testA").iterdir()} for domain in DOMAINS]
    assert all(stem == stems[0] for stem in stems)
    trained = [{p.stem for p in (small / "real" / domain / "trainA").iterdir()} for domain in DOMAINS]
    validation = set.intersection(*trained)
    assert len(validation) == SMALL["validation"]
    assert sum(map(len, trained)) == 5 * len(validation) + 5 * SMALL["train"]


def test_both_classes_are_written_alike(small: Path) -> None:
    for row in table(small):
        if row["label"] == "0":
            continue
        with (
            Image.open(small / row["file"]) as fake,
            Image.open(small / ("real" + row["file"].removeprefix("fake"))) as real,
        ):
            assert fake.format == real.format == ("JPEG" if row["domain"] in JPEG_DOMAINS else "PNG")
            assert fake.mode == real.mode == "RGB"
            assert fake.size == real.size == (SIDE, SIDE)
            assert fake.info.keys() == real.info.keys()
            if fake.format == "JPEG":
                assert fake.quantization == real.quantization  # type: ignore[attr-defined]
                assert fake.layer == real.layer  # type: ignore[attr-defined]


def test_lossless_reals_are_the_squares_themselves(small: Path) -> None:
    for square in squares_of("test", "mini-VFHQ")[: SMALL["test"]]:
        with Image.open(small / "real" / "mini-VFHQ" / "testA" / f"{square.name}.png") as image:
            assert np.array_equal(np.asarray(image), cut(square))


def test_jpeg_qualities_cover_their_range() -> None:
    qualities = {building.jpeg_quality(square) for square in squares_of("test", "mini-DeepFake")}
    assert qualities == set(JPEG_QUALITIES) == set(range(90, 99))


def test_build_is_deterministic(small: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        again = build(tmp_path / "again", **SMALL, progress=False)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert hashes(again) == hashes(small)


def test_a_smaller_build_is_part_of_a_larger_one(small: Path, tmp_path: Path) -> None:
    smaller = hashes(build(tmp_path / "s", train=2, validation=1, test=1, progress=False))
    larger = hashes(small)
    smaller.pop("splits.csv")
    assert smaller.items() <= larger.items()


def test_a_finished_folder_is_left_as_it_is(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_write_batch", None)
    before = (small / "splits.csv").stat().st_mtime_ns
    assert build(small, **SMALL) == small
    assert (small / "splits.csv").stat().st_mtime_ns == before


def test_an_interrupted_build_does_not_count(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, written = tmp_path / "data" / "mini", []
    write_image = building.write_image

    def interrupted(target: Path, square: Square, domain: str, pixels: np.ndarray) -> Path:
        if len(written) == 7:
            raise KeyboardInterrupt
        written.append(write_image(target, square, domain, pixels))
        return written[-1]

    monkeypatch.setattr(building, "write_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(folder, **SMALL, progress=False)
    assert not is_built(folder)
    assert not folder.exists()
    assert not is_built(folder.with_name("mini.partial"))
    monkeypatch.undo()
    assert is_built(build(folder, **SMALL, progress=False))
    assert hashes(folder) == hashes(small)
    assert [path.name for path in folder.parent.iterdir()] == ["mini"]


@pytest.mark.parametrize("counts", [{"train": 0}, {"validation": -1}, {"test": 10**6}])
def test_build_of_impossible_numbers(tmp_path: Path, counts: dict[str, int]) -> None:
    (split,) = counts
    with pytest.raises(ValueError, match=rf"{split} is .*; allowed for mini-.*: 1 to \d+"):
        build(tmp_path / "new", **(SMALL | counts), progress=False)
    assert list(tmp_path.iterdir()) == []


def test_build_into_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not a finished cldf-mini"):
        build(tmp_path, **SMALL, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]


def test_build_with_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    with pytest.raises(ValueError, match="no weights of forger gan-s"):
        build(tmp_path / "new", forgers=tmp_path / "weights", **SMALL, progress=False)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "new.partial").exists()


def test_progress_bar_goes_to_stderr_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path / "bar", train=1, validation=1, test=1, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "15/15" in shown.err
    build(tmp_path / "silent", train=1, validation=1, test=1)
    assert capsys.readouterr().err == ""
