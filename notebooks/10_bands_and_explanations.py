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
# # 10 · Frequency bands and explanations: what does the network look at?
#
# **The idea.** A network says *fake*, and gives no reason. There are two ways to ask for one. Take a part of the
# spectrum away: if the verdict falls, the network has used it. Or ask an inner layer where its evidence lies, and draw
# a picture of that. Both can mislead, and the picture is the more persuasive one. So each gets a check that it could
# fail.
#
# **What you will learn.** Which frequencies are enough to find a fake, which of them a network forgets, and how much a
# picture of its evidence is worth.
#
# **What you need.** Notebooks [02](02_spectral_analysis.ipynb) and [03](03_without_continual_learning.ipynb). Words:
# [frequency](../docs/glossary.md#frequency), [band](../docs/glossary.md#band), [separate
# models](../docs/glossary.md#separate-models), [sequential fine-tuning](../docs/glossary.md#sequential-fine-tuning),
# [joint training](../docs/glossary.md#joint-training), [logit](../docs/glossary.md#logit),
# [features](../docs/glossary.md#features). Letters: [symbols](../docs/symbols.md).
#
# **Reads** the runs that notebooks 03 and 07 wrote with the same parameters. **Trains** separate models and sequential
# fine-tuning, each on the low, the middle and the high band alone. **Writes** figures and tables to
# `runs/10_bands_and_explanations-…/figures/`.
#
# **Time**: at most nine minutes on one core; two when the runs exist already.

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

# Other options can be assigned above by their names, too; `cldf run 10 --options` lists them.
parameters = from_notebook("10_bands_and_explanations", globals())
options = parameters.options()
agents = ("separate", "sequential", "joint", "mir")
all_options = {agent: parameters.options(agent) for agent in agents}

# %%
import inspect

import numpy as np
import pandas as pd
import torch
from IPython.display import display

from cldf_core import figures
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.data.images import crop, open_image
from cldf_core.data.source_trees import tree_hash
from cldf_core.detection.detector import logits_of
from cldf_core.evaluation import attribution, bootstrap
from cldf_core.evaluation.cells import as_text, cell_changes, cell_values
from cldf_core.figures import sentences
from cldf_core.interact.holes import hole
from cldf_core.randomness import torch_generator
from cldf_core.resnet import build_network
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.run import find_run, load_spectra, make_run

figures.theme()
out = parameters.folder
split = "test" if "test" in options.splits else "validation"
BANDS = ("low", "mid", "high")

# %% [markdown]
# ## The three bands
#
# The distance of a frequency from zero is $r = \max(|f_x|, |f_y|)$, in fractions of Nyquist, the fastest change that
# pixels can show (notebook 02). We cut the plane into a *low* band, $r < 0.53$, a *middle* one up to 0.81, and a
# *high* one. (The original research code has a flag for this, `--mode`, that does nothing; its own parent, AutoGAN,
# has it alive.) By area the low band is 27 % of the plane, the middle one 37 %, the high one 35 %. <!-- setting -->
#
# ## Which band is enough?
#
# For each band we train a network for every domain that sees this band alone; outside of it the spectrum is 0, the
# middle of its range. It is tested on its own domain. Beside them stand the networks of notebook 03, which see
# everything.
#
# <details><summary>Predict: may a network that sees one band do better than one that sees everything?</summary>
#
# It may: the other bands hold no less than the photographs, which all networks have to learn to ignore from few
# examples. What is thrown away cannot mislead. But a difference whose interval holds 0 is not shown.
#
# </details>

# %%
runs = {agent: find_run(own) for agent, own in all_options.items()}
banded = {
    (agent, band): make_run(parameters.options(agent, band=band))
    for agent in ("separate", "sequential")
    for band in BANDS
}
banded |= {(agent, "full"): runs[agent] for agent in ("separate", "sequential")}

# %%
shown_bands = ("full", *BANDS)
rows = []
for name in shown_bands:
    cells = cell_values(banded["separate", name].scores().assign(agent=name), split=split)
    for step, domain in enumerate(options.stream, start=1):
        rows.append(cells[(cells["step"] == step) & (cells["domain"] == domain)])
alone = pd.concat(rows).rename(columns={"agent": "band"})
save_table(alone, out.figures, "10_bands_alone")
figure = figures.by_band(alone, label="accuracy on its own domain, with one band alone", line=0.5)
save_figure(figure, out.figures, "10_bands_alone")

