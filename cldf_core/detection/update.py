"""Teaches a detector a new kind of fake, and decides whether what comes out may take its place."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from cldf_core.data.console import counted, note
from cldf_core.data.domains import CLASSES
from cldf_core.data.runtime import project_root
from cldf_core.detection.detector import load_detector
from cldf_core.detection.in_use import changing, history, lineage, named, use
from cldf_core.evaluation.gate import MAX_LOSS, Gate, changes, check_decidable, gate
from cldf_core.options import Options, UserError, checked
from cldf_core.results.score_tables import run_options
from cldf_core.runs.checkpoints import KeptStates, stored_options
from cldf_core.runs.continuation import continued, scores_after, stream_as_in
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.holder import holding
from cldf_core.runs.run import load_spectra, make_run
from cldf_core.stream import limit_of

KINDS = ("new", "old", "unseen")
METRICS = ("accuracy", "AUC", "ECE")


@dataclass(frozen=True)
class Update:
    """What an update has come to.

    Attributes:
        before, after: the run of the detector in use, and that of the updated one.
        gate: the decision, by validation photographs.
        table: by test photographs: kind (KINDS), domain, metric, before, after, value (after minus before), low, high;
            the ECE is that of P(fake) as each detector gives it.
        facts: fact, before and after: temperature, and the threshold that is best on validation photographs.
    """

    before: RunFolder
    after: RunFolder
    gate: Gate
    table: pd.DataFrame
    facts: pd.DataFrame


def update(
    detector: RunFolder | None,
    domain: str,
    *,
    limit: int | None = None,
    agent: str | None = None,
    max_loss: float = MAX_LOSS,
    record: Path | None = None,
    progress: bool | None = None,
) -> Update:
    """Learns a domain, compares the detector before and after, and takes the new one into use if the gate lets it.

    A domain that was learned last is learned anew, from the state before it: so more images of it replace those of
    before, and the stream names each domain once.

    Args:
        detector: the run of the detector that learns; None takes the one that is in use when nobody else changes it.
        domain: of the run's data set, or `set:domain` of another one.
        limit: images of each class that are learned; None takes all.
        agent: another one than the run's, which is then trained from the beginning.
        max_loss: the bound of `gate`.
        record: of what is in use, as in `in_use`.

    Raises:
        UserError: the domain is not there, was learned before others, or cannot be learned; or as `gate`, before
            anything is trained.
    """
    with changing():
        detector = detector or named(None, record)
        old = stored_options(run_options(detector))
        start, options = _to_learn(detector, old, domain, limit, agent)
        learned = options.stream[:-1]
        _check(detector, old, options, limit)
        if start is not None and next(KeptStates(start).newest(), None) is not None:
            after = continued(options, start, progress=progress)
        else:
            why = f"{start.path.name} has kept no state to go on from" if start else "no run from before is known"
            why = why if options.agent == old.agent else f"{detector.path.name} is of the agent {old.agent}"
            note(f"{why}, so the new detector is trained from the beginning")
            after = make_run(options, progress=progress, keep_state=True)
        with holding(after.path):  # or `cldf runs gc` could take it for one that nobody needs
            scores = _both(detector, after)
            if count := int((~np.isfinite(scores["logit"])).sum()):
                raise UserError(
                    f"{after.path.name} gives {counted(count, 'image')} no number (its training diverged), "
                    "so it is not taken into use; allowed: fewer epochs or a lower learning rate"
                )
            decision = gate(scores.assign(score=expit(scores["logit"])), learned, max_loss=max_loss)
            found = Update(detector, after, decision, *_report(detector, after, scores, new=options.stream[-1]))
            if after.path.name == detector.path.name:
                note(f"{after.path.name} has learned just that already, so nothing is new")
            if decision.accepted:
                _take_into_use(found, f"update with {domain}, {decision.in_words()}", record)
    return found


def _take_into_use(found: Update, why: str, record: Path | None) -> None:
    """Takes the updated detector into use; tells if one was in use that knows what this one does not."""
    uses = history(record)
    if uses and uses[-1].run == found.after.path.name:
        return
    use(found.after, why, record)
    if uses and uses[-1].run != found.before.path.name:
        replaced = RunFolder(project_root() / "runs" / uses[-1].run)
        options = stored_options(run_options(found.after))
        known = stream_as_in(stored_options(run_options(replaced)), options.data) if replaced.path.is_dir() else []
        lost = [name for name in known if name not in options.stream]
        if lost:
            back = f"cldf detector use {replaced.path.name} goes back to it"
            note(f"{replaced.path.name} was in use and knows {', '.join(lost)}, which the new one does not; {back}")


def _to_learn(
    detector: RunFolder, old: Options, domain: str, limit: int | None, agent: str | None
) -> tuple[RunFolder | None, Options]:
    """The run to go on from, None where there is none, and the options of the updated detector's."""
    name = domain.removeprefix(f"{old.data}:")
    agent = old.agent if agent is None else agent
    stream, start = list(old.stream), detector if agent == old.agent else None
    if name not in stream and (known := _parts(name) & {part for learned in stream for part in _parts(learned)}):
        raise UserError(f"{name} holds {min(known)}, which was learned before; allowed: a new domain")
    if name in stream[:-1]:
        raise UserError(
            f"{name} was learned before {stream[-1]}; allowed: a new domain, or more images of the last one"
        )
    if name == stream[-1]:
        if len(stream) == 1:
            raise UserError(f"{name} is all that the detector knows; needed: another domain")
        stream = stream[:-1]
        if start is not None:
            start = next((run for run, _ in lineage(detector) if run_options(run)["stream"] == stream), None)
    values = old.model_dump() if agent == old.agent else {n: getattr(old, n) for n in Options.model_fields}
    values |= {"agent": agent, "stream": [*stream, name]}
    values["unseen"] = [other for other in old.unseen if other != name]
    values["limits"] = {place: n for place, n in old.limits.items() if place != name} | ({name: limit} if limit else {})
    return start, checked(values, where=f"update with {domain}")


