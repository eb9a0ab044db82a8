"""Makes notebooks/*.ipynb and those of notebooks/exercises from the .py beside them, without outputs (make sync).

Nothing is made where a .ipynb holds other cells than its .py and was edited later: that work would be lost. The address
from which a notebook installs the package where that is missing becomes the one in pyproject.toml.
"""

import re
import sys
from pathlib import Path
from typing import Any

import jupytext
from addresses import address
from jupytext.cli import jupytext as convert

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def cells(path: Path) -> list[tuple[str, str, list[str], dict[str, Any]]]:
    """What a person has written: kind, text, tags and nbgrader's metadata of each cell."""
    return [
        (cell.cell_type, cell.source, cell.metadata.get("tags", []), cell.metadata.get("nbgrader", {}))
        for cell in jupytext.read(path).cells
    ]


def edited_later(source: Path, notebook: Path) -> bool:
    """Whether a .ipynb holds work that its .py lacks; one that cannot be read holds none."""
    if not notebook.exists() or notebook.stat().st_mtime <= source.stat().st_mtime:
        return False
    try:
        return cells(notebook) != cells(source)
    except Exception as error:  # jupytext raises what its readers give
        print(f"note: {notebook} is no readable notebook ({error}); it is made again", file=sys.stderr)
        notebook.unlink()
        return False


def with_address(source: str, project: Path = NOTEBOOKS.parent) -> str:
    """A notebook's source that installs the package from the project's address."""
    return re.sub(r'(?<=install --quiet git\+)[^"]*', lambda _: address("Repository", project), source)


def main(folder: Path = NOTEBOOKS) -> int:
    """Makes the notebooks of a folder; returns 1, and makes none, if one of them was edited later than its .py."""
    sources = sorted(folder.glob("*.py"))
    for source in sources:
        if (text := source.read_text(encoding="utf-8")) != with_address(text):
            source.write_text(with_address(text), encoding="utf-8")
    later = [source for source in sources if edited_later(source, source.with_suffix(".ipynb"))]
    for source in later:
        notebook = source.with_suffix(".ipynb")
        print(
            f"{notebook} was edited later than {source}, and they differ. To keep the .ipynb: jupytext --to py:percent "
            f"{notebook}; to keep the .py: delete the .ipynb. Then make sync again",
            file=sys.stderr,
        )
    if not later:
        convert(["--quiet", "--to", "ipynb", "--update", *map(str, sources)])
    return int(bool(later))


if __name__ == "__main__":
    sys.exit(max(main(folder) for folder in (NOTEBOOKS, NOTEBOOKS / "exercises")))
