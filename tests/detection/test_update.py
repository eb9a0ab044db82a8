"""Updates of a detector: what is learned, what is decided, what is in use after; and that a refusal changes nothing."""

import json
import re
import shutil
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from cldf_core.cli import main
from cldf_core.cli.score import default_run
from cldf_core.detection import update as update_module
from cldf_core.detection.in_use import RECORD, history, in_use, lineage, named, use
from cldf_core.detection.update import METRICS, compared, update
from cldf_core.options import UserError
from cldf_core.results.inventory import entries
from cldf_core.runs.checkpoints import load_network, save_network
from cldf_core.runs.folder import LINEAGE, RunFolder
from cldf_core.runs.run import make_run
from samples import hashes, make_data, picture, tiny_options

DOMAINS = ("first", "second", "third", "unseen")
VALUES = {"stream": ["first", "second"], "unseen": ["third", "unseen"], "splits": ["validation", "test"], "epochs": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), DOMAINS, train=8, validation=8, test=8)


@pytest.fixture
def detector(data, tmp_path, monkeypatch) -> RunFolder:
    """A run of ER on two domains, which is in use."""
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    run = make_run(tiny_options("er", data, **VALUES), keep_state=True)
    use(run, "for a test")
    return run


def test_an_update_learns_from_the_state_and_an_accepted_one_is_in_use(detector, data, tmp_path, monkeypatch):
    found = update(detector, "third", max_loss=0.9)
    assert found.gate.accepted
    assert in_use() == found.after
    assert [each.run for each in history()] == [detector.path.name, found.after.path.name]
    assert "update with third, accepted: the mean loss" in history()[-1].why
    assert [run.path.name for run, _ in lineage(found.after)] == [found.after.path.name, detector.path.name]
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "whole"))
    values = {**VALUES, "stream": ["first", "second", "third"], "unseen": ["unseen"]}
    whole = make_run(tiny_options("er", data, **values))
    assert whole.path.name == found.after.path.name
    for name in ("model-step3.safetensors", "scores.parquet"):
        assert (whole.path / name).read_bytes() == (found.after.path / name).read_bytes()


def test_the_table_holds_every_domain_before_and_after(detector):
    found = update(detector, "third", max_loss=0.9)
    kinds = found.table.drop_duplicates("domain").set_index("domain")["kind"].to_dict()
    assert kinds == {"third": "new", "first": "old", "second": "old", "unseen": "unseen"}
    assert found.table["kind"].tolist() == [k for k in ("new", "old", "old", "unseen") for _ in METRICS]
    of = {run.path.name: run.scores() for run in (detector, found.after)}
    for row in found.table[found.table["metric"] == "accuracy"].itertuples():
        for name, value in ((detector.path.name, row.before), (found.after.path.name, row.after)):
            part = of[name].query("split == 'test' and domain == @row.domain")
            part = part[part["step"] == part["step"].max()]
            assert value == pytest.approx(((part["logit"] >= 0) == part["label"]).mean())
    again, facts = compared(detector, found.after)
    pd.testing.assert_frame_equal(again, found.table)
    assert facts["fact"].tolist() == found.facts["fact"].tolist()


def test_a_refused_update_leaves_the_detector_as_it_was(detector, tmp_path, capsys, monkeypatch):
    before = {name: digest for name, digest in hashes(tmp_path).items() if detector.path.name in name or RECORD in name}
    decide = update_module.gate
    monkeypatch.setattr(update_module, "gate", lambda *a, **k: decide(*a, **{**k, "max_loss": -0.99}))
    assert main(["update", "--with", "third"]) == 3
    out = capsys.readouterr().out
    assert re.search(r"^refused: the mean loss on old domains is [+-]0.\d+, by its upper end", out, re.MULTILINE)
    assert out.endswith(f"in use: {detector.path.name}\n")
    after = {name: digest for name, digest in hashes(tmp_path).items() if detector.path.name in name or RECORD in name}
    assert after == before
    assert in_use() == detector


def test_more_images_of_the_last_domain_replace_those_of_before(detector):
    few = update(detector, "third", limit=2, max_loss=0.9).after
    more = update(few, "third", limit=6, max_loss=0.9).after
    for run, limit in ((few, 2), (more, 6)):
        options = run.manifest["options"]
        assert options["stream"] == ["first", "second", "third"]
        assert options["limits"] == {"third": limit}
        assert json.loads((run.path / LINEAGE).read_text())["from"] == detector.path.name
    assert in_use() == more


