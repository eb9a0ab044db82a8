"""The differences of the original code from the papers: a switch each, its two runs, the line that explains it.

Every value is read from `Options` (the papers') and `ORIGINAL` (the original code's). Importing this module does not
import torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

import cldf_core
from cldf_core.options import AGENTS, Options
from cldf_core.original_options import ORIGINAL
from cldf_core.workflow.parameters import Parameters

Source = Literal["only this code", "the authors' code too", "a choice"]
HERE: Source = "only this code"
AUTHORS: Source = "the authors' code too"
CHOICE: Source = "a choice"


@dataclass(frozen=True)
class Difference:
    """One difference of the original code from the papers.

    Attributes:
        agent: with whom it is shown; what concerns the stream is shown with sequential fine-tuning.
        switch: the options that take the original's value, joined by ", "; nearly always one.
        file, words: a file of the package, and words that stand in one of its lines and in no other.
        source: where it comes from. The authors are those of the method; of the reservoir MIR's, from whose code it
            descends; of corruptions those of the code that it was made from; of spectra and how they are trained on
            AutoGAN's. A choice is neither right nor wrong.
        needs: options, joined by ", ", that have the original's value in both runs, since the switch needs them.
        corruption: of the training images of both runs, for a switch that changes a corruption.
    """

    agent: str
    switch: str
    file: str
    words: str
    source: Source = HERE
    needs: str = ""
    corruption: str = ""

    @property
    def name(self) -> str:
        """Its switches, and in brackets what both runs take from the original."""
        return f"{self.switch} [{self.needs}]" if self.needs else self.switch

    @property
    def label(self) -> str:
        """What it does in a few words, and in brackets what both runs do besides: for figures."""
        return LABELS[self.switch] + (f" ({BOTH[self.needs]})" if self.needs else "")

    @property
    def paper(self) -> str:
        """The papers' values."""
        return ", ".join(_text(AGENTS[self.agent].model_fields[name].default) for name in self.switch.split(", "))

    @property
    def original(self) -> str:
        """The original's values."""
        return ", ".join(map(_text, original_values(self.agent, self.switch).values()))

    @property
    def compared_with(self) -> str:
        """The run that it is compared with, in words."""
        if self.switch == "chunks":
            return "chunks = " + self.paper
        if self.corruption:
            return f"corruption = {self.corruption}"
        values = original_values(self.agent, self.needs).items()
        return ", ".join(f"{name} = {_text(value)}" for name, value in values) or "the paper's"

    def switched(self, parameters: Parameters) -> str:
        """The original's values, and in brackets those of the switched run where they are others."""
        here = ", ".join(_text(getattr(self.pair(parameters)[1], name)) for name in self.switch.split(", "))
        return self.original if here == self.original else f"{self.original} (here {here})"

    def pair(self, parameters: Parameters) -> tuple[Options, Options]:
        """The options of the run that it is compared with, and of the same run with the switch turned."""
        before, after = (original_values(self.agent, names) for names in (self.needs, self.switch))
        if self.switch == "chunks":  # the original's ten suit its many images: here the notebook's number
            before = {"chunks": Options.model_fields["chunks"].default}
            after = {"chunks": parameters.options(self.agent).chunks}
        both = {"corruption": self.corruption, "severities": [0.5]} if self.corruption else {}
        first, second = before | both, before | after | both
        return parameters.options(self.agent, **first), parameters.options(self.agent, **second)

    def code(self) -> str:
        """The line that explains it: file, number, text.

        Raises:
            ValueError: the words stand in no line of the file, or in several.
        """
        lines = (Path(cldf_core.__file__).parent / self.file).read_text(encoding="utf-8").splitlines()
        found = [(number, line.strip()) for number, line in enumerate(lines, start=1) if self.words in line]
        if len(found) != 1:
            where = f"{len(found)} lines of {self.file}"
            raise ValueError(f"{self.words!r} stands in {where}; needed: one (difference {self.name})")
        ((number, line),) = found
        return f"cldf_core/{self.file}:{number}\n    {line}"


def original_values(agent: str, names: str) -> dict[str, Any]:
    """The original's values of options that ", " joins; its baselines had no chunks and dropped no batches."""
    values = ORIGINAL["lwf"] | ORIGINAL[agent]
    return {name: values[name] for name in names.split(", ") if name}


