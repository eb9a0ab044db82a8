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
# # Exercise: forgetting and transfer from a matrix
#
# **Goal.** You make the matrix of a continual-learning run from scores of single images, and from the matrix the
# numbers that such runs are compared by. You prove how two of them are related, and build a matrix that tells them
# apart.
#
# **You need** numpy and pandas, and notebook 03. About 40 minutes, 10 points. <!-- setting -->
#
# Write where it says `your code here`, and run the cell with the tests below it: what it prints or complains about is
# for you. When your work is graded, the same cells run with more cases of the same kind. Later tasks may call what you
# wrote in earlier ones, so mend a mistake where it begins.
#
# An agent learns $T$ domains one after another. $R_{t,i}$ is its accuracy on the test images of domain $i$ right after
# it has learned domain $t$; both count from 0 in the code, so row 0 is after the first domain.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import itertools

import numpy as np
import pandas as pd

example = np.array([[0.9, 0.5, 0.6, 0.4], [0.7, 0.8, 0.7, 0.5], [0.8, 0.6, 0.9, 0.5], [0.6, 0.7, 0.8, 1.0]])
rng = np.random.default_rng(4)


def count_right(function, cases):
    """How many of the cases, arguments and what must come out, a function gets right; prints the first that fails."""
    right = 0
    for *arguments, wanted in cases:
        try:
            found = function(*arguments)
            passed = np.shape(found) == np.shape(wanted) and np.allclose(found, wanted)
        except Exception as error:
            found, passed = error, False
        right += passed
        if not passed:
            print(f"{function.__name__}: {found!r}, but {wanted!r} is right for\n{arguments[0]}")
            break
    return right == len(cases)


# %% [markdown]
# ## 1 From scores to the matrix
#
# `scores` has a row for each test image after each step: `step`, `domain` (both from 0), `label` (1 is fake) and
# `score`, the P(fake) that the network gives. The verdict is "fake" from 0.5 on. Write `matrix`.
#
# <details><summary>Hint 1</summary>
#
# Make a column first that says whether the verdict is right.
#
# </details>
# <details><summary>Hint 2</summary>
#
# An accuracy is the mean of that column, over all rows of one step and one domain.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `groupby` with two columns, then `unstack`, is a table of steps and domains.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "matrix", "locked": false, "schema_version": 3, "solution": true, "task": false}
def matrix(scores):
    """R, float, shape (steps, domains), from a table with step, domain, label and score."""
    ### BEGIN SOLUTION
    right = (scores["score"] >= 0.5) == (scores["label"] == 1)
    return right.groupby([scores["step"], scores["domain"]]).mean().unstack().to_numpy()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-matrix", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
tiny = pd.DataFrame(
    [(0, 0, 1, 0.9), (0, 0, 0, 0.2), (0, 1, 1, 0.1), (0, 1, 0, 0.6), (1, 0, 1, 0.7), (1, 0, 0, 0.8), (1, 1, 1, 1.0)],
    columns=["step", "domain", "label", "score"],
)
assert np.allclose(matrix(tiny), [[1, 0], [0.5, 1]]), matrix(tiny)
### BEGIN HIDDEN TESTS
edge = pd.DataFrame({"step": [0] * 3, "domain": [0] * 3, "label": [1, 1, 0], "score": [0.5] * 3})
assert np.allclose(matrix(edge), [[2 / 3]])
rows = [(t, i, *image) for t, i in itertools.product(range(3), range(3)) for image in rng.uniform(size=(7 + i, 2))]
many = pd.DataFrame(rows, columns=["step", "domain", "label", "score"]).sample(frac=1, random_state=1)
many["label"] = (many["label"] > 0.6).astype(int)
wanted = np.zeros((3, 3))
for t, i in itertools.product(range(3), range(3)):
    part = many[(many["step"] == t) & (many["domain"] == i)]
    wanted[t, i] = np.mean([(s >= 0.5) == bool(y) for s, y in zip(part["score"], part["label"], strict=True)])
assert np.allclose(matrix(many), wanted)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 Four numbers
#
# * **Average accuracy**: the mean of the last row.
# * **Forgetting**: for each domain but the last, the best accuracy that the agent had on it *after any step from the
#   one that learned the domain to the last but one*, minus the accuracy at the end; the mean over these domains.
# * **Backward transfer**: for each domain but the last, the accuracy at the end minus that right after the domain was
#   learned; the mean over these domains. Negative if later domains have harmed it.
# * **Forward transfer**: for each domain but the first, the accuracy right *before* it is learned, minus 0.5, which is
#   guessing; the mean over these domains.
#
# <details><summary>Hint 1</summary>
#
# `np.diagonal(R)` is what was right after learning; its `offset` gives the diagonals beside it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For forgetting, take domain by domain: which rows of column $i$ may be the best?
#
# </details>
# <details><summary>Hint 3</summary>
#
# Rows $i$ to $T - 2$. What stands above the diagonal was not yet learned, and the last row is what is compared with.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "numbers", "locked": false, "schema_version": 3, "solution": true, "task": false}
def average(R):
    ### BEGIN SOLUTION
    return R[-1].mean()
    ### END SOLUTION


