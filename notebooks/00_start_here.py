# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
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
# # 00 · Start here
#
# **You will learn** what this project is about, the words it uses, and how an image becomes a verdict. You
# will also see the problem that all other notebooks are about: a detector that has learnt one kind of fake
# does not know the next kind, and learning the next kind can make it forget the first.
#
# **Reads** the data set named by `data`. The default, cldf-mini, is made on your machine the first time (one
# to two minutes, no download).
# **Writes** two figures and a table into `runs/00_start_here-…/figures`.
# **Takes** about a minute on two cores, once the data set is there.
#
# The next cell holds everything that you can change. Change a value, then run all cells again.

# %% tags=["parameters"]
from typing import Optional  # so that papermill can read the types

data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
limit: Optional[int] = None  # training images per class and domain; None takes all
size: int = 128  # pixels a side after the centre crop
seed: int = 0  # of everything random
band: str = "full"  # the frequencies that are kept: full, low, mid or high
precision: str = "float16"  # number format of stored spectra
threads: int = 1  # CPU threads; the last digits of a result depend on it
network: str = "slim"  # the residual network
width: int = 24  # channels in the slim network's first stage
lr: float = 0.001  # highest learning rate of the cycle
epochs: int = 10  # passes over each step's images
batch: int = 32  # images per update

# %%
from cldf_core.workflow.parameters import from_notebook

parameters = from_notebook("00_start_here", globals())
options = parameters.options()

# %% [markdown]
# ## The project in a page
#
# A *deepfake* is an image that a network has made or changed so that it looks like a photograph. A *detector*
# is a network that reads an image and says how likely it is a fake. Most fakes carry traces of how they were
# made. The eye does not see these traces, but they stand out in the image's **spectrum**: a picture of how
# much slow and fast change the image holds (notebook 02 explains it). So our detector reads spectra, not
# pixels.
#
# New kinds of fakes appear all the time, and a detector has to go on learning. This is **continual
# learning**: the images of the past are no longer all at hand, and yet what was learnt from them should stay.
#
# | word | meaning |
# |---|---|
# | domain | one family of real and fake images; the fakes of a domain are made in the same way |
# | stream | the domains that a detector learns, one after another |
# | step | learning one domain of the stream |
# | unseen domain | a domain that is tested, but never learnt |
# | forgetting | being worse on an earlier domain after learning later ones |
# | agent | a way to learn a stream. Some agents keep a few old images, others keep an old copy of the network |
# | P(fake) | the detector's answer, from 0 (certainly real) to 1 (certainly fake); from 0.5 up the verdict is “fake” |

# %%
import numpy as np
import pandas as pd

from cldf_core import figures
from cldf_core.agents import build_agent
from cldf_core.data.files import save_figure, save_table
from cldf_core.data.images import crop, open_image
from cldf_core.data.layouts.read import data_folder
from cldf_core.data.runtime import thread_count
from cldf_core.evaluation import bootstrap
from cldf_core.protocol import train_and_test
from cldf_core.runs.run import load_spectra, training_samples
from cldf_core.stream import Samples, make_steps

figures.theme()
out = parameters.folder

# %% [markdown]
# ## The data
#
# `load_spectra` reads the images of every domain, computes their spectra and keeps them on disk, so the next
# notebook that asks for them does not wait. The images of a domain are in three *splits*. The network learns
# from the training images, settings are chosen with the validation images, and the test images only measure
# the result.

# %%
domains = load_spectra(options)
pd.DataFrame({name: spectra.table["split"].value_counts() for name, spectra in domains.items()}).T

# %% [markdown]
# The table counts images, half of them real and half fake. cldf-mini is small: its photographs are real, and
# its fakes come from five small generators that the project trains itself. It shows how things behave. Its
# numbers are **not** to be compared with published ones.
#
# ## Two steps of a stream
#
# We take the first and the last domain of the stream, and one small network. Step 1: it learns the first
# domain. Step 2: the same network learns the other one, and sees no image of the first again. After each step
# it is tested on *all* domains. Such training without any precaution is called *sequential fine-tuning*.

# %%
ends = list(dict.fromkeys([options.stream[0], options.stream[-1]]))
learnt = [(name, samples) for name, samples in training_samples(options, domains) if name in ends]
steps = make_steps(learnt, options)
tables = {name: spectra.table.query("split == 'test'") for name, spectra in domains.items()}
tests = {
    name: Samples.from_array(domains[name].array, table["label"].to_numpy(), rows=table["row"].to_numpy())
    for name, table in tables.items()
    if len(table)
}

