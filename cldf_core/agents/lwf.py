"""Learning without forgetting: the old network teaches the new one."""

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
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
    the teacher, the network as it was after the previous domain, in evaluation mode. By default all domains share two
    outputs, which is van de Ven & Tolias' adaptation.

    With `lwf_heads` "told", the paper's own case (but for its warm-up of the new outputs alone), each domain has a pair
    of outputs: the labels train the newest one, each older one is distilled by itself, and a test that tells its domain
    is answered by this domain's pair, or by the newest where it has none. Where no domain is told, as where a stored
    network scores images, the best of all pairs answers.

    Original: L = CE / (n + 1) + n / (n + 1) KD after n chunks; the teacher is the network after the previous chunk, in
    training mode, so its BatchNorm statistics drift.
    """

    options: LwFOptions
    kept = (*Agent.kept, "chunks")

    def __init__(self, options: LwFOptions) -> None:
        super().__init__(options)
        self.chunks = 0  # finished so far

    def begin_step(self, step: Step) -> None:
        """Grows the head for a new domain, where domains are told."""
        grown = self.options.lwf_heads == "told" and step.index > 0 and step.chunk == 0
        if grown:
            self.network.grow_head(2, self.generator("weights"))
        self.start_optimiser(step, again=grown)  # a lasting one would not know the new parameters

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy with the labels plus lambda times the distillation loss, summed over old pairs of outputs."""
        logits = self.logits(batch.spectra)
        loss = F.cross_entropy(logits[:, -2:], batch.labels.to(self.device))
        if self.teacher is None:
            return loss
        with torch.no_grad():
            answers = self.logits(batch.spectra, self.teacher.train(self.options.teacher_mode == "train"))
        pairs = zip(logits.split(2, dim=1), answers.split(2, dim=1), strict=False)  # the newest has no teacher
        distillation = torch.stack([distillation_loss(*pair, self.options.temperature) for pair in pairs]).sum()
        if self.options.kd_weight == "chunks":
            return loss / (self.chunks + 1) + (1 - 1 / (self.chunks + 1)) * distillation
        return loss + self.options.distillation * distillation

    def end_step(self, step: Step) -> None:
        """After a domain's last chunk (original: after every chunk) the network becomes the teacher."""
        self.chunks += 1
        if step.last or self.options.teacher_after == "chunk":
            self.teacher = copy.deepcopy(self.network).eval()

    def scorer(self, domain: int) -> Callable[[Tensor], np.ndarray]:
        """`score` by the told domain's outputs, where it has its own, or by the newest."""
        if self.options.lwf_heads == "shared":
            return self.score
        newest = self.network.head.out_features // 2 - 1
        told = domain if 0 <= domain <= newest else newest
        return partial(self.network.score, mixed_precision=self.options.mixed_precision, domain=told)
