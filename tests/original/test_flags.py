"""The original code's flags: what each sets, both spellings, and one sentence for what is not here."""

import argparse
import shlex

import pytest
import torch

from cldf_core.cli import main
from cldf_core.options import Options, checked
from cldf_core.original import commands, flags
from samples import README

STREAM = ["GAN-S", "VFHQ", "ForenSynths", "DeepFake"]
PAPER = "--continual_learning CL --variant paper "


@pytest.fixture
def parsed(monkeypatch):
    """Reads a line as `cldf train` does, and stops there."""
    found: list[argparse.Namespace] = []
    for name in ("train", "test"):
        monkeypatch.setattr(commands, name, lambda parsed: found.append(parsed) or 0)

    def parse(line: str, command: str = "train") -> argparse.Namespace:
        assert main([command, *shlex.split(line)]) == 0
        return flags.completed(found.pop())

    return parse


@pytest.fixture
def options(parsed):
    """The options that a line of `cldf train` asks for."""

    def read(line: str) -> Options:
        return flags.options_of(parsed(line))

    return read


def test_the_readmes_lines_are_the_original_codes_settings(options):
    data = {"data": "data", "stream": STREAM, "unseen": ["VFHQ-F", "NeuralTextures"], "untested": ["VFHQ"]}
    common = {**data, "variant": "original", "device": options("").device}
    gdumb = {"memory": 3000, "memory_epochs": 10, "memory_lr_min": 0.0005, "clip": 10.0}
    agents = {"icarl": {"memory": 5000}, "gdumb": gdumb, "lwf": {}, "mir": {"memory": 5000}}
    for agent, changes in {**agents, "separate": {}, "sequential": {}}.items():
        assert options(README[agent]) == checked({**common, "agent": agent, **changes})
    default = options("")
    assert (default.agent, default.stream, default.unseen, default.untested) == ("separate", ["VFHQ"], [], [])
    assert (default.network, default.size, default.plane, default.channels) == ("resnet34", 224, "full", "BGR")
    assert (default.epochs, default.chunks, default.batch, default.lr, default.seed) == (10, 1, 10, 0.01, 0)


def test_all_calls_the_lines_of_run_all_train(options):
    for name, values in commands.RUN_ALL.items():
        found = flags.options_of(flags.completed(argparse.Namespace(), **values))
        # The original's script tests on VFHQ where its README tests on VFHQ-F.
        assert found == options(README[name.lower()].replace("VFHQ-F", "VFHQ"))
        assert found == options(commands._line(values))  # which is printed


