"""Builds the lecturer's slides from docs/slides, as pages for a browser and as PDF (make slides).

    python docs/build_slides.py [FOLDER] [--pdf]     # by default build/slides

Decks are Markdown: a heading a slide, figures from figures/, and tables that `fill` makes from figures/tables. With
--pdf, Chromium prints each deck. Neither asks another host.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = PROJECT / "docs" / "slides"
DECKS = ("traces", "forgetting")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


# --- tables ---


def domains(folder: Path) -> pd.DataFrame:
    """Images of each domain by what they are for, and the photographs that they come from."""
    images = pd.read_csv(folder / "01_counts.csv").groupby(["domain", "split"], sort=False)["images"].sum().unstack()
    photographs = pd.read_csv(folder / "01_groups.csv").groupby("domain")["groups"].sum()
    table = images[["train", "validation", "test"]].assign(photographs=photographs).reset_index()
    return table.rename(columns={"train": "to learn", "validation": "to choose", "test": "to test"})


def lost(folder: Path) -> pd.DataFrame:
    """What sequential fine-tuning knew of each old domain, at best and at the end."""
    table = pd.read_csv(folder / "03_forgetting.csv")
    return table.set_index("domain").map("{:.2f}".format).reset_index()


TABLES: dict[str, tuple[Callable[[Path], pd.DataFrame], str]] = {
    "the table of domains": (domains, "notebook 01"),
    "the table of what was lost": (lost, "notebook 03"),
}


def fill(app, name: str, source: list[str]) -> None:
    """Puts the tables into a deck's text, in the places that name them; if one is missing, it says what makes it.

    Sphinx calls it with its application, a deck's name, and a list with the text alone.
    """
    for place, (make, origin) in TABLES.items():
        if (mark := f"<!-- {place} -->") in source[0]:
            try:
                text = markdown(make(PROJECT / "figures" / "tables"))
            except FileNotFoundError:
                text = f"*The table is missing: `cldf reproduce` makes it ({origin}).*"
            source[0] = source[0].replace(mark, text)


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown: the first column to the left, the others to the right."""
    rows = [table.columns, ["---", *["---:"] * (table.shape[1] - 1)], *table.astype(str).to_numpy()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


# --- pages and PDF ---


def pages(target: Path) -> int:
    """Builds the decks' pages in a folder; returns Sphinx's exit status, which is not 0 where it has warned."""
    from sphinx.cmd.build import build_main

    shutil.rmtree(target, ignore_errors=True)
    trees = target.with_name(f"{target.name}-trees")
    words = ["-b", "revealjs", "-W", "--keep-going", "-q", "-E", "-d", str(trees)]
    status = build_main([*words, str(SOURCES), str(target)])
    shutil.rmtree(trees, ignore_errors=True)
    leave_out_unused(target / "_static" / "revealjs")
    return status


def leave_out_unused(folder: Path) -> None:
    """Deletes what no deck takes of reveal.js: its other themes, some of which ask for fonts elsewhere, and sources."""
    if folder.is_dir():
        kept = {"dist/reveal.js", "dist/reveal.css", "plugin/notes/notes.js", "LICENSE"}
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            if path.relative_to(folder).as_posix() not in kept:
                path.unlink()
        for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
            if not any(path.iterdir()):
                path.rmdir()


def check_own(target: Path) -> None:
    """Ends the program where a folder, which is deleted first, holds what Sphinx has not built."""
    if target.exists() and not (target / ".buildinfo").exists() and (not target.is_dir() or any(target.iterdir())):
        sys.exit(f"{target} holds something else; needed: a new folder, or one that was built before")


def browser() -> str | None:
    """The path of a browser that can print, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def printed(tab, page: Path) -> bytes:
    """A deck's page as PDF, a slide a page, printed by a tab of a browser."""
    tab.goto(f"{page.as_uri()}?print-pdf")
    tab.wait_for_selector(".pdf-page")
    tab.evaluate("window.MathJax?.startup?.promise")
    return tab.pdf(prefer_css_page_size=True, print_background=True)


def pdf(folder: Path) -> None:
    """Prints every deck in a folder to a PDF beside it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        for deck in DECKS:
            (folder / f"{deck}.pdf").write_bytes(printed(opened.new_page(), folder / f"{deck}.html"))
        opened.close()


def main(words: list[str] | None = None) -> int:
    """Builds the pages and, where it is asked for, the PDFs; returns Sphinx's exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=PROJECT / "build" / "slides")
    parser.add_argument("--pdf", action="store_true", help="print each deck to a PDF, with Chromium")
    given = parser.parse_args(words)
    target = given.folder.resolve()
    check_own(target)
    status = pages(target)
    if given.pdf and browser() is None:
        known = f"allowed: {', '.join(BROWSERS)}, for example by apt-get install chromium"
        parser.error(f"the pages are in {target}, but there is no browser to print them with; {known}")
    if given.pdf and status == 0:
        pdf(target)
    return status


if __name__ == "__main__":
    sys.exit(main())
