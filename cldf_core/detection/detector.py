"""Detectors: networks that were trained before, with a threshold, a calibration, and notes on their limits."""

import os
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from scipy.special import expit

from cldf_core.data.mini.build import EMBEDDED
from cldf_core.data.runtime import project_root
from cldf_core.detection.labels import text_of
from cldf_core.detection.pth import ASSUMED, in_file_names, read_checkpoint
from cldf_core.evaluation.calibration import fit_temperature, trained_on
from cldf_core.evaluation.metrics import best_threshold, declared_threshold
from cldf_core.evaluation.proportions import Proportion, intervals
from cldf_core.options import Options, UserError, shown
from cldf_core.protocol import score_samples
from cldf_core.resnet import Network
from cldf_core.results.score_tables import run_options
from cldf_core.runs.checkpoints import load_network, stored_options
from cldf_core.runs.folder import RunFolder, named_path
from cldf_core.stream import Samples

NEAR, LEAST = 0.05, 20  # the largest distance of a P(fake) "like this one", and how many images have to be so near


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What turns P(fake) into verdicts, and what to know of them."""

    threshold: float = 0.5  # the P(fake) from which the verdict is "fake"
    threshold_from: str = "declared"  # the origin of the threshold, in words
    temperature: float | None = None  # divides logits, so that P(fake) is calibrated; None where it is not
    band: tuple[float, float] | None = None  # between these P(fake), both excluded, the verdict is "cannot say"
    notes: tuple[str, ...] = ()  # sentences about the detector's limits

    @property
    def calibration(self) -> str:
        """Whether P(fake) is calibrated, in words."""
        how = f"calibrated on validation images (temperature {self.temperature or 1:.3g})"
        return how if self.temperature else "not calibrated"

    def verdict(self, probability: float) -> str:
        """One of "fake", "real" and "cannot say", which is also that of NaN."""
        if np.isnan(probability):
            return "cannot say"
        if self.band and self.band[0] < probability < self.band[1]:
            return "cannot say"
        return "fake" if probability >= self.threshold else "real"


@dataclass(frozen=True)
class Detector(Verdicts):
    """A network that was trained before, and what turns its outputs into verdicts."""

    network: Network  # in evaluation mode, on the device that it runs on
    options: Options  # of the run that it comes from; they say how images are prepared
    name: str  # where it came from
    trained_on: tuple[str, ...]  # the domains that it has seen; empty where these are not known

    @property
    def agent(self) -> str:
        """The agent that trained the network."""
        return self.options.agent

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """P(fake) = sigmoid(logit / temperature), shape as given."""
        return expit(logits / (self.temperature or 1.0))


def load_detector(model: str, *, step: int | None = None, threshold: str | float = 0.5, band: float = 0.1) -> Detector:
    """A detector from a run, or from a file with weights.

    Args:
        model: a run's folder or its name in runs/, a model-step<k>.safetensors or a .pth file.
        step: of a run, from 1; None takes the last.
        threshold: the P(fake) from which the verdict is "fake"; "validation" takes the one with the best balanced
            accuracy on the validation images of the domains seen so far.
        band: closer to the threshold than this, the verdict is "cannot say"; 0 has no band.

    Raises:
        UserError: no such model or step, a value that is not allowed, or a model that cannot be used as it is.
    """
    declared = declared_threshold(threshold)
    check_band(band)
    path = _file_of(model, step)
    detector = _detector(path)
    if getattr(detector.options, "verdict", "") == "nearest-mean" and detector.network.means is None:
        raise UserError(
            f"{detector.name} gives its verdict by the means of exemplars, which its file does not hold; allowed: a "
            "model-step<k>.safetensors of iCaRL, or a .pth file of another agent"
        )
    validation = _validation(path, detector)
    note = "P(fake) is not calibrated: no temperature is best for validation scores all right, or mostly wrong"
    if validation is None:
        note = "P(fake) is not calibrated: the model comes without validation scores of both classes"
        if declared is None:
            raise UserError(
                f"--threshold is 'validation', but {detector.name} comes without validation scores of both classes; "
                "allowed: a number from 0 to 1"
            )
    else:
        logits, labels = validation["logit"].to_numpy(), validation["label"].to_numpy()
        detector = replace(detector, temperature=fit_temperature(logits, labels))
        if detector.temperature is not None:
            like = f"images like the {len(labels)} validation ones, of which {labels.mean():.0%} are fake"
            note = f"P(fake) is calibrated for {like}"
        if declared is None:
            declared, accuracy = best_threshold(detector.probability(logits), labels)
            words = f"best on {len(labels)} validation images of these domains, balanced accuracy {accuracy:.3f}"
            detector = replace(detector, threshold_from=words)
    return replace(detector, threshold=declared, band=edges(declared, band), notes=(*detector.notes, note))


def check_band(band: float) -> None:
    """Raises a UserError for a band that is none."""
    if not 0 <= band < 0.5:
        raise UserError(f"--band is {band}; allowed: a number from 0 and below 0.5")


def edges(threshold: float, band: float) -> tuple[float, float] | None:
    """The P(fake) between which a detector cannot say; None where the band is 0."""
    return (threshold - band, threshold + band) if band else None


def validation_scores(model: str, *, step: int | None = None) -> pd.DataFrame:
    """The columns label, logit, group and detector of validation images of the domains that a detector had seen.

    Arguments as for `load_detector`. A UserError says that there is no such model, or that it comes without them.
    """
    path = _file_of(model, step)
    if (scores := _validation(path, detector := _detector(path))) is None:
        raise UserError(f"{detector.name} comes without validation scores of both classes; needed: a run that has them")
    return scores.assign(detector=detector.name)


def share_of_fakes(detector: Detector, validation: pd.DataFrame, probability: float) -> str:
    """How often images with a P(fake) within NEAR of this one were fakes, in words; "" where they are fewer than LEAST.

    The table of validation images has the columns logit (of fake), label (0 or 1) and group. The sentence has the 95 %
    interval of as many images as their groups are worth (see `evaluation.proportions`).
    """
    near = validation[np.abs(detector.probability(validation["logit"].to_numpy(float)) - probability) <= NEAR]
    if (count := len(near)) < LEAST:
        return ""
    fakes, groups = near["label"].to_numpy() == 1, pd.factorize(near["group"])[0]
    share = Proportion.from_images(fakes, groups, np.full(count, 1 / count))
    low, high = (end.item() for end in intervals([share]))
    return (
        f"Of {count} validation images with a P(fake) within {NEAR} of it, {share.share:.0%} were fakes "
        f"(95 % interval {low:.0%} to {high:.0%})."
    )


def _file_of(model: str, step: int | None) -> Path:
    """The file of a network: that of a run after a step, by default the last, or the one that is named."""
    path = named_path(model)
    if os.path.isdir(path):
        run = RunFolder(path)
        run_options(run)  # a UserError where there is no finished run
        names = {*run.files, *(file.name for file in path.glob("model-step*.safetensors"))}
        files = {k: path / name for name in names if (k := _step_of(Path(name)))}
        if not files:
            raise UserError(f"{path} holds no network; needed: model-step<k>.safetensors")
        if step is not None and step not in files:
            raise UserError(f"--step is {step}; allowed for {path}: a whole number from 1 to {max(files)}")
        return files[step or max(files)]
    if step is not None:
        raise UserError(f"--step is {step}, but {path} is no run's folder; allowed: no --step")
    if not os.path.isfile(path) or path.suffix not in (".safetensors", ".pth"):
        raise UserError(
            f"--model is {shown(model)}; allowed: a run's folder or its name in {project_root() / 'runs'}, a "
            "model-step<k>.safetensors, or a .pth file"
        )
    return path


def _step_of(path: Path) -> int:
    """The step in the name of a network's file; 0 in any other name."""
    found = re.fullmatch(r"model-step(\d+)", path.stem)
    return int(found[1]) if found else 0


