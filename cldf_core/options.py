"""Every option of the project: its default, its range and its meaning. No default stands anywhere else.

`Options` holds what every run has, a small model for each agent adds that agent's own options, and AGENTS joins them by
the agent's name: the fields of AGENTS["er"] are exactly what a run of ER depends on. A notebook's `parameters` cell, a
file in params/ and the command line name these options, and `checked` checks all of them before anything is computed.
The variant "paper" takes the fields' defaults, "original" those of `original_options`; each difference is an option of
its own. The papers are named where an option is used. Importing this module does not import torch.
"""

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cldf_core.original_options import ORIGINAL


class UserError(ValueError):
    """A mistake that its maker can mend: one clear sentence, shown without a traceback."""

    def _render_traceback_(self) -> list[str]:  # the hook by which IPython shows an exception
        return [f"{type(self).__name__}: {self}"]


class OptionError(UserError):
    """An option that does not exist, or a value that it does not allow."""


Offers = Literal["first-epoch", "every-epoch"]
GDumbGroups = Literal["domain-and-class", "class", "none"]
VirtualStep = Literal["sgd", "preconditioned", "optimiser"]
Splits = Annotated[list[Literal["validation", "test"]], Field(min_length=1)]
_MINI = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]


class Options(BaseModel):
    """The options that every run has."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    agent: str = Field("sequential", description="who learns: a baseline or a continual-learning agent")
    variant: Literal["paper", "original"] = Field("paper", description="whose defaults: the papers' or the original's")

    # data
    data: str = Field("mini", min_length=1, description="mini, mini-smoke, a data set of `cldf data`, or a folder")
    stream: list[str] = Field(_MINI, min_length=1, description="the training domains, in their order")
    unseen: list[str] = Field(["mini-NeuralTextures"], description="domains that are only tested")
    files: Literal["all", "original"] = Field("all", description="all images, or those that the original code reads")
    limit: int | None = Field(None, ge=1, description="training images per class and domain; None takes all")
    limits: dict[str, Annotated[int, Field(ge=1)]] = Field({}, description="`limit` of single domains")
    limit_new: int | None = Field(None, ge=1, description="`limit` of every domain but the stream's first")
    limited: Literal["equal-updates", "equal-epochs"] = Field("equal-updates", description="of steps with fewer images")
    chunks: int = Field(1, ge=1, le=1000, description="parts that a domain is cut into, seen one after another")
    splits: Splits = Field(["validation", "test"], description="the splits that are scored after every step")
    untested: list[str] = Field([], description="domains of the stream that are only trained on")
    validation_share: float = Field(0.0, ge=0, lt=1, description="share of the training groups used for validation")
    corruption: Literal["none", "noise", "blur", "occlusion"] = Field("none", description="changes training images")
    severities: list[float] = Field([0.0], min_length=1, description="of the corruption, chunk after chunk")
    blur: Literal["image", "chunk"] = Field("image", description="as a corruption: of an image, or across a chunk's")
    occlusion: Literal["image", "chunk"] = Field("image", description="its place: of each image, or one for a chunk")
    test_jpeg: int | None = Field(None, ge=1, le=100, description="JPEG quality that scored images go through")
    test_resize: int | None = Field(None, ge=8, le=8192, description="pixels of the shorter side, there and back")
    drop_last: bool = Field(False, description="leaves a last, incomplete batch out")
    order: Literal["shuffled", "fixed"] = Field("shuffled", description="of a step's images: drawn each epoch, or once")

    # from image to network
    size: int = Field(128, ge=16, le=4096, multiple_of=2, description="pixels a side after the centre crop")
    crop: Literal["centre", "top-left"] = Field("centre", description="which part of a larger image is kept")
    feature: Literal["spectrum", "image"] = Field("spectrum", description="what the network reads")
    plane: Literal["half", "full"] = Field("half", description="half of the spectrum holds all of it")
    band: Literal["full", "low", "mid", "high"] = Field("full", description="the frequencies that are kept")
    precision: Literal["float16", "float32"] = Field("float16", description="number format of stored spectra")
    channels: Literal["RGB", "BGR"] = Field("RGB", description="the order that the first weights were made for")
    network: Literal["slim", "resnet18", "resnet34", "resnet50"] = Field("slim", description="the residual network")
    # From 8: torch 2.14's CPU convolutions break the heap with 2, 4 or 6 channels of full planes.
    width: int = Field(24, ge=8, le=512, description="channels in the slim network's first stage")
    weights: str | None = Field(None, description="imagenet, or a file with a torchvision state dict")
    start: str | None = Field(None, description="a .pth file of two outputs, as the original's, to go on from")

    # training
    optimiser: Literal["adam", "sgd"] = Field("adam", description="the optimiser")
    lr: float = Field(1e-3, gt=0, le=10, description="learning rate; the highest one of a cycle")
    lr_decay: float = Field(0.0, ge=0, lt=1, description="share that a constant learning rate loses each epoch")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    dampening: float = Field(0.0, ge=0, le=1, description="of SGD's momentum")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="pull of the weights towards zero")
    schedule: Literal["one-cycle", "constant", "restarted"] = Field(
        "one-cycle", description="one-cycle: a new optimiser and cycle each step; constant: one for the whole stream"
    )  # restarted: a new optimiser each step, at a constant rate
    epochs: int = Field(10, ge=1, le=10_000, description="passes over each step's images")
    batch: int = Field(32, ge=1, le=100_000, description="images per update")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of everything random")
    threads: int = Field(1, ge=1, le=1024, description="CPU threads; the last digits of a result depend on it")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the network is trained")
    mixed_precision: bool = Field(False, description="forward passes in bfloat16")

    def problems(self) -> Iterator[str]:
        """A sentence for each rule about several options, or the shape of one, that is broken."""
        for name in ("stream", "unseen", "splits")[self.variant == "original" :]:  # there a domain may come again
            if len(set(values := getattr(self, name))) < len(values):
                yield f"{name} is {values!r}; allowed: each name once"
        if both := ", ".join(sorted(set(self.stream) & set(self.unseen))):
            yield f"unseen is {self.unseen!r}; allowed: domains that are not in stream (found in both: {both})"
        for name in ("untested", "limits"):
            if extra := sorted(set(values := getattr(self, name)) - set(self.stream)):
                yield f"{name} is {values!r}; allowed: domains of the stream, which {extra[0]!r} is not"
        if any(not 0 <= severity < float("inf") for severity in self.severities):
            yield f"severities is {self.severities!r}; allowed: {allowed('severities')}"
        if self.network == "slim" and self.weights:
            yield f"weights is {self.weights!r}; allowed for the slim network: nothing (null), there are none for it"
        # torch 2.14 on a CPU: over maps of one column, gradients of 16-bit convolutions are arbitrary; over those of
        # three, which a size of 64 has, processors with matrix instructions (AMX) give other numbers each time.
        if self.mixed_precision and self.size < 80:
            yield f"mixed_precision is True; allowed for size {self.size}: False, it needs a size of at least 80"


def _room_for_each_class(agent: str, memory: int, stream: list[str]) -> Iterator[str]:
    if memory < (least := 2 * len(stream)):
        classes = f"one image for each class, {least} for a stream of {len(stream)} domains"
        yield f"memory is {memory}; allowed for {agent}: at least {classes}"


class ReservoirOptions(Options):
    """Of agents that keep a random sample of what they have seen."""

    memory: int = Field(400, ge=1, le=10_000_000, description="images that may be remembered")
    offers: Offers = Field("first-epoch", description="when the reservoir sees an image")
    reservoir_count: Literal["image", "batch"] = Field("image", description="how the reservoir's n_seen goes up")


class ICaRLOptions(ReservoirOptions):
    """iCaRL's; the reservoir is the original's way."""

    icarl_heads: Literal["grown", "shared"] = Field("grown", description="iCaRL: two outputs a domain, or two for all")
    distil: bool = Field(True, description="iCaRL: the old network's outputs are targets")
    rehearsal: Literal["all", "batch", "none"] = Field("all", description="iCaRL: exemplars that are trained on")
    exemplars: Literal["herding", "random", "reservoir"] = Field("herding", description="iCaRL: how they are chosen")
    verdict: Literal["nearest-mean", "linear"] = Field("nearest-mean", description="iCaRL: what gives the verdict")

    def problems(self) -> Iterator[str]:
        """Adds iCaRL's own rules."""
        yield from super().problems()
        if self.icarl_heads == "shared" and self.distil:
            yield "distil is True; allowed with shared heads: False, since the old network's outputs leave labels none"
        if self.exemplars == "reservoir" and self.rehearsal == "all":
            yield "rehearsal is 'all'; allowed with exemplars from a reservoir: batch, none"
        if self.exemplars != "reservoir":
            yield from _room_for_each_class("iCaRL", self.memory, self.stream)


