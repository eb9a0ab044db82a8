"""Optimisers, and how their learning rate changes over a step."""

from __future__ import annotations

from torch import nn, optim

from cldf_core.options import Options
from cldf_core.stream import Step


def new_optimiser(options: Options, network: nn.Module) -> optim.Optimizer:
    """The optimiser that the options name."""
    o = options
    if o.optimiser == "adam":
        return optim.Adam(network.parameters(), lr=o.lr, weight_decay=o.weight_decay)
    return optim.SGD(
        network.parameters(), lr=o.lr, momentum=o.momentum, dampening=o.dampening, weight_decay=o.weight_decay
    )


def new_schedule(options: Options, optimiser: optim.Optimizer, step: Step) -> optim.lr_scheduler.LRScheduler | None:
    """The learning rate over a step's updates; None where it stays as it is.

    With schedule "constant" the optimiser lasts, and what `lr_decay` has taken in earlier steps stays taken.
    """
    if options.schedule == "one-cycle":
        # torch's one-cycle needs two updates to have a rise and a fall.
        return optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=options.lr, total_steps=max(step.updates, 2), cycle_momentum=False
        )
    if options.lr_decay and step.updates:
        return optim.lr_scheduler.StepLR(optimiser, step.updates // step.epochs, gamma=1 - options.lr_decay)
    return None
