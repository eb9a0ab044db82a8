"""Learning without forgetting: the old network teaches the new one."""

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from cldf_core.agents.base import Agent
from cldf_core.options import LwFOptions
from cldf_core.stream import Batch, Step


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 times the cross-entropy between the softened outputs, both (N, outputs), mean over the batch.

    The factor T^2 keeps the gradient's size the same for every temperature T.

    Source: Hinton, Vinyals & Dean 2015, section 2; Li & Hoiem, ECCV 2016, equation (2).
    """
    soft_targets = F.softmax(teacher_logits / temperature, dim=1)
    log_outputs = F.log_softmax(logits / temperature, dim=1)
    return -(temperature**2) * (soft_targets * log_outputs).sum(1).mean()


class LwF(Agent):
    """Learning without Forgetting (Li & Hoiem, ECCV 2016): L = CE(new) + lambda * KD.

    No image is remembered. While a new domain is learned, the outputs on its images are also pulled towards those of
    the teacher, the network as it was after the previous domain, in evaluation mode.

    Original: L = CE / (n + 1) + n / (n + 1) KD after n chunks; the teacher is the network after the previous chunk, in
    training mode, so its BatchNorm statistics drift.
    """

    options: LwFOptions
    kept = (*Agent.kept, "chunks")

    def __init__(self, options: LwFOptions) -> None:
        super().__init__(options)
        self.chunks = 0  # finished so far

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy with the labels plus lambda times the distillation loss."""
        logits = self.logits(batch.spectra)
        loss = F.cross_entropy(logits, batch.labels.to(self.device))
        if self.teacher is None:
            return loss
        if self.options.teacher_mode == "eval":
            answers = self.evaluate(batch.spectra, self.teacher)
        else:
            with torch.no_grad():
                answers = self.logits(batch.spectra, self.teacher.train())
        distillation = distillation_loss(logits, answers, self.options.temperature)
        if self.options.kd_weight == "chunks":
            return loss / (self.chunks + 1) + (1 - 1 / (self.chunks + 1)) * distillation
        return loss + self.options.distillation * distillation

    def end_step(self, step: Step) -> None:
        """After a domain's last chunk (original: after every chunk) the network becomes the teacher."""
        self.chunks += 1
        if step.last or self.options.teacher_after == "chunk":
            self.teacher = copy.deepcopy(self.network).eval()
