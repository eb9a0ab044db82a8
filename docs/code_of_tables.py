"""Writes into README.md which committed tables of sweeps and choices are of other code than today's.

    python docs/code_of_tables.py

Run it after a change of the method, and after a sweep; a test says so.
"""

from pathlib import Path

import pandas as pd

from cldf_core.results.sweep_tables import code_in_words

PROJECT = Path(__file__).parents[1]
BEGIN, END = "<!-- written by docs/code_of_tables.py -->\n", "<!-- end -->\n"


def tables() -> list[Path]:
    """The committed tables that tell of their code."""
    folder = PROJECT / "figures" / "tables"
    return [*sorted(folder.glob("sweep_*.csv")), *folder.glob("choices.csv")]


def block() -> str:
    """The lines between BEGIN and END."""
    names: dict[str, list[str]] = {}
    for path in tables():
        names.setdefault(code_in_words(pd.read_csv(path, dtype={"code": "str"})), []).append(f"`{path.name}`")
    lines = [f"- {words}: {', '.join(own)}\n" for words, own in names.items() if words]
    return "".join(
        ["Not of today's code:\n\n", *lines, "\n"] if lines else ["All committed tables are of today's code.\n"]
    )


def main() -> None:
    """Replaces the lines in README.md."""
    readme = PROJECT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    readme.write_text(before + BEGIN + block() + END + rest.split(END, 1)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
