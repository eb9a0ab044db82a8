"""The original code's command lines and checkpoint files: what they ask for is done, or one sentence says why not."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
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
from cldf_core.cli import main
from cldf_core.evaluation.metrics import detection
from cldf_core.options import Options, UserError, checked
from cldf_core.original import commands, flags
from cldf_core.resnet import Network, build_network
from cldf_core.runs import run as run_module
from cldf_core.runs.checkpoints import load_network, read_original_checkpoint, write_original_checkpoint
from cldf_core.runs.folder import RunFolder
from samples import same, texture

# The README's lines, as they stand.
SETS = "--training_set GAN-S VFHQ ForenSynths DeepFake --test_set GAN-S VFHQ-F ForenSynths DeepFake NeuralTextures "
ICARL = SETS + "--continual_learning CL --cl_type ni --agent ICARL --retrieve random --update random --mem_size 5000 "
GDUMB = SETS + (
    "--continual_learning CL --cl_type=ni --agent GDUMB --mem_size 3000 --mem_epoch 10 --minlr 0.0005 --clip 10 "
)
LWF = SETS + "--continual_learning CL --cl_type=ni --agent LWF  "
MIR = SETS + ("--continual_learning CL --cl_type=ni --agent ER --retrieve MIR --update random --mem_size 5000")
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


def call(command: str, line: str) -> int:
    return main([command, *shlex.split(line)])


def options(line: str) -> Options:
    return flags.options_of(flags.parse("train", shlex.split(line)))


def the_run(folder: Path) -> RunFolder:
    (path,) = (folder / "runs").iterdir()
    return RunFolder(path)


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
    ("line", "agent", "kind"),
    [
        (ICARL, "icarl", "CL_ICARL"),
        (GDUMB, "gdumb", "CL_GDUMB"),
        (LWF, "lwf", "CL_LWF"),
        (MIR, "mir", "CL_MIR"),
        (SETS + "--continual_learning NoCL", "separate", "NoCL"),
        (SETS + "--continual_learning Normal", "sequential", "Normal"),
    ],
    ids=lambda value: value if len(value) < 12 else "",
)
def test_a_line_of_the_readme_runs_to_its_end(line, agent, kind, here, capsys):
    assert call("train", line + SMALL + (" --mem_epoch 1" if agent == "gdumb" else "")) == 0
    folder = the_run(here)
    assert folder.manifest["status"] == "finished"
    assert folder.manifest["options"]["agent"] == agent
    assert folder.manifest["options"]["size"] == 224
    assert [s["domain"] for s in folder.manifest["steps"] if s["chunk"] == 1] == STREAM
    out, err = capsys.readouterr()
    scores = folder.scores()
    assert scores.groupby("step").size().tolist() == [6 * 5] * 4
    steps = out.split("\nafter step ")[1:]
    assert len(steps) == 4
    for step, text in enumerate(steps, start=1):
        assert text.startswith(f"{step}, trained on {STREAM[step - 1]}:")
        at = scores[scores["step"] == step]
        assert printed(text) == [shares_right(at, name) for name in TESTED]
    names = [f"{kind}_{domain}_fft_0_slim_checkpoint_latest.pth" for domain in STREAM]
    assert sorted(p.name for p in (here / "model").iterdir()) == sorted(names)
    # 12 images in 10 chunks, and a batch of 10: the original code trains on none of them, without a word.
    dropped = "its 10 chunks hold 1 or 2 images, less than a batch of 10, and drop_last drops incomplete batches"
    assert (f"note: VFHQ: {dropped}: no image of it is trained on" in err) == kind.startswith("CL")
    assert folder.manifest["images"] == (0 if kind.startswith("CL") else 4 * 12)


def test_all_trains_the_four_agents_one_after_another(here, capsys):
    assert call("train", "--all --mem_epoch 1 --num_tasks 1" + SMALL) == 0
    out, err = capsys.readouterr()
    ran = [RunFolder(path) for path in (here / "runs").iterdir()]
    assert {f.manifest["options"]["agent"] for f in ran} == {"icarl", "gdumb", "lwf", "mir"}
    assert re.findall(r"^(\w+): cldf train", out, re.M) == ["iCaRL", "GDumb", "LwF", "MIR"]
    for folder in ran:
        # One batch of 10 of the 12 images: of these a network has learnt, so no score is as it was.
        assert folder.manifest["steps"][0]["images"] == 10
        assert folder.manifest["options"]["stream"] == STREAM
        scores = folder.scores()
        assert scores.groupby("image")["score"].nunique().eq(4).all()
    # run_all_train.py tests on VFHQ, of which this data set has no test images.
    assert err.count("note: VFHQ has no test images (folders testA, testB), so it is not tested\n") == 4
    assert {name for name, *_ in printed(out)} == {"GAN-S", "ForenSynths", "DeepFake", "NeuralTextures"}
    assert len(list((here / "model").iterdir())) == 16


def test_all_refuses_a_mistake_for_the_last_agent_before_the_first_is_trained(here, capsys):
    assert call("train", "--all --epochs 0") == 2
    assert capsys.readouterr().err == "cldf: --epochs is '0'; allowed: a whole number from 1 to 10000\n"
    assert call("train", "--all --variant paper") == 2
    assert "--mem_epoch is 10; allowed: a power of two" in capsys.readouterr().err
    assert call("train", "--all --data nowhere") == 2
    assert capsys.readouterr().err.count("there is no such folder") == 1
    assert call("test", "--all") == 2
    assert "--all trains; to test every checkpoint of a folder: --runtestall True" in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_er_and_mir_have_checkpoints_of_their_own(here):
    line = "--training_set GAN-S --test_set GAN-S --agent ER --num_tasks 1" + SMALL
    assert call("train", line) == 0
    assert call("train", line + " --retrieve MIR") == 0
    assert call("train", line + " --mode 2 --model_dir elsewhere/deep") == 0
    assert call("train", line + " --feature image --model_dir elsewhere/deep") == 0
    assert call("train", line + " --variant paper --model_dir elsewhere/deep") == 0
    assert sorted(p.name for p in (here / "model").iterdir()) == [
        "CL_ER_GAN-S_fft_0_slim_checkpoint_latest.pth",
        "CL_MIR_GAN-S_fft_0_slim_checkpoint_latest.pth",
    ]
    assert sorted(p.name for p in (here / "elsewhere" / "deep").iterdir()) == [
        "CL_ER_GAN-S_fft_0_slim_paper_checkpoint_latest.pth",
        "CL_ER_GAN-S_fft_2_slim_checkpoint_latest.pth",
        "CL_ER_GAN-S_image_0_slim_checkpoint_latest.pth",
    ]
    shutil.rmtree(here / "elsewhere")


def test_the_resnet_is_called_as_the_original_calls_it(here, monkeypatch):
    monkeypatch.setattr(models.ResNet34_Weights, "get_state_dict", no_internet)
    # Two images in one chunk are less than a batch: nothing is trained, which takes no time.
    line = "--training_set GAN-S --test_set GAN-S --agent LWF --limit 2 --num_tasks 1 --threads 1"
    assert call("train", line) == 0
    (path,) = (here / "model").iterdir()
    assert path.name == "CL_LWF_GAN-S_fft_0_resnet_checkpoint_latest.pth"
    plain = models.resnet34()
    plain.fc = nn.Linear(512, 2)
    plain.load_state_dict(torch.load(path, weights_only=True)["state_dict"], strict=True)


# --- what flags set ---


def test_the_readmes_lines_are_the_original_codes_settings():
    data = {"data": "data", "stream": STREAM, "unseen": ["VFHQ-F", "NeuralTextures"], "untested": ["VFHQ"]}
    common = {**data, "variant": "original", "device": options("").device}
    gdumb = {"memory": 3000, "memory_epochs": 10, "memory_lr_min": 0.0005, "clip": 10.0}
    assert options(ICARL) == checked({**common, "agent": "icarl", "memory": 5000})
    assert options(GDUMB) == checked({**common, "agent": "gdumb", **gdumb})
    assert options(LWF) == checked({**common, "agent": "lwf"})
    assert options(MIR) == checked({**common, "agent": "mir", "memory": 5000})
    assert options(SETS + "--continual_learning NoCL") == checked({**common, "agent": "separate"})
    assert options(SETS + "--continual_learning Normal") == checked({**common, "agent": "sequential"})
    default = options("")
    assert (default.agent, default.stream, default.unseen, default.untested) == ("er", ["VFHQ"], [], [])
    assert (default.network, default.size, default.plane, default.channels) == ("resnet34", 224, "full", "BGR")
    assert (default.epochs, default.chunks, default.batch, default.lr, default.seed) == (10, 10, 10, 0.01, 0)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("--mem_size 70 --agent GDUMB --learning_rate 0.3 --weight_decay 0.01", {"memory": 70, "memory_lr": 0.3}),
        ("--agent GDUMB --weight_decay 0.01 --mem-epoch 3", {"memory_weight_decay": 0.01, "memory_epochs": 3}),
        ("--retrieve MIR --learning_rate 0.3 --subsample 7 --eps_mem_batch 4", {"virtual_lr": 0.3, "candidates": 7}),
        ("--eps-mem-batch 4 --seed 5 --threads 3", {"replay": 4, "seed": 5, "threads": 3}),
        ("--epochs 3 --batch_size 4 --lr 0.5 --wd 0.25", {"epochs": 3, "batch": 4, "lr": 0.5, "weight_decay": 0.25}),
        ("--epoch 3 --batch 4 --optimizer Adam", {"epochs": 3, "batch": 4, "optimiser": "adam"}),
        ("--optimizer SGD --num-tasks 4", {"optimiser": "sgd", "chunks": 4}),
        ("--lr_decay 0.1", {"lr_decay": 0.1, "schedule": "constant"}),
        ("--lr-decay 0.1 --continual_learning NoCL", {"lr_decay": 0.1, "schedule": "restarted"}),
        ("--val_size 0.1", {"validation_share": 0.1, "splits": ["validation", "test"]}),
        ("--val-size 0", {"validation_share": 0.0, "splits": ["test"]}),
        ("--ns_type blur --ns_factor 0.5 1 2", {"corruption": "blur", "severities": [0.5, 1.0, 2.0], "chunks": 3}),
        ("--ns-factor 0 0.4", {"corruption": "noise", "severities": [0.0, 0.4], "chunks": 2}),
        ("--ns-factor 0.4", {"corruption": "noise", "severities": [0.4], "chunks": 10}),
        ("--ns_factor 0 1 2 --num_tasks 6", {"severities": [0.0, 1.0, 2.0], "chunks": 6}),
        ("--ns_type occlusion --ns_factor 1 --continual_learning Normal", {"corruption": "occlusion", "chunks": 1}),
        ("--mode 0", {"band": "full"}),
        ("--mode 1", {"band": "low"}),
        ("--mode=2", {"band": "mid"}),
        ("--mode 3 --feature fft", {"band": "high", "feature": "spectrum"}),
        ("--feature image", {"feature": "image"}),
        ("--jpg_level 70 --resize-size 120", {"test_jpeg": 70, "test_resize": 120}),
        ("--model resnet", {"network": "resnet34"}),
        ("--model resnet18 --weights some/file.pth", {"network": "resnet18", "weights": "some/file.pth"}),
        ("--model slim --limit 100", {"network": "slim", "limit": 50}),
        ("--dataroot ./elsewhere", {"data": "./elsewhere"}),
        ("--training-set A B --test-set B C", {"stream": ["A", "B"], "unseen": ["C"], "untested": ["A"]}),
        ("--no-cuda", {"device": "cpu"}),
        (
            "--variant paper --agent ICARL",
            {"icarl_heads": "grown", "size": 224, "network": "resnet34", "crop": "centre"},
        ),
        ("--cl-type ni --labels_trick False --kd-trick False", {"agent": "er"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_flag_sets_what_it_says(line, wanted):
    found = options(line).model_dump()
    assert {name: found[name] for name in wanted} == wanted


def test_a_gpu_is_taken_where_there_is_one_unless_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert options("").device == "cuda"
    assert options("--no_cuda").device == "cpu"


def test_every_flag_has_both_spellings():
    actions = {action.dest: action.option_strings for action in flags._parser("train")._actions}
    for name in (*flags.FLAGS, *flags.TRICKS, *flags.WITHOUT_EFFECT, "training_set", "enable_logging", "runtestall"):
        assert set(actions[name]) == {f"--{name}", "--" + name.replace("_", "-")}, name
    one = flags.parse("train", shlex.split("--mem_size 7 --training_set A B --cl_type=ni --enable_logging True"))
    two = flags.parse("train", shlex.split("--mem-size=7 --training-set A B --cl-type ni --enable-logging"))
    assert vars(one) == vars(two)


@pytest.mark.parametrize(
    ("word", "value"), [("True", True), ("False", False), ("true", True), ("false", False), ("", True)]
)
def test_true_is_true_and_false_is_false(word, value, here, monkeypatch):
    taken = []
    monkeypatch.setattr(commands, "_train", lambda given: taken.append("train") or 0)
    monkeypatch.setattr(commands, "_test", lambda given: taken.append("test") or 0)
    for flag in ("--runtest", "--runtestall"):
        assert call("train", f"{flag} {word}") == 0
        assert taken.pop() == ("test" if value else "train")
    assert flags.parse("train", ["--resume", *word.split()]).resume is value
    assert flags.parse("train", ["--enable-logging", *word.split()]).enable_logging is value


def test_what_changes_nothing_is_said(here, monkeypatch, capsys):
    monkeypatch.setattr(commands, "_train", lambda given: 0)
    line = "--num-workers 4 --store --ns_type blur --agent LWF --retrieve MIR --loadmodel x.pth"
    assert call("train", line) == 0
    assert capsys.readouterr().err.splitlines() == [
        "note: --num_workers changes nothing here",
        "note: --store changes nothing here",
        "note: --loadmodel without --runtest True changes nothing here",
        "note: --retrieve MIR, which is for --agent ER, changes nothing here",
        "note: --ns_type blur without a factor above 0 in --ns_factor changes nothing here",
    ]
    assert call("train", "--agent ER --retrieve MIR --ns_type blur --ns_factor 1") == 0
    assert capsys.readouterr().err == ""


def test_factors_that_no_chunk_sees_are_noted(here, capsys):
    line = "--continual_learning Normal --training_set GAN-S --test_set GAN-S --ns_factor 0 0.5 1 --limit 2"
    assert call("train", line + " --epochs 1 --model slim --threads 1") == 0
    note = "a domain is seen in 1 chunks, so the last 2 of --ns_factor are not used"
    assert f"note: {note}\n" in capsys.readouterr().err
    assert the_run(here).manifest["notes"] == [note]


def test_validation_images_are_scored_and_test_images_printed(here, capsys):
    line = "--training_set GAN-S --test_set GAN-S DeepFake --continual_learning Normal --val_size 0.3"
    assert call("train", line + SMALL) == 0
    scores = the_run(here).scores()
    test = scores[scores["split"] == "test"]
    assert printed(capsys.readouterr().out) == [shares_right(test, name) for name in ("GAN-S", "DeepFake")]
    validation = scores.loc[scores["split"] == "validation", ["domain", "image"]]
    # Of the 4 names image00 to image03 one is drawn, with its real and fake images in trainA and perhaps trainB.
    assert len(set(validation["image"].map(lambda name: Path(name).stem))) == 1
    assert validation["image"].str.match(r"(real|fake)/GAN-S/train[AB]/").all()
    assert len(validation) in (2, 4)
    assert the_run(here).manifest["images"] == 12 - len(validation)


# --- refusals ---


@pytest.mark.parametrize(
    ("command", "line", "sentence"),
    [
        ("train", "--cl_type nc", "--cl_type is 'nc', but two classes, real and fake, cannot arrive class by class"),
        ("train", "--cl-type=xy", "--cl_type is 'xy'; allowed: ni"),
        *[
            ("train", f"--agent {name}", f"--agent is '{name}', which is not here; allowed: ICARL, GDUMB, LWF, ER")
            for name in ("EWC", "AGEM", "ASER", "CNDPM", "SCR", "Foo")
        ],
        ("train", "--update GSS", "--update is 'GSS', which is not here; allowed: random"),
        ("train", "--retrieve match", "--retrieve is 'match', which is not here; allowed: random, MIR"),
        ("train", "--continual_learning XL", "--continual_learning is 'XL', which is not here; allowed: CL, NoCL"),
        *[
            ("train", f"--{trick} True", f"--{trick} is not here, nor are the original code's other tricks; here are")
            for trick in (
                *("labels_trick", "separated_softmax", "kd_trick", "kd_trick_star", "review_trick", "ncm_trick"),
            )
        ],
        ("train", "--mem-sise 3", "there is no flag '--mem-sise'; did you mean --mem_size? There are: "),
        ("test", "--loadmodle x", "there is no flag '--loadmodle'; did you mean --loadmodel? There are: "),
        ("train", "--xyzzy", "there is no flag '--xyzzy'; There are: --help, --training_set, --test_set"),
        ("train", "GAN-S", "'GAN-S' follows no flag; There are: "),
        ("train", "--runtest maybe", "--runtest is 'maybe'; allowed: True or False"),
        ("train", "--training_set", "--training_set expected at least one argument"),
        ("train", "--training_set A A", "--training_set names A twice; allowed: each name once"),
        ("train", "--mem_size many", "--mem_size is 'many'; allowed: a whole number from 1 to 10000000"),
        ("train", "--mem_size 0", "--mem_size is '0'; allowed: a whole number from 1"),
        ("train", "--epochs 1.5", "--epochs is '1.5'; allowed: a whole number"),
        ("train", "--lr nan", "--lr is 'nan'; allowed: a number above 0 to 10"),
        ("train", "--lr_decay 1", "--lr_decay is '1'; allowed: a number from 0 and below 1"),
        ("train", "--mode 4", "--mode is '4'; allowed: 0, 1, 2, 3"),
        ("test", "--mode -1", "--mode is '-1'; allowed: 0, 1, 2, 3"),
        ("train", "--feature comatrix", "--feature is 'comatrix'; allowed: fft, image"),
        ("train", "--model densenet", "--model is 'densenet'; allowed: resnet, slim, resnet18, resnet50"),
        ("train", "--optimizer RMSprop", "--optimizer is 'RMSprop'; allowed: adam, sgd"),
        ("train", "--ns_type fog", "--ns_type is 'fog'; allowed: none, noise, blur, occlusion"),
        ("train", "--ns_factor 1 x", "--ns_factor is 'x'; allowed: a list of numbers from 0 up"),
        ("train", "--ns_factor 1 -2", "--ns_factor is [1.0, -2.0]; allowed: a list of numbers from 0 up"),
        ("train", "--jpg_level 101", "--jpg_level is '101'; allowed: a whole number from 1 to 100"),
        ("train", "--num_runs 0", "--num_runs is 0; allowed: a whole number from 1"),
        ("train", "--num_runs two", "--num_runs is 'two'; allowed: a whole number"),
        ("train", "--limit 3", "--limit is 3; allowed: an even number from 2, half of it real, half fake"),
        ("train", "--agent ICARL --mem_size 1", "--mem_size is 1; allowed for iCaRL: at least one image for each"),
        (
            "train",
            "--agent GDUMB --minlr 0.2",
            "--minlr is 0.2; allowed: at most --learning_rate, which is 0.1",
        ),
        ("train", "--model slim --weights imagenet", "--weights is 'imagenet'; allowed for the slim network: nothing"),
        ("train", "--data nowhere", "data is 'nowhere': there is no such folder"),
        (
            "train",
            "--training_set GAN-S Nowhere --model slim",
            "there is no domain 'Nowhere' in {data}; allowed: DeepFake, ForenSynths, GAN-S, NeuralTextures, VFHQ, "
            "VFHQ-F",
        ),
        ("train", "--training_set VFHQ --test_set GANS", "there is no domain 'GANS' in {data}; allowed: DeepFake"),
        (
            "train",
            "--training_set GAN-S VFHQ-F --test_set GAN-S",
            "VFHQ-F in {data} has no training images (folders trainA, trainB), so it cannot train",
        ),
        ("train", "--training_set VFHQ", "there are no test images (folders testA, testB) of VFHQ in {data}"),
        ("train", "--training_set GAN-S --test_set GAN-S --model_dir data/real/GAN-S/trainA/image00.jpg", "is a file"),
        ("test", "", "no checkpoint is named; needed: --loadmodel FILE, or --runtestall True with --model_dir FOLDER"),
        ("test", "--loadmodel no/such.pth --test_set GAN-S", "there is no checkpoint no/such.pth; in its folder: no"),
        ("test", "--runtestall True --model_dir data", "data holds no .pth file; needed: --loadmodel FILE"),
        ("train", "--runtest True --loadmodel no/such.pth --test_set Nowhere", "there is no domain 'Nowhere'"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("--") else "",
)
def test_a_mistake_is_told_in_a_sentence_and_nothing_is_written(command, line, sentence, here, capsys, monkeypatch):
    monkeypatch.setattr(run_module, "make_run", lambda *a, **k: pytest.fail("a run was begun"))
    monkeypatch.setattr("cldf_core.resnet.build_network", lambda *a, **k: pytest.fail("weights were asked for"))
    before = sorted(here.rglob("*"))
    assert call(command, line) == 2
    out, err = capsys.readouterr()
    assert sentence.format(data=here / "data") in err
    assert err.startswith("cldf: ")
    assert err.count("\n") == 1
    assert out == ""
    assert sorted(here.rglob("*")) == before


def test_the_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as left:
        call("train", "--help")
    assert left.value.code == 0
    text = capsys.readouterr().out
    for name in (*flags.FLAGS, "training_set", "runtestall", "all", "limit", "num_runs"):
        assert f"--{name}" in text


# --- a run that was killed, and several runs ---

KILLED = """
    import os, signal, sys
    from cldf_core.agents import AGENTS
    from cldf_core.cli import main