# %%
whole_plane, parts = banded["separate", "full"].scores(), []
for name in BANDS:
    change = cell_changes(banded["separate", name].scores(), whole_plane, split=split)
    steps = change["domain"].map({domain: step for step, domain in enumerate(options.stream, start=1)})
    parts.append(change[change["step"] == steps].assign(band=name))
save_table(pd.concat(parts), out.figures, "10_bands_alone_changes")

# %% [markdown]
# The dotted line is guessing. Where a panel's mark is near that of *full*, the band alone may hold what there is to
# know about these fakes; how much is lost with it, the difference on the same photographs tells. Where two bands both
# lose little, the trace seems to be written twice, and a detector may lean on either of them.

# %% tags=["sentences"]
one_band = saved_table(out.figures, "10_bands_alone_changes")
sentences.show(
    sentences.compared(part, f"Accuracy, {band} band alone minus full spectrum", by="domain")
    for band, part in one_band.groupby("band", sort=False)
)

# %% [markdown]
# ## Does a band help to remember?
#
# The same bands, but one network that is trained further and further: what does it know at the end, what has it
# forgotten, and what does it make of the domain that it has never seen?

# %%
parts = [
    bootstrap.summary(banded["sequential", band].scores(), options.stream, split=split).assign(agent=f"{band} band")
    for band in shown_bands
]
remembered = pd.concat(parts, ignore_index=True)
chosen = ["average", "learning", "forgetting (max-last)", *(f"unseen: {name}" for name in options.unseen[:1])]
save_table(remembered[["agent", "metric", "value", "low", "high"]], out.figures, "10_bands_sequential")
as_text(remembered, chosen)

# %%
everything = banded["sequential", "full"].scores()
parts = [
    bootstrap.paired_difference(banded["sequential", band].scores(), everything, options.stream, split=split)
    for band in BANDS
]
changes = pd.concat([part.assign(band=f"{band} band") for part, band in zip(parts, BANDS, strict=True)])
save_table(changes[changes["metric"].isin(chosen)], out.figures, "10_bands_sequential_changes")

# %% tags=["sentences"]
with_one_band = saved_table(out.figures, "10_bands_sequential_changes")
sentences.show(
    sentences.compared(
        part,
        f"Sequential fine-tuning with one band, minus with all, {figures.metric_name(f'accuracy: {metric}')}",
        by="band",
    )
    for metric, part in with_one_band.groupby("metric", sort=False)
)

# %% [markdown]
# The intervals are over test photographs, of one seed. How much another seed alone changes what sequential fine-tuning
# forgets with these settings, the small marks of notebook 08 show, one for each seed, where `cldf sweep seeds` was run
# (notebook 11 shows it with smaller settings): compare before you make anything of a difference here.
#
# ## Which frequencies are forgotten?
#
# Now nothing is trained. We take the networks that see everything, as they were after each step, and set one band
# of the test images to 0. If the accuracy falls, the network has used that band for that domain. The same images
# are scored with and without the band, so the difference is taken within each resample of the photographs.

# %%
spectra = load_spectra(options)
tables = {name: s.table[s.table["split"] == split] for name, s in spectra.items()}


def scored(trained, step, band=None) -> pd.DataFrame:
    """Scores of every domain's images, with one band set to 0."""
    parts = []
    for name, table in tables.items():
        images = spectra[name].array[table["row"].to_numpy()]
        images = attribution.without_band(images, band, options.plane) if band else images
        logits = logits_of(trained, options, images)
        parts.append(table.assign(step=step, domain=name, logit=logits, score=1 / (1 + np.exp(-logits))))
    return pd.concat(parts, ignore_index=True)


# %%
def without_each_band() -> pd.DataFrame:
    rows = []
    for agent in ("sequential", "mir"):
        for step in range(1, len(options.stream) + 1):
            trained = load_network(runs[agent].path / f"model-step{step}.safetensors")[0]
            whole = bootstrap.matrices(scored(trained, step), ["accuracy"], split=split)
            for name in BANDS:
                without = bootstrap.matrices(scored(trained, step, name), ["accuracy"], split=split)
                less = whole.metrics["accuracy"] - without.metrics["accuracy"]
                low, high = less.interval()
                for i, domain in enumerate(whole.domains):
                    rows.append((agent, step, domain, name, less.value[0, i], low[0, i], high[0, i]))
    return pd.DataFrame(rows, columns=["agent", "step", "domain", "band", "value", "low", "high"])


