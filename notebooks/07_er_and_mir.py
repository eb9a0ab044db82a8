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
# **The idea.** With every new batch, train on a few old images too: *replay*. That is all of it, and three questions
# are left. Which images does one keep when nobody knows how many will come? Which of those that were kept does one
# replay: any, or those that the new batch is about to spoil? And does one remember their labels only, or also what the
# network once answered?
#
# **What you will learn.** Why a *reservoir* is fair, how old images are mixed into the training, and what cleverness
# (*maximally interfered retrieval*) and remembered answers (*dark experience replay*) add to it.
#
# **What you need.** Notebook [03](03_without_continual_learning.ipynb), and what a gradient is. Words:
# [batch](../docs/glossary.md#batch), [gradient](../docs/glossary.md#gradient), [logit](../docs/glossary.md#logit),
# [memory](../docs/glossary.md#memory), [BatchNorm](../docs/glossary.md#batchnorm),
# [forgetting](../docs/glossary.md#forgetting). Letters: [symbols](../docs/symbols.md).
#
# **Reads** the data set named by `data` below. **Writes** three runs to `runs/er-…`, `runs/mir-…` and `runs/derpp-…`,
# and this notebook's figures and tables to `runs/07_er_and_mir-…/figures/`.
#
# **Time**: at most eight minutes on one core; seconds when the runs exist already.

# %% tags=["parameters"]
variant: str = "paper"  # whose defaults: the papers' or the original's
data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
width: int = 24  # channels in the slim network's first stage
epochs: int = 10  # passes over each step's images
seed: int = 0  # of everything random
memory: int = 400  # images that may be remembered
replay: int = 32  # ER, MIR, DER++: remembered images in each update (DER++: in each of its two draws)
derpp_alpha: float = 0.2  # DER++: weight of the distance to stored logits

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

# Other options can be assigned above by their names, too; `cldf run 07 --options` lists them.
parameters = from_notebook("07_er_and_mir", globals())
options = parameters.options("mir")

# %%
import inspect
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from cldf_core import buffers, figures
from cldf_core.agents import DERPP, ER, MIR, build_agent
from cldf_core.agents.optimisers import virtual_weights
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.evaluation import bootstrap, crossed, proportions, seeds
from cldf_core.evaluation.cells import as_text, cell_values, loss_table, metric_name, with_interval
from cldf_core.figures import sentences
from cldf_core.randomness import torch_generator
from cldf_core.resnet import evaluating
from cldf_core.results import ledger, sweep_tables
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.run import collect_scores, load_spectra, make_run, training_samples
from cldf_core.stream import Batch, make_steps
from cldf_core.workflow import sweep

figures.theme()
out = parameters.folder
split = "test" if "test" in options.splits else "validation"

# %% [markdown]
# ## The idea
#
# Domains of fakes come one after another, and a network that is simply trained further may forget the older ones
# (notebook 03): the loss of a new batch says nothing about old images. **Experience replay** (ER; Chaudhry et al., *On
# tiny episodic memories in continual learning*, 2019) changes that in the plainest way: it keeps some old images, and
# with each new batch it trains on a few of them too. With a new batch $B$ and a replayed one $B_{\text{mem}}$, of
# images $x$ with labels $y$ to which the network gives the logits $z(x)$, one mean loss is descended:
#
# $$ L \;=\; \frac{1}{|B| + |B_{\text{mem}}|} \sum_{(x, y) \,\in\, B \,\cup\, B_{\text{mem}}} \ell(z(x), y) $$
#
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
# = \frac{K}{n}$, which is that of the new one. Here is the code of both, first the loss, then the reservoir:

# %%
print(inspect.getsource(ER.loss))
print(inspect.getsource(buffers.Reservoir.offer))

