"""What training needs of this machine, looked at before anything is computed: a GPU, and weights to start from.

Importing this module imports neither torch nor pandas.
"""

import os
from pathlib import Path

from cldf_core.options import Options, UserError


def check_machine(options: Options) -> None:
    """Refuses a GPU that torch does not find, and files with weights that cannot be had, with a UserError."""
    if options.device == "cuda":
        gpus()
    if options.weights:
        check_weights(options.network, options.weights)
    if options.start:
        from cldf_core.detection.pth import read_checkpoint

        read_checkpoint(Path(options.start))


def gpus() -> int:
    """How many GPUs torch finds; a UserError where there are none."""
    import torch

    if not (count := torch.cuda.device_count()):
        raise UserError("device is 'cuda', but torch finds no GPU here; allowed: cpu")
    return count


def check_weights(network: str, weights: str) -> None:
    """Refuses weights that a network cannot start from, with a UserError; a NoWeights where they cannot be had."""
    from cldf_core.data.files import irregular
    from cldf_core.resnet import NoWeights, build_network

    if weights != "imagenet" and os.path.exists(weights) and not os.path.isfile(weights):
        what = irregular(Path(weights)) or "a folder"
        raise NoWeights(f"weights is {weights!r}, {what}; allowed: imagenet, or a file")
    try:
        build_network(network, weights=weights)
    except NoWeights:
        raise
    except Exception as error:  # a file can be broken in many ways
        why = f"weights is {weights!r}, which cannot be read as weights ({type(error).__name__})"
        raise UserError(str(error) if type(error) is ValueError else why) from error  # the former is a sentence
