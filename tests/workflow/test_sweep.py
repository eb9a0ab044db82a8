"""`cldf sweep`: grids and their mistakes, a real tiny sweep with its tables, failures, ranks, and who reads it."""

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from cldf_core.cli import main
from cldf_core.evaluation.bootstrap import ENDS, summary
from cldf_core.evaluation.crossed import cells_over_seeds, differences_over_seeds, summary_over_seeds
from cldf_core.evaluation.metrics import CONTINUAL, DETECTION, continual, detection, matrix
from cldf_core.evaluation.seeds import means_over_seeds
from cldf_core.options import AGENTS, UserError
from cldf_core.original_options import ORIGINAL
from cldf_core.results import sweep_tables
from cldf_core.results.compare import COMPARISON
from cldf_core.results.grid import read_grid
from cldf_core.results.metric_table import COST
from cldf_core.runs import run as run_module
from cldf_core.runs.folder import RunFolder
from cldf_core.workflow import cluster, display, notebooks, sweep
from cldf_core.workflow.notebooks import LAST, NEEDS, notebook_parameters
from cldf_core.workflow.parameters import Parameters, agents_of, checked_parameters, chosen_values
from cldf_core.workflow.sweep import results, sweep_folder
from samples import tiny_values

MEMORY = {"agent": ["sequential", "er", "gdumb"], "memory": [8, 12], "seed": [0, 1]}
NUMBERS = ["difference", "low", "high", "p", "p_holm", "p_seeds"]
PAIR = {"agent": ["sequential", "er"], "seed": [0, 1]}  # with the base's memory, 12: made by the grid above
CHUNKS = {"agent": ["sequential"], "chunks": [100, 1], "seed": [0, 1]}  # 100 are more than there are images


def make_project(root: Path, data: Path) -> Path:
    """A root in which notebook 08 has options that train in a second, in every profile, and with three grids."""
    values = tiny_values(data)
    for profile in notebooks.PROFILES:
        write(root / "params" / profile / f"{LAST}.yaml", yaml.safe_dump(values))
    for name, grid in {"tiny": MEMORY, "pair": PAIR, "chunky": CHUNKS}.items():
        write_grid(root, yaml.safe_dump(grid, sort_keys=False), name)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_grid(root: Path, text: str, name: str = "own") -> None:
    write(root / "params" / "grids" / f"{name}.yaml", text)


pytestmark = pytest.mark.usefixtures("workers_here")


@pytest.fixture
def project(root, small_data):
    return make_project(root, small_data)


# --- grids ---


