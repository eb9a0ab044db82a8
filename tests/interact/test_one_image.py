"""One image under sliders: what the network sees is what scipy and Pillow make of it, and P(fake) is the network's."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from cldf_core.interact.one_image import changed, one_image
from cldf_core.resnet import build_network
from cldf_core.spectrum import InputSpec, log_spectrum
from moving import check_live

RNG = np.random.default_rng(0)
SPEC = InputSpec(32, "centre", "spectrum", "half", "full", "float16")
PIXELS = RNG.integers(0, 256, (3, 40, 44), dtype=np.uint8)
NONE = {"factor": 1.0, "blur": 0.0, "jpeg": 0}


def image_of(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def centre(pixels: np.ndarray) -> np.ndarray:
    top, left = (pixels.shape[1] - 32) // 2, (pixels.shape[2] - 32) // 2
    return pixels[:, top : top + 32, left : left + 32]


def test_nothing_done_is_the_crop():
    assert np.array_equal(changed(PIXELS, SPEC, **NONE), PIXELS[:, 4:36, 6:38])


def test_resize_blur_and_jpeg_come_in_this_order():
    larger = np.asarray(image_of(PIXELS).resize((66, 60), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    blurred = [gaussian_filter(channel / 255, 1.5, mode="nearest") for channel in larger]
    blurred = np.rint(np.stack(blurred) * 255).astype(np.uint8)
    assert np.array_equal(changed(PIXELS, SPEC, factor=1.5, blur=1.5, jpeg=0), centre(blurred))
    file = io.BytesIO()
    image_of(blurred).save(file, "JPEG", quality=30)
    saved = np.asarray(Image.open(file)).transpose(2, 0, 1)
    assert np.array_equal(changed(PIXELS, SPEC, factor=1.5, blur=1.5, jpeg=30), centre(saved))


def test_an_image_that_would_be_too_small_comes_back_to_its_size():
    small = image_of(PIXELS).resize((22, 20), Image.Resampling.BICUBIC).resize((44, 40), Image.Resampling.BICUBIC)
    assert np.array_equal(
        changed(PIXELS, SPEC, **{**NONE, "factor": 0.5}), centre(np.asarray(small).transpose(2, 0, 1))
    )


@pytest.fixture(scope="module")
def networks():
    return {
        name: build_network(width=4, generator=torch.Generator().manual_seed(k)) for k, name in enumerate(("er", "lwf"))
    }


def test_every_control_moves_the_picture(networks):
    check_live(one_image((PIXELS, PIXELS[:, ::-1].copy()), networks, SPEC))


def test_what_is_told_is_what_the_network_says(networks):
    live = one_image((PIXELS, PIXELS[:, ::-1].copy()), networks, SPEC)
    live.controls["jpeg"].value = 50
    live.controls["network"].value = "LwF"
    crops = np.stack([changed(own, SPEC, **{**NONE, "jpeg": 50}) for own in (PIXELS, PIXELS[:, ::-1].copy())])
    spectra = torch.from_numpy(log_spectrum(crops).astype(np.float16)).float()
    with torch.no_grad():
        fake = networks["lwf"].eval()(spectra).softmax(1)[:, 1]
    said = f"saved as JPEG 50, with spectra; P(fake), LwF: real {fake[0]:.3f}; fake {fake[1]:.3f}."
    assert live._metadata["image/png"]["alt"].endswith(said)
