"""`cldf metrics`: prints or writes the metrics of runs and score files."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from cldf_core.cli.numbers import whole
from cldf_core.cli.output import add_flags, chosen_format, keep, opened
from cldf_core.data.console import note, printable

if TYPE_CHECKING:  # `cldf metrics --help` does not wait for it
    import pandas as pd

FORMATS = ("table", "csv", "json", "parquet")
EXITS = "Exit status: 0 if all was measured, 3 if some was damaged or unfinished and left out, 2 for a wrong call."
_TEXT_COLUMNS = ("run", "agent", "seed", "step", "domain", "metric", "first", "second", "spread", "reals")
_WITH_INTERVAL = ("value", "difference")
NONE = " (no interval)"


def add_command(subparsers: Any) -> None:
    """Adds `cldf metrics` with its flags."""
    about = "Every metric of runs and of score files, with 95 % intervals. Those of one run are over groups of images "
    about += "(photographs); those of means over seeds are over seeds and groups, or over seeds alone, as the column "
    about += (
        "spread says; all with these training images. There is none where groups cannot tell it: fewer than 5 of a "
    )
    about += "class, or the same value in every resample, as of classes apart. " + EXITS
    parser = subparsers.add_parser("metrics", help="every metric of runs and score files", description=about)
    add = parser.add_argument
    runs = "a run's folder or its name in runs/; or a CSV or parquet file with image, domain, label and score, "
    runs += "and if you like step, split, group, agent, seed, video"
    add("runs", nargs="+", metavar="RUN", help=runs)
    add("--split", choices=("test", "validation"), default="test", help="whose scores (default: test)")
    add("--threshold", default="0.5", help="P(fake) from which it is fake, or: validation (default: 0.5)")
    add("--metric", nargs="+", action="extend", default=[], metavar="NAME", help='such as AUC or "TPR at 5 %% FPR"')
    shared = (
        "shared: domains of fakes only are measured against the pooled real images of domains of reals only (of all "
    )
    shared += (
        "domains, if there is none of these), of the same agent, seed, step and split; resamples draw them once for "
    )
    shared += "all domains, with the fakes of their groups. Domains of both classes keep their own (default: own)"
    add("--reals", choices=("own", "shared"), default="own", help=shared)
    add("--stream", help="the trained domains of score files, in their order: A,B,C")
    video = "the column that names videos (default: video, if it is there)"
    add("--video-from", choices=("group", "video"), help=video)
    compared = "agents, paired by the seeds and groups that both have, p Holm-corrected (p_seeds: over seeds alone); "
    compared += "without several common seeds, every two runs or files, paired by groups"
    add("--compare", action="store_true", help=compared)
    add("--resamples", type=whole(1, 100_000), default=1000, help="of the bootstrap over groups (default: 1000)")
    add_flags(parser, FORMATS, "; with --compare a second file's name ends with -compare")
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Computes and writes the metrics that the command line names; returns 0, or 3 as EXITS says."""
    from cldf_core.results.compare import compare
    from cldf_core.results.metric_table import metric_table
    from cldf_core.results.score_tables import matches

    found = matches(parsed.runs)
    runs = [name for name, why in found.items() if not why]
    style = chosen_format(parsed, FORMATS, found)
    stream = None if parsed.stream is None else [name.strip() for name in parsed.stream.split(",")]
    settings: dict[str, Any] = {"split": parsed.split, "threshold": parsed.threshold, "metrics": parsed.metric}
    settings |= {"reals": parsed.reals}
    settings |= {"stream": stream, "resamples": parsed.resamples}
    two = parsed.out and parsed.compare and style in ("csv", "parquet")
    second = parsed.out.with_stem(parsed.out.stem + "-compare") if two else None
    if second:
        keep(second, found)
    with opened(parsed.out, style) as write, opened(second, style) as write_second:
        tables = {"metrics": metric_table(runs, video_from=parsed.video_from, **settings)}
        if parsed.compare:
            tables["comparisons"] = compare(tables["metrics"], runs, **settings)
        notes = [f"left out: {why}" for why in found.values() if why]
        notes += [text for table in tables.values() for text in table.attrs["notes"]]
        for text in notes:
            note(text)
        if style == "json":
            values = {name: json.loads(t.to_json(orient="records", double_precision=15)) for name, t in tables.items()}
            write(json.dumps({**values, "notes": notes}, indent=1) + "\n")
        elif style == "table":
            write("\n".join(_aligned(table) for table in tables.values()))
        else:
            for number, table in enumerate(tables.values()):
                if number and not second:
                    print()
                content = _nan_written(table).to_csv(index=False, lineterminator="\n") if style == "csv" else table
                (write_second if number else write)(content)
    return 3 if any(found.values()) else 0


def _nan_written(table: pd.DataFrame) -> pd.DataFrame:
    """Writes "NaN" for undefined values, so that they are not taken for missing ones."""
    names = [name for name in _WITH_INTERVAL if name in table]
    return table.assign(**{name: table[name].astype(object).where(table[name].notna(), "NaN") for name in names})


def _aligned(table: pd.DataFrame) -> str:
    """Writes a table to be read: numbers with four decimals, intervals in brackets, nothing for missing values."""
    left_out = {"low", "high", "threshold_from", "split"}
    left_out |= {name for name in ("p", "p_holm", "p_seeds") if name in table and table[name].isna().all()}
    values = _nan_written(table).astype(object)
    values = values.where(values.notna(), None)
    columns = []
    for name in (str(name) for name in table if name not in left_out):
        cells = [printable(name), *map(_cell, values[name])]
        if name in _WITH_INTERVAL:
            intervals = [
                f" [{_cell(low)}, {_cell(high)}]" if low is not None else "" if n is None or value == "NaN" else NONE
                for value, low, high, n in values[[name, "low", "high", "n"]].itertuples(index=False)
            ]
            cells = [cell + end for cell, end in zip(cells, [" [95 % interval]", *intervals], strict=True)]
        width = max(map(len, cells))
        columns.append([cell.ljust(width) if name in _TEXT_COLUMNS else cell.rjust(width) for cell in cells])
    return "".join("  ".join(line).rstrip() + "\n" for line in zip(*columns, strict=True))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"
    return "" if value is None else printable(value)
