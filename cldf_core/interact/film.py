"""A stream that one can watch (notebook 03): the agents of `toy`, batch by batch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from cldf_core.evaluation.cells import agent_name
from cldf_core.figures.style import CLASS_COLOURS, MARKERS, described, panels
from cldf_core.interact.live import Live, slider
from cldf_core.interact.toy import DOMAINS, MOMENTS, REACH, History, draw_points

_BELIEFS = LinearSegmentedColormap.from_list("P(fake)", [CLASS_COLOURS["real"], "white", CLASS_COLOURS["fake"]])
_COLOURS = sns.color_palette("viridis", len(DOMAINS) + 1)[:-1]  # without the lightest, which white would swallow


def watch(histories: Mapping[str, History], *, seed: int = 0, points: int = 60) -> Live:
    """What agents believe of each place, keep, and still know, with a slider over the batches.

    The histories are those of `toy.learn_all` with this seed; of each domain so many training points are drawn.
    """
    training = [draw_points(seed, "train", domain, points) for domain in range(len(DOMAINS))]
    moments = len(DOMAINS) * MOMENTS

    def draw(moment: int) -> Figure:
        figure, axes = panels(2, len(histories), 3.9, sharey="row", height_ratios=(1.25, 1))
        now = (moment - 1) // MOMENTS
        for (name, history), (plane, curves) in zip(histories.items(), axes.T, strict=True):
            image = _plane(plane, history, moment - 1)
            for domain, (where, labels) in enumerate(training[: now + 1]):
                _points(plane, where, labels, new=domain == now)
            _curves(curves, history, moment)
            plane.set_title(agent_name(name), fontsize="medium")
        figure.colorbar(image, ax=axes[0], ticks=[0, 0.5, 1], aspect=12, pad=0.01, label="P(fake)")
        figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        axes[1, 0].set_ylabel("accuracy")
        of_first = ", ".join(f"{agent_name(name)} {own.accuracy[moment - 1, 0]:.2f}" for name, own in histories.items())
        part = f"after {(moment - 1) % MOMENTS + 1} of {MOMENTS} parts of its batches"
        text = f"Points of the domain {DOMAINS[now]} are learned, {part}; accuracy on the domain {DOMAINS[0]} is"
        return described(figure, f"{text} now: {of_first}.")

    return Live(draw, moment=slider("parts of steps", range(1, moments + 1), 2 * MOMENTS, film=True))


def _plane(axis: Axes, history: History, at: int) -> AxesImage:
    """What an agent believes at a moment, with the line where it cannot decide, and what it keeps, in squares."""
    square = (-REACH, REACH, -REACH, REACH)
    image = axis.imshow(history.fake[at], cmap=_BELIEFS, vmin=0, vmax=1, extent=square, origin="lower", alpha=0.6)
    if history.fake[at].min() < 0.5 < history.fake[at].max():
        places = np.linspace(-REACH, REACH, len(history.fake[at]))
        axis.contour(places, places, history.fake[at], [0.5], colors="black", linewidths=1)
    x, y, labels, _ = history.memory[at].T
    axis.scatter(x, y, s=26, marker="s", facecolors="none", edgecolors="black", linewidths=0.8, zorder=3)
    axis.scatter(x, y, s=5, c=[list(CLASS_COLOURS.values())[int(label)] for label in labels], zorder=4)
    axis.set(xticks=[], yticks=[])
    return image


def _points(axis: Axes, where: np.ndarray, labels: np.ndarray, *, new: bool) -> None:
    for label, colour in enumerate(CLASS_COLOURS.values()):
        x, y = where[labels == label, :, 0, 0].T
        axis.scatter(x, y, s=7 if new else 2.5, color=colour, linewidths=0, zorder=2)


def _curves(axis: Axes, history: History, moment: int) -> None:
    """The accuracy on each domain until now, from where it is learned on in full lines."""
    steps = np.arange(1, moment + 1) / MOMENTS
    for domain, (name, colour) in enumerate(zip(DOMAINS, _COLOURS, strict=True)):
        own = history.accuracy[:moment, domain]
        axis.plot(steps[: domain * MOMENTS + 1], own[: domain * MOMENTS + 1], color=colour, linewidth=0.7, ls=":")
        look: dict[str, Any] = {"marker": MARKERS[domain], "markevery": MOMENTS // 2, "markersize": 3.5}
        later = slice(domain * MOMENTS, None)
        axis.plot(steps[later], own[later], color=colour, linewidth=1.3, label=f"on {name}", **look)
    for end in range(1, len(DOMAINS)):
        axis.axvline(end, color="0.8", linewidth=0.8, zorder=0)
    axis.axhline(0.5, color="0.4", linewidth=0.8, ls=":", zorder=0)
    axis.set(xlim=(0, len(DOMAINS)), ylim=(-0.03, 1.03), xticks=np.arange(len(DOMAINS)) + 0.5)
    axis.set_xticklabels(DOMAINS, fontsize=7)
    axis.tick_params(axis="x", length=0)
