"""Runs that are kept in a file: what comes back, in which bytes, and that damage is refused."""

import itertools
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cldf_core.evaluation.metrics import CONTINUAL, DETECTION
from cldf_core.options import UserError
from cldf_core.results import kept_runs
from cldf_core.results.kept_runs import COLUMNS as COLUMNS_KEPT
from cldf_core.results.kept_runs import FACTS, STEP_FACTS, keep, kept_names, names_in, read_kept
from cldf_core.results.metric_table import COST, metric_table
from cldf_core.results.score_tables import read_scores
from cldf_core.runs.folder import COLUMNS
from samples import cut, empty, flip_a_bit


@pytest.fixture
def scores(root, trained):
    """The scores of the four runs, from their folders, sorted by their names."""
    return sorted(read_scores(list(trained.values())), key=lambda own: own.run)


@pytest.fixture
def path(root):
    return root / "figures" / "tables" / "scores" / "tiny.parquet"


def test_what_is_kept_comes_back_but_for_the_last_digits_of_logits(scores, path):
    keep(path, scores)
    got = read_kept(path)
    assert [own.run for own in got] == [own.run for own in scores] == names_in(path)
    for own, before in zip(got, scores, strict=True):
        assert (own.agent, own.seed, own.stream, own.settings) == (
            *(before.agent, before.seed, before.stream),
            before.settings,
        )
        assert list(own.table) == list(COLUMNS)
        exact = ["step", "domain", "split", "image", "group", "label"]
        pd.testing.assert_frame_equal(own.table[exact], before.table[exact])
        np.testing.assert_array_equal(own.table["logit"], before.table["logit"].astype("float32").astype(float))
        np.testing.assert_allclose(own.table["score"], 1 / (1 + np.exp(-own.table["logit"])), rtol=1e-12)
        assert set(own.manifest) == {*FACTS, "steps"}
        assert {name: own.manifest[name] for name in FACTS} == {name: before.manifest[name] for name in FACTS}
        steps = [{name: step[name] for name in STEP_FACTS} for step in before.manifest["steps"]]
        assert own.manifest["steps"] == steps


@pytest.mark.parametrize("split", ["test", "validation"])
def test_metrics_of_kept_runs_are_those_of_the_runs(scores, path, split):
    keep(path, scores)
    tables = [metric_table(sources, split=split, resamples=20) for sources in (scores, read_kept(path))]
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)
    assert {*DETECTION, *COST, *(f"AUC: {name}" for name in CONTINUAL)} <= set(tables[1]["metric"])


def test_a_file_holds_float32_codes_and_each_text_once(scores, path):
    keep(path, scores)
    file = pq.ParquetFile(path)
    assert {name: str(file.schema_arrow.field(name).type) for name in ("logit", "step", "label")} == {
        **{"logit": "float", "step": "int16", "label": "int8"}
    }
    for number, name in enumerate(file.schema_arrow.names):
        column = file.metadata.row_group(0).column(number)
        assert column.compression == "ZSTD"
        if name in kept_runs.CODED:
            assert str(file.schema_arrow.field(name).type).startswith("dictionary")
            assert "RLE_DICTIONARY" in column.encodings
    images = scores[0].table["image"].nunique()
    assert path.stat().st_size < 30_000 + 4 * len(scores) * len(scores[0].table), images


def test_the_same_runs_give_the_same_bytes_in_whatever_order_they_come(scores, path):
    contents = set()
    for order in itertools.permutations(scores):
        path.unlink(missing_ok=True)
        keep(path, order[:1])
        keep(path, order[1:])
        contents.add(path.read_bytes())
    assert len(contents) == 1
    before = path.stat().st_mtime_ns
    keep(path, [], forget={"er-0123456789ab"})
    assert path.stat().st_mtime_ns == before  # there was nothing to do
    gone, *rest = scores
    keep(path, [], forget={gone.run})
    assert names_in(path) == [own.run for own in rest]
    keep(path, [gone])
    assert path.read_bytes() in contents
    keep(path, [], forget={own.run for own in scores})
    assert (names_in(path), read_kept(path)) == ([], [])
    keep(path, scores)
    assert path.read_bytes() in contents


def test_several_files_of_a_folder_are_looked_through(scores, path):
    other = path.with_name("other.parquet")
    assert (kept_names(path.parent), read_kept(path), names_in(path)) == ({}, [], [])
    keep(path, scores[:1])
    keep(other, scores[1:])
    assert kept_names(path.parent) == {scores[0].run: path, **{own.run: other for own in scores[1:]}}
    assert [own.run for own in read_kept(other, {scores[2].run, scores[0].run})] == [scores[2].run]


def flip_a_logit(path):
    """Flips a bit of the last logit."""
    column = pq.ParquetFile(path).metadata.row_group(0).column(COLUMNS_KEPT.index("logit"))
    flip_a_bit(path, (column.data_page_offset + column.total_compressed_size - 1) / path.stat().st_size)


@pytest.mark.parametrize("damage", [cut, empty, flip_a_logit], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("call", [read_kept, names_in, lambda path: keep(path, [], forget={"x"})])
def test_a_damaged_file_is_refused_with_a_sentence(scores, path, damage, call):
    keep(path, scores[:2])
    damage(path)
    content = path.read_bytes()
    with pytest.raises(UserError, match=f"^{path} is damaged or changed; take it from version control once more, or"):
        call(path)
    assert path.read_bytes() == content


def test_no_flipped_bit_and_no_edit_goes_unseen(scores, path):
    keep(path, scores[:1])
    whole, same = path.read_bytes(), [own.table for own in read_kept(path)]
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        content = bytearray(whole)
        content[place] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            (got,) = [own.table for own in read_kept(path)]
        except UserError:
            continue
        pd.testing.assert_frame_equal(got, same[0])  # the bit meant nothing
    path.write_bytes(whole)
    table = pq.read_table(path)
    edited = table.set_column(8, "logit", [-np.asarray(table["logit"])])
    pq.write_table(edited, path)
    with pytest.raises(UserError, match="is damaged or changed"):
        read_kept(path)


def test_a_write_that_fails_leaves_the_file_as_it_was(scores, path, monkeypatch):
    keep(path, scores[:1])
    before = path.read_bytes()
    monkeypatch.setattr(kept_runs.pq, "write_table", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        keep(path, scores[1:])
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_facts_are_json_that_anybody_can_read(scores, path):
    keep(path, scores[:1])
    facts = json.loads(pd.read_parquet(path)["facts"].iloc[0])
    assert facts["options"]["agent"] == scores[0].agent
    assert facts["steps"][1]["domain"] == "second"
