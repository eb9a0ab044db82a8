"""Notebooks: paired, short, checked parameters; executed through papermill in the smoke profile; failures told."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import pytest
import yaml

import cldf_core
from cldf_core.options import AGENTS, FIELDS
from cldf_core.original.differences import DIFFERENCES
from cldf_core.workflow.notebooks import PROFILES, notebook_parameters
from cldf_core.workflow.parameters import NOTEBOOKS, checked_parameters

PROJECT = Path(cldf_core.__file__).parents[1]
FOLDER = PROJECT / "notebooks"
STEMS = sorted({p.stem for p in [*FOLDER.glob("*.py"), *FOLDER.glob("*.ipynb")]})
SMOKE = [(profile, name) for profile in PROFILES for name in NOTEBOOKS]


def source(name: str) -> str:
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


def notebook(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(name: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook(name).cells if cell.cell_type == "code"]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


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
    assert len(cells) <= 36
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    for cell in cells:
        if "agent" in tags(cell):  # the class that notebook 12 teaches to write
            assert len(cell.source.splitlines()) <= 45
        elif cell.cell_type == "code" and "parameters" not in tags(cell):
            assert len(cell.source.splitlines()) <= 25, cell.source
            for node in ast.walk(ast.parse(cell.source)):
                assert not isinstance(node, ast.ClassDef), "a class belongs into cldf_core"


# --- parameters ---


@pytest.mark.parametrize("name", STEMS)
def test_the_parameters_cell_is_the_options_with_their_defaults(name):
    (cell,) = [c for c in code_cells(name) if "parameters" in tags(c)]
    lines = cell.source.splitlines()
    body = ast.parse(cell.source).body
    assert len(body) == len(lines), "one assignment a line"
    assert all(isinstance(node, ast.AnnAssign) and "#" in line for node, line in zip(body, lines, strict=True))
    values = {node.target.id: ast.literal_eval(node.value) for node in body}
    assert tuple(values) == NOTEBOOKS[name]
    for key, value in values.items():
        default = FIELDS[key].default
        assert value == default, key
        assert type(value) is type(default), key
    annotations = {node.target.id: ast.unparse(node.annotation) for node in body}
    for key, annotation in annotations.items():
        kind = type(values[key]).__name__
        assert kind in annotation or (kind == "NoneType" and "None" in annotation), key
    checked_parameters(name, values)


@pytest.mark.parametrize("name", STEMS)
def test_the_cell_after_the_parameters_checks_them(name):
    cells = notebook(name).cells
    (at,) = [k for k, c in enumerate(cells) if "parameters" in tags(c)]
    assert code_cells(name)[0] is not None
    assert [c for c in cells[:at] if c.cell_type == "code"] == []
    check = cells[at + 1]
    assert check.cell_type == "code"
    assert f'from_notebook("{name}", globals())' in check.source
    imports = [n for n in ast.walk(ast.parse(check.source)) if isinstance(n, (ast.Import, ast.ImportFrom))]
    # Nothing heavy: a mistake is told in the first second.
    assert {getattr(n, "module", None) for n in imports} <= {"cldf_core.options", "cldf_core.workflow.parameters"}


@pytest.mark.parametrize(("profile", "name"), SMOKE)
def test_a_profile_holds_only_what_differs_and_is_allowed(profile, name):
    path = PROJECT / "params" / profile / f"{name}.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    checked_parameters(name, values, where=str(path))
    for key, value in values.items():
        assert value != FIELDS[key].default, f"{path}: {key} is the default anyway"


def test_profiles_have_no_other_files():
    for profile in PROFILES:
        assert {p.name for p in (PROJECT / "params" / profile).iterdir()} == {f"{name}.yaml" for name in NOTEBOOKS}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("reader", ["08_cross_data_set_evaluation", "09_robustness"])
def test_notebooks_08_and_09_find_the_runs_of_the_others(reader, profile):
    def values(name: str) -> dict:
        return yaml.safe_load((PROJECT / "params" / profile / f"{name}.yaml").read_text(encoding="utf-8")) or {}

    for name in ("03_without_continual_learning", "04_icarl", "05_gdumb", "06_lwf", "07_er_and_mir"):
        assert values(name).items() <= values(reader).items()


# --- execution ---


def copy_project(folder: Path) -> Path:
    """What a project root needs to run notebooks; the package too, so that no edit changes it meanwhile."""
    for name in ("notebooks", "params", "cldf_core"):
        shutil.copytree(
            PROJECT / name, folder / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
        )
    shutil.copyfile(PROJECT / "pyproject.toml", folder / "pyproject.toml")
    return folder


def call(root: Path, *words: str, module: str = "cldf_core.cli") -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("CLDF_")}
    return subprocess.run([sys.executable, "-m", module, *words], cwd=root, env=env, capture_output=True, text=True)


def statuses(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Notebook and status in the summary table."""
    rows = [re.split(r"  +", line) for line in done.stdout.splitlines() if re.match(r"\d\d_\w+  ", line)]
    return {row[0]: row[1] for row in rows}


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Names, sizes and times of all files but locks."""
    return {
        p.relative_to(folder).as_posix(): (p.stat().st_size, p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file() and "lock" not in p.name
    }


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A project in which every notebook was run in the smoke profile, once."""
    root = copy_project(tmp_path_factory.mktemp("project"))
    return root, call(root, "reproduce", "--profile", "smoke", "--all")


