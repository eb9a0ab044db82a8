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
# # 06 · LwF and EWC: not to forget, without keeping an image
#
# **The idea.** Old images may be private, or too many to keep. Then something else has to stand for the past. It can be
# the old network: it looks at the new images, and the new one learns to answer as it does (LwF). Or it can be the old
# weights: those on which old answers depend are held as by springs (EWC). Neither needs a single image.
#
# **What you will learn.** How both are computed, and why this is hard where each new domain looks different from the
# old ones.
#
# **What you need.** Notebook [03](03_without_continual_learning.ipynb), and what a derivative is. Words:
# [logit](../docs/glossary.md#logit), [loss](../docs/glossary.md#loss), [gradient](../docs/glossary.md#gradient),
# [BatchNorm](../docs/glossary.md#batchnorm), [domain-incremental](../docs/glossary.md#domain-incremental),
# [forgetting](../docs/glossary.md#forgetting). Letters: [symbols](../docs/symbols.md).
#
# **Reads** the data set named by `data` below. **Writes** three runs to `runs/lwf-…` and `runs/ewc-…`, and this
# notebook's figures and tables to `runs/06_lwf-…/figures/`.
#
# **Time**: at most seven minutes on one core; seconds when the runs exist already.

# %% tags=["parameters"]
variant: str = "paper"  # whose defaults: the papers' or the original's
data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
width: int = 24  # channels in the slim network's first stage
epochs: int = 10  # passes over each step's images
seed: int = 0  # of everything random
distillation: float = 1.0  # LwF: weight of the distillation loss
temperature: float = 2.0  # LwF: softening of the outputs
ewc_lambda: float = 100.0  # EWC: weight of the penalty

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

# Other options can be assigned above by their names, too; `cldf run 06 --options` lists them.
parameters = from_notebook("06_lwf", globals())
options = parameters.options()

# %%
import inspect

import pandas as pd
import torch
from IPython.display import display
from torch.nn.functional import logsigmoid, softmax

from cldf_core import figures
from cldf_core.agents.ewc import EWC
from cldf_core.agents.lwf import LwF, distillation_loss
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.evaluation import bootstrap
from cldf_core.evaluation.cells import as_text, cell_values, loss_table, with_interval
from cldf_core.evaluation.proportions import share_table
from cldf_core.figures import sentences
from cldf_core.interact.distilling import distilling
from cldf_core.randomness import generator
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.run import collect_scores, domain_samples, load_spectra, make_run, training_samples

figures.theme()
out = parameters.folder
split = "test" if "test" in options.splits else "validation"

# %% [markdown]
# ## The old network as a teacher
#
# Domains of fakes come one after another, and a network that is simply trained further may forget the older ones
# (notebook 03). The most direct remedy is to keep old images. Sometimes one may not: they are private, or too many.
# Learning without Forgetting (Li & Hoiem, *Learning without forgetting*, ECCV 2016) keeps the old *network* instead.
#
# Before a new step, the network is copied. The copy, the **teacher**, does not change any more. During the
# step, both look at the new images. The network learns the right label, and at the same time it is asked to go
# on answering as the teacher does. The hope: whoever answers like the old network on the new images will also
# do so on the old ones. This is called **distillation**.
#
# Let $z$ be the two outputs of the network before the *softmax*, which makes probabilities of them, $\hat z$ those of
# the teacher, and $\tau$ the **temperature** (the papers and the code below write T, which is the number of domains
# here). Both are softened and compared (Hinton, Vinyals & Dean 2015, section 2; Li & Hoiem, equation 2):
#
# $$ P = \operatorname{softmax}(z / \tau), \qquad \hat P = \operatorname{softmax}(\hat z / \tau), $$
#
# $$
# L_{\text{KD}} \;=\; - \, \tau^2 \sum_{c} \hat P_c \log P_c , \qquad
# L \;=\; L_{\text{CE}}(\text{labels}) + \lambda \, L_{\text{KD}}
# $$
#
# In the options, $\lambda$ is `distillation` and $\tau$ is `temperature`. This is the code that runs:

# %%
print(inspect.getsource(distillation_loss))
print(inspect.getsource(LwF.loss))
print(inspect.getsource(LwF.end_step))

