"""Draws docs/rooms.svg: the rooms of cldf_core, and the way of an image and of an option through them.

    python docs/draw_rooms.py

Rooms, modules and their sizes are read from the code. The two ways are written down here, and a test checks that every
function on them exists. Run it again when a module is added, moved or renamed; a test says so.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

PACKAGE = Path(__file__).parents[1] / "cldf_core"
# From the ground up: a room imports only from rooms that stand before it here.
ROOMS = {
    "the method": "what learns; it touches no file",
    "evaluation": "from scores to numbers; arrays and tables in",
    "figures": "tidy table in, figure out",
    "data": "from files to spectra",
    "runs": "one training run and its folder",
    "results": "many runs, read",
    "detection": "a trained network and images",
    "workflow": "what executes notebooks and sweeps",
    "original": "the original code's commands and differences",
    "interact": "what notebooks let one move",
    "cli": "one thin file a command",
}
IMAGE = (
    ("data/intake/add.py", "add", "a folder, an archive, shards or an address become a data set, once"),
    ("data/layouts/read.py", "read_domains", "its images become checked domains: label, split, group"),
    ("data/images.py", "open_image", "a file becomes upright RGB pixels"),
    ("spectrum.py", "InputSpec", "a crop of it becomes a spectrum"),
    ("data/cache.py", "spectra", "the spectra of a domain become one array on disk"),
    ("stream.py", "make_steps", "arrays become steps, chunks and batches"),
    ("agents/base.py", "Agent", "a batch becomes an update, a spectrum a logit"),
    ("protocol.py", "train_and_test", "after every step every test domain is scored"),
    ("runs/run.py", "make_run", "scores and networks become the files of a run"),
    ("results/metric_table.py", "metric_table", "runs become one table of metrics"),
    ("evaluation/bootstrap.py", "matrices", "scores become numbers with intervals"),
    ("figures/performance.py", "matrices", "numbers become a figure"),
)
OPTION = (
    ("cli/__init__.py", "main", "-p NAME=VALUE, a file in params/ …"),
    ("workflow/parameters.py", "from_notebook", "… or a notebook's cell says what somebody wants"),
    ("options.py", "checked", "every value is checked; the rest is the variant's default"),
    ("runs/provenance.py", "run_key", "the agent's options become part of the run's key"),
    ("spectrum.py", "InputSpec", "those of the input say how images are prepared"),
    ("agents/__init__.py", "build_agent", "those of the agent say how it learns"),
    ("runs/folder.py", "RunFolder", "all are written to the run's manifest"),
)
COLOURS = {"image": "#0072B2", "option": "#D55E00"}


def room_of(module: str) -> str:
    """The room of a module, given by its path in the package."""
    first = module.split("/")[0]
    return first if first in ROOMS else "the method"


def modules() -> dict[str, list[str]]:
    """The modules of each room, each as its path in the room without the suffix."""
    found: dict[str, list[str]] = {room: [] for room in ROOMS}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if path.name != "__init__.py":
            found[room_of(name)].append(name.removeprefix(f"{room_of(name)}/").removesuffix(".py"))
    return found


def draw() -> Figure:
    """The picture."""
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    mpl.rcParams["svg.hashsalt"] = "rooms"
    figure, ax = plt.subplots(figsize=(10, 16))
    places: dict[str, float] = {}
    y = 0.0
    for room, names in modules().items():
        text = textwrap.wrap(", ".join(names), 96)
        height = 0.55 + 0.3 * max(len(text), 2 if room == "the method" else 1)
        ax.add_patch(FancyBboxPatch((1.1, y), 7.8, height, boxstyle="round,pad=0.05", fc="0.96", ec="0.6"))
        ax.text(1.2, y + height - 0.12, room, fontweight="bold", fontsize=11, va="top")
        ax.text(8.8, y + height - 0.12, ROOMS[room], fontsize=8, va="top", ha="right")
        ax.text(1.2, y + height - 0.48, "\n".join(text), fontsize=8.5, va="top", linespacing=1.4, color="0.25")
        places[room] = y + height / 2
        y += height + 0.3
    for kind, way, x in (("image", IMAGE, 0.5), ("option", OPTION, 9.5)):
        steps: dict[str, list[str]] = {}
        for number, (module, _, _) in enumerate(way, start=1):
            steps.setdefault(room_of(module), []).append(str(number))
        ax.text(x, y + 0.1, f"the way of\nan {kind}", color=COLOURS[kind], ha="center", fontsize=9.5, fontweight="bold")
        ax.plot([x, x], [min(places[r] for r in steps), max(places[r] for r in steps)], color=COLOURS[kind], lw=1.2)
        for room, numbers in steps.items():
            style = {"boxstyle": "round,pad=0.3", "fc": "white", "ec": COLOURS[kind]}
            ax.text(x, places[room], " ".join(numbers), ha="center", va="center", fontsize=9, bbox=style)
    y_legend = -0.5
    for kind, way in (("image", IMAGE), ("option", OPTION)):
        for number, (module, name, words) in enumerate(way, start=1):
            style = {"fontsize": 8.5, "va": "top", "color": COLOURS[kind]}
            ax.text(0.5, y_legend, str(number), ha="center", **style)
            ax.text(1.1, y_legend, f"{module.removesuffix('.py').replace('/__init__', '')}: {name}", **style)
            ax.text(4.3, y_legend, words, **style)
            y_legend -= 0.3
        y_legend -= 0.2
    arrow = {"arrowstyle": "->", "color": "0.5"}
    ax.annotate("imports", (9.15, 0.2), (9.15, y - 0.2), fontsize=8, ha="center", arrowprops=arrow)
    ax.set_xlim(-0.1, 10.2)
    ax.set_ylim(y_legend, y + 0.7)
    ax.set_axis_off()
    return figure


if __name__ == "__main__":
    target = Path(__file__).with_name("rooms.svg")
    draw().savefig(target, bbox_inches="tight", metadata={"Date": None})
    print(target)
