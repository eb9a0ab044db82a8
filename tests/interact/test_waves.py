"""Waves as arrays: against sums of cosines written out, scipy's transforms of lines, and torch's convolutions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cldf_core.interact.waves import KERNELS, enlarged, log_plane, plane_wave, strongest_waves, with_phases, within_band
from cldf_core.spectrum import frequency_radius, log_magnitude

RNG = np.random.default_rng(0)
IMAGE, OTHER = RNG.uniform(0, 255, (2, 8, 12))


def cosines(image: np.ndarray) -> list[np.ndarray]:
    """The waves of an image, each pair of opposite frequencies once, the strongest first: sums of sines by hand."""
    height, width = image.shape
    rows, columns = np.indices(image.shape)
    waves = {}
    for u in range(height):
        for v in range(width):
            angle = 2 * np.pi * (u * rows / height + v * columns / width)
            a, b = (image * np.cos(angle)).sum(), (image * np.sin(angle)).sum()
            pair = frozenset([(u, v), (-u % height, -v % width)])
            waves[pair] = len(pair) * (a * np.cos(angle) + b * np.sin(angle)) / image.size, np.hypot(a, b)
    return [wave for wave, _ in sorted(waves.values(), key=lambda pair: -pair[1])]


@given(st.integers(0, 16), st.sampled_from([0, 45, 90, 135, 180]), st.integers(0, 359))
def test_a_wave_has_two_places_in_the_spectrum_and_tells_its_phase_there(step, direction, phase):
    size, frequency = 32, step / 16
    across = round(step * np.cos(np.deg2rad(direction)))
    down = round(step * np.sin(np.deg2rad(direction)))
    spectrum = np.fft.fft2(plane_wave(size, frequency, direction, phase)) / size**2
    expected = np.zeros((size, size), complex)
    expected[down % size, across % size] += np.exp(1j * np.deg2rad(phase)) / 2
    expected[-down % size, -across % size] += np.exp(-1j * np.deg2rad(phase)) / 2
    assert np.allclose(spectrum, expected)


def test_a_wave_faster_than_nyquist_looks_like_a_slower_one():
    assert np.allclose(plane_wave(32, 1.25, 0, 40), plane_wave(32, 0.75, 180, 40))


@pytest.mark.parametrize("image", [IMAGE, IMAGE[:1]], ids=["plane", "line"])
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_the_strongest_waves_are_those_of_sums_of_sines(image, count):
    assert np.allclose(strongest_waves(image, count), sum(cosines(image)[:count]))


def test_all_waves_give_the_image_back():
    assert np.allclose(strongest_waves(IMAGE, IMAGE.size), IMAGE)


def test_phases_and_strengths_come_from_where_they_should():
    mixed = np.fft.fft2(with_phases(IMAGE, OTHER))
    assert np.allclose(np.abs(mixed), np.abs(np.fft.fft2(IMAGE)))
    assert np.allclose(np.exp(1j * np.angle(mixed)), np.exp(1j * np.angle(np.fft.fft2(OTHER))))
    assert np.allclose(with_phases(IMAGE, IMAGE), IMAGE)


def test_a_band_holds_its_frequencies_and_no_others():
    radius, spectrum = frequency_radius(8, 12, "full"), np.fft.fft2(IMAGE)
    kept = np.fft.fft2(within_band(IMAGE, 0.3, 0.6))
    for place in np.ndindex(IMAGE.shape):
        assert np.isclose(kept[place], spectrum[place] if 0.3 <= radius[place] <= 0.6 else 0)
    assert np.allclose(within_band(IMAGE, 0, 1), IMAGE)
    assert np.allclose(within_band(IMAGE, 0, 0), IMAGE.mean())


@pytest.mark.parametrize("way", KERNELS)
def test_enlarging_is_a_transposed_convolution(way):
    kernel = torch.tensor(KERNELS[way], dtype=torch.float64)
    kernel = kernel[:, None] * kernel * (4 / kernel.sum() ** 2 if len(kernel) > 1 else 1)
    around = torch.from_numpy(np.pad(IMAGE, 2, mode="wrap"))  # the image goes on with its other side
    large = torch.nn.functional.conv_transpose2d(around[None, None], kernel[None, None], stride=2)[0, 0]
    assert np.allclose(enlarged(IMAGE, way), large[4 : 4 + 16, 4 : 4 + 24])
    if len(kernel) > 1:
        assert np.isclose(enlarged(IMAGE, way, 2).mean(), IMAGE.mean())


def test_zeros_copy_the_spectrum_and_kernels_weaken_the_copies():
    assert np.allclose(np.fft.fft2(enlarged(IMAGE, "zeros between")), np.tile(np.fft.fft2(IMAGE), (2, 2)))
    assert np.array_equal(enlarged(IMAGE, "nearest neighbour"), IMAGE.repeat(2, 0).repeat(2, 1))
    bright = np.full((8, 8), 100.0)
    even, uneven = (enlarged(bright, f"transposed convolution, {k} × {k}") for k in (4, 3))
    assert np.ptp(even) == 0
    assert np.ptp(uneven) > 50  # the chequered pattern: two pixels are taken in, or one


def test_the_logarithm_is_the_packages():
    image = RNG.integers(0, 256, (1, 1, 8, 12), dtype=np.uint8)
    assert np.allclose(log_plane(image[0, 0])[:, :7], log_magnitude(image, dtype=np.float64)[0, 0])
