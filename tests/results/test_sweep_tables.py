"""The tables of a sweep, made from scores."""

import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cldf_core.evaluation.seeds import holm
from cldf_core.results.grid import Grid, Point, read_sweep
from cldf_core.results.score_tables import Scores, scores_of
from cldf_core.results.sweep_tables import made_tables
from cldf_core.runs.folder import RunFolder
from samples import random_scores

STREAM = ["b", "a", "c"]
GRID = Grid("made", Path("made.yaml"), {"agent": ["sequential", "er", "gdumb"], "memory": [8, 9], "seed": [0, 1, 2]})
POINTS = GRID.points({"stream": STREAM, "unseen": ["new"]})


def scores(place: int, change=lambda table: table) -> Scores:
    """Scores as a run of a point might have them."""
    options = POINTS[place].options
    manifest = {"options": options.model_dump(), "code": "ab1", "seconds": 2.0 + place % 4, "images": 5, "steps": []}
    return scores_of(f"{options.agent}-{place}", manifest, change(random_scores(place, images=30)))


def tables(finished: list[tuple[Point, Scores]], folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The means and the tests of a sweep that has these runs."""
    made_tables(GRID, POINTS, finished, RunFolder(folder))
    return read_sweep(GRID, folder / "figures", "means"), read_sweep(GRID, folder / "figures", "tests")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of the whole sweep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLDF_ROOT", str(root := tmp_path_factory.mktemp("whole")))
        return tables([(point, scores(k)) for k, point in enumerate(POINTS)], root / "runs" / "sweep_made-1")


def test_the_spread_of_scores_is_over_seeds_and_photographs_and_that_of_costs_over_seeds(whole):
    means, tests = whole
    of_scores = means["metric"].str.contains(": ") & means["value"].notna()
    assert set(means.loc[of_scores, "spread"]) == {"seeds × groups"} == set(tests.loc[tests["p"].notna(), "spread"])
    assert set(means.loc[means["metric"].isin(["processor seconds", "images trained on"]), "spread"]) == {"seeds"}
    assert set(tests["n"]) == {3} == set(means["n"])
    # Sequential training has no memory, and takes part in both settings.
    pairs = {("sequential", "er"), ("sequential", "gdumb"), ("er", "gdumb")}
    assert set(zip(tests["memory"], tests["first"], tests["second"], strict=True)) == {
        (memory, *pair) for memory in (8, 9) for pair in pairs
    }


@settings(deadline=None, max_examples=5)
@given(st.sets(st.integers(0, len(POINTS) - 1), max_size=len(POINTS) - 1), st.randoms(use_true_random=False))
def test_neither_the_order_of_runs_nor_those_of_others_change_a_mean_or_a_difference(whole, left, random):
    keep = [k for k in range(len(POINTS)) if k not in left]
    complete = {place(k) for k in keep} - {place(k) for k in left}
    random.shuffle(keep)
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLDF_ROOT", root)
        means, tests = tables([(POINTS[k], scores(k)) for k in keep], Path(root) / "runs" / "sweep_made-1")
    keys = ["agent", "memory", "metric", "domain", "step"]
    got, want = (table.fillna({"memory": 0, "step": 0}).set_index(keys) for table in (means, whole[0]))
    got, single = got[got["n"] == 3], got[(got["n"] == 1) & got["value"].notna()]
    assert {key[:2] for key in got.index} == complete
    for row in got.itertuples():
        assert list(row[1:]) == pytest.approx(list(want.loc[row.Index]), nan_ok=True)
    assert set(single["spread"]) <= {"groups", ""}
    for _, rows in tests.groupby(["memory", "metric", "domain"]):
        assert rows["p_holm"].tolist() == pytest.approx(holm(rows["p"].to_numpy()).tolist(), rel=1e-4, nan_ok=True)
    columns = [*("difference", "low", "high", "p", "p_seeds"), *("memory", "metric", "domain", "first", "second")]
    want = {tuple(row[5:]): row[:5] for row in whole[1][columns].itertuples(index=False)}
    for row in tests.loc[tests["n"] == 3, columns].itertuples(index=False):
        difference, low, high, *p = want.get(tuple(row[5:])) or turned(want[(*row[5:8], row.second, row.first)])
        assert list(row[:5]) == pytest.approx([difference, low, high, *p], rel=1e-4, abs=1e-9, nan_ok=True)


def turned(numbers: tuple[float, ...]) -> tuple[float, ...]:
    """The numbers of second minus first."""
    difference, low, high, *p = numbers
    return -difference, -high, -low, *p


def place(k: int) -> tuple[str, int]:
    """The agent and the memory of a point; 0 where it has none."""
    return POINTS[k].cells["agent"], POINTS[k].cells.get("memory", 0)


def test_seeds_of_other_photographs_leave_intervals_over_seeds_and_a_note(whole, root, capsys):
    every = [(point, scores(k)) for k, point in enumerate(POINTS)]
    every[4] = POINTS[4], scores(4, lambda table: table[table["image"] != "b/3"])
    means, tests = tables(every, root / "runs" / "sweep_made-1")
    told = " ".join(capsys.readouterr().err.split())
    assert "the seeds of er, memory 8 were tested on other images or groups: intervals are over seeds alone" in told
    assert "sequential and er: tested on other images or groups, so intervals are over seeds alone" in told
    odd = (means["agent"] == "er") & (means["memory"] == 8)
    assert set(means.loc[odd, "spread"]) == {"seeds"}
    kept = whole[0].loc[(whole[0]["agent"] != "er") | (whole[0]["memory"] != 8)].reset_index(drop=True)
    pd.testing.assert_frame_equal(means[~odd].reset_index(drop=True), kept)
    with_er = (tests["memory"] == 8) & (tests[["first", "second"]] == "er").any(axis=1)
    assert set(tests.loc[with_er, "spread"]) == {"seeds"}
    assert (tests.loc[with_er, "p"] == tests.loc[with_er, "p_seeds"])[tests["p"].notna()].all()
    assert set(tests.loc[~with_er & tests["p"].notna(), "spread"]) == {"seeds × groups"}
