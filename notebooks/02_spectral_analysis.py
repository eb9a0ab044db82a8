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
# # 02 · Spectral analysis
#
# **The idea.** Every image is a sum of waves, stripes of many widths and directions; how strong each of them is, its
# *spectrum* says. Nearly every generator makes a small image and enlarges it, and to enlarge is to copy waves to places
# where a photograph has none. Some of these copies show in the picture, as a fine pattern; many do not. In the spectrum
# they have places of their own, and so our detector reads spectra.
#
# **You will learn** how the network's input is computed from pixels, why half of a spectrum is enough, where in it
# fakes differ from real images, and how far a detector comes that sees only a few numbers of it.
#
# **What you need.** Notebooks [00](00_start_here.ipynb) and [01](01_data_exploration.ipynb), and what a logarithm is.
# Words: [domain](../docs/glossary.md#domain), [group](../docs/glossary.md#group), [AUC](../docs/glossary.md#auc),
# [interval](../docs/glossary.md#interval).
#
# **Reads** the training images of the data set named by `data` (cldf-mini is made the first time, one to two
# minutes), and in the last section its test images.
# **Writes** seven figures and six tables into `runs/02_spectral_analysis-…/figures`.
# **Takes** less than a minute on two cores, once the data set is there.

# %% tags=["parameters"]
from typing import Optional  # so that papermill can read the types

data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
limit: Optional[int] = None  # training images per class and domain; None takes all
size: int = 128  # pixels a side after the centre crop
seed: int = 0  # of everything random

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

parameters = from_notebook("02_spectral_analysis", globals())
options = parameters.options()

# %%
import numpy as np
import pandas as pd
from IPython.display import display
from PIL import Image

from cldf_core import figures
from cldf_core.data.domains import SPLITS
from cldf_core.data.files import save_figure, save_table, saved_table
from cldf_core.data.images import BICUBIC, crop, open_image
from cldf_core.detection.ladder import FACTS, PROFILE, SHARPNESS, simple_scores
from cldf_core.evaluation import traces
from cldf_core.evaluation.cells import cell_values
from cldf_core.figures import sentences
from cldf_core.interact import fourier
from cldf_core.randomness import generator
from cldf_core.runs.run import load_spectra
from cldf_core.spectrum import band_mask, log_magnitude, log_spectrum, mirror

figures.theme()
out = parameters.folder

# %% [markdown]
# ## What is a spectrum?
#
# Every image is a sum of waves: stripes of many widths and directions. The **Fourier transform** (its fast
# form is called FFT) says how strong each wave is. A sky is made of wide, slow stripes; hair and grass need
# narrow, fast ones. The **frequency** of a wave says how many stripes fit into a length. The narrowest
# stripes that pixels can show are one pixel light and one pixel dark, a period of 2 pixels. Their frequency
# is called the **Nyquist frequency**, and we use it as the unit: 0 is no change at all, 1 is a period of 2
# pixels, 1/2 a period of 4, and 1/4 a period of 8. <!-- setting -->
#
# The strength of a wave is its **magnitude**, written |F|. A spectrum is a picture of all magnitudes, with a
# place for each horizontal and vertical frequency. Where a wave begins is its **phase**.
#
# Before a photograph, take one wave alone. Predict for each slider what it does to the stripes, and what to the
# spectrum: which of the three leaves the spectrum as it is? What becomes of the stripes beyond a frequency of 1?
#
# <details><summary>Answers (move the sliders first)</summary>
#
# The phase moves the stripes and leaves all magnitudes alone, except where the horizontal and the vertical part of the
# frequency are each 0 or 1: there both places are one, and it also decides how much of the wave the pixels catch.
# <!-- by definition --> The direction turns
# stripes and spectrum together, and the frequency moves the two places away from the middle: a wave and its mirror
# image are the same stripes, so there are two. Beyond 1 a period has fewer than two pixels, and what pixels can still
# show of it is a *slower* wave: of stripes along rows or columns the one at the frequency 2 − f, on the other side.
# Oblique ones fold when their horizontal or vertical part goes beyond 1. <!-- setting -->
#
# </details>
#
# (Figures with sliders move where a kernel runs. Elsewhere you see each as it was when it was made.)

