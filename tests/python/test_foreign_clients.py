"""Clients that are not ours, with and without compression: each subscribes with a real token and gets one event below the
threshold for compression and one above it."""

import itertools
import json
import subprocess
from pathlib import Path

import pytest
from browsers import Chromium, Firefox
from conftest import DEADLINE, ISSUE, deadline, until
from websockets.sync.client import connect

OK = '{"status":200,"message":"Ok","code":0}'
SHORT = f'{{"type":"issueUpdate","id":"{ISSUE}","data":["привет"]}}'
LONG = f'{{"type":"issueUpdate","id":"{ISSUE}","data":["{"привет " * 1000}"]}}'
assert len(SHORT.encode()) < 128 <= len(LONG.encode())

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
}


@pytest.fixture(params=["off", "on"])
def compression(request, monkeypatch):
    """Whether the server compresses; to be requested before the server."""
    monkeypatch.setenv("AIRLAY_WEBSOCKETEVENTS_COMPRESSION", request.param)
    return request.param == "on"


@pytest.fixture
def request_text(token):
    return json.dumps({"auth": token, "action": "attach", "event": {"type": "issueUpdate", "id": ISSUE}})


def test_websockets(compression, server, request_text):
    with connect(server.url, open_timeout=DEADLINE, close_timeout=DEADLINE) as client:
        assert ("Sec-WebSocket-Extensions" in client.response.headers) == compression
        client.send(request_text)
        assert client.recv(DEADLINE) == OK
        server.publish(SHORT, LONG)
        assert client.recv(DEADLINE) == SHORT
        assert client.recv(DEADLINE) == LONG


def test_ws(compression, server, request_text):
    script = Path(__file__).resolve().parent.parent / "node" / "subscribe.js"
    command = ["node", script, server.url, request_text, str(DEADLINE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        with deadline("the messages"):
            assert client.stdout.readline() == ("permessage-deflate\n" if compression else "\n")
            assert client.stdout.readline() == OK + "\n"
            server.publish(SHORT, LONG)
            assert client.stdout.readline() == SHORT + "\n"
            assert client.stdout.readline() == LONG + "\n"
        client.stdin.close()
        assert client.wait(DEADLINE) == 0


@pytest.mark.parametrize("browser", [Chromium, Firefox])
def test_browser(browser, compression, server, request_text, tmp_path):
    page = browser(tmp_path)
    try:
        page.evaluate(f"(window.received = [], window.socket = new WebSocket({json.dumps(server.url)}), null)")
        page.evaluate("(socket.onmessage = event => received.push(event.data), null)")
        until(lambda: page.evaluate("socket.readyState") == 1, "the socket to open")
        assert page.evaluate("socket.extensions").startswith("permessage-deflate") == compression
        page.evaluate(f"(socket.send({json.dumps(request_text)}), null)")
        until(lambda: page.evaluate("received") == [OK], "the reply")
        server.publish(SHORT, LONG)
        until(lambda: page.evaluate("received") == [OK, SHORT, LONG], "the events")
    finally:
        page.close()


def test_curl_is_upgraded(compression, server):
    # Like --include, but written at once: the body of the answer never ends.
    command = curl(server, "/ws", UPGRADE, "--dump-header", "-")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        head = [line.rstrip("\n") for line in itertools.takewhile(str.strip, process.stdout)]
        process.terminate()
    assert head[0] == "HTTP/1.1 101 Switching Protocols"
    # The example of RFC 6455 §1.3.
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    assert (f"Sec-WebSocket-Extensions: {agreed}" in head) == compression
    assert len(head) == 4 + compression


@pytest.mark.parametrize(
    "status, path, changed",
    [
        (404, "/", {}),
        (426, "/ws", {"Upgrade": None, "Connection": None}),
        (426, "/ws", {"Sec-WebSocket-Version": "8"}),
        (400, "/ws", {"Sec-WebSocket-Key": "short"}),
        (400, "/ws", {"Sec-WebSocket-Extensions": "permessage-deflate; ="}),
        (403, "/ws", {"Origin": "https://elsewhere.example"}),
    ],
)
def test_curl_is_refused(monkeypatch, request, status, path, changed):
    monkeypatch.setenv("AIRLAY_WEBSOCKETEVENTS_ORIGINS", "https://airlay.example")
    server = request.getfixturevalue("server")
    headers = {name: value for name, value in (UPGRADE | changed).items() if value is not None}
    command = curl(server, path, headers, "--include")
    answer = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
    head, _, body = answer.stdout.partition("\n\n")
    lines = head.splitlines()
    assert lines[0].startswith(f"HTTP/1.1 {status} "), answer
    assert any(line.startswith("Connection: close") for line in lines)
    assert f"Content-Length: {len(body)}" in lines


def curl(server, path: str, headers: dict[str, str], *options: str) -> list[str]:
    """The command that requests this path with these headers."""
    arguments = [argument for header in headers.items() for argument in ("--header", ": ".join(header))]
    url = server.url.replace("ws://", "http://").removesuffix("/ws") + path
    return ["curl", "--silent", "--show-error", "--http1.1", "--max-time", str(DEADLINE), *options, *arguments, url]
