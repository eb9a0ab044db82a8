"""A run that goes on from a finished one ends in the bytes of one that was trained from the beginning."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from cldf_core.agents import AGENTS
from cldf_core.options import Options, UserError
from cldf_core.runs import continuation
from cldf_core.runs.checkpoints import KeptStates
from cldf_core.runs.continuation import continued
from cldf_core.runs.folder import KEPT, LINEAGE, STATE, RunFolder
from cldf_core.runs.plan import planned
from cldf_core.runs.run import make_run
from samples import ORIGINALS, hashes, tiny_options

BEFORE = {"stream": ["first", "second"], "unseen": ["unseen"], "epochs": 1}
AFTER = {**BEFORE, "stream": ["first", "second", "third"]}


def in_root(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    root.mkdir(exist_ok=True)
    monkeypatch.setenv("CLDF_ROOT", str(root))


def results(run: RunFolder) -> dict[str, str]:
    """Hashes of networks and scores."""
    return {name: digest for name, digest in hashes(run.path).items() if name.startswith(("model", "scores"))}


def check_equal(before: Options, after: Options, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunFolder:
    in_root(monkeypatch, tmp_path / "whole")
    whole = make_run(after)
    assert all(s["images"] for s in whole.manifest["steps"]), "each step trains"
    in_root(monkeypatch, tmp_path / "parts")
    start = make_run(before, keep_state=True)
    found = continued(after, start)
    assert found.path.name == whole.path.name
    assert results(found) == results(whole)
    assert len(results(found)) == len(after.stream) + 1
    assert not (found.path / STATE).exists()
    for name in ("images", "losses", "memory_bytes", "step", "domain", "chunk"):
        assert [s[name] for s in found.manifest["steps"]] == [s[name] for s in whole.manifest["steps"]], name
    lineage = json.loads((found.path / LINEAGE).read_text())
    assert (lineage["from"], lineage["steps"], lineage["equal"]) == (start.path.name, len(before.stream), True)
    return found


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_goes_on_as_if_it_had_never_stopped(agent, small_data, tmp_path, monkeypatch):
    before, after = (tiny_options(agent, small_data, **values) for values in (BEFORE, AFTER))
    check_equal(before, after, monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("agent", "more"),
    [
        ("er", ORIGINALS),
        ("icarl", ORIGINALS),
        ("gdumb", ORIGINALS),
        ("lwf", ORIGINALS),
        ("lwf", {"lwf_heads": "told"}),
        ("sequential", {"schedule": "constant", "chunks": 2}),
        ("mir", {"chunks": 3, "limit_new": 3}),
    ],
)
def test_so_do_their_variants(agent, more, small_data, tmp_path, monkeypatch):
    before, after = (tiny_options(agent, small_data, **values, **more) for values in (BEFORE, AFTER))
    check_equal(before, after, monkeypatch, tmp_path)


def test_new_domains_have_limits_and_tests_of_their_own(small_data, tmp_path, monkeypatch):
    """What was not tested before is scored by the networks that are there; domains can be added one by one."""
    before = tiny_options("er", small_data, **{**BEFORE, "unseen": ["third"], "splits": ["test"]})
    after = {**AFTER, "limits": {"third": 4}, "untested": ["second"]}
    found = check_equal(before, tiny_options("er", small_data, **after), monkeypatch, tmp_path)
    scores = found.scores()
    assert set(scores.loc[scores["step"] == 1, "domain"]) == {"first", "third", "unseen"}
    more = {**after, "stream": [*after["stream"], "unseen"], "unseen": []}
    last = continued(tiny_options("er", small_data, **more), found)
    assert last.manifest["steps"][-1]["domain"] == "unseen"
    in_root(monkeypatch, tmp_path / "whole")
    assert results(last) == results(make_run(tiny_options("er", small_data, **more)))


def test_one_that_is_killed_goes_on_from_its_own_state(small_data, tmp_path, monkeypatch):
    before, after = (tiny_options("er", small_data, **values) for values in (BEFORE, AFTER))
    in_root(monkeypatch, tmp_path)
    start = make_run(before, keep_state=True)
    make = continuation.make_run

    def stopped(*_: object, **__: object) -> RunFolder:
        raise KeyboardInterrupt

    monkeypatch.setattr(continuation, "make_run", stopped)
    with pytest.raises(KeyboardInterrupt):
        continued(after, start)
    monkeypatch.setattr(continuation, "make_run", make)
    shutil.rmtree(start.path / KEPT)  # it is not needed any more
    found = continued(after, start)
    assert found.manifest["status"] == "finished"
    assert continued(after, start).manifest == found.manifest, "read, not made again"


def test_one_that_is_killed_before_its_state_is_there_begins_from_the_other_run_again(
    small_data, tmp_path, monkeypatch
):
    before, after = (tiny_options("er", small_data, **values) for values in (BEFORE, AFTER))
    in_root(monkeypatch, tmp_path)
    start = make_run(before, keep_state=True)
    save = continuation.States.save

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(continuation.States, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        continued(after, start)
    monkeypatch.setattr(continuation.States, "save", save)
    assert continued(after, start).manifest["resumed"] == 1, "it has not trained from the beginning"


@pytest.mark.parametrize("name", [".2-0-0-200.pt.0-1-x.pt", ".memory-200.pt.0-1-x.pt", "2-0-0-200.pt"])
def test_so_it_does_where_its_states_are_partly_written_or_damaged(name, small_data, tmp_path, monkeypatch):
    before, after = (tiny_options("er", small_data, **values) for values in (BEFORE, AFTER))
    in_root(monkeypatch, tmp_path)
    start = make_run(before, keep_state=True)
    (folder,) = planned([after])
    (folder.path / STATE).mkdir(parents=True)
    (folder.path / STATE / name).write_bytes(b"half a state")
    assert continued(after, start).manifest["resumed"] == 1, "it has not trained from the beginning"


def test_a_run_that_was_killed_before_its_end_keeps_its_state(small_data, tmp_path, monkeypatch):
    in_root(monkeypatch, tmp_path)
    options = tiny_options("er", small_data, **BEFORE)

    class Killed:
        def begin(self, folder: RunFolder) -> None: ...

        def epoch(self, loss: float) -> None: ...

        def tested(self, scores: pd.DataFrame) -> None:
            if scores["step"].eq(len(options.stream)).any():
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_run(options, watcher=Killed(), keep_state=True)
    run = make_run(options, keep_state=True)
    (state, place, _facts) = next(KeptStates(run).newest())
    assert place.steps == len(options.stream)
    assert state["images"] == run.manifest["images"]
    assert 0 < run.kept_bytes < 10_000_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stream": ["first", "third", "second"]}, r"stream is \['first', 'third', 'second'\]; needed, to go on"),
        ({"lr": 0.5}, r"lr is 0.5; needed, to go on from er-\w+: 0"),
        ({"limits": {"first": 3}}, "limits of 'first' differ"),
    ],
)
def test_what_does_not_go_on_is_refused_and_nothing_is_left(changes, said, small_data, tmp_path, monkeypatch):
    in_root(monkeypatch, tmp_path)
    start = make_run(tiny_options("er", small_data, **BEFORE), keep_state=True)
    before = hashes(tmp_path / "runs")
    with pytest.raises(UserError, match=said):
        continued(tiny_options("er", small_data, **{**AFTER, **changes}), start)
    left = {name: digest for name, digest in hashes(tmp_path / "runs").items() if not name.endswith(".lock")}
    assert left == {name: digest for name, digest in before.items() if not name.endswith(".lock")}


def test_changed_images_a_missing_and_a_damaged_state_are_told(small_data, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(small_data, tmp_path / "set")
    in_root(monkeypatch, tmp_path)
    options, after = (tiny_options("er", data, **values) for values in (BEFORE, AFTER))
    bare = make_run(options)
    with pytest.raises(UserError, match="has kept no state to go on from"):
        continued(after, bare)
    start = make_run(options, force=True, keep_state=True)
    for content, said in (({}, "cannot be read by this version"), (None, "has kept no state to go on from")):
        for file in (start.path / KEPT).glob("memory-*.pt"):
            torch.save(content, file) if content is not None else file.write_bytes(b"cut")
        with pytest.raises(UserError, match=said):
            continued(after, start)
    start = make_run(options, force=True, keep_state=True)
    next((data / "real" / "first" / "trainA").iterdir()).unlink()
    with pytest.raises(UserError, match="images of 'first' have changed"):
        continued(after, start)


def test_images_of_an_unseen_domain_that_have_changed_are_scored_again(small_data, tmp_path, monkeypatch):
    data = shutil.copytree(small_data, tmp_path / "set")
    before, after = (tiny_options("er", data, **values) for values in (BEFORE, AFTER))
    in_root(monkeypatch, tmp_path / "parts")
    start = make_run(before, keep_state=True)
    for kind in ("real", "fake"):
        for path in sorted((data / kind / "unseen" / "testA").iterdir()):
            shutil.copyfile(data / kind / "third" / "testA" / path.name, path)
    found = continued(after, start)
    in_root(monkeypatch, tmp_path / "whole")
    assert results(found) == results(make_run(after))


def test_looking_at_kept_states_removes_none(small_data, tmp_path, monkeypatch, capsys):
    """Those of a copied run are no states of the copy, and a damaged one may still be mended from elsewhere."""
    in_root(monkeypatch, tmp_path)
    start = make_run(tiny_options("er", small_data, **BEFORE), keep_state=True)
    copy = RunFolder(shutil.copytree(start.path, start.path.with_name("er-of-mine")))
    before = hashes(copy.path)
    assert not list(KeptStates(copy).newest())
    assert hashes(copy.path) == before
    assert "belongs to another run; nothing can go on from it" in capsys.readouterr().err
    (memory,) = (start.path / KEPT).glob("memory-*.pt")
    memory.write_bytes(b"cut")
    assert not list(KeptStates(start).newest())
    assert memory.read_bytes() == b"cut"
    assert len(list((start.path / KEPT).iterdir())) == 2


def test_another_method_is_told_and_recorded(small_data, tmp_path, monkeypatch, capsys):
    in_root(monkeypatch, tmp_path)
    start = make_run(tiny_options("er", small_data, **BEFORE), keep_state=True)
    manifest = start.manifest
    start.write_manifest({**manifest, "versions": {**manifest["versions"], "torch": "1.0"}})
    found = continued(tiny_options("er", small_data, **AFTER), start)
    assert "was made with another method or other versions" in capsys.readouterr().err
    lineage = json.loads((found.path / LINEAGE).read_text())
    assert not lineage["equal"]
    assert lineage["versions"]["torch"] == "1.0"


def test_what_goes_on_from_another_method_is_never_called_equal_again(small_data, tmp_path, monkeypatch):
    in_root(monkeypatch, tmp_path)
    start = make_run(tiny_options("er", small_data, **{**BEFORE, "stream": ["first"]}), keep_state=True)
    manifest = start.manifest
    start.write_manifest({**manifest, "versions": {**manifest["versions"], "torch": "1.0"}})
    second = continued(tiny_options("er", small_data, **BEFORE), start)
    third = continued(tiny_options("er", small_data, **AFTER), second)
    assert not json.loads((third.path / LINEAGE).read_text())["equal"]