# %% [markdown]
# **Why $\tau^2$?** Dividing by $\tau$ makes the gradient smaller, about as $1/\tau^2$ for a large $\tau$. The factor
# gives it back, so that $\lambda$ means the same for every temperature. See for yourself: here is the norm of the
# gradient for one image, on which network and teacher disagree. With the factor, the column should be nearly
# constant; without it, it falls by about four each time $\tau$ doubles.
#
# **What do $\lambda$ and $\tau$ ask of one image?** The figure below the table has one image, a fake, which the teacher
# takes for real. The label pulls one way, the teacher the other, and training ends where their sum is smallest. (The
# second loss is drawn from its least value up: what stays even where the answers agree pulls nowhere.)
# Predict: how large may $\lambda$ be, until the network gives up the label? And does a higher temperature make the
# teacher more or less stubborn?
#
# <details><summary>Answers (move the sliders first)</summary>
#
# At $\tau = 1$ you can derive it: the derivative of the sum is zero where P(fake) is $(1 + \lambda \hat P)/(1 +
# \lambda)$, with $\hat P$ as the teacher's P(fake). That is a mean of label and teacher, with $\lambda$ as the
# teacher's weight. It is below one half as soon as $\lambda (1 - 2 \hat P)$ is above 1. A higher temperature makes a
# teacher that is sure more stubborn: at $\tau = 1$ its pull is never above $\lambda$, however far apart the answers
# are; at a high temperature it grows with the distance of the logits. An unsure teacher hardly changes. (An image of
# which both say the same has no conflict at all.)
#
# </details>

# %%
teacher_says = torch.tensor([[0.5, -0.5]])
rows = []
for tau in (1.0, 2.0, 4.0, 8.0):
    z = torch.tensor([[-0.5, 0.5]], requires_grad=True)
    distillation_loss(z, teacher_says, tau).backward()
    rows.append((tau, float(z.grad.norm()), float(z.grad.norm()) / tau**2))
display(pd.DataFrame(rows, columns=["τ", "gradient with τ²", "gradient without"]).round(4), distilling())

# %% [markdown]
# **One head, or one for each domain?** The paper has outputs for each task, and whoever tests says which task an image
# belongs to. Here *real* and *fake* are the same two outputs in all domains, because nobody says where a suspicious
# image comes from (van de Ven & Tolias 2019 call this domain-incremental learning). To see what that changes, LwF is
# trained twice: with shared outputs, and with a pair of outputs for each domain, where **the test tells the domain**.
# The second knows at test what no other agent but the separate models knows. Where `cldf choose` has chosen values, it
# takes those that were chosen for shared outputs.
#
# ## Or hold the weights: EWC
#
# Elastic weight consolidation (Kirkpatrick et al., PNAS 2017; here its *online* form, Schwarz et al., *Progress &
# compress*, ICML 2018) asks another question: which *weights* did the old answers depend on? Those are held where they
# were, as by springs; the others may move. How stiff is each spring? As stiff as its **Fisher information** $\Omega_k$
# is large: the mean, over the old domain's images $x$, of the squared slope of the log-probability of an answer $y$
# along the weight $\theta_k$, where the answer is drawn from the network itself (the papers write F, which is the
# Fourier transform here; the `F` of the printed code is torch's module of functions):
#
# $$ \Omega_k \;=\; \operatorname{mean}_x \; \operatorname{E}_{y \sim P_\theta(y|x)}
# \Big( \frac{\partial \log P_\theta(y|x)}{\partial \theta_k} \Big)^2 $$
#
# If the answers would hardly change with a weight, its Fisher information is near 0. More exactly: where the weights
# move a little away from their old values $\hat\theta$, each one for itself, the answers on the old images change by
# about $\tfrac12 \sum_k \Omega_k (\theta_k - \hat\theta_k)^2$, as the Kullback-Leibler divergence measures it: how much
# larger the cross-entropy with the old answers is than its least. So the penalty
#
# $$ L \;=\; L_{\text{CE}} + \frac{\lambda}{2} \sum_k \gamma \bar\Omega_k \, (\theta_k - \hat\theta_k)^2 , \qquad
# \bar\Omega_k \;\leftarrow\; \gamma \bar\Omega_k + \Omega_k \quad \text{after each domain,} $$
#
# says: keep the old answers on the old images, *without having the images*. In the options, $\lambda$ is `ewc_lambda`
# and $\gamma$ is `ewc_gamma`, which lets older domains fade. One $\bar\Omega$ and one $\hat\theta$ stand for all
# domains so far.

