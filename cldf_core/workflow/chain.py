"""`cldf reproduce`: the notebooks of a profile, independent ones at the same time, and what is told of them."""

import shutil
from collections.abc import Sequence

from cldf_core.data.files import whole_file
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError
from cldf_core.runs.folder import RunFolder
from cldf_core.workflow import notebooks
from cldf_core.workflow.cluster import HERE, Place
from cldf_core.workflow.engine import Task, carried_out
from cldf_core.workflow.job import notebook_job
from cldf_core.workflow.notebooks import LAST, NEEDS, SHARES, NotebookResult
from cldf_core.workflow.parameters import NOTEBOOKS, Parameters, agents_of


def reproduce(
    profile: str,
    only: Sequence[str] = (),
    *,
    force: bool = False,
    everything: bool = False,
    wait: bool = True,
    place: Place = HERE,
) -> list[NotebookResult]:
    """Runs the notebooks of a profile; one that fails does not stop those that do not need it.

    In the quick profile the figures and tables of the notebooks that succeed are copied to figures/.

    `only` names the notebooks; without it those up to 08 are run or, with `everything`, all. `force` also runs what
    is already done. What another process makes is waited for, or fails where `wait` is False. The `place` says where
    they run, and how many at once.

    Raises:
        UserError: before anything is run: parameters are not allowed, or data, weights or a GPU are missing.
    """
    wanted = {notebooks.notebook_name(text) for text in only} or {n for n in NOTEBOOKS if everything or n <= LAST}
    parameters = {name: notebooks.notebook_parameters(name, profile) for name in NOTEBOOKS if name in wanted}
    for chosen in parameters.values():
        notebooks.check(chosen, here=place.scheduler is None)
    results: dict[str, NotebookResult] = {}
    tasks = []
    for name, chosen in parameters.items():
        try:
            inputs = notebooks.inputs_hash(chosen)
        except UserError as error:
            results[name] = NotebookResult(name, "failed", error=str(error))
            continue
        if not force and notebooks.is_done(chosen, inputs):
            results[name] = NotebookResult(name, "already done", folder=chosen.folder.path)
            if profile == "quick":
                publish(chosen.folder)
        else:
            job = notebook_job(chosen, inputs, force=force, wait=wait)
            gpu = chosen.options().device == "cuda" and name not in notebooks.READING
            tasks.append(Task(name, job, NEEDS.get(name, ()), SHARES.get(name, ()), gpu, _seconds(chosen)))
    # Where it is not known how long each takes, those that train more agents come first.
    tasks.sort(key=lambda task: -len(agents_of(task.name)))
    failed = [name for name, result in results.items() if result.status == "failed"]
    for outcome in carried_out(tasks, place, failed=failed):
        name, folder = outcome.task.name, outcome.folder and project_root() / "runs" / outcome.folder
        results[name] = NotebookResult(name, outcome.status, outcome.seconds, folder or None, outcome.error)
        if profile == "quick" and outcome.status == "done":
            publish(parameters[name].folder)
    return [results[name] for name in parameters]


def publish(folder: RunFolder) -> None:
    """Copies figures and tables to the project's figures/, file by file and only what differs."""
    for source in sorted(folder.figures.rglob("*")):
        target = project_root() / "figures" / source.relative_to(folder.figures)
        if source.is_file() and not (target.is_file() and target.read_bytes() == source.read_bytes()):
            with whole_file(target) as partial:
                shutil.copyfile(source, partial)


def summary(results: Sequence[NotebookResult], profile: str = "", place: Place = HERE) -> str:
    """The table that a reader sees at the end, with the errors below it, and how to repeat what failed in a profile."""
    folders = [r.folder.relative_to(project_root()).as_posix() if r.folder else "" for r in results]
    rows = [(r.notebook, r.status, f"{r.seconds:.0f}", folder) for r, folder in zip(results, folders, strict=True)]
    rows = [("notebook", "status", "seconds", "results"), *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for r in results:
        lines += [f"\n{r.notebook} {r.status}: {r.error}"] * bool(r.error)
        if profile and r.status == "failed":
            words = f"reproduce --only {r.notebook}" if place.flags else f"run {r.notebook}"
            lines.append(f"to repeat it: cldf {words} --profile {profile}{place.flags}")
    return "\n".join(lines)


def _seconds(parameters: Parameters) -> float | None:
    """The seconds that a notebook took when it was last executed with these parameters."""
    try:
        return parameters.folder.manifest.get("seconds")
    except UserError:  # a damaged manifest
        return None
