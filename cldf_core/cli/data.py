"""`cldf data`: adds, lists, checks, audits and describes the user's own images."""

import argparse
from pathlib import Path
from typing import Any

from cldf_core.data.runtime import project_root

SHOWN = 20  # rows of a table that are printed; all of them are in a file


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
    check = parts.add_parser("check", help="open every image; list what is changed or rejected, and why")
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
    from cldf_core.data.intake.add import add
    from cldf_core.data.layouts.description import read_description

    workers = _workers(parsed)
    settings = {"sha256": parsed.sha256, "replace": parsed.replace, "seed": parsed.seed, "every_seconds": parsed.every}
    folder, extracted = add(parsed.source, parsed.name, **settings)
    if extracted:
        print(f"{extracted.files} files of {parsed.source.name} are in {extracted.folder}.")
    if extracted and extracted.left_out:
        print(f"{extracted.left_out} others are left out, such as {', '.join(extracted.first_left_out)}.")
    print(read_description(folder).found)
    _print_check(folder.name, workers=workers)
    return _print_audit(folder.name, workers)


def _list(parsed: argparse.Namespace) -> None:
    from cldf_core.data.intake.add import data_sets

    if (table := data_sets()).empty:
        print("no data set is registered yet: cldf data add FOLDER or ARCHIVE; the embedded one is called mini")
    else:
        print(table.to_string(index=False))


def _check(parsed: argparse.Namespace) -> int:
    return _print_check(parsed.name, size=parsed.size, contents=parsed.contents, workers=_workers(parsed))


def _print_check(name: str, **settings: Any) -> int:
    """Returns 1 if no image at all can be used, else 0."""
    from cldf_core.data.intake.reports import CHECK, check_images

    count, rows = check_images(name, **settings)
    rejected = int((rows["what"] == "rejected").sum())
    print(f"{count} images: {count - rejected} can be used, {rejected} are rejected.")
    if len(rows):
        print(rows.sort_values("what", ascending=False).head(SHOWN).to_string(index=False))
        print(f"All {len(rows)} are in {project_root() / 'data' / name / CHECK}.")
    return int(rejected == count)


def _audit(parsed: argparse.Namespace) -> int:
    from cldf_core.data.intake.reencode import reencode_images
    from cldf_core.data.intake.reports import CHECK
    from cldf_core.data.layouts.description import read_description
    from cldf_core.options import OptionError

    if not parsed.re_encode:
        return _print_audit(parsed.name, _workers(parsed))
    if not 1 <= parsed.quality <= 100:
        raise OptionError(f"--quality is {parsed.quality}; allowed: a whole number from 1 to 100")
    workers = _workers(parsed)
    folder, count, rejected = reencode_images(parsed.name, size=parsed.size, quality=parsed.quality, workers=workers)
    found = read_description(folder).found
    print(f"{found} {count} images; {len(rejected)} are rejected, listed in {folder / CHECK}.")
    return _print_audit(folder.name, workers)


def _print_audit(name: str, workers: int | None) -> int:
    """Also puts the detectors that were trained on the data set beside the classifier; returns 0."""
    from cldf_core.data.files import save_table
    from cldf_core.data.intake.reports import FACTS_ONLY, audit_images
    from cldf_core.results.metric_table import balanced_accuracies

    audit = audit_images(name, workers=workers)
    table = audit.facts_only.join(balanced_accuracies(name), on="domain")
    save_table(table, project_root() / "data" / name / "audit", FACTS_ONLY)
    print(audit.counts.to_string(index=False))
    print("\nBalanced accuracy of a classifier that sees only facts of the files (chance is 0.5):")
    print(table.to_string(index=False, float_format="{:.3f}".format, na_rep=""), end="\n\n")
    for text in audit.warnings:
        print(f"warning: {text}")
    count = "1 warning" if len(audit.warnings) == 1 else f"{len(audit.warnings)} warnings"
    print(f"{count}; every run on {name!r} repeats what is doubtful." if audit.warnings else "No warning.")
    return 0


def _card(parsed: argparse.Namespace) -> None:
    from cldf_core.data.intake.reports import write_card

    print(*write_card(parsed.name, workers=_workers(parsed)), sep=" and ")


def _workers(parsed: argparse.Namespace) -> int | None:
    from cldf_core.options import OptionError

    if parsed.workers is not None and parsed.workers < 1:
        raise OptionError(f"--workers is {parsed.workers}; allowed: a whole number from 1 up")
    return parsed.workers
