"""Figures of how agents work inside (notebooks 04 to 07): herding, memories, schedules, teachers, replay."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from cldf_core.figures.style import CLASS_COLOURS, MARKERS, agent_colour, described, panels, span


def herding_choice(points: pd.DataFrame, distances: pd.DataFrame, *, mean: Sequence[float] | np.ndarray) -> Figure:
    """Draws points of a plane with the chosen ones numbered, and beside it how far the mean of the choice is off.

    The points have the columns x, y and rank (0 where one is not chosen), the distances choice, count, value, low and
    high. The mean is x and y of that of all points.
    """
    figure, ((left, right),) = panels(1, 2, 2.9)
    chosen = points[points["rank"] > 0]
    left.scatter(points["x"], points["y"], s=12, color="0.75", label="all images of a class")
    left.scatter(chosen["x"], chosen["y"], s=70, color=agent_colour("icarl"), label="chosen, in this order")
    for row in chosen.itertuples():
        left.text(row.x, row.y, str(row.rank), ha="center", va="center_baseline", color="white", fontsize=6.5)
    left.plot(*mean, "x", ms=9, mew=2, color="black", label="mean of all")
    left.set(xlabel="feature 1 (no unit)", ylabel="feature 2 (no unit)", aspect="equal")
    figure.legend(loc="outside upper left", fontsize="small", ncols=3, frameon=False)
    choices = distances.groupby("choice", sort=False)
    for (choice, line), colour in zip(choices, (agent_colour("icarl"), "0.45"), strict=True):
        right.fill_between(line["count"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)
        right.plot(line["count"], line["value"], color=colour, marker=".", label=choice)
    right.set(xlabel="exemplars chosen", ylabel="their mean's distance\nfrom the mean of all", ylim=(0, None))
    right.legend(frameon=False)
    off = ", ".join(f"{span(line['value'].iloc[-1:])} by {choice}" for choice, line in choices)
    sentence = (
        f"{len(chosen)} of {len(points)} points, numbered as they are chosen; their mean is off in the end: {off}."
    )
    return described(figure, sentence)


def memory_content(counts: pd.DataFrame, *, capacity: int) -> Figure:
    """Draws what a memory of a capacity holds while images arrive, stacked by domain.

    The counts have the columns offered (the number of images so far), domain and count.
    """
    table = counts.pivot(index="offered", columns="domain", values="count")
    table.loc[0] = 0
    table = table[list(dict.fromkeys(counts["domain"]))].sort_index()
    colours = sns.color_palette("cividis", len(table.columns))
    figure, ((ax,),) = panels(1, 1, 2.6, width=5.2)
    areas = ax.stackplot(table.index, table.to_numpy().T, colors=colours, edgecolor="white", lw=0.6)
    ax.axhline(capacity, color="black", lw=0.8, ls=":")
    ax.set(xlabel="images offered so far", ylabel="images in the memory", xlim=(0, table.index.max()))
    figure.legend(areas[::-1], table.columns[::-1], loc="outside right center", frameon=False)
    held = ", ".join(f"{count} of {name}" for name, count in table.iloc[-1].astype(int).items())
    offered = table.index.max()
    return described(
        figure, f"What a memory of {capacity} images holds while {offered} are offered; at the end: {held}."
    )


def inclusion(table: pd.DataFrame, *, expected: float) -> Figure:
    """Draws a panel for each rule: how often an image is in the memory at the end, against its place in the stream.

    The table has the columns rule, place, value, low and high. The share is as expected where all have the same chance.
    """
    rules = list(dict.fromkeys(table["rule"]))
    figure, axes = panels(1, len(rules), 2.3, sharex=True, sharey=True)
    for ax, rule in zip(axes.flat, rules, strict=True):
        panel = table[table["rule"] == rule]
        ax.vlines(panel["place"], panel["low"], panel["high"], color=agent_colour("er"), lw=1.5)
        ax.plot(panel["place"], panel["value"], ".", color=agent_colour("er"))
        ax.axhline(expected, color="black", lw=0.8, ls=":")
        ax.set_title(rule, fontsize="medium")
    figure.supxlabel("place of the image in the stream (dotted: memory size / images offered)", fontsize="medium")
    axes.flat[0].set_ylabel("share of trials in\nwhich it is kept")
    kept = ", ".join(f"{span(part['value'])} ({rule})" for rule, part in table.groupby("rule", sort=False))
    sentence = f"How often an image is kept, by its place in the stream: {kept}, where {expected:.2f} would be fair."
    return described(figure, sentence)


def learning_rate(table: pd.DataFrame) -> Figure:
    """Draws the learning rate against the epoch; columns epoch, lr."""
    figure, ((ax,),) = panels(1, 1, 2.3, width=4.2)
    ax.plot(table["epoch"], table["lr"], color=agent_colour("gdumb"), lw=1.2)
    ax.set(xlabel="epoch on the memory", ylabel="learning rate (per update)", ylim=(0, None))
    rates, epochs = span(table["lr"], ".2g"), span(table["epoch"].iloc[-1:], ".0f")
    return described(figure, f"The learning rate over {epochs} epochs on the memory, from {rates}.")


def soft_targets(table: pd.DataFrame) -> Figure:
    """Draws a panel for each temperature: the teacher's softened P(fake); columns temperature, class, value."""
    temperatures = sorted(table["temperature"].unique())
    figure, axes = panels(1, len(temperatures), 2.3, sharex=True, sharey=True)
    for ax, temperature in zip(axes.flat, temperatures, strict=True):
        for kind, colour in CLASS_COLOURS.items():
            values = table[(table["temperature"] == temperature) & (table["class"] == kind)]["value"]
            ax.hist(values, np.linspace(0, 1, 21), color=colour, histtype="stepfilled", alpha=0.35, label=kind)
            ax.hist(values, np.linspace(0, 1, 21), color=colour, histtype="step")
        ax.set_title(f"T = {temperature:g}", fontsize="medium")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.supxlabel("the teacher's softened P(fake)", fontsize="medium")
    figure.supylabel("images", fontsize="medium")
    means = table.groupby("temperature")["value"]
    spread = ", ".join(f"{span(values)} at T = {temperature:g}" for temperature, values in means)
    return described(figure, f"Histograms of the teacher's softened P(fake) of real and fake images: {spread}.")


