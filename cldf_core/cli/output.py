"""Where a command's result goes: --format and --out, checked before the work; a file appears whole or not at all."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cldf_core.data.console import write_data

if TYPE_CHECKING:  # help texts do not wait for it
    import pandas as pd

ENDINGS = {"table": ".txt", "csv": ".csv", "json": ".json", "parquet": ".parquet"}


def add_flags(parser: argparse.ArgumentParser, formats: Sequence[str], more: str = "") -> None:
    """Adds --format and --out."""
    endings = ", ".join(ENDINGS[name] for name in formats)
    parser.add_argument("--format", choices=formats, help="default: what --out ends with, else table")
    parser.add_argument("--out", type=Path, help=f"file for the result, which it replaces; ends with {endings}{more}")


def chosen_format(parsed: argparse.Namespace, formats: Sequence[str], inputs: Iterable[str]) -> str:
    """The format that --format or the ending of --out names.

    Raises:
        UserError: the ending is that of another format or of none, --out is a folder, or `keep` refuses it.
    """
    from cldf_core.options import UserError

    out = parsed.out
    if out is None:
        if parsed.format == "parquet":
            raise UserError("--format is 'parquet'; needed besides: --out with a file")
        return parsed.format or "table"
    if os.path.isdir(out):
        raise UserError(f"--out {out} is a folder; needed: a file")
    endings = {ENDINGS[name]: name for name in ([parsed.format] if parsed.format else formats)}
    if out.suffix.lower() not in endings:
        raise UserError(f"--out is {out}; allowed: a name that ends with {' or '.join(endings)}")
    keep(out, inputs)
    return endings[out.suffix.lower()]


def keep(out: Path, inputs: Iterable[str], *, named: str = "--out") -> None:
    """Raises a UserError where a result would replace one of the inputs, or lie in a run's or a data set's folder."""
    from cldf_core.data.layouts.description import is_described
    from cldf_core.options import UserError

    if os.path.exists(out) and any(os.path.exists(name) and os.path.samefile(name, out) for name in inputs):
        raise UserError(f"{named} {out} is also what is read; allowed: another file")
    if any(is_described(folder) or _is_run(folder) for folder in Path(os.path.realpath(out)).parents):
        raise UserError(f"{named} {out} lies in the folder of a run or of a data set; allowed: another folder")


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, of a notebook's execution or of a sweep; a damaged one is, too."""
    from cldf_core.options import UserError
    from cldf_core.runs.folder import RunFolder

    try:
        return "status" in RunFolder(folder).manifest
    except UserError:
        return True


@contextlib.contextmanager
def opened(out: Path | None, form: str = "table") -> Iterator[Callable[[str | pd.DataFrame], None]]:
    """Yields what writes a result: to the terminal or to the file, which is opened now and is there when all is done.

    Names are true in a file, whatever a terminal shows. A fault of the disk or of the file's name is a UserError.
    """
    from cldf_core.data.files import whole_file

    with contextlib.ExitStack() as stack:
        with _explained(out):  # before the work, not after it
            path = stack.enter_context(whole_file(out)) if out else None

        def write(result: str | pd.DataFrame) -> None:
            with _explained(out):
                if path is None:
                    print(result, end="") if form == "table" else write_data(str(result))
                elif isinstance(result, str):
                    path.write_text(result, encoding="utf-8", newline="\n")
                else:
                    result.to_parquet(path, index=False)

        yield write


@contextlib.contextmanager
def _explained(out: Path | None) -> Iterator[None]:
    from cldf_core.options import UserError

    try:
        yield
    except OSError as error:
        if out is None:
            raise
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from None
