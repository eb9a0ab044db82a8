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
# # 11 · Original versus papers: one switch at a time
#
# **The idea.** A paper says what a method is; a published number is what some code has computed. *The original*, the
# research code that this project re-implements, computes other things than the papers that it names, in many places.
# Here each difference is a switch. One is turned at a time, with all else the same: does it change what the network
# knows and forgets?
#
# **What you will learn.** Which differences matter here and which do not, how to tell that from the noise of a random
# seed, and where each comes from: a difference from a paper need not be a mistake.
#
# **What you need.** Notebooks [03](03_without_continual_learning.ipynb), [04](04_icarl.ipynb), [05](05_gdumb.ipynb),
# [06](06_lwf.ipynb) and [07](07_er_and_mir.ipynb). Words: [variant](../docs/glossary.md#variant),
# [chunk](../docs/glossary.md#chunk), [exemplars](../docs/glossary.md#icarl),
# [reservoir](../docs/glossary.md#reservoir), [teacher](../docs/glossary.md#teacher),
# [BatchNorm](../docs/glossary.md#batchnorm), [seed](../docs/glossary.md#seed),
# [bootstrap](../docs/glossary.md#bootstrap). Letters: [symbols](../docs/symbols.md).
#
# **Reads** the data set named by `data` below. **Writes** two runs for each difference, and some more, to
# `runs/<agent>-…`, spectra to `data/spectra/` (about 1.3 GB, since some switches change the spectra themselves), and
# this notebook's figures and tables to `runs/11_original_versus_papers-…/figures/`.
#
# **Time**: at most 32 minutes on one core; a minute when the runs exist already. So many runs can be had because each
# is small: the next cell holds the settings, which are smaller than those of the other notebooks, and *Run all* runs
# these.

# %% tags=["parameters"]
data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
splits: list[str] = ["test"]  # the splits that are scored after every step
limit: int = 100  # training images per class and domain; None takes all
chunks: int = 4  # parts that a domain is cut into, seen one after another
size: int = 112  # pixels a side after the centre crop
width: int = 16  # channels in the slim network's first stage
epochs: int = 5  # passes over each step's images
batch: int = 20  # images per update
memory: int = 100  # images that may be remembered
replay: int = 20  # ER, MIR, DER++: remembered images in each update (DER++: in each of its two draws)

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

# Other options can be assigned above by their names, too; `cldf run 11 --options` lists them.
parameters = from_notebook("11_original_versus_papers", globals())
options = parameters.options()

# %%
import pandas as pd
from IPython.display import display

from cldf_core import figures
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.evaluation import bootstrap
from cldf_core.evaluation.cells import as_text, cell_changes, with_interval
from cldf_core.evaluation.seeds import seed_noise_margin
from cldf_core.figures import sentences
from cldf_core.options import FIELDS
from cldf_core.original import ablations, differences
from cldf_core.runs.run import make_run

figures.theme()
pd.set_option("display.max_colwidth", None)
out = parameters.folder
split = "test" if "test" in options.splits else "validation"
agents = list(dict.fromkeys(difference.agent for difference in differences.DIFFERENCES))
more_seeds = {agent: 4 if agent == "sequential" else 2 for agent in agents}
labels = {(d.agent, d.name): d.label for d in differences.DIFFERENCES}
settings = ["splits", "limit", "chunks", "size", "network", "width", "epochs", "batch", "memory", "replay", "seed"]
here = parameters.options("er").model_dump()
pd.DataFrame([(here[n], FIELDS[n].default) for n in settings], settings, ["here", "default"])

