"""Parameters of the notebooks: what somebody has set, read from a kernel's names, and through papermill and back."""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cldf_core.data.runtime import project_files
from cldf_core.options import AGENTS, FIELDS, OptionError, UserError, checked
from cldf_core.original_options import ORIGINAL
from cldf_core.workflow import notebooks
from cldf_core.workflow.parameters import (
    NOTEBOOKS,
    PROFILE,
    SMALLER,
    Parameters,
    allowed_names,
    checked_parameters,
    chosen_values,
    from_notebook,
)
from samples import PROJECT


@pytest.fixture(scope="module", autouse=True)
def _nothing_chosen() -> Iterator[None]:
    """What the project has chosen is not there; a root may have choices of its own."""
    own = PROJECT / "params" / "quick" / "chosen.yaml"
    with pytest.MonkeyPatch.context() as patch:
        others = lambda *words: [path for path in project_files(*words) if path != own]  # noqa: E731
        patch.setattr("cldf_core.workflow.parameters.project_files", others)
        yield


PLAIN = (3, 0.5, True, None, "x", [1], (1,), {"a": 1})


def kernel(notebook: str, **names: Any) -> dict[str, Any]:
    """The names of a fresh kernel after the `parameters` cell, and what else it assigned."""
    cell = {name: FIELDS[name].default for name in NOTEBOOKS[notebook]}
    ipython = {"In": ["", "…"], "Out": {}, "_ih": ["", "…"], "_i1": "…", "__name__": "__main__", "get_ipython": kernel}
    return {**ipython, "__annotations__": dict.fromkeys(cell, "Any"), **cell, **names}


def annotated(namespace: dict[str, Any], **names: Any) -> dict[str, Any]:
    """More names, assigned with a type annotation."""
    return namespace | names | {"__annotations__": namespace["__annotations__"] | dict.fromkeys(names, "Any")}


def test_a_default_reaches_a_notebook_whose_cell_holds_another_value():
    name = "11_original_versus_papers"
    for values in ({}, {"chunks": 4}, {"chunks": 4, "width": 16, "limit": 100}):
        written = checked_parameters(name, values).for_papermill()
        assert from_notebook(name, kernel(name, chunks=7, width=99, limit=3) | written).values == values
    assert checked_parameters("04_icarl", {"chunks": 4}).for_papermill() == {"chunks": 4}


# --- which options a notebook has ---


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_lists_options_once_and_takes_those_of_its_agents(notebook):
    listed, names = NOTEBOOKS[notebook], allowed_names(notebook)
    assert len(set(listed)) == len(listed)
    assert len(set(names)) == len(names)
    assert set(listed) <= set(names) <= set(FIELDS) - {"agent", "untested", "corruption", "severities", "test_jpeg"}
    assert {"lr", "network", "threads"} <= set(names) or notebook in ("01_data_exploration", "02_spectral_analysis")


@pytest.mark.parametrize(
    ("notebook", "agents"),
    [("04_icarl", ["icarl"]), ("07_er_and_mir", ["er", "mir", "derpp"]), ("09_robustness", list(AGENTS))],
)
def test_what_the_cell_does_not_list_may_be_given_where_the_variant_is_read(notebook, agents):
    fields = {name for agent in agents for name in AGENTS[agent].model_fields}
    command = {"agent", "untested", "validation_share", "corruption", "severities", "test_jpeg", "test_resize"}
    command |= {"files", "start", "blur", "occlusion"}
    assert set(allowed_names(notebook)) == fields - command
    more = {"drop_last": True, "dampening": 0.5, "offers": "every-epoch"}
    assert not set(more) & set(NOTEBOOKS[notebook])
    parameters = from_notebook(notebook, kernel(notebook, **more))
    assert parameters.values == more
    options = parameters.options("icarl")
    assert {name: getattr(options, name) for name in more} == more


