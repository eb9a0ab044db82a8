"""The lecturer's slides: little text, notes, whole figures with words, numbers from tables, and no other host."""

import importlib
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from cldf_core.workflow.parameters import NOTEBOOKS
from exercises import NAMES
from samples import PROJECT
from words import results_in

DECKS = ("traces", "forgetting")
DECK = pytest.mark.parametrize("deck", DECKS)
TABLES = PROJECT / "figures" / "tables"
SPLITS = ("train", "validation", "test")


@pytest.fixture
def build(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "docs"))
    return importlib.import_module("build_slides")


def source(deck: str) -> str:
    return (PROJECT / "docs" / "slides" / f"{deck}.md").read_text(encoding="utf-8")


def soup(path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def slides_of(folder, deck: str) -> list:
    """The slides of a deck: the innermost sections."""
    return list(soup(folder / f"{deck}.html").select("section section"))


@DECK
def test_a_deck_has_one_idea_a_slide_with_little_text_and_notes(slides, deck):
    found = slides_of(slides, deck)
    assert 12 <= len(found) <= 20
    assert len(found) == len(re.findall("^##? ", source(deck), re.MULTILINE))
    for slide in found:
        (notes,) = slide.select("aside.notes")
        assert len(notes.get_text().split()) >= 15
        notes.extract()
        (heading,) = slide.select("h1, h2")
        assert len(slide.get_text(" ").split()) <= 60, heading.get_text()
        assert len(slide.select("img")) <= 1, heading.get_text()


@DECK
def test_figures_are_those_of_the_project_and_say_what_is_on_them(slides, deck):
    pictures = [picture for slide in slides_of(slides, deck) for picture in slide.select("img")]
    assert len(pictures) >= 8
    assert len({picture["alt"] for picture in pictures}) == len(pictures)
    for picture in pictures:
        shown = slides / picture["src"]
        assert shown.read_bytes() == (PROJECT / "figures" / shown.name).read_bytes()
        assert len(picture["alt"].split()) >= 10
        assert picture["alt"].endswith(".")


@DECK
def test_fixed_text_holds_no_result(deck):
    assert results_in(source(deck)) == []


@DECK
def test_a_deck_names_what_is_there(deck):
    names = re.findall(r"`(\w+)`", source(deck))
    assert set(names) <= set(NAMES)
    assert len(names) > 2
    numbers = re.findall(r"[Nn]otebooks? (\d\d)(?:(?:, | and | to )(\d\d))*", source(deck))
    assert {number for pair in numbers for number in pair if number} <= {name[:2] for name in NOTEBOOKS}


def shown(slides, deck: str, heading: str) -> list[list[str]]:
    """The cells of the table on a slide."""
    (slide,) = [slide for slide in slides_of(slides, deck) if slide.h2 and slide.h2.get_text() == heading]
    return [[cell.get_text(strip=True) for cell in row.select("th, td")] for row in slide.select("tr")]


def test_numbers_are_those_of_the_tables(slides):
    lost = pd.read_csv(TABLES / "03_forgetting.csv")
    head, *rows = shown(slides, "forgetting", "What has sequential training lost?")
    assert head == list(lost.columns)
    assert rows == [[row[0], *(f"{number:.2f}" for number in row[1:])] for row in lost.to_numpy().tolist()]
    counts, groups = pd.read_csv(TABLES / "01_counts.csv"), pd.read_csv(TABLES / "01_groups.csv")
    head, *rows = shown(slides, "traces", "The data")
    assert [row[0] for row in rows] == list(dict.fromkeys(counts["domain"]))
    for domain, *numbers in rows:
        own, photographs = counts[counts["domain"] == domain], groups[groups["domain"] == domain]
        images = [own.loc[own["split"] == split, "images"].sum() for split in SPLITS]
        assert numbers == [str(number) for number in [*images, photographs["groups"].sum()]]


def test_a_table_that_is_missing_is_said_to_be(build, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "PROJECT", tmp_path)
    text = ["before <!-- the table of domains --> after"]
    build.fill(None, "traces", text)
    assert text == ["before *The table is missing: `cldf reproduce` makes it (notebook 01).* after"]


def test_no_file_of_the_slides_names_another_host(slides):
    assert {path.name for path in slides.glob("*.html")} == {"index.html", *(f"{deck}.html" for deck in DECKS)}
    for page in slides.glob("*.html"):
        for element in soup(page).find_all(["img", "script", "link", "iframe"]):
            address = element.get("src") or element.get("href") or ""
            assert not address.startswith(("http:", "https:", "//")), address
            assert not address or (slides / address.partition("?")[0]).is_file(), address
    for sheet in slides.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_what_no_deck_takes_of_revealjs_is_left_out(build, tmp_path):
    for name in ("dist/reveal.js", "dist/theme/sky.css", "css/layout.scss", "LICENSE"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    build.leave_out_unused(tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {"dist", "reveal.js", "LICENSE"}


def test_without_a_browser_the_pages_are_there_and_it_is_said_how_to_get_one(build, monkeypatch, tmp_path, capsys):
    made = list[Path]()
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.setattr(build, "pages", lambda target: made.append(target) or 0)
    with pytest.raises(SystemExit) as ended:
        build.main([str(tmp_path / "slides"), "--pdf"])
    assert ended.value.code == 2
    assert "no browser to print them with; allowed: chromium, " in capsys.readouterr().err
    assert made == [(tmp_path / "slides").resolve()]


def test_a_folder_of_something_else_is_left_alone(build, tmp_path):
    (tmp_path / "thesis.txt").write_text("my own")
    site = importlib.import_module("build_site")
    for main, target in ((build.main, [str(tmp_path)]), (site.main, tmp_path)):
        with pytest.raises(SystemExit, match="holds something else; needed: a new folder, or one that was built"):
            main(target)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# --- in a browser ---

# What sticks out of the slide that is shown, in pixels, by element; figures by how large their pixels are drawn.
OUTSIDE = """() => {
    const slide = Reveal.getCurrentSlide(), scale = Reveal.getScale(), box = slide.getBoundingClientRect();
    const outside = [], drawn = [];
    for (const part of slide.querySelectorAll('h1, h2, p, li, td, th, img, mjx-container')) {
        if (part.closest('aside')) continue;
        const own = part.getBoundingClientRect();
        if (own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.top + 720 * scale - 20 * scale)
            outside.push([part.tagName, own.left, own.right, own.bottom]);
        if (part.tagName == 'IMG') drawn.push(
            Math.min(own.width / part.naturalWidth, own.height / part.naturalHeight) / scale);
    }
    return [slide.querySelector('h1, h2').textContent, outside, drawn];
}"""


def open_deck(tab, slides, deck: str, width: int = 1280, height: int = 720) -> int:
    """Opens a deck at its first slide; returns how many it has."""
    tab.set_viewport_size({"width": width, "height": height})
    tab.goto("about:blank")
    tab.goto((slides / f"{deck}.html").as_uri())
    tab.wait_for_function("Reveal.isReady()")
    tab.evaluate("window.MathJax?.startup?.promise")
    return tab.evaluate("Reveal.getTotalSlides()")


@pytest.mark.slow
@DECK
@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1024, 768)])
def test_nothing_sticks_out_and_figures_are_large(slides, tab, deck, width, height):
    count = open_deck(tab, slides, deck, width, height)
    headings = []
    for _ in range(count):
        heading, outside, drawn = tab.evaluate(OUTSIDE)
        assert outside == [], heading
        # Their text is drawn with 8 points, of 200 to an inch: 22 pixels, so at least 13 of the slide's 720.
        assert all(times >= 0.6 for times in drawn), (heading, drawn)
        headings.append(heading)
        tab.keyboard.press("ArrowRight")
    assert len(set(headings)) == count  # the keyboard has reached every slide
    tab.keyboard.press("Home")
    assert tab.evaluate(OUTSIDE)[0] == headings[0]
    assert {address for address in tab.asked if not address.startswith(("file:", "data:", "blob:", "about:"))} == set()


