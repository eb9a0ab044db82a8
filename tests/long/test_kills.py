"""Runs, notebooks, workers and schedulers are killed at any moment, and all ends as if they had never been."""

import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from cldf_core.options import AGENTS
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.run import make_run
from samples import ORIGINALS, PROJECT, hashes, processes_of, tiny_options, until

if sys.platform == "win32":
    pytest.skip("Windows has neither fork nor SIGKILL", allow_module_level=True)

KILLS = 7  # of each agent's run; nine settings
NOTEBOOK_KILLS = 6
AFTERWARDS = 3.0  # seconds after which no kernel may be left
# A process that has torch loaded and forks for each job, a line of JSON: the child makes the run, with a state after
# every batch where `always`, and is killed after so many seconds. It answers with the exit code.
SERVER = """
    import json, os, select, signal, sys
    import torch._dynamo, torchvision
    from cldf_core.options import checked
    from cldf_core.runs import checkpoints
    from cldf_core.runs.run import make_run

    for line in sys.stdin:
        job = json.loads(line)
        here, there = os.pipe()
        if not (pid := os.fork()):
            try:
                os.environ["CLDF_ROOT"] = job["root"]
                if job["always"]:
                    checkpoints.EVERY, checkpoints.SHARE = 0.0, float("inf")
                make_run(checked(job["options"]))
                os._exit(0)
            finally:
                os._exit(1)
        os.close(there)
        select.select([here], [], [], job["seconds"])  # readable when the child has ended
        os.kill(pid, signal.SIGKILL)
        os.close(here)
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])), flush=True)
"""
SETTINGS = [*((agent, {}) for agent in AGENTS), ("gdumb", ORIGINALS)]


def results(folder: Path) -> dict[str, str]:
    """Hashes of a run's files, but for the lock and the manifest, which tells times."""
    return {name: digest for name, digest in hashes(folder).items() if name not in (".lock", "manifest.json")}


@pytest.fixture(scope="module")
def server():
    command = [sys.executable, "-c", textwrap.dedent(SERVER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(**job):
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.kill()


@pytest.mark.parametrize(("agent", "changes"), SETTINGS, ids=[f"{a}-{c.get('variant', 'paper')}" for a, c in SETTINGS])
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bytes(
    agent, changes, server, small_data, tmp_path, monkeypatch
):
    opts = tiny_options(agent, small_data, **changes)
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "alone"))
    (tmp_path / "alone").mkdir()
    alone = make_run(opts)
    wanted, root = results(alone.path), tmp_path / "killed"
    shutil.copytree(tmp_path / "alone" / "data", root / "data")
    folder, rng, kills, ends, within = RunFolder(root / "runs" / alone.path.name), random.Random(agent), 0, 0, 0
    job = {"options": opts.model_dump(), "root": str(root)}
    since = time.monotonic()
    assert server(**job, seconds=600, always=True) == 0
    whole = time.monotonic() - since
    for always in itertools.cycle([True, True, False]):
        if folder.finished:
            assert server(**job, seconds=600, always=False) == 0  # killed at its very end, it may have left something
            assert results(folder.path) == wanted
            assert {path.name for path in folder.path.iterdir()} == {path.name for path in alone.path.iterdir()}
            assert [path.name for path in root.rglob(".*")] == [".lock"] * len([*root.rglob(".lock")])
            ends += 1
            if kills >= KILLS:
                break
            shutil.rmtree(folder.path)
        seconds = rng.uniform(0.1, 0.9) * whole if kills < KILLS else 600.0
        kills += server(**job, seconds=seconds, always=always) == -signal.SIGKILL
        within += folder.manifest.get("resumed", 0) > 0
    print(f"\n{agent}: {kills} kills, {ends} ends; {within} times it went on from a state")
    assert [path.name for path in (root / "runs").iterdir()] == [alone.path.name]


