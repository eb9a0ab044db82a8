"""Runs that are kept where runs/ does not come along: a file for each sweep, with the scores of its runs.

figures/tables/scores/<name>.parquet has a row for each image that a run has scored after a step, with the columns

    run                           its name, <agent>-<key>: the key tells options, data, code and versions
    facts                         what tables need of its manifest, as JSON: FACTS, and of each step STEP_FACTS
    step, domain, split, image, group, label
    logit                         of fake, float32; the score is its sigmoid

The schema's metadata hold a hash of all that, so that what was changed is not computed with.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cldf_core.data.files import locked, whole_file
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError
from cldf_core.results.score_tables import Scores, scores_of

FACTS = ("options", "data", "code", "versions", "seconds", "images", "memory_rise_bytes")
STEP_FACTS = ("step", "domain", "images", "seconds", "memory_bytes")
CODED = ("run", "facts", "domain", "split", "image", "group")  # texts that come again and again
NUMBERS = {"step": "int16", "label": "int8", "logit": "float32"}
COLUMNS = ("run", "facts", "step", "domain", "split", "image", "group", "label", "logit")
KINDS = {name: NUMBERS.get(name, "category") for name in COLUMNS}
_HASH = b"cldf_sha256"
_FORMAT: dict[str, Any] = {"compression": "zstd", "compression_level": 9, "use_dictionary": list(CODED)}
_FORMAT |= {"dictionary_pagesize_limit": 1 << 28, "column_encoding": {"logit": "BYTE_STREAM_SPLIT"}}  # each text once


def published(name: str) -> Path:
    """The file of a sweep, or of `cldf choose`, that goes with the published tables."""
    return project_root() / "figures" / "tables" / "scores" / f"{name}.parquet"


def kept_names(folder: Path) -> dict[str, Path]:
    """The names of all runs that files in a folder keep, each with its file; the scores stay unread."""
    names = dict[str, Path]()
    for path in sorted(folder.glob("*.parquet")):
        names |= dict.fromkeys(_read(path, ["run"])[0]["run"].unique(), path)
    return names


def names_in(path: Path) -> list[str]:
    """The names of the runs that a file keeps, sorted; a UserError says that it is damaged."""
    return list(_whole(path)["run"].cat.categories)


def read_kept(path: Path, names: Collection[str] | None = None) -> list[Scores]:
    """Reads the runs that a file keeps, or those of some names, sorted by their names; none where there is no file.

    Tables are as those of `RunFolder.scores`, manifests hold the facts. A UserError says that the file is damaged.
    """
    table = _whole(path)
    table = table if names is None else table[table["run"].isin(names)]
    parts = table.groupby(["run", "facts"], observed=True, sort=True)
    return [scores_of(str(run), json.loads(str(facts)), _scores(part)) for (run, facts), part in parts]


def keep(path: Path, runs: Iterable[Scores], *, forget: Collection[str] = ()) -> None:
    """Adds runs to those that a file keeps, but for those to forget; the file changes whole or not at all.

    The same runs give the same bytes, in whatever order they come. A UserError says that the file is damaged.
    """
    if not (added := [_rows(scores) for scores in runs]) and not forget:
        return
    with locked(project_root() / "runs" / f".kept-{path.stem}.lock"):  # several sweeps may be at work
        before = _whole(path)
        gone = {*forget, *(name for part in added for name in part["run"].cat.categories)}
        if not added and not gone & {*before["run"].cat.categories}:
            return
        parts = [part for part in (before[~before["run"].isin(gone)], *added) if len(part)] or [before[:0]]
        columns: dict[str, Any] = {name: np.concatenate([part[name].to_numpy() for part in parts]) for name in NUMBERS}
        columns |= {name: pd.api.types.union_categoricals([part[name] for part in parts]) for name in CODED}
        table = _sorted(pd.DataFrame(columns)[list(COLUMNS)]).sort_values("run", kind="stable")
        rows = pa.Table.from_pandas(table, preserve_index=False)
        rows = rows.replace_schema_metadata({**rows.schema.metadata, _HASH: _hash(table)})
        with whole_file(path) as partial:
            pq.write_table(rows, partial, **_FORMAT)


def facts_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a run's manifest."""
    steps = [{name: step[name] for name in STEP_FACTS if name in step} for step in manifest.get("steps", ())]
    return {name: manifest[name] for name in FACTS if name in manifest} | {"steps": steps}


def _rows(scores: Scores) -> pd.DataFrame:
    """The rows of a run, as they are kept."""
    facts = json.dumps(facts_of(scores.manifest), separators=(",", ":"))
    table = scores.table[list(COLUMNS[2:])].reset_index(drop=True).astype(dict.fromkeys(CODED[2:], "str"))
    for name, text in (("run", scores.run), ("facts", facts)):
        table[name] = pd.Categorical.from_codes(np.zeros(len(table), int), pd.Index([text]))
    return table[list(COLUMNS)].astype(KINDS)


def _scores(part: pd.DataFrame) -> pd.DataFrame:
    """The table of scores that rows stand for, as `RunFolder.scores` gives it."""
    texts: dict[str, Any] = {name: part[name].astype("str") for name in CODED[2:]}
    whole: dict[str, Any] = {name: part[name].astype("int64") for name in ("step", "label")}
    logits = part["logit"].to_numpy(float)
    score = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    return part[list(COLUMNS[2:])].assign(**texts, **whole, logit=logits, score=score).reset_index(drop=True)


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """The same table, in which the categories of texts are those that occur, in their order."""
    table = table.copy(deep=False)
    for name in CODED:
        column = table[name].astype("category").cat.remove_unused_categories()
        table[name] = column.cat.reorder_categories(sorted(column.cat.categories))
    return table


def _whole(path: Path) -> pd.DataFrame:
    """All rows of a file, which is as it was written; no rows where there is none."""
    if not path.is_file():
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in KINDS.items()})
    table, digest = _read(path)
    if list(table) != list(COLUMNS) or digest != _hash(table := _sorted(table)):
        raise _damage(path)
    return table


def _read(path: Path, columns: list[str] | None = None) -> tuple[pd.DataFrame, bytes]:
    """The columns of a file, and the hash that it holds of all."""
    try:
        rows = pq.read_table(path, columns=columns, partitioning=None)
        return rows.to_pandas(), rows.schema.metadata[_HASH]
    except Exception:  # pyarrow raises errors of many kinds
        raise _damage(path) from None


def _hash(table: pd.DataFrame) -> bytes:
    digest = hashlib.sha256()
    for name in COLUMNS:
        column = table[name]
        if name in CODED:
            digest.update(json.dumps(list(column.cat.categories)).encode())
            column = column.cat.codes.astype("int32")
        digest.update(column.to_numpy().tobytes())
    return digest.hexdigest().encode()


def _damage(path: Path) -> UserError:
    return UserError(f"{path} is damaged or changed; take it from version control once more, or delete it")
