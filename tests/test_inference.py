"""Forward passes without gradients: the quick convolutions against torch's in float64, and where they stay away."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cldf_core.buffers import mir_ranking
from cldf_core.inference import QuickInference
from cldf_core.resnet import Norm, build_network, frozen


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def quick(monkeypatch):
    """The shapes that went by Winograd's way."""
    shapes: list[tuple[int, ...]] = []
    ours = QuickInference._winograd

    def noted(self, maps, weight):
        shapes.append(tuple(maps.shape))
        return ours(self, maps, weight)

    monkeypatch.setattr(QuickInference, "_winograd", noted)
    return shapes


@settings(max_examples=25, deadline=None)
@given(
    images=st.integers(1, 40),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    inputs=st.sampled_from([1, 3, 128, 150]),
    outputs=st.sampled_from([1, 5, 128]),
    last=st.booleans(),
)
def test_every_output_is_that_of_the_definition(images, height, width, inputs, outputs, last):
    maps, weight = normal(images, inputs, height, width), normal(outputs, inputs, 3, 3, seed=1)
    if last:
        maps, weight = (x.to(memory_format=torch.channels_last) for x in (maps, weight))
    given_maps, given_weight = maps.clone(), weight.clone()
    got = QuickInference()._winograd(maps, weight)
    want = F.conv2d(maps.double(), weight.double(), padding=1)
    assert got.shape == want.shape
    assert (got - want).abs().max() <= 1e-4 * (9 * inputs) ** 0.5  # an output's standard deviation
    assert torch.equal(maps, given_maps)
    assert torch.equal(weight, given_weight)


def test_the_rounding_is_what_the_docstring_says():
    maps, weight = normal(10, 256, 14, 7), normal(256, 256, 3, 3, seed=1)
    want = F.conv2d(maps.double(), weight.double(), padding=1)
    ours = (QuickInference()._winograd(maps, weight) - want).square().mean().sqrt() / want.std()
    torchs = (F.conv2d(maps, weight, padding=1) - want).square().mean().sqrt() / want.std()
    assert 1e-6 < ours < 5e-6
    assert torchs < 4e-7


def test_it_stands_in_for_torch_from_128_channels_on(quick):
    maps, first, second = normal(4, 128, 16, 16), normal(128, 128, 3, 3, seed=1), normal(160, 128, 3, 3, seed=2)
    with torch.no_grad(), QuickInference():
        got = [F.conv2d(maps, weight, padding=1) for weight in (first, second, first)]
    assert quick == [maps.shape] * 3
    for there, weight in zip(got, (first, second, first), strict=True):
        torch.testing.assert_close(there, F.conv2d(maps, weight, padding=1), atol=2e-3, rtol=1e-4)
        assert there.is_contiguous(memory_format=torch.channels_last)


MAPS, WEIGHT = normal(4, 128, 16, 16), normal(128, 128, 3, 3, seed=1)


@pytest.mark.parametrize(
    ("maps", "weight", "how"),
    [
        (MAPS, WEIGHT, {"padding": 1, "stride": 2}),
        (MAPS, WEIGHT, {}),
        (MAPS, WEIGHT, {"padding": 1, "dilation": 2}),
        (MAPS, WEIGHT[:, :64], {"padding": 1, "groups": 2}),
        (MAPS, WEIGHT, {"padding": 1, "bias": normal(128)}),
        (MAPS, WEIGHT[..., :1, :1], {}),
        (MAPS, WEIGHT[:127], {"padding": 1}),
        (MAPS[:, :127], WEIGHT[:, :127], {"padding": 1}),
        (MAPS[:3], WEIGHT, {"padding": 1}),  # 48 tiles
        (normal(99, 128, 4, 3), WEIGHT, {"padding": 1}),  # a third more than the map
        (MAPS.double(), WEIGHT.double(), {"padding": 1}),
        (MAPS.bfloat16(), WEIGHT.bfloat16(), {"padding": 1}),
    ],
)
def test_elsewhere_nothing_changes(quick, maps, weight, how):
    with torch.no_grad():
        want = F.conv2d(maps, weight, **how)
        with QuickInference():
            got = F.conv2d(maps, weight, **how)
    assert not quick
    assert torch.equal(got, want)