from cldf_core.evaluation.metrics import detection
    observe, calls = AGENTS["er"].observe, []
    def observed(self, batch):
        calls.append(batch)
        if len(calls) == 4:  # in the middle of the second domain
            os.kill(os.getpid(), signal.SIGKILL)
        return observe(self, batch)
    AGENTS["er"].observe = observed
    main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_training_goes_on_to_the_same_numbers(here, capsys, tmp_path):
    # 12 images a domain, and batches of 6: 2 updates a domain.
    line = "--training_set GAN-S DeepFake --test_set GAN-S --agent ER --num_tasks 1 --batch_size 6 "
    line += "--mem_size 8 --limit 12 --epochs 1 --model slim --threads 1 --resume"
    assert call("train", line + " --model_dir " + str(tmp_path / "alone")) == 0
    alone, folder = capsys.readouterr().out, the_run(here)
    scores = (folder.path / "scores.parquet").read_bytes()
    shutil.rmtree(here / "runs")
    command = [sys.executable, "-c", textwrap.dedent(KILLED), "train", *shlex.split(line)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert the_run(here).path == folder.path
    assert not folder.finished
    assert [s["domain"] for s in folder.manifest["steps"]] == ["GAN-S"]
    assert not (here / "model").exists()
    assert call("train", line) == 0
    resumed = capsys.readouterr().out
    assert "seed 0, resumed 1 times: " in resumed
    assert printed(resumed) == printed(alone)
    assert (folder.path / "scores.parquet").read_bytes() == scores
    for path in (here / "model").iterdir():
        content = torch.load(path, weights_only=True)
        assert same(content, torch.load(tmp_path / "alone" / path.name, weights_only=True))


def test_several_runs_are_independent_and_give_mean_and_interval(here, capsys, monkeypatch):
    line = "--training_set GAN-S --test_set GAN-S DeepFake --agent ER --num_tasks 1" + SMALL
    assert call("train", line + " --num_runs 3 --seed 4") == 0
    out = capsys.readouterr().out
    runs = {f.manifest["options"]["seed"]: f for f in map(RunFolder, (here / "runs").iterdir())}
    assert sorted(runs) == [4, 5, 6]
    assert [f"_seed{n}_checkpoint" in name for n, name in zip((4, 5, 6), checkpoints(here), strict=True)] == [True] * 3
    assert "3 runs, after the last step: mean accuracy and 95 % t interval\n" in out
    for name in ("GAN-S", "DeepFake"):
        values = []
        for folder in runs.values():
            cell = folder.scores().query("domain == @name")
            values.append(((cell["score"] >= 0.5) == (cell["label"] == 1)).mean())
        mean = np.mean(values)
        half = scipy.stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / 3**0.5
        found = re.search(rf"Test set: {name} - accuracy (\S+) \[(\S+), (\S+)\]", out)
        assert found
        np.testing.assert_allclose([float(x) for x in found.groups()], [mean, mean - half, mean + half], atol=6e-5)
    # The second run knows nothing of the first: it is the run that has this seed and no other.
    scores = (runs[5].path / "scores.parquet").read_bytes()
    assert scores != (runs[4].path / "scores.parquet").read_bytes()
    shutil.rmtree(here / "runs")
    assert call("train", line + " --seed 5") == 0
    assert (the_run(here).path / "scores.parquet").read_bytes() == scores


def checkpoints(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "model").iterdir())


