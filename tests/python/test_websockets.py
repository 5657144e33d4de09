"""The service and Python's `websockets` library: a second client that is not ours."""

import asyncio
import json

import pytest
from conftest import DEADLINE, ISSUE, USER
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

OK = '{"status":200,"message":"Ok","code":0}'


def request(token, action="attach", kind="issueUpdate", id=ISSUE):
    return json.dumps({"auth": token, "action": action, "event": {"type": kind, "id": id}})


def opened(server, **options):
    return connect(server.url, open_timeout=DEADLINE, close_timeout=DEADLINE, **options)


def test_attach_event_detach(server, token):
    with opened(server) as client:
        client.send(request(token))
        assert client.recv(DEADLINE) == OK
        message = f'{{"type":"issueUpdate","id":"{ISSUE}","data":[{{"text":"привет"}}]}}'
        server.publish(message)
        assert client.recv(DEADLINE) == message
        client.send(request(token, "detach"))
        assert client.recv(DEADLINE) == OK


def test_an_event_larger_than_any_buffer(server, token):
    with opened(server) as client:
        client.send(request(token))
        assert client.recv(DEADLINE) == OK
        message = f'{{"type":"issueUpdate","id":"{ISSUE}","data":"{"é" * 400_000}"}}'
        server.publish(message)
        assert client.recv(DEADLINE) == message


def test_a_fragmented_request(server, token):
    with opened(server) as client:
        text = request(token)
        client.send(text[at : at + 100] for at in range(0, len(text), 100))
        assert client.recv(DEADLINE) == OK


def test_too_many_fragments_are_a_policy_violation(server):
    with opened(server) as client:
        with pytest.raises(ConnectionClosed) as closed:
            client.send("x" for _ in range(200))
            client.recv(DEADLINE)
        assert closed.value.rcvd.code == 1008


def test_a_binary_request_is_invalid_and_harmless(server, token):
    with opened(server) as client:
        client.send(request(token).encode())
        assert json.loads(client.recv(DEADLINE))["code"] == 5
        client.send(request(token))
        assert client.recv(DEADLINE) == OK


def test_a_ping_is_answered_with_a_pong(server):
    with opened(server) as client:
        for payload in [b"", b"ping", b"x" * 125]:
            assert client.ping(payload).wait(DEADLINE)


def test_the_server_answers_a_close_with_its_code(server):
    with opened(server) as client:
        client.close(1000, "done")
        with pytest.raises(ConnectionClosedOK) as closed:
            client.recv(DEADLINE)
        assert closed.value.rcvd.code == 1000
        assert closed.value.rcvd_then_sent is False


def test_a_message_over_the_limit_is_too_big(server):
    with opened(server) as client:
        client.send("x" * 20_000)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(DEADLINE)
        assert closed.value.rcvd.code == 1009


def test_another_path_is_not_found(server):
    with pytest.raises(InvalidStatus) as refused:
        with connect(server.url + "x", open_timeout=DEADLINE):
            pass
    assert refused.value.response.status_code == 404


def test_no_extension_is_agreed_on_when_compression_is_off(server):
    with opened(server, compression="deflate") as client:
        assert client.response.headers.get("Sec-WebSocket-Extensions") is None


def test_sigterm_says_going_away(server):
    with opened(server) as client:
        assert server.stop() == 0
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(DEADLINE)
        assert closed.value.rcvd.code == 1001


def test_thirty_clients_at_once(server, token):
    """Many connections in one event loop; each gets the events it subscribed to and no others."""

    async def client(number):
        issue = f"{number % 10:024x}"
        async with connect_async(server.url, open_timeout=DEADLINE) as socket:
            await socket.send(request(token, id=issue))
            assert await socket.recv() == OK
            attached.release()
            return [json.loads(await socket.recv()) for _ in range(20)]

    async def all_of_them():
        clients = [asyncio.create_task(client(number)) for number in range(30)]
        for _ in clients:
            await attached.acquire()
        lines = [
            json.dumps({"type": "issueUpdate", "id": f"{topic:024x}", "data": number})
            for number in range(20)
            for topic in range(10)
        ]
        await asyncio.to_thread(server.publish, *lines)
        return await asyncio.gather(*clients)

    attached = asyncio.Semaphore(0)
    events = asyncio.run(asyncio.wait_for(all_of_them(), DEADLINE))
    for number, received in enumerate(events):
        expected = [
            {"type": "issueUpdate", "id": f"{number % 10:024x}", "data": data} for data in range(20)
        ]
        assert received == expected


def test_a_notification_is_personal(server, token):
    with opened(server) as client:
        client.send(request(token, kind="notification", id=None))
        assert client.recv(DEADLINE) == OK
        server.publish(
            '{"type":"notification","users":["5dad615eae019570fb4647ee"],"data":"theirs"}',
            f'{{"type":"notification","users":["{USER}"],"data":"mine"}}',
        )
        assert client.recv(DEADLINE) == '{"type":"notification","id":"","data":"mine"}'
