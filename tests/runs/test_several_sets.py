"""Streams whose domains are of several data sets: named, trained on, tested, updated; and what is wrong with them."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from cldf_core.cli import main
from cldf_core.data.domains import DataError
from cldf_core.data.intake.add import register
from cldf_core.data.layouts.read import data_folder, named_domains, other_sets, read_named
from cldf_core.detection.ladder import simple_scores
from cldf_core.detection.update import compared, update
from cldf_core.evaluation.attribution import grad_cam
from cldf_core.options import UserError
from cldf_core.results.metric_table import balanced_accuracies
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.plan import made_before, planned
from cldf_core.runs.run import domain_samples, find_run, load_spectra, make_run
from cldf_core.workflow.notebooks import check_domains
from cldf_core.workflow.parcels import data_of, data_set
from samples import make_data, three_collections, tiny_options

STREAM = ["first", "folders:web", "table:app"]


@pytest.fixture
def sets(tmp_path, monkeypatch) -> Path:
    """A folder in the original's layout, and two registered sets: folders of classes, and a table of JPEG files."""
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "root"))
    plain = make_data(tmp_path / "plain", ("first", "last"), validation=6)
    other = make_data(tmp_path / "other", ("web",), train=40, seed=1)
    images = [path for kind in ("real", "fake") for path in sorted((other / kind / "web" / "trainA").iterdir())]
    for path in images:
        target = tmp_path / "web" / path.parts[-4] / f"{path.parts[-4]}-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    register(tmp_path / "web", "folders")
    third = make_data(tmp_path / "third", ("app",), train=20, seed=2, side=40)
    rows = []
    for kind in ("real", "fake"):
        for k, path in enumerate(sorted((third / kind / "app" / "trainA").iterdir())):
            Image.open(path).save(tmp_path / f"{kind}{k}.jpg", quality=95)
            rows.append((f"{kind}{k}.jpg", kind, "app", f"g{k}"))
    pd.DataFrame(rows, columns=["path", "label", "domain", "group"]).to_csv(tmp_path / "list.csv", index=False)
    register(tmp_path / "list.csv", "table")
    return plain


@pytest.fixture
def collections(tmp_path, monkeypatch) -> Path:
    """A folder in the original's layout, a table whose generators share their real images, and a folder of parquet."""
    monkeypatch.setenv("CLDF_ROOT", str(tmp_path / "root"))
    return three_collections(tmp_path)


def options(data: Path, agent: str = "er", **changes):
    return tiny_options(
        agent, data, **{"stream": STREAM, "unseen": ["last"], "splits": ["validation", "test"], **changes}
    )


def test_a_domain_is_named_after_its_set_and_its_groups_are_its_own(sets):
    first, web = named_domains(data_folder(str(sets)), ["first", "folders:web"])
    own = named_domains(data_folder("folders"), ["web"])[0]
    assert (web.name, web.root) == ("folders:web", own.root)
    assert web.table["image"].tolist() == own.table["image"].tolist()
    assert set(web.table["group"]) == {f"folders:{group}" for group in own.table["group"]}
    assert first.root != web.root
    assert other_sets(["first", "folders:web", "nowhere:a", "mini:b", "folders:c"]) == ["folders", "mini"]


def test_three_sets_make_one_stream_that_is_planned_trained_read_and_measured(sets, capsys):
    o = options(sets)
    check_domains(o)
    run = make_run(o)
    assert [folder.path.name for folder in planned([o])] == [run.path.name]
    assert find_run(o).path == run.path
    assert made_before([o]) == [run]
    assert list(run.manifest["data"]) == [*STREAM, "last"]
    scores = run.scores()
    assert set(scores["domain"]) == {*STREAM, "last"}
    assert {group.partition(":")[0] for group in scores.loc[scores["domain"] == "table:app", "group"]} == {"table"}
    capsys.readouterr()
    assert main(["metrics", run.path.name, "--metric", "accuracy"]) == 0
    assert "folders:web" in capsys.readouterr().out


