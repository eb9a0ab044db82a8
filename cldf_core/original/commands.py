"""The original code's commands: `cldf train …` and `cldf test …` in place of `python ./run.py …`."""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cldf_core.data.console import note
from cldf_core.options import Options, UserError, checked
from cldf_core.original.flags import BASELINES, FLAGS, WITHOUT_EFFECT, completed, device, options_of

if TYPE_CHECKING:
    import pandas as pd

    from cldf_core.data.domains import Domain
    from cldf_core.resnet import Network
    from cldf_core.runs.folder import RunFolder

# What the original's run_all_train.py calls, one after another.
_STREAM = ["GAN-S", "VFHQ", "ForenSynths", "DeepFake"]
_ALL: dict[str, Any] = {"training_set": _STREAM, "test_set": [*_STREAM, "NeuralTextures"]}
RUN_ALL = {
    "iCaRL": {**_ALL, "agent": "ICARL", "mem_size": 5000},
    "GDumb": {**_ALL, "agent": "GDUMB", "mem_size": 3000, "mem_epoch": 10, "minlr": 0.0005, "clip": 10.0},
    "LwF": {**_ALL, "agent": "LWF"},
    "MIR": {**_ALL, "agent": "ER", "retrieve": "MIR", "mem_size": 5000},
}

# A metric here: the original's word for it, which is printed too (real images are its positives).
WORDS = {"accuracy": "Accuracy", "accuracy on real": "TPR", "accuracy on fake": "TNR"}

FROM_SCRATCH = "the ImageNet weights could not be had, so the network is trained from scratch (weights: null)"


def train(parsed: argparse.Namespace) -> int:
    """Trains as the flags of a command line ask for, or tests where they say --runtest.

    It returns the exit status: 0, or 1 where a checkpoint of a folder could not be tested.

    Raises:
        UserError: an unknown name, or a value that is not allowed.
    """
    flags = completed(parsed)
    if flags.runtest or flags.runtestall:
        return test(parsed)
    _note(*(f"{name} changes nothing here" for name in _idle(flags)))
    return _train_all(parsed) if flags.all else _train(flags)


def test(parsed: argparse.Namespace) -> int:
    """Tests the checkpoints that the flags of a command line name; returns and raises as `train`."""
    flags = completed(parsed)
    if flags.all:
        raise UserError("--all trains; to test every checkpoint of a folder: --runtestall True --model_dir FOLDER")
    _note(*(f"{name} changes nothing here" for name in _without_effect(flags)))
    return _test(flags)


def _without_effect(flags: argparse.Namespace) -> list[str]:
    return [f"--{name}" for name in WITHOUT_EFFECT if hasattr(flags, name)]


def _idle(flags: argparse.Namespace) -> list[str]:
    """The flags of a training that change nothing, with the reason where it is not plain."""
    idle = _without_effect(flags)
    if hasattr(flags, "loadmodel"):
        idle.append("--loadmodel without --runtest True")
    if flags.retrieve == "MIR" and (flags.continual_learning in BASELINES or flags.agent != "ER"):
        idle.append("--retrieve MIR, which is for --agent ER,")
    if hasattr(flags, "ns_type") and not any(getattr(flags, "ns_factor", ())):
        idle.append(f"--ns_type {flags.ns_type} without a factor above 0 in --ns_factor")
    return idle


def _train(flags: argparse.Namespace) -> int:
    """Trains, tests after every domain, and writes a checkpoint for each, as the original does."""
    from cldf_core.runs.run import make_run

    options_of(flags)  # a mistake is told before the hours of training, not after
    _check_folders(flags)
    domains, untested = _domains(flags, flags.training_set)
    flags.test_set = [domain.name for domain in domains]
    options, scratch = _with_weights(options_of(flags))
    notes = untested + scratch
    if (unused := len(options.severities) - options.chunks) > 0 and options.corruption != "none":
        notes.append(f"a domain is seen in {options.chunks} chunks, so the last {unused} of --ns_factor are not used")
    _note(*notes)
    tables = []
    for seed in range(options.seed, options.seed + flags.num_runs):
        options = checked({**options.model_dump(), "seed": seed})
        folder = make_run(options)
        manifest = folder.manifest
        if new := [note for note in notes if note not in manifest["notes"]]:  # what only this command knows
            folder.write_manifest({**manifest, "notes": [*manifest["notes"], *new]})
        resumed = f", resumed {times} times" if (times := manifest.get("resumed")) else ""
        what = f"{options.agent}, variant {options.variant}, seed {seed}{resumed}"
        print(f"\n{flags.continual_learning}: {what}: {folder.path}")
        tables.append(_results(folder, options, flags.test_set))
        _write_checkpoints(folder, options, flags)
        if flags.enable_logging:
            _write_events(folder, flags.log_dir)
    if flags.num_runs > 1:
        _print_spread(tables)
    return 0