def test_without_a_state_or_with_another_agent_it_is_trained_from_the_beginning(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    run = make_run(tiny_options("er", data, **VALUES))
    found = update(run, "third", max_loss=0.9)
    assert "is trained from the beginning" in capsys.readouterr().err
    assert found.after.manifest["options"]["stream"] == ["first", "second", "third"]
    other = update(run, "third", agent="sequential", max_loss=0.9)
    assert other.after.manifest["options"]["agent"] == "sequential"
    assert other.before == run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--with", "first"], "first was learned before second; allowed: a new domain"),
        (["--with", "nowhere"], "nowhere"),
        (["--with", "third", "--agent", "nobody"], "agent is 'nobody'; allowed"),
        (["--with", "third", "--agent", ""], "agent is ''; allowed"),
        (["--with", "first+third"], "first+third holds first, which was learned before; allowed: a new domain"),
        (["--with", "third", "--limit", "0"], "--limit is '0'; allowed: a whole number from 1"),
        (["--with", "third", "--max-loss", "1"], "--max-loss is '1'; allowed: a number above 0 and below 1"),
        (["no-run", "--with", "third"], "no-run"),
        ([], "required: --with"),
    ],
)
def test_a_wrong_call_is_told_in_a_sentence_and_changes_nothing(detector, words, said, tmp_path, capsys):
    before = {name: value for name, value in hashes(tmp_path).items() if "manifest" in name or RECORD in name}
    assert main(["update", *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    after = {name: value for name, value in hashes(tmp_path).items() if "manifest" in name or RECORD in name}
    assert after == before


def test_of_two_updates_at_once_one_waits(detector, monkeypatch):
    inside, most = [0], [0]
    learn = update_module.continued

    def counted(*words, **settings):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        try:
            return learn(*words, **settings)
        finally:
            inside[0] -= 1

    monkeypatch.setattr(update_module, "continued", counted)
    threads = [threading.Thread(target=update, args=(detector, "third"), kwargs={"max_loss": 0.9}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(history()) == 2, "the second one has found what the first one made"


def test_who_waits_learns_from_what_is_in_use_then(detector, monkeypatch):
    """Two domains at once: the second update goes on from the first one's detector, and neither domain is lost."""
    first, second = (threading.Event() for _ in range(2))
    learn = update_module.continued

    def slow(*words, **settings):
        first.set()
        second.wait(20)
        return learn(*words, **settings)

    monkeypatch.setattr(update_module, "continued", slow)
    calls = [(["update", "--with", name, "--max-loss", "0.9"],) for name in ("third", "unseen")]
    threads = [threading.Thread(target=main, args=call) for call in calls]
    threads[0].start()
    assert first.wait(20)
    threads[1].start()
    time.sleep(0.5)  # by now it has asked what is in use, if it asks before its turn
    second.set()
    for thread in threads:
        thread.join()
    assert in_use().manifest["options"]["stream"] == ["first", "second", "third", "unseen"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"splits": ["test"]}, "has no validation scores, and they decide"),
        ({"stream": ["first", "few"]}, "few has validation images of 2 groups.*needed: 5 groups"),
        ({"untested": ["second"]}, "second is not tested .untested., so nobody could tell whether it is forgotten"),
        (
            {"unseen": ["unseen"], "data": "one class"},
            "third has only real images to learn from; needed: real and fake",
        ),
    ],
)
def test_what_could_not_be_decided_is_told_before_anything_is_trained(changes, said, data, tmp_path, monkeypatch):
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    folder = shutil.copytree(data, tmp_path / "set")
    make_data(folder, ("few",), train=4, validation=2, test=2)
    for path in (folder / "fake" / "third" / "trainA").iterdir() if "data" in changes else ():
        path.unlink()
    changes = {name: value for name, value in changes.items() if name != "data"}
    run = make_run(tiny_options("er", folder, **{**VALUES, **changes}), keep_state=True)
    before = hashes(tmp_path / "runs")
    with pytest.raises(UserError, match=said):
        update(run, "third", max_loss=0.9)
    locks = {name: value for name, value in hashes(tmp_path / "runs").items() if not name.endswith(".lock")}
    assert locks == {name: value for name, value in before.items() if not name.endswith(".lock")}


def test_a_few_images_that_are_gone_through_often_are_told(detector, capsys):
    update(detector, "third", limit=2, max_loss=0.9)
    told = "note: 2 of 8 images a class are gone through more often than in 1 epoch, by as many updates as with all"
    assert told in capsys.readouterr().err


def test_what_is_in_use_and_not_compared_is_told_with_what_it_knows(detector, capsys):
    third = update(detector, "third", max_loss=0.9).after
    capsys.readouterr()
    unseen = update(detector, "unseen", max_loss=0.9).after
    assert in_use() == unseen
    told = f"note: {third.path.name} was in use and knows third, which the new one does not; cldf detector use"
    assert told in capsys.readouterr().err


def test_what_an_update_decides_on_is_held_until_it_is_in_use(detector, monkeypatch):
    """Nobody needs a run that is finished and not yet in use, as it seems to `cldf runs gc`."""
    seen, both = list[str](), update_module._both

    def looked_at(before: RunFolder, after: RunFolder) -> pd.DataFrame:
        seen.extend(entry.status for entry in entries([after.path.name]))
        return both(before, after)

    monkeypatch.setattr(update_module, "_both", looked_at)
    after = update(detector, "third", max_loss=0.9).after
    assert [status.startswith("being made") for status in seen] == [True]
    assert [entry.status for entry in entries([after.path.name])] == ["finished"]


def test_an_update_that_has_diverged_is_told_and_not_taken_into_use(detector, tmp_path, monkeypatch):
    both, before = update_module._both, (tmp_path / RECORD).read_bytes()

    def diverged(*runs: RunFolder) -> pd.DataFrame:
        scores = both(*runs)
        return scores.assign(logit=scores["logit"].where((scores["step"] == 1) | (scores["domain"] != "third")))

    monkeypatch.setattr(update_module, "_both", diverged)
    with pytest.raises(UserError, match="gives 32 images no number .its training diverged.*not taken into use"):
        update(detector, "third", max_loss=0.9)
    assert (tmp_path / RECORD).read_bytes() == before


def test_a_detector_of_a_gpu_is_compared_without_one_and_says_that_it_needs_one_to_learn(detector, data, monkeypatch):
    manifest, models = detector.manifest, [detector.model(1), detector.model(2)]
    for network, own, path in [(*load_network(path), path) for path in models]:
        save_network(network, own.model_copy(update={"device": "cuda"}), path)
    files = {"files": manifest["files"] | detector.hashes(*models)}
    detector.write_manifest({**manifest, **files, "options": {**manifest["options"], "device": "cuda"}})
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    other = make_run(tiny_options("er", data, **{**VALUES, "stream": ["second", "first"]}))
    assert not compared(detector, other)[0].empty
    with pytest.raises(UserError, match="device is 'cuda', but torch finds no GPU here; needed: one, as er-"):
        update(detector, "third", max_loss=0.9)


def test_fewer_images_do_not_replace_more_and_the_same_ones_are_nothing_new(detector, capsys):
    six = update(detector, "third", limit=6, max_loss=0.9).after
    with pytest.raises(UserError, match="has learned third from 6 images a class; needed: a --limit of 6 or more"):
        update(None, "third", limit=2)
    capsys.readouterr()
    assert update(None, "third", limit=6, max_loss=0.9).after == six
    assert f"note: {six.path.name} has learned just that already, so nothing is new" in capsys.readouterr().err
    update(None, "third", limit=60, max_loss=0.9)
    assert "note: 8 images a class of third are learned, not 60: that is all" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"from": "../../etc", "steps": 1}', '{"from": "x", "steps": "x"}'])
