"""Figures of differences from the papers: what is drawn is what the tables hold."""

import pandas as pd

from cldf_core import figures


def test_the_forest_has_a_row_for_each_switch_and_a_band_for_the_noise_of_a_seed():
    rows = [("er", "passes", 0.1), ("er", "seed 1", -0.04), ("mir", "statistics", 0.2), ("mir", "seed 1", 0.03)]
    table = pd.DataFrame([(a, s, "average", v, v - 0.1, v + 0.1) for a, s, v in rows])
    table.columns = ["agent", "switch", "metric", "value", "low", "high"]
    margins = pd.DataFrame({"er": {"average": 0.05}, "mir": {"average": 0.02}})
    (ax,) = figures.forest(table, ["average"], seed_noise=["seed 1"], margins=margins, label="change").axes
    labels = {round(t.get_position()[1]): t.get_text() for t in ax.get_yticklabels()}
    wanted = ["ER (random)", "passes", "seed 1", "MIR", "statistics", "seed 1"]
    assert [labels[place] for place in sorted(labels)] == wanted
    dots = {line.get_ydata()[0]: line for line in ax.lines if line.get_marker() == "o"}
    assert {place: line.get_xdata()[0] for place, line in dots.items()} == {1: 0.1, 2: -0.04, 4: 0.2, 5: 0.03}
    assert [dots[place].get_markerfacecolor() == "white" for place in (1, 2, 4, 5)] == [False, True, False, True]
    bands = [c.get_paths()[0].get_extents() for c in ax.collections]
    assert [(b.x0, b.x1) for b in bands] == [(-0.05, 0.05), (-0.02, 0.02)]
    wide = figures.forest(table, ["average"], seed_noise=["seed 1"], margins=10 * margins, label="change").axes[0]
    assert wide.get_xlim()[0] < -0.5 < 0.5 < wide.get_xlim()[1]  # the whole band is seen


def test_the_matrices_mark_the_cells_whose_interval_leaves_0_out():
    rows = [("er", "passes", 1, "one", -0.2, -0.3, -0.1), ("er", "passes", 1, "other", 0.004, -0.1, 0.1)]
    cells = pd.DataFrame(rows, columns=["agent", "switch", "step", "domain", "value", "low", "high"])
    texts = [(t.get_text(), t.get_fontweight()) for t in figures.matrix_changes(cells, ["one"]).axes[0].texts]
    assert texts == [("−20\n•", "bold"), ("0", "normal")]
