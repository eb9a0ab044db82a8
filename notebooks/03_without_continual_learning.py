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
# **The idea.** Train a network on one kind of fakes, then train it further on the next. Nothing in the second training
# speaks for the first kind. Is it *forgotten* then, and if so, for lack of room, or because nobody asks? Beside this
# network stand others: one for each kind, and one that may see all images at once. They tell what was lost, and whether
# there is room for everything.
#
# **What you will learn.** What a detector makes of fakes of another family; how far one gets without a network; how
# forgetting is measured; and how good a detector becomes that sees everything.
#
# **What you need.** Notebooks [00](00_start_here.ipynb), [01](01_data_exploration.ipynb) and
# [02](02_spectral_analysis.ipynb). Words: [stream](../docs/glossary.md#stream), [step](../docs/glossary.md#step),
# [residual network](../docs/glossary.md#residual-network), [loss](../docs/glossary.md#loss),
# [AUC](../docs/glossary.md#auc), [interval](../docs/glossary.md#interval). Letters: [symbols](../docs/symbols.md).
#
# **Reads** the data set named by `data` below, and the table of `cldf sweep ladder`, if there is one. **Writes** four
# runs (*separate*, from spectra and from pixels, *sequential*, *joint*; one more where the processor has bfloat16) to
# `runs/`, and this notebook's figures and tables to `runs/03_without_continual_learning-…/figures/`.
#
# **Time**: about eight minutes on one core; less than one when the runs exist already.

# %% tags=["parameters"]
variant: str = "paper"  # whose defaults: the papers' or the original's
data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
width: int = 24  # channels in the slim network's first stage
epochs: int = 10  # passes over each step's images
seed: int = 0  # of everything random
feature: str = "spectrum"  # what the network reads
batch: int = 32  # images per update

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

# Other options can be assigned above by their names, too; `cldf run 03 --options` lists them.
parameters = from_notebook("03_without_continual_learning", globals())
options = parameters.options()

# %%
import inspect

import pandas as pd
from IPython.display import display

from cldf_core import figures
from cldf_core.agents.finetune import Separate, Sequential
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.data.runtime import computes_in_bfloat16
from cldf_core.detection import ladder
from cldf_core.evaluation import bootstrap, metrics
from cldf_core.evaluation.cells import as_text, cell_values, loss_table, seeds_in_words
from cldf_core.evaluation.crossed import cells_over_seeds
from cldf_core.figures import sentences
from cldf_core.interact import batches, film, toy
from cldf_core.results import ledger
from cldf_core.results.score_tables import read_scores
from cldf_core.results.sweep_tables import code_in_words
from cldf_core.runs.run import collect_scores, load_spectra, make_run
from cldf_core.workflow import sweep

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
# the **unseen** domain. The question is always the same, real or fake, and at the test nobody tells the network which
# domain an image is from; this kind of continual learning is called **domain-incremental** (van de Ven & Tolias 2019).
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
#   together. It keeps everything for ever, so it is no solution, but a reference: what one network makes of all
#   the images at once. It is not a bound; a method that trains in another way can end above it.
#
# ## A stream one can watch
#
# Spectra have thousands of numbers, and nobody can look into what a network makes of them. So first a world of two:
# points in the plane, blue for real and orange for fake. There are three domains beside each other, *left*, *middle*
# and *right*, and in the middle the fakes are below instead of above. A network of two layers learns them batch by
# batch, in the hands of four agents: the last two of the list above, and two of later notebooks. **ER** keeps some old
# points (in squares) and learns them again with each batch; **LwF** keeps none, and asks the old network instead what
# it says of the new points. All four are the code that the following notebooks use for images.
#
# Above, the colours are what each agent believes of every place, and the black line is where it cannot decide. Below
# is the accuracy on each domain, dotted until the domain comes. Predict, and then move the slider:
#
# 1. Sequential training learns *middle*, where nothing is said of *left*. What becomes of the line on the left?
# 2. It then learns *right*, which is as *left* was. Will it know *left* again, without a single point of it?
# 3. Joint training begins each step with a new network. What is its accuracy on *left* right after the step begins?
# 4. Is a handful of points enough for ER to hold the line? And what does the old network teach LwF about *middle*?
#
# <details><summary>What to look for (move the slider first)</summary>
#
# 1. Does the line turn as a whole? A weight that helps in the middle is at work on the left, too. No new point
#    contradicts that, so nothing in the loss says that it is wrong. Whether it is, the accuracy below says.
# 2. Look whether the line comes back. If it does, that is no memory: *right* happens to ask for the same weights.
# 3. A new network knows nothing. How soon is it back? The old points are among its batches, so it need not wait.
# 4. Look at the squares: where they are, there is a loss that says no. Does the line stay near them? LwF's teacher has
#    never seen the middle; what it says there is the line of *left* drawn on. Compare it with the labels.
#
# </details>

