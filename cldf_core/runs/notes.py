"""Sentences about a run's data, and its machine, that one would not expect, for the console and the manifest."""

from collections.abc import Container, Mapping, Sequence

from cldf_core.data.cache import Spectra
from cldf_core.data.console import counted
from cldf_core.data.files import content_hashes, contents_index
from cldf_core.data.layouts.read import other_sets
from cldf_core.data.runtime import computes_in_bfloat16
from cldf_core.options import Options
from cldf_core.runs.plan import cache_folder
from cldf_core.stream import Step


def data_notes(options: Options, domains: Mapping[str, Spectra], scored: Container[tuple[str, str]]) -> list[str]:
    """Notes on domains: those of their layouts and audits, splits without images, and images that were rejected.

    `scored` holds each domain and split that has images.
    """
    from_layouts = [note for domain in domains.values() for note in domain.notes]
    empty_splits = [
        f"{name} has no {split} images, so none are scored"
        for name in domains
        for split in options.splits
        if (name, split) not in scored and name not in options.untested
    ]
    rejected = [
        f"{name}: {counted(len(table), 'image')} rejected, "
        f"the first is {table['image'].iloc[0]}: {table['reason'].iloc[0]}"
        for name, table in ((name, domain.rejected) for name, domain in domains.items())
        if len(table)
    ]
    return from_layouts + empty_splits + rejected + _leaks(options, domains)


def _leaks(options: Options, domains: Mapping[str, Spectra]) -> list[str]:
    """A note on images with the same content, of which one is trained on and one tested, in different data sets.

    Within a data set the audit looks for them, but it does not know which images become validation images for a run.
    """
    own = f"{options.data}:"
    sets = {name: (domain.root, *other_sets([name.removeprefix(own)])) for name, domain in domains.items()}
    drawn = options.validation_share and len(domains) > 1
    if len({*sets.values()}) < 2 and not drawn:
        return []
    trained, tested = dict[tuple[str, str], str](), list[tuple[str, str, str]]()
    for name, domain in domains.items():
        hashes = content_hashes(domain.root, list(domain.table["image"]), contents_index(cache_folder(), domain.root))
        for content, image, split in zip(hashes, domain.table["image"], domain.table["split"], strict=True):
            if split == "train" and name in options.stream:
                trained.setdefault((content, name), image)
            elif split != "train":
                tested.append((content, name, image))
    both = [
        (training, trained[content, training], test, other)
        for content, test, other in tested
        for training in options.stream
        if (content, training) in trained and (sets[training] != sets[test] or (drawn and training != test))
    ]
    if not both:
        return []
    training, one, test, other = both[0]
    more = f", and {len(both) - 1} more" if len(both) > 1 else ""
    return [f"{training} trains on {one}, which is the same image as {other} of {test}, on which it is tested{more}"]


def one_class_notes(options: Options, domains: Mapping[str, Spectra]) -> list[str]:
    """A note if domains of the stream have training images of one class alone."""
    trained = {name: domains[name].table.query("split == 'train'")["label"] for name in options.stream}
    alone = [name for name, labels in trained.items() if labels.nunique() == 1]
    return [f"{', '.join(alone)}: there is one class alone to train on, and a network needs both"] if alone else []


def dropped_notes(options: Options, steps: Sequence[Step]) -> list[str]:
    """A note for each domain whose images `drop_last` leaves out in part."""
    notes = []
    for index, name in enumerate(options.stream if options.drop_last else []):
        sizes = [len(step.samples) for step in steps if step.index == index]
        lost, idle = sum(size % options.batch for size in sizes), sum(size < options.batch for size in sizes)
        if not lost:
            continue
        counts = " or ".join(map(str, sorted(set(sizes))))
        note = f"{name}: each of its {len(sizes)} chunks holds" if len(sizes) > 1 else f"{name}: it holds"
        note += f" {counts} image{'s' * (counts != '1')}, "
        if lost == sum(sizes):
            note += f"less than a batch of {options.batch}, and drop_last drops incomplete batches: "
            note += "no image of it is trained on"
        else:
            note += f"and drop_last drops batches of less than {options.batch}: {lost} of {sum(sizes)} images "
            note += "are never trained on" if options.order == "fixed" else "are left out of every epoch"
            note += f", and {idle} chunks are not trained on at all" if idle else ""
        # iCaRL may go through its exemplars together with these images, which fills more batches.
        joined = getattr(options, "rehearsal", "") == "all"
        notes.append(note + (", but for batches that exemplars fill up" if joined else ""))
    return list(dict.fromkeys(notes))  # a domain may come again


def machine_notes(options: Options) -> list[str]:
    """A note if mixed precision is asked of a processor that is slower with it."""
    if not options.mixed_precision or options.device != "cpu" or computes_in_bfloat16():
        return []
    return ["mixed_precision takes longer here, not shorter: this processor has no instructions for bfloat16"]
