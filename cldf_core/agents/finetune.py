"""Baselines without continual learning: sequential fine-tuning and separate models."""

from __future__ import annotations

from cldf_core.agents.base import Agent
from cldf_core.stream import Step


class Sequential(Agent):
    """One network, trained on each domain in turn, with nothing against forgetting.

    The lower bound that every continual-learning agent is compared with (the seed calls it Normal).
    """


class Separate(Agent):
    """A new network for every domain, that knows this domain only (the seed calls it NoCL).

    Its matrix shows what carries over from one domain to another. On the joint stream, whose step t
    is the union of domains 1..t, the same agent is joint training, the upper bound.
    """

    def begin_step(self, step: Step) -> Step:
        """Forgets everything when a new domain begins."""
        if step.chunk == 0 and step.index > 0:
            self.network = self.fresh_network()
            self.optimiser = None
        return super().begin_step(step)
