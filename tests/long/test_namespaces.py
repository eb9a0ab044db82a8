"""Two workers on machines of their own, as far as namespaces make them: nothing is shared but a network.

Each has its own network, processes, name, and files: of the project, its runs, the home folder and the temporary folder
it sees nothing, only Python and its packages, without cldf.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest

from samples import PROJECT, state

NOTEBOOKS = (sys.executable, "-m", "cldf_core.cli", "reproduce", "--profile", "smoke", "--only", "02", "04", "05")
ADDRESS = "tcp://10.0.0.1:8786"  # it exists only within the namespaces
NEEDED = ("unshare", "nsenter", "setpriv", "ip", "mount")
SEPARATE = ["setpriv", "--pdeathsig=KILL", "unshare", "--net", "--uts", "--mount", "--pid", "--mount-proc", "--fork"]
SEPARATE += ["--kill-child"]
if missing := [name for name in NEEDED if not shutil.which(name)]:
    pytest.skip(f"no {', '.join(missing)}; on Debian: apt-get install iproute2 mount", allow_module_level=True)
if (tried := subprocess.run([*SEPARATE, "true"], capture_output=True, text=True)).returncode:
    pytest.skip(f"namespaces of its own need root here: {tried.stderr.strip()}", allow_module_level=True)

# Leaves nothing of the folders but Python and its packages.
HIDE = """
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/prefix /mnt/base
mount --bind "$PREFIX" /mnt/prefix
mount --bind "$BASE" /mnt/base
for folder in "$@"; do
    if [ -d "$folder" ]; then mount -t tmpfs -o mode=1777 tmpfs "$folder"; fi
done
mkdir -p "$BASE" && mount --bind /mnt/base "$BASE"
mkdir -p "$PREFIX" && mount --bind /mnt/prefix "$PREFIX"
"""
# A sitecustomize and a distribution that lie about the version of numpy.
LIE = """
mkdir -p /mnt/lie/numpy-1.99.dist-info
printf 'Metadata-Version: 2.1\\nName: numpy\\nVersion: 1.99\\n' >/mnt/lie/numpy-1.99.dist-info/METADATA
printf 'import numpy\\nnumpy.__version__ = "1.99"\\n' >/mnt/lie/sitecustomize.py
"""


class Machine(NamedTuple):
    """Namespaces for network, name, mounts and processes, which end with the process that holds them."""

    name: str
    holder: subprocess.Popen[bytes]
    log: Path
    started: list[subprocess.Popen[bytes]]

    @property
    def first(self) -> int:
        """The number of its first process, seen from outside."""
        return psutil.Process(self.holder.pid).children()[0].pid

    def start(self, *words: str, **env: str) -> subprocess.Popen[bytes]:
        """Starts a command inside, with these variables only."""
        enter = ["nsenter", f"--target={self.first}", "--net", "--uts", "--mount", "--pid", "--wd=/"]
        env = {"PATH": os.environ["PATH"], "HOME": str(Path.home()), "TMPDIR": tempfile.gettempdir(), **env}
        with self.log.open("a") as log:
            self.started.append(subprocess.Popen([*enter, *words], env=env, stdout=log, stderr=log))
        return self.started[-1]

    def run(self, *words: str, **env: str) -> int:
        """Runs a command inside; gives its status."""
        return self.start(*words, **env).wait()

    def end(self) -> None:
        """Ends all that was started."""
        for process in (self.holder, *self.started):
            process.kill()
            process.wait()

    def processes(self, word: str) -> list[psutil.Process]:
        """Processes inside whose command has a word, the first started first."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                same = os.path.samefile(f"/proc/{process.pid}/ns/pid", f"/proc/{self.first}/ns/pid")
                found += [process] if same and word in " ".join(process.cmdline()) else []
        return sorted(found, key=psutil.Process.create_time)


