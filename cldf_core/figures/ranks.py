"""Figures of agents that were trained with several seeds: tidy tables of one value per agent, seed and metric."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cldf_core.figures.look import WIDTH, agent_colour, agent_name, short_name


def ranks(
    table: pd.DataFrame, names: Sequence[str], *, small: Collection[str] = (), label: str = "rank among the agents"
) -> Figure:
    """A panel per metric: each agent's rank (1 is the best), a small point per seed and a dot for their mean.

    Agents are ranked within each seed that all of them have; equal values share the mean of their ranks. An agent
    without any value of a metric has no place in its panel. From top to bottom: by mean rank in the first panel.

    Args:
        table: columns agent, seed, metric, value; each agent, seed and metric once.
        names: the metrics that are drawn.
        small: those of which small values are good.
        label: what the ranks are of.
    """
    panels = [_ranked(table[table["metric"] == name], ascending=name in small) for name in names]
    first = panels[0].mean()
    agents = sorted(dict.fromkeys(table["agent"]), key=lambda agent: first.get(agent, np.inf))
    size = (min(WIDTH, 1.9 * len(names) + 1.4), 0.26 * len(agents) + 1.1)
    figure, axes = plt.subplots(1, len(names), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, name, panel in zip(axes.flat, names, panels, strict=True):
        lanes = np.linspace(-0.25, 0.25, len(panel)) if len(panel) > 1 else 0.0  # a height for each seed
        for place, agent in enumerate(agents):
            if agent in panel:
                colour = agent_colour(agent)
                ax.plot(panel[agent].mean(), place, "o", color=colour, ms=6)
                ax.plot(panel[agent], place + lanes, "o", color=colour, ms=3, mec="white", mew=0.4)
        ax.set_title(short_name(name), fontsize="medium")
        ax.set_yticks(range(len(agents)), [agent_name(agent) for agent in agents])
        ax.set_xlim(0.5, len(agents) + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.grid(axis="x", color="0.9")
    axes.flat[0].invert_yaxis()
    figure.supxlabel(f"{label} (1: the best; small: one seed, large: mean)", fontsize="medium")
    return figure


def _ranked(values: pd.DataFrame, *, ascending: bool) -> pd.DataFrame:
    """A row per seed that all agents have, a column per agent that has any value."""
    wide = values.pivot(index="seed", columns="agent", values="value").dropna(axis=1, how="all").dropna()
    # Rounded, since equal means of accuracies may differ in their last bits.
    return wide.round(9).rank(axis=1, method="average", ascending=ascending)
