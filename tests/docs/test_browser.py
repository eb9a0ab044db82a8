"""The site in a real browser, from the disk: no other host, no sideways scrolling, no barrier, and its search."""

import json
from pathlib import Path

import pytest

PAGES = ["index", "glossary", "symbols", "options", "search", "api/runs", "notebooks/00_start_here"]
PAGES += ["course", "teaching", "hosting"]
LONG = ["notebooks/02_spectral_analysis", "notebooks/06_lwf", "notebooks/08_cross_data_set_evaluation"]

pytestmark = pytest.mark.slow


def show(tab, page: Path, width: int) -> None:
    """Opens a page at a width, and waits until its formulas are drawn."""
    tab.set_viewport_size({"width": width, "height": 900})
    tab.goto(page.as_uri())
    tab.evaluate("window.MathJax?.startup?.promise")


def too_wide(tab) -> int:
    """By how many pixels the page is wider than the window."""
    return tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_no_page_scrolls_sideways_on_a_telephone_or_asks_another_host(site, tab):
    wide = {}
    for page in sorted(path for path in site.rglob("*.html") if "_static" not in path.parts):
        show(tab, page, 390)
        wide[page.relative_to(site).as_posix()] = too_wide(tab)
    assert len(wide) > 30
    assert {page: pixels for page, pixels in wide.items() if pixels} == {}
    assert {address for address in tab.asked if not address.startswith(("file:", "data:", "blob:"))} == set()


def test_a_wide_page_is_found(tab, tmp_path):
    (tmp_path / "wide.html").write_text('<meta name="viewport" content="width=device-width"><p style="width:500px">x')
    show(tab, tmp_path / "wide.html", 390)
    assert too_wide(tab) > 100


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", [*PAGES, *LONG])
def test_no_page_has_a_serious_barrier(site, tab, name, width):
    from axe_playwright_python.sync_playwright import Axe

    show(tab, site / f"{name}.html", width)
    # Code is looked at on a short page: axe takes a minute for the colours of a long one's.
    apart = [[".highlight"], ["mjx-container"]] if name in LONG else [[".no-such-thing"]]
    found = Axe().run(tab, {"exclude": apart}, {"resultTypes": ["violations"]}).response["violations"]
    serious = [rule for rule in found if rule["impact"] in ("serious", "critical")]
    assert not serious, json.dumps([(rule["id"], [n["html"] for n in rule["nodes"][:3]]) for rule in serious], indent=1)


def test_the_search_works_from_the_disk(site, tab):
    tab.goto(f"{(site / 'search.html').as_uri()}?q=herding")
    result = tab.locator("#search-results li a", has_text="iCaRL").first
    result.wait_for(timeout=60_000)
    result.click()
    tab.wait_for_url("**/*04_icarl.html*")


def test_code_can_be_copied_and_everything_reached_by_the_keyboard(site, tab):
    show(tab, site / "notebooks" / "00_start_here.html", 1280)
    assert tab.locator("div.cell_input button.copybtn").count() > 3
    tab.keyboard.press("Tab")
    assert "main content" in tab.evaluate("document.activeElement.textContent")  # a way past the navigation
