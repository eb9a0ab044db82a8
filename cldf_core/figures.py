"""Tidy table in, seaborn figure out. Every figure of the project is drawn by one function here."""

from __future__ import annotations

import matplotlib as mpl
import seaborn as sns

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
