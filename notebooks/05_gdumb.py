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
# # 05 · GDumb: keep a balanced memory, train at the end
#
# **The idea.** Do not train at all while the images come. Only keep some of them, of each kind as many, and when
# somebody asks for a verdict, train a new network on what was kept, and on nothing else. That is nearly too simple, and
# this is the point: a method that does no better, with all its care for old knowledge, has won little.
#
# **What you will learn.** How such a memory is filled, what its balance is good for, and how much hangs on its size.
#
# **What you need.** Notebook [03](03_without_continual_learning.ipynb). Words: [class](../docs/glossary.md#class),
# [memory](../docs/glossary.md#memory), [gradient](../docs/glossary.md#gradient), [batch](../docs/glossary.md#batch),
# [forgetting](../docs/glossary.md#forgetting). Letters: [symbols](../docs/symbols.md).
#
# **Reads** the data set named by `data` below, and the tables of `cldf sweep`. **Writes** one run to
# `runs/gdumb-…`, and this notebook's figures and tables to `runs/05_gdumb-…/figures/`.
#
# **Time**: about a minute and a half on one core; seconds when the run exists already.

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
memory_lr: float = 0.05  # GDumb: highest learning rate on the memory

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

# Other options can be assigned above by their names, too; `cldf run 05 --options` lists them.
parameters = from_notebook("05_gdumb", globals())
options = parameters.options()

# %%
import inspect

import numpy as np
import pandas as pd
import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from cldf_core import figures
from cldf_core.agents import gdumb
from cldf_core.buffers import Balanced, Reservoir
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.evaluation import bootstrap
from cldf_core.evaluation.cells import as_text, cell_values, metric_name
from cldf_core.evaluation.crossed import against_itself
from cldf_core.figures import sentences
from cldf_core.randomness import torch_generator
from cldf_core.results import ledger
from cldf_core.results.sweep_tables import code_in_words
from cldf_core.runs.run import collect_scores, load_spectra, make_run, training_samples
from cldf_core.stream import Samples, make_steps
from cldf_core.workflow import sweep

figures.theme()
out = parameters.folder
split = "test" if "test" in options.splits else "validation"

# %% [markdown]
# ## The idea
#
# Domains of fakes come one after another, and a network that is simply trained further may forget the older ones
# (notebook 03). GDumb (Prabhu, Torr & Dokania, *GDumb: A simple approach that questions our progress in continual
# learning*, ECCV 2020) does not even try to train while the images come. It only decides which images to keep. When
# somebody asks for a verdict, it trains a new network from scratch on what it has kept, and on nothing else.
#
# Such a network cannot forget in the usual sense, since it starts from nothing every time. What it knows of a domain it
# has from the images of it that are in the memory, which are fewer the more domains come, and from what these have in
# common with others. The paper used it as a question to the field: a method that does not do better than this has not
# gained much from all its care.
#
# ## Which images to keep? A greedy, balanced choice
#
# The images are sorted in groups, one for each pair of domain and class (real or fake). (In other notebooks a group
# holds the images of one photograph.) Let $K$ be the size of the memory, $G$ the number of groups known so far (with
# that of the new image), and $n_c$ the number of kept images of group $c$. A new image of group $c$ is kept if
#
# $$ n_c \;<\; \frac{K}{G} . $$
#
# If the memory is full, a random image of the largest group makes room (Prabhu et al., algorithm 1). This is
# the code that runs:

# %%
print(inspect.getsource(Balanced.offer))

# %% [markdown]
# **Try it.** The next cell offers the images of the stream to such a memory, in the order in which the agent
# sees them, and beside it to one without balance: a random sample of all images so far (a *reservoir*; notebook 07).
# Only their labels matter here, so each image is replaced by a single number. What does the balanced memory hold,
# while the images come? The first figure has the counts; in the second you can watch the slots, under either rule and
# with fewer of them. Predict: what happens to the first domain at the moment when the second one begins?
#
# <details><summary>Answer (look first)</summary>
#
# Nothing at once: there are free slots, or every new group has the smallest count and gets in one by one. Each time it
# does, a random image of the largest group goes. So the first domain shrinks smoothly, until all groups are alike; in
# a random sample it shrinks as its share of all images shrinks. Which images are left is chance in both.
#
# </details>

