"""`cldf choose`: chooses learning rate and epochs of the quick profile on validation photographs."""

import argparse
from typing import Any

from cldf_core.cli.place import add_flags, place


def add_command(subparsers: Any) -> None:
    """Adds `cldf choose` with its flags."""
    parser = subparsers.add_parser("choose", help="choose learning rate and epochs on validation photographs")
    add_flags(parser)
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> None:
    """Makes the runs, writes figures/tables/choice_of_training.csv and prints it."""
    from cldf_core.workflow.choose import choose, verdict

    table = choose(place(parsed))
    print(table.round(3).to_string(index=False), verdict(table), sep="\n")
