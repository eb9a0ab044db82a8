"""Figures of calibration (notebook 08), before and after the temperature."""

import itertools

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cldf_core.evaluation.calibration import SEEN
from cldf_core.evaluation.cells import agent_name
from cldf_core.figures.style import MARKERS, agent_colour, described, extremes, panels, span

# A light and a dark colour that differ in print without colours, too; no agent has them.
WHEN = {"before": "#A28A1A", "after": "#332288"}


def reliability_diagrams(table: pd.DataFrame) -> Figure:
    """Draws a row for each agent and a column for each domain: how often images with a similar P(fake) are fakes.

    The table is from `calibration.reliability_table`, of one step. Panels of domains that the network was not trained
    on are grey.
    """
    agents, domains = (list(dict.fromkeys(table[name])) for name in ("agent", "domain"))
    figure, axes = panels(len(agents), len(domains), 1.6 * len(agents) + 0.8, sharex=True, sharey=True)
    for row, agent in zip(axes, agents, strict=True):
        for ax, domain, marker in zip(row, domains, itertools.cycle(MARKERS), strict=False):
            panel = table[(table["agent"] == agent) & (table["domain"] == domain)]
            ax.plot([0, 1], [0, 1], color="0.4", lw=0.8, ls=":", zorder=1)
            for when, part in panel.groupby("when", sort=False):
                colour, look = WHEN[str(when)], {"marker": marker, "mfc": _face(str(when)), "zorder": 3}
                ax.vlines(part["probability"], part["low"], part["high"], color=colour, lw=0.9, alpha=0.6)
                ax.plot(part["probability"], part["share"], color=colour, lw=0.7, ms=4, **look)
            error = panel.groupby("when")["ECE"].first()
            above = f"{domain}\n" if agent == agents[0] else ""
            ax.set_title(f"{above}ECE {error['before']:.2f} → {error['after']:.2f}", fontsize="small")
            ax.set_facecolor("white" if panel["seen"].all() else "0.94")
            ax.set_box_aspect(1)
        row[0].set_ylabel(agent_name(agent).replace(" ", "\n"), fontsize="small")
    ticks = [0, 0.5, 1]
    axes.flat[0].set(xlim=(-0.07, 1.07), ylim=(-0.07, 1.07), xticks=ticks, yticks=ticks)
    axes.flat[0].xaxis.set_major_formatter("{x:g}")
    axes.flat[0].yaxis.set_major_formatter("{x:g}")
    handles = [_handle(when, colour) for when, colour in WHEN.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel("mean P(fake) of a bin (grey: never trained on)", fontsize="medium")
    figure.supylabel("share of fakes", fontsize="medium")
    error = ", ".join(f"{span(part['ECE'])} {when}" for when, part in table.groupby("when"))
    sentence = (
        f"Share of fakes against P(fake) on {len(domains)} domains; ECE after and before the temperature: {error}."
    )
    return described(figure, sentence)


def calibration_errors(table: pd.DataFrame) -> Figure:
    """Draws each agent's ECE after the last step: the mean over the domains trained on, and each unseen domain.

    The table is from `calibration.errors`. A dot may lie at the end of its interval, which allows for the ECE's bias.
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
    return Line2D(
        [], [], color=colour, marker="o", mfc=_face(when, colour), lw=1.2, ms=5, label=f"{when} the temperature"
    )


def _face(when: str, colour: str = "") -> str:
    """The colour of a mark's face: white before the temperature."""
    return (colour or WHEN[when]) if when == "after" else "white"
