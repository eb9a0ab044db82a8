"""Trains the generators of cldf-mini again, on its training photographs: `cldf mini train`."""

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from cldf_core.data.console import progress_bar
from cldf_core.data.files import whole_file
from cldf_core.data.mini.crops import half_size, photographs_of
from cldf_core.data.mini.generators import new_generators

STEPS = 700
BATCH = 8
PATCH = 64  # pixels of a training patch
LR = 2e-3
# The first third learns to copy; only then does the discriminator ask for detail.
ADVERSARIAL_FROM = STEPS // 3
ADVERSARIAL_WEIGHT = 0.02
# Asked harder for detail, super-resolution leaves patterns of pure chance: others with every seed.
DETAIL = {"vfhq": 0.005}
# The weights that are kept are a running mean: what a single step happened to do does not stay.
DECAY = 0.995


def train_generators(folder: Path, *, seed: int = 0, only: tuple[str, ...] = ()) -> dict[str, float]:
    """Trains the generators and writes their weights as float16, a safetensors file each; returns the seconds of each.

    The seed is that of weights, patches and discriminators; `only` names the generators to train, none trains all, and
    a name that no generator has is a ValueError.
    """
    torch.manual_seed(seed)
    generators = new_generators()
    if unknown := set(only) - set(generators):
        raise ValueError(f"no generator named {sorted(unknown)}; allowed: {', '.join(generators)}")
    folder.mkdir(parents=True, exist_ok=True)
    photographs, seconds = photographs_of("train"), {}
    for number, (name, generator) in enumerate(generators.items()):
        if only and name not in only:
            continue
        began = time.perf_counter()
        torch.manual_seed(1000 * seed + number)
        for layer in generator.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                layer.reset_parameters()
        _train(name, generator, photographs, 1000 * seed + number)
        weights = {key: value.detach().half() for key, value in generator.state_dict().items()}
        with whole_file(folder / f"{name}.safetensors") as partial:
            save_file(weights, partial)
        seconds[name] = time.perf_counter() - began
    return seconds


def _train(name: str, generator: nn.Module, photographs: list[str], seed: int) -> None:
    """Trains a generator in place: L1, joined by a hinge adversarial loss after the first third.

    The learning rate falls in the last third.
    """
    random, critic = np.random.RandomState(seed), _discriminator()
    adam = torch.optim.Adam(generator.parameters(), LR, betas=(0.5, 0.99))
    averaged = AveragedModel(generator, avg_fn=_running_mean)
    critic_adam = torch.optim.Adam(critic.parameters(), LR / 4, betas=(0.5, 0.99))
    with progress_bar(STEPS, name, unit="step") as bar:
        for step in range(STEPS):
            real = _patches(random, photographs)
            fake = generator(real)
            loss = F.l1_loss(fake, real)
            if step >= ADVERSARIAL_FROM:
                critic_loss = F.relu(1 - critic(real)).mean() + F.relu(1 + critic(fake.detach())).mean()
                critic_adam.zero_grad()
                critic_loss.backward()
                critic_adam.step()
                loss = loss - DETAIL.get(name, ADVERSARIAL_WEIGHT) * critic(fake).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            averaged.update_parameters(generator)
            for group in adam.param_groups:
                group["lr"] = LR * min(1.0, 3 * (STEPS - step) / STEPS)
            bar.update()
    generator.load_state_dict(averaged.module.state_dict())


def _discriminator() -> nn.Module:
    """A patch discriminator: (N, 3, H, W) to one score for every place, high = real."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 1, 3, 1, 1),
    )


def _patches(random: np.random.RandomState, photographs: list[str]) -> Tensor:
    """Random patches of random training photographs: float in [-1, 1], shape (BATCH, 3, PATCH, PATCH)."""
    patches = []
    for index in random.randint(len(photographs), size=BATCH):
        pixels = half_size(photographs[index])
        top, left = (random.randint(length - PATCH + 1) for length in pixels.shape[:2])
        patches.append(pixels[top : top + PATCH, left : left + PATCH])
    return torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _running_mean(mean: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    """Exponential mean whose first steps, far from the end, are forgotten faster."""
    return torch.lerp(mean, new, max(1 - DECAY, 9 / (10 + int(count))))
