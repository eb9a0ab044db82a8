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
# # 07 · ER, MIR and DER++: replay a few old images with every batch
#
# **What you will learn.** How a random sample of a stream can be kept when nobody knows how long the stream is
# (the *reservoir*), how old images are mixed into the training, and whether it pays to choose them cleverly
# (*maximally interfered retrieval*), or to remember what the network once said of them (*dark experience replay*).
#
# **Reads** the data set named by `data` below. **Writes** three runs to `runs/er-…`, `runs/mir-…` and `runs/derpp-…`,
# and this notebook's figures and tables to `runs/07_er_and_mir-…/figures/`.
#
# **Time**: about five minutes on one core; seconds when the runs exist already.

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
replay: int = 32  # ER, MIR, DER++: remembered images in each update (DER++: in each of its two draws)
candidates: Optional[int] = None  # MIR: images to choose from; None: 5 replay
derpp_alpha: float = 0.2  # DER++: weight of the distance to stored logits
derpp_beta: float = 0.5  # DER++: weight of the loss on remembered labels

# %%
from cldf_core.workflow.parameters import from_notebook

parameters = from_notebook("07_er_and_mir", globals())
options = parameters.options("mir")

# %%
import inspect
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from cldf_core import buffers, figures
from cldf_core.agents import DERPP, ER, MIR, build_agent
from cldf_core.agents.optimisers import virtual_weights
from cldf_core.data.files import save_figure, save_table
from cldf_core.evaluation import bootstrap
from cldf_core.evaluation.cells import as_text, cell_values, loss_table, with_interval
from cldf_core.evaluation.proportions import clopper_pearson
from cldf_core.randomness import generator, torch_generator
from cldf_core.resnet import evaluating
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.run import collect_scores, load_spectra, make_run, training_samples
from cldf_core.stream import Batch, make_steps

figures.theme()
out = parameters.folder
split = "test" if "test" in options.splits else "validation"

# %% [markdown]
# ## The idea
#
# Domains of fakes come one after another, and a network that is simply trained further forgets the older ones:
# the loss of a new batch says nothing about old images. **Experience replay** (ER; Chaudhry et al., *On tiny
# episodic memories in continual learning*, 2019) changes that in the plainest way: it keeps some old images,
# and with each new batch it trains on a few of them too. With a new batch $B$ and a replayed one
# $B_{\text{mem}}$, one mean loss is descended:
#
# $$ L \;=\; \frac{1}{|B| + |B_{\text{mem}}|} \sum_{(x, y) \,\in\, B \,\cup\, B_{\text{mem}}} \ell(f(x), y) $$

# %%
print(inspect.getsource(ER.loss))

# %% [markdown]
# Two questions are left open. Which images are kept? And which of them are replayed?
#
# ## Which images to keep? The reservoir
#
# The memory has room for $K$ images. One would like to keep a fair sample: each of the $n$ images that have
# come so far should be in the memory with the same probability, $K / n$. But $n$ grows, and nobody knows when
# the stream ends. The solution is old (Vitter, *Random sampling with a reservoir*, 1985). The first $K$ images
# are kept. The image with number $n > K$ draws a slot from $1$ to $n$: if there is such a slot in the memory,
# the image takes it, otherwise it is dropped.
#
# Why is this fair? Suppose that all $n - 1$ images before had the same chance, $K / (n-1)$. One of them is
# pushed out now with probability $1 / n$. So its chance becomes $\frac{K}{n-1} \cdot \big(1 - \frac{1}{n}\big)
# = \frac{K}{n}$, which is that of the new one.

# %%
print(inspect.getsource(buffers.Reservoir.offer))

# %% [markdown]
# **Try it.** Sixty images come one after another, the memory has room for twelve. We do this 500 times, with
# the reservoir and with another rule that seems just as natural: a new image *always* gets in, in a random
# slot. How often is each image in the memory at the end?

# %%
n, room, trials = 60, 12, 500
random = torch_generator(options.seed, "illustration", "07 reservoir")
numbers = torch.arange(n)
sixty = Batch(torch.zeros(n, 1, 1, 1), torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.int64), numbers, 0)