class GDumbOptions(Options):
    """GDumb's."""

    memory: int = Field(400, ge=1, le=10_000_000, description="images that may be remembered")
    gdumb_groups: GDumbGroups = Field("domain-and-class", description="GDumb: balances what; none: a random sample")
    refit: Literal["fresh", "continued"] = Field("fresh", description="GDumb: the network that the memory trains")
    refit_after: Literal["domain", "chunk"] = Field("domain", description="GDumb: when it is trained")
    memory_epochs: int = Field(16, ge=1, le=65_536, description="GDumb: passes over the memory, a power of two")
    memory_schedule: Literal["warm-restarts", "constant"] = Field("warm-restarts", description="GDumb: rate over time")
    memory_optimiser: Literal["sgd", "adam"] = Field("sgd", description="GDumb: the optimiser on the memory")
    memory_lr: float = Field(0.05, gt=0, le=10, description="GDumb: highest learning rate on the memory")
    memory_lr_min: float = Field(0.0005, gt=0, le=10, description="GDumb: lowest learning rate on the memory")
    memory_batch: int = Field(16, ge=1, le=100_000, description="GDumb: images per update on the memory")
    memory_momentum: float = Field(0.9, ge=0, lt=1, description="GDumb: of SGD on the memory")
    memory_weight_decay: float = Field(1e-6, ge=0, le=1, description="GDumb: of SGD on the memory")
    clip: float = Field(10.0, gt=0, le=1e6, description="GDumb: largest norm of a gradient")

    def problems(self) -> Iterator[str]:
        """Adds GDumb's own rules."""
        yield from super().problems()
        if self.gdumb_groups == "domain-and-class":
            yield from _room_for_each_class("GDumb", self.memory, self.stream)
        if self.memory_schedule == "warm-restarts" and self.memory_epochs & (self.memory_epochs - 1):
            yield f"memory_epochs is {self.memory_epochs}; allowed: a power of two (whole cycles of warm restarts)"
        if self.memory_schedule == "warm-restarts" and self.memory_lr_min > self.memory_lr:
            yield f"memory_lr_min is {self.memory_lr_min}; allowed: at most memory_lr, which is {self.memory_lr}"


