# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,nbgrader,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise: find the mistake
#
# **Goal.** Six agents learn, and nothing looks wrong. Each has a mistake that stood in a real research code. You find
# each by an experiment on the agent, and turn the experiment into a check that a right agent passes.
#
# **You need** torch, notebooks 04 to 07, and an idea of what **BatchNorm** does: a layer that normalises each channel,
# in training mode by mean and variance of the batch, which it also collects in running statistics, and in evaluation
# mode by these. About 60 minutes, 12 points. <!-- setting -->
#
# Write where it says `your code here`, and run the cell with the tests below it: what it prints or complains about is
# for you. When your work is graded, the same cells run with more cases of the same kind. Later tasks may call what you
# wrote in earlier ones, so mend a mistake where it begins.
#
# Reading the code of the mistakes is no fun: look at what the agents *do*. The network is tiny (a convolution with
# BatchNorm, and a linear layer), and the images are noise with a pattern, so that each experiment takes a moment.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import copy
from collections import OrderedDict

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from cldf_core.agents import AGENTS
from cldf_core.options import checked
from cldf_core.original.differences import DIFFERENCES, original_values
from cldf_core.resnet import Network, Norm
from cldf_core.stream import Samples, make_steps

torch.set_num_threads(1)
COMMON = {"stream": ["first", "second"], "unseen": [], "size": 16, "epochs": 3, "batch": 8, "lr": 0.01, "memory": 24}
COMMON |= {"replay": 8, "candidates": 16, "memory_epochs": 2, "memory_batch": 8, "mixed_precision": False}


# %% nbgrader={"grade": false, "grade_id": "setup-2", "locked": true, "schema_version": 3, "solution": false, "task": false}
def factory(name, mistake=None, kind=None, **changed):
    """Makes a function `make` that makes agents: make(), or make(memory=8) with other options."""
    if mistake is not None:
        difference = [difference for difference in DIFFERENCES if difference.agent == name][mistake]
        changed = changed | original_values(name, difference.switch)

    class TwoLayers(kind or AGENTS[name]):
        def fresh_network(self, *, outputs=2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**31, (), generator=self.generator("weights"))))
                layers = {"conv1": nn.Conv2d(3, 8, 7, bias=False), "norm": Norm(8), "relu": nn.ReLU()}
                layers |= {"mean": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}
                return Network(nn.Sequential(OrderedDict(layers)), 8, outputs)

    return lambda **options: TwoLayers(checked({**COMMON, "agent": name, **changed, **options}))


def images(domain, count=32):
    """Images of a domain (0 or 1), every second one a fake; an image's number is its own."""
    rng = np.random.default_rng(domain)
    spectra, labels = rng.normal(size=(count, 3, 16, 9)), np.arange(count) % 2
    spectra[labels == 1, :, :: domain + 2] += 0.7
    return Samples.from_array(spectra.astype(np.float16), labels, domain, 1000 * domain)


# %% nbgrader={"grade": false, "grade_id": "setup-3", "locked": true, "schema_version": 3, "solution": false, "task": false}
def begin(agent, domain):
    """Begins a domain; returns the batches (spectra, labels, domains, numbers) that the agent would observe now."""
    step = make_steps([(name, images(place)) for place, name in enumerate(COMMON["stream"])], agent.options)[domain]
    part = next(iter(agent.parts(step)))
    agent.begin_step(part)
    return list(part.batches(agent.options.seed))


def learn(agent, domain):
    """Learns a domain from its beginning to its end."""
    step = make_steps([(name, images(place)) for place, name in enumerate(COMMON["stream"])], agent.options)[domain]
    for part in agent.parts(step):
        agent.begin_step(part)
        for batch in part.batches(agent.options.seed):
            agent.observe(batch)
    agent.end_step(step)


# %% nbgrader={"grade": false, "grade_id": "setup-4", "locked": true, "schema_version": 3, "solution": false, "task": false}
def judged(check, right, wrong):
    """Says what a check finds; returns whether it passes all right agents and none of the wrong ones."""

    def anew(make):  # no check can know which function it has been given
        return lambda **options: make(**options)

    passed, failed = ([bool(check(anew(make))) for make in agents] for agents in (right, wrong))
    print("right agents pass:", passed, "– wrong agents pass:", failed)
    return all(passed) and not any(failed)


