"""Other people's detectors: every image is accounted for, whatever their code does; networks of timm with weights."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from cldf_core.detection import user_file
from cldf_core.detection.foreign import load_foreign, score_foreign
from cldf_core.detection.score import COLUMNS
from cldf_core.options import UserError
from samples import cut, picture

NEEDED = "needed: P(fake), a number from 0 to 1"


def detector_of(folder: Path, text: str, name: str = "theirs.py", **settings):
    (folder / name).write_text(text, encoding="utf-8")
    return load_foreign(str(folder / name), **settings)


@pytest.fixture
def images(tmp_path) -> list[Path]:
    return [picture(tmp_path / "images" / f"{k}.png") for k in range(6)]


# --- Python files ---


def test_one_image_at_a_time(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "import os\ndef predict(path):\n assert os.path.isabs(path)\n return int(path[-5]) / 5"
    got = score_foreign([path.relative_to(tmp_path) for path in images], detector_of(tmp_path, text, band=0.125))
    assert tuple(got) == COLUMNS
    assert got["probability"].tolist() == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert got["verdict"].tolist() == ["real"] * 2 + ["cannot say"] * 2 + ["fake"] * 2
    assert got["file"].tolist() == [f"images{path.as_posix()[-6:]}" for path in images]
    assert (got["reason"] == "").all()
    assert got["logit"].isna().all()


def test_a_file_that_works_in_another_folder_leaves_the_paths_of_images_alone(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "import os\nos.chdir('/')\ndef predict(path):\n os.chdir(os.path.dirname(path))\n return 0.5"
    got = score_foreign([path.relative_to(tmp_path) for path in images], detector_of(tmp_path, text))
    assert (got["reason"] == "").all()
    assert Path.cwd() == tmp_path


GIVEN = {
    "0": (0, ""),
    "True": (1, ""),
    "np.float32(0.25)": (0.25, ""),
    "np.array([[0.75]])": (0.75, ""),
    "torch.tensor([0.5], requires_grad=True)": (0.5, ""),
    "float('nan')": (None, f"predict gives nan; {NEEDED}"),
    "np.float64('inf')": (None, f"predict gives inf; {NEEDED}"),
    "-0.001": (None, f"predict gives -0.001; {NEEDED}"),
    "7": (None, f"predict gives 7.0; {NEEDED}"),
    "None": (None, f"predict gives None; {NEEDED}"),
    "'0.5'": (None, f"predict gives '0.5'; {NEEDED}"),
    "b'1'": (None, f"predict gives a value of type bytes; {NEEDED}"),
    "1j": (None, f"predict gives a value of type complex; {NEEDED}"),
    "[0.5]": (None, f"predict gives a value of type list; {NEEDED}"),
    "np.array([0.5, 0.5])": (None, f"predict gives a value of type ndarray; {NEEDED}"),
    "np.zeros(0)": (None, f"predict gives a value of type ndarray; {NEEDED}"),
    "int('x')": (None, "ValueError: invalid literal for int() with base 10: 'x' (theirs.py, line 4)"),
    "sys.exit(3)": (None, "calls sys.exit(3) (theirs.py, line 4)"),
    "sys.exit()": (None, "calls sys.exit() (theirs.py, line 4)"),
    "stop()": (None, "Stop (theirs.py, line 5)"),
    "fail('two\\nlines')": (None, "Mine: two lines (theirs.py, line 3)"),
}


@pytest.mark.parametrize("given", GIVEN)
def test_whatever_a_function_gives_for_an_image_the_others_go_on(given, images, tmp_path):
    lines = ["import sys, torch, numpy as np", "class Mine(Exception): pass"]
    lines += ["def fail(text): raise Mine(text)", f"def predict(path): return {given} if '3' in path[-5:] else 0.5"]
    lines += ["def stop(): raise Stop", "class Stop(BaseException): pass"]
    got = score_foreign(images, detector_of(tmp_path, "\n".join(lines)))
    value, reason = GIVEN[given]
    assert got["reason"].tolist() == ["", "", "", reason, "", ""]
    assert np.isnan(got["probability"][3]) == (value is None)
    assert got["probability"].drop(3).tolist() == [0.5] * 5
    if value is not None:
        assert got["probability"][3] == value
    assert (got["verdict"] == "").tolist() == [bool(text) for text in got["reason"]]


BATCH = """
calls = []
def predict_batch(paths):
    calls.append(len(paths))
    {body}