class LwFOptions(Options):
    """LwF's."""

    distillation: float = Field(1.0, ge=0, le=1000, description="LwF: weight of the distillation loss")
    temperature: float = Field(2.0, gt=0, le=1000, description="LwF: softening of the outputs")
    kd_weight: Literal["constant", "chunks"] = Field("constant", description="LwF: or n/(n+1) after n chunks")
    teacher_after: Literal["domain", "chunk"] = Field("domain", description="LwF: when the teacher is replaced")
    teacher_mode: Literal["eval", "train"] = Field("eval", description="LwF: train moves the teacher's statistics")
    lwf_heads: Literal["shared", "told"] = Field("shared", description="LwF: told: one a domain, which tests name")


_REPLAY = "ER, MIR, DER++: remembered images in each update (DER++: in each of its two draws)"
Passes = Literal["joined", "averaged", "separate"]
_PASSES = "one mean loss, of one pass (ER's default) or of two (MIR's), or two losses added up"
Origin = Literal["earlier-domains", "all"]
_ORIGIN = "replays images of all domains so far (ER's default), or not the current one's (MIR's)"


class EROptions(ReservoirOptions):
    """Experience replay's."""

    replay: int = Field(32, ge=1, le=100_000, description=_REPLAY)
    replay_updates: int = Field(1, ge=1, le=1000, description="ER, MIR: updates with each batch, each with a new draw")
    replay_passes: Passes = Field("joined", description=f"ER, MIR: {_PASSES}")
    replay_from: Origin = Field("all", description=f"ER, MIR: {_ORIGIN}")


