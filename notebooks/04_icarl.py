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
# # 04 · iCaRL: exemplars, distillation, nearest mean
#
# **The idea.** Keep a few images of every old domain, and choose them so that their mean is that of all (*herding*).
# Ask the old network what it would have said of the new images, and train the new one to say so, too (*distillation*).
# And give the verdict not by the last layer, but by the mean that is nearest. iCaRL does all three against forgetting.
# Which of them does what?
#
# **What you will learn.** The three parts (*herding*, *distillation*, *nearest mean*), each by itself and all together
# on the stream.
#
# **What you need.** Notebook [03](03_without_continual_learning.ipynb). Words: [class](../docs/glossary.md#class),
# [features](../docs/glossary.md#features), [memory](../docs/glossary.md#memory),
# [teacher](../docs/glossary.md#teacher), [distillation](../docs/glossary.md#distillation),
# [forgetting](../docs/glossary.md#forgetting). Letters: [symbols](../docs/symbols.md).
#
# **Reads** the data set named by `data` below, and the tables of `cldf sweep`. **Writes** one run to
# `runs/icarl-…`, and this notebook's figures and tables to `runs/04_icarl-…/figures/`.
#
# **Time**: about two and a half minutes on one core; seconds when the run exists already.

# %% tags=["parameters"]
variant: str = "paper"  # whose defaults: the papers' or the original's
data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
width: int = 24  # channels in the slim network's first stage
epochs: int = 10  # passes over each step's images
seed: int = 0  # of everything random
memory: int = 400  # images that may be remembered

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

# Other options can be assigned above by their names, too; `cldf run 04 --options` lists them.
parameters = from_notebook("04_icarl", globals())
options = parameters.options()

# %%
import inspect

import numpy as np
import pandas as pd
import torch

from cldf_core import figures
from cldf_core.agents.icarl import icarl_loss
from cldf_core.buffers import herding
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.evaluation import bootstrap
from cldf_core.evaluation.cells import agent_name, as_text, cell_values, loss_table, metric_name, with_interval
from cldf_core.evaluation.crossed import against_itself
from cldf_core.evaluation.proportions import share_table
from cldf_core.figures import sentences
from cldf_core.randomness import generator
from cldf_core.resnet import Network
from cldf_core.results import ledger, sweep_tables
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.run import collect_scores, domain_samples, load_spectra, make_run
from cldf_core.workflow import sweep

figures.theme()
out = parameters.folder
split = "test" if "test" in options.splits else "validation"

# %% [markdown]
# ## The idea
#
# Domains of fakes come one after another, and a network that is simply trained further may forget the older ones
# (notebook 03): its weights move to suit the new images, and old answers change as a side effect. iCaRL (Rebuffi,
# Kolesnikov, Sperl & Lampert, *iCaRL: Incremental Classifier and Representation Learning*, CVPR 2017) does three things
# against it.
#
# 1. It keeps a small **memory** of images of the old domains, called **exemplars**, and trains on them together with
#    the new images: in the paper on all of them in each epoch, `rehearsal = "all"`; `"batch"` adds a few of them to
#    each update. The line under the first cell of code says what was chosen here.
# 2. It keeps a copy of the network as it was before the step, and asks the new network to answer like the old
#    one about the old domains: **distillation**.
# 3. It gives its verdict by the **nearest mean** of exemplars, not by the last layer: an output that was last
#    trained with many images and few exemplars may have grown at the expense of the older ones.
#
# The method was made for classes that come one after another. Here every domain brings two: *real of this
# domain* and *fake of this domain*. So the network has an output for each of the two, in each domain, and grows
# with the stream.
#
# ## 1. Which images to keep? Herding
#
# The memory holds $K$ images in all. After $t$ domains there are $2t$ classes, and each may keep $m = K /
# (2t)$. Which ones? Their mean should stand for the mean of the whole class. Let $\varphi(x)$ be the network's
# features of image $x$, scaled to length 1, and $\mu$ their mean over the $n$ images of a class. Herding
# chooses one image at a time (Rebuffi et al., equation 4):
#
# $$
# x_k \;=\; \underset{x}{\operatorname{argmin}} \;
# \Big\| \, \mu - \frac{1}{k} \Big( \varphi(x) + \sum_{l=1}^{k-1} \varphi(x_l) \Big) \Big\| ,
# \qquad k = 1, \dots, m
# $$
#
# In words: of all images that are left, take the one that brings the mean of the chosen ones nearest to the
# true mean. The order matters too: when a new domain comes and $m$ shrinks, the last ones are dropped, and what
# is left is still a good choice. This is the code that runs:

