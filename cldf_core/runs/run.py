"""Options → data → agent → protocol → run folder. A finished run is read, a killed run is continued."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from cldf_core.agents import Agent, build_agent
from cldf_core.data.cache import Spectra, corrupted, spectra
from cldf_core.data.console import note, printable, progress_bar
from cldf_core.data.domains import SPLITS, DataError
from cldf_core.data.layouts.read import data_folder, read_named
from cldf_core.data.runtime import project_root, thread_count
from cldf_core.options import Options, UserError
from cldf_core.protocol import Place, StepResult, train_and_test
from cldf_core.randomness import generator
from cldf_core.runs.checkpoints import KeptStates, States, save_network
from cldf_core.runs.folder import MANIFEST, SCORES, STATE, RunFolder, damage
from cldf_core.runs.holder import Hold, holding, used
from cldf_core.runs.notes import data_notes, dropped_notes, machine_notes, one_class_notes
from cldf_core.runs.plan import cache_folder, names_of, planned, with_options
from cldf_core.runs.provenance import count_memory_anew, new_manifest, peak_memory, run_key
from cldf_core.stream import Samples, Step, in_chunks, limit_of, make_steps


class Watcher(Protocol):
    """Is told of a run while it trains."""

    def begin(self, folder: RunFolder) -> None:
        """Before the first step, or with all there is where the run is finished."""

    def epoch(self, loss: float) -> None:
        """After each epoch, with its mean loss; NaN where an agent has none."""

    def tested(self, scores: pd.DataFrame) -> None:
        """After each domain's last chunk, with the step's table of scores."""


Tables = Mapping[tuple[str, str], pd.DataFrame]  # the images of each domain and split that are scored


def make_run(
    options: Options,
    *,
    force: bool = False,
    wait: bool = True,
    progress: bool | None = None,
    watcher: Watcher | None = None,
    keep_state: bool = False,
) -> RunFolder:
    """The run that the options describe: read if it is finished, continued if it was killed, made otherwise.

    One with a damaged file is made again, as far as it is needed, and a note says so. `force` discards what is there
    and starts again; without `progress`, a bar is shown where somebody is watching. The `watcher` is told of all that
    happens. A run that another process makes is waited for, and then read. `keep_state` keeps the last state of a run
    that is made now, so that others can go on from it.

    Raises:
        UserError: a GPU is asked for, and torch finds none; as `load_spectra`; or as `holding`, with `wait` as there.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is 'cuda', but torch finds no GPU here; allowed: cpu")
    domains = load_spectra(options)
    folder = _folder(options, domains)
    # On a GPU convolutions would add in whatever order comes first.
    in_one_order = torch.backends.cudnn.flags(enabled=True, deterministic=True)
    with holding(folder.path, wait=wait) as hold, thread_count(options.threads), in_one_order:
        damaged = None if force else folder.damaged()
        if damaged and (folder.finished or not (folder.path / STATE).exists()):
            note(f"{damaged} is damaged, changed or missing; the run is made again")
        elif damaged and damaged.name == MANIFEST:  # of other files `_restore` tells
            note(f"{damaged} is damaged; it is made again, and the run goes on")
        if force or damaged or not folder.finished:
            hold.check()
        if force or (damaged and folder.finished):
            (folder.path / MANIFEST).unlink(missing_ok=True)
            folder.forget_state()
        if not folder.finished:
            _execute(options, domains, folder, hold, progress, watcher, keep_state)
        else:
            folder.forget_state()
            if watcher:
                watcher.begin(folder)
    return folder


def find_run(options: Options) -> RunFolder:
    """The finished run that the options describe; trains nothing, and raises UserError where there is no whole one."""
    (folder,) = planned([options])
    if damaged := folder.damaged():
        raise damage(damaged)
    if not folder.finished:
        words = f"there is no finished run of {options.agent!r} with these options ({folder.path} is missing or "
        raise UserError(words + "unfinished); run the notebook that trains it, with the same parameters")
    folder.forget_state()
    used(folder.path)
    return folder


def load_spectra(options: Options) -> dict[str, Spectra]:
    """Spectra of the stream's and the unseen domains, by name, in this order.

    Raises:
        DataError: a domain or the images that it is trained or tested on are missing, or no domain is to be tested.
    """
    folder = data_folder(options.data)
    names = names_of(options)
    if set(names) <= set(options.untested):
        raise DataError(f"untested is {options.untested!r}, and there is no other domain that could be scored")
    read = [with_options(domain, options) for domain in read_named(folder, names, options.files)]
    domains = {domain.name: spectra(domain, options, cache_folder()) for domain in read}
    for name, usable in domains.items():
        splits = set(usable.table["split"])
        if name in options.stream and "train" not in splits:
            raise DataError(f"domain {name!r} in {folder} has no usable training image, so it cannot be in the stream")
        if name not in options.untested and not splits & set(options.splits):
            raise DataError(f"domain {name!r} in {folder} has no usable image of split {' or '.join(options.splits)}")
    return domains


