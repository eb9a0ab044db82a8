"""The parameters of notebooks: the options that each has, and the values that somebody has set; imports no torch.

Options that nobody has set to anything but a cell's default have the values that `cldf choose` has chosen, if any.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cldf_core.data.runtime import project_file, project_files, project_root
from cldf_core.data.settings import read_settings
from cldf_core.options import AGENTS, FIELDS, OptionError, Options, UserError, check_values, checked
from cldf_core.original_options import ORIGINAL
from cldf_core.reading import check_tried, from_text, from_written
from cldf_core.workflow.machine import check_machine

if TYPE_CHECKING:
    from cldf_core.runs.folder import RunFolder

# Only the command line has these.
_COMMAND = (
    *("agent", "untested", "validation_share", "files", "start", "test_jpeg", "test_resize"),
    *("corruption", "severities", "blur", "occlusion"),
)
# What a cell shows: what the notebook is about.
_IMAGES = ("data", "stream", "unseen", "limit", "size", "seed")
_RUN = ("variant", "data", "stream", "unseen", "width", "epochs", "seed")
_ANY = (*_RUN, "memory", "memory_epochs", "replay")
_ORIGINAL = ("data", "splits", "limit", "chunks", "size", "width", "epochs", "batch", "memory", "replay")
_OWN_AGENT = ("data", "stream", "unseen", "width", "epochs", "batch", "seed", "memory", "replay")

# The options in each notebook's `parameters` cell: exactly its assignments, in this order, and ten at most. All others
# that the notebook takes can be set by name.
NOTEBOOKS: dict[str, tuple[str, ...]] = {
    "00_start_here": ("data", "stream", "unseen", "limit", "width", "epochs", "seed"),
    "01_data_exploration": _IMAGES,
    "02_spectral_analysis": _IMAGES,
    "03_without_continual_learning": (*_RUN, "feature", "batch"),
    "04_icarl": (*_RUN, "memory"),
    "05_gdumb": (*_RUN, "memory", "memory_epochs", "memory_lr"),
    "06_lwf": (*_RUN, "distillation", "temperature", "ewc_lambda"),
    "07_er_and_mir": (*_RUN, "memory", "replay", "derpp_alpha"),
    "08_cross_data_set_evaluation": _ANY,
    "09_robustness": _ANY,
    "10_bands_and_explanations": _ANY,
    "11_original_versus_papers": _ORIGINAL,
    "12_your_own_data_your_own_agent": _OWN_AGENT,
    "13_detector": (*_RUN, "memory", "replay"),
    "14_limited_new_data": _ANY,
    "15_a_new_fake_appears": _ANY,
}
# What notebooks take by name that have no `variant`; those that have one take every option of their agents. 11 goes
# through the differences itself, so it takes neither them nor the variant.
_TRAINING = ("network", "lr", "threads")
_TAKES: dict[str, tuple[str, ...]] = {
    "00_start_here": ("size", "band", "precision", *_TRAINING, "batch"),
    "11_original_versus_papers": (
        *("stream", "unseen", "feature", "plane", "band", "precision", "weights", "optimiser", "momentum", "device"),
        *("weight_decay", "schedule", "mixed_precision", "seed", *_TRAINING, "candidates", "distillation"),
        *("temperature", "memory_epochs", "memory_lr", "memory_lr_min", "memory_batch", "clip"),
    ),
    "12_your_own_data_your_own_agent": ("limit", "size", *_TRAINING),
}
# The agents that a notebook is about, its own one first; notebooks that are not here are about all agents.
_ABOUT = {"04_icarl": ["icarl"], "05_gdumb": ["gdumb"], "06_lwf": ["lwf", "ewc"]}
_ABOUT["07_er_and_mir"] = ["er", "mir", "derpp"]
# Rows of their own in tables and figures: an agent with other options, and the notebooks that make or read its run.
_ROWS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "lwf, told": ("lwf", {"lwf_heads": "told"}, ("06_lwf", "08_cross_data_set_evaluation"))
}
# What a notebook's cell holds otherwise than as the default: the values of params/quick, with which its text is shown.
SMALLER = {"11_original_versus_papers": _ORIGINAL[1:]}
# One has settings of its own, the other a data set of its own; nothing was chosen for either.
_UNTUNED = ("11_original_versus_papers", "12_your_own_data_your_own_agent")
FIRST = 2  # domains of a stream, whose validation photographs its values are chosen on
READING = ("08_cross_data_set_evaluation", "09_robustness")  # these train nothing, so they need no GPU
EXPLORING = ("01_data_exploration", "02_spectral_analysis")  # these look at whatever splits there are
PROFILES = ("quick", "smoke", "original")
PROFILE = "CLDF_PROFILE"  # names the profile whose values a kernel takes where nobody has set others
_CHECKED = "_cldf_parameters_of"  # a name in a notebook's namespace: its parameters were checked before


@dataclass(frozen=True)
class Parameters:
    """The values that somebody has set for a notebook's options; all others keep the variant's default."""

    notebook: str  # its name, for example "04_icarl"
    values: Mapping[str, Any]

    def options(self, agent: str | None = None, **changes: Any) -> Options:
        """The checked options of an agent, by default of the first one that the notebook is about."""
        agent = agent or agents_of(self.notebook)[0]
        values = {**self.values, "agent": agent, **changes}
        return checked({**self.chosen(values), **values}, where=f"{self.notebook}, agent {agent}")

    def chosen(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """What `chosen_values` gives for a run of the notebook with such values."""
        return chosen_values(values, "none" if self.notebook in _UNTUNED else "")

    def choices_in_words(self) -> str:
        """The values that were chosen for the agents and that nobody has set; "" where there are none."""
        chosen = {agent: self.chosen({**self.values, "agent": agent}) for agent in agents_of(self.notebook)}
        parts = [f"{a} {n} {v}" for a, o in chosen.items() for n, v in o.items() if n not in self.values]
        how = "chosen on validation photographs (cldf choose), in place of defaults"
        return f"{how}: {', '.join(parts)}" if parts else ""

    @property
    def runs(self) -> dict[str, Options]:
        """The options of the runs that the notebook is about: one an agent, by its name, and the rows of their own.

        With the variant "original" they are those that the original code has.
        """
        variant = self.values.get("variant", "paper")
        runs = {agent: self.options(agent) for agent in agents_of(self.notebook, variant)}
        for name, (agent, changes, notebooks) in _ROWS.items():
            if self.notebook in notebooks and variant == "paper":
                runs[name] = self.options(agent, **changes)
        return runs

    def changed(self, **changes: Any) -> Parameters:
        """The same parameters with some changed."""
        return replace(self, values={**self.values, **changes})

    @property
    def folder(self) -> RunFolder:
        """Where the notebook keeps its figures, tables and executed copy with these parameters."""
        from cldf_core.runs.folder import RunFolder  # loads pandas, for which the check of parameters need not wait

        key = hashlib.sha256(json.dumps(dict(self.values), sort_keys=True).encode()).hexdigest()[:12]
        return RunFolder(project_root() / "runs" / f"{self.notebook}-{key}")

    def for_papermill(self) -> dict[str, Any]:
        """The values that papermill assigns in the notebook, as `from_notebook` reads them.

        A default is written where the cell holds another value. With the variant "original", one that equals the
        paper's default is written as JSON text: the cell holds that default in any case, so the plain value would count
        as not set.
        """
        if self.values.get("variant", "paper") == "paper":
            return {**{name: FIELDS[name].default for name in SMALLER.get(self.notebook, ())}, **self.values}
        listed = NOTEBOOKS[self.notebook]
        return {n: json.dumps(v) if n in listed and _is_default(n, v) else v for n, v in self.values.items()}


def checked_parameters(notebook: str, values: Mapping[str, Any], where: str = "") -> Parameters:
    """The checked parameters of a notebook; with the papers' variant, without those that equal the default.

    The message of an OptionError says `where` the values come from, by default from the notebook; they have to suit
    every agent that the notebook trains or whose runs it reads.
    """
    where = where or notebook
    checked(values, allowed_names(notebook), where)
    agents = agents_of(notebook, values.get("variant", "paper"))
    every = [checked({**values, "agent": agent}, where=f"{where}, agent {agent}") for agent in agents]
    # As the options hold them: equal values have one form, and one folder.
    values = {n: next(getattr(options, n) for options in every if hasattr(options, n)) for n in values}
    listed = NOTEBOOKS[notebook] if values.get("variant", "paper") == "paper" else ()
    return Parameters(notebook, {n: v for n, v in values.items() if n not in listed or not _is_default(n, v)})


def profile_values(notebook: str, profile: str) -> dict[str, Any]:
    """What a profile's file sets for a notebook, unchecked."""
    if profile == "seed":
        raise UserError("the profile 'seed' is called 'original' now")
    if profile not in PROFILES:
        raise UserError(f"there is no profile {profile!r}; allowed: {', '.join(PROFILES)}")
    path = project_file(f"params/{profile}/{notebook}.yaml")
    return {name: from_written(name, value) for name, value in read_settings(path).items()}