def predict(path):
    raise AssertionError("not asked, where there is a function for many")
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return [1 / (10 * ('3.png' not in path)) for path in paths]", "ZeroDivisionError: .*by zero.*line 5"),
        ("yield from (1 / (10 * ('3.png' not in path)) for path in paths)", "ZeroDivisionError: .*by zero.*line 5"),
        ("return {0: 0.1} if '3.png' in ' '.join(paths) else [0.1]", "TypeError: predict_batch gives a dict"),
        ("return [0.1 for path in paths if '3.png' not in path]", "predict_batch gives 0 values for 1 image"),
        ("return [0.1 for p in paths for _ in range(1 + ('3.png' in p))]", "predict_batch gives 2 values for 1 image"),
        (
            "return 0.1 if '3.png' in paths[0] else [0.1] * (5 if len(paths) == 6 else 1)",
            "TypeError: 'float' object is not iterable",
        ),
    ],
)
def test_of_a_batch_that_fails_each_image_is_asked_for_alone(body, reason, images, tmp_path):
    got = score_foreign(images, detector_of(tmp_path, BATCH.format(body=body)))
    assert got["probability"].drop(3).tolist() == [0.1] * 5
    assert np.isnan(got["probability"][3])
    assert pd.Series(got["reason"][3]).str.match(reason).all()
    assert sys.modules[user_file.MODULE].calls == [6] + [1] * 6


def test_a_number_that_is_none_costs_no_other_of_its_batch(images, tmp_path, monkeypatch):
    monkeypatch.setattr(user_file, "AT_ONCE", 4)
    text = BATCH.format(body="return np.array([np.nan if '3.png' in path else 0.25 for path in paths])")
    got = score_foreign(images, detector_of(tmp_path, "import numpy as np" + text))
    assert got["reason"].tolist() == ["", "", "", f"predict_batch gives nan; {NEEDED}", "", ""]
    assert sys.modules[user_file.MODULE].calls == [4, 2]


def test_paths_that_are_no_files_are_not_given_to_anybody(images, tmp_path):
    got = score_foreign(
        [tmp_path, images[0], tmp_path / "gone.png"], detector_of(tmp_path, "def predict(path): return 1")
    )
    assert got["reason"].tolist() == ["is a folder, not an image", "", "no such file"]
    assert got["verdict"].tolist() == ["", "fake", ""]


def test_what_lies_beside_a_file_is_at_hand_and_the_innermost_line_is_told(images, tmp_path):
    (tmp_path / "their_network.py").write_text(
        "def net(path):\n    if '3.png' in path:\n        {}[path]\n    return 1\n"
    )
    lines = ["import dataclasses, their_network as own", "@dataclasses.dataclass", "class A: x: 'int' = 0"]
    lines += ["def predict(path):", "    import their_network", "    return their_network.net(path)"]
    before = sys.path.copy()
    got = score_foreign(images[2:4], detector_of(tmp_path, "\n".join(lines)))
    assert got["reason"].tolist() == ["", f"KeyError: {str(images[3])!r} (their_network.py, line 3)"]
    assert sys.path == before