# %%
print(inspect.getsource(EWC.penalty))
print(inspect.getsource(EWC.squared_gradients))

# %% [markdown]
# **Try it.** A network of one weight, $\theta = 2$, that says P(fake) = sigmoid($\theta x$). For which $x$ does its
# answer depend on $\theta$? The last column is the formula $x^2 \, P \, (1 - P)$, which you can derive by hand.

# %%
weight, rows = torch.tensor(2.0, requires_grad=True), []
for x in (0.0, 0.25, 0.75, 1.5, 4.0):
    p = torch.sigmoid(weight * x).item()
    slopes = [torch.autograd.grad(logsigmoid(sign * weight * x), weight)[0].item() for sign in (1, -1)]
    information = p * slopes[0] ** 2 + (1 - p) * slopes[1] ** 2  # the mean over fake, with chance p, and real
    rows.append((x, p, information, x**2 * p * (1 - p)))
pd.DataFrame(rows, columns=["x", "P(fake)", "Fisher information", "x² P (1 − P)"]).round(4)

# %% [markdown]
# At $x = 0$ the weight does not matter. At the other end the answer is certain: no small step could change it, and the
# information is small again. Keep this in mind: **a network that is certain on all its training images protects
# little**. Three more things are *not protected*. Weights that matter only together, since each spring knows its own
# weight alone. Weights that have moved far, since the formula holds near $\hat\theta$. And what is no weight: a
# **BatchNorm** layer subtracts from its input a running mean and divides it by a running deviation, both measured on
# the images that pass in training. They follow every new domain, and no spring holds them.
#
# ## Training
#
# The next cell trains LwF, EWC and LwF that is told the domain over the whole stream, or reads the runs if they were
# made before with the same options. The losses are in nats, the unit of a logarithm to the base $e$ (as a bit is that
# of one to the base two), each with all its terms. *Images trained on* leaves out those that are looked at for a
# teacher's answers or for Fisher information; their time is in the seconds, which hold training, testing and the saving
# of states.

# %%
# With their last state, so that they could go on learning (notebook 15).
runs = {name: make_run(own, keep_state=True) for name, own in parameters.runs.items()}
scores = {name: collect_scores([run]).assign(agent=name) for name, run in runs.items()}
for name, run in runs.items():
    m = run.manifest
    print(f"{figures.agent_name(name)}: {m['images']} images trained on in {m['seconds']:.0f} s; runs/{run.path.name};")
    print(f"   no image is kept, but {m['steps'][-1]['memory_bytes'] / 1e6:.1f} MB beside the network")
losses = pd.concat([loss_table(name, runs[name].manifest["steps"]) for name in runs if name in ("lwf", "ewc")])
figure = figures.losses(losses, label="mean loss of an epoch,\nwith all its terms (nats)")
save_figure(figure, out.figures, "06_losses")

# %% [markdown]
# In the first step there is neither teacher nor penalty, so the loss is the cross-entropy alone and can reach 0.
# Later LwF's cannot: the distillation loss is smallest when both agree, and even then it is $\tau^2$ times the entropy
# of the teacher's answer. If a loss stays far above, its two terms pull in different directions.
#
# ## What does the teacher say?
#
# The teacher of a step is the network as it was before. It looks at the training images of the step's domain, which
# it has never seen. What does it teach about them, at temperatures 1, 2 and 4? Here are the first step that has a
# teacher, and the last one. <!-- setting -->

