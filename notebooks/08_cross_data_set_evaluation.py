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
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · Cross-data-set evaluation
#
# **What you will learn.** How all agents compare when they learn the same stream with the same network: what
# they forget, what they know at the end, what they make of fakes that they have never met, and what they cost.
#
# **Reads** the runs that notebooks 03 to 07 wrote with the same parameters; it trains nothing. **Writes**
# figures and tables to `runs/08_cross_data_set_evaluation-…/figures/`.
#
# **Time**: about a minute on two cores.

# %% tags=["parameters"]
variant: str = "paper"  # whose defaults: the papers' or the seed's code's
data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
limit: int | None = None  # training images per class and domain; None takes all
chunks: int = 1  # parts that a domain is cut into, seen one after another
splits: list[str] = ["validation", "test"]  # the splits that are scored after every step
size: int = 128  # pixels a side after the centre crop
feature: str = "spectrum"  # what the network reads
plane: str = "half"  # half of the spectrum holds all of it
band: str = "full"  # the frequencies that are kept
precision: str = "float16"  # number format of stored spectra
network: str = "slim"  # the residual network
width: int = 24  # channels in the slim network's first stage
weights: str | None = None  # imagenet, or a file with a torchvision state dict
optimiser: str = "adam"  # the optimiser
lr: float = 0.002  # learning rate; the highest one of a cycle
momentum: float = 0.9  # of SGD
weight_decay: float = 0.0001  # pull of the weights towards zero
schedule: str = "one-cycle"  # one-cycle: a new optimiser and cycle each step; constant: one for the whole stream
epochs: int = 10  # passes over each step's images
batch: int = 32  # images per update
seed: int = 0  # of everything random
threads: int = 2  # CPU threads; the last digits of a result depend on it
device: str = "cpu"  # where the network is trained
mixed_precision: bool = False  # forward passes in bfloat16
memory: int = 400  # images that may be remembered
memory_epochs: int = 16  # GDumb: passes over the memory, a power of two
memory_lr: float = 0.05  # GDumb: highest learning rate on the memory
memory_lr_min: float = 0.0005  # GDumb: lowest learning rate on the memory
memory_batch: int = 16  # GDumb: images per update on the memory
clip: float = 10.0  # GDumb: largest norm of a gradient
distillation: float = 1.0  # LwF: weight of the distillation loss
temperature: float = 2.0  # LwF: softening of the outputs
replay: int = 32  # ER, MIR: remembered images in each update
candidates: int = 50  # MIR: remembered images to choose from

# %%
from cldf_core.options import AGENTS, for_agent
from cldf_core.runs.parameters import from_notebook

options = from_notebook("08_cross_data_set_evaluation", globals())
all_options = {agent: for_agent(options, agent) for agent in AGENTS}

# %%
import pandas as pd

from cldf_core import figures, spread
from cldf_core.runs import experiment
from cldf_core.runs.folder import notebook_folder, save_figure, save_table

figures.theme()
out = notebook_folder("08_cross_data_set_evaluation", options)
split = "test" if "test" in options.splits else "validation"

# %% [markdown]
# ## The agents
#
# A **domain** is one way of making fakes, with real images beside them. The domains come one after another, the
# **stream**, and after every step each agent is tested on all of them, and on one that none of them is ever
# trained on.
#
# | agent | what it does | notebook |
# |---|---|---|
# | separate models | a new network for every domain | 03 |
# | sequential fine-tuning | one network, trained further and further; nothing against forgetting | 03 |
# | joint training | keeps all images for ever: the upper bound | 03 |
# | iCaRL | well-chosen exemplars, distillation, verdict by the nearest mean | 04 |
# | GDumb | a balanced memory; a new network, trained on it alone | 05 |
# | LwF | no memory; the old network teaches the new one | 06 |
# | ER | replays random old images with every batch | 07 |
# | MIR | replays those whose loss would rise most | 07 |
#
# The question of this notebook: **what is gained over sequential fine-tuning, and at what price?** The runs are
# found by their options. If one is missing, the next cell says which.

# %%
runs = {agent: experiment.find(own) for agent, own in all_options.items()}
scores = experiment.collect(list(runs.values()))
by_agent = {agent: scores[scores["agent"] == agent] for agent in runs}
pd.DataFrame({figures.AGENTS[a][0]: {"run": r.path.name, "started": r.manifest["started"]} for a, r in runs.items()}).T

