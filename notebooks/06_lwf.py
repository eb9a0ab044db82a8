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
# # 06 · LwF: the old network teaches the new one
#
# **What you will learn.** How one can try not to forget *without keeping a single image*: the network's own
# past is the teacher. And why this is hard when each new domain looks different from the old ones.
#
# **Reads** the data set named by `data` below. **Writes** one run to `runs/lwf-…`, and this notebook's figures
# and tables to `runs/06_lwf-…/figures/`.
#
# **Time**: about a minute and a half on one core; seconds when the run exists already.

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
distillation: float = 1.0  # LwF: weight of the distillation loss
temperature: float = 2.0  # LwF: softening of the outputs
ewc_lambda: float = 100.0  # EWC: weight of the penalty
ewc_gamma: float = 0.9  # EWC: what is kept of earlier domains' Fisher information

# %%
from cldf_core.workflow.parameters import from_notebook

parameters = from_notebook("06_lwf", globals())
options = parameters.options()

# %%
import inspect

import pandas as pd
import torch
from torch.nn import functional as F

from cldf_core import figures
from cldf_core.agents.lwf import LwF, distillation_loss
from cldf_core.data.files import save_figure, save_table
from cldf_core.evaluation import bootstrap
from cldf_core.evaluation.cells import as_text, cell_values, loss_table, with_interval
from cldf_core.evaluation.proportions import Proportion, class_weights, intervals
from cldf_core.randomness import generator
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.run import collect_scores, load_spectra, make_run, training_samples

figures.theme()
out = parameters.folder
split = "test" if "test" in options.splits else "validation"

# %% [markdown]
# ## The idea
#
# Domains of fakes come one after another, and a network that is simply trained further forgets the older ones.
# The most direct remedy is to keep old images. Sometimes one may not: they are private, or too many. Learning
# without Forgetting (Li & Hoiem, *Learning without forgetting*, ECCV 2016) keeps the old *network* instead.
#
# Before a new step, the network is copied. The copy, the **teacher**, does not change any more. During the
# step, both look at the new images. The network learns the right label, and at the same time it is asked to go
# on answering as the teacher does. The hope: whoever answers like the old network on the new images will also
# do so on the old ones. This is called **distillation**.
#
# ## The loss
#
# Let $z$ be the two outputs of the network before the softmax, $\hat z$ those of the teacher, and $T$ the
# **temperature**. Both are softened and compared (Hinton, Vinyals & Dean 2015, section 2; Li & Hoiem, equation
# 2):
#
# $$ p = \operatorname{softmax}(z / T), \qquad \hat p = \operatorname{softmax}(\hat z / T), $$
#
# $$
# L_{\text{KD}} \;=\; - \, T^2 \sum_{c} \hat p_c \log p_c , \qquad
# L \;=\; L_{\text{CE}}(\text{labels}) + \lambda \, L_{\text{KD}}
# $$
#
# In the options, $\lambda$ is `distillation` and $T$ is `temperature`. This is the code that runs:

# %%
print(inspect.getsource(distillation_loss))
print(inspect.getsource(LwF.loss))
print(inspect.getsource(LwF.end_step))

# %% [markdown]
# **Why $T^2$?** Dividing by $T$ makes the gradient smaller, about as $1/T^2$ for a large $T$. The factor gives
# it back, so that $\lambda$ means the same for every temperature. See for yourself: here is the norm of the
# gradient for one image, on which network and teacher disagree.

# %%
teacher_says = torch.tensor([[0.5, -0.5]])
rows = []
for T in (1.0, 2.0, 4.0, 8.0):
    z = torch.tensor([[-0.5, 0.5]], requires_grad=True)
    distillation_loss(z, teacher_says, T).backward()
    rows.append((T, float(z.grad.norm()), float(z.grad.norm()) / T**2))
pd.DataFrame(rows, columns=["T", "gradient with T²", "gradient without"]).round(4)

# %% [markdown]
# With the factor, the column should be nearly constant; without it, it falls by about four each time $T$
# doubles.
#
# ## Training
#
# The next cell trains the agent over the whole stream, or reads the run if it was made before with the same
# options.

# %%
run = make_run(options)
scores = collect_scores([run])
manifest = run.manifest
print(f"{manifest['images']} images trained on in {manifest['seconds']:.0f} s; kept in runs/{run.path.name}")
print(f"no image is kept, but the teacher: a second network of {manifest['steps'][-1]['memory_bytes'] / 1e6:.1f} MB")

# %% [markdown]
# Did it learn?

# %%
losses = loss_table("lwf", manifest["steps"])
save_figure(figures.losses(losses, label="mean loss of an epoch,\nCE + λ KD (nats)"), out.figures, "06_losses")

# %% [markdown]
# In the first step there is no teacher, so the loss is the cross-entropy alone and can reach 0. Later it
# cannot: the distillation loss is smallest when both agree, and even then it is $T^2$ times the entropy of the
# teacher's answer. If it stays far above, the two terms pull in different directions.
#
# ## What does the teacher say?
#
# Here is the teacher of the second step: the network as it was after the first domain. It looks at the training
# images of the next domain, which it has never seen. What does it teach about them, at temperature 1, 2 and 4?