# %% [markdown]
# **Try it.** Sixty images come one after another, the memory has room for twelve. We do this many times (`trials`),
# with the reservoir and with another rule that seems just as natural: a new image *always* gets in, in a random
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
low, high = proportions.clopper_pearson(kept, np.full(kept.shape, trials))
rows = [
    (rule, i + 1, kept[r, i], low[r, i], high[r, i])
    for r, rule in enumerate(("reservoir", "a new image always gets in"))
    for i in range(n)
]
table = pd.DataFrame(rows, columns=["rule", "place", "value", "low", "high"])
save_figure(figures.inclusion(table, expected=room / n), out.figures, "07_reservoir")

# %% [markdown]
# The bars are 95 % intervals. Where all images have the same chance, the points scatter about the dotted line, wherever
# an image stood in the stream, and few of the bars miss it. Where they rise to the right, the memory is full of the
# newest images, and the first ones are all but gone: such a rule forgets just as the network does.
#
# One detail decides whether this holds: each image must be *offered once*. An agent that goes through its
# images in several epochs and offers them in each fills the memory with copies and counts wrongly. So the code
# offers a batch in the first epoch only.
#
# In the figure below this code, the reservoir is filled with this notebook's stream. Predict: at the end, does each
# domain have the same number of slots? And what becomes of its share where there are
# fewer slots?
#
# <details><summary>Answer (move the sliders first)</summary>
#
# Each *image* has the same chance, so a domain has about the share of slots that it has of all images: equal domains,
# about equal shares, give or take what chance does. With fewer slots that stays so, but chance weighs more: a domain
# may go nearly empty. The other rule, *balanced*, is that of notebook 05.
#
# </details>

# %%
from cldf_core.interact.filling import arrivals, filling

print(inspect.getsource(ER.observe))
came = arrivals(training_samples(options, load_spectra(options)), options)
filling(came, options.stream, options.memory, seed=options.seed)

# %% [markdown]
# ## Which images to replay? At random, or those that suffer most
#
# ER draws from the whole memory at random: images of earlier domains, and those of the current one that are
# already kept. **Maximally interfered retrieval** (MIR; Aljundi et al., *Online continual learning with maximally
# interfered retrieval*, NeurIPS 2019) looks first which images need it, and only among those of *earlier* domains.
# (The option `replay_from` says for either agent which of the two it is.) It draws $C$ candidates at random, many for
# each one that it replays (option `candidates`), and imagines a step on the new batch alone, with the learning rate
# $\eta$ of the *optimiser*, which makes updates out of gradients:
#
# $$
# \theta' \;=\; \theta - \eta \, \nabla_\theta L(B; \theta) , \qquad
# \Delta(x) \;=\; \ell(z_{\theta'}(x), y) - \ell(z_\theta(x), y)
# $$
#
# It replays the candidates with the largest $\Delta$, those whose loss this step would raise most. The step itself
# is not taken: the network stays as it is.
#
# This *virtual step* is plain SGD, and so was the optimiser of the paper. Adam (Kingma & Ba, ICLR 2015) divides each
# weight's step by $\sqrt{v}$, the size that its gradients had of late, so that its rate is made for steps of
# another scale. The option `virtual_step` has three ways:
#
# * `sgd`: the paper's step, $\theta - \eta\, g$ with $g = \nabla_\theta L(B; \theta)$;
# * `preconditioned`, the default with Adam: $\theta - \eta\, g / (\sqrt{v} + \epsilon)$, with a tiny $\epsilon$ so that
#   nothing is divided by 0: in the scale of the optimiser, where still the new batch alone moves the network;
# * `optimiser`: the whole step that the optimiser would take next. Adam follows a running mean of its gradients, in
#   which the new one has a small weight: the step belongs to the batches before as well.
#
# The virtual step needs the gradient of the new batch *alone*. ER's update cannot give it: new and old images go
# through the network together, and **BatchNorm**, a layer that subtracts from its input a mean and divides it by a
# deviation, takes both over all of them. So MIR's update goes in two passes, first the new images, then the chosen
# ones. The loss is the same mean, and the gradient of the first pass serves twice. (The option `replay_passes` turns
# this on or off for either agent. The `F` in the code is torch's module of functions.)

# %%
for part in (MIR.retrieve, MIR.rises, virtual_weights, buffers.loss_rises, ER._two_passes):
    print(inspect.getsource(part))

