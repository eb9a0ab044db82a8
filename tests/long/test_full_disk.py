"""A disk of 60 MB that fills before each write in turn: one sentence, nothing is lost, the same command goes on."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from cldf_core.cli import main
from samples import hashes, make_data

if sys.platform == "win32":
    pytest.skip("Windows has neither fork nor mount", allow_module_level=True)

ROOM = [0, 8192]  # bytes that are left: a file cannot be begun, or not be ended


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A file system of 60 MB, of which the commands need a half."""
    folder = tmp_path_factory.mktemp("disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here ({done.stderr.strip()}); try: unshare -rm make test-long")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk, room: int) -> None:
    """Leaves so many bytes of the disk."""
    with (disk / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    size = (disk / "filler").stat().st_size
    os.truncate(disk / "filler", max(0, size - room))


def in_child(disk, lines: list[str], *, fills_at: int = 0, room: int = 0) -> dict:
    """Status, output and number of written files of commands, in a process before whose n-th file the disk fills."""
    answer = disk.parent / "answer.json"
    answer.unlink(missing_ok=True)
    if not (pid := os.fork()):
        written, begin = [], tempfile.mkstemp

        def begun(*names):
            written.append(names)
            if len(written) == fills_at:
                fill(disk, room)
            return begin(*names)

        tempfile.mkstemp = begun
        out, err, statuses = io.StringIO(), io.StringIO(), []
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                for line in lines:
                    statuses.append(main(line.split()))
                    if statuses[-1]:
                        break
        except BaseException as error:
            statuses.append(repr(error))
        finally:
            result = {"statuses": statuses, "out": out.getvalue(), "err": err.getvalue(), "written": len(written)}
            answer.write_text(json.dumps(result))
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return json.loads(answer.read_text())


def results(root) -> dict[str, str]:
    """What the commands came to; manifests and the index of contents tell times."""
    names = {name: digest for name, digest in hashes(root).items() if not name.endswith((".lock", "manifest.json"))}
    return {name: digest for name, digest in names.items() if "contents-" not in name}


def test_a_disk_that_fills_at_any_write_costs_a_sentence_and_nothing_else(disk, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    make_data(away / "set", ("first", "second"), train=2, test=1, side=224)
    root, sets = disk / "root", "--training_set first second --test_set first second"
    flags = f"--data {away}/set {sets} --model_dir {root}/model --model slim --epochs 1 --threads 1"
    lines = [f"train {flags} --continual_learning Normal"]
    lines += [f"score {away}/set/real/first/testA --model {root}/model/Normal_first_fft_0_slim_checkpoint_latest.pth"]
    lines[-1] += f" --out {root}/scores.csv"
    os.environ |= {"CLDF_ROOT": str(root), "CLDF_PROGRESS": "0"}
    try:
        whole = in_child(disk, lines)
        assert whole["statuses"] == [0, 0], whole
        want = results(root)
        assert {"scores.csv", "model/Normal_first_fft_0_slim_checkpoint_latest.pth"} <= set(want)
        faults, sentences = [], 0
        for number in range(1, whole["written"] + 1):
            for room in ROOM:
                shutil.rmtree(root)
                told = in_child(disk, lines, fills_at=number, room=room)
                place = f"write {number} with {room} bytes left: {told['statuses']}, {told['err']!r}"
                partial = [path for path in root.rglob(".*") if path.suffix != ".lock" and path.name != ".lock"]
                (disk / "filler").unlink()
                *_, last = [line for line in told["err"].splitlines() if not line.startswith("note: ")] or [""]
                said = last.startswith("cldf: ") and (" free" in last or "cannot be written" in last)
                sentences += said
                if told["statuses"][-1] != 0 and (told["statuses"][-1] != 2 or not said or partial):
                    faults.append(place)
                again = in_child(disk, lines)
                if again["statuses"] != [0, 0]:
                    faults.append(f"{place}; then {again['statuses']}, {again['err']!r}")
                elif different := {name for name, _ in results(root).items() ^ want.items()}:
                    faults.append(f"{place}; then other {different}")
        print(f"{2 * whole['written']} times full, {sentences} sentences, {len(faults)} faults")
        assert not faults, "\n".join(faults)
        assert sentences >= whole["written"]
    finally:
        os.environ.pop("CLDF_ROOT")
        os.environ.pop("CLDF_PROGRESS")
