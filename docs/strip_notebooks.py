"""Takes out of notebooks what opening and running them has put in: git's clean filter, and make strip.

Without arguments it filters standard input; else it rewrites the files that are named. It needs nothing but Python.
"""

import json
import re
import sys
from pathlib import Path

_KEPT = {"notebook": ("jupytext", "kernelspec"), "cell": ("tags", "nbgrader", "lines_to_next_cell")}


def stripped(content: bytes) -> bytes:
    """A notebook (.ipynb, or .py in jupytext's percent format) as it is committed; other content stays as it is.

    Outputs, execution counts, metadata of the session and empty lists of tags are left out.
    """
    try:
        notebook = json.loads(content)
        for cell in notebook["cells"]:
            cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k in _KEPT["cell"] and v != []}
            if cell["cell_type"] == "code":
                cell.update(outputs=[], execution_count=None)
        notebook["metadata"] = {k: v for k, v in notebook["metadata"].items() if k in _KEPT["notebook"]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return re.sub(rb"^(# %%.*?) tags=\[\](?=\r?$)", rb"\1", content, flags=re.MULTILINE)
    return (json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.stdout.buffer.write(stripped(sys.stdin.buffer.read()))
    for path in map(Path, sys.argv[1:]):
        before = path.read_bytes()
        if (after := stripped(before)) != before:
            path.write_bytes(after)
            print(f"{path}: outputs and the like are taken out")
