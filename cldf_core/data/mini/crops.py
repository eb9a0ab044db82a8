"""The photographs of cldf-mini: which split each serves, and the squares cut from them."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
DOMAINS = ("mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake", "mini-NeuralTextures")

SIDE = 128
TRAIN_STRIDE = 64
HERE = Path(__file__).parent
PHOTOGRAPHS = HERE / "photographs"
SPLIT_SEED = 2022
SPLIT_SHARES: dict[Split, float] = {"train": 0.65, "validation": 0.12, "test": 0.23}
# mini-ForenSynths has three generators; a photograph is always forged by the same one.
VARIANTS = 3


@dataclass(frozen=True)
class Photograph:
    """One row of splits.csv: a photograph, its split, and its generator in mini-ForenSynths."""

    name: str
    split: Split
    variant: int


@dataclass(frozen=True, order=True)
class Square:
    """A 128-pixel square of a photograph at half size; left and top in pixels of the half size."""

    photograph: str
    left: int
    top: int

    @property
    def name(self) -> str:
        """File name without ending, e.g. `farm-cat-x064-y128`."""
        return f"{self.photograph}-x{self.left:03d}-y{self.top:03d}"


def split_photographs(names: Iterable[str], seed: int = SPLIT_SEED) -> list[Photograph]:
    """Deal photographs into train, validation and test by one seeded permutation.

    Args:
        names: names of the photographs; their order does not matter.
        seed: of the permutation; the shipped table was made with the default.

    Returns:
        One row a photograph, sorted by name.
    """
    ordered = sorted(names)
    # RandomState's stream is frozen by numpy's own promise; Generator's may change with versions.
    permutation = np.random.RandomState(seed).permutation(len(ordered))
    first = round(SPLIT_SHARES["train"] * len(ordered))
    second = first + round(SPLIT_SHARES["validation"] * len(ordered))
    rows = []
    for rank, index in enumerate(permutation):
        split: Split = "train" if rank < first else "validation" if rank < second else "test"
        rows.append(Photograph(ordered[index], split, rank % VARIANTS))
    return sorted(rows, key=lambda row: row.name)


def write_splits(path: Path = HERE / "splits.csv") -> None:
    """Write the split table from the shipped photographs (done once; a test derives it again)."""
    rows = split_photographs(file.stem for file in PHOTOGRAPHS.glob("*.webp"))
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["photograph", "split", "variant"])
        writer.writerows([row.name, row.split, row.variant] for row in rows)


def read_splits(path: Path = HERE / "splits.csv") -> list[Photograph]:
    """Read the split table, sorted by name.

    Raises:
        ValueError: a row names a split that does not exist.
    """
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    photographs = []
    for row in rows:
        split = row["split"]
        if split not in SPLITS:
            raise ValueError(f"{path}: {row['photograph']} is in split {split!r}; allowed: {', '.join(SPLITS)}")
        photographs.append(Photograph(row["photograph"], split, int(row["variant"])))
    return photographs


@lru_cache(maxsize=1)
def _half_sizes() -> dict[str, tuple[int, int]]:
    """Width and height of every photograph at half size, from the table: no file is decoded."""
    with (PHOTOGRAPHS / "photographs.csv").open(newline="", encoding="utf-8") as handle:
        return {
            Path(row["file"]).stem: (int(row["width"]) // 2, int(row["height"]) // 2) for row in csv.DictReader(handle)
        }


# All photographs at half size take 80 MB; squares are asked for in an order that mixes them.
@lru_cache(maxsize=128)
def half_size(name: str) -> NDArray[np.uint8]:
    """A photograph reduced by half, which removes the spectral peak its files have at period 2.

    Args:
        name: the photograph, without ending.

    Returns:
        uint8, shape (H, W, 3), read-only.
    """
    with Image.open(PHOTOGRAPHS / f"{name}.webp") as image:
        rgb = image.convert("RGB")
    halved = rgb.resize((rgb.width // 2, rgb.height // 2), Image.Resampling.LANCZOS)
    pixels = np.asarray(halved)
    pixels.flags.writeable = False
    return pixels


def _origins(name: str, stride: int) -> list[Square]:
    width, height = _half_sizes()[name]
    return [
        Square(name, left, top)
        for top in range(0, height - SIDE + 1, stride)
        for left in range(0, width - SIDE + 1, stride)
    ]


def _dealt(names: list[str], stride: int) -> list[list[Square]]:
    """Squares by rank: the k-th list holds the k-th square of every photograph, both shuffled."""
    random = np.random.RandomState(SPLIT_SEED)
    ranks: list[list[Square]] = []
    for name in (names[i] for i in random.permutation(len(names))):
        squares = _origins(name, stride)
        for rank, index in enumerate(random.permutation(len(squares))):
            if rank == len(ranks):
                ranks.append([])
            ranks[rank].append(squares[index])
    return ranks


def squares_of(split: Split, domain: str) -> list[Square]:
    """All squares a domain may use in a split, in the order in which smaller sizes take them.

    Every photograph gives one square before any gives a second. Training squares (stride 64, so
    they may overlap) are dealt out to the five domains; validation and test squares (a grid
    without overlap) serve all domains alike, so that domains are compared on the same content.

    Args:
        split: "train", "validation" or "test".
        domain: one of `DOMAINS`.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(SPLITS)}")
    if domain not in DOMAINS:
        raise ValueError(f"domain is {domain!r}; allowed: {', '.join(DOMAINS)}")
    names = [row.name for row in read_splits() if row.split == split]
    if split != "train":
        return [square for rank in _dealt(names, SIDE) for square in rank]
    ranks = _dealt(names, TRAIN_STRIDE)[DOMAINS.index(domain) :: len(DOMAINS)]
    return [square for rank in ranks for square in rank]


def cut(square: Square) -> NDArray[np.uint8]:
    """The pixels of a square: uint8, shape (128, 128, 3)."""
    photograph = half_size(square.photograph)
    return photograph[square.top : square.top + SIDE, square.left : square.left + SIDE]