class MIROptions(EROptions):
    """MIR's. In two passes, the incoming batch's own gradient serves the virtual step and the update."""

    replay_passes: Passes = Field("averaged", description=f"ER, MIR: {_PASSES}")
    replay_from: Origin = Field("earlier-domains", description=f"ER, MIR: {_ORIGIN}")
    candidates: int | None = Field(None, ge=1, le=1_000_000, description="MIR: images to choose from; None: 5 replay")
    virtual_step: VirtualStep | None = Field(None, description="MIR: None: preconditioned with Adam, sgd with SGD")
    virtual_lr: float | None = Field(None, gt=0, le=10, description="MIR: of the virtual step; None: the optimiser's")
    mir_statistics: Literal["frozen", "moving"] = Field("frozen", description="MIR: BatchNorm's, scoring candidates")

    def problems(self) -> Iterator[str]:
        """Adds MIR's own rules."""
        yield from super().problems()
        if self.virtual_step == "preconditioned" and self.optimiser == "sgd":
            yield "virtual_step is 'preconditioned'; allowed with SGD: sgd, optimiser (second moments are Adam's)"
        if self.virtual_step == "optimiser" and self.virtual_lr:
            yield f"virtual_lr is {self.virtual_lr}; allowed with virtual_step optimiser: nothing (null)"


class DERPPOptions(ReservoirOptions):
    """DER++'s."""

    offers: Offers = Field("every-epoch", description="when the reservoir sees an image")
    replay: int = Field(32, ge=1, le=100_000, description=_REPLAY)
    derpp_alpha: float = Field(0.2, ge=0, le=1000, description="DER++: weight of the distance to stored logits")
    derpp_beta: float = Field(0.5, ge=0, le=1000, description="DER++: weight of the loss on remembered labels")


class EWCOptions(Options):
    """Online EWC's."""

    ewc_lambda: float = Field(100.0, ge=0, le=1e9, description="EWC: weight of the penalty")
    ewc_gamma: float = Field(0.9, ge=0, le=1, description="EWC: what is kept of earlier domains' Fisher information")


# The options of each agent; `agents.register` adds more.
AGENTS: dict[str, type[Options]] = {
    **dict.fromkeys(("separate", "sequential", "joint"), Options),
    **{"icarl": ICaRLOptions, "gdumb": GDumbOptions, "lwf": LwFOptions, "er": EROptions, "mir": MIROptions},
    **{"derpp": DERPPOptions, "ewc": EWCOptions},
}
_NAMES = {"icarl": "iCaRL", "gdumb": "GDumb", "lwf": "LwF", "er": "ER", "mir": "MIR", "derpp": "DER++", "ewc": "EWC"}
FIELDS = {name: field for kind in AGENTS.values() for name, field in kind.model_fields.items()}

# Earlier versions' names; whoever uses one is told today's.
RENAMED = {
    **{"statistics": "mir_statistics", "counted": "reservoir_count", "groups": "gdumb_groups"},
    **{"heads": "icarl_heads", "passes": "replay_passes", "shift": "corruption", "shift_factors": "severities"},
}
_LIMITS = {"ge": " from {}", "gt": " above {}", "le": " to {}", "lt": " and below {}", "multiple_of": ""}


def checked(values: Mapping[str, Any], names: Iterable[str] | None = None, where: str = "options") -> Options:
    """The options of the agent that the values name, each checked against its type and range.

    Args:
        values: option names and their values; what is not given keeps the variant's default. Options that only other
            agents have are checked and left out.
        names: the options that are allowed here; None allows all.
        where: what the values came from, for the message.

    Raises:
        OptionError: says the name, the value and what is allowed.
    """
    check_values(values, names, where)
    return options_of(values, where)


