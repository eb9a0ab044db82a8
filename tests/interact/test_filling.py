"""A memory that fills up: against the rules written out for labels alone."""

from collections import Counter

import numpy as np
import pytest
import torch

from cldf_core.interact.filling import EMPTY, RULES, arrivals, fill, filling
from cldf_core.options import checked
from cldf_core.randomness import torch_generator
from cldf_core.stream import Samples, make_steps
from moving import check_live

GROUPS = [0, 1] * 20 + [2, 3] * 15 + [5]  # 71 images of three domains


def test_images_arrive_in_the_order_in_which_an_agent_sees_them():
    rng, domains = np.random.default_rng(0), []
    for place, count in enumerate((9, 14)):
        labels = rng.integers(0, 2, count)
        domains.append(("ab"[place], Samples.from_array(rng.normal(size=(count, 3, 4, 3)), labels, place)))
    options = checked({"stream": ["a", "b"], "epochs": 3, "batch": 4, "seed": 5})
    seen = []
    for step in make_steps(domains, options):
        for batch in step.batches(5):
            if batch.epoch == 0:
                seen += (2 * batch.domains + batch.labels).tolist()
    assert arrivals(domains, options) == seen
    assert len(seen) == 23


def test_a_reservoir_takes_the_first_and_then_draws_slots():
    held, rng = fill(np.array(GROUPS), 16, "reservoir (ER)", seed=4), torch_generator(4, "memory")
    slots = [EMPTY] * 16
    for number, group in enumerate(GROUPS):
        if number % 10 == 0:
            assert held[number // 10].tolist() == slots
        slot = number if number < 16 else int(torch.randint(number + 1, (), generator=rng))
        if slot < 16:
            slots[slot] = group
    assert held[-1].tolist() == slots


def test_a_balanced_memory_holds_as_many_of_each_group_as_it_can():
    held = fill(np.array(GROUPS), 12, "balanced (GDumb)")
    assert Counter(held[4].tolist()) == {0: 6, 1: 6}  # two groups so far
    after = Counter(held[7].tolist())
    assert after == {0: 3, 1: 3, 2: 3, 3: 3}
    assert Counter(held[-1].tolist())[5] == 1  # the one image of a new group gets in
    assert held.shape == (1 + 8, 12)
    assert set(held[0]) == {EMPTY}


@pytest.mark.parametrize("rule", RULES)
def test_every_control_moves_the_picture(rule):
    live = filling(GROUPS, ["mini-A", "mini-B", "mini-C"], 24, rule=rule)
    assert live.controls["rule"].value == rule
    check_live(live)


def test_what_is_told_is_what_is_kept():
    live = filling(GROUPS, ["A", "B", "C"], 24, rule="balanced (GDumb)")
    live.controls["images"].value = 71
    counts = Counter(fill(np.array(GROUPS), 24, "balanced (GDumb)")[-1].tolist())
    each = ", ".join(f"{counts[2 * k] + counts[2 * k + 1]} of {name}" for k, name in enumerate("ABC"))
    assert live._metadata["image/png"]["alt"].endswith(f"after 71 have come, holds {each}.")
