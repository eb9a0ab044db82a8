"""One writer a folder: who it is, waiting for it, and taking over from one that is gone.

filelock keeps two locks in a folder. `.lock` is the system's, which frees it when a process ends, however it ends; on
one machine it decides, and its time tells when the folder was last taken or used. `.holder` is there while somebody
writes, and says who. Machines that share a disk may not see each other's locks of the system, so the holder touches it
again and again; who has seen no change of it for SILENCE seconds of a clock that nobody can set takes over.
"""

import contextlib
import os
import platform
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from cldf_core.data.console import note, printable
from cldf_core.data.files import NO_LOCKS, file_problem
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError
from cldf_core.runs.folder import SCORES
from cldf_core.runs.shown import why_shown

LOCK, HOLDER = ".lock", ".holder"
SILENCE = 60.0  # seconds; a holder is seen to live six times in them
PATIENCE = 1.0  # seconds of waiting that nobody is told of
BLANK = 3.0  # seconds after which nobody will write into an empty `.holder`, which a power failure can leave


@dataclass(frozen=True)
class Hold:
    """The right to write into a folder, or the reason why nobody here has it."""

    folder: Path
    lease: SoftFileLease
    reason: str = ""  # why the folder cannot be written: its disk is read-only, or full

    def check(self) -> None:
        """Raises a UserError where this process may not write; it is called before each writing, and costs nothing."""
        if self.reason:
            who = _words(self.folder, self.lease)
            raise UserError(self.reason + (f"; it is being made by {who}" if who else ""))
        for pause in (0.0, 0.2):  # another may have had it in its hands for a moment, to see whether it is stale
            time.sleep(pause)
            if (owner := self.lease.owner) and owner.token == self.lease.token:
                return
        taken = f"it was taken over by {who}" if (who := _words(self.folder, self.lease)) else "it was removed"
        why = "while this process was suspended or did not reach it; nothing more is written here"
        raise UserError(f"{_shown(self.folder)} is no longer held: {taken} {why}")


@contextlib.contextmanager
def holding(folder: Path, *, wait: bool = True) -> Iterator[Hold]:
    """Lets in one process at a time, which may write into the folder; it is made if there is none.

    One that finds it held says by whom, and waits, or raises a UserError that says it where `wait` is False. Where
    nothing can be written, and so nothing be disturbed, all are let in, and `Hold.check` says so.
    """
    # Where the system's lock is missing, filelock would take the file's being there for it; the lease does that.
    lock = FileLock(folder / LOCK, fallback_to_soft=False)
    lease = SoftFileLease(folder / HOLDER, lease_duration=SILENCE, heartbeat_interval=SILENCE / 6, thread_local=False)
    try:
        yield Hold(folder, lease, _take(folder, lock, lease, wait))
    finally:
        lease.release()
        lock.release()


def used(folder: Path) -> None:
    """Sets the time at which a folder was last used, where that can be written."""
    with contextlib.suppress(OSError):
        (folder / LOCK).touch()


def last_used(folder: Path) -> int | None:
    """When a folder was last taken or used, in nanoseconds of the disk's clock; None where that is not known."""
    with contextlib.suppress(OSError):
        return (folder / LOCK).stat().st_mtime_ns
    return None


@contextlib.contextmanager
def uses(runs: Path) -> Iterator[list[str]]:
    """Fills a list, at the end, with the folders in runs/ that were taken or used meanwhile, by whatever process."""
    names, before = list[str](), {path: last_used(path.parent) for path in runs.glob(f"*/{LOCK}")}
    yield names
    names += sorted(p.parent.name for p in runs.glob(f"*/{LOCK}") if last_used(p.parent) != before.get(p))


def holder(folder: Path) -> str:
    """Who writes into a folder, in words; "" if nobody does. Of another machine's process it is what it said last."""
    if not os.path.lexists(folder / HOLDER):
        return ""
    lease = SoftFileLease(folder / HOLDER, lease_duration=SILENCE)
    with contextlib.suppress(OSError, Timeout):
        if not _is_foreign(lease):
            with FileLock(folder / LOCK, timeout=0, fallback_to_soft=False):  # killed: the system has freed it
                return ""
    return _words(folder, lease)


def _take(folder: Path, lock: BaseFileLock, lease: SoftFileLease, wait: bool) -> str:
    """Acquires both locks; returns the reason why a folder cannot be written, if there is one."""
    if (why := why_shown()) and ((folder / SCORES).exists() or any(folder.glob("model-step*"))):
        used(folder)
        return f"{_shown(folder)} is only shown, since it was made with {why}, and nothing is written there"
    try:
        _wait_for(folder, lock, lease, wait)
    except OSError as error:
        if said := file_problem(error, folder):
            return said
        if isinstance(error, IsADirectoryError):
            raise UserError(f"{error.filename} is a folder, where a file of locks is to be; remove it") from None
        raise
    used(folder)
    return ""


def _wait_for(folder: Path, lock: BaseFileLock, lease: SoftFileLease, wait: bool) -> None:
    told, free, blank = False, time.monotonic(), dict[int, float]()
    while True:
        folder.mkdir(parents=True, exist_ok=True)  # again where another has removed it meanwhile
        if is_free := _acquired(lock):
            free = time.monotonic()
        if lock.is_locked and lease.owner and not _is_foreign(lease):
            lease.force_break()  # its process has ended, or the system would not have given the lock
        empty = _empty(folder / HOLDER) if lock.is_locked else 0  # it would be written in a moment, or never
        if empty and time.monotonic() - blank.setdefault(empty, time.monotonic()) > BLANK:
            (folder / HOLDER).unlink(missing_ok=True)
        # The lock of a machine that is gone may stay on the disk's server.
        stuck = not is_free and _is_foreign(lease) and time.monotonic() - free > SILENCE
        if (is_free or stuck) and _acquired(lease):
            if not stuck:
                return
            (folder / LOCK).unlink(missing_ok=True)
            if _acquired(lock):
                return
            lease.release()
        lock.release()  # so that whoever takes over can have both
        held = f"{_shown(folder)} is being made by {_words(folder, lease) or 'another process'}"
        if not (wait or empty):
            raise UserError(f"{held}, and this does not wait for it")
        if not told:
            note(f"{held}; this waits for it")
        told = True


def _acquired(lock: BaseFileLock) -> bool:
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def _empty(path: Path) -> int:
    """What tells an empty file from a later one, its time; 0 if it is not there, or not empty."""
    with contextlib.suppress(OSError):
        state = path.lstat()
        return state.st_mtime_ns if stat.S_ISREG(state.st_mode) and not state.st_size else 0
    return 0


def _is_foreign(lease: SoftFileLease) -> bool:
    """Whether another machine's process holds a folder; filelock adds a container's number to the machine's name."""
    return (owner := lease.owner) is not None and owner.hostname.partition("?")[0] != platform.node()


def _words(folder: Path, lease: SoftFileLease) -> str:
    """The process that is in `.holder`; "" where there is none."""
    if (owner := lease.owner) is None:
        return ""
    since = time.localtime((last_used(folder) or 0) / 1e9)
    clock = time.strftime("%Y-%m-%d %H:%M:%S", since).removeprefix(time.strftime("%Y-%m-%d "))
    return f"process {owner.pid} on {printable(owner.hostname.partition('?')[0])} since {clock}"


def _shown(folder: Path) -> str:
    root = project_root()
    return (folder.relative_to(root) if folder.is_relative_to(root) else folder).as_posix()