@pytest.mark.parametrize(
    ("notebook", "name", "value", "sentence"),
    [
        ("04_icarl", "replay_passes", "separate", "there is no option 'replay_passes'"),
        ("04_icarl", "kd_weight", "chunks", "there is no option 'kd_weight'"),
        ("00_start_here", "order", "x", "there is no option 'order'"),
        ("04_icarl", "epochs", "ten", "epochs is 'ten'; allowed: a whole number from 1 to 10000"),
        ("04_icarl", "lr", 11, "lr is 11; allowed: a number above 0 to 10"),
        ("04_icarl", "epochs", 10.0, "epochs is 10.0; allowed: a whole number"),  # it equals the default all the same
        ("04_icarl", "variant", "seed", "variant is 'seed', which is called 'original' now"),
        ("04_icarl", "heads", "shared", "there is no option 'heads' any more; it is called 'icarl_heads' now"),
        *[("04_icarl", "sed", value, "there is no option 'sed' .*did you mean 'seed'") for value in PLAIN],
    ],
)
def test_a_mistake_is_told_with_the_notebook(notebook, name, value, sentence):
    with pytest.raises(OptionError, match=f"^{notebook}: {sentence}"):
        from_notebook(notebook, kernel(notebook, **{name: value}))


# --- what somebody has set ---


def test_only_what_differs_from_the_papers_defaults_is_a_parameter():
    assert from_notebook("04_icarl", kernel("04_icarl")).values == {}
    parameters = from_notebook("04_icarl", kernel("04_icarl", seed=5, width=24, epochs=3))
    assert parameters == checked_parameters("04_icarl", {"seed": 5, "width": 24, "epochs": 3})
    assert parameters.options() == checked({"agent": "icarl", "seed": 5, "epochs": 3})  # of the notebook's agent
    assert parameters.options("er", epochs=4) == checked({"agent": "er", "seed": 5, "epochs": 4})
    assert parameters.changed(lr=0.1) == Parameters("04_icarl", {"seed": 5, "epochs": 3, "lr": 0.1})
    assert parameters.values == {"seed": 5, "epochs": 3}


def test_parameters_are_checked_for_every_agent_of_the_notebook():
    with pytest.raises(OptionError, match="04_icarl, agent icarl: memory is 7; allowed for iCaRL"):
        from_notebook("04_icarl", kernel("04_icarl", memory=7))
    with pytest.raises(OptionError, match="params/x.yaml, agent icarl: memory is 7"):
        checked_parameters("09_robustness", {"memory": 7}, where="params/x.yaml")
    parameters = checked_parameters("07_er_and_mir", {"memory": 7})
    with pytest.raises(OptionError, match="07_er_and_mir, agent icarl: memory is 7"):
        parameters.options("icarl")
    with pytest.raises(OptionError, match="agent is 'agem'; allowed: separate"):
        parameters.options("agem")


@pytest.mark.parametrize(
    ("name", "text", "want"),
    [
        ("epochs", "3", 3),
        ("lr", "1e-2", 0.01),
        ("stream", "mini-VFHQ, mini-GAN-S", ["mini-VFHQ", "mini-GAN-S"]),
        ("unseen", "[]", []),
        ("limit", "5", 5),
        ("mixed_precision", "true", True),
        ("plane", "full", "full"),
        ("data", "123", "123"),
        ("weights", "null", None),
    ],
)
def test_a_text_is_read_by_the_options_type(name, text, want):
    parameters = from_notebook("04_icarl", kernel("04_icarl", **{name: text}))
    assert parameters.values == {name: want}
    assert getattr(parameters.options(), name) == want


# --- names that no option has ---


@pytest.mark.parametrize(
    "names",
    [
        {"json": json, "np": np, "check": kernel, "array": np.ones(2), "_private": 3},
        {"__annotations__": {"sed": int}},  # an annotation without a value
    ],
)
def test_other_names_of_a_fresh_kernel_are_no_parameters(names):
    assert from_notebook("04_icarl", kernel("04_icarl", **names)).values == {}


def test_a_later_call_in_the_same_kernel_refuses_annotated_names_alone():
    namespace = kernel("04_icarl")
    from_notebook("04_icarl", namespace)
    namespace |= {"answer": 42, "epochs": 3}
    assert from_notebook("04_icarl", namespace).values == {"epochs": 3}
    with pytest.raises(OptionError, match="there is no option 'momentun' .*did you mean 'momentum'"):
        from_notebook("04_icarl", annotated(namespace, momentun=0.5))
    with pytest.raises(OptionError, match="05_gdumb: there is no option 'answer'"):  # another notebook's kernel
        from_notebook("05_gdumb", namespace)