class Network(NamedTuple):
    """The machine that has the project, and those that have not; all hang on one bridge."""

    home: Machine
    others: list[Machine]
    root: Path
    env: dict[str, str]

    def start(self, machine: Machine, **env: str) -> subprocess.Popen[bytes]:
        """Starts a worker."""
        words = ["worker", ADDRESS, "--nthreads=1", "--memory-limit=0", "--no-dashboard"]
        return machine.start(sys.executable, "-m", "dask", *words, **env)

    def command(self, *words: str) -> subprocess.Popen[bytes]:
        """Starts cldf where the project is."""
        return self.home.start(*words, "--scheduler", ADDRESS, "--insecure", **self.env)

    def said(self) -> str:
        """What all have printed."""
        return "\n".join(f"{m.name}:\n{m.log.read_text()}" for m in (*self.others, self.home) if m.log.exists())

    def until(self, true: Callable[[], Any], seconds: float, what: str) -> None:
        """Waits until something is true, and says what was printed if it is not."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"not within {seconds} s: {what}\n{self.said()}"
            time.sleep(0.1)


@pytest.fixture
def network(sweep: Any, tmp_path: Path) -> Iterator[Network]:
    """A bridge with a scheduler and two workers on it."""
    with contextlib.ExitStack() as stack:

        def machine(name: str) -> Machine:
            words = [*SEPARATE, "sh", "-c", "while true; do sleep 1000; done"]  # a shell, since it reaps orphans
            made = Machine(name, subprocess.Popen(words, cwd="/"), tmp_path / name, [])
            stack.callback(made.end)
            while not psutil.Process(made.holder.pid).children():
                time.sleep(0.01)
            assert made.run("ip", "link", "set", "lo", "up") == made.run("hostname", name) == 0
            return made

        home, *others = (machine(name) for name in ("home", "one", "two"))
        root = sweep.make_root(tmp_path / "root")
        network = Network(home, others, root, sweep.env(root))
        for line in ("link add bridge type bridge", "addr add 10.0.0.1/24 dev bridge", "link set bridge up"):
            assert home.run("ip", *line.split()) == 0, network.said()
        folders = [PROJECT, Path.home(), tmp_path, tempfile.gettempdir()]
        folders += [prefix.parent for prefix in [Path(sys.prefix)] if (prefix.parent / "pyproject.toml").exists()]
        for number, other in enumerate(others, start=1):
            words = f"link add to-{other.name} netns {home.first} type veth peer name eth0 netns {other.first}"
            subprocess.run(["ip", *words.split()], check=True)
            for line in (f"link set to-{other.name} master bridge", f"link set to-{other.name} up"):
                assert home.run("ip", *line.split()) == 0, network.said()
            for line in (f"addr add 10.0.0.{number + 1}/24 dev eth0", "link set eth0 up"):
                assert other.run("ip", *line.split()) == 0, network.said()
            words = ["sh", "-c", HIDE, "sh", *map(str, folders)]
            assert other.run(*words, PREFIX=sys.prefix, BASE=sys.base_prefix) == 0, network.said()
            assert other.run("ls", str(PROJECT / "cldf_core")) != 0
            assert other.run(sys.executable, "-c", "import dask, torch") == 0, network.said()
            assert other.run(sys.executable, "-c", "import cldf_core") != 0
        words = ["scheduler", "--host=10.0.0.1", "--port=8786", "--dashboard-address=127.0.0.1:0"]
        home.start(sys.executable, "-m", "dask", *words)
        yield network


def _finished(root: Path) -> int:
    return len(list(root.glob("runs/*/scores.parquet")))


@pytest.mark.parametrize("lost", ["nothing", "a worker process", "a machine", "a connection"])
def test_a_sweep_comes_home_from_machines_that_share_nothing(network, sweep, lost):
    for machine in network.others:
        network.start(machine)
    command = network.command(*sweep.words)
    one = network.others[0]
    if lost != "nothing":
        network.until(lambda: _finished(network.root) >= 2 or command.poll(), 400, "two runs are done")
    if lost == "a worker process":
        one.processes("spawn_main")[0].kill()  # later ones may be those with which a run computes spectra
    elif lost == "a machine":
        one.end()
    elif lost == "a connection":
        assert network.home.run("ip", "link", "set", f"to-{one.name}", "down") == 0
    network.until(lambda: command.poll() is not None, 900, "the command is done")
    assert command.returncode == 0, network.said()
    assert sweep.results_in(network.root) == sweep.results
    for machine in network.others:
        if machine.holder.poll() is None:
            network.until(lambda m=machine: not m.processes("cldf_core.workflow.job"), 90, "no run is left")
    assert network.command(*sweep.words).wait(300) == 0
    assert sweep.results_in(network.root) == sweep.results


def test_notebooks_come_home_from_machines_that_share_nothing(network, sweep, tmp_path):
    for machine in network.others:
        network.start(machine)
    command = network.command(*NOTEBOOKS)
    network.until(lambda: command.poll() is not None, 900, "the command is done")
    assert command.returncode == 0, network.said()
    plain = sweep.make_root(tmp_path / "plain")
    subprocess.run(NOTEBOOKS, env=os.environ | sweep.env(plain), check=True)
    results = sweep.results_in(plain)
    assert {name.split("_")[0] for name in results} >= {"02", "04", "05"}
    assert sweep.results_in(network.root) == results
    before = state(network.root / "runs")
    assert network.command(*NOTEBOOKS).wait(300) == 0  # finds all done
    assert state(network.root / "runs") == before


def test_a_worker_with_another_version_is_refused(network, sweep):
    network.start(network.others[0])
    liar = network.others[1]
    assert liar.run("sh", "-c", LIE) == 0
    network.start(liar, PYTHONPATH="/mnt/lie")
    network.until(lambda: network.said().count("Registered to:") == 2, 120, "two workers are ready")
    assert network.command(*sweep.words).wait(300) != 0
    [sentence] = [line for line in network.home.log.read_text().splitlines() if line.startswith("cldf: ")]
    for word in ("numpy", "1.99", np.__version__):
        assert word in sentence
    assert not _finished(network.root)
