"""Downloads what lies at an address, whole or not at all; what was interrupted goes on where the server lets it.

<project>/data/.<hash of the address>.download/     until what is in it is registered
    <name>                                          the file, or a folder of files
    .<name>.part, .<name>.json                      what has come of it so far, and of which version and size it is

What an address may hold of a secret (a name, a password, what follows a question mark) is in no file and no sentence.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from cldf_core.data.console import progress_bar
from cldf_core.data.domains import DataError
from cldf_core.data.files import PIECE, locked, read_record, told_if_full, write_record
from cldf_core.data.intake.archives import check_room
from cldf_core.data.intake.members import ENDING, Refusal, checked_parts
from cldf_core.data.layouts.tables import in_few_words
from cldf_core.data.runtime import project_root

PATIENCE = (20, 60)  # seconds for a connection, and between two pieces
_EXTRAS = {"hf": "hub", "s3": "s3", "s3a": "s3"}  # what pip installs for addresses of a kind
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class Broken(Exception):
    """A connection that ended too early, with what was said of it."""


class Answer(NamedTuple):
    """What a server sends, and from which byte on; it may send all, whatever it was asked for."""

    start: int
    size: int | None  # of the whole file, if it is known
    version: str  # that differs when the content does, "" if there is none
    read: Callable[[int], bytes]
    close: Callable[[], Any]


def shown(address: str) -> str:
    """An address as sentences and files may have it."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # it may be a piece of a password, with a slash in it
    except ValueError:
        return f"{address.partition('://')[0]}://…"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def identity(address: str) -> str:
    """What an address is known by in names of files."""
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return hashlib.sha256(f"{scheme}://{host.rpartition('@')[2]}{slash}{path}".encode()).hexdigest()[:16]


def local_path(address: str) -> Path | None:
    """The path that an address of this machine leads to; None for other addresses."""
    if not address.lower().startswith(("file://", "local://")):
        return None
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise DataError(f"{shown(address)} names another machine; needed: file:///, and a path of this one")
    return Path(url2pathname(parts.path))


def file_name(address: str) -> str:
    """What the file or folder at an address is called, with signs that any system can write."""
    name = unquote(urlsplit(shown(address)).path.rstrip("/").rpartition("/")[2])
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100] or "download"


@contextmanager
def fetched(address: str, check: Callable[[Path], object]) -> Iterator[Path]:
    """Yields what lies at an address as a file or a folder, which is deleted when all went well with it, else kept.

    Raises:
        DataError: nothing is there, or it cannot be reached, or is a folder without archives and shards, or `check`
            raises one, and it is deleted. What has come when a connection broke off is kept for the next call.
    """
    home = project_root() / "data" / f".{identity(address)}.download"
    home.parent.mkdir(parents=True, exist_ok=True)
    with locked(home.with_suffix(".lock")):
        try:
            path = _fetch(address, home)
            try:
                check(path)
            except DataError as wrong:
                shutil.rmtree(home)
                raise DataError(str(wrong).replace(str(path), shown(address))) from None
        finally:
            with contextlib.suppress(OSError):  # something has come
                home.rmdir()
        yield path
        shutil.rmtree(home)