@pytest.mark.parametrize(("name", "value"), [("sed", 3), ("drop_last", "maybe"), ("lr", 11)])
def test_after_a_mistake_the_mended_cell_is_read_and_nothing_else(name, value):
    namespace = annotated(kernel("04_icarl"), **{name: value})
    with pytest.raises(OptionError, match=f"'{name}'|{name} is"):
        from_notebook("04_icarl", namespace)
    with pytest.raises(OptionError, match="04_icarl: no parameter is assigned; run the cell with the parameters first"):
        from_notebook("04_icarl", namespace)
    namespace |= kernel("04_icarl")
    assert from_notebook("04_icarl", namespace).values == {}


def test_everything_can_be_run_twice_in_one_kernel():
    cell = kernel("10_bands_and_explanations", drop_last=True)
    namespace = dict(cell)
    first = from_notebook("10_bands_and_explanations", namespace)
    # Later cells assign names of options: the cell assigns its own once more, and a function is no parameter.
    namespace |= {"memory": 7, "network": object(), "crop": kernel, "answer": 42}
    assert from_notebook("10_bands_and_explanations", namespace | cell) == first


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_kernel_takes_a_profile_where_nobody_has_set_another_value(notebook, monkeypatch, capsys):
    cell = kernel(notebook)
    quick = notebooks.profile_values(notebook, "quick")
    cell |= {name: quick[name] for name in SMALLER.get(notebook, ())}  # as the notebook shows them
    for profile in ("quick", "smoke"):
        monkeypatch.setenv(PROFILE, profile)
        want = notebooks.notebook_parameters(notebook, profile)
        assert from_notebook(notebook, dict(cell)) == want
        assert f"CLDF_PROFILE is {profile}: " in capsys.readouterr().out
        assert from_notebook(notebook, {**cell, "width" if "width" in cell else "limit": 40}) == want.changed(
            **{"width" if "width" in cell else "limit": 40}
        )
    monkeypatch.setenv(PROFILE, "small")
    with pytest.raises(UserError, match="there is no profile 'small'; allowed: quick, smoke, original"):
        from_notebook(notebook, dict(cell))


# --- which runs a notebook is about ---


@pytest.mark.parametrize(
    ("notebook", "names"),
    [
        ("04_icarl", ["icarl"]),
        ("05_gdumb", ["gdumb"]),
        ("06_lwf", ["lwf", "ewc", "lwf, told"]),
        ("07_er_and_mir", ["er", "mir", "derpp"]),
        ("08_cross_data_set_evaluation", ["sequential", "separate", *list(AGENTS)[2:], "lwf, told"]),
        ("09_robustness", ["sequential", "separate", *list(AGENTS)[2:]]),
    ],
)
def test_a_notebook_is_about_a_run_of_each_of_its_agents_and_of_some_with_other_options(notebook, names):
    runs = checked_parameters(notebook, {"seed": 3}).runs
    assert list(runs) == names
    for name, options in runs.items():
        told = {"agent": "lwf", "lwf_heads": "told"} if name == "lwf, told" else {"agent": name}
        assert options == checked({"seed": 3, **told})
    originals = checked_parameters(notebook, {"variant": "original"}).runs
    assert list(originals) == [name for name in names if name in ORIGINAL]
    for name, options in originals.items():
        assert options == checked({"variant": "original", "agent": name})


# --- the original's variant ---


def test_the_originals_defaults_stand_where_the_cell_still_holds_the_papers():
    parameters = from_notebook("07_er_and_mir", kernel("07_er_and_mir", variant="original", epochs=3))
    assert parameters.values == {"variant": "original", "epochs": 3}
    for agent in ORIGINAL:
        assert parameters.options(agent) == checked({"variant": "original", "agent": agent, "epochs": 3})
    assert (parameters.options().lr, parameters.options().replay_passes) == (0.01, "separate")
    assert (parameters.options("mir").virtual_lr, parameters.options("separate").chunks) == (0.1, 1)