def test_the_quick_sweep_asks_for_the_runs_of_the_notebooks():
    base = notebook_parameters(LAST, "quick")
    points = {
        p.cells["row"]: p.options for p in read_grid("seeds").points(base.values, chosen_values) if not p.options.seed
    }
    assert list(points)[: len(AGENTS)] == list(AGENTS)
    first, *others = NEEDS[LAST]
    own = {agent: [name for name in others if agent in agents_of(name)] or [first] for agent in AGENTS}
    for agent in AGENTS:
        (notebook,) = own[agent]
        assert points[agent] == notebook_parameters(notebook, "quick").options(agent)
    # And in the original's variant each agent keeps its own defaults.
    base = notebook_parameters(LAST, "original")
    points = {p.cells["row"]: p.options for p in read_grid("seeds").points(base.values, chosen_values)}
    assert list(points)[: len(ORIGINAL)] == list(ORIGINAL)  # DER++ and EWC are left out
    assert {agent: base.options(agent, seed=9) for agent in ORIGINAL} == {agent: points[agent] for agent in ORIGINAL}
    assert points["gdumb"].memory == 3000


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sed: [1]", "params/grids/own.yaml: there is no option 'sed' (its value is '1'); did you mean 'seed'?"),
        ("1: [1]", "params/grids/own.yaml: there is no option '1'"),
        ("seed: [0, one]", "params/grids/own.yaml: seed is 'one'; allowed: a whole number from 0"),
        ("agent: [er, magic]", "agent is 'magic'; allowed: separate, sequential"),
        (
            "stream: [first, second]",
            "own.yaml: stream is ['first', 'second']; needed: a list of lists, such as [[a, b]",
        ),
        ("severities: 0.5", "own.yaml: severities is '0.5'; needed: a list of lists, such as [[a, b], [b, a]]"),
        ("seed: {a: 1}", "own.yaml: seed is {'a': '1'}; needed: a list of values, such as [0, 1, 2]"),
        ("agent: [er, icarl]\nmemory: [4]", "memory is 4; allowed for iCaRL"),
        ("seed: 3", "own.yaml: seed is '3'; needed: a list of values, such as [0, 1, 2]"),
        ("seed: []", "own.yaml: seed is []; needed: a list of values"),
        ("", "own.yaml holds no names with values; needed: lines such as seed: [0, 1, 2]"),
        ("- seed", "own.yaml holds a list; needed: lines of the form name: value"),
        ("seed: [0, 1, 00]", "own.yaml: seed names 0 twice; allowed: each value once"),
        ("agent: [er, lwf, er]", "own.yaml: agent names 'er' twice"),
        ("seed: [0]\nseed: [1]", "own.yaml gives 'seed' twice; allowed: each name once"),
        ("seed: [1:30]", "params/grids/own.yaml: seed is '1:30'; allowed: a whole number"),
        ("seed: [1", "own.yaml is not readable YAML"),
        ("seed: !!python/object/apply:os.system ['touch pwned']", "own.yaml is not readable YAML"),
        ("data: [nowhere]", "own.yaml, profile quick: data is 'nowhere': there is no such folder"),
        ("stream: [[first, fifth]]", "own.yaml, profile quick: "),
        ("splits: [[test], [validation]]", "the runs of this grid have no scored split in common"),
        (
            "together: er",
            "own.yaml: together is 'er'; needed: a list of rows, such as [{row: a name, agent: er, epochs: 20}]",
        ),
        ("together: [{}]", "own.yaml: together is [{}]; needed: a list of rows"),
        ("together: [{lr: 11}]", "own.yaml, row 1 of together: lr is 11.0; allowed: a number above 0 to 10"),
        ("together: [{lr: 1}, {sed: 1}]", "own.yaml, row 2 of together: there is no option 'sed'"),
        ("together: [{row: [a], lr: 1}]", "own.yaml, row 1 of together: row is ['a']; needed: a name"),
        ("together: [{row: a}]", "own.yaml, row 1 of together sets no option; needed: one or more, such as epochs: 20"),
        ("together: [{lr: 1}, {lr: 1}]", "own.yaml: together has {'lr': 1.0} twice; needed: a name for each row"),
        (
            "together: [{row: a, lr: 1}, {row: a, lr: 2}]",
            "own.yaml: together has 'a' twice; needed: a name for each row",
        ),
        ("together: [{agent: er}, {lr: 2}]", "row 2 of together differs from row 1 in whether it sets the agent"),
        ("together: [{lr: 2}]\nlr: [1]", "row 1 of together sets 'lr', which has a list of its own"),
        (
            "together: [{agent: er}, {row: a, agent: er, derpp_alpha: 0.1}]",
            "own.yaml: er has no option 'derpp_alpha', which a row of it sets",
        ),
        (
            f"seed: {[*range(400)]}\nepochs: {[*range(1, 400)]}",
            "own.yaml has 159,600 combinations of values; allowed: at",
        ),
        ("variant: [original]\nagent: [ewc, derpp]", "own.yaml: the original has none of these agents; allowed: "),
        ("chosen: best\nseed: [0]", "own.yaml: chosen is 'best'; allowed: none, hindsight"),
        ("together: [{lr: 1, chosen: [none]}]", "row 1 of together: chosen is ['none']; allowed: none, hindsight"),
    ],
)
def test_a_faulty_grid_is_told_in_a_sentence_before_anything_is_run(project, capsys, monkeypatch, text, sentence):
    monkeypatch.chdir(project)
    write_grid(project, text)
    assert main(["sweep", "own"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("cldf: ")
    assert sentence in told.err
    assert (told.err.count("\n"), told.out) == (1, "")
    assert {path.name for path in project.iterdir()} <= {"params", "data"}  # no run, and nothing that YAML has called


def test_unknown_grids_and_profiles_are_told(project, capsys):
    assert main(["sweep", "sedes"]) == 2
    allowed = "allowed: chunky, ladder, limited, memory, orders, pair, parts, passes, seeds, tiny, unseen, updates"
    assert capsys.readouterr().err == f"cldf: there is no grid 'sedes' in params/grids; {allowed}\n"
    assert main(["sweep", "../quick/04_icarl"]) == 2
    assert main(["sweep", "tiny", "--profile", "slow"]) == 2
    assert "there is no profile 'slow'; allowed: quick" in capsys.readouterr().err


# --- a real sweep ---


@pytest.fixture(scope="module")
def swept(tmp_path_factory, small_data, workers_here):
    """A project with the sweep of MEMORY in the smoke profile."""
    patch = pytest.MonkeyPatch()
    root = make_project(tmp_path_factory.mktemp("swept"), small_data)
    patch.setenv("CLDF_ROOT", str(root))
    assert main(["sweep", "tiny", "--profile", "smoke"]) == 0
    yield root
    patch.undo()


def scores_of(run: str) -> pd.DataFrame:
    return RunFolder(sweep.project_root() / "runs" / run).scores()


def smoke() -> Parameters:
    return notebook_parameters(LAST, "smoke")


def tables(name: str = "tiny") -> Path:
    return sweep_folder(name, smoke()).figures / "tables"


def test_every_combination_is_run_once(swept):
    frame = results("tiny", smoke())
    assert list(frame.columns) == ["run", "agent", "memory", "seed", "metric", "domain", "value", "code"]
    assert frame["run"].nunique() == 10
    assert len([p for p in (swept / "runs").iterdir() if p.name[0] != "." and not p.name.startswith("sweep_")]) == 10
    for run, own in frame.groupby("run"):
        options = RunFolder(swept / "runs" / run).manifest["options"]
        row = own.iloc[0]
        assert (row["agent"], row["seed"]) == (options["agent"], options["seed"])
        assert pd.isna(row["memory"]) if row["agent"] == "sequential" else row["memory"] == options["memory"]
    assert frame["seed"].dtype == "int64"
    assert frame["memory"].dtype == "Int64"
    assert set(frame["domain"]) == {"", "unseen"}
    assert not (swept / "figures").exists()  # only the quick profile publishes


def test_the_values_are_those_of_the_metric_functions(swept):
    frame = results("tiny", smoke()).set_index("metric")
    for run, own in frame.groupby("run"):
        scores = scores_of(run)
        for measure in ("accuracy", "AUC"):
            R = matrix(scores, measure)
            want = continual(R[["first", "second", "third"]].to_numpy())
            for name in CONTINUAL:
                value = pytest.approx(float(want[name]), rel=1e-5, abs=1e-6, nan_ok=name.endswith(") from 3"))
                assert own.loc[f"{measure}: {name}", "value"] == value
            assert own.loc[f"{measure}: unseen", "value"] == pytest.approx(R["unseen"].iloc[-1], rel=1e-5)
        manifest = RunFolder(swept / "runs" / run).manifest
        assert own.loc["images trained on", "value"] == manifest["images"]
        assert own.loc["processor seconds", "value"] == pytest.approx(manifest["seconds"], rel=1e-5)


def test_means_have_an_interval_over_seeds_and_photographs(swept):
    means = sweep.means("tiny", smoke())
    columns = ["agent", "memory", "step", "domain", "metric", "value", "low", "high", "n", "spread", "code"]
    assert list(means) == columns
    for (agent, memory), own in means.groupby(["agent", "memory"], dropna=False, sort=False):
        frame = results("tiny", smoke()).query("agent == @agent")
        runs = frame.loc[frame["memory"].isna() if pd.isna(memory) else frame["memory"] == memory]
        named = [scores_of(run).assign(agent=agent, seed=seed) for seed, run in enumerate(runs["run"].unique())]
        whole = summary_over_seeds(pd.concat(named), ["first", "second", "third"]).set_index("metric")
        for row in own[own["metric"].str.contains(": ")].itertuples():
            want = whole.loc[f"{row.metric}: {row.domain}" if row.domain else row.metric]
            assert [row.value, row.low, row.high] == pytest.approx(want[ENDS].tolist(), rel=1e-5, nan_ok=True)
            assert (row.n, row.spread) == (2, want["spread"])
        cells = cells_over_seeds(pd.concat(named), "AUC").query("step == 3").set_index("domain")
        for row in own[own["metric"] == "AUC"].itertuples():
            want = cells.loc[row.domain, ENDS].tolist()
            assert [row.value, row.low, row.high] == pytest.approx(want, rel=1e-5, nan_ok=True)
        # Of what a run costs, photographs tell nothing.
        seconds = runs.loc[runs["metric"] == "processor seconds", "value"]
        row = own[own["metric"] == "processor seconds"].iloc[0]
        reach = stats.t.ppf(0.975, 1) * stats.sem(seconds)
        interval = [seconds.mean() - reach, seconds.mean() + reach] if reach else [np.nan] * 2  # of equal seconds
        assert row[ENDS].tolist() == pytest.approx([seconds.mean(), *interval], rel=1e-4, nan_ok=True)
        assert row["spread"] == "seeds"
    # Detection metrics: after the last step, for every domain.
    frame, images = results("tiny", smoke()), means[means["metric"].isin(DETECTION)]
    assert set(images["step"]) == {3}
    assert set(images["domain"]) == {"first", "second", "third", "unseen"}
    runs = frame.query("agent == 'sequential'")["run"].unique()
    cells = [scores_of(run).query("step == 3 and domain == 'first'") for run in runs]
    want = np.mean([detection(c["label"].to_numpy(), c["score"].to_numpy())["EER"] for c in cells])
    got = images.query("agent == 'sequential' and domain == 'first' and metric == 'EER'")
    assert got["value"].item() == pytest.approx(want, rel=1e-5)
    assert got["memory"].isna().item()


def test_agents_are_compared_in_each_setting(swept):
    tests = sweep.tests("tiny", smoke())
    assert list(tests) == ["memory", *COMPARISON, "code"]
    frame = results("tiny", smoke())
    for memory in (8, 12):
        own = tests[(tests["memory"] == memory) & (tests["metric"] == "AUC: average")]
        pairs = set(zip(own["first"], own["second"], strict=True))
        assert pairs == {("sequential", "er"), ("sequential", "gdumb"), ("er", "gdumb")}
        assert set(own["n"]) == {2}
        values = frame[frame["metric"] == "AUC: average"]
        values = values[values["memory"].isna() | (values["memory"] == memory)]
        wide = values.pivot(index="seed", columns="agent", values="value")
        row = own.query("first == 'er' and second == 'gdumb'").iloc[0]
        assert row["difference"] == pytest.approx((wide["er"] - wide["gdumb"]).mean(), abs=1e-5)
        known = own["p"].notna().sum()
        assert own["p_holm"].min() == pytest.approx(min(known * own["p"].min(), 1), rel=1e-4)
        runs = frame[frame["memory"].isna() | (frame["memory"] == memory)].drop_duplicates("run")
        named = [scores_of(r.run).assign(agent=r.agent, seed=r.seed) for r in runs.itertuples()]
        want = differences_over_seeds(pd.concat(named), ["first", "second", "third"], ["AUC"]).set_index(
            ["metric", "first", "second"]
        )
        for row in tests[(tests["memory"] == memory) & tests["metric"].str.startswith("AUC")].itertuples():
            name = f"{row.metric}: {row.domain}" if row.domain else row.metric
            numbers = [getattr(row, column) for column in NUMBERS]
            expected = want.loc[(name, row.first, row.second), NUMBERS].tolist()
            assert numbers == pytest.approx(expected, rel=1e-4, abs=1e-9, nan_ok=True)
            assert row.spread == want.loc[(name, row.first, row.second), "spread"]
    assert not (tables().parent / "sweep_tiny_ranks.png").exists()  # there are two settings


def test_a_second_call_trains_nothing_and_writes_the_same(swept, capsys, monkeypatch):
    before = {p.name: p.read_bytes() for p in tables().iterdir()}
    assert set(before) == {"sweep_tiny.csv", "sweep_tiny_runs.csv", "sweep_tiny_tests.csv"}
    monkeypatch.setattr(cluster, "local", lambda *a: pytest.fail("workers were started"))
    assert main(["sweep", "tiny", "--profile", "smoke"]) == 0
    told = capsys.readouterr()
    assert told.err.splitlines()[0] == "1 of 10: sequential, seed 0: done before"
    assert told.err.splitlines()[9] == "10 of 10: gdumb, memory 12, seed 1: done before"
    assert "10 of 10 runs are in the tables" in told.out
    assert {p.name: p.read_bytes() for p in tables().iterdir()} == before
    # The printed table: a row for each agent and setting.
    lines = told.out.splitlines()
    assert lines[0].split()[:3] == ["agent", "memory", "seeds"]
    assert "accuracy: unseen unseen" in lines[0]
    rows = [line.split() for line in lines[1:6]]
    assert [row[:3] for row in rows[1:3]] == [["er", "8", "2"], ["er", "12", "2"]]
    assert rows[0][:2] == ["sequential", "2"]
    value = results("tiny", smoke()).query("agent == 'sequential' and metric == 'accuracy: average'")["value"]
    assert rows[0][2] == f"{value.mean():.3f}"


def test_tables_that_are_there_are_not_made_again(swept, capsys, monkeypatch):
    write_tables = sweep_tables._write

    def call() -> tuple[str, bool]:
        """What is printed, and whether tables were written."""
        monkeypatch.setattr(sweep_tables, "_write", written := Mock(side_effect=write_tables))
        capsys.readouterr()
        assert main(["sweep", "tiny", "--profile", "smoke"]) == 0
        return capsys.readouterr().out, written.called

    first = call()[0]
    assert call() == (first, False)
    (tables() / "sweep_tiny.csv").write_text("edited")
    assert call() == (first, True)
    (tables() / "sweep_tiny_runs.csv").unlink()
    assert call() == (first, True)
    assert call() == (first, False)
    write_grid(swept, yaml.safe_dump({**MEMORY, "seed": [1, 0]}, sort_keys=False), "tiny")
    assert call()[1]
    write_grid(swept, yaml.safe_dump(MEMORY, sort_keys=False), "tiny")
    assert call() == (first, True)
    monkeypatch.setattr(sweep_tables, "tree_hash", lambda modules: "of changed code")
    assert call() == (first, True)


def test_a_dry_run_tells_what_is_done_and_makes_nothing(swept, capsys, monkeypatch):
    monkeypatch.setattr(run_module, "_execute", lambda *a: pytest.fail("something was trained"))
    before = sorted((swept / "runs").iterdir())
    write_grid(swept, "agent: [er]\nmemory: [12, 16]\n", "dry")
    assert main(["sweep", "dry", "--profile", "smoke", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == ["1 of 2: er, memory 12: done before", "2 of 2: er, memory 16: to be run"]
    assert sorted((swept / "runs").iterdir()) == before
    (swept / "params" / "grids" / "dry.yaml").unlink()


def test_a_dry_run_in_an_empty_root_builds_nothing(root, capsys):
    assert main(["sweep", "memory", "--dry-run"]) == 0
    assert capsys.readouterr().out.count("to be run") == 36
    assert not list(root.iterdir())
    (root / "runs" / "er-0123456789ab").mkdir(parents=True)  # of other data: a run can be there, the benchmark is not
    assert main(["sweep", "memory", "--dry-run"]) == 0
    assert capsys.readouterr().out.count("to be run") == 36
    assert [path.name for path in root.iterdir()] == ["runs"]


def test_one_setting_gives_ranks_and_the_quick_profile_is_published(swept, capsys):
    left = [path / "state" for path in (swept / "runs").glob("er-*")]  # as of runs that were killed at their very end
    for path in left:
        path.mkdir()
    assert main(["sweep", "pair"]) == 0
    assert capsys.readouterr().err.count("done before") == 4
    assert sum(not path.exists() for path in left) == 2  # those of this grid
    published = {p.relative_to(swept / "figures").as_posix() for p in (swept / "figures").rglob("*") if p.is_file()}
    pictures = {"sweep_pair_ranks.png", "sweep_pair_ranks.pdf", "tables/scores/pair.parquet"}
    assert published == pictures | {f"tables/sweep_pair{end}.csv" for end in ("", "_runs", "_tests")}
    # The committed table is read where runs/ has none, but only with the options that it was made with.
    parameters = notebook_parameters(LAST, "quick")
    frame = results("pair", parameters)
    assert frame["run"].nunique() == 4
    kinds = (sweep.means, sweep.tests)
    others = [read("pair", parameters) for read in kinds]
    assert [len(table) > 0 for table in others] == [True, True]
    (tables("pair") / "sweep_pair_runs.csv").unlink()
    pd.testing.assert_frame_equal(results("pair", parameters), frame)
    for read, table in zip(kinds, others, strict=True):
        pd.testing.assert_frame_equal(read("pair", parameters), table)
    other = results("pair", notebook_parameters(LAST, "quick", {"epochs": 1}))
    assert list(other.columns) == list(frame.columns) == ["run", "agent", "seed", "metric", "domain", "value", "code"]
    assert other.empty
    for read, table in zip(kinds, others, strict=True):
        none = read("pair", notebook_parameters(LAST, "quick", {"epochs": 1}))
        assert (list(none), len(none)) == (list(table), 0)
    assert list(means_over_seeds(other, ["agent", "metric"])) == ["agent", "metric", "value", "low", "high", "n"]


def test_a_log_is_told_how_far_a_long_run_is(swept, capsys, monkeypatch):
    monkeypatch.delenv("CLDF_PROGRESS")
    monkeypatch.setattr(display, "EVERY", 0)  # as if it had taken that long
    write_grid(swept, "agent: [sequential, er]\nseed: [0, 7]\n", "late")
    assert main(["sweep", "late", "--profile", "smoke"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines.index("3 of 4: er, seed 0: done before") < lines.index("2 of 4: sequential, seed 7 …")
    assert any("running: 2 of 4: sequential, seed 7 (" in line for line in lines), lines
    (swept / "params" / "grids" / "late.yaml").unlink()


def test_a_failing_run_is_told_and_the_others_are_made(swept, capsys):
    assert main(["sweep", "chunky"]) == 1
    told = capsys.readouterr()
    assert "2 of 4 runs are in the tables" in told.out
    assert "1 of 4: sequential, chunks 100, seed 0: failed" in told.err
    failed = [line for line in told.err.splitlines() if line.startswith("failed: ")]
    assert [line.split(": ")[1] for line in failed] == [f"sequential, chunks 100, seed {seed}" for seed in (0, 1)]
    assert failed[0].endswith("domain 'first' has 16 training images; needed: at least 100, one for each chunk")
    frame = results("chunky", smoke())
    assert set(frame["chunks"]) == {1}
    assert set(frame["seed"]) == {0, 1}
    assert not (swept / "figures" / "tables" / "sweep_chunky.csv").exists()  # an incomplete table is not published


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("CUDA out of memory.\nTried"), "RuntimeError: CUDA out of memory. Tried"),
        (MemoryError(), "MemoryError"),
        (ZeroDivisionError("a fault of the program"), "ZeroDivisionError: a fault of the program"),
        (UserError("device is 'cuda'"), "device is 'cuda'"),
    ],
)
def test_faults_of_machine_and_program_are_told(project, capsys, monkeypatch, error, sentence):
    write_grid(project, "agent: [er]\nseed: [8, 9]\n")
    monkeypatch.setattr(run_module, "make_run", Mock(side_effect=error))
    assert main(["sweep", "own"]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-2:] == [f"failed: er, seed {seed}: {sentence}" for seed in (8, 9)]
    assert told.out == "0 of 2 runs are in the tables; to repeat the others: cldf sweep own --profile quick\n"


def test_what_is_left_out_and_other_kinds_of_values(swept, capsys):
    """One seed has the interval of its run and no test; options that are lists, or nothing, are texts."""
    write_grid(swept, "limit: [null, 4]\nunseen: [[unseen], []]\nagent: [sequential, er]\n", "kinds")
    assert main(["sweep", "kinds", "--profile", "smoke"]) == 0
    told = capsys.readouterr()
    assert "4 of 8: er, limit null, unseen " in told.err
    assert {p.name for p in tables("kinds").iterdir()} == {"sweep_kinds.csv", "sweep_kinds_runs.csv"}
    frame = results("kinds", smoke())
    assert set(frame["limit"]) == {"null", "4"}
    means = sweep.means("kinds", smoke())
    assert set(means["n"]) == {1}
    assert set(means.loc[~means["metric"].isin(COST), "spread"]) == {"groups"}
    own = means.query("agent == 'er' and limit == '4' and unseen == 'unseen' and metric == 'AUC: average'")
    scores = scores_of(frame.query("agent == 'er' and limit == '4' and unseen == 'unseen'")["run"].iloc[0])
    want = summary(scores, ["first", "second", "third"], "AUC").set_index("metric").loc["average", ENDS]
    assert own[ENDS].to_numpy()[0] == pytest.approx(want.to_numpy(float), rel=1e-5, nan_ok=True)
    assert sweep.tests("kinds", smoke()).empty
    assert len(told.out.splitlines()) == 1 + 8 + 3


# --- who reads it ---


def test_notebook_08_is_executed_anew_when_a_sweep_has_changed(project, monkeypatch):
    monkeypatch.setattr(notebooks, "_papermill", lambda *a: "")
    (project / "notebooks").mkdir()
    own = {LAST: notebook_parameters(LAST, "smoke")}
    own["04_icarl"] = checked_parameters(
        "04_icarl", {name: own[LAST].values[name] for name in ("data", "stream", "unseen")}
    )
    for name, line in zip(own, ("from cldf_core.workflow import sweep", "1"), strict=True):
        cell = {"cell_type": "code", "source": [line]}
        (project / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"cells": [cell]}))

    def status(name: str = LAST, **changes) -> str:
        return notebooks.execute(own[name].changed(**changes)).status

    names = (LAST, "04_icarl")
    assert [status(name) for name in names * 2] == ["done", "done", "already done", "already done"]
    in_runs = sweep_folder("seeds", own[LAST]).figures / "tables" / "sweep_seeds_runs.csv"
    published = project / "figures" / "tables"
    of_sweeps = [published / "scores" / "seeds.parquet", published / "choices.csv", published / "sweep_seeds_runs.csv"]
    for path in (in_runs, *of_sweeps):
        for text in ("one", "two"):
            write(path, text)
            assert [status(name) for name in names * 2] == ["done", "already done", "already done", "already done"]
    write(path, "two")  # the same content at another time
    write(project / "figures" / "tables" / "03_summary.csv", "not a sweep's")
    others = sweep_folder("seeds", checked_parameters(LAST, {})).figures
    write(others / "tables" / "sweep_seeds_runs.csv", "of other options")
    assert status() == "already done"


def test_neither_help_nor_mistakes_nor_results_wait_for_torch(project):
    code = (
        "import sys; from cldf_core.cli import main; from cldf_core.workflow.parameters import checked_parameters\n"
        "try: main(['sweep', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'scipy'} & set(sys.modules)\n"
        "main(['sweep', 'sedes'])\n"
        "from cldf_core.workflow.sweep import results; rows = len(results('tiny', checked_parameters('"
        + LAST
        + "', {})))\n"
        "print(heavy, rows, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--dry-run" in done.stdout
    assert done.stdout.splitlines()[-1] == "set() 0 False"