def test_sets_of_three_layouts_are_trained_on_tested_compared_and_explained(collections, tmp_path, capsys):
    stream = ["first", "pooled:gan", "hub:app"]
    runs = {a: make_run(options(collections, a, stream=stream, unseen=["last", "pooled:sd"])) for a in ("er", "lwf")}
    scores = {agent: run.scores().query("split == 'test'") for agent, run in runs.items()}
    kinds = scores["er"].groupby("domain")["label"].agg(set)
    assert kinds.to_dict() == {name: {0, 1} for name in [*stream, "last", "pooled:sd"]}
    reals = {name: part.query("label == 0") for name, part in scores["er"].query("step == 1").groupby("domain")}
    assert set(reals["pooled:gan"]["image"]) == set(reals["pooled:sd"]["image"]), "the same real images"
    for agent, table in scores.items():
        table.to_csv(tmp_path / f"{agent}.csv", index=False)
    assert main(["metrics", *(str(tmp_path / f"{a}.csv") for a in runs), "--compare", "--resamples", "20"]) == 0
    assert "hub:app" in capsys.readouterr().out
    trained, _ = load_network(runs["er"].path / "model-step3.safetensors")
    spectra = load_spectra(options(collections, stream=stream, unseen=["last", "pooled:sd"]))
    for name in ("pooled:sd", "hub:app"):
        samples = domain_samples(spectra[name], spectra[name].table.query("split == 'test'"))
        maps = grad_cam(trained, next(iter(samples.parts())))
        assert torch.isfinite(maps).all()
        assert maps.shape[0] == len(samples)


def test_a_change_in_any_of_the_sets_gives_another_run(sets):
    before = planned([options(sets)])[0].path.name
    image = next((sets.parent / "web" / "fake").iterdir())
    image.write_bytes(next((sets.parent / "web" / "real").iterdir()).read_bytes())
    assert planned([options(sets)])[0].path.name != before


def test_a_detector_learns_a_domain_of_another_set(sets):
    start = make_run(options(sets, stream=["first", "folders:web"], epochs=1), keep_state=True)
    found = update(start, "table:app", limit=4, max_loss=0.9)
    assert found.after.manifest["options"]["stream"] == STREAM
    assert found.table.loc[found.table["kind"] == "new", "domain"].unique().tolist() == ["table:app"]


@pytest.mark.parametrize("domain", ["first+last", "folders:web+web", "folders:folders:web", "folders:web"])
def test_what_was_learned_under_another_name_is_not_new(sets, domain):
    start = make_run(options(sets, stream=["first", "folders:web", "table:app"], epochs=1), keep_state=True)
    with pytest.raises(UserError, match=r"learned before|is of a data set itself|needed: SET:DOMAIN, once"):
        update(start, domain)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere:web", r"domain 'nowhere:web': there is no data set 'nowhere'; allowed: .*folders, table"),
        ("folders:app", "there is no domain 'app'"),
        ("second", "second"),
    ],
)
def test_an_unknown_set_or_domain_is_told_before_anything_is_trained(sets, name, said):
    for call in (check_domains, make_run):
        with pytest.raises(DataError, match=said):
            call(options(sets, stream=["first", name]))
    assert not list((sets.parent / "root" / "runs").glob("er-*"))


def test_an_embedded_set_takes_domains_of_others(sets):
    check_domains(options(Path("mini"), stream=["mini-GAN-S", "folders:web"], unseen=[]))
    for name, said in (("nowhere:a", "there is no data set 'nowhere'"), ("folders:b", "there is no domain 'b'")):
        with pytest.raises(DataError, match=said):
            check_domains(options(Path("mini"), stream=["mini-GAN-S", name], unseen=[]))
    assert not (sets.parent / "root" / "data" / "mini").exists(), "nothing is built for that"


def test_the_same_image_in_training_and_in_a_test_of_another_set_is_told(sets, capsys):
    tested = named_domains(data_folder("folders"), ["web"])[0]
    image = tested.root / tested.table.query("split == 'test'")["image"].iloc[0]
    shutil.copy(image, next((sets / "real" / "first" / "trainA").iterdir()))
    run = make_run(options(sets, epochs=1))
    note = next(text for text in run.manifest["notes"] if "the same image" in text)
    assert note.startswith("first trains on real/first/trainA/")
    assert note.endswith("of folders:web, on which it is tested")
    assert note in capsys.readouterr().err


