"""Networks and weights read from files of other programs, as torchvision, timm and the original code write them.

The original's file is {"state_dict": …} of a ResNet-34 with two outputs, 0 = fake and 1 = real, that reads spectra of
BGR images. A network of this project has 0 = real and 1 = fake, and reads RGB: the rows of the last layer and the
channels of the first change places, which loses nothing.
"""

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cldf_core.options import Options, UserError, checked, shown
from cldf_core.resnet import Network, build_network, from_original
from cldf_core.runs.checkpoints import checksums_hold, renamed

# What is taken for granted of a file that `cldf train` has not written.
ASSUMED = "its file does not say which output means fake: 0 is taken for fake, 1 for real, as the original has it"
# Blocks in each stage, by name; resnet50's have three convolutions.
_NETWORKS = {"slim": [1, 1, 1, 1], "resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3], "resnet50": [3, 4, 6, 3]}


class Checkpoint(NamedTuple):
    """A network in evaluation mode, the options that prepare its input, and whether its file held these options."""

    network: Network
    options: Options
    has_options: bool


def in_file_names(domain: str) -> str:
    """A domain's name as the name of a file has it: Windows allows no colon, which domains of another set have."""
    return re.sub(r'[<>:"/\\|?*]', "_", domain)


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a .pth file; one without options, such as the original's, gets the original's options.

    Raises:
        UserError: there is no such file, or it holds no network of this kind; one sentence says what it holds.
    """
    if path.is_dir():
        files = ", ".join(p.name for p in checkpoints_in(path)) or "no .pth file"
        raise UserError(f"{path} is a folder; needed: a .pth file; in it: {files}")
    if not path.is_file():
        files = ", ".join(p.name for p in checkpoints_in(path.parent)) or "no .pth file"
        raise UserError(f"there is no checkpoint {path}; in its folder: {files}")
    content = _content(path)
    state = _state_of(content, path)
    name, width = _architecture(state, path)
    written = _written_options(content)
    values = {"variant": "original"} if written is None else renamed(written)
    options = checked({**values, "network": name, "width": width, "weights": None}, where=str(path))
    network = build_network(name, width=width)
    try:
        network.load_state_dict(from_original(state))
    except RuntimeError as error:
        why = str(error).splitlines()[-1].strip().replace("body.", "").replace("head.", "fc.")
        raise UserError(f"{path} does not fit a {name}: {why}") from None
    return Checkpoint(network.eval(), options, written is not None)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The weights that a .pth or .safetensors file of any network holds, by their names, on the CPU.

    Raises:
        UserError: there is no such file, or it holds more or other than finite weights.
    """
    if not path.is_file() or path.suffix not in (".pth", ".safetensors"):
        raise UserError(f"--weights is {shown(str(path))}; allowed: a .safetensors or .pth file with a state dict")
    if path.suffix == ".pth":
        return _state_of(_content(path), path)
    try:
        return _state_of(load_file(path), path)
    except SafetensorError as error:
        raise UserError(f"{path} is no .safetensors file, or a damaged one: {error}") from None


def _state_of(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The state dict in what a file holds, without what DataParallel writes before its names."""
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise UserError(f"{path} holds no state_dict of tensors, which a checkpoint needs")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    _refuse_odd_numbers(state, path)
    return state


def checkpoints_in(folder: Path) -> list[Path]:
    """Returns the .pth files of a folder, sorted; a hidden one is what a killed process has left half-written."""
    return sorted(path for path in folder.glob("*.pth") if not path.name.startswith("."))


def _content(path: Path) -> Any:
    """What torch.save wrote, code excepted. Torch's own messages advise to load code as well: not passed on."""
    foreign = None
    try:
        if checksums_hold(path):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on kinds of tensors that are refused below
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


def _refuse_odd_numbers(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raises a UserError for a tensor that is sparse, complex or the like, or has a number that is not finite."""
    for key, value in state.items():
        plain = value.layout == torch.strided and not (value.is_complex() or value.is_quantized or value.is_nested)
        if not plain or value.is_meta:
            what = f"{value.dtype}, {value.layout}".replace("torch.", "")
            raise UserError(f"{path} holds {key} as no plain tensor ({what}); needed: dense tensors of real numbers")
        if not value.float().isfinite().all():
            raise UserError(f"{path} holds NaN or infinite numbers in {key}; needed: finite weights")


def _written_options(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options that `cldf train` wrote into the file; None where another program wrote it."""
    try:
        written = json.loads(content.get("options", ""))
    except (TypeError, ValueError, RecursionError):
        return None
    return written if isinstance(written, dict) else None


def _architecture(state: Mapping[str, torch.Tensor], path: Path) -> tuple[str, int]:
    """The name of the residual network that a torchvision state dict belongs to, and its first stage's width."""
    blocks = [len({key.split(".")[1] for key in state if key.startswith(f"layer{n}.")}) for n in (1, 2, 3, 4)]
    deep = "layer1.0.conv3.weight" in state
    names = [name for name, stages in _NETWORKS.items() if stages == blocks and (name == "resnet50") == deep]
    ends = {"conv1.weight": 4, "fc.weight": 2, "fc.bias": 1}
    wrong = [key for key, dimensions in ends.items() if key not in state or state[key].ndim != dimensions]
    if wrong or not names:
        why = f"it has no usable {wrong[0]}" if wrong else f"its stages have {blocks} blocks"
        raise UserError(f"{path} holds none of the networks {', '.join(_NETWORKS)}: {why}")
    if (outputs := len(state["fc.weight"])) != 2:
        raise UserError(f"{path} has {outputs} outputs; needed: 2, real and fake")
    return names[0], state["conv1.weight"].shape[0] if names[0] == "slim" else checked({}).width
