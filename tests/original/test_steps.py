"""The original's flags, step by step: how many updates of which optimiser, on how many images, and from which slots."""

import argparse
import shlex
from collections import Counter
from collections.abc import Callable

import pytest
import torch

from cldf_core.agents import build_agent
from cldf_core.agents.base import Agent
from cldf_core.options import checked
from cldf_core.original import flags
from cldf_core.resnet import Network
from cldf_core.spectrum import mirror
from cldf_core.stream import Samples, make_steps
from samples import begun, random_samples, train

TINY = {"network": "slim", "width": 8, "size": 32, "device": "cpu"}


def agent_of(line: str) -> Agent:
    """An agent as `cldf train --continual_learning CL …` would build it, but for a small network."""
    parser = argparse.ArgumentParser()
    flags.add_flags(parser)
    parsed = parser.parse_args(shlex.split(f"--continual_learning CL --training_set GAN-S --test_set GAN-S {line}"))
    return build_agent(checked({**flags.options_of(flags.completed(parsed)).model_dump(), **TINY}))


def images(count: int = 200) -> Samples:
    """Real and fake in turn."""
    half = random_samples(count)
    return Samples.from_array(mirror(half.arrays[0]), half.labels)


@pytest.fixture
def trained(monkeypatch) -> Callable[[str], tuple[Agent, Counter[str], Counter[int]]]:
    """Trains on 200 images of a domain; gives the agent, the optimisers' steps and the sizes of what they saw."""
    steps, sizes = Counter[str](), Counter[int]()
    for kind in (torch.optim.SGD, torch.optim.Adam):
        step = kind.step
        monkeypatch.setattr(kind, "step", lambda self, *a, s=step: steps.update([type(self).__name__]) or s(self, *a))
    forward = Network.forward
    monkeypatch.setattr(Network, "forward", lambda self, x: sizes.update([len(x)]) or forward(self, x))

    def run(line: str) -> tuple[Agent, Counter[str], Counter[int]]:
        steps.clear()
        sizes.clear()
        agent = agent_of(line)
        train(agent, make_steps([("GAN-S", images())], agent.options))
        return agent, steps, sizes

    return run


GDUMB = "--agent GDUMB --mem_size 40 --mem_epoch 2"


@pytest.mark.parametrize(
    ("line", "steps", "sizes"),
    [
        (GDUMB, {"SGD": 74}, {10: 74}),
        (GDUMB + " --optimizer Adam", {"Adam": 74}, {10: 74}),
        (GDUMB + " --batch_size 20", {"SGD": 36}, {20: 36}),
        ("--agent GDUMB --mem_size 1 --mem_epoch 2", {}, {}),
        ("--agent ER --epochs 1", {"SGD": 20}, {10: 39}),
        ("--agent ER --epochs 1 --mem_iters 2", {"SGD": 40}, {10: 78}),
        ("--agent ER --epochs 1 --optimizer Adam", {"Adam": 20}, {10: 39}),
        ("--agent LWF --epochs 1 --num_tasks 2", {"SGD": 20}, None),
        ("--agent LWF --epochs 1 --ns_factor 0", {"SGD": 20}, None),
        ("--agent LWF --epochs 1 --ns_factor 0 0 0", {"SGD": 18}, None),  # 67, 67 and 66 images
        ("--agent LWF --epochs 1 --epoch 3 --batch 20", {"SGD": 20}, None),
    ],
)
def test_updates_are_as_many_and_of_as_many_images_as_the_originals(line, steps, sizes, trained):
    _, found, seen = trained(line)
    assert found == steps
    assert sizes is None or seen == sizes


def test_a_memory_of_one_image_holds_the_first_of_the_class_that_came_second(trained):
    agent, _, _ = trained("--agent GDUMB --mem_size 1 --mem_epoch 2")
    step = make_steps([("GAN-S", images())], agent.options)[0]
    batches = list(begun(agent, step).batches(agent.options.seed))
    labels, numbers = torch.cat([b.labels for b in batches]), torch.cat([b.numbers for b in batches])
    second = int((labels != labels[0]).nonzero()[0])
    assert agent.memory.numbers.tolist() == [int(numbers[second])]


def test_slots_that_the_last_free_part_of_a_batch_fills_may_be_replayed_in_the_same_chunk():
    agent = agent_of("--agent ICARL --mem_size 95 --ns_factor 0 0 0 0 0 --epochs 1")
    first, second, third, *_ = make_steps([("GAN-S", images())], agent.options)
    train(agent, [first, second])
    batches = begun(agent, third).batches(0)
    agent.observe(next(batches))
    assert (len(agent.memory), agent.written) == (90, {*range(80, 90)})
    agent.observe(next(batches))
    assert len(agent.memory) == 95
    assert not {*range(90, 95)} <= agent.written
    assert len(agent.written) <= 15


@pytest.mark.parametrize("variant", ["original", "paper"])
def test_iterations_over_a_batch_reach_the_end_of_a_schedule(variant):
    agent = agent_of(f"--variant {variant} --agent ER --epochs 2 --mem_iters 3 --ns_factor 0 --optimizer Adam")
    schedule = "one-cycle" if variant == "paper" else "constant"
    agent = build_agent(checked({**agent.options.model_dump(), "schedule": schedule, "lr_decay": 0.5}))
    train(agent, make_steps([("GAN-S", images(40))], agent.options))
    assert agent.lr < agent.options.lr
