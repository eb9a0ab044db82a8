"""`cldf detector`: which detector is in use, where it comes from, and how to go back to an earlier one."""

from __future__ import annotations

import argparse
from typing import Any

from cldf_core.data.console import printable


def add_command(subparsers: Any) -> None:
    """Adds `cldf detector` with its commands."""
    parser = subparsers.add_parser("detector", help="the detector in use: list, show, compare, go back to one before")
    parts = parser.add_subparsers(title="commands", metavar="", required=True)
    parts.add_parser("list", help="all that were in use, the present one last").set_defaults(call=_list)
    show = parts.add_parser("show", help="where one comes from: data, images, time, and the run before it")
    show.add_argument("run", nargs="?", metavar="RUN", help="of the detector (default: the one in use)")
    show.set_defaults(call=_show)
    use = parts.add_parser("use", help="take one into use, also one from before")
    use.add_argument("run", metavar="RUN", help="a finished run in runs/")
    use.set_defaults(call=_use)
    compare = parts.add_parser("compare", help="what two say of the same images")
    compare.add_argument("first", metavar="RUN")
    compare.add_argument("second", nargs="?", metavar="RUN", help="default: the one in use")
    compare.set_defaults(call=_compare)


def _list(parsed: argparse.Namespace) -> None:
    from cldf_core.detection.in_use import history

    uses = history()
    for use in uses:
        mark = "*" if use is uses[-1] else " "
        print(printable(f"{mark} {use.since}  {use.run}  {use.why}"))
    if not uses:
        print("no detector was taken into use yet; cldf detector use RUN does so")


def _show(parsed: argparse.Namespace) -> None:
    from cldf_core.detection.in_use import lineage, named

    for run, record in lineage(named(parsed.run)):
        manifest = run.manifest
        options = manifest["options"]
        print(printable(f"{run.path.name}: {options['agent']}, begun {manifest['started']}, code {manifest['code']}"))
        for name in options["stream"][record.get("steps", 0) :]:
            steps = [step for step in manifest["steps"] if step["domain"] == name]  # several, where it comes in chunks
            limits = [most for most in [options.get("limit"), options.get("limits", {}).get(name)] if most]
            count = f"at most {min(limits)} images a class" if limits else "all images"
            seen, seconds = (sum(step[what] for step in steps) for what in ("images", "seconds"))
            of = "" if ":" in name else f" of {options['data']}"
            print(
                printable(
                    f"  {name}{of}: {count}; {seen} gone through, with repeats and replayed ones, in {seconds:.0f} s"
                )
            )
        size = run.kept_bytes
        print(f"  state to go on from: {f'{size / 1e6:.1f} MB' if size else 'none was kept'}")
        if record:
            same = "with the same method and versions" if record["equal"] else "made with another method or versions"
            print(printable(f"  went on from {record['from']}, {same}"))


def _use(parsed: argparse.Namespace) -> None:
    from cldf_core.detection.in_use import changing, named, use

    run = named(parsed.run)
    with changing():
        use(run, "cldf detector use")
    print(f"in use: {run.path.name}")


def _compare(parsed: argparse.Namespace) -> None:
    from cldf_core.cli.update import text_of
    from cldf_core.detection.in_use import named
    from cldf_core.detection.update import compared

    first, second = named(parsed.first), named(parsed.second)
    print(f"before: {first.path.name}, after: {second.path.name}, on test photographs, where there are any\n")
    table, facts = compared(first, second)
    print(text_of(table), "", facts.to_string(index=False, float_format="{:.3g}".format), sep="\n")
