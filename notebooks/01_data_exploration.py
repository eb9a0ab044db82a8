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
# # 01 · Data exploration
#
# **The idea.** A detector learns whatever tells the fakes of *its* data from the real images, and that need not be a
# trace of how they were made: the format of a file would do. Such a detector looks splendid in every test on the same
# data and is worth nothing. So before anything is trained, look: at the images, at the photographs behind them, and at
# what is easy.
#
# **You will learn** how many images there are and how they are split, where a fake differs from its real image, and
# whether a detector could cheat by looking at something else.
#
# **What you need.** Notebook [00](00_start_here.ipynb). Words: [deepfake](../docs/glossary.md#deepfake),
# [domain](../docs/glossary.md#domain), [generator](../docs/glossary.md#generator),
# [detector](../docs/glossary.md#detector).
#
# **Reads** the data set named by `data` (cldf-mini is made the first time, one to two minutes).
# **Writes** two figures and seven tables into `runs/01_data_exploration-…/figures`.
# **Takes** less than a minute on two cores, once the data set is there.

# %% tags=["parameters"]
from typing import Optional  # so that papermill can read the types

data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
limit: Optional[int] = None  # images per class and domain that are looked into; None takes all
size: int = 128  # pixels a side after the centre crop
seed: int = 0  # of everything random

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

parameters = from_notebook("01_data_exploration", globals())
options = parameters.options()

# %%
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from IPython.display import display
from PIL import Image

from cldf_core import figures
from cldf_core.data.domains import SPLITS
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.data.images import crop, open_image
from cldf_core.data.intake import audit
from cldf_core.data.intake.duplicates import duplicates
from cldf_core.data.intake.scan import survey
from cldf_core.evaluation.cells import cell_values
from cldf_core.evaluation.seeds import t_interval
from cldf_core.figures import sentences
from cldf_core.interact.pairs import beside
from cldf_core.randomness import generator
from cldf_core.runs.run import load_spectra

figures.theme()
out = parameters.folder

# %% [markdown]
# ## What is there?
#
# A **domain** is one family of real and fake images; its fakes were made, or collected, together. The images of a
# domain are divided into three **splits**: the network learns from *train*, we choose settings with
# *validation*, and *test* only measures the result. How many images of each kind are there?

# %%
domains = load_spectra(options)
images = [spectra.table.assign(domain=name, root=spectra.root) for name, spectra in domains.items()]
images = pd.concat(images, ignore_index=True)
images["path"] = [root / image for root, image in zip(images["root"], images["image"], strict=True)]
images["class"] = images["label"].map({0: "real", 1: "fake"})
counts = images.groupby(["domain", "split", "class"], sort=False).size().rename("images").reset_index()
save_table(counts, out.figures, "01_counts")
wide = counts.pivot(index="domain", columns=["split", "class"], values="images").reindex(list(domains))
wide = wide[[column for split in SPLITS for column in wide if column[0] == split]].fillna(0).astype(int)
aside = pd.concat([spectra.rejected.assign(domain=name) for name, spectra in domains.items()], ignore_index=True)
print(f"{len(aside)} of {len(aside) + len(images)} images are rejected")
display(wide, *([aside.head()] if len(aside) else []))

# %% [markdown]
# Read along a row: in each split there should be about as many fakes as reals. With equal counts, a detector that
# always says “real” is right half of the time, so an accuracy of 0.5 is what guessing gives.
#
# An image that cannot be read, or is smaller than `size`, is not used. It is *rejected* with a reason, never
# enlarged or dropped in silence. If there are any, the first of them stand below the table.
#
# ## How cldf-mini is made
#
# The default data set, cldf-mini, takes real photographs, halves their size and cuts them into crops of 128
# × 128 pixels. From every real crop a small *generator* makes one fake. Each domain has a
# generator of its own kind:
#
# | domain | its fakes | stands for |
# |---|---|---|
# | mini-GAN-S | the whole crop goes through a network that shrinks it and enlarges it again | GAN synthesis |
# | mini-VFHQ | shrunk to half its size, then enlarged by a super-resolution network | enhanced video frames |
# | mini-ForenSynths | one of three networks, chosen by photograph | many generators in one set |
# | mini-DeepFake | an ellipse, as large as the crop, is re-made and blended in with a soft edge | swapped faces |
# | mini-NeuralTextures | the same ellipse, re-made by another network and blended in | re-rendered faces |
#
# cldf-mini is small enough to be made on any machine. It is not a stand-in for the large data sets of the
# literature, and its numbers are not to be compared with published ones.
#
# ## What do the images look like?
#
# We look at training images only. Test images stay out of sight until something is measured on them: who
# tunes a method while looking at the test images fools himself. A *pair* is a real image and the fake that
# was made from it.
#
# <details><summary>Predict: in which domains will you find the fake with the naked eye, and where in the
# picture is the change?</summary>
#
# In the domains whose whole crop went through a network, every pixel may have changed a little, most at edges and in
# fine patterns: what cannot be seen in a single pixel may be visible as a lack of fine detail. Where an ellipse was
# blended in, the changes are inside it, but for what saving as a JPEG file adds. The third picture of each pair settles
# it. That you see nothing is no proof that there is nothing: a change of one level of grey cannot be seen, and can be
# measured.
#
# </details>