def _train_all(parsed: argparse.Namespace) -> int:
    """Trains the four agents of RUN_ALL; a flag of the command line is stronger than one of these."""
    calls = {name: completed(parsed, **changes) for name, changes in RUN_ALL.items()}
    for flags in calls.values():
        options_of(flags)  # a mistake in the call of the last agent is told before the first is trained
    for name, flags in calls.items():
        print(f"\n{name}: cldf train {_line({**RUN_ALL[name], **vars(parsed)})}")
        _train(flags)
    return 0


def _line(flags: Mapping[str, Any]) -> str:
    """Flags as they are written in a command line."""
    shown = {name: value for name, value in flags.items() if name not in ("all", "call", "version")}
    words = [[f"--{name}", *(value if isinstance(value, list) else [value])] for name, value in shown.items()]
    return shlex.join(map(str, itertools.chain(*words)))


def _results(folder: RunFolder, options: Options, test_set: Sequence[str]) -> pd.DataFrame:
    """Prints accuracies after every domain; returns them: step, domain, and a column for each."""
    import pandas as pd

    from cldf_core.evaluation.metrics import detection

    scores = folder.scores()
    rows = []
    for step, trained in enumerate(options.stream, start=1):
        print(f"\nafter step {step}, trained on {trained}:")
        for name in test_set:
            cell = scores[(scores["step"] == step) & (scores["domain"] == name) & (scores["split"] == "test")]
            values = detection(cell["label"].to_numpy(), cell["score"].to_numpy(), names=list(WORDS))
            print(_accuracies(name, values))
            rows.append({"step": step, "trained": trained, "domain": name, **values})
    return pd.DataFrame(rows)


def _accuracies(name: str, values: dict[str, float]) -> str:
    """The accuracies on a test set, with the original's words in brackets; a class without images has none."""
    parts = [f"{metric} {values[metric]:.4f} ({word})" for metric, word in WORDS.items()]
    return f"Test set: {name} - " + " - ".join(parts).replace("nan", "–")


def _print_spread(tables: Sequence[pd.DataFrame]) -> None:
    import numpy as np

    from cldf_core.evaluation.seeds import t_interval

    print(f"\n{len(tables)} runs, after the last step: mean accuracy and 95 % t interval")
    for name in tables[0]["domain"].unique():
        last = [t[(t["domain"] == name) & (t["step"] == t["step"].max())]["accuracy"].item() for t in tables]
        mean, low, high = t_interval(np.array(last))
        print(f"Test set: {name} - accuracy {mean:.4f} [{low:.4f}, {high:.4f}]")


def _write_checkpoints(folder: RunFolder, options: Options, flags: argparse.Namespace) -> None:
    """Writes a .pth for every domain."""
    from cldf_core.original.pth import file_name, write_checkpoint
    from cldf_core.runs.checkpoints import load_network

    if options.variant == "paper" and options.agent == "icarl":
        return _note("no .pth is written: the paper's iCaRL decides by means of exemplars, which it cannot hold")
    for step, domain in enumerate(options.stream, start=1):
        name = file_name(options, domain, flags.continual_learning, several_seeds=flags.num_runs > 1)
        network, _ = load_network(folder.path / f"model-step{step}.safetensors")
        write_checkpoint(network, options, flags.model_dir / name)
        print(f"checkpoint: {flags.model_dir / name}")
    return None


def _write_events(folder: RunFolder, log_dir: Path) -> None:
    """Losses and accuracies of a run as TensorBoard files, in place of those of an earlier call."""
    import numpy as np

    from cldf_core.evaluation.metrics import detection

    path = log_dir / folder.path.name
    for old in path.glob("events.out.tfevents.*"):
        old.unlink()
    with _event_writer()(str(path)) as writer:
        epochs = 0
        for step in folder.manifest["steps"]:
            for loss in step["losses"]:
                epochs += 1
                if loss is not None:
                    writer.add_scalar("loss", loss, epochs)
        scores = folder.scores()
        for (step, domain), cell in scores[scores["split"] == "test"].groupby(["step", "domain"], sort=False):
            for metric, value in detection(cell["label"].to_numpy(), cell["score"].to_numpy()).items():
                if not np.isnan(value):
                    writer.add_scalar(f"{metric}/{domain}", value, step)
    print(f"TensorBoard: {path}")


def _event_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--enable_logging needs the package tensorboard: pip install tensorboard") from None
    return SummaryWriter


