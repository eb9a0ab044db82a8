"""A real image beside its fake, and where the two differ by more than one likes to ignore (notebook 01)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from cldf_core.figures.style import described, panels
from cldf_core.interact.live import Live, choice, slider

LEVELS = (0, 1, 2, 4, 8, 16, 32, 64)


def differing(real: np.ndarray, fake: np.ndarray, level: int) -> np.ndarray:
    """True where some colour differs by more than so many of 255 levels: uint8 (3, H, W) to bool (H, W)."""
    return (np.abs(fake.astype(int) - real.astype(int)) > level).any(0)


def beside(pairs: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]) -> Live:
    """Pairs of real and fake crops, uint8 (3, H, W), of each domain, with a choice of the pair and of the level.

    Of domains with more pairs than others only so many can be chosen as every domain has.
    """

    def draw(domain: str, pair: int, level: int) -> Figure:
        figure, (axes,) = panels(1, 3, 2.5)
        real, fake = pairs[domain][pair - 1]
        different = differing(real, fake, level)
        for axis, pixels in zip(axes, (real.transpose(1, 2, 0), fake.transpose(1, 2, 0), different), strict=True):
            axis.imshow(pixels, cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        axes[2].spines[:].set(visible=True, color="0.7", linewidth=0.6)
        titles = "real", "fake", f"differ by more than {level}: {different.mean():.0%}"
        for axis, title in zip(axes, titles, strict=True):
            axis.set_title(title, fontsize="medium")
        text = f"Pair {pair} of {domain}: in {different.mean():.1%} of the pixels some colour of the fake"
        return described(figure, f"{text} differs from the real image by more than {level} of 255 levels.")

    count = min(len(of_domain) for of_domain in pairs.values())
    return Live(
        draw,
        domain=choice("domain", list(pairs)),
        pair=slider("pair", range(1, count + 1), 1),
        level=slider("more than … levels", LEVELS, 4),
    )
