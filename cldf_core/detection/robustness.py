"""Scores of corrupted images by networks that were trained before, and the traces that corruptions leave in them.

Nothing is trained. An image is decoded once, and the spectrum of each of its versions is computed once and scored by
every network, a block of images at a time, so that memory is bounded. Two tables keep the results:

scores-<key>.parquet    agent, domain, corruption, severity, image, group, label, logit, score
traces-<key>.parquet    trace, domain, corruption, severity, image, group, label, value
"""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from cldf_core.data.cache import Spectra
from cldf_core.data.console import counted, note
from cldf_core.data.corruptions import VERSIONS, versions
from cldf_core.data.files import file_hash, keep_table, kept_table
from cldf_core.data.images import ImageProblem, open_image
from cldf_core.data.runtime import in_processes, thread_count
from cldf_core.data.source_trees import tree_hash
from cldf_core.detection.detector import Detector, logits_of, on_device
from cldf_core.evaluation.traces import line_ratio
from cldf_core.options import Options, UserError
from cldf_core.randomness import seed_sequence
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.folder import RunFolder
from cldf_core.spectrum import Band, InputSpec, band_mask, log_magnitude

BLOCK = 64  # images that are decoded, corrupted and scored at once; also the networks' batch
PARALLEL_FROM = 4 * BLOCK  # images; fewer are done before other processes have started
IMAGES = 100  # of each class and domain, by default
PERIODS = (2, 4, 8)  # of the grids that are looked for, in pixels
BANDS: tuple[Band, ...] = ("low", "mid", "high")


class RobustnessTables(NamedTuple):
    """The scores and the traces of every version (`corruptions.VERSIONS`) of every image."""

    scores: pd.DataFrame
    traces: pd.DataFrame


class Block(NamedTuple):
    """The results for one block of n images."""

    logits: np.ndarray  # of fake, float64, shape (networks, versions, n)
    traces: np.ndarray  # shape (traces, versions, n)
    rejected: list[tuple[str, str]]  # images left out of all versions, since one cannot be made, with reasons


def robustness_tables(
    runs: Mapping[str, RunFolder],
    domains: Mapping[str, Spectra],
    folder: Path,
    *,
    images: int | None = IMAGES,
    split: str = "test",
    workers: int | None = None,
    progress: bool | None = None,
) -> RobustnessTables:
    """Scores all versions of test images with the networks that runs have after their last step.

    A second call with the same networks, images and code reads the tables that the first one wrote. The noise of an
    image depends on the run's seed and the image's path alone, so the number of processes changes nothing. `separate`
    has a network for each trained domain: each scores its own domain, and unseen domains are left out.

    Args:
        runs: finished ones, by agent, that were trained on the same spectra.
        domains: as `load_spectra` gives them.
        folder: where the tables are kept.
        images: of each class and domain, as `sample` chooses them; None takes all.
        split: of the images.
        workers, progress: as `in_processes` takes them; on a GPU there is one process.

    Raises:
        UserError: a network is missing, two networks read different spectra, or there is no image of the split.
    """
    files = [(agent, *network) for agent, run in runs.items() for network in _networks(agent, run)]
    tables = {name: sample(d.table[d.table["split"] == split], images) for name, d in domains.items()}
    tables = {name: table for name, table in tables.items() if len(table)}
    if not tables:
        raise UserError(f"there is no image of split {split!r} in {', '.join(domains)}, so nothing can be measured")
    paths = [folder / f"{name}-{_key(runs, files, tables)}.parquet" for name in ("scores", "traces")]
    if any(kept_table(path) is None for path in paths):
        detectors = []
        for agent, path, names in files:
            network, options = load_network(path)
            detectors.append((agent, Detector(on_device(network, options), options, path.name, names)))
        for agent, detector in detectors:
            _check_input(agent, detector.options, *detectors[0])
        computed = _computed(tables, domains, detectors, workers, progress)
        for path, table in zip(paths, computed, strict=True):
            keep_table(table, path)
    return RobustnessTables(*map(pd.read_parquet, paths))


