"""The flags of the original code's run.py, and the options that they set.

Every flag of it is known here, with "_" or "-" between its words. Importing this module loads neither torch nor
pydantic.
"""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cldf_core.options import Options

AGENTS = {"ICARL": "icarl", "GDUMB": "gdumb", "LWF": "lwf", "ER": "er"}
BASELINES = {"NoCL": "separate", "Normal": "sequential"}
BANDS = ("full", "low", "mid", "high")
# Of the original's options, those that are settings, no differences from the papers: `--variant paper` takes them too.
_SETTINGS = (
    *("size", "network", "splits", "optimiser", "lr", "momentum", "weight_decay", "schedule", "epochs", "batch"),
    *("memory", "replay", "candidates"),
)


def _refused(text: str, allowed: str, why: str = "") -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"is {text!r}{why}; allowed: {allowed}")


def _boolean(text: str) -> bool:
    """The original's `type=bool` took every text, "False" too, for true."""
    if text.lower() not in ("true", "false"):
        raise _refused(text, "True or False")
    return text.lower() == "true"


def _absent(text: str) -> bool:
    """Refuses a trick of the original code that is not implemented here."""
    if _boolean(text):
        raise argparse.ArgumentTypeError(
            "is not here, nor are the original code's other tricks; here are the agents "
            f"{', '.join(AGENTS)}, retrieval random and MIR, and the variants original and paper"
        )
    return False


def _whole(allowed: str, least: int, step: int = 1) -> Callable[[str], int]:
    """Reads a whole number from `least` up, a multiple of `step`."""

    def read(text: str) -> int:
        from cldf_core.reading import whole_number

        with contextlib.suppress(ValueError):
            if (value := whole_number(text)) >= least and value % step == 0:
                return value
        raise _refused(text, allowed)

    return read


def _word(meanings: dict[str, str], why: str = "", **reasons: str) -> Callable[[str], str]:
    """Reads the original's words as this project's, which are understood as well; reasons say why others are not."""

    def read(text: str) -> str:
        if text not in meanings and text not in meanings.values():
            raise _refused(text, ", ".join(meanings), reasons.get(text, why))
        return meanings.get(text, text)

    return read


def _one_of(*words: str, **reasons: str) -> Callable[[str], str]:
    return _word({word: word for word in words}, ", which is not here", **reasons)


_NETWORKS = {"resnet": "resnet34", "slim": "slim", "resnet18": "resnet18", "resnet50": "resnet50"}

