"""What lies in runs/: folders of runs, notebooks and sweeps, their state and size; tables of scores stay closed."""

import contextlib
import fnmatch
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cldf_core.data.files import irregular
from cldf_core.data.runtime import project_root
from cldf_core.options import OptionError, UserError, checked, shown
from cldf_core.runs.folder import MANIFEST, SCORES, RunFolder
from cldf_core.runs.holder import HOLDER, LOCK, holder, holding

NO_RUN = "no folder of a run"
_REMOVED = ".removed-"  # the beginning of a folder's name while it is deleted
_NAMED = re.compile(r"(.+)-[0-9a-f]{12}")


@dataclass(frozen=True)
class Entry:
    """What can be known of a folder in runs/ without opening more than its manifest."""

    path: Path
    status: str  # finished, failed, unfinished, being made by …, damaged …, or what else it is
    kind: str = ""  # run, notebook or table; "" where it is none of them
    manifest: Mapping[str, Any] = field(default_factory=dict)  # empty where it is missing or damaged
    files: Mapping[str, int] = field(default_factory=dict)  # bytes of each, by its path from the folder
    written: float = 0.0  # when the manifest was, or the folder where there is none

    @property
    def name(self) -> str:
        """That of the folder."""
        return self.path.name

    @property
    def bytes(self) -> int:
        """What the folder's files take; what a link leads to is not counted."""
        return sum(self.files.values())

    def part(self, name: str) -> dict[str, Any]:
        """A part of the manifest that holds values by their names; empty where it is missing."""
        part = self.manifest.get(name)
        return part if isinstance(part, dict) else {}

    @property
    def options(self) -> dict[str, Any]:
        """Those of a run, or the parameters that a notebook was given."""
        return self.part("options")

    @property
    def runs(self) -> list[str] | None:
        """The names of the runs that it was made from; None where that is not known."""
        runs = self.manifest.get("runs")
        return runs if isinstance(runs, list) else None

    @property
    def who(self) -> str:
        """The agent of a run, the notebook, or the name of a table."""
        found = _NAMED.fullmatch(self.name)
        return str(self.options.get("agent") or self.manifest.get("notebook") or (found[1] if found else self.name))


def entries(words: Sequence[str] = ()) -> list[Entry]:
    """The folders in runs/, sorted by their names, or those that are named or fit a pattern, such as er-*.

    Raises:
        UserError: a name or a pattern fits no folder.
    """
    root = project_root() / "runs"
    names = sorted(name for name in (os.listdir(root) if root.is_dir() else ()) if not name.startswith("."))
    if words:
        names = list(dict.fromkeys(name for word in words for name in _matches(word, names, root)))
    return [found for name in names if (found := _entry(root / name))]


def users(names: Sequence[str], among: Sequence[Entry]) -> dict[str, list[str]]:
    """The notebooks and tables that were made from some of these runs, and from which."""
    wanted = set(names)
    used = {entry.name: [name for name in entry.runs or () if name in wanted] for entry in among}
    return {name: runs for name, runs in used.items() if runs}


def keep_runs(table: str, runs: Sequence[str]) -> None:
    """Writes down, in runs/, which runs a published table was made from."""
    folder = RunFolder(project_root() / "runs" / table)
    folder.write_manifest({"status": "finished", "options": {}, "runs": list(runs), "files": {}})


