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
# # Exercise: the log-magnitude spectrum
#
# **Goal.** You write the few lines between an image and what the network reads: its Fourier transform, the logarithm of
# the magnitudes, the scaling, and the half of the plane that is enough.
#
# **You need** numpy, and notebook 02 up to "From pixels to the network's input". About 45 minutes, 10 points.
# <!-- setting -->
#
# Write where it says `your code here`, and run the cell with the tests below it: what it prints or complains about is
# for you. When your work is graded, the same cells run with more cases of the same kind. Later tasks may call what you
# wrote in earlier ones, so mend a mistake where it begins.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import matplotlib.pyplot as plt
import numpy as np

from cldf_core.data.mini.crops import crops_of, cut


def stripes(height, width, rows, columns):
    """A grey image of stripes: so many periods from top to bottom, and from left to right; uint8."""
    y, x = np.mgrid[:height, :width]
    return np.rint(127.5 + 100 * np.cos(2 * np.pi * (rows * y / height + columns * x / width))).astype(np.uint8)


def slow_fourier(image):
    """The sum of the definition, term by term."""
    height, width = image.shape
    y, x = np.mgrid[:height, :width]
    waves = [[np.exp(-2j * np.pi * (v * y / height + u * x / width)) for u in range(width)] for v in range(height)]
    return np.array([[(image * wave).sum() for wave in row] for row in waves])


photographs = [cut(crop) for crop in crops_of("train", "mini-GAN-S")[:3]]  # uint8, (128, 128, 3)
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 The logarithm of the magnitudes
#
# The **Fourier transform** writes an image $x$ of $H$ rows and $W$ columns as a sum of waves. The strength and the
# place of the wave with $v$ periods from top to bottom and $u$ from left to right are one complex number:
#
# $$F(v, u) = \sum_{y=0}^{H-1} \sum_{x=0}^{W-1} x(y, x)\, e^{-2\pi i (vy/H + ux/W)}$$
#
# Its absolute value $|F|$ is the **magnitude**. Magnitudes differ by many powers of ten, so we take their logarithm:
#
# $$m = \ln(|F| + 10^{-3}),$$
#
# where the pixels are scaled to $[0, 1]$ before anything else.
#
# Write `log_magnitude`. (Which value does a black image have everywhere? Think first, then look.)
#
# <details><summary>Hint 1</summary>
#
# numpy has all of it: look for the two-dimensional transform in `np.fft`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# There are four steps: scale the bytes, transform, take the absolute value, add and take the logarithm. The base of
# `np.log` is e.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A byte is at most 255. Divide before the transform; it also turns the bytes into numbers with a fraction.
# <!-- setting -->
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "log-magnitude", "locked": false, "schema_version": 3, "solution": true, "task": false}
def log_magnitude(image):
    """ln(|F| + 1e-3) of a grey image, uint8 (H, W), with pixels scaled to [0, 1]; float, shape (H, W)."""
    ### BEGIN SOLUTION
    return np.log(np.abs(np.fft.fft2(image / 255)) + 1e-3)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-log-magnitude", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
flat = np.full((6, 8), 255, np.uint8)
result = log_magnitude(flat)
assert result.shape == (6, 8), f"the shape is {result.shape}"
assert np.isfinite(result).all(), "there is a logarithm of 0"
assert np.isclose(result[0, 0], np.log(48 + 1e-3)), "frequency zero is the sum of all pixels, each 1 here"
assert np.allclose(np.delete(result.ravel(), 0), np.log(1e-3), atol=1e-6), "a flat image has no other wave"
strong = np.argwhere(log_magnitude(stripes(32, 32, 5, 3)) > np.log(100)).tolist()
print("strong waves of 5 × 3 stripes:", strong)
assert [5, 3] in strong
### BEGIN HIDDEN TESTS
for shape in ((4, 6), (5, 7), (8, 4)):
    image = rng.integers(0, 256, shape).astype(np.uint8)
    assert np.allclose(log_magnitude(image), np.log(np.abs(slow_fourier(image / 255)) + 1e-3), atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 The scaling
#
# Bright and dark images shall look alike to the network. With $p_5$ and $p_{95}$ the 5th and 95th **percentile** of all
# values $m$ of a plane (the values below which 5 % and 95 % of them lie), <!-- setting -->
#
# $$s = 2\,\frac{m - p_5}{p_{95} - p_5} - 1, \quad \text{cut off to } [-1, 1].$$
#
# Where $p_{95} - p_5 < 10^{-3}$ there is nothing in the plane but rounding: then $s = 0$ everywhere. Write `scaled`.
# There is a point for the range, one for its values, and one for planes with nothing in them.
#
# <details><summary>Hint 1</summary>
#
# `np.percentile` takes several percentages at once; `np.clip` cuts off.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Ask about the difference of the percentiles before you divide by it.
#
# </details>
# <details><summary>Hint 3</summary>
#
# What has nothing in it gets zeros of the plane's shape: `np.zeros_like`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "scaled", "locked": false, "schema_version": 3, "solution": true, "task": false}
def scaled(plane):
    """A plane of log magnitudes, shape (H, W), scaled to [-1, 1] by its 5th and 95th percentile."""
    ### BEGIN SOLUTION
    p5, p95 = np.percentile(plane, [5, 95])
    if p95 - p5 < 1e-3:
        return np.zeros_like(plane)
    return np.clip(2 * (plane - p5) / (p95 - p5) - 1, -1, 1)
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "look-at-scaled", "locked": true, "schema_version": 3, "solution": false, "task": false}
def in_range(plane):
    found = scaled(plane)
    ends = np.isclose([found.min(), found.max()], [-1, 1], rtol=0, atol=1e-9)  # but for rounding
    return found.shape == plane.shape and ends.all()


