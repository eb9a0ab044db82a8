"""Where the project lies, and work that is spread over processes: same results, in order, and nothing left behind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cldf_core.data import runtime
from cldf_core.data.runtime import in_processes, project_file, project_root
from cldf_core.options import UserError

# Worker processes import this file: `samples`, which loads torch, would take each of them seconds.
PROJECT = Path(__file__).parents[2]


def with_process(task: list[int]) -> tuple[int, int]:
    return sum(task), os.getpid()


def children() -> set[int]:
    """The worker processes; loky's resource tracker stays until the main process ends."""
    found = psutil.Process().children(recursive=True)
    return {child.pid for child in found if "resource_tracker" not in " ".join(child.cmdline())}


def test_results_come_in_the_order_of_the_tasks_whatever_the_number_of_workers():
    tasks, before = [[k, 1] for k in range(40)], children()
    sums = {}
    for workers in (1, 2):
        results = list(in_processes(with_process, tasks, workers=workers, size=len))
        sums[workers] = [total for total, _ in results]
        assert (os.getpid() in {process for _, process in results}) == (workers == 1)
    assert sums[1] == sums[2] == list(range(1, 41))
    assert children() == before


def test_few_images_and_single_tasks_stay_in_this_process(monkeypatch):
    pools = []
    monkeypatch.setattr(runtime, "processors", lambda: 8)
    monkeypatch.setattr(runtime, "_pooled", lambda work, tasks, workers: pools.append(workers) or map(work, tasks))
    for tasks, workers in (([[1], [2]], None), ([[1, 2, 3]], None), ([], None), ([[1, 2], [3]], 1)):
        results = in_processes(with_process, tasks, workers=workers, parallel_from=3, size=len)
        assert list(results) == [(sum(task), os.getpid()) for task in tasks]
    assert pools == []
    list(in_processes(with_process, [[1, 2], [3]], parallel_from=3, size=len))
    assert pools == [8]
    with pytest.raises(ValueError, match="workers is 0; allowed: 1 or more"):
        list(in_processes(with_process, [[1]], workers=0, size=len))


def test_a_worker_that_dies_is_told_in_a_sentence():
    before = children()
    with pytest.raises(UserError, match="a worker process died, perhaps for want of memory; fewer workers need less"):
        list(in_processes(os._exit, [1, 2], workers=2, size=abs))
    assert children() == before


def test_an_early_end_leaves_no_process():
    before = children()
    results = in_processes(with_process, [[k] for k in range(200)], workers=2, size=len)
    assert next(results)[0] == 0
    results.close()
    assert children() == before


def test_a_script_needs_no_guard(tmp_path: Path):
    script = (
        "from cldf_core.data.runtime import in_processes\nprint(*in_processes(abs, [-1, -2], workers=2, size=abs))\n"
    )
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True)
    assert done.stdout == "1 2\n"
    assert done.stderr == ""


def test_the_root_is_the_nearest_project(monkeypatch, tmp_path):
    monkeypatch.delenv("CLDF_ROOT", raising=False)
    deep = tmp_path / "project" / "notebooks" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").write_text('[project]\nname = "cldf-core"\n')
    (deep.parent / "pyproject.toml").write_text('[project]\nname = "another"\n')
    monkeypatch.chdir(deep)
    assert project_root() == (tmp_path / "project").resolve()
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    assert project_root() == tmp_path.resolve()


def test_a_root_that_no_folder_can_be_is_told(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    for text, why in (
        ("~nosuchuser/x", "CLDF_ROOT is '~nosuchuser/x', the home of nobody who is known here; needed: a folder"),
        ("a" * 6000, "CLDF_ROOT is 'aaa.*(6002 characters).*File name too long"),
        (str(tmp_path / "file" / "x"), "CLDF_ROOT is .* there is a file of that name; needed: a folder"),
    ):
        monkeypatch.setenv("CLDF_ROOT", text)
        with pytest.raises(UserError, match=why):
            project_root()
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "new" / "a {x} 100% ~'\"["))
    assert project_root() == tmp_path / "new" / "a {x} 100% ~'\"["


def test_files_of_the_project_are_found_from_anywhere_and_a_roots_own_come_first(monkeypatch, tmp_path):
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)
    name = "params/quick/04_icarl.yaml"
    assert project_file(name) == PROJECT / name
    own = tmp_path / "root" / name
    own.parent.mkdir(parents=True)
    own.touch()
    assert project_file(name) == own
    with pytest.raises(UserError, match="44_none.yaml is missing; run this in the project's folder"):
        project_file("params/quick/44_none.yaml")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to processors")
def test_processors_are_those_that_the_process_may_use():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from cldf_core.data.runtime import processors; print(processors())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
