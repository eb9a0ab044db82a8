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
# # Exercise: find the trace of a generator
#
# **Goal.** Two generators have made fakes. You find the grid that each leaves in the mean spectrum, read from it how
# often the generator enlarges, and build a detector of one number from it.
#
# **You need** numpy, and notebook 02. About 50 minutes, 11 points. <!-- setting -->
#
# Write where it says `your code here`, and run the cell with the tests below it: what it prints or complains about is
# for you. When your work is graded, the same cells run with more cases of the same kind. Later tasks may call what you
# wrote in earlier ones, so mend a mistake where it begins.
#
# The fakes are made here and now, by two small generators that the package ships, from photographs. Each fake has its
# real image at the same place. Images of one photograph are alike: a photograph is a **group**.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import matplotlib.pyplot as plt
import numpy as np

from cldf_core.data.mini.crops import crops_of, cut
from cldf_core.data.mini.generators import load_generators, make_fakes
from cldf_core.spectrum import log_magnitude, mirror

GENERATORS = load_generators()


def made(domain, split, count, variant=0):
    """Real images and their fakes, uint8 (count, 128, 128, 3), and the photograph of each."""
    crops = crops_of(split, domain)[:count]
    real = np.stack([cut(crop) for crop in crops])
    parts = [slice(start, start + 8) for start in range(0, count, 8)]
    fakes = [make_fakes(domain, GENERATORS, real[part], crops[part], variant) for part in parts]
    return real, np.concatenate(fakes), np.array([crop.photograph for crop in crops])


def planes(images):
    """The log-magnitude spectra of images, mean over their channels: float (N, 128, 65), half planes."""
    return log_magnitude(images.transpose(0, 3, 1, 2)).mean(1)


# %% nbgrader={"grade": false, "grade_id": "setup-2", "locked": true, "schema_version": 3, "solution": false, "task": false}
real_a, fake_a, groups_a = made("mini-GAN-S", "train", 24)
real_b, fake_b, groups_b = made("mini-ForenSynths", "train", 16, variant=1)
rng = np.random.default_rng(6)
print("generator A:", real_a.shape, "generator B:", real_b.shape)


# %% [markdown]
# ## 1 The mean spectrum
#
# One spectrum shows this image more than the way it was made. A mean shows what images have in common. So that a
# photograph with many images does not count more than one with few, take the mean over the images of each group first,
# and then the mean over groups.
#
# <details><summary>Hint 1</summary>
#
# `np.unique(groups)` are the names of the groups.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `planes[groups == name]` are the planes of one group.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `mean(0)` twice, once inside and once outside of the loop.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "mean-over-groups", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mean_over_groups(values, groups):
    """The mean over groups of the means of their values; values (N, …), groups (N,), result (…)."""
    ### BEGIN SOLUTION
    return np.mean([values[groups == name].mean(0) for name in np.unique(groups)], axis=0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-mean-over-groups", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert np.isclose(mean_over_groups(np.array([1.0, 3.0, 10.0]), np.array(["x", "x", "y"])), 6)
assert mean_over_groups(planes(real_a[:4]), groups_a[:4]).shape == (128, 65)
### BEGIN HIDDEN TESTS
names = np.array(["c", "a", "b", "a", "c", "c"])
values = rng.normal(size=(6, 3, 4))
wanted = (values[[1, 3]].mean(0) + values[2] + values[[0, 4, 5]].mean(0)) / 3
assert np.allclose(mean_over_groups(values, names), wanted)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 What stands out
#
# A mean spectrum falls from the middle to the rim, and a grid is a small hill on that slope. To see hills alone,
# subtract from each value the mean of the 24 others in the square of 5 × 5 around it. A spectrum goes on at its rim
# with the other side: the row above the first is the last. Write `excess` for a *full* plane. <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# `np.roll(plane, (dy, dx), axis=(0, 1))` brings the neighbour at a distance to each place, around the rim.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Add up 25 rolled planes; one of them is the plane itself. <!-- setting -->
#
# </details>
# <details><summary>Hint 3</summary>
#
# The mean of the others is (sum − own value) / 24. <!-- setting -->
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "excess", "locked": false, "schema_version": 3, "solution": true, "task": false}
def excess(plane):
    """By how much each value of a full plane (H, W) stands out from the mean of the 24 around it."""
    ### BEGIN SOLUTION
    shifts = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    total = sum(np.roll(plane, shift, axis=(0, 1)) for shift in shifts)
    return plane - (total - plane) / 24
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-excess", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
point = np.zeros((8, 8))
point[0, 3] = 24
assert np.allclose(excess(np.ones((6, 6))), 0), "nothing stands out of a plain"
assert np.isclose(excess(point)[0, 3], 24)
assert np.isclose(excess(point)[2, 4], -1)
figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
for axis, name, real, fake, groups in (
    (axes[0], "A", real_a, fake_a, groups_a),
    (axes[1], "B", real_b, fake_b, groups_b),
):
    difference = excess(mirror(mean_over_groups(planes(fake) - planes(real), groups)))
    shown = np.fft.fftshift(difference)
    axis.imshow(shown, cmap="coolwarm", vmin=-0.6, vmax=0.6, extent=(-1, 1, 1, -1))
    axis.set(xlabel="frequency (1: period of 2 pixels)", title=f"generator {name}: fake minus real, what stands out")
