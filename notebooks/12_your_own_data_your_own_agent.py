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
# # 12 · Your own data, your own agent
#
# **The idea.** A folder of images is enough. This notebook makes it a data set that every notebook can use, and looks
# first for what would make any result on it worthless. Then the other half: an agent is a class of some thirty lines.
# Ours keeps old images and asks for no better answer to them; they say which way an update must *not* go.
#
# **What you will learn.** How to add data of your own, what to look at before you believe a result on them, and how to
# write an agent: here A-GEM.
#
# **What you need.** Notebooks [01](01_data_exploration.ipynb) and [03](03_without_continual_learning.ipynb), and ER
# from [07](07_er_and_mir.ipynb); some Python with classes. Words: [shortcut](../docs/glossary.md#shortcut),
# [split](../docs/glossary.md#split), [agent](../docs/glossary.md#agent), [replay](../docs/glossary.md#replay),
# [reservoir](../docs/glossary.md#reservoir), [gradient](../docs/glossary.md#gradient). Letters:
# [symbols](../docs/symbols.md).
#
# **Reads** the data set named by `data` below. As long as that is the embedded one, the notebook first lays some of
# its images out as a folder, as you might have got it from somewhere, and goes on with that.
# **Writes** that folder to `runs/12_…/images`, the data set `notebook-12` to `data/`, three runs, and figures and
# tables.
#
# **Time**: at most nine minutes on one core; seconds when the runs exist already.

# %% tags=["parameters"]
data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
width: int = 24  # channels in the slim network's first stage
epochs: int = 10  # passes over each step's images
batch: int = 32  # images per update
seed: int = 0  # of everything random
memory: int = 400  # images that may be remembered
replay: int = 32  # ER, MIR, DER++: remembered images in each update (DER++: in each of its two draws)

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

# Other options can be assigned above by their names, too; `cldf run 12 --options` lists them.
parameters = from_notebook("12_your_own_data_your_own_agent", globals())
options = parameters.options("er")

# %%
import shutil
from pathlib import Path

import pandas as pd
import torch

from cldf_core import figures
from cldf_core.agents import register
from cldf_core.agents.base import Agent
from cldf_core.buffers import Reservoir, packing_of, retrieve_random
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.data.intake.add import add
from cldf_core.data.intake.reports import audit_images, check_images
from cldf_core.data.layouts.description import read_description
from cldf_core.data.layouts.read import data_folder, named_domains, registered
from cldf_core.data.mini.build import DOMAINS, EMBEDDED
from cldf_core.evaluation import bootstrap
from cldf_core.evaluation.cells import AGENT_NAMES, as_text, cell_values
from cldf_core.figures import sentences
from cldf_core.interact.projection import projection
from cldf_core.options import EROptions
from cldf_core.runs.run import collect_scores, make_run

figures.theme()
out = parameters.folder

# %% [markdown]
# ## Part one: your own data
#
# ### A folder of images
#
# Many layouts are recognised: `0_real` and `1_fake`, `nature` and `ai`, `real` and `fake`, that of the original
# research code, FaceForensics++, or a table with a column for the path and one for the label. A folder above the
# class names the domain, and a folder called `train`, `val` or `test` the split.
#
# **With images of your own**, write in a terminal
#
# ```
# cldf data add path/to/your/folder --name mine
# ```
#
# and then set `data` to `mine`, and `stream` and `unseen` to its domains, in the cell of parameters above. The next
# cell does nothing then. Without images of your own, it makes a folder of the first kind.

# %%
own = options.data in registered()
folder = out.path / "images" if options.data in EMBEDDED else data_folder(options.data)
names = [name for name in [*options.stream, *options.unseen] if ":" not in name]  # those of other data sets stay there
names = names or [*DOMAINS]
for domain in named_domains(data_folder(options.data), names) if options.data in EMBEDDED else []:
    for row in domain.table.itertuples():
        place = folder / domain.name / row.split / ("1_fake" if row.label else "0_real") / row.group
        place.mkdir(parents=True, exist_ok=True)
        parts = Path(row.image).parts if "+" in domain.name else [Path(row.image).name]  # a union may have one twice
        if not (target := place / "-".join(parts)).exists():
            shutil.copyfile(domain.root / row.image, target)
for path in sorted(folder.glob("*/train/*"))[:4]:
    print(path.relative_to(folder), "holds", sum(1 for _ in path.rglob("*.*")), "images")

# %% [markdown]
# ### Adding it
#
# `cldf data add` says what it has recognised, opens every image once, and lists those that it cannot use. Then it
# looks for **shortcuts**: what the files alone, without one look at the pictures, tell about the class. The images
# themselves stay where they are and as they are. This cell does the same as the command.

