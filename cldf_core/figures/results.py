"""Figures of what runs gave (notebooks 03 to 08): tidy tables of estimates with their intervals."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from cldf_core.evaluation import bootstrap
from cldf_core.figures.look import MARKERS, WIDTH, agent_colour, agent_name, short_name


def cells(scores: pd.DataFrame, metric: str = "accuracy", *, split: str = "test") -> pd.DataFrame:
    """R[t, i] of every agent with its 95 % interval over groups, as a tidy table.

    Args:
        scores: of one or several runs, with a column agent.
        metric: a detection metric.

    Returns:
        Columns agent, step, domain, value, low, high.
    """
    rows = []
    for agent, own in scores.groupby("agent", sort=False):
        R = bootstrap.matrices(own, [metric], split=split)
        low, high = R.metrics[metric].interval()
        for (t, step), (i, domain) in itertools.product(enumerate(R.steps), enumerate(R.domains)):
            rows.append((agent, step, domain, R.metrics[metric].value[t, i], low[t, i], high[t, i]))
    return pd.DataFrame(rows, columns=["agent", "step", "domain", "value", "low", "high"])


def loss_table(agent: str, steps: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The training losses in a manifest's steps as a tidy table: agent, step, domain, epoch, loss."""
    rows = [(agent, s["step"], s["domain"], loss) for s in steps for loss in s["losses"] if loss is not None]
    table = pd.DataFrame(rows, columns=["agent", "step", "domain", "loss"])
    return table.assign(epoch=table.groupby("step").cumcount() + 1)  # chunks follow one another


def as_text(table: pd.DataFrame, names: Sequence[str] = ()) -> pd.DataFrame:
    """Estimates to be read: one row per agent, one column per metric, each "value [low, high]"."""
    text = [f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in table.itertuples()]
    columns = list(names) or list(dict.fromkeys(table["metric"]))
    wide = table.assign(text=text).pivot(index="agent", columns="metric", values="text")
    wide = wide.loc[list(dict.fromkeys(table["agent"])), columns]
    return wide.rename(index=agent_name).rename_axis(index=None, columns=None)


def matrices(
    cells: pd.DataFrame,
    stream: Sequence[str],
    *,
    panels: Sequence[str] = (),
    columns: int = 4,
    metric: str = "accuracy",
    rows: str = "after training on",
) -> Figure:
    """The matrix after every step, a panel per agent; every cell with its value and half its interval.

    Args:
        cells: from `cells`.
        stream: the trained domains; the cell of the domain just trained has a frame.
        panels: agents in their order, repeats allowed; all by default.
        columns: panels beside each other.
        metric: name of the value, for the colour bar.
        rows: what a row stands for.
    """
    panels = list(panels) or list(dict.fromkeys(cells["agent"]))
    columns = min(columns, len(panels))
    height, side = -(-len(panels) // columns), {1: 3.2, 2: 2.9}.get(columns, 1.5)
    size = (min(WIDTH, side * columns + 1.3), height * (side * (0.86 if columns < 3 else 1) + 0.3) + 0.7)
    domains = list(dict.fromkeys(cells["domain"]))
    figure, axes = plt.subplots(height, columns, figsize=size, squeeze=False)
    small = 7 if columns < 3 else 5.5
    for ax, agent in itertools.zip_longest(axes.flat, panels):
        if agent is None:
            ax.set_axis_off()
            continue
        own = cells[cells["agent"] == agent]
        table = own.pivot(index="step", columns="domain", values="value")[domains]
        half = own.assign(half=(own["high"] - own["low"]) / 2).pivot(index="step", columns="domain", values="half")
        image = ax.imshow(table, vmin=0.4, vmax=1, aspect="auto")
        for t, i in itertools.product(range(len(table)), range(len(domains))):
            value, spread = table.iloc[t, i], half[domains].iloc[t, i]
            colour = "black" if value > 0.75 else "white"
            x = i + 0.05 * (domains[i] not in stream)  # the gap takes a little of the column
            ax.text(x, t + 0.05, _short_number(value), ha="center", va="bottom", color=colour, fontsize=small + 2)
            ax.text(x, t + 0.1, "±" + _short_number(spread), ha="center", va="top", color=colour, fontsize=small)
        for t, name in enumerate(stream):
            corner = (domains.index(name) - 0.5, t - 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, color="black", lw=1.3, zorder=3))
        ax.axvspan(len(stream) - 0.5, len(stream) - 0.4, color="white")
        ax.set_title(agent_name(agent))
        names = [short_name(d) for d in domains]
        ax.set_xticks(range(len(domains)), names, rotation=40, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(table)), [short_name(d) for d in stream])
        ax.tick_params(length=0, labelsize=9 if columns < 3 else 7)
        ax.label_outer()
        sns.despine(ax=ax, left=True, bottom=True)
    figure.supxlabel("tested on (right of the gap: never trained on)", fontsize="medium")
    figure.supylabel(rows, fontsize="medium")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, extend="min", label=metric)
    bar.outline.set_visible(False)
    return figure


