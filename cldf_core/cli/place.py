"""The flags of the commands that carry out tasks: how many at the same time, and where."""

import argparse
from typing import TYPE_CHECKING

from cldf_core.cli.numbers import WORKERS

if TYPE_CHECKING:
    from cldf_core.workflow.cluster import Place


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --jobs, and the flags of a Dask cluster."""
    add = parser.add_argument
    add("--jobs", type=WORKERS, metavar="N", help="tasks at the same time (default: what processors and memory allow)")
    add("--scheduler", metavar="ADDRESS", help="of a Dask cluster that computes, such as tcp://host:8786, or its file")
    add("--store", metavar="URL", help="where the cluster finds large data, such as file:///shared or s3://bucket/dir")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument(
        "--tls", action="store_true", help="the cluster's messages are encrypted, as Dask's configuration says"
    )
    trust.add_argument(
        "--insecure", action="store_true", help="trust everybody who can reach the cluster: they can run code as you"
    )


def place(parsed: argparse.Namespace) -> "Place":
    """Where the tasks of a command line are carried out."""
    from cldf_core.options import OptionError
    from cldf_core.workflow.cluster import Place

    if parsed.scheduler is None:
        for flag in ("store", "tls", "insecure"):
            if getattr(parsed, flag):
                raise OptionError(f"--{flag} is for a cluster; needed with it: --scheduler")
    elif parsed.jobs:
        raise OptionError("--jobs is not allowed together with --scheduler, whose workers say how many run at once")
    place = Place(parsed.jobs, parsed.scheduler, parsed.store, parsed.tls, parsed.insecure)
    if place.scheduler:
        from cldf_core.workflow.remote import address_of

        address_of(place)  # refused before anything is made for it
    return place
