"""Real images that domains of fakes only take from a pool: whole, each once or in all of them, in their splits."""

import shutil

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cldf_core.cli import main
from cldf_core.data.domains import SPLITS
from cldf_core.data.intake.add import add, register
from cldf_core.data.layouts.description import images_hash, read_images
from cldf_core.data.layouts.read import domain_names, read_domains
from cldf_core.data.layouts.reals import pools_of, with_reals
from samples import pictures, sentence_of

ROWS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(SPLITS)), min_size=1, max_size=60)
REALS = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(SPLITS)), min_size=1, max_size=60)


def images(fakes: list[tuple[str, str]], reals: list[tuple[int, str]]) -> pd.DataFrame:
    """Fakes of generators, and a pool of real images in groups, each of which has one split."""
    split_of: dict[int, str] = {}
    rows = [(f"f{k}", 1, name, split, f"f{k}") for k, (name, split) in enumerate(fakes)]
    rows += [(f"r{k}", 0, "pool", split_of.setdefault(g, s), f"g{g}") for k, (g, s) in enumerate(reals)]
    return pd.DataFrame(rows, columns=["image", "label", "domain", "split", "group"])


@settings(deadline=None)
@given(ROWS, REALS)
def test_each_real_image_is_dealt_to_one_domain_or_shared_by_all_and_keeps_its_split(fakes, reals):
    table = images(fakes, reals)
    pools = pools_of(table)
    names = sorted({name for name, _ in fakes})
    assert pools == dict.fromkeys(names, "pool")
    for rule, times in (("dealt", 1), ("shared", len(names))):
        taken = with_reals(table, rule, pools, "x")
        assert sorted(set(taken["domain"])) == names
        assert taken[taken["label"] == 1].equals(table[table["label"] == 1])
        real = taken[taken["label"] == 0]
        assert sorted(real["image"]) == sorted([*table.loc[table["label"] == 0, "image"]] * times)
        columns = ["image", "split", "group"]
        pairs = real[columns].drop_duplicates().sort_values("image")
        assert pairs.to_numpy().tolist() == table.loc[table["label"] == 0, columns].sort_values("image").values.tolist()
    assert with_reals(table, "dealt", pools, "x").groupby("group")["domain"].nunique().max() == 1  # whole groups
    assert (
        with_reals(table.sample(frac=1, random_state=0), "dealt", pools, "x")
        .sort_index()
        .equals(with_reals(table, "dealt", pools, "x").sort_index())
    )


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 40), min_size=1), st.integers(1, 90))
def test_the_parts_are_in_proportion_to_the_fakes(counts, reals):
    fakes = [(name, "train") for name, count in counts.items() for _ in range(count)]
    taken = with_reals(images(fakes, [(k, "train") for k in range(reals)]), "dealt", dict.fromkeys(counts, "pool"), "x")
    for name, count in counts.items():
        got = ((taken["domain"] == name) & (taken["label"] == 0)).sum()
        assert abs(got - reals * count / len(fakes)) <= 1


def test_a_split_in_which_no_domain_has_fakes_is_dealt_out_as_all_are():
    fakes = [("a", "train")] * 30 + [("b", "train")] * 10
    taken = with_reals(images(fakes, [(k, "test") for k in range(40)]), "dealt", {"a": "pool", "b": "pool"}, "x")
    assert taken[taken["label"] == 0].groupby("domain").size().to_dict() == {"a": 30, "b": 10}


def test_several_pools_and_a_domain_with_both_classes():
    table = pd.DataFrame(
        [(f"{name}{k}", label, name, "train", f"{name}{k}") for k in range(4) for name, label in
         (("a", 1), ("b", 1), ("cats", 0), ("dogs", 0), ("own", 0), ("own", 1))],
        columns=["image", "label", "domain", "split", "group"],
    )  # fmt: skip
    table["image"] += table["label"].astype(str)
    assert pools_of(table) == {"a": "cats+dogs", "b": "cats+dogs"}
    taken = with_reals(table, "shared", {"a": "cats+dogs", "b": "dogs"}, "x")
    counts = taken.groupby(["domain", "label"]).size().unstack().to_dict("index")
    assert counts == {"a": {0: 8, 1: 4}, "b": {0: 4, 1: 4}, "own": {0: 4, 1: 4}}
    assert pools_of(taken) == {}
    dealt = with_reals(table, "dealt", {"a": "cats", "b": "dogs"}, "x")
    assert dealt.groupby(["domain", "label"]).size().unstack().loc["a"].tolist() == [4, 4]
    alone = table[~table["domain"].isin(["cats", "dogs"])]
    assert pools_of(alone) == {}


@pytest.fixture
def generators(root, tmp_path_factory):
    """A folder with one pool of real images, and fakes by generator."""
    home = tmp_path_factory.mktemp("home") / "faces"
    return pictures(home, ["real", "fake/gan", "fake/diffusion"], 20)


