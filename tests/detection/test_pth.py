"""Checkpoints of other programs: every form is read, what is no checkpoint is told in a sentence, no code is run."""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torchvision import models

from cldf_core.detection.pth import read_checkpoint
from cldf_core.options import UserError
from samples import flip_a_bit


def test_several_forms_of_a_checkpoint_are_the_same(tmp_path):
    plain = models.resnet18(num_classes=2)
    state = plain.state_dict()
    forms = {
        "wrapped": {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        "bare": state,
        "parallel": {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        "bare parallel": {f"module.{k}": v for k, v in state.items()},
        "half": {"state_dict": {k: v.half().float() if v.is_floating_point() else v for k, v in state.items()}},
        "foreign options": {"state_dict": state, "options": "--lr 0.1"},
        "nested options": {"state_dict": state, "options": "[" * 100_000},
    }
    for name, content in forms.items():
        torch.save(content, tmp_path / f"{name}.pth")
    torch.save(forms["wrapped"], tmp_path / "old format.pth", _use_new_zipfile_serialization=False)
    for name in (*forms, "old format"):
        network, opts, _ = read_checkpoint(tmp_path / f"{name}.pth")
        assert (opts.network, opts.size, opts.plane, opts.precision) == ("resnet18", 224, "full", "float32"), name
        torch.testing.assert_close(
            network.head.weight, state["fc.weight"].flip(0), atol=1e-3 if name == "half" else 0, rtol=0
        )


class Code(NamedTuple):
    """Pickled, it is a call that makes a folder when it is loaded."""

    folder: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that are no checkpoints."""
    folder = tmp_path_factory.mktemp("faulty")
    state = models.resnet18(num_classes=2).state_dict()

    def save(name: str, content: Any, **how: Any) -> bytes:
        torch.save(content, folder / name, **how)
        return (folder / name).read_bytes()

    save("thousand.pth", {"state_dict": models.resnet18().state_dict()})
    for name, how in (("new", {}), ("old", {"_use_new_zipfile_serialization": False})):
        whole = save(f"truncated-{name}.pth", {"state_dict": state}, **how)
        (folder / f"truncated-{name}.pth").write_bytes(whole[: len(whole) // 2])
        save(f"code-{name}.pth", {"state_dict": state, "extra": Code(folder / "pwned")}, **how)
    save("flipped.pth", {"state_dict": state, "options": "{}"})
    flip_a_bit(folder / "flipped.pth")
    (folder / "text.pth").write_text("these are words, no weights\n")
    (folder / "page.pth").write_text("<!DOCTYPE html><html>too many downloads</html>\n")
    (folder / "empty.pth").write_bytes(b"")
    save("list.pth", [1, 2])
    save("numbers.pth", {0: torch.ones(2)})
    save("nothing.pth", {"state_dict": {}})
    save("flat.pth", {"state_dict": {**state, "conv1.weight": torch.ones(64)}})
    save("scalar.pth", {"state_dict": {**state, "fc.weight": torch.tensor(1.0)}})
    save("grey.pth", {"state_dict": {**state, "conv1.weight": torch.ones(64, 1, 7, 7)}})
    save("lacking.pth", {"state_dict": {k: v for k, v in state.items() if k != "bn1.weight"}})
    save("deep.pth", {"state_dict": {k: v for k, v in state.items() if not k.startswith("layer4.1")}})
    weights = state["fc.weight"]
    save("sparse.pth", {**state, "fc.weight": weights.to_sparse()})
    save("complex.pth", {**state, "fc.weight": weights.to(torch.complex64)})
    save("absent.pth", {**state, "fc.weight": weights.to("meta")})
    save("hollow.pth", {**state, "fc.weight": torch.empty(2, 0)})
    save("diverged.pth", {**state, "bn1.weight": torch.full((64,), float("nan"))})
    save("huge.pth", {**state, "fc.bias": torch.tensor([1e300, 0], dtype=torch.float64)})
    save("future.pth", {"state_dict": state, "options": '{"colour": "red"}'})
    return folder


FAULTS = {
    "thousand.pth": "has 1000 outputs; needed: 2, real and fake",
    "truncated-new.pth": "is no checkpoint, or a damaged one: torch cannot read it to its end",
    "truncated-old.pth": "is no checkpoint, or a damaged one",
    "flipped.pth": "is no checkpoint, or a damaged one",
    "code-new.pth": "holds more than weights ({mkdir}), which could be code and is not loaded; needed: a file of",
    "code-old.pth": "holds more than weights ({mkdir}), which could be code and is not loaded",
    "text.pth": "is no checkpoint, or a damaged one",
    "page.pth": "is no checkpoint, or a damaged one",
    "empty.pth": "is no checkpoint, or a damaged one",
    "list.pth": "holds no state_dict of tensors, which a checkpoint needs",
    "numbers.pth": "holds no state_dict of tensors",
    "nothing.pth": "holds none of the networks slim, resnet18, resnet34, resnet50: it has no usable conv1.weight",
    "flat.pth": "it has no usable conv1.weight",
    "scalar.pth": "it has no usable fc.weight",
    "grey.pth": "does not fit a resnet18: size mismatch for conv1.weight",
    "lacking.pth": 'does not fit a resnet18: Missing key(s) in state_dict: "bn1.weight"',
    "deep.pth": "holds none of the networks slim, resnet18, resnet34, resnet50: its stages have [2, 2, 2, 1] blocks",
    "sparse.pth": "holds fc.weight as no plain tensor (float32, sparse_coo); needed: dense tensors of real numbers",
    "complex.pth": "holds fc.weight as no plain tensor (complex64, strided); needed: dense tensors of real numbers",
    "absent.pth": "holds fc.weight as no plain tensor (float32, strided)",
    "hollow.pth": "does not fit a resnet18: size mismatch for fc.weight",
    "diverged.pth": "holds NaN or infinite numbers in bn1.weight; needed: finite weights",
    "huge.pth": "holds NaN or infinite numbers in fc.bias; needed: finite weights",
    "future.pth": "there is no option 'colour' (its value is 'red')",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_is_no_checkpoint_is_told_in_a_sentence(name, faulty):
    with pytest.raises(UserError) as told:
        read_checkpoint(faulty / name)
    text = str(told.value)
    assert text.startswith(f"{faulty / name}")
    assert FAULTS[name].format(mkdir=f"{os.mkdir.__module__}.mkdir") in text
    assert "\n" not in text
    assert "weights_only" not in text  # torch's advice to switch it off
    assert not (faulty / "pwned").exists()


def test_a_missing_file_lists_what_its_folder_holds(faulty):
    sentence = f"there is no checkpoint {faulty / 'x.pth'}; in its folder: {', '.join(sorted(FAULTS))}"
    with pytest.raises(UserError, match=re.escape(sentence)):
        read_checkpoint(faulty / "x.pth")
