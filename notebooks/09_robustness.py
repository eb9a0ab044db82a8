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
# # 09 · Robustness
#
# **What you will learn.** Images are saved again, resized, blurred. What is left of a detector then? You see how
# every agent's verdicts change with the severity of four corruptions, and which traces in the spectrum
# are still there.
#
# **Reads** the runs that notebooks 03 to 07 wrote with the same parameters, and the test images; it trains
# nothing. **Writes** scores, figures and tables to `runs/09_robustness-…/`.
#
# **Time**: at most four minutes on one core; half a minute when the scores exist already.

# %% tags=["parameters"]
from typing import Optional  # so that papermill can read the types

variant: str = "paper"  # whose defaults: the papers' or the original's
data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
limit: Optional[int] = None  # training images per class and domain; None takes all
chunks: int = 1  # parts that a domain is cut into, seen one after another
splits: list[str] = ["validation", "test"]  # the splits that are scored after every step
size: int = 128  # pixels a side after the centre crop
feature: str = "spectrum"  # what the network reads
plane: str = "half"  # half of the spectrum holds all of it
band: str = "full"  # the frequencies that are kept
precision: str = "float16"  # number format of stored spectra
network: str = "slim"  # the residual network
width: int = 24  # channels in the slim network's first stage
weights: Optional[str] = None  # imagenet, or a file with a torchvision state dict
optimiser: str = "adam"  # the optimiser
lr: float = 0.001  # learning rate; the highest one of a cycle
momentum: float = 0.9  # of SGD
weight_decay: float = 0.0001  # pull of the weights towards zero
schedule: str = "one-cycle"  # one-cycle: a new optimiser and cycle each step; constant: one for the whole stream
epochs: int = 10  # passes over each step's images
batch: int = 32  # images per update
seed: int = 0  # of everything random
threads: int = 1  # CPU threads; the last digits of a result depend on it
device: str = "cpu"  # where the network is trained
mixed_precision: bool = False  # forward passes in bfloat16
memory: int = 400  # images that may be remembered
memory_epochs: int = 16  # GDumb: passes over the memory, a power of two
memory_lr: float = 0.05  # GDumb: highest learning rate on the memory
memory_lr_min: float = 0.0005  # GDumb: lowest learning rate on the memory
memory_batch: int = 16  # GDumb: images per update on the memory
clip: float = 10.0  # GDumb: largest norm of a gradient
distillation: float = 1.0  # LwF: weight of the distillation loss
temperature: float = 2.0  # LwF: softening of the outputs
replay: int = 32  # ER, MIR, DER++: remembered images in each update (DER++: in each of its two draws)
candidates: Optional[int] = None  # MIR: images to choose from; None: 5 replay
derpp_alpha: float = 0.2  # DER++: weight of the distance to stored logits
derpp_beta: float = 0.5  # DER++: weight of the loss on remembered labels
ewc_lambda: float = 100.0  # EWC: weight of the penalty
ewc_gamma: float = 0.9  # EWC: what is kept of earlier domains' Fisher information

# %%
from cldf_core.workflow.parameters import from_notebook

parameters = from_notebook("09_robustness", globals())
options = parameters.options()

# %%
import numpy as np
import pandas as pd
from IPython.display import display

from cldf_core import figures
from cldf_core.data.corruptions import SEVERITIES, VERSIONS
from cldf_core.data.files import save_figure, save_table
from cldf_core.detection import robustness
from cldf_core.evaluation.robustness import AVERAGE, GUESSING, curves, halved, survival, trace_curves
from cldf_core.options import AGENTS
from cldf_core.runs.run import find_run, load_spectra
from cldf_core.spectrum import log_magnitude

figures.theme()
all_options = {agent: parameters.options(agent) for agent in AGENTS}
out = parameters.folder
split = "test" if "test" in options.splits else "validation"

