"""The seed's commands: `cldf train …` and `cldf test …` in place of `python ./run.py …`, with the same flags."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cldf_core.options import Options, UserError, checked
from cldf_core.original.flags import BANDS, BASELINES, FLAGS, WITHOUT_EFFECT, device, options_of, parse

if TYPE_CHECKING:
    import pandas as pd

    from cldf_core.data.domains import Domain
    from cldf_core.resnet import Network
    from cldf_core.runs.folder import RunFolder

# What the seed's run_all_train.py calls, one after another.
_ALL = "--training_set GAN-S VFHQ ForenSynths DeepFake --test_set GAN-S VFHQ ForenSynths DeepFake NeuralTextures "
RUN_ALL = {
    "iCaRL": _ALL + "--agent ICARL --mem_size 5000",
    "GDumb": _ALL + "--agent GDUMB --mem_size 3000 --mem_epoch 10 --minlr 0.0005 --clip 10",
    "LwF": _ALL + "--agent LWF",
    "MIR": _ALL + "--agent ER --retrieve MIR --mem_size 5000",
}

# Our metric, the seed's word for it (real images are its positives), and how it is printed.
WORDS = {"accuracy": "Accuracy", "accuracy on real": "TPR", "accuracy on fake": "TNR"}

FROM_SCRATCH = "the ImageNet weights could not be had, so the network is trained from scratch (weights: null)"


def main(words: Sequence[str]) -> int:
    """Runs `train …` or `test …`; returns the exit status.

    Raises:
        UserError: an unknown flag or name, or a value that is not allowed.
    """
    command, *rest = words
    given = parse(command, rest)
    testing = command == "test" or given.runtest or given.runtestall
    if given.all and testing:
        raise UserError("--all trains; to test every checkpoint of a folder: --runtestall True --model_dir FOLDER")
    for name in _idle(given, testing):
        _note(f"{name} changes nothing here")
    if given.all:
        return _train_all(command, [word for word in rest if word != "--all"])
    return _test(given) if testing else _train(given)


def _idle(given: argparse.Namespace, testing: bool) -> list[str]:
    """The flags that were given and change nothing, with the reason where it is not plain."""
    idle = [f"--{name}" for name in WITHOUT_EFFECT if hasattr(given, name)]
    if testing:
        return idle
    if hasattr(given, "loadmodel"):
        idle.append("--loadmodel without --runtest True")
    if given.retrieve == "MIR" and (given.continual_learning in BASELINES or given.agent != "ER"):
        idle.append("--retrieve MIR, which is for --agent ER,")
    if hasattr(given, "ns_type") and not any(getattr(given, "ns_factor", ())):
        idle.append(f"--ns_type {given.ns_type} without a factor above 0 in --ns_factor")
    return idle


def _train(given: argparse.Namespace) -> int:
    """Trains, tests after every domain, and writes a checkpoint for each, as the seed did."""
    from cldf_core.runs.run import make_run

    options_of(given)
    # Whatever can go wrong is told before the hours of training, not after.
    _check_folders(given)
    _, untested = _domains(given, given.training_set)
    options, scratch = _with_weights(options_of(given))
    notes = untested + scratch
    if (unused := len(options.severities) - options.chunks) > 0 and options.corruption != "none":
        notes.append(f"a domain is seen in {options.chunks} chunks, so the last {unused} of --ns_factor are not used")
    for note in notes:
        _note(note)
    tables = []
    for run in range(given.num_runs):
        own = checked({**options.model_dump(), "seed": options.seed + run})
        folder = make_run(own)
        _record(notes, folder)
        again = f", resumed {times} times" if (times := folder.manifest.get("resumed")) else ""
        print(
            f"\n{given.continual_learning}: {own.agent}, variant {own.variant}, seed {own.seed}{again}: {folder.path}"
        )
        tables.append(_results(folder, own, given.test_set))
        _write_checkpoints(folder, own, given)
        if given.enable_logging:
            _write_events(folder, given.log_dir)
    if given.num_runs > 1:
        _print_spread(tables)
    return 0


def _train_all(command: str, rest: Sequence[str]) -> int:
    lines = {name: parse(command, [*line.split(), *rest]) for name, line in RUN_ALL.items()}
    for given in lines.values():
        options_of(given)  # a mistake in the call of the last agent is told before the first is trained
    for name, given in lines.items():
        print(f"\n{name}: cldf {command} {RUN_ALL[name]}", *rest)
        _train(given)
    return 0


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
            print(_line(name, values))
            rows.append({"step": step, "trained": trained, "domain": name, **values})
    return pd.DataFrame(rows)


def _record(notes: Sequence[str], folder: RunFolder) -> None:
    """Adds to the notes in a run's manifest what only this command knows."""
    manifest = folder.manifest
    if new := [note for note in notes if note not in manifest["notes"]]:
        folder.write_manifest({**manifest, "notes": [*manifest["notes"], *new]})


def _line(name: str, values: dict[str, float]) -> str:
    """One test set's accuracies; the seed's words in brackets. A class without images has none."""
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


