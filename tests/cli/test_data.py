"""`cldf data`: folders and archives become data sets that options can name; what they warn of reaches every run."""

import errno
import hashlib
import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cldf_core.cli import main
from cldf_core.cli.data import UNFINISHED
from cldf_core.data.images import open_image
from cldf_core.data.layouts.read import data_folder, read_domains
from cldf_core.runs.run import make_run
from samples import hashes, pictures, texture, tiny_options


def photographs(folder: Path, count: int = 20, *, kinds: tuple[str, str] = ("png", "png"), side: int = 40) -> Path:
    """One domain in the layout 0_real, 1_fake: as many fakes as real images, each from a picture of its own."""
    for label, (place, kind) in enumerate(zip(("0_real", "1_fake"), kinds, strict=True)):
        (folder / "first" / place).mkdir(parents=True)
        for number in range(count):
            pixels = texture(np.random.default_rng([label, number]), 4 * label, side)
            Image.fromarray(pixels).save(folder / "first" / place / f"{label}-{number:02}.{kind}")
    return folder


def call(command: str, *words: str) -> int:
    return main(["data", command, *words, "--workers", "1"])


@pytest.fixture
def mine(root, tmp_path_factory) -> Path:
    """Where a folder of images may be made, outside of the project."""
    return tmp_path_factory.mktemp("mine") / "mine"


def test_a_folder_becomes_a_data_set_that_can_be_trained_on(root, mine, capsys):
    source = photographs(mine)
    before = hashes(source)
    assert call("add", str(source)) == 0
    said = capsys.readouterr().out
    assert "40 images: 40 can be used, 0 are rejected." in said
    assert hashes(source) == before
    assert {p.name for p in root.iterdir()} == {"data"}
    (domain,) = read_domains(data_folder("mine"), ["first"])
    assert len(domain.table) == 40
    run = make_run(tiny_options("sequential", Path("mine"), stream=["first"], unseen=[]))
    assert set(run.scores()["image"]) == set(domain.table.loc[domain.table["split"] == "test", "image"])
    assert main(["data", "list"]) == 0
    assert "mine" in capsys.readouterr().out
    # Beside the format-only classifier stands the detector now.
    assert call("audit", "mine") == 0
    assert run.path.name in capsys.readouterr().out
    assert run.path.name in pd.read_csv(root / "data/mine/audit/tables/format_only.csv")


def test_what_the_audit_finds_stands_in_every_run(root, mine, capsys):
    assert call("add", str(photographs(mine, kinds=("jpg", "png")))) == 0
    said = capsys.readouterr().out
    assert "warning: first: file format differs by class: real 100 % JPEG; fake 100 % PNG" in said
    run = make_run(tiny_options("sequential", Path("mine"), stream=["first"], unseen=[]))
    assert any("file format differs by class" in note for note in run.manifest["notes"])
    # A table that was edited since asks for another audit.
    table = root / "data" / "mine" / "images.csv"
    table.write_text(table.read_text().replace(",validation,", ",train,"))
    notes = read_domains(data_folder("mine"), ["first"])[0].notes
    assert any("not audited as it is now" in note for note in notes)


def test_one_history_leaves_nothing_to_see_in_the_files(root, mine, capsys):
    assert call("add", str(photographs(mine, 60, kinds=("jpg", "png")))) == 0
    assert call("audit", "mine", "--re-encode", "--size", "32") == 0
    assert "120 images; rejected: 0" in capsys.readouterr().out
    table = pd.read_csv(root / "data/mine-re-encoded/audit/tables/format_only.csv").set_index("domain")
    assert table.loc["first", "low"] <= 0.5 <= table.loc["first", "high"]
    kept = json.loads((root / "data/mine-re-encoded/audit.json").read_text())
    assert not [text for text in kept["warnings"] if "differs by class" in text or "classifier" in text]
    old, new = (read_domains(data_folder(name), ["first"])[0] for name in ("mine", "mine-re-encoded"))
    assert old.table["split"].tolist() == new.table["split"].tolist()
    assert {open_image(new.root / image).shape for image in new.table["image"]} == {(3, 32, 32)}
    assert call("audit", "mine", "--re-encode") == 2
    assert "there is" in capsys.readouterr().err


