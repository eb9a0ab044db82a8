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
# # Exercise: the loss of learning without forgetting
#
# **Goal.** You write the distillation loss of LwF, derive its gradient by hand, and check it against torch. The
# gradient answers two questions: why the factor $T^2$, and what a very high temperature does.
#
# **You need** torch, the chain rule, and notebook 06 up to "The old network as a teacher". About 50 minutes,
# 11 points. <!-- setting -->
#
# Write where it says `your code here`, and run the cell with the tests below it: what it prints or complains about is
# for you. When your work is graded, the same cells run with more cases of the same kind. Later tasks may call what you
# wrote in earlier ones, so mend a mistake where it begins.
#
# While a network learns a new domain, a **teacher** (the network as it was before) answers the same images. The
# teacher's answers, softened, are targets for the new network. Below, $z$ are the **logits** of the network for one
# image, a number for each of $K$ outputs, and $t$ those of the teacher.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import contextlib
from unittest.mock import patch

import numpy as np
import torch
from torch.nn import functional as F

generator = torch.Generator().manual_seed(0)


def logits(images, outputs=2, scale=2.0):
    """Invented logits, float64, shape (images, outputs)."""
    return scale * torch.randn(images, outputs, dtype=torch.float64, generator=generator)


def by_autograd(loss, z, *arguments):
    """The gradient of a loss by torch, shape of z."""
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z, *arguments), z)[0]


def by_differences(loss, z, *arguments):
    """The gradient of a loss of one image, shape of z, by moving each logit a little up and a little down."""
    steps = 1e-5 * torch.eye(z.shape[1], dtype=z.dtype)
    return torch.tensor([[loss(z + step, *arguments) - loss(z - step, *arguments) for step in steps]]) / 2e-5


# %% nbgrader={"grade": false, "grade_id": "setup-2", "locked": true, "schema_version": 3, "solution": false, "task": false}
def slow_loss(z, t, T):
    """The formula of section 2, image by image, output by output."""
    total = 0.0
    for image in range(len(z)):
        p, q = (np.exp(x[image].numpy() / T) for x in (t, z))
        total -= T**2 * sum(a / p.sum() * np.log(b / q.sum()) for a, b in zip(p, q, strict=True))
    return total / len(z)


# %% nbgrader={"grade": false, "grade_id": "setup-3", "locked": true, "schema_version": 3, "solution": false, "task": false}
def without(names, function, *arguments):
    """What a function gives while others, of this notebook or of torch, raise an error."""

    def taken_away(*_, **__):
        raise AssertionError(f"needed: an answer without {', '.join(names)}")

    with contextlib.ExitStack() as stack:
        for name in names:
            place = name if "." in name else f"__main__.{name}"
            stack.enter_context(patch(place, taken_away, create=True))
        return function(*arguments)


# What is taken away while your functions are tested, where a task asks for a formula.
PLACES = ("torch", "torch.nn.functional", "torch.Tensor")
SOFTMAX = [f"{place}.{name}" for place in PLACES for name in ("softmax", "log_softmax")]
SOFTMAX += ["torch.special.softmax", "torch.special.log_softmax", "scipy.special.softmax", "scipy.special.log_softmax"]
AUTOGRAD = ["torch.autograd.grad", "torch.autograd.backward", "torch.autograd.functional.jacobian", "by_autograd"]
AUTOGRAD += [f"torch.func.{name}" for name in ("grad", "jacrev", "jacfwd", "vjp", "jvp")] + ["by_differences"]
LOSSES = ["slow_loss", "distillation_loss", "lwf_loss"]


# %% [markdown]
# ## 1 Softened answers
#
# The softmax with **temperature** $T$ is $p_k = e^{z_k/T} / \sum_j e^{z_j/T}$. Write `soften`, without `F.softmax`, so
# that it also works for logits of 1000: $e^{1000}$ is too large for any number here. <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# `sum(1, keepdim=True)` keeps a column, which each row is divided by.
#
# </details>
# <details><summary>Hint 2</summary>
#
# What becomes of the formula if you subtract the same number from all logits of an image?
#
# </details>
# <details><summary>Hint 3</summary>
#
# Nothing. Subtract the largest one: then no exponent is above 0.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "soften", "locked": false, "schema_version": 3, "solution": true, "task": false}
def soften(z, T):
    """The softmax with temperature T of logits of shape (N, K)."""
    ### BEGIN SOLUTION
    powers = torch.exp((z - z.amax(1, keepdim=True)) / T)
    return powers / powers.sum(1, keepdim=True)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-soften", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
