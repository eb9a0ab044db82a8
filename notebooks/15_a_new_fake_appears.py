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
# # 15 · A new fake appears: three weeks of a detector
#
# **The idea.** A detector is in use. Then fakes appear that it was not made for. How would one notice, when nobody says
# which images they are? How is it taught the new ones from a few examples, today? And who makes sure that by tomorrow
# it has not forgotten the old ones: a *gate*, which compares before with after, and can say no.
#
# **What you will learn.** What it takes to notice, what an update gains and costs, and how often such a gate is wrong.
#
# **What you need.** Notebooks [07](07_er_and_mir.ipynb) and [08](08_cross_data_set_evaluation.ipynb). Words:
# [detector](../docs/glossary.md#detector), [score](../docs/glossary.md#score), [split](../docs/glossary.md#split),
# [calibration](../docs/glossary.md#calibration), [interval](../docs/glossary.md#interval),
# [memory](../docs/glossary.md#memory).
#
# **Reads** the data set named by `data` below, and the tables of `cldf sweep updates`, if it was run. **Writes** runs
# to `runs/er-…` and `runs/sequential-…`, and this notebook's figures and tables to
# `runs/15_a_new_fake_appears-…/figures/`. It does not touch your own detector: what is in use here stands in a record
# of its own.
#
# **Time**: at most six minutes on one core; seconds when all runs exist.

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

# Other options can be assigned above by their names, too; `cldf run 15 --options` lists them.
parameters = from_notebook("15_a_new_fake_appears", globals())
scored_splits = list(dict.fromkeys(["validation", *parameters.options("er").splits]))  # validation photographs decide
options = parameters.options("er", splits=scored_splits)

# %%
import pandas as pd

from cldf_core import figures
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.detection.in_use import history, use
from cldf_core.detection.update import update
from cldf_core.evaluation.cells import cell_values
from cldf_core.evaluation.drift import share_noticed
from cldf_core.evaluation.gate import accepted, changes, gate
from cldf_core.figures import sentences
from cldf_core.interact.thresholds import under_threshold
from cldf_core.options import checked
from cldf_core.results.sweep_tables import code_in_words
from cldf_core.runs.continuation import scores_after
from cldf_core.runs.run import make_run
from cldf_core.workflow import sweep

figures.theme()
out = parameters.folder
split = "test" if "test" in scored_splits else "validation"
record = out.path / "detector.json"  # what is in use in this story, and nowhere else

# %% [markdown]
# ## Week 1: it is in use
#
# Our detector is an ER (notebook 07) that has learned all domains of the stream but the last. It keeps the state in
# which its training ended: network, memory, and where its random numbers stood. With that it can go on later, as if it
# had never stopped.

# %%
known, new = options.stream[:-1], options.stream[-1]
can_learn = bool(known) and new not in known  # a stream of one domain has no new one


def detector_of(agent: str):
    """A run that knows the first domains and keeps its state."""
    before = checked(parameters.options(agent, splits=scored_splits).model_dump() | {"stream": known or [new]})
    return make_run(before, keep_state=True)


detector = detector_of("er")
record.unlink(missing_ok=True)  # of an earlier call
use(detector, "week 1", record)
first = scores_after(detector, options).query("split == @split")  # also of the domain that it does not know yet
print(f"in use: {history(record)[-1].run}; its state takes {detector.kept_bytes / 1e6:.1f} MB")
cell_values(first.assign(agent="er"))[["domain", "value", "low", "high"]].style.format(precision=2).hide(axis="index")

# %% [markdown]
# (Accuracy on test photographs, with 95 % intervals over these photographs; one seed.) Also on domains that it has
# never seen, among them the one whose fakes are about to appear.
#
# ## Would one notice?
#
# In use nobody says which images are fakes. All one has are the scores. `cldf watch` compares them with those of the
# validation images: is there a mixture of known real and known fake scores that looks like the new ones? If none fits,
# something has changed. But fakes that the detector takes for real images look like real images, and cannot be seen in
# this way. So how many images of each domain does it take until the change is noticed?
#
# **Predict, then look.** For which domains will few images do: those with a high accuracy above, or those with a low
# one?
#
# <details><summary>Answer (look first)</summary>
#
# Those whose scores fit no mixture of known ones. If the detector is wrong with confidence, the new fakes have the
# scores of real images, and a low accuracy comes with nothing to notice. If its scores lie in between, where neither
# known reals nor known fakes are, few images are enough. So accuracy alone does not decide it.
#
# </details>

# %%
learned = known or [new]
validation = detector.scores().query("split == 'validation' and step == step.max() and domain in @learned")
scored = first.rename(columns={"logit": "value"})
counts = [10, 30, 100, 250]
noticed = share_noticed(
    validation.rename(columns={"logit": "value"}),
    dict(list(scored.groupby("domain", sort=False))),
    counts,
    seed=options.seed,
)
save_table(noticed, out.figures, "15_noticed")
domains = list(dict.fromkeys(noticed["domain"]))
enough = noticed[noticed["value"] >= 0.8].groupby("domain")["images"].min().reindex(domains)
save_table(enough.rename_axis("domain").reset_index(), out.figures, "15_enough")
text = [f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in noticed.itertuples()]
wide = noticed.assign(text=text).pivot(index="domain", columns="images", values="text")
wide.loc[domains].rename_axis(columns="share of draws that are noticed, of so many images")

