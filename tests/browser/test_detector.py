"""Notebook 13 as a page, in a real browser: an image is uploaded, and a verdict and a picture appear."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import papermill
import pytest
import yaml
from PIL import Image

from samples import PROJECT

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs a browser: apt-get install chromium")]


@pytest.fixture(scope="module")
def address(tmp_path_factory, mini_smoke) -> Iterator[str]:
    """Serves notebook 13 with the smoke profile's parameters."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(mini_smoke, root / "data" / "mini-smoke")
    shutil.copyfile(PROJECT / "pyproject.toml", root / "pyproject.toml")
    values = yaml.safe_load((PROJECT / "params" / "smoke" / "13_detector.yaml").read_text(encoding="utf-8"))
    page = root / "13_detector.ipynb"
    papermill.execute_notebook(PROJECT / "notebooks" / "13_detector.ipynb", page, values, prepare_only=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "voila", page.name, f"--port={port}", "--no-browser", "--Voila.ip=127.0.0.1"]
    env = {**os.environ, "CLDF_ROOT": str(root), "CLDF_PROGRESS": "0"}
    with (root / "log").open("w") as log, subprocess.Popen(words, cwd=root, env=env, stdout=log, stderr=log) as server:
        try:
            for _ in range(300):
                assert server.poll() is None, (root / "log").read_text()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()


def test_upload_verdict_and_picture(address, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (200, 180, 3), dtype=np.uint8)).save(tmp_path / "some noise.png")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "small.png")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.goto(address, timeout=240_000)
        button = page.get_by_role("button", name=re.compile("Choose an image"))
        expect(button).to_be_visible(timeout=240_000)
        expect(page.get_by_text("Trained on: mini-GAN-S")).to_be_visible()
        pictures = page.locator("img").count()

        def upload(name: str) -> None:
            with page.expect_file_chooser() as chooser:
                button.click()
            chooser.value.set_files(tmp_path / name)

        upload("some noise.png")
        verdict = page.get_by_text(re.compile(r"some noise.png: (real|fake|cannot say), P\(fake\) = [01]\.\d{3}"))
        expect(verdict).to_be_visible(timeout=60_000)
        expect(page.locator("img")).to_have_count(pictures + 1, timeout=60_000)
        drawn = page.locator("img").nth(0).evaluate("image => [image.naturalWidth, image.naturalHeight]")
        assert min(drawn) > 200

        for name, sentence in (("small.png", "too small (20 x 20"), ("broken.jpg", "unreadable")):
            upload(name)
            expect(page.get_by_text(re.compile(f"{name} cannot be scored: {re.escape(sentence)}"))).to_be_visible(
                timeout=60_000
            )
            expect(verdict).to_have_count(0)
        if folder := os.environ.get("CLDF_SCREENSHOTS"):  # for those who want to see it
            upload("some noise.png")
            expect(verdict).to_be_visible(timeout=60_000)
            page.screenshot(path=Path(folder) / "detector.png", full_page=True)
        browser.close()
