"""Detectors of other people: a Python file of theirs, or a network of timm with their weights, says P(fake)."""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.data.console import counted, progress_bar
from cldf_core.data.images import ImageProblem
from cldf_core.detection import timm_network, user_file
from cldf_core.detection.detector import Verdicts, check_band, edges
from cldf_core.detection.labels import text_of
from cldf_core.detection.score import COLUMNS, no_file
from cldf_core.evaluation.metrics import declared_threshold
from cldf_core.options import UserError, shown

TIMM = "timm:"  # before the name of a network of timm


@dataclass(frozen=True)
class Foreign(Verdicts):
    """Somebody's detector, of which nothing is known but what it says of files."""

    call: Callable[[Sequence[str]], list[Any]]  # from absolute paths to what should be P(fake) of each
    at_once: int  # the largest number of paths in a call
    function: str  # the name of what is called
    name: str  # where it came from
    agent: str  # the name of its file, without the ending
    code: Path | None = None  # the Python file of the one who wrote it
    trained_on: tuple[str, ...] = ()  # which nobody tells

    @property
    def calibration(self) -> str:
        """Whether P(fake) is calibrated, in words."""
        return "as it is given; whether it is calibrated is not known"


def is_foreign(model: str) -> bool:
    """Whether a --model is a Python file or a network of timm."""
    return model.startswith(TIMM) or model.endswith(".py")


def load_foreign(
    model: str, *, weights: Path | None = None, threshold: str | float = 0.5, band: float = 0.1
) -> Foreign:
    """A detector from a Python file or from timm; its code runs with the rights of whoever calls this.

    Args:
        model: FILE.py, see `user_file.load`, or timm:NAME, see `timm_network.load`.
        weights: of timm's network.
        threshold, band: as `load_detector` takes them, but "validation".

    Raises:
        UserError: the file or timm cannot be used, or a value is not allowed.
    """
    declared = declared_threshold(threshold)
    check_band(band)
    if declared is None:
        raise UserError(
            f"--threshold is 'validation', but {model} comes without validation scores; allowed: a number from 0 to 1; "
            "cldf metrics --threshold validation fits one on the validation images of the table that --out writes"
        )
    judging: dict[str, Any] = {"threshold": declared, "band": edges(declared, band)}
    if model.startswith(TIMM):
        call, path, notes = timm_network.load(model.removeprefix(TIMM), weights)
        at_once, name = timm_network.AT_ONCE, f"{model}, {text_of(os.path.abspath(path))}"
        return Foreign(call, at_once, "the network", name, text_of(path.stem), notes=notes, **judging)
    path = Path(os.path.abspath(os.path.expanduser(model)))
    call, function, at_once = user_file.load(path)
    return Foreign(call, at_once, function, text_of(path), text_of(path.stem), path, **judging)


def score_foreign(files: Sequence[Path], detector: Foreign, *, progress: bool | None = None) -> pd.DataFrame:
    """Scores images by somebody's detector: a table as that of `score.score`, with logits that are not known (NaN).

    Where the detector raises an error, or gives what is no P(fake), the reason says so, and the others go on. Of a call
    with several images that fails, each is asked for alone.
    """
    answers: list[float | str] = [no_file(file) for file in files]
    usable = [number for number, answer in enumerate(answers) if not answer]
    with progress_bar(len(files), progress=progress) as bar:
        bar.update(len(files) - len(usable))
        for start in range(0, len(usable), detector.at_once):
            chosen = usable[start : start + detector.at_once]
            found = _answers(detector, [os.path.abspath(files[number]) for number in chosen])
            for number, answer in zip(chosen, found, strict=True):
                answers[number] = answer
            bar.update(len(chosen))
    reasons = [answer if isinstance(answer, str) else "" for answer in answers]
    probability = np.array([np.nan if isinstance(answer, str) else answer for answer in answers], float)
    verdicts = ["" if reason else detector.verdict(p) for p, reason in zip(probability, reasons, strict=True)]
    logits = np.full(len(files), np.nan)
    values = ([*map(text_of, files)], logits, probability, verdicts, reasons)
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))


def _answers(detector: Foreign, paths: list[str]) -> list[float | str]:
    """P(fake) of each path, or the reason why there is none."""
    try:
        values = detector.call(paths)
        if len(values) == len(paths):
            return [_number(value, detector.function) for value in values]
        reason = f"{detector.function} gives {counted(len(values), 'value')} for {counted(len(paths), 'image')}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever somebody's code makes of an image must not end the work
        reason = user_file.told(error, detector.code)
    return [reason] if len(paths) == 1 else [answer for path in paths for answer in _answers(detector, [path])]


def _number(value: Any, function: str) -> float | str:
    """P(fake) as a number, also from an array or a tensor of one; or the reason why it is none."""
    if isinstance(value, ImageProblem):
        return str(value)
    what = shown(value) if isinstance(value, (str, type(None))) else f"a value of type {type(value).__name__}"
    if not isinstance(value, (str, bytes)):  # which float would read
        with contextlib.suppress(Exception):  # of whatever else somebody gives, such as an array of two numbers
            number = float(value.item() if hasattr(value, "item") else value)
            if 0 <= number <= 1:
                return number
            what = str(number)
    return f"{function} gives {what}; needed: P(fake), a number from 0 to 1"
