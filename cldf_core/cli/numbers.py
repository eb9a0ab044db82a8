"""How the flags of the commands read numbers: one sentence for whatever is none, or is out of range."""

import argparse
import contextlib
from collections.abc import Callable


def whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number from `least` to `most`."""

    def read(text: str) -> int:
        from cldf_core.reading import whole_number

        with contextlib.suppress(ValueError):
            if least <= (value := whole_number(text)) <= most:
                return value
        raise _refused(text, f"a whole number from {least} to {most}")

    return read


def real(words: str, allowed: Callable[[float], bool]) -> Callable[[str], float]:
    """Reads a number that is allowed, which the words describe."""

    def read(text: str) -> float:
        from cldf_core.reading import number

        with contextlib.suppress(ValueError):
            if allowed(value := number(text)):
                return value
        raise _refused(text, words)

    return read


def _refused(text: str, allowed: str) -> argparse.ArgumentTypeError:
    from cldf_core.options import shown

    return argparse.ArgumentTypeError(f"is {shown(text)}; allowed: {allowed}")


SEED = whole(0, 2**31 - 1)
WORKERS = whole(1, 1024)
GIGABYTES = real("gigabytes above 0, such as 20", lambda value: 0 < value < float("inf"))