# %% [markdown]
# ## What is a difference?
#
# Differences are easy to overlook, since the code runs and gives numbers either way. We ask of each **difference**:
# *what does it do to the result?* And before that: *where does it come from?* The column of this name has three
# answers.
#
# * **only this code**: neither the method's paper nor its authors' code does it.
# * **the authors' code too**: the code that the method's authors published does it as well, even where their paper
#   says nothing of it. Whoever compares with their numbers compares with this. For the reservoir the authors are
#   MIR's, and for spectra those of AutoGAN, since the original descends from their code.
# * **a choice**: it suits other data or another purpose, and is neither right nor wrong.
#
# The original also took much from a library for online continual learning (Mai et al. 2022), in which every image is
# seen once. Some of what only this code does comes from there: with one epoch, for example, to offer each image to
# the memory in every epoch is to offer it once.
#
# The way to find out is to change one thing and nothing else (an **ablation**). Each difference below has two runs.
# The **base** is the agent as its paper defines it. The **switched run** is the base with one switch turned to the
# original's value: the same images in the same order of domains, the same network, optimiser and number of epochs.
# Where a switch works only together with another one, both runs take that other one from the original; the column
# *compared with* says so.
#
# The table above shows with which settings all runs here are made. Each domain comes in several **chunks**, parts that
# are seen one after another, because several differences count chunks. The original cuts a domain into ten.
#
# ## The stream, and what the network reads
#
# These concern every agent. They are shown with sequential fine-tuning, which does nothing against forgetting,
# so that nothing else stands in the way. Below each table are the lines of code that explain it.

# %%
display(differences.as_table("sequential"))
print(differences.code_lines("sequential"))
display(differences.without_a_switch())

# %% [markdown]
# SGD's dampening needs SGD, while the other runs use Adam; so this switch has a pair of its own. So have `blur` and
# `occlusion`, in whose pairs training images are corrupted.
#
# The last table holds what is no switch: differences in which images are read, or in whether a command runs at all.
#
# ## iCaRL: exemplars, distillation, nearest mean
#
# iCaRL keeps a few images of each class, the *exemplars*, and trains on them together with the new ones. It
# holds the old outputs where they were (*distillation*), and its verdict is the class whose mean is nearest
# (notebook 04). The original has neither of the last two, and other exemplars.
#
# ## GDumb: a balanced memory, and a new network trained on it
#
# GDumb only collects: each domain and class has an even share of the memory. When it is asked, it trains a new
# network on this memory (notebook 05). First the differences of iCaRL, then those of GDumb:

# %%
for agent in ("icarl", "gdumb"):
    display(differences.as_table(agent))
    print(differences.code_lines(agent))

# %% [markdown]
# ## LwF: the old network teaches the new one
#
# LwF keeps no image. Its loss is the cross-entropy with the labels plus a second term, in which the network as
# it was before, the *teacher*, gives the targets (notebook 06). **BatchNorm**, in the tables from here on, is a layer
# that subtracts from its input a mean and divides it by a deviation: in training those of the batch at hand, in the
# test running means of them, its *statistics*.
#
# ## ER and MIR: replay of old images
#
# Both keep a random sample of all images in a memory, the *reservoir*, and add a few of them to every batch. ER
# takes random ones, MIR those whose loss the new batch would raise most (notebook 07). The first three differences
# are those of ER and of MIR; they are shown with ER. (MIR makes two passes in both variants; with it,
# `replay_passes` only turns a mean of the losses into a sum.) Two of them, and one of MIR's, are in the code of MIR's
# authors as well: what they publish as MIR adds two losses up, counts the reservoir by batches, and scores candidates
# in training mode. First the differences of LwF, then those of ER and MIR:

# %%
display(differences.as_table("lwf"))
print(differences.code_lines("lwf"))
display(pd.concat([differences.as_table(agent).assign(agent=figures.agent_name(agent)) for agent in ("er", "mir")]))
print(differences.code_lines("er"), differences.code_lines("mir"), sep="\n")

# %% [markdown]
# ## How large is the noise of the seed?
#
# Train the same agent again with another random seed: other first weights, another order, another choice of
# training images. The result changes, though no switch was turned: this is **seed noise**. A difference that changes
# as much as that may be noise. So each agent's base is trained **again with other seeds**, as a yardstick (`more_seeds`
# in the cell above says how often); sequential fine-tuning, which nothing protects from drifting, with a few more.
#
# Each agent has one more run, with **all of its differences at once**, to see whether they add up.
#
# ## Training
#
# The next cell makes all runs, or reads those that were made before with the same options. A run that several
# comparisons need is made once.
#
# <details><summary>Predict: name one switch that should do harm, and one that can hardly matter. What would you have to
# see to be convinced?</summary>
#
# Write your two down, with the reason. A switch can do harm if it changes what the loss asks for, or which images are
# remembered; it can hardly matter if both ways are equal but for rounding, or but for the random draw. To be convinced
# you need a change that is larger than what these photographs leave open (its interval), and larger than what another
# seed changes (the band): one of the two is not enough.
#
# </details>

