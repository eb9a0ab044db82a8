"""Images inside parquet files and tar shards become plain files with their bytes as they were, or one sentence says why
not.
"""

import contextlib
import io
import json
import os
import shutil
import struct
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cldf_core.cli import main
from cldf_core.data.domains import DataError
from cldf_core.data.intake import archives, containers, shards
from cldf_core.data.intake.add import add
from cldf_core.data.layouts.description import read_description, read_images
from samples import pictures, sentence_of, texture

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
Rows = Sequence[Mapping[str, Any]]


def picture(number: int = 0, kind: str = "JPEG") -> bytes:
    """A file of a small picture that has no equal."""
    file = io.BytesIO()
    Image.fromarray(texture(np.random.default_rng(number), number % 2 * 3)).save(file, kind)
    return file.getvalue()


def rows(count: int = 20, **columns: Any) -> list[dict[str, Any]]:
    """Rows with an image and a label, real and fake in turn; other columns hold a value or are functions of the row."""
    values = [
        {"image": {"bytes": picture(k), "path": f"{k}.jpg"}, "label": ("real", "fake")[k % 2]} for k in range(count)
    ]
    for k, row in enumerate(values):
        row |= {name: value(k) if callable(value) else value for name, value in columns.items()}
    return values


def parquet(path: Path, values: Rows, names: Iterable[str] | None = None, kind: Any = STRUCT, **settings: Any) -> Path:
    """Writes a file as the Hugging Face hub has them; the labels of numbers may have names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row[name] for row in values] for name in values[0]}
    arrays = {name: pa.array(cells, kind if name == "image" else None) for name, cells in columns.items()}
    features = {"label": {"names": [*names], "_type": "ClassLabel"}} if names else {}
    about = {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, **features}}})}
    pq.write_table(pa.table(arrays).replace_schema_metadata(about), path, **settings)
    return path


def tar(path: Path, files: Mapping[str, bytes | str] | Iterable[tuple[str, bytes | str]], mode: str = "w") -> Path:
    """Writes a tar with these members, in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as out:
        for name, content in files.items() if isinstance(files, Mapping) else files:
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def samples(count: int = 20, ending: str = "cls", said: Any = lambda k: ("real", "fake")[k % 2]) -> dict[str, Any]:
    """Members as WebDataset has them: an image, and beside it what is said of it."""
    files: dict[str, Any] = {}
    for k in range(count):
        value = said(k)
        files[f"{k:06}.jpg"] = picture(k)
        files[f"{k:06}.{ending}"] = value if isinstance(value, str) else json.dumps(value)
    return files


def added(source: Path, name: str = "mine", **settings: Any) -> tuple[pd.DataFrame, str]:
    """The table of an added data set, with the bytes of each image, and what was found."""
    folder, _ = add(source, name, **settings)
    table, about = read_images(folder), read_description(folder)
    root = folder / about.root
    assert about.root == "files"
    return table.assign(bytes=[(root / image).read_bytes() for image in table["image"]]), about.found


def of(table: pd.DataFrame, column: str) -> list[Any]:
    """A column in the order of the rows that were written."""
    return table.sort_values("image")[column].tolist()


def nothing_left(root: Path) -> bool:
    return not [path for path in (root / "data").glob("*") if path.suffix != ".lock"]


# --- parquet ---


@pytest.mark.parametrize("kind", ["struct", "binary", "large"])
@pytest.mark.parametrize("groups", [3, 100])
def test_images_in_a_parquet_file_become_files_with_their_bytes(root, tmp_path_factory, kind, groups):
    values = rows(20)
    values[3]["image"]["bytes"], values[4]["image"]["bytes"] = picture(3, "PNG"), picture(4, "WEBP")
    want = [row["image"]["bytes"] for row in values]
    types = {"struct": STRUCT, "binary": pa.binary(), "large": pa.large_binary()}
    if kind != "struct":
        values = [{"image": content, "label": row["label"]} for content, row in zip(want, values, strict=True)]
    file = parquet(tmp_path_factory.mktemp("x") / "faces.parquet", values, kind=types[kind], row_group_size=groups)
    table, found = added(file, None)
    assert of(table, "bytes") == want
    assert of(table, "label") == [0, 1] * 10
    assert of(table, "image")[:5] == [
        f"00000/0000000{k}.{s}" for k, s in enumerate(("jpg", "jpg", "jpg", "png", "webp"))
    ]
    assert (
        "Recognised table: a table of images and labels. 20 images, 10 real and 10 fake, in 1 domain: faces." in found
    )
    assert "Unpacked from 1 parquet file, the bytes of each image as they were." in found
    assert set(table["split"]) == {"train", "validation", "test"}
    assert set(table["domain"]) == {"faces"}