# %%
film.watch(toy.learn_all(seed=options.seed), seed=options.seed)

# %% [markdown]
# In such a plane one can see it. It is a toy: the middle contradicts its neighbours, and the network has two plain
# layers. Whether images behave in the same way, only accuracies tell, and the rest of this notebook looks at these.
#
# ## The code
#
# None of the three does anything against forgetting. Their code is correspondingly short: sequential training
# adds nothing at all to the plain training loop. The next cell prints it, then trains the three, or reads the runs if
# they were made before with the same options.

# %%
print(inspect.getsource(Sequential))
print(inspect.getsource(Separate))
runs = {agent: make_run(parameters.options(agent)) for agent in ("separate", "sequential", "joint")}
scores = collect_scores(list(runs.values()))
for agent, run in runs.items():
    m = run.manifest
    print(f"{agent}: {m['images']} images in {m['seconds']:.0f} s of a processor, kept in runs/{run.path.name}")

# %% [markdown]
# ## Did the networks learn at all?
#
# Before looking at test results, look at the training loss, the mean cross-entropy over the images of an epoch.
# A network that guesses has a loss of $\ln 2$. (The unit is the *nat*: the logarithms are natural ones.)

# %%
losses = pd.concat([loss_table(agent, run.manifest["steps"]) for agent, run in runs.items()])
save_figure(figures.losses(losses), out.figures, "03_losses")

# %% [markdown]
# See whether every line falls, and whether it has become flat at the end. Weights and the order of images begin alike
# in all three; the **learning rate**, which says how far an update moves the weights, may differ, where `cldf choose`
# has chosen it for an agent (separate models have the default). In later steps a line that starts lower has something
# to build on: see whether it is the sequential one.
#
# ## What carries over from one domain to another?
#
# Train on domain $i$ alone, test on domain $j$: that gives the **transfer matrix**. It comes from the separate models.
# The number in a cell is the accuracy. The number below it, with ±, is half of its 95 % interval, which says how far
# the number would move with other photographs. (It does not say how far it would move with another *seed*, the number
# from which everything random follows: first weights, order of images.) A real image and the fakes made from it tend to
# stand or fall together, so they count as fewer images than they are: as many as their verdicts, in all cells together,
# agree. The interval of so many images is the exact one of a proportion (Clopper and Pearson's). It has a width even
# where every verdict is right.
#
# A cell may say “all real” or “all fake”. There (nearly) every image gets this one verdict. The accuracy is then the
# share of that class, whatever is in the pictures: it is not half right, it has no opinion.

# %%
cells = cell_values(scores, split=split)
cells["after"] = cells["step"].map(dict(enumerate(options.stream, start=1)))
figure = figures.matrices(cells, options.stream, panels=["separate"], rows="trained on this domain only")
save_figure(figure, out.figures, "03_transfer")
save_table(cells, out.figures, "03_cells")

# %% [markdown]
# The framed diagonal is the easy question: same kind of fakes in training and in the test. Everything beside it
# asks for **generalisation**. In a dark cell, what was learned in this row is worthless in that column.
# Also see whether the matrix is symmetric; it need not be.

