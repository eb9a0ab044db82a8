"""A run from options to files: the same bytes each time, after a kill as well; read, not made, the second time."""

import errno
import json
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock, Timeout
from pydantic import Field

from cldf_core import options as known
from cldf_core import protocol
from cldf_core.agents import AGENTS, Agent, register
from cldf_core.data.corruptions import corrupt, corrupt_together, neighbours
from cldf_core.data.domains import DataError
from cldf_core.data.images import open_crop
from cldf_core.data.runtime import thread_count
from cldf_core.detection.detector import load_detector
from cldf_core.evaluation.metrics import detection
from cldf_core.options import Options, ReservoirOptions, UserError, checked
from cldf_core.randomness import generator, seed_sequence
from cldf_core.runs import checkpoints
from cldf_core.runs import run as run_module
from cldf_core.runs.checkpoints import load_network, load_state, save_state
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.run import collect_scores, find_run, load_spectra, make_run, training_samples
from cldf_core.runs.shown import LIBRARIES
from cldf_core.spectrum import InputSpec
from cldf_core.stream import make_steps
from samples import DAMAGES, hashes, make_data, tiny_options

ALL = tuple(AGENTS)


def results(folder: Path) -> dict[str, str]:
    """Hashes of a run's files, but for the lock and the manifest, which tells times."""
    return {name: digest for name, digest in hashes(folder).items() if name not in (".lock", "manifest.json")}


