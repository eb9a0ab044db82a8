"""Audits: each planted shortcut or leak is found, and no other; the card tells them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cldf_core.data.domains import DataError
from cldf_core.data.intake import audit, scan
from samples import survey_rows, texture


def test_tables_are_checked():
    with pytest.raises(DataError, match="audit: the table lacks domain, group; needed: a survey joined"):
        audit.tables(survey_rows(4).drop(columns=["domain", "group"]))
    with pytest.raises(DataError, match=r"audit: 2\.jpg has label .*3.*; allowed: 0 real, 1 fake"):
        audit.tables(survey_rows(4, label=[0, 1, 3, 0]))
    with pytest.raises(DataError, match=r"audit: 1\.jpg is not in the survey"):
        audit.tables(survey_rows(4, used=[True, None, True, True]))
    assert audit.warnings(survey_rows(4, used=False)) == audit.warnings(survey_rows(240)) == []


def test_tables_count_each_fact():
    table = survey_rows(12, exif_date=["2020-03-04 05:06:07"] * 3 + [""] * 9, mtime_ns=int(86400e9 * 31))
    table.loc[0, ["used", "reason"]] = [False, "empty (0 bytes)"]
    table.loc[1, ["format", "quality", "mode"]] = ["PNG", np.nan, "L"]
    got = audit.tables(table)
    assert set(got) == {"counts", "format", "size", "quality", "mode", "date"}
    counts = got["counts"].set_index(["split", "class"])
    assert counts.loc[("test", "real")].tolist() == ["one", 2, 1, 2]
    assert counts["images"].sum() == 12
    for name in ("format", "size", "mode", "date"):
        assert got[name]["images"].sum() == 11
        assert {"domain", "class", "images"} <= set(got[name])
    assert got["quality"]["images"].sum() == 10
    dates = got["date"].groupby(["source", "month"])["images"].sum()
    assert dates.to_dict() == {("EXIF", "2020-03"): 2, ("file", "1970-02"): 9}


def planted(fault: str) -> pd.DataFrame:
    table = survey_rows(240)
    fake = table["label"] == 1
    some, every_tenth_real = fake & (table.index % 3 > 0), fake | (table.index % 10 == 0)
    train, test = (table.index[table["split"] == part] for part in ("train", "test"))
    copy = dict(table.loc[train[0], ["sha256", "phash"]])
    rows, values = {
        "format": (some, {"format": "PNG", "quality": np.nan}),
        "mode": (some, {"mode": "L", "colours": "grey"}),
        "quality": (fake, {"quality": 75.0}),
        "size": (some, {"width": 256, "height": 256}),
        "exact": (test[0], copy),
        "near": (test[0], {"phash": f"{int(copy['phash'], 16) ^ 0b1101:016x}"}),
        "both classes": (train[1], copy),
        "imbalance": (fake, {}),
    }[fault]
    table.loc[rows, list(values)] = list(values.values())
    return table[every_tenth_real] if fault == "imbalance" else table


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("format", "one: file format differs by class: real 100 % JPEG; fake 67 % PNG, 33 % JPEG"),
        ("mode", "one: colour mode differs by class: real 100 % RGB; fake 67 % L, 33 % RGB"),
        ("quality", "one: JPEG quality differs by class: the median is 90 for real, 75 for fake"),
        ("size", "one: image size differs by class: the median is 128 x 128 for real, 256 x 256 for fake"),
        ("exact", "one: images with the same content are in different splits (pairs: 1, such as 0.jpg (test) and 2."),
        ("near", "one: near-duplicates are in different splits (pairs: 1, such as 0.jpg (test) and 2.jpg (train))"),
        ("both classes", "one: images with the same content are in both classes (pairs: 1, such as 2.jpg"),
        ("imbalance", "one: 16 real and 80 fake images in train are more unequal than 4 to 1"),
    ],
)
def test_a_planted_fault_is_found_and_no_other(fault, sentence):
    found = audit.warnings(planted(fault))
    assert any(text.startswith(sentence) for text in found), found
    also = {"format": 1, "mode": 2, "quality": 1, "size": 1, "imbalance": 1}  # a classifier, and grey, tell them too
    assert len(found) == 1 + also.get(fault, 0), found


def test_each_domain_is_judged_by_itself():
    # What gives the fakes of one domain away is turned round in the other.
    one, two = survey_rows(240), survey_rows(240, seed=1, domain="two")
    for table, label in ((one, 0), (two, 1)):
        table.loc[table["label"] == label, ["format", "quality"]] = ["PNG", np.nan]
    both = pd.concat([one, two], ignore_index=True)
    result = audit.format_baseline(both)
    for name in ("one", "two"):
        assert result["domains"][name]["without file size"]["balanced accuracy"] == 1
        assert sum(text.startswith(f"{name}: file format differs") for text in audit.warnings(both)) == 1
    overall = result["overall"]["without file size"]
    assert overall["low"] <= 0.5 <= overall["high"]


def written(folder: Path, fakes: str) -> pd.DataFrame:
    """Files of one domain, surveyed and joined: 60 real JPEG files and as many fakes."""
    labels = []
    for label, kind in ((0, "JPEG"), (1, fakes)):
        for k in range(60):
            name = f"{label}/{k}.{kind.lower()}"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(texture(np.random.default_rng(100 * label + k), 0, 64)).save(folder / name, kind)
            labels.append((name, label, "first", "test" if k % 3 == 0 else "train", f"{label} {k}"))
    table = pd.DataFrame(labels, columns=["image", "label", "domain", "split", "group"])
    return table.merge(scan.survey(folder, table["image"], workers=1), on="image")


def test_from_files_to_warnings_and_card(tmp_path):
    clean = written(tmp_path / "clean", "JPEG")
    assert audit.warnings(clean) == []
    card = audit.card(clean, "Textures, made for a test.")
    assert card.startswith("# Data card\n\nTextures, made for a test.\n")
    assert "## Warnings\n\nNone.\n" in card

    faulty = written(tmp_path / "faulty", "PNG")
    value = audit.format_baseline(faulty)["domains"]["first"]["all facts"]
    assert value["low"] > 0.9
    broken = faulty.index[:2]
    faulty.loc[broken, ["used", "reason"]] = [[False, "empty (0 bytes)"], [False, "animated (3 frames)"]]
    faulty.loc[5, "rule"] = "a | b"
    card = audit.card(faulty, "More textures.")
    for line in (
        "| first | train | real | 40 | 39 | 40 |",
        "| first | fake | PNG | 60 |",
        "| first | real | empty | 1 |",
        "| first | real | animated | 1 |",
        "| first | real | a \\| b | 1 |",
        "- first: file format differs by class: real 100 % JPEG; fake 100 % PNG",
        "- first: a classifier that sees only facts of the files has a balanced accuracy of 1.000 [0.910, 1.000]",
    ):
        assert line in card, card
