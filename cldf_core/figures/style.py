"""The style that all figures share: theme, colours, markers and lines, and how a figure is shown."""

import base64
import html
import io
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# The same colour for the same agent in every figure: Wong's colour-blind-safe ones (Nature Methods 8, 441), some
# darker, so that each has a contrast of 3:1 on white or more.
AGENT_COLOURS = {
    "separate": "#717171",
    "sequential": "#D55E00",
    "joint": "#000000",
    "icarl": "#0072B2",
    "gdumb": "#9A3F88",
    "lwf": "#754400",
    "er": "#2F8FE6",
    "mir": "#009E73",
    "derpp": "#00494D",
    "ewc": "#441199",
}
# What tells agents apart without colours.
AGENT_MARKERS = dict(zip(AGENT_COLOURS, "XsPoD^v*h<", strict=True))
_DASHES: tuple[Any, ...] = ((6, 2), (1, 1), (3, 1), (), (6, 2, 1, 2), (3, 1, 1, 1), (6, 2, 1, 2, 1, 2), (9, 1))
_DASHES += ((4, 1, 1, 1, 1, 1), (2, 2))
AGENT_LINES = {agent: (0, dashes) if dashes else "-" for agent, dashes in zip(AGENT_COLOURS, _DASHES, strict=True)}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # by a domain's place in the stream; the unseen domains come last
GREY, OTHERS = "0.78", "other agents"  # of lines that others are highlighted among, and what these are called
CLASS_COLOURS = {"real": "#0072B2", "fake": "#D55E00"}
WIDTH = 7.2  # inches, the text's width on a printed page


def theme() -> None:
    """Sets the style of all figures that follow and, in a notebook, of tables."""
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
    if shell := get_ipython():
        shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, table_html)


def table_html(table: Any) -> str:
    """A data frame for notebooks, in which the line never breaks within a value and its interval."""
    return re.sub(r">(\S+) \[(\S+), (\S+)\]<", r">\1&nbsp;[\2,&nbsp;\3]<", table._repr_html_() or "")


class Drawing(Figure):
    """A figure that is drawn where it is shown or saved, and nowhere else, with an alternative text as its label.

    pyplot does not know it: a kernel draws all figures of pyplot after each message, even one that a widget's callback
    is about to show, and then half a picture appears.
    """

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """The picture for notebooks; JupyterLab reads an alternative text only in HTML, others in the metadata."""
        file, text = io.BytesIO(), str(self.get_label())
        self.savefig(file, format="png", bbox_inches="tight")
        png = base64.b64encode(file.getvalue()).decode()
        image = f'<img style="max-width: 100%" alt="{html.escape(text)}" src="data:image/png;base64,{png}">'
        return {"image/png": png, "text/html": image, "text/plain": text}, {"image/png": {"alt": text}}


def panels(rows: int, columns: int, height: float, *, width: float = WIDTH, **how: Any) -> tuple[Figure, np.ndarray]:
    """Makes a figure, at most as wide as a page (sizes in inches), and its axes, shape (rows, columns)."""
    figure = Drawing(figsize=(min(WIDTH, width), height))
    return figure, figure.subplots(rows, columns, squeeze=False, **how)


def described(figure: Figure, sentence: str) -> Figure:
    """Gives a figure its alternative text: one sentence for those who cannot see it."""
    figure.set_label(" ".join(sentence.split()))
    return figure


def span(values: Iterable[float], form: str = ".2f") -> str:
    """The least and the largest of some numbers, in words; those that are NaN are left out."""
    known = pd.Series(list(values), dtype=float).dropna()
    texts = [f"{value:{form}}" for value in (known.min(), known.max())] if len(known) else []
    return " to ".join(dict.fromkeys(texts)) or "unknown"


def extremes(values: pd.Series, form: str = ".2f") -> str:
    """The least and the largest of some numbers, each with its place in the index, in words."""
    known = values.dropna()
    pairs = [(known.min(), known.idxmin()), (known.max(), known.idxmax())] if len(known) else []
    return " to ".join(dict.fromkeys(f"{value:{form}} ({name})" for value, name in pairs)) or "unknown"


def two_lines(name: str) -> str:
    """Breaks a domain's name after its prefix, for narrow panels; short names stay in one line."""
    prefix, hyphen, rest = name.partition("-")
    return f"{prefix}-\n{rest}" if hyphen and len(name) > 8 else name


def wrapped(text: str, width: int) -> str:
    """Breaks a title or label between words, so that no line is longer than width; names stay whole."""
    return textwrap.fill(text, width, break_on_hyphens=False)


def label_ends(ax: Axes, ends: Mapping[str, tuple[float, str]], *, gap: float = 0.11) -> None:
    """Writes names beside the right ends of lines, in their colours, moved apart where they would overlap.

    `ends` holds the height (in data) at which a line ends and its colour, by the name to write; the gap between names
    is a share of the axis, whose limits must be final.
    """
    low, high = sorted(ax.get_ylim())
    names = sorted((name for name in ends if np.isfinite(ends[name][0])), key=lambda name: ends[name][0])
    places = np.array([(ends[name][0] - low) / (high - low) for name in names])
    steps = gap * np.arange(len(names))
    # The least that places can be raised to keep the gap, then lowered until the highest is on the axis again.
    places = np.maximum.accumulate(places - steps) + steps
    places = np.minimum(places, 1 - steps[::-1])
    for name, place in zip(names, places, strict=True):
        height, colour = ends[name]
        arrow = {"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 1, "shrinkB": 1, "relpos": (0, 0.5)}
        how: dict[str, Any] = {"textcoords": "axes fraction", "va": "center", "fontsize": 7, "color": colour}
        ax.annotate(name, (ax.get_xlim()[1], height), (1.13, place), arrowprops=arrow, **how)


def agent_colour(agent: str) -> str:
    """Returns an agent's colour; all agents of another origin share one, and a marker and a line.

    A row of an agent's own, such as "lwf, told", has the agent's.
    """
    return AGENT_COLOURS.get(agent.partition(",")[0], "#882255")


def agent_marker(agent: str) -> str:
    """Returns the marker of an agent's points, where markers do not tell domains apart."""
    return AGENT_MARKERS.get(agent.partition(",")[0], "p")


def agent_line(agent: str) -> Any:
    """Returns the dashes of an agent's line."""
    return AGENT_LINES.get(agent.partition(",")[0], (0, (1, 2.5)))
