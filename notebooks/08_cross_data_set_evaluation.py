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
# # 08 · Cross-data-set evaluation
#
# **The idea.** All agents, one stream, one network: which of them forgets less than plain training does, and at what
# price? One number each would answer that in a line, and mislead: another seed, other photographs, another stream might
# turn it round. So every number has an interval, every difference is taken on the same photographs, and what is not
# shown is called *not shown*.
#
# **What you will learn.** What each agent is told, keeps and costs; what it forgets; what it makes of fakes that it has
# never met; and whether its scores can be believed.
#
# **What you need.** Notebook [03](03_without_continual_learning.ipynb); of [04](04_icarl.ipynb), [05](05_gdumb.ipynb),
# [06](06_lwf.ipynb) and [07](07_er_and_mir.ipynb) the idea of each agent. Words: [agent](../docs/glossary.md#agent),
# [forgetting](../docs/glossary.md#forgetting), [backward transfer](../docs/glossary.md#backward-transfer),
# [AUC](../docs/glossary.md#auc), [interval](../docs/glossary.md#interval), [bootstrap](../docs/glossary.md#bootstrap),
# [seed](../docs/glossary.md#seed). Letters: [symbols](../docs/symbols.md).
#
# **Reads** the runs that notebooks 03 to 07 wrote with the same parameters, and the tables of `cldf sweep` and `cldf
# choose`; it trains nothing. **Writes** figures and tables to `runs/08_cross_data_set_evaluation-…/figures/`.
#
# **Time**: about a minute on one core.

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
replay: int = 32  # ER, MIR, DER++: remembered images in each update (DER++: in each of its two draws)

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

# Other options can be assigned above by their names, too; `cldf run 08 --options` lists them.
parameters = from_notebook("08_cross_data_set_evaluation", globals())
options = parameters.options()

# %%
import pandas as pd
from IPython.display import display

from cldf_core import figures
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.data.runtime import project_root
from cldf_core.evaluation import bootstrap, calibration
from cldf_core.evaluation.cells import as_text, metric_name
from cldf_core.evaluation.seeds import differ_from_zero, means_over_seeds
from cldf_core.figures import sentences
from cldf_core.interact.thresholds import under_threshold
from cldf_core.results import ledger
from cldf_core.results.metric_table import metric_table
from cldf_core.results.sweep_tables import code_in_words
from cldf_core.results.trials import read_trials
from cldf_core.runs.run import find_run
from cldf_core.workflow import sweep
from cldf_core.workflow.parameters import FIRST

figures.theme()
pd.set_option("display.max_colwidth", None)
highlight = ("sequential", "joint", "icarl", "er")  # in colour: two to compare with, and two that rehearse
out = parameters.folder
split = "test" if "test" in options.splits else "validation"
never_seen = [f"accuracy: unseen: {name}" for name in options.unseen]

# %% [markdown]
# ## The agents
#
# A **domain** is one way of making fakes, with real images beside them. The domains come one after another, the
# **stream**, and after every step each agent is tested on all of them, and on one that none of them is ever trained on.
#
# | agent | what it does | notebook |
# |---|---|---|
# | sequential fine-tuning | one network, trained further and further; nothing against forgetting | 03 |
# | joint training | keeps all images for ever, and trains on all of them in each step | 03 |
# | iCaRL | well-chosen exemplars, distillation, verdict by the nearest mean | 04 |
# | GDumb | a balanced memory; a new network, trained on it alone | 05 |
# | LwF | no memory; the old network teaches the new one | 06 |
# | LwF, told | the same with two outputs for each domain, and the test tells it the domain: its paper's case | 06 |
# | EWC | no memory; the weights on which old answers depend are held as by springs | 06 |
# | ER | replays random old images with every batch | 07 |
# | MIR | replays those whose loss would rise most | 07 |
# | DER++ | replays random old images, and what the network once answered to them | 07 |
#
# (Separate models, a network for each domain, are in notebook 03: none of them knows all domains. The table says what
# the papers' methods do. Where values are chosen on validation photographs, that goes for some ways of theirs, too:
# which exemplars iCaRL rehearses, `rehearsal`, its paper's being `all`; and how MIR looks ahead, `virtual_step`, its
# paper's being `sgd`. The choices stand near the end.) The question of this notebook: **what is gained over sequential
# fine-tuning, and at what price?** The runs are found by their options. If one is missing, the next cell says which.
#
# All that is said of these runs comes from one table, the **metric table**: nine metrics of detection for every step
# and domain, those of continual learning for every run, and the cost. (`cldf metrics` prints it for any runs, and for
# files with scores of other programs.) `low` and `high` are the ends of a 95 % interval over test photographs, each
# real image together with the fakes made from it (notebook 03). They are empty where these do not tell how uncertain a
# number is, such as the AUC of classes that are perfectly apart; the notes list such numbers. `threshold_from` says
# where the verdict's threshold comes from: it is declared, 0.5 for all.
#
# An agent is only as good as what it needs. So the second table says for each what it **keeps** of the past, what it is
# **told** besides images and labels, and what it **cost**. *Images passed* counts those trained on, replayed ones and
# repeats too. It leaves out images that are looked at without being trained on, mainly in a forward pass alone: MIR's
# candidates, those that a teacher answers, those that herding chooses from, and those of EWC's Fisher information. The
# *seconds* hold these as well: they are those of one processor for training, testing and the saving of states. *Kept*
# are bytes of images, logits, weights or a teacher; joint training keeps all images, counted here as a memory would
# pack them. And *every* agent is told when a step begins and how many updates it will have, since the learning rate
# goes through a cycle in each (option `schedule`), and goes through a step's images several times (`epochs`).

