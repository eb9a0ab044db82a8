"""MIR's retrieval against a slow reference in float64, for each of the virtual steps."""

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from cldf_core.agents import build_agent, mir
from cldf_core.agents.base import Agent
from cldf_core.options import Options
from cldf_core.stream import Batch, Step, make_steps
from samples import begun, random_samples, same, tiny_options, train

SGD: dict[str, Any] = {"optimiser": "sgd", "lr": 0.01, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.01}
ADAM: dict[str, Any] = {"optimiser": "adam", "lr": 0.003, "weight_decay": 0.01}
STEPS = [*(("sgd", o) for o in (ADAM, SGD)), ("preconditioned", ADAM), *(("optimiser", o) for o in (ADAM, SGD))]
each_step = pytest.mark.parametrize(
    ("virtual", "optimiser"), STEPS, ids=lambda v: v if isinstance(v, str) else v["optimiser"]
)


def options(**changes: Any) -> Options:
    return tiny_options("mir", "unused", **{"memory": 30, "replay": 3, "candidates": 30, "epochs": 3, **changes})


def steps_of(opts: Options) -> list[Step]:
    return make_steps([(f"d{d}", random_samples(24, d, first_number=24 * d)) for d in range(2)], opts)


def in_the_second_domain(opts: Options, batches: int = 3) -> tuple[Agent, Batch]:
    """An agent that has seen some batches of its second domain, and the next one."""
    learner = build_agent(opts)
    first, second = steps_of(opts)
    train(learner, [first])
    coming = begun(learner, second).batches(0)
    for _ in range(batches):
        learner.observe(next(coming))
    return learner, next(coming)


def slow_rises(learner: Agent, batch: Batch, candidates: Batch, virtual: str) -> torch.Tensor:
    """The paper's criterion in float64: two networks, image by image; the step from the formulas of Adam and SGD."""
    (o,) = learner.optimiser.param_groups
    now = copy.deepcopy(learner.network).double().train()
    F.cross_entropy(now(batch.spectra.double()), batch.labels).backward()
    then = copy.deepcopy(learner.network).double().eval()  # the statistics are those of before that pass
    for p, new, of in zip(learner.network.parameters(), then.parameters(), now.parameters(), strict=True):
        g, past = of.grad, {name: value.double() for name, value in learner.optimiser.state.get(p, {}).items()}
        direction = g
        if "betas" in o and virtual != "sgd":
            m, v = past.get("exp_avg", 0 * g), past.get("exp_avg_sq", 0 * g)
            t, full = past.get("step", 0) + 1, g + o["weight_decay"] * new.data * (virtual == "optimiser")
            m, v = o["betas"][0] * m + (1 - o["betas"][0]) * full, o["betas"][1] * v + (1 - o["betas"][1]) * full**2
            first = m / (1 - o["betas"][0] ** t) if virtual == "optimiser" else g
            direction = first / ((v / (1 - o["betas"][1] ** t)).sqrt() + o["eps"])
        elif virtual == "optimiser":
            direction = g + o["weight_decay"] * new.data
            if "momentum_buffer" in past:
                direction = o["momentum"] * past["momentum_buffer"] + (1 - o["dampening"]) * direction
        new.data -= o["lr"] * direction
    rises = []
    for x, y in zip(candidates.spectra.double(), candidates.labels, strict=True):
        with torch.no_grad():
            losses = [
                -net(x[None]).log_softmax(1)[0, y] for net in (copy.deepcopy(learner.network).double().eval(), then)
            ]
        rises.append(losses[1] - losses[0])
    return torch.stack(rises)


