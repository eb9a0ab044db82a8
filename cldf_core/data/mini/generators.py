"""The forgers of cldf-mini: small generators, and how each domain uses them on a square.

Images are uint8 arrays (N, 128, 128, 3) outside, float tensors (N, 3, H, W) in [-1, 1] inside.
"""

import itertools
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from cldf_core.data.mini.crops import DOMAINS, HERE, SIDE, VARIANTS, Square

UpSampler = Literal["transposed-4", "transposed-3", "transposed-2", "nearest", "bilinear", "shuffle"]
BLENDED = ("mini-DeepFake", "mini-NeuralTextures")
WEIGHTS = HERE / "weights"
# What is finer than the mean of this many pixels is sharpened by this factor after a blend.
COARSE = 5
SHARPENING = 1.2
# One size for every batch, the last one padded: a square's fake must not depend on its company.
BATCH = 8


class Up(nn.Module):
    """Doubles height and width: (N, inputs, H, W) to (N, outputs, 2H, 2W)."""

    def __init__(self, inputs: int, outputs: int, kind: UpSampler) -> None:
        super().__init__()
        self.kind = kind
        self.layer: nn.Module
        if kind == "transposed-4":
            self.layer = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
        elif kind == "transposed-3":
            self.layer = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1)
        elif kind == "transposed-2":
            self.layer = nn.ConvTranspose2d(inputs, outputs, 2, 2)
        elif kind == "shuffle":
            self.layer = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)
        else:
            self.layer = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Double the size of x."""
        if self.kind == "shuffle":
            return F.pixel_shuffle(self.layer(x), 2)
        if self.kind in ("nearest", "bilinear"):
            smooth = False if self.kind == "bilinear" else None
            x = F.interpolate(x, scale_factor=2, mode=self.kind, align_corners=smooth)
        return self.layer(x)


class Coder(nn.Module):
    """Encoder of stride-2 convolutions, decoder of learned up-sampling; (N, 3, H, W) both ways.

    Args:
        width: channels at full size; doubled at every stage.
        ups: the up-sampler of each stage, the innermost first; their number is the number of stages.
        kernel: of the convolutions that follow the up-sampling; 1 leaves its grid as it is.
        skips: whether the decoder sees the encoder's features of its size (a U-Net), from the
            innermost stage to the full size.
    """

    def __init__(
        self, width: int, ups: tuple[UpSampler, ...], *, kernel: int = 3, skips: tuple[bool, ...] = ()
    ) -> None:
        super().__init__()
        widths = [width * 2**k for k in range(len(ups) + 1)]
        self.skips = skips or (False,) * len(ups)
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise(widths))
        self.body = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(Up(a, b, kind) for (a, b), kind in zip(pairs, ups, strict=True))
        self.mixes = nn.ModuleList(
            nn.Conv2d(b * (1 + skip), b, kernel, padding=kernel // 2)
            for (_, b), skip in zip(pairs, self.skips, strict=True)
        )
        self.last = nn.Conv2d(width, 3, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Re-synthesise x."""
        x = F.leaky_relu(self.stem(x), 0.2)
        seen = []
        for down in self.downs:
            seen.append(x)
            x = F.leaky_relu(down(x), 0.2)
        x = x + F.leaky_relu(self.body(x), 0.2)
        for up, mix, skip in zip(self.ups, self.mixes, self.skips, strict=True):
            x = F.leaky_relu(up(x), 0.2)
            encoded = seen.pop()
            x = F.leaky_relu(mix(torch.cat([x, encoded], 1) if skip else x), 0.2)
        return torch.tanh(self.last(x))