# %% [markdown]
# ## What you can look at
#
# | | |
# |---|---|
# | `make()`, `make(memory=8)` | a new agent, untrained; options by name |
# | `learn(agent, 0)` | learns the first domain (0), then `learn(agent, 1)` the second |
# | `batches = begin(agent, 1)` | begins the second domain, and stops before the first update |
# | `agent.observe(batch)` | makes one update, and leaves its gradients behind in `parameter.grad` |
# | `agent.loss(batch)` | the loss of a batch and of what is replayed with it; `observe` may descend another one |
# | `agent.cross_entropy(batch)` | the loss of these images alone, with none from the memory, likewise a tensor |
# | `agent.network`, `agent.teacher` | networks; `.state_dict()`, `.named_buffers()`, `.train()`, `.eval()`, `.head` |
# | `agent.memory` | `.size`; `.labels`, `.domains`, `.numbers` of each slot; `.offer(batch, generator)` |
# | `agent.generator("memory")` | the generator that the agent draws from |
#
# A check takes `make` and returns True if the agents that it makes do what the paper says, else False. It is called
# with agents of both kinds: those below, and others with *the same symptom from another cause*, or with other options.
# So test what the agent does, not how it was made.
#
# As an example, a check that an agent learns at all, which both kinds pass:


# %%
def check_that_it_learns(make):
    agent = make()
    before = copy.deepcopy(agent.network.state_dict())
    learn(agent, 0)
    return not torch.equal(before["head.weight"], agent.network.state_dict()["head.weight"])


right_er, wrong_er = factory("er"), factory("er", mistake=1)
print(check_that_it_learns(right_er), check_that_it_learns(wrong_er))

# %% [markdown]
# ## 1 Experience replay: what does it remember?
#
# ER's reservoir keeps a random sample of the images it has seen, so that the memory is as varied as it can be.
# Something is odd in the memory of `wrong_er`. Fill one of each kind, print what is in the memories, then write the
# check.
#
# <details><summary>Hint 1</summary>
#
# Each image has a number of its own, and the memory keeps the numbers: `agent.memory.numbers[: agent.memory.size]`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A domain has 32 images. Give the memory more room than that, and look at its size. <!-- setting -->
#
# </details>
# <details><summary>Hint 3</summary>
#
# Agents learn each domain for several epochs. In how many of them should an image be offered to the memory?
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "check-er-memory", "locked": false, "schema_version": 3, "solution": true, "task": false}
def check_er_memory(make):
    """Whether ER's memory is a sample of different images."""
    ### BEGIN SOLUTION
    agent = make(memory=40)
    learn(agent, 0)
    numbers = agent.memory.numbers[: agent.memory.size]
    return len(numbers.unique()) == len(numbers)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-er-memory", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
points = int(judged(check_er_memory, [right_er], [wrong_er]))


### BEGIN HIDDEN TESTS
class OfferedTwice(AGENTS["er"]):
    def observe(self, batch):
        value = super().observe(batch)
        if batch.epoch == 0:
            self.memory.offer(batch, self.generator("memory"))
        return value


others = [factory("er", seed=3, epochs=5), factory("er", replay_passes="averaged", lr=0.1)]
broken = [factory("er", kind=OfferedTwice), factory("er", mistake=1, seed=5)]
points += int(points and judged(check_er_memory, others, broken))
### END HIDDEN TESTS
points

# %% [markdown]
# ## 2 GDumb: whom does it remember?
#
# GDumb's memory is balanced: every pair of domain and class holds the same share of it, as nearly as the numbers allow.
# <!-- by definition -->
#
# <details><summary>Hint 1</summary>
#
# Learn both domains. The memory knows the domain and the label of each slot.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Count each of the four pairs.
#
# </details>
# <details><summary>Hint 3</summary>
#
# With a memory that does not divide by four, counts may differ by one; and a pair that is missing has a count, too.
# <!-- setting -->
#
# </details>

# %%
right_gdumb, wrong_gdumb = factory("gdumb"), factory("gdumb", mistake=0)


# %% nbgrader={"grade": false, "grade_id": "check-gdumb-memory", "locked": false, "schema_version": 3, "solution": true, "task": false}
def check_gdumb_memory(make):
    """Whether GDumb's memory is balanced over domains and classes after two domains."""
    ### BEGIN SOLUTION
    agent = make()
    learn(agent, 0)
    learn(agent, 1)
    memory = agent.memory
    groups = 2 * memory.domains[: memory.size] + memory.labels[: memory.size]
    counts = torch.bincount(groups, minlength=4)
    return int(counts.max() - counts.min()) <= 1
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-gdumb-memory", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
points = int(judged(check_gdumb_memory, [right_gdumb], [wrong_gdumb]))


### BEGIN HIDDEN TESTS
class OnlyFakes(AGENTS["gdumb"]):
    def observe(self, batch):
        if not self.refits and int(batch.domains[0]) == 1:
            chosen = batch.labels == 1
            if not chosen.any():
                return 0.0
            parts = (getattr(batch, name)[chosen] for name in ("spectra", "labels", "domains", "numbers"))
            batch = type(batch)(*parts, batch.epoch)
        return super().observe(batch)