# %% [markdown]
# ## Remember the answers, too
#
# A label says "fake" and no more. What a network *answers*, its two logits, also says how sure it was. **Dark
# experience replay** (DER++; Buzzega et al., NeurIPS 2020) keeps with each image of the reservoir the logits $\hat z$
# that the network gave for it when it was written, and takes two random draws from the memory with every batch: the
# answers to the first draw shall stay as they were, and the labels of the second shall still be found,
#
# $$
# L \;=\; \ell(z(x), y) \;+\; \alpha \, \lVert z(x') - \hat z' \rVert^2 \;+\; \beta \, \ell(z(x''), y'')
# $$
#
# (with the mean over images and outputs). It offers its images to the reservoir in *every* epoch: in the first one
# alone, all the answers would be those of a network that has not yet learned. So an image may lie in the memory twice.
#
# ## Training
#
# The next cell shows DER++'s update, and trains the three agents over the whole stream, or reads the runs if they were
# made before with the same options. Did they learn? *Images trained on* leaves out those of which only a forward pass
# is made, MIR's candidates; their time is in the seconds, which hold training, testing and the saving of states.

# %%
print(inspect.getsource(DERPP.observe))
# With their last state, so that they could go on learning (notebook 15).
runs = {agent: make_run(own, keep_state=True) for agent, own in parameters.runs.items()}
scores = collect_scores(list(runs.values()))
for agent, run in runs.items():
    m = run.manifest
    print(f"{agent}: {m['images']} images trained on, replayed ones counted, in {m['seconds']:.0f} s,", end=" ")
    print(f"memory {m['steps'][-1]['memory_bytes'] / 1e6:.1f} MB, kept in runs/{run.path.name}")

losses = pd.concat([loss_table(agent, run.manifest["steps"]) for agent, run in runs.items()])
save_figure(figures.losses(losses), out.figures, "07_losses")

# %% [markdown]
# Losses are in nats, the unit of natural logarithms. In the first step there is no earlier domain, so MIR replays
# nothing, and its loss is that of the new images alone. ER replays images of this domain then. Later, the loss is a
# mean over new *and* replayed images. MIR replays the hard ones: see whether its line lies higher. If so, that does not
# mean that it learns less. The line of DER++ is a sum of three terms, so its height tells nothing beside the others.
#
# ## MIR at work
#
# We take MIR's network as it was before the last domain, and fill a memory with images of the domains before, as the
# run did. Then the training goes on. About ten times on the way we stop and ask: what would the next batch do to the
# losses of random candidates from the memory, by each of the three virtual steps?
#
# The figure shows a single moment, half-way, and MIR's own virtual step. A mark is a candidate; the higher it lies, the
# more the step on the new batch would harm it. Both axes are logarithmic (the vertical one on both sides of a small
# linear part about 0). The filled marks are those with the largest rises, by construction. What have they in common?
# Are they images of one domain? Was the network less certain of them than of others already (further to the right)? How
# many of all marks lie at 0, so that it does not matter whether they are chosen, and how many below it, images that
# this step would even help?

# %%
learner, last, spectra = build_agent(options), len(options.stream) - 1, load_spectra(options)
training = training_samples(options, spectra)
tables = [(spectra[name].table.set_index("row"), samples.where[:, 1]) for name, samples in training]
photographs = np.concatenate([table.loc[rows, "group"] for table, rows in tables])  # by an image's number in the stream
steps = [replace(step, drop_last=False) for step in make_steps(training, options)]
before_last, _ = load_network(runs["mir"].path / f"model-step{max(1, last)}.safetensors")
learner.network.load_state_dict(before_last.state_dict())
for step in [s for s in steps if s.index < last] or steps:
    for incoming in replace(step, epochs=1).batches(options.seed):
        learner.memory.offer(incoming, learner.generator("memory"))
ways = ["sgd", "preconditioned", "optimiser"] if options.optimiser == "adam" else ["sgd", "optimiser"]
random = torch_generator(options.seed, "illustration", "07 candidates")