def by_percentiles(plane):
    order = np.sort(plane, axis=None)
    p5, p95 = (np.interp(share * (order.size - 1), np.arange(order.size), order) for share in (0.05, 0.95))
    return np.allclose(scaled(plane), np.interp(plane, [p5, p95], [-1, 1]), atol=1e-6)


# %% nbgrader={"grade": true, "grade_id": "test-scaled", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
ramp = np.linspace(-3, 5, 2001).reshape(3, 667)
noise = rng.normal(2, 3, (16, 16))
planes = [ramp, noise]
empty = [np.full((4, 4), 7.0)]
### BEGIN HIDDEN TESTS
planes += [rng.exponential(4, (12, 20)), np.where(np.arange(400).reshape(20, 20) % 9, 0.0, 50.0) + rng.normal(size=20)]
empty += [np.full((5, 6), -2.0) + 1e-4 * rng.uniform(size=(5, 6)), np.zeros((3, 3))]
empty += [np.where(np.arange(64).reshape(8, 8), 1.0, 9.0)]  # one large value, as of an image of one colour
### END HIDDEN TESTS
points = 0
for what, right, cases in (
    ("the range", in_range, planes),
    ("the values", by_percentiles, planes),
    ("planes with nothing in them", lambda plane: (scaled(plane) == 0).all(), empty),
):
    passed = all(right(case) for case in cases)
    points += int(passed)
    print(what, "–", "right" if passed else "not yet right")
points

# %% [markdown]
# ## 3 Half is enough
#
# Pixels are real numbers. Take the definition of $F$, put in $-v$ for $v$ and $-u$ for $u$, and compare with $F(v, u)$:
# what becomes of the sum, and what does that mean for $|F|$? Note too that $e^{-2\pi i (vy/H)}$ does not change when
# $v$ grows by $H$, so that $-v$ stands in row $H - v$.
#
# With what you have found, answer for a plane of 8 rows and 12 columns: which place holds the same magnitude as row 3,
# column 5? And as row 0, column 2? As row 4, column 6? (It may be the same place.) <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# The complex conjugate of a sum is the sum of the conjugates, and a real number is its own.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The exponent changes its sign, so $F(-v, -u)$ is the conjugate of $F(v, u)$. A number and its conjugate have the same
# absolute value.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Row $-v$ is row $(H - v) \bmod H$: think of what that is for $v = 0$. Or look: `log_magnitude` of a random image of
# this size shows which places are alike.
#
# </details>

# %% nbgrader={"grade": false, "grade_id": "partners", "locked": false, "schema_version": 3, "solution": true, "task": false}
# The place (row, column) with the same magnitude, for a plane of 8 rows and 12 columns.
partner_of_3_5 = None
partner_of_0_2 = None
partner_of_4_6 = None
### BEGIN SOLUTION
partner_of_3_5 = (5, 7)
partner_of_0_2 = (0, 10)
partner_of_4_6 = (4, 6)
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "test-partners", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
for answer in (partner_of_3_5, partner_of_0_2, partner_of_4_6):
    row, column = answer
    assert 0 <= row < 8, f"there is no row {row}"
    assert 0 <= column < 12, f"there is no column {column}"
### BEGIN HIDDEN TESTS
magnitude = np.abs(np.fft.fft2(rng.uniform(size=(8, 12))))
for place, answer in (((3, 5), partner_of_3_5), ((0, 2), partner_of_0_2), ((4, 6), partner_of_4_6)):
    alike = np.argwhere(np.isclose(magnitude, magnitude[place])).tolist()
    assert list(answer) in alike
    assert list(answer) != list(place) or len(alike) == 1, f"{place}: there is another place"
