"""Figures of the performance of agents (notebooks 03 to 08): estimates with intervals, losses, ranks and costs."""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from cldf_core.evaluation.cells import agent_name, metric_name
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

_TWO: tuple[dict[str, Any], ...] = ({"ls": "-"}, {"ls": (0, (3, 1.5)), "mfc": "white"})  # looks of two lines


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


def estimates(table: pd.DataFrame, names: Sequence[str], *, line: float | None = None, label: str = "") -> Figure:
    """Draws a panel for each named metric: each agent's value with its 95 % interval, and a line such as 0.

    The table has the columns agent, metric, value, low and high. The label says what the values are.
    """
    agents = list(dict.fromkeys(table["agent"]))
    height, width = 0.24 * len(agents) + 1.1, 2.0 * len(names) + 1.4
    figure, axes = style.panels(1, len(names), height, width=width, sharex=True, sharey=True)
    for ax, name in zip(axes.flat, names, strict=True):
        values = table[table["metric"] == name].set_index("agent")
        for place, agent in enumerate(agents):
            value, low, high = values.loc[agent, ["value", "low", "high"]]
            ax.plot([low, high], [place, place], color=agent_colour(agent), lw=2, solid_capstyle="butt")
            ax.plot(value, place, "o", color=agent_colour(agent), ms=5)
        if line is not None:
            ax.axvline(line, color="0.4", lw=0.8, ls=":")
        ax.set_title(wrapped(metric_name(name), 22), fontsize="medium")
        ax.set_yticks(range(len(agents)), [agent_name(a) for a in agents])
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.grid(axis="x", color="0.9")
    axes.flat[0].invert_yaxis()
    figure.supxlabel(label, fontsize="medium")
    sentence = f"{label or 'Estimates'}, with 95 % intervals: {_of_each(table, 'metric', names)}."
    return described(figure, sentence)


def costs(table: pd.DataFrame) -> Figure:
    """Draws a panel for each cost, a bar for each agent, with its interval where there is one.

    The columns are agent, cost (its name with the unit), value, low and high.
    """
    names, agents = list(dict.fromkeys(table["cost"])), list(dict.fromkeys(table["agent"]))
    figure, axes = style.panels(1, len(names), 0.24 * len(agents) + 0.9, sharey=True)
    for ax, name in zip(axes.flat, names, strict=True):
        own = table[table["cost"] == name].set_index("agent").loc[agents]
        places = range(len(agents))
        ax.barh(places, own["value"], color=[agent_colour(a) for a in agents], height=0.7, alpha=0.75)
        ax.hlines(places, own["low"], own["high"], color="black", lw=1.3)
        ax.set_yticks(places, map(agent_name, agents))
        ax.set_xlabel(wrapped(name, 20))
        ax.xaxis.set_major_locator(MaxNLocator(3))
    axes.flat[0].invert_yaxis()
    return described(figure, f"Costs of {len(agents)} agents: {_of_each(table, 'cost', names, '.3g')}.")