# %% tags=["sentences"]
noticed, enough = saved_table(out.figures, "15_noticed"), saved_table(out.figures, "15_enough")
sentences.show(
    [
        sentences.highest(rows, f"Share of draws of {images} images that are noticed", by="domain")
        for images, rows in noticed.groupby("images")
    ],
    sentences.reached(
        enough, "Images of which eight in ten draws are noticed, by the share itself", "images", by="domain"
    ),
)

# %% [markdown]
# A draw is so many images of a domain, taken at random, fifty times; it is noticed if its p is at most 0.01, that is,
# if images like the known ones would lie as far from these in one case of a hundred or fewer. The intervals are over
# draws, with photographs and seed as they are. Domains that were learned stand there as well: what is noticed of them
# is no new fake, but a false alarm, or due to other photographs than those of the validation, or to the known fakes
# being a mixture of several domains. <!-- setting --> Where the share stays low, watching does not help, and one has to
# learn of the new fakes in another way: from a complaint, a colleague, the news.
#
# ## Weeks 2 and 3: examples are found
#
# At first five of each class, then thirty, then all there are. Each time the detector learns them from the state
# *before* the new domain, so that more examples take the place of the few; and each is compared with the detector of
# week 1. (On the command line it is compared with the detector that is in use then.) The command is
#
#     cldf update --with DOMAIN --limit N
#
# and it does three things: it learns the new domain, it compares before with after on every domain, and it decides. The
# decision is made on validation photographs: the new detector is taken into use if the mean loss of accuracy on old
# domains is below 0.05 by the upper end of its interval, and no old domain has lost more than twice that. (This upper
# end is one-sided, at 95 %, over groups of validation photographs, some of whose domains also chose the options. All
# other intervals here are two-sided.) <!-- setting --> The test photographs are a report, and decide nothing.
#
# The first figure has this report. In the second one are the scores of the validation photographs, which decide; choose
# the detector of week 1, and then those after it. Have few examples pulled along what is no new fake?

# %%
updates = {f"{n} a class" if n else "all images": n for n in ((5, 30, None) if can_learn else ())}
found = {name: update(detector, new, limit=limit, record=record) for name, limit in updates.items()}
for name, one in found.items():
    print(f"{name}: {one.gate.in_words()}")
columns = ["domain", "kind", "metric", "before", "after", "value", "low", "high"]
tables = [one.table[columns].assign(agent=f"er, {name}") for name, one in found.items()]
table = pd.concat([pd.DataFrame(columns=[*columns, "agent"]), *tables], ignore_index=True)
save_table(table, out.figures, "15_updates")
if len(table):
    panels = {f"er, {name}": f"learned from {name}" for name in found}
    drawn = table[table["metric"] == "accuracy"].assign(metric=table["agent"].map(panels), agent=table["domain"])
    label = "accuracy after the update minus that before"
    save_figure(figures.estimates(drawn, [*panels.values()], line=0, label=label), out.figures, "15_updates")
states = {"week 1": detector, **{f"after {name}": one.after for name, one in found.items()}}
last = {name: scores_after(run, options).query("split == 'validation'") for name, run in states.items()}
under_threshold(last, "detector")

# %% tags=["sentences"]
table = saved_table(out.figures, "15_updates")
kinds = {"new": "The new domain", "old": "Old domains", "unseen": "Domains never learned"}
sentences.show(
    sentences.compared(rows, f"{kinds[kind]}, accuracy after minus before", by=["agent", "domain"])
    for kind, rows in table[table["metric"] == "accuracy"].groupby("kind", sort=False)
)

# %% [markdown]
# The intervals are over photographs, the same ones before and after; seed, examples and training photographs are held
# still. What is P(fake) worth after the update? The expected calibration error (ECE, notebook 08) is the mean distance
# between the P(fake) that the detector says and how often an image is a fake then; a change above 0 is for the worse.

# %% tags=["sentences"]
table = saved_table(out.figures, "15_updates")
sentences.show(
    sentences.compared(rows, f"{kinds[kind]}, ECE after minus before", by=["agent", "domain"])
    for kind, rows in table[table["metric"] == "ECE"].groupby("kind", sort=False)
)

# %% [markdown]
# ## The same without a memory
#
# Somebody is in a hurry, and just trains the network on the new images alone: on thirty of each class, then on all.
# That is sequential fine-tuning (notebook 03; where values were chosen for each agent, with its own learning rate). The
# same gate looks at it. But this detector was trained without a memory from its first domain on, and each update is
# compared with the state just before it, not with the ER in use: what it had lost earlier does not count. It stands in
# the column *before*. **Predict:** what will it say of each, and because of which domain?
#
# <details><summary>Answer (look first)</summary>
#
# The gate knows no method, only validation photographs of old domains before and after. Look for the domain that the
# new images contradict most: nothing in their loss speaks for it. If the gate accepts after all, then the loss is
# within what is allowed, or these photographs do not show it, or a gain on another old domain makes up for it in the
# mean, or it was lost before.
#
# </details>