class SuperResolver(nn.Module):
    """Down by 2 (mean of 2 × 2), up again by sub-pixel convolution on a bicubic base."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.up = Up(width, 3, "shuffle")

    def forward(self, x: Tensor) -> Tensor:
        """Shrink and enlarge x: (N, 3, H, W) both ways, H and W even."""
        small = F.avg_pool2d(x, 2)
        base = F.interpolate(small, scale_factor=2, mode="bicubic", align_corners=False)
        hidden = F.leaky_relu(self.stem(small), 0.2)
        for layer in self.body:
            hidden = hidden + F.leaky_relu(layer(hidden), 0.2)
        return base + self.up(hidden)


def new_forgers() -> dict[str, nn.Module]:
    """The untrained generators by name; a name is also the file name of the weights."""
    return {
        "gan-s": Coder(16, ("transposed-4",)),
        "vfhq": SuperResolver(32),
        "forensynths-0": Coder(16, ("transposed-4", "transposed-4")),
        "forensynths-1": Coder(16, ("transposed-3", "transposed-3")),
        "forensynths-2": Coder(16, ("nearest", "nearest")),
        "deepfake": Coder(16, ("transposed-4", "transposed-4")),
        "neuraltextures": Coder(12, ("bilinear", "bilinear", "transposed-4"), skips=(True, False, False)),
    }


def load_forgers(folder: Path | None = None) -> dict[str, nn.Module]:
    """The trained generators, ready to apply.

    Args:
        folder: where the weights lie, one safetensors file a forger; None takes the shipped ones.

    Raises:
        ValueError: a file is missing, or does not hold this forger's weights.
    """
    folder = WEIGHTS if folder is None else Path(folder)
    forgers = new_forgers()
    for name, forger in forgers.items():
        path = folder / f"{name}.safetensors"
        if not path.is_file():
            raise ValueError(f"no weights of forger {name}: {path} is not a file")
        try:
            forger.load_state_dict({k: v.float() for k, v in load_file(path).items()})
        except Exception as error:
            raise ValueError(f"{path} does not hold the weights of forger {name}: {error}") from error
        forger.eval().requires_grad_(False)
    return forgers


def forger_name(domain: str, variant: int = 0) -> str:
    """The forger of a domain; variant matters to mini-ForenSynths only."""
    name = domain.removeprefix("mini-").lower()
    return f"{name}-{variant}" if domain == "mini-ForenSynths" else name


@dataclass(frozen=True)
class Region:
    """Where and how a square is blended: all lengths in units of half the square's side."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    softness: float
    angle: float
    scale: float


def region_of(square: Square) -> Region:
    """The blended region of a square: drawn from its name, the same in every domain."""
    random = np.random.RandomState(zlib.crc32(f"region {square.name}".encode()))
    return Region(
        centre=(random.uniform(-0.12, 0.12), random.uniform(-0.12, 0.12)),
        radii=(random.uniform(0.97, 1.17), random.uniform(0.97, 1.17)),
        softness=random.uniform(0.1, 0.25),
        angle=random.uniform(-0.12, 0.12),
        scale=random.uniform(0.9, 1.0),
    )


def masks(regions: list[Region], side: int = SIDE) -> Tensor:
    """Soft elliptic masks in [0, 1], shape (N, 1, side, side)."""
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    layers = []
    for r in regions:
        distance = (((x - r.centre[0]) / r.radii[0]) ** 2 + ((y - r.centre[1]) / r.radii[1]) ** 2).sqrt()
        t = ((1 - distance) / r.softness).clamp(0, 1)
        layers.append(t * t * (3 - 2 * t))
    return torch.stack(layers)[:, None]


def _warps(regions: list[Region]) -> tuple[Tensor, Tensor]:
    """Affine maps (N, 2, 3) of `affine_grid` into the aligned region and back."""
    there = []
    for r in regions:
        cos, sin = np.cos(r.angle) * r.scale, np.sin(r.angle) * r.scale
        there.append([[cos, -sin, r.centre[0]], [sin, cos, r.centre[1]], [0.0, 0.0, 1.0]])
    forward = torch.tensor(there, dtype=torch.float64)
    back = torch.linalg.inv(forward)
    return forward[:, :2].float(), back[:, :2].float()


def _sample(images: Tensor, warp: Tensor) -> Tensor:
    grid = F.affine_grid(warp, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, "bicubic", "reflection", align_corners=False)


def _match(new: Tensor, old: Tensor, weight: Tensor) -> Tensor:
    """Give new the weighted mean, contrast and fineness that old has, channel by channel."""

    def moments(x: Tensor) -> tuple[Tensor, Tensor]:
        total = weight.sum((2, 3), keepdim=True)
        mean = (x * weight).sum((2, 3), keepdim=True) / total
        return mean, (((x - mean) ** 2 * weight).sum((2, 3), keepdim=True) / total).sqrt()

    (a, s), (b, t) = moments(new), moments(old)
    new = (new - a) * (t / s.clamp_min(1e-3)).clamp(0.8, 1.25) + b
    coarse_new, coarse_old = _coarse(new), _coarse(old)
    (_, s), (_, t) = moments(new - coarse_new), moments(old - coarse_old)
    return coarse_new + (new - coarse_new) * (SHARPENING * t / s.clamp_min(1e-4)).clamp(0.5, 3.0)


