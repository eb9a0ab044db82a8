"""Frames of a video as PNG files, decoded with PyAV, which is an extra: pip install cldf-core[video]."""

import contextlib
import importlib
import math
import re
from pathlib import Path
from typing import Any

from cldf_core.data.domains import DataError
from cldf_core.data.files import read_record, whole_file, write_record

MOST = 32  # frames of a video


def frames(video: Path, folder: Path, every_seconds: float = 1.0) -> list[Path]:
    """Writes frames of a video at a steady rate, once, and returns their paths in order.

    The first frame is taken, and at most MOST in all: each is the first one at or after a multiple of `every_seconds`
    from the video's start. They are called <name>-000.png and so on, after the video. A small hidden file, written
    last, says that all are there; frames that an interrupted call left, that have another rate, or whose video has
    changed are written again.

    Raises:
        DataError: PyAV is missing, the video cannot be read, or `every_seconds` is out of range.
    """
    if not 0 < every_seconds < math.inf:
        raise DataError(f"every_seconds is {every_seconds}; allowed: above 0")
    try:
        av = importlib.import_module("av")  # an extra that the rest of the package does without
    except ImportError:
        raise DataError("frames of videos need PyAV, which is missing; pip install cldf-core[video]") from None
    mark = folder / f".{video.stem}.json"
    try:
        stat = video.stat()
    except OSError as error:
        raise DataError(f"{video} cannot be read ({error.strerror}); needed: a video file") from None
    recipe = [stat.st_size, stat.st_mtime_ns, every_seconds, MOST]
    with contextlib.suppress(OSError, ValueError):  # no mark, or a damaged one
        written = read_record(mark)
        paths = [folder / name for name in written["frames"]]
        if written["recipe"] == recipe and all(path.is_file() for path in paths):
            return paths
    mark.unlink(missing_ok=True)
    for path in folder.glob("*.png"):
        if re.fullmatch(re.escape(video.stem) + r"-\d{3,}\.png", path.name):
            path.unlink()
    paths = _written(av, video, folder, every_seconds)
    write_record(mark, {"recipe": recipe, "frames": [p.name for p in paths]})
    return paths


def _written(av: Any, video: Path, folder: Path, every_seconds: float) -> list[Path]:
    paths: list[Path] = []
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise ValueError("it holds sound alone")
            stream = container.streams.video[0]
            start, due = None, 0.0
            for number, frame in enumerate(container.decode(stream)):
                time = frame.time if frame.time is not None else number / float(stream.average_rate or 25)
                start = time if start is None else start
                if time - start < due - 1e-6:
                    continue
                path = folder / f"{video.stem}-{len(paths):03d}.png"
                with whole_file(path) as partial:
                    frame.to_image().save(partial, "PNG")
                paths.append(path)
                if len(paths) == MOST:
                    break
                due = (math.floor((time - start + 1e-6) / every_seconds) + 1) * every_seconds
    except (av.error.FFmpegError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{video} cannot be decoded ({reason}); needed: a whole video file") from None
    if not paths:
        raise DataError(f"{video} holds no frame; needed: a whole video file")
    return paths