# %% [markdown]
# An *agent* brings a network and a way to train it. `train_and_test` gives it the batches of each step and
# then asks it for its answers on the test images. An answer is a *logit*; P(fake) is 1 / (1 + exp(−logit)).

# %%
with thread_count(options.threads):
    agent = build_agent(options)
    results = list(train_and_test(agent, steps, tests, seed=options.seed))
for result in results:
    print(f"{result.step.name}: loss {result.losses[0]:.2f} in the first epoch, {result.losses[-1]:.2f} in the last")

# %% [markdown]
# The loss says how wrong the answers on the training images are. Guessing has a loss of 0.69, so a much
# smaller last number means that the network has learnt something about these images.
#
# ## From pixels to a verdict
#
# What does the network see, and what does it say? We take one real test image of the first domain and its
# fake, and the network as it was **after step 1**.

# %%
first = options.stream[0]
table = tables[first].assign(logit=results[0].logits[first])
pair = pd.concat([table[table["label"] == label].iloc[[0]] for label in (0, 1)])
folder = data_folder(options.data)
images = np.stack([crop(open_image(folder / image), options.size) for image in pair["image"]])
spectra = domains[first].array[pair["row"].to_numpy()].astype(np.float32)
fig = figures.pixels_to_verdict(images, spectra, 1 / (1 + np.exp(-pair["logit"].to_numpy())))
save_figure(fig, out.figures, "00_pixels_to_verdict")

# %% [markdown]
# Upper row: the real image, lower row: its fake. Compare the pixels first: can you tell them apart? Then
# compare the spectra. Their middle is the slow change, their rim the fastest change that pixels can show.
# Traces of a generator are often dots or lines away from the middle, or a rim that has become darker or
# brighter than in the real image. The bars are the network's answers; the dotted line is the threshold. A
# single pair proves nothing, so we now count over all test images.
#
# ## Does it know the other domains?
#
# *Accuracy* is the share of right verdicts. Half of the images are fake, so guessing gives 0.5. Each value
# has a 95 % interval: the range in which it mostly falls when other photographs are drawn from the same
# source. Images made from one photograph count as one as far as their verdicts agree.

# %%
scores = pd.concat(
    table[["image", "group", "label"]].assign(
        step=k, domain=name, split="test", score=1 / (1 + np.exp(-result.logits[name]))
    )
    for k, result in enumerate(results, start=1)
    for name, table in tables.items()
    if name in tests
)
R = bootstrap.matrices(scores, ["accuracy"], seed=options.seed)
accuracy = R.metrics["accuracy"]
low, high = accuracy.interval()

# %%
rows = [
    (" then ".join(ends[: t + 1]), name, accuracy.value[t, i], low[t, i], high[t, i], name in ends[: t + 1])
    for t in range(len(steps))
    for i, name in enumerate(R.domains)
]
comparison = pd.DataFrame(rows, columns=["after", "domain", "value", "low", "high", "trained"])
save_table(comparison, out.figures, "00_after_each_step")
fig = figures.after_each_step(comparison)
save_figure(fig, out.figures, "00_after_each_step")

# %% [markdown]
# Left: after step 1. The filled mark is the domain that was learnt, the hollow ones were not. Look how far
# the hollow marks fall behind the filled one, and which of them touch the dotted line of guessing: there the
# detector is of no use. Some domains resemble each other, so knowing one helps with the other.
#
# Right: after step 2. Both filled marks were learnt, but the first domain came earlier. Compare its mark with
# the left panel: what it has lost is **forgetting**.
#
# How can an agent learn the new without losing the old? That is the question of notebooks 03 to 08.
#
# ## The other notebooks
#
# | notebook | question |
# |---|---|
# | 01 data exploration | What is in the data, how is it split, and could a detector cheat? |
# | 02 spectral analysis | How do pixels become a spectrum, and where do fakes leave traces in it? |
# | 03 without continual learning | How bad is forgetting without a precaution? How good could one be? |
# | 04 iCaRL | Keep a few well-chosen old images, and copy what the old network said |
# | 05 GDumb | Keep a balanced memory, and train on nothing else |
# | 06 LwF | Keep no image, only the old network as a teacher |
# | 07 ER and MIR | Mix old images into every batch: random ones, or those that are about to be forgotten |
# | 08 cross-data-set evaluation | All agents side by side, with the unseen domain |
#
# Read 01 and 02 next, then 03; 04 to 07 can be read in any order. Notebook 08 reads the results of 03 to 07.
