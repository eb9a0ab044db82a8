"""Measures what a student who runs notebooks and exercises takes of a machine, and says how large it should be.

    python docs/hosting.py [FILE]     # by default hosting.csv beside this script

Every notebook is run as by "Run all" with the profile smoke, in its order, in one new folder that holds nothing but the
data set at first; then every exercise, as its solution. A kernel's *own* memory is what it does not share with others;
*mapped* are files, mostly libraries, which all students on a machine share where all use one environment. Memory is
sampled, so a peak that is shorter than a few hundredths of a second may be missed. Needs Linux.
"""

import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import nbformat
import pandas as pd
import psutil
from nbclient import NotebookClient

from cldf_core.data.files import whole_file

PROJECT = Path(__file__).resolve().parents[1]
TABLE = PROJECT / "docs" / "hosting.csv"
COLUMNS = ["kind", "name", "own_mb", "mapped_mb", "processor_seconds", "machine"]
SECONDS = 0.03  # between two samples
GB = 1e9
HEADROOM = 1.3  # times what was measured, since students also try things of their own
SYSTEM = 1.0  # GB for the operating system and the hub
MINUTES = 5  # that a class waits for a notebook, where all begin at the same time


class Load(NamedTuple):
    """What processes have taken of a machine: bytes at their peak, and seconds of processors."""

    own: int
    mapped: int
    seconds: float


class Sampler(threading.Thread):
    """Samples all processes that this one has started, and theirs, until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._before = {process.pid for process in _started()}
        self._stop_now = threading.Event()
        self._own = self._mapped = 0
        self._seconds: dict[int, float] = {}

    def run(self) -> None:
        """Samples again and again."""
        while not self._stop_now.wait(SECONDS):
            own = 0
            for process in _started():
                try:
                    memory, times = process.memory_info(), process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                if process.pid not in self._before:
                    own += memory.rss - memory.shared
                    self._mapped = max(self._mapped, memory.shared)
                    self._seconds[process.pid] = times.user + times.system
            self._own = max(self._own, own)

    def stop(self) -> Load:
        """What was sampled so far."""
        self._stop_now.set()
        self.join()
        return Load(self._own, self._mapped, sum(self._seconds.values()))


def _started() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def measured(work: Callable[[], object]) -> Load:
    """What the processes take that some work starts, and waits for."""
    sampler = Sampler()
    sampler.start()
    try:
        work()
    finally:
        load = sampler.stop()
    return load


def run_all(path: Path) -> None:
    """Runs all cells of a notebook in a new kernel, where it lies; an error in it is one here."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(path.parent)}}).execute()


def build_data() -> None:
    """Builds the data set that the smoke profile takes."""
    words = "from cldf_core.data.layouts.read import data_folder; data_folder('mini-smoke')"
    subprocess.run([sys.executable, "-c", words], check=True)


def open_lab() -> None:
    """Starts JupyterLab, and asks for its page and its list of kernels, as a browser would."""
    with tempfile.TemporaryDirectory() as runtime:
        words = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0"]
        env = {**os.environ, "JUPYTER_RUNTIME_DIR": runtime}
        server = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not (found := sorted(Path(runtime).glob("jpserver-*.json"))):
                if server.poll() is not None:
                    raise RuntimeError("JupyterLab has ended before it could be asked for a page")
                time.sleep(0.1)
            about = json.loads(found[0].read_text(encoding="utf-8"))
            for page in ("lab", "api/kernelspecs"):
                with urllib.request.urlopen(f"{about['url']}{page}?token={about['token']}", timeout=60) as answer:
                    answer.read()
        finally:
            server.terminate()
            server.wait()


@contextmanager
def student() -> Iterator[None]:
    """A student's environment: tiny data, one thread a computation, and a folder that is empty at first."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as root:
        os.environ |= {"CLDF_PROFILE": "smoke", "CLDF_ROOT": root, "CLDF_PROGRESS": "0", "OMP_NUM_THREADS": "1"}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def parts() -> Iterator[tuple[str, str, Callable[[], object]]]:
    """What is measured: its kind, its name, and the work."""
    yield "server", "JupyterLab", open_lab
    yield "data", "mini-smoke", build_data
    for kind, folder in (("notebook", "notebooks"), ("exercise", "notebooks/exercises")):
        for path in sorted((PROJECT / folder).glob("*.ipynb")):
            yield kind, path.stem, lambda path=path: run_all(path)


def machine() -> str:
    """What was measured on, in words."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    memory = f"{psutil.virtual_memory().total / GB:.0f} GB"
    parts = [f"{os.cpu_count()} processors ({names[0] if names else platform.machine()})", memory, platform.system()]
    return ", ".join([*parts, *(f"{name} {version(name)}" for name in ("torch", "ipykernel", "jupyterlab"))])


