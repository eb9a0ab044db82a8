"""Figures of what single differences from the papers change (notebook 11), with their intervals."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from cldf_core.evaluation.cells import agent_name, metric_name
from cldf_core.figures.style import agent_colour, described, extremes, panels, two_lines, wrapped

ROUNDING = 1e-9  # an interval's end that is this near to 0 counts as 0


def forest(
    table: pd.DataFrame, names: Sequence[str], *, seed_noise: Collection[str], margins: pd.DataFrame, label: str
) -> Figure:
    """Draws a panel for each metric and a row for each switch: what it changes, with its 95 % interval.

    Args:
        table: columns agent, switch (in words), metric, value, low, high. The rows are grouped by agent.
        names: the metrics to draw, continual ones of accuracy.
        seed_noise: the switches that change nothing but the random seed; they are drawn in grey.
        margins: the widths of the grey bands: a row for each metric, a column for each agent (`seed_noise_margin`).
        label: what the values are.
    """
    rows = table[["agent", "switch"]].drop_duplicates()
    agents = list(dict.fromkeys(rows["agent"]))
    places: dict[tuple[str, str], int] = {}
    headings: dict[int, str] = {}  # a line above each agent's rows, for its name
    for agent in agents:
        headings[len(places) + len(headings)] = agent_name(agent)
        for switch in rows.loc[rows["agent"] == agent, "switch"]:
            places[agent, switch] = len(places) + len(headings)
    last = max(places.values())
    figure, axes = panels(1, len(names), 0.17 * (last + 1) + 1.0, sharey=True)
    for ax, name in zip(axes.flat, names, strict=True):
        panel = table[table["metric"] == name]
        bands = 1.04 * np.minimum(margins.loc[name, agents], 1)  # each is drawn whole
        drawn = np.concatenate([1.08 * panel[["value", "low", "high"]].to_numpy(float).ravel(), bands, -bands])
        known = [-0.01, 0.01, *drawn[np.isfinite(drawn)]]  # what a stream of one domain lacks, for example, is missing
        ax.set_xlim(min(known), max(known))
        for agent in agents:
            at = [place for (a, _), place in places.items() if a == agent]
            reach = margins.loc[name, agent]
            ax.fill_betweenx([min(at) - 0.5, max(at) + 0.5], -reach, reach, color="0.91", lw=0, zorder=0)
        ax.axvline(0, color="0.4", lw=0.8, ls=":", zorder=1)
        for row in panel.itertuples():
            place, noise = places[row.agent, row.switch], row.switch in seed_noise
            colour = "0.5" if noise else agent_colour(row.agent)
            ax.plot([row.low, row.high], [place, place], color=colour, lw=1.6, solid_capstyle="butt")
            ax.plot(row.value, place, "o", color=colour, ms=4, mfc="white" if noise else colour)
        ax.set_title(wrapped(metric_name(f"accuracy: {name}"), 24), fontsize="medium")
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0, labelsize=7.5)
    lines = {**headings, **{place: switch for (_, switch), place in places.items()}}
    axes.flat[0].set_yticks(list(lines), list(lines.values()))
    for text, place in zip(axes.flat[0].get_yticklabels(), lines, strict=True):
        text.set_fontweight("bold" if place in headings else "normal")
    axes.flat[0].set_ylim(last + 0.7, -0.7)
    figure.supxlabel(label, fontsize="medium")
    within = Patch(color="0.91", label="95 of 100 changes of the random seed are within")
    figure.legend(handles=[within], loc="outside upper right", frameon=False, fontsize="small")
    by_switch = table[table["metric"].isin(names)].set_index("switch")["value"]
    return described(figure, f"{label}, with intervals, for {len(rows)} switches: {extremes(by_switch)}.")


def matrix_changes(cells: pd.DataFrame, stream: Sequence[str]) -> Figure:
    """Draws a panel for each switch: how the matrix changes, cell by cell.

    The cells are those of `cells.cell_changes`, with columns agent and switch (in words) besides. A cell is bold, with
    a dot, where its interval excludes 0. A frame marks the cell at the step that trains on its domain, one of the
    stream. The other domains are right of a gap.
    """
    switches = list(cells[["agent", "switch"]].drop_duplicates().itertuples(index=False))
    columns = min(4, len(switches))
    height = -(-len(switches) // columns)
    figure, axes = panels(height, columns, 1.75 * height + 1.1, width=1.5 * columns + 1.5)
    domains = list(dict.fromkeys(cells["domain"]))
    reach = max(10.0, 10 * float(np.ceil(10 * cells["value"].abs().max())))
    for place, ax in enumerate(axes.flat):
        if place >= len(switches):
            ax.set_axis_off()
            continue
        agent, switch = switches[place]
        panel = cells[(cells["agent"] == agent) & (cells["switch"] == switch)]
        table, low, high = (
            100 * panel.pivot(index="step", columns="domain", values=v)[domains].to_numpy()
            for v in ("value", "low", "high")
        )
        image = ax.imshow(table, vmin=-reach, vmax=reach, cmap="RdBu", aspect="auto")
        for t, i in np.ndindex(*table.shape):
            significant = low[t, i] > ROUNDING or high[t, i] < -ROUNDING
            colour = "white" if abs(table[t, i]) > 0.55 * reach else "black" if significant else "0.35"
            x = i + 0.05 * (domains[i] not in stream)  # the gap covers a part of the column
            text = _signed(table[t, i]) + ("\n•" if significant else "")
            style: dict[str, Any] = {"fontsize": 7, "linespacing": 0.75, "color": colour}
            ax.text(x, t, text, ha="center", va="center", fontweight="bold" if significant else "normal", **style)
        for t, name in enumerate(stream):
            corner = (domains.index(name) - 0.5, t - 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, color="black", lw=1.0, zorder=3))
        ax.axvspan(len(stream) - 0.5, len(stream) - 0.4, color="white")
        ax.set_title(f"{agent_name(agent)}\n" + wrapped(switch, 24), color="black", fontsize=7.5)
        ax.set_xticks(range(len(domains)), domains, rotation=90)
        ax.set_yticks(range(len(table)), map(two_lines, stream))
        ax.tick_params(length=0, labelsize=7)
        ax.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= len(switches))
        sns.despine(ax=ax, left=True, bottom=True)
    figure.supxlabel("tested on (right of the gap: never trained on)", fontsize="medium")
    figure.supylabel("after training on", fontsize="medium")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, label="change of accuracy (percentage points)")
    bar.outline.set_visible(False)
    by_switch = 100 * cells.set_index("switch")["value"]
    changes = f"{len(switches)} switches: {extremes(by_switch, '.0f')}"
    return described(figure, f"Change of accuracy (percentage points), cell by cell, of {changes}.")


def _signed(value: float) -> str:
    return f"{round(value):+d}".replace("-", "−") if round(value) else "0"