# %%
wanted = {name: own for name, own in parameters.runs.items() if name != "separate"}
runs = {name: find_run(own) for name, own in wanted.items()}
scores = pd.concat([run.scores().assign(agent=name) for name, run in runs.items()], ignore_index=True)
metrics = metric_table(list(runs.values()), split=split)
row_of = {run.path.name: name for name, run in runs.items()}  # an agent's name, or that of a row of its own
metrics["agent"] = metrics["run"].map(row_of)
save_table(metrics, out.figures, "08_metrics")
print(*metrics.attrs["notes"], sep="\n")
# Five of its rows, without the name of the run.
display(metrics.iloc[[0, 4, 8, -20, -1]].drop(columns="run").style.format(precision=3, na_rep="").hide(axis="index"))

cost = ledger.costs(metrics)
information = ledger.facts(runs if options.variant == "paper" else []).reindex(list(runs))
information = information.join(cost.pivot(index="agent", columns="cost", values="value"))
save_table(information.rename_axis("agent").reset_index(), out.figures, "08_information")
numbers = dict.fromkeys(cost["cost"], "{:.3g}")
information.fillna(dict.fromkeys(ledger.COLUMNS, "")).rename(index=figures.agent_name).style.format(numbers)

# %% [markdown]
# ## What does each know, at the end and on the way?
#
# First the accuracy after the last step, on every domain: below each number stands half of its 95 % interval, and right
# of the gap stand the fakes that nobody was trained on. These are the last rows of matrices that notebooks 03 to 07
# show whole (and in which they say if, in a cell, all images get one verdict). Then the accuracy after every step as
# lines, and the AUC. A panel is a domain, the grey bar is the step that trains on it, the bands are 95 % intervals over
# test photographs (of one seed), the dotted line is guessing. (The AUC is the chance that a fake gets a higher score
# than a real image; no threshold is needed for it.) Some agents are in colour, the others grey: which, was decided
# before any result was seen.
#
# Right of the bar, does the line of sequential fine-tuning go down, and which others stay up? Left of it, all agents
# are still without knowledge of the domain; what is above the dotted line there is transfer from other domains. Where
# the accuracy falls and the AUC does not, the images are still ranked rightly, and only the threshold is off.
#
# ## Does the threshold matter?
#
# Accuracy depends on where the line between real and fake is drawn. It must not be drawn by looking at the test images.
# But it may be fitted to validation images of the domains that were trained on: the line with the best balanced
# accuracy there. Compare the columns: does that help? And is the AUC, which needs no line, much higher?
# (*Average*: mean over the trained domains, after the last step.)
#
# Below the table are the scores of *validation* images after the last step, and the threshold is yours. Find the agent
# for which one threshold suits all domains, and one for which what is right here is wrong there.
#
# <details><summary>Predict: which kind of agent gains most from another threshold?</summary>
#
# One whose scores have moved as a whole: it still ranks fakes above reals, but most of its scores are on one side of
# 0.5. A last step that has pushed all verdicts towards what it saw can do that. Who has mixed up the order itself gains
# nothing: no line repairs an order, and the AUC tells the two apart.
#
# </details>

# %%
own = metrics[metrics["metric"] == "accuracy"]
save_figure(figures.last_rows(own, options.stream), out.figures, "08_matrices")
for measure in ("accuracy", "AUC"):
    own = metrics[metrics["metric"] == measure]
    figure = figures.over_time(own, options.stream, metric=measure, highlight=highlight)
    save_figure(figure, out.figures, f"08_over_time_{measure.lower()}")

