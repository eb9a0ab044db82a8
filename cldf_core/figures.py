"""Tidy table in, seaborn figure out. Every figure of the project is drawn by one function here."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullFormatter

from cldf_core import metrics

# Wong's colour-blind-safe colours (Nature Methods 8, 441): the same one for the same agent everywhere.
AGENTS = {
    "separate": ("separate models", "#999999"),
    "sequential": ("sequential fine-tuning", "#D55E00"),
    "joint": ("joint training", "#000000"),
    "icarl": ("iCaRL", "#0072B2"),
    "gdumb": ("GDumb", "#CC79A7"),
    "lwf": ("LwF", "#E69F00"),
    "er": ("ER (random)", "#56B4E9"),
    "mir": ("MIR", "#009E73"),
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # by a domain's place in the stream, the unseen ones last
CLASS_COLOURS = {"real": "#0072B2", "fake": "#D55E00"}


def theme() -> None:
    """The project's look, set once, by `from cldf_core import figures` in a notebook and figures.theme()."""
    sns.set_theme(context="paper", style="ticks", font="DejaVu Sans")
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "pdf.fonttype": 42,  # fonts are embedded as outlines that stay text
            "axes.spines.top": False,
            "axes.spines.right": False,
            "image.cmap": "viridis",
        }
    )


# --- images and spectra (notebooks 00, 01, 02) ---


# --- results of runs (notebooks 03 to 08) ---

WIDTH = 7.2  # inches, the width of a printed page's text


def cells(scores: pd.DataFrame, metric: str = "accuracy", *, split: str = "test") -> pd.DataFrame:
    """R[t, i] of every agent with its 95 % interval over groups, as a tidy table.

    Args:
        scores: of one or several runs, with a column agent.
        metric: "accuracy" or "AUC".

    Returns:
        Columns agent, step, domain, value, low, high.
    """
    rows = []
    for agent, own in scores.groupby("agent", sort=False):
        table = metrics.matrix(own, metric, split=split)
        draws = metrics.bootstrap(own, lambda values, steps, domains: values, metric, split=split)
        for (t, step), (i, domain) in itertools.product(enumerate(table.index), enumerate(table.columns)):
            rows.append((agent, step, domain, table.iloc[t, i], *metrics.interval(draws[:, t, i])))
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
    return wide.rename(index=_label).rename_axis(index=None, columns=None)


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
        ax.set_title(_label(agent))
        names = [_short(d) for d in domains]
        ax.set_xticks(range(len(domains)), names, rotation=40, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(table)), [_short(d) for d in stream])
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
            colour, marker = AGENTS[agent][1], MARKERS[place % len(MARKERS)]
            ax.fill_between(own["step"], own["low"], own["high"], color=colour, alpha=0.13, lw=0)
            ax.plot(own["step"], own["value"], color=colour, marker=marker, ms=4, lw=1.2, label=_label(agent))
        if domain in stream:
            ax.axvspan(stream.index(domain) + 0.8, stream.index(domain) + 1.2, color="0.9", zorder=0)
        ax.axhline(0.5, color="0.4", lw=0.8, ls=":")
        ax.set_title(_short(domain) + ("" if domain in stream else " (never trained on)"))
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
            ax.plot(own["epoch"], own["loss"], color=AGENTS[agent][1], marker=".", lw=1.2, label=_label(agent))
        ax.set_title(f"step {step}: {_short(domain)}", fontsize="medium")
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
            ax.plot([low, high], [place, place], color=AGENTS[agent][1], lw=2, solid_capstyle="butt")
            ax.plot(value, place, "o", color=AGENTS[agent][1], ms=5)
        if line is not None:
            ax.axvline(line, color="0.4", lw=0.8, ls=":")
        ax.set_title(_short(name), fontsize="medium")
        ax.set_yticks(range(len(agents)), [_label(a) for a in agents])
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
        ax.barh([_label(a) for a in agents], own[agents], color=[AGENTS[a][1] for a in agents], height=0.7)
        ax.set_xlabel(textwrap.fill(name, 12))
        ax.xaxis.set_major_locator(MaxNLocator(3))
    axes.flat[0].invert_yaxis()
    return figure


