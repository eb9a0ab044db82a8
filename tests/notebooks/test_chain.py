"""All notebooks, executed through papermill in the smoke profile: what they leave, and that it is not made twice."""

import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from cldf_core.interact.live import VIEW
from cldf_core.options import AGENTS
from cldf_core.original.differences import DIFFERENCES
from cldf_core.runs.folder import RunFolder
from cldf_core.workflow.notebooks import notebook_parameters
from cldf_core.workflow.parameters import NOTEBOOKS
from perturbed import SAYING, check_sentences
from samples import PROJECT, call, statuses

pytestmark = pytest.mark.slow
FOLDER = PROJECT / "notebooks"


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Names, sizes and times of all files but locks."""
    return {
        p.relative_to(folder).as_posix(): (p.stat().st_size, p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file() and "lock" not in p.name
    }


def test_the_whole_chain_runs(reproduced):
    root, done = reproduced
    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(done.stdout) == dict.fromkeys(NOTEBOOKS, "done")
    for name in NOTEBOOKS:
        (folder,) = (root / "runs").glob(f"{name}-*")
        assert RunFolder(folder).finished
        executed = nbformat.read(folder / "notebook.ipynb", as_version=4)
        assert all(c.execution_count for c in executed.cells if c.cell_type == "code")
        pictures = {p.stem for p in (folder / "figures").glob("*.png")}
        assert pictures == {p.stem for p in (folder / "figures").glob("*.pdf")}
        assert pictures or name.startswith("00")
        for cell in executed.cells:
            for output in cell.get("outputs", []):
                assert output.get("name") != "stderr" or "Warning" not in output["text"], output["text"]


def test_whoever_has_no_kernel_sees_a_picture_and_a_sentence_of_all_that_moves(reproduced):
    root, _ = reproduced
    live = {"02": 5, "05": 2, "06": 2, "07": 2}  # figures with controls; the others have one
    upload = {"13": 1}  # which has no picture before there is an image
    for name in NOTEBOOKS:
        (folder,) = (root / "runs").glob(f"{name}-*")
        cells = nbformat.read(folder / "notebook.ipynb", as_version=4).cells
        shown = [output for cell in cells for output in cell.get("outputs", []) if VIEW in output.get("data", {})]
        pictures = [output for output in shown if "image/png" in output.data]
        assert len(pictures) == live.get(name[:2], 1), name
        assert len(shown) - len(pictures) == upload.get(name[:2], 0), name
        for output in pictures:
            assert re.fullmatch(r"[A-Z].{30,}\.", output.metadata["image/png"]["alt"]), name


def test_every_agent_leaves_a_run_with_scores_of_every_image(reproduced):
    root, _ = reproduced
    for agent in AGENTS:
        runs = [run for run in map(RunFolder, (root / "runs").glob(f"{agent}-*")) if run.manifest]
        assert runs, agent
        for run in runs:
            assert run.finished
            assert run.manifest["options"]["agent"] == agent
            scores = run.scores()
            assert scores["score"].between(0, 1).all()
            assert not scores.duplicated(["step", "domain", "split", "image"]).any()
            assert scores["step"].max() == len(run.manifest["options"]["stream"])


def test_notebook_11_ranks_every_difference(reproduced):
    root, _ = reproduced
    (folder,) = (root / "runs").glob("11_original_versus_papers-*")
    table = pd.read_csv(folder / "figures" / "tables" / "11_differences.csv")
    assert list(table.columns) == [
        "agent",
        "switch",
        "paper",
        "original",
        "metric",
        "value",
        "low",
        "high",
        "label",
        "significant",
    ]
    average = table[table["metric"] == "average"]
    assert set(zip(average["agent"], average["switch"], strict=True)) == {(d.agent, d.name) for d in DIFFERENCES}
    assert len(average) == len(DIFFERENCES)
    assert average["value"].abs().is_monotonic_decreasing
    # One of them, computed here once more from the scores that the runs left.
    runs = list(map(RunFolder, (root / "runs").glob("lwf-*")))
    parameters = notebook_parameters("11_original_versus_papers", "smoke")
    stream = parameters.options().stream
    (difference,) = [d for d in DIFFERENCES if d.name == "teacher_mode"]
    accuracies = []
    for options in difference.pair(parameters):
        (scores,) = (run.scores() for run in runs if run.manifest["options"] == options.model_dump())
        last = scores[(scores["step"] == len(stream)) & scores["domain"].isin(stream)]
        right = (last["score"] >= 0.5) == (last["label"] == 1)
        accuracies.append(right.groupby(last["domain"]).mean().mean())
    value = average.set_index("switch").loc["teacher_mode", "value"]
    assert value == pytest.approx(accuracies[1] - accuracies[0], abs=1e-5)


@pytest.mark.parametrize("name", SAYING)
def test_no_sentence_contradicts_the_tables_of_tiny_runs(reproduced, name, tmp_path, monkeypatch):
    (folder,) = (reproduced[0] / "runs").glob(f"{name}-*")
    shutil.copytree(folder / "figures" / "tables", tmp_path / "tables")
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    check_sentences(name, tmp_path, monkeypatch, **notebook_parameters(name, "smoke").values)


def test_playing_does_not_change_the_committed_figures(reproduced):
    root, _ = reproduced
    assert not (root / "figures").exists()  # only the quick profile publishes
    assert tree(root / "notebooks").keys() == {name for name in tree(FOLDER) if ".ipynb_checkpoints" not in name}
    for name in NOTEBOOKS:
        assert (root / "notebooks" / f"{name}.ipynb").read_bytes() == (FOLDER / f"{name}.ipynb").read_bytes()


def test_a_second_call_executes_nothing(reproduced):
    root, _ = reproduced
    before = tree(root)
    done = call(root, "reproduce", "--profile", "smoke", "--all")
    assert done.returncode == 0
    assert statuses(done.stdout) == dict.fromkeys(NOTEBOOKS, "already done")
    assert tree(root) == before


def test_plain_papermill_gives_the_same_scores(reproduced):
    root, _ = reproduced
    options = notebook_parameters("04_icarl", "smoke").options().model_dump()
    runs = map(RunFolder, (root / "runs").glob("icarl-*"))
    (run,) = (made.path for made in runs if made.manifest["options"] == options)
    scores = (run / "scores.parquet").read_bytes()
    shutil.rmtree(run)
    arguments = ["notebooks/04_icarl.ipynb", "out.ipynb", "-f", "params/smoke/04_icarl.yaml"]
    done = call(root, *arguments, module="papermill")
    assert done.returncode == 0, done.stderr
    assert (run / "scores.parquet").read_bytes() == scores
    (root / "out.ipynb").unlink()


def test_a_wrong_parameter_fails_in_the_check_cell(reproduced, tmp_path):
    root, _ = reproduced
    before = tree(root / "runs")
    out = tmp_path / "out.ipynb"
    arguments = ["notebooks/04_icarl.ipynb", str(out), "-f", "params/smoke/04_icarl.yaml", "-p", "sed", "3"]
    done = call(root, *arguments, module="papermill")
    assert done.returncode != 0
    assert "OptionError: 04_icarl: there is no option 'sed' (its value is 3); did you mean 'seed'?" in done.stderr
    failed = [c for c in nbformat.read(out, as_version=4).cells if c.metadata.get("papermill", {}).get("exception")]
    assert len(failed) == 1
    assert "from_notebook(" in failed[0].source
    assert failed[0].metadata["papermill"]["duration"] < 5
    assert tree(root / "runs") == before
