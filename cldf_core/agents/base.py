"""What every agent has: a network, an optimiser, a random state, and a way to score spectra."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cldf_core.agents.optimisers import GradientDescent, new_optimiser
from cldf_core.buffers import Memory
from cldf_core.options import Options
from cldf_core.randomness import Generators
from cldf_core.resnet import Network, build_network, evaluating
from cldf_core.stream import Batch, Step


class Agent(GradientDescent):
    """Learns from a stream of steps and scores spectra; by itself, plain training with cross-entropy.

    A new agent overrides `begin_step`, `loss` (or `observe`) and `end_step`, draws from `generator("replay")` (or any
    purpose), and has `state_dict` hold what it keeps besides a `memory` and a `teacher`, a copy of an earlier network.
    """

    memory: Memory | None = None
    teacher: Network | None = None

    def __init__(self, options: Options) -> None:
        self.options, self.device = options, torch.device(options.device)
        self.generator = Generators(options.seed)
        self.network = self.fresh_network()
        self.images = 0  # trained on so far, counting replayed ones and repeats

    def fresh_network(self, *, outputs: int = 2) -> Network:
        """A network with new weights, drawn for the purpose "weights"."""
        o, generator = self.options, self.generator("weights")
        network = build_network(o.network, outputs=outputs, width=o.width, weights=o.weights, generator=generator)
        if o.channels == "BGR":  # reading BGR is reading RGB with these weights the other way round
            network.reverse_channels()
        return network.to(self.device)

    def begin_step(self, step: Step) -> Step:
        """Prepares for a step and returns the step to train on, by default the same."""
        self.start_optimiser(step)
        return step

    def observe(self, batch: Batch) -> float:
        """Makes one update with a batch and returns its loss."""
        self.network.train()
        value = self.loss(batch)
        self.update(value)
        return value.item()

    def cross_entropy(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of a batch."""
        return torch.nn.functional.cross_entropy(self.logits(batch.spectra), batch.labels.to(self.device))

    def loss(self, batch: Batch) -> Tensor:
        """The loss that `observe` descends: mean cross-entropy."""
        return self.cross_entropy(batch)

    def end_step(self, step: Step) -> None:
        """Concludes a step when all its batches were observed; by default does nothing."""

    def score(self, spectra: Tensor) -> np.ndarray:
        """Logit of fake for each spectrum, float32 (N, C, H, W) to float64 (N,); see `Network.fake_logits`."""
        return self.network.score(spectra, mixed_precision=self.options.mixed_precision)

    @property
    def memory_bytes(self) -> int:
        """The bytes of remembered spectra."""
        return self.memory.nbytes if self.memory is not None else 0

    def state_dict(self) -> dict[str, Any]:
        """Everything that the agent's future depends on, as tensors, numbers and containers of them."""
        kept: dict[str, Any] = {"network": self.network, "teacher": self.teacher, "memory": self.memory}
        kept["optimiser"] = self.optimiser if self.options.schedule == "constant" else None  # else new in each step
        states = {name: None if part is None else part.state_dict() for name, part in kept.items()}
        return {**states, "means": self.network.means, "generator": self.generator.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned, of an agent made with the same options."""
        self.network = self._restored(self.network, state["network"])
        self.network.means = state["means"]
        teacher = state["teacher"]
        self.teacher = self._restored(copy.deepcopy(self.network), teacher).eval() if teacher else None
        if state["optimiser"] is not None:
            self.optimiser = new_optimiser(self.options, self.network)
            self.optimiser.load_state_dict(state["optimiser"])
        self.generator.load_state_dict(state["generator"])
        if self.memory is not None:
            self.memory.load_state_dict(state["memory"])

    def _restored(self, network: Network, state: Mapping[str, Tensor]) -> Network:
        if "head.bias" in state and len(state["head.bias"]) != len(network.head.bias):  # iCaRL's heads grow
            network = self.fresh_network(outputs=len(state["head.bias"]))
        network.load_state_dict(state)
        return network

    def to_device(self, spectra: Tensor) -> Tensor:
        """Spectra where the network is, channels last (faster convolutions)."""
        return spectra.to(self.device, memory_format=torch.channels_last)

    @property
    def precision(self) -> torch.autocast:
        """A context for forward passes: bfloat16 inside with mixed precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.mixed_precision)

    def logits(self, spectra: Tensor, network: Network | None = None) -> Tensor:
        """Forward pass, float32, shape (N, outputs); in bfloat16 inside with mixed precision."""
        network = network or self.network
        self.images += len(spectra) if network is self.network and network.training else 0
        with self.precision:
            return network(self.to_device(spectra)).float()

    def evaluate(self, spectra: Tensor, network: Network) -> Tensor:
        """Forward pass in evaluation mode, without gradients; shape (N, outputs)."""
        with torch.no_grad(), evaluating(network):
            return self.logits(spectra, network)
