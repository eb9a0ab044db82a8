"""Splits are drawn by whole groups, in the wanted shares, and depend on nothing but seed and names."""

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from cldf_core.data.domains import SPLITS
from cldf_core.data.intake.splits import with_splits, without_images
from samples import sentence_of

rows_of_a_table = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 25), st.integers(0, 1)), min_size=1, max_size=60, unique=True
)


def table_of(rows: list[tuple[str, int, int]], shared: bool = False) -> pd.DataFrame:
    """Rows of domain, group and label; without shared groups each domain has its own."""
    table = pd.DataFrame(rows, columns=["domain", "group", "label"])
    group = table["group"].map(str) if shared else table["domain"] + table["group"].map(str)
    return table.assign(group=group, image=[f"{k}.png" for k in range(len(table))], split="", video="")


@settings(deadline=None, max_examples=40)
@given(rows=rows_of_a_table, shared=st.booleans(), seed=st.integers(0, 2**31 - 1))
def test_no_group_is_in_two_splits_and_no_image_is_lost(rows, shared, seed):
    table = table_of(rows, shared)
    got = with_splits(table, seed)
    pd.testing.assert_frame_equal(got.drop(columns="split"), table.drop(columns="split"))
    assert set(got["split"]) <= {"train", "validation", "test"}
    assert (got.groupby("group")["split"].nunique() == 1).all()
    shuffled = with_splits(table.sample(frac=1, random_state=seed % 1000), seed)
    pd.testing.assert_frame_equal(shuffled.sort_index(), got)
    if not shared:
        for name, domain in got.groupby("domain"):
            groups = domain.drop_duplicates("group")["split"].value_counts()
            few = min(10, domain.groupby("label")["group"].nunique().min())
            for label, part in domain.groupby("label"):
                count = part["group"].nunique()
                assert {"train", "test"} <= set(part["split"]) or count < 2 or domain["group"].nunique() < 4, label
                assert set(part["split"]) == set(SPLITS) or count < 4, label
            for split, share in (("train", 0.7), ("test", 0.2)):
                assert abs(groups.get(split, 0) - share * groups.sum()) <= (1 if few == 10 else 4)
            alone = with_splits(table[table["domain"] == name], seed)
            pd.testing.assert_series_equal(alone["split"], domain["split"])  # other domains change nothing


@settings(deadline=None, max_examples=40)
@given(rows=rows_of_a_table, seed=st.integers(0, 2**31 - 1))
def test_a_chain_of_domains_that_share_groups_all_train_and_test(rows, seed):
    table = table_of([row for row in rows if row[0] != "c"] or [("a", 0, 0)], shared=True)
    got = with_splits(table, seed)
    for _, domain in got.groupby("domain"):
        if domain["group"].nunique() > 2:
            assert {"train", "test"} <= set(domain["split"])


@settings(deadline=None, max_examples=30)
@given(count=st.integers(10, 200), seed=st.integers(0, 1000))
def test_shares_are_those_of_each_class(count, seed):
    table = table_of([("a", 2 * k + label, label) for k in range(count) for label in (0, 1)])
    got = with_splits(table, seed)
    counts = pd.crosstab(got["label"], got["split"])
    for split, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        assert (abs(counts[split] - share * count) <= 1.5).all()


def test_the_draw_depends_on_seed_and_domain():
    rows = [(d, k, k % 2) for d in "ab" for k in range(40)]
    table = table_of(rows)
    got = with_splits(table, 0)
    assert got["split"].tolist() != with_splits(table, 1)["split"].tolist()
    assert got["split"].tolist()[:40] != got["split"].tolist()[40:]


def test_a_given_split_stays_and_is_followed():
    table = table_of([("a", k, 0) for k in range(10)] + [("b", k, 1) for k in range(5, 30)], shared=True)
    table.loc[table["domain"] == "a", "split"] = ["train"] * 7 + ["test"] * 3
    got = with_splits(table, 0)
    assert got["split"].tolist()[:15] == ["train"] * 7 + ["test"] * 3 + ["train"] * 2 + ["test"] * 3
    table.loc[0, ["group", "split"]] = ["9", "train"]
    sentence_of(lambda: with_splits(table, 0), "group '9' is in the splits test and train")
    sentence_of(lambda: with_splits(table, -1), "seed is -1; allowed: a whole number from 0 up")


def test_the_first_group_is_for_training_the_second_for_the_test():
    assert with_splits(table_of([("a", 0, 0)]))["split"].tolist() == ["train"]
    assert set(with_splits(table_of([("a", 0, 0), ("a", 1, 0)]))["split"]) == {"train", "test"}


def test_few_images_of_a_class_are_in_each_split_or_it_is_said_that_they_are_too_few():
    for count, sentences in (
        (1, ["No fake train images in a: there are too few groups.", "No fake validation images in a: there are"]),
        (2, ["No fake validation images in a: there are too few groups."]),
        (3, []),
        (4, []),
    ):
        for seed in range(10):
            got = with_splits(table_of([("a", k, int(k < count)) for k in range(40)]), seed)
            said = without_images(got, True)
            assert len(said) == (2 if count == 1 else len(sentences)), said
            if count > 1:
                assert [*map(str.startswith, said, sentences)] == [True] * len(sentences)
                assert {"train", "test"} <= set(got.loc[got["label"] == 1, "split"])
    alone = with_splits(table_of([("a", 0, 0), ("a", 1, 1)]))
    assert without_images(alone, True)[0].startswith("No ")
