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
# **The idea.** A fake that was saved again, made smaller or blurred is still a fake; but the trace by which a detector
# finds it may be gone. Real images come with just such a past. So here all test images are changed, mildly and then
# more, and two things are watched side by side: the trace in the spectrum, and the verdict.
#
# **What you will learn.** How the verdicts of every agent change with the severity of four corruptions, and which
# traces outlast them.
#
# **What you need.** Notebooks [02](02_spectral_analysis.ipynb) and [03](03_without_continual_learning.ipynb); of
# [04](04_icarl.ipynb), [05](05_gdumb.ipynb), [06](06_lwf.ipynb) and [07](07_er_and_mir.ipynb) the idea of each agent.
# Words: [spectrum](../docs/glossary.md#spectrum), [grid](../docs/glossary.md#grid), [band](../docs/glossary.md#band),
# [threshold](../docs/glossary.md#threshold), [accuracy](../docs/glossary.md#accuracy), [AUC](../docs/glossary.md#auc).
#
# **Reads** the runs that notebooks 03 to 07 wrote with the same parameters, and the test images; it trains
# nothing. **Writes** scores, figures and tables to `runs/09_robustness-…/`.
#
# **Time**: at most six minutes on one core; half a minute when the scores exist already.

# %% tags=["parameters"]
variant: str = "paper"  # whose defaults: the papers' or the original's
data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
width: int = 24  # channels in the slim network's first stage
epochs: int = 10  # passes over each step's images
seed: int = 0  # of everything random
memory: int = 400  # images that may be remembered
memory_epochs: int = 16  # GDumb: passes over the memory, a power of two
replay: int = 32  # ER, MIR, DER++: remembered images in each update (DER++: in each of its two draws)

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

# Other options can be assigned above by their names, too; `cldf run 09 --options` lists them.
parameters = from_notebook("09_robustness", globals())
options = parameters.options()

# %%
import numpy as np
import pandas as pd
from IPython.display import display

from cldf_core import figures
from cldf_core.data.corruptions import SEVERITIES, VERSIONS
from cldf_core.data.domains import SPLITS
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.data.images import open_image
from cldf_core.detection import robustness
from cldf_core.detection.detector import load_detector
from cldf_core.evaluation import robustness as tables
from cldf_core.evaluation.robustness import AVERAGE, GUESSING
from cldf_core.figures import sentences
from cldf_core.interact.one_image import one_image
from cldf_core.runs.run import find_run, load_spectra
from cldf_core.spectrum import InputSpec, log_magnitude

figures.theme()
highlight = ("sequential", "joint", "mir")  # in colour: the two that all are compared with, and notebook 13's detector
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
# <!-- setting -->
#
# σ is the width of the Gaussian bell with which a blur averages neighbours. Noise of factor 1 has a standard
# deviation of 0.1 on pixels between 0 and 1, which is about 26 of 256 grey levels. <!-- setting -->
#
# **One step comes first, for every image, real or fake: it is saved once as a JPEG file of quality 95.** Some domains
# are stored without loss, others as JPEG files already. Without this common step, the same JPEG file would be the
# first loss for one image and the second for another. Each corruption then starts from this common image, alone; so
# *JPEG 95* is below the second save at this quality. <!-- setting -->
#
# An image that is enlarged loses its rim, since the network looks at a crop of fixed size from its centre. An
# image that would become smaller than this square cannot be looked at. So it is made smaller *and then brought back
# to its old size*: the detail is lost all the same, and no image has to be left out.
#
# The runs are found by their options. If one is missing, the next cell says which.

# %%
runs = {agent: find_run(own) for agent, own in parameters.runs.items()}  # of notebooks 03 to 07
domains = load_spectra(options)
pd.DataFrame({figures.agent_name(a): {"run": r.path.name, "started": r.manifest["started"]} for a, r in runs.items()}).T

# %% [markdown]
# ## What does it look like?
#
# One fake of the first domain, with much detail: as it is stored, saved once in the common way, and in the harshest
# version of each corruption. Below each picture is the mean spectrum of some fakes in this version (`sampled` in the
# cell), drawn as in notebook 02, with frequency zero in the middle. These are training images, as there: test images
# are measured and not looked at. What becomes of the spectrum, and would you notice it in the picture?

