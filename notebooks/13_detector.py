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
# # 13 · Detector: one image, its spectrum, a verdict, and why
#
# **The idea.** P(fake) is not yet a verdict. In between stand a threshold, which weighs two errors against each other;
# a band in which the detector cannot say; and the question whether this image is of a kind that it knows at all. Here
# they are, for any image that you choose, with a picture of what the network has looked at.
#
# **What you will learn.** What a detector says of a single image, how sure it can be, and what its verdict cannot mean.
#
# **What you need.** Notebook [02](02_spectral_analysis.ipynb), to read a spectrum. Words:
# [detector](../docs/glossary.md#detector), [score](../docs/glossary.md#score),
# [threshold](../docs/glossary.md#threshold), [calibration](../docs/glossary.md#calibration),
# [Grad-CAM](../docs/glossary.md#grad-cam).
#
# **Reads** the run of MIR that notebook 07 writes with the same parameters; it is trained here if it is not there. The
# page reads the run of the detector that is in use, if there is one.
# **Writes** two figures to `runs/13_detector-…/figures/`. An image that you upload is not kept.
#
# **Time**: half a minute; two minutes if the run must be made first. `make detector` serves this
# notebook as a page, without its code.

# %% tags=["parameters"]
variant: str = "paper"  # whose defaults: the papers' or the original's
data: str = "mini"  # mini, mini-smoke, a data set of `cldf data`, or a folder
stream: list[str] = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake"]  # training domains, in order
unseen: list[str] = ["mini-NeuralTextures"]  # domains that are only tested
width: int = 24  # channels in the slim network's first stage
epochs: int = 10  # passes over each step's images
seed: int = 0  # of everything random
memory: int = 400  # images that may be remembered
replay: int = 32  # ER, MIR, DER++: remembered images in each update (DER++: in each of its two draws)

# %%
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+https://github.com/your_name_here/cldf")
from cldf_core.workflow.parameters import from_notebook

# Other options can be assigned above by their names, too; `cldf run 13 --options` lists them.
parameters = from_notebook("13_detector", globals())
options = parameters.options("mir")

# %%
import os
import tempfile
from pathlib import Path, PureWindowsPath

import ipywidgets as widgets
import torch
from IPython.display import Javascript, Markdown, display
from matplotlib.figure import Figure

from cldf_core import figures
from cldf_core.data.files import save_figure
from cldf_core.data.images import open_crop
from cldf_core.detection.detector import load_detector, share_of_fakes
from cldf_core.detection.in_use import in_use
from cldf_core.detection.score import score
from cldf_core.evaluation.attribution import grad_cam, share_for_fake
from cldf_core.interact.two_errors import two_errors
from cldf_core.runs.run import load_spectra, make_run
from cldf_core.spectrum import InputSpec

figures.theme()
out = parameters.folder

# %% [markdown]
# ## The detector
#
# A detector is more than a network. It has a **threshold**: the probability from which it says *fake*. It is
# **calibrated**, if there were validation images to do it with: of the images to which it gives 0.8, about eight in
# ten should be fakes. And near the threshold it says that it **cannot say**. <!-- example -->
#
# This notebook takes the detector that the parameters above train. The page takes the one that is in use (`cldf
# detector show`), if there is one.

# %%
on_page = any(name.startswith("VOILA_") for name in os.environ)  # served by `make detector`
run = (in_use() if on_page else None) or make_run(options, keep_state=True)
detector = load_detector(str(run.path))
validation = run.scores().query("split == 'validation' and step == step.max()")
validation = validation[validation["domain"].isin(detector.trained_on)]
says = "\n".join(f"* {note}" for note in detector.notes)
Markdown(
    f"Trained on: {', '.join(detector.trained_on)}. Threshold: {detector.threshold} ({detector.threshold_from}). "
    f"Cannot say: P(fake) between {detector.band[0]:.2f} and {detector.band[1]:.2f}.\n\n{says}"
)

# %% [markdown]
# Take the sentences above seriously. A detector knows the kinds of fakes that it has learned, and photographs like
# those that it has seen. For any other image it still gives a number, and the number may be wrong with great
# confidence.
#
# A threshold is a choice between two errors: a real image that is called fake (a *false alarm*), and a fake that is
# *missed*. Which is worse depends on who asks, and how many fakes are among the images. The figure has the validation
# images of the detector: left its ROC curve, one point for each threshold; right what the errors cost. Predict: if one
# image in a hundred is a fake, and a missed fake costs as much as a false alarm, where is the cheapest
# threshold? <!-- setting -->
#
# <details><summary>Answer (move the sliders first)</summary>
#
# Far up: false alarms come from the many real images, so even a small share of them outweighs the few fakes. Where no
# threshold is cheaper than the dotted line, it would be cheaper not to have a detector at all, and call everything
# real. The dashed line goes through all errors that cost the same: a cheaper threshold lies above it.
#
# </details>

# %%
if validation["label"].nunique() == 2:
    display(two_errors(validation["label"], detector.probability(validation["logit"]), detector.threshold))
else:
    print("There are no validation images of both classes, so there is no curve.")

# %%
o = detector.options
spec = InputSpec.from_options(o)


