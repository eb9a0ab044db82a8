"""Traces in spectra, against loops over the full plane, frequency by frequency."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cldf_core.evaluation.traces import fake_minus_real, line_ratio, local_excess, radial_profile, sharpness
from cldf_core.spectrum import log_magnitude, mirror


def half_planes(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Log magnitudes of noise, shape (2, 3, H, W/2 + 1), in double precision."""
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 3, height, width), dtype=np.uint8)
    return log_magnitude(pixels, dtype=np.float64)


def by_distance(planes: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """r = max(|fx|, |fy|) of every frequency of the full plane but zero, with the planes' values there."""
    full = mirror(planes)
    height, width = full.shape[-2:]
    places = [(y, x) for y in range(height) for x in range(width) if (y, x) != (0, 0)]
    return [
        (max(min(y, height - y) / (height / 2), min(x, width - x) / (width / 2)), full[..., y, x]) for y, x in places
    ]


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 20), (8, 12), (2, 8)])
def test_a_radial_profile_is_the_mean_over_square_rings_of_the_full_plane(height, width):
    planes = half_planes(height, width)
    distances, means = radial_profile(planes)
    rings = min(height, width) // 2
    np.testing.assert_allclose(distances, [(k + 1) / rings for k in range(rings)])
    for k, r in enumerate(distances):
        # The nearest ring, and never that of the zero frequency.
        ring = [v for d, v in by_distance(planes) if max(1, round(d * rings)) == k + 1]
        np.testing.assert_allclose(means[..., k], np.mean(ring, axis=0), atol=1e-12, err_msg=str(r))


def test_the_last_ring_is_the_rim_with_its_corners():
    planes = np.zeros((16, 9))
    planes[8, 8] = 31.0  # the corner; with the rim it has 31 frequencies
    _, means = radial_profile(planes)
    np.testing.assert_allclose(means, [0] * 7 + [1])


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 20)])
def test_sharpness_is_the_level_of_high_frequencies_above_that_of_low_ones(height, width):
    planes = half_planes(height, width)
    high, low = ([v for d, v in by_distance(planes) if (d >= 0.53) == kind] for kind in (True, False))
    np.testing.assert_allclose(sharpness(planes), np.mean(high, axis=0) - np.mean(low, axis=0), atol=1e-12)


def test_a_blurred_image_is_less_sharp_and_brightness_does_not_count():
    image = np.random.default_rng(0).integers(40, 200, (1, 1, 32, 32), dtype=np.uint8)
    blurred = np.mean([np.roll(image, k, -1).astype(float) for k in range(3)], axis=0).astype(np.uint8)
    sharp, dull, bright = (sharpness(log_magnitude(pixels)) for pixels in (image, blurred, image + np.uint8(50)))
    assert sharp > dull + 0.3
    np.testing.assert_allclose(sharp, bright, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20)])
def test_local_excess_is_each_value_minus_the_mean_of_its_24_neighbours(height, width):
    planes = half_planes(height, width)
    full, got = mirror(planes), local_excess(planes)
    assert got.shape == planes.shape
    steps = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)]
    for y in range(height):
        for x in range(width // 2 + 1):
            around = [full[..., (y + dy) % height, (x + dx) % width] for dy, dx in steps]
            np.testing.assert_allclose(got[..., y, x], full[..., y, x] - np.mean(around, axis=0), atol=1e-9)


@pytest.mark.parametrize("period", [2, 4, 8])
def test_line_ratio_is_the_mean_on_the_lines_over_that_beside_them(period):
    planes = np.random.default_rng(period).normal(size=(3, 48, 41))
    row, column = 48 // period, 80 // period
    beside = [-2, -1] if period == 2 else [-2, -1, 1, 2]
    for plane, ratio in zip(planes, line_ratio(planes, period), strict=True):
        on = plane[row, 4:36].mean() / 2 + plane[4:20, column].mean() / 2
        off = np.mean([plane[row + d, 4:36].mean() / 2 + plane[4:20, column + d].mean() / 2 for d in beside])
        assert ratio == pytest.approx(on - off)


def test_line_ratio_finds_a_grid_at_its_period_and_none_without_it():
    random = np.random.default_rng(0)
    stripes = random.normal(0, 20, (8, 1, 64, 1)) + random.normal(0, 20, (8, 1, 1, 64))
    plain = 120 + stripes + random.normal(0, 5, (8, 1, 64, 64))
    gridded = plain.copy()
    # A grid that scales what is there moves copies of the image's own axes to the lines of its period.
    gridded[:, :, ::4] *= 0.8
    gridded[:, :, :, ::4] *= 0.8
    for images, found in ((plain, False), (gridded, True)):
        planes = log_magnitude(images.clip(0, 255).astype(np.uint8))[:, 0]
        assert (line_ratio(planes, 4).mean() > 0.5) == found
        assert abs(line_ratio(planes, 8).mean()) < 0.1


def test_differences_are_taken_in_photographs_where_each_has_a_real_image():
    rows = {
        ("a", "real", "x"): 1.0,
        ("a", "real", "y"): 3.0,
        ("a", "fake", "x"): 1.5,
        ("a", "fake", "y"): 2.0,
        ("a", "fake", "z"): 4.0,  # no real image: so Welch's interval
        ("b", "real", "x"): 10.0,
        ("b", "fake", "x"): 11.0,
    }
    index = pd.MultiIndex.from_tuples(list(rows), names=["domain", "class", "group"])
    table = pd.DataFrame({0.5: rows.values(), 1.0: [2 * value for value in rows.values()]}, index)
    means = fake_minus_real(table, "r")
    assert means[["domain", "r"]].to_numpy().tolist() == [["a", 0.5], ["a", 1.0], ["b", 0.5], ["b", 1.0]]
    fake, real = ([values for (d, kind, _), values in rows.items() if (d, kind) == ("a", k)] for k in ("fake", "real"))
    welch = stats.ttest_ind(fake, real, equal_var=False).confidence_interval()
    value = np.mean(fake) - np.mean(real)
    np.testing.assert_allclose(means.loc[:1, "value"], [value, 2 * value])
    np.testing.assert_allclose(means.loc[:1, "low"], [welch.low, 2 * welch.low])
    np.testing.assert_allclose(means.loc[:1, "high"], [welch.high, 2 * welch.high])
    assert means.loc[2:, ["low", "high"]].isna().all(axis=None)  # a single photograph
    paired = fake_minus_real(table.drop(index=("a", "fake", "z")), "r").loc[0]
    half = stats.t.ppf(0.975, 1) * stats.sem([0.5, -1])
    assert paired[["value", "low", "high"]].tolist() == pytest.approx([-0.25, -0.25 - half, -0.25 + half])
    unknown = fake_minus_real(table.assign(**{"2": np.nan}), "r").query("r == '2'")
    assert unknown["domain"].tolist() == ["a", "b"]
    assert unknown[["value", "low", "high"]].isna().all(axis=None)
