"""The defaults of the variant "original": what the original code takes for the options that are not given.

That of *Towards generalizable DeepFake detection with continual learning on limited data* (2022), mistakes and all.
Importing this module does not import torch.
"""

from typing import Any

_STREAM: dict[str, Any] = {
    **{"size": 224, "plane": "full", "precision": "float32", "crop": "top-left", "channels": "BGR"},
    **{"network": "resnet34", "splits": ["test"], "epochs": 10, "batch": 10, "blur": "chunk", "occlusion": "chunk"},
    **{"optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "dampening": 0.9, "weight_decay": 1e-4},
}
# NoCL and Normal: whole domains, in the order they were loaded in, a new optimiser for each.
_BASELINE = {**_STREAM, "schedule": "restarted", "order": "fixed"}
_CONTINUAL = {**_STREAM, "schedule": "constant", "chunks": 10, "drop_last": True}
_RESERVOIR = {**_CONTINUAL, "memory": 5000, "offers": "every-epoch", "reservoir_count": "batch"}
_REPLAY = {**_RESERVOIR, "replay": 10, "replay_passes": "separate"}
_ICARL = {"icarl_heads": "shared", "distil": False, "rehearsal": "batch", "exemplars": "reservoir", "verdict": "linear"}
_GDUMB = {
    **{"memory": 3000, "memory_epochs": 10, "memory_lr": 0.1, "memory_batch": 10, "memory_schedule": "constant"},
    **{"memory_momentum": 0.0, "memory_weight_decay": 0.0},
    **{"gdumb_groups": "class", "refit": "continued", "refit_after": "chunk"},
}
# Agent by agent; of an agent that is not here, the original has no code.
ORIGINAL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("separate", "sequential", "joint"), _BASELINE),
    "icarl": {**_RESERVOIR, **_ICARL},
    "gdumb": {**_CONTINUAL, **_GDUMB},
    "lwf": {**_CONTINUAL, "kd_weight": "chunks", "teacher_after": "chunk", "teacher_mode": "train"},
    "er": _REPLAY,
    "mir": {
        **_REPLAY,
        "replay_from": "all",
        "candidates": 50,
        "virtual_step": "sgd",
        "virtual_lr": 0.1,
        "mir_statistics": "moving",
    },
}
