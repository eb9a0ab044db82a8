"""Learning without forgetting: the old network teaches the new one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from cldf_core.agents.base import Agent
from cldf_core.options import Options
from cldf_core.resnet import Network
from cldf_core.stream import Batch, Step


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 times the cross-entropy between the softened outputs, mean over the batch.

    Args:
        logits, teacher_logits: shape (N, outputs).
        temperature: T; the factor T^2 keeps the gradient's size the same for every T.

    Source: Hinton, Vinyals & Dean 2015, section 2; Li & Hoiem, ECCV 2016, equation (2).
    """
    soft_targets = F.softmax(teacher_logits / temperature, dim=1)
    log_outputs = F.log_softmax(logits / temperature, dim=1)
    return -(temperature**2) * (soft_targets * log_outputs).sum(1).mean()


class LwF(Agent):
    """Learning without Forgetting (Li & Hoiem, ECCV 2016): L = CE(new) + lambda * KD.

    No image is remembered. While a new domain is learned, the outputs on its images are also pulled
    towards those of the teacher, the network as it was after the previous domain, in evaluation mode.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.teacher: Network | None = None

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy with the labels plus lambda times the distillation loss."""
        logits = self.logits(batch.spectra)
        loss = F.cross_entropy(logits, batch.labels.to(self.device))
        if self.teacher is not None:
            old = self.evaluate(batch.spectra, self.teacher)
            loss = loss + self.options.distillation * distillation_loss(logits, old, self.options.temperature)
        return loss

    def end_step(self, step: Step) -> None:
        """After a domain's last chunk the network becomes the teacher."""
        if step.last:
            self.teacher = copy.deepcopy(self.network).eval()

    def state_dict(self) -> dict[str, Any]:
        """The base's, and the teacher."""
        return {**super().state_dict(), "teacher": self.teacher.state_dict() if self.teacher else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        super().load_state_dict(state)
        if state["teacher"] is not None:
            self.teacher = copy.deepcopy(self.network).eval()
            self.teacher.load_state_dict(state["teacher"])
