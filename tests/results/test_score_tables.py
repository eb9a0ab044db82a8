"""Score files of other programs: what is read, what is filled in, and one sentence for each mistake."""

import numpy as np
import pandas as pd
import pytest

from cldf_core.options import UserError
from cldf_core.results.score_tables import read_scores

HEAD = "image,domain,label,score"


def written(folder, *lines: str, name: str = "theirs.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_least_that_a_file_needs(root):
    path = written(root, "Domain,image, label,score", "a,one.png,real,0.25", "a,two.png,1,1", "b,one.png,FAKE,1e-3")
    (scores,) = read_scores([path, str(path), path.parent / "." / path.name])  # the same file counts once
    assert (scores.run, scores.agent, scores.seed, scores.stream) == (str(path), "theirs", None, None)
    rows = [("a", "one.png", 0, 0.25), ("a", "two.png", 1, 1), ("b", "one.png", 1, 0.001)]
    want = pd.DataFrame(rows, columns=["domain", "image", "label", "score"])
    want = want.assign(step=1, split="test", group=want["image"])
    pd.testing.assert_frame_equal(scores.table, want, check_dtype=False, check_like=True)
    assert scores.manifest == scores.settings == {}


def test_everything_that_a_file_may_have(root):
    path = written(
        root,
        "step,domain,split,image,group,label,score,logit,agent,seed,video,remark",
        "2,a,val,1.png,g,0,0.5,0,er,3,v,x",
        "2,a,,1.png,g,0,0.5,,er,4,v,y",
        "1,a,test,1.png,,0,0.5,-2.5,er,3,w,",
        "1,a,test,2.png,,1,0.5,inf,,,,",
    )
    first, _, third = parts = read_scores([path])
    assert [(s.agent, s.seed, len(s.table)) for s in parts] == [("er", 3, 2), ("er", 4, 1), ("theirs", None, 1)]
    assert first.table["split"].tolist() == ["validation", "test"]
    assert first.table["group"].tolist() == ["g", "w"]  # the frames of a video belong together
    assert first.table["video"].tolist() == ["v", "w"]
    assert third.table["group"].tolist() == ["2.png"]
    assert {"remark", "logit", "agent", "seed"} & set(first.table) == set()


def test_parquet_is_read_like_csv(root):
    score = np.random.default_rng(0).random(6)
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(6)], "domain": "a", "label": [0, 1] * 3, "score": score})
    table = table.assign(seed=2)
    table.to_csv(root / "scores.csv", index=False)
    table.to_parquet(root / "scores.parquet")
    (text,), (binary,) = (read_scores([root / f"scores.{suffix}"]) for suffix in ("csv", "parquet"))
    pd.testing.assert_frame_equal(text.table, binary.table)
    assert (binary.table["score"] == table["score"]).all()
    assert binary.seed == 2


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], "is empty; needed: a first line with the columns' names"),
        ([HEAD], "has no row; needed: one for each image that was scored"),
        (["image,label,score", "1.png,0,1"], "has no column 'domain', only image, label, score; needed: image, dom"),
        ([HEAD, "1.png,a,0"], ", row 2 has 3 values; needed: 4, one a column"),
        ([HEAD + ",score", "1.png,a,0,1,1"], "has the column 'score' twice; needed: each once"),
        ([HEAD, "1.png,a,0,1", "2.png,a,maybe,1"], ", row 3 has label 'maybe'; allowed: 0 or real, 1 or fake"),
        ([HEAD, "1.png,a,0,1", "", "2.png,a,,1"], ", row 4 has label ''; allowed: 0 or real, 1 or fake"),
        *(
            ([HEAD, f"1.png,a,0,{score}"], f", row 2 has score '{score}'; allowed: a number from 0 to 1")
            for score in ("1.01", "-1", "nan", "", "high")
        ),
        ([HEAD, "1.png,a,2.0,1"], ", row 2 has label '2.0'; allowed: 0 or real, 1 or fake"),
        ([HEAD, "1.png,a,0,1", "2\0.png,a,0,1"], ""),  # Python 3.10 has a sentence of its own
        ([HEAD, ",a,0,1"], ", row 2 has image ''; allowed: a name"),
        ([HEAD, "1.png, ,0,1"], ", row 2 has domain ' '; allowed: a name"),
        ([HEAD + ",step", "1.png,a,0,1,0"], ", row 2 has step '0'; allowed: a whole number from 1, or nothing"),
        ([HEAD + ",step", "1.png,a,0,1,1.5"], ", row 2 has step '1.5'; allowed: a whole number from 1"),
        ([HEAD + ",seed", "1.png,a,0,1,-1"], ", row 2 has seed '-1'; allowed: a whole number from 0, or nothing"),
        ([HEAD + ",split", "1.png,a,0,1,dev"], ", row 2 has split 'dev'; allowed: train, val, valid, validation, test"),
        ([HEAD + ",logit", "1.png,a,0,1,big"], ", row 2 has logit 'big'; allowed: a number, or nothing"),
        (
            [HEAD, "1.png,a,0,1", "1.png,b,0,1", "1.png,a,0,0.5"],
            ", row 4 has image '1.png' of domain 'a' once more; needed: each once for each agent, seed, step and split",
        ),
        (
            [HEAD + ",step", "1.png,a,0,1,1", "1.png,a,1,1,2"],
            ", row 3 has image '1.png' of domain 'a' with another label than before; needed: one label for an image",
        ),
        (
            [HEAD + ",video,group", "1.png,a,0,1,v,g", "2.png,a,0,1,v,h"],
            ", row 3 has video 'v' of domain 'a' in another group than before; needed: one group for a video",
        ),
    ],
)
def test_a_malformed_file_is_told_in_a_sentence(root, lines, sentence):
    path = written(root, *lines) if lines else root / "theirs.csv"
    path.touch()
    with pytest.raises(UserError) as caught:
        read_scores([path])
    message = str(caught.value)
    assert message.startswith(str(path))
    assert sentence in message
    assert "\n" not in message