def in_root(monkeypatch, root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("CLDF_ROOT", str(root))


# --- the same bytes ---

# A process that has torch loaded and forks for each job, a line of JSON: so many children make the run, and each kills
# itself (as kill -9 does) before it observes a batch, if that is named, with a state after every batch or none within a
# step. It answers with the children's exit codes.
FORKS = """
    import json, os, signal, sys
    import torch._dynamo, torchvision  # which a run's first optimiser and network load
    from cldf_core.agents import AGENTS
    from cldf_core.options import checked
    from cldf_core.runs import checkpoints
    from cldf_core.runs.run import make_run

    def die_in(agent, batches):
        observe, done = agent.observe, [0]
        def observed(self, batch):
            done[0] += 1
            if done[0] == batches:
                os.kill(os.getpid(), signal.SIGKILL)
            return observe(self, batch)
        agent.observe = observed

    def child(job):
        os.environ["CLDF_ROOT"] = job["root"]
        if job["always"]:
            checkpoints.EVERY, checkpoints.SHARE = 0.0, float("inf")
        die_in(AGENTS[job["options"]["agent"]], job["batch"])
        manifest = make_run(checked(job["options"])).manifest
        with open(f"{job['root']}/{os.getpid()}.json", "w") as file:
            json.dump([manifest["key"], manifest["started"], manifest["seconds"]], file)

    for line in sys.stdin:
        job, children = json.loads(line), []
        for _ in range(job["processes"]):
            if not (pid := os.fork()):
                try:
                    child(job)
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(pid)
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]), flush=True)
"""
forks = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor SIGKILL")


@pytest.fixture(scope="module")
def in_children():
    """Makes a run in processes of their own; gives their exit codes."""
    command = [sys.executable, "-c", textwrap.dedent(FORKS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def make(opts: Options, root: Path, *, batch: int = 0, always: bool = False, processes: int = 1) -> list[int]:
            job = {"options": opts.model_dump(), "root": str(root), "batch": batch, "processes": processes}
            process.stdin.write(json.dumps({**job, "always": always}) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield make
        process.kill()


@pytest.fixture
def observed(monkeypatch):
    """Counts the batches that an agent observes in this process."""

    def count(agent: str) -> list[int]:
        batches: list[int] = []
        observe = AGENTS[agent].observe
        monkeypatch.setattr(AGENTS[agent], "observe", lambda self, b: batches.append(b.epoch) or observe(self, b))
        return batches

    return count


# Of the original's variant: 4 chunks of 4 images, one batch of 3 in each epoch, the fourth image is dropped.
ORIGINAL: dict[str, Any] = {"variant": "original", "network": "slim", "chunks": 4, "batch": 3}
SETTINGS = [*((agent, {}) for agent in ALL), ("lwf", ORIGINAL), ("er", ORIGINAL), ("gdumb", ORIGINAL)]
SETTINGS += [("lwf", {"lwf_heads": "told"}), ("icarl", {"exemplars": "random", "rehearsal": "none"})]


@forks
@pytest.mark.parametrize("within", [False, True], ids=["between", "within"])
@pytest.mark.parametrize(("agent", "changes"), SETTINGS, ids=[f"{a}-{[*c.values(), 'paper'][0]}" for a, c in SETTINGS])
def test_a_killed_run_goes_on_to_the_same_bytes_as_one_left_alone(
    agent, changes, within, tmp_path, monkeypatch, small_data, in_children, observed
):
    """It is killed in the middle of a step, and goes on from there, or from the step before it."""
    opts = tiny_options(agent, small_data, **changes)
    in_root(monkeypatch, tmp_path / "alone")
    batches = observed(agent)
    alone = make_run(opts)
    total = len(batches)
    in_root(monkeypatch, tmp_path / "killed")
    shutil.copytree(tmp_path / "alone" / "data", tmp_path / "killed" / "data")
    batch = total * 4 // 5
    assert in_children(opts, tmp_path / "killed", batch=batch, always=within) == [-signal.SIGKILL]
    folder = RunFolder(tmp_path / "killed" / "runs" / alone.path.name)
    assert not folder.finished
    assert 0 < len(folder.manifest["steps"]) < len(alone.manifest["steps"])
    assert not (folder.path / "scores.parquet").exists()
    batches.clear()
    resumed = make_run(opts)
    assert len(batches) == total - batch + 1 if within else total - batch + 1 <= len(batches) < total
    assert resumed.path == folder.path
    wanted = results(alone.path)
    assert results(resumed.path) == wanted
    assert {"scores.parquet", "model-step1.safetensors", "model-step3.safetensors"} <= set(wanted)
    for name in ("step", "chunk", "images", "losses", "memory_bytes"):
        assert [s[name] for s in resumed.manifest["steps"]] == [s[name] for s in alone.manifest["steps"]]
    assert resumed.manifest["resumed"] == 1
    assert resumed.manifest["images"] == alone.manifest["images"]


def test_the_same_options_twice_give_the_same_bytes(tmp_path, monkeypatch, small_data):
    written: list[dict[str, str]] = []
    for name in ("one", "two"):
        in_root(monkeypatch, tmp_path / name)
        torch.manual_seed(len(name) + len(written))
        np.random.seed(len(written))
        written.append(results(make_run(tiny_options("mir", small_data)).path))
    assert written[0] == written[1]
    assert {"scores.parquet", "model-step3.safetensors"} <= set(written[0])


# --- one run ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_data):
    """A root with a finished run of ER."""
    root = tmp_path_factory.mktemp("finished")
    opts = tiny_options("er", small_data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLDF_ROOT", str(root))
        yield opts, make_run(opts)


def test_scores_hold_one_row_per_step_split_and_image(finished, small_data):
    _, folder = finished
    scores = folder.scores()
    assert list(scores.columns) == ["step", "domain", "split", "image", "group", "label", "logit", "score"]
    assert len(scores) == 3 * 4 * 12
    assert not scores.duplicated(["step", "domain", "split", "image"]).any()
    np.testing.assert_allclose(scores["score"], 1 / (1 + np.exp(-scores["logit"])), atol=1e-12)
    for row in scores.itertuples():
        assert (small_data / row.image).is_file()
        assert row.image.startswith(f"{('real', 'fake')[row.label]}/{row.domain}/test")
    assert list(dict.fromkeys(scores["domain"])) == ["first", "second", "third", "unseen"]


def test_the_stored_network_gives_the_stored_scores(finished):
    opts, folder = finished
    network, read = load_network(folder.path / "model-step3.safetensors")
    assert read.model_dump() == opts.model_dump()
    assert not network.training
    spectra = load_spectra(opts)["second"]
    rows = spectra.table.query("split == 'test'")
    with torch.no_grad():
        logits = network(torch.from_numpy(spectra.array[rows["row"]].astype(np.float32)))
    want = folder.scores().query("step == 3 and domain == 'second'")
    assert want["image"].tolist() == rows["image"].tolist()
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], want["logit"], atol=1e-4)


def test_a_told_domain_is_that_of_the_stream_and_unseen_ones_get_the_newest_outputs(root, small_data):
    opts = tiny_options("lwf", small_data, lwf_heads="told", stream=["third", "first", "second"])
    folder, spectra = make_run(opts), load_spectra(opts)
    scores = folder.scores()
    for step in (1, 2, 3):
        network, _ = load_network(folder.model(step))
        for name, heads in {"third": (0, 0, 0), "first": (0, 1, 1), "second": (0, 1, 2), "unseen": (0, 1, 2)}.items():
            rows = spectra[name].table.query("split == 'test'")["row"]
            images = torch.from_numpy(spectra[name].array[rows].astype(np.float32))
            stored = scores.query("step == @step and domain == @name")["logit"]
            np.testing.assert_allclose(network.score(images, domain=heads[step - 1]), stored, atol=1e-4)
    assert not np.allclose(network.score(images), stored, atol=1e-3)  # untold, the best of all answers
    bytes_of_teachers = [step["memory_bytes"] for step in folder.manifest["steps"]]
    assert np.diff(bytes_of_teachers).tolist() == [2 * 4 * (8 * 8 + 1)] * 2  # two more outputs, from 64 features


def test_the_manifest_tells_what_was_done(finished):
    opts, folder = finished
    manifest = folder.manifest
    assert manifest["status"] == "finished"
    assert manifest["options"] == opts.model_dump()
    assert manifest["threads"] == 1
    assert folder.path.name == f"er-{manifest['key']}"
    assert manifest["data"] == {n: s.fingerprint for n, s in load_spectra(opts).items()}
    assert {name: manifest["versions"][name] for name in LIBRARIES} == {n: version(n) for n in LIBRARIES}
    assert manifest["notes"] == []
    assert [s["domain"] for s in manifest["steps"]] == ["first", "second", "third"]
    for step in manifest["steps"]:
        # 2 epochs of 16 images; each of 2 * 3 batches but the very first brings 3 replayed ones.
        assert step["images"] == 2 * 16 + 3 * (2 * 3 - (step["step"] == 1))
        assert len(step["losses"]) == 2
        assert step["memory_bytes"] == 12 * 3 * 32 * 17 * 2
    assert manifest["images"] == 47 + 50 + 50
    assert manifest["seconds"] == pytest.approx(sum(s["seconds"] for s in manifest["steps"]), abs=0.01)
    assert manifest["memory_rise_bytes"] is None or 0 < manifest["memory_rise_bytes"] < 1e9
    assert {"git", "started"} <= set(manifest)


def test_a_finished_run_is_read_and_not_made_again(finished, monkeypatch):
    opts, folder = finished
    before = hashes(folder.path)
    monkeypatch.setattr(run_module, "build_agent", lambda options: pytest.fail("nothing may be trained"))
    assert make_run(opts).path == folder.path
    assert find_run(opts).path == folder.path
    assert hashes(folder.path) == before
    with pytest.raises(pytest.fail.Exception):
        make_run(tiny_options("er", Path(opts.data), seed=1))


def test_force_makes_a_finished_run_again(root, small_data):
    opts = tiny_options("sequential", small_data, stream=["first"], unseen=[], epochs=1)
    folder = make_run(opts)
    before, started = results(folder.path), folder.manifest["started"]
    folder.write_manifest({**folder.manifest, "started": "before"})
    assert make_run(opts).manifest["started"] == "before"  # not asked for: taken as it is
    assert make_run(opts, force=True).manifest["started"] >= started
    assert results(folder.path) == before
    assert folder.finished


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["manifest.json", "scores.parquet", "model-step1.safetensors"])
def test_a_finished_run_with_a_damaged_file_is_never_read_and_made_again(root, small_data, name, damage, capsys):
    opts = tiny_options("sequential", small_data, stream=["first"], unseen=[], epochs=1)
    folder = make_run(opts)
    before, path = results(folder.path), folder.path / name
    damage(path)
    sentence = f"{path} is damaged, changed or missing; make it again with the command that made it: cldf train"
    with pytest.raises(UserError, match=re.escape(sentence)):
        find_run(opts)
    readers = {"scores.parquet": folder.scores, "model-step1.safetensors": lambda: load_network(folder.model(1))}
    for reader in [readers[name]] if name in readers else readers.values():
        with pytest.raises(UserError, match=re.escape(sentence)):
            reader()
    assert folder.finished == (name != "manifest.json")
    capsys.readouterr()
    assert make_run(opts).path == folder.path
    assert capsys.readouterr().err == f"note: {path} is damaged, changed or missing; the run is made again\n"
    assert results(folder.path) == before
    assert find_run(opts).finished


@pytest.fixture
def stopped(root, small_data, monkeypatch):
    """Options of a run that stopped in its third step, its folder, and what it comes to."""
    opts = tiny_options("er", small_data, epochs=1)
    folder = make_run(opts)
    before = results(folder.path)
    shutil.rmtree(folder.path)
    with monkeypatch.context() as patch:
        begin = AGENTS["er"].begin_step
        patch.setattr(AGENTS["er"], "begin_step", lambda self, s: 1 / 0 if s.name == "third" else begin(self, s))
        with pytest.raises(ZeroDivisionError):
            make_run(opts)
    return opts, folder, before


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_stopped_run_goes_on_from_what_is_whole_with_a_note(stopped, damage, capsys, tmp_path, observed):
    opts, folder, before = stopped
    names = [name for name in hashes(folder.path) if name != ".lock"]
    states, memories = (sorted(folder.path.glob(f"state/{which}*.pt")) for which in ("[0-9]", "memory"))
    assert [path.name[:6] for path in states] == ["1-0-0-", "2-0-0-"]
    assert len(memories) == 2
    assert len(names) == 1 + 2 * 4
    kept, batches = shutil.copytree(folder.path, tmp_path / "kept"), observed("er")
    for name in names:
        shutil.rmtree(folder.path)
        shutil.copytree(kept, folder.path)
        damage(folder.path / name)
        batches.clear()
        assert results(make_run(opts).path) == before
        note, again = capsys.readouterr().err, len(batches) // 3 - 1  # steps, of three batches each
        if folder.path / name in (states[0], memories[0]):
            assert (note, again) == ("", 0)  # nobody needs them
        else:
            assert note.startswith(f"note: {folder.path / name} "), note
            assert "again" in note
            first = ("model-step1.safetensors", "state/scores-step0.parquet")
            assert again == (0 if name == "manifest.json" else 2 if name in first else 1)


@pytest.mark.parametrize("read", [make_run, find_run])
def test_of_a_run_that_is_killed_between_its_end_and_its_cleaning_nothing_is_left(root, small_data, monkeypatch, read):
    opts = tiny_options("er", small_data, stream=["first"])
    with monkeypatch.context() as patch:
        end, cleaned = RunFolder.forget_state, []
        patch.setattr(RunFolder, "forget_state", lambda self: 1 / 0 if cleaned else cleaned.append(end(self)))
        with pytest.raises(ZeroDivisionError):  # the first call is at its beginning
            make_run(opts)
    (folder,) = [RunFolder(path) for path in (root / "runs").glob("er-*")]
    assert folder.finished
    assert list(folder.path.glob("state/*"))
    before = folder.manifest
    assert read(opts).manifest == before
    assert not (folder.path / "state").exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory\nmore"), "[enforce fail]"),
    ],
)
def test_a_state_that_cannot_be_read_at_the_moment_is_kept(stopped, monkeypatch, error, reason):
    opts, folder, before = stopped
    files = hashes(folder.path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.torch, "load", Mock(side_effect=error))
        with pytest.raises(UserError, match=re.escape(f" cannot be read ({reason}")):
            make_run(opts)
    assert hashes(folder.path) == files
    assert results(make_run(opts).path) == before
    assert folder.manifest["resumed"] == 1