# %%
rng = generator(options.seed, "illustration", "06")
spectra = load_spectra(options)
new = {}  # at most 500 random training images of each domain
for name, samples in training_samples(options, spectra):
    new[name] = samples[rng.permutation(len(samples))[:500]]

images = list(new.values())[min(1, len(new) - 1)]
teacher, _ = load_network(run.path / "model-step1.safetensors")
with torch.no_grad():
    logits = teacher(images.read())
targets = pd.concat(
    [
        pd.DataFrame({"temperature": T, "label": images.labels, "value": F.softmax(logits / T, dim=1)[:, 1].numpy()})
        for T in (1, 2, 4)
    ]
)
targets["class"] = targets["label"].map({0: "real", 1: "fake"})
save_figure(figures.soft_targets(targets), out.figures, "06_soft_targets")

# %% [markdown]
# At $T = 1$ look at the two ends: the surer the teacher, the more images are there, and the target says little
# more than a label would. The higher $T$, the more they move to the middle, and the more one sees *how* sure
# the teacher was about each. The order of the images does not change, and none crosses 0.5.
#
# Now look at the colours. If fakes of the new domain stand on the left, the teacher takes them for real, and
# contradicts their label. How often does this happen, in each step with its own teacher? (In brackets: 95 %
# intervals, over photographs.)

# %%
rows, shares = [], []
for step, name in enumerate(options.stream[1:], start=2):
    teacher, _ = load_network(run.path / f"model-step{step - 1}.safetensors")
    labels, group_of = new[name].labels, spectra[name].table.set_index("row")["group"]
    groups = pd.factorize(group_of.loc[new[name].where[:, 1]])[0]
    with torch.no_grad():
        says_fake = teacher(new[name].read()).diff().ravel().numpy() > 0
    against = says_fake != (labels == 1)
    for kind in ("real", "fake"):
        shares.append(Proportion.from_images(against, groups, class_weights(f"accuracy on {kind}", labels)))
        rows.append((step, name, kind, shares[-1].share))
against_label = pd.DataFrame(rows, columns=["step", "domain", "class", "value"])
against_label["low"], against_label["high"] = intervals(shares)
save_table(against_label, out.figures, "06_teacher")
text = [with_interval(row) for row in against_label.itertuples()]
against_label[["step", "domain", "class"]].assign(**{"share against the label": text})

# %% [markdown]
# On those images the two parts of the loss want opposite things. With classes that come one after another, the
# case that the method was made for, this does not happen: old and new classes have outputs of their own. Here
# *real* and *fake* are the same two outputs in every domain. The larger the share in a step, the less one
# should expect of this method there: either it keeps the past, or it learns the present. Keep the worst step in
# mind, and look for it in the matrix below.
#
# ## What does it know, after every step?
#
# $R_{t,i}$ is the accuracy after step $t$ (row) on domain $i$ (column). Below each number stands half of its 95
# % interval, over test photographs.

# %%
cells = cell_values(scores, split=split)
save_figure(figures.matrices(cells, options.stream), out.figures, "06_matrix")
save_table(cells, out.figures, "06_cells")

# %% [markdown]
# Two things to see. Go down each column from its frame: does it get darker, which is forgetting? And go along
# the frames: do they get darker, because the teacher holds the network back?

# %%
summary = bootstrap.summary(scores, options.stream, split=split).assign(agent="lwf")
save_table(summary, out.figures, "06_summary")
names = ["average", "learning", "forgetting (max-last)", "backward transfer", *(f"unseen: {u}" for u in options.unseen)]
as_text(summary, names).T

# %% [markdown]
# *average*: mean accuracy over the trained domains at the end. *learning*: mean at the moment of learning.
# *forgetting (max-last)*: the best accuracy a domain had before minus that at the end, averaged over all domains
# but the last. *backward transfer*: the accuracy at the end minus that at the moment of learning. *unseen*: the
# accuracy at the end on a domain that is never trained on. In words, for this run:

# %%
value = summary.set_index("metric")
lost = value.loc["forgetting (max-last)"]
verdict = "it does forget" if lost.low > 0 else "no forgetting can be shown"
print(f"forgetting is {with_interval(lost)}: {verdict}")
for step, name in enumerate(options.stream, start=1):
    new = cells[(cells["step"] == step) & (cells["domain"] == name)].iloc[0]
    note = "" if new.low > 0.5 else "  <- not learned: not told from guessing"
    print(f"when it was new, {name}: {with_interval(new)}{note}")
for name in options.unseen:
    U = value.loc[f"unseen: {name}"]
    verdict = (
        "better than guessing" if U.low > 0.5 else "worse than guessing" if U.high < 0.5 else "not told from guessing"
    )
    print(f"never trained on, {name}: {with_interval(U)}, {verdict}")

# %% [markdown]
# Whether the teacher helps at all is seen beside sequential training, which is the same with $\lambda = 0$;
# notebook 08 does this, with intervals for the difference.
#
# **Things to try.** Set `distillation` to 0.1 and to 10. Which end of the diagonal pays for it?