# %%
hurry, another = ({"30 a class": 30, "all images": None} if can_learn else {}), out.path / "hurry.json"
plain = {name: update(detector_of("sequential"), new, limit=limit, record=another) for name, limit in hurry.items()}
for name, one in plain.items():
    print(f"{name}: {one.gate.in_words()}")
tables = [one.table[columns].assign(agent=f"sequential, {name}") for name, one in plain.items()]
own = pd.concat([pd.DataFrame(columns=[*columns, "agent"]), *tables], ignore_index=True)
save_table(own, out.figures, "15_sequential")
both = own.loc[own["metric"] == "accuracy", ["agent", "kind", "domain", "before", "after"]]
both.style.format(precision=2).hide(axis="index")

# %% tags=["sentences"]
own = saved_table(out.figures, "15_sequential")
sentences.show(
    sentences.compared(rows, f"{kinds[kind]}, accuracy after minus before", by=["agent", "domain"])
    for kind, rows in own[own["metric"] == "accuracy"].groupby("kind", sort=False)
)

# %% [markdown]
# ## Going back
#
# What was refused was never in use, and what was in use can be used again: `cldf detector list` shows what there was,
# `cldf detector use RUN` takes one of them. Here it is with the record of this story.

# %%
use(detector, "going back", record)
in_turn = pd.DataFrame([(each.run, each.why) for each in history(record)], columns=["run", "why"])
in_turn.tail(6).style.hide(axis="index")

# %% [markdown]
# ## How often does the gate decide wrongly?
#
# One update is one seed and one draw of examples. `cldf sweep updates` makes many, of thirty images of each class, with
# three agents: plain training, ER and iCaRL, each compared with its own state before. The gate sees the validation
# photographs; for the truth we take the mean loss on the test photographs, which have noise of their own. An update is
# accepted *wrongly* if it has lost more there than the bound allows, and refused *wrongly* if it has not. A larger
# bound lets no fewer through. Only where some have *lost too much* can any be accepted wrongly. <!-- setting -->

# %%
rows = []
for run in sweep.kept("updates", parameters):
    last = run.table[run.table["step"] >= run.table["step"].max() - 1].assign(run=run.run)
    *old, _ = run.stream
    one = gate(last, old)
    lost = -changes(last[last["domain"].isin(old)], metrics=["accuracy"], split=split)["value"].mean()
    rows.append((run.agent, run.seed, one.loss, one.upper, max(one.losses.values()), lost))
decisions = pd.DataFrame(rows, columns=["agent", "seed", "loss", "upper", "worst", "lost"])
save_table(decisions, out.figures, "15_decisions")
shares = accepted(decisions, (0.01, 0.02, 0.03, 0.05, 0.1, 0.2))
save_table(shares[shares["bound"] == 0.05], out.figures, "15_accepted")
if len(shares):
    drawn, label = ["accepted", "accepted wrongly", "refused wrongly"], "largest loss allowed; share of all updates"
    figure = figures.by_setting(shares, "bound", drawn, label=label)
    save_figure(figure, out.figures, "15_accepted")
swept = sweep.means("updates", parameters)
print("cldf sweep updates:", code_in_words(swept) or "made with today's code" if len(swept) else "not run")

# %% tags=["sentences"]
shares, decisions = saved_table(out.figures, "15_accepted"), saved_table(out.figures, "15_decisions")
decisions["beyond"] = decisions["lost"] > decisions["upper"]
what = "Updates whose loss on test photographs is beyond the upper end that the gate took"
sentences.show(
    [
        sentences.values(rows, f"Share of {n} updates, bound {bound:g}: {what}")
        for (what, bound, n), rows in shares.groupby(["metric", "bound", "n"], sort=False)
    ],
    sentences.counted(decisions, what, "beyond", True, listed=False),
)

# %% [markdown]
# (Intervals of Clopper and Pearson, over seeds; each seed draws other examples and other first weights, the photographs
# are the same.) A gate that is decided by some dozen photographs cannot be sharp: what is lost on these may be more or
# less than what is lost on others. That is why it asks for the upper end of the interval: it is meant to err on the
# side of the detector that is known.
#
# **Exercise.** Would the gate have let the detector with 30 a class pass if only 0.02 could be lost? <!-- example -->
# Decide it by hand, by the rule above, from `found["30 a class"].gate.upper` and `found["30 a class"].gate.losses`.
# Then ask `update(detector, new, limit=30, max_loss=0.02, record=record).gate.in_words()`.
#
# **Things to try.** Set `splits` to `["validation"]` first: the test photographs stay unseen until you have decided.
# Then set `memory = 40`: what does the gate say of ER then? Change `stream`, so that another domain is the new one.
# Then teach a detector fakes of your own: `cldf data add`, and `cldf update --with SET:DOMAIN`.
