"""`cldf run`: runs one notebook with parameters of the caller's choice."""

import argparse
import os
from collections.abc import Sequence
from typing import Any

from cldf_core.cli.numbers import GIGABYTES


def add_command(subparsers: Any) -> None:
    """Adds `cldf run` with its flags."""
    parser = subparsers.add_parser("run", help="run one notebook with parameters of your choice")
    add = parser.add_argument
    add("notebook", help="such as 04_icarl, or just 04")
    add("--profile", default="quick", help="quick, smoke or original")
    add("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="can be repeated")
    add("--options", action="store_true", help="list what can be set with -p or in the notebook, and run nothing")
    add("--force", action="store_true", help="even if it was done with the same inputs")
    add("--no-wait", action="store_true", help="refuse what another process makes, instead of waiting for it")
    add("--cache-gb", type=GIGABYTES, metavar="GB", help="that all spectra in data/spectra may take")
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Runs the notebook; returns 0, or 1 where it failed."""
    from cldf_core.options import OptionError
    from cldf_core.reading import from_text
    from cldf_core.workflow import notebooks
    from cldf_core.workflow.chain import summary
    from cldf_core.workflow.parameters import allowed_names

    notebook, changes = notebooks.notebook_name(parsed.notebook), {}
    if parsed.options:
        _print_options(allowed_names(notebook))
        return 0
    for pair in parsed.parameter:
        name, sign, text = pair.partition("=")
        if not sign and name in allowed_names(notebook):  # of another name there is more to say, see below
            raise OptionError(f"-p {pair!r}: needed is NAME=VALUE, such as -p seed=3")
        if name in changes:
            raise OptionError(f"-p gives {name!r} twice; allowed: each name once")
        if name in ("data", "start", "weights") and os.path.exists(text):
            text = _from_here(text)
        changes[name] = from_text(name, text)
    parameters = notebooks.notebook_parameters(notebook, parsed.profile, changes)
    result = notebooks.execute(parameters, force=parsed.force, wait=not parsed.no_wait)
    print(summary([result]))
    return int(result.status == "failed")


def _print_options(names: Sequence[str]) -> None:
    """Prints names of options with their defaults, those of the papers' variant, and what each allows."""
    from cldf_core.options import FIELDS, allowed

    for name in names:
        default, words = FIELDS[name].default, FIELDS[name].description or ""
        text = "null" if default is None else ", ".join(default) if isinstance(default, list) else str(default)
        print(f"{name} = {text}\n    {'; allowed: '.join(dict.fromkeys(filter(None, (words, allowed(name)))))}")


def _from_here(text: str) -> str:
    """The absolute path, since the notebook's working folder is another; the name of a data set stays as it is."""
    from cldf_core.data.layouts.read import registered
    from cldf_core.data.mini.build import EMBEDDED

    return text if text in (*EMBEDDED, *registered()) else os.path.abspath(text)