# %%
pairs = {(d.agent, d.name): d.pair(parameters) for d in differences.DIFFERENCES}
base = {agent: parameters.options(agent) for agent in agents}
noise = {
    (a, f"random seed {options.seed + k}"): (base[a], parameters.options(a, seed=options.seed + k))
    for a in agents
    for k in range(1, more_seeds[a] + 1)
}
whole = {a: (base[a], differences.all_at_once(parameters, a)) for a in agents if a != "sequential"}

wanted = [run for pair in (*pairs.values(), *noise.values(), *whole.values()) for run in pair]
wanted = {run.model_dump_json(): run for run in wanted}
scores, rows = {}, []
for key, run in wanted.items():
    made = make_run(run)
    scores[key] = made.scores()
    rows.append((figures.agent_name(run.agent), made.manifest["seconds"]))
cost = pd.DataFrame(rows, columns=["agent", "seconds"]).groupby("agent", sort=False)["seconds"].agg(["count", "sum"])
cost.rename(columns={"count": "runs", "sum": "processor seconds (training, testing, saving)"}).round(0)

# %% [markdown]
# Do the bases learn anything? If not, no switch could spoil it. Each value has its 95 % interval over test
# photographs. *average* is the mean accuracy over the trained domains at the end, *learning*
# is the mean at the moment of learning, *forgetting* is the best accuracy a domain had before minus that at the end.
#
# Where a base is not shown to be above guessing, 0.5, a difference has little left to spoil.
#
# How much do the same numbers change with the seed? The spread over seeds tells how far apart two runs lie that
# differ by their seed alone, in 95 of 100 cases. For sequential fine-tuning the spread is measured by itself; for the
# five agents it is pooled, as if it were the same for all. (The factor is Student's, since a spread that is
# estimated from a few runs is itself uncertain.)

# %%
names = ["average", "learning", "forgetting (max-last)", *(f"unseen: {name}" for name in options.unseen[:1])]


def known(run):
    table = bootstrap.summary(scores[run.model_dump_json()], options.stream, split=split)
    return table.assign(agent=run.agent, seed=run.seed)


bases = pd.concat([known(run) for run in (*base.values(), *(other for _, other in noise.values()))])
margins = seed_noise_margin(bases)
save_table(bases[["agent", "seed", "metric", "value", "low", "high"]], out.figures, "11_bases")
display(as_text(bases[bases["seed"] == options.seed], names))
noise_table = margins.loc[names, ["sequential", agents[-1]]].set_axis(
    ["sequential fine-tuning", "the five agents"], axis=1
)
noise_table.rename_axis("two runs that differ by their seed lie within").round(3)

# %% tags=["sentences"]
at_end = saved_table(out.figures, "11_bases").query("metric == 'average' and seed == @options.seed")
sentences.show(sentences.compared(at_end, "Average accuracy of the bases, one seed", line=0.5))

# %% [markdown]
# ## What does each switch change?
#
# All runs were tested on the same photographs. So the change, *switched run minus base*, is computed within each of
# 1000 resamples of the photographs, and its 95 % interval with it.


# %%
def changes_of(these):
    parts = []
    for (agent, switch), (before, after) in these.items():
        first, second = scores[after.model_dump_json()], scores[before.model_dump_json()]
        table = bootstrap.paired_difference(first, second, options.stream, split=split)
        label = labels.get((agent, switch), switch)
        parts.append(table.assign(agent=agent, switch=switch, label=label))
    return pd.concat(parts, ignore_index=True)


