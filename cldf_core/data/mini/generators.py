"""The small generators of cldf-mini, and how each domain makes fakes of crops with them.

Images are uint8 arrays (N, 128, 128, 3) outside, float tensors (N, 3, H, W) in [-1, 1] inside. Fakes are made in
float64: processors round sums differently, which in float32 reached the grey levels and gave each pixels of its own.
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

from cldf_core.data.mini.crops import DOMAINS, HERE, SIDE, Crop

UpSampler = Literal["transposed-4", "transposed-3", "transposed-2", "nearest", "bilinear", "shuffle"]
# Kernel, stride, padding and padding of the output.
TRANSPOSED = {"transposed-4": (4, 2, 1, 0), "transposed-3": (3, 2, 1, 1), "transposed-2": (2, 2, 0, 0)}
BLENDED = ("mini-DeepFake", "mini-NeuralTextures")
WEIGHTS = HERE / "weights"
VARIANTS = 3  # mini-ForenSynths has three generators; a photograph always goes through the same one
# What is finer than the mean of this many pixels is sharpened by this factor after a blend.
COARSE = 5
SHARPENING = 1.2
# All batches have one size, the last is padded: a crop's fake must not depend on its company.
BATCH = 8


class Up(nn.Module):
    """Doubles height and width: (N, inputs, H, W) to (N, outputs, 2H, 2W)."""

    def __init__(self, inputs: int, outputs: int, kind: UpSampler) -> None:
        super().__init__()
        self.kind = kind
        self.layer: nn.Module
        if kind in TRANSPOSED:
            self.layer = nn.ConvTranspose2d(inputs, outputs, *TRANSPOSED[kind])
        else:
            self.layer = nn.Conv2d(inputs, outputs * (4 if kind == "shuffle" else 1), 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Doubles the size of x."""
        if self.kind == "shuffle":
            return F.pixel_shuffle(self.layer(x), 2)
        if self.kind in ("nearest", "bilinear"):
            x = F.interpolate(x, scale_factor=2, mode=self.kind)
        return self.layer(x)


class Coder(nn.Module):
    """Encoder of stride-2 convolutions, decoder of learned up-sampling; (N, 3, H, W) both ways.

    The width, channels at full size, doubles at every stage. Of each stage, the innermost first, `ups` has the
    up-sampler, and `skips` whether the decoder sees the encoder's features of its size (a U-Net).
    """

    def __init__(self, width: int, ups: tuple[UpSampler, ...], skips: tuple[bool, ...] = ()) -> None:
        super().__init__()
        widths = [width * 2**k for k in range(len(ups) + 1)]
        self.skips = skips or (False,) * len(ups)
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise(widths))
        self.body = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(Up(a, b, kind) for (a, b), kind in zip(pairs, ups, strict=True))
        self.mixes = nn.ModuleList(
            nn.Conv2d(b * (1 + skip), b, 3, padding=1) for (_, b), skip in zip(pairs, self.skips, strict=True)
        )
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Makes x again."""
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
    """Goes down by 2 (mean of 2 × 2), and up again by sub-pixel convolution on a bicubic base."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.up = Up(width, 3, "shuffle")

    def forward(self, x: Tensor) -> Tensor:
        """Shrinks and enlarges x: (N, 3, H, W) both ways, H and W even."""
        small = F.avg_pool2d(x, 2)
        base = F.interpolate(small, scale_factor=2, mode="bicubic", align_corners=False)
        hidden = F.leaky_relu(self.stem(small), 0.2)
        for layer in self.body:
            hidden = hidden + F.leaky_relu(layer(hidden), 0.2)
        return base + self.up(hidden)


def new_generators() -> dict[str, nn.Module]:
    """The untrained generators by name; a name is also the file name of the weights."""
    return {
        "gan-s": Coder(16, ("transposed-4",)),
        "vfhq": SuperResolver(32),
        "forensynths-0": Coder(16, ("transposed-4", "transposed-4")),
        "forensynths-1": Coder(16, ("transposed-3", "transposed-3")),
        "forensynths-2": Coder(16, ("nearest", "nearest")),
        "deepfake": Coder(16, ("transposed-4", "transposed-4")),
        "neuraltextures": Coder(12, ("bilinear", "bilinear", "transposed-4"), (True, False, False)),
    }


def load_generators(folder: Path | None = None) -> dict[str, nn.Module]:
    """The trained generators, ready to apply, from a folder with one safetensors file each; None takes the shipped.

    Raises:
        ValueError: a file is missing, or does not hold this generator's weights.
    """
    generators = new_generators()
    for name, generator in generators.items():
        path = (folder or WEIGHTS) / f"{name}.safetensors"
        if not path.is_file():
            raise ValueError(f"no weights of generator {name}: {path} is not a file")
        try:
            generator.double().load_state_dict({k: v.double() for k, v in load_file(path).items()})
        except Exception as error:
            raise ValueError(f"{path} does not hold the weights of generator {name}: {error}") from error
        generator.eval().requires_grad_(False)
    return generators


def generator_name(domain: str, variant: int) -> str:
    """The generator of a domain; variant matters to mini-ForenSynths only."""
    name = domain.removeprefix("mini-").lower()
    return f"{name}-{variant}" if domain == "mini-ForenSynths" else name


