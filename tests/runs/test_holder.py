"""One writer a folder: the second waits or is refused, the dead are followed, and whoever was followed stops."""

import errno
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from cldf_core.options import UserError
from cldf_core.runs import holder as module
from cldf_core.runs.holder import HOLDER, LOCK, holder, holding, last_used

# A process that holds a folder until its standard input ends, or until it is killed.
HOLDS = """
import sys
from pathlib import Path
from cldf_core.runs.holder import holding
with holding(Path(sys.argv[1])) as hold:
    print("held", flush=True)
    sys.stdin.read()
    hold.check()
"""


@pytest.fixture
def folder(root, monkeypatch) -> Path:
    """A folder in runs/; who waits is impatient."""
    monkeypatch.setattr(module, "SILENCE", 0.6)
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    return root / "runs" / "er-1a2b"


@pytest.fixture
def other(folder):
    """A process that holds the folder."""
    command = [sys.executable, "-c", HOLDS, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def foreign(folder: Path, host: str = "elsewhere") -> Path:
    """Leaves the record of another machine's process."""
    with holding(folder):
        text = (folder / HOLDER).read_text()
    (folder / HOLDER).write_text(re.sub("^host=.*$", f"host={host}", text, flags=re.MULTILINE))
    return folder / HOLDER


def seconds_to_hold(folder: Path) -> float:
    begun = time.monotonic()
    with holding(folder) as hold:
        hold.check()
    return time.monotonic() - begun


def test_a_second_process_waits_and_says_for_whom(folder, other, capsys):
    assert holder(folder).startswith(f"process {other.pid} on {platform.node()} since ")
    with pytest.raises(
        UserError, match=f"^runs/er-1a2b is being made by process {other.pid} on .*, and this does not wait"
    ):
        holding(folder, wait=False).__enter__()
    threading.Timer(0.5, other.stdin.close).start()
    assert seconds_to_hold(folder) > 0.3
    assert capsys.readouterr().err.count(f"note: runs/er-1a2b is being made by process {other.pid} on ") == 1
    assert other.wait() == 0
    assert os.listdir(folder) == [LOCK]
    assert holder(folder) == ""


def test_a_killed_process_is_followed_at_once(folder, other, monkeypatch, capsys):
    monkeypatch.setattr(module, "SILENCE", 60)
    other.kill()  # and nobody has asked yet how it ended
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert holder(folder) == ""
    assert seconds_to_hold(folder) < 1
    assert capsys.readouterr().err == ""


def test_a_suspended_process_is_waited_for_on_its_machine(folder, other):
    other.send_signal(signal.SIGSTOP)
    waiting = threading.Thread(target=seconds_to_hold, args=[folder])
    waiting.start()
    waiting.join(2)
    assert waiting.is_alive()
    other.send_signal(signal.SIGCONT)
    other.stdin.close()
    waiting.join()
    assert other.wait() == 0


@pytest.mark.parametrize("clock", [None, 0, 4e9], ids=["right", "set back", "set forward"])
def test_another_machine_is_followed_when_it_is_silent(folder, clock, capsys):
    record = foreign(folder)
    if clock is not None:
        os.utime(record, (clock, clock))
    with pytest.raises(UserError, match="^runs/er-1a2b is being made by process .* on elsewhere since"):
        holding(folder, wait=False).__enter__()
    assert "on elsewhere" in holder(folder)
    assert 0.5 < seconds_to_hold(folder) < 3
    assert "is being made by process" in capsys.readouterr().err


def test_an_empty_record_is_taken_for_what_a_power_failure_left(folder, monkeypatch):
    monkeypatch.setattr(module, "BLANK", 0.5)
    folder.mkdir(parents=True)
    (folder / HOLDER).touch()
    assert 0.5 < seconds_to_hold(folder) < 5
    (folder / HOLDER).touch()
    with holding(folder, wait=False) as hold:
        hold.check()


def test_a_folder_in_a_locks_place_is_one_sentence(folder):
    (folder / LOCK).mkdir(parents=True)
    with (
        pytest.raises(UserError, match=f"{LOCK} is a folder, where a file of locks is to be; remove it"),
        holding(folder),
    ):
        pass


def test_another_machine_that_lives_is_waited_for(folder):
    record, waiting = foreign(folder), threading.Thread(target=seconds_to_hold, args=[folder])
    waiting.start()
    for k in range(10):  # its clock goes backwards
        os.utime(record, (10**9 - k, 10**9 - k))
        waiting.join(0.2)
    assert waiting.is_alive()
    record.unlink()
    waiting.join(2)
    assert not waiting.is_alive()


def test_a_lock_that_a_lost_machine_has_left_on_the_server_is_replaced(folder):
    foreign(folder)
    with FileLock(folder / LOCK):
        assert 1 < seconds_to_hold(folder) < 5


def test_whoever_was_taken_for_dead_writes_no_more(folder):
    with holding(folder) as hold:
        hold.check()
        foreign(folder.with_name("other"))
        os.replace(folder.with_name("other") / HOLDER, folder / HOLDER)
        with pytest.raises(
            UserError, match="^runs/er-1a2b is no longer held: it was taken over by process .*elsewhere"
        ):
            hold.check()
    assert (folder / HOLDER).exists()  # which is the other's
    (folder / HOLDER).unlink()
    with holding(folder) as hold:
        os.rename(folder, folder.with_name("removed"))
        with pytest.raises(UserError, match="it was removed"):
            hold.check()


def test_two_threads_are_two_holders(folder):
    inside, most = [], []

    def hold() -> None:
        for _ in range(3):
            with holding(folder) as right:
                inside.append(1)
                right.check()
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 12


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_where_nothing_can_be_written_all_are_let_in_to_read(folder, monkeypatch, code):
    def refuse(*arguments, **settings):
        raise OSError(code, os.strerror(code), str(folder))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    cannot = pytest.raises(UserError, match=rf"runs/er-1a2b cannot be \w+ \({os.strerror(code)}\)")
    with holding(folder) as one, holding(folder), cannot:
        one.check()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_a_disk_without_locks_of_the_system_has_leases(folder, monkeypatch, code, capsys):
    def refuse(*arguments, **settings):
        raise OSError(code, os.strerror(code), str(folder))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with holding(folder) as hold:
        hold.check()
        with pytest.raises(UserError, match="is being made by process"):
            holding(folder, wait=False).__enter__()


def test_the_time_of_the_lock_is_that_of_the_last_use(folder):
    with holding(folder):
        pass
    os.utime(folder / LOCK, (1, 1))
    module.used(folder)
    assert last_used(folder) > 10**18
    assert last_used(folder / "nothing") is None
