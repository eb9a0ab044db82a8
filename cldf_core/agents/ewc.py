"""Elastic weight consolidation: weights that mattered for earlier domains are held near their old values."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from cldf_core.agents.base import Agent
from cldf_core.options import EWCOptions
from cldf_core.resnet import evaluating
from cldf_core.stream import Batch, Samples, Step


def in_a_row(parts: Iterable[Tensor]) -> Tensor:
    """All numbers of some tensors, such as a network's parameters, in one row, shape (n,)."""
    return torch.cat([part.reshape(-1) for part in parts])


class EWC(Agent):
    """Online EWC (Schwarz et al., "Progress & compress", ICML 2018; Kirkpatrick et al., PNAS 2017).

    No image is remembered. The loss is the cross-entropy plus lambda / 2 times the sum of gamma F* (theta - theta*)^2
    over all parameters theta, BatchNorm's scales and shifts included; theta* are those after the previous domain, and
    F* = gamma F* + F after each. BatchNorm's running statistics are no parameters: nothing protects them, and they move
    with every new domain.

    F is the mean, over the domain's training images one at a time, of the squared gradient of log p(y|x), where y is
    drawn from the network's own output, in evaluation mode. A domain in several chunks is seen chunk by chunk: each
    chunk's images count with the network as it is after this chunk, and the mean goes over the images of all.
    """

    options: EWCOptions
    kept = (*Agent.kept, "fisher", "anchor", "squares", "seen")

    def __init__(self, options: EWCOptions) -> None:
        super().__init__(options)
        self.anchor = in_a_row(self.network.parameters()).detach()  # theta*
        self.fisher = torch.zeros_like(self.anchor)  # F*, as theta* in a row
        self.squares, self.seen = torch.zeros_like(self.anchor), 0  # the sum behind F in this domain's chunks so far

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy plus the penalty."""
        return self.cross_entropy(batch) + self.penalty()

    def penalty(self) -> Tensor:
        """lambda / 2 times the sum of gamma Omega* (theta - theta*)^2; 0 in the first domain.

        Source: Schwarz et al., ICML 2018, section 3.2 (online EWC).
        """
        o, moved = self.options, in_a_row(self.network.parameters()) - self.anchor
        return o.ewc_lambda / 2 * (o.ewc_gamma * self.fisher * moved.square()).sum()

    def squared_gradients(self, samples: Samples) -> Tensor:
        """Sum over the samples of the squared gradient of log p(y|x), y drawn from p(y|x); parameters in a row, (n,).

        One image after another, as the formula says: on a CPU torch.func's gradients of many at once are no faster.
        """
        weights = list(self.network.parameters())
        total = [torch.zeros_like(weight) for weight in weights]
        with evaluating(self.network):
            for spectrum in itertools.chain.from_iterable(samples.parts()):
                log_p = self.logits(spectrum[None]).log_softmax(1)[0]
                fake = torch.rand((), generator=self.generator("fisher")) < log_p[1].exp().item()
                for sums, gradient in zip(total, torch.autograd.grad(log_p[int(fake)], weights), strict=True):
                    sums.addcmul_(gradient, gradient)
        return in_a_row(total)

    def end_step(self, step: Step) -> None:
        """Adds a chunk's images to F; after a domain's last one, F to F*, and theta* is where the network is."""
        self.squares, self.seen = self.squares + self.squared_gradients(step.samples), self.seen + len(step.samples)
        if step.last:
            self.fisher = self.options.ewc_gamma * self.fisher + self.squares / self.seen
            self.anchor = in_a_row(self.network.parameters()).detach()
            self.squares, self.seen = torch.zeros_like(self.squares), 0

    @property
    def memory_bytes(self) -> int:
        """The bytes of F* and theta*."""
        return self.fisher.nbytes + self.anchor.nbytes

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As every agent's; F* and theta* go where the network is."""
        super().load_state_dict(state)
        for name in ("fisher", "anchor", "squares"):
            setattr(self, name, getattr(self, name).to(self.device))
