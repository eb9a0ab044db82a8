"""Figures of what corruptions do to images, to spectra and to verdicts (notebook 09)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cldf_core.evaluation.cells import agent_name
from cldf_core.evaluation.robustness import AVERAGE, DIFFERENCE, NONE, STORED
from cldf_core.figures.exploration import FREQUENCY, PLANE, picture, shifted
from cldf_core.figures.style import (
    CLASS_COLOURS,
    GREY,
    MARKERS,
    OTHERS,
    agent_colour,
    agent_line,
    agent_marker,
    described,
    extremes,
    label_ends,
    panels,
    span,
)

# The label of each corruption's axis.
AXES = {
    "JPEG": "JPEG quality (second save)",
    "resize": "resize factor",
    "blur": "blur σ (pixels)",
    "noise": "noise (factor)",
}
BAND_LINES = {"low": ("0.55", ":"), "mid": ("0.4", "--"), "high": ("0.0", "-")}  # grey and line style


def corrupted_examples(pictures: Mapping[str, np.ndarray], planes: Mapping[str, np.ndarray]) -> Figure:
    """Draws a crop in several versions, and below each the mean spectrum of many crops in this version.

    By title the pictures are uint8 of shape (3, H, W), and the planes are ln |F|, half planes of shape (H, W/2 + 1).
    """
    figure, axes = panels(2, len(pictures), 2.7)
    low, high = np.quantile(list(planes.values()), [0.005, 0.995])
    for column, (title, pixels) in enumerate(pictures.items()):
        upper, lower = axes[:, column]
        picture(upper, pixels)
        upper.set_title(title, fontsize="small")
        drawn = lower.imshow(shifted(planes[title]), vmin=low, vmax=high, extent=PLANE)
        _plane_ticks(lower, labelled=column == 0)
    figure.colorbar(drawn, ax=axes[1], aspect=10, pad=0.02, label="ln |F|")
    figure.supxlabel(f"horizontal {FREQUENCY} (vertical axes alike)", fontsize="medium")
    return described(figure, f"One crop, and below it the mean spectrum of many, in versions: {', '.join(pictures)}.")


def differences_left(planes: Mapping[str, np.ndarray], titles: Sequence[str], stream: Sequence[str]) -> Figure:
    """Draws fake minus real in the mean spectra: a row for each domain, a column for each version, with its title.

    The planes are differences of ln |F| by domain, half planes of shape (versions, H, W/2 + 1).
    """
    figure, axes = panels(len(planes), len(titles), 0.87 * len(planes) + 0.75)
    most = np.quantile(np.abs(list(planes.values())), 0.995)
    for row, (domain, versions) in zip(axes, planes.items(), strict=True):
        for ax, plane in zip(row, versions, strict=True):
            drawn = ax.imshow(shifted(plane), vmin=-most, vmax=most, cmap="RdBu_r", extent=PLANE)
            _plane_ticks(ax, labelled=ax is axes[-1, 0])
        row[0].set_ylabel(_title(domain, stream).replace("never ", "never\n"), fontsize=7)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize="small")
    figure.colorbar(drawn, ax=axes, aspect=30, pad=0.02, label="fake − real (ln |F|)")
    figure.supxlabel(f"horizontal {FREQUENCY} (vertical axes alike)", fontsize="medium")
    left = ", ".join(f"{span(np.ravel(versions[-1]))} in {domain}" for domain, versions in planes.items())
    return described(figure, f"Fake minus real in mean spectra (ln |F|), which is in the last version: {left}.")


def common_step(table: pd.DataFrame, stream: Sequence[str]) -> Figure:
    """Draws a panel for each domain: each agent's value on images as they are stored (open) and saved again (filled).

    The table is from `evaluation.robustness.curves`, without the average.
    """
    points = table[(table["metric"] == "accuracy") & table["corruption"].isin([STORED, NONE])]
    domains, agents = list(dict.fromkeys(points["domain"])), list(dict.fromkeys(points["agent"]))
    figure, axes = panels(1, len(domains), 0.3 * len(agents) + 1.2, sharex=True, sharey=True)
    for place, (ax, domain) in enumerate(zip(axes.flat, domains, strict=True)):
        for (agent, corruption), part in points[points["domain"] == domain].groupby(["agent", "corruption"]):
            (row,), before = part.itertuples(), corruption == STORED
            y, colour = agents.index(agent) + (-0.17 if before else 0.17), agent_colour(str(agent))
            ax.plot([row.low, row.high], [y, y], color=colour, lw=1.3, zorder=2)
            face = "white" if before else colour
            ax.plot(row.value, y, MARKERS[place % len(MARKERS)], color=colour, mfc=face, ms=4.5, zorder=3)
        ax.axvline(0.5, color="0.4", lw=0.8, ls=":")
        ax.set_title(_title(domain, stream), fontsize="small")
        ax.set_yticks(range(len(agents)), [agent_name(a) for a in agents])
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.grid(axis="x", color="0.9")
    axes.flat[0].set_ylim(len(agents) - 0.5, -0.5)
    handles = [
        Line2D([], [], color="0.3", marker="o", ms=4.5, lw=1.3, mfc=face, label=text)
        for face, text in (("white", "as stored"), ("0.3", "saved once more"))
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
    figure.supxlabel("accuracy (dotted: guessing)", fontsize="medium")
    means = points.groupby(["corruption", "agent"])["value"].mean()
    stored, again = (extremes(means[which].rename(agent_name)) for which in (STORED, NONE))
    sentence = f"Mean accuracy on images as they are stored is {stored}, and saved once more {again}."
    return described(figure, sentence)


def against_severity(table: pd.DataFrame, *, highlight: Collection[str]) -> Figure:
    """Draws a column for each corruption and a row for each metric: the agents' curves against the severity.

    The table is from `evaluation.robustness.curves`, and the curves are averages over domains. The agents to highlight
    have their colours, names and bands; the others are grey.
    """
    figure, axes = panels(2, len(AXES), 4.1, sharex="col", sharey=True)
    for metric, row in zip(("accuracy", "AUC"), axes, strict=True):
        lines = table[(table["metric"] == metric) & (table["domain"] == AVERAGE)]
        for ax, corruption in zip(row, AXES, strict=True):
            ends = _agents(ax, lines, corruption, highlight)
            _severities(ax, lines, corruption)
        row[0].set_ylabel(metric)
        label_ends(row[-1], ends)
    for ax, name in zip(axes[-1], AXES.values(), strict=True):
        ax.set_xlabel(name.replace(" (", "\n("))
    figure.align_xlabels(axes[-1])
    lines = table[(table["metric"] == "accuracy") & (table["domain"] == AVERAGE)]
    worst = ", ".join(f"{name} {span([lines.loc[lines['corruption'] == name, 'value'].min()])}" for name in AXES)
    return described(figure, f"Accuracy and AUC against the severity of corruptions; the lowest accuracy: {worst}.")


def verdicts_and_traces(
    table: pd.DataFrame, traces: pd.DataFrame, corruption: str, stream: Sequence[str], *, highlight: Collection[str]
) -> Figure:
    """Draws a column for each domain: the agents' curves, the grid in real and fake images, fake minus real by band.

    The table is from `curves` and the traces from `trace_curves` of `evaluation.robustness`; the corruption is one in
    AXES. The agents to highlight have their colours, names and bands; the others are grey.
    """
    domains = list(dict.fromkeys(traces["domain"]))
    lines = table[table["metric"] == "accuracy"]
    figure, axes = panels(3, len(domains), 5.4, sharex=True, sharey="row")
    for column, domain in zip(axes.T, domains, strict=True):
        above, middle, below = column
        ends = _agents(above, lines[lines["domain"] == domain], corruption, highlight)
        of_domain = traces[traces["domain"] == domain]
        grid = of_domain[of_domain["trace"] == "grid 2"]
        for kind, colour in CLASS_COLOURS.items():
            of_kind = grid[grid["class"] == kind]
            # The logarithm of a ratio is drawn as the ratio, as in notebook 02.
            ratios = of_kind.assign(**{name: np.exp(of_kind[name]) for name in ("value", "low", "high")})
            _curve(middle, ratios, corruption, color=colour, ls="-" if kind == "real" else "--", label=kind)
        middle.axhline(1, color="0.4", lw=0.8, ls=":")
        for band, (grey, line) in BAND_LINES.items():
            of_band = of_domain[(of_domain["trace"] == band) & (of_domain["class"] == DIFFERENCE)]
            _curve(below, of_band, corruption, color=grey, ls=line, label=band)
        below.axhline(0, color="0.4", lw=0.8, ls=":")
        _severities(below, of_domain, corruption)
        above.set_title(_title(domain, stream), fontsize="small")
    labels = ("accuracy", "grid of period 2\n(ratio)", "fake − real\n(ln |F|)")
    for ax, label in zip(axes[:, 0], labels, strict=True):
        ax.set_ylabel(label)
        ax.yaxis.set_major_locator(MaxNLocator(4))
    figure.align_ylabels(axes[:, 0])
    figure.supxlabel(AXES[corruption], fontsize="medium")
    label_ends(axes[0, -1], ends)
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}  # so that they cover no line
    for ax in axes[1:, -1]:
        ax.legend(**beside, frameon=False, fontsize=7, handlelength=1.8, labelspacing=0.3)
    lowest = lines[lines["corruption"] == corruption].groupby("domain", sort=False)["value"].min()
    sentence = (
        f"Accuracy, grid and spectrum against {AXES[corruption]}, by domain; the lowest accuracy is {extremes(lowest)}."
    )
    return described(figure, sentence)


def _plane_ticks(ax: Axes, *, labelled: bool) -> None:
    ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    ax.tick_params(labelsize=7, labelbottom=labelled, labelleft=labelled)


def _agents(ax: Axes, table: pd.DataFrame, corruption: str, highlight: Collection[str]) -> dict[str, tuple[float, str]]:
    """Draws the agents' curves, and returns where the lines to be named end, with their colours (`label_ends`)."""
    ends: dict[str, tuple[float, str]] = {}
    for agent, line in table.groupby("agent", sort=False):
        name, last = str(agent), _ordered(line, corruption)["value"].iloc[-1]
        if name in highlight:
            ends[agent_name(name)] = last, agent_colour(name)
            look = {"marker": agent_marker(name), "ms": 3, "ls": agent_line(name), "label": agent_name(name)}
            _curve(ax, line, corruption, color=agent_colour(name), zorder=3, **look)
        else:
            ends[OTHERS] = last, "0.45"
            _curve(ax, line, corruption, color=GREY, band=False, zorder=1, label=OTHERS)
    ax.axhline(0.5, color="0.4", lw=0.8, ls=":")
    return ends


