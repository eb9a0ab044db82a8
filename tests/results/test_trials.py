"""Trials of options: the project's spaces, what is drawn from a space, and what a trial is judged by."""

import json

import numpy as np
import pytest
import yaml

from cldf_core.options import AGENTS, UserError, options_of
from cldf_core.results.score_tables import read_scores
from cldf_core.results.trials import MORE, SEEDS, TRIALS, read_spaces, read_trials, summary_of, trials_of
from samples import PROJECT

SPACES = read_spaces()


@pytest.fixture
def write(root):
    """Writes a file of spaces into a root."""

    def to(content):
        path = root / "params" / "choose" / "spaces.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))

    return to


def test_every_agent_of_the_comparison_has_a_space():
    assert [*SPACES] == [agent for agent in AGENTS if agent != "separate"]
    for agent, space in SPACES.items():
        defaults = options_of({"agent": agent})
        for name, values in space.items():
            assert getattr(defaults, name) in values, (agent, name)
            assert len(set(map(str, values))) == len(values)
    assert not {*SEEDS, *MORE} & {*range(10)}  # which the agents are compared by
    assert len({*SEEDS, *MORE}) == 5


@pytest.mark.parametrize("agent", SPACES)
def test_as_many_trials_are_drawn_for_each_and_always_the_same(agent):
    trials = trials_of(agent, SPACES[agent], {})
    assert len(trials) == TRIALS == 10
    assert len({json.dumps(trial) for trial in trials}) == TRIALS
    defaults = options_of({"agent": agent})
    assert trials[0] == {name: getattr(defaults, name) for name in SPACES[agent]}
    for trial in trials:
        options_of({**trial, "agent": agent})
        assert all(trial[name] in values for name, values in SPACES[agent].items())
    assert trials == trials_of(agent, SPACES[agent], {})
    assert trials_of(agent, SPACES[agent], {"lr": 0.0009})[0].get("lr", 0.0009) == 0.0009  # the profile's default


@pytest.mark.parametrize("agent", SPACES)
def test_each_value_is_tried_as_often_as_others_and_options_do_not_go_together(agent):
    """A value that is only tried with another option's would be judged by that one."""
    space = SPACES[agent]
    places = np.array([[space[name].index(trial[name]) for name in space] for trial in trials_of(agent, space, {})])
    for column, values in zip(places.T, space.values(), strict=True):
        times = np.bincount(column, minlength=len(values))
        assert times.max() - times.min() <= (TRIALS % len(values) > 0), (agent, times)
    assert np.abs(np.corrcoef(places.T) - np.eye(len(space))).max() < 0.25


def test_no_space_lets_an_agent_replay_more_than_new_images_or_more_epochs():
    """Sequential training with 20 epochs makes as many passes as 10 epochs with as many replayed images as new ones."""
    assert all(max(space.get("replay", [0])) <= options_of({"agent": agent}).batch for agent, space in SPACES.items())
    assert not [agent for agent, space in SPACES.items() if {"epochs", "batch", "memory", "network"} & set(space)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"er": [1]}, "er is ['1']; needed: options with lists, such as lr: [0.1, 0.2]"),
        ({"er": {"lr": 1}}, "er is {'lr': '1'}; needed: options with lists"),
        ({"er": {"lr": [11]}}, "lr is 11.0; allowed: a number above 0 to 10"),
        ({"er": {"lrr": [1]}}, "there is no option 'lrr'"),
        ({"era": {"lr": [1]}}, "agent is 'era'; allowed: "),
        ({"er": {"seed": [1, 2]}}, "spaces.yaml: seed is the same for all agents; allowed for er: optimiser, lr, "),
        ({"er": {"agent": ["er", "mir"]}}, "agent is the same for all agents"),
        ({"er": {"derpp_alpha": [0.1]}}, "derpp_alpha is no option of er; allowed for er: "),
        ({"er": {"lr": []}}, "er is {'lr': []}; needed: options with lists"),
        ({"er": {"lr": [0.1, 0.2, 0.10]}}, "lr of er names 0.1 twice; allowed: each value once"),
        ("er: {lr: [1", "is not readable YAML"),
    ],
)
def test_a_faulty_space_is_told(write, content, sentence):
    write(content)
    with pytest.raises(UserError) as told:
        read_spaces()
    assert "params/choose/spaces.yaml" in str(told.value)
    assert sentence in str(told.value)


def test_a_table_of_trials_is_read_or_its_damage_told(tmp_path):
    path = tmp_path / "choices.csv"
    assert read_trials(path).empty
    whole = (PROJECT / "figures" / "tables" / "choices.csv").read_text()
    path.write_text(whole)
    table = read_trials(path)
    assert table["chosen"].sum() == len(table[["domains", "agent"]].drop_duplicates())
    for damaged in (
        "",
        "a,b\n1,2\n",
        whole[: len(whole) // 2],
        whole.replace("0.9", "abc", 1),
        whole + "1,2" * 9 + "\n",
    ):
        path.write_text(damaged)
        with pytest.raises(UserError, match=f"^{path} is no table of trials, or a damaged one; needed: "):
            read_trials(path)
    path.write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match="is no table of trials"):
        read_trials(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="is no table of trials"):
        read_trials(path)


def test_a_space_needs_enough_combinations_of_the_agents_own_options():
    with pytest.raises(UserError, match="combinations of lwf besides the defaults: 1; needed: at least 9"):
        trials_of("lwf", {"lr": [0.001, 0.1]}, {})
    with pytest.raises(UserError, match="lwf has no option 'replay'"):
        trials_of("lwf", {"replay": [*range(1, 20)]}, {})


def test_a_trial_is_judged_by_the_accuracy_on_validation_images_of_its_stream(trained):
    runs = read_scores([trained["er", 0], trained["er", 1]])
    averages = []
    for run in runs:
        last = run.table.query("split == 'validation' and step == 2 and domain in ['first', 'second']")
        right = (last["score"] >= 0.5) == (last["label"] == 1)
        averages.append(right.groupby(last["domain"]).mean().mean())
    got = summary_of(3, {"lr": 0.1, "virtual_step": None}, runs)
    assert (got["trial"], got["values"], got["seeds"]) == (3, "lr 0.1, virtual_step null", 2)
    assert got["average"] == pytest.approx(sum(averages) / 2)
    assert got["spread"] == pytest.approx(abs(averages[0] - averages[1]) / 2**0.5)
    assert got["images"] == sum(run.manifest["images"] for run in runs) / 2
    assert got["code"] == runs[0].manifest["code"]
