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
# # 14 · Limited new data: how few new fakes are enough?
#
# **The idea.** When a new family of fakes appears, a handful of examples is all there is. Are they enough to learn it?
# And do few images at least do less harm to what was known before, since they have less to say? It is not that simple:
# what is trained on for as long, but on fewer images, may be bent to fit just these.
#
# **What you will learn.** What a detector gains from few new images, what it loses on old fakes while it learns them,
# and whether the agents of notebooks 04 to 07 need fewer than plain training.
#
# **What you need.** Notebooks [03](03_without_continual_learning.ipynb) and [07](07_er_and_mir.ipynb). Words:
# [forgetting](../docs/glossary.md#forgetting), [average](../docs/glossary.md#average),
# [learning](../docs/glossary.md#learning), [replay](../docs/glossary.md#replay), [seed](../docs/glossary.md#seed),
# [interval](../docs/glossary.md#interval), [significant](../docs/glossary.md#significant). Letters:
# [symbols](../docs/symbols.md).
#
# **Reads** the data set named by `data` below, and the tables of `cldf sweep limited`, if it was run. **Writes** four
# runs to `runs/sequential-…` and `runs/er-…` (two of them are those of notebooks 03 and 07), and this notebook's
# figures and tables to `runs/14_limited_new_data-…/figures/`.
#
# **Time**: about seven minutes on one core; four where notebooks 03 and 07 were run; seconds when all runs exist.

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

# Other options can be assigned above by their names, too; `cldf run 14 --options` lists them.
parameters = from_notebook("14_limited_new_data", globals())
options = parameters.options("sequential")

# %%
import argparse
import shlex

import numpy as np
import pandas as pd

from cldf_core import figures
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.evaluation import bootstrap
from cldf_core.evaluation.cells import agent_name, as_text, cell_values, metric_name, with_interval
from cldf_core.evaluation.crossed import against_itself
from cldf_core.evaluation.limited import NOT_FEWER, SHARE, images_needed
from cldf_core.figures import sentences
from cldf_core.original.flags import add_flags, completed, options_of
from cldf_core.results import ledger
from cldf_core.results.sweep_tables import code_in_words
from cldf_core.runs.run import load_spectra, make_run, training_samples
from cldf_core.stream import Samples, make_steps
from cldf_core.workflow import sweep

figures.theme()
out = parameters.folder
split = "test" if "test" in options.splits else "validation"

# %% [markdown]
# ## The question
#
# The paper behind this project has it in its title: *continual learning on limited data*. The detector is trained on
# many images of the fakes that everybody knows, and is then updated with few of each new kind. Here the option
# `limit_new` says how few: so many real images, and as many fakes, of every domain but the first. They are drawn at
# random, anew for each seed. The test images stay the same.
#
# Fewer images make an epoch shorter. If only the number of epochs were kept, a domain of few images would get few
# *updates* as well, and one could not say which of the two made the difference. So a step with few images goes through
# them as often as it takes to make as many updates as with all of them, rounded up to whole epochs (the option
# `limited`, whose default is `equal-updates`; with `equal-epochs` it keeps the epochs).
#
# Two numbers answer the question. Let $R_{t,i}$ be the accuracy on domain $i$ after step $t$ (notebook 03), and $T$ the
# number of domains:
#
# * the **gain**, $\frac{1}{T-1} \sum_{i \ge 2} (R_{i,i} - R_{i-1,i})$: how much better a new domain is known just after
#   its step than just before it;
# * **forgetting** (max-last), as in notebook 03: what the old domains lose by the end.
#
# Both are of a whole stream: with few images, *all* new domains have few, those that are old by then included.
#
# ## Two sizes, two ways to learn
#
# How many training images of each class does each domain have, with all of them and with few?

# %%
few = options.limit_new or 10  # new images a class; change it, or set limit_new
sizes = {f"{few} new images a class": few, "all images": None}
spectra = load_spectra(options)
counts = {
    size: {name: np.bincount(part.labels).max() for name, part in training_samples(own, spectra)}
    for size, own in ((size, parameters.options(limit_new=limit)) for size, limit in sizes.items())
}
everything = max([*counts["all images"].values()][1:], default=0)
pd.DataFrame(counts).T

