"""Frequencies taken out of a spectrum, and what networks say then (notebook 10)."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.special import expit

from cldf_core.evaluation.cells import agent_name
from cldf_core.figures.exploration import pixels_to_verdict
from cldf_core.figures.style import described
from cldf_core.interact.live import Live, choice, span_slider
from cldf_core.resnet import Network
from cldf_core.spectrum import Plane, frequency_radius

EDGES = tuple(round(k / 20, 2) for k in range(21))


def without(spectra: np.ndarray, low: float, high: float, plane: Plane = "half") -> np.ndarray:
    """A copy of spectra, (..., H, W/2 + 1) or (..., H, W), that is 0 where low <= r < high, or r = 1 if high is 1.

    0 is the middle of a spectrum's range, and r as in `spectrum.band_mask`.
    """
    height, columns = spectra.shape[-2:]
    radius = frequency_radius(height, 2 * (columns - 1) if plane == "half" else columns, plane)
    inside = (radius >= low) & ((radius < high) | ((radius == 1) & (high == 1)))
    return np.where(inside, np.zeros((), spectra.dtype), spectra)


def hole(pair: np.ndarray, spectra: np.ndarray, networks: Mapping[str, Network], plane: Plane = "half") -> Live:
    """A real image and its fake, whose frequencies can be taken out, and a choice of the network that judges them.

    Args:
        pair: uint8, shape (2, 3, H, W).
        spectra: what the networks read of them, float, (2, 3, H, W/2 + 1), or (2, 3, H, W) for the full plane.
        networks: those of agents, by these agents' names.
    """
    by_name = {agent_name(agent): network for agent, network in networks.items()}

    def draw(network: str, span: tuple[float, float]) -> Figure:
        left = without(spectra, *span, plane).astype(np.float32)
        scores = [float(score) for score in expit(by_name[network].score(torch.from_numpy(left)))]
        figure = pixels_to_verdict(pair, left, scores)
        said = "; ".join(f"{kind} {score:.3f}" for kind, score in zip(("real", "fake"), scores, strict=True))
        what = f"without the frequencies from {span[0]:g} to {span[1]:g} of Nyquist's"
        return described(figure, f"The spectra of a real image and its fake {what}; P(fake) by {network}: {said}.")

    names = list(by_name)
    return Live(draw, network=choice("network", names), span=span_slider("taken out", EDGES, (0.8, 1.0)))
