"""The stream in the plane: its points, agents against a plain training loop, and what is kept of their way."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cldf_core.interact import toy
from cldf_core.interact.toy import DOMAINS, GRID, MOMENTS, REACH, draw_points, evenly, learn
from cldf_core.randomness import Generators, generator


def found(points: np.ndarray, seed: int = 0) -> bool:
    """Whether x, y, label and domain are those of training points, as a memory keeps them."""
    rows = set()
    for domain in range(len(DOMAINS)):
        where, labels = draw_points(seed, "train", domain, 120)
        kept = where[:, :, 0, 0].astype(np.float16)
        rows |= {(float(x), float(y), int(label), domain) for (x, y), label in zip(kept, labels, strict=True)}
    return {(float(x), float(y), int(label), int(domain)) for x, y, label, domain in points} <= rows


def test_the_sides_change_from_domain_to_domain():
    for domain in range(3):
        points, labels = draw_points(0, "train", domain, 200)
        fake, real = points[labels == 1, :, 0, 0].mean(0), points[labels == 0, :, 0, 0].mean(0)
        assert np.allclose([fake[0], real[0]], 2 * (domain - 1), atol=0.15)
        assert np.sign(fake[1]) == -np.sign(real[1]) == (-1) ** domain
        assert labels.sum() == 100
    assert not np.array_equal(draw_points(0, "test", 0, 9)[0], draw_points(0, "train", 0, 9)[0])


def test_sequential_training_is_the_plain_loop():
    history, rngs = learn("sequential", 3), Generators(3)
    torch.manual_seed(int(torch.randint(2**31, (), generator=rngs("weights"))))
    first, second = torch.nn.Linear(2, 64), torch.nn.Linear(64, 2)
    optimiser = torch.optim.Adam([*first.parameters(), *second.parameters()], lr=0.03)
    line = np.linspace(-REACH, REACH, GRID)
    grid = torch.tensor([[x, y] for y in line for x in line], dtype=torch.float32)
    for domain in range(3):
        points, labels = (torch.from_numpy(part) for part in draw_points(3, "train", domain, 120))
        points, shuffled = points.flatten(1), generator(3, "shuffle", domain).permutation(120)
        order = generator(3, "order", domain, 0)
        for _ in range(4):
            rows = shuffled[order.permutation(120)]
            for start in range(0, 120, 10):
                at = rows[start : start + 10]
                loss = torch.nn.functional.cross_entropy(second(first(points[at]).relu()), labels[at])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        moment = (domain + 1) * MOMENTS - 1
        with torch.no_grad():
            fake = second(first(grid).relu()).softmax(1)[:, 1].reshape(GRID, GRID)
            assert np.allclose(history.fake[moment], fake, atol=1e-3)
            for other in range(3):
                points, labels = (torch.from_numpy(part) for part in draw_points(3, "test", other, 120))
                right = second(first(points.flatten(1)).relu()).argmax(1) == labels
                assert history.accuracy[moment, other] == pytest.approx(right.double().mean().item(), abs=0.02)


@pytest.mark.parametrize("agent", ["joint", "er", "lwf", "gdumb"])
def test_any_agent_of_the_package_learns_points_and_shows_what_it_keeps(agent):
    history = learn(agent)
    assert history.fake.shape == (3 * MOMENTS, GRID, GRID)
    assert history.accuracy.shape == (3 * MOMENTS, 3)
    assert history.accuracy[MOMENTS - 1, 0] > 0.9
    sizes = [len(kept) for kept in history.memory]
    if agent in ("er", "gdumb"):
        assert max(sizes) == sizes[-1] == 30
        assert all(map(found, history.memory))
        assert {int(domain) for domain in history.memory[-1][:, 3]} == {0, 1, 2}
        assert {int(domain) for domain in history.memory[MOMENTS - 1][:, 3]} == {0}
    else:
        assert set(sizes) == {0}


def test_a_seed_is_all_that_is_random():
    one, same, other = (learn("er", seed) for seed in (0, 0, 1))
    assert np.array_equal(one.fake, same.fake)
    assert not np.array_equal(one.fake, other.fake)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    learn("sequential")
    assert torch.equal(torch.get_rng_state(), before)


@given(st.integers(1, 300), st.integers(1, 60))
def test_moments_are_even_and_hold_the_last_one(count, wanted):
    places = evenly(count, wanted)
    assert len(places) == wanted
    assert places[-1] == count - 1
    assert np.all(np.diff(places) >= 0)
    assert np.all(np.abs((places + 1) / count - np.arange(1, wanted + 1) / wanted) <= 1 / count)


def test_all_agents_that_are_watched_are_there():
    assert set(toy.learn_all(["sequential", "lwf"])) == {"sequential", "lwf"}
