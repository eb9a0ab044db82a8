"""Writes files that appear whole or not at all, figures and tables among them; computes files' hashes once."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a path to write to, which becomes `path` when all went well, and vanishes when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def irregular(path: Path) -> str:
    """Says what a path is if it is neither a regular file nor a folder, else ""; nothing is opened."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except FileNotFoundError:
        return "a link to nothing" if path.is_symlink() else "no such file"
    except PermissionError:
        return "no permission to reach it"
    except (OSError, ValueError) as error:  # a link to itself; a name that no system has
        return "a link that leads in a circle" if os.path.islink(path) else f"out of reach: {error}"
    return "" if kind in (stat.S_IFREG, stat.S_IFDIR) else _KINDS.get(kind, "no regular file")


def content_hashes(root: Path, names: Sequence[str], index: Path, *, again: bool = False) -> list[str]:
    """The `file_hash` of each file, from an index where its size and time are those of its last reading.

    Args:
        root: the folder that names start from.
        names: relative paths.
        index: a parquet file of what was read before; it is made, and kept up to date.
        again: reads every file, whatever the index says.
    """
    stats = [(root / name).stat() for name in names]
    with FileLock(index.with_suffix(".lock")):
        known: dict[str, tuple[int, int, str]] = {}
        if index.is_file():
            known = {name: tuple(facts) for name, *facts in pd.read_parquet(index).itertuples(index=False)}
        changed = False
        for name, stat in zip(names, stats, strict=True):
            if again or known.get(name, ())[:2] != (stat.st_size, stat.st_mtime_ns):
                known[name], changed = (stat.st_size, stat.st_mtime_ns, file_hash(root / name)), True
        if changed:
            rows = [(name, *facts) for name, facts in known.items()]
            with whole_file(index) as path:
                pd.DataFrame(rows, columns=["file", "bytes", "mtime_ns", "sha256"]).to_parquet(path, index=False)
    return [known[name][2] for name in names]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits; the file is read in parts."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def save_figure(figure: Any, folder: Path, name: str) -> None:
    """Writes a figure as PNG (200 dpi) and PDF, without dates, so that equal figures are equal files."""
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        with whole_file(folder / f"{name}{suffix}") as path:
            figure.savefig(path, dpi=200, metadata=metadata)
        figure.set_layout_engine("none")  # both files share a layout, which takes as long as drawing


def save_table(table: pd.DataFrame, folder: Path, name: str) -> None:
    """Writes a table as CSV, numbers with six significant digits."""
    with whole_file(folder / "tables" / f"{name}.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
