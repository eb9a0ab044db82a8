"""Domains check their tables; fingerprints, validation images, and what is tied together."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cldf_core.data.domains import DataError, Domain, tied_together, with_validation
from samples import content_fingerprint, make_data, read_domain, write_splits


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="split"), "lacks split; needed: image, label, split, group"),
        (lambda t: t.assign(label=2), "has label .*2.*; allowed: 0 real, 1 fake"),
        (lambda t: t.assign(split="dev"), "has split 'dev'; allowed: train, validation, test"),
    ],
)
def test_a_domain_checks_its_table(tmp_path, change, words):
    table = pd.DataFrame({"image": ["a.png"], "label": [0], "split": ["train"], "group": ["a"]})
    Domain("x", tmp_path, table)
    with pytest.raises(DataError, match=f"domain 'x'.* {words}"):
        Domain("x", tmp_path, change(table))


def test_the_fingerprint_is_that_of_names_labels_splits_and_contents(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2)
    base = content_fingerprint(read_domain(data))
    assert shutil.copytree(data, tmp_path / "copy")
    assert content_fingerprint(read_domain(tmp_path / "copy")) == base  # wherever it lies
    image = data / "real" / "first" / "trainA" / "image00.png"
    content = image.read_bytes()
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert content_fingerprint(read_domain(data)) != base
    image.write_bytes(content)
    assert content_fingerprint(read_domain(data)) == base
    image.rename(image.with_name("other.png"))
    assert content_fingerprint(read_domain(data)) != base
    image.with_name("other.png").rename(image)
    write_splits(data)
    assert content_fingerprint(read_domain(data)) != base


groups_of_rows = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), min_size=1, max_size=40)


def domain_of(rows: list[tuple[int, int]], name: str = "x", others: int = 3) -> Domain:
    """Training images of the given groups and labels, and some test images of groups of their own."""
    table = pd.DataFrame(rows, columns=["group", "label"]).assign(split="train")
    table = pd.concat([table, pd.DataFrame({"group": range(90, 90 + others), "label": 0, "split": "test"})])
    return Domain(
        name, Path(), table.assign(image=[f"{k}.png" for k in range(len(table))], group=table["group"].map(str))
    )


@settings(deadline=None, max_examples=60)
@given(rows=groups_of_rows, percent=st.integers(1, 99), seed=st.integers(0, 2**31 - 1))
def test_validation_images_are_whole_groups_of_the_training_images(rows, percent, seed):
    domain = domain_of(rows)
    got = with_validation(domain, percent / 100, seed)
    before, after = domain.table, got.table
    pd.testing.assert_frame_equal(after.drop(columns="split"), before.drop(columns="split"))
    groups = {split: set(after.loc[after["split"] == split, "group"]) for split in ("train", "validation", "test")}
    assert not groups["train"] & groups["validation"]
    assert len(groups["validation"]) == percent * len({g for g, _ in rows}) // 100
    assert groups["train"]
    assert (after.loc[before["split"] == "test", "split"] == "test").all()
    assert (got.notes == ()) == bool(groups["validation"])


def test_the_draw_of_validation_groups_hangs_on_seed_and_name_alone():
    rows = [(k, k % 2) for k in range(20)]

    def drawn(name: str, seed: int, order: list[tuple[int, int]]) -> set[str]:
        table = with_validation(domain_of(order, name), 0.25, seed).table
        return set(table.loc[table["split"] == "validation", "group"])

    first = drawn("x", 0, rows)
    assert len(first) == 5
    assert drawn("x", 0, rows[::-1]) == first
    assert drawn("x", 1, rows) != first
    assert drawn("y", 0, rows) != first


def test_a_share_that_comes_to_no_group_is_noted():
    got = with_validation(domain_of([(0, 0), (0, 1), (1, 0)]), 0.4, 0)
    assert set(got.table["split"]) == {"train", "test"}
    assert got.notes == ("x: validation_share 0.4 of its 2 training groups comes to none",)
    domain = domain_of([(0, 0)])
    assert with_validation(domain, 0, 0) is domain
    assert with_validation(domain_of([]), 0.5, 0).notes == ()  # nothing to draw from


@settings(deadline=None, max_examples=60)
@given(pairs=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=8))
def test_names_are_tied_together_directly_and_by_others(pairs):
    together = {name: {name} for pair in pairs for name in pair}
    for _ in pairs:
        for one, other in pairs:
            together[one] = together[other] = together[one] | together[other]
    assert tied_together(pairs) == {name: min(together[name]) for name in together}
    assert list(tied_together(pairs)) == sorted(together)
