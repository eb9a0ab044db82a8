"""Builds the site from executed notebooks, the pages in docs/ and the docstrings (make site).

    python docs/build_site.py [FOLDER]     # by default build/site

A notebook's page is made from its copy in runs/ that `cldf reproduce --all` has executed with today's code. Where there
is none, it is made from that of the profile smoke, which is run if it is missing, and says so. The slides are in its
folder slides/. Pages ask no other host.
"""

import base64
import html
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import nbformat
from addresses import launchers
from build_slides import check_own
from draw_rooms import ROOMS, modules
from hosting import TABLE, filled

PROJECT = Path(__file__).parents[1]
SMOKE = """\
```{warning}
This page was made with the profile *smoke*: a handful of tiny images, and networks that have hardly been trained. It
shows what the notebook does. **Its numbers mean nothing**, and neither do its figures and the sentences about them.
`cldf reproduce --all` computes what the text is about.
```"""


# --- which executed notebooks ---


def executed(notebook: str) -> tuple[Path, str] | None:
    """The executed copy of a notebook that is of today's code, and its profile; None if there is none."""
    from cldf_core.workflow.notebooks import inputs_hash, is_done, notebook_parameters

    for profile in ("quick", "smoke"):
        parameters = notebook_parameters(notebook, profile)
        if parameters.folder.finished and is_done(parameters, inputs_hash(parameters)):
            return parameters.folder.path / "notebook.ipynb", profile
    return None


def all_executed() -> dict[str, tuple[Path, str]]:
    """The executed copy of every notebook and its profile; the smoke profile is run where one is missing."""
    from cldf_core.workflow.parameters import NOTEBOOKS

    found = {notebook: executed(notebook) for notebook in NOTEBOOKS}
    if missing := [notebook for notebook, copy in found.items() if copy is None]:
        words = ["reproduce", "--profile", "smoke", "--only", *missing]
        subprocess.run([sys.executable, "-m", "cldf_core.cli", *words], check=True)
        found |= {notebook: executed(notebook) for notebook in missing}
    return found


# --- pages ---


def picture(png: str, alternative: str, target: Path) -> str:
    """Writes a picture, given in base64, to a file of the site; returns the HTML that shows it."""
    if len(alternative.split()) < 4:
        raise ValueError(f"{target.stem}: a picture has no sentence that says what is on it, but {alternative!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data := base64.b64decode(png))
    width, height = struct.unpack(">II", data[16:24])
    place = f'src="../_static/figures/{target.name}" width="{width}" height="{height}" loading="lazy"'
    return f'<img class="figure" {place} alt="{html.escape(alternative)}">'


def with_site_links(text: str, up: str) -> str:
    """Markdown whose links to pages in docs/, decks and notebooks lead to those of the site; `up` leads to its root."""
    text = re.sub(
        r"\[([^\]]+)\]\((?:\.\./)?(?:docs/)?slides/([\w-]+)\.md\)", rf'<a href="{up}slides/\2.html">\1</a>', text
    )
    text = re.sub(r"\]\((?:\.\./)?docs/([\w-]+\.md)", rf"]({up}\1", text)
    text = re.sub(r"\]\(exercises/\w+\.ipynb\)", f"]({up}course.md)", text)  # which hold solutions, and have no page
    return re.sub(r"\]\((?:\.\./)?notebooks/(\w+\.ipynb)", rf"]({up}notebooks/\1", text)


def with_links(text: str) -> str:
    """A notebook's Markdown in which "notebook 03" is a link to that notebook, where it is not one already."""
    from cldf_core.workflow.parameters import NOTEBOOKS

    names = {name[:2]: name for name in NOTEBOOKS}
    return re.sub(
        r"(?<![\[`])\b([Nn]otebook) (\d\d)\b(?!\])",
        lambda found: f"[{found[0]}]({names[found[2]]}.ipynb)" if found[2] in names else found[0],
        text,
    )


def page(notebook: nbformat.NotebookNode, name: str, note: str, figures: Path) -> nbformat.NotebookNode:
    """A notebook's page: its executed copy with notes below the title, and its pictures in files of their own.

    What a cell shows as a picture and as something else, such as a widget that needs a kernel, is shown as the picture.
    """
    for number, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.NotebookNode(tags=cell.metadata.get("tags", []))
        if cell.cell_type == "markdown":
            cell.source = with_links(with_site_links(cell.source, "../"))
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("text", "…").strip()]
        for k, output in enumerate(cell.get("outputs", [])):
            if png := output.get("data", {}).get("image/png"):
                alternative = output.metadata.get("image/png", {}).get("alt", "")
                output.data = {"text/html": picture(png, alternative, figures / f"{name}-{number}-{k}.png")}
    files = " · ".join(f"{{download}}`{name}.{suffix} <../sources/{name}.{suffix}>`" for suffix in ("py", "ipynb"))
    places = " · ".join(f"[{place}]({address})" for place, address in launchers(name).items())
    source = f"Source and notebook, without outputs: {files}. Run it, in minutes: {places}"
    added = [nbformat.v4.new_markdown_cell(text) for text in (note, source) if text]
    notebook.cells[1:1] = added
    return notebook