def test_bad_images_are_listed_with_their_reason(root, mine, capsys):
    source = photographs(mine)
    (source / "first/0_real/0-00.png").write_bytes(b"no image")
    Image.fromarray(texture(np.random.default_rng(0), 0, 40)).convert("P").save(source / "first/0_real/0-01.png")
    Image.fromarray(texture(np.random.default_rng(1), 0, 24)).save(source / "first/1_fake/1-05.png")
    assert call("add", str(source)) == 0
    capsys.readouterr()
    assert call("check", "mine", "--size", "32") == 0
    said = capsys.readouterr().out
    assert "40 images: 38 can be used, 2 are rejected." in said
    rows = pd.read_csv(root / "data/mine/check.csv").set_index("image")
    assert rows.loc["first/0_real/0-00.png", "why"].startswith("unreadable")
    assert rows.loc["first/0_real/0-01.png"].tolist() == ["changed", "palette converted"]
    assert rows.loc["first/1_fake/1-05.png"].tolist() == ["rejected", "too small (24 x 24, needed 32 x 32)"]


def test_a_data_set_without_a_usable_image_fails(root, mine):
    assert call("add", str(photographs(mine, 4))) == 0
    assert call("check", "mine", "--size", "64") == 1


def test_an_archive_is_unpacked_into_the_project_and_nowhere_else(root, mine, capsys):
    source = photographs(mine)
    archive = Path(shutil.make_archive(str(source.parent / "images"), "zip", source))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert call("add", str(archive), "--name", "packed", "--sha256", digest) == 0
    assert len(read_domains(data_folder("packed"), ["first"])[0].table) == 40
    moved = root / "data" / "moved"
    (root / "data" / "packed").rename(moved)  # as a whole
    assert len(read_domains(data_folder("moved"), ["first"])[0].table) == 40
    capsys.readouterr()
    assert call("add", str(archive), "--name", "moved") == 2
    assert "there is a data set 'moved'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["folder", "archive"])
@pytest.mark.parametrize("at", ["archives._write", "reports.check_images", "reports.audit_images"])
def test_an_interrupted_call_goes_on_with_the_same_command(root, mine, capsys, monkeypatch, kind, at):
    source = photographs(mine, 4)
    source = Path(shutil.make_archive(str(source.parent / "images"), "zip", source)) if kind == "archive" else source
    with monkeypatch.context() as patch:
        patch.setattr(f"cldf_core.data.intake.{at}", Mock(side_effect=KeyboardInterrupt))
        assert call("add", str(source), "--name", "mine") == (0 if (kind, at[:8]) == ("folder", "archives") else 130)
    if (root / "data" / "mine" / "audit.json").exists():
        return  # nothing was interrupted
    assert "the same command goes on" in capsys.readouterr().err
    other = photographs(mine.with_name("other"), 4)
    if (root / "data" / "mine" / "dataset.yaml").exists():
        assert call("add", str(other), "--name", "mine") == 2  # not the same command
    assert call("add", str(source), "--name", "mine") == 0
    assert call("add", str(source), "--name", "mine") == 2  # it is complete


