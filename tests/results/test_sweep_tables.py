"""The committed tables of sweeps: where they are of other code than today's, README says so."""

import importlib.util

import pandas as pd
import pytest

from cldf_core.results.sweep_tables import code_in_words
from cldf_core.runs.provenance import code_hash
from samples import PROJECT

SPEC = importlib.util.spec_from_file_location("code_of_tables", PROJECT / "docs" / "code_of_tables.py")
SCRIPT = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(SCRIPT)
TABLES = SCRIPT.tables()


def lines() -> list[str]:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    return readme.split(SCRIPT.BEGIN)[1].split(SCRIPT.END)[0].splitlines()


def test_the_tables_of_all_sweeps_are_looked_at():
    names = {path.name for path in (PROJECT / "figures" / "tables").glob("*.csv")}
    assert {path.name for path in TABLES} == {
        name for name in names if name.startswith("sweep_") or name == "choices.csv"
    }


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_readme_says_where_a_committed_table_is_of_other_code(path):
    table = pd.read_csv(path, dtype={"code": "str"})
    told = [line for line in lines() if f"`{path.name}`" in line]
    if "code" in table and set(table["code"]) == {code_hash("sequential")}:
        assert told == [], "run: python docs/code_of_tables.py"
    else:
        made = ", ".join(sorted({*table["code"]})) if "code" in table else "that it does not name"
        sentence = f"- made with code {made}; today's is {code_hash('sequential')}: "
        assert [line.startswith(sentence) for line in told] == [True], "run: python docs/code_of_tables.py"
        assert sentence.removesuffix(": ").removeprefix("- ") == code_in_words(table)
