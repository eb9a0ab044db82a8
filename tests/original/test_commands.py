"""The original code's command lines and checkpoint files: what they ask for is done, or one sentence says why not."""

import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from PIL import Image
from torch import nn
from torchvision import models

from cldf_core import protocol
from cldf_core.agents import AGENTS
from cldf_core.cli import main
from cldf_core.detection.pth import ASSUMED, read_checkpoint
from cldf_core.evaluation.metrics import detection
from cldf_core.options import checked
from cldf_core.original import commands
from cldf_core.original.pth import write_checkpoint
from cldf_core.resnet import build_network
from cldf_core.runs import run as run_module
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.folder import RunFolder
from samples import README, moved, picture, same, texture

RUNTEST = "--runtest True --loadmodel './model/VFHQ-F_fft_0_resnet_checkpoint_latest.pth' --test_set VFHQ ForenSynths"
SMALL = " --limit 100 --epochs 1 --model slim --threads 1"

STREAM = ["GAN-S", "VFHQ", "ForenSynths", "DeepFake"]
TESTED = ["GAN-S", "VFHQ-F", "ForenSynths", "DeepFake", "NeuralTextures"]
SUFFIXES = (".jpg", ".JPG", ".jpeg", ".png", ".PNG", ".JPEG")


def write_images(folder: Path, sides: list[tuple[int, int]], period: int, seed: int) -> None:
    """Textures of the given heights and widths, in every format in turn."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for k, (height, width) in enumerate(sides):
        pixels = texture(rng, period, -(-max(height, width) // 8) * 8)[:height, :width]
        Image.fromarray(pixels).save(folder / f"image{k:02d}{SUFFIXES[k % len(SUFFIXES)]}")


def write_domain(data: Path, name: str, place: int, **parts: int) -> None:
    """A domain whose parts (trainA, testB, …) hold so many images of each class."""
    sides = [(224, 224), (256, 256), (300, 260), (230, 240)]
    for kind, period in (("real", 0), ("fake", place + 2)):
        for part, count in parts.items():
            chosen = [sides[k % len(sides)] for k in range(count)]
            write_images(data / kind / name / part, chosen, period, place * 10 + len(part))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ in the original layout: VFHQ has no test images, VFHQ-F and NeuralTextures nothing else."""
    folder = tmp_path_factory.mktemp("workplace")
    for place, name in enumerate(("GAN-S", "ForenSynths", "DeepFake")):
        write_domain(folder / "data", name, place, trainA=4, trainB=2, testA=2, testB=1)
    write_domain(folder / "data", "VFHQ", 3, trainA=5, trainB=1)
    write_domain(folder / "data", "VFHQ-F", 3, testA=3)
    write_domain(folder / "data", "NeuralTextures", 4, testA=3)
    return folder


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workplace as working folder and root; spectra stay from test to test, runs and checkpoints do not."""
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("CLDF_ROOT", str(workplace))
    monkeypatch.setenv("CLDF_PROGRESS", "0")
    for name in ("runs", "model", "log"):
        shutil.rmtree(workplace / name, ignore_errors=True)
    return workplace


@pytest.fixture
def call(capsys):
    """Calls a command and gives what it has printed, as out and err."""

    def printed_by(command: str, line: str, status: int = 0) -> Any:
        assert main([command, *shlex.split(line)]) == status
        return capsys.readouterr()

    return printed_by


@pytest.fixture
def logits(monkeypatch) -> list[np.ndarray]:
    """The logits of every set that is scored."""
    scored, score = [], protocol.score_samples
    monkeypatch.setattr(protocol, "score_samples", lambda *a: scored.append(score(*a)) or scored[-1])
    return scored


def the_run(folder: Path) -> RunFolder:
    (path,) = (folder / "runs").iterdir()
    return RunFolder(path)


def checkpoints(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "model").iterdir())


LINE = re.compile(
    r"Test set: (\S+) - accuracy (\S+) \(Accuracy\) - accuracy on real (\S+) \(TPR\) - accuracy on fake (\S+) \(TNR\)"
)


def printed(text: str) -> list[tuple[str, ...]]:
    """Test set, accuracy, on real, on fake, of each printed line."""
    return [found.groups() for found in LINE.finditer(text)]


def shares_right(scores: pd.DataFrame, name: str) -> tuple[str, ...]:
    """What is to be printed for a test set, from its scores."""
    cell = scores[scores["domain"] == name]
    right = (cell["score"] >= 0.5) == (cell["label"] == 1)
    return (name, *(f"{r.mean():.4f}" for r in (right, right[cell["label"] == 0], right[cell["label"] == 1])))


# --- the README's lines ---


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        *(("icarl", "CL_ICARL"), ("gdumb", "CL_GDUMB"), ("lwf", "CL_LWF"), ("mir", "CL_MIR")),
        *(("separate", "NoCL"), ("sequential", "Normal")),
    ],
)
def test_a_line_of_the_readme_runs_to_its_end(agent, kind, here, call):
    out, err = call("train", README[agent] + SMALL + (" --mem_epoch 1" if agent == "gdumb" else ""))
    folder = the_run(here)
    assert folder.manifest["status"] == "finished"
    assert folder.manifest["options"]["agent"] == agent
    assert folder.manifest["options"]["size"] == 224
    assert [s["domain"] for s in folder.manifest["steps"] if s["chunk"] == 1] == STREAM
    scores = folder.scores()
    assert scores.groupby("step").size().tolist() == [6 * 5] * 4
    steps = out.split("\nafter step ")[1:]
    assert len(steps) == 4
    for step, text in enumerate(steps, start=1):
        assert text.startswith(f"{step}, trained on {STREAM[step - 1]}:")
        at = scores[scores["step"] == step]
        assert printed(text) == [shares_right(at, name) for name in TESTED]
    assert checkpoints(here) == sorted(f"{kind}_{domain}_fft_0_slim_checkpoint_latest.pth" for domain in STREAM)
    # 12 images in 10 chunks, and a batch of 10: the original code trains on none of them, without a word.
    dropped = (
        "each of its 10 chunks holds 1 or 2 images, less than a batch of 10, and drop_last drops incomplete batches"
    )
    assert (f"note: VFHQ: {dropped}: no image of it is trained on" in err) == kind.startswith("CL")
    assert folder.manifest["images"] == (0 if kind.startswith("CL") else 4 * 12)


def test_all_trains_the_four_agents_one_after_another(here, call):
    out, err = call("train", "--all --mem_epoch 1 --ns_factor 0" + SMALL)
    ran = [RunFolder(path) for path in (here / "runs").iterdir()]
    assert {f.manifest["options"]["agent"] for f in ran} == {"icarl", "gdumb", "lwf", "mir"}
    assert re.findall(r"^(\w+): cldf train", out, re.M) == ["iCaRL", "GDumb", "LwF", "MIR"]
    for folder in ran:
        # One batch of 10 of the 12 images: of these a network has learned, so no score is as it was.
        assert folder.manifest["steps"][0]["images"] == 10
        assert folder.manifest["options"]["stream"] == STREAM
        scores = folder.scores()
        assert scores.groupby("image")["score"].nunique().eq(4).all()
    # run_all_train.py tests on VFHQ, of which this data set has no test images.
    assert err.count("note: VFHQ has no test images (folders testA, testB), so it is not tested\n") == 4
    assert {name for name, *_ in printed(out)} == {"GAN-S", "ForenSynths", "DeepFake", "NeuralTextures"}
    assert len(list((here / "model").iterdir())) == 16


def test_all_refuses_a_mistake_for_the_last_agent_before_the_first_is_trained(here, call):
    sentence = "cldf: --epochs is '0'; allowed: a whole number from 1 to 10000\n"
    assert call("train", "--all --epochs 0", 2).err == sentence
    assert "--mem_epoch is 10; allowed: a power of two" in call("train", "--all --variant paper", 2).err
    assert call("train", "--all --data nowhere", 2).err.count("there is no such folder") == 1
    assert "--all trains; to test every checkpoint of a folder: --runtestall True" in call("test", "--all", 2).err
    assert not (here / "runs").exists()


def test_what_changes_nothing_is_said(here, monkeypatch, call):
    monkeypatch.setattr(commands, "_train", lambda given: 0)
    line = "--num-workers 4 --store --ns_type blur --continual_learning CL --agent LWF --retrieve MIR --loadmodel x.pth"
    assert call("train", line).err.splitlines() == [
        "note: --num_workers changes nothing here",
        "note: --store changes nothing here",
        "note: --loadmodel without --runtest True changes nothing here",
        "note: --retrieve MIR, which is for --agent ER, changes nothing here",
        "note: --ns_type blur without a factor above 0 in --ns_factor changes nothing here",
    ]
    assert call("train", "--continual_learning CL --agent ER --retrieve MIR --ns_type blur --ns_factor 1").err == ""


def test_factors_that_no_chunk_sees_are_noted(here, call):
    line = "--variant paper --continual_learning Normal --training_set GAN-S --test_set GAN-S --ns_factor 0 0.5 1"
    line += " --files original"
    err = call("train", line + " --limit 2 --epochs 1 --model slim --threads 1").err
    note = "a domain is seen in 1 chunks, so the last 2 of --ns_factor are not used"
    assert f"note: {note}\n" in err
    assert the_run(here).manifest["notes"] == [note]


def test_validation_images_are_scored_and_test_images_printed(here, call):
    line = "--training_set GAN-S --test_set GAN-S DeepFake --continual_learning Normal --val_size 0.3 --variant paper"
    out = call("train", line + SMALL).out
    scores = the_run(here).scores()
    test = scores[scores["split"] == "test"]
    assert printed(out) == [shares_right(test, name) for name in ("GAN-S", "DeepFake")]
    validation = scores.loc[scores["split"] == "validation", ["domain", "image"]]
    # Of the 4 names image00 to image03 one is drawn, with its real and fake images in trainA and perhaps trainB.
    assert len(set(validation["image"].map(lambda name: Path(name).stem))) == 1
    assert validation["image"].str.match(r"(real|fake)/GAN-S/train[AB]/").all()
    assert len(validation) in (2, 4)
    assert the_run(here).manifest["images"] == 12 - len(validation)


# --- refusals ---

NAMES = "DeepFake, ForenSynths, GAN-S, NeuralTextures, VFHQ, VFHQ-F"
UNTRAINED = "has no training images (folders trainA, trainB), so it cannot train"


@pytest.mark.parametrize(
    ("command", "line", "sentence"),
    [
        ("train", "--data nowhere", "data is 'nowhere': there is no such folder"),
        ("train", "--training_set GAN-S Nowhere --model slim", f"no domain 'Nowhere' in {{data}}; allowed: {NAMES}\n"),
        ("train", "--training_set VFHQ --test_set GANS", "there is no domain 'GANS' in {data}; allowed: DeepFake"),
        ("train", "--training_set GAN-S VFHQ-F --test_set GAN-S", f"VFHQ-F in {{data}} {UNTRAINED}"),
        ("train", "--training_set VFHQ", "there are no test images (folders testA, testB) of VFHQ in {data}"),
        ("train", "--training_set GAN-S --test_set GAN-S --model_dir data/real/GAN-S/trainA/image00.jpg", "is a file"),
        ("test", "", "no checkpoint is named; needed: --loadmodel FILE, or --runtestall True with --model_dir FOLDER"),
        ("test", "--loadmodel no/such.pth --test_set GAN-S", "there is no checkpoint no/such.pth; in its folder: no"),
        ("test", "--runtestall True --model_dir data", "data holds no .pth file; needed: --loadmodel FILE"),
        ("train", "--runtest True --loadmodel no/such.pth --test_set Nowhere", "there is no domain 'Nowhere'"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("--") else "",
)
def test_a_mistake_is_told_in_a_sentence_and_nothing_is_written(command, line, sentence, here, call, monkeypatch):
    monkeypatch.setattr(run_module, "make_run", lambda *a, **k: pytest.fail("a run was begun"))
    monkeypatch.setattr("cldf_core.resnet.build_network", lambda *a, **k: pytest.fail("weights were asked for"))
    before = sorted(here.rglob("*"))
    out, err = call(command, line, 2)
    assert sentence.format(data=here / "data") in err
    assert err.startswith("cldf: ")
    assert err.count("\n") == 1
    assert out == ""
    assert sorted(here.rglob("*")) == before


# --- a run that was interrupted, and several runs ---


def test_an_interrupted_training_goes_on_to_the_same_numbers(here, call, tmp_path, monkeypatch):
    # 12 images a domain, and batches of 6: 2 updates a domain.
    line = "--training_set GAN-S DeepFake --test_set GAN-S --continual_learning CL --agent ER "
    line += "--ns_factor 0 --batch_size 6 --mem_size 8 --limit 12 --epochs 1 --model slim --threads 1 --resume"
    alone = call("train", line + " --model_dir " + str(tmp_path / "alone")).out
    folder = the_run(here)
    scores = (folder.path / "scores.parquet").read_bytes()
    shutil.rmtree(here / "runs")
    observe, calls = AGENTS["er"].observe, []

    def observed(agent, batch):
        calls.append(batch)
        if len(calls) == 4:  # in the middle of the second domain
            raise KeyboardInterrupt
        return observe(agent, batch)

    with monkeypatch.context() as patch:
        patch.setattr(AGENTS["er"], "observe", observed)
        assert "the same command goes on from there" in call("train", line, 130).err
    assert the_run(here).path == folder.path
    assert not folder.finished
    assert [s["domain"] for s in folder.manifest["steps"]] == ["GAN-S"]
    assert not (here / "model").exists()
    resumed = call("train", line).out
    assert "seed 0, resumed: 1: " in resumed
    assert printed(resumed) == printed(alone)
    assert (folder.path / "scores.parquet").read_bytes() == scores
    for path in (here / "model").iterdir():
        content = torch.load(path, weights_only=True)
        assert same(content, torch.load(tmp_path / "alone" / path.name, weights_only=True))


def test_several_runs_are_independent_and_give_mean_and_interval(here, call, monkeypatch):
    line = "--training_set GAN-S --test_set GAN-S DeepFake --continual_learning CL --ns_factor 0" + SMALL
    out = call("train", line + " --num_runs 3 --seed 4").out
    runs = {f.manifest["options"]["seed"]: f for f in map(RunFolder, (here / "runs").iterdir())}
    assert sorted(runs) == [4, 5, 6]
    assert [re.findall(r"_seed(\d)_checkpoint", name) for name in checkpoints(here)] == [["4"], ["5"], ["6"]]
    assert "3 runs, after the last step: mean accuracy and 95 % t interval\n" in out
    for name in ("GAN-S", "DeepFake"):
        values = []
        for folder in runs.values():
            cell = folder.scores().query("domain == @name")
            values.append(((cell["score"] >= 0.5) == (cell["label"] == 1)).mean())
        mean = np.mean(values)
        half = scipy.stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / 3**0.5
        found = re.search(rf"Test set: {name} - accuracy (\S+) (?:\[(\S+), (\S+)\]|\(no interval\))", out)
        assert found
        expected = [mean, mean - half, mean + half] if half else [mean]  # runs that tie have no t interval
        np.testing.assert_allclose([float(x) for x in found.groups() if x], expected, atol=6e-5)
    # The second run knows nothing of the first: it is the run that has this seed and no other.
    scores = (runs[5].path / "scores.parquet").read_bytes()
    assert scores != (runs[4].path / "scores.parquet").read_bytes()
    shutil.rmtree(here / "runs")
    call("train", line + " --seed 5")
    assert (the_run(here).path / "scores.parquet").read_bytes() == scores


# --- ImageNet's weights ---


def no_internet(self: Any, *args: Any, **kwargs: Any) -> None:
    raise URLError("Name or service not known")


ONE = "--training_set GAN-S --test_set GAN-S --continual_learning CL --agent LWF --limit 2 --ns_factor 0 --threads 1"
ONE += " --model resnet18"


def test_without_imagenet_weights_training_starts_from_scratch_and_says_so(here, call, monkeypatch):
    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", no_internet)
    for _ in range(2):  # the second time the run is read
        err = call("train", ONE).err
        reason = "<urlopen error Name or service not known>"
        assert f"note: torchvision could not get the ImageNet weights: {reason}\n" in err
        assert f"note: {commands.FROM_SCRATCH}\n" in err
        manifest = the_run(here).manifest
        assert manifest["options"]["weights"] is None
        assert manifest["notes"].count(commands.FROM_SCRATCH) == 1
    # What a run itself notes stays.
    assert any("no image of it is trained on" in note for note in manifest["notes"])
    assert commands.FROM_SCRATCH not in call("train", ONE + " --model slim --num_runs 1 --seed 1").err


def test_imagenet_weights_are_what_training_starts_from_in_the_original_order(here, call, monkeypatch):
    state = models.resnet18().state_dict()
    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", lambda self, *a, **k: dict(state))
    err = call("train", ONE).err
    manifest = the_run(here).manifest
    assert manifest["options"]["weights"] == "imagenet"
    assert commands.FROM_SCRATCH not in manifest["notes"]
    assert "ImageNet" not in err
    # Nothing was trained: the original code's file holds ImageNet's weights as they are, though it feeds them BGR.
    (path,) = (here / "model").iterdir()
    written = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(written[k], v) for k, v in state.items() if not k.startswith("fc."))
    ours = load_network(the_run(here).path / "model-step1.safetensors")[0]
    assert torch.equal(ours.body.get_parameter("conv1.weight"), state["conv1.weight"].flip(1))


@pytest.mark.parametrize("line", [ONE, ONE + " --variant paper"])
def test_weights_that_were_asked_for_have_to_be_there(line, here, call, monkeypatch, tmp_path):
    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", no_internet)
    monkeypatch.setattr(run_module, "make_run", lambda *a, **k: pytest.fail("a run was begun"))
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"state_dict": build_network("slim").state_dict()}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, sentence in {
        "imagenet": ", but torchvision could not get them",
        "no-such-file.pth": ": there is no such file; allowed: imagenet, or a file",
        "text.pth": ", which cannot be read as weights",
        "list.pth": ", which cannot be read as weights",
        "other.pth": ", which does not fit resnet18",
    }.items():
        weights = str(tmp_path / name) if "." in name else name
        out, err = call("train", f"{line} --weights {weights}", 2)
        assert f"--weights is {weights!r}{sentence}" in err
        assert err.count("\n") == 1
        assert out == ""
    assert not (here / "runs").exists()


# --- checkpoints that are there ---

FEW = (
    "--training_set GAN-S DeepFake --test_set GAN-S --limit 4 --epochs 1 --model slim --threads 1 --continual_learning "
)


def put_checkpoint(path: Path, network: str = "slim") -> bytes:
    """Writes a checkpoint of an untrained network."""
    write_checkpoint(moved(build_network(network), seed=1), checked({"variant": "original", "network": network}), path)
    return path.read_bytes()


@pytest.mark.parametrize("mode", ["NoCL", "Normal"])
def test_a_domain_whose_checkpoint_is_there_is_left_out_and_normal_goes_on_from_it(mode, here, call):
    there, new = (here / "model" / f"{mode}_{name}_fft_0_slim_checkpoint_latest.pth" for name in ("GAN-S", "DeepFake"))
    before = put_checkpoint(there)
    line = f"{FEW}{mode} --lr 1e-9"
    out, err = call("train", line)
    left = f"since model/{there.name} is there; --force replaces it"
    assert f"note: GAN-S is left out, as by the original code, {left}\n" in err
    assert re.findall(r"after step 1, trained on (\S+):", out) == ["DeepFake"]
    assert there.read_bytes() == before
    old, found = (torch.load(path, weights_only=True)["state_dict"]["fc.weight"] for path in (there, new))
    assert torch.allclose(old, found, atol=1e-6) == (mode == "Normal")
    # Now nothing is left to be trained, and with --force everything is.
    assert call("train", line).err.count("is left out, as by the original code") == 2
    call("train", line + " --force")
    assert there.read_bytes() != before
    # What a finished run has written is left as it is, and its results are printed again.
    written = there.stat().st_mtime_ns
    assert len(printed(call("train", line).out)) == 2
    assert there.stat().st_mtime_ns == written


def test_several_runs_count_once_each_where_a_checkpoint_parts_their_streams(here, call):
    for seed in (0, 1):
        put_checkpoint(here / "model" / f"NoCL_VFHQ_fft_0_slim_seed{seed}_checkpoint_latest.pth")
    out = call("train", f"{FEW}NoCL --num_runs 2".replace("DeepFake", "VFHQ DeepFake")).out
    assert re.findall(r"trained on (\S+):", out) == ["GAN-S", "DeepFake"] * 2
    assert "2 runs, after the last step" in out


def test_no_checkpoint_is_replaced_without_force(here, call):
    path = here / "model" / "CL_LWF_DeepFake_fft_0_slim_checkpoint_latest.pth"
    path.parent.mkdir()
    path.write_text("downloaded")
    line = FEW + "CL --agent LWF --ns_factor 0"
    sentence = f"cldf: model/{path.name} is there already; --force replaces it, --model_dir FOLDER writes elsewhere\n"
    assert call("train", line, 2) == ("", sentence)
    assert not (here / "runs").exists()
    assert call("train", "--all --ns_factor 0 --epochs 1 --model slim", 2).err.endswith(sentence)
    call("train", line + " --force")
    assert read_checkpoint(path)
    (path.parent / path.name.replace("DeepFake", "GAN-S")).unlink()
    call("train", line)  # a finished run writes what is missing
    path.write_text("downloaded")
    assert call("train", line, 2).err.endswith(sentence)
    assert path.read_text() == "downloaded"


# --- unions, and a domain that comes again ---


def test_a_union_is_one_domain(here, call):
    line = "--training_set GAN-S+VFHQ --test_set GAN-S+DeepFake NeuralTextures --continual_learning Normal --epochs 1"
    out = call("train", line + " --model slim --threads 1").out
    assert the_run(here).manifest["images"] == 2 * 12
    assert checkpoints(here) == ["Normal_GAN-S+VFHQ_fft_0_slim_checkpoint_latest.pth"]
    assert [name for name, *_ in printed(out)] == ["GAN-S+DeepFake", "NeuralTextures"]
    assert the_run(here).scores().groupby("domain").size().to_dict() == {"GAN-S+DeepFake": 12, "NeuralTextures": 6}
    line = f"--loadmodel model/{checkpoints(here)[0]} --threads 1 --test_set GAN-S+DeepFake"
    assert printed(call("test", line).out) == printed(out)[:1]
    assert "there is no domain 'Gone' in" in call("test", line + "+Gone", 2).err


def test_a_domain_that_comes_again_is_trained_again_but_by_nocl_and_normal(here, call):
    line = FEW.replace("DeepFake", "DeepFake GAN-S") + "{} --limit 20 --ns_factor 0"
    out, err = call("train", line.format("CL --agent LWF"))
    assert "names GAN-S twice, so metrics of continual learning, such as forgetting, are not computed" in err
    run = the_run(here)
    assert [(s["step"], s["domain"], s["images"]) for s in run.manifest["steps"]] == [
        *((1, "GAN-S", 10), (2, "DeepFake", 10), (3, "GAN-S", 10))
    ]
    assert re.findall(r"trained on (\S+):", out) == ["GAN-S", "DeepFake", "GAN-S"]
    last = load_network(run.path / "model-step3.safetensors")[0]
    found = read_checkpoint(here / "model" / "CL_LWF_GAN-S_fft_0_slim_checkpoint_latest.pth").network
    assert same(dict(last.state_dict()), dict(found.state_dict()))
    out, err = call("metrics", run.path.name)
    assert f"{run.path.name}: a domain comes twice in its stream, so there are no continual metrics" in err
    assert "accuracy" in out
    assert "forgetting" not in out
    out, err = call("train", line.format("Normal"))
    assert re.findall(r"trained on (\S+):", out) == ["GAN-S", "DeepFake"]
    assert "note: GAN-S is left out, as by the original code, since it was trained before\n" in err
    assert "metrics of continual learning" not in err


# --- TensorBoard ---

LOGGED = "--training_set GAN-S DeepFake --test_set GAN-S DeepFake --continual_learning CL --agent LWF --ns_factor 0"
LOGGED += " --epochs 2 --limit 20 --model slim --threads 1 --enable-logging"


def test_tensorboard_reads_losses_and_accuracies(here, call):
    reason = "pip install tensorboard, to see what is written for it"
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=reason)
    for _ in range(2):  # a second call replaces what the first has written
        out = call("train", LOGGED + " --log-dir log/deep").out
        folder = the_run(here)
        assert f"TensorBoard: {Path('log/deep') / folder.path.name}\n" in out
        events = accumulator.EventAccumulator(str(here / "log" / "deep" / folder.path.name))
        events.Reload()
        losses = [loss for step in folder.manifest["steps"] for loss in step["losses"]]
        assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
        assert [event.value for event in events.Scalars("loss")] == pytest.approx(losses)
        scores = folder.scores()
        for domain in ("GAN-S", "DeepFake"):
            cells = [scores[(scores["domain"] == domain) & (scores["step"] == step)] for step in (1, 2)]
            values = [detection(cell["label"].to_numpy(), cell["score"].to_numpy()) for cell in cells]
            for metric in ("accuracy", "accuracy on real", "AUC"):
                found = events.Scalars(f"{metric}/{domain}")
                assert [event.step for event in found] == [1, 2]
                assert [event.value for event in found] == pytest.approx([of_step[metric] for of_step in values])


def test_tensorboard_files_are_written_while_a_run_trains(here, call, monkeypatch):
    pytest.importorskip("tensorboard", reason="pip install tensorboard, to see what is written for it")
    observe, sizes = AGENTS["lwf"].observe, []

    def observed(agent, batch):
        sizes.append(sum(path.stat().st_size for path in (here / "log").rglob("events.*")))
        return observe(agent, batch)

    monkeypatch.setattr(AGENTS["lwf"], "observe", observed)
    call("train", LOGGED)
    # Before each batch: a loss after each epoch of one batch, and the accuracies before the second domain.
    assert len(sizes) == 4
    assert 0 < sizes[0] < sizes[1] < sizes[2] < sizes[3]
    assert sizes[2] - sizes[1] > 2 * (sizes[3] - sizes[2])


def test_without_tensorboard_a_sentence_says_so_before_anything_is_trained(here, call, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    sentence = "cldf: --enable_logging needs the package tensorboard: pip install tensorboard\n"
    assert call("train", LOGGED, 2) == ("", sentence)
    assert not (here / "runs").exists()


# --- checkpoint files ---

# Of the images: squares, both orientations, just large enough for the crop to fit, and larger.
SIDES = [(256, 256), (300, 256), (256, 400), (512, 300), (257, 280)]


def originals_planes(path: Path) -> np.ndarray:
    """What the original code's network reads of an image, in numpy."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))[:, :, ::-1]  # as cv2.imread gives it: BGR
    if max(pixels.shape[:2]) > 256:
        pixels = pixels[:256, :256]
    pixels = pixels[16:240, 16:240].astype(np.float32) / 255
    planes = []
    for channel in range(3):
        m = np.log(np.abs(np.fft.fft2(pixels[:, :, channel])) + 1e-3)
        low, high = np.percentile(m, 5), np.percentile(m, 95)
        planes.append(np.clip(((m - low) / (high - low) - 0.5) * 2, -1, 1))
    return np.stack(planes).astype(np.float32)