# %% [markdown]
# The next cell trains sequential fine-tuning (notebook 03) and ER (notebook 07) with both, or reads the runs that were
# made before with these options: those with all images are the runs of these notebooks. The table says how often an
# image went through the network in each step; ER's replayed images count. Where all images of a step are fewer than a
# batch, its updates are as many, but each of them is made from fewer images.

# %%
runs = {
    (agent, size): make_run(parameters.options(agent, limit_new=limit))
    for agent in ("sequential", "er")
    for size, limit in sizes.items()
}
scores = {key: run.scores() for key, run in runs.items()}
passed = {
    f"{agent_name(agent)}, {size}": pd.DataFrame(run.manifest["steps"]).groupby("domain", sort=False)["images"].sum()
    for (agent, size), run in runs.items()
}
pd.DataFrame(passed).T

# %% [markdown]
# **Predict, then look.** With few images, will a *new* domain be known less well in its frame? Will the *old* domains,
# below the frames, be forgotten less, as much, or more? There are arguments for either: few images say little that
# could overwrite the old; but a network that sees the same few again and again may bend itself to fit just these.
#
# <details><summary>How the two arguments can be told apart</summary>
#
# By the number of updates. Here it is the same for few and for all images. If few images did less harm merely because
# they are few, it would show with equal updates, too; if the harm comes with the number of updates, few images do as
# much of it, or more, since they say less of what the new domain is. The section on equal epochs, below, changes the
# other one of the two.
#
# </details>

# %%
for agent in ("sequential", "er"):
    cells = pd.concat(cell_values(scores[agent, size].assign(agent=f"{agent},\n{size}"), split=split) for size in sizes)
    save_figure(figures.matrices(cells, options.stream), out.figures, f"14_matrix_{agent}")

# %% [markdown]
# $R_{t,i}$ is the accuracy after step $t$ (row) on domain $i$ (column), with half of its 95 % interval. Where it says
# “all real” or “all fake”, (nearly) every image gets this one verdict, and the accuracy is the share of that class. The
# accuracies in the first row are the same in both panels of an agent, since the first domain is always trained with all
# its images. (Their intervals may differ: how alike the images of a photograph are is estimated from all cells of a
# run.) What the number of images does is the *difference*, few minus all, on the same test photographs:

# %%
chosen = ["gain", "forgetting (max-last)", "average"]
small, whole = sizes
parts = [
    bootstrap.paired_difference(scores[agent, small], scores[agent, whole], options.stream, split=split).assign(
        agent=agent
    )
    for agent in ("sequential", "er")
]
few_minus_all = pd.concat(parts, ignore_index=True).query("metric in @chosen").assign(images=few)
save_table(few_minus_all, out.figures, "14_few_minus_all")
as_text(few_minus_all, chosen)

# %% tags=["sentences"]
few_minus_all = saved_table(out.figures, "14_few_minus_all")
sentences.show(
    sentences.compared(rows, f"{metric_name('accuracy: ' + metric)}, {images} new images a class minus all, this seed")
    for (metric, images), rows in few_minus_all.groupby(["metric", "images"], sort=False)
)

# %% [markdown]
# (*average*: the mean accuracy over the trained domains at the end. The intervals are over test photographs, with seed
# and training photographs as they are.) One seed is one draw of the few images: with others the numbers would move, and
# no interval of a single run tells how far.
#
# ## From a handful to all
#
# `cldf sweep limited` trains every agent with several numbers of new images, and each of them with several seeds. The
# next cell reads its tables and says of which code they are.
#
# **Predict, then look.** Sketch two curves for sequential fine-tuning against the number of new images: what the new
# domains gain, and what the old ones lose. Do they rise or fall, and where do they flatten? Then sketch them for an
# agent that keeps old images.
#
# <details><summary>What to look for in your sketch</summary>
#
# Whether your curve of the gain is steep at the left: the first images of a domain say most, if all its fakes have one
# trace in common, and little, if they have many. And whether you have drawn forgetting as a mirror image of the gain.
# It need not be: what is lost on old domains depends on where the new images push the weights, not on how well the new
# ones are learned.
#
# </details>

# %%
kinds = {"accuracy: gain": "gained on new domains", "accuracy: forgetting (max-last)": "lost on old ones"}


