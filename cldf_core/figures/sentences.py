"""Sentences about results, made from tables: they hold the table's numbers, and say what its intervals hold.

A notebook's fixed text says what is asked and how to read; whatever a result decides is said by these functions. The
words for a direction stand here alone, so that no caller can turn one over. Where an interval holds the line, that is
"not shown", with the interval; where there is no number, the sentence is withdrawn.

A cell with the tag `sentences` makes them from the tables that the notebook has saved (`saved_table`), so that a test
can perturb each table and read what is said then.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from cldf_core.evaluation.cells import agent_name

MOST_DIGITS = 5  # after the point: as many as it takes to see that an interval leaves a line out, or else it does not
UNKNOWN = "without an interval, so nothing is shown"


@dataclass(frozen=True)
class Claim:
    """What a sentence says of one row of a table.

    Attributes:
        text: as it stands in the sentence.
        table: the table's name (`saved_table`).
        row: the row's number in that table.
    """

    text: str
    table: str
    row: int


@dataclass(frozen=True)
class Sentence:
    """A sentence about a result.

    Attributes:
        what: the subject, from the caller.
        parts: what is said of it: a head such as "higher", and the claims that stand behind it.
    """

    what: str
    parts: tuple[tuple[str, tuple[Claim, ...]], ...]

    @property
    def text(self) -> str:
        """The sentence in Markdown; empty if it is withdrawn."""
        texts = [(head, ", ".join(claim.text for claim in claims)) for head, claims in self.parts]
        said = "; ".join(": ".join(filter(None, pair)) for pair in texts)
        return f"**{self.what}**: {said}." if said else ""

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of all parts."""
        return tuple(claim for _, claims in self.parts for claim in claims)


class Said(Markdown):
    """Sentences as a notebook shows them."""

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self.sentences = sentences
        super().__init__("\n".join(f"* {sentence.text}" for sentence in sentences))


def show(*sentences: Sentence | Iterable[Sentence]) -> None:
    """Displays sentences, single ones and lists, as Markdown; those that are withdrawn are left out."""
    lists = [[given] if isinstance(given, Sentence) else given for given in sentences]
    if said := [sentence for given in lists for sentence in given if sentence.text]:
        display(Said(said))


def compared(
    table: pd.DataFrame,
    what: str,
    *,
    by: str | Sequence[str] = "agent",
    line: float | None = None,
    also: tuple[str, str] | None = None,
    digits: int = 2,
) -> Sentence:
    """Says which values lie above a line and which below, and of which that is not shown.

    Args:
        table: columns value, low, high and `by`, a row for each value.
        what: what the values are, such as "Forgetting, MIR minus ER".
        by: the columns that name a row; names of agents are put in their words.
        line: a level such as 0.5; by default the values are differences, and the line is 0.
        also: a column of truth values that a difference needs besides, and why it is not shown otherwise.
        digits: after the point, if these tell the interval's ends from the line.
    """
    level, sides = (0.0, ("higher", "lower")) if line is None else (line, (f"above {line:g}", f"below {line:g}"))
    unshown = "no difference is shown" if line is None else f"not shown to be above or below {line:g}"
    unshown += f" (the interval holds {level:g}, or {also[1]})" if also else ""
    parts: dict[str, list[Claim]] = {head: [] for head in (*sides, unshown, UNKNOWN)}
    for row in _known(table):
        holds = also is None or _holds(table.loc[row.Index, also[0]])
        side = _side(row, level)
        head = UNKNOWN if side is None else unshown if side == 0 or not holds else sides[side < 0]
        text = _numbers(row, line=level if side else None, signed=line is None, digits=digits)
        parts[head].append(_claim(table, row, f"{_name(table, row, by)} {text}"))
    return _sentence(what, parts)


def highest(
    table: pd.DataFrame,
    what: str,
    *,
    by: str = "agent",
    pairs: pd.DataFrame | None = None,
    also: tuple[str, str] | None = None,
    end: Literal["highest", "lowest"] = "highest",
    digits: int = 2,
) -> Sentence:
    """Says whose value is the highest, or the lowest, and from which others it is told.

    Args:
        table: columns value, low, high and `by`, a row for each value.
        what: what the values are.
        by: the column that names a row.
        pairs: differences of first minus second with their intervals, columns first, second (values of `by`),
            difference, low, high. They decide what is told apart; without them intervals that overlap do not.
        also: a column of truth values that a pair needs besides, and why it is not told apart otherwise.
        end: which end of the order the sentence begins with.
        digits: after the point.
    """
    rows = sorted(_known(table), key=lambda row: row.value, reverse=end == "highest")
    if not rows:
        return Sentence(what, ())
    best, *others = rows
    beyond, sign = ("lower", -1) if end == "highest" else ("higher", 1)
    why = f"; the interval holds 0, or {also[1]}" if also else ""
    how = ("their intervals do not overlap", "they overlap")
    how = how if pairs is None else (f"difference to the {end}", f"difference to the {end}{why}")
    told, untold = f"{beyond} ({how[0]})", f"not shown to be {beyond} ({how[1]})"
    parts: dict[str, list[Claim]] = {head: [] for head in (end, told, untold, UNKNOWN)}
    parts[end].append(_claim(table, best, f"{_name(table, best, by)} {_numbers(best, digits=digits)}"))
    for other in others:
        if other.value == best.value:
            parts[end].append(_claim(table, other, f"{_name(table, other, by)} {_numbers(other, digits=digits)}"))
            continue
        row = other if pairs is None else _pair(pairs, table.loc[other.Index, by], table.loc[best.Index, by])
        if row is None:
            continue
        side = _side(row, 0.0) if pairs is not None else _apart(row, best)
        if side and pairs is not None and also and not _holds(pairs.loc[row.Index, also[0]]):
            side = 0
        line = 0.0 if side == sign and pairs is not None else None
        text = f"{_name(table, other, by)} {_numbers(row, line=line, signed=pairs is not None, digits=digits)}"
        head = UNKNOWN if side is None else told if side == sign else untold
        parts[head].append(_claim(table if pairs is None else pairs, row, text))
    return _sentence(what, parts)


