"""Networks of timm with weights from a local file, as detectors of fakes."""

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cldf_core.data.images import ImageProblem, as_image, open_image
from cldf_core.detection.pth import read_state
from cldf_core.options import UserError, shown

AT_ONCE = 32  # images that go through the network at once


def load(name: str, weights: Path | None) -> tuple[Callable[[Sequence[str]], list[Any]], Path, tuple[str, ...]]:
    """What says P(fake) of files, the file with the weights, and notes on what is taken for granted.

    A network of two outputs has 0 = real and 1 = fake, so P(fake) is the second of their softmax; that of one output is
    its sigmoid. Images are prepared as timm's data configuration of the network says. What is said of a file that is no
    image is an ImageProblem.

    Raises:
        UserError: timm is missing or does not know the network, or the weights do not fit it.
    """
    if not re.fullmatch(r"[\w.]+", name):  # timm would go and fetch others from elsewhere
        raise UserError(f"--model is {shown(f'timm:{name}')}; allowed: timm:NAME, with a name such as resnet18")
    if weights is None:
        raise UserError(f"--model timm:{name} needs --weights, a .safetensors or .pth file with its state dict")
    state = read_state(weights)
    try:
        timm = importlib.import_module("timm")  # an extra that the rest of the package does without
    except ImportError as error:
        raise UserError(f"--model timm:{name} needs timm ({error}); pip install cldf-core[timm]") from None
    network, outputs = _network(timm, name, state, weights)
    config = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**config, is_training=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.to(device).eval()

    def call(paths: Sequence[str]) -> list[Any]:
        inputs = [_prepared(path, transform) for path in paths]
        images = [image for image in inputs if isinstance(image, torch.Tensor)]
        numbers: Any = iter(())
        if images:
            with torch.inference_mode():
                logits = network(torch.stack(images).to(device)).double()
            numbers = iter((logits.sigmoid() if outputs == 1 else logits.softmax(1))[:, -1].tolist())
        return [next(numbers) if isinstance(image, torch.Tensor) else image for image in inputs]

    meaning = "its one output is taken for the logit of fake"
    if outputs == 2:
        meaning = "of its two outputs 0 is taken for real, 1 for fake"
    note = f"{meaning}; were it the other way round, P(fake) would be 1 minus the one given"
    prepared = ", ".join(f"{key} {value}" for key, value in config.items())
    return call, weights, (note, f"images are prepared as timm does it for {name}: {prepared}")


def _network(timm: Any, name: str, state: Mapping[str, torch.Tensor], weights: Path) -> tuple[Any, int]:
    """The network with the weights, and how many outputs it has: two or one, whichever fits."""
    misfits = []
    for outputs in (2, 1):
        try:
            network = timm.create_model(name, pretrained=False, num_classes=outputs)
        except Exception as error:  # timm has several kinds for a name that it does not know
            raise UserError(f"--model is 'timm:{name}', of which timm says: {error}") from None
        if not (misfit := _misfit(network.state_dict(), state)):
            network.load_state_dict(state)
            return network, outputs
        misfits.append(misfit)
    nearest = min(misfits, key=len)
    why = nearest[0] + f", and {len(nearest) - 1} more" * (len(nearest) > 1)
    raise UserError(f"{weights} does not fit timm's {name} with one or two outputs: {why}")


def _misfit(wanted: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> list[str]:
    """What is wrong with weights for a network that wants others, entry by entry."""
    both = [(key, tuple(state[key].shape), tuple(wanted[key].shape)) for key in wanted if key in state]
    wrong = [f"{key} has the shape {there}, needed: {needed}" for key, there, needed in both if there != needed]
    wrong += [f"{key} is missing" for key in wanted if key not in state]
    return wrong + [f"{key} is unknown" for key in state if key not in wanted]


def _prepared(path: str, transform: Callable[[Any], torch.Tensor]) -> torch.Tensor | ImageProblem:
    try:
        return transform(as_image(open_image(Path(path))))
    except ImageProblem as problem:
        return problem
