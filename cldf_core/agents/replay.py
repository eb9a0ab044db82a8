"""Experience replay, with random or maximally interfered retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cldf_core.agents.base import Agent
from cldf_core.buffers import Reservoir, mir_ranking, retrieve_random
from cldf_core.options import Options
from cldf_core.stream import Batch, Step


class ER(Agent):
    """Experience replay (Chaudhry et al. 2019) from a reservoir.

    Each incoming batch is joined with as many as `replay` random images of earlier domains, and one
    mean loss is descended. Each image is offered to the reservoir once, in the first epoch.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.memory = Reservoir(options.memory)
        self.domain = 0

    def begin_step(self, step: Step) -> Step:
        """Notes the domain, whose own images are not replayed."""
        self.domain = step.index
        return super().begin_step(step)

    def observe(self, batch: Batch) -> float:
        """One update with the batch and what is retrieved for it; then the batch is remembered."""
        value = super().observe(batch)
        if batch.epoch == 0:
            self.memory.offer(batch, self.generator)
        return value

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over the incoming and the replayed images together."""
        spectra, labels = batch.spectra, batch.labels
        slots = self.retrieve(batch)
        if len(slots):
            replayed = self.memory.take(slots)
            spectra = torch.cat([spectra, replayed.spectra])
            labels = torch.cat([labels, replayed.labels])
        return F.cross_entropy(self.logits(spectra), labels.to(self.device))

    def retrieve(self, batch: Batch) -> Tensor:
        """Slots to replay with this batch, shape (up to `replay`,)."""
        return retrieve_random(self.memory, self.options.replay, self.generator, exclude_domain=self.domain)

    def state_dict(self) -> dict[str, Any]:
        """The base's, and the memory."""
        return {**super().state_dict(), "memory": self.memory.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        super().load_state_dict(state)
        self.memory.load_state_dict(state["memory"])


class MIR(ER):
    """Maximally interfered retrieval (Aljundi et al., NeurIPS 2019).

    As ER, but of `candidates` random images those are replayed whose loss the incoming batch would
    raise most. The virtual step uses the optimiser's learning rate of the moment.
    """

    def retrieve(self, batch: Batch) -> Tensor:
        """The `replay` most interfered of the candidates."""
        slots = retrieve_random(self.memory, self.options.candidates, self.generator, exclude_domain=self.domain)
        if len(slots) <= self.options.replay:
            return slots  # nothing to choose from
        candidates = self.memory.take(slots)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.mixed_precision):
            ranking = mir_ranking(
                self.network,
                self.to_device(batch.spectra),
                batch.labels.to(self.device),
                self.to_device(candidates.spectra),
                candidates.labels.to(self.device),
                self.lr,
            )
        return slots[ranking[: self.options.replay].cpu()]