parts = [split, tree_hash(["evaluation.attribution", "evaluation.bootstrap"]), inspect.getsource(scored)]
parts += [runs[agent].path.name for agent in ("sequential", "mir")]  # which stand for options, data and method
ablated = out.once("bands", without_each_band, *parts)
save_table(ablated, out.figures, "10_band_ablation")
save_figure(figures.band_losses(ablated, options.stream), out.figures, "10_band_ablation")

# %% [markdown]
# A column is a domain, a row an agent. Read a line from the grey bar, where the domain is learned, to the right. Where
# a line falls to 0, it is no longer shown that the network uses these frequencies. A line that rises says that it leans
# on the band more than before. Below 0 the band misleads: without it the verdicts are better. And where an accuracy is
# at guessing anyway, nothing can be lost, so a line at 0 need not mean that the band is useless; for the same reason,
# two bands without which nothing but guessing is left lose the same, and cannot be ranked. A spectrum with a hole is
# also something that the network has never seen; part of the loss may come from that strangeness.

# %% tags=["sentences"]
lost = saved_table(out.figures, "10_band_ablation")
moments = {domain: (step, len(options.stream)) for step, domain in enumerate(options.stream[:-1], start=1)}
sentences.show(
    sentences.highest(part, f"{figures.agent_name(agent)}, {domain}, {when}: accuracy lost without a band", by="band")
    for (agent, domain), of_domain in lost.groupby(["agent", "domain"], sort=False)
    if domain in moments
    for when, step in zip(("when learned", "in the end"), moments[domain], strict=True)
    for part in [of_domain[of_domain["step"] == step]]
)

# %% [markdown]
# ## Asking the network: Grad-CAM
#
# Instead of taking something away, one can ask where the evidence lies. **Grad-CAM** (Selvaraju et al., ICCV 2017)
# takes the maps of an inner layer, weights each of them by how much it raises the logit of *fake*, and adds them up.
# The result is a coarse picture over the plane: red frequencies speak for a fake, blue ones for a real image. The layer
# has one cell for eight by eight frequencies, and so a picture of blocks is drawn, over the half of the plane that the
# network reads. It can show a region; the lines of a grid are finer than its cells.
#
# The picture of a single image is noisy. So we take the mean over all fakes of a domain, minus the mean over its real
# images: what does the network find in fakes that it does not find in reals? We ask joint training, which knows all
# domains, and look at validation images; where a data set has none, at training images.
#
# **A check first.** A method that gives a pretty picture for any network explains nothing (Adebayo et al., *Sanity
# checks for saliency maps*, NeurIPS 2018). So the lower row asks a network of the same shape with random weights. Both
# rows share one scale, so that what looks strong is strong.
#
# <details><summary>Predict: what should the lower row look like, if the method is honest?</summary>
#
# Weak, and without the pattern of the upper row: a network that has learned nothing has no evidence. If it showed the
# same picture, that would come from the images and from the layer's geometry, and would explain nothing of the trained
# network. (Both rows share a scale, which hides a weak pattern; the table below looks for it.)
#
# </details>


# %%
def looked_at(name: str) -> pd.DataFrame:
    """A domain's validation images or, where it has none, its training images."""
    table = spectra[name].table
    return table[table["split"] == next(s for s in ("validation", "train", split) if s in set(table["split"]))]


def mean_evidence(trained, name: str, half: int | None = None) -> np.ndarray:
    """Evidence in fakes minus evidence in reals; half = 0 or 1 takes every other group."""
    table = looked_at(name)
    places = table["group"].rank(method="dense").to_numpy(int)
    means = []
    for label in (0, 1):
        chosen = (table["label"] == label).to_numpy() & ((places % 2 == half) if half is not None else True)
        images = torch.from_numpy(spectra[name].array[table["row"].to_numpy()[chosen]]).float()
        maps = [attribution.grad_cam(trained, part).sum(0) for part in images.split(attribution.BATCH)]
        means.append(sum(maps).numpy() / max(len(images), 1))
    return means[1] - means[0]


# %%
joint = load_network(runs["joint"].path / f"model-step{len(options.stream)}.safetensors")[0]
draws = torch_generator(options.seed, "illustration", "10")
untrained = build_network(options.network, width=options.width, generator=draws).eval()
maps = {
    "trained": {name: mean_evidence(joint, name) for name in spectra},
    "random weights": {name: mean_evidence(untrained, name) for name in spectra},
}
frequencies = options.feature == "spectrum"
save_figure(figures.evidence(maps, frequencies=frequencies), out.figures, "10_evidence")