for T in (0.5, 1.0, 4.0):
    print("temperature", T, without(SOFTMAX, soften, torch.tensor([[2.0, 0.0]]), T))
assert torch.allclose(soften(torch.zeros(1, 4), 3.0), torch.full((1, 4), 0.25))
### BEGIN HIDDEN TESTS
z = logits(5, 3)
points = int(all(torch.allclose(without(SOFTMAX, soften, z, T), F.softmax(z / T, dim=1)) for T in (0.3, 1.0, 7.0)))
large = torch.tensor([[1000.0, 999.0, -1000.0]], dtype=torch.float64)
points += int(torch.allclose(soften(large, 0.5), F.softmax(large / 0.5, dim=1)))
points
### END HIDDEN TESTS

# %% [markdown]
# ## 2 The distillation loss
#
# With $p = \text{softmax}(t/T)$ of the teacher and $q = \text{softmax}(z/T)$ of the network, the loss of one image is
#
# $$L = -T^2 \sum_k p_k \ln q_k,$$
#
# and that of a batch is the mean over its images. Nothing of it may train the teacher. Then write the whole loss of
# LwF: the mean cross-entropy of the labels (with the plain softmax, $T = 1$), plus $\lambda$ times the distillation
# loss. A point each is for the distillation loss, a teacher that it does not train, and the whole.
#
# <details><summary>Hint 1</summary>
#
# `F.log_softmax` is the logarithm of a softmax, and safe for large logits.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Sum over the outputs, mean over the images: which axis is which?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `tensor.detach()` is the same numbers, without a way back for gradients. `F.cross_entropy` takes logits and labels.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "losses", "locked": false, "schema_version": 3, "solution": true, "task": false}
def distillation_loss(z, t, T):
    """The mean distillation loss, a tensor without a shape, of the network's z and the teacher's t, both (N, K)."""
    ### BEGIN SOLUTION
    return -(T**2) * (soften(t.detach(), T) * F.log_softmax(z / T, dim=1)).sum(1).mean()
    ### END SOLUTION


def lwf_loss(z, t, labels, T, weight):
    """Cross-entropy with the labels, int64 (N,), plus weight (the lambda) times the distillation loss."""
    ### BEGIN SOLUTION
    return F.cross_entropy(z, labels) + weight * distillation_loss(z, t, T)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-losses", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
def gives(function, *arguments):
    """The number that a function gives, or none if it raises an error, which is printed."""
    try:
        return float(function(*arguments))
    except Exception as error:
        print(f"{function.__name__}: {error!r}")
        return float("nan")


z, t = logits(1), logits(1)
print("one image:", gives(distillation_loss, z, t, 2.0), "by the formula:", slow_loss(z, t, 2.0))
plain = float(F.cross_entropy(z, torch.tensor([1])))
print("without distillation:", gives(lwf_loss, z, t, torch.tensor([1]), 2.0, 0.0), "the cross-entropy:", plain)
### BEGIN HIDDEN TESTS
pairs = [(logits(n, k), logits(n, k), T) for n, k, T in ((4, 2, 2.0), (3, 5, 1.0), (6, 3, 0.5))]
right = all(np.isclose(gives(distillation_loss, *pair), slow_loss(*pair)) for pair in pairs)
z, t, T = pairs[0]
teacher, network = t.clone().requires_grad_(), z.clone().requires_grad_()
leak = torch.autograd.grad(distillation_loss(network, teacher, T), teacher, allow_unused=True)[0] if right else None
points = int(right) + int(right and (leak is None or bool((leak == 0).all())))
labels = torch.tensor([0, 1, 1, 0])
wanted = F.cross_entropy(z, labels) + 0.7 * slow_loss(z, t, 3.0)
points += int(np.isclose(gives(lwf_loss, z, t, labels, 3.0, 0.7), float(wanted)))
points
### END HIDDEN TESTS