def check_values(values: Mapping[str, Any], names: Iterable[str] | None = None, where: str = "options") -> None:
    """Checks each value by itself, whichever agent its option belongs to; arguments and error as for `checked`."""
    names = list(FIELDS if names is None else names)
    for name in values:
        if name not in names:
            raise OptionError(f"{where}: {_unknown(name, values[name], names)}")
    if values.get("variant") == "seed":
        raise OptionError(f"{where}: variant is 'seed', which is called 'original' now: -p variant=original")
    agent = values.get("agent", "sequential")
    if not isinstance(agent, str) or agent not in AGENTS:
        raise OptionError(f"{where}: agent is {agent!r}; allowed: {allowed('agent')}")
    try:
        for kind in dict.fromkeys(AGENTS.values()):
            kind(**{name: value for name, value in values.items() if name in kind.model_fields})
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise OptionError(f"{where}: {name} is {shown(values[name])}; allowed: {allowed(name)}") from None


def options_of(values: Mapping[str, Any], where: str = "options") -> Options:
    """The options of the agent that the values name, each of which was checked; an OptionError if they do not agree."""
    agent = values.get("agent", "sequential")
    kind, defaults = AGENTS[agent], ORIGINAL.get(agent, {}) if values.get("variant") == "original" else {}
    if values.get("variant") == "original" and agent in _NAMES and agent not in ORIGINAL:
        raise OptionError(f"{where}: variant is 'original'; allowed for {_NAMES[agent]}: paper, the original has none")
    options = kind(**{**defaults, **{name: value for name, value in values.items() if name in kind.model_fields}})
    for problem in options.problems():
        raise OptionError(f"{where}: {problem}")
    return options


def allowed(name: str) -> str:
    """What an option allows, in words: "a whole number from 1 to 10000"."""
    if name == "agent":
        return ", ".join(AGENTS)
    kind, none = FIELDS[name].annotation, ""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind, none = next(part for part in typing.get_args(kind) if part is not type(None)), ", or nothing (null)"
    rules = {key: getattr(rule, key) for rule in FIELDS[name].metadata for key in _LIMITS if hasattr(rule, key)}
    if typing.get_origin(kind) is Literal:
        text = ", ".join(map(str, typing.get_args(kind)))
    elif typing.get_origin(kind) is list:
        inner = typing.get_args(kind)[0]
        choices = " or ".join(typing.get_args(inner)) if typing.get_origin(inner) is Literal else ""
        text = "a list of " + (choices or ("names" if inner is str else "numbers from 0 up"))
    elif typing.get_origin(kind) is dict:
        text = "domains of the stream and whole numbers from 1, as {GAN-S: 100, VFHQ: 5}"
    elif kind in (bool, str):
        text = "true or false" if kind is bool else FIELDS[name].description or "text"
    else:
        text = "an even whole number" if "multiple_of" in rules else "a whole number" if kind is int else "a number"
        text += "".join(words.format(rules[key]) for key, words in _LIMITS.items() if key in rules and words)
    return text + none


def shown(value: Any, most: int = 200) -> str:
    """A value as a sentence quotes it: the beginning of a long one."""
    return text if len(text := repr(value)) <= most else f"{text[:most]}… ({len(text)} characters)"


def _unknown(name: Any, value: Any, names: list[str]) -> str:
    if name in RENAMED:
        return f"there is no option {name!r} any more; it is called {RENAMED[name]!r} now"
    message = f"there is no option {shown(name)} (its value is {shown(value)})"
    if name in FIELDS:  # of another agent, or the command line's
        owners = [_NAMES.get(agent, agent) for agent, kind in AGENTS.items() if name in kind.model_fields]
        whose = "every run's" if name in Options.model_fields else f"{' and '.join(owners)}'s"
        return f"{message} here, it is {whose}; allowed: {', '.join(names)}"
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    return f"{message}; {f'did you mean {close[0]!r}? Allowed' if close else 'allowed'}: {', '.join(names)}"
