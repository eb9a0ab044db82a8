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
# # Exercise: an honest comparison
#
# **Goal.** Two agents, ten seeds, a few hundred test images: is one better? You write the intervals and tests that
# answer it, and see what goes wrong when pairs are torn apart, images of one photograph are counted as many, or the
# best of many comparisons is reported.
#
# **You need** numpy, scipy, and notebook 08. About 60 minutes, 11 points. <!-- setting -->
#
# Write where it says `your code here`, and run the cell with the tests below it: what it prints or complains about is
# for you. When your work is graded, the same cells run with more cases of the same kind. Later tasks may call what you
# wrote in earlier ones, so mend a mistake where it begins.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import numpy as np
import pandas as pd
from scipy import stats


def invented_runs(seed=0, seeds=10, difference=0.02, shared=0.05, own=0.01):
    """Accuracies of two agents, a row for each seed; what a seed does to both is larger than what they differ by."""
    rng = np.random.default_rng(seed)
    both = 0.8 + shared * rng.normal(size=seeds)
    first = pd.DataFrame({"seed": np.arange(seeds), "accuracy": both + own * rng.normal(size=seeds)})
    second = pd.DataFrame({"seed": np.arange(seeds), "accuracy": both - difference + own * rng.normal(size=seeds)})
    return first, second.sample(frac=1, random_state=seed).reset_index(drop=True)


def invented_images(seed=0, photographs=25, most=20):
    """Whether the verdict on each image is right (0 or 1), and which photograph the image is from."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, most + 1, photographs)
    groups = np.repeat(np.arange(photographs), counts)
    return (rng.uniform(size=len(groups)) < rng.beta(2, 0.6, photographs)[groups]).astype(int), groups


# %% nbgrader={"grade": false, "grade_id": "setup-2", "locked": true, "schema_version": 3, "solution": false, "task": false}
def close(found, wanted, tolerance=1e-6):
    """Whether numbers agree; prints those that do not."""
    found = np.asarray(found, float)
    right = found.shape == np.shape(wanted) and np.allclose(found, wanted, atol=tolerance, rtol=0)
    if not right:
        print(f"found {found}, wanted {wanted}")
    return bool(right)


# %% [markdown]
# ## 1 A mean and how far to trust it
#
# Of $n$ values with mean $m$ and standard deviation $s$ (with $n - 1$ in the denominator), the 95 % **t interval** is
# $m \pm t\, s / \sqrt{n}$, where $t$ is the 0.975 quantile of Student's t with $n - 1$ degrees of freedom.
# <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# `np.std` divides by $n$ unless you say otherwise.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `ddof=1` says otherwise.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `stats.t.ppf(0.975, n - 1)` is the quantile. For five values it is not 1.96. <!-- setting -->
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "interval", "locked": false, "schema_version": 3, "solution": true, "task": false}
def t_interval(values):
    """Mean, lower and upper end of the 95 % t interval."""
    ### BEGIN SOLUTION
    values = np.asarray(values, float)
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean(), values.mean() - reach, values.mean() + reach
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-interval", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
first, second = invented_runs()
print("first: ", np.round(t_interval(first["accuracy"]), 3))
print("second:", np.round(t_interval(second["accuracy"]), 3))
assert close(t_interval([1.0, 3.0]), [2, 2 - 12.706204736174698, 2 + 12.706204736174698])
### BEGIN HIDDEN TESTS
for seed in range(3):
    values = np.random.default_rng(seed).normal(size=4 + seed)
    ends = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    assert close(t_interval(values), [values.mean(), *ends])
### END HIDDEN TESTS

# %% [markdown]
# ## 2 Pairs
#
# The intervals overlap widely. But both agents have run with the *same* seeds, and a seed that is unlucky (with its
# order of images, and first weights) is so for both. So look at the difference of each seed. Write `paired`: mean
# difference (first minus second), its t interval, and the p of the t test whether the mean difference is 0. The tables
# need not have their seeds in the same order.
#
# <details><summary>Hint 1</summary>
#
# Bring the rows together by seed before you subtract.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `first.merge(second, on="seed")`, or `set_index("seed")` of both: pandas subtracts by index.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The test is that of one sample: $t = m / (s / \sqrt{n})$ of the differences, and $p$ is the probability beyond $|t|$,
# on both sides together; or `stats.ttest_1samp`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "paired", "locked": false, "schema_version": 3, "solution": true, "task": false}
def paired(first, second):
    """Mean difference over seeds, lower and upper end, and p; the tables have columns seed and accuracy."""
    ### BEGIN SOLUTION
    difference = first.set_index("seed")["accuracy"] - second.set_index("seed")["accuracy"]
    return *t_interval(difference), stats.ttest_1samp(difference, 0).pvalue
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-paired", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
first, second = invented_runs()
print("difference, ends, p:", np.round(paired(first, second), 4))
print("p, if pairs are torn apart:", round(stats.ttest_ind(first["accuracy"], second["accuracy"]).pvalue, 2))
assert len(paired(first, second)) == 4
### BEGIN HIDDEN TESTS
for seed in range(4):
    first, second = invented_runs(seed, seeds=5 + seed, difference=0.01 * seed)
    both = first.merge(second, on="seed")
    difference = (both["accuracy_x"] - both["accuracy_y"]).to_numpy()
    ends = stats.t.interval(0.95, len(difference) - 1, difference.mean(), stats.sem(difference))
    p = stats.ttest_rel(both["accuracy_x"], both["accuracy_y"]).pvalue
    assert close(paired(first, second), [difference.mean(), *ends, p])
### END HIDDEN TESTS

# %% [markdown]
# ## 3 Groups
#
# Within one run, how far does the accuracy hang on the test images? Images cut from one **photograph** are alike: if
# one is judged wrongly, so are its neighbours. Twenty of them are not twenty independent witnesses. The **bootstrap
# over groups** draws as many photographs as there are, with replacement, takes all images of each as often as it was
# drawn, and computes the accuracy of these images. Write it; return the accuracy of each draw. Then `width`: how wide
# is the 95 % interval, from the 2.5th to the 97.5th percentile of the draws? A point each is for the width, the mean of
# the draws, their spread, and photographs that have names in place of numbers. <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# Photographs have different numbers of images, so the accuracy of a draw is all right ones by all images, not the mean
# of the photographs' accuracies.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For each photograph you need only two numbers: its images, and how many of them are right.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `rng.integers(G, size=G)` are the photographs of one draw. The sum of their right ones, by the sum of their images.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "bootstrap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def group_bootstrap(right, groups, draws, rng):
    """The accuracy of each draw, float (draws,); right is 0 or 1 and groups a photograph's name for each image."""
    ### BEGIN SOLUTION
    names, place = np.unique(groups, return_inverse=True)
    images, correct = np.bincount(place), np.bincount(place, weights=right)
    drawn = rng.integers(len(names), size=(draws, len(names)))
    return correct[drawn].sum(1) / images[drawn].sum(1)
    ### END SOLUTION