others = [factory("gdumb", seed=2), factory("gdumb", memory=16, batch=5)]
broken = [factory("gdumb", mistake=0, memory=20), factory("gdumb", kind=OnlyFakes)]
points += int(points and judged(check_gdumb_memory, others, broken))
### END HIDDEN TESTS
points

# %% [markdown]
# ## 3 MIR: does looking change what is looked at?
#
# MIR asks, for some remembered images, how much their loss would rise if it learned the new batch: it tries a step and
# takes it back. The question alone must leave the network as it is, all of it. After
# `agent.cross_entropy(batch).backward()`, `agent.retrieve(batch)` asks it, and returns the slots of the images that
# suffer most.
#
# <details><summary>Hint 1</summary>
#
# A network is its parameters *and* its buffers. `network.state_dict()` has both; take a deep copy before.
#
# </details>
# <details><summary>Hint 2</summary>
#
# There must be something to look at: learn the first domain, and begin the second.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The computation of the loss moves the running statistics as well, and rightly. Copy the state between
# `backward` and `retrieve`; the network is in training mode all the while (`agent.network.train()`).
#
# </details>

# %%
right_mir, wrong_mir = factory("mir"), factory("mir", mistake=2)


# %% nbgrader={"grade": false, "grade_id": "check-mir-looks", "locked": false, "schema_version": 3, "solution": true, "task": false}
def check_mir_looks(make):
    """Whether MIR's question which images suffer most leaves the network as it is."""
    ### BEGIN SOLUTION
    agent = make()
    learn(agent, 0)
    batch = begin(agent, 1)[0]
    agent.network.train()
    agent.network.zero_grad()
    agent.cross_entropy(batch).backward()
    before = copy.deepcopy(agent.network.state_dict())
    agent.retrieve(batch)
    after = agent.network.state_dict()
    return all(torch.equal(before[name], after[name]) for name in before)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-mir-looks", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
points = int(judged(check_mir_looks, [right_mir], [wrong_mir]))


### BEGIN HIDDEN TESTS
class LooksFirst(AGENTS["mir"]):
    def rises(self, gradients, candidates, step):
        with torch.no_grad():
            self.network(candidates.spectra)
        return super().rises(gradients, candidates, step)


class StaysThere(AGENTS["mir"]):
    def rises(self, gradients, candidates, step):
        found = super().rises(gradients, candidates, step)
        with torch.no_grad():
            for parameter, gradient in zip(self.network.parameters(), gradients, strict=True):
                parameter -= 0.01 * gradient
        return found


others = [factory("mir", seed=4), factory("mir", optimiser="sgd", candidates=20)]
broken = [factory("mir", kind=LooksFirst), factory("mir", kind=StaysThere)]
points += int(points and judged(check_mir_looks, others, broken))
### END HIDDEN TESTS
points

# %% [markdown]
# ## 4 LwF: who is the teacher?
#
# LwF's teacher is the network as it was after the domain before. While the new domain is learned, it must give the
# answers that the old network gave.
#
# <details><summary>Hint 1</summary>
#
# Learn the first domain: then there is an `agent.teacher`. What may change in it while the second is learned?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Nothing may. Parameters are not all that a network has.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Compare before the second domain and *within* it: after its end there is a new teacher, and rightly.
#
# </details>

# %%
right_lwf, wrong_lwf = factory("lwf"), factory("lwf", mistake=2)


# %% nbgrader={"grade": false, "grade_id": "check-lwf-teacher", "locked": false, "schema_version": 3, "solution": true, "task": false}
def check_lwf_teacher(make):
    """Whether LwF's teacher stays the same while a domain is learned."""
    ### BEGIN SOLUTION
    agent = make()
    learn(agent, 0)
    batches = begin(agent, 1)
    before = copy.deepcopy(agent.teacher.state_dict())
    for batch in batches:
        agent.observe(batch)
    after = agent.teacher.state_dict()
    return all(torch.equal(before[name], after[name]) for name in before)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-lwf-teacher", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
points = int(judged(check_lwf_teacher, [right_lwf], [wrong_lwf]))


### BEGIN HIDDEN TESTS
class NoCopy(AGENTS["lwf"]):
    def end_step(self, step):
        self.chunks += 1
        self.teacher = self.network


others = [factory("lwf", seed=4), factory("lwf", temperature=4.0, distillation=3.0)]
broken = [factory("lwf", mistake=2, seed=1), factory("lwf", kind=NoCopy)]
points += int(points and judged(check_lwf_teacher, others, broken))
### END HIDDEN TESTS
points