# %%
shown = [("stored", 0.0), ("none", 0.0), ("JPEG", 30), ("resize", 0.5), ("resize", 1.5), ("blur", 2.0), ("noise", 1.0)]
titles = [{"none": "saved once"}.get(name, f"{name} {severity:g}" if severity else name) for name, severity in shown]
planes, sampled = {}, 40
for name, spectra in domains.items():
    looked_at = next(part for part in SPLITS if part in set(spectra.table["split"]))  # train, where there is one
    table = spectra.table[spectra.table["split"] == looked_at]
    for label in sorted(table["label"].unique()):
        chosen = robustness.sample(table[table["label"] == label], sampled)["image"]
        cut = [robustness.crops_of(spectra.root, image, options, shown) for image in chosen]
        planes[name, label] = np.stack([log_magnitude(np.stack(same)).mean((0, 1)) for same in zip(*cut, strict=True)])
        if name == options.stream[0] and label == 1:
            pictures = dict(zip(titles, max(cut, key=lambda own: np.diff(own[0].astype(float)).std()), strict=True))
figure = figures.corrupted_examples(pictures, dict(zip(titles, planes[options.stream[0], 1], strict=True)))
save_figure(figure, out.figures, "09_examples")

# %% [markdown]
# Is any of the pictures hard to recognise? People do not mind corruptions that leave this as it is. The spectra tell
# more. Compare each with the first one, most of all at the rim, where the fast waves are. Where it is darker now,
# waves were lost; where it is brighter, waves were put in. Enlarging draws everything towards the middle.
#
# What a detector needs is not the spectrum of the fakes but how it *differs* from that of the reals. Notebook 02 showed
# this difference for each domain, in the second row of its mean spectra. Here it is again, for the same versions. A row
# is a domain; all panels share one scale. Red: the fakes have more of a frequency. Blue: they have less. White: no
# difference.
#
# Below it, one training photograph and its fake are yours, with a slider for each corruption (here one after another:
# resized, then blurred, then saved). Which corruption do you expect to turn the verdict first? And in which direction:
# does the fake look real, or the real one fake?
#
# <details><summary>What to look for (move the sliders first)</summary>
#
# Both can happen, and which one does is what the network has learned: if a fake of its domains is what lacks high
# frequencies, then a blurred photograph has the same trace. If a fake is what has a grid, it is gone with the fast
# waves, and the fake looks real. Change the network: another one, which saw the same images, may turn elsewhere.
#
# </details>

# %%
both = [name for name in domains if (name, 0) in planes and (name, 1) in planes]
apart = {name: planes[name, 1] - planes[name, 0] for name in both}
save_figure(figures.differences_left(apart, titles, options.stream), out.figures, "09_differences")

first = domains[options.stream[0]]
looked_at = next(part for part in SPLITS if part in set(first.table["split"]))  # train, where there is one
reals, fakes = (first.table.query("split == @looked_at and label == @label") for label in (0, 1))
fake = fakes.iloc[0]
real = reals.iloc[(reals["group"] != fake["group"]).to_numpy().argmin()]  # of the same photograph, if there is one
pair = tuple(open_image(first.root / row["image"]) for row in (real, fake))
networks = {agent: load_detector(str(run.path)).network for agent, run in runs.items() if agent != "separate"}
one_image(pair, networks, InputSpec.from_options(options))

# %% [markdown]
# The first column is what notebook 02 has shown: the traces that there are to find. Go along each row. Where a panel
# turns white, reals and fakes have become alike. Where it keeps its colours, the trace is still there, and a network
# *could* still use it. (The lines of a grid are too fine for these panels; further down they are measured.)
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
table = tables.curves(measured.scores, options.stream)
traces = tables.trace_curves(measured.traces)
step = tables.common_step_changes(measured.scores, options.stream)
for name, made in (("curves", table), ("traces", traces), ("common_step", step)):
    save_table(made, out.figures, f"09_{name}")
