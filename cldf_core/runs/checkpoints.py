"""Weights in and out (safetensors), and the state that a run resumes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cldf_core.data.cache import whole_file
from cldf_core.options import Options, relevant
from cldf_core.resnet import Network, build_network


def save_network(network: Network, options: Options, path: Path) -> None:
    """Writes the weights, with the options that tell how to build the network and its input."""
    # Dense copies: the file format has no notion of channels last.
    state = {
        k: v.detach().cpu().contiguous(memory_format=torch.contiguous_format) for k, v in network.state_dict().items()
    }
    with whole_file(path) as partial:
        save_file(state, partial, metadata={"options": json.dumps(relevant(options))})


def load_network(path: Path) -> tuple[Network, Options]:
    """The network in evaluation mode, and the options of the run that it comes from."""
    with safe_open(path, "pt") as file:
        options = Options(**json.loads(file.metadata()["options"]))
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    network = build_network(options.network, outputs=len(state["head.bias"]), width=options.width)
    network.load_state_dict(state)
    return network.eval(), options


def save_state(state: dict[str, Any], path: Path) -> None:
    """Writes everything that a run needs to go on."""
    with whole_file(path) as partial:
        torch.save(state, partial)


def load_state(path: Path) -> dict[str, Any]:
    """Reads what `save_state` wrote; tensors and plain containers only, no code."""
    return torch.load(path, map_location="cpu", weights_only=True)
