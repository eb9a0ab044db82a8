"""The look that all figures share: colours, markers, names."""

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
WIDTH = 7.2  # inches, the width of a printed page's text


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


def agent_name(agent: str) -> str:
    """An agent's name as figures write it; one that is not of this package keeps its own."""
    return AGENTS[agent][0] if agent in AGENTS else agent


def agent_colour(agent: str) -> str:
    """An agent's colour; all that are not of this package share one."""
    return AGENTS[agent][1] if agent in AGENTS else "#882255"


def short_name(domain: str) -> str:
    """A domain's name without the part that all embedded ones share."""
    return domain.replace("mini-", "")