# %%
name = options.data if own else "notebook-12"
if not own:
    data_set, _ = add(folder, name, replace=True)
    print(read_description(data_set).found)
    count, rows = check_images(name)
    print(f"{count} images: {sum(rows['what'] == 'rejected')} are rejected, {sum(rows['what'] == 'changed')} changed.")
audit = audit_images(name)
for text in audit.warnings:
    print("warning:", text)
save_table(audit.facts_only.rename(columns={"facts of files only": "value"}), out.figures, "12_facts_only")
audit.facts_only.round(3).set_index("domain")

# %% tags=["sentences"]
facts = saved_table(out.figures, "12_facts_only")
sentences.show(sentences.compared(facts, "Balanced accuracy, from facts of the files alone", by="domain", line=0.5))

# %% [markdown]
# Read the sentence that begins with *Recognised*: are the numbers and the domains those that you expected? Then the
# warnings. Is a classifier that sees only facts of the files, such as their size, above guessing? (It learns from some
# photographs and is asked of the others; intervals are over photographs.) A picture that a network has smoothed
# compresses better, so the size of its PNG file can give it away. Our detectors do not see files, only pixels; but a
# number above guessing says that something as simple as the size of a file tells of the class, and a network may take
# such a way, too. Every run on a data set repeats its warnings. What can be done about differences in format, size or
# quality: `cldf data audit NAME --re-encode` makes a copy of the data set in which all images have one common history.
#
# ### From the folder to the matrix
#
# From here on it is like any other data set. Sequential fine-tuning and experience replay (ER, notebook 07). ER is made
# comparable with the agent of part two: it replays images of *earlier* domains only (`replay_from`; by default it
# replays the current one's as well), and new and old images go through the network one after the other
# (`replay_passes`; by default together).

# %%
parameters = parameters.changed(data=name)
split = "test" if "test" in parameters.options("er").splits else "validation"
like_agem = {"replay_from": "earlier-domains", "replay_passes": "averaged"}
runs = {"sequential": make_run(parameters.options("sequential")), "er": make_run(parameters.options("er", **like_agem))}
scores = collect_scores(list(runs.values()))
cells = cell_values(scores, split=split)
save_figure(figures.matrices(cells, options.stream), out.figures, "12_matrices")

# %% [markdown]
# A row is a moment, a column a domain, a number an accuracy with half of its 95 % interval. Where it says “all real” or
# “all fake”, (nearly) every image gets this one verdict, and the accuracy is the share of that class. Compare the last
# rows: has sequential fine-tuning lost what replay has kept?
#
# ## Part two: your own agent
#
# ### Averaged gradient episodic memory
#
# ER trains on old images, again and again. One can ask for less: the network need not get better on old images, it
# shall only not get worse. **A-GEM** (Chaudhry, Ranzato, Rohrbach & Elhoseiny, *Efficient lifelong learning with
# A-GEM*, ICLR 2019) looks at two gradients: $g$, of the loss of the new batch, and $g_\mathrm{ref}$, of the loss of a
# random batch from the memory. If their inner product is negative, a small step against $g$ would raise the old loss.
# Then $g$ is replaced by the nearest direction that does not, its projection:
#
# $$
# \tilde g \;=\; g \;-\; \frac{g^\top g_\mathrm{ref}}{g_\mathrm{ref}^\top g_\mathrm{ref}} \; g_\mathrm{ref}
# \qquad \text{if} \quad g^\top g_\mathrm{ref} < 0 .
# $$
#
# So the loss of old images says which way *not* to go. (One thing more comes from them: the **BatchNorm** layers scale
# what they are given by its running mean and variance, and these statistics are kept up in the pass that computes
# $g_\mathrm{ref}$, too, so they know old images.) Would you expect that to forget more than ER, or less?
#
# <details><summary>An argument for either, before you look</summary>
#
# For more: the projection forbids only a first-order rise of the mean old loss, over one random batch and for a small
# step. Nothing repairs what has been lost already, while ER's loss pulls back as soon as an old image is wrong. For
# less: where both gradients agree, A-GEM takes the whole new gradient and loses no step on images that are known
# anyway. What happens here the curves and the differences below show, for these data and one seed.
#
# </details>
#
# In the figure two weights are left of the many, so that gradients are arrows in the plane: turn them against each
# other. From which angle on does A-GEM change anything? What does it take when the two point in opposite directions?
# And what does the length of the old gradient change?

# %%
projection()

# %% [markdown]
# What is as in the paper: the rule, and a memory whose reference batch holds images of earlier domains only. What is
# not: the authors add some random images of a domain when it is over, here the memory is a reservoir, as ER's; they
# see each image once, here there are several epochs (an image is offered in the first); and they step with plain SGD,
# while here the optimiser scales what it is given (Adam each weight by itself), after which the step is no longer
# quite the projected one.
#
# An agent is a class. It gets a `step` at its beginning and end and a `batch` at a time, and must put all that its
# future depends on into `state_dict`, so that a run that was killed can go on: a `memory` is there already, and what
# `kept` names. What it does not say, it inherits: plain training with cross-entropy.


