"""A Dask cluster that was started by hand: what is refused, and what goes to workers without the project, and home."""

import contextlib
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import dask
import pytest
import yaml

from cldf_core.cli import main
from cldf_core.options import UserError
from cldf_core.runs.run import make_run
from cldf_core.workflow import parcels, remote, worker
from cldf_core.workflow.cluster import Place
from cldf_core.workflow.notebooks import LAST
from samples import GOOD, statuses, tiny_options, tiny_values, write_notebook


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The file of a scheduler with two workers, which have a folder of their own and know nothing of the project."""
    folder = tmp_path_factory.mktemp("cluster")
    own = {name: text for name, text in os.environ.items() if name not in ("PYTHONPATH", "CLDF_ROOT")}
    own |= {"HOME": str(folder), "TMPDIR": str(folder)}
    file = folder / "scheduler.json"
    commands = [
        ["scheduler", "--host=127.0.0.1", "--port=0", "--dashboard-address=127.0.0.1:0", "--scheduler-file", file]
    ]
    commands += [["worker", "--scheduler-file", file, "--nthreads=1", "--memory-limit=0", "--no-dashboard"]] * 2
    with contextlib.ExitStack() as stack, open(folder / "log", "w") as log:
        for words in commands:
            words = [sys.executable, "-m", "dask", *map(str, words)]
            process = stack.enter_context(subprocess.Popen(words, env=own, cwd=folder, stdout=log, stderr=log))
            stack.callback(process.kill)
        end = time.monotonic() + 60
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.1)
        yield file


@pytest.fixture
def hidden(monkeypatch):
    """The workers do not see the project's folder: they read another word there."""
    real = remote.mark

    @contextlib.contextmanager
    def mark(folder):
        with real(folder) as (path, _):
            yield path, "another word"

    monkeypatch.setattr(remote, "mark", mark)


@pytest.fixture
def project(root, small_data):
    """A root with a grid of two runs, and a notebook."""
    for profile in ("quick", "smoke"):
        for name in (LAST, "04_icarl"):
            path = root / "params" / profile / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = tiny_values(small_data)
            names = values if name == LAST else ("data", "stream", "unseen")
            path.write_text(yaml.safe_dump({name: values[name] for name in names}))
    (root / "params" / "grids").mkdir()
    (root / "params" / "grids" / "pair.yaml").write_text("agent: [sequential, er]\n")
    write_notebook(root, "04_icarl", GOOD)
    return root


def test_runs_and_notebooks_come_home_from_workers_without_the_project(project, small_data, scheduler, hidden, capsys):
    there = ["--scheduler", str(scheduler)]
    sweep, notebook = ["sweep", "pair", "--profile", "smoke"], ["reproduce", "--only", "04"]
    assert main([*sweep, *there]) == 0, capsys.readouterr().err
    made = {path.name for path in (project / "runs").glob("[es]*-*")}
    for agent in ("er", "sequential"):
        plain = make_run(tiny_options(agent, small_data))
        assert plain.path.name in made, "the key is the same there"
        assert plain.damaged() is None
    assert main([*notebook, *there]) == 0
    assert statuses(capsys.readouterr().out) == {"04_icarl": "done"}
    assert (project / "figures" / "04_icarl.png").read_text() == "old"
    for words in (sweep, notebook):
        assert main([*words, "--scheduler", "no.such.host:1", "--insecure"]) == 0, "a second call needs no cluster"
    assert [path.name for path in (project / "runs").glob(".*")] == [".kept-kept.lock"]  # of the sweep's kept scores


def test_large_data_go_through_a_store(project, scheduler, hidden, capsys, monkeypatch, tmp_path):
    (project / "params" / "grids" / "pair.yaml").write_text("agent: [sequential]\n")
    monkeypatch.setattr(parcels, "MOST", 1000)
    words = ["sweep", "pair", "--profile", "smoke", "--scheduler", str(scheduler)]
    assert main(words) == 2
    assert "are not sent; needed: --store" in capsys.readouterr().err
    assert main([*words, "--store", f"file://{tmp_path}/store"]) == 0
    assert len(list(project.glob("runs/sequential-*/scores.parquet"))) == 1
    assert len(list((tmp_path / "store").iterdir())) == 1, "the data stay for the next time, what came home does not"


def test_workers_that_see_the_project_work_there(project, small_data, scheduler):
    (project / "params" / "grids" / "pair.yaml").write_text("agent: [er]\n")
    assert main(["sweep", "pair", "--profile", "smoke", "--scheduler", str(scheduler)]) == 0
    assert make_run(tiny_options("er", small_data)).damaged() is None