parts = [metrics[metrics["metric"].isin(["accuracy: average", "accuracy: unseen", "AUC: average", "AUC: unseen"])]]
fitting = scores[(scores["split"] == "validation") & (scores["domain"] == options.stream[0])]
if fitted_too := split == "test" and fitting["label"].nunique() == 2:
    fitted = metric_table(
        list(runs.values()), threshold="validation", metrics=["accuracy: average", "accuracy: unseen"]
    )
    parts.append(fitted.assign(agent=fitted["run"].map(row_of)))
at_end = pd.concat(parts)
label = {"declared": ", threshold 0.5", "validation": ", threshold fitted", "": ""}
at_end["metric"] = at_end["metric"] + at_end["threshold_from"].map(label)
display(as_text(at_end[at_end["domain"].isin(["", *options.unseen[:1]])]))
looked_at = "validation" if fitted_too else split
last = scores[(scores["split"] == looked_at) & (scores["step"] == len(options.stream))]
under_threshold({figures.agent_name(agent): own for agent, own in last.groupby("agent", sort=False)})

# %% [markdown]
# A high AUC beside a low accuracy means a threshold that is off, or that the domains need different ones: the AUC is a
# mean of those within each domain. For unseen fakes nothing can be fitted: nobody has validation images of them.
#
# ## How much is forgotten, and what is known at the end?
#
# The field uses the word *forgetting* for two numbers, both means over all domains but the last. **Max-last** is the
# best value that a domain had, from the step that trained on it to the one before the last, minus that at the end
# (Chaudhry et al., ECCV 2018, who begin with the first step). **First-last** is the value right after the domain was
# learned minus that at the end: the backward transfer (Lopez-Paz & Ranzato, NeurIPS 2017) with the other sign. Here
# *forgetting* is max-last, and the table has the backward transfer. Both can be taken of the accuracy or of the AUC.
#
# *Average* is the mean over the trained domains after the last step. Learning rates and other values may have been
# chosen on validation photographs of the first two domains (below). So every mean is also given over the domains **from
# the third on**. <!-- setting -->
#
# <details><summary>Predict: can an agent have no forgetting and a low average? And can the forgetting be
# negative?</summary>
#
# Both. Who learns a domain badly when it is new has nothing to lose: no forgetting, and a low average. And a later
# domain may help an earlier one, or the agent may train on its old images for longer: then the end is better than all
# that was before, and the difference is below 0.
#
# </details>

# %%
lost = ["accuracy: forgetting (max-last)", "accuracy: forgetting (max-last) from 3", "AUC: forgetting (max-last)"]
ends = ["accuracy: average", "accuracy: average from 3", *never_seen]
summary = ledger.with_domain(metrics[metrics["metric"].str.contains(": ")])
save_table(summary[["agent", "metric", "value", "low", "high"]], out.figures, "08_summary")
figure = figures.estimates(summary, lost, line=0, label="forgetting after the last step, one seed")
save_figure(figure, out.figures, "08_forgetting")
figure = figures.estimates(summary, ends[:3], line=0.5, label="accuracy after the last step, one seed")
save_figure(figure, out.figures, "08_average")

runs_of = dict(list(scores.groupby("agent", sort=False)))
base, how = runs_of.pop("sequential"), {"stream": options.stream, "split": split}
apart = [bootstrap.paired_difference(own, base, **how).assign(agent=agent) for agent, own in runs_of.items()]
difference = pd.concat(apart, ignore_index=True)
difference["metric"] = "accuracy: " + difference["metric"]
difference = difference[difference["metric"].isin([*lost, *ends])]
save_table(difference, out.figures, "08_differences")
label = "agent minus sequential fine-tuning, one seed"
figure = figures.estimates(difference, [ends[0], lost[0], *never_seen[:1]], line=0, label=label)
save_figure(figure, out.figures, "08_differences")
as_text(summary, [*ends, "accuracy: learning", *lost[:2], "accuracy: backward transfer", "AUC: average"])

# %% tags=["sentences"]
summary, difference = saved_table(out.figures, "08_summary"), saved_table(out.figures, "08_differences")
forgetting = summary[summary["metric"] == "accuracy: forgetting (max-last)"]
unseen_at_end = summary[summary["metric"].str.startswith("accuracy: unseen")]
sentences.show(
    sentences.compared(forgetting, "Is it forgetting? Of accuracy, one seed", line=0),
    [
        sentences.compared(own, f"{metric_name(m)}, minus that of sequential fine-tuning, one seed")
        for m, own in difference.groupby("metric", sort=False)
        if " from " not in m
    ],
    [
        sentences.compared(own, f"{metric_name(m)}, against guessing, one seed", line=0.5)
        for m, own in unseen_at_end.groupby("metric", sort=False)
    ],
)

