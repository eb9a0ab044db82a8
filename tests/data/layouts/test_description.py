"""The description of a data set is read strictly, and what a person has edited is kept."""

import pandas as pd
import pytest

from cldf_core.data.intake.add import register
from cldf_core.data.layouts.description import read_description
from cldf_core.data.layouts.read import read_domains
from samples import pictures, sentence_of


@pytest.fixture
def faces(root, tmp_path_factory):
    """The folder of a registered data set."""
    return register(pictures(tmp_path_factory.mktemp("home") / "faces", ["real", "fake"]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: "a: [", ["dataset.yaml is not readable YAML"]),
        (lambda y: "- a", ["dataset.yaml holds a list"]),
        (lambda y: y + "colour: red\n", ["the key 'colour' is unknown; needed: name, root, layout"]),
        (lambda y: y.replace("seed: 0\n", ""), ["the key 'seed' is missing"]),
        (lambda y: y.replace("seed: 0", "seed: zero"), ["seed is 'zero'; needed: a whole number or null"]),
        (lambda y: y.replace("name: faces", "name: [7]"), ["name is ['7']; needed: text"]),
        (lambda y: y + "seed: 1\n", ["gives 'seed' twice"]),
        (lambda y: y + "#" * 2_000_000, ["bytes; allowed: 1,048,576"]),
        (lambda y: y.replace("made: ", "made: some day in "), ["made is 'some day in", "a date such as"]),
        (lambda y: y.replace("images.csv", "other.csv"), ["there is no ", "other.csv"]),
        (lambda y: y.replace("root: ", "root: /nowhere"), ["root is '/nowhere", "needed: the folder of the images"]),
    ],
)
def test_a_faulty_description_is_told(faces, change, words):
    path = faces / "dataset.yaml"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    sentence_of(lambda: read_domains(faces, ["faces"]), str(faces), *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="group"), ["images.csv lacks the column 'group'"]),
        (lambda t: t.assign(colour="red"), ["images.csv has an unknown column 'colour'"]),
        (lambda t: t.assign(label=["0", "2"] * 5), ["row 3 has label '2'; allowed: 0, 1"]),
        (lambda t: t.assign(split="dev"), ["row 2 has split 'dev'; allowed: train, validation, test"]),
        (lambda t: t.assign(group=""), ["row 2 has group ''"]),
        (lambda t: t.assign(domain="a/b"), ["row 2 has domain 'a/b'"]),
        (lambda t: t.assign(image="../x.png"), ["row 2 has image '../x.png'", "without .."]),
        (lambda t: pd.concat([t, t[:1]]), ["row 12 has image", "once in a domain"]),
        (lambda t: t.replace("real/003.png", "real/9.png"), ["has the image 'real/9.png', but there is no such file"]),
        (lambda t: t[:0], ["has no rows"]),
    ],
)
def test_a_faulty_table_of_images_is_told(faces, change, words):
    path = faces / "images.csv"
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)
    sentence_of(lambda: read_domains(faces, ["faces"]), str(path), *words)


def test_an_edited_split_is_kept(faces):
    table = pd.read_csv(faces / "images.csv", dtype=str, keep_default_na=False)
    table.assign(split="test").drop(columns="video").to_csv(faces / "images.csv", index=False)
    (domain,) = read_domains(faces, ["faces"])
    assert set(domain.table["split"]) == {"test"}
    sentence_of(lambda: read_domains(faces, ["other"]), "there is no domain 'other'", "allowed: faces")


def test_the_earlier_name_of_the_originals_layout_is_read(faces):
    text = (faces / "dataset.yaml").read_text(encoding="utf-8")
    (faces / "dataset.yaml").write_text(text.replace("layout: imagefolder", "layout: seed"), encoding="utf-8")
    assert read_description(faces).layout == "original"
