"""`cldf sweep`: trains many agents, seeds or settings, and compares them."""

import argparse
from typing import Any

from cldf_core.cli.numbers import GIGABYTES
from cldf_core.cli.place import add_flags, place


def add_command(subparsers: Any) -> None:
    """Adds `cldf sweep` with its flags."""
    parser = subparsers.add_parser("sweep", help="train many agents, seeds or settings, and compare them")
    add = parser.add_argument
    add("grid", help="a file in params/grids/, such as seeds or unseen")
    add("--profile", default="quick", help="quick, smoke or original")
    add("--dry-run", action="store_true", help="list the runs and whether they are done; train nothing")
    add("--no-wait", action="store_true", help="refuse what another process makes, instead of waiting for it")
    add("--cache-gb", type=GIGABYTES, metavar="GB", help="that all spectra in data/spectra may take")
    add_flags(parser)
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Makes the runs of a grid and their tables; returns 0, or 1 where a run failed."""
    from cldf_core.workflow import sweep

    how = {"dry": parsed.dry_run, "wait": not parsed.no_wait}
    return sweep.command(parsed.grid, parsed.profile, place=place(parsed), **how)