def chosen_values(values: Mapping[str, Any], which: str = "") -> Mapping[str, Any]:
    """What `cldf choose` has chosen for a run with such values, on the first domains of its stream and these data.

    `which` is "hindsight" for the choice that saw the whole stream, and "none" for no choice; the variant "original"
    has none either.
    """
    agent, data, variant, stream = (values.get(n, FIELDS[n].default) for n in ("agent", "data", "variant", "stream"))
    names = ", ".join(stream if which == "hindsight" else stream[:FIRST])
    paths = [path for path in project_files("params/quick", ".yaml") if path.name == "chosen.yaml"]
    if not paths or variant != "paper" or which == "none":
        return {}
    return read_choices(paths[0], paths[0].stat().st_mtime_ns).get((data, names, agent), {})


@functools.lru_cache(maxsize=4)
def read_choices(path: Path, _time: int) -> Mapping[Any, Mapping[str, Any]]:
    """The values in a file that `cldf choose` has written at a time, by data set, names of domains, and agent."""
    levels: dict[tuple[str, ...], Any] = {(): read_settings(path)}
    try:
        for _ in ("data set", "domains", "agent"):
            levels = {(*names, name): part for names, parts in levels.items() for name, part in parts.items()}
        choices = {names: {k: from_written(k, v) for k, v in values.items()} for names, values in levels.items()}
    except AttributeError:
        raise UserError(f"{path} is not as cldf choose writes it; needed: data set: domains: agent: values") from None
    for names, values in choices.items():
        check_values({**values, "agent": names[-1]}, where=str(path))
        check_tried(names[-1], values, where=str(path))
    return choices