# --- ImageNet's weights ---


def no_internet(self: Any, *args: Any, **kwargs: Any) -> None:
    raise URLError("Name or service not known")


ONE = "--training_set GAN-S --test_set GAN-S --agent LWF --limit 2 --num_tasks 1 --threads 1 --model resnet18"


def test_without_imagenet_weights_training_starts_from_scratch_and_says_so(here, capsys, monkeypatch):
    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", no_internet)
    for _ in range(2):  # the second time the run is read
        assert call("train", ONE) == 0
        err = capsys.readouterr().err
        assert (
            "note: torchvision could not get the ImageNet weights: <urlopen error Name or service not known>\n" in err
        )
        assert f"note: {commands.FROM_SCRATCH}\n" in err
        manifest = the_run(here).manifest
        assert manifest["options"]["weights"] is None
        assert manifest["notes"].count(commands.FROM_SCRATCH) == 1
    # What a run itself notes stays.
    assert any("no image of it is trained on" in note for note in manifest["notes"])
    assert call("train", ONE + " --model slim --num_runs 1 --seed 1") == 0
    assert commands.FROM_SCRATCH not in capsys.readouterr().err


def test_imagenet_weights_are_what_training_starts_from_in_the_original_order(here, capsys, monkeypatch):
    state = models.resnet18().state_dict()
    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", lambda self, *a, **k: dict(state))
    assert call("train", ONE) == 0
    manifest = the_run(here).manifest
    assert manifest["options"]["weights"] == "imagenet"
    assert commands.FROM_SCRATCH not in manifest["notes"]
    assert "ImageNet" not in capsys.readouterr().err
    # Nothing was trained: the original code's file holds ImageNet's weights as they are, though it feeds them BGR.
    (path,) = (here / "model").iterdir()
    written = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(written[k], v) for k, v in state.items() if not k.startswith("fc."))
    ours = load_network(the_run(here).path / "model-step1.safetensors")[0]
    assert torch.equal(ours.body.get_parameter("conv1.weight"), state["conv1.weight"].flip(1))