def with_images(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the number of new images a class; without a limit it is that of all."""
    return table.assign(images=pd.to_numeric(table["limit_new"], errors="coerce").fillna(everything).astype(int))


means, tests = (with_images(read("limited", parameters)) for read in (sweep.means, sweep.tests))
means, tests = (table[table["metric"].isin(kinds)] for table in (means, tests))
made = f"{means['n'].max()} seeds, {code_in_words(means) or 'made with the code of today'}" if len(means) else "not run"
print(f"cldf sweep limited: {made}")
curves = means[["agent", "images", "metric", "value", "low", "high", "n", "spread"]]
save_table(curves, out.figures, "14_curves")
if len(curves):
    beside = {agent: "sequential" for agent in curves["agent"].unique() if "," not in agent}
    grey = f"the same, {agent_name('sequential')}"
    figure = figures.against_images(curves, kinds, beside, grey=grey, everything=everything)
    save_figure(figure, out.figures, "14_curves")

# %% [markdown]
# A panel is an agent. *Solid*: the gain; *dashed*: forgetting; grey: those of sequential fine-tuning. The bands are 95
# % intervals over seeds and test photographs, with the training photographs as they are. Three things to see. Where
# does a solid line become flat, so that more images add little? Does the dashed line rise or fall along the axis? And
# which agent lies above the grey solid line *and* below the grey dashed one? A gain can also be small because the agent
# knew the new domain before, so a low solid line is no fault by itself.
#
# Do the fewest images already help, and what is lost with them? How much do few cost? Few minus all again, now for each
# agent, from the scores of all its runs, at the number of images that is nearest to `few`. The gain alone does not tell
# it: it counts from a network that has itself seen few, so that the same gain may end lower. Where it ends says
# *learning*, the accuracy on a domain just after its step, and what is left of all of it, the *average* at the end. And
# do the agents differ from sequential fine-tuning there? All these intervals are over seeds and photographs, crossed
# (notebook 08). With so many agents, a difference counts only if it holds after Holm's correction as well.

# %%
kept = with_images(sweep.scores("limited", parameters, "limit_new"))
kept = kept[~kept["agent"].str.contains(",")]
near = min(set(kept["images"]) - {everything}, key=lambda size: abs(size - few), default=few)
costs = [*kinds, "accuracy: learning", "accuracy: average"]
cost = against_itself(kept[kept["images"].isin([near, everything])], "images", everything, options.stream)
cost = ledger.corrected(cost[cost["metric"].isin(costs)])
code = {"code": ", ".join(means["code"].unique())}
columns = ["metric", "images", "agent", "value", "low", "high", "n", "spread", "significant"]
save_table(cost[columns].assign(all=everything, **code), out.figures, "14_cost")

of_agents = tests[(tests["images"] == near) & ~tests["first"].str.contains(",") & ~tests["second"].str.contains(",")]
others = ledger.minus(of_agents, "sequential")
save_table(others[[*columns, "reference"]], out.figures, "14_others_minus_sequential")

# %% tags=["sentences"]
curves, cost = saved_table(out.figures, "14_curves"), saved_table(out.figures, "14_cost")
others = saved_table(out.figures, "14_others_minus_sequential")
fewest = curves[(curves["images"] == curves["images"].min()) & ~curves["agent"].str.contains(",")]
sentences.show(
    sentences.compared(rows, f"{metric_name(metric)}, {images} new images, {n} seeds, each by itself", line=0)
    for (metric, images, n), rows in fewest.groupby(["metric", "images", "n"], sort=False)
)
sentences.show(
    sentences.compared(rows, f"{metric_name(metric)}, {images} new images minus all, {n} seeds", also=ledger.TESTED)
    for (metric, images, n), rows in cost.groupby(["metric", "images", "n"], sort=False)
)
sentences.show(
    sentences.compared(
        rows, f"{metric_name(metric)}, minus {agent_name(base)}, {images} new images, {n} seeds", also=ledger.TESTED
    )
    for (metric, base, images, n), rows in others.groupby(["metric", "reference", "images", "n"], sort=False)
)

# %% [markdown]
# ## Equal epochs instead of equal updates
#
# So far a step with few images made as many updates as one with all of them. What if it made as many epochs, and so far
# fewer updates? Both rows are in the sweep for sequential fine-tuning and ER.
#
# **Predict, then look.** With equal epochs a step with few images makes few updates. Which of the two lines will that
# change more, the solid or the dashed one?

# %%
shorter = [agent for agent in curves["agent"].unique() if agent.endswith(", equal epochs")]
if shorter:
    beside = {agent: agent.partition(",")[0] for agent in shorter}
    figure = figures.against_images(curves, kinds, beside, grey="the same, equal updates", everything=everything)
    save_figure(figure, out.figures, "14_equal_epochs")
fewer = tests[tests["images"] < everything]  # with all images the two are one
pairs = pd.concat(ledger.changed(fewer, agent) for agent in ("sequential", "er"))
pairs = pairs.assign(size=[f"{images} images" for images in pairs["images"]])
save_table(pairs[[*columns, "reference", "size"]], out.figures, "14_epochs_minus_updates")

# %% tags=["sentences"]
pairs = saved_table(out.figures, "14_epochs_minus_updates")
sentences.show(
    sentences.compared(
        rows,
        f"{metric_name(metric)}, {agent_name(base)}, equal epochs minus equal updates, {n} seeds",
        by="size",
        also=ledger.TESTED,
    )
    for (base, metric, n), rows in pairs.groupby(["reference", "metric", "n"], sort=False)
)

# %% [markdown]
# At the right end both are the same: all images, all epochs. If the two lie apart at the left, then what few images do
# is in part a question of how long one trains on them, and not only of how few they are.
#
# ## How many are enough?
#
# That depends on what one calls enough. Here: **as many as give 0.9 of the gain that all images give**. For each seed
# we take the gain with $n$ images minus 0.9 of that with all, then the mean over seeds, with its interval over seeds
# and photographs. Where it is above 0, $n$ images are enough. It is the gain that is asked for here, and not how much
# is known in the end. <!-- setting -->

# %%
left = against_itself(kept, "images", everything, options.stream, share=SHARE)
left = left[left["metric"] == "accuracy: gain"].sort_values("images", kind="stable")
left = left[["agent", "images", "value", "low", "high", "n", "spread"]]
save_table(left, out.figures, "14_left_to_gain")
gained = curves[(curves["metric"] == "accuracy: gain") & (curves["images"] == curves["images"].max())]
known = set(gained.loc[gained["low"] > 0, "agent"])
needed = images_needed(left)
needed = needed.assign(share=SHARE, known=needed["agent"].isin(known), **code)
save_table(needed, out.figures, "14_images_needed")
text = left.assign(text=[with_interval(row, "+.3f") for row in left.itertuples()])
text = text.pivot(index="agent", columns="images", values="text").reindex(kept["agent"].unique())
text = text.rename(index=agent_name).rename_axis(
    index=f"gain minus {SHARE:g} of that with all", columns="new images a class"
)
text if len(left) else "Not run: cldf sweep limited"

# %% tags=["sentences"]
needed = saved_table(out.figures, "14_images_needed")
sentences.show(
    sentences.reached(
        rows,
        f"New images a class from which on {share:g} of the gain is had, {how}, {n} seeds (tried: {tried}, and all)",
        column,
        by="agent",
        never_at=NOT_FEWER[column],
    )
    for (share, n, tried), rows in needed[needed["known"].astype(bool)].groupby(["share", "n", "tried"])
    for column, how in (("reached", "by the mean over seeds"), ("shown", "by the whole interval, each by itself"))
)

# %% [markdown]
# The first line says from which of the tried numbers on the *mean* is at 0 or above it. The second asks that of the
# whole interval, which says more, and takes more seeds to say: a number there that is larger than in the first line
# does not mean that more images are needed, it can mean that more seeds are. Agents whose gain with all images is not
# shown to be above 0 are left out. Nor are the lines a ranking: who gains little with all images has soon reached 0.9
# of it. <!-- setting -->
#
# ## The original's limited sets
#
# The original code knows four training sets whose names end in `-LD`, for *limited data*: `VFHQ-F-LD`, `GAN-S-LD`,
# `ForenSynths-LD`, `FaceForensics-LD`. They are folders of their own beside the others, and how many images are in them
# is not known here. In its command line they take the place of the full sets. Whoever has the data can type

# %%
command = """cldf train --training_set GAN-S VFHQ-F-LD ForenSynths-LD FaceForensics-LD
    --test_set GAN-S VFHQ-F ForenSynths FaceForensics NeuralTextures --continual_learning CL --cl_type ni
    --agent ER --retrieve MIR --update random --mem_size 5000"""
parser = argparse.ArgumentParser()
add_flags(parser)
original = options_of(completed(parser.parse_args(shlex.split(command)[2:])))
for name in ("agent", "stream", "epochs", "chunks", "batch", "drop_last"):
    print(f"{name}: {getattr(original, name)}")

# %% [markdown]
# (`--limit 20` would make a limited set out of a full one: ten real images and ten fakes of *every* domain, the first
# included.) The original cuts each domain into ten chunks, which come one after another, trains on each for so many
# epochs in batches of ten, and drops a batch that is not full. What does that leave of a small domain? Before you look:
# with how many images does training begin? <!-- setting -->

# %%
rows = []
for count in (5, 10, 25, 45, 50, 100, 250, 500):
    images = Samples.from_array(np.zeros((2 * count, 1, 1, 1), np.float32), np.repeat([0, 1], count))
    steps = make_steps([("a domain", images)], original)
    chunk, updates = max(len(step.samples) for step in steps), sum(step.updates for step in steps)
    rows.append((count, 2 * count, chunk, updates))
pd.DataFrame(rows, columns=["images a class", "images", "images in a chunk", "updates"]).set_index("images a class")

# %% [markdown]
# A domain of at most 90 images has only chunks smaller than a batch, so **the original makes no training step on it at
# all**, and says nothing. (Here a note says it.) The domain is still tested, and whatever is reported for it is
# transfer from others. Above that, its updates grow with the images, so that fewer images are also less training, as
# with `limited: equal-epochs`. <!-- setting -->
#
# ## Limits
#
# * **Few seeds.** Each sentence says how many the sweep had. So few may miss even large differences: what is not shown
#   may still be there.
# * **These training photographs.** The few are drawn anew for each seed, so the spread over seeds holds the luck of
#   that draw; but always from the same photographs, which themselves were never varied: all intervals hold for these
#   training photographs.
# * **Every new domain is limited alike**, and the first one never is. A detector in use would have many images of some
#   kinds and few of others (the option `limits` sets a number for each domain).
# * **What was chosen was chosen with all images.** An agent's values are those that `cldf choose` took with all images
#   of the first two domains; with few, others may be better. Epochs, batch size and default learning rate, common to
#   all agents but for GDumb's memory (notebook 05), were chosen before that, on the validation photographs of the
#   default stream. <!-- setting -->
# * **Crops of few photographs.** Ten fakes of the embedded benchmark may be crops of the same photograph; ten images
#   from ten sources would hold more. <!-- setting -->
# * **Many comparisons.** Of many 95 % intervals some do not hold the truth. The differences of the sweep, between
#   agents, numbers of images and ways to train, are corrected for that. Those of this seed, the gain and the forgetting
#   with the fewest images, and the images that are enough are not.
#
# ## Exercise
#
# ER replays `replay` images with each batch. With ten new images a class, is the value that it has here a good one? Try
# three, and **choose on validation photographs**: the runs below score nothing else, so the test photographs stay
# unseen until you have decided. <!-- setting -->
#
# ```python
# for replay in (8, 32, 96):
#     own = parameters.options("er", limit_new=few, replay=replay, splits=["validation"])
#     table = bootstrap.summary(make_run(own).scores(), options.stream, split="validation")
#     print(replay, table.set_index("metric").loc[["average", "gain", "forgetting (max-last)"]].round(3))
# ```
#
# 1. Which would you take, and do the intervals tell them apart? Write it down.
# 2. Only now train your choice with the test split, and compare it with the run above (`bootstrap.paired_difference`).
# 3. These validation photographs are more than the few images that you train on. Would someone who has only ten of a
#    new kind have them? On which domains could that person choose, and would the choice be the same? <!-- setting -->
#
# Or turn the same on the **bench**, on which you can train ER with few new images, as above. Name an option, write a
# value, and train (or read what was trained before). It looks at validation photographs only.

# %%
from cldf_core.interact.bench import Bench

Bench(parameters.changed(limit_new=few), "er")
