"""How detectors that were trained before bear what happens to images: every test image, corrupted, scored by all.

Trains nothing. An image is decoded once, and the spectrum of each of its versions is computed once and scored by
every network; a block of images at a time, so memory is bounded. What was measured is kept in two tables:

scores-<key>.parquet    agent, domain, corruption, severity, image, group, label, logit, score
traces-<key>.parquet    trace, domain, corruption, severity, image, group, label, value
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit

from cldf_core.data.cache import Spectra
from cldf_core.data.corruptions import VERSIONS, versions
from cldf_core.data.files import file_hash, whole_file
from cldf_core.data.images import ImageProblem, open_image
from cldf_core.data.runtime import in_processes, thread_count
from cldf_core.data.source_trees import tree_hash
from cldf_core.detection.detector import Detector, logits_of
from cldf_core.evaluation.traces import line_ratio
from cldf_core.options import Options, UserError
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.folder import RunFolder
from cldf_core.spectrum import Band, InputSpec, band_mask, log_magnitude

BLOCK = 64  # images decoded, processed and scored at once, and the networks' batch
PARALLEL_FROM = 4 * BLOCK  # images; fewer are done before other processes have started
IMAGES = 100  # test images of each class and domain that are measured when nothing else is said
PERIODS = (2, 4, 8)  # of the grids that are looked for, in pixels
BANDS: tuple[Band, ...] = ("low", "mid", "high")
_INPUT = ("size", "crop", "feature", "plane", "band", "precision")
_Found = tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]


@dataclass(frozen=True)
class Measured:
    """What the networks say of every version of every image, and what the spectra of these versions show.

    Attributes:
        scores: agent, domain, corruption, severity, image, group, label, logit, score; a row for each image and each
            of `corruptions.VERSIONS`.
        traces: trace, domain, corruption, severity, image, group, label, value. "grid 2" is `line_ratio` of period 2
            (0 is no grid); "low", "mid" and "high" are mean log magnitudes of the bands.
    """

    scores: pd.DataFrame
    traces: pd.DataFrame


def measure(
    runs: Mapping[str, RunFolder],
    domains: Mapping[str, Spectra],
    folder: Path,
    *,
    images: int | None = IMAGES,
    split: str = "test",
    workers: int | None = None,
    progress: bool | None = None,
) -> Measured:
    """Scores all versions of test images with the networks that runs have after their last step.

    A second call with the same networks, images and code reads what the first one wrote. The noise of an image
    depends on the run's seed and the image's path alone, so the result does not depend on the number of processes.
    `separate` has a network for each trained domain: each scores its own domain, and unseen ones are left out.

    Args:
        runs: finished ones, by agent, that were trained on the same spectra.
        domains: as `experiment.load_spectra` gives them.
        folder: where the tables are kept.
        images: of each class and domain, as `sample` chooses them; None takes all.
        split: whose images.
        workers: processes; None takes one for each processor where there are many images, and one on a GPU.
        progress: shows a bar; None decides by where it runs.

    Raises:
        UserError: a network is missing, two read different spectra, or there is no image of the split.
    """
    files = [(agent, *found) for agent, run in runs.items() for found in _files(agent, run)]
    tables = {name: sample(d.table[d.table["split"] == split], images) for name, d in domains.items()}
    tables = {name: table for name, table in tables.items() if len(table)}
    if not tables:
        raise UserError(f"there is no image of split {split!r} in {', '.join(domains)}, so nothing can be measured")
    paths = [folder / f"{name}-{_key(runs, files, tables)}.parquet" for name in ("scores", "traces")]
    if not all(path.is_file() for path in paths):
        detectors = [(agent, _detector(path, of)) for agent, path, of in files]
        for agent, detector in detectors:
            _check_input(agent, detector.options, *detectors[0])
        measured = _measured(tables, domains, detectors, workers, progress)
        for path, table in zip(paths, measured, strict=True):
            with whole_file(path) as partial:
                table.to_parquet(partial, index=False)
    return Measured(*map(pd.read_parquet, paths))


def sample(table: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """At most so many images of each class, as evenly from all groups as possible; rows stay in their order.

    Intervals are over groups, so a few images of every group say more than many images of a few. Which ones
    depends on the names of group and file alone: a real image and a fake of the same name stay together.

    Args:
        table: columns image, label, group.
        most: images of each class; None takes all.
    """
    draw = [zlib.crc32(f"{g}/{Path(i).stem}".encode()) for g, i in zip(table["group"], table["image"], strict=True)]
    drawn = table[["image", "label", "group"]].assign(draw=draw).sort_values(["draw", "image"])
    drawn["turn"] = drawn.groupby(["label", "group"]).cumcount()
    chosen = drawn.sort_values(["turn", "draw", "image"]).groupby("label").head(len(table) if most is None else most)
    return table.loc[table.index.isin(chosen.index)]


def crops_of(root: Path, image: str, options: Options, which: Sequence[tuple[str, float]] = VERSIONS) -> np.ndarray:
    """The versions of a stored image as they are measured; see `corruptions.versions`.

    Args:
        root: the domain's folder.
        image: its path in there, which together with options.seed is the noise's seed.
        options: size, crop and seed.
        which: of `corruptions.VERSIONS`.
    """
    seed = [options.seed, zlib.crc32(image.encode())]
    return versions(open_image(root / image), options.size, options.crop, which=which, seed=seed)


def trace_names(size: int) -> list[str]:
    """Those that `traces_of` measures in squares of this size: grids of periods that divide it, and bands."""
    return [*(f"grid {period}" for period in PERIODS if size % period == 0), *BANDS]


def traces_of(pixels: np.ndarray) -> np.ndarray:
    """The traces of notebook 02 in single images, from log magnitudes averaged over the colour channels.

    Args:
        pixels: uint8, shape (N, 3, size, size), size even.

    Returns:
        Shape (traces, N), in the order of `trace_names`: `line_ratio` of each grid, mean log magnitude of each band.
    """
    size = pixels.shape[-1]
    planes = log_magnitude(pixels).mean(1)
    grids = [line_ratio(planes, period) for period in PERIODS if size % period == 0]
    return np.stack([*grids, *(planes[:, band_mask(size, size, band)].mean(1) for band in BANDS)])


def _files(agent: str, run: RunFolder) -> list[tuple[Path, tuple[str, ...]]]:
    """The networks that an agent has in the end, each with the domains that it scores; none means all."""
    stream = run.manifest["options"]["stream"]
    own: dict[int, tuple[str, ...]] = {len(stream): ()}
    if agent == "separate":
        own = {step: (name,) for step, name in enumerate(stream, start=1)}
    found = [(run.path / f"model-step{step}.safetensors", names) for step, names in own.items()]
    for path, _ in found:
        if not path.is_file():
            raise UserError(f"the run of {agent!r} lacks {path}; delete its folder and run its notebook again")
    return found


def _key(runs: Mapping[str, RunFolder], files: Sequence[Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """Hash of all that the scores depend on. A run's name stands for its options and its data."""
    networks = [(agent, runs[agent].path.name, path.name, file_hash(path)) for agent, path, _ in files]
    chosen = [(name, table["image"].tolist()) for name, table in tables.items()]
    libraries = [version(name) for name in ("torch", "pillow", "numpy", "scipy")]
    code = tree_hash(["detection.robustness"], without=["options", "data.layouts", "data.files", "data.mini"])
    parts = [networks, chosen, VERSIONS, libraries, code]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _detector(path: Path, domains: tuple[str, ...]) -> Detector:
    network, options = load_network(path)
    device = "cuda" if options.device == "cuda" and torch.cuda.is_available() else "cpu"
    return Detector(network.to(device), options, path.name, domains)


