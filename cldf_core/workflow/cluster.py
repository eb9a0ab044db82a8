"""Where tasks are carried out: in processes of this machine or by somebody's Dask cluster.

Importing this module does not import Dask, for which nobody has to wait when there is nothing to do.
"""

import contextlib
import importlib.util
import logging
import os
import queue
import shlex
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock, Timeout

from cldf_core.data.files import NO_LOCKS, file_problem
from cldf_core.options import UserError
from cldf_core.runs.holder import LOCK
from cldf_core.workflow.job import Job, in_worker
from cldf_core.workflow.machine import gpus
from cldf_core.workflow.worker import ONE_THREAD

if TYPE_CHECKING:
    from distributed import Client, Future

Message = tuple[str, dict[str, Any]]  # the name of the task that it is about, and what it says
BASE, RISE = 0.6e9, 0.6e9  # bytes of a process before its run, and of a run where nothing is known of earlier ones


@dataclass(frozen=True)
class Place:
    """Where tasks are carried out, as the flags of the command line say."""

    jobs: int | None = None  # at once, on this machine; None takes what processors and memory allow
    scheduler: str | None = None  # a Dask scheduler's address, or its scheduler file
    store: str | None = None  # an fsspec address for data that are too large to be sent
    tls: bool = False
    insecure: bool = False

    @property
    def flags(self) -> str:
        """What says this in a command, for one that repeats a task: a space before each word."""
        words = {"scheduler": self.scheduler, "store": self.store}
        valued = "".join(f" --{name} {shlex.quote(value)}" for name, value in words.items() if value)
        return valued + " --tls" * self.tls + " --insecure" * self.insecure


HERE = Place()


class Cluster:
    """The workers behind a client of Dask, and the messages of what they do."""

    def __init__(self, client: "Client") -> None:
        self.client = client
        self.dashboard = client.dashboard_link if importlib.util.find_spec("bokeh") else ""
        self.topic = f"cldf-{uuid.uuid4().hex}"
        self._messages = queue.SimpleQueue[Message | None]()
        client.subscribe_topic(self.topic, lambda event: self._messages.put(tuple(event[1])))

    @property
    def size(self) -> int:
        """How many tasks can be carried out at once."""
        return sum(self.client.nthreads().values())

    @property
    def gpus(self) -> int:
        """How many of them with a GPU."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(int(worker["resources"].get("GPU", 0)) for worker in workers)

    def deserted(self) -> None:
        """Is called again and again when there have been no workers for long; a UserError, as here none will come."""
        what = "memory, processes, or room in the folder of temporary files or in /dev/shm"
        raise UserError(f"no worker process can be started on this machine; it may have too little {what}")

    def submit(self, name: str, job: Job, *, gpu: bool) -> "Future":
        """Hands a task over."""
        return self._submitted(in_worker, name, job, self.topic, gpu=gpu)

    def result(self, future: "Future") -> dict[str, Any] | None:
        """What `job.perform` has returned; None where the worker was lost."""
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker:
            return None

    def messages(self, seconds: float) -> Iterator[Message]:
        """Yields the messages that there are, and waits for the first so long, or until a task ends."""
        with contextlib.suppress(queue.Empty):
            message = self._messages.get(timeout=seconds)
            while True:
                if message:
                    yield message
                message = self._messages.get_nowait()

    def _submitted(self, function: Any, name: str, *arguments: Any, gpu: bool) -> "Future":
        resources = {"GPU": 1} if gpu else None
        key = f"{name}-{uuid.uuid4().hex}"
        future = self.client.submit(function, name, *arguments, key=key, pure=False, resources=resources)
        future.add_done_callback(lambda _: self._messages.put(None))
        return future


@contextlib.contextmanager
def opened(place: Place, *, tasks: int, gpu: bool) -> Iterator[Cluster]:
    """Yields the cluster of a place, whose processes on this machine end with it, however it ends.

    Raises:
        UserError: there are no GPUs, the scheduler is not allowed or out of reach, or its workers do not fit.
    """
    import dask

    silence()
    with _folder() as folder, dask.config.set({"temporary-directory": folder}):
        if place.scheduler:
            from cldf_core.workflow.remote import connected

            with connected(place, folder, gpu=gpu) as cluster:
                yield cluster
        else:
            devices = _gpus() if gpu else []
            most = place.jobs or (len(devices) if gpu else possible_jobs())
            with local(min(most, tasks), folder, devices) as cluster:
                yield cluster


def possible_jobs() -> int:
    """As many runs as this process has processors for, and memory; bounds of control groups are kept."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    from cldf_core.results.score_tables import finished_runs

    rises = [run.manifest.get("memory_rise_bytes") or 0 for run, _ in finished_runs()]
    free = min(psutil.virtual_memory().available, MEMORY_LIMIT)
    return max(1, min(CPU_COUNT, int(free / (BASE + (max(rises, default=0) or RISE)))))