@pytest.mark.parametrize("line", [ONE, ONE + " --variant paper"])
def test_weights_that_were_asked_for_have_to_be_there(line, here, capsys, monkeypatch):
    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", no_internet)
    monkeypatch.setattr(run_module, "make_run", lambda *a, **k: pytest.fail("a run was begun"))
    (here / "text.pth").write_text("no weights")
    torch.save({"state_dict": build_network("slim").state_dict()}, here / "other.pth")
    torch.save([1, 2], here / "list.pth")
    try:
        for name, sentence in {
            "imagenet": "--weights is 'imagenet', but torchvision could not get them",
            "no-such-file.pth": "--weights is 'no-such-file.pth': there is no such file; allowed: imagenet, or a file",
            "text.pth": "--weights is 'text.pth', which cannot be read as weights",
            "list.pth": "--weights is 'list.pth', which cannot be read as weights",
            "other.pth": "--weights is 'other.pth', which does not fit resnet18",
        }.items():
            assert call("train", f"{line} --weights {name}") == 2
            out, err = capsys.readouterr()
            assert sentence in err
            assert err.count("\n") == 1
            assert out == ""
    finally:
        for name in ("text", "other", "list"):
            (here / f"{name}.pth").unlink()
    assert not (here / "runs").exists()


# --- TensorBoard ---