def test_a_papers_default_that_comes_as_text_is_given():
    texts = {"batch": "32", "plane": '"half"', "network": '"slim"', "limit": "null", "data": '"mini"'}
    parameters = from_notebook("06_lwf", kernel("06_lwf", variant="original", **texts))
    want = {"variant": "original", "batch": 32, "plane": "half", "network": "slim", "limit": None, "data": "mini"}
    assert parameters.values == want
    assert parameters.options() == checked(want | {"agent": "lwf"})


SOME: dict[str, Any] = {
    **{"lr": 0.5, "chunks": 1, "epochs": 10, "batch": 32, "network": "slim", "seed": 3, "drop_last": True},
    **{"plane": "half", "data": "mini", "limit": None, "splits": ["validation", "test"], "weight_decay": 1e-4},
    **{"mixed_precision": False, "distillation": 1.0, "kd_weight": "constant", "weights": None, "order": "shuffled"},
}


@settings(max_examples=60, deadline=None)
@given(variant=st.sampled_from(["paper", "original"]), names=st.lists(st.sampled_from(sorted(SOME)), unique=True))
def test_what_goes_through_papermill_comes_back_the_same(variant, names):
    parameters = checked_parameters("06_lwf", {"variant": variant, **{name: SOME[name] for name in names}})
    back = from_notebook("06_lwf", kernel("06_lwf", **json.loads(json.dumps(parameters.for_papermill()))))
    assert back == parameters
    assert back.folder == parameters.folder
    assert back.options() == checked({"variant": variant, "agent": "lwf", **{name: SOME[name] for name in names}})


# --- what cldf choose has chosen ---

CHOSEN = {
    "mini": {
        "mini-GAN-S, mini-VFHQ": {"lwf": {"lr": 0.004, "temperature": 4.0}, "er": {"lr": 0.001, "replay": 8}},
        "mini-VFHQ, mini-GAN-S": {"lwf": {"lr": 0.0003}, "mir": {"lr": 0.003, "virtual_step": None}},
        "mini-GAN-S, mini-VFHQ, mini-ForenSynths, mini-DeepFake": {"lwf": {"lr": 0.007}},
    }
}
SWAPPED = ["mini-VFHQ", "mini-GAN-S", "mini-DeepFake"]


@pytest.fixture
def choose(root):
    """Writes a choice into the root."""

    def write(chosen: Any = CHOSEN) -> None:
        path = root / "params" / "quick" / "chosen.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(chosen if isinstance(chosen, str) else yaml.safe_dump(chosen, sort_keys=False))
        os.utime(path, ns=(time.time_ns(), time.time_ns()))

    return write


def test_a_chosen_value_holds_where_nobody_has_set_another(choose):
    choose()
    lwf = checked_parameters("06_lwf", {}).options()
    assert (lwf.lr, lwf.temperature, lwf.distillation) == (0.004, 4.0, 1.0)
    # The cell's default counts as not set, whether it comes from the cell, a file, or the command line.
    assert checked_parameters("06_lwf", {"lr": 0.002, "temperature": 2.0}).options().temperature == 4.0
    assert from_notebook("06_lwf", kernel("06_lwf")).options() == lwf
    assert from_notebook("06_lwf", kernel("06_lwf", lr=0.002)).options().lr == 0.002
    assert checked_parameters("06_lwf", {"temperature": 3.0}).options().temperature == 3.0
    # An option that the cell does not show is set where it is given, whatever it is.
    assert checked_parameters("07_er_and_mir", {"offers": "first-epoch"}).values == {"offers": "first-epoch"}
    assert checked_parameters("06_lwf", {"lr": 0.001}).options().lr == 0.001
    # What a notebook changes by itself stands before the choice.
    assert checked_parameters("06_lwf", {}).options(lr=0.001).lr == 0.001