def test_a_gpu_that_no_worker_has_is_refused_before_anything_is_submitted(root, scheduler):
    sentence = "no worker of tcp://127.0.0.1:.* has a GPU; start them with --resources GPU=1"
    with pytest.raises(UserError, match=sentence), remote.connected(Place(scheduler=str(scheduler)), "", gpu=True):
        pass


@pytest.mark.parametrize(
    ("address", "flags", "sentence"),
    [
        ("tcp://192.0.2.1:8786", {}, "whoever reaches it can run code as you; allowed: tls:// with --tls"),
        ("192.0.2.1:8786", {}, "the scheduler at tcp://192.0.2.1:8786 does not ask who is there"),
        ("tcp://192.0.2.1:8786", {"tls": True}, "does not encrypt"),
        ("tcp://127.0.0.1", {}, "allowed: tcp://host:8786"),
        ("http://127.0.0.1:8786", {}, "allowed: tcp://host:8786"),
        ("tcp://127.0.0.1:99999", {}, "allowed: tcp://host:8786"),
        ("none.json", {}, "No such file or directory; needed: what dask scheduler --scheduler-file wrote"),
        ("bad.json", {}, "bad.json: it is no scheduler file"),
        ("far.json", {}, "the scheduler at tcp://192.0.2.1:8786 does not ask"),
        ("tcp://no-such-host.invalid:8786", {}, "there is no host 'no-such-host.invalid'"),
    ],
)
def test_an_address_that_is_not_to_be_trusted_is_refused(tmp_path, monkeypatch, address, flags, sentence):
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text("[]")
    Path("far.json").write_text(json.dumps({"address": "tcp://192.0.2.1:8786"}))
    with pytest.raises(UserError, match=sentence.replace("?", r"\?")):
        remote.address_of(Place(scheduler=address, **flags))
    if "does not ask" in sentence:
        assert remote.address_of(Place(scheduler=address, insecure=True)) == "tcp://192.0.2.1:8786"


@pytest.mark.parametrize("address", ["tcp://[::1", "tcp://.:1", f"tcp://{'a' * 64}.invalid:8786"])
def test_an_address_that_is_none_is_one_sentence(address):
    with pytest.raises(UserError, match="^--scheduler"):
        remote.address_of(Place(scheduler=address))


