"""iCaRL: exemplars chosen by herding, distillation, and verdicts by the nearest mean."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from cldf_core.agents.base import Agent
from cldf_core.buffers import Exemplars, Reservoir, packing_of, retrieve_random
from cldf_core.options import ICaRLOptions
from cldf_core.resnet import evaluating
from cldf_core.stream import Batch, Samples, Step


def icarl_loss(logits: Tensor, classes: Tensor, old_logits: Tensor | None) -> Tensor:
    """Sigmoid binary cross-entropy, summed over outputs, mean over the batch; the old network teaches old outputs.

    Logits are (N, outputs), the old network's (N, old outputs) or, in the first domain, None; classes are int64 (N,),
    2 * domain + label.

    Source: Rebuffi et al., CVPR 2017, algorithm 3.
    """
    targets = F.one_hot(classes, logits.shape[1]).float()
    if old_logits is not None:
        targets[:, : old_logits.shape[1]] = torch.sigmoid(old_logits)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1).mean()


class ICaRL(Agent):
    """iCaRL (Rebuffi et al., CVPR 2017), with two classes per domain.

    Output 2d is "real of domain d", 2d + 1 "fake of domain d": the head grows by two outputs a domain.
    It trains on new images and all exemplars together. Each class has K / (2t) exemplars of the memory of K, chosen by
    herding on L2-normalised features. The verdict is the class of the nearest mean. To see what a part does, exemplars
    may be drawn at random, or be kept for the means alone and not rehearsed.

    Original: two outputs for all domains, no distillation, exemplars from a reservoir, of which a random batch
    joins every new one (none that this chunk has written), and the verdict of the linear head.
    """

    options: ICaRLOptions
    memory: Exemplars | Reservoir
    kept = (*Agent.kept, "written", "rehearses")

    def __init__(self, options: ICaRLOptions) -> None:
        super().__init__(options)
        if options.exemplars == "reservoir":
            self.memory = Reservoir(options.memory, packing_of(options), options.reservoir_count)
        else:
            self.memory = Exemplars(options.memory, packing_of(options))
        self.written: set[int] = set()  # slots that this chunk has filled
        self.rehearses = False  # whether a batch of exemplars joins each new one

    def parts(self, step: Step) -> Iterator[Step]:
        """The new images and all exemplars together."""
        if len(self.memory) and self.options.rehearsal == "all":
            step = replace(step, samples=step.samples + self.memory.samples())
        yield step.lengthened()

    def begin_step(self, step: Step) -> None:
        """Grows the head for a new domain, whose teacher is the network as it is."""
        new_domain = step.index > 0 and step.chunk == 0
        grown = new_domain and self.options.icarl_heads == "grown"
        if new_domain and self.options.distil:
            self.teacher = copy.deepcopy(self.network).eval()
        if grown:
            self.network.grow_head(2, self.generator("weights"))
        self.written, self.rehearses = set(), self.options.rehearsal == "batch" and step.index + step.chunk > 0
        # A grown head has new parameters, which a lasting optimiser would not know.
        self.start_optimiser(step, again=grown)

    def observe(self, batch: Batch) -> float:
        """One update; a reservoir is then offered the batch."""
        value = super().observe(batch)
        if isinstance(self.memory, Reservoir) and (batch.epoch == 0 or self.options.offers == "every-epoch"):
            free = self.memory.capacity - len(self.memory)
            written = self.memory.offer(batch, self.generator("memory"))
            # Of a batch that fits in part, the original does not note the slots that were free.
            noted = self.options.reservoir_count == "image" or len(batch.labels) <= free
            self.written |= {slot for slot, row in written.items() if noted or row >= free}
        return value

    def loss(self, batch: Batch) -> Tensor:
        """`icarl_loss` of the batch, joined by as many exemplars where they are not gone through anyway."""
        if self.rehearses:
            generator = self.generator("replay")
            slots = retrieve_random(self.memory, self.options.batch, generator, exclude_slots=self.written)
            batch = batch + self.memory.take(slots) if len(slots) else batch
        with torch.no_grad():  # the teacher is in evaluation mode
            old = self.logits(batch.spectra, self.teacher) if self.teacher else None
        classes = batch.labels + 2 * batch.domains * (self.options.icarl_heads == "grown")
        return icarl_loss(self.logits(batch.spectra), classes.to(self.device), old)

    def end_step(self, step: Step) -> None:
        """Chooses this chunk's exemplars, shortens the older ones, and computes the means."""
        if isinstance(self.memory, Exemplars):
            draws = self.generator("memory") if self.options.exemplars == "random" else None
            self.memory.choose(step.samples, step.index, self.unit_features, draws)
        if self.options.verdict == "nearest-mean" and len(self.memory):
            exemplars = self.memory.samples()
            means = torch.full((2 * step.index + 2, self.network.head.in_features), torch.nan, dtype=torch.float64)
            for c, at in exemplars.by_class().items():
                means[c] = F.normalize(self.unit_features(exemplars[at]).mean(0), dim=0)
            self.network.means = means

    def unit_features(self, samples: Samples) -> Tensor:
        """L2-normalised features of samples, float64, shape (N, D), on the CPU."""
        with torch.no_grad(), evaluating(self.network), self.precision:
            return torch.cat([self.network.unit_features(self.to_device(part)) for part in samples.parts()])
