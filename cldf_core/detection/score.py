"""P(fake) and a verdict for images that belong to no data set, by a network that was trained before."""

from __future__ import annotations

import glob
import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from cldf_core.options import Options, UserError

if TYPE_CHECKING:  # `cldf --help` reads the flags below and does not wait for these
    import numpy as np
    import pandas as pd

    from cldf_core.detection.detector import Detector

BATCH = 64  # files that go through the network at once
AHEAD = 2 * BATCH  # files that are read before the network asks for them
COLUMNS = ("file", "logit", "probability", "verdict", "reason")


def files_of(what: Sequence[str]) -> list[Path]:
    """The files that names mean, each once.

    Args:
        what: files, whatever they are called; folders, with all that is below them; patterns such as
            photos/**/*.jpg, which not every shell expands. Folders and patterns give, sorted, the files with an
            image's suffix that are not hidden.

    Raises:
        UserError: a name that means no file.
    """
    from cldf_core.data.images import SUFFIXES

    found: dict[str, Path] = {}
    for name in what:
        path = Path(name).expanduser()
        files = [path]
        if not path.is_file():
            near = [path] if path.is_dir() else [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
            files = [file for p in near for file in (_below(p) if p.is_dir() else [p])]
            files = sorted({file for file in files if file.suffix.lower() in SUFFIXES or file.is_dir()})
        if not files:
            raise UserError(f"{name!r} is, or holds, no image; looked for: {', '.join(SUFFIXES)}")
        for file in files:
            found.setdefault(os.path.normcase(os.path.abspath(file)), file)
    return list(found.values())


def score(
    files: Sequence[Path], detector: Detector, *, workers: int | None = None, progress: bool | None = None
) -> pd.DataFrame:
    """Scores images, prepared as for training; the memory it takes does not depend on their number.

    Args:
        files: of images.
        detector: as `load_detector` gives it.
        workers: threads that read and transform images; None takes one for each processor.
        progress: shows a bar; None decides by where it runs.

    Returns:
        A row for each file: file, logit (of fake), probability (of fake), verdict, reason. Of an image that
        could not be scored, reason says why, the numbers are NaN and the verdict is "".
    """
    import numpy as np
    import pandas as pd
    from PIL import Image
    from tqdm.auto import tqdm

    from cldf_core.data.runtime import progress_wanted, thread_count
    from cldf_core.detection.detector import logits_of

    logits, reasons = np.full(len(files), np.nan), [""] * len(files)
    # Threads, since Pillow, numpy and scipy let others work meanwhile; processes would first have to start.
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    with (
        warnings.catch_warnings(),
        thread_count(min(detector.options.threads, os.cpu_count() or 1)),  # training's, for the same last digits
        tqdm(total=len(files), unit="image", leave=False, disable=not progress_wanted(progress)) as bar,
    ):
        # For all threads at once: `open_image` sets it, and takes it back, while others are reading.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            read = _in_order(pool, files, detector.options)
            for start in range(0, len(files), BATCH):
                inputs = {number: next(read) for number in range(start, min(start + BATCH, len(files)))}
                reasons[start : start + BATCH] = [x if isinstance(x, str) else "" for x in inputs.values()]
                usable = {number: x for number, x in inputs.items() if not isinstance(x, str)}
                if usable:
                    stacked = np.stack(list(usable.values()))
                    logits[list(usable)] = logits_of(detector.network, detector.options, stacked)
                for number in usable:
                    reasons[number] = "" if np.isfinite(logits[number]) else "the network gives no number for it"
                bar.update(len(inputs))
        finally:
            pool.shutdown(cancel_futures=True)
    logits[[why != "" for why in reasons]] = np.nan
    probability = detector.probability(logits)
    verdicts = ["" if why else detector.verdict(p) for p, why in zip(probability, reasons, strict=True)]
    # Names may hold bytes that are no text, which no table could be written with.
    names = [os.fsencode(path).decode("utf-8", "backslashreplace") for path in files]
    return pd.DataFrame(dict(zip(COLUMNS, (names, logits, probability, verdicts, reasons), strict=True)))


def _in_order(pool: ThreadPoolExecutor, files: Sequence[Path], options: Options) -> Iterator[np.ndarray | str]:
    """`_input` of every file, computed a little ahead."""
    waiting: deque[Future[np.ndarray | str]] = deque()
    for path in files:
        waiting.append(pool.submit(_input, path, options))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _input(path: Path, options: Options) -> np.ndarray | str:
    """What the network reads of an image, float32 or float64; or why there is nothing."""

    from cldf_core.data.images import ImageProblem, prepare
    from cldf_core.spectrum import InputSpec

    try:
        return prepare(path, InputSpec.from_options(options))
    except ImageProblem as problem:
        if not path.is_file():
            return "is a folder that cannot be read" if path.is_dir() else "no such file"
        return str(problem) if os.access(path, os.R_OK) else "no permission to read it"


def _below(folder: Path) -> list[Path]:
    """All files below a folder that are not hidden; and folders that cannot be read, to be told of."""
    found: list[Path] = []

    def unreadable(error: OSError) -> None:
        found.append(Path(error.filename))

    for at, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(Path(at, name) for name in files if not name.startswith("."))
    return found