once = measured.scores[measured.scores["corruption"] == "none"]
once = once.drop_duplicates(["domain", "image"])
print(f"{len(once)} images of {once['group'].nunique()} groups (photographs), {len(VERSIONS)} versions,")
print(f"{len(measured.scores):,} scores by {measured.scores['agent'].nunique()} agents")
once.groupby(["domain", "label"], sort=False).size().unstack().rename(columns={0: "real", 1: "fake"})

# %% [markdown]
# ## What does the common step change by itself?
#
# Before anything else: can you tell the second picture above from the first? And can the detectors? Open marks are
# the images as they are stored, filled marks the same images saved once more. The lines are 95 % intervals over
# photographs, each real image together with the fakes made from it (notebook 03).
#
# Where the filled mark lies well to the left of the open one, this light compression alone has taken a part of
# what the network relied on. Compare domains that are stored without loss with domains whose files were JPEG files
# before, in training too: is the loss the same? (Notebook 01 lists how each domain is stored.) How much is shown to
# have changed, the *difference* on the same photographs tells, with its interval. In balanced accuracy, which is the
# mean of that on reals and that on fakes, the sentences below the figure say it.

# %%
by_domain = table[table["domain"] != AVERAGE]
save_figure(figures.common_step(by_domain, options.stream), out.figures, "09_common_step")

# %% tags=["sentences"]
step_changes = saved_table(out.figures, "09_common_step")
sentences.show(
    sentences.compared(part, f"Saved once minus as stored, {'trained domains' if name == AVERAGE else name}")
    for name, part in step_changes.groupby("domain", sort=False)
)

# %% [markdown]
# ## How do verdicts change with the severity?
#
# Now the four corruptions. *Accuracy* is the share of right verdicts, and 0.5 (dotted) is guessing. *AUC* is the chance
# that a fake gets a higher score than a real image; it does not depend on a threshold. Both are means over the trained
# domains. Severities stand at equal distances, whatever their numbers. Images that were saved once, and to which
# nothing more is done (*once*, 0, or factor 1), are the first mark of each curve for blur and noise, the middle one for
# resizing, and the second for JPEG, where the image as it is stored stands before it. Three agents have their colours
# and intervals; the others are grey, and their numbers are in `09_curves.csv`.
#
# Follow each line from where nothing more is done to the harshest corruption. Two things to see. *Where does a line
# begin to fall?* And *does AUC fall with accuracy?* Where accuracy is at the dotted line while AUC is still above it,
# the network still ranks the images better than by chance, but its threshold no longer fits: it says "fake" too often,
# or "real". (A line may also rise. A corruption can push images back to the right side of a threshold that fitted
# badly; where AUC rises with accuracy, the images are also ranked better than without.) The table below the figure
# counts what is called fake in the harshest version of each corruption: left the share of real images that are called
# fake (wrongly), right the share of fakes (rightly). Two numbers that are alike mean that the verdict has next to
# nothing to do with the class: both near 1, and everything is fake; both near 0, and everything is real; both in
# between, and it follows something else. (They are means over domains, which may differ.) Then it is said what the
# curves show there.

# %%
save_figure(figures.against_severity(table, highlight=highlight), out.figures, "09_average")
verdicts = measured.scores.assign(fake=measured.scores["score"] >= 0.5)
verdicts = verdicts[verdicts["domain"].isin(options.stream)]
harshest = {"none": 0.0, **{name: severities[-1] for name, severities in SEVERITIES.items()}}
verdicts = verdicts[verdicts["corruption"].map(harshest) == verdicts["severity"]]
share = verdicts.groupby(["agent", "corruption", "label"], sort=False)["fake"].mean().unstack()
both = share[0].map("{:.2f}".format) + " / " + share[1].map("{:.2f}".format)
columns = [f"{name} {s:g}" if s else "saved once" for name, s in harshest.items()]
said = both.unstack()[list(harshest)].set_axis(columns, axis=1).rename(index=figures.agent_name)
said.rename_axis("share called fake: of reals / of fakes")

# %% tags=["sentences"]
ends = saved_table(out.figures, "09_curves")
ends = ends[(ends["domain"] == AVERAGE) & ends["metric"].isin(["balanced accuracy", "AUC"])]
sentences.show(
    sentences.compared(part, f"{metric}, {name} {severities[-1]:g}", line=GUESSING)
    for name, severities in SEVERITIES.items()
    for metric, part in ends[(ends["corruption"] == name) & (ends["severity"] == severities[-1])].groupby("metric")
)

