"""Optimisers, and how their learning rate changes over a step."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim

from cldf_core.options import Options, VirtualStep
from cldf_core.resnet import Network
from cldf_core.stream import Step


class GradientDescent:
    """What trains a network: an optimiser, and a schedule of its learning rate."""

    options: Options
    network: Network
    updates_per_batch: int = 1
    optimiser: optim.Optimizer | None = None
    schedule: optim.lr_scheduler.LRScheduler | None = None

    def start_optimiser(self, step: Step, *, again: bool = False) -> None:
        """A new optimiser and schedule for this step; with schedule "constant" the optimiser lasts, unless `again`."""
        if self.options.schedule != "constant" or self.optimiser is None or again:
            self.optimiser = self.new_optimiser()
        updates = step.updates * self.updates_per_batch
        self.schedule = new_schedule(self.options, self.optimiser, updates, updates // step.epochs)

    def new_optimiser(self) -> optim.Optimizer:
        """The optimiser that the options name, for the network as it is now.

        It is fused: one pass over the weights makes all of an update, which saves up to a third of a step's time.
        """
        o, weights = self.options, self.network.parameters()
        if o.optimiser == "adam":
            return optim.Adam(weights, lr=o.lr, weight_decay=o.weight_decay, fused=True)
        return optim.SGD(weights, o.lr, o.momentum, o.dampening, o.weight_decay, fused=True)

    def restore_optimiser(self, optimiser: Mapping[str, Any] | None, schedule: Mapping[str, Any] | None) -> None:
        """Optimiser and schedule as they were, of the network as it is now, from the states of both, if there are."""
        if optimiser is None:
            return
        self.optimiser, self.schedule = self.new_optimiser(), None
        if schedule is not None:  # to make one changes the optimiser's rate
            updates, per_epoch = (schedule.get(name, 1) for name in ("total_steps", "step_size"))
            self.schedule = new_schedule(self.options, self.optimiser, updates, per_epoch)
        self.optimiser.load_state_dict(dict(optimiser))
        if self.schedule is not None:
            self.schedule.load_state_dict(dict(schedule or {}))

    @property
    def lr(self) -> float:
        """The optimiser's learning rate at this moment."""
        assert self.optimiser is not None
        return float(self.optimiser.param_groups[0]["lr"])

    def update(self, loss: Tensor) -> float:
        """Backward pass and one step of optimiser and schedule; returns the loss."""
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        self.step_optimiser()
        return loss.item()

    def step_optimiser(self) -> None:
        """One step with the gradients that there are."""
        assert self.optimiser is not None
        self.optimiser.step()
        if self.schedule is not None:
            self.schedule.step()


def new_schedule(
    options: Options, optimiser: optim.Optimizer, updates: int, updates_per_epoch: int
) -> optim.lr_scheduler.LRScheduler | None:
    """The learning rate over a step's updates; None where it stays as it is.

    With schedule "constant" the optimiser lasts, and what `lr_decay` has taken in earlier steps stays taken.
    """
    if options.schedule == "one-cycle":
        # torch's one-cycle needs two updates to have a rise and a fall.
        return optim.lr_scheduler.OneCycleLR(optimiser, options.lr, total_steps=max(updates, 2), cycle_momentum=False)
    if options.lr_decay and updates:
        return optim.lr_scheduler.StepLR(optimiser, updates_per_epoch, gamma=1 - options.lr_decay)
    return None


@torch.no_grad()
def virtual_weights(
    network: nn.Module, optimiser: optim.Optimizer, gradients: Sequence[Tensor], step: VirtualStep, lr: float
) -> dict[str, Tensor]:
    """The weights after a step that is only imagined, by their names; network and optimiser stay as they are.

    "sgd" is the paper's, theta - lr g. "preconditioned" has Adam's scale as well, theta - lr g / (sqrt(v) + epsilon),
    so that these gradients alone move the weights. They are already in the second moment v, which is corrected for its
    start as in the next update; so there is one before Adam's first. Neither has momentum or weight decay. "optimiser"
    is the optimiser's whole next step: momentum, weight decay, its own rate of the moment instead of `lr`.

    The gradients are one for each parameter; the optimiser has these in one group, and is Adam for "preconditioned".

    Source: Aljundi et al., NeurIPS 2019, section 3.1; Kingma & Ba, "Adam", ICLR 2015, algorithm 1.
    """
    named, (group,) = dict(network.named_parameters()), optimiser.param_groups
    if step == "optimiser":
        twin = copy.deepcopy(optimiser)  # with copies of the weights and of what it remembers
        for weight, g in zip(twin.param_groups[0]["params"], gradients, strict=True):
            weight.grad = torch.empty_like(weight).copy_(g)  # fused steps read both in the weight's memory order
        twin.step()
        return dict(zip(named, twin.param_groups[0]["params"], strict=True))
    virtual = {}
    for (name, weight), g in zip(named.items(), gradients, strict=True):
        direction = g
        if step == "preconditioned":
            beta, seen = group["betas"][1], optimiser.state.get(weight) or {"step": 0, "exp_avg_sq": 0}
            v = (beta * seen["exp_avg_sq"] + (1 - beta) * g.square()) / (1 - beta ** (float(seen["step"]) + 1))
            direction = g / (v.sqrt() + group["eps"])
        virtual[name] = weight - lr * direction
    return virtual
