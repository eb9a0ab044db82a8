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
# **You will learn** what the spectrum of an image is, how the network's input is computed from pixels, why
# half of it is enough, and where in it fakes differ from real images.
#
# **Reads** the training images of the data set named by `data` (cldf-mini is made the first time, one to two
# minutes).
# **Writes** five figures and four tables into `runs/02_spectral_analysis-…/figures`.
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
from cldf_core.workflow.parameters import from_notebook

parameters = from_notebook("02_spectral_analysis", globals())
options = parameters.options()

# %%
import numpy as np
import pandas as pd

from cldf_core import figures
from cldf_core.data.domains import SPLITS
from cldf_core.data.files import save_figure, save_table
from cldf_core.data.images import crop, open_image
from cldf_core.data.layouts.read import data_folder
from cldf_core.evaluation.seeds import t_interval
from cldf_core.evaluation.traces import line_ratio, radial_profile
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
# pixels, 1/2 a period of 4, and 1/4 a period of 8.
#
# The strength of a wave is its **magnitude**, written |F|. A spectrum is a picture of all magnitudes, with a
# place for each horizontal and vertical frequency.
#
# ## From pixels to the network's input
#
# How does a spectrum arise from one image, step by step? We take a training image and do by hand what the
# package does in one call.

# %%
folder = data_folder(options.data)
domains = load_spectra(options)


def pixels(images):
    """The centre of each image: uint8, shape (N, 3, size, size)."""
    return np.stack([crop(open_image(folder / image), options.size) for image in images])


tables = {}
for name, spectra in domains.items():
    split = next(split for split in SPLITS if split in set(spectra.table["split"]))  # train, where there is one
    parts = [part for _, part in spectra.table[spectra.table["split"] == split].groupby("label")]
    counts = [min(len(part), options.limit or len(part)) for part in parts]
    rngs = [generator(options.seed, "illustration", "02", name) for _ in parts]  # the same draw: pairs stay together
    tables[name] = pd.concat(p.sample(n, random_state=rng) for p, n, rng in zip(parts, counts, rngs, strict=True))
fakes = tables[options.stream[0]].query("label == 1")["image"]
largest = max(fakes, key=lambda image: (folder / image).stat().st_size)  # a large file has much detail
example = pixels([largest])[0]

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
    "3 magnitude |F|": magnitude,
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
# 1. The image, a fake of the first domain.
# 2. One of its three colour channels; each is treated in the same way.
# 3. The magnitudes. One of them, frequency zero in the top left corner (the image's mean brightness), is so
#    large that all others look like zero.
# 4. Their **logarithm** shows large and small values together: adding 1 to ln |F| means 2.7 times the
#    magnitude. Frequency zero is still in the corner, and the fastest waves are in the middle.
# 5. For drawing, the quarters are swapped (*shifted*), so that frequency zero is in the middle and the
#    fastest waves are at the rim. The network does not need this.
# 6. The values are scaled so that dark and bright images become alike. The 5th **percentile** (5 % of the
#    values are below it) becomes −1, the 95th becomes 1, and what lies outside is cut off.
# 7. Half of the columns. This is what the network reads of this channel.
#
# Does the package compute the same?

# %%
difference = np.abs(log_spectrum(example[None])[0, 0] - half).max()
print(f"largest difference between steps 1 to 7 and log_spectrum: {difference:.1e}")
assert difference < 2e-3

# %% [markdown]
# The package computes in single precision, so a tiny difference is left.
#
# ## Why is half enough?
#
# Pixels are real numbers. A wave that runs to the right and the same wave that runs to the left are then the
# same stripes, and have the same magnitude: the spectrum is *point-symmetric* about frequency zero. So one
# half of the plane, with the column of frequency zero and that of Nyquist, tells the other half. If that is
# true, mirroring the half must give the full plane back, value for value.

# %%
restored = mirror(half)
print(f"half: {half.shape}, mirrored: {restored.shape}, largest difference: {np.abs(restored - scaled).max():.1e}")
assert np.allclose(restored, scaled)

# %% [markdown]
# Nothing is lost, and the network has half the work.
#
# ## Where do real and fake differ?
#
# One spectrum is noisy: it shows this image more than the way it was made. A mean over many images shows what
# they have in common. Images of one photograph are alike, so we first take the mean of each photograph (its
# **group**) and then the mean over photographs. The spread between photographs also tells how certain a mean
# is. We stay with ln |F| *without* the scaling of step 6, so that levels can be compared, and take the mean
# of the three channels.

# %%
rows = []
for name, table in tables.items():
    for (label, group), part in table.groupby(["label", "group"]):
        plane = log_magnitude(pixels(part["image"])).mean((0, 1))
        rows.append((name, ("real", "fake")[label], group, plane))
index = pd.MultiIndex.from_tuples([row[:3] for row in rows], names=["domain", "class", "group"])
planes = np.stack([row[3] for row in rows])
pd.Series(1, index).groupby(["domain", "class"], sort=False).sum().unstack().rename_axis(columns="photographs (groups)")

# %%
names, kinds = index.get_level_values("domain"), index.get_level_values("class")
real, fake = (
    np.stack([planes[(names == name) & (kinds == kind)].mean(0) for name in domains]) for kind in ("real", "fake")
)
fig = figures.mean_spectra({"real": real, "fake": fake, "fake − real": fake - real}, list(domains))
save_figure(fig, out.figures, "02_mean_spectra")