def domain_samples(domain: Spectra, table: pd.DataFrame, place: int = -1) -> Samples:
    """The images of a domain that are in a part of its table, such as one split; `place` in the stream, -1 outside."""
    return Samples.from_array(domain.array, table["label"].to_numpy(), place, rows=table["row"].to_numpy())


def training_samples(options: Options, domains: dict[str, Spectra]) -> list[tuple[str, Samples | list[Samples]]]:
    """Name and training images of each domain of the stream; a limit takes the first images of a seeded order.

    With a `corruption` there is a list of versions of the images, one for each of `severities`, as far as there are
    chunks, or one for each chunk whose images are corrupted together. Chunk c sees version c, and after the last
    version the first comes again.
    """
    stream: list[tuple[str, Samples | list[Samples]]] = []
    number = 0
    for place, name in enumerate(options.stream):
        table = domains[name].table
        table = table[table["split"] == "train"]
        if (limit := limit_of(options, place)) is not None:
            # The same draw for both classes: where reals and fakes are pairs, pairs stay together.
            parts = [part for _, part in table.groupby("label")]
            draws = [generator(options.seed, "limit", place).permutation(len(part)) for part in parts]
            table = pd.concat([p.iloc[np.sort(draw[:limit])] for p, draw in zip(parts, draws, strict=True)])
        labels, rows = table["label"].to_numpy(), table["row"].to_numpy()
        severities = options.severities[: options.chunks] if options.corruption != "none" else [0.0]
        if getattr(options, options.corruption, "") == "chunk" and options.agent != "joint":
            versions = []  # of which a chunk's holds no other images, as they are corrupted together
            for places, severity in zip(
                in_chunks(options, place, len(rows)), itertools.cycle(severities), strict=False
            ):
                at, severity = rows.copy(), severity if len(places) else 0.0
                array = corrupted(domains[name], options, severity, cache_folder(), rows[places])
                at[places] = np.arange(len(places)) if severity else rows[places]
                versions.append(Samples.from_array(array, labels, place, number, at))
        else:
            arrays = {s: corrupted(domains[name], options, s, cache_folder()) for s in dict.fromkeys(severities)}
            versions = [Samples.from_array(arrays[severity], labels, place, number, rows) for severity in severities]
        stream.append((name, versions if options.corruption != "none" else versions[0]))
        number += len(rows)
    return stream


def collect_scores(runs: Sequence[RunFolder]) -> pd.DataFrame:
    """The scores of several runs in one table, with a column agent besides those of `RunFolder.scores`."""
    tables = [folder.scores().assign(agent=folder.manifest["options"]["agent"]) for folder in runs]
    return pd.concat(tables, ignore_index=True)


def _fingerprints(domains: Mapping[str, Spectra]) -> dict[str, str]:
    return {name: domain.fingerprint for name, domain in domains.items()}


def _folder(options: Options, domains: Mapping[str, Spectra]) -> RunFolder:
    return RunFolder(project_root() / "runs" / f"{options.agent}-{run_key(options, _fingerprints(domains))}")


def _execute(
    options: Options,
    domains: dict[str, Spectra],
    folder: RunFolder,
    hold: Hold,
    progress: bool | None,
    watcher: Watcher | None,
    keep_state: bool,
) -> None:
    start = count_memory_anew()
    steps = _steps(options, domains)
    tables: dict[tuple[str, str], pd.DataFrame] = {
        (name, split): table
        for name, domain in domains.items()
        for split in SPLITS
        if split in options.splits and name not in options.untested
        if len(table := domain.table[domain.table["split"] == split])
    }
    places = {name: options.stream.index(name) if name in options.stream else -1 for name in domains}
    tests = {
        f"{name}/{split}": domain_samples(domains[name], table, places[name]) for (name, split), table in tables.items()
    }
    agent = build_agent(options)
    notes = data_notes(options, domains, tables) + one_class_notes(options, domains)
    notes += dropped_notes(options, steps) + machine_notes(options)
    for text in notes:
        note(text)
    manifest = new_manifest(options, folder.key, _fingerprints(domains), notes)
    place, states = Place(), States(folder)
    _restore(agent, place, states, folder, manifest)
    folder.write_manifest(manifest)
    if watcher:
        watcher.begin(folder)

    def save_state() -> None:
        hold.check()
        facts = {name: manifest[name] for name in ("steps", "files", "seconds", "images", "memory_rise_bytes")}
        states.save(agent.state_dict(), place, facts)

    with _bar(sum(step.updates for step in steps[place.steps :]), progress) as advance:
        for result in train_and_test(
            agent,
            steps,
            tests,
            seed=options.seed,
            place=place,
            advance=advance,
            after_batch=lambda: save_state() if states.are_due() else None,
            after_epoch=watcher.epoch if watcher else None,
        ):
            manifest["memory_rise_bytes"] = None if start is None else peak_memory() - start
            hold.check()
            _keep(result, agent, folder, manifest, tables)
            save_state()
            folder.write_manifest(manifest)
            if watcher and result.step.last:
                watcher.tested(pd.read_parquet(folder.step_scores(result.step.index)))
    scores = [pd.read_parquet(folder.step_scores(step.index)) for step in steps if step.last]
    hold.check()
    folder.write_table(SCORES, pd.concat(scores, ignore_index=True))
    kept = {name: digest for name, digest in manifest["files"].items() if not name.startswith(STATE)}
    manifest |= {"files": kept | folder.hashes(folder.path / SCORES), "status": "finished"}
    if keep_state:
        KeptStates(folder).take()
    folder.write_manifest(manifest)
    folder.forget_state()