def changed_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run that differ from the defaults of its agent and variant, which are named in any case."""
    chosen = {name: options[name] for name in ("agent", "variant") if name in options}
    defaults: dict[str, Any] = {}
    with contextlib.suppress(OptionError):  # an agent that is not known here
        defaults = checked(chosen).model_dump()
    return chosen | {name: value for name, value in options.items() if name not in defaults or defaults[name] != value}


def differences(first: Entry, second: Entry) -> list[tuple[str, str, str]]:
    """Why two folders have different names: what differs, and what it is in each ("" where it is missing)."""
    two, rows = (first, second), list[tuple[str, str, str]]()
    for title, part in (("option", "options"), ("data", "data"), ("content", "contents"), ("version", "versions")):
        one, other = (entry.part(part) for entry in two)
        for name in dict.fromkeys([*one, *other]):
            if (name in one, one.get(name)) != (name in other, other.get(name)):
                values = [str(values[name])[:100] if name in values else "" for values in (one, other)]
                rows.append((f"{title} {name}", values[0], values[1]))
    codes = [str(entry.manifest.get("code") or entry.manifest.get("inputs") or "not known")[:12] for entry in two]
    if codes[0] != codes[1] or "not known" in codes:
        commits = [f" (commit {str(entry.manifest['git'])[:12]})" if entry.manifest.get("git") else "" for entry in two]
        title = "code" if first.kind == "run" else "inputs"
        rows.append((title, codes[0] + commits[0], codes[1] + commits[1]))
    return rows


def remove(entry: Entry) -> None:
    """Removes a folder, or the link that stands for one; a UserError where somebody writes into it."""
    runs = entry.path.parent
    if entry.path.is_symlink():
        return entry.path.unlink()
    with holding(entry.path, wait=False) as hold:
        hold.check()
        gone = runs / f"{_REMOVED}{secrets.token_hex(4)}"
        entry.path.rename(gone)  # so that there never is half a folder, and nobody finds it while it goes
    with contextlib.suppress(FileNotFoundError):  # another command has gone on with it
        shutil.rmtree(gone)
    return None


def forget_removed() -> None:
    """Removes what is left of folders whose removal was interrupted."""
    for path in (project_root() / "runs").glob(f"{_REMOVED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _matches(word: str, names: Sequence[str], root: Path) -> list[str]:
    """The names that a word means: a name in runs/, a path to it, or a pattern."""
    name, parent = os.path.basename(os.path.normpath(word)), os.path.dirname(os.path.normpath(word))
    places = (folder / parent for folder in (Path(), project_root()))
    if parent and not any(place.is_dir() and place.samefile(root) for place in places if root.is_dir()):
        raise UserError(f"{shown(word)} lies not in {root}; allowed: the name of a folder there, or a pattern")
    if found := [name] if name in names else fnmatch.filter(names, name):
        return found
    raise UserError(f"{shown(word)} fits no folder in {root}; cldf runs list shows all")


def _entry(path: Path) -> Entry | None:
    """What is known of a folder, or of a link; None for a file."""
    if not path.is_dir():
        return Entry(path, what) if path.is_symlink() and (what := irregular(path)) else None
    manifest, damage = dict[str, Any](), ""
    try:
        files = {} if path.is_symlink() else dict(_sizes(path))
        manifest = RunFolder(path).manifest
        written = (path / MANIFEST if manifest else path).stat().st_mtime
    except UserError:
        damage, written = f"damaged ({MANIFEST})", path.stat().st_mtime
    except OSError as error:
        return Entry(path, f"out of reach ({error.strerror})")
    status, options = manifest.get("status"), manifest.get("options")
    if isinstance(status, str) and isinstance(options, dict):
        kind = "notebook" if "notebook" in manifest else "run" if "agent" in options else "table"
    elif _NAMED.fullmatch(path.name) or SCORES in files or (path / HOLDER).exists():
        kind = "notebook" if path.name[:1].isdigit() else "table" if path.name.startswith("sweep_") else "run"
        damage = damage or (f"damaged ({MANIFEST})" if manifest else "")
    else:
        return Entry(path, NO_RUN, "", {}, files, written)
    if not damage and not path.is_symlink():
        listed = manifest.get("files")
        missing = [name for name in (listed if isinstance(listed, dict) else ()) if name not in files]
        damage = f"damaged ({missing[0]} is missing)" if missing else ""
    if who := holder(path):
        status = f"being made by {who}"
    elif damage or status not in ("finished", "failed"):
        status = damage or "unfinished"
    return Entry(path, str(status), kind, manifest, files, written)


def _sizes(folder: Path, prefix: str = "") -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as found:
        for item in found:
            if item.is_dir(follow_symlinks=False):
                yield from _sizes(folder / item.name, f"{prefix}{item.name}/")
            elif item.name not in (LOCK, HOLDER):
                with contextlib.suppress(FileNotFoundError):  # it is gone meanwhile
                    yield prefix + item.name, item.stat(follow_symlinks=False).st_size
