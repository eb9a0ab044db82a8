"""`cldf test`: tests a checkpoint with the flags of the original code's run.py."""

import argparse
from typing import Any

from cldf_core.original.flags import add_flags


def add_command(subparsers: Any) -> None:
    """Adds `cldf test` with the original code's flags."""
    parser = subparsers.add_parser("test", help="test a checkpoint with the original code's flags")
    add_flags(parser)
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Tests a checkpoint; returns the exit status."""
    from cldf_core.original.commands import test

    return test(parsed)
