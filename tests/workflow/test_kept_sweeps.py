"""Sweeps of which some runs, or all, are kept: what is made again, what is written when, and rows of options."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from cldf_core.cli import main
from cldf_core.evaluation.bootstrap import ENDS
from cldf_core.evaluation.crossed import differences_over_seeds, summary_over_seeds
from cldf_core.results import sweep_tables
from cldf_core.results.kept_runs import keep, kept_names, names_in, read_kept
from cldf_core.results.sweep_tables import code_in_words
from cldf_core.runs.provenance import code_hash
from cldf_core.workflow import cluster, sweep
from cldf_core.workflow.notebooks import LAST, notebook_parameters
from cldf_core.workflow.parameters import PROFILES
from cldf_core.workflow.sweep import kept, results
from samples import cut, tiny_values

GRIDS = {
    "pair": {"agent": ["sequential", "er"], "seed": [0, 1]},
    "half": {"agent": ["er"], "seed": [1, 2]},
    "rows": {
        "together": [
            {"agent": "er"},
            {"row": "er, small", "agent": "er", "memory": 8},
            {"row": "er, the same", "agent": "er", "memory": 12},
        ],
        "seed": [0, 1],
    },
    "streams": {
        "together": [
            {"row": "without third", "stream": ["first", "second"], "unseen": ["third"]},
            {"row": "without first", "stream": ["second", "third"], "unseen": ["first"]},
        ],
        "agent": ["sequential", "er"],
        "seed": [0, 1],
    },
}

pytestmark = pytest.mark.usefixtures("workers_here")


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_data, workers_here) -> Path:
    """A root in which `pair` was swept in the quick profile, without its folder runs/."""
    root = tmp_path_factory.mktemp("made")
    for profile in PROFILES:
        path = root / "params" / profile / f"{LAST}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(tiny_values(small_data)))
    for name, grid in GRIDS.items():
        path = root / "params" / "grids" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(grid, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLDF_ROOT", str(root))
        assert main(["sweep", "pair"]) == 0
    shutil.rmtree(root / "runs")
    return root


@pytest.fixture
def project(made, root) -> Path:
    """A copy of that root."""
    shutil.copytree(made, root, dirs_exist_ok=True)
    return root


@pytest.fixture
def scores(project) -> Path:
    return project / "figures" / "tables" / "scores"


def no_workers(monkeypatch) -> None:
    monkeypatch.setattr(cluster, "local", lambda *a: pytest.fail("workers were started"))


def test_a_sweep_from_kept_runs_executes_nothing_and_writes_the_same(project, capsys, monkeypatch):
    no_workers(monkeypatch)
    before = {path: path.read_bytes() for path in (project / "figures").rglob("*") if path.is_file()}
    assert main(["sweep", "pair", "--dry-run"]) == 0
    assert capsys.readouterr().out.count("done before") == 4
    assert main(["sweep", "pair"]) == 0
    told = capsys.readouterr()
    assert told.err.count("done before") == 4
    assert "4 of 4 runs are in the tables" in told.out
    assert {path: path.read_bytes() for path in (project / "figures").rglob("*") if path.is_file()} == before
    assert [path.name.partition("-")[0] for path in (project / "runs").glob("[!.]*")] == ["sweep_pair"]


def test_what_another_grid_keeps_is_not_made_again(project, scores, capsys):
    assert main(["sweep", "half"]) == 0
    told = capsys.readouterr().err
    assert [line for line in told.splitlines() if line.endswith(("done before", "…"))] == [
        *("1 of 2: er, seed 1: done before", "2 of 2: er, seed 2 …")
    ]
    shared = {*names_in(scores / "pair.parquet")} & {*names_in(scores / "half.parquet")}
    assert len(shared) == 1
    tables = [own.table for name in ("pair", "half") for own in read_kept(scores / f"{name}.parquet", shared)]
    pd.testing.assert_frame_equal(*tables)
    assert {own.run for own in kept("half", notebook_parameters(LAST, "quick"))} == {*names_in(scores / "half.parquet")}


def test_the_scores_of_results_can_be_had(project):
    parameters = notebook_parameters(LAST, "quick")
    runs = results("pair", parameters)
    own = {scores.run: scores for scores in kept("pair", parameters)}
    assert set(own) == set(runs["run"])
    assert {(scores.agent, scores.seed) for scores in own.values()} == {*zip(runs["agent"], runs["seed"], strict=True)}
    assert kept("pair", notebook_parameters(LAST, "quick", {"epochs": 1})) == []


def test_an_interrupted_sweep_keeps_what_is_finished_and_goes_on_from_there(project, scores, capsys, monkeypatch):
    make = sweep.made

    def interrupted(*arguments, **how):
        yield next(make(*arguments, **how))
        raise KeyboardInterrupt

    (scores / "pair.parquet").unlink()
    monkeypatch.setattr(sweep, "made", interrupted)
    assert main(["sweep", "pair"]) == 130
    assert len(names_in(scores / "pair.parquet")) == 1
    shutil.rmtree(project / "runs")
    monkeypatch.setattr(sweep, "made", make)
    capsys.readouterr()
    assert main(["sweep", "pair"]) == 0
    assert capsys.readouterr().err.count("done before") == 1
    assert len(names_in(scores / "pair.parquet")) == 4


@pytest.mark.parametrize(("most", "seconds", "writes"), [(2, 1e9, 3), (99, 0, 5), (99, 1e9, 1)])
def test_a_long_sweep_is_kept_now_and_then(project, scores, monkeypatch, most, seconds, writes):
    (scores / "pair.parquet").unlink()
    monkeypatch.setattr(sweep, "MOST", most)
    monkeypatch.setattr(sweep, "SECONDS", seconds)
    sizes = []

    def counted(path, runs, **how):
        sizes.append(len(runs))
        keep(path, runs, **how)

    monkeypatch.setattr(sweep, "keep", counted)
    assert main(["sweep", "pair"]) == 0
    assert sum(sizes) == 4
    assert len(sizes) - 1 == writes  # the last forgets what is of other code


def test_a_damaged_file_of_kept_runs_is_refused_before_anything_is_made(project, scores, capsys, monkeypatch):
    no_workers(monkeypatch)
    cut(scores / "pair.parquet")
    for words in (["pair"], ["pair", "--dry-run"], ["half"]):
        assert main(["sweep", *words]) == 2
        *notes, told = capsys.readouterr().err.splitlines()
        assert {line.partition(" for ")[0] for line in notes} == {"note: nothing is chosen"}  # for agents of the grid
        assert told.startswith(f"cldf: {scores / 'pair.parquet'} is damaged or changed; ")


def test_runs_of_other_code_are_forgotten_when_the_grid_is_whole_again(project, scores, monkeypatch):
    """As many runs as there are fail at first."""
    path, before = scores / "pair.parquet", names_in(scores / "pair.parquet")
    grid = project / "params" / "grids" / "pair.yaml"
    grid.write_text(yaml.safe_dump({**GRIDS["pair"], "chunks": [2, 100]}))  # 100 are more than there are images
    assert main(["sweep", "pair"]) == 1
    assert len({*names_in(path)} - {*before}) == 4
    assert {*names_in(path)} > {*before}
    grid.write_text(yaml.safe_dump({**GRIDS["pair"], "chunks": [2]}))
    assert main(["sweep", "pair"]) == 0
    assert len(names_in(path)) == 4
    assert not {*names_in(path)} & {*before}


def test_runs_that_are_kept_no_longer_are_told_and_those_that_another_sweep_forgot(project, capsys, monkeypatch):
    grid = project / "params" / "grids" / "pair.yaml"
    grid.write_text(yaml.safe_dump({**GRIDS["pair"], "seed": [0, 2]}))
    make = sweep.made

    def meanwhile(*arguments, **how):
        yield from make(*arguments, **how)
        keep(sweep.published("pair"), (), forget=names_in(sweep.published("pair")))

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "made", meanwhile)
        assert main(["sweep", "pair"]) == 2
    assert "pair.parquet no longer keeps 2 of the runs: another sweep of the same name" in capsys.readouterr().err
    assert main(["sweep", "pair"]) == 0
    assert "keeps" not in capsys.readouterr().err
    grid.write_text(yaml.safe_dump({**GRIDS["pair"], "seed": [0]}))
    assert main(["sweep", "pair"]) == 0
    assert "pair.parquet keeps 2 runs no longer: they are of other code, or of another grid" in capsys.readouterr().err


def test_an_agent_that_the_original_lacks_is_named(project, capsys):
    (project / "params" / "grids" / "pair.yaml").write_text("variant: [original]\nagent: [er, ewc]\nseed: [0]")
    assert main(["sweep", "pair", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "pair.yaml: the original has no ewc, so that the grid is without it" in told.err
    assert told.out.count("to be run") == 1


def test_other_profiles_keep_their_runs_beside_their_tables(project, scores, capsys):
    before = kept_names(scores)
    assert main(["sweep", "half", "--profile", "smoke"]) == 0
    assert kept_names(scores) == before
    (folder,) = (project / "runs").glob("sweep_half-*")
    assert len(names_in(folder / "kept.parquet")) == 2
    for path in (project / "runs").glob("er-*"):
        shutil.rmtree(path)
    capsys.readouterr()
    assert main(["sweep", "half", "--profile", "smoke"]) == 0
    assert capsys.readouterr().err.count("done before") == 2


# --- rows ---


def test_rows_with_agents_are_compared_and_ranked_and_may_share_their_runs(project, capsys):
    assert main(["sweep", "rows"]) == 0
    assert "4 of 4 runs are in the tables" in capsys.readouterr().out
    frame = results("rows", notebook_parameters(LAST, "quick"))
    assert list(frame.columns) == ["run", "agent", "row", "seed", "metric", "domain", "value", "code"]
    wide = frame[frame["metric"] == "AUC: average"].pivot(index="seed", columns="row", values="value")
    assert (wide["er"] == wide["er, the same"]).all()
    assert frame.groupby("row")["run"].agg(set)["er"] == frame.groupby("row")["run"].agg(set)["er, the same"]
    tables = project / "figures" / "tables"
    tests = pd.read_csv(tables / "sweep_rows_tests.csv").query("metric == 'AUC: average'")
    pairs = [("er", "er, small"), ("er", "er, the same"), ("er, small", "er, the same")]
    assert [*zip(tests["first"], tests["second"], strict=True)] == pairs
    assert tests["difference"].tolist() == pytest.approx(
        [(wide[first] - wide[second]).mean() for first, second in pairs], abs=1e-5
    )
    means = sweep.means("rows", notebook_parameters(LAST, "quick"))
    assert (list(dict.fromkeys(means["agent"])), set(means["n"])) == (["er", "er, small", "er, the same"], {2})
    ends = [means.loc[means["agent"] == name, ENDS].to_numpy() for name in ("er", "er, the same", "er, small")]
    np.testing.assert_array_equal(*ends[:2])
    assert not np.array_equal(ends[0], ends[2], equal_nan=True)
    assert (project / "figures" / "sweep_rows_ranks.png").is_file()


def test_agents_are_compared_in_each_row_without_agents(project):
    assert main(["sweep", "streams"]) == 0
    frame = results("streams", notebook_parameters(LAST, "quick"))
    assert set(frame["row"]) == {"without third", "without first"}
    unseen = frame[frame["metric"] == "AUC: unseen"].groupby("row")["domain"].agg(set)
    assert unseen.to_dict() == {"without third": {"third"}, "without first": {"first"}}
    tests = pd.read_csv(project / "figures" / "tables" / "sweep_streams_tests.csv")
    assert set(tests["row"]) == {"without third", "without first"}
    assert set(tests["first"]) == {"sequential"}
    parameters = notebook_parameters(LAST, "quick")
    means, tests = sweep.means("streams", parameters), sweep.tests("streams", parameters)
    named = {own.run: own for own in kept("streams", parameters)}
    for row, stream in (("without third", ["first", "second"]), ("without first", ["second", "third"])):
        runs = frame[frame["row"] == row].drop_duplicates("run")
        scores = pd.concat(named[r.run].table.assign(agent=r.agent, seed=r.seed) for r in runs.itertuples())
        whole = summary_over_seeds(scores, stream).set_index(["agent", "metric"])
        unseen = "third" if row == "without third" else "first"
        for metric, name in (("AUC: average", "AUC: average"), ("accuracy: unseen", f"accuracy: unseen: {unseen}")):
            own = means[(means["row"] == row) & (means["metric"] == metric)].set_index("agent")
            assert set(own["domain"]) == ({unseen} if "unseen" in metric else {""})
            for agent in ("sequential", "er"):
                want = whole.loc[(agent, name), ENDS].tolist()
                assert own.loc[agent, ENDS].tolist() == pytest.approx(want, rel=1e-5, nan_ok=True)
            pair = tests[(tests["row"] == row) & (tests["metric"] == metric)].iloc[0]
            want = differences_over_seeds(scores, stream).set_index("metric").loc[name]
            for column in ("difference", "low", "high", "p_seeds"):
                assert pair[column] == pytest.approx(want[column], rel=1e-4, nan_ok=True)
    assert not (project / "figures" / "sweep_streams_ranks.png").exists()


# --- the code that tables are of ---


def test_every_table_of_a_sweep_tells_its_code_and_its_number_of_seeds(project, monkeypatch):
    tables = {
        path.stem: pd.read_csv(path, dtype={"code": "str"}) for path in (project / "figures" / "tables").glob("*.csv")
    }
    assert set(tables) == {"sweep_pair", "sweep_pair_runs", "sweep_pair_tests"}
    for table in tables.values():
        assert set(table["code"]) == {code_hash("er")}
        assert code_in_words(table) == ""
        assert set(table["n"]) == {2} if "n" in table else table["seed"].nunique() == 2
    monkeypatch.setattr(sweep_tables, "code_hash", lambda agent: "0123456789ab")
    for table in tables.values():
        assert code_in_words(table) == f"made with code {code_hash('er')}; today's is 0123456789ab"
        untold = table.drop(columns="code")
        assert code_in_words(untold) == "made with code that it does not name; today's is 0123456789ab"
        mixed = table.assign(code=["0123456789ab", *table["code"][1:]])
        assert code_in_words(mixed) == code_in_words(table)
        assert code_in_words(table[:0]) == ""
