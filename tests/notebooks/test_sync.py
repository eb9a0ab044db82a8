"""`make sync` makes notebooks from their sources, and never over work that only the notebook holds."""

import importlib.util
import os
import shutil

import jupytext
import pytest

from samples import PROJECT, pyproject


@pytest.fixture
def sync():
    spec = importlib.util.spec_from_file_location("sync_notebooks", PROJECT / "docs" / "sync_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_work_in_a_notebook_is_not_overwritten(tmp_path, sync, capsys):
    source, notebook = (tmp_path / f"00_start_here.{suffix}" for suffix in ("py", "ipynb"))
    for path in (source, notebook):
        shutil.copyfile(PROJECT / "notebooks" / path.name, path)
    before = notebook.read_bytes()
    os.utime(source, (1, 1))  # the older one, as a checkout may give it
    assert sync.main(tmp_path) == 0
    assert sync.cells(notebook) == sync.cells(source)
    content = jupytext.read(notebook)
    content.cells[0].source += "\n\nAn evening's work."
    jupytext.write(content, notebook)
    edited = notebook.read_bytes()
    assert sync.main(tmp_path) == 1
    assert f"{notebook} was edited later than {source}, and they differ" in capsys.readouterr().err
    assert notebook.read_bytes() == edited
    os.utime(notebook, (0, 0))  # the source was edited later
    assert sync.main(tmp_path) == 0
    assert sync.cells(notebook) == sync.cells(source)
    notebook.write_bytes(before[:1000])
    assert sync.main(tmp_path) == 0
    assert "is no readable notebook" in capsys.readouterr().err
    assert sync.cells(notebook) == sync.cells(source)


def test_another_address_of_the_project_comes_into_the_notebooks(tmp_path, sync):
    address = pyproject()["project"]["urls"]["Repository"]
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8").replace(address, "https://github.com/mine/own")
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    source = (PROJECT / "notebooks" / "04_icarl.py").read_text(encoding="utf-8")
    assert address in source
    assert sync.with_address(source, tmp_path) == source.replace(address, "https://github.com/mine/own")