# %% [markdown]
# ## Why images change
#
# Until now, each detector saw test images just as they came out of the generator. Real life is not so kind. A phone
# saves a picture as a JPEG file, a messenger makes it smaller and saves it again, a screen shot blurs it. Each of
# these changes the spectrum, which is all that our networks read. A detector that works only on untouched files
# is of little use, so detectors are tested on **corrupted** images as well.
#
# We take the networks as they are after the last step of the stream, and four **corruptions**, each in several
# **severities**:
#
# | corruption | severity | what it does to the spectrum |
# |---|---|---|
# | **JPEG** | quality 95 … 30 | rounds the waves of each block of 8 × 8 pixels, the fast ones most |
# | **resize** | factor 0.5 … 1.5 | smaller: the fastest waves are lost; larger: all waves become slower |
# | **blur** | σ = 0.5 … 2 pixels | weakens waves, the fast ones most |
# | **noise** | factor 0.05 … 1 | adds the same strength everywhere, and so buries weak waves, most of them fast |
#
# σ is the width of the Gaussian bell with which a blur averages neighbours. Noise of factor 1 has a standard
# deviation of 0.1 on pixels between 0 and 1, which is about 26 of 256 grey levels.
#
# **One step comes first, for every image, real or fake: it is saved once as a JPEG file of quality 95.** Some domains
# are stored without loss, others as JPEG files already. Without this common step, the same JPEG file would be the
# first loss for one image and the second for another. Each corruption then starts from this common image, alone.
#
# An image that is enlarged loses its rim, since the network looks at a crop of fixed size from its centre. An
# image that would become smaller than this square cannot be looked at. So it is made smaller *and then brought back
# to its old size*: the detail is lost all the same, and no image has to be left out.
#
# The runs are found by their options. If one is missing, the next cell says which.

# %%
runs = {agent: find_run(own) for agent, own in all_options.items()}
domains = load_spectra(options)
pd.DataFrame({figures.agent_name(a): {"run": r.path.name, "started": r.manifest["started"]} for a, r in runs.items()}).T

# %% [markdown]
# ## What does it look like?
#
# One fake of the first domain, with much detail: as it is stored, saved in the common way ("none"), and in the
# harshest version of each corruption. Below each picture is the mean spectrum of 40 fakes in this version, drawn as
# in notebook 02, with frequency zero in the middle. What becomes of the spectrum, and would you notice it in the
# picture?

# %%
shown = [("stored", 0.0), ("none", 0.0), ("JPEG", 30), ("resize", 0.5), ("resize", 1.5), ("blur", 2.0), ("noise", 1.0)]
titles = [f"{name} {severity:g}" if severity else name for name, severity in shown]
planes = {}
for name, spectra in domains.items():
    table = spectra.table[spectra.table["split"] == split]
    for label in (0, 1):
        chosen = robustness.sample(table[table["label"] == label], 40)["image"]
        cut = [robustness.crops_of(spectra.root, image, options, shown) for image in chosen]
        planes[name, label] = np.stack([log_magnitude(np.stack(same)).mean((0, 1)) for same in zip(*cut, strict=True)])
        if name == options.stream[0] and label == 1:
            pictures = dict(zip(titles, max(cut, key=lambda own: np.diff(own[0].astype(float)).std()), strict=True))
figure = figures.corrupted_examples(pictures, dict(zip(titles, planes[options.stream[0], 1], strict=True)))
save_figure(figure, out.figures, "09_examples")

# %% [markdown]
# The pictures are easy to recognise, all of them: that is why people do not mind such corruptions. The spectra tell
# more. Compare each with the first one, most of all at the rim, where the fast waves are. Where it is darker now,
# waves were lost; where it is brighter, waves were put in. Enlarging draws everything towards the middle.
#
# What a detector needs is not the spectrum of the fakes but how it *differs* from that of the reals. Notebook 02
# showed this difference for each domain, in the last row of its mean spectra. Here it is again, for the same
# versions. A row is a domain; all panels share one scale. Red: the fakes have more of a frequency. Blue: they have
# less. White: no difference.

# %%
apart = {name: planes[name, 1] - planes[name, 0] for name in domains}
save_figure(figures.differences_left(apart, titles, options.stream), out.figures, "09_differences")

