"""Files of params/: names, and what is written there. Importing this module imports neither torch nor pandas."""

from pathlib import Path
from typing import Any

from cldf_core.options import UserError
from cldf_core.reading import read_yaml


def read_settings(path: Path) -> dict[str, Any]:
    """The names in a file of params/ and what is written there, unchecked; a UserError says why it cannot be read."""
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"{path} is not readable YAML: its bytes are not UTF-8") from None
    except ValueError as problem:
        raise UserError(f"{path} {problem}") from None
    if not isinstance(values or {}, dict):
        kind = "list" if isinstance(values, list) else "text"
        raise UserError(f"{path} holds a {kind}; needed: lines of the form name: value")
    return values or {}
