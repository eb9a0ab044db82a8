"""Files that appear whole or not at all, on a full disk too, and that tell whether they are still whole."""

import contextlib
import errno
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file

from cldf_core.cli import main
from cldf_core.data import files as module
from cldf_core.data.cache import spectra
from cldf_core.data.files import (
    append_zeros,
    file_problem,
    forget_leftovers,
    keep_table,
    kept_table,
    locked,
    read_record,
    whole_file,
    write_record,
)
from cldf_core.data.layouts.read import data_folder
from cldf_core.data.mini.build import TABLE, build
from cldf_core.options import UserError
from samples import DAMAGES, flip_a_bit, read_domain, tiny_options

TENSORS = {"a": torch.zeros(3_000_000, dtype=torch.uint8)}


def zeros(path):
    with path.open("wb") as file:
        append_zeros(file, 3_000_000)


WRITERS = {
    "bytes": lambda path: path.write_bytes(bytes(3_000_000)),
    "torch": lambda path: torch.save(TENSORS, path),
    "safetensors": lambda path: save_file(TENSORS, path),
    "parquet": lambda path: (
        pd.DataFrame(np.random.default_rng(0).random((100_000, 3))).rename(columns=str).to_parquet(path)
    ),
    "zeros": zeros,
}


@pytest.fixture
def small_disk():
    """A context in which no file can be longer than so many bytes."""
    resource = pytest.importorskip("resource", reason="Windows cannot limit the size of files")

    @contextlib.contextmanager
    def limited(size: int = 200_000):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return limited


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "result.txt"
    with whole_file(path) as partial:
        partial.write_text("old")
        assert not path.exists()
    assert path.read_text() == "old"
    for target in (path, tmp_path / "other"):
        with pytest.raises(RuntimeError), whole_file(target) as partial:
            partial.write_text("half")
            raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.rglob("*")] == ["deep", "result.txt"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_does_not_fit_on_the_disk_is_told_in_a_sentence_and_leaves_what_was_there(tmp_path, small_disk, write):
    path = tmp_path / "result"
    path.write_text("old")
    sentence = r"result cannot be written \(File too large\): 3.0 MB .* MB free; nothing that was there is lost"
    with small_disk(), pytest.raises(UserError, match=sentence), whole_file(path, 3_000_000) as partial:
        write(partial)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("result", "old")]


def test_an_array_or_a_benchmark_that_does_not_fit_is_told_and_made_when_there_is_room(
    tmp_path, small_disk, small_data
):
    opts, folder = tiny_options("sequential", small_data, precision="float32", plane="full"), tmp_path / "cache"
    domain = read_domain(small_data)
    with small_disk(), pytest.raises(UserError, match=r"first-\w+.npy cannot be written .*: 0.3 MB or more are needed"):
        spectra(domain, opts, folder)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".lock", ".parquet"}
    assert {path.stem.split("-")[0] for path in folder.iterdir() if path.suffix != ".lock"} == {"contents"}
    assert spectra(domain, opts, folder).array.any()
    with small_disk(0), pytest.raises(UserError, match=r"mini.* cannot be written \(File too large\)"):
        build(tmp_path / "mini", train=1, validation=1, test=1)