# %% [markdown]
# The first column is what notebook 02 has shown: the traces that there are to find. Go along each row. Where a panel
# turns white, reals and fakes have become alike. Where it keeps its colours, the trace is still there, and a network
# *could* still use it. Look for the dots and lines of a grid, too: do they stay, do they move, or are they gone?
#
# ## Measuring
#
# Each test image is decoded once. Each of its versions is turned into a spectrum once, and all networks score it.
# To save time we take a part of the test images: as many of each class as the cell says, from all photographs
# alike. (The intervals below come from the photographs, so a few crops of every photograph are worth more than
# all crops of a few.) Noise is drawn from the image's name, so a second execution gives the same. The scores are
# kept beside the figures, and a second execution reads them.

# %%
images = 100  # of each class and domain; None takes all
measured = robustness.robustness_tables(runs, domains, out.path, images=images, split=split)
table = curves(measured.scores, options.stream)
traces = trace_curves(measured.traces)
save_table(table, out.figures, "09_curves")
save_table(traces, out.figures, "09_traces")
once = measured.scores[measured.scores["corruption"] == "none"]
print(f"{once['image'].nunique()} images of {once['group'].nunique()} groups (photographs), {len(VERSIONS)} versions,")
print(f"{len(measured.scores):,} scores by {measured.scores['agent'].nunique()} agents")
once.drop_duplicates("image").groupby(["domain", "label"], sort=False).size().unstack().rename(
    columns={0: "real", 1: "fake"}
)

# %% [markdown]
# ## What does the common step change by itself?
#
# Before anything else: a JPEG file of quality 95 is hardly told from the original by eye. Is it the same for the
# detectors? Open marks are the images as they are stored, filled marks the same images saved once more. The lines
# are 95 % intervals over photographs, each real image together with the fakes made from it (notebook 03).

# %%
by_domain = table[table["domain"] != AVERAGE]
save_figure(figures.common_step(by_domain, options.stream), out.figures, "09_common_step")

# %% [markdown]
# Where the filled mark lies well to the left of the open one, this light compression alone has taken a part of
# what the network relied on. Compare domains that are stored without loss with domains whose files were JPEG files
# before, in training too: is the loss the same? (For the embedded benchmark, the first three are stored without
# loss.) All curves below start from the filled marks.
#
# ## How do verdicts change with the severity?
#
# Now the four corruptions. *Accuracy* is the share of right verdicts, and 0.5 (dotted) is guessing.
# *AUC* is the chance that a fake gets a higher score than a real image; it does not depend on a threshold. Both are
# means over the trained domains. Severities stand at equal distances, whatever their numbers. The first mark of the
# JPEG column is the image as it is stored.

# %%
save_figure(figures.against_severity(table), out.figures, "09_average")

# %% [markdown]
# Follow each line from where nothing is done ("none", 0, or factor 1) to the harshest corruption. Two things to
# see. *Where does a line begin to fall?* And *does AUC fall with accuracy?* Where accuracy is at the dotted line
# while AUC is still above it, the network still ranks the images better than by chance, but its threshold no longer
# fits: it says "fake" to nearly all, or "real" to nearly all. The next cell counts that. (A line may also rise, for
# the same reason: a corruption can push images back to the right side of a threshold that fitted badly.)

# %%
verdicts = measured.scores.assign(fake=measured.scores["score"] >= 0.5)
verdicts = verdicts[verdicts["domain"].isin(options.stream)]
harshest = {"none": 0.0, **{name: severities[-1] for name, severities in SEVERITIES.items()}}
verdicts = verdicts[verdicts["corruption"].map(harshest) == verdicts["severity"]]
share = verdicts.groupby(["agent", "corruption", "label"], sort=False)["fake"].mean().unstack()
both = share[0].map("{:.2f}".format) + " / " + share[1].map("{:.2f}".format)
columns = [f"{name} {s:g}" if s else name for name, s in harshest.items()]
said = both.unstack()[list(harshest)].set_axis(columns, axis=1).rename(index=figures.agent_name)
said.rename_axis("share called fake: of reals / of fakes")

