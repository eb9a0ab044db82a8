"""Every option of the project: its default, its range and its meaning. No default stands anywhere else.

A notebook's `parameters` cell, a file in params/ and the command line all name these options, and all
are checked here, before anything is computed. Importing this module does not import torch.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from cldf_core.variants import SWITCHES, Real, Switches, variant_defaults


class UserError(ValueError):
    """A mistake that its maker can mend: one clear sentence, shown without a traceback."""

    def _render_traceback_(self) -> list[str]:  # the hook by which IPython shows an exception
        return [f"{type(self).__name__}: {self}"]


class OptionError(UserError):
    """An option that does not exist, or a value that it does not allow."""


Names = Annotated[list[str], Field(min_length=1)]
Network = Literal["slim", "resnet18", "resnet34", "resnet50"]


class Options(Switches):
    """All options of a run. Agents read their own (see AGENTS), everyone reads the others.

    The switches between the variants "paper" and "seed", with both defaults, are in variants.py.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    agent: str = Field("sequential", description="who learns: a baseline or a continual-learning agent")
    variant: Literal["paper", "seed"] = Field("paper", description="whose defaults: the papers' or the seed's code's")

    # data
    data: str = Field("mini", min_length=1, description="mini, mini-smoke, a data set of `cldf data`, or a folder")
    stream: Names = Field(
        ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"],
        description="the training domains, in their order",
    )
    unseen: list[str] = Field(["mini-NeuralTextures"], description="domains that are only tested")
    limit: int | None = Field(None, ge=1, description="training images per class and domain; None takes all")
    chunks: int = Field(1, ge=1, le=1000, description="parts that a domain is cut into, seen one after another")
    splits: list[Literal["validation", "test"]] = Field(
        ["validation", "test"], min_length=1, description="the splits that are scored after every step"
    )
    untested: list[str] = Field([], description="domains of the stream that are only trained on")
    validation_share: Real = Field(0.0, ge=0, lt=1, description="of the training groups, to be validation images")
    shift: Literal["none", "noise", "blur", "occlusion"] = Field("none", description="what is done to training images")
    shift_factors: list[Real] = Field([0.0], min_length=1, description="how much of it, chunk after chunk")
    test_jpeg: int | None = Field(None, ge=1, le=100, description="JPEG quality that scored images go through")
    test_resize: int | None = Field(None, ge=8, le=8192, description="pixels of the shorter side, there and back")

    # from image to network
    size: int = Field(128, ge=16, le=4096, multiple_of=2, description="pixels a side after the centre crop")
    feature: Literal["spectrum", "image"] = Field("spectrum", description="what the network reads")
    plane: Literal["half", "full"] = Field("half", description="half of the spectrum holds all of it")
    band: Literal["full", "low", "mid", "high"] = Field("full", description="the frequencies that are kept")
    precision: Literal["float16", "float32"] = Field("float16", description="number format of stored spectra")
    network: Network = Field("slim", description="the residual network")
    # From 8: torch 2.14's CPU convolutions break the heap with 2, 4 or 6 channels of full planes.
    width: int = Field(24, ge=8, le=512, description="channels in the slim network's first stage")
    weights: str | None = Field(None, description="imagenet, or a file with a torchvision state dict")

    # training
    optimiser: Literal["adam", "sgd"] = Field("adam", description="the optimiser")
    lr: Real = Field(2e-3, gt=0, le=10, description="learning rate; the highest one of a cycle")
    lr_decay: Real = Field(0.0, ge=0, lt=1, description="share that a constant learning rate loses each epoch")
    momentum: Real = Field(0.9, ge=0, lt=1, description="of SGD")
    weight_decay: Real = Field(1e-4, ge=0, le=1, description="pull of the weights towards zero")
    schedule: Literal["one-cycle", "constant", "restarted"] = Field(
        "one-cycle", description="one-cycle: a new optimiser and cycle each step; constant: one for the whole stream"
    )  # restarted: a new optimiser each step, at a constant rate
    epochs: int = Field(10, ge=1, le=10_000, description="passes over each step's images")
    batch: int = Field(32, ge=1, le=100_000, description="images per update")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of everything random")
    threads: int = Field(2, ge=1, le=1024, description="CPU threads; the last digits of a result depend on it")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the network is trained")
    mixed_precision: bool = Field(False, description="forward passes in bfloat16")

    # agents
    memory: int = Field(400, ge=1, le=10_000_000, description="images that may be remembered")
    memory_epochs: int = Field(16, ge=1, le=65_536, description="GDumb: passes over the memory, a power of two")
    memory_lr: Real = Field(0.05, gt=0, le=10, description="GDumb: highest learning rate on the memory")
    memory_lr_min: Real = Field(0.0005, gt=0, le=10, description="GDumb: lowest learning rate on the memory")
    memory_batch: int = Field(16, ge=1, le=100_000, description="GDumb: images per update on the memory")
    clip: Real = Field(10.0, gt=0, le=1e6, description="GDumb: largest norm of a gradient")
    distillation: Real = Field(1.0, ge=0, le=1000, description="LwF: weight of the distillation loss")
    temperature: Real = Field(2.0, gt=0, le=1000, description="LwF: softening of the outputs")
    replay: int = Field(32, ge=1, le=100_000, description="ER, MIR: remembered images in each update")
    candidates: int = Field(50, ge=1, le=1_000_000, description="MIR: remembered images to choose from")


