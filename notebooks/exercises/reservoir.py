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
# # Exercise: a memory that is fair to all images
#
# **Goal.** You write the reservoir, the memory of experience replay, prove that it keeps every image with the same
# probability, and write a test that finds a reservoir which does not.
#
# **You need** numpy, and notebook 07 up to "Which images to keep? The reservoir". About 60 minutes,
# 10 points. <!-- setting -->
#
# Write where it says `your code here`, and run the cell with the tests below it: what it prints or complains about is
# for you. When your work is graded, the same cells run with more cases of the same kind. Later tasks may call what you
# wrote in earlier ones, so mend a mistake where it begins.
#
# Images arrive one by one, nobody knows how many there will be, and only `capacity` of them can be kept. The
# **reservoir** (Vitter's algorithm R, 1985) does this:
#
# * The first `capacity` images are kept.
# * When the $t$-th image arrives ($t$ counts from 1 and includes it) and the memory is full, a whole number from 0 to
#   $t - 1$ is drawn, each with the same probability. If it is the number of a slot, the new image takes that slot, and
#   what was there is gone. If not, the new image is not kept.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import numpy as np
from scipy import stats


def kept(kind, capacity, images, runs, seed=0):
    """How often each image was in the memory at the end, of so many runs; int, shape (images,)."""
    counts = np.zeros(images, int)
    rng = np.random.default_rng(seed)
    for _ in range(runs):
        memory = kind(capacity, rng)
        for image in range(images):
            memory.offer(image)
        for image in memory.items:
            counts[image] += 1
    return counts


# %% [markdown]
# ## 1 Why it is fair
#
# Let $k$ be the capacity. Two probabilities are all that is needed:
#
# * `enters(k, t)`: that the $t$-th image is kept when it arrives.
# * `survives(k, t)`: that an image which is in the memory is still there after the $t$-th has arrived.
#
# Derive both, for $t \le k$ too, and write them as functions. Then multiply: image $t$ is there after $n$ images if it
# enters and survives all later arrivals,
#
# $$P(t, n) = \text{enters}(k, t) \prod_{s=t+1}^{n} \text{survives}(k, s).$$
#
# On paper, nearly all of the product cancels. Write what is left of it as `stays(k, t, n)`, *without a loop*.
#
# <details><summary>Hint 1</summary>
#
# With $t \le k$ there is room, and nobody has to go.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A certain image goes when exactly its slot is drawn: one of $t$ numbers.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Write $1 - 1/s$ as one fraction, and the product from $t + 1$ to $n$ below each other: each numerator meets the
# denominator before it. And there is a case where $n$ is not above $k$.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "probabilities", "locked": false, "schema_version": 3, "solution": true, "task": false}
def enters(k, t):
    """The probability that image t, counted from 1, is kept when it arrives."""
    ### BEGIN SOLUTION
    return min(1, k / t)
    ### END SOLUTION


def survives(k, t):
    """The probability that an image in the memory is still there after image t has arrived."""
    ### BEGIN SOLUTION
    return 1 - 1 / t if t > k else 1
    ### END SOLUTION


def stays(k, t, n):
    """The probability that image t is in the memory after n images, t <= n; without a loop."""
    ### BEGIN SOLUTION
    return min(1, k / n)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-probabilities", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
def shown(function, *arguments):
    """What a function gives, or what is wrong with it."""
    try:
        return function(*arguments)
    except Exception as error:
        return repr(error)


ways = shown(lambda: enters(3, 5) * survives(3, 6) * survives(3, 7)), shown(stays, 3, 5, 7)
print("image 5 of 7, three slots:", *ways)
cases = {"enters": [(3, 2)], "survives": [(3, 2)], "stays": [(3, 1, 2)]}
right = {"enters": [1], "survives": [1], "stays": [1]}
### BEGIN HIDDEN TESTS
import sys

many = [(k, t) for k in (1, 2, 7) for t in range(1, 20)]
ends = [(k, t, n) for k, t in many for n in range(t, 25)]
cases = {"enters": many, "survives": many, "stays": ends}
right["enters"] = [1 if t <= k else k / t for k, t in many]
right["survives"] = [1 if t <= k else (t - 1) / t for k, t in many]
right["stays"] = [min(1, k / n) for k, _, n in ends]


def steps(function, *arguments):
    """How many lines of Python a call runs."""
    count = 0

    def step(*_):
        nonlocal count
        count += 1
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return count


def without_loop():  # nor with an array of all terms, which has no room for so many
    return steps(stays, 3, 5, 200) == steps(stays, 3, 5, 20) and np.isclose(stays(3, 5, 10**15), 3e-15, atol=1e-20)


