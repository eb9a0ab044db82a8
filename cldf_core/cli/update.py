"""`cldf update`: teaches the detector in use a new kind of fake, and takes what comes out into use if it may."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from cldf_core.cli.numbers import real, whole
from cldf_core.data.console import printable

if TYPE_CHECKING:  # `cldf update --help` does not wait for it
    import pandas as pd

LOSS = real("a number above 0 and below 1, such as 0.05", lambda value: 0 < value < 1)
EXITS = "Exit status: 0 if the new detector is in use, 3 if it was refused, 2 for a wrong call."


def add_command(subparsers: Any) -> None:
    """Adds `cldf update` with its flags."""
    about = "Learns a new domain from where the detector in use has stopped, and compares before with after on every "
    about += "domain. By validation photographs it decides whether the new one may take its place: the mean loss of "
    about += "accuracy on old domains, by the upper end of its interval (one-sided, 95 %), has to be below --max-loss, "
    about += "and no old domain may lose more than twice that. A domain that was learned last is learned anew, from "
    about += f"more images, which replace those of before. {EXITS}"
    parser = subparsers.add_parser("update", help="teach the detector in use a new kind of fake", description=about)
    add = parser.add_argument
    add("detector", nargs="?", metavar="RUN", help="whose detector learns (default: the one in use)")
    add(
        "--with", required=True, dest="domain", metavar="DOMAIN", help="of the run's data set, or SET:DOMAIN of another"
    )
    add(
        "--limit",
        type=whole(1, 10**9),
        help="images of each class that are learned (default: as many as the detector's run takes of a domain)",
    )
    add("--agent", help="another one than the detector's, with its default options; it is trained from the beginning")
    add("--max-loss", type=LOSS, default=0.05, help="on old domains, above 0 and below 1 (default: 0.05)")
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Updates the detector that the command line names; returns 0, or 3 as EXITS says."""
    from cldf_core.detection.in_use import history, named
    from cldf_core.detection.update import update

    detector = named(parsed.detector) if parsed.detector is not None else None
    settings = {"limit": parsed.limit, "agent": parsed.agent, "max_loss": parsed.max_loss}
    found = update(detector, parsed.domain, **settings)
    print(f"before: {found.before.path.name}, after: {found.after.path.name}\n")
    print(text_of(found.table), "", found.facts.to_string(index=False, float_format="{:.3g}".format), "", sep="\n")
    print("The table is of test photographs, where there are any. By validation photographs it is decided:")
    print(printable(found.gate.in_words()))
    if not found.gate.accepted:
        print(f"kept besides: {found.after.path.name} (cldf detector use takes it all the same)")
    uses = history()
    print(f"in use: {uses[-1].run if uses else 'none'}")
    return 0 if found.gate.accepted else 3


def text_of(table: pd.DataFrame) -> str:
    """The table of changes, to be read: a row for each domain and metric."""
    numbers = {"before": "{:.3f}".format, "after": "{:.3f}".format}
    changes = zip(*(table[name].astype(float) for name in ("value", "low", "high")), strict=True)
    interval = [
        f"{value:+.3f}" + (" (no interval)" if math.isnan(low) else f" [{low:+.3f}, {high:+.3f}]")
        for value, low, high in changes
    ]
    shown = table[["kind", "domain", "metric", "before", "after"]].assign(change=interval)
    return shown.to_string(index=False, formatters=numbers)
