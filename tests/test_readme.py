"""README's parts that are made from tables: they are what the command makes, and no sentence contradicts its table."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cldf_core.data.files import save_table, saved_table
from cldf_core.detection.ladder import RUNGS
from cldf_core.evaluation.seeds import holm
from cldf_core.figures.sentences import Sentence
from cldf_core.results.sweep_tables import code_in_words
from cldf_core.runs.provenance import code_hash
from cldf_core.workflow.parameters import NOTEBOOKS
from perturbed import check_perturbed
from samples import PROJECT
from words import results_in

SPEC = importlib.util.spec_from_file_location("readme", PROJECT / "docs" / "readme.py")
SCRIPT = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(SCRIPT)
COMMITTED = PROJECT / "figures"
README = (PROJECT / "README.md").read_text(encoding="utf-8")
CLAIMS = pytest.mark.parametrize("claim", SCRIPT.CLAIMS, ids=lambda claim: claim.words[:30])
DOMAINS = ("mini-A", "mini-B", "mini-C")
LEARNERS = ("sequential", "er", "icarl", "joint", "ewc", "sequential, same passes")  # ewc is not in the table
OF_STREAM = ("accuracy: average", "accuracy: average from 3", "accuracy: forgetting (max-last)", "AUC: average")
AGENT = {"agent": "er", "label": "loss [memory]", "source": "only this code", "verdict": "matters"}


def estimates(rows: list[dict], seed: int, *, middle: float = 0.0) -> pd.DataFrame:
    """Rows with a value that is near the middle, more or less, and its interval; with the code of today."""
    rng = np.random.default_rng(seed)
    value, reach = middle + rng.normal(0, 0.1, len(rows)), rng.uniform(0.01, 0.15, len(rows))
    numbers = {"value": value, "low": value - reach, "high": value + reach, "code": code_hash("er")}
    return pd.DataFrame(rows).assign(**numbers)


def against(rows: list[dict], seed: int) -> pd.DataFrame:
    """Differences of every learner from sequential fine-tuning, for each of the rows; some are not significant."""
    others = [{"agent": name, "reference": "sequential", "n": 3} for name in LEARNERS[1:]]
    table = estimates([row | other for row in rows for other in others], seed)
    return table.assign(significant=np.random.default_rng(seed).choice([True, False], len(table)))


def write_tables(folder: Path) -> None:
    """Writes all tables that README's claims need, with invented numbers."""
    on = [{"rung": rung, "domain": domain} for rung in RUNGS for domain in DOMAINS]
    apart = [row | {"n": 1 + 4 * row["rung"].endswith("network")} for row in on if row["rung"] != RUNGS[-1]]
    seeds = [{"agent": a, "metric": m, "n": 3} for a in LEARNERS for m in OF_STREAM]
    costs = [{"agent": a, "metric": f"accuracy: {m}", "images": 10, "all": 250, "n": 3}
             for m in ("gain", "learning", "average") for a in ("er", "mir")]  # fmt: skip
    needed = [{"agent": a, "n": 3, "tried": "5, 10, 50", "share": 0.9, "known": a != "lwf", "code": code_hash("er")}
              for a in ("er", "mir", "lwf")]  # fmt: skip
    verdicts = ("matters", "matters", "may matter", "not shown", "not shown")
    noise = {"exceeds seed noise": True, "exceeds seed noise (all)": True}
    differences = [AGENT | noise | {"verdict": v, "switch": f"s{k}"} for k, v in enumerate(verdicts)]
    together = [{"agent": a, "metric": "average", "exceeds seed noise": a == "er"} for a in ("er", "mir", "icarl")]
    tables = {
        "03_ladder": estimates(on, 1, middle=0.55),
        "03_ladder_differences": estimates(apart, 2),
        "08_seeds": estimates(seeds, 3, middle=0.6),
        "08_seeds_against": against([{"metric": m} for m in OF_STREAM], 4),
        "08_unseen": estimates(
            [{"agent": a, "domain": d, "n": 3} for d in DOMAINS for a in LEARNERS[:-1]], 5, middle=0.6
        ),
        "08_unseen_against": against([{"domain": d} for d in DOMAINS], 6).drop(columns="reference"),
        "14_cost": estimates(costs, 7).assign(significant=[True, False] * 3),
        "14_images_needed": pd.DataFrame(needed).assign(reached=[10, 50, 5], shown=[50, None, None]),
        "11_ranked": estimates(differences, 9, middle=-0.2),
        "11_all_at_once": estimates(together, 10),
    }
    tables["03_ladder_differences"]["significant"] = True
    for name, table in tables.items():
        save_table(table, folder, name)


