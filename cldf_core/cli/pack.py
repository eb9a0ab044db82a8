"""`cldf archive`: one file with what notebooks read, so that elsewhere they open in seconds."""

import argparse
from pathlib import Path
from typing import Any

from cldf_core.data.console import note, printable


def add_command(subparsers: Any) -> None:
    """Adds `cldf archive` with its flags."""
    words = "pack data, spectra and finished runs of a profile into one file, or unpack it"
    parser = subparsers.add_parser("archive", help=words)
    add = parser.add_argument
    add("file", metavar="FILE", help="to write, such as quick.zip; with --use, to read: a file, or its address")
    add("--profile", help="whose notebooks are to find what they read (default: quick)")
    add("--use", action="store_true", help="unpack it here; what is there stays as it is")
    add("--sha256", help="with --use, what the file's must be")
    parser.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> None:
    """Packs or unpacks, and says what is in the file."""
    from cldf_core.cli.output import keep
    from cldf_core.data.console import counted
    from cldf_core.data.files import file_hash
    from cldf_core.options import OptionError
    from cldf_core.workflow import pack

    for flag, value, other in (
        ("--profile", parsed.profile and parsed.use, "without"),
        ("--sha256", parsed.sha256 and not parsed.use, "with"),
    ):
        if value:
            raise OptionError(f"{flag} is allowed only {other} --use")
    if parsed.use:
        source = parsed.file if "://" in parsed.file else Path(parsed.file)
        for sentence in pack.use(source, sha256=parsed.sha256):
            print(printable(sentence))
        return
    target = Path(parsed.file)
    keep(target, [], named="FILE")
    found = pack.pack(target, parsed.profile or "quick")
    for text in found.left_out:
        note(f"not packed: {text}")
    size = f"{target.stat().st_size / 1e6:,.1f} MB"
    print(printable(f"{target}: {size}, {counted(len(found.runs), 'run')}, {counted(len(found.files), 'file')}."))
    print(f"sha256 {file_hash(target)}")