# Flag: the options that it sets, how its text is read, what it means.
FLAGS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "mem_size": ("memory", int, "images that may be remembered"),
    "mem_epoch": ("memory_epochs", int, "GDumb: passes over the memory"),
    "minlr": ("memory_lr_min", float, "GDumb: lowest learning rate on the memory"),
    "clip": ("clip", float, "GDumb: largest norm of a gradient"),
    "eps_mem_batch": ("replay", int, "ER, MIR: remembered images in each update"),
    "subsample": ("candidates", int, "MIR: remembered images to choose from"),
    "mem_iters": ("replay_updates", int, "ER, MIR: updates with each batch"),
    "learning_rate": ("memory_lr virtual_lr", float, "of GDumb's memory and of MIR's virtual step"),
    "weight_decay": ("memory_weight_decay", float, "of GDumb's memory"),
    "epochs": ("epochs", int, "passes over each chunk"),
    "batch_size": ("batch memory_batch", int, "images per update"),
    "lr": ("lr", float, "learning rate"),
    "lr_decay": ("lr_decay", float, "share of it that is lost each epoch"),
    "wd": ("weight_decay", float, "weight decay"),
    "optimizer": ("optimiser memory_optimiser", str.lower, "SGD or Adam"),
    "files": ("files", str, "all, or original: those that the original code reads"),
    "seed": ("seed", int, "of everything random"),
    "threads": ("threads", int, "CPU threads"),
    "num_tasks": ("chunks", int, "parts that a domain is cut into"),
    "val_size": ("validation_share", float, "share of the training images that become validation images"),
    "ns_type": ("corruption", str, "noise, blur or occlusion of training images"),
    "ns_factor": ("severities", float, "how much of it, a number for each chunk; without it there are ten"),
    "feature": ("feature", _word({"fft": "spectrum", "image": "image"}), "fft or image"),
    "mode": ("band", _word({str(n): band for n, band in enumerate(BANDS)}), "frequencies: 0 all, 1 low, 2 mid, 3 high"),
    "jpg_level": ("test_jpeg", int, "JPEG quality that test images go through"),
    "resize_size": ("test_resize", int, "pixels of the shorter side that they are resized to, and back"),
    "model": ("network", _word(_NETWORKS), "resnet (that is, ResNet-34), slim, resnet18 or resnet50"),
    "weights": ("weights", str, "imagenet, or a file"),
}
TRICKS = ("labels_trick", "separated_softmax", "kd_trick", "kd_trick_star", "review_trick", "ncm_trick")
# Accepted, since scripts have them, but they have nothing to do; the original overwrites --epoch and --batch.
WITHOUT_EFFECT = (
    *("num_workers", "pin_memory", "check_cached", "interval", "store", "verbose", "error_analysis", "plot_sample"),
    *("buffer_tracker", "num_val", "num_runs_val", "fix_order", "ns_task", "online", "test_batch", "test_batch_size"),
    *("gpu_id", "resume_file", "start_epoch", "epoch", "batch"),
)
# The original code takes these and does not use them, the latter without --continual_learning CL.
_UNUSED = ("num_tasks", "minlr", "lr_decay", "feature", "mode", "jpg_level", "resize_size")
_UNUSED_BY_BASELINES = ("val_size", "ns_type", "ns_factor")
# What the original's --data and --dataroot are by default, and may be; its images lie in ./data all the same.
_NO_FOLDERS = (
    *("datasets", "VFHQ", "GAN-S", "ForenSynths", "FaceForensics", "DeepFake", "NeuralTextures"),
    *("VFHQ-F-LD", "GAN-S-LD", "ForenSynths-LD", "FaceForensics-LD", "UniDataset1", "UniDataset2", "UniDataset3"),
)
# What the other flags are where a command line does not give them.
DEFAULTS: dict[str, Any] = {
    **{"training_set": ["VFHQ"], "test_set": ["VFHQ"], "continual_learning": "NoCL", "agent": "ER"},
    **{"retrieve": "random", "variant": "original", "num_runs": 1, "limit": None, "no_cuda": False, "force": False},
    **{"model_dir": Path("model"), "enable_logging": False, "log_dir": Path("log"), "all": False},
    **{"runtest": False, "runtestall": False},
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds every flag of the original code to a parser, and a description of them.

    A flag that a command line does not give is absent from what the parser returns; see `completed`.
    """
    parser.description = "Takes the flags of the original code's run.py; '_' and '-' inside a flag are the same."

    def flag(name: str, text: str, **settings: Any) -> None:
        spellings = dict.fromkeys([f"--{name}", "--" + name.replace("_", "-")])
        parser.add_argument(*spellings, **{"dest": name, "help": text, "default": argparse.SUPPRESS, **settings})

    yes: dict[str, Any] = {"nargs": "?", "const": True, "type": _boolean}
    nc = ", but two classes, real and fake, cannot arrive class by class: a step with one of them alone has nothing to"
    flag("training_set", "domains to train on, in their order", nargs="+", metavar="NAME")
    flag("test_set", "domains to test on", nargs="+", metavar="NAME")
    modes = _one_of("CL", *BASELINES)
    flag("continual_learning", "CL, NoCL (a model for each domain; the default) or Normal (sequential)", type=modes)
    flag("agent", "ICARL, GDUMB, LWF or ER", type=_one_of(*AGENTS))
    flag("retrieve", "ER: random or MIR", type=_one_of("random", "MIR"))
    flag("update", "random: a reservoir", type=_one_of("random"))
    flag("cl_type", "ni: new images", type=_one_of("ni", nc=f"{nc} tell apart"))
    variants = "original: what the original code computes; paper: what the papers define"
    flag("variant", variants, type=_one_of("original", "paper", seed=", which is called 'original' now"))
    flag("data", "folder with real/ and fake/ in it", metavar="FOLDER")
    flag("dataroot", "the same", metavar="FOLDER")
    flag("model_dir", "folder of the checkpoints", type=Path, metavar="FOLDER")
    flag("force", "replace checkpoints that are there", **yes)
    even = _whole("an even number from 2, half of it real, half fake", 2, step=2)
    flag("limit", "train with N images per domain", type=even, metavar="N")
    flag("num_runs", "independent runs, with mean and interval", type=_whole("a whole number from 1", 1), metavar="N")
    for name, (options, kind, text) in FLAGS.items():
        text += ", with --variant paper" if name in _UNUSED else ""
        flag(name, text, type=_reader(options.split()[0], kind), **({"nargs": "+"} if name == "ns_factor" else {}))
    flag("resume", "go on with a run that was killed (which is done anyway)", **yes)
    flag("no_cuda", "use the CPU even if there is a GPU", **yes)
    flag("enable_logging", "write TensorBoard files", **yes)
    flag("log_dir", "their folder", type=Path, metavar="FOLDER")
    flag("all", "the four agents one after another, as run_all_train.py", **yes)
    flag("runtest", "test a checkpoint instead of training", **yes)
    flag("loadmodel", "the checkpoint", type=Path, metavar="FILE")
    flag("runtestall", "test every checkpoint in --model_dir", **yes)
    for name in TRICKS:
        flag(name, argparse.SUPPRESS, nargs="?", const="True", type=_absent)
    for name in WITHOUT_EFFECT:
        flag(name, argparse.SUPPRESS, nargs="*")


def completed(parsed: argparse.Namespace, **changes: Any) -> argparse.Namespace:
    """Adds the defaults, or the changes to them, to the flags of a command line; those of FLAGS have none.

    `given` holds the names of the flags that are no defaults, `no_folders` of those of them whose word is no folder.

    Raises:
        OptionError: a domain is named twice where it may not.
    """
    from cldf_core.options import OptionError

    flags = argparse.Namespace(**{**DEFAULTS, **changes, **vars(parsed)})
    flags.given = [*dict.fromkeys([*changes, *vars(parsed)])]
    for name in ("training_set", "test_set"):
        domains, again = getattr(flags, name), name == "training_set" and flags.variant == "original"
        if not again and (twice := [domain for domain in domains if domains.count(domain) > 1]):
            raise OptionError(f"--{name} names {twice[0]} twice; allowed: each name once")
        if twice := [domain for domain in domains if len({*domain.split("+")}) <= domain.count("+")]:
            raise OptionError(f"--{name} is {twice[0]}; allowed: a union of different domains, such as GAN-S+VFHQ")
    folders = {name: getattr(flags, name) for name in ("data", "dataroot") if name in flags}
    flags.no_folders = [name for name, folder in folders.items() if _no_folder(folder)]
    flags.data = next((folder for name, folder in folders.items() if name not in flags.no_folders), "data")
    return flags


def idle(flags: argparse.Namespace) -> list[str]:
    """Sentences on the flags that change nothing, with the reason where it is not plain.

    The flags are completed ones. Flags of a training are no matter where a checkpoint is tested.
    """
    from cldf_core.options import AGENTS as MODELS

    def changes_nothing(names: Iterable[str], why: str = "") -> list[str]:
        found = [f"--{name}" for name in flags.given if name in names]
        return [f"{', '.join(found)} {'change' if found[1:] else 'changes'} nothing here{why}"] if found else []

    agent, mode = agent_of(flags), flags.continual_learning
    used = {*MODELS[agent].model_fields} - ({"lr", "weight_decay", "epochs"} if agent == "gdumb" else set())
    others = {flag for flag, (names, _, _) in FLAGS.items() if not used & {*names.split()}}
    ignored = {*unused(flags)} - others
    texts = [text for name in WITHOUT_EFFECT for text in changes_nothing([name])]
    texts += changes_nothing(ignored, ", as in the original code, but with --variant paper")
    texts += changes_nothing(
        flags.no_folders, ": there is no such folder, images are read from ./data as in the original code"
    )
    if flags.runtest or flags.runtestall:
        return texts
    if agent in BASELINES.values():
        what = f"a model is trained for each domain ({mode})" if mode == "NoCL" else f"one model is trained ({mode})"
        texts += changes_nothing({"agent", *others}, f": without --continual_learning CL {what}")
    else:
        texts += changes_nothing(others, f": --agent {flags.agent} does not use it")
    if "loadmodel" in flags:
        texts.append("--loadmodel without --runtest True changes nothing here")
    if flags.retrieve == "MIR" and agent != "mir":
        texts.append("--retrieve MIR, which is for --agent ER, changes nothing here")
    if "ns_type" in flags and "ns_type" not in ignored and not any(getattr(flags, "ns_factor", ())):
        texts.append(f"--ns_type {flags.ns_type} without a factor above 0 in --ns_factor changes nothing here")
    return texts


def agent_of(flags: argparse.Namespace) -> str:
    """The agent that the flags name, or the baseline where they ask for no continual learning."""
    agent = BASELINES.get(flags.continual_learning) or AGENTS[flags.agent]
    return "mir" if agent == "er" and flags.retrieve == "MIR" else agent


def unused(flags: argparse.Namespace) -> tuple[str, ...]:
    """The flags that the original code takes and does not use."""
    if flags.variant == "paper":
        return ()
    return (*_UNUSED, *(_UNUSED_BY_BASELINES if flags.continual_learning in BASELINES else ()))


def _no_folder(text: str) -> bool:
    """Whether a text is one of the original code's words, and there is no folder or data set of that name here."""
    from cldf_core.data.runtime import project_root

    places = (Path(text), project_root() / text, project_root() / "data" / text)
    return Path(text).as_posix() in _NO_FOLDERS and not any(place.is_dir() for place in places)


def options_of(flags: argparse.Namespace) -> Options:
    """The checked options that the completed flags of `cldf train` ask for.

    Raises:
        OptionError: flags that do not go together; the message names the flags, not the options.
    """
    from cldf_core.options import OptionError, checked
    from cldf_core.original_options import ORIGINAL

    agent, ignored = agent_of(flags), unused(flags)
    values: dict[str, Any] = {"agent": agent, "variant": flags.variant, "data": flags.data}
    if flags.variant == "paper":
        values |= {name: value for name, value in ORIGINAL[agent].items() if name in _SETTINGS}
    if agent == "gdumb":  # the flags' defaults, which the README's line does not take
        values |= {"memory": 5000} | ({"memory_epochs": 70} if flags.variant == "original" else {})
    values["stream"] = flags.training_set
    values["unseen"] = [name for name in flags.test_set if name not in flags.training_set]
    values["untested"] = [name for name in dict.fromkeys(flags.training_set) if name not in flags.test_set]
    values["device"] = device(flags)
    if getattr(flags, "val_size", 0) and "val_size" not in ignored:
        values["splits"] = ["validation", "test"]
    severities = getattr(flags, "ns_factor", []) if "ns_factor" not in ignored else []
    if severities and agent not in BASELINES.values():
        values["chunks"] = len(severities)  # the original's way to say how many
    if any(severities):
        values["corruption"] = "noise"
    for flag, (names, _, _) in FLAGS.items():
        if flag in flags and flag not in ignored:
            values |= dict.fromkeys(names.split(), getattr(flags, flag))
    values["limit"] = flags.limit and flags.limit // 2
    try:
        return checked(values, where=f"agent {agent}")
    except OptionError as error:
        spelt = {name: f"--{flag}" for flag, (names, _, _) in reversed(FLAGS.items()) for name in names.split()}
        spelt |= {"memory_lr": "--learning_rate"}  # which "at most" is said of
        text = re.sub(r"\b\w+(?= is |, which)", lambda found: spelt.get(found[0], found[0]), str(error))
        raise OptionError(text) from None


def device(flags: argparse.Namespace) -> str:
    """The GPU if there is one, as in the original, unless --no_cuda says otherwise."""
    import torch

    return "cpu" if flags.no_cuda or not torch.cuda.is_available() else "cuda"


def _reader(option: str, kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Reads a flag's text, and checks it against the range of its option."""

    def read(text: str) -> Any:
        from cldf_core import options, reading

        numbers: dict[Any, Callable[[str], Any]] = {int: reading.whole_number, float: reading.number}
        try:
            value = numbers.get(kind, kind)(text)
            model: Any = next(model for model in options.AGENTS.values() if option in model.model_fields)
            model(**{option: [value] if option == "severities" else value})
        except ValueError:  # pydantic's is one, too
            raise _refused(text, options.allowed(option).removesuffix(", or nothing (null)")) from None
        return value

    return read