plt.show()
### BEGIN HIDDEN TESTS
from scipy.ndimage import convolve

weights = np.full((5, 5), -1 / 24)
weights[2, 2] = 1
for shape in ((8, 8), (7, 12)):
    plane = rng.normal(size=shape)
    assert np.allclose(excess(plane), convolve(plane, weights, mode="wrap"))
### END HIDDEN TESTS

# %% [markdown]
# ## 3 How often does it enlarge?
#
# A doubling can leave lines in the spectrum at the rim, a period of 2 pixels. A generator that doubles twice can leave
# lines of the first doubling, too, and the second one doubles their period. Both generators here leave theirs. How
# often do A and B double? At which row of the unshifted plane of 128 rows (other than 0) is the line of the *longest*
# period of B? <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# Look at the figure, at the rim and half way to it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# In numbers: the mean of `excess` of the difference over columns, row by row. Which rows are highest?
#
# </details>
# <details><summary>Hint 3</summary>
#
# A period of $p$ pixels in 128 rows is a wave that fits in $128 / p$ times. It is in row $128/p$, and in $128 - 128/p$.
# <!-- setting -->
#
# </details>

# %% nbgrader={"grade": false, "grade_id": "doublings", "locked": false, "schema_version": 3, "solution": true, "task": false}
doublings_a = None
doublings_b = None
row_b = None
### BEGIN SOLUTION
doublings_a = 1
doublings_b = 2
row_b = 32
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "test-doublings", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert doublings_a in (1, 2, 3)
assert doublings_b in (1, 2, 3)
assert 0 < row_b < 128
### BEGIN HIDDEN TESTS
points = int(doublings_a == 1) + int(doublings_b == 2) + int(row_b in (32, 96))
points
### END HIDDEN TESTS

# %% [markdown]
# ## 4 A detector of one number
#
# Write `grid_score`, a number for each image that is larger where the grid of generator A is stronger, and choose a
# `threshold` on the *training* images: from it on, an image is called fake. How good it is, you see on the validation
# images, which are of other photographs. You may look at them as often as you like. The test images are opened once,
# when your work is graded: the balanced accuracy (the mean of the shares of reals and of fakes that are judged rightly)
# has to be above 0.75 there for the two points of a good detector, above 0.6 for one. The third point is for a score
# that hangs on each image by itself, and that grows when a faint grid is laid over a real image, if the first one is
# reached. <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# The rim is row 64 and, of the half plane, column 64. How much higher are they than the rows and columns beside them?
# <!-- setting -->
#
# </details>
# <details><summary>Hint 2</summary>
#
# A mean over the whole line is steadier than a single value. Leave out the ends near the axes, where every photograph
# has much.
#
# </details>
# <details><summary>Hint 3</summary>
#
# For the threshold: try each score of the training images, and keep the one with the best balanced accuracy. Or take
# the middle between the means of both classes.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "detector", "locked": false, "schema_version": 3, "solution": true, "task": false}
def grid_score(images):
    """A number for each image, uint8 (N, 128, 128, 3): the larger, the more of generator A's grid; float (N,)."""
    ### BEGIN SOLUTION
    m = planes(images)
    row = m[:, 64, 4:60].mean(1) - m[:, [62, 63], 4:60].mean((1, 2))
    column = m[:, 4:60, 64].mean(1) - m[:, 4:60, 62:64].mean((1, 2))
    return row + column
    ### END SOLUTION


threshold = None
### BEGIN SOLUTION
threshold = (grid_score(real_a).mean() + grid_score(fake_a).mean()) / 2
### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-detector", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
def balanced_accuracy(real, fake):
    return ((grid_score(real) < threshold).mean() + (grid_score(fake) >= threshold).mean()) / 2


print("training images:", balanced_accuracy(real_a, fake_a).round(2))
real, fake, _ = made("mini-GAN-S", "validation", 16)
print("validation images:", balanced_accuracy(real, fake).round(2))
assert np.shape(grid_score(real)) == (16,)
### BEGIN HIDDEN TESTS
real, fake, _ = made("mini-GAN-S", "test", 24)
reached = balanced_accuracy(real, fake)
print("test images:", reached.round(2))
points = int(reached > 0.6) + int(reached > 0.75)
order = rng.permutation(24)
alone = np.concatenate([np.ravel(grid_score(image[None])) for image in fake[:4]])
by_itself = np.allclose(grid_score(fake[order]), grid_score(fake)[order]) and np.allclose(alone, grid_score(fake)[:4])
stripes = 3 * rng.choice([-1, 1], (128, 1, 1)) * (-1.0) ** np.arange(128)[None, :, None]
over = np.clip(np.rint(real + stripes + stripes.transpose(1, 0, 2)), 0, 255).astype(np.uint8)
grows = (np.ravel(grid_score(over)) > np.ravel(grid_score(real))).mean() > 0.9
points += int(points and by_itself and grows)
points
### END HIDDEN TESTS

# %% [markdown]
# **To think about.** What does your detector say to the fakes of generator B? And to A's, after somebody has saved them
# as JPEG? Try it with images of the training split.
