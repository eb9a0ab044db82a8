"""iCaRL: exemplars chosen by herding, distillation, and verdicts by the nearest mean."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cldf_core.agents.base import SCORE_BATCH, Agent
from cldf_core.buffers import Memory, herding
from cldf_core.options import Options
from cldf_core.resnet import Network, frozen
from cldf_core.stream import Batch, Samples, Step

FARTHEST = 4.0  # the largest squared distance of two unit vectors


def icarl_loss(logits: Tensor, classes: Tensor, old_logits: Tensor | None) -> Tensor:
    """Sigmoid binary cross-entropy, summed over outputs, mean over the batch.

    Old outputs are trained towards the old network's sigmoids, new ones towards the one-hot classes.

    Args:
        logits: shape (N, outputs).
        classes: int64, shape (N,), 2 * domain + label.
        old_logits: of the old network, shape (N, old outputs); None in the first domain.

    Source: Rebuffi et al., CVPR 2017, algorithm 3.
    """
    targets = F.one_hot(classes, logits.shape[1]).float()
    if old_logits is not None:
        targets[:, : old_logits.shape[1]] = torch.sigmoid(old_logits)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1).mean()


class ICaRL(Agent):
    """iCaRL (Rebuffi et al., CVPR 2017), with two classes per domain.

    Output 2d is "real of domain d", 2d + 1 "fake of domain d": the head grows by two outputs a domain.
    New images and all exemplars are trained on together. The memory K is shared out evenly, K / (2t)
    exemplars per class, chosen by herding on L2-normalised features. The verdict is the class of the
    nearest mean; the logit of fake is min d² over real means - min d² over fake means.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.memory = Memory(options.memory)
        self.old: Network | None = None
        self.means: dict[int, Tensor] = {}  # class -> unit vector, shape (D,)

    def begin_step(self, step: Step) -> Step:
        """Grows the head for a new domain, and adds the exemplars to what is gone through."""
        new_domain = step.index > 0 and step.chunk == 0
        if new_domain:
            self.old = copy.deepcopy(self.network).eval()
            self.network.grow_head(2, self.generator)
        if len(self.memory):
            step = replace(step, samples=step.samples + self.memory.samples())
        # A grown head has new parameters, which a lasting optimiser would not know.
        self.start_optimiser(step, anew=new_domain)
        return step

    def loss(self, batch: Batch) -> Tensor:
        """`icarl_loss` of the batch."""
        old = self.evaluate(batch.spectra, self.old) if self.old is not None else None
        classes = (2 * batch.domains + batch.labels).to(self.device)
        return icarl_loss(self.logits(batch.spectra), classes, old)

    def end_step(self, step: Step) -> None:
        """Chooses this chunk's exemplars, shortens the older ones, and computes the means."""
        quota = self.options.memory // (2 * (step.index + 1))
        kept = self.memory.samples() if len(self.memory) else None
        parts = [kept[at[:quota]] for at in _by_class(kept) if kept.domains[at[0]] != step.index] if kept else []
        # Exemplars of earlier chunks of this domain stand for them in the new choice.
        candidates = step.samples + kept[kept.domains == step.index] if kept else step.samples
        for at in _by_class(candidates):
            order = herding(self.unit_features(candidates[at]), quota)
            parts.append(candidates[at[order.numpy()]])
        exemplars = parts[0]
        for part in parts[1:]:
            exemplars = exemplars + part
        self.memory.replace(exemplars)
        self.means = {
            _class_of(exemplars, at[0]): F.normalize(self.unit_features(exemplars[at]).mean(0), dim=0)
            for at in _by_class(exemplars)
        }

    def score(self, spectra: Tensor) -> np.ndarray:
        """min d² over real means - min d² over fake means; shape (N,)."""
        features = self._unit(spectra)
        nearest = []
        for label in (0, 1):
            means = [mean for c, mean in self.means.items() if c % 2 == label]
            if means:
                nearest.append(torch.cdist(features, torch.stack(means)).square().min(1).values)
            else:
                nearest.append(torch.full((len(features),), FARTHEST, dtype=features.dtype))
        return (nearest[0] - nearest[1]).numpy()

    def unit_features(self, samples: Samples) -> Tensor:
        """L2-normalised features of samples, float64, shape (N, D), on the CPU."""
        starts = range(0, len(samples), SCORE_BATCH)
        return torch.cat([self._unit(samples.read(slice(s, s + SCORE_BATCH))) for s in starts])

    def _unit(self, spectra: Tensor) -> Tensor:
        with (
            torch.no_grad(),
            frozen(self.network),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.mixed_precision),
        ):
            features = self.network.features(self.to_device(spectra))
        return F.normalize(features.double().cpu(), dim=1)

    def state_dict(self) -> dict[str, Any]:
        """The base's, the exemplars, the means and the old network."""
        return {
            **super().state_dict(),
            "memory": self.memory.state_dict(),
            "means": self.means,
            "old": self.old.state_dict() if self.old else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave; the head first grows to the size it had."""
        outputs = len(state["network"]["head.bias"])
        if outputs > self.network.head.out_features:
            self.network.grow_head(outputs - self.network.head.out_features, self.generator)
        super().load_state_dict(state)
        self.memory.load_state_dict(state["memory"])
        self.means = dict(state["means"])
        if state["old"] is not None:
            self.old = copy.deepcopy(self.network).eval()
            self.old.head = torch.nn.Linear(self.network.head.in_features, len(state["old"]["head.bias"])).to(
                self.device
            )
            self.old.load_state_dict(state["old"])


def _by_class(samples: Samples) -> list[np.ndarray]:
    """Indices of each class 2 * domain + label that occurs, in the samples' order."""
    classes = 2 * samples.domains + samples.labels
    return [np.flatnonzero(classes == c) for c in np.unique(classes)]


def _class_of(samples: Samples, at: int) -> int:
    return int(2 * samples.domains[at] + samples.labels[at])