def values(
    table: pd.DataFrame, what: str, *, by: str | Sequence[str] = "agent", digits: int = 2, unit: str = ""
) -> Sentence:
    """Lists values, with their intervals where the table has any, in the table's order."""
    ends = {"low", "high"} <= set(table)
    parts = []
    for row in _known(table):
        text = _numbers(row, digits=digits) if ends else _number(row.value, digits)
        parts.append(_claim(table, row, f"{_name(table, row, by)} {text}{unit and f' {unit}'}"))
    return _sentence(what, {"": parts})


def counted(
    table: pd.DataFrame, what: str, column: str, value: Any, *, by: str | Sequence[str] = "agent", listed: bool = True
) -> Sentence:
    """Says in how many rows a column has a value, and names these rows, if they shall be `listed`."""
    chosen = table[table[column] == value]
    claims = [_claim(table, row, _name(table, row, by)) for row in chosen.itertuples()] if listed else []
    return Sentence(what, ((f"{len(chosen)} of {len(table)}", tuple(claims)),) if len(table) else ())


def reached(
    table: pd.DataFrame,
    what: str,
    column: str,
    *,
    by: str | Sequence[str],
    never_at: str = "at no value that was tried",
) -> Sentence:
    """Says at which value of a column something is reached, and names the rows in which this is missing: never."""
    heads: dict[str, list[Claim]] = {"at": [], never_at: []}
    for row, at in zip(table.itertuples(), table[column], strict=True):
        name, never = _name(table, row, by), bool(np.isnan(at))
        heads[never_at if never else "at"].append(_claim(table, row, name if never else f"{name} {at:g}"))
    return _sentence(what, heads)


def _sentence(what: str, parts: dict[str, list[Claim]]) -> Sentence:
    return Sentence(what, tuple((head, tuple(claims)) for head, claims in parts.items() if claims))


def _claim(table: pd.DataFrame, row: Any, text: str) -> Claim:
    return Claim(text, str(table.attrs.get("name", "")), int(row.Index))


def _known(table: pd.DataFrame) -> list[Any]:
    """The rows that have a value."""
    return list(table[table["value"].notna()].itertuples())


def _name(table: pd.DataFrame, row: Any, by: str | Sequence[str]) -> str:
    columns = [by] if isinstance(by, str) else by
    names = [str(table.loc[row.Index, column]) for column in columns]
    first, *others = [
        agent_name(name) if column == "agent" else name for column, name in zip(columns, names, strict=True)
    ]
    return f"{first} ({', '.join(others)})" if others else first


def _side(row: Any, line: float) -> int | None:
    """1 where an interval lies above a line, -1 below it, 0 where it holds the line; None if there is no interval."""
    if not row.low <= row.high:
        return None
    low, high, line = (round(number, MOST_DIGITS) for number in (row.low, row.high, line))
    return 1 if low > line else -1 if high < line else 0


def _holds(cell: Any) -> bool:
    """Whether a cell of truth values says so; one that is missing does not."""
    return isinstance(cell, (bool, np.bool_)) and bool(cell)


def _apart(row: Any, other: Any) -> int | None:
    """1 where the first of two intervals lies above the second, -1 below it, 0 where they overlap; or None."""
    if _side(row, 0.0) is None or _side(other, 0.0) is None:
        return None
    return 1 if row.low > other.high else -1 if row.high < other.low else 0


def _pair(pairs: pd.DataFrame, first: Any, second: Any) -> Any:
    """The row of pairs of two, as first minus second, or None where there is no difference of them."""
    pairs = pairs[pairs["difference"].notna()]
    for one, other, sign in ((first, second, 1), (second, first, -1)):
        for row in pairs[(pairs["first"] == one) & (pairs["second"] == other)].itertuples():
            low, high = (row.low, row.high) if sign > 0 else (-row.high, -row.low)
            turned = pd.DataFrame({"value": [sign * row.difference], "low": [low], "high": [high]}, index=[row.Index])
            return next(turned.itertuples())
    return None


def _numbers(row: Any, *, line: float | None = None, signed: bool = False, digits: int = 2) -> str:
    """Value and interval; where the interval leaves a line out, with as many digits as it takes to see that."""
    if not row.low <= row.high:
        return f"{_number(row.value, digits, signed)} (no interval)"
    ends = np.array([row.low, row.high])
    while line is not None and digits < MOST_DIGITS:
        if (np.sign(ends.round(digits) - line) == np.sign(ends - line)).all():
            break
        digits += 1
    value, low, high = (_number(number, digits, signed) for number in (row.value, row.low, row.high))
    return f"{value} [{low}, {high}]"


def _number(value: float, digits: int, signed: bool = False) -> str:
    rounded = round(value, digits) + 0.0  # no minus before a 0
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "−")