def measure(target: Path) -> None:
    """Writes a row for all that is measured, with COLUMNS; the memory is in MB, of 10⁶ bytes."""
    rows = {row[1]: row for row in pd.read_csv(target).itertuples(index=False)} if target.is_file() else {}
    with student():
        for kind, name, work in parts():
            load = measured(work)
            rows[name] = (kind, name, load.own / 1e6, load.mapped / 1e6, load.seconds, machine())
            table = pd.DataFrame(list(rows.values()), columns=COLUMNS).round(1)
            with whole_file(target) as file:  # each time, since it takes long; what comes later keeps its old row
                table.to_csv(file, index=False)
            print(f"{name}: {load.own / 1e6:.0f} MB, {load.seconds:.0f} s", flush=True)


# --- what that means ---


def student_gb(table: pd.DataFrame) -> pd.Series:
    """GB for each student on one machine: the server's own and the kernel's, where all run the same."""
    server = table.loc[table["kind"] == "server", "own_mb"].item()
    return HEADROOM * (server + table["own_mb"]) / 1e3


def machine_gb(table: pd.DataFrame, students: int) -> pd.Series:
    """GB of a machine for so many students: the system, what is mapped once, and each student's own."""
    return SYSTEM + table["mapped_mb"] / 1e3 + students * student_gb(table)


def most_students(table: pd.DataFrame, gb: float) -> pd.Series:
    """How many students a machine with so many GB has room for."""
    return ((gb - SYSTEM - table["mapped_mb"] / 1e3) // student_gb(table)).clip(lower=0).astype(int)


def cores(table: pd.DataFrame, students: int) -> pd.Series:
    """Processors with which the last of so many students is done after MINUTES; one thread a computation."""
    return (students * table["processor_seconds"] / (60 * MINUTES)).apply(math.ceil)


def measured_table(table: pd.DataFrame) -> str:
    """What was measured, in Markdown, and how many students a machine of 16 GB has room for."""
    rows = table[table["kind"].isin(["notebook", "exercise"])]
    missing = [f"`{name}`" for _, name, _ in parts() if name not in set(table["name"])]
    lines = ["| | own memory, MB | processor seconds | students on 16 GB |", "|---|---:|---:|---:|"]
    for row, most in zip(rows.itertuples(), most_students(table, 16)[rows.index], strict=True):
        lines.append(f"| {row.kind} `{row.name}` | {row.own_mb:.0f} | {row.processor_seconds:.0f} | {most} |")
    return "\n".join([*lines, *(["", f"Not measured yet: {', '.join(missing)}."] if missing else [])])


def machines_table(table: pd.DataFrame) -> str:
    """How large a machine should be, in Markdown, by what a class runs and how many students it has."""
    notebooks = table[table["kind"] == "notebook"]
    parts = {
        "exercises": table[table["kind"] == "exercise"],
        "notebooks 00 to 08": notebooks[notebooks["name"] < "09"],
        "all notebooks": notebooks,
    }
    lines = [f"| students at the same time | {' | '.join(parts)} |", f"|---:|{'---:|' * len(parts)}"]
    for students in (10, 30, 60, 100):
        cells = []
        for part in parts.values():
            gb = machine_gb(table, students)[part.index].max()
            many = cores(part, students).max()
            cells.append(f"{math.ceil(gb)} GB, {many} processor{'s' if many > 1 else ''}")
        lines.append(f"| {students} | {' | '.join(cells)} |")
    return "\n".join(lines)


def filled(text: str, path: Path = TABLE) -> str:
    """A page's text with the tables, and what was measured on, in their places."""
    if "<!-- hosting: " in text:
        table = pd.read_csv(path)
        others = table.set_index("kind").loc[["server", "data"]]
        words = {
            "measured": measured_table(table),
            "machines": machines_table(table),
            "machine": "; ".join(sorted(set(table["machine"]))),
            "mapped": f"{table['mapped_mb'].max():.0f} MB",
            "server": f"{others.loc['server', 'own_mb']:.0f} MB",
            "data": f"{others.loc['data', 'own_mb']:.0f} MB and {others.loc['data', 'processor_seconds']:.0f} seconds",
            "container": f"{math.ceil(10 * (student_gb(table) + table['mapped_mb'] / 1e3).max()) / 10} GB",
        }
        for name, said in words.items():
            text = text.replace(f"<!-- hosting: {name} -->", said)
    return text


def main(target: Path = TABLE) -> int:
    """Measures everything and writes the table."""
    if not sys.platform.startswith("linux"):
        sys.exit("Memory is measured on Linux only: no other system tells what processes share")
    measure(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