kept = np.zeros((2, n))
for _ in range(trials):
    reservoir = buffers.Reservoir(room)
    reservoir.offer(sixty, random)
    kept[0, reservoir.numbers] += 1
    slots = np.arange(room)  # the other rule: slot -> image in it
    for number in range(room, n):
        slots[int(torch.randint(room, (), generator=random))] = number
    kept[1, slots] += 1
kept /= trials
low, high = clopper_pearson(kept, np.full(kept.shape, trials))
rows = [
    (rule, i + 1, kept[r, i], low[r, i], high[r, i])
    for r, rule in enumerate(("reservoir", "a new image always gets in"))
    for i in range(n)
]
table = pd.DataFrame(rows, columns=["rule", "place", "value", "low", "high"])
save_figure(figures.inclusion(table, expected=room / n), out.figures, "07_reservoir")

# %% [markdown]
# Left: the points scatter about the dotted line, wherever an image stood in the stream; at most about 5 in 100 of
# the bars, which are 95 % intervals, will miss it. Right: the memory is full of the newest images, and the first
# ones are all but gone. That rule would forget just as the network does.
#
# One detail decides whether this holds: each image must be *offered once*. An agent that goes through its
# images in several epochs and offers them in each fills the memory with copies and counts wrongly. So the code
# offers a batch in the first epoch only:

# %%
print(inspect.getsource(ER.observe))

# %% [markdown]
# ## Which images to replay? At random, or those that suffer most
#
# ER draws from the whole memory at random: images of earlier domains, and those of the current one that are
# already kept. **Maximally interfered retrieval** (MIR; Aljundi et al., *Online continual learning with maximally
# interfered retrieval*, NeurIPS 2019) looks first which images need it, and only among those of *earlier* domains.
# (The option `replay_from` says for either agent which of the two it is.) It draws $C$ candidates at random, five times
# as many as it replays (option `candidates`), and imagines a step on the new batch alone, with the learning rate
# $\alpha$ of the optimiser:
#
# $$
# \theta' \;=\; \theta - \alpha \, \nabla_\theta L(B; \theta) , \qquad
# s(x) \;=\; \ell(f_{\theta'}(x), y) - \ell(f_\theta(x), y)
# $$
#
# It replays the candidates with the largest $s$, those whose loss this step would raise most. The step itself
# is not taken: the network stays as it is.
#
# This *virtual step* is plain SGD, and so was the optimiser of the paper. Adam (Kingma & Ba, ICLR 2015) divides each
# weight's step by $\sqrt{\hat v}$, the size that its gradients had of late, so that its rate is made for steps of
# another scale. The option `virtual_step` has three ways:
#
# * `sgd`: the paper's step, $\theta - \alpha\, g$ with $g = \nabla_\theta L(B; \theta)$;
# * `preconditioned`, the default with Adam: $\theta - \alpha\, g / (\sqrt{\hat v} + \epsilon)$, in the scale of the
#   optimiser, where still the new batch alone moves the network;
# * `optimiser`: the whole step that the optimiser would take next. Adam follows a mean of its last gradients, of which
#   the new one is a tenth: the step belongs to the batches before as well.
#
# The virtual step needs the gradient of the new batch *alone*. ER's update cannot give it: new and old images go
# through the network together, and BatchNorm normalises each with the statistics of all. So MIR's update goes in
# two passes, first the new images, then the chosen ones. The loss is the same mean, and the gradient of the first
# pass serves twice. (The option `replay_passes` turns this on or off for either agent.)

# %%
for part in (MIR.retrieve, MIR.rises, virtual_weights, buffers.loss_rises, ER._two_passes):
    print(inspect.getsource(part))

# %% [markdown]
# ## Remember the answers, too
#
# A label says "fake" and no more. What a network *answers*, its two logits, also says how sure it was. **Dark
# experience replay** (DER++; Buzzega et al., NeurIPS 2020) keeps with each image of the reservoir the logits $z$ that
# the network gave for it when it was written, and takes two random draws from the memory with every batch: the answers
# to the first draw shall stay as they were, and the labels of the second shall still be found,
#
# $$
# L \;=\; \ell(f(x), y) \;+\; \alpha \, \lVert f(x') - z' \rVert^2 \;+\; \beta \, \ell(f(x''), y'')
# $$
#
# (with the mean over images and outputs). It offers its images to the reservoir in *every* epoch: in the first one
# alone, all the answers would be those of a network that has not yet learned. So an image may lie in the memory twice.
#
# ## Training
#
# The next cell shows DER++'s update, and trains the three agents over the whole stream, or reads the runs if they were
# made before with the same options. Did they learn?

