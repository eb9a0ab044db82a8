"""Reads sentences about results as a reader would, and compares them with the tables that they are about."""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from cldf_core.evaluation.cells import AGENT_NAMES
from cldf_core.figures.sentences import Sentence

NUMBER = r"[+−]?\d+(?:\.\d+)?"
NEVER = ("at no value that was tried", "with none of the smaller numbers", "not shown with any smaller number")
NEAR = 5e-6  # an interval's end this near to a line is on it
NUMBERS = re.compile(rf"(?P<value>{NUMBER})(?: \[(?P<low>{NUMBER}), (?P<high>{NUMBER})\]| (?P<none>\(no interval\)))?")


def contradictions(sentence: Sentence, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What a sentence's text says that its tables do not; slow and plain, and without what has made the sentence."""
    wrong, place, head, best = [], 0, "", None
    text = sentence.text
    if not text:
        return []
    if not text.startswith(start := f"**{sentence.what}**: ") or not text.endswith("."):
        return [f"{text!r} is no sentence about {sentence.what!r}"]
    place = len(start)
    for claim in sentence.claims:
        at = text.find(claim.text, place)
        if at < 0:
            return [f"{claim.text!r} does not stand in {text!r}"]
        if (between := text[place:at]) != ", ":
            head = between.removeprefix("; ").removesuffix(": ")
        place = at + len(claim.text)
        if claim.table not in tables:
            return [f"{claim.text!r} is of no saved table, but of {claim.table!r}"]
        row = tables[claim.table].loc[claim.row]
        best = row if head in ("highest", "lowest") and best is None else best
        wrong += [f"{text!r}, of {claim.text!r}: {problem}" for problem in _wrong(head, claim.text, row, best)]
    rest = text[place:].rstrip(".").removeprefix("; ")
    if rest and not re.fullmatch(r"0 of \d+|\d+ of \d+", rest):
        wrong.append(f"{rest!r} is said of nothing")
    if best is not None:
        wrong += _not_the_end(sentence, tables)
    return wrong


def _wrong(head: str, said: str, row: pd.Series, best: pd.Series | None) -> list[str]:
    names = [str(cell) for cell in row if isinstance(cell, str)]
    names += [_in_words(name) for name in names]
    named = max((name for name in names if said.startswith(name)), key=len, default="")
    problems = [] if named else [f"none of {names} is named"]
    if head in ("at", *NEVER):
        number = re.search(rf" ({NUMBER})$", said)
        missing = row.isna().any()
        held = number is None or any(
            np.isclose(float(number[1]), cell) for cell in row if isinstance(cell, (int, float, np.integer))
        )
        return problems + ([] if held and (number is None) == (head in NEVER) <= missing else ["not so"])
    if re.fullmatch(r"\d+ of \d+", head):
        return problems
    if not (all_found := [*NUMBERS.finditer(said)]):
        return [*problems, "no number"]
    found = all_found[-1]  # those of names come before
    value, low, high = _row_numbers(row, named)
    for name, number in (("value", value), ("low", low), ("high", high)):
        if (printed := found[name]) is not None:
            digits = len(printed.partition(".")[2])
            if not abs(float(printed.replace("−", "-")) - number) <= 0.5000001 * 10**-digits:
                problems.append(f"{printed} is not {number}")
    if bool(found["none"]) == (low <= high) and {"low", "high"} <= set(row.index):
        problems.append("an interval is missing, or made up")
    return problems + ([] if _holds(head, row, value, low, high, found, best) else [f"not {head!r}"])


def _in_words(name: str) -> str:
    """An agent's name, or that of a row of its own, such as "lwf, told"."""
    agent, comma, words = name.partition(",")
    return AGENT_NAMES.get(agent, agent) + comma + words


def _row_numbers(row: pd.Series, named: str) -> tuple[float, float, float]:
    """Value, low and high of a row; of a pair, those of the one that is named minus the other."""
    if "difference" not in row:
        return row["value"], row.get("low", np.nan), row.get("high", np.nan)
    if named in (row["first"], _in_words(row["first"])):
        return row["difference"], row["low"], row["high"]
    return -row["difference"], -row["high"], -row["low"]


def _holds(head, row, value, low, high, found, best) -> bool:
    """Whether what a head says of numbers is true, by the table and by what is printed."""
    printed = [float(found[name].replace("−", "-")) if found[name] else np.nan for name in ("low", "high")]
    if head == "":
        return True
    if head in ("highest", "lowest"):
        return True  # `_not_the_end` looks at all rows
    if head.startswith("without an interval"):
        return not low <= high or not (best is not None and best["low"] <= best["high"])
    if found := re.fullmatch(r"(higher|lower|above|below) ?([\d.]*)", head):
        line = float(found[2] or 0)
        if row.get("significant", True) in (False, np.False_):
            return False
        if found[1] in ("higher", "above"):
            return low > line and printed[0] > line and value > line
        return high < line and printed[1] < line and value < line
    if found := re.match(r"(?:no difference is shown|not shown to be above or below ([\d.]+))", head):
        line = float(found[1] or 0)
        taken = "or " in head and any(cell is False or cell is np.False_ for cell in row)
        return taken or low - NEAR <= line <= high + NEAR
    if found := re.match(r"(not shown to be )?(lower|higher) \((.*)\)", head):
        if "difference" in row:
            taken = ", or " in found[3] and any(cell is False or cell is np.False_ for cell in row)
            apart = not taken and (high < -NEAR if found[2] == "lower" else low > NEAR)
        else:
            apart = high < best["low"] if found[2] == "lower" else low > best["high"]
        return apart != bool(found[1])
    return False


def _not_the_end(sentence: Sentence, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Whether a row that a sentence names lies beyond, or beside, those that it calls the highest or the lowest."""
    ((head, ends), *others) = sentence.parts
    best, *equal = (tables[claim.table].loc[claim.row, "value"] for claim in ends)
    rows = [tables[claim.table].loc[claim.row] for _, claims in others for claim in claims]
    values = [row["value"] for row in rows if "value" in row]
    beyond = [value for value in values if (value >= best if head == "highest" else value <= best)]
    return [f"{sentence.text!r}: {value} against {best}" for value in [*beyond, *(v for v in equal if v != best)]]
