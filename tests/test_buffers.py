"""Memories against slow references: Vitter's reservoir, GDumb's algorithm 1, iCaRL's algorithm 4, MIR's rises."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F

from cldf_core.buffers import (
    Balanced,
    Exemplars,
    Memory,
    Packed,
    Reservoir,
    herding,
    loss_rises,
    packing_of,
    retrieve_random,
)
from cldf_core.options import checked
from cldf_core.resnet import build_network
from cldf_core.spectrum import log_spectrum, mirror
from cldf_core.stream import PART, Batch, Samples
from samples import SlowReservoir, herding_gaps, offer_balanced, random_samples, same, slow_herding, state_of

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


@pytest.mark.parametrize(("capacity", "offered", "batch"), [(5, 20, 1), (8, 30, 7), (1, 10, 3)])
def test_reservoir_keeps_every_image_with_the_same_probability(capacity, offered, batch):
    runs = 700
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
        written = {}
        for row, number in enumerate(range(start, start + 3)):
            seen += 1
            if len(slots) < 4:
                slots.append(number)
                written[len(slots) - 1] = row
            else:
                j = int(torch.randint(seen, (), generator=reference))
                if j < 4:
                    slots[j] = number
                    written[j] = row
        assert memory.offer(images([0, 1, 0], [0, 0, 1], start), ours) == written
        assert (memory.numbers[: memory.size].tolist(), memory.n_seen) == (slots, seen)
    consistent(memory)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), capacity=st.integers(1, 20), seed=st.integers(0, 99))
def test_the_reservoir_counted_by_batches_equals_the_originals(sizes, capacity, seed):
    memory, slow = Reservoir(capacity, counting="batch"), SlowReservoir(capacity)
    random, slow_random = generator(seed), generator(seed)
    for size in sizes:
        numbers = list(range(slow.seen, slow.seen + size))
        before, known = list(slow.images), slow.offer(numbers, slow_random)
        written = memory.offer(images([0] * size, [0] * size, numbers[0]), random)
        after = dict(enumerate(slow.images))
        held = {slot: image for slot, image in after.items() if slot >= len(before) or image != before[slot]}
        assert {slot: numbers[row] for slot, row in written.items()} == held
        assert known <= set(written)  # the original's list leaves slots out
    assert memory.numbers[: memory.size].tolist() == slow.images
    assert memory.n_seen == sum(sizes)
    consistent(memory)


# --- GDumb's balanced sampler ---


@pytest.mark.parametrize("capacity", [8, 12])
def test_balanced_over_the_classes_takes_nothing_more_once_it_is_full(capacity):
    frozen, open_ = Balanced(capacity, by="class"), Balanced(capacity)
    for memory in (frozen, open_):
        memory.offer(images([0, 1] * 20, [0] * 40), generator(0))
    before = frozen.numbers.tolist()
    for domain in (1, 2):
        for memory in (frozen, open_):
            memory.offer(images([0, 1] * 20, [domain] * 40, 40 * domain), generator(domain))
        assert frozen.numbers.tolist() == before
        assert (open_.domains == domain).any()
    assert torch.bincount(frozen.labels).tolist() == [capacity // 2] * 2


@given(
    groups=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    capacity=st.integers(1, 20),
    batch=st.integers(1, 9),
    seed=st.integers(0, 99),
    by=st.sampled_from(["domain-and-class", "class"]),
)
def test_balanced_equals_algorithm_1(groups, capacity, batch, seed, by):
    capacity = max(capacity, 6) if by == "domain-and-class" else capacity  # a slot for each group
    memory, random = Balanced(capacity, by=by), generator(seed)
    for start in range(0, len(groups), batch):
        part = groups[start : start + batch]
        memory.offer(images([g % 2 for g in part], [g // 2 for g in part], start), random)
    want: list[tuple[int, int]] = []
    met: set[int] = set()
    slow_random = generator(seed)
    for number, group in enumerate(groups if by == "domain-and-class" else [g % 2 for g in groups]):
        offer_balanced(want, met, number, group, capacity, slow_random, whole=by == "class")
    got = 2 * memory.domains + memory.labels if by == "domain-and-class" else memory.labels
    used = slice(memory.size)
    assert list(zip(memory.numbers[used].tolist(), got[used].tolist(), strict=True)) == want
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
        # The last domain still gets in (the original's sampler is closed once it is full).
        assert (memory.domains[: memory.size] == domain).sum() >= 2 * (capacity // (2 * (domain + 1)))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_originals_memory_of_one_keeps_the_first_image_of_the_second_class(batch):
    memory, labels = Balanced(1, by="class"), [1, 1, 0, 1, 0, 0, 1]
    for start in range(0, 7, batch):
        memory.offer(
            images(labels[start : start + batch], [0] * len(labels[start : start + batch]), start), generator(0)
        )
    assert memory.numbers.tolist() == [2]  # class 1 has half a slot now, rounded down


# --- herding ---


@given(n=st.integers(1, 25), d=st.integers(1, 6), count=st.integers(0, 30), seed=st.integers(0, 999))
def test_herding_equals_algorithm_4(n, d, count, seed):
    features = F.normalize(torch.randn(n, d + 1, generator=generator(seed), dtype=torch.float64), dim=1)
    order = herding(features, count)
    assert order.dtype == torch.int64
    assert len(set(order.tolist())) == len(order) == min(n, count)
    for k, chosen in enumerate(order.tolist()):
        open_gaps = herding_gaps(features.numpy(), order.tolist()[:k])
        assert open_gaps[chosen] <= min(open_gaps) + 1e-12  # of two equally near ones either will do
    assert herding(features, max(count - 3, 0)).tolist() == order.tolist()[: max(count - 3, 0)]  # a prefix


# --- retrieval ---


def full_memory(capacity: int = 12, domains: int = 3) -> Reservoir:
    memory = Reservoir(capacity)
    each = capacity // domains
    for domain in range(domains):
        memory.offer(images([k % 2 for k in range(each)], [domain] * each, domain * each), generator(0))
    return memory


@given(
    count=st.integers(0, 20),
    exclude=st.sampled_from([None, 0, 1, 2, 7]),
    slots=st.sets(st.integers(0, 11)),
    seed=st.integers(0, 99),
)
def test_random_retrieval_takes_nothing_excluded_and_nothing_twice(count, exclude, slots, seed):
    drawn = retrieve_random(full_memory(), count, generator(seed), exclude_domain=exclude, exclude_slots=slots)
    eligible = {k for k in range(12) if k // 4 != exclude} - slots
    assert drawn.dtype == torch.int64
    assert len(drawn) == len(set(drawn.tolist())) == min(count, len(eligible))
    assert set(drawn.tolist()) <= eligible


@pytest.mark.parametrize(
    ("excluded", "arguments"), [([0, 5, 6], {"exclude_slots": {0, 5, 6}}), ([4, 5, 6, 7], {"exclude_domain": 1})]
)
def test_random_retrieval_is_uniform_over_what_is_not_excluded(excluded, arguments):
    memory, random = full_memory(), generator(3)
    counts = np.zeros(12)
    for _ in range(2000):
        counts[retrieve_random(memory, 3, random, **arguments).numpy()] += 1
    assert (counts[excluded] == 0).all()
    assert stats.chisquare(np.delete(counts, excluded)).pvalue > 0.0005


def test_nothing_is_retrieved_from_an_empty_memory_or_unused_slots():
    assert len(retrieve_random(Reservoir(5), 3, generator(0), exclude_domain=0)) == 0
    memory = Reservoir(5)
    memory.offer(images([0, 1], [0, 0]), generator(0))
    assert sorted(retrieve_random(memory, 9, generator(0)).tolist()) == [0, 1]


# --- MIR ---


def worn_network() -> torch.nn.Module:
    """A network in training mode whose statistics are not those of a new one."""
    torch.manual_seed(0)
    network = build_network("slim", width=8).train()
    for k in range(5):
        network(random_samples(8, 1, seed=k).batch().spectra)
    return network


@pytest.mark.parametrize("moving", [False, True])
def test_losses_rise_by_the_difference_between_two_networks(moving):
    """The reference: a copy has the other weights; both give their losses, in training mode when statistics move."""
    network = worn_network()
    candidates = random_samples(70, 0, seed=4).batch()  # more than are scored at once
    before, unmoved, other = state_of(network), copy.deepcopy(network), copy.deepcopy(network)
    with torch.no_grad():
        for p in other.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator(1))
    parts = [slice(None)] if moving else [slice(k, k + 1) for k in range(70)]  # one image at a time
    losses = []
    for net in (unmoved, other):
        net.train(moving)
        with torch.no_grad():
            logits = torch.cat([net(candidates.spectra[part]) for part in parts])
        losses.append(-logits.log_softmax(1)[torch.arange(70), candidates.labels])
    want = losses[1] - losses[0]
    arguments = (network, dict(other.named_parameters()), candidates.spectra, candidates.labels)
    got = loss_rises(*arguments, moving=moving)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    assert want.max() - want.min() > 0.1
    # Statistics move by the pass of the network as it is alone.
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, unmoved.state_dict()[name], atol=1e-6, rtol=1e-5)
        moves = moving and ("running" in name or "num_batches" in name)
        assert torch.equal(value, before[name]) == (not moves), name
    assert all(module.training for module in network.modules())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    if moving:
        assert not torch.allclose(got, loss_rises(*arguments), atol=1e-3)


# --- iCaRL's exemplars ---


@pytest.mark.parametrize("capacity", [12, 13, 100])
def test_exemplars_are_the_first_of_the_herd_and_shorten_by_rank(capacity):
    # Features that tell each image from the others: its own direction.
    table = F.normalize(torch.randn(60, 5, generator=generator(8), dtype=torch.float64), dim=1)
    memory = Exemplars(capacity)
    before: dict[int, list[int]] = {}
    for domain in range(3):
        new = random_samples(20, domain, shape=(3, 4, 3), first_number=20 * domain)
        memory.choose(new, domain, lambda samples: table[samples.numbers])
        quota = min(capacity // (2 * (domain + 1)), 10)  # there are ten of each class
        kept = memory.samples()
        by_class = {c: kept.numbers[at].tolist() for c, at in kept.by_class().items()}
        assert set(by_class) == set(range(2 * domain + 2))
        for c, numbers in by_class.items():
            if c // 2 < domain:
                assert numbers == before[c][:quota]
                continue
            of_class = new.numbers[new.labels == c % 2]
            assert numbers == of_class[slow_herding(table[of_class].numpy(), quota)].tolist()
        for label, number, spectrum in zip(kept.labels, kept.numbers, kept.read(), strict=True):
            source = random_samples(20, number // 20, shape=(3, 4, 3))
            assert label == number % 2
            torch.testing.assert_close(spectrum, source.read()[number % 20], rtol=0, atol=0)
        before = by_class


def test_a_chunks_exemplars_compete_with_the_next_chunk_of_their_domain():
    table = F.normalize(torch.randn(40, 4, generator=generator(1), dtype=torch.float64), dim=1)
    memory = Exemplars(8)
    first, second = (random_samples(20, 0, shape=(3, 4, 3), first_number=n) for n in (0, 20))
    memory.choose(first, 0, lambda samples: table[samples.numbers])
    survivors = memory.samples().numbers
    memory.choose(second, 0, lambda samples: table[samples.numbers])
    for label in (0, 1):
        candidates = np.concatenate([second.numbers[second.labels == label], survivors[survivors % 2 == label]])
        want = candidates[herding(table[candidates], 4).numpy()]
        kept = memory.samples()
        assert kept.numbers[kept.labels == label].tolist() == want.tolist()


def test_random_exemplars_are_an_even_draw_and_shorten_by_the_order_of_the_draw():
    kept = np.zeros(20)
    for seed in range(300):
        memory, random, draws = Exemplars(12), generator(seed), generator(seed)
        before: dict[int, list[int]] = {}
        for domain in range(2):
            new = random_samples(20, domain, shape=(3, 1, 1), first_number=20 * domain)
            memory.choose(new, domain, lambda samples: pytest.fail("no features are needed"), random)
            quota = 12 // (2 * (domain + 1))
            samples = memory.samples()
            by_class = {c: samples.numbers[at].tolist() for c, at in samples.by_class().items()}
            want = {c: numbers[:quota] for c, numbers in before.items()}
            for label in (0, 1):
                of_class = new.numbers[new.labels == label]
                want[2 * domain + label] = of_class[torch.randperm(10, generator=draws)[:quota].numpy()].tolist()
            assert by_class == want
            before = by_class
        kept[by_class[0] + by_class[1]] += 1
    # Each of 10 is among 3 of them with probability 0.3; the largest of 20 deviations is seldom above 4 sigma.
    assert np.abs(kept - 300 * 0.3).max() < 4 * (300 * 0.3 * 0.7) ** 0.5


def test_exemplars_of_a_domain_with_one_class_or_few_images():
    memory = Exemplars(8)
    few = random_samples(3, 0, shape=(3, 4, 3))
    memory.choose(few, 0, lambda samples: torch.ones(len(samples), 2, dtype=torch.float64))
    assert sorted(memory.samples().numbers) == [0, 1, 2]
    one_class = random_samples(9, 1, shape=(3, 4, 3), first_number=3)
    one_class = one_class[one_class.labels == 1]
    memory.choose(one_class, 1, lambda samples: torch.ones(len(samples), 2, dtype=torch.float64))
    kept = memory.samples()
    assert {c: len(at) for c, at in kept.by_class().items()} == {0: 2, 1: 1, 3: 2}


# --- storage ---


def planes(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """Half planes of numbers that float16 holds."""
    shape = (count, 3, height, width // 2 + 1)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float16).astype(np.float32)


SIZES = {
    "count": st.integers(1, 5),
    "height": st.integers(1, 6),
    "columns": st.integers(1, 5),
    "seed": st.integers(0, 99),
}


@given(**SIZES)
def test_planes_are_packed_in_half_precision_and_full_ones_as_their_halves(count, height, columns, seed):
    half = planes(count, 2 * height, 2 * columns, seed)
    exact = half + np.float32(1e-5)  # which float16 does not hold
    for packing, plane, want in (("half", exact, exact.astype(np.float16)), ("full", mirror(half), mirror(half))):
        stored = Packed.pack(torch.from_numpy(plane), packing)
        assert stored.dtype == torch.float16
        assert stored.shape == half.shape
        packed = Packed(stored.numpy(), packing)
        assert packed.shape == plane.shape
        back = packed[np.arange(count)[::-1]]
        assert back.dtype == np.float32
        np.testing.assert_array_equal(back[::-1], want.astype(np.float32))
    # By the definition: what lies at -f is what lies at f.
    fy, fx = np.meshgrid(np.arange(2 * height), np.arange(columns + 1, 2 * columns), indexing="ij")
    np.testing.assert_array_equal(back[..., fy, fx], back[..., -fy % (2 * height), -fx % (2 * columns)])


def test_the_full_plane_of_a_real_image_loses_only_half_precision():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 20), dtype=np.uint8)
    full = torch.from_numpy(log_spectrum(pixels, plane="full"))
    back = Packed(Packed.pack(full, "full").numpy(), "full")[np.arange(3)]
    np.testing.assert_allclose(back, full.numpy(), atol=5e-4)  # half a unit of float16 below 1


@given(**SIZES, precision=st.sampled_from([np.float16, np.float32]))
def test_pixels_are_packed_in_eight_bits_and_lose_nothing(count, height, columns, seed, precision):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, height, columns), dtype=np.uint8)
    scaled = (pixels / np.float32(127.5) - 1).astype(precision).astype(np.float32)  # as a cache may hold them
    stored = Packed.pack(torch.from_numpy(scaled), "image")
    assert stored.dtype == torch.uint8
    np.testing.assert_array_equal(stored.numpy(), pixels)
    packed = Packed(stored.numpy(), "image")
    assert packed.shape == pixels.shape
    back = packed[np.arange(count)]
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, pixels.astype(np.float64) / 127.5 - 1, atol=1e-6)


def test_pixels_beyond_the_range_are_clipped():
    stored = Packed.pack(torch.tensor([[[[-1.2, -1.0, 1.0, 1.3]]]]), "image")
    assert stored.flatten().tolist() == [0, 0, 255, 255]


def of_packing(count: int, packing: str, side: int = 6, first_number: int = 0) -> Samples:
    """Samples that a memory of this packing keeps exactly."""
    half = planes(count, side, side, seed=count)
    pixels = np.random.default_rng(count).integers(0, 256, (count, 3, side, side)) / np.float32(127.5) - 1
    arrays = {"half": half, "full": mirror(half), "image": pixels.astype(np.float32)}
    return Samples.from_array(arrays[packing], np.arange(count) % 2, 1, first_number)


def filled(kind: type[Memory], capacity: int, packing: str, samples: Samples) -> Memory:
    """A memory that has been offered the samples, or was replaced by them."""
    memory = kind(capacity, packing)
    if kind is Exemplars:
        memory.replace(samples)
    else:
        memory.offer(samples.batch(), generator(0))
    return memory


PACKINGS = ("half", "full", "image")


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", [Reservoir, Balanced, Exemplars])
def test_a_memory_gives_back_what_it_was_given_in_each_packing(kind, packing):
    samples = of_packing(8, packing)
    memory = filled(kind, 10, packing, samples)
    assert memory.spectra.dtype == (torch.uint8 if packing == "image" else torch.float16)
    back = memory.take(torch.tensor([3, 3, 0]))
    assert back.spectra.dtype == torch.float32
    torch.testing.assert_close(back.spectra, samples.read()[[3, 3, 0]], rtol=0, atol=1e-6)
    assert back.numbers.tolist() == [3, 3, 0]
    assert (back.labels.tolist(), back.domains.tolist()) == ([1, 1, 0], [1, 1, 1])
    kept = memory.samples()
    torch.testing.assert_close(kept.read(), samples.read(), rtol=0, atol=1e-6)
    assert kept.labels.tolist() == samples.labels.tolist()
    # Together with the images of an array, as iCaRL reads them.
    both = of_packing(5, packing, first_number=20) + kept
    order = np.array([12, 0, 6, 4, 5])
    want = torch.cat([of_packing(5, packing).read(), samples.read()])[order]
    torch.testing.assert_close(both[order].read(), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_memory_can_be_replaced_by_its_own_samples(packing):
    # More than one block, and in reverse: what is written must not be read again.
    count = PART + 7
    samples = of_packing(count, packing)
    memory = Memory(count + 3, packing)
    memory.replace(samples)
    memory.replace(memory.samples()[np.arange(count)[::-1]])
    assert memory.numbers[: memory.size].tolist() == list(range(count))[::-1]
    torch.testing.assert_close(memory.samples().read(), samples.read().flip(0), rtol=0, atol=1e-6)
    fewer = of_packing(5, packing, first_number=200)  # what was there is forgotten
    memory.replace(fewer)
    kept = memory.samples()
    assert len(memory) == len(kept) == 5
    assert (kept.numbers.tolist(), kept.domains.tolist()) == (list(range(200, 205)), [1] * 5)
    torch.testing.assert_close(kept.read(), fewer.read(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", [Reservoir, Balanced, Exemplars])
def test_a_state_holds_the_slots_in_use_only_and_is_a_copy(kind, packing):
    samples = of_packing(4, packing)
    memory, empty = filled(kind, 1000, packing, samples), kind(1000, packing).state_dict()
    assert empty["spectra"].numel() == 0
    state = memory.state_dict()
    assert len(state["spectra"]) == 4
    assert state["spectra"].untyped_storage().nbytes() == memory.nbytes == state["spectra"].nbytes
    spectra = state["spectra"].clone()
    memory.spectra.zero_()
    assert torch.equal(state["spectra"], spectra)
    other = kind(1000, packing)
    other.load_state_dict(copy.deepcopy(state))
    assert len(other) == 4
    torch.testing.assert_close(other.samples().read(), samples.read(), rtol=0, atol=1e-6)
    if kind is not Exemplars:  # there is room for more
        other.offer(of_packing(6, packing, first_number=4).batch(), generator(0))
        assert other.numbers[:10].tolist() == list(range(10))
    other.load_state_dict(empty)
    assert (len(other), other.nbytes) == (0, 0)


@pytest.mark.parametrize(
    ("feature", "plane", "columns"), [("spectrum", "half", 113), ("spectrum", "full", 224), ("image", "half", 224)]
)
def test_five_thousand_images_of_224_fit_in_the_promised_memory(feature, plane, columns):
    packing = packing_of(checked({"feature": feature, "plane": plane}))
    assert packing == ("image" if feature == "image" else plane)
    memory = Reservoir(5000, packing)
    one = Batch(torch.ones(3, 3, 224, columns), *(torch.zeros(3, dtype=torch.int64) for _ in range(3)), 0)
    memory.offer(one, generator(0))  # zero pages are not touched until they are written
    assert len(memory.spectra) == 5000
    assert memory.nbytes * 5000 / 3 == memory.spectra.nbytes <= 0.8e9
    assert memory.spectra.nbytes == 5000 * 3 * 224 * (224 if packing == "image" else 113 * 2)
    assert memory.take(torch.tensor([0])).spectra.shape == (1, 3, 224, columns)
    assert sum(t.nbytes for t in (memory.labels, memory.domains, memory.numbers)) < 1e6


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
