"""Somebody's Python file with a function that says P(fake), loaded and called; what it prints is kept out of tables."""

import contextlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import ModuleType
from typing import Any

from cldf_core.options import UserError

MODULE = "_model_file"  # what the file is called as a module; under its own name it could stand for another one
ONE, BATCH = "predict", "predict_batch"  # the functions that a file may have
AT_ONCE = 64  # paths that are given to the second at once
LONGEST = 300  # characters of an error's own words
NEEDED = (
    f"a Python file with {ONE}(path), which gives P(fake) of an image, or {BATCH}(paths), which gives those of many"
)


def load(path: Path) -> tuple[Callable[[Sequence[str]], list[Any]], str, int]:
    """The function of a file that says P(fake), its name, and how many paths it may be given at once.

    The file is run as Python runs it: with what lies beside it at hand, and with the rights of whoever calls this. What
    it writes to the standard output goes to the standard error.

    Raises:
        UserError: there is no such file, it cannot be run, or it has none of the functions.
    """
    if not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "not there"
        raise UserError(f"--model {path} is {what}; needed: {NEEDED}")
    try:
        with _running(path):
            module = _imported(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise UserError(f"--model {path} cannot be used: {told(error, path)}") from None
    functions = [name for name in (BATCH, ONE) if callable(getattr(module, name, None))]
    if not functions:
        raise UserError(f"--model {path} has no function {ONE} or {BATCH}; needed: {NEEDED}")
    name, function = functions[0], getattr(module, functions[0])

    def call(paths: Sequence[str]) -> list[Any]:
        with _running(path):
            if name == ONE:
                return [function(*paths)]
            if isinstance(values := function(list(paths)), (Set, Mapping)):  # whose order is not that of the images
                raise TypeError(f"{name} gives a {type(values).__name__}; needed: values in the order of the paths")
            return list(values)

    return call, name, AT_ONCE if name == BATCH else 1


def told(error: BaseException, code: Path | None) -> str:
    """What an error says, on one line, with the innermost line of somebody's code: a file, and what lies beside it."""
    places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    said = next(line for line in traceback.format_exception_only(error) if line[:1].strip())
    if isinstance(error, SystemExit):
        said = f"calls sys.exit({'' if error.code is None else repr(error.code)})"
    elif isinstance(error, SyntaxError) and error.filename and error.lineno:
        places.append((error.filename, error.lineno))
    said = " ".join(said.removeprefix(f"{MODULE}.").split())
    said = said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
    if code is not None:
        beside = [(Path(file), line) for file, line in places if Path(file).is_relative_to(code.parent)]
        for file, line in [place for place in beside if "site-packages" not in place[0].parts][-1:]:
            said += f" ({file.relative_to(code.parent)}, line {line})"
    return said


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None
    assert spec.loader is not None  # as of every file that ends with .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _running(path: Path) -> Iterator[None]:
    """Lets a file's code find what lies beside it, and turns the standard output aside, where our table may be written.

    That of this process is turned aside, too, since libraries in C and other programs write there. The folder in which
    it works stays what it was, since the paths of images begin there.
    """
    here = os.getcwd()
    sys.path.insert(0, str(path.parent))
    with contextlib.redirect_stdout(sys.stderr):
        _flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            os.chdir(here)
            _flush()
            os.dup2(kept, 1)
            os.close(kept)
            with contextlib.suppress(ValueError):  # the file has changed sys.path itself
                sys.path.remove(str(path.parent))


def _flush() -> None:
    if sys.__stdout__ is not None:
        sys.__stdout__.flush()