def test_a_folder_as_the_hub_has_it(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("x") / "hub"
    for place, split in enumerate(("train", "train", "validation", "test")):
        name = f"data/{split}-{place:05}-of-00004-0a1b.parquet"
        values = [row | {"label": ("real", "fake").index(row["label"]) ^ 1} for row in rows(4 + 2 * place)]
        parquet(home / name, values, ["Fake", "Real"])
    (home / "README.md").write_text("about")
    Image.fromarray(texture(np.random.default_rng(0), 0)).save(home / "teaser.png")
    table, found = added(home)
    assert table.groupby(["split", "label"]).size().to_dict() == {
        (split, label): n for split, n in (("train", 5), ("validation", 4), ("test", 5)) for label in (0, 1)
    }
    # The label is what its name says, whatever its number is.
    assert [picture(k) for k in range(4)] == of(table[table["split"] == "train"], "bytes")[:4]
    assert of(table[table["split"] == "train"], "label")[:4] == [0, 1, 0, 1]
    assert "Unpacked from 4 parquet files" in found
    assert "2 other files were ignored, the first is README.md." in found


def test_columns_of_splits_domains_videos_and_groups(root, tmp_path_factory):
    values = rows(
        8,
        split=lambda k: ("train", "valid", "test", "train")[k % 4],
        domain=lambda k: "ab"[k // 4],
        video=lambda k: f"v{k}",
    )
    more = {"group": 7, "prompt": "p", "generator": "gan"}  # which says nothing beside a domain
    file = parquet(tmp_path_factory.mktemp("x") / "train.parquet", [row | more for row in values])
    table, found = added(file)
    assert of(table, "split") == ["train", "validation", "test", "train"] * 2
    assert of(table, "domain") == [*"aaaabbbb"]
    assert of(table, "video") == [f"v{k}" for k in range(8)]
    assert set(table["group"]) == {"7"}
    assert "--domain-from" not in found


def test_files_that_are_all_called_train_have_no_split(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("x") / "hub"
    for k in range(2):
        parquet(home / f"train-0000{k}-of-00002.parquet", rows(10))
    table, found = added(home)
    assert set(table["split"]) == {"train", "validation", "test"}
    assert "All files are called train, which tells no split." in found
    table, _ = added(parquet(home.parent / "test-0.parquet", rows(10)), "other")
    assert set(table["split"]) == {"test"}


NAMES = [
    (["fake", "real"], [1, 0]),
    (["0_real", "1_fake"], [0, 1]),
    (["nature", "ai"], [0, 1]),
    (["AI-generated", "genuine"], [1, 0]),
]


@pytest.mark.parametrize(("names", "want"), NAMES, ids=lambda names: "-".join(map(str, names)))
def test_names_of_classes_say_what_numbers_mean(root, tmp_path_factory, names, want):
    values = [row | {"label": k % 2} for k, row in enumerate(rows(8))]
    table, _ = added(parquet(tmp_path_factory.mktemp("x") / "a.parquet", values, names))
    assert of(table, "label") == want * 4


UNCLEAR = [["human", "machine"], ["fake", "not fake"], ["real", "no_real"], ["real and fake", "x"], ["sd", "dalle"]]


@pytest.mark.parametrize("names", UNCLEAR, ids="-".join)
@pytest.mark.parametrize("by", ["names", "numbers"])
def test_classes_that_no_word_tells_are_asked_for(root, tmp_path_factory, names, by):
    values = [row | {"label": k % 2} for k, row in enumerate(rows(8))]
    file = parquet(tmp_path_factory.mktemp("x") / "a.parquet", values, names)
    sentence_of(lambda: add(file, "mine"), "a.parquet, row ", "has label", "; --labels tells what others mean")
    assert nothing_left(root)
    # A word that is a class itself needs no saying, and must not be said.
    said = [
        f"{name}={kind}" for name, kind in zip(names, ("fake", "real"), strict=True) if name not in ("real", "fake")
    ]
    if by == "numbers":
        assert of(added(file, labels="0=fake,1=real")[0], "label") == [1, 0] * 4
    elif len(said) == 2:
        assert of(added(file, labels=",".join(said))[0], "label") == [1, 0] * 4


def test_labels_of_many_kinds(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("x")
    kinds = {"bool": (False, True), "text": ("0", "1"), "float": (0.0, 1.0), "words": ("nature", "synthetic")}
    for name, pair in kinds.items():
        values = [row | {"label": pair[k % 2]} for k, row in enumerate(rows(8))]
        assert of(added(parquet(home / f"{name}.parquet", values), name)[0], "label") == [0, 1] * 4, name
    values = [row | {"label": 1 - k % 2, "class": row["label"]} for k, row in enumerate(rows(8))]
    twice = parquet(home / "twice.parquet", values)
    sentence_of(lambda: add(twice, "twice"), "row 1 (0.jpg) has the label '1' and class 'real'; needed: one class")
    assert of(added(twice, "twice", labels="1=real")[0], "label") == [0, 1] * 4
    upside = [row | {"image": {**row["image"], "path": f"{row['label']}/{k}.jpg"}} for k, row in enumerate(rows(8))]
    upside = parquet(home / "upside.parquet", [row | {"label": 1 - k % 2} for k, row in enumerate(upside)])
    sentence_of(lambda: add(upside, "upside"), "(real/0.jpg) has label '1', so fake", "says real", "--labels 1=real")
    assert of(added(upside, "upside", labels="1=real")[0], "label") == [0, 1] * 4


def test_a_column_names_the_generators_and_real_images_are_dealt_out(root, tmp_path_factory):
    makers = ["stabilityai/sd-2", "gan", "gan"]
    values = rows(36, model=lambda k: makers[k // 2 % 3] if k % 2 else ("", None, "Real")[k % 3], id=lambda k: k)
    file = parquet(tmp_path_factory.mktemp("x") / "a.parquet", values)
    table, found = added(file, "one")
    assert set(table["domain"]) == {"one"}
    assert "All is one domain; --domain-from may be one of model, id." in found
    sentence_of(lambda: add(file, "two", domain_from="maker"), "no such column; needed: one of image, label, model, id")
    assert nothing_left(root) or not (root / "data" / "two").exists()
    table, found = added(file, "three", domain_from="Model")
    counts = table.groupby(["domain", "label"]).size()
    assert counts["gan", 1] == 2 * counts["stabilityai-sd-2", 1] == 12
    assert abs(counts["gan", 0] - 12) <= 1  # each split is dealt out for itself
    assert counts["gan", 0] + counts["stabilityai-sd-2", 0] == 18
    assert "The 18 real images of real are dealt out to the 2 domains of fakes only, in each split" in found
    assert "Domains are what is called Model." in found
    assert of(table, "domain")[1:6:2] == ["stabilityai-sd-2", "gan", "gan"]
    nameless = parquet(file.with_name("b.parquet"), rows(4, model=lambda k: "gan" if k == 1 else ""))
    sentence_of(lambda: add(nameless, "four", domain_from="model"), "b.parquet, row 4 (3.jpg) has domain ''")


def test_real_images_are_dealt_out_within_each_split(root, tmp_path_factory):
    def split(k: int) -> str:
        return "train" if k < 24 else "test"

    values = rows(48, generator=lambda k: "ab"[k // 2 % 2] if k % 2 else "", split=split)
    table, _ = added(parquet(tmp_path_factory.mktemp("x") / "a.parquet", values))
    assert set(table.groupby(["split", "domain", "label"]).size()) == {6}


def test_rows_without_an_image_are_left_out_and_damaged_images_are_left_to_the_check(root, tmp_path_factory, capsys):
    values = rows(20)
    values[2]["image"] = None
    values[3]["image"] = {"bytes": None, "path": "x.jpg"}
    values[4]["image"]["bytes"] = b""
    values[5]["image"]["bytes"] = b"<html>not here</html>"
    values[6]["image"]["bytes"] = values[6]["image"]["bytes"][:200]
    file = parquet(tmp_path_factory.mktemp("x") / "a.parquet", values)
    assert main(["data", "add", str(file), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "16 files of a.parquet in" in said
    assert "4 rows without an image were left out, the first is a.parquet, row 3." in said
    assert "16 images: 15 can be used, 1 is rejected." in said
    empty = parquet(file.with_name("b.parquet"), [row | {"image": {"bytes": b"", "path": ""}} for row in rows(4)])
    sentence_of(lambda: add(empty, "b"), "b.parquet holds no image; looked for: .jpg, .jpeg, .png")
    assert not (root / "data" / "b").exists()


def test_structs_with_a_path_alone_are_a_table_of_files_beside_it(root, tmp_path_factory):
    home = pictures(tmp_path_factory.mktemp("x") / "set", ["a"], 4)
    paths = [{"bytes": None, "path": f"a/00{k}.png"} for k in range(4)]
    values = [{"image": paths[k], "label": k % 2} for k in range(4)]
    for kind in (STRUCT, pa.struct([("path", pa.string())])):
        if kind != STRUCT:
            values = [row | {"image": {"path": row["image"]["path"]}} for row in values]
        folder, extracted = add(parquet(home / "list.parquet", values, ["fake", "real"], kind), f"n{len(kind)}")
        assert extracted is None
        table = read_images(folder)
        assert sorted(table["image"]) == [f"a/00{k}.png" for k in range(4)]
        assert table.sort_values("image")["label"].tolist() == [1, 0, 1, 0]
    outside = parquet(home / "out.parquet", [{"image": {"path": "../../x.png"}, "label": 0}], None, kind)
    sentence_of(lambda: add(outside, "out"), "outside")


@pytest.mark.parametrize(
    "path", ["../../up.jpg", "/etc/passwd", "C:\\x.jpg", "a\0b", "a\nb.jpg", "x" * 5000, "\u202egpj.exe"]
)
def test_paths_in_a_container_name_no_file(root, tmp_path_factory, path):
    values = rows(6)
    for row in values:
        row["image"]["path"] = path
    before = set(root.rglob("*"))
    table, _ = added(parquet(tmp_path_factory.mktemp("x") / "a.parquet", values))
    assert of(table, "image") == [f"00000/0000000{k}.jpg" for k in range(6)]
    assert {p.relative_to(root).parts[:2] for p in set(root.rglob("*")) - before} <= {
        ("data",),
        ("data", "mine"),
        ("data", ".mine.lock"),
        ("data", ".mine.adding.lock"),
    }


HOSTILE: dict[str, tuple[Any, list[str]]] = {
    "10 MB of label": (
        rows(4, label="x" * 10_000_000),
        ["row 1 (0.jpg) has a label of 10,000,000 characters; allowed: 1,000"],
    ),
    "10 MB of domain": (rows(4, domain="x" * 10_000_000), ["has a domain of 10,000,000 characters"]),
    "line ends": (rows(4, domain="a\nb"), ["has the domain 'a\\nb'; needed: text on one line"]),
    "a domain up": (rows(4, domain="../up"), ["row 1 (0.jpg) has domain '../up'; needed: a name without /"]),
    "a split": (rows(4, split="dev"), ["row 1 (0.jpg) has split 'dev'; allowed: train"]),
    "no label": (
        [{"image": row["image"], "age": 3} for row in rows(4)],
        ["has the columns image, age; needed: a column label"],
    ),
    "null label": (rows(4, label=lambda k: "real" if k else None), ["row 1 (0.jpg) has label ''; allowed: 0 or real"]),
    "minus one": (rows(4, label=-1), ["has label '-1'"]),
    "twice": ([row | {"Label": "real"} for row in rows(4)], ["has the column 'label' twice"]),
    "lists": (rows(4, label=lambda k: [0, 1]), ["has the columns image, label; needed: a column label"]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_parquet_file_gets_one_sentence(root, tmp_path_factory, what):
    values, words = HOSTILE[what]
    sentence = sentence_of(lambda: add(parquet(tmp_path_factory.mktemp("x") / "a.parquet", values), "a"), *words)
    assert len(sentence) < 600
    assert nothing_left(root)


def test_files_that_git_has_not_fetched_are_told(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("x") / "set"
    parquet(home / "a.parquet", rows(4))
    (home / "b.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    for source in (home, home / "b.parquet"):
        sentence_of(lambda: add(source, "x"), "b.parquet only says where its content lies; needed: git lfs")  # noqa: B023


def test_several_columns_of_bytes_are_told(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("x")
    values = [{"jpg": row["image"]["bytes"], "label": row["label"]} for row in rows(6)]
    assert len(added(parquet(home / "a.parquet", values))[0]) == 6
    values = [row | {"mask": b"x"} for row in values]
    two = parquet(home / "b.parquet", values)
    sentence_of(lambda: add(two, "b"), "several columns of bytes, jpg, mask; needed: one, or one that is called image")


@pytest.mark.parametrize(
    "metadata", ["[" * 100_000, "{}", '{"info": 3}', '{"info": {"features": {"label": {"names": 5}}}}', "\\"]
)
def test_odd_metadata_name_no_classes(root, tmp_path_factory, metadata):
    values = [row | {"label": k % 2} for k, row in enumerate(rows(6))]
    file = parquet(tmp_path_factory.mktemp("x") / "a.parquet", values)
    pq.write_table(pq.read_table(file).replace_schema_metadata({"huggingface": metadata}), file)
    assert of(added(file)[0], "label") == [0, 1] * 3


def varint(number: int) -> bytes:
    return b"" if number < 0 else bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def with_footer(path: Path, footer: bytes, data: bytes = b"") -> Path:
    path.write_bytes(b"PAR1" + data + footer + struct.pack("<I", len(footer)) + b"PAR1")
    return path


def nested(depth: int) -> bytes:
    """What a parquet file says of itself, in Thrift's compact form, with a schema of groups within groups."""
    group, leaf = b"\x35\x02\x18\x01a\x15\x02\0", b"\x15\x0c\x25\x02\x18\x01b\0"
    elements = [b"\x48\x01s\x15\x02\0", *[group] * depth, leaf]
    return b"\x15\x02\x19\xfc" + varint(len(elements)) + b"".join(elements) + b"\x16\0\x19\x0c\0"


def test_files_that_are_no_parquet_inside(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("x")
    whole = parquet(home / "whole.parquet", rows(8)).read_bytes()
    for name, content in {
        "cut": whole[:-300],
        "empty": b"PAR1PAR1",
        "noise": b"PAR1" + os.urandom(999) + b"PAR1",
    }.items():
        (home / f"{name}.parquet").write_bytes(content)
        sentence_of(lambda: add(home / f"{name}.parquet", "x"), f"{name}.parquet cannot be read (")  # noqa: B023
    for depth in (50, 90, 5000, 500_000):
        deep = with_footer(home / "deep.parquet", nested(depth))
        sentence_of(lambda: add(deep, "x"), "deep.parquet ")  # noqa: B023
    for place in range(100, len(whole) - 1500, 499):  # damaged images are left to the check, damaged pages are told
        (home / "bad.parquet").write_bytes(whole[:place] + bytes([whole[place] ^ 255]) * 40 + whole[place + 40 :])
        try:
            add(home / "bad.parquet", f"bad{place}")
        except DataError:
            assert not (root / "data" / f"bad{place}").exists()
    for place in range(len(whole) - 8 - struct.unpack("<I", whole[-8:-4])[0], len(whole) - 8, 3):
        (home / "bad.parquet").write_bytes(whole[:place] + bytes([whole[place] ^ 7]) + whole[place + 1 :])
        with contextlib.suppress(DataError):  # and no other error, nor the end of this process
            for shard in containers.shards(home / "bad.parquet"):
                with archives.refusals_told(home, home):
                    assert all(facts.get("label") != "" for _, facts in shard.records(1000, "", ""))
                    assert len([*shard.images()]) <= 1000
    assert not list((root / "data").glob("x*"))


def test_a_parquet_bomb_is_refused_before_it_is_read(root, tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("x")
    zeros = [row | {"image": {"bytes": bytes(40 << 20), "path": ""}} for row in rows(4)]
    file = parquet(home / "zeros.parquet", zeros, compression="zstd", use_dictionary=False)
    read = Mock(side_effect=AssertionError)
    with monkeypatch.context() as patch:
        patch.setattr(shards.ParquetShard, "_batches", read)
        sentence_of(lambda: add(file, "x"), "zeros.parquet unpacks to 167,", "bytes; allowed: 200 times its size")
        many = parquet(home / "many.parquet", rows(20))
        patch.setattr(shards.ParquetShard, "holds_images", lambda self: True)
        sentence_of(lambda: add(many, "x", most_members=19), "has 20 rows; allowed: 19, or as many as --most-members")
    # One image in all rows, which the file holds once.
    noise = picture() + np.random.default_rng(0).bytes(400_000)
    same = [row | {"image": {"bytes": noise, "path": ""}} for row in rows(2)] * 300
    file = parquet(home / "same.parquet", same, dictionary_pagesize_limit=1 << 30)
    assert file.stat().st_size < 1_000_000
    sentence_of(lambda: add(file, "x"), "same.parquet has an image of 400,", "allowed: 268,435,456, and 200 times")
    monkeypatch.setattr(shards, "LARGEST", 300_000)
    sentence_of(lambda: add(file, "x"), "has an image of 400,")
    assert nothing_left(root)


def test_declared_rows_that_are_not_there(root, tmp_path_factory):
    file = parquet(tmp_path_factory.mktemp("x") / "a.parquet", rows(70), row_group_size=70)
    content = file.read_bytes()
    # The number of rows of the file and of its row group, both 70, become 100,069.
    end = struct.unpack("<I", content[-8:-4])[0]
    footer = content[-8 - end : -8]
    assert footer.count(b"\x16\x8c\x01") >= 2
    lie = footer.replace(b"\x16\x8c\x01", b"\x16" + varint(200_138))
    with_footer(file, lie, content[4 : -8 - end])
    assert pq.ParquetFile(file).metadata.num_rows == 100_069
    assert of(added(file)[0], "bytes") == [picture(k) for k in range(70)]
    sentence_of(lambda: add(file, "x", most_members=100_000), "has 100,069 rows; allowed: 100,000")


# --- tar shards ---


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_with_labels_beside_images(root, tmp_path_factory, mode):
    table, found = added(tar(tmp_path_factory.mktemp("x") / "faces.tar", samples(20), mode), None)
    assert of(table, "bytes") == [picture(k) for k in range(20)]
    assert of(table, "label") == [0, 1] * 10
    assert set(table["domain"]) == {"faces"}
    assert "Unpacked from 1 tar shard" in found


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("cls", lambda k: f"{k % 2}\n"),
        ("txt", lambda k: ("real", "1")[k % 2]),
        ("json", lambda k: {"label": k % 2, "width": 32, "boxes": [1]}),
        ("json", lambda k: {"Class": ("nature", "ai")[k % 2]}),
        ("json", lambda k: {"label": bool(k % 2), "class": None}),
    ],
)
def test_labels_beside_images_have_many_forms(root, tmp_path_factory, ending, said):
    assert of(added(tar(tmp_path_factory.mktemp("x") / "a.tar", samples(8, ending, said)))[0], "label") == [0, 1] * 4


def test_json_says_all_that_a_column_may(root, tmp_path_factory):
    def said(k: int) -> dict[str, Any]:
        return {
            "label": k % 2,
            "generator": "gan" if k % 2 else None,
            "split": ("train", "test")[k // 4],
            "video": f"v{k}",
        }

    files = samples(8, "json", said) | {"README.md": "x", ".hidden.jpg": "x", "000003.mask.png": picture(3, "PNG")}
    table, found = added(tar(tmp_path_factory.mktemp("x") / "a.tar", {**files, "000099.json": '{"label": 0}'}))
    assert of(table, "bytes") == [picture(k) for k in range(8)]
    assert set(table["domain"]) == {"gan"}
    assert of(table, "split") == ["train"] * 4 + ["test"] * 4
    assert of(table, "video") == [f"v{k}" for k in range(8)]
    assert "1 row without an image was left out, the first is a.tar, 000099." in found


def test_shards_in_a_folder_may_have_the_same_keys_and_one_may_be_empty(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("x") / "set"
    tar(home / "train" / "00000.tar", samples(6))
    tar(home / "train" / "00001.tar", {})
    tar(home / "test-00000.tar", samples(4))
    table, found = added(home)
    assert table.groupby("split").size().to_dict() == {"test": 4, "train": 6}
    assert of(table, "image")[::4] == ["00000/00000000.jpg", "00001/00000000.jpg", "00001/00000004.jpg"]
    assert (
        "Unpacked from 3 tar shards, the bytes of each image as they were. Without an image: train/00001.tar." in found
    )


def test_a_folder_of_tars_that_cannot_be_read_names_the_first(root, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "0.tar").write_bytes(tar(tmp_path / "whole.tar", samples(8)).read_bytes()[:700])
    sentence_of(lambda: add(home, "x"), str(home / "0.tar"), "is no shard that can be read")


def test_a_tar_in_a_known_layout_stays_an_archive(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("x")
    files = {f"{kind}/{k}.{end}": picture(k) if end == "jpg" else '{"label": 0}'
             for kind in ("real", "fake") for k in range(4) for end in ("jpg", "json")}  # fmt: skip
    folder, extracted = add(tar(home / "a.tar", files), "a")
    assert read_description(folder).layout == "imagefolder"
    assert (folder / "files" / "fake" / "3.jpg").read_bytes() == picture(3)
    pictures(home / "b", ["real", "fake"], 4)
    parquet(home / "b" / "more.parquet", rows(4))
    tar(home / "b" / "more.tar", samples(4))
    folder, extracted = add(home / "b", "b")
    assert extracted is None
    assert read_description(folder).layout == "imagefolder"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([*samples(6).items(), ("000002.jpg", b"x")], ["its member '000002.jpg' comes twice"]),
        ({**samples(6), "000002.png": picture()}, ["'000002.png' is a second image of '000002'; allowed: one"]),
        ({**samples(6), "../up.jpg": picture()}, ["'../up.jpg' leads out of the folder"]),
        ({**samples(6), "000006.jpg": picture()}, ["a.tar, 000006 has label ''; allowed: 0 or real"]),
        ({**samples(6), "000001.json": '{"label": "real"}'}, ["a.tar, 000001 has the label 'real' and cls 'fake'"]),
        ({**samples(6), "000001.json": '{"label": 1, "LABEL": 0}'}, ["the name 'label' comes twice"]),
        ({**samples(6), "000001.json": "[" * 100_000}, ["'000001.json' cannot be read", "one JSON object"]),
        ({**samples(6), "000001.json": "[1]"}, ["'000001.json' cannot be read"]),
        ({**samples(6), "000001.json": '{"domain": "\\ud800"}'}, ["has the domain '\\ud800'; needed: text on one"]),
        ({**samples(6), "000001.txt": b"\xff\xfe"}, ["'000001.txt' cannot be read"]),
        ({**samples(6), "000009.cls": "x" * 10_000_000}, ["'000009.cls' has 10,000,000 bytes of text; allowed: 1,048"]),
        ({**samples(6), "000006.jpg": picture(), "000006.cls": "x" * 9999}, ["has a label of 9,999 characters"]),
    ],
    ids=lambda value: str(value)[-20:] if isinstance(value, list) else "",
)
def test_a_hostile_shard_gets_one_sentence(root, tmp_path_factory, files, words):
    file = tar(tmp_path_factory.mktemp("x") / "a.tar", files)
    assert len(sentence_of(lambda: add(file, "a"), str(file.name), *words)) < 600
    assert nothing_left(root)


def test_shards_of_two_kinds_and_shards_with_something_else(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("x") / "set"
    tar(home / "a.tar", samples(4))
    parquet(home / "b.parquet", rows(4))
    sentence_of(lambda: add(home, "x"), "parquet files with images, such as b.parquet, and tar shards, such as a.tar")
    (home / "b.parquet").unlink()
    tar(home / "c.tar", {"1.jpg": picture(1), "2.jpg": picture(2)})
    sentence_of(lambda: add(home, "x"), "c.tar, 1 has label ''")
    (home / "c.tar").write_bytes(b"no tar")
    sentence_of(lambda: add(home, "x"), "c.tar is no whole archive")
    (home / "c.tar").write_bytes((home / "a.tar").read_bytes()[:4000])
    sentence_of(lambda: add(home, "x"), "c.tar is damaged or cut short")
    sentence_of(lambda: add(home, "x", sha256="00"), "set is a folder, but --sha256 is given")
    assert nothing_left(root)


# --- interruptions ---


def sources(home: Path) -> list[Path]:
    return [parquet(home / "a.parquet", rows(12)), tar(home / "b.tar", samples(12))]


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("problem", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=repr)
def test_the_same_call_goes_on(root, tmp_path_factory, monkeypatch, capsys, kind, problem):
    source = sources(tmp_path_factory.mktemp("x"))[kind]
    call, write, written = ["data", "add", str(source), "--name", "mine", "--workers", "1"], Path.write_bytes, []

    def stopped(path: Path, content: bytes) -> int:
        if path.suffix == ".jpg":
            written.append(path.name)
            if len(written) == 5:
                write(path, content[:50])
                raise problem
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", stopped)
        assert main(call) == (2 if isinstance(problem, OSError) else 130)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not (root / "data" / "mine" / "dataset.yaml").exists()
    kept = (root / "data" / "mine" / ".files.part").exists()
    assert kept == isinstance(problem, OSError)
    again = len(written)
    monkeypatch.setattr(Path, "write_bytes", stopped)
    assert main(call) == 0
    assert len(written) - again == (8 if kept else 12)
    table = read_images(root / "data" / "mine")
    assert [(root / "data/mine/files" / image).read_bytes() for image in sorted(table["image"])] == [
        picture(k) for k in range(12)
    ]
    assert main(call) == 2


@pytest.mark.parametrize("kind", [0, 1])
def test_a_disk_that_is_too_small_is_told_before_anything_is_written(root, tmp_path_factory, monkeypatch, kind):
    source = sources(tmp_path_factory.mktemp("x"))[kind]
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=archives.SPARE + 1000))
    sentence_of(lambda: add(source, "mine"), "cannot be made", "bytes do not fit into 1,000, with 1 GiB to spare")
    assert nothing_left(root)


def test_the_checksum_of_a_file_and_a_second_call_with_another_column(root, tmp_path_factory):
    values = rows(12, model=lambda k: ("", "gan", "", "sd")[k % 4])
    source = parquet(tmp_path_factory.mktemp("x") / "a.parquet", values)
    sentence_of(lambda: add(source, "mine", sha256="00"), "a.parquet has the sha256", "; needed: 00")
    assert nothing_left(root)
    add(source, "mine", sha256=containers.checked_hash(source, None))
    sentence_of(lambda: add(source, "mine", domain_from="model"), "there is a data set 'mine' in")
    before = {p: p.stat().st_mtime_ns for p in (root / "data/mine/files").glob("*/*")}
    folder, _ = add(source, "mine", domain_from="model", replace=True)
    assert set(read_images(folder)["domain"]) == {"gan", "sd"}
    assert {p: p.stat().st_mtime_ns for p in (root / "data/mine/files").glob("*/*")} == before
    # Others take their place when they are there, and only then.
    parquet(source, rows(14))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cldf_core.data.intake.add.description.write_description", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            add(source, "mine", replace=True)
    assert set(read_images(folder)["domain"]) == {"gan", "sd"}
    assert {p: p.stat().st_mtime_ns for p in (root / "data/mine/files").glob("*/*")} == before
    for count, place in ((14, "files-2"), (16, "files")):
        parquet(source, rows(count))
        add(source, "mine", replace=True)
        assert len(read_images(folder)) == count
        assert read_description(folder).root == place
        assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [place]


def test_memory_stays_small(root, tmp_path_factory):
    """Measured in pyarrow's own memory, which tracemalloc does not see."""
    values = rows(64)
    for row in values:
        row["image"]["bytes"] += np.random.default_rng(0).bytes(1 << 20)
    home = tmp_path_factory.mktemp("x")
    file = parquet(home / "a.parquet", values, use_dictionary=False, data_page_size=1 << 20, write_batch_size=1)
    pool = pa.default_memory_pool()
    shard = shards.ParquetShard(file, "a")
    before, most = pool.bytes_allocated(), 0
    for _, content in shard.images():
        most = max(most, pool.bytes_allocated() - before)
        assert len(content) > 1 << 20
    assert most < 8 << 20
