"""What is shown: names that steer no terminal, one line a note, and progress for whoever watches."""

import io
import os
import threading
import time

import pytest

from cldf_core.data import console
from cldf_core.data.console import Console, counted, lasting, note, printable, progress_bar, write_data

EVIL = "a\x1b[2Jb\x9bc\r\u202ed\u2066e\u2028f\x00g\udce9h\n\ti\x7f"
SAFE = r"a\x1b[2Jb\x9bc\r\u202ed\u2066e\u2028f\x00g\udce9h\n\ti\x7f"


def test_a_name_is_printed_on_one_line_that_steers_nothing():
    assert printable(EVIL) == SAFE
    assert printable(EVIL, keep="\n\t") == SAFE.replace(r"\n\t", "\n\t")
    for name in ("plain", "é ü 你好 😀 … “x”", "back\\slash", ""):
        assert printable(name) == name
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_a_note_is_one_line(capsys):
    note(f"{EVIL}: doubtful")
    assert capsys.readouterr().err == f"note: {SAFE}: doubtful\n"


def test_the_console_escapes_names_but_not_lines_and_a_file_gets_true_ones(monkeypatch, tmp_path):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", Console(stream, "the standard output"))
    print(f"one\t{EVIL[:5]}\ntwo")
    write_data(EVIL)
    assert stream.getvalue() == "one\ta\\x1b[2J\ntwo\n" + SAFE.replace(r"\n\t", "\n\t")
    with (tmp_path / "out.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        monkeypatch.setattr("sys.stdout", Console(file, "the standard output"))
        write_data(EVIL)
    assert (tmp_path / "out.csv").read_bytes() == EVIL.encode("utf-8", "surrogateescape")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_an_output_without_room_is_named():
    with open("/dev/full", "w", buffering=1) as full:
        with pytest.raises(OSError, match="No space left on device: 'the standard output'"):
            print("x", file=Console(full, "the standard output"))
        with pytest.raises(OSError, match="No space"):
            full.close()


@pytest.mark.parametrize(("setting", "shown"), [("1", True), ("0", False), (None, True)])
def test_a_log_gets_whole_lines_at_once_and_again(monkeypatch, capsys, setting, shown):
    monkeypatch.delenv("CLDF_PROGRESS", raising=False)
    if setting:
        monkeypatch.setenv("CLDF_PROGRESS", setting)
    monkeypatch.setattr(console, "FIRST", 0.001)
    monkeypatch.setattr(console, "AGAIN", 0.001)
    text, begun = "", time.monotonic()
    with progress_bar(4, "evil\rname", unit="cell") as bar:
        bar.update(3)
        bar.refresh()
        while setting is None and text.count("\n") < 3 and time.monotonic() < begun + 60:
            time.sleep(0.005)
            text += capsys.readouterr().err
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]  # it is over
    text += capsys.readouterr().err
    assert ("3/4" in text) == shown
    assert r"evil\rname" in text or not shown
    if setting is None:
        assert text.count("\n") > 2
        assert "\r" not in text


def test_quick_work_says_nothing_to_a_log(monkeypatch, capsys):
    monkeypatch.delenv("CLDF_PROGRESS", raising=False)
    with progress_bar(2, "quick") as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""


def test_a_time_is_said_in_the_unit_in_which_it_is_a_small_number():
    said = {0.02: "0 s", 99.4: "99 s", 100: "2 min", 5999: "100 min", 6000: "1.7 h", 360_000: "100.0 h"}
    assert {seconds: lasting(seconds) for seconds in said} == said
