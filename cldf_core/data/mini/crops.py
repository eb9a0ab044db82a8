"""The photographs of cldf-mini: which split each serves, and the crops that are cut from them."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from cldf_core.data.domains import SPLITS

DOMAINS = ("mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake", "mini-NeuralTextures")

SIDE = 128
TRAIN_STRIDE = 64
HERE = Path(__file__).parent
PHOTOGRAPHS = HERE / "photographs"
SEED = 2022


@dataclass(frozen=True, order=True)
class Crop:
    """A crop of 128 x 128 pixels of a photograph at half size; left and top are pixels of the half size."""

    photograph: str
    left: int
    top: int

    @property
    def name(self) -> str:
        """File name without ending, e.g. `farm-cat-x064-y128`."""
        return f"{self.photograph}-x{self.left:03d}-y{self.top:03d}"


def read_splits() -> pd.DataFrame:
    """The split of each photograph, and its variant: its generator in mini-ForenSynths, 0 to 2; the index is its name.

    The table was drawn once: a seeded permutation dealt the photographs out, 65 % to training, 12 % to validation.
    """
    return pd.read_csv(HERE / "splits.csv", index_col="photograph")


def photographs_of(split: str) -> list[str]:
    """The names of the photographs that serve a split, sorted."""
    return read_splits().query("split == @split").index.tolist()


@lru_cache(maxsize=1)
def _half_sizes() -> dict[str, tuple[int, int]]:
    """Width and height of every photograph at half size, from the table: no file is decoded."""
    table = pd.read_csv(PHOTOGRAPHS / "photographs.csv")
    names = (Path(file).stem for file in table["file"])
    return dict(zip(names, zip(table["width"] // 2, table["height"] // 2, strict=True), strict=True))


# All photographs at half size take 80 MB; crops are asked for in an order that mixes them.
@lru_cache(maxsize=128)
def half_size(name: str) -> NDArray[np.uint8]:
    """A photograph reduced by half, which removes the spectral peak that its file has at period 2.

    The pixels are uint8, shape (H, W, 3), read-only.
    """
    with Image.open(PHOTOGRAPHS / f"{name}.webp") as image:
        rgb = image.convert("RGB")
    pixels = np.asarray(rgb.resize((rgb.width // 2, rgb.height // 2), Image.Resampling.LANCZOS))
    pixels.flags.writeable = False
    return pixels


def _dealt(names: list[str], stride: int) -> list[list[Crop]]:
    """Crops by rank: the k-th list holds the k-th crop of every photograph, both shuffled."""
    # RandomState's stream is frozen by numpy's own promise; Generator's may change with versions.
    random = np.random.RandomState(SEED)
    ranks: list[list[Crop]] = []
    for name in (names[i] for i in random.permutation(len(names))):
        width, height = _half_sizes()[name]
        tops, lefts = range(0, height - SIDE + 1, stride), range(0, width - SIDE + 1, stride)
        crops = [Crop(name, left, top) for top in tops for left in lefts]
        for rank, index in enumerate(random.permutation(len(crops))):
            if rank == len(ranks):
                ranks.append([])
            ranks[rank].append(crops[index])
    return ranks


def crops_of(split: str, domain: str) -> list[Crop]:
    """All crops that a domain may use in a split, in the order in which smaller sizes take them.

    Every photograph gives one crop before any gives a second. Training crops (stride 64, so they may overlap) are
    dealt out to the five domains; validation and test crops (a grid without overlap) serve all domains alike, so
    that domains are compared on the same content.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(SPLITS)}")
    if domain not in DOMAINS:
        raise ValueError(f"domain is {domain!r}; allowed: {', '.join(DOMAINS)}")
    if split == "train":
        ranks = _dealt(photographs_of(split), TRAIN_STRIDE)[DOMAINS.index(domain) :: len(DOMAINS)]
    else:
        ranks = _dealt(photographs_of(split), SIDE)
    return [crop for rank in ranks for crop in rank]


def cut(crop: Crop) -> NDArray[np.uint8]:
    """The pixels of a crop: uint8, shape (128, 128, 3)."""
    return half_size(crop.photograph)[crop.top : crop.top + SIDE, crop.left : crop.left + SIDE]
