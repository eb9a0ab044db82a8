"""What a network looks at: Grad-CAM (by captum) in frequency coordinates, and spectra without a band."""

import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cldf_core.resnet import Network, evaluating
from cldf_core.spectrum import Band, Plane, band_mask

BATCH = 64  # spectra to explain at once: the activations of more do not fit the processor's cache
LAYER = "layer2"  # its maps have an eighth of the plane's size; later ones are too coarse to name a frequency


def grad_cam(network: Network, spectra: Tensor, *, layer: str = LAYER) -> Tensor:
    """Computes which frequencies speak for "fake" and which for "real": float32, (N, H, W), in units of the logit.

    The maps of a layer ("layer1" to "layer4") are summed, each weighted by the mean gradient of the logit of fake. The
    sum keeps its sign: above 0 speaks for fake, below 0 for real. It is enlarged to the size of the spectra, float32 of
    shape (N, 3, H, W), each of its cells as a block, since it knows nothing finer. Over the plane it does not add up to
    the logit: what later layers make of the maps is left out. The network is used in evaluation mode and left as it
    was.

    Source: Selvaraju et al., ICCV 2017, equations (1) and (2), without the ReLU of (2).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing captum warns of parts that are not used here
        from captum.attr import LayerGradCam
    cam = LayerGradCam(network.fake_logits, network.body.get_submodule(layer))
    with evaluating(network), torch.enable_grad():
        maps = cam.attribute(spectra, relu_attributions=False).detach()
    return F.interpolate(maps.float(), spectra.shape[-2:], mode="nearest")[:, 0]


def share_for_fake(evidence: np.ndarray) -> float:
    """Returns which share of the evidence, any shape, speaks for fake: from 0 to 1, NaN where there is none."""
    total = float(np.abs(evidence).sum())
    return float(evidence[evidence > 0].sum()) / total if total else float("nan")


def without_band(spectra: np.ndarray, band: Band, plane: Plane = "half") -> np.ndarray:
    """Returns a copy of spectra, (..., H, W/2 + 1) or (..., H, W), in which a band is 0, the middle of their range.

    The plane says which columns the spectra have. The band "full" leaves nothing.
    """
    height, columns = spectra.shape[-2:]
    width = 2 * (columns - 1) if plane == "half" else columns
    return np.where(band_mask(height, width, band, plane), np.zeros((), spectra.dtype), spectra)
