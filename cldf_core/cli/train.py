"""`cldf train`: trains an agent with the flags of the original code's run.py."""

import argparse
from typing import Any

from cldf_core.original.flags import add_flags


def add_command(subparsers: Any) -> None:
    """Adds `cldf train` with the original code's flags."""
    parser = subparsers.add_parser("train", help="train an agent with the original code's flags")
    add_flags(parser)
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Trains an agent; returns the exit status."""
    from cldf_core.original.commands import train

    return train(parsed)
