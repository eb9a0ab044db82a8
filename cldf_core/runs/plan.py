"""Which run folder options name: what they read of their data, and its fingerprints. Importing it loads no torch."""

import functools
import itertools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from cldf_core.data.domains import Domain, with_validation
from cldf_core.data.files import content_hashes, contents_index
from cldf_core.data.layouts.read import data_folder, is_there, other_sets, read_named
from cldf_core.data.runtime import project_root
from cldf_core.options import Options
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.provenance import run_keys


def planned(several: Sequence[Options]) -> list[RunFolder]:
    """The run folders that options name, whether there are runs in them or not.

    What the options have in common, data and sources, is read once for all of them, and no spectra are computed.

    Raises:
        DataError: a data set or a domain is missing.
    """

    @functools.cache
    def read(data: str, names: tuple[str, ...], files: str) -> dict[str, tuple[Domain, list[str]]]:
        domains = read_named(data_folder(data), names, files)
        found = dict[str, tuple[Domain, list[str]]]()
        for root, parts in itertools.groupby(domains, key=lambda domain: domain.root):  # an index is read once
            of_root = list(parts)
            images = [image for domain in of_root for image in domain.table["image"]]
            hashes = iter(content_hashes(root, images, contents_index(cache_folder(), root)))
            found |= {domain.name: (domain, list(itertools.islice(hashes, len(domain.table)))) for domain in of_root}
        return found

    known, runs = dict[tuple[Any, ...], str](), []
    for options in several:
        names, fingerprints = names_of(options), {}
        for name in names:
            drawn = options.validation_share and name in options.stream
            part = (options.data, name, options.files, *((options.validation_share, options.seed) if drawn else ()))
            if part not in known:
                domain, hashes = read(options.data, tuple(sorted(names)), options.files)[name]
                known[part] = with_options(domain, options).fingerprint(hashes)
            fingerprints[name] = known[part]
        runs.append((options, fingerprints))
    folder, keys = project_root() / "runs", run_keys(runs)
    return [RunFolder(folder / f"{options.agent}-{key}") for options, key in zip(several, keys, strict=True)]


def made_before(
    several: Sequence[Options], kept: Collection[str] = (), *, build: bool = False
) -> list[RunFolder | None]:
    """The folder of each run that is finished and whole, or whose name is among those that are kept elsewhere.

    Data that are still to be built are built for that where it is asked for and some are kept; else their runs count as
    not made.
    """
    agents = {path.name.rpartition("-")[0] for path in (project_root() / "runs").glob("*-*")}
    agents |= {name.rpartition("-")[0] for name in kept}
    sets = [{options.data, *other_sets(names_of(options))} for options in several]
    readable = {data for data in set().union(*sets) if (kept and build) or is_there(data)}
    possible = [options.agent in agents and own <= readable for options, own in zip(several, sets, strict=True)]
    folders = iter(planned(list(itertools.compress(several, possible))))
    runs = [next(folders) if some else None for some in possible]
    done = (run and (run.path.name in kept or (run.finished and not run.damaged())) for run in runs)
    return [run if is_done else None for run, is_done in zip(runs, done, strict=True)]


def cache_folder() -> Path:
    """Where spectra are kept, and the hashes of the images that they are of."""
    return project_root() / "data" / "spectra"


def names_of(options: Options) -> list[str]:
    """The domains of the stream and the unseen ones, each once, in this order."""
    return list(dict.fromkeys([*options.stream, *options.unseen]))


def with_options(domain: Domain, options: Options) -> Domain:
    """The same domain with the validation images that the options draw, if it is one of their stream."""
    share = options.validation_share if domain.name in options.stream else 0
    return with_validation(domain, share, options.seed)
