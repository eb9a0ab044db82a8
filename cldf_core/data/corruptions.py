"""Corruptions of images: saved as JPEG, resized, blurred, with noise or an occlusion.

Robustness is measured on versions of an image. For these, every image is saved once more in the same way first. So
images that were stored without loss and images that were JPEG files start alike: the corruption is not the first
loss of one and the second loss of the other. Real and fake images take the same way; nothing here knows a label.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from cldf_core.data.images import ORIGINAL_OFFSET, CropPlace, as_image, as_pixels, crop, reencode, scaled

Seed = int | Sequence[int] | np.random.SeedSequence
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
    seed: Seed = 0,
) -> np.ndarray:
    """The crop of an image for every corruption and severity of `which`, uint8, shape (V, 3, size, size).

    The whole image is saved in the common way, then corrupted; then it is cropped. Each corruption starts from
    the common image, not from the one before. The version "stored" is the image as it is.

    Pixels are uint8, shape (3, H, W), at least size x size; size and place are those of `crop`, and `which` is some of
    VERSIONS. The seed draws the noise, whose pattern is the same in all severities.

    Raises:
        ImageProblem: the image is smaller than the crop, or it cannot be saved or enlarged.
    """
    common = reencode(pixels, jpeg=COMMON_JPEG)
    whole = [pixels if name == STORED else corrupt(common, name, s, seed=seed, size=size) for name, s in which]
    return np.stack([crop(image, size, place) for image in whole])


def corrupt(pixels: np.ndarray, corruption: str, severity: float, *, seed: Seed = 0, size: int = 1) -> np.ndarray:
    """An image after one corruption, uint8, shape (3, H, W); "resize" changes height and width.

    Noise, blur and occlusion are computed on pixels in [0, 1], then rounded and clipped to 0..255. (The original
    code clips pixels of 0..255 to [0, 1]; that is not repeated.)

    Args:
        corruption: "none"; "JPEG", saved with Pillow's default 4:2:0 colours; "resize", see `resized`; "noise",
            which adds severity * N(0, 0.1); "blur", a Gaussian, edges repeated; "occlusion", a white square inside.
        severity: the quality of JPEG, the factor of resize or noise, the blur's sigma in pixels, or the square's
            side as a share of the shorter side, at most 1.
        seed: draws the noise, or the square's place.
        size: pixels a side of the crop that "resize" must leave room for.

    Raises:
        ValueError: the corruption is unknown; the message lists the known ones.
        ImageProblem: the image cannot be saved or enlarged.
    """
    if corruption == NONE:
        return pixels
    if corruption == "JPEG":
        return reencode(pixels, jpeg=int(severity))
    if corruption == "resize":
        return resized(pixels, severity, size)
    values, rng = pixels / 255, np.random.default_rng(seed)
    if corruption == "noise":
        values += severity * rng.normal(0, NOISE, pixels.shape)
    elif corruption == "blur":
        values = gaussian_filter(values, (0, severity, severity), mode="nearest")
    elif corruption == "occlusion":
        height, width = pixels.shape[-2:]
        side = int(min(severity, 1) * min(height, width))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        values[:, top : top + side, left : left + side] = 1
    else:
        raise ValueError(f"corruption is {corruption!r}; allowed: {', '.join((NONE, *SEVERITIES, 'occlusion'))}")
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)


def neighbours(chunk: Sequence[str], corruption: str, severity: float) -> list[tuple[str, ...]]:
    """For each image of a chunk, the images that `corrupt_together` needs: all in reach, or the first and itself."""
    if corruption == "occlusion":
        return [(chunk[0], image) for image in chunk]
    reach, last = int(4 * severity + 0.5), len(chunk) - 1  # where scipy's Gaussian ends
    around = [np.clip(np.arange(k - reach, k + reach + 1), 0, last) for k in range(len(chunk))]
    return [tuple(chunk[place] for place in places) for places in around]


def corrupt_together(stack: np.ndarray, corruption: str, severity: float, *, seed: Seed = 0) -> np.ndarray:
    """An image of a chunk after a corruption of all of them, as the original does it.

    The stack, uint8, shape (n, 3, H, W), holds the crops of `neighbours`. "blur" runs across it as over pixels, and the
    middle one is returned. "occlusion" writes 1 of 255 into the last one, in a square whose place the seed draws for
    the chunk, in an image that is larger by ORIGINAL_OFFSET on each side, from which the original cuts its crops.
    """
    if corruption == "blur":
        weights = gaussian_filter1d(np.eye(1, len(stack), len(stack) // 2)[0], severity, mode="constant")
        values = gaussian_filter(np.tensordot(weights, stack / 255, 1), (0, severity, severity), mode="nearest")
        return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    pixels, rng = stack[-1].copy(), np.random.default_rng(seed)
    side = pixels.shape[-1] + 2 * ORIGINAL_OFFSET
    half = int(severity * side) // 2
    low, high = sorted((half, side - half))
    rows, columns = (rng.integers(low, high + 1) - ORIGINAL_OFFSET + [-half, half] for _ in range(2))
    pixels[:, slice(*rows.clip(0)), slice(*columns.clip(0))] = 1
    return pixels


def resized(pixels: np.ndarray, factor: float, size: int) -> np.ndarray:
    """An image whose shorter side is multiplied by a factor, with Pillow's bicubic filter.

    If the shrunk image were smaller than the network's crop of size x size pixels, it is resized there *and back* to
    its old size instead. So no image is rejected, and all factors are measured on the same images. Which of the two
    happens depends on the image's size alone. The crop of an image that stays shrunk shows more of it, that of an
    enlarged one less.

    Pixels come and go as uint8, shape (3, H, W), at least size x size. The longer side keeps the proportion.

    Raises:
        ImageProblem: the image would become too large.
    """
    shorter = max(1, round(factor * min(pixels.shape[-2:])))
    return reencode(pixels, resize=shorter) if shorter < size else as_pixels(scaled(as_image(pixels), shorter))
