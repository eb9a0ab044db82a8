"""Resizing, blur and JPEG of a photograph and its fake, with spectra and P(fake) beside (notebooks 00 and 09)."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.special import expit

from cldf_core.data.corruptions import corrupt
from cldf_core.data.images import crop
from cldf_core.evaluation.cells import agent_name
from cldf_core.figures.exploration import pixels_to_verdict
from cldf_core.figures.style import described
from cldf_core.interact.live import Live, choice, slider
from cldf_core.resnet import Network
from cldf_core.spectrum import InputSpec, log_spectrum

FACTORS = (0.3, 0.5, 0.75, 1.0, 1.25, 1.5)
BLURS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
NO_JPEG = 0
QUALITIES = (10, 30, 50, 70, 80, 90, 95, NO_JPEG)


def changed(pixels: np.ndarray, spec: InputSpec, *, factor: float, blur: float, jpeg: int) -> np.ndarray:
    """What a network sees of an image that was resized, blurred and saved as JPEG, in this order.

    Args:
        pixels: uint8, shape (3, H, W), at least as large as the crop.
        factor: of the shorter side; an image that would be smaller than the crop comes back to its old size.
        blur: the Gaussian's width in pixels; 0 is none.
        jpeg: the quality, or NO_JPEG.

    Returns:
        uint8, shape (3, size, size).
    """
    if factor != 1:
        pixels = corrupt(pixels, "resize", factor, size=spec.size)
    if blur:
        pixels = corrupt(pixels, "blur", blur)
    if jpeg != NO_JPEG:
        pixels = corrupt(pixels, "JPEG", jpeg)
    return crop(pixels, spec.size, spec.crop)


def one_image(pair: tuple[np.ndarray, np.ndarray], networks: Mapping[str, Network], spec: InputSpec) -> Live:
    """A real image and its fake, uint8 (3, H, W), with sliders for what is done to both, and a choice of the network.

    The networks are those of agents, by these agents' names, and read what `spec` says.
    """
    by_name = {agent_name(agent): network for agent, network in networks.items()}

    def draw(network: str, factor: float, blur: float, jpeg: int) -> Figure:
        crops = np.stack([changed(pixels, spec, factor=factor, blur=blur, jpeg=jpeg) for pixels in pair])
        scores = expit(by_name[network].score(torch.from_numpy(spec.network_input(crops)).float()))
        figure = pixels_to_verdict(crops, np.asarray(log_spectrum(crops)), [float(score) for score in scores])
        done = [f"resized by {factor:g}"] * (factor != 1) + [f"blurred by {blur:g} pixels"] * (blur > 0)
        done += [f"saved as JPEG {jpeg}"] * (jpeg != NO_JPEG)
        how = ", ".join(done) or "as they are stored"
        said = "; ".join(f"{kind} {score:.3f}" for kind, score in zip(("real", "fake"), scores, strict=True))
        return described(figure, f"A real image and its fake, {how}, with spectra; P(fake), {network}: {said}.")

    qualities = [("none" if quality == NO_JPEG else f"{quality}", quality) for quality in QUALITIES]
    return Live(
        draw,
        network=choice("network", list(by_name)),
        factor=slider("resized by", FACTORS, 1.0),
        blur=slider("blur (pixels)", BLURS, 0.0),
        jpeg=slider("JPEG quality", qualities, NO_JPEG),
    )
