"""Notebooks: paired, short, checked parameters; executed through papermill in the smoke profile; failures told."""

import ast
import json
import re
import runpy
from typing import Any
from unittest.mock import Mock

import jupytext
import nbformat
import pytest
import yaml
from papermill import inspect_notebook

from cldf_core.cli import main
from cldf_core.options import FIELDS
from cldf_core.workflow.notebooks import LAST, NEEDS, SHARES, notebook_parameters
from cldf_core.workflow.parameters import NOTEBOOKS, PROFILES, SMALLER, allowed_names, checked_parameters
from cldf_core.workflow.sweep import sweep_folder
from samples import PROJECT, pyproject

FOLDER = PROJECT / "notebooks"
ADDRESS = pyproject()["project"]["urls"]["Repository"]
INSTALLING = f"""\
from importlib.util import find_spec

from IPython import get_ipython

if not find_spec("cldf_core"):  # as on Colab, which has a Jupyter of its own
    get_ipython().run_line_magic("pip", "install --quiet git+{ADDRESS}")
"""
STEMS = sorted({p.stem for p in [*FOLDER.glob("*.py"), *FOLDER.glob("*.ipynb")]})


def source(name: str) -> str:
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


def notebook(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(name: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook(name).cells if cell.cell_type == "code"]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def profile_values(profile: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "params" / profile / f"{name}.yaml").read_text(encoding="utf-8")) or {}


# --- the pair ---


def test_the_notebooks_are_those_that_options_know():
    assert set(STEMS) == set(NOTEBOOKS)


@pytest.mark.parametrize("name", STEMS)
def test_py_and_ipynb_agree_by_content(name):
    assert (FOLDER / f"{name}.py").is_file(), f"write notebooks/{name}.py: it is the source"
    assert (FOLDER / f"{name}.ipynb").is_file(), "run: make sync"
    text = jupytext.reads(source(name), fmt="py:percent")
    pairs = [[(c.cell_type, c.source, tags(c)) for c in side.cells] for side in (text, notebook(name))]
    assert pairs[0] == pairs[1], "the .ipynb is not what the .py says; run: make sync"


@pytest.mark.parametrize("name", STEMS)
def test_the_ipynb_holds_no_outputs_and_the_header_no_version(name):
    loaded = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    for cell in loaded["cells"]:
        assert set(cell["metadata"]) <= {"tags", "lines_to_next_cell"}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert "papermill" not in loaded["metadata"]
    assert "jupytext_version:" not in source(name)
    assert "jupytext_version" not in loaded["metadata"].get("jupytext", {}).get("text_representation", {})
    assert loaded["metadata"]["kernelspec"]["name"] == "python3"
    assert "kernelspec" in source(name)


@pytest.mark.parametrize("name", STEMS)
def test_a_notebook_is_short_and_told_before_it_is_computed(name):
    cells = notebook(name).cells
    assert len(cells) <= 30
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    for cell in cells:
        if "agent" in tags(cell):  # the class that notebook 12 teaches to write
            assert len(cell.source.splitlines()) <= 45
        elif cell.cell_type == "code" and "parameters" not in tags(cell):
            assert len(cell.source.splitlines()) <= 25, cell.source
            for node in ast.walk(ast.parse(cell.source)):
                assert not isinstance(node, ast.ClassDef), "a class belongs into cldf_core"


