"""`cldf data`: adds, lists, checks, audits and describes the user's own images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_command(subparsers: Any) -> None:
    """Adds `cldf data` with its commands and their flags."""
    parser = subparsers.add_parser("data", help="your own images: add, list, check, audit, describe them")
    parts = parser.add_subparsers(title="commands", metavar="", required=True)
    add = parts.add_parser("add", help="register a folder, an archive (zip, tar) or a table of images")
    add.add_argument("source", type=Path, help="folder, archive, or .csv or .parquet file with path and label")
    add.add_argument("--name", help="of the data set (default: the folder's or the archive's)")
    add.add_argument("--sha256", help="what the archive's must be")
    add.add_argument("--replace", action="store_true", help="a data set of this name, if there is one")
    add.add_argument("--seed", type=int, default=0, help="of the splits, where the layout has none")
    add.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="of videos, a frame is taken")
    add.set_defaults(call=_add)
    parts.add_parser("list", help="the data sets that are registered").set_defaults(call=_list)
    check = parts.add_parser("check", help="open every image; list what is changed or set aside, and why")
    check.add_argument("--size", type=int, help="also list images smaller than this, in pixels")
    check.add_argument("--contents", action="store_true", help="read every file, even if size and time are the same")
    check.set_defaults(call=_check)
    audit = parts.add_parser("audit", help="look for shortcuts, copies and leaks; runs will repeat the warnings")
    audit.add_argument("--re-encode", action="store_true", help="first make a data set with one common history")
    audit.add_argument("--size", type=int, help="of the re-encoded images, pixels a side (default: what most allow)")
    audit.add_argument("--quality", type=int, default=90, help="of their JPEG compression, 1 to 100")
    audit.set_defaults(call=_audit)
    card = parts.add_parser("card", help="write a data card with counts, formats and samples")
    card.set_defaults(call=_card)
    for part in (check, audit, card):
        part.add_argument("name", help="of the data set")
    for part in (add, check, audit, card):
        part.add_argument("--workers", type=int, help="processes (default: one for each processor)")


def _add(parsed: argparse.Namespace) -> int:
    from cldf_core.data.intake import add

    settings = {"sha256": parsed.sha256, "replace": parsed.replace, "seed": parsed.seed, "every_seconds": parsed.every}
    return add.add(parsed.source, parsed.name, **settings, workers=_workers(parsed))


def _list(parsed: argparse.Namespace) -> int:
    from cldf_core.data.intake import add

    return add.listed()


def _check(parsed: argparse.Namespace) -> int:
    from cldf_core.data.intake import add

    return add.check(parsed.name, size=parsed.size, contents=parsed.contents, workers=_workers(parsed))


def _audit(parsed: argparse.Namespace) -> int:
    from cldf_core.data.intake import add
    from cldf_core.options import OptionError

    if not parsed.re_encode:
        return add.audited(parsed.name, workers=_workers(parsed))
    if not 1 <= parsed.quality <= 100:
        raise OptionError(f"--quality is {parsed.quality}; allowed: a whole number from 1 to 100")
    return add.reencoded(parsed.name, size=parsed.size, quality=parsed.quality, workers=_workers(parsed))


def _card(parsed: argparse.Namespace) -> int:
    from cldf_core.data.intake import add

    return add.card(parsed.name, workers=_workers(parsed))


def _workers(parsed: argparse.Namespace) -> int | None:
    from cldf_core.options import OptionError

    if parsed.workers is not None and parsed.workers < 1:
        raise OptionError(f"--workers is {parsed.workers}; allowed: a whole number from 1 up")
    return parsed.workers