LOGGED = "--training_set GAN-S DeepFake --test_set GAN-S DeepFake --agent LWF --num_tasks 1 --epochs 2 --limit 20"
LOGGED += " --model slim --threads 1 --enable-logging"


def test_tensorboard_reads_losses_and_accuracies(here, capsys):
    reason = "pip install tensorboard, to see what is written for it"
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=reason)
    for _ in range(2):  # a second call replaces what the first has written
        assert call("train", LOGGED + " --log-dir logs/deep") == 0
        folder = the_run(here)
        assert f"TensorBoard: {Path('logs/deep') / folder.path.name}\n" in capsys.readouterr().out
        events = accumulator.EventAccumulator(str(here / "logs" / "deep" / folder.path.name))
        events.Reload()
        losses = [loss for step in folder.manifest["steps"] for loss in step["losses"]]
        assert [(e.step, e.value) for e in events.Scalars("loss")] == [
            (n, pytest.approx(loss)) for n, loss in enumerate(losses, start=1)
        ]
        assert len(losses) == 4
        scores = folder.scores()
        for domain in ("GAN-S", "DeepFake"):
            cells = [scores[(scores["domain"] == domain) & (scores["step"] == step)] for step in (1, 2)]
            values = [detection(cell["label"].to_numpy(), cell["score"].to_numpy()) for cell in cells]
            for metric in ("accuracy", "accuracy on real", "AUC"):
                assert [(e.step, e.value) for e in events.Scalars(f"{metric}/{domain}")] == [
                    (step, pytest.approx(of_step[metric])) for step, of_step in enumerate(values, start=1)
                ]
    shutil.rmtree(here / "logs")


