"""`cldf choose` on tiny spaces: its trials, what it writes, who takes the choice, and what is made when it goes on."""

import contextlib
import io
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from cldf_core.cli import main
from cldf_core.evaluation import choice
from cldf_core.evaluation.metrics import continual, matrix
from cldf_core.results import trials
from cldf_core.results.grid import read_grid
from cldf_core.results.inventory import entries
from cldf_core.results.kept_runs import names_in, published, read_kept
from cldf_core.workflow import choose, cluster, sweep
from cldf_core.workflow.notebooks import LAST, notebook_parameters
from cldf_core.workflow.parameters import chosen_values
from samples import make_data, tiny_values

STREAMS = (["first", "second", "third"], ["first", "third", "second"], ["first", "second", "unseen"])
SPACES = {"sequential": {"lr": [0.001, 0.03, 0.1]}, "lwf": {"lr": [0.001, 0.01], "temperature": [1, 2]}}
PAIRS, WHOLE = ("first, second", "first, third"), "first, second, third"

pytestmark = pytest.mark.usefixtures("workers_here")


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module", autouse=True)
def _few():
    """Two trials with two seeds, of which one gets a third."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "TRIALS", 2)
        patch.setattr(choice, "FINALISTS", 1)
        patch.setattr(choose, "MORE", (102,))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory, workers_here, _few) -> tuple[Path, str]:
    """A root in which everything was chosen once, without its folder runs/, and what that printed."""
    root, printed = tmp_path_factory.mktemp("choice"), io.StringIO()
    data = make_data(tmp_path_factory.mktemp("data"), train=6, validation=6, test=2)
    write(root / "params" / "quick" / f"{LAST}.yaml", {**tiny_values(data), "epochs": 1})
    rows = [{"row": f"{k}", "stream": stream, "unseen": []} for k, stream in enumerate(STREAMS)]
    write(root / "params" / "grids" / "unseen.yaml", {"together": rows, "agent": ["sequential"], "seed": [0]})
    write(root / "params" / "choose" / "spaces.yaml", SPACES)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("CLDF_ROOT", str(root))
        assert main(["choose"]) == 0
    shutil.rmtree(root / "runs")
    return root, printed.getvalue()


@pytest.fixture
def project(made, root) -> Path:
    """A copy of that root."""
    shutil.copytree(made[0], root, dirs_exist_ok=True)
    return root


def choices(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "figures" / "tables" / "choices.csv", dtype={"code": "str"})


def chosen(root: Path) -> dict:
    (own,) = yaml.safe_load((root / "params" / "quick" / "chosen.yaml").read_text()).values()
    return own


def test_each_agent_has_as_many_trials_on_the_first_domains_of_each_stream(project):
    table = choices(project)
    assert list(table) == [
        *("domains", "agent", "trial", "values", "seeds", "average", "spread", "images", "code", "chosen", "tied")
    ]
    keys = [(PAIRS[0], "lwf"), (PAIRS[0], "sequential"), (WHOLE, "lwf"), (PAIRS[1], "sequential")]  # as the grid asks
    assert [*table.groupby(["domains", "agent"], sort=False).groups] == sorted(keys)
    for _, own in table.groupby(["domains", "agent"]):
        assert sorted(own["trial"]) == [1, 2]
        assert sorted(own["seeds"]) == [2, 3]
        assert own["chosen"].sum() == 1
        assert own["average"].is_monotonic_decreasing
        assert own["seeds"][own["chosen"]].item() == own["seeds"].max()
    lwf = table.query("agent == 'lwf' and trial == 1")
    assert set(lwf["values"]) == {"lr 0.001, temperature 2.0"}  # the defaults


def test_trials_are_of_the_domains_alone_and_judged_on_their_validation_images(project):
    table, runs = choices(project), read_kept(published("choices"))
    assert len(runs) == 4 * (2 * 2 + 1)
    for run in runs:
        assert (run.settings["unseen"], run.settings["splits"]) == ([], ["validation"])
        assert set(run.table["domain"]) == set(run.stream)
        assert set(run.table["split"]) == {"validation"}
    assert {", ".join(run.stream) for run in runs} == {*PAIRS, WHOLE}
    own = [run for run in runs if run.agent == "sequential" and run.stream == ("first", "third")]
    by_rate = pd.Series([len([r for r in own if r.settings["lr"] == run.settings["lr"]]) for run in own])
    assert sorted(by_rate) == [2, 2, 3, 3, 3]
    for row in table.query("agent == 'sequential' and domains == 'first, third'").itertuples():
        those = [run for run in own if f"lr {run.settings['lr']}" == row.values]
        matrices = [matrix(run.table, split="validation")[["first", "third"]].to_numpy() for run in those]
        averages = pd.Series([float(continual(R)["average"]) for R in matrices])
        assert (row.average, row.spread) == pytest.approx((averages.mean(), averages.std()), rel=1e-5)


def test_what_is_chosen_is_taken_by_notebooks_and_grids(project):
    parameters = notebook_parameters(LAST, "quick")
    for (domains, agent), own in choices(project).groupby(["domains", "agent"]):
        values = chosen(project)[domains][agent]
        words = own["values"][own["chosen"]].item()
        assert words == ", ".join(f"{name} {value}" for name, value in values.items())
        stream = domains.split(", ")
        if domains != WHOLE:
            options = parameters.options(agent, stream=[*stream, *({"second", "third"} - {*stream})])
            assert {name: getattr(options, name) for name in values} == values
    write(
        project / "params" / "grids" / "own.yaml",
        {
            "together": [
                {"agent": "lwf"},
                {"row": "plain", "agent": "lwf", "chosen": "none"},
                {"row": "seer", "agent": "lwf", "chosen": "hindsight"},
                {"row": "set", "agent": "lwf", "lr": 0.001},
            ]
        },
    )
    points = {p.cells["row"]: p.options for p in read_grid("own").points(parameters.values, chosen_values)}
    want = {"lwf": chosen(project)[PAIRS[0]]["lwf"]["lr"], "plain": 0.001, "seer": chosen(project)[WHOLE]["lwf"]["lr"]}
    assert {row: points[row].lr for row in points} == {**want, "set": 0.001}


def test_the_choices_are_printed_and_a_tie_is_called_one(made):
    lines = made[1].splitlines()
    assert lines[0].split()[:3] == ["domains", "agent", "trial"]
    for text in (f"sequential on {PAIRS[0]}: ", f"lwf on {WHOLE}: "):
        (line,) = [line for line in lines if line.startswith(text)]
        assert "taken is trial " in line
        assert "a tie, the seeds cannot tell" in line or "can be told from all others" in line


def test_chosen_again_nothing_is_executed_and_all_files_stay(project, monkeypatch):
    monkeypatch.setattr(cluster, "local", lambda *a: pytest.fail("workers were started"))
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert main(["choose"]) == 0
    assert {path: content for path in before if (content := path.read_bytes()) == before[path]} == before
    (entry,) = entries(["choices"])
    assert entry.runs == names_in(published("choices"))


def test_some_agents_are_chosen_for_and_the_choices_of_others_stay(project, capsys, monkeypatch):
    before, choice_before, kept = choices(project), chosen(project), {*names_in(published("choices"))}
    write(project / "params" / "choose" / "spaces.yaml", {**SPACES, "sequential": {"lr": [0.001, 0.05]}})
    table = project / "figures" / "tables" / "choices.csv"
    table.write_text(before.assign(code="0123456789ab").to_csv(index=False))  # as if it were of other code
    assert main(["choose", "--agents", "sequential"]) == 0
    after = choices(project)
    others = [own[own["agent"] == "lwf"].drop(columns="code").reset_index(drop=True) for own in (before, after)]
    pd.testing.assert_frame_equal(*others)
    assert set(after[after["agent"] == "lwf"]["code"]) == {"0123456789ab"}
    assert set(after[after["agent"] == "sequential"]["values"]) == {"lr 0.001", "lr 0.05"}
    assert "0123456789ab" not in set(after[after["agent"] == "sequential"]["code"])
    assert all(chosen(project)[domains].get("lwf") == own.get("lwf") for domains, own in choice_before.items())
    own = {name for name in names_in(published("choices")) if name.startswith("sequential")}
    assert {*names_in(published("choices"))} - own == {name for name in kept if name.startswith("lwf")}
    assert len(own) == 2 * (2 * 2 + 1)  # what was tried before is forgotten


@pytest.mark.parametrize("name", ["figures/tables/choices.csv", "params/quick/chosen.yaml"])
def test_a_damaged_file_is_told_before_the_first_trial_and_nothing_is_written(project, capsys, monkeypatch, name):
    monkeypatch.setattr(choose, "_made", lambda *a: pytest.fail("trials were made"))
    (project / name).write_text("a: [b")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert main(["choose"]) == 2
    assert str(project / name) in capsys.readouterr().err
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_what_is_made_is_kept_where_a_run_fails(project, capsys, monkeypatch):
    write(project / "params" / "choose" / "spaces.yaml", {"sequential": {"lr": [0.001, 0.05]}})
    make, before = sweep.made, chosen(project)

    def failing(*arguments, **how):
        first, *others = make(*arguments, **how)
        yield first
        yield from (other._replace(folder=None, error="no luck") for other in others)

    monkeypatch.setattr(sweep, "made", failing)
    kept = len(names_in(published("choices")))
    assert main(["choose", "--agents", "sequential"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("cldf: sequential on first, ")
    assert told.endswith(": no luck; what is made is kept, and the same command goes on from there")
    assert len(names_in(published("choices"))) == kept + 1
    assert chosen(project) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--agents", "er"], "--agents has 'er'; allowed: sequential, lwf"),
        (["--agents"], "--agents"),
        (["--agents", "lwf"], "there is no domain 'fifth'"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(project, capsys, monkeypatch, words, sentence):
    monkeypatch.setattr(cluster, "local", lambda *a: pytest.fail("workers were started"))
    if "fifth" in sentence:
        rows = [
            {"row": "a", "stream": ["first", "fifth"], "unseen": []},
            {"row": "b", "stream": ["first"], "unseen": []},
        ]
        write(project / "params" / "grids" / "unseen.yaml", {"together": rows, "agent": ["lwf"]})
    assert main(["choose", *words]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
