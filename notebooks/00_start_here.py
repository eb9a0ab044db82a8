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
# **The idea.** A *deepfake* is an image that a network has made or changed so that it looks like a photograph, a
# *fake*; what is none is *real*. A *detector* is a network that reads an image and says how likely it is such a fake.
# New kinds of fakes appear all the time, so it has to go on learning, and two questions come up: does a detector that
# has learned one kind of fake know the next kind? And does it still know the first kind after it has learned the next?
#
# **You will learn** the words of the project, and how an image becomes a verdict: one photograph and its fake go the
# whole way from pixels to P(fake), and you change them and watch the verdict move.
#
# **What you need.** No other notebook, only some Python, what a mean and a probability are, and that a network is a
# function with many numbers, its weights, which training adjusts. All words of the project are in the
# [glossary](../docs/glossary.md).
#
# **Reads** the data set named by `data`. The default, cldf-mini, is made on your machine the first time (one
# to two minutes, no download). **Trains** one network.
# **Writes** two figures and two tables into `runs/00_start_here-…/figures`.
# **Takes** about a minute on two cores, once the data set is there.
#
# The next cell holds everything that you can change. Change a value, then run all cells again, to see what it does.
# (How to *choose* one without fooling oneself: notebook 01.)

# %% tags=["parameters"]
from typing import Optional  # so that papermill can read the types

data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
limit: Optional[int] = None  # training images per class and domain; None takes all
width: int = 24  # channels in the slim network's first stage
epochs: int = 10  # passes over each step's images
seed: int = 0  # of everything random

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

# Other options can be assigned above by their names, too; `cldf run 00 --options` lists them.
parameters = from_notebook("00_start_here", globals())
options = parameters.options()

# %% [markdown]
# ## The project in a page
#
# Most fakes carry traces of how they were made. Some are plain to see, such as a smeared or patterned surface (notebook
# 01 shows samples); others are too faint for the eye, or look like texture. Many of them lie in the image's
# **spectrum**: a picture of how much slow and fast change the image holds (notebook 02 explains it). So our detector
# reads spectra, not pixels; notebook 03 compares the two.
#
# To learn one kind of fakes after another is **continual learning**: the images of the past are no longer all at hand,
# and yet what was learned from them should stay.
#
# | word | meaning |
# |---|---|
# | domain | one family of real and fake images; the fakes of a domain were made, or collected, together |
# | stream | the domains that a detector learns, one after another |
# | step | learning one domain of the stream |
# | unseen domain | a domain that is tested, but never learned |
# | forgetting | being worse on an earlier domain after learning later ones |
# | agent | a way to learn a stream. Some agents keep a few old images, others keep an old copy of the network |
# | P(fake), the score | the detector's answer, from 0 (certainly real) to 1 (certainly fake) |
# | threshold | the score from which on the verdict is “fake”: 0.5 |
#
# Three terms for those who want to be exact. The kind of continual learning studied here is **domain-incremental**: the
# question stays the same (real or fake?), the images change from step to step, and nobody tells the detector at the
# test which domain an image is from (van de Ven & Tolias 2019). The detector is a **residual network** (ResNet; He et
# al. 2016): layers of small filters, called convolutions, in which each block *adds* its result to what it was given,
# so that a network of many layers can be trained. Between them, **BatchNorm** layers bring all values to mean 0 and
# spread 1: in training with the mean and the spread of the *batch* (the images of one *update*, a small change of all
# weights), afterwards with running means of these, the layer's *statistics*. They follow the images that came last, so
# they are one of the places where a network can forget.

# %%
import numpy as np
import pandas as pd
from IPython.display import display
from scipy.special import expit

from cldf_core import figures
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.data.images import crop, open_image
from cldf_core.detection.detector import logits_of
from cldf_core.evaluation.cells import cell_changes, cell_values
from cldf_core.figures import sentences
from cldf_core.interact.one_image import one_image
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.run import load_spectra, make_run
from cldf_core.spectrum import InputSpec

figures.theme()
out = parameters.folder

