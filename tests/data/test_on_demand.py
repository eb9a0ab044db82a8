"""What does not fit into the cache is computed when it is read: the same values, scores, images and refusals."""

import os
import re
import signal
from concurrent.futures import Future

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib.externals.loky.process_executor import TerminatedWorkerError

from cldf_core.data import cache, on_demand
from cldf_core.data.cache import corrupted, spectra
from cldf_core.data.domains import DataError
from cldf_core.data.on_demand import OnDemand
from cldf_core.runs.run import load_spectra, make_run, training_samples
from cldf_core.stream import make_steps
from samples import SHORT, make_data, read_domain, tiny_options

LITTLE = "0.000001"  # GB: no array fits
INPUTS = [
    {},
    {"feature": "image"},
    {"plane": "full", "precision": "float32"},
    {"band": "high", "crop": "top-left", "size": 28},
    {"test_jpeg": 30, "test_resize": 20},
]


@pytest.mark.parametrize("changes", INPUTS)
@pytest.mark.parametrize("processors", [1, 2])
def test_rows_are_those_of_the_cache_to_the_bit(tmp_path, monkeypatch, changes, processors):
    data = make_data(tmp_path / "set", ("first",), train=35, test=4)
    (data / "real" / "first" / "trainA" / "image07.png").write_bytes(b"")  # rejected
    opts = tiny_options("sequential", data, **changes)
    stored = spectra(read_domain(data), opts, tmp_path / "one")
    monkeypatch.setenv(cache.CACHE_GB, LITTLE)
    monkeypatch.setattr(on_demand, "processors", lambda: processors)
    got = spectra(read_domain(data), opts, tmp_path / "two")
    assert isinstance(got.array, OnDemand)
    assert not list((tmp_path / "two").glob("*.npy"))
    assert got.array.shape == stored.array.shape
    assert got.fingerprint == stored.fingerprint
    pd.testing.assert_frame_equal(got.table, stored.table)
    pd.testing.assert_frame_equal(got.rejected, stored.rejected)
    rows = np.random.default_rng(0).permutation(got.table["row"].to_numpy())
    for part in (rows, rows[:1], rows[[3, 3, 0]], rows[:0]):
        for asked in (False, True):
            if asked:
                got.array.ask(part)
            values = got.array[part]
            assert values.dtype == stored.array.dtype
            np.testing.assert_array_equal(values, stored.array[part])


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(16)), size=st.integers(1, 16))
def test_one_row_or_many_at_once_give_the_same(order, size, small_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    opts = tiny_options("sequential", small_data)
    stored = spectra(read_domain(small_data), opts, folder)
    table = read_domain(small_data).table
    rows = OnDemand(small_data, opts, table["image"].tolist(), table["split"].tolist())
    got = np.concatenate([rows[np.array(order[at : at + size])] for at in range(0, 16, size)])
    np.testing.assert_array_equal(got, stored.array[np.array(order)])


@pytest.mark.parametrize(
    "changes",
    [
        {"corruption": "noise", "severities": [0.0, 0.5], "chunks": 2},
        {"corruption": "blur", "severities": [0.5, 1.0], "chunks": 3, "blur": "chunk"},
    ],
)
def test_corrupted_images_are_those_of_the_cache(tmp_path, monkeypatch, changes):
    data = make_data(tmp_path / "set", train=8, test=2)
    opts = tiny_options("sequential", data, **SHORT, **changes)
    steps = []
    for place, limit in enumerate(("1", LITTLE)):
        monkeypatch.setenv("CLDF_ROOT", str(tmp_path / f"root{place}"))
        monkeypatch.setenv(cache.CACHE_GB, limit)
        steps.append(make_steps(training_samples(opts, load_spectra(opts)), opts))
    assert not list(tmp_path.rglob("root1/**/*.npy"))
    for want, got in zip(*steps, strict=True):
        np.testing.assert_array_equal(got.samples.read(), want.samples.read())
        for batch, same in zip(got.batches(3), want.batches(3), strict=True):
            np.testing.assert_array_equal(batch.spectra, same.spectra)


@pytest.mark.parametrize("agent", ["sequential", "er", "icarl", "gdumb"])
def test_a_run_with_a_cache_that_is_full_has_the_same_scores(agent, tmp_path, monkeypatch, capsys):
    data = make_data(tmp_path / "set", train=10, test=6, validation=4)
    opts = tiny_options(agent, data, **SHORT)
    scores, keys = [], []
    room = None
    for place in ("all", "some"):
        monkeypatch.setenv("CLDF_ROOT", str(tmp_path / place))
        if room:
            monkeypatch.setenv(cache.CACHE_GB, room)
        folder = make_run(opts)
        scores.append(folder.scores())
        keys.append(folder.key)
        arrays = sorted((tmp_path / place).rglob("*.npy"))
        room = room or f"{1.5 * arrays[0].stat().st_size / 1e9:.9f}"  # for one domain of three
    assert len(arrays) == 1
    pd.testing.assert_frame_equal(*scores, check_exact=True)
    assert len(set(keys)) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "computed when they are read" in line]
    assert len(said) == 2
    assert "need 0.0" in said[0]
    assert "GB, more than CLDF_CACHE_GB (--cache-gb) leaves" in said[0]
    assert re.search(r"about \d+ s for each time that all are read", said[0])


