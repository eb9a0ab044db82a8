"""The scores of images, domain by domain, and a threshold that can be moved through them (notebooks 08 and 15)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import logit

from cldf_core.figures.style import CLASS_COLOURS, described, panels
from cldf_core.interact.live import Live, choice, slider
from cldf_core.randomness import generator

THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
_END = 7.0  # logits beyond are drawn here: P(fake) above 0.999 or below 0.001


def shares_right(scores: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """The shares of real and of fake images with a right verdict, and their mean, in each domain.

    Args:
        scores: columns domain, label (0 is real, 1 fake) and score, P(fake).
        threshold: from it up the verdict is "fake".

    Returns:
        Columns real, fake and balanced; a row for each domain. A class without images is NaN.
    """
    right = (scores["score"] >= threshold) == (scores["label"] == 1)
    kind = scores["label"].map({0: "real", 1: "fake"})
    shares = right.groupby([scores["domain"], kind], sort=False).mean().unstack().reindex(columns=["real", "fake"])
    return shares.assign(balanced=shares.mean(axis=1, skipna=False)).loc[scores["domain"].unique()]


def under_threshold(scores: Mapping[str, pd.DataFrame], label: str = "agent") -> Live:
    """Scores as dots on a line for each domain, with a choice whose scores are shown, and a slider over thresholds.

    The tables are as for `shares_right`; the label says what their names name.
    """

    def draw(name: str, threshold: float) -> Figure:
        table = scores[name]
        shares = shares_right(table, threshold)
        figure, ((left, right),) = panels(1, 2, 0.7 + 0.5 * len(shares), width_ratios=(2.2, 1), sharey=True)
        # So that dots do not hide each other.
        jitter = generator(0, "illustration", "jitter").uniform(0.05, 0.38, len(table))
        for (kind, colour), side in zip(CLASS_COLOURS.items(), (1, -1), strict=True):
            of_kind = (table["label"] == (kind == "fake")).to_numpy()
            heights = table["domain"].map({domain: -k for k, domain in enumerate(shares.index)}) + side * jitter
            places = logit(table["score"].clip(1e-9, 1 - 1e-9)).clip(-_END, _END)
            left.scatter(places[of_kind], heights[of_kind], s=4, color=colour, linewidths=0, alpha=0.6, label=kind)
            right.plot(shares[kind], -np.arange(len(shares)) + side * 0.2, "o", color=colour, markersize=4)
        right.plot(shares["balanced"], -np.arange(len(shares)), "kD", markersize=4, label="their mean")
        left.axvline(logit(threshold), color="black", linewidth=1)
        right.axvline(0.5, color="0.4", linestyle=":", linewidth=0.8)
        ticks = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
        left.set(xticks=logit(ticks), xlabel="P(fake); the line: the threshold", xlim=(-_END - 0.4, _END + 0.4))
        left.set_xticklabels([f"{tick:g}" for tick in ticks])
        left.set(yticks=-np.arange(len(shares)), ylim=(-len(shares) + 0.5, 0.5))
        left.set_yticklabels(list(shares.index), fontsize=7)
        right.set(xlim=(-0.03, 1.03), xlabel="share with a right verdict")
        handles = [*left.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
        figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False, fontsize=8)
        words = shares[["real", "fake"]].map(lambda share: f"{share:.2f}" if share == share else "none")
        said = ", ".join(f"{row.real} and {row.fake} ({row.Index})" for row in words.itertuples())
        return described(figure, f"With the threshold {threshold:g}, {name} is right of these reals and fakes: {said}.")

    return Live(draw, name=choice(label, list(scores)), threshold=slider("threshold", THRESHOLDS, 0.5))
