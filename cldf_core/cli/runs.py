"""`cldf runs`: what lies in runs/, what is in a run, how two differ, and what can go."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cldf_core.cli.output import add_flags, chosen_format, opened
from cldf_core.data.console import counted, note, printable

if TYPE_CHECKING:  # `cldf runs --help` does not wait for them
    import pandas as pd

    from cldf_core.results.inventory import Entry

FORMATS = ("table", "csv", "json")
MAIN = ("accuracy", "AUC", "average", "learning", "forgetting (max-last)", "unseen")  # metrics of two runs side by side


def add_command(subparsers: Any) -> None:
    """Adds `cldf runs` with its commands and their flags."""
    parser = subparsers.add_parser("runs", help="the folders in runs/: list, show, compare them, delete some")
    parts = parser.add_subparsers(title="commands", metavar="", required=True)
    names = "names or patterns, such as er-*"
    show_all = parts.add_parser("list", help="what is there: state, agent, data, seed, time, size")
    show_all.add_argument("runs", nargs="*", metavar="RUN", help=f"{names} (default: all)")
    add_flags(show_all, FORMATS)
    show_all.set_defaults(call=_list)
    show = parts.add_parser("show", help="what is in one: options, data, versions, notes, results, files")
    show.add_argument("run", metavar="RUN")
    show.set_defaults(call=_show)
    compare = parts.add_parser("compare", help="why two have different keys, and what differs in their results")
    compare.add_argument("first", metavar="RUN")
    compare.add_argument("second", metavar="RUN")
    compare.set_defaults(call=_compare)
    remove = parts.add_parser("rm", help="delete some, after a question")
    remove.add_argument("runs", nargs="+", metavar="RUN", help=names)
    remove.add_argument("--yes", action="store_true", help="without a question")
    remove.set_defaults(call=_remove)
    collect = parts.add_parser("gc", help="show those that no published table needs, or delete them")
    collect.add_argument("--delete", action="store_true", help="delete them (default: only show them)")
    collect.set_defaults(call=_collect)


def _list(parsed: argparse.Namespace) -> None:
    import pandas as pd

    from cldf_core.results.inventory import entries

    style = chosen_format(parsed, FORMATS, [])
    table = pd.DataFrame([_row(entry) for entry in entries(parsed.runs)])
    with opened(parsed.out, style) as write:
        if style == "csv":
            write(table.to_csv(index=False, lineterminator="\n"))
        elif style == "json":
            write(table.to_json(orient="records", indent=1) + "\n")
        elif table.empty:
            write("no run is there yet\n")
        else:
            sizes = table["bytes"].map(_size)
            write(_text(table.drop(columns=["kind", "bytes"]).assign(size=sizes)) + "\n")


def _show(parsed: argparse.Namespace) -> None:
    from cldf_core.results.inventory import changed_options, entries, users
    from cldf_core.runs.folder import RunFolder

    entry = _one(parsed.run)
    manifest = entry.manifest
    damaged = RunFolder(entry.path).damaged() if manifest else None
    print(printable(f"{entry.name}: {f'damaged ({damaged.name})' if damaged else entry.status}"))
    options = changed_options(entry.options) if entry.kind == "run" else entry.options
    sections: dict[str, Sequence[str]] = {
        "agent, variant, and options that are not their defaults": _pairs(options),
        "data, by their content": _pairs(entry.part("data")),
        "versions": _pairs({**entry.part("versions"), "code": manifest.get("code"), "commit": manifest.get("git")}),
        "notes": [str(text) for text in manifest.get("notes") or ()],
        "error": [str(manifest["error"])] if manifest.get("error") else [],
        "steps": _steps(entry),
        "accuracy after each step": [] if damaged else _accuracies(entry),
        "made from": [str(name) for name in entry.runs or ()],
        "used by": list(users([entry.name], entries())),
        "files": [f"{_size(size):>8}  {name}" for name, size in sorted(entry.files.items())],
    }
    for title, lines in sections.items():
        if lines:
            print(f"\n{title}:", *(f"  {printable(line)}" for line in lines), sep="\n")


def _compare(parsed: argparse.Namespace) -> None:
    import pandas as pd

    from cldf_core.options import UserError
    from cldf_core.results.inventory import differences

    first, second = two = _one(parsed.first), _one(parsed.second)
    if first.name == second.name:
        raise UserError(f"{first.name} is named twice; needed: two runs or two notebooks")
    if first.kind != second.kind:
        raise UserError(f"{first.name} and {second.name} are not two of one kind; needed: two runs or two notebooks")
    rows = differences(first, second)
    print(_text(pd.DataFrame(rows, columns=["", first.name, second.name])) if rows else "nothing is known to differ")
    if all(entry.kind == "run" and entry.status == "finished" for entry in two):
        print("", _results(first, second), sep="\n")


def _remove(parsed: argparse.Namespace) -> int:
    from cldf_core.options import UserError
    from cldf_core.results.inventory import entries, users

    chosen = entries(parsed.runs)
    for entry in chosen:
        if not entry.kind and not entry.path.is_symlink():
            raise UserError(f"{entry.path} is {entry.status}, so nothing is deleted; allowed: what cldf made")
        if entry.status.startswith("being made"):
            raise UserError(f"{entry.path} is {entry.status}, so nothing is deleted")
        _refuse_in_use(entry)
    names = [entry.name for entry in chosen]
    for user, runs in users(names, entries()).items():
        if user not in names:
            more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
            note(f"{user} was made from {', '.join(runs[:3])}{more}")
    print(_text(_sized([(entry, entry.status) for entry in chosen])))
    if not parsed.yes and not _agreed(chosen):
        print("nothing is deleted")
        return 1
    return _deleted(chosen)


def _collect(parsed: argparse.Namespace) -> int:
    from cldf_core.workflow.unneeded import unneeded

    found, notes = unneeded()
    for text in notes:
        note(text)
    if found:
        print(_text(_sized(found)))
    if parsed.delete:
        return _deleted([entry for entry, _ in found])
    total = f"{counted(len(found), 'folder')}, {_size(sum(entry.bytes for entry, _ in found))}"
    print(f"{total}, which cldf runs gc --delete deletes" if found else "published tables need all that is there")
    return 0


def _deleted(chosen: Sequence[Entry]) -> int:
    """Deletes folders; returns 1 if one of them is kept, because somebody writes into it, else 0."""
    from cldf_core.options import UserError
    from cldf_core.results.inventory import forget_removed, remove

    forget_removed()
    kept = []
    for entry in chosen:
        try:
            _refuse_in_use(entry)  # which may have changed since
            remove(entry)
        except (UserError, OSError) as error:
            kept.append(entry.name)
            note(f"kept: {error}")
    gone = [entry for entry in chosen if entry.name not in kept]
    print(f"deleted: {counted(len(gone), 'folder')}, {_size(sum(entry.bytes for entry in gone))}")
    return int(bool(kept))


def _refuse_in_use(entry: Entry) -> None:
    from cldf_core.data.runtime import project_root
    from cldf_core.detection.in_use import history
    from cldf_core.options import UserError

    if (uses := history()) and entry.path == project_root() / "runs" / uses[-1].run:
        needed = "needed: another one in use before (cldf detector use RUN)"
        raise UserError(f"{entry.path} is the detector in use, so it is not deleted; {needed}")


def _agreed(chosen: Sequence[Entry]) -> bool:
    from cldf_core.options import UserError

    if not sys.stdin or not sys.stdin.isatty():
        raise UserError("nobody can be asked here, so nothing is deleted; needed: --yes")
    print(f"Delete {counted(len(chosen), 'folder')}? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _one(word: str) -> Entry:
    from cldf_core.options import UserError
    from cldf_core.results.inventory import entries

    found = entries([word])
    if len(found) > 1:
        raise UserError(f"{word!r} fits {', '.join(entry.name for entry in found[:3])} …; needed: one of them")
    return found[0]


def _row(entry: Entry) -> dict[str, Any]:
    values = {name: entry.options.get(name, "") for name in ("data", "seed")}
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.written)) if entry.written else ""
    row = {"name": entry.name, "status": entry.status, "kind": entry.kind, "what": entry.who, **values, "when": when}
    return {**row, "seconds": entry.manifest.get("seconds", ""), "bytes": entry.bytes}


def _steps(entry: Entry) -> list[str]:
    import pandas as pd

    steps = entry.manifest.get("steps") or []
    rows = [{name: step.get(name) for name in ("step", "domain", "chunk", "images", "seconds")} for step in steps]
    return _text(pd.DataFrame(rows)).splitlines() if rows else []


def _accuracies(entry: Entry) -> list[str]:
    """The matrices of accuracies of the splits that were scored, as far as the run has come."""
    import pandas as pd

    from cldf_core.evaluation.metrics import matrix
    from cldf_core.runs.folder import RunFolder

    tables = RunFolder(entry.path).score_tables() if entry.kind == "run" and entry.manifest else []
    scores = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"split": []})
    lines = []
    for split in scores["split"].unique():
        R = matrix(scores, split=split).rename_axis(index="step", columns=None).reset_index()
        lines += [f"{split}:", *_text(R, float_format="{:.3f}".format, na_rep="").splitlines()]
    return lines


def _results(first: Entry, second: Entry) -> str:
    """The main metrics of two runs side by side, and their paired differences."""
    from cldf_core.results.compare import beside

    test = all("test" in entry.options.get("splits", ()) for entry in (first, second))
    table = beside(first.path, second.path, MAIN, split="test" if test else "validation")
    for text in table.attrs["notes"]:
        note(text)
    cells = [
        "" if value != value else f"{value:+.3f}" + (f" [{low:+.3f}, {high:+.3f}]" if low == low else "")
        for value, low, high in table[["difference", "low", "high"]].to_numpy(float)
    ]
    table = table[["metric", "domain", "first", "second"]].assign(**{"difference [95 % interval]": cells})
    names = {"first": first.name, "second": second.name}
    return _text(table.rename(columns=names), float_format="{:.3f}".format, na_rep="")


def _sized(rows: Sequence[tuple[Entry, str]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([{"name": entry.name, "state": why, "size": _size(entry.bytes)} for entry, why in rows])


def _pairs(values: dict[str, Any]) -> list[str]:
    width = max(map(len, values), default=0)
    return [f"{name:{width}}  {value}" for name, value in values.items() if value is not None]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _text(table: pd.DataFrame, **settings: Any) -> str:
    """A table to be read, in which no name makes a line of its own."""
    cells = table.map(lambda cell: printable(cell) if isinstance(cell, str) else cell)
    return cells.rename(columns=printable).to_string(index=False, **settings)
