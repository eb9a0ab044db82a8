"""Figures that compare agents: estimates with intervals, costs, ranks, trade-offs, and what a setting changes."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cldf_core.evaluation.cells import agent_name, metric_name
from cldf_core.figures import style
from cldf_core.figures.style import agent_colour, agent_marker, described, extremes, wrapped

_TWO: tuple[dict[str, Any], ...] = ({"ls": "-"}, {"ls": (0, (3, 1.5)), "mfc": "white"})  # looks of two lines


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


def by_setting(
    table: pd.DataFrame, option: str, names: Sequence[str], *, label: str = "", line: float | None = None
) -> Figure:
    """Draws a panel for each named metric: each agent's value with its interval, for every setting of an option.

    The table has the columns agent, metric, value, low, high and the option's: numbers, whose values are joined by
    lines, or text. The settings are drawn at equal distances; those without a run are missing. Intervals end at 1, the
    most that a metric can be. The label is that of the horizontal axis, by default the option's name. A line such as
    that of guessing is dotted.
    """
    numbers = pd.api.types.is_numeric_dtype(table[option])
    settings = sorted(table[option].unique()) if numbers else list(dict.fromkeys(table[option]))
    agents = list(dict.fromkeys(table["agent"]))
    no_agents = not {agent.partition(",")[0] for agent in agents} & {*style.AGENT_COLOURS}  # kinds of intervals
    turned = 0 if numbers else max(map(len, "\n".join(settings).splitlines()), default=0)  # letters of a label
    figure, axes = style.panels(1, len(names), 2.9 if numbers else 2.3 + 0.065 * turned, width=3.4 * len(names))
    for ax, name in zip(axes.flat, names, strict=True):
        for place, agent in enumerate(agents):
            runs = table[(table["agent"] == agent) & (table["metric"] == name)].set_index(option)
            runs = runs.loc[[s for s in settings if s in runs.index]]
            x = np.array([settings.index(s) for s in runs.index]) + 0.09 * (place - (len(agents) - 1) / 2)
            colour, marker = agent_colour(agent), agent_marker(agent)
            if no_agents:
                colour, marker = f"C{place}", style.MARKERS[place % len(style.MARKERS)]
            ax.vlines(x, *runs[["low", "high"]].clip(upper=1).to_numpy().T, color=colour, lw=1.3)
            look = {"marker": marker, "ls": "-" if numbers else "", "color": colour}
            ax.plot(x, runs["value"], ms=5, lw=1, label=agent_name(agent), **look)
        if line is not None:
            ax.axhline(line, color="0.4", lw=0.8, ls=":", zorder=1)
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
    figure, axes = style.panels(rows, columns, 1.45 * rows + 1.3, width=2.4 * columns, sharex=True, sharey=True)
    for ax in axes.flat[len(beside) :]:
        ax.set_visible(False)
    for place, (ax, (agent, other)) in enumerate(zip(axes.flat, beside.items(), strict=False)):
        for name, (metric, look) in itertools.product(dict.fromkeys((other, agent)), zip(lines, _TWO, strict=True)):
            own = table[(table["agent"] == name) & (table["metric"] == metric)].sort_values("images")
            if name == agent:
                colour, marker = agent_colour(agent), agent_marker(agent)
                ax.plot(own["images"], own["value"], color=colour, marker=marker, ms=3.5, lw=1.2, **look)
                band = {"alpha": 0.2, "lw": 0} if look is _TWO[0] else {"alpha": 0.12, "lw": 0.8, "ls": look["ls"]}
                ax.fill_between(own["images"], own["low"], own["high"], color=colour, **band)
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