# %% [markdown]
# ## The data
#
# `load_spectra` reads the images of every domain, computes their spectra and keeps them on disk, so the next
# notebook that asks for them does not wait. The images of a domain are in three *splits*. The network learns
# from the *training* images, settings are chosen with the *validation* images, and the *test* images only measure
# the result.

# %%
domains = load_spectra(options)
pd.DataFrame({name: spectra.table["split"].value_counts() for name, spectra in domains.items()}).T

# %% [markdown]
# The table counts images, half of them real and half fake: the two *classes*. cldf-mini is small: its photographs are
# real, and its fakes come from seven small *generators*, networks that make fakes, which the project trains itself. It
# shows how things behave. Its numbers are **not** to be compared with published ones.
#
# ## Two steps of a stream
#
# We take the first and the last domain of the stream, and one small residual network. Step 1: it learns the first
# domain. Step 2: the same network learns the other one, and sees no image of the first again. After each step
# it is tested on *all* domains. Such training without any precaution is called *sequential fine-tuning*.

# %%
ends = list(dict.fromkeys([options.stream[0], options.stream[-1]]))
others = [name for name in domains if name not in ends]
own = parameters.options("sequential", stream=ends, unseen=others, untested=[])

# %% [markdown]
# An *agent* brings a network and a way to train it. `make_run` gives it the batches of each step, all of them once in
# each *epoch*, and then asks it for its answers on the test images. An answer is a *logit*, any number; the *sigmoid*
# 1 / (1 + exp(−logit)) makes P(fake) of it. Answers and networks are kept in `runs/`: the second time they are read,
# and not made again.

# %%
run = make_run(own)
networks = {f"after {name}": load_network(run.model(k))[0] for k, name in enumerate(ends, start=1)}
for step in run.manifest["steps"]:
    losses = np.array(step["losses"], float)
    print(f"{step['domain']}: loss {losses[0]:.2f} in the first epoch, {losses[-1]:.2f} in the last")

# %% [markdown]
# The **loss** says how wrong the answers on the training images are; training makes it small. Here it is the
# *cross-entropy*: for each image, minus the natural logarithm of the probability that the network gave to the right
# answer. Guessing has a loss of $\ln 2$, about 0.69, so a much smaller last number means that the network has learned
# something about these images. <!-- setting -->
#
# ## From pixels to a verdict
#
# What does the network see, and what does it say? Here is the pair, a real image of the first domain and its fake, with
# the answers of the network as it was **after step 1**. Before you look: can you tell the two images apart?
#
# Below the figure the pair is yours: shrink it (and back), enlarge it, blur it, save it as a JPEG file, and let the
# network answer as it was after either step. What would you do to the fake so that the detector takes it for real?
#
# They are *validation* images: the network does not learn from them, and who looks at test images begins to tune by
# them.
#
# <details><summary>What to try first, and why</summary>
#
# Blur. Traces that the eye does not see may lie in the fast changes from pixel to pixel, which the rim of the spectrum
# shows, and a blur takes these away first. Watch the rim while you move the slider. Whether the verdict follows says
# whether the network relies on it. And look at the real image, too: if it becomes “fake”, then “blurred” is what the
# network has learned to call a fake.
#
# </details>

# %%
first = options.stream[0]
parts = dict(list(domains[first].table.groupby("split")))
parts = [parts[name] for name in ("validation", "train") if name in parts]
pair = next(part for part in parts if part["label"].nunique() == 2).groupby("label").head(1).sort_values("label")
whole = tuple(open_image(domains[first].root / image) for image in pair["image"])
images = np.stack([crop(image, options.size) for image in whole])
spectra = domains[first].array[pair["row"].to_numpy()].astype(np.float32)
probability = expit(logits_of(networks[f"after {first}"], own, spectra))
save_figure(figures.pixels_to_verdict(images, spectra, probability), out.figures, "00_pixels_to_verdict")
display(one_image(whole, networks, InputSpec.from_options(options)))