# %% [markdown]
# In each cell, left the share of real images that are called fake (wrongly), right the share of fakes (rightly).
# Two numbers that are alike mean that the verdict no longer has to do with the image: both near 1, and everything is
# fake; both near 0, and everything is real.
#
# ## Which traces are left?
#
# Notebook 02 found two kinds of traces. A **grid**: the lines of the spectrum at a period of 2 pixels stand out, by
# a ratio above 1. And **bands**: the fakes have more or less of the low, middle or high frequencies than the reals.
# We measure both in exactly the images that the networks have judged, and put them below the accuracy of the same
# domain. If a trace goes and the accuracy goes with it, the network may have relied on it. If the accuracy goes and
# the trace stays, then the network does not use it, or not at this level.
#
# **JPEG.** The first two marks of each panel are the image as it is stored, and saved in the common way.

# %%
save_figure(figures.verdicts_and_traces(by_domain, traces, "JPEG", options.stream), out.figures, "09_jpeg")

# %% [markdown]
# A column is a domain. *Above*: accuracy, as before. *Middle*: the grid of real (solid) and fake (dashed); where
# the dashed line comes down to the dotted one, the grid is gone. *Below*: fake minus real in three bands; where a
# line reaches zero, reals and fakes have the same strength there. The bands are 95 % intervals over photographs.
# Compare the second mark with the first: that is the common step.
#
# **Resize.** A factor below 1 removes all waves that are faster than the factor times Nyquist. A factor above 1
# *moves* all traces to lower frequencies. A grid of period 2, for example, becomes one of period 2.5 or 3, and the
# middle row looks for it in the old place.

# %%
save_figure(figures.verdicts_and_traces(by_domain, traces, "resize", options.stream), out.figures, "09_resize")

# %% [markdown]
# Factor 1 is the image to which nothing more was done. See on which side of it the lines fall more steeply, above,
# and what the traces do there.
#
# **Blur.** It multiplies each wave by a number that depends on its frequency alone, the same in real and fake. In
# the logarithm that is a constant, and fake minus real would stay what it is, if pixels were not rounded to 256
# levels: a wave that has become weaker than this rounding is gone.

# %%
save_figure(figures.verdicts_and_traces(by_domain, traces, "blur", options.stream), out.figures, "09_blur")

# %% [markdown]
# See at which σ the lines of the *high* band meet zero, and whether the accuracy holds out any longer. The *low*
# band is weakened least. Where its line is away from zero while the accuracy is at the dotted line, a network that
# had learned to look there could still tell fakes from reals.
#
# **Noise.** It adds waves of all frequencies, equally strong in real and fake. Where the image's own waves are
# weaker than that, the noise is all that is left.

# %%
save_figure(figures.verdicts_and_traces(by_domain, traces, "noise", options.stream), out.figures, "09_noise")

# %% [markdown]
# Again, compare the order in which the three bands lose their difference with the fall of the accuracy.
#
# ## Which trace survives what?
#
# The same as a table. A trace is *there* if the interval of fake minus real leaves 0 out in the images as they are
# stored. The table lists these traces. The column *saved once* is the common step: "gone" means that this light
# compression alone has taken the trace away, so nothing is left to be followed. Each other cell names the mildest
# severity at which the trace is no longer there: the interval contains 0, or has changed its side. A dash: it is
# there in all severities that were tested. (A grid's value is ln of the ratio.) An interval that contains 0 does not
# prove that nothing is left: with more images a weaker trace would still be seen.

# %%
surviving = survival(traces, SEVERITIES)
save_table(surviving, out.figures, "09_survival")
marks = surviving["severity"].map("{:g}".format).mask(surviving["corruption"] == "none", "gone")
text = surviving.assign(severity=marks.mask(surviving["severity"].isna(), "–"))
text["domain"] = pd.Categorical(text["domain"], list(domains))
wide = text.pivot(index=["domain", "trace", "value"], columns="corruption", values="severity").fillna("")
wide = wide.reindex(columns=["none", *SEVERITIES]).reset_index("value").sort_index().round(2)
display(wide.rename(columns={"value": "fake − real", "none": "saved once"}).rename_axis(columns=None))
for corruption, own in surviving.groupby("corruption", sort=False):
    name = "saved once" if corruption == "none" else f"{corruption}, all severities"
    print(f"{name}: {own['severity'].isna().sum()} of {len(own)} traces are left")

