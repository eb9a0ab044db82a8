"""A-GEM's projection in two dimensions: which way the new images push, and which way is allowed (notebook 12)."""

import numpy as np
from matplotlib.figure import Figure

from cldf_core.figures.style import agent_colour, described, panels
from cldf_core.interact.live import Live, slider

ANGLES = range(0, 181, 10)
LENGTHS = (0.25, 0.5, 1.0, 1.5, 2.0)


def projected(gradient: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The gradient, less its part along the reference where the two point apart; both of shape (N,)."""
    product = gradient @ reference
    return gradient if product >= 0 else gradient - product / (reference @ reference) * reference


def projection() -> Live:
    """Two gradients as arrows, with sliders over the angle between them and over the length of the old one."""
    return Live(
        _projection, angle=slider("angle (degrees)", ANGLES, 130), length=slider("length of the old one", LENGTHS, 1.0)
    )


def _projection(angle: int, length: float) -> Figure:
    figure, ((axis,),) = panels(1, 1, 2.8, width=5.0)
    reference = length * np.array([0.0, 1.0])
    turn = np.deg2rad(90 - angle)
    gradient = np.array([np.cos(turn), np.sin(turn)])
    allowed = projected(gradient, reference)
    axis.axhspan(-2.3, 0, color="0.93", zorder=0)  # where a step against the gradient raises the old loss
    arrows = {"new batch, g": (gradient, "0.35"), "old batch, g ref": (reference, agent_colour("er"))}
    arrows |= {"what A-GEM takes": (allowed, agent_colour("agem"))}
    for k, (name, ((x, y), colour)) in enumerate(arrows.items()):
        how = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.012 - 0.003 * k, "zorder": 2 + k}
        axis.quiver(0, 0, x, y, color=colour, label=name, **how)
    axis.set(xlim=(-1.4, 1.4), ylim=(-1.2, 2.2), xticks=[], yticks=[], aspect="equal")
    axis.text(-1.35, -1.1, "against an arrow down here\nthe old loss rises", fontsize=7, color="0.3")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    before, after = (round(float(-step @ reference), 2) + 0.0 for step in (gradient, allowed))  # never -0.00
    text = f"With {angle} degrees between the gradients, a small step against g changes the old loss by {before:.2f}"
    return described(figure, f"{text} times its size, and one against what A-GEM takes by {after:.2f} times.")
