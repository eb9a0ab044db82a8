"""The engine: order, needs and losses of tasks, and what is left of a command that is interrupted or killed."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from unittest.mock import Mock

import psutil
import pytest
import yaml
from distributed import Client, LocalCluster

from cldf_core.options import UserError
from cldf_core.workflow import cluster, engine, job
from cldf_core.workflow.cluster import HERE
from cldf_core.workflow.engine import Task, carried_out
from samples import tiny_values, until, write_notebook

SLEEPING = (
    "import os, time\nprint(os.getpid(), flush=True)\nopen('kernel', 'w').write(str(os.getpid()))\ntime.sleep(100)"
)
FRESH = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it


@pytest.fixture
def done(workers_here, monkeypatch):
    """The names of the tasks that were begun; a job is the error that it ends with."""
    names = []

    def perform(own, send):
        names.append(own["name"])
        send({"line": f"note: of {own['name']}"})
        return {"folder": None, "seconds": 1.0, "error": own["error"]}

    monkeypatch.setattr(job, "perform", perform)
    return names


def task(name: str, error: str = "", **facts) -> Task:
    return Task(name, {"name": name, "error": error}, **facts)


def test_tasks_come_in_the_order_of_needs_and_length_and_what_needs_a_failed_one_is_not_run(done, capsys):
    tasks = [
        task("last", needs=["bad", "fine"]),
        task("after", after=["bad"]),
        task("short", seconds=1.0),
        task("long", seconds=9.0),
        task("bad", "no luck"),
        task("fine"),
        task("lost", needs=["last"]),
        task("odd", needs=["not among these"]),
    ]
    outcomes = {outcome.task.name: outcome for outcome in carried_out(tasks, HERE)}
    assert done == ["bad", "fine", "long", "short", "after", "odd"]
    assert {name: o.status for name, o in outcomes.items() if o.status != "done"} == {
        **{"bad": "failed", "last": "not run", "lost": "not run"}
    }
    assert (outcomes["bad"].error, outcomes["last"].error) == ("no luck", "needs bad")
    lines = capsys.readouterr().err.splitlines()
    assert all(lines.count(f"note: of {name}") == 1 for name in done)


def test_what_failed_before_is_needed_in_vain_and_no_worker_is_started(monkeypatch):
    monkeypatch.setattr(engine, "opened", lambda *a, **k: pytest.fail("workers were started"))
    outcomes = list(carried_out([task("one", needs=["bad"])], HERE, failed=["bad"]))
    assert [(o.status, o.error) for o in outcomes] == [("not run", "needs bad")]


# --- real processes ---


def test_without_workers_nothing_waits_for_ever(workers_here, monkeypatch):
    @contextlib.contextmanager
    def nobody(*_):
        with (
            LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as none,
            Client(none) as client,
        ):
            yield cluster.Cluster(client)

    monkeypatch.setattr(cluster, "local", nobody)
    monkeypatch.setattr(engine, "DESERTED", 0.3)
    with pytest.raises(UserError, match="no worker process can be started on this machine"):
        list(carried_out([task("a")], HERE))


def test_a_worker_that_is_started_again_is_no_reason_to_kill_the_command():
    cluster._kill(Mock(workers={0: Mock(pid=None)}))  # a number that is missing would mean this process


def test_a_task_whose_worker_is_lost_is_begun_again_and_at_last_given_up(done, monkeypatch):
    losses, result = {"once": 1, "often": 100}, cluster.Cluster.result

    def lost(self, future):
        name = future.key.partition("-")[0]
        losses[name] -= 1
        return None if losses[name] >= 0 else result(self, future)

    monkeypatch.setattr(cluster.Cluster, "result", lost)
    outcomes = {outcome.task.name: outcome for outcome in carried_out([task("once"), task("often")], HERE)}
    assert {name: outcome.status for name, outcome in outcomes.items()} == {"once": "done", "often": "failed"}
    assert outcomes["often"].error == "its worker died 3 times (killed, or out of memory)"
    assert done.count("once") == 2
    assert done.count("often") in (3, 4), "what it says of its beginning may come after its loss"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process that is sent SIGTERM")
def test_a_sigterm_is_an_interruption(workers_here, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(job, "perform", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        list(carried_out([task("a")], HERE))
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture
def project(root, small_data, monkeypatch):
    """A root with a notebook that does not end, and a folder of temporary files of its own."""
    path = root / "params" / "smoke" / "01_data_exploration.yaml"
    path.parent.mkdir(parents=True)
    values = tiny_values(small_data)
    path.write_text(yaml.safe_dump({name: values[name] for name in ("data", "stream", "unseen")}))
    write_notebook(root, "01_data_exploration", SLEEPING)
    (root / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(root / "tmp"))
    return root


def start(*words: str) -> subprocess.Popen:
    python = [sys.executable, "-m", "cldf_core.cli", *words, "--profile", "smoke", "--jobs", "1"]
    return subprocess.Popen(python, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=FRESH)


def workers(process: subprocess.Popen) -> list[psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    return [child for child in found if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to one process")
@pytest.mark.parametrize("number", ["SIGINT", "SIGKILL"])
def test_nothing_goes_on_after_a_signal(project, number, workers_here, monkeypatch):
    process = start("reproduce", "--only", "01")
    kernel = until(lambda: (project / "kernel").exists() and (project / "kernel").read_text())
    others = [psutil.Process(int(kernel)), *workers(process)]
    environment = workers(process)[0].environ()
    assert "MALLOC_TRIM_THRESHOLD_" not in environment
    assert environment["OMP_NUM_THREADS"] == "1"
    process.send_signal(getattr(signal, number))
    since = time.monotonic()
    said = process.communicate(timeout=20)[1]
    if number != "SIGKILL":
        assert time.monotonic() - since < 5
        assert process.returncode == 130, said
        last = "cldf: interrupted; what is finished is kept, the same command goes on from there"
        assert said.splitlines() == ["01_data_exploration …", last]
        assert not list((project / "tmp").iterdir())
    until(lambda: not any(map(running, others)), 3)
    if number == "SIGKILL":  # the next command removes what this one could not
        monkeypatch.setattr(tempfile, "tempdir", str(project / "tmp"))
        assert list((project / "tmp").glob("cldf-*"))
        with cluster.opened(HERE, tasks=1, gpu=False):
            pass
        assert not list((project / "tmp").glob("cldf-*"))


def running(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