def over_time(cells: pd.DataFrame, stream: Sequence[str], *, metric: str = "accuracy") -> Figure:
    """A panel per domain: the metric after every step, a line with its 95 % band per agent."""
    domains = list(dict.fromkeys(cells["domain"]))
    height = -(-(len(domains) + 1) // 3)
    figure, axes = plt.subplots(height, 3, figsize=(WIDTH, 1.9 * height + 0.3), sharex=True, sharey=True)
    for place, (ax, domain) in enumerate(zip(axes.flat, domains, strict=False)):
        for agent, own in cells[cells["domain"] == domain].groupby("agent", sort=False):
            colour, marker = agent_colour(agent), MARKERS[place % len(MARKERS)]
            ax.fill_between(own["step"], own["low"], own["high"], color=colour, alpha=0.13, lw=0)
            ax.plot(own["step"], own["value"], color=colour, marker=marker, ms=4, lw=1.2, label=agent_name(agent))
        if domain in stream:
            ax.axvspan(stream.index(domain) + 0.8, stream.index(domain) + 1.2, color="0.9", zorder=0)
        ax.axhline(0.5, color="0.4", lw=0.8, ls=":")
        ax.set_title(short_name(domain) + ("" if domain in stream else " (never trained on)"))
        ax.set_xticks(range(1, len(stream) + 1))
    for ax in axes.flat[len(domains) :]:
        ax.set_axis_off()
    axes.flat[len(domains)].legend(*axes.flat[0].get_legend_handles_labels(), loc="center", frameon=False)
    for ax in axes.flat[max(0, len(domains) - 3) : len(domains)]:
        ax.tick_params(labelbottom=True)
    figure.supxlabel("after step (grey: the step that trains on this domain)", fontsize="medium")
    figure.supylabel(metric, fontsize="medium")
    return figure


def losses(table: pd.DataFrame, *, label: str = "mean loss of an epoch (nats)") -> Figure:
    """A panel per step: the training loss against the epoch, a line per agent (`loss_table`)."""
    steps = table[["step", "domain"]].drop_duplicates("step")
    columns = min(4, len(steps))
    height = -(-len(steps) // columns)
    figure, axes = plt.subplots(
        height, columns, figsize=(WIDTH, 1.8 * height + 0.5), sharex=True, sharey=True, squeeze=False
    )
    for ax, (step, domain) in zip(axes.flat, steps.itertuples(index=False), strict=False):
        for agent, own in table[table["step"] == step].groupby("agent", sort=False):
            ax.plot(own["epoch"], own["loss"], color=agent_colour(agent), marker=".", lw=1.2, label=agent_name(agent))
        ax.set_title(f"step {step}: {short_name(domain)}", fontsize="medium")
    axes.flat[0].xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    axes.flat[0].set(xlim=(0.5, table["epoch"].max() + 0.5), ylim=(0, 1.05 * table["loss"].max()))
    for ax in axes.flat[len(steps) :]:
        ax.set_axis_off()
    if table["agent"].nunique() > 1:
        figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.supxlabel("epoch of the step", fontsize="medium")
    figure.supylabel(label, fontsize="medium")
    return figure


def estimates(
    table: pd.DataFrame, names: Sequence[str], *, line: float | None = None, same_range: bool = True, label: str = ""
) -> Figure:
    """A panel per metric: each agent's value with its 95 % interval.

    Args:
        table: columns agent, metric, value, low, high.
        names: the metrics that are drawn.
        line: a value to compare with, such as 0.
        same_range: whether the panels share their range.
        label: what the values are; the panel's title says of which metric.
    """
    agents = list(dict.fromkeys(table["agent"]))
    size = (min(WIDTH, 2.0 * len(names) + 1.4), 0.24 * len(agents) + 1.1)
    figure, axes = plt.subplots(1, len(names), figsize=size, sharex=same_range, sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, names, strict=True):
        own = table[table["metric"] == name].set_index("agent")
        for place, agent in enumerate(agents):
            value, low, high = own.loc[agent, ["value", "low", "high"]]
            ax.plot([low, high], [place, place], color=agent_colour(agent), lw=2, solid_capstyle="butt")
            ax.plot(value, place, "o", color=agent_colour(agent), ms=5)
        if line is not None:
            ax.axvline(line, color="0.4", lw=0.8, ls=":")
        ax.set_title(short_name(name), fontsize="medium")
        ax.set_yticks(range(len(agents)), [agent_name(a) for a in agents])
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.grid(axis="x", color="0.9")
    axes.flat[0].invert_yaxis()
    figure.supxlabel(label, fontsize="medium")
    return figure


def costs(table: pd.DataFrame) -> Figure:
    """A panel per cost: a bar for each agent. Columns agent, cost (with its unit), value."""
    names, agents = list(dict.fromkeys(table["cost"])), list(dict.fromkeys(table["agent"]))
    figure, axes = plt.subplots(1, len(names), figsize=(WIDTH, 0.24 * len(agents) + 0.9), sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, names, strict=True):
        own = table[table["cost"] == name].set_index("agent")["value"]
        ax.barh([agent_name(a) for a in agents], own[agents], color=[agent_colour(a) for a in agents], height=0.7)
        ax.set_xlabel(textwrap.fill(name, 12))
        ax.xaxis.set_major_locator(MaxNLocator(3))
    axes.flat[0].invert_yaxis()
    return figure


def _short_number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}".removeprefix("0")


def trade_offs(table: pd.DataFrame, pairs: Sequence[tuple[str, str]], *, points: pd.DataFrame | None = None) -> Figure:
    """A panel per pair of metrics: one across, one upwards, each agent a dot with both its intervals.

    Args:
        table: columns agent, metric, value, low, high; an interval that is not known is NaN.
        pairs: the metric across and the one upwards, as they are called in the table and on the axes.
        points: columns agent, seed, metric, value: single runs, drawn small.
    """
    agents = list(dict.fromkeys(table["agent"]))
    figure, axes = plt.subplots(1, len(pairs), figsize=(min(WIDTH, 3.4 * len(pairs)), 3.1), squeeze=False)
    for ax, (across, upwards) in zip(axes.flat, pairs, strict=True):
        for agent in agents:
            colour, own = agent_colour(agent), table[table["agent"] == agent].set_index("metric")
            if not {across, upwards} <= set(own.index):
                continue
            (x, *x_ends), (y, *y_ends) = (own.loc[m, ["value", "low", "high"]].astype(float) for m in (across, upwards))
            ax.plot(x_ends, [y, y], [x, x], y_ends, color=colour, lw=1.3, solid_capstyle="butt")
            ax.plot(x, y, "o", color=colour, ms=6, mec="white", mew=0.6, zorder=3)
            if points is not None and agent in set(points["agent"]):
                single = points[points["agent"] == agent].pivot(index="seed", columns="metric", values="value")
                ax.plot(single[across], single[upwards], "o", color=colour, ms=2.5, alpha=0.5, lw=0)
        ax.set(
            xlabel=textwrap.fill(short_name(across), 72 // len(pairs)), ylabel=textwrap.fill(short_name(upwards), 26)
        )
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.grid(color="0.93")
    marks = [plt.Line2D([], [], marker="o", lw=0, ms=6, color=agent_colour(a), label=agent_name(a)) for a in agents]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, frameon=False)
    return figure


def by_setting(
    table: pd.DataFrame, option: str, names: Sequence[str], *, label: str = "", line: float | None = None
) -> Figure:
    """A panel per metric: each agent's value with its interval, at every value that an option was given.

    Args:
        table: columns agent, option, metric, value, low, high; what was not run is not in it.
        option: numbers, which are joined by lines, or text. They stand side by side at equal distances.
        names: the metrics that are drawn.
        label: of the axis across; the option's name by default.
        line: a value to compare with.
    """
    numbers = pd.api.types.is_numeric_dtype(table[option])
    settings = sorted(table[option].unique()) if numbers else list(dict.fromkeys(table[option]))
    agents = list(dict.fromkeys(table["agent"]))
    figure, axes = plt.subplots(1, len(names), figsize=(min(WIDTH, 3.4 * len(names)), 2.9), squeeze=False)
    for ax, name in zip(axes.flat, names, strict=True):
        for place, agent in enumerate(agents):
            own = table[(table["agent"] == agent) & (table["metric"] == name)].set_index(option)
            own = own.loc[[s for s in settings if s in own.index]]
            x = np.array([settings.index(s) for s in own.index]) + 0.09 * (place - (len(agents) - 1) / 2)
            colour = agent_colour(agent)
            ax.vlines(x, own["low"], own["high"], color=colour, lw=1.3)
            ax.plot(x, own["value"], "o", ls="-" if numbers else "", color=colour, ms=4, lw=1, label=agent_name(agent))
        if line is not None:
            ax.axhline(line, color="0.4", lw=0.8, ls=":")
        ax.set(title=textwrap.fill(short_name(name), 24, break_on_hyphens=False), xlim=(-0.5, len(settings) - 0.5))
        ax.set_xticks(range(len(settings)), [str(s) for s in settings], fontsize="small" if numbers else 6.5)
        ax.grid(axis="y", color="0.93")
    handles = axes.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=min(6, len(agents)), frameon=False)
    figure.supxlabel(label or option, fontsize="medium")
    return figure
