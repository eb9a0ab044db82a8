"""The threshold of a detector on its ROC curve, and what the two errors cost (notebook 13)."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cldf_core.figures.style import described, panels
from cldf_core.interact.live import Live, slider

THRESHOLDS = [round(k / 100, 2) for k in range(1, 100)]
SHARES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
RATIOS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_COLOUR = "#0072B2"


def error_rates(labels: ArrayLike, scores: ArrayLike, thresholds: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The share of real images called fake (false alarms), and of fakes called real (missed), at each threshold.

    Labels are 0 (real) and 1 (fake), scores P(fake), both of shape (N,); "fake" is said from the threshold up.
    """
    truth, given = np.asarray(labels) == 1, np.asarray(scores, float)
    real, fake = np.sort(given[~truth]), np.sort(given[truth])
    below_real, below_fake = (np.searchsorted(part, np.asarray(thresholds), side="left") for part in (real, fake))
    return 1 - below_real / len(real), below_fake / len(fake)


def mean_cost(false_alarms: np.ndarray, missed: np.ndarray, share: float, ratio: float) -> np.ndarray:
    """What errors cost per image, if a false alarm costs 1, a missed fake `ratio`, and this share are fakes."""
    return (1 - share) * false_alarms + share * ratio * missed


def two_errors(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> Live:
    """The ROC curve with a threshold on it, and the cost over all thresholds, for shares of fakes and costs."""
    every = np.unique(np.concatenate([[0.0], np.asarray(scores, float), [np.inf]]))
    roc = error_rates(labels, scores, every)

    def draw(threshold: float, share: float, ratio: float) -> Figure:
        figure, ((left, right),) = panels(1, 2, 2.9)
        (alarm,), (missed,) = error_rates(labels, scores, [threshold])
        left.step(roc[0], 1 - roc[1], where="post", color=_COLOUR, linewidth=1.3)
        left.plot([0, 1], [0, 1], color="0.4", linestyle=":", linewidth=0.8)
        slope = (1 - share) / (share * ratio)  # along such a line the cost is the same
        ends = np.array([0.0, 1.0])
        left.plot(ends, 1 - missed + slope * (ends - alarm), color="0.4", linestyle="--", linewidth=0.8)
        left.plot(alarm, 1 - missed, "o", color="#D55E00", markersize=7)
        left.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="false alarms (share of reals)")
        left.set(ylabel="found (share of fakes)", title="ROC (dashed: the same cost)")
        costs = mean_cost(*error_rates(labels, scores, THRESHOLDS), share, ratio)
        cost, best = mean_cost(alarm, missed, share, ratio), THRESHOLDS[int(costs.argmin())]
        right.plot(THRESHOLDS, costs, color=_COLOUR, linewidth=1.3, label="this detector")
        never, always = share * ratio, 1 - share
        right.axhline(min(never, always), color="0.4", linestyle=":", label="one verdict for all")
        right.plot(threshold, cost, "o", color="#D55E00", markersize=7, label="this threshold")
        right.plot(best, costs.min(), "v", color="black", markersize=6, label="cheapest here")
        right.set(xlabel="threshold of P(fake)", ylabel="cost per image (false alarms)", ylim=(0, None), xlim=(0, 1))
        right.legend(frameon=False, fontsize=7)
        text = f"At the threshold {threshold:.2f}, {alarm:.2f} of the real images are called fake and {1 - missed:.2f}"
        rest = f"of the fakes found, at a cost of {cost:.3f} per image; the cheapest threshold is {best:.2f}."
        return described(figure, f"{text} {rest}")

    return Live(
        draw,
        threshold=slider("threshold", THRESHOLDS, min(THRESHOLDS, key=lambda t: abs(t - threshold))),
        share=slider("share of fakes", SHARES, 0.5),
        ratio=slider("cost of a missed fake", RATIOS, 1.0),
    )
