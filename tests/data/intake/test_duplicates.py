"""Pairs of equal and similar images: those of the slow search, and never too many."""

import itertools

import numpy as np
import pandas as pd
import pytest

from cldf_core.data.intake.duplicates import CROWD, close_hashes, differing_bits, duplicates
from samples import survey_rows


def brute_force(table: pd.DataFrame, distance: int) -> set[tuple[str, int, str, str]]:
    found = set()
    for (_, a), (_, b) in itertools.combinations(table[table["used"]].iterrows(), 2):
        bits = bin(int(a["phash"], 16) ^ int(b["phash"], 16)).count("1")
        if a["sha256"] == b["sha256"]:
            found.add(("exact", bits, a["image"], b["image"]))
        elif bits <= distance:
            found.add(("near", bits, a["image"], b["image"]))
    return found


@pytest.mark.parametrize("distance", [0, 1, 4, 10, 15])
def test_duplicates_are_those_of_the_slow_search(distance, monkeypatch):
    monkeypatch.setattr("cldf_core.data.intake.duplicates.DISTANCE", distance)
    rng = np.random.default_rng(distance)
    centres = rng.integers(0, 1 << 63, 12, np.uint64)
    hashes = []
    for k in range(150):  # a few bits away from one of the centres
        flips = rng.choice(64, rng.integers(0, 8), replace=False)
        hashes.append(int(centres[k % 12]) ^ sum(1 << int(bit) for bit in flips))
    contents = [f"{rng.integers(100):064x}" for _ in hashes]
    of_content = dict(zip(contents, hashes, strict=True))  # one content, one hash
    table = survey_rows(150, sha256=contents, phash=[f"{of_content[content]:016x}" for content in contents])
    table["used"] = rng.random(150) < 0.95
    pairs, notes = duplicates(table)
    got = set(zip(pairs["kind"], pairs["distance"], pairs["image_1"], pairs["image_2"], strict=True))
    assert got == brute_force(table, distance)
    assert len(got) == len(pairs)
    assert {"exact", "near"} == set(pairs["kind"])
    assert notes == ()
    group = table.set_index("image")["group"].astype(str)
    assert (pairs["within_group"] == (pairs["image_1"].map(group) == pairs["image_2"].map(group))).all()


def test_a_hundred_thousand_hashes_are_searched_in_seconds():
    rng = np.random.default_rng(0)
    hashes = np.unique(rng.integers(0, 1 << 63, 100_000, np.uint64))
    hashes = np.unique(np.append(hashes, hashes[:50] ^ np.uint64(0b1011 << 30)))
    first, second, complete = close_hashes(hashes)
    assert complete
    assert len(first) >= 50
    assert (differing_bits(hashes[first], hashes[second]) <= 4).all()
    assert (first < second).all()


def test_flat_images_do_not_blow_up():
    table = survey_rows(3000, phash="8000000000000000")
    table.loc[2990:, ["split", "domain"]] = ["validation", "two"]
    pairs, (note,) = duplicates(table)
    assert len(pairs) == CROWD * (CROWD - 1) / 2
    assert note.startswith("one, two: 3000 images share their perceptual hash with 64 others or more, 64 are paired")
    assert {"train", "test", "validation"} == set(pairs["split_1"]) | set(pairs["split_2"])  # every kind is seen
    copies = survey_rows(3000, phash="8000000000000000", sha256="ab")
    pairs, notes = duplicates(copies)
    assert set(pairs["kind"]) == {"exact"}
    assert len(notes) == 2


def test_too_many_pairs_are_reported(monkeypatch):
    monkeypatch.setattr("cldf_core.data.intake.duplicates.MOST", 500)
    table = survey_rows(200, phash=[f"{1 << (k % 64):016x}" for k in range(200)])  # all two bits apart
    pairs, notes = duplicates(table)
    assert 0 < len(pairs) <= 500
    assert "there are more than 500 pairs" in notes[-1]


def test_unused_images_are_in_no_pair():
    assert duplicates(survey_rows(4, used=False)).pairs.empty


def test_only_pairs_that_differ_count_towards_the_most(monkeypatch):
    """A pair that agrees in several bands is one pair; so many as are listed at most are all of them."""
    hashes = np.random.default_rng(3).integers(0, 2**63, 300, np.uint64)
    hashes = np.unique(np.concatenate([hashes, hashes ^ np.uint64(1)]))
    for most, is_all in ((300, True), (299, False)):
        monkeypatch.setattr("cldf_core.data.intake.duplicates.MOST", most)
        first, second, found = close_hashes(hashes)
        assert found is is_all
        assert (hashes[first] ^ hashes[second] == 1).all()
