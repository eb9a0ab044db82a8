"""Writes parts of README.md: links to pages of the site, the code of the committed tables, and what was reproduced.

    python docs/readme.py

Run it after a change of the method or of the site's address, and after `cldf sweep` or `cldf reproduce --all`; a test
says so. What the tables do not carry is not said: a claim whose tables are not there, or are of other code than
today's, was not run.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from addresses import address, launchers

from cldf_core.data.files import saved_table
from cldf_core.evaluation.cells import agent_name, metric_name, seeds_in_words
from cldf_core.evaluation.limited import NOT_FEWER
from cldf_core.figures.sentences import Sentence, compared, counted, reached, values
from cldf_core.results.ledger import TESTED
from cldf_core.results.sweep_tables import code_in_words

PROJECT = Path(__file__).parents[1]
END = "<!-- end -->\n"
# What is compared with sequential fine-tuning: the agents of the original, and two that have more images or passes.
AGENTS = ("icarl", "gdumb", "lwf", "er", "mir", "joint", "sequential, same passes", "sequential, defaults")
Tables = dict[str, pd.DataFrame]


class Claim(NamedTuple):
    """What the paper claims, in words, and what answers it here: tables, what makes them, what is said of them."""

    words: str
    tables: tuple[str, ...]
    command: str
    say: Callable[[Tables], Iterator[Sentence]]
    original: str = "not run"


def ladder(tables: Tables) -> Iterator[Sentence]:
    """AUC of each rung on each domain, and by how much the network on spectra is above the others."""
    rungs, apart = tables["03_ladder"], tables["03_ladder_differences"]
    for rung, own in rungs.groupby("rung", sort=False):
        yield compared(own, f"AUC, {rung}", by="domain", line=0.5)
    for (rung, n), part in apart.groupby(["rung", "n"], sort=False):
        words = f"AUC, network on spectra minus {rung}, {seeds_in_words(n)}"
        yield compared(part, words, by="domain", also=TESTED if "significant" in apart else None, digits=3)


def memory(tables: Tables) -> Iterator[Sentence]:
    """What is known at the end, and by how much the agents differ from sequential fine-tuning."""
    means, apart = tables["08_seeds"], _minus_sequential(tables["08_seeds_against"])
    average = means[(means["metric"] == "accuracy: average") & means["agent"].isin(["sequential", *AGENTS])]
    for n, own in average.groupby("n", sort=False):
        yield values(own, f"Average accuracy at the end, {n} seeds")
    for metric in ("accuracy: average", "accuracy: average from 3", "accuracy: forgetting (max-last)", "AUC: average"):
        for n, own in apart[apart["metric"] == metric].groupby("n", sort=False):
            name = metric_name(metric)
            words = f"{name[0].upper()}{name[1:]}, minus that of {agent_name('sequential')}, {n} seeds"
            yield compared(own, words, also=TESTED)


def unseen(tables: Tables) -> Iterator[Sentence]:
    """On which of the domains left out each agent is above guessing, and by how much above sequential fine-tuning."""
    means, apart = tables["08_unseen"], _minus_sequential(tables["08_unseen_against"].assign(reference="sequential"))
    for (agent, n), own in means.assign(above=means["low"] > 0.5).groupby(["agent", "n"], sort=False):
        how = "the interval of accuracy lies above 0.5 (each by itself)"
        words = f"Left-out domains on which {how}, {agent_name(agent)}, {n} seeds"
        yield counted(own, words, "above", True, by="domain")
    for (agent, n), own in apart.groupby(["agent", "n"], sort=False):
        words = f"Accuracy on a left-out domain, {agent_name(agent)} minus {agent_name('sequential')}, {n} seeds"
        yield compared(own, words, by="domain", also=TESTED)


def limited(tables: Tables) -> Iterator[Sentence]:
    """What few new images cost, against all of them, and with how many of them a share of the gain is reached."""
    cost, needed = tables["14_cost"], tables["14_images_needed"]
    for metric in ("accuracy: gain", "accuracy: learning", "accuracy: average"):
        for (images, most, n), own in cost[cost["metric"] == metric].groupby(["images", "all", "n"], sort=False):
            name = metric_name(metric)
            words = f"{name[0].upper()}{name[1:]}, {images} new images a class minus {most}, {n} seeds"
            yield compared(own, words, digits=3, also=TESTED)
    known = needed[needed["known"].astype(bool)]
    ways = ("reached", "by the mean over seeds"), ("shown", "by the whole interval, each by itself")
    for (share, n, tried), own in known.groupby(["share", "n", "tried"], sort=False):
        for column, how in ways:
            words = f"New images a class from which on {share:g} of the gain is had, {how}, {seeds_in_words(n)}"
            words += f" (tried: {tried}, and all)"
            yield reached(own, words, column, by="agent", never_at=NOT_FEWER[column])


def namesakes(tables: Tables) -> Iterator[Sentence]:
    """Which differences between the original code and the papers change the result."""
    ranked, together = tables["11_ranked"], tables["11_all_at_once"]
    noise, by = "another seed may do it as well", ["agent", "label"]
    matter = ranked[ranked["verdict"] == "matters"]
    yield counted(ranked, "Differences that are in this code only", "source", "only this code", listed=False)
    yield counted(ranked, "Differences that matter", "verdict", "matters", listed=False)
    words = "Of these, average accuracy, switched run minus base, one seed"
    yield compared(matter, words, by=by, also=("exceeds seed noise (all)", noise))
    yield counted(ranked, "Differences that may matter", "verdict", "may matter", by=by)
    yield counted(ranked, "Differences that are not shown to matter", "verdict", "not shown", listed=False)
    average = together[together["metric"] == "average"]
    words = "Average accuracy, all differences of an agent at once minus base, one seed"
    yield compared(average, words, also=("exceeds seed noise", noise))


SPECTRA_TELL = "frequency spectra tell real from fake (a classifier for each domain, from file facts up to spectra)"
STILL_KNOWS = "one model, updated again and again, still knows the earlier fakes"
GENERALISES = "it generalises to fakes never trained on"
LIMITED = "limited new data is enough"
LIMITED_SETS = "`cldf train` with its `-LD` sets, or with `--limit`; not run"
NAMED_AFTER = "its code computes what its methods are named after"
CLAIMS = (
    Claim(SPECTRA_TELL, ("03_ladder", "03_ladder_differences"), "cldf reproduce", ladder),
    Claim(STILL_KNOWS, ("08_seeds", "08_seeds_against"), "cldf sweep seeds, cldf reproduce", memory),
    Claim(GENERALISES, ("08_unseen", "08_unseen_against"), "cldf sweep unseen, cldf reproduce", unseen),
    Claim(LIMITED, ("14_cost", "14_images_needed"), "cldf sweep limited, cldf reproduce --all", limited, LIMITED_SETS),
    Claim(NAMED_AFTER, ("11_ranked", "11_all_at_once"), "cldf reproduce --all", namesakes),
)


def answer(claim: Claim, folder: Path) -> tuple[str, list[Sentence], Tables]:
    """Why nothing is said of a claim, or ""; and what is said, with the tables that it is about.

    The folder holds the folder tables/.
    """
    paths = [folder / "tables" / f"{name}.csv" for name in claim.tables]
    tables = {path.stem: saved_table(folder, path.stem) for path in paths if path.is_file()}
    if len(tables) < len(paths) or not all(map(len, tables.values())):
        return f"not run (`{claim.command}`)", [], {}
    if any(code_in_words(table) for table in tables.values()):
        return f"not run with today's code (`{claim.command}`)", [], {}
    said = [sentence for sentence in claim.say(tables) if sentence.text]
    return ("" if said else "nothing is shown"), said, tables


def reproduced(folder: Path) -> str:
    """The table of claims, from the tables in a folder's tables/."""
    head = "| the paper claims, in words | run here, on the embedded benchmark | on the original data |"
    lines = ["", head, "|---|---|---|"]
    for claim in CLAIMS:
        why, said, _ = answer(claim, folder)
        names = " · ".join(f"[{name}](figures/tables/{name}.csv)" for name in claim.tables)
        here = why or "<br>".join([*(sentence.text for sentence in said), names])
        lines.append(f"| {claim.words} | {here} | {claim.original} |")
    own = "accuracy of each agent on each data set (its tables)"
    lines.append(f"| {own} | – | `cldf train --all`, `cldf test --runtestall True`; not run |")
    return "\n".join(lines) + "\n\n"