# %% [markdown]
# An agent that learns little has little to forget, so forgetting is never read alone. Where it is below 0, domains were
# known better at the end than before. All agents were tested on the same photographs, so a difference is taken within
# each resample, which takes out what makes a photograph hard for both. All of this is one run of each agent: the seed
# is held still.
#
# ## Can P(fake) be taken at its word?
#
# A detector also says how sure it is. It is **calibrated** if, of the images to which it gives P(fake) = 0.8, eight in
# ten are fakes. The simplest remedy where it is not is a **temperature** $\tau$ (Guo et al., ICML 2017): every logit is
# divided by it before it becomes a probability. $\tau > 1$ makes all answers less sure, $\tau < 1$ surer. No verdict at
# 0.5 changes, nor does the order of the images. $\tau$ is one number for each agent and step, fitted to the validation
# photographs of the domains *seen so far*, as one would have to do in practice, and applied to all domains, the unseen
# one too. <!-- example -->
#
# A **reliability diagram** sorts the images by P(fake) into five bins with as many images each: across is the mean
# P(fake) of a bin, up is its share of fakes. On the dotted line P(fake) means what it says. Above it there are more
# fakes than P(fake) says, below it fewer. The bars are 95 % intervals over test photographs, with seed and temperature
# held still. The title has the **ECE** (expected calibration error) before and after the temperature: how far is the
# mean P(fake) of a bin from its share of fakes, on average? (It has bins of its own, of equal width.) The diagrams are
# of two agents after the last step: sequential fine-tuning, and iCaRL, whose logit is a difference of two distances.
# The table has the temperature of every agent after each step; it is missing where none is best, because every verdict
# on the validation photographs was right.
#
# The second figure has the ECE of all agents: left the mean over the domains trained on, right the fakes never seen.
# Open: before the temperature; filled: after it. Smaller is better. A dot may lie at the upper end of its interval: the
# ECE of few images is too high, because chance alone keeps the points off the line, and the interval allows for that.
# The last table adds the **NLL** (negative log-likelihood, in nats, the unit of natural logarithms): how surprising are
# the true labels? Confident mistakes cost most.

# %%
step = len(options.stream)
points = pd.DataFrame(columns=["agent", "step", "domain", "when", "value", "low", "high"])
wrong = pd.DataFrame(columns=["agent", "step", "domain", "when", "metric", "value", "low", "high"])
if fitted_too:
    each = calibration.calibrated(scores, options.stream).drop_duplicates(["agent", "step"])
    each = each.pivot(index="agent", columns="step", values="temperature").loc[list(runs)]
    display(each.rename(index=figures.agent_name).round(2).rename_axis("temperature after step"))
    two = scores[scores["agent"].isin(["sequential", "icarl"]) & (scores["step"] == step)]
    table = calibration.reliability_table(two, options.stream)
    save_figure(figures.reliability_diagrams(table), out.figures, "08_reliability")
    first = table[table["when"] == "before"].drop_duplicates(["agent", "domain"])
    first = first.pivot(index="agent", columns="domain", values="probability")[[*dict.fromkeys(table["domain"])]]
    display(first.rename(index=figures.agent_name).round(3).rename_axis(columns="mean P(fake) of the first bin"))
    points = table.rename(columns={"share": "value"}).drop(columns="ECE")
    wrong = calibration.errors(scores[scores["step"] == step], options.stream)
    save_figure(figures.calibration_errors(wrong), out.figures, "08_calibration")
    chosen = wrong[wrong["domain"].isin([calibration.SEEN, *options.unseen]) & wrong["metric"].isin(["ECE", "NLL"])]
    for name, own in chosen[chosen["when"] != "change"].groupby("domain", sort=False):
        display(as_text(own.assign(metric=own["metric"] + " " + own["when"])).rename_axis(columns=name))
else:
    print("Temperatures need validation scores of both classes, and test scores; without them there are none here.")
save_table(points, out.figures, "08_reliability")
save_table(wrong, out.figures, "08_calibration")

# %% tags=["sentences"]
points, wrong = saved_table(out.figures, "08_reliability"), saved_table(out.figures, "08_calibration")
surest = points[points["when"] == "before"].drop_duplicates(["agent", "domain"])
whole = wrong["domain"].isin([calibration.SEEN, *options.unseen])
sentences.show(
    [
        sentences.values(
            own, f"Share of fakes in the first bin of P(fake), {figures.agent_name(agent)}, one seed", by="domain"
        )
        for agent, own in surest.groupby("agent", sort=False)
    ],
    [
        sentences.compared(own, f"NLL with the temperature minus that without, {name}, one seed")
        for name, own in wrong[whole & (wrong["when"] == "change")].groupby("domain", sort=False)
    ],
)