# %%
print(inspect.getsource(herding))

# %% [markdown]
# **Try it.** Features have hundreds of dimensions, which one cannot look at. So here are 60 points of a plane
# instead, not scaled to length 1: 40 in one cloud and 20 in another. Which ones does herding choose, and is its
# choice better than a random one? <!-- setting -->
#
# <details><summary>Predict: will the chosen points show the two clouds, and will the first one be a typical
# point?</summary>
#
# Herding knows one thing only, the mean of all points. The first choice is the point nearest to it, and the mean of two
# clouds lies between them, where hardly a point is. So the first may be typical of neither cloud; those after it
# balance each other around the mean, some from either side.
#
# </details>

# %%
rng = generator(options.seed, "illustration", "04")
cloud = np.concatenate([rng.normal(0, 0.7, (40, 2)), rng.normal((4, 1.5), 0.5, (20, 2))])
count = np.arange(1, 13)
herded = herding(torch.from_numpy(cloud), len(count)).numpy()
points = pd.DataFrame(cloud, columns=["x", "y"]).assign(rank=0)
points.loc[herded, "rank"] = count

draws = np.array([herded, *(rng.permutation(len(cloud))[: len(count)] for _ in range(1000))])
means = cloud[draws].cumsum(axis=1) / count[:, None]
path = pd.DataFrame(means[0], columns=["x", "y"]).assign(count=count)
off = np.linalg.norm(means - cloud.mean(0), axis=2)  # a row for each choice, herding's first


def with_band(choice: str, drawn: np.ndarray, value: np.ndarray) -> pd.DataFrame:
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return pd.DataFrame({"choice": choice, "count": count, "value": value, "low": low, "high": high})


distances = pd.concat([with_band("herding", off[:1], off[0]), with_band("random", off[1:], off[1:].mean(0))])
figure = figures.herding_choice(points, path, distances, mean=cloud.mean(0))
save_figure(figure, out.figures, "04_herding")
beaten = pd.DataFrame({"chosen": [f"{k} chosen" for k in count], "value": (off[1:] > off[0]).mean(0)})
save_table(beaten[count % 3 == 0], out.figures, "04_herding")

# %% [markdown]
# The cross is the mean of all points. Left: the chosen ones, in their order. Middle, enlarged: the mean of the
# first one, of the first two, and so on. Each choice makes up for where those before it have pulled the mean, as
# far as one point can. Note from which of the two clouds the choices are: herding keeps the mean of a class, not
# its shape. Right: how far the mean is off; the grey line is the mean of 1000 random choices, its band holds the
# central 95 % of them. How many of them are farther off than herding? <!-- setting -->

# %% tags=["sentences"]
beaten = saved_table(out.figures, "04_herding")
sentences.show(sentences.values(beaten, "Share of random choices that are farther off than herding", by="chosen"))

