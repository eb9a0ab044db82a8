"""`cldf choose`: for every agent, values of its options are chosen on validation photographs, with as many trials each.

A trial trains on the first two domains of a stream, and is judged by its average accuracy on their validation
photographs: whoever learns the stream can do that, and no domain that comes later, or never, is looked at. So streams
that begin alike share a choice. For LwF there is also the choice of one who saw the whole stream, called hindsight.
What is tried stands in params/choose/spaces.yaml, the rule in `evaluation.choice`; runs are kept as a sweep's are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from cldf_core.data.files import save_table, whole_file
from cldf_core.data.runtime import project_root
from cldf_core.evaluation.choice import finalists, judged, verdict
from cldf_core.options import Options, UserError, options_of
from cldf_core.results.grid import read_grid
from cldf_core.results.inventory import keep_runs
from cldf_core.results.kept_runs import keep, names_in, published
from cldf_core.results.score_tables import Scores
from cldf_core.results.trials import MORE, SEEDS, read_spaces, read_trials, summary_of, trials_of
from cldf_core.workflow.cluster import HERE, Place
from cldf_core.workflow.notebooks import LAST, check_domains, notebook_parameters
from cldf_core.workflow.parameters import FIRST, read_choices
from cldf_core.workflow.sweep import make_and_keep

TABLE, HINDSIGHT = "choices", "lwf"  # the agent whose best on the whole stream is shown, too
HEADER = """# Written by cldf choose: by data set, and by the domains that were looked at, the values of each agent's
# options that notebooks and grids take. All trials are in figures/tables/choices.csv.
"""


class Contest(NamedTuple):
    """The trials of one agent on the domains that are looked at, which are named together."""

    domains: str
    agent: str
    trials: list[dict[str, Any]]
    hindsight: bool = False

    def options(self, base: Mapping[str, Any], trial: int, seed: int) -> Options:
        """Those of a run of a trial, counted from 1; the base holds the values of other options."""
        own = {"agent": self.agent, "stream": self.domains.split(", "), "unseen": [], "splits": ["validation"]}
        return options_of({**base, **self.trials[trial - 1], **own, "seed": seed}, where="params/choose/spaces.yaml")

    def table(self, runs: Mapping[tuple[str, str, int], list[Scores]]) -> pd.DataFrame:
        """A row for each trial, whose runs are found by domains, agent and trial."""
        own, trials = {"domains": self.domains, "agent": self.agent}, enumerate(self.trials, start=1)
        return pd.DataFrame([own | summary_of(k, v, runs[self.domains, self.agent, k]) for k, v in trials])


def choose(agents: Sequence[str] = (), place: Place = HERE) -> tuple[pd.DataFrame, list[str]]:
    """Makes the trials of some agents, by default of all, chooses, and writes table and choice.

    figures/tables/choices.csv gets a row for each trial, params/quick/chosen.yaml the values that are chosen; what
    stands there of other agents stays. Returns the table of these agents, and a sentence on each choice. A UserError
    tells of an agent without a space, or with a faulty one, of data that are missing, or of a run that failed.
    """
    base = notebook_parameters(LAST, "quick").values
    contests, before = _contests(base, agents), read_trials(_table())
    _kept_choices()  # so that a damaged file is told now, and not after the trials
    for options in {contest.domains: contest.options(base, 1, 0) for contest in contests}.values():
        check_domains(options)
    runs = _made(base, [(c, k) for c in contests for k in range(1, len(c.trials) + 1)], SEEDS, place)
    finals = [(c, k) for c in contests for k in finalists(c.table(runs))]
    for key, more in _made(base, finals, MORE, place).items():
        runs[key] += more
    tables = [judged(contest.table(runs), best=contest.hindsight) for contest in contests]
    _write(options_of(base).data, contests, tables, before)
    path, ours = published(TABLE), {run.run for several in runs.values() for run in several}
    tried = {contest.agent for contest in contests}
    others = {name for name in names_in(path) if name.rpartition("-")[0] in tried} - ours
    keep(path, (), forget=others)  # which are of other code, or of other spaces
    keep_runs(TABLE, names_in(path))
    sentences = [f"{c.agent} on {c.domains}: {verdict(table)}" for c, table in zip(contests, tables, strict=True)]
    return pd.concat(tables, ignore_index=True), sentences


def _contests(base: Mapping[str, Any], agents: Sequence[str]) -> list[Contest]:
    """Those of some agents on the first domains of the profile's stream, and of the runs in the grid `unseen`."""
    spaces, stream = read_spaces(), options_of(base).stream
    if unknown := [agent for agent in agents if agent not in spaces]:
        raise UserError(f"--agents has {unknown[0]!r}; allowed: {', '.join(spaces)}")
    trials = {agent: trials_of(agent, space, base) for agent, space in spaces.items() if agent in (agents or spaces)}
    others = [(point.options.stream, point.options.agent) for point in read_grid("unseen").points(base)]
    wanted = [*((stream, agent) for agent in trials), *others]
    looked_at = dict.fromkeys((", ".join(names[:FIRST]), agent) for names, agent in wanted if agent in trials)
    contests = [Contest(domains, agent, trials[agent]) for domains, agent in looked_at]
    seen = [own for own in trials.items() if own[0] == HINDSIGHT and len(stream) > FIRST]
    return contests + [Contest(", ".join(stream), *own, True) for own in seen]


