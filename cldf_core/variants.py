"""Where the original research code and the papers differ: one named option each, and the seed's defaults.

The variant "paper" takes the defaults of the fields and of PAPER, "seed" those of SEED: what the code of *Towards
generalizable DeepFake detection with continual learning on limited data* (2022) computes, mistakes
included. Every option can also be set by itself, in both. Source: methods.md sections 2 to 4 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field


def _number(value: object) -> object:
    """YAML reads 1e-3 as text; for an option that is a number it is meant as one."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Real = Annotated[float, BeforeValidator(_number)]


class Switches(BaseModel):
    """The options in which the variants differ, with the paper's default."""

    # the stream, and what the network reads
    drop_last: bool = Field(False, description="leaves a last, incomplete batch out")
    order: Literal["shuffled", "fixed"] = Field("shuffled", description="of a step's images: anew each epoch, or once")
    crop: Literal["centre", "top-left"] = Field("centre", description="which part of a larger image is kept")
    channels: Literal["RGB", "BGR"] = Field("RGB", description="the order that the first weights were made for")
    dampening: Real = Field(0.0, ge=0, le=1, description="of SGD's momentum")

    # agents
    heads: Literal["grown", "shared"] = Field("grown", description="iCaRL: two outputs a domain, or two for all")
    distil: bool = Field(True, description="iCaRL: the old network's outputs are targets")
    rehearsal: Literal["all", "batch"] = Field("all", description="iCaRL: all exemplars, or a batch of them each time")
    exemplars: Literal["herding", "reservoir"] = Field("herding", description="iCaRL: how exemplars are chosen")
    verdict: Literal["nearest-mean", "linear"] = Field("nearest-mean", description="iCaRL: what gives the verdict")
    groups: Literal["domain-and-class", "class"] = Field("domain-and-class", description="GDumb: what is balanced")
    refit: Literal["fresh", "continued"] = Field("fresh", description="GDumb: the network that the memory trains")
    refit_after: Literal["domain", "chunk"] = Field("domain", description="GDumb: when it is trained")
    memory_schedule: Literal["warm-restarts", "constant"] = Field("warm-restarts", description="GDumb: rate over time")
    memory_momentum: Real = Field(0.9, ge=0, lt=1, description="GDumb: of SGD on the memory")
    memory_weight_decay: Real = Field(1e-4, ge=0, le=1, description="GDumb: of SGD on the memory")
    kd_weight: Literal["constant", "chunks"] = Field(
        "constant", description="LwF: `distillation`, or n/(n+1) after n chunks"
    )
    teacher_after: Literal["domain", "chunk"] = Field("domain", description="LwF: when the teacher is replaced")
    teacher_mode: Literal["eval", "train"] = Field("eval", description="LwF: train moves the teacher's statistics")
    passes: Literal["joined", "averaged", "separate"] = Field(
        "joined", description="ER, MIR: one mean loss, of one pass or of two (MIR's default), or two losses added up"
    )
    replay_from: Literal["earlier-domains", "all"] = Field("earlier-domains", description="ER, MIR: what is replayed")
    offers: Literal["first-epoch", "every-epoch"] = Field("first-epoch", description="when the reservoir sees an image")
    counted: Literal["image", "batch"] = Field("image", description="the reservoir: how n_seen goes up")
    virtual_lr: Real | None = Field(None, gt=0, le=10, description="MIR: of the virtual step; None is the optimiser's")
    statistics: Literal["frozen", "moving"] = Field(
        "frozen", description="MIR: BatchNorm's while candidates are scored"
    )


_RESERVOIR = ("offers", "counted")

# Which agent reads which; "" stands for all agents. These may be given to a notebook that reads `variant`,
# though its `parameters` cell does not list them.
SWITCHES: dict[str, tuple[str, ...]] = {
    "": ("drop_last", "order", "crop", "channels", "lr_decay", "dampening"),
    "icarl": ("heads", "distil", "rehearsal", "exemplars", "verdict", *_RESERVOIR),
    "gdumb": ("groups", "refit", "refit_after", "memory_schedule", "memory_momentum", "memory_weight_decay"),
    "lwf": ("kd_weight", "teacher_after", "teacher_mode"),
    "er": ("passes", "replay_from", *_RESERVOIR),
    "mir": ("passes", "replay_from", *_RESERVOIR, "virtual_lr", "statistics"),
}

# MIR needs the incoming batch's own gradient for its virtual step. In two passes it is that of the update too.
PAPER: dict[str, dict[str, Any]] = {"mir": {"passes": "averaged"}}

_STREAM = {
    **{"size": 224, "plane": "full", "precision": "float32", "crop": "top-left", "channels": "BGR"},
    **{"network": "resnet34", "splits": ["test"], "epochs": 10, "batch": 10, "memory": 5000},
    **{"optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "dampening": 0.9, "weight_decay": 1e-4},
    **{"memory_schedule": "constant"},
}
_CONTINUAL = {**_STREAM, "schedule": "constant", "chunks": 10, "drop_last": True}
_OFFERED = {"offers": "every-epoch", "counted": "batch"}
_REPLAY = {**_CONTINUAL, **_OFFERED, "replay": 10, "passes": "separate", "replay_from": "all"}
# NoCL and Normal: whole domains, in the order they were loaded in, a new optimiser for each.
_BASELINE = {**_STREAM, "schedule": "restarted", "order": "fixed"}

SEED: dict[str, dict[str, Any]] = {
    "separate": _BASELINE,
    "sequential": _BASELINE,
    "joint": _BASELINE,
    "icarl": {
        **{**_CONTINUAL, **_OFFERED, "heads": "shared", "distil": False},
        **{"rehearsal": "batch", "exemplars": "reservoir", "verdict": "linear"},
    },
    "gdumb": {
        **{**_CONTINUAL, "memory": 3000, "memory_epochs": 10, "memory_lr": 0.1, "memory_batch": 10},
        **{"groups": "class", "refit": "continued", "refit_after": "chunk"},
        **{"memory_momentum": 0.0, "memory_weight_decay": 0.0},
    },
    "lwf": {**_CONTINUAL, "kd_weight": "chunks", "teacher_after": "chunk", "teacher_mode": "train"},
    "er": _REPLAY,
    "mir": {**_REPLAY, "candidates": 50, "virtual_lr": 0.1, "statistics": "moving"},
}


def variant_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the variant that the values name takes for the options that they do not, where fields say otherwise."""
    return (SEED if values.get("variant") == "seed" else PAPER).get(str(values.get("agent", "sequential")), {})
