"""What every agent has: a network, an optimiser, a random state, and a way to score spectra."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cldf_core.agents.optimisers import GradientDescent
from cldf_core.buffers import Memory
from cldf_core.options import Options
from cldf_core.randomness import Generators
from cldf_core.resnet import Network, build_network
from cldf_core.stream import Batch, Step


class Agent(GradientDescent):
    """Learns from a stream of steps and scores spectra; by itself, plain training with cross-entropy.

    A new agent overrides `begin_step`, `loss` (or `observe`) and `end_step`, and draws from `generator("replay")` (or
    any purpose). What it keeps besides a `memory` and a `teacher` is named in `kept` (numbers, their sets, and tensors)
    or added to `state_dict`.
    """

    kept: tuple[str, ...] = ("images",)
    memory: Memory | None = None
    teacher: Network | None = None

    def __init__(self, options: Options) -> None:
        self.options, self.device, self.generator = options, torch.device(options.device), Generators(options.seed)
        self.network = self.fresh_network()
        self.images = 0  # trained on so far, counting replayed ones and repeats

    def fresh_network(self, *, outputs: int = 2) -> Network:
        """A network with new weights, drawn for the purpose "weights"."""
        o, generator = self.options, self.generator("weights")
        network = build_network(o.network, outputs=outputs, width=o.width, weights=o.weights, generator=generator)
        if o.channels == "BGR":  # reading BGR is reading RGB with these weights the other way round
            network.reverse_channels()
        return network.to(self.device)

    def parts(self, step: Step) -> Iterator[Step]:
        """What a step goes through, part by part, by default itself; asked for again where a stopped run goes on."""
        yield step.lengthened()

    def begin_step(self, step: Step) -> None:
        """Prepares for a part of a step."""
        self.start_optimiser(step)

    def observe(self, batch: Batch) -> float:
        """Makes one update with a batch and returns its loss."""
        self.network.train()
        return self.update(self.loss(batch))

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

    def scorer(self, domain: int) -> Callable[[Tensor], np.ndarray]:
        """`score`, told the domain by its place in the stream, -1 for an unseen one; by default that is not used."""
        return self.score

    @property
    def memory_bytes(self) -> int:
        """Bytes kept of earlier domains: spectra and a teacher; not labels, iCaRL's means or the optimiser's state."""
        return sum(part.nbytes for part in (self.memory, self.teacher) if part is not None)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the agent's future depends on, as tensors, numbers and containers of them."""
        names = ("network", "teacher", "memory", "optimiser", "schedule")
        states = {name: None if (part := getattr(self, name)) is None else part.state_dict() for name in names}
        kept = {name: sorted(v) if isinstance(v := getattr(self, name), set) else v for name in self.kept}
        return {**states, **kept, "means": self.network.means, "generator": self.generator.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned, of an agent made with the same options."""
        self.network = self._restored(self.network, state["network"])
        self.network.means, teacher = state["means"], state["teacher"]
        self.teacher = self._restored(copy.deepcopy(self.network), teacher).eval() if teacher else None
        if self.memory is not None:
            self.memory.load_state_dict(state["memory"])
        self.restore_optimiser(state["optimiser"], state["schedule"])
        for name in self.kept:
            setattr(self, name, set(state[name]) if isinstance(getattr(self, name), set) else state[name])
        self.generator.load_state_dict(state["generator"])

    def _restored(self, network: Network, state: Mapping[str, Tensor]) -> Network:
        if "head.bias" in state and len(state["head.bias"]) != len(network.head.bias):  # heads grow
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