def assigned(tree: ast.AST) -> set[str]:
    """The names that a notebook's code assigns at its top level, imports left out."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            names |= assigned(node)
    return names


@pytest.mark.parametrize("name", STEMS)
def test_no_name_gets_a_second_meaning(name):
    tree = ast.parse(source(name))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = {(alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names}
    assert not assigned(tree) & imported
    # Else it would be taken for a parameter when the notebook is run once more in the same kernel.
    assert not assigned(tree) & (set(allowed_names(name)) - set(NOTEBOOKS[name]))


# --- parameters ---


@pytest.mark.parametrize("name", STEMS)
def test_the_parameters_cell_is_the_options_with_their_defaults(name):
    (cell,) = [c for c in code_cells(name) if "parameters" in tags(c)]
    lines, body = cell.source.splitlines(), ast.parse(cell.source).body
    assert len(lines) <= 10, "what the notebook is about; all else can be set by name"
    if "Optional" in cell.source:
        assert lines[0].startswith("from typing import Optional"), "papermill reads no int | None"
        lines, body = lines[2:], body[1:]
    assert len(body) == len(lines), "one assignment a line"
    assert all(isinstance(node, ast.AnnAssign) and "#" in line for node, line in zip(body, lines, strict=True))
    values = {node.target.id: ast.literal_eval(node.value) for node in body}
    assert tuple(values) == NOTEBOOKS[name]
    quick = profile_values("quick", name)
    for node, (key, value) in zip(body, values.items(), strict=True):
        default, kind = FIELDS[key].default, type(value).__name__.replace("NoneType", "Optional")
        default = quick[key] if key in SMALLER.get(name, ()) else default  # what is shown is what the text is about
        assert value == default, key
        assert type(value) is type(default), key
        assert kind in ast.unparse(node.annotation), key
    checked_parameters(name, values)
    found = inspect_notebook(FOLDER / f"{name}.ipynb")  # as `papermill --help-notebook` does; it warns of all others
    assert {key: parameter["inferred_type_name"] for key, parameter in found.items()} == {
        node.target.id: ast.unparse(node.annotation) for node in body
    }


@pytest.mark.parametrize("name", STEMS)
def test_the_cell_after_the_parameters_checks_them(name):
    cells = notebook(name).cells
    (at,) = [k for k, c in enumerate(cells) if "parameters" in tags(c)]
    check = cells[at + 1]
    assert code_cells(name)[:2] == [cells[at], check]
    assert f'from_notebook("{name}", globals())' in check.source
    imports = [n for n in ast.walk(ast.parse(check.source)) if isinstance(n, (ast.Import, ast.ImportFrom))]
    # Nothing heavy: a mistake is told in the first second.
    light = {"cldf_core.options", "cldf_core.workflow.parameters", "importlib.util", "IPython"}
    assert {getattr(n, "module", None) for n in imports} <= light
    assert check.source.startswith(INSTALLING), "the package, where it is missing, from the address in pyproject.toml"


def test_what_installs_the_package_is_short_and_does_nothing_where_it_is_there(tmp_path, monkeypatch):
    asked = Mock()
    monkeypatch.setattr("IPython.get_ipython", asked)
    (tmp_path / "cell.py").write_text(INSTALLING, encoding="utf-8")
    runpy.run_path(str(tmp_path / "cell.py"))
    asked.assert_not_called()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    runpy.run_path(str(tmp_path / "cell.py"))
    asked().run_line_magic.assert_called_once_with("pip", f"install --quiet git+{ADDRESS}")
    lines = [line for line in INSTALLING.splitlines() if line]
    assert len(lines) <= 4
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize("name", NOTEBOOKS)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_holds_only_what_differs_and_is_allowed(profile, name):
    values = profile_values(profile, name)
    checked_parameters(name, values, where=profile)
    for key, value in values.items():
        assert value != FIELDS[key].default or key in SMALLER.get(name, ()), f"{key} is the default anyway"
    assert set(SMALLER.get(name, ())) <= set(values), "what the cell holds would stand, with plain papermill"
    assert ("threads" in values) == (values.get("device") == "cuda"), "one thread, but for a GPU, which is fed by four"


def test_profiles_have_no_other_files():
    for profile in PROFILES:
        names = {p.name for p in (PROJECT / "params" / profile).iterdir()}
        assert names - ({"chosen.yaml"} if profile == "quick" else set()) == {f"{name}.yaml" for name in NOTEBOOKS}


@pytest.mark.parametrize("name", STEMS)
def test_a_notebook_that_reads_a_sweep_says_of_which_code_it_is(name):
    assert "code_in_words(" in source(name) or not re.search(r"\bsweep\.(results|means|tests)\b", source(name))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("reader", NEEDS)
def test_notebooks_find_the_runs_of_the_others(reader, profile):
    for name in NEEDS[reader]:
        assert profile_values(profile, name).items() <= profile_values(profile, reader).items()


@pytest.mark.parametrize("profile", PROFILES)
def test_notebook_14_trains_with_few_images_only_what_others_do_not_train(profile):
    own, made = notebook_parameters("14_limited_new_data", profile), SHARES["14_limited_new_data"]
    for name, agent in zip(made, ("sequential", "er"), strict=True):
        assert own.options(agent, limit_new=None) == notebook_parameters(name, profile).options(agent)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", STEMS)
def test_notebooks_read_the_sweeps_of_their_profile(name, profile):
    made = sweep_folder("parts", notebook_parameters(LAST, profile))
    assert sweep_folder("parts", notebook_parameters(name, profile)).path == made.path
    own = notebook_parameters(name, profile, {"seed": 99})
    assert sweep_folder("parts", own).path.name == f"sweep_parts-{own.folder.key}", "nobody's but its own"


@pytest.mark.parametrize("name", ["00", "01", "02", "15"])
def test_a_notebook_that_opens_images_takes_a_registered_data_set_of_one_domain(name, root, mini_smoke):
    assert not main(["data", "add", str(mini_smoke), "--name", "mine"])
    words = [f"-p{value}" for value in ("data=mine", "stream=mini-GAN-S", "unseen=")]
    assert not main(["run", name, "--profile", "smoke", *words])