effect = changes_of(pairs)
noisy = changes_of(noise)
together = changes_of({(agent, "all at once"): pair for agent, pair in whole.items()})
rows = pd.concat([pd.concat([effect[effect["agent"] == a], noisy[noisy["agent"] == a]]) for a in agents])
theirs = {(d.agent, d.name) for d in differences.DIFFERENCES if d.source == differences.AUTHORS}
starred = [key in theirs for key in rows[["agent", "switch"]].itertuples(index=False, name=None)]
rows["switch"] = rows["label"] + pd.Series(starred, rows.index).map({True: " *", False: ""})
chosen, label = ["average", "forgetting (max-last)"], "change: switched run minus base"
more = ["learning", *(f"unseen: {name}" for name in options.unseen[:1])]
for name, metrics in (("11_forest", chosen), ("11_forest_more", more)):
    figure = figures.forest(rows, metrics, seed_noise=set(noisy["switch"]), margins=margins, label=label)
    save_figure(figure, out.figures, name)

# %% [markdown]
# Each row is a difference, with what both runs do besides in brackets, and a star where the code of the method's
# authors does it too; the tables above have the names of the switches. The dot is the change, the line its 95 %
# interval. For *average*, a dot left of the dotted line points to harm; for *forgetting*, a dot right of it does. An
# interval that does not touch the dotted line is a change that these photographs support: *these two networks* differ.
# But two networks from two random seeds differ as well: the open grey dots show it, and the grey band, which is the
# number in the table above. So look for intervals that do not touch the dotted line **and** whose dot is outside the
# band.
#
# Some switches have little reason to do harm: the number format, the mirrored half of the spectrum, or GDumb's
# `refit_after` (more fits, of which only the last one counts). Where their dots are off the line, it may be that a tiny
# deviation at the start, or another draw of the first weights, grows in training; no run here tests that.
#
# The second figure has two more measures: what is known at the moment of learning, and the domain that no run is
# trained on. Read it as the first; there left is worse on both sides. An agent whose *learning* and *forgetting* both
# fall need not remember better: it may only have less to forget.
#
# ## Where in the matrix?
#
# $R_{t,i}$ is the accuracy after step $t$ (row) on domain $i$ (column). Here is its change, cell by cell, for those
# differences that change the average most.

# %%
largest = effect[effect["metric"] == "average"].sort_values("value", key=abs, ascending=False, kind="stable")[:8]
cells = []
for agent, switch in largest[["agent", "switch"]].itertuples(index=False):
    before, after = (scores[run.model_dump_json()] for run in pairs[agent, switch])
    cells.append(cell_changes(after, before, split=split).assign(agent=agent, switch=switch))
cells = pd.concat(cells, ignore_index=True)
save_table(cells[["agent", "switch", "step", "domain", "value", "low", "high"]], out.figures, "11_cells")
worded = cells.assign(switch=[labels[key] for key in cells[["agent", "switch"]].itertuples(index=False, name=None)])
save_figure(figures.matrix_changes(worded, options.stream), out.figures, "11_matrices")

# %% [markdown]
# The numbers are percentage points. Red means that the difference lowers the accuracy, blue that it raises it. A bold
# number with a dot has an interval that excludes 0. Red *in the frames* means that new domains are learned less well.
# Below a frame, compare with it: a redder cell means that more is lost afterwards, one as red as the frame that it was
# never learned as well. What is above the frames concerns domains that were not seen yet.
#
# ## Do the changes add up?
#
# The figure shows the agent with all of its own differences at once and everything else the same, minus the paper's
# agent.

