"""Labels of figures with the long names of the embedded domains: whole, within the figure, apart from each other."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from cldf_core import figures

STREAM = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]
DOMAINS = [*STREAM, "mini-NeuralTextures"]
UNSEEN = "unseen: mini-NeuralTextures"
AGENTS = ("sequential", "joint", "icarl", "er")
PLANES = np.random.default_rng(0).normal(size=(5, 16, 9))


def table(**columns) -> pd.DataFrame:
    """A row for each combination of the columns, with a value and its interval."""
    rows = list(itertools.product(*columns.values()))
    return pd.DataFrame(rows, columns=list(columns)).assign(value=0.8, low=0.7, high=0.9)


CELLS = table(agent=AGENTS, step=[1, 2, 3, 4], domain=DOMAINS).assign(verdicts="all fake")
BEFORE_AND_AFTER = table(agent=AGENTS, step=[1, 4], domain=["mean of seen", *DOMAINS], when=["before", "after"])
ORDERS = ["\n".join(order) for order in (STREAM, STREAM[::-1], STREAM[1:] + STREAM[:1])]
DRAWN = {
    "matrices": lambda: figures.matrices(CELLS, STREAM, panels=AGENTS * 2),
    "last rows": lambda: figures.last_rows(CELLS, STREAM),
    "over time, highlighted": lambda: figures.over_time(CELLS, STREAM, highlight=["joint", "er"]),
    "two matrices": lambda: figures.matrices(CELLS, STREAM, panels=AGENTS[:2]),
    "matrix changes": lambda: figures.matrix_changes(CELLS.assign(switch="passes"), STREAM),
    "over time": lambda: figures.over_time(CELLS, STREAM),
    "losses": lambda: figures.losses(
        table(agent=AGENTS, domain=STREAM).assign(step=lambda t: t["domain"].map(STREAM.index) + 1, epoch=1, loss=0.5)
    ),
    "estimates": lambda: figures.estimates(
        table(agent=AGENTS, metric=["average", "forgetting (max-last)", UNSEEN]), ["average", UNSEEN], label="accuracy"
    ),
    "trade-offs": lambda: figures.trade_offs(
        table(agent=AGENTS, metric=["accuracy: average", f"accuracy: {UNSEEN}"]),
        [("accuracy: average", f"accuracy: {UNSEEN}")] * 2,
    ),
    "orders": lambda: figures.by_setting(
        table(agent=AGENTS, order=ORDERS, metric=[f"accuracy: {UNSEEN}"]), "order", [f"accuracy: {UNSEEN}"] * 3
    ),
    "ranks": lambda: figures.ranks(
        table(metric=["average", UNSEEN, "forgetting"], agent=AGENTS, seed=[0, 1]).assign(rank=1.0, mean=1.0)
    ),
    "reliability": lambda: figures.reliability_diagrams(
        BEFORE_AND_AFTER.query("domain in @DOMAINS").assign(seen=True, probability=0.5, share=0.4, n=9, ECE=0.1)
    ),
    "calibration": lambda: figures.calibration_errors(
        BEFORE_AND_AFTER.query("domain not in @STREAM").assign(metric="ECE", seen=lambda t: ~t["domain"].isin(DOMAINS))
    ),
    "evidence": lambda: figures.evidence({name: dict(zip(DOMAINS, PLANES, strict=True)) for name in ("er", "mir")}),
    "bands": lambda: figures.band_losses(
        table(agent=AGENTS[:2], step=[1, 2, 3, 4], domain=DOMAINS, band=["low", "high"]), STREAM
    ),
    "mean spectra": lambda: figures.mean_spectra(*[dict.fromkeys(("real", "fake"), PLANES)] * 2, DOMAINS),
    "ladder": lambda: figures.ladder(
        table(rung=["sharpness", "spectra, network, 5 seeds"], domain=DOMAINS), label="AUC"
    ),
    "samples": lambda: figures.sample_pairs(dict.fromkeys(DOMAINS, [(np.zeros((3, 8, 8), np.uint8),) * 2] * 2)),
    "profiles": lambda: figures.radial_profiles(
        *(table(domain=DOMAINS, r=[0.1, 0.9], **kind) for kind in ({"class": ["real", "fake"]}, {}))
    ),
    "by band": lambda: figures.by_band(table(band=["low", "high"], domain=DOMAINS), label="accuracy"),
    "memory": lambda: figures.memory_content(table(offered=[10, 20], domain=STREAM).assign(count=9), capacity=80),
    "interference": lambda: figures.interference(
        table(domain=STREAM, chosen=[True, False]).assign(before=0.1, rise=0.2)
    ),
    "differences left": lambda: figures.differences_left(
        dict.fromkeys(DOMAINS, PLANES), ["stored", "none", "JPEG 50", "blur 2", "noise 1"], STREAM
    ),
    "common step": lambda: figures.common_step(
        table(agent=AGENTS, domain=DOMAINS, corruption=["stored", "none"], metric=["accuracy"]), STREAM
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_names_are_whole_within_the_figure_and_apart(name):
    figures.theme()
    figure = DRAWN[name]()
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    texts = [t for t in texts if "mini-" in t.get_text() or "NeuralTextures" in t.get_text()]
    written = {domain for t in texts for domain in DOMAINS if domain in t.get_text().replace("-\n", "-")}
    assert written
    assert all("mini-" in t.get_text() for t in texts)
    shown = [t for t in texts if t.axes is None or t.axes.axison]
    boxes = [(t.get_text(), t.get_window_extent()) for t in shown]
    for text, box in boxes:
        assert min(box.x0, box.y0, figure.bbox.x1 - box.x1, figure.bbox.y1 - box.y1) >= 0, text
    straight = [pair for pair, t in zip(boxes, shown, strict=True) if t.get_rotation() % 90 == 0]
    for (text, box), (other, beside) in itertools.combinations(straight, 2):
        assert not box.overlaps(beside), (text, other)
