"""Surveys: every image file is opened once, for what it says, what training does with it, or why it is rejected."""

import contextlib
import hashlib
import io
import itertools
import os
import re
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import imagehash
import numpy as np
import pandas as pd
import PIL
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from cldf_core.data.columns import places, table_of
from cldf_core.data.domains import CLASSES, DataError
from cldf_core.data.files import irregular
from cldf_core.data.images import ImageProblem, as_image, is_faint, open_image
from cldf_core.data.runtime import in_processes
from cldf_core.data.source_trees import tree_hash

CHUNK = 64  # images that a worker process takes at once; fewer than 4 chunks are done before one has started
_SUFFIXES = {"JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "TIFF": (".tif", ".tiff"), "PNG": (".png", ".apng")}
_SUFFIXES["MPO"] = (*_SUFFIXES["JPEG"], ".mpo")  # a JPEG file that holds several pictures
_SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF", b"BM": "BMP"}
_PNG_DEPTH = 24  # the byte of a PNG file that holds its bits a channel (PNG specification, IHDR)
_PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_ORIENTATION, _EXIF_FOLDER, _TAKEN = 0x0112, 0x8769, 0x9003  # tags of Exif 2.3


class Row(NamedTuple):
    """What is known of an image file: the columns of a survey, in their order."""

    image: str  # the path from the root
    bytes: int = 0  # 0 if there is no file
    mtime_ns: int = 0
    sha256: str = ""  # of the content, hexadecimal
    format: str = ""  # JPEG, PNG and so on, as the content says; "" if it is unknown
    suffix_fits: bool = False  # whether the file's name says the same
    mode: str = ""  # as stored, in Pillow's words: RGB, L, P, CMYK, RGBA, I;16 and so on
    width: int = 0  # pixels of the upright image; 0 if not even the header can be read
    height: int = 0
    quality: float = float("nan")  # of a JPEG file, see `jpeg_quality`
    colours: str = ""  # "grey" if all three channels are equal, else "RGB"; "" if the image is not used
    faint: bool = False  # see `is_faint`
    exif_date: str = ""  # when the picture was taken, YYYY-MM-DD HH:MM:SS, or ""
    orientation: int = 1  # EXIF's, 1 to 8; 1 is upright
    phash: str = ""  # perceptual hash of the upright RGB image, 64 bits as 16 hexadecimal digits; "" if not used
    used: bool = False  # whether training can use it (apart from its size, see `too_small`)
    rule: str = ""  # how it is changed when it is opened, or ""
    reason: str = ""  # why it is rejected, or ""
    code: str = ""  # the code that made the row, and Pillow's version; rows of other code are made again


_DTYPES = {name: {int: "int64"}.get(kind, kind) for name, kind in typing.get_type_hints(Row).items()}


def survey(
    root: Path,
    images: Sequence[str] | pd.Series,
    known: pd.DataFrame | None = None,
    *,
    workers: int | None = None,
    contents: bool = False,
) -> pd.DataFrame:
    """Opens every image once, in several processes, as training will open it, and makes a table of `Row`s in order.

    Images are posix paths from the root; one that is named twice is opened once. Of an earlier survey, `known`, the
    rows of files are kept whose size and time are the same, or with `contents` size and content, which is read for
    that. The `workers` are those of `in_processes`, which also says which errors are raised.
    """
    names = pd.Series(images, dtype=str).drop_duplicates(ignore_index=True)
    kept = _unchanged(root, names, known, workers, contents)
    rest = names[~names.isin(kept["image"])]
    made = table_of(_spread(partial(_rows, root), rest, workers), _DTYPES)
    table = pd.concat([kept, made], ignore_index=True) if len(made) else kept
    in_order = not len(kept) or table["image"].equals(names)
    return table if in_order else table.set_index("image").loc[names].reset_index()


def _unchanged(
    root: Path, names: pd.Series, known: pd.DataFrame | None, workers: int | None, contents: bool
) -> pd.DataFrame:
    """The rows of an earlier survey that hold for files of these names, with the times that the files have now."""
    if known is None or not {*Row._fields} <= {*known.columns}:
        return table_of([], _DTYPES)
    place = places(names, known["image"])
    listed = names[place >= 0]
    place = place[place >= 0]
    stamps = _spread(partial(_stamps, root, contents=contents), listed, workers if contents else 1)
    now = np.fromiter(stamps, [("bytes", "i8"), ("mtime_ns", "i8"), ("sha256", "S64")], len(listed))
    in_order = np.array_equal(place, np.arange(len(known)))  # a million rows are not copied without need
    then = known.loc[:, [*Row._fields]] if in_order else known.loc[:, [*Row._fields]].iloc[place]
    same = (then["code"] == _code()).to_numpy() & (then["bytes"].to_numpy() == now["bytes"])
    if contents:
        same &= then["sha256"].to_numpy("S64") == now["sha256"]
    else:
        same &= then["mtime_ns"].to_numpy() == now["mtime_ns"]
    then = then.assign(mtime_ns=now["mtime_ns"])
    return then if same.all() else then[same].reset_index(drop=True)


def too_small(table: pd.DataFrame, size: int) -> pd.DataFrame:
    """The used images of a survey that a crop of `size` pixels a side exceeds, with the reason that `crop` gives."""
    small = table[table["used"] & (table[["width", "height"]].min(axis=1) < size)]
    reasons = [f"too small ({w} x {h}, needed {size} x {size})" for w, h in small[["width", "height"]].to_numpy()]
    return small.assign(reason=pd.Series(reasons, small.index, "str"))


def with_classes(joined: pd.DataFrame) -> pd.DataFrame:
    """Adds the class in words to a survey joined with labels, and makes domain, split and group text.

    A missing column, a label other than 0 or 1, and an image that is not in the survey are DataErrors.
    """
    named = ("domain", "split", "group")
    if missing := [name for name in (*Row._fields, "label", *named) if name not in joined]:
        raise DataError(f"audit: the table lacks {', '.join(missing)}; needed: a survey joined with labels and splits")
    if not joined["label"].isin([0, 1]).all():
        bad = joined.loc[~joined["label"].isin([0, 1])].iloc[0]
        raise DataError(f"audit: {bad['image']} has label {bad['label']!r}; allowed: 0 real, 1 fake")
    if joined["used"].isna().any():
        raise DataError(f"audit: {joined.loc[joined['used'].isna(), 'image'].iloc[0]} is not in the survey")
    words = np.array(CLASSES)[joined["label"].to_numpy(int)]
    return joined.astype({**dict.fromkeys(named, str), "used": bool}).assign(**{"class": words})


def jpeg_quality(tables: Mapping[int, Sequence[int]]) -> int:
    """The quality, 1 to 100, at which Pillow writes the quantisation tables that are nearest to these.

    A table has 64 values, as in Pillow's `image.quantization`. The distance is the sum of absolute differences over the
    first two tables (brightness and colour), or over the only one. The quality is exact if Pillow or another program
    on IJG's library wrote the file; it is an estimate for cameras and programs that have their own tables.

    Source: the IJG library's scaling of the example tables K.1 and K.2 of ITU-T T.81.
    """
    values = np.array([tables[key] for key in sorted(tables)[:2]])
    return int(np.abs(_written_tables()[:, : len(values)] - values).sum((1, 2)).argmin()) + 1


@cache
def _written_tables() -> np.ndarray:
    """Pillow's quantisation tables at each quality, shape (100, 2, 64)."""
    tables = []
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
        file.seek(0)
        tables.append(list(JpegImageFile(file).quantization.values()))
    return np.array(tables)


@cache
def _code() -> str:
    others = ["options", "data.files", "data.columns"]
    return f"{tree_hash(['data.intake.scan'], without=others)[:16]}, Pillow {PIL.__version__}"


def _spread(work: Callable[[list[str]], list[Any]], names: pd.Series, workers: int | None) -> Iterator[Any]:
    chunks = [names.iloc[start : start + CHUNK].tolist() for start in range(0, len(names), CHUNK)]
    results = in_processes(work, chunks, workers=workers, parallel_from=4 * CHUNK, size=len)
    return itertools.chain.from_iterable(results)


def _stamps(root: Path, images: Sequence[str], contents: bool = True) -> list[tuple[int, int, str]]:
    """Bytes, time and hash of files; without contents the hash is "", and of files that cannot be read bytes are -1."""
    found = []
    for image in images:
        stamp = (-1, 0, "")
        with contextlib.suppress(OSError):
            if not irregular(root / image):
                stat = os.stat(root / image)
                digest = hashlib.sha256((root / image).read_bytes()).hexdigest() if contents else ""
                stamp = (stat.st_size, stat.st_mtime_ns, digest)
        found.append(stamp)
    return found


def _rows(root: Path, images: Sequence[str]) -> list[Row]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on odd files: the row says what is odd
        return [_row(root, image) for image in images]


def _row(root: Path, image: str) -> Row:
    path = root / image
    if path.exists() and (what := irregular(path)):
        return Row(image, reason=what, code=_code())
    try:
        stat, content = path.stat(), path.read_bytes()
    except OSError as error:
        return Row(image, reason=f"unreadable ({type(error).__name__})", code=_code())
    row = Row(image, stat.st_size, stat.st_mtime_ns, hashlib.sha256(content).hexdigest(), code=_code())
    row = row._replace(**_facts(path, content))
    try:
        pixels = open_image(path)
    except ImageProblem as problem:
        return row._replace(rule="", reason=_reason(path, str(problem), len(content)))
    except Exception as error:  # a decoder's own: one file must not end the survey of all
        return row._replace(rule="", reason=f"unreadable ({type(error).__name__}: {error})")
    picture = as_image(pixels)
    colours, phash = "grey" if (pixels == pixels[0]).all() else "RGB", str(imagehash.phash(picture))
    row = row._replace(width=picture.width, height=picture.height, colours=colours, phash=phash)
    return row._replace(faint=is_faint(pixels), used=True)


def _facts(path: Path, content: bytes) -> dict[str, Any]:
    """What the header says, as far as it can be read: `open_image` finds the faults."""
    kind = next((kind for signature, kind in _SIGNATURES.items() if content.startswith(signature)), "")
    facts: dict[str, Any] = {"format": kind}
    rules: list[str] = []
    with contextlib.suppress(Exception), Image.open(io.BytesIO(content)) as image:
        facts |= {"format": image.format, "mode": image.mode, "width": image.width, "height": image.height}
        if isinstance(image, JpegImageFile) and image.quantization:
            facts["quality"] = float(jpeg_quality(image.quantization))
        rules += _rules(image, content)
        # Where a PNG file has no EXIF data, Pillow decodes all pixels to look for some behind them.
        if image.format != "PNG" or any(word in content for word in _PNG_EXIF):
            exif = image.getexif()
            if (turned := exif.get(_ORIENTATION, 1)) in range(2, 9):
                rules.append(f"turned upright (EXIF orientation {turned})")
                facts["orientation"] = turned
                if turned >= 5:
                    facts |= {"width": image.height, "height": image.width}
            taken = str(exif.get_ifd(_EXIF_FOLDER).get(_TAKEN, ""))[:19]
            if re.fullmatch(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", taken):
                facts["exif_date"] = taken.replace(":", "-", 2)
    kind, facts["rule"] = facts["format"], "; ".join(rules)
    facts["suffix_fits"] = bool(kind) and path.suffix.lower() in _SUFFIXES.get(kind, (f".{kind.lower()}",))
    return facts


def _rules(image: Image.Image, content: bytes) -> list[str]:
    """What `open_image` does to an image of this kind."""
    rules = []
    if image.mode.startswith("I") or (image.format == "PNG" and content[_PNG_DEPTH] == 16):
        rules.append("16 bits a channel, the upper 8 kept")
    if image.mode == "P":
        rules.append("palette converted")
    elif image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I"):
        rules.append("grey, three equal channels")
    elif image.mode not in ("RGB", "RGBA"):
        rules.append(f"converted from {image.mode}")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        rules.append("transparency dropped")
    return rules


def _reason(path: Path, problem: str, size: int) -> str:
    """The reason of `open_image`, beginning with what is most likely the matter."""
    if not size:
        return "empty (0 bytes)"
    words = problem.replace(path.name, "").lower()
    for sign, kind in (("truncated", "truncated"), ("decompressionbomb", "too large")):
        if sign in words:
            return problem.replace("unreadable", kind, 1)
    return problem
