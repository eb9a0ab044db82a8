"""Spectra in the cache: what the formula gives, computed once, and again when something has changed."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cldf_core.data import cache, files, runtime
from cldf_core.data.cache import corrupted, spectra
from cldf_core.data.corruptions import corrupt
from cldf_core.data.domains import DataError, Domain
from cldf_core.data.files import forget_leftovers
from cldf_core.data.images import crop, open_image, reencode
from cldf_core.data.layouts.read import read_domains
from cldf_core.data.on_demand import OnDemand
from cldf_core.options import UserError
from cldf_core.randomness import seed_sequence
from cldf_core.spectrum import InputSpec, log_spectrum
from samples import (
    DAMAGES,
    PROJECT,
    animate,
    content_fingerprint,
    flip_a_bit,
    hashes,
    input_spec,
    make_data,
    photo,
    read_domain,
    tiny_options,
    truncate,
)
from test_spectrum import formula


def expected(domain: Domain, images: list[str], **how) -> np.ndarray:
    crops = [crop(open_image(domain.root / image), how.get("size", 32)) for image in images]
    return input_spec(**how).network_input(np.stack(crops))


def test_a_cache_on_a_disk_that_is_read_only_is_read_without_a_lock(small_data, tmp_path, monkeypatch):
    opts, domain = tiny_options("sequential", small_data), read_domain(small_data)
    written = spectra(domain, opts, tmp_path)
    for code in (errno.EROFS, errno.EACCES):
        monkeypatch.setattr(files, "FileLock", Mock(side_effect=OSError(code, "no")))
        monkeypatch.setattr(os, "utime", Mock(side_effect=OSError(code, "no")))
        np.testing.assert_array_equal(spectra(domain, opts, tmp_path).array, written.array)
    monkeypatch.setattr(files, "FileLock", Mock(side_effect=OSError(errno.ENOSPC, "no")))
    with pytest.raises(OSError, match="no"):
        spectra(domain, opts, tmp_path)


@pytest.mark.parametrize("text", ["nan", "-1", "inf", "x", "1_0", "0"])
def test_a_limit_that_is_none_is_refused_and_nothing_is_removed(small_data, tmp_path, monkeypatch, text):
    spectra(read_domain(small_data), tiny_options("sequential", small_data), tmp_path)
    before = hashes(tmp_path).items()
    monkeypatch.setenv("CLDF_CACHE_GB", text)
    with pytest.raises(UserError, match=f"CLDF_CACHE_GB .--cache-gb. is '{text}'; allowed: gigabytes above 0"):
        spectra(read_domain(small_data), tiny_options("sequential", small_data, size=16), tmp_path)
    assert before <= hashes(tmp_path).items()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"plane": "full"},
        {"band": "high"},
        {"precision": "float32"},
        {"feature": "image"},
        {"size": 16},
        {"feature": "image", "plane": "full", "precision": "float32"},
    ],
    ids=str,
)
def test_the_cache_holds_what_the_formula_gives(small_data, tmp_path, how):
    opts = tiny_options("sequential", small_data, **how)
    domain = read_domain(small_data)
    got = spectra(domain, opts, tmp_path)
    assert isinstance(got.array, np.memmap)
    assert got.array.dtype == np.dtype(opts.precision)
    want = expected(domain, got.table["image"].tolist(), **how)
    np.testing.assert_array_equal(got.array[got.table["row"]], want.astype(opts.precision))
    pd.testing.assert_frame_equal(got.table.drop(columns="row"), domain.table)
    assert got.rejected.empty
    assert got.fingerprint == content_fingerprint(domain)


@pytest.mark.parametrize("plane", ["full", "half"])
def test_float32_is_within_a_millionth_of_the_formula(tmp_path, plane):
    data = make_data(tmp_path / "set", ("first",), train=2, test=1)
    flat = data / "real" / "first" / "trainA" / "image00.png"
    # A sum of slow waves: magnitudes from 1e-3 to 1e3, where single precision is furthest off.
    y, x = np.mgrid[:32, :32] / 32
    waves = 127.5 + 60 * np.sin(2 * np.pi * (x + y)) + 60 * np.cos(2 * np.pi * x)
    Image.fromarray(np.stack([waves] * 3, -1).astype(np.uint8)).save(flat)
    opts = tiny_options("sequential", data, plane=plane, precision="float32")
    got = spectra(read_domain(data), opts, tmp_path / "cache")
    assert got.array.dtype == np.float32
    for row, image in zip(got.table["row"], got.table["image"], strict=True):
        want = formula(open_image(data / image))
        np.testing.assert_allclose(got.array[row], want if plane == "full" else want[..., :17], rtol=0, atol=1e-6)


def test_the_crop_is_the_one_that_is_asked_for(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=1, test=1)
    for k, path in enumerate(sorted(data.rglob("*.png"))):
        Image.fromarray(photo(k, side=64)).save(path)
    for place, size, at in (("centre", 32, 16), ("centre", 16, 24), ("top-left", 32, 16), ("top-left", 56, 8)):
        got = spectra(read_domain(data), tiny_options("sequential", data, size=size, crop=place), tmp_path / "cache")
        image = open_image(data / got.table["image"].iloc[0])[:, at : at + size, at : at + size]
        np.testing.assert_array_equal(got.array[0], input_spec().network_input(image[None])[0])


@pytest.mark.parametrize("how", [{"test_jpeg": 30}, {"test_resize": 20}, {"test_jpeg": 30, "test_resize": 20}], ids=str)
def test_only_scored_images_are_reencoded_and_both_classes_alike(tmp_path, how):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2, validation=1)
    for k, path in enumerate(sorted(data.rglob("*.png"))):
        Image.fromarray(photo(k, side=40)).save(path)  # so that cropping first would be something else
    before = hashes(data)
    plain = spectra(read_domain(data), tiny_options("sequential", data), tmp_path / "cache")
    got = spectra(read_domain(data), tiny_options("sequential", data, **how), tmp_path / "cache")
    pd.testing.assert_frame_equal(got.table, plain.table)
    assert set(got.table["split"]) == {"train", "validation", "test"}
    for row in got.table.itertuples():
        pixels = open_image(data / row.image)
        if row.split != "train":
            pixels = reencode(pixels, resize=how.get("test_resize"), jpeg=how.get("test_jpeg"))
        want = input_spec().network_input(crop(pixels, 32)[None])[0]
        np.testing.assert_array_equal(got.array[row.row], want)
        assert np.array_equal(plain.array[row.row], want) == (row.split == "train")
    assert hashes(data) == before


def test_arrays_that_differ_have_files_of_their_own(small_data, tmp_path):
    def files(**changes) -> int:
        spectra(read_domain(small_data), tiny_options("sequential", small_data, **changes), tmp_path)
        return len(list(tmp_path.glob("*.npy")))

    changes = [{}, {"crop": "top-left"}, {"test_jpeg": 50}, {"test_jpeg": 51}, {"test_resize": 20}]
    for count, change in enumerate([*changes, {"precision": "float32"}], start=1):
        assert files(**change) == files(**change) == count, change
    for same in ({"corruption": "noise", "severities": [1.0]}, {"seed": 3}, {"drop_last": True}, {"channels": "BGR"}):
        assert files(**same) == count, same
    domain = spectra(read_domain(small_data), tiny_options("sequential", small_data), tmp_path)
    changes = [(0.5, {}), (0.25, {}), (0.5, {"corruption": "blur"}), (0.5, {"seed": 1}), (0.5, {"plane": "full"})]
    for more, (severity, change) in enumerate(changes, start=1):
        opts = tiny_options("sequential", small_data, **{"corruption": "noise", **change})
        for _ in range(2):
            corrupted(domain, opts, severity, tmp_path)
        assert len(list(tmp_path.glob("*.npy"))) == count + more, change


@pytest.mark.parametrize("corruption", ["noise", "blur", "occlusion"])
def test_a_corruption_changes_the_crops_of_training_images_and_computes_no_others(tmp_path, corruption):
    data = make_data(tmp_path / "set", ("first",), train=3, test=2, validation=1)
    (data / "real" / "first" / "trainA" / "image01.png").write_bytes(b"")  # rejected: its row stays empty
    for k, path in enumerate(sorted((data / "fake").rglob("*.png"))):
        Image.fromarray(photo(k, side=40)).save(path)
    opts = tiny_options("sequential", data, corruption=corruption, seed=7, test_jpeg=20)
    domain = spectra(read_domain(data), opts, tmp_path / "cache")
    array = corrupted(domain, opts, 0.5, tmp_path / "cache")
    training = domain.table[domain.table["split"] == "train"]
    assert isinstance(array, np.memmap)
    assert (array.shape, array.dtype) == (domain.array.shape, domain.array.dtype)
    for row in training.itertuples():
        pixels = crop(open_image(data / row.image), 32)
        changed = corrupt(pixels, corruption, 0.5, seed=seed_sequence(7, "corruption", row.image))
        assert not np.array_equal(changed, pixels)
        np.testing.assert_array_equal(array[row.row], input_spec().network_input(changed[None])[0])
    assert not np.delete(array, training["row"], axis=0).any()
    assert corrupted(domain, opts, 0.0, tmp_path / "cache") is domain.array


def test_bad_images_are_rejected_and_the_others_keep_their_labels(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=3, test=3)
    base = data / "fake" / "first" / "trainA"
    (base / "image00.png").write_bytes(b"")
    truncate(base / "image01.png")
    Image.fromarray(photo(side=24)[:, :]).save(data / "real" / "first" / "testA" / "image02.png")
    animate(data / "real" / "first" / "testA" / "image01.png")
    Image.fromarray(np.full((32, 32, 3), 7, np.uint8)).save(base / "image02.png")  # flat, and fine
    before = hashes(data)
    domain = read_domain(data)
    got = spectra(domain, tiny_options("sequential", data), tmp_path / "cache")
    reasons = dict(zip(got.rejected["image"], got.rejected["reason"], strict=True))
    broken = {f"fake/first/trainA/image0{k}.png" for k in (0, 1)}
    assert reasons.keys() == broken | {f"real/first/testA/image0{k}.png" for k in (1, 2)}
    assert reasons["real/first/testA/image02.png"] == "too small (24 x 24, needed 32 x 32)"
    assert reasons["real/first/testA/image01.png"] == "animated (3 frames)"
    assert len(got.table) == 8
    np.testing.assert_array_equal(got.array[got.table["row"]], expected(domain, got.table["image"].tolist()))
    (flat,) = got.table.query("image == 'fake/first/trainA/image02.png'")["row"]
    assert (got.array[flat] == 0).all()
    assert hashes(data) == before  # the data set is left as it was


def test_a_domain_of_bad_images_only_is_refused_and_leaves_nothing(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=1, test=1)
    opts = tiny_options("sequential", data, size=64)
    with pytest.raises(DataError, match=r"'first': none of its images \(4\) can be used; the first, .*, is too small"):
        spectra(read_domain(data), opts, tmp_path / "cache")
    assert [p for p in (tmp_path / "cache").iterdir() if p.suffix != ".lock" and "contents" not in p.name] == []


def test_spectra_are_computed_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    data = make_data(tmp_path / "set", ("first",), train=2, test=2)
    opts = tiny_options("sequential", data)
    folder = tmp_path / "cache"
    computed = []
    written = cache._write
    monkeypatch.setattr(cache, "_write", lambda *a: computed.append(a[1].name) or written(*a))
    first = spectra(read_domain(data), opts, folder)
    again = spectra(read_domain(data), opts, folder)
    assert len(computed) == 1
    np.testing.assert_array_equal(first.array, again.array)
    pd.testing.assert_frame_equal(first.table, again.table)
    spectra(read_domain(data), tiny_options("sequential", data, lr=0.1, width=16), folder)
    assert len(computed) == 1  # not what a spectrum depends on
    spectra(read_domain(data), tiny_options("sequential", data, band="low"), folder)
    assert len(computed) == 2
    image = data / "real" / "first" / "testA" / "image01.png"
    Image.fromarray(photo(99)).save(image)
    changed = spectra(read_domain(data), opts, folder)
    assert len(computed) == 3
    (row,) = changed.table.query("image == 'real/first/testA/image01.png'")["row"]
    want = log_spectrum(photo(99).transpose(2, 0, 1)[None]).astype(np.float16)[0]
    np.testing.assert_array_equal(changed.array[row], want)
    assert not np.array_equal(first.array[row], want)  # the old file is still whole


def test_a_computation_that_breaks_leaves_no_cache(small_data, tmp_path, monkeypatch):
    opts = tiny_options("sequential", small_data)
    with monkeypatch.context() as patch:
        patch.setattr(InputSpec, "network_input", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            spectra(read_domain(small_data), opts, tmp_path)
    assert list(tmp_path.glob("*.npy")) == []
    assert np.isfinite(spectra(read_domain(small_data), opts, tmp_path).array).all()


def test_several_processes_compute_what_one_does(tmp_path, monkeypatch):
    data = make_data(tmp_path / "set", ("first",), train=25, test=10)  # more than a block
    (data / "real" / "first" / "trainA" / "image07.png").write_bytes(b"")
    opts = tiny_options("sequential", data)
    one_process = spectra(read_domain(data), opts, tmp_path / "one")
    images = one_process.table["image"].tolist()
    assert len(images) == 69
    np.testing.assert_array_equal(one_process.array[one_process.table["row"]], expected(read_domain(data), images))
    monkeypatch.setattr(cache, "PARALLEL_FROM", 1)
    monkeypatch.setattr(runtime, "processors", lambda: 2)
    two = spectra(read_domain(data), opts, tmp_path / "two")
    np.testing.assert_array_equal(two.array, one_process.array)
    pd.testing.assert_frame_equal(two.table, one_process.table)
    pd.testing.assert_frame_equal(two.rejected, one_process.rejected)


@pytest.fixture
def kept(tmp_path):
    """A data set of one domain, options, and the cache with its spectra and those of its corrupted images."""
    data, folder = make_data(tmp_path / "set", ("first",), train=3, test=2), tmp_path / "cache"
    opts = tiny_options("sequential", data, corruption="noise")
    corrupted(spectra(read_domain(data), opts, folder), opts, 0.5, folder)
    return data, opts, folder


def contents(kept) -> list[object]:
    """All that a run would read from the cache."""
    data, opts, folder = kept
    domain = spectra(read_domain(data), opts, folder)
    arrays = domain.array.tobytes(), corrupted(domain, opts, 0.5, folder).tobytes()
    return [*arrays, domain.fingerprint, domain.table.to_csv(), domain.rejected.to_csv()]


def test_a_second_start_reads_no_image_and_each_array_once(kept, monkeypatch):
    want, times = contents(kept), []
    checksum, hashed = files.file_checksum, files.file_hash
    monkeypatch.setattr("cldf_core.data.on_demand.open_crop", lambda *a: pytest.fail("read again"))
    monkeypatch.setattr(
        files, "file_hash", lambda path: hashed(path) if path.parent == kept[2] else pytest.fail("read")
    )
    monkeypatch.setattr(files, "file_checksum", lambda path: times.append(path) or checksum(path))
    cache._checksum.cache_clear()  # as in a new process
    assert contents(kept) == want
    assert contents(kept) == want
    assert len(times) == len(set(times)) == 2


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_whatever_is_damaged_in_the_cache_is_computed_again_with_a_note(kept, damage, capsys):
    want = contents(kept)
    for path in sorted(path for path in kept[2].iterdir() if path.suffix != ".lock"):
        damage(path)
        assert capsys.readouterr().err == ""
        assert contents(kept) == want, path
        assert f"{path.stem}." in capsys.readouterr().err.split(" is damaged and is made again")[0], path
        assert contents(kept) == want
        assert capsys.readouterr().err == ""


def test_an_image_that_has_changed_with_its_time_kept_is_found_when_it_is_read(kept, capsys):
    data, opts, folder = kept
    before = contents(kept)
    flip_a_bit(data / "real" / "first" / "testA" / "image00.png")
    assert contents(kept) == before  # what was read before is right
    changed = spectra(read_domain(data), opts.model_copy(update={"band": "low"}), folder)
    assert "image00.png changed since the last reading" in capsys.readouterr().err
    assert changed.fingerprint != before[2]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_a_killed_process_leaves_is_gone_after_the_next(kept):
    data, _, folder = kept
    code = "import os, signal, sys; from cldf_core.data import cache; from cldf_core.options import checked; "
    code += "from samples import read_domain; from pathlib import Path; data, folder = map(Path, sys.argv[1:]); "
    code += "cache._fill = lambda *a: os.kill(os.getpid(), signal.SIGKILL); "
    code += "cache.spectra(read_domain(data), checked({'size': 32, 'band': 'mid'}), folder)"
    done = subprocess.run(
        [sys.executable, "-c", code, data, folder], env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT}/tests"}
    )
    assert done.returncode == -signal.SIGKILL
    assert [path.suffix for path in folder.glob(".*")] == [".npy"]
    forget_leftovers.cache_clear()  # as in a new process
    contents(kept)
    assert list(folder.glob(".*")) == []


def test_the_cache_keeps_within_its_limit(tmp_path, monkeypatch):
    data = make_data(tmp_path / "set", ("first", "second"), train=3, test=2)
    first, second = read_domains(data, ["first", "second"])
    opts, folder = tiny_options("sequential", data), tmp_path / "cache"
    spectra(first, opts, folder)
    (old,) = folder.glob("*.npy")
    monkeypatch.setenv("CLDF_CACHE_GB", str(1.5 * old.stat().st_size / 1e9))
    # This process uses the first one still.
    assert isinstance(spectra(second, opts, folder).array, OnDemand)
    assert list(folder.glob("*.npy")) == [old]
    os.utime(old.with_suffix(".lock"), (1, 1))
    assert isinstance(spectra(second, opts, folder).array, np.memmap)
    assert not old.exists()
    np.testing.assert_array_equal(spectra(second, opts, folder).array.shape[0], 10)
    monkeypatch.setenv("CLDF_CACHE_GB", "much")
    with pytest.raises(UserError, match="is 'much'; allowed: gigabytes"):
        spectra(second, tiny_options("sequential", data, band="low"), folder)
    monkeypatch.delenv("CLDF_CACHE_GB")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1))
    with pytest.raises(
        DataError, match=r"GB free; allowed: --cache-gb, or CLDF_CACHE_GB in the environment, with less than they need"
    ):
        spectra(second, tiny_options("sequential", data, band="mid"), folder)
    # With less than they need, as that says, the disk is not asked.
    monkeypatch.setenv("CLDF_CACHE_GB", "1e-9")
    array = spectra(second, tiny_options("sequential", data, band="mid"), folder).array
    assert isinstance(array, OnDemand)
    assert array[np.arange(10)].any()


def test_names_that_look_like_numbers_or_nothing_stay_names(tmp_path):
    data = make_data(tmp_path / "set", ("first",), train=1, test=1)
    for kind in ("real", "fake"):
        folder = data / kind / "first" / "trainA"
        (folder / "image00.png").rename(folder / "007.png")
        shutil.copyfile(folder / "007.png", folder / "NA.png")
    table = spectra(read_domain(data), tiny_options("sequential", data), tmp_path / "cache").table
    assert {"007", "NA"} <= set(table["group"])
