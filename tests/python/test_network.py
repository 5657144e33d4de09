"""A network that loses every packet."""

import contextlib
import ctypes
import os
import subprocess
import threading
import time

import pytest
from conftest import DEADLINE, ISSUE
from raw import PING, PONG, Client, Producer, attach, descriptors, frame

EVENT = f'{{"type":"issueUpdate","id":"{ISSUE}","data":[]}}'


def attached(address: tuple, token: str) -> Client:
    client = Client(address)
    client.upgrade()
    assert client.ask(attach(token, "issueUpdate", ISSUE)) == 0
    return client


def answer_pings(client: Client, count: int) -> None:
    """Waits for this many pings, with no other frame between them, and answers each."""
    for _ in range(count):
        opcode, payload = client.next_frame()
        assert opcode == PING
        client.send(frame(PONG, payload))


@pytest.fixture
def network():
    """A network of two hosts, each a namespace; returns the names of the server's and the clients'."""
    names = [f"airlay-{os.getpid()}-{host}" for host in ("server", "clients")]
    with contextlib.ExitStack() as made:
        for name in names:
            ip("netns", "add", name)
            made.callback(ip, "netns", "delete", name)
        server, clients = names
        ip("-n", server, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", clients)
        for name, addresses in [(server, [LOST, KEPT]), (clients, ["10.0.0.2"])]:
            for address in addresses:
                ip("-n", name, "address", "add", f"{address}/24", "dev", "veth0")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "veth0", "up")
        yield server, clients


# The server's addresses: the one that becomes unreachable, and the other.
LOST, KEPT = "10.0.0.1", "10.0.0.3"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=DEADLINE)


def inside(namespace: str, make):
    """Calls `make` in a network namespace. Sockets stay in the one they were made in."""
    made = []

    def enter() -> None:
        with open(f"/run/netns/{namespace}") as file:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(file.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        made.append(make())

    # A namespace belongs to a thread.
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(DEADLINE)
    return made.pop()


@pytest.mark.root("only root can create network namespaces")
def test_s25_a_client_whose_packets_are_all_lost_is_dropped(start, network, token):
    """Only the missing pong ends such a connection: TCP would retry for a quarter of an hour."""
    server_host, clients_host = network
    server = start(
        settings={"webSocketEvents.address": "0.0.0.0", "limits.pingSeconds": 2, "limits.pongSeconds": 1},
        prefix=("ip", "netns", "exec", server_host),
    )
    port = server.address[1]
    lost, kept = (inside(clients_host, lambda: attached((to, port), token)) for to in (LOST, KEPT))
    both = descriptors(server.pid)
    ip("-n", clients_host, "route", "add", "blackhole", f"{LOST}/32")
    begin = time.monotonic()
    while descriptors(server.pid) == both:
        assert time.monotonic() < begin + DEADLINE, "the lost client still has a descriptor"
        answer_pings(kept, 1)
    print(f"dropped after {time.monotonic() - begin:.1f} s")
    assert descriptors(server.pid) == both - 1
    producer = Producer(server.events)
    producer.write(EVENT[:-1] + ',"ack":1}')
    assert producer.answer()["subscribers"] == 1
    assert kept.next_text() == EVENT
    lost.close()
    kept.close()
    assert server.stop() == 0