# %% [markdown]
# *The first bin of P(fake)* is the one furthest left, before the temperature. Where its mean P(fake) is near 0 and many
# of its images are fakes in domains that were known once, **what is forgotten is forgotten with confidence**. A line
# through the open points that is steeper than the dotted one means too much caution, a flatter one too much confidence.
#
# The temperature is fitted on seen domains only, and nothing makes it right for others: if an agent was too sure
# everywhere, it helps there too; if an agent was too cautious on what it knows, it may do harm there. **A calibrated
# P(fake) is a statement about fakes of the kinds seen**, mixed half and half with reals as in the validation
# photographs. And a low ECE does not make a detector good: one that always says 0.5 has an ECE of 0 here.
#
# ## Would other seeds and photographs say the same?
#
# Another seed means other first weights, another order of images and other memories. `cldf sweep seeds` trains every
# agent with several seeds: a *sweep*, many runs of all combinations of some options. The intervals are over seeds *and*
# photographs, crossed: where the mean over all seeds and all test photographs may lie (Owen, Annals of Applied
# Statistics 2007; `cldf_core/evaluation/crossed.py`). The training photographs are the same in all runs, and by how
# much others would change the results no interval tells.
#
# Rows of their own: *same passes*, trained for so many more epochs that at least as many images pass as in ER with its
# replayed ones, or *passes of DER++*, at least as many as in DER++, which replays most (*joint, same passes* counts
# each of its networks by itself, since joint training begins anew in each step); *told*, as above, with the values that
# were chosen for LwF with shared outputs; *defaults*, with the default values in place of those that were chosen;
# *hindsight*, LwF with the values that looked best on the whole stream, which nobody knows who learns it. Sequential
# fine-tuning has no such row, so that this one is compared with LwF as it was chosen: what is the choice worth?
# <!-- setting -->
#
# Do such intervals hold what they promise, the truth in 95 of 100 cases? That can be seen only where the truth is
# known: in a simulation (`python tests/evaluation/crossed_coverage.py`, with 5 seeds and as many photographs as here).
# The first figure shows how often, at least, for intervals over both, and for those over seeds or photographs alone;
# across is the share of the seeds in what varies. Which of the three holds it whatever this share is? <!-- setting -->
#
# Two agents with the same seed start from the same weights, and all are tested on the same photographs, so that
# differences are paired by both. There are many pairs; Holm's correction raises their p values (how probable a
# difference as large would be if there were none) accordingly: those of the differences from one agent by the number of
# these, those of the question who is best by the number of all pairs. A difference is **significant** if its corrected
# p is below 0.05. <!-- setting --> What is not, is *not shown*, which is not the same as no difference: its interval
# tells how large it may be.

# %%
path = project_root() / "figures" / "tables" / "coverage.csv"
held = (
    ledger.lowest_coverage(pd.read_csv(path))
    if path.is_file()
    else pd.DataFrame(columns=["agent", "metric", *bootstrap.ENDS])
)
save_table(held, out.figures, "08_coverage")
if len(held):
    label = "share of the seeds in the variance; how often the truth is held, at least"
    save_figure(figures.by_setting(held, "share", [*held["metric"].unique()], label=label), out.figures, "08_coverage")

# %%
shown = [*ends[:2], *lost[:2], "AUC: average", *never_seen]
means, tests = (ledger.with_domain(read("seeds", parameters)) for read in (sweep.means, sweep.tests))
means = means[means["agent"] != "separate"]
print("cldf sweep seeds:", code_in_words(means) or "made with today's code" if len(means) else "not run")
pairs = tests[tests["metric"].isin(shown)].assign(significant=tests["p_holm"] < ledger.SIGNIFICANT)
is_average, by_hindsight = pairs["metric"] == shown[0], (pairs[["first", "second"]] == "lwf, hindsight").any(axis=1)
others = [ledger.minus(pairs[is_average], f"sequential, {words}") for words in ("same passes", "passes of DER++")]
others.append(ledger.minus(pairs[is_average & by_hindsight], "lwf"))
against = pd.concat([ledger.minus(pairs[~by_hindsight], "sequential"), *others])
own, code = ["metric", "value", "low", "high", "n", "spread"], {"code": ", ".join(means["code"].unique())}
save_table(means.loc[means["metric"].isin(shown), ["agent", *own]].assign(**code), out.figures, "08_seeds")
save_table(pairs.drop(columns=["step", "domain"]), out.figures, "08_seeds_tests")
against = against[["agent", "reference", *own, "p_holm", "significant"]]
save_table(against.assign(**code), out.figures, "08_seeds_against")
if len(means):
    label = f"accuracy after the last step (dotted: guessing); mean over {means['n'].max()} seeds"
    drawn = [name for name in ends[:3] if name in set(means["metric"])]
    save_figure(figures.estimates(means, drawn, line=0.5, label=label), out.figures, "08_seeds")