def test_the_whole_chain_runs(reproduced):
    root, done = reproduced
    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(done) == dict.fromkeys(NOTEBOOKS, "done")
    for name in NOTEBOOKS:
        (folder,) = (root / "runs").glob(f"{name}-*")
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["status"] == "finished"
        executed = nbformat.read(folder / "notebook.ipynb", as_version=4)
        assert all(c.execution_count for c in executed.cells if c.cell_type == "code")
        pictures = {p.stem for p in (folder / "figures").glob("*.png")}
        assert pictures == {p.stem for p in (folder / "figures").glob("*.pdf")}
        assert pictures or name.startswith("00")
        for cell in executed.cells:
            for output in cell.get("outputs", []):
                assert output.get("name") != "stderr" or "Warning" not in output["text"], output["text"]


def test_every_agent_leaves_a_run_with_scores_of_every_image(reproduced):
    root, _ = reproduced
    for agent in AGENTS:
        folders = [p for p in (root / "runs").glob(f"{agent}-*") if (p / "manifest.json").is_file()]
        assert folders, agent
        for folder in folders:
            manifest = json.loads((folder / "manifest.json").read_text())
            assert manifest["status"] == "finished"
            assert manifest["options"]["agent"] == agent
            scores = pd.read_parquet(folder / "scores.parquet")
            assert scores["score"].between(0, 1).all()
            assert not scores.duplicated(["step", "domain", "split", "image"]).any()
            assert scores["step"].max() == len(manifest["options"]["stream"])


def test_notebook_11_ranks_every_difference(reproduced):
    root, _ = reproduced
    (folder,) = (root / "runs").glob("11_original_versus_papers-*")
    table = pd.read_csv(folder / "figures" / "tables" / "11_differences.csv")
    assert list(table.columns) == ["agent", "switch", "paper", "original", "metric", "value", "low", "high"]
    average = table[table["metric"] == "average"]
    assert set(zip(average["agent"], average["switch"], strict=True)) == {(d.agent, d.name) for d in DIFFERENCES}
    assert len(average) == len(DIFFERENCES)
    assert average["value"].abs().is_monotonic_decreasing
    # One of them, computed here once more from the scores that the runs left.
    scores = {
        json.dumps(json.loads((p / "manifest.json").read_text())["options"]): p / "scores.parquet"
        for p in (root / "runs").glob("lwf-*")
    }
    given = notebook_parameters("11_original_versus_papers", "smoke")
    stream = given.options().stream
    (difference,) = [d for d in DIFFERENCES if d.name == "teacher_mode"]
    accuracies = []
    for options in difference.pair(given):
        own = pd.read_parquet(scores[json.dumps(options.model_dump())])
        last = own[(own["step"] == len(stream)) & own["domain"].isin(stream)]
        right = (last["score"] >= 0.5) == (last["label"] == 1)
        accuracies.append(right.groupby(last["domain"]).mean().mean())
    assert average.set_index("switch").loc["teacher_mode", "value"] == pytest.approx(
        accuracies[1] - accuracies[0], abs=1e-5
    )