# %% [markdown]
# ## What does each know, after every step?
#
# $R_{t,i}$ is the accuracy after step $t$ (row) on domain $i$ (column). Below each number stands half of its 95
# % interval: the test photographs are drawn again, with repetition, 1000 times, each real image together with
# the fakes made from it. Sequential fine-tuning stands at the left of both rows, so that every agent has it
# beside itself. Separate models are not here: they have no "after every step". Their matrix is in notebook 03.

# %%
cells = figures.cells(scores, split=split)
save_table(cells, out.figures, "08_cells")
panels = ["sequential", "icarl", "gdumb", "lwf", "sequential", "er", "mir", "joint"]
save_figure(figures.matrices(cells, options.stream, panels=panels), out.figures, "08_matrices")

# %% [markdown]
# A frame marks the moment at which a domain is learned. Three things to see. *Down a column, from the frame
# on*: darker means forgotten. *Along the frames*: darker means that the agent has lost the ability to learn
# something new. *Right of the gap*: the fakes that nobody was trained on.
#
# ## How does the accuracy on each domain change?
#
# The same numbers as lines. A panel is a domain, the grey bar is the step that trains on it, the bands are 95 %
# intervals, the dotted line is guessing.

# %%
save_figure(figures.over_time(cells[cells["agent"] != "separate"], options.stream), out.figures, "08_over_time")

# %% [markdown]
# Right of the bar, look for lines that stay up while that of sequential fine-tuning goes down. Left of it, all
# agents are still without knowledge of the domain; what is above the dotted line there is transfer from other
# domains.
#
# ## How much is forgotten?
#
# Forgetting is the best accuracy that a domain had before minus that at the end, averaged over all domains but
# the last (max-last; Chaudhry et al., ECCV 2018; formula in notebook 03). Which intervals are clearly to the
# left of that of sequential fine-tuning?

# %%
parts = [
    spread.summary(own, options.stream, metric, split=split).assign(agent=agent, measure=metric)
    for metric in ("accuracy", "AUC")
    for agent, own in by_agent.items()
]
summary = pd.concat(parts, ignore_index=True)
accuracy = summary[summary["measure"] == "accuracy"]
one_network = accuracy[accuracy["agent"] != "separate"]
figure = figures.estimates(one_network, ["forgetting (max-last)"], line=0, label="accuracy lost")
save_figure(figure, out.figures, "08_forgetting")
save_table(summary[["agent", "measure", "metric", "value", "low", "high"]], out.figures, "08_summary")

# %% [markdown]
# The smaller, the better; but an agent that learns little has little to forget. So forgetting is never read
# alone.
#
# ## What is known at the end, and does it reach fakes never seen?
#
# *average* is the mean accuracy over the trained domains after the last step.

# %%
unseen_names = [f"unseen: {name}" for name in options.unseen]
figure = figures.estimates(accuracy, ["average", *unseen_names[:2]], line=0.5, label="accuracy after the last step")
save_figure(figure, out.figures, "08_average")

# %% [markdown]
# Left: joint training shows what can be had with all images; how near does each agent come? Right: the dotted
# line is guessing. An interval that contains it says that this agent cannot be told from guessing on these
# fakes, however well it remembers its own.

# %%
figures.as_text(accuracy, ["average", "learning", "forgetting (max-last)", "backward transfer", *unseen_names])

# %% [markdown]
# ## Does the threshold matter?
#
# Accuracy depends on where the line between real and fake is drawn: here at a score of 0.5, for all. AUC does
# not: it is the chance that a fake gets a higher score than a real image. If an agent has a high AUC and a low
# accuracy, then it still ranks the images rightly, and only its threshold is off.

# %%
both = summary.assign(metric=summary["measure"] + ", " + summary["metric"])
names = ["accuracy, average", "AUC, average", *(f"{m}, {u}" for u in unseen_names[:1] for m in ("accuracy", "AUC"))]
figures.as_text(both, names)

# %% [markdown]
# ## Is the gain over sequential fine-tuning more than luck?
#
# All agents were tested on the same photographs. So the difference of two agents can be taken within each
# resample, which takes out what makes a photograph hard for both. Each interval below is that of *agent minus
# sequential*.