def _check_input(agent: str, options: Options, first: str, other: Detector) -> None:
    for name in _INPUT:
        here, there = getattr(options, name), getattr(other.options, name)
        if here != there:
            raise UserError(
                f"{name} is {here!r} in the run of {agent!r} and {there!r} in that of {first!r}; "
                "needed: runs whose networks read the same spectra"
            )


def _measured(
    tables: Mapping[str, pd.DataFrame],
    domains: Mapping[str, Spectra],
    detectors: Sequence[tuple[str, Detector]],
    workers: int | None,
    progress: bool | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and traces of the tables' images."""
    # Separate models do not score an unseen domain, so there may be nothing to do.
    own = {name: [(a, d) for a, d in detectors if not d.trained_on or name in d.trained_on] for name in tables}
    work = [
        (name, table["image"].tolist()[start : start + BLOCK])
        for name, table in tables.items()
        for start in range(0, len(table) if own[name] else 0, BLOCK)
    ]
    tasks = [(domains[name].root, [d for _, d in own[name]], images) for name, images in work]
    if workers is None and any(next(d.network.parameters()).is_cuda for _, d in detectors):
        workers = 1
    done = in_processes(
        _block, tasks, workers=workers, parallel_from=PARALLEL_FROM, size=lambda task: len(task[2]), progress=progress
    )
    found: dict[str, list[_Found]] = {name: [] for name, _ in work}
    for (name, _), of_block in zip(work, done, strict=True):
        found[name].append(of_block)
    scores, traces = [], []
    for name, blocks in found.items():
        logits, values, unusable = zip(*blocks, strict=True)
        aside = [image for of_block in unusable for image in of_block]
        if aside:
            print(f"note: {name}: {len(aside)} images left out, the first is {': '.join(aside[0])}", file=sys.stderr)
        table = tables[name][~tables[name]["image"].isin([image for image, _ in aside])].assign(domain=name)
        scores.append(_tidy("agent", [agent for agent, _ in own[name]], "logit", logits, table))
        traces.append(_tidy("trace", trace_names(detectors[0][1].options.size), "value", values, table))
    both = pd.concat(scores, ignore_index=True)
    return both.assign(score=expit(both["logit"])), pd.concat(traces, ignore_index=True)


def _block(task: tuple[Path, Sequence[Detector], Sequence[str]]) -> _Found:
    """One block of images in all versions.

    Args:
        task: folder, networks and images.

    Returns:
        Logits of fake, float64 (networks, V, n); traces, (traces, V, n); and the images that are left out of all
        versions since one of them cannot be made, with reasons.
    """
    root, detectors, images = task
    options, cut, aside = detectors[0].options, [], []
    for image in images:
        try:
            cut.append(crops_of(root, image, options))
        except ImageProblem as problem:
            aside.append((image, str(problem)))
    logits = np.empty((len(detectors), len(VERSIONS), len(cut)))
    traces = np.empty((len(trace_names(options.size)), len(VERSIONS), len(cut)))
    with thread_count(1):  # in every process, so that their number changes no digit
        for place in range(len(VERSIONS) if cut else 0):
            pixels = np.stack([of_image[place] for of_image in cut])
            traces[:, place] = traces_of(pixels)
            inputs = InputSpec.from_options(options).network_input(pixels)
            logits[:, place] = [logits_of(d.network, d.options, inputs) for d in detectors]
    return logits, traces, aside


def _tidy(kind: str, names: Sequence[str], what: str, parts: Sequence[np.ndarray], table: pd.DataFrame) -> pd.DataFrame:
    """Values of shape (names, V, images), in parts along the images, as a table with a row for each."""
    values = np.concatenate(parts, axis=2)
    which, place, image = (index.ravel() for index in np.indices(values.shape))
    corruption, severity = (np.array(column)[place] for column in zip(*VERSIONS, strict=True))
    about = {"domain": table["domain"].to_numpy()[image], "corruption": corruption, "severity": severity}
    rows = {column: table[column].to_numpy()[image] for column in ("image", "group", "label")}
    return pd.DataFrame({kind: np.array(names)[which], **about, **rows, what: values.ravel()})
