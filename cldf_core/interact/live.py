"""A figure with controls: live where a kernel runs, and a picture with a sentence everywhere else."""

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

VIEW = "application/vnd.jupyter.widget-view+json"
_PAUSE = 400  # milliseconds between two pictures of a film


class Live(widgets.VBox):
    """Controls above a figure, which is drawn again whenever one of them moves.

    Shown in a notebook, it leaves one output of several forms: the widget, and the figure as it is then, as a PNG with
    its alternative text. JupyterLab takes the first, readers without a kernel the second.

    Attributes:
        controls: the widgets, by the names of the arguments of `draw`. A value set here moves its control.
        picture: the figure's place, an <img> with its alternative text.
    """

    def __init__(self, draw: Callable[..., Figure], **controls: widgets.Widget) -> None:
        self.draw, self.controls, self.picture = draw, controls, widgets.HTML()
        for control in controls.values():
            control.observe(lambda _: self.redraw(), names="value")
        row = widgets.HBox([part for control in controls.values() for part in _with_film(control)])
        row.layout.flex_flow = "row wrap"
        self.redraw()
        super().__init__([row, self.picture])

    @property
    def values(self) -> dict[str, Any]:
        """What the controls are set to."""
        return {name: control.value for name, control in self.controls.items()}

    def redraw(self) -> None:
        """Draws the figure for what the controls are set to."""
        figure = self.draw(**self.values)
        self._data, self._metadata = figure._repr_mimebundle_()  # type: ignore[attr-defined]  # see style.Drawing
        self.picture.value = self._data["text/html"]

    def _repr_mimebundle_(self, **how: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {**self._data, VIEW: super()._repr_mimebundle_(**how)[VIEW]}, self._metadata


def slider(label: str, values: Sequence[Any], value: Any, *, film: bool = False) -> widgets.SelectionSlider:
    """A slider over values, which are shown as they are written; a film also has buttons that play through them."""
    own = widgets.SelectionSlider(options=list(values), value=value, description=label, continuous_update=False)
    own.add_class("cldf-film" if film else "cldf-slider")
    return _wide(own)


def span_slider(label: str, values: Sequence[Any], value: tuple[Any, Any]) -> widgets.SelectionRangeSlider:
    """A slider with two handles."""
    at = [list(values).index(end) for end in value]
    return _wide(
        widgets.SelectionRangeSlider(options=list(values), index=at, description=label, continuous_update=False)
    )


def choice(label: str, options: Sequence[str], value: str | None = None) -> widgets.Dropdown:
    """A list of which one entry is chosen, by default the first."""
    return _wide(widgets.Dropdown(options=list(options), value=value or options[0], description=label))


def _wide(control: widgets.DOMWidget) -> widgets.DOMWidget:
    control.style.description_width, control.layout.width = "initial", "26em"  # labels are whole words
    return control


def _with_film(control: widgets.DOMWidget) -> list[widgets.DOMWidget]:
    if "cldf-film" not in control._dom_classes:
        return [control]
    film = widgets.Play(max=len(control.options) - 1, interval=_PAUSE, value=control.index)
    widgets.jslink((film, "value"), (control, "index"))
    return [film, control]
