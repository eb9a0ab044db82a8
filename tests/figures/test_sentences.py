"""Sentences about results: whatever a table holds, none of them contradicts it."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from claims import contradictions
from cldf_core.data.files import save_table, saved_table
from cldf_core.figures import sentences
from cldf_core.options import UserError

AGENTS = ("sequential", "joint", "icarl", "gdumb", "er")


def table_of(rows, name: str = "made") -> pd.DataFrame:
    """A table as `saved_table` gives it: agents with value, low and high."""
    table = pd.DataFrame(rows, columns=["value", "low", "high"], dtype=float)
    table.insert(0, "agent", AGENTS[: len(table)])
    table.attrs["name"] = name
    return table


numbers = st.one_of(
    st.floats(-1, 1, allow_subnormal=False),
    st.sampled_from([0.0, 0.5, 1.0, -0.001, 0.001, 0.004, 0.4996, 0.5004, 0.50001, -1e-5, 1e-4]),
)


@st.composite
def estimates(draw):
    """Value, low and high: mostly an interval around its value, sometimes none, sometimes nothing at all."""
    low, value, high = sorted(draw(numbers) for _ in range(3))
    kind = draw(st.sampled_from(["whole"] * 6 + ["no interval", "nothing"]))
    return (value if kind != "nothing" else np.nan, *((low, high) if kind == "whole" else (np.nan, np.nan)))


tables = st.lists(estimates(), max_size=5).map(table_of)


@given(tables, st.sampled_from([None, 0.5]), st.data())
def test_what_is_compared_with_a_line_does_not_contradict_the_table(table, line, data):
    table["corrected"] = data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table)))
    for also in (None, ("corrected", "Holm's correction takes it")):
        sentence = sentences.compared(table, "Something", line=line, also=also)
        assert contradictions(sentence, {"made": table}) == []
        assert len(sentence.claims) == table["value"].notna().sum()
        said = {claim.row: head for head, claims in sentence.parts for claim in claims}
        for row in table.itertuples():  # each where its interval puts it
            at = line or 0.0
            if not np.isnan(row.value):
                side = round(row.low, 5) > at or round(row.high, 5) < at
                shown = said[row.Index] in (f"above {at:g}", f"below {at:g}", "higher", "lower")
                assert shown == (side and (also is None or row.corrected))


def test_a_level_is_rounded_as_an_interval_is_and_what_is_not_known_to_hold_does_not():
    table = pd.DataFrame({"agent": ["er"], "value": [0.3], "low": [0.3], "high": [0.3]})
    assert "not shown to be" in sentences.compared(table, "Something", line=0.1 + 0.2).text
    table = pd.DataFrame({"agent": ["er"], "value": [0.3], "low": [0.2], "high": [0.4]})
    for cell, words in (
        (True, "higher"),
        (False, "no difference"),
        (np.nan, "no difference"),
        ("False", "no difference"),
    ):
        assert words in sentences.compared(table.assign(taken=[cell]), "Something", also=("taken", "it is taken")).text


@given(tables, st.sampled_from(["highest", "lowest"]))
def test_the_highest_is_the_highest_and_told_from_others_by_intervals(table, end):
    sentence = sentences.highest(table, "Something", end=end)
    assert contradictions(sentence, {"made": table}) == []
    assert len(sentence.claims) == table["value"].notna().sum()
    if sentence.text:
        best = table["value"].max() if end == "highest" else table["value"].min()
        assert table.loc[sentence.claims[0].row, "value"] == best


@given(tables, st.data(), st.sampled_from(["highest", "lowest"]))
def test_pairs_decide_what_is_told_from_the_highest(table, data, end):
    rows = [(a, b) for k, a in enumerate(table["agent"]) for b in table["agent"][k + 1 :]]
    rows = [pair if data.draw(st.booleans()) else pair[::-1] for pair in rows]
    pairs = pd.DataFrame(rows, columns=["first", "second"])
    pairs[["difference", "low", "high"]] = [data.draw(estimates()) for _ in rows] or np.empty((0, 3))
    pairs["corrected"] = data.draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)))
    pairs.attrs["name"] = "pairs"
    for also in (None, ("corrected", "Holm's correction takes it")):
        sentence = sentences.highest(table, "Something", pairs=pairs, also=also, end=end)
        assert contradictions(sentence, {"made": table, "pairs": pairs}) == []
        told = [
            claim.row for head, claims in sentence.parts if head.startswith("lower (difference") for claim in claims
        ]
        assert also is None or pairs.loc[told, "corrected"].all()


@given(tables)
def test_values_are_those_of_the_table(table):
    sentence = sentences.values(table, "Something", digits=3)
    assert contradictions(sentence, {"made": table}) == []
    assert [claim.row for claim in sentence.claims] == list(table.index[table["value"].notna()])
    costs = table.assign(value=100 * table["value"])[["agent", "value"]]
    sentence = sentences.values(costs, "Seconds", digits=0, unit="s")
    assert all(re.fullmatch(r"[\w ()-]+ −?\d+ s", claim.text) for claim in sentence.claims)


@given(st.lists(st.sampled_from([np.nan, 30.0, 0.5, 1.25]), min_size=1, max_size=5))
def test_what_is_reached_and_what_is_counted(severities):
    table = table_of([(0.5, 0.4, 0.6)] * len(severities)).assign(severity=severities)
    sentence = sentences.reached(table, "Halved", "severity", by="agent")
    assert contradictions(sentence, {"made": table}) == []
    for claim in sentence.claims:
        at = severities[claim.row]
        assert claim.text.endswith(f" {at:g}") != np.isnan(at)
    sentence = sentences.counted(table, "Gone", "severity", 30.0)
    assert contradictions(sentence, {"made": table}) == []
    assert sentence.text.startswith(f"**Gone**: {severities.count(30.0)} of {len(severities)}")
    assert len(sentence.claims) == severities.count(30.0)


def test_sentences_word_by_word():
    table = table_of([(0.2, 0.1, 0.3), (-0.2, -0.3, -0.004), (-0.01, -0.03, 0.02), (0.1, np.nan, np.nan)])
    assert sentences.compared(table, "Average, agent minus ER").text == (
        "**Average, agent minus ER**: higher: sequential fine-tuning +0.20 [+0.10, +0.30]; "
        "lower: joint training −0.200 [−0.300, −0.004]; no difference is shown: iCaRL −0.01 [−0.03, +0.02]; "
        "without an interval, so nothing is shown: GDumb +0.10 (no interval)."
    )
    levels = table_of([(0.52, 0.5, 0.54), (0.6, 0.51, 0.7), (0.4, 0.3, 0.499)])
    assert sentences.compared(levels, "Accuracy", line=0.5).text == (
        "**Accuracy**: above 0.5: joint training 0.60 [0.51, 0.70]; below 0.5: iCaRL 0.400 [0.300, 0.499]; "
        "not shown to be above or below 0.5: sequential fine-tuning 0.52 [0.50, 0.54]."
    )
    assert sentences.highest(levels, "Accuracy").text == (
        "**Accuracy**: highest: joint training 0.60 [0.51, 0.70]; lower (their intervals do not overlap): "
        "iCaRL 0.40 [0.30, 0.50]; not shown to be lower (they overlap): sequential fine-tuning 0.52 [0.50, 0.54]."
    )


def test_a_sentence_without_a_number_is_withdrawn(monkeypatch):
    nothing = table_of([(np.nan, np.nan, np.nan)] * 2)
    empty = [make(nothing, "A") for make in (sentences.compared, sentences.highest, sentences.values)]
    assert [sentence.text for sentence in empty] == [""] * 3
    full = sentences.values(table_of([(0.5, 0.4, 0.6)]), "B")
    monkeypatch.setattr(InteractiveShell, "_instance", InteractiveShell())
    with capture_output() as shown:
        sentences.show(empty[0], [full, empty[1]])
    (output,) = shown.outputs
    assert output.data["text/markdown"] == "* **B**: sequential fine-tuning 0.50 [0.40, 0.60]."


def test_a_contradiction_is_found():
    table, turned = (table_of([(s * 0.2, s * 0.2 - 0.1, s * 0.2 + 0.1), (0.5, 0.4, 0.6)]) for s in (1, -1))
    made = [sentences.compared(table, "A"), sentences.highest(table, "A"), sentences.values(table, "A")]
    for sentence in made:
        assert contradictions(sentence, {"made": table}) == []
        assert contradictions(sentence, {"made": turned})
        assert contradictions(sentence, {"other": table})
    up = table.iloc[::-1].reset_index(drop=True)  # the numbers of another row
    assert contradictions(made[2], {"made": up})


def test_a_table_comes_back_as_it_was_saved(tmp_path):
    table = pd.DataFrame({"agent": ["er", "None", "nan"], "value": [0.5, np.nan, 1.0], "known": [True, False, True]})
    save_table(table, tmp_path, "kept")
    pd.testing.assert_frame_equal(saved_table(tmp_path, "kept"), table)
    assert saved_table(tmp_path, "kept").query("agent == 'nan'").attrs["name"] == "kept"
    with pytest.raises(UserError, match="is not there; needed: a table"):
        saved_table(tmp_path, "other")
