"""Weights in and out (safetensors, and the seed's .pth), and the state that a run resumes from.

The seed's file is {"state_dict": …} of torchvision's ResNet-34 with two outputs, 0 = fake and 1 = real, that
reads spectra of BGR images. Ours is 0 = real and 1 = fake and reads RGB: the rows of the last layer and the
channels of the first change places, which loses nothing. Source: methods.md sections 1 and 2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cldf_core.data.files import whole_file
from cldf_core.options import AGENTS, FIELDS, RENAMED, Options, UserError, checked
from cldf_core.resnet import Network, build_network


def save_network(network: Network, options: Options, path: Path) -> None:
    """Writes the weights, iCaRL's means, and the options that tell how to build the network and its input."""
    # Dense copies: the file format has no notion of channels last.
    state = {
        k: v.detach().cpu().contiguous(memory_format=torch.contiguous_format) for k, v in network.state_dict().items()
    }
    if network.means is not None:
        state["means"] = network.means
    with whole_file(path) as partial:
        save_file(state, partial, metadata={"options": options.model_dump_json()})


def load_network(path: Path) -> tuple[Network, Options]:
    """The network in evaluation mode, and the options of the run that it comes from."""
    with safe_open(path, "pt") as file:
        options = stored_options(json.loads(file.metadata()["options"]))
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    means = state.pop("means", None)
    network = build_network(options.network, outputs=len(state["head.bias"]), width=options.width)
    network.load_state_dict(state)
    network.means = means
    return network.eval(), options


def stored_options(values: Mapping[str, Any]) -> Options:
    """The options that a file holds; of an agent that nobody has registered here, those that every run has."""
    values, kind = renamed(values), AGENTS.get(str(values.get("agent")))
    if kind is None:
        return Options(**{name: value for name, value in values.items() if name in Options.model_fields})
    return kind(**{name: value for name, value in values.items() if name in kind.model_fields or name not in FIELDS})


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Stored options under today's names; an earlier version may have written them."""
    values = {RENAMED.get(name, name): value for name, value in values.items()}
    return {**values, "variant": "original"} if values.get("variant") == "seed" else values


def save_state(state: dict[str, Any], path: Path) -> None:
    """Writes everything that a run needs to go on."""
    with whole_file(path) as partial:
        torch.save(state, partial)


def load_state(path: Path) -> dict[str, Any]:
    """Reads what `save_state` wrote; tensors and plain containers only, no code."""
    return torch.load(path, map_location="cpu", weights_only=True)


def write_original_checkpoint(network: Network, options: Options, path: Path) -> None:
    """Writes a network of two outputs so that the seed's code can load it (if it is a ResNet-34).

    Raises:
        UserError: the network has more outputs than real and fake (iCaRL's paper variant).
    """
    if network.head.out_features != 2:
        raise UserError(f"{path.name}: this network has {network.head.out_features} outputs; the seed's files hold two")
    state = {
        key.removeprefix("body."): value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    state = {key.replace("head.", "fc."): value for key, value in state.items()}
    with whole_file(path) as partial:
        # The seed's code reads "state_dict" alone; "options" tells us what the network's input is.
        torch.save({"state_dict": _converted(state), "options": options.model_dump_json()}, partial)


class Checkpoint(NamedTuple):
    """A network in evaluation mode, the options that prepare its input, and whether its file held these options."""

    network: Network
    options: Options
    has_options: bool


def read_original_checkpoint(path: Path) -> Checkpoint:
    """The content of a .pth file; one without options, such as the original's own, gets the original's.

    Raises:
        UserError: no such file, or not a network of this kind; one sentence says what it is.
    """
    if not path.is_file():
        there = ", ".join(p.name for p in checkpoints_in(path.parent)) or "no .pth file"
        raise UserError(f"there is no checkpoint {path}; in its folder: {there}")
    content = _content(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise UserError(f"{path} holds no state_dict of tensors, which a checkpoint needs")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    name, width = _architecture(state, path)
    written = _written_options(content)
    values = {"variant": "original"} if written is None else renamed(written)
    options = checked({**values, "network": name, "width": width, "weights": None}, where=str(path))
    network = build_network(name, width=width)
    ours = {key if key.startswith("fc.") else f"body.{key}": value for key, value in _converted(state).items()}
    try:
        network.load_state_dict({key.replace("fc.", "head."): value.float() for key, value in ours.items()})
    except RuntimeError as error:
        why = str(error).splitlines()[-1].strip().replace("body.", "").replace("head.", "fc.")
        raise UserError(f"{path} does not fit a {name}: {why}") from None
    return Checkpoint(network.eval(), options, written is not None)


def checkpoints_in(folder: Path) -> list[Path]:
    """The .pth files of a folder, sorted; a hidden one is what a killed process has left half-written."""
    return sorted(path for path in folder.glob("*.pth") if not path.name.startswith("."))


def _content(path: Path) -> Any:
    """What torch.save wrote, code excepted. Torch's own messages advise to load code as well: not passed on."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise  # such as a lack of permission, which says it all
    except Exception as error:  # torch raises what its unpickler, its zip reader or the file gives
        foreign = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))
    if foreign:
        raise UserError(
            f"{path} holds more than weights ({foreign[1]}), which could be code and is not loaded; needed: a file "
            "of torch.save with tensors alone, such as {'state_dict': network.state_dict()}"
        )
    raise UserError(f"{path} is no checkpoint, or a damaged one: torch cannot read it to its end")


def _written_options(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options that `write_original_checkpoint` put into the file; None where another program wrote it."""
    try:
        written = json.loads(content.get("options", ""))
    except (TypeError, ValueError):
        return None
    return written if isinstance(written, dict) else None


def _converted(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """From the seed's order of labels and colours to ours, or back."""
    reversed_at = {"conv1.weight": 1, "fc.weight": 0, "fc.bias": 0}
    return {k: v.flip(reversed_at[k]).contiguous() if k in reversed_at else v for k, v in state.items()}


def _architecture(state: Mapping[str, torch.Tensor], path: Path) -> tuple[str, int]:
    """The name of the residual network that a torchvision state dict belongs to, and its first stage's width."""
    blocks = [len({key.split(".")[1] for key in state if key.startswith(f"layer{n}.")}) for n in (1, 2, 3, 4)]
    deep = "layer1.0.conv3.weight" in state
    known = {
        "slim": ([1, 1, 1, 1], False),
        "resnet18": ([2, 2, 2, 2], False),
        "resnet34": ([3, 4, 6, 3], False),
        "resnet50": ([3, 4, 6, 3], True),
    }
    names = [name for name, shape in known.items() if shape == (blocks, deep)]
    ends = {"conv1.weight": 4, "fc.weight": 2, "fc.bias": 1}
    wrong = [key for key, dimensions in ends.items() if key not in state or state[key].ndim != dimensions]
    if wrong or not names:
        why = f"it has no usable {wrong[0]}" if wrong else f"its stages have {blocks} blocks"
        raise UserError(f"{path} holds none of the networks {', '.join(known)}: {why}")
    if (outputs := len(state["fc.weight"])) != 2:
        raise UserError(f"{path} has {outputs} outputs; needed: 2, real and fake")
    return names[0], state["conv1.weight"].shape[0] if names[0] == "slim" else checked({}).width
