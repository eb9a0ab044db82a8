"""Notebook 13 in JupyterLab as `make lab` starts it, in a real browser: run, three uploads, saved; git sees nothing."""

import base64
import contextlib
import io
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser.lab import BROWSER, laid_out, log_of, serving

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs a browser: apt-get install chromium")


@pytest.fixture(scope="module")
def project(tmp_path_factory, mini_smoke) -> Path:
    """A repository with the project's notebooks and settings."""
    root = laid_out(tmp_path_factory.mktemp("project"), mini_smoke)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


@pytest.fixture(scope="module")
def address(project) -> Iterator[str]:
    with serving(project, CLDF_PROFILE="smoke") as server:
        someone = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
        for git in (["add", "."], [*someone, "commit", "--quiet", "-m", "start"]):
            subprocess.run(["git", *git], cwd=project, check=True)
        assert "filter.notebook in .git/config" in log_of(project).read_text()
        yield f"{server}/lab/tree/notebooks/13_detector.ipynb"


def test_pictures_are_whole_and_git_sees_no_change(address, project, tmp_path):
    from playwright.sync_api import TimeoutError, expect, sync_playwright

    rng = np.random.default_rng(0)
    for number in range(6):
        noise = rng.integers(0, 256, (200, 180, 3), dtype=np.uint8)
        noise = np.tile(noise, (20, 20, 1)) if number == 5 else noise
        Image.fromarray(noise).save(tmp_path / f"noise {number}.png", compress_level=0)
    assert (tmp_path / "noise 5.png").stat().st_size > 40e6
    with (tmp_path / "too large.png").open("wb") as file:
        file.truncate(300_000_000)  # more than the server takes in one message
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.goto(address, timeout=120_000)
        expect(page.get_by_text(re.compile(r"\| Idle"))).to_be_visible(timeout=120_000)  # the kernel, below
        run_all = page.get_by_role("menuitem", name="Run All Cells", exact=True)
        for _ in range(20):  # a menu that is opened while JupyterLab still loads closes again
            page.get_by_role("menuitem", name="Run", exact=True).click()
            with contextlib.suppress(TimeoutError):
                run_all.click(timeout=3_000)
                break
            page.keyboard.press("Escape")
        button = page.get_by_role("button", name=re.compile("Choose an image"))
        expect(button).to_be_visible(timeout=240_000)
        expect(page.get_by_text("at most 50 MB")).to_be_visible()
        whole: list[bool] = []
        picture = page.locator('.jupyter-widgets img[alt^="An image, its spectrum"]')  # not that of the threshold

        def upload(name: str, sentence: str) -> None:
            with page.expect_file_chooser() as chooser:
                button.click()
            chooser.value.set_files(tmp_path / name)
            expect(page.get_by_text(re.compile(sentence))).to_be_visible(timeout=60_000)

        for number in range(6):
            upload(f"noise {number}.png", f"noise {number}.png: ")
            expect(picture).to_have_count(1, timeout=60_000)
            assert (picture.get_attribute("alt") or "").startswith("An image, its spectrum")
            source = picture.get_attribute("src") or ""
            with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
                dark = np.asarray(image.convert("L")) < 200
            # Half a picture lacks its right or its lower part: the evidence, or P(fake).
            whole.append(bool(dark[:, -dark.shape[1] // 3 :].any() and dark[-60:].any()))
        upload("too large.png", "too large.png is larger than 50 MB")
        expect(picture).to_have_count(0)
        field = page.get_by_placeholder(re.compile("or the path"))
        field.fill(str(tmp_path / "noise 0.png"))
        field.press("Enter")
        expect(page.get_by_text(re.compile("noise 0.png: "))).to_be_visible(timeout=60_000)
        expect(picture).to_have_count(1, timeout=60_000)
        if folder := os.environ.get("CLDF_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / "lab.png")
        page.get_by_role("heading", name="How to read it").click()  # out of the field
        page.keyboard.press("Control+s")
        notebook = project / "notebooks" / "13_detector.ipynb"
        for _ in range(100):
            if '"execution_count": 2' in notebook.read_text(encoding="utf-8"):
                break
            time.sleep(0.2)
        assert '"language_info"' in notebook.read_text(encoding="utf-8")
        browser.close()
    assert whole == [True] * 6
    status = subprocess.run(["git", "status", "--porcelain"], cwd=project, check=True, capture_output=True, text=True)
    assert status.stdout == ""
