"""`cldf watch`: tells whether the images that a detector is used on are still like those that it was made with."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from cldf_core.cli.numbers import real, whole
from cldf_core.cli.output import add_flags, chosen_format, opened
from cldf_core.data.console import note, printable

FORMATS = ("table", "csv")
ALPHA = real("a number above 0 and below 1, such as 0.01", lambda value: 0 < value < 1)
EXITS = "Exit status: 0 if no table shows a drift, 3 if one does, 2 for a wrong call."


def add_command(subparsers: Any) -> None:
    """Adds `cldf watch` with its flags."""
    about = "Compares scores from use with those of validation images, table by table. That there are more fakes than "
    about += "before is no drift: new scores are compared with the mixture of real and fake ones that fits best. Fakes "
    about += f"that the detector takes for real images altogether are not seen. {EXITS}"
    parser = subparsers.add_parser("watch", help="whether new images are still like known ones", description=about)
    add = parser.add_argument
    tables = (
        "CSV or parquet, such as cldf score writes, with score (P(fake)) or logit, and if you like group or video; "
    )
    add("scores", nargs="+", metavar="TABLE", help=tables + "or folders of these, one for each week, say")
    known = parser.add_mutually_exclusive_group()
    model = "whose validation images are known, the one that gave the scores: a run's folder or name (default: as "
    model += "cldf score)"
    known.add_argument("--model", help=model)
    known.add_argument("--against", type=Path, metavar="TABLE", help="of known scores instead, if you like with label")
    add("--step", type=whole(1, 10_000), help="of the run, from 1 (default: the last)")
    add(
        "--alpha",
        type=ALPHA,
        default=0.01,
        help="share of false alarms among tables of the same images (default: 0.01)",
    )
    add("--resamples", type=whole(99, 100_000), default=999, help="of the bootstrap over groups (default: 999)")
    add_flags(parser, FORMATS)
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Compares the tables that the command line names, and prints a line for each; returns 0, or 3 as EXITS says."""
    from cldf_core.options import UserError

    form = chosen_format(parsed, FORMATS, [*parsed.scores, *([str(parsed.against)] if parsed.against else [])])
    if parsed.out and any(Path(name).resolve() == parsed.out.resolve().parent for name in parsed.scores):
        raise UserError(f"--out {parsed.out} would lie among the tables of scores; needed: another folder")
    if 1 / (parsed.resamples + 1) > parsed.alpha:
        needed = f"needed: at least {math.ceil(1 / parsed.alpha) - 1}, or no p can be as small as --alpha"
        raise UserError(f"--resamples is {parsed.resamples} with --alpha {parsed.alpha:g}; {needed}")
    from cldf_core.cli.score import default_run
    from cldf_core.detection.detector import validation_scores
    from cldf_core.detection.watch import read_use, watch

    if parsed.against is not None:
        if parsed.step is not None:
            raise UserError("--step is given with --against; allowed: with a run, by --model")
        (known, left_out), name = read_use(parsed.against), str(parsed.against)
        for sentence in left_out:
            note(sentence)
    else:
        name = parsed.model or str(default_run())
        known = validation_scores(name, step=parsed.step)
    with opened(parsed.out, form) as write:
        console = sys.stdout if form == "table" else sys.stderr
        classes = f"{(known['label'] == 0).sum()} real, {(known['label'] == 1).sum()} fake"
        count = classes if (known["label"] >= 0).all() else f"{len(known)} of unknown class"
        table, notes = watch(parsed.scores, known, alpha=parsed.alpha, resamples=parsed.resamples)
        print(printable(f"compared with {name}: {count}, {known['group'].nunique()} groups"), file=console, flush=True)
        for sentence in notes:
            note(sentence)
        if form == "csv":
            write(table.to_csv(index=False, lineterminator="\n"))
        else:
            words = table.assign(drift=table["drift"].map({True: "DRIFT", False: "none shown"}))
            numbers = {"share of fakes": "{:.2f}".format, "distance": "{:.3f}".format, "p": "{:.3f}".format}
            write("\n" + words.to_string(index=False, formatters=numbers, na_rep="") + "\n")
    return 3 if table["drift"].any() else 0