def test_with_gradients_nothing_changes(quick):
    maps, weight = normal(4, 128, 16, 16), normal(128, 128, 3, 3, seed=1).requires_grad_()
    with QuickInference():
        got = F.conv2d(maps, weight, padding=1)
        got.sum().backward()
    assert not quick
    assert torch.equal(got, F.conv2d(maps, weight, padding=1))
    assert weight.grad is not None


@pytest.mark.parametrize("training", [True, False])
def test_a_small_network_gives_the_same_bits(quick, training):
    torch.manual_seed(0)
    network, reference = (build_network("slim", width=8).train() for _ in range(2))
    with torch.no_grad():
        network(normal(20, 3, 32, 17, seed=3))
        reference.load_state_dict(network.state_dict())
        network.train(training), reference.train(training)
        spectra = normal(9, 3, 32, 17)
        want = reference(spectra)
        with QuickInference():
            got = network(spectra)
    assert not quick
    assert torch.equal(got, want)
    for name, value in network.state_dict().items():
        assert torch.equal(value, reference.state_dict()[name]), name


def test_batch_norm_takes_over_a_convolutions_output_and_no_other():
    norm, conv = Norm(6).eval(), nn.Conv2d(3, 6, 3)
    norm.running_mean.uniform_(generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        given_maps, maps = normal(2, 6, 5, 5), normal(2, 6, 5, 5)
        with QuickInference():
            there = conv(normal(2, 3, 7, 7))
            want = there.clone()
            got = norm(there)
            other = norm(maps)
        assert got is there
        assert torch.equal(got, norm(want))
        assert torch.equal(maps, given_maps)
        assert torch.equal(other, norm(given_maps))


def test_a_large_network_gives_the_same_logits_but_for_rounding(quick):
    torch.manual_seed(0)
    network = build_network("resnet34")
    spectra = normal(8, 3, 224, 113)
    for context in (torch.no_grad(), torch.autocast("cpu", torch.bfloat16)):
        with torch.no_grad(), context, frozen(network):
            want = network(spectra)
            with QuickInference():
                got = network(spectra)
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    # Of stages 2 and 3; the last has two tiles an image; none in mixed precision.
    assert sorted({shape[1:] for shape in quick}) == [(128, 28, 14), (256, 14, 7)]
    assert len(quick) == 7 + 11


@pytest.mark.parametrize("moving", [True, False])
def test_mir_ranks_by_the_same_losses(quick, moving):
    torch.manual_seed(0)
    network = build_network("slim", width=64).train()
    incoming, candidates = normal(6, 3, 64, 33), normal(40, 3, 64, 33, seed=5)
    labels = torch.arange(40) % 2
    twin, stepped = (build_network("slim", width=64).double().train() for _ in range(2))
    for other in (twin, stepped):
        other.load_state_dict(network.state_dict())
    F.cross_entropy(stepped(incoming.double()), labels[:6]).backward()
    torch.optim.SGD(stepped.parameters(), lr=0.05).step()
    stepped.load_state_dict({**stepped.state_dict(), **dict(twin.named_buffers())})
    ranking = mir_ranking(network, incoming, labels[:6], candidates, labels, 0.05, moving=moving)
    assert quick == [(40, 128, 8, 4)] * 2
    twin.train(moving), stepped.train(moving)
    with torch.no_grad():
        before, after = (F.cross_entropy(n(candidates.double()), labels, reduction="none") for n in (twin, stepped))
    rise = (after - before)[ranking]
    assert (rise[:-1] >= rise[1:] - 1e-4).all()
    assert rise.max() - rise.min() > 1e-2
