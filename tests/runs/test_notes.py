"""Notes of a run: what of its data is otherwise than one would expect, on the console and in the manifest."""

import numpy as np
import pytest

from cldf_core.runs.run import make_run
from samples import make_data, tiny_options


def test_domains_without_validation_images_are_noted(root, tmp_path, capsys):
    data = make_data(tmp_path / "set", ("first", "second"), train=4, test=4)
    make_data(data, ("second",), train=4, test=4, validation=2)
    opts = tiny_options(
        "sequential", data, stream=["first"], unseen=["second"], splits=["validation", "test"], epochs=1
    )
    folder = make_run(opts)
    assert folder.manifest["notes"] == ["first has no validation images, so none are scored"]
    assert "note: first has no validation images" in capsys.readouterr().err
    scores = folder.scores()
    assert set(zip(scores["domain"], scores["split"], strict=True)) == {
        ("first", "test"),
        ("second", "validation"),
        ("second", "test"),
    }


def test_rejected_images_are_noted(root, tmp_path, capsys):
    data = make_data(tmp_path / "set", ("first",), train=4, test=4)
    (data / "real" / "first" / "testA" / "image01.png").write_bytes(b"no image")
    folder = make_run(tiny_options("sequential", data, stream=["first"], unseen=[], epochs=1))
    (note,) = folder.manifest["notes"]
    assert note.startswith("first: 1 images rejected, the first is real/first/testA/image01.png: unreadable")
    assert len(folder.scores()) == 7


def test_a_validation_share_of_no_group_is_noted(root, small_data, capsys):
    opts = tiny_options("sequential", small_data, validation_share=0.1, epochs=1, stream=["first"], unseen=[])
    notes = make_run(opts).manifest["notes"]
    assert notes == ["first: validation_share 0.1 of its 8 training groups comes to none"]
    assert f"note: {notes[0]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("agent", "changes", "notes"),
    [
        ("sequential", {"batch": 8}, []),
        ("sequential", {"batch": 6, "drop_last": False}, []),
        (
            "sequential",
            {"batch": 17},
            ["it holds 16 images, less than a batch of 17, {}: no image of it is trained on"],
        ),
        (
            "sequential",
            {"batch": 10, "chunks": 6},
            ["its 6 chunks hold 2 or 3 images, less than a batch of 10, {}: no image of it is trained on"],
        ),
        (
            "sequential",
            {"batch": 6},
            [
                "it holds 16 images, and drop_last drops batches of less than 6: 4 of 16 images are left out of every "
                "epoch"
            ],
        ),
        (
            "sequential",
            {"batch": 6, "order": "fixed"},
            ["it holds 16 images, and drop_last drops batches of less than 6: 4 of 16 images are never trained on"],
        ),
        (
            "gdumb",
            {"batch": 3, "chunks": 6},
            [
                "its 6 chunks hold 2 or 3 images, and drop_last drops batches of less than 3: 4 of 16 images are left "
                "out of every epoch, and 2 chunks are not trained on at all"
            ],
        ),
        (
            "icarl",
            {"batch": 17},
            [
                "it holds 16 images, less than a batch of 17, {}: no image of it is trained on, but for batches that "
                "exemplars fill up"
            ],
        ),
    ],
)
def test_images_that_drop_last_leaves_out_are_noted(agent, changes, notes, root, small_data, capsys):
    opts = tiny_options(agent, small_data, **{"drop_last": True, "stream": ["first"], "epochs": 1, **changes})
    folder = make_run(opts)
    want = [f"first: {note.format('and drop_last drops incomplete batches')}" for note in notes]
    assert folder.manifest["notes"] == want
    assert [line for line in capsys.readouterr().err.splitlines() if "drop_last" in line] == [
        f"note: {n}" for n in want
    ]
    if agent == "sequential":
        chunks = [len(part) for part in np.array_split(np.arange(16), opts.chunks)]
        trained = sum(n - n % opts.batch if opts.drop_last else n for n in chunks)
        assert folder.manifest["images"] == trained
