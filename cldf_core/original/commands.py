"""The original code's commands: `cldf train …` and `cldf test …` in place of `python ./run.py …`."""

import argparse
import contextlib
import itertools
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.data.console import counted
from cldf_core.detection.pth import ASSUMED, checkpoints_in, read_checkpoint
from cldf_core.evaluation.cells import with_interval
from cldf_core.evaluation.metrics import detection
from cldf_core.evaluation.seeds import t_interval
from cldf_core.options import Options, UserError, checked
from cldf_core.original.events import Events, writer_class
from cldf_core.original.flags import BASELINES, FLAGS, completed, idle, options_of
from cldf_core.original.pth import file_name, replaces, write_checkpoint
from cldf_core.original.verdicts import WORDS, accuracies, domains_of, scored, tell
from cldf_core.runs import run
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.folder import RunFolder
from cldf_core.workflow.machine import check_weights

# What the original's run_all_train.py calls, one after another.
_STREAM = ["GAN-S", "VFHQ", "ForenSynths", "DeepFake"]
_ALL: dict[str, Any] = {"training_set": _STREAM, "test_set": [*_STREAM, "NeuralTextures"], "continual_learning": "CL"}
RUN_ALL = {
    "iCaRL": {**_ALL, "agent": "ICARL", "mem_size": 5000},
    "GDumb": {**_ALL, "agent": "GDUMB", "mem_size": 3000, "mem_epoch": 10, "minlr": 0.0005, "clip": 10.0},
    "LwF": {**_ALL, "agent": "LWF"},
    "MIR": {**_ALL, "agent": "ER", "retrieve": "MIR", "mem_size": 5000},
}

# What the original tests where --loadmodel is not given.
DEFAULT_CHECKPOINT = "NoCL_VFHQ_fft_0_resnet_checkpoint_latest.pth"

FROM_SCRATCH = "the ImageNet weights could not be had, so the network is trained from scratch (weights: null)"


def train(parsed: argparse.Namespace) -> int:
    """Trains as the flags of a command line ask for, or tests where they say --runtest.

    It returns the exit status: 0, or 1 where a checkpoint of a folder could not be tested.

    Raises:
        UserError: an unknown name, or a value that is not allowed; or a checkpoint would be replaced.
    """
    flags = completed(parsed)
    if flags.runtest or flags.runtestall:
        if not flags.runtest:
            tell("--runtestall True tests every checkpoint; the original code would train, for want of --runtest True")
        return test(parsed)
    if flags.all:
        return _train_all(parsed)
    tell(*idle(flags))
    return _train(flags)


def test(parsed: argparse.Namespace) -> int:
    """Tests the checkpoints that the flags of a command line name; returns and raises as `train`."""
    flags = completed(parsed)
    if flags.all:
        raise UserError("--all trains; to test every checkpoint of a folder: --runtestall True --model_dir FOLDER")
    flags.runtest = True
    tell(*idle(flags))
    return _test(flags)


def _train(flags: argparse.Namespace) -> int:
    """Trains, tests after every domain, and writes a checkpoint for each, as the original does."""
    options = options_of(flags)  # a mistake is told before the hours of training, not after
    _check_folders(flags)
    domains, notes = domains_of(flags, flags.training_set)
    flags.test_set = [domain.name for domain in domains]
    continual = flags.continual_learning not in BASELINES  # which train on no domain twice
    names = flags.training_set
    if continual and (twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]):
        what = "metrics of continual learning, such as forgetting, are not computed"
        notes.append(f"--training_set names {', '.join(twice)} twice, so {what}")
    if (left := len(options.severities) - options.chunks) > 0 and options.corruption != "none":
        notes.append(f"a domain is seen in {options.chunks} chunks, so the last {left} of --ns_factor are not used")
    if flags.num_runs > 1 and flags.variant == "original":
        would = "train one network further" if continual else "make one run"
        tell(f"each of --num_runs trains a new network; the original code would {would}")
    tables = []
    for seed in range(options.seed, options.seed + flags.num_runs):
        of_seed = [
            _train_stream(flags, notes, start, training_set=stream, seed=seed)
            for stream, start in _streams(flags, seed)
        ]
        tables += of_seed[-1:]
    # Where checkpoints are there, seeds may end with different domains, and have no mean.
    if len(tables) > 1 and len({table["trained"].iloc[-1] for table in tables}) == 1:
        _print_spread(tables)
    return 0


