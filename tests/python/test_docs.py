"""The documentation is right: its examples run against the real binary.

The word after a code block's language says what the block is: ```json request, ```json event, … Blocks of one kind on a
page are one program, in the order of the page.
"""

import contextlib
import json
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jwt
import pytest
from conftest import DEADLINE, FIXTURES, ISSUE, USER, Server, deadline, until
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "clients").glob("*/README.md")])
FRONT_END = ROOT / "docs" / "front-end.md"
BACK_END = ROOT / "docs" / "back-end.md"
DATASET = "610217e481f6fc54736209e1"

# The kinds of blocks that the tests below run.
TESTED = {
    FRONT_END: ["bash install", "js page", "js raw"],
    BACK_END: [
        "php publish",
        "python publish",
        "js publish",
        "python worker",
        "python access",
        "bash try",
        "bash rotate",
        "bash publish",
    ],
}


def blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def lines(page: Path, kind: str) -> list[str]:
    found = [line for block in blocks(page, kind) for line in block.splitlines()]
    assert found, f"{page} has no example of {kind}"
    return found


def produce(server, lines: list[str]) -> list[str]:
    """Writes these lines as one producer, disconnects, and returns the answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as producer:
        producer.settimeout(DEADLINE)
        producer.connect(str(server.events))
        producer.sendall("".join(line + "\n" for line in lines).encode())
        producer.shutdown(socket.SHUT_WR)
        return producer.makefile().read().splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_protocol_s_examples(server, token):
    page = ROOT / "docs" / "protocol.md"
    with connect(server.url, open_timeout=DEADLINE) as client:
        for request in lines(page, "json request"):
            client.send(request.replace("<access_token>", token))
            assert [client.recv(DEADLINE)] == lines(page, "json reply")
        assert produce(server, lines(page, "json event")) == []
        assert [client.recv(DEADLINE)] == lines(page, "json message")
        # The first control line ends all subscriptions; the second is about another object.
        assert produce(server, lines(page, "json control")) == []
        assert json.loads(client.recv(DEADLINE))["code"] == 3
    (ack,) = lines(page, "json ack")
    acknowledged = {"type": "issueUpdate", "id": USER, "ack": json.loads(ack)["ack"]}
    assert produce(server, [json.dumps(acknowledged)]) == [ack]


def test_the_protocol_s_end_of_a_subscription(tmp_path, monkeypatch):
    page = ROOT / "docs" / "protocol.md"
    monkeypatch.setenv("AIRLAY_TOKEN_LEEWAYSECONDS", "0")
    server = Server(tmp_path)
    try:
        pem = (FIXTURES / "live-2048.pem").read_text()
        payload = {"iss": "dev.airlay.ru", "exp": int(time.time()) + 8, "data": {"id": USER}}
        token = jwt.encode(payload, pem[pem.index("-----BEGIN") :], algorithm="RS256")
        with connect(server.url, open_timeout=DEADLINE) as client:
            for request in lines(page, "json request"):
                client.send(request.replace("<access_token>", token))
                assert [client.recv(DEADLINE)] == lines(page, "json reply")
            assert [json.loads(client.recv(DEADLINE))] == [json.loads(line) for line in lines(page, "json ended")]
    finally:
        server.stop()


@pytest.mark.parametrize("page", TESTED, ids=lambda page: page.name)
def test_every_block_of_code_is_tested_and_the_same_in_russian(page):
    shown = every_block(page)
    assert {kind for kind, _ in shown} == set(TESTED[page])
    assert every_block(page.parent / "ru" / page.name) == shown


def every_block(page: Path) -> list[tuple[str, str]]:
    """The kind and text of every block, those without a test included."""
    return re.findall(r"^ *```([^\n]*)\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_a_page_gets_events(server, token, tmp_path):
    (tmp_path / "package.json").write_text('{"private": true}')
    settings = {"AIRLAY": str(ROOT), "npm_config_offline": "true", "npm_config_update_notifier": "false"}
    install = run(["bash", "-euc", program(FRONT_END, "bash install")], tmp_path, **settings)
    assert install.returncode == 0, install.stderr
    example = tmp_path / "page.mjs"
    example.write_text(program(FRONT_END, "js page").replace("wss://airlay.example/ws", server.url))
    with Page(example, token) as page:
        loaded = [["fetch", f"/issues/{ISSUE}"], ["show", {"from": f"/issues/{ISSUE}"}]]
        page.expect([["showOffline", False], ["fetch", "/token"], *loaded, ["loadNotifications", False]])
        server.publish(json.dumps({"type": "issueUpdate", "id": ISSUE}))
        page.expect(loaded)
        server.publish(json.dumps({"type": "notification", "users": [USER], "data": [{"text": "Hello"}]}))
        page.expect([["notify", [{"text": "Hello"}]]])
        server.publish(json.dumps({"control": "revoke", "user": USER}))
        gone = [3, "User not exists"]
        page.expect([["refuse", *gone], ["report", *gone], ["report", *gone]])


def test_a_page_gets_events_without_the_client(start, token, tmp_path):
    server = start()
    example = tmp_path / "raw.mjs"
    example.write_text(program(FRONT_END, "js raw").replace("wss://airlay.example/ws", server.url))
    with Page(example, token) as page:
        page.expect([["replied", {"status": 200, "message": "Ok", "code": 0}]])
        server.publish(json.dumps({"type": "issueUpdate", "id": ISSUE, "data": 1}))
        page.expect([["show", {"type": "issueUpdate", "id": ISSUE, "data": 1}]])
        server.publish(json.dumps({"control": "revoke", "user": USER}))
        event = {"type": "issueUpdate", "id": ISSUE}
        page.expect([["ended", {"status": 400, "message": "User not exists", "code": 3, "event": event}]])
        assert server.stop() == 0
        page.expect([["lost", 1001]])


def test_producers_publish_and_revoke(server, token, tmp_path):
    shutil.copy(ROOT / "clients" / "php" / "src" / "Producer.php", tmp_path)
    closed = {"type": "issueUpdate", "id": ISSUE, "data": [{"state": "closed"}]}
    heard = [
        closed,
        {"type": "notification", "id": "", "data": [{"text": "Hello"}]},
        {"type": "datasetUpdate", "id": DATASET, "data": []},
        {"type": "issueUpdate", "id": ISSUE, "data": []},
        {"status": 400, "message": "Not access for dataset", "code": 4, "event": {"type": "datasetUpdate", "id": DATASET}},
    ]
    for language, command in [("php", ["php"]), ("python", [sys.executable])]:
        example = tmp_path / f"publish.{language}"
        example.write_text(program(BACK_END, f"{language} publish").replace("/run/airlay/events.sock", str(server.events)))
        with attached(server, token) as client:
            published = run([*command, str(example)], tmp_path)
            assert (published.returncode, published.stderr) == (0, ""), language
            assert [json.loads(client.recv(DEADLINE)) for _ in heard] == heard, language
            ended = [json.loads(client.recv(DEADLINE)) for _ in range(3)]
            assert [message["code"] for message in ended] == [3, 3, 3], language
            types = {message["event"]["type"] for message in ended}
            assert types == {"issueUpdate", "notification", "uploadFile"}, language


@pytest.mark.parametrize("language", ["php", "python"])
def test_a_producer_goes_on_without_a_server(language, tmp_path):
    shutil.copy(ROOT / "clients" / "php" / "src" / "Producer.php", tmp_path)
    # The first example catches the exception.
    example = tmp_path / "publish"
    first = blocks(BACK_END, f"{language} publish")[0]
    example.write_text(first.replace("/run/airlay/events.sock", str(tmp_path / "none.sock")))
    published = run(["php" if language == "php" else sys.executable, str(example)], tmp_path)
    assert published.returncode == 0
    assert "not published: no server at " in published.stderr


def test_a_producer_of_any_language_is_answered(server, token, tmp_path):
    example = tmp_path / "publish.mjs"
    example.write_text(program(BACK_END, "js publish").replace("/run/airlay/events.sock", str(server.events)))
    with attached(server, token) as client:
        published = run(["node", str(example)], tmp_path)
        assert published.stdout == '{"ack":1,"status":200,"message":"Ok","code":0,"subscribers":1}\n', published.stderr
        assert json.loads(client.recv(DEADLINE)) == {"type": "issueUpdate", "id": ISSUE, "data": []}


def test_a_worker_waits_for_the_server(start, tmp_path):
    example = tmp_path / "worker.py"
    example.write_text(
        program(BACK_END, "python worker")
        .replace("/run/airlay/events.sock", str(tmp_path / "events.sock"))
        # After a failed attempt it prints a line and reads one instead of sleeping; at the end of input it retries.
        .replace("import time\n", "import sys\n")
        .replace("time.sleep(1)", "print(len(events), flush=True); sys.stdin.readline()")
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python" / "src")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, example], env=environment, **pipes) as worker:
        try:
            with deadline("the worker's first attempt"):
                assert worker.stdout.readline() == "1\n"
            start()
            printed, _ = worker.communicate("\n", timeout=DEADLINE)
            # More failed attempts are possible while the server starts.
            assert printed.splitlines()[-1] == "[0]"
            assert worker.returncode == 0
        finally:
            worker.kill()


def test_the_access_service(token, start, tmp_path):
    path = tmp_path / "access.sock"
    example = tmp_path / "access.py"
    example.write_text(program(BACK_END, "python access").replace("/run/airlay/access.sock", str(path)))
    with subprocess.Popen([sys.executable, example]) as service:
        try:
            until(lambda: listens(path), "the access service")
            server = start(settings={"access.mode": "socket", "access.socket": path, "access.timeoutMs": DEADLINE * 1000})
            with connect(server.url, open_timeout=DEADLINE) as client:
                for event_type, id, auth, code in [
                    ("issueUpdate", ISSUE, token, 0),
                    ("datasetUpdate", DATASET, token, 0),
                    ("uploadFile", ISSUE, token, 4),
                    ("notification", "", token, 0),
                    ("issueUpdate", ISSUE, sign("a" * 24), 3),
                ]:
                    assert attach(client, auth, event_type, id) == code, (event_type, id)
        finally:
            service.kill()


def test_a_token_by_hand(tmp_path):
    Server.write_config(tmp_path, {"token.publicKey": "issuer.pem"})
    tried = run(["bash", "-euc", program(BACK_END, "bash try")], tmp_path)
    assert tried.returncode == 0, tried.stderr
    assert "its signature is good" in tried.stdout


def test_a_new_key(start, tmp_path):
    for name in ["issuer-1.pem", "issuer-2.pem"]:
        shutil.copy(FIXTURES / "live-2048.pub.pem", tmp_path / name)
    server = start(settings={"token.publicKey": "issuer-1.pem, issuer-2.pem"})
    # The unit's ExecReload, for the server of this test.
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\n[ "$*" = "reload airlay" ] && kill -HUP {server.pid}\n')
    systemctl.chmod(0o755)
    with connect(server.url, open_timeout=DEADLINE) as client:
        rotate = program(BACK_END, "bash rotate").replace("/etc/airlay", str(tmp_path))
        rotated = run(["bash", "-euc", rotate], tmp_path)
        assert rotated.returncode == 0, rotated.stderr
        until(lambda: [line for line in server.log if "keys read again" in line], "the new key")
        for key in [FIXTURES / "live-2048.pem", tmp_path / "new-private.pem"]:
            assert attach(client, sign(USER, key), "issueUpdate", ISSUE) == 0, key


def test_publishing_by_hand(server, token, tmp_path):
    with attached(server, token) as client:
        published = run(["bash", "-euo", "pipefail", "-c", program(BACK_END, "bash publish")], tmp_path)
        assert published.stdout == "Accepted, queued for 1 subscriber.\n" * 2, published.stderr
        assert [json.loads(client.recv(DEADLINE)) for _ in range(3)] == [
            {"type": "issueUpdate", "id": ISSUE, "data": [{"state": "closed"}]},
            {"type": "notification", "id": "", "data": [{"text": "Hello"}]},
            {"type": "uploadFile", "id": DATASET, "data": []},
        ]


def program(page: Path, kind: str) -> str:
    return "\n".join(lines(page, kind)) + "\n"


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs a program in this folder, with the server's binary, the Python producer and the folder itself on its paths."""
    (folder / "airlay-cli").unlink(missing_ok=True)
    (folder / "airlay-cli").symlink_to(os.environ["AIRLAY_CLI"])
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "clients" / "python" / "src"),
        **environment,
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=10 * DEADLINE)


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


