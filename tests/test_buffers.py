"""Memories against slow references: Vitter's reservoir, GDumb's algorithm 1, iCaRL's algorithm 4, MIR's ranking."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from conftest import as_batch, random_samples, same
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F

from cldf_core.buffers import Balanced, Memory, Reservoir, herding, mir_ranking, retrieve_random
from cldf_core.resnet import build_network
from cldf_core.stream import Batch

SHAPE = (1, 2, 2)


def images(labels: list[int], domains: list[int], first: int = 0) -> Batch:
    """Images whose every pixel is their number."""
    count = len(labels)
    numbers = torch.arange(first, first + count)
    spectra = numbers.float().reshape(-1, 1, 1, 1).expand(count, *SHAPE).clone()
    return Batch(spectra, torch.tensor(labels), torch.tensor(domains), numbers, 0)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def consistent(memory: Memory) -> None:
    """Each slot's spectrum, number, label and domain belong to one image (numbers as made by `images`)."""
    for slot in range(memory.size):
        assert (memory.spectra[slot] == memory.numbers[slot]).all()


# --- reservoir ---


@pytest.mark.parametrize(("capacity", "offered", "batch"), [(5, 20, 1), (8, 30, 7), (3, 4, 4), (1, 10, 3)])
def test_reservoir_keeps_every_image_with_the_same_probability(capacity, offered, batch):
    runs = 1500
    kept = np.zeros(offered)
    random = generator(1)
    for _ in range(runs):
        memory = Reservoir(capacity)
        for start in range(0, offered, batch):
            count = min(batch, offered - start)
            memory.offer(images([0] * count, [0] * count, start), random)
        assert memory.n_seen == offered
        chosen = memory.numbers[: memory.size].numpy()
        assert len(set(chosen)) == capacity
        kept[chosen] += 1
    expected = runs * capacity / offered
    # Within a run exactly `capacity` images are kept: the counts' variance is p(1 - p), not p.
    statistic = ((kept - expected) ** 2 / (expected * (1 - capacity / offered))).sum() * (offered - 1) / offered
    assert 0.0005 < stats.chi2.sf(statistic, offered - 1) < 0.9995


def test_reservoir_equals_algorithm_r_with_the_same_choices():
    memory, slots, seen = Reservoir(4), [], 0
    ours, reference = generator(7), generator(7)
    for start in range(0, 40, 3):
        memory.offer(images([0, 1, 0], [0, 0, 1], start), ours)
        for number in range(start, start + 3):
            seen += 1
            if len(slots) < 4:
                slots.append(number)
            else:
                j = int(torch.randint(seen, (), generator=reference))
                if j < 4:
                    slots[j] = number
    assert memory.numbers.tolist() == slots
    consistent(memory)


def test_reservoir_fills_up_before_it_drops():
    memory = Reservoir(10)
    memory.offer(images([0] * 6, [0] * 6), generator(0))
    assert (len(memory), memory.n_seen) == (6, 6)
    assert memory.numbers[:6].tolist() == list(range(6))


# --- GDumb's balanced sampler ---


def algorithm_1(stream: list[tuple[int, int]], capacity: int, random: torch.Generator) -> list[tuple[int, int]]:
    """GDumb's algorithm 1 over (number, group), slot by slot; ties go to the smallest group."""
    slots: list[tuple[int, int]] = []
    groups: set[int] = set()
    for number, group in stream:
        count = {g: sum(1 for _, h in slots if h == g) for g in groups}
        if group in groups and not count[group] < capacity / len(groups):
            continue
        if len(slots) < capacity:
            slots.append((number, group))
        else:
            largest = min(g for g in groups if count[g] == max(count.values()))
            candidates = [k for k, (_, g) in enumerate(slots) if g == largest]
            slots[candidates[int(torch.randint(len(candidates), (), generator=random))]] = (number, group)
        groups.add(group)
    return slots