@pytest.fixture
def made(root) -> Path:
    """A folder with all tables."""
    write_tables(root)
    return root


def texts(claim, folder: Path) -> dict[str, str]:
    """What is said of a claim: the sentences, by their subjects."""
    return {sentence.what: sentence.text for sentence in SCRIPT.answer(claim, folder)[1]}


def test_the_readme_is_what_the_command_writes():
    assert SCRIPT.written(README) == README, "run: python docs/readme.py"


def test_every_grid_has_its_command():
    grids = sorted((PROJECT / "params" / "grids").glob("*.yaml"))
    assert grids
    assert not [grid.stem for grid in grids if f"\ncldf sweep {grid.stem} " not in README]


def test_each_notebook_is_linked_to_its_page_and_to_where_it_can_be_run():
    for name in NOTEBOOKS:
        (row,) = [line for line in README.splitlines() if line.startswith("|") and f"notebooks/{name}.ipynb" in line]
        for label in (name[:2], f"Binder{name[:2]}", f"Colab{name[:2]}"):
            assert f"[{label}]" in row
            (line,) = [line for line in README.splitlines() if line.startswith(f"[{label}]: ")]
            assert f"notebooks/{name}." in line


def test_the_committed_tables_are_said_to_be_of_other_code_where_they_are():
    today, told = code_hash("sequential"), README.split(SCRIPT.begin("their code"))[1].split(SCRIPT.END)[0]
    names = {path.name for path in SCRIPT.tables_with_code(COMMITTED)}
    sweeps = {path.name for path in (COMMITTED / "tables").glob("sweep_*.csv")}
    assert names >= sweeps
    for path in SCRIPT.tables_with_code(COMMITTED):
        table = pd.read_csv(path, dtype={"code": "str"})
        lines = [line for line in told.splitlines() if f"`{path.name}`" in line]
        if "code" in table and set(table["code"]) == {today}:
            assert lines == []
        else:
            made = ", ".join(sorted({*table["code"]})) if "code" in table else "that it does not name"
            sentence = f"made with code {made}; today's is {today}"
            assert [line.startswith(f"- {sentence}: ") for line in lines] == [True]
            assert sentence == code_in_words(table)


def test_without_tables_nothing_is_said(tmp_path):
    part = SCRIPT.reproduced(tmp_path)
    assert part.count("| not run (`cldf ") == len(SCRIPT.CLAIMS)
    assert results_in(part) == []
    assert "**" not in part
    assert SCRIPT.their_code(tmp_path) == "All committed tables are of today's code.\n"


@CLAIMS
def test_a_claim_is_withdrawn_without_one_of_its_tables_and_with_one_of_other_code(made, claim):
    whole = SCRIPT.reproduced(made)
    line = next(line for line in whole.splitlines() if line.startswith(f"| {claim.words} |"))
    assert line.count("|") == 4
    assert line.count("<br>") == len(texts(claim, made))
    for name in claim.tables:
        assert f"[{name}](figures/tables/{name}.csv)" in line
        table = saved_table(made, name)
        save_table(table.assign(code=["0123456789ab", *table["code"][1:]]), made, name)
        assert SCRIPT.answer(claim, made)[:2] == (f"not run with today's code (`{claim.command}`)", [])
        assert f"`{name}.csv`" in SCRIPT.their_code(made)
        save_table(table[:0], made, name)
        assert SCRIPT.answer(claim, made)[:2] == (f"not run (`{claim.command}`)", [])
        (made / "tables" / f"{name}.csv").unlink()
        assert SCRIPT.answer(claim, made)[:2] == (f"not run (`{claim.command}`)", [])
        save_table(table, made, name)
    assert SCRIPT.reproduced(made) == whole
    assert whole.count("not run (") == whole.count("not run with") == 0


@pytest.mark.parametrize("which", ["invented", "committed"])
@CLAIMS
def test_no_sentence_contradicts_its_table(root, claim, which):
    if which == "invented":
        write_tables(root)
    else:
        for name in claim.tables:
            save_table(saved_table(COMMITTED, name), root, name)

    def said() -> tuple[list[Sentence], dict[str, pd.DataFrame]]:
        why, sentences, tables = SCRIPT.answer(claim, root)
        assert why in ("", "nothing is shown")
        return sentences, tables

    assert said()[0]
    check_perturbed(root, claim.tables, said)


