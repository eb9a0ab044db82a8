"""`cldf metrics`: the metric card of runs and score files, printed or written."""

from __future__ import annotations

import argparse
import glob
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cldf_core.options import UserError

if TYPE_CHECKING:  # `cldf metrics --help` does not wait for it
    import pandas as pd

FORMATS = ("table", "csv", "json", "parquet")
_WORDS = ("run", "agent", "seed", "step", "domain", "metric", "first", "second")
_WITH_INTERVAL = ("value", "difference")


def command(words: Sequence[str]) -> int:
    """`cldf metrics` with these words."""
    parser = argparse.ArgumentParser(
        prog="cldf metrics", description="Every metric of runs and of score files, with 95 % intervals."
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder or its name in runs/; or a CSV or parquet file with image, domain, label and score, "
        "and if you like step, split, group, agent, seed, video",
    )
    add("--split", choices=("test", "validation"), default="test", help="whose scores (default: test)")
    add("--threshold", default="0.5", help="P(fake) from which it is fake, or: validation (default: 0.5)")
    add("--metric", nargs="+", action="extend", default=[], metavar="NAME", help='such as AUC or "TPR at 5 %% FPR"')
    add("--stream", help="the trained domains of score files, in their order: A,B,C")
    add(
        "--video-from", choices=("group", "video"), help="the column that names videos (default: video, if it is there)"
    )
    add(
        "--compare",
        action="store_true",
        help="agents: paired t tests over common seeds, Holm-corrected; without several of these, every two runs or "
        "files, from the same resamples of the images both were tested on",
    )
    add("--resamples", type=int, default=1000, help="of the bootstrap over groups (default: 1000)")
    add("--format", choices=FORMATS, help="default: what --out ends with, else table")
    add("--out", type=Path, help="file for the result; with --compare a second one ends with -compare")
    return main(parser.parse_args(words))


def main(parsed: argparse.Namespace) -> int:
    """Measures what the command line names; returns 0.

    Raises:
        UserError: as `metric_card`, `compared` and `paired`; or --resamples or --out cannot be what they are.
    """
    from cldf_core.results.compare import compared, paired, several_seeds
    from cldf_core.results.metric_table import metric_card

    ending = parsed.out.suffix[1:].lower() if parsed.out else ""
    how = parsed.format or (ending if ending in FORMATS else "table")
    if parsed.resamples < 1:
        raise UserError(f"--resamples is {parsed.resamples}; allowed: a whole number from 1")
    if parsed.out:
        _check_out(parsed.out)
    if how == "parquet" and not parsed.out:
        raise UserError("--format is 'parquet'; needed besides: --out with a file")
    runs = [name for given in parsed.runs for name in sorted(glob.glob(given)) or [given]]  # not every shell does it
    settings: dict[str, Any] = {
        "split": parsed.split,
        "threshold": parsed.threshold,
        "metrics": parsed.metric,
        "stream": None if parsed.stream is None else [name.strip() for name in parsed.stream.split(",")],
        "resamples": parsed.resamples,
    }
    card = metric_card(runs, video_from=parsed.video_from, **settings)
    comparison = None
    if parsed.compare:
        comparison = compared(card) if several_seeds(card) else paired(runs, **settings)
    for console in (sys.stdout, sys.stderr):
        if isinstance(console, io.TextIOWrapper):  # it may lack letters of a name
            console.reconfigure(errors="backslashreplace")
    notes = [*card.attrs["notes"], *(() if comparison is None else comparison.attrs["notes"])]
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if how == "json":
        parts = {"metrics": card} | ({} if comparison is None else {"comparisons": comparison})
        values = {name: json.loads(part.to_json(orient="records", double_precision=15)) for name, part in parts.items()}
        _give(json.dumps({**values, "notes": notes}, indent=1) + "\n", parsed.out)
        return 0
    tables = [card] if comparison is None else [card, comparison]
    if how == "table":
        _give("\n".join(_aligned(table) for table in tables), parsed.out)
        return 0
    for number, table in enumerate(tables):
        out = parsed.out.with_stem(parsed.out.stem + "-compare") if parsed.out and number else parsed.out
        if number and not out:
            print()
        _give(_undefined_told(table).to_csv(index=False, lineterminator="\n") if how == "csv" else table, out)
    return 0


def _check_out(out: Path) -> None:
    """Finds out whether a file can be written there, before the work and not after it."""
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; needed: a file")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from None


def _give(result: str | pd.DataFrame, out: Path | None) -> None:
    """Prints a text, or writes text or parquet."""
    from cldf_core.data.files import whole_file

    if out is None:
        print(result, end="")
        return
    try:
        with whole_file(out) as path:
            if isinstance(result, str):
                path.write_text(result, encoding="utf-8", newline="\n")
            else:
                result.to_parquet(path, index=False)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from None


def _undefined_told(table: pd.DataFrame) -> pd.DataFrame:
    """With "NaN" for the values that are not defined, which are not to be taken for missing."""
    told = {
        name: table[name].astype(object).where(table[name].notna(), "NaN") for name in _WITH_INTERVAL if name in table
    }
    return table.assign(**told)


def _aligned(table: pd.DataFrame) -> str:
    """A table to be read: numbers with four places, an interval in brackets, nothing for what is missing."""
    unasked = ("low", "high", "threshold_from", "split", "spread")
    names = [
        str(name)
        for name in table
        if name not in unasked and not (name in ("p", "p_holm") and table[name].isna().all())
    ]
    lines = [[f"{name} [95 % interval]" if name in _WITH_INTERVAL else name for name in names]]
    told = _undefined_told(table).astype(object)
    given = told.where(told.notna(), None)
    for row in given.to_dict("records"):
        cells = {name: _text(row[name]) for name in names}
        for name in set(_WITH_INTERVAL) & set(names):
            if row["low"] is not None:
                cells[name] += f" [{_text(row['low'])}, {_text(row['high'])}]"
        lines.append(list(cells.values()))
    left = [name in _WORDS for name in names]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [cell.ljust(width) if to_left else cell.rjust(width) for cell, width, to_left in zip(*row, strict=True)]
        for row in ((line, widths, left) for line in lines)
    )
    return "".join("  ".join(cells).rstrip() + "\n" for cells in padded)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"
    return "" if value is None else str(value)
