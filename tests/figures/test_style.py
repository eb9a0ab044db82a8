"""The style of figures: colours that can be seen and told apart, alternative texts, figures shown once and whole."""

import ast
import inspect
import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib.colors import to_rgb
from PIL import Image

from cldf_core import figures
from cldf_core.data.files import save_figure
from cldf_core.figures import attribution, calibration, robustness, style

OTHER = "an agent of one's own"
AGENTS = {agent: style.agent_colour(agent) for agent in (*style.AGENT_COLOURS, OTHER)}
GREYS = {band: grey for band, (grey, _) in robustness.BAND_LINES.items()}
ALL = (AGENTS, style.CLASS_COLOURS, calibration.WHEN, attribution.BAND_COLOURS, GREYS)
# How people without one kind of cones see linear RGB (Machado, Oliveira & Fernandes 2009, severity 1).
SIGHT = {
    "all cones": np.eye(3),
    "no L": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no M": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no S": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB."""
    x, y, z = np.cbrt(XYZ @ np.clip(rgb, 0, 1) / XYZ.sum(axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("colours", ALL)
def test_colours_have_a_contrast_of_3_on_white(colours):
    contrast = {name: 1.05 / (XYZ[1] @ linear(colour) + 0.05) for name, colour in colours.items()}  # WCAG 2.1, 1.4.3
    assert {name: value for name, value in contrast.items() if value < 3} == {}


@pytest.mark.parametrize("sight", SIGHT)
def test_agents_can_be_told_apart_by_colour_whoever_looks(sight):
    seen = {agent: lab(SIGHT[sight] @ linear(colour)) for agent, colour in AGENTS.items()}
    near = {(a, b): np.linalg.norm(seen[a] - seen[b]) for a, b in itertools.combinations(AGENTS, 2)}
    assert {pair: distance for pair, distance in near.items() if distance < 10} == {}


def test_agents_can_be_told_apart_without_colours():
    assert len({style.agent_marker(agent) for agent in AGENTS}) == len(AGENTS)
    assert len({style.agent_line(agent) for agent in AGENTS}) == len(AGENTS)
    rows = [(agent, step, "one", 0.5, 0.4, 0.6) for agent in AGENTS for step in (1, 2)]
    cells = pd.DataFrame(rows, columns=["agent", "step", "domain", "value", "low", "high"])
    settings = cells.assign(metric="average", memory=cells["step"])
    losses = cells.assign(loss=0.5, epoch=cells["step"], step=1)
    drawn = [
        figures.over_time(cells, ["one"]),
        figures.losses(losses),
        figures.trade_offs(settings, [("average",) * 2]),
    ]
    for figure in [*drawn, figures.by_setting(settings, "memory", ["average"])]:
        lines = [line for line in figure.axes[0].lines if line.get_marker() not in ("", "None")]
        looks = {(line.get_marker(), str(line._unscaled_dash_pattern)) for line in lines}
        assert len(looks) == len(AGENTS)


def test_every_figure_has_an_alternative_text():
    for path in Path(inspect.getfile(figures)).parent.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and ast.unparse(node.returns or ast.Constant(0)) == "Figure":
                calls = {ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
                assert calls & {"described", "_domain_panels", "figure.set_label"}, node.name


@pytest.fixture
def shell(monkeypatch) -> InteractiveShell:
    shell = InteractiveShell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr(InteractiveShell, "_instance", shell)
    return shell


def test_a_figure_is_shown_once_and_tells_what_it_shows_everywhere(shell, tmp_path):
    figure = figures.learning_rate(pd.DataFrame({"epoch": [1, 2, 3], "lr": [0.05, 0.03, 0.001]}))
    assert not plt.get_fignums()  # else the kernel would draw it while it is being shown
    text = "The learning rate over 3 epochs on the memory, from 0.001 to 0.05."
    with capture_output() as shown:
        save_figure(figure, tmp_path, "rate")
    (output,) = shown.outputs
    assert output.metadata["image/png"]["alt"] == output.data["text/plain"] == text
    assert f'alt="{text}"' in output.data["text/html"]
    with Image.open(tmp_path / "rate.png") as image:
        assert image.text["Description"] == text
    assert f"({text})".encode() in (tmp_path / "rate.pdf").read_bytes()


def test_an_interval_in_a_table_stays_in_one_line():
    table = pd.DataFrame({"average": ["0.90 [0.85, 0.95]", "-0.10 [nan, nan]"], "words": ["two words [a, b c]"] * 2})
    shown = style.table_html(table)
    assert "<td>0.90&nbsp;[0.85,&nbsp;0.95]</td>" in shown
    assert "<td>two words [a, b c]</td>" in shown


def test_quotes_of_a_name_do_not_end_the_alternative_text():
    figure = style.described(style.panels(1, 1, 1.0)[0], 'a "><script>alert(1)</script>')
    assert "<script>" not in figure._repr_mimebundle_()[0]["text/html"]
