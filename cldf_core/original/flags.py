"""The seed's command-line flags, and the options that they set; no torch.

Every flag that its run.py had is known here, with "_" or "-" between its words.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from cldf_core.options import AGENTS as AGENT_OPTIONS
from cldf_core.options import ORIGINAL, OptionError, Options, allowed, checked

AGENTS = {"ICARL": "icarl", "GDUMB": "gdumb", "LWF": "lwf", "ER": "er"}
BASELINES = {"NoCL": "separate", "Normal": "sequential"}
BANDS = ("full", "low", "mid", "high")
# Of the seed's settings, those that are no switches: with `--variant paper` they stay.
_SETTINGS = (
    *("size", "network", "splits", "optimiser", "lr", "momentum", "weight_decay", "schedule", "epochs", "batch"),
    *("memory", "replay", "candidates"),
)


def _boolean(text: str) -> bool:
    """The seed's `type=bool` took every text, "False" too, for true."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"it is {text!r}; allowed: True or False")
    return text.lower() == "true"


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"it is {text!r}; allowed: a whole number") from None


def _word(meanings: dict[str, str]) -> Callable[[str], str]:
    """Reads the seed's words as ours; ours are understood as well."""

    def read(text: str) -> str:
        if text not in meanings and text not in meanings.values():
            raise argparse.ArgumentTypeError(f"it is {text!r}; allowed: {', '.join(meanings)}")
        return meanings.get(text, text)

    return read


_NETWORKS = {"resnet": "resnet34", "slim": "slim", "resnet18": "resnet18", "resnet50": "resnet50"}

# Flag: the options that it sets, how its text is read, what it means.
FLAGS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "mem_size": ("memory", int, "images that may be remembered"),
    "mem_epoch": ("memory_epochs", int, "GDumb: passes over the memory"),
    "minlr": ("memory_lr_min", float, "GDumb: lowest learning rate on the memory"),
    "clip": ("clip", float, "GDumb: largest norm of a gradient"),
    "eps_mem_batch": ("replay", int, "ER, MIR: remembered images in each update"),
    "subsample": ("candidates", int, "MIR: remembered images to choose from"),
    "learning_rate": ("memory_lr virtual_lr", float, "of GDumb's memory and of MIR's virtual step"),
    "weight_decay": ("memory_weight_decay", float, "of GDumb's memory"),
    "epochs": ("epochs", int, "passes over each chunk"),
    "epoch": ("epochs", int, "the same"),
    "batch_size": ("batch", int, "images per update"),
    "batch": ("batch", int, "the same"),
    "lr": ("lr", float, "learning rate"),
    "lr_decay": ("lr_decay", float, "share of it that is lost each epoch"),
    "wd": ("weight_decay", float, "weight decay"),
    "optimizer": ("optimiser", str.lower, "SGD or Adam"),
    "seed": ("seed", int, "of everything random"),
    "threads": ("threads", int, "CPU threads"),
    "num_tasks": ("chunks", int, "parts that a domain is cut into"),
    "val_size": ("validation_share", float, "share of the training images that become validation images"),
    "ns_type": ("corruption", str, "noise, blur or occlusion of training images"),
    "ns_factor": ("severities", float, "how much of it, one number for each chunk"),
    "feature": ("feature", _word({"fft": "spectrum", "image": "image"}), "fft or image"),
    "mode": ("band", _word({str(n): band for n, band in enumerate(BANDS)}), "frequencies: 0 all, 1 low, 2 mid, 3 high"),
    "jpg_level": ("test_jpeg", int, "JPEG quality that test images go through"),
    "resize_size": ("test_resize", int, "pixels of the shorter side that they are resized to, and back"),
    "model": ("network", _word(_NETWORKS), "resnet (that is, ResNet-34), slim, resnet18 or resnet50"),
    "weights": ("weights", str, "imagenet, or a file"),
}
TRICKS = ("labels_trick", "separated_softmax", "kd_trick", "kd_trick_star", "review_trick", "ncm_trick")
# Accepted, since scripts have them, but they have nothing to do here.
WITHOUT_EFFECT = (
    *("num_workers", "pin_memory", "check_cached", "interval", "store", "verbose", "error_analysis", "plot_sample"),
    *("buffer_tracker", "num_val", "num_runs_val", "fix_order", "ns_task", "online", "test_batch", "test_batch_size"),
    *("gpu_id", "mem_iters", "resume_file", "start_epoch"),
)


