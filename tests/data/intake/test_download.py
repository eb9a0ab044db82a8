"""Downloads: against a server of the test's own, whatever it does, a data set is added whole, or one sentence says why
not, and the same call goes on.
"""

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock

import fsspec
import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from cldf_core.cli import main
from cldf_core.data.intake import archives, download, reports
from cldf_core.data.intake.add import add
from cldf_core.data.layouts.description import read_description, read_images
from samples import sentence_of, texture


@dataclass
class Server:
    """What a web server gives, how, and what it was asked for."""

    address: str
    content: bytes
    ranges: bool = True  # whether it gives a part that is asked for
    cut: int = 0  # after so many bytes of an answer the connection ends, if not 0
    cuts: int = 99  # how many times
    size: int | None = None  # what it says of the size, if that is wrong
    chunked: bool = False  # it does not say the size
    etag: str | None = '"first"'
    status: int = 200
    asked: list[str | None] = field(default_factory=list)  # the ranges
    names: list[str | None] = field(default_factory=list)  # who asked


@pytest.fixture
def server(tmp_path_factory) -> Iterator[Server]:
    """A server on this machine that gives an archive of ten images."""
    home = tmp_path_factory.mktemp("home")
    for k in range(10):
        path = home / "x" / ("real", "fake")[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(texture(np.random.default_rng(k), k % 2 * 3)).save(path)
    archive = Path(shutil.make_archive(str(home / "faces"), "zip", home / "x"))
    given = Server("", archive.read_bytes())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Gives what is asked for, or what the test wants instead."""
            given.asked.append(self.headers["Range"])
            given.names.append(self.headers["Authorization"])
            start, body = 0, given.content
            if given.ranges and (found := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")):
                start = int(found[1])
            if self.path.startswith("/to"):
                self.send_response(302)
                self.send_header("Location", "/faces.zip")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else given.status)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            if given.etag:
                self.send_header("ETag", given.etag)
            body = body[start:]
            if given.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            else:
                self.send_header("Content-Length", str(given.size or len(body)))
            self.end_headers()
            if given.cut and given.cuts:
                given.cuts -= 1
                body = body[: given.cut]
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *words: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        given.address = f"http://127.0.0.1:{http.server_port}/faces.zip"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield given
        http.shutdown()
        thread.join()


def left(root: Path) -> list[str]:
    """What lies in the data folder, but for locks and data sets."""
    return sorted(p.name for p in (root / "data").glob(".*") if p.suffix != ".lock")


def count(folder: Path) -> int:
    return len(read_images(folder))


def test_an_archive_at_an_address_is_added_and_the_download_deleted(root, server, capsys):
    digest = hashlib.sha256(server.content).hexdigest()
    assert main(["data", "add", server.address, "--sha256", digest, "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert f"10 files of {server.address} in {root / 'data' / 'faces' / 'files'}." in said
    assert "10 images: 10 can be used" in said
    assert count(root / "data" / "faces") == 10
    assert f"Downloaded from {server.address}." in read_description(root / "data" / "faces").found
    assert left(root) == []
    assert server.asked == [None]
    assert main(["data", "add", server.address]) == 2
    assert "there is a data set 'faces'" in capsys.readouterr().err
    assert len(server.asked) == 1  # nothing is downloaded for a name that is in use
    assert count(add(server.address.replace("faces.zip", "to"), "second")[0]) == 10


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("etag", ['"first"', None])
def test_a_connection_that_breaks_once_is_gone_on_with(root, server, ranges, chunked, etag):
    server.ranges, server.chunked, server.etag, server.cut, server.cuts = ranges, chunked, etag, 5000, 1
    assert count(add(server.address, None)[0]) == 10
    # Of an answer in chunks nothing has come before a chunk is whole.
    assert server.asked == [None, None if chunked else "bytes=5000-"]
    assert left(root) == []


def test_a_server_that_gives_a_little_each_time_is_asked_as_long_as_there_is_more(root, server):
    server.cut = len(server.content) // 5
    assert count(add(server.address, None)[0]) == 10
    assert server.asked == [None, *(f"bytes={k * server.cut}-" for k in range(1, 5 + bool(len(server.content) % 5)))]


def test_a_connection_that_breaks_again_and_again_gets_a_sentence_and_the_next_call_goes_on(root, server, capsys):
    server.ranges, server.cut = False, 5000
    call = ["data", "add", server.address, "--workers", "1"]
    assert main(call) == 2
    said = capsys.readouterr().err
    assert f"{server.address} broke off after 0.0 of 0.0 MB (" in said
    assert "the same command goes on" in said
    assert said.count("\n") == 1
    assert len(server.asked) == 2
    (home,) = (root / "data").glob(".*.download")
    assert (home / ".faces.zip.part").read_bytes() == server.content[:5000]
    server.ranges, server.cut = True, 0
    assert main(call) == 0
    assert server.asked[2:] == ["bytes=5000-"]
    assert left(root) == []


@pytest.mark.parametrize(
    ("what", "asked"),
    [
        ("nothing", ["bytes=5000-"]),
        ("etag", ["bytes=5000-", None]),
        ("size", ["bytes=5000-", None]),
        ("no ranges", ["bytes=5000-"]),
        ("record", [None]),
    ],
)
def test_the_rest_of_another_file_is_not_taken(root, server, what, asked):
    server.ranges, server.cut = False, 5000
    sentence_of(lambda: add(server.address, None), "broke off")
    server.ranges, server.cut = what != "no ranges", 0
    if what == "etag":
        server.etag = '"second"'
    elif what == "size":  # the zip's comment
        server.content = server.content[:-2] + b"\x0a\x00" + bytes(10)
    elif what == "record":
        next((root / "data").glob(".*/.faces.zip.json")).write_text("{")
    whole = hashlib.sha256(server.content).hexdigest()
    assert count(add(server.address, None, sha256=whole)[0]) == 10
    assert server.asked[2:] == asked


def test_a_complete_download_that_is_refused_is_taken_by_the_next_call_while_it_is_the_same(root, server):
    sentence = sentence_of(lambda: add(server.address, None, labels="0=real"), "--labels is '0=real', but", "no table")
    assert sentence.endswith(f"; the download is kept in {next((root / 'data').glob('.*.download'))}")
    assert not (root / "data" / "faces").exists()
    server.content, whole = server.content[:-1] + b"?", server.content  # which nobody reads, as the version is the same
    assert count(add(server.address, None)[0]) == 10
    assert left(root) == []
    server.content = whole
    sentence_of(lambda: add(server.address, "b", labels="0=real"), "no table")
    server.content, server.etag = b"no archive", '"second"'
    sentence_of(lambda: add(server.address, "b"), f"{server.address} is no archive, and holds no images itself; what")
    assert left(root) == []


def test_a_wrong_checksum_deletes_the_download(root, server):
    sentence_of(lambda: add(server.address, None, sha256="ab"), f"{server.address} has the sha256", "; needed: ab")
    assert left(root) == []
    assert not (root / "data" / "faces").exists()


def test_more_than_was_said_and_less(root, server):
    server.size = len(server.content) + 10
    sentence_of(lambda: add(server.address, None), "broke off after")
    server.size, server.etag = len(server.content) - 10, None
    sentence_of(lambda: add(server.address, None), "damaged or cut short")
    assert not (root / "data" / "faces").exists()


@pytest.mark.parametrize(
    ("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (500, "500"), (204, "204")]
)
def test_what_a_server_refuses_is_told(root, server, capsys, status, words):
    server.status = status
    assert main(["data", "add", server.address]) == 2
    said = capsys.readouterr().err
    assert f"{server.address} cannot be downloaded: the server says {words}" in said
    assert said.count("\n") == 1
    assert left(root) == []


def test_a_page_in_place_of_a_file(root, server, capsys):
    server.content = b"<!doctype html><title>log in</title>"
    assert main(["data", "add", server.address]) == 2
    assert f"{server.address} is no archive, and holds no images itself; what can be added: " in capsys.readouterr().err
    assert left(root) == []


def test_a_full_disk_is_told_and_nothing_is_lost(root, server, monkeypatch, capsys):
    server.ranges, server.cut = False, 5000
    assert main(["data", "add", server.address]) == 2
    usage = shutil.disk_usage(root)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=archives.SPARE + 1000))
        server.ranges, server.cut = True, 0
        capsys.readouterr()
        assert main(["data", "add", server.address]) == 2
        assert "No space left on device" in (said := capsys.readouterr().err)
        assert said.count("\n") == 1
    assert main(["data", "add", server.address, "--workers", "1"]) == 0
    assert server.asked[2:] == ["bytes=5000-"] * 2


def test_an_interruption_keeps_what_has_come_and_what_is_registered(root, server, monkeypatch, capsys):
    def interrupted(answer: download.Answer, part: Path) -> None:
        part.write_bytes(answer.read(7000))
        raise KeyboardInterrupt

    call = ["data", "add", server.address, "--workers", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(download, "_append", interrupted)
        assert main(call) == 130
    with monkeypatch.context() as patch:
        patch.setattr(reports, "audit_images", Mock(side_effect=KeyboardInterrupt))
        assert main(call) == 130
    assert server.asked == [None, "bytes=7000-"]
    assert left(root) == []
    assert main(call) == 0  # goes on with the audit
    assert main(call) == 2  # it is complete
    assert len(server.asked) == 2


SECRETS = ("sesame", "t0ken", "fragm")


def test_what_an_address_holds_of_a_secret_is_nowhere(root, server, capsys):
    host = server.address.removeprefix("http://")
    address = f"http://me:sesame@{host}?key=t0ken#fragm"
    said = []
    for status, call in ((404, []), (200, ["--sha256", "00"]), (200, ["--labels", "0=real"]), (200, [])):
        server.status = status
        assert main(["data", "add", address, "--workers", "1", *call]) == (0 if not call and status == 200 else 2)
        said += capsys.readouterr()
    bad = ["http://me:ses/ame@x/a.zip", "http://me:sesame@nowhere.invalid/a.zip?t0ken", "foo://me:sesame@x/a.zip?t0ken"]
    for wrong in [*bad, "s3://me:sesame@x/a.zip", "ftp://me:sesame@127.0.0.1:1/a.zip", "http://me:sesame@[::1/a.zip"]:
        assert main(["data", "add", wrong, "--name", "x"]) == 2
        said += capsys.readouterr()
    assert server.names[0] is not None  # the server was told
    assert f"Downloaded from {server.address}." in read_description(root / "data" / "faces").found
    for path in root.rglob("*"):
        said += [str(path), path.read_bytes().decode("latin-1") if path.is_file() else ""]
    assert not [text[:200] for text in said if any(secret in text for secret in (*SECRETS, "ses/ame", "ame@"))]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:9/x.zip", "http://127.0.0.1:9/x.zip cannot be reached; needed: an address of a file"),
        ("http://nowhere.invalid/x.zip", "cannot be reached"),
        ("http:///x.zip", "is no address that can be asked"),
        ("http://[::1/x.zip", "http://… is no address"),
        ("foo://bar/x.zip", "begins with foo://; allowed: http, https, s3, hf, file"),
        ("zip://x::http://y/z.zip", "needed: one address"),
        ("file://elsewhere/x.zip", "names another machine; needed: file:///"),
        ("file:///nowhere/x.zip", "there is no /nowhere/x.zip; what can be added"),
        ("memory://nothing/x.zip", "there is no memory://nothing/x.zip"),
    ],
)
def test_a_wrong_address_gets_one_sentence(root, capsys, address, words):
    assert main(["data", "add", address]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (root / "data").exists() or left(root) == []


@pytest.mark.parametrize(("scheme", "extra"), [("hf", "hub"), ("s3", "s3"), ("gs", "")])
def test_a_package_that_is_missing_is_named(root, capsys, monkeypatch, scheme, extra):
    missing = Mock(side_effect=ImportError(f"Install {scheme}fs"))
    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    assert main(["data", "add", f"{scheme}://datasets/me/faces"]) == 2
    assert (f'pip install "cldf-core[{extra}]"' if extra else "Install gsfs") in (said := capsys.readouterr().err)
    assert said.count("\n") == 1


def test_an_address_of_this_machine_is_a_path(root, server, tmp_path_factory):
    archive = tmp_path_factory.mktemp("x") / "my faces.zip"
    archive.write_bytes(server.content)
    assert count(add(archive.as_uri(), None)[0]) == 10
    assert archive.exists()
    assert read_description(root / "data" / "my faces").found.count("Downloaded") == 0


# --- other services ---


class Hub(MemoryFileSystem):
    """A service that stands in place of a hub."""

    protocol = "hf"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("hf://").strip("/") if path.strip("/") else ""


@pytest.fixture
def hub(monkeypatch) -> Hub:
    """A hub that holds nothing yet."""
    monkeypatch.setattr(Hub, "store", {})
    monkeypatch.setattr(Hub, "pseudo_dirs", [""])
    fsspec.register_implementation("hf", Hub, clobber=True)
    yield Hub()
    fsspec.register_implementation("hf", "huggingface_hub.HfFileSystem", clobber=True)


def put(hub: Hub, name: str, content: bytes) -> None:
    hub.pipe_file(f"hf://datasets/me/faces/{name}", content)


def test_a_data_set_of_a_hub_by_its_name(root, hub, tmp_path_factory):
    path = tmp_path_factory.mktemp("x") / "a.parquet"
    for k, split in enumerate(("train", "test")):
        values = [{"image": {"bytes": b"\xff\xd8\xff%d" % n}, "label": n % 2} for n in range(4 + 2 * k)]
        pd.DataFrame(values).to_parquet(path)
        put(hub, f"data/{split}-00000-of-00001.parquet", path.read_bytes())
    put(hub, "README.md", b"x")
    put(hub, ".gitattributes", b"x")
    folder, _ = add("hf://datasets/me/faces", None)
    assert folder.name == "faces"
    assert read_images(folder).groupby("split").size().to_dict() == {"train": 4, "test": 6}
    assert "Downloaded from hf://datasets/me/faces." in (found := read_description(folder).found)
    assert "ignored" not in found
    assert left(root) == []
    sentence_of(lambda: add("hf://datasets/me/other", None), "there is no hf://datasets/me/other")
    sentence_of(lambda: add("hf://datasets/me/faces", "x", sha256="00"), "faces is a folder, but --sha256 is given")
    one = "hf://datasets/me/faces/data/test-00000-of-00001.parquet"
    assert count(add(one, "one")[0]) == 6


def test_an_archive_in_a_folder_of_a_hub(root, hub, server):
    put(hub, "a/pictures.zip", server.content)
    put(hub, "README.md", b"x")
    assert count(add("hf://datasets/me/faces", None)[0]) == 10
    put(hub, "more.zip", server.content)
    sentence_of(lambda: add("hf://datasets/me/faces", "x"), "holds ", "needed: parquet files, tar shards or an archive")
    assert left(root) == []


def test_names_on_a_hub_lead_nowhere_else(root, hub, monkeypatch):
    put(hub, "a.parquet", b"PAR1")
    for name in ("../../up.parquet", "C:/x.parquet", "a\nb.parquet"):
        found = {f"/datasets/me/faces/{name}": {}}
        monkeypatch.setattr(Hub, "find", lambda self, path, found=found, **_: list(found))
        sentence_of(lambda: add("hf://datasets/me/faces", "x"), "hf://datasets/me/faces is refused: its member")
        assert left(root) == []


def test_a_hub_that_fails_is_told_without_its_words(root, hub, monkeypatch, server):
    put(hub, "a.zip", server.content)
    address = "hf://datasets/me/faces/a.zip"
    monkeypatch.setattr(Hub, "info", Mock(side_effect=RuntimeError("the key is sesame")))
    assert "sesame" not in sentence_of(lambda: add(address, None), "a.zip cannot be read (RuntimeError)")
    monkeypatch.setattr(Hub, "info", Mock(side_effect=PermissionError("sesame")))
    assert "sesame" not in sentence_of(lambda: add(address, None), "a.zip may not be read")
    assert left(root) == []


def test_a_download_from_a_hub_goes_on(root, hub, server, monkeypatch):
    put(hub, "a.zip", server.content)
    address, append, starts = "hf://datasets/me/faces/a.zip", download._append, []

    def broken(answer: download.Answer, part: Path) -> None:
        starts.append(answer.start)
        if len(starts) < 3:
            content = [answer.read(4000), *[b""] * (len(starts) == 1)]
            answer = answer._replace(read=lambda _: content.pop(0))
        append(answer, part)

    monkeypatch.setattr(download, "_append", broken)
    assert count(add(address, None)[0]) == 10
    assert starts == [0, 4000, 8000]
