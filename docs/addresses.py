"""Where the project is published, by [project.urls] in pyproject.toml: what README, the site and notebooks lead to."""

import re
from pathlib import Path
from urllib.parse import urlsplit

PROJECT = Path(__file__).parents[1]


def address(name: str, project: Path = PROJECT) -> str:
    """That of the site, Documentation, or that of the project itself, Repository."""
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(rf'^{name} = "([^"]*)"', text, re.MULTILINE)[1]


def launchers(notebook: str) -> dict[str, str]:
    """The addresses at which Binder and Colab open a notebook of the project on GitHub."""
    place, path = urlsplit(address("Repository")).path.strip("/"), f"notebooks/{notebook}.ipynb"
    return {
        "Binder": f"https://mybinder.org/v2/gh/{place}/HEAD?urlpath=lab/tree/{path}",
        "Colab": f"https://colab.research.google.com/github/{place}/blob/HEAD/{path}",
    }
