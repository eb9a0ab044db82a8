"""P(fake) and a verdict for images that belong to no data set, by a network that was trained before."""

import glob
import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from cldf_core.data.images import SUFFIXES, ImageProblem, prepare
from cldf_core.data.runtime import progress_wanted, thread_count
from cldf_core.detection.detector import Detector, logits_of
from cldf_core.options import UserError
from cldf_core.spectrum import InputSpec

BATCH = 64  # files that go through the network at once
AHEAD = 2 * BATCH  # files that are read before the network asks for them
NO_SPECTRUM = "its pixels are all alike, so it has no spectrum"
COLUMNS = ("file", "logit", "probability", "verdict", "reason")


def files_of(names: Sequence[str]) -> list[Path]:
    """The files that names stand for, each once.

    Args:
        names: of files, with any suffix; of folders, with everything below them; or patterns such as photos/**/*.jpg,
            which not every shell expands. Folders and patterns give the files with an image's suffix that are not
            hidden, sorted.

    Raises:
        UserError: a name stands for no file.
    """
    found: dict[str, Path] = {}
    for name in names:
        path = Path(name).expanduser()
        files = [path]
        if not path.is_file():
            matches = [path] if path.is_dir() else [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
            files = [file for p in matches for file in (_below(p) if p.is_dir() else [p])]
            files = sorted({file for file in files if file.suffix.lower() in SUFFIXES or file.is_dir()})
        if not files:
            raise UserError(f"{name!r} is, or holds, no image; looked for: {', '.join(SUFFIXES)}")
        for file in files:
            found.setdefault(os.path.normcase(os.path.abspath(file)), file)
    return list(found.values())


def score(
    files: Sequence[Path], detector: Detector, *, workers: int | None = None, progress: bool | None = None
) -> pd.DataFrame:
    """Scores images that are prepared as for training, in memory that does not depend on their number.

    A row for each file has the columns file, logit (of fake), probability (of fake), verdict and reason. If an image
    cannot be scored, the reason says why, the numbers are NaN and the verdict is ""; that of an image without a
    spectrum is "cannot say". `workers` threads read and transform images, by default one for each processor.
    """
    spec = InputSpec.from_options(detector.options)
    logits, reasons = np.full(len(files), np.nan), [""] * len(files)
    # Threads suffice, since Pillow, numpy and scipy release the lock of Python.
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    with (
        warnings.catch_warnings(),
        thread_count(min(detector.options.threads, os.cpu_count() or 1)),  # as in training, for the same last digits
        tqdm(total=len(files), unit="image", leave=False, disable=not progress_wanted(progress)) as bar,
    ):
        # Set for all threads at once: `open_image` sets it and takes it back while others are reading.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            all_inputs = _in_order(pool, files, spec)
            for start in range(0, len(files), BATCH):
                inputs = {number: next(all_inputs) for number in range(start, min(start + BATCH, len(files)))}
                reasons[start : start + BATCH] = [x if isinstance(x, str) else "" for x in inputs.values()]
                usable = {number: x for number, x in inputs.items() if not isinstance(x, str)}
                if usable:
                    stacked = np.stack(list(usable.values()))
                    logits[list(usable)] = logits_of(detector.network, detector.options, stacked)
                for number, x in usable.items():
                    if spec.feature == "spectrum" and not x.any():
                        reasons[number] = NO_SPECTRUM
                    elif not np.isfinite(logits[number]):
                        reasons[number] = "the network gives no number for it"
                bar.update(len(inputs))
        finally:
            pool.shutdown(cancel_futures=True)
    logits[[reason != "" for reason in reasons]] = np.nan
    probability = detector.probability(logits)
    judged = [reason in ("", NO_SPECTRUM) for reason in reasons]
    verdicts = [detector.verdict(p) if is_judged else "" for p, is_judged in zip(probability, judged, strict=True)]
    # A name may hold bytes that are no text and cannot be written to a table.
    names = [os.fsencode(path).decode("utf-8", "backslashreplace") for path in files]
    return pd.DataFrame(dict(zip(COLUMNS, (names, logits, probability, verdicts, reasons), strict=True)))


def _in_order(pool: ThreadPoolExecutor, files: Sequence[Path], spec: InputSpec) -> Iterator[np.ndarray | str]:
    """Yields `_input` of every file, computed a little ahead."""
    waiting: deque[Future[np.ndarray | str]] = deque()
    for path in files:
        waiting.append(pool.submit(_input, path, spec))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _input(path: Path, spec: InputSpec) -> np.ndarray | str:
    """What the network reads of an image; or the reason why it cannot be used."""
    try:
        return prepare(path, spec)
    except ImageProblem as problem:
        if not path.is_file():
            return "is a folder that cannot be read" if path.is_dir() else "no such file"
        return str(problem) if os.access(path, os.R_OK) else "no permission to read it"


def _below(folder: Path) -> list[Path]:
    """All files below a folder that are not hidden, and the folders that cannot be read, which are reported later."""
    paths: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=lambda error: paths.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths.extend(Path(parent, name) for name in files if not name.startswith("."))
    return paths
