"""The networks: features and head apart, heads that grow, weights from files."""

import urllib.error

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from cldf_core.resnet import NETWORKS, build_network, evaluating


def spectra(count: int = 3, height: int = 32, width: int = 17) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "size"), [("slim", 64), ("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_features_and_head_are_apart(name, size):
    network = build_network(name, outputs=5, width=8).eval()
    x = spectra(2, 64, 33)
    features = network.features(x)
    assert features.shape == (2, size)
    assert network(x).shape == (2, 5)
    want = features @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(network(x), want)


@pytest.mark.parametrize("name", ["slim", "resnet18"])
@pytest.mark.parametrize("side", [32, 64, 224])
def test_maps_of_a_half_plane_are_half_as_wide(name, side):
    network, widths = build_network(name, width=8).eval(), []
    for stage in (network.body.conv1, network.body.layer1, network.body.layer2, network.body.layer3):
        stage.register_forward_hook(lambda module, inputs, output: widths.append(output.shape[3]))
    network(spectra(1, side, side))
    network(spectra(1, side, side // 2 + 1))
    whole, half = widths[:4], widths[4:]
    assert half == [width // 2 for width in whole]


def test_all_columns_of_a_half_plane_are_seen():
    network, seen = build_network("slim", width=8), []
    network.body.conv1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = spectra(2).requires_grad_()
    network(x)
    slow = nn.functional.conv2d(nn.functional.pad(x, (2, 2, 3, 3)), network.body.conv1.weight, stride=2)
    torch.testing.assert_close(seen[0], slow)
    seen[0].square().sum().backward()
    assert (x.grad.abs().amax((0, 1, 2)) > 0).all()


def test_the_slim_network_has_one_basic_block_a_stage():
    network = build_network("slim", width=12)
    shapes = [tuple(p.shape) for n, p in network.named_parameters() if n.endswith("conv1.weight")]
    assert shapes == [(12, 3, 7, 7), (12, 12, 3, 3), (24, 12, 3, 3), (48, 24, 3, 3), (96, 48, 3, 3)]


@pytest.mark.parametrize("count", [1, 13])
@pytest.mark.parametrize(("height", "width"), [(16, 9), (32, 17), (32, 32), (34, 18), (128, 65), (128, 128)])
def test_any_batch_can_be_trained_on(count, height, width):
    # A single small image leaves one value per channel, which has no variance to normalise by.
    network = build_network("slim", width=8).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    x = spectra(count, height, width)
    loss = nn.functional.cross_entropy(network(x), torch.arange(count) % 2)
    loss.backward()
    optimiser.step()
    for name, value in network.state_dict().items():
        assert torch.isfinite(value.float()).all(), name
    logits = network.eval()(x)
    assert logits.shape == (count, 2)
    assert torch.isfinite(logits).all()


def test_larger_batches_are_normalised_as_torch_does_it():
    network = build_network("slim", width=8).train()
    stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()).train()
    stem[0].load_state_dict(network.body.conv1.state_dict())
    x = spectra(5, width=32)
    seen = []
    network.body.relu.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(x)
    torch.testing.assert_close(seen[0], stem(x))
    torch.testing.assert_close(network.body.bn1.running_var, stem[1].running_var)
    assert network.body.bn1.num_batches_tracked == 1


def test_a_grown_head_answers_as_before_for_the_old_outputs():
    network = build_network("slim", width=8).eval()
    x = spectra(7)
    before, weight, bias = network(x), network.head.weight.clone(), network.head.bias.clone()
    features = network.features(x)
    network.grow_head(2, torch.Generator().manual_seed(5))
    assert torch.equal(network.head.weight[:2], weight)
    assert torch.equal(network.head.bias[:2], bias)
    assert torch.equal(network.features(x), features)
    assert network(x).shape == (7, 4)
    torch.testing.assert_close(network(x)[:, :2], before, rtol=0, atol=1e-6)
    assert network.head.out_features == 4
    assert all(p.requires_grad for p in network.head.parameters())


def test_the_new_outputs_are_drawn_like_a_new_head_and_from_the_generator_alone():
    drawn = []
    for run in range(2):
        network = build_network("slim", width=8)
        torch.manual_seed(run)  # must not matter
        network.grow_head(400, torch.Generator().manual_seed(9))
        drawn.append(network.head.weight[2:].detach())
    assert torch.equal(*drawn)
    bound = 64**-0.5
    assert drawn[0].abs().max() <= bound
    assert drawn[0].std() == pytest.approx(bound / 3**0.5, rel=0.05)  # uniform
    assert network.head.bias[2:].abs().max() <= bound


def test_the_same_seed_builds_the_same_network():
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(build_network("slim", width=8).state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", "-nested.pth"])
def test_weights_of_a_torchvision_file_are_taken(tmp_path, suffix):
    torch.manual_seed(2)
    source = torchvision.models.resnet18(weights=None).eval()
    source.bn1.running_mean.uniform_(-1, 1)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(source.state_dict(), path)
    else:
        torch.save({"state_dict": source.state_dict()} if "nested" in suffix else source.state_dict(), path)
    network = build_network("resnet18", weights=str(path)).eval()
    source.fc = nn.Identity()
    x = spectra(2, 64, 64)
    torch.testing.assert_close(network.features(x), source(x))
    assert network.head.out_features == 2


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("resnet34", "resnet18.pth", r"weights is '.*resnet18\.pth', which does not fit resnet34: \d+ entries missing"),
        ("resnet50", "resnet18.pth", "which does not fit resnet50"),
        ("resnet18", "one.pth", "does not fit resnet18"),
        ("slim", "one.pth", "slim network has no pretrained weights"),
        ("resnet18", "nothing.pth", "there is no such file; allowed: imagenet, or a file"),
        ("vgg", "one.pth", f"network is 'vgg'; allowed: {', '.join(NETWORKS)}"),
    ],
)
def test_what_does_not_fit_is_refused(name, file, words, tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "one.pth")
    with pytest.raises(FileNotFoundError if file == "nothing.pth" else ValueError, match=words):
        build_network(name, weights=str(tmp_path / file))


def test_pickled_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    path = tmp_path / "evil.pth"
    torch.save({"conv1.weight": Evil()}, path)
    with pytest.raises(Exception, match="(?i)weights.only"):
        build_network("resnet18", weights=str(path))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("error", [urllib.error.URLError("no route to host"), OSError("disk full")])
def test_unavailable_imagenet_weights_are_told_in_a_sentence(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(FileNotFoundError) as caught:
        build_network("resnet18", weights="imagenet")
    assert all(words in str(caught.value) for words in ("weights is 'imagenet'", str(error), "local file"))


def test_imagenet_weights_are_torchvisions(monkeypatch):
    state = torchvision.models.resnet18(weights=None).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: dict(state))
    network = build_network("resnet18", weights="imagenet")
    torch.testing.assert_close(network.body.layer3[0].conv2.weight, state["layer3.0.conv2.weight"])


def test_evaluating_leaves_statistics_and_restores_the_mode():
    network = build_network("slim", width=8).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with evaluating(network) as inside:
        assert not any(m.training for m in inside.modules())
        network(spectra(4))
    assert all(m.training for m in network.modules())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    with pytest.raises(KeyError), evaluating(network):  # even when something goes wrong inside
        raise KeyError
    assert network.training
    with evaluating(network.eval()):
        pass
    assert not network.training
