"""Fixtures that several test files share."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from filelock import FileLock

from cldf_core.data.layouts.read import data_folder
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.run import make_run
from cldf_core.workflow import cluster
from cldf_core.workflow.cluster import Cluster
from exercises import make_course
from samples import SHORT, animate, call, copy_project, make_data, picture, replace_scores, tiny_options

hypothesis.settings.register_profile("cldf", deadline=None, max_examples=40)
hypothesis.settings.load_profile("cldf")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other


@pytest.fixture(scope="session", autouse=True)
def _silent() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:  # a slow machine would be told what it is waiting for
        patch.setenv("CLDF_PROGRESS", "0")
        yield


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project root of the test's own."""
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    monkeypatch.setenv("CLDF_PROGRESS", "0")
    return tmp_path


@pytest.fixture(scope="module")
def workers_here() -> Iterator[None]:
    """Tasks of the engine are carried out in a thread of this process, which begins at once, and knows its patches."""
    from distributed import Client, LocalCluster

    @contextlib.contextmanager
    def thread(jobs: int, folder: str, devices: list[str]) -> Iterator[Cluster]:
        settings = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
        with LocalCluster(**settings) as workers, Client(workers, set_as_default=False) as client:
            yield Cluster(client)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "local", thread)
        yield


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four domains of 16 training and 12 test images, 32 pixels a side. Not to be written to."""
    return make_data(tmp_path_factory.mktemp("small-data"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all test processes share; each has one of its own in it."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def mini_smoke(shared: Path) -> Path:
    """The embedded benchmark of the smoke profile, built once for all test processes. Not to be written to."""
    root = shared / "mini-smoke"
    root.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLDF_ROOT", str(root))
        return data_folder("mini-smoke")  # the first to ask builds it, and who comes then waits


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, in which `browser.lab` opens notebooks."""
    from browser.lab import chromium

    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def reproduced(shared: Path, mini_smoke: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A project in which every notebook was run in the smoke profile, once for all test processes, and how it ended."""
    root, ended = shared / "project", shared / "reproduced.json"
    with FileLock(shared / "reproduced.lock"):
        if not ended.exists():
            shutil.copytree(mini_smoke, copy_project(root) / "data" / "mini-smoke")
            done = call(root, "reproduce", "--profile", "smoke", "--all", "--jobs", "2")
            ended.write_text(json.dumps([done.returncode, done.stdout, done.stderr]), encoding="utf-8")
    return root, subprocess.CompletedProcess([], *json.loads(ended.read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course of all exercises, made by the script: solutions, students' copies and a gradebook."""
    folder = tmp_path_factory.mktemp("course")
    done = make_course("--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Path, Path]:
    root = tmp_path_factory.mktemp("trained")
    data = make_data(root / "set", (*SHORT["stream"], "unseen"), train=8, validation=6, test=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLDF_ROOT", str(root))
        patch.setenv("CLDF_PROGRESS", "0")
        return make_run(tiny_options("er", data, **SHORT)), data, root


@pytest.fixture
def trained(_trained, monkeypatch: pytest.MonkeyPatch) -> tuple[RunFolder, Path, Path]:
    """A run of ER with the options SHORT of samples.py, its data set, and the root that both lie in."""
    monkeypatch.setenv("CLDF_ROOT", str(_trained[2]))
    monkeypatch.setenv("CLDF_PROGRESS", "0")
    return _trained


@pytest.fixture
def copied(trained, tmp_path):
    """Copies the run, with other logits (of fake) for the validation images of each step and domain."""

    def copy(logits, name: str = "copy") -> Path:
        folder = RunFolder(shutil.copytree(trained[0].path, tmp_path / name))
        scores = folder.scores()
        at = scores["split"] == "validation"
        scores.loc[at, "logit"] = [logits(row) for row in scores[at].itertuples()]
        replace_scores(folder, scores)
        return folder.path

    return copy


@pytest.fixture
def bad_images(tmp_path):
    """Good images, and one of each kind that cannot be scored; name → the reason's beginning."""
    folder = tmp_path / "images"
    picture(folder / "a.png")
    picture(folder / "z.jpg", 48)
    whole = picture(folder / "whole.png", 64).read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image")
    (folder / "empty.png").touch()
    animate(folder / "moving.png")
    picture(folder / "small.png", 24)
    return folder, {
        "truncated.png": "unreadable (OSError",
        "text.jpg": "unreadable (UnidentifiedImageError",
        "empty.png": "unreadable (UnidentifiedImageError",
        "moving.png": "animated (3 frames)",
        "small.png": "too small (24 x 24, needed 32 x 32)",
    }