def _steps(options: Options, domains: dict[str, Spectra]) -> list[Step]:
    try:
        return make_steps(training_samples(options, domains), options, _omitted(options, domains))
    except ValueError as error:  # more chunks than images
        raise DataError(str(error)) from None


def _omitted(options: Options, domains: Mapping[str, Spectra]) -> list[int]:
    """How many more images of each domain a run without `limits` and `limit_new` has, where steps make up for them."""
    counts = []
    for place, name in enumerate(options.stream):
        labels = domains[name].table.query("split == 'train'")["label"].value_counts()
        most = labels.clip(upper=options.limit)
        counts.append(int((most - most.clip(upper=limit_of(options, place))).sum()))
    return counts if options.limited == "equal-updates" else []


@contextlib.contextmanager
def _bar(total: int, progress: bool | None) -> Iterator[Callable[[str, int], None]]:
    with progress_bar(total, unit="batch", progress=progress) as bar:

        def advance(text: str, longer: int) -> None:
            nonlocal total
            total += longer
            bar.total, text = total, printable(text)
            if not bar.disable and bar.desc != text + ": ":
                bar.set_description(text, refresh=False)
            bar.update()

        yield advance


def _restore(agent: Agent, place: Place, states: States, folder: RunFolder, manifest: dict[str, Any]) -> None:
    """Gives agent, place and manifest the newest state of a killed run whose files are whole, if there is one."""
    for state, reached, facts in states.newest():
        if damaged := [name for name, digest in facts["files"].items() if not folder.is_whole(name, digest)]:
            note(f"{folder.path / damaged[0]} is damaged or missing; the run is made again from before it")
            continue
        agent.load_state_dict(state)
        vars(place).update(vars(reached))
        manifest |= facts
        break
    else:
        folder.forget_state()
        return
    with contextlib.suppress(UserError):  # the manifest is damaged, which does not matter here
        manifest["resumed"] = folder.manifest.get("resumed", 0)
    manifest["resumed"] = manifest.get("resumed", 0) + 1


def _keep(result: StepResult, agent: Agent, folder: RunFolder, manifest: dict[str, Any], tables: Tables) -> None:
    """Stores a step's scores and its network, and tells of them in the manifest."""
    step = result.step
    if step.last:
        scores, network = folder.step_scores(step.index), folder.model(step.index + 1)
        folder.write_table(f"{STATE}/{scores.name}", score_table(result, tables))
        save_network(agent.network, agent.options, network)
        manifest["files"] |= folder.hashes(scores, network)
    manifest["steps"].append(
        {
            "step": step.index + 1,
            "domain": step.name,
            "chunk": step.chunk + 1,
            "images": result.images,
            "seconds": round(result.seconds, 3),
            "losses": [None if np.isnan(loss) else round(float(loss), 6) for loss in result.losses],
            "memory_bytes": agent.memory_bytes,
        }
    )
    manifest["seconds"] = round(sum(s["seconds"] for s in manifest["steps"]), 3)
    manifest["images"] = sum(s["images"] for s in manifest["steps"])


def score_table(result: StepResult, tables: Tables) -> pd.DataFrame:
    """The scores of a step's networks, with the columns of `RunFolder.scores`."""
    parts = []
    for (name, split), table in tables.items():
        logits = result.logits[f"{name}/{split}"]
        keys = {"step": result.step.index + 1, "domain": name, "split": split}
        images = {column: table[column].to_numpy() for column in ("image", "group", "label")}
        score = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
        parts.append(pd.DataFrame({**keys, **images, "logit": logits, "score": score}))
    return pd.concat(parts, ignore_index=True)
