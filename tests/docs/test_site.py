"""The site's pages: links lead somewhere, pictures have words, no host is asked, tiny numbers are said to be such."""

import functools
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from cldf_core.options import FIELDS
from cldf_core.workflow.parameters import NOTEBOOKS
from samples import PROJECT

pytestmark = pytest.mark.slow
# Elements that make a browser ask for something, and the attribute that says what.
LOADING = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
LOADING |= {"audio": "src", "embed": "src", "object": "data", "input": "src"}


@functools.cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@functools.cache
def anchors(path: Path) -> set[str]:
    return {element["id"] for element in soup(path).find_all(id=True)}


def pages(site: Path) -> list[Path]:
    found = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    assert len(found) > len(NOTEBOOKS) + 10
    return found


def broken(page: Path, address: str) -> bool:
    """Whether an address on a page leads to no file or to no place in it; those of other hosts are not followed."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return False
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return True
    return bool(parts.fragment) and target.suffix == ".html" and unquote(parts.fragment) not in anchors(target)


def test_every_link_leads_to_a_file_and_a_place_in_it(site):
    links = [(page, link["href"]) for page in pages(site) for link in soup(page).find_all("a", href=True)]
    assert len(links) > 1000
    assert [(page.name, address) for page, address in links if broken(page, address)] == []


def test_a_link_to_nowhere_is_found(site):
    index = site / "index.html"
    assert not broken(index, "glossary.html#forgetting")
    assert broken(index, "glossary.html#forgetfulness")
    assert broken(index, "glossaries.html")
    assert broken(index, "#no-such-place")


def test_what_a_page_loads_is_there_and_on_no_other_host(site):
    for page in pages(site):
        for name, attribute in LOADING.items():
            for element in soup(page).find_all(name, attrs={attribute: True}):
                address = element[attribute]
                assert not address.startswith(("http:", "https:", "//")), (page.name, address)
                assert address.startswith("data:") or not broken(page, address), (page.name, address)
        for element in soup(page).find_all(srcset=True):
            pytest.fail(f"{page.name}: {element['srcset']}")
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", text), sheet.name


def test_every_picture_says_what_is_on_it(site):
    pictures = [(page, image) for page in pages(site) for image in soup(page).select("main img")]
    assert len(pictures) > 40
    for page, image in pictures:
        words = image.get("alt", "").split()
        assert len(words) > 3, (page.name, image.get("src"), image.get("alt"))
        assert not re.search(r"\.(png|svg|jpg)\b", image["alt"]), page.name


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_of_the_smoke_profile_says_that_its_numbers_mean_nothing(site, name):
    page = soup(site / "notebooks" / f"{name}.html")
    title = page.select_one("main h1")
    note = title.find_next("div", class_="admonition")
    assert "Its numbers mean nothing" in note.get_text()
    before = [element for element in title.find_all_next("div", class_="cell") if element.sourceline < note.sourceline]
    assert before == [], "the note stands below a cell"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_offers_its_source(site, name):
    page = site / "notebooks" / f"{name}.html"
    for suffix in ("py", "ipynb"):
        links = soup(page).select(f'main a[href$="/{name}.{suffix}"]')
        (link,) = (link for link in links if "://" not in link["href"])  # others lead to Binder and Colab
        assert (page.parent / link["href"]).read_bytes() == (PROJECT / "notebooks" / f"{name}.{suffix}").read_bytes()


def test_the_index_lists_every_notebook_with_its_minutes(site):
    rows = soup(site / "index.html").select("main table tbody tr")
    assert [row.a["href"] for row in rows] == [f"notebooks/{name}.html" for name in NOTEBOOKS]
    assert all(re.fullmatch(r"[\d.]+|–", row.find_all("td")[-1].get_text()) for row in rows)


def test_every_public_module_is_in_the_reference(site):
    text = " ".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    package = PROJECT / "cldf_core"
    modules = [path.relative_to(PROJECT).with_suffix("").parts for path in package.rglob("*.py")]
    public = [".".join(parts) for parts in modules if not parts[-1].startswith("_")]
    assert len(public) > 100
    assert [name for name in public if f'id="module-{name}"' not in text] == []


def test_every_option_is_told_with_its_default(site):
    entries = soup(site / "options.html").select("main dl.simple > dt, main dl > dt")
    told = {entry.code.get_text(): entry.find_next_sibling("dd") for entry in entries}
    assert set(told) == set(FIELDS)
    for name, text in told.items():
        assert repr(FIELDS[name].default) in [code.get_text() for code in text.find_all("code")], name
        assert max(re.findall(r"\w+", FIELDS[name].description), key=len) in text.get_text(), name


def test_formulas_are_left_to_the_local_mathjax(site):
    page = (site / "notebooks" / "06_lwf.html").read_text(encoding="utf-8")
    assert r"\operatorname{softmax}(z / \tau)" in page
    assert "_static/tex-svg.js" in page
    assert (site / "_static" / "tex-svg.js").stat().st_size > 1_000_000
    assert "Apache License" in (site / "_static" / "tex-svg.js.LICENSE").read_text(encoding="utf-8")
