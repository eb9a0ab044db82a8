"""Figures of calibration (notebook 08), before and after the temperature."""

import itertools
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cldf_core.evaluation.calibration import SEEN
from cldf_core.evaluation.cells import agent_name
from cldf_core.figures.style import MARKERS, agent_colour, described, extremes, panels, span

# A light and a dark colour that differ in print without colours, too; no agent has them.
WHEN = {"before": "#A28A1A", "after": "#332288"}


def reliability_diagrams(table: pd.DataFrame, *, steps: Sequence[int] = ()) -> Figure:
    """Draws a row for each step and a column for each domain: how often images with a similar P(fake) are fakes.

    The table is from `calibration.reliability_table`, of one agent; all its steps are drawn by default. Panels of
    domains that the step's network was not trained on are grey. A point's area grows with its images.
    """
    steps, domains = steps or sorted(table["step"].unique()), list(dict.fromkeys(table["domain"]))
    figure, axes = panels(len(steps), len(domains), 1.45 * len(steps) + 0.8, sharex=True, sharey=True)
    for row, step in zip(axes, steps, strict=True):
        for ax, domain, marker in zip(row, domains, itertools.cycle(MARKERS), strict=False):
            panel = table[(table["step"] == step) & (table["domain"] == domain)]
            ax.plot([0, 1], [0, 1], color="0.4", lw=0.8, ls=":", zorder=1)
            for when, part in panel.groupby("when", sort=False):
                p, share, n, colour = part["probability"], part["share"], part["n"], WHEN[str(when)]
                ax.vlines(p, part["low"], part["high"], color=colour, lw=0.8, alpha=0.45)
                # A ring stays visible around an unmoved point.
                face, area = (colour, 4) if when == "after" else ("white", 11)
                ax.scatter(p, share, area + 50 * n / n.sum(), face, marker=marker, lw=0.8, edgecolor=colour, zorder=3)
            name = f"{domain}\n" if step == steps[0] else ""
            error = panel.groupby("when")["ECE"].first()
            ax.set_title(f"{name}ECE {error['before']:.2f} → {error['after']:.2f}", fontsize="small")
            ax.set_facecolor("white" if panel["seen"].all() else "0.94")
            ax.set_box_aspect(1)
        row[0].set_ylabel(f"step {step}", fontsize="medium")
    ticks = [0, 0.5, 1]
    axes.flat[0].set(xlim=(-0.07, 1.07), ylim=(-0.07, 1.07), xticks=ticks, yticks=ticks)
    axes.flat[0].xaxis.set_major_formatter("{x:g}")
    axes.flat[0].yaxis.set_major_formatter("{x:g}")
    handles = [_handle(when, colour) for when, colour in WHEN.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel("mean P(fake) of a bin (grey: not trained on so far)", fontsize="medium")
    figure.supylabel("share of fakes", fontsize="medium")
    error = ", ".join(f"{span(part['ECE'])} {when}" for when, part in table[table["step"].isin(steps)].groupby("when"))
    sentence = (
        f"Share of fakes against P(fake) on {len(domains)} domains; ECE after and before the temperature: {error}."
    )
    return described(figure, sentence)


def calibration_errors(table: pd.DataFrame) -> Figure:
    """Draws each agent's ECE after the last step: the mean over the domains trained on, and each unseen domain.

    The table is from `calibration.errors`. A dot may lie outside of its interval, which allows for the bias of the ECE.
    """
    agents = list(dict.fromkeys(table["agent"]))
    known = table.groupby("domain", sort=False)["seen"].any()
    domains = [SEEN, *known[~known].index]
    height, width = 0.36 * len(agents) + 1.1, 2.6 * len(domains) + 1.4
    figure, axes = panels(1, len(domains), height, width=width, sharex=True, sharey=True)
    last = table[(table["step"] == table["step"].max()) & (table["metric"] == "ECE")]
    for ax, domain in zip(axes.flat, domains, strict=True):
        for r in last[last["domain"] == domain].itertuples():
            place, colour = agents.index(r.agent) + (0.17 if r.when == "after" else -0.17), agent_colour(r.agent)
            ax.plot([r.low, r.high], [place, place], color=colour, lw=2, solid_capstyle="butt")
            ax.plot(r.value, place, "o", color=colour, mfc=colour if r.when == "after" else "white", ms=5)
        ax.set_title("domains trained on, mean" if domain == SEEN else f"{domain}\n(never trained on)")
        ax.set_yticks(range(len(agents)), [agent_name(a) for a in agents])
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.grid(axis="x", color="0.9")
    axes.flat[0].invert_yaxis()
    axes.flat[0].set_xlim(left=0)
    figure.legend(handles=[_handle(when, "0.3") for when in WHEN], loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel("ECE after the last step", fontsize="medium")
    values = last[last["when"] == "after"].groupby("agent")["value"].mean().rename(agent_name)
    return described(
        figure, f"ECE of {len(agents)} agents after the last step, with the temperature: {extremes(values)}."
    )


def _handle(when: str, colour: str) -> Line2D:
    """Makes the legend's mark: an open one for before, a filled one for after."""
    fill = colour if when == "after" else "white"
    return Line2D([], [], color=colour, marker="o", mfc=fill, lw=1.2, ms=5, label=f"{when} the temperature")
