"""What a set of many images takes; writes the tables of docs/many-images.md.

    python tests/long/many_images.py                           # 10 thousand, 100 thousand and a million: hours, 25 GB
    python tests/long/many_images.py --counts 10000 100000     # half an hour on two processors

For each number of small JPEG files, from the files and from tar shards of them: seconds and memory of `cldf data add`,
of all spectra, of one pass with the test, and of one pass where the cache may hold a tenth of the spectra. Then a few
larger images, from which the page tells what millions of them take. Nothing else should run on the machine meanwhile.
Up to 10 thousand images are measured three times, and the median counts.
With --costs FILE what was measured is kept there after each number of images, and not measured again.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scaling import PROJECT, _processor

PAGE = PROJECT / "docs" / "many-images.md"
FEW = 1_000  # images that take little but the start of Python
COUNTS = (10_000, 100_000, 1_000_000)
LARGE = 2_000  # images of 256 pixels, from which millions of them are extrapolated
SHARD = 10_000  # images of a tar shard
LOAD = """
import sys
from cldf_core.options import checked
from cldf_core.runs.run import load_spectra, make_run
options = checked({"data": sys.argv[1], "stream": ["first"], "unseen": [], "splits": ["test"], "size": int(sys.argv[2]),
                   "width": int(sys.argv[3]), "epochs": 1, "batch": 64, "agent": "sequential"})
