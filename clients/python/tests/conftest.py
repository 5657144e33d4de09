"""The real server, the program named by AIRLAY_CLI, and a subscriber that receives what it delivers."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import jwt
import pytest
from websockets.sync.client import connect

FIXTURES = Path(__file__).resolve().parents[3] / "tests" / "fixtures"
DEADLINE = 30  # seconds that anything may take before a test gives up

USER = "5dad615eae019570fb4647ed"
ISSUE = "610217e481f6fc54736209e0"


class Server:
    """A server that can be killed and started again at the same events socket, `path`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "events.sock"
        self._config = folder / "config.ini"
        self._config.write_text(
            "[webSocketEvents]\naddress = 127.0.0.1\nport = 0\n"
            "[events]\nsocket = events.sock\n"
            f"[token]\npublicKey = {FIXTURES / 'live-2048.pub.pem'}\n"
            # Tests publish everything before they read it, so a queue must hold all of it.
            "[access]\nmode = token\n[limits]\ndrainSeconds = 0\nqueueBytes = 16777216\nqueueSoftBytes = 16777216\n"
            "[metrics]\naddress =\n"
        )
        self.start()

    def start(self) -> None:
        command = [os.environ["AIRLAY_CLI"], "web_socket", "server", "--config", str(self._config)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        log = []
        for line in self._process.stderr:
            log.append(line)
            if "msg=ready" in line:
                break
        else:
            raise AssertionError("the server does not run:\n" + "".join(log))
        self.url = "ws://" + re.search(r"address=(\S+)", log[-1])[1] + "/ws"
        # The rest of the log is discarded, but must be read.
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.send_signal(number)
        self._process.wait(DEADLINE)

    def subscribe(self, kind: str = "issueUpdate", id: str = ISSUE):
        """An attached connection, for a `with` statement."""
        return Subscriber(self.url, kind, id)


class Subscriber:
    def __init__(self, url: str, kind: str, id: str) -> None:
        # A fixture's first line describes it.
        pem = (FIXTURES / "live-2048.pem").read_text()
        payload = {"exp": time.time() + 3600, "data": {"id": USER}}
        token = jwt.encode(payload, pem[pem.index("-----BEGIN") :], algorithm="RS256")
        self._open = contextlib.ExitStack()
        self._socket = self._open.enter_context(connect(url, open_timeout=DEADLINE))
        self._socket.send(json.dumps({"auth": token, "action": "attach", "event": {"type": kind, "id": id}}))
        assert self.next() == {"status": 200, "message": "Ok", "code": 0}

    def next(self):
        return json.loads(self._socket.recv(timeout=DEADLINE))

    def data(self, count: int):
        """The data of the next events."""
        return [self.next()["data"] for _ in range(count)]

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.send_signal(signal.SIGCONT)
    server.stop()
