"""Finds image files that end too early, though a decoder fills in what is missing without a word.

Sources: ITU-T T.81, annexes B and F (JPEG); the PNG specification, section 5.
"""

import contextlib
import io
import re

import numpy as np
from PIL import Image

_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")  # but for fill bytes, stuffed ones, and restarts within a scan
_HUFFMAN, _SCAN, _END, _PROGRESSIVE, _ARITHMETIC = 0xC4, 0xDA, 0xD9, (0xC2, 0xC6), range(0xC9, 0xD0)
_ZEROS = bytes(32)  # as no picture is coded, unless a table makes zeros stand for a flat area
_PROBE = bytes(range(254, 0, -1))  # as good as any picture data, and without a marker
_PROBES = b"".join([_PROBE, *(bytes([0xFF, restart]) + _PROBE for restart in range(0xD0, 0xD8))])


def truncation(content: bytes, kind: str, pixels: np.ndarray) -> str:
    """Says how one sees that a file ends early, or "" if it is whole as far as one can see.

    Its kind is the format in Pillow's words; of others than JPEG, MPO and PNG nothing is known. The pixels are what
    Pillow has decoded, shape (H, W) or (H, W, C), as the file stores them.
    """
    if kind == "PNG":
        return "" if _has_end_of_png(content) else "no end-of-image chunk"
    return _of_jpeg(content, pixels) if kind in ("JPEG", "MPO") else ""


def _of_jpeg(content: bytes, pixels: np.ndarray) -> str:
    place, scans, codes, zeros_are_flat = 2, list[int](), set[int](), True
    while (found := _MARKER.search(content, place)) and (code := found[1][0]) != _END:
        place = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
        codes.add(code)
        scans += [place] if code == _SCAN else []
        if code == _HUFFMAN:
            zeros_are_flat &= _zeros_are_flat(content[found.end() + 2 : place])
    if not found:
        return "no end-of-image marker"
    if not scans or not codes.isdisjoint(_ARITHMETIC):  # whose coders leave data out, as nothing else may
        return ""

    def same(data: bytes) -> bool:
        with contextlib.suppress(Exception), Image.open(io.BytesIO(data + content[found.start() :])) as image:
            return np.array_equal(np.asarray(image), pixels)
        return False

    data = content[: found.start()]
    without = data.rstrip(b"\0") + bytes(8)  # zeros may also fill a file up
    progressive = not codes.isdisjoint(_PROGRESSIVE)  # in whose scans zeros may stand for anything
    if not progressive and _ZEROS in data[scans[0] :] and (_ZEROS in without[scans[0] :] or not same(without + _PROBE)):
        last = max(scans[-1], len(data) - 16)
        if not zeros_are_flat or same(data[:last] + _PROBE[: len(data) - last]):  # they stand for more than was lost
            return "a run of zeros in its data"
    # What is missing comes out flat. A picture that is flat there has data for it, and more data change nothing.
    corner = pixels[-4:, -4:]
    doubtful = progressive or (corner == corner[:1, :1]).all()
    return "its data end early" if doubtful and not same(data + _PROBES) else ""


def _zeros_are_flat(tables: bytes) -> bool:
    """Whether the code of nothing but zeros stands for "no change" (DC) or "no more" (AC) in each Huffman table."""
    while len(tables) > 17:
        symbol = tables[17]
        if symbol and (tables[0] < 16 or symbol % 16 or symbol == 0xF0):
            return False
        tables = tables[17 + sum(tables[1:17]) :]
    return True


def _has_end_of_png(content: bytes) -> bool:
    place = 8
    while len(kind := content[place + 4 : place + 8]) == 4 and kind != b"IEND":
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return kind == b"IEND" and len(content) >= place + 12