# %%
from cldf_core.interact.filling import filling

images = training_samples(options, load_spectra(options))
tiny = [
    (name, Samples.from_array(np.zeros((len(samples), 1, 1, 1), np.float16), samples.labels, place))
    for place, (name, samples) in enumerate(images)
]
steps = make_steps(tiny, options.model_copy(update={"epochs": 1}))

balanced, sample, seen, rows = Balanced(options.memory), Reservoir(options.memory), [], []
random = torch_generator(options.seed, "memory")  # as the agent draws
groups = [(name, kind) for name in options.stream for kind in ("real", "fake")]
for step in steps:
    for incoming in step.batches(options.seed):
        seen += (2 * incoming.domains + incoming.labels).tolist()
        for how, store in (("balanced", balanced), ("random sample", sample)):
            store.offer(incoming, random)
            kept = 2 * store.domains[: len(store)] + store.labels[: len(store)]
            count = torch.bincount(kept, minlength=len(groups)).tolist()
            rows += [(how, len(seen), *groups[g], n) for g, n in enumerate(count)]
counts = pd.DataFrame(rows, columns=["memory", "offered", "domain", "class", "count"])
held = counts.query("memory == 'balanced'").groupby(["offered", "domain"], sort=False, as_index=False)["count"].sum()
save_figure(figures.memory_content(held, capacity=options.memory), out.figures, "05_memory")
filling(seen, options.stream, options.memory, rule="balanced (GDumb)", seed=options.seed)

# %% [markdown]
# Each colour is a domain. As long as there is one domain, it may fill the memory; when the next one comes, it
# has to give way until both have the same. The total, once at the dotted line, stays there. How many images of each
# group were offered in all, and how many does each memory hold at the end?

# %%
final = counts[counts["offered"] == len(seen)].pivot(index=["domain", "class"], columns="memory", values="count")
final.insert(0, "offered", [seen.count(groups.index(group)) for group in final.index])
save_table(final.reset_index(), out.figures, "05_memory")
final.loc[groups]

# %% [markdown]
# In the balanced memory the counts should differ by one or two at most, if every group has had enough images to
# offer. In the random sample each group has about the share that it has of what was offered: so balance matters the
# more, the less evenly the groups come. (The draws of the agent itself are others than these, so *which* images it
# keeps differs; *how many* of each group the balanced memory keeps does not depend on it.)
#
# ## How to train on the memory
#
# A new network sees the memory for `memory_epochs` epochs. Its *learning rate* $\eta$, which says how far an update
# moves the weights, follows a cosine that is
# **restarted**: it falls, jumps up again, and falls more slowly (Loshchilov & Hutter, *SGDR*, ICLR 2017,
# equation 5). After one warm-up epoch at 0.1 of the highest rate, the cycles are 1, 2, 4, … epochs long.
# With $u \in [0, 1]$ as the place in the cycle: <!-- setting -->
#
# $$ \eta(u) \;=\; \eta_{\min} + \tfrac{1}{2} (\eta_{\max} - \eta_{\min}) (1 + \cos \pi u) $$

# %%
print(inspect.getsource(gdumb.set_memory_lr))

# %% [markdown]
# What does this look like over the epochs?

# %%
updates = 16  # in an epoch of this drawing
sgd = torch.optim.SGD([torch.zeros(1)], lr=options.memory_lr)
restarts = CosineAnnealingWarmRestarts(sgd, T_0=1, T_mult=2, eta_min=options.memory_lr_min)
at = [(epoch, update) for epoch in range(options.memory_epochs) for update in range(updates)]
rates = pd.DataFrame(
    {
        "epoch": [epoch + update / updates for epoch, update in at],
        "lr": [gdumb.set_memory_lr(restarts, epoch + update / updates) for epoch, update in at],
    }
)
save_figure(figures.learning_rate(rates), out.figures, "05_learning_rate")