def test_a_second_start_opens_no_image_and_one_with_more_room_writes_the_array(tmp_path, monkeypatch):
    data = make_data(tmp_path / "set", ("first",), train=3, test=2)
    opts, folder = tiny_options("sequential", data), tmp_path / "cache"
    monkeypatch.setenv(cache.CACHE_GB, LITTLE)
    before = spectra(read_domain(data), opts, folder)
    with monkeypatch.context() as patch:
        patch.setattr(on_demand, "open_crop", lambda *a, **k: pytest.fail("opened again"))
        again = spectra(read_domain(data), opts, folder)
    pd.testing.assert_frame_equal(before.table, again.table)
    monkeypatch.setenv(cache.CACHE_GB, "1")
    whole = spectra(read_domain(data), opts, folder)
    assert isinstance(whole.array, np.memmap)
    rows = whole.table["row"].to_numpy()
    np.testing.assert_array_equal(whole.array[rows], before.array[rows])
    monkeypatch.setenv(cache.CACHE_GB, LITTLE)  # what is there is read all the same
    assert isinstance(spectra(read_domain(data), opts, folder).array, np.memmap)


def test_an_image_that_is_gone_when_it_is_read_is_told(tmp_path, monkeypatch):
    data = make_data(tmp_path / "set", ("first",), train=3, test=2)
    monkeypatch.setenv(cache.CACHE_GB, LITTLE)
    got = spectra(read_domain(data), tiny_options("sequential", data), tmp_path / "cache")
    row = got.table.iloc[0]
    (data / row["image"]).write_bytes(b"")
    with pytest.raises(DataError, match=rf"{row['image']} is .*; needed: images that stay as they are"):
        got.array[np.array([row["row"]])]


def test_rows_of_a_process_that_was_killed_are_computed_here(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(on_demand, "processors", lambda: 2)
    data, rows = make_data(tmp_path / "set", ("first",), train=2, test=1), np.arange(4)
    options, domain = tiny_options("sequential", data), read_domain(data)
    array = OnDemand(domain.root, options, list(domain.table["image"]), list(domain.table["split"]))
    want = array[rows]
    on_demand._tell_of_death.cache_clear()
    for _ in range(2):
        array.ask(rows)
        killed = Future[None]()
        killed.set_exception(TerminatedWorkerError("killed"))
        array._asked[rows.tobytes()] = killed
        np.testing.assert_array_equal(array[rows], want)
    assert capsys.readouterr().err.count("has died, perhaps for want of memory; its rows are computed here") == 1
    os.kill(next(iter(on_demand._pool()._processes)), signal.SIGKILL)
    for _ in range(3):  # another takes its place
        array.ask(rows)
        np.testing.assert_array_equal(array[rows], want)


def test_many_images_are_announced(tmp_path, monkeypatch, capsys):
    data = make_data(tmp_path / "set", ("first",), train=3, test=2)
    monkeypatch.setattr(cache, "TOLD_FROM", 10)
    spectra(read_domain(data), tiny_options("sequential", data), tmp_path / "cache")
    assert "the spectra of 'first' need 3.26e-05 GB, and about" in capsys.readouterr().err


def test_a_file_of_the_cache_has_a_name_for_every_system(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=1, test=1)
    domain = read_domain(data)
    domain = type(domain)(**{**vars(domain), "name": 'other:a<b>"|?*'})
    spectra(domain, tiny_options("sequential", data), tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob("*.npy")
    assert not set(path.name) & set(':<>"|?*')


def test_an_array_that_was_not_corrupted_is_returned_as_it_is(tmp_path, monkeypatch):
    data = make_data(tmp_path / "set", ("first",), train=1, test=1)
    opts = tiny_options("sequential", data, corruption="noise")
    monkeypatch.setenv(cache.CACHE_GB, LITTLE)
    domain = spectra(read_domain(data), opts, tmp_path / "cache")
    assert corrupted(domain, opts, 0.0, tmp_path / "cache") is domain.array