# %% [markdown]
# ## 2. What to learn: new labels and old answers
#
# Each output $P_c(x)$ is a sigmoid: how much does $x$ look like class $c$? The loss $\ell$ of an image whose class is
# $y$ is a binary cross-entropy for each output, summed over outputs. The new outputs are trained towards the label, the
# old ones towards what the old network, $\hat P$, said about the same image (Rebuffi et al., algorithm 3):
#
# $$ \ell(x, y) \;=\; - \sum_{c \,\text{new}} \big[\, 1_{c=y} \log P_c(x) + 1_{c \ne y} \log (1 - P_c(x)) \,\big]
#  \;-\; \sum_{c \,\text{old}} \big[\, \hat P_c(x) \log P_c(x) + (1 - \hat P_c(x)) \log (1 - P_c(x)) \,\big] $$
#
# **Try it.** Below the code stands one image, a fake of the second domain. The old network knows the outputs 0 and 1
# (real and fake of the first domain) and has said something about it. Which of three new networks is punished, and for
# what? (The `F` in the code is torch's module of functions.)
#
# <details><summary>Predict: can a network reach the loss 0 here, by answering everything rightly?</summary>
#
# No. On old outputs the target is what the old network said, which is no 0 and no 1. The binary cross-entropy with such
# a target is smallest where both agree, and is then the entropy of the old answer. So the best loss is what the old
# network was unsure of, and both forgetting and overconfidence cost more.
#
# </details>

# %%
print(inspect.getsource(icarl_loss))
old_logits = torch.tensor([[1.5, -2.0]])  # the old network: rather "real of domain 1", hardly "fake of domain 1"
answers = {
    "right, and the old answers kept": [1.5, -2.0, -4.0, 4.0],
    "right, but the old answers changed": [-4.0, 4.0, -4.0, 4.0],
    "the old answers kept, but wrong": [1.5, -2.0, 4.0, -4.0],
}
for what, logits in answers.items():
    loss = icarl_loss(torch.tensor([logits]), torch.tensor([3]), old_logits)
    print(f"{what}: loss {loss:.2f}")

# %% [markdown]
# The first loss is not 0, because the old network itself was not sure; no answer could do better on the old
# outputs. Forgetting costs, just as a wrong label does. That is the point.
#
# ## 3. The verdict: nearest mean of exemplars
#
# After a step, the features of each class's exemplars are averaged. A test image gets the class whose mean is
# nearest, and it is *fake* if that is the fake class of any domain. As a score, the code takes the squared
# distance to the nearest real mean minus that to the nearest fake mean: above 0 means fake. `means` holds a row for
# each class, first the reals' of a domain, then the fakes'.

# %%
print(inspect.getsource(Network.fake_logits))

# %% [markdown]
# When later training moves the features, the means are computed again from the exemplars and move with them.
#
# ## Training
#
# The next cell trains the agent over the whole stream, or reads the run if it was made before with the same
# options. Did it learn? The figure shows the training loss of each step, in nats: the unit of a logarithm to the
# base $e$, as a bit is that of one to the base two. *Images trained on* leaves out those that only herding or the old
# network looks at; their time is in the seconds, which hold training, testing and the saving of states.

