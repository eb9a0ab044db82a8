"""Train the forgers of cldf-mini anew: `python -m cldf_core.data.mini.train FOLDER`."""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from cldf_core.data.mini.crops import half_size, read_splits
from cldf_core.data.mini.generators import new_forgers

STEPS = 700
BATCH = 8
CROP = 64
LR = 2e-3
# The first third learns to copy; only then does the discriminator ask for detail.
ADVERSARIAL_FROM = STEPS // 3
ADVERSARIAL_WEIGHT = 0.02
# Asked harder for detail, super-resolution leaves patterns of pure chance: others with every seed.
DETAIL = {"vfhq": 0.005}
# The weights that are kept are a running mean: what a single step happened to do does not stay.
DECAY = 0.995


def discriminator() -> nn.Module:
    """A patch discriminator: (N, 3, H, W) to one score for every place, high = real."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 1, 3, 1, 1),
    )


def _crops(random: np.random.RandomState, photographs: list[str]) -> Tensor:
    """Random crops of random training photographs: float in [-1, 1], shape (BATCH, 3, CROP, CROP)."""
    crops = []
    for index in random.randint(len(photographs), size=BATCH):
        pixels = half_size(photographs[index])
        top = random.randint(pixels.shape[0] - CROP + 1)
        left = random.randint(pixels.shape[1] - CROP + 1)
        crops.append(pixels[top : top + CROP, left : left + CROP])
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_forger(
    forger: nn.Module,
    photographs: list[str],
    *,
    seed: int,
    label: str,
    progress: bool,
    detail: float = ADVERSARIAL_WEIGHT,
) -> None:
    """Train one forger in place: L1, joined by a hinge adversarial loss after the first third.

    The learning rate falls in the last third.

    Args:
        forger: maps (N, 3, H, W) in [-1, 1] to the same shape.
        photographs: names of the photographs to learn from.
        seed: of the crops and of the discriminator's weights.
        label: what the progress bar says.
        progress: whether to show it.
        detail: weight of the adversarial loss.
    """
    random = np.random.RandomState(seed)
    critic = discriminator()
    adam = torch.optim.Adam(forger.parameters(), LR, betas=(0.5, 0.99))
    averaged = AveragedModel(forger, avg_fn=_running_mean)
    critic_adam = torch.optim.Adam(critic.parameters(), LR / 4, betas=(0.5, 0.99))
    for step in tqdm(range(STEPS), desc=label, disable=not progress, file=sys.stderr):
        real = _crops(random, photographs)
        fake = forger(real)
        loss = F.l1_loss(fake, real)
        if step >= ADVERSARIAL_FROM:
            critic_loss = F.relu(1 - critic(real)).mean() + F.relu(1 + critic(fake.detach())).mean()
            critic_adam.zero_grad()
            critic_loss.backward()
            critic_adam.step()
            loss = loss - detail * critic(fake).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        averaged.update_parameters(forger)
        for group in adam.param_groups:
            group["lr"] = LR * min(1.0, 3 * (STEPS - step) / STEPS)
    forger.load_state_dict(averaged.module.state_dict())


def _running_mean(mean: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    """Exponential mean whose first steps, far from the end, are forgotten faster."""
    return torch.lerp(mean, new, max(1 - DECAY, 9 / (10 + int(count))))


def train_forgers(
    folder: Path, *, seed: int = 0, progress: bool = True, only: tuple[str, ...] | None = None
) -> dict[str, float]:
    """Train the forgers on the training photographs and write their weights as float16.

    Args:
        folder: where to write, one safetensors file a forger.
        seed: of weights, crops and discriminators.
        progress: whether to show a bar on stderr.
        only: names of the forgers to train; None trains all.

    Returns:
        Seconds by forger.

    Raises:
        ValueError: only names a forger that does not exist.
    """
    folder = Path(folder)
    torch.manual_seed(seed)
    forgers = new_forgers()
    unknown = set(only or ()) - set(forgers)
    if unknown:
        raise ValueError(f"no forger named {sorted(unknown)}; allowed: {', '.join(forgers)}")
    folder.mkdir(parents=True, exist_ok=True)
    photographs = [row.name for row in read_splits() if row.split == "train"]
    seconds = {}
    for number, (name, forger) in enumerate(forgers.items()):
        if only is not None and name not in only:
            continue
        began = time.perf_counter()
        torch.manual_seed(1000 * seed + number)
        forger.apply(_initialise)
        detail = DETAIL.get(name, ADVERSARIAL_WEIGHT)
        train_forger(forger, photographs, seed=1000 * seed + number, label=name, progress=progress, detail=detail)
        weights = {key: value.detach().half() for key, value in forger.state_dict().items()}
        save_file(weights, folder / f"{name}.safetensors")
        seconds[name] = time.perf_counter() - began
    return seconds


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        module.reset_parameters()
