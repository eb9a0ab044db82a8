"""The original's layout and its splits.csv are read, and what is missing is told."""

import pandas as pd
import pytest
from PIL import Image

from cldf_core.data.domains import DataError
from cldf_core.data.layouts.read import data_folder, domain_names, read_domains
from samples import make_data, photo, read_domain, sentence_of, write_splits


def test_the_originals_layout_is_read(small_data):
    assert domain_names(small_data) == ["first", "second", "third", "unseen"]
    domain = read_domain(small_data, "second")
    counts = domain.table.groupby(["label", "split"]).size().to_dict()
    assert counts == {(label, split): n for label in (0, 1) for split, n in (("train", 8), ("test", 6))}
    for row in domain.table.itertuples():
        kind, name, part, _ = row.image.split("/")
        assert (kind, name) == (("real", "fake")[row.label], "second")
        assert part.startswith(row.split)


def test_train_b_and_other_spellings_count(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2)
    base = data / "real" / "first"
    image = Image.fromarray(photo())
    for place in ("trainB/a.JPG", "trainB/b.jpeg", "testB/c.PNG", "val/d.Jpg", "trainA/deeper/e.png"):
        (base / place).parent.mkdir(parents=True, exist_ok=True)
        image.save(base / place)
    (base / "trainA" / "notes.txt").write_text("not an image")
    (data / "fake" / "first" / "ValidationA").mkdir()
    image.save(data / "fake" / "first" / "ValidationA" / "v.png")
    domain = read_domain(data)
    split_of = dict(zip(domain.table["image"], domain.table["split"], strict=True))
    assert len(split_of) == len(domain.table) == 8 + 6
    assert {image: split for image, split in split_of.items() if "/image0" not in image} == {
        "real/first/trainB/a.JPG": "train",
        "real/first/trainB/b.jpeg": "train",
        "real/first/testB/c.PNG": "test",
        "real/first/val/d.Jpg": "validation",
        "real/first/trainA/deeper/e.png": "train",
        "fake/first/ValidationA/v.png": "validation",
    }


def test_the_order_is_that_of_the_names_not_of_the_disk(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=3, test=1)
    first = read_domain(data).table
    for path in sorted((data / "real").rglob("*.png"), reverse=True):  # written again in another order
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    pd.testing.assert_frame_equal(first, read_domain(data).table)
    images = first[first["label"] == 0]["image"].tolist()
    assert images == sorted(images)


def test_splits_csv_says_it_file_by_file(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2)
    write_splits(data)
    written = pd.read_csv(data / "splits.csv", index_col="file")
    got = read_domain(data).table.set_index("image")[["split", "group"]]
    pd.testing.assert_frame_equal(got, written.loc[got.index], check_names=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="group"), ["splits.csv", "lacks the column 'group'", "file, split, group"]),
        (lambda t: t.iloc[1:-1], ["splits.csv", "does not mention", "such images: 2"]),
        (lambda t: t.assign(split="holdout"), ["split 'holdout'", "train, validation, test"]),
        (lambda t: pd.concat([t, t.iloc[:1]]), ["splits.csv", "twice", "fake/first/testA/image00.png"]),
    ],
    ids=["column", "file", "split", "twice"],
)
def test_a_faulty_splits_csv_is_told(tmp_path, change, words):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2)
    write_splits(data, change)
    sentence_of(lambda: read_domain(data), *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"real/first/trainA/image00.png,train,1\n", "lacks the column 'file'"),
        (b"file,split,group\na.png,train,1,2\n", "row 2 has 4 values; needed: 3"),
        (b"file,split,group\na.png\n", "row 2 has 1 value; needed: 3"),
        (b"\xff\xfe\x00PNG", "cannot be read"),
        (b"file;split;group\na;train;1\n", "separates its columns by ';'"),
    ],
    ids=["empty", "header", "long", "short", "binary", "semicolons"],
)
def test_a_splits_csv_that_is_no_table_is_told(tmp_path, content, words):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2)
    (data / "splits.csv").write_bytes(content)
    sentence_of(lambda: read_domain(data), "splits.csv", words)


def test_missing_things_are_told_with_folder_and_what_is_allowed(tmp_path, root, small_data):
    with pytest.raises(DataError, match=r"data is 'nowhere': there is no such folder; allowed: mini, mini-smoke, or a"):
        data_folder("nowhere")
    with pytest.raises(DataError, match=r"there is no domain 'forth' in .*; allowed: first, second, third, unseen"):
        read_domains(small_data, ["forth"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"empty holds no domain; needed: folders real/<domain>/ and fake/<domain>/"):
        read_domains(empty, ["first"])
    (empty / "real" / "first" / "trainA").mkdir(parents=True)
    with pytest.raises(DataError, match=r"'first' in .* holds no images; looked for: \.jpg, \.jpeg, \.png"):
        read_domains(empty, ["first"])
    Image.fromarray(photo()).save(empty / "real" / "first" / "loose.png")
    with pytest.raises(DataError, match=r"loose\.png is in none of the folders train\*, val\* or test\*"):
        read_domains(empty, ["first"])


def test_a_folder_is_found_absolutely_and_from_the_root(root, small_data, monkeypatch, tmp_path_factory):
    assert data_folder(str(small_data)) == small_data.resolve()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (root / "data" / "mine").mkdir(parents=True)
    assert data_folder("data/mine") == (root / "data" / "mine").resolve()
