"""GDumb: keep a balanced memory, and train a new network on it when asked."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from cldf_core.agents.base import Agent
from cldf_core.buffers import Balanced, packing_of
from cldf_core.options import GDumbOptions
from cldf_core.stream import Batch, Step


def set_memory_lr(restarts: CosineAnnealingWarmRestarts, epoch: float) -> float:
    """Sets GDumb's learning rate and returns it: a warm-up epoch at a tenth, then cosine cycles of 1, 2, 4, … epochs.

    `restarts` is torch's schedule with T_0 = 1 and T_mult = 2, `epoch` the epochs done so far, with fractions; the
    warm-up epoch is the one from 0 to 1.

    Source: Prabhu, Torr & Dokania, ECCV 2020, section 4; Loshchilov & Hutter, "SGDR", ICLR 2017, equation (5).
    """
    restarts.step(max(epoch - 1, 0))
    (group,) = restarts.optimizer.param_groups
    group["lr"] *= 0.1 if epoch < 1 else 1
    return float(group["lr"])


class GDumb(Agent):
    """GDumb (Prabhu, Torr & Dokania, ECCV 2020).

    While images arrive, only the greedy balanced sampler over (domain, class) works. After each domain a new network is
    trained on the memory alone: SGD with momentum 0.9, cosine warm restarts (`set_memory_lr`), clipped gradients. The
    paper's CutMix is left out, since spectra do not mix: a patch of one plane pasted into another is no spectrum.

    Original: balanced over the two classes only, so that nothing comes in once the memory is full; after each chunk
    the current network is trained on, at a constant learning rate.
    """

    options: GDumbOptions
    memory: Balanced

    def __init__(self, options: GDumbOptions) -> None:
        super().__init__(options)
        self.memory = Balanced(options.memory, packing_of(options), options.gdumb_groups)

    def begin_step(self, step: Step) -> Step:
        """The images are only looked at once; training comes at the end."""
        return replace(step, epochs=1)

    def observe(self, batch: Batch) -> float:
        """Offers the batch to the memory; there is no loss yet, so NaN."""
        self.memory.offer(batch, self.generator("memory"))
        return float("nan")

    def end_step(self, step: Step) -> None:
        """After a domain's last chunk (original: after every chunk): a network, trained on the memory."""
        if step.last or self.options.refit_after == "chunk":
            if self.options.refit == "fresh":
                self.network = self.fresh_network()
            self.fit(step)

    def fit(self, step: Step) -> None:
        """Trains the network on the memory, as it is after a step."""
        o, parameters = self.options, list(self.network.parameters())
        kind: Callable[..., torch.optim.Optimizer] = partial(torch.optim.SGD, momentum=o.memory_momentum)
        if o.memory_optimiser == "adam":
            kind = torch.optim.Adam
        optimiser = kind(parameters, lr=o.memory_lr, weight_decay=o.memory_weight_decay)
        restarts = CosineAnnealingWarmRestarts(optimiser, T_0=1, T_mult=2, eta_min=o.memory_lr_min)
        samples = self.memory.samples()
        fitting = Step(step.index, "memory", step.chunk, True, samples, o.memory_epochs, o.memory_batch, o.drop_last)
        batches = fitting.updates // o.memory_epochs
        self.network.train()
        for at, batch in enumerate(fitting.batches(o.seed, "refit")):
            if o.memory_schedule == "warm-restarts":
                set_memory_lr(restarts, batch.epoch + at % batches / batches)
            optimiser.zero_grad(set_to_none=True)
            self.cross_entropy(batch).backward()
            torch.nn.utils.clip_grad_norm_(parameters, o.clip)
            optimiser.step()
