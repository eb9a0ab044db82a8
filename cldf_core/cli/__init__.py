"""The `cldf` command: thin, and it imports what a subcommand needs only when that is called."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cldf_core.cli import data, mini


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit status: 0 done, 1 something failed, 2 a mistake in the call."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] in (["train"], ["test"]):  # they have the seed's many flags, and sentences about them
            from cldf_core.original import commands

            return commands.main(words)
        if words[:1] == ["score"]:
            from cldf_core.detection import score

            return score.command(words[1:])
        if words[:1] == ["metrics"]:
            from cldf_core.cli import metrics

            return metrics.command(words[1:])
        parsed = _parser().parse_args(words)
        if getattr(parsed, "cache_gb", None):
            os.environ["CLDF_CACHE_GB"] = parsed.cache_gb  # for this process and the notebooks' kernels
        return int(parsed.call(parsed) or 0)
    except KeyboardInterrupt:
        print("cldf: interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not _is_users(error):
            raise
        print(f"cldf: {error}", file=sys.stderr)
        return 2


def _is_users(error: Exception) -> bool:
    """Whether an error is a mistake that its sentence explains, not a fault of the program."""
    from cldf_core.options import UserError

    return isinstance(error, (UserError, PermissionError, FileNotFoundError))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cldf", description="Deepfake-image detection that keeps learning.")
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    parser.set_defaults(call=lambda parsed: _version() if parsed.version else parser.print_help())
    commands = parser.add_subparsers(title="commands", metavar="")

    reproduce = commands.add_parser("reproduce", help="run the notebooks in their order, draw every figure")
    reproduce.add_argument(
        "--profile",
        default="quick",
        help="quick (the embedded benchmark), smoke (seconds) or seed (the original data, a GPU)",
    )
    which = reproduce.add_mutually_exclusive_group()
    which.add_argument("--only", nargs="+", default=[], metavar="NOTEBOOK", help="such as 04_icarl, or just 04")
    which.add_argument("--all", action="store_true", help="every notebook (default: those up to 08)")
    reproduce.add_argument("--again", action="store_true", help="also what is already done")
    reproduce.set_defaults(call=_reproduce)

    run = commands.add_parser("run", help="run one notebook with parameters of your choice")
    run.add_argument("notebook", help="such as 04_icarl, or just 04")
    run.add_argument("--profile", default="quick", help="quick, smoke or seed")
    run.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="can be repeated")
    run.add_argument("--again", action="store_true", help="even if it was done with the same inputs")
    run.set_defaults(call=_run)

    sweep = commands.add_parser("sweep", help="train many agents, seeds or settings, and compare them")
    sweep.add_argument("grid", help="a file in params/grids/: seeds, memory, orders or passes")
    sweep.add_argument("--profile", default="quick", help="quick, smoke or seed")
    sweep.add_argument("--dry-run", action="store_true", help="list the runs and whether they are done; train nothing")
    sweep.set_defaults(call=_sweep)
    for part in (reproduce, run, sweep):
        part.add_argument("--cache-gb", metavar="GB", help="that all spectra in data/spectra may take")

    commands.add_parser("train", help="train an agent with the original research code's flags (cldf train --help)")
    commands.add_parser("test", help="test a checkpoint with the original research code's flags")

    data.add_command(commands)
    commands.add_parser("score", help="P(fake) and a verdict for images of any kind (cldf score --help)")

    commands.add_parser("metrics", help="every metric of runs and score files, with intervals (cldf metrics --help)")

    mini.add_command(commands)
    return parser


def _version() -> None:
    from cldf_core import __version__

    print(__version__)


def _reproduce(parsed: argparse.Namespace) -> int:
    from cldf_core.workflow import notebooks

    results = notebooks.reproduce(parsed.profile, parsed.only, force=parsed.again, everything=parsed.all)
    print(notebooks.summary(results))
    return int(any(result.status in ("failed", "not run") for result in results))


def _run(parsed: argparse.Namespace) -> int:
    from cldf_core.options import OptionError, from_text
    from cldf_core.workflow import notebooks

    changes = {}
    for pair in parsed.parameter:
        name, sign, text = pair.partition("=")
        if not sign:
            raise OptionError(f"-p {pair!r}: needed is NAME=VALUE, such as -p seed=3")
        changes[name] = from_text(name, text)
    notebook = notebooks.notebook_name(parsed.notebook)
    result = notebooks.execute(notebooks.notebook_parameters(notebook, parsed.profile, changes), force=parsed.again)
    print(notebooks.summary([result]))
    return int(result.status == "failed")


def _sweep(parsed: argparse.Namespace) -> int:
    from cldf_core.workflow import sweep

    return sweep.command(parsed.grid, parsed.profile, dry=parsed.dry_run)


if __name__ == "__main__":
    sys.exit(main())