"""
SPECTRA, PASS = LOAD + "load_spectra(options)", LOAD + "make_run(options)"


@dataclass(frozen=True)
class Cost:
    """What one phase took: seconds of the clock, and the anonymous memory of the process that had most of it."""

    source: str
    images: int
    phase: str
    seconds: float
    bytes: int


def jpeg(number: int, side: int) -> bytes:
    """A JPEG file that no other number gives: smooth colours and a fine pattern, which fakes have twice as strong."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).resize((side, side))
    pattern = rng.integers(-8, 8, (side, side, 3)) * (1 + number % 2)
    file = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(coarse) + pattern, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _write(folder: Path, kind: str, numbers: range, side: int) -> None:
    if kind == "files":
        for number in numbers:
            place = folder / "first" / ("1_fake" if number % 2 else "0_real") / f"{number:08}.jpg"
            place.write_bytes(jpeg(number, side))
        return
    if kind == "parquet":  # as the Hugging Face hub stores images
        images = [{"bytes": jpeg(number, side), "path": f"{number:08}.jpg"} for number in numbers]
        table = pa.table({"image": images, "label": [number % 2 for number in numbers]})
        pq.write_table(table, folder / f"part-{numbers.start // SHARD:05}.parquet")
        return
    with tarfile.open(folder / f"shard-{numbers.start // SHARD:05}.tar", "w") as tar:
        for number in numbers:
            label, content = str(number % 2).encode(), jpeg(number, side)
            for suffix, data in (("jpg", content), ("cls", label)):
                member = tarfile.TarInfo(f"{number:08}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def written(folder: Path, kind: str, count: int, side: int = 64) -> Path:
    """A folder of so many images, half of them fakes: files in folders of their class, tar shards, or parquet."""
    for name in ("first/0_real", "first/1_fake") if kind == "files" else (".",):
        (folder / name).mkdir(parents=True, exist_ok=True)
    parts = [range(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        list(pool.map(_write, [folder] * len(parts), [kind] * len(parts), parts, [side] * len(parts)))
    return folder


def measured(words: Sequence[object], **env: str) -> tuple[float, int]:
    """Seconds of a command, and most anonymous memory that one process of it had at a time, in bytes."""
    start, most = time.perf_counter(), 0
    call, own = [sys.executable, *map(str, words)], {**os.environ, "CLDF_PROGRESS": "0", "OMP_NUM_THREADS": "1", **env}
    with subprocess.Popen(call, env=own, stdout=subprocess.DEVNULL) as running:
        process = psutil.Process(running.pid)
        while running.poll() is None:
            most = max([most, *_anonymous(process)])
            time.sleep(0.1)
        if running.wait():
            raise SystemExit(f"{' '.join(call[:6])} ended with {running.returncode}")
    return time.perf_counter() - start, most


def _anonymous(process: psutil.Process) -> Iterator[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        for part in [process, *process.children(recursive=True)]:
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{part.pid}/status").read_text().splitlines()
                yield sum(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def costs(root: Path, kind: str, count: int, *, side: int = 64, width: int = 8, bound: bool = True) -> Iterator[Cost]:
    """What each phase takes for so many images; what they lay in is removed at the end."""
    source, spectra, env = (
        written(root / "source", kind, count, side),
        root / "data" / "spectra",
        {"CLDF_ROOT": str(root)},
    )
    add = ["-m", "cldf_core.cli", "data", "add", source, "--name", "first"]  # also of the domain, where none is named
    add += ["--most-members", max(count, 200_000)] if kind != "files" else []
    yield Cost(kind, count, "add", *measured(add, **env))
    rest = ("first", side, width)
    yield Cost(kind, count, "spectra", *measured(["-c", SPECTRA, *rest], **env))
    yield Cost(kind, count, "pass and test", *measured(["-c", PASS, *rest], **env))
    gigabytes = sum(path.stat().st_size for path in spectra.glob("*.npy")) / 1e9
    if bound:
        shutil.rmtree(root / "runs")
        shutil.rmtree(spectra)
        env["CLDF_CACHE_GB"] = f"{gigabytes / 10:.9f}"
        measured(["-c", SPECTRA, *rest], **env)  # which images can be used
        yield Cost(kind, count, "pass and test, a tenth cached", *measured(["-c", PASS, *rest], **env))
    yield Cost(kind, count, "disk of spectra", 0.0, round(gigabytes * 1e9))
    for folder in (source, root / "data", root / "runs"):
        shutil.rmtree(folder, ignore_errors=True)


def _median(rounds: Sequence[Cost]) -> Cost:
    """The round with the median seconds, for a second more or less is a fifth of what few images take."""
    return sorted(rounds, key=lambda cost: cost.seconds)[len(rounds) // 2]


def per_image(found: Sequence[Cost], phase: str, source: str, count: int) -> float:
    """Seconds an image, less what a few images take, which is the start of everything."""
    of = {cost.images: cost.seconds for cost in found if (cost.phase, cost.source) == (phase, source)}
    return (of[count] - of[FEW]) / (count - FEW)


def tables(found: Sequence[Cost], large: Sequence[Cost]) -> str:
    """The tables of the page."""
    processors = os.cpu_count() or 1
    text = f"On {processors} processors ({_processor()}), images of 64 pixels, a network of width 8:\n\n"
    text += "| images | from | phase | ms an image | largest process, MiB |\n|---|---|---|---|---|\n"
    for cost in found:
        if cost.images > FEW and cost.seconds:
            each = per_image(found, cost.phase, cost.source, cost.images)
            text += f"| {cost.images:,} | {cost.source} | {cost.phase} | {each * 1e3:.2f} | {cost.bytes >> 20:,} |\n"
    count = 3_000_000
    text += f"\nExtrapolated from {LARGE:,} images of 256 pixels, and the network of the quick profile:\n\n"
    text += f"| | {count:,} images | processors |\n|---|---|---|\n"
    for cost in large:
        if cost.images == LARGE and cost.phase == "disk of spectra":
            text += f"| spectra on the disk | {cost.bytes / LARGE * count / 1e9:,.0f} GB | |\n"
        elif cost.images == LARGE:
            hours = per_image(large, cost.phase, cost.source, LARGE) * count / 3600
            text += f"| {cost.phase} | {hours:,.1f} hours | {processors if cost.phase == 'spectra' else 1} |\n"
    return text


def main() -> None:
    """Measures, keeps what was measured beside the page's tables, and writes them into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument(
        "--folder", type=Path, help="an empty folder on the disk to measure; by default a temporary one"
    )
    parser.add_argument("--costs", type=Path, help="a JSON file in which what was measured is kept and looked up")
    parsed = parser.parse_args()
    begin, end = "<!-- many images: written by tests/long/many_images.py -->\n", "<!-- many images: end -->"
    known = json.loads(parsed.costs.read_text()) if parsed.costs and parsed.costs.is_file() else {}

    def kept(root: Path, kind: str, count: int, **sizes: Any) -> list[Cost]:
        key = " ".join([f"{count} from {kind}", *(f"{name} {size}" for name, size in sizes.items())])
        if key not in known:
            rounds = [list(costs(root, kind, count, **sizes)) for _ in range(3 if count <= COUNTS[0] else 1)]
            known[key] = [asdict(_median(phase)) for phase in zip(*rounds, strict=True)]
            print(f"{key}: {json.dumps(known[key])}", flush=True)
            if parsed.costs:
                parsed.costs.write_text(json.dumps(known, indent=1))
        return [Cost(**cost) for cost in known[key]]

    with tempfile.TemporaryDirectory(dir=parsed.folder) as folder:
        root = Path(folder)
        counts, sizes = (FEW, *sorted(parsed.counts)), {"side": 256, "width": 24, "bound": False}
        found = [cost for kind in ("files", "shards") for count in counts for cost in kept(root, kind, count)]
        large = [cost for count in (FEW, LARGE) for cost in kept(root, "files", count, **sizes)]
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    PAGE.write_text(f"{before}{begin}\n{tables(found, large)}\n{end}{rest.split(end)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