def test_a_choice_belongs_to_agent_data_and_the_first_domains_of_the_stream(choose):
    choose()
    parameters = checked_parameters("08_cross_data_set_evaluation", {})
    assert [parameters.options(agent).lr for agent in ("lwf", "er", "mir", "sequential")] == [0.004, *[0.001] * 3]
    assert (parameters.options("er").replay, parameters.options("mir").replay) == (8, 32)
    swapped = parameters.changed(stream=SWAPPED, unseen=[])
    assert (swapped.options("lwf").lr, swapped.options("mir").lr, swapped.options("er").replay) == (0.0003, 0.003, 32)
    others: list[dict[str, Any]] = [
        {"data": "mini-smoke"},
        {"variant": "original"},
        {"stream": ["mini-VFHQ"], "unseen": []},
    ]
    for values in others:
        parameters = checked_parameters("06_lwf", values)
        assert parameters.options() == checked({**values, "agent": "lwf"})
    # Notebook 11 has settings of its own.
    assert checked_parameters("11_original_versus_papers", {}).options("lwf") == checked({"agent": "lwf"})


def test_hindsight_is_asked_for(choose):
    choose()
    assert chosen_values({"agent": "lwf"}) == {"lr": 0.004, "temperature": 4.0}
    assert chosen_values({"agent": "lwf"}, "hindsight") == {"lr": 0.007}
    assert chosen_values({"agent": "lwf"}, "none") == {}
    assert chosen_values({"agent": "er"}, "hindsight") == {}
    assert chosen_values({"agent": "mir", "stream": SWAPPED}) == {"lr": 0.003, "virtual_step": None}


def test_a_notebook_says_what_was_chosen_for_its_agents_and_its_cell_does_not_show(choose, capsys):
    from_notebook("06_lwf", kernel("06_lwf"))
    assert capsys.readouterr().out == ""
    choose()
    from_notebook("06_lwf", kernel("06_lwf", temperature=3.0))
    assert (
        capsys.readouterr().out
        == "chosen on validation photographs (cldf choose), in place of defaults: lwf lr 0.004\n"
    )
    assert (
        checked_parameters("07_er_and_mir", {"stream": SWAPPED, "unseen": []})
        .choices_in_words()
        .endswith(": mir lr 0.003, mir virtual_step None")
    )


def test_another_choice_is_read_and_a_faulty_one_told(choose):
    choose()
    parameters = checked_parameters("06_lwf", {})
    assert parameters.options().lr == 0.004
    choose({"mini": {"mini-GAN-S, mini-VFHQ": {"lwf": {"lr": 0.005}}}})
    assert parameters.options().lr == 0.005
    for content, sentence in (
        ("mini: [1]", "chosen.yaml is not as cldf choose writes it; needed: data set: domains: agent: values"),
        ("mini: {a: {lwf: 3}}", "chosen.yaml is not as cldf choose writes it"),
        ("mini: {a: {lwf: {lr: 11}}}", "chosen.yaml: lr is 11.0; allowed: a number above 0 to 10"),
        ("mini: {a: {lwf: {sed: 11}}}", "chosen.yaml: there is no option 'sed'"),
        ("mini: {a: {magic: {lr: 1}}}", "chosen.yaml: agent is 'magic'; allowed: "),
        ("mini: {a: {lwf: {size: 64}}}", "chosen.yaml: size is the same for all agents; allowed for lwf: "),
        ("mini: {a: {lwf: {replay: 8}}}", "chosen.yaml: replay is no option of lwf; allowed for lwf: "),
        ("[", "chosen.yaml is not readable YAML"),
    ):
        choose(content)
        with pytest.raises(UserError, match=sentence):
            parameters.options()


def test_a_notebook_is_executed_anew_where_another_choice_was_made(choose, root, monkeypatch):
    monkeypatch.setattr(notebooks, "_data_identity", lambda data: [])
    keys = []
    for chosen in ({}, CHOSEN, {"mini": {"mini-GAN-S, mini-VFHQ": {"lwf": {"lr": 0.005}}}}):
        choose(chosen)
        keys.append([notebooks.inputs_hash(checked_parameters(name, {})) for name in ("06_lwf", "04_icarl")])
    assert len({key for key, _ in keys}) == 3
    assert len({key for _, key in keys}) == 1


def test_a_folder_is_named_after_the_values(root):
    folders = [checked_parameters("06_lwf", values).folder.path for values in ({}, {"width": 24}, {"lr": 0.1})]
    assert folders[0] == folders[1] != folders[2]
    assert folders[0].parent == root / "runs"
    assert folders[0].name.startswith("06_lwf-")
