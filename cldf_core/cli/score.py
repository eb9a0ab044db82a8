"""`cldf score`: P(fake) and a verdict for images of any kind, printed or written to a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cldf_core.cli.numbers import WORKERS, real, whole
from cldf_core.cli.output import add_flags, chosen_format, opened
from cldf_core.data.console import counted, printable
from cldf_core.data.runtime import project_root

if TYPE_CHECKING:  # `cldf score --help` does not wait for these
    import pandas as pd

    from cldf_core.detection.detector import Detector
    from cldf_core.detection.foreign import Foreign

BAND = real("a number from 0 and below 0.5", lambda value: 0 <= value < 0.5)
FORMATS = ("table", "csv", "json")
EXITS = "Exit status: 0 if all images were scored, 3 if some could not be, 1 if none could, 2 for a wrong call."
MODEL = (
    "a run's folder or name, a .safetensors or .pth file (default: the detector in use, else that of notebook 07). Or "
    "a detector of somebody else: FILE.py with a function predict(path), which gives P(fake) of an image, or "
    "predict_batch(paths), which gives those of up to 64; its code is trusted, and runs with all your rights. Or "
    "timm:NAME with --weights: of two outputs the second is taken for fake, a single one for the logit of fake"
)
NOT_SHOWN = ("network", "options", "call", "at_once", "function", "code")  # of a detector, in JSON


def add_command(subparsers: Any) -> None:
    """Adds `cldf score` with its flags."""
    about = f"Prints P(fake) and a verdict for any images. {EXITS}"
    parser = subparsers.add_parser("score", help="P(fake) and a verdict for images of any kind", description=about)
    add = parser.add_argument
    named = "images, folders of images, patterns, a data set of cldf data, or a domain of one, as ffpp:Deepfakes"
    add("files", nargs="+", metavar="FILE|FOLDER|GLOB", help=named)
    add("--model", help=MODEL)
    add("--weights", type=Path, metavar="FILE", help="a state dict for timm:NAME, .safetensors or .pth")
    add("--step", type=whole(1, 10_000), help="of the run, from 1 (default: the last)")
    add("--threshold", default="0.5", help="P(fake) from which it is fake, or: validation (default: 0.5)")
    add("--band", type=BAND, default=0.1, help="closer to the threshold than this: cannot say (default: 0.1)")
    add_flags(parser, FORMATS, "; cldf metrics reads the .csv, where labels are known or filled in")
    add("--workers", type=WORKERS, help="threads that read images for a network of cldf (default: one a processor)")
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Scores the images that the command line names, and prints the result; returns 0, 3 or 1, as EXITS says."""
    form = chosen_format(parsed, FORMATS, parsed.files)
    from cldf_core.detection.foreign import is_foreign
    from cldf_core.detection.labels import with_labels
    from cldf_core.detection.score import files_of

    console = sys.stdout if form == "table" else sys.stderr
    left_out: list[str] = []
    files = files_of(parsed.files, note=left_out.append)
    detector, score = _loaded(parsed)
    with opened(parsed.out, form) as write:
        print(heading := _heading(detector), file=console, flush=True)
        scores = score(files)
        if form == "table":
            write(heading * bool(parsed.out) + _lines(scores))
        else:
            table = with_labels(scores, files, parsed.files)
            if is_foreign(parsed.model or ""):  # a table of ours is called as its file is
                table = table.assign(agent=detector.agent)
            if count := int(table["label"].isna().sum()):
                left_out.append(f"{count} of {len(table)} labels are not known; cldf metrics needs them all")
            write(_csv(table, detector) if form == "csv" else _json(table, detector))
    print(_summary(scores), *map(printable, left_out), sep="\n", file=console)
    without = scores["verdict"] == ""
    return 0 if not without.any() else 1 if without.all() else 3


