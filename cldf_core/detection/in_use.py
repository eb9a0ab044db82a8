"""Which detector is in use, which ones were before it, and where each comes from.

detector.json in the project's folder, or another file as its record, holds a list: the run that was taken into use,
when, and why. The last one is in use. A run's lineage.json says which run it went on from.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cldf_core.data.console import note
from cldf_core.data.files import locked, read_record, write_record
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError
from cldf_core.results.score_tables import run_options
from cldf_core.runs.folder import LINEAGE, RunFolder, named_path

RECORD = "detector.json"


@dataclass(frozen=True)
class Use:
    """That a run was taken into use: its name in runs/, since when (local time), and why, in a sentence."""

    run: str
    since: str
    why: str


def history(record: Path | None = None) -> list[Use]:
    """All detectors that were in use, the present one last; a UserError says that the record is damaged."""
    path = record or project_root() / RECORD
    if not path.exists():
        return []
    try:
        return [Use(**use) for use in read_record(path)["uses"]]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); nothing is lost; needed: a right to it") from None
    except (ValueError, TypeError, KeyError):
        ways = "delete it, and take a run into use again with cldf detector use"
        raise UserError(f"{path} is damaged, or not what cldf wrote; {ways}") from None


def in_use(record: Path | None = None) -> RunFolder | None:
    """The run of the detector that is in use; None where none was ever taken. A UserError says that it is gone."""
    if not (uses := history(record)):
        return None
    run = RunFolder(project_root() / "runs" / uses[-1].run)
    if not run.path.is_dir():
        raise UserError(f"the detector in use, {run.path}, is gone; needed: another one (cldf detector use RUN)")
    return run


def use(run: RunFolder, why: str, record: Path | None = None) -> None:
    """Takes a finished run into use; the record changes whole or not at all.

    A UserError says that it is none, that it is damaged, or that it lies elsewhere than in runs/.
    """
    run = RunFolder(run.path.resolve())  # a run has one name, whatever leads to it
    run_options(run)
    if damaged := run.damaged():
        raise UserError(f"{damaged} is damaged, changed or missing; needed: a run as it was made")
    if run.path.parent != (project_root() / "runs").resolve():
        raise UserError(f"{run.path} lies outside of {project_root() / 'runs'}; needed: a run in it")
    if (before := history(record)) and before[-1].run == run.path.name:
        return
    uses = [*before, Use(run.path.name, time.strftime("%Y-%m-%dT%H:%M:%S"), why)]
    write_record(record or project_root() / RECORD, {"uses": [asdict(each) for each in uses]}, indent=1)


@contextmanager
def changing() -> Iterator[None]:
    """Lets in one process at a time that may change which detector is in use; another waits."""
    runs = project_root() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    with locked(runs / ".detector.lock"):
        yield


def lineage(run: RunFolder) -> list[tuple[RunFolder, dict[str, Any]]]:
    """The run and those that it went on from, the newest first, each with what its lineage.json says ({} if none)."""
    chain, known = list[tuple[RunFolder, dict[str, Any]]](), set[Path]()
    while run.path not in known and run.path.is_dir():
        known.add(run.path)
        record: dict[str, Any] = {}
        try:
            found = read_record(run.path / LINEAGE)
            if Path(before := found["from"]).name == before and isinstance(found["steps"], int):
                record = found
            else:
                raise ValueError("no run, or no number of steps")
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError):
            note(f"{run.path / LINEAGE} is damaged, so what {run.path.name} went on from is not known")
        chain.append((run, record))
        run = RunFolder(run.path.with_name(record.get("from", run.path.name)))
    return chain


def named(name: str | None, record: Path | None = None) -> RunFolder:
    """The run of a detector: by the name of its run, its folder, or None for the one in use."""
    run = in_use(record) if name is None else RunFolder(Path(named_path(name)).resolve())
    if run is None:
        raise UserError("no detector is in use; needed: the name of a run, or cldf detector use RUN before")
    run_options(run)
    return run
