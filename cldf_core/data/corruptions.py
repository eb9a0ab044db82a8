"""What happens to an image on its way to a reader: saved again, resized, blurred, noise added.

Every image is saved once more in the same way first. So images that were stored without loss and images that
were JPEG files start alike, and what is done to them afterwards is not their first loss in one case and their
second in the other. Real and fake images are treated by the same lines; nothing here knows a label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from cldf_core.data.images import LARGEST, ImageProblem, Place, crop, perturb, reencode

COMMON_JPEG = 95  # as light as a JPEG file usually is: what is measured is the processing, not this
STORED, NONE = "stored", "none"  # as in the data set; saved in the common way and nothing else
# The strengths of each processing, the mildest first.
STRENGTHS: dict[str, tuple[float, ...]] = {
    "JPEG": (95, 90, 80, 70, 50, 30),
    "resize": (1.25, 0.75, 1.5, 0.5),
    "blur": (0.5, 0.75, 1.0, 1.5, 2.0),
    "noise": (0.05, 0.1, 0.2, 0.5, 1.0),
}
# Every version of an image, in the order in which `versions` makes them.
VERSIONS: tuple[tuple[str, float], ...] = (
    (STORED, 0.0),
    (NONE, 0.0),
    *((name, strength) for name, strengths in STRENGTHS.items() for strength in strengths),
)


def versions(
    pixels: np.ndarray,
    size: int,
    place: Place = "centre",
    *,
    which: Sequence[tuple[str, float]] = VERSIONS,
    seed: int | list[int] = 0,
) -> np.ndarray:
    """What the network's square shows of an image, for every processing and strength.

    The whole image is saved in the common way, then processed; then the square is cut out. Each processing starts
    from the common image, not from the one before. The version "stored" is the image as it is.

    Args:
        pixels: uint8, shape (3, H, W), at least size x size.
        size: pixels a side of the square.
        place: where the square lies, as in `crop`.
        which: of VERSIONS.
        seed: of the noise, whose pattern is the same in all strengths.

    Returns:
        uint8, shape (V, 3, size, size), one for each of `which`.

    Raises:
        ImageProblem: the image is smaller than the square, or it cannot be saved or enlarged.
    """
    common = reencode(pixels, jpeg=COMMON_JPEG)
    whole = [pixels if name == STORED else processed(common, name, s, size=size, seed=seed) for name, s in which]
    return np.stack([crop(image, size, place) for image in whole])


def processed(
    pixels: np.ndarray, processing: str, strength: float, *, size: int, seed: int | list[int] = 0
) -> np.ndarray:
    """A whole image after one processing.

    Args:
        pixels: uint8, shape (3, H, W).
        processing: "none"; "JPEG", saved with this quality (Pillow's default 4:2:0 colours); "resize", see
            `resized`; "blur", a Gaussian of this sigma in pixels; "noise", Gaussian, of standard deviation
            0.1 * strength on pixels in [0, 1] (`perturb`).
        strength: quality, factor, sigma or noise factor.
        size: of the square that is cut out afterwards.
        seed: of the noise.

    Returns:
        uint8, shape (3, H', W'), at least size x size where the image was.

    Raises:
        ValueError: an unknown processing; the message lists the known ones. ImageProblem: as `versions`.
    """
    if processing == NONE:
        return pixels
    if processing == "JPEG":
        return reencode(pixels, jpeg=int(strength))
    if processing == "resize":
        return resized(pixels, strength, size)
    if processing == "blur":
        return perturb(pixels, "blur", strength, np.random.default_rng(0))  # which a blur does not draw from
    if processing == "noise":
        return perturb(pixels, "noise", strength, np.random.default_rng(seed))
    raise ValueError(f"processing is {processing!r}; allowed: {', '.join((NONE, *STRENGTHS))}")


def resized(pixels: np.ndarray, factor: float, size: int) -> np.ndarray:
    """An image whose shorter side is multiplied by a factor, with Pillow's bicubic filter.

    Where the shrunk image would be smaller than the network's square, it is resized there *and back* to its old
    size instead. So no image is set aside, and all factors are measured on the same images. Which of the two
    happens depends on the image's size alone. The square of an image that stays shrunk shows more of it, that of
    an enlarged one less.

    Args:
        pixels: uint8, shape (3, H, W), at least size x size.
        factor: of the shorter side, rounded to whole pixels; the longer side keeps the proportion.
        size: of the network's square, in pixels.

    Returns:
        uint8, shape (3, H', W'), at least size x size.

    Raises:
        ImageProblem: it would become too large.
    """
    height, width = pixels.shape[-2:]
    shorter = max(1, round(factor * min(height, width)))
    if shorter < size:
        return reencode(pixels, resize=shorter)
    new = [round(side * shorter / min(height, width)) for side in (width, height)]
    if new[0] * new[1] > LARGEST:
        raise ImageProblem(f"too large when resized ({new[0]} x {new[1]})")
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    there = image.resize((new[0], new[1]), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(there).transpose(2, 0, 1))
