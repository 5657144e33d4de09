"""The real binary for the tests of this folder: started on free ports, stopped by SIGTERM, its log shown on failure.

The binary is the one that the environment variable AIRLAY_CLI names.
"""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import jwt
import pytest

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
DEADLINE = 30  # seconds that anything may take before a test gives up

USER = "5dad615eae019570fb4647ed"
ISSUE = "610217e481f6fc54736209e0"


class Server:
    """A running server: `url` for clients, `events` for producers, `metrics` for operators."""

    def __init__(self, folder: Path) -> None:
        config = folder / "config.ini"
        config.write_text(
            "[webSocketEvents]\naddress = 127.0.0.1\nport = 0\n"
            "[events]\nsocket = events.sock\n"
            f"[token]\npublicKey = {FIXTURES / 'live-2048.pub.pem'}\nissuer = dev.airlay.ru\n"
            "[access]\nmode = token\n"
            "[limits]\ndrainSeconds = 1\n"
            "[metrics]\naddress = 127.0.0.1:0\n"
        )
        command = [os.environ["AIRLAY_CLI"], "web_socket", "server", "--config", str(config)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.log: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        assert self._ready.wait(DEADLINE) and self._process.poll() is None, "".join(self.log)
        (ready,) = [line for line in self.log if "msg=ready" in line]
        self.url = "ws://" + re.search(r"address=(\S+)", ready)[1] + "/ws"
        self.events = folder / "events.sock"
        (metrics,) = [line for line in self.log if "msg=metrics" in line]
        self.metrics = "http://" + re.search(r"address=(\S+)", metrics)[1]

    def _read_log(self) -> None:
        for line in self._process.stderr:
            self.log.append(line)
            if "msg=ready" in line:
                self._ready.set()
        self._ready.set()

    def stop(self) -> int:
        """Sends SIGTERM, if nobody has, and returns the exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(DEADLINE)
        finally:
            self._process.kill()
            self._reader.join()

    def publish(self, *lines: str) -> None:
        """Writes these lines to the events socket as a producer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as producer:
            producer.settimeout(DEADLINE)
            producer.connect(str(self.events))
            producer.sendall("".join(line + "\n" for line in lines).encode())


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path)
    yield running
    code = running.stop()
    print("".join(running.log))
    assert code == 0


@pytest.fixture(scope="session")
def token():
    payload = {
        "iat": int(time.time()),
        "iss": "dev.airlay.ru",
        "exp": int(time.time()) + 3600,
        "data": {"name": "a.kalinin", "id": USER},
    }
    # A fixture begins with a line that says what it is.
    pem = (FIXTURES / "live-2048.pem").read_text()
    return jwt.encode(payload, pem[pem.index("-----BEGIN") :], algorithm="RS256")
