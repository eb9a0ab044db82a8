"""The networks of runs (safetensors), and the state that a run resumes from."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cldf_core.data.files import whole_file
from cldf_core.options import AGENTS, FIELDS, RENAMED, Options, UserError
from cldf_core.resnet import Network, build_network
from cldf_core.runs.folder import RunFolder


def save_network(network: Network, options: Options, path: Path) -> None:
    """Writes the weights, iCaRL's means, and the options that tell how to build the network and its input."""
    # Dense copies: the file format has no notion of channels last.
    weights = network.state_dict().items()
    state = {name: w.cpu().contiguous(memory_format=torch.contiguous_format) for name, w in weights}
    if network.means is not None:
        state["means"] = network.means
    with whole_file(path) as partial:
        save_file(state, partial, metadata={"options": options.model_dump_json()})


def load_network(path: Path) -> tuple[Network, Options]:
    """The network in evaluation mode, and the options of the run that it comes from.

    Raises:
        UserError: the file is not what the manifest beside it tells.
    """
    with safe_open(RunFolder(path.parent).whole(path.name), "pt") as file:
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
    with whole_file(path) as partial, partial.open("wb") as file:  # by a name, torch would write it into the file
        torch.save(state, file)


def load_state(path: Path) -> dict[str, Any]:
    """Reads what `save_state` wrote; tensors and plain containers only, no code.

    Raises:
        UserError: the file is cut or changed, or holds something else.
    """
    try:
        if checksums_hold(path):
            return torch.load(path, map_location="cpu", weights_only=True)
        reason = "its checksums differ"
    except Exception as error:  # torch raises what its unpickler, its zip reader or the file gives
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise UserError(f"{path} is damaged ({reason})")


def checksums_hold(path: Path) -> bool:
    """Whether the parts of a file of torch.save have the checksums that it wrote, which torch.load does not compare.

    An older format, and a file that was written without checksums, have none that could differ.
    """
    if not zipfile.is_zipfile(path):
        return True
    with zipfile.ZipFile(path) as file:
        return not any(part.CRC for part in file.infolist()) or file.testzip() is None
