"""Where the project lies, and how work runs here: processes and threads."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import cldf_core
from cldf_core.data.console import progress_bar

T = TypeVar("T")
R = TypeVar("R")


def project_root() -> Path:
    """The folder that holds runs/, data/ and figures/.

    The environment variable CLDF_ROOT names it; it need not exist yet. Without that it is the nearest folder above the
    working folder, or above the package, whose pyproject.toml is this project's; else it is the working folder.

    Raises:
        UserError: CLDF_ROOT names what no folder can be.
    """
    if text := os.environ.get("CLDF_ROOT"):
        return _root(text)
    here, package = Path.cwd(), Path(cldf_core.__file__).parent
    for folder in (here, *here.parents, package.parent):
        project = folder / "pyproject.toml"
        if project.is_file() and 'name = "cldf-core"' in project.read_text(encoding="utf-8"):
            return folder
    return here


def _root(text: str) -> Path:
    """The folder that CLDF_ROOT names."""
    from cldf_core.options import UserError, shown  # loads pydantic, for which `cldf --help` does not wait

    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise UserError(f"CLDF_ROOT is {shown(text)}, the home of nobody who is known here; needed: a folder")
    try:
        root = Path(path).resolve()
        if not next(folder for folder in (root, *root.parents) if folder.exists()).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "there is a file of that name")
    except (OSError, RuntimeError) as error:  # the latter where links lead in a circle
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"CLDF_ROOT is {shown(text)}: {why}; needed: a folder, which is made if there is none"
        ) from None
    return root


def project_files(folder: str, suffix: str) -> list[Path]:
    """The files in notebooks/ or params/: those of the project that the package is from, and those of the root.

    A root that CLDF_ROOT names needs none of them; where it has one, its own stands for the project's.
    """
    roots = (Path(cldf_core.__file__).parents[1], project_root())
    files = {path.name: path for root in roots for path in sorted((root / folder).glob(f"*{suffix}"))}
    return [path for path in files.values() if path.is_file()]


def project_file(name: str) -> Path:
    """One of `project_files`; a UserError says that there is none of this name, as "params/quick/04_icarl.yaml"."""
    from cldf_core.options import UserError

    wanted = Path(name)
    for path in project_files(wanted.parent.as_posix(), wanted.suffix):
        if path.name == wanted.name:
            return path
    raise UserError(f"{project_root() / name} is missing; run this in the project's folder")


def processors() -> int:
    """How many processors this process may use, as far as affinity and control groups tell."""
    from joblib.externals.loky import cpu_count

    return int(cpu_count())


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


def computes_in_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; without them, mixed precision takes longer, not shorter.

    Where torch does not name them (before 2.11), oneDNN's word counts, which is also yes where AVX-512 imitates them.
    """
    import torch

    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if named := [has for name, has in capabilities.items() if name.endswith("bf16")]:  # of x86 and of ARM
        return any(named)
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


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
        workers: number of processes; 1 computes here, None takes one for each processor if there is enough to do.
        parallel_from: images from which that is enough.
        size: gives the number of images in a task.
        label, progress: those of `progress_bar`.

    Raises:
        ValueError, UserError: workers is below 1; a process died.
    """
    total = sum(map(size, tasks))
    if workers is None:
        workers = processors() if total >= parallel_from else 1
    if workers < 1:
        raise ValueError(f"workers is {workers}; allowed: 1 or more")
    results = _pooled(work, tasks, workers) if min(workers, len(tasks)) > 1 else map(work, tasks)
    with progress_bar(total, label, progress=progress) as bar:
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