def herding_choice(points: pd.DataFrame, distances: pd.DataFrame) -> Figure:
    """Left: points of a plane, the chosen ones numbered; right: how far the chosen ones' mean is off.

    Args:
        points: columns x, y, rank (0 for a point that is not chosen).
        distances: columns choice, count, value, low, high.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9))
    chosen = points[points["rank"] > 0]
    left.scatter(points["x"], points["y"], s=12, color="0.75", label="all images of a class")
    left.scatter(chosen["x"], chosen["y"], s=70, color=AGENTS["icarl"][1], label="chosen, in this order")
    for row in chosen.itertuples():
        left.text(row.x, row.y, str(row.rank), ha="center", va="center_baseline", color="white", fontsize=6.5)
    left.plot(points["x"].mean(), points["y"].mean(), "x", ms=9, mew=2, color="black", label="mean of all")
    left.set(xlabel="feature 1 (no unit)", ylabel="feature 2 (no unit)", aspect="equal")
    figure.legend(loc="outside upper left", fontsize="small", ncols=3, frameon=False)
    choices = distances.groupby("choice", sort=False)
    for (choice, own), colour in zip(choices, (AGENTS["icarl"][1], "0.45"), strict=True):
        right.fill_between(own["count"], own["low"], own["high"], color=colour, alpha=0.2, lw=0)
        right.plot(own["count"], own["value"], color=colour, marker=".", label=choice)
    right.set(xlabel="exemplars chosen", ylabel="their mean's distance\nfrom the mean of all", ylim=(0, None))
    right.legend(frameon=False)
    return figure


def memory_content(counts: pd.DataFrame, *, capacity: int) -> Figure:
    """What a memory holds while images arrive: stacked by domain. Columns offered, domain, count."""
    table = counts.groupby(["offered", "domain"], sort=False)["count"].sum().unstack(fill_value=0)
    table.loc[0] = 0
    table = table[list(dict.fromkeys(counts["domain"]))].sort_index()
    colours = sns.color_palette("cividis", len(table.columns))
    figure, ax = plt.subplots(figsize=(5.2, 2.6))
    areas = ax.stackplot(table.index, table.to_numpy().T, colors=colours, edgecolor="white", lw=0.6)
    ax.axhline(capacity, color="black", lw=0.8, ls=":")
    ax.set(xlabel="images offered so far", ylabel="images in the memory", xlim=(0, table.index.max()))
    names = [_short(name) for name in table.columns]
    figure.legend(areas[::-1], names[::-1], loc="outside right center", frameon=False)
    return figure


def inclusion(table: pd.DataFrame, *, expected: float) -> Figure:
    """How often an image is in the memory at the end, against its place in the stream.

    Args:
        table: columns rule, place, value, low, high.
        expected: the share that would be the same for all.
    """
    rules = list(dict.fromkeys(table["rule"]))
    figure, axes = plt.subplots(1, len(rules), figsize=(WIDTH, 2.3), sharex=True, sharey=True)
    for ax, rule in zip(axes.flat, rules, strict=True):
        own = table[table["rule"] == rule]
        ax.vlines(own["place"], own["low"], own["high"], color=AGENTS["er"][1], lw=1.5)
        ax.plot(own["place"], own["value"], ".", color=AGENTS["er"][1])
        ax.axhline(expected, color="black", lw=0.8, ls=":")
        ax.set_title(rule, fontsize="medium")
    figure.supxlabel("place of the image in the stream (dotted: memory size / images offered)", fontsize="medium")
    axes.flat[0].set_ylabel("share of trials in\nwhich it is kept")
    return figure


def learning_rate(table: pd.DataFrame) -> Figure:
    """Learning rate against the epoch. Columns epoch, lr."""
    figure, ax = plt.subplots(figsize=(4.2, 2.3))
    ax.plot(table["epoch"], table["lr"], color=AGENTS["gdumb"][1], lw=1.2)
    ax.set(xlabel="epoch on the memory", ylabel="learning rate (per update)", ylim=(0, None))
    return figure


def soft_targets(table: pd.DataFrame) -> Figure:
    """A panel per temperature: the teacher's softened P(fake). Columns temperature, class, value."""
    temperatures = sorted(table["temperature"].unique())
    figure, axes = plt.subplots(1, len(temperatures), figsize=(WIDTH, 2.3), sharex=True, sharey=True)
    for ax, temperature in zip(axes.flat, temperatures, strict=True):
        for kind, colour in CLASS_COLOURS.items():
            own = table[(table["temperature"] == temperature) & (table["class"] == kind)]["value"]
            ax.hist(own, np.linspace(0, 1, 21), color=colour, histtype="stepfilled", alpha=0.35, label=kind)
            ax.hist(own, np.linspace(0, 1, 21), color=colour, histtype="step")
        ax.set_title(f"T = {temperature:g}", fontsize="medium")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.supxlabel("the teacher's softened P(fake)", fontsize="medium")
    figure.supylabel("images", fontsize="medium")
    return figure


def interference(table: pd.DataFrame) -> Figure:
    """Candidates for replay: how their loss would change. Columns domain, before, rise, chosen (bool)."""
    figure, ax = plt.subplots(figsize=(5.6, 2.8))
    for place, (domain, own) in enumerate(table.groupby("domain", sort=False)):
        for chosen, part in own.groupby("chosen"):
            face = AGENTS["mir"][1] if chosen else "none"
            style: dict[str, Any] = {"marker": MARKERS[place % len(MARKERS)], "edgecolor": AGENTS["mir"][1], "s": 26}
            who = "replayed by MIR" if chosen else "left out"
            name = f"{_short(str(domain))}, {who}"
            ax.scatter(part["before"].clip(lower=1e-6), part["rise"], facecolor=face, label=name, **style)
    ax.axhline(0, color="0.4", lw=0.8, ls=":")
    ax.set(xlabel="loss before the virtual step (nats)", ylabel="rise of the loss (nats)", xscale="log")
    ax.set_yscale("symlog", linthresh=1e-3, linscale=0.5)  # losses of known images are tiny, others large
    largest = table["before"].max()
    ax.set_xlim(max(5e-7, min(table["before"].min() / 2, largest / 10)), 2 * largest)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.margins(y=0.08)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure


def _label(agent: str) -> str:
    return AGENTS[agent][0] if agent in AGENTS else agent


def _short(domain: str) -> str:
    return domain.replace("mini-", "")


def _short_number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}".removeprefix("0")