def test_one_class_and_small_images_are_told(sets, tmp_path, capsys):
    fakes = tmp_path / "fakes.csv"
    pd.DataFrame({"path": [f"fake{k}.jpg" for k in range(20)], "label": 1, "domain": "app"}).to_csv(fakes, index=False)
    register(fakes, "fakes")
    run = make_run(options(sets, stream=["first", "fakes:app"], epochs=1))
    assert any("fakes:app: there is one class alone to train on" in text for text in run.manifest["notes"])
    with pytest.raises(DataError, match="'first'"):
        make_run(options(sets, size=64))


def test_what_a_run_reads_goes_along_to_workers_elsewhere(sets):
    assert data_of({"options": options(sets).model_dump()}) == [str(sets), "folders", "table"]
    assert data_of({"notebook": "04_icarl", "values": {"stream": ["a", "table:app"]}}) == ["table"]


def test_a_domain_of_the_own_set_keeps_its_groups_whatever_it_is_called(sets):
    folder = data_folder("folders")
    short, full = named_domains(folder, ["web", "folders:web"])
    assert full.name == "folders:web"
    pd.testing.assert_frame_equal(short.table, full.table)


def test_a_union_holds_shared_real_images_once(collections):
    gan, sd, both = named_domains(data_folder("pooled"), ["gan", "sd", "gan+sd"])
    assert not both.table["image"].duplicated().any()
    assert set(both.table["image"]) == {*gan.table["image"], *sd.table["image"]}
    assert len(both.table) < len(gan.table) + len(sd.table)


def test_unions_are_checked_domain_by_domain(sets):
    check_domains(options(Path("mini"), stream=["mini-GAN-S+mini-VFHQ", "folders:web"], unseen=[]))
    with pytest.raises(DataError, match="there is no domain 'mini-X' in mini"):
        check_domains(options(Path("mini"), stream=["mini-GAN-S+mini-X"], unseen=[]))
    with pytest.raises(DataError, match=r"no data set 'first\+folders'; .*; a union, as A\+B, takes domains of"):
        check_domains(options(sets, stream=["first", "first+folders:web"]))


def test_a_domain_without_an_image_that_the_original_reads_is_told(sets):
    with pytest.raises(DataError, match="the original code reads no image of 'table:app'; allowed: 'all'"):
        read_named(data_folder(str(sets)), ["first", "table:app"], "original")


def test_scores_of_a_domain_of_a_set_are_compared_with_a_run_on_it(sets, tmp_path, capsys):
    run = make_run(options(sets, epochs=1))
    table = tmp_path / "scores.csv"
    assert main(["score", "folders:web", "table:app", "--model", run.path.name, "--out", str(table)]) == 0
    scores = pd.read_csv(table)
    assert set(scores["domain"]) == {"folders:web", "table:app"}
    capsys.readouterr()
    words = ["--compare", "--metric", "accuracy", "--resamples", "20", "--format", "json"]
    assert main(["metrics", run.path.name, str(table), *words]) == 0
    rows = json.loads(capsys.readouterr().out)["comparisons"]
    assert {row["domain"] for row in rows} == {"folders:web", "table:app"}
    assert {row["difference"] for row in rows} == {0}


def test_data_sets_with_domains_or_groups_of_one_name_are_told_apart(sets, tmp_path):
    register(tmp_path / "web", "again")
    run = make_run(options(sets, stream=["first"], unseen=[], epochs=1))

    def scored(*named: str) -> pd.DataFrame:
        table = tmp_path / f"{'-'.join(named)}.csv"
        assert main(["score", *named, "--model", run.path.name, "--out", str(table)]) == 0
        return pd.read_csv(table)

    assert set(scored("folders", "table")["domain"]) == {"web", "app"}
    assert len(scored("folders", "folders:web")) == len(scored("folders")), "each image once"
    both = scored("folders", "again")
    assert set(both["domain"]) == {"folders:web", "again:web"}
    assert (both["domain"].str.partition(":")[0] == both["group"].str.partition(":")[0]).all()


