"""`cldf score`: P(fake) and a verdict for images of any kind, printed or written to a file."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cldf_core.data.runtime import project_root

if TYPE_CHECKING:  # `cldf score --help` does not wait for these
    import pandas as pd

    from cldf_core.detection.detector import Detector

FORMATS = ("table", "csv", "json")


def add_command(subparsers: Any) -> None:
    """Adds `cldf score` with its flags."""
    about = "Prints P(fake) and a verdict for any images."
    parser = subparsers.add_parser("score", help="P(fake) and a verdict for images of any kind", description=about)
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE|FOLDER|GLOB", help="images, folders of images, patterns")
    add("--model", help="a run's folder or name, a .safetensors or .pth file (default: what cldf reproduce made)")
    add("--step", type=int, help="of the run, from 1 (default: the last)")
    add("--threshold", default="0.5", help="P(fake) from which it is fake, or: validation (default: 0.5)")
    add("--band", type=float, default=0.1, help="closer to the threshold than this: cannot say (default: 0.1)")
    add("--format", choices=FORMATS, help="default: what --out ends with, else table")
    add("--out", type=Path, help="file for the result")
    add("--workers", type=int, help="threads that read images (default: one for each processor)")
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Scores the images that the command line names, and prints the result; returns 1 where none could be scored."""
    from cldf_core.data.files import whole_file
    from cldf_core.options import UserError

    ending = parsed.out.suffix[1:].lower() if parsed.out else ""
    form = parsed.format or (ending if ending in FORMATS else "table")
    if parsed.workers is not None and parsed.workers < 1:
        raise UserError(f"--workers is {parsed.workers}; allowed: a whole number from 1")
    if parsed.out and parsed.out.is_dir():
        raise UserError(f"--out {parsed.out} is a folder; needed: a file")
    from cldf_core.detection.detector import load_detector
    from cldf_core.detection.score import files_of, score

    files = files_of(parsed.files)
    model = parsed.model or str(default_run())
    detector = load_detector(model, step=parsed.step, threshold=parsed.threshold, band=parsed.band)
    console = sys.stdout if form == "table" else sys.stderr
    with contextlib.ExitStack() as stack:
        try:  # before the work, not after it
            partial = stack.enter_context(whole_file(parsed.out)) if parsed.out else None
        except OSError as error:
            raise UserError(f"--out {parsed.out} cannot be written: {error.strerror}") from None
        print(heading := _heading(detector), file=console, flush=True)
        scores = score(files, detector, workers=parsed.workers)
        text = _text(scores, detector, form)
        if partial:
            partial.write_text(heading + text if form == "table" else text, encoding="utf-8", newline="\n")
        else:
            sys.stdout.write(text)
    print(_summary(scores), file=console)
    return int(bool((scores["reason"] != "").all()))


def default_run() -> Path:
    """The folder of the newest MIR run that notebook 07 makes in the quick profile; computes nothing."""
    from cldf_core.options import UserError
    from cldf_core.runs.folder import SCORES, RunFolder
    from cldf_core.workflow.notebooks import notebook_parameters

    try:
        wanted = notebook_parameters("07_er_and_mir", "quick").options("mir").model_dump()
    except UserError as error:  # outside the project's folder
        raise UserError(f"there is no default model ({error}); allowed: --model with a run or a file") from None
    runs = [RunFolder(path) for path in (project_root() / "runs").glob("mir-*")]
    finished = [run.path for run in runs if run.finished and run.manifest["options"] == wanted]
    if not finished:
        ways = "cldf reproduce --only 07 makes it, or name another one with --model"
        raise UserError(f"there is no default model in {project_root() / 'runs'}; {ways}")
    return max(finished, key=lambda path: (path / SCORES).stat().st_mtime)


def _heading(detector: Detector) -> str:
    """What a reader of the scores has to know about the detector."""
    low, high = detector.band or (0, 0)
    calibrated = f"calibrated on validation images (temperature {detector.temperature or 1:.3g})"
    rows = [
        ("model", f"{detector.options.agent}, {detector.name}"),
        ("trained on", ", ".join(detector.trained_on) or "not known"),
        ("P(fake)", calibrated if detector.temperature else "not calibrated"),
        ("threshold", f"{detector.threshold:.4g} ({detector.threshold_from})"),
        ("cannot say", f"P(fake) between {max(low, 0):.4g} and {min(high, 1):.4g}" if detector.band else "never"),
        *(("note", note) for note in detector.notes),
    ]
    return "\n".join(f"{name:<12}{text}" for name, text in rows) + "\n"


def _text(scores: pd.DataFrame, detector: Detector, form: str) -> str:
    """The scores as a table, CSV or JSON."""
    calibrated = detector.temperature is not None
    if form == "csv":
        table = scores.assign(threshold=detector.threshold, calibrated=calibrated)
        return table.to_csv(index=False, lineterminator="\n")
    if form == "json":
        facts = {f.name: getattr(detector, f.name) for f in fields(detector) if f.name not in ("network", "options")}
        images = scores.astype(object).where(scores.notna(), None).to_dict("records")
        facts |= {"agent": detector.options.agent, "calibrated": calibrated}
        return json.dumps({"detector": facts, "images": images}, indent=1) + "\n"
    rows = scores[scores["reason"] == ""].itertuples()
    lines = [f"{row.probability:7.4f}  {row.verdict:<10}  {row.file}" for row in rows]
    return "\n".join(["", "P(fake)  verdict     file", *lines, "", ""])


def _summary(scores: pd.DataFrame) -> str:
    """The number of images with each verdict, and a line with the reason for each image that was not scored."""
    bad = scores[scores["reason"] != ""]
    counts = [f"{(scores['verdict'] == verdict).sum()} {verdict}" for verdict in ("fake", "real", "cannot say")]
    lines = [f"{len(scores)} images: {', '.join(counts)}, {len(bad)} not scored"]
    return "\n".join([*lines, *(f"not scored: {row.file}: {row.reason}" for row in bad.itertuples())])
