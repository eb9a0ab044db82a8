"""Streams whose domains are of several data sets: named, trained on, tested, updated; and what is wrong with them."""

import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from cldf_core.cli import main
from cldf_core.data.domains import DataError
from cldf_core.data.intake.add import add, register
from cldf_core.data.layouts.read import data_folder, named_domains, other_sets
from cldf_core.detection.update import update
from cldf_core.evaluation.attribution import grad_cam
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.plan import made_before, planned
from cldf_core.runs.run import domain_samples, find_run, load_spectra, make_run
from cldf_core.workflow.notebooks import check_domains
from cldf_core.workflow.parcels import data_of
from samples import make_data, tiny_options

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
    plain = make_data(tmp_path / "plain", ("first", "last"), validation=4)
    made = make_data(tmp_path / "made", ("gan", "sd"), train=20, seed=1, side=48)
    rows = []
    for kind, names in (("real", ["gan"]), ("fake", ["gan", "sd"])):
        for name in names:
            for k, path in enumerate(sorted((made / kind / name / "trainA").iterdir())):
                Image.open(path).save(tmp_path / f"{kind}-{name}{k}.jpg", quality=95)
                rows.append((f"{kind}-{name}{k}.jpg", kind, name if kind == "fake" else "", f"{kind}-{name}{k}"))
    pd.DataFrame(rows, columns=["path", "label", "generator", "group"]).to_csv(tmp_path / "list.csv", index=False)
    add(tmp_path / "list.csv", "pooled", real_images="shared")
    faces = make_data(tmp_path / "faces", ("app",), train=20, seed=2, side=40)
    (tmp_path / "hub").mkdir()
    for number, kind in enumerate(("real", "fake")):
        files = sorted((faces / kind / "app" / "trainA").iterdir())
        cells = [{"bytes": path.read_bytes(), "path": f"{kind}/{path.name}"} for path in files]
        table = {"image": cells, "label": [number] * len(cells), "domain": ["app"] * len(cells)}
        pq.write_table(pa.table(table), tmp_path / "hub" / f"part-{number}.parquet")
    add(tmp_path / "hub", "hub")
    return plain


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
