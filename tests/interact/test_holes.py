"""Frequencies taken out: bands are those of the ablation, and P(fake) is what the network says of what is left."""

import numpy as np
import pytest
import torch

from cldf_core.evaluation.attribution import without_band
from cldf_core.interact.holes import hole, without
from cldf_core.resnet import build_network
from cldf_core.spectrum import log_spectrum
from moving import check_live

RNG = np.random.default_rng(0)
PAIR = RNG.integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
SPECTRA = np.asarray(log_spectrum(PAIR))


@pytest.mark.parametrize(("band", "edges"), [("low", (0.0, 0.53)), ("mid", (0.53, 0.81)), ("high", (0.81, 1.0))])
def test_a_band_is_that_of_the_ablation(band, edges):
    assert np.array_equal(without(SPECTRA, *edges), without_band(SPECTRA, band))
    full = RNG.normal(size=(3, 16, 16))
    assert np.array_equal(without(full, *edges, "full"), without_band(full, band, "full"))


def test_what_is_told_is_what_the_network_says():
    networks = {
        name: build_network(width=4, generator=torch.Generator().manual_seed(k)) for k, name in enumerate(("er", "lwf"))
    }
    live = hole(PAIR, SPECTRA, networks)
    check_live(live)
    live.controls["network"].value, live.controls["span"].value = "LwF", (0.2, 0.55)
    left = torch.from_numpy(without(SPECTRA, 0.2, 0.55)).float()
    with torch.no_grad():
        fake = networks["lwf"].eval()(left).softmax(1)[:, 1]
    said = f"from 0.2 to 0.55 of Nyquist's; P(fake) by LwF: real {fake[0]:.3f}; fake {fake[1]:.3f}."
    assert live._metadata["image/png"]["alt"].endswith(said)
