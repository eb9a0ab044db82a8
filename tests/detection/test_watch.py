"""Tables of scores from use: what is read, what is refused, and what `cldf watch` says of them."""

import numpy as np
import pandas as pd
import pytest

from cldf_core.cli import main
from cldf_core.detection.watch import COLUMNS, read_use, watch
from cldf_core.options import UserError


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def table(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def labelled(rng, path, *, fakes_at=3.0, images=60):
    label = np.arange(images) % 2
    logit = rng.normal(np.where(label, fakes_at, -3), 1)
    return table(path, image=[f"{path.stem}{k}.png" for k in range(images)], label=label, logit=logit)


def test_scores_are_read_as_programs_write_them(tmp_path):
    path = table(tmp_path / "a.csv", image=["a", "b", "c"], Score=["0.5", "", "1"], video=["v", "v", ""])
    read, left_out = read_use(path)
    assert left_out == [f"{path}: 1 row without a score left out"]
    assert read.to_dict("list") == {
        **{"score": [0.5, 1.0], "detector": ["", ""]},
        **{"group": ["v", "row 4"], "label": [-1, -1]},
    }
    both, _ = read_use(table(tmp_path / "b.csv", score=[0.5], logit=[-7], group=["g"], video=["v"], label=["fake"]))
    assert both.iloc[0].to_dict() == {"score": 0.5, "logit": -7.0, "detector": "", "group": "g", "label": 1}
    pd.DataFrame({"logit": [1.5, None], "label": [0, 1]}).to_parquet(tmp_path / "c.parquet")
    assert read_use(tmp_path / "c.parquet")[0]["logit"].tolist() == [1.5]


def test_where_a_row_has_no_group_its_video_counts(tmp_path):
    path = table(tmp_path / "a.csv", score=[0.5] * 4, group=["g", "", "", ""], video=["v", "v", "w", ""])
    assert read_use(path)[0]["group"].tolist() == ["g", "v", "w", "row 5"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image": ["a"]}, "has no scores, only the columns image; needed: score"),
        ({"score": [0.5, 1.5]}, "row 3 has score '1.5'; allowed: a number from 0 to 1"),
        ({"score": [0.5, "much"]}, "row 3 has score 'much'; allowed"),
        ({"logit": [0.5, "nan"]}, "row 3 has logit 'nan'; allowed: a number"),
        ({"logit": [0.5, 1], "label": [1, ""]}, "row 3 has label ''; allowed: 0 or real, 1 or fake, in every row"),
    ],
)
def test_what_is_no_table_of_scores_is_told_in_a_sentence(tmp_path, columns, said):
    with pytest.raises(UserError, match=said):
        read_use(table(tmp_path / "a.csv", **columns))


