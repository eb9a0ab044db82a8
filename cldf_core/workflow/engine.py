"""Carries out tasks at the same time: dask.distributed decides where, and this says what is ready, and what was lost.

No more tasks are handed over than there are workers, and each result is fetched as soon as it is there, since Dask
blames every task that a dying worker was given, also those that only waited, and forgets the results that it held.
"""

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cldf_core.options import Options, UserError
from cldf_core.results.score_tables import finished_runs
from cldf_core.runs.plan import made_before
from cldf_core.workflow.cluster import Cluster, Place, opened
from cldf_core.workflow.display import Display
from cldf_core.workflow.job import Job, run_job

if TYPE_CHECKING:
    from distributed import Future

LOSSES = 3  # of workers, with which a task is given up
TICK = 0.2  # seconds between two looks at what goes on
DESERTED = 60.0  # seconds without workers after which that is told


@dataclass(frozen=True)
class Task:
    """A job with a name, and the names of tasks that come before it."""

    name: str
    job: Job
    needs: Sequence[str] = ()  # without these it is not begun
    after: Sequence[str] = ()  # it waits for these, whatever becomes of them
    gpu: bool = False
    seconds: float | None = None  # that it took earlier, where this is known


class Outcome(NamedTuple):
    """What became of a task."""

    task: Task
    status: str  # "done", "failed" or "not run"
    seconds: float = 0.0
    folder: str | None = None  # the name of the one in runs/ that was made
    error: str = ""


def carried_out(tasks: Sequence[Task], place: Place, *, failed: Collection[str] = ()) -> Iterator[Outcome]:
    """Yields what becomes of each task, as they end; `failed` are needs of theirs that are known to have failed.

    Without a task that can be begun, nothing is started. A SIGTERM is an interruption, as SIGINT is.

    Raises:
        UserError: the place is not allowed, its workers do not fit, or its scheduler was lost.
    """
    needed = {name for task in tasks for name in (*task.needs, *task.after)}
    order = sorted(tasks, key=lambda task: (task.name not in needed, -(task.seconds or 0)))
    waiting, failed = list(order), set(failed)
    if not all(failed & set(task.needs) for task in tasks):
        with _terminable(), opened(place, tasks=len(tasks), gpu=any(t.gpu for t in tasks)) as cluster:
            yield from _Progress(cluster, waiting, failed).outcomes()
    for task in waiting:
        yield _not_run(task, failed)


def made(runs: Mapping[str, Options], place: Place, *, wait: bool = True) -> Iterator[Outcome]:
    """Makes the runs of these names, and yields what becomes of each, as they end."""
    earlier = {options["agent"]: run.manifest.get("seconds") for run, options in finished_runs()}
    tasks = [
        Task(name, run_job(options, wait=wait), gpu=options.device == "cuda", seconds=earlier.get(options.agent))
        for name, options in runs.items()
    ]
    return carried_out(tasks, place)


def make_all(runs: Mapping[str, Options], place: Place) -> None:
    """Makes the runs of these names that are not there; a UserError tells of the first that failed."""
    there = zip(runs, made_before(list(runs.values())), strict=True)
    missing = {name: runs[name] for name, run in there if not run}
    if failed := [outcome for outcome in made(missing, place) if outcome.error]:
        raise UserError(f"{failed[0].task.name}: {failed[0].error}")


class _Progress:
    """Tasks on their way through a cluster."""

    def __init__(self, cluster: Cluster, waiting: list[Task], failed: set[str]) -> None:
        self.cluster, self.waiting, self.failed = cluster, waiting, failed
        self.running: dict[Future, Task] = {}
        # How often each task was begun (this decides), and how often it was lost, perhaps before it began.
        self.begun, self.lost = Counter[str](), Counter[str]()
        self.peopled = time.monotonic()  # when there were workers

    def outcomes(self) -> Iterator[Outcome]:
        """Yields them until no task waits that could be begun."""
        with Display(self.waiting, self.cluster.dashboard) as display:
            while self.running or self.waiting:
                for outcome in [*self._without_needs(), *self._ended()]:
                    display.ended(outcome)
                    if outcome.status != "done":
                        self.failed.add(outcome.task.name)
                    yield outcome
                self._submit()
                for name, message in self.cluster.messages(TICK if self.running or self.waiting else 0):
                    if "begun" in message:
                        self.begun[name] += 1
                    display.told(name, message)
                display.look()

    def _ready(self) -> list[Task]:
        """The tasks of which nothing that comes before them is still to end."""
        ahead = {task.name for task in (*self.waiting, *self.running.values())}
        return [task for task in self.waiting if not ahead & {*task.needs, *task.after}]

    def _submit(self) -> None:
        size, now = self.cluster.size, time.monotonic()
        self.peopled = now if size else self.peopled
        if now - self.peopled > DESERTED:
            self.cluster.deserted()
        if not self.waiting or len(self.running) >= size:
            return
        gpus = self.cluster.gpus if any(task.gpu for task in self.waiting) else 0
        for task in self._ready():
            used = sum(task.gpu for task in self.running.values())
            if len(self.running) < size and not self.failed & set(task.needs) and not (task.gpu and used >= gpus):
                self.waiting.remove(task)
                self.running[self.cluster.submit(task.name, task.job, gpu=task.gpu)] = task

    def _without_needs(self) -> list[Outcome]:
        """What cannot be begun, and so leaves the queue."""
        lost = [task for task in self._ready() if self.failed & set(task.needs)] if self.failed else []
        for task in lost:
            self.waiting.remove(task)
        return [_not_run(task, self.failed) for task in lost]

    def _ended(self) -> list[Outcome]:
        """What has come to its end; a task whose worker was lost is handed over again."""
        outcomes = []
        for future in [future for future in self.running if future.done()]:
            task = self.running.pop(future)
            result = self.cluster.result(future)
            if result and "again" in result:
                self.waiting.insert(0, task)
                continue
            if result is None:
                self.lost[task.name] += 1
                if self.begun[task.name] < LOSSES and self.lost[task.name] < 3 * LOSSES:
                    self.waiting.insert(0, task)
                    continue
            result = result or {"error": f"its worker died {LOSSES} times (killed, or out of memory)"}
            status = "failed" if result["error"] else "done"
            facts = result.get("seconds", 0.0), result.get("folder"), result["error"]
            outcomes.append(Outcome(task, status, *facts))
        return outcomes


def _not_run(task: Task, failed: Collection[str]) -> Outcome:
    return Outcome(task, "not run", error=f"needs {', '.join(name for name in task.needs if name in failed)}")


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Makes SIGTERM an interruption for a while, so that it leaves nothing behind either."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
