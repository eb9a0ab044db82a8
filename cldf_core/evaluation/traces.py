"""Traces that generators leave in spectra: energy over frequency, sharpness, and grids of a period.

Planes are log magnitudes of images, half planes of shape (..., H, W/2 + 1), H and W even. The distance of a frequency
from zero is r = max(|fx|, |fy|), in fractions of Nyquist, as of the bands (`spectrum.frequency_radius`).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter

from cldf_core.evaluation.seeds import difference_of_groups, t_interval
from cldf_core.spectrum import band_mask, frequency_radius, mirror

NEIGHBOURS = 5  # frequencies, in each direction, of the square whose mean a peak stands out from


def radial_profile(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the means of planes over square rings of equal r, from the slowest waves to the rim and its corners.

    There is a ring for each of the min(H, W)/2 steps up to Nyquist, and each frequency counts for the nearest. The zero
    frequency, which is the image's mean, belongs to none. Returned are the rings' r, shape (rings,), and the means,
    shape (..., rings).
    """
    weight, radius = _weights(planes), _radius(planes)
    rings = min(planes.shape[-2] // 2, planes.shape[-1] - 1)
    ring = np.maximum(np.rint(radius * rings).astype(int), radius > 0).ravel()
    membership = np.zeros((ring.size, rings + 1))
    membership[np.arange(ring.size), ring] = weight.ravel()
    membership = membership[:, 1:] / membership[:, 1:].sum(0)
    means = planes.reshape(*planes.shape[:-2], -1) @ membership
    return np.arange(1, rings + 1) / rings, means


def sharpness(planes: np.ndarray) -> np.ndarray:
    """Measures the share of high frequencies as one number: their mean ln |F| minus that of the band "low".

    High are all that are not in that band. The result has the shape (...); a blurred image has less. The zero
    frequency does not count.
    """
    low = band_mask(planes.shape[-2], 2 * (planes.shape[-1] - 1), "low")
    weight, radius = _weights(planes), _radius(planes)
    shares = (weight * part / (weight * part).sum() for part in (~low, low & (radius > 0)))
    high, rest = ((planes * share).sum((-2, -1)) for share in shares)
    difference: np.ndarray = high - rest
    return difference


def local_excess(planes: np.ndarray) -> np.ndarray:
    """Computes by how much each frequency stands out from those around it, which leaves the peaks of planes alone.

    From each value the mean of the others in a square of NEIGHBOURS × NEIGHBOURS frequencies around it is taken. The
    plane goes on at its rim with the other side, as a spectrum does. The result has the planes' shape.
    """
    full = mirror(planes).astype(float)
    count = NEIGHBOURS**2
    around = uniform_filter(full, [1] * (full.ndim - 2) + [NEIGHBOURS] * 2, mode="wrap")
    excess: np.ndarray = (full - (count * around - full) / (count - 1))[..., : planes.shape[-1]]
    return excess


def line_ratio(planes: np.ndarray, period: int) -> np.ndarray:
    """Measures how far a grid of this period stands out: its lines in the spectrum, relative to those beside them.

    A pattern with a period (in pixels, at least 2, a divisor of H and W) shows on one row and one column of the plane.
    Their ends near the axes do not count. The result, shape (...), is the difference of the means: the logarithm of a
    ratio, and 0 without a grid.
    """
    height, width = planes.shape[-2], 2 * (planes.shape[-1] - 1)
    # The line at Nyquist's frequency has neighbours on one side only.
    steps = np.array([0, -2, -1] if period == 2 else [0, -2, -1, 1, 2])
    rows = planes[..., height // period + steps, 4 : width // 2 - 4].mean(-1)
    columns = planes[..., 4 : height // 2 - 4, width // period + steps].mean(-2)
    lines = (rows + columns) / 2
    ratio: np.ndarray = lines[..., 0] - lines[..., 1:].mean(-1)
    return ratio


def fake_minus_real(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Computes for every column by how much fakes are above real images, over groups (`seeds.difference_of_groups`).

    The table has one row of numbers for each domain, class ("real", "fake") and group, which are its index's levels.
    Returns the columns domain, then `name` (the column's name in the table), value, low and high.
    """
    rows = []
    for domain, part in table.groupby(level="domain", sort=False):
        wide = part.droplevel("domain").unstack("class")
        for column in table:
            fake, real = (wide[column].reindex(columns=["fake", "real"])[kind].to_numpy() for kind in ("fake", "real"))
            rows.append((domain, column, *difference_of_groups(fake, real)))
    return pd.DataFrame(rows, columns=["domain", name, "value", "low", "high"])


def means_over_groups(table: pd.DataFrame, by: Sequence[str], name: str) -> pd.DataFrame:
    """Computes the mean over groups of every column, with its 95 % t interval, for each entry of the index's `by`.

    Returns the columns `by`, then `name` (the column's name in the table), value, low and high, which are NaN where the
    column has no number.
    """
    rows = []
    for key, part in table.groupby(level=list(by), sort=False):
        for column in part:
            values = part[column].dropna().to_numpy()
            rows.append((*key, column, *(t_interval(values) if len(values) else [float("nan")] * 3)))
    return pd.DataFrame(rows, columns=[*by, name, "value", "low", "high"])


def _radius(planes: np.ndarray) -> np.ndarray:
    return frequency_radius(planes.shape[-2], 2 * (planes.shape[-1] - 1))


def _weights(planes: np.ndarray) -> np.ndarray:
    """How often the full plane holds each frequency: the inner columns count for their mirror image, too."""
    weight = np.full(planes.shape[-2:], 2.0)
    weight[:, [0, -1]] = 1.0
    return weight
