"""The `cldf` command: thin, and it imports what a subcommand needs only when that is called."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit status: 0 done, 1 something failed, 2 a mistake in the call."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] in (["train"], ["test"]):  # they have the seed's many flags, and sentences about them
            from cldf_core.original import commands

            return commands.main(words)
        if words[:1] == ["score"]:
            from cldf_core.cli import score

            parser = argparse.ArgumentParser(prog="cldf")
            score.add_command(parser.add_subparsers())
            parsed = parser.parse_args(words)
            return int(parsed.call(parsed))
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

    data = commands.add_parser("data", help="your own images: add, list, check, audit, describe them")
    parts = data.add_subparsers(title="commands", metavar="", required=True)
    add = parts.add_parser("add", help="register a folder, an archive (zip, tar) or a table of images")
    add.add_argument("source", type=Path, help="folder, archive, or .csv or .parquet file with path and label")
    add.add_argument("--name", help="of the data set (default: the folder's or the archive's)")
    add.add_argument("--sha256", help="what the archive's must be")
    add.add_argument("--replace", action="store_true", help="a data set of this name, if there is one")
    add.add_argument("--seed", type=int, default=0, help="of the splits, where the layout has none")
    add.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="of videos, a frame is taken")
    add.set_defaults(call=_data_add)
    parts.add_parser("list", help="the data sets that are registered").set_defaults(call=_data_list)
    check = parts.add_parser("check", help="open every image; list what is changed or set aside, and why")
    check.add_argument("--size", type=int, help="also list images smaller than this, in pixels")
    check.add_argument("--contents", action="store_true", help="read every file, even if size and time are the same")
    check.set_defaults(call=_data_check)
    audit = parts.add_parser("audit", help="look for shortcuts, copies and leaks; runs will repeat the warnings")
    audit.add_argument("--re-encode", action="store_true", help="first make a data set with one common history")
    audit.add_argument("--size", type=int, help="of the re-encoded images, pixels a side (default: what most allow)")
    audit.add_argument("--quality", type=int, default=90, help="of their JPEG compression, 1 to 100")
    audit.set_defaults(call=_data_audit)
    card = parts.add_parser("card", help="write a data card with counts, formats and samples")
    card.set_defaults(call=_data_card)
    for part in (check, audit, card):
        part.add_argument("name", help="of the data set")
    for part in (add, check, audit, card):
        part.add_argument("--workers", type=int, help="processes (default: one for each processor)")

    commands.add_parser("score", help="P(fake) and a verdict for images of any kind (cldf score --help)")

    commands.add_parser("metrics", help="every metric of runs and score files, with intervals (cldf metrics --help)")

    mini = commands.add_parser("mini", help="the embedded benchmark: build it, train its forgers, check it")
    parts = mini.add_subparsers(title="commands", metavar="", required=True)
    build = parts.add_parser("build", help="write the data set, as folders of images")
    build.add_argument("--out", type=Path, help="folder (default: data/mini in the project)")
    build.add_argument("--forgers", type=Path, help="folder with forgers that were trained anew")
    build.set_defaults(call=_mini_build)
    train = parts.add_parser("train", help="train the forgers anew (minutes)")
    train.add_argument("--out", type=Path, required=True, help="folder for their weights")
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(call=_mini_train)
    check = parts.add_parser("check", help="measure the five things that the benchmark must show")
    check.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 up")
    check.add_argument("--split", choices=("validation", "test"), default="test")
    check.add_argument("--forgers", type=Path, help="folder of forgers trained anew, to be compared")
    check.set_defaults(call=_mini_check)
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


def _data_add(parsed: argparse.Namespace) -> int:
    from cldf_core.data.intake import add

    own = {"sha256": parsed.sha256, "replace": parsed.replace, "seed": parsed.seed, "every_seconds": parsed.every}
    return add.add(parsed.source, parsed.name, **own, workers=_workers(parsed))


def _data_list(parsed: argparse.Namespace) -> int:
    from cldf_core.data.intake import add

    return add.listed()


def _data_check(parsed: argparse.Namespace) -> int:
    from cldf_core.data.intake import add

    return add.check(parsed.name, size=parsed.size, contents=parsed.contents, workers=_workers(parsed))


def _data_audit(parsed: argparse.Namespace) -> int:
    from cldf_core.data.intake import add
    from cldf_core.options import OptionError

    if not parsed.re_encode:
        return add.audited(parsed.name, workers=_workers(parsed))
    if not 1 <= parsed.quality <= 100:
        raise OptionError(f"--quality is {parsed.quality}; allowed: a whole number from 1 to 100")
    return add.reencoded(parsed.name, size=parsed.size, quality=parsed.quality, workers=_workers(parsed))


def _data_card(parsed: argparse.Namespace) -> int:
    from cldf_core.data.intake import add

    return add.card(parsed.name, workers=_workers(parsed))


def _workers(parsed: argparse.Namespace) -> int | None:
    from cldf_core.options import OptionError

    if parsed.workers is not None and parsed.workers < 1:
        raise OptionError(f"--workers is {parsed.workers}; allowed: a whole number from 1 up")
    return parsed.workers


def _mini_build(parsed: argparse.Namespace) -> None:
    from cldf_core.data.mini.build import build
    from cldf_core.data.runtime import project_root
    from cldf_core.options import UserError

    try:
        print(build(parsed.out or project_root() / "data" / "mini", forgers=parsed.forgers))
    except ValueError as error:
        raise UserError(str(error)) from None


def _mini_train(parsed: argparse.Namespace) -> None:
    from cldf_core.data.mini.train import train_forgers
    from cldf_core.data.runtime import thread_count

    with thread_count(2):
        seconds = train_forgers(parsed.out, seed=parsed.seed)
    for forger, took in seconds.items():
        print(f"{parsed.out / forger}.safetensors: {took:.0f} s")


def _mini_check(parsed: argparse.Namespace) -> int:
    from cldf_core.workflow.benchmark_checks import check

    return check(seeds=parsed.seeds, split=parsed.split, forgers=parsed.forgers)


if __name__ == "__main__":
    sys.exit(main())