# %% tags=["sentences"]
cells = saved_table(out.figures, "03_cells")
separate = cells[cells["agent"] == "separate"]
own = separate["domain"] == separate["after"]
what = "Accuracy, trained on one domain, tested on another (in brackets), one seed"
sentences.show(
    sentences.compared(separate[own], "Accuracy on the domain trained on, one seed", by="domain", line=0.5),
    sentences.compared(separate[~own], what, by=["after", "domain"], line=0.5),
    [
        sentences.counted(separate, f"Cells with the mark “{mark}”", "verdicts", mark, by=["after", "domain"])
        for mark in ("all real", "all fake")
    ],
)

# %% [markdown]
# ## Does it take a network?
#
# Notebook 02 has begun a **ladder of baselines**. Here it gets its upper rungs: the same network, once from pixels and
# once from spectra, each trained on one domain of the stream and tested on the same. The measure is the AUC, which
# needs no threshold. The lower rungs learn from the same images: *file facts* see no picture, *sharpness* is one
# number, and the *radial profile* a few dozen, with a logistic regression on top. The intervals are over photographs.
# Where `cldf sweep ladder` was run, the networks' rungs are means over its seeds, also for the domain outside the
# stream, with intervals over seeds and photographs.
#
# Before you look: where does the first rung stand that is far from guessing, and how much do you expect those above to
# add? Two marks beside each other say little about that, since all rungs are judged on the same photographs. So the
# network on spectra is also compared with each of the others directly, on the same resamples. There are many such
# differences, and of many some look large by accident: where several seeds were run, one counts only if it holds after
# [Holm's correction](../docs/glossary.md#holms-correction) for all of them, too (notebook 08). What is said of the
# rungs themselves is not corrected.

# %%
rung_of = {"image": ladder.PIXELS, "spectrum": ladder.SPECTRA}
places = [*options.stream, *options.unseen]
kept = sorted(sweep.kept("ladder", parameters), key=lambda run: places.index(run.stream[0]))
alone = kept or read_scores([make_run(parameters.options("separate", feature=feature)) for feature in rung_of])
own = [(run, rung) for feature, rung in rung_of.items() for run in alone if run.settings["feature"] == feature]
tables = [ladder.own_domain(run.table, run.stream, rung).assign(seed=run.seed) for run, rung in own]
simple = ladder.simple_scores(options, load_spectra(options), out.path, split=split)
ladder_scores = pd.concat([simple.assign(seed=None), *tables], ignore_index=True)
once = ladder_scores.fillna({"seed": options.seed})
rungs = cells_over_seeds(once, "AUC", split=split).rename(columns={"agent": "rung"}).dropna(subset="value")
is_network = rungs["rung"].isin([*rung_of.values()])
rungs["rung"] += (", " + rungs["n"].map(seeds_in_words)).where(is_network, "")
code = {"code": ", ".join(sorted({run.manifest["code"] for run in alone}))}
save_table(rungs[["rung", "domain", "value", "low", "high", "n", "spread"]].assign(**code), out.figures, "03_ladder")
above = ladder.gains(ladder_scores, split=split)
if above["n"].max() > 1:  # a single seed has no test
    above = ledger.corrected(above.assign(metric="AUC")).drop(columns=["metric", "p_holm"])
save_table(above.assign(**code), out.figures, "03_ladder_differences")
made = code_in_words(pd.DataFrame([code])) or "made with today's code"
print("cldf sweep ladder:", made if kept else "not run")
save_figure(figures.ladder(rungs, label="AUC (dotted: guessing)"), out.figures, "03_ladder")

