"""The parameters of the notebooks: which options each has, and the checked options made from them; no torch."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from typing import Any

from cldf_core.options import AGENTS, Options, checked
from cldf_core.variants import SWITCHES

# For the command line alone.
_COMMAND = ("agent", "untested", "validation_share", "shift", "shift_factors", "test_jpeg", "test_resize")
_SWITCHES = {name for names in SWITCHES.values() for name in names}
_ANY = tuple(name for name in Options.model_fields if any(name in names for names in AGENTS.values()))
_RUN = tuple(name for name in Options.model_fields if name not in {*_COMMAND, *_SWITCHES, *_ANY})
_IMAGES = ("data", "stream", "unseen", "limit", "size", "seed")
_TRAINING = ("network", "width", "lr", "epochs", "batch", "seed", "threads")
_SPECTRA = (*_IMAGES, "band", "precision", "threads")

# The options of each notebook: exactly the assignments of its `parameters` cell, in this order.
NOTEBOOKS: dict[str, tuple[str, ...]] = {
    "00_start_here": (*_SPECTRA, "network", "width", "lr", "epochs", "batch"),
    "01_data_exploration": _IMAGES,
    "02_spectral_analysis": _IMAGES,
    "03_without_continual_learning": _RUN,
    "04_icarl": (*_RUN, *AGENTS["icarl"]),
    "05_gdumb": (*_RUN, *AGENTS["gdumb"]),
    "06_lwf": (*_RUN, *AGENTS["lwf"]),
    "07_er_and_mir": (*_RUN, *AGENTS["mir"]),
    "08_cross_data_set_evaluation": (*_RUN, *_ANY),
    "09_robustness": (*_RUN, *_ANY),
    "10_bands_and_explanations": (*_RUN, *_ANY),
    # It goes through the switches itself, so it takes neither them nor the variant.
    "11_seed_versus_paper": tuple(name for name in (*_RUN, *_ANY) if name != "variant"),
    "12_your_own_data_your_own_agent": (*_IMAGES[:-1], *_TRAINING, "memory", "replay"),
    "13_detector": (*_RUN, *AGENTS["mir"]),
}


def from_notebook(notebook: str, namespace: Mapping[str, Any]) -> Options:
    """The checked options of a notebook, read from the names its `parameters` cell assigned.

    With variant "seed", whatever the cell leaves at the papers' default takes the seed's. Also finds misspelt
    names: those that the cells just before this call assigned and no option has.

    Args:
        notebook: its name, for example "04_icarl".
        namespace: the notebook's globals().

    Raises:
        OptionError: as `checked`.
    """
    names = (*NOTEBOOKS[notebook], *switches(notebook))
    assigned = _assigned_before(namespace.get("In", []))
    values = {name: namespace[name] for name in (*names, *sorted(assigned)) if name in namespace}
    options = checked(values, names, where=notebook)
    if options.variant == "paper":
        return options
    # The cell writes out the papers' defaults; those that nobody changed, or said again after it, are the seed's.
    listed, defaults = NOTEBOOKS[notebook], checked({})
    unsaid = {n for n in listed if values.get(n) == getattr(defaults, n) and assigned[n] < 2}
    return checked({n: v for n, v in values.items() if n not in unsaid}, where=notebook)


def asked_for(notebook: str, options: Options) -> dict[str, Any]:
    """The notebook's options that somebody has set: what papermill needs to be told."""
    names, defaults = (*NOTEBOOKS[notebook], *switches(notebook)), checked({})
    values = {name: getattr(options, name) for name in names if name in options.model_fields_set}
    return {n: v for n, v in values.items() if options.variant == "seed" or v != getattr(defaults, n)}


def switches(notebook: str) -> tuple[str, ...]:
    """The options that a notebook takes though its `parameters` cell does not list them."""
    if "variant" not in NOTEBOOKS[notebook]:
        return ()
    own = [a for a in AGENTS if a in notebook.split("_")] or list(AGENTS)
    names = [name for agent in ("", *own) for name in SWITCHES.get(agent, ())]
    return tuple(dict.fromkeys(names))


def _assigned_before(history: list[str]) -> Counter[str]:
    """How often a name was assigned in the run of pure-assignment cells just before the cell that is running.

    These are the parameters cell and the one that papermill injects after it. Names from later
    cells of an explored notebook do not count, so the check can be run again at any time.
    """
    names: Counter[str] = Counter()
    for source in reversed(history[:-1]):
        try:
            body = ast.parse(source).body
        except SyntaxError:
            break
        targets = [t for node in body for t in _targets(node)]
        if not targets or not all(isinstance(node, (ast.Assign, ast.AnnAssign)) for node in body):
            break
        names.update(targets)
    return names


def _targets(node: ast.stmt) -> list[str]:
    nodes = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in nodes if isinstance(target, ast.Name)]
