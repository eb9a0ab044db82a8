"""Figures of estimates of which some, or all, have no interval."""

import numpy as np
import pandas as pd
import pytest

from cldf_core import figures
from cldf_core.evaluation.robustness import COLUMNS

NONE = {"value": 0.9, "low": np.nan, "high": np.nan}
CELLS = pd.DataFrame([{"agent": "er", "switch": "s", "step": t, "domain": d, **NONE} for t in (1, 2) for d in "ab"])
TABLE = pd.DataFrame([{"agent": a, "switch": "s", "metric": "average", "memory": 50, **NONE} for a in ("er", "mir")])
MARGINS = pd.DataFrame({agent: {"average": 0.05} for agent in ("er", "mir")})
VERSIONS = (("stored", 0.0), ("none", 0.0), ("JPEG", 50.0), ("resize", 0.5), ("blur", 1.0), ("noise", 0.1))
CURVES = pd.DataFrame(
    [
        ("er", domain, *version, metric, *NONE.values(), 10)
        for domain in ("a", "average")
        for version in VERSIONS
        for metric in ("accuracy", "AUC")
    ],
    columns=COLUMNS,
)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.matrices(CELLS, ["a", "b"]),
        lambda: figures.over_time(CELLS, ["a", "b"]),
        lambda: figures.over_time(CELLS, ["a", "b"], highlight=["er"]),
        lambda: figures.last_rows(CELLS, ["a", "b"]),
        lambda: figures.matrix_changes(CELLS, ["a", "b"]),
        lambda: figures.estimates(TABLE, ["average"], line=0),
        lambda: figures.trade_offs(TABLE, [("average", "average")]),
        lambda: figures.by_setting(TABLE, "memory", ["average"]),
        lambda: figures.against_images(
            TABLE.assign(images=5), {"average": "a", "gain": "b"}, {"er": "mir"}, grey="c", everything=5
        ),
        lambda: figures.forest(TABLE, ["average"], seed_noise=[], margins=MARGINS, label="change"),
        lambda: figures.forest(
            TABLE.assign(value=np.nan), ["average"], seed_noise=[], margins=np.nan * MARGINS, label="change"
        ),
        lambda: figures.common_step(CURVES[CURVES["domain"] == "a"], ["a"]),
        lambda: figures.against_severity(CURVES, highlight=["er"]),
    ],
)
def test_what_has_no_interval_is_drawn_without_one(draw):
    figure = draw()
    figure.canvas.draw()
    assert not [text for ax in figure.axes for text in ax.texts if "±" in text.get_text()]