# %%
rng = generator(options.seed, "illustration", "06")
spectra, asked, targets = load_spectra(options), [], []
for step, (name, samples) in enumerate(training_samples(options, spectra), start=1):
    some = samples[rng.permutation(len(samples))[:500]]  # at most 500 random training images
    if step == 1:
        continue
    teacher, _ = load_network(runs["lwf"].path / f"model-step{step - 1}.safetensors")
    with torch.no_grad():
        logits = teacher(some.read())[:, -2:]
    groups = spectra[name].table.set_index("row").loc[some.where[:, 1], "group"].to_numpy()
    says_fake, kind = logits.diff().ravel().numpy() > 0, pd.Series(some.labels).map({0: "real", 1: "fake"})
    frame = pd.DataFrame({"step": step, "domain": name, "class": kind, "group": groups})
    asked.append(frame.assign(counts=says_fake != (some.labels == 1)))
    if step in (2, len(options.stream)):
        targets += [frame.assign(temperature=t, value=softmax(logits / t, dim=1)[:, 1]) for t in (1, 2, 4)]
if targets:
    save_figure(figures.soft_targets(pd.concat(targets)), out.figures, "06_soft_targets")

# %% [markdown]
# At temperature 1 look at the two ends: the surer the teacher, the more images are there, and the target says little
# more than a label would. The higher the temperature, the more they move to the middle, and the more one sees *how*
# sure the teacher was about each. The order of the images does not change, and none crosses 0.5.
#
# Now look at the colours. Fakes left of the dotted line are those that the teacher takes for real: it contradicts their
# label. How often does this happen, in each step with its own teacher?

# %%
frame = pd.concat(asked) if asked else pd.DataFrame(columns=["step", "domain", "class", "counts", "group"])
against_label = share_table(frame, ["step", "domain", "class"])
against_label.insert(0, "when", [f"step {row.step}, {row.domain}" for row in against_label.itertuples()])
save_table(against_label, out.figures, "06_teacher")
text = against_label.assign(text=[with_interval(row) for row in against_label.itertuples()])
text.pivot(index="when", columns="class", values="text")

# %% tags=["sentences"]
teacher = saved_table(out.figures, "06_teacher")
kinds = {"fake": "fakes", "real": "real images"}
sentences.show(
    sentences.highest(own, f"Share of {kinds[kind]} whose label the teacher contradicts", by="when")
    for kind, own in teacher.groupby("class")
)

# %% [markdown]
# On those images the two parts of the loss want opposite things. With an output of its own for each domain this cannot
# happen: the teacher says nothing about the newest pair of outputs. The larger the share in a step, the less one should
# expect of shared outputs there: either LwF keeps the past, or it learns the present. Keep the worst step in mind, and
# look for it in the matrices. Whether this is why LwF forgets is another question: *LwF, told* has an output for each
# domain, and a teacher that contradicts nobody. How much does it forget?
#
# ## What do they know, after every step?
#
# $R_{t,i}$ is the accuracy after step $t$ (row) on domain $i$ (column). Below each number stands half of its 95
# % interval, over test photographs. Where it says “all real” or “all fake”, (nearly) every image gets this one verdict,
# and the accuracy is the share of that class.

# %%
cells = pd.concat([cell_values(own, split=split) for own in scores.values()])
save_figure(figures.matrices(cells, options.stream), out.figures, "06_matrix")
save_table(cells, out.figures, "06_cells")

# %% [markdown]
# Two things to see. Go down each column from its frame: does it get darker, which is forgetting? And go along the
# frames: is one darker than the same frame of the separate models (notebook 03), which no teacher and no spring holds
# back?

# %%
tables = [bootstrap.summary(own, options.stream, split=split).assign(agent=name) for name, own in scores.items()]
summary = pd.concat(tables, ignore_index=True)
save_table(summary, out.figures, "06_summary")
apart = [
    bootstrap.paired_difference(own, scores["lwf"], options.stream, split=split).assign(agent=name)
    for name, own in scores.items()
    if name != "lwf"
]
columns = ["metric", "value", "low", "high", "agent"]
save_table(pd.concat([pd.DataFrame(columns=columns), *apart]), out.figures, "06_differences")
names = ["average", "learning", "forgetting (max-last)", "backward transfer", *(f"unseen: {u}" for u in options.unseen)]
as_text(summary, names).T

