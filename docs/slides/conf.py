"""Sphinx's settings for the slides; docs/build_slides.py calls Sphinx (make slides)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from build_slides import fill
from conf import add_mathjax, mathjax_path, project, project_copyright  # noqa: F401

author = "The cldf contributors"
extensions = ["myst_parser", "sphinx.ext.mathjax", "sphinx_revealjs"]
exclude_patterns = ["conf.py"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
html_copy_source = html_show_sourcelink = False

revealjs_html_theme = "revealjs-simple"
revealjs_static_path = ["theme"]
revealjs_style_theme = "slides.css"
revealjs_script_plugins = [{"name": "RevealNotes", "src": "revealjs/plugin/notes/notes.js"}]
# A slide has the shape of a screen; its address holds its number, so that a page that is loaded again stays there.
revealjs_script_conf = {
    "width": 1280,
    "height": 720,
    "margin": 0,
    "center": False,
    "display": "flex",
    "controls": False,
    "jumpToSlide": False,
    "hash": True,
    "slideNumber": "c/t",
    "transition": "none",
}


def setup(app) -> None:
    """Connects what fills tables in, and what copies MathJax."""
    app.connect("source-read", fill)
    app.connect("build-finished", add_mathjax)
