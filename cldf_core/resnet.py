"""The networks: residual networks whose features and head are apart.

torchvision's ResNet-18, -34 and -50, and a slim one of the same blocks for small data on two cores.
Agents read `features` (herding, nearest mean) and exchange or grow `head`.

Source: He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from cldf_core.options import UserError

if TYPE_CHECKING:
    from torchvision.models import ResNet

NETWORKS = ("slim", "resnet18", "resnet34", "resnet50")


class NoWeights(UserError, FileNotFoundError):
    """Weights that were asked for and cannot be had."""


class Norm(nn.BatchNorm2d):
    """BatchNorm that also takes a single small image.

    Its one value per channel has no variance, so the running statistics stand in and stay as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Shape (N, C, H, W), as given."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, eps=self.eps)
        return super().forward(input)


class Network(nn.Module):
    """A body that turns spectra (N, 3, H, W) into features (N, feature_size), and a linear head on top.

    Output 0 of the head means real, 1 fake (with heads of their own, as iCaRL's: 2d and 2d + 1 for domain d).

    Attributes:
        means: of iCaRL's classes, unit vectors, float64, shape (outputs, feature_size), a row of NaN where a class
            has no image; None where the head gives the verdict. No part of the state dict.
    """

    means: Tensor | None = None

    def __init__(self, body: nn.Module, feature_size: int, outputs: int = 2) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(feature_size, outputs)

    def features(self, spectra: Tensor) -> Tensor:
        """Shape (N, 3, H, W) to (N, feature_size)."""
        # Padded by one column less, a half plane's odd columns are all seen, and maps are half as wide as the plane's.
        first: Any = self.body.conv1
        first.padding = (3, 3 - spectra.shape[3] % 2)
        return self.body(spectra)

    def forward(self, spectra: Tensor) -> Tensor:
        """Logits, shape (N, outputs)."""
        return self.head(self.features(spectra))

    @property
    def nbytes(self) -> int:
        """The bytes of weights and statistics."""
        return sum(part.nbytes for part in self.state_dict().values())

    def fake_logits(self, spectra: Tensor, domain: int | None = None) -> Tensor:
        """Logit of fake, float64, shape (N,), on the CPU: P(fake) is its sigmoid, the verdict "fake" from 0 up.

        The best output of the fakes minus the best of the reals, of all domains that have their own outputs or, where
        one is told, of this `domain`; with `means`, min d² over real means - min d² over fake means, d being the
        distance of L2-normalised features.
        """
        if self.means is None:
            outputs = self(spectra).float()
            outputs = outputs if domain is None else outputs[:, 2 * domain : 2 * domain + 2]
            return (outputs[:, 1::2].amax(1) - outputs[:, ::2].amax(1)).double().cpu()
        features = self.unit_features(spectra)
        nearest = []
        for means in (self.means[::2], self.means[1::2]):
            known = means[~means.isnan().any(1)]
            farthest = features.new_full((len(features),), 4.0)  # the squared distance of opposite unit vectors
            nearest.append(torch.cdist(features, known).square().min(1).values if len(known) else farthest)
        return nearest[0] - nearest[1]

    def score(self, spectra: Tensor, *, mixed_precision: bool = False, domain: int | None = None) -> np.ndarray:
        """`fake_logits` in evaluation mode, without gradients, wherever the network is; float64, shape (N,)."""
        device = self.head.weight.device
        with torch.no_grad(), evaluating(self), torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision):
            return self.fake_logits(spectra.to(device, memory_format=torch.channels_last), domain).numpy()

    def unit_features(self, spectra: Tensor) -> Tensor:
        """L2-normalised features, float64, shape (N, feature_size), on the CPU."""
        return F.normalize(self.features(spectra).double().cpu(), dim=1)

    def reverse_channels(self) -> None:
        """Turns the first layer's weights from RGB to BGR input, or back."""
        first = self.body.get_parameter("conv1.weight")
        with torch.no_grad():
            first.copy_(first.flip(1))

    def grow_head(self, outputs: int, generator: Generator) -> None:
        """Adds outputs to the head, drawn as torch draws those of a new one; the old ones stay as they are."""
        old = self.head
        bound = old.in_features**-0.5
        weight = torch.empty(outputs, old.in_features).uniform_(-bound, bound, generator=generator)
        bias = torch.empty(outputs).uniform_(-bound, bound, generator=generator)
        self.head = nn.utils.skip_init(nn.Linear, old.in_features, old.out_features + outputs, device=old.weight.device)
        with torch.no_grad():
            self.head.weight.copy_(torch.cat([old.weight, weight.to(old.weight)]))
            self.head.bias.copy_(torch.cat([old.bias, bias.to(old.bias)]))


