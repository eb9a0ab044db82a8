"""Traces that generators leave in spectra: energy over frequency, and grids of a period."""

import numpy as np


def radial_profile(plane_values: np.ndarray, *, bins: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Computes the means of half planes, shape (..., H, W/2 + 1), over rings of equal distance from the zero frequency.

    There are as many rings as bins up to Nyquist's frequency; the plane's corners do not count. Returned are the rings'
    distances, shape (bins,), in fractions of Nyquist, and the means, shape (..., bins).
    """
    height, columns = plane_values.shape[-2:]
    fy = np.fft.fftfreq(height)[:, None] * 2
    fx = np.fft.rfftfreq(2 * (columns - 1))[None, :] * 2
    ring = np.minimum((np.hypot(fx, fy) * bins).astype(int), bins).ravel()
    # The inner columns count for their mirror image, too.
    weight = np.full((height, columns), 2.0)
    weight[:, [0, -1]] = 1.0
    membership = np.zeros((ring.size, bins + 1))
    membership[np.arange(ring.size), ring] = weight.ravel()
    membership = membership[:, :bins] / np.maximum(membership[:, :bins].sum(0), 1)
    means = plane_values.reshape(*plane_values.shape[:-2], -1) @ membership
    return (np.arange(bins) + 0.5) / bins, means


def line_ratio(planes: np.ndarray, period: int) -> np.ndarray:
    """Measures how far a grid of this period stands out: its lines in the spectrum, relative to those beside them.

    A pattern with a period (in pixels, at least 2, a divisor of H and W) shows on one row and one column of the plane.
    Their ends near the axes do not count. Planes are log magnitudes, shape (..., H, W/2 + 1). The result, shape (...),
    is the difference of their means: the logarithm of a ratio, and 0 without a grid.
    """
    height, width = planes.shape[-2], 2 * (planes.shape[-1] - 1)
    # The line at Nyquist's frequency has neighbours on one side only.
    steps = np.array([0, -2, -1] if period == 2 else [0, -2, -1, 1, 2])
    rows = planes[..., height // period + steps, 4 : width // 2 - 4].mean(-1)
    columns = planes[..., 4 : height // 2 - 4, width // period + steps].mean(-2)
    lines = (rows + columns) / 2
    ratio: np.ndarray = lines[..., 0] - lines[..., 1:].mean(-1)
    return ratio