as_text(means, [name for name in shown if name in set(means["metric"])])

# %% tags=["sentences"]
means, pairs = saved_table(out.figures, "08_seeds"), saved_table(out.figures, "08_seeds_tests")
against, held = saved_table(out.figures, "08_seeds_against"), saved_table(out.figures, "08_coverage")
sentences.show(
    [
        sentences.values(
            hardest, f"Share of simulated intervals over {how} that hold the truth, in their hardest case", by="metric"
        )
        for how, own in held.dropna(subset="value").groupby("agent", sort=False)
        for hardest in [own.loc[own.groupby("metric", sort=False)["value"].idxmin()]]
    ],
    [
        sentences.compared(own, f"{metric_name(m)}, minus {figures.agent_name(base)}, {n} seeds", also=ledger.TESTED)
        for (base, m, n), own in against.groupby(["reference", "metric", "n"], sort=False)
    ],
    [
        sentences.highest(
            own, f"{metric_name(m)}, {n} seeds", pairs=pairs[pairs["metric"] == m], also=ledger.TESTED, digits=3
        )
        for (m, n), own in means.groupby(["metric", "n"], sort=False)
        if m == "accuracy: average" or m.startswith("accuracy: unseen")
    ],
)

# %% [markdown]
# All pairs are in `08_seeds_tests.csv`, with the p of a paired t test over seeds alone, which decides nothing here. The
# ranks of all agents, seed by seed, are drawn by `cldf sweep seeds`.
#
# ## Stability against plasticity, seen against unseen
#
# An agent must keep what it knows (*stability*: a high backward transfer) and still learn what is new (*plasticity*:
# the accuracy on each domain right after its step, *learning*). Each mark is an agent, the small ones are single seeds,
# the lines are intervals. Left: who pays for the one with the other, and who stands in the corner at the upper right,
# where one wants to be? Right: is further to the right also further up? What is best at remembering need not be best on
# fakes never seen.
#
# ## Does it generalise to fakes never trained on?
#
# One domain that was left out is one example. `cldf sweep unseen` leaves out *each* of the domains once: as many
# streams, each without one, which is then tested. (Values of options were chosen on the first two domains of a stream,
# not on the one left out; what is the same for all agents, such as the epochs (but for GDumb's memory, notebook 05),
# was chosen before, on the default stream, so it may suit the left-out domains that are in that stream.) The second
# figure has a place for each domain left out.
#
# The first sentences are means over the domains, with Student's intervals over them: where the mean over all kinds of
# fakes may lie, *if* these were a random sample of them, each by itself. They are not: the streams share most of their
# domains. And one further domain may lie much further off than their mean.

# %%
means, single = (ledger.with_domain(read("seeds", parameters)) for read in (sweep.means, sweep.results))
single = single.assign(agent=single["row"]) if len(means) else None
shown = means if len(means) else summary
shown = shown[~shown["agent"].str.contains(",|separate")]  # rows of their own would look like their agents
pairs = [("accuracy: learning", "accuracy: backward transfer"), *(("accuracy: average", n) for n in never_seen[:1])]
save_figure(figures.trade_offs(shown, pairs, points=single), out.figures, "08_trade_offs")

kept = ["accuracy: unseen", "AUC: unseen"]
means, pairs = (read("unseen", parameters).query("metric in @kept") for read in (sweep.means, sweep.tests))
print("cldf sweep unseen:", code_in_words(means) or "made with today's code" if len(means) else "not run")
if len(means):
    label = f"domain that was left out (dotted: guessing); mean over {means['n'].max()} seeds"
    figure = figures.by_setting(means.assign(left=means["domain"]), "left", kept, label=label, line=0.5)
    save_figure(figure, out.figures, "08_unseen")
left_out, apart = means[means["metric"] == kept[0]], ledger.minus(pairs[pairs["metric"] == kept[0]], "sequential")
own, code = ["agent", "domain", "value", "low", "high", "n"], {"code": ", ".join(means["code"].unique())}
save_table(left_out[own].assign(**code), out.figures, "08_unseen")
save_table(apart[[*own, "significant"]].assign(**code), out.figures, "08_unseen_against")
kinds = {"accuracy": left_out, "difference": apart}
tables = [
    means_over_seeds(table.assign(seed=table["domain"], what=what), ["what", "agent"]) for what, table in kinds.items()
]
tables[1] = tables[1].assign(significant=differ_from_zero(tables[1]))
save_table(pd.concat(tables).assign(seeds=left_out["n"].max()), out.figures, "08_unseen_domains")

