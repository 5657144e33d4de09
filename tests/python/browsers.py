"""Real browsers without a window, each with one page and a profile of its own."""

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


class Chromium:
    """A page of a headless Chromium, driven over its own protocol (CDP)."""

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


class Firefox:
    """A page of a headless Firefox, driven over WebDriver BiDi."""

    def __init__(self, folder: Path) -> None:
        profile = folder / "profile"
        profile.mkdir()
        command = ["firefox-esr", "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
        # It wants a home of its user's own.
        environment = os.environ | {"HOME": str(folder)}
        self._process = subprocess.Popen(
            [*command, "about:blank"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._open = contextlib.ExitStack()
        self._numbers = itertools.count(1)
        server = json.loads(until(lambda: read(profile / "WebDriverBiDiServer.json"), "Firefox to start"))
        url = f"ws://{server['ws_host']}:{server['ws_port']}/session"
        self._socket = self._open.enter_context(connect(url, max_size=None, open_timeout=DEADLINE))
        self.command("session.new", capabilities={})
        (page,) = self.command("browsingContext.getTree")["contexts"]
        self._target = {"context": page["context"]}

    def command(self, method: str, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=DEADLINE))
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]

    def evaluate(self, expression: str):
        """What the page's script says to this expression."""
        expression = f"JSON.stringify({expression})"
        answer = self.command("script.evaluate", expression=expression, target=self._target, awaitPromise=False)
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"]) if "value" in answer["result"] else None

    def close(self) -> None:
        self._open.close()
        self._process.terminate()
        self._process.wait(DEADLINE)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
