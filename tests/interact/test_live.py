"""A figure with controls: shown once in several forms, in a kernel as in a saved notebook."""

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from papermill import execute_notebook

from cldf_core.figures.style import described, panels
from cldf_core.interact.live import VIEW, Live, choice, slider, span_slider

CELL = """
from IPython.display import display
from cldf_core.interact import fourier
live = fourier.one_wave()
live.controls["frequency"].value = 0.5
live
"""


def drawn(height: float, part: str = "a", span: tuple[int, int] = (0, 1)):
    figure, ((axis,),) = panels(1, 1, 1.0)
    axis.bar([part], [height], bottom=span[0])
    return described(figure, f"A bar of height {height}, named {part}, above the interval {span}.")


@pytest.fixture
def shell(monkeypatch) -> InteractiveShell:
    shell = InteractiveShell()
    monkeypatch.setattr(InteractiveShell, "_instance", shell)
    return shell


def test_it_is_shown_with_what_the_controls_say_at_this_moment(shell):
    live = Live(drawn, height=slider("height", [1, 2, 3], 2), part=choice("part", ["a", "b"]))
    assert live.values == {"height": 2, "part": "a"}
    live.controls["part"].value = "b"
    with capture_output() as shown:
        shell.display_formatter.format(live)
        from IPython.display import display

        display(live)
    (output,) = shown.outputs
    assert set(output.data) == {VIEW, "image/png", "text/html", "text/plain"}
    assert output.metadata["image/png"]["alt"] == "A bar of height 2, named b, above the interval (0, 1)."


def test_a_slider_waits_until_it_is_let_go_and_a_film_plays_all_of_it():
    film = Live(drawn, height=slider("height", [1, 2, 3], 2, film=True), span=span_slider("span", [0, 1, 2], (0, 2)))
    play, moved, span = film.children[0].children
    assert (play.min, play.max, play.value) == (0, 2, 1)
    assert not moved.continuous_update
    assert not span.continuous_update
    assert span.value == (0, 2)


@pytest.mark.slow
def test_a_saved_notebook_holds_widget_and_picture_in_one_output(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", progress_bar=False)
    saved = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    (output,) = saved.cells[0].outputs
    assert set(output.data) == {VIEW, "image/png", "text/html", "text/plain"}
    sentence = output.metadata["image/png"]["alt"]
    assert sentence.startswith("A wave of 0.50 of Nyquist's frequency that runs at 0 degrees: ")
    assert f'alt="{sentence.replace(chr(39), "&#x27;")}"' in output.data["text/html"]
    states = saved.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    assert output.data[VIEW]["model_id"] in states