# %%
label = "change: all differences at once minus base"
figure = figures.forest(together, chosen, seed_noise=(), margins=margins, label=label)
save_figure(figure, out.figures, "11_all_at_once")
keys = together[["metric", "agent"]].itertuples(index=False, name=None)
together["exceeds seed noise"] = together["value"].abs() > [margins.loc[key] for key in keys]
columns = ["agent", "metric", "value", "low", "high", "exceeds seed noise"]
save_table(together[columns].assign(code=made.manifest["code"]), out.figures, "11_all_at_once")
single = effect[effect["metric"] == "average"].groupby("agent")["value"].sum()
sums = []
for row in together[(together["metric"] == "average") & (together["agent"] != "mir")].itertuples():
    gap = row.value - single[row.agent]
    parts = [pair for (agent, _), pair in pairs.items() if agent == row.agent]
    reach = margins.loc["average", row.agent] * ablations.noise_of_gap(whole[row.agent], parts)
    sums.append((row.agent, gap, gap - reach, gap + reach))
save_table(pd.DataFrame(sums, columns=["agent", "value", "low", "high"]), out.figures, "11_sums")

# %% tags=["sentences"]
at_once = saved_table(out.figures, "11_all_at_once").query("metric == 'average'")
beside_sums = saved_table(out.figures, "11_sums")
noise_of_seeds = ("exceeds seed noise", "another seed may do it as well")
sentences.show(
    sentences.compared(at_once, "Average accuracy, all at once minus base, one seed", also=noise_of_seeds, digits=3),
    sentences.compared(
        beside_sums, "All at once minus the sum of the single changes (interval: seed noise alone)", digits=3
    ),
)

# %% [markdown]
# (MIR has no sum: what it shares with ER was measured there.) Each run brings the noise of its seed into the gap, and a
# run that several changes are measured from, as the base is, brings it several times over; so only a large gap says
# something. Changes need not add up: a balance over classes alone, for example, can only matter when the memory is
# full, and a network that is trained further when there is something wrong in it to be kept.
#
# ## The ranked table
#
# The largest change of the average accuracy comes first. There are two questions to each: does its interval over
# photographs **exclude 0**, and does it **exceed seed noise**, that is, lie outside the band? With so many
# comparisons some pass by accident. So both are asked once more *for all at once* (Bonferroni): intervals and band
# are widened until they would hold for all differences together in 95 of 100 cases. (Intervals are widened as for a
# normal distribution, since 1000 resamples have no such tails.)
#
# We say that a difference **matters** here if it passes all four, and that it **may matter** if it excludes 0 and
# exceeds seed noise, each taken by itself.

# %%
about = {(d.agent, d.name): (d.paper, d.switched(parameters), d.source) for d in differences.DIFFERENCES}
keys = list(effect[["agent", "switch"]].itertuples(index=False, name=None))
effect[["paper", "original", "source"]] = [about[key] for key in keys]
ranked = ablations.ranked(effect, bases)
ranks = {key: k for k, key in enumerate(ranked[["agent", "switch"]].itertuples(index=False, name=None))}
in_order = effect.assign(rank=[ranks[key] for key in keys]).sort_values("rank", kind="stable")
columns = ["agent", "switch", "paper", "original", "metric", "value", "low", "high"]
in_order["significant"] = in_order.index.isin(ablations.significant(in_order, margins).index)
save_table(in_order[[*columns, "label", "significant"]], out.figures, "11_differences")
save_table(ranked.assign(code=made.manifest["code"]), out.figures, "11_ranked")

table = ranked[["agent", "label", "switch", "paper", "original", "source"]]
table = table.assign(agent=ranked["agent"].map(figures.agent_name)).rename(columns={"source": "where it comes from"})
for name, end in (("average", ""), ("forgetting", " of forgetting")):
    values = ranked.filter(regex=rf"^(value|low|high){end}$").rename(columns=lambda column: column.split()[0])
    table[name] = [with_interval(row, "+.3f") for row in values.itertuples()]
for question in ("excludes 0", "excludes 0 (all)", "exceeds seed noise", "exceeds seed noise (all)"):
    table[question] = ranked[question].map({True: "yes", False: "–"})
table["verdict"] = ranked["verdict"]
table.set_axis(range(1, len(table) + 1))

# %% [markdown]
# ## What can be said
#
# First of the average accuracy, then of the other measures in the figures; there every change is named whose interval
# excludes 0 and that exceeds seed noise, taken by itself. This is not corrected for the number of comparisons: if no
# switch did anything, up to 5 in 100 of all changes would lie outside the band by accident. So none of them is shown by
# itself. <!-- setting -->