# %%
domains = load_spectra(options)
periods = [period for period in (2, 4, 8) if options.size % period == 0]


def pixels(paths):
    """The centre of each image: uint8, shape (N, 3, size, size)."""
    return np.stack([crop(open_image(path), options.size) for path in paths])


tables = {}
for name, spectra in domains.items():
    split = next(split for split in SPLITS if split in set(spectra.table["split"]))  # train, where there is one
    parts = [part for _, part in spectra.table[spectra.table["split"] == split].groupby("label")]
    counts = [min(len(part), options.limit or len(part)) for part in parts]
    rngs = [generator(options.seed, "illustration", "02", name) for _ in parts]  # the same draw: pairs stay together
    table = pd.concat(p.sample(n, random_state=rng) for p, n, rng in zip(parts, counts, rngs, strict=True))
    tables[name] = table.assign(path=[spectra.root / image for image in table["image"]])
fourier.one_wave()

# %% [markdown]
# ## Waves make a photograph, and a photograph falls apart into waves
#
# Now two training photographs, those whose files are largest, and so have much detail; in grey. Three questions, each
# with a figure below, in this order:
#
# 1. **How many waves does it take?** Add up the strongest waves of the first photograph. Each wave has two places, so
#    there are about half as many waves as pixels. How many will you need until you recognise something? And which
#    kind comes first, slow ones or fast ones?
# 2. **What is in the strengths, what in the phases?** Give the waves of one photograph the phases of the other. Which
#    of the two will you recognise?
# 3. **What do low frequencies show, and what high ones?** Keep a *band*, the frequencies between two, throw the rest
#    away, and transform back. Where in the photograph is what is left?
#
# <details><summary>Answers (move the sliders first)</summary>
#
# 1. The slow waves of a photograph are nearly always its strongest, so coarse areas come first and edges late: an edge
#    needs fast waves of many frequencies at once. One line alone takes half as many waves as it has pixels, and one, at
#    most.
# 2. That whose *phases* it has: the phases say where waves meet, which makes edges, and edges are what we recognise.
#    The network reads the strengths alone. It sees what we hardly see, and is blind to what we recognise.
# 3. Low frequencies show areas and their brightness, high ones edges and fine patterns, wherever they are: a frequency
#    has no place in the image, and a place no frequency.
#
# </details>

# %%
reals = tables[options.stream[0]].query("label == 0")
reals = reals.assign(size=[path.stat().st_size for path in reals["path"]])
detailed = reals.sort_values("size", ascending=False).drop_duplicates("group")["path"]  # one of each photograph
greys = [pixels([detailed.iloc[k]])[0].mean(0) for k in (0, min(1, len(detailed) - 1))]
display(fourier.sum_of_waves(greys[0]), fourier.phases(*greys), fourier.band(greys[0]))

# %% [markdown]
# ## From pixels to the network's input
#
# How does a spectrum arise from one image, step by step? We take a training image and do by hand what the package does
# in one call: the fake with the clearest *grid*, that is, peaks at regular places of its spectrum, among all training
# images that this notebook looks at.

# %%
rows, clearest = [], {}
for name, table in tables.items():
    for (label, group), part in table.groupby(["label", "group"]):
        of_images = log_magnitude(pixels(part["path"])).mean(1)
        rows.append((name, ("real", "fake")[label], group, of_images.mean(0)))
        ratios = np.max([traces.line_ratio(of_images, period) for period in periods], axis=0)
        if label:
            clearest[ratios.max()] = (name, part.iloc[ratios.argmax()])
index = pd.MultiIndex.from_tuples([row[:3] for row in rows], names=["domain", "class", "group"])
planes = np.stack([row[3] for row in rows])
print(f"{len(planes)} spectra, each the mean over the images of one photograph and class")
domain, row = clearest[max(clearest)]
example = pixels([row["path"]])[0]
print(f"the clearest grid: {row['image']}, {domain}")