# %% tags=["sentences"]
domains, apart = saved_table(out.figures, "08_unseen_domains"), saved_table(out.figures, "08_unseen_against")
sentences.show(
    [
        sentences.compared(own, f"Mean accuracy over {n} domains, each never trained on ({seeds} seeds)", line=0.5)
        for (n, seeds), own in domains[domains["what"] == "accuracy"].groupby(["n", "seeds"])
    ],
    [
        sentences.compared(
            own.astype({"significant": bool}),
            f"Mean over {n} domains, each never trained on ({seeds} seeds), minus that of sequential fine-tuning",
            also=ledger.TESTED,
        )
        for (n, seeds), own in domains[domains["what"] == "difference"].groupby(["n", "seeds"])
    ],
    [
        sentences.compared(
            own, f"{domain}, never trained on, minus sequential fine-tuning, {n} seeds", also=ledger.TESTED
        )
        for (domain, n), own in apart.groupby(["domain", "n"], sort=False)
    ],
)

# %% [markdown]
# ## Memory, order, passes, parts
#
# `cldf sweep memory` trains agents with memories of different sizes. `cldf sweep orders` trains them on the same
# domains in other orders, with the default values, since those that are chosen on an order's first domains would
# differ, too.
# `cldf sweep passes` trains ER and MIR on new and old images in one pass or in two, and `cldf sweep parts` takes parts
# of iCaRL, GDumb and MIR away; notebooks 04, 05 and 07 ask what each of them does. The intervals are over seeds and
# photographs; few seeds find large differences only.

# %%
grids = {"memory": ("memory", "images in the memory"), "orders": ("stream", "order of the domains")}
grids |= {"passes": ("replay_passes", "passes over new and old images"), "parts": ("agent", "what was changed")}
chosen, words, tables = [ends[0], lost[0], *never_seen[:1]], {"joined": "one pass", "averaged": "two passes"}, []
for name, (option, label) in grids.items():
    table = ledger.with_domain(sweep.means(name, parameters)).query("metric in @chosen")
    print(f"cldf sweep {name}:", code_in_words(table) or "made with today's code" if len(table) else "not run")
    drawn = setting = table[option].replace(words)
    if name == "parts":  # rows such as "icarl, no distillation"
        drawn = table["agent"].map(figures.agent_name)
        setting = table["agent"].str.replace("^[^,]*(, )?", "", regex=True).replace("", "as it is")
        table["agent"] = table["agent"].str.replace(",.*", "", regex=True)
    tables.append(table.assign(grid=name, setting=setting.astype(str)))
    if len(table):
        drawn = drawn.str.replace(", ", "\n") if name == "orders" else drawn
        label = f"{label}; mean over {table['n'].max()} seeds"
        figure = figures.by_setting(table.assign(setting=drawn), "setting", chosen, label=label)
        save_figure(figure, out.figures, f"08_{name}")
settings = pd.concat(tables)[["grid", "agent", "setting", "metric", "value", "low", "high", "n"]]
save_table(settings, out.figures, "08_settings")
pairs = sweep.tests("orders", parameters).query("metric == 'accuracy: average'")
orders = ledger.minus(pairs, "sequential")[["agent", "stream", "metric", "value", "low", "high", "n", "significant"]]
save_table(orders, out.figures, "08_orders_against")

# %% tags=["sentences"]
settings, orders = saved_table(out.figures, "08_settings"), saved_table(out.figures, "08_orders_against")
averages = settings[settings["metric"] == "accuracy: average"]
sentences.show(
    [
        sentences.values(own, f"Average accuracy, grid {grid}, {n} seeds", by=["agent", "setting"])
        for (grid, n), own in averages.groupby(["grid", "n"], sort=False)
    ],
    [
        sentences.compared(
            own, f"Average accuracy minus sequential fine-tuning, order {order}, {n} seeds", also=ledger.TESTED
        )
        for (order, n), own in orders.groupby(["stream", "n"], sort=False)
    ],
)

# %% [markdown]
# ## How were the values chosen?
#
# The network is the same for all. So are epochs, batch size and the default learning rate, which were chosen before all
# else, on the validation photographs of the default stream; for the training on GDumb's memory epochs, batches and
# rates are its own (notebook 05). Then learning rate and own options are chosen for each agent, with the same number of
# trials: `cldf choose` trains on the first two domains of the stream alone, with several seeds, and judges by the
# average accuracy on *validation* photographs. *Spread* is the standard deviation over seeds. Trials that the seeds do
# not tell from the best are **tied**: that one of them was taken says little. *Hindsight* is the best for one who saw
# the whole stream. With limited new data (notebook 14) an agent keeps the values that were chosen with all images.
# Where nothing was chosen, the defaults hold. <!-- setting -->

