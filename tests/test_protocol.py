"""The protocol: what is tested when, what a step reports, and how it goes on after steps that are done."""

import numpy as np

from cldf_core.agents import Agent, build_agent
from cldf_core.protocol import Place, train_and_test
from cldf_core.runs.run import load_spectra, training_samples
from cldf_core.stream import make_steps
from samples import tiny_options


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
