"""Options → data → agent → protocol → run folder. A finished run is read, a killed one goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from cldf_core.agents import Agent, build_agent, source_of
from cldf_core.data.cache import Spectra, shifted, spectra
from cldf_core.data.domains import SPLITS, DataError, with_validation
from cldf_core.data.files import source_hash
from cldf_core.data.layouts.read import data_folder, read_domains
from cldf_core.data.runtime import progress_wanted, project_root, thread_count
from cldf_core.evaluation.metrics import detection
from cldf_core.options import Options, UserError
from cldf_core.protocol import StepResult, train_and_test
from cldf_core.runs.checkpoints import load_state, save_network, save_state
from cldf_core.runs.folder import MANIFEST, METRICS, SCORES, STATE, RunFolder
from cldf_core.runs.notes import data_notes, dropped_notes
from cldf_core.stream import Samples, Step, make_steps

# The source files that a run's scores depend on; options count by their values.
_METHOD = (
    "spectrum.py",
    "resnet.py",
    "inference.py",
    "buffers.py",
    "agents/",
    "stream.py",
    "protocol.py",
    "data/images.py",
    "data/cache.py",
    "runs/run.py",
)


def make_run(options: Options, *, again: bool = False, progress: bool | None = None) -> RunFolder:
    """The run that the options describe: read if it is finished, gone on with if it was killed, else made.

    Args:
        options: checked options.
        again: throws away what there is and starts anew.
        progress: shows a bar; None decides by where it runs.

    Returns:
        The run's folder.

    Raises:
        UserError: the GPU that is asked for is not there; DataError: what `load_spectra` says.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is 'cuda', but torch finds no GPU here; allowed: cpu")
    domains = load_spectra(options)
    key = run_key(options, domains)
    folder = RunFolder(project_root() / "runs" / f"{options.agent}-{key}")
    folder.path.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.path / ".lock"), thread_count(options.threads):
        if again:
            (folder.path / MANIFEST).unlink(missing_ok=True)
            folder.forget_state()
        if not folder.finished:
            _execute(options, domains, folder, key, progress)
    return folder


def find_run(options: Options) -> RunFolder:
    """The finished run that the options describe; trains nothing.

    Raises:
        UserError: there is none.
    """
    folder = RunFolder(project_root() / "runs" / f"{options.agent}-{run_key(options, load_spectra(options))}")
    if not folder.finished:
        raise UserError(
            f"there is no finished run of {options.agent!r} with these options ({folder.path} is "
            "missing or unfinished); run the notebook that trains it, with the same parameters"
        )
    return folder


def load_spectra(options: Options) -> dict[str, Spectra]:
    """Spectra of the stream's and the unseen domains, by name, in this order.

    A domain of the stream needs training images, and one that is not in `untested` images of a scored split.

    Raises:
        DataError: a domain, or images that a domain needs, are missing; or nothing is left to be scored.
    """
    folder = data_folder(options.data)
    names = [*options.stream, *options.unseen]
    if set(names) <= set(options.untested):
        raise DataError(f"untested is {options.untested!r}, and there is no other domain that could be scored")
    domains = {}
    for read in read_domains(folder, names):
        share = options.validation_share if read.name in options.stream else 0
        domains[read.name] = spectra(with_validation(read, share, options.seed), options, _cache())
    for name, domain in domains.items():
        splits = set(domain.table["split"])
        if name in options.stream and "train" not in splits:
            raise DataError(f"domain {name!r} in {folder} has no usable training image, so it cannot be in the stream")
        if name not in options.untested and not splits & set(options.splits):
            raise DataError(f"domain {name!r} in {folder} has no usable image of split {' or '.join(options.splits)}")
    return domains


def run_key(options: Options, domains: dict[str, Spectra]) -> str:
    """Hash of all that the result depends on: options, data, the method's source, torch, threads."""
    data, source = {n: d.fingerprint for n, d in domains.items()}, source_hash(*_METHOD) + source_of(options.agent)
    what = [options.model_dump(), data, source, torch.__version__]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def domain_samples(domain: Spectra, table: pd.DataFrame) -> Samples:
    """The images of a domain that are in the table, such as those of one split."""
    return Samples.from_array(domain.array, table["label"].to_numpy(), rows=table["row"].to_numpy())


def training_samples(options: Options, domains: dict[str, Spectra]) -> list[tuple[str, Samples | list[Samples]]]:
    """Name and training images of each domain of the stream; `limit` takes the first of a seeded order.

    With a `corruption` the images are a list of versions, of which chunk c sees version c (and again the first
    after the last): one for each place in `severities`, as far as there are chunks.
    """
    stream: list[tuple[str, Samples | list[Samples]]] = []
    number = 0
    for place, name in enumerate(options.stream):
        table = domains[name].table
        table = table[table["split"] == "train"]
        if options.limit is not None:
            # The same draw for both classes: where reals and fakes are pairs, pairs stay together.
            table = pd.concat(
                [
                    part.iloc[
                        np.sort(np.random.default_rng([options.seed, place]).permutation(len(part))[: options.limit])
                    ]
                    for _, part in table.groupby("label")
                ]
            )
        labels, rows = table["label"].to_numpy(), table["row"].to_numpy()
        factors = options.severities[: options.chunks] if options.corruption != "none" else [0.0]
        arrays = {factor: shifted(domains[name], options, factor, _cache()) for factor in dict.fromkeys(factors)}
        versions = [Samples.from_array(arrays[factor], labels, place, number, rows) for factor in factors]
        stream.append((name, versions if options.corruption != "none" else versions[0]))
        number += len(rows)
    return stream


def _cache() -> Path:
    return project_root() / "data" / "spectra"