# %% tags=["agent"]
class AGEM(Agent):
    """Averaged gradient episodic memory; its memory is a reservoir."""

    kept = (*Agent.kept, "current")

    def __init__(self, options):
        super().__init__(options)
        self.memory = Reservoir(options.memory, packing_of(options))
        self.current = 0

    def begin_step(self, step):
        self.current = step.index  # whose images are no reference
        super().begin_step(step)

    def observe(self, batch):
        self.network.train()
        loss = self.cross_entropy(batch)
        gradient = self.gradient(loss)
        random = self.generator("replay")
        slots = retrieve_random(self.memory, self.options.replay, random, exclude_domain=self.current)
        if len(slots):
            gradient = self.projected(gradient, self.gradient(self.cross_entropy(self.memory.take(slots))))
        for parameter, part in zip(self.network.parameters(), gradient, strict=True):
            parameter.grad = part
        self.step_optimiser()
        if batch.epoch == 0:  # every image is offered once
            self.memory.offer(batch, self.generator("memory"))
        return loss.item()

    def gradient(self, loss):
        return torch.autograd.grad(loss, list(self.network.parameters()))

    @staticmethod
    def projected(gradient, reference):
        product = sum((g * r).sum() for g, r in zip(gradient, reference, strict=True))
        if product >= 0:
            return gradient
        scale = product / sum((r * r).sum() for r in reference)
        return [g - scale * r for g, r in zip(gradient, reference, strict=True)]


# %% [markdown]
# ### Registered, trained, compared
#
# `register` gives it a name and says which options it reads besides those that all agents share: those of ER, of which
# it uses `memory` and `replay`, the size of the reference batch. A run's name contains a hash of the class, too: change
# a line of it, and it is trained again. Learning rate and memory are not tuned here. While you change the class, set
# `splits` to `["validation"]` at the top: who tunes by test images fools himself.

# %%
register("agem", AGEM, EROptions)
AGENT_NAMES["agem"] = "A-GEM"
runs["agem"] = make_run(parameters.options("agem"))
scores = collect_scores(list(runs.values()))
cells = cell_values(scores, split=split)
save_table(cells, out.figures, "12_cells")
save_figure(figures.over_time(cells, options.stream), out.figures, "12_over_time")

# %% [markdown]
# A panel is a domain, the grey bar is the step that trains on it, the bands are 95 % intervals over the test
# photographs. Right of the bar: which line stays up?

# %%
by_agent = {agent: scores[scores["agent"] == agent] for agent in runs}
summary = pd.concat(
    [bootstrap.summary(table, options.stream, split=split).assign(agent=agent) for agent, table in by_agent.items()]
)
chosen = ["average", "forgetting (max-last)", *(f"unseen: {name}" for name in options.unseen[:1])]
save_table(summary[["agent", "metric", "value", "low", "high"]], out.figures, "12_summary")
as_text(summary, chosen)

# %%
pairs = [
    bootstrap.paired_difference(by_agent["agem"], by_agent[other], options.stream, split=split).assign(other=other)
    for other in ("er", "sequential")
]
difference = pd.concat(pairs)
save_table(difference[difference["metric"].isin(chosen)], out.figures, "12_differences")

# %% tags=["sentences"]
minus = saved_table(out.figures, "12_differences")
sentences.show(
    sentences.compared(part, f"A-GEM minus {figures.agent_name(other)}, one seed", by="metric")
    for other, part in minus.groupby("other", sort=False)
)

# %% [markdown]
# Before you conclude that one of them is better: the intervals are over test photographs, of one seed and these
# training photographs. Another seed changes what an agent keeps: how far single seeds of other agents lie apart,
# notebook 08 shows where `cldf sweep seeds` was run. And the learning rate was not chosen for A-GEM. To choose it,
# score `validation` images and not `test` ones.
#
# **Exercise.** Show with pencil and paper that $\tilde g^\top g_\mathrm{ref} = 0$ where the rule has changed $g$. Then
# let the class say it: `a, b = torch.randn(2, 10)`, and `AGEM.projected([a], [b])[0] @ b` must be 0, or above it where
# nothing was changed, but for rounding.
#
# ### To keep it
#
# * Put the class into a file of its own, `cldf_core/agents/agem.py`, with a docstring that names the paper.
# * Add its name to the registry in `cldf_core/agents/__init__.py`, and its options to `AGENTS` in
#   `cldf_core/options.py`.
# * Write a test that compares its update with the formula. The tests that every agent must pass, such as *the same
#   bytes after a kill*, then take it in by its name.
