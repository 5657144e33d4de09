"""Real headless browsers, each with one page and its own profile."""

import base64
import contextlib
import itertools
import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

from conftest import DEADLINE, until
from websockets.sync.client import connect


class Browser:
    """A browser's process and the socket that drives it."""

    def __init__(self, command: list, **options) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        self._open = contextlib.ExitStack()
        self._numbers = itertools.count(1)

    def drive_over(self, url: str) -> None:
        self._socket = self._open.enter_context(connect(url, max_size=None, open_timeout=DEADLINE))

    def command(self, method: str, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        end = time.monotonic() + DEADLINE
        while True:
            answer = json.loads(self._socket.recv(timeout=max(end - time.monotonic(), 0)))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def close(self) -> None:
        self._open.close()
        self._process.terminate()
        self._process.wait(DEADLINE)


class Chromium(Browser):
    """A page of a headless Chromium, driven over its own protocol (CDP)."""

    def __init__(self, folder: Path) -> None:
        profile = folder / "profile"
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        flags += " --disable-component-update --disable-sync --window-size=1000,800 --remote-debugging-port=0"
        command = ["chromium", *flags.split(), f"--user-data-dir={profile}", "about:blank"]
        super().__init__(command)
        port = until(lambda: read(profile / "DevToolsActivePort"), "Chromium to start").split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=DEADLINE) as answer:
            (page,) = [target for target in json.load(answer) if target["type"] == "page"]
        self.drive_over(page["webSocketDebuggerUrl"])

    def evaluate(self, expression: str):
        """The value of this expression in the page."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))


class Firefox(Browser):
    """A page of a headless Firefox, driven over WebDriver BiDi."""

    def __init__(self, folder: Path) -> None:
        profile = folder / "profile"
        profile.mkdir()
        command = ["firefox-esr", "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
        # It needs a home directory.
        environment = os.environ | {"HOME": str(folder)}
        super().__init__([*command, "about:blank"], env=environment)
        server = json.loads(until(lambda: read(profile / "WebDriverBiDiServer.json"), "Firefox to start"))
        self.drive_over(f"ws://{server['ws_host']}:{server['ws_port']}/session")
        self.command("session.new", capabilities={})
        (page,) = self.command("browsingContext.getTree")["contexts"]
        self._target = {"context": page["context"]}

    def evaluate(self, expression: str):
        """The value of this expression in the page."""
        expression = f"JSON.stringify({expression})"
        answer = self.command("script.evaluate", expression=expression, target=self._target, awaitPromise=False)
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"]) if "value" in answer["result"] else None


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
