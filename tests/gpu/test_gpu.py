"""Runs on a GPU: scores near the CPU's, mixed precision, resuming, and how fast a step of the original profile is.

`make test-gpu`, and as a part of the plain tests where torch finds a GPU. Convolutions there add in one order
(`make_run` asks cuDNN for it), and so does all else in these networks on one GPU: a resumed run ends in the same bytes.
On another kind of GPU, or beside the CPU, the last digits differ, with TF32 already the fourth.
"""

import time

import numpy as np
import pytest
import torch

from cldf_core.agents import AGENTS, build_agent
from cldf_core.data.runtime import thread_count
from cldf_core.detection.detector import logits_of
from cldf_core.options import checked
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.run import load_spectra, make_run
from cldf_core.stream import make_steps
from samples import begun, make_data, random_samples, tiny_options

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here (torch.cuda.is_available())"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of 64 pixels, which mixed precision needs."""
    return make_data(tmp_path_factory.mktemp("gpu"), side=64)


@pytest.mark.parametrize("changes", [{}, {"mixed_precision": True}], ids=["single", "mixed"])
@pytest.mark.parametrize("agent", AGENTS)
def test_scores_are_near_those_of_the_cpu(agent, changes, data, root):
    opts = tiny_options(agent, data, size=64, **changes)
    here = make_run(opts)
    there = make_run(checked({**opts.model_dump(), "device": "cuda"}))
    assert here.path != there.path
    one, other = here.scores(), there.scores()
    first = one["step"] == 1  # later on, which images are remembered or replayed may hang on a last digit
    assert (one["score"] - other["score"])[first].abs().mean() < 0.1
    assert (one["score"] - other["score"]).abs().mean() < 0.2
    # What was trained there gives the same scores here.
    network, options = load_network(there.model(3))
    spectra = load_spectra(opts)["second"]
    rows = spectra.table.query("split == 'test'")["row"]
    logits = logits_of(network, options, spectra.array[rows])
    want = other.query("step == 3 and domain == 'second'")["logit"]
    np.testing.assert_allclose(logits, want, rtol=0.05, atol=0.05 if not options.mixed_precision else 0.2)


class Stopped(Exception):
    """In place of a kill."""


@pytest.mark.parametrize("agent", AGENTS)
def test_a_resumed_run_ends_in_the_same_bytes(agent, data, tmp_path, monkeypatch):
    """Stopped at the end of its second step, with a state after every batch."""
    opts = tiny_options(agent, data, size=64, device="cuda")
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "alone"))
    alone = make_run(opts)
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "stopped"))
    end_step, steps = AGENTS[agent].end_step, []

    def stop(self, step):
        if steps:
            raise Stopped
        steps.append(step)
        end_step(self, step)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("cldf_core.runs.run.States.are_due", lambda states: True)
        patch.setattr(AGENTS[agent], "end_step", stop)
        make_run(opts)
    resumed = make_run(opts)
    assert resumed.manifest["resumed"] == 1
    assert resumed.manifest["files"] == alone.manifest["files"]  # hashes of scores and networks


@pytest.mark.parametrize("agent", ["sequential", "er", "mir", "lwf"])
def test_a_step_of_the_original_profile_is_faster_than_on_four_cores(agent):
    """ResNet-34 at 224 pixels, full planes, batches of 10."""
    seconds = {}
    for device in ("cpu", "cuda"):
        options = checked({"agent": agent, "variant": "original", "device": device, "chunks": 1})
        shape = (3, 224, 224)
        parts = [(f"d{d}", random_samples(60, d, shape=shape, first_number=60 * d)) for d in range(2)]
        first, second = make_steps(parts, options)
        learner = build_agent(options)
        with thread_count(4):
            for batch, _ in zip(begun(learner, first).batches(0), range(2), strict=False):
                learner.observe(batch)
            learner.end_step(first)
            times = []
            for batch, _ in zip(begun(learner, second).batches(0), range(3 if device == "cpu" else 12), strict=False):
                started = time.perf_counter()
                learner.observe(batch)  # its loss is a number here, so the GPU is done
                times.append(time.perf_counter() - started)
        seconds[device] = np.median(times)
    print(f"\n{agent}: {seconds['cpu']:.3f} s a step on four cores, {seconds['cuda']:.3f} s on the GPU", end=" ")
    print(f"({10 / seconds['cuda']:.0f} new images a second)")
    assert seconds["cuda"] * 3 < seconds["cpu"]