# %% [markdown]
# The high rates are meant to let the network leave a bad place, the low ones to let it settle. `memory_epochs` is a
# power of two, so that training ends with a whole cycle, at the lowest rate of a cycle. This is the training itself.
# The memory is gone through as a second part of a domain's last step, which begins with a new network; each update is
# made with the gradient's norm clipped:

# %%
for method in ("parts", "begin_step", "observe", "step_optimiser"):
    print(inspect.getsource(getattr(gdumb.GDumb, method)))
o = options
settings = {
    "optimiser": (o.optimiser, o.memory_optimiser),
    "highest learning rate": (o.lr, o.memory_lr),
    "learning rate over time": (o.schedule, o.memory_schedule),
    "epochs": (f"{o.epochs} a step, on its images", f"{o.memory_epochs} a step, on the memory"),
    "images per update": (o.batch, o.memory_batch),
    "weight decay": (o.weight_decay, o.memory_weight_decay),
    "largest norm of a gradient": ("any", o.clip),
}
pd.DataFrame(settings, index=["the other agents' defaults", "GDumb"]).T

# %% [markdown]
# This training is GDumb's own, as its paper has it, and part of the method. So a comparison of agents with the same
# network, images and epochs is a comparison with *other settings of training* where GDumb is concerned: what it
# gains or loses may come from these. (Each of the other agents may have a learning rate that was chosen for it; their
# epochs and batches are the same.)
#
# One part of the paper is left out: CutMix, which pastes a patch of one image into another. Spectra do not mix
# in this way: with a foreign patch in it, a plane is no spectrum of any image.
#
# ## Training
#
# The next cell runs the agent over the whole stream, or reads the run if it was made before with the same
# options. While the images come there is no loss, because nothing is trained; so, unlike in the other
# notebooks, there is no curve of it to show.

# %%
run = make_run(options, keep_state=True)  # so that it could go on learning (notebook 15)
scores = collect_scores([run])
manifest = run.manifest
print(f"{manifest['images']} images trained on in {manifest['seconds']:.0f} s,")
print(f"at most {options.memory_epochs} × {options.memory} in each of the {len(steps)} trainings")
print(f"kept at the end: {manifest['steps'][-1]['memory_bytes'] / 1e6:.1f} MB of images; the run: runs/{run.path.name}")

# %% [markdown]
# ## What does it know, after every step?
#
# $R_{t,i}$ is the accuracy after step $t$ (row) on domain $i$ (column). Below each number stands half of its 95
# % interval, over test photographs. Where it says “all real” or “all fake”, (nearly) every image gets this one verdict,
# and the accuracy is the share of that class.

# %%
cells = cell_values(scores, split=split)
save_figure(figures.matrices(cells, options.stream), out.figures, "05_matrix")
save_table(cells, out.figures, "05_cells")

# %% [markdown]
# Go down the first column. If something gets lost there, it was not overwritten, but crowded out: each new domain takes
# memory from the first. And if a cell is brighter than the one above it, though fewer images of this domain are left:
# what is in the memory besides? Also look at the frames: the later a domain comes, the fewer of its images the network
# is trained on, even in the very step in which it is new. Is a late frame darker than the same one of the separate
# models (notebook 03), which have all images?

# %%
summary = bootstrap.summary(scores, options.stream, split=split).assign(agent="gdumb")
save_table(summary, out.figures, "05_summary")
names = ["average", "learning", "forgetting (max-last)", "backward transfer", *(f"unseen: {u}" for u in options.unseen)]
as_text(summary, names).T

# %% [markdown]
# *average*: mean accuracy over the trained domains at the end. *learning*: mean at the moment when each was
# new. *forgetting (max-last)*: the best accuracy a domain had before minus that at the end, averaged over all
# domains but the last. *backward transfer*: the accuracy at the end minus that when the domain was new. *unseen*:
# the accuracy at the end on a domain that is never trained on. In words, for this run (its seed and these training
# images held still; intervals over test photographs):