# %% [markdown]
# Upper row: the real image, lower row: its fake. After the pixels compare the spectra. Their middle is the slow
# change, their rim the fastest change that pixels can show. Traces of a generator are often dots or lines away from
# the middle, or a rim that has become darker or brighter than in the real image. The dot on the grey line is the
# network's answer, P(fake); right of the dotted line, the threshold, the verdict is “fake”. A single pair proves
# nothing, so we now count over all test images.
#
# ## Does it know the other domains?
#
# *Accuracy* is the share of right verdicts. Half of the images are fake, so guessing gives 0.5. Each value has a 95 %
# *interval*: the range in which it mostly falls when other test photographs are drawn from the same source, while those
# of training stay. Images made from one photograph count as one as far as their verdicts agree.

# %%
scores, split = run.scores(), "test" if "test" in own.splits else "validation"
comparison = cell_values(scores.assign(agent="sequential"), split=split)
learned_by_then = {k: ends[:k] for k in comparison["step"].unique()}
comparison["after"] = comparison["step"].map(lambda k: " then ".join(learned_by_then[k]))
comparison["trained"] = [row.domain in learned_by_then[row.step] for row in comparison.itertuples()]
save_table(comparison, out.figures, "00_after_each_step")
at = [scores[scores["step"] == k].assign(step=1) for k in (len(ends), 1)]
save_table(cell_changes(*at, split=split), out.figures, "00_changes")
fig = figures.after_each_step(comparison)
save_figure(fig, out.figures, "00_after_each_step")

# %% [markdown]
# Left: after step 1. The filled mark is the domain that was learned, the hollow ones were not. Look how far the hollow
# marks lie from the filled one, and which intervals reach the dotted line of guessing: there the detector is not shown
# to be of any use. Right: after step 2. The first domain came earlier. Compare its mark with the left panel: if it has
# moved to the left, what it has lost is **forgetting**.
#
# What can be said of these numbers, the next cell says. It reads the tables above, and says nothing that their
# intervals do not hold.

# %% tags=["sentences"]
table = saved_table(out.figures, "00_after_each_step")
never = table[(table["step"] == 1) & ~table["trained"]]
changes = saved_table(out.figures, "00_changes")
changes = changes[changes["domain"] == options.stream[0]]
sentences.show(
    sentences.compared(never, "Accuracy after the first step, on what was not learned", by="domain", line=0.5),
    sentences.compared(changes, "Accuracy after the last step minus after the first", by="domain"),
)

# %% [markdown]
# How can an agent learn the new without losing the old? That is the question of notebooks 03 to 08.
#
# **Exercise.** Take the first and the last image of `scores` and compute by hand what the detector says of them: from
# the score, the verdict; from verdict and label, whether it is right. Then compute the accuracy on the first domain
# after step 2 with a line of your own, and compare it with `comparison`.
#
# <details><summary>A line that does it</summary>
#
# `last = scores.query("step == step.max() and domain == @first and split == @split")`, and then
# `((last["score"] >= 0.5) == (last["label"] == 1)).mean()`. It must be the `value` in the row of `comparison` with this
# step and domain.
#
# </details>
#
# ## The other notebooks
#
# | notebook | question |
# |---|---|
# | 01 data exploration | What is in the data, how is it split, and could a detector cheat? |
# | 02 spectral analysis | How do pixels become a spectrum, and where do fakes leave traces in it? |
# | 03 without continual learning | How much is forgotten, beside a network that sees everything? |
# | 04 iCaRL | Keep a *memory*, a few well-chosen old images, and copy what the old network said |
# | 05 GDumb | Keep a balanced memory, and train on nothing else |
# | 06 LwF and EWC | Keep no image, only the old network as a *teacher*, or its weights, held as by springs |
# | 07 ER, MIR and DER++ | Mix old images into every batch: random ones, those nearly forgotten, or with old answers |
# | 08 cross-data-set evaluation | All agents side by side, with the unseen domain |
#
# Read 01 and 02 next, then 03; 04 to 07 can be read in any order. Notebook 08 reads the results of 03 to 07.
