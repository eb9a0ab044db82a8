"""Tables of many rows, without an object of Python's for each cell, which would take gigabytes for a million rows."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow.compute import index_in

_ROWS = 8192  # that are objects at once


def table_of(rows: Iterable[Sequence[Any]], dtypes: Mapping[str, Any]) -> pd.DataFrame:
    """A table of rows, with these columns and types; some thousands become columns at a time."""
    left = iter(rows)
    parts = iter(lambda: [*itertools.islice(left, _ROWS)], [])
    tables = [pd.DataFrame(part, columns=[*dtypes]).astype(dtypes) for part in parts]
    return pd.concat(tables or [pd.DataFrame(columns=[*dtypes]).astype(dtypes)], ignore_index=True)


def places(names: Sequence[str] | pd.Series, among: pd.Series) -> np.ndarray:
    """Where each name stands in a column, int32 of shape (N,), or -1; names stay in the memory of Arrow."""
    text = pa.large_string()
    found: np.ndarray = index_in(pa.array(names, text), value_set=pa.array(among, text)).fill_null(-1).to_numpy()
    return found


def repeated(names: pd.Series) -> np.ndarray:
    """Whether the same name stands before each, bool of shape (N,)."""
    is_again: np.ndarray = places(names, names) < np.arange(len(names))
    return is_again


def give_back() -> None:
    """Gives the memory back that Arrow holds and does not use: half a gigabyte after tables of a million rows."""
    pa.default_memory_pool().release_unused()