def look(incoming: Batch) -> list[pd.DataFrame]:
    gradients, count = learner.gradients(incoming), options.candidates or 5 * options.replay
    slots = buffers.retrieve_random(learner.memory, count, random, exclude_domain=last)
    old = learner.memory.take(slots if len(slots) else torch.arange(len(learner.memory)))
    with torch.no_grad(), evaluating(learner.network):
        logits = learner.logits(old.spectra).cpu()
    before = torch.nn.functional.cross_entropy(logits, old.labels, reduction="none")
    asked = {"label": old.labels, "before": before, "place": old.domains, "group": photographs[old.numbers]}
    rises = {way: learner.rises(gradients, old, way).cpu() for way in ways}
    chosen = {way: r.argsort(descending=True, stable=True).argsort() < options.replay for way, r in rises.items()}
    return [pd.DataFrame({**asked, "virtual step": w, "rise": rises[w], "chosen": chosen[w]}) for w in ways]


# %%
def train_and_look() -> pd.DataFrame:
    looks = []
    for step in [s for s in steps if s.index == last]:
        learner.begin_step(step)
        every = max(1, step.updates // 10)
        for update, incoming in enumerate(step.batches(options.seed)):
            if update % every == every // 2:
                looks += look(incoming)
            learner.observe(incoming)
    return pd.concat(looks, keys=np.arange(len(looks)) // len(ways), names=["moment", "candidate"]).reset_index()


looks = out.once("looks", train_and_look, runs["mir"].path.name, inspect.getsource(look))
looks["domain"] = [options.stream[place] for place in looks["place"]]
moment = looks[(looks["virtual step"] == learner.virtual_step) & (looks["moment"] == looks["moment"].max() // 2)]
save_figure(figures.interference(moment.sort_values("place", kind="stable")), out.figures, "07_interference")
if moment["chosen"].all():
    print("MIR has no choice: there are no more candidates than images to replay.")

# %% [markdown]
# Now all moments together, and the virtual steps side by side, with two questions.
#
# * Of how many candidates does a step raise the loss at all, say by more than 0.001 nats? The intervals are over
#   photographs, since images of one photograph are alike. (The saved table has the least and the most of single
#   moments, too.) <!-- setting -->
# * How do the chosen images differ from random ones? The candidates are a random sample, so their mean is what random
#   ones would have. In each moment we take the mean of the chosen minus that of all candidates; the intervals are
#   Student's, over the moments, as if these were independent of each other. (Rises differ so much from moment to moment
#   that only their means are given.)

# %%
rises, both = looks["rise"] > 1e-3, {"chosen": looks["chosen"], "random": looks["rise"].notna()}
by_moment = rises.groupby([looks["virtual step"], looks["moment"]]).mean().groupby("virtual step")
raised = proportions.share_table(looks.assign(counts=rises), ["virtual step"]).assign(over=1e-3)
raised = raised.join(by_moment.agg(least="min", most="max"), on="virtual step")
mean_rise = {f"mean rise, {n} (nats)": looks[at].groupby("virtual step")["rise"].mean() for n, at in both.items()}
raised = raised.join(pd.DataFrame(mean_rise), on="virtual step")
save_table(raised, out.figures, "07_virtual_steps")

what = {"before": "loss before the step (nats)", "label": "share of fakes"}
measured = looks[list(what)].rename(columns=what).join(pd.get_dummies(looks["domain"]).add_prefix("share from "))
keys = [looks["virtual step"], looks["moment"].rename("seed")]  # moments stand where seeds do
of_chosen, of_random = (measured[at].groupby(keys, sort=False).mean() for at in both.values())
apart = (of_chosen - of_random).reset_index().melt(["virtual step", "seed"], var_name="what")
differing = seeds.means_over_seeds(apart, by=["virtual step", "what"])
save_table(differing, out.figures, "07_chosen")

share = "share of candidates whose loss rises"
text = pd.concat([raised.assign(what=share), differing.assign(what="chosen minus random, " + differing["what"])])
text["text"] = [with_interval(row, ".2g") for row in text.itertuples()]
text = text.pivot(index="what", columns="virtual step", values="text").loc[text["what"].unique(), ways]
pd.concat([text, raised.set_index("virtual step")[list(mean_rise)].map("{:.2g}".format).T])

# %% tags=["sentences"]
raised, differing = saved_table(out.figures, "07_virtual_steps"), saved_table(out.figures, "07_chosen")
subject = "Share of candidates whose loss grows by over {:g} nats"
sentences.show(
    [sentences.values(own, subject.format(size), by="virtual step") for size, own in raised.groupby("over")],
    [
        sentences.compared(own, f"Virtual step {way}, chosen images minus random ones", by="what", digits=3)
        for way, own in differing.groupby("virtual step", sort=False)
    ],
)

# %% [markdown]
# That the chosen have the larger rises is no result: they are chosen by it. Where a step raises next to no loss, the
# order of the rises is that of rounding errors, and whoever chooses by it may choose nearly at random. And the choice
# has a price: with each batch, MIR does two forward passes over the candidates besides.
#
# ## What do they know, after every step?
#
# $R_{t,i}$ is the accuracy after step $t$ (row) on domain $i$ (column). Below each number stands half of its 95
# % interval, over test photographs. Where it says “all real” or “all fake”, (nearly) every image gets this one verdict,
# and the accuracy is the share of that class.

# %%
cells = cell_values(scores, split=split)
save_figure(figures.matrices(cells, options.stream), out.figures, "07_matrices")
save_table(cells, out.figures, "07_cells")

# %% [markdown]
# Go down each column from its frame: the less it darkens, the better the replay works. Then compare the matrices cell
# by cell: which differences you can trust, the paired ones below say, not the ±, which is of one cell. Right of the gap
# stands the domain that is never trained on.
#
# *average*: mean accuracy over the trained domains at the end. *learning*: mean at the moment of learning.
# *forgetting (max-last)*: the best accuracy a domain had before minus that at the end, averaged over all domains
# but the last. *backward transfer*: the accuracy at the end minus that at the moment of learning. *unseen*: the
# accuracy at the end on a domain that is never trained on.
#
# Does the clever choice pay, and do remembered answers? All were tested on the same photographs, so a difference can be
# taken photograph by photograph, which makes its interval narrower than those of the two numbers. In words, for these
# runs (their seed and training images held still):

# %%
summary = pd.concat(
    [
        bootstrap.summary(own, options.stream, split=split).assign(agent=a)
        for a, own in scores.groupby("agent", sort=False)
    ]
)
save_table(summary, out.figures, "07_summary")
names = ["average", "learning", "forgetting (max-last)", "backward transfer", *(f"unseen: {u}" for u in options.unseen)]
of = {agent: scores[scores["agent"] == agent] for agent in runs}
apart = [
    bootstrap.paired_difference(of[agent], of["er"], options.stream, split=split).assign(agent=agent)
    for agent in runs
    if agent != "er"
]
save_table(pd.concat(apart, ignore_index=True), out.figures, "07_differences")
as_text(summary, names).T

# %% tags=["sentences"]
summary, apart = saved_table(out.figures, "07_summary"), saved_table(out.figures, "07_differences")
at_end = apart[apart["metric"].isin(["average", "forgetting (max-last)"]) | apart["metric"].str.startswith("unseen")]
unseen_at_end = summary[summary["metric"].str.startswith("unseen")]
sentences.show(
    sentences.compared(summary[summary["metric"] == "forgetting (max-last)"], "Is it forgetting?", line=0),
    [
        sentences.compared(own, f"{figures.metric_name(f'accuracy: {m}')}, minus that of ER, one seed")
        for m, own in at_end.groupby("metric", sort=False)
    ],
    sentences.compared(unseen_at_end, "Accuracy against guessing", by=["agent", "metric"], line=0.5),
)

# %% [markdown]
# For *forgetting*, a negative difference speaks against ER. These are three runs with one seed: another seed draws
# other memories.
#
# ## Which part does it?
#
# ER and MIR differ in how images are chosen, of which domains, in how many passes they are trained on and, where `cldf
# choose` has chosen values for each, in the learning rate and in how many are replayed. `cldf sweep parts` also trains
# MIR with no more candidates than it replays: the choice is random then, and all else the same. `cldf sweep passes`
# trains both agents in one pass and in two. And how large must the memory be? `cldf sweep memory` gives ER several
# sizes. Predict: does a small memory cost more accuracy on what is new, or on what is old?

# %%
names = ["accuracy: average", "accuracy: learning", "accuracy: forgetting (max-last)"]
passes = sweep.scores("passes", parameters, "replay_passes")
passes = crossed.against_itself(passes, "replay_passes", "joined", options.stream).query("metric in @names")
save_table(ledger.corrected(passes).drop(columns="p_holm"), out.figures, "07_passes")
parts = sweep.tests("parts", parameters).query("metric in @names")
choice = ledger.changed(parts, "mir")
save_table(choice[["metric", "part", "value", "low", "high", "n", "significant"]], out.figures, "07_choice")

sizes = sweep.scores("memory", parameters, "memory").query("agent == 'er'")
gained = crossed.against_itself(sizes, "memory", sizes["memory"].max(), options.stream).query("metric in @names")
gained = ledger.corrected(gained).assign(size=[f"{size} images" for size in gained["memory"]])
save_table(gained.drop(columns="p_holm").assign(largest=sizes["memory"].max()), out.figures, "07_sizes")
means = sweep.means("memory", parameters).query("agent == 'er' and metric in @names")
if len(means):
    label = f"images in the memory; mean over {means['n'].max()} seeds"
    save_figure(figures.by_setting(means, "memory", names, label=label), out.figures, "07_sizes")
for name, table in (("parts", parts), ("passes", sweep.means("passes", parameters)), ("memory", means)):
    made = sweep_tables.code_in_words(table) or "made with today's code"
    print(f"cldf sweep {name}:", made if len(table) else "not run")

# %% tags=["sentences"]
passes, choice = saved_table(out.figures, "07_passes"), saved_table(out.figures, "07_choice")
gained = saved_table(out.figures, "07_sizes")
sentences.show(
    sentences.compared(own, f"{metric_name(metric)}, two passes minus one, {n} seeds", also=ledger.TESTED)
    for (metric, n), own in passes.groupby(["metric", "n"], sort=False)
)
sentences.show(
    sentences.compared(
        own, f"{metric_name(metric)}, changed minus MIR as it is, {n} seeds", by="part", also=ledger.TESTED
    )
    for (metric, n), own in choice.groupby(["metric", "n"], sort=False)
)
sentences.show(
    sentences.compared(
        own, f"{metric_name(metric)}, memory of so many images minus {most}, {n} seeds", by="size", also=ledger.TESTED
    )
    for (metric, most, n), own in gained.groupby(["metric", "largest", "n"], sort=False)
)

# %% [markdown]
# (Where they are shown, the intervals are over seeds and photographs, crossed, and *significant* is as in notebook 08,
# with Holm's correction for the comparisons of each of the three.) What is not shown may still be there: few seeds find
# large differences only. Whether replay is better than doing nothing is the question of notebook 08.
#
# **Things to try.** Set `splits` to `["validation"]` first: then the matrices are of validation photographs, and the
# test photographs stay unseen until you have decided. Set `memory = 40`. Then give MIR as many `candidates` as it
# replays: what must happen to it?
#
# **Exercises.** Write the memory in [`reservoir`](exercises/reservoir.ipynb), and MIR's choice in
# [`virtual_step`](exercises/virtual_step.ipynb). In [`find_the_mistake`](exercises/find_the_mistake.ipynb) six agents
# of notebooks 04 to 07 have each a mistake. (`make course` makes copies without the solutions.)
#
# Below is a **bench**: name an option of ER, write a value, and train (or read what was trained before). Each version
# is kept, and can be laid over the default. It looks at validation photographs only.

# %%
from cldf_core.interact.bench import Bench

Bench(parameters, "er")