def _curve(ax: Axes, table: pd.DataFrame, corruption: str, *, color: str, band: bool = True, **style: Any) -> None:
    """Draws a line and its band, with equal distances between the severities."""
    line = _ordered(table, corruption)
    places = np.arange(len(line))
    if band:
        ax.fill_between(places, line["low"], line["high"], color=color, alpha=0.13, lw=0)
    ax.plot(places, line["value"], color=color, lw=1.1, **style)


def _severities(ax: Axes, table: pd.DataFrame, corruption: str) -> None:
    """Writes the severities below an axis."""
    versions = _ordered(table.drop_duplicates(["corruption", "severity"]), corruption)
    pairs = zip(versions["corruption"], versions["severity"], strict=True)
    names = [_label(version, severity, corruption) for version, severity in pairs]
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)


def _ordered(table: pd.DataFrame, corruption: str) -> pd.DataFrame:
    """Orders the versions: stored images (before JPEG alone), no corruption, then from mild to severe or by size."""
    chosen = table[table["corruption"].isin([NONE, corruption, *([STORED] if corruption == "JPEG" else [])])]
    place = -chosen["severity"] if corruption == "JPEG" else chosen["severity"]
    start = {STORED: -102.0, NONE: {"JPEG": -101.0, "resize": 1.0}.get(corruption, 0.0)}
    return chosen.assign(place=chosen["corruption"].map(start).fillna(place)).sort_values("place", kind="stable")


def _label(version: str, severity: float, corruption: str) -> str:
    if version == STORED:
        return version
    if version == NONE:
        return {"JPEG": "once", "resize": "1"}.get(corruption, "0")
    return f"{severity:g}".removeprefix("0") if corruption == "noise" else f"{severity:g}"


def _title(domain: str, stream: Sequence[str]) -> str:
    return domain + ("" if domain in stream else "\n(never trained on)")
