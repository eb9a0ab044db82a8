"""Waves and their sums as arrays: what the Fourier laboratory draws.

Frequencies are fractions of Nyquist's: 1 is a period of two pixels. Planes are not shifted, the zero frequency is at
[0, 0], and every image goes on at its edges with the other side, as the transform takes it.
"""

from typing import Literal

import numpy as np

from cldf_core.spectrum import frequency_radius

Way = Literal["zeros between", "nearest neighbour", "transposed convolution, 3 × 3", "transposed convolution, 4 × 4"]
# What each way convolves the image with, after zeros were put between its pixels, in each direction.
KERNELS: dict[Way, tuple[float, ...]] = {
    "zeros between": (1,),
    "nearest neighbour": (1, 1),
    "transposed convolution, 3 × 3": (1, 1, 1),  # takes one or two pixels in, in turn
    "transposed convolution, 4 × 4": (1, 1, 1, 1),  # always two
}


def plane_wave(size: int, frequency: float, direction: float, phase: float) -> np.ndarray:
    """A wave of brightness from -1 to 1, shape (size, size).

    The direction in which it runs (0 to the right, 90 down) and the phase are in degrees. So that it fits into the
    image a whole number of times, its frequency is rounded in both directions.
    """
    angle = np.deg2rad(direction)
    across, down = (round(frequency * size / 2 * part) for part in (np.cos(angle), np.sin(angle)))
    rows, columns = np.indices((size, size))
    return np.cos(2 * np.pi * (across * columns + down * rows) / size + np.deg2rad(phase))


def strongest_waves(image: np.ndarray, count: int) -> np.ndarray:
    """The sum of the strongest waves of an image, shape (H, W), H = 1 for a line; its mean counts as one of them."""
    spectrum = np.fft.fft2(image)
    rows, columns = np.indices(image.shape)
    own = rows * image.shape[1] + columns
    partner = -rows % image.shape[0] * image.shape[1] + -columns % image.shape[1]  # the same wave, to the other side
    wave = np.minimum(own, partner).ravel()
    first = np.unique(wave)
    order = first[np.argsort(-np.abs(spectrum).ravel()[first], kind="stable")]
    kept = np.isin(wave, order[:count]).reshape(image.shape)
    return np.fft.ifft2(np.where(kept, spectrum, 0)).real


def with_phases(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The image whose waves are as strong as in an image, and begin where they do in another of the same shape."""
    return np.fft.ifft2(np.abs(np.fft.fft2(image)) * np.exp(1j * np.angle(np.fft.fft2(other)))).real


def within_band(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """What is left of an image, of even height and width, if only waves with low <= r <= high are kept.

    As in `spectrum.band_mask`, r is the larger one of the horizontal and the vertical frequency; r = 0 is the mean.
    """
    radius = frequency_radius(image.shape[0], image.shape[1], "full")
    return np.fft.ifft2(np.where((radius >= low) & (radius <= high), np.fft.fft2(image), 0)).real


def enlarged(image: np.ndarray, way: Way, times: int = 1) -> np.ndarray:
    """An image, shape (H, W), enlarged to twice its size so many times.

    Zeros are put between the pixels; then comes a convolution with the way's kernel (see KERNELS), which keeps the mean
    brightness. Both together are a transposed convolution of stride 2.
    """
    for _ in range(times):
        wide = np.zeros((2 * image.shape[0], 2 * image.shape[1]))
        wide[::2, ::2] = image
        kernel = KERNELS[way]
        for axis in (0, 1):
            wide = np.sum([weight * np.roll(wide, shift, axis) for shift, weight in enumerate(kernel)], axis=0)
        image = wide * (4 / sum(kernel) ** 2 if len(kernel) > 1 else 1)
    return image


def log_plane(image: np.ndarray) -> np.ndarray:
    """ln(|F| + 0.001) of brightness from 0 to 255, scaled to 0 to 1; the full plane, shape (H, W)."""
    return np.log(np.abs(np.fft.fft2(image / 255)) + 1e-3)