def test_playing_does_not_change_the_committed_figures(reproduced):
    root, _ = reproduced
    assert not (root / "figures").exists()  # only the quick profile publishes
    assert tree(root / "notebooks").keys() == {p.name for p in FOLDER.glob("*.*")}
    for name in NOTEBOOKS:
        assert (root / "notebooks" / f"{name}.ipynb").read_bytes() == (FOLDER / f"{name}.ipynb").read_bytes()


def test_a_second_call_executes_nothing(reproduced):
    root, _ = reproduced
    before = tree(root)
    done = call(root, "reproduce", "--profile", "smoke", "--all")
    assert done.returncode == 0
    assert statuses(done) == dict.fromkeys(NOTEBOOKS, "already done")
    assert tree(root) == before


def test_plain_papermill_gives_the_same_scores(reproduced):
    root, _ = reproduced
    options = notebook_parameters("04_icarl", "smoke").options().model_dump()
    made = {p: json.loads((p / "manifest.json").read_text())["options"] for p in (root / "runs").glob("icarl-*")}
    (run,) = (p for p, own in made.items() if own == options)
    scores = (run / "scores.parquet").read_bytes()
    shutil.rmtree(run)
    arguments = ["notebooks/04_icarl.ipynb", "out.ipynb", "-f", "params/smoke/04_icarl.yaml"]
    done = call(root, *arguments, module="papermill")
    assert done.returncode == 0, done.stderr
    assert (run / "scores.parquet").read_bytes() == scores
    (root / "out.ipynb").unlink()


@pytest.mark.parametrize(
    ("parameter", "value", "sentence"),
    [
        ("sed", "3", "there is no option 'sed' (its value is 3); did you mean 'seed'?"),
        ("epochs", "ten", "epochs is 'ten'; allowed: a whole number from 1 to 10000"),
        ("lr", "11", "lr is 11; allowed: a number above 0 to 10"),
    ],
)
def test_a_wrong_parameter_fails_in_the_check_cell(reproduced, tmp_path, parameter, value, sentence):
    root, _ = reproduced
    before = tree(root / "runs")
    out = tmp_path / "out.ipynb"
    arguments = ["notebooks/04_icarl.ipynb", str(out), "-f", "params/smoke/04_icarl.yaml", "-p", parameter, value]
    done = call(root, *arguments, module="papermill")
    assert done.returncode != 0
    assert f"OptionError: 04_icarl: {sentence}" in done.stderr
    failed = [c for c in nbformat.read(out, as_version=4).cells if c.metadata.get("papermill", {}).get("exception")]
    assert len(failed) == 1
    assert "from_notebook(" in failed[0].source
    assert failed[0].metadata["papermill"]["duration"] < 5
    assert tree(root / "runs") == before


# --- failures ---

GOOD = """from cldf_core.workflow.parameters import from_notebook
folder = from_notebook(NAME, globals()).folder.figures
folder.mkdir(parents=True, exist_ok=True)
_ = (folder / f"{NAME}.png").write_text("old")"""
RAISING = "raise ValueError('the answer is not 42')"
DYING = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


