"""Sentences on what a metric table itself does not show; each is said once for all sources that it is about."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from cldf_core.data.layouts.tables import in_few_words
from cldf_core.evaluation.metrics import detection
from cldf_core.evaluation.pool import of_domains
from cldf_core.results.score_tables import Scores

SUSPECT, ENOUGH = 0.4, 20  # an AUC below this, of so many images of each class, makes a note on scores of files
UNDEFINED = "AUC, AP, EER and others are NaN"


def caveats(sources: Sequence[Scores], split: str) -> list[str]:
    """Says what else to know of the metrics of sources in a split, in sentences that name the sources."""
    tested = [source.table[source.table["split"] == split] for source in sources]
    notes = list(dict.fromkeys(text for source in sources for text in source.notes))
    unknown = {source.run: "stream" in source.settings for source in sources if source.stream is None}
    for twice, sentence in (
        (True, "a domain comes twice in its stream, so there are no continual metrics"),
        (False, "its stream is not known, so there are no continual metrics; --stream tells it"),
    ):
        if runs := [run for run, known in unknown.items() if known == twice]:
            notes.append(f"{few(runs)}: {sentence}")
    first = sources[0]
    if others := [s.run for s in sources if None not in (first.stream, s.stream) and s.stream != first.stream]:
        notes.append(f"{first.run} and {others[0]} were trained on other streams: their averages tell other things")
    notes += [*_reversed(sources, tested), *_pooled(sources, tested)]
    images = [{domain: frozenset(part) for domain, part in table.groupby("domain")["image"]} for table in tested]
    for k, of_domain in enumerate(images[1:], 1):
        if odd := [d for d in of_domain if d in images[0] and of_domain[d] != images[0][d]]:
            two = f"{_who(sources, [0])} and {_who(sources, [k])}"
            notes.append(f"{two} were tested on other images of {in_few_words(odd)}: differences may be theirs")
            break
    return notes


def few(names: Iterable[str]) -> str:
    """Names at full length, of more than three the first and the number of the others."""
    names = list(dict.fromkeys(names))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _who(sources: Sequence[Scores], about: Collection[int]) -> str:
    """Names sources, given by their places: a file by its name alone if all agents in it are meant."""
    others = {source.run for k, source in enumerate(sources) if k not in about}
    named = [source for k, source in enumerate(sources) if k in about]
    return few(f"{source.agent[:80]} of {source.run}" if source.run in others else source.run for source in named)


def _reversed(sources: Sequence[Scores], tested: Sequence[pd.DataFrame]) -> Iterator[str]:
    """Says where the scores of files after the last step seem to be P(real), in all or in some domains."""
    found = list[str]()
    for k, table in enumerate(tested):
        last, low = table[table["step"] == table["step"].max()], dict[str, str]()
        for domain in ("", *last["domain"].unique()) if not sources[k].manifest else ():
            part = of_domains(last, [domain]) if domain else last
            if part["label"].value_counts().reindex([0, 1], fill_value=0).min() >= ENOUGH:
                auc = detection(part["label"].to_numpy(), part["score"].to_numpy(), names=["AUC"])["AUC"]
                low |= {domain: f"{auc:.2f} on {domain}" if domain else f"{auc:.2f}"} if auc < SUSPECT else {}
        if low:
            found.append(f"{_who(sources, [k])}: AUC is {low.get('') or in_few_words(low.values())}")
    if found:
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        yield f"{'; '.join(found[:3])}{more}: P(real) may have been given, where P(fake) is needed"


@dataclass(frozen=True)
class _Cell:
    """The scores, with the column pool, of one step of a source, which is given by its place."""

    source: int
    scores: pd.DataFrame

    @cached_property
    def fakes(self) -> pd.DataFrame:
        """The images of domains that hold fakes only."""
        return self.scores[self.scores.groupby("domain")["label"].transform("min") == 1]

    @cached_property
    def pool(self) -> pd.DataFrame:
        """The real images that these domains share."""
        return self.scores[self.scores["pool"]]

    @cached_property
    def related(self) -> pd.DataFrame:
        """The fakes that have the group of a pooled real image."""
        return self.fakes[self.fakes["group"].isin(self.pool["group"])]


def _pooled(sources: Sequence[Scores], tested: Sequence[pd.DataFrame]) -> Iterator[str]:
    """Says which domains are measured against pooled real images, and which hold a single class and share none."""
    pooled = {k: table for k, table in enumerate(tested) if "pool" in table}
    cells = [_Cell(k, part) for k, table in pooled.items() for _, part in table.groupby("step")]
    cells = [cell for cell in cells if len(cell.fakes)]
    if shared := [cell for cell in cells if len(cell.pool)]:
        yield f"{_who(sources, [cell.source for cell in shared])}: {_measured(shared)}"
    if lacking := [cell for cell in cells if not len(cell.pool)]:
        yield (
            f"{_who(sources, [cell.source for cell in lacking])}: no real image to share in step "
            f"{few(str(cell.scores['step'].iloc[0]) for cell in lacking)}, so {UNDEFINED} of "
            f"{in_few_words(dict.fromkeys(name for cell in lacking for name in cell.fakes['domain']))}"
        )
    own = {k: table for k, table in enumerate(tested) if k not in {cell.source for cell in cells}}
    if idle := own.keys() & pooled.keys():
        yield f"{_who(sources, idle)}: no domain holds fakes only, so --reals shared changes nothing"
    yield from _one_class(sources, own)


def _measured(cells: Sequence[_Cell]) -> str:
    """Says how many domains are measured against how many real images; numbers that differ get their range."""
    domains = _span((cell.fakes["domain"].nunique() for cell in cells), "domain")
    reals = _span((len(cell.pool) for cell in cells), "pooled real image")
    groups = _span((cell.pool["group"].nunique() for cell in cells), "group")
    names = dict.fromkeys(name for cell in cells for name in cell.pool["domain"].unique())
    mixed = any(cell.scores.loc[cell.scores["domain"].isin(names), "label"].any() for cell in cells)
    related = [len(cell.related) for cell in cells]
    alike = pd.concat([cell.related.loc[cell.related["group"] == cell.related["image"], "image"] for cell in cells])
    pools = {frozenset(zip(cell.pool["domain"], cell.pool["image"], strict=True)) for cell in cells}
    return (
        f"{domains} of fakes only, measured against {reals} in {groups}, those of {in_few_words(names)}, "
        + ("since no domain holds reals only" if mixed else f"where {UNDEFINED}")
        + ("; not the same ones for every agent and step" if len(pools) > 1 else "")
        + (f"; {_span(related, 'fake')} drawn with a real image of the same group" if any(related) else "")
        + (
            f", which is but a name, such as {alike.iloc[0][:80]}, that a column group may tell apart"
            if len(alike)
            else ""
        )
    )


def _span(numbers: Iterable[int], thing: str) -> str:
    """A number of things in words, or the least and the greatest: "1 image", "48 to 50 images"."""
    numbers = sorted(numbers)
    first, last = f"{numbers[0]:,}", f"{numbers[-1]:,}"
    return f"{first} to {last} {thing}s" if first != last else f"{last} {thing}{'s' * (last != '1')}"


def _one_class(sources: Sequence[Scores], tested: Mapping[int, pd.DataFrame]) -> Iterator[str]:
    """Says which domains hold a single class, for sources by their places."""
    for label, kind in ((1, "fake"), (0, "real")):
        alone = dict[int, list[str]]()
        for k, table in tested.items():
            classes = table.groupby("domain")["label"].agg(["nunique", "first"])
            alone[k] = list(classes.index[(classes["nunique"] == 1) & (classes["first"] == label)])
        alone = {k: domains for k, domains in alone.items() if domains}
        names = sorted({name for domains in alone.values() for name in domains})
        if names:
            have = ("has" if len(names) == 1 else "have") + f" {kind} images only"
            some = " in some of these" if any(len(domains) < len(names) for domains in alone.values()) else ""
            remedy = "; --reals shared measures fakes against the real images of other domains"
            remedy *= label == 1 and any((tested[k]["label"] == 0).any() for k in alone)
            yield f"{_who(sources, alone)}: {in_few_words(names)} {have}{some}, so {UNDEFINED}{remedy}"
