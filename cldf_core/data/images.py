"""Images: opened, checked, cropped, re-encoded, perturbed. What cannot be used is set aside with a reason."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:  # which loads torch
    from cldf_core.spectrum import InputSpec


Place = Literal["centre", "top-left"]
Shift = Literal["noise", "blur", "occlusion"]

SUFFIXES = (".jpg", ".jpeg", ".png")  # compared in lower case: IMG.JPG counts
SEED_OFFSET = 16  # the seed takes rows and columns 16..239 of the top-left 256 x 256
NOISE = 0.1  # standard deviation at factor 1, of pixels in [0, 1]
LARGEST = 1 << 28  # pixels that a resized image may have: a strip one pixel high must not fill the memory


class ImageProblem(ValueError):
    """Why an image is set aside, in a few words."""


def open_image(path: Path) -> np.ndarray:
    """Pixels of an image as RGB, turned upright as its EXIF tag says.

    Greyscale, palette and CMYK images are converted, transparency is dropped, 16-bit values keep
    their upper 8 bits.

    Returns:
        uint8, shape (3, H, W).

    Raises:
        ImageProblem: it cannot be read to its end, or has several frames.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Pillow's, on odd metadata that the pixels do not need
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                # A camera's MPO file is a JPEG file with a second view or a preview behind the picture.
                if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                    raise ImageProblem(f"animated ({image.n_frames} frames)")
                ImageOps.exif_transpose(image, in_place=True)
                upright: Image.Image = image
                if upright.mode.startswith("I"):
                    wide = np.asarray(upright).astype(np.int64)
                    upright = Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8))
                pixels = np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))
    except (ImageProblem, MemoryError):
        raise
    except Exception as error:  # a damaged file must not end the work on all others, whatever Pillow makes of it
        raise ImageProblem(f"unreadable ({type(error).__name__}: {error})".replace(str(path), path.name)) from None
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def crop(pixels: np.ndarray, size: int, place: Place = "centre") -> np.ndarray:
    """A size x size square of an image; never enlarges.

    Args:
        pixels: shape (3, H, W).
        size: pixels a side.
        place: "centre", or "top-left": 16 pixels from the top and from the left, fewer where the image ends
            (at size 224 the seed's square, for its images of at least 256 x 256).

    Returns:
        A view, shape (3, size, size).

    Raises:
        ImageProblem: the image is smaller than the square.
    """
    height, width = pixels.shape[-2:]
    if min(height, width) < size:
        raise ImageProblem(f"too small ({width} x {height}, needed {size} x {size})")
    if place == "centre":
        top, left = (height - size) // 2, (width - size) // 2
    else:
        top, left = min(SEED_OFFSET, height - size), min(SEED_OFFSET, width - size)
    return pixels[:, top : top + size, left : left + size]


def prepare(path: Path, spec: InputSpec) -> np.ndarray:
    """What the network reads of an image file, shape `spec.shape`.

    Raises:
        ImageProblem: the image cannot be read, or is smaller than the crop.
    """
    return spec.network_input(crop(open_image(path), spec.size, spec.crop)[None])[0]


def reencode(pixels: np.ndarray, *, resize: int | None = None, jpeg: int | None = None) -> np.ndarray:
    """An image as it comes out of a resize there and back, then of a JPEG file; all in memory.

    Args:
        pixels: uint8, shape (3, H, W).
        resize: pixels of the shorter side in between (Pillow's bicubic both ways); None leaves it out.
        jpeg: quality from 1 to 100 (Pillow's default 4:2:0 colours); None leaves it out.

    Returns:
        uint8, shape (3, H, W).

    Raises:
        ImageProblem: it would become too large in between, or JPEG cannot hold it.
    """
    if resize is None and jpeg is None:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    if resize is not None:
        between = [max(1, round(side * resize / min(image.size))) for side in image.size]
        if between[0] * between[1] > LARGEST:
            raise ImageProblem(f"too large when resized ({between[0]} x {between[1]})")
        there = image.resize((between[0], between[1]), Image.Resampling.BICUBIC)
        image = there.resize(image.size, Image.Resampling.BICUBIC)
    if jpeg is not None:
        file = io.BytesIO()
        try:
            image.save(file, "JPEG", quality=jpeg)
        except OSError as error:  # more than 65500 pixels a side
            raise ImageProblem(f"no JPEG can be made of it ({error})") from None
        image = Image.open(file)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def perturb(pixels: np.ndarray, shift: Shift, factor: float, rng: np.random.Generator) -> np.ndarray:
    """An image changed by noise, blur or occlusion; factor 0 leaves it as it is.

    Computed on pixels in [0, 1], then rounded and clipped to 0..255. (The seed clips pixels of 0..255 to
    [0, 1]; that is not repeated.)

    Args:
        pixels: uint8, shape (3, H, W).
        shift: "noise" adds factor * N(0, 0.1); "blur" is a Gaussian of sigma `factor` pixels, edges repeated;
            "occlusion" lays a white square, int(factor * shorter side) pixels a side, somewhere inside.
        factor: from 0 up; of an occlusion, from 1 up the square has the shorter side.
        rng: of the noise, or of the square's place.

    Returns:
        uint8, shape (3, H, W).
    """
    scaled = pixels / 255
    if shift == "noise":
        scaled += factor * rng.normal(0, NOISE, pixels.shape)
    elif shift == "blur":
        scaled = gaussian_filter(scaled, (0, factor, factor), mode="nearest")
    else:
        height, width = pixels.shape[-2:]
        side = int(min(factor, 1) * min(height, width))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        scaled[:, top : top + side, left : left + side] = 1
    return np.clip(np.rint(scaled * 255), 0, 255).astype(np.uint8)