def test_the_command_line_tells_a_full_disk_wherever_it_is_met(monkeypatch, capsys, tmp_path):
    for number in (errno.ENOSPC, errno.EROFS, errno.EACCES):
        problem = OSError(number, "words", str(tmp_path / "x"))
        monkeypatch.setattr("cldf_core.data.intake.add.data_sets", Mock(side_effect=problem))
        assert main(["data", "list"]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"cldf: {tmp_path / 'x'} cannot be ")
        assert os.strerror(number) in said
        assert said.count("\n") == 1


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_an_embedded_benchmark_with_a_damaged_table_is_built_again(root, monkeypatch, damage, capsys):
    built = []

    def stub(folder, **counts):
        built.append(folder)
        folder.mkdir()
        (folder / TABLE).write_text("file,split\n" * 9)

    monkeypatch.setattr("cldf_core.data.mini.build.build", stub)
    folder = data_folder("mini-smoke")
    for place, count in ((folder / TABLE, 2), (folder.parent / ".mini-smoke.json", 3)):
        assert data_folder("mini-smoke") == folder
        damage(place)
        assert data_folder("mini-smoke") == folder
        assert "splits.csv is damaged or changed; the benchmark is built again" in capsys.readouterr().err
        assert len(built) == count


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "table.csv").mkdir()
    with (
        pytest.raises(UserError, match=f"^{tmp_path}/table.csv is a folder; needed: a file"),
        whole_file(tmp_path / "table.csv"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError), whole_file(tmp_path / "result"):
        raise PermissionError(13, "Permission denied", "an image")
    assert file_problem(PermissionError(13, "Permission denied", "x")) == "x cannot be used (Permission denied)"
    assert file_problem(FileNotFoundError(2, "No such file or directory", "x")) == ""


def test_leftovers_of_processes_that_ended_vanish(tmp_path, monkeypatch):
    with whole_file(tmp_path / "result.npy") as partial:
        ended = tmp_path / partial.name.replace(f"-{os.getpid()}-", "-99999999-")
        elsewhere = tmp_path / f".result.npy.{'0' * 8}-99999999-abcdefgh.npy"
        for path in (ended, elsewhere):
            path.touch()
        (tmp_path / ".hidden").touch()
        forget_leftovers.cache_clear()  # as in a new process
        forget_leftovers(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([".hidden", partial.name, elsewhere.name])
        os.utime(elsewhere, (1, 1))
        forget_leftovers.cache_clear()
        forget_leftovers(tmp_path)
        assert not elsewhere.exists()


def test_a_record_knows_its_content(tmp_path):
    path, content = tmp_path / "record.json", {"b": [1, 0.1, None, "é\ud800"], "a": {"sha256": 2}}
    for indent in (None, 2):
        write_record(path, content, indent=indent)
        assert read_record(path) == content
        assert json.loads(path.read_text())["a"] == {"sha256": 2}
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole)
            flip_a_bit(path, (place + 0.5) / len(whole))
            try:
                assert read_record(path) == content
            except ValueError:
                continue
    for text in ("", "[]", "[" * 100_000, '{"sha256": 1}', "\0", '{"a": 1', "{}", '{"a": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError):  # noqa: PT011 (json's own too)
            read_record(path)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_kept_table_that_is_damaged_is_none_with_a_note(tmp_path, damage, capsys):
    path, table = tmp_path / "table.parquet", pd.DataFrame({"a": ["x", "y"], "b": [0.1, np.nan]})
    assert kept_table(path) is None
    for name in ("table.parquet", "table.json"):
        keep_table(table, path)
        pd.testing.assert_frame_equal(kept_table(path), table)
        assert capsys.readouterr().err == ""
        damage(tmp_path / name)
        assert kept_table(path) is None
        assert capsys.readouterr().err == f"note: {path} is damaged and is made again\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks in another way")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_disk_that_cannot_lock_is_told(number, tmp_path, monkeypatch):
    """A file that stood for the lock would stay after a kill, and be waited for without end."""
    import fcntl

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match="is on a disk that cannot lock files"), locked(tmp_path / "x.lock"):
        pytest.fail("nobody may be let in")


def test_who_waits_for_another_process_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    held = threading.Event()

    def hold():
        with FileLock(tmp_path / "x.lock"):
            held.set()
            time.sleep(0.5)

    with ThreadPoolExecutor() as pool:
        pool.submit(hold)
        held.wait()
        with locked(tmp_path / "x.lock"):
            pass
    assert capsys.readouterr().err == f"note: another process works on what is in {tmp_path}; this waits for it\n"