# %%
print(inspect.getsource(DERPP.observe))
runs = {agent: make_run(own) for agent, own in parameters.runs.items()}
scores = collect_scores(list(runs.values()))
for agent, run in runs.items():
    m = run.manifest
    print(f"{agent}: {m['images']} images trained on, replayed ones counted, in {m['seconds']:.0f} s,", end=" ")
    print(f"memory {m['steps'][-1]['memory_bytes'] / 1e6:.1f} MB, kept in runs/{run.path.name}")

losses = pd.concat([loss_table(agent, run.manifest["steps"]) for agent, run in runs.items()])
save_figure(figures.losses(losses), out.figures, "07_losses")

# %% [markdown]
# In the first step there is no earlier domain, so MIR replays nothing, and its loss is that of the new images alone.
# ER replays images of this domain then. Later, the loss is a mean over new *and* replayed images. MIR replays the
# hard ones: see whether its line lies higher. If so, that does not mean that it learns less.
#
# ## MIR at work
#
# We take MIR's network as it was before the last domain, and fill a memory with images of the domains before, as the
# run did. Then the training goes on. About ten times on the way we stop and ask: what would the next batch do to the
# losses of random candidates from the memory, by each of the three virtual steps?

# %%
learner, last = build_agent(options), len(options.stream) - 1
steps = [replace(s, drop_last=False) for s in make_steps(training_samples(options, load_spectra(options)), options)]
before_last, _ = load_network(runs["mir"].path / f"model-step{max(1, last)}.safetensors")
learner.network.load_state_dict(before_last.state_dict())
for step in [s for s in steps if s.index < last] or steps:
    for incoming in replace(step, epochs=1).batches(options.seed):
        learner.memory.offer(incoming, learner.generator("memory"))

