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
# # 11 · Seed versus paper: one switch at a time
#
# **What you will learn.** The research code that this project re-implements, *the seed*, computes other things
# than the papers that it names. Here each difference is a switch. One by one they are turned, and you see which
# of them change what a network knows and forgets, and which do not.
#
# **Reads** the data set named by `data` below. **Writes** about fifty runs to `runs/<agent>-…`, spectra to
# `data/spectra/` (about 1.3 GB in the quick profile, since some switches change the spectra themselves), and
# this notebook's figures and tables to `runs/11_original_versus_papers-…/figures/`.
#
# **Time**: about eleven minutes on two cores; a minute when the runs exist already.

# %% tags=["parameters"]
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
from cldf_core.workflow.parameters import from_notebook

parameters = from_notebook("11_original_versus_papers", globals())
options = parameters.options()

# %%
import pandas as pd
from IPython.display import display

from cldf_core import figures
from cldf_core.data.files import save_figure, save_table
from cldf_core.evaluation import bootstrap
from cldf_core.evaluation.cells import as_text, cell_changes
from cldf_core.evaluation.seeds import seed_noise_margin
from cldf_core.original import ablations, differences
from cldf_core.runs.run import make_run

figures.theme()
pd.set_option("display.max_colwidth", None)
out = parameters.folder
split = "test" if "test" in options.splits else "validation"
agents = list(dict.fromkeys(trap.agent for trap in differences.TRAPS))
more_seeds = {agent: 4 if agent == "sequential" else 2 for agent in agents}

# %% [markdown]
# ## What is a trap?
#
# Some differences between the two are mistakes, some are choices. All are easy to overlook, since the code runs
# and gives numbers either way. We call them **traps**, and ask of each: *what does it do to the result?*
#
# The way to find out is to change one thing and nothing else. Each trap below has two runs. The **base** is the
# agent as its paper defines it. The other run is the base with one switch turned to the seed's value: the same
# images in the same order of domains, the same network, optimiser and number of epochs. Where a switch works
# only together with another one, both runs take that other one from the seed; the column *compared with* says
# so.
#
# Here each domain comes in several **chunks** (`chunks` above), parts that are seen one after another, because
# several traps count chunks. The seed cuts a domain into ten.
#
# ## The stream, and what the network reads
#
# These concern every agent. They are shown with sequential fine-tuning, which does nothing against forgetting,
# so that nothing else stands in the way. Below each table are the lines of code that explain it.

# %%
display(differences.as_table("sequential"))
print(differences.code_lines("sequential"))

# %% [markdown]
# SGD's dampening needs SGD, while the other runs use Adam; so this switch has a pair of its own.
#
# ## iCaRL: exemplars, distillation, nearest mean
#
# iCaRL keeps a few images of each class, the *exemplars*, and trains on them together with the new ones. It
# holds the old outputs where they were (*distillation*), and its verdict is the class whose mean is nearest
# (notebook 04). The seed has none of the last two, and other exemplars.

# %%
display(differences.as_table("icarl"))
print(differences.code_lines("icarl"))

# %% [markdown]
# ## GDumb: a balanced memory, and a new network trained on it
#
# GDumb only collects, the same number of images from each domain and class. When it is asked, it trains a new
# network on this memory (notebook 05).

# %%
display(differences.as_table("gdumb"))
print(differences.code_lines("gdumb"))

# %% [markdown]
# ## LwF: the old network teaches the new one
#
# LwF keeps no image. Its loss is the cross-entropy with the labels plus a second term, in which the network as
# it was before, the *teacher*, gives the targets (notebook 06).

# %%
display(differences.as_table("lwf"))
print(differences.code_lines("lwf"))

# %% [markdown]
# ## ER and MIR: replay of old images
#
# Both keep a random sample of all images in a memory, the *reservoir*, and add a few of them to every batch. ER
# takes random ones, MIR those whose loss the new batch would raise most (notebook 07). The first four traps are
# ER's and MIR's alike; they are shown with ER. (MIR goes in two passes in both variants; with it, `replay_passes`
# only turns a mean of the losses into a sum.)

# %%
display(pd.concat([differences.as_table(agent).assign(agent=figures.agent_name(agent)) for agent in ("er", "mir")]))
print(differences.code_lines("er"), differences.code_lines("mir"), sep="\n")