def interference(table: pd.DataFrame) -> Figure:
    """Draws how the loss of each candidate for replay would change; columns domain, before, rise, chosen (bool)."""
    figure, ((ax,),) = panels(1, 1, 2.8, width=5.6)
    for place, (domain, candidates) in enumerate(table.groupby("domain", sort=False)):
        for chosen, part in candidates.groupby("chosen"):
            face = agent_colour("mir") if chosen else "none"
            style: dict[str, Any] = {"marker": MARKERS[place % len(MARKERS)], "edgecolor": agent_colour("mir"), "s": 26}
            name = f"{domain}, {'replayed by MIR' if chosen else 'left out'}"
            ax.scatter(part["before"].clip(lower=1e-6), part["rise"], facecolor=face, label=name, **style)
    ax.axhline(0, color="0.4", lw=0.8, ls=":")
    ax.set(xlabel="loss before the virtual step (nats)", ylabel="rise of the loss (nats)", xscale="log")
    ax.set_yscale("symlog", linthresh=1e-3, linscale=0.5)  # losses of known images are tiny, others large
    largest = table["before"].max()
    ax.set_xlim(max(5e-7, min(table["before"].min() / 2, largest / 10)), 2 * largest)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.margins(y=0.08)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    rises = ", ".join(
        f"{span(part['rise'])} of those {'replayed by MIR' if chosen else 'left out'}"
        for chosen, part in table.groupby("chosen")
    )
    return described(figure, f"How a virtual step would raise the loss of {len(table)} remembered images: {rises}.")