def plain_resnet34(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = models.resnet34()
    net.fc = nn.Linear(512, 2)
    return net


def test_a_checkpoint_of_the_original_code_gives_its_logits_and_verdicts(monkeypatch, call, logits, root):
    monkeypatch.chdir(root)
    for number, (kind, period) in enumerate((("real", 0), ("fake", 3))):
        sides = [SIDES[k % len(SIDES)] for k in range(12)]
        write_images(root / "data" / kind / "Many" / "testA", sides, period, seed=number)
    images = [p for kind in ("real", "fake") for p in sorted((root / "data" / kind).rglob("*.*"))]
    assert {p.suffix for p in images} == set(SUFFIXES)
    planes = torch.from_numpy(np.stack([originals_planes(path) for path in images]))
    net = plain_resnet34(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # so that one look at some images settles the statistics
    with torch.no_grad():
        net(planes[::4])
        outputs = net.eval()(planes)
        net.fc.bias -= outputs.mean(0)  # so that both verdicts occur
        outputs = (outputs - outputs.mean(0)).double().numpy()
    want = outputs[:, 0] - outputs[:, 1]  # the logit of fake: the original has fake = 0 and real = 1
    assert 4 <= (want >= 0).sum() <= 20
    (root / "model").mkdir()
    path = root / "model" / "Many_fft_0_resnet_checkpoint.pth"
    torch.save({"epoch": 10, "state_dict": net.state_dict()}, path)
    out = call("train", f"--runtest True --loadmodel {path} --test_set Many --threads 1").out
    np.testing.assert_allclose(logits[0], want, atol=1e-3)
    np.testing.assert_array_equal(logits[0] >= 0, want >= 0)
    right = (want >= 0) == (np.arange(24) >= 12)
    shares = [f"{share.mean():.4f}" for share in (right, right[:12], right[12:])]
    assert printed(out) == [("Many", *shares)]
    # Written and read back it is the same, bit for bit.
    network, opts, has_options = read_checkpoint(path)
    wanted = {"network": "resnet34", "size": 224, "plane": "full", "crop": "top-left", "variant": "original"}
    assert {name: getattr(opts, name) for name in wanted} == wanted
    assert not has_options
    write_checkpoint(network, opts, root / "again.pth")
    content = torch.load(root / "again.pth", weights_only=True)
    assert same(content["state_dict"], dict(net.state_dict()))
    again, read, has_options = read_checkpoint(root / "again.pth")
    assert same(dict(again.state_dict()), dict(network.state_dict()))
    assert read == opts
    assert has_options


# --- testing checkpoints ---

FILES = "of these 6 test images the original code would read 2; --files original reads these alone"


def test_the_readmes_test_line_runs_on_what_has_test_images(here, call):
    (here / "model").mkdir()
    path = here / "model" / "VFHQ-F_fft_0_resnet_checkpoint_latest.pth"
    torch.save({"state_dict": plain_resnet34(0).state_dict()}, path)
    before = path.read_bytes()
    out, err = call("train", RUNTEST + SMALL)
    assert out.startswith("\nmodel/VFHQ-F_fft_0_resnet_checkpoint_latest.pth\n")
    assert [name for name, *_ in printed(out)] == ["ForenSynths"]
    assert err.splitlines() == [
        f"note: ForenSynths: {FILES}",
        "note: VFHQ has no test images (folders testA, testB), so it is not tested",
        f"note: {ASSUMED}",
        "note: the file holds a resnet34, so --model slim is left aside",
    ]
    assert path.read_bytes() == before
    assert [p.name for p in (here / "model").iterdir()] == [path.name]
    assert not (here / "runs").exists()


def test_every_checkpoint_of_a_folder_is_tested_and_one_that_cannot_be_read_left_aside(here, call, monkeypatch):
    opts = checked({"variant": "original", "agent": "er", "network": "slim", "data": "elsewhere", "stream": ["gone"]})
    for number in (1, 2):
        network = moved(build_network("slim"), seed=number)
        write_checkpoint(network, opts, here / "model" / f"CL_ER_n{number}_fft_0_slim_checkpoint_latest.pth")
    # What a process that was killed while writing leaves behind.
    (here / "model" / ".CL_ER_n3.pth.x1y2.pth").write_bytes(b"half of")
    (here / "model" / "notes.txt").write_text("not asked for")
    line = "--runtestall True --test_set GAN-S DeepFake --threads 1"
    out, err = call("test", line)
    assert err == f"note: GAN-S: {FILES}\nnote: DeepFake: {FILES}\n"
    assert re.findall(r"^model/.*", out, re.M) == [f"model/CL_ER_n{n}_fft_0_slim_checkpoint_latest.pth" for n in (1, 2)]
    assert [name for name, *_ in printed(out)] == ["GAN-S", "DeepFake"] * 2
    (here / "model" / "A.pth").write_text("text")
    out, err = call("train", line, 1)
    assert [name for name, *_ in printed(out)] == ["GAN-S", "DeepFake"] * 2
    assert "\nleft aside: model/A.pth is no checkpoint, or a damaged one: torch cannot read it to its end\n" in err


def test_what_training_printed_a_test_of_its_checkpoint_prints_again(here, call, logits):
    line = "--training_set GAN-S --test_set GAN-S DeepFake NeuralTextures --continual_learning Normal --lr 0.05"
    line += " --variant paper"
    trained = printed(call("train", line + SMALL + " --mode 1 --jpg_level 80 --resize_size 200").out)
    assert trained == [shares_right(the_run(here).scores(), name) for name in ("GAN-S", "DeepFake", "NeuralTextures")]
    logits.clear()
    tested = "--loadmodel model/Normal_GAN-S_fft_1_slim_paper_checkpoint_latest.pth --threads 1 --test_set GAN-S"
    assert printed(call("test", f"{tested} DeepFake NeuralTextures").out) == trained
    want = the_run(here).scores()["logit"]
    np.testing.assert_allclose(np.concatenate(logits), want, atol=1e-4)
    # The flags of a test change what its images go through.
    logits.clear()
    call("test", f"{tested} --variant paper --jpg_level 10")
    call("test", f"{tested} --variant paper --mode 3")
    assert np.abs(logits[0] - want[:6]).max() > 1e-3
    assert np.abs(logits[1] - logits[0]).max() > 1e-3


def test_the_originals_default_checkpoint_and_a_folder_are_understood(here, call):
    put_checkpoint(here / "model" / "NoCL_VFHQ_fft_0_resnet_checkpoint_latest.pth")
    assert call("train", "--runtest True --test_set GAN-S --threads 1").out.startswith(
        "\nmodel/NoCL_VFHQ_fft_0_resnet_"
    )
    err = call("test", "--loadmodel model --test_set GAN-S", 2).err
    assert err == "cldf: model is a folder; needed: a .pth file; in it: NoCL_VFHQ_fft_0_resnet_checkpoint_latest.pth\n"
    err = call("train", "--runtestall True --test_set GAN-S --threads 1").err
    assert err.startswith("note: --runtestall True tests every checkpoint; the original code would train")


# --- data sets as they come ---


def test_images_that_the_original_code_would_not_read_are_counted_and_left_out_if_asked(here, call, tmp_path):
    for kind in ("real", "fake"):
        for part, name in (("testA", "a.jpg"), ("testA", "b.png"), ("testA", "c.JPG"), ("testB", "d.png")):
            picture(tmp_path / kind / "Set" / part / name, side=224)
        picture(tmp_path / kind / "Set" / "testA" / "below" / "e.png", side=224)
        picture(tmp_path / kind / "Set" / "testB" / "f.jpg", side=224)
        picture(tmp_path / kind / "Set" / "trainA" / "g.png", side=224)
    put_checkpoint(here / "model" / "n.pth")
    line = f"--data {tmp_path} --test_set Set --threads 1 --loadmodel model/n.pth"
    # Read are a.jpg, b.png and f.jpg of the reals, b.png and d.png of the fakes.
    note = "note: Set: of these 12 test images the original code would read 5; --files original reads these alone\n"
    assert call("test", line).err == note
    assert call("test", line + " --files original").err == ""
    trained = f"--data {tmp_path} --training_set Set --test_set Set --continual_learning Normal --epochs 1"
    assert note in call("train", trained + " --model slim --threads 1").err
    call("train", trained + " --model slim --threads 1 --files original --model_dir other")
    found = sorted(len(RunFolder(path).scores()) for path in (here / "runs").iterdir())
    assert found == [5, 12]


def test_thirteen_images_in_ten_chunks_train_nothing_and_the_run_goes_on(here, tmp_path, call):
    write_domain(tmp_path, "Odd", 0, trainA=7, testA=2)
    (tmp_path / "fake" / "Odd" / "trainA" / "image06.jpg").unlink()
    line = f"--data {tmp_path} --training_set Odd --test_set Odd --continual_learning CL --agent LWF --model slim"
    line += " --epochs 1 --threads 1"
    out, err = call("train", line)
    assert len(printed(out)) == 1
    assert "note: Odd: each of its 10 chunks holds 1 or 2 images, less than a batch of 10, and drop_last drops" in err
    assert "no image of it is trained on" in err
    assert the_run(here).manifest["images"] == 0
    # Fewer images than chunks cannot be cut.
    err = call("train", line + " --limit 8 --force", 2).err
    assert "domain 'Odd' has 8 training images; needed: at least 10, one for each chunk" in err


@pytest.mark.parametrize("line", ["CL --agent ER", "CL --agent GDUMB --ns_factor 0", "Normal"])
def test_eighty_images_of_all_sizes_and_a_domain_of_one_class_run(line, here, mixed, call):
    line = f"--continual_learning {line} --data {mixed} --training_set Mixed Fakes --test_set Mixed Fakes --mem_epoch 1"
    out, err = call("train", line + SMALL)
    # Of every 6 images 4 are smaller than the crop, but for one that is replaced by a large one.
    aside = 2 * (len([k for k in range(40) if k % 6 not in (2, 4)]) + 4)
    first = f"{aside} images rejected, the first is real/Mixed/testA/image00.jpg"
    assert f"note: Mixed: {first}: too small (100 x 180, needed 224 x 224)\n" in err
    manifest = the_run(here).manifest
    # 26 images a domain can be used: in 10 chunks less than a batch, in one 2 batches of 10, all without batches lost.
    assert err.count("no image of it is trained on") == (2 if "ER" in line else 0)
    first = manifest["steps"][0]["images"]
    assert first == (0 if "ER" in line else 20 if "GDUMB" in line else 26)
    scores = the_run(here).scores()
    assert np.isfinite(scores["logit"]).all()
    after = [printed(text) for text in out.split("\nafter step ")[1:]]
    assert [[name for name, *_ in lines] for lines in after] == [["Mixed", "Fakes"]] * 2
    for lines in after:
        assert lines[1][2] == "–"  # there are no real ones
        assert lines[1][1] == lines[1][3]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 training images a domain of 100 to 3000 pixels, most too small for the crop; one domain has no real ones."""
    folder = tmp_path_factory.mktemp("mixed")
    sides = [(180, 100), (100, 300), (224, 224), (223, 900), (240, 260), (150, 150)]
    for number, (kind, name, count) in enumerate((("real", "Mixed", 40), ("fake", "Mixed", 40), ("fake", "Fakes", 80))):
        chosen = [sides[k % len(sides)] for k in range(count)]
        chosen[2], chosen[4] = (3000, 400), (230, 2000)
        write_images(folder / kind / name / "trainA", chosen, 2 * number, seed=number)
        write_images(folder / kind / name / "testA", sides, 2 * number, seed=9 + number)
    return folder


def test_a_checkpoints_test_says_what_it_could_not_use(here, mixed, call):
    opts = checked({"variant": "original", "agent": "er", "network": "slim"})
    write_checkpoint(moved(build_network("slim"), seed=1), opts, here / "model" / "n.pth")
    err = call("test", f"--data {mixed} --loadmodel model/n.pth --test_set Mixed --threads 1").err
    assert "note: Mixed: 8 images rejected, the first is real/Mixed/testA/" in err
