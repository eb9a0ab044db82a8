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
# # Exercise: a shortcut in the data
#
# **Goal.** A single number of an image tells the classes of a data set apart splendidly, though, as you will see, there
# is nothing to detect in it. You find out which number and why, take the shortcut away, and measure again.
#
# **You need** numpy, and notebook 01 up to "Could a detector cheat?". About 45 minutes, 10 points. <!-- setting -->
#
# Write where it says `your code here`, and run the cell with the tests below it: what it prints or complains about is
# for you. When your work is graded, the same cells run with more cases of the same kind. Later tasks may call what you
# wrote in earlier ones, so mend a mistake where it begins.
#
# Somebody has collected images that are called "real", and others that are called "fake". What was done to them stands
# in the next cell; measure first, and read it when you have found what tells them apart. A
# **shortcut** is a property that tells the classes apart in this collection and has nothing to do with what you want to
# know: the size of files, the brightness of a studio, the program that saved them.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import io

import numpy as np
from PIL import Image

from cldf_core.data.mini.crops import crops_of, cut


def saved_as_jpeg(image, quality):
    """An image, uint8 (H, W, 3), as it comes out of a JPEG file of a quality from 1 to 100."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def collected(split):
    """Images, uint8 (N, 128, 128, 3), and labels: 0 is called real, 1 fake. Each photograph is in one split only."""
    crops = {}
    for crop in crops_of(split, "mini-DeepFake"):
        crops.setdefault(crop.photograph, []).append(crop)
    pairs = [sorted(crops[name])[:2] for name in sorted(crops) if len(crops[name]) > 1]
    images = [saved_as_jpeg(cut(pair[0]), 40) for pair in pairs] + [cut(pair[1]) for pair in pairs]
    return np.stack(images), np.repeat([0, 1], len(pairs))


# %% nbgrader={"grade": false, "grade_id": "setup-2", "locked": true, "schema_version": 3, "solution": false, "task": false}
images, labels = collected("train")
validation_images, validation_labels = collected("validation")
rng = np.random.default_rng(1)
print(len(images), "training images,", len(validation_images), "validation images")


# %% [markdown]
# ## 1 Facts of an image
#
# Three facts that have nothing to do with faces or generators. All are of the grey image, the mean of its channels:
#
# * **brightness**: the mean of the pixels,
# * **contrast**: their standard deviation (the root of the mean squared distance from the brightness),
# * **blockiness**: JPEG cuts an image into blocks of 8 × 8 pixels. Take the absolute difference of each pixel and its
#   right neighbour, shape (H, W − 1). Column 7, 15, 23, … of it lies between two blocks. Blockiness is the mean of
#   these columns, divided by the mean of all others. <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# `np.diff` along the last axis is the difference of neighbours. Bytes cannot be negative: the mean of the channels,
# taken first, is no byte any more.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `differences[:, 7::8]` are the columns between blocks.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `np.delete(differences, np.s_[7::8], axis=1)` are the others.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "facts", "locked": false, "schema_version": 3, "solution": true, "task": false}
def facts(image):
    """Brightness, contrast and blockiness of an image, uint8 (H, W, 3)."""
    ### BEGIN SOLUTION
    grey = image.mean(2)
    differences = np.abs(np.diff(grey, axis=1))
    between, within = differences[:, 7::8], np.delete(differences, np.s_[7::8], axis=1)
    return grey.mean(), grey.std(), between.mean() / within.mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-facts", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
example = np.zeros((8, 24, 3), np.uint8)
example[:, 8:16] = 60
example[:, ::2] += 2
print("brightness, contrast, blockiness:", np.round([float(fact) for fact in facts(example)], 2))
### BEGIN HIDDEN TESTS
points = 0
checked = [example, images[0], rng.integers(0, 256, (16, 40, 3)).astype(np.uint8)]
found = np.array([[float(fact) for fact in facts(image)] for image in checked])
greys = [image.astype(float).mean(2) for image in checked]
points += int(np.allclose(found[:, 0], [grey.mean() for grey in greys]))
points += int(np.allclose(found[:, 1], [grey.std() for grey in greys]))
wanted = []
for grey in greys:
    parts = {True: [], False: []}
    for x in range(grey.shape[1] - 1):
        parts[x % 8 == 7].extend(abs(grey[y, x + 1] - grey[y, x]) for y in range(len(grey)))
    wanted.append(np.mean(parts[True]) / np.mean(parts[False]))
points += int(np.allclose(found[:, 2], wanted))
points
### END HIDDEN TESTS

# %% [markdown]
# ## 2 How far does a fact tell the classes apart?
#
# The **AUC** is the probability that a random fake has a larger value than a random real image; ties count one half.
# 0.5 is guessing, and 0 tells the classes apart as well as 1 does. Write it.
#
# <details><summary>Hint 1</summary>
#
# The definition can be written as it stands: all pairs of a fake and a real image.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `fakes[:, None] > reals[None, :]` compares every pair.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The mean of (larger) plus half the mean of (equal).
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "auc", "locked": false, "schema_version": 3, "solution": true, "task": false}
def auc(values, labels):
    """The probability that a fake (label 1) has a larger value than a real image (0), ties one half."""
    ### BEGIN SOLUTION
    values, labels = np.asarray(values), np.asarray(labels)
    fakes, reals = values[labels == 1][:, None], values[labels == 0][None]
    return (fakes > reals).mean() + 0.5 * (fakes == reals).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test-auc", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert auc([1, 2, 3, 4], [0, 0, 1, 1]) == 1
assert auc([5, 5, 5], [0, 1, 1]) == 0.5
table = np.array([[float(fact) for fact in facts(image)] for image in images])
for name, column in zip(("brightness", "contrast", "blockiness"), table.T, strict=True):
    print(f"{name}: AUC {auc(column, labels):.2f} on training images")
### BEGIN HIDDEN TESTS
from sklearn.metrics import roc_auc_score

for seed in range(4):
    some = np.random.default_rng(seed)
    values, kinds = some.integers(0, 8, 50), some.integers(0, 2, 50)
    assert np.isclose(auc(values, kinds), roc_auc_score(kinds, values))
    assert np.isclose(auc(list(values), list(kinds)), roc_auc_score(kinds, values))
### END HIDDEN TESTS

# %% [markdown]
# ## 3 Take it away
#
# Which fact is the shortcut? Write `culprit`. Then write `treated`: what has to be done with *every* image, whatever
# its class (you will not know it in use), so that this fact no longer tells the classes apart. The image must still
# look like itself: no more than 15 grey levels of change in the mean. A point is for the culprit, one for an image that
# is still itself, two for an AUC of blockiness from 0.3 to 0.7 on the validation images, and on the test images, which
# are opened once, when your work is graded. <!-- setting -->
#
# <details><summary>Hint 1</summary>
#
# You cannot make an image forget that it was saved as JPEG. What can you do with the others?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The same to all: then all have blocks. A fact can tell the classes apart in both directions: an AUC far below 0.5 is
# as bad as one far above.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `saved_as_jpeg` with the right quality. Too fine, and the first time shines through. Try some, and look at the AUC on
# the *validation* images.
#
# </details>

# %% nbgrader={"grade": false, "grade_id": "treated", "locked": false, "schema_version": 3, "solution": true, "task": false}
culprit = None  # "brightness", "contrast" or "blockiness"
### BEGIN SOLUTION
culprit = "blockiness"
### END SOLUTION


def treated(image):
    """An image, uint8 (H, W, 3), without the shortcut; the same is done to every image."""
    ### BEGIN SOLUTION
    return saved_as_jpeg(image, 40)
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "look-at-treated", "locked": true, "schema_version": 3, "solution": false, "task": false}
# What is left of it, by your own functions.
left_of_it = [facts(treated(image))[2] for image in validation_images]
print("validation: AUC of blockiness", auc(left_of_it, validation_labels))

# %% nbgrader={"grade": true, "grade_id": "test-treated", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
change = max(float(np.abs(np.asarray(treated(i)).astype(float) - i).mean()) for i in validation_images)
print(f"largest mean change of an image: {change:.1f} grey levels")
assert np.asarray(treated(images[0])).shape == images[0].shape
assert culprit in ("brightness", "contrast", "blockiness")


### BEGIN HIDDEN TESTS
def left(images, labels):
    """The AUC of blockiness after the treatment."""
    values = []
    for image in images:
        grey = np.asarray(treated(image)).astype(float).mean(2)
        differences = np.abs(np.diff(grey, axis=1))
        values.append(differences[:, 7::8].mean() / np.delete(differences, np.s_[7::8], axis=1).mean())
    reals, fakes = (np.array(values)[labels == kind] for kind in (0, 1))
    return float((fakes[:, None] > reals).mean() + 0.5 * (fakes[:, None] == reals).mean())


after = left(validation_images, validation_labels)
points = int(culprit == "blockiness") + int(change <= 15)
on_test = left(*collected("test"))
print(f"test: AUC of blockiness {on_test:.2f}")
points += 2 * int(change <= 15 and 0.3 <= after <= 0.7 and 0.3 <= on_test <= 0.7)
points
### END HIDDEN TESTS

# %% [markdown]
# **To think about.** Nothing in this collection was made by a generator: both classes are photographs. Would you have
# noticed without looking for shortcuts? And are you sure now that none is left? Notebook 01 looks for more of them.
