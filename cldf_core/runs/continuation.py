"""Going on: a run whose stream begins as a finished one's did starts from the state in which that one ended.

Its scores and networks are those of a run that was trained from the beginning, byte for byte, as long as the method and
the libraries are the same. What is there is not trained again: the networks of earlier steps are taken over, and score
the domains that they were not tested on.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import torch

from cldf_core.agents import Agent, build_agent
from cldf_core.data.cache import Spectra
from cldf_core.data.console import note
from cldf_core.data.domains import SPLITS
from cldf_core.data.files import read_record, write_record
from cldf_core.data.layouts.read import other_sets
from cldf_core.options import Options, UserError, shown
from cldf_core.protocol import StepResult, score_samples
from cldf_core.resnet import Network
from cldf_core.runs.checkpoints import KeptStates, States, load_network, save_network, stored_options
from cldf_core.runs.folder import LINEAGE, STATE, RunFolder
from cldf_core.runs.holder import holding
from cldf_core.runs.plan import planned
from cldf_core.runs.provenance import new_manifest
from cldf_core.runs.run import domain_samples, load_spectra, make_run, score_table
from cldf_core.spectrum import InputSpec
from cldf_core.stream import Step, limit_of

# A longer run has more domains, and may have other tests.
_FREE = ("stream", "unseen", "untested", "splits", "limits")
_FACTS = ("steps", "seconds", "images", "memory_rise_bytes")


def continued(options: Options, start: RunFolder, *, wait: bool = True, progress: bool | None = None) -> RunFolder:
    """The run of these options, made from the last state of a finished run; its own state is kept, too.

    One that is there already is read, and one that was killed goes on from its own state.

    Raises:
        UserError: the options do not go on with that run's, its images have changed, it has kept no state, or the state
            cannot be read; or as `make_run`.
    """
    if _lacks_gpu(options):
        raise UserError(f"device is 'cuda', but torch finds no GPU here; needed: one, as {start.path.name} had")
    (folder,) = planned([options])
    with holding(folder.path, wait=wait):
        if not folder.finished and next(States(folder).newest(), None) is None:  # none that is whole
            _begin(options, start, folder)
    return make_run(options, wait=wait, progress=progress, keep_state=True)


def _begin(options: Options, start: RunFolder, folder: RunFolder) -> None:
    """Puts into a run's folder what it would hold if it had been killed right after the last step of the other run."""
    domains = load_spectra(options)
    known = new_manifest(options, folder.key, {name: domain.fingerprint for name, domain in domains.items()}, [])
    steps = _common_steps(options, start, known["data"])
    found = next(KeptStates(start).newest(), None)
    if found is None:
        raise UserError(f"{start.path} has kept no state to go on from; needed: a run that was made to go on")
    state, place, facts = found
    try:
        build_agent(options).load_state_dict(state)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError):  # of another version of the method
        raise UserError(
            f"the state of {start.path} cannot be read by this version; needed: a run of this one"
        ) from None
    files, done = list[Path](), _known_scores(start, domains)
    for step in range(1, steps + 1):
        network, own = load_network(start.model(step))
        save_network(network, options, folder.model(step))
        scores = _scores(options, domains, step, _scorer(own), network, done)
        folder.write_table(f"{STATE}/{folder.step_scores(step - 1).name}", scores)
        files += [folder.step_scores(step - 1), folder.model(step)]
    before = {name: start.manifest[name] for name in ("code", "versions")}
    equal = all(before[name] == known[name] for name in before) and _went_on_equally(start)
    if not equal:
        note(
            f"{start.path.name}, or a run that it went on from, was made with another method or other versions, so "
            "what goes on from it may differ from what would be trained from the beginning"
        )
    write_record(folder.path / LINEAGE, {"from": start.path.name, "steps": steps, **before, "equal": equal})
    kept = {name: facts[name] for name in _FACTS} | {"files": folder.hashes(*files)}
    States(folder).save(state, place, kept)


def _lacks_gpu(options: Options) -> bool:
    return options.device == "cuda" and not torch.cuda.is_available()


def _scorer(options: Options) -> Agent:
    """An agent with these options that scores, where there is no GPU by the processor."""
    return build_agent(options.model_copy(update={"device": "cpu"} if _lacks_gpu(options) else {}))


