"""The bench: change an option, train (or read), keep, and lay the variant's matrix over that of the default."""

import html
from typing import Any

import ipywidgets as widgets
import pandas as pd
from matplotlib.figure import Figure

from cldf_core.evaluation.cells import cell_changes, cell_values
from cldf_core.figures.ablations import matrix_changes
from cldf_core.figures.performance import matrices
from cldf_core.figures.style import described, extremes
from cldf_core.interact.live import Live, choice
from cldf_core.options import AGENTS, FIELDS, Options, UserError, allowed
from cldf_core.reading import from_text
from cldf_core.runs.run import collect_scores, make_run
from cldf_core.workflow.parameters import Parameters

DEFAULT, ALL = "as in this notebook", "all that were kept"
_EVERY = ("lr", "epochs", "batch", "weight_decay", "limit", "seed")  # of all agents, that leave the images alone


class Bench(Live):
    """Variants of an agent, on validation images: who tries values must not look at the test.

    Attributes:
        kept: the scores of each variant that was trained or read, by what was changed.
        option, text: the widgets that name an option and its new value; the button calls `train`.
        message: what came of it, or what is wrong with the value.
    """

    def __init__(self, parameters: Parameters, agent: str) -> None:
        self.parameters, self.agent = parameters, agent
        options = parameters.options(agent)
        names = [name for name in AGENTS[agent].model_fields if name not in Options.model_fields]
        self.option = choice("option", [*names, *_EVERY])
        self.text = widgets.Text(description="new value", continuous_update=False)
        self.message, button = widgets.HTML(), widgets.Button(description="train, or read")
        button.on_click(lambda _: self.train())
        self.option.observe(lambda _: self._offer(options), names="value")
        self.kept: dict[str, pd.DataFrame] = {DEFAULT: self._scores(options)}
        super().__init__(self._drawn, variant=choice("shown", [DEFAULT]))
        self.children: tuple[widgets.Widget, ...]
        self.children = (widgets.HBox([self.option, self.text, button]), self.message, *self.children)
        self._offer(options)

    def train(self) -> None:
        """Trains with the option that is named, or reads such a run, keeps its scores, and shows them."""
        name, value = self.option.value, self.text.value
        try:
            options = self.parameters.options(self.agent, **{name: from_text(name, value)})
            self.message.value = f"training with {name} = {html.escape(value)} …"
            scores = self._scores(options)
        except UserError as problem:
            self.message.value = html.escape(str(problem))
            return
        except BaseException:
            self.message.value = "that was stopped, or ended with an error"
            raise
        shown, words = self.controls["variant"], f"{name} = {getattr(options, name)}"
        self.kept[words] = scores
        self.message.value = f"kept: {html.escape(words)}"
        shown.options = [*self.kept, *[ALL] * (len(self.kept) > 2)]
        shown.value = words

    def _offer(self, options: Options) -> None:
        name = self.option.value
        self.text.value = str(getattr(options, name))
        warning = "On TEST images, as not every domain has validation scores: choose nothing. "
        warning *= self.kept[DEFAULT]["split"].iloc[0] != "validation"
        self.message.value = html.escape(f"{warning}{FIELDS[name].description}; allowed: {allowed(name)}")

    def _scores(self, options: Options) -> pd.DataFrame:
        scores = collect_scores([make_run(options, progress=False)])
        of_splits = {str(split): part for split, part in scores.groupby("split", sort=False)}
        whole = [split for split, part in of_splits.items() if {*options.stream} <= {*part["domain"]}]
        if not whole:
            raise UserError(f"no split of {', '.join(of_splits)} has images of every domain of the stream")
        return of_splits["validation" if "validation" in whole else whole[0]]

    def _drawn(self, variant: str) -> Figure:
        default = self.kept[DEFAULT]
        stream = self.parameters.options(self.agent).stream
        split: dict[str, Any] = {"split": default["split"].iloc[0]}
        if variant == DEFAULT:
            figure = matrices(cell_values(default, **split), stream)
            images = f"each domain's {split['split']} images"
            return described(figure, str(figure.get_label()).replace("each test set", images))
        variants = [name for name in self.kept if name != DEFAULT] if variant == ALL else [variant]
        changes = [cell_changes(self.kept[name], default, **split).assign(switch=name) for name in variants]
        cells = pd.concat(changes).assign(agent=self.agent)
        largest, names = extremes(100 * cells.set_index("switch")["value"], ".0f"), " or ".join(variants)
        text = f"Accuracy with {names} minus that {DEFAULT}, cell by cell (percentage points): {largest}."
        return described(matrix_changes(cells, stream), text)