# %%
images["stem"] = [PurePosixPath(image).stem for image in images["image"]]
train = images[images["split"] == "train"]
rng = generator(options.seed, "illustration", "01 pairs")


def some_pairs(table, count):
    """Pairs of real and fake: by name where names agree, else in the order of the files."""
    real, fake = (table[table["label"] == label].reset_index(drop=True) for label in (0, 1))
    pairs = real.merge(fake, on=["group", "stem"], suffixes=("_real", "_fake"))
    pairs = real.join(fake, lsuffix="_real", rsuffix="_fake", how="inner") if pairs.empty else pairs
    return pairs.sample(min(count, len(pairs)), random_state=rng)


def pixels(path):
    return crop(open_image(path), options.size)


shown = {name: some_pairs(table, 2) for name, table in train.groupby("domain", sort=False)}
crops = {
    name: [(pixels(pair.path_real), pixels(pair.path_fake)) for pair in table.itertuples()]
    for name, table in shown.items()
}
save_figure(figures.sample_pairs(crops), out.figures, "01_samples")

# %% [markdown]
# A row is a domain; each has two pairs. First compare real with fake with the naked eye: in which rows do you find the
# fake, and what gives it away? Then look at the third picture of each pair, fake minus real: of each pixel the colour
# that changed most. White is “unchanged”; the scale below has steps that grow fourfold, so that one level of grey and
# a hundred can be seen in one picture. Look *where* things were changed, and how much. (In a data set whose fakes are
# not made from its reals, the difference has no meaning.)
#
# Two pairs are an anecdote. How large a part of a crop does a generator change, on average over the training
# photographs? We count the pixels in which some colour differs by more than 4 of 255 levels. <!-- setting -->
#
# The figure below the next cell has more of the pairs, and the level is yours. Find for each domain the level at which
# hardly a pixel is left: is that a change which you would have noticed?

# %%
rows = []
for name, table in train.groupby("domain", sort=False):
    of_domain = some_pairs(table, options.limit or len(table))
    both = [(pixels(pair.path_real).astype(int), pixels(pair.path_fake)) for pair in of_domain.itertuples()]
    far = pd.Series([(np.abs(fake - real).max(0) > 4).mean() for real, fake in both])
    photograph = of_domain.filter(regex="^group").iloc[:, 0].to_numpy()
    rows.append((name, *t_interval(far.groupby(photograph).mean().to_numpy())))
save_table(pd.DataFrame(rows, columns=["domain", "value", "low", "high"]), out.figures, "01_changes")
more = {name: some_pairs(table, 8) for name, table in train.groupby("domain", sort=False)}
more = {name: [(pixels(p.path_real), pixels(p.path_fake)) for p in pairs.itertuples()] for name, pairs in more.items()}
more = {name: pairs for name, pairs in more.items() if pairs}  # a domain of one class has none
beside(more) if more else "No domain has a real image and a fake that belong together."

# %% tags=["sentences"]
sentences.show(sentences.values(saved_table(out.figures, "01_changes"), "Share of pixels that differ", by="domain"))

# %% [markdown]
# ## Whose photographs are these?
#
# Every photograph of cldf-mini has an author and a licence. Here are those of the crops shown above.

# %%
lists = [root / "photographs.csv" for root in images["root"].unique() if (root / "photographs.csv").is_file()]
if lists:
    credits = pd.concat(map(pd.read_csv, lists)).drop_duplicates()
    groups = {group for table in shown.values() for column in table.filter(like="group") for group in table[column]}
    groups = {group.rpartition(":")[2] for group in groups}  # another data set's name stands before a colon
    credits = credits[credits["file"].str.rsplit(".", n=1).str[0].isin(groups)]
    credits = credits[["file", "author", "licence", "source"]]
    save_table(credits, out.figures, "01_credits")