# %% tags=["sentences"]
rungs = saved_table(out.figures, "03_ladder")
above = saved_table(out.figures, "03_ladder_differences")
sentences.show(
    [
        sentences.compared(part, f"AUC of {rung}", by="domain", line=0.5)
        for rung, part in rungs.groupby("rung", sort=False)
    ],
    [
        sentences.compared(
            part,
            f"AUC, network on spectra minus {rung}, {seeds_in_words(n)}",
            by="domain",
            also=ledger.TESTED if "significant" in above else None,
            digits=3,
        )
        for (rung, n), part in above.groupby(["rung", "n"], sort=False)
    ],
)

# %% [markdown]
# A network that is not shown to be above a lower rung has not shown, on this domain, what it is for. That does not
# make it useless: a threshold on sharpness falls to whoever sharpens his fakes, and what carries over to other domains
# is another question. But it says which AUC can be had here without a network.
#
# ## One network, one domain after another
#
# Now such a matrix for sequential training. A row is no longer one model among others, it is a moment in the
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
# one at the end, and average over all domains but the last (Chaudhry et al., ECCV 2018, who begin with the first
# step):
#
# $$ \text{forgetting} \;=\; \frac{1}{T-1} \sum_{i=1}^{T-1} \Big( \max_{i \le t < T} R_{t,i} \;-\; R_{T,i} \Big) $$
#
# 0 means that nothing is lost, 0.3 that of 100 answers on an old domain 30 fewer are right. <!-- example -->
#
# <details><summary>Predict: which agent cannot forget, by this formula, and why is that no praise?</summary>
#
# Joint training has all images in every step, so what it loses is what two trainings differ by, in either direction.
# And an agent that always says "fake" has nothing to lose: its best accuracy and its last one are the same. So
# forgetting is read together with the accuracy when a domain was new.
#
# </details>
#
# In the table below the last column is what each domain has lost; its mean is the forgetting. The library computes it
# for every agent, with its interval. For such a number there is no formula, so the test images are drawn again, with
# repetition, 1000 times (a **bootstrap**), always whole photographs with their fakes. About 95 % of the 1000 results
# lie in the interval. It is then corrected for two things (BCa, with a wider reach; Efron 1987, Hesterberg 2015):
# results can lie further out on one side than on the other, and with few photographs they lie too close together. Where
# all results are the same, as those of an agent that makes no mistake, they tell nothing about the spread: the number
# then has no interval. <!-- setting -->
#
# The field also uses the word for a second formula, which compares with the moment of learning instead of with the
# best one; here that one is called **backward transfer**, with the opposite sign: $\frac{1}{T-1}\sum_{i<T}
# (R_{T,i} - R_{i,i})$.

# %%
accuracy = metrics.matrix(scores[scores["agent"] == "sequential"], split=split)[options.stream].to_numpy()
rows = [(name, accuracy[i:-1, i].max(), accuracy[-1, i]) for i, name in enumerate(options.stream[:-1])]
by_domain = pd.DataFrame(rows, columns=["domain", "best so far", "at the end"])
by_domain["lost"] = by_domain["best so far"] - by_domain["at the end"]
save_table(by_domain, out.figures, "03_forgetting")
summary = pd.concat(
    bootstrap.summary(part, options.stream, split=split).assign(agent=agent)
    for agent, part in scores.groupby("agent", sort=False)
)
save_table(summary, out.figures, "03_summary")
by_domain.round(2).replace(-0.0, 0.0)

# %% tags=["sentences"]
summary = saved_table(out.figures, "03_summary")
forgetting = summary[summary["metric"] == "forgetting (max-last)"]
sentences.show(
    sentences.compared(forgetting[forgetting["agent"] != "separate"], "Forgetting of accuracy, one seed", line=0)
)

# %% [markdown]
# ## How far does each of them get?
#
# Forgetting alone can mislead: an agent that learns nothing has nothing to forget. So look at the course of the
# accuracy as well. The bands are 95 % intervals, the dotted line is guessing.
#
# Between two of these points lie hundreds of batches. The second figure looks between the last two: the sequential
# network goes through the first batches of the last domain again, and is tested on some validation images of every
# domain after each single batch. Before you look: how many batches do the old domains last? Are they lost before the
# new one is learned, or while that goes on? <!-- setting -->

