"""The demo's page in a real browser: headless Chromium, driven over its own protocol (CDP)."""

import base64
import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from websockets.sync.client import connect

from conftest import DEADLINE, ISSUE


class Browser:
    """A page of a headless Chromium with a profile of its own."""

    def __init__(self, folder: Path) -> None:
        profile = folder / "profile"
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        flags += " --disable-component-update --disable-sync --window-size=1000,800 --remote-debugging-port=0"
        command = ["chromium", *flags.split(), f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = until(lambda: read(profile / "DevToolsActivePort"), "Chromium to start").split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=DEADLINE) as answer:
            (page,) = [target for target in json.load(answer) if target["type"] == "page"]
        self._open = contextlib.ExitStack()
        url = page["webSocketDebuggerUrl"]
        self._socket = self._open.enter_context(connect(url, max_size=None, open_timeout=DEADLINE))
        self._numbers = itertools.count(1)

    def command(self, method: str, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=DEADLINE))
            if answer.get("id") == number:
                return answer["result"]

    def evaluate(self, expression: str):
        """What the page's script says to this expression."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        self._open.close()
        self._process.terminate()
        self._process.wait(DEADLINE)


def until(condition, what: str):
    """The first value of `condition` that counts."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path)
    yield browser
    browser.close()


@pytest.fixture
def demo():
    command = [os.environ["AIRLAY_CLI"], "web_socket", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        printed = list(itertools.takewhile(lambda line: not line.startswith("Ctrl-C"), process.stdout))
        yield [line.strip() for line in printed]
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0


def test_an_event_published_as_printed_shows_in_the_page(demo, browser, tmp_path):
    (page,) = [line for line in demo if line.startswith("http://127.0.0.1:")]
    (publish,) = [line for line in demo if " web_socket publish " in line]

    browser.command("Page.navigate", url=page)
    log = "document.getElementById('log')?.innerText ?? ''"
    until(lambda: browser.evaluate("document.getElementById('state')?.textContent") == "open", "the connection")
    browser.evaluate("document.getElementById('attach').click()")
    until(lambda: '"message":"Ok"' in browser.evaluate(log), "the reply")
    subprocess.run(publish, shell=True, check=True, timeout=DEADLINE)
    event = f'{{"type":"issueUpdate","id":"{ISSUE}","data":[{{"state":"closed"}}]}}'
    until(lambda: event in browser.evaluate(log), "the event")
    shown = browser.evaluate("document.getElementById('publish').textContent")
    subprocess.run(shown, shell=True, check=True, timeout=DEADLINE)
    until(lambda: '"hello":"browser"' in browser.evaluate(log), "the event of the command in the page")

    browser.evaluate("document.getElementById('detach').click()")
    until(lambda: browser.evaluate(log).count('"message":"Ok"') == 2, "the reply to detach")
    subprocess.run(publish, shell=True, check=True, timeout=DEADLINE)
    browser.evaluate("document.getElementById('attach').click()")
    until(lambda: browser.evaluate(log).count('"message":"Ok"') == 3, "the reply to attaching again")
    assert browser.evaluate(log).count('"state":"closed"') == 1, "an event came after detach was answered"
    browser.screenshot(Path(os.environ.get("AIRLAY_SCREENSHOT", tmp_path / "demo.png")))