def write_notebook(root: Path, name: str, *cells: str, kernel_language: str | None = "python") -> None:
    """A small notebook: the parameters with their defaults, and the given cells."""
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
def test_a_failing_notebook_is_told_and_the_others_run(tmp_path, small_data):
    shutil.copyfile(PROJECT / "pyproject.toml", tmp_path / "pyproject.toml")
    domains = {"data": str(small_data), "stream": ["first", "second"], "unseen": ["third"]}
    for name in NOTEBOOKS:
        path = tmp_path / "params" / "quick" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(domains))
    for name in NOTEBOOKS:
        write_notebook(tmp_path, name, GOOD)
    only = ["reproduce", "--only", "01", "02", "04", "05", "08"]
    assert call(tmp_path, "reproduce", "--only", "01").returncode == 0
    assert (tmp_path / "figures" / "01_data_exploration.png").read_text() == "old"

    write_notebook(tmp_path, "01_data_exploration", GOOD.replace('"old"', '"new"'), RAISING)
    write_notebook(tmp_path, "02_spectral_analysis", GOOD, kernel_language=None)  # papermill will not start it
    write_notebook(tmp_path, "05_gdumb", GOOD, DYING)
    done = call(tmp_path, *only)
    assert done.returncode == 1
    assert statuses(done) == {
        "01_data_exploration": "failed",
        "02_spectral_analysis": "failed",
        "04_icarl": "done",
        "05_gdumb": "failed",
        "08_cross_data_set_evaluation": "not run",
    }
    assert "01_data_exploration failed: cell 4: ValueError: the answer is not 42" in done.stdout
    assert "02_spectral_analysis failed: ValueError: No language found" in done.stdout
    assert "05_gdumb failed: the kernel died" in done.stdout
    assert "08_cross_data_set_evaluation not run: needs 05_gdumb" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    # What was published before is still there, and the failed notebook can be looked at.
    assert (tmp_path / "figures" / "01_data_exploration.png").read_text() == "old"
    assert (tmp_path / "figures" / "04_icarl.png").read_text() == "old"
    assert not (tmp_path / "figures" / "05_gdumb.png").exists()
    (folder,) = (tmp_path / "runs").glob("01_data_exploration-*")
    assert "not 42" in (folder / "notebook.ipynb").read_text()
    assert json.loads((folder / "manifest.json").read_text())["status"] == "failed"

    assert (folder / "figures" / "01_data_exploration.png").read_text() == "new"  # drawn before it failed

    # Mended, only what had failed is run again.
    for name in ("01_data_exploration", "02_spectral_analysis", "05_gdumb"):
        write_notebook(tmp_path, name, GOOD.replace('"old"', '"new"'))
    done = call(tmp_path, *only)
    assert done.returncode == 0
    assert statuses(done) == {
        "01_data_exploration": "done",
        "02_spectral_analysis": "done",
        "04_icarl": "already done",
        "05_gdumb": "done",
        "08_cross_data_set_evaluation": "done",
    }
    assert (tmp_path / "figures" / "01_data_exploration.png").read_text() == "new"


def test_an_unreadable_notebook_and_stale_figures(tmp_path, small_data):
    shutil.copyfile(PROJECT / "pyproject.toml", tmp_path / "pyproject.toml")
    for name in ("01_data_exploration", "06_lwf"):
        path = tmp_path / "params" / "quick" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"data": str(small_data), "stream": ["first", "second"], "unseen": ["third"]}))
        write_notebook(tmp_path, name, GOOD)
    assert call(tmp_path, "reproduce", "--only", "01").returncode == 0
    (folder,) = (tmp_path / "runs").glob("01_data_exploration-*")
    stale = folder / "figures" / "01_of_an_earlier_version.png"
    stale.write_text("stale")
    os.utime(stale, (0, 0))

    (tmp_path / "notebooks" / "06_lwf.ipynb").write_text("{")
    write_notebook(tmp_path, "01_data_exploration", GOOD, RAISING)
    done = call(tmp_path, "reproduce", "--only", "01", "06")
    assert done.returncode == 1
    assert statuses(done) == {"01_data_exploration": "failed", "06_lwf": "failed"}
    assert "06_lwf.ipynb is not a readable notebook" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert stale.exists()  # an error takes nothing away

    write_notebook(tmp_path, "01_data_exploration", GOOD)
    assert call(tmp_path, "reproduce", "--only", "01").returncode == 0
    assert not stale.exists()
