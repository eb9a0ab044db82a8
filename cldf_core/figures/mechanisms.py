"""Figures of how agents work inside (notebooks 04 to 07): herding, memories, schedules, teachers, replay."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from cldf_core.figures.style import CLASS_COLOURS, MARKERS, agent_colour, described, panels, span


def herding_choice(
    points: pd.DataFrame, path: pd.DataFrame, distances: pd.DataFrame, *, mean: Sequence[float] | np.ndarray
) -> Figure:
    """Draws points of a plane with the chosen ones numbered, the way of their mean, and how far it is off.

    Args:
        points: columns x, y and rank (0 where one is not chosen).
        path: the mean of the first chosen points, columns count, x, y.
        distances: columns choice, count, value, low and high.
        mean: x and y of the mean of all points.
    """
    figure, ((left, middle, right),) = panels(1, 3, 2.9, width_ratios=(1.8, 1, 1))
    chosen, colour = points[points["rank"] > 0].sort_values("rank"), agent_colour("icarl")
    left.scatter(points["x"], points["y"], s=10, color="0.75", label="points of a plane (invented)")
    left.scatter(chosen["x"], chosen["y"], s=18, color=colour, label="chosen, in this order")
    left.plot(*mean, "x", ms=9, mew=2, color="black", label="mean of all")
    left.plot([], [], ".-", color=colour, lw=0.8, label="mean of the first 1, 2, … chosen")
    _number_beside(left, chosen[["x", "y"]].to_numpy(), np.vstack([points[["x", "y"]], [mean]]))
    left.set(xlabel="x (no unit)", ylabel="y (no unit)", aspect="equal", title="which are chosen")
    middle.plot(path["x"], path["y"], ".-", color=colour, lw=0.8, ms=4)
    middle.plot(*mean, "x", ms=9, mew=2, color="black")
    middle.set(xlabel="x (no unit)", title="the way of their mean")
    middle.annotate("the first", path[["x", "y"]].iloc[0], (4, 4), textcoords="offset points")
    middle.margins(0.18)
    choices = distances.groupby("choice", sort=False)
    for (choice, line), shade in zip(choices, (colour, "0.45"), strict=True):
        right.fill_between(line["count"], line["low"], line["high"], color=shade, alpha=0.2, lw=0)
        right.plot(line["count"], line["value"], color=shade, marker=".", label=choice)
    right.set(xlabel="exemplars chosen", ylabel="distance (no unit)", ylim=(0, None), title="how far it is off")
    right.legend(frameon=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", fontsize="small", ncols=4, frameon=False)
    off = ", ".join(f"{span(line['value'].iloc[-1:])} by {choice}" for choice, line in choices)
    sentence = (
        f"{len(chosen)} of {len(points)} points, numbered as they are chosen; their mean is off in the end: {off}."
    )
    return described(figure, sentence)


def _number_beside(ax: Axes, chosen: np.ndarray, points: np.ndarray) -> None:
    """Numbers chosen points, (k, 2), from 1: each beside its point, where there is most room among points, (n, 2)."""
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    around = 0.065 * np.ptp(points, axis=0).max() * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for number, point in enumerate(chosen, start=1):
        places = point + around
        room = np.linalg.norm(places[:, None] - points, axis=2).min(axis=1)
        place = places[room.argmax()]
        ax.plot(*np.stack([point, place], axis=1), color="0.6", lw=0.5, zorder=0)
        ax.text(place[0], place[1], str(number), ha="center", va="center", fontsize=6.5)
        points = np.vstack([points, place])


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
    """Draws the teacher's softened P(fake), a row of panels for each step and a panel for each temperature.

    The table has the columns step, domain, temperature, class and value.
    """
    rows = table[["step", "domain"]].drop_duplicates().reset_index(drop=True)
    temperatures = sorted(table["temperature"].unique())
    figure, axes = panels(len(rows), len(temperatures), 1.7 * len(rows) + 0.8, sharex=True, sharey="row")
    for (row, column), ax in np.ndenumerate(axes):
        step, temperature = rows["step"][row], temperatures[column]
        panel = table[(table["step"] == step) & (table["temperature"] == temperature)]
        for kind, colour in CLASS_COLOURS.items():
            values = panel.loc[panel["class"] == kind, "value"]
            ax.hist(values, np.linspace(0, 1, 21), color=colour, histtype="stepfilled", alpha=0.35, label=kind)
            ax.hist(values, np.linspace(0, 1, 21), color=colour, histtype="step")
        ax.axvline(0.5, color="0.4", lw=0.8, ls=":")
        ax.set_title(f"temperature {temperature:g}" if row == 0 else "", fontsize="medium")
        ax.set_ylabel(f"images, step {step}:\n{rows['domain'][row]}" if column == 0 else "", fontsize="small")
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.supxlabel("the teacher's softened P(fake); below 0.5 (dotted) it teaches: real", fontsize="medium")
    means = table.groupby(["step", "temperature"])["value"]
    spread = ", ".join(f"{span(values)} in step {step} at temperature {t:g}" for (step, t), values in means)
    return described(figure, f"Histograms of the teacher's softened P(fake) of real and fake images: {spread}.")


def interference(table: pd.DataFrame) -> Figure:
    """Draws how the loss of each candidate for replay would change, in a colour for each domain.

    The table has the columns domain, before, rise and chosen (bool).
    """
    figure, ((ax,),) = panels(1, 1, 2.8, width=6.2)
    domains = list(dict.fromkeys(table["domain"]))
    colours = sns.color_palette("viridis", len(domains) + 1)  # without the lightest, which white would swallow
    for marker, colour, domain in zip(MARKERS * len(domains), colours, domains, strict=False):
        for chosen, part in table[table["domain"] == domain].groupby("chosen"):
            look: dict[str, Any] = {"marker": marker, "edgecolor": [colour], "s": 26, "lw": 0.8, "zorder": 2 + chosen}
            look |= {"facecolor": [colour]} if chosen else {"facecolor": "none"}
            name = f"{domain}, {'replayed by MIR' if chosen else 'left out'}"
            ax.scatter(part["before"].clip(lower=1e-6), part["rise"], label=name, **look)
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
