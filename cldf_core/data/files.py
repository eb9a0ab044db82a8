"""Writes files that appear whole or not at all, figures and tables among them, and tells whether they are still whole.

What is computed once and kept has a checksum: a JSON file, a "record", has that of its own content, and a table or an
array has a record beside it. Nothing is forced onto the disk: what a power failure cuts short, its checksum tells.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import tempfile
import time
import unicodedata
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock, Timeout

from cldf_core.data.columns import give_back, places
from cldf_core.data.console import note
from cldf_core.options import UserError

_NO_ROOM = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG")}  # Windows lacks one of them
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # the disk has no locks of the system
PATIENCE = 5.0  # seconds of waiting for another process that nobody is told of
PIECE = 1 << 20  # bytes that are read or written at once
_FACTS = ("bytes", "mtime_ns")  # of a file, which tell that it may have changed
_PIDS = "/proc/self/ns/pid"  # what numbers of processes are of: containers have their own, perhaps with one name
_PLACE = platform.node() + (os.readlink(_PIDS) if os.path.lexists(_PIDS) else "")
_HOST = f"{zlib.crc32(_PLACE.encode()):08x}"  # several machines may share a folder
_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@contextmanager
def whole_file(path: Path, needed: int = 0) -> Iterator[Path]:
    """Yields a path to write to, which becomes `path` when all went well, and vanishes when not.

    Raises:
        UserError: the disk is full, in whatever words a library said it. The sentence tells how many bytes are
            `needed`, or else how many did not fit.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; needed: a file, or nothing there")
    with told_if_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        forget_leftovers(path.parent)
        handle, name = tempfile.mkstemp(path.suffix, f".{path.name[:99]}.{_HOST}-{os.getpid()}-", path.parent)
        os.close(handle)
    partial = Path(name)
    try:
        with told_if_full(path, partial, needed):
            yield partial
            os.chmod(partial, 0o644)
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def told_if_full(path: Path, partial: Path | None = None, needed: int = 0) -> Iterator[None]:
    """Turns what is raised when a file or a folder does not fit on the disk into a sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        problem = error if isinstance(error, OSError) else None
        if partial and partial.exists():
            problem, needed = problem or _hidden_problem(partial), needed or partial.stat().st_size
            partial.unlink()  # so that what is free is measured without it
        # A permission that the caller's own work lacks is for another file.
        if problem and (partial is None or problem.errno in _NO_ROOM) and (said := file_problem(problem, path, needed)):
            raise UserError(said) from error
        raise


def file_problem(problem: OSError, path: Path | None = None, needed: int = 0) -> str:
    """A sentence on a lack of room to write a file of so many bytes, or of a permission; empty for other problems."""
    path = path or (Path(problem.filename) if problem.filename else None)
    if problem.errno not in _NO_ROOM | {errno.EROFS, errno.EACCES, errno.EPERM}:
        return ""
    full = problem.errno in _NO_ROOM
    sentence = f"{path or 'the output'} cannot be {'written' if full else 'used'} ({os.strerror(problem.errno or 0)})"
    if path and full:
        folder = next(parent for parent in path.absolute().parents if parent.is_dir())
        needs = f"{needed / 1e6:,.1f} MB or more are needed, and " if needed > 50_000 else ""
        sentence += f": {needs}{folder} has {shutil.disk_usage(folder).free / 1e6:,.1f} MB free"
        sentence += "; nothing that was there is lost, and the same command goes on when there is room"
    return sentence


def _hidden_problem(path: Path) -> OSError | None:
    """What the system says to some more bytes of a file that a library failed to write for reasons of its own."""
    try:
        with path.open("ab") as file:
            file.write(bytes(PIECE))
    except OSError as problem:
        return problem
    return None


def append_zeros(file: BinaryIO, count: int) -> None:
    """Appends zeros that have their room on the disk; without it, writing to them in a mapped file ends the process."""
    file.flush()
    if hasattr(os, "posix_fallocate"):
        return os.posix_fallocate(file.fileno(), file.tell(), count)
    for start in range(0, count, PIECE):
        file.write(bytes(min(PIECE, count - start)))
    return None


@functools.cache
def forget_leftovers(folder: Path) -> None:
    """Removes, once in a process, what killed ones, here or more than a day ago, have left half-written in a folder."""
    for path in folder.glob(".*"):
        if found := re.search(r"\.([0-9a-f]{8})-(\d+)-\w{8}(\.[^.]*)?$", path.name):
            ended = found[1] == _HOST and not psutil.pid_exists(int(found[2]))
            with contextlib.suppress(OSError):
                if ended or path.stat().st_mtime < time.time() - 86400:
                    path.unlink()


@contextmanager
def mark(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yields a file that is there for a while, and its word, by which a process tells that it sees the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    forget_leftovers(folder)
    handle, name = tempfile.mkstemp("", f".mark.{_HOST}-{os.getpid()}-", folder)
    path, word = Path(name), uuid.uuid4().hex
    try:
        with os.fdopen(handle, "w") as file:
            file.write(word)
        yield path, word
    finally:
        path.unlink(missing_ok=True)


def write_record(path: Path, content: Mapping[str, Any], *, indent: int | None = None) -> None:
    """Writes a JSON object that holds its own checksum, under the key sha256."""
    with whole_file(path) as partial:
        text = json.dumps({"sha256": _text_hash(content), **content}, indent=indent)
        partial.write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """Reads what `write_record` wrote.

    Raises:
        ValueError: the file is cut, changed, no JSON object, or has no checksum.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        content = None
    if not isinstance(content, dict) or content.pop("sha256", "") != _text_hash(content):
        raise ValueError(f"{path} is not as it was written")
    return content


def _text_hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


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


@contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Lets in one process at a time; where nothing can be written, and so nothing be disturbed, all of them.

    The file that is locked stays, as another process may wait for it. A UserError says that its disk knows no locks.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = FileLock(lock, fallback_to_soft=False)
            try:
                stack.enter_context(file.acquire(timeout=PATIENCE))
            except Timeout:
                note(f"another process works on what is in {lock.parent}; this waits for it")
                stack.enter_context(file)
        except OSError as error:
            if error.errno in NO_LOCKS:
                raise UserError(f"{lock.parent} is on a disk that cannot lock files; needed: one that can") from None
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
        yield


def folded(path: str) -> str:
    """A path as file systems compare it that ignore case and how letters are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def content_hashes(root: Path, names: Sequence[str], index: Path, *, again: bool = False) -> list[str]:
    """The `file_hash` of each file, from an index where size and time are those of the last reading; notes changes.

    Names are paths from the root. The index is a table of what was read before, and is kept up to date. `again` reads
    every file, whatever the index says.
    """
    states = (os.stat(os.path.join(root, name)) for name in names)
    facts = np.fromiter(((s.st_size, s.st_mtime_ns) for s in states), np.dtype((np.int64, len(_FACTS))), len(names))
    is_new = False
    with locked(index.with_suffix(".lock")):
        known = kept_table(index)
        if known is None:
            known = pd.DataFrame({"name": pd.Series(dtype=str), **dict.fromkeys(_FACTS, 0), "sha256": ""})
        place = places(names, known["name"])
        found: list[str] = known["sha256"].array.take(place, allow_fill=True, fill_value="").tolist()
        before = np.vstack([known[[*_FACTS]].to_numpy(), np.full((1, len(_FACTS)), -1)])  # the last row: none before
        doubtful, changed = np.flatnonzero((before[place] != facts).any(axis=1)), list[str]()
        for at in range(len(found)) if again else doubtful.tolist():
            if (content := file_hash(root / names[at])) != found[at]:
                changed += [names[at]] * bool(found[at])
                found[at], is_new = content, True
        if len(doubtful) or is_new:
            table = pd.DataFrame({"name": list(names), **dict(zip(_FACTS, facts.T, strict=True)), "sha256": found})
            table = table if len({*names}) == len(names) else table.drop_duplicates("name")
            others = known[places(known["name"], table["name"]) < 0]
            keep_table(pd.concat([others, table], ignore_index=True) if len(others) else table, index)
    give_back()
    if changed:
        more = f" and {len({*changed}) - 1} more" if len({*changed}) > 1 else ""
        note(f"{root / changed[0]}{more} changed since the last reading")
    return found


def contents_index(folder: Path, root: Path) -> Path:
    """The index in a folder that `content_hashes` keeps of the files below a root."""
    return folder / f"contents-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}.parquet"


def keep_table(table: pd.DataFrame, path: Path, **facts: Any) -> None:
    """Writes a table as parquet, and a record with its hash and other facts beside it, for `kept_table`."""
    path.with_suffix(".json").unlink(missing_ok=True)
    with whole_file(path) as partial:
        table.to_parquet(partial, index=False)
        give_back()
        digest = file_hash(partial)
    write_record(path.with_suffix(".json"), {**facts, "table": digest})


def kept_table(path: Path) -> pd.DataFrame | None:
    """Reads what `keep_table` wrote, with the facts as attrs; None where it is not all there.

    It is also None where it is damaged, which a note says.
    """
    record = path.with_suffix(".json")
    if not path.exists() or not record.exists():  # that of a version before records, or of a killed process
        return None
    try:
        facts = read_record(record)
        if facts.pop("table") == file_hash(path):
            table = pd.read_parquet(path)
            give_back()
            table.attrs.update(facts)
            return table
    except (KeyError, OSError, ValueError):
        pass
    note(f"{path} is damaged and is made again")
    return None


def file_checksum(path: Path) -> int:
    """CRC-32 of a file's content, which takes about a quarter of a second for each gigabyte in memory."""
    with path.open("rb") as file:
        return functools.reduce(lambda checksum, piece: zlib.crc32(piece, checksum), pieces(file), 0)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in pieces(file):
            digest.update(piece)
    return digest.hexdigest()


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of a file, in pieces that the memory holds."""
    return iter(lambda: file.read(PIECE), b"")


def save_figure(figure: Any, folder: Path, name: str) -> None:
    """Writes a figure as PNG (200 dpi) and PDF, and shows it where there is a notebook.

    The files have no dates, so that equal figures are equal files, and hold the figure's label, its alternative text.
    """
    import matplotlib.pyplot as plt
    from IPython import get_ipython
    from IPython.display import display

    text = str(figure.get_label())
    png, pdf = {"Software": None, "Description": text}, {"CreationDate": None, "Subject": text}
    for suffix, metadata in ((".png", png), (".pdf", pdf)):
        with whole_file(folder / f"{name}{suffix}") as path:
            figure.savefig(path, dpi=200, metadata=metadata)
        figure.set_layout_engine("none")  # both files share a layout, which takes as long as drawing
    if get_ipython():
        plt.close(figure)  # a figure of pyplot would be shown once more when the cell ends
        display(figure)


def save_table(table: pd.DataFrame, folder: Path, name: str) -> None:
    """Writes a table as CSV, numbers with six significant digits."""
    with whole_file(folder / "tables" / f"{name}.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def saved_table(folder: Path, name: str) -> pd.DataFrame:
    """Reads what `save_table` wrote; attrs["name"] is the name, and the index counts the rows from 0.

    Raises:
        UserError: the file is not there.
    """
    path = folder / "tables" / f"{name}.csv"
    if not path.is_file():
        raise UserError(f"{path} is not there; needed: a table that an earlier cell of the notebook saves")
    table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"code": "str"})
    table.attrs["name"] = name
    return table
