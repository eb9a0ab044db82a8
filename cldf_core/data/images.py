"""Opens, crops and re-encodes images; an image that cannot be used is rejected with a reason."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps, features

from cldf_core.data.files import irregular
from cldf_core.data.truncation import truncation

if TYPE_CHECKING:  # which loads torch
    from cldf_core.spectrum import InputSpec


CropPlace = Literal["centre", "top-left"]

# Of the files in a folder that are taken for images, compared in lower case: IMG.JPG counts.
SUFFIXES: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".jfif", ".jpe", ".webp", ".bmp", ".tif", ".tiff")
if "avif" in features.modules and features.check_module("avif"):  # Pillow from 11.3 on, where it was built with it
    SUFFIXES += (".avif",)
ORIGINAL_OFFSET = 16  # the original code takes rows and columns 16..239 of the top-left 256 x 256
BICUBIC = Image.Resampling.BICUBIC
FAINT = 0.75  # of 255: one colour in a lossy file comes to 0.5, the faintest photographs of cldf-mini to 1.0
LARGEST = 1 << 28  # pixels that a resized image may have: a strip one pixel high must not fill the memory


class ImageProblem(ValueError):
    """Why an image is rejected, in a few words."""


def open_image(path: Path) -> np.ndarray:
    """Pixels of an image as RGB, uint8, shape (3, H, W), turned upright as its EXIF tag says.

    Greyscale, palette and CMYK images are converted, transparency is dropped, 16-bit values keep their upper 8 bits.

    Raises:
        ImageProblem: it is no regular file, cannot be read to its end, or has several frames.
    """
    if what := irregular(path):
        raise ImageProblem(what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Pillow's, on odd metadata that the pixels do not need
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                # A camera's MPO file is a JPEG file with a second view or a preview behind the picture.
                if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                    raise ImageProblem(f"animated ({image.n_frames} frames)")
                if image.format in ("JPEG", "MPO", "PNG"):
                    image.load()
                    if how := truncation(path.read_bytes(), image.format, np.asarray(image)):
                        raise ImageProblem(f"truncated ({how})")
                ImageOps.exif_transpose(image, in_place=True)
                upright: Image.Image = image
                if upright.mode == "F":
                    raise ImageProblem("floating-point values, of which white is not known")
                if upright.mode.startswith("I"):
                    wide = np.asarray(upright).astype(np.int64)
                    upright = Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8))
                return as_pixels(upright if upright.mode == "RGB" else upright.convert("RGB"))
    except (ImageProblem, MemoryError):
        raise
    except Exception as error:  # a damaged file must not end the work on all others, whatever Pillow makes of it
        what = re.sub(r""" (['"]).*\1""", "", str(error))  # without the path, in whatever form Pillow has it
        raise ImageProblem(f"unreadable ({type(error).__name__}: {what})") from None


def as_pixels(image: Image.Image) -> np.ndarray:
    """The pixels of an RGB image, uint8, shape (3, H, W)."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def as_image(pixels: np.ndarray) -> Image.Image:
    """An image from its pixels, uint8, shape (3, H, W)."""
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def is_faint(pixels: np.ndarray) -> bool:
    """Whether pixels, uint8, shape (3, H, W), are of one colour but for what a lossy file makes of it.

    It is the standard deviation of their luminance that tells. The spectrum of such an image tells nothing.
    """
    return bool(np.asarray(as_image(pixels).convert("L")).std() < FAINT)


def crop(pixels: np.ndarray, size: int, place: CropPlace = "centre") -> np.ndarray:
    """A view of pixels, shape (3, H, W), that is cut to (3, size, size).

    The place "top-left" is 16 pixels from the top and from the left, fewer where the image ends. At size 224 it is the
    original code's crop, for its images of at least 256 x 256.

    Raises:
        ImageProblem: the image is smaller than the crop; nothing is enlarged.
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

    With resize or jpeg the whole image is re-encoded before, as `reencode` does it.

    Raises:
        ImageProblem: the image cannot be read or re-encoded, or is smaller than the crop.
    """
    pixels = reencode(open_image(path), resize=resize, jpeg=jpeg)
    return np.ascontiguousarray(crop(pixels, spec.size, spec.crop))  # a view would keep the whole image in memory


def reencode(pixels: np.ndarray, *, resize: int | None = None, jpeg: int | None = None) -> np.ndarray:
    """Pixels, uint8, shape (3, H, W), after a resize there and back, then a JPEG file; all happens in memory.

    `resize` is the shorter side in between (Pillow's bicubic both ways), and `jpeg` the quality from 1 to 100 (Pillow's
    default 4:2:0 colours); None leaves it out.

    Raises:
        ImageProblem: the image would become too large in between, or JPEG cannot hold it.
    """
    if resize is None and jpeg is None:
        return pixels
    image = as_image(pixels)
    if resize is not None:
        image = scaled(image, resize).resize(image.size, BICUBIC)
    if jpeg is not None:
        file = io.BytesIO()
        try:
            image.save(file, "JPEG", quality=jpeg)
        except OSError as error:  # more than 65500 pixels a side
            raise ImageProblem(f"no JPEG can be made of it ({error})") from None
        image = Image.open(file)
    return as_pixels(image)


def scaled(image: Image.Image, shorter: int) -> Image.Image:
    """An image whose shorter side has so many pixels, by Pillow's bicubic filter; too large is an ImageProblem."""
    width, height = (max(1, round(side * shorter / min(image.size))) for side in image.size)
    if width * height > LARGEST:
        raise ImageProblem(f"too large when resized ({width} x {height})")
    return image.resize((width, height), BICUBIC)
