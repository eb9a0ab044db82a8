"""Scores from a detector's use, compared with known ones: are its images still like those that it was made with?

A table of scores is CSV or parquet with a column score (P(fake)) or logit, as `cldf score` and other programs write it;
a column group or video says which images belong together, detector whose scores they are, and label, in a table to
compare with, which are fakes.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from cldf_core.data.console import counted
from cldf_core.data.files import irregular
from cldf_core.data.layouts import tables
from cldf_core.data.listing import is_hidden
from cldf_core.evaluation.drift import drift
from cldf_core.options import UserError, shown

COLUMNS = ("scores", "images", "groups", "share of fakes", "distance", "p", "drift")
_NUMBERS = {"score": (0, 1, "a number from 0 to 1"), "logit": (-float("inf"), float("inf"), "a number")}


def watch(
    names: Sequence[str], known: pd.DataFrame, *, alpha: float = 0.01, resamples: int = 999
) -> tuple[pd.DataFrame, list[str]]:
    """Compares tables of scores, one by one, with known scores.

    Args:
        names: of tables, or of folders of tables, which are taken in the order of their names.
        known: columns logit or score, or both, group, label as `drift` has it, and detector, "" where not known.
        alpha: the p up to which there is a drift; of so many tables without one, it is a false alarm.
        resamples: of the bootstrap.

    Returns:
        A row for each table with COLUMNS (drift is a truth value), and sentences on rows that were left out.

    Raises:
        UserError: a table is missing or malformed, or has nothing in common with the known scores.
    """
    rows, notes, whose = [], list[str](), {*known["detector"]}
    for path in (file for name in names for file in _files(name)):
        new, left_out = read_use(path, labelled=False, detectors=whose)
        notes += left_out
        if new.empty:
            continue
        kind = next((name for name in ("logit", "score") if name in new and name in known), "")
        if not kind:
            missing = f"{path} has no column {'logit' if 'logit' in known else 'score'}"
            raise UserError(f"{missing}; needed: scores of the detector that it is compared with")
        known_scores, new_scores = (table.rename(columns={kind: "value"}) for table in (known, new))
        found = drift(known_scores, new_scores, resamples=resamples)
        numbers = (found.images, found.groups, found.share, found.distance, found.p)
        rows.append((str(path), *numbers, found.p <= alpha))
    if not rows:
        raise UserError(f"{'; '.join(notes)}; needed: scores of the detector that they are compared with")
    return pd.DataFrame(rows, columns=list(COLUMNS)), notes


def read_use(
    path: Path, *, labelled: bool = True, detectors: Collection[str] = ("",)
) -> tuple[pd.DataFrame, list[str]]:
    """Reads a table of scores; sentences say what is left out: rows without one, and those of other detectors.

    The result has score and logit, as far as they are there, detector ("" where it is not told), group (else each row
    is a group), and label (-1 where there are none, or where it is not `labelled`, and they are not even looked at).
    Where one of the detectors is "", nobody knows which they are, and rows of all are taken.
    """
    text, sentences = tables.read_text(path).apply(lambda column: column.str.strip()), list[str]()
    ends = text.get("detector", pd.Series("", text.index)).map(_end)
    if "" not in detectors and (others := text[~ends.isin({"", *map(_end, detectors)})]).size:
        names = ", ".join(sorted({*others["detector"]}))
        sentences.append(f"{path}: {counted(len(others), 'row')} left out, the scores of another detector ({names})")
        text = text.drop(others.index)
    named = [name for name in _NUMBERS if name in text]
    kinds = [name for name in named if (text[name] != "").any()] or named
    if not kinds:
        there = ", ".join(text.columns[:20])
        raise UserError(f"{path} has no scores, only the columns {there}; needed: score (P(fake)), or logit")
    empty = (text[kinds] == "").any(axis=1)
    text = text[~empty]
    table = pd.DataFrame(index=text.index)
    for name in kinds:
        low, high, words = _NUMBERS[name]
        table[name] = pd.to_numeric(text[name], errors="coerce").astype(float)
        _refuse(path, text[name], ~table[name].between(low, high, inclusive="both"), words)
    table["detector"] = text.get("detector", "")
    group = pd.Series([f"row {row}" for row in text.index], text.index)
    for name in ("video", "group"):
        group = text[name].where(text[name] != "", group) if name in text else group
    table["group"] = group
    labels = text["label"] if labelled and "label" in text else pd.Series("", text.index)
    table["label"] = labels.map(tables.label_of).fillna(-1).astype(int)
    if (labels != "").any():
        _refuse(path, labels, table["label"] < 0, f"{tables.LABELS_IN_WORDS}, in every row or in none")
    if table.empty and not sentences:
        sentences.append(f"{path} has no row with a score, so it is left out")
    elif empty.any():
        sentences.append(f"{path}: {counted(int(empty.sum()), 'row')} without a score left out")
    return table, sentences


def _end(name: str) -> str:
    """The run and the step in a detector's name, for its folder may have been moved."""
    return "/".join(name.replace("\\", "/").split("/")[-2:])


def _files(name: str) -> list[Path]:
    path = Path(os.path.expanduser(name))
    if name and path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix.lower() in tables.SUFFIXES and not is_hidden(f.name))
        if not files:
            raise UserError(f"{path} holds no table; needed: files that end with {' or '.join(tables.SUFFIXES)}")
        return files
    if not name or (what := irregular(path)):
        raise UserError(
            f"{shown(name)} is {what if name else 'no name'}; needed: a table of scores, or a folder of such"
        )
    return [path]


def _refuse(path: Path, column: pd.Series, bad: pd.Series, allowed: str) -> None:
    if bad.any():
        row = bad.index[bad][0]
        raise UserError(f"{path}, row {row} has {column.name} {shown(column.loc[row])}; allowed: {allowed}")
