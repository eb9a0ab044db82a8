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
    (whole,), (marked,) = (figure.axes[k].images for k in (1, 2))
    for drawn, values in ((whole, read.mean(0)), (marked, evidence)):  # each half as it is: nothing is mirrored
        drawn = np.asarray(drawn.get_array())
        np.testing.assert_allclose(np.fft.ifftshift(drawn, axes=0) if frequencies else drawn, values)
    assert marked.cmap(1.0)[0] > marked.cmap(1.0)[2]  # red, the upper end of the colours, is above 0
    assert min(marked.cmap(0.5)) > 0.9  # no evidence is white
    assert marked.get_clim()[0] == -marked.get_clim()[1]


def test_evidence_has_a_row_for_each_network():
    rng = np.random.default_rng(0)
    maps = {kind: {d: rng.normal(size=(16, 9)) for d in ("one", "two")} for kind in ("trained", "random weights")}
    axes = figures.evidence(maps).axes
    assert [ax.get_title() for ax in axes[:2]] == ["one", "two"]
    assert [axes[k].get_ylabel() for k in (0, 2)] == list(maps)
    np.testing.assert_allclose(np.fft.ifftshift(axes[1].images[0].get_array(), axes=0), maps["trained"]["two"])
    assert len({ax.images[0].get_clim() for ax in axes[:4]}) == 1  # so that noise does not look as strong as signal


def test_a_full_plane_is_drawn_whole():
    plane = np.random.default_rng(0).normal(size=(16, 16))
    (drawn,) = figures.evidence({"trained": {"one": plane}}).axes[0].images
    np.testing.assert_allclose(np.fft.ifftshift(drawn.get_array()), plane)
    assert tuple(drawn.get_extent()) == (-1, 1, 1, -1)
    (drawn,) = figures.evidence({"trained": {"one": plane}}, frequencies=False).axes[0].images
    np.testing.assert_allclose(drawn.get_array(), plane)  # of pixels nothing is shifted