# %%
path, stream_names = project_root() / "figures" / "tables" / "choices.csv", ", ".join(options.stream)
looked_at = {", ".join(options.stream[:FIRST]): "first domains", stream_names: "whole stream: hindsight"}
trials = read_trials(path) if parameters.choices_in_words() else pd.DataFrame()
rows = []
for (domains, agent), own in trials.groupby(["domains", "agent"], sort=False) if len(trials) else ():
    if domains in looked_at:
        (best,) = own[own["chosen"]].itertuples()
        tie = f"{own['tied'].sum()} of {len(own)}" if own["tied"].sum() > 1 else "no"
        numbers = f"{best.average:.3f}", f"{best.spread:.3f}", best.seeds
        rows.append((figures.agent_name(agent), looked_at[domains], best.values, *numbers, tie))
print("cldf choose:", code_in_words(trials) or "made with today's code" if len(trials) else "not run")
columns = ["agent", "looked at", "chosen", "average", "spread", "seeds", "tied trials"]
pd.DataFrame(rows, columns=columns).style.hide(axis="index")

# %% [markdown]
# ## What does it cost?
#
# The costs of the first table again, as means over seeds with Student's intervals where the sweep was run. Seconds
# depend on the machine and on what else it did, and so do their intervals. Compare with joint training: a method that
# costs as much as training on everything again saves only the room for the images. In the second figure, up and to the
# left is better.
#
# ## What can be said
#
# An agent **helps**, we say here, if it (1) loses less than half of what sequential fine-tuning forgets, by the two
# numbers without a test, and (2) ends with an average accuracy at least 0.03 above it, where the difference is shown:
# over seeds it is significant, and of one seed its interval is above 0. The statements come from the numbers, first for
# these runs, then over seeds; joint training and rows of their own are no agents here. <!-- setting -->

# %%
means = ledger.with_domain(sweep.means("seeds", parameters)).query("agent != 'separate'")
priced = ledger.costs(means if len(means) else metrics)
save_table(priced, out.figures, "08_cost")
save_figure(figures.costs(priced), out.figures, "08_cost")
at_end = (means if len(means) else summary).query("metric == 'accuracy: average'")
both = pd.concat([priced.assign(metric=priced["cost"]), at_end])
both = both[~both["agent"].str.contains(",")]  # rows of their own would look like their agents
pairs = [(name, "accuracy: average") for name in priced["cost"].unique()]
save_figure(figures.trade_offs(both, pairs), out.figures, "08_cost_against_accuracy")

forgets, gains = (table[table["metric"] == name] for table, name in ((summary, lost[0]), (difference, ends[0])))
tables = [ledger.helping(forgets, gains.assign(shown=gains["low"] > 0)).assign(source="one seed")]
gains = against[(against["reference"] == "sequential") & (against["metric"] == ends[0])]
if len(gains):
    shown = gains.assign(shown=gains["significant"] & (gains["value"] > 0))
    helpful = ledger.helping(means[means["metric"] == lost[0]], shown)
    tables.append(helpful.assign(source=f"{gains['n'].max()} seeds"))
helps = pd.concat(tables, ignore_index=True)
save_table(helps, out.figures, "08_helps")
named = helps.assign(agent=helps["agent"].map(figures.agent_name)).rename(columns={"first": "(1)", "second": "(2)"})
named.style.format(precision=3).hide(axis="index")

# %% tags=["sentences"]
helps = saved_table(out.figures, "08_helps")
conditions = {"both": "both conditions", "first": "the first condition", "second": "the second condition"}
sentences.show(
    sentences.counted(own, f"Agents that meet {words}, {source}", column, True)
    for source, own in helps.groupby("source", sort=False)
    for column, words in conditions.items()
)

# %% [markdown]
# **Exercise.** In [`honest_comparison`](exercises/honest_comparison.ipynb) you write such intervals and tests yourself,
# and see what goes wrong where pairs are torn apart or the best of many comparisons is reported. (`make course` makes a
# copy without the solution.)
#
# ## Limits
#
# * **One seed** in all that says so. Those intervals tell what other test photographs would change; what another seed
#   would change stands in the sections on sweeps.
# * **The training photographs** are the same in every run. No interval tells what others would change.
# * **Many comparisons.** With many agents and several measures, one interval in twenty misses the truth by accident;
#   only the differences over seeds are corrected for this, and only within a measure.
# * **Small data.** The embedded images are 128 pixels wide, and their fakes were made by small generators of this
#   package. The numbers show what the methods do; they do not compare with published ones, which were obtained on large
#   data sets with large networks.
# * **Hyper-parameters** were chosen among few combinations. An agent may do better with others, or on another stream.