def test_what_does_not_greet_is_no_scheduler(root, monkeypatch):
    monkeypatch.setattr(remote, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = Place(scheduler=f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        with (
            pytest.raises(UserError, match=r"^no scheduler answers at .* \(timed out\)"),
            remote.connected(place, "", gpu=False),
        ):
            pass


def test_a_configuration_that_wants_encryption_refuses_other_addresses(root, scheduler):
    with (
        dask.config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(UserError, match="does not encrypt, as Dask's configuration here requires; allowed: an address"),
        remote.connected(Place(scheduler=str(scheduler)), "", gpu=False),
    ):
        pass


RESULT = "print(json.dumps({'result': {'folder': None, 'error': ''}}), flush=True)\n"
ODD_JOBS = {
    "another process has its output": f"if not os.fork():\n    time.sleep(60)\n{RESULT}time.sleep(1)",
    "it is killed, and another has its output": "if os.fork():\n    os.kill(os.getpid(), 9)\ntime.sleep(60)",
    "it ends without a word": "os._exit(3)",
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.parametrize("name", ODD_JOBS)
def test_whatever_a_job_does_its_end_is_seen(name, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "CHECK", 0.1)
    own = SimpleNamespace(log_event=Mock(), state=SimpleNamespace(tasks={"key": SimpleNamespace(state="executing")}))
    monkeypatch.setattr("distributed.get_worker", lambda: own)
    monkeypatch.setattr("distributed.worker.thread_state", SimpleNamespace(key="key"))
    (tmp_path / "cldf_core" / "workflow").mkdir(parents=True)
    (tmp_path / "cldf_core" / "__init__.py").touch()
    job = "import json, os, sys, time\nsys.stdin.readline()\n" + ODD_JOBS[name]
    (tmp_path / "cldf_core" / "workflow" / "job.py").write_text(job)
    since = time.monotonic()
    result = worker._process("a", {}, "topic", tmp_path, tmp_path / "root", str(tmp_path))
    assert time.monotonic() - since < 10
    if "killed" in name:
        assert result is None
    else:
        assert result["error"] == ("" if "another" in name else f"{Path(sys.executable)}: no reason was given")


def test_what_anything_writes_is_no_message():
    code = "import os; from cldf_core.workflow import job\njob.perform = lambda *_: {'error': os.write(1, b'x') and ''}"
    words, pipe = [sys.executable, "-c", f"{code}\njob.main()"], subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdin.write("{}\n")
        process.stdin.flush()
        assert [json.loads(line) for line in process.stdout] == [{"result": {"error": ""}}]
        assert process.stderr.read() == "x"


def zipped(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return content.getvalue()


def test_what_came_changed_is_not_installed(tmp_path):
    content = zipped(**{"a/b": "c"})
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(ValueError, match="came changed"):
        worker.install(str(tmp_path), digest, "root", content[:-1])
    assert not list(tmp_path.iterdir())
    worker.install(str(tmp_path), digest, "root", content)
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([digest, "root", "a", "b"])


@pytest.mark.parametrize("there", [True, False])
def test_a_worker_that_cannot_keep_what_it_is_sent_fails_its_task(there, tmp_path):
    client = Mock()
    client.run.side_effect = OSError(28, "No space left on device")
    client.nthreads.return_value = {"tcp://one:1": 1} if there else {}
    cluster = remote.Remote(client, Place(scheduler="tcp://one:2"), {}, tmp_path)
    parcel = cluster._parcel({"a": b"b"}, "root")
    result = {"lacking": [parcel.digest], "worker": "tcp://one:1", "own": "there"}
    said = cluster.result(Mock(result=Mock(return_value=result)))
    if there:
        assert said["error"].startswith(
            "the worker tcp://one:1 could not keep what the task needs (OSError: [Errno 28]"
        )
    else:
        assert said == {"again": True}


def test_what_comes_home_is_whole_and_leads_nowhere_else(root):
    names = ["../../out", "/out", "er-1/../../out", "er-1/.lock", ".er-2/a", "er-1/manifest.json", "er-1/figures/a"]
    with pytest.raises(ValueError, match="er-1 has not come home whole"):
        parcels.unpacked(zipped(**dict.fromkeys(names, "{")), replace="er-1")
    assert not list(root.parent.glob("out"))
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found - {"runs/er-1/.lock"} == {"runs/er-1/manifest.json", "runs/er-1/figures/a"}
    assert (root / "runs" / "er-1" / ".lock").read_text() != "{"
    with pytest.raises(ValueError, match="er-3 has not come home whole"):
        parcels.unpacked(zipped(**{"er-3/figures/a": "b"}), replace="er-3")


def test_the_command_that_repeats_a_task_names_the_place():
    place = Place(scheduler="tls://a b:1", store="s3://c", tls=True)
    assert place.flags == " --scheduler 'tls://a b:1' --store s3://c --tls"


def test_tls_needs_certificates(capsys, root):
    for address in ("tls://127.0.0.1:8786", "tls://192.0.2.1:8786"):
        with pytest.raises(UserError, match="needs certificates, and Dask knows none here"):
            remote._security(remote.address_of(Place(scheduler=address, tls=True)))


@pytest.mark.parametrize(("who", "name"), [("scheduler", "dask"), ("worker", "numpy"), ("worker", "python")])
def test_other_versions_are_refused(who, name):
    same = dict.fromkeys(remote.PACKAGES, "2.0")
    packages = {"client": same, "scheduler": {**same, "numpy": "none of its business"}, "worker": same}
    found = {side: {"packages": dict(values)} for side, values in packages.items()}
    found[who]["packages"][name] = "1.99"
    versions = {"client": found["client"], "scheduler": found["scheduler"], "workers": {"tcp://w:1": found["worker"]}}
    client = Mock(get_versions=Mock(return_value=versions))
    with pytest.raises(UserError, match=f"{who}.* has {name} 1.99, and here it is 2.0; needed: the same version"):
        remote.compare_versions(client)


def test_a_scheduler_that_does_not_answer_is_told(root, monkeypatch, capsys):
    monkeypatch.setattr(remote, "TIMEOUT", 0.5)
    sentence, place = "no scheduler answers at tcp://127.0.0.1:9", Place(scheduler="tcp://127.0.0.1:9")
    with pytest.raises(UserError, match=sentence), remote.connected(place, "", gpu=False):
        pass


@pytest.mark.parametrize(
    "words", [["--store", "file:///x"], ["--tls"], ["--insecure"], ["--jobs", "2", "--scheduler", "a:1"]]
)
def test_flags_that_do_not_go_together_are_refused(words, root, capsys):
    assert main(["reproduce", *words]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "--scheduler" in told
