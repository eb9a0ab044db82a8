"""`cldf mini`: builds the embedded benchmark, trains its generators, checks what it must show."""

import argparse
from pathlib import Path
from typing import Any

from cldf_core.cli.numbers import SEED, whole
from cldf_core.cli.place import add_flags, place


def add_command(subparsers: Any) -> None:
    """Adds `cldf mini` with its commands and their flags."""
    parser = subparsers.add_parser("mini", help="the embedded benchmark: build it, train its generators, check it")
    parts = parser.add_subparsers(title="commands", metavar="", required=True)
    build = parts.add_parser("build", help="write the data set, as folders of images")
    build.add_argument("--out", type=Path, help="folder (default: data/mini in the project)")
    build.add_argument("--generators", type=Path, help="folder of generators that were trained again")
    build.set_defaults(call=_build)
    train = parts.add_parser("train", help="train the generators again (minutes)")
    train.add_argument("--out", type=Path, required=True, help="folder for their weights")
    train.add_argument("--seed", type=SEED, default=0, help="of everything random (default: 0)")
    train.set_defaults(call=_train)
    check = parts.add_parser("check", help="measure the five things that the benchmark must show")
    check.add_argument("--seeds", type=whole(1, 1000), default=5, help="how many seeds, from 0 up (default: 5)")
    check.add_argument("--split", choices=("validation", "test"), default="test", help="default: test")
    check.add_argument("--generators", type=Path, help="folder of generators trained again, to be compared")
    add_flags(check)
    check.set_defaults(call=_check)


def _build(parsed: argparse.Namespace) -> None:
    from cldf_core.data.mini.build import build
    from cldf_core.data.runtime import project_root
    from cldf_core.options import UserError

    try:
        print(build(parsed.out or project_root() / "data" / "mini", generators=parsed.generators))
    except ValueError as error:
        raise UserError(str(error)) from None


def _train(parsed: argparse.Namespace) -> None:
    from cldf_core.data.mini.train import train_generators
    from cldf_core.data.runtime import thread_count

    with thread_count(2):
        seconds = train_generators(parsed.out, seed=parsed.seed)
    for name, took in seconds.items():
        print(f"{parsed.out / name}.safetensors: {took:.0f} s")


def _check(parsed: argparse.Namespace) -> int:
    from cldf_core.workflow.benchmark_checks import check

    return check(seeds=parsed.seeds, split=parsed.split, generators=parsed.generators, place=place(parsed))
