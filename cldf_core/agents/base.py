"""What every agent has: a network, an optimiser, a random state, and a way to score spectra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cldf_core.agents.optimisers import new_optimiser, new_schedule
from cldf_core.options import Options
from cldf_core.resnet import Network, build_network, frozen
from cldf_core.stream import Batch, Samples, Step

SCORE_BATCH = 64  # activations of larger batches do not stay in the processor's cache


class Agent:
    """Learns from a stream of steps and scores spectra; by itself, plain training with cross-entropy.

    A new agent overrides `begin_step`, `loss` (or `observe`) and `end_step`, and adds what it keeps
    to `state_dict` and `load_state_dict`.

    Args:
        options: the checked options of the run.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.device = torch.device(options.device)
        self.generator = torch.Generator().manual_seed(options.seed)
        self.network = self.fresh_network()
        self.images = 0  # that training's forward passes have seen so far, replayed ones and repeats counted
        self.optimiser: torch.optim.Optimizer | None = None
        self.schedule: torch.optim.lr_scheduler.LRScheduler | None = None

    def fresh_network(self, *, outputs: int = 2) -> Network:
        """A network with new weights, drawn from the agent's own generator."""
        seed = int(torch.randint(2**31, (), generator=self.generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network(
                self.options.network, outputs=outputs, width=self.options.width, weights=self.options.weights
            )
        if self.options.channels == "BGR":  # reading BGR is reading RGB with these weights the other way round
            network.reverse_channels()
        return network.to(self.device)

    def begin_step(self, step: Step) -> Step:
        """Prepares for a step and returns what is to be gone through: by default the step itself."""
        self.start_optimiser(step)
        return step

    def observe(self, batch: Batch) -> float:
        """One update with one batch; returns its loss."""
        self.network.train()
        value = self.loss(batch)
        self.update(value)
        return value.item()

    def cross_entropy(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of a batch."""
        return F.cross_entropy(self.logits(batch.spectra), batch.labels.to(self.device))

    def loss(self, batch: Batch) -> Tensor:
        """The loss that `observe` descends: mean cross-entropy."""
        return self.cross_entropy(batch)

    def end_step(self, step: Step) -> None:
        """What is done when a step's batches are through; by default nothing."""

    def score(self, spectra: Tensor) -> np.ndarray:
        """Logit of fake for each spectrum, float32 (N, C, H, W) to float64 (N,); see `Network.fake_logits`."""
        with torch.no_grad(), frozen(self.network), self.precision:
            return self.network.fake_logits(self.to_device(spectra)).numpy()

    def score_samples(self, samples: Samples) -> np.ndarray:
        """`score` of samples of any number, read batch by batch; float64, shape (N,)."""
        starts = range(0, len(samples), SCORE_BATCH)
        parts = [self.score(samples.read(slice(start, start + SCORE_BATCH))) for start in starts]
        return np.concatenate(parts) if parts else np.empty(0)

    @property
    def memory_bytes(self) -> int:
        """Bytes of remembered spectra."""
        memory = getattr(self, "memory", None)
        return memory.nbytes if memory is not None else 0

    def state_dict(self) -> dict[str, Any]:
        """Everything that the agent's future depends on, as tensors, numbers and containers of them."""
        # With one cycle per step the optimiser is made anew; only the lasting one is worth keeping.
        lasting = self.optimiser if self.options.schedule == "constant" else None
        return {
            "network": self.network.state_dict(),
            "optimiser": lasting.state_dict() if lasting else None,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave, of an agent made with the same options."""
        self.network.load_state_dict(state["network"])
        if state["optimiser"] is not None:
            self.optimiser = new_optimiser(self.options, self.network)
            self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])

    # The parts that agents are made of.

    def start_optimiser(self, step: Step, *, anew: bool = False) -> None:
        """A new optimiser and schedule for this step; with schedule "constant" the optimiser lasts, unless `anew`."""
        if self.options.schedule != "constant" or self.optimiser is None or anew:
            self.optimiser = new_optimiser(self.options, self.network)
        self.schedule = new_schedule(self.options, self.optimiser, step)

    @property
    def lr(self) -> float:
        """The optimiser's learning rate at this moment."""
        assert self.optimiser is not None
        return float(self.optimiser.param_groups[0]["lr"])

    def update(self, loss: Tensor) -> None:
        """Backward pass and one step of optimiser and schedule."""
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        self.step_optimiser()

    def step_optimiser(self) -> None:
        """One step with the gradients that there are."""
        assert self.optimiser is not None
        self.optimiser.step()
        if self.schedule is not None:
            self.schedule.step()

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
        with torch.no_grad(), frozen(network):
            return self.logits(spectra, network)