def test_a_folder_in_a_states_place_is_damage(stopped, capsys):
    opts, folder, before = stopped
    newest = sorted(folder.path.glob("state/[0-9]*.pt"))[-1]
    newest.unlink()
    (newest / "more").mkdir(parents=True)
    assert results(make_run(opts).path) == before
    assert "is damaged (Is a directory); the run is made again from before it" in capsys.readouterr().err


def test_the_state_of_another_run_is_left_aside(stopped, capsys):
    opts, folder, before = stopped
    for path in folder.path.glob("state/[0-9]*.pt"):
        save_state({**load_state(path), "key": "another"}, path)
    assert results(make_run(opts).path) == before
    assert capsys.readouterr().err.count("belongs to another run; the run is made again from before it") == 2


def test_what_is_remembered_is_written_only_when_it_has_changed(root, small_data, monkeypatch):
    """With a state after every batch: ER's memory changes in the first of three epochs."""
    opts, written = tiny_options("er", small_data, epochs=3, stream=["first"], unseen=["second"]), []
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))
    save = checkpoints.save_state
    monkeypatch.setattr(checkpoints, "save_state", lambda state, path: written.append(path.name) or save(state, path))
    make_run(opts)
    memories = [name for name in written if name.startswith("memory")]
    assert len(written) - len(memories) == 3 * 3 + 1
    assert len(memories) == len(set(memories)) == 3


