"""The style that all figures share: theme, colours and markers."""

import textwrap
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

# Wong's colour-blind-safe colours (Nature Methods 8, 441): the same colour for the same agent in every figure.
AGENT_COLOURS = {
    "separate": "#999999",
    "sequential": "#D55E00",
    "joint": "#000000",
    "icarl": "#0072B2",
    "gdumb": "#CC79A7",
    "lwf": "#E69F00",
    "er": "#56B4E9",
    "mir": "#009E73",
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # by a domain's place in the stream; the unseen domains come last
CLASS_COLOURS = {"real": "#0072B2", "fake": "#D55E00"}
WIDTH = 7.2  # inches, the text's width on a printed page


def theme() -> None:
    """Sets the style of all figures that follow."""
    sns.set_theme(context="paper", style="ticks", font="DejaVu Sans")
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "pdf.fonttype": 42,  # embeds fonts as outlines, so that text stays text
            "axes.spines.top": False,
            "axes.spines.right": False,
            "image.cmap": "viridis",
        }
    )


def panels(rows: int, columns: int, height: float, *, width: float = WIDTH, **how: Any) -> tuple[Figure, np.ndarray]:
    """Makes a figure, at most as wide as a page (sizes in inches), and its axes, shape (rows, columns)."""
    return plt.subplots(rows, columns, figsize=(min(WIDTH, width), height), squeeze=False, **how)


def two_lines(name: str) -> str:
    """Breaks a domain's name after its prefix, for narrow panels; short names stay in one line."""
    prefix, hyphen, rest = name.partition("-")
    return f"{prefix}-\n{rest}" if hyphen and len(name) > 8 else name


def wrapped(text: str, width: int) -> str:
    """Breaks a title or label between words, so that no line is longer than width; names stay whole."""
    return textwrap.fill(text, width, break_on_hyphens=False)


def agent_colour(agent: str) -> str:
    """Returns an agent's colour; all agents of another origin share one."""
    return AGENT_COLOURS.get(agent, "#882255")