def _streams(flags: argparse.Namespace, seed: int) -> list[tuple[list[str], Path | None]]:
    """The streams that are to be trained, each with the checkpoint that it starts from; usually the whole one.

    NoCL and Normal leave a domain out whose checkpoint is there or that came before, as the original code does; Normal
    then goes on from that checkpoint.

    Raises:
        UserError: a checkpoint of another training would be replaced.
    """
    whole = argparse.Namespace(**{**vars(flags), "seed": seed})
    options = options_of(whole)
    paths = {domain: _path(flags, options, domain) for domain in flags.training_set}
    there = {domain for domain, path in paths.items() if path.exists() and not flags.force}
    if there and _is_finished(whole):
        there = set()  # its results are printed again, and its files stay as they are
    if flags.continual_learning not in BASELINES:
        if there and not (flags.variant == "paper" and options.agent == "icarl"):  # which writes none
            raise UserError(replaces(paths[next(domain for domain in paths if domain in there)]))
        return [(flags.training_set, None)]
    streams: list[tuple[list[str], Path | None]] = []
    start, goes_on = None, False
    for domain in flags.training_set:
        if domain in there:
            is_file = paths[domain].exists() and not flags.force
            why = f"{paths[domain]} is there; --force replaces it" if is_file else "it was trained before"
            tell(f"{domain} is left out, as by the original code, since {why}")
            if flags.continual_learning == "Normal":
                start, goes_on = paths[domain], False
        elif goes_on:
            streams[-1][0].append(domain)
        else:
            streams.append(([domain], start))
            goes_on = True
        there.add(domain)
    return streams


def _is_finished(flags: argparse.Namespace) -> bool:
    with contextlib.suppress(UserError):
        return run.find_run(_with_weights(options_of(flags))[0]).finished
    return False


def _train_stream(flags: argparse.Namespace, notes: list[str], start: Path | None, **changes: Any) -> pd.DataFrame:
    """Makes one run with some flags changed, prints its accuracies and writes its checkpoints."""
    flags = argparse.Namespace(**{**vars(flags), **changes})
    options, scratch = _with_weights(options_of(flags), start)
    notes = notes + scratch
    tell(*notes)
    folder = run.make_run(options, watcher=Events(flags.log_dir) if flags.enable_logging else None, keep_state=True)
    manifest = folder.manifest
    if new := [text for text in notes if text not in manifest["notes"]]:  # what only this command knows
        folder.write_manifest({**manifest, "notes": [*manifest["notes"], *new]})
    resumed = f", resumed: {times}" if (times := manifest.get("resumed")) else ""
    what = f"{options.agent}, variant {options.variant}, seed {options.seed}{resumed}"
    print(f"\n{flags.continual_learning}: {what}: {folder.path}")
    if not manifest["images"]:
        tell(
            "no image was trained on, since every batch was incomplete and left out, as by the original code; the "
            "networks are untrained. Needed: more images (--limit, --mem_size), or a smaller --batch_size"
        )
    table = _results(folder, options, flags.test_set)
    _write_checkpoints(folder, options, flags)
    return table


def _train_all(parsed: argparse.Namespace) -> int:
    """Trains the four agents of RUN_ALL; a flag of the command line is stronger than one of these."""
    calls = {name: completed(parsed, **changes) for name, changes in RUN_ALL.items()}
    for flags in calls.values():  # what is wrong with the call of the last agent is told before the first is trained
        _streams(flags, options_of(flags).seed)
    for name, flags in calls.items():
        print(f"\n{name}: cldf train {_line({**RUN_ALL[name], **vars(parsed)})}")
        tell(*idle(flags))
        _train(flags)
    return 0


def _line(flags: Mapping[str, Any]) -> str:
    """Flags as they are written in a command line."""
    shown = {name: value for name, value in flags.items() if name not in ("all", "call", "version")}
    words = [[f"--{name}", *(value if isinstance(value, list) else [value])] for name, value in shown.items()]
    return shlex.join(map(str, itertools.chain(*words)))


def _results(folder: RunFolder, options: Options, test_set: Sequence[str]) -> pd.DataFrame:
    """Prints accuracies after every domain; returns them: step, domain, and a column for each."""
    scores = folder.scores()
    rows = []
    for step, trained in enumerate(options.stream, start=1):
        print(f"\nafter step {step}, trained on {trained}:")
        for name in test_set:
            cell = scores[(scores["step"] == step) & (scores["domain"] == name) & (scores["split"] == "test")]
            values = detection(cell["label"].to_numpy(), cell["score"].to_numpy(), names=list(WORDS))
            print(accuracies(name, values))
            rows.append({"step": step, "trained": trained, "domain": name, **values})
    return pd.DataFrame(rows)