@settings(deadline=None, max_examples=60)
@given(
    groups=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    capacity=st.integers(6, 20),
    batch=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_balanced_equals_algorithm_1(groups, capacity, batch, seed):
    memory, random = Balanced(capacity), generator(seed)
    for start in range(0, len(groups), batch):
        part = groups[start : start + batch]
        memory.offer(images([g % 2 for g in part], [g // 2 for g in part], start), random)
    want = algorithm_1(list(enumerate(groups)), capacity, generator(seed))
    got = [(int(memory.numbers[k]), int(2 * memory.domains[k] + memory.labels[k])) for k in range(memory.size)]
    assert got == want
    consistent(memory)


@pytest.mark.parametrize(("capacity", "domains"), [(12, 3), (13, 3), (40, 4), (8, 4)])
def test_balanced_counts_differ_by_one_at_most_when_images_abound(capacity, domains):
    memory, random = Balanced(capacity), generator(0)
    for domain in range(domains):
        for start in range(0, 60, 6):
            memory.offer(images([0, 0, 0, 1, 1, 0], [domain] * 6, 1000 * domain + start), random)
        groups = 2 * memory.domains[: memory.size] + memory.labels[: memory.size]
        counts = torch.bincount(groups)
        assert len(memory) == capacity
        assert len(counts) == 2 * (domain + 1)
        assert counts.max() - counts.min() <= 1
        # The last domain still gets in (the seed's sampler is frozen once it is full).
        assert (memory.domains[: memory.size] == domain).sum() >= 2 * (capacity // (2 * (domain + 1)))


def test_balanced_drops_every_image_of_the_largest_group_with_equal_probability():
    dropped = np.zeros(10)
    random = generator(5)
    runs = 800
    for _ in range(runs):
        memory = Balanced(10)
        memory.offer(images([0] * 10, [0] * 10), random)
        memory.offer(images([1], [0], 10), random)
        (gone,) = set(range(10)) - set(memory.numbers.tolist())
        dropped[gone] += 1
    assert stats.chisquare(dropped).pvalue > 0.0005


# --- herding ---


def gaps(features: np.ndarray, chosen: list[int]) -> list[float]:
    """|mean - (x + sum of chosen) / k| for every x that is not chosen yet: what algorithm 4's argmin goes over."""
    mean, k = features.mean(0), len(chosen) + 1
    return [
        np.inf if i in chosen else float(np.linalg.norm(mean - (features[i] + features[chosen].sum(0)) / k))
        for i in range(len(features))
    ]


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 25), d=st.integers(1, 6), count=st.integers(0, 30), seed=st.integers(0, 999))
def test_herding_equals_algorithm_4(n, d, count, seed):
    features = F.normalize(torch.randn(n, d + 1, generator=generator(seed), dtype=torch.float64), dim=1)
    order = herding(features, count)
    assert order.dtype == torch.int64
    assert len(set(order.tolist())) == len(order) == min(n, count)
    for k, chosen in enumerate(order.tolist()):
        open_gaps = gaps(features.numpy(), order.tolist()[:k])
        assert open_gaps[chosen] <= min(open_gaps) + 1e-12  # of two equally near ones either will do
    assert herding(features, max(count - 3, 0)).tolist() == order.tolist()[: max(count - 3, 0)]  # a prefix


# --- retrieval ---


def full_memory(capacity: int = 12, domains: int = 3) -> Reservoir:
    memory = Reservoir(capacity)
    each = capacity // domains
    for domain in range(domains):
        memory.offer(images([k % 2 for k in range(each)], [domain] * each, domain * each), generator(0))
    return memory


@settings(deadline=None, max_examples=40)
@given(count=st.integers(0, 20), exclude=st.sampled_from([None, 0, 1, 2, 7]), seed=st.integers(0, 99))
def test_random_retrieval_excludes_and_never_repeats(count, exclude, seed):
    memory = full_memory()
    slots = retrieve_random(memory, count, generator(seed), exclude_domain=exclude).tolist()
    eligible = [k for k in range(12) if k // 4 != exclude]
    assert len(slots) == len(set(slots)) == min(count, len(eligible))
    assert set(slots) <= set(eligible)


def test_random_retrieval_is_uniform():
    memory, random = full_memory(), generator(3)
    counts = np.zeros(12)
    for _ in range(3000):
        counts[retrieve_random(memory, 2, random, exclude_domain=1).numpy()] += 1
    assert (counts[4:8] == 0).all()
    assert stats.chisquare(np.delete(counts, range(4, 8))).pvalue > 0.0005


def test_nothing_is_retrieved_from_an_empty_memory_or_unused_slots():
    assert len(retrieve_random(Reservoir(5), 3, generator(0), exclude_domain=0)) == 0
    memory = Reservoir(5)
    memory.offer(images([0, 1], [0, 0]), generator(0))
    assert sorted(retrieve_random(memory, 9, generator(0)).tolist()) == [0, 1]


# --- MIR ---


def slow_interference(network, incoming, labels, candidates, candidate_labels, lr):
    """How much each candidate's loss rises: a copy takes a real SGD step, losses one image at a time."""
    losses = []
    stepped = copy.deepcopy(network).train()
    F.cross_entropy(stepped(incoming), labels).backward()
    torch.optim.SGD(stepped.parameters(), lr=lr).step()
    statistics = dict(network.named_buffers())
    for name, buffer in stepped.named_buffers():
        buffer.copy_(statistics[name])  # the statistics of before the virtual step
    for net in (copy.deepcopy(network).eval(), stepped.eval()):
        with torch.no_grad():
            losses.append(
                torch.stack(
                    [
                        F.cross_entropy(net(candidates[k : k + 1]), candidate_labels[k : k + 1])
                        for k in range(len(candidates))
                    ]
                )
            )
    return losses[1] - losses[0]


@pytest.mark.parametrize("lr", [0.5, 0.1])
def test_mir_ranks_by_the_rise_of_the_loss_and_changes_nothing(lr):
    torch.manual_seed(0)
    network = build_network("slim", width=8).train()
    for k in range(5):  # statistics that are not those of a new network
        network(as_batch(random_samples(8, 1, seed=k)).spectra)
    incoming, candidates = as_batch(random_samples(6, 1)), as_batch(random_samples(15, 0, seed=4))
    rise = slow_interference(network, incoming.spectra, incoming.labels, candidates.spectra, candidates.labels, lr)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    ranking = mir_ranking(network, incoming.spectra, incoming.labels, candidates.spectra, candidates.labels, lr)
    assert sorted(ranking.tolist()) == list(range(15))
    in_order = rise[ranking]
    assert (in_order[:-1] >= in_order[1:] - 1e-5).all()
    assert rise.max() - rise.min() > 1e-3  # the order means something
    assert same(before, dict(network.state_dict()))
    assert all(module.training for module in network.modules())
    assert all(p.grad is None for p in network.parameters())
    assert all(p.requires_grad for p in network.parameters())


def test_mir_depends_on_the_learning_rate():
    torch.manual_seed(1)
    network = build_network("slim", width=8).train()
    incoming, candidates = as_batch(random_samples(6, 1)), as_batch(random_samples(30, 0, seed=4))
    orders = [
        mir_ranking(network, incoming.spectra, incoming.labels, candidates.spectra, candidates.labels, lr).tolist()
        for lr in (1e-3, 3.0)
    ]
    assert orders[0] != orders[1]


# --- storage ---


def test_five_thousand_half_planes_of_224_fit_in_the_promised_memory():
    memory = Reservoir(5000)
    one = Batch(torch.ones(1, 3, 224, 113), torch.tensor([1]), torch.tensor([0]), torch.tensor([0]), 0)
    memory.put(0, one, 0)  # zero pages are not touched until they are written
    assert memory.spectra.dtype == torch.float16
    assert memory.nbytes == 5000 * 3 * 224 * 113 * 2 <= 0.8e9
    assert sum(t.nbytes for t in (memory.labels, memory.domains, memory.numbers)) < 1e6


def test_what_is_put_is_taken_in_half_precision():
    memory = Reservoir(6)
    batch = as_batch(random_samples(6, 2, shape=(3, 4, 3)))
    memory.offer(batch, generator(0))
    back = memory.take(torch.tensor([4, 1]))
    assert back.spectra.dtype == torch.float32
    torch.testing.assert_close(back.spectra, batch.spectra[[4, 1]].half().float(), rtol=0, atol=0)
    assert back.labels.tolist() == batch.labels[[4, 1]].tolist()
    assert back.numbers.tolist() == batch.numbers[[4, 1]].tolist()
    assert back.domains.tolist() == [2, 2]
    samples = memory.samples()
    assert len(samples) == 6
    torch.testing.assert_close(samples.read(), batch.spectra, rtol=0, atol=0)


def test_replace_forgets_what_was_there():
    memory = Memory(8)
    memory.replace(random_samples(8, 0, shape=(3, 4, 3)))
    memory.replace(random_samples(5, 1, shape=(3, 4, 3), first_number=50))
    samples = memory.samples()
    assert len(memory) == len(samples) == 5
    assert samples.numbers.tolist() == list(range(50, 55))
    assert samples.domains.tolist() == [1] * 5
    torch.testing.assert_close(samples.read(), random_samples(5, 1, shape=(3, 4, 3)).read(), rtol=0, atol=0)


@pytest.mark.parametrize("kind", [Reservoir, Balanced])
def test_a_restored_memory_goes_on_as_the_old_one(kind):
    first = kind(5)
    first.offer(images([0, 1, 0, 1, 0, 1, 1], [0] * 7), generator(0))
    second = kind(5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for memory in (first, second):
        memory.offer(images([0, 1, 0, 1], [1] * 4, 7), generator(4))
    assert same(first.state_dict(), second.state_dict())
    assert len(second) == 5