def from_notebook(notebook: str, namespace: dict[str, Any]) -> Parameters:
    """The checked parameters of a notebook, read from the names that its `parameters` cell has assigned.

    Names that no option has are mistakes: in a fresh kernel all names with a plain value, since no other cell was
    executed yet; later those that were assigned with a type annotation, as in the cell. With the variant "original",
    a value that is still the paper's default counts as not set. What is not set is as in the profile that the variable
    PROFILE of the environment names, if any.

    The namespace is the notebook's globals(). After a UserError its parameters are removed, so that the cell has to
    be executed again, and what a mended cell no longer assigns is forgotten.
    """
    listed, allowed, annotated = NOTEBOOKS[notebook], allowed_names(notebook), _annotated(namespace)
    fresh = namespace.get(_CHECKED) != notebook
    names = {n for n, v in namespace.items() if n in listed or n in annotated or (_is_plain(v) and n in allowed)}
    if not names:
        raise OptionError(f"{notebook}: no parameter is assigned; run the cell with the parameters first")
    if fresh:
        names |= {n for n, v in namespace.items() if _is_plain(v) and not n.startswith("_") and n not in ("In", "Out")}
    set_names = sorted(n for n in names if n not in listed or not _is_default(n, namespace[n]))
    try:
        values = {name: _read(name, namespace[name]) for name in set_names}
        if profile := os.environ.get(PROFILE):
            values = _in_profile(notebook, profile, values)
        parameters = checked_parameters(notebook, values)
        if notebook not in READING:
            check_machine(parameters.options())
    except UserError:
        for name in names:
            del namespace[name]
        raise
    namespace[_CHECKED] = notebook
    if chosen := parameters.choices_in_words():
        print(chosen)
    return parameters


def _in_profile(notebook: str, profile: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a profile, and those that somebody has set; what the cell holds is none of these."""
    cell = profile_values(notebook, "quick")
    written = {n: v for n, v in values.items() if n not in SMALLER.get(notebook, ()) or v != cell[n]}
    taken = {name: value for name, value in profile_values(notebook, profile).items() if name not in written}
    print(f"{PROFILE} is {profile}: {', '.join(f'{name} {value}' for name, value in taken.items()) or 'the defaults'}")
    return {**taken, **written}


def agents_of(notebook: str, variant: str = "paper") -> list[str]:
    """The agents that a notebook is about; with the variant "original", those of them that the original code has."""
    agents = _ABOUT.get(notebook) or dict.fromkeys(["sequential", *AGENTS])
    return [agent for agent in agents if variant == "paper" or agent in ORIGINAL]


def allowed_names(notebook: str) -> list[str]:
    """The options that a notebook takes: those of its cell and, where it has a variant, all others of its agents."""
    listed = NOTEBOOKS[notebook]
    names = [name for agent in agents_of(notebook) for name in AGENTS[agent].model_fields if name not in _COMMAND]
    return list(dict.fromkeys((*listed, *(names if "variant" in listed else _TAKES.get(notebook, ())))))


def _annotated(namespace: Mapping[str, Any]) -> Mapping[str, Any]:
    """The names that were assigned with a type annotation."""
    annotate = namespace.get("__annotate__")  # from Python 3.14 on annotations are evaluated when asked for
    return namespace.get("__annotations__") or (annotate(1) if annotate else {})


def _is_default(name: str, value: Any) -> bool:
    """Whether a value is what a notebook's cell holds: the paper's default."""
    return name in FIELDS and type(value) is type(FIELDS[name].default) and value == FIELDS[name].default


def _read(name: str, value: Any) -> Any:
    """A value, or what its text stands for, by the option's type or as `for_papermill` has written a default."""
    if not isinstance(value, str) or name not in FIELDS:
        return value
    default = FIELDS[name].default
    return default if value == json.dumps(default) else from_text(name, value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list, tuple, dict))
