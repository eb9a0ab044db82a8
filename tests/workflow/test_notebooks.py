"""`cldf reproduce` when something goes wrong: failures are told, stop nothing else, and take nothing away."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

import cldf_core
from cldf_core.cli import main
from cldf_core.options import FIELDS
from cldf_core.workflow.parameters import NOTEBOOKS

PROJECT = Path(cldf_core.__file__).parents[1]
NAMES = (
    "01_data_exploration",
    "02_spectral_analysis",
    "04_icarl",
    "05_gdumb",
    "06_lwf",
    "08_cross_data_set_evaluation",
)
GOOD = """from cldf_core.workflow.parameters import from_notebook
folder = from_notebook(NAME, globals()).folder.figures
folder.mkdir(parents=True, exist_ok=True)
_ = (folder / f"{NAME}.png").write_text("old")"""
NEW = GOOD.replace('"old"', '"new"')
RAISING = "raise ValueError('the answer is not 42')"
DYING = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


def write_notebook(root: Path, name: str, *cells: str, kernel_language: str | None = "python") -> None:
    """A small notebook: the parameters with their defaults, and the cells."""
    parameters = "\n".join(f"{key} = {FIELDS[key].default!r}" for key in NOTEBOOKS[name])
    kernel = {"name": "python3", "display_name": "Python 3"}
    if kernel_language:
        kernel["language"] = kernel_language
    made = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    made.cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    made.cells += [nbformat.v4.new_code_cell(cell.replace("NAME", repr(name))) for cell in cells]
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(made, path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_failing_notebook_is_told_and_the_others_run(tmp_path, small_data, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(PROJECT / "pyproject.toml", tmp_path / "pyproject.toml")
    for name in NAMES:
        path = tmp_path / "params" / "quick" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"data": str(small_data), "stream": ["first", "second"], "unseen": ["third"]}))
        write_notebook(tmp_path, name, GOOD)

    def reproduce(*numbers: str) -> tuple[int, dict[str, str], str]:
        """The exit status, the statuses of the notebooks, and all that was printed."""
        status = main(["reproduce", "--only", *numbers])
        printed = capsys.readouterr()
        rows = [re.split(r"  +", line) for line in printed.out.splitlines() if re.match(r"\d\d_\w+  ", line)]
        return status, {row[0][:2]: row[1] for row in rows}, printed.out + printed.err

    figures = tmp_path / "figures"
    assert reproduce("01", "04")[:2] == (0, {"01": "done", "04": "done"})
    assert (figures / "01_data_exploration.png").read_text() == "old"
    (folder,) = (tmp_path / "runs").glob("01_data_exploration-*")
    stale = folder / "figures" / "01_of_an_earlier_version.png"
    stale.write_text("stale")
    os.utime(stale, (0, 0))

    write_notebook(tmp_path, "01_data_exploration", NEW, RAISING)
    write_notebook(tmp_path, "02_spectral_analysis", GOOD, kernel_language=None)  # papermill will not start it
    write_notebook(tmp_path, "05_gdumb", GOOD, DYING)
    (tmp_path / "notebooks" / "06_lwf.ipynb").write_text("{")
    status, statuses, text = reproduce("01", "02", "04", "05", "06", "08")
    assert status == 1
    failed = {"01": "failed", "02": "failed", "05": "failed", "06": "failed"}
    assert statuses == failed | {"04": "already done", "08": "not run"}
    assert "01_data_exploration failed: cell 4: ValueError: the answer is not 42" in text
    assert "02_spectral_analysis failed: ValueError: No language found" in text
    assert "05_gdumb failed: the kernel died" in text
    assert "06_lwf.ipynb is not a readable notebook" in text
    assert "08_cross_data_set_evaluation not run: needs 05_gdumb, 06_lwf" in text
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
        write_notebook(tmp_path, name, NEW)
    status, statuses, _ = reproduce("01", "04", "05", "08")
    assert status == 0
    assert statuses == {"01": "done", "04": "already done", "05": "done", "08": "done"}
    assert (figures / "01_data_exploration.png").read_text() == "new"
    assert not stale.exists()