# %%
ways = ["sgd", "preconditioned", "optimiser"] if options.optimiser == "adam" else ["sgd", "optimiser"]
random, looks = torch_generator(options.seed, "illustration", "07 candidates"), []
for step in [s for s in steps if s.index == last]:
    learner.begin_step(step)
    every = max(1, step.updates // 10)
    for update, incoming in enumerate(step.batches(options.seed)):
        if update % every == every // 2:
            gradients, count = learner.gradients(incoming), options.candidates or 5 * options.replay
            slots = buffers.retrieve_random(learner.memory, count, random, exclude_domain=last)
            old = learner.memory.take(slots if len(slots) else torch.arange(len(learner.memory)))
            with torch.no_grad(), evaluating(learner.network):
                outputs = learner.logits(old.spectra).cpu()
            look = {"update": update, "place": old.domains, "label": old.labels}
            look |= {"before": F.cross_entropy(outputs, old.labels, reduction="none")}
            for way in ways:
                rise = learner.rises(gradients, old, way).cpu()
                chosen = rise.argsort(descending=True, stable=True).argsort() < options.replay
                looks.append(pd.DataFrame({**look, "virtual step": way, "rise": rise, "chosen": chosen}))
        learner.observe(incoming)

# %% [markdown]
# First a single moment, half-way, and MIR's own virtual step. In the picture a mark is a candidate; the higher
# it lies, the more the step on the new batch would harm it. Both axes are logarithmic (the vertical one on both
# sides of a small linear part about 0). The filled marks are those with the largest rises, by construction.
# What have they in common? Are they images of one domain? Were they uncertain already (far to the right), or
# are they images that the network knows well? And how many marks lie below 0, images that this step would even
# help? How much more do MIR's images suffer than random ones?

# %%
moments = [look.sort_values("place") for look in looks if look["virtual step"].iloc[0] == learner.virtual_step]
moment = moments[len(moments) // 2]
moment["domain"] = [options.stream[place] for place in moment["place"]]
save_figure(figures.interference(moment), out.figures, "07_interference")

rng, chosen, rise = generator(options.seed, "illustration", "07 draws"), moment["chosen"], moment["rise"]
draws = [rise.to_numpy()[rng.permutation(len(rise))[: chosen.sum()]].mean() for _ in range(1000)]
low, high = np.quantile(draws, [0.025, 0.975])
print(f"mean rise of the loss, MIR's {chosen.sum()} images: {rise[chosen].mean():+.3g}")
print(f"as many random ones: {np.mean(draws):+.3g} (95 % of 1000 draws: {low:+.3g} to {high:+.3g})")
if chosen.all():
    print("There are no more candidates than images to replay, so MIR has no choice and is the same as ER.")

# %% [markdown]
# Now all moments together, and the virtual steps side by side. Of how many candidates does a step raise the
# loss at all, by more than 0.001 (*least* and *most* are of single moments)? And how do the chosen differ from
# all candidates, of which random ones would be a sample?

# %%
rows = []
for way, table in pd.concat(looks).groupby("virtual step", sort=False):
    shares = (table["rise"] > 1e-3).groupby(table["update"]).mean()
    row = {"virtual step": way, "share that rises": shares.mean(), "least": shares.min(), "most": shares.max()}
    for name, column in {"rise": "rise", "loss before": "before", "share of fakes": "label"}.items():
        row |= {f"{name}, chosen": table.loc[table["chosen"], column].mean(), f"{name}, all": table[column].mean()}
    rows.append(row)
virtual_steps = pd.DataFrame(rows)
save_table(virtual_steps, out.figures, "07_virtual_steps")
virtual_steps.set_index("virtual step").T.map("{:.2g}".format)

# %% [markdown]
# The advantage has a price: with each batch, MIR does two more forward passes over the candidates.
#
# ## What do they know, after every step?
#
# $R_{t,i}$ is the accuracy after step $t$ (row) on domain $i$ (column). Below each number stands half of its 95
# % interval, over test photographs.

# %%
cells = cell_values(scores, split=split)
save_figure(figures.matrices(cells, options.stream), out.figures, "07_matrices")
save_table(cells, out.figures, "07_cells")

# %% [markdown]
# Go down each column from its frame: the less it darkens, the better the replay works. Then compare the two
# matrices cell by cell, with an eye on the ±: differences smaller than that are no differences. Right of the
# gap stands the domain that is never trained on.

# %%
summary = pd.concat(
    [
        bootstrap.summary(own, options.stream, split=split).assign(agent=a)
        for a, own in scores.groupby("agent", sort=False)
    ]
)
save_table(summary, out.figures, "07_summary")
names = ["average", "learning", "forgetting (max-last)", "backward transfer", *(f"unseen: {u}" for u in options.unseen)]
as_text(summary, names).T

# %% [markdown]
# *average*: mean accuracy over the trained domains at the end. *learning*: mean at the moment of learning.
# *forgetting (max-last)*: the best accuracy a domain had before minus that at the end, averaged over all domains
# but the last. *backward transfer*: the accuracy at the end minus that at the moment of learning. *unseen*: the
# accuracy at the end on a domain that is never trained on.
#
# Does the clever choice pay? Both were tested on the same photographs, so the difference can be taken
# photograph by photograph, which makes its interval narrower than those of the two numbers:

# %%
er, mir = (scores[scores["agent"] == agent] for agent in ("er", "mir"))
difference = bootstrap.paired_difference(mir, er, options.stream, split=split)
save_table(difference, out.figures, "07_difference")
for row in difference.itertuples():
    if row.metric in ("average", "forgetting (max-last)") or row.metric.startswith("unseen"):
        verdict = "the interval leaves 0 out" if row.low > 0 or row.high < 0 else "no difference can be shown"
        print(f"MIR minus ER, {row.metric}: {with_interval(row, '+.2f')}, {verdict}")

# %% [markdown]
# For *forgetting*, a negative difference speaks for MIR. These are two runs with one seed: another seed draws
# other memories. And they differ in three things: how images are chosen, of which domains, and in how many passes
# they are trained on. `cldf sweep passes` trains both agents in one pass and in two, with three seeds. Whether both
# are better than doing nothing is the question of notebook 08.
#
# **Things to try.** Reduce `memory` to 40. Then set `candidates` equal to `replay`: what must happen to MIR?
