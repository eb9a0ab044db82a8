"""Figures of calibration: what is drawn is what the tables hold."""

import numpy as np
import pandas as pd

from cldf_core import figures
from cldf_core.evaluation.calibration import SEEN


def test_diagrams_have_a_panel_for_each_agent_and_domain():
    rows = [
        (agent, 2, domain, domain != "new", when, p, p ** (2 + (agent == "er")), 0, 1, 10, 0.25)
        for agent in ("er", "mir")
        for domain in ("a", "b", "new")
        for when in ("before", "after")
        for p in (0.2, 0.5, 0.9)
    ]
    columns = ["agent", "step", "domain", "seen", "when", "probability", "share", "low", "high", "n", "ECE"]
    points = pd.DataFrame(rows, columns=columns)
    axes = figures.reliability_diagrams(points).axes
    assert len(axes) == 6
    assert [ax.get_title() for ax in axes[2:4]] == ["new\nECE 0.25 → 0.25", "ECE 0.25 → 0.25"]
    grey = [ax.get_facecolor() != (1, 1, 1, 1) for ax in axes]
    assert grey == [False, False, True] * 2
    assert [axes[k].get_ylabel() for k in (0, 3)] == ["ER\n(random)", "MIR"]
    part = points.query("agent == 'mir' and domain == 'b' and when == 'after'")
    np.testing.assert_allclose(axes[4].lines[-1].get_xydata(), part[["probability", "share"]])


def test_errors_are_drawn_before_and_after_for_seen_and_never_seen_domains():
    rows = [
        (agent, step, domain, domain != "new", when, metric, k / 10 + step / 100 + len(when) / 1000, 0, 1)
        for k, agent in enumerate(("er", "mir"))
        for step in (1, 2)
        for domain in ("a", "new", SEEN)
        for when in ("before", "after")
        for metric in ("ECE", "NLL")
    ]
    columns = ["agent", "step", "domain", "seen", "when", "metric", "value", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    figure = figures.calibration_errors(table)
    assert [ax.get_title() for ax in figure.axes] == ["domains trained on, mean", "new\n(never trained on)"]
    last = table[(table["step"] == 2) & (table["metric"] == "ECE")].set_index("domain")["value"]
    for ax, name in zip(figure.axes, (SEEN, "new"), strict=True):
        dots = {line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"}
        assert dots == set(last[name])
