"""Every file that the package writes is cut, emptied, or one bit of it is flipped with its time kept.

By each command that reads it, nothing changes without a sentence, nothing hangs, and no traceback is shown.
"""

import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cldf_core.cli import main
from cldf_core.detection.robustness import robustness_tables
from cldf_core.options import UserError
from cldf_core.results.metric_table import COST
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.run import load_spectra
from cldf_core.workflow import notebooks, sweep
from cldf_core.workflow.notebooks import LAST, notebook_parameters
from samples import DAMAGES, flip_a_bit, make_data, texture, tiny_options, tiny_values

DATA, NOTEBOOK = "--data mine --training_set first --test_set first --seed 1", "02_spectral_analysis"
TRAIN = f"train {DATA} --continual_learning Normal --model slim --epochs 1 --threads 1"
GRID = {"agent": ["sequential", "er"], "seed": [0, 1]}
REPORTS = re.compile(r"CARD\.md|/audit|check\.csv|samples\.png|runs/sweep_.*/figures/")  # which no command reads
KEPT = "kept.parquet"
EDITABLE = ("dataset.yaml", "images.csv")  # which their users may change, and then see so in `cldf data`
LIMIT = 300  # seconds that all commands together may take, which take ten


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def pictures(folder: Path) -> Path:
    """One domain in the layout 0_real, 1_fake."""
    for label, kind in enumerate(("0_real", "1_fake")):
        (folder / "first" / kind).mkdir(parents=True)
        for number in range(12):
            pixels = texture(np.random.default_rng([label, number]), 4 * label, 224)
            Image.fromarray(pixels).save(folder / "first" / kind / f"{label}-{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """A root in which every kind of file was written, a copy of it, and what reads the files, by its words."""
    away = tmp_path_factory.mktemp("away")
    images, data, root = pictures(away / "mine"), make_data(away / "set", train=4, test=4), away / "root"
    with pytest.MonkeyPatch.context() as patch:
        root.mkdir()
        patch.chdir(root)
        patch.setenv("CLDF_ROOT", str(root))
        patch.setenv("CLDF_PROGRESS", "0")
        patch.setattr(notebooks, "_papermill", papermill)
        for profile in notebooks.PROFILES:
            write(root / "params" / profile / f"{LAST}.yaml", yaml.safe_dump(tiny_values(data)))
        values = {"data": str(data), "stream": ["first"], "unseen": ["unseen"]}
        write(root / "params" / "smoke" / f"{NOTEBOOK}.yaml", yaml.safe_dump(values))
        write(root / "params" / "grids" / "tiny.yaml", yaml.safe_dump(GRID))
        write(root / "notebooks" / f"{NOTEBOOK}.ipynb", '{"cells": []}')

        def commands() -> dict[str, object]:
            (run,) = (
                path.name for path in (root / "runs").glob("sequential-*") if len(RunFolder(path).manifest["data"]) == 1
            )
            (network,) = (root / "model").glob("*.pth")
            lines = [
                "data list",
                "data check mine",
                "data audit mine",
                "data card mine",
                f"test {DATA} --loadmodel {network}",
            ]
            lines += [
                f"metrics {run}",
                f"score --model {run} {images}/first/0_real",
                f"score --model {network} {images}/first",
            ]
            lines += [TRAIN, "sweep tiny --profile smoke"]
            calls = {line: lambda line=line: main(line.split()) for line in lines}
            calls["results"] = swept
            calls["notebook"] = lambda: main(["run", NOTEBOOK, "--profile", "smoke"])
            calls["robustness"] = lambda: robustness(root, data)
            return calls

        for line in (f"data add {images}", "data check mine", "data audit mine", "data card mine", TRAIN):
            assert main(line.split()) == 0, line
        for words, call in commands().items():
            assert not call(), words
        kept = shutil.copytree(root, away / "kept")
        yield root, kept, commands()


def papermill(source: Path, target: Path, parameters: dict) -> str:
    """In place of a kernel, which takes seconds: writes a notebook and a figure."""
    write(target, '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    write(target.parent / "figures" / "02_figure.png", "a figure")
    return ""


def swept() -> None:
    table = sweep.results("tiny", notebook_parameters(LAST, "smoke"))
    print(table[~table["metric"].isin(COST)].to_csv())  # a run that is made again takes other seconds


def robustness(root: Path, data: Path) -> None:
    options = tiny_options("er", data)
    runs = [run for run in map(RunFolder, (root / "runs").glob("er-*")) if run.finished]
    run = next(run for run in runs if run.manifest["options"] == options.model_dump())
    tables = robustness_tables({"er": run}, load_spectra(options), root / "runs" / "tables", images=1, workers=1)
    print(tables.scores.to_csv(), tables.traces.to_csv())


def results(commands, capsys) -> dict[str, tuple[str, str]]:
    """What each command prints, without times, and what it says of it."""
    printed = {}
    for words, call in commands.items():
        try:
            call()
        except UserError as error:  # of a function that a notebook calls
            print(error)
        out, err = capsys.readouterr()
        printed[words] = re.sub(r"\d+ s\b|\d\.\d+ +(?=runs/)", "", out), err
    return printed


def kinds(folder: Path) -> list[Path]:
    """One file of each kind: names that differ by a hash, a number or a domain's name are of one."""
    parts = re.compile(r"[0-9a-f]{12,}|\d+|first|second|third|unseen")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    written = [path for path in files if path.parts[0] not in ("params", "notebooks") and path.suffix != ".lock"]
    return list({parts.sub("", path.as_posix()): path for path in written if path.name != ".lock"}.values())


def hang(*_: object) -> None:
    raise TimeoutError(f"more than {LIMIT} seconds")


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_whatever_is_damaged_is_told_or_changes_nothing(readers, capsys, damage):
    root, kept, commands = readers
    shutil.rmtree(root)
    shutil.copytree(kept, root)
    capsys.readouterr()
    want, files = results(commands, capsys), kinds(kept)
    faults, silent = [], []
    for file in files:
        shutil.rmtree(root)
        shutil.copytree(kept, root)
        damage(root / file)
        if file.name != KEPT:  # with it a sweep would not look at its runs
            for kept_runs in root.rglob(KEPT):
                kept_runs.unlink()
        if sys.platform != "win32":
            signal.signal(signal.SIGALRM, hang)
            signal.alarm(LIMIT)
        try:
            got = results(commands, capsys)
        except Exception as error:
            faults.append(f"{file}: {type(error).__name__}: {error}")
            capsys.readouterr()
            continue
        finally:
            if sys.platform != "win32":
                signal.alarm(0)
        if not REPORTS.search(file.as_posix()) and all(got[words][1] == want[words][1] for words in got):
            silent.append(file.as_posix())
        for words, (out, err) in got.items():
            shown = damage is flip_a_bit and file.name in EDITABLE and words.startswith("data ")
            if out != want[words][0] and err == want[words][1] and "damaged" not in out and not shown:
                lines = set(out.splitlines()) ^ set(want[words][0].splitlines())
                faults.append(f"{file}: {words!r} changes without a word: {sorted(lines)[:4]}")
    print(f"{damage.__name__}: {len(files)} kinds of files, {len(faults)} faults; nothing is said of {silent}")
    assert not faults, "\n".join(faults)
    read = [file for file in files if not REPORTS.search(file.as_posix())]
    assert len(read) > len(files) / 2 > 10
    assert len(silent) < len(read) / 4  # networks of runs that no command uses, and the like
