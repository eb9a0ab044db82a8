"""DER++ against the loss of its paper and a reservoir of its own, batch for batch."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cldf_core.agents import build_agent
from cldf_core.agents.derpp import DarkReservoir
from cldf_core.options import Options
from cldf_core.randomness import Generators
from cldf_core.stream import Batch, make_steps
from samples import begun, random_samples, same, tiny_options


def options(**changes: Any) -> Options:
    sizes = {"memory": 10, "replay": 4, "batch": 7, "epochs": 3}
    return tiny_options("derpp", "unused", **{**sizes, "derpp_alpha": 0.3, "derpp_beta": 0.7, **changes})


@pytest.mark.parametrize("offers", ["every-epoch", "first-epoch"])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_der_descends_the_papers_loss_and_stores_the_logits_of_the_moment(offers, optimiser):
    """Equation 6 of Buzzega et al. 2020, with means; Vitter's algorithm R. Both draw the agent's random numbers."""
    opts = options(offers=offers, optimiser=optimiser, lr=0.01)
    learner, draws = build_agent(opts), Generators(opts.seed)
    images: list[tuple[torch.Tensor, int, int]] = []  # what is remembered: spectrum, label, number
    logits: list[torch.Tensor] = []
    seen = replaced = 0
    for step in make_steps([(f"d{d}", random_samples(18, d, first_number=18 * d)) for d in range(2)], opts):
        for batch in begun(learner, step).batches(opts.seed):
            twin = copy.deepcopy(learner.network).train()
            loss = learner.observe(batch)
            given = twin(batch.spectra)
            want = -given.log_softmax(1)[range(len(given)), batch.labels].mean()
            if images:
                dark, labelled = (torch.randperm(len(images), generator=draws("replay"))[:4].tolist() for _ in "zy")
                answers = twin(torch.stack([images[slot][0] for slot in dark]))
                squares = ((answers - torch.stack([logits[slot] for slot in dark])) ** 2).sum() / (2 * len(dark))
                answers = twin(torch.stack([images[slot][0] for slot in labelled]))
                each = [-a.log_softmax(0)[images[slot][1]] for a, slot in zip(answers, labelled, strict=True)]
                want = want + 0.3 * squares + 0.7 * sum(each) / len(each)
            want.backward()
            assert loss == pytest.approx(want.item(), abs=1e-5)
            for got, p in zip(learner.network.parameters(), twin.parameters(), strict=True):
                torch.testing.assert_close(got.grad, p.grad, rtol=1e-4, atol=1e-5)
            for got, b in zip(learner.network.buffers(), twin.buffers(), strict=True):  # three passes, each by itself
                torch.testing.assert_close(got, b, rtol=1e-5, atol=1e-6)
            for row in range(len(given) if batch.epoch == 0 or offers == "every-epoch" else 0):
                image = (batch.spectra[row], int(batch.labels[row]), int(batch.numbers[row]))
                seen += 1
                slot = len(images) if len(images) < 10 else int(torch.randint(seen, (), generator=draws("memory")))
                if slot == len(images) < 10:
                    images.append(image)
                    logits.append(given[row].detach())
                elif slot < 10:
                    images[slot], logits[slot], replaced = image, given[row].detach(), replaced + 1
            memory = learner.memory
            assert memory.numbers[: len(memory)].tolist() == [number for *_, number in images]
            torch.testing.assert_close(memory.logits[: len(memory)], torch.stack(logits), rtol=1e-5, atol=1e-5)
            assert memory.logits.dtype == torch.float32
            assert memory.logits.shape == (10, 2)
    assert replaced > 5
    assert seen == 36 * (3 if offers == "every-epoch" else 1)


def test_the_stored_logits_are_part_of_the_state_and_of_the_memorys_bytes():
    learner, other = (build_agent(options()) for _ in range(2))
    (step,) = make_steps([("one", random_samples(12))], learner.options)
    for batch, _ in zip(begun(learner, step).batches(0), range(2), strict=False):
        learner.observe(batch)
    assert learner.memory.logits.abs().min() > 0
    other.load_state_dict(copy.deepcopy(learner.state_dict()))
    assert same(other.memory.logits, learner.memory.logits)
    assert learner.memory.nbytes == 10 * (3 * 32 * 17 * 2 + 2 * 4)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    capacity=st.integers(1, 20),
    counting=st.sampled_from(["image", "batch"]),
    seed=st.integers(0, 99),
)
def test_a_slots_logits_are_those_of_the_image_in_it(sizes, capacity, counting, seed):
    memory, random = DarkReservoir(capacity, counting=counting), torch.Generator().manual_seed(seed)
    for start, size in zip([sum(sizes[:k]) for k in range(len(sizes))], sizes, strict=True):
        numbers = torch.arange(start, start + size)
        zeros = torch.zeros(size, dtype=torch.int64)
        batch = Batch(numbers.float().reshape(-1, 1, 1, 1).expand(size, 1, 2, 2), zeros, zeros, numbers, 0)
        memory.remember(batch, torch.stack([numbers + 0.5, -numbers.float()], dim=1), random)
        held = memory.numbers[: memory.size]
        assert torch.equal(memory.logits[: memory.size], torch.stack([held + 0.5, -held.float()], dim=1))
        assert torch.equal(memory.spectra[: memory.size, 0, 0, 0].long(), held)