def width(accuracies):
    """The width of the 95 % percentile interval."""
    ### BEGIN SOLUTION
    low, high = np.percentile(accuracies, [2.5, 97.5])
    return high - low
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-bootstrap", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
def gives(function, *arguments):
    """What a function gives, or a number that is none if it raises an error, which is printed."""
    try:
        return np.asarray(function(*arguments), float)
    except Exception as error:
        print(f"{function.__name__}: {error!r}")
        return np.array(np.nan)


right, groups = invented_images()
found = gives(group_bootstrap, right, groups, 2000, np.random.default_rng(0))
print("accuracy", right.mean().round(3), "width over photographs:", gives(width, found).round(3))
single = gives(group_bootstrap, right, np.arange(len(right)), 2000, np.random.default_rng(0))
print("width, if every image counts as a photograph of its own:", gives(width, single).round(3))
print(
    "a number for each draw:", found.shape == (2000,), "and all from 0 to 1:", bool(((found >= 0) & (found <= 1)).all())
)
### BEGIN HIDDEN TESTS
# a point each: the width, the mean of the draws, their spread, and names instead of numbers
points = int(close(gives(width, np.linspace(0, 1, 1001)), 0.95))
means, spreads = [], []
for seed in range(3):
    right, groups = invented_images(seed + 5)
    parts = pd.Series(right).groupby(groups).agg(["sum", "size"]).to_numpy()
    rng = np.random.default_rng(seed)
    wanted = []
    for _ in range(4000):
        chosen = parts[rng.integers(len(parts), size=len(parts))].sum(0)
        wanted.append(chosen[0] / chosen[1])
    found = gives(group_bootstrap, right, groups, 4000, np.random.default_rng(seed + 100))
    spreads.append(found.shape == (4000,) and abs(found.std() / np.std(wanted) - 1) < 0.08)
    means.append(abs(found.mean() - np.mean(wanted)) < 0.15 * np.std(wanted))
points += int(all(means)) + int(all(spreads))
names = np.array([f"photograph {group}" for group in groups])[::-1]
found = gives(group_bootstrap, right[::-1], names, 4000, np.random.default_rng(1))
points += int(all(spreads) and abs(found.std() / np.std(wanted) - 1) < 0.08)
points
### END HIDDEN TESTS

# %% [markdown]
# ## 4 Many comparisons
#
# Whoever compares ten pairs of agents finds about one $p$ below 0.1 where nothing differs. **Holm's** correction keeps
# the probability of any false alarm below the level: sort the $m$ p-values, multiply the smallest with $m$, the next
# with $m - 1$ and so on, let none be smaller than the one before it, and none larger than 1. Return them in the order
# in which they came. <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# `np.argsort` gives the order; `p[order]` is sorted.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `np.maximum.accumulate` keeps the largest so far.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Back into the old order: `result[order] = corrected`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "holm", "locked": false, "schema_version": 3, "solution": true, "task": false}
def holm(p):
    """Holm's corrected p-values, in the order of the given ones."""
    ### BEGIN SOLUTION
    p = np.asarray(p, float)
    order = np.argsort(p)
    result = np.empty(len(p))
    result[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return result
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-holm", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
print(holm([0.04, 0.01, 0.03]))
assert close(holm([0.2]), [0.2])
### BEGIN HIDDEN TESTS
from cldf_core.evaluation.seeds import holm as of_the_package

for seed in range(4):
    p = np.random.default_rng(seed).uniform(size=6) ** 3
    assert close(holm(list(p)), of_the_package(p))
assert close(holm([0.01, 0.011, 0.5]), [0.03, 0.03, 0.5])
### END HIDDEN TESTS

# %% [markdown]
# **To think about.** Ten seeds with the same training photographs: for which other runs do your intervals speak, and
# for which do they not?