WRONG = {
    "x = 1\nint('a')\ndef predict(path): pass": "ValueError: invalid literal .*: 'a' \\(theirs.py, line 2\\)$",
    "def predict(path:\n    return 1": "SyntaxError: .* \\(theirs.py, line 1\\)$",
    "import sys\n\nsys.exit('no')": "calls sys.exit\\('no'\\) \\(theirs.py, line 3\\)$",
    "\nimport nothing_of_this_name": "ModuleNotFoundError: No module .* \\(theirs.py, line 2\\)$",
    "raise Exception('long ' * 1000)": r"Exception: long (long )+l?o?n?g?… \(theirs.py, line 1\)$",
    "class Odd(Exception):\n def __str__(self): return 1/0\nraise Odd": "Odd: .*failed.* \\(theirs.py, line 3\\)$",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_file_that_cannot_be_run_is_told_with_its_line(text, tmp_path):
    with pytest.raises(UserError, match=f"^--model .*theirs.py cannot be used: {WRONG[text]}") as caught:
        detector_of(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_files_that_are_none_and_values_that_are_not_allowed_are_refused(tmp_path):
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(UserError, match=r"folder.py is a folder; needed: a Python file with predict\(path\)"):
        load_foreign(str(tmp_path / "folder.py"))
    with pytest.raises(UserError, match=r"gone.py is not there; needed: a Python file"):
        load_foreign(str(tmp_path / "gone.py"))
    for text in ("def score(path): return 1", "predict = 0.5"):
        with pytest.raises(UserError, match=r"theirs.py has no function predict or predict_batch; needed"):
            detector_of(tmp_path, text)
    for settings, sentence in (
        ({"threshold": "validation"}, "comes without validation scores"),
        ({"band": 1}, "--band"),
    ):
        with pytest.raises(UserError, match=sentence):
            detector_of(tmp_path, "def predict(path): return 1", **settings)


def test_an_interruption_is_no_fault_of_an_image(images, tmp_path):
    detector = detector_of(tmp_path, "def predict(path): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        score_foreign(images, detector)


# --- timm ---


class Tiny(nn.Module):
    """A network of one layer, which reads the mean of each colour."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.fc = nn.Linear(3, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return self.fc(images.mean((2, 3)))


@pytest.fixture
def timm(monkeypatch) -> ModuleType:
    """A stand-in for timm with one network, whose images are 16 pixels a side, from -1 to 1."""

    def create_model(name: str, *, pretrained: bool, num_classes: int) -> nn.Module:
        assert not pretrained
        if name != "tiny":
            raise RuntimeError(f"Unknown model ({name})")
        return Tiny(num_classes)

    def create_transform(side: int, *, is_training: bool):
        assert not is_training
        return lambda image: (
            torch.from_numpy(np.array(image.resize((side, side)), np.float32)).movedim(2, 0) / 127.5 - 1
        )

    module = ModuleType("timm")
    module.create_model = create_model
    module.data = SimpleNamespace(
        resolve_model_data_config=lambda network: {"side": 16} if isinstance(network, Tiny) else {},
        create_transform=create_transform,
    )
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def saved(folder: Path, network: nn.Module, form: str) -> Path:
    path = folder / f"mine{'.safetensors' if form == 'safetensors' else '.pth'}"
    state = network.state_dict()
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(
            {"state_dict": {f"module.{key}": value for key, value in state.items()}} if form == "wrapped" else state,
            path,
        )
    return path


@pytest.mark.parametrize(("outputs", "form"), [(2, "bare"), (1, "safetensors"), (2, "wrapped"), (1, "bare")])
def test_a_network_of_timm_says_predict(outputs, form, images, tmp_path, timm, monkeypatch):
    torch.manual_seed(0)
    network = Tiny(outputs)
    detector = load_foreign("timm:tiny", weights=saved(tmp_path, network, form))
    assert (detector.agent, detector.trained_on) == ("mine", ())
    assert detector.notes[0].startswith(
        ("its one output is taken", "of its two outputs 0 is taken for real, 1")[outputs - 1]
    )
    assert "side 16" in detector.notes[1]
    images[1].write_text("no image")
    got = score_foreign(images, detector)
    want = []
    for path in images[:1] + images[2:]:
        means = np.asarray(Image.open(path).convert("RGB").resize((16, 16)), float).mean((0, 1)) / 127.5 - 1
        logits = network.fc.weight.detach().double().numpy() @ means + network.fc.bias.detach().double().numpy()
        want.append(1 / (1 + np.exp(-(logits[-1] - (logits[0] if outputs == 2 else 0)))))
    np.testing.assert_allclose(got["probability"].drop(1), want, atol=1e-6)
    assert got["reason"][1].startswith("unreadable (UnidentifiedImageError")
    assert (got["reason"].drop(1) == "").all()


def test_weights_that_do_not_fit_get_one_sentence(tmp_path, timm, monkeypatch):
    def refused(sentence: str, model: str = "timm:tiny", weights: Path | None = None) -> None:
        with pytest.raises(UserError, match=sentence) as caught:
            load_foreign(model, weights=weights)
        assert "\n" not in str(caught.value)

    fits = saved(tmp_path, Tiny(2), "safetensors")
    refused("timm:tiny needs --weights")
    refused("--weights is '.*gone.pth'; allowed: a .safetensors or .pth file", weights=tmp_path / "gone.pth")
    refused("timm:other', of which timm says: Unknown model", "timm:other", fits)
    for name in ("", "hf-hub:some/one", "local-dir:x", "a/b"):
        refused("allowed: timm:NAME, with a name such as", f"timm:{name}", fits)
    thousand = saved(tmp_path, Tiny(1000), "bare")
    refused(
        r"mine.pth does not fit timm's tiny .*: fc.weight has the shape \(1000, 3\), needed: \(2, 3\), and 1 more",
        weights=thousand,
    )
    refused(
        "with one or two outputs: fc.weight is missing, and 3 more", weights=saved(tmp_path, nn.Conv2d(1, 1, 1), "bare")
    )
    torch.save({"fc.weight": torch.ones(2, 3), "fc.bias": torch.tensor([1, torch.nan])}, tmp_path / "nan.pth")
    refused("nan.pth holds NaN or infinite numbers in fc.bias", weights=tmp_path / "nan.pth")
    torch.save({"state_dict": Tiny(2).state_dict(), "args": SimpleNamespace(lr=1)}, tmp_path / "code.pth")
    refused("code.pth holds more than weights", weights=tmp_path / "code.pth")
    cut(fits)
    refused("mine.safetensors is no .safetensors file, or a damaged one", weights=fits)
    monkeypatch.setitem(sys.modules, "timm", None)
    refused(r"timm:tiny needs timm \(.*\); pip install cldf-core\[timm\]", weights=thousand)


@pytest.mark.parametrize(("name", "outputs"), [("resnet18", 2), ("vit_tiny_patch16_224", 1)])
def test_real_networks_of_timm(name, outputs, images, tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed; pip install -e .[timm]")
    network = timm.create_model(name, num_classes=outputs).eval()
    got = score_foreign(images[:2], load_foreign(f"timm:{name}", weights=saved(tmp_path, network, "safetensors")))
    want = []
    for path in images[:2]:
        config = timm.data.resolve_data_config({}, model=network)
        pixels = timm.data.create_transform(**config)(Image.open(path).convert("RGB"))
        with torch.no_grad():
            logits = network(pixels[None])[0].double()
        want.append(float(torch.sigmoid(logits[-1] - (logits[0] if outputs == 2 else 0))))
    np.testing.assert_allclose(got["probability"], want, atol=1e-5)
    assert "input_size (3, 224, 224)" in load_foreign(f"timm:{name}", weights=tmp_path / "mine.safetensors").notes[1]
