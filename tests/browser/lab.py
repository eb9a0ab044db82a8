"""JupyterLab as `make lab` starts it, with notebooks run to their end in a real browser."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

from samples import PROJECT

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RUN_ALL = """async () => {
    const app = window.jupyterapp, panel = app.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    app.commands.execute("notebook:run-all-cells");  // which ends when the last cell does
}"""
MODEL = "() => window.jupyterapp.shell.currentWidget.content.model.toJSON()"
IS_OPEN = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return Boolean(panel?.sessionContext && panel?.content?.model?.cells?.length);
}"""


def laid_out(root: Path) -> Path:
    """A folder with what JupyterLab shows of the project."""
    for name in ("pyproject.toml", ".gitattributes", ".gitignore"):
        shutil.copy(PROJECT / name, root / name)
    for name in ("notebooks", "server", "docs"):
        shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    return root


def log_of(root: Path) -> Path:
    """What a JupyterLab that serves this folder has printed."""
    return root.parent / f"{root.name}.log"


@contextlib.contextmanager
def serving(root: Path, **env: str) -> Iterator[str]:
    """The address of a JupyterLab with the project's settings, and none of the user's own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call = [sys.executable, "-m", "jupyter", "lab", "--config=server/lab.py", "--no-browser", "--allow-root"]
    call += [f"--ServerApp.port={port}", "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    beside = root.with_name(f"{root.name}-jupyter")  # not in the folder, which may be a repository
    own = {f"JUPYTER_{name}_DIR": str(beside / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(beside / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    every = {**os.environ, **own, "CLDF_ROOT": str(root), "CLDF_PROGRESS": "0", **env}
    log = log_of(root)
    with log.open("w") as file, subprocess.Popen(call, cwd=root, env=every, stdout=file, stderr=file) as process:
        try:
            for _ in range(600):
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@contextlib.contextmanager
def opened(browser: Any, address: str, name: str) -> Iterator[Any]:
    """The page of a notebook, opened from a file in notebooks/; its kernel ends with it."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    try:
        page.goto(f"{address}/lab/tree/notebooks/{name}?reset", timeout=120_000)
        page.wait_for_function(IS_OPEN, timeout=120_000)
        yield page
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    finally:
        page.close()


def run_all(page: Any, seconds: float) -> nbformat.NotebookNode:
    """Runs all cells, as the menu does, and returns the notebook once each code cell has run or one has failed."""
    page.evaluate(RUN_ALL)
    until = time.monotonic() + seconds
    while True:
        notebook = nbformat.from_dict(page.evaluate(MODEL))
        code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        if errors(notebook) or all(cell.execution_count for cell in code):
            return notebook
        assert time.monotonic() < until, f"{sum(bool(c.execution_count) for c in code)} of {len(code)} cells have run"
        time.sleep(0.5)


def errors(notebook: nbformat.NotebookNode) -> list[str]:
    """What cells have raised."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return ["\n".join(output.traceback) for output in outputs if output.output_type == "error"]


def pictures(notebook: nbformat.NotebookNode) -> int:
    """How many outputs hold a picture."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return sum("image/png" in output.get("data", {}) for output in outputs)