def _fetch(address: str, home: Path) -> Path:
    """Downloads a file, or those of a folder that are shards, or its one archive."""
    name = file_name(address)
    if address.lower().startswith(("http://", "https://")):
        return _whole(partial(_ask_web, address), home / name, shown(address))
    if "::" in address:
        raise DataError(f"{shown(address).partition('::')[0]} is followed by '::'; needed: one address")
    files, path = _file_system(address)
    with _told(address):
        names = sorted(map(str, files.find(path))) if files.info(path)["type"] == "directory" else []
    if not names:
        return _whole(partial(_ask_files, files, path, address), home / name, shown(address))
    archives = [name for name in names if ENDING.search(name)]
    tars = [name for name in archives if not name.lower().endswith(".zip")]
    chosen = [name for name in names if name.lower().endswith(".parquet")] or (tars if len(archives) > 1 else archives)
    if not chosen:
        held = f"{shown(address)} holds {in_few_words(names)}"
        raise DataError(f"{held}; needed: parquet files, tar shards or an archive, or the address of one file")
    depth = len(str(files._strip_protocol(path)).strip("/").split("/"))
    for remote in chosen:
        try:
            parts = checked_parts("/".join(remote.strip("/").split("/")[depth:]))
        except Refusal as refusal:
            raise DataError(f"{shown(address)} {refusal}") from None
        target = home.joinpath(name, *parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        _whole(partial(_ask_files, files, remote, address), target, f"{shown(address)}: {'/'.join(parts)}")
    return home / name if len(chosen) > 1 or chosen[0] not in archives else target


def _whole(ask: Callable[[int], Answer], target: Path, said: str) -> Path:
    """Downloads a file. As long as a broken connection has brought something, another one goes on."""
    part, record, longest = target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.json"), -1
    while True:
        known, have = _known(record), part.stat().st_size if part.exists() else 0
        if part.exists() and known.get("size") == have:
            os.replace(part, target)
        answer = ask(have if known and not target.exists() else 0)
        try:
            about = {"size": answer.size, "version": answer.version}
            same = about == known and about != {"size": None, "version": ""}
            if target.exists() and same:
                return target
            if answer.start and not same:  # the rest of another file
                part.unlink()
                continue
            target.unlink(missing_ok=True)
            if not answer.start:
                part.unlink(missing_ok=True)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_record(record, about)
            _append(answer, part)
            os.replace(part, target)
            return target
        except Broken as problem:
            have = part.stat().st_size if part.exists() else 0
            if have <= longest:
                of = f" of {answer.size / 1e6:,.1f}" if answer.size else ""
                broke = f"{said} broke off after {have / 1e6:,.1f}{of} MB ({problem})"
                raise DataError(f"{broke}; needed: a connection that lasts, the same command goes on") from None
            longest = have
        finally:
            answer.close()


def _known(record: Path) -> dict[str, Any]:
    try:
        return read_record(record)
    except (OSError, ValueError):
        return {}


def _append(answer: Answer, part: Path) -> None:
    """Writes what is read to the end of a file; Broken says that it ended too early."""
    have, total = answer.start, (answer.size or 0) >> 20
    with (
        told_if_full(part, needed=(answer.size or 0) - have),
        progress_bar(total, "download", unit="MiB") as bar,
        part.open("ab") as file,
    ):
        check_room(part.parent, max(PIECE, (answer.size or 0) - have))
        bar.update(have >> 20)
        while True:
            try:
                piece = answer.read(PIECE)
            except Exception as problem:  # of whatever library
                raise Broken(type(problem).__name__) from None
            if not piece:
                break
            if answer.size is None:
                check_room(part.parent, PIECE)
            file.write(piece)
            bar.update((have + len(piece) >> 20) - (have >> 20))
            have += len(piece)
    if answer.size not in (None, have):
        raise Broken("the connection ended" if have < (answer.size or 0) else "there is more than was said")


def _ask_web(address: str, start: int) -> Answer:
    """Asks a web server for a file from a byte on."""
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = requests.get(address, headers=headers, stream=True, timeout=PATIENCE)
    except (requests.RequestException, UnicodeError) as problem:
        kinds = (
            (requests.exceptions.SSLError, "has a certificate that is not trusted"),
            (requests.Timeout, "does not answer"),
            (requests.ConnectionError, "cannot be reached"),
        )
        what = next((words for kind, words in kinds if isinstance(problem, kind)), "is no address that can be asked")
        raise DataError(f"{shown(address)} {what}; needed: an address of a file, and a network") from None
    status, sent = response.status_code, response.headers
    found = _RANGE.fullmatch(sent.get("Content-Range", ""))
    rest = status == 206 and found is not None and int(found[1]) == start
    if start and status in (206, 416) and not rest:
        response.close()
        return _ask_web(address, 0)
    if status != 200 and not rest:
        response.close()
        why = f"the server says {status} {response.reason or ''}".strip()
        raise DataError(f"{shown(address)} cannot be downloaded: {why}; needed: an address that gives a file to anyone")
    length = sent.get("Content-Length", "")
    size = int(found[2]) if found and rest else int(length) if length.isdecimal() else None
    version = sent.get("ETag") or sent.get("Last-Modified") or ""
    return Answer(start if rest else 0, size, version, response.raw.read, response.close)


def _file_system(address: str) -> tuple[Any, str]:
    """The file system of fsspec that knows an address, and the path in it."""
    import fsspec

    scheme = address.partition("://")[0].lower()
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as problem:
        extra = _EXTRAS.get(scheme)
        needed = f'pip install "cldf-core[{extra}]"' if extra else f"what fsspec asks for: {problem}"
        raise DataError(f"addresses that begin with {scheme}:// need a package; needed: {needed}") from None
    except ValueError:
        allowed = "http, https, s3, hf, file, or another that fsspec knows"
        raise DataError(f"{shown(address)} begins with {scheme}://; allowed: {allowed}") from None
    with _told(address):
        files, path = fsspec.url_to_fs(address)
        return files, str(path)


def _ask_files(files: Any, path: str, address: str, start: int) -> Answer:
    """Asks a file system of fsspec for a file from a byte on."""
    with _told(address):
        size, file = files.info(path).get("size"), files.open(path, "rb")
        file.seek(start)
        return Answer(start, size, str(files.ukey(path)), file.read, file.close)


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Turns what a file system raises into a sentence, without its words, which may hold a secret."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"there is no {shown(address)}; needed: the address of a file, or of shards") from None
    except PermissionError:
        raise DataError(f"{shown(address)} may not be read; needed: the right to, as its service grants it") from None
    except Exception as problem:  # each service has its own kinds
        kind = type(problem).__name__
        raise DataError(f"{shown(address)} cannot be read ({kind}); needed: a network, and the right to it") from None
