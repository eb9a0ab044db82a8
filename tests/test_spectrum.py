"""Spectra against the formula of Zhang et al. (WIFS 2019), written out image by image and channel by channel."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cldf_core.spectrum import band_mask, frequency_radius, log_magnitude, log_spectrum, mirror
from samples import input_spec

TOLERANCE = {np.float32: 2e-3, np.float64: 1e-6}


def formula(image: np.ndarray) -> np.ndarray:
    """The full plane of one image, channel by channel, in float64."""
    out = np.empty(image.shape, np.float64)
    for channel, pixels in enumerate(image):
        m = np.log(np.abs(np.fft.fft2(pixels / 255.0)) + 1e-3)
        p5, p95 = np.percentile(m, [5, 95])
        out[channel] = np.clip(2 * (m - p5) / (p95 - p5) - 1, -1, 1) if p95 - p5 >= 1e-3 else 0
    return out


def radius_loop(height: int, width: int) -> np.ndarray:
    """max(|fx|, |fy|) as a fraction of Nyquist, frequency by frequency."""
    fy, fx = ([min(k, count - k) / (count / 2) for k in range(count)] for count in (height, width))
    return np.array([[max(y, x) for x in fx] for y in fy])


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(seed: int, *shape: int) -> np.ndarray:
    """Images with the falling spectrum of photographs."""
    pixels = np.random.default_rng(seed).normal(size=shape)
    for axis in (-1, -2):
        pixels = np.cumsum(pixels, axis=axis)
    low, high = pixels.min((-1, -2), keepdims=True), pixels.max((-1, -2), keepdims=True)
    return (255 * (pixels - low) / (high - low)).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(16, 16), (224, 224), (32, 48), (48, 32), (18, 22), (2, 2), (2, 8), (8, 2)])
@pytest.mark.parametrize("make", [noise, smooth])
def test_full_plane_equals_the_formula(make, size, dtype):
    images = make(1, 3, 3, *size)
    got = log_spectrum(images, plane="full", dtype=dtype)
    assert got.dtype == dtype
    assert got.shape == images.shape
    for k in range(len(images)):
        np.testing.assert_allclose(got[k], formula(images[k]), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("make", [noise, smooth])
def test_double_precision_rounded_to_float32_is_within_a_millionth_of_the_formula(make):
    # What a cache of precision float32 holds, at the seed's size.
    images = make(1, 2, 3, 224, 224)
    stored = input_spec(plane="full", precision="float32").network_input(images).astype(np.float32)
    for image, plane in zip(images, stored, strict=True):
        np.testing.assert_allclose(plane, formula(image), rtol=0, atol=1e-6)


@given(
    seed=st.integers(0, 10_000),
    half_height=st.integers(1, 12),
    half_width=st.integers(1, 12),
    levels=st.sampled_from([2, 3, 4, 256]),
    tile=st.booleans(),
)
def test_percentiles_with_many_equal_values(seed, half_height, half_width, levels, tile):
    # Few grey levels, symmetric or periodic images: many frequencies share one magnitude.
    height, width = 2 * half_height, 2 * half_width
    images = noise(seed, 1, 2, height, width).astype(int) % levels * (255 // (levels - 1))
    if tile:
        images = np.tile(images, (1, 1, 2, 2))
    images = images.astype(np.uint8)
    got = log_spectrum(images, plane="full", dtype=np.float64)
    for channel in range(2):
        m = np.log(np.abs(np.fft.fft2(images[0, channel] / 255.0)) + 1e-3)
        spread = np.subtract(*np.percentile(m, [95, 5]))
        # Rounding of the FFT alone decides on which side of the limit a nearly flat channel lies.
        if abs(spread - 1e-3) > 1e-9:
            want = formula(images[0, channel : channel + 1])
            np.testing.assert_allclose(got[0, channel : channel + 1], want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("band", ["full", "low", "mid", "high"])
def test_half_is_exactly_the_left_part_of_full(dtype, band):
    images = smooth(2, 4, 3, 32, 48)
    half = log_spectrum(images, plane="half", band=band, dtype=dtype)
    full = log_spectrum(images, plane="full", band=band, dtype=dtype)
    assert half.shape == (4, 3, 32, 25)
    np.testing.assert_array_equal(half, full[..., :25])


@given(height=st.integers(1, 6).map(lambda n: 2 * n), width=st.integers(1, 6).map(lambda n: 2 * n))
def test_mirror_completes_a_real_ffts_plane(height, width):
    image = np.random.default_rng(height * 100 + width).normal(size=(2, height, width))
    np.testing.assert_allclose(mirror(np.abs(np.fft.rfft2(image))), np.abs(np.fft.fft2(image)), atol=1e-12)


@pytest.mark.parametrize("band", ["low", "mid", "high"])
@pytest.mark.parametrize("plane", ["half", "full"])
def test_bands_keep_their_frequencies_and_nothing_else(band, plane):
    images = noise(4, 2, 3, 20, 36)
    low, high = {"low": (0, 0.53), "mid": (0.53, 0.81), "high": (0.81, 9)}[band]
    radius = radius_loop(20, 36)[:, : 19 if plane == "half" else 36]
    inside = (radius >= low) & (radius < high)
    got, whole = log_spectrum(images, plane=plane, band=band), log_spectrum(images, plane=plane)
    np.testing.assert_array_equal(got, np.where(inside, whole, 0))
    np.testing.assert_array_equal(band_mask(20, 36, band, plane), inside)


def test_the_bands_share_out_the_plane():
    total = sum(band_mask(64, 64, band).astype(int) for band in ("low", "mid", "high"))
    assert (total == 1).all()
    assert band_mask(64, 64, "full").all()
    np.testing.assert_allclose(frequency_radius(14, 10, "full"), radius_loop(14, 10), atol=1e-15)


def test_feature_image_scales_pixels_to_minus_one_to_one():
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    got = input_spec(feature="image", precision="float32").network_input(images)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, images / 255.0 * 2 - 1, atol=1e-6)
    assert (got.min(), got.max()) == (-1, 1)
    spectra = input_spec(precision="float16").network_input(images)
    np.testing.assert_array_equal(spectra, log_spectrum(images).astype(np.float16))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", [0, 1, 77, 255])
def test_a_flat_channel_gives_zeros_and_leaves_the_others_alone(level, dtype):
    images = noise(5, 2, 3, 24, 24)
    images[0, 1] = level
    got = log_spectrum(images, plane="full", dtype=dtype)
    assert (got[0, 1] == 0).all()
    np.testing.assert_allclose(got[0, 0], formula(images[0])[0], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(got[1], formula(images[1]), atol=TOLERANCE[dtype])


@given(seed=st.integers(0, 10_000), top=st.integers(0, 255), dots=st.integers(0, 5))
def test_never_nan_never_outside(seed, top, dots):
    # Nearly flat images: a few dots on an even ground.
    rng = np.random.default_rng(seed)
    images = np.full((2, 3, 16, 16), top, np.uint8)
    for _ in range(dots):
        images[rng.integers(2), rng.integers(3), rng.integers(16), rng.integers(16)] = rng.integers(256)
    got = log_spectrum(images)
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= 1


def test_a_batch_is_treated_image_by_image():
    images = smooth(6, 40, 3, 64, 64)  # more than one internal block
    images[3, 1] = 9
    together = log_spectrum(images)
    for k in (0, 3, 20, 21, 22, 39):
        np.testing.assert_array_equal(together[k], log_spectrum(images[k : k + 1])[0])
    np.testing.assert_array_equal(log_spectrum(images[::-1])[::-1], together)
    np.testing.assert_array_equal(log_spectrum(images[..., 2:18, 2:18]), log_spectrum(images[..., 2:18, 2:18].copy()))
    assert log_spectrum(images[:0]).shape == (0, 3, 64, 33)


def test_tensor_in_tensor_out_and_nothing_is_changed():
    images = noise(7, 2, 3, 16, 16)
    before = images.copy()
    got = log_spectrum(torch.from_numpy(images), plane="full")
    assert isinstance(got, torch.Tensor)
    assert got.dtype == torch.float32
    np.testing.assert_array_equal(got.numpy(), log_spectrum(images, plane="full"))
    assert isinstance(log_spectrum(images), np.ndarray)
    np.testing.assert_array_equal(images, before)


def test_log_magnitude_is_the_unscaled_half_plane():
    images = smooth(9, 2, 3, 32, 32)
    want = np.log(np.abs(np.fft.rfft2(images / 255.0)) + 1e-3)
    np.testing.assert_allclose(log_magnitude(images, dtype=np.float64), want, atol=1e-10)
    assert log_magnitude(images).dtype == np.float32


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((1, 3, 16, 16), np.float32), ["float32", "(1, 3, 16, 16)"]),
        (np.zeros((1, 3, 16, 16), np.int64), ["int64"]),
        (np.zeros((3, 16, 16), np.uint8), ["uint8", "(3, 16, 16)"]),
        (np.zeros((1, 3, 15, 16), np.uint8), ["(1, 3, 15, 16)", "even"]),
        (np.zeros((1, 3, 16, 15), np.uint8), ["(1, 3, 16, 15)", "even"]),
        (np.zeros((1, 3, 0, 16), np.uint8), ["(1, 3, 0, 16)"]),
        (torch.zeros(1, 3, 16, 16), ["float32", "(1, 3, 16, 16)"]),
    ],
)
def test_wrong_images_are_refused_with_what_came(images, words):
    for call in (log_spectrum, log_magnitude):
        with pytest.raises(ValueError, match="allowed: uint8") as caught:
            call(images)
        for word in words:
            assert word in str(caught.value)
    with pytest.raises(ValueError, match="allowed: uint8"):
        input_spec(feature="image").network_input(images)


def test_unknown_plane_and_band_are_refused():
    images = noise(0, 1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"plane is 'left'; allowed: half, full"):
        log_spectrum(images, plane="left")
    with pytest.raises(ValueError, match=r"band is 'ultra'; allowed: full, low, mid, high"):
        log_spectrum(images, band="ultra")
