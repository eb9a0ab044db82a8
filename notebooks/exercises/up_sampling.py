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
# # Exercise: make a peak by up-sampling
#
# **Goal.** You enlarge an image in the ways in which generators do, derive what each does to the spectrum, and put a
# grid of your own into a photograph that is hard to see there and plain in every spectrum.
#
# **You need** numpy, and notebook 02 up to "Why does a generator leave a grid?". About 50 minutes, 10 points.
# <!-- setting -->
#
# Write where it says `your code here`, and run the cell with the tests below it: what it prints or complains about is
# for you. When your work is graded, the same cells run with more cases of the same kind. Later tasks may call what you
# wrote in earlier ones, so mend a mistake where it begins.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np

from cldf_core.data.mini.crops import crops_of, cut
from cldf_core.evaluation.traces import line_ratio
from cldf_core.spectrum import log_magnitude

photographs = [cut(crop).mean(2) for crop in crops_of("train", "mini-VFHQ")[:6]]  # grey, float, (128, 128), 0 to 255
rng = np.random.default_rng(2)


def grid_strength(image, period):
    """How far a grid of a period, in pixels, stands out of the spectrum of a grey image: 0 is not at all."""
    pixels = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    return float(line_ratio(log_magnitude(pixels[None, None]), period)[0, 0])


# %% [markdown]
# ## 1 Zeros between
#
# To enlarge an image to twice its size, put its pixels at the even rows and columns of an array of zeros. Write it.
#
# <details><summary>Hint 1</summary>
#
# Begin with `np.zeros` of the large shape.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A slice with a step: `large[::2]` is every second row.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Rows and columns at once: `large[::2, ::2] = …`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "zeros", "locked": false, "schema_version": 3, "solution": true, "task": false}
def zeros_between(small):
    """An image of shape (2 H, 2 W) from one of shape (H, W), float."""
    ### BEGIN SOLUTION
    large = np.zeros((2 * small.shape[0], 2 * small.shape[1]))
    large[::2, ::2] = small
    return large
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-zeros", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
print(zeros_between(np.array([[1.0, 2.0], [3.0, 4.0]])))
assert zeros_between(np.ones((3, 5))).shape == (6, 10)
### BEGIN HIDDEN TESTS
small = rng.uniform(1, 2, (4, 3))
large = zeros_between(small)
assert all(large[2 * y, 2 * x] == small[y, x] for y in range(4) for x in range(3))
assert np.count_nonzero(large) == small.size
### END HIDDEN TESTS

# %% [markdown]
# ## 2 Copies
#
# The transform of the small image is $F(v, u)$, with $H$ rows and $W$ columns. Derive that of the large one, which has
# $2H$ rows and $2W$ columns: put the large image into the definition
# $G(v, u) = \sum_{y, x} g(y, x)\, e^{-2\pi i (vy/2H + ux/2W)}$ and leave out what is zero. Write it as a function that
# sees nothing but $F$, and asks for no transform.
#
# <details><summary>Hint 1</summary>
#
# Only $y = 2y'$ and $x = 2x'$ are left. What becomes of the exponent?
#
# </details>
# <details><summary>Hint 2</summary>
#
# It is that of the small image, with the same $v$ and $u$. But $v$ now runs up to $2H - 1$: what is
# $e^{-2\pi i v y'/H}$ for $v = H + 3$?
#
# </details>
# <details><summary>Hint 3</summary>
#
# The same as for $v = 3$. `np.tile` repeats an array.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "copies", "locked": false, "schema_version": 3, "solution": true, "task": false}
def transform_of_large(F):
    """The transform, complex (2 H, 2 W), of the image with zeros between, from that of the small one, (H, W)."""
    ### BEGIN SOLUTION
    return np.tile(F, (2, 2))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-copies", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
def by_derivation(F):
    """What your function gives while there is no transform to ask."""
    with patch.multiple(np.fft, fft2=None, ifft2=None, fft=None, ifft=None, fftn=None, ifftn=None):
        return transform_of_large(F)


assert by_derivation(np.ones((3, 4), complex)).shape == (6, 8)
### BEGIN HIDDEN TESTS
for shape in ((4, 6), (3, 5)):
    small = rng.normal(size=shape)
    large = np.zeros((2 * shape[0], 2 * shape[1]))
    large[::2, ::2] = small
    assert np.allclose(by_derivation(np.fft.fft2(small)), np.fft.fft2(large))
### END HIDDEN TESTS

# %% [markdown]
# ## 3 A filter behind
#
# *Nearest neighbour* writes each pixel four times, in a square of 2 × 2. That is zeros between, and then each pixel
# added to its right, lower, and lower right neighbour. Adding shifted copies of an image multiplies its transform with
# a **response**: an image that is shifted down by one row has its transform multiplied with $e^{-2\pi i v/2H}$ (at the
# rim, it comes in again on the other side).
#
# Write the response of nearest neighbour for a large image of `height` rows and `width` columns (two points; half a
# point for each of the two numbers). Then: at which
# frequencies is it zero, so that nothing of the copies is left? Give the row of the *vertical* frequency where the
# response is zero in every column, for 128 rows. And how much is left of the magnitude at row 64 − 16, column 0, as a
# share of that at row 0? <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# Four terms: the pixel itself (1), shifted right, shifted down, shifted both ways.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Shifted both ways is the product of the two factors. So the four terms are a product of two brackets.
#
# </details>
# <details><summary>Hint 3</summary>
#
# $1 + e^{-i\varphi}$ is zero for $\varphi = \pi$, and $|1 + e^{-i\varphi}| = 2 |\cos(\varphi / 2)|$. For your numbers,
# `np.abs` of your response will do.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "response", "locked": false, "schema_version": 3, "solution": true, "task": false}
def response_of_nearest(height, width):
    """What the transform of the image with zeros between is multiplied with, complex (height, width)."""
    ### BEGIN SOLUTION
    down = 1 + np.exp(-2j * np.pi * np.arange(height) / height)
    right = 1 + np.exp(-2j * np.pi * np.arange(width) / width)
    return np.outer(down, right)
    ### END SOLUTION