def _parts(name: str) -> set[str]:
    """The domains of a union, A+B or set:A+B; of any other name itself."""
    data, colon, own = name.rpartition(":")
    return {f"{data}{colon}{part}" for part in own.split("+")}


def _check(detector: RunFolder, old: Options, options: Options, limit: int | None) -> None:
    """Refuses an update that could not be decided or learned, and tells what is learned otherwise than it may seem."""
    *learned, new = options.stream
    if "validation" not in options.splits:
        raise UserError(
            f"{detector.path.name} has no validation scores, and they decide (splits is {options.splits!r}); "
            "needed: a detector that was trained with validation among its splits"
        )
    if untested := [name for name in learned if name in options.untested]:
        raise UserError(f"{untested[0]} is not tested (untested), so nobody could tell whether it is forgotten")
    tables = {name: domain.table for name, domain in load_spectra(options).items()}
    images = pd.concat([table[table["split"] == "validation"].assign(domain=name) for name, table in tables.items()])
    check_decidable(images, learned)
    if images.loc[images["domain"].isin(learned), "label"].nunique() < 2:
        raise UserError("the validation images of old domains are of one class; needed: reals and fakes")
    there = tables[new].query("split == 'train'")["label"].value_counts()
    if len(there) < len(CLASSES):
        held = f"only {CLASSES[there.index[0]]} images" if len(there) else "no images"
        raise UserError(f"{new} has {held} to learn from; needed: real and fake ones (cldf data add has --reals)")
    every, few = there.clip(upper=options.limit), there.clip(upper=limit_of(options, len(learned)))
    before = there.clip(upper=limit_of(old, len(old.stream) - 1)).max() if new == old.stream[-1] else 0
    if few.max() < before:
        needed = f"needed: a --limit of {before} or more, as it replaces them"
        raise UserError(f"{detector.path.name} has learned {new} from {before} images a class; {needed}")
    if limit and few.max() < limit:
        bound = f"the run's limit for each domain is {options.limit}" if few.max() == options.limit else "that is all"
        note(f"{few.max()} images a class of {new} are learned, not {limit}: {bound}")
    if options.limited == "equal-updates" and options.agent != "gdumb" and few.sum() < every.sum():
        often = f"gone through more often than in {counted(options.epochs, 'epoch')}, by as many updates as with all"
        note(f"{few.max()} of {every.max()} images a class are {often} (limited: {options.limited})")


def compared(first: RunFolder, second: RunFolder) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The `table` and the `facts` of `Update` for any two detectors, on the images that the second one's run tests."""
    return _report(first, second, _both(first, second))


def _both(before: RunFolder, after: RunFolder) -> pd.DataFrame:
    """Scores of the same images by both detectors: step 1 is before, step 2 after."""
    scores = after.scores()
    last = scores[scores["step"] == scores["step"].max()]
    first = scores_after(before, stored_options(run_options(after)))
    return pd.concat([first.assign(step=1), last.assign(step=2)], ignore_index=True)


def _report(
    before: RunFolder, after: RunFolder, scores: pd.DataFrame, new: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of `Update`, by test photographs; temperatures and thresholds are those of each detector."""
    for run in (before, after):
        if not (run.scores()["split"] == "validation").any():
            raise UserError(
                f"{run.path.name} has no validation scores; needed: runs with validation among their splits"
            )
    detectors = [load_detector(str(run.path), threshold="validation") for run in (before, after)]
    heat = scores["step"].map({step: d.temperature or 1.0 for step, d in enumerate(detectors, start=1)})
    split = "test" if (scores["split"] == "test").any() else "validation"
    table = changes(scores.assign(score=expit(scores["logit"] / heat)), metrics=METRICS, split=split)
    old, options = (stored_options(run_options(run)) for run in (before, after))
    known, learned = stream_as_in(old, options.data), options.stream
    kinds = dict.fromkeys(learned, "new") | dict.fromkeys(known, "old") | ({new: "new"} if new else {})
    table.insert(0, "kind", [kinds.get(name, "unseen") for name in table["domain"]])
    order = {name: place for place, name in enumerate(dict.fromkeys(table["domain"]))}
    table = table.assign(place=table["kind"].map(KINDS.index), at=table["domain"].map(order))
    table = table.sort_values(["place", "at"], kind="stable", ignore_index=True).drop(columns=["place", "at"])
    facts = {
        "temperature": [d.temperature for d in detectors],
        "threshold, best on validation photographs": [d.threshold for d in detectors],
    }
    columns = ["before", "after"]
    return table, pd.DataFrame.from_dict(facts, "index", columns=columns).rename_axis("fact").reset_index()