def test_without_tensorboard_a_sentence_says_so_before_anything_is_trained(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    assert call("train", LOGGED) == 2
    out, err = capsys.readouterr()
    assert err == "cldf: --enable_logging needs the package tensorboard: pip install tensorboard\n"
    assert out == ""
    assert not (here / "runs").exists()


# --- checkpoint files ---

# Of 50 images: squares, both orientations, just large enough for the crop to fit, and larger.
SIDES = [(256, 256), (300, 256), (256, 400), (512, 300), (257, 280)]


def seeds_logit(net: nn.Module, path: Path) -> float:
    """The logit of fake by the original code's steps, in numpy: methods.md section 2, its labels real = 1, fake = 0."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))[:, :, ::-1]  # as cv2.imread gives it: BGR
    with torch.no_grad():
        out = net(torch.from_numpy(seeds_planes(pixels))[None])[0]
    return float(out[0] - out[1])


def seeds_planes(pixels: np.ndarray) -> np.ndarray:
    if max(pixels.shape[:2]) > 256:
        pixels = pixels[:256, :256]
    pixels = pixels[16:240, 16:240].astype(np.float32) / 255
    planes = []
    for channel in range(3):
        m = np.log(np.abs(np.fft.fft2(pixels[:, :, channel])) + 1e-3)
        low, high = np.percentile(m, 5), np.percentile(m, 95)
        planes.append(np.clip(((m - low) / (high - low) - 0.5) * 2, -1, 1))
    return np.stack(planes).astype(np.float32)


def trained_resnet34(paths: list[Path]) -> nn.Module:
    """A plain ResNet-34, a few steps on the images, real = 1 and fake = 0."""
    torch.manual_seed(0)
    net = models.resnet34()
    net.fc = nn.Linear(512, 2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5  # so that the statistics have settled after so few steps
    planes = []
    for path in paths:
        with Image.open(path) as image:
            planes.append(seeds_planes(np.asarray(image.convert("RGB"))[:, :, ::-1]))
    x = torch.from_numpy(np.stack(planes))
    y = torch.tensor(["/real/" in path.as_posix() for path in paths]).long()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-4)
    for _ in range(3):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    with torch.no_grad():
        for _ in range(2):
            net(x)  # moves the statistics alone
        net.eval()
        fake, real = (net(x[y == label]).mean(0) for label in (0, 1))
        net.fc.bias -= (fake + real) / 2  # so that both verdicts occur, however far three steps have come
    return net


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A root with 50 test images in domain Many, and the original code's checkpoint of a ResNet-34."""
    root = tmp_path_factory.mktemp("trained")
    for number, (kind, period) in enumerate((("real", 0), ("fake", 3))):
        sides = [SIDES[k % len(SIDES)] for k in range(25)]
        write_images(root / "data" / kind / "Many" / "testA", sides, period, seed=number)
    images = [p for kind in ("real", "fake") for p in sorted((root / "data" / kind).rglob("*.*"))[:4]]
    net = trained_resnet34(images)
    (root / "model").mkdir()
    torch.save({"epoch": 10, "state_dict": net.state_dict()}, root / "model" / "Many_fft_0_resnet_checkpoint.pth")
    return root, net


def test_a_checkpoint_of_the_original_code_gives_its_logits_and_verdicts(trained, monkeypatch, capsys, tmp_path):
    root, net = trained
    monkeypatch.chdir(root)
    monkeypatch.setenv("CLDF_ROOT", str(root))
    images = [p for kind in ("real", "fake") for p in sorted((root / "data" / kind).rglob("*.*"))]
    assert len(images) == 50
    assert {p.suffix for p in images} == set(SUFFIXES)
    want = np.array([seeds_logit(net, path) for path in images])
    assert 5 <= (want >= 0).sum() <= 45  # both verdicts occur
    taken = []
    score = protocol.score_samples
    monkeypatch.setattr(protocol, "score_samples", lambda *a: taken.append(score(*a)) or taken[-1])
    line = "--runtest True --loadmodel model/Many_fft_0_resnet_checkpoint.pth --test_set Many --threads 1"
    assert call("train", line) == 0
    np.testing.assert_allclose(taken[0], want, atol=1e-3)
    np.testing.assert_array_equal(taken[0] >= 0, want >= 0)
    right = (want >= 0) == (np.arange(50) >= 25)
    shares = [f"{share.mean():.4f}" for share in (right, right[:25], right[25:])]
    assert printed(capsys.readouterr().out) == [("Many", *shares)]
    # Written and read back it is the same, bit for bit.
    network, opts, _ = read_original_checkpoint(root / "model" / "Many_fft_0_resnet_checkpoint.pth")
    assert (opts.network, opts.size, opts.plane, opts.crop, opts.variant) == (
        *("resnet34", 224, "full", "top-left", "original"),
    )
    write_original_checkpoint(network, opts, tmp_path / "again.pth")
    content = torch.load(tmp_path / "again.pth", weights_only=True)
    assert same(content["state_dict"], dict(net.state_dict()))
    again, read, _ = read_original_checkpoint(tmp_path / "again.pth")
    assert same(dict(again.state_dict()), dict(network.state_dict()))
    assert read == opts


def test_the_original_code_can_load_ours(tmp_path):
    network = moved(build_network("resnet34"), seed=1)
    write_original_checkpoint(network, checked({"variant": "original"}), tmp_path / "ours.pth")
    plain = models.resnet34()
    plain.fc = nn.Linear(512, 2)
    plain.load_state_dict(torch.load(tmp_path / "ours.pth", weights_only=True)["state_dict"], strict=True)
    rgb = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        theirs, ours = plain.eval()(rgb.flip(1)), network(rgb)
    assert theirs.std() > 0.01
    torch.testing.assert_close(theirs.flip(1), ours, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(theirs, ours, atol=1e-3)


def moved(network: Network, seed: int) -> Network:
    """A network whose statistics are no longer those it was made with."""
    torch.manual_seed(seed)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 64))
    return network.eval()


