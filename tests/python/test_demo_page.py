"""The demo's page in a real browser: headless Chromium, driven over its own protocol (CDP)."""

import base64
import contextlib
import itertools
import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from websockets.sync.client import connect

from conftest import DEADLINE, ISSUE, until


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


class Page:
    """The demo's page as somebody uses it."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        # What the page's policy forbids is kept from its first line on.
        browser.command("Page.enable")
        watch = "addEventListener('securitypolicyviolation', event => forbidden.push(event.blockedURI))"
        source = f"window.forbidden = []; {watch}"
        browser.command("Page.addScriptToEvaluateOnNewDocument", source=source)
        browser.command("Page.navigate", url=url)
        self.until_state("connected")

    def text(self, selector: str) -> str:
        return self._browser.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")

    def texts(self, selector: str) -> list[str]:
        every = f"document.querySelectorAll({json.dumps(selector)})"
        return self._browser.evaluate(f"Array.from({every}, element => element.textContent)")

    def click(self, selector: str) -> None:
        self._browser.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def enter(self, selector: str, value: str) -> None:
        field = f"document.querySelector({json.dumps(selector)})"
        self._browser.evaluate(f"{field}.value = {json.dumps(value)}")
        self._browser.evaluate(f"{field}.dispatchEvent(new Event('input', {{bubbles: true}}))")

    def until_state(self, state: str) -> None:
        until(lambda: self.text("#state") == state, f"the state {state!r}")

    def until_logged(self, *lines: str) -> None:
        """Waits until the newest lines of the log are these, the newest first."""
        wanted = list(lines)
        until(lambda: self.texts("#log code")[: len(wanted)] == wanted, f"the log to begin with {wanted}")

    def forbidden(self) -> list[str]:
        return self._browser.evaluate("window.forbidden")


OK = '{"status":200,"message":"Ok","code":0}'
ATTACH, DETACH = "#request [value=attach]", "#request [value=detach]"


def shell(command: str) -> str:
    done = subprocess.run(command, shell=True, check=True, timeout=DEADLINE, stdout=subprocess.PIPE, text=True)
    return done.stdout


@pytest.fixture
def page(browser, demo):
    (url,) = [line for line in demo if line.startswith("http://127.0.0.1:")]
    page = Page(browser, url)
    yield page
    assert page.forbidden() == []


def test_an_event_published_as_printed_shows_in_the_page(demo, browser, page, tmp_path):
    (publish,) = [line for line in demo if " web_socket publish " in line]
    assert page.text("#publish") == publish, "the page shows what was printed"

    page.click(ATTACH)
    page.until_logged(OK, f"issueUpdate {ISSUE}")
    assert page.texts("#attached span") == [f"issueUpdate {ISSUE}"]
    assert shell(publish) == "Taken, and queued for 1 subscriber.\n"
    event = f'{{"type":"issueUpdate","id":"{ISSUE}","data":[{{"state":"closed"}}]}}'
    page.until_logged(event, OK)

    # A notification, by the command that the page then shows.
    page.enter("#type", "notification")
    page.click(ATTACH)
    page.until_logged(OK, f"notification {ISSUE}")
    assert shell(page.text("#publish")) == "Taken, and queued for 1 subscriber.\n"
    page.until_logged(event.replace("issueUpdate", "notification"), OK)

    # Another dataset than the user's own.
    other = ISSUE[::-1]
    page.enter("#type", "datasetUpdate")
    page.enter("#id", other)
    page.click(ATTACH)
    page.until_logged('{"status":400,"message":"Not access for dataset","code":4}', f"datasetUpdate {other}")
    assert page.texts("#attached span") == [f"issueUpdate {ISSUE}", f"notification {ISSUE}"]
    screenshots(browser, Path(os.environ.get("AIRLAY_SCREENSHOTS", tmp_path)))

    page.click("#attached button")
    page.until_logged(OK, f"issueUpdate {ISSUE}")
    assert page.texts("#attached span") == [f"notification {ISSUE}"]
    assert shell(publish) == "Taken, and queued for 0 subscribers.\n"
    page.enter("#type", "notification")
    page.enter("#id", ISSUE)
    page.click(DETACH)
    page.until_logged(OK, f"notification {ISSUE}", OK)
    assert page.texts("#attached span") == []


def test_the_page_can_leave_and_come_back(page):
    page.click(ATTACH)
    page.until_logged(OK, f"issueUpdate {ISSUE}")
    page.click("#connection")
    page.until_state("not connected")
    page.until_logged("1000 ", OK)
    assert page.texts("#attached span") == []
    page.click("#connection")
    page.until_state("connected")
    page.click(ATTACH)
    page.until_logged(OK, f"issueUpdate {ISSUE}", "1000 ")


def screenshots(browser: Browser, folder: Path) -> None:
    """The page as it is now, light and dark, on a desk and in a hand; for people to look at."""
    for scheme, width, height in [("light", 1000, 860), ("dark", 1000, 860), ("light", 400, 1100)]:
        browser.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.command("Emulation.setDeviceMetricsOverride", **size)
        browser.screenshot(folder / f"demo-{scheme}-{width}.png")