def sample(table: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """Takes at most so many images of each class, as evenly from all groups as possible; rows stay in their order.

    Intervals are over groups, so a few images of every group say more than many images of a few groups. The choice
    depends on the names of groups and files alone: a real image and a fake of the same name stay together.
    The table has columns image, label, group; None takes all images.
    """
    draw = [zlib.crc32(f"{g}/{Path(i).stem}".encode()) for g, i in zip(table["group"], table["image"], strict=True)]
    drawn = table[["image", "label", "group"]].assign(draw=draw).sort_values(["draw", "image"])
    drawn["turn"] = drawn.groupby(["label", "group"]).cumcount()
    chosen = drawn.sort_values(["turn", "draw", "image"]).groupby("label").head(len(table) if most is None else most)
    return table.loc[table.index.isin(chosen.index)]


def crops_of(root: Path, image: str, options: Options, which: Sequence[tuple[str, float]] = VERSIONS) -> np.ndarray:
    """The crops of an image's versions as the networks see them; see `corruptions.versions`.

    The image's path in the domain's folder `root` seeds the noise together with options.seed.
    """
    seed = seed_sequence(options.seed, "robustness", image)
    return versions(open_image(root / image), options.size, options.crop, which=which, seed=seed)


def trace_names(size: int) -> list[str]:
    """The traces that `image_traces` measures in crops of this size: grids of periods that divide it, and bands."""
    return [*(f"grid {period}" for period in PERIODS if size % period == 0), *BANDS]


def image_traces(pixels: np.ndarray) -> np.ndarray:
    """The traces in single images, from log magnitudes averaged over the colour channels.

    The pixels are uint8, shape (N, 3, size, size), size even. The result has shape (traces, N), in the order of
    `trace_names`: `line_ratio` of each grid (0 without a grid), then the mean log magnitude of each band.
    """
    size = pixels.shape[-1]
    planes = log_magnitude(pixels).mean(1)
    grids = [line_ratio(planes, period) for period in PERIODS if size % period == 0]
    return np.stack([*grids, *(planes[:, band_mask(size, size, band)].mean(1) for band in BANDS)])


def _networks(agent: str, run: RunFolder) -> list[tuple[Path, tuple[str, ...]]]:
    """The files of the networks that an agent has in the end, each with the domains that it scores; () means all."""
    stream = run.manifest["options"]["stream"]
    files: list[tuple[Path, tuple[str, ...]]] = [(run.model(len(stream)), ())]
    if agent == "separate":
        files = [(run.model(step), (name,)) for step, name in enumerate(stream, start=1)]
    for path, _ in files:
        if not path.is_file():
            raise UserError(f"the run of {agent!r} lacks {path}; delete its folder and run its notebook again")
    return files


def _key(runs: Mapping[str, RunFolder], files: Sequence[Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """Hash of everything that the scores depend on. A run's name stands for its options and its data."""
    networks = [(agent, runs[agent].path.name, path.name, file_hash(path)) for agent, path, _ in files]
    chosen = [(name, table["image"].tolist()) for name, table in tables.items()]
    libraries = [version(name) for name in ("torch", "pillow", "numpy", "scipy")]
    code = tree_hash(["detection.robustness"], without=["options", "data.layouts", "data.files", "data.mini"])
    parts = [networks, chosen, VERSIONS, libraries, code]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _check_input(agent: str, options: Options, first: str, other: Detector) -> None:
    for name in (field.name for field in fields(InputSpec)):
        if (value := getattr(options, name)) != (expected := getattr(other.options, name)):
            difference = f"{name} is {value!r} in the run of {agent!r} and {expected!r} in that of {first!r}"
            raise UserError(f"{difference}; needed: runs whose networks read the same spectra")


def _computed(
    tables: Mapping[str, pd.DataFrame],
    domains: Mapping[str, Spectra],
    detectors: Sequence[tuple[str, Detector]],
    workers: int | None,
    progress: bool | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and traces of the images in the tables, by domain."""
    # Separate models do not score an unseen domain, which then may have no detector.
    scoring = {name: [(a, d) for a, d in detectors if not d.trained_on or name in d.trained_on] for name in tables}
    parts = [
        (name, table["image"].tolist()[start : start + BLOCK])
        for name, table in tables.items()
        for start in range(0, len(table) if scoring[name] else 0, BLOCK)
    ]
    tasks = [(domains[name].root, [d for _, d in scoring[name]], images) for name, images in parts]
    if workers is None and any(next(d.network.parameters()).is_cuda for _, d in detectors):
        workers = 1
    results = in_processes(
        _block, tasks, workers=workers, parallel_from=PARALLEL_FROM, size=lambda task: len(task[2]), progress=progress
    )
    blocks: dict[str, list[Block]] = {name: [] for name, _ in parts}
    for (name, _), block in zip(parts, results, strict=True):
        blocks[name].append(block)
    scores, traces = [], []
    for name, results_of in blocks.items():
        logits, values, rejected = zip(*results_of, strict=True)
        lost = [image for images in rejected for image in images]
        if lost:
            note(f"{name}: {counted(len(lost), 'image')} left out, the first is {': '.join(lost[0])}")
        table = tables[name][~tables[name]["image"].isin([image for image, _ in lost])].assign(domain=name)
        scores.append(_tidy("agent", [agent for agent, _ in scoring[name]], "logit", logits, table))
        traces.append(_tidy("trace", trace_names(detectors[0][1].options.size), "value", values, table))
    joined = pd.concat(scores, ignore_index=True)
    return joined.assign(score=expit(joined["logit"])), pd.concat(traces, ignore_index=True)


def _block(task: tuple[Path, Sequence[Detector], Sequence[str]]) -> Block:
    """Scores a block of images in all versions; the task is their folder, the networks, and their names."""
    root, detectors, images = task
    options = detectors[0].options
    crops: list[np.ndarray] = []
    rejected: list[tuple[str, str]] = []
    for image in images:
        try:
            crops.append(crops_of(root, image, options))
        except ImageProblem as problem:
            rejected.append((image, str(problem)))
    logits = np.empty((len(detectors), len(VERSIONS), len(crops)))
    traces = np.empty((len(trace_names(options.size)), len(VERSIONS), len(crops)))
    with thread_count(1):  # in every process, so that their number changes no digit
        for place in range(len(VERSIONS) if crops else 0):
            pixels = np.stack([versions_of_image[place] for versions_of_image in crops])
            traces[:, place] = image_traces(pixels)
            inputs = InputSpec.from_options(options).network_input(pixels)
            logits[:, place] = [logits_of(d.network, d.options, inputs) for d in detectors]
    return Block(logits, traces, rejected)


def _tidy(kind: str, names: Sequence[str], what: str, parts: Sequence[np.ndarray], table: pd.DataFrame) -> pd.DataFrame:
    """A table with a row for each value; the parts have shape (names, versions, n) and follow each other along n."""
    values = np.concatenate(parts, axis=2)
    which, place, image = (index.ravel() for index in np.indices(values.shape))
    corruption, severity = (np.array(column)[place] for column in zip(*VERSIONS, strict=True))
    described = {"domain": table["domain"].to_numpy()[image], "corruption": corruption, "severity": severity}
    rows = {column: table[column].to_numpy()[image] for column in ("image", "group", "label")}
    return pd.DataFrame({kind: np.array(names)[which], **described, **rows, what: values.ravel()})
