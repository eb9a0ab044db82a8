"""Keys: what the scores depend on changes them, and neither comments, docstrings, layout nor other rooms do."""

import ast
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cldf_core.agents import AGENTS, Agent, register
from cldf_core.data import source_trees
from cldf_core.data.source_trees import imported_modules, meaning, tree_hash
from cldf_core.options import AGENTS as MODELS
from cldf_core.runs import provenance, shown
from cldf_core.runs.provenance import count_memory_anew, peak_memory, run_key
from cldf_core.workflow import notebooks
from cldf_core.workflow.notebooks import NOTEBOOKS, notebook_parameters
from samples import tiny_options

DATA = {"first": "fingerprint of the first", "second": "of the second"}
PROJECT = source_trees.PACKAGE.parent


def key(agent: str = "er", data: dict[str, str] = DATA, **changes) -> str:
    return run_key(tiny_options(agent, Path("data"), **changes), data)


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the package, whose sources the keys are made from."""
    ignored = shutil.ignore_patterns("__pycache__", "photographs", "weights")
    copy = Path(shutil.copytree(source_trees.PACKAGE, tmp_path / "copy" / "cldf_core", ignore=ignored))
    monkeypatch.setattr(source_trees, "PACKAGE", copy)
    return copy


@pytest.fixture
def project(root, small_data) -> Path:
    """A root with the notebooks, in which notebook parameters name a small data set."""
    shutil.copytree(PROJECT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name in NOTEBOOKS:
        path = root / "params" / "quick" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"data: {small_data}\n", encoding="utf-8")
    return root


def inputs(project: Path, name: str) -> str:
    return notebooks.inputs_hash(notebook_parameters(name, "quick"))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1, f"{path} does not hold {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


# --- syntax trees ---

CODE = '''
"""A module."""
from cldf_core.data import cache

class A:
    """A class."""
    x = [1, None, ""]

    def f(self, *, y=None):
        """A method."""
        # a comment
        return {**self.x, "a": f"{y!r:>3}"}
'''


def test_comments_docstrings_and_layout_mean_nothing():
    dense = "from cldf_core.data import cache\nclass A:\n x=[1,None,'']\n def f(self,*,y=None):\n"
    dense += "  return {**self.x, 'a':f'{y!r:>3}'}  # other\n"
    assert meaning(CODE) == meaning(dense)
    assert meaning("class A:\n    '''Nothing else.'''") == meaning("class A:\n    '''Something else.'''")
    assert meaning("def f():\n    return 'text'") != meaning("def f():\n    return 'other'")


@pytest.mark.parametrize(
    ("old", "new"),
    [("1, None", "None, 1"), ("None, ", ""), ('""]', "0]"), ("*, y", "y"), ("!r", "!s"), (">3", ">4"), ("A:", "B:")],
)
def test_any_change_of_code_changes_the_meaning(old, new):
    changed = CODE.replace(old, new)
    assert changed != CODE
    assert meaning(changed) != meaning(CODE)


def test_imports_are_found_wherever_they_stand():
    source = "import os, cldf_core.stream\nfrom cldf_core import spectrum\n"
    source += "def f():\n    from cldf_core.agents import base, AGENTS\n    from cldf_core.options import checked\n"
    assert imported_modules(source) == ["agents", "agents.base", "options", "spectrum", "stream"]


def test_a_hash_is_of_all_that_is_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(source_trees, "PACKAGE", package := tmp_path / "package")
    (package / "room").mkdir(parents=True)
    files = {
        "top.py": "from cldf_core.room.one import f",
        "room/__init__.py": "",
        "room/one.py": "def f():\n    import cldf_core.two",
        "two.py": "from cldf_core import top",  # a circle
        "three.py": "a = 1",
    }
    for name, text in files.items():
        (package / name).write_text(text, encoding="utf-8")
    before, without = tree_hash(["top"]), tree_hash(["top"], without=["room"])
    assert tree_hash(["two"]) == before  # the same modules
    for name in files:
        (package / name).write_text(files[name] + "\nb = 2", encoding="utf-8")
        assert (tree_hash(["top"]) == before) == (name == "three.py")
        assert (tree_hash(["top"], without=["room"]) == without) == (name != "top.py")
        (package / name).write_bytes(files[name].replace("\n", "\r\n").encode())
        assert tree_hash(["top"]) == before


# --- the key of a run ---


def test_the_key_hangs_on_the_data_and_on_what_the_agent_reads():
    assert key() == key()
    assert key(data={**DATA, "second": "changed"}) != key() != key(data={"first": DATA["first"]})
    for change in ({"replay": 4}, {"memory": 13}, {"seed": 1}, {"threads": 2}, {"lr": 0.1}, {"stream": ["second"]}):
        assert key(**change) != key(), change
    for change in ({"candidates": 7}, {"temperature": 3.0}, {"memory_epochs": 8}, {"clip": 1.0}):
        assert key(**change) == key(), change
    assert key("mir", candidates=7) != key("mir")
    assert key("sequential", memory=13) == key("sequential") != key("separate")


def test_the_key_hangs_on_the_content_of_a_weights_file(tmp_path):
    def of(weights: Path | str | None) -> str:
        return key(network="resnet18", weights=None if weights is None else str(weights))

    paths = [tmp_path / "a.pth", tmp_path / "moved.pth"]
    for path in paths:
        torch.save({"x": torch.zeros(3)}, path)
    before = of(paths[0])
    paths[1].write_bytes(paths[0].read_bytes())
    assert of(paths[1]) == before  # the same file elsewhere
    torch.save({"x": torch.ones(3)}, paths[0])
    assert len({of(paths[0]), before, of("imagenet"), of(None)}) == 4


@pytest.mark.parametrize("library", ["torch", "numpy", "pillow", "python", "pandas"])
def test_the_key_hangs_on_three_libraries(library, monkeypatch):
    before, version = key(), shown.version
    monkeypatch.setattr(shown, "version", lambda name: "0.0" if name == library else version(name))
    monkeypatch.setattr(provenance.platform, "python_version", lambda: "0.0")
    assert (key() != before) == (library in ("torch", "numpy", "pillow"))


def test_trees_with_the_scores_of_earlier_ones_count_as_these(monkeypatch):
    trees = tree_hash(["runs.run"], without=provenance._NOT_COUNTED)
    monkeypatch.setattr(provenance, "_SAME_SCORES", {})
    assert provenance._sources("er")[0] == trees
    changed = key()
    monkeypatch.setattr(provenance, "_SAME_SCORES", {trees: "earlier"})
    assert provenance._sources("er")[0] == "earlier"
    assert key() != changed


def test_no_comment_and_no_docstring_changes_a_key(package, project):
    before = key(), {name: inputs(project, name) for name in NOTEBOOKS}
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        lines = ast.parse(text).body
        if lines and ast.get_docstring(ast.parse(text)) is not None:
            text = "\n" * 3 + "'''Other words.'''\n" + "\n".join(text.splitlines()[lines[0].end_lineno :])
        path.write_text(f"# a comment\n{text}\n# the end\n", encoding="utf-8")
    assert (key(), {name: inputs(project, name) for name in NOTEBOOKS}) == before


def test_a_line_of_code_between_file_and_score_changes_the_key_and_the_notebooks(package, project):
    for file, old, new in (
        ("spectrum.py", "LOG_OFFSET = 1e-3", "LOG_OFFSET = 1e-4"),
        ("data/images.py", "tuple[str, ...] = (", "tuple[str, ...] = ('.gif', "),
        ("data/cache.py", "BLOCK = 64", "BLOCK = 32"),
        ("runs/run.py", "-500, 500", "-50, 50"),
    ):
        before = key(), inputs(project, "04_icarl")
        replace(package / file, old, new)
        assert key() != before[0], file
        assert inputs(project, "04_icarl") != before[1], file


def test_every_module_of_the_method_counts_but_options_and_code_that_computes_no_score(package):
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").is_file() and path.name != "agents"}
    files = [p for p in package.rglob("*.py") if p.relative_to(package).parts[0] not in rooms]
    method = {file.relative_to(package).as_posix() for file in files} - {"__init__.py"}
    assert {"protocol.py", "stream.py", "buffers.py", "resnet.py", "agents/__init__.py", "agents/gdumb.py"} < method
    others = {"data/files.py", "data/layouts/recognition.py", "data/intake/archives.py", "figures/performance.py"}
    others |= {
        "data/console.py",
        "runs/notes.py",
        "results/compare.py",
        "workflow/notebooks.py",
        "evaluation/metrics.py",
    }
    for name in method | others:
        before = key()
        with (package / name).open("a", encoding="utf-8") as file:
            file.write("\nMORE = 1\n")
        assert (key() != before) == (name in method - {"options.py", "original_options.py", "reading.py"}), name


# --- registered agents ---


class Lazy(Agent):
    """Learns from every batch as if it were the first thing it saw."""

    strength = 0.5

    def loss(self, batch):
        return self.strength * super().loss(batch)


class Commented(Agent):
    """As Lazy, in other words."""

    strength = 0.5

    def loss(self, batch):
        """Half of it."""
        return self.strength * super().loss(batch)  # and a comment


class Eager(Lazy):
    strength = 2.0


def test_the_key_hangs_on_the_source_of_a_registered_agent(monkeypatch):
    monkeypatch.setattr("cldf_core.agents.AGENTS", AGENTS)
    for registry in (AGENTS, MODELS):
        monkeypatch.setitem(registry, "mine", None)  # forgotten after the test
    keys = []
    for kind in (Lazy, Commented, Eager):
        register("mine", kind)
        keys.append(key("mine"))
    assert keys[0] == keys[1]
    monkeypatch.setattr(Eager, "strength", 3.0)
    keys.append(key("mine"))
    monkeypatch.setattr(Eager, "observe", lambda self, batch: 0.0, raising=False)
    keys.append(key("mine"))
    assert len(set(keys)) == 4


# --- the key of a notebook ---


def test_a_notebook_hangs_on_its_cells_parameters_and_data(project, tmp_path, small_data, monkeypatch):
    name, before = "02_spectral_analysis", inputs(project, "02_spectral_analysis")
    assert inputs(project, name) == before
    parameters, source = notebook_parameters(name, "quick"), project / "notebooks" / f"{name}.ipynb"
    assert notebooks.inputs_hash(parameters.changed(seed=3)) != before
    data = shutil.copytree(small_data, tmp_path / "set")
    keys = [notebooks.inputs_hash(parameters.changed(data=str(data)))]
    (next(data.rglob("*.png"))).write_bytes(b"changed")
    keys.append(notebooks.inputs_hash(parameters.changed(data=str(data))))
    assert len({before, *keys}) == 3
    replace(source, "# 02", "# 02 again")
    assert inputs(project, name) != before
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"one")
    parameters = notebook_parameters("04_icarl", "quick", {"weights": str(weights), "network": "resnet18"})
    before = notebooks.inputs_hash(parameters)
    weights.write_bytes(b"two")
    assert notebooks.inputs_hash(parameters) != before


def test_a_line_of_code_concerns_the_notebooks_that_reach_it(package, project):
    before = {name: inputs(project, name) for name in NOTEBOOKS}
    for file, numbers in {
        "data/intake/archives.py": {"12"},
        "detection/robustness.py": {"09"},
        "original/differences.py": {"11"},
        "options.py": {name[:2] for name in NOTEBOOKS},
        "cli/__init__.py": set(),
    }.items():
        text = (package / file).read_text(encoding="utf-8")
        (package / file).write_text(f"{text}\nMORE = 1\n", encoding="utf-8")
        assert {name[:2] for name in NOTEBOOKS if inputs(project, name) != before[name]} == numbers, file
        (package / file).write_text(text, encoding="utf-8")


def test_a_cell_that_is_no_python_is_told_by_its_execution(project):
    source = project / "notebooks" / "02_spectral_analysis.ipynb"
    replace(source, "figures.theme()", "%matplotlib inline\\nfigures.theme()")
    assert inputs(project, "02_spectral_analysis")
    replace(source, "figures.theme()", "figures.theme(")
    assert inputs(project, "02_spectral_analysis")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count it anew, so no run tells it there")
def test_memory_is_what_a_run_needs_above_what_its_process_has_held_before():
    before = [np.ones(40_000_000), [np.ones(1000) for _ in range(20_000)]]  # 320 and 160 MB
    del before
    start = count_memory_anew()
    during = np.ones(10_000_000)
    del during
    assert 79e6 < peak_memory() - start < 100e6
