"""Figures of what a network looks at (notebooks 10 and 13): evidence in images and domains, accuracy without a band."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from cldf_core.evaluation.cells import agent_name
from cldf_core.figures.exploration import FREQUENCY, PLANE, picture
from cldf_core.figures.style import CLASS_COLOURS, MARKERS, WIDTH, Drawing, described, extremes, panels, span, two_lines

# Darker for higher frequencies; no agent has these colours.
BAND_COLOURS = {"low": "#A97FC0", "mid": "#8E5AA8", "high": "#43205A"}


def explained(
    pixels: np.ndarray,
    read: np.ndarray,
    evidence: np.ndarray,
    probability: float,
    *,
    threshold: float = 0.5,
    band: tuple[float, float] | None = None,
    frequencies: bool = True,
) -> Figure:
    """Draws an image, the network's input, the evidence that the network finds there, and P(fake).

    Args:
        pixels: uint8, shape (3, H, W).
        read: the network's input, shape (3, H, W/2 + 1) or (3, H, W).
        evidence: from `attribution.grad_cam`, in the input's shape without channels; above 0 speaks for fake.
        probability: P(fake); NaN if it is unknown.
        threshold: a P(fake) from here up is the verdict "fake".
        band: the P(fake) between which there is no verdict.
        frequencies: whether the input is a spectrum. Its zero frequency is drawn in the middle.
    """
    figure = Drawing(figsize=(WIDTH, 3.3))
    grid: dict[str, Any] = {"height_ratios": (1, 0.12), "width_ratios": (1.1, 1, 1) if frequencies else (1, 1, 1)}
    axes = figure.subplot_mosaic([list("pse"), list("bbb")], **grid)
    picture(axes["p"], pixels)
    most = float(np.abs(evidence).max()) or 1.0
    looks = {"s": ("gray", 1.0, read.mean(0)), "e": ("RdBu_r", most, evidence)}
    for name, (colours, reach, values) in looks.items():
        drawn = _as_read(axes[name], values, frequencies, cmap=colours, vmin=-reach, vmax=reach)
    bar = figure.colorbar(drawn, ax=axes["e"], aspect=14, ticks=[-most, 0, most], label="evidence (logit)")
    bar.ax.set_yticklabels([f"{-most:.1g} (real)", "0", f"{most:.1g} (fake)"], fontsize="small")
    for name, title in zip("pse", ("pixels", "what the network reads", "evidence in it"), strict=True):
        axes[name].set_title(title, fontsize="medium")
    line = axes["b"]
    if band:
        line.axvspan(max(band[0], 0), min(band[1], 1), color="0.88", linewidth=0)
    line.axvline(threshold, color="0.4", linestyle=":")
    colour = CLASS_COLOURS["fake" if probability >= threshold else "real"]
    line.plot([probability], [0], "o", color=colour, markersize=9)
    line.set(xlim=(-0.02, 1.02), yticks=[], xlabel="P(fake)" + (" (grey: cannot say)" if band else ""))
    line.spines["left"].set_visible(False)
    read_as = "spectrum" if frequencies else "network's input"
    said = f"P(fake) is {probability:.3f}, the threshold {threshold:g}"
    return described(figure, f"An image, its {read_as}, and where in it the network finds evidence; {said}.")


def evidence(maps: Mapping[str, Mapping[str, np.ndarray]], *, frequencies: bool = True) -> Figure:
    """Draws the mean evidence in what the networks read: a row for each network, a column for each domain.

    The maps are signed planes, (H, W/2 + 1) or (H, W), by the label of the row and by domain, of spectra or of pixels.
    All share one range.
    """
    domains = list(dict.fromkeys(name for row in maps.values() for name in row))
    figure, axes = panels(len(maps), len(domains), 1.75 * len(maps) + 0.7, sharex=True, sharey=True)
    most = max(float(np.abs(plane).max()) for row in maps.values() for plane in row.values()) or 1.0
    for place, (row, (name, of_domain)) in enumerate(zip(axes, maps.items(), strict=True)):
        for ax, domain in zip(row, domains, strict=True):
            drawn = _as_read(ax, of_domain[domain], frequencies, cmap="RdBu_r", vmin=-most, vmax=most)
            ax.set(xlabel="", ylabel="")
            if not place:
                ax.set_title(two_lines(domain), fontsize="medium")
        row[0].set_ylabel(name)
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, aspect=25, ticks=[-most, 0, most], format="%.2g")
    bar.set_label("evidence in fakes minus that in reals (logit)")
    bar.outline.set_visible(False)
    across = f"horizontal {FREQUENCY} (vertical axes: vertical frequency)" if frequencies else "place in the image"
    figure.supxlabel(across, fontsize="medium")
    strength = ", ".join(f"{name} {span(np.ravel([*row.values()]), '.2g')}" for name, row in maps.items())
    return described(
        figure, f"Mean evidence by {'frequency' if frequencies else 'place'} on {', '.join(domains)}: {strength}."
    )


def band_losses(table: pd.DataFrame, stream: Sequence[str]) -> Figure:
    """Draws the accuracy that is lost without a band, after every step: a row for each agent, a column for each domain.

    The table has the columns agent, step, domain, band, value, low and high. A grey bar marks the step of the stream
    that trains on the panel's domain.
    """
    agents, domains = list(dict.fromkeys(table["agent"])), list(dict.fromkeys(table["domain"]))
    figure, axes = panels(len(agents), len(domains), 1.5 * len(agents) + 0.8, sharex=True, sharey=True)
    for place, (row, agent) in enumerate(zip(axes, agents, strict=True)):
        for ax, domain in zip(row, domains, strict=True):
            panel = table[(table["agent"] == agent) & (table["domain"] == domain)]
            if domain in stream:
                ax.axvspan(stream.index(domain) + 0.8, stream.index(domain) + 1.2, color="0.9", zorder=0)
            ax.axhline(0, color="0.4", lw=0.8, ls=":")
            for marker, (band, part) in zip(MARKERS, panel.groupby("band", sort=False), strict=False):
                ax.fill_between(part["step"], part["low"], part["high"], color=BAND_COLOURS[band], alpha=0.2, lw=0)
                ax.plot(part["step"], part["value"], color=BAND_COLOURS[band], marker=marker, ms=4, lw=1.2, label=band)
            ax.set_xticks(range(1, len(stream) + 1))
            if not place:
                ax.set_title(two_lines(domain), fontsize="medium")
        row[0].set_ylabel(agent_name(agent), fontsize="small")
    handles = axes.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper right", ncols=3, frameon=False, title="without the band")
    figure.supxlabel("after step (grey: the step that trains on this domain)", fontsize="medium")
    figure.supylabel("accuracy lost", fontsize="medium")
    lost = table.groupby("band")["value"].mean()
    return described(figure, f"Accuracy lost without a band after every step, on average: {extremes(lost)}.")


def _as_read(ax: Axes, values: np.ndarray, frequencies: bool = True, **look: Any) -> AxesImage:
    """Draws what the network reads, or evidence in it, and no more: of a half plane this half.

    The zero frequency stands in the middle of its column or, in a full plane, of the panel.
    """
    if not frequencies:
        drawn = ax.imshow(values, **look)
        ax.set(xticks=[], yticks=[])
        return drawn
    half = values.shape[1] < values.shape[0]
    drawn = ax.imshow(
        np.fft.fftshift(values, axes=0 if half else None), extent=(0, 1, 1, -1) if half else PLANE, **look
    )
    ax.set(xticks=[0, 1] if half else [-1, 0, 1], yticks=[-1, 0, 1], xlabel=FREQUENCY)
    return drawn
