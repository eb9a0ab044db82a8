"""The flags of the commands that carry out tasks: how many at the same time."""

import argparse
from typing import TYPE_CHECKING

from cldf_core.cli.numbers import WORKERS

if TYPE_CHECKING:
    from cldf_core.workflow.cluster import Place


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --jobs."""
    parser.add_argument(
        "--jobs", type=WORKERS, metavar="N", help="at the same time (default: what processors and memory allow)"
    )


def place(parsed: argparse.Namespace) -> "Place":
    """Where the tasks of a command line are carried out."""
    from cldf_core.workflow.cluster import Place

    return Place(parsed.jobs)