def build_network(
    name: str = "slim",
    *,
    outputs: int = 2,
    width: int = 24,
    weights: str | None = None,
    generator: Generator | None = None,
) -> Network:
    """A network of NETWORKS for spectra or images of 3 channels, with so many outputs of its head.

    Args:
        width: channels of the slim network's first stage; each of its four stages is one block, twice as wide as the
            one before.
        weights: None for random weights, "imagenet" for torchvision's, or the path of a .safetensors, .pt or .pth file
            with a torchvision state dict. The head stays random.
        generator: draws the seed of the random weights; without one they come from torch's global generator.

    Raises:
        ValueError: an unknown name, weights for the slim network, or weights that do not fit.
        NoWeights: there is no such file, or torchvision cannot get the ImageNet weights.
    """
    if generator is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            return build_network(name, outputs=outputs, width=width, weights=weights)
    if name not in NETWORKS:
        raise ValueError(f"network is {name!r}; allowed: {', '.join(NETWORKS)}")
    # Imported here and below: notebooks that train nothing need not wait for it.
    from torchvision import models

    if name == "slim":
        if weights:
            raise ValueError(f"weights is {weights!r}, but the slim network has no pretrained weights")
        body: ResNet = _slim(width)
    else:
        body = getattr(models, name)(weights=None, norm_layer=Norm)
        if weights:
            _load_body(body, name, weights)
    feature_size = body.fc.in_features
    body.fc = nn.Identity()
    return Network(body, feature_size, outputs).to(memory_format=torch.channels_last)


def load_original(network: Network, path: str) -> None:
    """Loads a .pth file of the original code, head and all."""
    network.load_state_dict(from_original(torch.load(path, map_location="cpu", weights_only=True)["state_dict"]))


def from_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in the original code's order of labels (0 = fake, 1 = real) and colours, for a `Network`."""
    names = {key: key.replace("fc.", "head.") if key.startswith("fc.") else f"body.{key}" for key in state}
    return {names[key]: value.float() for key, value in swapped(state).items()}


def swapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Changes a state dict from the original's order of labels and colours to this project's, or back."""
    dimensions = {"conv1.weight": 1, "fc.weight": 0, "fc.bias": 0}
    return {k: v.flip(dimensions[k]).contiguous() if k in dimensions else v for k, v in state.items()}


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode for a while: BatchNorm uses its running statistics and does not move them."""
    training = network.training
    network.eval()
    try:
        yield network
    finally:
        network.train(training)


def _slim(width: int) -> ResNet:
    from torchvision.models.resnet import BasicBlock, ResNet

    with torch.device("meta"):  # a wide network's random weights would be drawn in vain
        net = ResNet(BasicBlock, [1, 1, 1, 1], norm_layer=Norm)
    net.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
    net.bn1 = Norm(width)
    net.inplanes = width
    for stage in range(4):
        setattr(net, f"layer{stage + 1}", net._make_layer(BasicBlock, width << stage, 1, stride=min(stage, 1) + 1))
    net.fc = nn.Linear(width << 3, 2)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


def _load_body(body: ResNet, name: str, weights: str) -> None:
    if weights == "imagenet":
        from torchvision import models

        try:
            state = models.get_model_weights(name)["DEFAULT"].get_state_dict(progress=False)
        except OSError as error:
            raise NoWeights(
                f"weights is 'imagenet', but torchvision could not get them ({error}); "
                "give the path of a local file, or leave weights empty to train from scratch"
            ) from error
    else:
        path = Path(weights)
        if not path.is_file():
            raise NoWeights(f"weights is {weights!r}: there is no such file; allowed: imagenet, or a file")
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        state = state.get("state_dict", state)
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    unfit = f"weights is {weights!r}, which does not fit {name}"
    try:
        result = body.load_state_dict(state, strict=False)
    except RuntimeError as error:
        last = str(error).splitlines()[-1].strip()
        raise ValueError(f"{unfit}: {last}") from error
    missing = [key for key in result.missing_keys if not key.startswith("fc.")]
    if missing or result.unexpected_keys:
        raise ValueError(f"{unfit}: {len(missing)} entries missing, {len(result.unexpected_keys)} unknown")