# %% [markdown]
# ## Which traces are left?
#
# Notebook 02 found two kinds of traces. A **grid**: the lines of the spectrum at a period of 2 pixels stand out, by a
# ratio above 1. And **bands**: the fakes have more or less of the low, middle or high frequencies than the reals. We
# measure both in exactly the images that the networks have judged, and put them below the accuracy of the same domain.
# If a trace goes and the accuracy goes with it, the network may have relied on it. If the accuracy goes and the trace
# stays, then this trace alone was not enough for the network, or it was not used.
#
# In each figure a column is a domain. *Above*: accuracy, as before. *Middle*: the grid of real (solid) and fake
# (dashed); where the dashed line comes down to the dotted one, no grid is seen any more. *Below*: fake minus real in
# three bands; where a line reaches zero, no difference in strength is seen there. Shaded are the 95 % intervals over
# photographs.
#
# **JPEG**, the first figure. The first two marks of each panel are the image as it is stored, and saved once in the
# common way. Compare the second mark with the first: that is the common step.
#
# **Resize**, the second one. A factor below 1 removes all waves that are faster than the factor times Nyquist. (Where
# less than the network's crop would be left, the image is enlarged back, which brings copies of slower waves.) A factor
# above 1 *moves* all traces to lower frequencies. A grid of period 2, for example, becomes one of period 2.5 or 3, and
# the middle row looks for it in the old place. <!-- setting --> Factor 1 is the image to which nothing more was done.
# See on which side of it the lines fall more steeply, above, and what the traces do there.


# %%
def draw(corruption: str) -> None:
    figure = figures.verdicts_and_traces(by_domain, traces, corruption, options.stream, highlight=highlight)
    save_figure(figure, out.figures, f"09_{corruption.lower()}")


draw("JPEG")
draw("resize")

# %% [markdown]
# **Blur**, the first of the next two, multiplies each wave by a number that depends on its frequency alone, the same in
# real and fake. In the logarithm that is a constant, and fake minus real would stay what it is, if the image went on
# beyond an edge with what is at the opposite one, and if pixels were not rounded to 256 levels. <!-- setting --> But
# opposite edges do not match: this jump has waves of all frequencies, and where the image's own have become weaker, the
# jump and the rounding are what is left. See whether the lines of the *high* band meet zero, at which σ, and whether
# the accuracy holds out any longer. The *low* band is weakened least. Where its line is away from zero while the
# accuracy is at the dotted line, a network that had learned to look there could still tell fakes from reals.
#
# **Noise**, the second one, adds waves of all frequencies, equally strong in real and fake. Where the image's own waves
# are weaker than that, the noise is all that is left. Again, compare how soon the three bands lose their difference,
# and the grid its height, with the fall of the accuracy.

# %%
draw("blur")
draw("noise")

# %% [markdown]
# ## Which trace survives what?
#
# The same as a table. A trace is *shown* if the interval of fake minus real does not contain 0 in the images as they
# are stored. The table lists these traces. The column *saved once* is the common step: "not shown" means that after
# this light compression alone the trace is not shown any more, so there is nothing to be followed. Each other cell
# names the mildest severity at which the trace is no longer shown: the interval contains 0, or has changed its side. A
# dash: it is shown at all severities that were tested. (A grid's value is ln of the ratio.) An interval that contains 0
# does not prove that nothing is left: with more images a weaker trace would still be seen.

# %%
surviving = tables.survival(traces, SEVERITIES)
save_table(surviving, out.figures, "09_survival")
marks = surviving["severity"].map("{:g}".format).mask(surviving["corruption"] == "none", "not shown")
text = surviving.assign(severity=marks.mask(surviving["severity"].isna(), "–"))
text["domain"] = pd.Categorical(text["domain"], list(domains))
wide = text.pivot(index=["domain", "trace", "value"], columns="corruption", values="severity").fillna("")
wide = wide.reindex(columns=["none", *SEVERITIES]).reset_index("value").sort_index().round(2)
display(wide.rename(columns={"value": "fake − real", "none": "saved once"}).rename_axis(columns=None))