def test_folders_below_the_fakes_are_generators_where_this_is_said(generators, capsys):
    folder = register(generators)
    assert domain_names(folder) == ["faces"]
    shutil.rmtree(folder)
    assert main(["data", "add", str(generators), "--domain-from", "folder", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "The 20 real images of real are dealt out to the 2 domains of fakes only" in said
    domains = read_domains(folder, domain_names(folder))
    assert [domain.name for domain in domains] == ["diffusion", "gan"]
    assert [domain.table["label"].mean() for domain in domains] == pytest.approx([2 / 3] * 2, abs=0.04)
    assert not any("only" in note or "not audited" in note for domain in domains for note in domain.notes)
    assert not set(domains[0].table.query("label == 0")["image"]) & set(domains[1].table.query("label == 0")["image"])


def test_a_person_can_change_the_rule_and_the_pools(generators):
    folder = register(generators, domain_from="folder")
    path, dealt = folder / "dataset.yaml", images_hash(folder)
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values["reals"] == "dealt"
    path.write_text(yaml.safe_dump(values | {"reals": "shared"}), encoding="utf-8")
    assert images_hash(folder) != dealt  # so that the audit is out of date
    assert read_images(folder).groupby("domain")["label"].mean().tolist() == [0.5, 0.5]
    path.write_text(yaml.safe_dump(values | {"pools": {"gan": "real"}}), encoding="utf-8")
    assert read_images(folder).groupby("domain")["label"].mean().to_dict() == {"diffusion": 1, "gan": 0.5}
    del values["reals"]
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert domain_names(folder) == ["diffusion", "gan", "real"]
    for change, words in (
        ({"reals": "lent"}, ["reals is 'lent'; needed: own or dealt or shared"]),
        ({"reals": "dealt", "pools": ["gan"]}, ["pools is ['gan']; needed: lines of the form"]),
        ({"reals": "dealt", "pools": {"gan": ["real"]}}, ["pools is ", "needed: lines of the form"]),
        ({"pools": {"gan": "real"}}, ["has pools without a rule; needed: reals: dealt or shared"]),
        ({"reals": "dealt", "pools": {"gna": "real"}}, ["'gna' for fake images, but it is no domain"]),
        (
            {"reals": "dealt", "pools": {"gan": "diffusion"}},
            ["'diffusion' for real images, but it has both classes or"],
        ),
        ({"reals": "dealt", "pools": {"gan": "real+x"}}, ["'x' for real images, but it is no domain"]),
    ):
        path.write_text(yaml.safe_dump(values | change), encoding="utf-8")
        sentence_of(lambda: read_images(folder), str(path), *words)


@pytest.mark.parametrize("column", ["generator", "source model"])
def test_a_column_of_a_table_names_the_generators(root, tmp_path_factory, column):
    home = pictures(tmp_path_factory.mktemp("home") / "set", ["a"], 24)
    rows = [(f"a/{k:03}.png", k % 2, ("Org/gan", "sd")[k // 2 % 2] if k % 2 else ("", "real", "None")[k % 3])
            for k in range(24)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["path", "label", column])
    table.to_csv(home / "list.csv", index=False)
    given = {} if column == "generator" else {"domain_from": "Source Model"}
    folder, _ = add(home / "list.csv", "named", real_images="shared", **given)
    assert read_images(folder).groupby(["domain", "label"]).size().to_dict() == {
        ("Org-gan", 0): 12, ("Org-gan", 1): 6, ("sd", 0): 12, ("sd", 1): 6,
    }  # fmt: skip
    folder, _ = add(home / "list.csv", "apart", real_images="own", **given)
    assert domain_names(folder) == ["Org-gan", "real", "sd"]
    table.assign(domain="x").to_csv(home / "list.csv", index=False)
    assert domain_names(add(home / "list.csv", "said")[0]) == ["x"]
    sentence_of(lambda: add(home / "list.csv", "y", domain_from="made"), "--domain-from is 'made'", "no such column")
    sentence_of(lambda: add(home / "list.csv", "y", domain_from="label"), "needed: one of", column)
    sentence_of(
        lambda: add(home / "list.csv", "y", real_images="dealt"), "--reals is 'dealt'", "a domain of fakes only"
    )


def test_what_names_domains_must_be_there(generators, root):
    sentence_of(lambda: register(generators, domain_from="model"), "--domain-from is 'model'", "'folder' for folders")
    assert not (root / "data" / "faces").exists()


def test_a_re_encoded_copy_holds_the_real_images_where_they_were(generators, capsys):
    folder = register(generators, domain_from="folder")
    before = read_images(folder).groupby(["domain", "label", "split"]).size()
    assert main(["data", "audit", "faces", "--re-encode", "--workers", "1"]) == 0
    copy = folder.with_name("faces-re-encoded")
    assert "reals" not in yaml.safe_load((copy / "dataset.yaml").read_text(encoding="utf-8"))
    assert read_images(copy).groupby(["domain", "label", "split"]).size().equals(before)
