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
# # Exercise: GDumb's sampler
#
# **Goal.** You write the greedy sampler that keeps GDumb's memory balanced, follow it by hand, and find out what it
# does to groups that come late, are small, or are badly chosen.
#
# **You need** numpy, and notebook 05 up to "Which images to keep? A greedy, balanced choice". About 45 minutes,
# 10 points. <!-- setting -->
#
# Write where it says `your code here`, and run the cell with the tests below it: what it prints or complains about is
# for you. When your work is graded, the same cells run with more cases of the same kind. Later tasks may call what you
# wrote in earlier ones, so mend a mistake where it begins.
#
# Images arrive one by one. Each belongs to a **group**: here, a pair of domain and class. The memory has `capacity`
# slots. The rule (Prabhu, Torr & Dokania, ECCV 2020, algorithm 1), when an image of group $g$ arrives:
#
# * Let $G$ be the number of groups met so far, including $g$. A group's **share** is capacity / $G$; it need not be
#   whole.
# * If the memory holds fewer images of $g$ than the share, the image is taken; else it is not.
# * If it is taken and there is no free slot, a random image of the **largest** group goes (of several largest, any).

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
from collections import Counter

import numpy as np


def groups_kept(kind, capacity, stream, seed=0):
    """How many images of each group a memory holds after a stream of groups."""
    memory = kind(capacity, np.random.default_rng(seed))
    for number, group in enumerate(stream):
        memory.offer(group, number)
    return dict(Counter(group for group, _ in memory.items))


def stream_of(*parts, seed=None):
    """A stream of groups: stream_of(("a", 3), ("b", 2)) is a a a b b; a seed shuffles it."""
    stream = [group for group, count in parts for _ in range(count)]
    return stream if seed is None else list(np.random.default_rng(seed).permutation(stream))


# %% [markdown]
# ## 1 By hand
#
# A memory of 4 slots. The groups arrive in this order: `a a a a a b b b c`. How many images of each group does the
# memory hold after the 5th, after the 6th, after the 8th, and after the last image? <!-- example -->
#
# <details><summary>Hint 1</summary>
#
# While there is one group, its share is the whole memory.
#
# </details>
# <details><summary>Hint 2</summary>
#
# When the first `b` arrives, $G$ becomes two. It does not throw out more than one `a`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# With three groups the share is $4/3$: a group that holds one image is below it. The largest group pays.
#
# </details>

# %% nbgrader={"grade": false, "grade_id": "by-hand", "locked": false, "schema_version": 3, "solution": true, "task": false}
# The number of images of each group, such as {"a": 1, "b": 2}.
after_5 = {}
after_6 = {}
after_8 = {}
after_9 = {}
### BEGIN SOLUTION
after_5 = {"a": 4}
after_6 = {"a": 3, "b": 1}
after_8 = {"a": 2, "b": 2}
after_9 = {"a": 1, "b": 2, "c": 1}  # or "a": 2, "b": 1
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "test-by-hand", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
for counts in (after_5, after_6, after_8, after_9):
    assert sum(counts.values()) == 4, "the memory is full"
### BEGIN HIDDEN TESTS
given = [{group: n for group, n in counts.items() if n} for counts in (after_5, after_6, after_8, after_9)]
wanted = [[{"a": 4}], [{"a": 3, "b": 1}], [{"a": 2, "b": 2}], [{"a": 1, "b": 2, "c": 1}, {"a": 2, "b": 1, "c": 1}]]
points = sum(0.5 * (counts in right) for counts, right in zip(given, wanted, strict=True))
float(points)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 The sampler
#
# Write the class. `items` is a list of pairs (group, image), in any order; all that is random comes from `rng`, a
# `np.random.Generator`. A point each: it works; groups that come late, and small ones; groups that have their share;
# shares that are not whole; a random one goes, by `rng` alone.
#
# <details><summary>Hint 1</summary>
#
# Count the groups in `items` anew with each offer: it is slow, and clear. `collections.Counter` counts.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A group that was met counts in $G$, even if none of its images is kept. Can that happen?
#
# </details>
# <details><summary>Hint 3</summary>
#
# For the one that goes: the places in `items` of the largest group, and `rng.choice` or `rng.integers` among them.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "sampler", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Balanced:
    """GDumb's greedy balanced sampler; `items` is a list of at most `capacity` pairs (group, image)."""

    def __init__(self, capacity, rng):
        ### BEGIN SOLUTION
        self.capacity, self.rng = capacity, rng
        self.items, self.met = [], set()
        ### END SOLUTION

    def offer(self, group, image):
        ### BEGIN SOLUTION
        self.met.add(group)
        counts = Counter(kept for kept, _ in self.items)
        if counts[group] >= self.capacity / len(self.met):
            return
        if len(self.items) == self.capacity:
            largest = max(counts, key=counts.get)
            places = [place for place, (kept, _) in enumerate(self.items) if kept == largest]
            del self.items[places[self.rng.integers(len(places))]]
        self.items.append((group, image))
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-sampler", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
print("a a a a a b b b c:", groups_kept(Balanced, 4, "aaaaabbbc"))
assert groups_kept(Balanced, 4, "aaa") == {"a": 3}
assert groups_kept(Balanced, 4, "aaaaab") == {"a": 3, "b": 1}


