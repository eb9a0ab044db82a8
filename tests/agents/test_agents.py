"""Every agent's `paper` variant against a slow reference written from the papers."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cldf_core.agents import AGENTS, build_agent
from cldf_core.agents.gdumb import GDumb, set_memory_lr
from cldf_core.agents.icarl import icarl_loss
from cldf_core.agents.lwf import distillation_loss
from cldf_core.options import Options
from cldf_core.original_options import ORIGINAL
from cldf_core.protocol import score_samples
from cldf_core.randomness import torch_generator
from cldf_core.stream import Batch, Samples, Step, make_steps
from samples import ORIGINALS, begun, check_resuming, random_samples, same, slow_herding, state_of, tiny_options, train

ALL = tuple(AGENTS)
REPLAY = ("er", "mir")


def options(agent: str, **changes: Any) -> Options:
    return tiny_options(agent, "unused", **changes)


def domains(*counts: int, side: int = 32) -> list[tuple[str, Samples]]:
    firsts, shape = np.cumsum([0, *counts]), (3, side, side // 2 + 1)
    return [(f"d{d}", random_samples(n, d, shape=shape, first_number=int(firsts[d]))) for d, n in enumerate(counts)]


def steps_of(opts: Options, *counts: int) -> list[Step]:
    return make_steps(domains(*counts, side=opts.size), opts)


# --- what holds for every agent ---


MODES: list[dict[str, Any]] = [
    {},
    {"chunks": 3},
    {"schedule": "constant", "optimiser": "sgd", "lr": 0.01},
    {"schedule": "constant", "optimiser": "adam", "chunks": 2},
    {"mixed_precision": True, "size": 80},
    {"feature": "image", "epochs": 1, "batch": 32},  # more than there are images
    {"drop_last": True, "order": "fixed", "channels": "BGR"},
    {"schedule": "restarted", "optimiser": "sgd", "lr": 0.01, "dampening": 0.5},
    {"schedule": "constant", "lr_decay": 0.1},
]
EACH = [(agent, mode) for agent in ALL for mode in MODES] + [(agent, ORIGINALS) for agent in ALL if agent in ORIGINAL]


@pytest.mark.parametrize(("agent", "changes"), EACH, ids=str)
def test_every_agent_trains_and_scores_in_every_mode(agent, changes):
    opts = options(agent, **changes)
    learner = build_agent(opts)
    before = state_of(learner.network)
    train(learner, steps_of(opts, 13, 12, 1 if opts.chunks == 1 else 4))
    after = state_of(learner.network)
    assert not same(before["body.conv1.weight"], after["body.conv1.weight"])
    assert not same(before["head.weight"], after["head.weight"])
    for name, value in after.items():
        assert torch.isfinite(value.float()).all(), name
    scores = learner.score(domains(9, side=opts.size)[0][1].read())
    assert scores.shape == (9,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert len(set(scores)) > 1


# A part of a method is another one, or none.
TOLD = {"lwf_heads": "told"}
PARTS: list[tuple[str, dict[str, Any]]] = [
    ("lwf", TOLD),
    ("lwf", {**TOLD, "chunks": 2, "schedule": "constant", "optimiser": "sgd", "lr": 0.01}),
    ("lwf", {**TOLD, **ORIGINALS}),
    ("icarl", {"exemplars": "random", "chunks": 2}),
    ("icarl", {"rehearsal": "none"}),
    ("gdumb", {"gdumb_groups": "none"}),
]


@pytest.mark.parametrize(("agent", "changes"), PARTS, ids=str)
def test_an_agent_with_another_part_trains_scores_and_goes_on_bit_for_bit(agent, changes):
    test_every_agent_trains_and_scores_in_every_mode(agent, changes)
    opts = options(agent, **{"epochs": 1, **changes})
    check_resuming(opts, steps_of(opts, 9, 8, 7), random_samples(6, 1, seed=3).read())


@pytest.mark.parametrize("agent", ALL)
@pytest.mark.parametrize("label", [0, 1])
def test_a_domain_of_one_class_is_trained_on(agent, label):
    opts = options(agent)
    first, second = domains(10, 8)
    one_class = second[1][second[1].labels == label]
    learner = build_agent(opts)
    steps = make_steps([("one", one_class), first] if label else [first, ("one", one_class)], options("sequential"))
    for step in steps:
        placed = replace(step.samples, domains=np.full(len(step.samples), step.index))  # by the stream's order
        train(learner, [replace(step, samples=placed)])
        assert np.isfinite(learner.score(random_samples(5, 0).read())).all()


@pytest.mark.parametrize("agent", ALL)
@pytest.mark.parametrize("changes", [{}, {"schedule": "constant", "optimiser": "sgd", "chunks": 2}], ids=str)
def test_a_restored_agent_goes_on_bit_for_bit(agent, changes):
    opts = options(agent, **{"epochs": 1, **changes})
    check_resuming(opts, steps_of(opts, 9, 8, 7), random_samples(6, 1, seed=3).read())


def test_a_state_is_loaded_into_the_network_that_is_there():
    learner = build_agent(options("er"))
    network = learner.network
    network.head = torch.nn.Sequential(network.head)  # as an agent of one's own may have it
    learner.load_state_dict(copy.deepcopy(learner.state_dict()))
    assert learner.network is network


@pytest.mark.parametrize("agent", ALL)
def test_the_same_seed_learns_the_same_and_another_one_does_not(agent):
    results = []
    for seed, noise in ((1, 5), (1, 6), (2, 5)):
        torch.manual_seed(noise)
        opts = options(agent, seed=seed)
        learner = build_agent(opts)
        train(learner, steps_of(opts, 9, 8))
        results.append(state_of(learner.network))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


@pytest.mark.parametrize("agent", [a for a in ALL if a != "icarl"])
def test_the_logit_of_fake_is_the_difference_of_the_outputs_in_evaluation_mode(agent):
    learner = build_agent(options(agent))
    train(learner, steps_of(learner.options, 9))
    spectra = random_samples(7, 1).read()
    network = copy.deepcopy(learner.network).eval()
    with torch.no_grad():
        want = torch.cat([network(x[None]) for x in spectra]).softmax(1)[:, 1]
    before = state_of(learner.network)
    torch.testing.assert_close(torch.from_numpy(learner.score(spectra)).sigmoid(), want.double(), atol=1e-5, rtol=0)
    assert same(before, state_of(learner.network))


@pytest.mark.parametrize("agent", ["sequential", "icarl"])
def test_samples_are_scored_alike_in_any_portions(agent, monkeypatch):
    learner = build_agent(options(agent))
    train(learner, steps_of(learner.options, 9))
    samples = random_samples(11, 1)
    whole = learner.score(samples.read())
    monkeypatch.setattr(Samples.parts, "__defaults__", (4,))
    np.testing.assert_allclose(score_samples(learner.score, samples), whole, atol=1e-5)
    assert score_samples(learner.score, samples[np.array([], int)]).shape == (0,)


@pytest.mark.parametrize("updates", [1, 2, 3, 20])
def test_a_one_cycle_rises_and_falls_within_the_step(updates):
    opts = options("sequential", epochs=1, batch=2, lr=0.004)
    learner = build_agent(opts)
    step = steps_of(opts, 2 * updates)[0]
    lrs = []
    for batch in begun(learner, step).batches(0):
        lrs.append(learner.lr)
        learner.observe(batch)
    assert len(lrs) == updates
    assert max(lrs) <= 0.004 + 1e-12
    if updates == 20:
        top = lrs.index(max(lrs))
        assert max(lrs) == pytest.approx(0.004, rel=1e-2)
        assert lrs[: top + 1] == sorted(lrs[: top + 1])
        assert lrs[top:] == sorted(lrs[top:], reverse=True)
        assert lrs[-1] < 0.0004


@pytest.mark.parametrize(("schedule", "lasts"), [("constant", True), ("restarted", False)])
@pytest.mark.parametrize("decay", [0.2, 0.0])
def test_a_rate_without_cycles_decays_from_epoch_to_epoch(schedule, lasts, decay):
    opts = options("sequential", schedule=schedule, lr=0.01, lr_decay=decay, epochs=3, chunks=2)
    learner, got, want, done = build_agent(opts), [], [], 0
    for at, step in enumerate(steps_of(opts, 15, 20)):
        for batch in begun(learner, step).batches(0):
            got.append(learner.lr)
            want.append(0.01 * (1 - decay) ** (batch.epoch + (done if lasts else 0)))
            learner.observe(batch)
        learner.end_step(step)
        done += opts.epochs
        if at == 1:  # a run that was stopped goes on at the rate where it was
            state, learner = copy.deepcopy(learner.state_dict()), build_agent(opts)
            learner.load_state_dict(state)
    assert got == pytest.approx(want)


# --- baselines ---


@pytest.mark.parametrize(("schedule", "lasts"), [("constant", True), ("restarted", False)])
def test_sequential_training_is_plain_sgd_on_cross_entropy(schedule, lasts):
    sgd: dict[str, Any] = {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.01}
    opts = options("sequential", schedule=schedule, optimiser="sgd", **sgd)
    learner = build_agent(opts)
    network = copy.deepcopy(learner.network).train()
    steps, optimiser, want = steps_of(opts, 9, 8), None, []
    losses = train(learner, steps)
    for step in steps:
        if optimiser is None or not lasts:  # one optimiser, its momentum too, through the whole stream
            optimiser = torch.optim.SGD(network.parameters(), **sgd)
        for batch in step.batches(opts.seed):
            loss = F.cross_entropy(network(batch.spectra), batch.labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            want.append(loss.item())
    assert losses == pytest.approx(want, abs=1e-5)
    torch.testing.assert_close(state_of(learner.network), state_of(network), atol=1e-4, rtol=1e-4)


def test_separate_forgets_at_each_new_domain_and_only_there():
    learner = build_agent(options("separate", chunks=2))
    steps, first, starts = steps_of(learner.options, 8, 8), learner.network, []
    for step in steps:
        learner.begin_step(step)
        starts.append((learner.network is first, state_of(learner.network)))
        for batch in step.batches(0):
            learner.observe(batch)
    assert [same_network for same_network, _ in starts] == [True, True, False, False]
    # The fresh network is one that never saw the first domain: its statistics are untouched.
    assert starts[2][1]["body.bn1.num_batches_tracked"] == 0
    assert (starts[2][1]["body.bn1.running_mean"] == 0).all()
    assert starts[3][1]["body.bn1.num_batches_tracked"] > 0


def test_joint_training_sees_all_domains_so_far_with_a_fresh_network():
    learner = build_agent(options("joint", epochs=1))
    steps = steps_of(learner.options, 5, 6, 7)
    assert [len(s.samples) for s in steps] == [5, 11, 18]
    for step in steps:
        learner.begin_step(step)
        assert learner.network.state_dict()["body.bn1.num_batches_tracked"] == 0
        train(learner, [step])


# --- iCaRL ---


def slow_icarl_loss(logits, classes, old_logits):
    """Algorithm 3 of Rebuffi et al., term by term."""
    total = 0.0
    for n in range(len(logits)):
        for y in range(logits.shape[1]):
            g = 1 / (1 + math.exp(-logits[n, y]))
            if old_logits is not None and y < old_logits.shape[1]:
                q = 1 / (1 + math.exp(-old_logits[n, y]))
            else:
                q = float(y == classes[n])
            total -= q * math.log(g) + (1 - q) * math.log(1 - g)
    return total / len(logits)


@pytest.mark.parametrize("old", [0, 2, 4])
def test_icarl_loss_by_its_formula(old):
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(7, old + 2, generator=rng)
    old_logits = torch.randn(7, old, generator=rng) if old else None
    classes = torch.randint(old + 2, (7,), generator=rng)
    want = slow_icarl_loss(logits, classes, old_logits)
    assert float(icarl_loss(logits, classes, old_logits)) == pytest.approx(want, abs=1e-5)


def test_icarl_trains_on_new_images_and_exemplars_against_the_frozen_old_network():
    opts = options("icarl", epochs=1, batch=100)
    learner = build_agent(opts)
    first, second = steps_of(opts, 9, 8)
    train(learner, [first])
    after_first = copy.deepcopy(learner.network).eval()
    kept = set(learner.memory.samples().numbers)
    step = begun(learner, second)
    assert learner.network.head.out_features == 4
    assert sorted(step.samples.numbers) == sorted({*range(9, 17)} | kept)
    (batch,) = step.batches(0)
    twin = copy.deepcopy(learner.network).train()
    classes = (2 * batch.domains + batch.labels).tolist()
    with torch.no_grad():
        want = slow_icarl_loss(twin(batch.spectra), classes, after_first(batch.spectra))
    old_before = state_of(learner.teacher)
    assert learner.observe(batch) == pytest.approx(want, abs=1e-4)
    assert same(old_before, state_of(learner.teacher))
    assert not any(m.training for m in learner.teacher.modules())
    assert same(state_of(after_first), old_before)


def test_icarl_head_grows_by_two_a_domain_not_a_chunk():
    learner, outputs = build_agent(options("icarl", chunks=2, epochs=1)), []
    for step in steps_of(learner.options, 8, 8, 8):
        train(learner, [step])
        outputs.append(learner.network.head.out_features)
    assert outputs == [2, 2, 4, 4, 6, 6]


def slow_features(network, spectra) -> np.ndarray:
    network = copy.deepcopy(network).eval()
    rows = []
    with torch.no_grad():
        for x in spectra:
            f = network.features(x[None])[0].double().numpy()
            rows.append(f / np.linalg.norm(f))
    return np.array(rows)


def test_icarl_chooses_exemplars_by_herding_and_the_nearest_mean_gives_the_verdict():
    learner = build_agent(options("icarl", memory=12))
    steps = steps_of(learner.options, 20, 20)
    train(learner, steps)
    kept = learner.memory.samples()
    means = {}
    for c in range(4):
        exemplars = kept[2 * kept.domains + kept.labels == c]
        mean = slow_features(learner.network, exemplars.read()).mean(0)
        means[c] = mean / np.linalg.norm(mean)
        if c >= 2:  # chosen in the last step, with the network of now
            of_class = steps[1].samples[steps[1].samples.labels == c % 2]
            features = slow_features(learner.network, of_class.read())
            chosen = slow_herding(features, 3)
            assert of_class.numbers[chosen].tolist() == exemplars.numbers.tolist()
    test = random_samples(40, 1, seed=9).read()
    logits = learner.score(test)
    for features, logit in zip(slow_features(learner.network, test), logits, strict=True):
        squared = {c: float(((features - m) ** 2).sum()) for c, m in means.items()}
        nearest = min(squared, key=squared.get)
        want = min(squared[0], squared[2]) - min(squared[1], squared[3])
        assert logit == pytest.approx(want, abs=1e-5)
        assert (logit >= 0) == (nearest % 2 == 1)  # fake = odd
    assert len(set(logits >= 0)) == 2


def test_icarl_without_rehearsal_trains_on_new_images_alone_and_keeps_exemplars_for_the_means():
    opts = options("icarl", rehearsal="none", memory=12, epochs=1, batch=100)
    learner = build_agent(opts)
    first, second = steps_of(opts, 9, 8)
    train(learner, [first])
    assert sorted(learner.memory.samples().domains) == [0] * 9
    teacher = copy.deepcopy(learner.network).eval()
    step = begun(learner, second)
    assert sorted(step.samples.numbers) == [*range(9, 17)]
    (batch,) = step.batches(0)
    twin = copy.deepcopy(learner.network).train()
    with torch.no_grad():
        want = slow_icarl_loss(twin(batch.spectra), (2 + batch.labels).tolist(), teacher(batch.spectra))
    assert learner.observe(batch) == pytest.approx(want, abs=1e-4)
    learner.end_step(second)
    kept = learner.memory.samples()
    assert {c: len(at) for c, at in kept.by_class().items()} == {0: 3, 1: 3, 2: 3, 3: 3}
    for c, at in kept.by_class().items():
        mean = slow_features(learner.network, kept[at].read()).mean(0)
        np.testing.assert_allclose(learner.network.means[c].numpy(), mean / np.linalg.norm(mean), atol=1e-5)


def test_icarls_random_exemplars_are_a_draw_of_their_own_purpose():
    numbers = []
    for exemplars, seed in (("random", 0), ("random", 1), ("herding", 0)):
        opts = options("icarl", exemplars=exemplars, seed=seed, memory=6, epochs=1)
        learner = build_agent(opts)
        step = steps_of(options("icarl"), 20)[0]  # the same images in the same order
        train(learner, [step])
        kept = learner.memory.samples()
        numbers.append(sorted(kept.numbers))
        if exemplars == "random":
            draws = torch_generator(seed, "memory")
            of_class = [step.samples.numbers[step.samples.labels == c] for c in (0, 1)]
            want = [n[torch.randperm(10, generator=draws)[:3].numpy()] for n in of_class]
            assert kept.numbers.tolist() == np.concatenate(want).tolist()
    assert numbers[0] != numbers[1]
    assert numbers[2] not in numbers[:2]


# --- LwF ---


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_loss_by_its_formula(temperature):
    rng = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(6, 2, generator=rng), torch.randn(6, 2, generator=rng)
    total = 0.0
    for z, q in zip(logits.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(v / temperature) / sum(math.exp(u / temperature) for u in z) for v in z]
        soft = [math.exp(v / temperature) / sum(math.exp(u / temperature) for u in q) for v in q]
        total -= temperature**2 * sum(s * math.log(x) for s, x in zip(soft, p, strict=True))
    assert float(distillation_loss(logits, teacher, temperature)) == pytest.approx(total / 6, abs=1e-5)


@pytest.mark.parametrize(("weight", "temperature"), [(1.0, 2.0), (0.3, 4.0), (0.0, 2.0)])
def test_lwf_adds_the_distillation_loss_with_its_weight(weight, temperature):
    opts = options("lwf", distillation=weight, temperature=temperature)
    learner = build_agent(opts)
    first, second = steps_of(opts, 9, 8)
    train(learner, [first])
    after_first = copy.deepcopy(learner.network).eval()
    learner.begin_step(second)
    for batch in second.batches(0):
        twin = copy.deepcopy(learner.network).train()
        with torch.no_grad():
            logits, old = twin(batch.spectra), after_first(batch.spectra)
            softened = (old / temperature).softmax(1) * (logits / temperature).log_softmax(1)
            want = F.cross_entropy(logits, batch.labels) - weight * temperature**2 * softened.sum(1).mean()
        assert learner.observe(batch) == pytest.approx(want.item(), abs=1e-4)


@pytest.mark.parametrize("changes", [{}, {"distillation": 0.3, "temperature": 4.0}], ids=str)
def test_lwf_with_a_head_a_domain_trains_the_newest_pair_and_distils_each_older_one(changes):
    opts = options("lwf", lwf_heads="told", epochs=1, **changes)
    learner, T = build_agent(opts), opts.temperature
    for place, step in enumerate(steps_of(opts, 9, 8, 10)):
        teacher = copy.deepcopy(learner.network).eval()
        learner.begin_step(step)
        assert learner.network.head.out_features == 2 * (place + 1)
        if place:
            assert same(learner.network.head.weight[:-2], teacher.head.weight)
        for batch in step.batches(0):
            twin = copy.deepcopy(learner.network).train()
            with torch.no_grad():
                logits, old = twin(batch.spectra).double(), teacher(batch.spectra).double()
            total = 0.0
            for z, q, label in zip(logits, old, batch.labels, strict=True):
                total -= z[2 * place :].log_softmax(0)[label].item()
                for d in range(place):
                    soft, log = (q[2 * d : 2 * d + 2] / T).softmax(0), (z[2 * d : 2 * d + 2] / T).log_softmax(0)
                    total -= opts.distillation * T**2 * (soft * log).sum().item()
            assert learner.observe(batch) == pytest.approx(total / len(batch.labels), abs=1e-4)
        learner.end_step(step)


def test_lwf_with_a_head_a_domain_answers_by_the_told_domains_pair_or_the_newest():
    learner = build_agent(options("lwf", lwf_heads="told", epochs=1))
    spectra = random_samples(7, 1).read()
    for place, step in enumerate(steps_of(learner.options, 9, 8, 10)):
        train(learner, [step])
        with torch.no_grad():
            outputs = copy.deepcopy(learner.network).eval()(spectra).double()
        for domain in (0, 1, 2, -1):
            pair = outputs[:, 2 * (domain if 0 <= domain <= place else place) :][:, :2]
            np.testing.assert_allclose(learner.scorer(domain)(spectra), pair[:, 1] - pair[:, 0], atol=1e-5)
        best = outputs[:, 1::2].max(1).values - outputs[:, ::2].max(1).values
        np.testing.assert_allclose(learner.score(spectra), best, atol=1e-5)
    assert len({learner.scorer(domain)(spectra)[0] for domain in range(3)}) == 3
    shared = build_agent(options("lwf"))
    np.testing.assert_array_equal(shared.scorer(0)(spectra), shared.score(spectra))


def test_the_teacher_does_not_move_during_a_step():
    learner = build_agent(options("lwf", chunks=2, epochs=3))
    steps = steps_of(learner.options, 9, 8, 9)
    train(learner, steps[:1])
    assert learner.teacher is None  # a chunk is no domain
    train(learner, steps[1:2])
    for step in steps[2:]:
        before = state_of(learner.teacher)  # BatchNorm's statistics are in it
        learner.begin_step(step)
        for batch in step.batches(0):
            learner.observe(batch)
            assert same(before, state_of(learner.teacher))
            assert not any(m.training for m in learner.teacher.modules())
        learner.end_step(step)
        assert same(before, state_of(learner.teacher)) == (not step.last)
        if step.last:
            assert same(state_of(learner.network), state_of(learner.teacher))


@pytest.mark.parametrize("agent", ["lwf", "mir", "ewc"])
def test_the_first_domain_is_plain_training(agent):
    losses = [train(build_agent(options(a)), steps_of(options(a), 12)) for a in (agent, "sequential")]
    assert losses[0] == losses[1]


# --- ER and MIR ---


@pytest.mark.parametrize("agent", REPLAY)
@pytest.mark.parametrize("passes", ["joined", "averaged", "separate"])
def test_the_update_is_that_of_the_formula(agent, passes, monkeypatch):
    """One mean over all images, in one pass or two, or the sum of two means; descended by plain SGD."""
    sgd: dict[str, Any] = {"optimiser": "sgd", "lr": 0.01, "schedule": "constant"}
    opts = options(agent, replay=3, candidates=6, memory=10, batch=7, replay_passes=passes, **sgd)
    learner = build_agent(opts)
    first, second = steps_of(opts, 12, 10)
    train(learner, [first])
    learner.begin_step(second)
    learner.start_optimiser(second, again=True)  # no momentum from before
    learner.optimiser.param_groups[0].update(momentum=0.0, weight_decay=0.0)
    taken: list[torch.Tensor] = []
    retrieve = learner.retrieve
    monkeypatch.setattr(learner, "retrieve", lambda batch: taken.append(retrieve(batch)) or taken[-1])
    for batch in second.batches(0):  # of 7 and of 3
        twin, memory = copy.deepcopy(learner.network).train(), copy.deepcopy(learner.memory)
        value = learner.observe(batch)
        replayed = memory.take(taken[-1])
        assert len(replayed.labels) == len(set(replayed.numbers.tolist())) == 3
        assert agent == "er" or (replayed.domains == 0).all()
        n, m = len(batch.labels), 3
        labels = torch.cat([batch.labels, replayed.labels])
        # Two passes: each batch is normalised by itself, the incoming one first.
        parts = [batch.spectra, replayed.spectra]
        logits = torch.cat([twin(x) for x in ([torch.cat(parts)] if passes == "joined" else parts)])
        each = -torch.stack([row.log_softmax(0)[label] for row, label in zip(logits, labels, strict=True)])
        loss = each[:n].mean() + each[n:].mean() if passes == "separate" else each.sum() / (n + m)
        loss.backward()
        with torch.no_grad():
            for got, p in zip(learner.network.parameters(), twin.parameters(), strict=True):
                torch.testing.assert_close(got, p - 0.01 * p.grad, rtol=0, atol=1e-6)
        for got, b in zip(learner.network.buffers(), twin.buffers(), strict=True):
            torch.testing.assert_close(got, b, rtol=0, atol=1e-6)
        assert value == pytest.approx((each[:n].mean() if passes == "separate" else loss).item(), abs=1e-5)


@pytest.mark.parametrize(
    ("agent", "changes", "current_too"),
    [
        ("er", {}, True),  # Chaudhry et al. 2019, algorithm 1: the whole memory
        ("er", {"replay_from": "earlier-domains"}, False),
        ("mir", {}, False),  # as its authors' code
        ("mir", {"replay_from": "all"}, True),
    ],
)
def test_each_image_is_offered_once_and_the_current_domain_is_replayed_or_not(agent, changes, current_too, monkeypatch):
    opts = options(agent, epochs=3, chunks=2, memory=9, **changes)
    learner = build_agent(opts)
    offered, replayed = [], []
    offer, take = learner.memory.offer, learner.memory.take

    def noted_offer(batch: Batch, generator: torch.Generator) -> dict[int, int]:
        offered.extend(batch.numbers.tolist())
        return offer(batch, generator)

    def noted_take(slots: torch.Tensor, epoch: int = 0) -> Batch:
        batch = take(slots, epoch)
        replayed.extend((step.index, d) for d in batch.domains.tolist())
        return batch

    monkeypatch.setattr(learner.memory, "offer", noted_offer)
    monkeypatch.setattr(learner.memory, "take", noted_take)
    for step in steps_of(opts, 10, 11, 12):
        train(learner, [step])
    assert sorted(offered) == list(range(33))
    assert learner.memory.n_seen == 33
    same_domain = {(now, now) for now in range(3)} if current_too else set()
    assert set(replayed) == {(1, 0), (2, 0), (2, 1)} | same_domain


# --- GDumb ---


@pytest.mark.parametrize(("batches", "cycles"), [(1, 5), (7, 3), (3, 1)])
def test_gdumbs_rate_is_a_cosine_with_warm_restarts_after_one_warm_up_epoch(batches, cycles):
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.05)
    restarts = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, T_0=1, T_mult=2, eta_min=0.0005)
    for epoch in range(2**cycles):
        for batch in range(batches):
            begin = 2 ** int(math.log2(max(epoch, 1)))  # cycles begin at epochs 1, 2, 4, 8 and are as long
            share = (epoch - begin + batch / batches) / begin
            want = 0.0005 + 0.5 * (0.05 - 0.0005) * (1 + math.cos(math.pi * share)) if epoch else 0.005
            assert set_memory_lr(restarts, epoch + batch / batches) == pytest.approx(want, rel=1e-9)
            assert optimiser.param_groups[0]["lr"] == pytest.approx(want, rel=1e-9)


def test_gdumb_trains_a_fresh_network_on_the_memory_alone(monkeypatch):
    opts = options("gdumb", memory=12, memory_epochs=4, memory_batch=5, clip=0.5, chunks=2, memory_weight_decay=0.01)
    learner = build_agent(opts)
    fits: list[tuple[dict, Any]] = []
    begin = GDumb.begin_step

    def noted(self, step):
        begin(self, step)
        if step.purpose == "refit":
            fits.append((state_of(self.network), copy.deepcopy(self.memory)))

    monkeypatch.setattr(GDumb, "begin_step", noted)
    steps = steps_of(opts, 16, 16)
    for step in steps:
        before = state_of(learner.network)
        losses = train(learner, [step])
        looked_at = [x for x in losses if math.isnan(x)]
        assert len(looked_at) == -(-len(step.samples) // opts.batch)  # each image is looked at once
        assert same(before, state_of(learner.network)) == (not step.last)
        if not step.last:
            continue
        start, memory = fits[-1]
        assert start["body.bn1.num_batches_tracked"] == 0
        assert not torch.equal(start["body.conv1.weight"], before["body.conv1.weight"])
        # The reference: plain SGD with momentum over the memory, torch's schedule and clipping.
        network = build_agent(opts).network.train()
        network.load_state_dict(start)
        optimiser = torch.optim.SGD(network.parameters(), lr=opts.memory_lr, momentum=0.9, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, 1, 2, opts.memory_lr_min)
        step_of_memory = replace(step, samples=memory.samples(), epochs=4, batch_size=5, purpose="refit")
        for place, batch in enumerate(step_of_memory.batches(opts.seed)):
            if batch.epoch == 0:
                optimiser.param_groups[0]["lr"] = opts.memory_lr / 10
            else:
                schedule.step(batch.epoch - 1 + place % 3 / 3)
            optimiser.zero_grad()
            F.cross_entropy(network(batch.spectra), batch.labels).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimiser.step()
        assert place == 4 * 3 - 1
        torch.testing.assert_close(state_of(learner.network), state_of(network), atol=1e-4, rtol=1e-4)
    assert len(fits) == 2


def test_gdumb_without_balance_keeps_a_reservoir_of_images_that_are_each_offered_once():
    opts = options("gdumb", gdumb_groups="none", memory=7, memory_epochs=1, chunks=2, epochs=3)
    learner, draws, slots, seen = build_agent(opts), torch_generator(opts.seed, "memory"), [], 0
    for step in steps_of(opts, 16, 12):
        train(learner, [step])
        for batch in replace(step, epochs=1).batches(opts.seed):
            for number in batch.numbers.tolist():  # Vitter's algorithm R
                seen += 1
                if len(slots) < 7:
                    slots.append(number)
                elif (slot := int(torch.randint(seen, (), generator=draws))) < 7:
                    slots[slot] = number
        assert learner.memory.numbers.tolist() == slots
    assert (learner.memory.n_seen, learner.images) == (28, 2 * 7)  # trained on after each domain


@pytest.mark.parametrize("agent", ["icarl", "gdumb", "er", "mir", "derpp"])
def test_memory_bytes_are_those_of_half_precision_planes_and_stored_logits(agent):
    opts = options(agent, memory=10, memory_epochs=1)
    learner = build_agent(opts)
    assert learner.memory.nbytes == 0
    train(learner, steps_of(opts, 40))
    assert learner.memory.nbytes == learner.memory_bytes == 10 * (3 * 32 * 17 * 2 + 2 * 4 * (agent == "derpp"))


@pytest.mark.parametrize("chunks", [1, 2])
def test_memory_bytes_of_joint_training_are_those_of_all_images_so_far(chunks):
    learner = build_agent(options("joint", epochs=1, chunks=chunks))
    for last, images in zip((chunks, 2 * chunks), (20, 34), strict=True):
        train(learner, steps_of(learner.options, 20, 14)[last - chunks : last])
        assert learner.memory_bytes == images * 3 * 32 * 17 * 2


@pytest.mark.parametrize(("agent", "planes", "networks"), [("sequential", 0, 0), ("lwf", 0, 1), ("icarl", 10, 1)])
def test_memory_bytes_count_a_teacher_too(agent, planes, networks):
    learner = build_agent(options(agent, memory=10, epochs=1))
    assert learner.memory_bytes == 0
    train(learner, steps_of(learner.options, 20, 20))
    network = build_agent(options(agent)).network  # of two outputs, as that of the first domain
    values = [v for m in network.modules() for v in (*m._parameters.values(), *m._buffers.values()) if v is not None]
    one = sum(8 if v.dtype == torch.int64 else 4 * v.numel() for v in values)
    assert learner.memory_bytes == planes // 4 * 4 * 3 * 32 * 17 * 2 + networks * one


@pytest.mark.parametrize(
    ("agent", "images"),
    [
        ("sequential", [2 * 16, 2 * 12]),
        ("joint", [2 * 16, 2 * 28]),
        ("icarl", [2 * 16, 2 * (12 + 10)]),  # new images and all exemplars
        ("gdumb", [4 * 10, 4 * 10]),  # 4 epochs on the memory
        ("lwf", [2 * 16, 2 * 12]),  # the teacher's passes are no training
        ("ewc", [2 * 16, 2 * 12]),  # nor are those of the Fisher information
        ("er", [2 * 16 + 5 * 3, 2 * (12 + 2 * 3)]),  # 3 replayed in each batch but the first
        ("mir", [2 * 16, 2 * (12 + 2 * 3)]),  # in each batch of the second domain
        ("derpp", [2 * 16 + 5 * 6, 2 * (12 + 2 * 6)]),  # 3 in each of two draws
    ],
)
def test_the_images_that_an_agent_is_trained_on_are_counted(agent, images):
    opts = options(agent, memory=10, epochs=2, batch=6, replay=3, memory_epochs=4)
    learner = build_agent(opts)
    steps, counted = steps_of(opts, 16, 12), [0]
    for step in steps:
        train(learner, [step])
        learner.score(random_samples(5, 0).read())  # tests do not count
        counted.append(learner.images)
    assert np.diff(counted).tolist() == images
