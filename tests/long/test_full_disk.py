"""A small disk fills before each write in turn: one sentence, nothing is lost, and the same command goes on."""

import contextlib
import importlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cldf_core.cli import main
from cldf_core.workflow.notebooks import LAST
from samples import hashes, make_data, tiny_values

if sys.platform == "win32":
    pytest.skip("Windows has neither fork nor mount", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("workers_here")  # their writes count, too, and nothing loads torch anew

for module in ("data.intake.reports", "detection.score", "figures", "original.commands", "workflow.sweep"):
    importlib.import_module(f"cldf_core.{module}")  # before each child would do so

ROOM = [0, 8192]  # bytes that are left: a file cannot be begun, or not be ended
LIMIT = 300  # seconds that commands may take, which take three
SMALL = ["data add {away}/set --name mine", "data card mine", "sweep one --profile smoke"]
TRAIN = "train --data {away}/set --training_set first --test_set first --model_dir {root}/model --model slim"
PTH = "{root}/model/Normal_first_fft_0_slim_checkpoint_latest.pth"
SCORE = "score {away}/set/real/first/testA --out {root}/scores.csv --model "
# Megabytes, an image's side, and commands, which need a part of them; what they read is on another disk.
CASES = {
    "data and runs": (20, 32, [*SMALL, SCORE + "{run}"]),
    "the original's file": (60, 224, [TRAIN + " --continual_learning Normal --epochs 1 --threads 1", SCORE + PTH]),
}


class Disk(NamedTuple):
    """A small file system, and what is done on it."""

    folder: Path
    away: Path
    lines: list[str]

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def clear(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        (self.root / "params").symlink_to(self.away / "params")

    def fill(self, room: int) -> None:
        """Leaves so many bytes."""
        filler = self.folder / "filler"
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        os.truncate(filler, max(0, filler.stat().st_size - room))

    def commands(self, *, since: int = 0, fills_at: int = 0, room: int = 0) -> dict[str, Any]:
        """Status, errors and number of opened files of the commands, before whose n-th opening the disk fills."""
        answer = self.away / "answer.json"
        answer.unlink(missing_ok=True)
        if not (child := os.fork()):
            signal.alarm(LIMIT)
            opened = itertools.count(1)

            def hook(event: str, words: tuple[Any, ...]) -> None:
                if event == "open" and words[2] & (os.O_WRONLY | os.O_RDWR):
                    inside = str(words[0]).startswith(str(self.root)) and not str(words[0]).endswith(".lock")
                    if inside and next(opened) == fills_at:
                        self.fill(room)

            sys.addaudithook(hook)
            out, err, statuses = io.StringIO(), io.StringIO(), []
            try:
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    for line in self.lines[since:]:
                        run = next((self.root / "runs").glob("er-*"), None)
                        statuses.append(main(line.format(root=self.root, away=self.away, run=run).split()))
                        if statuses[-1]:
                            break
            except BaseException as error:
                statuses.append(repr(error))
            finally:
                result = {
                    "statuses": statuses,
                    "out": out.getvalue(),
                    "err": err.getvalue(),
                    "opened": next(opened) - 1,
                }
                answer.write_text(json.dumps(result))
                os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return json.loads(answer.read_text()) if status == 0 else {"statuses": [f"signal {-status}"], "err": ""}

    def results(self) -> dict[str, str]:
        """What the commands came to; of files that tell times, their names."""
        times = re.compile(r"manifest\.json|contents-\w+\.json|runs/sweep_.*|data/mine/(dataset\.yaml|CARD\.md)")
        names = {name: digest for name, digest in hashes(self.root).items() if not name.endswith(".lock")}
        return {name: "" if times.search(name) else digest for name, digest in names.items()}


@pytest.fixture(params=CASES)
def disk(request, tmp_path, monkeypatch):
    size, side, lines = CASES[request.param]
    disk = Disk(tmp_path / "disk", tmp_path / "away", lines)
    disk.folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", disk.folder]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here ({done.stderr.strip()}); try: unshare -rm make test-long")
    data = make_data(disk.away / "set", ("first", "second"), train=2, test=1, side=side)
    values = {**tiny_values(data), "stream": ["first", "second"], "unseen": [], "epochs": 1, "batch": 2}
    for name, content in ((f"smoke/{LAST}", values), ("grids/one", {"agent": ["er"]})):
        path = disk.away / "params" / f"{name}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("CLDF_ROOT", str(disk.root))
    monkeypatch.setenv("CLDF_PROGRESS", "0")
    yield disk
    subprocess.run(["umount", "--lazy", disk.folder], check=True)


def test_a_disk_that_fills_at_any_write_costs_a_sentence_and_nothing_else(disk):
    disk.clear()
    whole = disk.commands()
    assert whole["statuses"] == [0] * len(disk.lines), whole
    want, faults, sentences = disk.results(), [], 0
    assert "scores.csv" in want
    for number, room in itertools.product(range(1, whole["opened"] + 1), ROOM):
        disk.clear()
        told = disk.commands(fills_at=number, room=room)
        place = f"file {number} with {room} bytes left: {told['statuses']}, {told['err']!r}"
        partial = [path for path in disk.root.rglob(".*") if not path.name.endswith((".lock", ".unfinished"))]
        (disk.folder / "filler").unlink()
        *_, last = [line for line in told["err"].splitlines() if not line.startswith("note: ")] or [""]
        said = last.startswith(("cldf: ", "failed: ")) and (" free" in last or "cannot be written" in last)
        sentences += said
        if told["statuses"][-1] != 0 and (told["statuses"][-1] not in (1, 2) or not said or partial):
            faults.append(f"{place} {partial}")
        done = len(told["statuses"]) - 1 if told["statuses"][-1] else len(disk.lines)  # the same command goes on
        again = disk.commands(since=done)
        if again["statuses"] != [0] * (len(disk.lines) - done):
            faults.append(f"{place}; then {again['statuses']}, {again['err']!r}")
        elif different := {name for name, _ in disk.results().items() ^ want.items()}:
            faults.append(f"{place}; then other {different}")
    print(f"{len(ROOM) * whole['opened']} times full, {sentences} sentences, {len(faults)} faults")
    assert not faults, "\n".join(faults)
    assert sentences >= whole["opened"]