def test_the_same_command_goes_on_where_the_disk_was_full(root, mine, capsys, monkeypatch):
    source, begin = photographs(mine, 4), tempfile.mkstemp

    def begun(suffix: str, prefix: str, folder: Path) -> tuple[int, str]:
        if prefix.startswith(f".{UNFINISHED}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return begin(suffix, prefix, folder)

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", begun)
        assert call("add", str(source)) == 2
        assert "MB free; nothing that was there is lost" in capsys.readouterr().err
    assert call("add", str(source)) == 0


@pytest.mark.parametrize("fault", ["outside", "checksum", "cut", "layout"])
def test_a_refused_archive_leaves_the_data_folder_as_it_was(root, mine, capsys, fault):
    source = photographs(mine, 3)
    archive = source.parent / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(source.rglob("*.png")):
            name = path.relative_to(source).as_posix()
            file.write(path, {"outside": f"../{name}", "layout": path.name}.get(fault, name))
    if fault == "cut":
        archive.write_bytes(archive.read_bytes()[:-100])
    before = hashes(root)
    assert call("add", str(archive), *(["--sha256", "00"] if fault == "checksum" else [])) == 2
    words = {"outside": "..", "checksum": "sha256", "cut": "damaged", "layout": "layout"}
    assert words[fault] in capsys.readouterr().err
    after = {name for name in hashes(root) if not name.endswith(".lock")}
    assert after == set(before)
    assert not (root / "data" / "images").exists()


def test_the_card_has_counts_and_a_picture(root, mine):
    assert call("add", str(photographs(mine))) == 0
    assert call("card", "mine") == 0
    text = (root / "data/mine/CARD.md").read_text()
    assert "samples.png" in text
    assert "## Warnings" in text
    assert open_image(root / "data/mine/samples.png").shape == (3, 2 * 96, 8 * 96)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["check", "none"], "there is no registered data set 'none'; allowed: none yet"),
        (["add", "nowhere"], "nowhere"),
        (["add", ""], "source is ''; allowed: a folder, an archive or a table"),
        (["audit", "none", "--re-encode", "--quality", "0"], "--quality is '0'; allowed: a whole number from 1 to 100"),
        (["check", "none", "--workers", "0"], "--workers is '0'; allowed: a whole number from 1 to 1024"),
    ],
)
def test_a_mistake_gets_one_sentence(root, capsys, words, sentence):
    assert main(["data", *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert list(root.rglob("*")) == [] or {p.name for p in root.iterdir()} == {"data"}


def test_a_full_disk_ends_re_encoding_with_a_sentence(root, mine, monkeypatch, capsys):
    assert call("add", str(photographs(mine, 3))) == 0
    full = Mock(side_effect=OSError(errno.ENOSPC, "no"))
    monkeypatch.setattr("cldf_core.data.intake.reencode.as_image", full)
    assert call("audit", "mine", "--re-encode", "--size", "32") == 2
    assert " MB free; nothing that was there is lost" in capsys.readouterr().err
    assert not list((root / "data").glob("*re-encoded*"))


@pytest.mark.parametrize("name", ["labels.json", "notes.txt", "photo.PNG", "film.mp4", "model", "x.yaml"])
def test_what_cannot_be_added_is_told_with_what_can(root, mine, capsys, name):
    mine.parent.joinpath(name).write_bytes(b"\0 no archive")
    assert call("add", str(mine.parent / name)) == 2
    assert f"{name} is no archive and no table; what can be added: a folder of images, an" in capsys.readouterr().err
    assert not (root / "data").exists()


@pytest.mark.parametrize("ending", ["zip", "tar", "tgz", "tar.gz", "tar.xz", "TAR.BZ2"])
def test_the_name_of_an_archive_keeps_its_dots(root, mine, ending, capsys):
    kind = {"tgz": "gztar", "tar.gz": "gztar", "tar.xz": "xztar", "TAR.BZ2": "bztar"}.get(ending, ending)
    archive = shutil.make_archive(str(mine.parent / "packed"), kind, photographs(mine, 3))
    named = Path(archive).rename(mine.parent / f"gbk.v2.{ending}")
    assert call("add", str(named)) == 0
    assert len(read_domains(data_folder("gbk.v2"), ["first"])[0].table) == 6
    for again in (named, mine.rename(mine.parent / "gbk.v2")):
        assert call("add", str(again)) == 2
        assert "there is a data set 'gbk.v2' in" in (said := capsys.readouterr().err)
        assert "(--name, --replace)" in said


def test_a_folder_in_an_archive_is_not_a_domain_but_images_without_one_have_the_sets_name(root, mine):
    source = pictures(mine, [f"{c}/{d}/{s}A" for c in ("real", "fake") for d in "abcde" for s in ("train", "test")], 2)
    archive = shutil.make_archive(str(mine.parent / "wrapped"), "zip", mine.parent, "mine")
    assert call("add", archive) == 0
    domains = read_domains(data_folder("wrapped"), list("abcde"))
    assert [len(domain.table.query("split == 'test'")) for domain in domains] == [4] * 5
    assert data_folder(str(source.parent)) == source
    plain = shutil.make_archive(str(mine.parent / "plain"), "zip", pictures(mine.parent / "x", ["real", "fake"]))
    assert call("add", plain) == 0
    assert read_domains(data_folder("plain"), ["plain"])


def test_labels_upside_down_are_refused_and_taken_when_it_is_said(root, mine, capsys):
    pictures(mine, ["real", "fake"], 3)
    rows = [f"{kind}/00{k}.png,{label}" for kind, label in (("real", 1), ("fake", 0)) for k in range(3)]
    (mine / "labels.csv").write_text("\n".join(["path,label", *rows]))
    assert call("add", str(mine / "labels.csv")) == 2
    said = capsys.readouterr().err
    assert "label '1', so fake, but its path 'real' says real" in said
    assert not (root / "data" / "mine").exists()
    assert call("add", str(mine / "labels.csv"), "--labels", "1=real") == 0
    table = read_domains(data_folder("mine"), ["mine"])[0].table
    assert (table["image"].str.startswith("fake") == (table["label"] == 1)).all()


def test_too_many_members_are_refused_unless_asked_for(root, mine, capsys):
    archive = shutil.make_archive(str(mine.parent / "packed"), "zip", photographs(mine, 3))
    assert call("add", archive, "--most-members", "5") == 2
    said = capsys.readouterr().err
    assert "has more members than allowed; allowed: 5 (cldf data add takes more with --most-members)" in said
    assert not (root / "data" / "packed").exists()
    assert call("add", archive, "--most-members", "1000000") == 0


@pytest.mark.parametrize("place", ["archives._write", "add.with_splits"])
def test_of_an_interrupted_archive_nothing_is_left(root, mine, monkeypatch, place):
    archive = shutil.make_archive(str(mine), "zip", photographs(mine, 3))
    with monkeypatch.context() as patch:
        patch.setattr(f"cldf_core.data.intake.{place}", Mock(side_effect=KeyboardInterrupt))
        assert call("add", archive) == 130
    assert not [path for path in (root / "data").glob("*") if not path.name.endswith(".lock")]


def test_one_bad_description_disturbs_nothing_else(root, mine, capsys):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{one}: &{one} [{', '.join([f'*{other}'] * 9)}]\n" for one, other in zip("bcdefghij", "abcdefghi", strict=True)
    )
    nested = f"name: {'[' * 5000}{']' * 5000}\n"
    assert call("add", str(photographs(mine, 3))) == 0
    good = (root / "data" / "mine" / "dataset.yaml").read_text()
    number = good.replace("seed: 0", f"seed: {'9' * 5000}")
    twice, nul = good + "seed: 1\n", good.replace("name: mine", 'name: "a\\0b"').replace("root: /", 'root: "\\0/') + '"'
    for text in (
        bomb,
        nested,
        number,
        twice,
        nul,
        good + "# " + "x" * 2_000_000,
        "",
        "\0",
        good.replace("mine", "!!x y"),
    ):
        bad = root / "data" / "bad"
        bad.mkdir(exist_ok=True)
        shutil.copy(root / "data" / "mine" / "images.csv", bad)
        (bad / "dataset.yaml").write_text(text)
        capsys.readouterr()
        assert main(["data", "list"]) == 0
        said = capsys.readouterr()
        assert "mine" in said.out
        assert f"note: bad: {bad}" in said.err
        assert said.err.count("\n") == 1
        assert len(said.err) < 800
        assert call("check", "bad") == 2
        assert call("check", "mine") == 0


def test_odd_pictures_are_listed(root, mine, capsys):
    source = photographs(mine, 4)
    Image.new("RGB", (40, 40)).save(source / "first/0_real/0-00.png")
    Image.new("L", (40, 40), 9).save(source / "first/0_real/0-01.png")
    Image.fromarray(np.full((40, 40), 0.5, np.float32)).save(source / "first/1_fake/1-00.tif")
    assert call("add", str(source)) == 0
    assert "9 images: 8 can be used, 1 is rejected." in capsys.readouterr().out
    rows = pd.read_csv(root / "data/mine/check.csv").set_index("image")
    assert rows.loc["first/0_real/0-00.png"].tolist() == ["odd", "nearly one colour"]
    assert rows.loc["first/0_real/0-01.png"].tolist() == ["odd", "grey, three equal channels; nearly one colour"]
    assert rows.loc["first/1_fake/1-00.tif"].tolist() == [
        "rejected",
        "floating-point values, of which white is not known",
    ]


def test_domains_of_one_class_are_told_in_one_line(root, mine, capsys):
    pictures(mine, [f"{domain}/{kind}" for domain in "abc" for kind in ("real",)] + ["d/real", "d/fake"])
    assert call("add", str(mine)) == 0
    said = capsys.readouterr().out
    assert "One class alone in a (only real), b (only real), c (only real). A network needs both" in said
    alone = [line for line in said.splitlines() if line.startswith("warning: ") and "one class alone" in line]
    assert alone == ["warning: domains of one class alone, which no stream can learn from without the other class: "
                     "a (real), b (real), c (real)"]  # fmt: skip
    assert "more unequal" not in said
    make_run(tiny_options("sequential", Path("mine"), stream=["a", "d"], unseen=[]))
    assert "note: a: there is one class alone to train on, and a network needs both" in capsys.readouterr().err