# %% [markdown]
# ## How large is luck?
#
# Train the same agent again with another random seed: other first weights, another order, another choice of
# training images. The result changes, though no switch was turned. A trap that changes no more than that cannot
# be told from luck. So each agent's base is trained **twice more, with other seeds**, as a yardstick; sequential
# fine-tuning, which nothing holds where it was, four times more.
#
# And one more run each: the agent with **all of its traps at once**, to see whether they add up.
#
# ## Training
#
# The next cell makes all runs, or reads those that were made before with the same options. A run that several
# comparisons need is made once.

# %%
pairs = {(trap.agent, trap.name): trap.pair(parameters) for trap in differences.TRAPS}
base = {agent: parameters.options(agent) for agent in agents}
luck = {
    (a, f"random seed {options.seed + k}"): (base[a], parameters.options(a, seed=options.seed + k))
    for a in agents
    for k in range(1, more_seeds[a] + 1)
}
whole = {a: (base[a], differences.all_at_once(parameters, a)) for a in agents if a != "sequential"}

wanted = [run for pair in (*pairs.values(), *luck.values(), *whole.values()) for run in pair]
wanted = {run.model_dump_json(): run for run in wanted}
scores, rows = {}, []
for key, run in wanted.items():
    made = make_run(run)
    scores[key] = made.scores()
    rows.append((figures.agent_name(run.agent), made.manifest["seconds"]))
cost = pd.DataFrame(rows, columns=["agent", "seconds"]).groupby("agent", sort=False)["seconds"].agg(["count", "sum"])
cost.rename(columns={"count": "runs", "sum": "seconds of training and testing"}).round(0)

# %% [markdown]
# Do the bases learn anything? If not, no switch could spoil it. Each value with its 95 % interval, from a
# bootstrap over test photographs. *average* is the mean accuracy over the trained domains at the end, *learning*
# the mean at the moment of learning, *forgetting* the best accuracy a domain had before minus that at the end.
#
# A base near 0.5 guesses: there a trap has little left to spoil.
#
# And how much do the same numbers change with the seed? From the spread over seeds follows how far apart two runs
# may lie by luck alone, 95 times of 100. For sequential fine-tuning it is measured by itself; for the five agents
# it is pooled, as if it were the same for all. (The factor is Student's $t$, since a spread that is estimated from
# a few runs is itself uncertain.)

# %%
names = ["average", "learning", "forgetting (max-last)", *(f"unseen: {name}" for name in options.unseen[:1])]


def known(run):
    table = bootstrap.summary(scores[run.model_dump_json()], options.stream, split=split)
    return table.assign(agent=run.agent, seed=run.seed)


bases = pd.concat([known(run) for run in (*base.values(), *(other for _, other in luck.values()))])
margins = seed_noise_margin(bases)
display(as_text(bases[bases["seed"] == options.seed], names))
luck_table = margins.loc[names, ["sequential", agents[-1]]].set_axis(
    ["sequential fine-tuning", "the five agents"], axis=1
)
luck_table.rename_axis("two runs that differ by their seed lie within").round(3)

# %% [markdown]
# ## What does each switch change?
#
# All runs were tested on the same photographs. So the difference, *run in the trap minus base*, is taken within
# each of 1000 resamples of the photographs, and its 95 % interval with it.


# %%
def changes_of(these):
    parts = []
    for (agent, switch), (before, after) in these.items():
        first, second = scores[after.model_dump_json()], scores[before.model_dump_json()]
        table = bootstrap.paired_difference(first, second, options.stream, split=split)
        parts.append(table.assign(agent=agent, switch=switch))
    return pd.concat(parts, ignore_index=True)


effect = changes_of(pairs)
lucky = changes_of(luck)
together = changes_of({(agent, "all at once"): pair for agent, pair in whole.items()})
rows = pd.concat([pd.concat([effect[effect["agent"] == a], lucky[lucky["agent"] == a]]) for a in agents])
chosen, label = ["average", "forgetting (max-last)"], "change of accuracy: in the trap minus base"
figure = figures.forest(rows, chosen, seed_noise=set(lucky["switch"]), margins=margins, label=label)
save_figure(figure, out.figures, "11_forest")

