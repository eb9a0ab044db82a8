"""A million images cost, each, about what ten thousand do; and a tenth of the cache keeps half the speed.

CLDF_MOST_IMAGES bounds the largest number, for a machine without the 25 GB and the hours that a million takes.
"""

import os
import sys

import pandas as pd
import pytest
from many_images import COUNTS, FEW, PASS, costs, measured, per_image, written

from cldf_core.data import cache

MOST = int(os.environ.get("CLDF_MOST_IMAGES", COUNTS[-1]))
ALLOWED = 1.5 * 2**30  # bytes of anonymous memory of the largest process
PHASES = ("add", "spectra", "pass and test", "pass and test, a tenth cached")
# One domain with the network and sizes of the quick profile.
QUICK = """
import sys, time
from cldf_core.options import checked
from cldf_core.runs.run import load_spectra, make_run
from cldf_core.workflow.notebooks import LAST, notebook_parameters
base = notebook_parameters(LAST, "quick").options("sequential")
options = checked({**base.model_dump(), "data": sys.argv[1], "stream": ["first"], "unseen": [], "untested": [],
                   "splits": ["test"], "epochs": 2, "size": 128})
load_spectra(options)
start = time.perf_counter()
run = make_run(options)
seconds = time.perf_counter() - start
run.scores().to_parquet(sys.argv[2])
open(sys.argv[2] + ".seconds", "w").write(str(seconds))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts pages as Linux does")
@pytest.mark.parametrize("source", ["files", "shards"])
def test_an_image_takes_what_it_takes_however_many_there_are(source, tmp_path):
    counts = [FEW, *(count for count in COUNTS if count <= MOST)]
    found = [cost for count in counts for cost in costs(tmp_path, source, count)]
    for phase in PHASES:
        each = [per_image(found, phase, source, count) for count in counts[1:]]
        print(f"\n{source}, {phase}:", ", ".join(f"{1e3 * seconds:.3f}" for seconds in each), "ms an image", end="")
        assert each[-1] <= 1.3 * each[0], phase
    most = max(found, key=lambda cost: cost.bytes if cost.seconds else 0)
    print(f"\nlargest process: {most.bytes / 2**30:.2f} GiB, {most.images} images, {most.phase}")
    assert most.bytes <= ALLOWED


@pytest.mark.skipif(sys.platform != "linux", reason="counts pages as Linux does")
@pytest.mark.parametrize("kind", ["shards", "parquet"])
def test_images_in_containers_are_added_checked_and_trained_as_fast_as_files(kind, tmp_path):
    seconds = {}
    for source in ("files", kind):
        env = {"CLDF_ROOT": str(tmp_path / source)}
        folder = written(tmp_path / source / "source", source, min(20_000, MOST))
        steps = {
            "add": ["-m", "cldf_core.cli", "data", "add", folder, "--name", "first"],
            "check": ["-m", "cldf_core.cli", "data", "check", "first"],
            "train": ["-c", PASS, "first", 64, 8],
        }
        found = {step: measured(words, **env) for step, words in steps.items()}
        seconds[source] = sum(took for took, _ in found.values())
        print(
            f"\n{source}:", ", ".join(f"{s} {took:.0f} s, {most / 2**30:.2f} GiB" for s, (took, most) in found.items())
        )
        assert max(most for _, most in found.values()) < 2 * 2**30
    ratio = seconds["files"] / seconds[kind]
    print(f"from {kind} {ratio:.2f} of the speed from files (needed 0.8)")
    assert ratio >= 0.8


def test_a_tenth_of_the_cache_gives_the_same_scores_at_half_the_speed(tmp_path):
    source = written(tmp_path / "source", "files", 4_000, side=160)
    seconds, scores, room = [], [], None
    for place in ("whole", "tenth"):
        env = {"CLDF_ROOT": str(tmp_path / place), **({cache.CACHE_GB: room} if room else {})}
        measured(["-m", "cldf_core.cli", "data", "add", source], **env)
        target = tmp_path / f"{place}.parquet"
        measured(["-c", QUICK, "source", target], **env)
        arrays = [path.stat().st_size for path in (tmp_path / place).rglob("*.npy")]
        room = room or f"{sum(arrays) / 10 / 1e9:.9f}"
        seconds.append(float(target.with_name(f"{target.name}.seconds").read_text()))
        scores.append(pd.read_parquet(target))
    assert not arrays
    pd.testing.assert_frame_equal(*scores, check_exact=True)
    ratio = seconds[0] / seconds[1]
    print(f"\n{seconds[0]:.1f} s with all spectra in the cache, {seconds[1]:.1f} s with none: {ratio:.2f} (needed 0.5)")
    assert ratio >= 0.5
