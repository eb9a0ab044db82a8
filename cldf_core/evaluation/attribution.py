"""What a network looks at: Grad-CAM on the spectrum, in frequency coordinates, and what a band's loss does to it.

Source: Selvaraju et al., "Grad-CAM", ICCV 2017; computed by the library captum.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cldf_core.resnet import Network, frozen
from cldf_core.spectrum import Band, Plane, band_mask

BATCH = 64  # spectra that are best explained at once: activations of more do not stay in the processor's cache
LAYER = "layer2"  # maps of an eighth of the plane: later ones are too coarse to name a frequency


def grad_cam(network: Network, spectra: Tensor, *, layer: str = LAYER) -> Tensor:
    """Which frequencies speak for "fake", and which for "real".

    The maps of a layer, each weighted by the mean gradient of the logit of fake, are added up. Their sign is kept:
    above 0 speaks for fake, below 0 for real. The sum is enlarged (bilinear) to the spectrum's shape.

    Args:
        network: whose verdict is explained; it is looked at in evaluation mode and left as it was.
        spectra: float32, shape (N, 3, H, W).
        layer: a stage of the residual network, "layer1" to "layer4".

    Returns:
        float32, shape (N, H, W), in units of the logit.

    Source: Selvaraju et al., ICCV 2017, equations (1) and (2), without the ReLU of (2).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum's imports warn of what is not used here
        from captum.attr import LayerGradCam
    cam = LayerGradCam(network.fake_logits, network.body.get_submodule(layer))
    with frozen(network), torch.enable_grad():
        maps = cam.attribute(spectra, relu_attributions=False).detach()
    return F.interpolate(maps.float(), spectra.shape[-2:], mode="bilinear")[:, 0]


def without_band(spectra: np.ndarray, band: Band, plane: Plane = "half") -> np.ndarray:
    """A copy of spectra in which one band of frequencies is 0, the middle of their range.

    Args:
        spectra: shape (..., H, W/2 + 1) or (..., H, W).
        band: "low", "mid" or "high"; "full" leaves nothing.
        plane: which columns the spectra have.
    """
    height, columns = spectra.shape[-2:]
    width = 2 * (columns - 1) if plane == "half" else columns
    return np.where(band_mask(height, width, band, plane), np.zeros((), spectra.dtype), spectra)