UNUSED = "--minlr 0.3 --lr_decay 0.1 --feature image --mode 3 --jpg_level 70 --resize_size 120"
UNUSED += " --epoch 3 --batch 4 --num_tasks 3"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("--agent LWF", {"agent": "separate", "chunks": 1}),
        ("CL --mem_size 70 --agent GDUMB --learning_rate 0.0001", {"memory": 70, "memory_lr": 0.0001}),
        ("CL --agent GDUMB --weight_decay 0.01 --mem-epoch 3", {"memory_weight_decay": 0.01, "memory_epochs": 3}),
        ("CL --agent GDUMB --optimizer Adam --batch_size 20", {"memory_optimiser": "adam", "memory_batch": 20}),
        ("CL --agent GDUMB", {"memory": 5000, "memory_epochs": 70, "memory_batch": 10, "memory_optimiser": "sgd"}),
        ("CL --retrieve MIR --learning_rate 0.3 --subsample 7 --eps_mem_batch 4", {"virtual_lr": 0.3, "candidates": 7}),
        ("CL --eps-mem-batch 4 --seed 5 --threads 3", {"replay": 4, "seed": 5, "threads": 3}),
        ("CL --mem_iters 2", {"replay_updates": 2}),
        ("--epochs 3 --batch_size 4 --lr 0.5 --wd 0.25", {"epochs": 3, "batch": 4, "lr": 0.5, "weight_decay": 0.25}),
        ("--optimizer Adam", {"optimiser": "adam"}),
        (UNUSED, {"epochs": 10, "batch": 10, "lr_decay": 0.0, "band": "full", "chunks": 1, "feature": "spectrum"}),
        ("CL " + UNUSED, {"chunks": 10, "test_jpeg": None, "test_resize": None}),
        ("CL --agent GDUMB " + UNUSED, {"memory_lr": 0.1, "memory_batch": 10}),
        ("PAPER --optimizer SGD --num-tasks 4", {"optimiser": "sgd", "chunks": 4}),
        ("PAPER --lr_decay 0.1", {"lr_decay": 0.1, "schedule": "constant"}),
        ("PAPER --lr-decay 0.1 --continual_learning NoCL", {"lr_decay": 0.1, "schedule": "restarted"}),
        ("PAPER --ns_factor 0 1 2 --num_tasks 6", {"severities": [0.0, 1.0, 2.0], "chunks": 6}),
        *[(f"PAPER --mode{text}", {"band": band}) for text, band in {" 0": "full", " 1": "low", "=2": "mid"}.items()],
        ("PAPER --mode 3 --feature fft", {"band": "high", "feature": "spectrum"}),
        ("PAPER --feature image", {"feature": "image"}),
        ("PAPER --jpg_level 70 --resize-size 120", {"test_jpeg": 70, "test_resize": 120}),
        ("CL --val_size 0.1", {"validation_share": 0.1, "splits": ["validation", "test"]}),
        ("CL --val-size 0", {"validation_share": 0.0, "splits": ["test"]}),
        ("--val_size 0.1 --continual_learning Normal", {"validation_share": 0.0, "splits": ["test"]}),
        ("CL --ns_type blur --ns_factor 0.5 1 2", {"corruption": "blur", "severities": [0.5, 1.0, 2.0], "chunks": 3}),
        ("CL --ns-factor 0 0.4", {"corruption": "noise", "severities": [0.0, 0.4], "chunks": 2}),
        ("CL --ns-factor 0.4", {"corruption": "noise", "severities": [0.4], "chunks": 1}),
        ("CL --ns-factor 0", {"corruption": "none", "chunks": 1}),
        *[
            (f"--ns_type occlusion --ns_factor 1 --continual_learning {mode}", {"corruption": "none", "chunks": 1})
            for mode in ("NoCL", "Normal")
        ],
        ("--model resnet", {"network": "resnet34"}),
        ("--model resnet18 --weights some/file.pth", {"network": "resnet18", "weights": "some/file.pth"}),
        ("--model slim --limit 100", {"network": "slim", "limit": 50}),
        ("--dataroot ./elsewhere", {"data": "./elsewhere"}),
        ("--data VFHQ --dataroot ./datasets/", {"data": "data"}),
        ("--data mine --dataroot ./datasets/", {"data": "mine"}),
        ("--files original", {"files": "original"}),
        ("--training-set A B --test-set B C", {"stream": ["A", "B"], "unseen": ["C"], "untested": ["A"]}),
        ("CL --training-set A B A --test-set A", {"stream": ["A", "B", "A"], "unseen": [], "untested": ["B"]}),
        ("--no-cuda", {"device": "cpu"}),
        ("PAPER --agent ICARL", {"icarl_heads": "grown", "crop": "centre", "memory": 5000}),
        ("PAPER --agent LWF", {"size": 224, "network": "resnet34", "crop": "centre"}),
        ("PAPER --agent GDUMB", {"memory": 5000, "memory_epochs": 16, "memory_schedule": "warm-restarts"}),
        ("CL --cl-type ni --labels_trick False --kd-trick False", {"agent": "er"}),
        ("CL --agent GDUMB --mem_size 1", {"memory": 1}),
        ("CL --agent ICARL --mem_size 1", {"memory": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_flag_sets_what_it_says(line, wanted, options, root, monkeypatch):
    monkeypatch.chdir(root)  # where there is no folder
    cl = "--continual_learning CL"
    line = line.replace("CL ", f"{cl} ", 1) if line.startswith("CL") else line.replace("PAPER", f"{cl} --variant paper")
    found = options(line).model_dump()
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("line", "notes"),
    [
        ("--mode 1 --batch 4", ["--batch changes nothing here", "--mode changes nothing here, as in the original"]),
        ("--variant paper --mode 1", []),
        (
            "--agent LWF --mem_size 9",
            ["--agent, --mem_size change nothing here: without --continual_learning CL a mod"],
        ),
        (
            "--continual_learning CL --agent LWF --mem_iters 2",
            ["--mem_iters changes nothing here: --agent LWF does no"],
        ),
        (
            "--continual_learning CL --agent GDUMB --lr 1 --epochs 2",
            ["--lr, --epochs change nothing here: --agent GDU"],
        ),
        ("--continual_learning CL --mem_iters 2 --ns_factor 1 --batch_size 3 --optimizer Adam", []),
        (
            "--continual_learning CL --agent ICARL --minlr 0.1",
            ["--minlr changes nothing here: --agent ICARL does not "],
        ),
        (
            "--continual_learning CL --agent GDUMB --minlr 0.1",
            ["--minlr changes nothing here, as in the original code, but with --variant paper"],
        ),
        ("--continual_learning CL --num_tasks 2", ["--num_tasks changes nothing here, as in the original code"]),
        ("--val_size 0.1 --ns_factor 1", ["--val_size, --ns_factor change nothing here, as in the original code"]),
        ("--data VFHQ", ["--data changes nothing here: there is no such folder, images are read from ./data"]),
        ("--runtest True --jpg_level 9 --agent LWF", ["--jpg_level changes nothing here, as in the original code"]),
    ],
)
def test_what_changes_nothing_is_said_with_the_reason(line, notes, parsed, root, monkeypatch):
    monkeypatch.chdir(root)
    found = flags.idle(parsed(line))
    assert len(found) == len(notes)
    assert all(text.startswith(note) for text, note in zip(found, notes, strict=True)), found


def test_a_folder_of_the_name_of_an_unused_default_is_read(options, root, monkeypatch):
    monkeypatch.chdir(root)
    (root / "VFHQ").mkdir()
    assert options("--data VFHQ").data == "VFHQ"


def test_a_gpu_is_taken_where_there_is_one_unless_it_is_refused(options, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert options("").device == "cuda"
    assert options("--no_cuda").device == "cpu"


def test_every_flag_has_both_spellings(parsed):
    parser = argparse.ArgumentParser()
    flags.add_flags(parser)
    actions = {action.dest: action.option_strings for action in parser._actions}
    for name in (*flags.FLAGS, *flags.TRICKS, *flags.WITHOUT_EFFECT, "training_set", "enable_logging", "runtestall"):
        assert set(actions[name]) == {f"--{name}", "--" + name.replace("_", "-")}, name
    one = parsed("--mem_size 7 --training_set A B --cl_type=ni --enable_logging True")
    two = parsed("--mem-size=7 --training-set A B --cl-type ni --enable-logging")
    assert vars(one) == vars(two)
    help_ = parser.format_help()
    for name in (*flags.FLAGS, "training_set", "runtestall", "all", "limit", "num_runs"):
        assert f"--{name}" in help_


@pytest.mark.parametrize("word", ["True", "False", "true", "false", ""])
def test_true_is_true_and_false_is_false(word, parsed):
    for name in ("runtest", "runtestall", "resume", "enable_logging", "no_cuda", "all"):
        assert getattr(parsed(f"--{name} {word}"), name) is (word.lower() != "false")
    assert not parsed("").runtest


@pytest.mark.parametrize(
    ("command", "line", "sentence"),
    [
        ("train", "--cl_type nc", "--cl_type is 'nc', but two classes, real and fake, cannot arrive class by class"),
        ("train", "--cl-type=xy", "--cl_type is 'xy', which is not here; allowed: ni"),
        *[
            ("train", f"--agent {name}", f"--agent is '{name}', which is not here; allowed: ICARL, GDUMB, LWF, ER")
            for name in ("EWC", "AGEM", "ASER", "CNDPM", "SCR", "Foo")
        ],
        ("train", "--update GSS", "--update is 'GSS', which is not here; allowed: random"),
        ("train", "--retrieve match", "--retrieve is 'match', which is not here; allowed: random, MIR"),
        ("train", "--continual_learning XL", "--continual_learning is 'XL', which is not here; allowed: CL, NoCL"),
        *[
            ("train", f"--{trick}{value}", f"--{trick} is not here, nor are the original code's other tricks; here are")
            for trick in ("labels_trick", "separated_softmax", "kd_trick", "kd_trick_star", "review_trick", "ncm_trick")
            for value in ("", " True")
        ],
        ("train", "--variant seed", "--variant is 'seed', which is called 'original' now; allowed: original, paper"),
        ("train", "--mem-sise 3", "there is no flag '--mem-sise'; did you mean --mem_size? Allowed: --help, --tr"),
        ("test", "--loadmodle x", "there is no flag '--loadmodle'; did you mean --loadmodel? Allowed: "),
        ("train", "--xyzzy", "there is no flag '--xyzzy'; allowed: --help, --training_set, --test_set"),
        ("train", "GAN-S", "'GAN-S' belongs to no flag; allowed: --help"),
        ("train", "--runtest maybe", "--runtest is 'maybe'; allowed: True or False"),
        ("train", "--training_set", "--training_set expected at least one argument"),
        ("train", "--variant paper --training_set A A", "--training_set names A twice; allowed: each name once"),
        ("train", "--test_set A A", "--test_set names A twice; allowed: each name once"),
        ("train", "--training_set A B+A+B", "--training_set is B+A+B; allowed: a union of different domains"),
        ("test", "--test_set GAN-S+GAN-S", "--test_set is GAN-S+GAN-S; allowed: a union of different domains, such as"),
        ("train", "--mem_size many", "--mem_size is 'many'; allowed: a whole number from 1 to 10000000"),
        ("train", "--mem_size 0", "--mem_size is '0'; allowed: a whole number from 1"),
        ("train", "--epochs 1.5", "--epochs is '1.5'; allowed: a whole number"),
        ("train", "--epochs 1_0", "--epochs is '1_0'; allowed: a whole number"),
        ("train", "--lr 1_0", "--lr is '1_0'; allowed: a number above 0 to 10"),
        ("train", "--lr nan", "--lr is 'nan'; allowed: a number above 0 to 10"),
        ("train", "--lr_decay 1", "--lr_decay is '1'; allowed: a number from 0 and below 1"),
        ("train", "--mode 4", "--mode is '4'; allowed: 0, 1, 2, 3"),
        ("test", "--mode -1", "--mode is '-1'; allowed: 0, 1, 2, 3"),
        ("train", "--feature comatrix", "--feature is 'comatrix'; allowed: fft, image"),
        ("train", "--model densenet", "--model is 'densenet'; allowed: resnet, slim, resnet18, resnet50"),
        ("train", "--optimizer RMSprop", "--optimizer is 'RMSprop'; allowed: adam, sgd"),
        ("train", "--ns_type fog", "--ns_type is 'fog'; allowed: none, noise, blur, occlusion"),
        ("train", "--ns_factor 1 x", "--ns_factor is 'x'; allowed: a list of numbers from 0 up"),
        (
            "train",
            "--continual_learning CL --ns_factor 1 -2",
            "--ns_factor is [1.0, -2.0]; allowed: a list of numbers from 0 up",
        ),
        ("train", "--jpg_level 101", "--jpg_level is '101'; allowed: a whole number from 1 to 100\n"),
        ("train", "--num_runs 0", "--num_runs is '0'; allowed: a whole number from 1"),
        ("train", "--num_runs two", "--num_runs is 'two'; allowed: a whole number"),
        ("train", "--num_runs ٣", "--num_runs is '٣'; allowed: a whole number from 1"),
        ("train", "--limit 3", "--limit is '3'; allowed: an even number from 2, half of it real, half fake"),
        (
            "train",
            PAPER + "--agent ICARL --mem_size 1",
            "--mem_size is 1; allowed for iCaRL: at least one image for each",
        ),
        ("train", PAPER + "--agent GDUMB --mem_epoch 10", "--mem_epoch is 10; allowed: a power of two"),
        (
            "train",
            PAPER + "--agent GDUMB --minlr 0.2",
            "--minlr is 0.2; allowed: at most --learning_rate, which is 0.05",
        ),
        ("train", "--model slim --weights imagenet", "--weights is 'imagenet'; allowed for the slim network: nothing"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("--") else "",
)
def test_a_wrong_flag_is_told_in_a_sentence_and_nothing_is_written(command, line, sentence, root, capsys, monkeypatch):
    monkeypatch.chdir(root)
    assert main([command, *shlex.split(line)]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"cldf: {sentence}") or f": {sentence}" in err
    assert err.count("\n") == 1
    assert out == ""
    assert not list(root.iterdir())


def test_a_text_without_end_is_told_in_a_short_sentence(capsys):
    assert main(["train", "--num_runs", "9" * 5000]) == 2
    assert capsys.readouterr().err == f"cldf: --num_runs is '{'9' * 199}…{'9' * 98}'; allowed: a whole number from 1\n"