else:
    credits = "There is no photographs.csv beside the images, so there are no credits to show."
credits

# %% [markdown]
# ## Splits and groups
#
# Many crops come from the same photograph, and they look alike. If one were in *train* and another in
# *test*, the network could recognise the photograph instead of the fake, and the test would look better than
# it is. So images that belong together form a **group** (a photograph, a video, a source image), and a group
# is never torn apart. Is that so?

# %%
splits_of_group = images.groupby("group")["split"].nunique()
torn = splits_of_group[splits_of_group > 1]
print(f"{len(splits_of_group)} groups, {len(torn)} of them in more than one split")
if all((root / "splits.csv").is_file() for root in images["root"].unique()):
    assert torn.empty, f"these groups are in several splits: {', '.join(torn.index[:5])}"

# %% [markdown]
# The answer should be none. A folder without a `splits.csv` does not say what belongs together; there each
# file name is taken as a group of its own, and only you can know whether that is right.
#
# How many groups are in each split, and are they shared between the domains?

# %%
groups = images.groupby(["domain", "split"], sort=False)["group"].nunique().rename("groups").reset_index()
save_table(groups, out.figures, "01_groups")
sharing = images.groupby(["split", "group", "stem"])["domain"].nunique().groupby("split").max()
print("domains that share one image of a group, at most:", sharing.to_dict())
groups.pivot(index="domain", columns="split", values="groups").reindex(list(domains))

# %% [markdown]
# In cldf-mini no training crop serves two domains, so a domain brings new images as well as new fakes. The
# test crops serve all domains alike: when two domains give different results, it is because of their fakes
# and not because of other photographs. Note that there are far fewer photographs than images. An estimate is
# only as certain as the number of *photographs* allows, and all intervals in this project are computed over
# groups.
#
# ## Could a detector cheat?
#
# Suppose all reals were JPEG files and all fakes PNG files. A detector could then be right without having
# seen a single trace of a generator. This is a **shortcut**. The first thing to check are format and
# dimensions.


# %%
def facts(path):
    with Image.open(path) as opened:
        return opened.format, opened.mode, *opened.size


kinds = pd.DataFrame([facts(path) for path in images["path"]], columns=["format", "mode", "width", "height"])
kinds = pd.concat([images[["domain", "class"]], kinds], axis=1)
kinds = kinds.groupby(list(kinds.columns), sort=False).size().rename("images").reset_index()
save_table(kinds, out.figures, "01_formats")
kinds.set_index("domain")

# %% [markdown]
# For each domain compare the rows of real and fake: format, colour mode, width and height should be the same
# in both classes. If one of them differs, any detector can cheat with it.
#
# Next, can a *single number* tell the classes apart? We try the mean of each colour channel and the size of the file.
# The measure is the **AUC**: the probability that a fake, drawn at random, has a larger number than a real image, drawn
# at random. At 0.5 the number says nothing; at 0 or at 1 it separates the classes completely. The interval is a
# *bootstrap*: the photographs are drawn again a thousand times, with repetition, and about 95 % of the results of these
# *resamples* lie inside (a few more, because the photographs are few).
#
# <details><summary>Predict: which of the four numbers could tell a fake, if the data set is made well? And can a data
# set be made so well that none does?</summary>
#
# The mean colours should not: a fake shows what its photograph shows. The file size may, and no care can prevent it
# where files are lossless: a file is small if its picture is easy to describe, and a generator that smooths makes it
# so, one that adds a pattern the opposite. Then the number is a trace of the generator, seen through a keyhole, and not
# a mistake of whoever made the data.
#
# </details>


# %%
def look(part):
    """The same places of both classes, so that pairs stay together."""
    rng = generator(options.seed, "illustration", "01 look", part["domain"].iloc[0])
    return part.sample(min(len(part), options.limit or len(part)), random_state=rng)


train = pd.concat(look(part) for _, part in train.groupby(["domain", "label"], sort=False))
channels = np.array([open_image(path).mean((1, 2)) for path in train["path"]])
numbers = train[["domain", "image", "group", "label", "split"]].assign(
    **{f"mean {colour}": channels[:, k] for k, colour in enumerate(("red", "green", "blue"))},
    **{"file size": [path.stat().st_size for path in train["path"]]},
)
cues = [column for column in numbers if column.startswith("mean") or column == "file size"]
as_scores = numbers.melt(["domain", "image", "group", "label", "split"], cues, "agent", "score").assign(step=1)
cheats = cell_values(as_scores, "AUC", split="train").drop(columns="step").rename(columns={"agent": "cue"})
save_table(cheats, out.figures, "01_single_numbers")
fig = figures.single_numbers(cheats)
save_figure(fig, out.figures, "01_single_numbers")

