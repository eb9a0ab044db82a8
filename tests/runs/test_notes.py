"""Notes of a run: what of its data is otherwise than one would expect, on the console and in the manifest."""

import numpy as np
import pytest
import torch

from cldf_core.options import checked
from cldf_core.runs.notes import machine_notes
from cldf_core.runs.run import make_run
from samples import make_data, tiny_options


def test_domains_without_validation_images_are_noted(root, tmp_path, capsys):
    data = make_data(tmp_path / "set", ("first", "second"), train=4, test=4)
    make_data(data, ("second",), train=4, test=4, validation=2)
    short = {"stream": ["first"], "unseen": ["second"], "splits": ["validation", "test"], "epochs": 1}
    folder = make_run(tiny_options("sequential", data, **short))
    assert folder.manifest["notes"] == ["first has no validation images, so none are scored"]
    assert "note: first has no validation images" in capsys.readouterr().err
    scores = folder.scores()
    cells = {("first", "test"), ("second", "validation"), ("second", "test")}
    assert set(zip(scores["domain"], scores["split"], strict=True)) == cells


def test_rejected_images_are_noted(root, tmp_path, capsys):
    data = make_data(tmp_path / "set", ("first",), train=4, test=4)
    (data / "real" / "first" / "testA" / "image01.png").write_bytes(b"no image")
    folder = make_run(tiny_options("sequential", data, stream=["first"], unseen=[], epochs=1))
    (note,) = folder.manifest["notes"]
    assert note.startswith("first: 1 image rejected, the first is real/first/testA/image01.png: unreadable")
    assert len(folder.scores()) == 7


def test_a_validation_share_of_no_group_is_noted(root, small_data, capsys):
    opts = tiny_options("sequential", small_data, validation_share=0.1, epochs=1, stream=["first"], unseen=[])
    notes = make_run(opts).manifest["notes"]
    assert notes == ["first: validation_share 0.1 of its 8 training groups comes to none"]
    assert f"note: {notes[0]}" in capsys.readouterr().err


LESS = "less than a batch of {}, and drop_last drops incomplete batches: no image of it is trained on"
SOME = "and drop_last drops batches of less than {}: 4 of 16 images are "
WHOLE, CHUNKS = "it holds 16 images, ", "each of its 6 chunks holds 2 or 3 images, "
IDLE = "left out of every epoch, and 2 chunks are not trained on at all"
DROPPED = [
    ("sequential", {"batch": 8}, ""),
    ("sequential", {"batch": 6, "drop_last": False}, ""),
    ("sequential", {"batch": 17}, WHOLE + LESS.format(17)),
    ("sequential", {"batch": 10, "chunks": 6}, CHUNKS + LESS.format(10)),
    ("sequential", {"batch": 6}, WHOLE + SOME.format(6) + "left out of every epoch"),
    ("sequential", {"batch": 6, "order": "fixed"}, WHOLE + SOME.format(6) + "never trained on"),
    ("gdumb", {"batch": 3, "chunks": 6}, CHUNKS + SOME.format(3) + IDLE),
    ("icarl", {"batch": 17}, WHOLE + LESS.format(17) + ", but for batches that exemplars fill up"),
]


@pytest.mark.parametrize(("agent", "changes", "note"), DROPPED)
def test_images_that_drop_last_leaves_out_are_noted(agent, changes, note, root, small_data, capsys):
    opts = tiny_options(agent, small_data, **{"drop_last": True, "stream": ["first"], "epochs": 1, **changes})
    folder = make_run(opts)
    assert folder.manifest["notes"] == ([f"first: {note}"] if note else [])
    told = [line for line in capsys.readouterr().err.splitlines() if "drop_last" in line]
    assert told == ([f"note: first: {note}"] if note else [])
    if agent == "sequential":
        chunks = [len(part) for part in np.array_split(np.arange(16), opts.chunks)]
        trained = sum(n - n % opts.batch if opts.drop_last else n for n in chunks)
        assert folder.manifest["images"] == trained


X86, ARM = {"avx512_vnni": True, "avx512_bf16": False, "amx_bf16": False}, {"neon": True, "bf16": False}


@pytest.mark.parametrize(
    ("capabilities", "noted"),
    [(X86, True), (X86 | {"amx_bf16": True}, False), (ARM, True), (ARM | {"bf16": True}, False), ({}, None)],
)
def test_mixed_precision_is_noted_where_the_processor_is_slower_with_it(capabilities, noted, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    notes = machine_notes(checked({"mixed_precision": True}))
    if noted is None:  # an older torch: what oneDNN says of this machine
        noted = bool(notes)
    sentence = "mixed_precision takes longer here, not shorter: this processor has no instructions for bfloat16"
    assert notes == [sentence] * noted
    assert machine_notes(checked({})) == machine_notes(checked({"mixed_precision": True, "device": "cuda"})) == []
