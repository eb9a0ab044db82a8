"""The domains that a command line names: which of their images count, and what a network says of the test images."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from cldf_core import protocol
from cldf_core.data.cache import spectra
from cldf_core.data.console import note
from cldf_core.data.domains import Domain
from cldf_core.data.layouts.original import is_read_by_original
from cldf_core.data.layouts.read import data_folder, named_domains
from cldf_core.data.runtime import project_root, thread_count
from cldf_core.evaluation.metrics import detection
from cldf_core.options import Options, UserError, checked
from cldf_core.original.flags import FLAGS, device, unused
from cldf_core.resnet import Network
from cldf_core.runs.notes import data_notes
from cldf_core.runs.run import domain_samples

# A metric here: the original's word for it, which is printed too (real images are its positives).
WORDS = {"accuracy": "Accuracy", "accuracy on real": "TPR", "accuracy on fake": "TNR"}


def domains_of(flags: argparse.Namespace, training: Sequence[str] = ()) -> tuple[list[Domain], list[str]]:
    """The domains of --test_set that have test images, and notes on those that have none and on images that count.

    So the lines of the original's README and of run_all_train.py run on one data set, even if it has VFHQ's training
    images and VFHQ-F's test images alone. The domains to train on are only checked.
    """
    folder, only = data_folder(flags.data), getattr(flags, "files", "all") == "original"
    names = list(dict.fromkeys([*training, *flags.test_set]))
    domains, notes = {}, []
    for domain in named_domains(folder, names):
        read = domain.table["image"].map(is_read_by_original)
        domains[domain.name] = replace(domain, table=domain.table[read]) if only else domain
        for split, asked in (("train", training), ("test", flags.test_set)):
            of_split = read[domain.table["split"] == split]
            if domain.name in asked and not only and not of_split.all():
                counts = f"of these {len(of_split)} {split} images the original code would read {of_split.sum()}"
                notes.append(f"{domain.name}: {counts}; --files original reads these alone")
    for name in training:
        if "train" not in domains[name].table["split"].to_numpy():
            raise UserError(f"{name} in {folder} has no training images (folders trainA, trainB), so it cannot train")
    tested = [name for name in flags.test_set if "test" in domains[name].table["split"].to_numpy()]
    untested = [name for name in flags.test_set if name not in tested]
    if not tested:
        raise UserError(f"there are no test images (folders testA, testB) of {', '.join(untested)} in {folder}")
    notes += [f"{name} has no test images (folders testA, testB), so it is not tested" for name in untested]
    return [domains[name] for name in tested], notes


def scored(network: Network, options: Options, domain: Domain, flags: argparse.Namespace) -> dict[str, float]:
    """Accuracies of a checkpoint's network on a test set."""
    if getattr(flags, "model", options.network) != options.network:
        tell(f"the file holds a {options.network}, so --model {flags.model} is left aside")
    taken = {"feature", "mode", "jpg_level", "resize_size", "threads"} & vars(flags).keys() - {*unused(flags)}
    changes = {FLAGS[name][0]: getattr(flags, name) for name in taken}
    changes |= {"agent": "sequential", "untested": [], "splits": ["test"]}
    options = checked({**options.model_dump(), **changes}, where="cldf test")
    table = domain.table[domain.table["split"] == "test"]
    read = spectra(replace(domain, table=table), options, project_root() / "data" / "spectra")
    tell(*data_notes(options, {domain.name: read}, {(domain.name, "test")}))
    score = partial(network.to(device(flags)).score, mixed_precision=options.mixed_precision)
    with thread_count(options.threads):
        logits = protocol.score_samples(score, domain_samples(read, read.table))
    # The verdict is "fake" from logit 0 up, that is from P(fake) = 0.5.
    return detection(read.table["label"].to_numpy(), logits, threshold=0.0, names=list(WORDS))


def accuracies(name: str, values: dict[str, float]) -> str:
    """The accuracies on a test set, with the original's words in brackets; a class without images has none."""
    parts = [f"{metric} {values[metric]:.4f} ({word})" for metric, word in WORDS.items()]
    return f"Test set: {name} - " + " - ".join(parts).replace("nan", "–")


def tell(*texts: str) -> None:
    """Prints notes on standard error."""
    for text in texts:
        note(text)
