"""The `cldf` command: one parser for all command lines; a command's work is imported only when it is called."""

import argparse
import difflib
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from cldf_core import __version__
from cldf_core.cli import choose, data, metrics, mini, reproduce, run, score, sweep, test, train

COMMANDS = (reproduce, run, sweep, train, test, score, metrics, data, mini, choose)
RENAMED = {"--again": "--force", "--forgers": "--generators"}  # earlier versions' names of flags
# Argparse's messages about a value, and how they are said here.
_SENTENCES = {
    r"^it is": "is",
    r"^invalid int value: (.*)": r"is \1; allowed: a whole number",
    r"^invalid float value: (.*)": r"is \1; allowed: a number",
    r"^invalid choice: (\S+) \(choose from (.*)\)": r"is \1; allowed: \2",
    r"^not allowed with argument": "is not allowed together with",
}


class Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in one sentence, by raising OptionError."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses as argparse does, and refuses what no flag of this command takes."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown[0]))
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

    def _unknown(self, word: str) -> str:
        """What is wrong with a word that no flag takes, the flag that it may stand for, and all flags."""
        flags = {name.replace("-", "_"): name for name in self._flags()}
        allowed = f"llowed: {', '.join(flags.values())}"
        if not word.startswith("-"):
            return f"{word!r} belongs to no flag; a{allowed}"
        name = word.split("=")[0]
        if RENAMED.get(name) in self._flags():
            return f"there is no flag {name} any more; it is called {RENAMED[name]} now"
        close = difflib.get_close_matches(name.replace("-", "_"), flags, n=1)
        return f"there is no flag {word!r}; " + (f"did you mean {flags[close[0]]}? A" if close else "a") + allowed

    def _flags(self) -> list[str]:
        """The flags that the help shows, each in its first long spelling."""
        shown = [action.option_strings for action in self._actions if action.help != argparse.SUPPRESS]
        return [next((name for name in names if name.startswith("--")), names[0]) for names in shown if names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit status: 0 done, 1 something failed, 2 a wrong call, 130 interrupted."""
    for console in (sys.stdout, sys.stderr):
        if isinstance(console, io.TextIOWrapper):  # its encoding may lack letters of a name
            console.reconfigure(errors="backslashreplace")
    try:
        parsed = _parser().parse_args(arguments)
        if getattr(parsed, "cache_gb", None):
            os.environ["CLDF_CACHE_GB"] = parsed.cache_gb  # for this process and the notebooks' kernels
        return int(parsed.call(parsed) or 0)
    except KeyboardInterrupt:
        print("cldf: interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from cldf_core.options import UserError

        if isinstance(error, OSError):
            from cldf_core.data.files import file_problem

            error = UserError(sentence) if (sentence := file_problem(error)) else error
        if not isinstance(error, (UserError, FileNotFoundError)):
            raise  # a fault of the program; the others are mistakes, which their sentences explain
        print(f"cldf: {error}", file=sys.stderr)
        return 2


def _parser() -> Parser:
    parser = Parser(prog="cldf", description="Deepfake-image detection that keeps learning.")
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    parser.set_defaults(call=lambda parsed: print(__version__) if parsed.version else parser.print_help())
    subparsers = parser.add_subparsers(title="commands", metavar="")
    for command in COMMANDS:
        command.add_command(subparsers)
    return parser