def silence() -> None:
    """Leaves it to the engine to say what is wrong with a cluster."""
    import distributed  # noqa: F401 (which gives its loggers their handlers)

    for name in ("distributed", "distributed.client", "tornado", "tornado.application", "bokeh"):
        logging.getLogger(name).handlers = [logging.NullHandler()]


@contextlib.contextmanager
def local(jobs: int, folder: str, devices: list[str]) -> Iterator[Cluster]:
    """Yields so many processes of this machine, with a folder of temporary files; GPUs are dealt out in turn."""
    import dask
    from distributed import Client, LocalCluster

    class Workers(LocalCluster):
        """Worker k sees one GPU, the k-th, and the first again after the last."""

        def new_worker_spec(self) -> dict[int, Any]:
            spec = super().new_worker_spec()
            for k, worker in spec.items():
                gpu = {"CUDA_VISIBLE_DEVICES": devices[k % len(devices)]} if devices else {}
                spec[k] = {**worker, "options": {**worker["options"], "env": {"TMPDIR": folder, **gpu}}}
            return spec

    with contextlib.ExitStack() as stack:
        settings: dict[str, Any] = {
            # Else a nanny sets MALLOC_TRIM_THRESHOLD_, with which training takes 1.75 times as long.
            "distributed.nanny.pre-spawn-environ": ONE_THREAD,
            "distributed.worker.daemon": False,  # spectra are computed in processes of its own
            "distributed.scheduler.worker-ttl": None,  # its processes are watched in any case
            # Else each process takes some hundredths of a processor from the runs to watch itself.
            "distributed.worker.profile.enabled": False,
            "distributed.admin.tick.interval": "1s",
            "distributed.admin.system-monitor.interval": "5s",
        }
        stack.enter_context(dask.config.set(settings))
        with _uninterrupted():
            cluster = Workers(
                n_workers=0,
                threads_per_worker=1,
                memory_limit=0,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                resources={"GPU": 1} if devices else None,
                scheduler_kwargs={"allowed_failures": 0},
            )
            stack.callback(cluster.close, timeout=2)
            stack.callback(_kill, cluster)
            client = stack.enter_context(Client(cluster, set_as_default=False))
            cluster.scale(jobs)
        yield Cluster(client)


def _kill(cluster: Any) -> None:
    """Ends the workers at once, as Dask would wait for what they do; nothing that they hold is wanted any more."""
    for nanny in list(cluster.workers.values()):
        nanny.auto_restart = False
        if pid := nanny.pid:  # while a worker is started again there is none, and no number means this process
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Defers SIGINT, and blocks it in the threads and processes started meanwhile, for which it is not meant."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """A temporary folder, which is locked while it is used; those of killed commands are removed."""
    for path in Path(tempfile.gettempdir()).glob("cldf-engine-*"):
        with contextlib.suppress(OSError, Timeout), FileLock(path / LOCK, timeout=0, fallback_to_soft=False):
            shutil.rmtree(path, ignore_errors=True)
    while True:
        settings: dict[str, Any] = {"prefix": "cldf-engine-", "ignore_cleanup_errors": True}
        with tempfile.TemporaryDirectory(**settings) as name, contextlib.ExitStack() as stack:
            try:
                stack.enter_context(FileLock(Path(name, LOCK), fallback_to_soft=False))
            except FileNotFoundError:  # another command has taken it for one that is left
                continue
            except OSError as error:
                if error.errno not in NO_LOCKS:  # without locks nobody takes it
                    raise UserError(file_problem(error) or f"{name} cannot be locked ({error.strerror})") from None
            if Path(name).exists():
                yield name
                return


def _gpus() -> list[str]:
    """The GPUs that torch finds, as CUDA_VISIBLE_DEVICES names them."""
    count = gpus()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] or [str(k) for k in range(count)]