@dataclass(frozen=True)
class Region:
    """Where and how a crop is blended; all lengths are in units of half the crop's side."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    softness: float
    angle: float
    scale: float


def region_of(crop: Crop) -> Region:
    """The blended region of a crop: drawn from its name, the same in every domain."""
    random = np.random.RandomState(zlib.crc32(f"region {crop.name}".encode()))
    return Region(
        centre=(random.uniform(-0.12, 0.12), random.uniform(-0.12, 0.12)),
        radii=(random.uniform(0.97, 1.17), random.uniform(0.97, 1.17)),
        softness=random.uniform(0.1, 0.25),
        angle=random.uniform(-0.12, 0.12),
        scale=random.uniform(0.9, 1.0),
    )


def masks(regions: list[Region]) -> Tensor:
    """Soft elliptic masks in [0, 1], shape (N, 1, 128, 128)."""
    line = (torch.arange(SIDE, dtype=torch.float64) + 0.5) * 2 / SIDE - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    layers = []
    for r in regions:
        distance = (((x - r.centre[0]) / r.radii[0]) ** 2 + ((y - r.centre[1]) / r.radii[1]) ** 2).sqrt()
        t = ((1 - distance) / r.softness).clamp(0, 1)
        layers.append(t * t * (3 - 2 * t))
    return torch.stack(layers)[:, None]


def _warps(regions: list[Region]) -> tuple[Tensor, Tensor]:
    """Affine maps (N, 2, 3) of `affine_grid` into the aligned region and back."""
    matrices = []
    for r in regions:
        cos, sin = np.cos(r.angle) * r.scale, np.sin(r.angle) * r.scale
        matrices.append([[cos, -sin, r.centre[0]], [sin, cos, r.centre[1]], [0.0, 0.0, 1.0]])
    forward = torch.tensor(matrices, dtype=torch.float64)
    return forward[:, :2], torch.linalg.inv(forward)[:, :2]


def _sample(images: Tensor, warp: Tensor) -> Tensor:
    grid = F.affine_grid(warp, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, "bicubic", "reflection", align_corners=False)


def _match(new: Tensor, old: Tensor, weight: Tensor) -> Tensor:
    """Gives new the weighted mean, contrast and fineness that old has, channel by channel."""

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
    """Each image, of shape (N, C, side, side), in one of the eight symmetries of a square, or back from it.

    A turn is 0 to 7: +1 mirrors rows, +2 mirrors columns, +4 swaps both axes at last.
    """
    out = []
    for image, turn in zip(images, turns, strict=True):
        mirrored = [axis for axis, bit in ((1, 1), (2, 2)) if turn & bit]
        if turn & 4:
            image = image.transpose(1, 2).flip(mirrored) if back else image.flip(mirrored).transpose(1, 2)
        else:
            image = image.flip(mirrored)
        out.append(image)
    return torch.stack(out)


def turn_of(crop: Crop) -> int:
    """How a crop is turned while its fake is made, 0 to 7: drawn from its name."""
    return zlib.crc32(f"turn {crop.name}".encode()) % 8


def blend(generator: nn.Module, images: Tensor, regions: list[Region], *, warp: bool) -> Tensor:
    """Makes a region of each image again and puts it back: matched to what it was, and blended in.

    The generator maps (N, 3, H, W) to the same shape. With `warp` it sees the region aligned (a face swap), else in
    place (re-rendering).
    """
    if warp:
        forward, back = _warps(regions)
        new = _sample(generator(_sample(images, forward)), back)
    else:
        new = generator(images)
    alpha = masks(regions)
    return images + alpha * (_match(new, images, alpha) - images)


@torch.inference_mode()
def make_fakes(
    domain: str, generators: dict[str, nn.Module], images: NDArray[np.uint8], crops: list[Crop], variant: int = 0
) -> NDArray[np.uint8]:
    """Makes the fake of every crop, before any compression: uint8, shape (N, 128, 128, 3), as the images are.

    The generators are those of `load_generators`, and N is at most `BATCH`. Regions and turns are drawn from the crops'
    names and places. `variant` is the generator of mini-ForenSynths, 0 to 2; the other domains have one.

    Raises:
        ValueError: the domain or variant is unknown, or images have another type, shape or number.
    """
    if domain not in DOMAINS:
        raise ValueError(f"domain is {domain!r}; allowed: {', '.join(DOMAINS)}")
    if variant not in range(VARIANTS):
        raise ValueError(f"variant is {variant!r}; allowed: 0 to {VARIANTS - 1}")
    count = len(crops)
    if images.dtype != np.uint8 or images.shape != (count, SIDE, SIDE, 3) or not 1 <= count <= BATCH:
        raise ValueError(
            f"images are {images.dtype} {images.shape} for {count} crops; expected uint8 "
            f"(N, {SIDE}, {SIDE}, 3) with N crops, 1 to {BATCH}"
        )
    padded = np.concatenate([images, np.repeat(images[-1:], BATCH - count, 0)])
    pixels = torch.from_numpy(padded).permute(0, 3, 1, 2).double() / 127.5 - 1
    crops = crops + crops[-1:] * (BATCH - count)
    generator = generators[generator_name(domain, variant)]
    if domain in BLENDED:
        fakes = blend(generator, pixels, [region_of(crop) for crop in crops], warp=domain == "mini-DeepFake")
    else:
        # A generator prefers directions by chance, others with every seed; turned about, only its grid is left.
        turns = [turn_of(crop) for crop in crops]
        fakes = turned(generator(turned(pixels, turns)), turns, back=True)
    rounded = ((fakes[:count] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return rounded.permute(0, 2, 3, 1).contiguous().numpy()
