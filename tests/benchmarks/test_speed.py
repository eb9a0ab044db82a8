"""Speed and memory, measured: `make bench`. Ratios of medians within one run; process time, one thread."""

import copy
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision import models

from cldf_core import spectrum
from cldf_core.agents import build_agent
from cldf_core.data.images import crop, open_image
from cldf_core.data.mini.crops import PHOTOGRAPHS
from cldf_core.data.runtime import computes_in_bfloat16, thread_count
from cldf_core.detection.detector import Detector
from cldf_core.detection.score import score
from cldf_core.evaluation import bootstrap, metrics
from cldf_core.evaluation.pool import with_pool
from cldf_core.options import AGENTS, checked
from cldf_core.resnet import build_network
from cldf_core.runs.run import make_run
from cldf_core.spectrum import InputSpec
from cldf_core.stream import Batch, make_steps
from samples import begun, random_samples, train


def seconds_of(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def interleaved(first, second, repeats=5):
    """Median process times of two calls that take turns, so that a slow moment meets both; the first is not counted."""
    times = [(seconds_of(first), seconds_of(second)) for _ in range(repeats + 1)]
    return np.median(times[1:], axis=0)


def photographs(count, side):
    """Cut from the embedded photographs: noise would make the FFT and the sort look alike for all."""
    paths = sorted(PHOTOGRAPHS.glob("*.webp"))[:count]
    return np.stack([crop(open_image(path), side) for path in paths])


def formula(images):
    """The obvious way: image by image, channel by channel, in numpy."""
    out = np.empty(images.shape, np.float32)
    for image, plane in zip(images, out, strict=True):
        for channel, target in zip(image, plane, strict=True):
            m = np.log(np.abs(np.fft.fft2(channel.astype(np.float32) / 255)) + 1e-3)
            p5, p95 = np.percentile(m, 5), np.percentile(m, 95)
            target[:] = np.clip(2 * (m - p5) / (p95 - p5) - 1, -1, 1)
    return out


@pytest.mark.parametrize(("plane", "needed"), [("full", 3.0), ("half", 3.5)])
def test_spectra(plane, needed):
    images = photographs(16, 256)[:, :, 16:240, 16:240]
    got, slow = spectrum.log_spectrum(images, plane=plane), formula(images)
    assert np.abs(got - slow[..., : got.shape[-1]]).max() < 2e-3
    with thread_count(1):
        theirs, ours = interleaved(lambda: formula(images), lambda: spectrum.log_spectrum(images, plane=plane))
    print(f"\nspectra, {plane}: {theirs / ours:.2f} times the formula's throughput (needed {needed});", end=" ")
    print(f"{ours / 16 * 1e3:.2f} ms an image")
    assert theirs / ours >= needed


def training(name, shape, optimiser=torch.optim.SGD, **how):
    """An update of a network with random spectra of a shape."""
    torch.manual_seed(0)
    network = build_network(name)
    update_weights = optimiser(network.parameters(), lr=0.01, **how)
    spectra = torch.randn(shape).to(memory_format=torch.channels_last)
    labels = torch.arange(len(spectra)) % 2

    def update():
        update_weights.zero_grad()
        F.cross_entropy(network(spectra), labels).backward()
        update_weights.step()

    return update


@pytest.mark.parametrize(("name", "side", "batch", "needed"), [("resnet34", 224, 8, 1.7), ("slim", 128, 32, 1.4)])
def test_half_plane(name, side, batch, needed):
    with thread_count(1):
        full, half = interleaved(*(training(name, (batch, 3, side, columns)) for columns in (side, side // 2 + 1)))
    print(f"\nhalf plane, {name} at {side}: {full / half:.2f} times the full plane's throughput (needed {needed})")
    assert full / half >= needed


@pytest.mark.parametrize(
    ("name", "side", "batch", "allowed"),
    [("resnet18", 64, 10, 0.9), ("slim", 128, 32, 1.05), ("resnet34", 224, 10, 1.05)],
)
def test_a_fused_optimiser(name, side, batch, allowed):
    adam = partial(training, name, (batch, 3, side, side // 2 + 1), torch.optim.Adam)
    with thread_count(1):
        plain, fused = interleaved(adam(), adam(fused=True), 15)
    print(
        f"\nfused Adam, {name} at {side}: {fused / plain:.3f} times the plain one's step (allowed {allowed});", end=" "
    )
    print(f"{plain * 1e3:.1f} ms, {fused * 1e3:.1f} ms")
    assert fused / plain <= allowed


@pytest.mark.parametrize("agent", ["sequential", "joint"])
def test_half_plane_is_as_accurate(agent):
    """Quick profile, seed 0: average and learning accuracy with their intervals, which are over photographs.

    What sequential training has kept in the end also changes by up to 0.2 with the seed alone (notebook 11).
    """
    found = {}
    for plane in ("half", "full"):
        options = checked({"agent": agent, "plane": plane, "splits": ["validation"]})
        scores = make_run(options).scores()
        found[plane] = bootstrap.summary(scores, options.stream, split="validation").set_index("metric")
    print()
    for name in ("average", "learning"):
        half, full = rows = [found[plane].loc[name] for plane in ("half", "full")]
        print(f"{agent}, {name} accuracy:", *(f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in rows))
        assert half.low <= full.value <= half.high or full.low <= half.value <= full.high


def domains(count=96, side=128):
    """Two domains of random spectra: content does not matter for the time."""
    shape = (3, side, side // 2 + 1)
    return [(f"domain {k}", random_samples(count, k, shape=shape, first_number=k * count)) for k in range(2)]


class Passes:
    """Counts the seconds spent inside networks' forward passes, backward passes and optimisers' steps."""

    def __init__(self, monkeypatch):
        self.seconds, self.depth = 0.0, 0
        for owner, name in (
            (torch.nn.Module, "__call__"),
            (torch.Tensor, "backward"),
            (torch.optim.Adam, "step"),
            (torch.optim.SGD, "step"),
            (torch.autograd, "grad"),
        ):
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, call):
        def wrapper(*args, **kwargs):
            self.depth += 1
            start = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.process_time() - start

        return wrapper


@pytest.mark.parametrize("agent", [a for a in AGENTS if a != "joint"])
def test_bookkeeping(agent, monkeypatch):
    """Second domain, when there is something to remember: seconds outside the passes, as a share of them."""
    options = checked({"agent": agent, "epochs": 2, "memory_epochs": 8, "memory": 96})
    shares = []
    with thread_count(1), monkeypatch.context() as patched:
        first, second = make_steps(domains(), options)
        learner = build_agent(options)
        train(learner, [first])
        passes = Passes(patched)
        for _ in range(5):
            again = build_agent(options)
            again.load_state_dict(copy.deepcopy(learner.state_dict()))
            passes.seconds = 0.0
            total = seconds_of(partial(train, again, [second]))
            shares.append((total - passes.seconds) / passes.seconds)
    print(f"\nbookkeeping of {agent}: {100 * np.median(shares):.1f} % of its passes (allowed 15 %)")
    assert np.median(shares) <= 0.15


@pytest.mark.skipif(not computes_in_bfloat16(), reason="this processor has no instructions for bfloat16")
def test_mixed_precision():
    """An update of the quick profile's network on a batch, with and without."""

    def observing(**changes):
        options = checked({"epochs": 100, **changes})
        learner, (first, _) = build_agent(options), make_steps(domains(32), options)
        batch = begun(learner, first).samples.batch()
        return lambda: learner.observe(batch)

    with thread_count(1):
        single, mixed = interleaved(observing(), observing(mixed_precision=True), 9)
    print(f"\nmixed precision: {mixed / single:.3f} times the step in float32 (allowed 0.85);", end=" ")
    print(f"{single * 1e3:.1f} ms, {mixed * 1e3:.1f} ms")
    assert mixed / single <= 0.85


class OriginalsWay:
    """LwF's and MIR's step as the original does them: full planes, torch's default memory layout, a copied network."""

    def __init__(self):
        torch.manual_seed(0)
        self.network = models.resnet34(num_classes=2).train()
        self.teacher = copy.deepcopy(self.network)
        self.optimiser = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9, dampening=0.9)

    def lwf(self, spectra, labels):
        logits = self.network(spectra)
        with torch.no_grad():
            taught = self.teacher(spectra)
        distilled = -(F.softmax(taught / 2, 1) * F.log_softmax(logits / 2, 1)).sum(1).mean() * 4
        loss = F.cross_entropy(logits, labels) / 2 + distilled / 2
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def mir(self, spectra, labels, candidates, candidate_labels, moving):
        """`moving`: candidates are scored in training mode, as the original does; else in evaluation mode, as MIR's."""
        self.optimiser.zero_grad()
        F.cross_entropy(self.network(spectra), labels).backward()
        gradient = torch.cat([p.grad.flatten() for p in self.network.parameters()])
        virtual, start = copy.deepcopy(self.network), 0
        for p in virtual.parameters():
            p.grad = torch.zeros_like(p.data)
            p.grad.copy_(gradient[start : start + p.numel()].view_as(p))
            p.data = p.data - 0.1 * p.grad
            start += p.numel()
        self.network.train(moving), virtual.train(moving)
        with torch.no_grad():
            before = F.cross_entropy(self.network(candidates), candidate_labels, reduction="none")
            after = F.cross_entropy(virtual(candidates), candidate_labels, reduction="none")
        self.network.train()
        chosen = (after - before).argsort(descending=True)[:10]
        F.cross_entropy(self.network(candidates[chosen]), candidate_labels[chosen]).backward()
        self.optimiser.step()


@pytest.mark.parametrize(
    ("agent", "switches"),
    [("lwf", {}), ("mir", {}), ("mir", {"replay_passes": "separate", "mir_statistics": "moving", "virtual_lr": 0.1})],
)
def test_a_step_against_the_originals_way(agent, switches):
    """ResNet-34 at 224, batch 10, 50 candidates, one thread: ours on half planes over the original's way.

    Half planes halve the work of every convolution; the README states what is left of the time.
    """
    some = {"size": 224, "network": "resnet34", "batch": 10, "epochs": 100, "optimiser": "sgd", "lr": 0.01}
    # More room than the 50 of the first domain, which are the candidates of every step.
    mir = {"replay": 10, "memory": 500, "candidates": 50} if agent == "mir" else {}
    options = checked({"agent": agent, **some, **mir, **switches, "schedule": "constant"})
    learner = build_agent(options)
    first, second = make_steps(domains(50, 224), options)
    learner.begin_step(first)
    for start in range(0, 50, 10) if mir else ():
        part = first.samples[np.arange(start, start + 10)]
        what = [torch.from_numpy(x) for x in (part.labels, part.domains, part.numbers)]
        learner.memory.offer(Batch(part.read(), *what, 0), learner.generator("memory"))
    learner.end_step(first)
    batches = begun(learner, second).batches(0)
    original, labels = OriginalsWay(), torch.arange(50) % 2
    full, candidates = torch.randn(10, 3, 224, 224), torch.randn(50, 3, 224, 224)
    images = (full, labels[:10], *((candidates, labels, bool(switches)) if mir else ()))
    with thread_count(1):
        slow, fast = interleaved(lambda: getattr(original, agent)(*images), lambda: learner.observe(next(batches)), 9)
    words = ", ".join(f"{name} {value}" for name, value in switches.items()) or "as it comes"
    print(f"\n{agent}, {words}: {fast / slow:.3f} times the original's way; {fast:.2f} s, {slow:.2f} s")
    assert fast < slow


def test_scoring_against_the_bare_loop(tmp_path):
    """500 JPEG images of 256 pixels, the quick profile's network: `score` over decoding, FFT and forward pass alone."""
    pictures = [Image.fromarray(np.ascontiguousarray(p.transpose(1, 2, 0))) for p in photographs(100, 256)]
    files = [tmp_path / f"{number:03}.jpg" for number in range(500)]
    for number, file in enumerate(files):
        pictures[number % 100].save(file, quality=90)
    options = checked({})
    spec = InputSpec.from_options(options)
    network = build_network("slim").eval()
    detector = Detector(network, options, "untrained", ())

    def bare():
        with torch.no_grad():
            for start in range(0, len(files), 64):
                opened = []
                for file in files[start : start + 64]:
                    with Image.open(file) as image:
                        opened.append(np.asarray(image).transpose(2, 0, 1)[:, 64:192, 64:192])
                spectra = torch.from_numpy(spec.network_input(np.stack(opened))).float()
                network(spectra.to(memory_format=torch.channels_last))

    with thread_count(1):
        slow, ours = interleaved(bare, lambda: score(files, detector, workers=1, progress=False))
    print(f"\nscoring 500 images: {ours / slow:.2f} times the bare loop (allowed 1.3); {ours:.2f} s, {slow:.2f} s")
    assert ours / slow <= 1.3


@pytest.mark.parametrize("groups", [1000, 100_000])
def test_a_thousand_resamples_of_a_hundred_thousand_scores(groups):
    """All detection metrics with their intervals."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 100_000)
    columns = {"step": 1, "domain": "a", "split": "test", "group": np.arange(100_000) % groups, "label": labels}
    scores = pd.DataFrame({**columns, "score": 1 / (1 + np.exp(1 - 2 * labels - rng.normal(size=100_000)))})
    start = time.process_time()
    R = bootstrap.matrices(scores, metrics.DETECTION)
    assert all(np.isfinite(R.metrics[name].interval()).all() for name in metrics.DETECTION)
    seconds = time.process_time() - start
    print(f"\n1000 resamples of 100,000 scores in {groups} groups, 9 metrics: {seconds:.1f} s (needed at most 10)")
    assert seconds <= 10


def test_a_thousand_resamples_of_fifty_generators_that_share_their_reals():
    """All detection metrics of 10,000 images, half of them real ones that each generator is measured against."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 5000)
    domains = np.where(labels == 1, np.arange(10_000) % 50, -1).astype(str)
    columns = {"step": 1, "split": "test", "domain": domains, "group": np.arange(10_000), "label": labels}
    scores = pd.DataFrame({**columns, "score": 1 / (1 + np.exp(1 - 2 * labels - rng.normal(size=10_000)))})
    start = time.process_time()
    R = bootstrap.matrices(with_pool(scores), metrics.DETECTION)
    assert all(np.isfinite(R.metrics[name].interval()[0][0, 1:]).all() for name in metrics.DETECTION)
    seconds = time.process_time() - start
    print(f"\n1000 resamples of 50 domains with 5000 shared reals, 9 metrics: {seconds:.1f} s (needed at most 20)")
    assert seconds <= 20