loops = "" if shown(without_loop) in (True, np.True_) else "stays"
### END HIDDEN TESTS
points = 0
for name, function in {"enters": enters, "survives": survives, "stays": stays}.items():
    found = shown(lambda function=function, name=name: [function(*case) for case in cases[name]])
    passed = isinstance(found, list) and np.allclose(found, right[name])
    ### BEGIN HIDDEN TESTS
    passed = passed and name != loops
    ### END HIDDEN TESTS
    points += int(passed)
    print(name, "–", "right so far" if passed else "not yet right")
points

# %% [markdown]
# ## 2 The reservoir
#
# Write the class. `items` is a list of what is kept, in any order. All that is random comes from `rng`, a
# `np.random.Generator`, so that a run can be repeated.
#
# <details><summary>Hint 1</summary>
#
# You need one number more than what is kept: how many images were offered so far.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `rng.integers(n)` draws from 0 to n − 1. Does your count already include the new image when you draw?
#
# </details>
# <details><summary>Hint 3</summary>
#
# Three cases: there is room; there is none and a slot was drawn; there is none and something beyond the slots was.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "reservoir", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Reservoir:
    """Keeps each item ever offered with the same probability; `items` is a list of at most `capacity`."""

    def __init__(self, capacity, rng):
        ### BEGIN SOLUTION
        self.capacity, self.rng = capacity, rng
        self.items, self.seen = [], 0
        ### END SOLUTION

    def offer(self, item):
        ### BEGIN SOLUTION
        self.seen += 1
        if len(self.items) < self.capacity:
            self.items.append(item)
            return
        slot = self.rng.integers(self.seen)
        if slot < self.capacity:
            self.items[slot] = item
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-reservoir", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
memory = Reservoir(4, np.random.default_rng(1))
for image in range(4):
    memory.offer(image)
assert sorted(memory.items) == [0, 1, 2, 3], "the first ones fill the memory"
for image in range(4, 200):
    before = set(memory.items)
    memory.offer(image)
    assert len(memory.items) == len(set(memory.items)) == 4
    assert set(memory.items) <= before | {image}, "what is gone does not come back"
counts = kept(Reservoir, 3, 12, 1000)
print("of 1000 runs, image by image:", counts)
### BEGIN HIDDEN TESTS
for capacity, images in ((3, 12), (1, 5), (5, 9)):
    counts = kept(Reservoir, capacity, images, 3000, seed=7)
    share = capacity / images
    spread = np.sqrt(3000 * share * (1 - share))
    assert np.abs(counts - 3000 * share).max() < 4.5 * spread, "some images are kept more often than others"
pairs = np.zeros((4, 4))
rng = np.random.default_rng(3)
for _ in range(3000):
    memory = Reservoir(2, rng)
    for image in range(4):
        memory.offer(image)
    pairs[tuple(sorted(memory.items))] += 1
assert np.abs(pairs[np.triu_indices(4, 1)] - 500).max() < 4.5 * np.sqrt(3000 / 6 * 5 / 6), "not all pairs are alike"
assert (kept(Reservoir, 3, 12, 20, seed=5) == kept(Reservoir, 3, 12, 20, seed=5)).all(), "other draws than rng's"
### END HIDDEN TESTS

# %% [markdown]
# ## 3 A test that finds an unfair one
#
# Two classes in the next cell look like reservoirs and are none. Counts that differ a little prove nothing: chance
# makes them differ. How much may they? In each run, exactly $k$ of $n$ images are kept, so the counts of one run hang
# together: a fair memory is a draw without replacement. For $R$ runs, the counts $c_1, \dots, c_n$ and $p = k/n$, the
# statistic
#
# $$X = \frac{n - 1}{n} \sum_{i=1}^{n} \frac{(c_i - R p)^2}{R\, p\, (1 - p)}$$
#
# has, for many runs of a fair memory, the **chi-squared distribution** with $n - 1$ degrees of freedom. The **p-value**
# is the probability that a fair memory gives a value at least as large. Write it.
#
# <details><summary>Hint 1</summary>
#
# Everything in the formula is there: $n$ is the length of `counts`, and $k$ follows from the counts' sum and the runs.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `scipy.stats` has the distribution: `stats.chi2`. Which of its functions gives the probability of *more*?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `stats.chi2.sf(X, degrees)` is the "survival function", 1 minus the distribution function.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "unfair", "locked": true, "schema_version": 3, "solution": false, "task": false}
class ByBatches:
    """A reservoir with a mistake of a real code: within a batch of ten it does not go on counting."""

    def __init__(self, capacity, rng):
        self.capacity, self.rng, self.items, self.seen = capacity, rng, [], 0

    def offer(self, item):
        self.seen += 1
        if len(self.items) < self.capacity:
            self.items.append(item)
            return
        slot = self.rng.integers(max(self.seen - (self.seen - 1) % 10 - 1, self.capacity))
        if slot < self.capacity:
            self.items[slot] = item