@pytest.mark.slow
def test_text_that_sticks_out_is_found(slides, tab):
    open_deck(tab, slides, "traces")
    tab.evaluate("Reveal.getCurrentSlide().querySelector('p').style.marginTop = '600px'")
    assert tab.evaluate(OUTSIDE)[1] != []


@pytest.mark.slow
@DECK
def test_no_slide_has_a_serious_barrier(slides, tab, deck):
    from axe_playwright_python.sync_playwright import Axe

    for _ in range(open_deck(tab, slides, deck)):
        found = Axe().run(tab, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [
            (rule["id"], rule["nodes"][0]["html"]) for rule in found if rule["impact"] in ("serious", "critical")
        ]
        assert not serious, json.dumps(serious, indent=1)
        tab.keyboard.press("ArrowRight")


@pytest.mark.slow
def test_notes_open_in_a_window_of_their_own(slides, tab):
    open_deck(tab, slides, "traces")
    with tab.expect_popup() as popup:
        tab.keyboard.press("s")
    window = popup.value
    window.locator(".speaker-controls-notes .value", has_text="Goal: afterwards students can").wait_for()
    window.close()


@pytest.mark.slow
def test_a_deck_is_printed_a_slide_a_page(build, slides, tab):
    for deck in DECKS:
        made = build.printed(tab, slides / f"{deck}.html")
        assert len(re.findall(rb"/Type\s*/Page\b", made)) == len(slides_of(slides, deck))
        sizes = set(re.findall(rb"/MediaBox\s*\[([^\]]*)\]", made))
        assert {tuple(map(float, size.split())) for size in sizes} == {(0, 0, 960, 540)}
