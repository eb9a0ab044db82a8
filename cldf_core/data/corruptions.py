"""Corruptions of images: saved as JPEG, resized, blurred, with noise or an occlusion.

Robustness is measured on versions of an image. For these, every image is saved once more in the same way first. So
images that were stored without loss and images that were JPEG files start alike: the corruption is not the first
loss of one and the second loss of the other. Real and fake images take the same way; nothing here knows a label.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from cldf_core.data.images import BICUBIC, LARGEST, CropPlace, ImageProblem, crop, reencode

NOISE = 0.1  # standard deviation at severity 1, of pixels in [0, 1]
COMMON_JPEG = 95  # so light that what is measured is the corruption, not this
STORED, NONE = "stored", "none"  # versions: as in the data set; saved in the common way and nothing else
# The severities of each corruption, the mildest first.
SEVERITIES: dict[str, tuple[float, ...]] = {
    "JPEG": (95, 90, 80, 70, 50, 30),
    "resize": (1.25, 0.75, 1.5, 0.5),
    "blur": (0.5, 0.75, 1.0, 1.5, 2.0),
    "noise": (0.05, 0.1, 0.2, 0.5, 1.0),
}
# Every version of an image: corruption and severity, in the order of `versions`.
VERSIONS: tuple[tuple[str, float], ...] = (
    (STORED, 0.0),
    (NONE, 0.0),
    *((name, severity) for name, severities in SEVERITIES.items() for severity in severities),
)


def versions(
    pixels: np.ndarray,
    size: int,
    place: CropPlace = "centre",
    *,
    which: Sequence[tuple[str, float]] = VERSIONS,
    seed: int | list[int] = 0,
) -> np.ndarray:
    """The crop of an image for every corruption and severity.

    The whole image is saved in the common way, then corrupted; then it is cropped. Each corruption starts from
    the common image, not from the one before. The version "stored" is the image as it is.

    Args:
        pixels: uint8, shape (3, H, W), at least size x size.
        size, place: of the crop, as in `crop`.
        which: of VERSIONS.
        seed: of the noise, whose pattern is the same in all severities.

    Returns:
        uint8, shape (V, 3, size, size), one for each of `which`.

    Raises:
        ImageProblem: the image is smaller than the crop, or it cannot be saved or enlarged.
    """
    common = reencode(pixels, jpeg=COMMON_JPEG)
    whole = [pixels if name == STORED else corrupt(common, name, s, seed=seed, size=size) for name, s in which]
    return np.stack([crop(image, size, place) for image in whole])


def corrupt(
    pixels: np.ndarray, corruption: str, severity: float, *, seed: int | list[int] = 0, size: int = 1
) -> np.ndarray:
    """An image after one corruption.

    Noise, blur and occlusion are computed on pixels in [0, 1], then rounded and clipped to 0..255. (The original
    code clips pixels of 0..255 to [0, 1]; that is not repeated.)

    Args:
        pixels: uint8, shape (3, H, W).
        corruption: "none"; "JPEG", saved with Pillow's default 4:2:0 colours; "resize", see `resized`; "noise",
            which adds severity * N(0, 0.1); "blur", a Gaussian, edges repeated; "occlusion", a white square inside.
        severity: the quality of JPEG, the factor of resize or noise, the blur's sigma in pixels, or the square's
            side as a share of the shorter side, at most 1.
        seed: of the noise, or of the square's place.
        size: of the crop that "resize" must leave room for.

    Returns:
        uint8, shape (3, H, W), after "resize" another height and width.

    Raises:
        ValueError: an unknown corruption; the message lists the known ones.
        ImageProblem: the image cannot be saved or enlarged.
    """
    if corruption == NONE:
        return pixels
    if corruption == "JPEG":
        return reencode(pixels, jpeg=int(severity))
    if corruption == "resize":
        return resized(pixels, severity, size)
    scaled, rng = pixels / 255, np.random.default_rng(seed)
    if corruption == "noise":
        scaled += severity * rng.normal(0, NOISE, pixels.shape)
    elif corruption == "blur":
        scaled = gaussian_filter(scaled, (0, severity, severity), mode="nearest")
    elif corruption == "occlusion":
        height, width = pixels.shape[-2:]
        side = int(min(severity, 1) * min(height, width))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        scaled[:, top : top + side, left : left + side] = 1
    else:
        raise ValueError(f"corruption is {corruption!r}; allowed: {', '.join((NONE, *SEVERITIES, 'occlusion'))}")
    return np.clip(np.rint(scaled * 255), 0, 255).astype(np.uint8)


def resized(pixels: np.ndarray, factor: float, size: int) -> np.ndarray:
    """An image whose shorter side is multiplied by a factor, with Pillow's bicubic filter.

    If the shrunk image were smaller than the network's crop, it is resized there *and back* to its old size
    instead. So no image is rejected, and all factors are measured on the same images. Which of the two happens
    depends on the image's size alone. The crop of an image that stays shrunk shows more of it, that of an enlarged
    one less.

    Args:
        pixels: uint8, shape (3, H, W), at least size x size.
        factor: of the shorter side, rounded to whole pixels; the longer side keeps the proportion.
        size: of the crop, in pixels.

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
    image = image.resize((new[0], new[1]), BICUBIC)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