def _test(flags: argparse.Namespace) -> int:
    """Tests one checkpoint, or all in a folder; of these, one that cannot be read does not stop the others."""
    from cldf_core.detection.pth import ASSUMED, checkpoints_in, read_checkpoint

    paths = [flags.loadmodel] if getattr(flags, "loadmodel", None) else []
    if flags.runtestall:
        paths = checkpoints_in(flags.model_dir)
    if not paths:
        what = f"{flags.model_dir} holds no .pth file" if flags.runtestall else "no checkpoint is named"
        raise UserError(f"{what}; needed: --loadmodel FILE, or --runtestall True with --model_dir FOLDER")
    domains, untested = _domains(flags)
    _note(*untested)
    failed = 0
    for path in paths:
        try:
            network, options, has_options = read_checkpoint(path)
        except UserError as error:
            if not flags.runtestall:
                raise
            print(f"\nleft aside: {error}", file=sys.stderr)
            failed += 1
            continue
        print(f"\n{path}", flush=True)
        _note(*[ASSUMED] * (not has_options))
        for domain in domains:
            print(_accuracies(domain.name, _scored(network, options, domain, flags)), flush=True)
    return int(failed > 0)


def _scored(network: Network, options: Options, domain: Domain, flags: argparse.Namespace) -> dict[str, float]:
    """Accuracies of a checkpoint's network on a test set."""
    from cldf_core.data.cache import spectra
    from cldf_core.data.runtime import project_root, thread_count
    from cldf_core.evaluation.metrics import detection
    from cldf_core.protocol import score_samples
    from cldf_core.runs.notes import data_notes
    from cldf_core.runs.run import domain_samples

    if getattr(flags, "model", options.network) != options.network:
        _note(f"the file holds a {options.network}, so --model {flags.model} is left aside")
    taken = {"feature", "mode", "jpg_level", "resize_size", "threads"} & vars(flags).keys()
    changes = {FLAGS[name][0]: getattr(flags, name) for name in taken}
    changes |= {"agent": "sequential", "untested": [], "splits": ["test"]}
    options = checked({**options.model_dump(), **changes}, where="cldf test")
    table = domain.table[domain.table["split"] == "test"]
    read = spectra(replace(domain, table=table), options, project_root() / "data" / "spectra")
    _note(*data_notes(options, {domain.name: read}, {(domain.name, "test")}))
    score = partial(network.to(device(flags)).score, mixed_precision=options.mixed_precision)
    with thread_count(options.threads):
        logits = score_samples(score, domain_samples(read, read.table))
    # The verdict is "fake" from logit 0 up, that is from P(fake) = 0.5.
    return detection(read.table["label"].to_numpy(), logits, threshold=0.0, names=list(WORDS))


def _check_folders(flags: argparse.Namespace) -> None:
    for flag in ("model_dir", "log_dir"):
        if (path := getattr(flags, flag)).exists() and not path.is_dir():
            raise UserError(f"--{flag} is {path}, which is a file; needed: a folder, or a name for a new one")
    if flags.enable_logging:
        _event_writer()


def _domains(flags: argparse.Namespace, training: Sequence[str] = ()) -> tuple[list[Domain], list[str]]:
    """The domains of --test_set that have test images, and a note on each that has none.

    So the lines of the original's README and of run_all_train.py run on one data set, even if it has VFHQ's training
    images and VFHQ-F's test images alone. The domains to train on are only checked.
    """
    from cldf_core.data.layouts.read import data_folder, read_domains

    folder = data_folder(flags.data)
    names = list(dict.fromkeys([*training, *flags.test_set]))
    domains = dict(zip(names, read_domains(folder, names), strict=True))
    for name in training:
        if "train" not in domains[name].table["split"].to_numpy():
            raise UserError(f"{name} in {folder} has no training images (folders trainA, trainB), so it cannot train")
    tested = [name for name in flags.test_set if "test" in domains[name].table["split"].to_numpy()]
    untested = [name for name in flags.test_set if name not in tested]
    if not tested:
        raise UserError(f"there are no test images (folders testA, testB) of {', '.join(untested)} in {folder}")
    notes = [f"{name} has no test images (folders testA, testB), so it is not tested" for name in untested]
    return [domains[name] for name in tested], notes


def _with_weights(options: Options) -> tuple[Options, list[str]]:
    """The options, with ImageNet weights in the variant "original", which starts from them; and notes.

    Where ImageNet weights cannot be had, training starts from scratch, unless --weights asks for them.
    """
    from cldf_core.resnet import build_network

    asked = options.weights
    wanted = "imagenet" if asked is None and options.network != "slim" and options.variant == "original" else asked
    if not wanted:
        return options, []
    try:
        build_network(options.network, weights=wanted)
    except Exception as error:  # a file can be broken, and a download can fail, in many ways
        if not asked:
            _note(f"torchvision could not get the ImageNet weights: {error.__cause__ or error}")
            return options, [FROM_SCRATCH]
        why = f"weights is {asked!r}, which cannot be read as weights ({type(error).__name__})"
        if type(error) is ValueError or isinstance(error, FileNotFoundError):
            why = str(error)  # a sentence of build_network
        raise UserError(f"--{why}") from None
    return checked({**options.model_dump(), "weights": wanted}), []


def _note(*texts: str) -> None:
    for text in texts:
        note(text)
