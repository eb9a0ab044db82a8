"""The seed's commands: `cldf train …` and `cldf test …` in place of `python ./run.py …`, with the same flags."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cldf_core.options import Options, UserError, checked
from cldf_core.runs.flags import BANDS, BASELINES, FLAGS, WITHOUT_EFFECT, device, options_of, parse

if TYPE_CHECKING:
    import pandas as pd

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


def main(words: Sequence[str]) -> int:
    """Runs `train …` or `test …`; returns the exit status.

    Raises:
        UserError: an unknown flag or name, or a value that is not allowed.
    """
    command, *rest = words
    given = parse(command, rest)
    for name in WITHOUT_EFFECT:
        if hasattr(given, name):
            _note(f"--{name} changes nothing here")
    if given.all:
        return _train_all(command, rest)
    return _test(given) if command == "test" or given.runtest or given.runtestall else _train(given)


def _train(given: argparse.Namespace) -> int:
    """Trains, tests after every domain, and writes a checkpoint for each, as the seed did."""
    from cldf_core.runs import experiment

    options = options_of(given)
    if options.network != "slim" and options.weights is None and given.variant == "seed":
        options = _with_imagenet(options)
    tables = []
    for run in range(given.num_runs):
        own = checked({**options.model_dump(), "seed": options.seed + run})
        folder = experiment.run(own)
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
    failed = []
    for name, line in RUN_ALL.items():
        print(f"\n{name}: cldf {command} {line}")
        try:
            _train(parse(command, [*line.split(), *(word for word in rest if word != "--all")]))
        except UserError as error:
            print(f"{name} failed: {error}", file=sys.stderr)
            failed.append(name)
    return int(bool(failed))


def _results(folder: RunFolder, options: Options, test_set: Sequence[str]) -> pd.DataFrame:
    """Prints accuracies after every domain; returns them: step, domain, and a column for each."""
    import pandas as pd

    from cldf_core.metrics import detection

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


def _line(name: str, values: dict[str, float]) -> str:
    """One test set's accuracies; the seed's words in brackets. A class without images has none."""
    parts = [f"{metric} {values[metric]:.4f} ({word})" for metric, word in WORDS.items()]
    return f"Test set: {name} - " + " - ".join(parts).replace("nan", "–")


def _print_spread(tables: Sequence[pd.DataFrame]) -> None:
    import numpy as np

    from cldf_core.metrics import over_seeds

    print(f"\n{len(tables)} runs, after the last step: mean accuracy and 95 % t interval")
    for name in tables[0]["domain"].unique():
        last = [t[(t["domain"] == name) & (t["step"] == t["step"].max())]["accuracy"].item() for t in tables]
        mean, low, high = over_seeds(np.array(last))
        print(f"Test set: {name} - accuracy {mean:.4f} [{low:.4f}, {high:.4f}]")


def _write_checkpoints(folder: RunFolder, options: Options, given: argparse.Namespace) -> None:
    """A .pth for every domain, named as the seed's; ER and MIR, and further seeds, have names of their own."""
    from cldf_core.runs.checkpoints import load_network, write_seed_checkpoint

    kind = given.continual_learning + ("" if given.continual_learning in BASELINES else f"_{options.agent.upper()}")
    input_ = f"{'fft' if options.feature == 'spectrum' else 'image'}_{BANDS.index(options.band)}"
    model = "resnet" if options.network == "resnet34" else options.network
    more = f"_seed{options.seed}" if given.num_runs > 1 else ""
    if options.variant == "paper" and options.agent == "icarl":
        return _note("no .pth is written: the paper's iCaRL decides by means of exemplars, which it cannot hold")
    for step, name in enumerate(options.stream, start=1):
        path = given.model_dir / f"{kind}_{name}_{input_}_{model}{more}_checkpoint_latest.pth"
        write_seed_checkpoint(load_network(folder.path / f"model-step{step}.safetensors")[0], options, path)
        print(f"checkpoint: {path}")
    return None


def _write_events(folder: RunFolder, log_dir: Path) -> None:
    """Losses and accuracies of a run as TensorBoard files."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--enable_logging needs the package tensorboard: pip install tensorboard") from None
    with SummaryWriter(str(log_dir / folder.path.name)) as writer:
        epochs = 0
        for step in folder.manifest["steps"]:
            for loss in step["losses"]:
                epochs += 1
                if loss is not None:
                    writer.add_scalar("loss", loss, epochs)
        for row in folder.metrics().itertuples():
            if row.split == "test":
                writer.add_scalar(f"{row.metric}/{row.domain}", row.value, row.step)
    print(f"TensorBoard: {log_dir / folder.path.name}")


def _test(given: argparse.Namespace) -> int:
    """Tests one checkpoint, or all in a folder."""
    paths = [given.loadmodel] if getattr(given, "loadmodel", None) else []
    if given.runtestall:
        paths = sorted(given.model_dir.glob("*.pth"))
    if not paths:
        what = f"{given.model_dir} holds no .pth file" if given.runtestall else "no checkpoint is named"
        raise UserError(f"{what}; needed: --loadmodel FILE, or --runtestall True with --model_dir FOLDER")
    for path in paths:
        scored = _scored(path, given)
        print(f"\n{path}")
        for name, values in scored.items():
            print(_line(name, values))
    return 0


def _scored(path: Path, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Accuracies of a checkpoint on each test set."""
    from dataclasses import replace

    from cldf_core.agents import build_agent
    from cldf_core.data.cache import spectra
    from cldf_core.data.layouts import data_folder, project_root, read_domains
    from cldf_core.metrics import detection
    from cldf_core.protocol import thread_count
    from cldf_core.runs.checkpoints import read_seed_checkpoint
    from cldf_core.stream import Samples

    network, options = read_seed_checkpoint(path)
    if getattr(given, "model", options.network) != options.network:
        _note(f"the file holds a {options.network}, so --model {given.model} is left aside")
    flags = [flag for flag in ("feature", "mode", "jpg_level", "resize_size", "threads") if hasattr(given, flag)]
    changes = {FLAGS[flag][0]: getattr(given, flag) for flag in flags}
    changes |= {"agent": "sequential", "device": device(given), "untested": []}
    options = checked({**options.model_dump(), **changes}, where="cldf test")
    agent = build_agent(options)
    agent.network = network.to(agent.device)
    values = {}
    for domain in read_domains(data_folder(given.data), given.test_set):
        if not (test := domain.table["split"] == "test").any():
            raise UserError(f"{domain.name} in {domain.root} has no test images (folders testA, testB)")
        read = spectra(replace(domain, table=domain.table[test]), options, project_root() / "data" / "spectra")
        labels = read.table["label"].to_numpy()
        with thread_count(options.threads):
            logits = agent.score_samples(Samples.of(read.array, labels, rows=read.table["row"].to_numpy()))
        # The verdict is "fake" from logit 0 up, that is from P(fake) = 0.5.
        values[domain.name] = detection(labels, logits, threshold=0.0, names=list(WORDS))
    return values


def _with_imagenet(options: Options) -> Options:
    """The options with ImageNet weights, which the seed starts from; without, and a note, where there are none."""
    from cldf_core.resnet import build_network

    try:
        build_network(options.network, weights="imagenet")
    except FileNotFoundError as error:
        _note(f"{error}: trained from scratch, which is recorded as weights: null")
        return options
    return checked({**options.model_dump(), "weights": "imagenet"})


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
