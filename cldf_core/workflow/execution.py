"""Executes a notebook through papermill, says meanwhile which of its cells runs, and then what these have noted."""

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

import cldf_core
from cldf_core.data.console import note, progress_bar
from cldf_core.data.files import whole_file
from cldf_core.data.runtime import project_root
from cldf_core.workflow.parameters import PROFILE

STARTS = 3  # of a kernel that dies before its first cell
# A kernel has a session of its own, so that nothing which ends its parent reaches it; see prctl(2), PR_SET_PDEATHSIG.
END_WITH_PARENT = "__import__('ctypes').CDLL(None).prctl(1, 9);"


class _Watched(Engine):
    """An engine of papermill whose progress a log shows too, and whose kernels find this root and this package."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **settings: Any) -> None:
        """Executes the cells; papermill moves the bar and closes it."""
        nb_man.pbar = progress_bar(len(nb_man.nb.cells), Path(settings["input_path"]).stem, unit="cell")
        package = str(Path(cldf_core.__file__).parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        environment = {"CLDF_PROGRESS": "0", "CLDF_ROOT": str(project_root()), "PYTHONPATH": path}
        environment[PROFILE] = ""  # the parameters are those that are given
        # The kernel is on this machine, so the warning that its TCP is not encrypted is left out, as is what it has to
        # say when an interruption closes its sockets; errors of cells come another way.
        arguments = ["--IPKernelApp.log_level=CRITICAL"]
        if sys.platform == "linux":
            arguments.append(f"--IPKernelApp.exec_lines={END_WITH_PARENT}")
        for attempt in range(STARTS):
            client = PapermillNotebookClient(nb_man, kernel_name=kernel_name, extra_arguments=arguments)
            with tempfile.TemporaryDirectory(prefix="cldf-kernel-", ignore_cleanup_errors=True) as folder:
                try:
                    return client.execute(env={**os.environ, **environment, "TMPDIR": folder})
                except RuntimeError:  # a kernel that did not start, or died
                    if attempt + 1 == STARTS or _has_begun(nb_man.nb):
                        raise


papermill_engines.register("watched", _Watched)


def _has_begun(notebook: nbformat.NotebookNode) -> bool:
    return any(cell.metadata.get("papermill", {}).get("start_time") for cell in notebook.cells)


def execute_notebook(source: Path, target: Path, parameters: dict[str, Any]) -> str:
    """Executes a notebook into a copy of it; returns the failing cell's error in one line, or nothing."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    error = ""
    with whole_file(target) as partial:
        paths = (str(path).replace("{", "{{").replace("}", "}}") for path in (source, partial))  # it formats them
        settings = {"engine_name": "watched", "kernel_name": "python3", "progress_bar": False}
        try:
            papermill.execute_notebook(*paths, parameters, cwd=str(project_root()), **settings)
        except papermill.PapermillExecutionError as problem:
            text = str(problem.evalue).strip()  # which may bring the error's name along
            text = text if text.startswith(problem.ename) else f"{problem.ename}: {text}"
            error = f"cell {problem.exec_count}: {text}"
        except DeadKernelError:
            error = "the kernel died (killed, or out of memory)"
        if not (loop := ensure_event_loop()).is_running():  # nbclient leaves it to the end of the process
            loop.close()
        executed = nbformat.read(partial, as_version=4)  # raises where the file is not a whole notebook
    for text in _notes(executed):
        note(text)
    return error


def _notes(executed: nbformat.NotebookNode) -> list[str]:
    """What an executed notebook's cells have noted on stderr, each once: on its data, for example."""
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    lines = [line for output in outputs if output.get("name") == "stderr" for line in output.text.splitlines()]
    return list(dict.fromkeys(line.removeprefix("note: ") for line in lines if line.startswith("note: ")))