@each_step
@pytest.mark.parametrize("passes", ["joined", "averaged", "separate"])
@pytest.mark.parametrize("batches", [0, 3])  # a new optimiser's first update, and a later one
def test_mir_replays_the_candidates_whose_loss_the_virtual_step_raises_most(virtual, optimiser, passes, batches):
    learner, batch = in_the_second_domain(options(virtual_step=virtual, replay_passes=passes, **optimiser), batches)
    network, memory = learner.network.train(), learner.memory
    if passes != "joined":  # the incoming pass leaves its gradients behind, and moves the statistics a little
        network.zero_grad()
        learner.cross_entropy(batch).backward()
    earlier = torch.arange(len(memory))[memory.domains[: len(memory)] == 0]
    want = slow_rises(learner, batch, memory.take(earlier), virtual)
    rises = learner.rises(learner.gradients(batch), memory.take(earlier), virtual)
    torch.testing.assert_close(rises.double(), want, atol=3e-6, rtol=2e-3)
    before, gradients = copy.deepcopy(learner.state_dict()), [p.grad for p in network.parameters()]
    left = copy.deepcopy(gradients)
    chosen = learner.retrieve(batch)
    assert len(chosen) == 3 < len(earlier)
    replayed = torch.isin(earlier, chosen)
    assert want[replayed].min() > want[~replayed].max() - 3e-6
    assert want[replayed].min() > want.median() + 5e-6  # the order means something
    assert torch.equal(chosen, earlier[[earlier.tolist().index(slot) for slot in chosen]])
    assert (want[[earlier.tolist().index(slot) for slot in chosen]].diff() < 3e-6).all()  # the most interfered first
    # Network, statistics, optimiser, schedule and memory are as before; only the candidates were drawn.
    assert same({**before, "generator": 0}, {**learner.state_dict(), "generator": 0})
    assert same(left, [p.grad for p in network.parameters()])  # for the update
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize("passes", ["joined", "averaged"])
@pytest.mark.parametrize(("schedule", "virtual_lr"), [("one-cycle", None), ("constant", None), ("one-cycle", 0.02)])
def test_mir_uses_the_optimisers_rate_of_the_moment_or_its_own_and_moves_no_statistics(
    schedule, virtual_lr, passes, monkeypatch
):
    opts = options(schedule=schedule, virtual_lr=virtual_lr, replay_passes=passes)
    learner, _ = in_the_second_domain(opts, 0)
    used: list[float] = []
    virtual_weights = mir.virtual_weights
    monkeypatch.setattr(mir, "virtual_weights", lambda *a: used.append(a[4]) or virtual_weights(*a))
    gradients, anew, rates = learner.gradients, [], []
    monkeypatch.setattr(learner, "gradients", lambda batch: anew.append(1) or gradients(batch))
    _, second = steps_of(opts)
    for batch in begun(learner, second).batches(0):
        rates.append(learner.optimiser.param_groups[0]["lr"])
        passed = int(learner.network.body.bn1.num_batches_tracked)
        learner.observe(batch)
        # Only the passes of the update move the statistics, not those of the retrieval.
        assert int(learner.network.body.bn1.num_batches_tracked) == passed + (1 if passes == "joined" else 2)
    assert used == [virtual_lr or rate for rate in rates]
    assert len(anew) == (len(rates) if passes == "joined" else 0)  # in two passes, the first one's serve twice
    assert len(set(rates)) == (1 if schedule == "constant" else len(rates))


@pytest.mark.parametrize(
    ("changes", "drawn", "scored"),
    [
        ({"candidates": None}, 15, 15),  # five times `replay`, the authors' 50 for 10
        ({"candidates": 7}, 7, 7),
        ({"candidates": None, "replay": 4}, 20, None),
        ({"candidates": 3}, 3, 0),  # nothing to choose from
    ],
)
def test_mir_chooses_from_five_times_what_it_replays_by_default(changes, drawn, scored, monkeypatch):
    learner, batch = in_the_second_domain(options(**changes))
    counts: dict[str, int] = {"scored": 0}
    draw, rises = learner.draw, learner.rises
    monkeypatch.setattr(learner, "draw", lambda count: counts.update(drawn=count) or draw(count))
    monkeypatch.setattr(learner, "rises", lambda g, c, v: counts.update(scored=len(c.labels)) or rises(g, c, v))
    earlier = int((learner.memory.domains[: len(learner.memory)] == 0).sum())
    slots = learner.retrieve(batch)
    assert counts == {"drawn": drawn, "scored": earlier if scored is None else scored}
    assert len(slots) == len(set(slots.tolist())) == learner.options.replay
    assert (learner.memory.domains[slots] == 0).all()


@pytest.mark.parametrize(("optimiser", "virtual"), [("adam", "preconditioned"), ("sgd", "sgd")])
def test_the_virtual_step_goes_with_the_optimiser_unless_it_is_named(optimiser, virtual):
    assert build_agent(options(optimiser=optimiser)).virtual_step == virtual
    assert build_agent(options(optimiser=optimiser, virtual_step="optimiser")).virtual_step == "optimiser"


@pytest.mark.parametrize("seed", range(3))
def test_at_adams_rate_plain_sgd_hardly_changes_a_loss(seed):
    learner, batch = in_the_second_domain(options(seed=seed, lr=0.001), 4)
    candidates, gradients = learner.memory.take(torch.arange(len(learner.memory))), learner.gradients(batch)
    plain, preconditioned = (learner.rises(gradients, candidates, step).abs() for step in ("sgd", "preconditioned"))
    assert plain.mean() < preconditioned.mean() / 3
