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
    """Computes which frequencies speak for "fake" and which for "real".

    The maps of a layer are summed, each weighted by the mean gradient of the logit of fake. The sum keeps its sign:
    above 0 speaks for fake, below 0 for real. It is enlarged (bilinear) to the spectrum's shape.

    Args:
        network: the network to explain; it is used in evaluation mode and left as it was.
        spectra: float32, shape (N, 3, H, W).
        layer: a stage of the residual network, "layer1" to "layer4".

    Returns:
        float32, shape (N, H, W), in units of the logit.

    Source: Selvaraju et al., ICCV 2017, equations (1) and (2), without the ReLU of (2).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing captum warns of parts that are not used here
        from captum.attr import LayerGradCam
    cam = LayerGradCam(network.fake_logits, network.body.get_submodule(layer))
    with evaluating(network), torch.enable_grad():
        maps = cam.attribute(spectra, relu_attributions=False).detach()
    return F.interpolate(maps.float(), spectra.shape[-2:], mode="bilinear")[:, 0]


def without_band(spectra: np.ndarray, band: Band, plane: Plane = "half") -> np.ndarray:
    """Returns a copy of spectra in which a band of frequencies is 0, the middle of their range.

    Args:
        spectra: shape (..., H, W/2 + 1) or (..., H, W).
        band: "low", "mid" or "high"; "full" leaves nothing.
        plane: which columns the spectra have.
    """
    height, columns = spectra.shape[-2:]
    width = 2 * (columns - 1) if plane == "half" else columns
    return np.where(band_mask(height, width, band, plane), np.zeros((), spectra.dtype), spectra)