# %% [markdown]
# *average*: mean accuracy over the trained domains at the end. *learning*: mean at the moment of learning.
# *forgetting (max-last)*: the best accuracy a domain had before minus that at the end, averaged over all domains
# but the last. *backward transfer*: the accuracy at the end minus that at the moment of learning. *unseen*: the
# accuracy at the end on a domain that is never trained on; of it nobody can be told, and LwF with a pair of outputs for
# each domain answers with the newest. In words, for these runs (their seed and training images held still; intervals
# over test photographs):

# %% tags=["sentences"]
summary, cells = saved_table(out.figures, "06_summary"), saved_table(out.figures, "06_cells")
apart, names = saved_table(out.figures, "06_differences"), ("average", "learning", "forgetting (max-last)")
new = cells[cells["step"] == cells["domain"].map({name: t for t, name in enumerate(options.stream, start=1)})]
unseen_at_end = summary[summary["metric"].str.startswith("unseen")]
sentences.show(
    sentences.compared(summary[summary["metric"] == "forgetting (max-last)"], "Is it forgetting?", line=0),
    sentences.compared(new, "Accuracy on a domain when it was new", by=["agent", "domain"], line=0.5),
    [
        sentences.compared(
            apart[apart["metric"] == m],
            f"{figures.metric_name(f'accuracy: {m}')}, minus that of LwF with shared outputs, one seed",
        )
        for m in names
    ],
    sentences.compared(unseen_at_end, "Accuracy against guessing", by=["agent", "metric"], line=0.5),
)

# %% [markdown]
# ## What was not held?
#
# EWC holds weights, not the statistics of BatchNorm. How much of what it has lost on the first domain is due to these?
# Here is the network after the last step, and the same with the statistics that it had after the first; and for
# comparison the network after the first step, with the last statistics. Each judges test images of the first domain.

# %%
first, last = (f"model-step{step}.safetensors" for step in (1, len(options.stream)))
images = spectra[options.stream[0]].table.query("split == @split")
parts = []
for weights_of, statistics_of in ((first, first), (first, last), (last, first), (last, last)) if "ewc" in runs else ():
    mixed, other = (load_network(runs["ewc"].path / name)[0] for name in (weights_of, statistics_of))
    statistics = {name: value for name, value in other.state_dict().items() if "running_" in name}
    mixed.load_state_dict({**mixed.state_dict(), **statistics})
    judged = domain_samples(spectra[options.stream[0]], images)
    says_fake = torch.cat([torch.from_numpy(mixed.score(part)) for part in judged.parts()]).numpy() >= 0
    words = [f"of step {1 if name == first else len(options.stream)}" for name in (weights_of, statistics_of)]
    frame = images[["group"]].assign(weights=words[0], statistics=words[1])
    parts.append(frame.assign(counts=says_fake == (images["label"] == 1)))
held = share_table(pd.concat(parts), ["weights", "statistics"]) if parts else pd.DataFrame(columns=["weights", "value"])
save_table(held, out.figures, "06_statistics")
held.round(2)

# %% [markdown]
# If the third row is near the first, the weights were held and the statistics have run away; if it is near the fourth,
# the weights themselves have moved.
#
# Whether teacher or springs help at all is seen beside sequential training, which has $\lambda = 0$ and, where values
# were chosen for each agent, a learning rate and a weight decay (a pull of all weights towards zero) of its own;
# notebook 08 does this, with intervals for the difference.
#
# **Things to try.** Set `splits` to `["validation"]` first: then the matrices are of validation photographs, and the
# test photographs stay unseen until you have decided. Set `distillation` to 0.1 and to 10: which end of the diagonal
# pays for it? Set `ewc_lambda` to 10 and to 10000000: what is held then, and what does it cost? <!-- setting -->
#
# **Exercise.** You write the distillation loss in [`lwf_loss`](exercises/lwf_loss.ipynb), and derive from its gradient
# what the factor $\tau^2$ is for. (`make course` makes a copy without the solution.)
#
# Below is a **bench**: name an option, write a value, and train (or read what was trained before). Each version is
# kept, and can be laid over the default. It looks at validation photographs only.

# %%
from cldf_core.interact.bench import Bench

Bench(parameters, "lwf")