def all_at_once(parameters: Parameters, agent: str) -> Options:
    """Returns the options of the agent with all of its own switches turned and everything else the same."""
    agents = {agent, "er"} if agent == "mir" else {agent}  # what the two share is shown with ER
    names = sorted({name for d in DIFFERENCES if d.agent in agents for name in d.switch.split(", ")})
    return parameters.options(agent, **{name: ORIGINAL[agent][name] for name in names})


def as_table(agent: str) -> pd.DataFrame:
    """Returns an agent's differences as a table to be read."""
    shown = [(d, what) for d, what in DIFFERENCES.items() if d.agent == agent]
    rows = [(d.switch, d.label, d.paper, d.original, d.compared_with, d.source, what) for d, what in shown]
    columns = ["switch", "in figures", "paper", "original", "compared with", "where it comes from", "what it does"]
    return pd.DataFrame(rows, columns=columns).set_index("switch")


def without_a_switch() -> pd.DataFrame:
    """Returns what the original does otherwise and no option turns, as a table to be read."""
    return pd.DataFrame(OTHERS, columns=["about", "original", "here"]).set_index("about")


def code_lines(agent: str) -> str:
    """Returns the lines of code that explain an agent's differences."""
    return "\n".join(f"{d.switch}: {d.code()}" for d in DIFFERENCES if d.agent == agent)


def _text(value: Any) -> str:
    return "the optimiser's" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


