"""Baselines without continual learning: sequential fine-tuning and separate models."""

from cldf_core.agents.base import Agent
from cldf_core.stream import Step


class Sequential(Agent):
    """One network, trained on each domain in turn, with nothing against forgetting.

    Every continual-learning agent is compared with it. The original calls it Normal.
    """


class Separate(Agent):
    """A new network for every domain, which sees this domain only. The original calls it NoCL.

    Its matrix shows what carries over from one domain to another. On the joint stream, whose step t is the union of
    domains 1..t, the same agent is joint training.
    """

    def begin_step(self, step: Step) -> None:
        """Begins each new domain with a new network."""
        if step.chunk == 0 and step.index > 0:
            self.network = self.fresh_network()
            self.optimiser = None
        super().begin_step(step)
