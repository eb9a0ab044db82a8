"""`cldf reproduce`: runs the notebooks in their order and draws every figure."""

import argparse
from typing import Any

from cldf_core.cli.numbers import GIGABYTES
from cldf_core.cli.place import add_flags, place


def add_command(subparsers: Any) -> None:
    """Adds `cldf reproduce` with its flags."""
    parser = subparsers.add_parser("reproduce", help="run the notebooks in their order, draw every figure")
    add = parser.add_argument
    profiles = "quick (the embedded benchmark), smoke (seconds), original (its data, a GPU)"
    add("--profile", default="quick", help=profiles)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", nargs="+", default=[], metavar="NOTEBOOK", help="such as 04_icarl, or just 04")
    which.add_argument("--all", action="store_true", help="every notebook (default: those up to 08)")
    add("--force", action="store_true", help="also what is already done")
    add("--no-wait", action="store_true", help="refuse what another process makes, instead of waiting for it")
    add("--cache-gb", type=GIGABYTES, metavar="GB", help="that all spectra in data/spectra may take")
    add_flags(parser)
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Runs the notebooks; returns 0, or 1 where one failed or could not be run."""
    from cldf_core.workflow import chain

    how = {"force": parsed.force, "everything": parsed.all, "wait": not parsed.no_wait}
    there = place(parsed)
    results = chain.reproduce(parsed.profile, parsed.only, place=there, **how)
    print(chain.summary(results, parsed.profile, there))
    return int(any(result.status in ("failed", "not run") for result in results))
