"""What opening, running and saving a notebook writes into it is no change for git."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class
from traitlets.config import PyFileConfigLoader

from samples import PROJECT

SCRIPT = PROJECT / "docs" / "strip_notebooks.py"
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def stripped():
    spec = importlib.util.spec_from_file_location("strip_notebooks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.stripped


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The notebooks in a repository of their own, as `make lab` sets it up, and JupyterLab's settings."""
    for name in ("pyproject.toml", ".gitattributes", ".gitignore"):
        shutil.copy(PROJECT / name, tmp_path / name)
    for name in ("notebooks", "server", "docs"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "")  # which the settings set, and which is put back
    settings = PyFileConfigLoader("lab.py", str(tmp_path / "server")).load_config()
    someone = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    for words in (["add", "."], [*someone, "commit", "--quiet", "-m", "start"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path, settings


def run_in_jupyterlab(notebook: dict) -> None:
    """What JupyterLab adds when all cells are run, on a computer with other versions."""
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.14.0", "file_extension": ".py"}
    notebook["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {"a1": {}}}}
    for number, cell in enumerate(notebook["cells"]):
        cell["metadata"].setdefault("tags", [])
        if cell["cell_type"] == "code":
            cell["metadata"] |= {"execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"}, "scrolled": True}
            cell.update(execution_count=number, outputs=[nbformat.v4.new_output("stream", text="é\n")])


@pytest.mark.filterwarnings("ignore:Overriding existing post_save_hook")
@pytest.mark.parametrize("root", [".", "notebooks"])
def test_opened_run_and_saved_git_sees_no_change(root, project, capsys):
    folder, settings = project
    assert settings.ServerApp.root_dir == str(folder)
    (first, *_) = os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    overrides = json.loads((Path(first) / "labconfig" / "default_setting_overrides.json").read_text(encoding="utf-8"))
    assert overrides["@jupyter-widgets/jupyterlab-manager:plugin"] == {"saveState": True}
    (script,) = (folder / "notebooks").glob(settings.LabApp.default_url.split("/")[-1].replace(".ipynb", ".py"))
    contents = build_sync_jupytext_contents_manager_class(LargeFileManager)(config=settings)
    contents.root_dir = str(folder / root)
    for path in NOTEBOOKS[::4]:
        name = path.name if root == "notebooks" else f"notebooks/{path.name}"
        model = contents.get(name, type="notebook", content=True)
        run_in_jupyterlab(model["content"])
        contents.save({"type": "notebook", "format": "json", "content": model["content"]}, name)
        assert "é" in (folder / "notebooks" / path.name).read_text(encoding="utf-8")
    words = ["git", "status", "--porcelain"]
    assert subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout == ""
    script.write_text(script.read_text(encoding="utf-8") + "\n# %%\n1 + 1\n", encoding="utf-8")
    assert script.name in subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_without_the_filter_the_files_can_be_stripped(tmp_path):
    path = tmp_path / "00_start_here.ipynb"
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    run_in_jupyterlab(notebook)
    nbformat.write(notebook, path)
    assert "é" in path.read_text(encoding="utf-8")
    subprocess.run([sys.executable, str(SCRIPT), str(path)], check=True, capture_output=True)
    assert path.read_bytes() == NOTEBOOKS[0].read_bytes()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_what_jupyterlab_writes(path, stripped):
    assert stripped(path.read_bytes()) == path.read_bytes()
    script = path.with_suffix(".py")
    assert stripped(script.read_bytes()) == script.read_bytes()
    for notebook in (json.loads(path.read_bytes()), jupytext.read(script)):
        assert notebook["metadata"]["kernelspec"]["display_name"] == "Python 3 (ipykernel)"
        assert (
            "-jupytext.text_representation.jupytext_version"
            in notebook["metadata"]["jupytext"]["notebook_metadata_filter"]
        )


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"cells": 1}', b"<<<<<<< mine\n{", b"[" * 100_000])
def test_what_is_no_notebook_stays_as_it_is(content, stripped):
    assert stripped(content) == content


def test_only_empty_tags_of_a_script_go(stripped):
    script = (
        b'# %% tags=[]\nx = 1\n# %% [markdown] tags=[]\n# %% tags=["parameters"]\ny = " tags=[]"\r\n# %% tags=[]\r\n'
    )
    wanted = b'# %%\nx = 1\n# %% [markdown]\n# %% tags=["parameters"]\ny = " tags=[]"\r\n# %%\r\n'
    assert stripped(script) == wanted
