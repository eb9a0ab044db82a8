"""`cldf choose`: chooses values of every agent's options on validation photographs."""

import argparse
from typing import Any

from cldf_core.cli.place import add_flags, place


def add_command(subparsers: Any) -> None:
    """Adds `cldf choose` with its flags."""
    parser = subparsers.add_parser("choose", help="choose values of each agent's options on validation photographs")
    agents = "those of params/choose/spaces.yaml that are chosen for (default: all); the choices of others stay"
    parser.add_argument("--agents", nargs="+", default=[], metavar="AGENT", help=agents)
    add_flags(parser)
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> None:
    """Makes the runs, writes figures/tables/choices.csv and params/quick/chosen.yaml, and prints the choices."""
    from cldf_core.workflow.choose import choose

    table, sentences = choose(parsed.agents, place(parsed))
    print(table.drop(columns="code").round(3).to_string(index=False), *sentences, sep="\n")