# %% [markdown]
# A column is a domain. The upper two rows share one colour scale: bright in the middle, since photographs
# hold more slow change than fast, and often with a faint cross, since the opposite edges of an image do not
# match. The last row is fake minus real. White means no difference, red that the fakes have more of a
# frequency, blue that they have less.
#
# Look for two things. *Dots and lines* at regular places (the rim, half way to it) are the **grid artefact**;
# its dots are called **spectral peaks**. A generator that enlarges an image in steps of 2 leaves a pattern
# that repeats every 2, 4 or 8 pixels. *Large areas* are detail that has changed: blue where the generator has
# smoothed the image, red where it has put in waves of its own. A domain whose last row is nearly white has
# left little trace in the mean spectrum, and may be harder to detect: changing only a part of the crop
# weakens the trace.
#
# ## How certain is that?
#
# A picture of means hides how much photographs differ. We go round the plane in rings of equal distance from
# frequency zero, and take the mean of each ring: the plane becomes a curve, its **radial profile**. Is the
# difference between real and fake larger than the spread between photographs?


# %%
def with_interval(values):
    """Mean over photographs and its 95 % t interval (the formula that serves for several seeds, too)."""
    return pd.Series(t_interval(values.dropna().to_numpy()), ["value", "low", "high"])


def minus_real(table):
    """Fake minus real of the same photograph; where there is none, minus the mean of the domain's reals."""
    real, fake = table.xs("real", level="class"), table.xs("fake", level="class")
    means = real.groupby(level="domain").mean().reindex(fake.index, level="domain")
    return fake - real.reindex(fake.index).combine_first(means)


def summary(table, by, name):
    """One row per entry of `by` and column of the table, with mean and interval."""
    long = table.rename_axis(columns=name).stack().groupby([*by, name], sort=False)
    return long.apply(with_interval).unstack().reset_index()


# %%
rings, curves = radial_profile(planes)
curves = pd.DataFrame(curves, index, rings)
profiles = summary(curves, ["domain", "class"], "r")
differences = summary(minus_real(curves), ["domain"], "r")
save_table(profiles, out.figures, "02_radial_profiles")
save_table(differences, out.figures, "02_radial_differences")
fig = figures.radial_profiles(profiles, differences)
save_figure(fig, out.figures, "02_radial_profiles")

# %% [markdown]
# Above: the profiles of real (solid) and fake (dashed), with a band that holds the mean with 95 % confidence.
# The width of the bands comes from how much photographs differ from each other. Below: the difference of each
# fake from the real image *of its own photograph*, again with its band. It is narrower at most frequencies,
# because what is special to a photograph drops out. Where the band stays away from zero, fakes differ from
# reals. See at which frequencies each domain leaves zero, and in which direction.
#
# ## Do the fakes have a grid?
#
# If a generator leaves a pattern that repeats every 2 pixels, the lines of the spectrum at period 2 (its rim)
# stand out from the lines beside them. The same holds for periods 4 and 8. We divide the magnitude on these
# lines by that beside them: a ratio of 1 means no grid.

# %%
periods = [period for period in (2, 4, 8) if options.size % period == 0]
ratios = pd.DataFrame({period: line_ratio(planes, period) for period in periods}, index)
peaks = summary(ratios, ["domain", "class"], "period")
peaks[["value", "low", "high"]] = np.exp(peaks[["value", "low", "high"]])
save_table(peaks, out.figures, "02_grid_peaks")
fig = figures.grid_peaks(peaks)
save_figure(fig, out.figures, "02_grid_peaks")

# %% [markdown]
# The blue marks are the real images. They should stand at 1 for all three periods: a photograph knows no
# grid. (A JPEG file may show one at period 8, the size of its blocks; then both classes have it.) Orange
# marks to the right of 1 are fakes with a grid. Compare the domains: which have a grid, and at which period?
# An interval that contains 1 means that this measure finds no grid, not that there is no trace.
#
# ## Low, middle or high?
#
# Later notebooks can keep only a part of the spectrum (the option `band`). With r the larger one of
# horizontal and vertical frequency, *low* is r < 0.53, *mid* reaches to 0.81 and *high* from there to the
# rim. In which band do the fakes differ?

# %%
bands = {band: planes[:, band_mask(options.size, options.size, band)].mean(1) for band in ("low", "mid", "high")}
levels = summary(minus_real(pd.DataFrame(bands, index)), ["domain"], "band")
save_table(levels, out.figures, "02_bands")
fig = figures.by_band(levels, label="fake − real, difference of mean ln |F|")
save_figure(fig, out.figures, "02_bands")

# %% [markdown]
# A mark to the left of the dotted line: the fakes of this domain have lost magnitude in this band; to the
# right: they have more than the reals. A value of −0.1 means about 10 % less. A fake shows the same things as
# its real image, so the very slowest waves must agree; how far towards them a generator's work reaches differs
# from domain to domain. See in which band each domain is furthest from zero, and on which side. Two domains
# that change the same band in the same direction look alike to a detector, and what it learns from one may
# help with the other. Where they differ, it has to learn again, and may unlearn what it knew.
#
# **Next:** notebook 03 trains detectors on these spectra and counts what they forget.
