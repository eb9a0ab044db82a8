"""What generators leave in spectra: grids of a period, and energy over frequency."""

from __future__ import annotations

import numpy as np


def radial_profile(plane_values: np.ndarray, *, bins: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Mean over rings of equal distance from the zero frequency: a plane becomes a curve.

    Args:
        plane_values: shape (..., H, W/2 + 1), half planes.
        bins: rings between r = 0 and r = 1 (Euclidean distance, fractions of Nyquist; corners left out).

    Returns:
        Ring centres, shape (bins,), and means, shape (..., bins).
    """
    height, columns = plane_values.shape[-2:]
    fy = np.fft.fftfreq(height)[:, None] * 2
    fx = np.fft.rfftfreq(2 * (columns - 1))[None, :] * 2
    ring = np.minimum((np.hypot(fx, fy) * bins).astype(int), bins).ravel()
    # The inner columns stand for their mirror image as well.
    weight = np.full((height, columns), 2.0)
    weight[:, [0, -1]] = 1.0
    membership = np.zeros((ring.size, bins + 1))
    membership[np.arange(ring.size), ring] = weight.ravel()
    membership = membership[:, :bins] / np.maximum(membership[:, :bins].sum(0), 1)
    means = plane_values.reshape(*plane_values.shape[:-2], -1) @ membership
    return (np.arange(bins) + 0.5) / bins, means


def line_ratio(planes: np.ndarray, period: int) -> np.ndarray:
    """How far a grid of this period stands out: its lines of the spectrum over the lines beside them.

    A pattern that repeats every so many pixels shows on one row and one column of the plane. Their ends,
    near the axes, are left out.

    Args:
        planes: log magnitudes, shape (..., H, W/2 + 1), half planes.
        period: in pixels, at least 2; H and W are multiples of it.

    Returns:
        Difference of the means of log magnitude, shape (...); exp of it is the ratio, and 0 is no grid.
    """
    height, width = planes.shape[-2], 2 * (planes.shape[-1] - 1)
    # Beyond Nyquist there is nothing: its line has neighbours on one side only.
    steps = np.array([0, -2, -1] if period == 2 else [0, -2, -1, 1, 2])
    rows = planes[..., height // period + steps, 4 : width // 2 - 4].mean(-1)
    columns = planes[..., 4 : height // 2 - 4, width // period + steps].mean(-2)
    lines = (rows + columns) / 2
    ratio: np.ndarray = lines[..., 0] - lines[..., 1:].mean(-1)
    return ratio