def _made(
    base: Mapping[str, Any], trials: Sequence[tuple[Contest, int]], seeds: Sequence[int], place: Place
) -> dict[tuple[str, str, int], list[Scores]]:
    """The runs of trials with each seed, which are kept, by domains, agent and trial."""
    wanted = [(contest, k, seed) for contest, k in trials for seed in seeds]
    words = (f"{c.agent} on {c.domains}, trial {k}, seed {seed}" for c, k, seed in wanted)
    labels = [f"{number} of {len(wanted)}: {text}" for number, text in enumerate(words, start=1)]
    options = {label: c.options(base, k, seed) for label, (c, k, seed) in zip(labels, wanted, strict=True)}
    scores, failed = make_and_keep(options, published(TABLE), place)
    if failed:
        raise UserError(f"{failed[0]}; what is made is kept, and the same command goes on from there")
    runs: dict[tuple[str, str, int], list[Scores]] = {}
    for label, (contest, k, _) in zip(labels, wanted, strict=True):
        runs.setdefault((contest.domains, contest.agent, k), []).append(scores[label])
    return runs


def _table() -> Path:
    return project_root() / "figures" / "tables" / f"{TABLE}.csv"


def _kept_choices() -> tuple[Path, dict[Any, Mapping[str, Any]]]:
    """The file of the values that are chosen, and what stands in it; a UserError says that it is damaged."""
    path = project_root() / "params" / "quick" / "chosen.yaml"
    return path, dict(read_choices(path, path.stat().st_mtime_ns)) if path.exists() else {}


def _write(data: str, contests: Sequence[Contest], tables: Sequence[pd.DataFrame], before: pd.DataFrame) -> None:
    """Writes the rows of trials, and the values that are chosen, among those of other agents that were there before."""
    (path, choices), keys, table = _kept_choices(), ["domains", "agent"], pd.concat(tables)
    others = before[~before.set_index(keys).index.isin(table.set_index(keys).index)]
    table = pd.concat([table, others]) if len(others) else table
    save_table(table.sort_values(keys, kind="stable"), project_root() / "figures", TABLE)
    for contest, own in zip(contests, tables, strict=True):
        choices[data, contest.domains, contest.agent] = contest.trials[own.loc[own["chosen"], "trial"].item() - 1]
    written: dict[str, dict[str, dict[str, Any]]] = {}
    for (data, domains, agent), values in choices.items():
        written.setdefault(data, {}).setdefault(domains, {})[agent] = dict(values)
    with whole_file(path) as partial:
        partial.write_text(HEADER + yaml.safe_dump(written, sort_keys=False, width=110), encoding="utf-8")
