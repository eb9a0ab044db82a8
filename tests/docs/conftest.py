"""The site and the slides, built once for all tests, and a browser to look at them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from samples import PROJECT

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Looks at the site's files last: else two processes would wait for one that builds it."""
    items.sort(key=lambda item: item.path.name == "test_site.py")


@pytest.fixture(scope="module")
def tab() -> Iterator:
    """A tab of the browser, and the addresses that it has asked for."""
    from playwright.sync_api import sync_playwright

    if BROWSER is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.asked = set()
        opened.on("request", lambda request: opened.asked.add(request.url))
        yield opened
        browser.close()


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decks as pages. Not to be written to."""
    target = tmp_path_factory.mktemp("slides") / "slides"
    words = [sys.executable, str(PROJECT / "docs" / "build_slides.py"), str(target)]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    return target


@pytest.fixture(scope="session")
def site(shared: Path, reproduced) -> Path:
    """The site, made from notebooks of the smoke profile, once for all test processes. Not to be written to."""
    target, done = shared / "site", shared / "site.done"
    with FileLock(shared / "site.lock"):
        if not done.exists():
            words = [sys.executable, str(PROJECT / "docs" / "build_site.py"), str(target)]
            env = {**os.environ, "CLDF_ROOT": str(reproduced[0]), "OMP_NUM_THREADS": "1"}
            ended = subprocess.run(words, cwd=PROJECT, env=env, capture_output=True, text=True)
            assert ended.returncode == 0, ended.stdout + ended.stderr
            done.touch()
    return target