def test_tables_are_compared_one_by_one_in_the_order_of_their_names(tmp_path, rng):
    known, _ = read_use(labelled(rng, tmp_path / "known.csv"))
    weeks = tmp_path / "weeks"
    weeks.mkdir()
    labelled(rng, weeks / "2.csv", fakes_at=0.0)
    labelled(rng, weeks / "1.csv")
    (weeks / "notes.txt").write_text("no table")
    (weeks / ".3.csv").write_text("")  # what another program is writing just now
    found, notes = watch([str(weeks)], known)
    assert list(found) == list(COLUMNS)
    assert found["scores"].tolist() == [str(weeks / "1.csv"), str(weeks / "2.csv")]
    assert found["drift"].tolist() == [False, True]
    assert (found["p"] < 0.01).tolist() == [False, True]
    assert notes == []
    with pytest.raises(UserError, match="has no column logit; needed: scores of the detector"):
        watch([str(table(tmp_path / "s.csv", score=[0.5]))], known)
    # A week without scores is told, and what is known of its classes is not looked at.
    (weeks / "0.csv").write_text("score,logit,label\n,,\n")
    text = pd.read_csv(weeks / "1.csv", dtype=str)
    text.assign(label=["", "none", *text["label"][2:]]).to_csv(weeks / "1.csv", index=False)
    again, notes = watch([str(weeks)], known)
    pd.testing.assert_frame_equal(again, found)
    assert notes == [f"{weeks / '0.csv'} has no row with a score, so it is left out"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no table"):
        watch([str(tmp_path / "empty")], known)


def test_the_command_says_what_it_compares_and_exits_with_3_at_a_drift(tmp_path, rng, capsys):
    known, same = labelled(rng, tmp_path / "known.csv"), labelled(rng, tmp_path / "same.csv")
    other = labelled(rng, tmp_path / "other.csv", fakes_at=0.0)
    against = ["--against", str(known)]
    assert main(["watch", str(same), *against]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"compared with {known}: 30 real, 30 fake, 60 groups\n")
    assert "none shown" in out
    assert main(["watch", str(same), str(other), *against, "--out", str(tmp_path / "out.csv")]) == 3
    assert pd.read_csv(tmp_path / "out.csv")["drift"].tolist() == [False, True]
    capsys.readouterr()
    for wrong, said in (
        ([str(tmp_path / "none.csv"), *against], "is no such file; needed: a table of scores, or a folder"),
        (["", *against], "'' is no name"),
        ([str(same), *against, "--step", "1"], "--step is given with --against"),
        (
            [str(same), *against, "--resamples", "99", "--alpha", "0.005"],
            "--alpha 0.005; needed: at least 199, or no p",
        ),
        (
            [str(table(tmp_path / "none yet.csv", score=[], label=[])), *against],
            "none yet.csv has no row with a score, so it is left out; needed: scores of the detector",
        ),
        ([str(same), *against, "--model", "x"], "is not allowed together with"),
        ([str(same), *against, "--out", str(known.with_suffix(".txt")), "--format", "csv"], "ends with .csv"),
    ):
        assert main(["watch", *wrong]) == 2
        assert said in capsys.readouterr().err


def test_scores_of_another_detector_as_of_before_an_update_are_left_out_and_told(tmp_path, rng):
    weeks, own, before = tmp_path / "weeks", "runs/er-1/model-step4.safetensors", "runs/er-1/model-step3.safetensors"
    weeks.mkdir()
    known = read_use(labelled(rng, tmp_path / "known.csv"))[0].assign(detector=own)
    text = pd.read_csv(labelled(rng, weeks / "0.csv", fakes_at=0.0))
    text.assign(detector=before).to_csv(weeks / "0.csv", index=False)
    mixed = pd.read_csv(labelled(rng, weeks / "1.csv"))
    mixed.assign(detector=np.where(mixed.index < 20, before, "moved/" + own)).to_csv(weeks / "1.csv", index=False)
    labelled(rng, weeks / "2.csv")  # does not tell whose scores it holds
    found, notes = watch([str(weeks)], known)
    assert found["images"].tolist() == [40, 60]
    assert not found["drift"].any()
    told = f"left out, the scores of another detector ({before})"
    assert notes == [f"{weeks / '0.csv'}: 60 rows {told}", f"{weeks / '1.csv'}: 20 rows {told}"]
    with pytest.raises(UserError, match="left out, the scores of another detector .*; needed: scores of the detector"):
        watch([str(weeks / "0.csv")], known)
    found, _ = watch([str(weeks)], known.assign(detector=""))  # nobody knows
    assert found["images"].tolist() == [60, 60, 60]
    # Another detector that has no logits does not cost the rows of this one.
    rows = mixed.assign(score=0.5, logit=None, detector="my_detector.py")
    pd.concat([rows, mixed.assign(detector=own)]).to_csv(weeks / "1.csv", index=False)
    found, _ = watch([str(weeks / "1.csv")], known)
    assert found["images"].tolist() == [60]
    theirs = known.rename(columns={"logit": "score"}).assign(score=0.5, detector="/moved/my_detector.py")
    assert watch([str(weeks / "1.csv")], theirs.assign(detector="my_detector.py"))[0]["images"].tolist() == [60]


def test_a_result_does_not_lie_among_the_tables_that_the_next_call_reads(tmp_path, rng, capsys):
    known = labelled(rng, tmp_path / "known.csv")
    weeks = tmp_path / "weeks"
    weeks.mkdir()
    labelled(rng, weeks / "1.csv")
    assert main(["watch", str(weeks), "--against", str(known), "--out", str(weeks / "drift.csv")]) == 2
    assert "drift.csv would lie among the tables of scores; needed: another folder" in capsys.readouterr().err
    assert [path.name for path in weeks.iterdir()] == ["1.csv"]
