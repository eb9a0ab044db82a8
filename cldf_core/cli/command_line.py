"""One parser for all command lines, and what is told of them; a command's work is imported only when it is called."""

import argparse
import contextlib
import difflib
import io
import os
import re
import sys
from collections.abc import Collection, Sequence
from typing import Any, NoReturn, TextIO, cast

from cldf_core import __version__
from cldf_core.cli import (
    choose,
    data,
    detector,
    metrics,
    mini,
    pack,
    reproduce,
    run,
    runs,
    score,
    sweep,
    test,
    train,
    update,
    watch,
)
from cldf_core.cli.numbers import GIGABYTES
from cldf_core.data.console import Console, OutputError, printable
from cldf_core.data.runtime import project_root

COMMANDS = (reproduce, run, sweep, train, test, score, watch, update, detector, metrics, runs, data, mini, pack, choose)
RENAMED = {"--again": "--force", "--forgers": "--generators"}  # earlier versions' names of flags
# Argparse's messages about a value, and how they are said here.
_SENTENCES = {
    r"^invalid choice: (\S+) \(choose from (.*)\)": r"is \1; allowed: \2",
    r"^not allowed with argument": "is not allowed together with",
}


class _Commands(argparse._SubParsersAction):
    """Commands whose own help begins with what the list of commands says of them."""

    def add_parser(self, name: str, **settings: Any) -> Any:
        """Adds a command, which needs `help`; that is also its description, unless it has one of its own."""
        words = settings["help"]
        return super().add_parser(name, **{"description": f"{words[0].upper()}{words[1:]}.", **settings})


class Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in one sentence, by raising OptionError; flags are not abbreviated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})
        self.register("action", "parsers", _Commands)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses as argparse does, and refuses what no flag of this command takes."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(*unknown))
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Raises OptionError instead of printing the usage."""
        from cldf_core.options import OptionError

        if found := re.match(r"argument ([^/: ]*)\S*: (.*)", message, re.DOTALL):
            what = found[2]
            for pattern, sentence in _SENTENCES.items():
                what = re.sub(pattern, sentence, what)
            message = f"{found[1] or 'the command'} {what}"
        raise OptionError(re.sub(r"required: $", "required: a command", message))

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)  # argparse would keep it to itself that there is no room

    def _unknown(self, word: str, *rest: str) -> str:
        """What is wrong with a word that no flag takes, the flag that it may stand for, and all flags."""
        flags = {name.replace("-", "_"): name for name in self._flags()}
        allowed = f"llowed: {', '.join(flags.values())}"
        shown = repr(word[:80])
        if not word.startswith("-"):
            return f"{shown} belongs to no flag; a{allowed}"
        name = word.split("=")[0]
        if RENAMED.get(name) in self._flags():
            return f"there is no flag {name} any more; it is called {RENAMED[name]} now"
        if "--parameter" in self._flags() and (option := name.strip("-").replace("-", "_")) in _options():
            value = word.partition("=")[2] or " ".join(rest[:1]) or "VALUE"
            value = "original" if (option, value) == ("variant", "seed") else value
            return f"there is no flag {name}; an option is given as -p {option}={value}"
        close = difflib.get_close_matches(name.replace("-", "_"), flags, n=1)
        return f"there is no flag {shown}; " + (f"did you mean {flags[close[0]]}? A" if close else "a") + allowed

    def _flags(self) -> list[str]:
        """The flags that the help shows, each in its first long spelling."""
        shown = [action.option_strings for action in self._actions if action.help != argparse.SUPPRESS]
        return [next((name for name in names if name.startswith("--")), names[0]) for names in shown if names]


def execute(arguments: Sequence[str] | None) -> int:
    """Runs a command line, which reads and writes printable text; returns its exit status."""
    if sys.stdout is None:
        print("cldf: the standard output is closed; needed: a place for it, such as > /dev/null", file=sys.stderr)
        return 1
    if sys.stderr is None:  # print would take the standard output for it
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (it stays)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # its encoding may lack letters of a name
            stream.reconfigure(errors="backslashreplace")
    out, err = Console(sys.stdout, "the standard output"), Console(sys.stderr, "the standard error")
    try:
        with contextlib.redirect_stdout(cast(TextIO, out)), contextlib.redirect_stderr(cast(TextIO, err)):
            return _called(arguments)
    finally:
        for console in (out, err):
            try:
                console.flush()
            except OSError:  # told already; the interpreter, which flushes once more at its end, has nothing to tell
                os.dup2(os.open(os.devnull, os.O_WRONLY), console.fileno())


def _called(arguments: Sequence[str] | None) -> int:
    """Runs a command line, and tells in a sentence why it could not be done."""
    try:
        try:
            parser = _parser()
            parsed = parser.parse_args(arguments)
            if getattr(parsed, "cache_gb", None):
                os.environ["CLDF_CACHE_GB"] = str(parsed.cache_gb)  # for this process and the notebooks' kernels
            if not parsed.version:  # which needs none of them
                _check_variables(parser)
            return int(parsed.call(parsed) or 0)
        finally:
            sys.stdout.flush()  # which may fail, and a --help leaves from here
    except OutputError as error:  # it is full, or nobody reads it any more
        return _told(f"{error.filename}: {error.strerror}", 1)
    except OSError as error:  # a file that is missing or in the way, a full disk
        from cldf_core.data.files import file_problem

        return _told(file_problem(error) or (f"{error.filename}: {error.strerror}" if error.filename else error), 2)
    except Exception as error:
        from cldf_core.options import UserError

        if not isinstance(error, UserError):
            raise  # a fault of the program; the others are mistakes, which their sentences explain
        return _told(error, 2)


def _check_variables(parser: Parser) -> None:
    """Refuses an environment variable with a value that means nothing, also where this command does not read it."""
    project_root()
    if (text := os.environ.get("CLDF_PROGRESS", "")) not in ("", "0", "1"):
        parser.error(f"CLDF_PROGRESS is {text!r}; allowed: 0 or 1")
    try:
        if text := os.environ.get("CLDF_CACHE_GB", ""):
            GIGABYTES(text)
    except argparse.ArgumentTypeError as error:
        parser.error(f"CLDF_CACHE_GB {error}")


def _told(problem: object, status: int) -> int:
    """Says on one line of stderr what is wrong; where nobody can read that, the exit status alone does."""
    # Somebody's text without end may be in it, or a path that is long, whose end matters.
    sentence = re.sub(r"(\S{200})\S{200,}(\S{100})", r"\1…\2", printable(problem))
    if len(sentence) > 4000:
        sentence = f"{sentence[:2000]} … {sentence[-1000:]}"
    with contextlib.suppress(OSError):
        print(f"cldf: {sentence}", file=sys.stderr)
    return status


def _options() -> Collection[str]:
    from cldf_core.options import FIELDS

    return FIELDS


def _parser() -> Parser:
    parser = Parser(prog="cldf", description="Deepfake-image detection that keeps learning.")
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    parser.set_defaults(call=lambda parsed: print(__version__) if parsed.version else parser.print_help())
    subparsers = parser.add_subparsers(title="commands", metavar="")
    for command in COMMANDS:
        command.add_command(subparsers)
    return parser