# %% [markdown]
# ## 3 Its gradient
#
# Derive $\partial L / \partial z_k$ for one image, with paper and pencil. What is left is short. Write it as a function
# for a batch, with your `soften`, and without autograd or a loss; the next cell compares it with differences of the
# loss.
#
# <details><summary>Hint 1</summary>
#
# Write $\ln q_k = z_k/T - \ln \sum_j e^{z_j/T}$ first.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The derivative of the second part with respect to $z_m$ is a softmax divided by $T$. And all $p_k$ together are 1.
#
# </details>
# <details><summary>Hint 3</summary>
#
# One factor of $T$ of the $T^2$ is used up by the derivative. The mean over the batch divides by its number of images.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "gradient", "locked": false, "schema_version": 3, "solution": true, "task": false}
def distillation_gradient(z, t, T):
    """The gradient of the mean distillation loss with respect to z, shape (N, K), by a formula."""
    ### BEGIN SOLUTION
    return T * (soften(z, T) - soften(t, T)) / len(z)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-gradient", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
z, t = logits(1), logits(1)
wanted = by_differences(slow_loss, z, t, 2.0)
found = without(AUTOGRAD + LOSSES, distillation_gradient, z, t, 2.0)
print("by hand:", found, "by differences of the formula of section 2:", wanted)
assert torch.allclose(found, wanted, atol=1e-6)
### BEGIN HIDDEN TESTS
points = 2
for n, k, T in ((4, 2, 1.0), (5, 6, 0.7), (3, 2, 9.0)):
    z, t = logits(n, k), logits(n, k)
    wanted = by_autograd(lambda z, t=t, T=T: -(T**2) * (F.softmax(t / T, 1) * F.log_softmax(z / T, 1)).sum(1).mean(), z)
    found = without(AUTOGRAD + LOSSES, distillation_gradient, z, t, T)
    points = points if (found - wanted).abs().max() < 1e-12 else 0  # differences come no closer than 1e-10
z = logits(2).requires_grad_()
points += int(points and not distillation_gradient(z.detach(), z.detach(), 2.0).abs().max() > 1e-12)
points
### END HIDDEN TESTS

# %% [markdown]
# ## 4 What a high temperature does
#
# Let $T$ grow without bound. The softmaxes come close to $1/K$, and so their difference vanishes, but it is multiplied
# with $T$. What is the limit of the gradient? Use $e^x \approx 1 + x$ for small $x$. Write the limit with $z$ and $t$
# alone. (You will recognise the gradient of a much older loss. Without $T^2$ in front, the limit would be zero.)
#
# <details><summary>Hint 1</summary>
#
# $q_k \approx (1 + z_k/T) / (K + \sum_j z_j / T)$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# To first order that is $\frac{1}{K}(1 + (z_k - \bar z)/T)$, where $\bar z$ is the mean of the image's logits.
#
# </details>
# <details><summary>Hint 3</summary>
#
# What is left is a difference of two deviations from a mean, divided by $K$, and by the number of images.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "limit", "locked": false, "schema_version": 3, "solution": true, "task": false}
def limit_of_gradient(z, t):
    """The gradient of the mean distillation loss for T without bound, shape (N, K)."""
    ### BEGIN SOLUTION
    difference = (z - z.mean(1, keepdim=True)) - (t - t.mean(1, keepdim=True))
    return difference / z.shape[1] / len(z)
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "look-at-limit", "locked": true, "schema_version": 3, "solution": false, "task": false}
z, t = logits(3), logits(3)
for T in (1.0, 10.0, 1000.0):
    found = distillation_gradient(z, t, T)  # yours, of task 3
    print("temperature", T, "largest distance to the limit:", float((found - limit_of_gradient(z, t)).abs().max()))

# %% nbgrader={"grade": true, "grade_id": "test-limit", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
z, t = logits(3), logits(3)
others = [*SOFTMAX, *AUTOGRAD, *LOSSES, "soften", "distillation_gradient"]
found = without(others, limit_of_gradient, z, t)
assert found.shape == z.shape, f"the shape is {found.shape}"
### BEGIN HIDDEN TESTS
for n, k in ((1, 2), (4, 3), (2, 7)):
    z, t = logits(n, k), logits(n, k)
    exact = (z - t) @ (torch.eye(k, dtype=z.dtype) - 1 / k) / k / n
    found = without(others, limit_of_gradient, z, t)
    assert (found - exact).abs().max() < 1e-12  # a softmax at some high temperature comes no closer than 1e-8
### END HIDDEN TESTS

# %% [markdown]
# **To think about.** With two outputs, logits $(a, b)$ and $(a + c, b + c)$ mean the same. Does the distillation loss
# hold the network's $c$? And would the squared distance of the logits?