def test_a_damaged_lineage_is_told_and_names_nobody(detector, text, capsys):
    after = update(detector, "third", max_loss=0.9).after
    (after.path / LINEAGE).write_text(text)
    assert [(run.path, record) for run, record in lineage(after)] == [(after.path, {})]
    assert f"{after.path / LINEAGE} is damaged" in capsys.readouterr().err
    assert main(["detector", "show", after.path.name]) == 0


def test_a_run_has_one_name_whatever_leads_to_it(detector, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs" / "current").symlink_to(detector.path.name)
    monkeypatch.chdir(detector.path)
    for name in (".", "current", str(tmp_path / "runs" / "current")):
        assert main(["detector", "use", name]) == 0
        assert capsys.readouterr().out == f"in use: {detector.path.name}\n"
    assert {each.run for each in history()} == {detector.path.name}


def test_a_run_that_an_earlier_version_has_made_is_updated(data, tmp_path, monkeypatch):
    """Options that were not there then are not in its manifest."""
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path))
    run = make_run(tiny_options("er", data, **VALUES), keep_state=True)
    manifest = run.manifest
    options = {name: value for name, value in manifest["options"].items() if name not in ("limited", "untested")}
    run.write_manifest({**manifest, "options": options})
    assert update(run, "third", max_loss=0.9).gate.accepted