# %%
rows = []
for name in spectra:
    halves = [mean_evidence(joint, name, half).ravel() for half in (0, 1)]
    trained, random = (maps[row][name].ravel() for row in ("trained", "random weights"))
    sizes = np.abs(trained).mean(), np.abs(random).mean()
    rows.append((name, np.corrcoef(*halves)[0, 1], np.corrcoef(trained, random)[0, 1], sizes[1] / sizes[0]))
names = ["correlation, two halves of the photographs", "correlation, trained and random", "size, random by trained"]
check = pd.DataFrame(rows, columns=["domain", *names])
save_table(check.melt("domain", var_name="what"), out.figures, "10_evidence_check")
check.round(2).set_index("domain")

# %% tags=["sentences"]
check = saved_table(out.figures, "10_evidence_check")
sentences.show(
    sentences.values(own, f"Pictures of evidence: {what}", by="domain")
    for what, own in check.groupby("what", sort=False)
)

# %% [markdown]
# The first column correlates the pictures of two halves of the photographs: near 1 means that the picture does not hang
# on which photographs were taken. The second correlates the trained network's picture with the random one's: the nearer
# that is to 1, the more of the pattern comes from the images and the layer's geometry, and not from what was learned.
# The third is how strong the random network's evidence is beside the trained one's. A method can pass the check in
# strength, and only in part in its pattern.
#
# Compare the upper row with the mean spectra of notebook 02: where fakes and reals differ there and the picture has a
# colour, the network may use what one can see. This picture is a difference, fakes minus reals: blue says that reals
# have more evidence for *fake* in this place than fakes have, or fakes more for *real*. What of the corners? Where
# domains differ in their picture, a network that learns the one has little reason to keep what it needs for the other.
#
# ## One image
#
# Last, one of these fakes, of the last domain, with its spectrum and the evidence in it. Notebook 13 does this for an
# image of your own. **The picture is not the verdict.** It shows one inner layer, and adds up how that speaks; what the
# later layers make of it, and the constants that they add, are not in it. So a network may say *fake* for certain while
# the picture is mostly blue: the line below the figure says which it is here. What holds for many images, above, is
# worth more than the picture of one.
#
# Last of all, take frequencies away yourself, from this fake and from a real image beside it. With two handles you say
# from where to where. Is there a narrow band without which the fake passes for real? And which network holds out
# longest?

# %%
name = options.stream[-1]
row = looked_at(name).query("label == 1").iloc[0]
read = torch.from_numpy(spectra[name].array[[row["row"]]]).float()
probability = float(1 / (1 + np.exp(-logits_of(joint, options, read.numpy())[0])))
evidence = attribution.grad_cam(joint, read)[0].numpy()
pixels = crop(open_image(spectra[name].root / row["image"]), options.size)
figure = figures.explained(pixels, read[0].numpy(), evidence, probability, frequencies=frequencies)
save_figure(figure, out.figures, "10_one_image")
print(f"P(fake) = {probability:.3f}; {attribution.share_for_fake(evidence):.0%} of the evidence in the picture is red")
if frequencies:
    pair = looked_at(name).groupby("label").head(1).sort_values("label")
    crops = np.stack([crop(open_image(spectra[name].root / image), options.size) for image in pair["image"]])
    networks = {a: load_network(runs[a].path / f"model-step{len(options.stream)}.safetensors")[0] for a in agents[1:]}
    display(hole(crops, spectra[name].array[pair["row"].to_numpy()].astype(np.float32), networks, options.plane))

# %% [markdown]
# **Exercise.** In how large a part of the plane is $r < 0.53$? <!-- setting --> Work it out by hand first: $r$ is the
# larger one of two frequencies, so what shape has the band? Then ask
# `cldf_core.spectrum.band_mask(128, 128, "low", "full").mean()`, and say why the two differ a little.
#
# ## Limits
#
# * **A hole in the spectrum is no natural image.** Networks that have never seen one may fail for that reason alone.
#   Training on a band and taking it away answer different questions; believe what both say.
# * **Grad-CAM is coarse.** Each cell has seen a wide neighbourhood besides. It says *where*, roughly, and not *what*.
# * **One seed, these training photographs**, and small networks on small images. No interval tells what others would
#   change.
