"""Opens, crops and re-encodes images; an image that cannot be used is rejected with a reason."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:  # which loads torch
    from cldf_core.spectrum import InputSpec


CropPlace = Literal["centre", "top-left"]

SUFFIXES = (".jpg", ".jpeg", ".png")  # compared in lower case: IMG.JPG counts
ORIGINAL_OFFSET = 16  # the original code takes rows and columns 16..239 of the top-left 256 x 256
BICUBIC = Image.Resampling.BICUBIC
LARGEST = 1 << 28  # pixels that a resized image may have: a strip one pixel high must not fill the memory


class ImageProblem(ValueError):
    """Why an image is rejected, in a few words."""


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


def crop(pixels: np.ndarray, size: int, place: CropPlace = "centre") -> np.ndarray:
    """A size x size crop of an image; never enlarges.

    Args:
        pixels: shape (3, H, W).
        size: pixels a side.
        place: "centre", or "top-left": 16 pixels from the top and from the left, fewer where the image ends
            (at size 224 the original code's crop, for its images of at least 256 x 256).

    Returns:
        A view, shape (3, size, size).

    Raises:
        ImageProblem: the image is smaller than the crop.
    """
    height, width = pixels.shape[-2:]
    if min(height, width) < size:
        raise ImageProblem(f"too small ({width} x {height}, needed {size} x {size})")
    if place == "centre":
        top, left = (height - size) // 2, (width - size) // 2
    else:
        top, left = min(ORIGINAL_OFFSET, height - size), min(ORIGINAL_OFFSET, width - size)
    return pixels[:, top : top + size, left : left + size]


def open_crop(path: Path, spec: InputSpec, *, resize: int | None = None, jpeg: int | None = None) -> np.ndarray:
    """The part of an image file that the network sees, uint8, shape (3, spec.size, spec.size).

    Args:
        path: of the image.
        spec: its size and its crop.
        resize, jpeg: re-encode the whole image before, as `reencode` does.

    Raises:
        ImageProblem: the image cannot be read or re-encoded, or is smaller than the crop.
    """
    pixels = reencode(open_image(path), resize=resize, jpeg=jpeg)
    return np.ascontiguousarray(crop(pixels, spec.size, spec.crop))  # a view would keep the whole image in memory


def prepare(path: Path, spec: InputSpec) -> np.ndarray:
    """What the network reads of an image file, shape `spec.shape`; raises as `open_crop` does."""
    return spec.network_input(open_crop(path, spec)[None])[0]


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
        image = image.resize((between[0], between[1]), BICUBIC).resize(image.size, BICUBIC)
    if jpeg is not None:
        file = io.BytesIO()
        try:
            image.save(file, "JPEG", quality=jpeg)
        except OSError as error:  # more than 65500 pixels a side
            raise ImageProblem(f"no JPEG can be made of it ({error})") from None
        image = Image.open(file)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
