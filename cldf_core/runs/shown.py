"""Runs of an archive that other versions of the libraries have made are shown, and none is trained beside them.

A root that shows such runs has the file runs/.shown.json, with the versions that they were made with. Keys are made
with these, so that every run is found, and nothing is written into a run's folder: tables would mix two versions.
"""

from importlib.metadata import version
from pathlib import Path

from cldf_core.data.files import read_record, write_record
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError

LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "pillow")  # whose versions are part of every run's key
SHOWN = ".shown.json"


def versions_here() -> dict[str, str]:
    """The version of each of LIBRARIES that is installed."""
    return {name: version(name) for name in LIBRARIES}


def key_versions() -> dict[str, str]:
    """The versions that keys are made with: those of the runs that the root shows, else those that are installed."""
    path = _record()
    try:
        return {name: read_record(path)["versions"][name] for name in LIBRARIES} if path.is_file() else versions_here()
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} is damaged; use the archive again, with cldf archive --use") from None


def show(versions: dict[str, str]) -> None:
    """Makes the root one that shows runs of other versions, or of those that are installed."""
    if versions == versions_here():
        _record().unlink(missing_ok=True)
    else:
        write_record(_record(), {"versions": versions})


def why_shown(versions: dict[str, str] | None = None) -> str:
    """In words, which versions differ from those that are installed, of the root's runs by default; "" if none does."""
    there, here = key_versions() if versions is None else versions, versions_here()
    return ", ".join(f"{name} {there[name]} (here {here[name]})" for name in LIBRARIES if there[name] != here[name])


def check_new(what: str) -> None:
    """Refuses to train something in a root that shows runs of other versions, with a UserError."""
    if why := why_shown():
        runs = f"the runs in {_record().parent}, which are only shown, since they were made with {why}"
        raise UserError(f"{what} is not among {runs}; needed, to train: another root, as CLDF_ROOT names it")


def _record() -> Path:
    return project_root() / "runs" / SHOWN
