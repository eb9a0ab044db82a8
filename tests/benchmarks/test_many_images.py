"""A data set larger than memory, in small: 20,000 images need no more memory than 5,000, and both processors work.

About a quarter of an hour; Linux only, since it counts anonymous pages.
"""

import contextlib
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

SIDE = 256
ALLOWED = 2 << 30  # bytes of anonymous pages, all processes together
COUNTS = (5_000, 20_000)
LOAD = """
import sys, time
start = time.perf_counter()
from cldf_core.options import checked
from cldf_core.runs.run import load_spectra, make_run
options = checked({"data": sys.argv[1], "stream": ["first"], "unseen": [], "splits": ["test"], "size": 256,
                   "epochs": 1, "agent": "sequential"})
"""
TRAIN = LOAD + "make_run(options)"
READ = LOAD + "load_spectra(options)\nprint(time.perf_counter() - start)"
CACHE = """
import sys, time
from pathlib import Path
from cldf_core.data import runtime
from cldf_core.data.cache import spectra
from cldf_core.data.intake.add import register
from cldf_core.data.layouts.read import read_domains
from cldf_core.options import checked
source, workers = Path(sys.argv[1]), int(sys.argv[2])
runtime.processors = lambda: workers
domain = read_domains(register(source, f'with{workers}'), ['first'])[0]
start = time.perf_counter()
spectra(domain, checked({'size': 256}), Path(sys.argv[3]))
print(time.perf_counter() - start)
"""


def _write(folder: Path, numbers: range) -> None:
    for number in numbers:
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).resize((SIDE, SIDE))
        noise = rng.integers(-8, 8, (SIDE, SIDE, 3))
        pixels = np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)
        place = folder / "first" / ("1_fake" if number % 2 else "0_real") / f"{number:06}.png"
        Image.fromarray(pixels).save(place, compress_level=1)


def _images(folder: Path, count: int) -> Path:
    for kind in ("0_real", "1_fake"):
        (folder / "first" / kind).mkdir(parents=True, exist_ok=True)
    parts = [range(start, min(start + 250, count)) for start in range(0, count, 250)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_write, [folder] * len(parts), parts))
    return folder


def _anonymous(process: psutil.Process) -> int:
    total = 0
    for part in [process, *process.children(recursive=True)]:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{part.pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
    return total


def _seconds(code: str, env: dict[str, str], *words: str) -> float:
    """What the code prints, in a process of its own."""
    call = [sys.executable, "-c", code, *words]
    return float(subprocess.run(call, env=env, capture_output=True, text=True, check=True).stdout)


def _peak(words: list[str], env: dict[str, str]) -> tuple[int, float]:
    """Most anonymous pages of the command and its children in bytes, and its seconds."""
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL) as running:
        process = psutil.Process(running.pid)
        while running.poll() is None:
            try:
                peak = max(peak, _anonymous(process))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.1)
        assert running.wait() == 0
    return peak, time.perf_counter() - start


@pytest.mark.skipif(sys.platform != "linux", reason="counts pages as Linux does")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    env = {**os.environ, "CLDF_ROOT": str(tmp_path), "CLDF_PROGRESS": "0"}
    cldf = [sys.executable, "-m", "cldf_core.cli"]
    peaks: dict[str, list[int]] = {}
    for count in COUNTS:
        name = f"images{count}"
        source = _images(tmp_path / "source" / name, count)
        steps = {
            "add": [*cldf, "data", "add", str(source)],
            "check": [*cldf, "data", "check", name],
            "audit": [*cldf, "data", "audit", name],
            "one epoch": [sys.executable, "-c", TRAIN, name],
        }
        for step, words in steps.items():
            peak, seconds = _peak(words, env)
            peaks.setdefault(step, []).append(peak)
            print(f"\n{count} images, {step}: {peak / 2**30:.2f} GiB, {seconds:.0f} s", end="")
        second = _seconds(READ, env, name)
        print(f"\n{count} images, second start: {second:.1f} s (allowed 5 s)")
        assert second < 5
    for step, (few, many) in peaks.items():
        assert many < ALLOWED, step
        assert many < 1.1 * few + (100 << 20), step  # the tables of names are there in both


def test_both_processors_build_the_cache(tmp_path):
    source = _images(tmp_path / "source", COUNTS[-1])
    seconds = []
    for workers in (1, 2):
        env = {**os.environ, "CLDF_ROOT": str(tmp_path / f"root{workers}"), "OMP_NUM_THREADS": "1"}
        seconds.append(_seconds(CACHE, env, str(source), str(workers), str(tmp_path / f"cache{workers}")))
    ratio = seconds[0] / seconds[1]
    print(f"\nthe cache of {COUNTS[-1]} images: {seconds[0]:.0f} s by one process, {seconds[1]:.0f} s by two,", end=" ")
    print(f"{ratio:.2f} times as fast (needed 1.7)")
    assert ratio >= 1.7