def test_a_difference_of_rungs_says_of_how_many_seeds_it_is(made):
    said = texts(SCRIPT.CLAIMS[0], made)
    assert [what.removeprefix("AUC, ") for what in said if "minus" not in what] == [*RUNGS]
    apart = [what.partition("minus ")[2] for what in said if "minus" in what]
    assert apart == [f"{rung}, {'5 seeds' if 'network' in rung else 'one seed'}" for rung in RUNGS[:-1]]


def test_an_agent_is_compared_with_sequential_training_and_only_a_significant_difference_is_one(made):
    apart = saved_table(made, "08_seeds_against").query("metric == 'AUC: average'")
    text = texts(SCRIPT.CLAIMS[1], made)["Average AUC, minus that of sequential fine-tuning, 3 seeds"]
    heads = {"higher": text.partition("higher: ")[2], "lower": text.partition("lower: ")[2]}
    names = {"er": "ER (random)", "icarl": "iCaRL", "joint": "joint training"}
    assert "EWC" not in text  # it is in the notebook's table, and README does not show it
    for row in apart[apart["agent"].isin(list(names))].itertuples():
        numbers = f"{names[row.agent]} {row.value:+.2f}".replace("-", "−").replace("+0.00", "0.00")
        if row.significant and row.low * row.high > 0:
            assert names[row.agent] in heads["higher" if row.value > 0 else "lower"].partition(";")[0]
        else:
            assert numbers in text.partition("no difference is shown")[2]


def test_it_says_of_the_committed_tables_what_notebook_08_says():
    for name, claim in (("08_seeds_against", SCRIPT.CLAIMS[1]), ("08_unseen_against", SCRIPT.CLAIMS[2])):
        table, said = saved_table(COMMITTED, name), SCRIPT.answer(claim, COMMITTED)[1]
        told = [(head, c.row) for sentence in said for head, own in sentence.parts for c in own if c.table == name]
        assert told
        for head, place in told:
            row = table.loc[place]
            assert head.startswith("no difference") != (bool(row["significant"]) and row["low"] * row["high"] > 0)


@pytest.mark.parametrize("name", ["03_ladder_differences", "04_memory", "05_sizes", "07_passes", "07_sizes"])
def test_committed_differences_are_corrected_for_all_that_are_shown_beside_them(name):
    table = saved_table(COMMITTED, name)
    for _, own in table.groupby("metric" if "metric" in table else lambda row: 0):
        assert own["significant"].tolist() == (holm(own["p"].to_numpy()) < 0.05).tolist()


def test_few_images_are_corrected_for_the_agents_that_are_shown_and_no_others():
    shown = saved_table(COMMITTED, "14_others_minus_sequential")
    tests = pd.read_csv(COMMITTED / "tables" / "sweep_limited_tests.csv", keep_default_na=False)
    pairs = tests[(tests["first"] == "sequential") & ~tests["second"].str.contains(",")]
    for (metric, images), own in shown.groupby(["metric", "images"]):
        few = pairs[(pairs["metric"] == metric) & (pairs["limit_new"] == str(images))]
        p = few.assign(p=holm(few["p"].to_numpy(float))).set_index("second")["p"]
        assert sorted(p.index) == sorted(own["agent"])
        assert own["significant"].tolist() == (p[own["agent"]] < 0.05).tolist()


def test_a_domain_counts_where_the_whole_interval_exceeds_guessing(made):
    means = saved_table(made, "08_unseen")
    said = texts(SCRIPT.CLAIMS[2], made)
    for agent, own in means.groupby("agent"):
        (text,) = [t for what, t in said.items() if "lies above" in what and f", {SCRIPT.agent_name(agent)}, " in what]
        assert f": {(own['low'] > 0.5).sum()} of {len(DOMAINS)}" in text
        assert [domain for domain in DOMAINS if domain in text] == own.loc[own["low"] > 0.5, "domain"].tolist()


def test_few_images_are_compared_with_all_also_by_what_is_known_in_the_end(made):
    cost, said = saved_table(made, "14_cost"), texts(SCRIPT.CLAIMS[3], made)
    for metric, words in {"gain": "Gain", "learning": "Learning", "average": "Average"}.items():
        (text,) = [
            t for what, t in said.items() if what.startswith(words) and "10 new images a class minus 250" in what
        ]
        for row in cost[cost["metric"] == f"accuracy: {metric}"].itertuples():
            name = {"er": "ER (random)", "mir": "MIR"}[row.agent]
            assert f"{name} {row.value:+.3f} [".replace("-", "−").replace("+0.000", "0.000") in text
    needed = [text for what, text in said.items() if what.startswith("New images a class")]
    assert len(needed) == 2
    assert not any("LwF" in text for text in needed)
