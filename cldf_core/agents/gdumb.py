"""GDumb: keep a balanced memory, and train a new network on it when asked."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from cldf_core.agents.base import Agent
from cldf_core.buffers import Balanced, Reservoir, packing_of
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
    With `gdumb_groups` "none" a reservoir takes the sampler's place, which shows what the balance does.

    Original: balanced over the two classes only, so that nothing comes in once the memory is full; after each chunk
    the current network is trained on, at a constant learning rate.
    """

    options: GDumbOptions
    memory: Balanced | Reservoir
    kept = (*Agent.kept, "refits", "done", "per_epoch")

    def __init__(self, options: GDumbOptions) -> None:
        super().__init__(options)
        if options.gdumb_groups == "none":
            self.memory = Reservoir(options.memory, packing_of(options))
        else:
            self.memory = Balanced(options.memory, packing_of(options), options.gdumb_groups)
        self.refits = False  # whether the network is trained on the memory, or images arrive
        self.restarts: CosineAnnealingWarmRestarts | None = None
        self.done, self.per_epoch = 0, 1  # batches of the memory

    def parts(self, step: Step) -> Iterator[Step]:
        """The images, looked at once; after a domain's last chunk (original: after every chunk) also the memory."""
        o = self.options
        yield replace(step, epochs=1)
        if step.last or self.options.refit_after == "chunk":
            step = replace(step, name="memory", samples=self.memory.samples(), fixed_order=False, purpose="refit")
            yield replace(step, epochs=o.memory_epochs, batch_size=o.memory_batch)

    def begin_step(self, step: Step) -> None:
        """For the memory: a new network (original: the one that there is) and a new optimiser."""
        self.refits = step.purpose == "refit"
        if self.refits:
            if self.options.refit == "fresh":
                self.network = self.fresh_network()
            self.optimiser = self.new_optimiser()
            self.done, self.per_epoch = 0, step.updates // step.epochs

    def observe(self, batch: Batch) -> float:
        """Offers the batch to the memory, which gives no loss, so NaN; or makes one update with a batch of it."""
        if not self.refits:
            self.memory.offer(batch, self.generator("memory"))
            return float("nan")
        o = self.options
        if o.memory_schedule == "warm-restarts":
            assert self.restarts is not None
            set_memory_lr(self.restarts, batch.epoch + self.done % self.per_epoch / self.per_epoch)
        self.done += 1
        return super().observe(batch)

    def step_optimiser(self) -> None:
        """One step with the clipped gradients."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip)
        super().step_optimiser()

    def new_optimiser(self) -> torch.optim.Optimizer:
        """That of the memory, with its restarts."""
        o, weights = self.options, self.network.parameters()
        kind: Callable[..., torch.optim.Optimizer] = partial(torch.optim.SGD, momentum=o.memory_momentum)
        if o.memory_optimiser == "adam":
            kind = torch.optim.Adam
        optimiser = kind(weights, lr=o.memory_lr, weight_decay=o.memory_weight_decay, fused=True)
        self.restarts = CosineAnnealingWarmRestarts(optimiser, T_0=1, T_mult=2, eta_min=o.memory_lr_min)
        return optimiser