def write_notebooks(stage: Path) -> None:
    """Writes the pages of all notebooks, their pictures and their sources."""
    (stage / "notebooks").mkdir()
    (stage / "sources").mkdir()
    for name, (path, profile) in all_executed().items():
        note = SMOKE if profile == "smoke" else ""
        made = page(nbformat.read(path, as_version=4), name, note, stage / "figures")
        nbformat.write(made, stage / "notebooks" / f"{name}.ipynb")
        for suffix in ("py", "ipynb"):
            shutil.copy(PROJECT / "notebooks" / f"{name}.{suffix}", stage / "sources")


def page_of(room: str) -> str:
    """The name of a room's page in the reference."""
    return f"{room.replace(' ', '_')}.rst"


def write_docs(stage: Path) -> None:
    """Writes the pages of docs/, with README's table of notebooks, a list of the rooms, and tables of hosting."""
    rows = re.findall(r"^\| \[\d\d .*$", (PROJECT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    table = re.sub(r" \| \[page\]\[\d\d\][^|]*(?= \|)", "", "\n".join(rows))  # which are what is made here
    rooms = "\n".join(f"- [{room}](api/{page_of(room)}): {words}" for room, words in ROOMS.items())
    for path in (PROJECT / "docs").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        text = text.replace("<!-- the table of notebooks -->", table).replace("<!-- the rooms -->", rooms)
        (stage / path.name).write_text(with_site_links(filled(text), ""), encoding="utf-8")
    for path in [PROJECT / "docs" / "rooms.svg", TABLE, *(PROJECT / "docs").glob("*.sh")]:
        shutil.copy(path, stage)


def write_api(stage: Path) -> None:
    """Writes a page for each room of the package, with the docstrings of its public modules."""
    (stage / "api").mkdir()
    for room, names in modules().items():
        title = room[0].upper() + room[1:]
        lines = [title, "=" * len(title), "", f"{ROOMS[room][0].upper()}{ROOMS[room][1:]}.", ""]
        for name in names:
            dotted = name.replace("/", ".")
            module = f"cldf_core.{dotted}" if room == "the method" else f"cldf_core.{room}.{dotted}"
            if not name.split("/")[-1].startswith("_"):
                lines += [dotted, "-" * len(dotted), "", f".. automodule:: {module}", "   :members:", ""]
        (stage / "api" / page_of(room)).write_text("\n".join(lines), encoding="utf-8")


def write_options(stage: Path) -> None:
    """Writes a page with all options by those who have them: what they mean, their defaults and what they allow."""
    from cldf_core.options import AGENTS, FIELDS, Options, allowed
    from cldf_core.original_options import ORIGINAL

    owners: dict[str, list[str]] = {}
    for name, field in FIELDS.items():
        agents = [agent for agent, kind in AGENTS.items() if name in kind.model_fields]
        owner = "Every run" if name in Options.model_fields else ", ".join(agents)
        original = dict.fromkeys(repr(ORIGINAL[agent][name]) for agent in agents if name in ORIGINAL.get(agent, {}))
        parts = [f"Default: `{field.default!r}`."]
        parts += [f"In the original: {' or '.join(f'`{value}`' for value in original)}."] if original else []
        parts += [f"Allowed: {allowed(name)}."] if allowed(name) != field.description else []
        owners.setdefault(owner, []).append(f"`{name}`\n: {field.description}. {' '.join(parts)}\n")
    text = ["# Options", "Made from `cldf_core/options.py`, the only place where a default stands."]
    for owner, entries in owners.items():
        text += [f"## {owner}", *entries]
    (stage / "options.md").write_text("\n\n".join(text), encoding="utf-8")


def main(target: Path = PROJECT / "build" / "site") -> int:
    """Builds the site; returns Sphinx's exit status, which is not 0 where it has warned."""
    from sphinx.cmd.build import build_main

    check_own(target)
    stage = target.with_name(f"{target.name}-pages")
    shutil.rmtree(stage, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    stage.mkdir(parents=True)
    for write in (write_docs, write_options, write_api, write_notebooks):
        write(stage)
    words = ["-W", "--keep-going", "-q", "-E", "-c", str(PROJECT / "docs"), "-d", str(stage / ".doctrees")]
    status = build_main([*words, str(stage), str(target)])
    shutil.copytree(stage / "figures", target / "_static" / "figures")
    # In a Python of its own: one Sphinx after another finds settings of the first.
    slides = [sys.executable, str(PROJECT / "docs" / "build_slides.py"), str(target / "slides")]
    return status or subprocess.run(slides).returncode


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
