"""Sphinx's settings for the site; docs/build_site.py lays its pages out and calls Sphinx (make site)."""

import importlib.util
import re
import shutil
from pathlib import Path

project, author, project_copyright = "cldf", "The cldf contributors", "The cldf contributors, MIT licence"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["sources"]
suppress_warnings = ["ref.python"]  # two classes of one name in a signature

# Notebooks were executed before; their sources are the .py, which each page offers.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # widgets would come from another host, and need a kernel
html_copy_source = html_show_sourcelink = html_use_index = html_domain_indices = False
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_rtype = napoleon_use_ivar = False
add_module_names = False

html_theme, html_title = "sphinx_book_theme", "cldf"
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "show_navbar_depth": 1,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_static_path, html_css_files = ["theme"], ["site.css"]
mathjax_path = "tex-svg.js"  # formulas are SVG, which needs no fonts


def escaped(text: str) -> str:
    """Plain text with code in backticks, as in Markdown, for Sphinx: its stars and bars are no markup."""
    words = re.split(r"`([^`]+)`", text)
    words[::2] = [re.sub(r"[*|`]|(?<=\w)_(?!\w)", r"\\\g<0>", plain) for plain in words[::2]]
    # Each code stands between blanks that are not shown, so that a letter may follow it.
    words[1::2] = [f"\\ ``{code}``\\ " for code in words[1::2]]
    return "".join(words)


def plain(app, what, name, obj, options, lines: list[str]) -> None:
    """Escapes a docstring; what is indented in a module's, or below a colon, is shown as it stands."""
    blocks = "\n".join(lines).split("\n\n")
    for k, block in reversed(list(enumerate(blocks))):
        as_it_stands = k > 0 and block.startswith(" ") and (what == "module" or blocks[k - 1].endswith(":"))
        blocks[k] = f"::\n\n{block}" if as_it_stands else escaped(block)
    lines[:] = "\n\n".join(blocks).split("\n")


def of_others(app, what, name, obj, skip: bool, options) -> bool | None:
    """Leaves out what a class got from a library, and the fields of tuples, which stand in its signature."""
    ours = getattr(obj, "__module__", None) or "cldf_core"
    return True if type(obj).__name__ == "_tuplegetter" or not ours.startswith("cldf_core") else None


def add_mathjax(app, problem: Exception | None) -> None:
    """Copies MathJax, which a package for another web framework carries, into the site."""
    if problem is None and app.builder.format == "html":
        (folder,) = importlib.util.find_spec("mathjax").submodule_search_locations
        package, static = Path(folder) / "static" / "mathjax", Path(app.outdir) / "_static"
        shutil.copyfile(package / "es5" / "tex-svg.js", static / "tex-svg.js")
        shutil.copyfile(package / "LICENSE", static / "tex-svg.js.LICENSE")


def setup(app) -> None:
    """Connects the functions above."""
    app.connect("autodoc-process-docstring", plain, priority=400)  # before napoleon, which writes markup
    app.connect("autodoc-skip-member", of_others)
    app.connect("build-finished", add_mathjax)
