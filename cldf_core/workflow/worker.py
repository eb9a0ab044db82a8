"""What a worker of somebody's Dask cluster does with a task, which it carries out in a process of its own.

Nothing of this package need be installed there: the module is sent by value, so it imports Python and Dask alone.
"""

import contextlib
import hashlib
import io
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
import zipfile
from pathlib import Path
from typing import Any

CHECK = 1.0  # seconds between two looks whether anybody still wants the result
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def carry_out(name: str, job: dict[str, Any], topic: str, home: dict[str, Any]) -> dict[str, Any] | None:
    """Does a job where the project is seen, or where its parts have been sent to.

    Where the project is not seen and parts are missing, or none were named yet, it returns the hashes of those that are
    `lacking`, and the worker's address and own folder; `install` is to bring them. Else it returns what `job.perform`
    returns, with the bytes of a zip file that holds the `runs` to be brought home; None where the process was killed.
    """
    from distributed import get_worker

    worker = get_worker()
    own = Path(worker.local_directory) / "cldf"
    source, root, seen = Path(home["project"]), Path(home["root"]), _sees(home)
    if not seen:
        for part in home["parts"]:
            if part["url"] and not (own / part["digest"]).exists():
                install(str(own), part["digest"], part["into"], fetched(part["url"]))
        lacking = [part["digest"] for part in home["parts"] if not (own / part["digest"]).exists()]
        if lacking or not home["parts"]:
            return {"lacking": lacking, "worker": worker.address, "own": str(own)}
        source, root = own / "source", own / "root"
    worker.log_event(topic, [name, {"begun": True}])
    with tempfile.TemporaryDirectory(dir=worker.local_directory, ignore_cleanup_errors=True) as folder:
        result = _process(name, job, topic, source, root, folder)
        if result and result["folder"] and not seen:
            result["runs"] = _packed(root / "runs", result["folder"], set(home["known"]))
            if home["store"] and len(result["runs"]) > home["most"]:
                result["url"] = f"{home['store']}/{uuid.uuid4().hex}.zip"
                _stored(result["url"], result.pop("runs"))
    return result


def install(own: str, digest: str, into: str, content: bytes) -> None:
    """Unpacks a zip file that was sent below a worker's own folder, and notes that it is there; files appear whole."""
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"what was sent as {digest} came changed")
    Path(own).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as file, tempfile.TemporaryDirectory(dir=own) as folder:
        for name in file.namelist():
            path, target = file.extract(name, folder), Path(own, into, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    Path(own, digest).touch()


def _sees(home: dict[str, Any]) -> bool:
    try:
        return Path(home["mark"]).read_text() == home["word"] and (Path(home["project"]) / "cldf_core").is_dir()
    except OSError:
        return False


def _process(
    name: str, job: dict[str, Any], topic: str, source: Path, root: Path, folder: str
) -> dict[str, Any] | None:
    """Does the job in a process that ends with this one, and when nobody wants its result any more."""
    from distributed import get_worker

    worker = get_worker()
    # With Dask's MALLOC_TRIM_THRESHOLD_, training takes 1.75 times as long.
    environment = {k: v for k, v in os.environ.items() if k not in ("MALLOC_TRIM_THRESHOLD_", "CLDF_PROGRESS")}
    path = os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")]))
    environment |= {"PYTHONPATH": path, "CLDF_ROOT": str(root), "TMPDIR": folder, **ONE_THREAD}
    root.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "cldf_core.workflow.job"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    with (
        open(Path(folder, "errors"), "w+b") as errors,
        subprocess.Popen(words, **pipes, stderr=errors, env=environment, cwd=root, start_new_session=True) as process,
    ):
        assert process.stdin
        lines = queue.SimpleQueue[str]()
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()  # the pipe stays open: its end is that of the process
            while line := _next(lines, worker, process):
                message = json.loads(line)
                if "result" in message:
                    return message["result"]
                worker.log_event(topic, [name, message])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(CHECK)
        finally:
            _kill(process)
        if process.wait() < 0:
            return None
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines() or ["no reason was given"]
    return {"folder": None, "seconds": 0.0, "error": f"{Path(sys.executable)}: {said[-1]}"}


def _read(stream: Any, lines: "queue.SimpleQueue[str]") -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _kill(process: "subprocess.Popen[str]") -> None:
    """Ends a process and those that it has started in its session."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _next(lines: "queue.SimpleQueue[str]", worker: Any, process: "subprocess.Popen[str]") -> str:
    """The next line; "" at the end, which comes also when the task was cancelled or its client is gone.

    The end of the process is one, too: one that it has started may keep the stream open.
    """
    from distributed.worker import thread_state

    while True:
        task = worker.state.tasks.get(thread_state.key)
        if task is None or task.state == "cancelled":
            return ""
        ended = process.poll() is not None
        with contextlib.suppress(queue.Empty):
            return lines.get(timeout=CHECK)
        if ended:
            return ""


def _packed(runs: Path, folder: str, known: set[str]) -> bytes:
    """The folder of a result and those of the runs that it has made, as a zip file."""
    names = {folder}
    with contextlib.suppress(OSError, ValueError):
        names |= {*json.loads((runs / folder / "manifest.json").read_text(encoding="utf-8")).get("runs", ())} - known
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in sorted(names):
            for path in sorted((runs / name).rglob("*")):
                parts = path.relative_to(runs).parts
                if path.is_file() and parts[1] != "state" and not parts[-1].startswith("."):
                    file.write(path, "/".join(parts))
    return content.getvalue()


def fetched(url: str) -> bytes:
    """What lies at an address that fsspec knows."""
    import fsspec

    with fsspec.open(url, "rb") as file:
        return bytes(file.read())


def _stored(url: str, content: bytes) -> None:
    import fsspec

    with fsspec.open(url, "wb", auto_mkdir=True) as file:
        file.write(content)