def _execute(options: Options, domains: dict[str, Spectra], folder: RunFolder, key: str, progress: bool | None) -> None:
    samples = training_samples(options, domains)
    try:
        steps = make_steps(
            samples,
            epochs=options.epochs,
            batch_size=options.batch,
            chunks=options.chunks,
            seed=options.seed,
            joint=options.agent == "joint",
            drop_last=options.drop_last,
            fixed_order=options.order == "fixed",
        )
    except ValueError as error:  # more chunks than images
        raise DataError(str(error)) from None
    tables: dict[tuple[str, str], pd.DataFrame] = {
        (name, split): domains[name].table.query("split == @split")
        for name in domains
        for split in SPLITS
        if split in options.splits and name not in options.untested
    }
    tables = {at: table for at, table in tables.items() if len(table)}
    tests = {
        f"{name}/{split}": Samples.from_array(
            domains[name].array, table["label"].to_numpy(), rows=table["row"].to_numpy()
        )
        for (name, split), table in tables.items()
    }
    agent = build_agent(options)
    notes = data_notes(options, domains, tables) + dropped_notes(options, steps)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    manifest = _manifest(options, domains, key, notes)
    done = _restore(agent, folder, manifest, len(steps))
    folder.write_manifest(manifest)
    with _bar(sum(step.updates for step in steps[done:]), progress) as advance:
        for tested in train_and_test(agent, steps, tests, seed=options.seed, after=done, advance=advance):
            done += 1
            _keep(tested, done, agent, folder, manifest, tables)
    scores = pd.concat([pd.read_parquet(folder.step_scores(s.index)) for s in steps if s.last], ignore_index=True)
    folder.write_table(SCORES, scores)
    folder.write_table(METRICS, _metrics(scores))
    manifest["status"] = "finished"
    folder.write_manifest(manifest)
    folder.forget_state()


@contextlib.contextmanager
def _bar(total: int, progress: bool | None) -> Iterator[Callable[[str], None]]:
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="batch", leave=False, disable=not progress_wanted(progress)) as bar:

        def advance(text: str) -> None:
            if not bar.disable and bar.desc != text + ": ":
                bar.set_description(text, refresh=False)
            bar.update()

        yield advance


def _restore(agent: Agent, folder: RunFolder, manifest: dict[str, Any], steps: int) -> int:
    """Brings the agent to where a killed run stopped; returns how many steps that was."""
    path = folder.path / STATE / "agent.pt"
    if not path.is_file():
        return 0
    state = load_state(path)
    agent.load_state_dict(state["agent"])
    manifest["steps"] = json.loads(state["steps"])
    manifest["resumed"] = folder.manifest.get("resumed", 0) + 1
    return min(int(state["done"]), steps)


def _keep(
    tested: StepResult,
    done: int,
    agent: Agent,
    folder: RunFolder,
    manifest: dict[str, Any],
    tables: dict[tuple[str, str], pd.DataFrame],
) -> None:
    """Stores a step: first its scores and network, last the state, which says that all is there."""
    step = tested.step
    if step.last:
        scores = [
            _score_table(step, name, split, table, tested.logits[f"{name}/{split}"])
            for (name, split), table in tables.items()
        ]
        folder.write_table(f"{STATE}/{folder.step_scores(step.index).name}", pd.concat(scores, ignore_index=True))
        save_network(agent.network, agent.options, folder.path / f"model-step{step.index + 1}.safetensors")
    manifest["steps"].append(
        {
            "step": step.index + 1,
            "domain": step.name,
            "chunk": step.chunk + 1,
            "images": tested.images,
            "seconds": round(tested.seconds, 3),
            "losses": [_plain(x) for x in tested.losses],
            "memory_bytes": agent.memory_bytes,
        }
    )
    manifest["seconds"] = round(sum(s["seconds"] for s in manifest["steps"]), 3)
    manifest["images"] = sum(s["images"] for s in manifest["steps"])
    manifest["peak_memory_bytes"] = max(manifest["peak_memory_bytes"], peak_memory())
    save_state(
        {"agent": agent.state_dict(), "done": done, "steps": json.dumps(manifest["steps"])},
        folder.path / STATE / "agent.pt",
    )
    folder.write_manifest(manifest)


def _score_table(step: Step, name: str, split: str, table: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "step": step.index + 1,
            "domain": name,
            "split": split,
            "image": table["image"].to_numpy(),
            "group": table["group"].to_numpy(),
            "label": table["label"].to_numpy(),
            "logit": logits,
            "score": 1 / (1 + np.exp(-np.clip(logits, -500, 500))),
        }
    )


def _metrics(scores: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (step, domain, split, metric, value)
        for (step, domain, split), cell in scores.groupby(["step", "domain", "split"], sort=False)
        for metric, value in detection(cell["label"].to_numpy(), cell["score"].to_numpy()).items()
    ]
    return pd.DataFrame(rows, columns=["step", "domain", "split", "metric", "value"])


def _manifest(options: Options, domains: dict[str, Spectra], key: str, notes: list[str]) -> dict[str, Any]:
    return {
        "status": "running",
        "key": key,
        "options": options.model_dump(),
        "data": {name: d.fingerprint for name, d in domains.items()},
        "notes": notes,
        "versions": versions(),
        "threads": options.threads,
        "git": git_commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": 0.0,
        "images": 0,
        "peak_memory_bytes": 0,
        "steps": [],
    }


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    import torchvision

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
    }


def git_commit() -> str | None:
    """The commit of the project's folder, with "+" when files differ from it; None outside git."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=project_root(), capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return commit and commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def collect_scores(runs: Sequence[RunFolder]) -> pd.DataFrame:
    """The scores of several runs in one table, with a column agent in front."""
    return pd.concat(
        [folder.scores().assign(agent=folder.manifest["options"]["agent"]) for folder in runs], ignore_index=True
    )


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
