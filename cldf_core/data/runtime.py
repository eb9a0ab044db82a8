"""Where the project lies, and how work runs here: processes, threads, progress bars."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import cldf_core

T = TypeVar("T")
R = TypeVar("R")


def project_root() -> Path:
    """The folder that holds runs/, data/ and figures/.

    The environment variable CLDF_ROOT names it. Without that it is the nearest folder above the working folder, or
    above the package, whose pyproject.toml is this project's; else it is the working folder.
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
    """Whether to show progress bars: as asked, else as CLDF_PROGRESS=0 or 1 says, else if someone is watching.

    Someone watches a terminal, or a notebook that papermill does not execute.
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
    parallel_from: int = 0,
    size: Callable[[T], int],
    label: str | None = None,
    progress: bool | None = None,
) -> Iterator[R]:
    """Yields `work(task)` for every task, in the order of the tasks, computed here or in other processes.

    The processes are spawned by loky, which does not import the main script again, so a script needs no guard. They
    end with the iteration, however it ends, and give their memory back.

    Args:
        work: a function that can be pickled.
        tasks: its arguments, one for each call.
        workers: number of processes; 1 computes here, None takes one for each processor if there is enough to do.
        parallel_from: images from which that is enough.
        size: gives the number of images in a task.
        label: stands before the progress bar.
        progress: whether to show the bar; None asks `progress_wanted`.

    Raises:
        ValueError, UserError: workers is below 1; a process died.
    """
    from tqdm.auto import tqdm

    total = sum(map(size, tasks))
    if workers is None:
        workers = (os.cpu_count() or 1) if total >= parallel_from else 1
    if workers < 1:
        raise ValueError(f"workers is {workers}; allowed: 1 or more")
    results = _pooled(work, tasks, workers) if min(workers, len(tasks)) > 1 else map(work, tasks)
    with tqdm(desc=label, total=total, unit="image", leave=False, disable=not progress_wanted(progress)) as bar:
        for task, result in zip(tasks, results, strict=True):
            yield result
            bar.update(size(task))


def _pooled(work: Callable[[T], R], tasks: Sequence[T], workers: int) -> Iterator[R]:
    from concurrent.futures.process import BrokenProcessPool

    from joblib.externals.loky import ProcessPoolExecutor

    from cldf_core.options import UserError

    try:
        with ProcessPoolExecutor(min(workers, len(tasks))) as pool:
            yield from pool.map(work, tasks)
    except BrokenProcessPool:
        raise UserError("a worker process died, perhaps for want of memory; fewer workers need less of it") from None
