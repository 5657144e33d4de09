"""Many hostile connections, and too few descriptors for them."""

import os
import resource
import threading
import time
from pathlib import Path

from conftest import DEADLINE, ISSUE, until
from raw import PING, PONG, UPGRADE, Client, Gone, Producer, attach, cpu_seconds, descriptors, frame

DECLARERS = 9000  # each has a descriptor
DRIPPERS = 5000
ABORTS = 100_000
KILLS = 100
PAUSES = 10


def event(number: int) -> str:
    return f'{{"type":"issueUpdate","id":"{ISSUE}","data":{number}}}'


def attached(server, token, count: int) -> list:
    clients = [Client(server.address) for _ in range(count)]
    for client in clients:
        client.upgrade()
        assert client.ask(attach(token, "issueUpdate", ISSUE)) == 0
    return clients


def test_s02_5000_slow_heads_get_408_and_others_miss_nothing(start, token):
    server = start()
    clients = attached(server, token, 20)
    producer = Producer(server.events)
    before = descriptors(server.pid) + 1
    drippers = [Client(server.address) for _ in range(DRIPPERS)]
    for dripper in drippers:
        dripper.send(b"GET /ws HTTP/1.1\r\nX: ")
        dripper.socket.setblocking(False)
    answers, left, number = dict.fromkeys(drippers, b""), list(drippers), 0
    end = time.monotonic() + DEADLINE
    while left:
        assert time.monotonic() < end, f"{len(left)} slow clients are still connected"
        # The others are served meanwhile: each gets an event per byte that drips.
        producer.write(event(number))
        for client in clients:
            assert client.next_text() == event(number)
        number += 1
        left = [dripper for dripper in left if drip(dripper, answers)]
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers.values())
    until(lambda: descriptors(server.pid) <= before, "the descriptors of the slow clients to be closed")
    assert server.stop() == 0


def drip(dripper: Client, answers: dict) -> bool:
    """Sends one more byte. Returns whether the connection is still open."""
    try:
        answer = dripper.socket.recv(4096)
        answers[dripper] += answer
        if not answer:
            dripper.close()
            return False
    except BlockingIOError:
        pass
    except ConnectionResetError:
        dripper.close()
        return False
    try:
        dripper.socket.send(b"x")
    except ConnectionError:
        pass  # the answer is read in the next round
    return True


def test_s49_connections_that_are_aborted_leave_no_descriptor(start, token):
    server = start(settings={"limits.requestsPerSecond": 0})
    (watcher,) = attached(server, token, 1)
    producer = Producer(server.events)
    producer.write(event(0))
    assert watcher.next_text() == event(0)
    before = descriptors(server.pid)
    for number in range(ABORTS):
        abort(server, token, number % 10)
        if number % 100 == 0:
            # Keeps the queue of the listener from overflowing.
            producer.write(event(number))
            assert watcher.next_text() == event(number)
    until(lambda: descriptors(server.pid) == before, "the descriptors to be as many as before")
    watcher.close()
    assert server.stop() == 0


def abort(server, token: str, kind: int) -> None:
    """Aborts a connection at the stage that `kind` selects."""
    if kind == 9:
        producer = Producer(server.events)
        producer.send(b'{"type":"issueUpdate","id":"')
        producer.close()
        return
    client = Client(server.address)
    if kind == 8:
        client.close()
        return
    if kind >= 5:
        client.send(UPGRADE[: 50 * (kind - 4)])
    if kind == 4:
        client.send(UPGRADE + attach(token, "issueUpdate", ISSUE)[:500])
    if kind == 3:
        client.upgrade()
        assert client.ask(attach(token, "issueUpdate", ISSUE)) == 0
    client.abort()


def test_s11_a_declared_length_takes_no_memory(start):
    server = start(settings={"limits.pingSeconds": 3600})
    clients = [Client(server.address) for _ in range(DECLARERS)]
    for client in clients:
        client.upgrade()
    before = resident_bytes(server.pid)
    for client in clients:
        # The header of a masked text frame of the maximum length, without its payload.
        client.send(bytes([0x81, 0x80 | 126]) + (16384).to_bytes(2, "big") + bytes(4))
    # All have been read once a later ping is answered.
    last = Client(server.address)
    last.upgrade()
    last.send(frame(PING))
    assert last.next_frame() == (PONG, b"")
    grown = resident_bytes(server.pid) - before
    assert grown < 1024 * DECLARERS, f"{grown} bytes more for {DECLARERS} lengths"
    for client in clients:
        client.close()
    assert server.stop() == 0


def resident_bytes(pid: int) -> int:
    """The resident memory of the process (proc(5): statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_s47_out_of_descriptors_accepting_pauses_and_recovers(start, token):
    server = start()
    (client,) = attached(server, token, 1)
    producer = Producer(server.events)
    producer.write(event(0))
    assert client.next_text() == event(0)
    most = 5 + max(int(number) for number in os.listdir(f"/proc/{server.pid}/fd"))
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (most, most))

    def pauses() -> int:
        return sum("cannot accept" in line for line in list(server.log))

    waiting = [Client(server.address) for _ in range(50)]
    for stranger in waiting:
        stranger.send(UPGRADE)
    until(pauses, "accepting to pause")
    late = Producer(server.events)
    late.write(f'{{"type":"issueUpdate","id":"{ISSUE}","data":-1,"ack":1}}')
    used, begin, seen = cpu_seconds(server.pid), time.monotonic(), pauses()
    until(lambda: pauses() >= seen + PAUSES, "more attempts")
    used, took = cpu_seconds(server.pid) - used, time.monotonic() - begin
    assert used < 0.05 * took, f"{used:.3f} s of processor time in {took:.1f} s"
    # Open connections are served meanwhile.
    producer.write(event(1))
    assert client.next_text() == event(1)
    # Each disconnect makes room for one that waits.
    for stranger in waiting:
        assert stranger.take_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        stranger.close()
    assert late.answer()["code"] == 0
    assert client.next_text() == event(-1)
    assert server.stop() == 0


def test_s51_killed_under_load_it_starts_again_at_the_same_socket(start, token):
    times = []
    for _ in range(KILLS):
        begin = time.monotonic()
        server = start()
        times.append(time.monotonic() - begin)
        clients = attached(server, token, 3)
        flood = threading.Thread(target=write_until_it_ends, args=(server.events,))
        flood.start()
        for client in clients:
            for number in range(100):
                assert client.next_text() == event(number)
        server.kill()
        flood.join(DEADLINE)
        for client in clients:
            client.close()
        assert server.events.exists(), "a killed server leaves its socket"
    print(f"{KILLS} starts, the slowest took {max(times):.3f} s")


def write_until_it_ends(path) -> None:
    producer = Producer(path)
    number = 0
    try:
        while True:
            producer.write(*(event(number) for number in range(number, number + 100)))
            number += 100
    except Gone:
        pass
    finally:
        producer.close()
