"""The differences of the original code from the papers: a switch each, its two runs, the line that explains it.

Every value is read from `Options` (the papers') and `ORIGINAL` (the original code's). Importing this module does not
import torch.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

import cldf_core
from cldf_core.options import AGENTS, ORIGINAL, Options
from cldf_core.workflow.parameters import Parameters


@dataclass(frozen=True)
class Difference:
    """One difference of the original code from the papers.

    Attributes:
        agent: with whom it is shown; what concerns the stream is shown with sequential fine-tuning.
        switches: the options that take the original's value; nearly always one.
        line: a file of the package, and words that stand in one of its lines and in no other.
        meaning: what it does, in a sentence.
        base: options that have the original's value in both runs, since the switch needs them.
    """

    agent: str
    switches: tuple[str, ...]
    line: tuple[str, str]
    meaning: str
    base: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its switches, and in brackets what both runs take from the original."""
        return self.switch + (f" [{', '.join(self.base)}]" if self.base else "")

    @property
    def switch(self) -> str:
        """Its switches."""
        return ", ".join(self.switches)

    @property
    def paper(self) -> str:
        """The papers' values."""
        return ", ".join(_text(AGENTS[self.agent].model_fields[name].default) for name in self.switches)

    @property
    def original(self) -> str:
        """The original's values."""
        return ", ".join(_text(original_value(self.agent, name)) for name in self.switches)

    @property
    def compared_with(self) -> str:
        """The run that it is compared with, in words."""
        if self.switches == ("chunks",):
            return "chunks = " + self.paper
        return ", ".join(f"{name} = {_text(original_value(self.agent, name))}" for name in self.base) or "the paper's"

    def switched(self, parameters: Parameters) -> str:
        """The original's values, and in brackets those of the switched run where they are others."""
        here = ", ".join(_text(getattr(self.pair(parameters)[1], name)) for name in self.switches)
        return self.original if here == self.original else f"{self.original} (here {here})"

    def pair(self, parameters: Parameters) -> tuple[Options, Options]:
        """The options of the run that it is compared with, and of the same run with the switch turned."""
        before = {name: original_value(self.agent, name) for name in self.base}
        after = {name: original_value(self.agent, name) for name in self.switches}
        if self.switches == ("chunks",):  # the original's ten suit its many images: here the notebook's number
            before = {"chunks": Options.model_fields["chunks"].default}
            after = {"chunks": parameters.options(self.agent).chunks}
        return parameters.options(self.agent, **before), parameters.options(self.agent, **{**before, **after})

    def code(self) -> str:
        """The line that explains it: file, number, text.

        Raises:
            ValueError: the words stand in no line of the file, or in several.
        """
        file, words = self.line
        lines = (Path(cldf_core.__file__).parent / file).read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines) if words in line]
        if len(found) != 1:
            raise ValueError(f"{words!r} stands in {len(found)} lines of {file}; needed: one (difference {self.name})")
        return f"cldf_core/{file}:{found[0] + 1}\n    {lines[found[0]].strip()}"


def original_value(agent: str, name: str) -> Any:
    """Returns the original's value of an option; its baselines had no chunks and dropped no batches, its agents do."""
    return (ORIGINAL[agent] if name in ORIGINAL[agent] else ORIGINAL["lwf"])[name]


def all_at_once(parameters: Parameters, agent: str) -> Options:
    """Returns the options of the agent with all of its own switches turned and everything else the same."""
    agents = {agent, "er"} if agent == "mir" else {agent}  # what the two share is shown with ER
    names = sorted({name for difference in DIFFERENCES if difference.agent in agents for name in difference.switches})
    return parameters.options(agent, **{name: ORIGINAL[agent][name] for name in names})