# %% [markdown]
# Each row is a trap, with what both runs take from the seed in brackets. The dot is what it changes, the line
# its 95 % interval. For *average*, left of the dotted line means that the trap does harm; for *forgetting*, right
# of it does. An interval that does not touch the dotted line is a difference that these photographs support:
# *these two networks* differ. But two networks from two random seeds differ as well: the open grey dots, and the
# grey band, which is the number in the table above (it may be wider than the figure). So look for intervals that
# leave the dotted line **and** whose dot is outside the band.
#
# Some switches have little reason to do harm: the number format, the mirrored half of the spectrum, or GDumb's
# `refit_after` (more fits, of which only the last one counts). Where their dots are off the line, one sees how a
# tiny difference at the start, or another draw of the first weights, grows in training.
#
# Two more measures: what is known at the moment of learning, and the domain that nobody is trained on.

# %%
more = ["learning", *(f"unseen: {name}" for name in options.unseen[:1])]
figure = figures.forest(rows, more, seed_noise=set(lucky["switch"]), margins=margins, label=label)
save_figure(figure, out.figures, "11_forest_more")

# %% [markdown]
# Read as above; here left is worse on both sides. A trap that lowers *learning* and *forgetting* alike does not
# remember better: it has less to forget.
#
# ## Where in the matrix?
#
# $R_{t,i}$ is the accuracy after step $t$ (row) on domain $i$ (column). Here is its change, cell by cell, for the
# eight traps that change the average most.

# %%
largest = effect[effect["metric"] == "average"].sort_values("value", key=abs, ascending=False, kind="stable")[:8]
cells = []
for agent, switch in largest[["agent", "switch"]].itertuples(index=False):
    before, after = (scores[run.model_dump_json()] for run in pairs[agent, switch])
    cells.append(cell_changes(after, before, split=split).assign(agent=agent, switch=switch))
cells = pd.concat(cells, ignore_index=True)
save_table(cells[["agent", "switch", "step", "domain", "value", "low", "high"]], out.figures, "11_cells")
save_figure(figures.matrix_changes(cells, options.stream), out.figures, "11_matrices")

# %% [markdown]
# The numbers are percentage points. Red: the trap lowers the accuracy; blue: it raises it. Bold, with a dot: the
# interval of this cell leaves 0 out. Red *in the frames* means that new domains are learned less well; red *below
# them*, that they are forgotten more; what is above them concerns domains that were not seen yet.
#
# ## Do traps add up?
#
# The agent with all of its own traps at once, everything else the same, minus the paper's agent.

# %%
figure = figures.estimates(together, chosen, line=0, label="change of accuracy: all traps of the agent minus base")
save_figure(figure, out.figures, "11_all_at_once")
save_table(together[["agent", "metric", "value", "low", "high"]], out.figures, "11_all_at_once")

# %%
single = effect[effect["metric"] == "average"].groupby("agent")["value"].agg(["sum", "count"])
for row in together[together["metric"] == "average"].itertuples():
    margin = margins.loc["average", row.agent]
    beyond = "beyond luck" if abs(row.value) > margin else "no more than luck"
    print(f"{figures.agent_name(row.agent)}: all at once {row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}], {beyond}")
    if row.agent == "mir":
        print("   no sum: four of its traps were measured with ER only")
        continue
    total, count = single.loc[row.agent]
    reach = margin * (count + 1) ** 0.5  # each of the changes, and the sum's counterpart, has its luck
    print(f"   the {count:.0f} single changes sum to {total:+.3f}; the two may lie {reach:.3f} apart by luck:", end=" ")
    print("they do not lie further" if abs(total - row.value) <= reach else "they lie FURTHER, so traps do not add up")

# %% [markdown]
# A sum carries the luck of all its parts, so only a large gap says something. Traps need not add up: a balance
# over classes alone, for example, matters when the memory is full, and a network that is trained further when
# there is something wrong in it to be kept.
#
# ## The ranked table
#
# Largest change of the average accuracy first, with two questions to each: does the interval over photographs
# **leave 0 out**, and is the change **beyond luck**, outside the band? With so many comparisons some pass by
# accident: of thirty, one or two at 95 %. So both are asked once more *for all at once* (Bonferroni): intervals
# and band are widened until they would hold for all traps together in 95 of 100 cases. (Intervals are widened as
# for a normal distribution, since 1000 resamples have no such tails.)
#
# We say that a trap **matters** here if it passes all four, and that it **may matter** if it passes the first
# two.