def parse(command: str, words: Sequence[str]) -> argparse.Namespace:
    """The flags of a command line; those that were not given, and have no default, are absent.

    Raises:
        OptionError: an unknown flag, or one whose value is not allowed.
    """
    parser = _parser(command)
    given, unknown = parser.parse_known_args(words)
    if unknown:
        shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
        names = [next(name for name in action.option_strings if name.startswith("--")) for action in shown]
        close = difflib.get_close_matches(unknown[0].split("=")[0].replace("-", "_").replace("__", "--", 1), names, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        what = f"there is no flag {unknown[0]!r}" if unknown[0].startswith("-") else f"{unknown[0]!r} follows no flag"
        raise OptionError(f"{what}; {meant}There are: {', '.join(dict.fromkeys(names))}")
    _refuse(given)
    return given


def options_of(given: argparse.Namespace) -> Options:
    """The checked options that the flags of `cldf train` ask for."""
    agent = BASELINES.get(given.continual_learning) or AGENTS[given.agent]
    if agent == "er" and given.retrieve == "MIR":
        agent = "mir"
    values: dict[str, Any] = {"agent": agent, "variant": given.variant, "data": given.data}
    if given.variant == "paper":
        values |= {name: value for name, value in ORIGINAL[agent].items() if name in _SETTINGS}
    values["stream"] = given.training_set
    values["unseen"] = [name for name in given.test_set if name not in given.training_set]
    values["untested"] = [name for name in given.training_set if name not in given.test_set]
    values["device"] = device(given)
    if getattr(given, "val_size", 0):
        values["splits"] = ["validation", "test"]
    if len(getattr(given, "ns_factor", ())) > 1 and agent not in BASELINES.values():
        values["chunks"] = len(given.ns_factor)  # the seed's way to say how many
    if any(getattr(given, "ns_factor", ())):
        values["corruption"] = "noise"
    for flag, (names, _, _) in FLAGS.items():
        if hasattr(given, flag):
            values |= {name: getattr(given, flag) for name in names.split()}
    if (limit := getattr(given, "limit", None)) is not None:
        if limit < 2 or limit % 2:
            raise OptionError(f"--limit is {limit}; allowed: an even number from 2, half of it real, half fake")
        values["limit"] = limit // 2
    try:
        return checked(values, where=f"agent {agent}")
    except OptionError as error:  # of options that do not go together; whoever reads it knows their flags
        flags = {name: f"--{flag}" for flag, (names, _, _) in reversed(FLAGS.items()) for name in names.split()}
        flags |= {"memory_lr": "--learning_rate"}  # which "at most" is said of
        text = re.sub(r"\b\w+(?= is |, which)", lambda found: flags.get(found[0], found[0]), str(error))
        raise OptionError(text) from None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Argparse's hook: one sentence in place of usage and exit."""
        raise OptionError(re.sub(r"^argument (--\w+)\S*: (it )?", r"\1 ", message))


def _parser(command: str) -> _Parser:
    parser = _Parser(
        prog=f"cldf {command}",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        description="The seed's run.py, with its flags. '_' and '-' inside a flag are the same.",
    )

    def flag(name: str, text: str, **how: Any) -> None:
        parser.add_argument(*dict.fromkeys([f"--{name}", "--" + name.replace("_", "-")]), dest=name, help=text, **how)

    yes: dict[str, Any] = {"nargs": "?", "const": True, "type": _boolean, "default": False}
    flag("training_set", "domains to train on, in their order", nargs="+", default=["VFHQ"], metavar="NAME")
    flag("test_set", "domains to test on", nargs="+", default=["VFHQ"], metavar="NAME")
    flag("continual_learning", "CL, NoCL (a model for each domain) or Normal (sequential)", default="CL")
    flag("agent", "ICARL, GDUMB, LWF or ER", default="ER")
    flag("retrieve", "ER: random or MIR", default="random")
    flag("update", "random: a reservoir", default="random")
    flag("cl_type", "ni: new images", default="ni")
    flag("variant", "original: what the original code computes; paper: what the papers define", default="original")
    flag("data", "folder with real/ and fake/ in it", default="data", metavar="FOLDER")
    parser.add_argument("--dataroot", dest="data", help="the same", metavar="FOLDER")
    flag("model_dir", "folder of the checkpoints", type=Path, default=Path("model"), metavar="FOLDER")
    flag("limit", "train with N images per domain", type=_whole, metavar="N")
    flag("num_runs", "independent runs, with mean and interval", type=_whole, default=1, metavar="N")
    for name, (options, kind, text) in FLAGS.items():
        flag(name, text, type=_reader(options.split()[0], kind), **({"nargs": "+"} if name == "ns_factor" else {}))
    flag("resume", "go on with a run that was killed (which is done anyway)", **yes)
    flag("no_cuda", "use the CPU even if there is a GPU", action="store_true", default=False)
    flag("enable_logging", "write TensorBoard files", **yes)
    flag("log_dir", "their folder", type=Path, default=Path("log"), metavar="FOLDER")
    flag("all", "the four agents one after another, as run_all_train.py", action="store_true", default=False)
    flag("runtest", "test a checkpoint instead of training", **yes)
    flag("loadmodel", "the checkpoint", type=Path, metavar="FILE")
    flag("runtestall", "test every checkpoint in --model_dir", **yes)
    for name in TRICKS:
        flag(name, argparse.SUPPRESS, **yes)
    for name in WITHOUT_EFFECT:
        flag(name, argparse.SUPPRESS, nargs="*")
    return parser


def _reader(option: str, kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Reads a flag's text, and checks it against the range of its option."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
            values: dict[str, Any] = {option: [value] if option == "severities" else value}
            next(kind for kind in AGENT_OPTIONS.values() if option in kind.model_fields)(**values)
        except ValueError:  # pydantic's is one, too
            raise argparse.ArgumentTypeError(f"it is {text!r}; allowed: {allowed(option)}") from None
        return value

    return read


def _refuse(given: argparse.Namespace) -> None:
    """What the seed had, or seemed to have, and is not here: one sentence each."""
    choices = {
        "continual_learning": ("CL", *BASELINES),
        "agent": tuple(AGENTS),
        "retrieve": ("random", "MIR"),
        "update": ("random",),
        "variant": ("original", "paper"),
    }
    if given.cl_type == "nc":
        raise OptionError(
            "--cl_type is 'nc', but two classes, real and fake, cannot arrive class by class: "
            "a step with one of them alone has nothing to tell apart; allowed: ni"
        )
    if given.cl_type != "ni":
        raise OptionError(f"--cl_type is {given.cl_type!r}; allowed: ni")
    if given.variant == "seed":
        raise OptionError("--variant is 'seed', which is called 'original' now; allowed: original, paper")
    for name, words in choices.items():
        if (value := getattr(given, name)) not in words:
            raise OptionError(f"--{name} is {value!r}, which is not here; allowed: {', '.join(words)}")
    for name in TRICKS:
        if getattr(given, name):
            raise OptionError(
                f"--{name} is not here, nor are the original code's other tricks; here are the agents "
                f"{', '.join(AGENTS)}, retrieval random and MIR, and the variants original and paper"
            )
    if given.num_runs < 1:
        raise OptionError(f"--num_runs is {given.num_runs}; allowed: a whole number from 1")
    for name in ("training_set", "test_set"):
        names = getattr(given, name)
        if again := [n for n in names if names.count(n) > 1]:
            raise OptionError(f"--{name} names {again[0]} twice; allowed: each name once")


def device(given: argparse.Namespace) -> str:
    """The GPU if there is one, as in the seed, unless --no_cuda says otherwise."""
    import torch

    return "cpu" if given.no_cuda or not torch.cuda.is_available() else "cuda"
