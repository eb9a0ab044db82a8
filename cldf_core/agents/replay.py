"""Experience replay, with random retrieval."""

from torch import Tensor

from cldf_core.agents.base import Agent
from cldf_core.buffers import Reservoir, packing_of, retrieve_random
from cldf_core.options import EROptions
from cldf_core.stream import Batch, Step


class ER(Agent):
    """Experience replay (Chaudhry et al. 2019) from a reservoir.

    Each incoming batch is joined with as many as `replay` random images of the whole memory, the current domain's
    included, and one mean loss is descended. Each image is offered to the reservoir once, in the first epoch.

    Original: incoming and replayed images in two passes, whose gradients add up; an image is offered in every epoch;
    the reservoir counts by batches. The first and the last are in the code of MIR's authors too.
    """

    options: EROptions
    memory: Reservoir
    kept = (*Agent.kept, "excluded")

    def __init__(self, options: EROptions) -> None:
        super().__init__(options)
        self.memory = Reservoir(options.memory, packing_of(options), options.reservoir_count)
        self.updates_per_batch = options.replay_updates
        self.excluded: int | None = None  # the domain whose images are not replayed

    def begin_step(self, step: Step) -> None:
        """Notes the domain whose own images are not replayed, if there is one."""
        self.excluded = step.index if self.options.replay_from == "earlier-domains" else None
        super().begin_step(step)

    def observe(self, batch: Batch) -> float:
        """Updates with the batch and what is retrieved for it, one by default; then the batch is remembered."""
        for _ in range(self.updates_per_batch):
            value = super().observe(batch) if self.options.replay_passes == "joined" else self._two_passes(batch)
        if batch.epoch == 0 or self.options.offers == "every-epoch":
            self.memory.offer(batch, self.generator("memory"))
        return value

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over the incoming and the replayed images together."""
        slots = self.retrieve(batch)
        return self.cross_entropy(batch + self.memory.take(slots) if len(slots) else batch)

    def _two_passes(self, batch: Batch) -> float:
        """`observe`, where BatchNorm sees the incoming and the replayed images by themselves."""
        self.network.train()
        self.network.zero_grad(set_to_none=True)
        loss = self.cross_entropy(batch)
        loss.backward()
        slots = self.retrieve(batch)
        if len(slots):
            replayed = self.cross_entropy(self.memory.take(slots))
            if self.options.replay_passes == "averaged":  # the mean over the images of both
                share = len(batch.labels) / (len(batch.labels) + len(slots))
                for parameter in self.network.parameters():
                    if parameter.grad is not None:
                        parameter.grad *= share
                replayed = (1 - share) * replayed
                loss = share * loss.detach() + replayed.detach()
            replayed.backward()
        self.step_optimiser()
        return loss.item()

    def retrieve(self, batch: Batch) -> Tensor:
        """Slots to replay with this batch, shape (up to `replay`,)."""
        return self.draw(self.options.replay)

    def draw(self, count: int) -> Tensor:
        """Up to `count` random slots, none of a domain that is not replayed."""
        return retrieve_random(self.memory, count, self.generator("replay"), exclude_domain=self.excluded)
