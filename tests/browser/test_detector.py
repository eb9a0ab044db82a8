"""Notebook 13 as a page, in a real browser: uploads and their verdicts, and what the page keeps from strangers."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import papermill
import psutil
import pytest
import websocket
import yaml
from PIL import Image
from traitlets.config import PyFileConfigLoader

from samples import PROJECT

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs a browser: apt-get install chromium")]


@pytest.fixture(scope="module")
def server(tmp_path_factory, mini_smoke) -> Iterator[tuple[str, psutil.Process, Path]]:
    """Serves notebook 13 with the smoke profile's parameters and the project's settings; its address and its log."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(mini_smoke, root / "data" / "mini-smoke")
    shutil.copyfile(PROJECT / "pyproject.toml", root / "pyproject.toml")
    values = yaml.safe_load((PROJECT / "params" / "smoke" / "13_detector.yaml").read_text(encoding="utf-8"))
    page = root / "13_detector.ipynb"
    papermill.execute_notebook(PROJECT / "notebooks" / "13_detector.ipynb", page, values, prepare_only=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "voila", page.name, f"--Voila.config_file_paths={PROJECT / 'server'}"]
    words += [f"--port={port}", "--no-browser"]
    env = {**os.environ, "CLDF_ROOT": str(root), "CLDF_PROGRESS": "0"}
    with (root / "log").open("w") as log, subprocess.Popen(words, cwd=root, env=env, stdout=log, stderr=log) as process:
        try:
            for _ in range(300):
                assert process.poll() is None, (root / "log").read_text()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/", psutil.Process(process.pid), root / "log"
        finally:
            process.terminate()


def kernels(process: psutil.Process) -> int:
    """How many kernels run; one that has just ended counts no more."""
    count = 0
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            count += "ipykernel_launcher" in " ".join(child.cmdline())
    return count


def gone_within(seconds: float, process: psutil.Process) -> bool:
    """Whether all kernels have ended."""
    until = time.monotonic() + seconds
    while kernels(process) and time.monotonic() < until:
        time.sleep(0.2)
    return not kernels(process)


