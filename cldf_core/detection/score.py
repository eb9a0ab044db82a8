"""P(fake) and a verdict for any images, by a network that was trained before."""

import fnmatch
import glob
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image

from cldf_core.data.console import progress_bar
from cldf_core.data.files import irregular
from cldf_core.data.images import SUFFIXES, ImageProblem, is_faint, open_crop
from cldf_core.data.listing import UNREADABLE, Listing, ignored, list_images, split_pattern
from cldf_core.data.runtime import processors, thread_count
from cldf_core.detection.detector import Detector, logits_of
from cldf_core.detection.labels import data_set, text_of
from cldf_core.options import UserError, shown
from cldf_core.spectrum import InputSpec

BATCH = 64  # files that go through the network at once
AHEAD = 2 * BATCH  # files that are read before the network asks for them
NO_SPECTRUM = "its pixels are all alike, or so nearly that its spectrum tells nothing"
COLUMNS = ("file", "logit", "probability", "verdict", "reason")


def files_of(names: Sequence[str], *, note: Callable[[str], object] = lambda sentence: None) -> list[Path]:
    """The files that names stand for, each once.

    Args:
        names: of files, with any suffix; of data sets; of folders, with everything below them; or patterns such as
            photos/**/*.jpg, which not every shell expands. Folders and patterns give the files with an image's suffix
            that are not hidden, sorted, those that links lead to once, and folders that cannot be read, which `score`
            reports.
        note: is called with each sentence on what a folder or a pattern holds besides.

    Raises:
        UserError: a name stands for no file.
    """
    found: dict[str, Path] = {}
    for name in names:
        files, sentences, place_of = _files_of(name) if name else ([], [], str)  # nothing is not the working folder
        if not files:
            besides = "".join(f". {sentence.removesuffix('.')}" for sentence in sentences)
            besides += "" if os.path.lexists(name) or {*name} & {*"*?["} else "; nor is it a data set of cldf data list"
            raise UserError(f"{shown(name)} is, or holds, no image; looked for: {', '.join(SUFFIXES)}{besides}")
        again = []
        for file in files:  # a folder may be reached in several ways, and a file by links
            if found.setdefault(os.path.normcase(place_of(file)), file) != file:
                again.append(PurePosixPath(file))
        for sentence in (*sentences, *ignored(again, "repeated image")):
            note(f"{name}: {sentence}")
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
    pool = ThreadPoolExecutor(workers or processors())
    with (
        warnings.catch_warnings(),
        thread_count(min(detector.options.threads, processors())),  # as in training, for the same last digits
        progress_bar(len(files), progress=progress) as bar,
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
    return pd.DataFrame(
        dict(zip(COLUMNS, ([*map(text_of, files)], logits, probability, verdicts, reasons), strict=True))
    )


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
    """What the network reads of an image, all 0 where its pixels hardly differ; or the reason why it cannot be used."""
    try:
        pixels = open_crop(path, spec)
        if spec.feature == "spectrum" and is_faint(pixels):
            return np.zeros(spec.shape, spec.precision)
        return spec.network_input(pixels[None])[0]
    except ImageProblem as problem:
        return no_file(path) or str(problem)


def no_file(path: Path) -> str:
    """Why nobody who looks for an image can open a path; "" where it can be opened."""
    if what := irregular(path):
        return what
    if os.path.isdir(path):  # Path.is_dir would fail with a name that is too long
        return f"is {UNREADABLE}" if not os.access(path, os.R_OK | os.X_OK) else "is a folder, not an image"
    return "" if os.access(path, os.R_OK) else "no permission to read it"


def _files_of(name: str) -> tuple[list[Path], list[str], Callable[[Path], str]]:
    """The files that a name stands for, sentences on what is left out, and what tells the files apart."""
    path = Path(os.path.expanduser(name))
    if os.path.lexists(path) and not path.is_dir():
        return [path], [], lambda file: os.path.join(os.path.realpath(file.parent), file.name)
    if (images := data_set(name)) is not None:
        return [Path(image) for image in images["path"]], [], os.path.abspath  # domains may share a file by links
    base, pattern = split_pattern(path)
    if not pattern or "**" in pattern:  # which glob would follow through links, round and round
        return *_below(base, pattern), os.path.realpath
    files, sentences, rest = list[Path](), list[str](), Listing([], [], [], [], [])
    for match in map(Path, sorted(glob.glob(os.path.join(glob.escape(str(base)), *pattern)))):
        if match.is_dir():
            inside, besides = _below(match)
            files += inside
            sentences += [f"{match.name}: {sentence}" for sentence in besides]
        elif what := irregular(match):
            rest.left_alone.append((PurePosixPath(match), what))
        elif match.suffix.lower() in SUFFIXES:
            files.append(match)
        else:
            rest.others.append(PurePosixPath(match))
    return sorted(files), sentences + rest.sentences(), os.path.realpath


def _below(folder: Path, pattern: Sequence[str] = ()) -> tuple[list[Path], list[str]]:
    """The images below a folder that fit a pattern, with folders that cannot be read, and sentences on the rest."""
    listing = list_images(folder)
    shut = [path for path, what in listing.left_alone if what.startswith(UNREADABLE)]
    files = [folder / path for path in sorted([*listing.images, *shut]) if _fits(path.parts, pattern)]
    videos, others = ([p for p in paths if _fits(p.parts, pattern)] for paths in (listing.videos, listing.others))
    alone = [(path, what) for path, what in listing.left_alone if path not in shut]
    return files, listing._replace(videos=videos, others=others, left_alone=alone).sentences()


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path, or a folder that it lies in, fits a pattern in which ** stands for any number of folders."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or (len(parts) > 0 and _fits(parts[1:], pattern))
    return len(parts) > 0 and fnmatch.fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