def test_states_take_a_small_share_of_the_time(tmp_path, monkeypatch):
    """After one that took two seconds, the next is due after a minute or, with less than a minute, after 67 seconds."""
    states, now = checkpoints.States(RunFolder(tmp_path / "er-0")), [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    for cost, wait in ((0.1, 60), (2, 200 / 3)):
        states.since, states.cost = now[0], cost
        now[0] += wait - 0.01
        assert not states.are_due()
        now[0] += 0.02
        assert states.are_due()


def test_the_key_hangs_on_the_contents_of_the_images(root, tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=4, test=4)
    opts = tiny_options("sequential", data, stream=["first"], unseen=[])
    before = make_run(opts).path
    image = data / "real" / "first" / "testA" / "image00.png"
    shutil.copyfile(data / "fake" / "first" / "testA" / "image03.png", image)
    with pytest.raises(UserError, match="no finished run"):
        find_run(opts)
    assert make_run(opts).path != before


def test_a_domain_without_what_it_needs_is_refused(root, tmp_path):
    data = make_data(tmp_path / "set", ("first", "second"), train=4, test=4)
    for kind in ("real", "fake"):
        shutil.rmtree(data / kind / "second" / "trainA")
    with pytest.raises(UserError, match="'second' .* has no usable training image"):
        load_spectra(tiny_options("sequential", data, stream=["first", "second"], unseen=[]))
    load_spectra(tiny_options("sequential", data, stream=["first"], unseen=["second"]))
    with pytest.raises(UserError, match="'first' .* has no usable image of split validation"):
        load_spectra(tiny_options("sequential", data, stream=["first"], unseen=[], splits=["validation"]))


def test_limit_takes_as_many_of_each_class(root, small_data):
    opts = tiny_options("sequential", small_data, limit=3)
    stream = training_samples(opts, load_spectra(opts))
    for _, samples in stream:
        assert np.bincount(samples.labels).tolist() == [3, 3]
    numbers = np.concatenate([samples.numbers for _, samples in stream])
    assert len(set(numbers)) == 18
    other = tiny_options("sequential", small_data, limit=3, seed=1)
    rows = [s.where[:, 1].tolist() for _, s in stream]
    assert rows != [s.where[:, 1].tolist() for _, s in training_samples(other, load_spectra(other))]


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({"limit_new": 3}, [None, 3, 3]),
        ({"limit_new": 3, "limits": {"third": 5}}, [None, 3, 5]),
        ({"limits": {"first": 2}}, [2, None, None]),
        ({"limit_new": 3, "limit": 2}, [2, 2, 2]),
        ({"limit_new": 1000}, [None, None, None]),
    ],
)
def test_new_domains_can_have_fewer_images_and_as_many_updates(root, small_data, changes, most):
    whole = load_spectra(tiny_options("sequential", small_data))
    of_each = [domain.table.query("split == 'train'")["label"].value_counts().min() for domain in whole.values()]
    wanted = [min(count, limit or count) for count, limit in zip(of_each, most, strict=False)]
    steps = {}
    for limited in ("equal-updates", "equal-epochs"):
        opts = tiny_options("sequential", small_data, **changes, limited=limited)
        stream = training_samples(opts, load_spectra(opts))
        assert [np.bincount(samples.labels).tolist() for _, samples in stream] == [[n, n] for n in wanted]
        steps[limited] = [entry["images"] for entry in make_run(opts).manifest["steps"]]
    epochs, batch = 2, 6
    assert steps["equal-epochs"] == [epochs * 2 * n for n in wanted]
    before = [min(count, changes.get("limit", count)) for count in of_each]
    for images, n, count in zip(steps["equal-updates"], wanted, before, strict=False):
        passes = -(-epochs * -(-2 * count // batch) // -(-2 * n // batch))
        assert images == passes * 2 * n
    first, other = (tiny_options("sequential", small_data, **changes, seed=seed) for seed in (0, 1))
    drawn = [training_samples(opts, whole)[1][1].where[:, 1].tolist() for opts in (first, other)]
    assert (drawn[0] != drawn[1]) == (wanted[1] < of_each[1])  # each seed draws its own


def test_training_images_are_never_tested(root, small_data):
    opts = tiny_options("sequential", small_data)
    domains = load_spectra(opts)
    for (name, samples), domain in zip(training_samples(opts, domains), domains.values(), strict=False):
        rows = set(samples.where[:, 1])
        assert name == domain.name
        assert not rows & set(domain.table.query("split == 'test'")["row"])
        assert rows == set(domain.table.query("split == 'train'")["row"])


# --- options of the data ---


def test_chunk_after_chunk_sees_its_corruption_and_test_images_none(root, small_data, monkeypatch):
    made = []
    corrupted = run_module.corrupted
    monkeypatch.setattr(run_module, "corrupted", lambda *a: made.append(a[2]) or corrupted(*a))
    changes = {"stream": ["first"], "chunks": 5, "epochs": 1, "limit": 5}
    opts = tiny_options("er", small_data, corruption="noise", severities=[0.0, 2.0, 1.0, 2.0], **changes)
    domains = load_spectra(opts)
    ((_, versions),) = training_samples(opts, domains)
    assert made == [0.0, 2.0, 1.0]  # 2.0 once
    assert len(versions) == 4
    (plain,) = (s for _, s in training_samples(tiny_options("er", small_data, **changes), domains))
    for changed in versions:
        for name in ("labels", "domains", "numbers", "where"):
            np.testing.assert_array_equal(getattr(changed, name), getattr(plain, name))
    assert torch.equal(versions[0].read(), plain.read())
    assert torch.equal(versions[1].read(), versions[3].read())
    # 2 sigma of noise takes a spectrum further away than 1 sigma, and every image somewhere.
    far, near = ((versions[k].read() - plain.read()).abs().mean((1, 2, 3)) for k in (1, 2))
    assert (near > 0.01).all()
    assert far.mean() > near.mean()
    seen = {}
    observe = AGENTS["er"].observe

    def observed(self, batch):
        seen[batch.numbers[0].item()] = batch
        return observe(self, batch)

    monkeypatch.setattr(AGENTS["er"], "observe", observed)
    folder = make_run(opts)
    chunks = [set(part) for part in np.array_split(generator(0, "shuffle", 0).permutation(10), 5)]
    assert len(seen) == 5
    for batch in seen.values():
        numbers = batch.numbers.numpy()
        (chunk,) = (c for c, part in enumerate(chunks) if set(numbers) == part)
        assert torch.equal(batch.spectra, versions[(0, 1, 2, 3, 0)[chunk]][numbers].read())
    scores = folder.scores()
    assert set(scores["domain"]) == {"first", "unseen"}


def test_versions_that_no_chunk_sees_are_not_made(root, small_data):
    opts = tiny_options("sequential", small_data, stream=["first"], chunks=2, corruption="blur", severities=[0, 1, 2])
    ((_, versions),) = training_samples(opts, load_spectra(opts))
    assert len(versions) == 2
    assert len(list((root / "data" / "spectra").glob("first-*.npy"))) == 2


def test_what_is_tested_is_the_same_with_and_without_a_corruption(root, small_data, monkeypatch):
    tested = []
    score = protocol.score_samples
    monkeypatch.setattr(protocol, "score_samples", lambda of, s: tested.append(s.read()) or score(of, s))
    short = {"stream": ["first"], "epochs": 1, "severities": [0.5]}
    for corruption in ("none", "occlusion"):
        make_run(tiny_options("sequential", small_data, corruption=corruption, **short))
    plain, shifted = tested[:2], tested[2:]
    assert len(plain) == len(shifted) == 2
    assert all(torch.equal(a, b) for a, b in zip(plain, shifted, strict=True))


def test_joint_training_takes_the_version_of_each_domains_chunk(root, small_data):
    changes = {"chunks": 2, "epochs": 1, "corruption": "noise", "severities": [0.0, 1.0]}
    assert make_run(tiny_options("joint", small_data, stream=["first", "second"], **changes)).finished


def test_validation_groups_are_drawn_from_the_training_images_and_scored(root, small_data):
    short = {"splits": ["validation", "test"], "epochs": 1, "stream": ["first"]}
    opts = tiny_options("sequential", small_data, validation_share=0.3, **short)
    domains = load_spectra(opts)
    table = domains["first"].table
    groups = {split: set(table.loc[table["split"] == split, "group"]) for split in ("train", "validation")}
    assert (len(groups["train"]), len(groups["validation"])) == (6, 2)  # 8 pairs of a real and a fake image
    assert not groups["train"] & groups["validation"]
    # Nothing is drawn from a domain that is not trained on.
    assert set(domains["unseen"].table.query("split == 'validation'")["image"]) == set()
    ((_, samples),) = training_samples(opts, domains)
    assert set(samples.where[:, 1]) == set(table.loc[table["split"] == "train", "row"])
    folder = make_run(opts)
    scored, drawn = (set(t.loc[t["split"] == "validation", "image"]) for t in (folder.scores(), table))
    assert scored == drawn
    assert folder.manifest["notes"] == ["unseen has no validation images, so none are scored"]


def test_an_untested_domain_is_trained_on_and_not_scored(root, tmp_path):
    data = make_data(tmp_path / "set", ("first", "second"), train=4, test=4)
    for kind in ("real", "fake"):
        shutil.rmtree(data / kind / "second" / "testA")
    both = {"stream": ["first", "second"], "unseen": [], "epochs": 1, "splits": ["validation", "test"]}
    with pytest.raises(DataError, match="'second' in .* has no usable image of split validation or test"):
        load_spectra(tiny_options("sequential", data, **both))
    folder = make_run(tiny_options("sequential", data, untested=["second"], **both))
    assert set(folder.scores()["domain"]) == {"first"}
    assert sorted(folder.scores()["step"].unique()) == [1, 2]
    assert [s["domain"] for s in folder.manifest["steps"]] == ["first", "second"]
    assert folder.manifest["notes"] == ["first has no validation images, so none are scored"]
    # With images it is not scored either.
    folder = make_run(tiny_options("sequential", data, **{**both, "stream": ["second", "first"]}, untested=["second"]))
    assert set(folder.scores()["domain"]) == {"first"}
    make_data(data, ("second",), train=4, test=4)
    folder = make_run(tiny_options("sequential", data, **both, untested=["second"]))
    assert set(folder.scores()["domain"]) == {"first"}


def test_a_run_that_could_score_nothing_is_refused(root, small_data):
    opts = tiny_options("sequential", small_data, stream=["first"], unseen=[], untested=["first"])
    with pytest.raises(DataError, match=r"untested is \['first'\], and there is no other domain"):
        make_run(opts)


@pytest.mark.parametrize("order", ["fixed", "shuffled"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_order_and_drop_last_reach_the_batches(root, small_data, monkeypatch, order, drop_last):
    seen: dict[int, list[list[int]]] = {0: [], 1: []}
    observe = AGENTS["sequential"].observe

    def observed(self, batch):
        seen[batch.epoch].append(batch.numbers.tolist())
        return observe(self, batch)

    monkeypatch.setattr(AGENTS["sequential"], "observe", observed)
    make_run(tiny_options("sequential", small_data, stream=["first"], unseen=[], order=order, drop_last=drop_last))
    assert (seen[0] == seen[1]) == (order == "fixed")
    assert [len(batch) for batch in seen[0]] == ([6, 6] if drop_last else [6, 6, 4])


def test_more_chunks_than_images_are_an_error_of_the_data(root, small_data):
    opts = tiny_options("sequential", small_data, chunks=17)
    with pytest.raises(DataError, match=r"'first' has 16 training images; needed: at least 17, one for each chunk"):
        make_run(opts)


CASES = [(agent, "second/trainA") for agent in ALL] + [("sequential", "first/testA")]


@pytest.mark.parametrize("kind", ["real", "fake"])
@pytest.mark.parametrize(("agent", "place"), CASES)
def test_a_domain_of_one_class_goes_through(agent, place, kind, root, tmp_path):
    data = make_data(tmp_path / "set", ("first", "second"), train=4, test=3)
    shutil.rmtree(data / kind / place)
    folder = make_run(tiny_options(agent, data, stream=["first", "second"], unseen=[], epochs=1, memory_epochs=1))
    scores = folder.scores()
    assert np.isfinite(scores["logit"]).all()
    cell = scores[(scores["step"] == 2) & (scores["domain"] == place.split("/")[0])]
    metrics = detection(cell["label"].to_numpy(), cell["score"].to_numpy())
    undefined = {f"accuracy on {kind}", "balanced accuracy", "AUC", "AP", "EER", "TPR at 5 % FPR"}
    want = undefined if place == "first/testA" else set()
    assert {name for name, value in metrics.items() if np.isnan(value)} == want


@pytest.mark.parametrize("kind", ["real", "fake"])
@pytest.mark.parametrize("agent", ["separate", "icarl", "gdumb", "lwf", "mir"])
def test_a_stream_that_begins_with_one_class_only_goes_through_in_both_variants(agent, kind, root, tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=4, test=3)
    shutil.rmtree(data / kind)
    for changes in ({}, {"variant": "original", "network": "slim", "chunks": 2, "batch": 2}):
        folder = make_run(tiny_options(agent, data, stream=["first"], unseen=[], **changes))
        assert np.isfinite(folder.scores()["logit"]).all()


@forks
def test_two_processes_share_one_run(tmp_path, small_data, in_children):
    assert in_children(tiny_options("sequential", small_data, epochs=1), tmp_path, processes=2) == [0, 0]
    one, other = (path.read_text() for path in tmp_path.glob("*.json"))
    assert one == other  # one made it, the other read it
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_run_in_the_making_is_locked(root, small_data, monkeypatch):
    opts = tiny_options("sequential", small_data, stream=["first"], unseen=[], epochs=1)
    begin, refused = AGENTS["sequential"].begin_step, []

    def locked(self, step):
        (folder,) = (root / "runs").iterdir()
        try:
            FileLock(folder / ".lock", is_singleton=False).acquire(timeout=0)
        except Timeout:
            refused.append(folder)
        return begin(self, step)

    monkeypatch.setattr(AGENTS["sequential"], "begin_step", locked)
    make_run(opts)
    assert len(refused) == 1


def test_in_a_read_only_folder_what_is_finished_is_read_and_nothing_is_lost(root, small_data, monkeypatch):
    opts = tiny_options("sequential", small_data, stream=["first"], unseen=[], epochs=1)
    folder = make_run(opts)

    def refuse(*arguments, **settings):
        raise OSError(errno.EROFS, "Read-only file system", str(folder.path))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert make_run(opts).path == find_run(opts).path == folder.path
    scores = (folder.path / "scores.parquet").read_bytes()
    for case in ("forced", "damaged", "unfinished"):
        if case == "damaged":
            (folder.path / "scores.parquet").write_bytes(scores[1:])
        if case == "unfinished":
            (folder.path / "scores.parquet").write_bytes(scores)
            folder.write_manifest({**folder.manifest, "status": "running"})
        before = hashes(folder.path)
        with pytest.raises(UserError, match=r"sequential-\w+ cannot be used \(Read-only file system\)$"):
            make_run(opts, force=case == "forced")
        assert hashes(folder.path) == before


def test_collect_joins_runs_under_their_agents_names(finished):
    _, folder = finished
    table = collect_scores([folder, folder])
    assert set(table["agent"]) == {"er"}
    assert len(table) == 2 * len(folder.scores())


# --- an agent of one's own ---


class LazyOptions(ReservoirOptions):
    haste: float = Field(1.0, ge=0, le=1)


class Lazy(Agent):
    options: LazyOptions

    def loss(self, batch):
        return self.options.haste * self.cross_entropy(batch)


@pytest.fixture
def registered():
    """`register`; after the test everything is forgotten."""
    registries = (AGENTS, known.AGENTS, known.FIELDS)
    before = [dict(registry) for registry in registries]
    yield register
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


def test_a_registered_agent_runs_and_is_found(root, small_data, registered):
    registered("lazy", Lazy, LazyOptions)
    opts = tiny_options("lazy", small_data, haste=0.5)
    folder = make_run(opts)
    assert folder.path.name.startswith("lazy-")
    assert folder.manifest["options"] == opts.model_dump()
    assert (opts.memory, opts.haste, checked({"agent": "lazy"}).haste) == (12, 0.5, 1.0)
    assert "candidates" not in opts.model_dump()
    with pytest.raises(UserError, match="haste is 2; allowed: a number from 0 to 1"):
        tiny_options("lazy", small_data, haste=2)
    assert find_run(opts).path == folder.path
    assert set(folder.scores()["step"]) == {1, 2, 3}
    # Its network can be used where nobody has registered it.
    del AGENTS["lazy"], known.AGENTS["lazy"]
    detector = load_detector(str(folder.path))
    assert detector.options.agent == "lazy"
    assert detector.options.model_dump() == {name: getattr(opts, name) for name in Options.model_fields}
    with pytest.raises(UserError, match="agent is 'lazy'; allowed: separate, sequential"):
        tiny_options("lazy", small_data)


@pytest.mark.parametrize("name", ["mir", "two words"])
def test_a_registration_that_cannot_be_is_refused(registered, name):
    before = dict(known.AGENTS)
    with pytest.raises(ValueError, match=f"the agent's name is '{name}'; allowed"):
        registered(name, Agent)
    assert before == known.AGENTS


# --- threads ---


def test_the_thread_count_is_set_and_restored():
    before = torch.get_num_threads()
    with thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("corruption", ["blur", "occlusion"])
def test_the_images_of_a_chunk_are_corrupted_together_in_its_order(corruption, root, small_data):
    changes = {"corruption": corruption, "severities": [0.0, 0.7], "chunks": 2}
    opts = tiny_options("lwf", small_data, variant="original", **changes)
    domains = load_spectra(opts)
    ((_, versions), *_) = training_samples(opts, domains)
    first, second, *_ = make_steps(training_samples(opts, domains), opts)
    training = domains["first"].table.query("split == 'train'")["image"].to_numpy()
    spec = InputSpec.from_options(opts)
    crops = {name: open_crop(small_data / name, spec) for name in training[second.samples.numbers]}
    around = neighbours([*crops], corruption, 0.7)
    seed = seed_sequence(opts.seed, "corruption", next(iter(crops)))
    want = [corrupt_together(np.stack([crops[n] for n in near]), corruption, 0.7, seed=seed) for near in around]
    np.testing.assert_allclose(second.samples.read().numpy(), spec.network_input(np.stack(want)), atol=1e-6)
    alone = [corrupt(crop, corruption, 0.7, seed=[opts.seed, 0]) for crop in crops.values()]
    assert np.abs(second.samples.read().numpy() - spec.network_input(np.stack(alone))).max() > 0.1
    clean = np.stack([domains["first"].array[row] for _, row in first.samples.where])
    np.testing.assert_array_equal(first.samples.read().numpy(), clean)
    assert len(versions) == 2


def test_a_table_that_a_notebook_keeps_is_made_again_for_other_parts_other_source_and_after_damage(tmp_path, capsys):
    folder, made = RunFolder(tmp_path), list[str]()

    def table() -> pd.DataFrame:
        made.append("table")
        return pd.DataFrame({"value": [0.5, float("nan")], "name": ["a", "b"]})

    def other() -> pd.DataFrame:
        made.append("other")
        return pd.DataFrame({"value": [1.0]})

    first = folder.once("numbers", table, "er-1a2b")
    pd.testing.assert_frame_equal(folder.once("numbers", table, "er-1a2b"), first)
    assert made == ["table"]
    folder.once("numbers", table, "er-3c4d")
    assert folder.once("numbers", other, "er-1a2b")["value"].tolist() == [1.0]
    assert made == ["table", "table", "other"]
    for path in tmp_path.glob("numbers-*.parquet"):
        path.write_bytes(path.read_bytes()[:-1])
    pd.testing.assert_frame_equal(folder.once("numbers", table, "er-1a2b"), first)
    assert made[3:] == ["table"]
    assert "is damaged and is made again" in capsys.readouterr().err