def _coarse(x: Tensor) -> Tensor:
    radius = COARSE // 2
    return F.avg_pool2d(F.pad(x, (radius,) * 4, "reflect"), COARSE, 1)


def turned(images: Tensor, turns: list[int], *, back: bool = False) -> Tensor:
    """Each image in one of the eight symmetries of a square, or back from it.

    Args:
        images: shape (N, C, side, side).
        turns: for each image 0 to 7: +1 mirrors rows, +2 mirrors columns, +4 swaps both axes at last.
        back: undoes it.
    """
    out = []
    for image, turn in zip(images, turns, strict=True):
        mirrored = [axis for axis, bit in ((1, 1), (2, 2)) if turn & bit]
        if turn & 4 and back:
            image = image.transpose(1, 2)
        image = image.flip(mirrored)
        if turn & 4 and not back:
            image = image.transpose(1, 2)
        out.append(image)
    return torch.stack(out)


def turn_of(square: Square) -> int:
    """How a square is turned while it is forged, 0 to 7: drawn from its name."""
    return zlib.crc32(f"turn {square.name}".encode()) % 8


def blend(forger: nn.Module, images: Tensor, regions: list[Region], *, warp: bool) -> Tensor:
    """Re-synthesise a region and put it back: warp, forge, warp back, match, blend.

    Args:
        forger: maps (N, 3, H, W) to the same shape.
        images: float in [-1, 1], shape (N, 3, 128, 128).
        regions: one an image.
        warp: whether the forger sees the region aligned (a face swap) or in place (re-rendering).
    """
    if warp:
        there, back = _warps(regions)
        new = _sample(forger(_sample(images, there)), back)
    else:
        new = forger(images)
    alpha = masks(regions)
    return images + alpha * (_match(new, images, alpha) - images)


@torch.inference_mode()
def forge(
    domain: str, forgers: dict[str, nn.Module], images: NDArray[np.uint8], squares: list[Square], variant: int = 0
) -> NDArray[np.uint8]:
    """Make the fake of every square, before any compression.

    Args:
        domain: one of `DOMAINS`.
        forgers: from `load_forgers`.
        images: the squares' pixels, uint8, shape (N, 128, 128, 3), N at most `BATCH`.
        squares: their names and places, from which regions are drawn.
        variant: the generator of mini-ForenSynths, 0 to 2; the other domains have one.

    Returns:
        uint8, shape (N, 128, 128, 3).

    Raises:
        ValueError: an unknown domain or variant, or images of another type, shape or number.
    """
    if domain not in DOMAINS:
        raise ValueError(f"domain is {domain!r}; allowed: {', '.join(DOMAINS)}")
    if variant not in range(VARIANTS):
        raise ValueError(f"variant is {variant!r}; allowed: 0 to {VARIANTS - 1}")
    count = len(squares)
    if images.dtype != np.uint8 or images.shape != (count, SIDE, SIDE, 3) or not 1 <= count <= BATCH:
        raise ValueError(
            f"images are {images.dtype} {images.shape} for {count} squares; expected uint8 "
            f"(N, {SIDE}, {SIDE}, 3) with N squares, 1 to {BATCH}"
        )
    padded = np.concatenate([images, np.repeat(images[-1:], BATCH - count, 0)])
    pixels = torch.from_numpy(padded).permute(0, 3, 1, 2).float() / 127.5 - 1
    squares = squares + squares[-1:] * (BATCH - count)
    forger = forgers[forger_name(domain, variant)]
    if domain in BLENDED:
        fakes = blend(forger, pixels, [region_of(square) for square in squares], warp=domain == "mini-DeepFake")
    else:
        # A forger prefers directions by chance, others with every seed; turned about, only its grid is left.
        turns = [turn_of(square) for square in squares]
        fakes = turned(forger(turned(pixels, turns)), turns, back=True)
    rounded = ((fakes[:count] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return rounded.permute(0, 2, 3, 1).contiguous().numpy()
