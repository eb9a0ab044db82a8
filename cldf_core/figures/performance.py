"""Figures of the performance of agents: matrices of accuracy, accuracy over time, losses."""

import itertools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from cldf_core.evaluation.cells import agent_name
from cldf_core.figures import style
from cldf_core.figures.style import (
    GREY,
    OTHERS,
    agent_colour,
    agent_line,
    agent_marker,
    described,
    extremes,
    label_ends,
    span,
    two_lines,
    wrapped,
)


def matrices(
    cells: pd.DataFrame, stream: Sequence[str], *, panels: Sequence[str] = (), rows: str = "after training on"
) -> Figure:
    """Draws a panel for each agent: R[t, i] with its value and half of its interval, where there is one, in every cell.

    A cell in which one verdict is (nearly) that of all images says so.

    Args:
        cells: columns agent, step, domain, value, low, high and, if it is known, verdicts (`cells.cell_values`).
        stream: the trained domains. A frame marks the cell at the step that trains on its domain.
        panels: agents in the order of their panels, repeats allowed; all by default.
        rows: the label of the rows.
    """
    panels = list(panels) or list(dict.fromkeys(cells["agent"]))
    columns = min(4, len(panels))
    height, side = -(-len(panels) // columns), {1: 3.2, 2: 2.9}.get(columns, 1.5)
    inches = height * (side * 0.86 + 0.3) + 0.7 if columns < 3 else height * (side + 0.3) + 1.0
    domains = list(dict.fromkeys(cells["domain"]))
    figure, axes = style.panels(height, columns, inches, width=side * columns + 1.3)
    small, shown = 7 if columns < 3 else 5.5, ("value", "half", "mark")
    for ax, agent in itertools.zip_longest(axes.flat, panels):
        if agent is None:
            ax.set_axis_off()
            continue
        part = cells[cells["agent"] == agent]
        part = part.assign(half=(part["high"] - part["low"]) / 2)
        part = part.assign(mark=part["verdicts"].replace("mixed", "") if "verdicts" in part else "")
        table, half, marks = (part.pivot(index="step", columns="domain", values=v)[domains] for v in shown)
        image = ax.imshow(table, vmin=0.4, vmax=1, aspect="auto")
        for t, i in itertools.product(range(len(table)), range(len(domains))):
            x = i + 0.05 * (domains[i] not in stream)  # the gap covers a part of the column
            _write_cell(ax, (x, t), table.iloc[t, i], half.iloc[t, i], small, mark=marks.iloc[t, i])
        for t, name in enumerate(stream):
            corner = (domains.index(name) - 0.5, t - 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, color="black", lw=1.3, zorder=3))
        ax.axvspan(len(stream) - 0.5, len(stream) - 0.4, color="white")
        ax.set_title(agent_name(agent))
        if columns < 3:
            ax.set_xticks(range(len(domains)), domains, rotation=40, ha="right", rotation_mode="anchor")
            ax.set_yticks(range(len(table)), stream)
        else:
            ax.set_xticks(range(len(domains)), domains, rotation=90)
            ax.set_yticks(range(len(table)), map(two_lines, stream))
        ax.tick_params(length=0, labelsize=9 if columns < 3 else 7)
        ax.label_outer()
        sns.despine(ax=ax, left=True, bottom=True)
    figure.supxlabel("tested on (right of the gap: never trained on)", fontsize="medium")
    figure.supylabel(rows, fontsize="medium")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, extend="min", label="accuracy")
    bar.outline.set_visible(False)
    last = cells[(cells["step"] == cells["step"].max()) & cells["domain"].isin(stream)]
    at_end = ", ".join(f"{agent_name(name)} {span(part['value'])}" for name, part in last.groupby("agent", sort=False))
    sentence = f"Accuracy after every step on each test set; on those trained on, the last row is: {at_end}."
    return described(figure, sentence)


def last_rows(cells: pd.DataFrame, stream: Sequence[str]) -> Figure:
    """Draws a row for each agent: its values after the last step on every domain, with halves of their intervals.

    The cells are as for `matrices`, of whose panels these are the last rows.
    """
    last = cells[cells["step"] == cells["step"].max()]
    agents, domains = (list(dict.fromkeys(last[name])) for name in ("agent", "domain"))
    last = last.assign(half=(last["high"] - last["low"]) / 2)
    table, half = (
        last.pivot(index="agent", columns="domain", values=v).loc[agents, domains] for v in ("value", "half")
    )
    figure, ((ax,),) = style.panels(1, 1, 0.37 * len(agents) + 1.4, width=0.85 * len(domains) + 2.6)
    image = ax.imshow(table, vmin=0.4, vmax=1, aspect="auto")
    for (row, i), value in np.ndenumerate(table.to_numpy()):
        x = i + 0.05 * (domains[i] not in stream)
        _write_cell(ax, (x, row), value, half.iloc[row, i], 7)
    ax.axvspan(len(stream) - 0.5, len(stream) - 0.4, color="white")
    ax.set_xticks(range(len(domains)), domains, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(agents)), map(agent_name, agents))
    ax.tick_params(length=0)
    ax.set_xlabel("tested on (right of the gap: never trained on)")
    sns.despine(ax=ax, left=True, bottom=True)
    figure.colorbar(image, ax=ax, pad=0.02, extend="min", label="accuracy").outline.set_visible(False)
    means = table[[name for name in domains if name in stream]].mean(axis=1).rename(agent_name)
    return described(figure, f"Accuracy after the last step; the mean over domains trained on: {extremes(means)}.")