def test_a_detector_in_use_is_not_deleted_and_one_that_is_gone_is_told(detector, tmp_path, capsys):
    assert main(["runs", "rm", detector.path.name, "--yes"]) == 2
    assert "is the detector in use, so it is not deleted; needed: another one in use" in capsys.readouterr().err
    shutil.rmtree(detector.path)
    for words in (["score", str(picture(tmp_path / "x.png"))], ["update", "--with", "third"], ["detector", "show"]):
        assert main(words) == 2
        assert "is gone; needed: another one (cldf detector use RUN)" in capsys.readouterr().err


def test_what_came_into_use_while_somebody_was_asked_is_not_deleted(detector, data, monkeypatch, capsys):
    other = make_run(tiny_options("er", data, **VALUES, seed=1))
    monkeypatch.setattr("cldf_core.cli.runs._agreed", lambda _: main(["detector", "use", other.path.name]) == 0)
    assert main(["runs", "rm", other.path.name]) == 1
    assert f"kept: {other.path} is the detector in use" in capsys.readouterr().err
    assert other.finished


def test_detectors_that_read_something_else_are_compared_by_what_each_reads(detector, data, tmp_path):
    """The images that the first one has not tested are scored by it as it has learned to read images."""
    pixels = make_run(tiny_options("er", data, **{**VALUES, "feature": "image", "stream": ["second", "first"]}))
    fewer = {**VALUES, "unseen": ["unseen"]}
    before = make_run(tiny_options("er", data, **fewer))
    both = (update_module._both(own, pixels).query("step == 1") for own in (detector, before))
    tested, computed = (table.set_index(["domain", "split", "image"])["logit"].sort_index() for table in both)
    pd.testing.assert_series_equal(tested, computed)


def test_the_commands_list_show_compare_and_go_back(detector, tmp_path, capsys):
    after = update(detector, "third", limit=4, max_loss=0.9).after
    capsys.readouterr()
    assert main(["detector", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == [" ", "*"]
    assert after.path.name in lines[1]
    assert main(["detector", "show"]) == 0
    out = capsys.readouterr().out
    assert f"went on from {detector.path.name}, with the same method and versions" in out
    assert re.search(
        r"third of .*: at most 4 images a class; \d+ gone through, with repeats and replayed ones, in", out
    )
    assert re.search(r"state to go on from: [\d.]+ MB", out)
    assert main(["detector", "compare", detector.path.name]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main(["detector", "use", detector.path.name]) == 0
    assert in_use() == detector
    assert len(history()) == 3
    (tmp_path / RECORD).write_text("{}")
    assert main(["detector", "list"]) == 2
    assert "detector.json is damaged, or not what cldf wrote" in capsys.readouterr().err
    (tmp_path / RECORD).unlink()
    (tmp_path / RECORD).mkdir()
    assert main(["detector", "list"]) == 2
    assert "detector.json cannot be read (Is a directory); nothing is lost" in capsys.readouterr().err


def test_what_can_not_be_in_use_is_refused(detector, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no folder of a finished run"):
        use(RunFolder(tmp_path), "")
    with pytest.raises(UserError, match=f"{detector.path.name} lies outside of "):
        use(RunFolder(shutil.copytree(detector.path, tmp_path / "copies" / detector.path.name)), "")
    (detector.path / "model-step2.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="model-step2.safetensors is damaged"):
        use(detector, "")
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="no detector is in use; needed: the name of a run"):
        named(None)


def test_scores_are_those_of_the_detector_in_use(detector):
    assert default_run() == detector.path
