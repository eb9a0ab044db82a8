"""Figures of evidence: what is drawn is what the arrays hold."""

import numpy as np
import pytest

from cldf_core import figures


@pytest.mark.parametrize("band", [None, (-0.05, 0.15)])
@pytest.mark.parametrize("frequencies", [True, False])
def test_the_picture_of_a_verdict_is_drawn(band, frequencies):
    rng = np.random.default_rng(0)
    columns = 17 if frequencies else 32
    read, evidence = rng.uniform(-1, 1, (3, 32, columns)), rng.normal(size=(32, columns))
    pixels = rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    figure = figures.explained(pixels, read, evidence, 0.7, band=band, frequencies=frequencies)
    whole, marked = (figure.axes[k].images for k in (1, 2))
    drawn = np.fft.ifftshift(whole[0].get_array()) if frequencies else whole[0].get_array()
    np.testing.assert_allclose(drawn[:, :columns], read.mean(0))
    # Red, the upper end of the colours, is above 0.
    assert marked[1].cmap(1.0)[0] > marked[1].cmap(1.0)[2]
    assert marked[1].get_clim()[0] == -marked[1].get_clim()[1]


def test_evidence_has_a_row_for_each_network():
    rng = np.random.default_rng(0)
    maps = {kind: {d: rng.normal(size=(16, 9)) for d in ("one", "two")} for kind in ("trained", "random weights")}
    axes = figures.evidence(maps).axes
    assert [ax.get_title() for ax in axes[:2]] == ["one", "two"]
    assert [axes[k].get_ylabel() for k in (0, 2)] == list(maps)
    np.testing.assert_allclose(np.fft.ifftshift(axes[1].images[0].get_array())[:, :9], maps["trained"]["two"])