def test_an_image_of_two_classes_is_in_no_union(sets, tmp_path):
    rows = [("real0.jpg", label, domain) for label, domain in (("real", "a"), ("fake", "b"))]
    rows += [(f"{kind}{k}.jpg", kind, domain) for kind in ("real", "fake") for domain, k in (("a", 1), ("b", 2))]
    table = tmp_path / "clash.csv"
    pd.DataFrame(rows, columns=["path", "label", "domain"]).to_csv(table, index=False)
    with pytest.raises(DataError, match="real0.jpg"):
        register(table, "clash")
        named_domains(data_folder("clash"), ["a+b"])


def test_detectors_of_several_data_sets_are_compared_domain_by_domain(sets):
    own = make_run(options(Path("folders"), stream=["web"], unseen=[], epochs=1))
    other = make_run(options(sets, stream=["folders:web", "first"], unseen=["last"], epochs=1))
    table = compared(own, other)[0]
    assert dict(zip(table["domain"], table["kind"], strict=True)) == {
        "folders:web": "old",
        "first": "new",
        "last": "unseen",
    }
    runs = balanced_accuracies("folders")
    assert runs.index.tolist() == ["web"]
    assert set(runs) == {own.path.name, other.path.name}


def test_an_image_that_validates_one_domain_and_trains_another_is_told(collections):
    stream = ["gan", "sd"]
    run = make_run(options(Path("pooled"), stream=stream, unseen=[], epochs=1, validation_share=0.4))
    assert any("is the same image as" in text for text in run.manifest["notes"])
    run = make_run(options(Path("pooled"), stream=stream, unseen=[], epochs=1))
    assert not any("is the same image as" in text for text in run.manifest["notes"])


def test_the_rungs_of_the_ladder_are_of_all_sets(sets, tmp_path):
    o = options(sets)
    scores = simple_scores(o, load_spectra(o), tmp_path)
    assert set(scores["domain"]) == {*STREAM, "last"}
    tested = load_spectra(o)["table:app"].table.query("split == 'test'")["image"]
    assert set(scores.loc[scores["domain"] == "table:app", "image"]) == set(tested)


def test_images_that_are_links_go_along_under_their_names(sets, tmp_path):
    linked = tmp_path / "linked"
    for kind in ("real", "fake"):
        (linked / kind).mkdir(parents=True)
        for path in (tmp_path / "web" / kind).iterdir():
            (linked / kind / path.name).symlink_to(path)
    register(linked, "links")
    domain = named_domains(data_folder("links"), ["linked"])[0]
    assert {f"data/links/images/{image}" for image in domain.table["image"]} <= {*data_set("links")}


def test_a_notebook_refuses_a_domain_without_images_of_the_split_that_it_shows(sets, tmp_path, capsys):
    bare = make_data(tmp_path / "bare", ("first", "second"), validation=6, test=0)
    values = [f"data={bare}", "stream=[first, 'folders:web']", "unseen=[second]", "size=32"]
    assert main(["run", "03", "--profile", "smoke", *(word for value in values for word in ("-p", value))]) == 2
    said = "first has no test images, on which results are shown; allowed: other domains, or splits=[validation]"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stream": ["app", "web"]}, "stream is .*there is no domain 'web'.*; other data sets have folders:web"),
        ({"unseen": ["mini-X"]}, r"unseen is \['mini-X'\]: .*mini-X.*; unseen=\[\] leaves all out"),
    ],
)
def test_a_wrong_name_is_told_with_its_option_and_where_it_would_be_found(sets, changes, said):
    with pytest.raises(DataError, match=said):
        check_domains(options(Path("table"), **{"stream": ["app"], "unseen": [], **changes}))


def test_a_table_that_calls_a_domain_otherwise_is_told_the_way(sets, tmp_path, capsys):
    run = make_run(options(sets, epochs=1))
    table = tmp_path / "scores.csv"
    assert main(["score", "folders", "--model", run.path.name, "--out", str(table)]) == 0
    capsys.readouterr()
    assert main(["metrics", str(table), run.path.name, "--compare"]) == 2
    hint = "what one calls web may be folders:web of the other: cldf score takes SET:DOMAIN, and calls it so"
    assert hint in capsys.readouterr().err
    assert main(["score", "nowhere", "--model", run.path.name]) == 2
    assert "nor is it a data set of cldf data list" in capsys.readouterr().err