# %%
about = {(t.agent, t.name): (t.paper, t.turned(parameters)) for t in differences.TRAPS}
keys = list(effect[["agent", "switch"]].itertuples(index=False, name=None))
effect[["paper", "seed"]] = [about[key] for key in keys]
ranked = ablations.ranked(effect, bases)
ranks = {key: k for k, key in enumerate(ranked[["agent", "switch"]].itertuples(index=False, name=None))}
in_order = effect.assign(rank=[ranks[key] for key in keys]).sort_values("rank", kind="stable")
columns = ["agent", "switch", "paper", "seed", "metric", "value", "low", "high"]
save_table(in_order[columns], out.figures, "11_traps")
save_table(ranked, out.figures, "11_ranked")
save_table(bases[["agent", "seed", "metric", "value", "low", "high"]], out.figures, "11_bases")

# %%
text = "{:+.3f} [{:+.3f}, {:+.3f}]".format
shown = ranked[["agent", "switch", "paper", "seed"]].assign(agent=ranked["agent"].map(figures.agent_name))
for name, end in (("average", ""), ("forgetting", " of forgetting")):
    own = ranked[[f"{column}{end}" for column in ("value", "low", "high")]]
    shown[name] = [text(*row) for row in own.itertuples(index=False)]
for question in ("leaves 0 out", "leaves 0 out (all)", "beyond luck", "beyond luck (all)"):
    shown[question] = ranked[question].map({True: "yes", False: "–"})
shown["verdict"] = ranked["verdict"]
shown.set_axis(range(1, len(shown) + 1))

# %% [markdown]
# ## What can be said
#
# The sentences come from the table.


# %%
def told(title, rows):
    print(f"{title}: {len(rows)} of {len(ranked)}")
    for r in rows.itertuples():
        print(f"   {figures.agent_name(r.agent)}, {r.switch}: {r.value:+.3f} [{r.low:+.3f}, {r.high:+.3f}]")


verdict, harm = ranked["verdict"], ranked["value"] < 0
told("matter, and do harm", ranked[(verdict == "matters") & harm])
told("matter, and raise the average", ranked[(verdict == "matters") & ~harm])
told("may matter, and do harm", ranked[(verdict == "may matter") & harm])
told("may matter, and raise the average", ranked[(verdict == "may matter") & ~harm])
same = (ranked["value"] == 0) & (ranked["low"] == 0) & (ranked["high"] == 0)
told("change nothing at all", ranked[same])
told("leave 0 out, but change no more than luck", ranked[ranked["leaves 0 out"] & ~ranked["beyond luck"]])
told("nothing shown", ranked[~ranked["leaves 0 out"] & ~same])

# %% [markdown]
# And the other measures? Here is every change that leaves 0 out and is beyond luck, taken by itself: not corrected
# for the number of comparisons, so a few of them will be accidents.

# %%
for name in names[1:]:
    print(name)
    for r in ablations.shown(effect[effect["metric"] == name], margins).itertuples():
        print(f"   {figures.agent_name(r.agent)}, {r.switch}: {r.value:+.3f} [{r.low:+.3f}, {r.high:+.3f}]")

# %% [markdown]
# ## Limits
#
# * **One seed.** Each comparison is one pair of runs. The intervals say what other test photographs would change,
#   not what another seed would. Luck is measured with a few more runs, for the five agents as if it were the same.
#   Another seed also chooses other training images, while the two runs of a pair share theirs, so the bands are
#   rather too wide. *Not shown* does not mean *no effect*: more seeds might show a small one.
# * **Many comparisons.** Only the ranked table is corrected for them. The other measures and the cells of the
#   matrices are not: there are some hundred of them, and one in twenty leaves 0 out by accident.
# * **Small data, small network.** A few hundred images a domain, a few chunks, no pre-trained weights. A switch
#   that changes nothing here may matter elsewhere: channels with weights from ImageNet, dropped batches where a
#   chunk is smaller than a batch, the count of chunks in LwF's loss after forty of them instead of a few.
# * **Harm is not everything.** A trap that does no harm here is still a difference from what a paper says, and a
#   comparison of methods that leaves it out compares something else.
#
# **Things to try.** Set `chunks` to 1: which traps vanish? Set `seed` to 5: does the table keep its order at the
# top, and at the bottom?