def _detector(path: Path) -> Detector:
    """The network of a file, with notes on its training from its options and its name."""
    if path.suffix == ".pth":
        network, options, known = read_checkpoint(path)
        # `cldf train` names its files after the domain; those of others do not hold our options.
        called = in_file_names(path.name)
        names = [k for k, name in enumerate(options.stream, start=1) if f"_{in_file_names(name)}_" in called]
        step = max(names, default=0, key=lambda k: len(options.stream[k - 1]))
    else:
        try:
            network, options = load_network(path)
        except UserError:
            raise
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
            raise UserError(f"{path} holds no network that this version can read") from None
        step, known = _step_of(path), True
    notes = []
    if not known:
        notes += [f"{ASSUMED}; were it the other way round, P(fake) would be 1 minus the one given"]
        notes += ["nor does it tell how images were prepared for it: they are as the original code did it"]
    if known and options.data in EMBEDDED:
        notes.append(
            "it was trained on crops of some dozen photographs and fakes of small generators (the embedded "
            "benchmark): its verdict about any other image says nothing reliable"
        )
    else:
        notes.append("its verdict about fakes of other kinds than those that it was trained on is not reliable")
    if options.test_jpeg or options.test_resize:
        notes.append("its run changed images (test_jpeg, test_resize) before it scored them; here they are as they are")
    seen = tuple(trained_on(options.agent, options.stream, step)) if known else ()
    root, whole = project_root(), path.resolve()
    name = text_of(whole.relative_to(root).as_posix() if whole.is_relative_to(root) else os.path.abspath(path))
    return Detector(on_device(network, options), options, name, seen, notes=tuple(notes))


def on_device(network: Network, options: Options) -> Network:
    """Moves a network to the GPU if its run asked for one and there is one here."""
    return network.to("cuda" if options.device == "cuda" and torch.cuda.is_available() else "cpu")


def _validation(path: Path, detector: Detector) -> pd.DataFrame | None:
    """Label, logit and group of validation images of the domains seen so far, from the run in whose folder the file is.

    None if the file comes from another run, or if a class is missing.
    """
    run = RunFolder(path.parent)
    try:
        options = run_options(run)
    except UserError:  # the file lies alone, or beside something else
        return None
    if stored_options(options).model_dump() != detector.options.model_dump():
        return None
    scores = run.scores()
    chosen = (scores["step"] == _step_of(path)) & (scores["split"] == "validation")
    scores = scores.loc[chosen & scores["domain"].isin(detector.trained_on), ["label", "logit", "group"]]
    return scores if scores["label"].nunique() == 2 else None


def logits_of(network: Network, options: Options, inputs: np.ndarray) -> np.ndarray:
    """Logits of fake, float64, shape (N,), part by part, as the agent that trained the network computes them.

    `inputs` is what the network reads, shape (N, 3, H, W), from `InputSpec.network_input`; of the options,
    mixed_precision counts. The network is used in evaluation mode and left as it was.
    """
    score = partial(network.score, mixed_precision=options.mixed_precision)
    return score_samples(score, Samples.from_array(inputs, np.zeros(len(inputs))))