def _went_on_equally(run: RunFolder) -> bool:
    """Whether a run is what would be trained from the beginning, by its lineage: no other version had a part in it."""
    try:
        return bool(read_record(run.path / LINEAGE)["equal"])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError):
        return False


def _common_steps(options: Options, start: RunFolder, data: Mapping[str, str]) -> int:
    """How many domains a finished run has learned that is the beginning of one with these options, else a UserError."""
    manifest = start.manifest
    if not start.finished:
        raise UserError(f"{start.path} is not finished; needed: a finished run to go on from")
    old = stored_options(manifest["options"])
    count = len(old.stream)
    if options.stream[:count] != old.stream or len(options.stream) == count:
        raise UserError(
            f"stream is {options.stream!r}; needed, to go on from {start.path.name}: {old.stream!r} and more domains"
        )
    values, others = options.model_dump(), old.model_dump()
    for name in sorted({*values, *others} - {*_FREE}):
        if values.get(name) != others.get(name):
            needed = f"needed, to go on from {start.path.name}: {shown(others.get(name))}"
            raise UserError(f"{name} is {shown(values.get(name))}; {needed}")
    for place, name in enumerate(old.stream):
        if limit_of(options, place) != limit_of(old, place):
            raise UserError(f"limits of {name!r} differ from those of {start.path.name}; needed: the same")
        if manifest["data"].get(name) != data[name]:
            raise UserError(
                f"images of {name!r} have changed since {start.path.name} was made; needed: the same images"
            )
    return count


def scores_after(run: RunFolder, options: Options) -> pd.DataFrame:
    """What the network after a run's last step says of all that the options test, with that step's number.

    It reads them as it has learned to, whatever the options say of that. Scores that the run has are taken, and others
    are computed. Columns as those of `RunFolder.scores`.
    """
    step = len(run.manifest["options"]["stream"])
    network, own = load_network(run.model(step))
    options = options.model_copy(update={part.name: getattr(own, part.name) for part in fields(InputSpec)})
    domains = load_spectra(options)
    same = all(getattr(options, name) == getattr(own, name) for name in ("test_resize", "test_jpeg"))
    done = _known_scores(run, domains if same else {})
    learned = {"stream": stream_as_in(own, options.data)}
    return _scores(options.model_copy(update=learned), domains, step, _scorer(own), network, done)


def stream_as_in(options: Options, data: str) -> list[str]:
    """The domains that a run has learned, as those of another one are called, whose data set may be another."""
    names = (name if other_sets([name]) else f"{options.data}:{name}" for name in options.stream)
    return [name.removeprefix(f"{data}:") for name in names]


def _known_scores(run: RunFolder, domains: Mapping[str, Spectra]) -> pd.DataFrame:
    """The scores of a run on those of the domains whose images are still the same."""
    scores, data = run.scores(), run.manifest["data"]
    same = [name for name, domain in domains.items() if data.get(name) == domain.fingerprint]
    return scores[scores["domain"].isin(same)]


def _scores(
    options: Options, domains: Mapping[str, Spectra], step: int, agent: Agent, network: Network, scores: pd.DataFrame
) -> pd.DataFrame:
    """A table of the scores of a step: those that a run has, and of what was not tested then its network's."""
    agent.network = network.to(agent.device)
    parts = scores[scores["step"] == step].groupby(["domain", "split"])
    done = {key: dict(zip(part["image"], part["logit"], strict=True)) for key, part in parts}
    logits, tables = dict[str, Any](), dict[tuple[str, str], pd.DataFrame]()
    for name, domain in domains.items():
        for split in (split for split in SPLITS if split in options.splits and name not in options.untested):
            if len(table := domain.table[domain.table["split"] == split]):
                tables[name, split], known = table, done.get((name, split), {})
                if {*table["image"]} <= {*known}:
                    logits[f"{name}/{split}"] = table["image"].map(known).to_numpy(float)
                else:
                    place = options.stream.index(name) if name in options.stream else -1
                    samples = domain_samples(domain, table, place)
                    logits[f"{name}/{split}"] = score_samples(agent.scorer(place), samples)
    return score_table(StepResult(cast(Step, SimpleNamespace(index=step - 1)), logits, [], 0, 0), tables)