# The options of each agent alone; `agents.register` adds more agents.
AGENTS: dict[str, tuple[str, ...]] = {
    "separate": (),
    "sequential": (),
    "joint": (),
    "icarl": ("memory",),
    "gdumb": ("memory", "memory_epochs", "memory_lr", "memory_lr_min", "memory_batch", "clip"),
    "lwf": ("distillation", "temperature"),
    "er": ("memory", "replay"),
    "mir": ("memory", "replay", "candidates"),
}
_OWN = {name for own in (AGENTS, SWITCHES) for agent, names in own.items() if agent for name in names}


def relevant(options: Options) -> dict[str, Any]:
    """The options that this run's result depends on: all but the other agents' own."""
    # Of a registered agent, whose run is read where nobody has registered it, what was written down.
    own = (*AGENTS.get(options.agent, options.model_fields_set), *SWITCHES.get(options.agent, ()))
    return {k: v for k, v in options.model_dump().items() if k not in _OWN or k in own}


def checked(values: Mapping[str, Any], names: Iterable[str] | None = None, where: str = "options") -> Options:
    """Options made from values, each checked against its type and range.

    Args:
        values: option names and their values; what is not given keeps its default.
        names: the options that are allowed here; None allows all.
        where: what the values came from, for the message.

    Raises:
        OptionError: says the name, the value and what is allowed.
    """
    allowed_names = list(names) if names is not None else list(Options.model_fields)
    for name in values:
        if name not in allowed_names:
            raise OptionError(
                f"{where}: there is no option {name!r} (its value is {values[name]!r}); "
                + _instead(str(name), allowed_names)
            )
    try:
        options = Options(**{**variant_defaults(values), **values})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise OptionError(f"{where}: {name} is {values[name]!r}; allowed: {allowed(name)}") from None
    _check_together(options, where)
    options.model_fields_set.intersection_update(values)  # so that `for_agent` can tell what was asked for
    return options


def for_agent(options: Options, agent: str) -> Options:
    """The same options for another agent, checked again: some rules concern one agent only.

    Raises:
        OptionError: as `checked`.
    """
    return checked({**options.model_dump(exclude_unset=True), "agent": agent}, where=f"agent {agent}")


def from_text(name: str, text: str) -> Any:
    """The value that a text on the command line stands for, by the option's type; unchecked."""
    import yaml

    field = Options.model_fields.get(name)
    if field is None or (field.annotation is str and text):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if typing.get_origin(field.annotation) is list and not isinstance(value, list):
        return [part.strip() for part in text.split(",")]
    return value


