"""The stream: every image once per epoch, in an order that depends on seed, domain and chunk alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cldf_core.options import Options
from cldf_core.stream import Samples, make_steps
from samples import random_samples


def stream(*counts: int, **changes):
    first = np.cumsum([0, *counts])
    domains = [
        (f"domain{d}", random_samples(n, d, shape=(3, 4, 3), first_number=int(first[d]))) for d, n in enumerate(counts)
    ]
    return make_steps(domains, Options(**{"epochs": 2, "batch": 4, **changes})), domains


def numbers(step, seed: int = 0) -> list[list[int]]:
    return [batch.numbers.tolist() for batch in step.batches(seed)]


@given(count=st.integers(1, 40), batch=st.integers(1, 45), epochs=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_image_once_per_epoch(count, batch, epochs, seed):
    (step,), _ = stream(count, epochs=epochs, batch=batch)
    parts = list(step.batches(seed))
    for epoch in range(epochs):
        seen = torch.cat([part.numbers for part in parts if part.epoch == epoch])
        assert sorted(seen.tolist()) == list(range(count))
    full, rest = divmod(count, batch)
    sizes = ([batch] * full + [rest] * (rest > 0)) * epochs  # the short batch is used
    assert [len(part.labels) for part in parts] == sizes
    assert step.updates == len(sizes)


@given(
    count=st.integers(1, 40),
    batch=st.integers(1, 45),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 99),
    order=st.sampled_from(["shuffled", "fixed"]),
)
def test_an_incomplete_batch_is_dropped_from_every_epoch(count, batch, epochs, seed, order):
    whole, full_only = (
        stream(count, epochs=epochs, batch=batch, drop_last=drop, order=order)[0][0] for drop in (False, True)
    )
    # What is kept stays as it was: only the short batches are gone.
    assert numbers(full_only, seed) == [part for part in numbers(whole, seed) if len(part) == batch]
    assert full_only.updates == len(numbers(full_only, seed)) == epochs * (count // batch)
    lost = [{*range(count)} for _ in range(epochs)]
    for part in full_only.batches(seed):
        lost[part.epoch] -= set(part.numbers.tolist())
    assert all(len(epoch) == count % batch for epoch in lost)
    if order == "fixed":  # always the last ones
        assert all(epoch == {*full_only.samples.numbers[count // batch * batch :].tolist()} for epoch in lost)


def test_a_chunk_smaller_than_a_batch_gives_no_batch_when_short_ones_are_dropped():
    steps, _ = stream(90, chunks=10, batch=10, drop_last=True)
    assert [(step.updates, numbers(step)) for step in steps] == [(0, [])] * 10
    steps, _ = stream(91, chunks=10, batch=10, drop_last=True)
    assert [step.updates for step in steps] == [2] + [0] * 9  # one chunk has ten images, in two epochs


def test_a_fixed_order_gives_the_same_batches_in_every_epoch_and_for_every_seed():
    (step,), _ = stream(11, order="fixed", epochs=3)
    epoch = [list(step.samples.numbers[start : start + 4]) for start in (0, 4, 8)]
    assert numbers(step, 1) == numbers(step, 2) == 3 * epoch
    (shuffled,), _ = stream(11, epochs=3)
    first, again = numbers(shuffled, 1), numbers(shuffled, 2)
    assert first[:3] != first[3:6]
    assert first != again


def test_chunk_after_chunk_sees_another_version_of_the_images():
    versions = [Samples.from_array(np.full((12, 3, 4, 3), v, np.float16), np.arange(12) % 2, 0, 5) for v in range(3)]
    options = Options(epochs=1, batch=4, chunks=5)
    plain, shifted = (make_steps([("d", images)], options) for images in (versions[0], versions))
    for chunk, (before, after) in enumerate(zip(plain, shifted, strict=True)):
        assert after.samples.numbers.tolist() == before.samples.numbers.tolist()  # the same images
        assert after.samples.labels.tolist() == before.samples.labels.tolist()
        assert (after.samples.read() == chunk % 3).all()  # and again the first after the last


def test_joint_steps_unite_each_version():
    def versions(d: int) -> list[Samples]:
        planes = (np.full((4, 3, 4, 3), 10 * d + v, np.float16) for v in range(2))
        return [Samples.from_array(plane, [0, 1] * 2, d, 4 * d) for plane in planes]

    steps = make_steps([("a", versions(0)), ("b", versions(1))], Options(epochs=1, batch=4, chunks=2, agent="joint"))
    assert [set(step.samples.read().unique().tolist()) for step in steps[:2]] == [{0.0}, {1.0}]
    assert set(steps[2].samples.read().unique().tolist()) | {0.0, 10.0} == {0.0, 10.0}
    assert set(steps[3].samples.read().unique().tolist()) | {1.0, 11.0} == {1.0, 11.0}
    assert sorted(np.concatenate([step.samples.numbers for step in steps[2:]])) == list(range(8))


def test_batches_hold_what_belongs_to_each_image():
    steps, domains = stream(7, 9)
    for step in steps:
        _, samples = domains[step.index]
        for batch in step.batches(5):
            at = batch.numbers.numpy() - samples.numbers[0]
            np.testing.assert_array_equal(batch.labels, samples.labels[at])
            np.testing.assert_array_equal(batch.spectra.numpy(), samples.arrays[0][at].astype(np.float32))
            assert batch.spectra.dtype == torch.float32
            assert (batch.domains == step.index).all()


def test_order_depends_on_seed_domain_and_chunk_only():
    steps, _ = stream(12, 12, chunks=2, seed=3)
    first = [numbers(step, 3) for step in steps]
    torch.manual_seed(99)
    np.random.seed(99)
    assert [numbers(step, 3) for step in reversed(steps)][::-1] == first  # whatever ran before
    alone, _ = stream(12, 12, chunks=2, seed=3)
    assert numbers(alone[3], 3) == first[3]
    other, _ = stream(12, 12, chunks=2, seed=4)
    assert [numbers(step, 4) for step in other] != first
    # Epochs, domains and chunks are shuffled on their own.
    (step, *_), _ = stream(30, 30, epochs=2, batch=30)
    first_epoch, second_epoch = numbers(step)
    assert first_epoch != second_epoch
    (one, two), _ = stream(30, 30, epochs=1, batch=30)
    assert [n - 30 for n in numbers(two)[0]] != numbers(one)[0]


@given(counts=st.lists(st.integers(5, 30), min_size=1, max_size=3), chunks=st.integers(1, 5), seed=st.integers(0, 9))
def test_chunks_share_out_a_domain(counts, chunks, seed):
    steps, domains = stream(*counts, chunks=chunks, seed=seed)
    assert [(s.index, s.chunk) for s in steps] == [(d, c) for d in range(len(counts)) for c in range(chunks)]
    assert [s.last for s in steps] == [c == chunks - 1 for _ in counts for c in range(chunks)]
    for index, (name, samples) in enumerate(domains):
        parts = [step.samples for step in steps if step.index == index]
        assert all(step.name == name for step in steps if step.index == index)
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert sorted(np.concatenate([p.numbers for p in parts])) == samples.numbers.tolist()


def test_chunks_mix_the_classes():
    # Real images come first in a folder: cut without a shuffle, a chunk would hold one class.
    samples = Samples.from_array(np.zeros((40, 3, 4, 3), np.float16), [0] * 20 + [1] * 20)
    for step in make_steps([("d", samples)], Options(epochs=1, batch=4, chunks=4)):
        assert 0 < step.samples.labels.sum() < 10


def test_joint_steps_are_unions():
    steps, _ = stream(5, 6, 7, agent="joint")
    assert [sorted(s.samples.numbers) for s in steps] == [list(range(5)), list(range(11)), list(range(18))]
    assert [s.name for s in steps] == ["domain0", "domain1", "domain2"]
    for batch in steps[2].batches(0):
        want = np.digitize(batch.numbers, [5, 11])
        np.testing.assert_array_equal(batch.domains, want)


@pytest.mark.parametrize(("counts", "chunks"), [((3, 0), 1), ((8, 3), 4)])
def test_too_few_images_are_told_with_the_domains_name(counts, chunks):
    with pytest.raises(ValueError, match=rf"'domain1' has {counts[1]} training images; needed: at least {chunks}"):
        stream(*counts, chunks=chunks)


def test_samples_of_several_arrays_read_in_the_asked_order():
    a, b = random_samples(5, 0, shape=(3, 4, 3)), random_samples(4, 1, shape=(3, 4, 3), first_number=5)
    both = a + b + a[np.array([2])]
    assert len(both) == 10
    order = np.array([9, 0, 8, 4, 5, 2, 0])
    want = np.concatenate([a.arrays[0], b.arrays[0], a.arrays[0][2:3]])[order]
    np.testing.assert_array_equal(both[order].read().numpy(), want.astype(np.float32))
    np.testing.assert_array_equal(both[order].read().numpy(), want.astype(np.float32))
    np.testing.assert_array_equal(both[order].numbers, [2, 0, 8, 4, 5, 2, 0])
    np.testing.assert_array_equal(both[both.labels == 1].labels, 1)


def test_samples_check_their_lengths():
    with pytest.raises(ValueError, match="3 labels for 2 spectra"):
        Samples.from_array(np.zeros((2, 3, 4, 3)), [0, 1, 0])


def test_batches_add_up_in_their_order():
    a, b = (random_samples(n, n, shape=(3, 4, 3), first_number=n).batch(epoch=n) for n in (2, 3))
    both = a + b
    assert torch.equal(both.spectra, torch.cat([a.spectra, b.spectra]))
    assert both.labels.tolist() == a.labels.tolist() + b.labels.tolist()
    assert both.domains.tolist() == [2, 2, 3, 3, 3]
    assert both.numbers.tolist() == [2, 3, 3, 4, 5]
    assert both.epoch == 2  # of the incoming one


@given(
    kept=st.integers(1, 40),
    omitted=st.integers(0, 100),
    batch=st.integers(1, 45),
    epochs=st.integers(1, 3),
    drop=st.booleans(),
)
def test_a_lengthened_step_has_as_many_updates_as_the_whole_one(kept, omitted, batch, epochs, drop):
    changes = {"epochs": epochs, "batch": batch, "drop_last": drop}
    (whole,), _ = stream(kept + omitted, **changes)
    domains = [("domain0", random_samples(kept, shape=(3, 4, 3)))]
    (step,) = make_steps(domains, Options(**changes), [omitted])
    longer = step.lengthened()
    per_epoch = len([part for part in step.batches(0) if part.epoch == 0])
    if not per_epoch:
        assert longer.updates == 0
        return
    assert whole.updates <= longer.updates < whole.updates + per_epoch
    assert longer.updates == len(numbers(longer)) == longer.epochs * per_epoch
    assert longer.lengthened() == longer  # once


def test_what_is_left_out_counts_in_each_chunk_and_adds_up_in_joint_training():
    domains = [(name, random_samples(10, d, shape=(3, 4, 3))) for d, name in enumerate("abc")]
    omitted = [0, 30, 8]
    assert [step.omitted for step in make_steps(domains, Options(), omitted)] == omitted
    assert [step.omitted for step in make_steps(domains, Options(agent="joint"), omitted)] == [0, 30, 38]
    assert [step.omitted for step in make_steps(domains, Options(chunks=2), omitted)] == [0, 0, 15, 15, 4, 4]
    assert [step.omitted for step in make_steps(domains, Options())] == [0, 0, 0]
