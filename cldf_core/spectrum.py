"""From images to the log-magnitude spectra that the network reads.

The formula is that of Zhang, Karaman & Chang, "Detecting and simulating artifacts in GAN fake images" (WIFS 2019),
section 4, and of their code. The plane of a real image is point-symmetric, so all work is done on the H x (W/2 + 1)
columns of the real FFT; the full plane is mirrored from them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from cldf_core.options import Options

Plane = Literal["half", "full"]
Band = Literal["full", "low", "mid", "high"]

LOG_OFFSET = 1e-3  # keeps log finite where the magnitude is zero
FLAT_RANGE = 1e-3  # a channel whose p95 - p5 is below this carries nothing but rounding
BAND_EDGES = {"full": (0.0, 2.0), "low": (0.0, 0.53), "mid": (0.53, 0.81), "high": (0.81, 2.0)}
_STRIDE = 16  # one value in so many tells roughly where a percentile lies
_BLOCK = 1 << 18  # pixels handled at once: a block and its intermediates stay in the cache


def frequency_radius(height: int, width: int, plane: Plane = "half") -> np.ndarray:
    """Distance from the zero frequency, r = max(|fx|, |fy|), as a fraction of Nyquist, for an even height and width.

    It is float64 in [0, 1], shape (H, W/2 + 1) or (H, W), unshifted like the spectra.
    """
    fy = np.abs(np.fft.fftfreq(height)) * 2
    fx = np.fft.rfftfreq(width) * 2 if plane == "half" else np.abs(np.fft.fftfreq(width)) * 2
    return np.maximum(fy[:, None], fx[None, :])


def band_mask(height: int, width: int, band: Band, plane: Plane = "half") -> np.ndarray:
    """True where a frequency belongs to the band: low r < 0.53 <= mid < 0.81 <= high, as in Zhang et al.'s code.

    Raises:
        ValueError: an unknown band; the message lists the known ones.
    """
    if band not in BAND_EDGES:
        raise ValueError(f"band is {band!r}; allowed: {', '.join(BAND_EDGES)}")
    low, high = BAND_EDGES[band]
    radius = frequency_radius(height, width, plane)
    return (radius >= low) & (radius < high)


def mirror(half: np.ndarray) -> np.ndarray:
    """The full plane (..., H, W), W even, of a real image from its half (..., H, W/2 + 1): value(-f) = value(f)."""
    columns = half.shape[-1]
    full = np.empty((*half.shape[:-1], 2 * (columns - 1)), half.dtype)
    full[..., :columns] = half
    full[..., 0, columns:] = half[..., 0, columns - 2 : 0 : -1]
    full[..., 1:, columns:] = half[..., :0:-1, columns - 2 : 0 : -1]
    return full


def log_magnitude(images: np.ndarray, *, dtype: type = np.float32) -> np.ndarray:
    """m = ln(|FFT2(x)| + 1e-3) of pixels scaled to [0, 1], half plane, not scaled further.

    The images are uint8 (N, C, H, W), H and W even; the result is (N, C, H, W/2 + 1). `dtype`, float32 or float64, is
    the precision of every step.
    """
    return np.log(_magnitude(_checked(images), dtype))


def log_spectrum(
    images: np.ndarray | Tensor, *, plane: Plane = "half", band: Band = "full", dtype: type = np.float32
) -> np.ndarray | Tensor:
    """Log-magnitude spectra, scaled per image and channel to [-1, 1].

    With p5 and p95 the percentiles of m over the *full* plane, s = clip(2 (m - p5)/(p95 - p5) - 1, -1, 1).
    A channel with p95 - p5 < 1e-3 gives zeros. Frequencies outside the band are 0.

    Args:
        images: uint8, shape (N, C, H, W), H and W even; an array or a tensor.
        plane: "half" keeps the W/2 + 1 columns of the real FFT, "full" mirrors them.
        dtype: np.float32, or np.float64 for reference values.

    Returns:
        dtype, shape (N, C, H, W/2 + 1) or (N, C, H, W); a tensor where a tensor came in.

    Raises:
        ValueError: another dtype or shape, an unknown plane or band; the message quotes what was received.

    Source: Zhang, Karaman & Chang, WIFS 2019, section 4.

    >>> log_spectrum(np.zeros((2, 3, 8, 8), np.uint8)).shape
    (2, 3, 8, 5)
    """
    pixels = _checked(images)
    if plane not in ("half", "full"):
        raise ValueError(f"plane is {plane!r}; allowed: half, full")
    count, channels, height, width = pixels.shape
    mask = None if band == "full" else band_mask(height, width, band)
    half = np.empty((count, channels, height, width // 2 + 1), dtype)
    block = max(1, _BLOCK // (channels * height * width))
    for start in range(0, count, block):
        magnitude = _magnitude(pixels[start : start + block], dtype)
        flat = magnitude.reshape(-1, height * (width // 2 + 1))
        p5, p95 = (p.reshape(-1, channels, 1, 1) for p in _log_percentiles(flat, height, width))
        out = half[start : start + block]
        np.log(magnitude, out=out)
        spread = p95 - p5
        scale = np.where(spread < FLAT_RANGE, 0, 2 / np.maximum(spread, FLAT_RANGE))
        offset = np.where(spread < FLAT_RANGE, 0, -p5 * scale - 1)
        # In place, block by block: the second pass over the plane would cost as much as the FFT.
        out *= scale.astype(dtype)
        out += offset.astype(dtype)
        np.clip(out, -1, 1, out=out)
        if mask is not None:
            out *= mask
    result = mirror(half) if plane == "full" else half
    return torch.from_numpy(result) if isinstance(images, Tensor) else result


@dataclass(frozen=True)
class InputSpec:
    """How an image becomes what the network reads: the options of the same names."""

    size: int
    crop: Literal["centre", "top-left"]
    feature: Literal["spectrum", "image"]
    plane: Plane
    band: Band
    precision: Literal["float16", "float32"]

    @classmethod
    def from_options(cls, options: Options) -> InputSpec:
        """The part of a run's options that concerns its input."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image's input: channels, rows, columns."""
        half = self.feature == "spectrum" and self.plane == "half"
        return 3, self.size, self.size // 2 + 1 if half else self.size

    def network_input(self, crops: np.ndarray) -> np.ndarray:
        """What the network reads: the spectrum, or with feature "image" pixels scaled to [-1, 1].

        The crops are uint8 (N, 3, size, size), the result is float16 or float32 (N, *shape). For precision "float32"
        it is computed in float64, else in float32: single-precision FFTs are 1e-4 and more off the formula, which only
        the rounding to float16 hides.
        """
        dtype = np.float64 if self.precision == "float32" else np.float32
        if self.feature == "image":
            return (_checked(crops) / np.asarray(127.5, dtype) - 1).astype(dtype).astype(self.precision)
        return np.asarray(log_spectrum(crops, plane=self.plane, band=self.band, dtype=dtype)).astype(self.precision)


def _checked(images: np.ndarray | Tensor) -> np.ndarray:
    pixels = images.numpy() if isinstance(images, Tensor) else np.asarray(images)
    shape = tuple(pixels.shape)
    if pixels.dtype != np.uint8 or len(shape) != 4 or shape[2] % 2 or shape[3] % 2 or 0 in shape[1:]:
        raise ValueError(
            f"images is {pixels.dtype} of shape {shape}; allowed: uint8 of shape (N, C, H, W) with even H and W"
        )
    return pixels


def _magnitude(pixels: np.ndarray, dtype: type) -> np.ndarray:
    """|F| + offset, the argument of the logarithm."""
    # scipy computes single precision in single precision, and faster than torch does on some CPUs.
    scaled: np.ndarray = pixels.astype(dtype)
    scaled /= 255
    magnitude = np.abs(scipy.fft.rfft2(scaled))
    magnitude += np.asarray(LOG_OFFSET, dtype)
    return magnitude


def _log_percentiles(flat: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """ln of the 5th and 95th percentile over the full plane, from the values of its half.

    `flat` is positive, shape (planes, H * (W/2 + 1)). In the full plane the values of columns 0 and W/2 occur once, the
    others twice. So the k-th smallest of the full plane lies among places k/2 .. (k + 2H)/2 of the sorted half: only
    these few are sorted. The logarithm is monotonic, so ranks are taken before it.
    """
    total = height * width
    singles = np.sort(flat.reshape(len(flat), height, -1)[:, :, [0, -1]].reshape(len(flat), -1), axis=1)
    samples = np.sort(flat[:, ::_STRIDE], axis=1)
    percentiles = np.empty((2, len(flat)))
    for place, q in enumerate((0.05, 0.95)):
        k, share = divmod(q * (total - 1), 1.0)
        for row, values in enumerate(flat):
            first, tail = _sorted_part(values, samples[row], int(k) // 2, (int(k) + 1) // 2 + height)
            percentiles[place, row] = _interpolated(tail, first, singles[row], int(k), share)
    return percentiles[0], percentiles[1]


def _sorted_part(values: np.ndarray, sample: np.ndarray, first: int, last: int) -> tuple[int, np.ndarray]:
    """The sorted values from at most place `first` to at least place `last`, and the place they begin at.

    A sorted sample tells between which bounds they lie, within four standard deviations; where it was wrong, everything
    is sorted.
    """
    last = min(last, len(values) - 1)
    share = np.array([first, last]) / len(values)
    spread = 4 * np.sqrt(len(sample) * share * (1 - share)) + 2
    at = (share * len(sample) + [-spread[0], spread[1]]).astype(int)
    low = sample[at[0]] if at[0] > 0 else -np.inf
    high = sample[at[1]] if at[1] < len(sample) else np.inf
    part = values[(values >= low) & (values <= high)]
    begin = int(np.count_nonzero(values < low))
    if begin > first or begin + len(part) <= last:
        return 0, np.sort(values)
    part.sort()
    return begin, part


def _interpolated(tail: np.ndarray, first: int, singles: np.ndarray, k: int, share: float) -> float:
    """ln of order statistics k and k + 1 of the full plane, interpolated linearly."""
    start = max(0, k // 2 - first)
    first, tail = first + start, tail[start : start + len(singles) // 2 + 3]
    # How many values of the full plane are at most tail[j]: twice those of the half, less the singles.
    # Among equal values only the last counts all of them; until then the running maximum holds.
    counts = 2 * np.arange(first + 1, first + 1 + len(tail)) - np.searchsorted(singles, tail, side="right")
    counts = np.maximum.accumulate(counts)
    at = np.minimum(np.searchsorted(counts, [k, k + 1], side="right"), len(tail) - 1)
    below, above = np.log(tail[at].astype(np.float64))
    return float(below + share * (above - below))