def _write_checkpoints(folder: RunFolder, options: Options, given: argparse.Namespace) -> None:
    """A .pth for every domain, named as the seed's; MIR, variant "paper" and further seeds have names of their own."""
    from cldf_core.runs.checkpoints import load_network, write_original_checkpoint

    kind = given.continual_learning + ("" if given.continual_learning in BASELINES else f"_{options.agent.upper()}")
    input_ = f"{'fft' if options.feature == 'spectrum' else 'image'}_{BANDS.index(options.band)}"
    model = "resnet" if options.network == "resnet34" else options.network
    more = ("" if options.variant == "original" else "_paper") + (f"_seed{options.seed}" if given.num_runs > 1 else "")
    if options.variant == "paper" and options.agent == "icarl":
        return _note("no .pth is written: the paper's iCaRL decides by means of exemplars, which it cannot hold")
    for step, name in enumerate(options.stream, start=1):
        path = given.model_dir / f"{kind}_{name}_{input_}_{model}{more}_checkpoint_latest.pth"
        write_original_checkpoint(load_network(folder.path / f"model-step{step}.safetensors")[0], options, path)
        print(f"checkpoint: {path}")
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


def _test(given: argparse.Namespace) -> int:
    """Tests one checkpoint, or all in a folder; of these, one that cannot be read does not stop the others."""
    from cldf_core.runs.checkpoints import checkpoints_in, read_original_checkpoint

    paths = [given.loadmodel] if getattr(given, "loadmodel", None) else []
    if given.runtestall:
        paths = checkpoints_in(given.model_dir)
    if not paths:
        what = f"{given.model_dir} holds no .pth file" if given.runtestall else "no checkpoint is named"
        raise UserError(f"{what}; needed: --loadmodel FILE, or --runtestall True with --model_dir FOLDER")
    domains, untested = _domains(given)
    for note in untested:
        _note(note)
    failed = 0
    for path in paths:
        try:
            network, options, _ = read_original_checkpoint(path)
        except UserError as error:
            if not given.runtestall:
                raise
            print(f"\nleft aside: {error}", file=sys.stderr)
            failed += 1
            continue
        print(f"\n{path}")
        for domain in domains:
            print(_line(domain.name, _scored(network, options, domain, given)), flush=True)
    return int(failed > 0)


def _scored(network: Network, options: Options, domain: Domain, given: argparse.Namespace) -> dict[str, float]:
    """Accuracies of a checkpoint's network on a test set."""
    from dataclasses import replace

    from cldf_core.agents import build_agent
    from cldf_core.data.cache import spectra
    from cldf_core.data.runtime import project_root, thread_count
    from cldf_core.evaluation.metrics import detection
    from cldf_core.protocol import score_samples
    from cldf_core.runs.notes import data_notes
    from cldf_core.runs.run import domain_samples

    if getattr(given, "model", options.network) != options.network:
        _note(f"the file holds a {options.network}, so --model {given.model} is left aside")
    flags = [flag for flag in ("feature", "mode", "jpg_level", "resize_size", "threads") if hasattr(given, flag)]
    changes = {FLAGS[flag][0]: getattr(given, flag) for flag in flags}
    changes |= {"agent": "sequential", "device": device(given), "untested": [], "splits": ["test"]}
    options = checked({**options.model_dump(), **changes}, where="cldf test")
    agent = build_agent(options)
    agent.network = network.to(agent.device)
    table = domain.table[domain.table["split"] == "test"]
    read = spectra(replace(domain, table=table), options, project_root() / "data" / "spectra")
    for note in data_notes(options, {domain.name: read}, {(domain.name, "test")}):
        _note(note)
    labels = read.table["label"].to_numpy()
    with thread_count(options.threads):
        logits = score_samples(agent.score, domain_samples(read, read.table))
    # The verdict is "fake" from logit 0 up, that is from P(fake) = 0.5.
    return detection(labels, logits, threshold=0.0, names=list(WORDS))


def _check_folders(given: argparse.Namespace) -> None:
    for flag in ("model_dir", "log_dir"):
        if (path := getattr(given, flag)).exists() and not path.is_dir():
            raise UserError(f"--{flag} is {path}, which is a file; needed: a folder, or a name for a new one")
    if given.enable_logging:
        _event_writer()


def _domains(given: argparse.Namespace, training: Sequence[str] = ()) -> tuple[list[Domain], list[str]]:
    """The domains of --test_set but for those without test images, which leave the flag; and a note on each of these.

    So the README's lines and run_all_train.py's go through on one data set, which may have VFHQ's training images
    and VFHQ-F's test images alone. The domains to train on are only looked at.
    """
    from cldf_core.data.layouts.read import data_folder, read_domains

    folder = data_folder(given.data)
    names = list(dict.fromkeys([*training, *given.test_set]))
    domains = dict(zip(names, read_domains(folder, names), strict=True))
    for name in training:
        if not (domains[name].table["split"] == "train").any():
            raise UserError(f"{name} in {folder} has no training images (folders trainA, trainB), so it cannot train")
    tested = {name for name, domain in domains.items() if (domain.table["split"] == "test").any()}
    untested = [name for name in given.test_set if name not in tested]
    if len(untested) == len(given.test_set):
        raise UserError(f"there are no test images (folders testA, testB) of {', '.join(untested)} in {folder}")
    given.test_set = [name for name in given.test_set if name in tested]
    notes = [f"{name} has no test images (folders testA, testB), so it is not tested" for name in untested]
    return [domains[name] for name in given.test_set], notes


def _with_weights(options: Options) -> tuple[Options, list[str]]:
    """The options with ImageNet weights in the variant original, which starts from them; and what is to be noted.

    Where there are none, training starts from scratch. Weights that were asked for have to be there.

    Raises:
        UserError: the weights that were asked for cannot be had, or do not fit.
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
        own = type(error) is ValueError or isinstance(error, FileNotFoundError)  # build_network's sentences
        why = f"{error}" if own else f"weights is {asked!r}, which cannot be read as weights ({type(error).__name__})"
        raise UserError(f"--{why}") from None
    return checked({**options.model_dump(), "weights": wanted}), []


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