@pytest.mark.parametrize("name", ["slim", "resnet18"])
def test_a_checkpoint_of_any_network_is_read_with_the_options_of_its_run(name, tmp_path):
    opts = checked(
        {"agent": "er", "network": name, "width": 16, "size": 64, "band": "high", "seed": 3, "data": "x", "memory": 7}
    )
    network = moved(build_network(name, width=16), seed=1)
    write_original_checkpoint(network, opts, tmp_path / "ours.pth")
    read, found, _ = read_original_checkpoint(tmp_path / "ours.pth")
    assert same(dict(read.state_dict()), dict(network.state_dict()))
    assert not read.training
    wanted = {"network": name, "size": 64, "band": "high", "plane": "half", "crop": "centre", "seed": 3}
    assert {k: getattr(found, k) for k in wanted} == wanted
    with pytest.raises(UserError, match="this network has 4 outputs; the seed's files hold two"):
        write_original_checkpoint(build_network(name, outputs=4), opts, tmp_path / "four.pth")
    assert [p.name for p in tmp_path.iterdir()] == ["ours.pth"]


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
    }
    for name, content in forms.items():
        torch.save(content, tmp_path / f"{name}.pth")
    torch.save(forms["wrapped"], tmp_path / "old format.pth", _use_new_zipfile_serialization=False)
    for name in (*forms, "old format"):
        network, opts, _ = read_original_checkpoint(tmp_path / f"{name}.pth")
        assert (opts.network, opts.size, opts.plane, opts.precision) == ("resnet18", 224, "full", "float32"), name
        torch.testing.assert_close(
            network.head.weight, state["fc.weight"].flip(0), atol=1e-3 if name == "half" else 0, rtol=0
        )