def as_table(agent: str) -> pd.DataFrame:
    """Returns an agent's differences as a table to be read."""
    rows = [(d.switch, d.paper, d.original, d.compared_with, d.meaning) for d in DIFFERENCES if d.agent == agent]
    columns = ["switch", "paper", "original", "compared with", "what it does"]
    return pd.DataFrame(rows, columns=columns).set_index("switch")


def code_lines(agent: str) -> str:
    """Returns the lines of code that explain an agent's differences."""
    return "\n".join(f"{d.switch}: {d.code()}" for d in DIFFERENCES if d.agent == agent)


def _text(value: Any) -> str:
    return "the optimiser's" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


_stream, _icarl, _gdumb = (partial(Difference, agent) for agent in ("sequential", "icarl", "gdumb"))
_lwf, _er, _mir = (partial(Difference, agent) for agent in ("lwf", "er", "mir"))
_REPLAY = "agents/replay.py"

DIFFERENCES: tuple[Difference, ...] = (
    # the stream, and what the network reads
    _stream(
        ("chunks",),
        ("stream.py", "enumerate(np.array_split(order, chunks))"),
        "A domain is cut into parts that are seen one after another, each for all its epochs: it is learned piece "
        "by piece, and a piece can be forgotten for the next one.",
    ),
    _stream(
        ("drop_last",),
        ("stream.py", "short = 0 if self.drop_last"),
        "The last batch of an epoch is left out when it is incomplete. A chunk smaller than a batch is not trained "
        "on at all, without a word.",
    ),
    _stream(
        ("order",),
        ("stream.py", "if self.fixed_order else rng.permutation"),
        "Every epoch goes through the images in the same order, so the same ones always share a batch.",
    ),
    _stream(
        ("crop",),
        ("data/images.py", "top, left = min(ORIGINAL_OFFSET"),
        "Of a larger image a square near its top left corner is kept. On images of exactly the network's size it "
        "changes nothing, and so this notebook reads a little less than the whole image.",
    ),
    _stream(
        ("channels",),
        ("agents/base.py", 'o.channels == "BGR"'),
        "Red and blue change places. This matters for weights that were trained on RGB; without such weights it "
        "only is another draw of the first ones.",
    ),
    _stream(
        ("plane",),
        ("spectrum.py", 'mirror(half) if plane == "full"'),
        "The network reads each spectrum twice, once mirrored: twice the work for the same information.",
    ),
    _stream(
        ("precision",),
        ("spectrum.py", 'np.float64 if self.precision == "float32"'),
        "Spectra are kept with 32 instead of 16 bits: not a mistake, but a difference.",
    ),
    _stream(
        ("dampening",),
        ("agents/optimisers.py", "dampening=o.dampening"),
        "Each gradient counts only a tenth in SGD's momentum, so the network learns as if at about a tenth of the "
        "learning rate.",
        base=("optimiser", "lr"),
    ),
    # iCaRL
    _icarl(
        ("distil",),
        ("agents/icarl.py", "if new_domain and self.options.distil"),
        "The old network's outputs are no targets (they are computed and never used): nothing holds the old "
        "outputs but the exemplars.",
    ),
    _icarl(
        ("rehearsal",),
        ("agents/icarl.py", 'if self.options.rehearsal == "batch"'),
        "Instead of all exemplars in every epoch, a random batch of them joins each new batch.",
    ),
    _icarl(
        ("verdict",),
        ("agents/icarl.py", 'if self.options.verdict == "nearest-mean"'),
        "The last layer gives the verdict, not the nearest mean of the exemplars' features.",
    ),
    _icarl(
        ("icarl_heads",),
        ("agents/icarl.py", 'batch.domains * (self.options.icarl_heads == "grown")'),
        "All domains share two outputs, instead of having two of their own.",
        base=("distil",),
    ),
    _icarl(
        ("exemplars",),
        ("agents/icarl.py", 'if options.exemplars == "herding"'),
        "Exemplars are a random sample of everything seen, not those that stand best for their class.",
        base=("rehearsal",),
    ),
    _icarl(
        ("offers",),
        ("agents/icarl.py", 'self.options.offers == "every-epoch"'),
        "The memory is offered each image once in every epoch, so it holds the same one several times.",
        base=("rehearsal", "exemplars"),
    ),
    _icarl(
        ("reservoir_count",),
        ("buffers.py", 'if self.counting == "batch" else None'),
        "The chance of a whole batch to be kept is that from before it: a little too high.",
        base=("rehearsal", "exemplars"),
    ),
    # GDumb
    _gdumb(
        ("gdumb_groups",),
        ("buffers.py", 'if self.by == "domain-and-class"'),
        "The memory is balanced over real and fake alone. Once it is full, nothing comes in any more: it holds the "
        "first domain, for ever.",
    ),
    _gdumb(
        ("refit",),
        ("agents/gdumb.py", 'if self.options.refit == "fresh"'),
        "The memory trains the current network further, not a new one.",
    ),
    _gdumb(
        ("refit_after",),
        ("agents/gdumb.py", 'self.options.refit_after == "chunk"'),
        "The memory is trained on after every chunk, not only when a domain is complete: more work, and what counts "
        "is still the last time.",
    ),
    _gdumb(
        ("memory_schedule", "memory_lr"),
        ("agents/gdumb.py", 'o.memory_schedule == "warm-restarts"'),
        "The learning rate on the memory is high and never falls.",
    ),
    _gdumb(
        ("memory_momentum",), ("agents/gdumb.py", "momentum=o.memory_momentum"), "SGD on the memory has no momentum."
    ),
    _gdumb(
        ("memory_weight_decay",),
        ("agents/gdumb.py", "weight_decay=o.memory_weight_decay"),
        "SGD on the memory has no weight decay.",
    ),
    # LwF
    _lwf(
        ("kd_weight",),
        ("agents/lwf.py", "loss / (self.chunks + 1)"),
        "The more chunks there were, the less the labels count: after n of them they have the weight 1 / (n + 1), "
        "the old network's answers all the rest.",
    ),
    _lwf(
        ("teacher_after",),
        ("agents/lwf.py", 'self.options.teacher_after == "chunk"'),
        "The teacher is replaced after every chunk, and what it has forgotten by then it cannot teach.",
    ),
    _lwf(
        ("teacher_mode",),
        ("agents/lwf.py", 'self.options.teacher_mode == "eval"'),
        "The teacher answers in training mode: BatchNorm uses the statistics of the new images, and so the answers "
        "are not those that the old network gave.",
    ),
    # ER
    _er(
        ("replay_passes",),
        (_REPLAY, 'if self.options.replay_passes == "joined"'),
        "New and replayed images go through the network separately, so BatchNorm never sees them together, and "
        "their gradients are added up instead of averaged.",
    ),
    _er(
        ("replay_from",),
        (_REPLAY, 'self.options.replay_from == "earlier-domains"'),
        "Images of the current domain are replayed as well, which leaves less room for the older ones.",
    ),
    _er(
        ("offers",),
        (_REPLAY, 'self.options.offers == "every-epoch"'),
        "The memory is offered each image once in every epoch, so it holds the same one several times.",
    ),
    _er(
        ("reservoir_count",),
        ("buffers.py", 'if self.counting == "batch" else None'),
        "The chance of a whole batch to be kept is that from before it: a little too high.",
    ),
    # MIR; what it shares with ER is shown there
    _mir(
        ("virtual_lr",),
        (_REPLAY, "o.virtual_lr or self.lr"),
        "The step that is only tried out, to see whose loss would rise, has a learning rate of its own, whatever the "
        "optimiser's is.",
    ),
    _mir(
        ("mir_statistics",),
        ("buffers.py", "contextlib.nullcontext() if moving else evaluating(network)"),
        "Candidates are scored in training mode: looking at them moves the network's BatchNorm statistics.",
    ),
)