# %%
both = cells[cells["agent"].isin(["sequential", "joint"])]
save_figure(figures.over_time(both, options.stream), out.figures, "03_over_time")
every = batches.after_each_batch(runs["sequential"], 32)
save_table(every, out.figures, "03_batches")
save_figure(batches.course(every), out.figures, "03_batches")
names = ["average", "learning", "forgetting (max-last)", "backward transfer", *(f"unseen: {u}" for u in options.unseen)]
display(as_text(summary, names))

# %% [markdown]
# Left of the grey bar a domain is still unknown: an accuracy above 0.5 there is transfer from the others. At
# the bar it is learned. The gap between the two lines to the right of the bar is what continual-learning
# methods try to close. None of them may keep all old images, as joint training does: they have a
# small memory, or none.
#
# How to read the table: *average* is the mean accuracy over the trained domains after the last step, *learning*
# the mean at the moment when each was learned. For the separate models, the values across steps compare
# different networks, so their "forgetting" is only a way of saying how little the last network knows of the
# other domains.
#
# ## The unseen domain
#
# A detector meets fakes in the wild that nobody has trained it on. The last column of the matrices, right of
# the gap, stands for them. Is any of the three better than guessing there?

# %% tags=["sentences"]
summary = saved_table(out.figures, "03_summary")
elsewhere = summary[summary["metric"].str.startswith("unseen")]
sentences.show(
    sentences.compared(part, f"{figures.metric_name(f'accuracy: {metric}')}, one seed", line=0.5)
    for metric, part in elsewhere.groupby("metric", sort=False)
)

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
# experiment, so it is off by default. How different? Here is sequential training in both, with all other options equal.
# Before you look: would you expect the average accuracy to fall?

# %%
if options.size >= 80 and (options.device == "cuda" or computes_in_bfloat16()):
    pair = {mixed: make_run(parameters.options("sequential", mixed_precision=mixed)) for mixed in (False, True)}
    full, mixed = (run.scores() for run in pair.values())
    before, after = (run.manifest["seconds"] for run in pair.values())
    print(f"mixed precision: {after / before:.2f} times the seconds ({after:.1f} instead of {before:.1f})")
    moved = (mixed["score"] - full["score"]).abs()
    turned = (mixed["score"] >= 0.5) != (full["score"] >= 0.5)
    print(f"P(fake) moves by {moved.median():.3f} in the median; {turned.mean():.1%} of all verdicts change, both ways")
    changes = bootstrap.paired_difference(mixed, full, options.stream, split=split)
    save_table(changes[changes["metric"].isin(names)], out.figures, "03_mixed_precision")
else:
    save_table(pd.DataFrame(columns=["metric", "value", "low", "high"]), out.figures, "03_mixed_precision")
    print("Not tried: it needs images of 80 pixels or more, and a processor with instructions for bfloat16.")

# %% tags=["sentences"]
changes = saved_table(out.figures, "03_mixed_precision")
sentences.show(sentences.compared(changes, "Accuracy, mixed precision minus full precision, one seed", by="metric"))

# %% [markdown]
# A run that computes in another way is another experiment, even where its scores move little; and one pair of runs does
# not say which way is better, for another seed may turn it round. So all runs that are compared with each other should
# compute in one way. On a processor without instructions for bfloat16 it takes longer, and a note says so.
#
# **Exercise.** In [`forgetting`](exercises/forgetting.ipynb) you make such a matrix from scores, and forgetting and
# backward transfer from the matrix. (`make course` makes a copy without the solution.)
#
# **Limits.** One seed, except where several are named, one order of the domains, one small data set. Where values were
# chosen for each agent, gaps between agents are also those of learning rates. What other training photographs would
# change, no interval here tells: they are the same in all runs. The embedded images are made by small generators of
# this package; the numbers do not compare with published ones.