# %% [markdown]
# The mark is the AUC, the bar its interval, the dotted line is 0.5; each panel has a range of its own, so first see how
# wide it is. The colour marks should lie near the line: a fake has the colours of the photograph that it was made from.
# A generator may shift a colour by a hair, and all fakes of a domain by the same hair; then an interval can lie beside
# 0.5, but so near that it is of no use. The file size is another matter. In the first three domains of cldf-mini the
# files are lossless PNG, so a picture that has lost fine detail makes a smaller file, and one that has gained a pattern
# a larger one: there the file size is itself a trace of the generator, and no shortcut can be taken away without taking
# away the trace. In the two JPEG domains both classes are compressed in the same way; whether the file size tells them
# apart all the same, the sentences below say. (Below 0.5 means that the fakes have the smaller numbers.)

# %% tags=["sentences"]
cheats = saved_table(out.figures, "01_single_numbers")
sentences.show(
    sentences.compared(part, f"AUC of {cue}", by="domain", line=0.5, digits=3)
    for cue, part in cheats.groupby("cue", sort=False)
)

# %% [markdown]
# Marks at 0.5 do not prove that there is no shortcut: only these four numbers were tried.
#
# ## An audit
#
# Single numbers can be harmless while several together are not. So the audit goes further. It opens every image file
# once and writes down what the *file* says: format, colour mode, width, height, JPEG quality, bytes per pixel. Then a
# classifier (boosted trees: many small decision trees, each of which mends what those before it got wrong) learns to
# tell real from fake from these facts alone, without a look at the pictures. Its **balanced accuracy** is the mean of
# the shares of reals and of fakes that it gets right; 0.5 is chance. For data of your own, `cldf data audit` does the
# same and shows the detectors beside it.

# %%
of_sets = images.drop(columns="class").groupby("root", sort=False)  # a stream may take domains of several
joined = [part.merge(survey(root, list(part["image"].unique())), on="image") for root, part in of_sets]
joined = pd.concat(joined, ignore_index=True)
baseline = audit.format_baseline(joined, seed=options.seed)
rows = [
    (name, facts, *(value[key] for key in ("balanced accuracy", "low", "high", "images")))
    for name, result in {**baseline["domains"], "all together": baseline["overall"]}.items()
    for facts, value in result.items()
]
facts_only = pd.DataFrame(rows, columns=["domain", "facts", "value", "low", "high", "images"])
save_table(facts_only, out.figures, "01_facts_only")
facts_only.rename(columns={"value": "balanced accuracy"}).round(3).set_index("domain")

# %% [markdown]
# *Without file size* is the row to read first: an interval above 0.5 says that these facts give the class away, and one
# that contains 0.5 that this is not shown. With the file size, lossless files may be above chance, for the reason given
# above.

# %% tags=["sentences"]
facts_only = saved_table(out.figures, "01_facts_only")
sentences.show(
    sentences.compared(part, f"Balanced accuracy, {facts}", by="domain", line=0.5)
    for facts, part in facts_only.groupby("facts", sort=False)
)

# %% [markdown]
# The audit also looks for **copies**: the same content twice, or two pictures that look alike (their *perceptual
# hashes*, 64 bits each, differ in at most four). A pair of a real image and its fake is alike by design. What must
# not be is a picture in *train* that has a near copy in *test*.

# %%
found = duplicates(joined)
pairs = found.pairs[~found.pairs["within_group"]]
across = pairs[pairs["split_1"] != pairs["split_2"]]
print(f"{len(found.pairs)} pairs, {len(pairs)} of them between different groups, {len(across)} between splits")
for sentence in audit.warnings(joined, pairs=found, baseline=baseline):
    print("warning:", sentence)
across[["kind", "distance", "image_1", "split_1", "image_2", "split_2"]].head(10)

# %% [markdown]
# Two crops of plain sky have the same hash and are no copies; look at a pair before you worry about it. What is
# listed here as a warning is repeated by every run on a registered data set.
#
# **Exercise.** In [`shortcut`](exercises/shortcut.ipynb) a single number of an image tells the classes of a data set
# apart splendidly, though there is nothing to detect in it; you find out which. (`make course` makes a copy without the
# solution.)
#
# **Next:** notebook 02 looks for the traces that a detector *should* use.