def allowed(name: str) -> str:
    """What an option allows, in words: "a whole number from 1 to 10000"."""
    field = Options.model_fields[name]
    kind, none = field.annotation, False
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        none = True
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    limits = {
        key: getattr(rule, key)
        for rule in field.metadata
        for key in ("ge", "gt", "le", "lt", "multiple_of")
        if hasattr(rule, key)
    }
    if name == "agent":
        text = ", ".join(AGENTS)
    elif typing.get_origin(kind) is Literal:
        text = ", ".join(map(str, typing.get_args(kind)))
    elif typing.get_origin(kind) is list:
        inner = typing.get_args(kind)[0]
        text = "a list of " + (
            " or ".join(typing.get_args(inner))
            if typing.get_origin(inner) is Literal
            else ("names" if inner is str else "numbers from 0 up")
        )
    elif kind is bool:
        text = "true or false"
    elif kind is str:
        text = field.description or "text"
    else:
        text = "an even whole number" if "multiple_of" in limits else "a whole number" if kind is int else "a number"
        text += f" from {limits['ge']}" if "ge" in limits else f" above {limits['gt']}" if "gt" in limits else ""
        text += f" to {limits['le']}" if "le" in limits else f" and below {limits['lt']}" if "lt" in limits else ""
    return text + (", or nothing (null)" if none else "")


def _check_together(options: Options, where: str) -> None:
    """Rules that concern two options or the shape of one."""
    o = options
    both = ", ".join(sorted(set(o.stream) & set(o.unseen)))
    extra = sorted(set(o.untested) - set(o.stream))
    icarl = o.agent == "icarl"
    lists = {name: getattr(o, name) for name in ("stream", "unseen", "splits")}
    problems = (
        o.agent not in AGENTS and f"agent is {o.agent!r}; allowed: {allowed('agent')}",
        *(f"{k} is {v!r}; allowed: each name once" for k, v in lists.items() if len(set(v)) < len(v)),
        both and f"unseen is {o.unseen!r}; allowed: domains that are not in stream (found in both: {both})",
        extra and f"untested is {o.untested!r}; allowed: domains of the stream, which {extra[0]!r} is not",
        any(not 0 <= f < float("inf") for f in o.shift_factors)
        and f"shift_factors is {o.shift_factors!r}; allowed: {allowed('shift_factors')}",
        icarl
        and o.heads == "shared"
        and o.distil
        and "distil is True; allowed with shared heads: False, since the old network's outputs would leave none for "
        "the labels",
        icarl
        and o.exemplars == "reservoir"
        and o.rehearsal == "all"
        and "rehearsal is 'all'; allowed with exemplars from a reservoir: batch",
        o.memory_schedule == "warm-restarts"
        and o.memory_epochs & (o.memory_epochs - 1)
        and f"memory_epochs is {o.memory_epochs}; allowed: a power of two (whole cycles of warm restarts)",
        o.network == "slim"
        and o.weights
        and f"weights is {o.weights!r}; allowed for the slim network: nothing (null), there are none for it",
        icarl
        and o.memory < 2 * len(o.stream)
        and f"memory is {o.memory}; allowed for iCaRL: at least one image for each class, {2 * len(o.stream)} for a "
        f"stream of {len(o.stream)} domains",
        o.memory_lr_min > o.memory_lr
        and f"memory_lr_min is {o.memory_lr_min}; allowed: at most memory_lr, which is {o.memory_lr}",
        # torch 2.14 on a CPU: gradients of 16-bit convolutions over maps of one column are arbitrary.
        o.mixed_precision
        and o.size < 64
        and f"mixed_precision is True; allowed for size {o.size}: False, it needs a size of at least 64",
    )
    for problem in filter(None, problems):
        raise OptionError(f"{where}: {problem}")


def _instead(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}Allowed: {', '.join(names)}"