def test_a_notebook_that_is_killed_leaves_no_kernel_and_is_finished_by_the_same_command(tmp_path):
    environment = {**os.environ, "CLDF_ROOT": str(tmp_path / "killed"), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "cldf_core.cli", "run", "07_er_and_mir", "--profile", "smoke"]
    alone = {**environment, "CLDF_ROOT": str(tmp_path / "alone")}
    since = time.monotonic()
    subprocess.run(command, env=alone, check=True, capture_output=True)
    whole, rng, kills = time.monotonic() - since, random.Random(0), 0
    while kills < NOTEBOOK_KILLS:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.2, 0.9) * whole)
            shutil.rmtree(tmp_path / "killed" / "runs")
            continue
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        deadline = time.monotonic() + AFTERWARDS
        while (left := processes_of(tmp_path / "killed")) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left, [p.cmdline() for p in left]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert " done" in done.stdout
    folders = [{path.name: path for path in (tmp_path / name / "runs").iterdir()} for name in ("alone", "killed")]
    assert set(folders[0]) == set(folders[1])
    for name, path in folders[0].items():
        if name.startswith(("er-", "mir-")):
            assert results(folders[1][name]) == results(path)
    assert not [p for p in (tmp_path / "killed" / "runs").rglob(".*") if p.name != ".lock"]


def start(folder: Path, *words: object, env: dict[str, str] | None = None) -> subprocess.Popen:
    """Starts Dask, or a command of this project, and adds what it says to a log."""
    with (folder / "log").open("a") as log:
        return subprocess.Popen([sys.executable, "-m", *map(str, words)], env=env, cwd=folder, stdout=log, stderr=log)


def kill(process: subprocess.Popen) -> None:
    """Kills a process and all that it has started, at once."""
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.wait()


def test_a_sweep_outlives_a_worker_of_its_own(sweep, tmp_path):
    root = sweep.make_root(tmp_path / "root")
    command = start(tmp_path, *sweep.words[2:], "--jobs", "2", env=os.environ | sweep.env(root))
    until(lambda: len(list(root.glob("runs/*/manifest.json"))) >= 2)
    children = psutil.Process(command.pid).children(recursive=True)
    next(child for child in children if "spawn_main" in " ".join(child.cmdline())).kill()
    assert command.wait(600) == 0, (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text()
    assert "8 of 8 runs are in the tables" in said
    assert said.count(": done (") == 8
    assert said.count(" …\n") == 9, "eight runs, and one of them twice"
    assert sweep.results_in(root) == sweep.results


def test_a_sweep_outlives_workers_and_its_scheduler(sweep, tmp_path):
    root, run_by = sweep.make_root(tmp_path / "root"), tmp_path
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    port, here = address.rpartition(":")[2], ("--dashboard-address", "127.0.0.1:0")
    plain = {**os.environ, "PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path)}

    def scheduler() -> subprocess.Popen:
        return start(run_by, "dask", "scheduler", "--host", "127.0.0.1", "--port", port, *here, env=plain)

    def worker() -> subprocess.Popen:
        words = ["--nthreads", 1, "--memory-limit", 0, *here]
        return start(run_by, "dask", "worker", address, *words, env=plain)

    def finished() -> list[Path]:
        return list(root.glob("runs/*/scores.parquet"))

    processes = [scheduler(), worker(), worker()]
    words = [*sweep.words[2:], "--scheduler", address]
    said = tmp_path / "said"
    said.mkdir()
    command = start(said, *words, env=os.environ | sweep.env(root))
    try:
        until(lambda: len(finished()) >= 2)
        kill(processes[1])
        processes.append(worker())
        until(lambda: len(finished()) >= 4)
        for process in (processes[0], *processes[2:]):
            kill(process)
        assert command.wait(60) == 2
        last = (said / "log").read_text().splitlines()[-1]
        assert last == (
            f"cldf: the scheduler at {address} was lost; start it and its workers, and the same command goes on"
        )
        done = {path: path.stat().st_mtime_ns for path in finished()}
        assert 4 <= len(done) < 8
        processes = [scheduler(), worker(), worker()]
        command = start(said, *words, env=os.environ | sweep.env(root))
        assert command.wait(600) == 0, (said / "log").read_text()
        assert "8 of 8 runs are in the tables" in (said / "log").read_text()
        assert {path: path.stat().st_mtime_ns for path in done} == done
        assert sweep.results_in(root) == sweep.results
        since = time.monotonic()
        assert start(said, *words, env=os.environ | sweep.env(root)).wait(60) == 0
        print(f"\na second call takes {time.monotonic() - since:.1f} s (allowed: 5)")
        assert time.monotonic() - since < 5
    finally:
        for process in [command, *processes]:
            if process.poll() is None:
                kill(process)