def tables_with_code(folder: Path) -> list[Path]:
    """The tables in a folder's tables/ that tell of their code: those of sweeps, of choices, and of claims."""
    named = {name for claim in CLAIMS for name in claim.tables}
    paths = sorted((folder / "tables").glob("*.csv"))
    return [path for path in paths if path.stem.startswith("sweep_") or path.stem in {*named, "choices"}]


def their_code(folder: Path) -> str:
    """A list of those of the tables that are of other code than today's."""
    names: dict[str, list[str]] = {}
    for path in tables_with_code(folder):
        names.setdefault(code_in_words(saved_table(folder, path.stem)), []).append(f"`{path.name}`")
    lines = [f"- {words}: {', '.join(own)}\n" for words, own in names.items() if words]
    return "".join(
        ["Not of today's code:\n\n", *lines, "\n"] if lines else ["All committed tables are of today's code.\n"]
    )


def pages(folder: Path) -> str:
    """The addresses that the table of notebooks refers to: pages on the site, and where Binder and Colab run them."""
    names = sorted(path.stem for path in (PROJECT / "notebooks").glob("*.ipynb"))
    lines = [f"[{name[:2]}]: {address('Documentation')}/notebooks/{name}.html\n" for name in names]
    for place in ("Binder", "Colab"):
        lines += [f"[{place}{name[:2]}]: {launchers(name)[place]}\n" for name in names]
    return "\n" + "".join(lines) + "\n"


PARTS: dict[str, Callable[[Path], str]] = {"pages": pages, "their code": their_code, "what was reproduced": reproduced}


def begin(part: str) -> str:
    """The line after which a part stands in README.md; END is the line after it."""
    return f"<!-- written by docs/readme.py: {part} -->\n"


def written(readme: str, folder: Path = PROJECT / "figures") -> str:
    """The text of README.md with its parts as the tables in a folder's tables/ have them."""
    for part, make in PARTS.items():
        before, rest = readme.split(begin(part))
        readme = before + begin(part) + make(folder) + END + rest.split(END, 1)[1]
    return readme


def _minus_sequential(apart: pd.DataFrame) -> pd.DataFrame:
    """AGENTS minus sequential fine-tuning, in their order."""
    own = apart[apart["agent"].isin(AGENTS) & (apart["reference"] == "sequential")]
    return own.sort_values("agent", key=lambda agent: agent.map(AGENTS.index), kind="stable")


def main() -> None:
    """Replaces the parts in README.md."""
    path = PROJECT / "README.md"
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
