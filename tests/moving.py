"""What every widget with controls has to do: change its picture, and tell in a sentence what is in it."""

import re

from ipywidgets import widgets

from cldf_core.interact.live import VIEW, Live


def another(control: widgets.Widget) -> object:
    """A value that a control can have, at one of its ends, and has not."""
    options = [option[1] if isinstance(option, tuple) else option for option in control.options]
    if isinstance(control, widgets.SelectionRangeSlider):
        return options[0], options[len(options) // 2]
    return options[-1] if control.value != options[-1] else options[0]


def check_live(live: Live) -> None:
    """Every control changes the picture; what is shown holds the widget, a PNG and a sentence that is its text."""
    check_bundle(live)
    for name, control in live.controls.items():
        before, value, other = live.picture.value, control.value, another(control)
        control.value = other
        assert live.picture.value != before, f"{name}: {other!r} changes nothing"
        check_bundle(live)
        assert control.description
    control.value = value
    assert live.picture.value == before, "the way back is another"


def check_bundle(live: Live) -> None:
    data, metadata = live._repr_mimebundle_()
    text = metadata["image/png"]["alt"]
    assert {VIEW, "image/png", "text/html", "text/plain"} == set(data)
    assert data[VIEW]["model_id"] == live.model_id
    assert data["image/png"].startswith("iVBOR")  # "\x89PNG" in base64
    assert data["image/png"] in live.picture.value  # both are the same picture
    assert re.fullmatch(r"[A-Z].{30,}\.", text), text
    assert data["text/plain"] == text