def trade_offs(table: pd.DataFrame, pairs: Sequence[tuple[str, str]], *, points: pd.DataFrame | None = None) -> Figure:
    """Draws a panel for each pair of metrics: each agent is a point with the intervals of both.

    Args:
        table: columns agent, metric, value, low, high; an unknown interval is NaN.
        pairs: the metrics on the horizontal and on the vertical axis, by their names in the table.
        points: single runs, drawn small: columns agent, seed, metric, value.
    """
    agents = list(dict.fromkeys(table["agent"]))
    figure, axes = style.panels(1, len(pairs), 3.1, width=3.4 * len(pairs))
    for ax, (across, upwards) in zip(axes.flat, pairs, strict=True):
        for agent in agents:
            colour, of = agent_colour(agent), table[table["agent"] == agent].set_index("metric")
            if not {across, upwards} <= set(of.index):
                continue
            (x, *x_ends), (y, *y_ends) = (_within(of.loc[m, ["value", "low", "high"]], m) for m in (across, upwards))
            ax.plot(x_ends, [y, y], [x, x], y_ends, color=colour, lw=1.3, solid_capstyle="butt")
            marker = agent_marker(agent)
            ax.plot(x, y, marker, color=colour, ms=7, mec="white", mew=0.6, zorder=3)
            if points is not None and agent in set(points["agent"]):
                single = points[points["agent"] == agent].pivot(index="seed", columns="metric", values="value")
                ax.plot(single[across], single[upwards], marker, color=colour, ms=3, alpha=0.5, lw=0)
        ax.set(xlabel=wrapped(metric_name(across), 72 // len(pairs)), ylabel=wrapped(metric_name(upwards), 26))
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.grid(color="0.93")
    looks: list[dict[str, Any]] = [
        {"marker": agent_marker(a), "color": agent_colour(a), "label": agent_name(a)} for a in agents
    ]
    marks = [Line2D([], [], lw=0, ms=7, **look) for look in looks]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, frameon=False)
    each = _of_each(table, "metric", dict.fromkeys(itertools.chain(*pairs)), ".3g")
    return described(figure, f"{len(agents)} agents by pairs of metrics: {each}.")


def by_setting(table: pd.DataFrame, option: str, names: Sequence[str], *, label: str = "") -> Figure:
    """Draws a panel for each named metric: each agent's value with its interval, for every setting of an option.

    The table has the columns agent, metric, value, low, high and the option's: numbers, whose values are joined by
    lines, or text. The settings are drawn at equal distances; those without a run are missing. Intervals end at 1, the
    most that a metric can be. The label is that of the horizontal axis, by default the option's name.
    """
    numbers = pd.api.types.is_numeric_dtype(table[option])
    settings = sorted(table[option].unique()) if numbers else list(dict.fromkeys(table[option]))
    agents = list(dict.fromkeys(table["agent"]))
    figure, axes = style.panels(1, len(names), 2.9 if numbers else 3.4, width=3.4 * len(names))
    for ax, name in zip(axes.flat, names, strict=True):
        for place, agent in enumerate(agents):
            runs = table[(table["agent"] == agent) & (table["metric"] == name)].set_index(option)
            runs = runs.loc[[s for s in settings if s in runs.index]]
            x = np.array([settings.index(s) for s in runs.index]) + 0.09 * (place - (len(agents) - 1) / 2)
            colour = agent_colour(agent)
            ax.vlines(x, *runs[["low", "high"]].clip(upper=1).to_numpy().T, color=colour, lw=1.3)
            look = {"marker": agent_marker(agent), "ls": "-" if numbers else "", "color": colour}
            ax.plot(x, runs["value"], ms=5, lw=1, label=agent_name(agent), **look)
        ax.set(title=wrapped(metric_name(name), 24), xlim=(-0.5, len(settings) - 0.5))
        ticks = {"fontsize": "small"} if numbers else {"fontsize": 6.5, "rotation": 90, "va": "top", "linespacing": 1.1}
        ax.set_xticks(range(len(settings)), [str(s) for s in settings], **ticks)
        ax.grid(axis="y", color="0.93")
    handles = axes.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=min(6, len(agents)), frameon=False)
    figure.supxlabel(label or option, fontsize="medium")
    sentence = f"By {label or option} ({', '.join(map(str, settings))}): {_of_each(table, 'metric', names)}."
    return described(figure, sentence)


def against_images(
    table: pd.DataFrame, lines: Mapping[str, str], beside: Mapping[str, str], *, grey: str, everything: int
) -> Figure:
    """Draws a panel for each agent: metrics, with bands, against the number of new images on a logarithmic axis.

    Args:
        table: columns agent, images, metric, value, low and high.
        lines: two metrics, of which the second one's lines are dashed, with their names in the legend.
        beside: the agents with a panel, and for each the one whose lines are drawn in grey; its own have no others.
        grey: the name of grey lines in the legend.
        everything: how many images there are; if the largest number is not below it, its label says "all".
    """
    sizes, columns = sorted(table["images"].unique()), min(len(beside), 3)
    ticks = [str(size) if size < max(sizes[-1], everything) else f"all\n({everything})" for size in sizes]
    rows = -(-len(beside) // columns)
    figure, axes = style.panels(rows, columns, 1.35 * rows + 1.1, width=2.4 * columns, sharex=True, sharey=True)
    for ax in axes.flat[len(beside) :]:
        ax.set_visible(False)
    for place, (ax, (agent, other)) in enumerate(zip(axes.flat, beside.items(), strict=False)):
        for name, (metric, look) in itertools.product(dict.fromkeys((other, agent)), zip(lines, _TWO, strict=True)):
            own = table[(table["agent"] == name) & (table["metric"] == metric)].sort_values("images")
            if name == agent:
                colour, marker = agent_colour(agent), agent_marker(agent)
                ax.plot(own["images"], own["value"], color=colour, marker=marker, ms=3.5, lw=1.2, **look)
                ax.fill_between(own["images"], own["low"], own["high"], color=colour, alpha=0.2, lw=0)
            else:
                ax.plot(own["images"], own["value"], color="0.65", lw=1, **look)
        ax.axhline(0, color="0.4", lw=0.8, ls=":", zorder=0)
        ax.set_title(wrapped(agent_name(agent), 26), fontsize="medium")
        ax.set_xscale("log")
        ax.set_xticks(sizes, ticks, fontsize="small")
        ax.minorticks_off()
        ax.tick_params(labelbottom=place + columns >= len(beside))  # there is no panel below
    looks = [{"color": "0.2", "label": label, **look} for label, look in zip(lines.values(), _TWO, strict=True)]
    handles = [Line2D([], [], **look) for look in (*looks, {"color": "0.65", "label": grey})]
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False)
    figure.supxlabel("new images a class (logarithmic)", fontsize="medium")
    figure.supylabel("accuracy gained or lost", fontsize="medium")
    fewest = _of_each(table[(table["images"] == sizes[0]) & table["agent"].isin([*beside])], "metric", lines)
    return described(figure, f"Metrics against the number of new images; with {sizes[0]} of them: {fewest}.")


