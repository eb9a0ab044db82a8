"""Where the project lies, and how work runs here: processes, threads, progress bars."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cldf_core

T = TypeVar("T")
R = TypeVar("R")


def project_root() -> Path:
    """The folder that holds runs/, data/ and figures/.

    The environment variable CLDF_ROOT if it is set; else the nearest folder above the working folder, or
    above the package, whose pyproject.toml is this project's; else the working folder.
    """
    if os.environ.get("CLDF_ROOT"):
        return Path(os.environ["CLDF_ROOT"]).resolve()
    here, package = Path.cwd(), Path(cldf_core.__file__).parent
    for folder in (here, *here.parents, package.parent):
        project = folder / "pyproject.toml"
        if project.is_file() and 'name = "cldf-core"' in project.read_text(encoding="utf-8"):
            return folder
    return here


@contextlib.contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Sets torch's number of CPU threads for a while: the last digits of sums depend on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def progress_wanted(progress: bool | None = None) -> bool:
    """Whether to show progress bars: as asked, else CLDF_PROGRESS=0 or 1, else whether someone is watching.

    Someone is watching a terminal, or a notebook that papermill does not execute.
    """
    if progress is not None:
        return progress
    setting = os.environ.get("CLDF_PROGRESS")
    if setting in ("0", "1"):
        return setting == "1"
    if "ipykernel" not in sys.modules:
        return sys.stderr.isatty()
    import psutil  # comes with ipykernel

    parent = psutil.Process().parent()
    with contextlib.suppress(psutil.Error):
        return parent is None or not any("papermill" in part for part in parent.cmdline())
    return True


def in_processes(
    work: Callable[[T], R],
    tasks: Sequence[T],
    *,
    workers: int | None = None,
    parallel_from: int = 2,
    size: Callable[[Any], int] = len,
    unit: str = "image",
    progress: bool | None = None,
) -> Iterator[R]:
    """Computes `work` of every task, here or in other processes, and yields the results in the tasks' order.

    The processes are spawned by loky, which does not import the main script again, so a script needs no guard.

    Args:
        work: a function that can be sent to another process.
        tasks: its arguments, one for each call.
        workers: number of processes; 1 stays in this one, None takes one for each processor if there is enough to do.
        parallel_from: with `workers` None, the total size from which other processes are started.
        size: how much a task counts on the progress bar.
        unit: what it counts.
        progress: shows a bar; None decides as `progress_wanted` does.

    Raises:
        BrokenProcessPool: a process died, as it does when the memory runs out.
    """
    from tqdm.auto import tqdm

    total = sum(map(size, tasks))
    if workers is None:
        workers = (os.cpu_count() or 1) if total >= parallel_from else 1
    workers = min(workers, len(tasks))
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=total, unit=unit, leave=False, disable=not progress_wanted(progress)))
        results = map(work, tasks)
        if workers > 1:
            from joblib.externals.loky import ProcessPoolExecutor

            results = stack.enter_context(ProcessPoolExecutor(workers)).map(work, tasks)
        for task, result in zip(tasks, results, strict=True):
            yield result
            bar.update(size(task))