def test_labels_are_read_as_programs_write_them(root):
    for real, fake in (("0.0", "1.0"), ("FALSE", "True"), ("Real", " FAKE "), ("0", "1e0")):
        (scores,) = read_scores([written(root, HEAD, f"1.png,a,{real},0.5", f"2.png,a,{fake},0.5")])
        assert scores.table["label"].tolist() == [0, 1]
    table = pd.DataFrame({"image": ["1.png", "2.png"], "domain": "a", "score": 0.5})
    for k, labels in enumerate(([False, True], [0.0, 1.0])):
        table.assign(label=labels).to_parquet(root / f"{k}.parquet")
        assert read_scores([root / f"{k}.parquet"])[0].table["label"].tolist() == [0, 1]


def test_a_table_of_very_many_columns_is_told_at_once(root):
    for count, sentence in ((100_000, "has 100,001 columns; allowed: 10,000"), (9_000, "has the column 'c0' twice")):
        with pytest.raises(UserError, match=sentence):
            read_scores([written(root, ",".join(["c0", *(f"c{k}" for k in range(count))]))])


def test_bytes_that_are_no_table_are_told(root):
    for name, content in (("a.csv", b"\xff\xfe\x00"), ("a.parquet", b"no parquet")):
        (root / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name} cannot be read .*; needed: CSV in UTF-8, or parquet"):
            read_scores([root / name])


def test_what_is_neither_run_nor_table_is_told(root):
    (root / "notes.txt").write_text("x")
    for name in ("er-1", str(root / "notes.txt"), str(root / "none.csv")):
        with pytest.raises(UserError, match=r"is no run and no table of scores; allowed: a finished run's folder"):
            read_scores([name])
    (root / "runs" / "er-1").mkdir(parents=True)
    with pytest.raises(UserError, match="er-1 is no folder of a finished run"):
        read_scores(["er-1"])
    with pytest.raises(UserError, match="no run and no file is named"):
        read_scores([])


def test_a_stream_has_to_fit_the_file(root):
    path = written(root, HEAD + ",step", "1.png,a,0,1,1", "2.png,b,0,1,3")
    assert read_scores([path])[0].stream is None
    for stream, sentence in (
        (["a", "c"], "--stream has 'c', of which .* has no scores; there: a, b"),
        (["a", "a"], "--stream is a,a; allowed: each domain once"),
        (["a", "b"], "has a step 3; allowed with this --stream: 1 to 2"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_scores([path], stream)
