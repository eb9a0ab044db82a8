"""A real image beside its fake: the pixels that differ are those that a loop finds."""

import numpy as np

from cldf_core.interact.pairs import beside, differing
from moving import check_live

RNG = np.random.default_rng(0)
REAL = RNG.integers(0, 256, (3, 12, 10), dtype=np.uint8)
FAKE = np.clip(REAL.astype(int) + RNG.integers(-9, 10, REAL.shape), 0, 255).astype(np.uint8)


def test_a_pixel_differs_if_one_of_its_colours_does():
    for level in (0, 4, 8):
        for y in range(12):
            for x in range(10):
                far = any(abs(int(FAKE[c, y, x]) - int(REAL[c, y, x])) > level for c in range(3))
                assert differing(REAL, FAKE, level)[y, x] == far


def test_every_control_moves_the_picture_and_only_pairs_that_every_domain_has_are_offered():
    turned = REAL[:, ::-1]
    live = beside({"a": [(REAL, FAKE), (FAKE, turned)], "b": [(FAKE, turned), (REAL, FAKE), (REAL, REAL)]})
    assert list(live.controls["pair"].options) == [1, 2]
    check_live(live)
    share = differing(REAL, FAKE, 8).mean()
    assert f"Pair 1 of a: in {share:.1%} of the pixels" in str(live.draw("a", 1, 8).get_label())