# %% [markdown]
# ## What can be said
#
# **Which severity of each corruption halves the gain over guessing, and for which agent?** The gain is the
# balanced accuracy (the mean of that on reals and that on fakes) minus 0.5, on average over the trained domains.
# Each cell names the mildest severity that leaves at most half of the gain that the agent has on images saved in
# the common way; in brackets, which one of the tested severities that is, counted from the mildest. A dash: none
# of them does. An empty cell: the agent is not better than guessing to begin with, so there is nothing to be
# halved.

# %%
for metric in ("balanced accuracy", "AUC"):
    lost = halved(table, SEVERITIES, metric)
    save_table(lost, out.figures, f"09_halved_{metric.split()[0]}")
    text = np.where(lost["known"], "–", "").astype(object)
    reached = lost["tried"].notna()
    text[reached] = [f"{r.severity:g} ({r.tried:.0f})" for r in lost[reached].itertuples()]
    wide = lost.assign(text=text).pivot(index=["agent", "gain"], columns="corruption", values="text")
    wide = wide.reindex(columns=list(SEVERITIES)).reindex(list(AGENTS), level="agent").reset_index("gain").round(2)
    display(wide.rename(index=figures.agent_name).rename_axis(index=f"{metric} halved by", columns=None))

# %% [markdown]
# In words, for the balanced accuracy:

# %%
lost = halved(table, SEVERITIES)
for agent, own in lost.groupby("agent", sort=False):
    name, gone = figures.agent_name(agent), own[own["tried"].notna()]
    if not own["known"].all():
        print(f"{name}: is not better than guessing to begin with")
        continue
    said = ", ".join(f"{r.corruption} {r.severity:g}" for r in gone.itertuples()) or "nothing that was tested"
    kept = own.loc[own["tried"].isna(), "corruption"]
    print(f"{name}: halved by {said}" + (f"; never by {', '.join(kept)}" if len(kept) and len(gone) else ""))

# %% [markdown]
# **And the common step?** It comes before all of this, so its loss is not in the tables above. How much of the
# gain on images as they are stored does it leave?

# %%
start = table[(table["metric"] == "balanced accuracy") & (table["domain"] == AVERAGE)]
start = start.set_index(["corruption", "agent"])
for agent in runs:
    before, after = (start.loc[(corruption, agent), "value"] - GUESSING for corruption in ("stored", "none"))
    known = start.loc[("stored", agent), "low"] > GUESSING
    said = f"leaves {after:.2f} of {before:.2f}, {after / before:.0%}" if known else "there is no gain"
    print(f"{figures.agent_name(agent)}: {said}")

# %% [markdown]
# Severities of different corruptions cannot be compared with each other: that blur comes earlier in its list than
# JPEG in its own says something about these lists. What can be compared are the agents within one column, and the
# severities with what is common: messengers save at qualities around 70 to 90, and a resize to three quarters is
# nothing unusual.
#
# An agent with a small gain has little to lose. So read the columns of the tables together with the column *gain*.
#
# ## Limits
#
# * **Nobody was trained for this.** Detectors for use are trained on corrupted images, too (*augmentation*), and
#   then bear much more. What you see is what happens without.
# * **One seed.** The intervals say what other photographs would change, not what another training would.
# * **Many comparisons.** Among some hundred intervals, one in twenty is off by accident, also in the table of
#   traces.
# * **One at a time.** Real images go through several corruptions, one after another.
# * **Averages hide domains.** An agent may keep its accuracy on one domain and lose it on another; the figures by
#   domain show it.
# * **Small images.** The embedded images are as large as the network's square, so all that are made smaller come back
#   to their old size. Where images are larger than the square, they stay shrunk as long as they can.
# * Separate models have a network for each trained domain, and none for the unseen one: there they are left out.
#
# **Next:** notebook 10 asks which frequencies the networks look at.
