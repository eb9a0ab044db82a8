"""Figures of how agents work inside: what is drawn is what the tables hold, and numbers do not overlap."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from cldf_core import figures
from cldf_core.figures.style import CLASS_COLOURS


@pytest.mark.parametrize("spread", [1.0, 0.02])
def test_the_chosen_are_numbered_beside_their_points_and_no_number_covers_another(spread):
    figures.theme()
    rng = np.random.default_rng(0)
    points = pd.DataFrame(
        np.concatenate([rng.normal(0, spread, (12, 2)), rng.normal(3, 1, (30, 2))]), columns=["x", "y"]
    )
    points["rank"] = [*range(1, 13), *[0] * 30]
    path = points.loc[:11, ["x", "y"]].expanding().mean().assign(count=range(1, 13))
    line = {"count": range(1, 13), "value": 0.5, "low": 0.4, "high": 0.6}
    distances = pd.concat([pd.DataFrame({"choice": name, **line}) for name in ("herding", "random")])
    figure = figures.herding_choice(points, path, distances, mean=[1.0, 2.0])
    figure.draw_without_rendering()
    left, middle, right = figure.axes
    numbers = [text for text in left.texts if text.get_text().isdigit()]
    assert [text.get_text() for text in numbers] == [str(k) for k in range(1, 13)]
    ends = [line.get_xydata() for line in left.lines if len(line.get_xydata()) == 2]
    np.testing.assert_allclose([end[0] for end in ends], points.loc[:11, ["x", "y"]])  # each beside its own point
    np.testing.assert_allclose([end[1] for end in ends], [text.get_position() for text in numbers])
    if spread == 1.0:  # where there is room
        boxes = [text.get_window_extent() for text in numbers]
        assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    np.testing.assert_allclose(middle.lines[0].get_xydata(), path[["x", "y"]])
    assert [line.get_label() for line in right.lines] == ["herding", "random"]


def test_soft_targets_have_a_row_for_each_step_and_a_column_for_each_temperature():
    rows = [
        (step, domain, t, kind, value)
        for step, domain in ((2, "second"), (4, "fourth"))
        for t in (1, 2)
        for kind, value in (("real", 0.02 * step), ("fake", 0.9), ("fake", 0.9))
    ]
    table = pd.DataFrame(rows, columns=["step", "domain", "temperature", "class", "value"])
    axes = np.array(figures.soft_targets(table).axes).reshape(2, 2)
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["images, step 2:\nsecond", "images, step 4:\nfourth"]
    assert [ax.get_title() for ax in axes[0]] == ["temperature 1", "temperature 2"]
    for (row, _), ax in np.ndenumerate(axes):
        real, _, fake, _ = ax.patches  # each filled, and its outline
        heights = [np.unique(patch.get_xy()[:, 1]).max() for patch in (real, fake)]
        assert heights == [1, 2]
        left = real.get_xy()[real.get_xy()[:, 1] > 0, 0].min()
        assert left == pytest.approx(0.0 if row == 0 else 0.05)
        assert to_rgb(fake.get_facecolor()) == to_rgb(CLASS_COLOURS["fake"])