# %%
run = make_run(options, keep_state=True)  # so that it could go on learning (notebook 15)
scores = collect_scores([run])
manifest = run.manifest
each = ", ".join(str(options.memory // (2 * t)) for t in range(1, len(options.stream) + 1))
print(f"{manifest['images']} images trained on in {manifest['seconds']:.0f} s, exemplars included")
print(f"a class may keep {each} images, step after step; kept in runs/{run.path.name}")
print(f"beside the network {manifest['steps'][-1]['memory_bytes'] / 1e6:.1f} MB are kept at the end")

losses = loss_table("icarl", manifest["steps"])
figure = figures.losses(losses, label="mean loss, summed over\noutputs (nats)")
save_figure(figure, out.figures, "04_losses")

# %% [markdown]
# Does each panel fall and become flat? From the second step on it cannot reach 0: the old network's unsure
# answers leave a rest that nobody can remove, and there are more outputs to sum over.
#
# ## What does it know, after every step?
#
# $R_{t,i}$ is the accuracy after step $t$ (row) on domain $i$ (column). Below each number stands half of its 95
# % interval, over test photographs. Where it says “all real” or “all fake”, (nearly) every image gets this one verdict,
# and the accuracy is the share of that class.

# %%
cells = cell_values(scores, split=split)
save_figure(figures.matrices(cells, options.stream), out.figures, "04_matrix")
save_table(cells, out.figures, "04_cells")

# %% [markdown]
# Go down each column from its frame, the moment at which the domain was learned: does it darken, which is forgetting?
# Also compare each frame with that of the separate models (notebook 03): an agent that clings to the past may learn a
# new domain less well. Right of the gap stands the domain that is never trained on.

# %%
summary = bootstrap.summary(scores, options.stream, split=split).assign(agent="icarl")
save_table(summary, out.figures, "04_summary")
names = ["average", "learning", "forgetting (max-last)", "backward transfer", *(f"unseen: {u}" for u in options.unseen)]
as_text(summary, names).T

# %% [markdown]
# *average*: mean accuracy over the trained domains at the end. *learning*: mean at the moment of learning.
# *forgetting (max-last)*: the best accuracy a domain had before minus that at the end, averaged over all domains
# but the last. *backward transfer*: the accuracy at the end minus that at the moment of learning. *unseen*: the
# accuracy at the end on a domain that is never trained on. In words, for this run (its seed and these training
# images held still; intervals over test photographs):

# %% tags=["sentences"]
summary, cells = saved_table(out.figures, "04_summary"), saved_table(out.figures, "04_cells")
last = cells[(cells["step"] == len(options.stream)) & cells["domain"].isin(options.stream)]
unseen_at_end = summary[summary["metric"].str.startswith("unseen")]
sentences.show(
    sentences.compared(summary[summary["metric"] == "forgetting (max-last)"], "Is it forgetting?", by="metric", line=0),
    sentences.highest(last, "Accuracy on the trained domains at the end", by="domain"),
    sentences.compared(unseen_at_end, "Accuracy against guessing", by="metric", line=0.5),
)

# %% [markdown]
# ## Real images that look alike
#
# *Real of the first domain* and *real of the second* are two classes to iCaRL. But both hold photographs: what could
# tell them apart? (Notebook 01 lists what files each domain has.) The loss asks for it all the same. Where nothing
# does, it cannot become small for new images, and the network can only learn its training images by heart. Does this
# matter for the verdict? Who takes a real image of one domain for a real image of another has still said *real*. So
# look at the test images after the last step: is the nearest mean that of the own class, of the same kind in another
# domain, or of the other kind, which is a wrong verdict?

# %%
trained, _ = load_network(run.path / f"model-step{len(options.stream)}.safetensors")
domains, parts = load_spectra(options), []
for place, name in enumerate(options.stream if trained.means is not None else []):
    images = domains[name].table.query("split == @split")
    with torch.no_grad():
        features = [trained.unit_features(part) for part in domain_samples(domains[name], images).parts()]
    found = torch.cdist(torch.cat(features), trained.means).nan_to_num(torch.inf).argmin(1).numpy()
    label = images["label"].to_numpy()
    kind = np.select([found == 2 * place + label, found % 2 == label], ["own class", "another domain"], "other kind")
    frame = images[["group"]].assign(domain=name, **{"class": np.where(label, "fake", "real")})
    parts += [frame.assign(nearest=n, counts=kind == n) for n in ("own class", "another domain", "other kind")]
images = pd.concat(parts) if parts else pd.DataFrame(columns=["class", "domain", "nearest", "group", "counts"])
nearest = share_table(images, ["class", "domain", "nearest"])
save_table(nearest, out.figures, "04_nearest")
text = nearest.assign(text=[with_interval(row) for row in nearest.itertuples()])
text.pivot(index=["class", "domain"], columns="nearest", values="text")

# %% tags=["sentences"]
nearest = saved_table(out.figures, "04_nearest")
real = nearest[nearest["class"] == "real"]
mean_of = {"own class": "their class", "another domain": "the reals of another domain", "other kind": "fakes"}
sentences.show(
    sentences.values(real[real["nearest"] == n], f"Share of real images nearest to the mean of {what}", by="domain")
    for n, what in mean_of.items()
)

# %% [markdown]
# ## Which part does it? And how few images are enough?
#
# To see what a part is good for, take it away and leave the others: the old network no longer teaches; exemplars
# are drawn at random; the last layer gives the verdict; or the exemplars only serve the means, and are no longer
# trained on. `cldf sweep parts` does this with several seeds.
#
# An exemplar has two uses: to be trained on again, and to place a mean. How few would do for the second, the first
# figure tells for its invented points. And the old network teaches without any image. ER and GDumb, which have neither
# teacher nor means, use their memory for training alone. Predict: who loses most when the memory shrinks? `cldf sweep
# memory` knows.

# %%
names = ["accuracy: average", "accuracy: learning", "accuracy: forgetting (max-last)"]
parts = sweep.tests("parts", parameters).query("metric in @names")
lost = pd.concat(ledger.changed(parts, whole) for whole in ("icarl", "icarl, memory 50"))
save_table(lost[["metric", "reference", "part", "value", "low", "high", "n", "significant"]], out.figures, "04_parts")
if len(lost):
    label = f"one part changed minus none, {lost['n'].max()} seeds"
    save_figure(figures.estimates(lost, names, line=0, label=label), out.figures, "04_parts")

sizes = sweep.scores("memory", parameters, "memory")
most, fewest = sizes["memory"].max(), sizes["memory"].min()
gained = against_itself(sizes[sizes["memory"].isin([most, fewest])], "memory", most, options.stream)
gained = ledger.corrected(gained[gained["metric"] == names[0]])
save_table(gained.drop(columns="p_holm").assign(largest=most), out.figures, "04_memory")
for name, table in (("parts", parts), ("memory", sweep.means("memory", parameters))):
    made = sweep_tables.code_in_words(table) or "made with today's code"
    print(f"cldf sweep {name}:", made if len(table) else "not run")

# %% tags=["sentences"]
lost, gained = saved_table(out.figures, "04_parts"), saved_table(out.figures, "04_memory")
by_size = "average accuracy, {} images in the memory minus {}, {} seeds"
sentences.show(
    sentences.compared(
        own,
        f"{metric_name(metric)}, one part changed minus {agent_name(whole)} as it is, {n} seeds",
        by="part",
        also=ledger.TESTED,
    )
    for (whole, metric, n), own in lost.groupby(["reference", "metric", "n"], sort=False)
)
sentences.show(
    sentences.compared(own, by_size.format(*sizes), also=ledger.TESTED)
    for sizes, own in gained.groupby(["memory", "largest", "n"])
)

# %% [markdown]
# (Where changes are shown, their intervals are over seeds and photographs, crossed, and
# [significant](../docs/glossary.md#significant) is as in notebook 08, with [Holm's
# correction](../docs/glossary.md#holms-correction) for the comparisons of parts, and for those of sizes.) What is not
# shown may still be there: few seeds find large differences only. In their figure, left of 0 the part was good for
# accuracy, right of 0 for not forgetting.
#
# One run shows what iCaRL does, not whether it is better than doing nothing: for that it must stand beside
# sequential training with the same network, images and epochs. Notebook 08 does this, with intervals for the
# difference.
#
# **Things to try.** Set `splits` to `["validation"]` first: then the matrix is of validation photographs, and the
# test photographs stay unseen until you have decided. Then halve `memory`, and double it. What happens to the
# first column?
#
# **Exercise.** Four points on a line, 0, 1, 2 and 9. <!-- example --> Which three does herding choose, and in which
# order? Do it with paper and pencil, by the formula above, and then ask
# `herding(torch.tensor([[0.0], [1.0], [2.0], [9.0]]), 3)`. (It tells places in the list, counted from 0.)
#
# Below is a **bench**: name an option, write a value, and train (or read what was trained before). Each version is
# kept, and can be laid over the default. It looks at validation photographs only.

# %%
from cldf_core.interact.bench import Bench

Bench(parameters, "icarl")