# %% nbgrader={"grade": false, "grade_id": "unfair-2", "locked": true, "schema_version": 3, "solution": false, "task": false}
class OldestGoes:
    """A memory that takes a new image with the right probability, and lets the one go that has been there longest."""

    def __init__(self, capacity, rng):
        self.capacity, self.rng, self.items, self.seen = capacity, rng, [], 0

    def offer(self, item):
        self.seen += 1
        if len(self.items) == self.capacity and self.rng.random() >= self.capacity / self.seen:
            return
        self.items = [*self.items, item][-self.capacity :]


# %% nbgrader={"grade": false, "grade_id": "fairness", "locked": false, "schema_version": 3, "solution": true, "task": false}
def p_value(counts, runs):
    """The probability that a fair memory gives counts that differ at least as much; counts int, shape (images,)."""
    ### BEGIN SOLUTION
    n, p = len(counts), counts.sum() / runs / len(counts)
    statistic = (n - 1) / n * ((counts - runs * p) ** 2).sum() / (runs * p * (1 - p))
    return stats.chi2.sf(statistic, n - 1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-fairness", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
for kind in (ByBatches, OldestGoes):
    print(kind.__name__, p_value(kept(kind, 5, 40, 2000), 2000))
assert p_value(np.array([50, 50, 50, 50]), 100) == 1, "no difference at all is what every memory reaches at least"
### BEGIN HIDDEN TESTS
rng = np.random.default_rng(11)
fair = [rng.permuted(np.tile(np.arange(n) < k, (60, 1)), axis=1).sum(0) for n, k in [(8, 3)] * 40 + [(5, 1)] * 40]
for counts in fair:
    n, p = len(counts), counts.sum() / 60 / len(counts)
    statistic = (n - 1) / n * ((counts - 60 * p) ** 2).sum() / (60 * p * (1 - p))
    assert np.isclose(p_value(counts, 60), 1 - stats.chi2.cdf(statistic, n - 1)), "that is another formula"
assert p_value(np.array([100, 40, 30, 30]), 100) < 1e-6
### END HIDDEN TESTS

# %%
for seed in range(5):
    print("your reservoir:", p_value(kept(Reservoir, 5, 40, 1000, seed), 1000))

# %% [markdown]
# Run by run, your own reservoir should give small p-values as rarely as their size says. If `ByBatches` or `OldestGoes`
# looks fair to you: with how many runs? A mistake that is small needs many.
#
# ## 4 What it means for a stream of domains
#
# A stream has three domains with 600, 200 and 200 images, and the memory has 50 slots. Each image is offered once. How
# many images of each domain do you *expect* in the memory at the end? And how many of the first one right after the
# second domain? And what if, by mistake, every image is offered once in each of ten epochs, domain by domain: how many
# *different* images of the first domain can be expected at the end, more, fewer or as many? <!-- example -->
#
# <details><summary>Hint 1</summary>
#
# Every image has the same chance, so only numbers of images count.
#
# </details>
# <details><summary>Hint 2</summary>
#
# After the second domain there were 800. <!-- example -->
#
# </details>
# <details><summary>Hint 3</summary>
#
# Offered ten times, an image is ten items to the reservoir, and two of them may be kept at once.
#
# </details>

# %% nbgrader={"grade": false, "grade_id": "domains", "locked": false, "schema_version": 3, "solution": true, "task": false}
expected_at_the_end = None  # a list of three numbers
expected_of_first_after_second = None  # a number
different_with_ten_epochs = None  # "more", "fewer" or "as many"
### BEGIN SOLUTION
expected_at_the_end = [30, 10, 10]
expected_of_first_after_second = 37.5
different_with_ten_epochs = "fewer"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "test-domains", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
three = expected_at_the_end if expected_at_the_end is not None else [0, 0, 50]
second = expected_of_first_after_second or 0
assert len(three) == 3
assert np.isclose(sum(three), 50), "the memory is full"
assert different_with_ten_epochs in (None, "more", "fewer", "as many")
### BEGIN HIDDEN TESTS
points = 1.0 * np.allclose(three, [30, 10, 10])
points += 0.5 * np.isclose(second, 37.5)
points += 0.5 * (different_with_ten_epochs == "fewer")
float(points)
### END HIDDEN TESTS
