"""The demo's page in a real browser."""

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from browsers import Chromium
from conftest import DEADLINE, ISSUE, deadline, until


@pytest.fixture
def browser(tmp_path):
    browser = Chromium(tmp_path)
    yield browser
    browser.close()


class Demo:
    """The demo, on a port that stays free while it restarts."""

    def __init__(self, folder: str) -> None:
        # Where it creates its folder: if killed, it leaves that behind.
        self._environment = {**os.environ, "TMPDIR": folder}
        self._port = free_port()
        self.start()

    def start(self) -> None:
        command = [os.environ["AIRLAY_CLI"], "web_socket", "demo", "--port", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, env=self._environment, text=True)
        printed = itertools.takewhile(lambda line: not line.startswith("Ctrl-C"), self._process.stdout)
        with deadline("the demo to print its last line"):
            self.printed = [line.strip() for line in printed]

    def line(self, part: str) -> str:
        """The only printed line that contains this."""
        (line,) = [line for line in self.printed if part in line]
        return line

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self._process.send_signal(number)
        self._process.stdout.close()
        return self._process.wait(DEADLINE)


def free_port() -> int:
    """A port outside the range that the system uses for outgoing connections, so that it stays free while the demo
    restarts."""
    lowest, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    while True:
        port = random.randrange(10_000, int(lowest))
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


@pytest.fixture
def demo():
    # Not pytest's folder, since the path of a socket must be short.
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo(folder)
        yield demo
        assert demo.stop() == 0


class Page:
    """The demo's page, used as a person would use it."""

    def __init__(self, browser: Chromium, url: str) -> None:
        self._browser = browser
        # Violations of the page's security policy are recorded from its first line on.
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

    def until_logged(self, *entries: str) -> None:
        """Waits until the newest entries of the log, newest first, are these: title and text of each."""
        wanted = list(entries)
        logged = "Array.from(document.querySelectorAll('#log li'), ({ children: [, ...rest] }) => rest.map(each => each.textContent).join(' '))"
        until(lambda: self._browser.evaluate(logged)[: len(wanted)] == wanted, f"the log to begin with {wanted}")

    def until_counted(self, **counts: int) -> None:
        for name, count in counts.items():
            until(lambda: self.text(f"#{name}") == str(count), f"{count} {name}")

    def topics(self) -> list[str]:
        """The subscriptions and their states."""
        rows = "Array.from(document.querySelectorAll('#topics li'), row => [row.className, ...Array.from(row.querySelectorAll('b, span'), each => each.textContent)].join(', '))"
        return self._browser.evaluate(rows)

    def subscribe(self, kind: str, id: str) -> None:
        self.enter("#type", kind)
        self.enter("#id", id)
        self.click("#request button")

    def forbidden(self) -> list[str]:
        return self._browser.evaluate("window.forbidden")


def shell(command: str) -> str:
    done = subprocess.run(command, shell=True, check=True, timeout=DEADLINE, stdout=subprocess.PIPE, text=True)
    return done.stdout


@pytest.fixture
def page(browser, demo):
    page = Page(browser, demo.line("http://127.0.0.1:"))
    page.until_logged(ATTACHED)
    yield page
    assert page.forbidden() == []


ATTACHED = f"attached issueUpdate {ISSUE} "
EVENT = '[{"state":"closed"}]'
QUEUED = "Accepted, queued for 1 subscriber.\n"


def test_an_event_published_as_printed_shows_in_the_page(demo, browser, page, tmp_path):
    publish = demo.line(" web_socket publish ")
    assert page.text("#publish") == publish, "the page shows what was printed"
    assert page.topics() == [f"attached, issueUpdate, {ISSUE}, 0 events"]
    assert shell(publish) == QUEUED
    page.until_logged(f"event issueUpdate {ISSUE} {EVENT}", ATTACHED)

    # A notification, by the command that the page shows then.
    page.subscribe("notification", "")
    page.until_logged("attached notification ")
    assert shell(page.text("#publish")) == QUEUED
    page.until_logged(f"event notification {EVENT}")

    # A dataset that the user may not see.
    other = ISSUE[::-1]
    page.subscribe("datasetUpdate", other)
    page.until_logged(f"ended datasetUpdate {other} Not access for dataset (code 4)")
    assert page.topics() == [
        f"attached, issueUpdate, {ISSUE}, 1 event",
        "attached, notification, all of this user, 1 event",
        f"ended, datasetUpdate, {other}, Not access for dataset",
    ]
    page.until_counted(events=2, subscriptions=2, reconnects=0, gaps=0)
    screenshots(browser, Path(os.environ.get("AIRLAY_SCREENSHOTS", tmp_path)))

    page.click("#topics li:first-child button")
    page.until_counted(subscriptions=1)
    until(lambda: shell(publish) == "Accepted, queued for 0 subscribers.\n", "the subscription to end")


def test_the_page_can_leave_and_come_back(demo, page):
    page.click("#connection")
    page.until_state("not connected")
    page.until_counted(subscriptions=0)
    page.click("#connection")
    page.until_state("connected")
    page.until_counted(subscriptions=1)
    assert shell(demo.line(" web_socket publish ")) == QUEUED
    page.until_counted(events=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_page_outlives_the_demo(demo, page, number):
    publish = demo.line(" web_socket publish ")
    demo.stop(number)
    until(lambda: page.text("#state").startswith("next try in "), "the page to notice")
    page.until_counted(subscriptions=0)
    demo.start()
    page.until_state("connected")
    page.until_counted(subscriptions=1, reconnects=1, gaps=1)
    # Key, token and socket are new.
    assert page.text("#publish") == demo.line(" web_socket publish ") != publish
    assert shell(page.text("#publish")) == QUEUED
    page.until_counted(events=1)


def screenshots(browser: Chromium, folder: Path) -> None:
    """Screenshots of the page, light and dark, wide and narrow, for people to inspect."""
    for scheme, width, height in [("light", 1180, 790), ("dark", 1180, 790), ("light", 400, 1250)]:
        browser.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.command("Emulation.setDeviceMetricsOverride", **size)
        browser.screenshot(folder / f"demo-{scheme}-{width}.png")
