"""What a network looks at: Grad-CAM against its formula, spectra without a band against a loop."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cldf_core.evaluation.attribution import grad_cam, share_for_fake, without_band
from cldf_core.resnet import build_network


def network(**how):
    torch.manual_seed(0)
    return build_network("slim", width=8, **how)


@pytest.mark.parametrize(("layer", "means"), [("layer1", False), ("layer2", True), ("layer3", True)])
def test_grad_cam_is_its_formula(layer, means):
    net = network(outputs=4).train()
    if means:
        net.means = F.normalize(torch.randn(4, 64, dtype=torch.float64), dim=1)
    spectra = torch.randn(3, 3, 64, 33)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    got = grad_cam(net, spectra, layer=layer)
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())

    # Slowly, image by image: the gradient of one logit with respect to the layer's maps.
    net.eval()
    for spectrum, evidence in zip(spectra, got, strict=True):
        kept: list[torch.Tensor] = []
        stage = net.body.get_submodule(layer)
        hook = stage.register_forward_hook(lambda module, inputs, out, kept=kept: kept.append(out))
        logit = net.fake_logits(spectrum[None])[0]
        hook.remove()
        (gradient,) = torch.autograd.grad(logit, kept[0])
        maps = sum(g.mean() * a for g, a in zip(gradient[0], kept[0][0], strict=True))
        sides = zip(maps.shape, (64, 33), strict=True)
        rows, columns = ([place * cells // side for place in range(side)] for cells, side in sides)
        blocks = maps.detach()[rows][:, columns]
        torch.testing.assert_close(evidence, blocks, atol=1e-5, rtol=1e-4)


def test_the_share_for_fake_is_that_of_all_evidence():
    assert share_for_fake(np.array([[3.0, -1.0], [0.0, 0.0]])) == 0.75
    assert np.isnan(share_for_fake(np.zeros((2, 2))))


def test_the_frequencies_that_alone_make_the_verdict_are_found():
    """A network that learns to tell fakes by one place of the plane finds its evidence there."""
    rng = torch.Generator().manual_seed(0)
    spectra = 0.3 * torch.randn(256, 3, 64, 33, generator=rng)
    labels = torch.arange(256) % 2
    spectra[labels == 1, :, 20:28, 16:24] += 1.0
    net = network()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.003)
    for step in range(40):
        part = slice(64 * (step % 4), 64 * (step % 4) + 64)
        optimiser.zero_grad()
        F.cross_entropy(net(spectra[part]), labels[part]).backward()
        optimiser.step()
    evidence = grad_cam(net, spectra[:64], layer="layer1")
    more = (evidence[labels[:64] == 1].mean(0) - evidence[labels[:64] == 0].mean(0)).clamp(min=0)
    around = more[12:36, 8:32]  # a layer sees further than its own place
    assert around.sum() / more.sum() > 2 * around.numel() / more.numel()


@pytest.mark.parametrize(("plane", "columns"), [("half", 17), ("full", 32)])
def test_without_band_takes_that_band_alone(plane, columns):
    spectra = np.random.default_rng(0).normal(size=(2, 3, 32, columns)).astype(np.float16)
    taken = np.zeros_like(spectra)
    for band, (low, high) in {"low": (0, 0.53), "mid": (0.53, 0.81), "high": (0.81, 9)}.items():
        left = without_band(spectra, band, plane)
        assert left.dtype == np.float16
        for y, x in np.ndindex(32, columns):
            inside = low <= max(min(y, 32 - y), min(x, 32 - x)) / 16 < high
            np.testing.assert_array_equal(left[:, :, y, x], 0 if inside else spectra[:, :, y, x])
        taken += spectra - left
    np.testing.assert_array_equal(taken, spectra)
    assert not without_band(spectra, "full", plane).any()
