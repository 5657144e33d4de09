"""The real binary for the tests of this folder: started on free ports, stopped by SIGTERM, its log shown on failure.

The environment variable AIRLAY_CLI names the binary. Tests that need root fail without it; `--without-root`, or the
environment variable WITHOUT_ROOT, leaves them out and prints which they were.
"""

import contextlib
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
DEADLINE = 30  # seconds that one wait may take before a test gives up

USER = "5dad615eae019570fb4647ed"
ISSUE = "610217e481f6fc54736209e0"


LEFT_OUT = pytest.StashKey[list]()


def pytest_addoption(parser):
    parser.addoption(
        "--without-root",
        action="store_true",
        default=bool(os.environ.get("WITHOUT_ROOT")),
        help="leave out the tests that need root, and print which they are",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "root(why): the test needs root, or fails")


def pytest_collection_modifyitems(config, items):
    config.stash[LEFT_OUT] = []
    if config.getoption("--without-root"):
        config.stash[LEFT_OUT] = [item for item in items if item.get_closest_marker("root")]
        items[:] = [item for item in items if not item.get_closest_marker("root")]
        config.hook.pytest_deselected(items=config.stash[LEFT_OUT])


def pytest_runtest_setup(item):
    marker = item.get_closest_marker("root")
    if marker and os.geteuid() != 0:
        pytest.fail(f"needs root: {marker.args[0]} (--without-root leaves it out)", pytrace=False)


def pytest_terminal_summary(terminalreporter, config):
    left_out = config.stash[LEFT_OUT]
    if left_out:
        terminalreporter.section(f"left out, since they need root: {len(left_out)}")
        for item in left_out:
            terminalreporter.write_line(f"{item.nodeid}: {item.get_closest_marker('root').args[0]}")


def until(condition, what: str):
    """The first true value of `condition`."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"awaited {what} for {DEADLINE} s")


@contextlib.contextmanager
def deadline(what: str, seconds: float = DEADLINE):
    """Fails if the block takes longer: for calls that have no timeout of their own, in the main thread."""

    def expire(number, frame) -> None:
        raise AssertionError(f"awaited {what} for {seconds} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Server:
    """A running server: `url` for clients, `events` for producers, `metrics` for operators."""

    def __init__(self, folder: Path, settings: dict | None = None, prefix: tuple = (), **options) -> None:
        """`settings` are keys of the configuration, such as `{"log.level": "debug"}`; `prefix` is a command that runs the
        binary; `options` are those of Popen."""
        config = self.write_config(folder, settings)
        command = [*prefix, os.environ["AIRLAY_CLI"], "web_socket", "server", "--config", str(config)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)
        self.log: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        is_in_time = self._ready.wait(DEADLINE)
        assert is_in_time, f"awaited a line that says ready; the log is:\n{''.join(self.log)}"
        ready = [line for line in self.log if "msg=ready" in line]
        assert len(ready) == 1, "".join(self.log)
        address = re.search(r"address=(\S+)", ready[0])[1]
        self.url = f"ws://{address}/ws"
        host, port = address.rsplit(":", 1)
        self.address = host, int(port)
        self.pid = self._process.pid
        self.events = folder / "events.sock"
        (metrics,) = [line for line in self.log if "msg=metrics" in line]
        self.metrics = "http://" + re.search(r"address=(\S+)", metrics)[1]

    @staticmethod
    def write_config(folder: Path, settings: dict | None = None) -> Path:
        """Writes the configuration of a server of these tests."""
        defaults = {
            "webSocketEvents.address": "127.0.0.1",
            "webSocketEvents.port": 0,
            "events.socket": "events.sock",
            "token.publicKey": FIXTURES / "live-2048.pub.pem",
            "token.issuer": "dev.airlay.ru",
            "access.mode": "token",
            "limits.drainSeconds": 1,
            "metrics.address": "127.0.0.1:0",
        }
        sections = {}
        for name, value in {**defaults, **(settings or {})}.items():
            section, key = name.split(".")
            sections.setdefault(section, []).append(f"{key} = {value}\n")
        config = folder / "config.ini"
        config.write_text("".join(f"[{section}]\n{''.join(keys)}" for section, keys in sections.items()))
        return config

    def _read_log(self) -> None:
        for line in self._process.stderr:
            self.log.append(line)
            if "msg=ready" in line:
                self._ready.set()
        self._ready.set()

    def stop(self) -> int:
        """Sends SIGTERM if the server runs, and returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(DEADLINE)
        finally:
            self._process.kill()
            self._reader.join(DEADLINE)

    def kill(self) -> None:
        """Ends the server as a power cut would."""
        self._process.kill()
        self._process.wait(DEADLINE)
        self._reader.join(DEADLINE)

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


@pytest.fixture
def start(tmp_path):
    """Starts servers; those that the test does not stop are killed at its end."""
    started = []

    def start(**options) -> Server:
        started.append(Server(tmp_path, **options))
        return started[-1]

    yield start
    for running in started:
        running.kill()
        print("".join(running.log))


@pytest.fixture(scope="session")
def token():
    payload = {
        "iat": int(time.time()),
        "iss": "dev.airlay.ru",
        "exp": int(time.time()) + 3600,
        "data": {"name": "a.kalinin", "id": USER},
    }
    # The first line of a fixture is a comment.
    pem = (FIXTURES / "live-2048.pem").read_text()
    return jwt.encode(payload, pem[pem.index("-----BEGIN") :], algorithm="RS256")