def status(address: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def page(server):
    """The page in a browser, opened with a theme that would write a script into it; and the hosts that it asks."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1100, "height": 900})
        opened.asked = set()
        opened.on("request", lambda request: opened.asked.add(urlsplit(request.url).netloc))
        opened.goto(f'{server[0]}?theme="><script>window.stranger = 1</script>&template=reveal', timeout=240_000)
        expect(opened.get_by_role("button", name=re.compile("Choose an image"))).to_be_visible(timeout=240_000)
        yield opened
        opened.goto("about:blank")
        assert gone_within(60, server[1]), "a kernel is left without a page"
        browser.close()


def upload(page, *files: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=re.compile("Choose an image")).click()
    chooser.value.set_files(files)


def test_upload_verdict_and_picture(page, tmp_path):
    from playwright.sync_api import expect

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (200, 180, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "some noise.png")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "small.png")
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "one colour.png")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    Image.fromarray(np.tile(noise, (20, 20, 1))).save(tmp_path / "large.png", compress_level=0)
    assert 40e6 < (tmp_path / "large.png").stat().st_size < 50e6
    for name, size in (("too large.png", 60_000_000), ("too large to be sent.png", 300_000_000)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    expect(page.get_by_text("Trained on: mini-GAN-S")).to_be_visible()
    expect(page.get_by_text("at most 50 MB")).to_be_visible()
    assert page.get_by_placeholder(re.compile("path")).count() == 0  # it would open the server's files to a visitor
    pictures = page.locator("img").count()

    for name in ("some noise.png", "large.png", "large.png"):
        upload(page, tmp_path / name)
        verdict = page.get_by_text(re.compile(rf"{name}: (real|fake|cannot say), P\(fake\) = [01]\.\d{{3}}"))
        expect(verdict).to_be_visible(timeout=60_000)
        expect(page.locator("img")).to_have_count(pictures + 1, timeout=60_000)
        image = page.get_by_role("img", name=re.compile(r"P\(fake\) is [01]\.\d{3}, the threshold 0.5")).first
        drawn = image.evaluate("image => [image.naturalWidth, image.naturalHeight]")
        assert min(drawn) > 200

    sentences = {name: f"{name} is larger than 50 MB" for name in ("too large to be sent.png", "too large.png")}
    sentences |= {"small.png": "small.png cannot be scored: too small (20 x 20"}
    sentences |= {"broken.jpg": "broken.jpg cannot be scored: unreadable"}
    sentences |= {"one colour.png": "one colour.png: cannot say: "}
    for name, sentence in sentences.items():
        upload(page, tmp_path / name)
        expect(page.get_by_text(re.compile(re.escape(sentence)))).to_be_visible(timeout=60_000)
        expect(verdict).to_have_count(0)
        expect(page.locator("img")).to_have_count(pictures)
    if folder := os.environ.get("CLDF_SCREENSHOTS"):  # for those who want to see it
        upload(page, tmp_path / "some noise.png")
        expect(page.get_by_text(re.compile("some noise.png: "))).to_be_visible(timeout=60_000)
        page.screenshot(path=Path(folder) / "detector.png", full_page=True)


def test_a_slider_moves_its_figure_by_keyboard(page):
    from playwright.sync_api import expect

    figure = page.get_by_role("img", name=re.compile(r"At the threshold \d\.\d\d, "))
    expect(figure).to_have_count(1)
    expect(figure).to_have_accessible_name(re.compile("At the threshold 0.50, "))
    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowRight")
    expect(figure).to_have_accessible_name(re.compile("At the threshold 0.51, "), timeout=60_000)


def test_the_page_runs_no_script_of_its_address_and_asks_no_other_server(page, server):
    assert page.evaluate("window.stranger") is None
    assert page.locator("body").get_attribute("data-jp-theme-name") == "JupyterLab Light"
    assert {name for name in page.asked if name} == {urlsplit(server[0]).netloc}


def test_a_web_site_cannot_reach_the_page_under_a_name_of_its_own(page, server):
    address = server[0]
    assert status(address, Host="rebound.example.org") == 403
    kernel = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    assert status(f"{address}api/kernels/{kernel}") == 200
    assert status(f"{address}api/kernels/{kernel}", Host="rebound.example.org") == 403
    channels = f"ws{address.removeprefix('http')}api/kernels/{kernel}/channels"
    websocket.create_connection(channels, timeout=30).close()
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        websocket.create_connection(channels, host="rebound.example.org", origin="http://rebound.example.org")


def test_no_widget_opens_a_file_of_the_server(page, server, tmp_path):
    image = tmp_path / "of the server.png"
    Image.new("RGB", (200, 200), "grey").save(image)
    kernel = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    channels = f"ws{server[0].removeprefix('http')}api/kernels/{kernel}/channels"
    with contextlib.closing(websocket.create_connection(channels, timeout=60)) as connection:

        def answers(kind: str, last: str, **content: object) -> list[dict]:
            """What the kernel sends after a message, up to an answer of a kind or to its being idle."""
            header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": "s", "username": "", "version": "5.3"}
            message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "buffers": []}
            connection.send(json.dumps({**message, "channel": "shell"}))
            received = [{"msg_type": "", "content": {}}]
            while last not in (received[-1]["msg_type"], received[-1]["content"].get("execution_state")):
                answer = json.loads(connection.recv())
                received += [answer] if answer["parent_header"].get("msg_id") == header["msg_id"] else []
            return received

        reply = answers("comm_info_request", "comm_info_reply", target_name="jupyter.widget")[-1]
        widgets = reply["content"]["comms"]
        assert len(widgets) > 3
        update = {"method": "update", "state": {"value": str(image)}, "buffer_paths": []}
        printed = [m for w in widgets for m in answers("comm_msg", "idle", comm_id=w, data=update)]
        assert image.name not in str([message for message in printed if message["msg_type"] == "stream"])


@pytest.mark.parametrize("protocol", ["v1.kernel.websocket.jupyter.org", None])
def test_a_malformed_message_costs_no_memory(protocol, page, server):
    address, process, log = server
    kernel = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    channels = f"ws{address.removeprefix('http')}api/kernels/{kernel}/channels"
    before, ignored = process.memory_info().rss, log.read_text().count("malformed")
    many = (2**28).to_bytes(8, "little") if protocol else (2**27).to_bytes(4, "big")
    subprotocols = [protocol] if protocol else []
    with contextlib.closing(websocket.create_connection(channels, timeout=30, subprotocols=subprotocols)) as connection:
        connection.send_binary(many.ljust(64, b"\0"))
        for _ in range(100):
            if log.read_text().count("malformed") > ignored:
                break
            time.sleep(0.1)
        assert log.read_text().count("malformed") == ignored + 1
        assert status(f"{address}api/kernels/{kernel}") == 200  # the server goes on
    assert process.memory_info().rss - before < 50e6


def test_the_page_is_for_this_machine_unless_asked(server):
    assert "The page is for this machine only" in server[2].read_text()
    listening = {c.laddr.ip for c in server[1].net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert listening <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], False),
        (["--Voila.ip=127.0.0.1"], False),
        (["--Voila.ip=0.0.0.0"], True),
        (["--Voila.ip", "192.0.2.7"], True),
    ],
)
def test_others_are_served_when_asked(words, asked, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["voila", "13_detector.ipynb", *words])
    monkeypatch.setenv("JUPYTER_PATH", "")  # which the settings change
    settings = PyFileConfigLoader("voila.py", str(PROJECT / "server")).load_config()
    assert settings.Voila.tornado_settings["allow_remote_access"] is asked
    assert ("this machine only" in capsys.readouterr().out) is not asked
    assert 0 < settings.MappingKernelManager.cull_idle_timeout <= 600
