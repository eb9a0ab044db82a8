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
# # 03 · Without continual learning
#
# **What you will learn.** What a detector that was trained on one family of fakes does with another family;
# what *forgetting* is and how it is measured; and how good a detector can become when it may see all the images
# at once.
#
# **Reads** the data set named by `data` below. **Writes** three runs (*separate*, *sequential*, *joint*) to
# `runs/`, and this notebook's figures and tables to `runs/03_without_continual_learning-…/figures/`.
#
# **Time**: about six minutes on one core; seconds when the runs exist already.

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

# %%
from cldf_core.workflow.parameters import from_notebook

parameters = from_notebook("03_without_continual_learning", globals())
options = parameters.options()

# %%
import inspect

import pandas as pd

from cldf_core import figures
from cldf_core.agents.finetune import Separate, Sequential
from cldf_core.data.files import save_figure, save_table
from cldf_core.data.runtime import computes_in_bfloat16
from cldf_core.evaluation import bootstrap, metrics
from cldf_core.evaluation.cells import as_text, cell_values, loss_table, with_interval
from cldf_core.runs.run import collect_scores, make_run

figures.theme()
out = parameters.folder
split = "test" if "test" in options.splits else "validation"

# %% [markdown]
# ## The task
#
# A network looks at the spectrum of an image and says *real* or *fake*. New ways of making fakes keep coming.
# We call each of them a **domain**: its fakes, and real images beside them. The domains come one after another,
# in a fixed order, the **stream**. Training on one of them is a **step**. After every step we test the network
# on *all* domains: those it has seen, those that are still to come, and one that it will never be trained on,
# the **unseen** domain.
#
# **Accuracy** is the share of test images that are judged rightly. There are as many fakes as reals, so
# guessing gives 0.5.
#
# ## Three ways to train
#
# * **separate models**: a new network for every domain. Each knows its own domain and nothing else.
# * **sequential fine-tuning**: one network. It is trained on the first domain, then trained further on the
#   second, and so on. It never sees an old image again. This is what most people would do first.
# * **joint training**: at step $t$ a new network is trained on the images of the domains $1, \dots, t$
#   together. It keeps everything for ever, so it is the upper bound, not a solution.
#
# None of the three does anything against forgetting. Their code is correspondingly short. Sequential training
# adds nothing at all to the plain training loop:

# %%
print(inspect.getsource(Sequential))
print(inspect.getsource(Separate))

# %% [markdown]
# The next cell trains the three, or reads the runs if they were made before with the same options.

# %%
runs = {agent: make_run(parameters.options(agent)) for agent in ("separate", "sequential", "joint")}
scores = collect_scores(list(runs.values()))
for agent, run in runs.items():
    m = run.manifest
    print(f"{agent}: {m['images']} images in {m['seconds']:.0f} s of a processor, kept in runs/{run.path.name}")

# %% [markdown]
# ## Did the networks learn at all?
#
# Before looking at test results, look at the training loss, the mean cross-entropy over the images of an epoch.
# A network that guesses has a loss of $\ln 2 \approx 0.69$.

# %%
losses = pd.concat([loss_table(agent, run.manifest["steps"]) for agent, run in runs.items()])
save_figure(figures.losses(losses), out.figures, "03_losses")

# %% [markdown]
# See whether every line falls, and whether it has become flat at the end. The first step is the same for all
# three. Later, a line that starts lower has something to build on: see whether it is the sequential one.
#
# ## What carries over from one domain to another?
#
# Train on domain $i$ alone, test on domain $j$: that gives the **transfer matrix**. It comes from the separate
# models. The number in a cell is the accuracy. The number below it, with ±, is half of its 95 % interval, which
# says how far the number would move with other photographs. (It does not say how far it would move with another
# seed.) A real image and the fakes made from it tend to stand or fall together, so they count as fewer images than
# they are: as many as their verdicts, in all cells together, agree. The interval of so many images is the exact one
# of a proportion (Clopper and Pearson's). It has a width even where every verdict is right.

