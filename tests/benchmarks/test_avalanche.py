"""Replay here and in Avalanche, where avalanche-lib is installed: `make bench`. Seconds of one thread.

Its MIR cannot be compared: it leaves the classes of the last batch out of what it replays, which are both there are.
"""

import time

import numpy as np
import pytest
import torch

from cldf_core.agents import build_agent
from cldf_core.data.runtime import thread_count
from cldf_core.options import checked
from cldf_core.resnet import build_network
from cldf_core.stream import make_steps
from samples import random_samples, train

SHAPE = (3, 128, 65)


def seconds_and_images(network, call):
    """Processor seconds of a call, and how many images the network is trained on meanwhile."""
    counts = []
    network.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    start = time.process_time()
    call()
    return time.process_time() - start, sum(counts)


@pytest.mark.filterwarnings("ignore")  # of libraries that are not this project's
def test_replay_in_avalanche():
    """Two domains, the quick profile's network and batches; as many images of the first are replayed in the second."""
    why = "avalanche-lib is not installed (pip install avalanche-lib)"
    supervised = pytest.importorskip("avalanche.training.supervised", reason=why)
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.training.plugins import EvaluationPlugin

    parts = [random_samples(192, domain, shape=SHAPE, first_number=192 * domain) for domain in range(2)]
    options = checked({"agent": "er", "epochs": 4, "schedule": "constant", "replay_from": "earlier-domains"})

    def ours():
        agent = build_agent(options)
        steps = make_steps([(f"domain {k}", part) for k, part in enumerate(parts)], options)
        return seconds_and_images(agent.network, lambda: train(agent, steps))

    def theirs():
        torch.manual_seed(0)
        network, o = build_network("slim"), options
        sets = [torch.utils.data.TensorDataset(part.read(), torch.from_numpy(part.labels)) for part in parts]
        for data, part in zip(sets, parts, strict=True):
            data.targets = part.labels.tolist()
        stream = benchmark_from_datasets(train=[as_classification_dataset(data) for data in sets]).train_stream
        strategy = supervised.Replay(
            model=network,
            optimizer=torch.optim.Adam(network.parameters(), lr=o.lr, weight_decay=o.weight_decay, fused=True),
            criterion=torch.nn.CrossEntropyLoss(),
            mem_size=o.memory,
            train_mb_size=o.batch,
            train_epochs=o.epochs,
            evaluator=EvaluationPlugin(),
        )
        return seconds_and_images(network, lambda: [strategy.train(experience) for experience in stream])

    with thread_count(1):
        pairs = [(ours(), theirs()) for _ in range(3)]  # in turns, so that a slow moment meets both
    (here, images), (there, same) = np.median(pairs, axis=0)
    print(f"\nreplay: {here / there:.2f} times Avalanche's (allowed 1.2); {here:.1f} s, {there:.1f} s;", end=" ")
    print(f"{images:.0f} images trained on")
    assert images == same
    assert here <= 1.2 * there