# %% [markdown]
# ## 5 Experience replay again: how large is a step?
#
# ER descends *one* mean loss over new and replayed images: with more images the gradient is known better, and is no
# larger. (If the two losses were added up, the learning rate would be another one than you have set.)
# <!-- by definition -->
# You see the gradients of an update after `agent.observe(batch)`.
#
# <details><summary>Hint 1</summary>
#
# You need a case in which you know how large the gradient has to be, whatever is drawn from the memory.
#
# </details>
# <details><summary>Hint 2</summary>
#
# What if the memory holds nothing but the images of the batch itself?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `make(memory=8, replay=8)`, and the memory is offered a batch of eight: then new and replayed images are the same. A
# copy of the network, made before the update, tells what the batch's mean loss alone gives: `F.cross_entropy` of the
# copy in training mode. Compare one parameter's gradient with `torch.allclose` (a tolerance of a few percent is enough,
# since the memory keeps 16-bit numbers). <!-- setting -->
#
# </details>

# %%
right_step, wrong_step = factory("er"), factory("er", mistake=0)


# %% nbgrader={"grade": false, "grade_id": "check-er-gradient", "locked": false, "schema_version": 3, "solution": true, "task": false}
def check_er_gradient(make):
    """Whether ER's update descends the mean loss over new and replayed images."""
    ### BEGIN SOLUTION
    agent = make(memory=8, replay=8, batch=8)
    batch = begin(agent, 0)[0]
    agent.memory.offer(batch, agent.generator("memory"))
    alone = copy.deepcopy(agent.network).train()
    F.cross_entropy(alone(batch.spectra), batch.labels).backward()
    agent.observe(batch)
    wanted, found = alone.head.weight.grad, agent.network.head.weight.grad
    return bool((found - wanted).norm() < 0.1 * wanted.norm())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-er-gradient", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
points = int(judged(check_er_gradient, [right_step], [wrong_step]))


### BEGIN HIDDEN TESTS
class SumOfBoth(AGENTS["er"]):
    def loss(self, batch):
        return 2 * super().loss(batch)


others = [factory("er", replay_passes="averaged"), factory("er", seed=6, optimiser="sgd")]
broken = [factory("er", mistake=0, seed=6, optimiser="sgd"), factory("er", kind=SumOfBoth)]
points += int(points and judged(check_er_gradient, others, broken))
### END HIDDEN TESTS
points

# %% [markdown]
# ## 6 iCaRL: does anybody hold the old outputs?
#
# iCaRL gives each domain two outputs of its own. When the second domain is learned, the outputs of the first are to
# stay what they were: their targets are the answers of the old network (distillation). Find out, by gradients, whether
# they are.
#
# <details><summary>Hint 1</summary>
#
# `agent.loss(batch).backward()` leaves `agent.network.head.weight.grad`, with a row for each output. Which rows are of
# the first domain's outputs?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Right after the second domain has begun, the network still *is* the old one. What gradient should its old outputs get,
# if the old network's answers are their targets?
#
# </details>
# <details><summary>Hint 3</summary>
#
# None. But in training mode BatchNorm makes the answers others than the teacher's, which is in evaluation mode: put the
# network in evaluation mode before you ask for the loss.
#
# </details>

# %%
right_icarl, wrong_icarl = factory("icarl"), factory("icarl", mistake=0)


# %% nbgrader={"grade": false, "grade_id": "check-icarl-distils", "locked": false, "schema_version": 3, "solution": true, "task": false}
def check_icarl_distils(make):
    """Whether iCaRL's old outputs have the old network's answers as targets."""
    ### BEGIN SOLUTION
    agent = make()
    learn(agent, 0)
    batch = begin(agent, 1)[0]
    agent.network.eval()
    agent.network.zero_grad()
    agent.loss(batch).backward()
    old, new = agent.network.head.weight.grad.split(2)
    return bool(old.abs().max() < 1e-5 * new.abs().max())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-icarl-distils", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
points = int(judged(check_icarl_distils, [right_icarl], [wrong_icarl]))


### BEGIN HIDDEN TESTS
class Stranger(AGENTS["icarl"]):
    def begin_step(self, step):
        super().begin_step(step)
        if self.teacher is not None:
            self.teacher = self.fresh_network().eval()


class Idle(AGENTS["icarl"]):
    def loss(self, batch):
        teacher, self.teacher = self.teacher, None
        value = super().loss(batch)
        self.teacher = teacher
        return value


others = [factory("icarl", seed=8), factory("icarl", memory=8, lr=0.05)]
broken = [factory("icarl", kind=Stranger), factory("icarl", kind=Idle)]
points += int(points and judged(check_icarl_distils, others, broken))
### END HIDDEN TESTS
points

# %% [markdown]
# **To think about.** Which of the six would you have noticed in a table of accuracies? Notebook 11 turns each of them
# on alone and measures what it does.