# %%
cells = cell_values(scores, split=split)
figure = figures.matrices(cells, options.stream, panels=["separate"], rows="trained on this domain only")
save_figure(figure, out.figures, "03_transfer")
save_table(cells, out.figures, "03_cells")

# %% [markdown]
# The framed diagonal is the easy question: same kind of fakes in training and in the test. Everything beside it
# asks for **generalisation**. A dark cell means that what was learned in this row is worthless in that column.
# Also see whether the matrix is symmetric; it need not be.

# %%
own = metrics.matrix(scores[scores["agent"] == "separate"], split=split)[options.stream].to_numpy()
other = [own[i, j] for i in range(len(own)) for j in range(len(own)) if i != j]
print(f"the same domain in training and test: accuracy from {own.diagonal().min():.2f} to {own.diagonal().max():.2f}")
if other:
    print(f"another domain in the test: from {min(other):.2f} to {max(other):.2f};")
    print(f"{sum(x < 0.75 for x in other)} of {len(other)} of these cells are below 0.75")

# %% [markdown]
# ## One network, one domain after another
#
# Now the same matrix for sequential training. A row is no longer one model among others, it is a moment in the
# life of one network: row $t$ is measured after step $t$. We write $R_{t,i}$ for the accuracy after step $t$ on
# domain $i$. Does the network still know the first domain when it has learned the last one?

# %%
figure = figures.matrices(cells, options.stream, panels=["sequential", "joint"])
save_figure(figure, out.figures, "03_matrices")

# %% [markdown]
# Go down a column of the left matrix, from its frame on. The frame is the moment at which the domain was
# learned. If the cells below get darker, the network is losing what it knew. Joint training, on the right, has
# all earlier images at hand in every step: see whether its columns stay bright.
#
# ## Forgetting, as a number
#
# The loss that is descended in step $t$ mentions images of domain $t$ only. Nothing in it says that the answers
# to older images should stay as they are. The weights move wherever the new images push them, and old answers
# change as a side effect. This is called **catastrophic forgetting** (McCloskey & Cohen 1989).
#
# For each old domain we take the best accuracy that it had since it was learned, before the last step, minus the
# one at the end, and average over all domains but the last (Chaudhry et al., ECCV 2018):
#
# $$ F \;=\; \frac{1}{T-1} \sum_{i=1}^{T-1} \Big( \max_{i \le t < T} R_{t,i} \;-\; R_{T,i} \Big) $$
#
# $F = 0$: nothing is lost. $F = 0.3$: an old domain has lost 30 of every 100 right answers, on average. The
# field also uses the word for a second formula, which compares with the moment of learning instead of with the
# best one; here that one is called **backward transfer**, with the opposite sign: $\frac{1}{T-1}\sum_{i<T}
# (R_{T,i} - R_{i,i})$.

# %%
R = metrics.matrix(scores[scores["agent"] == "sequential"], split=split)[options.stream].to_numpy()
T = len(R)
rows = [(name, R[i : T - 1, i].max(), R[T - 1, i]) for i, name in enumerate(options.stream[:-1])]
by_domain = pd.DataFrame(rows, columns=["domain", "best so far", "at the end"])
by_domain["lost"] = by_domain["best so far"] - by_domain["at the end"]
save_table(by_domain, out.figures, "03_forgetting")
by_domain.round(2)

# %% [markdown]
# The mean of the last column is $F$. The library computes it for every agent, with its interval. For such a number
# there is no formula, so the test images are drawn again, with repetition, 1000 times (a **bootstrap**), always whole
# photographs with their fakes. About 95 % of the 1000 results lie in the interval, which is corrected for their
# skewness and for the small number of photographs. Where all results are the same, as those of an agent that makes no
# mistake, they tell nothing about the spread: the number then has no interval.

# %%
summary = pd.concat(
    [
        bootstrap.summary(own, options.stream, split=split).assign(agent=a)
        for a, own in scores.groupby("agent", sort=False)
    ]
)
save_table(summary, out.figures, "03_summary")
F = summary[(summary["agent"] == "sequential") & (summary["metric"] == "forgetting (max-last)")].iloc[0]
print(f"sequential training forgets {F.value:.2f}, 95 % interval {F.low:.2f} to {F.high:.2f}")
if F.low > 0:
    print("The interval is above 0: the loss is more than the accident of these test photographs.")