### BEGIN HIDDEN TESTS
def late(seed):
    kept = groups_kept(Balanced, 30, stream_of(("a", 100), ("b", 100), ("c", 100)), seed)
    return sorted(kept.values()) == [10, 10, 10]


def full():  # who has its share takes no more, not even in exchange
    memory = Balanced(4, np.random.default_rng(0))
    for image in range(50):
        memory.offer("a", image)
    return {image for _, image in memory.items} == set(range(4))


def small(seed):
    kept = groups_kept(Balanced, 40, stream_of(("a", 200), ("b", 3), ("c", 200), seed=seed), seed)
    return kept["b"] == 3


def fractions(seed):  # a share of 10/4 admits a third image
    kept = groups_kept(Balanced, 10, stream_of(*((g, 50) for g in "abcd"), seed=seed), seed)
    return sorted(kept.values()) == [2, 2, 3, 3]


def victims():
    counts = np.zeros(6)
    rng = np.random.default_rng(8)
    for _ in range(1500):
        memory = Balanced(6, rng)
        for image in range(6):
            memory.offer("a", image)
        memory.offer("b", 6)
        left = {image for _, image in memory.items}
        counts[[image for image in range(6) if image not in left]] += 1
    return counts.sum() == 1500 and np.abs(counts - 250).max() < 4.5 * np.sqrt(1500 / 6 * 5 / 6)


def repeatable():
    return [items_of(5) == items_of(5) for _ in range(9)].count(False) == 0


def items_of(seed):
    memory = Balanced(6, np.random.default_rng(seed))
    for image in range(40):
        memory.offer("abc"[image // 14], image)
    return sorted(memory.items)


points = 1
for name, passed in (
    ("groups that come late, and small ones", all(map(late, range(5))) and all(map(small, range(5)))),
    ("groups that have their share", full()),
    ("shares that are not whole", all(map(fractions, range(5)))),
    ("a random one goes", victims() and repeatable()),
):
    print(name, "–", "right" if passed else "not yet right")
    points += int(passed)
points
### END HIDDEN TESTS

# %% [markdown]
# ## 3 What it means
#
# Answer with numbers. Your sampler can check you, but think first. The memory has 100 slots. <!-- example -->
#
# * `small_group`: a stream of two groups, first 1000 images of one, then 7 of the other. How many of the 7 are kept?
#   <!-- example -->
# * `late_group`: four groups of 500 images each, one after the other. How many images of the *first* are kept at the
#   end? <!-- example -->
# * `by_class`: someone makes the groups of the class alone, real and fake, with three domains of 500 reals and 500
#   fakes each, one domain after the other. How many images of the second and third domain are kept at the end?
#   <!-- example -->
#
# <details><summary>Hint 1</summary>
#
# A group below its share takes all it gets.
#
# </details>
# <details><summary>Hint 2</summary>
#
# At the end of the four, all have the same share.
#
# </details>
# <details><summary>Hint 3</summary>
#
# With two groups, both are at their share when the first domain is over. What has to happen for one more to come in?
#
# </details>

# %% nbgrader={"grade": false, "grade_id": "meaning", "locked": false, "schema_version": 3, "solution": true, "task": false}
small_group = None
late_group = None
by_class = None
### BEGIN SOLUTION
small_group = 7
late_group = 25
by_class = 0
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "test-meaning", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert 0 <= small_group <= 7
assert 0 <= late_group <= 100
assert 0 <= by_class <= 100
### BEGIN HIDDEN TESTS
points = int(small_group == 7) + int(late_group == 25) + int(by_class == 0)
points
### END HIDDEN TESTS

# %% [markdown]
# **To think about.** A reservoir holds every image with the same probability, this memory every *group*. When would you
# rather have which? And why does this one have free slots at the end, if a small group comes early?
