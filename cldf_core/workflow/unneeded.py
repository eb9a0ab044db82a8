"""Which folders in runs/ no published table was made from: `cldf runs gc`."""

import contextlib
import time
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from cldf_core.agents import AGENTS
from cldf_core.data.runtime import project_root
from cldf_core.detection.in_use import history, lineage
from cldf_core.results.inventory import Entry, entries
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.holder import last_used
from cldf_core.runs.provenance import code_hash
from cldf_core.workflow.notebooks import notebook_parameters
from cldf_core.workflow.parameters import NOTEBOOKS, PROFILES

DAY = 86400  # seconds for which an unfinished run may still be gone on with


class Unneeded(NamedTuple):
    """A folder that no published table needs, and why it is one."""

    entry: Entry
    why: str


def unneeded() -> tuple[list[Unneeded], list[str]]:
    """The folders that no published table and no detector needs, and sentences on what is kept for want of knowledge.

    Published are the notebooks with the parameters of a profile, the tables of sweeps, and those of `cldf choose` and
    `cldf mini check`. A folder in which somebody writes is needed, and what is no folder of a run is left alone, as are
    links.
    """
    everything = [entry for entry in entries() if entry.kind and not entry.path.is_symlink()]
    profiles = {notebook_parameters(name, profile).folder.path.name for profile in PROFILES for name in NOTEBOOKS}
    published = [entry for entry in everything if entry.kind == "table" or entry.name in profiles]
    needed = {name for entry in published for name in (entry.name, *(entry.runs or ()))} | _runs_in_tables()
    runs = project_root() / "runs"
    needed |= {run.path.name for used in history() for run, _ in lineage(RunFolder(runs / used.run))}
    silent = [entry.name for entry in published if entry.runs is None and entry.status == "finished"]
    silent = [name for name in silent if not name.startswith("sweep_")]  # whose table names them
    notes = [f"{name} does not say which runs it was made from, so all finished runs are kept" for name in silent]
    others = [entry for entry in everything if entry.name not in needed]
    codes = {agent: code_hash(agent) for agent in {entry.who for entry in others} & {*AGENTS}}
    reasons = [(entry, _why(entry, codes, bool(silent))) for entry in others]
    return [Unneeded(entry, why) for entry, why in reasons if why], notes


def _why(entry: Entry, codes: Mapping[str, str], unknown: bool) -> str:
    """Why a folder that nothing published names can go; "" where it is kept all the same.

    The codes are today's of each agent. It is unknown whether finished runs are needed where a published one is silent.
    """
    if entry.status.startswith("being made"):
        return ""
    if entry.status != "finished":
        days = (time.time() - max(entry.written, (last_used(entry.path) or 0) / 1e9)) / DAY
        return f"{entry.status.partition(' ')[0]}, for {days:.0f} days" if days >= 1 else ""
    if entry.kind == "notebook":
        return "its parameters are those of no profile"
    if unknown:
        return ""
    if entry.manifest.get("code") != codes.get(entry.who):
        return "made by other code, and no published table needs it"
    return "no published table needs it"


def _runs_in_tables() -> set[str]:
    """The runs that the tables of sweeps name, in figures/ and in the folders of sweeps."""
    root, names = project_root(), set[str]()
    for folder in (root, *root.glob("runs/sweep_*")):
        for path in folder.glob("figures/tables/sweep_*_runs.csv"):
            with contextlib.suppress(ValueError):  # a damaged table, which names nothing
                names |= set(pd.read_csv(path, usecols=["run"])["run"].astype(str))
    return names