# %%
channel = example[0]
magnitude = np.abs(np.fft.fft2(channel / 255))
log = np.log(magnitude + 1e-3)
p5, p95 = np.percentile(log, [5, 95])
scaled = np.clip(2 * (log - p5) / (p95 - p5) - 1, -1, 1)
half = scaled[:, : options.size // 2 + 1]
steps = {
    "1 pixels": example.transpose(1, 2, 0),
    "2 red channel": channel,
    "3 corner of |F|": magnitude[:4, :4],
    "4 logarithm ln |F|": log,
    "5 shifted (to draw)": np.fft.fftshift(log),
    "6 scaled to [−1, 1]": scaled,
    "7 half: the input": half,
}
fig = figures.spectrum_steps(steps)
save_figure(fig, out.figures, "02_steps")

# %% [markdown]
# The axes count rows and columns.
#
# 1. The image, the fake with the clearest grid.
# 2. One of its three colour channels; each is treated in the same way.
# 3. The magnitudes, of which only the corner with the slowest waves is shown. One of them, frequency zero in the top
#    left place (the image's mean brightness), is so large that beside it all others look like zero: read the numbers.
# 4. Their **logarithm** shows large and small values together: adding 1 to ln |F| means 2.7 times the
#    magnitude. <!-- setting --> Frequency zero is still in the corner, and the fastest waves are in the middle.
# 5. For drawing, the quarters are swapped (*shifted*), so that frequency zero is in the middle and the
#    fastest waves are at the rim. The network does not need this. Now look for bright dots or lines away from the
#    middle, at regular places: this is the **grid**.
# 6. The values are scaled so that dark and bright images become alike. The 5th **percentile** (5 % of the
#    values are below it) becomes −1, the 95th becomes 1, and what lies outside is cut off. <!-- setting -->
# 7. Half of the columns. This is what the network reads of this channel.
#
# Does the package compute the same? And why is half enough? Pixels are real numbers. A wave that runs to the right and
# the same wave that runs to the left are then the same stripes, and have the same magnitude: the spectrum is
# *point-symmetric* about frequency zero. So one half of the plane, with the column of frequency zero and that of
# Nyquist, tells the other half. If that is true, mirroring the half must give the full plane back, value for value.

# %%
difference = np.abs(log_spectrum(example[None])[0, 0] - half).max()
print(f"largest difference between steps 1 to 7 and log_spectrum: {difference:.1e}")
assert difference < 2e-3
restored = mirror(half)
print(f"half: {half.shape}, mirrored: {restored.shape}, largest difference: {np.abs(restored - scaled).max():.1e}")
assert np.allclose(restored, scaled)

# %% [markdown]
# The package computes in single precision, so a tiny difference is left. By the half nothing is lost, and the network
# has half the work.
#
# ## Why does a generator leave a grid?
#
# Nearly every generator makes a small image inside and enlarges it, to twice its size in each step. This
# **up-sampling** is where the grid comes from, and it can be seen with one photograph. We shrink it to half its size,
# then enlarge it in three ways. The simplest one puts a zero between any two pixels. That is to multiply with a grid of
# ones and zeros, a constant and waves at Nyquist's frequency, and so every wave of frequency f comes again as one of
# frequency 1 − f: **the spectrum of the large image is that of the small one, four times.** The next cell asserts it,
# value for value. The other two ways are the same with a filter behind: writing each pixel twice (*nearest neighbour*)
# is a mean over 2 pixels, *bicubic* a smoother mean over more.
#
# How much fine detail an image has we say with one number, its **sharpness**: the mean ln |F| of high frequencies
# minus that of low ones. Low means r < 0.53, where r is the larger one of the horizontal and the vertical frequency.
# <!-- setting -->
#
# Before you look: which copies does a filter have to remove so that nobody can tell that the image was enlarged, and
# what becomes of the sharpness in each of the three ways? In the second figure you enlarge twice and three times, and
# by *transposed convolutions*, as a generator does: zeros between, and then a filter, here a plain mean over 3 × 3 or
# 4 × 4 pixels. One of them leaves a chequered pattern in every plain area. Which, and where in the spectrum is it?
#
# <details><summary>Answers (look first)</summary>
#
# All copies but the one in the middle. A filter that does so, and no more, leaves what the small image knew: the high
# frequencies stay empty, and the sharpness falls. After two times there are copies at 1/2 as well, since the second
# enlargement copies the copies of the first. A filter over 3 pixels takes in one pixel of the small image or two, in
# turn, so every second pixel is brighter: period 2, at the rim. One over 4 pixels always takes in two. <!-- setting -->
#
# </details>

# %%
grey = greys[0]
small = grey.reshape(options.size // 2, 2, options.size // 2, 2).mean((1, 3))
zeros = np.zeros_like(grey)
zeros[::2, ::2] = small
bicubic = Image.fromarray(small.astype(np.float32)).resize(grey.shape, BICUBIC)
ways = {"the photograph": grey, "shrunk by 2": small, "enlarged: zeros between": zeros}
ways |= {"enlarged: nearest": small.repeat(2, 0).repeat(2, 1), "enlarged: bicubic": np.asarray(bicubic)}
assert np.allclose(np.fft.fft2(zeros), np.tile(np.fft.fft2(small), (2, 2)))
magnitudes = {name: np.log(np.abs(np.fft.fft2(values / 255)) + 1e-3) for name, values in ways.items()}
parts = {name: values[: len(values) // 3, : len(values) // 3] for name, values in ways.items()}
save_figure(figures.copies(parts, magnitudes), out.figures, "02_up_sampling")
sharp = [(name, float(traces.sharpness(m[:, : len(m) // 2 + 1]))) for name, m in magnitudes.items() if len(m) % 2 == 0]
save_table(pd.DataFrame(sharp, columns=["way", "value"]), out.figures, "02_up_sampling")
fourier.up_sampling(grey)

# %% tags=["sentences"]
sentences.show(sentences.values(saved_table(out.figures, "02_up_sampling"), "Sharpness of this image", by="way"))

# %% [markdown]
# First figure: above is a corner of each image, enlarged so that single pixels show; below is the spectrum of the whole
# image. Third column: in each corner of the plane is the fourth part of a copy, and at each side a half of one. The
# brightest place of a copy is its middle, which is the frequency zero of the small image: at the rim it becomes a
# **spectral peak**, a pattern that repeats every 2 pixels. A generator that enlarges twice can leave copies half way to
# the rim, too (a period of 4 pixels). To fill the gaps by nearest neighbour or bicubic is to filter, which weakens
# copies and the photograph's own high frequencies alike: what is left of both together, the sentence above says. A
# generator has a *learned* filter in this place. (A *transposed convolution* is zeros between and a learned filter, a
# *pixel shuffle* four of them in turn.) It has to do both, remove the copies and invent the high frequencies. So there
# are two kinds of traces to look for: peaks that are left, and too much or too little at high frequencies, which
# sharpness measures.
#
# ## Where do real and fake differ?
#
# One spectrum is noisy: it shows this image more than the way it was made. A mean over many images shows what
# they have in common. Images of one photograph are alike, so we first take the mean of each photograph (its
# **group**) and then the mean over photographs. The spread between photographs also tells how certain a mean
# is. We stay with ln |F| *without* the scaling of step 6, so that levels can be compared, and take the mean
# of the three channels.

# %%
names, kinds = index.get_level_values("domain"), index.get_level_values("class")
both = [name for name in domains if {*kinds[names == name]} == {"real", "fake"}]  # a domain of one class has no pair
means = {
    kind: np.stack([planes[(names == name) & (kinds == kind)].mean(0) for name in both]) for kind in ("real", "fake")
}
peaks = {kind: traces.local_excess(of_kind) for kind, of_kind in means.items()}
save_figure(figures.mean_spectra(means, peaks, both), out.figures, "02_mean_spectra")

# %% [markdown]
# A column is a domain; real images, left, are shown once, as the mean over the domains.
#
# *First row*, the mean spectra: bright in the middle, since photographs hold more slow change than fast, and often
# with a cross, since the opposite edges of an image do not match. *Second row*, fake minus real. White means no
# difference, red that the fakes have more of a frequency, blue that they have less. Large areas are detail that
# has changed: blue where the generator has smoothed the image, red where it has put in waves of its own. Two things
# can meet in one place: where a smooth fake has a grid, what is missing and what the grid adds may cancel, and the
# grid is white. So the *third row* shows the **peaks** alone: by how much each frequency stands out from the 24 around
# it. It is enlarged: of the upper right quarter of the plane the corner, with the rim (period 2) at the top and on the
# right. Red dots and lines there, or half way (period 4, at 0.5), are a grid. <!-- setting -->
#
# ## How certain is that?
#
# A picture of means hides how much photographs differ. We go round the plane in square rings of equal r, and take the
# mean of each ring: the plane becomes a curve, its **radial profile**. The last ring is the rim, with the corners of
# the plane. Is the difference between real and fake larger than the spread between photographs?

# %%
rings, curves = traces.radial_profile(planes)
curves = pd.DataFrame(curves, index, rings.round(4))
profiles = traces.means_over_groups(curves, ["domain", "class"], "r")
differences = traces.fake_minus_real(curves, "r")
save_table(profiles, out.figures, "02_radial_profiles")
save_table(differences, out.figures, "02_radial_differences")
save_figure(figures.radial_profiles(profiles, differences), out.figures, "02_radial_profiles")

# %% [markdown]
# Above: the profiles of real (solid) and fake (dashed), with a band that holds the mean with 95 % confidence.
# The width of the bands comes from how much photographs differ from each other. Below: the difference of each
# fake from the real image *of its own photograph*, again with its band. What is special to a photograph drops out of
# such a difference, so its band can be narrow where those above are wide. Where it stays away from zero, fakes differ
# from reals. See at which frequencies each domain leaves zero, and in which direction.
#
# ## Do the fakes have a grid?
#
# If a generator leaves a pattern that repeats every 2 pixels, the lines of the spectrum at period 2 (its rim)
# stand out from the lines beside them. The same holds for periods 4 and 8. We divide the magnitude on these
# lines by that beside them: a ratio of 1 means no grid. <!-- setting -->
#
# In the figure blue marks are the real images. They should stand at 1 for all three periods: a photograph knows no
# grid. (A JPEG file may show one at period 8, the size of its blocks; then both classes have it.) Orange marks to the
# right of 1 are fakes with a grid. Compare the domains: which have a grid that their real images have not, and at which
# period? An interval that contains 1 means that this measure does not show a grid, not that there is no trace; and of
# so many intervals some do not contain it by accident. (The *r* of the figure before at which real and fake are
# furthest apart is picked after a look at all of them, so its interval promises less than 95 %.) The cell after it puts
# the last two figures into words. <!-- setting -->

# %%
ratios = pd.DataFrame({period: traces.line_ratio(planes, period) for period in periods}, index)
grid = traces.means_over_groups(ratios, ["domain", "class"], "period")
grid[["value", "low", "high"]] = np.exp(grid[["value", "low", "high"]])
save_table(grid, out.figures, "02_grid_peaks")
save_figure(figures.grid_peaks(grid), out.figures, "02_grid_peaks")

# %% tags=["sentences"]
differences = saved_table(out.figures, "02_radial_differences")
distance = differences["value"].abs().fillna(0)
furthest = differences.loc[distance.groupby(differences["domain"], sort=False).idxmax()]
what = "Fake minus real in ln |F|, at the r where the two are furthest apart"
sentences.show(sentences.compared(furthest, what, by=["domain", "r"]))
grid = saved_table(out.figures, "02_grid_peaks")
sentences.show(
    sentences.compared(part, f"Lines of period {period} over those beside them, {kind} images", by="domain", line=1)
    for (kind, period), part in grid.groupby(["class", "period"])
)

# %% [markdown]
# ## Low, middle or high?
#
# Later notebooks can keep only a part of the spectrum (the option `band`). With the same r as above, *low* is
# r < 0.53, *mid* reaches to 0.81 and *high* from there to the rim. In which band do the fakes differ? <!-- setting -->
#
# A mark to the left of the dotted line: the fakes of this domain have lost magnitude in this band; to the right: they
# have more than the reals. A value of −0.1 means about 10 % less. <!-- example --> A fake shows the same things as its
# real image, so the very slowest waves must nearly agree; how far towards them a generator's work reaches differs from
# domain to domain. See in which band each domain is furthest from zero, and on which side. Two domains that change the
# same band in the same direction may look alike to a detector, and what it learns from one may help with the other.
# Where they differ, it has to learn again, and may unlearn what it knew.

# %%
bands = {band: planes[:, band_mask(options.size, options.size, band)].mean(1) for band in ("low", "mid", "high")}
levels = traces.fake_minus_real(pd.DataFrame(bands, index), "band")
save_table(levels, out.figures, "02_bands")
fig = figures.by_band(levels, label="fake − real, difference of mean ln |F|")
save_figure(fig, out.figures, "02_bands")

# %% tags=["sentences"]
sentences.show(
    sentences.compared(part, f"Fake minus real in mean ln |F|, band {band}", by="domain")
    for band, part in saved_table(out.figures, "02_bands").groupby("band", sort=False)
)

# %% [markdown]
# ## Does it take a network to see that?
#
# This is what a critic would ask: if fakes are simply blurred, one number finds them, and a network that finds them has
# shown nothing. So we climb a **ladder of baselines**, simple detectors that a network has to be above. Each rung
# learns from the training images of one domain and is tested on the test images of the same domain:
#
# 1. *file facts*: boosted trees that see what the file says (format, size, bytes; notebook 01), and no picture;
# 2. *sharpness*: a logistic regression (a weighted sum, turned into a probability) on that one number, that is, a
#    threshold;
# 3. *radial profile*: a logistic regression on the means of all rings.
#
# The measure is the AUC: the probability that a fake, drawn at random, gets a higher P(fake) than a real image, drawn
# at random; 0.5 is guessing. The intervals are over the photographs of the test. A panel is a domain. How far up does
# the first rung stand that is far from guessing? If it is a low one, a network on this domain shows that it can find
# what is easy to find.

# %%
split = next(part for part in ("test", "validation") if any(part in set(d.table["split"]) for d in domains.values()))
scores = simple_scores(options, domains, out.path, split=split)
ladder = cell_values(scores, "AUC", split=split).drop(columns="step").rename(columns={"agent": "rung"})
save_table(ladder, out.figures, "02_ladder")
save_figure(figures.ladder(ladder, label="AUC (dotted: guessing)"), out.figures, "02_ladder")

# %% tags=["sentences"]
ladder = saved_table(out.figures, "02_ladder")
sentences.show(
    sentences.compared(ladder[ladder["rung"] == FACTS], "AUC of the file's facts alone", by="domain", line=0.5),
    sentences.compared(ladder[ladder["rung"] == SHARPNESS], "AUC of sharpness alone", by="domain", line=0.5),
    sentences.compared(ladder[ladder["rung"] == PROFILE], "AUC of the radial profile", by="domain", line=0.5),
)

# %% [markdown]
# Where sharpness alone is above 0.5, that is no trick: a generator that blurs has left a trace. But it is one that a
# better generator need not leave, and that a blur of real images feigns (notebook 09).
#
# **Exercises.** Write the way from pixels to the input in [`log_spectrum`](exercises/log_spectrum.ipynb), put a grid
# into a photograph in [`up_sampling`](exercises/up_sampling.ipynb), and find one in
# [`generator_trace`](exercises/generator_trace.ipynb). (`make course` makes copies without the solutions.)
#
# **Next:** notebook 03 puts networks on top of this ladder, and counts what they forget.
