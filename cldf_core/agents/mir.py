"""Maximally interfered retrieval: replay what the new batch would harm most."""

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from cldf_core.agents.optimisers import virtual_weights
from cldf_core.agents.replay import ER
from cldf_core.buffers import loss_rises
from cldf_core.options import MIROptions, VirtualStep
from cldf_core.stream import Batch


class MIR(ER):
    """Maximally interfered retrieval (Aljundi et al., NeurIPS 2019).

    As ER, but of `candidates` random images of earlier domains (by default five times as many as are replayed, as the
    authors have it) those are replayed whose loss would rise most in a virtual step with the incoming batch's gradient
    alone. With SGD that step is the paper's, theta - lr g, at the rate of the moment. With Adam it is preconditioned
    (see `virtual_weights`), since plain SGD at Adam's rate would move next to nothing.

    The mean loss is of two passes, as in the authors' code (which adds two losses up): the gradient of the incoming
    batch serves the virtual step and the update. So BatchNorm normalises incoming and replayed images by themselves.

    Original: as ER's; images of the current domain are candidates too; the virtual step is SGD's at a rate of its own,
    whatever the optimiser; candidates are scored in training mode, which moves BatchNorm's statistics (in the authors'
    code too).
    """

    options: MIROptions

    @property
    def virtual_step(self) -> VirtualStep:
        """How the virtual step is made."""
        return self.options.virtual_step or ("preconditioned" if self.options.optimiser == "adam" else "sgd")

    def retrieve(self, batch: Batch) -> Tensor:
        """The `replay` candidates whose loss the virtual step would raise most."""
        o = self.options
        slots = self.draw(o.candidates or 5 * o.replay)
        if not len(slots) or (len(slots) <= o.replay and o.mir_statistics == "frozen"):
            return slots  # nothing to choose from
        if o.replay_passes == "joined":
            gradients = self.gradients(batch)
        else:  # the incoming pass has left its gradients behind
            gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        rises = self.rises(gradients, self.memory.take(slots), self.virtual_step)
        return slots[rises.argsort(descending=True, stable=True)[: o.replay].cpu()]

    def rises(self, gradients: list[Tensor], candidates: Batch, step: VirtualStep) -> Tensor:
        """How much a virtual step with these gradients would raise each candidate's loss, shape (c,)."""
        assert self.optimiser is not None
        lr, moving = self.options.virtual_lr or self.lr, self.options.mir_statistics == "moving"
        weights = virtual_weights(self.network, self.optimiser, gradients, step, lr)
        spectra, labels = self.to_device(candidates.spectra), candidates.labels.to(self.device)
        with self.precision:
            return loss_rises(self.network, weights, spectra, labels, moving=moving)

    def gradients(self, batch: Batch) -> list[Tensor]:
        """The gradients of a batch's mean loss in training mode, one for each parameter; no statistics move."""
        statistics = {name: b.clone() for name, b in self.network.named_buffers()}
        with self.precision:
            logits = functional_call(self.network, statistics, (self.to_device(batch.spectra),))
        loss = F.cross_entropy(logits.float(), batch.labels.to(self.device))
        return list(torch.autograd.grad(loss, list(self.network.parameters())))