### END HIDDEN TESTS

# %% [markdown]
# So of an image with an even width, the columns 0 to $W/2$ tell the rest. Write `half`, which keeps them, and
# `mirrored`, which makes the whole plane of them again. Loops over rows and columns are allowed.
#
# <details><summary>Hint 1</summary>
#
# How many columns is "0 to $W/2$"? And how do you get $W$ back from that number?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Begin with an empty array of the full shape and copy the half. Each missing column has a partner column that you have;
# its rows are in another order there.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Whole arrays of row numbers work too: `rows = (-np.arange(H)) % H` is the row of each row's partner, and
# `half[rows][:, columns]` picks rows and columns.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "half", "locked": false, "schema_version": 3, "solution": true, "task": false}
def half(plane):
    """The first W/2 + 1 columns of a plane of shape (H, W), W even."""
    ### BEGIN SOLUTION
    return plane[:, : plane.shape[1] // 2 + 1]
    ### END SOLUTION


def mirrored(columns):
    """The whole plane, shape (H, W), from its half of shape (H, W/2 + 1)."""
    ### BEGIN SOLUTION
    height, width = len(columns), 2 * (columns.shape[1] - 1)
    rows = -np.arange(height) % height
    missing = width - np.arange(columns.shape[1], width)
    return np.concatenate([columns, columns[rows][:, missing]], axis=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-half", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
plane = np.abs(np.fft.fft2(rng.uniform(size=(8, 12))))
assert half(plane).shape == (8, 7), f"the shape of the half is {half(plane).shape}"
assert mirrored(half(plane)).shape == (8, 12)
assert np.array_equal(mirrored(half(plane))[:, :7], half(plane))
wrong = ~np.isclose(mirrored(half(plane)), plane)
print("places that differ from the whole plane:", np.argwhere(wrong).tolist()[:5])
assert not wrong.any()
### BEGIN HIDDEN TESTS
for height, width in ((7, 10), (2, 2), (16, 4)):
    plane = np.abs(np.fft.fft2(rng.uniform(size=(height, width))))
    assert np.array_equal(half(plane), plane[:, : width // 2 + 1])
    assert np.allclose(mirrored(half(plane)), plane)
### END HIDDEN TESTS

# %% [markdown]
# ## 4 What the network reads
#
# Put it together: an image of three channels becomes three half planes, each channel by itself. The percentiles are
# those of the *whole* plane. Your function must agree with the one that the package trains its networks on.
#
# <details><summary>Hint 1</summary>
#
# For each channel: your functions one after another. The channel is the last axis of the image and the first of the
# result.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Which comes first, scaling or halving? The columns 0 and $W/2$ occur once in the whole plane, the others twice.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `np.stack` joins a list of planes along a new first axis.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "network-input", "locked": false, "schema_version": 3, "solution": true, "task": false}
def network_input(image):
    """What the network reads of an image, uint8 (H, W, 3): float, shape (3, H, W/2 + 1)."""
    ### BEGIN SOLUTION
    return np.stack([half(scaled(log_magnitude(image[:, :, channel]))) for channel in range(3)])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-network-input", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
spectrum = network_input(photographs[0])
assert spectrum.shape == (3, 128, 65), f"the shape is {spectrum.shape}"
assert np.abs(spectrum).max() <= 1 + 1e-9
black = network_input(np.zeros((8, 8, 3), np.uint8))
assert (black == 0).all(), "a black image has nothing in it"
figure, axes = plt.subplots(1, 2, figsize=(7, 3.5), layout="constrained")
axes[0].imshow(photographs[0])
axes[1].imshow(np.fft.fftshift(mirrored(spectrum.mean(0))))
axes[0].set(xlabel="column", ylabel="row", title="a photograph")
axes[1].set(xlabel="horizontal frequency", ylabel="vertical frequency", title="its spectrum, zero in the middle")
plt.show()
### BEGIN HIDDEN TESTS
from cldf_core.spectrum import log_spectrum as of_the_package

wanted = of_the_package(np.stack(photographs).transpose(0, 3, 1, 2), dtype=np.float64)
assert np.allclose([network_input(image) for image in photographs], wanted, atol=1e-3)
small = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
wanted = of_the_package(small.transpose(2, 0, 1)[None], dtype=np.float64)[0]
assert np.allclose(network_input(small), wanted, atol=1e-6)
### END HIDDEN TESTS

# %% [markdown]
# **To think about.** A camera's brightness is turned up by one half. Which of your five functions give other values
# then, and which do not? Try it with a dark photograph, so that no pixel is cut off at white.