def examine(path: Path) -> Figure | None:
    """Prints what the detector says of an image, and draws what it has looked at; says why if it cannot."""
    said = score([path], detector, progress=False).iloc[0]
    if said["reason"]:
        what = ": cannot say" if said["verdict"] else " cannot be scored"
        print(f"{path.name}{what}: {said['reason']}")
        return None
    print(f"{path.name}: {said['verdict']}, P(fake) = {said['probability']:.3f}")
    near = share_of_fakes(detector, validation, said["probability"])
    print(near or "There are too few validation images with a P(fake) like this to tell how often it is right.")
    pixels = open_crop(path, spec)
    read = torch.from_numpy(spec.network_input(pixels[None])).float()
    evidence = grad_cam(detector.network, read.to(o.device))[0].cpu().numpy()
    print(f"Of the evidence in the picture {share_for_fake(evidence):.0%} is red, which is not the verdict.")
    line = {"threshold": detector.threshold, "band": detector.band, "frequencies": spec.feature == "spectrum"}
    return figures.explained(pixels, read[0].numpy(), evidence, said["probability"], **line)


# %% [markdown]
# ## Your image
#
# Choose a JPEG or PNG file. It is cropped in the middle, never enlarged, so it must be at least as large as what the
# network reads. In JupyterLab you can give its path instead; the page has no field for it, as it would open the
# server's files to its visitors.

# %%
LIMIT = 50  # MB of an upload: it is one message of the browser's, and server/ bounds these
upload = widgets.FileUpload(accept=".jpg,.jpeg,.png", multiple=False, description="Choose an image")
upload.layout.width = "16em"
result = widgets.Output()
# What is larger must not be sent, as the connection would break without a word; the widget reports what is thrown.
guard = """{
    const reader = FileReader.prototype;
    reader.readAny ??= reader.readAsArrayBuffer;
    reader.readAsArrayBuffer = function (file) {
        if (file.size > LIMIT * 1e6) throw `${file.name} is larger than LIMIT MB`;
        return this.readAny(file);
    };
}"""
display(Javascript(guard.replace("LIMIT", str(LIMIT))))


def show(path: Path) -> None:
    with result:
        if figure := examine(path):
            display(figure)


# %%
def uploaded(change: dict) -> None:
    for file in change["new"]:
        result.clear_output()
        upload.value = ()  # nothing is kept, and the same file can be chosen again
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PureWindowsPath(file["name"]).name  # a name, whatever signs a browser sends
            path.write_bytes(file["content"])
            show(path)


def refused(change: dict) -> None:
    if change["new"]:  # the next upload takes it back
        result.clear_output()
        with result:
            print(change["new"])


def named(change: dict) -> None:
    result.clear_output()
    if text := change["new"].strip():
        show(Path(os.path.expanduser(text)))


# %%
upload.observe(uploaded, names="value")
upload.observe(refused, names="error")
choice = [upload, widgets.Label(f"at most {LIMIT} MB")]
if not on_page:  # a visitor could write into a field that is hidden, too
    field = widgets.Text(placeholder="or the path of one of any size, and Enter", continuous_update=False)
    field.layout.width = "24em"
    field.observe(named, names="value")
    choice.append(field)
display(widgets.VBox([widgets.HBox(choice), result]))

# %% [markdown]
# ## How to read it
#
# *Left*: the part of the image that is looked at. *Middle*: all that the network reads, by default half of the spectrum
# (the other half mirrors it); slow changes are where both frequencies are 0, fast ones far from there (notebook 02).
# *Right*: where in it the network finds evidence. The maps of an inner layer are weighted by how much each of them
# raises the logit of fake, and added up (Grad-CAM; Selvaraju et al., ICCV 2017). Red frequencies speak for a fake,
# blue ones for a real image, white ones for neither. Each block is one cell of the layer: it is a coarse picture of
# *where*, and does not say *what* is there. *Below*: P(fake), the threshold (dotted), and the band in which the
# detector does not decide.
#
# **The picture is not the verdict, and no proof of it.** It adds up how one inner layer speaks; what the later layers
# make of that, and the constants that they add, are not in it. So a picture that is mostly blue can stand above a fake
# that the detector is sure of, and a mostly red one above the verdict *real*. The line above each figure says how much
# of it is red.
#
# Here are a real image and the fake that was made from it. They are validation images, which no network was trained on
# (where a data set has none, training images): who looks at test images begins to tune by them.

# %%
domain = load_spectra(o)[o.stream[0]]
looked_at = "validation" if "validation" in set(domain.table["split"]) else "train"
table = domain.table[domain.table["split"] == looked_at]
for label, name in enumerate(("13_real", "13_fake")):
    row = table[table["label"] == label].iloc[0]
    print(f"This one is {('a real image', 'a fake')[label]}:")
    if figure := examine(domain.root / row["image"]):
        save_figure(figure, out.figures, name)

# %% [markdown]
# Compare the two pictures on the right, each of which has a scale of its own beside it: where does the evidence in the
# fake differ from that in the real image, from which it was made? And compare the two verdicts with the truth, which
# you know here. For your own image you do not, and that is why the sentence about the validation images stands beside
# the verdict. What the network looks at in many images is in notebook 10; a single picture can mislead.
#
# **Exercise.** Of 10,000 images 100 are fakes. <!-- example --> How many of those that the detector calls fake are
# fakes? Read false alarms and missed fakes at 0.5 from the figure above, compute it by hand, and compare with
# `error_rates(validation["label"], detector.probability(validation["logit"]), [0.5])` of
# `cldf_core.interact.two_errors` in place of what you have read.
