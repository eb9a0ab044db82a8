"""What is shown to whoever watches: progress, notes, and names that cannot steer a terminal."""

import contextlib
import io
import os
import re
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from tqdm import tqdm

FIRST, AGAIN = 3, 30  # seconds after which a log is told what goes on, and then again and again


def printable(text: object, keep: str = "") -> str:
    """A text without signs that steer a terminal: controls, and what sets the direction, become escapes as in `repr`.

    A newline and a tab are such signs too, unless `keep` holds them: within a name they would forge another line.
    """

    def escaped(found: re.Match[str]) -> str:
        sign = found[0]
        return sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode()

    return re.sub(r"[^ -~]", escaped, str(text))


def counted(count: int, thing: str) -> str:
    """A number of things in words: "1 image", "2 images"."""
    return f"{count} {thing}{'s' * (count != 1)}"


def lasting(seconds: float) -> str:
    """A time in words: "99 s", "2 min", "1.7 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def note(text: str) -> None:
    """Tells what whoever reads a result should know, as one line on stderr."""
    print(f"note: {printable(text)}", file=sys.stderr)


class OutputError(OSError):
    """A stream that cannot be written: there is no room, or nobody reads it any more."""


class Console:
    """A text stream to a terminal or a log; what it is asked to write becomes `printable`, lines stay lines."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.stream, self.name = stream, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.stream, attribute)

    def write(self, text: str) -> int:
        """Writes the printable text; an OutputError names the stream."""
        with self.named():
            return self.stream.write(printable(text, keep="\n\t"))

    def flush(self) -> None:
        """Writes what is still to be written."""
        with self.named():
            self.stream.flush()

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Turns what is wrong with the stream into an OutputError that names it."""
        try:
            yield
        except OSError as error:
            raise OutputError(error.errno, error.strerror, self.name) from None


class Relay(io.TextIOBase):
    """A standard error that is shown elsewhere: it sends whole lines, and how far progress bars are, as messages."""

    def __init__(self, send: Callable[[dict[str, Any]], object]) -> None:
        self.send, self._line = send, ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Sends the lines that are complete now, but for empty ones."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip():
                self.send({"line": line.strip("\r")})
        return len(text)


def write_data(text: str) -> None:
    """Writes CSV or JSON to the standard output, with true names where that is a file, else as for a terminal."""
    try:
        to_file = stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except OSError:  # no stream of the system's
        to_file = False
    if to_file and isinstance(sys.stdout, Console):
        with sys.stdout.named():
            sys.stdout.stream.write(text)
    else:
        sys.stdout.write(text)


def progress_bar(total: int, label: str | None = None, unit: str = "image", progress: bool | None = None) -> tqdm:
    """A progress bar for work of so many units: on a terminal, in a notebook, or as lines in a log.

    `progress` says whether to show it. None asks CLDF_PROGRESS, 0 or 1; where that is not set either, a terminal and a
    notebook show the bar, a log gets a line after three seconds and one every half minute, and a notebook that
    papermill executes shows nothing. A `Relay` is told of it, whatever the variable says.
    """
    settings: dict[str, Any] = {"total": total, "desc": label and printable(label), "unit": unit, "leave": False}
    if isinstance(sys.stderr, Relay) and progress is None:
        return _Relayed(**settings, mininterval=0.5)
    setting = os.environ.get("CLDF_PROGRESS")
    if progress is None and setting in ("0", "1"):
        progress = setting == "1"
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    in_notebook = hasattr(shell, "kernel")
    if progress is None and not in_notebook and not sys.stderr.isatty():
        return _Lines(**settings)
    if progress is None:
        progress = not in_notebook or not _in_papermill()
    from tqdm.auto import tqdm as bar  # widgets in a notebook

    terminal = sys.stderr.stream if isinstance(sys.stderr, Console) else None  # a bar steers it on purpose
    return bar(**settings, disable=not progress, file=terminal)


def _in_papermill() -> bool:
    import psutil  # comes with ipykernel

    with contextlib.suppress(psutil.Error):
        parent = psutil.Process().parent()
        return parent is not None and any("papermill" in part for part in parent.cmdline())
    return False


class _Lines(tqdm):
    """A bar for a log, where nobody sees one line that is written over and over: whole lines, now and then."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._over = threading.Event()
        self._teller = threading.Thread(target=self._tell, name="progress", daemon=True)
        self._teller.start()

    def _tell(self) -> None:
        seconds = FIRST
        while not self._over.wait(seconds):
            try:
                print(f"  {self}", file=sys.stderr, flush=True)
            except (OSError, ValueError):  # the log is closed, which its next line will tell
                return
            seconds = AGAIN

    def display(self, *args: Any, **settings: Any) -> None:
        """Shows nothing besides these lines."""

    def close(self) -> None:
        """Ends the lines, after the one that is being written."""
        self._over.set()
        self._teller.join()
        super().close()


class _Relayed(tqdm):
    """A bar that a `Relay` sends."""

    def display(self, *args: Any, **settings: Any) -> None:
        """Sends how far it is."""
        if isinstance(sys.stderr, Relay) and self.n:
            sys.stderr.send({"done": self.n, "total": self.total, "unit": self.unit, "text": self.desc or ""})