# %% tags=["sentences"]
lasting = saved_table(out.figures, "09_survival")
lasting["outlasts all"] = lasting["severity"].isna()
sentences.show(
    sentences.counted(part, f"Traces that are still shown, {where}", "outlasts all", True, by=["domain", "trace"])
    for name, part in lasting.groupby("corruption", sort=False)
    for where in ["saved once" if name == "none" else f"{name} at every severity"]
)

# %% [markdown]
# ## What can be said
#
# **Which severity of each corruption halves the lead over guessing, and for which agent?** The lead is the
# balanced accuracy (the mean of that on reals and that on fakes) minus 0.5, on average over the trained domains.
# Each cell names the mildest severity that leaves at most half of the lead that the agent has on images saved in
# the common way; in brackets, which one of the tested severities that is, counted from the mildest. A dash: none
# of them does. An empty cell: the agent is not shown to be better than guessing to begin with, so there is nothing to
# be halved. Half of a lead is half of an estimate: these severities have no interval. Below the tables, the same in
# words for the balanced accuracy.

# %%
for metric in ("balanced accuracy", "AUC"):
    lost = tables.halved(table, SEVERITIES, metric)
    save_table(lost, out.figures, f"09_halved_{metric.split()[0]}")
    text = np.where(lost["known"], "–", "").astype(object)
    reached = lost["tried"].notna()
    text[reached] = [f"{r.severity:g} ({r.tried:.0f})" for r in lost[reached].itertuples()]
    wide = lost.assign(text=text).pivot(index=["agent", "lead"], columns="corruption", values="text")
    wide = wide.reindex(columns=list(SEVERITIES)).reindex(list(runs), level="agent").reset_index("lead").round(2)
    display(wide.rename(index=figures.agent_name).rename_axis(index=f"{metric} halved by", columns=None))

# %% tags=["sentences"]
halving = saved_table(out.figures, "09_halved_balanced")
sentences.show(
    sentences.reached(part[part["known"]], f"Lead halved, {figures.agent_name(agent)}", "severity", by="corruption")
    for agent, part in halving.groupby("agent", sort=False)
)
once_saved = saved_table(out.figures, "09_curves").query("domain == @AVERAGE and metric == 'balanced accuracy'")
sentences.show(
    sentences.compared(once_saved[once_saved["corruption"] == name], f"Balanced accuracy, {words}", line=GUESSING)
    for name, words in (("stored", "as stored"), ("none", "saved once"))
)

# %% [markdown]
# Severities of different corruptions cannot be compared with each other: that blur comes earlier in its list than
# JPEG in its own says something about these lists. What can be compared are the agents within one column, and the
# severities with what is common: messengers save at qualities around 70 to 90, and a resize to 0.75 is nothing
# unusual. <!-- setting -->
#
# An agent with a small lead has little to lose. So read the columns of the tables together with the column *lead*.
#
# **Exercise.** Compute one of these numbers by hand: take the scores of ER from `measured.scores`, for images that were
# saved once (`corruption == "none"`), and from them the mean over the trained domains of the balanced accuracy. It must
# be the `value` that `table.query("agent == 'er' and domain == @AVERAGE and corruption == 'none'")` has for this
# metric.
#
# ## Limits
#
# * **Nobody was trained for this.** Detectors for use are trained on corrupted images, too (*augmentation*), and
#   then bear much more. What you see is what happens without.
# * **One seed.** The intervals say what other test photographs would change, not what another training would, with
#   another seed or with other training photographs.
# * **Many comparisons.** Of so many 95 % intervals some are off by accident, also in the table of traces.
# * **One at a time.** Real images go through several corruptions, one after another.
# * **Averages hide domains.** An agent may keep its accuracy on one domain and lose it on another; the figures by
#   domain show it.
# * **Other agents' lines are grey.** Which three are in colour was decided before any result was seen.
# * **Small images.** The embedded images are as large as the network's square, so all that are made smaller come back
#   to their old size. Where images are larger than the square, they stay shrunk as long as they can.
# * Separate models have a network for each trained domain, and none for the unseen one: there they are left out.
#
# **Next:** notebook 10 asks which frequencies the networks look at.