def _loaded(parsed: argparse.Namespace) -> tuple[Detector | Foreign, Callable[[Sequence[Path]], pd.DataFrame]]:
    """The detector that --model names, and what scores files with it."""
    from cldf_core.detection.detector import load_detector
    from cldf_core.detection.foreign import TIMM, is_foreign, load_foreign, score_foreign
    from cldf_core.detection.score import score
    from cldf_core.options import UserError

    model, judging = parsed.model or "", {"threshold": parsed.threshold, "band": parsed.band}
    if parsed.weights and not model.startswith(TIMM):
        raise UserError(f"--weights is {parsed.weights}, but --model is no timm:NAME; allowed: no --weights")
    if not is_foreign(model):
        own = load_detector(model or str(default_run()), step=parsed.step, **judging)
        return own, lambda files: score(files, own, workers=parsed.workers)
    for flag in ("step", "workers"):
        if (value := getattr(parsed, flag)) is not None:
            raise UserError(f"--{flag} is {value}, but --model {model} is no network of cldf; allowed: no --{flag}")
    theirs = load_foreign(model, weights=parsed.weights, **judging)
    return theirs, lambda files: score_foreign(files, theirs)


def default_run() -> Path:
    """The folder of the detector in use, else of the newest MIR run of notebook 07 in the quick profile."""
    from cldf_core.detection.in_use import in_use
    from cldf_core.options import UserError
    from cldf_core.results.score_tables import finished_runs, problem
    from cldf_core.runs.folder import SCORES
    from cldf_core.workflow.notebooks import notebook_parameters

    if (run := in_use()) is not None:
        return run.path
    try:
        wanted = notebook_parameters("07_er_and_mir", "quick").options("mir").model_dump()
    except UserError as error:  # outside the project's folder
        raise UserError(f"there is no default model ({error}); allowed: --model with a run or a file") from None
    runs = [run for run, options in finished_runs("mir-*") if options == wanted and run.damaged() is None]
    finished = [run.path for run in runs if not problem(run.path)]
    if not finished:
        ways = "cldf reproduce --only 07 makes it, or name another one with --model"
        raise UserError(f"there is no default model in {project_root() / 'runs'}; {ways}")
    return max(finished, key=lambda path: (path / SCORES).stat().st_mtime)


def _heading(detector: Detector | Foreign) -> str:
    """What a reader of the scores has to know about the detector."""
    low, high = detector.band or (0, 0)
    rows = [
        ("model", f"{detector.agent}, {detector.name}"),
        ("trained on", ", ".join(detector.trained_on) or "not known"),
        ("P(fake)", detector.calibration),
        ("threshold", f"{detector.threshold:.4g} ({detector.threshold_from})"),
        ("cannot say", f"P(fake) between {max(low, 0):.4g} and {min(high, 1):.4g}" if detector.band else "never"),
        *(("note", note) for note in detector.notes),
    ]
    return "\n".join(f"{name:<12}{printable(text)}" for name, text in rows) + "\n"


def _lines(scores: pd.DataFrame) -> str:
    """A line for each image with a verdict."""
    numbers = scores["probability"].map("{:7.4f}".format).where(scores["probability"].notna(), "      –")
    rows = scores.assign(number=numbers)[scores["verdict"] != ""].itertuples()
    lines = [f"{row.number}  {row.verdict:<10}  {printable(row.file)}" for row in rows]
    return "\n".join(["", "P(fake)  verdict     file", *lines, "", ""])


def _csv(table: pd.DataFrame, detector: Detector | Foreign) -> str:
    calibrated = detector.temperature is not None
    table = table.assign(threshold=detector.threshold, calibrated=calibrated, detector=detector.name)
    return table.to_csv(index=False, lineterminator="\n")


def _json(table: pd.DataFrame, detector: Detector | Foreign) -> str:
    facts = {f.name: getattr(detector, f.name) for f in fields(detector) if f.name not in NOT_SHOWN}
    facts |= {"agent": detector.agent, "calibrated": detector.temperature is not None}
    images = table.astype(object).where(table.notna(), None).to_dict("records")
    return json.dumps({"detector": facts, "images": images}, indent=1) + "\n"


def _summary(scores: pd.DataFrame) -> str:
    """The number of images with each verdict, and a line with the reason for each image without a number."""
    counts = [f"{(scores['verdict'] == verdict).sum()} {verdict}" for verdict in ("fake", "real", "cannot say")]
    lines = [f"{counted(len(scores), 'image')}: {', '.join(counts)}, {(scores['verdict'] == '').sum()} not scored"]
    bad = scores[scores["reason"] != ""].itertuples()
    return "\n".join([*lines, *(printable(f"{row.verdict or 'not scored'}: {row.file}: {row.reason}") for row in bad)])
