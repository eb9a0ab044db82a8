"""Where a run's numbers come from: its key, and what its manifest says of data, code and machine."""

import contextlib
import ctypes
import functools
import hashlib
import inspect
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cldf_core
from cldf_core.data.console import note
from cldf_core.data.files import file_hash
from cldf_core.data.runtime import project_root
from cldf_core.data.source_trees import meaning, tree_hash
from cldf_core.options import Options
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.shown import check_new, key_versions, versions_here, why_shown

# Options count by their values, and layouts by the tables that they give, which are in the fingerprints. The others
# keep or describe what was computed, and compute nothing.
_NOT_COUNTED = (
    *("options", "original_options", "reading", "data.console", "data.files", "data.layouts"),
    *("runs.folder", "runs.holder", "runs.notes", "runs.plan", "runs.provenance", "runs.shown"),
)
# Syntax trees that count as earlier ones, since all scores are theirs, bit for bit (tests/long/compare_checkouts.py
# shows it): runs from before are found, and tables are those of this code. Only the use of memory has changed.
_SAME_SCORES = {
    "c16704f8287c0111cd01dc566028c09f9b8b893cdcfe85a71822f305336888ed": (
        "2fea712cef537122bd5cfc1428d63e89d0a2e3363abeae54889810710f9c95d7"
    )
}


def run_key(options: Options, fingerprints: Mapping[str, str]) -> str:
    """Hash of everything that a run's scores depend on (see `run_keys`), for who would train it if it is not there.

    Raises:
        UserError: the root shows runs of other versions, and this is not one of them.
    """
    (key,) = run_keys([(options, fingerprints)])
    if why_shown() and not RunFolder(project_root() / "runs" / f"{options.agent}-{key}").finished:
        check_new(f"the run of {options.agent!r} with these options")
    return key


def run_keys(runs: Iterable[tuple[Options, Mapping[str, str]]]) -> list[str]:
    """For the options and fingerprints of each run a hash of everything that its scores depend on.

    These are the options, the data (the fingerprint of each domain), the content of a file with weights, the versions
    of the libraries, and the syntax trees of `runs.run` and of the modules that it imports, directly or not: the
    method, and all between file and batch. Files are read once for all the runs. Where the root shows runs of other
    versions, which a note says, the keys are those of these runs.
    """
    libraries = [*key_versions().values()]
    if why := why_shown():
        _tell(f"the runs in {project_root() / 'runs'} are shown as they were made, with {why}; none is trained here")
    content, sources = functools.cache(weights_content), functools.cache(_sources)
    keys = []
    for options, fingerprints in runs:
        values = options.model_dump() | {name: content(getattr(options, name)) for name in ("weights", "start")}
        parts = [values, dict(fingerprints), libraries, sources(options.agent)]
        keys.append(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12])
    return keys


def code_hash(agent: str) -> str:
    """Hash of the sources that an agent's runs depend on, a part of their keys."""
    return hashlib.sha256(json.dumps(_sources(agent)).encode()).hexdigest()[:12]


def weights_content(weights: str | None) -> str | None:
    """The hash of the content of a file with weights; any other value of the option stays as it is."""
    return file_hash(Path(weights)) if weights and Path(weights).is_file() else weights


def new_manifest(options: Options, key: str, fingerprints: Mapping[str, str], notes: Sequence[str]) -> dict[str, Any]:
    """The manifest of a run that begins; a UserError says that the root only shows runs of other versions."""
    check_new(f"{options.agent}-{key}")
    return {
        "status": "running",
        "key": key,
        "options": options.model_dump(),
        "data": dict(fingerprints),
        "contents": {name: weights_content(path) for name in ("weights", "start") if (path := getattr(options, name))},
        "code": code_hash(options.agent),
        "notes": list(notes),
        "versions": {
            "python": platform.python_version(),
            **versions_here(),
            "machine": platform.machine(),
            "processor": processor(),
            "system": platform.system(),
        },
        "threads": options.threads,
        "git": git_commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": 0.0,
        "images": 0,
        "memory_rise_bytes": None,
        "steps": [],
        "files": {},
    }


@functools.cache
def processor() -> str:
    """The name of this machine's processor, which its seconds are of; its architecture where the system tells none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@functools.cache
def git_commit() -> str | None:
    """The commit of the project that the package is from, with "+" when files differ from it; None outside git.

    It is asked for once: a process goes on with the code that it has imported.
    """
    project = Path(cldf_core.__file__).parents[1]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=project, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return commit and commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def count_memory_anew() -> int | None:
    """Makes Linux forget the process's peak of memory; returns the bytes that it holds now, None on other systems.

    A run is not the only thing that its process has done, so its memory is what `peak_memory` rises above this.
    """
    peak = Path("/proc/self/clear_refs")  # see proc(5)
    if not peak.exists():
        return None
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed, which would hide as much of the rise
    try:
        peak.write_text("5")
    except OSError:
        return None
    return peak_memory()


def peak_memory() -> int:
    """The most memory that this process has held since it was counted anew, in bytes; Linux only."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@functools.cache
def _tell(text: str) -> None:
    """Notes something once in a process."""
    note(text)


def _sources(agent: str) -> tuple[str, list[str]]:
    trees = tree_hash(["runs.run"], without=_NOT_COUNTED)
    return _SAME_SCORES.get(trees, trees), _registered_source(agent)


def _registered_source(agent: str) -> list[str]:
    """What the source of a registered agent's class and its parents means, functions outside of them left out."""
    if "cldf_core.agents" not in sys.modules:  # which loads torch: without it, nobody has registered an agent
        return []
    from cldf_core.agents import AGENTS

    classes = [c for c in AGENTS[agent].__mro__ if c is not object and not c.__module__.startswith("cldf_core.")]
    parts = []
    for name, value in (item for kind in classes for item in sorted(vars(kind).items())):
        value = getattr(value, "fget", getattr(value, "__func__", value))
        if inspect.isfunction(value):
            source = inspect.getsource(value)
            try:
                parts.append(meaning(f"if True:\n{source}" if source[0].isspace() else source))
            except SyntaxError:  # a lambda inside a longer expression
                parts.append(source)
        elif not name.startswith("__"):
            parts.append(f"{name} = {value!r}")
    return parts