# %% tags=["sentences"]
ranking = saved_table(out.figures, "11_ranked")
outside = (ranking["low"] > 0) | (ranking["high"] < 0)
ranking["photographs only"] = outside & ~ranking["exceeds seed noise"]
ranking["unchanged"] = (ranking["value"] == 0) & ranking["low"].isna()
of_all = ("exceeds seed noise (all)", "another seed may do it as well")
change, row_names = "average accuracy, switched run minus base, one seed", ["agent", "label"]
sentences.show(
    sentences.counted(ranking, "Differences that matter", "verdict", "matters", by=row_names),
    sentences.compared(ranking[ranking["verdict"] == "matters"], f"Of these, {change}", by=row_names, also=of_all),
    sentences.counted(ranking, "Differences that may matter", "verdict", "may matter", by=row_names),
    sentences.compared(
        ranking[ranking["verdict"] == "may matter"], f"Of these, {change}", by=row_names, also=noise_of_seeds
    ),
    sentences.counted(
        ranking, "Told apart by these photographs, but within seed noise", "photographs only", True, by=row_names
    ),
    sentences.counted(ranking, "Without any change", "unchanged", True, by=row_names),
    sentences.counted(ranking, "Not shown", "verdict", "not shown", by=row_names, listed=False),
)

# %% tags=["sentences"]
measured = saved_table(out.figures, "11_differences")
drawn = measured["metric"].isin(["forgetting (max-last)", "learning"]) | measured["metric"].str.startswith("unseen")
measured = measured[drawn]
of_each = ("significant", noise_of_seeds[1])
sentences.show(
    sentences.counted(measured, "Changes of other measures that are named next", "significant", True, listed=False),
    [
        sentences.compared(
            part,
            f"{figures.metric_name(f'accuracy: {metric}')}, switched run minus base, one seed",
            by=row_names,
            also=of_each,
            digits=3,
        )
        for metric, part in measured[measured["significant"]].groupby("metric", sort=False)
    ],
)

# %% [markdown]
# ## Limits
#
# * **One seed.** Each comparison is one pair of runs. The intervals say what other test photographs would change, not
#   what another seed or other training photographs would. Seed noise is measured with a few more runs, for the five
#   agents as if it were the same. Another seed also chooses other training images, while the two runs of a pair share
#   theirs, which would make the bands too wide; where agents differ in their noise, one band for all is too narrow for
#   one and too wide for another. *Not shown* does not mean *no effect*: more seeds might show a small one.
# * **Many comparisons.** Only the ranked table is corrected for them. The other measures and the cells of the
#   matrices are not: of so many 95 % intervals some exclude 0 by accident.
# * **Small data, small network** (the table of settings at the top), and no pre-trained weights. A switch that is not
#   shown to change anything here may matter elsewhere: channels with weights from ImageNet, dropped batches where a
#   chunk is smaller than a batch, the count of chunks in LwF's loss after many of them.
# * **Harm is not everything.** A difference that is not shown to do harm is still one from what a paper says, and a
#   comparison of methods that leaves it out compares something else. And one that does harm is no charge against
#   the original where the method's authors publish it themselves.
#
# **Things to try.** Set `splits` to `["validation"]` first: then all of this is of validation photographs, and the test
# photographs stay unseen until you have decided. Set `chunks` to 1: which differences vanish? Change `seed`: does the
# table keep its order at the top, and at the bottom?
#
# **Exercise.** In [`find_the_mistake`](exercises/find_the_mistake.ipynb) six agents have each one of these differences,
# and you find it by what the agent does. (`make course` makes a copy without the solution.)
#
# Below is a **bench** for switches of ER: name an option, write a value, and train (or read what was trained before).
# `replay_from`, `replay_passes` and `reservoir_count` are switches of the tables above. The bench looks at validation
# photographs only, so its base is trained once more.

# %%
from cldf_core.interact.bench import Bench

Bench(parameters.changed(splits=["validation"]), "er")