# %%
parts = [
    spread.paired_difference(own, by_agent["sequential"], options.stream, split=split).assign(agent=agent)
    for agent, own in by_agent.items()
    if agent != "sequential"
]
difference = pd.concat(parts, ignore_index=True)
save_table(difference[["agent", "metric", "value", "low", "high"]], out.figures, "08_differences")
chosen = ["average", "forgetting (max-last)", *unseen_names[:1]]
figure = figures.estimates(difference, chosen, line=0, label="agent minus sequential fine-tuning (accuracy)")
save_figure(figure, out.figures, "08_differences")

# %% [markdown]
# An interval that does not touch the dotted line is a difference that these photographs support. For *average*
# and *unseen*, right is better; for *forgetting*, left is better.
#
# ## What does it cost?
#
# Seconds of training and testing; the most memory that the process held; the bytes of remembered spectra; and
# the images that the network was trained on, replayed ones and repeats counted. One measurement each, without a
# spread: seconds depend on the machine and on what else it did. One more caution: runs that were made one after
# another in one notebook (03, 07) share a process, so a later one cannot show a lower peak than an earlier one.

# %%
rows = [
    (
        agent,
        run.manifest["seconds"],
        run.manifest["peak_memory_bytes"] / 1e6,
        run.manifest["steps"][-1]["memory_bytes"] / 1e6,
        run.manifest["images"],
    )
    for agent, run in runs.items()
]
cost = pd.DataFrame(rows, columns=["agent", "seconds", "peak memory (MB)", "remembered (MB)", "images trained on"])
save_table(cost, out.figures, "08_cost")
save_figure(figures.costs(cost.melt("agent", var_name="cost")), out.figures, "08_cost")

# %% [markdown]
# Compare with joint training: a method that costs as much as training on everything anew saves only the room
# for the images.
#
# ## What can be said
#
# An agent **helps**, we say here, if it (1) loses less than half of what sequential fine-tuning forgets, and
# (2) ends with an average accuracy at least 0.03 above it, with the paired interval above 0. The statements
# come from the numbers.

# %%
lost = accuracy[accuracy["metric"] == "forgetting (max-last)"].set_index("agent")["value"]
gain = difference[difference["metric"] == "average"].set_index("agent")
print(f"sequential fine-tuning forgets {lost['sequential']:.2f}")
helping = []
for agent in ("icarl", "gdumb", "lwf", "er", "mir"):
    g = gain.loc[agent]
    less = bool(lost[agent] < lost["sequential"] / 2)
    higher = bool(g.value >= 0.03 and g.low > 0)
    helping += [figures.AGENTS[agent][0]] if less and higher else []
    print(f"{figures.AGENTS[agent][0]}: {'helps' if less and higher else 'does NOT help'}")
    print(f"   forgets {lost[agent]:.2f}, {'less than half' if less else 'NOT less than half'} of that;")
    print(f"   average {g.value:+.2f} [{g.low:+.2f}, {g.high:+.2f}], {'enough' if higher else 'NOT enough'}")
print(f"\n{len(helping)} of 5 agents help: {', '.join(helping) or 'none'}")

# %%
for name in unseen_names:
    unseen_values = accuracy[accuracy["metric"] == name]
    above = unseen_values[unseen_values["low"] > 0.5]["agent"]
    better = difference[(difference["metric"] == name) & (difference["low"] > 0)]["agent"]
    print(f"{name}: better than guessing: {', '.join(figures.AGENTS[a][0] for a in above) or 'no agent'};")
    print(f"   better than sequential fine-tuning: {', '.join(figures.AGENTS[a][0] for a in better) or 'no agent'}")

# %% [markdown]
# ## Limits
#
# * **One seed.** The intervals say what other test photographs would change, not what another seed would: other
#   initial weights, another order of images, other memories. For the baselines, intervals over five seeds come
#   from the command `cldf mini check`.
# * **Many comparisons.** With five agents and several measures, one interval in twenty leaves 0 out by
#   accident.
# * **One order** of the domains. What comes last is always remembered best.
# * **Small data.** The embedded images are 128 pixels wide, and their fakes were made by small generators of
#   this package. The numbers show what the methods do; they do not compare with published ones, which were
#   obtained on large data sets with large networks.
# * **Hyper-parameters** were chosen for sequential fine-tuning, on validation photographs, and are the same for
#   all. An agent may do better with its own.
