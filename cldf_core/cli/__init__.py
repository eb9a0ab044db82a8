"""The `cldf` command. Its parts are imported when it is called, so that an interruption is told even meanwhile."""

import contextlib
import sys
from collections.abc import Sequence
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit status: 0 done, 1 something failed, 2 a wrong call, 130 interrupted."""
    hook, sys.unraisablehook = sys.unraisablehook, _interrupting
    try:
        from cldf_core.cli.command_line import execute

        return execute(arguments)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            print("cldf: interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    finally:
        sys.unraisablehook = hook


def _interrupting(unraisable: Any) -> None:
    """Interrupts again, a moment later, where an interruption fell into a callback and could not be raised there."""
    import _thread
    import threading

    if unraisable.exc_type is KeyboardInterrupt:
        threading.Timer(0.01, _thread.interrupt_main).start()
    else:
        sys.__unraisablehook__(unraisable)
