"""`cldf reproduce` when something goes wrong: failures are told, stop nothing else, and take nothing away."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import yaml

from cldf_core.cli import main
from cldf_core.data.files import whole_file
from cldf_core.options import UserError
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.holder import used
from cldf_core.workflow import notebooks
from cldf_core.workflow.parameters import NOTEBOOKS
from samples import GOOD, statuses, write_notebook

NAMES = [name for name in NOTEBOOKS if name[:2] in ("01", "02", "04", "05", "06", "08")]
NEW = GOOD.replace('"old"', '"new"')
RAISING = "raise ValueError('the answer is not 42')"
NOTING = "import sys\nfor n in range(2): print('note: first: there is one class alone\\nseed', file=sys.stderr)"
DOMAINS = {"stream": ["first", "second"], "unseen": ["third"]}
DYING = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_an_interruption_is_one_sentence(root, small_data):
    write_notebook(root, "01_data_exploration", GOOD, "import time\ntime.sleep(60)")
    words = ["run", "01", "-p", f"data={small_data}", "-p", "stream=first", "-p", "unseen="]
    process = subprocess.Popen(
        [sys.executable, "-m", "cldf_core.cli", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )
    while process.poll() is None and not list(root.glob("runs/*/figures/*.png")):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130, said
    assert said == "cldf: interrupted; what is finished is kept, the same command goes on from there\n"


def test_of_two_that_run_a_notebook_one_waits_and_finds_it_done(root, small_data, monkeypatch, capsys):
    write_notebook(root, "01_data_exploration", GOOD)
    parameters = notebooks.notebook_parameters("01_data_exploration", "smoke", {"data": str(small_data), **DOMAINS})
    figures, begun, goes_on = parameters.folder.figures, threading.Event(), threading.Event()
    figures.mkdir(parents=True)
    for name in ("old.png", "new.png"):
        (figures / name).write_text("of an earlier version")
    runs = [RunFolder(root / "runs" / f"er-{k}") for k in range(3)]
    for run in runs:
        run.path.mkdir()
        used(run.path)
    os.utime(runs[0].path / ".lock", (4e9, 4e9))  # the clock was set back since

    def papermill(source: Path, target: Path, values: dict) -> str:
        begun.set()
        goes_on.wait()
        used(runs[0].path)
        used(runs[2].path)
        target.write_text("executed")
        with whole_file(figures / "new.png") as path:
            path.write_text("of this version")
        os.utime(figures / "new.png", (1, 1))  # it is set back now
        return ""

    monkeypatch.setattr(notebooks, "_papermill", papermill)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(notebooks.execute, parameters)
        assert begun.wait(20)
        with pytest.raises(UserError, match="01_data_exploration-.* is being made by process"):
            notebooks.execute(parameters, wait=False)
        second = pool.submit(notebooks.execute, parameters, force=False)
        time.sleep(0.1)
        goes_on.set()
        assert [first.result().status, second.result().status] == ["done", "already done"]
    assert [path.name for path in figures.iterdir()] == ["new.png"]
    assert parameters.folder.manifest["runs"] == ["er-0", "er-2"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_failing_notebook_is_told_and_the_others_run(tmp_path, small_data, monkeypatch, capsys, workers_here):
    monkeypatch.chdir(tmp_path)
    tmp_path = tmp_path / "a {name} 100% 'of' {"  # which papermill would format
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    for name in NAMES:
        path = tmp_path / "params" / "quick" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"data": str(small_data), **DOMAINS}))
        write_notebook(tmp_path, name, GOOD)

    def reproduce(*numbers: str) -> tuple[int, dict[str, str], str]:
        """The exit status, the statuses of the notebooks, and all that was printed."""
        status = main(["reproduce", "--only", *numbers])
        printed = capsys.readouterr()
        found = {name[:2]: what for name, what in statuses(printed.out).items()}
        return status, found, printed.out + printed.err

    figures = tmp_path / "figures"
    assert reproduce("01", "04")[:2] == (0, {"01": "done", "04": "done"})
    assert (figures / "01_data_exploration.png").read_text() == "old"
    (folder,) = (tmp_path / "runs").glob("01_data_exploration-*")
    stale = folder / "figures" / "01_of_an_earlier_version.png"
    stale.write_text("stale")
    os.utime(stale, (0, 0))

    write_notebook(tmp_path, "01_data_exploration", NEW, RAISING)
    write_notebook(tmp_path, "02_spectral_analysis", GOOD, known=False)
    write_notebook(tmp_path, "05_gdumb", GOOD, DYING)
    (tmp_path / "notebooks" / "06_lwf.ipynb").write_text("{")
    status, found, text = reproduce("01", "02", "04", "05", "06", "08")
    failed = dict.fromkeys(("01", "02", "05", "06"), "failed")
    assert (status, found) == (1, failed | {"04": "already done", "08": "not run"})
    for sentence in (
        "01_data_exploration failed: cell 4: ValueError: the answer is not 42\n"
        "to repeat it: cldf run 01_data_exploration --profile quick\n",
        "02_spectral_analysis failed: ValueError: No language found",
        "05_gdumb failed: the kernel died",
        "06_lwf.ipynb is not a readable notebook",
        "08_cross_data_set_evaluation not run: needs 05_gdumb, 06_lwf",
    ):
        assert sentence in text
    assert "Traceback" not in text
    # What was published before is still there, and the failed notebook can be looked at.
    assert (figures / "01_data_exploration.png").read_text() == "old"
    assert not (figures / "05_gdumb.png").exists()
    assert "not 42" in (folder / "notebook.ipynb").read_text()
    assert json.loads((folder / "manifest.json").read_text())["status"] == "failed"
    assert (folder / "figures" / "01_data_exploration.png").read_text() == "new"  # drawn before it failed
    assert stale.exists()  # an error takes nothing away

    # When they are mended, only what had failed is run again.
    for name in ("01_data_exploration", "05_gdumb"):
        write_notebook(tmp_path, name, NEW, NOTING)
    mended = {"01": "done", "04": "already done", "05": "done", "08": "done"}
    status, found, text = reproduce(*mended)
    assert (status, found) == (0, mended)
    assert text.count("note: first: there is one class alone\n") == 2  # of two notebooks; no other line of their cells
    assert "seed" not in text
    assert (figures / "01_data_exploration.png").read_text() == "new"
    assert not stale.exists()