class Code:
    """Pickled, it is a call that makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
    save("future.pth", {"state_dict": state, "options": '{"colour": "red"}'})
    return folder


FAULTS = {
    "thousand.pth": "has 1000 outputs; needed: 2, real and fake",
    "truncated-new.pth": "is no checkpoint, or a damaged one: torch cannot read it to its end",
    "truncated-old.pth": "is no checkpoint, or a damaged one",
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
    "future.pth": "there is no option 'colour' (its value is 'red')",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_is_no_checkpoint_is_told_in_a_sentence(name, faulty):
    with pytest.raises(UserError) as told:
        read_original_checkpoint(faulty / name)
    text = str(told.value)
    assert text.startswith(f"{faulty / name}")
    assert FAULTS[name].format(mkdir=f"{os.mkdir.__module__}.mkdir") in text
    assert "\n" not in text
    assert "weights_only" not in text  # torch's advice to switch it off
    assert not (faulty / "pwned").exists()


def test_a_missing_file_lists_what_its_folder_holds(faulty, here, capsys):
    names = ", ".join(sorted(FAULTS))
    with pytest.raises(
        UserError, match=re.escape(f"there is no checkpoint {faulty / 'x.pth'}; in its folder: {names}")
    ):
        read_original_checkpoint(faulty / "x.pth")
    assert call("test", f"--loadmodel '{faulty / 'text.pth'}' --test_set GAN-S") == 2
    assert "is no checkpoint, or a damaged one" in capsys.readouterr().err


# --- testing checkpoints ---


def plain_resnet34(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = models.resnet34()
    net.fc = nn.Linear(512, 2)
    return net


def test_the_readmes_test_line_runs_on_what_has_test_images(here, capsys):
    (here / "model").mkdir()
    path = here / "model" / "VFHQ-F_fft_0_resnet_checkpoint_latest.pth"
    torch.save({"state_dict": plain_resnet34(0).state_dict()}, path)
    before = path.read_bytes()
    assert call("train", RUNTEST + SMALL) == 0
    out, err = capsys.readouterr()
    assert out.startswith("\nmodel/VFHQ-F_fft_0_resnet_checkpoint_latest.pth\n")
    assert [name for name, *_ in printed(out)] == ["ForenSynths"]
    assert err.splitlines() == [
        "note: VFHQ has no test images (folders testA, testB), so it is not tested",
        "note: the file holds a resnet34, so --model slim is left aside",
    ]
    assert path.read_bytes() == before
    assert [p.name for p in (here / "model").iterdir()] == [path.name]
    assert not (here / "runs").exists()


def test_every_checkpoint_of_a_folder_is_tested_and_one_that_cannot_be_read_left_aside(here, capsys, monkeypatch):
    opts = checked({"variant": "original", "agent": "er", "network": "slim", "data": "elsewhere", "stream": ["gone"]})
    for number in (1, 2):
        network = moved(build_network("slim"), seed=number)
        write_original_checkpoint(network, opts, here / "model" / f"CL_ER_n{number}_fft_0_slim_checkpoint_latest.pth")
    # What a process that was killed while writing leaves behind.
    (here / "model" / ".CL_ER_n3.pth.x1y2.pth").write_bytes(b"half of")
    (here / "model" / "notes.txt").write_text("not asked for")
    line = "--runtestall True --test_set GAN-S DeepFake --threads 1"
    assert call("test", line) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.findall(r"^model/.*", out, re.M) == [f"model/CL_ER_n{n}_fft_0_slim_checkpoint_latest.pth" for n in (1, 2)]
    assert [name for name, *_ in printed(out)] == ["GAN-S", "DeepFake"] * 2
    (here / "model" / "A.pth").write_text("text")
    assert call("train", line) == 1
    out, err = capsys.readouterr()
    assert [name for name, *_ in printed(out)] == ["GAN-S", "DeepFake"] * 2
    assert err == "\nleft aside: model/A.pth is no checkpoint, or a damaged one: torch cannot read it to its end\n"


def test_what_training_printed_a_test_of_its_checkpoint_prints_again(here, capsys):
    line = "--training_set GAN-S --test_set GAN-S DeepFake NeuralTextures --continual_learning Normal --lr 0.05"
    assert call("train", line + SMALL + " --mode 1 --jpg_level 80 --resize_size 200") == 0
    trained = printed(capsys.readouterr().out)
    assert trained == [shares_right(the_run(here).scores(), name) for name in ("GAN-S", "DeepFake", "NeuralTextures")]
    path = "model/Normal_GAN-S_fft_1_slim_checkpoint_latest.pth"
    taken = []
    score = protocol.score_samples
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "score_samples", lambda *a: taken.append(score(*a)) or taken[-1])
        assert call("test", f"--loadmodel {path} --test_set GAN-S DeepFake NeuralTextures --threads 1") == 0
        assert printed(capsys.readouterr().out) == trained
        want = the_run(here).scores()["logit"]
        np.testing.assert_allclose(np.concatenate(taken), want, atol=1e-4)
        # The flags of a test change what its images go through.
        taken.clear()
        assert call("test", f"--loadmodel {path} --test_set GAN-S --jpg_level 10 --threads 1") == 0
        assert np.abs(taken[0] - want[:6]).max() > 1e-3
        assert call("test", f"--loadmodel {path} --test_set GAN-S --mode 3 --threads 1") == 0
        assert np.abs(taken[1] - taken[0]).max() > 1e-3


# --- data sets as they come ---


def test_thirteen_images_in_ten_chunks_train_nothing_and_the_run_goes_on(here, tmp_path, capsys):
    write_domain(tmp_path, "Odd", 0, trainA=7, testA=2)
    (tmp_path / "fake" / "Odd" / "trainA" / "image06.jpg").unlink()
    line = f"--data {tmp_path} --training_set Odd --test_set Odd --agent LWF --model slim --epochs 1 --threads 1"
    assert call("train", line) == 0
    out, err = capsys.readouterr()
    assert len(printed(out)) == 1
    assert "note: Odd: its 10 chunks hold 1 or 2 images, less than a batch of 10, and drop_last drops" in err
    assert "no image of it is trained on" in err
    assert the_run(here).manifest["images"] == 0
    # Fewer images than chunks cannot be cut.
    assert call("train", line + " --limit 8") == 2
    assert "domain 'Odd' has 8 training images; needed: at least 10, one for each chunk" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["--agent ER", "--agent GDUMB --num_tasks 1", "--continual_learning Normal"])
def test_eighty_images_of_all_sizes_and_a_domain_of_one_class_run(line, here, mixed, capsys):
    line += f" --data {mixed} --training_set Mixed Fakes --test_set Mixed Fakes --mem_epoch 1"
    assert call("train", line + SMALL) == 0
    out, err = capsys.readouterr()
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


def test_a_checkpoints_test_says_what_it_could_not_use(here, mixed, capsys):
    opts = checked({"variant": "original", "agent": "er", "network": "slim"})
    write_original_checkpoint(moved(build_network("slim"), seed=1), opts, here / "model" / "n.pth")
    assert call("test", f"--data {mixed} --loadmodel model/n.pth --test_set Mixed --threads 1") == 0
    assert "note: Mixed: 8 images rejected, the first is real/Mixed/testA/" in capsys.readouterr().err
