"""Figures of what corruptions do to images, to spectra and to verdicts (notebook 09)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cldf_core.evaluation.cells import agent_name
from cldf_core.figures.exploration import FREQUENCY, PLANE, picture, shifted
from cldf_core.figures.style import CLASS_COLOURS, MARKERS, WIDTH, agent_colour

# What stands below each corruption's axis.
AXES = {"JPEG": "JPEG quality", "resize": "resize factor", "blur": "blur σ (pixels)", "noise": "noise (factor)"}
BAND_LINES = {"low": ("0.65", ":"), "mid": ("0.4", "--"), "high": ("0.0", "-")}  # grey and line style


def corrupted_examples(pictures: Mapping[str, np.ndarray], planes: Mapping[str, np.ndarray]) -> Figure:
    """One square in several versions, and below each the mean spectrum of many squares in this version.

    Args:
        pictures: title and square, uint8 of shape (3, H, W).
        planes: for the same titles ln |F|, half planes of shape (H, W/2 + 1).
    """
    figure, axes = plt.subplots(2, len(pictures), figsize=(WIDTH, 2.7), squeeze=False)
    low, high = np.quantile(list(planes.values()), [0.005, 0.995])
    for column, (title, pixels) in enumerate(pictures.items()):
        upper, lower = axes[:, column]
        picture(upper, pixels)
        upper.set_title(title, fontsize="small")
        drawn = lower.imshow(shifted(planes[title]), vmin=low, vmax=high, extent=PLANE)
        _plane_ticks(lower, labelled=column == 0)
    figure.colorbar(drawn, ax=axes[1], aspect=10, pad=0.02, label="ln |F|")
    figure.supxlabel(f"horizontal {FREQUENCY} (vertical axes alike)", fontsize="medium")
    return figure


def differences_left(planes: Mapping[str, np.ndarray], titles: Sequence[str], stream: Sequence[str]) -> Figure:
    """Fake minus real in the mean spectra, a row per domain, a column per version: the last row of `mean_spectra`.

    Args:
        planes: domain and its differences of ln |F|, half planes of shape (versions, H, W/2 + 1).
        titles: of the versions.
        stream: the trained domains.
    """
    size = (WIDTH, 0.87 * len(planes) + 0.75)
    figure, axes = plt.subplots(len(planes), len(titles), figsize=size, squeeze=False)
    most = np.quantile(np.abs(list(planes.values())), 0.995)
    for row, (domain, own) in zip(axes, planes.items(), strict=True):
        for ax, plane in zip(row, own, strict=True):
            drawn = ax.imshow(shifted(plane), vmin=-most, vmax=most, cmap="RdBu_r", extent=PLANE)
            _plane_ticks(ax, labelled=ax is axes[-1, 0])
        row[0].set_ylabel(_title(domain, stream).replace("never ", "never\n"), fontsize=7)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize="small")
    figure.colorbar(drawn, ax=axes, aspect=30, pad=0.02, label="fake − real (ln |F|)")
    figure.supxlabel(f"horizontal {FREQUENCY} (vertical axes alike)", fontsize="medium")
    return figure


def common_step(table: pd.DataFrame, stream: Sequence[str], *, metric: str = "accuracy") -> Figure:
    """A panel per domain: each agent's value on images as they are stored (open) and saved once more (filled).

    Args:
        table: from `runs.curves.curves`, with the corruptions "stored" and "none"; without the average.
        stream: the trained domains.
        metric: which of the table's.
    """
    own = table[(table["metric"] == metric) & table["corruption"].isin(["stored", "none"])]
    domains, agents = list(dict.fromkeys(own["domain"])), list(dict.fromkeys(own["agent"]))
    size = (WIDTH, 0.3 * len(agents) + 1.2)
    figure, axes = plt.subplots(1, len(domains), figsize=size, sharex=True, sharey=True, squeeze=False)
    for place, (ax, domain) in enumerate(zip(axes.flat, domains, strict=True)):
        for (agent, corruption), part in own[own["domain"] == domain].groupby(["agent", "corruption"]):
            (row,), before = part.itertuples(), corruption == "stored"
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
    figure.supxlabel(f"{metric} (dotted: guessing)", fontsize="medium")
    return figure


def against_severity(
    table: pd.DataFrame, *, domain: str = "average", metrics: Sequence[str] = ("accuracy", "AUC")
) -> Figure:
    """A column per corruption, a row per metric: every agent's curve against the severity, with its 95 % band.

    Args:
        table: from `runs.curves.curves`.
        domain: one of the table's.
        metrics: the rows.
    """
    size = (WIDTH, 1.6 * len(metrics) + 0.9)
    figure, axes = plt.subplots(len(metrics), len(AXES), figsize=size, sharex="col", sharey=True, squeeze=False)
    for metric, row in zip(metrics, axes, strict=True):
        own = table[(table["metric"] == metric) & (table["domain"] == domain)]
        for ax, corruption in zip(row, AXES, strict=True):
            _agents(ax, own, corruption, ".")
            _below(ax, own, corruption)
        row[0].set_ylabel(metric)
    for ax, name in zip(axes[-1], AXES.values(), strict=True):
        ax.set_xlabel(name)
    figure.align_xlabels(axes[-1])
    _legend(figure, table["agent"].unique())
    return figure


def verdicts_and_traces(
    table: pd.DataFrame,
    traces: pd.DataFrame,
    corruption: str,
    stream: Sequence[str],
    *,
    metric: str = "accuracy",
    period: int = 2,
) -> Figure:
    """A column per domain: the agents' curves, the grid of real and fake images, and fake minus real by band.

    Args:
        table: from `runs.curves.curves`.
        traces: from `runs.curves.trace_curves`.
        corruption: one of AXES.
        stream: the trained domains.
        metric: of the first row.
        period: of the grid, in pixels.
    """
    domains = list(dict.fromkeys(traces["domain"]))
    own = table[table["metric"] == metric]
    figure, axes = plt.subplots(3, len(domains), figsize=(WIDTH, 5.4), sharex=True, sharey="row", squeeze=False)
    for place, (column, domain) in enumerate(zip(axes.T, domains, strict=True)):
        above, middle, below = column
        _agents(above, own[own["domain"] == domain], corruption, MARKERS[place % len(MARKERS)])
        here = traces[traces["domain"] == domain]
        grid = here[here["trace"] == f"grid {period}"]
        for kind, colour in CLASS_COLOURS.items():
            of_kind = grid[grid["class"] == kind]
            # ln of a ratio is drawn as the ratio, as in notebook 02.
            ratios = of_kind.assign(**{name: np.exp(of_kind[name]) for name in ("value", "low", "high")})
            _curve(middle, ratios, corruption, color=colour, ls="-" if kind == "real" else "--", label=kind)
        middle.axhline(1, color="0.4", lw=0.8, ls=":")
        for band, (grey, line) in BAND_LINES.items():
            of_band = here[(here["trace"] == band) & (here["class"] == "fake − real")]
            _curve(below, of_band, corruption, color=grey, ls=line, label=band)
        below.axhline(0, color="0.4", lw=0.8, ls=":")
        _below(below, here, corruption)
        above.set_title(_title(domain, stream), fontsize="small")
    labels = (f"{metric}", f"grid of period {period}\n(ratio)", "fake − real\n(ln |F|)")
    for ax, label in zip(axes[:, 0], labels, strict=True):
        ax.set_ylabel(label)
        ax.yaxis.set_major_locator(MaxNLocator(4))
    figure.align_ylabels(axes[:, 0])
    figure.supxlabel(AXES[corruption], fontsize="medium")
    _legend(figure, own["agent"].unique())
    for row in (1, 2):  # beside the last panel, where no line can be
        beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
        axes[row, -1].legend(**beside, frameon=False, fontsize=7, handlelength=1.8, labelspacing=0.3)
    return figure


def _plane_ticks(ax: Axes, *, labelled: bool) -> None:
    ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    ax.tick_params(labelsize=7, labelbottom=labelled, labelleft=labelled)


def _legend(figure: Figure, agents: Iterable[str]) -> None:
    """The agents' colours above the panels; their markers are the domains'."""
    handles = [Line2D([], [], color=agent_colour(a), lw=1.6, label=agent_name(a)) for a in agents]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)


def _agents(ax: Axes, table: pd.DataFrame, corruption: str, marker: str) -> None:
    for agent, own in table.groupby("agent", sort=False):
        colour, name = agent_colour(str(agent)), agent_name(str(agent))
        _curve(ax, own, corruption, color=colour, marker=marker, ms=3, label=name)
    ax.axhline(0.5, color="0.4", lw=0.8, ls=":")


def _curve(ax: Axes, table: pd.DataFrame, corruption: str, *, color: str, **style: Any) -> None:
    """A line with its band, at equal distances from severity to severity."""
    own = _ordered(table, corruption)
    places = np.arange(len(own))
    ax.fill_between(places, own["low"], own["high"], color=color, alpha=0.13, lw=0)
    ax.plot(places, own["value"], color=color, lw=1.1, **style)


def _below(ax: Axes, table: pd.DataFrame, corruption: str) -> None:
    """The severities below an axis."""
    own = _ordered(table.drop_duplicates(["corruption", "severity"]), corruption)
    pairs = zip(own["corruption"], own["severity"], strict=True)
    names = [_label(done, severity, corruption) for done, severity in pairs]
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)


def _ordered(table: pd.DataFrame, corruption: str) -> pd.DataFrame:
    """Rows from the untouched image, or the smallest, to the most changed; as stored only before the JPEG files."""
    own = table[table["corruption"].isin(["none", corruption, *(["stored"] if corruption == "JPEG" else [])])]
    place = -own["severity"] if corruption == "JPEG" else own["severity"]
    start = {"stored": -102.0, "none": {"JPEG": -101.0, "resize": 1.0}.get(corruption, 0.0)}
    return own.assign(place=own["corruption"].map(start).fillna(place)).sort_values("place", kind="stable")


def _label(done: str, severity: float, corruption: str) -> str:
    if done == "stored":
        return done
    if done == "none":
        return {"JPEG": "none", "resize": "1"}.get(corruption, "0")
    return f"{severity:g}".removeprefix("0") if corruption == "noise" else f"{severity:g}"


def _title(domain: str, stream: Sequence[str]) -> str:
    return domain + ("" if domain in stream else "\n(never trained on)")
