"""What a task of the engine does, where it is done: a training run, or a notebook through papermill.

    python -m cldf_core.workflow.job

does, as a process of its own, the job that stands as JSON in the first line of the standard input, and writes messages
as lines of JSON: what was noted, how far it is, and last the result.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from cldf_core.data.console import Relay
from cldf_core.options import AGENTS, Options, UserError
from cldf_core.workflow.machine import check_machine
from cldf_core.workflow.parameters import Parameters

Job = Mapping[str, Any]  # plain values, so that JSON holds it


def run_job(options: Options, **how: bool) -> Job:
    """The job of `make_run`, which takes `how`."""
    return {"options": options.model_dump(), "how": how}


def notebook_job(parameters: Parameters, inputs: str, **how: bool) -> Job:
    """The job of `carry_out`, which takes `how`, for a notebook whose inputs have this hash."""
    return {"notebook": parameters.notebook, "values": dict(parameters.values), "inputs": inputs, "how": how}


def perform(job: Job, send: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Does a job in this process; messages tell meanwhile what is noted and how far it is.

    The result holds the name of the `folder` in runs/ that was made, the `seconds` that it took, and an `error` in one
    sentence, which is empty where all went well.
    """
    since = time.perf_counter()
    with contextlib.redirect_stderr(Relay(send)):
        try:
            folder, error = _notebook(job) if "notebook" in job else _run(job)
        except UserError as problem:
            folder, error = None, str(problem)
        except Exception as problem:  # out of memory, for example; it fails alone
            folder, error = None, f"{type(problem).__name__}: {problem}".removesuffix(": ")
    seconds = time.perf_counter() - since
    return {"folder": folder and folder.name, "seconds": seconds, "error": " ".join(error.split())}


def _run(job: Job) -> tuple[Path, str]:
    from cldf_core.runs.run import make_run  # loads torch, which the process of a notebook's job does without

    options = AGENTS[job["options"]["agent"]](**job["options"])
    check_machine(options)
    return make_run(options, **job["how"]).path, ""


def _notebook(job: Job) -> tuple[Path | None, str]:
    from cldf_core.workflow.notebooks import carry_out

    result = carry_out(Parameters(job["notebook"], job["values"]), job["inputs"], **job["how"])
    return result.folder, result.error


def in_worker(name: str, job: Job, topic: str) -> dict[str, Any]:
    """Does the job of a task in a worker's own process; messages go to a topic of Dask's events."""
    from distributed import get_worker
    from tqdm import tqdm

    worker = get_worker()
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which would outlive a worker that is killed

    def send(message: dict[str, Any]) -> None:
        worker.log_event(topic, [name, message])

    send({"begun": True})
    return perform(job, send)


def main() -> None:
    """Does the job that is the first line of the standard input, and ends when that does."""
    # What anything prints, this process or one that it starts, is no message, and goes where errors go.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()

    def send(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=out, flush=True)

    send({"result": perform(job, send)})


def _end_with(stream: TextIO) -> None:
    """Ends this process, whatever it does, with the one that holds the other end of a pipe."""
    stream.read()
    os._exit(1)


if __name__ == "__main__":
    main()
