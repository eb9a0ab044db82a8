"""JupyterLab as `make lab` starts it, with notebooks run to their end, and touched, in a real browser."""

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

from cldf_core.interact.live import VIEW
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

AT_CELL = """async (place) => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    await notebook.scrollToItem(place);
    notebook.widgets[place].node.id = `cell-${place}`;
}"""
# What a figure with controls shows: its pictures and sentences, and not what its controls are set to.
SHOWN = "(node) => [...node.querySelectorAll('.widget-html-content')].map((part) => part.innerHTML).join()"
# Drop-downs, the handles of sliders, and buttons with a word on them, in their order on the page.
CONTROLS = "select, .noUi-handle, button.widget-button"
UPLOAD = ".widget-upload"  # which a test of its own presses


def laid_out(root: Path, data: Path) -> Path:
    """A folder with what JupyterLab shows of the project, and a copy of a data set."""
    shutil.copytree(data, root / "data" / data.name)
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
def chromium() -> Iterator[Any]:
    """The browser, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Any, address: str, name: str) -> Iterator[Any]:
    """The page of a notebook, opened from a file in notebooks/; its kernel ends with it.

    Where CLDF_SCREENSHOTS names a folder, a picture of the first screen is left there.
    """
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    try:
        page.goto(f"{address}/lab/tree/notebooks/{name}?reset", timeout=120_000)
        page.wait_for_function(IS_OPEN, timeout=120_000)
        if folder := os.environ.get("CLDF_SCREENSHOTS"):
            page.locator(".jp-RenderedMarkdown h1").first.wait_for(timeout=120_000)
            page.screenshot(path=Path(folder) / f"{name}.png")
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


def touch_all(page: Any, notebook: nbformat.NotebookNode, seconds: float) -> dict[str, bool]:
    """Moves every control of every figure once; by cell and name of the control, whether the figure has changed.

    A control that has one value only cannot be moved, and is left out.
    """
    touched: dict[str, bool] = {}
    for place, cell in enumerate(notebook.cells):
        if not any(VIEW in output.get("data", {}) for output in cell.get("outputs", ())):
            continue
        page.evaluate(AT_CELL, place)
        for figure in page.locator(f"#cell-{place} .jp-OutputArea-child:has(.jupyter-widgets)").all():
            figure.locator(f"{CONTROLS}, {UPLOAD}").first.wait_for(timeout=1000 * seconds)
            for k in range(figure.locator(CONTROLS).count()):
                control = figure.locator(CONTROLS).nth(k)
                before = figure.evaluate(SHOWN)
                if move(control):
                    until = time.monotonic() + seconds
                    while figure.evaluate(SHOWN) == before and time.monotonic() < until:
                        time.sleep(0.1)
                    touched[f"cell {place}: {k} {label_of(control)}"] = figure.evaluate(SHOWN) != before
    return touched


def move(control: Any) -> bool:
    """Chooses another entry, goes one place on with the arrow keys, or presses a button; False where there is none."""
    kind = control.evaluate("(node) => node.tagName")
    if kind == "SELECT":
        at, count = control.evaluate("(node) => [node.selectedIndex, node.options.length]")
        if count > 1:
            control.select_option(index=(at + 1) % count)
        return bool(count > 1)
    if kind == "BUTTON":
        control.click()
        return True
    now, most = (float(control.get_attribute(f"aria-{name}") or 0) for name in ("valuenow", "valuemax"))
    control.press("ArrowRight" if now < most else "ArrowLeft")
    return True


def label_of(control: Any) -> str:
    """The words beside a control, or on it."""
    found = "(node) => node.closest('.widget-inline-hbox')?.querySelector('.widget-label')?.innerText ?? node.innerText"
    return str(control.evaluate(found))