else:
    print("The interval reaches 0 (or there is one domain only): no forgetting can be shown with these options.")

# %% [markdown]
# ## How far could one get?
#
# Forgetting alone can mislead: an agent that learns nothing has nothing to forget. So look at the course of the
# accuracy as well. The bands are 95 % intervals, the dotted line is guessing.

# %%
both = cells[cells["agent"].isin(["sequential", "joint"])]
save_figure(figures.over_time(both, options.stream), out.figures, "03_over_time")

# %% [markdown]
# Left of the grey bar a domain is still unknown: an accuracy above 0.5 there is transfer from the others. At
# the bar it is learned. The gap between the two lines to the right of the bar is what continual-learning
# methods try to close. All of them have to live with less than joint training has: a small memory, or none.

# %%
names = ["average", "learning", "forgetting (max-last)", "backward transfer", *(f"unseen: {u}" for u in options.unseen)]
as_text(summary, names)

# %% [markdown]
# How to read the table: *average* is the mean accuracy over the trained domains after the last step, *learning*
# the mean at the moment when each was learned. For the separate models, the values across steps compare
# different networks, so their "forgetting" is only a way of saying how little the last network knows of the
# other domains.
#
# ## The unseen domain
#
# A detector meets fakes in the wild that nobody has trained it on. The last column of the matrices, right of
# the gap, stands for them. Is any of the three better than guessing there?

# %%
for row in summary[summary["metric"].str.startswith("unseen")].itertuples():
    conclusion = (
        "better than guessing"
        if row.low > 0.5
        else "worse than guessing"
        if row.high < 0.5
        else "not told from guessing"
    )
    print(f"{row.agent} on {row.metric[8:]}: {with_interval(row)}, {conclusion}")

# %% [markdown]
# Remembering all the domains one has seen is one thing, to recognise a new one is another. The methods in the
# next notebooks are made for the first. Whether they also help with the second is a question for notebook 08.
#
# ## Faster, with fewer digits
#
# A network computes with numbers of 32 bits. GPUs and newer processors multiply numbers of 16 bits in less time.
# Those of the kind **bfloat16** are as large and as small as those of 32 bits, but have only two or three decimal
# digits. In **mixed precision** (`mixed_precision = True`) the network's passes use them, while the weights, and
# what an update adds to them, keep 32 bits (Micikevicius et al., ICLR 2018). Such a run is a slightly different
# experiment, so it is off by default. How different? Here is sequential training in both, all else being the same.
# Before you look: would you expect the average accuracy to fall?

# %%
if options.size >= 64 and (options.device == "cuda" or computes_in_bfloat16()):
    pair = {mixed: make_run(parameters.options("sequential", mixed_precision=mixed)) for mixed in (False, True)}
    full, mixed = (run.scores() for run in pair.values())
    before, after = (run.manifest["seconds"] for run in pair.values())
    print(f"mixed precision: {after / before:.2f} times the seconds ({after:.0f} instead of {before:.0f})")
    moved = (mixed["score"] - full["score"]).abs()
    turned = (mixed["score"] >= 0.5) != (full["score"] >= 0.5)
    print(f"P(fake) moves by {moved.median():.3f} in the median; {turned.mean():.1%} of all verdicts change, both ways")
    difference = bootstrap.paired_difference(mixed, full, options.stream, split=split).set_index("metric")
    for name in ("average", "forgetting (max-last)"):
        if name in difference.index:
            print(f"{name}, mixed precision minus 32 bits: {with_interval(difference.loc[name])}")
else:
    print("Not tried: it needs images of 64 pixels or more, and a processor with instructions for bfloat16.")

# %% [markdown]
# An interval that holds 0 says that these photographs show no difference. The seconds are a gain, but each score has
# changed; so all runs that are compared with each other should compute in the same way. On a processor without
# instructions for bfloat16 it takes longer instead, and a note says so.
#
# **Limits.** One seed, one order of the domains, one small data set. The embedded images are made by small
# generators of this package; the numbers do not compare with published ones.
