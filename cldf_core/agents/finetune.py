"""Baselines without continual learning: sequential fine-tuning, separate models and joint training."""

import numpy as np

from cldf_core.agents.base import Agent
from cldf_core.buffers import Packed, packing_of
from cldf_core.stream import Step


class Sequential(Agent):
    """One network, trained on each domain in turn, with nothing against forgetting.

    Every continual-learning agent is compared with it. The original calls it Normal.
    """


class Separate(Agent):
    """A new network for every domain, which sees this domain only. The original calls it NoCL.

    Its matrix shows what carries over from one domain to another.
    """

    def begin_step(self, step: Step) -> None:
        """Begins each new domain with a new network."""
        if step.chunk == 0 and step.index > 0:
            self.network = self.fresh_network()
            self.optimiser = None
        super().begin_step(step)


class Joint(Separate):
    """Joint training: separate models on the joint stream, whose step t is the union of domains 1..t.

    A reference that keeps all images for ever, not a bound: another agent may end above it.
    """

    kept = (*Separate.kept, "kept_bytes")
    kept_bytes = 0

    def end_step(self, step: Step) -> None:
        """Counts what it would take to keep the images of all domains so far in a memory."""
        image = Packed.pack(step.samples[np.arange(1)].read(), packing_of(self.options))
        self.kept_bytes = len(step.samples) * image.nbytes + (self.kept_bytes if step.chunk else 0)

    @property
    def memory_bytes(self) -> int:
        """The bytes of the images of all domains so far."""
        return self.kept_bytes