zero_row = None  # of 128
left_at_48 = None  # from 0 to 1
### BEGIN SOLUTION
zero_row = 64
left_at_48 = np.cos(np.pi * 48 / 128)
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "test-response", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert response_of_nearest(6, 8).shape == (6, 8)
assert np.isclose(response_of_nearest(6, 8)[0, 0], 4), "four times the same pixel"
assert 0 <= zero_row < 128
assert 0 <= left_at_48 <= 1
### BEGIN HIDDEN TESTS
points = 2
for shape in ((4, 6), (3, 5)):
    small = rng.normal(size=shape)
    nearest = np.fft.fft2(small.repeat(2, 0).repeat(2, 1))
    response = response_of_nearest(2 * shape[0], 2 * shape[1])
    if not np.allclose(response * np.tile(np.fft.fft2(small), (2, 2)), nearest):
        points = 0
points += 0.5 * (zero_row == 64) + 0.5 * bool(abs(left_at_48 - np.cos(np.pi * 48 / 128)) < 0.01)
float(points)
### END HIDDEN TESTS

# %% [markdown]
# ## 4 A grid of your own
#
# Now without enlarging anything: change a photograph by at most `strength` grey levels a pixel, by waves of period
# `period` down the image and across it, whose strength may change from column to column, or from row to row, so that
# `grid_strength` finds lines of this period. The mean brightness of the image should stay within half a grey level. It
# has to work for periods 2, 4 and 8, and with a strength of 6. You see the numbers below for one photograph; there is a
# point for each period with lines in both directions, by the rules, and one for the rules with all periods.
# <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# A pattern that repeats every $p$ pixels is a sum of waves with periods $p, p/2, p/3, \dots$ only. `grid_strength`
# looks at *lines* of the spectrum: whole rows and columns of it, not only at the point where both meet.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A pattern that is the same everywhere in the image gives points. What turns the points into lines? What does a
# generator's grid depend on?
#
# </details>
# <details><summary>Hint 3</summary>
#
# On the image: a product of the pattern with something that changes from pixel to pixel in no order has all frequencies
# beside the pattern's. Let the pattern's *amplitude* be random in the one direction and periodic in the other, and add
# both directions; mind the largest change.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "grid", "locked": false, "schema_version": 3, "solution": true, "task": false}
def with_grid(image, period, strength):
    """A grey image, float (H, W), with a grid in its spectrum; no pixel changes by more than strength."""
    ### BEGIN SOLUTION
    height, width = image.shape
    rng = np.random.default_rng(0)
    wave_down = np.cos(2 * np.pi * np.arange(height) / period)
    wave_right = np.cos(2 * np.pi * np.arange(width) / period)
    pattern = np.outer(wave_down, rng.choice([-1, 1], width)) + np.outer(rng.choice([-1, 1], height), wave_right)
    pattern -= pattern.mean()
    return image + strength * pattern / np.abs(pattern).max()
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "setup-grid", "locked": true, "schema_version": 3, "solution": false, "task": false}
def by_the_rules(new, old):
    return np.abs(new - old).max() <= 6 + 1e-9 and abs(new.mean() - old.mean()) <= 0.5


def both_directions(new, old, period):
    """Whether both the rows and the columns of the period have a share of what was changed."""
    power = np.abs(np.fft.fft2(new - old)) ** 2
    rows, columns = power[128 // period, 1:].sum(), power[1:, 128 // period].sum()
    return min(rows, columns) > 0.1 * max(rows, columns)


# %% nbgrader={"grade": true, "grade_id": "test-grid", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
image = photographs[0]
figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
for axis, period in zip(axes, (None, 2, 4, 8), strict=True):
    shown = image if period is None else with_grid(image, period, 6)
    axis.imshow(np.fft.fftshift(np.log(np.abs(np.fft.fft2(shown / 255)) + 1e-3)))
    axis.set(title="the photograph" if period is None else f"period {period}", xticks=[], yticks=[])
    if period:
        print(f"period {period}: {grid_strength(image, period):.2f} before, {grid_strength(shown, period):.2f} now")
plt.show()
tried = photographs[:1]
### BEGIN HIDDEN TESTS
tried = list(photographs)
### END HIDDEN TESTS
changes = [(with_grid(image, period, 6), image, period) for image in tried for period in (2, 4, 8)]
points = int(all(by_the_rules(new, old) for new, old, _ in changes))
for period in (2, 4, 8):
    own = [(new, old) for new, old, p in changes if p == period]
    found = [grid_strength(new, period) - grid_strength(old, period) > 0.2 for new, old in own]
    points += int(all(found) and all(by_the_rules(*pair) and both_directions(*pair, period) for pair in own))
points

# %% [markdown]
# **To think about.** Save your photograph as a JPEG and open it again: which of the three grids is left? Notebook 09
# asks the same of the benchmark's fakes.
