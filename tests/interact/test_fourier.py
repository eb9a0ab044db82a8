"""The Fourier laboratory: every control moves, and what is drawn is what the arrays hold."""

import numpy as np
import pytest

from cldf_core.interact import fourier
from moving import check_live

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.uniform(0, 255, (2, 16, 24))
LABORATORY = {
    "one wave": fourier.one_wave,
    "sum of waves": lambda: fourier.sum_of_waves(FIRST),
    "phases": lambda: fourier.phases(FIRST, SECOND),
    "band": lambda: fourier.band(FIRST),
    "up-sampling": lambda: fourier.up_sampling(FIRST),
}


@pytest.mark.parametrize("name", LABORATORY)
def test_every_control_moves_the_picture(name):
    check_live(LABORATORY[name]())


def test_a_wave_is_told_where_it_is():
    live = fourier.one_wave()
    assert "at (−0.25, 0.00) and (0.25, 0.00)" in live.picture.value
    live.controls["frequency"].value = 1.5
    assert "at (−0.50, 0.00) and (0.50, 0.00)" in live.picture.value  # 1.5 looks like 0.5
    live.controls["frequency"].value = 0.0
    assert "where it is at (0.00, 0.00)." in live.picture.value
    live.controls["phase"].value = 90.0
    assert "where nothing is, as the wave is zero at every pixel." in live.picture.value


def test_all_waves_are_off_by_nothing():
    live = fourier.sum_of_waves(FIRST)
    live.controls["count"].index = len(live.controls["count"].options) - 1
    assert "the sum of all of its waves, which is off by 0.0 grey levels" in live.picture.value


def test_an_image_of_any_size_is_enlarged():
    live = fourier.up_sampling(RNG.uniform(0, 255, (18, 34)))
    live.controls["times"].value = 3
    assert "shrunk to 1/8" in live.picture.value
