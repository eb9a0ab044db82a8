"""Dark experience replay ++: remember what the network answered, too."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from cldf_core.agents.base import Agent
from cldf_core.buffers import Packing, Reservoir, packing_of, retrieve_random
from cldf_core.options import DERPPOptions
from cldf_core.stream import Batch


class DarkReservoir(Reservoir):
    """A reservoir that keeps beside each image the logits that the network gave for it when it was written.

    Attributes:
        logits: float32, shape (capacity, 2).
    """

    def __init__(self, capacity: int, packing: Packing = "half", counting: str = "image") -> None:
        super().__init__(capacity, packing, counting)
        self.logits = torch.zeros(capacity, 2)

    @property
    def nbytes(self) -> int:
        """The bytes that the remembered spectra and logits occupy."""
        return super().nbytes + self.logits[: self.size].nbytes

    def remember(self, batch: Batch, logits: Tensor, generator: Generator) -> None:
        """Offers each image of the batch together with its logits, shape (n, 2)."""
        for slot, row in self.offer(batch, generator).items():
            self.logits[slot] = logits[row]


class DERPP(Agent):
    """Dark experience replay ++ (Buzzega, Boschi, Porrello, Abati & Calderara, NeurIPS 2020).

    With an incoming batch x, y and two draws of `replay` images each from a reservoir, x', z' and x'', y'', where z'
    are the logits that were stored with the images, it descends

        CE(f(x), y) + alpha MSE(f(x'), z') + beta CE(f(x''), y'')        (equation 6; as the authors' code, with means)

    in three forward passes, so that BatchNorm normalises each by itself. Both draws are from the whole memory, the
    current domain's images included. After the update the batch is offered, in every epoch, with the logits of that
    forward pass: offered in the first epoch alone, all logits would be those of a network that has not yet learned.
    """

    options: DERPPOptions
    memory: DarkReservoir

    def __init__(self, options: DERPPOptions) -> None:
        super().__init__(options)
        self.memory = DarkReservoir(options.memory, packing_of(options), options.reservoir_count)

    def observe(self, batch: Batch) -> float:
        """One update with the batch and two draws; then the batch is remembered with its logits."""
        o = self.options
        self.network.train()
        logits = self.logits(batch.spectra)
        loss = F.cross_entropy(logits, batch.labels.to(self.device))
        if len(self.memory):
            dark, labelled = self.draw(), self.draw()
            now, then = self.logits(self.memory.take(dark).spectra), self.memory.logits[dark].to(self.device)
            loss = loss + o.derpp_alpha * F.mse_loss(now, then)
            loss = loss + o.derpp_beta * self.cross_entropy(self.memory.take(labelled))
        self.update(loss)
        if batch.epoch == 0 or o.offers == "every-epoch":
            self.memory.remember(batch, logits.detach().cpu(), self.generator("memory"))
        return loss.item()

    def draw(self) -> Tensor:
        """Up to `replay` random slots of the whole memory."""
        return retrieve_random(self.memory, self.options.replay, self.generator("replay"))
