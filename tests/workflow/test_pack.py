"""Archives: what was made is found in another root, whole or not at all, and nothing that is there is lost."""

import errno
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import pytest
import yaml

from cldf_core.cli import main
from cldf_core.data import cache
from cldf_core.data.files import file_hash, save_table
from cldf_core.data.intake import archives
from cldf_core.options import UserError
from cldf_core.runs import shown
from cldf_core.runs.folder import MANIFEST, RunFolder
from cldf_core.runs.plan import planned
from cldf_core.runs.run import find_run, load_spectra, make_run
from cldf_core.workflow import pack
from cldf_core.workflow.notebooks import inputs_hash, is_done, notebook_parameters
from cldf_core.workflow.parameters import NOTEBOOKS, allowed_names
from samples import flip_a_bit, hashes, make_data, tiny_values

EXECUTED = "07_er_and_mir"


def options(agent: str = "er"):
    return notebook_parameters(EXECUTED, "smoke").options(agent)


def with_params(root: Path) -> Path:
    """A root whose profile smoke has one small data set, which is not made here."""
    for name in NOTEBOOKS:
        values = {**tiny_values(Path("data/set")), "epochs": 1}
        path = root / "params" / "smoke" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({k: v for k, v in values.items() if k in allowed_names(name)}))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    """A root with a finished run of ER, an unfinished one of MIR and an executed notebook, and its archive."""
    root = with_params(tmp_path_factory.mktemp("made"))
    make_data(root / "data" / "set", train=4, test=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLDF_ROOT", str(root))
        patch.setenv("CLDF_PROGRESS", "0")
        run = make_run(options())
        (other,) = planned([options("mir")])
        other.write_manifest({"status": "running", "options": options("mir").model_dump(), "files": {}})
        own = notebook_parameters(EXECUTED, "smoke")
        save_table(run.scores().head(3), own.folder.figures, "07_rows")
        files = own.folder.hashes(own.folder.figures / "tables" / "07_rows.csv")
        told = {"notebook": EXECUTED, "status": "finished", "options": {}, "inputs": inputs_hash(own)}
        own.folder.write_manifest({**told, "runs": [run.path.name], "files": files})
        found = pack.pack(root / "smoke.zip", "smoke")
        assert found.runs == [run.path.name]
        assert f"{other.path.name} (unfinished)" in found.left_out
        assert "00_start_here" in " ".join(found.left_out)
    return root, root / "smoke.zip"


@pytest.fixture
def archive(made) -> Path:
    return made[1]


@pytest.fixture
def elsewhere(made, root) -> Path:
    """An empty root with the same profile."""
    return with_params(root)


def changed(archive: Path, target: Path, change) -> Path:
    """A copy of an archive with another index, and what `change` does to its members."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        members = {name: old.read(name) for name in old.namelist()}
        index = json.loads(members[pack.INDEX])
        change(index, members)
        for name, content in {**members, pack.INDEX: json.dumps(index).encode()}.items():
            new.writestr(name, content)
    return target


def contents(root: Path) -> dict[str, str]:
    return {name: digest for name, digest in hashes(root).items() if not name.endswith(".lock")}


def refused(call, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert not [word for word in words if word not in str(caught.value)], caught.value


def untouched(root: Path, call, *words: str) -> None:
    before = contents(root)
    refused(call, *words)
    assert contents(root) == before


def test_in_another_root_runs_spectra_and_executed_notebooks_are_found(elsewhere, made, monkeypatch):
    told = pack.use(made[1])
    assert len(told) == 1
    monkeypatch.setattr(cache, "_write", lambda *a: pytest.fail("spectra were computed"))
    run = find_run(options())
    assert make_run(options()).path == run.path
    assert contents(run.path) == contents(made[0] / "runs" / run.path.name)
    assert set(load_spectra(options())) == {"first", "second", "third", "unseen"}
    own = notebook_parameters(EXECUTED, "smoke")
    assert is_done(own, inputs_hash(own))  # which asks for the times of images, too
    assert not [path for path in (elsewhere / "data").glob("*archive*") if path.suffix != ".lock"]


def test_a_run_whose_data_are_elsewhere_does_not_keep_a_root_from_being_packed(elsewhere, archive):
    pack.use(archive)
    runs = [Mock(kind="run", options={**options().model_dump(), "data": name}) for name in ("gone", options().data)]
    assert [own.data for own in pack._inputs([], runs)] == [options().data]


def test_equal_contents_give_an_equal_file_and_none_is_replaced(made, tmp_path, monkeypatch):
    monkeypatch.setenv("CLDF_ROOT", str(made[0]))
    pack.pack(tmp_path / "again.zip", "smoke")
    assert file_hash(tmp_path / "again.zip") == file_hash(made[1])
    refused(lambda: pack.pack(tmp_path / "again.zip", "smoke"), "exists already")


def test_a_killed_packing_leaves_nothing(made, tmp_path, monkeypatch):
    monkeypatch.setenv("CLDF_ROOT", str(made[0]))
    adding, count = pack._add, iter(range(9))

    def killed(*words) -> str:
        if next(count) == 5:
            raise KeyboardInterrupt
        return adding(*words)

    monkeypatch.setattr(pack, "_add", killed)
    with pytest.raises(KeyboardInterrupt):
        pack.pack(tmp_path / "new" / "a.zip", "smoke")
    assert not [*(tmp_path / "new").iterdir()]


@pytest.mark.parametrize("at", [0, 3, 99])
def test_a_killed_unpacking_leaves_nothing_half_and_the_next_call_ends_it(elsewhere, archive, monkeypatch, at):
    moving, moved = pack._moved, []

    def killed(stage, unit, names) -> bool:
        if len(moved) == at:
            raise KeyboardInterrupt
        moved.append(unit)
        return moving(stage, unit, names)

    with monkeypatch.context() as patch:
        patch.setattr(pack, "_moved", killed)
        if at == 99:
            patch.setattr(archives, "_write", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pack.use(archive)
    (run,) = planned([options()]) if (elsewhere / "data" / "set").exists() else [RunFolder(elsewhere / "runs" / "none")]
    assert run.damaged() is None
    assert run.finished == run.path.exists()
    pack.use(archive)
    assert find_run(options()).damaged() is None
    assert not (elsewhere / "data" / ".archive").exists()


def test_what_is_there_stays_and_an_unfinished_run_is_finished(elsewhere, made, archive):
    pack.use(archive)
    (run,) = planned([options()])
    want, own = contents(run.path), notebook_parameters(EXECUTED, "smoke").folder
    (run.path / MANIFEST).unlink()
    (run.path / "state").mkdir()
    table = own.figures / "tables" / "07_rows.csv"
    table.write_text("mine")
    settings = elsewhere / "params" / "smoke" / "00_start_here.yaml"
    settings.write_text(settings.read_text() + "# mine\n")
    (_, stay) = pack.use(archive)
    assert "params/smoke/00_start_here.yaml" in stay
    assert own.path.name in stay
    assert run.path.name not in stay
    assert contents(run.path) == want
    assert table.read_text() == "mine"
    assert settings.read_text().endswith("# mine\n")


def test_other_images_under_the_same_name_are_refused(elsewhere, archive):
    make_data(elsewhere / "data" / "set", train=4, test=2, seed=1)
    untouched(elsewhere, lambda: pack.use(archive), "would not be found", "CLDF_ROOT")


def test_damage_is_one_sentence_and_nothing_is_written(elsewhere, archive, tmp_path):
    copy = tmp_path / "copy.zip"
    for place in (0.1, 0.5, 0.9):
        shutil.copyfile(archive, copy)
        flip_a_bit(copy, place)
        untouched(elsewhere, lambda: pack.use(copy), "needed")
    copy.write_bytes(archive.read_bytes()[:-1000])
    untouched(elsewhere, lambda: pack.use(copy), "damaged")
    copy.write_text("no archive")
    untouched(elsewhere, lambda: pack.use(copy), "no whole archive")
    untouched(elsewhere, lambda: pack.use(tmp_path / "none.zip"), "no file")
    untouched(elsewhere, lambda: pack.use(archive, sha256="0" * 64), "sha256")


REFUSED = {
    "another method": (lambda index, members: index.update(code="0" * 12), "another version of the method"),
    "another format": (lambda index, members: index.update(format=9), "not of this version"),
    "no index": (lambda index, members: index.clear(), "not of this version"),
    "a file more": (lambda index, members: members.update({"data/x.csv": b"x"}), "does not tell"),
    "a file less": (lambda index, members: index["files"].update({"data/x.csv": ["", 0, 0]}), "does not tell"),
    "no versions": (lambda index, members: index.pop("versions"), "does not tell"),
    "no profile": (lambda index, members: index.pop("profile"), "does not tell"),
    "versions that are none": (lambda index, members: index["versions"].update(torch=2), "does not tell"),
    "another sha256": (lambda index, members: index["files"][a_file(index)].__setitem__(0, "0" * 64), "does not tell"),
    "another size": (lambda index, members: index["files"][a_file(index)].__setitem__(1, 1), "does not tell"),
    "no time": (lambda index, members: index["files"][a_file(index)].__setitem__(2, 10**30), "does not tell"),
}


def a_file(index) -> str:
    return next(name for name in index["files"] if name.startswith("runs/"))


def put(name: str):
    def change(index, members) -> None:
        members[name] = b"x"
        index["files"][name] = [hashlib.sha256(b"x").hexdigest(), 1, 0]

    return change


for name in ("cldf_core/x.py", "runs/.shown.json", "data/../../x.csv", "/runs/x", "figures/08.png"):
    REFUSED[name] = (put(name), "allowed")


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_archive_of_this_version_is_refused(elsewhere, archive, tmp_path, what):
    change, words = REFUSED[what]
    other = changed(archive, tmp_path / "other.zip", change)
    untouched(elsewhere, lambda: pack.use(other), words)


@pytest.mark.parametrize("place", ["runs/{run}", "data/set", "data/spectra", "params", "runs/{run}/manifest.json/x"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_in_the_way_is_told_before_anything_is_moved(elsewhere, made, archive, place, kind):
    target = elsewhere / place.format(run=next((made[0] / "runs").glob("er-*")).name)
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("mine") if kind == "file" else target.symlink_to(elsewhere / "nowhere")
    untouched(elsewhere, lambda: pack.use(archive), "which the archive has there; needed: nothing, or a f")


@pytest.mark.parametrize(
    ("name", "why"), [("a:b.csv", "cannot write"), ("CON.csv", "reserves"), ("a.csv ", "reserves")]
)
def test_what_could_not_be_unpacked_is_not_packed(made, tmp_path, monkeypatch, name, why):
    monkeypatch.setenv("CLDF_ROOT", str(made[0]))
    found = pack.contents("smoke")
    found.files["data/set/" + name] = b"x"
    monkeypatch.setattr(pack, "contents", lambda profile: found)
    refused(lambda: pack.pack(tmp_path / "a.zip", "smoke"), str(tmp_path / "a.zip"), name, why)
    assert not [*tmp_path.iterdir()]


def test_a_full_disk_is_one_sentence_and_the_same_call_goes_on(elsewhere, archive, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(archives, "SPARE", 1 << 62)
        untouched(elsewhere, lambda: pack.use(archive), "room")
    pack.use(archive)
    assert find_run(options()).finished


def test_an_archive_at_an_address_is_downloaded_checked_and_deleted(elsewhere, archive, tmp_path):
    copy = Path(shutil.copyfile(archive, tmp_path / "copy.zip"))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *words: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/copy.zip"
        flip_a_bit(copy, 0.5)
        untouched(elsewhere, lambda: pack.use(address), address)
        shutil.copyfile(archive, copy)
        pack.use(address, sha256=file_hash(archive))
        server.shutdown()
    assert find_run(options()).finished
    assert not [*(elsewhere / "data").glob(".*.download")]


# --- other versions ---


@pytest.fixture
def newer(monkeypatch) -> None:
    """Another version of torch is installed here than that which the archive's runs were made with."""
    version = shown.version
    monkeypatch.setattr(shown, "version", lambda name: "99.0" if name == "torch" else version(name))


def test_runs_of_another_torch_are_shown_and_none_is_trained_beside_them(elsewhere, made, archive, newer, capsys):
    told = pack.use(archive)
    assert "torch" in told[1]
    assert "99.0" in told[1]
    run = make_run(options())
    assert run.path.parent == elsewhere / "runs"
    assert "99.0" in capsys.readouterr().err
    assert find_run(options()).path == run.path
    own = notebook_parameters(EXECUTED, "smoke")
    assert is_done(own, inputs_hash(own))
    untouched(elsewhere, lambda: make_run(options("mir")), "only shown", "CLDF_ROOT")
    untouched(elsewhere, lambda: make_run(options(), force=True), "only shown")
    flip_a_bit(run.path / "scores.parquet")
    untouched(elsewhere, lambda: make_run(options()), "only shown")
    (run.path / "scores.parquet").unlink()
    untouched(elsewhere, lambda: make_run(options()), "only shown")
    pack.use(archive)
    assert find_run(options()).damaged() is None


def test_runs_of_two_versions_do_not_come_into_one_root(elsewhere, made, archive, monkeypatch, newer):
    shutil.copytree(made[0] / "data" / "set", elsewhere / "data" / "set")
    make_run(options())
    untouched(elsewhere, lambda: pack.use(archive), "99.0", "CLDF_ROOT")


def test_with_the_versions_of_the_archive_the_root_trains_again(elsewhere, archive, monkeypatch):
    version = shown.version
    with monkeypatch.context() as patch:
        patch.setattr(shown, "version", lambda name: "99.0" if name == "torch" else version(name))
        pack.use(archive)
    assert shown.why_shown() == ""
    assert make_run(options("mir")).finished


def test_a_damaged_record_of_versions_is_told(elsewhere, archive, newer):
    pack.use(archive)
    (elsewhere / "runs" / shown.SHOWN).write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        find_run(options())


# --- the command ---


def test_who_unpacks_does_not_wait_for_torch():
    code = "import sys, cldf_core.workflow.pack; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_command_packs_and_unpacks(made, elsewhere, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLDF_ROOT", str(made[0]))
    assert main(["archive", str(tmp_path / "a.zip"), "--profile", "smoke"]) == 0
    out, err = capsys.readouterr()
    assert f"sha256 {file_hash(tmp_path / 'a.zip')}" in out
    assert "not packed: mir-" in err
    monkeypatch.setenv("CLDF_ROOT", str(elsewhere))
    assert main(["archive", "--use", str(tmp_path / "a.zip")]) == 0
    assert str(elsewhere) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.zip", "--sha256", "0"], "--sha256"),
        (["a.zip", "--use", "--profile", "quick"], "--profile"),
        (["a.zip", "--profile", "fast"], "allowed: quick"),
        (["--use", "a.zip"], "no file"),
        ([], "FILE"),
    ],
)
def test_a_wrong_call_is_one_sentence(root, capsys, words, said):
    assert main(["archive", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_data_set_that_no_archive_may_have_is_refused(root, small_data, tmp_path):
    with_params(root)
    for path in (root / "params" / "smoke").iterdir():
        path.write_text(path.read_text().replace("data/set", "images"))
    shutil.copytree(small_data, root / "images")
    with pytest.raises(UserError, match="allowed in an archive"):
        pack.pack(tmp_path / "a.zip", "smoke")


def test_what_lies_on_another_disk_is_moved_too(tmp_path, monkeypatch):
    rename = os.rename

    def on_two_disks(source, target, **more):
        if ("stage" in str(source)) != ("stage" in str(target)):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target, **more)

    monkeypatch.setattr(os, "rename", on_two_disks)
    (tmp_path / "stage" / "run").mkdir(parents=True)
    (tmp_path / "stage" / "run" / "scores").write_text("0.5")
    (tmp_path / ".run.part").mkdir()  # of a killed call
    pack._give_place(tmp_path / "stage" / "run", tmp_path / "run")
    assert (tmp_path / "run" / "scores").read_text() == "0.5"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "stage"]