def over_time(
    cells: pd.DataFrame, stream: Sequence[str], *, metric: str = "accuracy", highlight: Collection[str] = ()
) -> Figure:
    """Draws a panel for each domain: the metric after every step, a line with its 95 % band for each agent.

    The cells have the columns agent, step, domain, value, low and high. A grey bar marks the step of the stream that
    trains on the panel's domain. Where there are agents to highlight, these have their colours and bands, and names in
    the last panel, and the others are grey; else all have colours.
    """
    domains = list(dict.fromkeys(cells["domain"]))
    height = -(-(len(domains) + (not highlight)) // 3)  # with room for a legend
    figure, axes = style.panels(height, 3, 1.9 * height + 0.3, sharex=True, sharey=True)
    ends: dict[str, tuple[float, str]] = {}
    for ax, domain in zip(axes.flat, domains, strict=False):
        ends = {}
        for agent, line in cells[cells["domain"] == domain].groupby("agent", sort=False):
            name, end = str(agent), line["value"].iloc[-1]
            if highlight and name not in highlight:
                ax.plot(line["step"], line["value"], color=GREY, lw=1, zorder=1)
                ends[OTHERS] = end, "0.45"
                continue
            look = {"color": agent_colour(name), "ls": agent_line(name), "marker": agent_marker(name)}
            ax.fill_between(line["step"], line["low"], line["high"], color=look["color"], alpha=0.13, lw=0)
            ax.plot(line["step"], line["value"], ms=4, lw=1.2, label=agent_name(name), **look)
            ends[agent_name(name)] = end, agent_colour(name)
        if domain in stream:
            ax.axvspan(stream.index(domain) + 0.8, stream.index(domain) + 1.2, color="0.9", zorder=0)
        ax.axhline(0.5, color="0.4", lw=0.8, ls=":")
        ax.set_title(wrapped(domain + ("" if domain in stream else " (never trained on)"), 24))
        ax.set_xticks(range(1, len(stream) + 1))
    for ax in axes.flat[len(domains) :]:
        ax.set_axis_off()
    if highlight:
        label_ends(last := axes.flat[len(domains) - 1], ends)  # of the last panel, now that the axes have their limits
        for text in last.texts:
            text.set_in_layout(len(domains) % 3 == 0)  # else there is room beside it
    else:
        axes.flat[len(domains)].legend(*axes.flat[0].get_legend_handles_labels(), loc="center", frameon=False)
    for ax in axes.flat[max(0, len(domains) - 3) : len(domains)]:
        ax.tick_params(labelbottom=True)
    figure.supxlabel("after step (grey bar: the step that trains on this domain)", fontsize="medium")
    figure.supylabel(metric, fontsize="medium")
    last_step = cells[cells["step"] == cells["step"].max()].groupby("agent", sort=False)["value"]
    at_end = ", ".join(f"{agent_name(str(name))} {span(values)}" for name, values in last_step)
    return described(figure, f"{metric} on each of {len(domains)} domains after every step; at the end: {at_end}.")


def losses(table: pd.DataFrame, *, label: str = "mean loss of an epoch (nats)") -> Figure:
    """Draws a panel for each step: the training loss against the epoch, a line for each agent.

    The table is from `cells.loss_table`, of one or several agents. The label names the loss and its unit.
    """
    steps = table[["step", "domain"]].drop_duplicates("step")
    columns = min(4, len(steps))
    height = -(-len(steps) // columns)
    figure, axes = style.panels(height, columns, 1.8 * height + 0.5, sharex=True, sharey=True)
    for ax, (step, domain) in zip(axes.flat, steps.itertuples(index=False), strict=False):
        for agent, line in table[table["step"] == step].groupby("agent", sort=False):
            look = {"color": agent_colour(agent), "ls": agent_line(agent), "label": agent_name(agent)}
            ax.plot(line["epoch"], line["loss"], marker=".", lw=1.2, **look)
        ax.set_title(wrapped(f"step {step}: {domain}", 20), fontsize="medium")
    axes.flat[0].xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    axes.flat[0].set(xlim=(0.5, table["epoch"].max() + 0.5), ylim=(0, 1.05 * table["loss"].max()))
    for ax in axes.flat[len(steps) :]:
        ax.set_axis_off()
    if table["agent"].nunique() > 1:
        figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.supxlabel("epoch of the step", fontsize="medium")
    figure.supylabel(label, fontsize="medium")
    of_agent = table.groupby("agent", sort=False)["loss"]
    fall = ", ".join(f"{agent_name(str(name))} from {v.iloc[0]:.2f} to {v.iloc[-1]:.2f}" for name, v in of_agent)
    return described(figure, f"Training loss of every epoch in {len(steps)} steps, first to last: {fall}.")


def _write_cell(ax: Any, at: tuple[float, int], value: float, half: float, size: float, *, mark: str = "") -> None:
    """Writes a value into a cell, and below it half of its interval and a mark, in this size."""
    colour, around = "black" if value > 0.75 else "white", "" if np.isnan(half) else "±" + _short_number(half)
    middle = at[1] + 0.05 - 0.18 * bool(mark)  # two lines are centred, or three
    how = {"ha": "center", "color": colour}
    ax.text(at[0], middle, _short_number(value), va="bottom", fontsize=size + 2, **how)
    ax.text(at[0], middle + 0.05, f"{around}\n{mark}".rstrip(), va="top", fontsize=size, linespacing=1.0, **how)


def _short_number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}".removeprefix("0")
