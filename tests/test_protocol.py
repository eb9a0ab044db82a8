"""The protocol: what is tested when, what a step reports, and how it goes on after steps that are done."""

import copy
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from cldf_core.agents import Agent, build_agent
from cldf_core.protocol import Place, score_samples, train_and_test
from cldf_core.runs.run import load_spectra, training_samples
from cldf_core.stream import Samples, make_steps
from samples import same, tiny_options


def test_the_protocol_tests_after_the_last_chunk_only_and_reports_losses(small_data, root):
    opts = tiny_options("er", small_data, chunks=2, epochs=3)
    steps = make_steps(training_samples(opts, load_spectra(opts)), opts)
    tests = {"here": steps[0].samples[np.arange(3)]}
    done = list(train_and_test(build_agent(opts), steps, tests, seed=0))
    assert [d.step for d in done] == steps
    assert [bool(d.logits) for d in done] == [False, True] * 3
    assert all(len(d.losses) == 3 and np.isfinite(d.losses).all() for d in done)
    assert [d.images for d in done[:2]] == [3 * 8 + 5 * 3, 3 * 8 + 6 * 3]  # replaying from the second batch on
    assert all(d.images > 3 * 8 for d in done[2:])  # replayed images count
    assert done[1].logits["here"].shape == (3,)


@pytest.mark.parametrize("agent", ["sequential", "icarl", "gdumb"])
def test_the_batches_of_a_run_are_known_when_it_ends(agent, small_data, root):
    """Also where exemplars join a step, a memory is gone through after it, or the run goes on within it."""
    opts = tiny_options(agent, small_data)
    steps = make_steps(training_samples(opts, load_spectra(opts)), opts)
    learner, told, states = build_agent(opts), [], []
    place = Place()

    def kept():
        states.append((copy.deepcopy(learner.state_dict()), copy.deepcopy(place)))

    run = {"seed": 0, "advance": lambda text, longer: told.append(longer)}
    list(train_and_test(learner, steps, {}, place=place, after_batch=kept, **run))
    assert sum(step.updates for step in steps) + sum(told) == len(told) == len(states)
    done = len(states) * 2 // 3
    state, reached = states[done - 1]
    again = build_agent(opts)
    again.load_state_dict(state)
    told.clear()
    ahead = sum(step.updates for step in steps[reached.steps :])
    list(train_and_test(again, steps, {}, place=reached, **run))
    assert ahead + sum(told) == len(told) == len(states) - done
    assert same(again.state_dict(), learner.state_dict())


def test_an_agent_that_is_told_the_domain_of_a_test_answers_by_its_outputs(small_data, root):
    opts = tiny_options("lwf", small_data, lwf_heads="told", epochs=1)
    steps = make_steps(training_samples(opts, load_spectra(opts)), opts)
    images = steps[0].samples[np.arange(5)]
    tests = {place: replace(images, domains=np.full(5, place)) for place in (2, 0, -1, 1)}
    learner = build_agent(opts)
    for result in train_and_test(learner, steps, {**tests, "none": images[np.array([], int)]}, seed=0):
        newest = result.step.index
        with torch.no_grad():
            outputs = copy.deepcopy(learner.network).eval()(images.read()).numpy()
        assert outputs.shape == (5, 2 * newest + 2)
        for place in tests:
            head = place if 0 <= place <= newest else newest
            want = outputs[:, 2 * head + 1] - outputs[:, 2 * head]
            np.testing.assert_allclose(result.logits[place], want, atol=1e-5)
        assert result.logits["none"].shape == (0,)
    assert not np.allclose(result.logits[0], result.logits[1], atol=1e-3)


def test_the_protocol_goes_on_after_what_is_done(small_data, root):
    opts = tiny_options("sequential", small_data, epochs=1, batch=100)
    seen: list[str] = []

    class Deaf(Agent):
        def observe(self, batch):
            seen.append(int(batch.domains[0]))
            return 0.0

    steps = make_steps(training_samples(opts, load_spectra(opts)), opts)
    assert len(list(train_and_test(Deaf(opts), steps, {}, seed=0, place=Place(2)))) == 1
    assert seen == [2]


def test_the_scores_of_a_part_are_not_kept_one_by_one():
    """Small arrays among large ones keep the memory around them from use again: a gigabyte of 200,000 images."""
    images, seen = np.random.default_rng(0).random((300, 3, 4, 4), dtype=np.float32), list[weakref.ref]()

    def score(part: torch.Tensor) -> np.ndarray:
        assert sum(ref() is not None for ref in seen) <= 1
        scores = part.mean((1, 2, 3)).double().numpy()
        seen.append(weakref.ref(scores))
        return scores

    found = score_samples(score, Samples.from_array(images, np.zeros(300)))
    np.testing.assert_array_equal(found, torch.from_numpy(images).mean((1, 2, 3)).double().numpy())
    assert found.dtype == np.float64
    assert len(score_samples(score, Samples.from_array(images[:0], np.zeros(0)))) == 0
    assert len(seen) > 3
