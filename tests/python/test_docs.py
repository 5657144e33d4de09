"""What the documentation shows is what happens: its examples are played against the real binary.

A block of code says what it is by the word after its language: ```json request, ```json event, …
"""

import json
import re
import socket
import time
from pathlib import Path

import jwt
import pytest
from conftest import DEADLINE, FIXTURES, USER, Server
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def lines(page: Path, kind: str) -> list[str]:
    found = [line for block in blocks(page, kind) for line in block.splitlines()]
    assert found, f"{page} has no example of {kind}"
    return found


def produce(server, lines: list[str]) -> list[str]:
    """Writes these lines as one producer, ends, and returns what it was answered."""
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
        # The second control line is about another object; the first takes everything.
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
