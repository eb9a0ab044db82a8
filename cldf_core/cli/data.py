"""`cldf data`: adds, lists, checks, audits and describes the user's own images."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cldf_core.cli.numbers import SEED, WORKERS, real, whole
from cldf_core.data.console import counted, printable
from cldf_core.data.runtime import project_root

if TYPE_CHECKING:  # `cldf data --help` does not wait for it
    import pandas as pd

SECONDS = real("seconds above 0, such as 0.5", lambda value: 0 < value < float("inf"))
SIDE = whole(1, 65_535)  # pixels
UNFINISHED = ".unfinished"  # in a data set's folder: the call of `cldf data add` that checks it and audits it
SHOWN = 20  # rows of a table that are printed; all of them are in a file


def add_command(subparsers: Any) -> None:
    """Adds `cldf data` with its commands and their flags."""
    parser = subparsers.add_parser("data", help="your own images: add, list, check, audit, describe them")
    parts = parser.add_subparsers(title="commands", metavar="", required=True)
    add = parts.add_parser("add", help="register a folder, an archive (zip, tar), a table, or files that hold images")
    shards = "or .parquet files or .tar shards that hold images; or an address (https://, s3://, hf://datasets/…)"
    add.add_argument("source", type=_source, help=f"folder, archive, .csv or .parquet with path and label, {shards}")
    add.add_argument("--name", help="of the data set (default: the folder's or the archive's)")
    add.add_argument("--sha256", help="what the archive's must be")
    add.add_argument("--replace", action="store_true", help="a data set of this name, if there is one")
    add.add_argument("--labels", default="", help="what a table's labels mean, such as 0=real,1=fake or 1=real")
    column = "what names a fake's generator: a table's or shards' column, or: folder (those in the class folders)"
    add.add_argument("--domain-from", default="", metavar="COLUMN", help=column)
    rule = "what domains of fakes only get of domains of real images only: a part each (default), all, or nothing"
    add.add_argument("--reals", default="", choices=("dealt", "shared", "own"), help=rule)
    members = "that an archive may have, or images that shards may hold (default: 200000)"
    add.add_argument("--most-members", type=whole(1, 10**9), metavar="N", help=members)
    add.add_argument("--seed", type=SEED, default=0, help="of the splits, where the layout has none")
    add.add_argument("--every", type=SECONDS, default=1.0, metavar="SECONDS", help="of videos, a frame is taken")
    add.set_defaults(call=_add)
    parts.add_parser("list", help="the data sets that are registered").set_defaults(call=_list)
    check = parts.add_parser("check", help="open every image; list what is changed or rejected, and why")
    check.add_argument("--size", type=SIDE, help="also list images smaller than this, in pixels")
    check.add_argument("--contents", action="store_true", help="read every file, even if size and time are the same")
    check.set_defaults(call=_check)
    audit = parts.add_parser("audit", help="look for shortcuts, copies and leaks; runs will repeat the warnings")
    audit.add_argument("--re-encode", action="store_true", help="first make a data set with one common history")
    audit.add_argument("--size", type=SIDE, help="of the re-encoded images, pixels a side (default: what most allow)")
    audit.add_argument("--quality", type=whole(1, 100), default=90, help="JPEG quality, 1 to 100 (default: 90)")
    audit.set_defaults(call=_audit)
    card = parts.add_parser("card", help="write a data card with counts, formats and samples")
    card.set_defaults(call=_card)
    for part in (check, audit, card):
        part.add_argument("name", help="of the data set")
    for part in (add, check, audit, card):
        part.add_argument("--workers", type=WORKERS, help="processes (default: one for each processor)")


def _source(text: str) -> Path | str:
    if not text:  # which would be the working folder
        raise argparse.ArgumentTypeError("is ''; allowed: a folder, an archive or a table")
    return text if "://" in text else Path(text)


def _add(parsed: argparse.Namespace) -> None:
    from cldf_core.data.files import whole_file
    from cldf_core.data.intake import download
    from cldf_core.data.intake.add import add
    from cldf_core.data.layouts.description import DESCRIPTION, read_description
    from cldf_core.options import UserError

    source, settings = parsed.source, {"sha256": parsed.sha256, "labels": parsed.labels, "seed": parsed.seed}
    settings |= {"most_members": parsed.most_members, "domain_from": parsed.domain_from, "every_seconds": parsed.every}
    settings |= {"real_images": parsed.reals}
    place = download.identity(source) if isinstance(source, str) else str(source.absolute())
    call = json.dumps([place, parsed.name, *settings.values()])
    # Where the same call was interrupted after it had registered the images, this one goes on.
    marks = [path for path in (project_root() / "data").glob(f"*/{UNFINISHED}") if path.read_text("utf-8") == call]
    if marks and isinstance(source, str):  # what was downloaded is unpacked, and gone
        folder, extracted = marks[0].parent, None
    else:
        folder, extracted = add(source, parsed.name, replace=parsed.replace or bool(marks), **settings)
    try:
        with whole_file(folder / UNFINISHED) as mark:
            mark.write_text(call, "utf-8")
    except UserError:  # without the mark, the same call would be refused
        (folder / DESCRIPTION).unlink()
        raise
    if extracted:
        of = download.shown(source) if isinstance(source, str) else source.name
        print(printable(f"{counted(extracted.files, 'file')} of {of} in {extracted.folder}."))
    if extracted and extracted.left_out:
        others = f"{counted(extracted.left_out, 'other')}, such as {', '.join(extracted.first_left_out)}"
        print(printable(f"Left out: {others}."))
    print(printable(read_description(folder).found))
    _print_check(folder.name, workers=parsed.workers)
    _print_audit(folder.name, parsed.workers)
    (folder / UNFINISHED).unlink()


def _list(parsed: argparse.Namespace) -> None:
    from cldf_core.data.intake.add import data_sets

    table, faults = data_sets()
    if not table.empty:
        print(_text(table))
    elif not faults:
        print("no data set is registered yet: cldf data add FOLDER, ARCHIVE or TABLE; the embedded one is called mini")
    for fault in faults:
        print(printable(f"note: {fault}"), file=sys.stderr)


def _check(parsed: argparse.Namespace) -> int:
    return _print_check(parsed.name, size=parsed.size, contents=parsed.contents, workers=parsed.workers)


def _print_check(name: str, **settings: Any) -> int:
    """Returns 1 if no image at all can be used, else 0."""
    from cldf_core.data.intake.reports import CHECK, check_images

    count, rows = check_images(name, **settings)
    rejected = int((rows["what"] == "rejected").sum())
    refused = f"{rejected} {'is' if rejected == 1 else 'are'} rejected"
    print(f"{counted(count, 'image')}: {count - rejected} can be used, {refused}.")
    if len(rows):
        print(_text(rows.sort_values("what", ascending=False).head(SHOWN)))
        print(printable(f"The whole list ({counted(len(rows), 'row')}) is {project_root() / 'data' / name / CHECK}."))
    return int(rejected == count)


def _audit(parsed: argparse.Namespace) -> None:
    from cldf_core.data.intake.reencode import reencode_images
    from cldf_core.data.intake.reports import CHECK
    from cldf_core.data.layouts.description import read_description

    if not parsed.re_encode:
        return _print_audit(parsed.name, parsed.workers)
    workers = parsed.workers
    folder, count, rejected = reencode_images(parsed.name, size=parsed.size, quality=parsed.quality, workers=workers)
    found = read_description(folder).found
    print(printable(f"{found} {counted(count, 'image')}; rejected: {len(rejected)}, listed in {folder / CHECK}."))
    return _print_audit(folder.name, workers)


def _print_audit(name: str, workers: int | None) -> None:
    """Also puts the detectors that were trained on the data set beside the classifier."""
    from cldf_core.data.files import save_table
    from cldf_core.data.intake.reports import FACTS_ONLY, audit_images
    from cldf_core.results.metric_table import balanced_accuracies

    audit = audit_images(name, workers=workers)
    table = audit.facts_only.join(balanced_accuracies(name), on="domain")
    save_table(table, project_root() / "data" / name / "audit", FACTS_ONLY)
    print(_text(audit.counts))
    print("\nBalanced accuracy of a classifier that sees only facts of the files (chance is 0.5):")
    print(_text(table, float_format="{:.3f}".format, na_rep=""), end="\n\n")
    for text in audit.warnings:
        print(f"warning: {printable(text)}")
    count = counted(len(audit.warnings), "warning")
    print(f"{count}; every run on {name!r} repeats what is doubtful." if audit.warnings else "No warning.")


def _card(parsed: argparse.Namespace) -> None:
    from cldf_core.data.intake.reports import write_card

    print(printable(" and ".join(map(str, write_card(parsed.name, workers=parsed.workers)))))


def _text(table: "pd.DataFrame", **settings: Any) -> str:
    """A table to be read, in which no name makes a line of its own."""
    cells = table.map(lambda cell: printable(cell) if isinstance(cell, str) else cell)
    return cells.to_string(index=False, **settings)
