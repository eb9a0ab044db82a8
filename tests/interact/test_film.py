"""What is drawn of a stream in the plane: moments up to the slider's, memories, accuracies."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from cldf_core.figures.style import CLASS_COLOURS
from cldf_core.interact.film import watch
from cldf_core.interact.toy import GRID, MOMENTS, History
from moving import check_live

LAST = 3 * MOMENTS
RNG = np.random.default_rng(0)
KEPT = np.array([[0.5, -1.0, 1, 0], [-2.0, 1.0, 0, 1]])


@pytest.fixture
def histories() -> dict[str, History]:
    fake, accuracy = RNG.uniform(0, 1, (LAST, GRID, GRID)), RNG.uniform(0, 1, (LAST, 3))
    memory = [np.empty((0, 4))] * MOMENTS + [KEPT] * 2 * MOMENTS
    return {"sequential": History(fake, accuracy, memory), "er": History(fake[::-1], accuracy[::-1], memory)}


def test_every_moment_has_its_picture(histories):
    live = watch(histories, points=4)
    check_live(live)
    live.controls["moment"].value = MOMENTS + 1
    text = "Points of the domain middle are learned, after 1 of 30 parts of its batches; accuracy on the domain left is"
    values = [histories[name].accuracy[MOMENTS, 0] for name in histories]
    expected = f"{text} now: sequential fine-tuning {values[0]:.2f}, ER (random) {values[1]:.2f}."
    assert live._metadata["image/png"]["alt"] == expected


def test_plane_memory_and_curves_are_those_of_the_moment(histories):
    figure = watch(histories, points=4).draw(2 * MOMENTS)
    plane, curves = figure.axes[0], figure.axes[2]
    assert np.array_equal(plane.images[0].get_array(), histories["sequential"].fake[2 * MOMENTS - 1])
    kept = [c for c in plane.collections if c.get_zorder() in (3, 4)]
    assert len(kept) == 2  # squares, and dots in them
    for drawn in kept:
        assert np.allclose(drawn.get_offsets(), KEPT[:, :2])
    colours = [to_hex(c) for c in kept[-1].get_facecolors()]
    assert colours == [CLASS_COLOURS["fake"].lower(), CLASS_COLOURS["real"].lower()]
    of_first = curves.lines[1]
    assert np.allclose(of_first.get_ydata(), histories["sequential"].accuracy[: 2 * MOMENTS, 0])
    assert of_first.get_xdata()[-1] == 2
