"""Checkpoints that the original code can load, under its file names; `detection.pth` reads them and says how."""

from io import BytesIO
from pathlib import Path

import torch

from cldf_core.data.files import whole_file
from cldf_core.detection.pth import in_file_names
from cldf_core.options import Options, UserError
from cldf_core.original.flags import BANDS, BASELINES
from cldf_core.resnet import Network, swapped


def file_name(options: Options, domain: str, mode: str, *, several_seeds: bool = False) -> str:
    """Returns the original's name for the checkpoint after a domain: "CL_ER_VFHQ_fft_0_resnet_checkpoint_latest.pth".

    MIR, the variant "paper" and runs with several seeds, whose files would replace others, have names of their own.
    The mode is the original's --continual_learning: CL, NoCL or Normal.
    """
    agent = "" if mode in BASELINES else f"_{options.agent.upper()}"
    feature = f"{'fft' if options.feature == 'spectrum' else 'image'}_{BANDS.index(options.band)}"
    model = "resnet" if options.network == "resnet34" else options.network
    more = "" if options.variant == "original" else "_paper"
    more += f"_seed{options.seed}" if several_seeds else ""
    return f"{mode}{agent}_{in_file_names(domain)}_{feature}_{model}{more}_checkpoint_latest.pth"


def write_checkpoint(network: Network, options: Options, path: Path, *, force: bool = False) -> None:
    """Writes a network of two outputs so that the original code can load it, if it is a ResNet-34.

    A file that is there is replaced with `force` only; one that holds the same is left as it is.

    Raises:
        UserError: the network has more outputs than real and fake, as that of the paper's iCaRL; or there is another
            file.
    """
    if (outputs := network.head.out_features) != 2:
        raise UserError(f"{path.name}: this network has {outputs} outputs; the original's files hold two")
    state = {key.removeprefix("body."): value.detach().cpu() for key, value in network.state_dict().items()}
    state = {key.replace("head.", "fc."): value.contiguous() for key, value in state.items()}
    # The original code reads "state_dict" alone; "options" tells this project how the input is prepared.
    content = {"state_dict": swapped(state), "options": options.model_dump_json()}
    file = BytesIO()  # by a path, torch would write its name into the file
    torch.save(content, file)
    if force or not path.exists():
        with whole_file(path) as partial:
            partial.write_bytes(file.getbuffer())
    elif not path.is_file() or path.read_bytes() != file.getbuffer():
        raise UserError(replaces(path))


def replaces(path: Path) -> str:
    """What is said where a checkpoint would be replaced."""
    return f"{path} is there already; --force replaces it, --model_dir FOLDER writes elsewhere"
