"""Opening images: every image is checked, and what cannot be used is set aside with a reason."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".jpg", ".jpeg", ".png")  # compared in lower case: IMG.JPG counts


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
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if getattr(image, "n_frames", 1) > 1:
                    raise ImageProblem(f"animated ({image.n_frames} frames)")
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith("I"):
                    wide = np.asarray(upright).astype(np.int64)
                    upright = Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8))
                pixels = np.asarray(upright.convert("RGB"))
    except ImageProblem:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageProblem(f"unreadable ({type(error).__name__}: {error})".replace(str(path), path.name)) from None
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def centre_crop(pixels: np.ndarray, size: int) -> np.ndarray:
    """The central size x size square; never enlarges.

    Args:
        pixels: shape (3, H, W).

    Raises:
        ImageProblem: the image is smaller than the square.
    """
    height, width = pixels.shape[-2:]
    if min(height, width) < size:
        raise ImageProblem(f"too small ({width} x {height}, needed {size} x {size})")
    top, left = (height - size) // 2, (width - size) // 2
    return pixels[:, top : top + size, left : left + size]
