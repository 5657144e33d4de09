"""`[access] mode = socket` with the example service in this folder, with and without each of its faults."""

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from access_service import NO_ACCESS, OK, USER_NOT_EXISTS, decide
from conftest import DEADLINE, ISSUE, USER, Server, deadline
from websockets.sync.client import connect

PROGRAM = Path(__file__).with_name("access_service.py")
DATASET = "610217e481f6fc54736209e1"
OTHER_DATASET = "610217e481f6fc54736209e2"
UNAVAILABLE = 8

USERS = {USER: {"datasets": [DATASET]}}


class Service:
    """The service as a process."""

    def __init__(self, folder: Path, *faults: str) -> None:
        self.socket = folder / "access.sock"
        file = folder / "users.json"
        file.write_text(json.dumps({"users": USERS}))
        command = [sys.executable, str(PROGRAM), "--socket", str(self.socket), "--file", str(file), *faults]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        with deadline("the access service to be ready"):
            assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts the service with these faults, and a server that consults it."""
    running = []

    def start(*faults: str, **settings: int):
        service = Service(tmp_path, *faults)
        running.append(service.kill)
        settings = {"mode": "socket", "socket": service.socket, "cacheSeconds": 0, **settings}
        for key, value in settings.items():
            monkeypatch.setenv(f"AIRLAY_ACCESS_{key.upper()}", str(value))
        server = Server(tmp_path)
        running.append(lambda: print("".join(server.log)))
        running.append(server.stop)
        return server, service

    yield start
    for end in reversed(running):
        end()


class Client:
    """A client that sends one request at a time."""

    def __init__(self, server: Server, token: str) -> None:
        self.token = token
        self._connecting = connect(server.url, open_timeout=DEADLINE)

    def __enter__(self):
        self.connection = self._connecting.__enter__()
        return self

    def __exit__(self, *exception):
        self._connecting.__exit__(*exception)

    def send(self, kind: str, id: str) -> None:
        event = {"type": kind, "id": id}
        self.connection.send(json.dumps({"auth": self.token, "action": "attach", "event": event}))

    def code(self) -> int:
        return json.loads(self.connection.recv(DEADLINE))["code"]

    def attach(self, kind: str, id: str) -> int:
        self.send(kind, id)
        return self.code()

    def attach_when_available(self, kind: str, id: str) -> int:
        """Repeats the request until the server has reconnected to the service."""
        give_up = time.monotonic() + DEADLINE
        while (code := self.attach(kind, id)) == UNAVAILABLE:
            assert time.monotonic() < give_up, "the server does not reconnect to the access service"
            # Not a wait for anything: it keeps below the limit of requests per second.
            time.sleep(0.06)
        return code


def test_the_example_service_decides_by_its_file():
    for user, kind, id, code in [
        (USER, "datasetUpdate", DATASET, OK),
        (USER, "uploadFile", OTHER_DATASET, NO_ACCESS),
        (USER, "issueUpdate", OTHER_DATASET, OK),
        (USER, "notification", None, OK),
        (ISSUE, "notification", None, USER_NOT_EXISTS),
    ]:
        assert decide(USERS, user, {"type": kind} | ({"id": id} if id else {})) == code
    assert decide({USER: {"datasets": "*"}}, USER, {"type": "uploadFile", "id": OTHER_DATASET}) == OK


def test_the_service_decides(start, token):
    server, _ = start()
    with Client(server, token) as client:
        assert client.attach("datasetUpdate", DATASET) == OK
        assert client.attach("datasetUpdate", OTHER_DATASET) == NO_ACCESS
        assert client.attach("issueUpdate", OTHER_DATASET) == OK
        assert client.attach("notification", "") == OK
        server.publish(json.dumps({"type": "datasetUpdate", "id": DATASET, "data": [1]}))
        assert json.loads(client.connection.recv(DEADLINE))["data"] == [1]


@pytest.mark.parametrize("faults", [("--delay-ms", "50"), ("--reverse", "5"), ("--delay-ms", "20", "--reverse", "20")])
def test_slow_and_reordered_answers_are_answers(start, token, faults):
    server, _ = start(*faults, timeoutMs=60_000)
    ids = [DATASET, OTHER_DATASET] * 10
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server, token)) for _ in range(5)]
        for client in clients:
            for id in ids:
                client.send("datasetUpdate", id)
        for client in clients:
            assert [client.code() for _ in ids] == [OK, NO_ACCESS] * 10


def test_a_missing_answer_is_code_8(start, token):
    server, _ = start("--silent-every", "3", timeoutMs=5000)
    with Client(server, token) as client:
        codes = [client.attach("datasetUpdate", DATASET) for _ in range(4)]
        assert codes == [OK, OK, UNAVAILABLE, OK]


@pytest.mark.parametrize("fault", ["--garbage-every", "--unasked-every"])
def test_invalid_and_unasked_answers_change_nothing(start, token, fault):
    server, _ = start(fault, "1", timeoutMs=60_000)
    with Client(server, token) as client:
        for _ in range(5):
            assert client.attach("datasetUpdate", OTHER_DATASET) == NO_ACCESS
            assert client.attach("datasetUpdate", DATASET) == OK


def test_a_malformed_answer_is_code_8(start, token):
    server, _ = start("--wrong-every", "2", timeoutMs=60_000)
    with Client(server, token) as client:
        codes = [client.attach("datasetUpdate", DATASET) for _ in range(4)]
        assert codes == [OK, UNAVAILABLE] * 2


def test_a_truncated_answer_is_code_8(start, token):
    server, _ = start("--cut-every", "3", timeoutMs=60_000)
    with Client(server, token) as client:
        for _ in range(3):
            assert client.attach_when_available("datasetUpdate", DATASET) == OK
            assert client.attach("datasetUpdate", OTHER_DATASET) == NO_ACCESS
            assert client.attach("datasetUpdate", DATASET) == UNAVAILABLE


def test_the_service_is_killed_and_comes_back(start, token, tmp_path):
    server, service = start(timeoutMs=60_000)
    with Client(server, token) as client:
        assert client.attach("datasetUpdate", DATASET) == OK
        service.kill()
        assert client.attach("issueUpdate", ISSUE) == UNAVAILABLE
        server.publish(json.dumps({"type": "datasetUpdate", "id": DATASET, "data": [1]}))
        assert json.loads(client.connection.recv(DEADLINE))["data"] == [1]
        service = Service(tmp_path)
        try:
            assert client.attach_when_available("issueUpdate", ISSUE) == OK
        finally:
            service.kill()