# %% tags=["sentences"]
summary, cells = saved_table(out.figures, "05_summary"), saved_table(out.figures, "05_cells")
last = cells[(cells["step"] == len(options.stream)) & cells["domain"].isin(options.stream)]
unseen_at_end = summary[summary["metric"].str.startswith("unseen")]
sentences.show(
    sentences.compared(summary[summary["metric"] == "forgetting (max-last)"], "Is it forgetting?", by="metric", line=0),
    sentences.values(summary[summary["metric"] == "learning"], "Accuracy on a domain when it is new", by="metric"),
    sentences.highest(last, "Accuracy on the trained domains at the end", by="domain"),
    sentences.compared(unseen_at_end, "Accuracy against guessing", by="metric", line=0.5),
)

# %% [markdown]
# ## What do balance and size do?
#
# `cldf sweep parts` also trains GDumb on a random sample in place of the balanced memory, and `cldf sweep memory`
# gives it memories of several sizes, with several seeds each. Predict, before you look: in which metric should a
# larger memory show first, and must it ever stop to help?

# %%
names = ["accuracy: average", "accuracy: learning", "accuracy: forgetting (max-last)"]
parts = sweep.tests("parts", parameters).query("metric in @names")
lost = ledger.changed(parts, "gdumb")
save_table(lost[["metric", "part", "value", "low", "high", "n", "significant"]], out.figures, "05_parts")

sizes = sweep.scores("memory", parameters, "memory").query("agent == 'gdumb'")
gained = against_itself(sizes, "memory", sizes["memory"].max(), options.stream).query("metric in @names")
gained = ledger.corrected(gained).assign(size=[f"{size} images" for size in gained["memory"]])
save_table(gained.drop(columns="p_holm").assign(largest=sizes["memory"].max()), out.figures, "05_sizes")
means = sweep.means("memory", parameters).query("agent == 'gdumb' and metric in @names")
if len(means):
    label = f"images in the memory; mean over {means['n'].max()} seeds"
    save_figure(figures.by_setting(means, "memory", names, label=label), out.figures, "05_sizes")
for name, table in (("parts", parts), ("memory", means)):
    print(f"cldf sweep {name}:", code_in_words(table) or "made with today's code" if len(table) else "not run")

# %% tags=["sentences"]
lost, gained = saved_table(out.figures, "05_parts"), saved_table(out.figures, "05_sizes")
sentences.show(
    sentences.compared(
        own, f"{metric_name(metric)}, {n} seeds, GDumb changed minus as it is", by="part", also=ledger.TESTED
    )
    for (metric, n), own in lost.groupby(["metric", "n"])
)
sentences.show(
    sentences.compared(
        own, f"{metric_name(metric)}, memory of so many images minus {most}, {n} seeds", by="size", also=ledger.TESTED
    )
    for (metric, most, n), own in gained.groupby(["metric", "largest", "n"])
)

# %% [markdown]
# (Where changes are shown, their intervals are over seeds and photographs, crossed, and *significant* is as in notebook
# 08, with Holm's correction for the comparisons of parts, and for those of sizes.) What is not shown may still be
# there: few seeds find large differences only.
#
# To lose little is not enough: is the accuracy on a new domain as high as that of a network that may use all of its
# images? Notebook 08 puts the two side by side.
#
# **Things to try.** Set `splits` to `["validation"]` first: then the matrix is of validation photographs, and the test
# photographs stay unseen until you have decided. How small may `memory` be before the last row is darker than the
# frames?
#
# **Exercise.** You write this memory in [`gdumb_sampler`](exercises/gdumb_sampler.ipynb), follow it by hand, and see
# what it does to groups that come late or are small. (`make course` makes a copy without the solution.)
#
# Below is a **bench**: name an option, write a value, and train (or read what was trained before). Each version is
# kept, and can be laid over the default. It looks at validation photographs only.

# %%
from cldf_core.interact.bench import Bench

Bench(parameters, "gdumb")