def ranks(table: pd.DataFrame, *, label: str = "rank among the agents") -> Figure:
    """Draws a panel for each metric: each agent's rank (1 is the best), a small point per seed and a dot for the mean.

    The table is from `cells.rank_table`, which orders the agents from top to bottom. The label says what the ranks are
    of.
    """
    names, agents = list(dict.fromkeys(table["metric"])), list(dict.fromkeys(table["agent"]))
    height, width = 0.26 * len(agents) + 1.1, 1.9 * len(names) + 1.4
    figure, axes = style.panels(1, len(names), height, width=width, sharex=True, sharey=True)
    for ax, name in zip(axes.flat, names, strict=True):
        panel = table[(table["metric"] == name) & table["rank"].notna()]
        lanes = np.linspace(-0.25, 0.25, seeds) if (seeds := panel["seed"].nunique()) > 1 else 0.0  # one for each seed
        for agent, points in panel.groupby("agent", sort=False):
            colour, place = agent_colour(str(agent)), agents.index(agent)
            ax.plot(points["mean"].iloc[0], place, "o", color=colour, ms=6)
            ax.plot(points["rank"], place + lanes, "o", color=colour, ms=3, mec="white", mew=0.4)
        ax.set_title(wrapped(metric_name(name), 22), fontsize="medium")
        ax.set_yticks(range(len(agents)), [agent_name(agent) for agent in agents])
        ax.set_xlim(0.5, len(agents) + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.grid(axis="x", color="0.9")
    axes.flat[0].invert_yaxis()
    figure.supxlabel(f"{label} (1: the best; small: one seed, large: mean)", fontsize="medium")
    each = _of_each(table.assign(value=table["mean"]), "metric", names, ".1f")
    return described(figure, f"Mean ranks of {len(agents)} agents, 1 is the best: {each}.")


def _within(numbers: pd.Series, metric: str) -> pd.Series:
    """Value and ends of an interval as they are drawn: no accuracy or AUC is above 1, but a cost may be."""
    return numbers.astype(float).clip(upper=1 if metric_name(metric) != metric else np.inf)


def _of_each(table: pd.DataFrame, column: str, names: Iterable[str], form: str = ".2f") -> str:
    """The least and the largest value of each metric or cost, with their agents, in words."""
    values = table.set_index("agent").rename(agent_name)
    return ", ".join(
        f"{metric_name(name)} {extremes(values.loc[values[column] == name, 'value'], form)}"
        for name in dict.fromkeys(names)
    )


def _write_cell(ax: Any, at: tuple[float, int], value: float, half: float, size: float, *, mark: str = "") -> None:
    """Writes a value into a cell, and below it half of its interval and a mark, in this size."""
    colour, around = "black" if value > 0.75 else "white", "" if np.isnan(half) else "±" + _short_number(half)
    middle = at[1] + 0.05 - 0.18 * bool(mark)  # two lines are centred, or three
    how = {"ha": "center", "color": colour}
    ax.text(at[0], middle, _short_number(value), va="bottom", fontsize=size + 2, **how)
    ax.text(at[0], middle + 0.05, f"{around}\n{mark}".rstrip(), va="top", fontsize=size, linespacing=1.0, **how)


def _short_number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}".removeprefix("0")
