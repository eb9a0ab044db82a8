"""Corruptions against their formulas, and the versions of an image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from cldf_core.data import images
from cldf_core.data.corruptions import SEVERITIES, VERSIONS, corrupt, corrupt_together, neighbours, resized, versions
from cldf_core.data.images import ImageProblem
from samples import photo, texture, through_jpeg

AT = {version: place for place, version in enumerate(VERSIONS)}


def test_noise_is_added_to_pixels_between_0_and_1():
    pixels = photo().transpose(2, 0, 1)
    got = corrupt(pixels, "noise", 0.6, seed=5)
    normal = np.random.default_rng(5).normal(0, 0.1, pixels.shape)
    want = np.empty(pixels.shape, np.uint8)
    for at in np.ndindex(*pixels.shape):
        want[at] = min(255, max(0, round(255 * (pixels[at] / 255 + 0.6 * normal[at]))))
    np.testing.assert_array_equal(got, want)
    grey = corrupt(np.full((3, 200, 200), 127, np.uint8), "noise", 1.0, seed=0)
    assert grey.std() == pytest.approx(25.5, rel=0.02)  # not 0.1 of 255 grey levels, nor all of them 0 and 1


def test_blur_is_the_sum_over_a_gaussian_window():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 9, 7), np.uint8)
    sigma, radius = 0.8, 3  # scipy's window ends at 4 sigma
    got = corrupt(pixels, "blur", sigma, seed=0)
    for c, y, x in np.ndindex(*pixels.shape):
        total = weights = 0.0
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                weight = np.exp(-(dy**2 + dx**2) / (2 * sigma**2))
                weights += weight
                total += weight * pixels[c, min(max(y + dy, 0), 8), min(max(x + dx, 0), 6)]
        assert abs(int(got[c, y, x]) - total / weights) <= 0.5 + 1e-6


@settings(deadline=None, max_examples=40)
@given(height=st.integers(8, 40), width=st.integers(8, 40), severity=st.floats(0, 1.5), seed=st.integers(0, 2**31 - 1))
def test_occlusion_is_one_white_square_inside(height, width, severity, seed):
    pixels = np.zeros((3, height, width), np.uint8)
    got = corrupt(pixels, "occlusion", severity, seed=seed)
    side = min(int(severity * min(height, width)), min(height, width))
    assert set(np.unique(got)) <= {0, 255}
    white = got[0] == 255
    assert white.sum() == side**2
    assert all(np.array_equal(got[0], channel) for channel in got)
    assert white.any(1).sum() == white.any(0).sum() == side
    assert not pixels.any()  # the image that came in is left as it was


def test_the_square_may_lie_anywhere():
    places = {
        np.argwhere(corrupt(np.zeros((3, 8, 8), np.uint8), "occlusion", 0.75, seed=seed)[0])[0].tobytes()
        for seed in range(200)
    }
    assert len(places) == 9  # 8 - 6 + 1 in each direction


@pytest.mark.parametrize("corruption", ["noise", "blur", "occlusion"])
def test_severity_0_changes_nothing(corruption):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 20), np.uint8)
    np.testing.assert_array_equal(corrupt(pixels, corruption, 0.0, seed=0), pixels)


@pytest.mark.parametrize(("count", "sigma"), [(1, 1.0), (4, 0.6), (7, 1.3), (5, 0.1)])
def test_blur_across_a_chunk_is_that_of_the_whole_stack(count, sigma):
    chunk = {str(k): np.random.default_rng(k).integers(0, 256, (3, 12, 10), np.uint8) for k in range(count)}
    stack = np.stack([*chunk.values()]) / 255
    want = gaussian_filter(
        stack, (sigma, 0, sigma, sigma), mode="nearest", truncate=4.0
    )  # skimage's, as the original's
    for name, image in zip(neighbours([*chunk], "blur", sigma), want, strict=True):
        got = corrupt_together(np.stack([chunk[near] for near in name]), "blur", sigma)
        np.testing.assert_array_equal(got, np.rint(image * 255).astype(np.uint8))


@settings(deadline=None, max_examples=40)
@given(severity=st.floats(0, 1.5), seed=st.integers(0, 2**31 - 1))
def test_occlusion_of_a_chunk_is_one_dark_square_at_one_place(severity, seed):
    images = np.full((3, 3, 24, 24), 200, np.uint8)
    got = [corrupt_together(images[[0, k]], "occlusion", severity, seed=seed) for k in range(3)]
    assert all(np.array_equal(got[0], other) for other in got)
    # The original: a square of 1 around a place in an image of 256 pixels (here 56), which then loses 16 on each side.
    rng, half = np.random.default_rng(seed), int(severity * 56) // 2
    y, x = (rng.integers(min(half, 56 - half), max(half, 56 - half) + 1) for _ in range(2))
    want = np.full((3, 56, 56), 200, np.uint8)
    want[:, max(y - half, 0) : min(y + half, 56), max(x - half, 0) : min(x + half, 56)] = 1
    np.testing.assert_array_equal(got[0], want[:, 16:40, 16:40])
    assert images.min() == 200


def picture(width: int = 48, height: int = 40, seed: int = 0) -> np.ndarray:
    """Smooth colours with some detail, uint8, shape (3, height, width)."""
    pixels = texture(np.random.default_rng(seed), 3, 8 * (max(width, height) // 8 + 1))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[:, :height, :width])


def centre(pixels: np.ndarray, size: int) -> np.ndarray:
    top, left = (pixels.shape[1] - size) // 2, (pixels.shape[2] - size) // 2
    return pixels[:, top : top + size, left : left + size]


def test_the_versions_are_the_formulas():
    pixels, size = picture(), 32
    made = versions(pixels, size, seed=[3, 4])
    assert made.shape == (len(VERSIONS), 3, size, size)
    assert made.dtype == np.uint8
    once = through_jpeg(pixels, 95)
    want = {("stored", 0.0): pixels, ("none", 0.0): once}
    want |= {("JPEG", q): through_jpeg(once, int(q)) for q in SEVERITIES["JPEG"]}
    for sigma in SEVERITIES["blur"]:
        blurred = [gaussian_filter(channel / 255, sigma, mode="nearest") for channel in once]
        want["blur", sigma] = np.clip(np.rint(np.stack(blurred) * 255), 0, 255).astype(np.uint8)
    for factor in SEVERITIES["noise"]:
        noisy = once / 255 + factor * np.random.default_rng([3, 4]).normal(0, 0.1, once.shape)
        want["noise", factor] = np.clip(np.rint(noisy * 255), 0, 255).astype(np.uint8)
    image = Image.fromarray(once.transpose(1, 2, 0))  # 48 x 40: a half and three quarters of it are smaller than 32
    for factor in SEVERITIES["resize"]:
        there = image.resize((round(48 * factor), round(40 * factor)), Image.Resampling.BICUBIC)
        if factor < 0.8:
            there = there.resize((48, 40), Image.Resampling.BICUBIC)
        want["resize", factor] = np.asarray(there).transpose(2, 0, 1)
    assert want.keys() == set(VERSIONS)
    for version, whole in want.items():
        np.testing.assert_array_equal(made[AT[version]], centre(whole, size), err_msg=str(version))


def test_some_versions_are_made_like_all():
    pixels, which = picture(), [("noise", 0.5), ("stored", 0.0), ("JPEG", 50.0)]
    some, all_of_them = versions(pixels, 32, which=which, seed=[1, 2]), versions(pixels, 32, seed=[1, 2])
    np.testing.assert_array_equal(some, all_of_them[[AT[version] for version in which]])


def test_a_large_image_stays_shrunk_and_a_small_one_comes_back():
    pixels = picture(100, 80)
    assert resized(pixels, 0.5, 40).shape == (3, 40, 50)
    assert resized(pixels, 0.5, 42).shape == (3, 80, 100)
    assert resized(pixels, 1.5, 40).shape == (3, 120, 150)
    np.testing.assert_array_equal(resized(pixels, 1.0, 40), pixels)


def test_what_cannot_be_made_is_told(monkeypatch):
    with pytest.raises(ValueError, match="corruption is 'sepia'; allowed: none, JPEG, resize, blur, noise, occlusion"):
        corrupt(picture(), "sepia", 1)
    with pytest.raises(ImageProblem, match="too small"):
        versions(picture(30, 30), 32)
    monkeypatch.setattr(images, "LARGEST", 3000)
    with pytest.raises(ImageProblem, match=r"too large when resized \(72 x 60\)"):
        versions(picture(), 32)


def test_the_noise_has_one_pattern_in_all_strengths_and_belongs_to_its_seed():
    grey = np.full((3, 32, 32), 128, np.uint8)
    weak, strong = (corrupt(grey, "noise", severity, seed=[0, 1]) for severity in (0.2, 1.0))
    assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(strong, corrupt(grey, "noise", 1.0, seed=[0, 1]))
    assert not np.array_equal(strong, corrupt(grey, "noise", 1.0, seed=[0, 2]))


def test_the_severities_go_from_mild_to_harsh():
    pixels = picture(64, 64)
    once = through_jpeg(pixels, 95).astype(float)
    for name in ("JPEG", "blur", "noise"):
        changes = [np.square(corrupt(once.astype(np.uint8), name, s, size=64) - once).mean() for s in SEVERITIES[name]]
        assert changes == sorted(changes), name
    by_distance = sorted(SEVERITIES["resize"], key=lambda factor: abs(np.log(factor)))
    assert list(SEVERITIES["resize"]) == by_distance