def _print_spread(tables: Sequence[pd.DataFrame]) -> None:
    print(f"\n{counted(len(tables), 'run')}, after the last step: mean accuracy and 95 % t interval")
    for name in tables[0]["domain"].unique():
        last = [t[(t["domain"] == name) & (t["step"] == t["step"].max())]["accuracy"].item() for t in tables]
        mean = pd.Series(t_interval(np.array(last)), ["value", "low", "high"])
        print(f"Test set: {name} - accuracy {with_interval(mean, '.4f')}")


def _write_checkpoints(folder: RunFolder, options: Options, flags: argparse.Namespace) -> None:
    """Writes a .pth for every domain; of a domain that came twice, as the original does, the last."""
    if options.variant == "paper" and options.agent == "icarl":
        return tell("no .pth is written: the paper's iCaRL decides by means of exemplars, which it cannot hold")
    for domain, step in {domain: step for step, domain in enumerate(options.stream, start=1)}.items():
        path = _path(flags, options, domain)
        network, _ = load_network(folder.path / f"model-step{step}.safetensors")
        write_checkpoint(network, options, path, force=flags.force)
        print(f"checkpoint: {path}")
    return None


def _path(flags: argparse.Namespace, options: Options, domain: str) -> Path:
    """The checkpoint after a domain; its name tells --feature and --mode, even where they change nothing."""
    named = {FLAGS[flag][0]: getattr(flags, flag) for flag in ("feature", "mode") if flag in flags}
    options = options.model_copy(update=named)
    return flags.model_dir / file_name(options, domain, flags.continual_learning, several_seeds=flags.num_runs > 1)


def _test(flags: argparse.Namespace) -> int:
    """Tests one checkpoint, or all in a folder; of these, one that cannot be read does not stop the others."""
    paths = [flags.loadmodel] if getattr(flags, "loadmodel", None) else []
    if flags.runtestall:
        paths = checkpoints_in(flags.model_dir)
    elif not paths and (default := flags.model_dir / DEFAULT_CHECKPOINT).is_file():
        paths = [default]
    if not paths:
        what = f"{flags.model_dir} holds no .pth file" if flags.runtestall else "no checkpoint is named"
        needed = "needed: --loadmodel FILE, or --runtestall True with --model_dir FOLDER"
        default = "" if flags.runtestall else f" (there is no {flags.model_dir / DEFAULT_CHECKPOINT}, the default)"
        raise UserError(f"{what}; {needed}{default}")
    domains, notes = domains_of(flags)
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
        tell(*notes)
        notes = []
        print(f"\n{path}", flush=True)
        tell(*[ASSUMED] * (not has_options))
        for domain in domains:
            print(accuracies(domain.name, scored(network, options, domain, flags)), flush=True)
    return int(failed > 0)


def _check_folders(flags: argparse.Namespace) -> None:
    for flag in ("model_dir", "log_dir"):
        if (path := getattr(flags, flag)).exists() and not path.is_dir():
            raise UserError(f"--{flag} is {path}, which is a file; needed: a folder, or a name for a new one")
    if flags.enable_logging:
        writer_class()


def _with_weights(options: Options, start: Path | None = None) -> tuple[Options, list[str]]:
    """The options, with ImageNet weights in the variant "original", which starts from them; and notes.

    Where ImageNet weights cannot be had, training starts from scratch, unless --weights asks for them. Where training
    goes on from a checkpoint, it starts from that.
    """
    if start:
        if (there := read_checkpoint(start).options.network) != options.network:
            raise UserError(f"{start}, from which to go on, holds a {there}, and --model asks for a {options.network}")
        return checked({**options.model_dump(), "weights": None, "start": str(start)}), []
    asked = options.weights
    wanted = "imagenet" if asked is None and options.network != "slim" and options.variant == "original" else asked
    if not wanted:
        return options, []
    try:
        check_weights(options.network, wanted)
    except UserError as error:
        if asked:
            raise UserError(f"--{error}") from None
        tell(f"torchvision could not get the ImageNet weights: {error.__cause__ or error}")
        return options, [FROM_SCRATCH]
    return checked({**options.model_dump(), "weights": wanted}), []
