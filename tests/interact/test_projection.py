"""A-GEM's projection: of all directions that do not raise the old loss, the nearest one."""

import numpy as np
import pytest

from cldf_core.interact.projection import projected, projection
from moving import check_live


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_nearest_direction_that_is_allowed(seed):
    rng = np.random.default_rng(seed)
    gradient, reference = rng.normal(size=2), rng.normal(size=2)
    angles = np.linspace(0, 2 * np.pi, 36001)
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    allowed = rays[rays @ reference >= -1e-9]  # half of the plane, as rays
    lengths = np.maximum(allowed @ gradient, 0)  # along each ray the nearest point
    distances = np.linalg.norm(lengths[:, None] * allowed - gradient, axis=1)
    found = projected(gradient, reference)
    assert found @ reference >= -1e-12
    assert np.linalg.norm(found - gradient) == pytest.approx(distances.min(), abs=1e-3)


def test_every_control_moves_the_picture_and_the_sentence_has_both_slopes():
    check_live(projection())
    live = projection()
    live.controls["angle"].value = 120
    slope = np.cos(np.deg2rad(120))  # of the old loss along g, both of length 1
    text = live._metadata["image/png"]["alt"]
    assert f"changes the old loss by {-slope:.2f} times" in text
    assert text.endswith("by 0.00 times.")
    live.controls["angle"].value = 60
    assert live._metadata["image/png"]["alt"].endswith("by -0.50 times.")