def attach(client, auth: str, event_type: str, id: str) -> int:
    """Attaches; returns the code of the reply."""
    client.send(json.dumps({"auth": auth, "action": "attach", "event": {"type": event_type, "id": id}}))
    return json.loads(client.recv(DEADLINE))["code"]


@contextlib.contextmanager
def attached(server, token: str):
    """A client with subscriptions to everything the examples publish."""
    with connect(server.url, open_timeout=DEADLINE) as client:
        assert attach(client, token, "notification", "") == 0
        for event_type, id in [("issueUpdate", ISSUE), ("datasetUpdate", DATASET), ("uploadFile", DATASET)]:
            assert attach(client, token, event_type, id) == 0
        yield client


def sign(user: str, key: Path = FIXTURES / "live-2048.pem") -> str:
    # The first line of a fixture is a comment.
    pem = key.read_text()
    payload = {"iss": "dev.airlay.ru", "exp": int(time.time()) + 3600, "data": {"id": user}}
    return jwt.encode(payload, pem[pem.index("-----BEGIN") :], algorithm="RS256")


class Page:
    """An example under Node, with the globals of tests/node/page.js."""

    def __init__(self, example: Path, token: str) -> None:
        preamble = ROOT / "tests" / "node" / "page.js"
        self._process = subprocess.Popen(
            ["node", "--import", str(preamble), str(example)],
            env={**os.environ, "TOKEN": token},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._calls = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._calls.put(json.loads(line))

    def expect(self, calls: list) -> None:
        """The next calls are these, in any order."""
        with deadline(f"the calls {calls}"):
            made = [self._calls.get() for _ in calls]
        assert sorted(made, key=json.dumps) == sorted(calls, key=json.dumps)

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        try:
            assert self._process.wait(DEADLINE) == 0
        finally:
            self._process.kill()
            self._reader.join(DEADLINE)