# By switch, in a few words.
LABELS = {
    **{"chunks": "a domain in parts", "drop_last": "incomplete batches left out", "order": "one order for all epochs"},
    **{"crop": "crop near the top left", "channels": "blue before red", "plane": "the whole plane"},
    **{"precision": "32 bits a number", "blur": "blur across images", "occlusion": "occlusion at one place"},
    **{"dampening": "gradients dampened", "distil": "no distillation", "rehearsal": "a batch of exemplars"},
    **{"verdict": "verdict of the last layer", "icarl_heads": "two outputs in all", "exemplars": "a reservoir"},
    **{"offers": "offered in every epoch", "reservoir_count": "counted by batches"},
    **{"gdumb_groups": "balanced over classes", "refit": "network trained further", "refit_after": "after every part"},
    **{"memory_schedule, memory_lr": "high, constant rate", "memory_momentum": "no momentum"},
    **{"memory_weight_decay": "no weight decay", "kd_weight": "weight by parts seen"},
    **{"teacher_after": "teacher of every part", "teacher_mode": "teacher in training mode"},
    **{"replay_passes": "two passes, losses added", "replay_from": "current domain replayed"},
    **{"virtual_step, virtual_lr": "virtual step's own rate", "mir_statistics": "statistics moved"},
}
# What both runs do, by what the switch needs.
BOTH = {
    "optimiser, lr": "SGD",
    "distil": "no distillation",
    "rehearsal": "a batch",
    "rehearsal, exemplars": "reservoir",
}
# Of reservoirs, iCaRL's and ER's.
_OFFERS = "The memory is offered each image once in every epoch, so it holds the same one several times."
_COUNT = (
    "The chance of a whole batch to be kept is that from before it: a little too high. It is so in the code of MIR's "
    "authors too."
)
# What each does, in a sentence.
DIFFERENCES: dict[Difference, str] = {
    # the stream, and what the network reads
    Difference("sequential", "chunks", "stream.py", "np.array_split(order, options.chunks)", CHOICE): (
        "A domain is cut into parts that are seen one after another, each for all its epochs: it is learned piece by "
        "piece, and a piece can be forgotten for the next one."
    ),
    Difference("sequential", "drop_last", "stream.py", "short = 0 if self.drop_last", CHOICE): (
        "The last batch of an epoch is left out when it is incomplete. A chunk smaller than a batch is not trained on "
        "at all, without a word."
    ),
    Difference("sequential", "order", "stream.py", "if self.fixed_order else rng.permutation"): (
        "Every epoch goes through the images in the same order, so the same ones always share a batch."
    ),
    Difference("sequential", "crop", "data/images.py", "top, left = min(ORIGINAL_OFFSET"): (
        "Of a larger image a square near its top left corner is kept. On images of exactly the network's size it "
        "changes nothing, and so this notebook reads a little less than the whole image."
    ),
    Difference("sequential", "channels", "agents/base.py", 'o.channels == "BGR"', AUTHORS): (
        "Red and blue change places. This matters for weights that were trained on RGB; without such weights it only "
        "is another draw of the first ones."
    ),
    Difference("sequential", "plane", "spectrum.py", 'mirror(half) if plane == "full"', CHOICE): (
        "The network reads each spectrum twice, once mirrored: twice the work for the same information."
    ),
    Difference("sequential", "precision", "spectrum.py", 'np.float64 if self.precision == "float32"', CHOICE): (
        "Spectra are kept with 32 instead of 16 bits: not a mistake, but a difference."
    ),
    Difference(
        *("sequential", "blur", "data/corruptions.py", "np.tensordot(weights, stack / 255, 1)", AUTHORS),
        corruption="blur",
    ): (
        "Blurred training images (--ns_type blur) are blurred across the stack of a chunk's images too, so that each "
        "shows something of those before and behind it."
    ),
    Difference("sequential", "occlusion", "data/corruptions.py", "pixels[:, slice(*rows", corruption="occlusion"): (
        "Occluded training images (--ns_type occlusion) have the square at one place for the whole chunk, and it is "
        "nearly black (1 of 255) instead of white."
    ),
    Difference("sequential", "dampening", "agents/optimisers.py", "o.dampening", AUTHORS, "optimiser, lr"): (
        "Each gradient counts only a tenth in SGD's momentum, so the network learns as if at about a tenth of the "
        "learning rate."
    ),
    # iCaRL
    Difference("icarl", "distil", "agents/icarl.py", "if new_domain and self.options.distil"): (
        "The old network's outputs are no targets (they are computed and never used): nothing holds the old outputs "
        "but the exemplars."
    ),
    Difference("icarl", "rehearsal", "agents/icarl.py", 'self.options.rehearsal == "batch" and', CHOICE): (
        "Instead of all exemplars in every epoch, a random batch of them joins each new batch."
    ),
    Difference("icarl", "verdict", "agents/icarl.py", 'if self.options.verdict == "nearest-mean"'): (
        "The last layer gives the verdict, not the nearest mean of the exemplars' features."
    ),
    Difference(
        "icarl", "icarl_heads", "agents/icarl.py", '* (self.options.icarl_heads == "grown")', CHOICE, "distil"
    ): ("All domains share two outputs, instead of having two of their own."),
    Difference("icarl", "exemplars", "agents/icarl.py", 'if options.exemplars == "reservoir"', CHOICE, "rehearsal"): (
        "Exemplars are a random sample of everything seen, not those that stand best for their class."
    ),
    Difference(
        "icarl", "offers", "agents/icarl.py", 'self.options.offers == "every-epoch"', HERE, "rehearsal, exemplars"
    ): _OFFERS,
    Difference(
        "icarl", "reservoir_count", "buffers.py", 'if self.counting == "batch"', AUTHORS, "rehearsal, exemplars"
    ): _COUNT,
    # GDumb
    Difference("gdumb", "gdumb_groups", "buffers.py", 'if self.by == "domain-and-class"', AUTHORS): (
        "The memory is balanced over real and fake alone, as GDumb's authors balance it over classes. But here every "
        "domain has these two. Once the memory is full, nothing comes in any more: it holds the first domain, for ever."
    ),
    Difference("gdumb", "refit", "agents/gdumb.py", 'if self.options.refit == "fresh"'): (
        "The memory trains the current network further, not a new one."
    ),
    Difference("gdumb", "refit_after", "agents/gdumb.py", 'self.options.refit_after == "chunk"', CHOICE): (
        "The memory is trained on after every chunk, not only when a domain is complete: more work, and what counts is "
        "still the last time."
    ),
    Difference("gdumb", "memory_schedule, memory_lr", "agents/gdumb.py", 'o.memory_schedule == "warm-restarts"'): (
        "The learning rate on the memory is high and never falls."
    ),
    Difference("gdumb", "memory_momentum", "agents/gdumb.py", "momentum=o.memory_momentum"): (
        "SGD on the memory has no momentum."
    ),
    Difference("gdumb", "memory_weight_decay", "agents/gdumb.py", "weight_decay=o.memory_weight_decay"): (
        "SGD on the memory has no weight decay."
    ),
    # LwF
    Difference("lwf", "kd_weight", "agents/lwf.py", "loss / (self.chunks + 1)"): (
        "The more chunks there were, the less the labels count: after n of them they have the weight 1 / (n + 1), the "
        "old network's answers all the rest."
    ),
    Difference("lwf", "teacher_after", "agents/lwf.py", 'self.options.teacher_after == "chunk"', CHOICE): (
        "The teacher is replaced after every chunk, and what it has forgotten by then it cannot teach."
    ),
    Difference("lwf", "teacher_mode", "agents/lwf.py", 'self.options.teacher_mode == "train"'): (
        "The teacher answers in training mode: BatchNorm uses the statistics of the new images, and so the answers are "
        "not those that the old network gave."
    ),
    # ER
    Difference("er", "replay_passes", "agents/replay.py", 'if self.options.replay_passes == "joined"', AUTHORS): (
        "New and replayed images go through the network separately, so BatchNorm never sees them together, and their "
        "gradients are added up instead of averaged. MIR's authors train both MIR and ER so."
    ),
    Difference("er", "offers", "agents/replay.py", 'self.options.offers == "every-epoch"'): _OFFERS,
    Difference("er", "reservoir_count", "buffers.py", 'if self.counting == "batch" else None', AUTHORS): _COUNT,
    # MIR; what it shares with ER is shown there
    Difference("mir", "replay_from", "agents/replay.py", 'self.options.replay_from == "earlier-domains"'): (
        "Images of the current domain are replayed as well, which leaves less room for the older ones. ER's authors do "
        "so, MIR's do not."
    ),
    Difference("mir", "virtual_step, virtual_lr", "agents/mir.py", "self.options.virtual_lr or self.lr"): (
        "The step that is only tried out, to see whose loss would rise, is plain SGD's at a learning rate of its own, "
        "whatever the optimiser and its rate are."
    ),
    Difference(
        "mir", "mir_statistics", "buffers.py", "contextlib.nullcontext() if moving else evaluating(network)", AUTHORS
    ): ("Candidates are scored in training mode: looking at them moves the network's BatchNorm statistics."),
}
# What is no option: about what, what the original does, what is done here.
OTHERS = (
    (
        "files",
        "reads real/*/trainA/*.jpg, *.png and trainB/*.jpg, fake/*/trainA/*.png and trainB/*.png, likewise testA and "
        "testB; so real may be JPEG where fake is PNG",
        "reads every image, and says how many more these are; --files original reads what the original reads",
    ),
    ("CMYK JPEG", "OpenCV's colours", "Pillow's: a value may differ by one level of 255"),
    (
        "sides below 256",
        "rows and columns from 16 on: of 224 to 239 pixels less than 224 are left; images of unequal size end it",
        "224 pixels that begin further up or left; smaller images are left out and listed",
    ),
    ("images of one colour", "divides by zero", "a channel without a spectrum is 0"),
    (
        "corrupted images",
        "noise clips pixels of 0 to 255 to [0, 1]; noise and blur end in [0, 1], and are divided by 255 all the same",
        "pixels stay 0 to 255, and the crop is corrupted",
    ),
    ("a union such as GAN-S+VFHQ", "shuffles each part, and puts one behind the other", "shuffles all images together"),
    ("numbers of images", "must be multiples of the number of chunks", "chunks may differ by one image"),
    ("several runs", "train one network further", "are independent, with a mean and an interval"),
    ("--runtest False", "is true, as every text", "is false"),
    ("no --training_set", "reads the letters of VFHQ as four domains", "is VFHQ"),
    ("no GPU", "NoCL, Normal and checkpoints from a GPU end it", "is no obstacle"),
    ("MIR's checkpoints", "have the names of ER's, and replace them", "have names of their own"),
    ("a checkpoint that is there", "is replaced by continual learning", "is replaced with --force alone"),
)