def forgetting(R):
    ### BEGIN SOLUTION
    last = len(R) - 1
    return np.mean([R[i:last, i].max() - R[last, i] for i in range(last)])
    ### END SOLUTION


def backward_transfer(R):
    ### BEGIN SOLUTION
    return (R[-1] - np.diagonal(R))[:-1].mean()
    ### END SOLUTION


def forward_transfer(R):
    ### BEGIN SOLUTION
    return np.diagonal(R, offset=1).mean() - 0.5
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-numbers", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
wanted = {average: 0.775, forgetting: 0.5 / 3, backward_transfer: -0.5 / 3, forward_transfer: 0.2 / 3}
cases = {function: [(example, value)] for function, value in wanted.items()}
### BEGIN HIDDEN TESTS
from cldf_core.evaluation.metrics import continual

names = ("average", "forgetting (max-last)", "backward transfer", "forward transfer")
for T in (2, 3, 6):
    for _ in range(5):
        R = rng.uniform(size=(T, T))
        for function, name in zip(wanted, names, strict=True):
            cases[function].append((R, float(continual(R)[name])))
### END HIDDEN TESTS
points = sum(int(count_right(function, cases[function])) for function in cases)
points

# %% [markdown]
# ## 3 How two of them are related
#
# Show on paper that forgetting is never less than minus the backward transfer. When are they equal? Then prove that you
# have understood with two matrices of three domains and values from 0 to 1:
#
# * `hidden`: the backward transfer is 0, and the forgetting is 0.3. <!-- setting -->
# * `gained`: the forgetting is −0.2 (yes, it can be negative). <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# Both compare the same last row with something. With what?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The accuracy right after learning is one of those over which the best is taken. So they are equal where nothing
# better came in between, domain by domain.
#
# </details>
# <details><summary>Hint 3</summary>
#
# With three domains there is only one accuracy "in between": of the first domain, after the second step. Let it be
# higher. For the other, let the last row be the best.
#
# </details>

# %% nbgrader={"grade": false, "grade_id": "two-matrices", "locked": false, "schema_version": 3, "solution": true, "task": false}
hidden = None
gained = None
### BEGIN SOLUTION
hidden = np.array([[0.2, 0.5, 0.5], [0.8, 0.6, 0.5], [0.2, 0.6, 0.9]])
gained = np.array([[0.6, 0.5, 0.5], [0.6, 0.6, 0.5], [0.8, 0.8, 0.9]])
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "test-two-matrices", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
for R in (hidden, gained):
    R = np.asarray(R, float)
    assert R.shape == (3, 3)
    assert ((R >= 0) & (R <= 1)).all()
### BEGIN HIDDEN TESTS
from cldf_core.evaluation.metrics import continual

points = 0
of_hidden, of_gained = continual(np.asarray(hidden, float)), continual(np.asarray(gained, float))
right = np.isclose(of_hidden["backward transfer"], 0) and np.isclose(of_hidden["forgetting (max-last)"], 0.3)
points += int(right)
points += int(np.isclose(of_gained["forgetting (max-last)"], -0.2))
points
### END HIDDEN TESTS

# %% [markdown]
# ## 4 What a number hides
#
# An agent's last row is 0.5 everywhere and was so from the start: it always answers "fake", and each test set is half
# fake. What are its forgetting and its backward transfer? And its forward transfer? Another has learned each domain to
# 0.9 and ends at 0.6 on all of the three earlier ones (and 0.9 on the last, the fourth): what is its average, and its
# forgetting, if nothing rose in between? <!-- example -->
#
# <details><summary>Hint 1</summary>
#
# Write the matrices down.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For the first one, every cell is 0.5.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Your functions do the rest.
#
# </details>

# %% nbgrader={"grade": false, "grade_id": "values", "locked": false, "schema_version": 3, "solution": true, "task": false}
always_fake = None  # [forgetting, backward transfer, forward transfer]
other = None  # [average, forgetting]
### BEGIN SOLUTION
always_fake = [0, 0, 0]
other = [(3 * 0.6 + 0.9) / 4, 0.3]
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "test-values", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert len(always_fake) == 3
assert len(other) == 2
### BEGIN HIDDEN TESTS
points = int(np.allclose(always_fake, 0)) + int(np.allclose(other, [0.675, 0.3]))
points
### END HIDDEN TESTS

# %% [markdown]
# **To think about.** The first agent forgets nothing. Which numbers have to stand beside a forgetting, so that nobody
# is misled by it?
