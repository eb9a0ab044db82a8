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
# # Exercise: MIR's virtual step
#
# **Goal.** You write the heart of maximally interfered retrieval: imagine a training step, see which remembered images
# would suffer from it, and replay those. Then you derive what the answer is to first order.
#
# **You need** torch, and notebook 07 up to "Which images to replay? At random, or those that suffer most". About 45
# minutes, 10 points. <!-- setting -->
#
# Write where it says `your code here`, and run the cell with the tests below it: what it prints or complains about is
# for you. When your work is graded, the same cells run with more cases of the same kind. Later tasks may call what you
# wrote in earlier ones, so mend a mistake where it begins.
#
# The network below is tiny: ten numbers in, two outputs. Its parameters are reached by name, and
# `functional_call(network, weights, (inputs,))` answers as if the network had other weights, given as a dictionary.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import contextlib
import copy
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

torch.set_num_threads(1)


def new_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(10, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def images(count, seed=0):
    """Invented images and labels: float64 (count, 10), int64 (count,)."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 10, dtype=torch.float64, generator=generator)
    return inputs, (inputs[:, seed % 3] > 0).long()


# %% nbgrader={"grade": false, "grade_id": "setup-2", "locked": true, "schema_version": 3, "solution": false, "task": false}
def after_a_real_step(network, batch, lr):
    """A copy of the network, trained one step by torch's own SGD."""
    network = copy.deepcopy(network)
    optimiser = torch.optim.SGD(network.parameters(), lr=lr)
    optimiser.zero_grad()
    F.cross_entropy(network(batch[0]), batch[1]).backward()
    optimiser.step()
    return network


def state(network):
    """All weights and gradients, to see whether anything has changed."""
    return [(p.detach().clone(), None if p.grad is None else p.grad.clone()) for p in network.parameters()]


def unchanged(network, before):
    for (weights, gradient), (old_weights, old_gradient) in zip(state(network), before, strict=True):
        kept = (
            gradient is old_gradient
            if old_gradient is None or gradient is None
            else torch.equal(gradient, old_gradient)
        )
        if not (kept and torch.equal(weights, old_weights)):
            return False
    return True


# %% nbgrader={"grade": false, "grade_id": "setup-3", "locked": true, "schema_version": 3, "solution": false, "task": false}
def without(names, function, *arguments):
    """What a function gives while others, of this notebook or of torch, raise an error."""

    def taken_away(*_, **__):
        raise AssertionError(f"needed: an answer without {', '.join(names)}")

    with contextlib.ExitStack() as stack:
        for name in names:
            place = name if name.startswith("torch.") else f"__main__.{name}"
            stack.enter_context(patch(place, taken_away, create=True))
        return function(*arguments)


GIVEN = ["after_a_real_step", "rises_by_training"]  # what your functions are compared with, and taken away from them


# %% [markdown]
# ## 1 A step that is not made
#
# The batch's mean cross-entropy has the gradient $g$. The **virtual weights** are $\theta - \eta g$, with the learning
# rate $\eta$. Write a function that returns them and leaves the network as it is: its weights, and the `.grad` of its
# parameters, too.
#
# <details><summary>Hint 1</summary>
#
# `loss.backward()` writes into `.grad`. There is a function that returns gradients instead.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.autograd.grad(loss, list_of_parameters)` gives a gradient for each.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `network.named_parameters()` gives names and parameters in the same order. A difference is a new tensor; `-=` changes
# the old one.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "virtual", "locked": false, "schema_version": 3, "solution": true, "task": false}
def virtual_weights(network, inputs, labels, lr):
    """The weights after one imagined SGD step on the batch: name → tensor. The network stays as it is."""
    ### BEGIN SOLUTION
    named = dict(network.named_parameters())
    loss = F.cross_entropy(network(inputs), labels)
    gradients = torch.autograd.grad(loss, list(named.values()))
    return {name: (w - lr * g).detach() for (name, w), g in zip(named.items(), gradients, strict=True)}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-virtual", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
network, batch = new_network(), images(4)
before = state(network)
weights = without(GIVEN, virtual_weights, network, *batch, 0.5)
assert set(weights) == {name for name, _ in network.named_parameters()}
points = int(unchanged(network, before))
print("the network is", "as it was" if points else "another one now")
real = after_a_real_step(new_network(), batch, 0.5)
right = all(torch.allclose(weights[name], parameter) for name, parameter in real.named_parameters())
print("the weights are", "those of a real step" if right else "not those of a real step")
### BEGIN HIDDEN TESTS
for parameter in network.parameters():  # those of another pass are there already, and stay
    parameter.grad = torch.ones_like(parameter)
before = state(network)
without(GIVEN, virtual_weights, network, *batch, 0.5)
points = points * int(unchanged(network, before))
for seed in (1, 2):
    real = after_a_real_step(new_network(seed), images(5, seed), 0.03)
    weights = without(GIVEN, virtual_weights, new_network(seed), *images(5, seed), 0.03)
    right = right and all(torch.allclose(weights[name], parameter) for name, parameter in real.named_parameters())
### END HIDDEN TESTS
points + 2 * int(right)

# %% [markdown]
# ## 2 Who would suffer?
#
# For each candidate of the memory: its loss with the virtual weights minus its loss with the network's own. Write
# `rises`, a number for each candidate, and `most_interfered`, the places of the `count` candidates whose loss would
# rise most, the worst first. Two points each.
#
# <details><summary>Hint 1</summary>
#
# `F.cross_entropy(…, reduction="none")` does not take the mean.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The incoming batch only makes the virtual weights; the candidates only are scored.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `argsort(descending=True)` gives the places, the largest value first.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "rises", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rises(network, batch, candidates, lr):
    """How much a virtual step on the batch would raise each candidate's loss: float (candidates,)."""
    ### BEGIN SOLUTION
    weights = virtual_weights(network, *batch, lr)
    inputs, labels = candidates
    with torch.no_grad():
        before = F.cross_entropy(network(inputs), labels, reduction="none")
        after = F.cross_entropy(functional_call(network, weights, (inputs,)), labels, reduction="none")
    return after - before
    ### END SOLUTION


def most_interfered(network, batch, candidates, lr, count):
    """The places of the candidates that would suffer most, int (count,), the worst first."""
    ### BEGIN SOLUTION
    return rises(network, batch, candidates, lr).argsort(descending=True)[:count]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-rises", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
def rises_by_training(network, batch, candidates, lr):
    networks = network, after_a_real_step(network, batch, lr)
    before, after = (F.cross_entropy(n(candidates[0]), candidates[1], reduction="none").detach() for n in networks)
    return after - before


network, batch, candidates = new_network(), images(4, 1), images(6, 2)


def gives(function, *arguments):
    """The numbers that a function gives, or a list of none if it raises an error, which is printed."""
    try:
        return [number.item() if hasattr(number, "item") else number for number in without(GIVEN, function, *arguments)]
    except Exception as error:
        print(f"{function.__name__}: {error!r}")
        return []


print("rises:", np.round(gives(rises, network, batch, candidates, 0.5), 3))
print("most interfered:", gives(most_interfered, network, batch, candidates, 0.5, 2))
### BEGIN HIDDEN TESTS
points = {"rises": 2, "order": 2}
for seed in range(3, 7):
    network, batch, candidates = new_network(seed), images(3, seed), images(9, seed + 1)
    wanted = rises_by_training(network, batch, candidates, 0.2)
    found = gives(rises, network, batch, candidates, 0.2)
    if len(found) != 9 or not np.allclose(found, wanted, atol=1e-6):
        points["rises"] = 0
    if gives(most_interfered, network, batch, candidates, 0.2, 3) != wanted.argsort(descending=True)[:3].tolist():
        points["order"] = 0
sum(points.values())
### END HIDDEN TESTS

# %% [markdown]
# ## 3 To first order
#
# For a small learning rate, a function changes by its gradient times the step: $f(\theta + \delta) \approx f(\theta) +
# \nabla f(\theta) \cdot \delta$. Put in the virtual step for $\delta$ and the loss of candidate $c$ for $f$. What is
# the rise, written with the gradient $g_c$ of the candidate's loss and $g$ of the batch's? Write it as a function of
# the gradients, without any rise of a loss. What has to be true of the two gradients for a candidate to suffer?
#
# <details><summary>Hint 1</summary>
#
# The step is $\delta = -\eta g$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A product of all parameters' gradients: flatten and join them, or add up the products tensor by tensor.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Each candidate needs a gradient of its own: a loop over the candidates, with a batch of one.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "first-order", "locked": false, "schema_version": 3, "solution": true, "task": false}
def approximate_rises(network, batch, candidates, lr):
    """The rises to first order in lr, from gradients alone: float (candidates,)."""

    ### BEGIN SOLUTION
    def gradient(inputs, labels):
        parts = torch.autograd.grad(F.cross_entropy(network(inputs), labels), list(network.parameters()))
        return torch.cat([part.flatten() for part in parts])

    g = gradient(*batch)
    inputs, labels = candidates
    return torch.stack([-lr * (gradient(inputs[c : c + 1], labels[c : c + 1]) @ g) for c in range(len(labels))])
    ### END SOLUTION


suffers_if = None  # the product of the two gradients is "positive" or "negative"
### BEGIN SOLUTION
suffers_if = "negative"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "test-first-order", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
network, batch, candidates = new_network(), images(4, 1), images(6, 2)
found = without(GIVEN, approximate_rises, network, batch, candidates, 0.01)
print("to first order:", np.round([float(rise) for rise in found], 5))
assert suffers_if in (None, "positive", "negative")


### BEGIN HIDDEN TESTS
def products(network, batch, candidates):
    def gradient(inputs, labels):
        parts = torch.autograd.grad(F.cross_entropy(network(inputs), labels), list(network.parameters()))
        return torch.cat([part.flatten() for part in parts])

    inputs, labels = candidates
    return [float(gradient(inputs[[c]], labels[[c]]) @ gradient(*batch)) for c in range(len(labels))]


points = 2 + int(suffers_if == "negative")
for seed in (3, 4):
    network, batch, candidates = new_network(seed), images(3, seed), images(5, seed + 1)
    for lr in (0.01, 2.0):  # the rise after some step, however small, comes no closer than 1e-11
        found = np.array([float(rise) for rise in without(GIVEN, approximate_rises, network, batch, candidates, lr)])
        if np.abs(found + lr * np.array(products(network, batch, candidates))).max() > 1e-12 * lr:
            points = int(suffers_if == "negative")
points
### END HIDDEN TESTS

# %% [markdown]
# **To think about.** Which is cheaper for 50 candidates: the virtual step, or the products of gradients? And what does
# each of them say about a candidate whose loss is already high? <!-- example -->
