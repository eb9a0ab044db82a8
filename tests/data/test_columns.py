"""Tests of cldf_core.data.columns: tables of many rows against those that are made at once."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cldf_core.data import columns

NAMES = st.lists(st.text(max_size=3), max_size=20)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 13])
def test_a_table_made_of_parts_is_the_one_made_at_once(monkeypatch, count):
    monkeypatch.setattr(columns, "_ROWS", 4)
    rows = [(f"ä{k}", k, k / 3, k % 2 == 0) for k in range(count)]
    dtypes = {"text": str, "number": int, "share": float, "even": bool}
    expected = pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)
    pd.testing.assert_frame_equal(columns.table_of(iter(rows), dtypes), expected)


def test_no_more_rows_than_two_parts_are_there_at_once(monkeypatch):
    monkeypatch.setattr(columns, "_ROWS", 4)
    made, alive = [], set()

    class Cell(str):
        def __del__(self):
            alive.discard(id(self))

    def rows():
        for number in range(40):
            cell = Cell(number)
            alive.add(id(cell))
            made.append(len(alive))
            yield [cell]

    assert columns.table_of(rows(), {"text": str})["text"].tolist() == [str(number) for number in range(40)]
    assert max(made) <= 3 * 4


@given(NAMES, NAMES)
def test_places_and_repeated_are_those_of_lists(names, among):
    column = pd.Series(among, dtype=str)
    expected = [among.index(name) if name in among else -1 for name in names]
    assert columns.places(names, column).tolist() == expected
    assert columns.places(pd.Series(names, dtype=str), column).tolist() == expected
    assert columns.repeated(column).tolist() == [name in among[:k] for k, name in enumerate(among)]
    assert columns.repeated(pd.concat([column, column])).tolist() == columns.repeated(column).tolist() + [True] * len(
        among
    )
